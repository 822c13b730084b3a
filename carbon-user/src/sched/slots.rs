//! What programs on the context switch keep of each CPU, as times by key and accounts.

use super::object::HookCells;
use super::procstat::{Outside, ProcStat};
use crate::clock;
use crate::topology::Topology;
use crate::units::{CgroupId, CpuNanos};
use crate::window::{Accounts, Usage, WorkloadKey};
use carbon_ebpf::{KEY_IDLE, KEY_KERNEL_THREAD, PACKAGES_MAX, Slot};
use std::collections::HashMap;

/// Time by workload and package: several keys of the programs may be of one workload.
pub(super) type Rows = HashMap<WorkloadKey, Vec<CpuNanos>>;

/// What a name of the programs' keys is.
pub(super) fn workload(name: u64) -> WorkloadKey {
    WorkloadKey::of_task(CgroupId(name & !KEY_KERNEL_THREAD), name & KEY_KERNEL_THREAD != 0)
}

/// Everything that is kept from one reading to the next.
#[derive(Debug)]
pub(super) struct SlotTimes {
    package_of: Vec<usize>,
    packages: usize,
    /// Idle time of each CPU as it was last seen, so that an estimate for a running slice is never taken back.
    idle_ns: Vec<u64>,
    /// Time that each CPU was online, and was not.
    presence_ns: Vec<[u64; 2]>,
    outside: Outside,
    begin: Vec<Slot>,
    /// CPUs times clock, less what is known of windows in which CPUs came or went.
    wall_ns: u64,
    known_ns: u64,
    /// As they were told last: none falls.
    told_idle_ns: u64,
    irq_steal_ns: u64,
    missed_ns: u64,
}

impl SlotTimes {
    /// Everything is counted from these slots on, which were read when /proc/stat said `stat`.
    pub(super) fn new(topology: &Topology, stat: ProcStat, begin: Vec<Slot>) -> Self {
        Self {
            package_of: topology.package_of.iter().map(|package| usize::from(package.0)).collect(),
            packages: topology.packages.min(PACKAGES_MAX),
            idle_ns: vec![0; begin.len()],
            presence_ns: vec![[0; 2]; begin.len()],
            outside: Outside::new(stat, clock::monotonic_ns()),
            begin,
            wall_ns: 0,
            known_ns: 0,
            told_idle_ns: 0,
            irq_steal_ns: 0,
            missed_ns: 0,
        }
    }

    /// What the cells hold, by workload and package.
    pub(super) fn rows(&self, cells: &HookCells) -> Rows {
        let mut rows = HashMap::new();
        for (cpu, cell) in cells.iter() {
            self.add(&mut rows, cpu, cell.name, cell.exec_ns);
        }
        rows
    }

    /// Adds a CPU's time to the row that a name belongs to.
    pub(super) fn add(&self, rows: &mut Rows, cpu: usize, name: u64, exec_ns: u64) {
        let row = rows.entry(workload(name)).or_insert_with(|| vec![CpuNanos::ZERO; self.packages]);
        let package = self.package_of.get(cpu).copied().unwrap_or(0).min(self.packages.saturating_sub(1));
        if let Some(nanos) = row.get_mut(package) {
            *nanos += CpuNanos(exec_ns);
        }
    }

    /// Rows as a table.
    pub(super) fn usage(&self, rows: Rows) -> Usage {
        let mut usage = Usage::new(self.packages);
        for (key, nanos) in rows {
            usage.push(key, &nanos);
        }
        usage
    }

    /// Time outside workloads, where these were busy for so long and the CPUs have these slots.
    pub(super) fn accounts(
        &mut self,
        stat: ProcStat,
        slots: &[Slot],
        busy: CpuNanos,
        lost_events: u64,
    ) -> Accounts {
        let now_ns = clock::monotonic_ns();
        let passed_ns = now_ns.saturating_sub(self.outside.last_ns());
        for (cpu, [online_ns, offline_ns]) in self.presence_ns.iter_mut().enumerate() {
            let online = stat.cpus.iter().any(|(known, _)| *known == cpu);
            let present_ns = if online { online_ns } else { offline_ns };
            *present_ns = present_ns.saturating_add(passed_ns);
        }
        let passed = self.outside.update(stat, now_ns);
        let (mut missed_switches, mut overflow_ns) = (0_u64, 0_u64);
        let known = self.begin.iter().zip(&self.presence_ns).zip(&mut self.idle_ns);
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
        let inside_ns = idle_ns.saturating_add(overflow_ns).saturating_add(busy.0);
        let known_ns = inside_ns.saturating_add(irq_steal_ns);
        let more_ns = known_ns.saturating_sub(std::mem::replace(&mut self.known_ns, known_ns));
        self.wall_ns = self.wall_ns.saturating_add(passed.wall_ns.unwrap_or(more_ns));
        let outside_ns = self.wall_ns.saturating_sub(inside_ns);
        // A kernel that tells interrupts and steal by ticks leaves them in the times of tasks too.
        self.irq_steal_ns = self.irq_steal_ns.max(irq_steal_ns.min(outside_ns));
        let irq_steal_ns = self.irq_steal_ns;
        let mut rest_ns = outside_ns.saturating_sub(irq_steal_ns);
        let mut idle_ns = idle_ns;
        if missed_switches > 0 {
            // A CPU that was seen to leave idleness and not to enter it was idle for as long as the kernel says.
            let unseen_ns = self.outside.idle_ns.saturating_sub(idle_ns).min(rest_ns);
            idle_ns += unseen_ns;
            rest_ns -= unseen_ns;
            self.missed_ns = self.missed_ns.max(rest_ns);
        }
        self.told_idle_ns = self.told_idle_ns.max(idle_ns);
        Accounts {
            idle_ns: self.told_idle_ns,
            irq_steal_ns,
            missed_ns: self.missed_ns,
            overflow_ns,
            missed_switches,
            lost_events,
            clamped: 0,
            own_ns: 0,
        }
    }
}
