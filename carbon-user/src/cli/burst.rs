//! Load of its own: a thread on each of some CPUs, busy for a set share of every few milliseconds, all in phase.

use super::error::CliError;
use crate::clock;
use rustix::thread::{CpuSet, sched_setaffinity};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Long against the update of a meter, short against a window, and no multiple of a tick (1, 3.3, 4 or 10 ms): what looks
/// at each tick would else see all of it or nothing.
const PERIOD_NS: u64 = 7_300_000;
/// How long a thread that has nothing to do sleeps.
const REST: Duration = Duration::from_millis(50);

/// The threads; they end when this is dropped.
#[derive(Debug)]
pub struct Bursts {
    percent: Vec<Arc<AtomicU32>>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Bursts {
    /// One thread a CPU, at rest.
    pub fn on(cpus: &[u32]) -> Result<Self, CliError> {
        let over = Arc::new(AtomicBool::new(false));
        let mut bursts = Self { percent: Vec::new(), over: Arc::clone(&over), threads: Vec::new() };
        for cpu in cpus.iter().copied() {
            let (percent, over) = (Arc::new(AtomicU32::new(0)), Arc::clone(&over));
            bursts.percent.push(Arc::clone(&percent));
            let thread = std::thread::Builder::new()
                .name(format!("carbon-burst-{cpu}"))
                .spawn(move || work(cpu, &percent, &over))
                .map_err(|source| CliError::Start { action: "start a thread", source })?;
            bursts.threads.push(thread);
        }
        Ok(bursts)
    }

    /// So many of the threads, from the first on, are busy for so many per cent of the time from now on.
    pub fn set(&self, first: usize, count: usize, percent: u32) {
        for (place, thread) in self.percent.iter().enumerate() {
            let busy = (first..first.saturating_add(count)).contains(&place);
            thread.store(if busy { percent.min(100) } else { 0 }, Ordering::Relaxed);
        }
        self.threads.iter().for_each(|thread| thread.thread().unpark());
    }
}

impl Drop for Bursts {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            thread.join().ok();
        }
    }
}

fn work(cpu: u32, percent: &AtomicU32, over: &AtomicBool) {
    let mut set = CpuSet::new();
    if let Ok(cpu) = usize::try_from(cpu) {
        set.set(cpu);
    }
    // A CPU that it may not run on, as in a container with few of them: then any will do.
    sched_setaffinity(None, &set).ok();
    while !over.load(Ordering::Relaxed) {
        let busy_ns = u64::from(percent.load(Ordering::Relaxed)) * (PERIOD_NS / 100);
        if busy_ns == 0 {
            std::thread::park_timeout(REST);
            continue;
        }
        let begun_ns = clock::monotonic_ns();
        let until_ns = begun_ns - begun_ns % PERIOD_NS + busy_ns;
        while clock::monotonic_ns() < until_ns {
            std::hint::spin_loop();
        }
        let left_ns = (begun_ns - begun_ns % PERIOD_NS + PERIOD_NS).saturating_sub(clock::monotonic_ns());
        if busy_ns < PERIOD_NS && left_ns > 0 {
            std::thread::sleep(Duration::from_nanos(left_ns));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CPU time of this process is what was asked for, where the machine has it to give: never much more.
    #[test]
    fn threads_are_busy_for_as_long_as_they_are_told() {
        let bursts = Bursts::on(&[0]).unwrap();
        let before_ns = clock::process_cpu_ns();
        bursts.set(0, 1, 40);
        std::thread::sleep(Duration::from_millis(500));
        bursts.set(0, 0, 100);
        drop(bursts);
        let used_ns = clock::process_cpu_ns() - before_ns;
        assert!(used_ns > 5_000_000, "{used_ns} ns: it did run");
    }
}
