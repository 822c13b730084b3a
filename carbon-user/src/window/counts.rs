//! Events of the processor or of the kernel by workload, where somebody asked for them.

use super::WorkloadKey;
use crate::units::PackageId;
use std::collections::BTreeMap;

/// Events that can be counted at one time.
pub const COUNTERS_MAX: usize = 3;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CounterKind {
    /// Cycles of the processor's clock, while not idle.
    Cycles,
    /// Instructions that were retired.
    Instructions,
    /// Accesses that the last cache did not hold (what the kernel calls `cache-misses`).
    LlcMisses,
    /// Page faults: counted by the kernel, on any machine.
    PageFaults,
}

impl CounterKind {
    /// All kinds, in the order of [`index`](Self::index).
    pub const ALL: [Self; 4] = [Self::Cycles, Self::Instructions, Self::LlcMisses, Self::PageFaults];

    /// The word of `--counters`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cycles => "cycles",
            Self::Instructions => "instructions",
            Self::LlcMisses => "llc-misses",
            Self::PageFaults => "page-faults",
        }
    }

    /// Its place in a table of all kinds.
    pub fn index(self) -> usize {
        match self {
            Self::Cycles => 0,
            Self::Instructions => 1,
            Self::LlcMisses => 2,
            Self::PageFaults => 3,
        }
    }
}

/// One number for each kind; `None` where it is not counted, which is not zero.
pub type ByKind = [Option<u64>; CounterKind::ALL.len()];

/// The sum of two: what only one knows stays.
#[must_use]
pub fn plus(one: ByKind, other: ByKind) -> ByKind {
    let mut sum = one;
    for (sum, other) in sum.iter_mut().zip(other) {
        *sum = match (*sum, other) {
            (Some(one), Some(other)) => Some(one.saturating_add(other)),
            (one, other) => one.or(other),
        };
    }
    sum
}

/// Events by workload and package. Cumulative at an edge, a difference in a window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    kinds: Vec<CounterKind>,
    /// By package, then in the order of the kinds.
    rows: BTreeMap<WorkloadKey, Vec<[u64; COUNTERS_MAX]>>,
}

impl Counts {
    /// Nothing counted yet of up to [`COUNTERS_MAX`] kinds.
    pub fn new(kinds: &[CounterKind]) -> Self {
        Self { kinds: kinds.iter().copied().take(COUNTERS_MAX).collect(), rows: BTreeMap::new() }
    }

    /// What is counted.
    pub fn kinds(&self) -> &[CounterKind] {
        &self.kinds
    }

    /// Adds events of a workload on a package.
    pub fn add(&mut self, key: WorkloadKey, package: PackageId, counts: [u64; COUNTERS_MAX]) {
        let packages = self.rows.entry(key).or_default();
        let place = usize::from(package.0);
        if packages.len() <= place {
            packages.resize(place + 1, [0; COUNTERS_MAX]);
        }
        let row = packages.get_mut(place).into_iter().flatten();
        for (sum, more) in row.zip(counts) {
            *sum = sum.saturating_add(more);
        }
    }

    /// Of one kind, by workload, on one package; `None` where it is not counted.
    pub fn on_package(&self, kind: CounterKind, package: PackageId) -> Option<Vec<(WorkloadKey, u64)>> {
        let place = self.kinds.iter().position(|known| *known == kind)?;
        let count = |packages: &Vec<[u64; COUNTERS_MAX]>| {
            packages.get(usize::from(package.0)).and_then(|row| row.get(place).copied()).unwrap_or(0)
        };
        Some(self.rows.iter().map(|(key, packages)| (*key, count(packages))).collect())
    }

    /// Of one workload on one package, in the order of [`kinds`](Self::kinds).
    pub fn of(&self, key: WorkloadKey, package: PackageId) -> [u64; COUNTERS_MAX] {
        let row = self.rows.get(&key).and_then(|packages| packages.get(usize::from(package.0)));
        row.copied().unwrap_or_default()
    }

    /// By workload and package, in the order of [`kinds`](Self::kinds).
    pub fn cells(&self) -> impl Iterator<Item = (WorkloadKey, PackageId, [u64; COUNTERS_MAX])> {
        self.rows.iter().flat_map(|(key, packages)| {
            let cell = |(place, row): (usize, &[u64; COUNTERS_MAX])| {
                (*key, PackageId(u16::try_from(place).unwrap_or(u16::MAX)), *row)
            };
            packages.iter().enumerate().map(cell)
        })
    }

    /// By workload, on all packages.
    pub fn rows(&self) -> impl Iterator<Item = (WorkloadKey, ByKind)> {
        self.rows.iter().map(|(key, packages)| {
            let mut counts = ByKind::default();
            for (place, kind) in self.kinds.iter().enumerate() {
                let sum = packages
                    .iter()
                    .filter_map(|row| row.get(place))
                    .fold(0, |sum: u64, count| sum.saturating_add(*count));
                if let Some(count) = counts.get_mut(kind.index()) {
                    *count = Some(sum);
                }
            }
            (*key, counts)
        })
    }

    /// What was added since `earlier`. Whoever had none is left out.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut grown = Self::new(&self.kinds);
        for (key, packages) in &self.rows {
            let before = earlier.rows.get(key);
            for (place, row) in packages.iter().enumerate() {
                let old = before.and_then(|packages| packages.get(place)).copied().unwrap_or_default();
                let mut more = *row;
                for (more, old) in more.iter_mut().zip(old) {
                    *more = more.saturating_sub(old);
                }
                if more.iter().any(|count| *count > 0) {
                    grown.add(*key, PackageId(u16::try_from(place).unwrap_or(u16::MAX)), more);
                }
            }
        }
        grown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::CgroupId;

    fn key(cgroup: u64) -> WorkloadKey {
        WorkloadKey::cgroup(CgroupId(cgroup))
    }

    #[test]
    fn what_is_not_counted_is_not_zero() {
        let mut counts = Counts::new(&[CounterKind::LlcMisses, CounterKind::Cycles]);
        counts.add(key(1), PackageId(1), [3, 100, 0]);
        counts.add(key(1), PackageId(0), [1, 0, 0]);
        let rows: Vec<_> = counts.rows().collect();
        assert_eq!(rows, [(key(1), [Some(100), None, Some(4), None])]);
        assert_eq!(counts.on_package(CounterKind::LlcMisses, PackageId(1)), Some(vec![(key(1), 3)]));
        assert_eq!(counts.on_package(CounterKind::Instructions, PackageId(1)), None);
        assert_eq!(
            plus([Some(1), None, None, None], [Some(2), Some(3), None, None]),
            [Some(3), Some(3), None, None]
        );
    }

    #[test]
    fn only_what_was_added_is_in_a_difference() {
        let mut counts = Counts::new(&[CounterKind::PageFaults]);
        counts.add(key(1), PackageId(0), [5, 0, 0]);
        let before = counts.clone();
        counts.add(key(2), PackageId(0), [7, 0, 0]);
        let grown: Vec<_> = counts.since(&before).rows().collect();
        assert_eq!(grown, [(key(2), [None, None, None, Some(7)])]);
    }
}
