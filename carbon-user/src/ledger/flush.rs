//! Writing a minute, and with it its hour and its day.

use super::error::LedgerError;
use super::names::Names;
use super::query::{DAY, HOUR, MINUTE};
use super::rows::{BalanceRow, EnergyKind, EnergyRow, Flush};
use super::sql::{Database, Value, transaction};
use super::{Ledger, kept_from};
use std::collections::HashMap;

const ADD_ENERGY: &str = "INSERT INTO energy (level_s, start_s, series, energy_uj, cpu_ns, common_uj, variance_uj2) \
     VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (level_s, start_s, series) DO UPDATE SET \
     energy_uj = energy.energy_uj + excluded.energy_uj, cpu_ns = energy.cpu_ns + excluded.cpu_ns, \
     common_uj = energy.common_uj + excluded.common_uj, \
     variance_uj2 = energy.variance_uj2 + excluded.variance_uj2";

const ADD_BALANCE: &str = "INSERT INTO balance (level_s, start_s, domain, covered_ns, metered_uj, attributed_uj, static_uj, lost_uj, gaps) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (level_s, start_s, domain) DO UPDATE SET \
     covered_ns = balance.covered_ns + excluded.covered_ns, \
     metered_uj = balance.metered_uj + excluded.metered_uj, \
     attributed_uj = balance.attributed_uj + excluded.attributed_uj, \
     static_uj = balance.static_uj + excluded.static_uj, lost_uj = balance.lost_uj + excluded.lost_uj, \
     gaps = balance.gaps + excluded.gaps";

impl Ledger {
    /// Writes flushes in one transaction and says how many of them were new. After an error nothing of any is
    /// written, and all may be tried again.
    pub fn flush(&mut self, flushes: &[Flush]) -> Result<usize, LedgerError> {
        for flush in flushes {
            check(flush)?;
        }
        transaction(self.database.as_mut(), |database| {
            let mut names = Names::default();
            let mut written = 0;
            for flush in flushes {
                written += usize::from(write(database, &mut names, flush)?);
            }
            Ok(written)
        })
    }
}

impl Ledger {
    /// Whether a flush of this name has been written for a machine.
    pub fn has_flush(&mut self, node: &str, name: &str) -> Result<bool, LedgerError> {
        let sql = "SELECT flush.start_s FROM flush JOIN node ON node.id = flush.node WHERE node.name = $1 AND \
                   flush.name = $2";
        Ok(!self.database.query(sql, &[node.into(), name.into()])?.is_empty())
    }
}

/// Whether it was new.
fn write(database: &mut dyn Database, names: &mut Names, flush: &Flush) -> Result<bool, LedgerError> {
    let node = names.node(database, &flush.node)?;
    let sql =
        "INSERT INTO flush (node, name, start_s) VALUES ($1, $2, $3) ON CONFLICT (node, name) DO NOTHING";
    if database.execute(sql, &[node.into(), flush.name.as_str().into(), flush.start_s.into()])? == 0 {
        return Ok(false);
    }
    add(database, names, &flush.node, MINUTE, flush.start_s, (&flush.rows, &flush.balances), false)?;
    Ok(true)
}

/// Adds rows of a bucket of `level` to it and to all that contain it. Levels whose details are no longer kept at
/// that time are left out, so that what is removed never comes back in part. `rerated` says that
/// the rows' factors came after their hour.
pub(super) fn add(
    database: &mut dyn Database,
    names: &mut Names,
    node: &str,
    level: i64,
    start_s: i64,
    (rows, balances): (&[EnergyRow], &[BalanceRow]),
    rerated: bool,
) -> Result<(), LedgerError> {
    let node = names.node(database, node)?;
    let (minutes_from, hours_from) = kept_from(database)?;
    let mut energies = Vec::with_capacity(rows.len());
    for row in rows {
        energies.push(energy_values(database, names, node, row, rerated)?);
    }
    for into in [MINUTE, HOUR, DAY].into_iter().filter(|into| *into >= level) {
        let kept = match into {
            MINUTE => start_s >= minutes_from,
            HOUR => start_s >= hours_from,
            _ => true,
        };
        if !kept {
            continue;
        }
        let start = start_s.div_euclid(into).saturating_mul(into);
        for values in &energies {
            let head: [Value; 2] = [into.into(), start.into()];
            let values: Vec<Value> = head.into_iter().chain(values.iter().cloned()).collect();
            database.execute(ADD_ENERGY, &values)?;
        }
        for row in balances {
            let values = [
                into.into(),
                start.into(),
                names.domain(database, node, &row.domain)?.into(),
                whole(row.covered_ns)?,
                whole(row.metered.0)?,
                whole(row.attributed.0)?,
                whole(row.static_energy.0)?,
                whole(row.lost.0)?,
                whole(row.gaps)?,
            ];
            database.execute(ADD_BALANCE, &values)?;
        }
    }
    Ok(())
}

/// The series of a row, and its numbers.
fn energy_values(
    database: &mut dyn Database,
    names: &mut Names,
    node: i64,
    row: &EnergyRow,
    rerated: bool,
) -> Result<[Value; 5], LedgerError> {
    Ok([
        names.series(database, node, row, rerated)?.into(),
        whole(row.energy.0)?,
        whole(row.cpu.0)?,
        // Both add up linearly over time, as one cause does; that they do so together is the wider interval.
        row.uncertainty.split_uj.hypot(row.uncertainty.model_uj).into(),
        row.uncertainty.meter_uj.powi(2).into(),
    ])
}

/// An amount as it is kept.
pub(super) fn whole(amount: u64) -> Result<Value, LedgerError> {
    i64::try_from(amount).map(Value::Int).map_err(|_| LedgerError::Overflow(amount))
}

/// What would not balance is not written: a ledger's sums are trusted for years.
fn check(flush: &Flush) -> Result<(), LedgerError> {
    let unbalanced = |reason: String| LedgerError::Unbalanced { start_s: flush.start_s, reason };
    if flush.start_s.rem_euclid(MINUTE) != 0 {
        return Err(unbalanced("it does not begin with a minute".into()));
    }
    for row in &flush.balances {
        if !row.balances() {
            let BalanceRow { metered, attributed, static_energy, lost, .. } = row;
            return Err(unbalanced(format!(
                "{} metered {} uJ, and its parts are {} + {} + {} uJ",
                row.domain.device, metered.0, attributed.0, static_energy.0, lost.0
            )));
        }
    }
    // Of each domain: dynamic energy, which is all shared out; static and held, of which some may be nobody's.
    let mut given: HashMap<&_, (u128, u128)> = HashMap::new();
    for row in &flush.rows {
        let (dynamic, idle) = given.entry(&row.domain).or_default();
        match row.kind {
            EnergyKind::Dynamic => *dynamic += u128::from(row.energy.0),
            EnergyKind::Static | EnergyKind::Held => *idle += u128::from(row.energy.0),
        }
    }
    for row in &flush.balances {
        let (dynamic, idle) = given.remove(&row.domain).unwrap_or_default();
        let (device, attributed) = (&row.domain.device, row.attributed.0);
        if dynamic != u128::from(attributed) {
            return Err(unbalanced(format!(
                "workloads have {dynamic} uJ of {device}, and {attributed} uJ were attributed"
            )));
        }
        let static_uj = row.static_energy.0;
        if idle > u128::from(static_uj) {
            return Err(unbalanced(format!(
                "workloads have {idle} uJ of idle energy of {device}, which had {static_uj} uJ"
            )));
        }
    }
    match given.into_iter().next() {
        Some((domain, (dynamic, idle))) => {
            let uj = dynamic + idle;
            Err(unbalanced(format!("{uj} uJ are of {}, which was not metered", domain.device)))
        }
        None => Ok(()),
    }
}
