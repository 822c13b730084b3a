//! Processes that run already become part of a run: their entries in the map of members are written from here, and from then
//! on the kernel programs follow their forks.

use super::SchedError;
use super::tracer::Tracer;
use super::whereabouts::sees_kernel_numbers;
use crate::sysroot::SysRoot;
use crate::units::RunId;
use carbon_ebpf::{RunMember, TaskRecord, control};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;

/// Looks at a tree for what was forked while it was adopted.
const ROUNDS: usize = 4;

/// Processes of a tree that are adopted at most; what they start later is not counted here.
const TREE_MAX: usize = 16_384;

/// Tasks that an adopted process has more in the kernel's count than it has, so that a thread that began meanwhile, and was
/// not counted, does not have the entry removed too early: [`take_out_gone`](Tracer::take_out_gone) removes it.
const TASKS_KEPT: u64 = 1 << 32;

/// Processes that are looked at one by one: each takes four system calls, where a pass over all costs a row for each task of
/// the machine, busy as that may be.
const ONE_BY_ONE_MAX: usize = 64;

/// What became of a process tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Processes that are part of the run now.
    pub processes: usize,
    /// Runs that some of the tree belong to and stay in, with what descends from these.
    pub others: BTreeSet<RunId>,
}

impl Tracer {
    /// The open run that a process belongs to. An entry that an earlier process with the same id left is none.
    pub(super) fn run_of(&self, pid: u32) -> Result<Option<RunId>, SchedError> {
        let member = self.object.member(pid)?;
        let run = member.map(|member| RunId(member.run)).filter(|run| self.runs.is_open(*run));
        Ok(run.filter(|run| !self.runs.has_ended(*run, pid)))
    }

    /// Makes the tree below `first` part of `run`: of the same user, unless that is root, not in another run than
    /// `first` is, and without the process `but_for`.
    pub(super) fn adopt_tree(
        &mut self,
        run: RunId,
        first: u32,
        but_for: Option<u32>,
    ) -> Result<Adopted, SchedError> {
        let from = self.run_of(first)?;
        let mut adopted = Adopted::default();
        let mut known = BTreeSet::new();
        for _ in 0..ROUNDS {
            let mut fresh = BTreeSet::new();
            let mut others = BTreeSet::new();
            walk(&self.root, first, |pid| match self.run_of(pid) {
                _ if Some(pid) == but_for => false,
                Ok(Some(other)) if other != run && Some(other) != from => {
                    others.insert(other);
                    false
                }
                Ok(Some(other)) if other == run => true,
                Ok(_) if known.len() + fresh.len() < TREE_MAX => {
                    fresh.insert(pid);
                    true
                }
                _ => false,
            });
            adopted.others.extend(others);
            fresh.retain(|pid| !known.contains(pid));
            if fresh.is_empty() {
                break;
            }
            adopted.processes += self.enter(run, &fresh, |_, _| true)?;
            known.extend(fresh);
        }
        Ok(adopted)
    }

    /// Makes processes part of `run` that began when it is said that they did, and what descends from them.
    pub(super) fn adopt_members(&mut self, run: RunId, members: &[(u32, u64)]) -> Result<usize, SchedError> {
        let known: BTreeMap<u32, u64> = members.iter().copied().take(TREE_MAX).collect();
        let processes = known.keys().copied().collect();
        let mut adopted = self.enter(run, &processes, |pid, start_ns| known.get(&pid) == Some(&start_ns))?;
        for pid in processes {
            if self.run_of(pid)? == Some(run) {
                adopted += self.adopt_tree(run, pid, None)?.processes;
            }
        }
        Ok(adopted)
    }

    /// The same for a run that is nobody's yet: of a process that is known by its number alone, and without this one.
    pub(super) fn attach_tree(&mut self, run: RunId, first: u32) -> Result<(), SchedError> {
        if !sees_kernel_numbers(&self.root) {
            return Err(SchedError::NoSuch { what: "way from a number to a process in a pid namespace" });
        }
        match self.adopt_tree(run, first, Some(std::process::id()))?.processes {
            0 => Err(SchedError::NoSuch { what: "process of that number" }),
            _ => Ok(()),
        }
    }

    /// Writes the entries of processes that are there and wanted, by number and start; gives how many were.
    fn enter(
        &mut self,
        run: RunId,
        processes: &BTreeSet<u32>,
        wanted: impl Fn(u32, u64) -> bool,
    ) -> Result<usize, SchedError> {
        let tasks = self.tasks_of(processes)?;
        let mut starts: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        for task in &tasks {
            let (start_ns, threads) = starts.entry(task.tgid).or_default();
            *threads += 1;
            if task.tid == task.tgid {
                *start_ns = task.start_ns;
            }
        }
        starts.retain(|pid, (start_ns, _)| *start_ns > 0 && wanted(*pid, *start_ns));
        // Before the entries, after which the kernel counts too.
        let threads: u64 = starts.values().map(|(_, threads)| threads).sum();
        self.object.add_to_run(run, threads, starts.len() as u64)?;
        for task in tasks.iter().filter(|task| starts.contains_key(&task.tgid)) {
            self.runs.adopt(run, task);
        }
        for (pid, (start_ns, threads)) in &starts {
            let member = RunMember { run: run.0, tasks: TASKS_KEPT + threads, start_ns: *start_ns };
            self.object.set_member(*pid, member)?;
        }
        Ok(starts.len())
    }

    /// The tasks of some processes: of each by itself, or by a pass over all where they are many or the kernel has no other way.
    fn tasks_of(&mut self, processes: &BTreeSet<u32>) -> Result<Vec<TaskRecord>, SchedError> {
        self.object.set_control(control::EVERY_TASK, 1)?;
        let found = if processes.len() <= ONE_BY_ONE_MAX {
            self.tasks_one_by_one(processes).or_else(|error| {
                log::debug!("all tasks are looked at for those of a run: {error}");
                self.tasks_among_all(processes)
            })
        } else {
            self.tasks_among_all(processes)
        };
        self.object.set_control(control::EVERY_TASK, 0)?;
        found
    }

    fn tasks_among_all(&mut self, processes: &BTreeSet<u32>) -> Result<Vec<TaskRecord>, SchedError> {
        let mut found = Vec::new();
        self.pass_over_tasks(|task| found.extend(processes.contains(&task.tgid).then_some(*task)))?;
        Ok(found)
    }

    fn tasks_one_by_one(&mut self, processes: &BTreeSet<u32>) -> Result<Vec<TaskRecord>, SchedError> {
        let mut found = Vec::new();
        for process in processes {
            let take = |task: &TaskRecord| found.extend((task.tgid == *process).then_some(*task));
            self.pass_over_process(*process, take)?;
        }
        Ok(found)
    }

    /// Takes adopted processes out of the map of members that a look at all tasks has not seen any more.
    pub(super) fn take_out_gone(&mut self, seen: &HashSet<u32>) -> Result<(), SchedError> {
        for (run, pid, start_ns) in self.runs.passed(seen) {
            let same = |member: RunMember| (member.run, member.start_ns) == (run.0, start_ns);
            if self.object.member(pid)?.is_some_and(same) {
                self.object.remove_member(pid)?;
            }
        }
        Ok(())
    }

    /// Ends a run: its processes belong to none any more.
    pub(super) fn close_run(&mut self, run: RunId) -> Result<(), SchedError> {
        self.runs.close(run);
        if !self.runs.has_open() {
            self.object.set_control(control::RUNS, 0)?;
        }
        self.object.forget_members(run)?;
        self.object.forget_run(run)?;
        let Self { runs, names, .. } = self;
        runs.forget_closed(|cgroup| names.path(cgroup).is_some());
        Ok(())
    }
}

/// Shows a process and those that descend from it to `enter`, which says whether to go below.
fn walk(root: &SysRoot, first: u32, mut enter: impl FnMut(u32) -> bool) {
    let owner = |pid: u32| fs::metadata(root.proc.join(pid.to_string())).ok().map(|found| found.uid());
    let Some(user) = owner(first) else { return };
    let mut waiting = vec![first];
    let mut seen = BTreeSet::from([first]);
    while let Some(pid) = waiting.pop() {
        let allowed = pid == first || user == 0 || owner(pid) == Some(user);
        if allowed && enter(pid) {
            waiting.extend(children(root, pid).into_iter().filter(|child| seen.insert(*child)));
        }
    }
}

/// By `/proc/PID/task/TID/children` (`proc_tid_children(5)`), which needs `CONFIG_PROC_CHILDREN`, as distributions have it.
fn children(root: &SysRoot, pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(root.proc.join(format!("{pid}/task"))).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a tree to be walked")]
    fn a_tree_is_walked_from_parent_to_child() {
        let mut child = std::process::Command::new("sh").args(["-c", "sleep 5 & wait"]).spawn().unwrap();
        let mut seen = Vec::new();
        for _ in 0..100 {
            seen.clear();
            walk(&SysRoot::default(), child.id(), |pid| {
                seen.push(pid);
                true
            });
            if seen.len() == 2 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        assert_eq!((seen.len(), seen[0]), (2, child.id()));
        let mut first_only = 0;
        walk(&SysRoot::default(), child.id(), |_| {
            first_only += 1;
            false
        });
        assert_eq!(first_only, 1);
        let sleeper = i32::try_from(seen[1]).unwrap();
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(sleeper).unwrap(),
            rustix::process::Signal::KILL,
        )
        .unwrap();
        child.wait().unwrap();
    }
}
