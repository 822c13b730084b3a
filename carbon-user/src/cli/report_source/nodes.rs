//! What the nodes tell: intensities, PUEs, and the quality of energies.

use super::super::error::CliError;
use super::super::report_args::ByArg;
use super::super::report_factors::factor_for;
use super::series::{by_labels, is_of_machines, key};
use super::{NODE, Source};
use crate::carbon::{Intensity, Kind, Spread};
use crate::ledger::Factor;
use crate::ledger::rows::parse_quality;
use crate::provider::prometheus::Value;
use crate::report::group::Hashed;
use crate::units::{GramsPerKwh, Pue, Quality};
use std::collections::{BTreeMap, BTreeSet};

/// A machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Node {
    cluster: String,
    name: String,
}

impl Node {
    pub(super) fn of(value: &Value) -> Self {
        let name = Some(value.label("node")).filter(|name| !name.is_empty());
        let name = name.unwrap_or_else(|| value.label("instance")).to_owned();
        Self { cluster: value.label("cluster").to_owned(), name }
    }

    /// A row's name: nodes of two clusters may have one name.
    pub(super) fn key(&self) -> String {
        if self.cluster.is_empty() { self.name.clone() } else { format!("{}/{}", self.cluster, self.name) }
    }
}

/// What is known of the nodes in a part of the time.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    pub(super) factors: BTreeMap<Node, Hashed>,
    quality: BTreeMap<(Node, String), Quality>,
    /// The lowest of the workloads in a row; all of a node under an empty name, where rows are of machines.
    rows: BTreeMap<(Node, String), Quality>,
    /// Where processes that live short are lost.
    sampled: BTreeSet<Node>,
}

impl Nodes {
    /// Whether any node has a series of energy.
    pub(super) fn found(&self) -> bool {
        !self.quality.is_empty()
    }

    /// Of a node's part in a row: the lower of its meter and its workloads. Of workloads that nobody tells a quality of it is
    /// the lowest that there is.
    pub(super) fn of_row(&self, node: &Node, domain: &str, by: ByArg, key: &str) -> Quality {
        let meter = self.quality(node, domain);
        let row = if is_of_machines(by) { String::new() } else { key.to_owned() };
        match self.rows.get(&(node.clone(), row)) {
            Some(workloads) => meter.min(*workloads),
            None if is_of_machines(by) => meter,
            None => Quality::Modelled,
        }
    }

    /// Of a node's energy, of all domains where none is named.
    pub(super) fn quality(&self, node: &Node, domain: &str) -> Quality {
        let of = self
            .quality
            .iter()
            .filter(|((known, name), _)| known == node && (domain.is_empty() || name == domain));
        let quality = of.map(|(_, quality)| *quality).min().unwrap_or(Quality::Modelled);
        if self.sampled.contains(node) { quality.min(Quality::Sampled) } else { quality }
    }
}

impl Source<'_> {
    /// Factors and qualities. Where a node changed its factor, all of the part goes by the one at its end.
    pub(super) fn nodes(&mut self, (start_s, end_s): (i64, i64)) -> Result<Nodes, CliError> {
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
        nodes.rows = self.qualities(&last, end_s)?;
        let looks = last(self.series("carbon_build_info", ",accounting=\"proc\""));
        nodes.sampled = ask(&looks)?.iter().map(Node::of).collect();
        Ok(nodes)
    }

    /// The lowest quality of the workloads in each row, which is told beside their sums, by workload.
    fn qualities(
        &self,
        last: &impl Fn(String) -> String,
        end_s: i64,
    ) -> Result<BTreeMap<(Node, String), Quality>, CliError> {
        let by = self.args.by;
        let sums = "carbon_workload_(cpu_seconds|energy_joules)_total";
        let workloads = last(self.series("", &format!(",kind_of!=\"ended\",__name__=~\"{sums}\"")));
        let labels = by_labels(by);
        let mut rows = BTreeMap::new();
        for quality in [Quality::Modelled, Quality::Sampled, Quality::Measured] {
            let told = last(self.series("carbon_workload_info", &format!(",quality=\"{quality}\"")));
            let question = format!(
                "count by ({NODE}{labels}) ({workloads} and on (cluster, job, instance, workload) {told})"
            );
            for value in self.server.instant(&question, end_s)? {
                let row = if is_of_machines(by) { String::new() } else { key(by, &value) };
                // From the lowest up: the first stays.
                rows.entry((Node::of(&value), row)).or_insert(quality);
            }
        }
        Ok(rows)
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

#[cfg(test)]
mod tests {
    use super::*;

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
