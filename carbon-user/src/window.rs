//! A window: scheduler time and joules between two edges, taken together. The only input of attribution.
//!
//! A [`SchedSnapshot`] and the meters' readings are cumulative; a [`Window`] is the difference of two, complete
//! and immutable: nothing after this module reads a counter. Everything here is plain data and arithmetic.

pub mod counts;
mod device;

pub use device::{DeviceInstance, DeviceRow, DeviceUsage};

use crate::claims::Claims;
use crate::units::{CgroupId, CpuNanos, Microjoules, PackageId, Quality, RunId, Watts};
use rustc_hash::FxHashMap;
use std::rc::Rc;
use std::time::Duration;

/// What kind of task the time belongs to; kept apart although all may share a cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Processes.
    Tasks,
    /// Kernel threads (`PF_KTHREAD`) of the root cgroup. Those that are in another work for it and are booked to it, as in
    /// its cpu.stat: vhost's are put into the cgroup of their virtual machine.
    KernelThreads,
}

/// What CPU time is booked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadKey {
    /// The cgroup whose own tasks ran (not its descendants').
    pub cgroup: CgroupId,
    /// The class of these tasks.
    pub class: Class,
    /// The run they belong to; a cgroup's time is disjoint from that of the runs inside it.
    pub run: Option<RunId>,
}

impl WorkloadKey {
    /// The row for what did not fit in a bounded table: time and energy are kept, the name is not. No directory
    /// has this inode number: the kernel hands them out from 1 upwards.
    pub const OVERFLOW: Self = Self { cgroup: CgroupId(u64::MAX), class: Class::Tasks, run: None };

    /// Processes of a cgroup that belong to no run.
    pub fn cgroup(cgroup: CgroupId) -> Self {
        Self { cgroup, class: Class::Tasks, run: None }
    }

    /// What a task of a cgroup is booked to that belongs to no run.
    pub fn of_task(cgroup: CgroupId, kernel_thread: bool) -> Self {
        let apart = kernel_thread && cgroup == CgroupId::ROOT;
        let class = if apart { Class::KernelThreads } else { Class::Tasks };
        Self { cgroup, class, run: None }
    }
}

/// CPU time per workload and package. Rows are unique; their order has no meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    packages: usize,
    keys: Vec<WorkloadKey>,
    nanos: Vec<CpuNanos>,
    device: Option<Box<DeviceUsage>>,
}

impl Usage {
    /// An empty table for a machine with `packages` packages (at least one).
    pub fn new(packages: usize) -> Self {
        Self { packages: packages.max(1), ..Self::default() }
    }

    /// The use of a device that is not a processor: no CPU time.
    pub fn of_device(device: DeviceUsage) -> Self {
        Self { device: Some(Box::new(device)), ..Self::new(1) }
    }

    /// The use of a device, where it is one.
    pub fn device(&self) -> Option<&DeviceUsage> {
        self.device.as_deref()
    }

    /// Columns of the table.
    pub fn packages(&self) -> usize {
        self.packages
    }

    /// Rows of the table.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Appends a row. `nanos` is by package; missing packages count as zero, surplus ones are ignored.
    /// The caller keeps keys unique.
    pub fn push(&mut self, key: WorkloadKey, nanos: &[CpuNanos]) {
        self.keys.push(key);
        let columns = nanos.iter().copied().chain(std::iter::repeat(CpuNanos::ZERO)).take(self.packages);
        self.nanos.extend(columns);
    }

    /// Rows in order: key and time by package.
    pub fn rows(&self) -> impl Iterator<Item = (WorkloadKey, &[CpuNanos])> {
        self.keys.iter().copied().zip(self.nanos.chunks_exact(self.packages.max(1)))
    }

    /// Time of every row on one package, in the order of [`rows`](Self::rows).
    pub fn on_package(&self, package: PackageId) -> impl Iterator<Item = (WorkloadKey, CpuNanos)> {
        self.rows()
            .map(move |(key, nanos)| (key, nanos.get(usize::from(package.0)).copied().unwrap_or_default()))
    }

    /// Sum of all rows and packages.
    pub fn total(&self) -> CpuNanos {
        self.nanos.iter().copied().sum()
    }

    /// What was added since `earlier`. A workload that `earlier` does not know began at zero; one that only
    /// `earlier` knows had its final reported in it. A total that fell counts as no time and is counted in the
    /// second value.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> (Self, u64) {
        let before: FxHashMap<WorkloadKey, &[CpuNanos]> = earlier.rows().collect();
        let mut grown = Self::new(self.packages);
        let mut fallen = 0;
        let mut row = Vec::with_capacity(self.packages);
        for (key, nanos) in self.rows() {
            row.clear();
            let old = before.get(&key).copied().unwrap_or(&[]);
            for (package, now) in nanos.iter().enumerate() {
                let then = old.get(package).copied().unwrap_or_default();
                fallen += u64::from(then > *now);
                row.push(now.saturating_sub(then));
            }
            if row.iter().any(|nanos| *nanos > CpuNanos::ZERO) {
                grown.push(key, &row);
            }
        }
        (grown, fallen)
    }

    /// The same books with every total that fell below `earlier` held there, so that what falls and rises again
    /// is not counted twice.
    #[must_use]
    pub fn held_at(mut self, earlier: &Self) -> Self {
        let floor: FxHashMap<WorkloadKey, &[CpuNanos]> = earlier.rows().collect();
        for (key, nanos) in self.keys.iter().zip(self.nanos.chunks_exact_mut(self.packages.max(1))) {
            for (now, then) in nanos.iter_mut().zip(floor.get(key).copied().unwrap_or(&[])) {
                *now = (*now).max(*then);
            }
        }
        self
    }

    /// The sum of two differences. Of the keys that only `other` has, those above `rows_max` rows share the row
    /// of [`WorkloadKey::OVERFLOW`], so that the sum of all rows stays exact.
    #[must_use]
    pub fn plus(&self, other: &Self, rows_max: usize) -> Self {
        let mut sum = self.clone();
        let mut rows: FxHashMap<WorkloadKey, usize> =
            self.keys.iter().enumerate().map(|(row, key)| (*key, row)).collect();
        for (key, nanos) in other.rows() {
            let key =
                if rows.contains_key(&key) || rows.len() < rows_max { key } else { WorkloadKey::OVERFLOW };
            let row = *rows.entry(key).or_insert_with(|| {
                sum.push(key, &[]);
                sum.keys.len() - 1
            });
            let cells = sum.nanos.iter_mut().skip(row.saturating_mul(sum.packages)).take(sum.packages);
            for (cell, more) in cells.zip(nanos) {
                *cell += *more;
            }
        }
        sum
    }

    /// Sum of all rows, by package.
    pub fn by_package(&self) -> Vec<CpuNanos> {
        let mut sums = vec![CpuNanos::ZERO; self.packages];
        for (_, nanos) in self.rows() {
            for (sum, nanos) in sums.iter_mut().zip(nanos) {
                *sum += *nanos;
            }
        }
        sums
    }
}

/// CPU time that belongs to no workload, and what could not be booked. Cumulative in a snapshot, a difference
/// in a window. All of it summed over the online CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    /// Idle time.
    pub idle_ns: u64,
    /// Interrupts, time stolen by the hypervisor, and the scheduler's own path, where they are outside tasks.
    pub irq_steal_ns: u64,
    /// Time seen to have passed in tasks that could not be given to a key.
    pub missed_ns: u64,
    /// Time of keys that did not fit in a full map.
    pub overflow_ns: u64,
    /// Context switches that the hook did not see (always zero in the books).
    pub missed_switches: u64,
    /// Kernel events (cgroup and task ends) that did not fit in the event buffer.
    pub lost_events: u64,
    /// Totals that fell and were held instead.
    pub clamped: u64,
    /// CPU time of this process, which is in its cgroup's too. What its kernel programs cost inside other tasks is not
    /// in it.
    pub own_ns: u64,
}

impl Accounts {
    /// What was added since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            idle_ns: self.idle_ns.saturating_sub(earlier.idle_ns),
            irq_steal_ns: self.irq_steal_ns.saturating_sub(earlier.irq_steal_ns),
            missed_ns: self.missed_ns.saturating_sub(earlier.missed_ns),
            overflow_ns: self.overflow_ns.saturating_sub(earlier.overflow_ns),
            missed_switches: self.missed_switches.saturating_sub(earlier.missed_switches),
            lost_events: self.lost_events.saturating_sub(earlier.lost_events),
            clamped: self.clamped.saturating_sub(earlier.clamped),
            own_ns: self.own_ns.saturating_sub(earlier.own_ns),
        }
    }

    /// The sum of two differences.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            idle_ns: self.idle_ns.saturating_add(other.idle_ns),
            irq_steal_ns: self.irq_steal_ns.saturating_add(other.irq_steal_ns),
            missed_ns: self.missed_ns.saturating_add(other.missed_ns),
            overflow_ns: self.overflow_ns.saturating_add(other.overflow_ns),
            missed_switches: self.missed_switches.saturating_add(other.missed_switches),
            lost_events: self.lost_events.saturating_add(other.lost_events),
            clamped: self.clamped.saturating_add(other.clamped),
            own_ns: self.own_ns.saturating_add(other.own_ns),
        }
    }
}

/// The scheduler's books at one instant: cumulative since the accounting began.
#[derive(Clone, Debug, Default)]
pub struct SchedSnapshot {
    /// Time per workload and package; a total never falls. A removed cgroup appears once more, with its final.
    pub usage: Usage,
    /// Everything else.
    pub accounts: Accounts,
    /// How long each package has had any CPU busy; empty where that is not observed.
    pub awake: Vec<Duration>,
}

/// What a meter measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DomainKind {
    /// A processor package: cores, caches, memory controllers.
    Package,
    /// Memory modules.
    Dram,
    /// The whole machine, where nothing in it is measured apart.
    Platform,
    /// A graphics or compute accelerator, its memory included.
    Gpu,
}

impl DomainKind {
    /// All.
    pub const ALL: [Self; 4] = [Self::Package, Self::Dram, Self::Platform, Self::Gpu];

    /// The field's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Package => "package",
            Self::Dram => "dram",
            Self::Platform => "platform",
            Self::Gpu => "gpu",
        }
    }
}

/// How far the truth may be from a modelled number: it lies between `value * low` and `value * high` nine times
/// in ten.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Lower factor, at most 1.
    pub low_ratio: f64,
    /// Upper factor, at least 1.
    pub high_ratio: f64,
}

/// One domain of a meter.
#[derive(Clone, Debug, PartialEq)]
pub struct Domain {
    /// What it measures.
    pub kind: DomainKind,
    /// Which one of these, such as `package-0`.
    pub device: String,
    /// Where its numbers come from, such as `powercap intel-rapl:0` or `model: AMD Zen 3 (EPYC 3rd Gen)`.
    pub source: String,
    /// Whether it is a meter or a model.
    pub quality: Quality,
    /// For a model, its bounds.
    pub bounds: Option<Bounds>,
    /// The package whose CPU time its dynamic energy is split by; of no meaning for a device with a use of its own.
    pub package: PackageId,
    /// Power drawn with all CPUs idle; `None` where nothing is known, and then nothing is split off as static.
    pub idle_watts: Option<Watts>,
}

/// A domain's energy in one window.
#[derive(Clone, Debug)]
pub struct DomainWindow {
    /// Which domain.
    pub domain: Rc<Domain>,
    /// Energy since its last good reading.
    pub metered: Microjoules,
    /// Time since its last good reading: longer than the window after a failed read.
    pub duration: Duration,
    /// A fault hid energy (a counter that was reset), not known how much: of how long a part of the time.
    pub gap: Option<Duration>,
    /// CPU time, or use of the device, over the same span, so that energy and its cause share both edges.
    pub usage: Rc<Usage>,
    /// Share of the span in which any CPU of the package was busy, 0 to 1; `None` where that is not observed.
    pub wake_ratio: Option<f64>,
}

/// One interval with everything that attribution needs.
#[derive(Clone, Debug)]
pub struct Window {
    /// Start, monotonic nanoseconds.
    pub start_ns: u64,
    /// Length.
    pub duration: Duration,
    /// Uncertainty of the edges: how long the snapshots took.
    pub edge_width: Duration,
    /// How long the machine was suspended meanwhile, which is no part of the length.
    pub suspended: Duration,
    /// CPU time added per workload.
    pub usage: Rc<Usage>,
    /// Events by workload; empty where nobody asked for any.
    pub counts: Rc<counts::Counts>,
    /// What the workloads of the window hold, whether they ran or not; empty where no policy asked for it.
    pub claims: Rc<Claims>,
    /// CPU time outside workloads.
    pub accounts: Accounts,
    /// Energy per domain that could be read at this window's end.
    pub domains: Vec<DomainWindow>,
    /// Domains that could not be read at this window's end, with the reason.
    pub unread: Vec<(Rc<Domain>, String)>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(cgroup: u64) -> WorkloadKey {
        WorkloadKey::cgroup(CgroupId(cgroup))
    }

    fn usage(packages: usize, rows: &[(u64, &[u64])]) -> Usage {
        let mut usage = Usage::new(packages);
        for (cgroup, nanos) in rows {
            usage.push(key(*cgroup), &nanos.iter().copied().map(CpuNanos).collect::<Vec<_>>());
        }
        usage
    }

    fn sorted(usage: &Usage) -> Vec<(WorkloadKey, Vec<CpuNanos>)> {
        let mut rows: Vec<_> = usage.rows().map(|(key, nanos)| (key, nanos.to_vec())).collect();
        rows.sort();
        rows
    }

    #[test]
    fn only_what_was_added_is_in_a_difference() {
        let earlier = usage(2, &[(1, &[10, 0]), (2, &[5, 5]), (3, &[7, 0])]);
        let later = usage(2, &[(4, &[0, 3]), (2, &[5, 9]), (1, &[10, 0])]);
        let (grown, fallen) = later.since(&earlier);
        assert_eq!(sorted(&grown), sorted(&usage(2, &[(2, &[0, 4]), (4, &[0, 3])])));
        assert_eq!((fallen, grown.total()), (0, CpuNanos(7)));
    }

    #[test]
    fn a_total_that_fell_is_no_time_and_counted() {
        let (grown, fallen) = usage(2, &[(1, &[4, 30])]).since(&usage(2, &[(1, &[9, 10])]));
        assert_eq!(sorted(&grown), sorted(&usage(2, &[(1, &[0, 20])])));
        assert_eq!(fallen, 1);
    }

    #[test]
    fn what_falls_and_rises_again_counts_once() {
        let first = usage(1, &[(1, &[10])]);
        let fell = usage(1, &[(1, &[6])]).held_at(&first);
        assert_eq!(usage(1, &[(1, &[12])]).since(&fell).0.total(), CpuNanos(2));
    }

    #[test]
    fn a_row_of_another_width_is_fitted() {
        let wide = usage(2, &[(1, &[1, 2, 3]), (2, &[4])]);
        assert_eq!(wide.total(), CpuNanos(7));
        assert_eq!(wide.by_package(), [CpuNanos(5), CpuNanos(2)]);
        assert_eq!(wide.on_package(PackageId(9)).map(|(_, nanos)| nanos).sum::<CpuNanos>(), CpuNanos::ZERO);
        assert_eq!(Usage::new(0).packages(), 1);
    }

    #[test]
    fn accounts_never_fall_in_a_difference() {
        let earlier = Accounts { idle_ns: 10, missed_switches: 3, ..Accounts::default() };
        let later = Accounts { idle_ns: 4, missed_switches: 8, ..Accounts::default() };
        let grown = later.since(&earlier);
        assert_eq!((grown.idle_ns, grown.missed_switches), (0, 5));
        assert_eq!(grown.plus(&grown).missed_switches, 10);
    }

    fn tables() -> impl Strategy<Value = Usage> {
        prop::collection::btree_map(0_u64..12, prop::array::uniform2(0_u64..1_000_000), 0..12).prop_map(
            |rows| {
                let mut table = Usage::new(2);
                for (cgroup, nanos) in rows {
                    table.push(key(cgroup), &nanos.map(CpuNanos));
                }
                table
            },
        )
    }

    proptest! {
        #[test]
        fn a_sum_less_one_part_is_the_other(first in tables(), second in tables()) {
            let sum = first.plus(&second, usize::MAX);
            prop_assert_eq!(sum.total(), first.total() + second.total());
            let (grown, fallen) = sum.since(&first);
            prop_assert_eq!(fallen, 0);
            let ran: Vec<_> = sorted(&second).into_iter()
                .filter(|(_, nanos)| nanos.iter().any(|nanos| *nanos > CpuNanos::ZERO)).collect();
            prop_assert_eq!(sorted(&grown), ran);
        }

        #[test]
        fn a_bounded_sum_keeps_the_total(first in tables(), second in tables(), rows_max in 0_usize..8) {
            let sum = first.plus(&second, rows_max);
            prop_assert_eq!(sum.by_package(), first.plus(&second, usize::MAX).by_package());
            prop_assert!(sum.len() <= first.len().max(rows_max) + 1);
        }

        #[test]
        fn held_totals_never_fall(first in tables(), second in tables()) {
            prop_assert_eq!(second.held_at(&first).since(&first).1, 0);
        }
    }
}
