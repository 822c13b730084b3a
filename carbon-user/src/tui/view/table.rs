//! The table of workloads.

use super::areas::{Placed, Shows, columns};
use super::curve::curve;
use super::put;
use super::theme::Theme;
use crate::tui::app::App;
use crate::tui::figures::{Figures, NONE, UNKNOWN, interval, number, watts};
use crate::tui::history::{Key, added, is_known, nanoseconds};
use crate::tui::names::{LEFT_TO_RIGHT, cut, cut_middle, turns};
use crate::tui::tree::Line;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

/// Decimal places of watts and joules, and of grams.
const PLACES: usize = 3;
const GRAMS_PLACES: usize = 5;

/// What all rows have in common.
pub(super) struct Window {
    known: bool,
    length_ns: u64,
    /// Of the machine, of what CPU time is the cause of.
    mean_per_cpu: Option<f64>,
    stale: bool,
}

impl Window {
    pub(super) fn of(app: &App) -> Option<Self> {
        let history = &app.seen().history;
        let top = &history.last.as_ref()?.top;
        let all = history.series.values().map(Figures::of);
        let sum = all.fold(Figures::default(), |sum, figures| sum.plus(&figures));
        Some(Self {
            known: is_known(top),
            length_ns: top.duration_ns,
            mean_per_cpu: sum.per_cpu().map(|(watts, ..)| watts).filter(|watts| *watts > 0.0),
            stale: app.stale_ns().is_some(),
        })
    }
}

/// Names of the columns; the one that sorts is marked.
pub(super) fn header(app: &App, theme: Theme, buffer: &mut Buffer, area: Rect) {
    if area.height == 0 {
        return;
    }
    let mark = match (theme.unicode, app.order.reverse) {
        (true, false) => '\u{25bc}',
        (true, true) => '\u{25b2}',
        (false, false) => 'v',
        (false, true) => '^',
    };
    for column in columns(area.width) {
        let sorts = column.kind.sorts() == Some(app.order.column)
            && !matches!(column.kind, Shows::Interval | Shows::Grams);
        let title =
            if sorts { format!("{}{mark}", column.kind.title()) } else { column.kind.title().to_owned() };
        cell(buffer, area, 0, column, &title, theme.strong());
    }
}

/// The lines that fit.
pub(super) fn rows(app: &App, theme: Theme, buffer: &mut Buffer, area: Rect) {
    let Some(window) = Window::of(app) else {
        put(buffer, area, (0, 0), "measuring the first window ...", theme.dim());
        return;
    };
    if app.lines.is_empty() {
        let why = if app.filter.is_empty() {
            "nothing ran"
        } else {
            "nothing has that in its name; Esc ends the filter"
        };
        put(buffer, area, (0, 0), why, theme.dim());
    }
    let columns = columns(area.width);
    let shown = app.lines.iter().enumerate().skip(app.offset).take(usize::from(area.height));
    for (y, (place, line)) in (0_u16..).zip(shown) {
        for column in &columns {
            let (text, style) = content(app, theme, &window, line, *column);
            let style = if window.stale || !line.runs { style.patch(theme.dim()) } else { style };
            // A number that was cut in silence would be another number.
            let text = cut(&text, usize::from(column.width), theme.unicode);
            cell(buffer, area, y, *column, &text, style);
        }
        if turns(&line.label)
            && let Some(name) = columns.first()
        {
            keep_order(buffer, area, y, name.width);
        }
        if place == app.selected {
            let row = Rect { y: area.y + y, height: 1, ..area };
            buffer.set_style(row.intersection(buffer.area), theme.selected());
        }
    }
}

/// A line whose name is written from right to left begins from left to right all the same, and its numbers, behind the
/// `name` columns of that, too.
pub(super) fn keep_order(buffer: &mut Buffer, area: Rect, y: u16, name: u16) {
    if let Some(cell) = buffer.cell_mut((area.x, area.y + y)) {
        let symbol = format!("{LEFT_TO_RIGHT}{}", cell.symbol());
        cell.set_symbol(&symbol);
    }
    if let Some(cell) = buffer.cell_mut((area.x + name.saturating_sub(1), area.y + y)) {
        let symbol = format!("{}{LEFT_TO_RIGHT}", cell.symbol());
        cell.set_symbol(&symbol);
    }
}

fn cell(buffer: &mut Buffer, area: Rect, y: u16, column: Placed, text: &str, style: Style) {
    let width = usize::from(column.width);
    let used = text.chars().count();
    let left = if column.kind.is_left() { 0 } else { width.saturating_sub(used) };
    let x = column.x + u16::try_from(left).unwrap_or(0);
    let room = Rect { width: (column.x + column.width).min(area.width), ..area };
    put(buffer, room, (x, y), text, style);
}

fn content(app: &App, theme: Theme, window: &Window, line: &Line, column: Placed) -> (String, Style) {
    let figures = &line.figures;
    let plain = Style::new();
    let quality = figures.quality;
    let width = usize::from(column.width);
    let style_of = |quality| if quality == Some("modelled") { theme.modelled() } else { plain };
    let of_model = style_of(quality);
    // A sum has the quality of what was summed, also while nothing runs.
    let (sum_quality, of_sum) = (figures.sum_quality, style_of(figures.sum_quality));
    let unknown = || (UNKNOWN.to_owned(), theme.alarm());
    match column.kind {
        Shows::Name => {
            let name = named(theme, line, width);
            let style = if line.folded.is_some() { theme.strong() } else { plain };
            (name, style)
        }
        Shows::Cpu => {
            let seconds = nanoseconds(window.length_ns);
            let percent = if seconds > 0.0 { 100.0 * nanoseconds(figures.cpu_ns) / seconds } else { 0.0 };
            (number(percent, None, 1), plain)
        }
        Shows::Curve => {
            let series = &app.seen().history.series;
            let curves = line.keys.iter().filter_map(|key: &Key| series.get(key)).map(|series| &series.watts);
            (curve(&added(curves), width, theme.unicode), theme.curve())
        }
        Shows::Quality => match (window.known, quality) {
            (false, _) => ("none".to_owned(), theme.alarm()),
            (true, Some(quality)) => (quality.to_owned(), of_model),
            (true, None) => ("idle".to_owned(), plain),
        },
        Shows::Joules => {
            let joules = crate::tui::history::joules(figures.sum.energy_uj);
            (number(joules, sum_quality, PLACES), of_sum)
        }
        Shows::Grams => (number(figures.sum.grams, sum_quality, GRAMS_PLACES), of_sum),
        Shows::Watts if window.known => {
            (number(watts(figures.energy_uj(), window.length_ns), quality, PLACES), of_model)
        }
        Shows::PerCpu if window.known => match (figures.per_cpu(), window.mean_per_cpu) {
            (Some((watts, ..)), Some(mean)) => (number(watts, quality, 2), theme.heat(watts / mean)),
            (Some((watts, ..)), None) => (number(watts, quality, 2), plain),
            (None, _) => (NONE.to_owned(), plain),
        },
        Shows::Interval if window.known => match figures.per_cpu() {
            Some(per_cpu) => (theme.text(interval(per_cpu, quality.unwrap_or_default())), plain),
            None => (NONE.to_owned(), plain),
        },
        Shows::Watts | Shows::PerCpu | Shows::Interval => unknown(),
    }
}

/// Its name, as far to the right as it is deep, behind the sign of a group.
fn named(theme: Theme, line: &Line, width: usize) -> String {
    let mark = match (line.folded, theme.unicode) {
        (Some(false), true) => "\u{25be} ",
        (Some(true), true) => "\u{25b8} ",
        (Some(false), false) => "- ",
        (Some(true), false) => "+ ",
        (None, _) if line.depth > 0 => "  ",
        (None, _) => "",
    };
    let before = format!("{}{mark}", "  ".repeat(line.depth));
    let room = width.saturating_sub(before.chars().count());
    before + &cut_middle(&line.label, room, theme.unicode)
}
