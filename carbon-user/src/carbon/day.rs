//! Which hours of a day are best: by a forecast, else by the days that were.
//!
//! A forecast says of one day which hours are best, and not how sure that is. Of the days that were, how often the hours
//! that are best on average were better than their day is known, and told.

use super::series::{Series, UnixSeconds};
use crate::units::GramsPerKwh;

const HOUR_S: i64 = 3600;

/// Hours of a day.
pub const HOURS: usize = 24;

/// Hours of the past that are looked at: a year, so that each season counts once.
const PAST_S: i64 = 366 * 24 * HOUR_S;

/// A whole hour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hour {
    /// From here.
    pub start_s: UnixSeconds,
    /// Its mean.
    pub g_per_kwh: GramsPerKwh,
}

/// Hours that follow one another, and their mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Best {
    /// Which is the first; of a typical day, the others may be after midnight.
    pub first: usize,
    /// How many.
    pub length: usize,
    /// Their mean.
    pub g_per_kwh: GramsPerKwh,
    /// The mean of all hours that they were chosen from.
    pub all_g_per_kwh: GramsPerKwh,
}

/// Hours of the day in a time zone, over the days that were.
#[derive(Clone, Debug, PartialEq)]
pub struct TypicalDay {
    /// The mean of each hour from midnight on.
    pub hours: [GramsPerKwh; HOURS],
    /// Days of which the least known hour is known.
    pub days: usize,
    /// From the first hour that counts.
    pub start_s: UnixSeconds,
    /// To the end of the last.
    pub end_s: UnixSeconds,
    /// Whole days, hour by hour.
    whole: Vec<[f64; HOURS]>,
}

/// The whole hours after `now_s` that `series` knows, a day of them at most, up to the first that it does not know.
pub fn coming(series: &Series, now_s: UnixSeconds) -> Vec<Hour> {
    let first = now_s.saturating_add(HOUR_S - 1).div_euclid(HOUR_S).saturating_mul(HOUR_S);
    let starts = std::iter::successors(Some(first), |start_s| start_s.checked_add(HOUR_S));
    starts.take(HOURS).map_while(|start_s| hour(series, start_s)).collect()
}

/// An hour, where all of it is known.
fn hour(series: &Series, start_s: UnixSeconds) -> Option<Hour> {
    let mean =
        series.mean(start_s, start_s.saturating_add(HOUR_S)).filter(|mean| mean.covered_ratio >= 1.0)?;
    Some(Hour { start_s, g_per_kwh: mean.intensity.g_per_kwh })
}

/// The `length` hours in a row whose mean is least, the earliest of several; none where there are no more hours than that,
/// so that nothing is to be chosen.
pub fn best_of(hours: &[Hour], length: usize) -> Option<Best> {
    let values: Vec<f64> = hours.iter().map(|hour| hour.g_per_kwh.0).collect();
    let firsts = 0..=values.len().checked_sub(length)?;
    best(&values, length, firsts)
}

fn best(values: &[f64], length: usize, firsts: impl Iterator<Item = usize>) -> Option<Best> {
    if length == 0 || length >= values.len() {
        return None;
    }
    let of = |first: usize| mean(values.iter().copied().cycle().skip(first).take(length));
    let (first, least) =
        firsts.map(|first| (first, of(first))).min_by(|one, other| one.1.total_cmp(&other.1))?;
    let all_g_per_kwh = GramsPerKwh(mean(values.iter().copied()));
    Some(Best { first, length, g_per_kwh: GramsPerKwh(least), all_g_per_kwh })
}

#[expect(clippy::cast_precision_loss, reason = "counts of hours and days")]
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (count, sum) = values.fold((0_usize, 0.0), |(count, sum), value| (count + 1, sum + value));
    sum / count as f64
}

impl TypicalDay {
    /// Of what `series` knows before `now_s`, the last year of it. `local` says the number of the day and the hour of the day
    /// of an instant. None where an hour of the day is not known on any day.
    pub fn new(
        series: &Series,
        now_s: UnixSeconds,
        local: impl Fn(UnixSeconds) -> (i64, usize),
    ) -> Option<Self> {
        let to_s = series.points().last()?.end_s.min(now_s).div_euclid(HOUR_S).saturating_mul(HOUR_S);
        let from_s = series.points().first()?.start_s.max(to_s.saturating_sub(PAST_S));
        let first = from_s.saturating_add(HOUR_S - 1).div_euclid(HOUR_S).saturating_mul(HOUR_S);
        let edges = std::iter::successors(Some(first), |start_s| start_s.checked_add(HOUR_S));
        let mut sums = [(0_usize, 0.0); HOURS];
        let mut whole: Vec<[f64; HOURS]> = Vec::new();
        let mut of_day: (i64, [Option<f64>; HOURS]) = (i64::MIN, [None; HOURS]);
        let mut extent: Option<(UnixSeconds, UnixSeconds)> = None;
        let known = edges.take_while(|start_s| *start_s < to_s).filter_map(|start_s| hour(series, start_s));
        for Hour { start_s, g_per_kwh } in known {
            let (day, hour) = local(start_s);
            if day != of_day.0 {
                whole.extend(every(&of_day.1));
                of_day = (day, [None; HOURS]);
            }
            if let (Some(sum), Some(value)) = (sums.get_mut(hour), of_day.1.get_mut(hour)) {
                *sum = (sum.0 + 1, sum.1 + g_per_kwh.0);
                *value = Some(g_per_kwh.0);
            }
            let begin_s = extent.map_or(start_s, |(begin_s, _)| begin_s);
            extent = Some((begin_s, start_s.saturating_add(HOUR_S)));
        }
        whole.extend(every(&of_day.1));
        let days = sums.iter().map(|(count, _)| *count).min().filter(|days| *days > 0)?;
        let (start_s, end_s) = extent?;
        #[expect(clippy::cast_precision_loss, reason = "a year of days")]
        let hours = sums.map(|(count, sum)| GramsPerKwh(sum / count as f64));
        Some(Self { hours, days, start_s, end_s, whole })
    }

    /// The `length` hours in a row whose mean is least; they may go on after midnight.
    pub fn best(&self, length: usize) -> Option<Best> {
        best(&self.hours.map(|g| g.0), length, 0..HOURS)
    }

    /// On what share of the whole days these hours had less than the mean of their day; none where no day is whole.
    #[expect(clippy::cast_precision_loss, reason = "a year of days")]
    pub fn better_days_ratio(&self, best: &Best) -> Option<f64> {
        let better = |day: &&[f64; HOURS]| {
            mean(day.iter().copied().cycle().skip(best.first).take(best.length)) < mean(day.iter().copied())
        };
        let days = self.whole.len();
        (days > 0).then(|| self.whole.iter().filter(better).count() as f64 / days as f64)
    }
}

/// Its values, where it has all.
fn every(hours: &[Option<f64>; HOURS]) -> Option<[f64; HOURS]> {
    hours.iter().all(Option::is_some).then(|| hours.map(Option::unwrap_or_default))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::carbon::Kind;
    use crate::carbon::series::Point;
    use proptest::prelude::*;

    const DAY_S: i64 = 24 * HOUR_S;

    fn series(start_s: i64, step_s: i64, values: &[f64]) -> Series {
        let points = (0_i64..).zip(values).map(|(n, g)| Point {
            start_s: start_s + n * step_s,
            end_s: start_s + (n + 1) * step_s,
            g_per_kwh: GramsPerKwh(*g),
            estimated: true,
        });
        Series::new("FR", Kind::YEARLY, "a test", points.collect()).unwrap()
    }

    fn utc(instant_s: i64) -> (i64, usize) {
        (instant_s.div_euclid(DAY_S), usize::try_from(instant_s.rem_euclid(DAY_S) / HOUR_S).unwrap())
    }

    #[test]
    fn whole_hours_of_a_forecast_are_taken_up_to_the_first_hole() {
        let halves: Vec<f64> = (0..20).map(f64::from).collect();
        let series = series(0, 1800, &halves);
        let hours = coming(&series, 1);
        assert_eq!(hours[0], Hour { start_s: 3600, g_per_kwh: GramsPerKwh(2.5) }, "the next that is whole");
        assert_eq!((hours.len(), coming(&series, 0).len(), coming(&series, 10 * 3600).len()), (9, 10, 0));
        let long = self::series(0, HOUR_S, &[1.0; 100]);
        assert_eq!(coming(&long, 0).len(), HOURS);
    }

    #[test]
    fn the_best_hours_are_those_in_a_row_with_the_least_mean() {
        let hours = |values: &[f64]| coming(&series(0, HOUR_S, values), 0);
        let best = best_of(&hours(&[5.0, 1.0, 9.0, 2.0, 2.0, 8.0]), 2).unwrap();
        assert_eq!((best.first, best.g_per_kwh, best.all_g_per_kwh), (3, GramsPerKwh(2.0), GramsPerKwh(4.5)));
        assert_eq!(best_of(&hours(&[2.0, 2.0, 2.0]), 1).unwrap().first, 0, "the earliest of several");
        assert_eq!(best_of(&hours(&[1.0, 2.0]), 2), None, "nothing to choose");
        assert_eq!((best_of(&[], 1), best_of(&hours(&[1.0]), 0)), (None, None));
    }

    #[test]
    fn a_typical_day_is_of_the_past_and_may_go_over_midnight() {
        // Ten days whose hours 23 and 0 are low, but for the third, on which they are high.
        let day = |n: i32| (0..24).map(move |hour| if hour % 23 == 0 { f64::from(n) } else { 100.0 });
        let days = [10, 10, 500, 10, 10, 10, 10, 10, 10, 10];
        let values: Vec<f64> = days.into_iter().flat_map(day).collect();
        let series = series(0, HOUR_S, &values);
        let typical = TypicalDay::new(&series, i64::MAX, utc).unwrap();
        let best = typical.best(2).unwrap();
        assert_eq!((typical.days, best.first, best.g_per_kwh), (10, 23, GramsPerKwh(59.0)));
        assert!((typical.better_days_ratio(&best).unwrap() - 0.9).abs() < 1e-9);
        // What lies in the future does not count, nor a day of which only a part is known.
        let before = TypicalDay::new(&series, 2 * DAY_S + HOUR_S, utc).unwrap();
        assert_eq!((before.days, before.end_s), (2, 2 * DAY_S + HOUR_S));
        assert!((before.hours[0].0 - 520.0 / 3.0).abs() < 1e-9, "two days of 10, and 500");
        assert_eq!(before.better_days_ratio(&best), Some(1.0));
        assert_eq!(TypicalDay::new(&series, 23 * HOUR_S, utc), None, "an hour of the day is not known");
    }

    proptest! {
        #[test]
        fn the_best_hours_are_never_worse_than_all(values in prop::collection::vec(0.0_f64..1500.0, 2..24), length in 1_usize..23) {
            let hours = coming(&series(0, HOUR_S, &values), 0);
            if let Some(best) = best_of(&hours, length) {
                prop_assert!(best.first + length <= values.len());
                for first in 0..=values.len() - length {
                    let other = values[first..first + length].iter().sum::<f64>() / f64::from(u32::try_from(length).unwrap());
                    prop_assert!(best.g_per_kwh.0 <= other + 1e-9);
                }
            }
        }
    }
}
