//! The processes of one workload, and its energy of the last window split over them by CPU time.

use super::history::Series;
use crate::attribution::totals::WorkloadTotal;
use crate::report::process_rows::{OtherProcesses, ProcessRow, split};
use crate::sched::{Member, ProcessTime, Processes};
use crate::units::{CpuNanos, Microjoules};
use std::collections::HashMap;

/// Its processes at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// When, by the boot-time clock, which starts of processes are told by.
    pub at_ns: u64,
    /// What was found; at most as many as [`crate::sched::MEMBERS_MAX`].
    pub members: Vec<Member>,
    /// How many more there are.
    pub more: u64,
}

/// What is shown of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Most energy first.
    pub rows: Vec<ProcessRow>,
    /// What no row has.
    pub other: OtherProcesses,
    /// CPU time and energy that was split.
    pub cpu_ns: u64,
    /// Dynamic energy of the workload in the window.
    pub dynamic_uj: u64,
    /// Length of the window.
    pub window_ns: u64,
}

/// Splits a workload's dynamic energy of the last window, which took `window_ns`, by what its processes used between two
/// looks. These need not be at the window's ends, so their time is taken as part of the window's.
pub fn between(series: &Series, before: &Look, now: &Look, window_ns: u64) -> Split {
    let then: HashMap<(u32, u64), CpuNanos> =
        before.members.iter().map(|member| ((member.pid, member.start), member.cpu)).collect();
    let elapsed_ns = u128::from(now.at_ns.saturating_sub(before.at_ns).max(1));
    let listed = now.members.iter().map(|member| {
        let used = match then.get(&(member.pid, member.start)) {
            Some(before) => member.cpu.saturating_sub(*before),
            None if member.start_ns() >= before.at_ns => member.cpu,
            // It came from elsewhere, and what it used there is not this workload's.
            None => CpuNanos::ZERO,
        };
        let in_window = u128::from(used.0) * u128::from(window_ns) / elapsed_ns;
        ProcessTime {
            pid: member.pid,
            comm: member.comm.clone(),
            cpu: CpuNanos(u64::try_from(in_window).unwrap_or(u64::MAX)),
        }
    });
    let listed: Vec<ProcessTime> = listed.collect();
    let processes = Processes { listed, other_count: now.more, other_cpu: CpuNanos::ZERO };
    let row = &series.row;
    let ran = |value: u64| if series.runs { value } else { 0 };
    let total = WorkloadTotal {
        cpu: CpuNanos(ran(row.cpu_ns)),
        dynamic_energy: Microjoules(ran(row.dynamic_uj)),
        device_energy: Microjoules(ran(row.gpu_uj.unwrap_or(0))),
        ..WorkloadTotal::default()
    };
    let (rows, other) = split(&total, &processes);
    Split { rows, other, cpu_ns: total.cpu.0, dynamic_uj: total.dynamic_energy.0, window_ns }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::history::Sum;
    use crate::tui::samples::workload;

    fn member(pid: u32, start: u64, cpu_ms: u64) -> Member {
        Member { pid, start, comm: format!("p{pid}"), cpu: CpuNanos(cpu_ms * 1_000_000) }
    }

    #[test]
    fn energy_is_split_by_what_was_used_between_two_looks() {
        let series = Series {
            row: workload(1, "/a", 1_000_000),
            sum: Sum::default(),
            sum_quality: "measured",
            runs: true,
            rests: 0,
            watts: [Some(1.0)].into(),
        };
        let before =
            Look { at_ns: 100_000_000, members: vec![member(1, 5, 9_000), member(2, 5, 100)], more: 0 };
        // Process 2 is another one by now, and process 3 came from elsewhere.
        let now = Look {
            at_ns: 2_100_000_000,
            members: vec![member(1, 5, 9_600), member(2, 11, 200), member(3, 1, 70_000)],
            more: 3,
        };
        let split = between(&series, &before, &now, 1_000_000_000);
        let rows: Vec<_> =
            split.rows.iter().map(|row| (row.pid, row.cpu_ns / 1_000_000, row.dynamic_uj)).collect();
        assert_eq!(
            rows,
            [(1, 300, 600_000), (2, 100, 200_000), (3, 0, 0)],
            "and 100 ms of the 500 that no process has"
        );
        assert_eq!((split.other.count, split.other.dynamic_uj), (3, 200_000));
        let idle = between(&Series { runs: false, ..series }, &before, &now, 1_000_000_000);
        assert_eq!(idle.rows.iter().map(|row| row.dynamic_uj).sum::<u64>(), 0);
    }
}
