//! The processes of a run with their part of its energy.

use crate::attribution::share;
use crate::attribution::totals::WorkloadTotal;
use crate::sched::Processes;
use crate::units::CpuNanos;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;

/// Processes listed one by one; the rest is summed.
pub const PROCESSES_MAX: usize = 1_000;

/// A process of the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRow {
    /// Process id outside any namespace.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// CPU time of all its threads.
    pub cpu_ns: u64,
    /// Its part of the run's dynamic energy, by CPU time.
    pub dynamic_uj: u64,
}

/// Everything of the run that is not listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherProcesses {
    /// How many processes.
    pub count: u64,
    /// Their CPU time, and that of the run which no known process has.
    pub cpu_ns: u64,
    /// Their part of the run's dynamic energy, by CPU time.
    pub dynamic_uj: u64,
}

/// The run's dynamic energy split over its processes by CPU time: the rows, most energy first, and the rest sum to
/// it exactly. CPU time of the run that no process has counts to the rest, and so does the energy of accelerators, which has
/// nothing to do with CPU time.
pub(crate) fn split(total: &WorkloadTotal, processes: &Processes) -> (Vec<ProcessRow>, OtherProcesses) {
    let listed: CpuNanos = processes.listed.iter().map(|process| process.cpu).sum();
    let unlisted = processes.other_cpu.max(total.cpu.saturating_sub(listed));
    // The rest stands last among equals: no process has the largest id.
    let weights: Vec<((u32, usize), u64)> = processes
        .listed
        .iter()
        .enumerate()
        .map(|(place, process)| ((process.pid, place), process.cpu.0))
        .chain([((u32::MAX, usize::MAX), unlisted.0)])
        .collect();
    let by_cpu_time = total.dynamic_energy.saturating_sub(total.device_energy);
    let mut shares = share::split(by_cpu_time.0, &weights);
    let mut other = OtherProcesses {
        count: processes.other_count,
        cpu_ns: unlisted.0,
        dynamic_uj: shares.pop().unwrap_or_default(),
    };
    if weights.iter().all(|(_, weight)| *weight == 0) {
        other.dynamic_uj = by_cpu_time.0;
    }
    other.dynamic_uj = other.dynamic_uj.saturating_add(total.device_energy.min(total.dynamic_energy).0);
    let mut rows: Vec<ProcessRow> = processes
        .listed
        .iter()
        .zip(shares)
        .map(|(process, dynamic_uj)| ProcessRow {
            pid: process.pid,
            comm: process.comm.clone(),
            cpu_ns: process.cpu.0,
            dynamic_uj,
        })
        .collect();
    rows.sort_by_key(|row| (Reverse((row.dynamic_uj, row.cpu_ns)), row.pid));
    for row in rows.drain(rows.len().min(PROCESSES_MAX)..) {
        other.count += 1;
        other.cpu_ns = other.cpu_ns.saturating_add(row.cpu_ns);
        other.dynamic_uj = other.dynamic_uj.saturating_add(row.dynamic_uj);
    }
    (rows, other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sched::ProcessTime;
    use crate::units::Microjoules;
    use proptest::prelude::*;

    fn total(cpu: u64, dynamic: u64) -> WorkloadTotal {
        WorkloadTotal { cpu: CpuNanos(cpu), dynamic_energy: Microjoules(dynamic), ..WorkloadTotal::default() }
    }

    fn processes(cpu: &[u64], other: u64) -> Processes {
        let listed = (1..)
            .zip(cpu)
            .map(|(pid, cpu)| ProcessTime { pid, comm: format!("p{pid}"), cpu: CpuNanos(*cpu) })
            .collect();
        Processes { listed, other_count: u64::from(other > 0), other_cpu: CpuNanos(other) }
    }

    #[test]
    fn time_that_no_process_has_counts_to_the_rest() {
        let (rows, other) = split(&total(100, 1_000), &processes(&[60, 20], 0));
        assert_eq!(rows.iter().map(|row| row.dynamic_uj).collect::<Vec<_>>(), [600, 200]);
        assert_eq!(other, OtherProcesses { count: 0, cpu_ns: 20, dynamic_uj: 200 });
    }

    #[test]
    fn the_list_is_bounded_and_the_rest_summed() {
        let (rows, other) = split(&total(5_000, 5_000), &processes(&[1; 1_500], 3_500));
        assert_eq!((rows.len(), other.count), (PROCESSES_MAX, 501));
        assert_eq!((other.cpu_ns, other.dynamic_uj), (4_000, 4_000));
    }

    #[test]
    fn energy_without_any_time_stays_in_the_run() {
        assert_eq!(split(&total(0, 7), &processes(&[0], 0)).1.dynamic_uj, 7);
        assert_eq!(split(&total(0, 7), &Processes::default()).1.dynamic_uj, 7);
    }

    #[test]
    fn energy_of_accelerators_is_not_split_by_cpu_time() {
        let with_device = WorkloadTotal { device_energy: Microjoules(900), ..total(100, 1_000) };
        let (rows, other) = split(&with_device, &processes(&[60, 40], 0));
        assert_eq!(rows.iter().map(|row| row.dynamic_uj).collect::<Vec<_>>(), [60, 40]);
        assert_eq!(other.dynamic_uj, 900);
    }

    proptest! {
        #[test]
        fn processes_sum_to_the_run(
            cpu in prop::collection::vec(0_u64..1_000_000_000, 0..1_200), other in 0_u64..1_000_000,
            run_cpu in 0_u64..1_000_000_000_000, dynamic: u64,
        ) {
            let (rows, other) = split(&total(run_cpu, dynamic), &processes(&cpu, other));
            let sum: u128 = rows.iter().map(|row| u128::from(row.dynamic_uj)).sum();
            prop_assert_eq!(sum + u128::from(other.dynamic_uj), u128::from(dynamic));
            prop_assert!(rows.is_sorted_by_key(|row| Reverse(row.dynamic_uj)));
        }
    }
}
