//! Reports as text for people: every number with its unit, quality and source always in sight.
//!
//! Names of cgroups and processes are given by others: control characters in them never reach the terminal.

use super::figures::{GRAMS, METERED, between, of_quality, printable, reconciled, significant, spread};
use super::run::Run;
use super::top::{SetRow, Top, WorkloadRow};
use super::{AccountsRow, DomainRow, Intensity, domain_name};
use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, Width};
use std::collections::BTreeSet;
use std::fmt::Write;

/// Processes listed at the end of a run.
const PROCESSES_SHOWN: usize = 10;

/// Begin of a line that goes on from the one above.
const INDENT: &str = "    ";

/// Narrowest column of names.
const NAME_WIDTH_MIN: u16 = 16;

/// A terminal that is narrower does not get the column that can be had from its neighbours.
const WIDTH_OF_ALL: u16 = 110;
/// Place of the interval of watts per CPU, which is that of the joules over the CPU time.
const WATTS_SPREAD: usize = 4;

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Columns of the terminal; lines are wrapped to it where known.
    pub width: Option<u16>,
    /// Bold headers. Only for a terminal.
    pub color: bool,
    /// Workloads shown, all where not set; the rest is summed in one line.
    pub rows_max: Option<usize>,
}

/// The table of `carbon top`.
pub fn top(top: &Top, style: Style) -> String {
    let whole_uj: u64 = top.workloads.iter().map(WorkloadRow::energy_uj).sum();
    let seconds = seconds(top.duration_ns);
    let mut table = empty_table(
        style,
        &["WORKLOAD", "CPU s", "W", "W/CPU", "W/CPU, 90 %", "J", "J, 90 %", "gCO2e", "SHARE", "QUALITY"],
    );
    let shown = style.rows_max.unwrap_or(usize::MAX);
    let known = has_energy(&top.domains);
    for row in top.workloads.iter().take(shown) {
        let figures = of_quality(row.quality);
        let joules = joules(row.energy_uj());
        let (name, cpu) = (printable(&row.name), significant(self::seconds(row.cpu_ns), METERED));
        if !known {
            let unknown = || "unknown".to_owned();
            table.add_row([
                name,
                cpu,
                unknown(),
                unknown(),
                unknown(),
                unknown(),
                unknown(),
                unknown(),
                unknown(),
                "none".to_owned(),
            ]);
            continue;
        }
        table.add_row([
            name,
            cpu,
            significant(if seconds > 0.0 { joules / seconds } else { 0.0 }, figures),
            row.watts_per_cpu.map_or_else(String::new, |watts| significant(watts, figures.min(3))),
            watts_spread(row),
            significant(joules, figures),
            spread(joules, self::joules(row.dynamic_stddev_uj), row.quality),
            significant(row.grams, figures),
            share(row.energy_uj(), whole_uj, figures),
            row.quality.to_owned(),
        ]);
    }
    arrange(&mut table, 1..=8, 0);
    if style.width.is_some_and(|width| width < WIDTH_OF_ALL)
        && let Some(spread) = table.column_mut(WATTS_SPREAD)
    {
        spread.set_constraint(ColumnConstraint::Hidden);
    }
    let mut text = trimmed(&table);
    let hidden = top.workloads.get(shown.min(top.workloads.len())..).unwrap_or_default();
    if !hidden.is_empty() {
        let hidden_uj = hidden.iter().map(WorkloadRow::energy_uj).sum();
        let figures = hidden.iter().map(|row| of_quality(row.quality)).min().unwrap_or(METERED);
        line(
            &mut text,
            &format!("and {} more with {} J", hidden.len(), significant(joules(hidden_uj), figures)),
        );
    }
    let cpu_ns = top.workloads.iter().map(|row| row.cpu_ns).sum();
    text + "\n" + &below(top, cpu_ns, style)
}

/// What stands below the table: what the workloads, which used `cpu_ns` of CPU time, sum to, and what else must be said.
pub fn below(top: &Top, cpu_ns: u64, style: Style) -> String {
    let mut text = String::new();
    let seconds = seconds(top.duration_ns);
    line(&mut text, &format!("{} s on {}", significant(seconds, METERED), printable(&top.node)));
    energy_lines(&mut text, &top.domains, top.static_policy);
    set_lines(&mut text, &top.sets);
    line(&mut text, &accounts_line(cpu_ns, &top.accounts, top.accounting));
    line(&mut text, &intensity_line(&top.intensity, top.pue));
    note_lines(&mut text, &top.notes);
    wrapped(&text, style)
}

/// The 90 % interval of watts per CPU, in the words of the other intervals.
fn watts_spread(row: &WorkloadRow) -> String {
    match (row.watts_per_cpu, row.watts_per_cpu_low, row.watts_per_cpu_high) {
        (Some(watts), Some(low), Some(high)) => between(watts, low, high, row.quality),
        _ => String::new(),
    }
}

/// The summary at the end of `carbon run`.
pub fn run(run: &Run, style: Style) -> String {
    let figures = of_quality(run.quality);
    let mut text = String::new();
    let known = has_energy(&run.domains);
    line(
        &mut text,
        &format!(
            "CPU time  {} s in {} s (accounting: {})",
            significant(seconds(run.cpu_ns), METERED),
            significant(seconds(run.duration_ns), METERED),
            run.accounting
        ),
    );
    let dynamic = joules(run.dynamic_uj);
    if known {
        let shared = match run.static_policy {
            "separate" => "static energy of the node not shared".to_owned(),
            _ => format!(
                "{} J static (shared: {})",
                significant(joules(run.static_uj), figures),
                shared_by(&run.domains)
            ),
        };
        let spread = spread(dynamic, joules(run.dynamic_stddev_uj), run.quality);
        let dynamic = significant(dynamic, figures);
        line(&mut text, &format!("energy    {dynamic} J dynamic (90 %: {spread} J), {shared}"));
        if let (Some(gpu), Some(held)) = (run.gpu_uj, run.held_uj) {
            let (gpu, held) = (significant(joules(gpu), figures), significant(joules(held), figures));
            line(
                &mut text,
                &format!("GPU       {gpu} J of the dynamic energy, and {held} J idle while it was held"),
            );
        }
        let interval = match (run.grams_low, run.grams_high) {
            (Some(low), Some(high)) => {
                format!(" (90 %: {} to {} g)", significant(low, GRAMS), significant(high, GRAMS))
            }
            _ => String::new(),
        };
        line(&mut text, &format!("CO2e      {} g{interval}", significant(run.grams, GRAMS)));
    } else {
        line(&mut text, "energy    unknown");
        line(&mut text, "CO2e      unknown");
    }
    line(
        &mut text,
        &format!("quality   {}", if known { run.quality } else { "none: no domain gave any energy" }),
    );
    run.parts.lines(&mut text, run.dynamic_uj, run.quality);
    energy_lines(&mut text, &run.domains, run.static_policy);
    line(&mut text, &intensity_line(&run.intensity, run.pue));
    note_lines(&mut text, &run.notes);
    let mut text = wrapped(&text, style);
    if !run.processes.is_empty() || run.processes_other.cpu_ns > 0 {
        text.push('\n');
        text.push_str(&process_table(run, style));
    }
    text
}

/// Whether there is any energy to speak of: what no domain gave is unknown, not zero.
fn has_energy(domains: &[DomainRow]) -> bool {
    domains.iter().any(|domain| domain.metered_uj > 0)
}

/// Lines that are longer than the terminal is wide go on below, a little to the right.
pub(super) fn wrapped(text: &str, style: Style) -> String {
    let Some(width) = style.width.map(usize::from).filter(|width| *width > 2 * INDENT.len()) else {
        return text.to_owned();
    };
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let mut used = 0;
        for word in line.split_inclusive(' ') {
            let length = word.trim_end().chars().count();
            if used > INDENT.len() && used + length > width && line.chars().count() > width {
                out.truncate(out.trim_end_matches(' ').len());
                out.push('\n');
                out.push_str(INDENT);
                used = INDENT.len();
            }
            out.push_str(word);
            used += word.chars().count();
        }
        out.push('\n');
    }
    out
}

fn process_table(run: &Run, style: Style) -> String {
    let figures = of_quality(run.quality);
    let mut table = empty_table(style, &["PID", "PROCESS", "CPU s", "J"]);
    for row in run.processes.iter().take(PROCESSES_SHOWN) {
        table.add_row([
            row.pid.to_string(),
            printable(&row.comm),
            significant(seconds(row.cpu_ns), METERED),
            significant(joules(row.dynamic_uj), figures),
        ]);
    }
    arrange(&mut table, [0, 2, 3], 1);
    let mut text = trimmed(&table);
    let hidden = run.processes.get(PROCESSES_SHOWN.min(run.processes.len())..).unwrap_or_default();
    let hidden_count = hidden.len() as u64 + run.processes_other.count;
    let hidden_uj = hidden.iter().map(|row| row.dynamic_uj).sum::<u64>() + run.processes_other.dynamic_uj;
    let hidden_joules = significant(joules(hidden_uj), figures);
    if run.processes.is_empty() {
        text.clear();
        line(&mut text, &format!("processes not seen one by one: {hidden_joules} J"));
    } else if hidden_count > 0 {
        line(&mut text, &format!("and {hidden_count} more with {hidden_joules} J"));
    } else if hidden_uj > 0 {
        line(&mut text, &format!("and {hidden_joules} J of the run that no listed process has"));
    }
    text
}

/// One line a domain, in which the printed numbers add up.
fn energy_lines(text: &mut String, domains: &[DomainRow], policy: &str) {
    for row in domains {
        let figures = of_quality(row.quality);
        let (metered, parts) =
            reconciled(row.metered_uj, &[row.dynamic_uj, row.static_uj, row.lost_uj], figures);
        let [dynamic, idle, lost] = &parts[..] else { continue };
        let bounds = match (row.low_uj, row.high_uj) {
            (Some(low), Some(high)) => format!(
                " (90 %: {} to {} J)",
                significant(joules(low), figures),
                significant(joules(high), figures)
            ),
            _ => String::new(),
        };
        let before = row
            .resumed_windows
            .map_or_else(String::new, |windows| format!(", watts learned from {windows} windows before"));
        let held = row.held_uj.filter(|held| *held > 0).map_or_else(String::new, |held| {
            format!(", of it {} J of its holders", significant(joules(held), figures))
        });
        let verb = if row.quality == "modelled" { "modelled" } else { "metered" };
        line(
            text,
            &format!(
                "{}: {metered} J {verb}{bounds} = {dynamic} J attributed + {idle} J static ({}{held}) + {lost} J \
                 lost; {}{}, {}{before}",
                printable(&domain_name(row.domain, &row.device)),
                row.static_by.map_or_else(|| policy.to_owned(), |by| format!("{policy}: {}", words(by))),
                row.quality,
                if row.split_quality == row.quality {
                    String::new()
                } else {
                    format!(", split {}", row.split_quality)
                },
                printable(&row.source)
            ),
        );
        part_lines(text, row);
    }
}

/// Parts of an accelerator, below its line.
fn part_lines(text: &mut String, row: &DomainRow) {
    for part in &row.parts {
        let energy = significant(joules(part.energy_uj), of_quality(part.quality));
        line(text, &format!("{INDENT}{} {}: {energy} J, {}", part.kind, printable(&part.name), part.quality));
    }
}

/// What static energy is shared by, of all domains.
fn shared_by(domains: &[DomainRow]) -> String {
    let by: BTreeSet<&str> = domains.iter().filter_map(|domain| domain.static_by).collect();
    if by.is_empty() {
        "with nobody".to_owned()
    } else {
        by.into_iter().map(words).collect::<Vec<_>>().join(", ")
    }
}

/// The words of [`SharedBy`](crate::attribution::static_policy::SharedBy) in a sentence.
fn words(by: &str) -> String {
    match by {
        "cpu-time" => "by CPU time".to_owned(),
        "alive" => "by being there".to_owned(),
        "cpu-weight" => "by cpu.weight, a fallback".to_owned(),
        other => format!("by {}", other.replace('-', " ")),
    }
}

/// One line a set.
fn set_lines(text: &mut String, sets: &[SetRow]) {
    for set in sets {
        let energy = joules(set.dynamic_uj);
        line(
            text,
            &format!(
                "rise and fall together on {}: {}; together {} J (90 %: {} J), each much less sure",
                printable(&set.device),
                set.names.iter().map(|name| printable(name)).collect::<Vec<_>>().join(", "),
                significant(energy, METERED),
                spread(energy, joules(set.dynamic_stddev_uj), "measured"),
            ),
        );
    }
}

fn accounts_line(cpu_ns: u64, accounts: &AccountsRow, rung: &str) -> String {
    let figure = |ns| significant(seconds(ns), METERED);
    format!(
        "CPU time ({rung}): {} s workloads, {} s idle, {} s interrupts and steal, {} s missed, {} s overflow, {} \
         switches missed",
        figure(cpu_ns),
        figure(accounts.idle_ns),
        figure(accounts.irq_steal_ns),
        figure(accounts.missed_ns),
        figure(accounts.overflow_ns),
        accounts.missed_switches
    )
}

fn intensity_line(intensity: &Intensity, pue: f64) -> String {
    format!(
        "CO2e at {} g/kWh ({} {}, {}, {}; {}), PUE {}",
        significant(intensity.g_per_kwh, METERED),
        printable(&intensity.zone),
        intensity.year,
        printable(&intensity.boundary),
        printable(&intensity.basis),
        printable(&intensity.source),
        significant(pue, 3)
    )
}

fn note_lines(text: &mut String, notes: &[String]) {
    for note in notes {
        line(text, &format!("note: {}", printable(note)));
    }
}

pub(super) fn line(text: &mut String, content: &str) {
    // Writing to a String cannot fail.
    writeln!(text, "{content}").unwrap_or_default();
}

pub(super) fn empty_table(style: Style, header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header.iter().map(|name| {
        let cell = Cell::new(name);
        if style.color { cell.add_attribute(Attribute::Bold) } else { cell }
    }));
    if style.color {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    match style.width {
        Some(width) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    table
}

/// Numbers stand right, and only `name` may be wrapped on a narrow terminal.
pub(super) fn arrange(table: &mut Table, numbers: impl IntoIterator<Item = usize>, name: usize) {
    let narrow = matches!(table.content_arrangement(), ContentArrangement::Dynamic);
    for (index, column) in table.column_iter_mut().enumerate().filter(|_| narrow) {
        column.set_constraint(if index == name {
            ColumnConstraint::LowerBoundary(Width::Fixed(NAME_WIDTH_MIN))
        } else {
            ColumnConstraint::ContentWidth
        });
    }
    for index in numbers {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

pub(super) fn trimmed(table: &Table) -> String {
    let mut text = table.trim_fmt();
    text.push('\n');
    text
}

fn share(part_uj: u64, whole_uj: u64, figures: usize) -> String {
    if whole_uj == 0 {
        return "0 %".to_owned();
    }
    format!("{} %", significant(100.0 * joules(part_uj) / joules(whole_uj), figures.min(3)))
}

#[expect(clippy::cast_precision_loss, reason = "a display value")]
pub(super) fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[expect(clippy::cast_precision_loss, reason = "a display value")]
pub(super) fn joules(uj: u64) -> f64 {
    uj as f64 / 1e6
}
