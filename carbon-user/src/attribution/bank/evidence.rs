//! What is known of a package's idle power by itself, apart from the members: kept over restarts, and taken up by members
//! that are made anew.

use super::Bank;
use super::member::{Look, Member, P0_STDDEV_RATIO, Prior};
use crate::attribution::uncertainty::SIGMAS_OF_90_PERCENT;

/// A window with less use than this, of all CPUs, counts as idle.
pub(super) const IDLE_RATIO: f64 = 0.01;
/// Windows that a mean is taken over at most, so that it follows what changes in a day.
const MEMORY_WINDOWS: f64 = 10_000.0;
/// How far idle power of another day may be from that of today, relative: temperature, firmware, devices.
const ANOTHER_DAY_RATIO: f64 = 0.03;
/// Idle windows from which on they are evidence.
const IDLE_WINDOWS_MIN: u64 = 10;

/// Windows in which nearly nothing ran.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct IdleWindows {
    /// How many.
    pub windows: u64,
    /// Mean power, watts.
    pub mean_w: f64,
    /// Variance of single windows, watts squared.
    pub variance_w2: f64,
    /// Mean of busy CPUs.
    pub busy_cpus: f64,
    /// Mean share of the time with any CPU busy.
    pub wake_ratio: f64,
}

impl IdleWindows {
    pub(super) fn add(&mut self, watts: f64, busy_cpus: f64, wake_ratio: f64) {
        self.windows = self.windows.saturating_add(1);
        #[expect(clippy::cast_precision_loss, reason = "a weight")]
        let rate = (1.0 / self.windows as f64).max(1.0 / MEMORY_WINDOWS);
        let deviation = watts - self.mean_w;
        self.mean_w += rate * deviation;
        self.variance_w2 = (1.0 - rate) * (self.variance_w2 + rate * deviation * deviation);
        self.busy_cpus += rate * (busy_cpus - self.busy_cpus);
        self.wake_ratio += rate * (wake_ratio - self.wake_ratio);
    }

    fn is_sound(&self) -> bool {
        let numbers = [self.mean_w, self.variance_w2, self.busy_cpus, self.wake_ratio];
        numbers.iter().all(|number| number.is_finite() && *number >= 0.0)
    }
}

/// What bursts of a known load on an idle machine told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibration {
    /// Idle power, watts.
    pub p0_w: f64,
    /// Its standard deviation.
    pub p0_stddev_w: f64,
    /// What leaving package idle costs, watts.
    pub wake_w: f64,
    /// Its standard deviation.
    pub wake_stddev_w: f64,
    /// Watts per busy CPU of the bursts, for the first CPU.
    pub per_cpu_w: f64,
    /// Its standard deviation.
    pub per_cpu_stddev_w: f64,
    /// By how much that falls from the first to the last CPU, relative; below zero it rises.
    pub bend_ratio: f64,
    /// Its standard deviation.
    pub bend_stddev_ratio: f64,
    /// Windows that it was found from.
    pub windows: u64,
}

impl Calibration {
    /// Whether it says of idle power more than its size: its 90 % interval does not reach down to nothing.
    pub fn is_sure(&self) -> bool {
        SIGMAS_OF_90_PERCENT * self.p0_stddev_w < self.p0_w
    }
}

/// Both.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evidence {
    /// Of windows as they came.
    pub idle: IdleWindows,
    /// Of bursts of its own.
    pub calibration: Option<Calibration>,
}

impl Evidence {
    /// What to believe beforehand, where a calibration is further from it than two standard deviations of both: a table that
    /// is so wrong would outweigh what was measured.
    pub(super) fn corrected(&self, prior: Prior) -> Option<Prior> {
        let Calibration { p0_w, p0_stddev_w, per_cpu_w, per_cpu_stddev_w, .. } = self.calibration?;
        let known = |watts: f64, stddev: f64| {
            watts.is_finite() && watts > 0.0 && stddev >= 0.0 && SIGMAS_OF_90_PERCENT * stddev < watts
        };
        let apart_w = (p0_w - prior.p0_w).abs();
        if !known(p0_w, p0_stddev_w) || apart_w <= 2.0 * prior.p0_stddev_w.hypot(p0_stddev_w) {
            return None;
        }
        let watts_per_cpu = if known(per_cpu_w, per_cpu_stddev_w) { per_cpu_w } else { prior.watts_per_cpu };
        Some(Prior { p0_w, p0_stddev_w: P0_STDDEV_RATIO * p0_w, watts_per_cpu, ..prior })
    }

    /// Lets a member know.
    pub(super) fn teach(&self, member: &mut Member) {
        let look = |watts, busy, wake| Look {
            seconds: 1.0,
            watts,
            mean_watts: watts,
            wake,
            busy,
            slots: &[],
            event: false,
            number: 0.0,
        };
        if self.idle.windows >= IDLE_WINDOWS_MIN && self.idle.is_sound() && self.idle.mean_w > 0.0 {
            let IdleWindows { mean_w, variance_w2, busy_cpus, wake_ratio, windows } = self.idle;
            #[expect(clippy::cast_precision_loss, reason = "a count of windows")]
            let of_mean = variance_w2 / (windows as f64).min(MEMORY_WINDOWS);
            let variance = of_mean + (ANOTHER_DAY_RATIO * mean_w).powi(2);
            member.take_evidence(&look(mean_w, busy_cpus, wake_ratio.min(1.0)), variance);
        }
        if let Some(Calibration { p0_w, p0_stddev_w, .. }) = self.calibration
            && [p0_w, p0_stddev_w].iter().all(|number| number.is_finite())
            && p0_w > 0.0
        {
            let variance = p0_stddev_w.powi(2) + (ANOTHER_DAY_RATIO * p0_w).powi(2);
            member.take_evidence(&look(p0_w, 0.0, 0.0), variance);
        }
    }
}

impl Bank {
    /// Keeps what a calibration found, and lets the members know. Where it contradicts what was believed beforehand, they
    /// begin anew from it.
    pub fn calibrate(&mut self, calibration: Calibration) {
        self.evidence.calibration = Some(calibration);
        if let Some(prior) = self.evidence.corrected(self.prior) {
            self.prior = prior;
            if !self.members.is_empty() {
                self.begin();
            }
        }
        let evidence = Evidence { calibration: Some(calibration), ..Evidence::default() };
        for member in &mut self.members {
            evidence.teach(member);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_and_variances_are_those_of_all_windows() {
        let mut idle = IdleWindows::default();
        for watts in [9.0, 10.0, 11.0, 10.0] {
            idle.add(watts, 0.02, 0.04);
        }
        assert_eq!(idle.windows, 4);
        assert!((idle.mean_w - 10.0).abs() < 1e-12 && (idle.variance_w2 - 0.5).abs() < 1e-12, "{idle:?}");
        assert!((idle.busy_cpus - 0.02).abs() < 1e-12 && (idle.wake_ratio - 0.04).abs() < 1e-12);
    }

    /// Made where others kept the machine busy, a calibration says next to nothing, and takes nothing away.
    #[test]
    fn only_what_is_known_is_believed_instead_of_the_table() {
        let prior = Prior { p0_w: 8.0, p0_stddev_w: 4.0, watts_per_cpu: 7.0, cpus: 2.0, noise_ratio: 0.0 };
        let found = Calibration {
            p0_w: 40.0,
            p0_stddev_w: 0.5,
            wake_w: 1.0,
            wake_stddev_w: 0.1,
            per_cpu_w: 5.0,
            per_cpu_stddev_w: 0.2,
            bend_ratio: 0.0,
            bend_stddev_ratio: 0.1,
            windows: 58,
        };
        let corrected = |calibration| {
            let prior =
                Evidence { calibration: Some(calibration), ..Evidence::default() }.corrected(prior)?;
            Some((prior.p0_w, prior.watts_per_cpu))
        };
        assert_eq!(corrected(found), Some((40.0, 5.0)));
        assert_eq!(corrected(Calibration { p0_w: 15.0, ..found }), None, "the table allows that");
        assert_eq!(corrected(Calibration { p0_stddev_w: 30.0, ..found }), None, "it may as well be 8");
        assert_eq!(corrected(Calibration { p0_w: 20.0, p0_stddev_w: 8.0, ..found }), None, "so may this");
        let unsure = Calibration { per_cpu_w: 0.045, per_cpu_stddev_w: 5.0, ..found };
        assert_eq!(corrected(unsure), Some((40.0, 7.0)), "of watts per CPU only the table says something");
        for broken in [f64::NAN, f64::INFINITY, -1.0] {
            assert_eq!(corrected(Calibration { p0_w: broken, ..found }), None);
            assert_eq!(corrected(Calibration { p0_stddev_w: broken, ..found }), None);
        }
    }
}
