//! Rung 4: `/proc`, where there is nothing else.
//!
//! A process that begins and ends between two looks is lost, and what a process did after the last look too:
//! *sampled*. A run is better off: what its processes used comes back to this process as they are waited for,
//! where it adopts the run's orphans, as `carbon run` then does.

use super::cgroup_tree::path_in;
use super::enrol::Enrolment;
use super::hierarchy::Hierarchy;
use super::names::CgroupNames;
use super::procstat::{Outside, ProcStat, TICK_NS};
use super::runs::{PROCESSES_MAX, ProcessTime, Processes};
use super::{Accounting, HierarchyChoice, Limits, Rung, Runs, SchedError};
use crate::clock;
use crate::sysroot::{CgroupMount, SysRoot};
use crate::topology::Topology;
use crate::units::{CgroupId, CpuNanos, RunId};
use crate::window::{Accounts, Class, SchedSnapshot, Usage, WorkloadKey};
use carbon_ebpf::PF_KTHREAD;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;

/// Ids of cgroups whose directory cannot be found begin here: far above any inode number of a cgroup.
const INVENTED: u64 = 1 << 62;

/// Cgroups above which those without a process are forgotten.
const CGROUPS_MAX: usize = 16_384;

/// The rung.
#[derive(Debug)]
pub struct Proc {
    root: SysRoot,
    mount: Option<CgroupMount>,
    names: CgroupNames,
    ids: HashMap<String, CgroupId>,
    /// The last id that was given to a cgroup without a directory.
    invented: u64,
    package_of: Vec<usize>,
    packages: usize,
    outside: Outside,
    missed_ns: u64,
    /// Its lines of /proc/PID/cgroup are those of cpuacct.
    cpuacct: bool,
    seen: HashMap<(u32, u64), CpuNanos>,
    totals: HashMap<(CgroupId, Class), Vec<CpuNanos>>,
    run: Option<Descent>,
}

/// The processes that descend from a run's first one.
#[derive(Debug)]
struct Descent {
    run: RunId,
    first: u32,
    cgroup: CgroupId,
    /// Time of children that were waited for before the run began.
    waited_before: CpuNanos,
    /// This process was attached to one that runs already: it is no part of the run itself, nor do orphans come to it.
    attached: bool,
    /// What the tree had used before, and each process of it.
    before: CpuNanos,
    before_of: HashMap<(u32, u64), CpuNanos>,
    total: CpuNanos,
    members: HashSet<u32>,
    processes: HashMap<(u32, u64), ProcessTime>,
}

/// A process as `/proc/PID/stat` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ThreadGroup {
    /// Name of its main thread.
    pub(super) comm: String,
    parent: u32,
    zombie: bool,
    pub(super) flags: u32,
    /// User and system time of all its threads, in steps of 10 ms.
    pub(super) cpu: CpuNanos,
    /// The same of its children that were waited for.
    waited: CpuNanos,
    pub(super) start: u64,
    processor: usize,
}

/// Reads a process; `None` where it has gone.
pub(super) fn thread_group(root: &SysRoot, pid: u32) -> Option<ThreadGroup> {
    parse_stat(&root.read_proc(format!("{pid}/stat")).ok()?)
}

/// Fields by proc(5): pid (comm) state ppid ... flags is the 9th, utime the 14th to cstime the 17th, starttime
/// the 22nd, processor the 39th. The name may hold anything, parentheses too.
fn parse_stat(text: &str) -> Option<ThreadGroup> {
    let (head, tail) = text.rsplit_once(')')?;
    let (_, comm) = head.split_once('(')?;
    let fields: Vec<&str> = tail.split_whitespace().collect();
    let number = |field: usize| fields.get(field.checked_sub(3)?)?.parse::<u64>().ok();
    let ticks = |first: usize| {
        Some(CpuNanos(number(first)?.checked_add(number(first + 1)?)?.saturating_mul(TICK_NS)))
    };
    Some(ThreadGroup {
        comm: comm.to_owned(),
        parent: u32::try_from(number(4)?).ok()?,
        zombie: matches!(fields.first().copied(), Some("Z" | "X")),
        flags: u32::try_from(number(9)?).ok()?,
        cpu: ticks(14)?,
        waited: ticks(16)?,
        start: number(22)?,
        processor: usize::try_from(number(39).unwrap_or(0)).unwrap_or(0),
    })
}

impl Proc {
    /// Takes the first look.
    pub fn open(root: &SysRoot, topology: &Topology, limits: Limits) -> Result<Self, SchedError> {
        // Without any tree the processes are still there.
        let hierarchy = match Hierarchy::choose(root, limits.hierarchy) {
            Err(error) if limits.hierarchy != HierarchyChoice::Auto => return Err(error),
            chosen => chosen.ok(),
        };
        let mut this = Self {
            root: root.clone(),
            cpuacct: hierarchy.as_ref().is_some_and(Hierarchy::is_cpuacct),
            mount: hierarchy.map(|hierarchy| hierarchy.mount),
            names: CgroupNames::default(),
            ids: HashMap::new(),
            invented: INVENTED,
            package_of: topology.package_of.iter().map(|package| usize::from(package.0)).collect(),
            packages: topology.packages,
            outside: Outside::new(ProcStat::read(root)?, clock::monotonic_ns()),
            missed_ns: 0,
            seen: HashMap::new(),
            totals: HashMap::new(),
            run: None,
        };
        let groups = this.read()?;
        this.seen = groups.into_iter().map(|(pid, group)| ((pid, group.start), group.cpu)).collect();
        Ok(this)
    }

    fn read(&self) -> Result<Vec<(u32, ThreadGroup)>, SchedError> {
        let entries = fs::read_dir(&self.root.proc)
            .map_err(|source| SchedError::Read { path: self.root.proc.display().to_string(), source })?;
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Ok(pids.filter_map(|pid| Some((pid, thread_group(&self.root, pid)?))).collect())
    }

    /// The cgroup of a process in the tree that is followed.
    fn cgroup_of(&mut self, pid: u32) -> CgroupId {
        let text = self.root.read_proc(format!("{pid}/cgroup")).unwrap_or_default();
        let path = path_in(&text, self.cpuacct).map_or_else(|| "/".to_owned(), |path| format!("/{path}"));
        if let Some(id) = self.ids.get(&path) {
            return *id;
        }
        let directory = self.mount.as_ref().map(|mount| mount.path.join(path.trim_start_matches('/')));
        let found = directory.and_then(|path| fs::metadata(path).ok());
        let id = found.map_or_else(
            || {
                self.invented += 1;
                self.invented
            },
            |found| found.ino(),
        );
        let id = CgroupId(id);
        self.names.made(id, &path);
        self.ids.insert(path, id);
        id
    }

    /// Forgets cgroups without a process that were reported before, so that those of years do not add up.
    fn forget_empty(&mut self, groups: &[(u32, ThreadGroup)]) {
        if self.totals.len() < CGROUPS_MAX {
            return;
        }
        let used: HashSet<CgroupId> = groups.iter().map(|(pid, _)| self.cgroup_of(*pid)).collect();
        self.totals.retain(|(cgroup, _), _| used.contains(cgroup));
        self.ids.retain(|_, cgroup| used.contains(cgroup));
        self.names.keep_only(|cgroup| used.contains(&cgroup));
    }

    fn book(&mut self, pid: u32, group: &ThreadGroup) {
        let last = self.seen.insert((pid, group.start), group.cpu).unwrap_or_default();
        let added = group.cpu.saturating_sub(last);
        if added == CpuNanos::ZERO {
            return;
        }
        let cgroup = self.cgroup_of(pid);
        let class = WorkloadKey::of_task(cgroup, group.flags & PF_KTHREAD != 0).class;
        let (packages, package) = (self.packages, self.package_of.get(group.processor).copied().unwrap_or(0));
        let row = self.totals.entry((cgroup, class)).or_insert_with(|| vec![CpuNanos::ZERO; packages]);
        if let Some(nanos) = row.get_mut(package) {
            *nanos += added;
        }
    }
}

impl Descent {
    /// Follows the tree, and adds its time up. Each ended process is in exactly one ancestor's waited time, or in
    /// that of this process, so nothing is counted twice.
    fn look(&mut self, groups: &[(u32, ThreadGroup)]) {
        let parents: HashMap<u32, u32> = groups.iter().map(|(pid, group)| (*pid, group.parent)).collect();
        self.members.retain(|pid| parents.contains_key(pid));
        if parents.contains_key(&self.first) {
            self.members.insert(self.first);
        }
        let own = std::process::id();
        loop {
            let found: Vec<u32> = parents
                .iter()
                .filter(|(pid, parent)| {
                    let orphan = **parent == own && !self.attached;
                    let itself = **pid == own && self.attached;
                    !self.members.contains(pid) && (self.members.contains(parent) || orphan) && !itself
                })
                .map(|(pid, _)| *pid)
                .collect();
            if found.is_empty() {
                break;
            }
            self.members.extend(found);
        }
        let mut total = waited_for().saturating_sub(self.waited_before);
        for (pid, group) in groups.iter().filter(|(pid, _)| self.members.contains(pid)) {
            total += group.cpu + group.waited;
            let key = (*pid, group.start);
            let before = self.before_of.get(&key).copied().unwrap_or_default();
            let cpu = group.cpu.saturating_sub(before);
            let process = ProcessTime { pid: *pid, comm: group.comm.clone(), cpu };
            // What does not fit is in the sum of the others.
            if self.processes.len() < PROCESSES_MAX || self.processes.contains_key(&key) {
                self.processes.insert(key, process);
            }
        }
        self.total = self.total.max(total.saturating_sub(self.before));
    }
}

/// CPU time of all descendants that were waited for, by getrusage(2).
#[expect(unsafe_code, reason = "getrusage has no safe wrapper among the crates used")]
fn waited_for() -> CpuNanos {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` has the size that the call fills.
    let result = unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr()) };
    if result != 0 {
        return CpuNanos::ZERO;
    }
    // SAFETY: zeroed before, and filled by the call.
    let usage = unsafe { usage.assume_init() };
    let nanos = |time: libc::timeval| {
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let micros = u64::try_from(time.tv_usec).unwrap_or(0);
        CpuNanos(seconds.saturating_mul(1_000_000_000).saturating_add(micros.saturating_mul(1000)))
    };
    nanos(usage.ru_utime) + nanos(usage.ru_stime)
}

impl Accounting for Proc {
    fn rung(&self) -> Rung {
        Rung::Proc
    }

    fn snapshot(&mut self) -> Result<SchedSnapshot, SchedError> {
        let groups = self.read()?;
        for (pid, group) in &groups {
            self.book(*pid, group);
        }
        self.forget_empty(&groups);
        let alive: HashSet<(u32, u64)> = groups.iter().map(|(pid, group)| (*pid, group.start)).collect();
        self.seen.retain(|key, _| alive.contains(key));
        let mut usage = Usage::new(self.packages);
        if let Some(descent) = &mut self.run {
            descent.look(&groups);
        }
        for ((cgroup, class), nanos) in &self.totals {
            let mut nanos = nanos.clone();
            if let Some(descent) = &self.run
                && descent.cgroup == *cgroup
                && *class == Class::Tasks
            {
                let mut inside = descent.total;
                for nanos in &mut nanos {
                    let part = inside.min(*nanos);
                    *nanos = nanos.saturating_sub(part);
                    inside = inside.saturating_sub(part);
                }
            }
            usage.push(WorkloadKey { cgroup: *cgroup, class: *class, run: None }, &nanos);
        }
        if let Some(descent) = &self.run {
            let key = WorkloadKey { run: Some(descent.run), ..WorkloadKey::cgroup(descent.cgroup) };
            usage.push(key, &[descent.total]);
        }
        self.outside.update(ProcStat::read(&self.root)?, clock::monotonic_ns());
        // What the machine did and no process is left to tell of.
        let missed_ns = self.outside.busy_ns.saturating_sub(usage.total().0);
        self.missed_ns = self.missed_ns.max(missed_ns);
        let accounts = Accounts {
            idle_ns: self.outside.idle_ns,
            irq_steal_ns: self.outside.irq_steal_ns,
            missed_ns: self.missed_ns,
            ..Accounts::default()
        };
        Ok(SchedSnapshot { usage, accounts, awake: Vec::new() })
    }

    fn drain(&mut self) -> Result<(), SchedError> {
        if self.run.is_some() {
            let groups = self.read()?;
            if let Some(descent) = &mut self.run {
                descent.look(&groups);
            }
        }
        Ok(())
    }

    fn cgroup_path(&self, cgroup: CgroupId) -> Option<&str> {
        self.names.path(cgroup)
    }

    fn runs(&mut self) -> &mut dyn Runs {
        self
    }
}

impl Runs for Proc {
    fn open(&mut self, run: RunId) -> Result<Enrolment, SchedError> {
        let cgroup = self.cgroup_of(std::process::id());
        self.run = Some(Descent {
            run,
            first: 0,
            cgroup,
            waited_before: waited_for(),
            attached: false,
            before: CpuNanos::ZERO,
            before_of: HashMap::new(),
            total: CpuNanos::ZERO,
            members: HashSet::new(),
            processes: HashMap::new(),
        });
        Ok(Enrolment::Descent)
    }

    fn started(&mut self, _run: RunId, pid: u32) {
        if let Some(descent) = &mut self.run {
            descent.first = pid;
        }
    }

    fn attach(&mut self, _run: RunId, pid: u32) -> Result<(), SchedError> {
        let groups = self.read()?;
        if !groups.iter().any(|(known, group)| *known == pid && !group.zombie) {
            return Err(SchedError::NoSuch { what: "process of that number" });
        }
        let cgroup = self.cgroup_of(pid);
        if let Some(descent) = &mut self.run {
            (descent.first, descent.cgroup, descent.attached) = (pid, cgroup, true);
            descent.look(&groups);
            descent.before = std::mem::take(&mut descent.total);
            let seen = std::mem::take(&mut descent.processes).into_iter();
            descent.before_of = seen.map(|(key, process)| (key, process.cpu)).collect();
        }
        Ok(())
    }

    fn alive(&mut self, _run: RunId) -> Result<u64, SchedError> {
        let groups = self.read()?;
        let Some(descent) = &mut self.run else { return Ok(0) };
        descent.look(&groups);
        let alive = groups.iter().filter(|(pid, group)| descent.members.contains(pid) && !group.zombie);
        Ok(alive.count() as u64)
    }

    fn processes(&self, _run: RunId) -> Processes {
        let Some(descent) = &self.run else { return Processes::default() };
        let listed: Vec<ProcessTime> = descent.processes.values().cloned().collect();
        let known: CpuNanos = listed.iter().map(|process| process.cpu).sum();
        Processes { listed, other_count: 0, other_cpu: descent.total.saturating_sub(known) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a process to attach to")]
    fn what_a_process_used_before_it_was_attached_to_is_not_the_runs() {
        let root = SysRoot::default();
        let topology = Topology::read(&root).unwrap();
        let mut proc = Proc::open(&root, &topology, Limits::default()).unwrap();
        let mut busy = std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let cpu = || thread_group(&root, busy.id()).unwrap().cpu;
        let used = |cpu: CpuNanos| {
            while thread_group(&root, busy.id()).unwrap().cpu < cpu {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        };
        used(CpuNanos(100_000_000));
        Runs::open(&mut proc, RunId(1)).unwrap();
        assert!(matches!(proc.attach(RunId(1), u32::MAX), Err(SchedError::NoSuch { .. })));
        let before = cpu();
        proc.attach(RunId(1), busy.id()).unwrap();
        used(before + CpuNanos(100_000_000));
        let seen = cpu();
        proc.snapshot().unwrap();
        let after = cpu();
        busy.kill().unwrap();
        busy.wait().unwrap();
        let processes = proc.processes(RunId(1));
        let [process] = &processes.listed[..] else { panic!("{processes:?}") };
        let descent = proc.run.as_ref().unwrap();
        assert_eq!((process.cpu, processes.other_cpu), (descent.total, CpuNanos::ZERO));
        let least = seen.saturating_sub(before).saturating_sub(CpuNanos(50_000_000));
        assert!(
            (least..=after.saturating_sub(before)).contains(&descent.total),
            "{before:?} {after:?} {descent:?}"
        );
    }

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let fields: Vec<String> = (4..=39).map(|field| field.to_string()).collect();
        let group = parse_stat(&format!("7 (a) b (c) S {}", fields.join(" "))).unwrap();
        assert_eq!(group.comm, "a) b (c");
        assert_eq!((group.parent, group.flags, group.start, group.processor), (4, 9, 22, 39));
        assert_eq!(group.cpu, CpuNanos((14 + 15) * TICK_NS));
        assert_eq!(group.waited, CpuNanos((16 + 17) * TICK_NS));
        assert_eq!(parse_stat("7 (x) S 1"), None);
    }
}
