//! What both BPF rungs share: names of cgroups, their ends, kernel threads, runs.

use super::enrol::Enrolment;
use super::iterator::KernelIterator;
use super::names::CgroupNames;
use super::object::{Object, Sizes};
use super::records::Record;
use super::runs::{Processes, RunTracker};
use super::{Limits, SchedError};
use crate::clock;
use crate::sysroot::{CgroupMount, SysRoot};
use crate::topology::Topology;
use crate::units::{CgroupId, CpuNanos, RunId};
use carbon_ebpf::{PACKAGES_MAX, control, counter};

/// Tasks up to which all are visited at every snapshot: 0.3 us each where none is reported.
const TASKS_CHEAP: u64 = 4_000;
/// How often they are visited beyond that.
const TASKS_PERIOD_NS: u64 = 10_000_000_000;

/// A cgroup that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// Which one.
    pub(super) cgroup: CgroupId,
    /// Its own time, by package.
    pub(super) exec_ns: [u64; PACKAGES_MAX],
    /// No reference to it is left.
    pub(super) released: bool,
}

/// The loaded object and what it tells besides CPU time of cgroups.
#[derive(Debug)]
pub(super) struct Tracer {
    pub(super) object: Object,
    pub(super) mount: CgroupMount,
    pub(super) names: CgroupNames,
    pub(super) runs: RunTracker,
    /// Since the last call of [`take_ended`](Self::take_ended).
    ended: Vec<Ended>,
    tasks: KernelIterator,
    tasks_seen: u64,
    tasks_visited_ns: u64,
    kernel_threads: CpuNanos,
    follows_runs: bool,
}

impl Tracer {
    /// Loads what both rungs need; `hook` says that the hook's maps are used.
    pub(super) fn open(
        root: &SysRoot,
        topology: &Topology,
        limits: Limits,
        hook: bool,
    ) -> Result<Self, SchedError> {
        let mount = root
            .cgroup2()
            .map_err(|source| SchedError::Read { path: "/proc/self/mountinfo".into(), source })?
            .ok_or(SchedError::NoSuch { what: "mounted cgroup2 hierarchy" })?;
        let mut names = CgroupNames::default();
        let found = u32::try_from(names.walk(&mount)).unwrap_or(u32::MAX);
        let cgroups = limits.cgroups_max.unwrap_or_else(|| found.saturating_mul(4));
        let mut object = Object::open(
            root,
            topology,
            Sizes { cgroups, hook, exact: limits.cgroups_max.is_some(), misbook_every: limits.misbook_every },
        )?;
        if !hook {
            // It needs a helper of 5.19 (bpf_map_lookup_percpu_elem), which all kernels with the books have.
            object.load_on_demand("carbon_prepare")?;
            object.run_on_demand("carbon_prepare", None)?;
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
        let tasks = KernelIterator::over_tasks(object.load_iterator("carbon_tasks", "task")?)
            .map_err(|source| SchedError::Call { call: "attaching the iterator over tasks", source })?;
        // Again, for those that were made between the first walk and the attachment.
        names.walk(&mount);
        Ok(Self {
            object,
            mount,
            names,
            runs: RunTracker::new(topology),
            ended: Vec::new(),
            tasks,
            tasks_seen: 0,
            tasks_visited_ns: 0,
            kernel_threads: CpuNanos::ZERO,
            follows_runs: false,
        })
    }

    /// Takes events out of their buffer.
    pub(super) fn drain(&mut self) {
        let Self { object, names, runs, ended, .. } = self;
        object.drain_events(|record| match record {
            Record::Made(cgroup, path) => names.made(CgroupId(cgroup), &path),
            Record::Removed(cgroup, exec_ns) => {
                names.gone(CgroupId(cgroup));
                ended.push(Ended { cgroup: CgroupId(cgroup), exec_ns, released: false });
            }
            Record::Released(cgroup, exec_ns) => {
                ended.push(Ended { cgroup: CgroupId(cgroup), exec_ns, released: true });
            }
            other => runs.observe(&other),
        });
        runs.settle();
    }

    /// Cgroups that ended since the last call, in order.
    pub(super) fn take_ended(&mut self) -> Vec<Ended> {
        std::mem::take(&mut self.ended)
    }

    /// Visits all tasks where that is cheap or due, or where a run is open.
    pub(super) fn visit_tasks(&mut self) -> Result<(), SchedError> {
        let now_ns = clock::monotonic_ns();
        let due = now_ns.saturating_sub(self.tasks_visited_ns) >= TASKS_PERIOD_NS;
        if !due && self.runs.is_empty() && self.tasks_seen > TASKS_CHEAP {
            return Ok(());
        }
        self.tasks_visited_ns = now_ns;
        self.object.clear_counter(counter::KERNEL_THREADS_NS)?;
        self.object.clear_counter(counter::TASKS_SEEN)?;
        self.tasks.pass().map_err(|source| SchedError::Call { call: "visiting the tasks", source })?;
        self.tasks_seen = self.object.counter(counter::TASKS_SEEN)?;
        let live = self.object.counter(counter::KERNEL_THREADS_NS)?;
        let ended = self.object.counter(counter::KERNEL_THREADS_ENDED_NS)?;
        self.kernel_threads = self.kernel_threads.max(CpuNanos(live.saturating_add(ended)));
        Ok(())
    }

    /// CPU time of all kernel threads, live and ended since the object was loaded. Never falls.
    pub(super) fn kernel_threads(&self) -> CpuNanos {
        self.kernel_threads
    }

    /// Opens a run. Forks and execs are followed from the first one on.
    pub(super) fn open_run(&mut self, run: RunId) -> Result<Enrolment, SchedError> {
        if !self.follows_runs {
            self.object.attach("carbon_fork")?;
            self.object.attach("carbon_exec")?;
            self.follows_runs = true;
        }
        self.object.set_control(control::RUNS, 1)?;
        self.runs.open(run);
        self.object.enrolment(run)
    }

    /// Whether all tasks of a run that the kernel has not freed are still there to be seen.
    pub(super) fn run_settled(&mut self, run: RunId) -> Result<bool, SchedError> {
        self.drain();
        let not_freed = self.object.run_alive(run)?;
        if not_freed == 0 {
            self.drain();
            return Ok(true);
        }
        let mut seen = 0;
        self.tasks.pass().map_err(|source| SchedError::Call { call: "visiting the tasks", source })?;
        let Self { object, runs, .. } = self;
        object.drain_rows(|record| {
            seen += u64::from(matches!(&record, Record::Task(task) if task.run == run.0));
            runs.observe(&record);
        });
        Ok(seen >= not_freed)
    }

    /// The processes of a run.
    pub(super) fn run_processes(&self, run: RunId) -> Processes {
        self.runs.processes(run)
    }
}
