//! The values of each family in a view.

use super::emissions::Emitted;
use super::series::{Row, View};
use super::sums::Sums;
use super::table::{self, Family};
use crate::agent::{Cause, DomainTotals, Published, Pushes, RefusedCounts};
use crate::carbon::Intensity;
use crate::carbon::kind::Span;
use crate::ledger::Factor;
use crate::metadata::Counts;
use crate::meters::PowerLimit;
use crate::sched::Rung;
use crate::units::{CpuNanos, Microjoules, Quality};
use crate::window::DomainKind;
use crate::workload::Kind;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::time::Duration;

/// Labels with their values; those without a value are left out.
pub(super) type Labels = Vec<(&'static str, String)>;

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) labels: Labels,
    pub(super) value: f64,
}

#[expect(clippy::cast_precision_loss, reason = "the formats know floats only; whole up to 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}

fn one(value: f64) -> Vec<Sample> {
    vec![Sample { labels: Vec::new(), value }]
}

fn labelled(labels: &[(&'static str, &str)], value: f64) -> Sample {
    let labels = labels.iter().filter(|(_, text)| !text.is_empty());
    Sample { labels: labels.map(|(name, text)| (*name, (*text).to_owned())).collect(), value }
}

/// The word for what a workload is, from few.
fn kind_of(row: &Row) -> &'static str {
    if row.who.path.kind == Kind::Unknown { row.who.kind } else { row.who.path.kind.as_str() }
}

fn identity(row: &Row) -> Labels {
    let path = &row.who.path;
    let of = |text: &Option<String>| text.clone().unwrap_or_default();
    let all = [
        ("kind_of", kind_of(row).to_owned()),
        ("workload", row.who.identity.clone()),
        ("namespace", row.names.namespace.clone()),
        ("pod", row.names.pod.clone()),
        ("container", row.names.container.clone()),
        ("unit", of(&path.unit)),
        ("job_id", of(&path.job_id)),
        ("vm", of(&path.vm_name)),
    ];
    all.into_iter().filter(|(_, text)| !text.is_empty()).collect()
}

fn folded(name: &'static str) -> Labels {
    vec![("kind_of", name.to_owned())]
}

/// Each domain's energies of one kind that are not zero.
fn energies(view: &View, labels: &Labels, sums: &Sums, into: &mut Vec<Sample>) {
    for (energy, domain) in sums.domains.iter().zip(domains(view)) {
        for (kind, value) in [("dynamic", energy.dynamic_energy), ("static", energy.static_energy)] {
            if value > Microjoules::ZERO {
                let mut labels = labels.clone();
                labels.push(("domain", domain.domain.to_owned()));
                labels.push(("device", domain.device.clone()));
                labels.push(("kind", kind.to_owned()));
                into.push(Sample { labels, value: value.joules() });
            }
        }
    }
}

fn domains(view: &View) -> impl Iterator<Item = &DomainTotals> {
    view.published.domains.iter()
}

fn node(view: &View) -> Vec<Sample> {
    let of = |domain: &DomainTotals| {
        let kinds = [("dynamic", domain.attributed), ("static", domain.static_energy), ("lost", domain.lost)];
        let (name, device, quality) = (domain.domain, domain.device.clone(), domain.quality.as_str());
        kinds.into_iter().filter(|(_, value)| *value > Microjoules::ZERO).map(move |(kind, value)| {
            let labels = [("domain", name), ("device", &device), ("kind", kind), ("quality", quality)];
            labelled(&labels, value.joules())
        })
    };
    domains(view).flat_map(of).collect()
}

/// Only an accelerator has a use of its own; energy of all else follows CPU time.
fn lost(view: &View) -> Vec<Sample> {
    let mut reasons: BTreeMap<&str, Microjoules> = BTreeMap::new();
    for domain in domains(view) {
        let is_accelerator = domain.domain == DomainKind::Gpu.as_str();
        *reasons.entry(if is_accelerator { "no_process" } else { "nothing_ran" }).or_default() += domain.lost;
    }
    reasons.into_iter().map(|(reason, energy)| labelled(&[("reason", reason)], energy.joules())).collect()
}

fn limits(view: &View) -> Vec<Sample> {
    let of = |domain: &DomainTotals| -> Vec<Sample> {
        let sample = |limit: &PowerLimit| {
            let constraint = limit.constraint.as_str();
            let labels = [("domain", domain.domain), ("device", &domain.device), ("constraint", constraint)];
            labelled(&labels, limit.watts.0)
        };
        domain.limits.iter().flat_map(|limits| limits.iter()).map(sample).collect()
    };
    domains(view).flat_map(of).collect()
}

fn workloads(view: &View) -> Vec<Sample> {
    let mut samples = Vec::new();
    for row in &view.rows {
        energies(view, &identity(row), &row.sums, &mut samples);
    }
    for (name, sums) in [("other", &view.other), ("ended", &view.ended)] {
        energies(view, &folded(name), sums, &mut samples);
    }
    samples
}

fn cpu(view: &View) -> Vec<Sample> {
    let rows = view.rows.iter().map(|row| (identity(row), row.sums.cpu));
    let folded = [(folded("other"), view.other.cpu), (folded("ended"), view.ended.cpu)];
    rows.chain(folded)
        .filter(|(_, cpu)| *cpu > CpuNanos::ZERO)
        .map(|(labels, cpu)| Sample { labels, value: cpu.seconds() })
        .collect()
}

fn namespaces(view: &View) -> Vec<Sample> {
    let mut samples = Vec::new();
    for (namespace, sums) in &view.namespaces {
        energies(view, &vec![("namespace", namespace.clone())], sums, &mut samples);
    }
    samples
}

/// What the grams are of: figures of two kinds have other labels, so that no sum by these adds them.
fn basis(factor: &Factor) -> Labels {
    let kind = factor.intensity.kind;
    vec![("boundary", kind.boundary_text().to_owned()), ("basis", kind.basis_text())]
}

/// Grams that are not zero.
fn emissions(view: &View, of: impl Fn(&Emitted) -> Vec<(Labels, f64)>) -> Vec<Sample> {
    let (Some(emitted), Some(factor)) = (&view.emitted, &view.published.factor) else { return Vec::new() };
    let sample = |(mut labels, value): (Labels, f64)| {
        labels.extend(basis(factor));
        Sample { labels, value }
    };
    of(emitted).into_iter().filter(|(_, grams)| *grams > 0.0).map(sample).collect()
}

fn workload_emissions(view: &View) -> Vec<Sample> {
    emissions(view, |emitted| {
        let rows = view.rows.iter().map(identity).zip(emitted.rows.iter().copied());
        rows.chain([(folded("other"), emitted.other), (folded("ended"), emitted.ended)]).collect()
    })
}

fn namespace_emissions(view: &View) -> Vec<Sample> {
    emissions(view, |emitted| {
        let names = view.namespaces.iter().map(|(name, _)| vec![("namespace", name.clone())]);
        names.zip(emitted.namespaces.iter().copied()).collect()
    })
}

fn quality_of(it: &Intensity) -> &'static str {
    match (it.assumed, it.kind.span) {
        (true, _) => "assumed",
        (false, Span::Year) => "yearly",
        (false, Span::Hour) => "hourly",
    }
}

fn intensity(view: &View) -> Vec<Sample> {
    let of = |factor: &Factor| {
        let it = &factor.intensity;
        let mut labels = vec![("zone", it.zone.clone()), ("year", it.year.to_string())];
        labels.extend(basis(factor));
        labels.extend([("source", it.source.clone()), ("quality", quality_of(it).to_owned())]);
        Sample { labels, value: it.g_per_kwh.0 }
    };
    view.published.factor.iter().map(of).collect()
}

/// Nothing before the year is over, and nothing of an hourly figure, which does not say of which hour it is.
fn intensity_age(view: &View) -> Vec<Sample> {
    let of = |factor: &Factor| {
        let it = Some(&factor.intensity).filter(|it| it.kind.span == Span::Year)?;
        let next = i16::try_from(it.year).ok()?.checked_add(1)?;
        let end = TimeZone::UTC.to_timestamp(DateTime::new(next, 1, 1, 0, 0, 0, 0).ok()?).ok()?;
        let now_us = u64::try_from(view.published.window_end_us).ok()?;
        let end_us = u64::try_from(end.as_microsecond()).ok()?;
        let age = Duration::from_micros(now_us.checked_sub(end_us)?);
        let labels = [("zone", &*it.zone), ("year", &*it.year.to_string()), ("quality", quality_of(it))];
        Some(labelled(&labels, age.as_secs_f64()))
    };
    view.published.factor.as_ref().and_then(of).into_iter().collect()
}

fn governor(view: &View) -> Vec<Sample> {
    let of = &view.published.governed;
    let actions = [("widen", of.widened), ("narrow", of.narrowed), ("fall", of.fell)];
    actions.map(|(action, times)| labelled(&[("action", action)], float(times))).into()
}

fn accounting(view: &View) -> Vec<Sample> {
    let in_use = |rung: Rung| f64::from(u8::from(rung.as_str() == view.published.accounting));
    Rung::ALL.map(|rung| labelled(&[("accounting", rung.as_str())], in_use(rung))).into()
}

fn info(view: &View) -> Vec<Sample> {
    let of = |row: &Row| {
        let path = &row.who.path;
        let job = &row.names.job;
        let of = |text: &Option<String>| text.clone().unwrap_or_default();
        let uid = path.user_uid.map(|uid| uid.to_string());
        let (name, user) = (of(&job.name), of(&job.user.clone().or(uid)));
        let (account, partition) = (of(&job.account), of(&job.partition));
        let labels = [
            ("workload", row.who.identity.as_str()),
            ("container_id", path.container_id.as_deref().unwrap_or_default()),
            ("pod_uid", path.pod_uid.as_deref().unwrap_or_default()),
            ("image", &row.names.image),
            ("runtime", path.runtime.map_or("", |of| of.as_str())),
            ("qos", path.qos.map_or("", |of| of.as_str())),
            ("job_user", &user),
            ("job_name", &name),
            ("job_account", &account),
            ("job_partition", &partition),
            ("quality", row.quality.map_or("", |of| of.as_str())),
        ];
        let own = row.names.labels.iter().map(|(name, text)| (*name, text.as_str()));
        labelled(&labels.into_iter().chain(own).collect::<Vec<_>>(), 1.0)
    };
    view.rows.iter().map(of).collect()
}

fn meters(view: &View, value: impl Fn(&DomainTotals) -> f64) -> Vec<Sample> {
    let of = |it: &DomainTotals| {
        // What a model is made of is a sentence with numbers in it.
        let meter = if it.quality == Quality::Modelled { "model" } else { &it.source };
        labelled(&[("meter", meter), ("domain", it.domain), ("device", &it.device)], value(it))
    };
    domains(view).map(of).collect()
}

/// One that was never read has no series: it is not known to be zero.
fn metered(view: &View) -> Vec<Sample> {
    let samples = meters(view, |it| it.metered.joules());
    samples.into_iter().filter(|sample| sample.value > 0.0).collect()
}

fn states(view: &View) -> Vec<Sample> {
    let count = |count: usize| float(u64::try_from(count).unwrap_or(u64::MAX));
    let states = [
        ("tracked", count(view.published.workloads.len())),
        ("exported", count(view.rows.len())),
        ("unresolved", count(view.unresolved)),
    ];
    states.map(|(state, value)| labelled(&[("state", state)], value)).into()
}

fn pushes(of: &Pushes) -> Vec<Sample> {
    let results = [("sent", of.sent), ("failed", of.failed)];
    results.map(|(result, times)| labelled(&[("result", result)], float(times))).into()
}

fn refusals(of: &Counts) -> Vec<Sample> {
    of.errors.iter().map(|(source, errors)| labelled(&[("source", source)], float(*errors))).collect()
}

/// Nobody shows a token or a host's name on the socket, and readers of the metrics have no rate.
fn refused(of: &Published) -> Vec<Sample> {
    let listeners: [(&'static str, RefusedCounts, &'static [Cause]); 2] = [
        ("metrics", of.refused_readers, &[Cause::Rate]),
        ("socket", of.refused_clients, &[Cause::Token, Cause::Host]),
    ];
    let samples = |(listener, counts, never): (&'static str, RefusedCounts, &'static [Cause])| {
        let causes = counts.each().filter(move |(cause, _)| !never.contains(cause));
        causes.map(move |(cause, times)| {
            labelled(&[("listener", listener), ("cause", cause.as_str())], float(times))
        })
    };
    listeners.into_iter().flat_map(samples).collect()
}

fn started(of: &Published) -> Vec<Sample> {
    let since = u64::try_from(of.own.started_us).ok().filter(|us| *us > 0).map(Duration::from_micros);
    since.map(|since| one(since.as_secs_f64())).unwrap_or_default()
}

fn build(view: &View) -> Vec<Sample> {
    let of = &view.published;
    let labels = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("accounting", of.accounting),
        ("attribution", of.attribution),
        ("static_policy", of.static_policy),
    ];
    vec![labelled(&labels, 1.0)]
}

/// Every family with its samples, in the order of the table. Before the first window there is nothing but the build.
pub(super) fn all(view: &View) -> Vec<(Family, Vec<Sample>)> {
    let of = &view.published;
    let build = (table::BUILD_INFO, build(view));
    if of.windows == 0 {
        return vec![build];
    }
    let unseen = [("missed", of.missed), ("overflow", of.overflow)];
    let unseen = unseen.map(|(reason, time)| labelled(&[("reason", reason)], time.seconds()));
    let bool = |is: bool| f64::from(u8::from(is));
    vec![
        (table::NODE_ENERGY, node(view)),
        (table::METER_ENERGY, metered(view)),
        (table::ENERGY_LOST, lost(view)),
        (table::POWER_LIMIT, limits(view)),
        (table::WORKLOAD_ENERGY, workloads(view)),
        (table::WORKLOAD_CPU, cpu(view)),
        (table::NAMESPACE_ENERGY, namespaces(view)),
        (table::WORKLOAD_EMISSIONS, workload_emissions(view)),
        (table::NAMESPACE_EMISSIONS, namespace_emissions(view)),
        (table::GRID_INTENSITY, intensity(view)),
        (table::INTENSITY_AGE, intensity_age(view)),
        (table::PUE, of.factor.as_ref().map(|factor| one(factor.pue.0)).unwrap_or_default()),
        (table::WORKLOAD_INFO, info(view)),
        (table::WORKLOADS, states(view)),
        (table::CPU_LOST, unseen.into()),
        (table::EVENTS_LOST, one(float(of.lost_events))),
        (table::METER_UP, meters(view, |it| bool(it.watts.is_some()))),
        (table::METER_ERRORS, meters(view, |it| float(it.faults))),
        (table::METER_GAPS, meters(view, |it| float(it.gaps))),
        (table::WINDOW, one(CpuNanos(of.window_ns).seconds())),
        (table::WINDOWS, one(float(of.windows))),
        (table::WINDOWS_FAILED, one(float(of.failed_windows))),
        (table::WINDOW_TARGET, one(CpuNanos(of.governed.target_ns).seconds())),
        (table::OVERHEAD, one(of.governed.cost_ratio)),
        (table::OVERHEAD_LIMIT, one(of.governed.limit_ratio)),
        (table::GOVERNOR, governor(view)),
        (table::ACCOUNTING, accounting(view)),
        (table::FLUSHES, one(float(of.flushes))),
        (table::FLUSHES_WAITING, one(float(of.flushes_waiting))),
        (table::LEDGER_UP, one(bool(of.ledger_error.is_none()))),
        (table::NAMES_ERRORS, of.naming.as_ref().map(refusals).unwrap_or_default()),
        (table::NAMES_DROPPED, of.naming.as_ref().map(|it| one(float(it.dropped))).unwrap_or_default()),
        (table::PUSHES, of.pushes.as_ref().map(pushes).unwrap_or_default()),
        (table::PUSHES_REFUSED, of.pushes.map(|it| one(float(it.rejected))).unwrap_or_default()),
        (table::CLIENTS_REFUSED, refused(of)),
        (table::RECOVERED, one(of.recovered.joules())),
        (table::NODE_CPUS, one(float(u64::try_from(view.cpus).unwrap_or(0)))),
        (table::AGENT_ENERGY, of.own.energy.map(|it| one(it.joules())).unwrap_or_default()),
        (table::AGENT_KERNEL, one(of.own.in_kernel.seconds())),
        (table::PROCESS_CPU, one(of.own.cpu.seconds())),
        (table::PROCESS_START, started(of)),
        (table::PROCESS_MEMORY, of.own.resident_bytes.map(|it| one(float(it))).unwrap_or_default()),
        build,
    ]
}
