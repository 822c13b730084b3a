//! The first windows, from which what is believed beforehand is made.

use super::member::Prior;
use super::{Beforehand, Observation};
use crate::units::Watts;

/// Windows from which the first guess of watts per CPU is made; attributed by CPU time.
pub const WARM_UP_WINDOWS: u32 = 10;
/// Part of the lowest power seen that is taken for static where no table knows better (memory: mostly refresh and
/// standby).
const P0_OF_LOWEST_RATIO: f64 = 0.7;

/// Sums of the first windows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WarmUp {
    windows: u32,
    seconds: f64,
    joules: f64,
    busy_s: f64,
    lowest_w: Option<f64>,
}

impl WarmUp {
    /// Adds a window; after the last of them, what to believe and the mean power.
    pub(super) fn add(&mut self, seen: &Observation<'_>, beforehand: Beforehand) -> Option<(Prior, f64)> {
        let watts = seen.joules / seen.seconds;
        self.windows += 1;
        self.seconds += seen.seconds;
        self.joules += seen.joules;
        self.busy_s += seen.rows.iter().map(|(_, cpu_s)| cpu_s).sum::<f64>();
        self.lowest_w = Some(self.lowest_w.map_or(watts, |lowest| lowest.min(watts)));
        (self.windows >= WARM_UP_WINDOWS && self.joules > 0.0).then(|| self.prior(beforehand))
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
        (Prior { p0_w, watts_per_cpu: watts_per_cpu.max(0.2 * table), cpus }, mean_w)
    }
}
