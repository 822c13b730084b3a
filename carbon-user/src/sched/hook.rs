//! Rung 2: a program on every context switch.
//!
//! At the edge of a window each busy CPU folds its own slot, so that what runs now is booked up to its last tick.
//! Idle CPUs are left asleep, and those without a tick (`nohz_full`) undisturbed: both are read as they stand, twice
//! where they moved meanwhile. A CPU that is offline keeps its slot, and has no time.

use super::apart::Apart;
use super::enrol::Enrolment;
use super::procstat::{Outside, ProcStat};
use super::runs::Processes;
use super::tracer::Tracer;
use super::{Accounting, Limits, Rung, SchedError};
use crate::clock;
use crate::sysroot::SysRoot;
use crate::topology::Topology;
use crate::units::{CgroupId, CpuNanos, RunId};
use crate::window::{Accounts, Class, SchedSnapshot, Usage, WorkloadKey};
use carbon_ebpf::{KEY_IDLE, KEY_KERNEL_THREAD, PACKAGES_MAX, Slot};
use std::collections::HashMap;

const FOLD: &str = "carbon_fold";
const PEEK: &str = "carbon_peek";

/// Attempts to read slots and cells while no CPU that is read passively moves.
const ATTEMPTS: usize = 3;

/// The rung.
#[derive(Debug)]
pub struct Hook {
    root: SysRoot,
    tracer: Tracer,
    package_of: Vec<usize>,
    packages: usize,
    apart: Apart,
    /// CPUs that are not to be disturbed.
    undisturbed: Vec<bool>,
    /// Idle time of each CPU as it was last seen, so that an estimate for a running slice is never taken back.
    idle_ns: Vec<u64>,
    /// Time that each CPU was online, and was not.
    presence_ns: Vec<[u64; 2]>,
    outside: Outside,
    begin_slots: Vec<Slot>,
    /// CPUs times clock, less what is known of windows in which CPUs came or went.
    wall_ns: u64,
    known_ns: u64,
    missed_ns: u64,
}

impl Hook {
    /// Loads and attaches the programs and fills the slots: everything is counted from here.
    pub fn open(root: &SysRoot, topology: &Topology, limits: Limits) -> Result<Self, SchedError> {
        let mut tracer = Tracer::open(root, topology, limits, true)?;
        tracer.object.load_on_demand(FOLD)?;
        tracer.object.load("carbon_switch", "sched_switch")?;
        tracer.object.attach("carbon_switch")?;
        tracer.object.loaded();
        let begin = ProcStat::read(root)?;
        for (cpu, _) in &begin.cpus {
            fold(&mut tracer, *cpu)?;
        }
        let begin_slots = tracer.object.slots()?;
        let tickless = root.tickless_cpus();
        let undisturbed = (0..)
            .take(begin_slots.len())
            .map(|cpu: u32| limits.disturb_no_cpu || tickless.contains(&cpu))
            .collect::<Vec<_>>();
        if undisturbed.contains(&true) {
            // It needs a helper of 5.19; before, what runs on such a CPU is booked when it switches.
            tracer.object.load_on_demand(PEEK)?;
        }
        Ok(Self {
            root: root.clone(),
            tracer,
            package_of: topology.package_of.iter().map(|package| usize::from(package.0)).collect(),
            packages: topology.packages.min(PACKAGES_MAX),
            apart: Apart::default(),
            undisturbed,
            idle_ns: vec![0; begin_slots.len()],
            presence_ns: vec![[0; 2]; begin_slots.len()],
            outside: Outside::new(begin, clock::monotonic_ns()),
            begin_slots,
            wall_ns: 0,
            known_ns: 0,
            missed_ns: 0,
        })
    }

    /// Has every busy CPU book what it runs now. A CPU that went offline meanwhile is no error.
    fn fold_busy(&mut self, online: &ProcStat) -> Result<(), SchedError> {
        let slots = self.tracer.object.slots()?;
        for (cpu, _) in &online.cpus {
            if slots.get(*cpu).is_some_and(|slot| slot.key != KEY_IDLE)
                && !self.is_undisturbed(*cpu)
                && let Err(error) = fold(&mut self.tracer, *cpu)
            {
                log::debug!("CPU {cpu} keeps its running slice until the next window: {error}");
            }
        }
        Ok(())
    }

    fn is_undisturbed(&self, cpu: usize) -> bool {
        self.undisturbed.get(cpu).copied().unwrap_or(false)
    }

    /// Time by key, and the slots that belong to it.
    fn read(&mut self) -> Result<(Usage, Vec<Slot>), SchedError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let before = self.tracer.object.slots()?;
            let mut rows = self.cells()?;
            self.add_running(&before, &mut rows)?;
            let after = self.tracer.object.slots()?;
            // Those that were folded go on: what they add is in the next reading.
            let moved = before.iter().zip(&after).enumerate().any(|(cpu, (before, after))| {
                let passive = before.key == KEY_IDLE || self.is_undisturbed(cpu);
                passive && (before.sequence != after.sequence || before.sequence % 2 == 1)
            });
            if !moved || attempt == ATTEMPTS {
                return Ok((self.usage(rows), before));
            }
        }
    }

    /// What the cells hold, by key and package.
    fn cells(&self) -> Result<HashMap<u64, Vec<CpuNanos>>, SchedError> {
        let mut rows = HashMap::new();
        self.tracer.object.cells(|cpu, key, exec_ns| self.add(&mut rows, cpu, key, exec_ns))?;
        Ok(rows)
    }

    fn add(&self, rows: &mut HashMap<u64, Vec<CpuNanos>>, cpu: usize, key: u64, exec_ns: u64) {
        let row = rows.entry(key).or_insert_with(|| vec![CpuNanos::ZERO; self.packages]);
        let package = self.package_of.get(cpu).copied().unwrap_or(0).min(self.packages.saturating_sub(1));
        if let Some(nanos) = row.get_mut(package) {
            *nanos += CpuNanos(exec_ns);
        }
    }

    /// Adds what runs on CPUs that are not to be disturbed, up to their last tick.
    fn add_running(
        &mut self,
        slots: &[Slot],
        rows: &mut HashMap<u64, Vec<CpuNanos>>,
    ) -> Result<(), SchedError> {
        for (cpu, slot) in slots.iter().enumerate() {
            if slot.key == KEY_IDLE || slot.task == 0 || !self.is_undisturbed(cpu) {
                continue;
            }
            self.tracer.object.run_on_demand(PEEK, cpu as u64, None)?;
            let peek = self.tracer.object.peeked()?;
            let same = peek.sequence == u64::from(slot.sequence);
            let running_ns = if same { peek.exec_ns.saturating_sub(slot.booked_ns) } else { 0 };
            self.add(rows, cpu, slot.key, slot.pending_ns.saturating_add(running_ns));
        }
        Ok(())
    }

    fn usage(&self, rows: HashMap<u64, Vec<CpuNanos>>) -> Usage {
        let mut usage = Usage::new(self.packages);
        for (key, nanos) in rows {
            let class = if key & KEY_KERNEL_THREAD == 0 { Class::Tasks } else { Class::KernelThreads };
            let cgroup = CgroupId(key & !KEY_KERNEL_THREAD);
            usage.push(WorkloadKey { cgroup, class, run: None }, &nanos);
        }
        usage
    }

    fn accounts(&mut self, slots: &[Slot], busy: CpuNanos) -> Result<Accounts, SchedError> {
        let stat = ProcStat::read(&self.root)?;
        let now_ns = clock::monotonic_ns();
        let passed_ns = now_ns.saturating_sub(self.outside.last_ns());
        for (cpu, [online_ns, offline_ns]) in self.presence_ns.iter_mut().enumerate() {
            let online = stat.cpus.iter().any(|(known, _)| *known == cpu);
            let present_ns = if online { online_ns } else { offline_ns };
            *present_ns = present_ns.saturating_add(passed_ns);
        }
        let passed = self.outside.update(stat, now_ns);
        let (mut missed_switches, mut overflow_ns) = (0_u64, 0_u64);
        let known = self.begin_slots.iter().zip(&self.presence_ns).zip(&mut self.idle_ns);
        for (slot, ((begin, [online_ns, offline_ns]), idle_ns)) in slots.iter().zip(known) {
            let running = if slot.key == KEY_IDLE { now_ns.saturating_sub(slot.idle_since_ns) } else { 0 };
            // The slice that was running at the beginning is counted from there. A CPU that goes offline is idle to its
            // slot until it comes back.
            let idle = slot.idle_ns.saturating_add(running).saturating_sub(begin.idle_ns);
            let idle = idle.saturating_sub(*offline_ns);
            *idle_ns = (*idle_ns).max(idle.min(*online_ns));
            missed_switches += u64::from(slot.missed_switches.wrapping_sub(begin.missed_switches));
            overflow_ns += slot.overflow_ns;
        }
        let idle_ns = self.idle_ns.iter().sum::<u64>();
        let irq_steal_ns = self.outside.irq_steal_ns;
        // Without a switch unseen, what is left of the wall clock is a tick's delay and the switches themselves.
        let known_ns = [idle_ns, irq_steal_ns, overflow_ns, busy.0]
            .iter()
            .fold(0, |sum: u64, part| sum.saturating_add(*part));
        let more_ns = known_ns.saturating_sub(std::mem::replace(&mut self.known_ns, known_ns));
        self.wall_ns = self.wall_ns.saturating_add(passed.wall_ns.unwrap_or(more_ns));
        let rest = self.wall_ns.saturating_sub(known_ns);
        if missed_switches > 0 {
            self.missed_ns = self.missed_ns.max(rest);
        }
        Ok(Accounts {
            idle_ns,
            irq_steal_ns,
            missed_ns: self.missed_ns,
            overflow_ns,
            missed_switches,
            lost_events: self.tracer.lost_events()?,
            clamped: 0,
            own_ns: 0,
        })
    }
}

fn fold(tracer: &mut Tracer, cpu: usize) -> Result<(), SchedError> {
    tracer.object.run_on_demand(FOLD, 0, u32::try_from(cpu).ok())
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
        let (usage, slots) = self.read()?;
        self.tracer.drain();
        self.tracer.take_ended();
        let accounts = self.accounts(&slots, usage.total())?;
        let usage = self.apart.separate(usage, self.tracer.runs.usage());
        Ok(SchedSnapshot { usage, accounts, awake: self.tracer.awake()? })
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
        self.tracer.run_alive(run)
    }

    fn run_settled(&mut self, run: RunId) -> Result<bool, SchedError> {
        self.tracer.run_settled(run)
    }

    fn run_processes(&self, run: RunId) -> Processes {
        self.tracer.run_processes(run)
    }
}
