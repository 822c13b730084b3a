//! How far off a number may be, as the standard deviation of what is believed about it.
//!
//! Three causes, kept apart because each adds up in its own way: a model that is wrong is wrong by the same factor in
//! every window, and a workload that draws more per CPU second than its neighbours does so in every window. So over
//! windows and domains each of these two adds up linearly (as errors with one cause do). A meter's noise is new in every
//! window and adds up in quadrature, and so do the three together (as independent ones do; JCGM 100:2008, 5.1.2 and
//! 5.2.2).

use crate::window::Bounds;

/// Standard deviation of a workload's own watts per CPU second over the mean of all. On simulated nodes with
/// workloads of 4 to 16 W per CPU, splitting by CPU time misattributes 14 to 30 % of the dynamic energy, depending
/// on the form of the truth; this is a round value in the upper half of that range.
pub const OWN_WATTS_STDDEV_RATIO: f64 = 0.25;

/// The 95th percentile of the standard normal distribution: half the width of a 90 % interval in standard
/// deviations.
pub const SIGMAS_OF_90_PERCENT: f64 = 1.645;

/// Standard deviation of an energy by cause, in microjoules.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Uncertainty {
    /// From what is not known of each workload's own watts.
    pub split_uj: f64,
    /// From a model in place of a meter.
    pub model_uj: f64,
    /// From the meter's noise.
    pub meter_uj: f64,
}

impl Uncertainty {
    /// Of the sum of two energies whose errors share their causes.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            split_uj: self.split_uj + other.split_uj,
            model_uj: self.model_uj + other.model_uj,
            meter_uj: self.meter_uj.hypot(other.meter_uj),
        }
    }

    /// All causes together, in microjoules.
    pub fn stddev_uj(self) -> f64 {
        self.split_uj.hypot(self.model_uj).hypot(self.meter_uj)
    }
}

/// Relative standard deviation of a model with these bounds: a 90 % interval of `high_ratio` up and `low_ratio`
/// down, log-normal, so sigma = ln(high) / 1.645. Where the two sides differ, the wider one.
pub fn model_stddev_ratio(bounds: Bounds) -> f64 {
    let widest = bounds.high_ratio.ln().max(-bounds.low_ratio.ln());
    if widest.is_finite() { widest.max(0.0) / SIGMAS_OF_90_PERCENT } else { 0.0 }
}

/// Relative standard deviation of the energy of a workload that has `share` of the CPU time, where the squares of
/// all workloads' shares sum to `squares`.
///
/// With shares `s`, own watts `w` and the energy `D` of all, workload `i` draws `D s[i] w[i] / sum(s[j] w[j])`. With
/// independent `w` of mean 1 and standard deviation `r`, and their deviations `e`, the relative error is to first
/// order `(1 - s[i]) e[i] - sum(s[j] e[j], j != i)`, hence `r sqrt((1 - s[i])^2 + sum(s[j]^2, j != i))`: `r` for a
/// small share among many, 0 for one that has all the time.
pub fn split_stddev_ratio(share: f64, squares: f64) -> f64 {
    let others = (squares - share * share).max(0.0);
    OWN_WATTS_STDDEV_RATIO * ((1.0 - share).powi(2) + others).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-9
    }

    #[test]
    fn a_model_is_as_wide_as_its_bounds_say() {
        let factor = |high: f64| model_stddev_ratio(Bounds { low_ratio: 1.0 / high, high_ratio: high });
        assert!(near((factor(1.7) * SIGMAS_OF_90_PERCENT).exp(), 1.7));
        assert!(near(factor(1.0), 0.0));
        assert!(near(model_stddev_ratio(Bounds { low_ratio: 0.5, high_ratio: 1.1 }), 2.0_f64.ln() / 1.645));
        assert!(near(model_stddev_ratio(Bounds { low_ratio: 0.0, high_ratio: f64::NAN }), 0.0));
    }

    #[test]
    fn a_workload_alone_has_no_split_error() {
        assert!(near(split_stddev_ratio(1.0, 1.0), 0.0));
        assert!(near(split_stddev_ratio(0.0, 0.0), OWN_WATTS_STDDEV_RATIO));
        // Two halves: what one has too much, the other lacks.
        assert!(near(split_stddev_ratio(0.5, 0.5), OWN_WATTS_STDDEV_RATIO / 2.0_f64.sqrt()));
    }

    #[test]
    fn causes_add_up_each_in_its_own_way() {
        let window = Uncertainty { split_uj: 3.0, model_uj: 4.0, meter_uj: 0.0 };
        assert!(near(window.stddev_uj(), 5.0));
        assert!(near(window.plus(window).stddev_uj(), 10.0));
        let noise = Uncertainty { meter_uj: 3.0, ..Uncertainty::default() };
        assert!(near(noise.plus(noise).stddev_uj(), 3.0 * 2.0_f64.sqrt()));
    }
}
