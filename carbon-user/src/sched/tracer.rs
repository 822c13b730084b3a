//! What both BPF rungs share: names of cgroups, their ends, kernel threads, runs.

use super::adopt::Adopted;
use super::enrol::Enrolment;
use super::hierarchy::Hierarchy;
use super::iterator::KernelIterator;
use super::names::CgroupNames;
use super::object::Object;
use super::records::{CgroupTime, Record};
use super::runs::{Processes, RunTracker};
use super::{Limits, Runs, SchedError};
use crate::clock;
use crate::sysroot::{CgroupMount, SysRoot};
use crate::topology::Topology;
use crate::units::{CgroupId, CpuNanos, RunId};
use carbon_ebpf::{PACKAGES_MAX, PATH_LEN, PF_EXITING, TaskRecord, Wake, control, counter};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// Tasks up to which all are visited at every snapshot without runs: 0.3 us each where none is reported.
const TASKS_CHEAP: u64 = 4_000;
/// How often they are visited beyond that.
const TASKS_PERIOD_NS: u64 = 10_000_000_000;

/// How often names are looked through where events were lost: a walk of all cgroups takes some 30 us for each.
const NAMES_PERIOD_NS: u64 = 60_000_000_000;

/// A cgroup that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// Which one, and its time.
    pub(super) time: CgroupTime,
    /// No reference to it is left.
    pub(super) released: bool,
}

/// The loaded object and what it tells besides CPU time of cgroups.
#[derive(Debug)]
pub(super) struct Tracer {
    pub(super) root: SysRoot,
    pub(super) object: Object,
    pub(super) mount: CgroupMount,
    pub(super) names: CgroupNames,
    pub(super) runs: RunTracker,
    /// Since the last call of [`take_ended`](Self::take_ended).
    ended: Vec<Ended>,
    /// Lost events when names were looked through last, and when.
    names_looked: (u64, u64),
    tasks: KernelIterator,
    tasks_seen: u64,
    tasks_visited_ns: u64,
    kernel_threads: CpuNanos,
    follows_runs: bool,
    observes_wake: bool,
    packages: usize,
    /// The next look at the tasks is at the edge of a run.
    edge_of_run: bool,
}

impl Tracer {
    /// Loads what both rungs need; `hook` says that the hook's maps are used.
    pub(super) fn open(
        root: &SysRoot,
        topology: &Topology,
        limits: Limits,
        hook: bool,
    ) -> Result<Self, SchedError> {
        let hierarchy = Hierarchy::choose(root, limits.hierarchy)?;
        let mut names = CgroupNames::default();
        names.walk(&hierarchy.mount);
        let mut object = Object::open(root, topology, limits, Some(&hierarchy), hook)?;
        if !hook {
            // It needs a helper of 5.19 (bpf_map_lookup_percpu_elem), which all kernels with the books have.
            object.load_on_demand("carbon_prepare")?;
            object.run_on_demand("carbon_prepare", 0, None)?;
        }
        object.load_on_demand("carbon_enrol")?;
        for (program, tracepoint) in [
            ("carbon_mkdir", "cgroup_mkdir"),
            ("carbon_rmdir", "cgroup_rmdir"),
            ("carbon_release", "cgroup_release"),
            ("carbon_free", "sched_process_free"),
        ] {
            object.load(program, tracepoint)?;
            object.attach(program)?;
        }
        object.load("carbon_fork", "sched_process_fork")?;
        object.load("carbon_exec", "sched_process_exec")?;
        object.load("carbon_exit", "sched_process_exit")?;
        let tasks = KernelIterator::over_tasks(object.load_iterator("carbon_tasks", "task")?)
            .map_err(|source| SchedError::Call { call: "attaching the iterator over tasks", source })?;
        let observes_wake = limits.wake && observe_wake(&mut object, topology);
        // Again, for those that were made between the first walk and the attachment.
        names.walk(&hierarchy.mount);
        Ok(Self {
            root: root.clone(),
            object,
            mount: hierarchy.mount,
            names,
            runs: RunTracker::new(topology),
            ended: Vec::new(),
            names_looked: (0, 0),
            tasks,
            tasks_seen: 0,
            tasks_visited_ns: 0,
            kernel_threads: CpuNanos::ZERO,
            follows_runs: false,
            observes_wake,
            packages: topology.packages.min(PACKAGES_MAX),
            edge_of_run: false,
        })
    }

    /// How long each package has had any CPU busy since the beginning; nothing where that is not observed.
    pub(super) fn awake(&self) -> Result<Vec<Duration>, SchedError> {
        if !self.observes_wake {
            return Ok(Vec::new());
        }
        let now_ns = clock::monotonic_ns();
        (0..self.packages).map(|package| self.object.wake(package).map(|wake| awake(&wake, now_ns))).collect()
    }

    /// Kernel events that did not fit, and processes that left their run since it had no room for them.
    pub(super) fn lost_events(&self) -> Result<u64, SchedError> {
        Ok(self
            .object
            .counter(counter::EVENTS_LOST)?
            .saturating_add(self.object.counter(counter::MEMBERS_LOST)?))
    }

    /// Takes events out of their buffer.
    pub(super) fn drain(&mut self) {
        let Self { object, mount, names, runs, ended, .. } = self;
        object.drain_events(|record| match record {
            Record::Made(cgroup, path) if path.len() + 1 >= PATH_LEN => names.cut(CgroupId(cgroup)),
            Record::Made(cgroup, path) => names.made(CgroupId(cgroup), &path),
            Record::Removed(time) => {
                names.gone(time.cgroup);
                ended.push(Ended { time, released: false });
            }
            Record::Released(time) => ended.push(Ended { time, released: true }),
            other => runs.observe(&other),
        });
        names.look_for_cut(mount);
    }

    /// Cgroups that ended since the last call, in order.
    pub(super) fn take_ended(&mut self) -> Vec<Ended> {
        std::mem::take(&mut self.ended)
    }

    /// Visits all tasks where that is cheap or due, at the edge of a run, and while runs are open: time of a run that was not
    /// seen is still its cgroup's, and would be counted twice when it is.
    pub(super) fn visit_tasks(&mut self) -> Result<(), SchedError> {
        let now_ns = clock::monotonic_ns();
        self.forget_lost_names(now_ns)?;
        let due = now_ns.saturating_sub(self.tasks_visited_ns) >= TASKS_PERIOD_NS;
        let wanted = std::mem::take(&mut self.edge_of_run) || self.runs.has_open();
        if !due && !wanted && self.tasks_seen > TASKS_CHEAP {
            return Ok(());
        }
        self.tasks_visited_ns = now_ns;
        let freed = self.freed()?;
        self.object.clear_counter(counter::KERNEL_THREADS_NS)?;
        self.object.clear_counter(counter::TASKS_SEEN)?;
        let rows_lost = self.object.counter(counter::ROWS_LOST)?;
        let (mut live, mut processes) = (HashMap::new(), HashSet::new());
        let mut alive: HashMap<RunId, u64> = HashMap::new();
        self.pass_over_tasks(|task| {
            *live.entry(RunId(task.run)).or_insert(0) += task.exec_ns;
            *alive.entry(RunId(task.run)).or_default() += u64::from(task.flags & PF_EXITING == 0);
            processes.insert(task.tgid);
        })?;
        self.runs.seen_alive(&alive);
        if self.object.counter(counter::ROWS_LOST)? == rows_lost {
            self.take_out_gone(&processes)?;
        }
        self.object.set_control(control::TASKS_PASSED_NS, clock::monotonic_ns())?;
        self.drain();
        self.make_good(&freed, &live)?;
        self.tasks_seen = self.object.counter(counter::TASKS_SEEN)?;
        let live = self.object.counter(counter::KERNEL_THREADS_NS)?;
        let ended = self.object.counter(counter::KERNEL_THREADS_ENDED_NS)?;
        self.kernel_threads = self.kernel_threads.max(CpuNanos(live.saturating_add(ended)));
        Ok(())
    }

    /// Where events were lost, ends of cgroups may be among them, whose names would stay for ever. What is outside of the mount
    /// cannot be looked for.
    fn forget_lost_names(&mut self, now_ns: u64) -> Result<(), SchedError> {
        let lost = self.object.counter(counter::EVENTS_LOST)?;
        let (known, looked_ns) = self.names_looked;
        let early = looked_ns > 0 && now_ns.saturating_sub(looked_ns) < NAMES_PERIOD_NS;
        if lost == known || early || !self.mount.is_whole() {
            return Ok(());
        }
        self.names_looked = (lost, now_ns);
        let found = self.names.walk(&self.mount);
        self.names.keep_only(|cgroup| found.contains(&cgroup));
        Ok(())
    }

    /// One pass over all tasks; those of runs are taken note of, and shown to `also`. What ended before is read first:
    /// a new task may have the address of one that is freed.
    pub(super) fn pass_over_tasks(&mut self, also: impl FnMut(&TaskRecord)) -> Result<(), SchedError> {
        self.drain();
        let Self { object, runs, tasks, .. } = self;
        pass(tasks, object, runs, also)
    }

    /// The same over the threads of one process.
    pub(super) fn pass_over_process(
        &mut self,
        process: u32,
        also: impl FnMut(&TaskRecord),
    ) -> Result<(), SchedError> {
        self.drain();
        let Self { object, runs, .. } = self;
        let tasks = KernelIterator::over_process(object.iterator("carbon_tasks")?, process)
            .map_err(|source| SchedError::Call { call: "attaching the iterator over a process", source })?;
        pass(&tasks, object, runs, also)
    }

    /// The kernel's own figures of every run: time of its freed tasks, and how many processes it has had.
    fn freed(&mut self) -> Result<Vec<(RunId, u64)>, SchedError> {
        let mut freed = Vec::new();
        for run in self.runs.ids() {
            let counts = self.object.run_counts(run)?;
            self.runs.started(run, counts.processes);
            freed.push((run, counts.freed_ns));
        }
        Ok(freed)
    }

    /// Where ends of tasks went to sums, gives each run what its tasks had in all and no record told: `freed` was
    /// read before the pass that saw `live`, so that nothing is in both.
    fn make_good(&mut self, freed: &[(RunId, u64)], live: &HashMap<RunId, u64>) -> Result<(), SchedError> {
        if freed.is_empty() || self.object.counter(counter::TASKS_SUMMED)? == 0 {
            return Ok(());
        }
        let Self { object, runs, .. } = self;
        runs.forget_sums();
        object.sums(|key, sum| runs.summed(&key, &sum))?;
        for (run, freed_ns) in freed {
            let live_ns = live.get(run).copied().unwrap_or(0);
            runs.make_good(*run, CpuNanos(freed_ns.saturating_add(live_ns)));
        }
        Ok(())
    }

    /// CPU time of all kernel threads, live and ended since the object was loaded. Never falls.
    pub(super) fn kernel_threads(&self) -> CpuNanos {
        self.kernel_threads
    }
}

impl Runs for Tracer {
    /// Opens a run. Forks and execs are followed from the first one on.
    fn open(&mut self, run: RunId) -> Result<Enrolment, SchedError> {
        if !self.follows_runs {
            self.object.attach("carbon_fork")?;
            self.object.attach("carbon_exec")?;
            self.object.attach("carbon_exit")?;
            self.follows_runs = true;
        }
        // First, as it can fail: nobody would close the run.
        let enrolment = self.object.enrolment(run)?;
        self.object.set_control(control::RUNS, 1)?;
        self.runs.open(run);
        self.edge_of_run = true;
        Ok(enrolment)
    }

    /// Tasks of a run that are there and have not begun to exit. The kernel's counter alone is not believed: one exit
    /// that its program did not see would keep it from zero for ever.
    fn alive(&mut self, run: RunId) -> Result<u64, SchedError> {
        let alive = self.object.run_counts(run)?.alive;
        if alive == 0 {
            return Ok(0);
        }
        let mut seen = 0;
        self.pass_over_tasks(|task| {
            seen += u64::from(task.run == run.0 && task.flags & PF_EXITING == 0);
        })?;
        Ok(seen)
    }

    /// Whether the final of every task of a run that has ended is here: it was freed, or is still there to be seen
    /// as a zombie that nobody has waited for yet.
    fn settled(&mut self, run: RunId) -> Result<bool, SchedError> {
        let counts = self.object.run_counts(run)?;
        self.drain();
        self.edge_of_run = true;
        if counts.unfreed <= counts.alive {
            return Ok(true);
        }
        let mut seen = 0;
        self.pass_over_tasks(|task| seen += u64::from(task.run == run.0))?;
        Ok(seen >= counts.unfreed)
    }

    fn processes(&self, run: RunId) -> Processes {
        self.runs.processes(run)
    }

    fn of_process(&self, pid: u32) -> Result<Option<RunId>, SchedError> {
        self.run_of(pid)
    }

    fn attach(&mut self, run: RunId, pid: u32) -> Result<(), SchedError> {
        self.attach_tree(run, pid)
    }

    fn adopt(&mut self, run: RunId, pid: u32) -> Result<Adopted, SchedError> {
        self.adopt_tree(run, pid, None)
    }

    fn members(&self, run: RunId) -> Vec<(u32, u64)> {
        self.runs.members(run)
    }

    fn adopt_again(&mut self, run: RunId, members: &[(u32, u64)]) -> Result<usize, SchedError> {
        self.adopt_members(run, members)
    }

    fn seen_alive(&self, run: RunId) -> Option<u64> {
        self.runs.alive(run)
    }

    fn close(&mut self, run: RunId) -> Result<(), SchedError> {
        self.close_run(run)
    }
}

fn pass(
    tasks: &KernelIterator,
    object: &mut Object,
    runs: &mut RunTracker,
    mut also: impl FnMut(&TaskRecord),
) -> Result<(), SchedError> {
    let pass = tasks.pass(|| {
        object.drain_rows(|record| {
            if let Record::Task(task) = &record {
                also(task);
            }
            runs.observe(&record);
        });
    });
    pass.map_err(|source| SchedError::Call { call: "visiting the tasks", source })
}

/// Attaches what tells when CPUs go idle. A kernel that refuses it (before 5.12) is no reason to do without the rest.
fn observe_wake(object: &mut Object, topology: &Topology) -> bool {
    let attached = object
        .begin_wake(&topology.online, clock::monotonic_ns())
        .and_then(|()| object.load("carbon_idle", "cpu_idle"))
        .and_then(|()| object.attach("carbon_idle"));
    if let Err(error) = &attached {
        log::debug!("how long packages are awake is estimated: {error}");
    }
    attached.is_ok()
}

fn awake(wake: &Wake, now_ns: u64) -> Duration {
    let running_ns = if wake.busy_cpus > 0 { now_ns.saturating_sub(wake.since_ns) } else { 0 };
    Duration::from_nanos(wake.awake_ns.saturating_add(running_ns))
}
