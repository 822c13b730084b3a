//! Rung 2: a program on every context switch.
//!
//! At the edge of a window each busy CPU folds its own slot, so that what runs now is booked up to its last tick;
//! idle CPUs are left asleep and read as they stand.

use super::apart::Apart;
use super::enrol::Enrolment;
use super::procstat::ProcStat;
use super::runs::Processes;
use super::tracer::Tracer;
use super::{Accounting, Limits, Rung, SchedError};
use crate::clock;
use crate::sysroot::SysRoot;
use crate::topology::Topology;
use crate::units::{CgroupId, CpuNanos, RunId};
use crate::window::{Accounts, Class, SchedSnapshot, Usage, WorkloadKey};
use carbon_ebpf::{KEY_IDLE, KEY_KERNEL_THREAD, PACKAGES_MAX, Slot, counter};
use std::collections::HashMap;

const PROGRAM: &str = "carbon_fold";

/// The rung.
#[derive(Debug)]
pub struct Hook {
    root: SysRoot,
    tracer: Tracer,
    package_of: Vec<usize>,
    packages: usize,
    apart: Apart,
    /// Idle time of each CPU as it was last seen, so that an estimate for a running slice is never taken back.
    idle_ns: Vec<u64>,
    begin: ProcStat,
    begin_slots: Vec<Slot>,
    last_ns: u64,
    wall_ns: u64,
    missed_ns: u64,
}

impl Hook {
    /// Loads and attaches the programs and fills the slots: everything is counted from here.
    pub fn open(root: &SysRoot, topology: &Topology, limits: Limits) -> Result<Self, SchedError> {
        let mut tracer = Tracer::open(root, topology, limits, true)?;
        tracer.object.load_on_demand(PROGRAM)?;
        tracer.object.load("carbon_switch", "sched_switch")?;
        tracer.object.attach("carbon_switch")?;
        tracer.object.loaded();
        let begin = ProcStat::read(root)?;
        for (cpu, _) in &begin.cpus {
            fold(&mut tracer, *cpu)?;
        }
        let begin_slots = tracer.object.slots()?;
        let last_ns = clock::monotonic_ns();
        Ok(Self {
            root: root.clone(),
            tracer,
            package_of: topology.package_of.iter().map(|package| usize::from(package.0)).collect(),
            packages: topology.packages.min(PACKAGES_MAX),
            apart: Apart::default(),
            idle_ns: vec![0; begin_slots.len()],
            begin,
            begin_slots,
            last_ns,
            wall_ns: 0,
            missed_ns: 0,
        })
    }

    /// Has every busy CPU book what it runs now. A CPU that went offline meanwhile is no error.
    fn fold_busy(&mut self, online: &ProcStat) -> Result<(), SchedError> {
        let slots = self.tracer.object.slots()?;
        for (cpu, _) in &online.cpus {
            if slots.get(*cpu).is_some_and(|slot| slot.key != KEY_IDLE)
                && let Err(error) = fold(&mut self.tracer, *cpu)
            {
                log::debug!("CPU {cpu} keeps its running slice until the next window: {error}");
            }
        }
        Ok(())
    }

    fn usage(&self) -> Result<Usage, SchedError> {
        let mut rows: HashMap<u64, Vec<CpuNanos>> = HashMap::new();
        self.tracer.object.cells(|cpu, key, exec_ns| {
            let row = rows.entry(key).or_insert_with(|| vec![CpuNanos::ZERO; self.packages]);
            let package = self.package_of.get(cpu).copied().unwrap_or(0).min(self.packages.saturating_sub(1));
            if let Some(nanos) = row.get_mut(package) {
                *nanos += CpuNanos(exec_ns);
            }
        })?;
        let mut usage = Usage::new(self.packages);
        for (key, nanos) in rows {
            let class = if key & KEY_KERNEL_THREAD == 0 { Class::Tasks } else { Class::KernelThreads };
            let cgroup = CgroupId(key & !KEY_KERNEL_THREAD);
            usage.push(WorkloadKey { cgroup, class, run: None }, &nanos);
        }
        Ok(usage)
    }

    fn accounts(&mut self, busy: CpuNanos) -> Result<Accounts, SchedError> {
        let stat = ProcStat::read(&self.root)?;
        let slots = self.tracer.object.slots()?;
        let now_ns = clock::monotonic_ns();
        let passed = now_ns.saturating_sub(std::mem::replace(&mut self.last_ns, now_ns));
        self.wall_ns = self.wall_ns.saturating_add(passed.saturating_mul(stat.cpus.len() as u64));
        let (mut missed_switches, mut overflow_ns) = (0_u64, 0_u64);
        for ((slot, begin), idle_ns) in slots.iter().zip(&self.begin_slots).zip(&mut self.idle_ns) {
            let running = if slot.key == KEY_IDLE { now_ns.saturating_sub(slot.idle_since_ns) } else { 0 };
            // The slice that was running at the beginning is counted from there.
            let before = begin.idle_ns;
            *idle_ns = (*idle_ns).max(slot.idle_ns.saturating_add(running).saturating_sub(before));
            missed_switches += slot.missed_switches.saturating_sub(begin.missed_switches);
            overflow_ns += slot.overflow_ns;
        }
        let idle_ns = self.idle_ns.iter().sum::<u64>();
        let irq_steal_ns = stat.all.irq_steal_ns.saturating_sub(self.begin.all.irq_steal_ns);
        // Without a switch unseen, what is left of the wall clock is a tick's delay and the switches themselves.
        let rest = [idle_ns, irq_steal_ns, overflow_ns, busy.0]
            .iter()
            .fold(self.wall_ns, |rest, part| rest.saturating_sub(*part));
        if missed_switches > 0 {
            self.missed_ns = self.missed_ns.max(rest);
        }
        Ok(Accounts {
            idle_ns,
            irq_steal_ns,
            missed_ns: self.missed_ns,
            overflow_ns,
            missed_switches,
            lost_events: self.tracer.object.counter(counter::EVENTS_LOST)?,
            clamped: 0,
        })
    }
}

fn fold(tracer: &mut Tracer, cpu: usize) -> Result<(), SchedError> {
    tracer.object.run_on_demand(PROGRAM, u32::try_from(cpu).ok())
}

impl Accounting for Hook {
    fn rung(&self) -> Rung {
        Rung::Hook
    }

    fn snapshot(&mut self) -> Result<SchedSnapshot, SchedError> {
        let online = ProcStat::read(&self.root)?;
        self.tracer.drain();
        self.tracer.visit_tasks()?;
        self.fold_busy(&online)?;
        let usage = self.usage()?;
        self.tracer.drain();
        self.tracer.take_ended();
        let accounts = self.accounts(usage.total())?;
        let usage = self.apart.separate(usage, self.tracer.runs.usage());
        Ok(SchedSnapshot { usage, accounts })
    }

    fn drain(&mut self) -> Result<(), SchedError> {
        self.tracer.drain();
        Ok(())
    }

    fn cgroup_path(&self, cgroup: CgroupId) -> Option<&str> {
        self.tracer.names.path(cgroup)
    }

    fn open_run(&mut self, run: RunId) -> Result<Enrolment, SchedError> {
        self.tracer.open_run(run)
    }

    fn run_started(&mut self, _run: RunId, _pid: u32) {}

    fn run_alive(&mut self, run: RunId) -> Result<u64, SchedError> {
        Ok(self.tracer.object.run_counts(run)?.alive)
    }

    fn run_settled(&mut self, run: RunId) -> Result<bool, SchedError> {
        self.tracer.run_settled(run)
    }

    fn run_processes(&self, run: RunId) -> Processes {
        self.tracer.run_processes(run)
    }
}
