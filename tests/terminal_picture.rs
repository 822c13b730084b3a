//! A terminal's screen as a picture, for those who look at what a test saw.

#![expect(clippy::unwrap_used, reason = "clippy excuses functions with #[test] only, not those they call")]

use crate::support::{alone, kernel_or_skip};
use crate::terminal::{Terminal, Work};
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

/// Pixels of a cell, which a font of 15 pixels fills whose letters are 0.602 as wide as high.
const CELL: (u16, u16) = (9, 18);
const FONT: u16 = 15;
const EDGE: u16 = 10;
const BACK: &str = "#10151a";
const TEXT: &str = "#dfe6e2";

/// The sixteen colours that a program may name, on a dark ground.
const COLOURS: [&str; 16] = [
    "#2a3339", "#ff7a66", "#5fd3a6", "#f0c35a", "#6aa8ea", "#c79bea", "#70c9d1", "#cfd8d3", "#7d8a90",
    "#ff9d8a", "#8ae6c2", "#ffd98a", "#9cc8f5", "#dcbcf5", "#9fe2e8", "#ffffff",
];

fn colour(of: vt100::Color, otherwise: &str) -> String {
    match of {
        vt100::Color::Default => otherwise.to_owned(),
        vt100::Color::Idx(number) => match COLOURS.get(usize::from(number)) {
            Some(name) => (*name).to_owned(),
            None => {
                format!("#{}", format!("{:02x}", 8 + 10 * u32::from(number.saturating_sub(232))).repeat(3))
            }
        },
        vt100::Color::Rgb(red, green, blue) => format!("#{red:02x}{green:02x}{blue:02x}"),
    }
}

/// The screen, each cell at its place.
pub(crate) fn svg(screen: &vt100::Screen) -> String {
    let (rows, columns) = screen.size();
    let (width, height) = (2 * EDGE + columns * CELL.0, 2 * EDGE + rows * CELL.1);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"monospace\" \
         font-size=\"{FONT}\">\n<rect width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"{BACK}\"/>\n"
    );
    for row in 0..rows {
        for column in 0..columns {
            let Some(cell) = screen.cell(row, column) else { continue };
            let (x, y) = (EDGE + column * CELL.0, EDGE + row * CELL.1);
            let (mut front, mut back) = (colour(cell.fgcolor(), TEXT), colour(cell.bgcolor(), BACK));
            if cell.inverse() {
                std::mem::swap(&mut front, &mut back);
            }
            let mut filled = |eighths: u16, colour: &str| {
                let (width, height) = (CELL.0, f32::from(CELL.1 * eighths) / 8.0);
                let top = f32::from(y + CELL.1) - height;
                let at = format!("x=\"{x}\" y=\"{top:.2}\" width=\"{width}\" height=\"{height:.2}\"");
                writeln!(out, "<rect {at} fill=\"{colour}\" shape-rendering=\"crispEdges\"/>").unwrap();
            };
            if back != BACK {
                filled(8, &back);
            }
            let text = cell.contents().replace('&', "&amp;").replace('<', "&lt;");
            // Blocks (U+2581 to U+2588) fill their part of the cell, without the seams that letters leave.
            match text.chars().next() {
                None | Some(' ') => {}
                Some(block @ '\u{2581}'..='\u{2588}') => {
                    filled(u16::try_from(u32::from(block) - 0x2580).unwrap(), &front);
                }
                Some(_) => {
                    let weight = if cell.bold() { " font-weight=\"bold\"" } else { "" };
                    let dim = if cell.dim() { " opacity=\"0.6\"" } else { "" };
                    let place = y + CELL.1 - 4;
                    writeln!(
                        out,
                        "<text x=\"{x}\" y=\"{place}\" fill=\"{front}\"{weight}{dim}>{text}</text>"
                    )
                    .unwrap();
                }
            }
        }
    }
    out + "</svg>\n"
}

#[test]
fn a_screen_is_drawn_cell_by_cell() {
    let mut terminal = vt100::Parser::new(2, 20, 0);
    terminal.process(b"\x1b[31mred\x1b[0m <b>\r\n\x1b[7mback\x1b[0m");
    let picture = svg(terminal.screen());
    assert!(picture.contains("fill=\"#ff7a66\">r</text>") && picture.contains(">&lt;</text>"), "{picture}");
    assert_eq!(picture.matches(&format!("height=\"18.00\" fill=\"{TEXT}\"")).count(), 4, "{picture}");
    assert!(carbon_user::report::png::of_svg(&picture).unwrap().png.starts_with(b"\x89PNG"));
}

/// Shows what runs, by owner, for some windows; the picture is kept beside the other output of tests, to be looked at.
fn kept(name: &str, size: (u16, u16), shown: &str) {
    let mut terminal = Terminal::start("--zone FR --meter model --interval 500ms", size);
    terminal.shows(shown);
    terminal.press("t");
    terminal.shows("group: owner");
    // So that there are curves.
    sleep(Duration::from_secs(12));
    let svg = terminal.picture();
    assert!(terminal.text().contains("WORKLOAD") && terminal.text().contains(shown), "{}", terminal.text());
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("terminal");
    fs::create_dir_all(&folder).unwrap();
    let picture = folder.join(name);
    fs::write(&picture, carbon_user::report::png::of_svg(&svg).unwrap().png).unwrap();
    println!("{}", picture.display());
    terminal.press("q");
    assert_eq!(terminal.ends(), "0");
}

#[test]
fn a_picture_is_kept_of_what_is_shown() {
    if !kernel_or_skip("a_picture_is_kept_of_what_is_shown") {
        return;
    }
    let _alone = alone();
    let _work = Work::start("picture");
    kept("top.png", (32, 112), "inner-one");
}

/// What runs on this machine now, for the README: `cargo test --test carbon -- --ignored a_picture_for_the_readme`.
#[test]
#[ignore = "it shows the machine as it is, for whoever sets one up to be shown"]
fn a_picture_for_the_readme() {
    kept("readme.png", (26, 112), "CPU time");
}
