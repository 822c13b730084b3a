//! The cgroups of a hierarchy by name, and runs on the rungs that cannot follow forks: each gets a cgroup of its own, the
//! only rungs on which a process is moved.

use super::enrol::Enrolment;
use super::names::CgroupNames;
use super::proc::thread_group;
use super::runs::{PROCESSES_MAX, ProcessTime, Processes};
use super::{Runs, SchedError};
use crate::sysroot::{CgroupMount, SysRoot};
use crate::units::{CgroupId, CpuNanos, RunId};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Begin of the names of runs' cgroups; what follows is the run's id, with the program's process id in its upper half.
const RUN_PREFIX: &str = "carbon-run-";

/// A run's own cgroup; removed when it is dropped, if it is empty by then.
#[derive(Debug)]
struct RunCgroup {
    run: RunId,
    cgroup: CgroupId,
    path: PathBuf,
    processes: HashMap<u32, ProcessTime>,
    /// Time of its cgroup and of those below it, as of the last snapshot.
    booked: HashMap<CgroupId, CpuNanos>,
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

/// The cgroups that are known, and all runs that are open.
#[derive(Debug)]
pub(super) struct CgroupTree {
    root: SysRoot,
    pub(super) mount: CgroupMount,
    pub(super) names: CgroupNames,
    runs: Vec<RunCgroup>,
}

impl CgroupTree {
    /// None yet.
    pub(super) fn new(root: &SysRoot, mount: CgroupMount) -> Self {
        Self { root: root.clone(), mount, names: CgroupNames::default(), runs: Vec::new() }
    }

    /// Learns the names of all cgroups that are there, and which of those that were have gone.
    pub(super) fn walk(&mut self) {
        let there = self.names.walk(&self.mount);
        self.names.keep_only(|cgroup| there.contains(&cgroup));
    }

    /// Takes note of a cgroup's time. Gives the run that it belongs to: its own, or one below that its processes made.
    pub(super) fn book(&mut self, cgroup: CgroupId, nanos: CpuNanos) -> Option<RunId> {
        let Self { names, runs, .. } = self;
        let run = runs.iter_mut().find(|run| run.holds(names, cgroup))?;
        run.booked.insert(cgroup, nanos);
        Some(run.run)
    }

    /// Takes note of the processes that are there.
    pub(super) fn look(&mut self) {
        for run in &mut self.runs {
            run.look(&self.root);
        }
    }
}

impl Runs for CgroupTree {
    /// Makes a cgroup for the run, below this process's own.
    fn open(&mut self, run: RunId) -> Result<Enrolment, SchedError> {
        let Self { root, mount, names, runs } = self;
        let own = root
            .read_proc("self/cgroup")
            .ok()
            .and_then(|text| path_in(&text, mount.v1.is_some()))
            .ok_or(SchedError::NoSuch { what: "entry of the hierarchy in /proc/self/cgroup" })?;
        let parent = mount.path.join(own);
        sweep(root, &parent);
        let path = parent.join(format!("{RUN_PREFIX}{}", run.0));
        let failed = |source| SchedError::Call { call: "making a cgroup for the run", source };
        fs::create_dir(&path).map_err(failed)?;
        let metadata = fs::metadata(&path).map_err(failed)?;
        let cgroup = CgroupId(metadata.ino());
        let below = path.strip_prefix(&mount.path).unwrap_or(&path).display().to_string();
        names.made(cgroup, &format!("{}/{below}", mount.root.trim_end_matches('/')));
        runs.push(RunCgroup {
            run,
            cgroup,
            path: path.clone(),
            processes: HashMap::new(),
            booked: HashMap::new(),
        });
        let procs = fs::OpenOptions::new().write(true).open(path.join("cgroup.procs")).map_err(failed)?;
        Ok(Enrolment::Cgroup { procs: procs.into() })
    }

    fn alive(&mut self, run: RunId) -> Result<u64, SchedError> {
        let Some(run) = self.runs.iter().find(|open| open.run == run) else { return Ok(0) };
        // Zombies do not count here, and cgroups below do. Version 1 has no such file.
        let Ok(events) = fs::read_to_string(run.path.join("cgroup.events")) else {
            return Ok(run.pids().len() as u64);
        };
        let populated = events.lines().any(|line| line == "populated 1");
        Ok(if populated { (run.pids().len() as u64).max(1) } else { 0 })
    }

    fn processes(&self, run: RunId) -> Processes {
        let Some(run) = self.runs.iter().find(|open| open.run == run) else { return Processes::default() };
        let listed: Vec<ProcessTime> = run.processes.values().cloned().collect();
        let known: CpuNanos = listed.iter().map(|process| process.cpu).sum();
        let all: CpuNanos = run.booked.values().copied().sum();
        // Processes that came and went between two looks are known by their sum only.
        Processes { listed, other_count: 0, other_cpu: all.saturating_sub(known) }
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

/// A process's path in the hierarchy, without the slash at its begin: lines of `/proc/PID/cgroup` are
/// `id:controllers:path`, with no controllers for cgroup2.
pub(super) fn path_in(text: &str, cpuacct: bool) -> Option<String> {
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
