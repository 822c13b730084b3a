//! The first windows, from which what is believed beforehand is made.

use super::member::Prior;
use super::{Beforehand, Observation};
use crate::units::Watts;

/// Windows from which the first guess of watts per CPU is made; attributed by CPU time.
pub const WARM_UP_WINDOWS: u32 = 10;
/// Part of the lowest power seen that is taken for static where no table knows better (memory: mostly refresh and
/// standby).
const P0_OF_LOWEST_RATIO: f64 = 0.7;

/// Of the nine changes between them, those that are looked at.
const KEPT: u32 = (WARM_UP_WINDOWS - 1) * 2 / 3;
/// Noise in the first windows that is taken for noise.
const NOISE_SEEN_MIN: f64 = 0.05 * 0.05;

/// Sums of the first windows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WarmUp {
    windows: u32,
    seconds: f64,
    joules: f64,
    busy_s: f64,
    lowest_w: Option<f64>,
    /// Power and busy CPUs of each window.
    seen: [(f64, f64); WARM_UP_WINDOWS as usize],
}

impl WarmUp {
    /// Adds a window; after the last of them, what to believe and the mean power.
    pub(super) fn add(&mut self, seen: &Observation<'_>, beforehand: Beforehand) -> Option<(Prior, f64)> {
        let watts = seen.joules / seen.seconds;
        let busy_s = seen.rows.iter().map(|(_, cpu_s)| cpu_s).sum::<f64>();
        self.seen.rotate_left(1);
        if let Some(last) = self.seen.last_mut() {
            *last = (watts, busy_s / seen.seconds);
        }
        self.windows += 1;
        self.seconds += seen.seconds;
        self.joules += seen.joules;
        self.busy_s += busy_s;
        self.lowest_w = Some(self.lowest_w.map_or(watts, |lowest| lowest.min(watts)));
        (self.windows >= WARM_UP_WINDOWS && self.joules > 0.0).then(|| self.prior(beforehand))
    }

    /// Variance of the meter's noise relative to power squared, where it is so large that own watts are no reason for it:
    /// that of the changes of power from window to window beyond those of use, without the largest third of them, in which
    /// something may have started or stopped. Members that begin with too little of it take noise for own watts.
    fn noise_ratio(&self, mean_w: f64, watts_per_cpu: f64) -> f64 {
        let pairs = self.seen.iter().zip(self.seen.iter().skip(1));
        let changes = pairs.map(|((old_w, old), (new_w, new))| new_w - old_w - watts_per_cpu * (new - old));
        let mut squares: Vec<f64> = changes.map(|change| change * change).collect();
        squares.sort_unstable_by(f64::total_cmp);
        squares.truncate(KEPT as usize);
        // Each change has the noise of two windows.
        let mean = squares.iter().sum::<f64>() / (2.0 * f64::from(KEPT));
        let ratio = mean / (mean_w * mean_w);
        if ratio > NOISE_SEEN_MIN { ratio } else { 0.0 }
    }

    fn prior(&self, beforehand: Beforehand) -> (Prior, f64) {
        let cpus = beforehand.cpus();
        let mean_w = self.joules / self.seconds;
        let busy = (self.busy_s / self.seconds).max(1e-3 * cpus);
        let given = |watts: Option<Watts>| watts.map(|watts| watts.0).filter(|watts| *watts > 0.0);
        let lowest_w = self.lowest_w.unwrap_or(mean_w).max(1e-3 * mean_w);
        let p0_w = given(beforehand.idle).unwrap_or(P0_OF_LOWEST_RATIO * lowest_w);
        let table = given(beforehand.per_cpu).unwrap_or(mean_w / cpus);
        // Weighted by precision: the table is sure to half of itself, what is above P0 to half of P0 and a tenth of all.
        let measured = (mean_w - p0_w) / busy;
        let of_table = (0.5 * table).powi(-2);
        let of_measured = (0.5 * p0_w / busy).hypot(0.1 * mean_w / busy).powi(-2);
        let watts_per_cpu = (table * of_table + measured * of_measured) / (of_table + of_measured);
        let watts_per_cpu = watts_per_cpu.max(0.2 * table);
        (Prior { p0_w, watts_per_cpu, cpus, noise_ratio: self.noise_ratio(mean_w, watts_per_cpu) }, mean_w)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::CgroupId;
    use crate::window::WorkloadKey;

    /// Of windows with 2 busy CPUs, then 4, of 10 W each over 20 W.
    fn noise_ratio(noise: impl Fn(u32) -> f64) -> f64 {
        let beforehand = Beforehand { cpus: 8, idle: Some(Watts(20.0)), per_cpu: Some(Watts(10.0)) };
        let (mut warm_up, mut prior) = (WarmUp::default(), None);
        for number in 0..WARM_UP_WINDOWS {
            let used = if number < 5 { 2.0 } else { 4.0 };
            let rows = [(WorkloadKey::cgroup(CgroupId(1)), used)];
            let joules = (20.0 + 10.0 * used) * (1.0 + noise(number));
            let seen = Observation { seconds: 1.0, joules, wake_ratio: None, rows: &rows, events: &[] };
            prior = warm_up.add(&seen, beforehand);
        }
        prior.unwrap().0.noise_ratio
    }

    #[test]
    fn noise_is_seen_and_a_start_is_none() {
        assert!(
            noise_ratio(|number| if number.is_multiple_of(2) { 0.005 } else { -0.005 }).abs() < f64::EPSILON
        );
        let sign = |number: u32| if number.is_multiple_of(2) { 0.2 } else { -0.2 };
        assert!((0.1..0.4).contains(&noise_ratio(sign).sqrt()), "{}", noise_ratio(sign).sqrt());
    }
}
