//! Workloads that rise and fall together: of these only the sum can be learned.

use super::packed::Packed;

/// Memory of the correlations, per window.
const MEMORY: f64 = 0.999;
/// Correlation of the changes of use from which two workloads count as one: with independent phases 128 workloads
/// stay below 0.5 after some minutes.
const CORRELATION_MIN: f64 = 0.9;

/// Windows in which a workload must have run before it can be of a set: two that started at one time are none yet.
const WINDOWS_MIN: u32 = 120;

/// Second moments of the changes of use.
#[derive(Clone, Debug, Default)]
pub(super) struct Together {
    moments: Packed,
    decays: Vec<f64>,
    changes: Vec<f64>,
    none: Vec<f64>,
    ran: Vec<u32>,
}

impl Together {
    /// One slot more.
    pub(super) fn grow(&mut self) {
        self.moments.grow(0.0);
        self.decays.push(MEMORY.sqrt());
        self.none.push(0.0);
        self.ran.push(0);
    }

    /// A slot has another workload.
    pub(super) fn reset(&mut self, slot: usize) {
        self.moments.reset(slot, 0.0);
        if let Some(ran) = self.ran.get_mut(slot) {
            *ran = 0;
        }
    }

    /// Learns from the use of two windows.
    pub(super) fn observe(&mut self, now: &[f64], before: &[f64]) {
        self.changes.clear();
        self.changes.extend(now.iter().zip(before).map(|(now, before)| now - before));
        for (ran, now) in self.ran.iter_mut().zip(now) {
            *ran = ran.saturating_add(u32::from(*now > 0.0));
        }
        self.moments.step(&self.decays, &self.none, &self.changes, -1.0);
    }

    /// Sets of slots, each of at least two: whoever is tied to one of a set is in it.
    pub(super) fn sets(&self) -> Vec<Vec<usize>> {
        let long = self.ran.iter().enumerate().filter(|(_, ran)| **ran >= WINDOWS_MIN);
        let mut left: Vec<usize> = long.map(|(slot, _)| slot).collect();
        let mut sets = Vec::new();
        while let Some(first) = left.pop() {
            let mut set = vec![first];
            let mut reached = 0;
            while let Some(one) = set.get(reached).copied() {
                let (tied, others): (Vec<usize>, Vec<usize>) =
                    left.iter().copied().partition(|other| self.tied(one, *other));
                set.extend(tied);
                left = others;
                reached += 1;
            }
            if set.len() > 1 {
                set.sort_unstable();
                sets.push(set);
            }
        }
        sets.sort_unstable();
        sets
    }

    /// What the use of a slot changes by, up to a factor that is common to all.
    pub(super) fn scale(&self, slot: usize) -> f64 {
        self.moments.get(slot, slot).max(0.0).sqrt()
    }

    fn tied(&self, one: usize, other: usize) -> bool {
        let scale = (self.moments.get(one, one) * self.moments.get(other, other)).sqrt();
        scale > 0.0 && self.moments.get(one, other) > CORRELATION_MIN * scale
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        self.moments.bytes()
            + (self.decays.capacity() + self.changes.capacity() + self.none.capacity()) * size_of::<f64>()
            + self.ran.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_are_a_set_and_others_are_not() {
        let mut together = Together::default();
        (0..5).for_each(|_| together.grow());
        let use_at = |second: u32| {
            let wave = |period: u32| if (second / period).is_multiple_of(2) { 1.0 } else { 0.1 };
            [wave(30), 2.0 * wave(30), wave(17), 0.5 * wave(30), wave(7)]
        };
        for second in 1..400 {
            together.observe(&use_at(second), &use_at(second - 1));
        }
        assert_eq!(together.sets(), [vec![0, 1, 3]]);
        together.reset(1);
        assert_eq!(together.sets(), [vec![0, 3]]);
    }
}
