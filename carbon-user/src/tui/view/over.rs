//! What lies over the table: the keys, and all that must be said of the numbers.

use super::put;
use super::theme::Theme;
use crate::report::table::{Style as Text, below};
use crate::tui::app::App;
use crate::tui::keys::HELP;
use crate::tui::names::cut;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::widgets::{Clear, Widget};

/// What the signs mean, for the help and for docs/top.md.
const SIGNS: [(&str, &str); 5] = [
    ("0", "no energy: a true zero"),
    ("?", "not known: no meter gave any energy"),
    ("-", "no such number, as W/CPU without CPU time"),
    ("~12", "by a model, two figures"),
    ("_ \u{b7}", "in a curve: zero, and not known"),
];

/// The keys.
pub(super) fn help(app: &App, theme: Theme, buffer: &mut Buffer) {
    let row = |(key, what): &(&str, &str)| format!("{key:<12}  {what}");
    let mut lines: Vec<String> = HELP.iter().map(row).collect();
    lines.push(String::new());
    lines.extend(
        SIGNS.iter().map(row).map(|line| if theme.unicode { line } else { line.replace('\u{b7}', "?") }),
    );
    lines.push(format!(
        "{:<12}  dim: idle or old; W/CPU green below the machine's mean, yellow, red above",
        "looks"
    ));
    show(app, theme, buffer, "keys (arrows scroll, Esc closes)", &lines);
}

/// Meters, quality, intensity and notes in full.
pub(super) fn information(app: &App, theme: Theme, buffer: &mut Buffer) {
    let history = &app.seen().history;
    let Some(update) = &history.last else { return };
    let width = buffer.area.width.saturating_sub(2).max(20);
    let style = Text { width: Some(width), ..Text::default() };
    let text = theme.text(below(&update.top, history.cpu_ns, style));
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    show(app, theme, buffer, "the last window (arrows scroll, Esc closes)", &lines);
}

fn show(app: &App, theme: Theme, buffer: &mut Buffer, title: &str, lines: &[String]) {
    let screen = buffer.area;
    let widest = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0).max(title.len());
    let width = u16::try_from(widest + 2).unwrap_or(u16::MAX).min(screen.width);
    let height = u16::try_from(lines.len() + 1).unwrap_or(u16::MAX).min(screen.height);
    let area = Rect { x: (screen.width - width) / 2, y: (screen.height - height) / 2, width, height };
    Clear.render(area, buffer);
    let bar = format!(" {title:<columns$}", columns = usize::from(width).saturating_sub(1));
    put(buffer, area, (0, 0), &cut(&bar, usize::from(width), theme.unicode), theme.selected());
    let room = usize::from(height.saturating_sub(1));
    let offset = app.over_offset.min(lines.len().saturating_sub(room));
    for (y, line) in (1_u16..height).zip(lines.iter().skip(offset)) {
        let columns = usize::from(width.saturating_sub(1));
        put(buffer, area, (1, y), &cut(line, columns, theme.unicode), Style::new());
    }
}
