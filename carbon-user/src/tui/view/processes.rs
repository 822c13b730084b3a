//! The processes of one workload.

use super::put;
use super::table::keep_order;
use super::theme::Theme;
use crate::report::process_rows::ProcessRow;
use crate::tui::app::App;
use crate::tui::figures::{number, watts};
use crate::tui::history::nanoseconds;
use crate::tui::names::{cut, safe, turns};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

/// In place of the table.
pub(super) fn draw(app: &App, theme: Theme, buffer: &mut Buffer, area: Rect) {
    let Some(opened) = &app.opened else { return };
    let width = usize::from(area.width);
    let quality = app.seen().history.series.get(&opened.key).map(|series| series.row.quality);
    let title = format!("processes of {}", opened.name);
    put(buffer, area, (0, 0), &cut(&title, width, theme.unicode), theme.strong());
    if let Some(failure) = &opened.failure {
        put(buffer, area, (0, 1), &cut(&safe(failure), width, theme.unicode), theme.alarm());
        return;
    }
    let Some(split) = &opened.split else {
        put(buffer, area, (0, 1), "measuring the first window of its processes ...", theme.dim());
        return;
    };
    let power = |uj: u64| number(watts(uj, split.window_ns), quality, 3);
    let percent = |ns: u64| {
        let seconds = nanoseconds(split.window_ns);
        number(if seconds > 0.0 { 100.0 * nanoseconds(ns) / seconds } else { 0.0 }, None, 1)
    };
    let text =
        format!("{} W dynamic, split by CPU time (of /proc, in steps of 10 ms)", power(split.dynamic_uj));
    put(buffer, area, (0, 1), &text, theme.dim());
    let row = |pid: &str, cpu: &str, watts: &str, name: &str| format!("{pid:>8} {cpu:>7} {watts:>8}  {name}");
    put(buffer, area, (0, 2), &row("PID", "CPU %", "W", "PROCESS"), theme.strong());
    let room = usize::from(area.height.saturating_sub(4));
    let shown = split.rows.iter().skip(opened.offset).take(room);
    let mut y = 3;
    for ProcessRow { pid, comm, cpu_ns, dynamic_uj } in shown {
        let text = row(&pid.to_string(), &percent(*cpu_ns), &power(*dynamic_uj), &safe(comm));
        let style = if *cpu_ns == 0 { theme.dim() } else { Style::new() };
        put(buffer, area, (0, y), &cut(&text, width, theme.unicode), style);
        if turns(comm) {
            keep_order(buffer, area, y, area.width);
        }
        y += 1;
    }
    let below = split.rows.len().saturating_sub(opened.offset + room);
    let hidden = split.rows.get(opened.offset + room..).unwrap_or_default();
    let hidden_uj: u64 = hidden.iter().map(|row| row.dynamic_uj).sum();
    let hidden_ns: u64 = hidden.iter().map(|row| row.cpu_ns).sum();
    let count = split.other.count + u64::try_from(below).unwrap_or(0);
    let rest = if count > 0 {
        format!("and {count} more, and what no process has")
    } else {
        "what no process has (ended ones, accelerators)".to_owned()
    };
    let text =
        row("", &percent(split.other.cpu_ns + hidden_ns), &power(split.other.dynamic_uj + hidden_uj), &rest);
    put(buffer, area, (0, y), &cut(&text, width, theme.unicode), theme.dim());
}
