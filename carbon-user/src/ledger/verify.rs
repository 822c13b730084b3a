//! Whether a ledger's sums still hold.

use super::error::LedgerError;
use super::factor::{self, Factor};
use super::query::{DAY, HOUR, MINUTE};
use super::{Ledger, kept_from};

/// Faults listed at most, of each sort.
const FAULTS_MAX: usize = 20;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Rows of energies looked at.
    pub energies: u64,
    /// Runs looked at.
    pub runs: u64,
    /// Factors looked at.
    pub factors: u64,
    /// What is wrong; empty where all holds.
    pub faults: Vec<String>,
}

impl Ledger {
    /// Checks the file itself, that hours are the sums of their minutes and days of their hours, that each bucket
    /// and each run balances, and that each factor has its hash.
    pub fn verify(&mut self) -> Result<Verified, LedgerError> {
        let mut found = Verified { faults: self.database.integrity()?, ..Verified::default() };
        let count = |ledger: &mut Self, table: &str| -> Result<u64, LedgerError> {
            let rows = ledger.database.query(&format!("SELECT COUNT(*) FROM {table}"), &[])?;
            Ok(rows.first().map_or(0, |row| row.amount(0)))
        };
        found.energies = count(self, "energy")?;
        found.runs = count(self, "run")?;
        found.factors = count(self, "factor")?;
        let (minutes_from, hours_from) = kept_from(self.database.as_mut())?;
        for (fine, coarse, from) in [(MINUTE, HOUR, minutes_from), (HOUR, DAY, hours_from)] {
            self.levels(fine, coarse, from, &mut found.faults)?;
        }
        self.buckets(&mut found.faults)?;
        self.run_balances(&mut found.faults)?;
        self.hashes(&mut found.faults)?;
        Ok(found)
    }

    /// Each coarse bucket whose parts are kept is their sum, and has parts.
    fn levels(
        &mut self,
        fine: i64,
        coarse: i64,
        from: i64,
        faults: &mut Vec<String>,
    ) -> Result<(), LedgerError> {
        // Unix time may be before 1970, where the remainder of a division is negative in both databases.
        let floor = format!("start_s - (((start_s % {coarse}) + {coarse}) % {coarse})");
        let tables = [
            ("energy", "series", "SUM(energy_uj) AS a, SUM(cpu_ns) AS b"),
            ("balance", "domain", "SUM(metered_uj) AS a, SUM(lost_uj) AS b"),
        ];
        for (table, key, sums) in tables {
            let sql = format!(
                "SELECT bucket, COUNT(*) FROM (SELECT bucket, {key}, a, b, COUNT(*) AS n FROM ( \
                   SELECT {floor} AS bucket, {key}, {sums} FROM {table} WHERE level_s = $1 AND start_s >= $2 \
                   GROUP BY {floor}, {key} \
                   UNION ALL \
                   SELECT start_s AS bucket, {key}, {sums} FROM {table} WHERE level_s = $3 AND start_s >= $4 \
                   GROUP BY start_s, {key}) AS both_levels \
                 GROUP BY bucket, {key}, a, b HAVING COUNT(*) <> 2) AS odd GROUP BY bucket ORDER BY bucket \
                 LIMIT {FAULTS_MAX}"
            );
            let values = [fine.into(), from.into(), coarse.into(), from.into()];
            for row in self.database.query(&sql, &values)? {
                faults.push(format!(
                    "{table}: the bucket of {coarse} s at {} is not the sum of its parts of {fine} s",
                    row.int(0)
                ));
            }
        }
        Ok(())
    }

    /// metered = attributed + static + lost; attributed is what the workloads have, and static no less than they do.
    fn buckets(&mut self, faults: &mut Vec<String>) -> Result<(), LedgerError> {
        let sql = format!(
            "SELECT level_s, start_s FROM balance WHERE metered_uj <> attributed_uj + static_uj + lost_uj \
             ORDER BY level_s, start_s LIMIT {FAULTS_MAX}"
        );
        for row in self.database.query(&sql, &[])? {
            faults.push(format!(
                "balance: the bucket of {} s at {} has parts that are not what was metered",
                row.int(0),
                row.int(1)
            ));
        }
        let sql = format!(
            "SELECT level_s, start_s, domain FROM ( \
               SELECT level_s, start_s, domain, SUM(energy_uj) AS uj FROM energy JOIN series ON \
               series.id = energy.series WHERE kind = 0 GROUP BY level_s, start_s, domain \
               UNION ALL \
               SELECT level_s, start_s, domain, -attributed_uj AS uj FROM balance) AS parts \
             GROUP BY level_s, start_s, domain HAVING SUM(uj) <> 0 ORDER BY level_s, start_s LIMIT {FAULTS_MAX}"
        );
        for row in self.database.query(&sql, &[])? {
            faults.push(format!(
                "energy: workloads of the bucket of {} s at {} do not have what was attributed",
                row.int(0),
                row.int(1)
            ));
        }
        let sql = format!(
            "SELECT level_s, start_s, domain FROM ( \
               SELECT level_s, start_s, domain, SUM(energy_uj) AS uj FROM energy JOIN series ON \
               series.id = energy.series WHERE kind <> 0 GROUP BY level_s, start_s, domain \
               UNION ALL \
               SELECT level_s, start_s, domain, -static_uj AS uj FROM balance) AS parts \
             GROUP BY level_s, start_s, domain HAVING SUM(uj) > 0 ORDER BY level_s, start_s LIMIT {FAULTS_MAX}"
        );
        for row in self.database.query(&sql, &[])? {
            faults.push(format!(
                "energy: workloads of the bucket of {} s at {} have more idle energy than there was",
                row.int(0),
                row.int(1)
            ));
        }
        Ok(())
    }

    /// metered = attributed + static + lost, of each domain of each run.
    fn run_balances(&mut self, faults: &mut Vec<String>) -> Result<(), LedgerError> {
        let sql = format!(
            "SELECT run_domain.run, domain.domain, domain.device, domain.source FROM run_domain \
             JOIN domain ON domain.id = run_domain.domain \
             WHERE metered_uj <> attributed_uj + static_uj + lost_uj \
             ORDER BY run_domain.run, run_domain.domain LIMIT {FAULTS_MAX}"
        );
        for row in self.database.query(&sql, &[])? {
            faults.push(format!(
                "run {}: the parts of {} {} of {} are not what was metered",
                row.text(0),
                row.text(1),
                row.text(2),
                row.text(3)
            ));
        }
        Ok(())
    }

    fn hashes(&mut self, faults: &mut Vec<String>) -> Result<(), LedgerError> {
        let sql = format!("SELECT hash, {} FROM factor", factor::COLUMNS);
        for row in self.database.query(&sql, &[])? {
            if Factor::from_row(&row, 1).hash() != row.text(0) {
                faults.push(format!("factor: {} is not what its hash says", row.text(0)));
            }
        }
        faults.truncate(FAULTS_MAX * 4);
        Ok(())
    }
}
