//! `carbon report --source URL`: the same report from an engine that has scraped the agents of many nodes.
//!
//! A counter may begin anew, a series begin late, and nothing be scraped for hours; `increase()` extrapolates, and does
//! not sum to what was used. So what each series grew by is added up on a grid of whole steps, by the server, see
//! [`grown`]: the differences telescope, and what is left out at either end is less than one scrape.

use super::error::CliError;
use super::report::{Collected, NONE, by_name, period};
use super::report_args::{ByArg, ReportArgs};
use super::report_factors::factor_for;
use super::report_time::{check_order, given, periods, shown};
use crate::carbon::{Intensity, Kind, Spread};
use crate::clock;
use crate::ledger::Factor;
use crate::ledger::query::Balance;
use crate::ledger::rows::{EnergyKind, parse_quality};
use crate::provider::prometheus::{Prometheus, QueryError, Value};
use crate::report::group::{Group, Hashed, Part};
use crate::report::ledger::Scope;
use crate::units::{GramsPerKwh, Microjoules, Pue, Quality};
use jiff::ZonedDateTime;
use jiff::tz::TimeZone;
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

/// What a series grew by up to each step of the grid. In this order, for a series that
/// 1. has a value a step before and did not fall: the difference;
/// 2. has one and fell: it began anew from zero, so its value;
/// 3. has none, of an agent that was scraped then: it began from zero since, so its value;
/// 4. was not scraped then, but within a day before: the difference to that, or its value where it fell;
/// 5. was never seen before: nothing, as nobody knows since when it counts.
///
/// The zero takes the name off all of them, so that a series is one whatever is said of it.
fn grown(series: &str, watched: &str) -> String {
    let before = format!("{series} offset {STEP_S}s");
    let long_before = format!("last_over_time({series}[1d] offset {STEP_S}s)");
    format!(
        "((({series} - {before}) >= 0) or ({series} and {before}) \
         or ({series} and on (cluster, job, instance) ({watched} offset {STEP_S}s)) \
         or (({series} - {long_before}) >= 0) or ({series} and {long_before})) + 0"
    )
}

/// A machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Node {
    cluster: String,
    name: String,
}

impl Node {
    fn of(value: &Value) -> Self {
        let name = Some(value.label("node")).filter(|name| !name.is_empty());
        let name = name.unwrap_or_else(|| value.label("instance")).to_owned();
        Self { cluster: value.label("cluster").to_owned(), name }
    }
}

impl Node {
    /// A row's name: nodes of two clusters may have one name.
    fn key(&self) -> String {
        if self.cluster.is_empty() { self.name.clone() } else { format!("{}/{}", self.cluster, self.name) }
    }
}

/// What is known of the nodes in a part of the time.
#[derive(Debug, Default)]
struct Nodes {
    factors: BTreeMap<Node, Hashed>,
    quality: BTreeMap<(Node, String), Quality>,
    /// Where processes that live short are lost.
    sampled: BTreeSet<Node>,
}

impl Nodes {
    fn quality(&self, node: &Node, domain: &str) -> Quality {
        let of = self
            .quality
            .iter()
            .filter(|((known, name), _)| known == node && (domain.is_empty() || name == domain));
        let quality = of.map(|(_, quality)| *quality).min().unwrap_or(Quality::Modelled);
        if self.sampled.contains(node) { quality.min(Quality::Sampled) } else { quality }
    }
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
    let mut balance = Balance::default();
    for (label, from, to) in periods(&from, &to, args.period())? {
        let mut of_period = BTreeMap::new();
        source.period((&from, &to), &mut of_period, &mut balance)?;
        groups.push((period(label.as_ref(), &from, &to), of_period));
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
        balance,
        exact: false,
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

/// `LABEL=VALUE` as `PromQL`; the job is `carbon` unless something else is said.
fn matchers(given: &[String]) -> Result<String, CliError> {
    let wrong = |text: &String| CliError::Argument {
        option: "--source-match",
        value: text.clone(),
        reason: "not LABEL=VALUE".into(),
        advice: "give one such as cluster=prod".into(),
    };
    let mut all = Vec::new();
    for text in given {
        let (label, value) = text.split_once('=').ok_or_else(|| wrong(text))?;
        let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        if label.is_empty()
            || label.starts_with(|first: char| first.is_ascii_digit())
            || !label.chars().all(plain)
        {
            return Err(wrong(text));
        }
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        all.push((label.to_owned(), value));
    }
    if all.iter().all(|(label, _)| label != "job") {
        all.push(("job".to_owned(), "carbon".to_owned()));
    }
    Ok(all.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect::<Vec<_>>().join(","))
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
        groups: &mut BTreeMap<String, Group>,
        balance: &mut Balance,
    ) -> Result<(), CliError> {
        let floor = |time: &ZonedDateTime| time.timestamp().as_second().div_euclid(STEP_S) * STEP_S;
        let (mut start, end) = (floor(from), floor(to));
        let mut chunk = CHUNK_S;
        while start < end {
            let next = (start + chunk).min(end);
            let (mut more, mut sums) = (BTreeMap::new(), Balance::default());
            match self.part(start, next, &mut more, &mut sums) {
                Ok(()) => {
                    for (key, group) in more {
                        groups.entry(key).or_default().merge(&group);
                    }
                    *balance = balance.plus(sums);
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
        Ok(())
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

    fn part(
        &mut self,
        start_s: i64,
        end_s: i64,
        groups: &mut BTreeMap<String, Group>,
        balance: &mut Balance,
    ) -> Result<(), CliError> {
        let span = (start_s, end_s);
        let mut nodes = self.nodes(start_s, end_s)?;
        let of_nodes = self.sums("carbon_node_energy_joules_total", "", "domain, kind", span)?;
        if of_nodes.is_empty() {
            return Ok(());
        }
        let mut idle: BTreeMap<(Node, String), Microjoules> = BTreeMap::new();
        for value in &of_nodes {
            let energy = whole(value.value, 1e6);
            balance.metered_uj += energy;
            match value.label("kind") {
                "dynamic" => balance.attributed_uj += energy,
                "static" => {
                    balance.static_uj += energy;
                    *idle.entry((Node::of(value), value.label("domain").to_owned())).or_default() +=
                        Microjoules(energy);
                }
                _ => balance.lost_uj += energy,
            }
            let (node, assumed) = (Node::of(value), self.unknown.clone());
            nodes.factors.entry(node).or_insert_with(|| {
                self.notes.insert("some nodes tell no intensity: the world's average stands in".to_owned());
                assumed
            });
        }
        let by = by_labels(self.args.by);
        let (family, more) = match self.args.by {
            ByArg::Namespace => ("carbon_namespace_energy_joules_total", ""),
            // What ended is in the series that it had.
            _ => ("carbon_workload_energy_joules_total", ",kind_of!=\"ended\""),
        };
        for value in self.sums(family, more, &format!("domain, kind{by}"), span)? {
            let (node, domain) = (Node::of(&value), value.label("domain"));
            let energy = Microjoules(whole(value.value, 1e6));
            let kind = match (value.label("kind"), domain) {
                ("static", "gpu") => EnergyKind::Held,
                ("static", _) => EnergyKind::Static,
                _ => EnergyKind::Dynamic,
            };
            if kind != EnergyKind::Dynamic
                && let Some(rest) = idle.get_mut(&(node.clone(), domain.to_owned()))
            {
                *rest = rest.saturating_sub(energy);
            }
            add(groups, &nodes, &node, domain, key(self.args.by, &value), (kind, energy, 0));
        }
        for ((node, domain), rest) in idle.iter().filter(|(_, rest)| **rest > Microjoules::ZERO) {
            let key = match self.args.by {
                ByArg::Workload => "system/idle".to_owned(),
                ByArg::Node => node.key(),
                ByArg::Domain => domain.clone(),
                _ => NONE.to_owned(),
            };
            add(groups, &nodes, node, domain, key, (EnergyKind::Static, *rest, 0));
        }
        if self.args.by != ByArg::Domain {
            let labels = by.strip_prefix(", ").unwrap_or("kind_of");
            for value in
                self.sums("carbon_workload_cpu_seconds_total", ",kind_of!=\"ended\"", labels, span)?
            {
                let (node, cpu_ns) = (Node::of(&value), whole(value.value, 1e9));
                let nothing = (EnergyKind::Dynamic, Microjoules::ZERO, cpu_ns);
                add(groups, &nodes, &node, "", key(self.args.by, &value), nothing);
            }
        }
        Ok(())
    }

    /// Factors and qualities. Where a node changed its factor, all of the part goes by the one at its end.
    fn nodes(&mut self, start_s: i64, end_s: i64) -> Result<Nodes, CliError> {
        let seconds = end_s - start_s;
        let ask = |expression: &str| self.server.instant(expression, end_s);
        let last = |series: String| format!("last_over_time({series}[{seconds}s])");
        let intensity = self.series("carbon_grid_intensity_grams_per_kwh", "");
        let pues = ask(&last(self.series("carbon_pue_ratio", "")))?;
        let pues: BTreeMap<Node, f64> = pues.iter().map(|value| (Node::of(value), value.value)).collect();
        let mut nodes = Nodes::default();
        let mut changed = false;
        // The later wins: first what there was, then what there is at the end.
        let earlier = ask(&last(intensity.clone()))?;
        for value in earlier.iter().chain(&ask(&intensity)?) {
            let node = Node::of(value);
            let pue = Pue(pues.get(&node).copied().unwrap_or(1.0));
            let factor = Hashed::new(factor_for(self.args, &Factor::new(of_labels(value), pue))?);
            let before = nodes.factors.insert(node, factor.clone());
            changed |= before.is_some_and(|before| before != factor);
        }
        if changed {
            self.notes.insert(
                "a node changed its intensity: the energy of that day, or part of one, is by the one at its end".to_owned(),
            );
        }
        // One agent has one of these at a time: two are scraped by two servers, or are two agents.
        let doubled = format!("count by ({NODE}) ({}) > 1", self.series("carbon_windows_total", ""));
        if let [first, more @ ..] = &*ask(&doubled)? {
            let (name, others) = (Node::of(first).name, more.len());
            let others = if others == 0 { String::new() } else { format!(" and {others} other nodes") };
            self.notes.insert(format!(
                "COUNTED TWICE: of {name}{others} there is more than one series at one time, as where two servers scrape it and \
                 their data are not put together: choose one by --source-match"
            ));
        }
        let energy = last(self.series("carbon_node_energy_joules_total", ""));
        for value in ask(&format!("count by ({NODE}, domain, quality) ({energy})"))? {
            let quality = parse_quality(value.label("quality")).unwrap_or(Quality::Modelled);
            let key = (Node::of(&value), value.label("domain").to_owned());
            let known = nodes.quality.entry(key).or_insert(quality);
            *known = quality.min(*known);
        }
        let looks = last(self.series("carbon_build_info", ",accounting=\"proc\""));
        nodes.sampled = ask(&looks)?.iter().map(Node::of).collect();
        Ok(nodes)
    }
}

/// The intensity that a node tells.
fn of_labels(value: &Value) -> Intensity {
    let zone = value.label("zone");
    let year = value.label("year").parse().unwrap_or(0);
    let kind = Kind::parse(value.label("boundary"), value.label("basis")).unwrap_or(Kind::YEARLY);
    let assumed = value.label("quality") == "assumed";
    // How far off it may be is known of what is in the tables.
    let known = if assumed { Some(Intensity::of_unknown_place()) } else { Intensity::of(zone).ok() };
    let known = known.filter(|known| known.year == year && known.kind == kind);
    Intensity {
        g_per_kwh: GramsPerKwh(value.value),
        spread: known.as_ref().map_or(Spread::COUNTRY, |known| known.spread),
        name: known.map_or_else(|| zone.to_owned(), |known| known.name),
        zone: zone.to_owned(),
        year,
        kind,
        source: value.label("source").to_owned(),
        assumed,
    }
}

/// Labels that a key is made of, after a comma.
fn by_labels(by: ByArg) -> &'static str {
    match by {
        ByArg::Namespace => ", namespace",
        ByArg::Pod => ", namespace, pod",
        ByArg::Container => ", namespace, pod, container",
        ByArg::Unit => ", unit",
        ByArg::Job => ", job_id",
        ByArg::Workload => ", workload, kind_of",
        _ => "",
    }
}

fn key(by: ByArg, value: &Value) -> String {
    let of = |name: &str| Some(value.label(name)).filter(|text| !text.is_empty());
    let name = match by {
        ByArg::Namespace => of("namespace").map(ToOwned::to_owned),
        ByArg::Pod => of("pod").map(|_| joined(value, &["namespace", "pod"])),
        ByArg::Container => of("container").map(|_| joined(value, &["namespace", "pod", "container"])),
        ByArg::Unit => of("unit").map(ToOwned::to_owned),
        ByArg::Job => of("job_id").map(ToOwned::to_owned),
        ByArg::Node => return Node::of(value).key(),
        ByArg::Domain => of("domain").map(ToOwned::to_owned),
        _ => of("workload")
            .map(ToOwned::to_owned)
            .or_else(|| of("kind_of").map(|kind| format!("system/{kind}"))),
    };
    name.unwrap_or_else(|| NONE.to_owned())
}

fn joined(value: &Value, names: &[&str]) -> String {
    let all = names.iter().map(|name| value.label(name)).filter(|text| !text.is_empty());
    all.collect::<Vec<_>>().join("/")
}

fn add(
    groups: &mut BTreeMap<String, Group>,
    nodes: &Nodes,
    node: &Node,
    domain: &str,
    key: String,
    (kind, energy, cpu_ns): (EnergyKind, Microjoules, u64),
) {
    let Some(factor) = nodes.factors.get(node) else { return };
    let quality = nodes.quality(node, domain);
    let part =
        Part { kind, factor, quality, energy, cpu_ns, common_uj: 0.0, variance_uj2: 0.0, rerated: false };
    groups.entry(key).or_default().add(&part);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matchers_are_quoted_and_the_job_is_carbon() {
        let of = |given: &[&str]| matchers(&given.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&[]).unwrap(), "job=\"carbon\"");
        assert_eq!(of(&["cluster=a\"b\\", "job=x"]).unwrap(), "cluster=\"a\\\"b\\\\\",job=\"x\"");
        for wrong in ["cluster", "=x", "a b=c", "1a=c", "a}=c"] {
            assert!(of(&[wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_factor_comes_back_from_its_labels() {
        let there = Intensity::of("FR").unwrap();
        let labels = [
            ("zone", there.zone.clone()),
            ("year", there.year.to_string()),
            ("boundary", there.boundary().to_owned()),
            ("basis", there.basis()),
            ("source", there.source.clone()),
            ("quality", "yearly".to_owned()),
        ];
        let labels = labels.into_iter().map(|(name, text)| (name.to_owned(), text)).collect();
        assert_eq!(of_labels(&Value { labels, value: there.g_per_kwh.0 }), there);
    }
}
