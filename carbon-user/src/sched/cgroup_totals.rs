//! What the books say of each cgroup, as totals that never fall. No kernel here: rows in, usage out.
//!
//! In cgroup2 a cgroup's book is of its own tasks; in cpuacct it holds the books below it, and its own is the difference.

use super::records::CgroupTime;
use super::tracer::Ended;
use crate::heap;
use crate::units::{CgroupId, CpuNanos};
use crate::window::{Class, Usage, WorkloadKey};
use carbon_ebpf::PACKAGES_MAX;
use rustc_hash::FxHashMap;
use std::collections::{HashSet, VecDeque};

/// Removed cgroups kept until their last reference goes.
const UNRELEASED_MAX: usize = 16_384;

type Nanos = [u64; PACKAGES_MAX];

fn add(sum: &mut Nanos, more: &Nanos) {
    for (sum, more) in sum.iter_mut().zip(more) {
        *sum += more;
    }
}

/// A cgroup's time.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// By its own book.
    nanos: Nanos,
    pass: u64,
    removed: bool,
    released: bool,
}

/// In cpuacct, what of a cgroup's book is not its own.
#[derive(Clone, Copy, Debug, Default)]
struct Inside {
    /// In the books of those directly below it, the removed ones too.
    below: Nanos,
    /// The rest, as it was told last: the cgroups are read one after the other, a parent before its children.
    own: Nanos,
}

/// What the books say, as totals that never fall. No kernel here: rows in, usage out.
#[derive(Debug)]
pub(super) struct CgroupTotals {
    packages: usize,
    entries: FxHashMap<CgroupId, Entry>,
    /// Of those with others below them, in cpuacct.
    inside: FxHashMap<CgroupId, Inside>,
    /// Removed but not released, oldest first.
    unreleased: VecDeque<CgroupId>,
    pub(super) pass: u64,
    pub(super) begun: bool,
    /// Time of all tasks, as of the last pass.
    pub(super) total: Nanos,
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
    pub(super) lost_ends_ns: u64,
    /// Events that did not fit, now and as of the last complete pass.
    pub(super) lost_events: u64,
    lost_events_seen: u64,
    lost_booked_ns: u64,
    pub(super) overflow_ns: u64,
    pub(super) clamped: u64,
}

impl CgroupTotals {
    pub(super) fn new(packages: usize) -> Self {
        Self {
            packages,
            entries: FxHashMap::default(),
            inside: FxHashMap::default(),
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
            lost_events: 0,
            lost_events_seen: 0,
            lost_booked_ns: 0,
            overflow_ns: 0,
            clamped: 0,
        }
    }

    /// A row of the iterator. A cgroup not known after the beginning is a new one, and began at zero.
    pub(super) fn live(&mut self, time: &CgroupTime) {
        let (begun, pass) = (self.begun, self.pass);
        let entry = self.entries.entry(time.cgroup).or_insert_with(|| Entry {
            nanos: [0; PACKAGES_MAX],
            pass,
            removed: false,
            released: false,
        });
        entry.pass = pass;
        let mut grown = [0; PACKAGES_MAX];
        let mut any = 0;
        for ((old, new), grown) in
            entry.nanos.iter_mut().zip(&time.exec_ns).zip(&mut grown).take(self.packages)
        {
            self.clamped += u64::from(new < old);
            *grown = new.saturating_sub(*old);
            any |= *grown;
            *old = (*old).max(*new);
        }
        // Most cgroups do nothing most of the time.
        if any == 0 {
            return;
        }
        match time.parent.filter(|parent| self.entries.contains_key(parent)) {
            Some(parent) => add(&mut self.inside.entry(parent).or_default().below, &grown),
            // What the root's children gain is what the root has not.
            None if begun => add(&mut self.grown, &grown),
            None => {}
        }
    }

    /// A final. One of a cgroup that was dropped already adds nothing: its time was reported before.
    pub(super) fn ended(&mut self, ended: &Ended) {
        if ended.released && !self.entries.contains_key(&ended.time.cgroup) {
            return;
        }
        self.live(&ended.time);
        let Some(entry) = self.entries.get_mut(&ended.time.cgroup) else { return };
        entry.released |= ended.released;
        if !entry.removed {
            entry.removed = true;
            self.unreleased.push_back(ended.time.cgroup);
        }
    }

    /// After the rows and events of a pass: the root, kernel threads, and cgroups whose end was lost.
    pub(super) fn settle(&mut self, kernel_threads: CpuNanos, complete: bool) {
        if complete && std::mem::replace(&mut self.lost_events_seen, self.lost_events) != self.lost_events {
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
    pub(super) fn usage(&mut self) -> Usage {
        let mut usage = Usage::new(self.packages);
        for (cgroup, entry) in &self.entries {
            let own = match self.inside.get_mut(cgroup) {
                None => &entry.nanos,
                Some(inside) => {
                    for ((own, nanos), below) in inside.own.iter_mut().zip(&entry.nanos).zip(&inside.below) {
                        *own = (*own).max(nanos.saturating_sub(*below));
                    }
                    &inside.own
                }
            };
            push(&mut usage, WorkloadKey::cgroup(*cgroup), own);
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

    /// Drops what was reported for the last time, and gives those that it dropped.
    pub(super) fn retire(&mut self) -> HashSet<CgroupId> {
        let mut gone = HashSet::new();
        let Self { entries, inside, unreleased, .. } = self;
        let mut surplus = unreleased.len().saturating_sub(UNRELEASED_MAX);
        unreleased.retain(|cgroup| {
            let drop = surplus > 0 || entries.get(cgroup).is_none_or(|entry| entry.released);
            if drop {
                surplus = surplus.saturating_sub(1);
                entries.remove(cgroup);
                inside.remove(cgroup);
                gone.insert(*cgroup);
            }
            !drop
        });
        heap::fit(entries);
        heap::fit(inside);
        if unreleased.is_empty() {
            unreleased.shrink_to(UNRELEASED_MAX / 16);
        }
        gone
    }
}

fn push(usage: &mut Usage, key: WorkloadKey, nanos: &Nanos) {
    if nanos.iter().any(|nanos| *nanos > 0) {
        usage.push(key, &nanos.map(CpuNanos));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(cgroup: u64, parent: u64, ns: u64) -> CgroupTime {
        let mut exec_ns = [0; PACKAGES_MAX];
        exec_ns[0] = ns;
        let parent = (parent != 0).then_some(CgroupId(parent));
        CgroupTime { cgroup: CgroupId(cgroup), parent, exec_ns }
    }

    /// A snapshot: rows, the machine's total, and ends.
    fn look(totals: &mut CgroupTotals, rows: &[CgroupTime], total: u64, ended: &[Ended]) -> Usage {
        totals.pass += 1;
        totals.total[0] = total;
        for row in rows {
            totals.live(row);
        }
        for end in ended {
            totals.ended(end);
        }
        totals.settle(CpuNanos::ZERO, true);
        let usage = totals.usage();
        totals.retire();
        totals.begun = true;
        usage
    }

    fn of(usage: &Usage, cgroup: u64) -> Option<u64> {
        usage
            .rows()
            .find(|(key, _)| *key == WorkloadKey::cgroup(CgroupId(cgroup)))
            .map(|(_, nanos)| nanos[0].0)
    }

    #[test]
    fn the_root_has_what_no_cgroup_has() {
        let mut totals = CgroupTotals::new(1);
        let start = look(&mut totals, &[time(7, 0, 100)], 1_000, &[]);
        let end = look(&mut totals, &[time(7, 0, 160), time(8, 0, 25)], 1_300, &[]);
        let (grown, fallen) = end.since(&start);
        assert_eq!((of(&grown, 7), of(&grown, 8), of(&grown, 1), fallen), (Some(60), Some(25), Some(215), 0));
    }

    #[test]
    fn in_cpuacct_a_cgroups_own_time_is_less_that_of_those_below() {
        let mut totals = CgroupTotals::new(1);
        let rows = |outer, inner| [time(7, 1, outer), time(8, 7, inner)];
        let start = look(&mut totals, &rows(100, 30), 1_000, &[]);
        let end = look(&mut totals, &rows(190, 80), 1_100, &[]);
        let (grown, _) = end.since(&start);
        assert_eq!((of(&grown, 7), of(&grown, 8), of(&grown, 1)), (Some(40), Some(50), Some(10)));
        // The inner one ends: its time stays in the outer one's book, and is none of its own.
        let final_time = Ended { time: time(8, 7, 95), released: true };
        let last = look(&mut totals, &[time(7, 1, 210)], 1_130, &[final_time]);
        let (grown, fallen) = last.since(&end);
        assert_eq!((of(&grown, 7), of(&grown, 8), fallen), (Some(5), Some(15), 0));
        let after = look(&mut totals, &[time(7, 1, 220)], 1_140, &[]);
        assert_eq!(of(&after.since(&last).0, 7), Some(10));
    }

    #[test]
    fn a_child_read_after_its_parent_takes_nothing_back() {
        let mut totals = CgroupTotals::new(1);
        let start = look(&mut totals, &[time(7, 1, 100), time(8, 7, 100)], 1_000, &[]);
        // The child ran on between the two rows.
        let torn = look(&mut totals, &[time(7, 1, 150), time(8, 7, 160)], 1_100, &[]);
        assert_eq!(torn.since(&start).1, 0);
        let end = look(&mut totals, &[time(7, 1, 200), time(8, 7, 190)], 1_200, &[]);
        assert_eq!((of(&end.since(&start).0, 7), of(&end.since(&start).0, 8)), (Some(10), Some(90)));
    }

    #[test]
    fn a_burst_leaves_no_room_behind() {
        let mut totals = CgroupTotals::new(1);
        let burst: Vec<CgroupTime> = (10..100_010).map(|id| time(id, 0, 1)).collect();
        look(&mut totals, &burst, 1_000_000, &[]);
        let ended: Vec<Ended> = burst.iter().map(|time| Ended { time: *time, released: true }).collect();
        look(&mut totals, &[], 1_000_000, &ended);
        assert!(totals.entries.is_empty() && totals.unreleased.is_empty());
        let rooms = (totals.entries.capacity(), totals.unreleased.capacity());
        assert!(rooms.0 < 4_000 && rooms.1 < 4_000, "{rooms:?}");
    }
}
