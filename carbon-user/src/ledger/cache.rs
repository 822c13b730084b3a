//! Sums of blocks of time, remembered from one reading to the next: what a dashboard asks for again and again is of days that
//! are over.
//!
//! A block is remembered with a mark of its balance and of how many hours were rated again; one that was written to since, or
//! rated again, is read anew. Blocks that were not asked for longest make room for others.

use super::error::LedgerError;
use super::query::{DAY, HOUR, MINUTE, Segment, Sum};
use super::sql::Database;
use arc_swap::ArcSwap;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Length of the longest block of a level, and what its length is a multiple of: steps of a chart are such blocks.
const BLOCKS: [(i64, i64, i64); 3] = [(MINUTE, 900, 300), (HOUR, 3 * HOUR, HOUR), (DAY, 7 * DAY, DAY)];

/// What tells whether a block was written to: energy and time of its balances, how many there are, hours rated again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    metered_uj: u64,
    covered_ns: u64,
    rows: u64,
    rerated: i64,
}

#[derive(Debug)]
struct Kept {
    mark: Mark,
    sums: Arc<[Sum]>,
    /// When it was asked for last.
    used: AtomicU64,
}

/// By block; replaced as a whole, so that who reads waits for nobody.
type Blocks = HashMap<Segment, Arc<Kept>>;

/// Shared by all who read one ledger.
#[derive(Debug)]
pub struct SumsCache {
    rows_max: usize,
    blocks: ArcSwap<Blocks>,
    /// Counts what was asked for.
    turn: AtomicU64,
}

impl SumsCache {
    /// Keeps this many sums, of about 100 bytes each.
    pub fn new(rows_max: usize) -> Self {
        Self { rows_max, blocks: ArcSwap::default(), turn: AtomicU64::new(0) }
    }

    /// How many sums are kept.
    pub fn rows(&self) -> usize {
        rows(&self.blocks.load())
    }

    pub(super) fn get(&self, block: Segment, mark: Mark) -> Option<Arc<[Sum]>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let blocks = self.blocks.load();
        let kept = blocks.get(&block).filter(|kept| kept.mark == mark)?;
        kept.used.store(turn, Ordering::Relaxed);
        Some(Arc::clone(&kept.sums))
    }

    /// Whether a block of so many sums is kept: one that would fill half of the room is not.
    pub(super) fn takes(&self, sums: &[Sum]) -> bool {
        sums.len() <= self.rows_max / 2
    }

    /// Keeps what was read of these blocks.
    pub(super) fn put(&self, read: &[(Segment, Mark, Arc<[Sum]>)]) {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.blocks.rcu(|blocks| {
            let mut blocks = Blocks::clone(blocks);
            for (block, mark, sums) in read.iter().filter(|(.., sums)| self.takes(sums)) {
                let kept = Kept { mark: *mark, sums: Arc::clone(sums), used: AtomicU64::new(turn) };
                blocks.insert(*block, Arc::new(kept));
            }
            if room(&blocks) > self.rows_max {
                make_room(&mut blocks, self.rows_max / 2);
            }
            blocks
        });
    }
}

/// What blocks take: one without any sum takes room too.
fn room(blocks: &Blocks) -> usize {
    rows(blocks).saturating_add(blocks.len())
}

fn rows(blocks: &Blocks) -> usize {
    blocks.values().map(|kept| kept.sums.len()).sum()
}

/// Forgets what was not asked for longest.
fn make_room(blocks: &mut Blocks, rows_max: usize) {
    let mut order: Vec<(u64, Segment)> =
        blocks.iter().map(|(block, kept)| (kept.used.load(Ordering::Relaxed), *block)).collect();
    order.sort_by_key(|(used, block)| (*used, block.start_s));
    let mut left = room(blocks);
    for (_, block) in order {
        if left <= rows_max {
            return;
        }
        if let Some(gone) = blocks.remove(&block) {
            left = left.saturating_sub(gone.sums.len()).saturating_sub(1);
        }
    }
}

/// A segment cut into blocks, and whether each may be remembered.
pub(super) fn cut(segment: Segment) -> Vec<(Segment, bool)> {
    let Some((_, longest, unit)) = BLOCKS.into_iter().find(|(level_s, ..)| *level_s == segment.level_s)
    else {
        return vec![(segment, false)];
    };
    let mut blocks = Vec::new();
    let mut start_s = segment.start_s;
    while start_s < segment.end_s {
        let end_s = start_s.div_euclid(longest).saturating_add(1).saturating_mul(longest).min(segment.end_s);
        let whole = start_s.rem_euclid(unit) == 0 && end_s.rem_euclid(unit) == 0;
        blocks.push((Segment { start_s, end_s, ..segment }, whole));
        start_s = end_s;
    }
    blocks
}

/// Marks of blocks, in one reading of their balances.
pub(super) fn marks(
    database: &mut dyn Database,
    blocks: &[(Segment, bool)],
) -> Result<Vec<Mark>, LedgerError> {
    let (Some((first, _)), Some((last, _))) = (blocks.first(), blocks.last()) else { return Ok(Vec::new()) };
    let rerated = database.query("SELECT COUNT(*) FROM rerate", &[])?.first().map_or(0, |row| row.int(0));
    let mut marks = vec![Mark { rerated, ..Mark::default() }; blocks.len()];
    let sql = "SELECT start_s, metered_uj, covered_ns FROM balance \
               WHERE level_s = $1 AND start_s >= $2 AND start_s < $3 ORDER BY start_s";
    let bounds = [first.level_s.into(), first.start_s.into(), last.end_s.into()];
    let mut at = 0;
    database.each(sql, &bounds, &mut |row| {
        while blocks.get(at).is_some_and(|(block, _)| block.end_s <= row.int(0)) {
            at += 1;
        }
        if let Some(mark) = marks.get_mut(at) {
            mark.metered_uj = mark.metered_uj.wrapping_add(row.amount(1));
            mark.covered_ns = mark.covered_ns.wrapping_add(row.amount(2));
            mark.rows += 1;
        }
    })?;
    Ok(marks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::rows::EnergyKind;
    use crate::units::Quality;

    fn sums(rows: usize) -> Arc<[Sum]> {
        let sum = Sum {
            workload: 1,
            domain: 1,
            kind: EnergyKind::Dynamic,
            factor: 1,
            quality: Quality::Measured,
            rerated: false,
            energy_uj: 1,
            cpu_ns: 1,
            common_uj: 0.0,
            variance_uj2: 0.0,
        };
        vec![sum; rows].into()
    }

    fn block(start_s: i64) -> Segment {
        Segment { level_s: HOUR, start_s, end_s: start_s + HOUR }
    }

    #[test]
    fn a_segment_is_cut_without_a_hole() {
        for (level_s, from, to) in [(MINUTE, 660, 5 * HOUR), (HOUR, HOUR, 3 * DAY), (DAY, 2 * DAY, 90 * DAY)]
        {
            let segment = Segment { level_s, start_s: from, end_s: to };
            let blocks = cut(segment);
            assert_eq!((blocks[0].0.start_s, blocks.last().unwrap().0.end_s), (from, to));
            assert!(blocks.windows(2).all(|pair| pair[0].0.end_s == pair[1].0.start_s));
        }
        let ends = cut(Segment { level_s: MINUTE, start_s: 660, end_s: 1800 });
        assert_eq!(ends.iter().map(|(_, whole)| *whole).collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn what_changed_is_not_taken_and_what_is_kept_is_bounded() {
        let cache = SumsCache::new(100);
        let mark = Mark { metered_uj: 5, ..Mark::default() };
        cache.put(&[(block(0), mark, sums(40))]);
        assert_eq!(cache.get(block(0), mark).unwrap().len(), 40);
        assert!(cache.get(block(0), Mark { metered_uj: 6, ..mark }).is_none(), "it was written to");
        assert!(cache.get(block(0), Mark { rerated: 1, ..mark }).is_none(), "an hour was rated again");
        cache.put(&[(block(HOUR), mark, sums(40))]);
        assert!(cache.get(block(0), mark).is_some());
        cache.put(&[(block(2 * HOUR), mark, sums(40))]);
        assert!(cache.rows() <= 100);
        assert!(cache.get(block(HOUR), mark).is_none(), "it was not asked for longest");
        cache.put(&[(block(3 * HOUR), mark, sums(1000))]);
        assert!(cache.rows() <= 100, "what is too large is not kept");
    }

    #[test]
    fn blocks_in_which_nothing_was_recorded_are_bounded_too() {
        let cache = SumsCache::new(100);
        for hour in 0..1_000 {
            cache.put(&[(block(hour * HOUR), Mark::default(), sums(0))]);
        }
        assert!(cache.blocks.load().len() <= 100, "{}", cache.blocks.load().len());
        assert!(cache.get(block(999 * HOUR), Mark::default()).is_some());
    }
}
