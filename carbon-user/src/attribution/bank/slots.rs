//! Which workloads have coefficients of their own: those with the most recent energy. The rest is pooled.

use crate::window::WorkloadKey;
use rustc_hash::FxHashMap;

/// Workloads with coefficients of their own.
pub const SLOTS_MAX: usize = 128;
/// Workloads whose recent energy is remembered.
const KNOWN_MAX: usize = 16_384;
/// In which energy is forgotten.
const MEMORY_S: f64 = 300.0;
/// A pooled workload must have used this much more than the least of those with a slot: a change costs what was
/// learned.
const ADVANTAGE: f64 = 1.5;
/// A workload that rests for this long, and for longer than it ever ran, is taken to be gone: its slot is free.
const REST_MIN_S: f64 = 60.0;
/// Whoever rests for this long gives up its slot, however long it ran.
const REST_MAX_S: f64 = 3_600.0;
/// Changes in one window, so that many short-lived workloads cannot turn out all others at once.
const CHANGES_MAX: usize = 8;

#[derive(Clone, Copy, Debug)]
struct Known {
    /// Joules, forgotten slowly; as of the instant below.
    recent_j: f64,
    /// Seconds since the start: when it ran last.
    at_s: f64,
    /// Seconds of windows in which it ran.
    ran_s: f64,
    slot: Option<usize>,
}

impl Known {
    fn recent_at(&self, now_s: f64) -> f64 {
        self.recent_j * (-(now_s - self.at_s) / MEMORY_S).exp()
    }

    /// By how much it has rested longer than it may.
    fn over_rested_s(&self, now_s: f64) -> f64 {
        now_s - self.at_s - self.ran_s.clamp(REST_MIN_S, REST_MAX_S)
    }
}

/// What became of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// One more at the end.
    Added,
    /// It belongs to another workload now.
    Given(usize),
}

/// Owners of slots.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    max: usize,
    known: FxHashMap<WorkloadKey, Known>,
    owners: Vec<WorkloadKey>,
    now_s: f64,
}

impl Slots {
    pub(super) fn new(max: usize) -> Self {
        Self { max, known: FxHashMap::default(), owners: Vec::new(), now_s: 0.0 }
    }

    pub(super) fn len(&self) -> usize {
        self.owners.len()
    }

    /// Owners in the order of the slots.
    pub(super) fn owners(&self) -> &[WorkloadKey] {
        &self.owners
    }

    pub(super) fn of(&self, key: WorkloadKey) -> Option<usize> {
        self.known.get(&key)?.slot
    }

    /// Finds slots for the workloads of a window, sorted by key so that equal windows give equal slots.
    pub(super) fn assign(&mut self, seconds: f64, keys: impl Iterator<Item = WorkloadKey>) -> Vec<Change> {
        self.now_s += seconds;
        let (now_s, mut changes, mut waiting) = (self.now_s, Vec::new(), Vec::new());
        for key in keys {
            let new = Known { recent_j: 0.0, at_s: now_s, ran_s: 0.0, slot: None };
            let known = self.known.entry(key).or_insert(new);
            known.recent_j = known.recent_at(now_s);
            known.at_s = now_s;
            known.ran_s += seconds;
            if known.slot.is_none() && self.owners.len() < self.max {
                known.slot = Some(self.owners.len());
                self.owners.push(key);
                changes.push(Change::Added);
            } else if known.slot.is_none() {
                waiting.push((known.recent_j, key));
            }
        }
        if !waiting.is_empty() {
            waiting.sort_unstable_by(|left, right| right.0.total_cmp(&left.0).then(left.1.cmp(&right.1)));
            let waiting = self.inherit(waiting, &mut changes);
            self.exchange(waiting, &mut changes);
        }
        self.forget();
        changes
    }

    /// Gives the slots of those that are gone, the longest gone first; what is left still waits. A workload that lives
    /// for ten seconds needs its slot in the first: pooled, it is an error of everybody's.
    fn inherit(
        &mut self,
        waiting: Vec<(f64, WorkloadKey)>,
        changes: &mut Vec<Change>,
    ) -> Vec<(f64, WorkloadKey)> {
        let mut gone: Vec<(f64, WorkloadKey)> = self
            .owners
            .iter()
            .filter_map(|key| Some((self.known.get(key)?.over_rested_s(self.now_s), *key)))
            .filter(|(over_rested_s, _)| *over_rested_s > 0.0)
            .collect();
        gone.sort_unstable_by(|left, right| left.0.total_cmp(&right.0).then(right.1.cmp(&left.1)));
        let mut still = Vec::new();
        for (recent_j, key) in waiting {
            match gone.pop() {
                Some((_, holder)) => self.give(holder, key, changes),
                None => still.push((recent_j, key)),
            }
        }
        still
    }

    fn give(&mut self, holder: WorkloadKey, key: WorkloadKey, changes: &mut Vec<Change>) {
        let slot = self.known.get_mut(&holder).and_then(|known| known.slot.take());
        let owner = slot.and_then(|slot| self.owners.get_mut(slot));
        if let (Some(slot), Some(owner), Some(known)) = (slot, owner, self.known.get_mut(&key)) {
            *owner = key;
            known.slot = Some(slot);
            changes.push(Change::Given(slot));
        }
    }

    /// Gives slots of those that use least to those that wait and use more.
    fn exchange(&mut self, waiting: Vec<(f64, WorkloadKey)>, changes: &mut Vec<Change>) {
        let mut holders: Vec<(f64, WorkloadKey)> = self
            .owners
            .iter()
            .map(|key| (self.known.get(key).map_or(0.0, |known| known.recent_at(self.now_s)), *key))
            .collect();
        holders.sort_unstable_by(|left, right| left.0.total_cmp(&right.0).then(right.1.cmp(&left.1)));
        for ((more, key), (less, holder)) in waiting.into_iter().zip(holders).take(CHANGES_MAX) {
            if more <= ADVANTAGE * less {
                return;
            }
            self.give(holder, key, changes);
        }
    }

    /// Books the energy that a workload was given.
    pub(super) fn book(&mut self, key: WorkloadKey, joules: f64) {
        if let Some(known) = self.known.get_mut(&key) {
            known.recent_j += joules;
        }
    }

    /// Keeps the memory bounded: forgets those without a slot that have not run for long.
    fn forget(&mut self) {
        let mut memory_s = 4.0 * MEMORY_S;
        while self.known.len() > KNOWN_MAX && memory_s > 1e-3 {
            let oldest_s = self.now_s - memory_s;
            self.known.retain(|_, known| known.slot.is_some() || known.at_s >= oldest_s);
            memory_s /= 4.0;
        }
        if self.known.len() > KNOWN_MAX {
            self.known.retain(|_, known| known.slot.is_some());
        }
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        self.owners.capacity() * size_of::<WorkloadKey>()
            + self.known.capacity() * (size_of::<(WorkloadKey, Known)>() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::CgroupId;

    fn key(id: u64) -> WorkloadKey {
        WorkloadKey::cgroup(CgroupId(id))
    }

    fn run(slots: &mut Slots, uses: &[(u64, f64)]) -> Vec<Change> {
        let changes = slots.assign(1.0, uses.iter().map(|(id, _)| key(*id)));
        for (id, joules) in uses {
            slots.book(key(*id), *joules);
        }
        changes
    }

    #[test]
    fn those_that_use_most_have_the_slots() {
        let mut slots = Slots::new(2);
        assert_eq!(run(&mut slots, &[(1, 5.0), (2, 1.0), (3, 3.0)]), [Change::Added, Change::Added]);
        assert_eq!(slots.of(key(3)), None);
        assert_eq!(run(&mut slots, &[(1, 5.0), (2, 1.0), (3, 3.0)]), [Change::Given(1)]);
        assert_eq!((slots.of(key(1)), slots.of(key(2)), slots.of(key(3))), (Some(0), None, Some(1)));
        assert_eq!(slots.owners(), [key(1), key(3)]);
    }

    #[test]
    fn a_little_more_is_not_enough() {
        let mut slots = Slots::new(1);
        run(&mut slots, &[(1, 1.0), (2, 1.3)]);
        assert!(run(&mut slots, &[(1, 1.0), (2, 1.3)]).is_empty());
    }

    #[test]
    fn who_is_gone_leaves_its_slot_to_the_next() {
        let mut slots = Slots::new(2);
        run(&mut slots, &[(1, 900.0), (2, 900.0)]);
        for _ in 0..61 {
            assert!(run(&mut slots, &[(2, 1.0)]).is_empty());
        }
        assert_eq!(run(&mut slots, &[(2, 1.0), (3, 0.1)]), [Change::Given(0)]);
        // The other ran for 62 seconds, and may rest as long.
        assert!(run(&mut slots, &[(3, 0.1), (4, 0.1)]).is_empty());
    }

    #[test]
    fn what_is_known_is_bounded() {
        let mut slots = Slots::new(4);
        for round in 0..30 {
            let uses: Vec<_> = (0..2_000).map(|id| (round * 2_000 + id, 1.0)).collect();
            run(&mut slots, &uses);
        }
        assert!(slots.known.len() <= KNOWN_MAX + 2_000, "{}", slots.known.len());
        assert_eq!(slots.len(), 4);
    }
}
