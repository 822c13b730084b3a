//! What cgroups hold of a machine whether they run or not: a place among the living, CPU that was asked for, memory
//! that is resident. Part of a window, so that static energy can be shared anew under another policy.
//!
//! Plain data and arithmetic.

use crate::units::CgroupId;
use std::collections::BTreeMap;
use std::fmt;

/// The row of all cgroups that did not fit, as [`WorkloadKey::OVERFLOW`](crate::window::WorkloadKey::OVERFLOW) has it.
pub const OVERFLOW: CgroupId = CgroupId(u64::MAX);

/// Who says what a workload asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RequestSource {
    /// Requests for CPU of the pods, by kubelet.
    Kubelet,
    /// `cpu.weight` of the cgroups: not what was asked for, but what the kernel would give if all wanted the CPUs at
    /// once. A fallback.
    CpuWeight,
}

impl RequestSource {
    /// The word in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kubelet => "kubelet-requests",
            Self::CpuWeight => "cpu-weight",
        }
    }
}

impl fmt::Display for RequestSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Of one cgroup, without those below it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// How many workloads this row stands for: one where a process is in the cgroup, none in one that only holds others,
    /// several in the row of the overflow.
    pub alive: u64,
    /// What it asked for, in a unit that all rows share; `None` where that is not known.
    pub requested: Option<u64>,
    /// Memory that is charged to it, in bytes; `None` where that is not known.
    pub resident_bytes: Option<u64>,
}

impl Claim {
    fn plus(&self, other: &Self) -> Self {
        let sum = |one: Option<u64>, other: Option<u64>| match (one, other) {
            (Some(one), Some(other)) => Some(one.saturating_add(other)),
            (one, other) => one.or(other),
        };
        Self {
            alive: self.alive.saturating_add(other.alive),
            requested: sum(self.requested, other.requested),
            resident_bytes: sum(self.resident_bytes, other.resident_bytes),
        }
    }
}

/// Of all cgroups, in bounded memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// In order of the ids, so that nothing depends on the order of reading.
    rows: BTreeMap<CgroupId, Claim>,
    /// Who says what was asked for; `None` where nobody did.
    pub requests: Option<RequestSource>,
}

impl Claims {
    /// Adds a cgroup; those above `rows_max` share the row of the [`OVERFLOW`].
    pub fn add(&mut self, cgroup: CgroupId, claim: Claim, rows_max: usize) {
        let fits = self.rows.len() < rows_max || self.rows.contains_key(&cgroup);
        let row = self.rows.entry(if fits { cgroup } else { OVERFLOW }).or_default();
        *row = row.plus(&claim);
    }

    /// All cgroups, in order of their ids.
    pub fn rows(&self) -> impl Iterator<Item = (CgroupId, &Claim)> {
        self.rows.iter().map(|(cgroup, claim)| (*cgroup, claim))
    }

    /// Whether nobody looked, or nobody was there.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Without some.
    #[must_use]
    pub fn without(&self, is_removed: impl Fn(CgroupId) -> bool) -> Self {
        let mut left = self.clone();
        left.rows.retain(|cgroup, _| !is_removed(*cgroup));
        left
    }

    /// Of a window that began with `earlier` and ended with these: who was there at either edge, as the later one has it.
    #[must_use]
    pub fn joined(&self, earlier: &Self) -> Self {
        let mut joined = self.clone();
        for (cgroup, claim) in &earlier.rows {
            joined.rows.entry(*cgroup).or_insert(*claim);
        }
        joined.requests = joined.requests.or(earlier.requests);
        joined
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(alive: u64, requested: u64) -> Claim {
        Claim { alive, requested: Some(requested), resident_bytes: None }
    }

    #[test]
    fn what_does_not_fit_is_summed() {
        let mut claims = Claims::default();
        for cgroup in 1..=4 {
            claims.add(CgroupId(cgroup), claim(1, 10), 2);
        }
        let rows: Vec<_> =
            claims.rows().map(|(cgroup, claim)| (cgroup.0, claim.alive, claim.requested)).collect();
        assert_eq!(rows, [(1, 1, Some(10)), (2, 1, Some(10)), (u64::MAX, 2, Some(20))]);
    }

    #[test]
    fn whoever_was_there_at_either_edge_was_there() {
        let (mut earlier, mut later) = (Claims::default(), Claims::default());
        earlier.add(CgroupId(1), claim(1, 10), 9);
        earlier.add(CgroupId(2), claim(1, 10), 9);
        later.add(CgroupId(2), claim(1, 30), 9);
        later.requests = Some(RequestSource::CpuWeight);
        let joined = later.joined(&earlier);
        let rows: Vec<_> = joined.rows().map(|(cgroup, claim)| (cgroup.0, claim.requested)).collect();
        assert_eq!(rows, [(1, Some(10)), (2, Some(30))]);
        assert_eq!(joined.requests, Some(RequestSource::CpuWeight));
    }
}
