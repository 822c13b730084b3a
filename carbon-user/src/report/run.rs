//! The report of `carbon run`, JSON schema `carbon.run/1`.

pub use super::process_rows::{OtherProcesses, PROCESSES_MAX, ProcessRow};
pub use super::run_parts::{Parts, SEGMENTS_MAX, SegmentRow};

use super::group::Grams;
use super::ledger::NO_SPREAD;
use super::{AccountsRow, Context, DomainRow, Intensity};
use super::{domain_rows, grams_of, has_devices, nanoseconds, notes_of, process_rows, quality_of, stddev_uj};
use crate::attribution::totals::{Totals, WorkloadTotal};
use crate::sched::Processes;
use jiff::Timestamp;
use serde::Serialize;
use std::time::Duration;

/// Name and version of the schema.
pub const SCHEMA: &str = "carbon.run/1";

/// How the command went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    /// The project that it is booked to.
    pub project: Option<String>,
    /// Program and arguments.
    pub command: Vec<String>,
    /// As `carbon run` gives it on: 128 + n for a signal.
    pub exit_status: i32,
    /// From start to end.
    pub duration: Duration,
}

/// What one command and its children used.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Run {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Name of the machine.
    pub node: String,
    /// First edge.
    pub window_start: Timestamp,
    /// Last edge.
    pub window_end: Timestamp,
    /// The project that it is booked to; `null` where none was named.
    pub project: Option<String>,
    /// Program and arguments.
    pub command: Vec<String>,
    /// As `carbon run` gave it on: 128 + n for a signal.
    pub exit_status: i32,
    /// From start to end of the command.
    pub duration_ns: u64,
    /// How many windows were added up.
    pub windows: u64,
    /// Uncertainty of the edges: the longest that one took.
    pub edge_width_ns: u64,
    /// How CPU time was taken.
    pub accounting: &'static str,
    /// Who static energy is shown to.
    pub static_policy: &'static str,
    /// CPU time of the whole tree.
    pub cpu_ns: u64,
    /// Energy caused by running.
    pub dynamic_uj: u64,
    /// Its standard deviation.
    pub dynamic_stddev_uj: u64,
    /// Of `dynamic_uj`: what comes from memory modules (dram), whose split is modelled; only where it has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dram_uj: Option<u64>,
    /// Share of the static energy; 0 under the policy `separate`.
    pub static_uj: u64,
    /// The part of `dynamic_uj` that accelerators drew; only where there are some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_uj: Option<u64>,
    /// Idle energy of accelerators while the run held them; neither dynamic nor static. Only where there are some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_uj: Option<u64>,
    /// CO2 equivalent of `dynamic_uj + static_uj`, and `held_uj` where it is there.
    pub grams: f64,
    /// Nine times in ten the truth is above, by energy and intensity; none where there is no energy.
    pub grams_low: Option<f64>,
    /// Nine times in ten the truth is below.
    pub grams_high: Option<f64>,
    /// The lower of meter and CPU time.
    pub quality: &'static str,
    /// The tree's processes, most energy first, at most [`PROCESSES_MAX`].
    pub processes: Vec<ProcessRow>,
    /// The rest, and energy of accelerators: with it, `dynamic_uj` of the processes sums to that of the run.
    pub processes_other: OtherProcesses,
    /// Energy of the whole machine meanwhile.
    pub domains: Vec<DomainRow>,
    /// CPU time outside workloads meanwhile.
    pub accounts: AccountsRow,
    /// Of the electricity.
    pub intensity: Intensity,
    /// Of the site.
    pub pue: f64,
    /// What else must be said.
    pub notes: Vec<String>,
    /// What its client counted and marked; only where it did.
    #[serde(flatten)]
    pub parts: Parts,
}

impl Run {
    /// The report of a run whose part of `totals` is `total`.
    pub fn new(
        context: &Context<'_>,
        execution: Execution,
        totals: &Totals,
        total: &WorkloadTotal,
        processes: &Processes,
    ) -> Self {
        let devices = has_devices(totals);
        let (rows, other) = process_rows::split(total, processes);
        let energy = total.energy();
        #[expect(clippy::cast_precision_loss, reason = "a ratio")]
        let ratio = (energy.0 > 0).then(|| stddev_uj(total) as f64 / energy.0 as f64);
        let middle = grams_of(energy, context).0;
        let mut notes = notes_of(context, totals);
        if !context.intensity.spread.is_known() {
            notes.push(NO_SPREAD.to_owned());
        }
        let interval = ratio.map(|ratio| Grams::of(middle, ratio, context.intensity.spread));
        Self {
            schema: SCHEMA,
            node: context.node.clone(),
            window_start: context.start,
            window_end: context.end,
            project: execution.project,
            command: execution.command,
            exit_status: execution.exit_status,
            duration_ns: nanoseconds(execution.duration),
            windows: totals.windows(),
            edge_width_ns: nanoseconds(totals.edge_width()),
            accounting: context.rung.as_str(),
            static_policy: context.policy.as_str(),
            cpu_ns: total.cpu.0,
            dynamic_uj: total.dynamic_energy.0,
            dynamic_stddev_uj: stddev_uj(total),
            dram_uj: total.memory_energy.map(|energy| energy.0),
            static_uj: total.static_energy.0,
            gpu_uj: devices.then_some(total.device_energy.0),
            held_uj: devices.then_some(total.held_energy.0),
            grams: middle,
            grams_low: interval.map(|grams| grams.low),
            grams_high: interval.map(|grams| grams.high),
            quality: quality_of(total, context.rung).as_str(),
            processes: rows,
            processes_other: other,
            domains: domain_rows(totals, context.state),
            accounts: totals.accounts().into(),
            intensity: (&context.intensity).into(),
            pue: context.pue.0,
            notes,
            parts: Parts::default(),
        }
    }
}
