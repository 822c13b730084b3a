//! What the agent shows of itself and its workloads: one immutable value after each window.

use super::RefusedCounts;
use crate::ledger::Factor;
use crate::metadata::Counts;
use crate::meters::PowerLimits;
use crate::units::{CgroupId, CpuNanos, Microjoules, Quality, Watts};
use crate::workload::Identity;
use std::sync::Arc;

/// Who a series is of. The identity is unique among all that are published at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Who {
    /// The path of the cgroup, or what stands for one, such as `system/kernel`.
    pub identity: String,
    /// Such as `container`, `unit`, `kernel`, `root` or `cgroup`.
    pub kind: &'static str,
    /// For people.
    pub name: String,
    /// What the path says; empty where it says nothing.
    pub path: Identity,
    /// The cgroup, where this agent has seen it run.
    pub cgroup: Option<CgroupId>,
}

/// Energies of a workload in one domain. Neither ever falls while it is published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DomainSums {
    /// Caused by running.
    pub dynamic_energy: Microjoules,
    /// A share of what is drawn when idle, by the policy in use; idle energy of accelerators that it held.
    pub static_energy: Microjoules,
    /// The lowest of the sums; `None` before there is any energy.
    pub quality: Option<Quality>,
}

impl DomainSums {
    /// Two sums as one; the quality is the lower.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            dynamic_energy: self.dynamic_energy + other.dynamic_energy,
            static_energy: self.static_energy + other.static_energy,
            quality: match (self.quality, other.quality) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            },
        }
    }
}

/// Sums of a workload.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkloadTotals {
    /// Whose; shared from one publication to the next.
    pub who: Arc<Who>,
    /// By domain, in the order of [`Published::domains`]; shorter where the last domains gave it nothing.
    pub domains: Vec<DomainSums>,
    /// CPU time.
    pub cpu: CpuNanos,
    /// Dynamic power in the last window, all domains together.
    pub watts: Watts,
}

/// Sums of a domain: metered = attributed + static + lost.
#[derive(Clone, Debug, PartialEq)]
pub struct DomainTotals {
    /// Such as `package`.
    pub domain: &'static str,
    /// Such as `package-0`.
    pub device: String,
    /// The meter or model.
    pub source: String,
    /// Of the meter.
    pub quality: Quality,
    /// What the meter showed.
    pub metered: Microjoules,
    /// Given to workloads as dynamic energy.
    pub attributed: Microjoules,
    /// By idle power, whoever it is shown to.
    pub static_energy: Microjoules,
    /// Of `static_energy`: what workloads have in their sums too.
    pub static_shared: Microjoules,
    /// Given to nobody.
    pub lost: Microjoules,
    /// Windows in which a fault hid energy that nobody knows.
    pub gaps: u64,
    /// Windows at whose end it could not be read.
    pub unread: u64,
    /// Times that its meter failed, however long each lasted, since the program was started.
    pub faults: u64,
    /// Power in the last window that it could be read in; `None` before there was one.
    pub watts: Option<Watts>,
    /// Limits of its power that are set now, where any is known.
    pub limits: Option<PowerLimits>,
}

/// What the agent itself costs, since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OwnCost {
    /// CPU time of the process.
    pub cpu: CpuNanos,
    /// Time in its programs on the context switch, which is in others' time: switches times the measured cost of each, so
    /// modelled; zero where nothing runs there.
    pub in_kernel: CpuNanos,
    /// When it began to measure, in microseconds of Unix time: a label.
    pub started_us: i64,
    /// Memory that is resident; `None` where /proc does not say.
    pub resident_bytes: Option<u64>,
    /// Dynamic energy by its share of the CPU time of its own cgroup; `None` where that is not known.
    pub energy: Option<Microjoules>,
}

/// What became of pushes of the metrics to a receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pushes {
    /// Those that it took.
    pub sent: u64,
    /// Those that it did not take, or that did not reach it.
    pub failed: u64,
    /// Values of those that it took which it refused.
    pub rejected: u64,
}

/// What measuring may cost, and what was done to keep it there, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Governed {
    /// How long a window is to be now, in nanoseconds.
    pub target_ns: u64,
    /// What measuring cost in the last window, as a part of the time of all CPUs.
    pub cost_ratio: f64,
    /// The part that it may cost.
    pub limit_ratio: f64,
    /// Times that windows were made wider.
    pub widened: u64,
    /// Times that they were made narrower again.
    pub narrowed: u64,
    /// Times that a cheaper way of accounting was taken.
    pub fell: u64,
}

/// What the agent knows after a window. Everything that is a sum never falls from one publication to the next, nor over
/// a restart that followed a proper end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Published {
    /// Name of the machine.
    pub node: String,
    /// How CPU time is taken, such as `books`.
    pub accounting: &'static str,
    /// Who static energy is shown to, such as `separate`.
    pub static_policy: &'static str,
    /// How dynamic energy is split, such as `bank`.
    pub attribution: &'static str,
    /// By which energy becomes grams now.
    pub factor: Option<Factor>,
    /// What the governor did.
    pub governed: Governed,
    /// The machine's domains.
    pub domains: Vec<DomainTotals>,
    /// Workloads with a series of their own, by identity.
    pub workloads: Vec<WorkloadTotals>,
    /// Workloads for which there was no series: it grows with what they use.
    pub other: WorkloadTotals,
    /// Workloads that had a series and have ended: it grows by whole sums, each of which was published before. All of
    /// `workloads`, `other` and `ended` is each joule exactly once; a rate leaves `ended` out.
    pub ended: WorkloadTotals,
    /// What all of these had when this agent began, where it goes on from one before it: sums that begin with an agent are without it.
    pub begun: Arc<[WorkloadTotals]>,
    /// The agent itself.
    pub own: OwnCost,
    /// CPU time seen to have passed that could not be given to a workload.
    pub missed: CpuNanos,
    /// CPU time of workloads that did not fit in a full map.
    pub overflow: CpuNanos,
    /// Kernel events that did not fit in their buffer.
    pub lost_events: u64,
    /// Windows closed.
    pub windows: u64,
    /// Windows that could not be closed: their time is in the next.
    pub failed_windows: u64,
    /// Unix time of the last window's end, in microseconds: a label.
    pub window_end_us: i64,
    /// Length of the last window, in nanoseconds.
    pub window_ns: u64,
    /// Minutes written to the ledger.
    pub flushes: u64,
    /// Minutes that wait to be written.
    pub flushes_waiting: u64,
    /// Minutes that were put together with the next, as more waited than there is room for: no energy is lost, only when
    /// it was used.
    pub flushes_merged: u64,
    /// What became of pushes; `None` where nothing is pushed.
    pub pushes: Option<Pushes>,
    /// How asking for names goes; `None` where nobody is asked.
    pub naming: Option<Counts>,
    /// Readers of the metrics that were refused or cut off.
    pub refused_readers: RefusedCounts,
    /// The same of clients of the local API.
    pub refused_clients: RefusedCounts,
    /// Energy of the time in which the agent did not run that was recovered after a restart.
    pub recovered: Microjoules,
    /// Why energy of the time before the start is not known; `None` where it is, or there was nothing to go on from.
    pub unrecovered: Option<String>,
    /// Why the ledger cannot be written now; `None` where it can.
    pub ledger_error: Option<String>,
}
