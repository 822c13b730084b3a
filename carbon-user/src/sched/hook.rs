//! Rung 2: a program on every context switch.
//!
//! At the edge of a window each busy CPU folds its own slot, so that what runs now is booked up to its last tick.
//! Idle CPUs are left asleep, and those without a tick (`nohz_full`) undisturbed: both are read as they stand, twice
//! where they moved meanwhile. A CPU that is offline keeps its slot, and has no time.

use super::apart::Apart;
use super::object::{ARGUMENTS, HookCells};
use super::procstat::ProcStat;
use super::slots::{Rows, SlotTimes, workload};
use super::tracer::Tracer;
use super::{Accounting, Limits, Rung, Runs, SchedError};
use crate::sysroot::SysRoot;
use crate::topology::Topology;
use crate::units::{CgroupId, CpuNanos};
use crate::window::{SchedSnapshot, Usage, WorkloadKey};
use carbon_ebpf::{KEY_IDLE, KEY_KERNEL_THREAD, Slot};
use std::collections::{BTreeMap, HashMap, HashSet};

const FOLD: &str = "carbon_fold";
const PEEK: &str = "carbon_peek";
const FORGET: &str = "carbon_forget";

/// Attempts to read slots and cells while no CPU that is read passively moves.
const ATTEMPTS: usize = 3;

/// The rung.
#[derive(Debug)]
pub struct Hook {
    root: SysRoot,
    tracer: Tracer,
    times: SlotTimes,
    apart: Apart,
    /// CPUs that are not to be disturbed.
    undisturbed: Vec<bool>,
    /// What runs there can be read from outside.
    peeks: bool,
    /// Cgroups that nothing can be booked to any more, and that are in the maps.
    released: HashSet<CgroupId>,
    /// Time of those that were forgotten.
    forgotten: CpuNanos,
}

impl Hook {
    /// Loads and attaches the programs and fills the slots: everything is counted from here.
    pub fn open(root: &SysRoot, topology: &Topology, limits: Limits) -> Result<Self, SchedError> {
        let mut tracer = Tracer::open(root, topology, limits, true)?;
        tracer.object.load_on_demand(FOLD)?;
        tracer.object.load_on_demand(FORGET)?;
        tracer.object.load("carbon_switch", "sched_switch")?;
        tracer.object.load("carbon_leave", "sched_process_exit")?;
        tracer.object.attach("carbon_switch")?;
        tracer.object.attach("carbon_leave")?;
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
        // It needs a helper of 5.19; before, what runs on such a CPU is booked when it switches.
        let peeks = undisturbed.contains(&true) && tracer.object.load_on_demand(PEEK).is_ok();
        Ok(Self {
            root: root.clone(),
            tracer,
            times: SlotTimes::new(topology, begin, begin_slots),
            apart: Apart::default(),
            undisturbed,
            peeks,
            released: HashSet::new(),
            forgotten: CpuNanos::ZERO,
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
            let cells = self.tracer.object.cells()?;
            let mut rows = self.times.rows(&cells);
            self.add_running(&before, &cells, &mut rows)?;
            let after = self.tracer.object.slots()?;
            // Those that were folded go on: what they add is in the next reading.
            let moved = before.iter().zip(&after).enumerate().any(|(cpu, (before, after))| {
                let passive = before.key == KEY_IDLE || self.is_undisturbed(cpu);
                passive && (before.sequence != after.sequence || before.sequence % 2 == 1)
            });
            if !moved || attempt == ATTEMPTS {
                return Ok((self.times.usage(rows), before));
            }
        }
    }

    /// Adds what runs on CPUs that are not to be disturbed, up to their last tick.
    fn add_running(&mut self, slots: &[Slot], cells: &HookCells, rows: &mut Rows) -> Result<(), SchedError> {
        if !self.peeks {
            return Ok(());
        }
        for (cpu, slot) in slots.iter().enumerate() {
            if slot.key == KEY_IDLE || slot.task == 0 || !self.is_undisturbed(cpu) {
                continue;
            }
            self.tracer.object.run_on_demand(PEEK, cpu as u64, None)?;
            let peek = self.tracer.object.peeked()?;
            let same = peek.sequence == u64::from(slot.sequence);
            let running_ns = if same { peek.exec_ns.saturating_sub(slot.booked_ns) } else { 0 };
            let pending = (cells.name_of(cpu, slot.key), slot.pending_ns);
            for (name, exec_ns) in [pending, (peek.name, running_ns)] {
                if exec_ns > 0 {
                    self.times.add(rows, cpu, name, exec_ns);
                }
            }
        }
        Ok(())
    }
}

impl Hook {
    /// Gives the places of released cgroups to others. What they had is in `usage`, told for the last time. Where a CPU
    /// that is not to be disturbed has a cell of one, it stays. Gives those that nothing is left of.
    fn forget(&mut self, usage: &Usage) -> Result<HashSet<CgroupId>, SchedError> {
        if self.released.is_empty() {
            return Ok(HashSet::new());
        }
        // By name: the CPUs that have time of it, and the key of its cells there.
        let mut on: HashMap<u64, HashMap<usize, u64>> = HashMap::new();
        for (cpu, cell) in self.tracer.object.cells()?.iter() {
            if self.released.contains(&CgroupId(cell.name & !KEY_KERNEL_THREAD)) {
                let key = on.entry(cell.name).or_default().entry(cpu).or_default();
                *key = (*key).max(cell.key);
            }
        }
        let told: HashMap<WorkloadKey, CpuNanos> =
            usage.rows().map(|(key, nanos)| (key, nanos.iter().copied().sum())).collect();
        // All names of a cgroup, or none: what it had was told as one.
        let undisturbed = on.iter().filter(|(_, cpus)| cpus.keys().any(|cpu| self.is_undisturbed(*cpu)));
        let kept: HashSet<CgroupId> =
            undisturbed.map(|(name, _)| CgroupId(name & !KEY_KERNEL_THREAD)).collect();
        on.retain(|name, _| !kept.contains(&CgroupId(name & !KEY_KERNEL_THREAD)));
        let mut by_cpu: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
        for (cpu, key) in on.values().flatten().filter(|(_, key)| **key != 0) {
            by_cpu.entry(*cpu).or_default().push(*key);
        }
        for (cpu, keys) in by_cpu {
            for keys in keys.chunks(ARGUMENTS) {
                let mut arguments = [0; ARGUMENTS];
                for (argument, key) in arguments.iter_mut().zip(keys) {
                    *argument = *key;
                }
                self.tracer.object.run_with(FORGET, arguments, u32::try_from(cpu).ok())?;
            }
        }
        for name in on.keys() {
            self.tracer.object.forget_crowded(*name)?;
        }
        let gone: HashSet<WorkloadKey> = on.keys().map(|name| workload(*name)).collect();
        self.forgotten += gone.iter().filter_map(|key| told.get(key)).copied().sum();
        let mut released = std::mem::replace(&mut self.released, kept);
        released.retain(|cgroup| !self.released.contains(cgroup));
        Ok(released)
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
        // Released before they are read: nothing is added to them afterwards.
        let released = self.tracer.take_ended().into_iter().filter(|ended| ended.released);
        self.released.extend(released.map(|ended| ended.time.cgroup));
        let (usage, slots) = self.read()?;
        self.tracer.drain();
        let accounts = self.times.accounts(
            ProcStat::read(&self.root)?,
            &slots,
            usage.total() + self.forgotten,
            self.tracer.lost_events()?,
        );
        let gone = self.forget(&usage)?;
        let usage = self.apart.separate(usage, self.tracer.runs.usage());
        self.tracer.runs.forget_gone(&gone);
        Ok(SchedSnapshot { usage, accounts, awake: self.tracer.awake()? })
    }

    fn drain(&mut self) -> Result<(), SchedError> {
        self.tracer.drain();
        Ok(())
    }

    fn cgroup_path(&self, cgroup: CgroupId) -> Option<&str> {
        self.tracer.names.path(cgroup)
    }

    fn is_removed(&self, cgroup: CgroupId) -> bool {
        self.tracer.names.is_removed(cgroup)
    }

    fn runs(&mut self) -> &mut dyn Runs {
        &mut self.tracer
    }
}
