//! CPU time of runs, from their tasks: each task's total when it was last seen, and its final when it is freed.
//!
//! A run's time is exact in sum. Its split by package is not: what a task added since it was last seen is booked
//! to the package of the CPU that it ran on last.

use super::records::{Record, comm};
use crate::heap;
use crate::topology::Topology;
use crate::units::{CgroupId, CpuNanos, RunId};
use carbon_ebpf::{SumKey, TaskRecord, TaskSum};
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

/// Ended processes of a run that are kept one by one: at least this many of the largest by CPU time, at most twice
/// as many. The rest is summed.
pub(super) const PROCESSES_MAX: usize = 16_384;

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

/// A process of a run, alive or ended.
#[derive(Debug, Default)]
struct Process {
    comm: String,
    named_by_exec: bool,
    cpu: CpuNanos,
    /// When its first thread began, which tells it from a later process with the same id; 0 where not seen yet.
    start_ns: u64,
    /// Its first thread has ended. Others may still follow: threads end and are freed in any order.
    ended: bool,
    /// It became part of the run while it ran: its entry in the map of members stays until it is taken out.
    adopted: bool,
}

#[derive(Debug, Default)]
struct Run {
    processes: HashMap<u32, Process>,
    /// How many of these have ended.
    ended: usize,
    /// Ended ones whose id another process has now.
    replaced: Vec<ProcessTime>,
    other_count: u64,
    other_cpu: CpuNanos,
    /// Processes by the kernel's count.
    started: u64,
    /// Everything that records told.
    told: CpuNanos,
    /// What its tasks had beyond that.
    untold: CpuNanos,
    /// The largest sum of ended tasks, and its cgroup.
    sums_in: Option<(u64, CgroupId)>,
    /// What its tasks had used before they became part of it, and those that left it when they did.
    before: CpuNanos,
    left_with: CpuNanos,
    /// Tasks that the last look at all of them saw; `None` before there was one.
    alive: Option<u64>,
}

impl Run {
    /// The process of a record, made where it is a new one.
    fn process(&mut self, task: &TaskRecord) -> &mut Process {
        if task.tid == task.tgid
            && let Some(known) = self.processes.get(&task.tgid)
            && known.ended
            && known.start_ns != task.start_ns
            && let Some(old) = self.processes.remove(&task.tgid)
        {
            self.ended -= 1;
            self.replaced.push(ProcessTime { pid: task.tgid, comm: old.comm, cpu: old.cpu });
        }
        self.processes.entry(task.tgid).or_default()
    }

    /// Sums the smallest of the ended processes once there are twice as many as are kept: seldom, so that a
    /// process costs no more than its place in a sort.
    fn bound(&mut self) {
        if self.ended + self.replaced.len() < 2 * PROCESSES_MAX {
            return;
        }
        let mut sizes: Vec<CpuNanos> = self.replaced.iter().map(|process| process.cpu).collect();
        sizes.extend(self.processes.values().filter(|process| process.ended).map(|process| process.cpu));
        let (_, least, _) = sizes.select_nth_unstable_by_key(PROCESSES_MAX - 1, |cpu| Reverse(*cpu));
        let least = *least;
        let (mut count, mut cpu) = (0, CpuNanos::ZERO);
        let mut keep = |size: CpuNanos| {
            let keep = size > least;
            if !keep {
                count += 1;
                cpu += size;
            }
            keep
        };
        self.replaced.retain(|process| keep(process.cpu));
        self.processes.retain(|_, process| !process.ended || keep(process.cpu));
        self.ended = self.processes.values().filter(|process| process.ended).count();
        self.other_count += count;
        self.other_cpu += cpu;
    }
}

/// A task as it was last seen.
#[derive(Clone, Copy, Debug)]
struct Seen {
    exec_ns: u64,
    start_ns: u64,
    run: RunId,
}

/// All runs that are open.
#[derive(Debug)]
pub(super) struct RunTracker {
    package_of: Vec<usize>,
    packages: usize,
    /// Total of a task when it was last seen, by its address: a thread that executes another program takes the id
    /// and the start of its process's first thread.
    seen: HashMap<u64, Seen>,
    runs: HashMap<RunId, Run>,
    usage: HashMap<(CgroupId, RunId), Vec<CpuNanos>>,
    /// Time of runs that were closed: it stays taken from their cgroups, whose own totals have it.
    closed: HashMap<CgroupId, Vec<CpuNanos>>,
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
            closed: HashMap::new(),
        }
    }

    /// The runs that are open.
    pub(super) fn ids(&self) -> Vec<RunId> {
        self.runs.keys().copied().collect()
    }

    /// Whether there is any.
    pub(super) fn has_open(&self) -> bool {
        !self.runs.is_empty()
    }

    /// How many processes a run has had, by the kernel's count.
    pub(super) fn started(&mut self, run: RunId, processes: u64) {
        if let Some(run) = self.runs.get_mut(&run) {
            run.started = processes;
        }
    }

    /// Before the sums are read anew.
    pub(super) fn forget_sums(&mut self) {
        for run in self.runs.values_mut() {
            run.sums_in = None;
        }
    }

    /// Takes note of ended tasks that were summed by name.
    pub(super) fn summed(&mut self, key: &SumKey, sum: &TaskSum) {
        let Some(run) = self.runs.get_mut(&RunId(key.run)) else { return };
        if run.sums_in.is_none_or(|(largest, _)| largest < sum.exec_ns) {
            run.sums_in = Some((sum.exec_ns, CgroupId(key.cgroup)));
        }
    }

    /// `total` is the time that all tasks of a run have had: what no record told is booked to the cgroup that most
    /// of the summed ones were in, and to its first package.
    pub(super) fn make_good(&mut self, run: RunId, total: CpuNanos) {
        let Some(open) = self.runs.get_mut(&run) else { return };
        let Some((_, cgroup)) = open.sums_in else { return };
        let total = (total + open.left_with).saturating_sub(open.before);
        let more = total.saturating_sub(open.told + open.untold);
        open.untold += more;
        let row = self.usage.entry((cgroup, run)).or_insert_with(|| vec![CpuNanos::ZERO; self.packages]);
        if let Some(nanos) = row.first_mut() {
            *nanos += more;
        }
    }

    /// Opens a run.
    pub(super) fn open(&mut self, run: RunId) {
        self.runs.entry(run).or_default();
    }

    /// Cumulative time per cgroup and run, by package; without a run, that of those which were closed.
    pub(super) fn usage(&self) -> impl Iterator<Item = (CgroupId, Option<RunId>, &[CpuNanos])> {
        let open = self.usage.iter().map(|((cgroup, run), nanos)| (*cgroup, Some(*run), nanos.as_slice()));
        open.chain(self.closed.iter().map(|(cgroup, nanos)| (*cgroup, None, nanos.as_slice())))
    }

    /// Whether a run is open.
    pub(super) fn is_open(&self, run: RunId) -> bool {
        self.runs.contains_key(&run)
    }

    /// Whether a process of a run is known to have ended.
    pub(super) fn has_ended(&self, run: RunId, pid: u32) -> bool {
        let known = self.runs.get(&run).and_then(|run| run.processes.get(&pid));
        known.is_some_and(|process| process.ended)
    }

    /// Makes a task that runs already part of a run: what it has used so far is not the run's.
    pub(super) fn adopt(&mut self, run: RunId, task: &TaskRecord) {
        self.seen.insert(task.task, Seen { exec_ns: task.exec_ns, start_ns: task.start_ns, run });
        if let Some(before) = self.runs.get_mut(&RunId(task.run)) {
            before.left_with += CpuNanos(task.exec_ns);
        }
        let Some(open) = self.runs.get_mut(&run) else { return };
        open.before += CpuNanos(task.exec_ns);
        let leader = task.tid == task.tgid;
        let process = open.process(task);
        if leader {
            process.start_ns = task.start_ns;
            process.adopted = true;
        }
        if leader || process.comm.is_empty() {
            process.comm = comm(&task.comm);
        }
    }

    /// Takes note of how many tasks of each run a look at all of them saw.
    pub(super) fn seen_alive(&mut self, alive: &HashMap<RunId, u64>) {
        for (id, run) in &mut self.runs {
            run.alive = Some(alive.get(id).copied().unwrap_or(0));
        }
    }

    /// How many that were, where there was one since the run was opened.
    pub(super) fn alive(&self, run: RunId) -> Option<u64> {
        self.runs.get(&run)?.alive
    }

    /// Number and start of the processes of a run that were alive when they were last seen.
    pub(super) fn members(&self, run: RunId) -> Vec<(u32, u64)> {
        let processes = self.runs.get(&run).map(|run| run.processes.iter());
        let alive =
            processes.into_iter().flatten().filter(|(_, process)| !process.ended && process.start_ns > 0);
        alive.map(|(pid, process)| (*pid, process.start_ns)).collect()
    }

    /// After a look at all tasks, which saw those of these processes: the others have ended, and where no record told it, nothing
    /// else will. Gives number, start and run of those that had been adopted.
    pub(super) fn passed(&mut self, seen: &HashSet<u32>) -> Vec<(RunId, u32, u64)> {
        let mut left = Vec::new();
        for (id, run) in &mut self.runs {
            for (pid, process) in run.processes.iter_mut().filter(|(pid, _)| !seen.contains(pid)) {
                run.ended += usize::from(!std::mem::replace(&mut process.ended, true));
                if std::mem::take(&mut process.adopted) {
                    left.push((*id, *pid, process.start_ns));
                }
            }
            run.bound();
        }
        left
    }

    /// Ends a run.
    pub(super) fn close(&mut self, run: RunId) {
        self.runs.remove(&run);
        self.seen.retain(|_, seen| seen.run != run);
        heap::fit(&mut self.seen);
        let rows: Vec<CgroupId> =
            self.usage.keys().filter(|(_, of)| *of == run).map(|(cgroup, _)| *cgroup).collect();
        for cgroup in rows {
            let Some(nanos) = self.usage.remove(&(cgroup, run)) else { continue };
            let sums = self.closed.entry(cgroup).or_insert_with(|| vec![CpuNanos::ZERO; nanos.len()]);
            for (sum, nanos) in sums.iter_mut().zip(nanos) {
                *sum += nanos;
            }
        }
    }

    /// Forgets the time in cgroups that have gone, once it was told: a run of months sees many of them.
    pub(super) fn forget_gone(&mut self, gone: &HashSet<CgroupId>) {
        if !gone.is_empty() {
            self.usage.retain(|(cgroup, _), _| !gone.contains(cgroup));
            self.closed.retain(|cgroup, _| !gone.contains(cgroup));
        }
    }

    /// Forgets the time of closed runs in cgroups that nobody knows any more.
    pub(super) fn forget_closed(&mut self, known: impl Fn(CgroupId) -> bool) {
        self.closed.retain(|cgroup, _| known(*cgroup));
    }

    /// Books what a task record says; records of tasks without a run are no business of this module.
    pub(super) fn observe(&mut self, record: &Record) {
        let (Record::Task(task) | Record::Freed(task) | Record::Exec(task) | Record::Exit(task)) = record
        else {
            return;
        };
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
        run.told += added;
        let process = run.process(task);
        process.cpu += added;
        if leader {
            process.start_ns = task.start_ns;
        }
        let exec = matches!(record, Record::Exec(_));
        if exec || process.comm.is_empty() || (leader && !process.named_by_exec) {
            process.comm = comm(&task.comm);
            process.named_by_exec = exec;
        }
        if (freed || matches!(record, Record::Exit(_))) && leader && !process.ended {
            process.ended = true;
            run.ended += 1;
            run.bound();
        }
    }

    /// CPU time that a task added since it was last seen. A total that fell (a record that overtook another one)
    /// adds nothing.
    fn added(&mut self, task: &TaskRecord, freed: bool) -> CpuNanos {
        // What began later is another task at the same address: the end of the first was not seen. A thread that executes
        // another program goes back to the begin of the first one, so that it never begins later. An end that began
        // earlier is that of a task before, read after a row of the one that has its address now.
        let same = |seen: &&Seen| {
            if freed { task.start_ns == seen.start_ns } else { task.start_ns <= seen.start_ns }
        };
        let known = self.seen.get(&task.task).filter(same).copied();
        let before = known.map_or(0, |seen| seen.exec_ns);
        if freed {
            if known.is_some() {
                self.seen.remove(&task.task);
            }
        } else {
            let run = RunId(task.run);
            let seen = Seen { exec_ns: task.exec_ns.max(before), start_ns: task.start_ns, run };
            self.seen.insert(task.task, seen);
        }
        CpuNanos(task.exec_ns.saturating_sub(before))
    }

    /// The processes of a run so far.
    pub(super) fn processes(&self, run: RunId) -> Processes {
        let Some(run) = self.runs.get(&run) else { return Processes::default() };
        let listed = run.processes.iter().map(|(pid, process)| ProcessTime {
            pid: *pid,
            comm: process.comm.clone(),
            cpu: process.cpu,
        });
        let listed: Vec<ProcessTime> = listed.chain(run.replaced.iter().cloned()).collect();
        Processes {
            // Some that are listed had their last time summed, so that only the kernel knows how many there were.
            other_count: run.other_count.max(run.started.saturating_sub(listed.len() as u64)),
            listed,
            other_cpu: run.other_cpu + run.untold,
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

    fn task(tid: u32, process: u32, exec_ns: u64, cpu: u32, name: &str) -> TaskRecord {
        let mut comm = [0; 16];
        comm[..name.len()].copy_from_slice(name.as_bytes());
        TaskRecord {
            run: 1,
            cgroup: 9,
            tid,
            tgid: process,
            exec_ns,
            cpu,
            start_ns: u64::from(tid),
            task: u64::from(tid) << 12,
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
        assert_eq!(usage, [(CgroupId(9), Some(RunId(1)), &[CpuNanos(150), CpuNanos(120)][..])]);
        assert!(tracker.seen.is_empty());
    }

    #[test]
    fn the_end_of_a_task_before_at_the_same_address_is_its_own() {
        let mut tracker = tracker();
        let now = TaskRecord { start_ns: 99, ..task(6, 6, 40, 0, "now") };
        tracker.observe(&Record::Task(now));
        tracker.observe(&Record::Freed(TaskRecord { task: now.task, ..task(5, 5, 100, 0, "before") }));
        tracker.observe(&Record::Freed(TaskRecord { exec_ns: 50, ..now }));
        let total: u64 = tracker.processes(RunId(1)).listed.iter().map(|process| process.cpu.0).sum();
        assert_eq!(total, 150);
    }

    #[test]
    fn an_event_that_is_read_after_a_later_row_adds_nothing() {
        let mut tracker = tracker();
        tracker.observe(&Record::Task(task(5, 5, 100, 0, "zombie")));
        tracker.observe(&Record::Exec(task(5, 5, 40, 0, "zombie")));
        tracker.observe(&Record::Exit(task(5, 5, 90, 0, "zombie")));
        tracker.observe(&Record::Freed(task(5, 5, 100, 0, "zombie")));
        assert_eq!(tracker.processes(RunId(1)).listed[0].cpu, CpuNanos(100));
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
    fn a_thread_freed_after_its_leader_stays_in_its_process() {
        let mut tracker = tracker();
        tracker.observe(&Record::Freed(task(5, 5, 10, 0, "load")));
        tracker.observe(&Record::Freed(task(6, 5, 20, 1, "load")));
        let processes = tracker.processes(RunId(1)).listed;
        assert_eq!(processes, [ProcessTime { pid: 5, comm: "load".into(), cpu: CpuNanos(30) }]);
    }

    #[test]
    fn a_task_whose_final_never_came_is_not_taken_for_the_next_at_its_address() {
        let mut tracker = tracker();
        tracker.observe(&Record::Exit(task(5, 5, 100, 0, "first")));
        let second = TaskRecord { tid: 6, tgid: 6, start_ns: 99, ..task(5, 5, 30, 0, "second") };
        tracker.observe(&Record::Exec(second));
        let mut cpu: Vec<u64> =
            tracker.processes(RunId(1)).listed.iter().map(|process| process.cpu.0).collect();
        cpu.sort_unstable();
        assert_eq!(cpu, [30, 100]);
    }

    #[test]
    fn what_was_used_before_a_task_became_part_of_a_run_is_not_the_runs() {
        let mut tracker = tracker();
        tracker.adopt(RunId(1), &TaskRecord { run: 0, ..task(5, 5, 1_000, 0, "python") });
        tracker.observe(&Record::Task(task(5, 5, 1_250, 0, "python")));
        assert_eq!(tracker.processes(RunId(1)).listed[0].cpu, CpuNanos(250));
        // It leaves for a run inside, and the rest is that one's.
        tracker.open(RunId(2));
        tracker.adopt(RunId(2), &task(5, 5, 1_250, 0, "python"));
        tracker.observe(&Record::Task(TaskRecord { run: 2, ..task(5, 5, 1_300, 0, "python") }));
        let rows: HashMap<_, _> = tracker.usage().map(|(_, run, nanos)| (run, nanos[0])).collect();
        assert_eq!(rows, HashMap::from([(Some(RunId(1)), CpuNanos(250)), (Some(RunId(2)), CpuNanos(50))]));
        // The kernel's totals, by which untold time is found, are without the tasks that left and with all of those that came.
        tracker.summed(&SumKey { run: 2, cgroup: 9, comm: [0; 16] }, &TaskSum { tasks: 1, exec_ns: 7 });
        tracker.make_good(RunId(2), CpuNanos(1_307));
        assert_eq!(tracker.processes(RunId(2)).other_cpu, CpuNanos(7));
    }

    #[test]
    fn a_closed_run_leaves_its_time_taken_from_its_cgroup() {
        let mut tracker = tracker();
        tracker.observe(&Record::Task(task(5, 5, 100, 0, "a")));
        tracker.observe(&Record::Freed(task(6, 6, 40, 1, "b")));
        tracker.seen_alive(&HashMap::from([(RunId(1), 1)]));
        assert_eq!((tracker.alive(RunId(1)), tracker.alive(RunId(2))), (Some(1), None));
        tracker.close(RunId(1));
        let usage: Vec<_> = tracker.usage().collect();
        assert_eq!(usage, [(CgroupId(9), None, &[CpuNanos(100), CpuNanos(40)][..])]);
        assert!(tracker.seen.is_empty() && !tracker.is_open(RunId(1)));
        tracker.forget_closed(|_| false);
        assert_eq!(tracker.usage().count(), 0);
    }

    #[test]
    fn a_process_id_used_again_is_another_process() {
        let mut tracker = tracker();
        tracker.observe(&Record::Freed(task(5, 5, 10, 0, "first")));
        tracker.observe(&Record::Freed(TaskRecord { start_ns: 77, ..task(5, 5, 20, 0, "second") }));
        let mut processes = tracker.processes(RunId(1)).listed;
        processes.sort_by_key(|process| process.cpu);
        let named: Vec<_> = processes.iter().map(|process| (process.comm.as_str(), process.cpu.0)).collect();
        assert_eq!(named, [("first", 10), ("second", 20)]);
    }

    #[test]
    fn a_thread_that_executes_a_program_keeps_its_own_total() {
        let mut tracker = tracker();
        let (leader, thread) = (task(5, 5, 500, 0, "sh"), task(6, 5, 200, 0, "sh"));
        tracker.observe(&Record::Task(leader));
        tracker.observe(&Record::Task(thread));
        // It takes over the id and the start of the leader, which is freed under the thread's id.
        tracker.observe(&Record::Exec(TaskRecord { task: thread.task, ..task(5, 5, 300, 0, "new") }));
        tracker.observe(&Record::Freed(TaskRecord { tid: 6, exec_ns: 510, ..leader }));
        tracker.observe(&Record::Freed(TaskRecord { task: thread.task, ..task(5, 5, 350, 0, "new") }));
        let processes = tracker.processes(RunId(1)).listed;
        assert_eq!(processes, [ProcessTime { pid: 5, comm: "new".into(), cpu: CpuNanos(860) }]);
        assert!(tracker.seen.is_empty());
    }

    #[test]
    fn the_smallest_processes_make_room_and_stay_in_the_sum() {
        let mut tracker = tracker();
        let all = 3 * PROCESSES_MAX as u64;
        for tid in 1..=u32::try_from(all).unwrap() {
            tracker.observe(&Record::Freed(task(tid, tid, u64::from(tid), 0, "x")));
        }
        let processes = tracker.processes(RunId(1));
        let kept = processes.listed.len();
        assert!((PROCESSES_MAX - 1..2 * PROCESSES_MAX).contains(&kept), "{kept}");
        let sum: CpuNanos = processes.listed.iter().map(|process| process.cpu).sum();
        assert_eq!((sum + processes.other_cpu).0, all * (all + 1) / 2);
        assert_eq!(processes.other_count + kept as u64, all);
        let largest =
            processes.listed.iter().filter(|process| u64::from(process.pid) > all - PROCESSES_MAX as u64);
        assert_eq!(largest.count(), PROCESSES_MAX);
    }

    #[test]
    fn processes_whose_end_was_lost_make_room_too() {
        let mut tracker = tracker();
        let batch = u32::try_from(PROCESSES_MAX).unwrap();
        for tids in [1..=batch, batch + 1..=2 * batch, 2 * batch + 1..=3 * batch] {
            for tid in tids {
                tracker.observe(&Record::Task(task(tid, tid, 1, 0, "x")));
            }
            tracker.passed(&HashSet::from([1]));
        }
        let processes = tracker.processes(RunId(1));
        assert!(processes.listed.len() < 2 * PROCESSES_MAX, "{}", processes.listed.len());
        let sum: CpuNanos = processes.listed.iter().map(|process| process.cpu).sum();
        assert_eq!((sum + processes.other_cpu).0, 3 * u64::from(batch));
        assert_eq!(tracker.members(RunId(1)), [(1, 1)], "the one that is there");
    }

    #[test]
    fn a_process_that_was_adopted_and_has_gone_is_told_once() {
        let mut tracker = tracker();
        tracker.adopt(RunId(1), &TaskRecord { run: 0, ..task(5, 5, 10, 0, "worker") });
        tracker.observe(&Record::Task(task(6, 6, 10, 0, "forked")));
        assert!(tracker.passed(&HashSet::from([5, 6])).is_empty());
        tracker.observe(&Record::Exit(task(5, 5, 20, 0, "worker")));
        assert_eq!(tracker.passed(&HashSet::new()), [(RunId(1), 5, 5)]);
        assert!(tracker.passed(&HashSet::new()).is_empty());
    }

    #[test]
    fn a_long_run_keeps_no_rows_of_cgroups_that_have_gone() {
        let mut tracker = tracker();
        for cgroup in 1..=1_000 {
            tracker.observe(&Record::Task(TaskRecord { cgroup, ..task(5, 5, cgroup, 0, "runner") }));
            tracker.forget_gone(&HashSet::from([CgroupId(cgroup - 1)]));
        }
        let usage: Vec<_> = tracker.usage().collect();
        assert_eq!(usage, [(CgroupId(1_000), Some(RunId(1)), &[CpuNanos(1), CpuNanos(0)][..])]);
    }
}
