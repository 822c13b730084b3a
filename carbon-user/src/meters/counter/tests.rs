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
    assert_eq!(said, "it rose by 900.000 J, more than the 110.000 J that the device can draw in the time");
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
        Reading { total: Microjoules(81_000_000), gap: Some(Gap::Reset { known: Duration::from_secs(1) }) },
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
