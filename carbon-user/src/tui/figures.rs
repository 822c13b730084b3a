//! Numbers of a line: those of one workload, or the sum of several.

use super::history::{Series, Sum, joules, nanoseconds, worse};
use crate::report::figures::{METERED, between, of_quality, significant};

/// What one or more workloads used in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// CPU time.
    pub cpu_ns: u64,
    /// Caused by running.
    pub dynamic_uj: u64,
    /// Ends of its 90 % interval. Those of a sum are the sums: as if all errors went one way, which is wider than the truth.
    pub dynamic_bounds_uj: (u64, u64),
    /// Share of the static energy.
    pub static_uj: u64,
    /// Of accelerators that were held idle.
    pub held_uj: u64,
    /// The part of `dynamic_uj` that accelerators drew.
    pub gpu_uj: u64,
    /// Joules that CPU time is the cause of, and the ends of their 90 % interval, summed likewise.
    pub by_cpu_j: (f64, f64, f64),
    /// The worst of all; nothing where nothing ran.
    pub quality: Option<&'static str>,
    /// Since the start.
    pub sum: Sum,
    /// The worst of what was summed since then; it stays where nothing ran of late.
    pub sum_quality: Option<&'static str>,
}

impl Figures {
    /// Of one workload; nothing but the sum where it did not run in the last window.
    pub fn of(series: &Series) -> Self {
        let row = &series.row;
        let (sum, sum_quality) = (series.sum, Some(series.sum_quality));
        if !series.runs {
            return Self { sum, sum_quality, ..Self::default() };
        }
        let seconds = nanoseconds(row.cpu_ns);
        let by_cpu = |watts: Option<f64>| watts.unwrap_or(0.0) * seconds;
        Self {
            cpu_ns: row.cpu_ns,
            dynamic_uj: row.dynamic_uj,
            dynamic_bounds_uj: (row.dynamic_low_uj, row.dynamic_high_uj),
            static_uj: row.static_uj,
            held_uj: row.held_uj.unwrap_or(0),
            gpu_uj: row.gpu_uj.unwrap_or(0),
            by_cpu_j: (
                by_cpu(row.watts_per_cpu),
                by_cpu(row.watts_per_cpu_low),
                by_cpu(row.watts_per_cpu_high),
            ),
            quality: Some(row.quality),
            sum,
            sum_quality,
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            cpu_ns: self.cpu_ns.saturating_add(other.cpu_ns),
            dynamic_uj: self.dynamic_uj.saturating_add(other.dynamic_uj),
            dynamic_bounds_uj: (
                self.dynamic_bounds_uj.0.saturating_add(other.dynamic_bounds_uj.0),
                self.dynamic_bounds_uj.1.saturating_add(other.dynamic_bounds_uj.1),
            ),
            static_uj: self.static_uj.saturating_add(other.static_uj),
            held_uj: self.held_uj.saturating_add(other.held_uj),
            gpu_uj: self.gpu_uj.saturating_add(other.gpu_uj),
            by_cpu_j: (
                self.by_cpu_j.0 + other.by_cpu_j.0,
                self.by_cpu_j.1 + other.by_cpu_j.1,
                self.by_cpu_j.2 + other.by_cpu_j.2,
            ),
            quality: worst(self.quality, other.quality),
            sum: Sum {
                energy_uj: self.sum.energy_uj.saturating_add(other.sum.energy_uj),
                grams: self.sum.grams + other.sum.grams,
            },
            sum_quality: worst(self.sum_quality, other.sum_quality),
        }
    }

    /// All kinds of energy together.
    pub fn energy_uj(&self) -> u64 {
        self.dynamic_uj.saturating_add(self.static_uj).saturating_add(self.held_uj)
    }

    /// Watts of one CPU that does nothing else, and the ends of its interval; nothing without CPU time.
    pub fn per_cpu(&self) -> Option<(f64, f64, f64)> {
        let seconds = nanoseconds(self.cpu_ns);
        let (middle, low, high) = self.by_cpu_j;
        (seconds > 0.0).then(|| (middle / seconds, low / seconds, high / seconds))
    }
}

fn worst(one: Option<&'static str>, other: Option<&'static str>) -> Option<&'static str> {
    match (one, other) {
        (Some(one), Some(other)) => Some(worse(one, other)),
        (one, other) => one.or(other),
    }
}

/// Stands where a number is not known.
pub const UNKNOWN: &str = "?";
/// Stands where there is no such number: watts per CPU of what had no CPU time.
pub const NONE: &str = "-";
/// Begins a number that a model gave.
const MODEL: &str = "~";

/// A number for a column: as many figures as its quality is worth, at most `places_max` behind the point, and never zero
/// unless it is; that of a model is marked.
pub fn number(value: f64, quality: Option<&str>, places_max: usize) -> String {
    let figures = quality.map_or(METERED, of_quality);
    let mark = if quality == Some("modelled") { MODEL } else { "" };
    if !value.is_finite() {
        return UNKNOWN.to_owned();
    }
    if value <= 0.0 {
        return "0".to_owned();
    }
    let least = 10_f64.powi(-i32::try_from(places_max).unwrap_or(9));
    if value < least / 2.0 {
        return format!("<{least:.places_max$}");
    }
    if value >= 1e6 {
        return format!("{mark}{}k", significant(value / 1e3, figures));
    }
    let text = significant(value, figures);
    let text = match text.split_once('.') {
        Some((_, behind)) if behind.len() > places_max => format!("{value:.places_max$}"),
        _ => text,
    };
    format!("{mark}{text}")
}

/// Mean power over a window.
pub fn watts(uj: u64, window_ns: u64) -> f64 {
    let seconds = nanoseconds(window_ns);
    if seconds > 0.0 { joules(uj) / seconds } else { 0.0 }
}

/// The 90 % interval of watts per CPU.
pub fn interval(per_cpu: (f64, f64, f64), quality: &str) -> String {
    let (middle, low, high) = per_cpu;
    between(middle, low, high, quality)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_as_long_as_it_is_worth() {
        let cases = [
            (12.3456, Some("measured"), "12.35"),
            (12.3456, Some("modelled"), "~12"),
            (0.012_345, Some("measured"), "0.012"),
            (0.000_1, Some("measured"), "<0.001"),
            (0.0, Some("measured"), "0"),
            (0.0, Some("modelled"), "0"),
            (1_234_567.0, Some("measured"), "1235k"),
            (f64::NAN, None, "?"),
        ];
        for (value, quality, expected) in cases {
            assert_eq!(number(value, quality, 3), expected, "{value}");
        }
    }

    #[test]
    fn a_sum_has_the_worst_quality_and_the_widest_interval() {
        let one = Figures {
            cpu_ns: 1_000_000_000,
            by_cpu_j: (4.0, 3.0, 5.0),
            quality: Some("measured"),
            ..Figures::default()
        };
        let other = Figures { quality: Some("modelled"), ..one };
        let sum = one.plus(&other).plus(&Figures::default());
        assert_eq!(sum.quality, Some("modelled"));
        assert_eq!(sum.per_cpu(), Some((4.0, 3.0, 5.0)));
        assert_eq!(Figures::default().per_cpu(), None);
    }
}
