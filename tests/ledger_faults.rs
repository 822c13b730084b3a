//! What befalls a ledger: clocks that jump, two writers, full disks, damage, an older carbon, a server that goes.

#![expect(clippy::unwrap_used, reason = "clippy excuses functions with #[test] only, not those they call")]

use crate::ledger::{BEGIN, factor, file, minute, totals};
use crate::postgres::Server;
use carbon_user::ledger::query::{DAY, HOUR, MINUTE, Segment};
use carbon_user::ledger::rows::{EnergyKind, Flush, Workload};
use carbon_user::ledger::sql::Database;
use carbon_user::ledger::sqlite::Sqlite;
use carbon_user::ledger::{Ledger, LedgerError, Location};
use carbon_user::units::Quality;
use std::fmt::Write;
use std::fs;
use std::time::Duration;

/// Of a clock that is set back, or is wrong by years, each minute that was measured is there once.
fn a_clock_that_jumps_loses_nothing(mut ledger: Ledger) {
    let named =
        |name: &str, start_s, uj| Flush { name: name.into(), ..minute("n", start_s, &[(1, uj)], (1, 1)) };
    let forth = [named("a", BEGIN, 100), named("b", BEGIN + MINUTE, 10)];
    assert_eq!(ledger.flush(&forth).unwrap(), 2);
    // Back by a minute: the same minute again, with other energy. Then to 1970, and years ahead.
    let jumped = [named("c", BEGIN, 1000), named("d", 0, 5), named("e", BEGIN + 900 * DAY, 3)];
    assert_eq!(ledger.flush(&jumped).unwrap(), 3);
    assert_eq!(totals(&mut ledger, BEGIN, BEGIN + MINUTE).0, 1100);
    let (rows, balance) = totals(&mut ledger, 0, BEGIN + 1000 * DAY);
    assert_eq!((rows, balance.metered_uj, balance.holds()), (1118, 1118 + 5 * 2, true));
    assert_eq!(ledger.verify().unwrap().faults, Vec::<String>::new());
}

#[test]
fn a_clock_that_jumps_loses_no_minute() {
    let directory = tempfile::tempdir().unwrap();
    a_clock_that_jumps_loses_nothing(Ledger::open(&file(directory.path(), "a.db")).unwrap());
    let Some(server) = Server::start_or_skip("a_clock_that_jumps_loses_no_minute") else { return };
    a_clock_that_jumps_loses_nothing(Ledger::open(&Location::Postgres(server.database("jumps"))).unwrap());
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

type OldRow = (i64, i64, i64, i64, i64, i64, f64, f64, i64);

/// Rows of one bucket by an older schema: workload, kind, factor, quality, microjoules, CPU time, two deviations, and whether rated
/// again. They are told apart by each of the first four, and by the last.
const OLD_ROWS: [OldRow; 6] = [
    (1, 0, 1, 2, 3600, 5, 1.0, 1.0, 0),
    (2, 0, 1, 2, 400, 7, 0.5, 2.0, 0),
    (2, 0, 2, 2, 50, 0, 0.25, 0.0, 0),
    (2, 0, 2, 2, 6, 1, 0.0, 4.0, 1),
    (2, 0, 2, 1, 4, 1, 0.0, 0.5, 1),
    (1, 1, 1, 2, 3, 0, 0.0, 0.0, 0),
];

/// What a carbon of then did: the migrations up to a schema, and a minute with its hour and its day.
fn of_schema(schema: usize, clustered: &str) -> String {
    let migrations = [
        include_str!("../carbon-user/src/ledger/migrations/0001.sql"),
        include_str!("../carbon-user/src/ledger/migrations/0002.sql"),
        include_str!("../carbon-user/src/ledger/migrations/0003.sql"),
        include_str!("../carbon-user/src/ledger/migrations/0004.sql"),
    ];
    let mut sql = "CREATE TABLE meta (name TEXT NOT NULL PRIMARY KEY, value BIGINT NOT NULL);".to_owned();
    for migration in &migrations[..schema] {
        sql += &migration.replace("/* clustered */", clustered);
    }
    write!(sql, "INSERT INTO meta VALUES ('schema', {schema}); INSERT INTO node VALUES (1, 'old');").unwrap();
    for (id, zone) in [(1, "FR"), (2, "DE")] {
        let factor = factor(zone);
        let intensity = &factor.intensity;
        write!(
            sql,
            "INSERT INTO factor VALUES ({id}, '{}', {}, {}, {}, {}, '{}', '{}', {}, '{}', '{}', '{}', 0, '{}');",
            factor.hash(),
            intensity.g_per_kwh.0,
            intensity.spread.low_ratio,
            intensity.spread.high_ratio,
            factor.pue.0,
            intensity.zone,
            intensity.name,
            intensity.year,
            intensity.boundary(),
            intensity.basis(),
            intensity.source,
            factor.tables_hash
        ).unwrap();
    }
    sql += "INSERT INTO domain VALUES (1, 1, 'package', 'package-0', 'a test', 2);
            INSERT INTO workload (id, identity, kind, name) VALUES (1, '/w', 'unit', 'w'), (2, '/v', 'unit', 'v');";
    for level in [60, 3600, 86_400] {
        for (workload, kind, factor, quality, uj, cpu, common, variance, rerated) in OLD_ROWS {
            write!(
            sql,
                "INSERT INTO energy VALUES ({level}, {BEGIN}, 1, {workload}, 1, {kind}, {factor}, {quality}, {uj}, {cpu}, \
                 {common}, {variance}, {rerated});"
            ).unwrap();
        }
        write!(sql, "INSERT INTO balance VALUES ({level}, {BEGIN}, 1, 60000000000, 4067, 4060, 5, 2, 0);")
            .unwrap();
    }
    sql
}

/// All rows are there as they were, at each level, and what is written later is added to them.
fn is_brought_up_to_date(at: &Location, schema: usize) {
    let mut ledger = Ledger::open_to_read(at).unwrap();
    let mut expected = OLD_ROWS.to_vec();
    expected.sort_by_key(|row| (row.0, row.1, row.2, row.3, row.8));
    for level_s in [MINUTE, HOUR, DAY] {
        let sums = ledger.sums(&[Segment { level_s, start_s: BEGIN, end_s: BEGIN + 1 }]).unwrap();
        let quality = |quality| if quality == Quality::Measured { 2 } else { 1 };
        let kind = |kind| i64::from(kind == EnergyKind::Static);
        let found: Vec<_> = sums
            .iter()
            .map(|it| {
                let (uj, cpu) = (it.energy_uj.cast_signed(), it.cpu_ns.cast_signed());
                let head = (it.workload, kind(it.kind), it.factor, quality(it.quality));
                (
                    head.0,
                    head.1,
                    head.2,
                    head.3,
                    uj,
                    cpu,
                    it.common_uj,
                    it.variance_uj2,
                    i64::from(it.rerated),
                )
            })
            .collect();
        assert_eq!(found, expected, "schema {schema}, {level_s} s");
    }
    let (rows, balance) = totals(&mut ledger, BEGIN, BEGIN + DAY);
    assert_eq!((rows, balance.metered_uj, balance.holds()), (4063, 4067, true), "schema {schema}");
    let mut ledger = Ledger::open(at).unwrap();
    assert_eq!(ledger.verify().unwrap().energies, 18, "schema {schema}");
    // One of a new machine, and one more of the old one's rows.
    let mut more = minute("old", BEGIN + MINUTE, &[(1, 100)], (10, 1));
    more.rows[0].workload = Workload { identity: "/w".into(), ..Workload::default() };
    let flushes = [minute("n", BEGIN + MINUTE, &[(1, 100)], (10, 1)), more];
    assert_eq!(ledger.flush(&flushes).unwrap(), 2, "schema {schema}");
    assert_eq!(totals(&mut ledger, BEGIN, BEGIN + DAY).0, 4263);
    let verified = ledger.verify().unwrap();
    assert_eq!(verified.faults, Vec::<String>::new(), "schema {schema}");
    assert_eq!(
        verified.energies,
        18 + 3 + 1,
        "schema {schema}: hour and day of the old machine are the old rows"
    );
}

#[test]
fn a_ledger_of_an_older_carbon_is_brought_up_to_date() {
    let directory = tempfile::tempdir().unwrap();
    for schema in 1..=4 {
        let path = directory.path().join(format!("{schema}.db"));
        Sqlite::open(&path).unwrap().batch(&of_schema(schema, "WITHOUT ROWID")).unwrap();
        is_brought_up_to_date(&Location::File(path), schema);
    }
    let test = "a_ledger_of_an_older_carbon_is_brought_up_to_date";
    let Some(server) = Server::start_or_skip(test) else { return };
    for schema in 1..=4 {
        let name = format!("older{schema}");
        let at = Location::Postgres(server.database(&name));
        assert!(server.sql(&name, &of_schema(schema, "")), "schema {schema}");
        is_brought_up_to_date(&at, schema);
    }
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

#[test]
fn a_reading_that_takes_too_long_is_ended() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    drop(Ledger::open(&Location::File(path.clone())).unwrap());
    let mut database = Sqlite::open_to_read(&path).unwrap();
    database.only_read(Duration::from_millis(50)).unwrap();
    let endless = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n";
    assert!(matches!(database.query(endless, &[]), Err(LedgerError::Late { .. })));
}
