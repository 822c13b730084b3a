//! Takes the time of runs out of that of the cgroups that they run in.

use crate::units::{CgroupId, CpuNanos, RunId};
use crate::window::{Class, Usage, WorkloadKey};
use std::collections::HashMap;

/// Remembers what was left to a cgroup, so that it never falls: tasks are read a moment after their cgroup.
#[derive(Debug, Default)]
pub(super) struct Apart {
    left: HashMap<CgroupId, Vec<CpuNanos>>,
}

impl Apart {
    /// `usage` with rows of `runs` added, and their time taken from the rows of their cgroups; that without a run is only
    /// taken.
    pub(super) fn separate<'a>(
        &mut self,
        usage: Usage,
        runs: impl Iterator<Item = (CgroupId, Option<RunId>, &'a [CpuNanos])>,
    ) -> Usage {
        let mut inside: HashMap<CgroupId, Vec<CpuNanos>> = HashMap::new();
        let mut separated = Usage::new(usage.packages());
        for (cgroup, run, nanos) in runs {
            if run.is_some() {
                separated.push(WorkloadKey { cgroup, class: Class::Tasks, run }, nanos);
            }
            let sum = inside.entry(cgroup).or_insert_with(|| vec![CpuNanos::ZERO; usage.packages()]);
            for (sum, nanos) in sum.iter_mut().zip(nanos) {
                *sum += *nanos;
            }
        }
        if inside.is_empty() {
            self.left.clear();
            return usage;
        }
        self.left.retain(|cgroup, _| inside.contains_key(cgroup));
        for (key, nanos) in usage.rows() {
            match inside.get(&key.cgroup) {
                Some(inside) if key.class == Class::Tasks => {
                    let left =
                        self.left.entry(key.cgroup).or_insert_with(|| vec![CpuNanos::ZERO; nanos.len()]);
                    for ((left, nanos), inside) in left.iter_mut().zip(nanos).zip(inside) {
                        *left = (*left).max(nanos.saturating_sub(*inside));
                    }
                    separated.push(key, left);
                }
                _ => separated.push(key, nanos),
            }
        }
        separated
    }
}
