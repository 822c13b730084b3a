//! A terminal's screen as a picture, for those who look at what a test saw.

#![expect(clippy::unwrap_used, reason = "clippy excuses functions with #[test] only, not those they call")]

use crate::support::{alone, kernel_or_skip};
use crate::terminal::{Terminal, Work};
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

/// Pixels of a cell, which a font of 14 pixels fills whose letters are 0.602 as wide as high.
const CELL: (f32, f32) = (8.43, 17.0);
const FONT: u32 = 14;
const EDGE: f32 = 10.0;
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
    let (width, height) = (2.0 * EDGE + f32::from(columns) * CELL.0, 2.0 * EDGE + f32::from(rows) * CELL.1);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.1} {height:.1}\" font-family=\"monospace\" \
         font-size=\"{FONT}\">\n<rect width=\"{width:.1}\" height=\"{height:.1}\" rx=\"8\" fill=\"{BACK}\"/>\n"
    );
    for row in 0..rows {
        for column in 0..columns {
            let Some(cell) = screen.cell(row, column) else { continue };
            let (x, y) = (EDGE + f32::from(column) * CELL.0, EDGE + f32::from(row) * CELL.1);
            let (mut front, mut back) = (colour(cell.fgcolor(), TEXT), colour(cell.bgcolor(), BACK));
            if cell.inverse() {
                std::mem::swap(&mut front, &mut back);
            }
            if back != BACK {
                let (cell_width, cell_height) = CELL;
                writeln!(out, "<rect x=\"{x:.2}\" y=\"{y:.1}\" width=\"{cell_width}\" height=\"{cell_height}\" fill=\"{back}\"/>").unwrap();
            }
            let text = cell.contents().replace('&', "&amp;").replace('<', "&lt;");
            if text.trim().is_empty() {
                continue;
            }
            let weight = if cell.bold() { " font-weight=\"bold\"" } else { "" };
            let dim = if cell.dim() { " opacity=\"0.6\"" } else { "" };
            writeln!(
                out,
                "<text x=\"{x:.2}\" y=\"{:.1}\" fill=\"{front}\"{weight}{dim}>{text}</text>",
                y + 13.0
            )
            .unwrap();
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
    assert_eq!(picture.matches(&format!("height=\"17\" fill=\"{TEXT}\"")).count(), 4, "{picture}");
    assert!(carbon_user::report::png::of_svg(&picture).unwrap().png.starts_with(b"\x89PNG"));
}

/// The picture of the README is of this test: it is kept beside the other output of tests, to be looked at.
#[test]
fn a_picture_is_kept_of_what_is_shown() {
    if !kernel_or_skip("a_picture_is_kept_of_what_is_shown") {
        return;
    }
    let _alone = alone();
    let work = Work::start("picture");
    let mut terminal = Terminal::start("--zone FR --meter model --interval 500ms", (32, 112));
    terminal.shows("inner-one");
    terminal.press("t");
    terminal.shows("group: owner");
    // Some windows, so that there are curves.
    sleep(Duration::from_secs(12));
    let svg = terminal.picture();
    let words: String = svg.split('>').filter_map(|part| part.split_once("</text").map(|it| it.0)).collect();
    assert!(words.contains("WORKLOAD") && words.contains("inner-one"), "{words}");
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("terminal");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("top.png"), carbon_user::report::png::of_svg(&svg).unwrap().png).unwrap();
    terminal.press("q");
    assert_eq!(terminal.ends(), "0");
    drop(work);
}
