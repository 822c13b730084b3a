//! Rung 3: the cgroups' `cpu.stat` files, or `cpuacct.usage` in version 1, where BPF may not be loaded.
//!
//! `usage_usec` of a cgroup holds its descendants', so its own is that less its children's; the time of a cgroup
//! that was removed stays with its parent. The files do not split by CPU: on several packages a cgroup's time is
//! split as the machine's was. A run gets a cgroup of its own, the only rung on which a process is moved.

use super::enrol::Enrolment;
use super::hierarchy::Hierarchy;
use super::names::CgroupNames;
use super::proc::thread_group;
use super::procstat::{Outside, ProcStat};
use super::runs::{PROCESSES_MAX, ProcessTime, Processes};
use super::{Accounting, Limits, Rung, SchedError};
use crate::clock;
use crate::sysroot::{CgroupMount, SysRoot};
use crate::topology::Topology;
use crate::units::{CgroupId, CpuNanos, RunId};
use crate::window::{Accounts, SchedSnapshot, Usage, WorkloadKey};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Begin of the names of runs' cgroups; what follows is the run's id, with the program's process id in its upper half.
const RUN_PREFIX: &str = "carbon-run-";

/// The rung.
#[derive(Debug)]
pub struct CpuStat {
    root: SysRoot,
    mount: CgroupMount,
    names: CgroupNames,
    package_of: Vec<usize>,
    packages: usize,
    outside: Outside,
    last: ProcStat,
    /// Own time of each cgroup when it was last read, in microseconds.
    seen: HashMap<CgroupId, u64>,
    totals: HashMap<CgroupId, Vec<CpuNanos>>,
    runs: Vec<RunCgroup>,
}

/// A run's own cgroup; removed when it is dropped, if it is empty by then.
#[derive(Debug)]
struct RunCgroup {
    run: RunId,
    cgroup: CgroupId,
    path: PathBuf,
    processes: HashMap<u32, ProcessTime>,
}

impl Drop for RunCgroup {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.path) {
            log::warn!(
                "cannot remove {}: {error}; remove it when its processes have gone",
                self.path.display()
            );
        }
    }
}

impl CpuStat {
    /// Finds the hierarchy and takes the first look.
    pub fn open(root: &SysRoot, topology: &Topology, limits: Limits) -> Result<Self, SchedError> {
        let mount = Hierarchy::choose(root, limits.hierarchy)?.mount;
        usage_usec(&mount.path).map_err(|source| SchedError::Read {
            path: mount.path.join("cpu.stat").display().to_string(),
            source,
        })?;
        let begin = ProcStat::read(root)?;
        let mut this = Self {
            root: root.clone(),
            mount,
            names: CgroupNames::default(),
            package_of: topology.package_of.iter().map(|package| usize::from(package.0)).collect(),
            packages: topology.packages,
            last: begin.clone(),
            outside: Outside::new(begin, clock::monotonic_ns()),
            seen: HashMap::new(),
            totals: HashMap::new(),
            runs: Vec::new(),
        };
        this.seen = this.read()?;
        Ok(this)
    }

    /// Own time of every cgroup, in microseconds.
    fn read(&mut self) -> Result<HashMap<CgroupId, u64>, SchedError> {
        let mut own = HashMap::new();
        let top = self.mount.path.clone();
        let prefix = self.mount.root.trim_end_matches('/').to_owned();
        self.read_below(&top, &prefix, &mut own);
        if own.is_empty() {
            let source = io::Error::from(io::ErrorKind::NotFound);
            return Err(SchedError::Read { path: top.join("cpu.stat").display().to_string(), source });
        }
        Ok(own)
    }

    /// Reads a directory and those below it; returns its inclusive time. One that vanishes meanwhile is no error:
    /// its time is in its parent.
    fn read_below(&mut self, directory: &Path, path: &str, own: &mut HashMap<CgroupId, u64>) -> u64 {
        // Children first: what they gain before their parent is read is not lost but counted to the parent.
        let mut below = 0_u64;
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let child = format!("{path}/{}", entry.file_name().to_string_lossy());
                below = below.saturating_add(self.read_below(&entry.path(), &child, own));
            }
        }
        let (Ok(usage), Ok(metadata)) = (usage_usec(directory), fs::metadata(directory)) else {
            return below;
        };
        let cgroup = CgroupId(metadata.ino());
        self.names.made(cgroup, if path.is_empty() { "/" } else { path });
        own.insert(cgroup, usage.saturating_sub(below));
        usage
    }

    /// The run that a cgroup belongs to: its own, or one below that its processes made.
    fn run_of(&self, cgroup: CgroupId) -> Option<RunId> {
        self.runs.iter().find(|run| run.holds(&self.names, cgroup)).map(|run| run.run)
    }

    /// Adds what each cgroup gained; splits it by package as the machine's busy time was.
    fn add(&mut self, own: HashMap<CgroupId, u64>, stat: &ProcStat) {
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
        for (cgroup, usec) in &own {
            let gained =
                usec.saturating_sub(self.seen.get(cgroup).copied().unwrap_or(0)).saturating_mul(1000);
            let row = self.totals.entry(*cgroup).or_insert_with(|| vec![CpuNanos::ZERO; busy.len()]);
            let mut left = gained;
            let last = busy.len().saturating_sub(1);
            for (index, (nanos, weight)) in row.iter_mut().zip(&busy).enumerate() {
                let part = u64::try_from(u128::from(gained) * weight / all).unwrap_or(0).min(left);
                let part = if index == last { left } else { part };
                *nanos += CpuNanos(part);
                left -= part;
            }
        }
        self.totals.retain(|cgroup, _| own.contains_key(cgroup));
        for gone in self.seen.keys().filter(|cgroup| !own.contains_key(cgroup)) {
            self.names.gone(*gone);
        }
        // A parent that inherits a removed child's time must not lose it again: its own only grows.
        self.seen = own;
    }
}

impl Accounting for CpuStat {
    fn rung(&self) -> Rung {
        Rung::CpuStat
    }

    fn snapshot(&mut self) -> Result<SchedSnapshot, SchedError> {
        let stat = ProcStat::read(&self.root)?;
        let own = self.read()?;
        self.add(own, &stat);
        self.outside.update(stat.clone(), clock::monotonic_ns());
        let (idle_ns, irq_steal_ns) = (self.outside.idle_ns, self.outside.irq_steal_ns);
        self.last = stat;
        let mut usage = Usage::new(self.packages);
        for (cgroup, nanos) in &self.totals {
            let run = self.run_of(*cgroup);
            usage.push(WorkloadKey { run, ..WorkloadKey::cgroup(*cgroup) }, nanos);
        }
        for run in &mut self.runs {
            run.look(&self.root);
        }
        let accounts = Accounts { idle_ns, irq_steal_ns, ..Accounts::default() };
        Ok(SchedSnapshot { usage, accounts, awake: Vec::new() })
    }

    fn drain(&mut self) -> Result<(), SchedError> {
        for run in &mut self.runs {
            run.look(&self.root);
        }
        Ok(())
    }

    fn cgroup_path(&self, cgroup: CgroupId) -> Option<&str> {
        self.names.path(cgroup)
    }

    fn open_run(&mut self, run: RunId) -> Result<Enrolment, SchedError> {
        let own = self
            .root
            .read_proc("self/cgroup")
            .ok()
            .and_then(|text| own_path(&text, self.mount.v1.is_some()))
            .ok_or(SchedError::NoSuch { what: "entry of the hierarchy in /proc/self/cgroup" })?;
        let parent = self.mount.path.join(own);
        sweep(&self.root, &parent);
        let path = parent.join(format!("{RUN_PREFIX}{}", run.0));
        let failed = |source| SchedError::Call { call: "making a cgroup for the run", source };
        fs::create_dir(&path).map_err(failed)?;
        let metadata = fs::metadata(&path).map_err(failed)?;
        let cgroup = CgroupId(metadata.ino());
        let below = path.strip_prefix(&self.mount.path).unwrap_or(&path).display().to_string();
        self.names.made(cgroup, &format!("{}/{below}", self.mount.root.trim_end_matches('/')));
        self.runs.push(RunCgroup { run, cgroup, path: path.clone(), processes: HashMap::new() });
        let procs = fs::OpenOptions::new().write(true).open(path.join("cgroup.procs")).map_err(failed)?;
        Ok(Enrolment::Cgroup { procs: procs.into() })
    }

    fn run_started(&mut self, _run: RunId, _pid: u32) {}

    fn run_alive(&mut self, run: RunId) -> Result<u64, SchedError> {
        let Some(run) = self.runs.iter().find(|open| open.run == run) else { return Ok(0) };
        // Zombies do not count here, and cgroups below do. Version 1 has no such file.
        let Ok(events) = fs::read_to_string(run.path.join("cgroup.events")) else {
            return Ok(run.pids().len() as u64);
        };
        Ok(if events.lines().any(|line| line == "populated 1") {
            (run.pids().len() as u64).max(1)
        } else {
            0
        })
    }

    fn run_settled(&mut self, _run: RunId) -> Result<bool, SchedError> {
        Ok(true)
    }

    fn run_processes(&self, run: RunId) -> Processes {
        let Some(run) = self.runs.iter().find(|open| open.run == run) else { return Processes::default() };
        let listed: Vec<ProcessTime> = run.processes.values().cloned().collect();
        let known: CpuNanos = listed.iter().map(|process| process.cpu).sum();
        let own = self.totals.iter().filter(|(cgroup, _)| run.holds(&self.names, **cgroup));
        let all: CpuNanos = own.flat_map(|(_, nanos)| nanos).copied().sum();
        // Processes that came and went between two looks are known by their sum only.
        let other_cpu = all.saturating_sub(known);
        Processes { listed, other_count: 0, other_cpu }
    }
}

impl RunCgroup {
    fn holds(&self, names: &CgroupNames, cgroup: CgroupId) -> bool {
        let below = || {
            let rest = names.path(cgroup)?.strip_prefix(names.path(self.cgroup)?)?;
            Some(rest.starts_with('/'))
        };
        cgroup == self.cgroup || below().unwrap_or(false)
    }

    fn pids(&self) -> Vec<u32> {
        let mut pids = Vec::new();
        for directory in tree(&self.path) {
            let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
        }
        pids
    }

    fn look(&mut self, root: &SysRoot) {
        for pid in self.pids() {
            let known = self.processes.contains_key(&pid) || self.processes.len() < PROCESSES_MAX;
            if let Some(group) = thread_group(root, pid).filter(|_| known) {
                self.processes.insert(pid, ProcessTime { pid, comm: group.comm, cpu: group.cpu });
            }
        }
    }
}

/// A directory and all below it, each before what is in it.
fn tree(directory: &Path) -> Vec<PathBuf> {
    let mut found = vec![directory.to_owned()];
    let mut next = 0;
    while let Some(directory) = found.get(next).cloned() {
        next += 1;
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        found.extend(folders.map(|entry| entry.path()));
    }
    found
}

fn remove_tree(directory: &Path) -> io::Result<()> {
    tree(directory).iter().rev().try_for_each(fs::remove_dir)
}

/// Removes the cgroups of runs whose program was killed before it could: those that are empty and whose process, by
/// the number in their name, is no more.
fn sweep(root: &SysRoot, parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let run = name.to_str().and_then(|name| name.strip_prefix(RUN_PREFIX)?.parse::<u64>().ok());
        if run.is_some_and(|run| !root.proc.join((run >> 32).to_string()).exists())
            && let Err(error) = remove_tree(&entry.path())
        {
            log::debug!("{} stays: {error}", entry.path().display());
        }
    }
}

/// This process's path in the hierarchy, without the slash at its begin: lines of `/proc/self/cgroup` are
/// `id:controllers:path`, with no controllers for cgroup2.
fn own_path(text: &str, cpuacct: bool) -> Option<String> {
    text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let wanted = if cpuacct {
            controllers.split(',').any(|name| name == "cpuacct")
        } else {
            controllers.is_empty()
        };
        wanted.then(|| path.trim_start_matches('/').to_owned())
    })
}

/// Time of the cgroup and its descendants: first line of `cpu.stat`, or `cpuacct.usage` in version 1, in nanoseconds.
fn usage_usec(directory: &Path) -> io::Result<u64> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "no usage in it");
    if let Ok(text) = fs::read_to_string(directory.join("cpuacct.usage")) {
        return text.trim().parse::<u64>().map(|nanos| nanos / 1000).map_err(|_| invalid());
    }
    let text = fs::read_to_string(directory.join("cpu.stat"))?;
    let usage = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
    usage.and_then(|number| number.trim().parse().ok()).ok_or_else(invalid)
}
