//! An answer, as a line. What is in it is a promise (docs/api.md): keys are added within a version, and none is changed.

use super::{About, Client, Limits, Refusal, Reply, Stopped, VERSION};
use crate::agent::runs::{DomainPart, Energy, RunState, Segment};
use crate::agent::{Published, WorkloadTotals};
use crate::attribution::totals::WorkloadTotal;
use crate::ledger::Factor;
use crate::report;
use crate::report::figures;
use crate::report::group::add_grams;
use crate::units::{CgroupId, Microjoules};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Serialize)]
struct Line<'a, T> {
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a Value>,
    ok: bool,
    #[serde(flatten)]
    body: T,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: ErrorKeys<'a>,
}

#[derive(Serialize)]
struct ErrorKeys<'a> {
    code: &'a str,
    message: &'a str,
}

#[derive(Serialize)]
struct DomainKeys<'a> {
    domain: &'a str,
    device: &'a str,
    source: &'a str,
    quality: &'static str,
    #[serde(flatten)]
    energy: Option<PartKeys>,
}

#[expect(clippy::struct_field_names, reason = "keys of the answer, with their unit")]
#[derive(Serialize)]
struct PartKeys {
    dynamic_uj: u64,
    static_uj: u64,
    held_uj: u64,
}

#[derive(Serialize)]
struct EnergyKeys<'a> {
    cpu_ns: u64,
    dynamic_uj: u64,
    dynamic_low_uj: u64,
    dynamic_high_uj: u64,
    static_uj: u64,
    held_uj: u64,
    energy_uj: u64,
    grams: Option<f64>,
    grams_low: Option<f64>,
    grams_high: Option<f64>,
    quality: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    domains: Option<Vec<DomainKeys<'a>>>,
}

#[expect(clippy::struct_field_names, reason = "keys of the answer, with their unit")]
#[derive(Serialize)]
struct SumKeys {
    dynamic_uj: u64,
    static_uj: u64,
    held_uj: u64,
    energy_uj: u64,
}

#[derive(Serialize)]
struct SegmentKeys<'a> {
    name: Option<&'a str>,
    start: Timestamp,
    end: Timestamp,
    duration_ns: u64,
    counts: &'a BTreeMap<String, u64>,
    energy: EnergyKeys<'a>,
}

#[derive(Serialize)]
struct HelloBody<'a> {
    server: &'static str,
    versions: [u64; 1],
    node: &'a str,
    accounting: &'static str,
    quality: &'static str,
    attribution: &'static str,
    static_policy: &'static str,
    window_ns: u64,
    runs: bool,
    domains: Vec<DomainKeys<'a>>,
    intensity: report::Intensity,
    pue: f64,
    you: YouKeys<'a>,
    limits: LimitKeys,
}

#[derive(Serialize)]
struct YouKeys<'a> {
    pid: Option<u32>,
    uid: u32,
    gid: u32,
    cgroup: Option<&'a str>,
}

#[derive(Serialize)]
struct LimitKeys {
    line_bytes: usize,
    requests_per_s: u32,
    runs: usize,
    idle_s: u64,
}

#[derive(Serialize)]
struct StartBody {
    run: String,
    start: Timestamp,
}

#[derive(Serialize)]
struct JoinBody {
    run: String,
}

#[derive(Serialize)]
struct MarkBody<'a> {
    run: String,
    at: Timestamp,
    segment: SegmentKeys<'a>,
    total: EnergyKeys<'a>,
}

#[derive(Serialize)]
struct CountBody<'a> {
    run: String,
    unit: &'a str,
    count: u64,
}

#[derive(Serialize)]
struct EnergyBody<'a> {
    as_of: Timestamp,
    cgroup: Option<CgroupKeys<'a>>,
    runs: Vec<RunKeys<'a>>,
}

#[derive(Serialize)]
struct CgroupKeys<'a> {
    path: &'a str,
    cpu_ns: u64,
    dynamic_uj: u64,
    static_uj: u64,
    domains: Vec<CgroupDomainKeys<'a>>,
}

#[derive(Serialize)]
struct CgroupDomainKeys<'a> {
    domain: &'a str,
    device: &'a str,
    source: &'a str,
    quality: &'static str,
    dynamic_uj: u64,
    static_uj: u64,
}

#[derive(Serialize)]
struct RunKeys<'a> {
    run: String,
    name: Option<&'a str>,
    start: Timestamp,
    alive: Option<u64>,
    energy: EnergyKeys<'a>,
    counts: &'a BTreeMap<String, u64>,
}

#[derive(Serialize)]
struct StopBody<'a> {
    run: String,
    status: &'static str,
    start: Timestamp,
    end: Timestamp,
    duration_ns: u64,
    energy: EnergyKeys<'a>,
    own: SumKeys,
    outlived_by: u64,
    counts: &'a BTreeMap<String, u64>,
    segments: Vec<SegmentKeys<'a>>,
    segments_more: u64,
    intensity: report::Intensity,
    pue: f64,
    accounting: &'static str,
    recorded: bool,
    notes: &'a [String],
    report: Option<&'a str>,
}

/// The line of a refusal.
pub fn refusal(id: Option<&Value>, refusal: &Refusal) -> String {
    let error = ErrorKeys { code: refusal.code, message: &refusal.message };
    text(&Line { version: VERSION, id, ok: false, body: ErrorBody { error } })
}

/// What the server itself knows of a client and its cgroup.
#[derive(Debug)]
pub struct Asker<'a> {
    /// Who.
    pub client: &'a Client,
    /// Its cgroup, where it is known.
    pub cgroup: Option<&'a str>,
    /// That of the hierarchy which is measured.
    pub measured: Option<CgroupId>,
    /// What the agent published last.
    pub published: &'a Published,
    /// What holds for it.
    pub limits: &'a Limits,
}

/// The line of an answer. `report` is the text of a report that was asked for; `alone` leaves out the cgroup.
pub fn answer(
    id: Option<&Value>,
    asker: &Asker<'_>,
    reply: &Reply,
    report: Option<&str>,
    alone: bool,
) -> String {
    match reply {
        Reply::About(about) => ok(id, hello(asker, about)),
        Reply::Started { run, start_us } => {
            ok(id, StartBody { run: run.to_string(), start: time(*start_us) })
        }
        Reply::Joined(run) => ok(id, JoinBody { run: run.to_string() }),
        Reply::Marked { run, segment, total, factor } => ok(
            id,
            MarkBody {
                run: run.to_string(),
                at: time(segment.end.wall_us),
                segment: segment_keys(segment, factor, true),
                total: energy_keys(total, factor, true),
            },
        ),
        Reply::Counted { run, unit, count } => {
            ok(id, CountBody { run: run.to_string(), unit, count: *count })
        }
        Reply::Runs { as_of_us, runs } => ok(
            id,
            EnergyBody {
                as_of: time(*as_of_us),
                cgroup: if alone { None } else { cgroup_keys(asker) },
                runs: runs.iter().map(|(run, alive)| run_keys(run, *alive)).collect(),
            },
        ),
        Reply::Stopped(stopped) => ok(id, stop(stopped, report)),
    }
}

fn ok(id: Option<&Value>, body: impl Serialize) -> String {
    text(&Line { version: VERSION, id, ok: true, body })
}

/// Types of this module always serialise: keys are strings and floats finite, or else `null`.
fn text(line: &impl Serialize) -> String {
    let mut text = serde_json::to_string(line).unwrap_or_default();
    text.push('\n');
    text
}

fn time(us: i64) -> Timestamp {
    Timestamp::from_microsecond(us).unwrap_or_default()
}

fn hello<'a>(asker: &Asker<'a>, about: &'a About) -> HelloBody<'a> {
    let peer = &asker.client.peer;
    let limits = asker.limits;
    HelloBody {
        server: concat!("carbon ", env!("CARGO_PKG_VERSION")),
        versions: [VERSION],
        node: &about.node,
        accounting: about.accounting,
        quality: about.quality,
        attribution: about.attribution,
        static_policy: about.static_policy,
        window_ns: u64::try_from(about.window.as_nanos()).unwrap_or(u64::MAX),
        runs: about.runs,
        domains: asker
            .published
            .domains
            .iter()
            .map(|domain| DomainKeys {
                domain: domain.domain,
                device: &domain.device,
                source: &domain.source,
                quality: domain.quality.as_str(),
                energy: None,
            })
            .collect(),
        intensity: (&about.factor.intensity).into(),
        pue: about.factor.pue.0,
        you: YouKeys { pid: peer.alive(), uid: peer.uid, gid: peer.gid, cgroup: asker.cgroup },
        limits: LimitKeys {
            line_bytes: limits.line_bytes,
            requests_per_s: limits.requests_per_s,
            runs: if peer.uid == 0 { limits.runs } else { limits.runs_of_user },
            idle_s: limits.idle.as_secs(),
        },
    }
}

fn cgroup_keys<'a>(asker: &Asker<'a>) -> Option<CgroupKeys<'a>> {
    let all = &asker.published.workloads;
    // Kernel threads have an account of their own, whichever cgroup they are in.
    let of_tasks = |it: &&WorkloadTotals| !matches!(it.who.kind, "kernel" | "overflow");
    let measured =
        asker.measured.and_then(|of| all.iter().filter(of_tasks).find(|it| it.who.cgroup == Some(of)));
    // One that an agent before has measured, and that has not run since.
    let named = || all.iter().find(|it| Some(it.who.identity.as_str()) == asker.cgroup);
    let workload = measured.or_else(named)?;
    let domains: Vec<CgroupDomainKeys<'_>> = asker
        .published
        .domains
        .iter()
        .zip(&workload.domains)
        .map(|(domain, sums)| CgroupDomainKeys {
            domain: domain.domain,
            device: &domain.device,
            source: &domain.source,
            quality: sums.quality.unwrap_or(domain.quality).as_str(),
            dynamic_uj: sums.dynamic_energy.0,
            static_uj: sums.static_energy.0,
        })
        .collect();
    Some(CgroupKeys {
        path: &workload.who.identity,
        cpu_ns: workload.cpu.0,
        dynamic_uj: domains.iter().map(|sums| sums.dynamic_uj).sum(),
        static_uj: domains.iter().map(|sums| sums.static_uj).sum(),
        domains,
    })
}

fn run_keys(run: &RunState, alive: Option<u64>) -> RunKeys<'_> {
    RunKeys {
        run: run.begun.id.to_string(),
        name: run.begun.start.name.as_deref(),
        start: time(run.begun.at.wall_us),
        alive,
        energy: energy_keys(&run.energy, &run.begun.factor, true),
        counts: &run.counts,
    }
}

fn segment_keys<'a>(segment: &'a Segment, factor: &Factor, domains: bool) -> SegmentKeys<'a> {
    SegmentKeys {
        name: segment.name.as_deref(),
        start: time(segment.start.wall_us),
        end: time(segment.end.wall_us),
        duration_ns: segment.end.at_ns.saturating_sub(segment.start.at_ns),
        counts: &segment.counts,
        energy: energy_keys(&segment.energy, factor, domains),
    }
}

fn energy_keys<'a>(energy: &'a Energy, factor: &Factor, domains: bool) -> EnergyKeys<'a> {
    let total = &energy.total;
    let quality = if energy.domains.is_empty() { None } else { total.quality };
    let stddev_uj = total.uncertainty.stddev_uj();
    let word = quality.map_or("none", |quality| quality.as_str());
    let (low, high) = figures::interval(total.dynamic_energy.joules(), stddev_uj / 1e6, word);
    let grams = quality.and_then(|_| add_grams([(factor, total.energy(), stddev_uj)]).ok());
    EnergyKeys {
        cpu_ns: total.cpu.0,
        dynamic_uj: total.dynamic_energy.0,
        dynamic_low_uj: Microjoules::from_joules(low).0,
        dynamic_high_uj: Microjoules::from_joules(high).0,
        static_uj: total.static_energy.0,
        held_uj: total.held_energy.0,
        energy_uj: total.energy().0,
        grams: grams.map(|grams| grams.middle),
        grams_low: grams.map(|grams| grams.low),
        grams_high: grams.map(|grams| grams.high),
        quality: word,
        domains: domains.then(|| energy.domains.iter().map(domain_keys).collect()),
    }
}

fn domain_keys(part: &DomainPart) -> DomainKeys<'_> {
    DomainKeys {
        domain: &part.domain.domain,
        device: &part.domain.device,
        source: &part.domain.source,
        quality: part.quality.as_str(),
        energy: Some(PartKeys {
            dynamic_uj: part.dynamic_energy.0,
            static_uj: part.static_energy.0,
            held_uj: part.held_energy.0,
        }),
    }
}

fn sum_keys(total: &WorkloadTotal) -> SumKeys {
    SumKeys {
        dynamic_uj: total.dynamic_energy.0,
        static_uj: total.static_energy.0,
        held_uj: total.held_energy.0,
        energy_uj: total.energy().0,
    }
}

fn stop<'a>(stopped: &'a Stopped, report: Option<&'a str>) -> StopBody<'a> {
    let Stopped { run, status, accounting, outlived_by, notes, .. } = stopped;
    let factor = &run.begun.factor;
    let end = run.segment.end;
    StopBody {
        run: run.begun.id.to_string(),
        status,
        start: time(run.begun.at.wall_us),
        end: time(end.wall_us),
        duration_ns: end.at_ns.saturating_sub(run.begun.at.at_ns),
        energy: energy_keys(&run.energy, factor, true),
        own: sum_keys(&run.own),
        outlived_by: *outlived_by,
        counts: &run.counts,
        segments: run.segments.iter().map(|segment| segment_keys(segment, factor, false)).collect(),
        segments_more: run.segments_more,
        intensity: (&factor.intensity).into(),
        pue: factor.pue.0,
        accounting,
        recorded: run.begun.recorded,
        notes,
        report,
    }
}
