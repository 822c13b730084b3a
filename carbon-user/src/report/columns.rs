//! The columns that `carbon report` has for programs, with their types: of CSV and Parquet alike.

use super::grid::{Cell, Grid};
use super::ledger::{GroupRow, LedgerReport};

/// Where a column's values come from, and with it their type.
#[derive(Clone, Copy, Debug)]
pub enum Values {
    /// Names.
    Text(fn(&GroupRow) -> Option<&str>),
    /// Counts and exact energies.
    Whole(fn(&GroupRow) -> Option<u64>),
    /// What is computed.
    Real(fn(&GroupRow) -> Option<f64>),
    /// Yes or no.
    Truth(fn(&GroupRow) -> Option<bool>),
}

/// Always the same ones, so that files of many reports are one table. Units are the last word of a name.
pub const COLUMNS: [(&str, Values); 15] = [
    ("key", Values::Text(|row| Some(&row.key))),
    ("period", Values::Text(|row| row.period.as_deref())),
    ("runs", Values::Whole(|row| row.runs.and_then(|runs| u64::try_from(runs).ok()))),
    ("cpu_ns", Values::Whole(|row| Some(row.cpu_ns))),
    ("dynamic_uj", Values::Whole(|row| row.dynamic_uj)),
    ("static_uj", Values::Whole(|row| row.static_uj)),
    ("held_uj", Values::Whole(|row| row.static_uj.map(|_| row.held_uj.unwrap_or(0)))),
    ("stddev_uj", Values::Real(|row| row.stddev_uj)),
    ("grams", Values::Real(|row| row.grams)),
    ("grams_low", Values::Real(|row| row.grams_low)),
    ("grams_high", Values::Real(|row| row.grams_high)),
    ("quality", Values::Text(|row| row.quality)),
    ("rerated", Values::Truth(|row| Some(row.rerated))),
    ("assumed", Values::Truth(|row| Some(row.assumed))),
    ("name", Values::Text(|row| row.name.as_deref())),
];

/// The rows with these columns; what is not known is empty, which is not 0.
pub fn grid(report: &LedgerReport) -> Grid {
    let columns = COLUMNS.map(|(key, values)| (key, key, !matches!(values, Values::Text(_))));
    let mut grid = Grid::new(&columns);
    let cell = |row: &GroupRow, values: Values| match values {
        Values::Text(of) => of(row).map(Cell::text),
        Values::Whole(of) => of(row).map(|it| Cell::number(it.to_string(), it)),
        Values::Real(of) => of(row).map(|it| Cell::number(it.to_string(), it)),
        Values::Truth(of) => of(row).map(|it| Cell::number(it.to_string(), it)),
    };
    let cells = |row| COLUMNS.map(|(_, values)| cell(row, values).unwrap_or_default()).to_vec();
    grid.rows = report.rows.iter().map(cells).collect();
    grid
}
