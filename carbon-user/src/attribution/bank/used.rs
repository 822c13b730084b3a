//! CPUs used in a window, and two windows mixed.

use crate::window::WorkloadKey;

/// CPUs used in a window.
#[derive(Clone, Debug, Default)]
pub(super) struct Use {
    /// By slot.
    pub(super) slots: Vec<f64>,
    /// Of all workloads.
    pub(super) busy: f64,
    pub(super) wake: f64,
    pub(super) rows: Vec<(WorkloadKey, f64)>,
}

impl Use {
    /// `ratio` of the way from `later` back to `self`, without the rows.
    pub(super) fn mix(&self, later: &Self, ratio: f64) -> Self {
        let mix = |before: f64, now: f64| ratio.mul_add(before, (1.0 - ratio) * now);
        let slots = later.slots.iter().zip(self.slots.iter().chain(std::iter::repeat(&0.0)));
        Self {
            slots: slots.map(|(now, before)| mix(*before, *now)).collect(),
            busy: mix(self.busy, later.busy),
            wake: mix(self.wake, later.wake),
            rows: Vec::new(),
        }
    }

    /// The same with the rows.
    pub(super) fn blend(&self, later: &Self, ratio: f64) -> Self {
        Self { rows: merge(&self.rows, ratio, &later.rows), ..self.mix(later, ratio) }
    }
}

/// Two sorted lists of uses as one, `ratio` of the first and the rest of the second.
fn merge(before: &[(WorkloadKey, f64)], ratio: f64, now: &[(WorkloadKey, f64)]) -> Vec<(WorkloadKey, f64)> {
    let parts = before.iter().map(|(key, used)| (*key, used * ratio));
    let mut rows: Vec<_> = parts.chain(now.iter().map(|(key, used)| (*key, used * (1.0 - ratio)))).collect();
    rows.sort_by_key(|(key, _)| *key);
    rows.dedup_by(|(key, used), (kept, sum)| {
        let same = key == kept;
        if same {
            *sum += *used;
        }
        same
    });
    rows.retain(|(_, used)| *used > 0.0);
    rows
}
