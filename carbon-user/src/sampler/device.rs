//! From processes on a device to workloads: the cgroup is the one that each process was in when it was seen, the run is
//! the one that the accounting counts it to.

use crate::meters::{DeviceUse, Holder};
use crate::sched::Accounting;
use crate::units::RunId;
use crate::window::{Class, DeviceInstance, DeviceRow, DeviceUsage, WorkloadKey};
use std::collections::HashMap;
use std::time::Duration;

/// The use of a device by workload. `runs` are those that are followed.
pub(super) fn usage(used: DeviceUse, accounting: &mut dyn Accounting, runs: &[RunId]) -> DeviceUsage {
    let mut run_of: HashMap<u32, RunId> = HashMap::new();
    if !used.holders.is_empty() {
        for run in runs {
            run_of.extend(accounting.runs().processes(*run).listed.iter().map(|process| (process.pid, *run)));
        }
    }
    let row = |holder: &Holder| DeviceRow {
        key: holder.cgroup.map(|cgroup| WorkloadKey {
            cgroup,
            class: Class::Tasks,
            run: run_of.get(&holder.pid).copied(),
        }),
        busy_ns: nanoseconds(holder.busy),
        held_ns: nanoseconds(holder.held),
        instance: holder.instance,
        shared: holder.shared,
        modelled: holder.modelled,
    };
    DeviceUsage {
        rows: used.holders.iter().map(row).collect(),
        unknown_ns: nanoseconds(used.unknown),
        span_ns: nanoseconds(used.span),
        instances: used
            .instances
            .into_iter()
            .map(|it| DeviceInstance { id: it.id, uuid: it.uuid, slices: it.slices })
            .collect(),
        blind: used.blind_reason,
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
