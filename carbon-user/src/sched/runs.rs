//! CPU time of runs, from their tasks: each task's total when it was last seen, and its final when it is freed.
//!
//! A run's time is exact in sum. Its split by package is not: what a task added since it was last seen is booked
//! to the package of the CPU that it ran on last.

use super::records::{Record, comm};
use crate::topology::Topology;
use crate::units::{CgroupId, CpuNanos, RunId};
use carbon_ebpf::TaskRecord;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// Ended processes of a run that are kept one by one: the largest by CPU time. The rest is summed.
pub(super) const PROCESSES_MAX: usize = 16_384;

/// Calls of [`RunTracker::settle`] that a process is kept open after its main thread was freed: two windows.
const SETTLES: u64 = 4;

/// A process of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessTime {
    /// Process id, as the kernel numbers it outside any namespace.
    pub pid: u32,
    /// Name: of the program executed last, else of its main thread.
    pub comm: String,
    /// CPU time of all its threads.
    pub cpu: CpuNanos,
}

/// The processes of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Processes {
    /// Those with the most CPU time, in no order.
    pub listed: Vec<ProcessTime>,
    /// How many more there were.
    pub other_count: u64,
    /// CPU time of these.
    pub other_cpu: CpuNanos,
}

#[derive(Debug, Default)]
struct Live {
    comm: String,
    named_by_exec: bool,
    cpu: CpuNanos,
    /// When its main thread was freed, by count of [`RunTracker::settle`]. Another thread may be freed after it: each
    /// waits for a grace period of its own CPU, some milliseconds.
    gone: Option<u64>,
}

#[derive(Debug, Default)]
struct Run {
    live: HashMap<u32, Live>,
    /// Smallest first, so that the smallest makes room.
    ended: BinaryHeap<Reverse<(CpuNanos, u32, String)>>,
    other_count: u64,
    other_cpu: CpuNanos,
}

/// All runs that are open.
#[derive(Debug)]
pub(super) struct RunTracker {
    package_of: Vec<usize>,
    packages: usize,
    /// Total of a task when it was last seen, by thread id and start.
    seen: HashMap<(u32, u64), u64>,
    runs: HashMap<RunId, Run>,
    usage: HashMap<(CgroupId, RunId), Vec<CpuNanos>>,
    settled: u64,
}

impl RunTracker {
    /// For a machine with these CPUs.
    pub(super) fn new(topology: &Topology) -> Self {
        Self {
            package_of: topology.package_of.iter().map(|package| usize::from(package.0)).collect(),
            packages: topology.packages,
            seen: HashMap::new(),
            runs: HashMap::new(),
            usage: HashMap::new(),
            settled: 0,
        }
    }

    /// Whether any run is open.
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Opens a run.
    pub(super) fn open(&mut self, run: RunId) {
        self.runs.entry(run).or_default();
    }

    /// Cumulative time per cgroup and run, by package.
    pub(super) fn usage(&self) -> impl Iterator<Item = (CgroupId, RunId, &[CpuNanos])> {
        self.usage.iter().map(|((cgroup, run), nanos)| (*cgroup, *run, nanos.as_slice()))
    }

    /// Books what a task record says; records of tasks without a run are no business of this module.
    pub(super) fn observe(&mut self, record: &Record) {
        let (Record::Task(task) | Record::Freed(task) | Record::Exec(task)) = record else { return };
        let run = RunId(task.run);
        if task.run == 0 || !self.runs.contains_key(&run) {
            return;
        }
        let freed = matches!(record, Record::Freed(_));
        let added = self.added(task, freed);
        let package = self.package_of.get(usize::try_from(task.cpu).unwrap_or(0)).copied().unwrap_or(0);
        let packages = self.packages;
        let row =
            self.usage.entry((CgroupId(task.cgroup), run)).or_insert_with(|| vec![CpuNanos::ZERO; packages]);
        if let Some(nanos) = row.get_mut(package) {
            *nanos += added;
        }
        let leader = task.tid == task.tgid;
        let Some(run) = self.runs.get_mut(&run) else { return };
        let process = run.live.entry(task.tgid).or_default();
        process.cpu += added;
        let exec = matches!(record, Record::Exec(_));
        if exec || process.comm.is_empty() || (leader && !process.named_by_exec) {
            process.comm = comm(&task.comm);
            process.named_by_exec = exec;
        }
        if freed && leader {
            process.gone = Some(self.settled);
        }
    }

    /// Moves processes to the ended ones whose main thread was freed a while ago: by now the rest of them has been
    /// reported too. To be called once all reports so far have been observed.
    pub(super) fn settle(&mut self) {
        self.settled += 1;
        let now = self.settled;
        for run in self.runs.values_mut() {
            let Run { live, ended, other_count, other_cpu } = run;
            let gone = live.extract_if(|_, process| process.gone.is_some_and(|gone| gone + SETTLES <= now));
            for (pid, process) in gone {
                ended.push(Reverse((process.cpu, pid, process.comm)));
                if ended.len() > PROCESSES_MAX
                    && let Some(Reverse((cpu, _, _))) = ended.pop()
                {
                    *other_count += 1;
                    *other_cpu += cpu;
                }
            }
        }
    }

    /// CPU time that a task added since it was last seen. A total that fell (a record that overtook another one)
    /// adds nothing.
    fn added(&mut self, task: &TaskRecord, freed: bool) -> CpuNanos {
        let key = (task.tid, task.start_ns);
        let before = if freed {
            self.seen.remove(&key).unwrap_or(0)
        } else {
            let last = self.seen.entry(key).or_insert(0);
            std::mem::replace(last, task.exec_ns.max(*last))
        };
        CpuNanos(task.exec_ns.saturating_sub(before))
    }

    /// The processes of a run so far.
    pub(super) fn processes(&self, run: RunId) -> Processes {
        let Some(run) = self.runs.get(&run) else { return Processes::default() };
        let live = run.live.iter().map(|(pid, live)| ProcessTime {
            pid: *pid,
            comm: live.comm.clone(),
            cpu: live.cpu,
        });
        let ended = run.ended.iter().map(|Reverse((cpu, pid, comm))| ProcessTime {
            pid: *pid,
            comm: comm.clone(),
            cpu: *cpu,
        });
        Processes {
            listed: live.chain(ended).collect(),
            other_count: run.other_count,
            other_cpu: run.other_cpu,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::PackageId;

    fn tracker() -> RunTracker {
        let mut tracker = RunTracker::new(&Topology {
            package_of: vec![PackageId(0), PackageId(1)],
            packages: 2,
            online: vec![1, 1],
        });
        tracker.open(RunId(1));
        tracker
    }

    #[expect(clippy::similar_names, reason = "the kernel's names")]
    fn task(tid: u32, tgid: u32, exec_ns: u64, cpu: u32, name: &str) -> TaskRecord {
        let mut comm = [0; 16];
        comm[..name.len()].copy_from_slice(name.as_bytes());
        TaskRecord {
            run: 1,
            cgroup: 9,
            tid,
            tgid,
            exec_ns,
            cpu,
            start_ns: u64::from(tid),
            comm,
            ..Default::default()
        }
    }

    #[test]
    fn threads_add_up_to_their_process_and_packages_get_their_part() {
        let mut tracker = tracker();
        tracker.observe(&Record::Task(task(5, 5, 100, 0, "sh")));
        tracker.observe(&Record::Exec(task(5, 5, 150, 0, "train")));
        tracker.observe(&Record::Task(task(6, 5, 40, 1, "worker")));
        tracker.observe(&Record::Freed(task(6, 5, 70, 1, "worker")));
        tracker.observe(&Record::Freed(task(5, 5, 200, 1, "renamed")));
        let processes = tracker.processes(RunId(1)).listed;
        assert_eq!(processes, [ProcessTime { pid: 5, comm: "train".into(), cpu: CpuNanos(270) }]);
        let usage: Vec<_> = tracker.usage().collect();
        assert_eq!(usage, [(CgroupId(9), RunId(1), &[CpuNanos(150), CpuNanos(120)][..])]);
        assert!(tracker.seen.is_empty());
    }

    #[test]
    fn a_thread_that_is_freed_after_the_main_one_is_of_the_same_process() {
        let mut tracker = tracker();
        tracker.observe(&Record::Freed(task(5, 5, 100, 0, "a")));
        tracker.settle();
        tracker.observe(&Record::Freed(task(6, 5, 40, 1, "a")));
        let whole = [ProcessTime { pid: 5, comm: "a".into(), cpu: CpuNanos(140) }];
        assert_eq!(tracker.processes(RunId(1)).listed, whole);
        (1..SETTLES).for_each(|_| tracker.settle());
        assert!(tracker.runs[&RunId(1)].live.is_empty());
        assert_eq!(tracker.processes(RunId(1)).listed, whole);
    }

    #[test]
    fn a_record_that_overtook_another_takes_nothing_back() {
        let mut tracker = tracker();
        tracker.observe(&Record::Task(task(5, 5, 100, 0, "a")));
        tracker.observe(&Record::Exec(task(5, 5, 60, 0, "b")));
        tracker.observe(&Record::Freed(task(5, 5, 110, 0, "b")));
        assert_eq!(tracker.processes(RunId(1)).listed[0].cpu, CpuNanos(110));
    }

    #[test]
    fn the_smallest_processes_make_room_and_stay_in_the_sum() {
        let mut tracker = tracker();
        for tid in 1..=20_000_u32 {
            tracker.observe(&Record::Freed(task(tid, tid, u64::from(tid), 0, "x")));
        }
        (0..SETTLES).for_each(|_| tracker.settle());
        let processes = tracker.processes(RunId(1));
        assert_eq!(processes.listed.len(), PROCESSES_MAX);
        let sum: CpuNanos = processes.listed.iter().map(|process| process.cpu).sum();
        assert_eq!((sum + processes.other_cpu).0, 20_000 * 20_001 / 2);
        assert_eq!(processes.other_count, 20_000 - PROCESSES_MAX as u64);
        assert!(processes.listed.iter().all(|process| process.pid > 3_616));
    }
}
