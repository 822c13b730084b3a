//! Processes for the demo to measure.

use crate::sh::Stopwatch;
use anyhow::{Context as _, Result};
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

/// How long a thread works and rests in turn.
const TURN: Duration = Duration::from_millis(10);

/// Threads that keep CPUs busy for a while.
#[derive(Debug, clap::Args)]
pub(crate) struct Load {
    /// The cgroup to enter first.
    #[arg(long)]
    cgroup: PathBuf,
    /// How long.
    #[arg(long)]
    seconds: u64,
    /// How many threads.
    #[arg(long, default_value_t = 1)]
    threads: u32,
    /// Share of the time, in percent, that each thread wants to run.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=100))]
    busy_percent: u32,
}

impl Load {
    /// Enters the cgroup before any thread starts, so that all its time is booked there but for the start-up.
    pub(crate) fn run(&self) -> Result<()> {
        let procs = self.cgroup.join("cgroup.procs");
        fs::write(&procs, "0").with_context(|| format!("cannot enter {}", procs.display()))?;
        thread::scope(|scope| {
            for _ in 0..self.threads {
                scope.spawn(|| self.work());
            }
        });
        Ok(())
    }

    fn work(&self) {
        let begun = Stopwatch::start();
        let busy = TURN * self.busy_percent / 100;
        while begun.elapsed() < Duration::from_secs(self.seconds) {
            let turn = Stopwatch::start();
            while turn.elapsed() < busy {
                std::hint::spin_loop();
            }
            if busy < TURN {
                thread::sleep(TURN.saturating_sub(busy));
            }
        }
    }
}
