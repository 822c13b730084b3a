//! Whether the meter lags behind the scheduler's clock: tried once, in the first windows.
//!
//! Some meters update less often than they are read, so that a window's joules belong in part to the CPU time of the
//! window before. Copies of one member see the use of both windows mixed in nine ways; where one predicts much better
//! than the unmixed one, that is the lag. It belongs to the machine and is not looked for again.

use super::kinds::{Drift, Kind, Shape};
use super::member::{Look, Member, Prior};
use super::used::Use;

/// Windows to decide in.
const WINDOWS: f64 = 240.0;
/// By this the best must beat the unmixed one. A version without own watts chose wrongly where watts follow use.
const SCORE_ADVANTAGE: f64 = 20.0;
/// Mixed in steps of an eighth.
const LAGS: [f64; 9] = [0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0];
const KIND: Kind = Kind { shape: Shape::Curved, drift: Drift::Slow };

/// Workloads that the copies have watts of their own for; the rest is pooled. Enough to tell a lag, at a quarter of the memory.
const SLOTS_MAX: usize = 64;

/// The copies.
#[derive(Clone, Debug, Default)]
pub(super) struct Alignment {
    members: Vec<Member>,
    slots: usize,
}

impl Alignment {
    /// Makes the copies.
    pub(super) fn begin(&mut self, prior: Prior, slots: usize) {
        self.slots = slots.min(SLOTS_MAX);
        self.members = LAGS.iter().map(|_| Member::new(KIND, prior, self.slots)).collect();
    }

    pub(super) fn grow(&mut self) {
        if self.slots < SLOTS_MAX {
            self.slots += 1;
            self.members.iter_mut().for_each(Member::grow);
        }
    }

    pub(super) fn reset(&mut self, slot: usize) {
        self.members.iter_mut().for_each(|member| member.reset(slot));
    }

    /// Learns from a window; false when it is time to decide.
    pub(super) fn observe(&mut self, look: Look<'_>, before: &Use, now: &Use) -> bool {
        for (member, lag) in self.members.iter_mut().zip(LAGS) {
            let mixed = before.mix(now, lag);
            member.observe(&Look { wake: mixed.wake, busy: mixed.busy, slots: &mixed.slots, ..look });
        }
        look.number < WINDOWS
    }

    /// The lag, if there is one.
    pub(super) fn found(&self) -> Option<f64> {
        let unmixed = self.members.first()?.score;
        let (score, lag) = self
            .members
            .iter()
            .map(|member| member.score)
            .zip(LAGS)
            .max_by(|left, right| left.0.total_cmp(&right.0))?;
        (lag > 0.0 && score > unmixed + SCORE_ADVANTAGE).then_some(lag)
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        self.members.iter().map(|member| size_of::<Member>() + member.bytes()).sum()
    }
}
