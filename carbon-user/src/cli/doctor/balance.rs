//! `carbon doctor --balance`: the books, the hook and cpu.stat side by side, key by key, over the same time.
//!
//! The three take CPU time in different ways, so where they agree none of them loses any. The edges of the three
//! are a moment apart, and what runs at an edge is booked up to its last tick: a tick of each CPU is no
//! disagreement.

use super::options::DoctorOptions;
use crate::cli::error::CliError;
use crate::cli::progress::Progress;
use crate::clock;
use crate::report::AccountsRow;
use crate::report::figures::{METERED, printable, significant};
use crate::sched::{self, Accounting, Limits, ProgramTime, Rung, SchedError};
use crate::topology::Topology;
use crate::units::CgroupId;
use crate::window::{Accounts, Class, SchedSnapshot, Usage, WorkloadKey};
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;

/// Shares of a key's time that the ways may differ by.
const TOLERANCE_RATIO: f64 = 0.005;
/// The longest tick of a kernel that is in use (`CONFIG_HZ=100`).
const TICK_NS: u64 = 10_000_000;
/// Rows of the table; all are in the JSON.
const ROWS_SHOWN: usize = 20;
/// In this order.
const RUNGS: [Rung; 3] = [Rung::Books, Rung::Hook, Rung::CpuStat];

/// `carbon.balance/1`.
#[derive(Debug, Serialize)]
pub(super) struct Balance {
    schema: &'static str,
    /// Every key agrees.
    pub(super) balanced: bool,
    duration_ns: u64,
    cpus_online: u32,
    /// CPUs times duration.
    wall_ns: u64,
    /// Keys, most time first.
    rows: Vec<BalanceRow>,
    /// By way of accounting.
    accounts: Vec<BalanceAccounts>,
    /// The kernel programs' own run time.
    programs: Vec<ProgramRow>,
    /// CPU time of this process, its iterators included.
    own_ns: u64,
}

#[derive(Debug, Serialize)]
struct BalanceRow {
    name: String,
    cgroup_id: u64,
    kind: &'static str,
    books_ns: u64,
    hook_ns: u64,
    /// `null` where cpu.stat has no such key: kernel threads, and cgroups that are gone.
    cpustat_ns: Option<u64>,
    agrees: bool,
}

#[derive(Debug, Serialize)]
struct BalanceAccounts {
    accounting: &'static str,
    workloads_ns: u64,
    #[serde(flatten)]
    accounts: AccountsRow,
    /// What no account has: CPUs times duration less all of them.
    unexplained_ns: i64,
}

#[derive(Debug, Serialize)]
struct ProgramRow {
    program: String,
    runs: u64,
    run_time_ns: u64,
}

/// Measures for `duration`.
pub(super) fn measure(options: &DoctorOptions, duration: Duration) -> Result<Balance, CliError> {
    let failed = |error: SchedError| {
        let advice = error.advice();
        CliError::measuring(error, advice)
    };
    let topology = Topology::read(&options.root).map_err(CliError::cannot_measure)?;
    let timing = sched::time_programs().map_err(failed)?;
    let mut ways = Vec::with_capacity(RUNGS.len());
    for rung in RUNGS {
        ways.push(sched::open(rung, &options.root, &topology, Limits::default()).map_err(failed)?);
    }
    let own_before = clock::process_cpu_ns();
    let programs_before = timing.programs();
    let begun_ns = clock::monotonic_ns();
    let starts = snapshots(&mut ways).map_err(failed)?;
    wait(begun_ns, duration, &mut ways).map_err(failed)?;
    let duration_ns = clock::monotonic_ns().saturating_sub(begun_ns);
    let ends = snapshots(&mut ways).map_err(failed)?;
    let grown: Vec<(Usage, Accounts)> = starts
        .iter()
        .zip(&ends)
        .map(|(start, end)| (end.usage.since(&start.usage).0, end.accounts.since(&start.accounts)))
        .collect();
    let cpus_online = topology.cpus_online();
    let wall_ns = duration_ns.saturating_mul(cpus_online.into());
    let path = |cgroup| ways.iter().find_map(|way| way.cgroup_path(cgroup)).map(str::to_owned);
    let rows = rows(&grown, path, u64::from(cpus_online) * TICK_NS);
    Ok(Balance {
        schema: "carbon.balance/1",
        balanced: rows.iter().all(|row| row.agrees),
        duration_ns,
        cpus_online,
        wall_ns,
        rows,
        accounts: RUNGS.iter().zip(&grown).map(|(rung, grown)| accounts(*rung, grown, wall_ns)).collect(),
        programs: programs(&programs_before, timing.programs()),
        own_ns: clock::process_cpu_ns().saturating_sub(own_before),
    })
}

fn snapshots(ways: &mut [Box<dyn Accounting>]) -> Result<Vec<SchedSnapshot>, SchedError> {
    ways.iter_mut().map(|way| way.snapshot()).collect()
}

fn wait(begun_ns: u64, duration: Duration, ways: &mut [Box<dyn Accounting>]) -> Result<(), SchedError> {
    let progress = Progress::begin(false, "comparing", duration);
    loop {
        let passed = Duration::from_nanos(clock::monotonic_ns().saturating_sub(begun_ns));
        progress.at(passed);
        let left = duration.saturating_sub(passed);
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(Duration::from_millis(500)));
        for way in ways.iter_mut() {
            way.drain()?;
        }
    }
}

/// Time of each key by each way, in the order of [`RUNGS`].
fn rows(
    grown: &[(Usage, Accounts)],
    path: impl Fn(CgroupId) -> Option<String>,
    ticks_ns: u64,
) -> Vec<BalanceRow> {
    let mut keys: HashMap<WorkloadKey, [Option<u64>; 3]> = HashMap::new();
    for (way, (usage, _)) in grown.iter().enumerate() {
        for (key, nanos) in usage.rows() {
            let times = keys.entry(key).or_default();
            if let Some(time) = times.get_mut(way) {
                *time = Some(nanos.iter().map(|nanos| nanos.0).sum());
            }
        }
    }
    let mut rows: Vec<BalanceRow> = keys
        .into_iter()
        .map(|(key, [books, hook, cpustat])| {
            let (books_ns, hook_ns) = (books.unwrap_or(0), hook.unwrap_or(0));
            // cpu.stat of the root holds kernel threads and interrupts too, so it is no third opinion there.
            let cpustat_ns = cpustat.filter(|_| key.cgroup != CgroupId::ROOT);
            let kernel = key.class == Class::KernelThreads;
            let name = path(key.cgroup).unwrap_or_else(|| format!("cgroup {}", key.cgroup.0));
            BalanceRow {
                name: if kernel { "kernel threads".to_owned() } else { name },
                cgroup_id: key.cgroup.0,
                kind: if kernel { "kernel" } else { "cgroup" },
                books_ns,
                hook_ns,
                cpustat_ns,
                agrees: agree(books_ns, hook_ns, ticks_ns)
                    && cpustat_ns.is_none_or(|cpustat_ns| agree(books_ns, cpustat_ns, ticks_ns)),
            }
        })
        .collect();
    rows.sort_by_key(|row| (Reverse(row.books_ns.max(row.hook_ns)), row.cgroup_id));
    rows
}

#[expect(clippy::cast_precision_loss, reason = "a comparison within half a per cent")]
fn agree(one_ns: u64, other_ns: u64, ticks_ns: u64) -> bool {
    one_ns.abs_diff(other_ns) as f64 <= ticks_ns as f64 + TOLERANCE_RATIO * one_ns.max(other_ns) as f64
}

fn accounts(rung: Rung, (usage, accounts): &(Usage, Accounts), wall_ns: u64) -> BalanceAccounts {
    let workloads_ns = usage.total().0;
    let known =
        [workloads_ns, accounts.idle_ns, accounts.irq_steal_ns, accounts.missed_ns, accounts.overflow_ns];
    let known = known.iter().fold(0_u64, |sum, part| sum.saturating_add(*part));
    BalanceAccounts {
        accounting: rung.as_str(),
        workloads_ns,
        accounts: AccountsRow::from(accounts),
        unexplained_ns: wall_ns.cast_signed().saturating_sub(known.cast_signed()),
    }
}

fn programs(before: &[ProgramTime], now: Vec<ProgramTime>) -> Vec<ProgramRow> {
    let mut rows: Vec<ProgramRow> = now
        .into_iter()
        .map(|program| {
            let before = before.iter().find(|before| before.id == program.id);
            ProgramRow {
                runs: program.runs.saturating_sub(before.map_or(0, |before| before.runs)),
                run_time_ns: program
                    .run_time_ns
                    .saturating_sub(before.map_or(0, |before| before.run_time_ns)),
                program: program.name,
            }
        })
        .filter(|row| row.runs > 0)
        .collect();
    rows.sort_by_key(|row| Reverse(row.run_time_ns));
    rows
}

impl Balance {
    pub(super) fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }

    /// Times in CPU seconds.
    pub(super) fn to_table(&self) -> String {
        let mut text = format!(
            "{:>12} {:>12} {:>12}  {:5}  {}\n",
            "books, s", "hook, s", "cpu.stat, s", "agree", "cgroup"
        );
        for row in self.rows.iter().take(ROWS_SHOWN) {
            let cpustat = row.cpustat_ns.map_or_else(|| "-".to_owned(), seconds);
            let (books, hook, agrees) = (seconds(row.books_ns), seconds(row.hook_ns), word(row.agrees));
            line(
                &mut text,
                &format!("{books:>12} {hook:>12} {cpustat:>12}  {agrees:5}  {}", printable(&row.name)),
            );
        }
        if self.rows.len() > ROWS_SHOWN {
            let rest = self.rows.iter().skip(ROWS_SHOWN);
            let apart = rest.filter(|row| !row.agrees).count();
            line(&mut text, &format!("and {} more, {apart} of which disagree", self.rows.len() - ROWS_SHOWN));
        }
        let (duration, wall) = (seconds(self.duration_ns), seconds(self.wall_ns));
        line(&mut text, &format!("\n{} CPUs x {duration} s = {wall} s", self.cpus_online));
        for row in &self.accounts {
            line(&mut text, &accounts_line(row));
        }
        for row in &self.programs {
            #[expect(clippy::cast_precision_loss, reason = "a display value")]
            let each = row.run_time_ns as f64 / row.runs as f64;
            let each = significant(each, 3);
            line(
                &mut text,
                &format!(
                    "{}: {} runs, {each} ns each, {} s",
                    row.program,
                    row.runs,
                    seconds(row.run_time_ns)
                ),
            );
        }
        line(&mut text, &format!("this process: {} s of CPU time", seconds(self.own_ns)));
        let verdict = "every key agrees within 0.5 % and a tick of each CPU";
        line(&mut text, if self.balanced { verdict } else { "NOT balanced: see the keys that disagree" });
        text
    }
}

fn accounts_line(row: &BalanceAccounts) -> String {
    let accounts = &row.accounts;
    format!(
        "{}: {} s workloads, {} s idle, {} s interrupts and steal, {} s missed in {} switches, {} s overflow, {} events \
         lost, {} totals held, {} s unexplained",
        row.accounting,
        seconds(row.workloads_ns),
        seconds(accounts.idle_ns),
        seconds(accounts.irq_steal_ns),
        seconds(accounts.missed_ns),
        accounts.missed_switches,
        seconds(accounts.overflow_ns),
        accounts.lost_events,
        accounts.clamped,
        if row.unexplained_ns < 0 {
            format!("-{}", seconds(row.unexplained_ns.unsigned_abs()))
        } else {
            seconds(row.unexplained_ns.unsigned_abs())
        }
    )
}

fn word(agrees: bool) -> &'static str {
    if agrees { "yes" } else { "NO" }
}

fn line(text: &mut String, content: &str) {
    // Writing to a String cannot fail.
    writeln!(text, "{content}").unwrap_or_default();
}

#[expect(clippy::cast_precision_loss, reason = "a display value")]
fn seconds(ns: u64) -> String {
    significant(ns as f64 / 1e9, METERED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::CpuNanos;

    #[test]
    fn keys_that_differ_by_more_than_ticks_are_named() {
        let usage = |rows: &[(u64, u64)]| {
            let mut usage = Usage::new(1);
            for (cgroup, ms) in rows {
                usage.push(WorkloadKey::cgroup(CgroupId(*cgroup)), &[CpuNanos(ms * 1_000_000)]);
            }
            (usage, Accounts::default())
        };
        let grown = [
            usage(&[(7, 5_000), (8, 300), (9, 1), (1, 10)]),
            usage(&[(7, 4_990), (8, 200), (1, 10)]),
            usage(&[(7, 5_001), (8, 300), (1, 900)]),
        ];
        let rows = rows(&grown, |_| None, 20_000_000);
        let said: Vec<_> =
            rows.iter().map(|row| (row.cgroup_id, row.cpustat_ns.is_some(), row.agrees)).collect();
        assert_eq!(said, [(7, true, true), (8, true, false), (1, false, true), (9, false, true)]);
    }
}
