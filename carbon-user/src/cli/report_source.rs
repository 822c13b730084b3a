//! `carbon report --source URL`: the same report from an engine that has scraped the agents of many nodes.
//!
//! A counter may begin anew, a series begin late, and nothing be scraped for hours; `increase()` extrapolates, and does
//! not sum to what was used. So what each series grew by is added up on a grid of whole steps, by the server, see
//! [`series::grown`]: the differences telescope, and what is left out at either end is less than one scrape.

mod nodes;
mod series;
mod shares;

use super::error::CliError;
use super::report::{Collected, by_name, period};
use super::report_args::{ByArg, ReportArgs};
use super::report_time::{check_order, given, periods, shown};
use crate::carbon::Intensity;
use crate::clock;
use crate::ledger::Factor;
use crate::ledger::query::Balance;
use crate::ledger::rows::EnergyKind;
use crate::provider::prometheus::{Prometheus, QueryError, Value};
use crate::report::group::{Group, Hashed, Part};
use crate::report::ledger::Scope;
use crate::report::reconciliation::{Counted, Rows};
use crate::units::{Microjoules, Quality};
use jiff::ZonedDateTime;
use jiff::tz::TimeZone;
use nodes::{Node, Nodes};
use series::{by_labels, grown, is_of_machines, key, matchers};
use shares::Shares;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Steps of the grid: a minute, as in the ledger. A workload that has ended keeps its series for two minutes at least, so
/// that its last joules are on the grid, and a server looks five minutes back for the sample of a step.
const STEP_S: i64 = 60;
/// Longest time asked about at once.
const CHUNK_S: i64 = 86_400;
/// Shortest, where a server cannot do more.
const CHUNK_S_MIN: i64 = 600;
/// What tells nodes apart.
const NODE: &str = "cluster, node, instance";
/// Energy of workloads.
const WORKLOADS: &str = "carbon_workload_energy_joules_total";

/// What a part of the time gave.
#[derive(Debug, Default)]
struct Sums {
    groups: BTreeMap<String, Group>,
    balance: Balance,
    counted: Counted,
    /// Whether any node has a series.
    found: bool,
}

/// The server, and which series are asked for.
struct Source<'a> {
    args: &'a ReportArgs,
    server: Prometheus,
    matchers: String,
    unknown: Hashed,
    notes: BTreeSet<String>,
}

/// Sums of all nodes.
pub(super) fn collect(args: &ReportArgs, url: &str, tz: &TimeZone) -> Result<Collected, CliError> {
    let server = server(args, url)?;
    let matchers = matchers(&args.source_match)?;
    if !matches!(
        args.by,
        ByArg::Workload
            | ByArg::Container
            | ByArg::Pod
            | ByArg::Namespace
            | ByArg::Unit
            | ByArg::Job
            | ByArg::Domain
            | ByArg::Node
    ) {
        return Err(CliError::Argument {
            option: "--by",
            value: by_name(args.by).into(),
            reason: "metrics do not know it".into(),
            advice: "give namespace, pod, container, unit, job, workload, node or domain, or ask a ledger"
                .into(),
        });
    }
    let (from, to) = given(args, tz)?;
    let to = to.unwrap_or_else(|| clock::wall().to_zoned_datetime(tz.clone()));
    let from = from.ok_or_else(|| CliError::Argument {
        option: "--source",
        value: url.into(),
        reason: "a server does not say when its data begin".into(),
        advice: "give --from, such as --from 2026-01-31".into(),
    })?;
    check_order(args, &from, &to)?;
    let unknown = Hashed::new(Factor::new(Intensity::of_unknown_place(), crate::carbon::DEFAULT_PUE));
    let mut source = Source { args, server, matchers, unknown, notes: BTreeSet::new() };
    let mut groups = Vec::new();
    let mut all = Sums::default();
    for (label, from, to) in periods(&from, &to, args.period())? {
        let of_period = source.period((&from, &to), &mut all)?;
        groups.push((period(label.as_ref(), &from, &to), of_period));
    }
    if !all.found {
        return Err(source.nothing(&to));
    }
    let mut notes = vec![
        "from counters on a grid of whole minutes: at either end up to one scrape of a node is left out or in; standard \
         deviations of energies are not in the metrics, so intervals of grams are of the intensity alone"
            .to_owned(),
    ];
    notes.extend(source.server.warnings().into_iter().map(|said| {
        format!(
            "NOT WHOLE: {url} says that its answers lack something, so that these sums are too low: {said}"
        )
    }));
    notes.extend(source.notes);
    let scope = Scope { ledger: url.to_owned(), from: shown(&from), to: shown(&to), ..Scope::default() };
    Ok(Collected {
        groups,
        balance: all.balance,
        rows: Rows::Counted(all.counted),
        notes,
        scope,
        reserved: None,
        span: (from, to),
        names: HashMap::new(),
    })
}

fn server(args: &ReportArgs, url: &str) -> Result<Prometheus, CliError> {
    let wrong = |reason: &str, advice: &str| CliError::Argument {
        option: "--source",
        value: url.into(),
        reason: reason.into(),
        advice: advice.into(),
    };
    if !url.starts_with("https://") && !url.starts_with("http://") {
        return Err(wrong("not a URL", "give one such as http://localhost:9090"));
    }
    if url.starts_with("http://") && args.source_token.is_some() {
        return Err(wrong("the token would be sent in the clear", "give an https URL, or no token"));
    }
    Ok(Prometheus::new(url, args.source_token.as_deref(), args.source_ca.as_deref())?)
}

/// Whole microjoules, or nanoseconds for seconds.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts of floats saturate")]
fn whole(value: f64, per_unit: f64) -> u64 {
    (value * per_unit).round().max(0.0) as u64
}

impl Source<'_> {
    /// A whole period, in parts that the server can do.
    fn period(
        &mut self,
        (from, to): (&ZonedDateTime, &ZonedDateTime),
        all: &mut Sums,
    ) -> Result<BTreeMap<String, Group>, CliError> {
        let mut groups: BTreeMap<String, Group> = BTreeMap::new();
        let floor = |time: &ZonedDateTime| time.timestamp().as_second().div_euclid(STEP_S) * STEP_S;
        let (mut start, end) = (floor(from), floor(to));
        let mut chunk = CHUNK_S;
        while start < end {
            let next = (start + chunk).min(end);
            match self.part((start, next)) {
                Ok(part) => {
                    for (key, group) in part.groups {
                        groups.entry(key).or_default().merge(&group);
                    }
                    all.balance = all.balance.plus(part.balance);
                    all.counted = all.counted.plus(part.counted);
                    all.found |= part.found;
                    start = next;
                }
                Err(CliError::Query(QueryError::TooMuch { .. } | QueryError::TooLarge { .. }))
                    if chunk > CHUNK_S_MIN =>
                {
                    chunk = (chunk / 4 / STEP_S * STEP_S).max(CHUNK_S_MIN);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(groups)
    }

    /// Why there is no report, and what to do: names of jobs are those of the last day that is asked about.
    fn nothing(&self, to: &ZonedDateTime) -> CliError {
        let agents = format!("count by (job) (last_over_time(carbon_windows_total[{CHUNK_S}s]))");
        let jobs = self.server.instant(&agents, to.timestamp().as_second()).unwrap_or_default();
        let jobs: Vec<&str> = jobs.iter().map(|value| value.label("job")).collect();
        let advice = if jobs.is_empty() {
            "let the engine scrape the agents as docs/fleet.md shows, ask about a time in which it did, or give their job by \
             --source-match job=NAME"
                .to_owned()
        } else {
            format!(
                "agents are scraped there by the jobs {}: give one by --source-match job=NAME, and labels that its series have",
                jobs.join(", ")
            )
        };
        let lacks = self.server.warnings().join("; ");
        let lacks = if lacks.is_empty() { lacks } else { format!(" (it says: {lacks})") };
        CliError::Argument {
            option: "--source-match",
            value: self.matchers.clone(),
            reason: format!("no series of an agent has these labels in that time{lacks}"),
            advice,
        }
    }

    fn series(&self, name: &str, more: &str) -> String {
        format!("{name}{{{}{more}}}", self.matchers)
    }

    /// What a family grew by from `start_s` to `end_s`, by these labels.
    fn sums(
        &self,
        name: &str,
        more: &str,
        by: &str,
        (start_s, end_s): (i64, i64),
    ) -> Result<Vec<Value>, CliError> {
        let grown = grown(&self.series(name, more), &self.series("carbon_windows_total", ""));
        // Half a step short, so that the step at the start is out whether or not a server counts the start in.
        let span = end_s - start_s - STEP_S / 2;
        let expression = format!("sum by ({NODE}, {by}) (sum_over_time(({grown})[{span}s:{STEP_S}s]))");
        Ok(self.server.instant(&expression, end_s)?)
    }

    fn part(&mut self, span: (i64, i64)) -> Result<Sums, CliError> {
        let mut sums = Sums::default();
        let by = self.args.by;
        let mut nodes = self.nodes(span)?;
        sums.found = nodes.found();
        let mut shares = Shares::default();
        for value in self.sums("carbon_node_energy_joules_total", "", "domain, kind", span)? {
            let (energy, node) = (Microjoules(whole(value.value, 1e6)), Node::of(&value));
            sums.balance.metered_uj += energy.0;
            match value.label("kind") {
                "dynamic" => sums.balance.attributed_uj += energy.0,
                "static" => sums.balance.static_uj += energy.0,
                _ => sums.balance.lost_uj += energy.0,
            }
            shares.of_node(&node, &value, energy);
            let assumed = self.unknown.clone();
            nodes.factors.entry(node).or_insert_with(|| {
                self.notes.insert("some nodes tell no intensity: the world's average stands in".to_owned());
                assumed
            });
        }
        if shares.is_empty() {
            return Ok(sums);
        }
        let labels = by_labels(by);
        let (family, more) = match by {
            ByArg::Namespace => ("carbon_namespace_energy_joules_total", ""),
            // A node's energy is its own series'; workloads say what of it accelerators were held for.
            ByArg::Node | ByArg::Domain => (WORKLOADS, ",kind_of!=\"ended\",kind=\"static\",domain=\"gpu\""),
            // What ended is in the series that it had.
            _ => (WORKLOADS, ",kind_of!=\"ended\""),
        };
        for value in self.sums(family, more, &format!("domain, kind{labels}"), span)? {
            let (node, domain) = (Node::of(&value), value.label("domain"));
            let energy = Microjoules(whole(value.value, 1e6));
            let kind = match (value.label("kind"), domain) {
                ("static", "gpu") => EnergyKind::Held,
                ("static", _) => EnergyKind::Static,
                _ => EnergyKind::Dynamic,
            };
            shares.told(&node, domain, kind, energy);
            let key = key(by, &value);
            let quality = nodes.of_row(&node, domain, by, &key);
            sums.add(&nodes, &node, key, quality, (kind, energy, 0));
        }
        if !is_of_machines(by) {
            for value in self.sums(WORKLOADS, ",kind_of=\"ended\",kind=\"dynamic\"", "domain", span)? {
                shares.ended(&Node::of(&value), value.label("domain"), Microjoules(whole(value.value, 1e6)));
            }
        }
        sums.counted = shares.counted(by, span);
        for (node, domain, kind, energy) in shares.rest(by) {
            let key = shares::key_of_rest(by, node, domain, kind);
            let known = kind == EnergyKind::Static || is_of_machines(by);
            let quality = if !known {
                Quality::Modelled
            } else if kind == EnergyKind::Static {
                nodes.quality(node, domain)
            } else {
                nodes.of_row(node, domain, by, &key)
            };
            sums.add(&nodes, node, key, quality, (kind, energy, 0));
        }
        // CPU time is of no domain.
        if by != ByArg::Domain {
            let labels = labels.strip_prefix(", ").unwrap_or("kind_of");
            for value in
                self.sums("carbon_workload_cpu_seconds_total", ",kind_of!=\"ended\"", labels, span)?
            {
                let (node, cpu_ns) = (Node::of(&value), whole(value.value, 1e9));
                let key = key(by, &value);
                let quality = nodes.of_row(&node, "", by, &key);
                sums.add(&nodes, &node, key, quality, (EnergyKind::Dynamic, Microjoules::ZERO, cpu_ns));
            }
        }
        Ok(sums)
    }
}

impl Sums {
    fn add(
        &mut self,
        nodes: &Nodes,
        node: &Node,
        key: String,
        quality: Quality,
        (kind, energy, cpu_ns): (EnergyKind, Microjoules, u64),
    ) {
        let Some(factor) = nodes.factors.get(node) else { return };
        let part =
            Part { kind, factor, quality, energy, cpu_ns, common_uj: 0.0, variance_uj2: 0.0, rerated: false };
        self.groups.entry(key).or_default().add(&part);
    }
}
