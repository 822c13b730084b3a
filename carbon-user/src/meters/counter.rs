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
            let least = Microjoules(raw_uj.checked_sub(last.raw_uj).unwrap_or(raw_uj));
            if least <= limit {
                self.total += least;
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;
    const RANGE: u64 = 262_143_328_850;

    /// An instant of a machine that was never suspended.
    fn at(monotonic_ns: u64) -> Moment {
        Moment { monotonic_ns, suspended_ns: 0 }
    }

    fn readings(counter: &mut Counter, raws: &[u64]) -> Vec<(u64, bool)> {
        let step = |(index, raw): (usize, &u64)| {
            let reading = counter.advance(*raw, at(index as u64 * SECOND));
            (reading.total.0, reading.gap.is_some())
        };
        raws.iter().enumerate().map(step).collect()
    }

    #[test]
    fn a_fall_is_a_wrap_where_that_is_plausible() {
        let mut counter = Counter::new(RANGE, Watts(100.0));
        let seen = readings(&mut counter, &[RANGE - 20_000_000, 30_000_000, 31_000_000]);
        assert_eq!(seen, [(0, false), (50_000_000, false), (51_000_000, false)]);
    }

    #[test]
    fn a_fall_from_the_middle_of_the_range_is_a_reset_and_loses_one_window() {
        let mut counter = Counter::new(RANGE, Watts(100.0));
        let seen = readings(&mut counter, &[5_000_000, 9_000_000, 1_000_000, 4_000_000]);
        assert_eq!(seen, [(0, false), (4_000_000, false), (4_000_000, true), (7_000_000, false)]);
    }

    #[test]
    fn a_step_above_the_power_limit_says_both() {
        let mut counter = Counter::new(RANGE, Watts(100.0));
        counter.advance(1_000_000, at(0));
        let reading = counter.advance(901_000_000, at(SECOND));
        assert_eq!(reading.total, Microjoules::ZERO);
        let said = reading.gap.unwrap().to_string();
        assert_eq!(
            said,
            "it rose by 900.000 J, more than the 110.000 J that the device can draw in the time"
        );
    }

    #[test]
    fn without_a_range_every_fall_is_a_reset() {
        let mut counter = Counter::new(0, Watts(1e9));
        let seen = readings(&mut counter, &[7, 9, 8, 10]);
        assert_eq!(seen, [(0, false), (2, false), (2, true), (4, false)]);
    }

    #[test]
    fn a_zero_between_two_good_values_is_no_spike() {
        let mut counter = Counter::new(RANGE, Watts(100.0));
        let seen = readings(&mut counter, &[90_000_000_000, 0, 90_002_000_000, 90_003_000_000]);
        assert_eq!(seen, [(0, false), (0, true), (0, true), (1_000_000, false)]);
    }

    #[test]
    fn a_counter_that_stood_still_may_catch_up() {
        let mut counter = Counter::new(RANGE, Watts(100.0));
        let seen = readings(&mut counter, &[0, 50_000_000, 50_000_000, 50_000_000, 260_000_000]);
        assert_eq!(seen.last(), Some(&(260_000_000, false)));
    }

    #[test]
    fn a_failed_read_is_made_up_for_by_the_next() {
        let mut counter = Counter::new(RANGE, Watts(100.0));
        counter.advance(0, at(0));
        let later = counter.advance(450_000_000, at(5 * SECOND));
        assert_eq!(later, Reading { total: Microjoules(450_000_000), gap: None });
    }

    #[test]
    fn after_a_long_pause_the_least_energy_is_marked_as_a_gap() {
        let mut counter = Counter::new(65_532_610_987, Watts(400.0));
        counter.advance(0, at(0));
        assert!(counter.advance(1_000_000, at(163 * SECOND)).gap.is_none());
        assert_eq!(
            counter.advance(3_000_000, at(327 * SECOND)),
            Reading { total: Microjoules(3_000_000), gap: Some(Gap::Unseen) }
        );
    }

    #[test]
    fn one_that_should_move_and_does_not_is_no_sample_of_zero() {
        let mut counter = Counter::new(RANGE, Watts(100.0)).moving_within(Duration::from_millis(500));
        for (tenth, raw, taken) in [(0, 5, true), (1, 9, true), (2, 9, true), (6, 9, false), (16, 9, false)] {
            assert_eq!(counter.take(raw, false, at(tenth * SECOND / 10)).is_ok(), taken, "{tenth}");
        }
        let caught_up = counter.take(90_000_009, false, at(2 * SECOND)).unwrap();
        assert_eq!(caught_up, Reading { total: Microjoules(90_000_004), gap: None });
        assert_eq!(counter.take(0, false, at(3 * SECOND)), Err(Fault::Zero));
    }

    #[test]
    fn a_reset_that_is_seen_at_zero_loses_one_window() {
        let mut counter = Counter::new(RANGE, Watts(100.0));
        let mut take = |second, raw| counter.take(raw, false, at(second * SECOND));
        take(0, 50_000_000_000).unwrap();
        take(1, 50_040_000_000).unwrap();
        assert_eq!(take(2, 0), Err(Fault::Zero));
        let after = take(3, 41_000_000).unwrap();
        assert_eq!(
            after,
            Reading {
                total: Microjoules(81_000_000),
                gap: Some(Gap::Reset { known: Duration::from_secs(1) })
            },
            "the third second is there"
        );
        assert_eq!(take(4, 80_000_000).unwrap(), Reading { total: Microjoules(120_000_000), gap: None });
        assert_eq!(take(5, 0), Err(Fault::Zero));
        assert_eq!(take(6, 160_000_000).unwrap().total, Microjoules(200_000_000), "it was no reset");
    }

    /// What a suspension may do to a counter, and what is taken of the window that it is in.
    #[test]
    fn a_suspension_marks_its_own_window_and_no_other() {
        let cases = [
            ("it went on", 9_004_000_000, 4_000_000),
            ("it counted through hours of it", 109_000_000_000, 0),
            ("it began anew at zero", 3_000_000, 3_000_000),
            ("it wrapped, or began anew elsewhere", 5_000_000_000, 0),
        ];
        for (what, after, kept) in cases {
            for range in [0, 65_532_610_987, RANGE] {
                let mut counter = Counter::new(range, Watts(100.0));
                let mut take = |second, raw, suspended_s| {
                    let at = Moment { monotonic_ns: second * SECOND, suspended_ns: suspended_s * SECOND };
                    counter.take(raw, false, at).unwrap()
                };
                take(0, 8_900_000_000, 70);
                assert_eq!(take(1, 9_000_000_000, 70).gap, None, "a suspension before all");
                let sleep = take(2, after, 9_000);
                let expected = Reading { total: Microjoules(100_000_000 + kept), gap: Some(Gap::Suspended) };
                assert_eq!(sleep, expected, "{what}, {range}");
                let next = take(3, after + 7_000_000, 9_000);
                let expected = Reading { total: Microjoules(107_000_000 + kept), gap: None };
                assert_eq!(next, expected, "{what}, {range}: the window after it is whole");
            }
        }
    }

    /// A range so small that any fall could be a wrap: what a reset by a suspension would look like.
    #[test]
    fn a_fall_over_a_suspension_is_no_wrap() {
        let mut counter = Counter::new(100_000_000, Watts(100.0));
        counter.advance(60_000_000, at(0));
        let reading = counter.advance(5_000_000, Moment { monotonic_ns: SECOND, suspended_ns: SECOND });
        assert_eq!(reading, Reading { total: Microjoules(5_000_000), gap: Some(Gap::Suspended) });
    }

    #[test]
    fn a_counter_that_wraps_soon_is_read_often() {
        let period = |range, watts| Counter::new(range, Watts(watts)).period();
        assert_eq!(period(0, 100.0), None);
        assert_eq!(period(RANGE, 400.0), None, "it takes eleven minutes");
        assert_eq!(period(65_532_610_987, 1000.0), Some(Duration::from_nanos(21_844_203_662)));
        assert_eq!(period(30_000_000, 100.0), Some(Duration::from_millis(100)));
        assert_eq!(period(3, 100.0), Some(PERIOD_MIN));
    }

    proptest! {
        #[test]
        fn wraps_at_any_range_reconstruct_the_sum(
            range in 2u64..1 << 48,
            start: u64,
            parts in proptest::collection::vec(0.0f64..1.0, 1..60),
        ) {
            let mut counter = Counter::new(range, Watts(1e12));
            let mut raw = start % range;
            counter.advance(raw, at(0));
            let (mut sum, mut at_ns) = (0, 0);
            for part in parts {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "below 2^48")]
                let step = ((part * range as f64) as u64).min(range - 1);
                raw = (raw + step) % range;
                sum += step;
                at_ns += SECOND;
                let reading = counter.advance(raw, at(at_ns));
                prop_assert_eq!(reading, Reading { total: Microjoules(sum), gap: None });
            }
        }

        #[test]
        fn whatever_is_read_the_total_neither_falls_nor_jumps(
            range in prop_oneof![Just(0), Just(RANGE), any::<u64>()],
            raws in proptest::collection::vec(
                (prop_oneof![any::<u64>(), 0..200_000_000u64, Just(RANGE)], prop_oneof![Just(0), 0..9_000 * SECOND]),
                1..60,
            ),
        ) {
            let mut counter = Counter::new(range, Watts(100.0));
            let (mut before, mut unchanged_s, mut last, mut suspended_ns) = (0, 1, None, 0);
            for (index, (raw, asleep_ns)) in raws.into_iter().enumerate() {
                suspended_ns += asleep_ns;
                let reading = counter.advance(raw, Moment { monotonic_ns: index as u64 * SECOND, suspended_ns });
                prop_assert!(reading.total.0 >= before);
                prop_assert!(reading.total.0 - before <= 100_000_000 * unchanged_s + 10_000_000);
                unchanged_s = if last == Some(raw) { unchanged_s + 1 } else { 1 };
                (before, last) = (reading.total.0, Some(raw));
            }
        }

        #[test]
        fn a_reset_loses_its_own_window_only(
            steps in proptest::collection::vec(1u64..50_000_000, 3..40),
            reset in 1usize..38,
            after in 0u64..1_000_000,
        ) {
            prop_assume!(reset < steps.len());
            let mut counter = Counter::new(RANGE, Watts(100.0));
            let (mut raw, mut expected) = (10_000_000_000, 0);
            counter.advance(raw, at(0));
            for (index, step) in steps.iter().enumerate() {
                raw = if index == reset { after } else { raw + step };
                expected += if index == reset { 0 } else { *step };
                let reading = counter.advance(raw, at((index as u64 + 1) * SECOND));
                let gap = (index == reset).then_some(Gap::Reset { known: Duration::ZERO });
                prop_assert_eq!(reading, Reading { total: Microjoules(expected), gap });
            }
        }
    }
}
