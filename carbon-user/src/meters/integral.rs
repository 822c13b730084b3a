//! From samples of power to energy, where a device has no counter.
//!
//! The energy between two samples is their mean times the time between them (the trapezoidal rule). What happens between
//! two samples goes unseen, so what is made of it is *sampled*. Over a pause that is longer than a few samples nothing is
//! made up: that energy is lost, and said to be.

use super::lane::Raw;
use crate::units::{Microjoules, Watts};
use std::time::Duration;

/// Samples that may be missing before energy is lost rather than interpolated.
const MISSING_MAX: u32 = 10;

/// Adds up power.
#[derive(Debug)]
pub(super) struct Integral {
    period: Duration,
    last: Option<(u64, Watts)>,
    /// In joules since the first sample: 2^53 uJ are 9 GJ, so that nothing is lost in the sum.
    joules: f64,
    gap: bool,
}

impl Integral {
    /// Samples are to come every `period`.
    pub(super) fn new(period: Duration) -> Self {
        Self { period, last: None, joules: 0.0, gap: false }
    }

    /// Takes a sample, and gives the energy since the first. What was lost is told once, at an edge.
    pub(super) fn take(&mut self, power: Watts, at_ns: u64, at_edge: bool) -> Raw {
        if let Some((last_ns, last)) = self.last.replace((at_ns, power)) {
            let passed = Duration::from_nanos(at_ns.saturating_sub(last_ns));
            if passed <= self.period.saturating_mul(MISSING_MAX) {
                self.joules += f64::midpoint(last.0, power.0) * passed.as_secs_f64();
            } else {
                self.gap = true;
            }
        }
        let gap = at_edge && std::mem::take(&mut self.gap);
        Raw { uj: Microjoules::from_joules(self.joules).0, gap, ..Raw::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENTH: u64 = 100_000_000;

    /// What docs/meters.md says of loads that change between two samples, none of whose periods fits into the other.
    #[test]
    fn what_sampling_misses_averages_out() {
        const PERIOD_MS: u64 = 730;
        for (on_ms, error_ratio) in [(PERIOD_MS / 2, 0.01), (30, 0.03)] {
            let mut integral = Integral::new(Duration::from_millis(100));
            let mut last_uj = 0;
            for sample in 0..=600 {
                let at_ms = sample * 100;
                let watts = if at_ms % PERIOD_MS < on_ms { 110.0 } else { 10.0 };
                last_uj = integral.take(Watts(watts), at_ms * 1_000_000, true).uj;
            }
            let on_s = (0..60_000_u32).filter(|at_ms| u64::from(*at_ms) % PERIOD_MS < on_ms).count();
            #[expect(clippy::cast_precision_loss, reason = "thousands")]
            let (truth, found) = (600.0 + 100.0 * on_s as f64 / 1e3, last_uj as f64 / 1e6);
            assert!((found / truth - 1.0).abs() < error_ratio, "{on_ms} ms: {found} J of {truth} J");
        }
    }

    #[test]
    fn a_ramp_is_integrated_and_a_long_pause_is_lost() {
        let mut integral = Integral::new(Duration::from_millis(100));
        assert_eq!(integral.take(Watts(10.0), 0, true).uj, 0);
        assert_eq!(integral.take(Watts(20.0), TENTH, false).uj, 1_500_000);
        assert_eq!(integral.take(Watts(20.0), 11 * TENTH, true).uj, 21_500_000);
        let after = integral.take(Watts(20.0), 31 * TENTH, false);
        assert_eq!((after.uj, after.gap), (21_500_000, false), "told at the edge");
        let edge = integral.take(Watts(20.0), 32 * TENTH, true);
        assert_eq!((edge.uj, edge.gap), (23_500_000, true));
        assert!(!integral.take(Watts(20.0), 33 * TENTH, true).gap);
    }
}
