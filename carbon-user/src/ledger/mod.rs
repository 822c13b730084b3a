//! What was used, kept: in a file (SQLite) or on a server (PostgreSQL), with one schema.
//!
//! Energies are whole microjoules at every level: a flush writes its minute and adds it to its hour and its day in one
//! transaction, so that each is the sum of its parts at every instant, whatever ends the program. Grams are not kept:
//! they are computed from summed microjoules and the factor that each row names, so that an old figure never changes
//! with a new factor, and sums of grams are never sums of rounded ones.
//!
//! It must not be called from the loop that closes windows: it waits for a disk or a server.

mod by_series;
pub mod cache;
mod each;
pub mod error;
pub mod exchange;
pub mod factor;
mod flush;
pub mod late;
mod merged;
mod names;
mod postgres;
pub mod query;
pub mod rerate;
pub mod rows;
pub mod runs;
pub mod sql;
pub mod sqlite;
pub mod team;
mod tls;
mod verify;

pub use cache::SumsCache;
pub use error::LedgerError;
pub use factor::Factor;
pub use merged::Merged;
pub(crate) use sqlite::{beside, make_private};
pub use verify::Verified;

use sql::{Database, Value, transaction};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Migrations in order; the number of those applied is the schema's version. One that was released is never changed.
const MIGRATIONS: [&str; 6] = [
    include_str!("migrations/0001.sql"),
    include_str!("migrations/0002.sql"),
    include_str!("migrations/0003.sql"),
    include_str!("migrations/0004.sql"),
    include_str!("migrations/0005.sql"),
    include_str!("migrations/0006.sql"),
];

/// Where a system's ledger is, for its administrator.
const SYSTEM_FILE: &str = "/var/lib/carbon/ledger.db";

/// Where a ledger is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// In a file.
    File(PathBuf),
    /// On a server: the URL, with its password.
    Postgres(String),
}

impl Location {
    /// What `--store` says; none where it says `none`.
    pub fn parse(text: &str) -> Result<Option<Self>, LedgerError> {
        let text = text.trim();
        if text.is_empty() || text == "none" {
            return Ok(None);
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Some(Self::Postgres(text.to_owned())));
        }
        let path = text.strip_prefix("sqlite://").unwrap_or(text);
        if path.contains("://") || path.is_empty() {
            let store = text.split("://").next().unwrap_or_default();
            return Err(LedgerError::Store { store: format!("{store}://...") });
        }
        Ok(Some(Self::File(path.into())))
    }

    /// Where nothing is said: the system's for root, else the user's own; none for a user without a home.
    pub fn default_for(root: bool, data_home: Option<&Path>, home: Option<&Path>) -> Option<Self> {
        if root {
            return Some(Self::File(SYSTEM_FILE.into()));
        }
        let absolute = |path: &&Path| path.is_absolute();
        let data = data_home.filter(absolute).map(Path::to_owned);
        let data = data.or_else(|| Some(home.filter(absolute)?.join(".local/share")))?;
        Some(Self::File(data.join("carbon/ledger.db")))
    }
}

/// An open ledger.
#[derive(Debug)]
pub struct Ledger {
    database: Box<dyn Database>,
    /// Sums of what was read before, where they are remembered.
    cache: Option<Arc<SumsCache>>,
}

impl Ledger {
    /// Opens for reading and writing; makes what is not there, brings an older schema up to date, and takes the runs that
    /// [wait](late) for it.
    pub fn open(location: &Location) -> Result<Self, LedgerError> {
        let database: Box<dyn Database> = match location {
            Location::File(path) => Box::new(sqlite::Sqlite::open(path)?),
            Location::Postgres(url) => Box::new(postgres::Postgres::open(url)?),
        };
        let mut ledger = Self::with(database)?;
        late::take(&mut ledger, location);
        Ok(ledger)
    }

    /// Opens what is there, to read it.
    pub fn open_to_read(location: &Location) -> Result<Self, LedgerError> {
        let Location::File(path) = location else { return Self::open(location) };
        let mut ledger = Self { database: Box::new(sqlite::Sqlite::open_to_read(path)?), cache: None };
        let version = ledger.version()?;
        if version < known_version() {
            // Only a writer can bring it up to date.
            let place = ledger.place();
            drop(ledger);
            return Self::open(location).map_err(|error| match error {
                LedgerError::ReadOnly { .. } => {
                    LedgerError::Older { place, found: version, known: known_version() }
                }
                other => other,
            });
        }
        ledger.check_version(version)?;
        Ok(ledger)
    }

    /// Opens what is there to read it, and nothing else: an older schema is refused and stays what it is. Reading ends with an
    /// error after `limit`: a file's all together, a server's each.
    pub fn open_read_only(location: &Location, limit: Duration) -> Result<Self, LedgerError> {
        let mut database: Box<dyn Database> = match location {
            Location::File(path) => Box::new(sqlite::Sqlite::open_to_read(path)?),
            Location::Postgres(url) => Box::new(postgres::Postgres::open(url)?),
        };
        database.only_read(limit)?;
        let mut ledger = Self { database, cache: None };
        let (found, known) = (ledger.version()?, known_version());
        ledger.check_version(found)?;
        if found < known {
            return Err(LedgerError::Older { place: ledger.place(), found, known });
        }
        Ok(ledger)
    }

    /// Takes sums of what was read before from `cache`, and keeps there what it reads.
    #[must_use]
    pub fn remembering(self, cache: Arc<SumsCache>) -> Self {
        Self { cache: Some(cache), ..self }
    }

    /// On a database that is already open.
    pub fn with(database: Box<dyn Database>) -> Result<Self, LedgerError> {
        let mut ledger = Self { database, cache: None };
        ledger.migrate()?;
        Ok(ledger)
    }

    /// Reads with several statements as of one instant: without it, a flush between two of them would be in one sum and not
    /// in the other. `work` must not write.
    pub fn snapshot<T, E: From<LedgerError>>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        self.database.begin_snapshot()?;
        let read = work(self);
        // It wrote nothing, so its end changes nothing; where the connection is gone, the next statement says so.
        drop(self.database.batch("ROLLBACK"));
        read
    }

    /// Which it is, without secrets.
    pub fn place(&self) -> String {
        self.database.place()
    }

    /// Removes details that are older than the given instants, and gives the space back. Days are kept for good.
    pub fn compact(&mut self, minutes_from_s: i64, hours_from_s: i64) -> Result<u64, LedgerError> {
        let day = |instant: i64| instant.div_euclid(query::DAY) * query::DAY;
        let (minutes_from_s, hours_from_s) = (day(minutes_from_s), day(hours_from_s.min(minutes_from_s)));
        let removed = transaction(self.database.as_mut(), |database| {
            let mut removed = 0;
            for (level, from, name) in
                [(query::MINUTE, minutes_from_s, MINUTES_FROM), (query::HOUR, hours_from_s, HOURS_FROM)]
            {
                for table in ["energy", "balance"] {
                    let sql = format!("DELETE FROM {table} WHERE level_s = $1 AND start_s < $2");
                    removed += database.execute(&sql, &[level.into(), from.into()])?;
                }
                raise_meta(database, name, from)?;
            }
            // Names of flushes are remembered for as long as their minutes.
            database.execute("DELETE FROM flush WHERE start_s < $1", &[minutes_from_s.into()])?;
            Ok(removed)
        })?;
        self.database.compact()?;
        Ok(removed)
    }

    /// From when on minutes and hours are kept, in Unix seconds.
    fn kept_from(&mut self) -> Result<(i64, i64), LedgerError> {
        kept_from(self.database.as_mut())
    }

    fn version(&mut self) -> Result<i64, LedgerError> {
        let tables = self.database.query("SELECT name FROM meta WHERE name = 'schema' LIMIT 1", &[]);
        match tables {
            Ok(_) => {
                let rows = self.database.query("SELECT value FROM meta WHERE name = 'schema'", &[])?;
                Ok(rows.first().map_or(0, |row| row.int(0)))
            }
            // No such table: nothing was ever written. Anything else shows itself in the first statement.
            Err(LedgerError::Database { .. }) => Ok(0),
            Err(error) => Err(error),
        }
    }

    fn check_version(&self, found: i64) -> Result<(), LedgerError> {
        let known = known_version();
        if found > known { Err(LedgerError::Newer { place: self.place(), found, known }) } else { Ok(()) }
    }

    fn migrate(&mut self) -> Result<(), LedgerError> {
        let found = self.version()?;
        self.check_version(found)?;
        if found == known_version() {
            return Ok(());
        }
        // Two programs may open a new ledger at once: who comes second finds the work done.
        transaction(self.database.as_mut(), |database| {
            database.batch(
                "CREATE TABLE IF NOT EXISTS meta (name TEXT NOT NULL PRIMARY KEY, value BIGINT NOT NULL)",
            )?;
            let rows = database.query("SELECT value FROM meta WHERE name = 'schema'", &[])?;
            let found = rows.first().map_or(0, |row| row.int(0));
            let on_server = database.place().contains("://");
            if on_server {
                // Rows of years may be rewritten: that takes as long as it takes.
                database.batch("SET LOCAL statement_timeout = 0")?;
            }
            for (number, migration) in (1_i64..).zip(MIGRATIONS).filter(|(number, _)| *number > found) {
                // A table whose rows lie in the order of their key; PostgreSQL has no such thing.
                let clustered = if on_server { "" } else { "WITHOUT ROWID" };
                database.batch(&migration.replace("/* clustered */", clustered))?;
                raise_meta(database, "schema", number)?;
            }
            Ok(())
        })
    }
}

const MINUTES_FROM: &str = "minutes_from_s";
const HOURS_FROM: &str = "hours_from_s";

fn known_version() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

fn kept_from(database: &mut dyn Database) -> Result<(i64, i64), LedgerError> {
    let mut of = |name: &str| -> Result<i64, LedgerError> {
        let rows = database.query("SELECT value FROM meta WHERE name = $1", &[name.into()])?;
        Ok(rows.first().map_or(i64::MIN, |row| row.int(0)))
    };
    Ok((of(MINUTES_FROM)?, of(HOURS_FROM)?))
}

/// Sets a number that never falls.
fn raise_meta(database: &mut dyn Database, name: &str, value: i64) -> Result<(), LedgerError> {
    let sql = "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = \
               CASE WHEN excluded.value > meta.value THEN excluded.value ELSE meta.value END";
    database.execute(sql, &[name.into(), Value::Int(value)]).map(|_| ())
}
