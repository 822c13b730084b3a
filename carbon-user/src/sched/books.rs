//! Rung 1: the scheduler's own books.
//!
//! The kernel adds the time of every task to its cgroup, per CPU, whether anybody looks or not; an iterator reads
//! the sums. Nothing is attached to the context switch. What runs now is booked up to its last tick.

use super::apart::Apart;
use super::enrol::Enrolment;
use super::iterator::KernelIterator;
use super::names::CgroupNames;
use super::procstat::{Outside, ProcStat};
use super::records::Record;
use super::runs::Processes;
use super::tracer::{Ended, Tracer};
use super::{Accounting, Limits, Rung, SchedError};
use crate::clock;
use crate::sysroot::SysRoot;
use crate::topology::Topology;
use crate::units::{CgroupId, CpuNanos, RunId};
use crate::window::{Accounts, Class, SchedSnapshot, Usage, WorkloadKey};
use carbon_ebpf::{PACKAGES_MAX, control, counter};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::fs::File;

/// Removed cgroups kept until their last reference goes.
const UNRELEASED_MAX: usize = 16_384;

type Nanos = [u64; PACKAGES_MAX];

/// The rung.
#[derive(Debug)]
pub struct Books {
    root: SysRoot,
    tracer: Tracer,
    cgroups: KernelIterator,
    ledger: Ledger,
    apart: Apart,
    rest: Rest,
}

impl Books {
    /// Loads and attaches the programs, and takes the first look: everything is counted from here.
    pub fn open(root: &SysRoot, topology: &Topology, limits: Limits) -> Result<Self, SchedError> {
        let mut tracer = Tracer::open(root, topology, limits, false)?;
        if !tracer.object.layout.has_books {
            return Err(SchedError::Btf { what: "cgroup.rstat_base_cpu and cgroup.rstat_cpu".into() });
        }
        let path = tracer.mount.path.clone();
        let top = File::open(&path)
            .map_err(|source| SchedError::Read { path: path.display().to_string(), source })?;
        let cgroups =
            KernelIterator::over_cgroups(tracer.object.load_iterator("carbon_cgroups", "cgroup")?, &top)
                .map_err(|source| SchedError::Call { call: "attaching the iterator over cgroups", source })?;
        tracer.object.loaded();
        let has_total = tracer.object.layout.has_total;
        let mut books = Self {
            root: root.clone(),
            tracer,
            cgroups,
            ledger: Ledger::new(topology.packages.min(PACKAGES_MAX)),
            apart: Apart::default(),
            rest: Rest::begin(ProcStat::read(root)?, has_total, 0),
        };
        books.look()?;
        // Again, so that wall clock, idle time and the time of tasks begin together.
        books.rest = Rest::begin(ProcStat::read(root)?, has_total, books.ledger.total.iter().sum());
        books.ledger.begun = true;
        Ok(books)
    }

    /// A look at everything.
    fn look(&mut self) -> Result<(), SchedError> {
        self.tracer.drain();
        let complete = self.visit_cgroups()?;
        self.tracer.visit_tasks()?;
        self.tracer.drain();
        for ended in self.tracer.take_ended() {
            self.ledger.ended(&ended);
        }
        self.ledger.lost_ends_ns = self.tracer.object.counter(counter::REMOVED_LOST_NS)?;
        self.ledger.settle(self.tracer.kernel_threads(), complete);
        Ok(())
    }

    /// Reads all cgroups, in as many passes as their number asks for. Returns whether every cgroup that was there
    /// all the time is certain to have been read: where cgroups came or went between two passes, the others may
    /// have changed places.
    fn visit_cgroups(&mut self) -> Result<bool, SchedError> {
        self.ledger.pass += 1;
        let rows_lost = self.tracer.object.counter(counter::ROWS_LOST)?;
        let (mut from, mut seen_first) = (0, None);
        loop {
            let Self { cgroups, ledger, tracer: Tracer { object, .. }, .. } = self;
            object.set_control(control::ROWS_FROM, from)?;
            object.clear_counter(counter::CGROUPS_SEEN)?;
            cgroups
                .pass(|| {})
                .map_err(|source| SchedError::Call { call: "visiting the cgroups", source })?;
            object.drain_rows(|record| match record {
                Record::Cgroup(cgroup, nanos) => ledger.live(CgroupId(cgroup), &nanos),
                Record::Total(nanos) => ledger.total = nanos,
                _ => {}
            });
            let seen = object.counter(counter::CGROUPS_SEEN)?;
            let stable = *seen_first.get_or_insert(seen) == seen;
            from += object.rows_a_pass;
            if seen <= from {
                return Ok(stable && object.counter(counter::ROWS_LOST)? == rows_lost);
            }
        }
    }

    fn accounts(&mut self) -> Result<Accounts, SchedError> {
        let exec_ns = self.ledger.total.iter().sum();
        let (idle_ns, irq_steal_ns) = self.rest.since_begin(ProcStat::read(&self.root)?, exec_ns);
        let lost_events = self.tracer.lost_events()?;
        Ok(Accounts {
            idle_ns,
            irq_steal_ns,
            missed_ns: 0,
            overflow_ns: self.ledger.overflow_ns,
            missed_switches: 0,
            lost_events,
            clamped: self.ledger.clamped,
            own_ns: 0,
        })
    }
}

impl Accounting for Books {
    fn rung(&self) -> Rung {
        Rung::Books
    }

    fn snapshot(&mut self) -> Result<SchedSnapshot, SchedError> {
        self.look()?;
        let accounts = self.accounts()?;
        let usage = self.apart.separate(self.ledger.usage(), self.tracer.runs.usage());
        self.ledger.retire();
        Ok(SchedSnapshot { usage, accounts })
    }

    fn drain(&mut self) -> Result<(), SchedError> {
        self.tracer.drain();
        Ok(())
    }

    fn cgroup_path(&self, cgroup: CgroupId) -> Option<&str> {
        let names: &CgroupNames = &self.tracer.names;
        names.path(cgroup)
    }

    fn open_run(&mut self, run: RunId) -> Result<Enrolment, SchedError> {
        self.tracer.open_run(run)
    }

    fn run_started(&mut self, _run: RunId, _pid: u32) {}

    fn run_alive(&mut self, run: RunId) -> Result<u64, SchedError> {
        self.tracer.run_alive(run)
    }

    fn run_settled(&mut self, run: RunId) -> Result<bool, SchedError> {
        self.tracer.run_settled(run)
    }

    fn run_processes(&self, run: RunId) -> Processes {
        self.tracer.run_processes(run)
    }
}

/// A cgroup's own time.
#[derive(Clone, Copy, Debug)]
struct Entry {
    nanos: Nanos,
    pass: u64,
    removed: bool,
    released: bool,
}

/// What the books say, as totals that never fall. No kernel here: rows in, usage out.
#[derive(Debug)]
struct Ledger {
    packages: usize,
    entries: FxHashMap<CgroupId, Entry>,
    /// Removed but not released, oldest first.
    unreleased: VecDeque<CgroupId>,
    pass: u64,
    begun: bool,
    /// Time of all tasks, as of the last pass.
    total: Nanos,
    total_begin: Option<Nanos>,
    /// What cgroups other than the root have added since the beginning.
    grown: Nanos,
    /// The root cgroup: the machine's total less all cgroups, never falling.
    root: Nanos,
    kernel: Nanos,
    kernel_begin: Option<CpuNanos>,
    /// Kernel threads' time booked so far.
    kernel_booked: u64,
    /// Sum of the finals whose events were lost, and what was already booked of them.
    lost_ends_ns: u64,
    lost_booked_ns: u64,
    overflow_ns: u64,
    clamped: u64,
}

impl Ledger {
    fn new(packages: usize) -> Self {
        Self {
            packages,
            entries: FxHashMap::default(),
            unreleased: VecDeque::new(),
            pass: 0,
            begun: false,
            total: [0; PACKAGES_MAX],
            total_begin: None,
            grown: [0; PACKAGES_MAX],
            root: [0; PACKAGES_MAX],
            kernel: [0; PACKAGES_MAX],
            kernel_begin: None,
            kernel_booked: 0,
            lost_ends_ns: 0,
            lost_booked_ns: 0,
            overflow_ns: 0,
            clamped: 0,
        }
    }

    /// A row of the iterator. A cgroup not known after the beginning is a new one, and began at zero.
    fn live(&mut self, cgroup: CgroupId, nanos: &Nanos) {
        let (begun, pass) = (self.begun, self.pass);
        let entry = self.entries.entry(cgroup).or_insert_with(|| Entry {
            nanos: if begun { [0; PACKAGES_MAX] } else { *nanos },
            pass,
            removed: false,
            released: false,
        });
        entry.pass = pass;
        for ((old, new), grown) in entry.nanos.iter_mut().zip(nanos).zip(&mut self.grown) {
            self.clamped += u64::from(new < old);
            *grown += new.saturating_sub(*old);
            *old = (*old).max(*new);
        }
    }

    /// A final. One of a cgroup that was dropped already adds nothing: its time was reported before.
    fn ended(&mut self, ended: &Ended) {
        if ended.released && !self.entries.contains_key(&ended.cgroup) {
            return;
        }
        self.live(ended.cgroup, &ended.exec_ns);
        let Some(entry) = self.entries.get_mut(&ended.cgroup) else { return };
        entry.released |= ended.released;
        if !entry.removed {
            entry.removed = true;
            self.unreleased.push_back(ended.cgroup);
        }
    }

    /// After the rows and events of a pass: the root, kernel threads, and cgroups whose end was lost.
    fn settle(&mut self, kernel_threads: CpuNanos, complete: bool) {
        if complete {
            self.vanished();
        }
        let begin = *self.total_begin.get_or_insert(self.total);
        let mut lost_ns = self.overflow_ns;
        let columns = self.total.iter().zip(&begin).zip(&self.grown).zip(&mut self.root);
        for (((total, begin), grown), root) in columns {
            // Cgroups are read a moment after the total: what they gained meanwhile is made good by the next pass.
            let rest = total.saturating_sub(*begin).saturating_sub(*grown);
            let lost_here = lost_ns.min(rest);
            lost_ns -= lost_here;
            *root = (*root).max(rest - lost_here);
        }
        self.book_kernel_threads(kernel_threads);
    }

    /// Kernel threads live in the root cgroup; their share of a package is that of the root's time there.
    fn book_kernel_threads(&mut self, kernel_threads: CpuNanos) {
        let begin = *self.kernel_begin.get_or_insert(kernel_threads);
        let root: u64 = self.root.iter().sum();
        let wanted = kernel_threads.saturating_sub(begin).0.min(root);
        let added = wanted.saturating_sub(self.kernel_booked);
        self.kernel_booked += added;
        let free: Vec<u64> =
            self.root.iter().zip(&self.kernel).map(|(root, kernel)| root.saturating_sub(*kernel)).collect();
        let all: u64 = free.iter().sum();
        let mut left = added.min(all);
        for (kernel, free) in self.kernel.iter_mut().zip(&free) {
            let share = u128::from(added) * u128::from(*free) / u128::from(all.max(1));
            let share = u64::try_from(share).unwrap_or(0).min(left).min(*free);
            *kernel += share;
            left -= share;
        }
        for (kernel, root) in self.kernel.iter_mut().zip(&self.root) {
            let share = left.min(root.saturating_sub(*kernel));
            *kernel += share;
            left -= share;
        }
    }

    /// Cgroups that a complete pass did not see and whose removal was not reported: their event was lost, and what
    /// they added since they were last seen is only in the sum of the lost.
    fn vanished(&mut self) {
        let pass = self.pass;
        for (cgroup, entry) in &mut self.entries {
            if !entry.removed && entry.pass != pass {
                entry.removed = true;
                entry.released = true;
                self.unreleased.push_back(*cgroup);
                self.lost_booked_ns += entry.nanos.iter().sum::<u64>();
            }
        }
        self.overflow_ns = self.overflow_ns.max(self.lost_ends_ns.saturating_sub(self.lost_booked_ns));
    }

    /// Cumulative time of everything known.
    fn usage(&self) -> Usage {
        let mut usage = Usage::new(self.packages);
        for (cgroup, entry) in &self.entries {
            push(&mut usage, WorkloadKey::cgroup(*cgroup), &entry.nanos);
        }
        let mut tasks = self.root;
        for (tasks, kernel) in tasks.iter_mut().zip(&self.kernel) {
            *tasks -= (*kernel).min(*tasks);
        }
        push(&mut usage, WorkloadKey::cgroup(CgroupId::ROOT), &tasks);
        let kernel = WorkloadKey { class: Class::KernelThreads, ..WorkloadKey::cgroup(CgroupId::ROOT) };
        push(&mut usage, kernel, &self.kernel);
        usage
    }

    /// Drops what was reported for the last time.
    fn retire(&mut self) {
        let Self { entries, unreleased, .. } = self;
        let mut surplus = unreleased.len().saturating_sub(UNRELEASED_MAX);
        unreleased.retain(|cgroup| {
            let drop = surplus > 0 || entries.get(cgroup).is_none_or(|entry| entry.released);
            if drop {
                surplus = surplus.saturating_sub(1);
                entries.remove(cgroup);
            }
            !drop
        });
    }
}

fn push(usage: &mut Usage, key: WorkloadKey, nanos: &Nanos) {
    if nanos.iter().any(|nanos| *nanos > 0) {
        usage.push(key, &nanos.map(CpuNanos));
    }
}

/// Time outside tasks: idle as /proc/stat has it, and the rest of the wall clock.
#[derive(Debug)]
struct Rest {
    outside: Outside,
    has_total: bool,
    exec_ns: u64,
    /// What tasks left of the wall clock, in sum: it swings by the ticks that they are behind.
    not_running_ns: i64,
    idle_ns: u64,
    irq_steal_ns: u64,
}

impl Rest {
    fn begin(begin: ProcStat, has_total: bool, exec_ns: u64) -> Self {
        let outside = Outside::new(begin, clock::monotonic_ns());
        Self { outside, has_total, exec_ns, not_running_ns: 0, idle_ns: 0, irq_steal_ns: 0 }
    }

    /// Idle and irq + steal + switching since the beginning; neither falls.
    fn since_begin(&mut self, now: ProcStat, exec_ns: u64) -> (u64, u64) {
        let known_ns = |outside: &Outside| (outside.idle_ns + outside.irq_steal_ns).cast_signed();
        let known_before_ns = known_ns(&self.outside);
        let passed = self.outside.update(now, clock::monotonic_ns());
        let ran_ns = exec_ns.saturating_sub(std::mem::replace(&mut self.exec_ns, exec_ns));
        self.not_running_ns += match passed.wall_ns {
            Some(wall_ns) => wall_ns.cast_signed() - ran_ns.cast_signed(),
            // Nobody knows how much of the wall clock a CPU had that went or came.
            None => known_ns(&self.outside) - known_before_ns,
        };
        let (idle_ns, irq_steal_ns) = if self.has_total {
            // 7.3 counts 7 % too much idle time on a CPU that wakes five times a second (seen in emulation): what tasks
            // leave of the wall clock is the most that it can be.
            let not_running_ns = u64::try_from(self.not_running_ns).unwrap_or(0);
            let idle_ns = self.idle_ns.max(self.outside.idle_ns.min(not_running_ns));
            (idle_ns, not_running_ns.saturating_sub(idle_ns))
        } else {
            (self.outside.idle_ns, self.outside.irq_steal_ns)
        };
        self.idle_ns = self.idle_ns.max(idle_ns);
        self.irq_steal_ns = self.irq_steal_ns.max(irq_steal_ns);
        (self.idle_ns, self.irq_steal_ns)
    }
}
