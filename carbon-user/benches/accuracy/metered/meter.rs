//! A powercap tree of plain files, and what is true of it.
//!
//! A thread looks at the kernel's own figures every few milliseconds and adds up energy: CPU seconds of each workload
//! (`usage_usec` of its cgroup's cpu.stat) times its hidden watts, all other CPU time of the package's CPUs (time that is
//! not idle in /proc/stat, less the workloads') times those of all others, idle power, and what the mode adds. The sum is
//! what `energy_uj` shows until the next look, so a reading is late by up to one step.

use super::load::{Workloads, socket_of};
use crate::random::Random;
use anyhow::{Context, Result, anyhow};
use carbon_user::clock;
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

/// Workloads; all others follow them in each row.
pub(super) const WORKLOADS: usize = 4;
/// Place of all others.
pub(super) const OTHER: usize = WORKLOADS;

/// Hidden watts per CPU of the workloads and of all others: 0.35 to 1.75 times the mean of the four.
const WATTS: [f64; WORKLOADS + 1] = [40.0, 12.0, 60.0, 25.0, 25.0];
/// The same in the second half of a run, in the mode `phase`.
const WATTS_LATER: [f64; WORKLOADS + 1] = [15.0, 12.0, 60.0, 55.0, 25.0];
/// Idle power of all packages together.
const IDLE_W: f64 = 60.0;
/// While any CPU of a package is busy, of all packages together.
const WAKE_W: f64 = 48.0;
/// Static power grows by this part of idle power with full heat, which follows use by this lag.
const THERMAL: (f64, f64) = (0.25, 30.0);
/// Standard deviation of the counter's growth, drawn anew once a second.
const NOISE_RATIO: f64 = 0.01;
/// Of the counters.
const RANGE_UJ: u64 = 262_143_328_850;
/// The same in the mode `wraps`: reached in about 15 seconds, and still more than a package may draw in a window.
const SHORT_RANGE_UJ: u64 = 2_000_000_000;
/// Between two looks: a tick, which is how often CPU time of a running task is brought up to date.
const STEP: Duration = Duration::from_millis(4);
/// Of a counter in its file, so that each step is written over the one before and no reader sees half of it.
const DIGITS: usize = 14;

/// What a meter does.
pub(super) struct Mode {
    pub(super) name: &'static str,
    pub(super) sockets: usize,
    /// Whether there is a zone of memory beside that of the cores: on Intel's servers, not on AMD's.
    memory: bool,
    range_uj: u64,
    beside: Beside,
}

/// What is true beside CPU seconds times watts, and idle power.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beside {
    Nothing,
    Noise,
    Phase,
    Wake,
    Thermal,
}

const BASE: Mode =
    Mode { name: "base", sockets: 1, memory: true, range_uj: RANGE_UJ, beside: Beside::Nothing };

/// All of them.
pub(super) const MODES: [Mode; 8] = [
    BASE,
    Mode { name: "noise", beside: Beside::Noise, ..BASE },
    Mode { name: "phase", beside: Beside::Phase, ..BASE },
    Mode { name: "wake", beside: Beside::Wake, ..BASE },
    Mode { name: "thermal", beside: Beside::Thermal, ..BASE },
    Mode { name: "two-socket", sockets: 2, ..BASE },
    Mode { name: "amd", memory: false, ..BASE },
    Mode { name: "wraps", range_uj: SHORT_RANGE_UJ, ..BASE },
];

/// What is true, in words.
pub(super) fn description() -> String {
    format!(
        "**What the truth is.** A model, not silicon: CPU seconds that the kernel counts (cpu.stat) times hidden watts. Four \
         workloads of {:?} W per CPU, everything else on the machine {} W per CPU, idle power {IDLE_W} W. *noise*: 1 % of each \
         second. *phase*: the first and the last workload change to {} and {} W per CPU half-way. *wake*: {WAKE_W} W while any \
         CPU is busy (CPU seconds summed within 4 ms, so too long where CPUs overlap), in proportion to own watts x CPU seconds of \
         the window. \
         *thermal*: static power up to {:.0} % higher with use, which it follows by {} s; it counts as static. *two-socket*: \
         half of the CPUs each, workloads kept on theirs. *amd*: no zone of memory; in all there is one of the cores inside the package. *wraps*: the counter begins anew \
         every 2 kJ. Beforehand, idle power is believed to be 0.8 and watts per CPU 1.2 times the truth.",
        &WATTS[..WORKLOADS],
        WATTS[OTHER],
        WATTS_LATER[0],
        WATTS_LATER[3],
        100.0 * THERMAL.0,
        THERMAL.1
    )
}

/// True idle power and mean watts per CPU of a package.
pub(super) fn beliefs(sockets: usize) -> (f64, f64) {
    (IDLE_W / sockets as f64, WATTS[..WORKLOADS].iter().sum::<f64>() / WORKLOADS as f64)
}

/// Joules of a package since the start.
#[derive(Clone, Debug, Default)]
pub(super) struct Energy {
    /// Joules of own watts times CPU seconds, by workload, all others last.
    own: [f64; WORKLOADS + 1],
    /// Joules of being awake, which is common to all.
    wake: f64,
    pub(super) static_j: f64,
}

impl Energy {
    /// All, without the meter's noise.
    pub(super) fn package_j(&self) -> f64 {
        self.all_dynamic_j() + self.static_j
    }

    fn all_dynamic_j(&self) -> f64 {
        self.own.iter().sum::<f64>() + self.wake
    }

    /// Dynamic energy since `before`, by workload: what is common to all follows own watts x CPU seconds of the span.
    pub(super) fn dynamic_since(&self, before: &Self) -> [f64; WORKLOADS + 1] {
        let own: [f64; WORKLOADS + 1] = std::array::from_fn(|place| self.own[place] - before.own[place]);
        let whole: f64 = own.iter().sum();
        let common = if whole > 0.0 { (self.wake - before.wake) / whole } else { 0.0 };
        own.map(|own| own * (1.0 + common))
    }
}

/// What was true at each look.
pub(super) struct Truth {
    pub(super) sockets: usize,
    /// By time, then by package.
    looks: Vec<(u64, Vec<Energy>)>,
}

impl Truth {
    /// At an instant; between two looks in proportion to time.
    pub(super) fn at(&self, ns: u64, package: usize) -> Energy {
        let after = self.looks.partition_point(|(at, _)| *at < ns).clamp(1, self.looks.len() - 1);
        let ((before_ns, before), (after_ns, after)) = (&self.looks[after - 1], &self.looks[after]);
        let part = (ns.saturating_sub(*before_ns) as f64 / (after_ns - before_ns).max(1) as f64).min(1.0);
        let between = |before: f64, after: f64| before + (after - before) * part;
        let (before, after) = (&before[package], &after[package]);
        Energy {
            own: std::array::from_fn(|place| between(before.own[place], after.own[place])),
            wake: between(before.wake, after.wake),
            static_j: between(before.static_j, after.static_j),
        }
    }
}

/// The tree and the thread that keeps it up to date.
pub(super) struct Meter {
    directory: tempfile::TempDir,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Truth>>,
}

impl Meter {
    pub(super) fn start(mode: &'static Mode, workloads: &Workloads, seed: u64, seconds: u64) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let zones = tree(directory.path(), mode)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stats = workloads.cgroups.iter().map(|cgroup| File::open(cgroup.join("cpu.stat")));
        let stats = stats.collect::<std::io::Result<Vec<_>>>()?;
        let mut model = State::new(mode, stats, zones, seed, seconds * 500_000_000)?;
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                sleep(STEP);
                model.look()?;
            }
            Ok(Truth { sockets: mode.sockets, looks: model.looks })
        });
        Ok(Self { directory, stop, thread })
    }

    /// What stands for /sys.
    pub(super) fn sysfs(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn stop(self) -> Result<Truth> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the meter's thread panicked"))?
    }
}

/// A counter of a package, and which part of its energy it shows.
struct Zone {
    file: File,
    package: usize,
    shows: fn(&Energy) -> f64,
}

/// Makes the tree. Processors are this machine's, on as many packages as the mode wants.
fn tree(top: &Path, mode: &Mode) -> Result<Vec<Zone>> {
    for shared in ["kernel", "fs"] {
        symlink(Path::new("/sys").join(shared), top.join(shared))?;
    }
    if mode.sockets == 1 {
        symlink("/sys/devices", top.join("devices"))?;
    } else {
        let cpus = top.join("devices/system/cpu");
        fs::create_dir_all(&cpus)?;
        for list in ["online", "possible", "present"] {
            fs::copy(Path::new("/sys/devices/system/cpu").join(list), cpus.join(list))?;
        }
        for cpu in 0..std::thread::available_parallelism()?.get() {
            let topology = cpus.join(format!("cpu{cpu}/topology"));
            fs::create_dir_all(&topology)?;
            fs::write(topology.join("physical_package_id"), format!("{}\n", socket_of(cpu, mode.sockets)))?;
        }
    }
    let class = top.join("class/powercap");
    fs::create_dir_all(class.join("intel-rapl"))?;
    fs::write(class.join("intel-rapl/enabled"), "1\n")?;
    symlink("../../powercap", class.join("intel-rapl/subsystem"))?;
    let mut zones = Vec::new();
    for package in 0..mode.sockets {
        let name = format!("package-{package}");
        let mut make = |folder: String, name: &str, shows: fn(&Energy) -> f64| -> Result<()> {
            let folder = class.join(folder);
            fs::create_dir_all(&folder)?;
            fs::write(folder.join("name"), format!("{name}\n"))?;
            fs::write(folder.join("enabled"), "1\n")?;
            fs::write(folder.join("max_energy_range_uj"), format!("{}\n", mode.range_uj))?;
            let path = folder.join("energy_uj");
            fs::write(&path, format!("{:0DIGITS$}\n", 0))?;
            zones.push(Zone { file: OpenOptions::new().write(true).open(path)?, package, shows });
            Ok(())
        };
        make(format!("intel-rapl:{package}"), &name, Energy::package_j)?;
        make(format!("intel-rapl:{package}:0"), "core", Energy::all_dynamic_j)?;
        if mode.memory {
            make(format!("intel-rapl:{package}:1"), "dram", |energy| energy.package_j() / 10.0)?;
        }
    }
    Ok(zones)
}

/// What the thread carries from look to look.
struct State {
    mode: &'static Mode,
    cpu_stats: Vec<File>,
    proc_stat: File,
    zones: Vec<Zone>,
    random: Random,
    begun_ns: u64,
    last_ns: u64,
    used_s: [f64; WORKLOADS],
    busy_s: Vec<f64>,
    /// Of others, which must not fall: the kernel's figures are read one after the other.
    other_s: Vec<f64>,
    heat: Vec<f64>,
    noise: Vec<(f64, f64)>,
    noise_second: u64,
    looks: Vec<(u64, Vec<Energy>)>,
    buffer: Vec<u8>,
    /// When the watts change, in the mode that does that.
    half_ns: u64,
}

impl State {
    fn new(
        mode: &'static Mode,
        cpu_stats: Vec<File>,
        zones: Vec<Zone>,
        seed: u64,
        half_ns: u64,
    ) -> Result<Self> {
        let now = clock::monotonic_ns();
        let mut this = Self {
            mode,
            cpu_stats,
            proc_stat: File::open("/proc/stat")?,
            zones,
            random: Random::new(seed),
            begun_ns: now,
            last_ns: now,
            used_s: [0.0; WORKLOADS],
            busy_s: vec![0.0; mode.sockets],
            other_s: vec![0.0; mode.sockets],
            heat: vec![0.0; mode.sockets],
            noise: vec![(0.0, 0.0); mode.sockets],
            noise_second: 0,
            looks: vec![(now, vec![Energy::default(); mode.sockets])],
            buffer: vec![0; 1 << 16],
            half_ns: now + half_ns,
        };
        this.used_s = this.used()?;
        this.busy_s = this.busy(now)?;
        Ok(this)
    }

    /// CPU seconds of each workload.
    fn used(&mut self) -> Result<[f64; WORKLOADS]> {
        let mut used = [0.0; WORKLOADS];
        for (used, file) in used.iter_mut().zip(&self.cpu_stats) {
            let length = file.read_at(&mut self.buffer, 0)?;
            let text = std::str::from_utf8(&self.buffer[..length])?;
            let micros = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
            *used =
                micros.and_then(|micros| micros.parse::<f64>().ok()).context("cpu.stat has no usage_usec")?
                    / 1e6;
        }
        Ok(used)
    }

    /// Seconds that the CPUs of each package have not been idle since the start: wall time less idle, waiting for disks, and
    /// what the hypervisor took.
    fn busy(&mut self, now_ns: u64) -> Result<Vec<f64>> {
        let length = self.proc_stat.read_at(&mut self.buffer, 0)?;
        let text = std::str::from_utf8(&self.buffer[..length])?;
        let mut busy = vec![0.0; self.mode.sockets];
        for line in text.lines().skip(1).map_while(|line| line.strip_prefix("cpu")) {
            let mut words = line.split_ascii_whitespace();
            let cpu: usize = words.next().context("a CPU without a number")?.parse()?;
            let ticks: Vec<f64> = words.map(str::parse).collect::<Result<_, _>>()?;
            let away = ticks[3] + ticks[4] + ticks.get(7).copied().unwrap_or(0.0);
            busy[socket_of(cpu, self.mode.sockets)] += now_ns as f64 / 1e9 - away / 100.0;
        }
        Ok(busy)
    }

    fn look(&mut self) -> Result<()> {
        let used = self.used()?;
        let now = clock::monotonic_ns();
        let busy = self.busy(now)?;
        let seconds = (now - self.last_ns) as f64 / 1e9;
        let later = self.mode.beside == Beside::Phase && now > self.half_ns;
        let watts = if later { WATTS_LATER } else { WATTS };
        let mut energies = self.looks.last().map(|(_, energies)| energies.clone()).context("a first look")?;
        let sockets = self.mode.sockets;
        for (package, energy) in energies.iter_mut().enumerate() {
            let own = |place: &usize| socket_of(*place, sockets) == package;
            let mut grown = [0.0; WORKLOADS + 1];
            for place in (0..WORKLOADS).filter(own) {
                grown[place] = used[place] - self.used_s[place];
            }
            let known: f64 = grown.iter().sum();
            // Of one look more or less than of the other: what is owed is made good by the next.
            self.other_s[package] += busy[package] - self.busy_s[package] - known;
            grown[OTHER] = self.other_s[package].max(0.0);
            self.other_s[package] -= grown[OTHER];
            let all: f64 = grown.iter().sum();
            for ((joules, watts), grown) in energy.own.iter_mut().zip(watts).zip(grown) {
                *joules += watts * grown;
            }
            if self.mode.beside == Beside::Wake {
                energy.wake += all.min(seconds) * WAKE_W / sockets as f64;
            }
            let cpus = std::thread::available_parallelism().map_or(1, usize::from) / sockets;
            let (part, lag_s) = THERMAL;
            let heat = &mut self.heat[package];
            *heat +=
                (all / seconds.max(1e-9) / cpus.max(1) as f64 - *heat) * (1.0 - (-seconds / lag_s).exp());
            let warm = if self.mode.beside == Beside::Thermal { 1.0 + part * *heat } else { 1.0 };
            energy.static_j += IDLE_W / sockets as f64 * seconds * warm;
        }
        (self.used_s, self.busy_s, self.last_ns) = (used, busy, now);
        self.looks.push((now, energies));
        self.show()
    }

    /// Writes the counters.
    fn show(&mut self) -> Result<()> {
        let [.., (_, before), (now, after)] = &self.looks[..] else { return Ok(()) };
        let second = (*now - self.begun_ns) / 1_000_000_000;
        let anew = std::mem::replace(&mut self.noise_second, second) != second;
        for (package, (factor, noise_j)) in self.noise.iter_mut().enumerate() {
            if self.mode.beside == Beside::Noise && anew {
                *factor = (self.random.normal() * NOISE_RATIO).max(-0.5);
            }
            *noise_j += *factor * (after[package].package_j() - before[package].package_j());
        }
        for zone in &self.zones {
            let joules = (zone.shows)(&after[zone.package]) + self.noise[zone.package].1;
            let shown = (joules.max(0.0) * 1e6) as u64 % self.mode.range_uj;
            zone.file.write_all_at(format!("{shown:0DIGITS$}").as_bytes(), 0)?;
        }
        Ok(())
    }
}

/// Reads all of a stream.
pub(super) fn text_of(mut stream: impl Read) -> Result<String> {
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
