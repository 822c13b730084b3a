//! A meter that stood still: its next reading is of all windows since it moved.
//!
//! Some meters update less often than they are read, or only by large steps, so that a window shows nothing at all
//! although its CPUs were busy, and a later one shows the energy of both. Learned from one by one, the first says that
//! nothing draws anything. So windows without any energy wait, and are learned from together with the next that has some.

use super::Observation;
use crate::window::WorkloadKey;
use crate::window::counts::COUNTERS_MAX;
use std::collections::BTreeMap;

/// Longer than this a meter that works does not stand still; what it shows then is of an unknown span.
const STILL_MAX_S: f64 = 120.0;

/// Windows that wait for the meter.
#[derive(Clone, Debug, Default)]
pub(super) struct Still {
    seconds: f64,
    /// Seconds with any CPU busy; `None` where a window did not know.
    awake_s: Option<f64>,
    rows: BTreeMap<WorkloadKey, (f64, [u64; COUNTERS_MAX])>,
    /// It stood still for too long.
    lost: bool,
}

/// Several windows as one.
#[derive(Clone, Debug, Default)]
pub(super) struct Whole {
    seconds: f64,
    joules: f64,
    wake_ratio: Option<f64>,
    rows: Vec<(WorkloadKey, f64)>,
    events: Vec<[u64; COUNTERS_MAX]>,
}

/// What is to be learned from.
#[derive(Clone, Debug)]
pub(super) enum Moved {
    /// This window.
    Now,
    /// This one and those before in which the meter stood still.
    Late(Whole),
    /// Nothing: it stands still, or has for so long that nobody knows of what span its energy is.
    Not,
}

impl Still {
    /// Takes in a window.
    pub(super) fn take(&mut self, seen: &Observation<'_>) -> Moved {
        let moved = seen.joules > 0.0;
        if moved && self.seconds <= 0.0 {
            return Moved::Now;
        }
        self.add(seen);
        if !moved {
            if self.seconds > STILL_MAX_S {
                self.rows.clear();
                self.lost = true;
            }
            return Moved::Not;
        }
        let Self { seconds, awake_s, rows, lost } = std::mem::take(self);
        if lost {
            return Moved::Not;
        }
        let (rows, mut events): (Vec<_>, Vec<_>) =
            rows.into_iter().map(|(key, (cpu_s, events))| ((key, cpu_s), events)).unzip();
        if seen.events.is_empty() {
            events.clear();
        }
        let wake_ratio = awake_s.map(|awake_s| awake_s / seconds);
        Moved::Late(Whole { seconds, joules: seen.joules, wake_ratio, rows, events })
    }

    fn add(&mut self, seen: &Observation<'_>) {
        let before = if self.seconds > 0.0 { self.awake_s } else { Some(0.0) };
        self.awake_s = before.zip(seen.wake_ratio).map(|(awake_s, ratio)| awake_s + ratio * seen.seconds);
        self.seconds += seen.seconds;
        if self.lost {
            return;
        }
        let events = seen.events.iter().copied().chain(std::iter::repeat([0; COUNTERS_MAX]));
        for ((key, cpu_s), events) in seen.rows.iter().zip(events) {
            let (sum, counts) = self.rows.entry(*key).or_default();
            *sum += cpu_s;
            for (count, more) in counts.iter_mut().zip(events) {
                *count = count.saturating_add(more);
            }
        }
    }

    /// Bytes on the heap, about.
    pub(super) fn bytes(&self) -> usize {
        self.rows.len() * size_of::<(WorkloadKey, (f64, [u64; COUNTERS_MAX]))>()
    }
}

impl Whole {
    pub(super) fn observation(&self) -> Observation<'_> {
        Observation {
            seconds: self.seconds,
            joules: self.joules,
            wake_ratio: self.wake_ratio,
            rows: &self.rows,
            events: &self.events,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::CgroupId;

    fn seen<'a>(
        joules: f64,
        rows: &'a [(WorkloadKey, f64)],
        events: &'a [[u64; COUNTERS_MAX]],
    ) -> Observation<'a> {
        Observation { seconds: 1.0, joules, wake_ratio: Some(0.5), rows, events }
    }

    fn key(id: u64) -> WorkloadKey {
        WorkloadKey::cgroup(CgroupId(id))
    }

    #[test]
    fn windows_wait_for_the_meter() {
        let mut still = Still::default();
        let (one, other) = ([(key(2), 0.25), (key(3), 0.5)], [(key(1), 1.0), (key(3), 0.5)]);
        let (few, more) = ([[1; COUNTERS_MAX], [2; COUNTERS_MAX]], [[4; COUNTERS_MAX], [8; COUNTERS_MAX]]);
        assert!(matches!(still.take(&seen(3.0, &one, &few)), Moved::Now));
        assert!(matches!(still.take(&seen(0.0, &one, &few)), Moved::Not));
        let Moved::Late(whole) = still.take(&seen(7.0, &other, &more)) else { panic!("two windows as one") };
        assert_eq!(whole.rows, [(key(1), 1.0), (key(2), 0.25), (key(3), 1.0)]);
        assert_eq!(whole.events, [[4; COUNTERS_MAX], [1; COUNTERS_MAX], [10; COUNTERS_MAX]]);
        let numbers = [whole.seconds, whole.joules, whole.wake_ratio.unwrap()];
        assert!(
            numbers.iter().zip([2.0, 7.0, 0.5]).all(|(got, want)| (got - want).abs() < 1e-12),
            "{numbers:?}"
        );
        assert!(matches!(still.take(&seen(3.0, &one, &few)), Moved::Now));
    }

    #[test]
    fn what_stood_still_for_too_long_tells_nothing_and_is_bounded() {
        let mut still = Still::default();
        for second in 0..10_000 {
            let rows = [(key(second), 1.0)];
            assert!(matches!(still.take(&seen(0.0, &rows, &[])), Moved::Not));
            assert!(still.rows.len() <= 121, "{}", still.rows.len());
        }
        assert!(matches!(still.take(&seen(9.0, &[], &[])), Moved::Not), "of a span that nobody knows");
        assert!(matches!(still.take(&seen(9.0, &[], &[])), Moved::Now));
    }
}
