//! The first windows, from which what is believed beforehand is made.

use super::member::Prior;
use super::{Beforehand, Observation};
use crate::units::Watts;

/// Windows from which the first guess of watts per CPU is made; attributed by CPU time.
pub const WARM_UP_WINDOWS: u32 = 10;
/// Part of the lowest power seen that is taken for static where no table knows better (memory: mostly refresh and
/// standby).
const P0_OF_LOWEST_RATIO: f64 = 0.7;
/// A table that is off by more than this is one of another machine: of it only the proportion of idle to busy is taken,
/// and the size from the meter. Filters that believe a table to half of itself do not find their way from a tenth of the truth.
const TABLE_RATIO_MAX: f64 = 2.0;

/// Sums of the first windows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WarmUp {
    windows: u32,
    seconds: f64,
    joules: f64,
    busy_s: f64,
    lowest_w: Option<f64>,
    /// Least of what was metered over what the table says of that window's load.
    least_of_table_ratio: Option<f64>,
}

/// Power with all CPUs idle, and of a busy one above that, by a table.
#[derive(Clone, Copy, Debug)]
struct Table {
    p0_w: Option<f64>,
    watts_per_cpu: f64,
}

impl Table {
    fn watts(self, busy: f64) -> f64 {
        self.p0_w.unwrap_or(0.0) + self.watts_per_cpu * busy
    }
}

fn given(watts: Option<Watts>) -> Option<f64> {
    watts.map(|watts| watts.0).filter(|watts| *watts > 0.0)
}

impl WarmUp {
    /// Adds a window; after the last of them, what to believe and the mean power.
    pub(super) fn add(&mut self, seen: &Observation<'_>, beforehand: Beforehand) -> Option<(Prior, f64)> {
        let watts = seen.joules / seen.seconds;
        let busy_s = seen.rows.iter().map(|(_, cpu_s)| cpu_s).sum::<f64>();
        self.windows += 1;
        self.seconds += seen.seconds;
        self.joules += seen.joules;
        self.busy_s += busy_s;
        self.lowest_w = Some(self.lowest_w.map_or(watts, |lowest| lowest.min(watts)));
        if let (Some(p0_w), Some(watts_per_cpu)) = (given(beforehand.idle), given(beforehand.per_cpu)) {
            let table = Table { p0_w: Some(p0_w), watts_per_cpu };
            let ratio = watts / table.watts(busy_s / seen.seconds);
            self.least_of_table_ratio =
                Some(self.least_of_table_ratio.map_or(ratio, |least| least.min(ratio)));
        }
        (self.windows >= WARM_UP_WINDOWS && self.joules > 0.0).then(|| self.prior(beforehand))
    }

    fn prior(&self, beforehand: Beforehand) -> (Prior, f64) {
        let cpus = beforehand.cpus();
        let mean_w = self.joules / self.seconds;
        let busy = (self.busy_s / self.seconds).max(1e-3 * cpus);
        let table = self.table(beforehand, mean_w, busy);
        let lowest_w = self.lowest_w.unwrap_or(mean_w).max(1e-3 * mean_w);
        let p0_w = table.p0_w.unwrap_or(P0_OF_LOWEST_RATIO * lowest_w);
        // Weighted by precision: the table is sure to half of itself, what is above P0 to half of P0 and a tenth of all.
        let measured = (mean_w - p0_w) / busy;
        let of_table = (0.5 * table.watts_per_cpu).powi(-2);
        let of_measured = (0.5 * p0_w / busy).hypot(0.1 * mean_w / busy).powi(-2);
        let watts_per_cpu =
            (table.watts_per_cpu * of_table + measured * of_measured) / (of_table + of_measured);
        (Prior { p0_w, watts_per_cpu: watts_per_cpu.max(0.2 * table.watts_per_cpu), cpus }, mean_w)
    }

    /// The table; of the size that the meter shows where it is far off.
    fn table(&self, beforehand: Beforehand, mean_w: f64, busy: f64) -> Table {
        let watts_per_cpu = given(beforehand.per_cpu).unwrap_or(mean_w / beforehand.cpus());
        let table = Table { p0_w: given(beforehand.idle), watts_per_cpu };
        let (Some(p0_w), Some(least)) = (table.p0_w, self.least_of_table_ratio) else { return table };
        let ratio = mean_w / table.watts(busy);
        if (1.0 / TABLE_RATIO_MAX..=TABLE_RATIO_MAX).contains(&ratio) {
            return table;
        }
        // No window can have drawn less than idle power.
        let least = least.max(1e-3 * ratio);
        Table { p0_w: Some(least * p0_w), watts_per_cpu: ratio * watts_per_cpu }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Bank;
    use super::*;
    use crate::units::CgroupId;
    use crate::window::WorkloadKey;

    const PER_CPU_W: f64 = 6.0;

    fn cpus_of(second: u32) -> f64 {
        [1.0, 0.05, 1.9, 0.05, 1.0, 1.9, 0.05, 0.05].get(second as usize / 2 % 8).copied().unwrap_or_default()
    }

    /// A minute of load that comes and goes, then a minute of another workload beside it: how wrong that one's energy is,
    /// where a table has idle power and watts per CPU at so many times the truth.
    fn error_of_a_newcomer(idle_w: f64, table_ratio: f64) -> f64 {
        let table = |watts: f64| Some(Watts(table_ratio * watts));
        let mut bank = Bank::new(Beforehand { cpus: 2, idle: table(idle_w), per_cpu: table(PER_CPU_W) });
        let [first, second] = [1, 2].map(|id| WorkloadKey::cgroup(CgroupId(id)));
        let (mut told_j, mut true_j) = (0.0, 0.0);
        for window in 0..120 {
            let rows =
                if window < 60 { vec![(first, cpus_of(window))] } else { vec![(first, 0.95), (second, 0.9)] };
            let joules = idle_w + PER_CPU_W * rows.iter().map(|(_, cpu_s)| cpu_s).sum::<f64>();
            let seen = Observation { seconds: 1.0, joules, wake_ratio: Some(1.0), rows: &rows, events: &[] };
            let Some(power) = bank.observe(&seen) else { continue };
            let dynamic_j = (joules - power.now.0).max(0.0);
            for split in bank.split(dynamic_j).0.iter().filter(|split| split.key == second) {
                told_j += split.share_ratio * dynamic_j;
                true_j += PER_CPU_W * 0.9;
            }
        }
        (told_j / true_j - 1.0).abs()
    }

    #[test]
    fn a_table_of_another_machine_does_not_lead_astray() {
        for idle_w in [0.2, 6.3, 40.0] {
            for table_ratio in [0.01, 0.1, 0.4, 1.0, 3.0, 10.0] {
                let error = error_of_a_newcomer(idle_w, table_ratio);
                assert!(error < 0.05, "idle {idle_w} W, a table of {table_ratio} times the truth: {error}");
            }
        }
    }

    #[test]
    fn a_table_that_is_near_is_believed() {
        let beforehand = Beforehand { cpus: 4, idle: Some(Watts(10.0)), per_cpu: Some(Watts(5.0)) };
        let rows = [(WorkloadKey::cgroup(CgroupId(1)), 2.0)];
        let prior_of = |joules: f64| {
            let seen = Observation { seconds: 1.0, joules, wake_ratio: None, rows: &rows, events: &[] };
            let mut warm_up = WarmUp::default();
            (0..WARM_UP_WINDOWS)
                .filter_map(|_| warm_up.add(&seen, beforehand))
                .next_back()
                .map(|made| made.0.p0_w)
        };
        assert_eq!(prior_of(20.0), Some(10.0));
        assert_eq!(prior_of(36.0), Some(10.0));
        assert_eq!(prior_of(100.0), Some(50.0));
        assert_eq!(prior_of(5.0), Some(2.5));
    }
}
