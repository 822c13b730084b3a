//! The ledger on both databases: the same tests. The PostgreSQL server is a real one, started here.

#![expect(clippy::unwrap_used, reason = "clippy excuses functions with #[test] only, not those they call")]

use crate::postgres::Server;
use carbon_user::attribution::uncertainty::Uncertainty;
use carbon_user::carbon::kind::{Flow, Signal, Span};
use carbon_user::carbon::series::{Point, Series};
use carbon_user::carbon::{Intensity, Kind};
use carbon_user::ledger::query::{Balance, DAY, HOUR, MINUTE};
use carbon_user::ledger::rows::{BalanceRow, DomainId, EnergyKind, EnergyRow, Flush, Workload};
use carbon_user::ledger::sqlite::Sqlite;
use carbon_user::ledger::{Factor, Ledger, LedgerError, Location};
use carbon_user::units::{CpuNanos, GramsPerKwh, Microjoules, Pue, Quality};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Unix time of a minute in 2026.
const BEGIN: i64 = 1_767_225_600;

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

fn factor(zone: &str) -> Factor {
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
fn totals(ledger: &mut Ledger, from: i64, to: i64) -> (u64, Balance) {
    let segments = ledger.segments(from, to).unwrap();
    let rows = ledger.sums(&segments).unwrap().iter().map(|sum| sum.energy_uj).sum();
    let balances = ledger.balances(&segments).unwrap();
    (rows, balances.into_iter().fold(Balance::default(), |sum, (_, balance)| sum.plus(balance)))
}

fn file(directory: &Path, name: &str) -> Location {
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
            std::thread::sleep(std::time::Duration::from_millis(50));
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

/// Two connections write the same minutes of two nodes at once: every row is there, once.
fn two_writers_do_not_disturb(location: &Location) {
    drop(Ledger::open(location).unwrap());
    std::thread::scope(|scope| {
        for node in ["one", "two"] {
            scope.spawn(move || {
                let mut ledger = Ledger::open(location).unwrap();
                for number in 0..40 {
                    let flush = minute(node, BEGIN + number * MINUTE, &[(1, 1000), (2, 1)], (1, 1));
                    assert_eq!(ledger.flush(&[flush]).unwrap(), 1);
                }
            });
        }
    });
    let mut ledger = Ledger::open(location).unwrap();
    assert_eq!(totals(&mut ledger, BEGIN, BEGIN + DAY).0, 2 * 40 * 1001);
    assert_eq!(ledger.verify().unwrap().faults, Vec::<String>::new());
}

#[test]
fn two_writers_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    two_writers_do_not_disturb(&file(directory.path(), "a.db"));
    let Some(server) = Server::start_or_skip("two_writers_lose_nothing") else { return };
    two_writers_do_not_disturb(&Location::Postgres(server.database("two")));
}

#[test]
fn a_full_disk_loses_nothing_once_it_is_free() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    let mut ledger = Ledger::open(&Location::File(path.clone())).unwrap();
    let of =
        |number: i64| minute("n", BEGIN + number * MINUTE, &[(u64::try_from(number).unwrap(), 1000)], (1, 1));
    assert_eq!(ledger.flush(&[of(0)]).unwrap(), 1);
    drop(ledger);
    let mut full = Sqlite::open(&path).unwrap();
    full.limit_pages(30).unwrap();
    let mut full = Ledger::with(Box::new(full)).unwrap();
    let waiting: Vec<Flush> = (1..400).map(of).collect();
    let error = full.flush(&waiting).unwrap_err();
    assert!(matches!(error, LedgerError::Full { .. }), "{error}");
    assert!(error.to_string().contains("no space is left"), "{error}");
    // What could not be written is tried again, whole.
    let mut free = Ledger::open(&Location::File(path)).unwrap();
    assert_eq!(totals(&mut free, BEGIN, BEGIN + DAY).0, 1000);
    assert_eq!(free.flush(&waiting).unwrap(), waiting.len());
    assert_eq!(totals(&mut free, BEGIN, BEGIN + DAY).0, 400 * 1000);
    assert_eq!(free.verify().unwrap().faults, Vec::<String>::new());
}

#[test]
fn a_damaged_file_is_told_and_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    fs::write(&path, "this is no ledger, but it is long enough to be looked at ".repeat(30)).unwrap();
    let error = Ledger::open(&Location::File(path.clone())).unwrap_err().to_string();
    assert!(error.contains("is damaged or is no ledger") && error.contains("keep the file"), "{error}");
    assert!(fs::read_to_string(&path).unwrap().starts_with("this is no ledger"));
    // A sound one that a newer carbon has written, and one whose sums were tampered with.
    let path = directory.path().join("b.db");
    let mut ledger = Ledger::open(&Location::File(path.clone())).unwrap();
    ledger.flush(&[minute("n", BEGIN, &[(1, 100)], (1, 1))]).unwrap();
    drop(ledger);
    let raw = |sql: &str| {
        use carbon_user::ledger::sql::Database;
        Sqlite::open(&path).unwrap().batch(sql).unwrap();
    };
    raw(
        "UPDATE energy SET energy_uj = energy_uj + 1 WHERE level_s = 3600; UPDATE factor SET g_per_kwh = 1.0;",
    );
    let faults = Ledger::open(&Location::File(path.clone())).unwrap().verify().unwrap().faults.join("\n");
    assert!(faults.contains("not the sum of its parts"), "{faults}");
    assert!(faults.contains("do not have what was attributed"), "{faults}");
    assert!(faults.contains("not what its hash says"), "{faults}");
    raw("UPDATE meta SET value = 99 WHERE name = 'schema'");
    let error = Ledger::open(&Location::File(path)).unwrap_err();
    assert!(matches!(error, LedgerError::Newer { found: 99, .. }), "{error}");
}

#[test]
fn a_server_that_stops_is_an_error_and_no_hang() {
    let Some(mut server) = Server::start_or_skip("a_server_that_stops_is_an_error_and_no_hang") else {
        return;
    };
    let mut ledger = Ledger::open(&Location::Postgres(server.database("stop"))).unwrap();
    let flush = minute("n", BEGIN, &[(1, 100)], (1, 1));
    ledger.flush(std::slice::from_ref(&flush)).unwrap();
    server.stop();
    let error = ledger.flush(&[minute("n", BEGIN + MINUTE, &[(1, 100)], (1, 1))]).unwrap_err();
    assert!(matches!(error, LedgerError::Database { .. }), "{error}");
}
