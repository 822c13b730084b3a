//! The ledger in a file, by SQLite.

use super::by_series::{self, OfSeries};
use super::error::LedgerError;
use super::query::{KEY, Segment, Sum, bounds, key_of};
use super::sql::{Database, Row, Value};
use crate::clock;
use rusqlite::types::{Value as Stored, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, params_from_iter};
use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What helps where a file cannot be made.
const WRITABLE: &str = "give --store a file in a directory that can be written";

/// How long another writer is waited for.
const BUSY_MAX: Duration = Duration::from_secs(10);

/// Instructions of SQLite's machine between two looks at the clock: a millisecond of work or less.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;

/// Series remembered at most, of about 100 bytes each.
const SERIES_MAX: usize = 100_000;

/// Numbers of series that are wanted lie this far apart at most in a range that is read at once.
const SERIES_APART: i64 = 8;

/// An open file.
#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    connection: Connection,
    /// What series are of that were met in sums, which see only what was committed: such a series is never changed nor removed.
    series: HashMap<i64, [i64; 6]>,
}

impl Sqlite {
    /// Opens `path` for writing and makes it if it is not there, its directory too.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            make_private(folder).map_err(|error| LedgerError::Open {
                place: path.display().to_string(),
                reason: error.to_string(),
                advice: WRITABLE,
            })?;
        }
        make_file_private(path);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut store = Self::with_flags(path, flags).map_err(|error| match error {
            LedgerError::Open { place, reason, .. } if !path.exists() => {
                LedgerError::Open { place, reason, advice: WRITABLE }
            }
            error => error,
        })?;
        // A flush is in the log before it is said to be done, and no crash can tear it (sqlite.org/wal.html).
        let settings = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;";
        store.batch(settings)?;
        Ok(store)
    }

    /// Opens `path`, which must be there, for reading.
    pub fn open_to_read(path: &Path) -> Result<Self, LedgerError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        // Asked before, as an attempt that finds no room leaves an empty log.
        let alone = path.is_file() && !beside(path, "-wal").exists();
        match Self::with_flags(path, flags) {
            // Even a reader keeps an index of the log beside the file, where it may make one. Nobody has the file open for
            // writing where there is no log: then it is read as one that does not change (sqlite.org/wal.html, 5).
            Err(LedgerError::ReadOnly { .. } | LedgerError::Open { .. } | LedgerError::Full { .. })
                if alone =>
            {
                let mut store = Self::with_flags(&unchanging(path), flags | OpenFlags::SQLITE_OPEN_URI)?;
                path.clone_into(&mut store.path);
                Ok(store)
            }
            opened => opened,
        }
    }

    fn with_flags(path: &Path, flags: OpenFlags) -> Result<Self, LedgerError> {
        // What SQLite opens, and would wait for without end where it is a pipe.
        for opened in [path.to_owned(), beside(path, "-wal"), beside(path, "-journal")] {
            if opened.metadata().is_ok_and(|found| !found.is_file()) {
                return Err(LedgerError::Open {
                    place: opened.display().to_string(),
                    reason: "it is no regular file".to_owned(),
                    advice: "remove it, or give another --store",
                });
            }
        }
        let connection = Connection::open_with_flags(path, flags).map_err(|error| LedgerError::Open {
            place: path.display().to_string(),
            reason: error.to_string(),
            advice: if path.exists() {
                "check its permissions, or give another --store"
            } else {
                "nothing was recorded there yet: see \"carbon run --help\""
            },
        })?;
        let mut store = Self { path: path.to_owned(), connection, series: HashMap::new() };
        store.connection.busy_timeout(BUSY_MAX).map_err(|error| store.failed(&error))?;
        by_series::add_to(&store.connection).map_err(|error| store.failed(&error))?;
        // Reads the first page, so that a file of something else is noticed here.
        store.query("SELECT count(*) FROM sqlite_schema", &[])?;
        Ok(store)
    }

    /// Lets the file grow no further than this: how tests fill a disk.
    pub fn limit_pages(&mut self, pages: u32) -> Result<(), LedgerError> {
        self.batch(&format!("PRAGMA max_page_count = {pages};"))
    }

    /// What these series are of, which are in order; one that a sound file does not have is missing. Numbers that lie close together are
    /// read as one range: where each hour has a factor of its own, a year has millions of series, and a statement for each costs
    /// more than to read their sums.
    fn read_series(&mut self, wanted: &[i64]) -> Result<Vec<(i64, [i64; 6])>, LedgerError> {
        let sql = format!("SELECT {KEY}, id FROM series WHERE id BETWEEN $1 AND $2 ORDER BY id");
        let mut found = Vec::with_capacity(wanted.len());
        for range in wanted.chunk_by(|one, next| next.saturating_sub(*one) <= SERIES_APART) {
            let (Some(first), Some(last)) = (range.first(), range.last()) else { continue };
            self.each(&sql, &[(*first).into(), (*last).into()], &mut |row| {
                found.push((row.int(6), key_of(row)));
            })?;
        }
        Ok(found)
    }

    /// Few at a time: where an interval brings many, the next one brings others.
    fn remember(&mut self, read: Vec<(i64, [i64; 6])>) {
        if read.len() > SERIES_MAX / 10 {
            return;
        }
        if self.series.len().saturating_add(read.len()) > SERIES_MAX {
            self.series.clear();
        }
        self.series.extend(read);
    }

    fn failed(&self, error: &rusqlite::Error) -> LedgerError {
        let (place, reason) = (self.place(), error.to_string());
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure) if is_full(error) => {
                LedgerError::Full { place }
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => LedgerError::Busy { place },
            Some(ErrorCode::OperationInterrupted) => LedgerError::Late { place },
            Some(ErrorCode::ReadOnly) => LedgerError::ReadOnly { place },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                LedgerError::Damaged { place, reason }
            }
            Some(ErrorCode::CannotOpen) => LedgerError::Open {
                place,
                reason,
                advice: "check the permissions of the file and of its directory",
            },
            _ => LedgerError::Database { place, reason },
        }
    }
}

/// A file beside another, with an ending more: such as `SQLite` keeps, or a lock.
pub fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// The URI of a file that does not change (sqlite.org/uri.html).
fn unchanging(path: &Path) -> PathBuf {
    let mut uri = b"file:".to_vec();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'%' | b'?' | b'#' => uri.extend(format!("%{byte:02x}").bytes()),
            _ => uri.push(*byte),
        }
    }
    uri.extend(b"?immutable=1");
    OsString::from_vec(uri).into()
}

/// A failed write of the log is an I/O error, and a full disk only by its extended code; where there is no room for the index of
/// the log, that is another one.
fn is_full(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map_or(0, |error| error.extended_code);
    code & 0xff == rusqlite::ffi::SQLITE_FULL
        || code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE
        || error.to_string().contains("full")
}

/// An empty file for its owner alone, where there is none; `SQLite` gives its log the same mode. Where it cannot be made, opening
/// it says why.
fn make_file_private(path: &Path) {
    use std::os::unix::fs::OpenOptionsExt;
    drop(std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path));
}

/// A directory for its owner alone: what ran when, and with which arguments, is nobody else's business.
pub(crate) fn make_private(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if folder.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn stored(value: &Value) -> Stored {
    match value {
        Value::Null => Stored::Null,
        Value::Int(value) => Stored::Integer(*value),
        Value::Real(value) => Stored::Real(*value),
        Value::Text(value) => Stored::Text(value.clone()),
    }
}

fn loaded(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(value) => Value::Int(value),
        ValueRef::Real(value) => Value::Real(value),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            Value::Text(String::from_utf8_lossy(bytes).into_owned())
        }
    }
}

impl Database for Sqlite {
    fn batch(&mut self, sql: &str) -> Result<(), LedgerError> {
        self.connection.execute_batch(sql).map_err(|error| self.failed(&error))
    }

    fn execute(&mut self, sql: &str, parameters: &[Value]) -> Result<u64, LedgerError> {
        let changed = self
            .connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(params_from_iter(parameters.iter().map(stored))));
        changed.map(|rows| u64::try_from(rows).unwrap_or(0)).map_err(|error| self.failed(&error))
    }

    fn query(&mut self, sql: &str, parameters: &[Value]) -> Result<Vec<Row>, LedgerError> {
        let mut rows = Vec::new();
        self.each(sql, parameters, &mut |row| rows.push(row.clone()))?;
        Ok(rows)
    }

    fn each(
        &mut self,
        sql: &str,
        parameters: &[Value],
        show: &mut dyn FnMut(&Row),
    ) -> Result<(), LedgerError> {
        let mut read = || -> rusqlite::Result<()> {
            let mut statement = self.connection.prepare_cached(sql)?;
            let mut shown = Row(vec![Value::Null; statement.column_count()]);
            let mut rows = statement.query(params_from_iter(parameters.iter().map(stored)))?;
            while let Some(row) = rows.next()? {
                for (column, cell) in shown.0.iter_mut().enumerate() {
                    *cell = loaded(row.get_ref(column)?);
                }
                show(&shown);
            }
            Ok(())
        };
        read().map_err(|error| self.failed(&error))
    }

    /// Its own `GROUP BY` would sort the rows (sqlite.org/queryplanner.html).
    fn sums(&mut self, interval: Segment) -> Result<Vec<Sum>, LedgerError> {
        let bounds = bounds(interval);
        let read = || -> rusqlite::Result<Vec<OfSeries>> {
            let mut statement = self.connection.prepare_cached(by_series::SQL)?;
            statement.query_row(params_from_iter(bounds.iter().map(stored)), |row| {
                Ok(by_series::decode(row.get_ref(0)?.as_blob()?))
            })
        };
        let mut found = read().map_err(|error| self.failed(&error))?;
        found.sort_unstable_by_key(|it| it.series);
        let unknown: Vec<i64> =
            found.iter().map(|it| it.series).filter(|id| !self.series.contains_key(id)).collect();
        let read = self.read_series(&unknown)?;
        let mut next = read.iter().peekable();
        let mut sums = Vec::with_capacity(found.len());
        for OfSeries { series, energy_uj, cpu_ns, common_uj, variance_uj2 } in found {
            while next.next_if(|(id, _)| *id < series).is_some() {}
            let of = self.series.get(&series).or_else(|| {
                let (id, key) = next.peek()?;
                (*id == series).then_some(key)
            });
            let Some(key) = of else { continue };
            sums.push(Sum { energy_uj, cpu_ns, common_uj, variance_uj2, ..Sum::empty(*key) });
        }
        self.remember(read);
        Ok(sums)
    }

    fn only_read(&mut self, limit: Duration) -> Result<(), LedgerError> {
        self.batch("PRAGMA query_only = ON")?;
        let end_ns =
            clock::monotonic_ns().saturating_add(u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX));
        let late = move || clock::monotonic_ns() > end_ns;
        self.connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(late)).map_err(|error| self.failed(&error))
    }

    fn begin(&mut self) -> Result<(), LedgerError> {
        self.batch("BEGIN IMMEDIATE")
    }

    /// The first statement takes the snapshot, and writers do not wait for it (sqlite.org/isolation.html).
    fn begin_snapshot(&mut self) -> Result<(), LedgerError> {
        self.batch("BEGIN DEFERRED")
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn integrity(&mut self) -> Result<Vec<String>, LedgerError> {
        let mut found: Vec<String> =
            self.query("PRAGMA integrity_check(20)", &[])?.iter().map(|row| row.text(0)).collect();
        found.retain(|line| line != "ok");
        let strays = self.query("PRAGMA foreign_key_check", &[])?;
        found.extend(strays.iter().map(|row| format!("a row of {} refers to nothing", row.text(0))));
        Ok(found)
    }

    fn compact(&mut self) -> Result<(), LedgerError> {
        self.batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE);")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const INTERVAL: Segment = Segment { level_s: 60, start_s: 0, end_s: 60 };

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        /// Series are found however their numbers lie, and those that are remembered are those that were read.
        #[test]
        fn each_sum_has_its_own_series(numbers in prop::collection::btree_map(1_i64..200, 1_u32..1000, 0..60), known in 0_i64..200) {
            let folder = tempfile::tempdir().unwrap();
            let mut store = Sqlite::open(&folder.path().join("ledger.db")).unwrap();
            // Between those that are asked for there are others.
            store.batch(
                "PRAGMA synchronous = OFF; \
                 CREATE TABLE series (id PRIMARY KEY, workload, domain, kind, factor, quality, rerated) WITHOUT ROWID; \
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 199) \
                 INSERT INTO series SELECT i, i * 7, i % 3, i % 2, i * 5, 2, 0 FROM n; \
                 CREATE TABLE energy (level_s, start_s, series, energy_uj, cpu_ns, common_uj, variance_uj2);",
            ).unwrap();
            let mut put = |numbers: &BTreeMap<i64, u32>| {
                let of = |(id, uj): (&i64, &u32)| format!("INSERT INTO energy VALUES (60, 0, {id}, {uj}, 1, 0.5, 0.25);");
                let rows = numbers.iter().map(of).collect::<Vec<_>>().concat();
                store.batch(&format!("BEGIN; DELETE FROM energy; {rows} COMMIT;")).unwrap();
                let sums = store.sums(INTERVAL).unwrap();
                let found: BTreeMap<i64, u32> =
                    sums.iter().map(|it| (it.workload / 7, u32::try_from(it.energy_uj).unwrap())).collect();
                let right = sums.iter().all(|it| it.factor == it.workload / 7 * 5 && it.domain == it.workload / 7 % 3);
                (found, right && sums.len() == numbers.len())
            };
            let first: BTreeMap<i64, u32> = numbers.range(..known).map(|(id, uj)| (*id, *uj)).collect();
            prop_assert_eq!(put(&first), (first, true));
            prop_assert_eq!(put(&numbers), (numbers, true));
        }
    }
}
