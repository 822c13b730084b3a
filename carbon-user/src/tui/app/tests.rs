//! Keys and windows in, state out.

use super::*;
use crate::tui::samples::{node, update};

const SECOND: u64 = 1_000_000_000;

pub(crate) fn started(size: (u16, u16)) -> App {
    let abilities = Abilities { colours: false, unicode: true };
    let mut app = App::new(abilities, None, Size { width: size.0, height: size.1 });
    app.update(Event::Window(Box::new(update(node()))), SECOND);
    app
}

pub(crate) fn press(app: &mut App, keys: &str) -> Option<Request> {
    let mut request = None;
    for char in keys.chars() {
        let code = match char {
            '\n' => KeyCode::Enter,
            '\u{1b}' => KeyCode::Esc,
            '\u{8}' => KeyCode::Backspace,
            char => KeyCode::Char(char),
        };
        request = app.update(Event::Key(KeyEvent::new(code, KeyModifiers::NONE)), 2 * SECOND);
    }
    request
}

fn names(app: &App) -> Vec<&str> {
    app.lines.iter().map(|line| line.label.as_str()).collect()
}

fn click(app: &mut App, column: u16, row: u16) {
    let kind = MouseEventKind::Down(MouseButton::Left);
    app.update(Event::Mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE }), 2 * SECOND);
}

#[test]
fn the_order_is_by_any_column_and_turns_round() {
    let mut app = started((80, 24));
    assert_eq!(names(&app)[..2], ["shop/cart-7d9f / web", "postgresql.service"]);
    press(&mut app, "S");
    assert_eq!(app.order.column, Column::Name);
    assert_eq!(names(&app)[0], "cron.service");
    press(&mut app, "r");
    assert_eq!(names(&app)[0], "shop/cart-7d9f / web");
    press(&mut app, "ssss");
    assert_eq!((app.order.column, app.order.reverse), (Column::Joules, false));
}

#[test]
fn the_selection_stays_with_its_workload() {
    let mut app = started((80, 24));
    press(&mut app, "j");
    assert_eq!(app.line().unwrap().label, "postgresql.service");
    let mut rows = node();
    rows[2].dynamic_uj = 9_000_000;
    app.update(Event::Window(Box::new(update(rows))), 2 * SECOND);
    assert_eq!((app.selected, app.line().unwrap().label.as_str()), (0, "postgresql.service"));
    press(&mut app, "Gk");
    assert_eq!(app.selected, app.lines.len() - 2);
}

#[test]
fn a_filter_is_typed_kept_and_ended() {
    let mut app = started((80, 24));
    press(&mut app, "fq");
    assert_eq!((app.typing, names(&app).len()), (Typing::Filter, 1), "q is typed: {:?}", names(&app));
    press(&mut app, "\u{8}cart\n");
    assert_eq!((app.typing, names(&app).len()), (Typing::Nothing, 2));
    press(&mut app, "\u{1b}");
    assert_eq!(names(&app).len(), 6);
    press(&mut app, &format!("f{}", "x".repeat(500)));
    assert_eq!(app.filter.len(), TYPED_MAX);
}

#[test]
fn a_search_goes_round() {
    let mut app = started((80, 24));
    press(&mut app, "/CART\n");
    assert_eq!(app.line().unwrap().label, "shop/cart-7d9f / web");
    press(&mut app, "n");
    assert_eq!(app.line().unwrap().label, "shop/cart-7d9f / redis");
    press(&mut app, "n");
    assert_eq!(app.line().unwrap().label, "shop/cart-7d9f / web");
    press(&mut app, "N");
    assert_eq!(app.line().unwrap().label, "shop/cart-7d9f / redis");
    assert_eq!(names(&app).len(), 6, "nothing is hidden");
}

#[test]
fn what_a_search_finds_is_opened_though_it_does_not_run_now() {
    let mut app = started((80, 24));
    let idle: Vec<_> = node().into_iter().filter(|row| row.name != "postgresql.service").collect();
    app.update(Event::Window(Box::new(update(idle))), 2 * SECOND);
    app.update(Event::Window(Box::new(update(vec![]))), 2 * SECOND);
    press(&mut app, "/postgres\n\n");
    assert_eq!(app.opened.as_ref().unwrap().path, "/system.slice/postgresql.service");
    assert!(app.take_wanted_look().is_some());
    // It is not forgotten while it is open or selected.
    for _ in 0..2 * crate::tui::history::WINDOWS {
        app.update(Event::Window(Box::new(update(vec![]))), 2 * SECOND);
    }
    press(&mut app, "\u{1b}");
    assert_eq!(names(&app), ["postgresql.service"]);
    press(&mut app, "\n");
    assert!(app.opened.is_some());
}

#[test]
fn what_no_line_holds_yet_is_opened_once_one_does_and_nothing_else_is() {
    let abilities = Abilities { colours: false, unicode: true };
    let mut app = App::new(abilities, None, Size { width: 80, height: 24 });
    let later: Vec<_> = node().into_iter().filter(|row| row.name != "postgresql.service").collect();
    press(&mut app, "/postgres\n\n");
    assert!(app.has_missed() && app.opened.is_none(), "no window yet");
    app.update(Event::Window(Box::new(update(later))), 2 * SECOND);
    assert!(app.has_missed() && app.opened.is_none(), "another workload is at the top");
    app.update(Event::Window(Box::new(update(node()))), 2 * SECOND);
    assert_eq!(app.opened.as_ref().unwrap().name, "postgresql.service");
    // Who goes elsewhere meanwhile waits for nothing.
    press(&mut app, "\u{1b}/later\nj\n");
    assert!(!app.has_missed() && app.opened.is_some());
    press(&mut app, "\u{1b}/later\u{1b}");
    assert!(!app.has_missed());
}

#[test]
fn a_search_goes_into_folded_groups_and_opens_those_alone() {
    let mut app = started((80, 24));
    press(&mut app, "tz");
    assert_eq!(names(&app).len(), 4, "all are folded");
    press(&mut app, "/postgres\n");
    assert_eq!(app.line().unwrap().label, "postgresql.service");
    assert_eq!(names(&app).len(), 6, "{:?}", names(&app));
    press(&mut app, "/there is none");
    assert_eq!(names(&app).len(), 6, "what is not found unfolds nothing");
}

#[test]
fn groups_fold_and_stay_folded() {
    let mut app = started((80, 24));
    press(&mut app, "t ");
    assert_eq!(names(&app)[..2], ["pod shop/cart-7d9f", "system units"]);
    app.update(Event::Window(Box::new(update(node()))), 3 * SECOND);
    assert_eq!(names(&app)[1], "system units");
    press(&mut app, "jj");
    let left = KeyEvent::new(KeyCode::Left, KeyModifiers::NONE);
    app.update(Event::Key(left), 3 * SECOND);
    assert_eq!(app.line().unwrap().label, "system units", "from within a group to the group");
    press(&mut app, "z");
    assert_eq!(names(&app).len(), 10, "z unfolds where something is folded");
    press(&mut app, "z");
    assert_eq!(names(&app).len(), 4);
}

#[test]
fn what_is_paused_stands_still_and_nothing_is_lost() {
    let mut app = started((80, 24));
    press(&mut app, "p");
    app.update(Event::Window(Box::new(update(vec![]))), 3 * SECOND);
    assert!(app.is_paused() && app.line().unwrap().figures.dynamic_uj == 7_000_000);
    press(&mut app, "p");
    assert_eq!(app.line().unwrap().figures.dynamic_uj, 0);
    assert_eq!(app.seen().history.watts.len(), 2);
}

#[test]
fn what_is_old_is_known_to_be() {
    let mut app = started((80, 24));
    app.update(Event::Tick, 3 * SECOND);
    assert_eq!(app.stale_ns(), None);
    app.update(Event::Tick, 6 * SECOND);
    assert_eq!(app.stale_ns(), Some(5 * SECOND));
}

#[test]
fn the_mouse_selects_sorts_folds_and_opens() {
    let mut app = started((80, 24));
    let (header, rows) = (app.areas().header, app.areas().rows);
    click(&mut app, 5, rows.y + 1);
    assert_eq!(app.selected, 1);
    let watts = columns(80).into_iter().find(|column| column.kind.sorts() == Some(Column::Watts)).unwrap();
    click(&mut app, watts.x + 1, header.y);
    assert!(app.order.reverse, "sorted by it already");
    click(&mut app, watts.x + 1, header.y);
    press(&mut app, "t");
    click(&mut app, 0, rows.y);
    assert_eq!(app.lines[0].folded, Some(true));
    press(&mut app, "ttg");
    click(&mut app, 5, rows.y + 1);
    click(&mut app, 5, rows.y + 1);
    assert_eq!(app.opened.as_ref().unwrap().name, "postgresql.service");
    let wheel =
        MouseEvent { kind: MouseEventKind::ScrollDown, column: 0, row: 0, modifiers: KeyModifiers::NONE };
    press(&mut app, "\u{1b}g");
    app.update(Event::Mouse(wheel), 2 * SECOND);
    assert_eq!(app.selected, 3);
}

#[test]
fn processes_are_looked_at_once_a_window() {
    let mut app = started((80, 24));
    assert_eq!(app.take_wanted_look(), None);
    press(&mut app, "j\n");
    assert_eq!(app.take_wanted_look(), Some(("/system.slice/postgresql.service".to_owned(), false)));
    assert_eq!(app.take_wanted_look(), None);
    app.update(Event::Looked(Ok(Look::default())), 2 * SECOND);
    app.update(Event::Window(Box::new(update(node()))), 2 * SECOND);
    assert!(app.take_wanted_look().is_some());
    app.update(Event::Looked(Ok(Look { at_ns: SECOND, ..Look::default() })), 2 * SECOND);
    assert_eq!(app.opened.as_ref().unwrap().split.as_ref().unwrap().dynamic_uj, 3_000_000);
    app.update(Event::Looked(Err("gone".to_owned())), 2 * SECOND);
    assert_eq!(app.opened.as_ref().unwrap().failure.as_deref(), Some("gone"));
    press(&mut app, "\u{1b}");
    assert!(app.opened.is_none());
}

#[test]
fn keys_that_end_and_stop() {
    let mut app = started((80, 24));
    assert_eq!(press(&mut app, "q"), Some(Request::Quit));
    let control = |char| Event::Key(KeyEvent::new(KeyCode::Char(char), KeyModifiers::CONTROL));
    press(&mut app, "f");
    assert_eq!(app.update(control('c'), SECOND), Some(Request::Quit), "while something is typed too");
    assert_eq!(app.update(control('z'), SECOND), Some(Request::Suspend));
    press(&mut app, "\u{1b}?");
    assert_eq!(app.over, Over::Help);
    assert_eq!(press(&mut app, "q"), Some(Request::Quit));
}

#[test]
fn the_selected_line_is_always_in_sight() {
    let mut app = started((20, 5));
    let rows = usize::from(app.areas().rows.height);
    for key in "jjjjjjjkkkkkkkkG".chars() {
        press(&mut app, &key.to_string());
        assert!((app.offset..app.offset + rows).contains(&app.selected), "{key}");
    }
    app.update(Event::Resized(Size { width: 1, height: 1 }), SECOND);
    assert_eq!(app.offset, app.selected);
}
