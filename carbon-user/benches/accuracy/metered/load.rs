//! Work in cgroups: each workload is a process that is busy in bursts, more or less so, or not at all, for some seconds
//! each.

use super::meter::WORKLOADS;
use crate::random::Random;
use anyhow::{Context, Result};
use carbon_user::sysroot::SysRoot;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// A burst and the pause after it.
const PERIOD: Duration = Duration::from_millis(50);
/// Mean length of a phase.
const PHASE_S: f64 = 6.0;
/// Busy part of a phase, where there is one.
const DUTY: (f64, f64) = (0.15, 0.75);
/// Phases without work.
const OFF_RATIO: f64 = 0.35;

/// Cgroups with a process each; both are gone when it is dropped.
pub(super) struct Workloads {
    pub(super) cgroups: Vec<PathBuf>,
    ids: Vec<u64>,
    processes: Vec<Child>,
}

impl Workloads {
    /// Starts them; on several sockets each on one CPU, turn by turn.
    pub(super) fn start(sockets: usize, seed: u64) -> Result<Self> {
        let top = SysRoot::default().cgroup2()?.context("no cgroup2 hierarchy is mounted")?.path;
        let mut this = Self { cgroups: Vec::new(), ids: Vec::new(), processes: Vec::new() };
        let program = std::env::current_exe()?;
        for workload in 0..WORKLOADS {
            let cgroup = top.join(format!("carbon-accuracy-{}-{workload}", std::process::id()));
            fs::create_dir(&cgroup).with_context(|| format!("cannot make {}", cgroup.display()))?;
            this.ids.push(fs::metadata(&cgroup)?.ino());
            this.cgroups.push(cgroup.clone());
            let enter = format!("echo $$ > '{}/cgroup.procs'", cgroup.display());
            let pin = if sockets > 1 {
                format!("taskset -c {} ", socket_of(workload, sockets))
            } else {
                String::new()
            };
            let seed = seed * 100 + workload as u64;
            let script = format!("{enter} && exec {pin}'{}' --spin {seed}", program.display());
            this.processes.push(Command::new("sh").args(["-c", &script]).spawn().context("cannot start sh")?);
        }
        Ok(this)
    }

    /// Which workload a cgroup is.
    pub(super) fn place(&self, cgroup: u64) -> Option<usize> {
        self.ids.iter().position(|id| *id == cgroup)
    }
}

/// The socket, and the CPU, that a workload is kept on.
pub(super) fn socket_of(workload: usize, sockets: usize) -> usize {
    workload % sockets.max(1)
}

impl Drop for Workloads {
    fn drop(&mut self) {
        for process in &mut self.processes {
            drop(process.kill());
            drop(process.wait());
        }
        for cgroup in &self.cgroups {
            remove(cgroup);
        }
    }
}

/// The kernel may need a moment to see it empty.
fn remove(cgroup: &Path) {
    for _ in 0..500 {
        if fs::remove_dir(cgroup).is_ok() || !cgroup.exists() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    println!("cannot remove {}", cgroup.display());
}

/// Works until it is killed, or its parent has gone.
pub(crate) fn spin(seed: u64) {
    let mut random = Random::new(seed);
    let parent = rustix::process::getppid();
    while rustix::process::getppid() == parent {
        let phase = Duration::from_secs_f64(random.exponential(PHASE_S).clamp(1.0, 30.0));
        let duty = if random.unit() < OFF_RATIO { 0.0 } else { random.uniform(DUTY.0, DUTY.1) };
        let begun = Instant::now();
        while begun.elapsed() < phase {
            let burst = Instant::now();
            while burst.elapsed() < PERIOD.mul_f64(duty) {
                std::hint::spin_loop();
            }
            std::thread::sleep(PERIOD.mul_f64(1.0 - duty));
        }
    }
}
