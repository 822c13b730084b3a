//! `cargo xtask bench ledger`: how long reports of a large ledger take, with the numbers of a year of hours of 200
//! workloads in 3 domains, of 3 kinds. Sums are compared with what was put in.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark starts programs, looks at the clock and prints"
)]

#[path = "../kernel/doc.rs"]
mod doc;

use anyhow::{Context, Result, ensure};
use carbon_user::attribution::uncertainty::Uncertainty;
use carbon_user::carbon::Intensity;
use carbon_user::ledger::query::{DAY, HOUR, Segment};
use carbon_user::ledger::rows::{BalanceRow, DomainId, EnergyKind, EnergyRow, Flush, Workload};
use carbon_user::ledger::{Factor, Ledger, Location};
use carbon_user::units::{CpuNanos, Microjoules, Pue, Quality};
use clap::Parser;
use rusqlite::Connection;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// 2026-01-01, in UTC.
const BEGIN: i64 = 1_767_225_600;
const DOMAINS: i64 = 3;
const KINDS: i64 = 3;

#[derive(Debug, Parser)]
struct Arguments {
    /// Workloads.
    #[arg(long, default_value_t = 200)]
    workloads: i64,
    /// Days of hours.
    #[arg(long, default_value_t = 365)]
    days: i64,
    /// How often each is timed; the median is told.
    #[arg(long, default_value_t = 5)]
    times: usize,
    /// The file whose section is written anew.
    #[arg(long)]
    document: Option<PathBuf>,
    /// As cargo calls it.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir_in(std::env::temp_dir())?;
    let path = folder.path().join("ledger.db");
    let begun = Instant::now();
    let rows = fill(&path, &arguments)?;
    println!("{rows} hourly rows written in {:.0} s", begun.elapsed().as_secs_f64());
    let bytes = std::fs::metadata(&path)?.len();
    let mut table = String::from("| What | Rows read | Time, median | CPU time |\n|---|---:|---:|---:|\n");
    let mut line = |what: &str, read: i64, took: [Duration; 2]| {
        let [wall, cpu] = took.map(|it| it.as_secs_f64());
        println!("{what}: {read} rows in {wall:.3} s, {cpu:.2} s of CPU time");
        writeln!(table, "| {what} | {read} | {wall:.2} s | {cpu:.2} s |").unwrap_or_default();
    };
    let days = rows / 24;
    let end = BEGIN + arguments.days * DAY;
    let took = median(arguments.times, || report(&path, "month", "UTC", end))?;
    line("`carbon report --by namespace --per month`", days, took);
    // No day of Tokyo is one of UTC, and each of its hours is.
    let took = median(arguments.times, || report(&path, "day", "Asia/Tokyo", end))?;
    line("`carbon report --by namespace --per day --tz Asia/Tokyo`", rows, took);
    let expected: i64 = (0..rows).map(|row| 1000 + row % 997).sum();
    let year = |level_s: i64| vec![Segment { level_s, start_s: BEGIN, end_s: end }];
    let twelfths = |level_s: i64| {
        let at = |part: i64| BEGIN + arguments.days * part / 12 * DAY;
        (0..12).map(|part| Segment { level_s, start_s: at(part), end_s: at(part + 1) }).collect()
    };
    let cases = [
        ("Sums of a year by month, from days", twelfths(DAY), days),
        ("Sums of a year, from hours", year(HOUR), rows),
        ("Sums of a year by month, from hours", twelfths(HOUR), rows),
    ];
    for (what, segments, read) in cases {
        let took = median(arguments.times, || sums(&path, &segments, expected))?;
        line(what, read, took);
    }
    let text = format!(
        "{rows} hourly rows ({} workloads, {DOMAINS} domains, {KINDS} kinds, {} days) in SQLite, {} MB with the days; the file \
         is in the system's cache.\n\n{table}",
        arguments.workloads,
        arguments.days,
        bytes / 1_000_000
    );
    doc::write(arguments.document.as_deref(), "ledger", &text)
}

/// Rows of all hours and days, in the order of their key. Names are made by a flush, as an agent does.
fn fill(path: &Path, arguments: &Arguments) -> Result<i64> {
    let mut ledger = Ledger::open(&Location::File(path.into()))?;
    ledger.flush(&[names(arguments.workloads)])?;
    drop(ledger);
    let mut connection = Connection::open(path)?;
    connection.execute_batch("PRAGMA synchronous = OFF")?;
    let transaction = connection.transaction()?;
    transaction.execute_batch("DELETE FROM energy; DELETE FROM series; DELETE FROM balance;")?;
    let per_hour = arguments.workloads * DOMAINS * KINDS;
    let rows = per_hour * arguments.days * 24;
    transaction.execute(
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ?1 - 1) \
         INSERT INTO series (id, node, workload, domain, kind, factor, quality, rerated) \
         SELECT 1 + i, 1, 1 + i / 9, 1 + (i % 9) / 3, i % 3, 1, 2, 0 FROM n",
        [per_hour],
    )?;
    transaction.execute(
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ?1 - 1) \
         INSERT INTO energy SELECT 3600, ?2 + 3600 * (i / ?3), 1 + i % ?3, 1000 + i % 997, i % 1013, 1.5, 2.5 FROM n",
        (rows, BEGIN, per_hour),
    )?;
    transaction.execute_batch(
        "INSERT INTO energy SELECT 86400, (start_s / 86400) * 86400 AS day, series, SUM(energy_uj), SUM(cpu_ns), \
         SUM(common_uj), SUM(variance_uj2) FROM energy WHERE level_s = 3600 GROUP BY day, series; \
         INSERT INTO balance SELECT level_s, start_s, domain, 1, SUM(energy_uj), \
         SUM(CASE WHEN kind = 0 THEN energy_uj ELSE 0 END), SUM(CASE WHEN kind <> 0 THEN energy_uj ELSE 0 END), 0, 0 \
         FROM energy JOIN series ON series.id = energy.series GROUP BY level_s, start_s, domain",
    )?;
    transaction.commit()?;
    connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
    Ok(rows)
}

fn names(workloads: i64) -> Flush {
    let domains: Vec<DomainId> = (0..DOMAINS)
        .map(|number| DomainId {
            domain: format!("domain{number}"),
            device: format!("device-{number}"),
            source: "a benchmark".into(),
            quality: Quality::Measured,
        })
        .collect();
    let row = |number: i64, domain: &DomainId| EnergyRow {
        workload: Workload {
            identity: format!("/pods/{number}"),
            kind: "container".into(),
            name: format!("c{number}"),
            namespace: Some(format!("ns{}", number % 20)),
            ..Workload::default()
        },
        domain: domain.clone(),
        kind: EnergyKind::Dynamic,
        factor: Factor::new(Intensity::of_unknown_place(), Pue(1.2)),
        quality: Quality::Measured,
        energy: Microjoules(1),
        cpu: CpuNanos(1),
        uncertainty: Uncertainty::default(),
    };
    let balance = |domain: &DomainId| BalanceRow {
        domain: domain.clone(),
        covered_ns: 1,
        metered: Microjoules(workloads.unsigned_abs()),
        attributed: Microjoules(workloads.unsigned_abs()),
        static_energy: Microjoules::ZERO,
        lost: Microjoules::ZERO,
        gaps: 0,
    };
    Flush {
        node: "n".into(),
        name: "names".into(),
        start_s: BEGIN,
        rows: (0..workloads).flat_map(|number| domains.iter().map(move |it| row(number, it))).collect(),
        balances: domains.iter().map(balance).collect(),
    }
}

/// The command itself, from its start to its end.
fn report(path: &Path, per: &str, tz: &str, end: i64) -> Result<()> {
    let output = Command::new(env!("CARGO_BIN_EXE_carbon"))
        .args(["report", "--by", "namespace", "--per", per, "--tz", tz, "--format", "json"])
        .args(["--from", "2026-01-01T00:00Z", "--to"])
        .arg(time(end))
        .env("CARBON_STORE", path)
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let holds = report.pointer("/reconciliation/holds").and_then(serde_json::Value::as_bool);
    ensure!(holds == Some(true), "{report}");
    Ok(())
}

fn time(instant_s: i64) -> String {
    jiff::Timestamp::from_second(instant_s).map(|it| it.to_string()).unwrap_or_default()
}

/// In the library, one by one as a report of months does: a report always takes the coarsest level that there is.
fn sums(path: &Path, segments: &[Segment], expected: i64) -> Result<()> {
    let mut ledger = Ledger::open_to_read(&Location::File(path.into()))?;
    let mut total = 0;
    for segment in segments {
        total += ledger.sums(&[*segment])?.iter().map(|sum| sum.energy_uj).sum::<u64>();
    }
    ensure!(i64::try_from(total)? == expected, "{total} uJ are not {expected} uJ");
    Ok(())
}

/// Wall time and CPU time, the median of each: on a machine with other work the second is what the program needs.
fn median(times: usize, mut what: impl FnMut() -> Result<()>) -> Result<[Duration; 2]> {
    let mut took = Vec::new();
    for _ in 0..times.max(1) {
        let (begun, used) = (Instant::now(), cpu()?);
        what()?;
        took.push([begun.elapsed(), cpu()?.saturating_sub(used)]);
    }
    let middle = |which: fn(&[Duration; 2]) -> Duration| {
        let mut all: Vec<Duration> = took.iter().map(which).collect();
        all.sort();
        all.get(all.len() / 2).copied().context("nothing was timed")
    };
    Ok([middle(|it| it[0])?, middle(|it| it[1])?])
}

/// CPU time of this process and of those that it waited for (proc(5): utime, stime, cutime and cstime, in ticks of 10 ms).
fn cpu() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = text.rsplit_once(')').context("/proc/self/stat has no name")?;
    let ticks = fields.split_whitespace().skip(11).take(4).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(10 * ticks))
}
