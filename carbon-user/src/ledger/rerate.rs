//! Rating hours and runs again when their intensity becomes known after them: once each, marked, with the old factor kept.
//!
//! Only the factor of rows changes, in the minutes of the hour, the hour and its day, in one transaction: energies stay
//! as they are at every level. Rows of a run stay whole: another table says by which factor they are rated.

use super::error::LedgerError;
use super::factor::Factor;
use super::names::Names;
use super::query::{DAY, HOUR, MINUTE};
use super::sql::{Database, Value, transaction};
use super::{Ledger, kept_from};
use crate::carbon::Intensity;
use crate::carbon::kind::Span;
use crate::carbon::series::Series;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rerated {
    /// Hours of a node that have a new factor.
    pub hours: u64,
    /// Hours of it that stay as they are, since the series does not cover the whole of them.
    pub uncovered: u64,
    /// Runs that have a new factor.
    pub runs: u64,
    /// Runs that stay as they are, since the series does not cover the whole of them.
    pub uncovered_runs: u64,
}

const US_PER_S: i64 = 1_000_000;

/// An hour of a node, and the factor that was recorded.
type Hour = (i64, i64, i64);

impl Ledger {
    /// Gives the energies that were recorded by a yearly average of `zone` the hourly intensity of `series`, where it has
    /// one for the whole hour, or for the whole run. What is of another kind is refused, and then nothing is changed.
    /// PUE stays.
    pub fn rerate(&mut self, series: &Series, zone: &str) -> Result<Rerated, LedgerError> {
        let factors = self.factors()?;
        let yearly: HashMap<i64, Factor> = factors
            .into_iter()
            .filter(|(_, factor)| factor.intensity.zone == zone && factor.intensity.kind.span == Span::Year)
            .collect();
        if let Some(factor) = yearly.values().next() {
            factor.intensity.kind.addable(series.kind())?;
        }
        transaction(self.database.as_mut(), |database| {
            let mut names = Names::default();
            let mut done = Rerated::default();
            let mut days: BTreeSet<(i64, i64)> = BTreeSet::new();
            for (hour, known) in hours(database, series)? {
                let (start_s, node, old) = hour;
                let Some(factor) = yearly.get(&old) else { continue };
                // What came late into an hour that was rated before has the same factor as the rest.
                let rated_by = if let Some(rated_by) = known {
                    rated_by
                } else if let Some(better) = better(series, (start_s, start_s.saturating_add(HOUR)), factor) {
                    names.factor(database, &better)?
                } else {
                    done.uncovered += 1;
                    continue;
                };
                rate(database, hour, rated_by)?;
                done.hours += 1;
                days.insert((start_s.div_euclid(DAY).saturating_mul(DAY), node));
            }
            for (day, node) in days {
                sum_day(database, day, node)?;
            }
            (done.runs, done.uncovered_runs) = rate_runs(database, &mut names, series, &yearly)?;
            Ok(done)
        })
    }
}

impl Ledger {
    /// Of hours from `from_s` to `to_s` that were rated again: the ids of the factor that was recorded first, and of the later one.
    pub fn rated_before(&mut self, from_s: i64, to_s: i64) -> Result<Vec<(i64, i64)>, LedgerError> {
        let sql = "SELECT DISTINCT factor, rated_by FROM rerate WHERE start_s > $1 AND start_s < $2 \
                   ORDER BY factor, rated_by";
        // A minute is of the hour that it lies in.
        let rows = self.database.query(sql, &[from_s.saturating_sub(HOUR).into(), to_s.into()])?;
        Ok(rows.iter().map(|row| (row.int(0), row.int(1))).collect())
    }
}

/// The factor of an interval: none where the series does not know all of it.
fn better(series: &Series, (start_s, end_s): (i64, i64), recorded: &Factor) -> Option<Factor> {
    let mean = series.mean(start_s, end_s).filter(|mean| mean.covered_ratio >= 1.0)?;
    // The place stays, by its name in the tables: so a report can still ask for their factor of it.
    let Intensity { zone, name, .. } = recorded.intensity.clone();
    let mut intensity = Intensity { zone, name, ..mean.intensity };
    if mean.estimated {
        intensity.source.push_str(" (estimate)");
    }
    Some(Factor::new(intensity, recorded.pue))
}

/// Hours that the series touches and that were not rated again, with the factor that late rows of them have to get.
fn hours(database: &mut dyn Database, series: &Series) -> Result<BTreeMap<Hour, Option<i64>>, LedgerError> {
    let (_, hours_from) = kept_from(database)?;
    let (Some(first), Some(last)) = (series.points().first(), series.points().last()) else {
        return Ok(BTreeMap::new());
    };
    let from = (first.start_s.div_euclid(HOUR).saturating_mul(HOUR)).max(hours_from);
    let sql = "SELECT DISTINCT energy.start_s, series.node, series.factor, rerate.rated_by FROM energy \
               JOIN series ON series.id = energy.series \
               LEFT JOIN rerate ON rerate.node = series.node AND rerate.start_s = energy.start_s \
               AND rerate.factor = series.factor \
               WHERE energy.level_s = $1 AND energy.start_s >= $2 AND energy.start_s < $3 AND series.rerated = 0";
    let rows = database.query(sql, &[HOUR.into(), from.into(), last.end_s.into()])?;
    Ok(rows.iter().map(|row| ((row.int(0), row.int(1), row.int(2)), row.opt_int(3))).collect())
}

/// Moves rows of the hour and of its minutes to the series of another factor. Two old factors may have one new one: then rows
/// are added.
fn rate(database: &mut dyn Database, (start_s, node, old): Hour, rated_by: i64) -> Result<(), LedgerError> {
    let of_hour =
        format!("energy.level_s IN ({MINUTE}, {HOUR}) AND energy.start_s >= $2 AND energy.start_s < $3");
    let values: [Value; 5] =
        [rated_by.into(), start_s.into(), start_s.saturating_add(HOUR).into(), node.into(), old.into()];
    let same = "later.node = former.node AND later.workload = former.workload AND later.domain = former.domain AND \
                later.kind = former.kind AND later.factor = $1 AND later.quality = former.quality AND later.rerated = 1";
    let recorded = "former.node = $4 AND former.factor = $5 AND former.rerated = 0";
    let sql = format!(
        "INSERT INTO series (id, node, workload, domain, kind, factor, quality, rerated) SELECT \
         (SELECT COALESCE(MAX(id), 0) FROM series) + ROW_NUMBER() OVER (ORDER BY former.id), former.node, former.workload, \
         former.domain, former.kind, CAST($1 AS BIGINT), former.quality, 1 FROM \
         (SELECT DISTINCT energy.series FROM energy WHERE {of_hour}) AS touched \
         JOIN series AS former ON former.id = touched.series WHERE {recorded} \
         AND NOT EXISTS (SELECT 1 FROM series AS later WHERE {same})"
    );
    database.execute(&sql, &values)?;
    let sql = format!(
        "INSERT INTO energy (level_s, start_s, series, energy_uj, cpu_ns, common_uj, variance_uj2) \
         SELECT energy.level_s, energy.start_s, later.id, energy.energy_uj, energy.cpu_ns, energy.common_uj, \
         energy.variance_uj2 FROM energy JOIN series AS former ON former.id = energy.series JOIN series AS later ON {same} \
         WHERE {of_hour} AND {recorded} ON CONFLICT (level_s, start_s, series) DO UPDATE SET \
         energy_uj = energy.energy_uj + excluded.energy_uj, cpu_ns = energy.cpu_ns + excluded.cpu_ns, \
         common_uj = energy.common_uj + excluded.common_uj, \
         variance_uj2 = energy.variance_uj2 + excluded.variance_uj2"
    );
    database.execute(&sql, &values)?;
    let sql = format!(
        "DELETE FROM energy WHERE level_s IN ({MINUTE}, {HOUR}) AND start_s >= $1 AND start_s < $2 AND EXISTS \
         (SELECT 1 FROM series WHERE series.id = energy.series AND series.node = $3 AND series.factor = $4 \
         AND series.rerated = 0)"
    );
    let [_, of_rows @ ..] = values;
    database.execute(&sql, &of_rows)?;
    note(database, (start_s, node, old), rated_by)
}

/// Remembers the factor that was recorded first.
pub(super) fn note(
    database: &mut dyn Database,
    (start_s, node, old): Hour,
    rated_by: i64,
) -> Result<(), LedgerError> {
    let sql = "INSERT INTO rerate (node, start_s, factor, rated_by) VALUES ($1, $2, $3, $4) \
               ON CONFLICT (node, start_s, factor) DO NOTHING";
    database.execute(sql, &[node.into(), start_s.into(), old.into(), rated_by.into()]).map(|_| ())
}

/// Makes the energies of a day anew, of hours that are all kept.
fn sum_day(database: &mut dyn Database, day: i64, node: i64) -> Result<(), LedgerError> {
    let of_node = |node: &str| {
        format!("EXISTS (SELECT 1 FROM series WHERE series.id = energy.series AND series.node = {node})")
    };
    let sql = format!("DELETE FROM energy WHERE level_s = $1 AND start_s = $2 AND {}", of_node("$3"));
    database.execute(&sql, &[DAY.into(), day.into(), node.into()])?;
    let sql = format!(
        "INSERT INTO energy (level_s, start_s, series, energy_uj, cpu_ns, common_uj, variance_uj2) \
         SELECT {DAY}, CAST($1 AS BIGINT), series, CAST(SUM(energy_uj) AS BIGINT), CAST(SUM(cpu_ns) AS BIGINT), \
         SUM(common_uj), SUM(variance_uj2) FROM energy WHERE level_s = {HOUR} AND start_s >= $2 AND start_s < $3 \
         AND {} GROUP BY series",
        of_node("$4")
    );
    let values = [day.into(), day.into(), day.saturating_add(DAY).into(), node.into()];
    database.execute(&sql, &values).map(|_| ())
}

/// Runs that were recorded by one of `yearly` and that the series touches; how many have a new factor, and how many not.
fn rate_runs(
    database: &mut dyn Database,
    names: &mut Names,
    series: &Series,
    yearly: &HashMap<i64, Factor>,
) -> Result<(u64, u64), LedgerError> {
    let (Some(first), Some(last)) = (series.points().first(), series.points().last()) else {
        return Ok((0, 0));
    };
    let us = |seconds: i64| Value::Int(seconds.saturating_mul(US_PER_S));
    let sql = "SELECT DISTINCT run.id, run.start_us, run.end_us, run_energy.factor FROM run \
               JOIN run_energy ON run_energy.run = run.id \
               LEFT JOIN run_rerate ON run_rerate.run = run.id AND run_rerate.factor = run_energy.factor \
               WHERE run.end_us > $1 AND run.start_us < $2 AND run_rerate.run IS NULL ORDER BY run.id";
    let (mut rated, mut uncovered) = (BTreeSet::new(), BTreeSet::new());
    for row in database.query(sql, &[us(first.start_s), us(last.end_s)])? {
        let (run, start_us, end_us, old) = (row.text(0), row.int(1), row.int(2), row.int(3));
        let Some(recorded) = yearly.get(&old) else { continue };
        let to_s = end_us.div_euclid(US_PER_S) + i64::from(end_us.rem_euclid(US_PER_S) > 0);
        match better(series, (start_us.div_euclid(US_PER_S), to_s), recorded) {
            Some(better) => {
                let rated_by = names.factor(database, &better)?;
                note_run(database, &run, old, rated_by)?;
                rated.insert(run);
            }
            None => drop(uncovered.insert(run)),
        }
    }
    let count = |runs: BTreeSet<String>| u64::try_from(runs.len()).unwrap_or(u64::MAX);
    Ok((count(rated), count(uncovered)))
}

/// Says by which factor the energies of a run are rated that were recorded by `factor`.
pub(super) fn note_run(
    database: &mut dyn Database,
    run: &str,
    factor: i64,
    rated_by: i64,
) -> Result<(), LedgerError> {
    let sql = "INSERT INTO run_rerate (run, factor, rated_by) VALUES ($1, $2, $3) \
               ON CONFLICT (run, factor) DO NOTHING";
    database.execute(sql, &[run.into(), factor.into(), rated_by.into()]).map(|_| ())
}
