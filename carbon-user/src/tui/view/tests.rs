//! Frames as they are on a terminal, at several sizes.

use super::draw;
use crate::report::top::WorkloadRow;
use crate::sched::Member;
use crate::tui::app::{Abilities, App, Event, tests::press};
use crate::tui::history::Update;
use crate::tui::processes::Look;
use crate::tui::samples::{node, package, update, workload};
use crate::units::CpuNanos;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::layout::Size;
use ratatui::style::Modifier;

const SECOND: u64 = 1_000_000_000;

fn after(size: (u16, u16), abilities: Abilities, updates: Vec<Update>, keys: &str) -> App {
    let mut app = App::new(abilities, None, Size { width: size.0, height: size.1 });
    for (at, update) in (1..).zip(updates) {
        app.update(Event::Window(Box::new(update)), at * SECOND);
    }
    press(&mut app, keys);
    app
}

fn frame(app: &App) -> TestBackend {
    let mut terminal = Terminal::new(TestBackend::new(app.size.width, app.size.height)).unwrap();
    terminal.draw(|frame| draw(app, frame.buffer_mut())).unwrap();
    terminal.backend().clone()
}

const PLAIN: Abilities = Abilities { colours: false, unicode: true };

/// Three windows, so that there are curves.
fn windows() -> Vec<Update> {
    let scaled = |by: u64| {
        let mut rows = node();
        for row in &mut rows {
            row.dynamic_uj = row.dynamic_uj * by / 4;
        }
        rows
    };
    vec![update(scaled(1)), update(scaled(8)[..3].to_vec()), update(node())]
}

#[test]
fn a_small_a_usual_and_a_large_terminal() {
    for (width, height) in [(20, 5), (80, 24), (200, 60)] {
        let app = after((width, height), PLAIN, windows(), "");
        insta::assert_snapshot!(format!("{width}x{height}"), frame(&app));
    }
}

#[test]
fn a_tree_with_details() {
    let app = after((100, 30), PLAIN, windows(), "tjd");
    insta::assert_snapshot!("tree_details", frame(&app));
}

#[test]
fn help_and_information() {
    insta::assert_snapshot!("help", frame(&after((100, 30), PLAIN, windows(), "?")));
    insta::assert_snapshot!("information", frame(&after((100, 24), PLAIN, windows(), "i")));
}

#[test]
fn processes_of_one_workload() {
    let mut app = after((80, 16), PLAIN, windows(), "j\n");
    let look = |at_ns, cpu: [u64; 2]| {
        let member = |pid: u32, comm: &str, ms: u64| Member {
            pid,
            start: 1,
            comm: comm.to_owned(),
            cpu: CpuNanos(ms * 1_000_000),
        };
        let members = vec![member(812, "postgres", cpu[0]), member(900, "walwriter", cpu[1])];
        Event::Looked(Ok(Look { at_ns, members, more: 0 }))
    };
    app.update(look(5 * SECOND, [1000, 1000]), 5 * SECOND);
    app.update(look(6 * SECOND, [1400, 1050]), 5 * SECOND);
    insta::assert_snapshot!("processes", frame(&app));
}

#[test]
fn without_colours_and_beyond_ascii_nothing_is_used() {
    let abilities = Abilities { colours: false, unicode: false };
    for keys in ["", "tjd", "?", "i", "j\n", "p", "fx"] {
        let backend = frame(&after((200, 60), abilities, windows(), keys));
        let text = backend.to_string();
        assert!(text.is_ascii(), "{keys}: {:?}", text.chars().find(|char| !char.is_ascii()));
        let plain = |buffer: &Buffer| {
            buffer.content().iter().all(|cell| {
                cell.fg == ratatui::style::Color::Reset && cell.bg == ratatui::style::Color::Reset
            })
        };
        assert!(plain(backend.buffer()), "{keys}");
    }
    let colours = Abilities { colours: true, unicode: true };
    let backend = frame(&after((80, 24), colours, windows(), ""));
    assert!(backend.buffer().content().iter().any(|cell| cell.fg != ratatui::style::Color::Reset));
}

/// The cells of the first row of the table.
fn first_row(app: &App) -> (String, bool) {
    let backend = frame(app);
    let y = app.areas().rows.y;
    let cells = (0..app.size.width).map(|x| backend.buffer().cell((x, y)).unwrap());
    let dim = cells.clone().any(|cell| cell.modifier.contains(Modifier::DIM));
    (cells.map(|cell| cell.symbol().to_owned()).collect(), dim)
}

#[test]
fn zero_unknown_modelled_idle_and_old_look_different() {
    let one = |change: &dyn Fn(&mut WorkloadRow)| {
        let mut row = workload(1, "/a", 2_000_000);
        change(&mut row);
        update(vec![row])
    };
    let shown = |updates: Vec<Update>| first_row(&after((80, 24), PLAIN, updates, ""));
    let (measured, dim) = shown(vec![one(&|_| {})]);
    assert!(measured.contains("2.000") && measured.contains("\u{b1}") && !dim, "{measured}");
    let (zero, _) = shown(vec![one(&|row| {
        (row.dynamic_uj, row.watts_per_cpu) = (0, Some(0.0));
    })]);
    assert!(zero.contains(" 0 ") && zero.contains('_'), "{zero}");
    let (modelled, _) = shown(vec![one(&|row| row.quality = "modelled")]);
    assert!(modelled.contains("~2.0") && modelled.contains(" to "), "{modelled}");
    let mut blind = one(&|_| {});
    blind.top.domains[0].metered_uj = 0;
    let app = after((80, 24), PLAIN, vec![blind], "");
    let (unknown, _) = first_row(&app);
    assert!(unknown.contains('?') && unknown.contains('\u{b7}'), "{unknown}");
    assert!(frame(&app).to_string().contains("? W: no meter gave any energy"));
    let (idle, dim) = shown(vec![one(&|_| {}), update(vec![])]);
    assert!(idle.contains(" 0 ") && idle.contains(" - ") && dim, "{idle}");
    // The sum of an idle workload is still a model's.
    let idle = vec![one(&|row| row.quality = "modelled"), update(vec![])];
    let (idle, _) = first_row(&after((120, 24), PLAIN, idle, ""));
    assert!(idle.contains("idle") && idle.contains(" ~"), "{idle}");
    let mut old = after((80, 24), PLAIN, vec![one(&|_| {})], "");
    old.update(Event::Tick, 60 * SECOND);
    assert!(first_row(&old).1 && frame(&old).to_string().contains("OLD: no window for 59 s"));
    press(&mut old, "p");
    assert!(frame(&old).to_string().contains("PAUSED"));
}

#[test]
fn a_meter_that_was_not_read_is_no_zero() {
    let mut unread = update(node());
    unread.top.domains[0].unread = 1;
    unread.top.domains.push(package("modelled", "model"));
    let text = frame(&after((120, 24), PLAIN, vec![unread], "")).to_string();
    assert!(text.contains("package-0 NOT READ (powercap intel-rapl:0)"), "{text}");
    assert!(text.contains("package-0 ~20 W modelled (model)"), "{text}");
}

#[test]
fn names_that_others_gave_are_harmless() {
    let names = [
        "<img src=x onerror=alert(1)>".to_owned(),
        "\u{1b}[2J\u{1b}]0;title\u{7}\r\n\tname".to_owned(),
        "x".repeat(4096),
        "\u{202e}gnp.exe \u{2066}a".to_owned(),
        "\u{5e9}\u{5dc}\u{5d5}\u{5dd} \u{645}\u{631}\u{62d}\u{628}\u{627}".to_owned(),
        format!("z{}", "\u{30d}\u{301}".repeat(2000)),
        "\u{4e2d}\u{6587}\u{540d}\u{5b57}".repeat(30),
        "\u{9b}31m c1 \u{85}".to_owned(),
    ];
    for (id, name) in (1..).zip(&names) {
        let mut row = workload(id, &format!("/{name}"), 2_000_000);
        row.name.clone_from(name);
        for keys in ["", "td", "tt", "\n", "i", "/x"] {
            let app = after((60, 24), PLAIN, vec![update(vec![row.clone()])], keys);
            let backend = frame(&app);
            for cell in backend.buffer().content() {
                let symbol = cell.symbol();
                assert!(symbol.len() < 32, "{name:?}: {symbol:?}");
                assert!(!symbol.chars().any(char::is_control), "{name:?} {keys}: {symbol:?}");
                let turned = symbol.chars().any(|char| {
                    matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200f}' | '\u{61c}')
                });
                assert!(!turned, "{name:?}: {symbol:?}");
            }
        }
        let (row, _) = first_row(&after((60, 24), PLAIN, vec![update(vec![row])], ""));
        assert!(row.contains(" 2.000 "), "the numbers are where they should be: {row:?}");
        if crate::tui::names::turns(name) {
            let (before, _) = row.split_once("2.000").unwrap();
            assert!(row.starts_with('\u{200e}') && before.trim_end().ends_with('\u{200e}'), "{row:?}");
        }
    }
}

#[test]
fn no_size_is_too_small() {
    for width in [1, 2, 7, 12, 33, 79, 131, 300] {
        for height in [1, 2, 3, 4, 7, 12, 31, 40] {
            for keys in ["", "td", "?", "i", "j\n", "fabc", "p"] {
                frame(&after((width, height), PLAIN, windows(), keys));
            }
        }
    }
}

/// What the view of a window costs, for docs/top.md.
#[test]
#[ignore = "a measurement: cargo test -p carbon-user --lib -- --ignored --nocapture a_window_of_500_workloads"]
fn a_window_of_500_workloads() {
    let window = |turn: u64| {
        let path = |id: u64| format!("/system.slice/part-{}.slice/unit-{id}.service", id % 20);
        update((2..502).map(|id| workload(id, &path(id), 1_000 * (id * turn % 97 + 1))).collect())
    };
    for (grouping, keys) in [("none", ""), ("owner", "t"), ("cgroup", "tt")] {
        let abilities = Abilities { colours: true, unicode: true };
        let mut app = after((200, 60), abilities, vec![window(1)], keys);
        let windows: Vec<Update> = (2..122).map(window).collect();
        let count = windows.len() as u64;
        let mut shown = Buffer::empty(Size { width: 200, height: 60 }.into());
        let begun_ns = crate::clock::process_cpu_ns();
        for window in windows {
            app.update(Event::Window(Box::new(window)), 2 * SECOND);
            let mut frame = Buffer::empty(shown.area);
            draw(&app, &mut frame);
            assert!(!shown.diff(&frame).is_empty());
            shown = frame;
        }
        let each_us = (crate::clock::process_cpu_ns() - begun_ns) / count / 1_000;
        println!("group: {grouping}: {each_us} us of CPU time a window");
    }
}
