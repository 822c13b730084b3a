//! The lines around the table: the machine above, meters, quality and keys below.

use super::theme::Theme;
use super::{put, put_right};
use crate::report::figures::{METERED, significant};
use crate::report::{DomainRow, domain_name};
use crate::tui::app::{App, Typing};
use crate::tui::figures::{UNKNOWN, number, watts};
use crate::tui::history::{is_known, joules, nanoseconds};
use crate::tui::keys;
use crate::tui::names::{cut, safe};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

/// Of the machine: watts, what they emit, and the sums since the start. What is special now stands at the right.
pub(super) fn head(app: &App, theme: Theme, buffer: &mut Buffer, area: Rect) {
    if area.height == 0 {
        return;
    }
    let (state, style) = state(app, theme);
    let room =
        usize::from(area.width).saturating_sub(if state.is_empty() { 0 } else { state.chars().count() + 1 });
    let left = Rect { width: u16::try_from(room).unwrap_or(area.width), ..area };
    if let Some(update) = &app.seen().history.last {
        let top = &update.top;
        let metered: u64 = top.domains.iter().map(|domain| domain.metered_uj).sum();
        let dynamic: u64 = top.domains.iter().map(|domain| domain.dynamic_uj).sum();
        let rest: u64 = top.domains.iter().map(|domain| domain.static_uj).sum();
        let quality = worst(&top.domains);
        let power = |uj: u64| number(watts(uj, top.duration_ns), quality, 3);
        let mut x = if is_known(top) {
            put(buffer, left, (0, 0), &format!("{} W", power(metered)), theme.strong())
        } else {
            put(buffer, left, (0, 0), &format!("{UNKNOWN} W: no meter gave any energy"), theme.alarm())
        };
        let grams_per_hour = watts(metered, top.duration_ns) / 1e3 * top.intensity.g_per_kwh * top.pue;
        let seconds = nanoseconds(update.since_start_ns);
        let parts = [
            format!("{} dynamic + {} static", power(dynamic), power(rest)),
            format!("{} gCO2e/h", number(grams_per_hour, quality, 3)),
            format!(
                "{} J, {} gCO2e in {}",
                number(joules(update.sum.energy_uj), quality, 3),
                number(update.sum.grams, quality, 5),
                time(seconds)
            ),
            safe(&top.node),
        ];
        for part in parts.iter().skip(usize::from(!is_known(top)) * 3) {
            x = put(buffer, left, (x, 0), theme.separator(), theme.dim());
            x = put(buffer, left, (x, 0), part, Style::new());
        }
    } else {
        put(buffer, left, (0, 0), "carbon top", theme.strong());
    }
    put_right(buffer, area, 0, &state, style);
}

/// Seconds as people say them.
fn time(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 120.0 => format!("{seconds:.0} s"),
        seconds if seconds < 7_200.0 => format!("{:.0} min", seconds / 60.0),
        seconds => format!("{:.1} h", seconds / 3_600.0),
    }
}

fn worst(domains: &[DomainRow]) -> Option<&'static str> {
    let has = |quality: &str| domains.iter().find(|domain| domain.quality == quality);
    has("modelled").or_else(|| has("sampled")).or(domains.first()).map(|domain| domain.quality)
}

fn state(app: &App, theme: Theme) -> (String, Style) {
    if app.is_paused() {
        return ("PAUSED".to_owned(), theme.state());
    }
    if let Some(age_ns) = app.stale_ns() {
        return (format!("OLD: no window for {}", time(nanoseconds(age_ns))), theme.alarm());
    }
    if !app.filter.is_empty() && app.typing != Typing::Filter {
        return (format!("filter: {}", safe(&app.filter)), theme.state());
    }
    if app.has_missed() && app.typing == Typing::Nothing {
        return (format!("not seen yet: {}", safe(&app.search)), theme.state());
    }
    (String::new(), Style::new())
}

/// What measures, and how well.
pub(super) fn meters(app: &App, theme: Theme, buffer: &mut Buffer, area: Rect) {
    let Some(update) = &app.seen().history.last else { return };
    let top = &update.top;
    let mut x = 0;
    if top.domains.is_empty() {
        x = put(buffer, area, (x, 0), "no meter and no model of this processor", theme.alarm());
    }
    for (place, domain) in top.domains.iter().enumerate() {
        if place > 0 {
            x = put(buffer, area, (x, 0), theme.separator(), theme.dim());
        }
        let (text, style) = meter(domain, top.duration_ns, theme);
        x = put(buffer, area, (x, 0), &text, style);
    }
    let mut parts = vec![
        format!("CPU time: {}", top.accounting),
        format!("split: {}", top.attribution),
        format!("static: {}", top.static_policy),
        format!("{} {} gCO2e/kWh", safe(&top.intensity.zone), significant(top.intensity.g_per_kwh, METERED)),
        format!("window {} s", significant(nanoseconds(top.duration_ns), 2)),
    ];
    match top.notes.len() {
        0 => {}
        1 => parts.push("1 note (i)".to_owned()),
        notes => parts.push(format!("{notes} notes (i)")),
    }
    put(buffer, area, (0, 1), &parts.join(theme.separator()), theme.dim());
}

fn meter(domain: &DomainRow, window_ns: u64, theme: Theme) -> (String, Style) {
    let name = safe(&domain_name(domain.domain, &domain.device));
    let source = safe(&domain.source);
    // What could not be read is no zero.
    if domain.unread > 0 {
        return (format!("{name} NOT READ ({source})"), theme.alarm());
    }
    let power = number(watts(domain.metered_uj, window_ns), Some(domain.quality), 3);
    if domain.gaps > 0 {
        return (format!("{name} {power} W and some HIDDEN ({source})"), theme.alarm());
    }
    let style = if domain.quality == "modelled" { theme.modelled() } else { Style::new() };
    (format!("{name} {power} W {} ({source})", domain.quality), style)
}

/// The keys, or what is typed.
pub(super) fn foot(app: &App, theme: Theme, buffer: &mut Buffer, area: Rect) {
    let typed = match app.typing {
        Typing::Filter => Some(("filter", &app.filter)),
        Typing::Search => Some(("search", &app.search)),
        Typing::Nothing => None,
    };
    // Where there is no row for the keys, what is typed goes over the last one.
    let screen = buffer.area;
    let area = if area.height == 0 && typed.is_some() {
        Rect { y: screen.height.saturating_sub(1), height: 1, ..screen }
    } else {
        area
    };
    let missed = if app.has_missed() { "  not seen yet" } else { "" };
    if let Some((what, text)) = typed {
        let line = format!("{what}: {}_{missed}", safe(text));
        let line = format!("{line:<width$}", width = usize::from(area.width));
        put(buffer, area, (0, 0), &cut(&line, usize::from(area.width), theme.unicode), theme.state());
        return;
    }
    if app.opened.is_some() {
        let x = put(buffer, area, (0, 0), "Esc", theme.strong());
        put(buffer, area, (x, 0), " back to all workloads", Style::new());
        return;
    }
    let mut x = 0;
    for (key, what) in keys::line(app.grouping, app.order.column.as_str(), app.is_paused()) {
        x = put(buffer, area, (x, 0), key, theme.strong());
        x = put(buffer, area, (x, 0), &format!(" {what}  "), Style::new());
    }
}
