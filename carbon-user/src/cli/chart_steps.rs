//! Steps of power charts, remembered: a page asks for the same ones again and again, and most of them are over.
//!
//! A step is remembered with the balances of its buckets and the count of hours that were rated again; one that was written to since
//! is read anew. What is kept has no factors, so it is small whatever the hours of the ledger were rated by. A reading that is ended
//! because it took too long leaves the steps that it had read: the next one goes on from there.

use super::error::CliError;
use super::report::part;
use crate::ledger::query::{Balance, Segment};
use crate::ledger::{Ledger, LedgerError};
use crate::report::group::Hashed;
use crate::report::power::Area;
use arc_swap::ArcSwap;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a workload used in a domain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) workload: i64,
    pub(super) domain: i64,
    pub(super) area: Area,
}

/// What was recorded in a step.
#[derive(Clone, Debug)]
pub(super) struct Read {
    pub(super) covered_ns: u64,
    pub(super) pieces: Arc<[Piece]>,
}

/// What tells whether a step was written to.
type Mark = (Vec<Segment>, Vec<(i64, Balance)>, i64);

#[derive(Debug)]
struct Kept {
    mark: Mark,
    pieces: Arc<[Piece]>,
    /// When it was asked for last.
    used: AtomicU64,
}

impl Kept {
    /// A step without any takes room too.
    fn size(&self) -> usize {
        self.pieces.len() + 1
    }
}

/// By start and length; replaced as a whole, so that who reads waits for nobody.
type Steps = HashMap<(i64, i64), Arc<Kept>>;

/// Shared by all who read one ledger.
#[derive(Debug)]
pub(super) struct ChartSteps {
    pieces_max: usize,
    steps: ArcSwap<Steps>,
    /// Counts what was asked for.
    turn: AtomicU64,
}

impl ChartSteps {
    /// Keeps this many pieces, of 80 bytes each.
    pub(super) fn new(pieces_max: usize) -> Self {
        Self { pieces_max, steps: ArcSwap::default(), turn: AtomicU64::new(0) }
    }

    /// The step of this start and length, from what is kept or from the ledger.
    pub(super) fn read(
        &self,
        ledger: &mut Ledger,
        (start_s, length_s): (i64, i64),
        factors: &HashMap<i64, Hashed>,
    ) -> Result<Read, CliError> {
        // Whole steps, so that each has buckets of its own; the last has what there is of it by now.
        let segments = ledger.segments(start_s, start_s.saturating_add(length_s))?;
        let balances = ledger.balances(&segments)?;
        let covered_ns = balances.iter().map(|(_, balance)| balance.covered_ns).max().unwrap_or(0);
        let mark = (segments, balances, ledger.hours_rerated()?);
        let key = (start_s, length_s);
        if let Some(pieces) = self.get(key, &mark) {
            return Ok(Read { covered_ns, pieces });
        }
        let pieces: Arc<[Piece]> = pieces(ledger, &mark.0, factors)?.into();
        self.put(key, mark, &pieces);
        Ok(Read { covered_ns, pieces })
    }

    fn get(&self, key: (i64, i64), mark: &Mark) -> Option<Arc<[Piece]>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let steps = self.steps.load();
        let kept = steps.get(&key).filter(|kept| kept.mark == *mark)?;
        kept.used.store(turn, Ordering::Relaxed);
        Some(Arc::clone(&kept.pieces))
    }

    fn put(&self, key: (i64, i64), mark: Mark, pieces: &Arc<[Piece]>) {
        if pieces.len() >= self.pieces_max / 2 {
            return;
        }
        let used = AtomicU64::new(self.turn.fetch_add(1, Ordering::Relaxed));
        let kept = Arc::new(Kept { mark, pieces: Arc::clone(pieces), used });
        self.steps.rcu(|steps| {
            let mut steps = Steps::clone(steps);
            steps.insert(key, Arc::clone(&kept));
            if count(&steps) > self.pieces_max {
                make_room(&mut steps, self.pieces_max / 2);
            }
            steps
        });
    }
}

fn count(steps: &Steps) -> usize {
    steps.values().map(|kept| kept.size()).sum()
}

/// Forgets what was not asked for longest.
fn make_room(steps: &mut Steps, pieces_max: usize) {
    let mut order: Vec<(u64, (i64, i64))> =
        steps.iter().map(|(key, kept)| (kept.used.load(Ordering::Relaxed), *key)).collect();
    order.sort_unstable();
    let mut left = count(steps);
    for (_, key) in order {
        if left <= pieces_max {
            return;
        }
        left -= steps.remove(&key).map_or(0, |gone| gone.size());
    }
}

fn pieces(
    ledger: &mut Ledger,
    segments: &[Segment],
    factors: &HashMap<i64, Hashed>,
) -> Result<Vec<Piece>, LedgerError> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut places: HashMap<(i64, i64), usize> = HashMap::new();
    let mut last = None;
    ledger.each_sum(segments, &mut |sum| {
        let Some(factor) = factors.get(&sum.factor) else { return };
        let key = (sum.workload, sum.domain);
        // Sums of one workload come one after the other.
        let place = match last {
            Some((known, place)) if known == key => place,
            _ => *places.entry(key).or_insert_with(|| {
                pieces.push(Piece { workload: key.0, domain: key.1, area: Area::default() });
                pieces.len() - 1
            }),
        };
        last = Some((key, place));
        if let Some(piece) = pieces.get_mut(place) {
            piece.area.add(&Area::of(&part(sum, factor)));
        }
    })?;
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(metered_uj: u64) -> Mark {
        (Vec::new(), vec![(1, Balance { metered_uj, ..Balance::default() })], 0)
    }

    fn of(pieces: usize) -> Arc<[Piece]> {
        vec![Piece { workload: 1, domain: 1, area: Area::default() }; pieces].into()
    }

    #[test]
    fn what_was_written_to_is_not_taken_and_what_is_kept_is_bounded() {
        let steps = ChartSteps::new(100);
        steps.put((0, 60), mark(5), &of(40));
        assert_eq!(steps.get((0, 60), &mark(5)).unwrap().len(), 40);
        assert!(steps.get((0, 60), &mark(6)).is_none(), "it was written to");
        assert!(steps.get((0, 120), &mark(5)).is_none(), "a step of another length");
        let (segments, balances, _) = mark(5);
        assert!(steps.get((0, 60), &(segments, balances, 1)).is_none(), "an hour was rated again");
        steps.put((60, 60), mark(5), &of(40));
        assert!(steps.get((0, 60), &mark(5)).is_some());
        steps.put((120, 60), mark(5), &of(40));
        assert!(count(&steps.steps.load()) <= 100);
        assert!(steps.get((60, 60), &mark(5)).is_none(), "it was not asked for longest");
        steps.put((180, 60), mark(5), &of(1000));
        assert!(count(&steps.steps.load()) <= 100, "what is too large is not kept");
    }
}
