//! The first windows, from which what is believed beforehand is made.

use super::member::{P0_STDDEV_RATIO, Prior};
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

/// Noise of a window, relative to mean power, where a line is laid through the first ones; with what is not a line.
const LINE_NOISE_RATIO: f64 = 0.03;
/// Least part of what the table's proportion says that such a line leaves.
const LINE_MIN_RATIO: f64 = 0.05;

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

/// Power with all CPUs idle, where it is known, and of a busy one above that.
#[derive(Clone, Copy, Debug)]
struct Table {
    p0_w: Option<f64>,
    watts_per_cpu: f64,
    /// Another idle power that the first windows allow.
    other_p0_w: Option<f64>,
}

impl Table {
    fn watts(self, busy: f64) -> f64 {
        self.p0_w.unwrap_or(0.0) + self.watts_per_cpu * busy
    }
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
        let table = self.table(beforehand, mean_w, busy);
        let lowest_w = self.lowest_w.unwrap_or(mean_w).max(1e-3 * mean_w);
        let p0_w = table.p0_w.unwrap_or(P0_OF_LOWEST_RATIO * lowest_w);
        // A line is wrong where the windows of much use had workloads of other watts: then it is the other.
        let apart_w = table.other_p0_w.map_or(0.0, |other| (other - p0_w).abs());
        let p0_stddev_w = P0_STDDEV_RATIO * p0_w.max(apart_w);
        let table = table.watts_per_cpu;
        // Weighted by precision: the table is sure to half of itself, what is above P0 to half of P0 and a tenth of all.
        let measured = (mean_w - p0_w) / busy;
        let of_table = (0.5 * table).powi(-2);
        let of_measured = (p0_stddev_w / busy).hypot(0.1 * mean_w / busy).powi(-2);
        let watts_per_cpu = (table * of_table + measured * of_measured) / (of_table + of_measured);
        let watts_per_cpu = watts_per_cpu.max(0.2 * table);
        let noise_ratio = self.noise_ratio(mean_w, watts_per_cpu);
        (Prior { p0_w, p0_stddev_w, watts_per_cpu, cpus, noise_ratio }, mean_w)
    }

    /// The table; of the size that the meter shows where it is far off.
    fn table(&self, beforehand: Beforehand, mean_w: f64, busy: f64) -> Table {
        let given = |watts: Option<Watts>| watts.map(|watts| watts.0).filter(|watts| *watts > 0.0);
        let watts_per_cpu = given(beforehand.per_cpu);
        let table = Table {
            p0_w: given(beforehand.idle),
            watts_per_cpu: watts_per_cpu.unwrap_or(mean_w / beforehand.cpus()),
            other_p0_w: None,
        };
        let ratio = mean_w / table.watts(busy);
        let (Some(p0_w), Some(_)) = (table.p0_w, watts_per_cpu) else { return table };
        if (1.0 / TABLE_RATIO_MAX..=TABLE_RATIO_MAX).contains(&ratio) {
            return table;
        }
        // No window can have drawn less than idle power.
        let ratios = self.seen.iter().map(|(watts, busy)| watts / table.watts(*busy));
        let least = ratios.fold(f64::INFINITY, f64::min).max(1e-3 * ratio);
        let in_proportion_w = least * p0_w;
        let (p0_w, watts_per_cpu) = self.line(mean_w, in_proportion_w, ratio * table.watts_per_cpu);
        Table { p0_w: Some(p0_w), watts_per_cpu, other_p0_w: Some(in_proportion_w) }
    }

    /// Idle power and watts per CPU by the windows, as far as their use differs: a Bayesian regression on a line that is
    /// believed to half of itself beforehand, as members believe it.
    fn line(&self, mean_w: f64, p0_w: f64, watts_per_cpu: f64) -> (f64, f64) {
        let (of_p0, of_slope) = ((0.5 * p0_w).powi(-2), (0.5 * watts_per_cpu).powi(-2));
        let weight = (LINE_NOISE_RATIO * mean_w).powi(-2);
        let (mut ones, mut uses, mut squares) = (of_p0, 0.0, of_slope);
        let (mut powers, mut products) = (of_p0 * p0_w, of_slope * watts_per_cpu);
        for (watts, busy) in self.seen {
            ones += weight;
            uses += weight * busy;
            squares += weight * busy * busy;
            powers += weight * watts;
            products += weight * watts * busy;
        }
        let determinant = ones * squares - uses * uses;
        let line = (
            (squares * powers - uses * products) / determinant,
            (ones * products - uses * powers) / determinant,
        );
        if !(line.0.is_finite() && line.1.is_finite()) {
            return (p0_w, watts_per_cpu);
        }
        // A bent line can cross zero; what was believed is not forgotten altogether.
        (line.0.max(LINE_MIN_RATIO * p0_w), line.1.max(LINE_MIN_RATIO * watts_per_cpu))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Bank;
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
        for (joules, p0_w) in [(20.0, 10.0), (36.0, 10.0), (100.0, 50.0), (5.0, 2.5)] {
            let found_w = prior_of(joules).unwrap();
            assert!((found_w - p0_w).abs() < 1e-6, "{joules} W: {found_w}, not {p0_w}");
        }
    }

    /// Near idle at first, then something starts that draws ten times what others do, so that a line through the first
    /// windows has its start below nothing, and the mean is more than twice what the table says.
    #[test]
    fn a_dear_workload_that_starts_is_no_idle_power() {
        let (idle_w, dear_w) = (6.0, 100.0);
        let mut bank = Bank::new(Beforehand { cpus: 2, idle: Some(Watts(8.0)), per_cpu: Some(Watts(9.0)) });
        let [usual, dear] = [1, 2].map(|id| WorkloadKey::cgroup(CgroupId(id)));
        let mut last = None;
        for second in 0..300 {
            let jitter = |place: u32| 0.9 + 0.02 * f64::from((second * 7 + place * 5) % 11);
            let other = jitter(1) * if second / 23 % 2 == 0 { 0.06 } else { 0.3 };
            let of_dear = jitter(2) * if second < 3 || (100..130).contains(&second) { 0.03 } else { 0.31 };
            let rows = [(usual, other), (dear, of_dear)];
            let watts = |key: WorkloadKey| if key == dear { dear_w } else { 9.0 };
            let joules = idle_w + rows.iter().map(|(key, cpu_s)| watts(*key) * cpu_s).sum::<f64>();
            let seen = Observation { seconds: 1.0, joules, wake_ratio: Some(0.4), rows: &rows, events: &[] };
            let Some(power) = bank.observe(&seen) else { continue };
            let sigmas = (power.p0.0 - idle_w).abs() / power.stddev.0;
            assert!(sigmas < 2.5, "{power:?}, {sigmas} away from {idle_w} W after {second} s");
            last = Some(power);
        }
        let power = last.unwrap();
        assert!((power.p0.0 / idle_w - 1.0).abs() < 0.1 && power.identified, "{power:?}");
    }
}
