//! Simulated package windows of one second with known joules per workload.
//!
//! RULE: dynamic energy of a window is split in proportion to own watts x CPU seconds; what is common (waking the
//! package, curvature, frequency) follows the same proportion. Workloads use a CPU-second at 0.4 to 1.6 times the mean
//! watts. CPU use is on and off with phases of about 30 s (10 % jitter a second) unless the scenario says otherwise. The
//! meter has noise of 0.5 % of the window, and 1 ms jitter of the instant of reading, which neighbouring windows share
//! with opposite sign.

use crate::random::Random;

/// Name and what is true in it.
pub(crate) const SCENARIOS: [(&str, &str); 20] = [
    ("additive", "P0 + sum of own watts x CPUs"),
    ("wake", "leaving package idle costs 0.8 x P0 while any CPU is busy; loads lower, so that it varies"),
    ("wake-always", "the same cost, but some CPU is nearly always busy: not to be told from idle power"),
    ("concave", "dynamic power goes with U^0.55 (the shape of public load sweeps)"),
    ("droop", "frequency, and with it power per CPU, falls linearly by 30 % to full load"),
    ("thermal", "static and dynamic power drift together by +-10 % over about 20 minutes"),
    ("changing", "each workload's own watts are drawn anew about every 60 s"),
    ("lockstep", "services of 4 replicas that rise and fall together (2 % jitter), own watts different"),
    ("saturated", "all CPUs always busy (98 %): idle power cannot be seen"),
    ("steady", "every workload constant within 3 %: neither idle power nor own watts can be seen"),
    ("bursty", "60 % long-lived workloads, and a new one about every 3 s that lives 5 to 20 s"),
    ("threads", "sibling threads: a CPU beyond half of them adds 40 % of what one of the first half does"),
    ("lagging", "the meter shows 40 % of each window's energy in the next"),
    ("unequal", "every tenth workload draws ten times the others' watts"),
    ("rising", "a workload's watts per CPU rise by up to half with its own use"),
    ("fans", "static power steps by up to 15 % about every two minutes"),
    ("noisy", "the meter has noise of 3 % and 5 ms of jitter"),
    (
        "standing",
        "the meter shows nothing in every twentieth window or so, and the energy of both in the next",
    ),
    ("outliers", "the meter shows 1.5 to 4 times the energy in 2 % of the windows"),
    ("memory", "every tenth workload draws five times the watts and slows all CPUs down by up to 30 %"),
];

/// Idle watts and watts per CPU of packages by their CPUs.
const PACKAGES: [(f64, f64, f64); 9] = [
    (1.0, 4.0, 8.0),
    (2.0, 6.0, 8.0),
    (4.0, 9.0, 9.0),
    (8.0, 17.0, 10.0),
    (16.0, 30.0, 10.0),
    (32.0, 45.0, 8.0),
    (64.0, 70.0, 5.0),
    (128.0, 110.0, 3.0),
    (256.0, 180.0, 2.5),
];

/// What to simulate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) cpus: u32,
    pub(crate) workloads: usize,
    pub(crate) seconds: usize,
    pub(crate) seed: u64,
}

/// What an agent may see, and the truth.
pub(crate) struct Node {
    pub(crate) cpus: u32,
    pub(crate) prior_p0_w: f64,
    pub(crate) prior_w_per_cpu: f64,
    pub(crate) true_p0_w: f64,
    pub(crate) window_s: f64,
    /// Length of each window; nothing where all are of `window_s`.
    pub(crate) spans_s: Vec<f64>,
    /// Metered joules per window.
    pub(crate) energy_j: Vec<f64>,
    pub(crate) wake_ratio: Vec<f64>,
    /// CPU seconds per window and workload.
    pub(crate) cpu_s: Vec<Vec<f64>>,
    /// Truth.
    pub(crate) joules: Vec<Vec<f64>>,
}

impl Node {
    /// Length of a window.
    pub(crate) fn span_s(&self, number: usize) -> f64 {
        self.spans_s.get(number).copied().unwrap_or(self.window_s)
    }

    /// The same with another idea of idle power and of watts per CPU beforehand.
    pub(crate) fn misled(self, p0_factor: f64, w_factor: f64) -> Self {
        Self {
            prior_p0_w: self.prior_p0_w * p0_factor,
            prior_w_per_cpu: self.prior_w_per_cpu * w_factor,
            ..self
        }
    }

    /// The same with `count` windows as one.
    pub(crate) fn merged(&self, count: usize) -> Self {
        let sums =
            |values: &[f64]| -> Vec<f64> { values.chunks(count).map(|part| part.iter().sum()).collect() };
        let tables = |rows: &Table| -> Table {
            let columns = rows[0].len();
            let sum = |part: &[Vec<f64>]| (0..columns).map(|k| part.iter().map(|row| row[k]).sum()).collect();
            rows.chunks(count).map(sum).collect()
        };
        Self {
            cpus: self.cpus,
            prior_p0_w: self.prior_p0_w,
            prior_w_per_cpu: self.prior_w_per_cpu,
            true_p0_w: self.true_p0_w,
            window_s: self.window_s * count as f64,
            spans_s: sums(&self.spans_s),
            energy_j: sums(&self.energy_j),
            wake_ratio: sums(&self.wake_ratio).into_iter().map(|sum| sum / count as f64).collect(),
            cpu_s: tables(&self.cpu_s),
            joules: tables(&self.joules),
        }
    }
}

struct World {
    random: Random,
    cpus: f64,
    workloads: usize,
    seconds: usize,
    mean_w: f64,
}

type Table = Vec<Vec<f64>>;

fn scale(row: &mut [f64], factor: f64) {
    for value in row {
        *value *= factor;
    }
}

impl World {
    fn own(&mut self, count: usize) -> Vec<f64> {
        (0..count).map(|_| self.mean_w * self.random.uniform(0.4, 1.6)).collect()
    }

    fn on_off(&mut self, level: f64, phase: f64) -> Table {
        let mut used = vec![vec![0.0; self.workloads]; self.seconds];
        let random = &mut self.random;
        for workload in 0..self.workloads {
            let base = random.exponential(self.cpus / self.workloads as f64 * level);
            let (mut on, mut time) = (random.unit() < 0.6, 0);
            while time < self.seconds {
                let length = (random.exponential(phase) as usize).max(1);
                let level = base * if on { random.uniform(0.3, 1.7) } else { random.uniform(0.0, 0.15) };
                for row in used.iter_mut().skip(time).take(length) {
                    row[workload] = (level * (1.0 + 0.1 * random.normal())).max(0.0);
                }
                (time, on) = (time + length, !on);
            }
        }
        used
    }

    fn steady(&mut self) -> Table {
        let mean = self.cpus / self.workloads as f64 * 0.5;
        let levels: Vec<f64> = (0..self.workloads).map(|_| self.random.exponential(mean)).collect();
        (0..self.seconds)
            .map(|_| levels.iter().map(|level| (level * (1.0 + 0.03 * self.random.normal())).abs()).collect())
            .collect()
    }

    fn lockstep(&mut self) -> Table {
        let mut used = self.on_off(0.5, 30.0);
        for row in &mut used {
            for replicas in row.chunks_mut(4) {
                let first = replicas[0];
                for used in replicas {
                    *used = (first * (1.0 + 0.02 * self.random.normal())).max(0.0);
                }
            }
        }
        used
    }

    /// Rarely more than a few CPUs, with long common pauses, as on a batch or edge node.
    fn pausing(&mut self) -> Table {
        let mut used = self.on_off(0.5, 20.0);
        let open: Vec<bool> = (0..=self.seconds / 15).map(|_| self.random.unit() < 0.5).collect();
        for (second, row) in used.iter_mut().enumerate() {
            let pause = self.random.uniform(0.0, 0.06);
            let factor = if open[second / 15] { 1.0 } else { pause };
            scale(row, factor);
        }
        used
    }

    fn bursty(&mut self) -> Table {
        self.workloads = (self.workloads * 6 / 10).max(1);
        let mut used = self.on_off(0.3, 30.0);
        let mut births = self.random.exponential(3.0);
        while births < self.seconds as f64 {
            let birth = births as usize;
            let end = birth + self.random.uniform(5.0, 20.0) as usize;
            let level = self.random.exponential(0.03 * self.cpus + 0.1);
            for (second, row) in used.iter_mut().enumerate() {
                let lives = (birth..end).contains(&second);
                row.push(if lives { level * (1.0 + 0.1 * self.random.normal()).abs() } else { 0.0 });
            }
            births += self.random.exponential(3.0);
        }
        used
    }

    fn fit(&self, used: &mut Table, always: bool) {
        for row in used {
            let whole = row.iter().sum::<f64>().max(1e-9);
            let factor = if always { self.cpus * 0.98 / whole } else { (self.cpus * 0.95 / whole).min(1.0) };
            scale(row, factor);
        }
    }

    /// Own watts that are drawn anew, about every minute.
    fn redrawn(&mut self) -> Table {
        let mut watts = vec![vec![0.0; self.workloads]; self.seconds];
        for workload in 0..self.workloads {
            let mut time = 0;
            while time < self.seconds {
                let length = (self.random.exponential(60.0) as usize).max(1);
                let own = self.mean_w * self.random.uniform(0.4, 1.6);
                watts.iter_mut().skip(time).take(length).for_each(|row| row[workload] = own);
                time += length;
            }
        }
        watts
    }

    fn wake(&mut self, used: &Table, clump: f64) -> Vec<f64> {
        used.iter()
            .map(|row| {
                let share = (row.iter().sum::<f64>() / self.cpus).clamp(0.0, 0.999);
                let many = self.cpus * clump * (0.2 * self.random.normal()).exp();
                1.0 - (1.0 - share).powf(many)
            })
            .collect()
    }
}

/// Simulates a node.
pub(crate) fn simulate(name: &str, setting: Setting) -> Node {
    let near = |cpus: f64| {
        let cost = |known: f64| (known / cpus).ln().abs();
        PACKAGES.into_iter().min_by(|left, right| cost(left.0).total_cmp(&cost(right.0))).unwrap_or_default()
    };
    let (_, p0, mean_w) = near(f64::from(setting.cpus));
    let mut world = World {
        random: Random::new(setting.seed),
        cpus: f64::from(setting.cpus),
        workloads: setting.workloads,
        seconds: setting.seconds,
        mean_w,
    };
    let mut cpu_s = match name {
        "wake" => world.pausing(),
        "lockstep" => world.lockstep(),
        "steady" => world.steady(),
        "bursty" => world.bursty(),
        "threads" => world.on_off(1.0, 30.0),
        _ => world.on_off(0.5, 30.0),
    };
    world.fit(&mut cpu_s, name == "saturated");
    let mut own = world.own(cpu_s[0].len());
    if name == "unequal" || name == "memory" {
        let times = if name == "unequal" { 10.0 } else { 5.0 };
        own.iter_mut().step_by(10).for_each(|watts| *watts *= times);
    }
    let watts = if name == "changing" { world.redrawn() } else { vec![own; setting.seconds] };
    let wake_ratio = world.wake(&cpu_s, if name == "wake" { 0.5 } else { 1.0 });
    let (period, phase) = (world.random.uniform(900.0, 1500.0), world.random.unit());
    let (mut static_j, mut joules, mut fans) = (Vec::new(), Vec::new(), 1.0);
    for second in 0..setting.seconds {
        let mut row: Vec<f64> =
            cpu_s[second].iter().zip(&watts[second]).map(|(used, watts)| used * watts).collect();
        if name == "rising" {
            let usual = world.cpus / world.workloads as f64;
            for (joules, used) in row.iter_mut().zip(&cpu_s[second]) {
                *joules *= 1.0 + 0.25 * (used / usual).min(2.0);
            }
        }
        let whole = row.iter().sum::<f64>().max(1e-9);
        let busy_ratio = cpu_s[second].iter().sum::<f64>().max(1e-6) / world.cpus;
        let turn = std::f64::consts::TAU * (second as f64 / period + phase);
        let thermal = 1.0 + 0.1 * turn.sin();
        let factor = match name {
            "wake" | "wake-always" => 1.0 + 0.8 * p0 * wake_ratio[second] / whole,
            "concave" => 0.6 * busy_ratio.powf(-0.45),
            "droop" => 1.0 - 0.3 * busy_ratio,
            "thermal" => thermal,
            "threads" => (busy_ratio.min(0.5) + 0.4 * (busy_ratio - 0.5).max(0.0)) / busy_ratio,
            "memory" => {
                let heavy: f64 = cpu_s[second].iter().step_by(10).sum();
                1.0 - 0.3 * (heavy / world.cpus).min(1.0)
            }
            _ => 1.0,
        };
        scale(&mut row, factor);
        joules.push(row);
        if name == "fans" && world.random.unit() < 1.0 / 120.0 {
            fans = world.random.uniform(0.85, 1.15);
        }
        static_j.push(p0 * fans * if name == "thermal" { thermal } else { 1.0 });
    }
    let energy_j = metered(name, &static_j, &joules, &mut world.random);
    let mut of_table = Random::new(setting.seed.wrapping_add(100_003));
    Node {
        cpus: setting.cpus,
        prior_p0_w: p0 * (0.25 * of_table.normal()).exp(),
        prior_w_per_cpu: mean_w * (0.25 * of_table.normal()).exp(),
        true_p0_w: p0,
        window_s: 1.0,
        spans_s: Vec::new(),
        energy_j,
        wake_ratio,
        cpu_s,
        joules,
    }
}

/// What the meter shows of the truth.
fn metered(name: &str, static_j: &[f64], joules: &[Vec<f64>], random: &mut Random) -> Vec<f64> {
    let (noise, jitter_s) = if name == "noisy" { (0.03, 0.005) } else { (0.005, 0.001) };
    let lag = if name == "lagging" { 0.4 } else { 0.0 };
    let mut early_s = jitter_s * random.normal();
    let mut before = None;
    let mut energy_j = Vec::with_capacity(static_j.len());
    for (idle, dynamic) in static_j.iter().zip(joules) {
        let true_j = idle + dynamic.iter().sum::<f64>();
        let late_s = jitter_s * random.normal();
        let moved_s = late_s - std::mem::replace(&mut early_s, late_s);
        let seen_j = (1.0 - lag) * true_j + lag * before.replace(true_j).unwrap_or(true_j);
        energy_j.push(seen_j * (1.0 + noise * random.normal()) + true_j * moved_s);
    }
    match name {
        "standing" => {
            for window in 1..energy_j.len() {
                if random.unit() < 0.05 {
                    energy_j[window] += std::mem::take(&mut energy_j[window - 1]);
                }
            }
        }
        "outliers" => {
            for shown in &mut energy_j {
                let factor = random.uniform(1.5, 4.0);
                *shown *= if random.unit() < 0.02 { factor } else { 1.0 };
            }
        }
        _ => {}
    }
    energy_j
}
