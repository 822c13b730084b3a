//! What the ledger asks of a database: the little that SQLite and PostgreSQL say in the same words.
//!
//! Statements use `$1`, `$2`, ... in the order of first use, which both number alike; the only types are 64-bit
//! integers, doubles and text.

use super::error::LedgerError;
use super::query::{Segment, Sum};
use std::time::Duration;

/// A value of a row or a parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// No value.
    Null,
    /// Counts, times, energies and keys.
    Int(i64),
    /// Factors and deviations.
    Real(f64),
    /// Names.
    Text(String),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// One row of a result.
#[derive(Clone, Debug, PartialEq)]
pub struct Row(pub Vec<Value>);

impl Row {
    /// A whole number; 0 for none.
    pub fn int(&self, column: usize) -> i64 {
        match self.0.get(column) {
            Some(Value::Int(value)) => *value,
            _ => 0,
        }
    }

    /// A whole number, where there is one.
    pub fn opt_int(&self, column: usize) -> Option<i64> {
        match self.0.get(column) {
            Some(Value::Int(value)) => Some(*value),
            _ => None,
        }
    }

    /// A number; 0 for none.
    pub fn real(&self, column: usize) -> f64 {
        match self.0.get(column) {
            Some(Value::Real(value)) => *value,
            #[expect(clippy::cast_precision_loss, reason = "SQLite keeps whole doubles as integers")]
            Some(Value::Int(value)) => *value as f64,
            _ => 0.0,
        }
    }

    /// Text; empty for none.
    pub fn text(&self, column: usize) -> String {
        self.opt_text(column).unwrap_or_default()
    }

    /// Text, where there is any.
    pub fn opt_text(&self, column: usize) -> Option<String> {
        match self.0.get(column) {
            Some(Value::Text(value)) => Some(value.clone()),
            _ => None,
        }
    }

    /// An amount that is never negative.
    pub fn amount(&self, column: usize) -> u64 {
        u64::try_from(self.int(column)).unwrap_or(0)
    }
}

/// A connection to a database.
pub trait Database: std::fmt::Debug {
    /// Runs several statements without parameters.
    fn batch(&mut self, sql: &str) -> Result<(), LedgerError>;

    /// Runs one statement, and says how many rows it changed.
    fn execute(&mut self, sql: &str, parameters: &[Value]) -> Result<u64, LedgerError>;

    /// Runs one statement, and gives its rows.
    fn query(&mut self, sql: &str, parameters: &[Value]) -> Result<Vec<Row>, LedgerError>;

    /// Runs one statement, and shows its rows one by one: for those that are too many to be held.
    fn each(
        &mut self,
        sql: &str,
        parameters: &[Value],
        show: &mut dyn FnMut(&Row),
    ) -> Result<(), LedgerError> {
        self.query(sql, parameters)?.iter().for_each(show);
        Ok(())
    }

    /// Sums of energies of an interval, one for each series.
    fn sums(&mut self, interval: Segment) -> Result<Vec<Sum>, LedgerError>;

    /// From here on nothing is written, and reading ends with [`LedgerError::Late`] after `limit`.
    fn only_read(&mut self, limit: Duration) -> Result<(), LedgerError>;

    /// Begins a transaction that no other writer can come between.
    fn begin(&mut self) -> Result<(), LedgerError>;

    /// Begins a transaction that only reads, and sees nothing of what others write meanwhile.
    fn begin_snapshot(&mut self) -> Result<(), LedgerError>;

    /// What it is, for messages, without secrets.
    fn place(&self) -> String;

    /// Whether its own integrity check finds fault; empty where it is sound, or there is no such check.
    fn integrity(&mut self) -> Result<Vec<String>, LedgerError>;

    /// Gives unused space back.
    fn compact(&mut self) -> Result<(), LedgerError>;
}

/// Does `work` in one transaction: all of it or nothing.
pub fn transaction<T>(
    database: &mut dyn Database,
    work: impl FnOnce(&mut dyn Database) -> Result<T, LedgerError>,
) -> Result<T, LedgerError> {
    database.begin()?;
    match work(database) {
        Ok(done) => match database.batch("COMMIT") {
            Ok(()) => Ok(done),
            Err(error) => {
                drop(database.batch("ROLLBACK"));
                Err(error)
            }
        },
        Err(error) => {
            // The first error is the one to tell; where the connection is gone, so is the transaction.
            drop(database.batch("ROLLBACK"));
            Err(error)
        }
    }
}
