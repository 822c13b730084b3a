//! What is told to people and programs: one report value per command, from which table, JSON and CSV are made.
//!
//! The types here are the edge: what they serialise to is a promise (`docs/schema/`), so they are versioned and
//! the inner types do not serialise. Sums are integers; grams are made of them by one multiplication each.

pub mod advice;
pub mod advice_plot;
pub mod calibration;
pub mod columns;
pub mod compare;
pub mod csv;
pub mod dashboard;
pub mod equivalents;
pub mod experiments;
pub mod figures;
pub mod grid;
pub mod group;
pub mod hours;
pub mod ledger;
pub mod live;
pub mod model;
pub mod paper;
pub mod png;
pub mod power;
pub mod process_rows;
pub mod processes;
pub mod reconciliation;
pub mod run;
mod run_parts;
pub mod runs;
pub mod runs_plot;
pub mod statistics;
pub mod svg;
pub mod table;
pub mod top;

use crate::attribution::static_policy::{SharedBy, StaticPolicy};
use crate::attribution::totals::{DomainTotal, Totals, WorkloadTotal};
use crate::attribution::uncertainty::SIGMAS_OF_90_PERCENT;
use crate::attribution::{DeviceEnergy, State};
use crate::carbon;
use crate::claims::RequestSource;
use crate::sched::Rung;
use crate::units::{Grams, Microjoules, Pue, Quality};
use crate::window::{Accounts, DomainKind};
use jiff::Timestamp;
use serde::Serialize;
use std::time::Duration;

/// Carbon intensity of electricity, with what must be said about it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Intensity {
    /// Grams of CO2 equivalent per kilowatt-hour.
    pub g_per_kwh: f64,
    /// Country or region.
    pub zone: String,
    /// Year that it is the mean of.
    pub year: u16,
    /// What is counted, such as `lifecycle`.
    pub boundary: String,
    /// How it is counted, such as `location-based`.
    pub basis: String,
    /// Who says so.
    pub source: String,
    /// Whether nobody said where the electricity was used: the world's average stands in.
    pub assumed: bool,
}

impl From<&carbon::Intensity> for Intensity {
    fn from(intensity: &carbon::Intensity) -> Self {
        Self {
            g_per_kwh: intensity.g_per_kwh.0,
            zone: intensity.zone.clone(),
            year: intensity.year,
            boundary: intensity.boundary().to_owned(),
            basis: intensity.basis(),
            source: intensity.source.clone(),
            assumed: intensity.assumed,
        }
    }
}

/// What a report says besides the sums.
#[derive(Clone, Debug)]
pub struct Context<'a> {
    /// Name of the machine.
    pub node: String,
    /// First edge, by the wall clock.
    pub start: Timestamp,
    /// Last edge, by the wall clock.
    pub end: Timestamp,
    /// How CPU time was taken.
    pub rung: Rung,
    /// Who static energy is shown to.
    pub policy: StaticPolicy,
    /// What attribution carries, for what it says of the idle power.
    pub state: &'a State,
    /// Of the electricity.
    pub intensity: carbon::Intensity,
    /// Of the site.
    pub pue: Pue,
    /// What else must be said, such as why a better rung is not used. Sentences without a full stop.
    pub notes: Vec<String>,
}

/// A domain's energy: `metered_uj = dynamic_uj + static_uj + lost_uj`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DomainRow {
    /// What it is, such as `package`.
    pub domain: &'static str,
    /// Which one.
    pub device: String,
    /// What the meter showed.
    pub metered_uj: u64,
    /// Given to workloads.
    pub dynamic_uj: u64,
    /// By idle power.
    pub static_uj: u64,
    /// What the static energy was shared by: `cpu-time`, `alive`, `resident-memory`, `kubelet-requests` or `cpu-weight`;
    /// `null` where it was not shared.
    pub static_by: Option<&'static str>,
    /// Of `static_uj`: what was shared, and so is in the workloads' rows too.
    pub static_shared_uj: u64,
    /// With no CPU time to give it to; of an accelerator, used by nobody that is known.
    pub lost_uj: u64,
    /// Accelerators only: the part of `static_uj` that is charged to those who held it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_uj: Option<u64>,
    /// Accelerators that are divided or shared: energy of the parts, by model.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PartRow>,
    /// Of the meter.
    pub quality: &'static str,
    /// Of the split among workloads: memory's is a model, whoever measured the sum.
    pub split_quality: &'static str,
    /// The meter or model.
    pub source: String,
    /// For a model: nine times in ten the truth is above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub low_uj: Option<u64>,
    /// For a model: nine times in ten the truth is below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub high_uj: Option<u64>,
    /// Windows in which a fault hid some energy.
    pub gaps: u64,
    /// Length of these windows.
    pub gap_ns: u64,
    /// Windows at whose end it could not be read.
    pub unread: u64,
    /// Windows whose dynamic energy was split by learned watts; the others were split by CPU time.
    pub bank_windows: u64,
    /// Learned idle power in watts; only once there is any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p0_w: Option<f64>,
    /// Its standard deviation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p0_stddev_w: Option<f64>,
    /// Whether the data say anything of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p0_identified: Option<bool>,
    /// Windows of before this measurement that watts were learned from; only where there were any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resumed_windows: Option<u64>,
    /// Starts and stops of workloads, as they were predicted; only once there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experiments: Option<experiments::ExperimentRow>,
}

/// A part of an accelerator: no meter has its energy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartRow {
    /// `mig` (a part with units of its own) or `mps` (processes that share a context).
    pub kind: &'static str,
    /// Its UUID, or what it is.
    pub name: String,
    /// Slices of the device; 0 where it has none of its own.
    pub slices: u32,
    /// Dynamic and held energy of its processes, which are in the sums of the device.
    pub energy_uj: u64,
    /// Always `modelled`.
    pub quality: &'static str,
}

/// CPU time outside workloads, summed over the online CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct AccountsRow {
    /// Idle.
    pub idle_ns: u64,
    /// Interrupts and time stolen by the hypervisor.
    pub irq_steal_ns: u64,
    /// In tasks, and not to be given to any workload.
    pub missed_ns: u64,
    /// Of workloads that did not fit in a full map.
    pub overflow_ns: u64,
    /// Context switches that were not seen.
    pub missed_switches: u64,
    /// Ends of cgroups and tasks that did not fit in the event buffer.
    pub lost_events: u64,
    /// Totals that fell and were held.
    pub clamped: u64,
    /// CPU time of carbon itself, which is in its cgroup's too.
    pub own_ns: u64,
}

impl From<&Accounts> for AccountsRow {
    fn from(accounts: &Accounts) -> Self {
        Self {
            idle_ns: accounts.idle_ns,
            irq_steal_ns: accounts.irq_steal_ns,
            missed_ns: accounts.missed_ns,
            overflow_ns: accounts.overflow_ns,
            missed_switches: accounts.missed_switches,
            lost_events: accounts.lost_events,
            clamped: accounts.clamped,
            own_ns: accounts.own_ns,
        }
    }
}

/// A domain in words, told apart from the others of its package: `package-0`, `dram of package-0`.
pub(crate) fn domain_name(domain: &str, device: &str) -> String {
    if device.to_ascii_lowercase().starts_with(domain) {
        device.to_owned()
    } else {
        format!("{domain} of {device}")
    }
}

fn domain_rows(totals: &Totals, state: &State) -> Vec<DomainRow> {
    totals.domains().iter().map(|total| domain_row(total, state)).collect()
}

fn domain_row(total: &DomainTotal, state: &State) -> DomainRow {
    let domain = &total.domain;
    let power = state.static_powers().find(|(known, _)| *known == domain).map(|(_, power)| power);
    let bound = |ratio: f64| Microjoules::from_joules(total.metered.joules() * ratio).0;
    DomainRow {
        domain: domain.kind.as_str(),
        device: domain.device.clone(),
        metered_uj: total.metered.0,
        dynamic_uj: total.dynamic_energy.0,
        static_uj: total.static_energy.0,
        static_by: total.static_by.map(SharedBy::as_str),
        static_shared_uj: total.static_shared.0,
        lost_uj: total.lost.0,
        held_uj: total.device.as_ref().map(|device| device.held.0),
        parts: part_rows(total),
        quality: domain.quality.as_str(),
        split_quality: total.split_quality.unwrap_or(domain.quality).as_str(),
        source: domain.source.clone(),
        low_uj: domain.bounds.map(|bounds| bound(bounds.low_ratio)),
        high_uj: domain.bounds.map(|bounds| bound(bounds.high_ratio)),
        gaps: total.gaps,
        gap_ns: nanoseconds(total.gap_time),
        unread: total.unread,
        bank_windows: total.bank_windows,
        p0_w: power.map(|power| power.p0.0),
        p0_stddev_w: power.map(|power| power.stddev.0),
        p0_identified: power.map(|power| power.identified),
        resumed_windows: state.resumed_windows(domain),
        experiments: state
            .banks()
            .find(|(known, _)| *known == domain)
            .and_then(|(_, bank)| bank.experiments().score())
            .map(Into::into),
    }
}

/// Whether an accelerator was measured.
fn has_devices(totals: &Totals) -> bool {
    totals.domains().iter().any(|total| total.device.is_some())
}

fn part_rows(total: &DomainTotal) -> Vec<PartRow> {
    let parts = total.device.iter().flat_map(|device| &device.parts);
    parts
        .map(|part| PartRow {
            kind: part.kind,
            name: part.name.clone(),
            slices: part.slices,
            energy_uj: part.energy.0,
            quality: Quality::Modelled.as_str(),
        })
        .collect()
}

/// Quality of what is derived from `total` and CPU time of `rung`: the lower of the two. Energy that no domain
/// measures is not known at all, and counts as the lowest.
fn quality_of(total: &WorkloadTotal, rung: Rung) -> Quality {
    total.quality.map_or(Quality::Modelled, |quality| quality.min(rung.quality()))
}

/// Operational emissions.
fn grams_of(energy: Microjoules, context: &Context<'_>) -> Grams {
    carbon::grams(energy, context.pue, context.intensity.g_per_kwh)
}

/// What went wrong or is left out, in words: nothing that lowers the numbers' worth stays unsaid.
fn notes_of(context: &Context<'_>, totals: &Totals) -> Vec<String> {
    let mut notes = context.notes.clone();
    if totals.domains().iter().all(|total| total.metered == Microjoules::ZERO) {
        notes.push("no domain gave any energy: joules and grams are unknown, not zero".to_owned());
    }
    if totals.suspended() > Duration::ZERO {
        notes.push(format!(
            "the machine was suspended for {} s: that time is in no window, and a meter may have been reset by it",
            figures::significant(totals.suspended().as_secs_f64(), figures::METERED)
        ));
    }
    for total in totals.domains() {
        let name = domain_name(total.domain.kind.as_str(), &total.domain.device);
        if let Some(reason) = &total.pending {
            notes.push(format!("{name} could not be read at the end, so that energy is missing: {reason}"));
        }
        if total.gaps > 0 {
            let asleep = totals.suspended() > Duration::ZERO;
            notes.push(format!(
                "{name} hid some of its energy in {} windows, {} s together: its counter was reset, or showed what \
                 cannot be true{}",
                total.gaps,
                figures::significant(total.gap_time.as_secs_f64(), figures::METERED),
                if asleep { ", or the machine was suspended" } else { "" }
            ));
        }
        if let Some(device) = &total.device {
            device_notes(&mut notes, &name, device, total);
        }
    }
    notes.extend(static_notes(context, totals));
    for (domain, power) in context.state.static_powers().filter(|(_, power)| !power.identified) {
        notes.push(format!(
            "idle power not identified: {} was never idle enough to tell it, taken as {} W \u{b1}{}",
            domain_name(domain.kind.as_str(), &domain.device),
            figures::significant(power.p0.0, figures::MODELLED),
            figures::significant(SIGMAS_OF_90_PERCENT * power.stddev.0, figures::MODELLED),
        ));
    }
    for (domain, excess) in context.state.excess_static() {
        notes.push(format!(
            "idle power not identified: {} showed {} J less than its assumed idle power, so static energy is too high",
            domain_name(domain.kind.as_str(), &domain.device),
            figures::significant(excess.joules(), figures::MODELLED),
        ));
    }
    if context.state.unbalanced() > 0 {
        notes.push(format!(
            "in {} windows the parts did not sum to what was metered: this is a fault of carbon",
            context.state.unbalanced()
        ));
    }
    if totals.overflow_rows() > 0 {
        notes.push("more workloads than are kept by name: the rest is summed in \"overflow\"".to_owned());
    }
    if totals.accounts().lost_events > 0 {
        notes.push(format!(
            "{} kernel events did not fit in their buffers (ends of cgroups or tasks, or processes beyond those that a \
             run has room for): their last CPU time is in sums, not in the rows of their names",
            totals.accounts().lost_events
        ));
    }
    notes
}

/// What a policy for static energy could not do as it was asked, and what memory's energy is split by.
fn static_notes(context: &Context<'_>, totals: &Totals) -> Vec<String> {
    let mut notes = Vec::new();
    let domains = || totals.domains().iter();
    if domains().any(|total| total.static_by == Some(SharedBy::Requests(RequestSource::CpuWeight))) {
        notes.push(
            "static energy is shared by cpu.weight of the cgroups: a fallback, what the scheduler would give them and not \
             what they asked for"
                .to_owned(),
        );
    }
    if context.policy != StaticPolicy::Separate {
        // An accelerator's static energy is its holders' under every policy.
        let shared = domains().filter(|total| total.device.is_none());
        for total in shared.filter(|total| total.static_shared < total.static_energy) {
            let name = domain_name(total.domain.kind.as_str(), &total.domain.device);
            let left = total.static_energy.saturating_sub(total.static_shared).joules();
            let figures =
                if total.domain.quality == Quality::Modelled { figures::MODELLED } else { figures::METERED };
            let why = match context.policy {
                StaticPolicy::Requests => "nobody asked for a share (no cpu.weight where the cgroups are)",
                _ => "nobody was there to share it with",
            };
            let left = figures::significant(left, figures);
            notes.push(format!("{left} J static of {name} stay with it: {why}"));
        }
    }
    let memory = |total: &&DomainTotal| total.domain.kind == DomainKind::Dram;
    let by_time = |total: &DomainTotal| total.split_quality == Some(Quality::Modelled);
    if domains().filter(memory).any(|total| total.dynamic_energy > Microjoules::ZERO && by_time(total)) {
        notes.push(
            "dram is measured for the machine; its split among workloads is modelled, by CPU time and not by accesses"
                .to_owned(),
        );
    }
    if domains().filter(memory).any(|total| total.static_by == Some(SharedBy::CpuTime)) {
        notes.push(
            "static energy of dram is shared by CPU time, since the cgroups do not say what memory is resident".to_owned(),
        );
    }
    notes
}

/// What must be said of an accelerator's energy.
fn device_notes(notes: &mut Vec<String>, name: &str, device: &DeviceEnergy, total: &DomainTotal) {
    if let Some(reason) = &device.blind {
        notes.push(format!("who used {name} could not be told at times: {reason}"));
    }
    if device.idle_unknown {
        notes.push(format!(
            "{name} was in use before it was seen idle: until then none of its energy is static"
        ));
    }
    if total.lost > Microjoules::ZERO {
        let lost = figures::significant(total.lost.joules(), figures::METERED);
        notes
            .push(format!("{lost} J of {name} were used by processes that belong to no workload known here"));
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A standard deviation to the whole microjoule, upwards.
fn stddev_uj(total: &WorkloadTotal) -> u64 {
    Microjoules::from_joules(total.uncertainty.stddev_uj().ceil() / 1e6).0
}

#[cfg(test)]
pub(crate) mod gpu_tests;
#[cfg(test)]
mod tests;
