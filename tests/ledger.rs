//! The ledger on both databases: the same tests. The PostgreSQL server is a real one, started here.

#![expect(clippy::unwrap_used, reason = "clippy excuses functions with #[test] only, not those they call")]

use crate::postgres::Server;
use carbon_user::attribution::uncertainty::Uncertainty;
use carbon_user::carbon::kind::{Flow, Signal, Span};
use carbon_user::carbon::series::{Point, Series};
use carbon_user::carbon::{Intensity, Kind};
use carbon_user::ledger::query::{Balance, DAY, HOUR, MINUTE};
use carbon_user::ledger::rows::{
    BalanceRow, DomainId, EnergyKind, EnergyRow, Flush, RunEnd, RunEnergy, RunStart, RunStatus, Workload,
};
use carbon_user::ledger::runs::RunFilter;
use carbon_user::ledger::{Factor, Ledger, LedgerError, Location, SumsCache};
use carbon_user::units::{CpuNanos, GramsPerKwh, Microjoules, Pue, Quality};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Unix time of a minute in 2026.
pub(crate) const BEGIN: i64 = 1_767_225_600;

fn domain() -> DomainId {
    DomainId {
        domain: "package".into(),
        device: "package-0".into(),
        source: "a test".into(),
        quality: Quality::Measured,
    }
}

fn workload(number: u64) -> Workload {
    Workload {
        identity: format!("/pods/{number}"),
        kind: "container".into(),
        name: format!("c{number}"),
        namespace: Some(format!("ns{}", number % 3)),
        ..Workload::default()
    }
}

pub(crate) fn factor(zone: &str) -> Factor {
    Factor::new(Intensity::of(zone).unwrap(), Pue(1.2))
}

/// A minute in which workloads have these energies, with some static and lost on top.
pub(crate) fn minute(node: &str, start_s: i64, energies: &[(u64, u64)], rest: (u64, u64)) -> Flush {
    let attributed: u64 = energies.iter().map(|(_, uj)| uj).sum();
    let factor = factor(if start_s % HOUR < HOUR / 2 { "FR" } else { "DE" });
    Flush {
        node: node.into(),
        name: format!("boot/{start_s}"),
        start_s,
        rows: energies
            .iter()
            .map(|(number, uj)| EnergyRow {
                workload: workload(*number),
                domain: domain(),
                kind: EnergyKind::Dynamic,
                factor: factor.clone(),
                quality: Quality::Measured,
                energy: Microjoules(*uj),
                cpu: CpuNanos(uj.wrapping_mul(7) % 1_000_000),
                uncertainty: Uncertainty { split_uj: 3.0, model_uj: 0.0, meter_uj: 4.0 },
            })
            .collect(),
        balances: vec![BalanceRow {
            domain: domain(),
            covered_ns: 60_000_000_000,
            metered: Microjoules(attributed + rest.0 + rest.1),
            attributed: Microjoules(attributed),
            static_energy: Microjoules(rest.0),
            lost: Microjoules(rest.1),
            gaps: 0,
        }],
    }
}

/// Sums of an interval: of rows and of balances.
pub(crate) fn totals(ledger: &mut Ledger, from: i64, to: i64) -> (u64, Balance) {
    let segments = ledger.segments(from, to).unwrap();
    let rows = ledger.sums(&segments).unwrap().iter().map(|sum| sum.energy_uj).sum();
    let balances = ledger.balances(&segments).unwrap();
    (rows, balances.into_iter().fold(Balance::default(), |sum, (_, balance)| sum.plus(balance)))
}

pub(crate) fn file(directory: &Path, name: &str) -> Location {
    Location::File(directory.join(name))
}

/// Minutes at random, flushed in random batches: every interval of whole minutes has exactly what was flushed in it, at
/// every level, before and after details are removed.
fn sums_are_exact(cases: u32, open: impl Fn(u32) -> Ledger) {
    let minutes = prop::collection::btree_map(
        0_i64..4 * DAY / MINUTE,
        (
            prop::collection::vec((0_u64..6, 0_u64..1_000_000_000_000), 1..4),
            (0_u64..1_000_000_000, 0_u64..1_000),
        ),
        1..25,
    );
    let strategy = (minutes, 1_usize..6, 0_i64..4 * DAY / MINUTE, 1_i64..4 * DAY / MINUTE, 0_i64..5);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let case = Cell::new(0);
    let open = || {
        case.set(case.get() + 1);
        open(case.get())
    };
    runner
        .run(&strategy, |(minutes, batch, from, length, compacted)| {
            let mut ledger = open();
            let flushes: Vec<Flush> = minutes
                .iter()
                .map(|(number, (energies, rest))| minute("n", BEGIN + number * MINUTE, energies, *rest))
                .collect();
            for batch in flushes.chunks(batch) {
                prop_assert_eq!(ledger.flush(batch).unwrap(), batch.len());
                prop_assert_eq!(ledger.flush(batch).unwrap(), 0, "a repeat is not written");
            }
            let of = |from: i64, to: i64| -> (u64, u64) {
                let inside = flushes.iter().filter(|flush| (from..to).contains(&flush.start_s));
                inside.fold((0, 0), |(rows, metered), flush| {
                    let own: u64 = flush.rows.iter().map(|row| row.energy.0).sum();
                    (rows + own, metered + flush.balances[0].metered.0)
                })
            };
            let (from, to) = (BEGIN + from * MINUTE, BEGIN + (from + length) * MINUTE);
            for (from, to) in [(from, to), (BEGIN, BEGIN + 8 * DAY)] {
                let (rows, balance) = totals(&mut ledger, from, to);
                prop_assert_eq!((rows, balance.metered_uj), of(from, to));
                prop_assert!(balance.holds() && balance.attributed_uj == rows);
            }
            prop_assert_eq!(ledger.verify().unwrap().faults, Vec::<String>::new());
            let kept = BEGIN + compacted * DAY;
            ledger.compact(kept, kept - DAY).unwrap();
            let (rows, balance) = totals(&mut ledger, BEGIN, BEGIN + 8 * DAY);
            prop_assert_eq!((rows, balance.metered_uj), of(BEGIN, BEGIN + 8 * DAY));
            prop_assert_eq!(ledger.verify().unwrap().faults, Vec::<String>::new());
            // Carried to another ledger, it has the same sums.
            let mut lines = Vec::new();
            ledger.export(&mut lines).unwrap();
            let mut other = open();
            other.import(&mut lines.as_slice()).unwrap();
            let (rows, balance) = totals(&mut other, BEGIN, BEGIN + 8 * DAY);
            prop_assert_eq!((rows, balance.metered_uj), of(BEGIN, BEGIN + 8 * DAY));
            prop_assert_eq!(other.verify().unwrap().faults, Vec::<String>::new());
            prop_assert!(other.import(&mut lines.as_slice()).is_err(), "nothing is imported twice");
            Ok(())
        })
        .unwrap();
}

#[test]
fn sums_are_exact_through_all_levels() {
    let directory = tempfile::tempdir().unwrap();
    sums_are_exact(24, |case| Ledger::open(&file(directory.path(), &format!("{case}.db"))).unwrap());
}

#[test]
fn sums_are_exact_on_a_server() {
    let Some(server) = Server::start_or_skip("sums_are_exact_on_a_server") else { return };
    sums_are_exact(6, |case| {
        Ledger::open(&Location::Postgres(server.database(&format!("c{case}")))).unwrap()
    });
}

/// What is flushed while another reads is in all of its sums or in none.
fn a_reader_sees_one_instant(mut reader: Ledger, mut writer: Ledger) {
    let to = BEGIN + DAY;
    writer.flush(&[minute("n", BEGIN, &[(1, 100)], (10, 1))]).unwrap();
    let (rows, balance) = reader
        .snapshot(|reader| {
            let segments = reader.segments(BEGIN, to)?;
            let rows: u64 = reader.sums(&segments)?.iter().map(|sum| sum.energy_uj).sum();
            writer.flush(&[minute("n", BEGIN + MINUTE, &[(1, 1000)], (10, 1))])?;
            let balances = reader.balances(&segments)?;
            Ok::<_, LedgerError>((rows, balances[0].1))
        })
        .unwrap();
    assert_eq!((rows, balance.attributed_uj, balance.metered_uj), (100, 100, 111));
    assert_eq!(totals(&mut reader, BEGIN, to).0, 1100, "and later all of it");
    // Where it fails, the next one is not held up by it.
    let failed: Result<(), _> = reader.snapshot(|_| Err(LedgerError::Overflow(1)));
    assert!(matches!(failed, Err(LedgerError::Overflow(1))));
    assert_eq!(reader.snapshot(Ledger::verify).unwrap().faults, Vec::<String>::new());
}

#[test]
fn a_report_is_of_one_instant() {
    let directory = tempfile::tempdir().unwrap();
    let at = file(directory.path(), "a.db");
    let writer = Ledger::open(&at).unwrap();
    a_reader_sees_one_instant(Ledger::open_to_read(&at).unwrap(), writer);
    let Some(server) = Server::start_or_skip("a_report_is_of_one_instant") else { return };
    let at = Location::Postgres(server.database("one"));
    let writer = Ledger::open(&at).unwrap();
    a_reader_sees_one_instant(Ledger::open_to_read(&at).unwrap(), writer);
}

#[test]
fn a_ledger_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    let mut ledger = Ledger::open(&Location::File(path.clone())).unwrap();
    ledger.flush(&[minute("n", BEGIN, &[(1, 100)], (10, 1))]).unwrap();
    for end in ["", "-wal", "-shm"] {
        let name = format!("{}{end}", path.display());
        let mode = fs::metadata(&name).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    // What its owner has opened to others stays so.
    drop(ledger);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    drop(Ledger::open(&Location::File(path.clone())).unwrap());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
}

/// What does not balance, overflows or is in the middle of a minute is refused, and nothing of it is kept.
fn bad_rows_are_refused(mut ledger: Ledger) {
    let good = minute("n", BEGIN, &[(1, 100)], (10, 1));
    let mut wrong = good.clone();
    wrong.balances[0].metered = Microjoules(112);
    assert!(matches!(ledger.flush(&[wrong]), Err(LedgerError::Unbalanced { .. })));
    let mut wrong = good.clone();
    wrong.rows[0].energy = Microjoules(101);
    assert!(matches!(ledger.flush(&[good.clone(), wrong]), Err(LedgerError::Unbalanced { .. })));
    let mut wrong = good.clone();
    wrong.start_s += 1;
    assert!(matches!(ledger.flush(&[wrong]), Err(LedgerError::Unbalanced { .. })));
    let huge = minute("n", BEGIN, &[(1, u64::MAX - 5)], (1, 0));
    assert!(matches!(ledger.flush(&[huge]), Err(LedgerError::Overflow(_))));
    assert_eq!(totals(&mut ledger, BEGIN, BEGIN + DAY), (0, Balance::default()));
    assert_eq!(ledger.flush(&[good]).unwrap(), 1);
    assert_eq!(totals(&mut ledger, BEGIN, BEGIN + DAY).0, 100);
}

/// Whatever a workload or its node is called, its energy is written, found again and carried elsewhere.
fn names_of_any_characters_are_kept(mut ledger: Ledger, mut other: Ledger) {
    // As no index holds them: of random characters, which cannot be compressed.
    let long: String = (0..4000_u64)
        .map(|n| char::from(b'!' + u8::try_from((n * n * 2_654_435_761) >> 13 & 63).unwrap()))
        .collect();
    let names =
        [long.as_str(), "a\0b", "'; DROP TABLE run; --", "\u{1b}[31m\n\r\u{85}", "%_$1", "\u{1f331}", ""];
    for (number, name) in names.iter().enumerate() {
        let start_s = BEGIN + i64::try_from(number).unwrap() * MINUTE;
        let mut flush =
            minute(&format!("node {}", name.get(..60).unwrap_or(name)), start_s, &[(1, 100)], (10, 1));
        flush.rows[0].workload.identity = format!("/{number}/{name}");
        flush.rows[0].workload.namespace = Some((*name).to_owned());
        assert_eq!(ledger.flush(std::slice::from_ref(&flush)).unwrap(), 1, "{name:?}");
        assert_eq!(ledger.flush(&[flush]).unwrap(), 0, "{name:?} is known again");
    }
    let mut lines = Vec::new();
    ledger.export(&mut lines).unwrap();
    other.import(&mut lines.as_slice()).unwrap();
    for ledger in [&mut ledger, &mut other] {
        assert_eq!(totals(ledger, BEGIN, BEGIN + DAY).0, 700);
        assert_eq!((ledger.workloads().unwrap().len(), ledger.verify().unwrap().faults), (7, Vec::new()));
    }
}

#[test]
fn a_name_keeps_no_energy_from_being_written() {
    let directory = tempfile::tempdir().unwrap();
    let open = |name| Ledger::open(&file(directory.path(), name)).unwrap();
    names_of_any_characters_are_kept(open("a.db"), open("b.db"));
    let Some(server) = Server::start_or_skip("a_name_keeps_no_energy_from_being_written") else { return };
    let open = |name| Ledger::open(&Location::Postgres(server.database(name))).unwrap();
    names_of_any_characters_are_kept(open("a"), open("b"));
}

#[test]
fn what_does_not_balance_is_not_written() {
    let directory = tempfile::tempdir().unwrap();
    bad_rows_are_refused(Ledger::open(&file(directory.path(), "a.db")).unwrap());
    let Some(server) = Server::start_or_skip("what_does_not_balance_is_not_written") else { return };
    bad_rows_are_refused(Ledger::open(&Location::Postgres(server.database("bad"))).unwrap());
}

/// A server that proves to be who it is named as is talked to in secret; any other is not talked to.
#[test]
fn a_connection_may_be_encrypted() {
    let test = "a_connection_may_be_encrypted";
    let Some((server, authority)) = Server::start_with_tls_or_skip(test) else { return };
    let url = server.database("secret");
    let by_name = url.replace("127.0.0.1", "localhost");
    let roots = format!("sslmode=require&sslrootcert={}", authority.display());
    let open = |url: &str, options: &str| Ledger::open(&Location::Postgres(format!("{url}?{options}")));
    // The server takes the new settings in its own time.
    let mut ledger = (0..100)
        .find_map(|_| {
            std::thread::sleep(Duration::from_millis(50));
            open(&by_name, &roots).ok()
        })
        .unwrap_or_else(|| open(&by_name, &roots).unwrap());
    ledger.flush(&[minute("n", BEGIN, &[(1, 100)], (10, 1))]).unwrap();
    assert_eq!(totals(&mut ledger, BEGIN, BEGIN + DAY).0, 100);
    assert!(server.encrypts("secret"), "the server says so");
    for (url, options) in [
        // Nobody in whom browsers trust vouches for it.
        (&by_name, "sslmode=require"),
        // Another name than that in its certificate.
        (&url, roots.as_str()),
    ] {
        let error = open(url, options).unwrap_err().to_string();
        assert!(error.contains("certificate"), "{error}");
    }
    // In the clear, where that is asked for.
    assert!(open(&by_name, "sslmode=disable").is_ok());
    let Some(plain) = Server::start_or_skip(test) else { return };
    let error = open(&plain.database("plain"), &roots).unwrap_err().to_string();
    assert!(error.contains("TLS"), "a server that cannot: {error}");
}

/// Idle energy of an accelerator that is held is static energy of its domain: a kind of its own for who held it, at every level.
fn held_energy_is_kept(mut open: impl FnMut() -> Ledger) {
    let mut ledger = open();
    let mut flush = minute("n", BEGIN, &[(1, 100), (2, 50)], (40, 5));
    let dynamic = flush.rows[0].clone();
    let of = |kind, uj| EnergyRow { kind, energy: Microjoules(uj), ..dynamic.clone() };
    flush.rows.extend([of(EnergyKind::Static, 10), of(EnergyKind::Held, 31)]);
    assert!(ledger.flush(&[flush.clone()]).is_err(), "41 uJ are of 40 uJ");
    flush.rows.pop();
    flush.rows.push(of(EnergyKind::Held, 30));
    assert_eq!(ledger.flush(&[flush]).unwrap(), 1);
    let mut lines = Vec::new();
    ledger.export(&mut lines).unwrap();
    let mut other = open();
    other.import(&mut lines.as_slice()).unwrap();
    for ledger in [&mut ledger, &mut other] {
        for length in [MINUTE, HOUR, DAY] {
            let segments = ledger.segments(BEGIN, BEGIN + length).unwrap();
            let sums = ledger.sums(&segments).unwrap();
            let of = |kind| sums.iter().filter(|sum| sum.kind == kind).map(|sum| sum.energy_uj).sum::<u64>();
            let kinds = [EnergyKind::Dynamic, EnergyKind::Static, EnergyKind::Held].map(of);
            assert_eq!(kinds, [150, 10, 30], "{length} s");
            let balance = ledger.balances(&segments).unwrap()[0].1;
            assert!(balance.holds() && balance.static_uj == 40 && balance.attributed_uj == 150);
        }
        assert_eq!(ledger.verify().unwrap().faults, Vec::<String>::new());
    }
}

#[test]
fn held_energy_is_part_of_its_domains_static() {
    let directory = tempfile::tempdir().unwrap();
    let mut number = 0;
    held_energy_is_kept(|| {
        number += 1;
        Ledger::open(&file(directory.path(), &format!("{number}.db"))).unwrap()
    });
    let Some(server) = Server::start_or_skip("held_energy_is_part_of_its_domains_static") else { return };
    let mut number = 0;
    held_energy_is_kept(|| {
        number += 1;
        Ledger::open(&Location::Postgres(server.database(&format!("held{number}")))).unwrap()
    });
}

fn series(zone: &str, kind: Kind, points: &[(i64, i64, f64)]) -> Series {
    let points = points.iter().map(|(start_s, end_s, g)| Point {
        start_s: *start_s,
        end_s: *end_s,
        g_per_kwh: GramsPerKwh(*g),
        estimated: false,
    });
    Series::new(zone, kind, "a test", points.collect()).unwrap()
}

/// Energies of the interval by intensity and mark.
fn rated(ledger: &mut Ledger, from: i64, to: i64) -> BTreeMap<(String, bool), u64> {
    let (segments, factors) = (ledger.segments(from, to).unwrap(), ledger.factors().unwrap());
    let mut rated = BTreeMap::new();
    for sum in ledger.sums(&segments).unwrap() {
        let g = format!("{:.2}", factors[&sum.factor].intensity.g_per_kwh.0);
        *rated.entry((g, sum.rerated)).or_default() += sum.energy_uj;
    }
    rated
}

/// An hour that is known later is rated again, once, at every level; no energy changes.
fn hours_are_rated_again(mut open: impl FnMut() -> Ledger) {
    let hourly = Kind { span: Span::Hour, flow: Flow::Unstated, ..Kind::YEARLY };
    let of_de = format!("{:.2}", factor("DE").intensity.g_per_kwh.0);
    let row = |g: &str, rerated, uj| ((g.to_owned(), rerated), uj);
    let mut ledger = open();
    // Of France in the first half of each hour, of Germany in the second.
    let at = |start: i64, uj| minute("n", BEGIN + start, &[(1, uj), (2, uj)], (5, 1));
    let flushes = [at(0, 100), at(60, 10), at(1800, 7), at(HOUR, 1000), at(DAY, 5)];
    ledger.flush(&flushes).unwrap();
    let before = totals(&mut ledger, BEGIN, BEGIN + 2 * DAY);
    let marginal = series("FR", Kind { signal: Signal::Marginal, ..hourly }, &[(BEGIN, BEGIN + HOUR, 70.0)]);
    assert!(matches!(ledger.rerate(&marginal, "FR"), Err(LedgerError::Kinds(_))));
    // The first hour in two parts, half of the second, and nothing of the next day.
    let known = series(
        "FR",
        hourly,
        &[
            (BEGIN, BEGIN + 1800, 20.0),
            (BEGIN + 1800, BEGIN + HOUR, 40.0),
            (BEGIN + HOUR, BEGIN + HOUR + 1800, 99.0),
        ],
    );
    let done = ledger.rerate(&known, "FR").unwrap();
    assert_eq!((done.hours, done.uncovered), (1, 1));
    let first = BTreeMap::from([row("30.00", true, 220), row(&of_de, false, 14)]);
    assert_eq!(rated(&mut ledger, BEGIN, BEGIN + 1860), first, "from minutes");
    assert_eq!(rated(&mut ledger, BEGIN, BEGIN + HOUR), first, "from an hour");
    let day = BTreeMap::from([row("30.00", true, 220), row(&of_de, false, 14), row("41.44", false, 2000)]);
    assert_eq!(rated(&mut ledger, BEGIN, BEGIN + DAY), day, "from a day");
    assert_eq!(totals(&mut ledger, BEGIN, BEGIN + 2 * DAY), before);
    // Once: another series changes nothing, and what comes late has the hour's factor.
    let other = series("FR", hourly, &[(BEGIN, BEGIN + HOUR, 500.0)]);
    assert_eq!(ledger.rerate(&other, "FR").unwrap().hours, 0);
    let mut lines = Vec::new();
    ledger.export(&mut lines).unwrap();
    let mut copy = open();
    copy.import(&mut lines.as_slice()).unwrap();
    for ledger in [&mut ledger, &mut copy] {
        assert_eq!(rated(ledger, BEGIN, BEGIN + DAY), day);
        ledger.flush(&[at(120, 1)]).unwrap();
        assert_eq!(ledger.rerate(&other, "FR").unwrap().hours, 1);
        assert_eq!(rated(ledger, BEGIN, BEGIN + HOUR)[&("30.00".to_owned(), true)], 222);
        assert_eq!(ledger.verify().unwrap().faults, Vec::<String>::new());
    }
}

#[test]
fn hours_are_rated_again_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut number = 0;
    hours_are_rated_again(|| {
        number += 1;
        Ledger::open(&file(directory.path(), &format!("{number}.db"))).unwrap()
    });
    let Some(server) = Server::start_or_skip("hours_are_rated_again_once") else { return };
    let mut number = 0;
    hours_are_rated_again(|| {
        number += 1;
        Ledger::open(&Location::Postgres(server.database(&format!("again{number}")))).unwrap()
    });
}

/// A run of an hour and a half by the yearly average of a zone.
fn a_run(id: &str, zone: &str, start_s: i64) -> (RunStart, RunEnd) {
    let start =
        RunStart { id: id.into(), node: "n".into(), start_us: start_s * 1_000_000, ..RunStart::default() };
    let energy = |kind, uj| RunEnergy {
        kind,
        factor: factor(zone),
        recorded: None,
        quality: Quality::Measured,
        energy: Microjoules(uj),
        stddev_uj: 1.0,
    };
    let end = RunEnd {
        status: RunStatus::Done,
        exit_status: 0,
        end_us: (start_s + 5400) * 1_000_000 - 1,
        duration_ns: 5_400_000_000_000,
        outlived_by: 0,
        cpu: CpuNanos(1),
        accounting: "proc".into(),
        attribution: "cpu-time".into(),
        static_policy: "separate".into(),
        hardware: "a test".into(),
        report: "null".into(),
        energies: vec![energy(EnergyKind::Dynamic, 7), energy(EnergyKind::Static, 3)],
        domains: Vec::new(),
    };
    (start, end)
}

/// A run whose whole time is known later is rated again, once; what was recorded is kept.
fn runs_are_rated_again(mut ledger: Ledger) {
    let hourly = Kind { span: Span::Hour, flow: Flow::Unstated, ..Kind::YEARLY };
    // Two of France, one of them longer than what is known, and one of Germany.
    for (start, end) in
        [a_run("aaaa", "FR", BEGIN + 60), a_run("bbbb", "FR", BEGIN + HOUR), a_run("cccc", "DE", BEGIN + 60)]
    {
        ledger.begin_run(&start).unwrap();
        ledger.end_run(&start, &end).unwrap();
    }
    let begun =
        RunStart { id: "dddd".into(), node: "n".into(), start_us: BEGIN * 1_000_000, ..RunStart::default() };
    ledger.begin_run(&begun).unwrap();
    let before = ledger.runs(&RunFilter::default()).unwrap();
    let marginal = series("FR", Kind { signal: Signal::Marginal, ..hourly }, &[(BEGIN, BEGIN + DAY, 70.0)]);
    assert!(matches!(ledger.rerate(&marginal, "FR"), Err(LedgerError::Kinds(_))));
    assert_eq!(ledger.runs(&RunFilter::default()).unwrap(), before);
    // Of the first run 59 minutes at 20 and 31 at 200 g/kWh.
    let known = series("FR", hourly, &[(BEGIN, BEGIN + HOUR, 20.0), (BEGIN + HOUR, BEGIN + 2 * HOUR, 200.0)]);
    let done = ledger.rerate(&known, "FR").unwrap();
    assert_eq!((done.runs, done.uncovered_runs, done.hours), (1, 1, 0));
    let runs = ledger.runs(&RunFilter::default()).unwrap();
    let run = |id: &str| runs.iter().find(|run| run.start.id == id).unwrap();
    let rated = run("aaaa").end.as_ref().unwrap();
    for row in &rated.energies {
        let mean = (59.0 * 20.0 + 31.0 * 200.0) / 90.0;
        assert!((row.factor.intensity.g_per_kwh.0 - mean).abs() < 1e-9, "{row:?}");
        assert_eq!((row.factor.pue, row.recorded.clone()), (Pue(1.2), Some(factor("FR"))));
    }
    let energies = |end: &RunEnd| end.energies.iter().map(|row| row.energy).collect::<Vec<_>>();
    assert_eq!(energies(rated), [Microjoules(7), Microjoules(3)]);
    for id in ["bbbb", "cccc", "dddd"] {
        assert_eq!(run(id), before.iter().find(|run| run.start.id == id).unwrap());
    }
    let other = series("FR", hourly, &[(BEGIN, BEGIN + HOUR + HOUR / 2 + 60, 500.0)]);
    assert_eq!(ledger.rerate(&other, "FR").unwrap().runs, 0, "once");
    assert_eq!(ledger.runs(&RunFilter::default()).unwrap(), runs);
    assert_eq!(ledger.verify().unwrap().faults, Vec::<String>::new());
}

#[test]
fn runs_are_rated_again_once() {
    let directory = tempfile::tempdir().unwrap();
    runs_are_rated_again(Ledger::open(&file(directory.path(), "a.db")).unwrap());
    let Some(server) = Server::start_or_skip("runs_are_rated_again_once") else { return };
    runs_are_rated_again(Ledger::open(&Location::Postgres(server.database("runs_again"))).unwrap());
}

/// What is remembered is what would be read, before and after more was written; and who only reads changes nothing.
#[test]
fn sums_that_are_remembered_are_those_that_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let location = file(directory.path(), "ledger.db");
    let mut writer = Ledger::open(&location).unwrap();
    let cache = Arc::new(SumsCache::new(10_000));
    let limit = Duration::from_mins(1);
    for day in 0..12 {
        for number in 0..6 {
            let start_s = BEGIN + day * DAY + number * 7 * MINUTE;
            writer.flush(&[minute("n", start_s, &[(1, 5_000_001), (2, 77)], (1_000, 3))]).unwrap();
        }
        for (from, to) in [(BEGIN, BEGIN + 20 * DAY), (BEGIN + 3 * HOUR, BEGIN + 9 * DAY + 11 * MINUTE)] {
            let read = |ledger: &mut Ledger| {
                let segments = ledger.segments(from, to).unwrap();
                ledger.sums(&segments).unwrap()
            };
            let plain = read(&mut Ledger::open_to_read(&location).unwrap());
            let mut reader =
                Ledger::open_read_only(&location, limit).unwrap().remembering(Arc::clone(&cache));
            for _ in 0..2 {
                let remembered = read(&mut reader);
                assert_eq!(remembered.len(), plain.len());
                for (one, other) in remembered.iter().zip(&plain) {
                    assert_eq!(
                        (one.workload, one.factor, one.energy_uj),
                        (other.workload, other.factor, other.energy_uj)
                    );
                    assert_eq!(
                        (one.kind, one.quality, one.cpu_ns),
                        (other.kind, other.quality, other.cpu_ns)
                    );
                    assert!((one.variance_uj2 - other.variance_uj2).abs() <= 1e-9 * other.variance_uj2);
                }
            }
        }
    }
    assert!(cache.rows() > 0, "nothing was remembered: the test shows nothing");
    let mut reader = Ledger::open_read_only(&location, limit).unwrap();
    assert!(reader.flush(&[minute("n", BEGIN, &[(1, 1)], (0, 0))]).is_err(), "who only reads wrote");
}
