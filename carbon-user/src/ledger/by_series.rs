//! Sums of energies by series, made in SQLite's own loop over the rows: a row that is handed out costs more than one that is
//! added up where it lies (3.2 s of CPU time for a year of hours by rows of the former schema, 1.2 s so; `cargo xtask bench ledger`).

use rusqlite::functions::{Aggregate, Context, FunctionFlags};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Result};
use std::collections::HashMap;

/// Of an interval, whose level, start and end are the parameters: one row with what [`decode`] reads.
pub(super) const SQL: &str = "SELECT carbon_sums(series, energy_uj, cpu_ns, common_uj, variance_uj2) FROM energy \
                              WHERE level_s = $1 AND start_s >= $2 AND start_s < $3";

/// Bytes of a series in what the function gives.
const BYTES: usize = 40;

/// A sum of the rows of one series.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct OfSeries {
    /// Its number.
    pub(super) series: i64,
    /// Microjoules.
    pub(super) energy_uj: u64,
    /// CPU nanoseconds.
    pub(super) cpu_ns: u64,
    /// Deviation that adds up linearly, in microjoules.
    pub(super) common_uj: f64,
    /// Variance that adds up, in square microjoules.
    pub(super) variance_uj2: f64,
}

/// Sums on the way. Buckets have their rows in the order of the series, so the row after one is mostly the one that came after it
/// in the bucket before: looking there first saves the hash. A number above all others is new, and is not looked for either: where
/// each hour has a factor of its own, all numbers of a year are.
#[derive(Debug, Default)]
struct Sums {
    rows: Vec<OfSeries>,
    /// Places of the first `indexed` rows.
    index: HashMap<i64, usize>,
    indexed: usize,
    highest: Option<i64>,
    next: usize,
}

impl Sums {
    fn of(&mut self, series: i64) -> Option<&mut OfSeries> {
        let at = if self.rows.get(self.next).is_some_and(|known| known.series == series) {
            self.next
        } else if self.highest.is_none_or(|highest| series > highest) {
            self.add(series)
        } else {
            let fresh = self.rows.iter().enumerate().skip(self.indexed);
            self.index.extend(fresh.map(|(at, row)| (row.series, at)));
            self.indexed = self.rows.len();
            match self.index.get(&series) {
                Some(at) => *at,
                None => self.add(series),
            }
        };
        self.next = if at + 1 < self.rows.len() { at + 1 } else { 0 };
        self.rows.get_mut(at)
    }

    fn add(&mut self, series: i64) -> usize {
        self.highest = self.highest.max(Some(series));
        self.rows.push(OfSeries { series, ..OfSeries::default() });
        self.rows.len() - 1
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.rows.len().saturating_mul(BYTES));
        for sum in &self.rows {
            bytes.extend(sum.series.to_le_bytes());
            bytes.extend(sum.energy_uj.to_le_bytes());
            bytes.extend(sum.cpu_ns.to_le_bytes());
            bytes.extend(sum.common_uj.to_le_bytes());
            bytes.extend(sum.variance_uj2.to_le_bytes());
        }
        bytes
    }
}

/// What the function gives, in no order.
pub(super) fn decode(bytes: &[u8]) -> Vec<OfSeries> {
    let of = |sum: &[u8]| {
        let mut words = sum.as_chunks::<8>().0.iter();
        let mut next = || words.next().copied().unwrap_or_default();
        OfSeries {
            series: i64::from_le_bytes(next()),
            energy_uj: u64::from_le_bytes(next()),
            cpu_ns: u64::from_le_bytes(next()),
            common_uj: f64::from_le_bytes(next()),
            variance_uj2: f64::from_le_bytes(next()),
        }
    };
    bytes.chunks_exact(BYTES).map(of).collect()
}

struct CarbonSums;

fn amount(value: ValueRef<'_>) -> u64 {
    match value {
        ValueRef::Integer(value) => u64::try_from(value).unwrap_or(0),
        _ => 0,
    }
}

fn real(value: ValueRef<'_>) -> f64 {
    match value {
        ValueRef::Real(value) => value,
        #[expect(clippy::cast_precision_loss, reason = "SQLite keeps whole doubles as integers")]
        ValueRef::Integer(value) => value as f64,
        _ => 0.0,
    }
}

impl Aggregate<Sums, Vec<u8>> for CarbonSums {
    fn init(&self, _: &mut Context<'_>) -> Result<Sums> {
        Ok(Sums::default())
    }

    fn step(&self, row: &mut Context<'_>, sums: &mut Sums) -> Result<()> {
        let ValueRef::Integer(series) = row.get_raw(0) else { return Ok(()) };
        if let Some(sum) = sums.of(series) {
            sum.energy_uj = sum.energy_uj.saturating_add(amount(row.get_raw(1)));
            sum.cpu_ns = sum.cpu_ns.saturating_add(amount(row.get_raw(2)));
            sum.common_uj += real(row.get_raw(3));
            sum.variance_uj2 += real(row.get_raw(4));
        }
        Ok(())
    }

    fn finalize(&self, _: &mut Context<'_>, sums: Option<Sums>) -> Result<Vec<u8>> {
        Ok(sums.unwrap_or_default().encode())
    }
}

/// Makes the function known to a connection; what is kept in a file cannot call it.
pub(super) fn add_to(connection: &Connection) -> Result<()> {
    let flags =
        FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_DIRECTONLY;
    connection.create_aggregate_function("carbon_sums", 5, flags, CarbonSums)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// The function adds up what the rows say, whatever their order and number.
        #[test]
        fn sums_by_series_are_those_of_the_rows(rows in prop::collection::vec((0_i64..4, 0_i64..5, 0_i64..1 << 40, -8_i32..8), 0..60)) {
            let connection = Connection::open_in_memory().unwrap();
            add_to(&connection).unwrap();
            connection.execute_batch("CREATE TABLE energy (level_s, start_s, series, energy_uj, cpu_ns, common_uj, variance_uj2)").unwrap();
            let mut expected: BTreeMap<i64, OfSeries> = BTreeMap::new();
            for (start, series, uj, part) in &rows {
                let part = f64::from(*part) / 4.0;
                let row = (start, series, uj, uj / 3, part, part * part);
                connection.execute("INSERT INTO energy VALUES (60, ?1, ?2, ?3, ?4, ?5, ?6)", row).unwrap();
                if *start < 3 {
                    let sum = expected.entry(*series).or_insert(OfSeries { series: *series, ..OfSeries::default() });
                    sum.energy_uj += uj.unsigned_abs();
                    sum.cpu_ns += (uj / 3).unsigned_abs();
                    sum.common_uj += part;
                    sum.variance_uj2 += part * part;
                }
            }
            let mut sums = connection.query_row(SQL, (60, 0, 3), |row| Ok(decode(row.get_ref(0)?.as_blob()?))).unwrap();
            sums.sort_by_key(|sum| sum.series);
            // Quarters are added without rounding, so that the order does not matter.
            prop_assert_eq!(sums, expected.into_values().collect::<Vec<_>>());
        }
    }
}
