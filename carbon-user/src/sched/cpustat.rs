//! Rung 3: the cgroups' `cpu.stat` files, or `cpuacct.usage` in version 1, where BPF may not be loaded.
//!
//! `usage_usec` of a cgroup holds its descendants', so its own is that less its children's; the time of a cgroup
//! that was removed stays with its parent. The files do not split by CPU: on several packages a cgroup's time is
//! split as the machine's was. A run gets a cgroup of its own, the only rung on which a process is moved.

use super::cgroup_tree::CgroupTree;
use super::procstat::{Outside, ProcStat};
use super::usage_files::{FileUsage, UsageFiles};
use super::{Accounting, Limits, Rung, Runs, SchedError};
use crate::clock;
use crate::sysroot::SysRoot;
use crate::topology::Topology;
use crate::units::{CgroupId, CpuNanos};
use crate::window::{Accounts, SchedSnapshot, Usage, WorkloadKey};
use std::collections::HashMap;

/// What is kept of it.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// With those below it.
    usec: u64,
    /// What it gained itself: less what those below it gained, each read a moment before or after it.
    own_usec: i64,
    /// The most that this was.
    told_usec: i64,
}

/// The rung.
#[derive(Debug)]
pub struct CpuStat {
    root: SysRoot,
    files: UsageFiles,
    tree: CgroupTree,
    package_of: Vec<usize>,
    packages: usize,
    outside: Outside,
    last: ProcStat,
    seen: HashMap<CgroupId, Seen>,
    totals: HashMap<CgroupId, Vec<CpuNanos>>,
}

impl CpuStat {
    /// Finds the hierarchy and takes the first look.
    pub fn open(root: &SysRoot, topology: &Topology, limits: Limits) -> Result<Self, SchedError> {
        let files = UsageFiles::find(root, limits.hierarchy)?;
        let begin = ProcStat::read(root)?;
        let mut this = Self {
            root: root.clone(),
            tree: CgroupTree::new(root, files.mount().clone()),
            files,
            package_of: topology.package_of.iter().map(|package| usize::from(package.0)).collect(),
            packages: topology.packages,
            last: begin.clone(),
            outside: Outside::new(begin, clock::monotonic_ns()),
            seen: HashMap::new(),
            totals: HashMap::new(),
        };
        let files = this.read()?;
        let seen =
            |(cgroup, file): (CgroupId, FileUsage)| (cgroup, Seen { usec: file.usec, ..Seen::default() });
        this.seen = files.into_iter().map(seen).collect();
        Ok(this)
    }

    /// Goes on from what another program of the same boot read: the first snapshot has the time since then. A cgroup that
    /// was made since then has all of its time in it; that of a removed one is its parent's. The split by package is that
    /// of the machine since it booted.
    pub fn since(
        root: &SysRoot,
        topology: &Topology,
        limits: Limits,
        earlier: &[(CgroupId, u64)],
    ) -> Result<Self, SchedError> {
        let mut this = Self::open(root, topology, limits)?;
        let seen = |(cgroup, usec): &(CgroupId, u64)| (*cgroup, Seen { usec: *usec, ..Seen::default() });
        this.seen = earlier.iter().map(seen).collect();
        this.last = ProcStat::default();
        Ok(this)
    }

    /// Every cgroup's time with that of those below it.
    fn read(&mut self) -> Result<HashMap<CgroupId, FileUsage>, SchedError> {
        let Self { files, tree, .. } = self;
        let found = files.read(|cgroup, path| tree.names.made(cgroup, path))?;
        tree.names.keep_only(|cgroup| found.contains_key(&cgroup));
        Ok(found)
    }

    /// What each cgroup gained itself since the last look, in microseconds: what a removed one did since then is its
    /// parent's.
    fn gains(&mut self, files: &HashMap<CgroupId, FileUsage>) -> Vec<(CgroupId, u64)> {
        self.seen.retain(|cgroup, _| files.contains_key(cgroup));
        let mut gained: HashMap<CgroupId, i64> = HashMap::new();
        for (cgroup, file) in files {
            let seen = self.seen.entry(*cgroup).or_default();
            let gain = file.usec.saturating_sub(std::mem::replace(&mut seen.usec, file.usec)).cast_signed();
            *gained.entry(*cgroup).or_default() += gain;
            if let Some(parent) = file.parent {
                *gained.entry(parent).or_default() -= gain;
            }
        }
        let told = gained.into_iter().filter_map(|(cgroup, gain)| {
            let seen = self.seen.get_mut(&cgroup)?;
            seen.own_usec = seen.own_usec.saturating_add(gain);
            let more = u64::try_from(seen.own_usec.saturating_sub(seen.told_usec)).unwrap_or(0);
            seen.told_usec = seen.told_usec.max(seen.own_usec);
            Some((cgroup, more))
        });
        told.collect()
    }

    /// Adds what each cgroup gained; splits it by package as the machine's busy time was.
    fn add(&mut self, files: &HashMap<CgroupId, FileUsage>, stat: &ProcStat) {
        let mut busy = vec![0_u128; self.packages];
        for (cpu, times) in &stat.cpus {
            let before =
                self.last.cpus.iter().find(|(known, _)| known == cpu).map_or(0, |(_, times)| times.busy_ns);
            let package = self.package_of.get(*cpu).copied().unwrap_or(0);
            if let Some(busy) = busy.get_mut(package) {
                *busy += u128::from(times.busy_ns.saturating_sub(before));
            }
        }
        let all: u128 = busy.iter().sum();
        if all == 0 {
            busy = vec![1; self.packages];
        }
        let all: u128 = busy.iter().sum();
        for (cgroup, usec) in self.gains(files) {
            let gained = usec.saturating_mul(1000);
            let row = self.totals.entry(cgroup).or_insert_with(|| vec![CpuNanos::ZERO; busy.len()]);
            let mut left = gained;
            let last = busy.len().saturating_sub(1);
            for (index, (nanos, weight)) in row.iter_mut().zip(&busy).enumerate() {
                let part = u64::try_from(u128::from(gained) * weight / all).unwrap_or(0).min(left);
                let part = if index == last { left } else { part };
                *nanos += CpuNanos(part);
                left -= part;
            }
        }
        self.totals.retain(|cgroup, _| files.contains_key(cgroup));
    }
}

impl Accounting for CpuStat {
    fn rung(&self) -> Rung {
        Rung::CpuStat
    }

    fn snapshot(&mut self) -> Result<SchedSnapshot, SchedError> {
        let stat = ProcStat::read(&self.root)?;
        let files = self.read()?;
        self.add(&files, &stat);
        self.outside.update(stat.clone(), clock::monotonic_ns());
        let (idle_ns, irq_steal_ns) = (self.outside.idle_ns, self.outside.irq_steal_ns);
        self.last = stat;
        let mut usage = Usage::new(self.packages);
        for (cgroup, nanos) in &self.totals {
            let run = self.tree.book(*cgroup, nanos.iter().copied().sum());
            usage.push(WorkloadKey { run, ..WorkloadKey::cgroup(*cgroup) }, nanos);
        }
        self.tree.look();
        let accounts = Accounts { idle_ns, irq_steal_ns, ..Accounts::default() };
        Ok(SchedSnapshot { usage, accounts, awake: Vec::new() })
    }

    fn drain(&mut self) -> Result<(), SchedError> {
        self.tree.look();
        Ok(())
    }

    fn cgroup_path(&self, cgroup: CgroupId) -> Option<&str> {
        self.tree.names.path(cgroup)
    }

    fn is_removed(&self, cgroup: CgroupId) -> bool {
        self.tree.names.is_removed(cgroup)
    }

    fn runs(&mut self) -> &mut dyn Runs {
        &mut self.tree
    }
}
