//! What the soak looks at: a way of accounting against the kernel's own figures, and what a process holds.

use super::super::cpu_time;
use super::super::memory::{kernel_bytes, resident_kib};
use super::Place;
use anyhow::Result;
use carbon_user::sched::{Accounting, Limits, Rung, open};
use carbon_user::sysroot::SysRoot;
use carbon_user::topology::Topology;
use carbon_user::units::CgroupId;
use carbon_user::window::{Accounts, Class, SchedSnapshot, Usage};
use std::collections::HashMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// Allowed between a cgroup's time and cpu.stat's.
const RELATIVE: f64 = 0.001;

/// Looks at the descriptors of a process, and the time between two.
const LOOKS: u32 = 5;
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// One way of accounting from its beginning on.
pub(crate) struct Watch {
    pub(crate) rung: Rung,
    accounting: Box<dyn Accounting>,
    begun: Instant,
    first: SchedSnapshot,
    /// The kernel's figures before and after the first snapshot.
    truth: [HashMap<CgroupId, u64>; 2],
    last: Usage,
    /// Of all tasks, window by window: a cgroup that was removed leaves the table after its end was told.
    busy_ns: u64,
    /// Time of cgroups below a place that come and go.
    below_ns: HashMap<CgroupId, u64>,
    /// CPU time of each snapshot, in milliseconds.
    pub(crate) snapshots_ms: Vec<f64>,
    /// As of the last look.
    pub(crate) accounts: Accounts,
    pub(crate) errors: Vec<Error>,
    /// What all accounts together say, of the clock times the CPUs.
    pub(crate) balance: f64,
    tick_ns: f64,
}

/// A cgroup's time against cpu.stat's.
pub(crate) struct Error {
    pub(crate) name: &'static str,
    pub(crate) truth_ns: f64,
    /// Outside what the kernel said just before and just after; below zero where there is too little.
    pub(crate) off_ns: f64,
    /// It is allowed less than that.
    pub(crate) most_ns: f64,
}

impl Error {
    pub(crate) fn percent(&self) -> f64 {
        100.0 * self.off_ns / self.truth_ns.max(1.0)
    }
}

fn truth(places: &[Place]) -> Result<HashMap<CgroupId, u64>> {
    places.iter().map(|place| Ok((place.id, place.usage_us()? * 1000))).collect()
}

fn own_tasks(usage: &Usage) -> HashMap<CgroupId, u64> {
    let mut sums = HashMap::new();
    for (key, nanos) in usage.rows().filter(|(key, _)| key.class == Class::Tasks) {
        *sums.entry(key.cgroup).or_default() += nanos.iter().map(|nanos| nanos.0).sum::<u64>();
    }
    sums
}

impl Watch {
    pub(crate) fn begin(rung: Rung, places: &[Place], limits: Limits) -> Result<Self> {
        let root = SysRoot::default();
        let mut accounting = open(rung, &root, &Topology::read(&root)?, limits)?;
        // The first one fills the caches.
        accounting.snapshot()?;
        let before = truth(places)?;
        let begun = Instant::now();
        let first = accounting.snapshot()?;
        let after = truth(places)?;
        let tick = rustix::time::clock_getres(rustix::time::ClockId::MonotonicCoarse);
        Ok(Self {
            rung,
            accounting,
            begun,
            last: first.usage.clone(),
            first,
            truth: [before, after],
            busy_ns: 0,
            below_ns: HashMap::new(),
            snapshots_ms: Vec::new(),
            accounts: Accounts::default(),
            errors: Vec::new(),
            balance: 1.0,
            tick_ns: tick.tv_nsec as f64,
        })
    }

    /// A snapshot, and the comparison with the kernel's figures from the beginning on.
    pub(crate) fn look(&mut self, places: &[Place], cpus: f64) -> Result<()> {
        let before = truth(places)?;
        let start = cpu_time();
        let snapshot = self.accounting.snapshot()?;
        self.snapshots_ms.push(cpu_time().saturating_sub(start).as_secs_f64() * 1e3);
        let wall_ns = self.begun.elapsed().as_nanos() as f64 * cpus;
        let after = truth(places)?;
        let (added, _) = snapshot.usage.since(&self.last);
        self.busy_ns += added.total().0;
        self.add_below(places, &added);
        self.accounts = snapshot.accounts.since(&self.first.accounts);
        let (grown, _) = snapshot.usage.since(&self.first.usage);
        let accounts = &self.accounts;
        let outside = accounts.idle_ns + accounts.irq_steal_ns + accounts.missed_ns + accounts.overflow_ns;
        self.balance = (self.busy_ns + outside) as f64 / wall_ns;
        let grown = own_tasks(&grown);
        let [first_before, first_after] = &self.truth;
        self.errors = places
            .iter()
            .map(|place| {
                let known =
                    |figures: &HashMap<CgroupId, u64>| figures.get(&place.id).copied().unwrap_or(0) as f64;
                let least = known(&before) - known(first_after);
                let most = known(&after) - known(first_before);
                let below = self.below_ns.get(&place.id).copied().unwrap_or(0);
                let ours = (grown.get(&place.id).copied().unwrap_or(0) + below) as f64;
                let off_ns = if ours < least { ours - least } else { (ours - most).max(0.0) };
                // What the hook has not seen it says, and it may all be of one cgroup.
                let missed_ns = if self.rung == Rung::Hook { self.accounts.missed_ns as f64 } else { 0.0 };
                let slack_ns = self.tick_ns * cpus + missed_ns + self.accounts.overflow_ns as f64;
                // A task that is moved while it runs is of its old cgroup to the hook until its CPU switches.
                let exempt = place.moved && self.rung == Rung::Hook;
                let most_ns = if exempt { f64::INFINITY } else { (RELATIVE * most).max(slack_ns) };
                Error { name: place.name, truth_ns: most, off_ns, most_ns }
            })
            .collect();
        self.last = snapshot.usage;
        Ok(())
    }

    /// Adds what cgroups did that come and go below a place: each is in the snapshot once after its end.
    fn add_below(&mut self, places: &[Place], added: &Usage) {
        for place in places.iter().filter(|place| place.with_below) {
            let Some(top) = self.accounting.cgroup_path(place.id) else { continue };
            let below = format!("{top}/");
            let is_below = |id| self.accounting.cgroup_path(id).is_some_and(|path| path.starts_with(&below));
            let sum: u64 =
                own_tasks(added).into_iter().filter(|(id, _)| is_below(*id)).map(|(_, nanos)| nanos).sum();
            *self.below_ns.entry(place.id).or_default() += sum;
        }
    }

    /// The largest error of a cgroup that is held to the limit, in per cent.
    pub(crate) fn worst(&self) -> f64 {
        let held = self.errors.iter().filter(|error| error.most_ns.is_finite());
        held.map(|error| error.percent().abs()).fold(0.0, f64::max)
    }

    /// What is not as it should be.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults: Vec<String> = self
            .errors
            .iter()
            .filter(|error| error.off_ns.abs() > error.most_ns)
            .map(|error| {
                format!(
                    "{}: {} is off by {:.3} ms ({:.3} %), allowed are {:.3} ms",
                    self.rung,
                    error.name,
                    error.off_ns / 1e6,
                    error.percent(),
                    error.most_ns / 1e6
                )
            })
            .collect();
        if (self.balance - 1.0).abs() > 0.01 {
            faults.push(format!("{}: the accounts say {:.4} of the clock", self.rung, self.balance));
        }
        faults
    }
}

/// What a process holds now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) resident_kib: u64,
    /// Maps and programs.
    pub(crate) kernel_kib: u64,
    pub(crate) descriptors: u64,
}

impl Held {
    pub(crate) fn of(pid: u32) -> Result<Self> {
        Ok(Self {
            resident_kib: resident_kib(pid)?.into(),
            kernel_kib: kernel_bytes(pid)? / 1024,
            descriptors: descriptors(pid)?,
        })
    }
}

/// The least of several looks: a file that is being read at one of them is not held.
fn descriptors(pid: u32) -> Result<u64> {
    let mut least = u64::MAX;
    for _ in 0..LOOKS {
        least = least.min(fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64);
        thread::sleep(LOOK_EVERY);
    }
    Ok(least)
}
