//! Runs that another program measured and kept, taken into the ledger: the same run is one run, however often it is brought.

use super::Ledger;
use super::error::LedgerError;
use super::names::Names;
use super::rows::{RunEnd, RunStart};
use super::runs::{finish_run, insert_run};
use super::sql::transaction;

/// What became of those that were brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Not there before.
    pub new: usize,
    /// There, and shorter: they went on since.
    pub longer: usize,
    /// There already.
    pub same: usize,
}

impl Ledger {
    /// Takes all of them, or none. A run that is there is replaced by a longer one of the same `accounting` only: what this
    /// ledger measured itself stays.
    pub fn merge_runs(&mut self, runs: &[(RunStart, RunEnd)]) -> Result<Merged, LedgerError> {
        transaction(self.database.as_mut(), |database| {
            let mut names = Names::default();
            let mut merged = Merged::default();
            for (start, end) in runs {
                let sql = "SELECT run.duration_ns, run.accounting, posted_run.run FROM run LEFT JOIN posted_run ON \
                           posted_run.run = run.id WHERE run.id = $1";
                let known = database.query(sql, &[start.id.as_str().into()])?;
                match known.first() {
                    None => {
                        merged.new += 1;
                        insert_run(database, &mut names, start)?;
                    }
                    Some(row)
                        if row.opt_text(2).is_none()
                            && row.text(1) == end.accounting
                            && row.amount(0) < end.duration_ns =>
                    {
                        merged.longer += 1;
                        for table in ["run_rerate", "run_energy", "run_domain"] {
                            let sql = format!("DELETE FROM {table} WHERE run = $1");
                            database.execute(&sql, &[start.id.as_str().into()])?;
                        }
                    }
                    Some(_) => {
                        merged.same += 1;
                        continue;
                    }
                }
                finish_run(database, &mut names, start, end)?;
            }
            Ok(merged)
        })
    }
}
