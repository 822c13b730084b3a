//! Rung 1: the scheduler's own books.
//!
//! The kernel adds the time of every task to its cgroup, per CPU, whether anybody looks or not; an iterator reads
//! the sums. Nothing is attached to the context switch. What runs now is booked up to its last tick.

use super::apart::Apart;
use super::cgroup_totals::CgroupTotals;
use super::iterator::KernelIterator;
use super::names::CgroupNames;
use super::procstat::{Outside, ProcStat};
use super::records::Record;
use super::tracer::Tracer;
use super::{Accounting, Limits, Rung, Runs, SchedError};
use crate::clock;
use crate::sysroot::SysRoot;
use crate::topology::Topology;
use crate::units::CgroupId;
use crate::window::{Accounts, SchedSnapshot};
use carbon_ebpf::{PACKAGES_MAX, control, counter};
use std::fs::File;

/// The rung.
#[derive(Debug)]
pub struct Books {
    root: SysRoot,
    tracer: Tracer,
    cgroups: KernelIterator,
    totals: CgroupTotals,
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
        if !tracer.mount.is_whole() {
            return Err(SchedError::NoSuch {
                what: "mount of the whole cgroup hierarchy, which the books are read from: a private cgroup namespace \
                       shows a part",
            });
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
            totals: CgroupTotals::new(topology.packages.min(PACKAGES_MAX)),
            apart: Apart::default(),
            rest: Rest::begin(ProcStat::read(root)?, has_total, 0),
        };
        books.look()?;
        // Again, so that wall clock, idle time and the time of tasks begin together.
        books.rest = Rest::begin(ProcStat::read(root)?, has_total, books.totals.total.iter().sum());
        books.totals.begun = true;
        Ok(books)
    }

    /// A look at everything.
    fn look(&mut self) -> Result<(), SchedError> {
        self.tracer.drain();
        let complete = self.visit_cgroups()?;
        self.tracer.visit_tasks()?;
        self.tracer.drain();
        for ended in self.tracer.take_ended() {
            self.totals.ended(&ended);
        }
        self.totals.lost_events = self.tracer.object.counter(counter::EVENTS_LOST)?;
        self.totals.lost_ends_ns = self.tracer.object.counter(counter::REMOVED_LOST_NS)?;
        self.totals.settle(self.tracer.kernel_threads(), complete);
        Ok(())
    }

    /// Reads all cgroups, in as many passes as their number asks for. Returns whether every cgroup that was there
    /// all the time is certain to have been read: where cgroups came or went between two passes, the others may
    /// have changed places.
    fn visit_cgroups(&mut self) -> Result<bool, SchedError> {
        self.totals.pass += 1;
        let rows_lost = self.tracer.object.counter(counter::ROWS_LOST)?;
        let (mut from, mut seen_first) = (0, None);
        loop {
            let Self { cgroups, totals, tracer: Tracer { object, .. }, .. } = self;
            object.set_control(control::ROWS_FROM, from)?;
            object.clear_counter(counter::CGROUPS_SEEN)?;
            cgroups
                .pass(|| {})
                .map_err(|source| SchedError::Call { call: "visiting the cgroups", source })?;
            object.drain_rows(|record| match record {
                Record::Cgroup(time) => totals.live(&time),
                Record::Total(nanos) => totals.total = nanos,
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
        let exec_ns = self.totals.total.iter().sum();
        let (idle_ns, irq_steal_ns) = self.rest.since_begin(ProcStat::read(&self.root)?, exec_ns);
        let lost_events = self.tracer.lost_events()?;
        Ok(Accounts {
            idle_ns,
            irq_steal_ns,
            missed_ns: 0,
            overflow_ns: self.totals.overflow_ns,
            missed_switches: 0,
            lost_events,
            clamped: self.totals.clamped,
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
        let usage = self.apart.separate(self.totals.usage(), self.tracer.runs.usage());
        self.tracer.runs.forget_gone(&self.totals.retire());
        Ok(SchedSnapshot { usage, accounts, awake: self.tracer.awake()? })
    }

    fn drain(&mut self) -> Result<(), SchedError> {
        self.tracer.drain();
        Ok(())
    }

    fn cgroup_path(&self, cgroup: CgroupId) -> Option<&str> {
        let names: &CgroupNames = &self.tracer.names;
        names.path(cgroup)
    }

    fn is_removed(&self, cgroup: CgroupId) -> bool {
        self.tracer.names.is_removed(cgroup)
    }

    fn runs(&mut self) -> &mut dyn Runs {
        &mut self.tracer
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
