//! What is known of a package's idle power by itself, apart from the members: kept over restarts, and taken up by members
//! that are made anew.

use super::Bank;
use super::member::{Look, Member, P0_STDDEV_RATIO, Prior};

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

/// Both.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evidence {
    /// Of windows as they came.
    pub idle: IdleWindows,
    /// Of bursts of its own.
    pub calibration: Option<Calibration>,
}

impl Evidence {
    /// What to believe beforehand, where a calibration is further from it than two of its standard deviations: a table that
    /// is so wrong would outweigh what was measured.
    pub(super) fn corrected(&self, prior: Prior) -> Option<Prior> {
        let Calibration { p0_w, per_cpu_w, .. } = self.calibration?;
        if !(p0_w.is_finite() && p0_w > 0.0) || (p0_w - prior.p0_w).abs() <= 2.0 * prior.p0_stddev_w {
            return None;
        }
        let known = per_cpu_w.is_finite() && per_cpu_w > 0.0;
        let watts_per_cpu = if known { per_cpu_w } else { prior.watts_per_cpu };
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
}
