//! Sums one by one: where each hour has a factor of its own, a year has too many of them to be held.

use super::error::LedgerError;
use super::query::{Segment, Sum};
use super::{Ledger, cache};

impl Ledger {
    /// Shows the sums of an interval, as [`Ledger::sums`] has them but for time: one for each block of it. They add up to the same.
    pub fn each_sum(&mut self, segments: &[Segment], show: &mut dyn FnMut(&Sum)) -> Result<(), LedgerError> {
        for segment in segments {
            for (block, _) in cache::cut(*segment) {
                self.each_block(block, &mut |found| found.iter().for_each(&mut *show))?;
            }
        }
        Ok(())
    }

    /// How many hours were rated again so far: a sum that was read before one of them was is out of date.
    pub fn hours_rerated(&mut self) -> Result<i64, LedgerError> {
        let rows = self.database.query("SELECT COUNT(*) FROM rerate", &[])?;
        Ok(rows.first().map_or(0, |row| row.int(0)))
    }
}
