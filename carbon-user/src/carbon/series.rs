//! Intensities that change with time: one kind, values that each hold for an interval.

use super::kind::Kind;
use super::{Intensity, Spread};
use crate::units::GramsPerKwh;

/// Seconds of 1970 and later, by UTC.
pub type UnixSeconds = i64;

/// Points kept at most: ten years of quarters of an hour.
pub const POINTS_MAX: usize = 350_640;

/// A value and the time for which it holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// From here.
    pub start_s: UnixSeconds,
    /// To here, itself left out.
    pub end_s: UnixSeconds,
    /// The value.
    pub g_per_kwh: GramsPerKwh,
    /// Whether the publisher estimated or forecast it.
    pub estimated: bool,
}

/// Values over time, in order and without overlap; there may be holes.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    zone: String,
    kind: Kind,
    source: String,
    points: Vec<Point>,
}

/// Why points are no series.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum NoSeries {
    /// None at all.
    #[error("no values")]
    Empty,
    /// Too many.
    #[error("more than {POINTS_MAX} values")]
    Many,
    /// A point that ends where it begins, or before.
    #[error("the value of {0} (Unix time) ends before it begins")]
    Backwards(UnixSeconds),
    /// Two that hold at once.
    #[error("two values hold at {0} (Unix time)")]
    Overlap(UnixSeconds),
    /// A number that is no intensity.
    #[error("impossible intensity {0} g/kWh: give 0 to 5000")]
    Value(f64),
}

/// The mean over an interval.
#[derive(Clone, Debug, PartialEq)]
pub struct Mean {
    /// Of the covered part.
    pub intensity: Intensity,
    /// How much of the interval the series covers, 0 to 1.
    pub covered_ratio: f64,
    /// Whether any of it was estimated.
    pub estimated: bool,
}

/// Whether it can be an intensity of electricity.
pub fn possible(g_per_kwh: GramsPerKwh) -> bool {
    (0.0..=5000.0).contains(&g_per_kwh.0)
}

impl Series {
    /// Checks and sorts.
    pub fn new(zone: &str, kind: Kind, source: &str, mut points: Vec<Point>) -> Result<Self, NoSeries> {
        if points.len() > POINTS_MAX {
            return Err(NoSeries::Many);
        }
        points.sort_by_key(|point| point.start_s);
        for point in &points {
            if !possible(point.g_per_kwh) {
                return Err(NoSeries::Value(point.g_per_kwh.0));
            }
            if point.end_s <= point.start_s {
                return Err(NoSeries::Backwards(point.start_s));
            }
        }
        let overlap = points.iter().zip(points.iter().skip(1)).find(|(one, next)| next.start_s < one.end_s);
        if let Some((_, next)) = overlap {
            return Err(NoSeries::Overlap(next.start_s));
        }
        if points.is_empty() {
            return Err(NoSeries::Empty);
        }
        Ok(Self { zone: zone.to_owned(), kind, source: source.to_owned(), points })
    }

    /// What is counted, and how.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Place, by the name of who says so.
    pub fn zone(&self) -> &str {
        &self.zone
    }

    /// Who says so.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The values, in order.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// The value that holds at an instant.
    pub fn at(&self, instant_s: UnixSeconds) -> Option<Point> {
        let after = self.points.partition_point(|point| point.start_s <= instant_s);
        let point = self.points.get(after.checked_sub(1)?)?;
        (instant_s < point.end_s).then_some(*point)
    }

    /// The mean over time from `start_s` to `end_s`; an instant where both are the same. None where no value holds
    /// in any part of it.
    pub fn mean(&self, start_s: UnixSeconds, end_s: UnixSeconds) -> Option<Mean> {
        let end_s = end_s.max(start_s.saturating_add(1));
        let (mut seconds, mut weighted, mut estimated) = (0_i64, 0.0, false);
        let first = self.points.partition_point(|point| point.end_s <= start_s);
        for point in self.points.iter().skip(first).take_while(|point| point.start_s < end_s) {
            let overlap = point.end_s.min(end_s).saturating_sub(point.start_s.max(start_s));
            #[expect(clippy::cast_precision_loss, reason = "seconds of some years")]
            let weight = overlap as f64;
            seconds = seconds.saturating_add(overlap);
            weighted += weight * point.g_per_kwh.0;
            estimated |= point.estimated;
        }
        if seconds <= 0 {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "seconds of some years")]
        let (covered, whole) = (seconds as f64, end_s.saturating_sub(start_s) as f64);
        Some(Mean {
            intensity: Intensity {
                g_per_kwh: GramsPerKwh(weighted / covered),
                zone: self.zone.clone(),
                name: self.zone.clone(),
                year: year_of(start_s),
                kind: self.kind,
                spread: Spread::where_none_is_stated(self.kind),
                source: self.source.clone(),
                assumed: false,
            },
            covered_ratio: covered / whole,
            estimated,
        })
    }
}

/// The year of an instant by UTC, in the Gregorian calendar (days since 1970 to a civil date).
fn year_of(instant_s: UnixSeconds) -> u16 {
    let days = instant_s.div_euclid(86_400).saturating_add(719_468);
    let era = days.div_euclid(146_097);
    let day = days.rem_euclid(146_097);
    let year_of_era = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // The count's years begin in March.
    let year = year_of_era + era * 400 + i64::from(day_of_year >= 306);
    u16::try_from(year).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::carbon::kind::{Method, Signal};
    use proptest::prelude::*;

    fn point(start_s: i64, end_s: i64, g: f64) -> Point {
        Point { start_s, end_s, g_per_kwh: GramsPerKwh(g), estimated: false }
    }

    fn series(points: &[Point]) -> Result<Series, NoSeries> {
        Series::new("FR", Kind::YEARLY, "a test", points.to_vec())
    }

    #[test]
    fn a_mean_is_weighted_by_time() {
        let series = series(&[point(3600, 7200, 100.0), point(0, 3600, 20.0)]).unwrap();
        let mean = series.mean(1800, 5400).unwrap();
        assert!((mean.intensity.g_per_kwh.0 - 60.0).abs() < 1e-9 && (mean.covered_ratio - 1.0).abs() < 1e-9);
        let half = series.mean(5400, 9000).unwrap();
        assert!((half.intensity.g_per_kwh.0 - 100.0).abs() < 1e-9 && (half.covered_ratio - 0.5).abs() < 1e-9);
        assert_eq!(series.mean(9000, 9100), None, "a hole is no zero");
        assert_eq!(series.at(3599).map(|point| point.g_per_kwh), Some(GramsPerKwh(20.0)));
        assert_eq!(series.at(7200), None);
    }

    #[test]
    fn a_mean_has_the_spread_of_what_is_counted() {
        let spread = |kind| {
            let series = Series::new("FR", kind, "a test", vec![point(0, 3600, 20.0)]).unwrap();
            series.mean(0, 3600).unwrap().intensity.spread
        };
        assert_eq!(spread(Kind::YEARLY), Spread::COUNTRY);
        let marginal = Kind { signal: Signal::Marginal, ..Kind::YEARLY };
        let bought = Kind { method: Method::Market, ..Kind::YEARLY };
        assert!(!spread(marginal).is_known() && !spread(bought).is_known(), "nobody says it");
    }

    #[test]
    fn what_is_no_series_is_refused() {
        assert_eq!(series(&[]), Err(NoSeries::Empty));
        assert_eq!(series(&[point(0, 0, 1.0)]), Err(NoSeries::Backwards(0)));
        assert_eq!(series(&[point(0, 10, 1.0), point(9, 20, 1.0)]), Err(NoSeries::Overlap(9)));
        assert!(matches!(series(&[point(0, 10, f64::NAN)]), Err(NoSeries::Value(_))));
        assert_eq!(series(&[point(0, 10, -1.0)]), Err(NoSeries::Value(-1.0)));
    }

    #[test]
    fn a_year_begins_in_january() {
        for (instant, year) in
            [(0, 1970), (-1, 1969), (1_767_225_599, 2025), (1_767_225_600, 2026), (951_782_400, 2000)]
        {
            assert_eq!(year_of(instant), year, "{instant}");
        }
    }

    proptest! {
        #[test]
        fn a_mean_lies_among_its_values(values in prop::collection::vec(0.0_f64..1500.0, 1..50), from in 0_i64..100, length in 1_i64..200) {
            let points: Vec<Point> =
                values.iter().zip(0_i64..).map(|(g, n)| point(n * 3, n * 3 + 3, *g)).collect();
            let series = series(&points).unwrap();
            if let Some(mean) = series.mean(from, from + length) {
                let low = values.iter().copied().fold(f64::INFINITY, f64::min);
                let high = values.iter().copied().fold(0.0, f64::max);
                prop_assert!((low - 1e-9..=high + 1e-9).contains(&mean.intensity.g_per_kwh.0));
                prop_assert!(mean.covered_ratio > 0.0 && mean.covered_ratio <= 1.0);
            }
        }
    }
}
