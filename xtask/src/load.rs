//! Processes for the demo to measure, and for the bench that runs peers beside.

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
    /// Works and rests in phases of some seconds, with or without work, drawn from this seed.
    #[arg(long, conflicts_with = "busy_percent")]
    phases: Option<u64>,
}

/// Of [`Load::phases`]: mean length of a phase, the least and the most.
const PHASE_S: (f64, f64, f64) = (6.0, 1.0, 30.0);
/// Phases without work.
const OFF_RATIO: f64 = 0.35;
/// Busy part of the others.
const DUTY: (f64, f64) = (0.15, 0.75);
/// How long a thread works and rests in turn there.
const BURST: Duration = Duration::from_millis(50);

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
        let all = Duration::from_secs(self.seconds);
        let Some(seed) = self.phases else {
            return turns(all, TURN, TURN * self.busy_percent / 100);
        };
        let begun = Stopwatch::start();
        let mut random = Random(seed);
        while begun.elapsed() < all {
            let (mean, least, most) = PHASE_S;
            let phase = Duration::from_secs_f64((-random.unit().ln() * mean).clamp(least, most));
            let (low, high) = DUTY;
            let duty = if random.unit() < OFF_RATIO { 0.0 } else { low + random.unit() * (high - low) };
            turns(phase.min(all), BURST, BURST.mul_f64(duty));
        }
    }
}

/// For so long: busy for a part of each turn.
fn turns(time: Duration, turn: Duration, busy: Duration) {
    let begun = Stopwatch::start();
    while begun.elapsed() < time {
        let now = Stopwatch::start();
        while now.elapsed() < busy {
            std::hint::spin_loop();
        }
        if busy < turn {
            thread::sleep(turn.saturating_sub(busy));
        }
    }
}

/// The same numbers for the same seed: splitmix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators").
struct Random(u64);

impl Random {
    /// Above 0, at most 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits")]
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (((mixed ^ (mixed >> 31)) >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_drawn_evenly_and_the_same_for_a_seed() {
        let draw = |seed| -> Vec<f64> {
            let mut random = Random(seed);
            (0..10_000).map(|_| random.unit()).collect()
        };
        let draws = draw(1);
        assert_eq!(draws, draw(1));
        assert_ne!(draws, draw(2));
        assert!(draws.iter().all(|draw| *draw > 0.0 && *draw <= 1.0));
        // Of ten thousand, each count has a standard deviation of at most 50.
        for (part, count) in [(0.1, 1000), (0.35, 3500), (0.9, 9000)] {
            let below = draws.iter().filter(|draw| **draw < part).count();
            assert!(below.abs_diff(count) < 250, "{below} below {part}");
        }
    }
}
