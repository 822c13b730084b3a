//! All that is known of the selected line.

use super::put;
use super::theme::Theme;
use crate::report::figures::between;
use crate::report::top::WorkloadRow;
use crate::tui::app::App;
use crate::tui::figures::{Figures, NONE, UNKNOWN, interval, number, watts};
use crate::tui::history::{is_known, joules, nanoseconds};
use crate::tui::names::{cut, safe};
use crate::tui::tree::Line;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

/// Below the table.
pub(super) fn draw(app: &App, theme: Theme, buffer: &mut Buffer, area: Rect) {
    if area.height == 0 {
        return;
    }
    let rule = if theme.unicode { "\u{2500}" } else { "-" }.repeat(usize::from(area.width));
    put(buffer, area, (0, 0), &rule, theme.dim());
    let (Some(line), Some(update)) = (app.line(), &app.seen().history.last) else { return };
    let series = line
        .keys
        .first()
        .filter(|_| line.folded.is_none())
        .and_then(|key| app.seen().history.series.get(key));
    let window_ns = update.top.duration_ns;
    let mut lines = vec![("name", line.label.clone())];
    lines.push(("power", power(line, window_ns, is_known(&update.top))));
    lines.push(("W per CPU", per_cpu(&line.figures)));
    lines.push(("since start", since(&line.figures, update.since_start_ns)));
    if let Some(series) = series {
        lines.extend(identity(&series.row));
    } else {
        lines.push((
            "sums",
            format!("{} workloads; intervals as if all errors went one way", line.keys.len()),
        ));
    }
    let sources = update.top.domains.iter().map(|domain| safe(&domain.source));
    lines.push(("sources", sources.collect::<Vec<_>>().join(", ")));
    let width = usize::from(area.width);
    for (y, (name, text)) in (1..area.height).zip(lines) {
        put(buffer, area, (0, y), &format!("{name:<11} "), theme.dim());
        let text = cut(&theme.text(text), width.saturating_sub(12), theme.unicode);
        put(buffer, area, (12, y), &text, Style::new());
    }
}

fn power(line: &Line, window_ns: u64, known: bool) -> String {
    let figures = &line.figures;
    let quality = figures.quality;
    if !known {
        return format!("{UNKNOWN}: no meter gave any energy");
    }
    let power = |uj: u64| number(watts(uj, window_ns), quality, 3);
    let (low, high) = figures.dynamic_bounds_uj;
    let spread = between(
        watts(figures.dynamic_uj, window_ns),
        watts(low, window_ns),
        watts(high, window_ns),
        quality.unwrap_or_default(),
    );
    let held = if figures.gpu_uj > 0 || figures.held_uj > 0 {
        let (held, by_devices) = (power(figures.held_uj), power(figures.gpu_uj));
        format!(" + {held} held idle; {by_devices} of the dynamic by accelerators")
    } else {
        String::new()
    };
    format!(
        "{} W = {} dynamic (90 %: {spread}) + {} static{held}; {}",
        power(figures.energy_uj()),
        power(figures.dynamic_uj),
        power(figures.static_uj),
        quality.unwrap_or("idle in the last window")
    )
}

fn per_cpu(figures: &Figures) -> String {
    match (figures.per_cpu(), figures.quality) {
        (Some(per_cpu), Some(quality)) => {
            format!("{} W (90 %: {})", number(per_cpu.0, Some(quality), 3), interval(per_cpu, quality))
        }
        _ => format!("{NONE}: it had no CPU time"),
    }
}

fn since(figures: &Figures, since_start_ns: u64) -> String {
    format!(
        "{} J, {} gCO2e in {:.0} s",
        number(joules(figures.sum.energy_uj), figures.sum_quality, 3),
        number(figures.sum.grams, figures.sum_quality, 6),
        nanoseconds(since_start_ns)
    )
}

/// What its path and an engine say.
fn identity(row: &WorkloadRow) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    let words =
        |words: &[Option<&str>]| words.iter().flatten().map(|word| safe(word)).collect::<Vec<_>>().join(", ");
    let mut kind = row.kind.to_owned();
    if let Some(identity) = &row.workload {
        let told = words(&[
            identity.runtime,
            identity.container_id.as_deref(),
            identity.unit.as_deref(),
            identity.qos,
            identity.vm_name.as_deref(),
        ]);
        kind = format!("{kind}: {told}");
    }
    lines.push(("kind", kind));
    if let Some(known) = &row.known {
        let pod = known.pod.as_deref();
        let told =
            words(&[known.container.as_deref(), known.image.as_deref(), pod, known.namespace.as_deref()]);
        lines.push(("known", format!("{told} (by {})", known.source)));
    }
    if let Some(path) = &row.cgroup {
        lines.push(("cgroup", safe(path)));
    }
    lines
}
