//! From a hardware counter to energy since the start: wraps, resets and faults end here.
//!
//! The only place that subtracts readings of a counter. A step that cannot be true (more energy than the
//! device can draw in the time) is never passed on, neither as a spike nor as a negative: that interval is lost
//! and marked as a gap, and the next one is good again.

use super::{Gap, Reading};
use crate::clock::Moment;
use crate::units::{Microjoules, Watts};
use std::time::Duration;

/// A counter is updated about once a millisecond, and the instant of an edge is not exactly that of the read:
/// over short intervals this much time may seem to be missing.
const EDGE_SLACK: Duration = Duration::from_millis(100);

/// Intervals longer than this are checked for wraps that went unseen. Below it none can: the smallest range of
/// RAPL counters is 65 kJ (2^32 units of 2^-16 J), 6.5 kW for 10 s.
const PAUSE: Duration = Duration::from_secs(10);

/// The longest window.
const WINDOW_MAX: Duration = Duration::from_mins(1);

/// No counter of any hardware wraps so fast that it must be read more often.
const PERIOD_MIN: Duration = Duration::from_millis(10);

/// Why a value was not taken. What it holds comes with the next that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A broken counter shows zero; one that has run does not.
    #[error("it fell to zero")]
    Zero,
    /// It should have moved.
    #[error("it has stood still for {} ms", .0.as_millis())]
    Still(Duration),
}

/// A cumulative energy counter in microjoules.
#[derive(Clone, Debug)]
pub struct Counter {
    /// The counter starts again at zero after this value; 0: not known.
    range_uj: u64,
    /// What the device cannot exceed.
    max: Watts,
    /// It moves in less time than this, whatever is measured draws something.
    moves_within: Option<Duration>,
    /// It goes on counting while nobody reads it, from one program to the next.
    lasting: bool,
    last: Option<Sample>,
    /// When it last showed zero, since `last`: it may have been reset then.
    zero: Option<Moment>,
    total: Microjoules,
}

/// A counter's last good value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// As it was read.
    pub raw_uj: u64,
    /// Where it wraps; 0: not known.
    pub range_uj: u64,
    /// When, by the clocks of its boot.
    pub at: Moment,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    raw_uj: u64,
    read: Moment,
    /// When the value was last seen to differ: a counter that stood still and then catches up is not a fault.
    changed: Moment,
}

impl Counter {
    /// A counter with `range_uj` as sysfs gives it (`max_energy_range_uj`, 0 where there is none), of a device
    /// that cannot draw more than `max`.
    ///
    /// The hardware's own period is longer by its unit (61 uJ in 262 kJ on Intel), which sysfs does not show.
    pub fn new(range_uj: u64, max: Watts) -> Self {
        Self {
            range_uj,
            max,
            moves_within: None,
            lasting: false,
            last: None,
            zero: None,
            total: Microjoules::ZERO,
        }
    }

    /// One that has stood still for `within` is broken: powered silicon always draws something.
    #[must_use]
    pub fn moving_within(self, within: Duration) -> Self {
        Self { moves_within: Some(within), ..self }
    }

    /// One that goes on counting while nobody reads it, so that its value says what was used between two programs.
    #[must_use]
    pub fn lasting(self) -> Self {
        Self { lasting: true, ..self }
    }

    /// Where the next reading starts from, in words that another program can go on from.
    pub fn mark(&self) -> Option<Mark> {
        let last = self.last.filter(|_| self.lasting)?;
        Some(Mark { raw_uj: last.raw_uj, range_uj: self.range_uj, at: last.read })
    }

    /// Goes on from where another program of the same boot stopped: the next reading has the energy since then. False
    /// where that cannot be.
    pub fn resume(&mut self, mark: Mark) -> bool {
        let fits = self.lasting && self.last.is_none() && self.range_uj == mark.range_uj;
        if fits {
            self.last = Some(Sample { raw_uj: mark.raw_uj, read: mark.at, changed: mark.at });
        }
        fits
    }

    /// Takes a value that was read, unless it is none: a zero, or the same for too long.
    pub fn take(&mut self, raw_uj: u64, gap: bool, at: Moment) -> Result<Reading, Fault> {
        if self.doubts(raw_uj) {
            self.zero = Some(at);
            return Err(Fault::Zero);
        }
        if let Some(still) = self.stands_still(raw_uj, at) {
            return Err(Fault::Still(still));
        }
        let reading = self.advance(raw_uj, at);
        Ok(Reading { gap: reading.gap.or_else(|| gap.then_some(Gap::Unsampled)), ..reading })
    }

    /// How often it must be read so that no wrap goes unseen, where that is more often than windows end: three times
    /// in the shortest time that it takes to wrap.
    pub fn period(&self) -> Option<Duration> {
        let Watts(max) = self.max;
        if self.range_uj == 0 || max <= 0.0 {
            return None;
        }
        let wrap_s = Microjoules(self.range_uj).joules() / max;
        let period = Duration::try_from_secs_f64(wrap_s / 3.0).ok()?;
        (period < WINDOW_MAX).then_some(period.max(PERIOD_MIN))
    }

    fn stands_still(&self, raw_uj: u64, at: Moment) -> Option<Duration> {
        let (last, within) = (self.last?, self.moves_within?);
        let still = at.since(last.changed);
        (raw_uj == last.raw_uj && still >= within).then_some(still)
    }

    /// Takes a good reading of `raw_uj`; `total` of the result is the energy since the first one.
    ///
    /// A value that fell is a wrap where that means a plausible energy, else a reset. With an interval so long
    /// that the counter may have wrapped more than once, or in which the machine was suspended, the least possible
    /// energy is added and marked as a gap.
    pub fn advance(&mut self, raw_uj: u64, at: Moment) -> Reading {
        let sample = Sample { raw_uj, read: at, changed: at };
        let Some(last) = self.last.replace(sample) else {
            return Reading { total: self.total, gap: None };
        };
        if raw_uj == last.raw_uj {
            self.last = Some(Sample { changed: last.changed, ..sample });
        }
        let zero = self.zero.take();
        let limit = self.limit(at.since(last.changed));
        if !at.suspended_since(last.read).is_zero() {
            // What a suspension does to a counter is the processor's own affair: it goes on, wraps unseen, or begins anew
            // at zero. Whichever it was, this much was used since.
            let known = Microjoules(raw_uj.checked_sub(last.raw_uj).unwrap_or(raw_uj));
            if known <= limit {
                self.total += known;
            }
            return Reading { total: self.total, gap: Some(Gap::Suspended) };
        }
        let step = self.step(last.raw_uj, raw_uj);
        if let Some(step) = step.filter(|step| *step <= limit) {
            self.total += step;
            let gap = self.may_have_wrapped_unseen(at.since(last.read)).then_some(Gap::Unseen);
            return Reading { total: self.total, gap };
        }
        let Some(shown_uj) = raw_uj.checked_sub(last.raw_uj) else {
            // A zero on the way was the reset: what it shows now is of the time since then.
            let known = zero.map(|zero| at.since(zero)).unwrap_or_default();
            let known = if Microjoules(raw_uj) <= self.limit(known) { known } else { Duration::ZERO };
            if !known.is_zero() {
                self.total += Microjoules(raw_uj);
            }
            return Reading { total: self.total, gap: Some(Gap::Reset { known }) };
        };
        let gap = Gap::Impossible { shown: Microjoules(shown_uj), limit };
        Reading { total: self.total, gap: Some(gap) }
    }

    /// Whether a reading of exactly zero is no reading: a counter that has run passes through that value for
    /// one unit in 2^32, but broken ones show it. To skip it costs nothing, as the next reading has its energy.
    pub fn doubts(&self, raw_uj: u64) -> bool {
        raw_uj == 0 && self.last.is_some_and(|last| last.raw_uj > 0)
    }

    /// The least energy that leads from one value to the other, if any does.
    fn step(&self, from_uj: u64, to_uj: u64) -> Option<Microjoules> {
        let step_uj = to_uj.checked_sub(from_uj).or_else(|| {
            // Without a range a fall can only be a reset, and beyond its range a counter lies.
            self.range_uj.checked_sub(from_uj).filter(|_| self.range_uj > 0)?.checked_add(to_uj)
        });
        step_uj.map(Microjoules)
    }

    /// The most energy that the device can use in `interval`.
    fn limit(&self, interval: Duration) -> Microjoules {
        self.max * interval.saturating_add(EDGE_SLACK)
    }

    fn may_have_wrapped_unseen(&self, interval: Duration) -> bool {
        self.range_uj > 0 && interval > PAUSE && self.max * interval >= Microjoules(self.range_uj)
    }
}

#[cfg(test)]
mod tests;
