//! Reading sums: an interval is put together from the coarsest buckets that fill it exactly.

use super::error::LedgerError;
use super::factor::{self, Factor};
use super::rows::{EnergyKind, WORKLOAD_COLUMNS, Workload, quality_code, quality_of, workload_of};
use super::sql::{Row, Value};
use super::{Ledger, cache};
use crate::units::Quality;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Length of a bucket in seconds.
pub const MINUTE: i64 = 60;
/// Length of a bucket in seconds.
pub const HOUR: i64 = 3600;
/// Length of a bucket in seconds.
pub const DAY: i64 = 86_400;

/// Part of an interval, to be read from buckets of one length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Segment {
    /// Length of its buckets.
    pub level_s: i64,
    /// Unix time of the start.
    pub start_s: i64,
    /// Unix time of the end, left out.
    pub end_s: i64,
}

/// The fewest segments that cover an interval, which is widened to whole buckets of what is still kept at its ends.
pub fn cover(from_s: i64, to_s: i64, (minutes_from, hours_from): (i64, i64)) -> Vec<Segment> {
    let floor = |instant: i64, level: i64| instant.div_euclid(level) * level;
    let ceil = |instant: i64, level: i64| floor(instant.saturating_add(level - 1), level);
    // What ends inside a bucket whose parts are gone takes the whole bucket.
    let finest = |instant: i64| {
        if instant >= minutes_from {
            MINUTE
        } else if instant >= hours_from {
            HOUR
        } else {
            DAY
        }
    };
    let start = floor(from_s, finest(from_s));
    let end = ceil(to_s, finest(to_s.saturating_sub(1)));
    if from_s >= to_s || start >= end {
        return Vec::new();
    }
    let mut segments = Vec::new();
    let mut push = |level_s, start_s, end_s| {
        if start_s < end_s {
            segments.push(Segment { level_s, start_s, end_s });
        }
    };
    let hour_start = ceil(start, HOUR).min(end);
    let hour_end = floor(end, HOUR).max(hour_start);
    let day_start = ceil(hour_start, DAY).min(hour_end);
    let day_end = floor(hour_end, DAY).max(day_start);
    push(MINUTE, start, hour_start);
    push(HOUR, hour_start, day_start);
    push(DAY, day_start, day_end);
    push(HOUR, day_end, hour_end);
    push(MINUTE, hour_end, end);
    segments
}

/// [`cover`] of intervals that follow one another: what a bucket that is kept as a whole has is in one of them only, the one in
/// which it begins, and the first has what begins before it. An interval that lies in such a bucket as a whole has no segments.
pub fn cover_each(intervals: &[(i64, i64)], kept: (i64, i64)) -> Vec<Vec<Segment>> {
    let mut covered_s = i64::MIN;
    let mut each = Vec::with_capacity(intervals.len());
    for (from_s, to_s) in intervals {
        // Where one ends, a bucket does that is whole at every level kept there: the next one is not widened backwards.
        let segments = cover((*from_s).max(covered_s), *to_s, kept);
        covered_s = segments.last().map_or(covered_s, |it| it.end_s);
        each.push(segments);
    }
    each
}

/// A sum of energy rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Sum {
    /// Which workload.
    pub workload: i64,
    /// Which domain.
    pub domain: i64,
    /// Why.
    pub kind: EnergyKind,
    /// By which factor.
    pub factor: i64,
    /// The lowest of its rows: rows of two qualities are two sums.
    pub quality: Quality,
    /// Whether the factor came after the hour.
    pub rerated: bool,
    /// Microjoules.
    pub energy_uj: u64,
    /// CPU nanoseconds.
    pub cpu_ns: u64,
    /// Deviation that adds up linearly, in microjoules.
    pub common_uj: f64,
    /// Variance that adds up, in square microjoules.
    pub variance_uj2: f64,
}

/// A sum of balances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// What meters showed.
    pub metered_uj: u64,
    /// Given to workloads.
    pub attributed_uj: u64,
    /// By idle power.
    pub static_uj: u64,
    /// Given to nobody.
    pub lost_uj: u64,
    /// Faults.
    pub gaps: u64,
    /// How much time the readings cover, of all domains together.
    pub covered_ns: u64,
}

impl Balance {
    /// Two as one.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            metered_uj: self.metered_uj.saturating_add(other.metered_uj),
            attributed_uj: self.attributed_uj.saturating_add(other.attributed_uj),
            static_uj: self.static_uj.saturating_add(other.static_uj),
            lost_uj: self.lost_uj.saturating_add(other.lost_uj),
            gaps: self.gaps.saturating_add(other.gaps),
            covered_ns: self.covered_ns.saturating_add(other.covered_ns),
        }
    }

    /// metered = attributed + static + lost.
    pub fn holds(self) -> bool {
        let parts = u128::from(self.attributed_uj) + u128::from(self.static_uj) + u128::from(self.lost_uj);
        parts == u128::from(self.metered_uj)
    }
}

/// A domain with its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedDomain {
    /// Name of the machine.
    pub node: String,
    /// Such as `package`.
    pub domain: String,
    /// Such as `package-0`.
    pub device: String,
    /// The meter or model.
    pub source: String,
    /// Of the meter.
    pub quality: Quality,
}

/// What tells sums apart: columns of a series, which say it of its energies. The domain says of which node.
pub(super) const KEY: &str = "workload, domain, kind, factor, quality, rerated";

/// The first columns of a row, which are [`KEY`].
pub(super) fn key_of(row: &Row) -> [i64; 6] {
    [row.int(0), row.int(1), row.int(2), row.int(3), row.int(4), row.int(5)]
}

impl Sum {
    /// Of no rows yet.
    pub(super) fn empty([workload, domain, kind, factor, quality, rerated]: [i64; 6]) -> Self {
        Self {
            workload,
            domain,
            kind: EnergyKind::from_code(kind),
            factor,
            quality: quality_of(quality),
            rerated: rerated != 0,
            energy_uj: 0,
            cpu_ns: 0,
            common_uj: 0.0,
            variance_uj2: 0.0,
        }
    }

    /// A row of [`KEY`] and the four sums.
    pub(super) fn of_row(row: &Row) -> Self {
        Self {
            energy_uj: row.amount(6),
            cpu_ns: row.amount(7),
            common_uj: row.real(8),
            variance_uj2: row.real(9),
            ..Self::empty(key_of(row))
        }
    }

    fn key(&self) -> [i64; 6] {
        let quality = quality_code(self.quality);
        [self.workload, self.domain, self.kind.code(), self.factor, quality, i64::from(self.rerated)]
    }
}

/// Sums on the way, in the order of what tells them apart.
#[derive(Default)]
struct Sums(BTreeMap<[i64; 6], Sum>);

impl Sums {
    fn add(&mut self, more: &Sum) {
        let key = more.key();
        let sum = self.0.entry(key).or_insert_with(|| Sum::empty(key));
        sum.energy_uj = sum.energy_uj.saturating_add(more.energy_uj);
        sum.cpu_ns = sum.cpu_ns.saturating_add(more.cpu_ns);
        sum.common_uj += more.common_uj;
        sum.variance_uj2 += more.variance_uj2;
    }

    fn sorted(self) -> Vec<Sum> {
        self.0.into_values().collect()
    }
}

impl Ledger {
    /// Sums of an interval by all that tells rows apart but time.
    pub fn sums(&mut self, segments: &[Segment]) -> Result<Vec<Sum>, LedgerError> {
        let mut sums = Sums::default();
        for segment in segments {
            if self.cache.is_none() {
                self.database.sums(*segment)?.iter().for_each(|sum| sums.add(sum));
                continue;
            }
            self.each_block(*segment, &mut |found| found.iter().for_each(|sum| sums.add(sum)))?;
        }
        Ok(sums.sorted())
    }

    /// Shows the sums of each block of a segment, in the order of what tells them apart: from what is remembered, or read.
    pub(super) fn each_block(
        &mut self,
        segment: Segment,
        show: &mut dyn FnMut(&[Sum]),
    ) -> Result<(), LedgerError> {
        let blocks = cache::cut(segment);
        let Some(cache) = self.cache.clone() else {
            for (block, _) in blocks {
                show(&self.read_block(block)?);
            }
            return Ok(());
        };
        let marks = cache::marks(self.database.as_mut(), &blocks)?;
        let mut read: Vec<(Segment, cache::Mark, Arc<[Sum]>)> = Vec::new();
        for ((block, whole), mark) in blocks.into_iter().zip(marks) {
            if let Some(known) = cache.get(block, mark).filter(|_| whole) {
                show(&known);
                continue;
            }
            let found = self.read_block(block)?;
            show(&found);
            if whole && cache.takes(&found) {
                read.push((block, mark, found));
            }
        }
        if !read.is_empty() {
            cache.put(&read);
        }
        Ok(())
    }

    fn read_block(&mut self, block: Segment) -> Result<Arc<[Sum]>, LedgerError> {
        let mut sums = self.database.sums(block)?;
        sums.sort_unstable_by_key(Sum::key);
        Ok(sums.into())
    }

    /// Balances of an interval by domain.
    pub fn balances(&mut self, segments: &[Segment]) -> Result<Vec<(i64, Balance)>, LedgerError> {
        let mut balances: HashMap<i64, Balance> = HashMap::new();
        for segment in segments {
            let sql = "SELECT domain, CAST(SUM(metered_uj) AS BIGINT), CAST(SUM(attributed_uj) AS BIGINT), \
                       CAST(SUM(static_uj) AS BIGINT), CAST(SUM(lost_uj) AS BIGINT), \
                       CAST(SUM(gaps) AS BIGINT), CAST(SUM(covered_ns) AS BIGINT) FROM balance \
                       WHERE level_s = $1 AND start_s >= $2 AND start_s < $3 GROUP BY domain";
            for row in self.database.query(sql, &bounds(*segment))? {
                let balance = Balance {
                    metered_uj: row.amount(1),
                    attributed_uj: row.amount(2),
                    static_uj: row.amount(3),
                    lost_uj: row.amount(4),
                    gaps: row.amount(5),
                    covered_ns: row.amount(6),
                };
                let sum = balances.entry(row.int(0)).or_default();
                *sum = sum.plus(balance);
            }
        }
        let mut balances: Vec<(i64, Balance)> = balances.into_iter().collect();
        balances.sort_by_key(|(domain, _)| *domain);
        Ok(balances)
    }

    /// The segments of an interval with what is kept now.
    pub fn segments(&mut self, from_s: i64, to_s: i64) -> Result<Vec<Segment>, LedgerError> {
        let kept = self.kept_from()?;
        Ok(cover(from_s, to_s, kept))
    }

    /// The segments of intervals that follow one another, as [`cover_each`] shares out what is kept now.
    pub fn segments_each(&mut self, intervals: &[(i64, i64)]) -> Result<Vec<Vec<Segment>>, LedgerError> {
        let kept = self.kept_from()?;
        Ok(cover_each(intervals, kept))
    }

    /// First and last instant of which there are energies; none where there are none.
    pub fn extent(&mut self) -> Result<Option<(i64, i64)>, LedgerError> {
        let rows = self
            .database
            .query("SELECT MIN(start_s), MAX(start_s) FROM balance WHERE level_s = $1", &[DAY.into()])?;
        Ok(rows.first().and_then(|row| Some((row.opt_int(0)?, row.opt_int(1)?.saturating_add(DAY)))))
    }

    /// End of the last bucket of minutes, or of hours or days where no minute is kept; none where nothing was recorded.
    pub fn latest(&mut self) -> Result<Option<i64>, LedgerError> {
        for level_s in [MINUTE, HOUR, DAY] {
            let sql = "SELECT MAX(start_s) FROM balance WHERE level_s = $1";
            let rows = self.database.query(sql, &[level_s.into()])?;
            if let Some(start_s) = rows.first().and_then(|row| row.opt_int(0)) {
                return Ok(Some(start_s.saturating_add(level_s)));
            }
        }
        Ok(None)
    }

    /// All workloads by id.
    pub fn workloads(&mut self) -> Result<HashMap<i64, Workload>, LedgerError> {
        let rows = self.database.query(&format!("SELECT id, {WORKLOAD_COLUMNS} FROM workload"), &[])?;
        Ok(rows.iter().map(|row| (row.int(0), workload_of(row, 1))).collect())
    }

    /// All domains by id.
    pub fn domains(&mut self) -> Result<HashMap<i64, NamedDomain>, LedgerError> {
        let sql = "SELECT domain.id, node.name, domain.domain, domain.device, domain.source, domain.quality \
                   FROM domain JOIN node ON node.id = domain.node";
        let of = |row: &Row| NamedDomain {
            node: row.text(1),
            domain: row.text(2),
            device: row.text(3),
            source: row.text(4),
            quality: quality_of(row.int(5)),
        };
        Ok(self.database.query(sql, &[])?.iter().map(|row| (row.int(0), of(row))).collect())
    }

    /// All factors by id.
    pub fn factors(&mut self) -> Result<HashMap<i64, Factor>, LedgerError> {
        let rows = self.database.query(&format!("SELECT id, {} FROM factor", factor::COLUMNS), &[])?;
        Ok(rows.iter().map(|row| (row.int(0), Factor::from_row(row, 1))).collect())
    }
}

/// The parameters of a statement that reads a segment.
pub(super) fn bounds(segment: Segment) -> [Value; 3] {
    [segment.level_s.into(), segment.start_s.into(), segment.end_s.into()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_coarsest_buckets_are_taken() {
        let all = (i64::MIN, i64::MIN);
        let whole = cover(0, 3 * DAY, all);
        assert_eq!(whole, [Segment { level_s: DAY, start_s: 0, end_s: 3 * DAY }]);
        let levels: Vec<i64> = cover(61, 2 * DAY + HOUR + 59, all).iter().map(|it| it.level_s).collect();
        assert_eq!(levels, [MINUTE, HOUR, DAY, HOUR, MINUTE]);
        assert_eq!(cover(100, 100, all), []);
        assert_eq!(cover(200, 100, all), []);
    }

    #[test]
    fn what_is_gone_is_taken_whole() {
        let kept = (10 * DAY, 5 * DAY);
        assert_eq!(
            cover(DAY + 60, DAY + 120, kept),
            [Segment { level_s: DAY, start_s: DAY, end_s: 2 * DAY }]
        );
        let hour = cover(6 * DAY + 60, 6 * DAY + 120, kept);
        assert_eq!(hour, [Segment { level_s: HOUR, start_s: 6 * DAY, end_s: 6 * DAY + HOUR }]);
    }

    #[test]
    fn a_bucket_is_in_the_interval_in_which_it_begins() {
        let kept = (2 * DAY, DAY);
        let half = DAY / 2;
        let each = cover_each(&[(half, DAY + 1800), (DAY + 1800, 2 * DAY), (2 * DAY, 2 * DAY + 60)], kept);
        let ends = |segments: &Vec<Segment>| (segments[0].start_s, segments.last().unwrap().end_s);
        let all: Vec<(i64, i64)> = each.iter().map(ends).collect();
        assert_eq!(all, [(0, DAY + HOUR), (DAY + HOUR, 2 * DAY), (2 * DAY, 2 * DAY + 60)]);
        assert_eq!(cover_each(&[(0, half), (half, DAY)], kept)[1], [], "all of it is in the first");
    }

    proptest! {
        #[test]
        fn an_interval_is_covered_once(from in -200_000_i64..2_000_000, length in 1_i64..700_000, gone in 0_i64..20, more in 0_i64..20) {
            let to = from + length;
            let kept = (gone.max(more) * DAY, gone.min(more) * DAY);
            let segments = cover(from, to, kept);
            for (one, next) in segments.iter().zip(segments.iter().skip(1)) {
                prop_assert_eq!(one.end_s, next.start_s, "no hole and no overlap");
            }
            let (first, last) = (segments.first().unwrap(), segments.last().unwrap());
            prop_assert!(first.start_s <= from && last.end_s >= to);
            for segment in &segments {
                prop_assert!(segment.start_s % segment.level_s == 0 && segment.end_s % segment.level_s == 0);
                // Nothing is read from details that are gone.
                prop_assert!(segment.level_s == DAY || segment.start_s >= kept.1);
                prop_assert!(segment.level_s >= HOUR || segment.start_s >= kept.0);
            }
            if from >= kept.0 {
                prop_assert!(from - first.start_s < MINUTE && last.end_s - to < MINUTE);
            }
        }
    }
}
