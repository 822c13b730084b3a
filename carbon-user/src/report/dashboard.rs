//! What the dashboard's pages are drawn from, beside the reports that it shares with the command line.

use super::equivalents::{self, Equivalent, EquivalentSet};
use super::group::Group;
use super::ledger::{GroupRow, LedgerReport, Reconciliation};
use crate::ledger::query::{Balance, NamedDomain};
use crate::ledger::rows::{EnergyKind, Workload};
use crate::units::{Microjoules, Quality};
use serde::Serialize;
use std::collections::BTreeMap;

/// Figures at a glance: JSON schema `carbon.overview/1`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Overview {
    /// `carbon.overview/1`.
    pub schema: &'static str,
    /// Version of the program.
    pub version: &'static str,
    /// Which ledger.
    pub ledger: String,
    /// From here, in the time zone.
    pub from: String,
    /// To here, left out.
    pub to: String,
    /// Unix time of the end of the last minute that there are readings of; none where there are none.
    pub latest_s: Option<i64>,
    /// The interval that was asked for.
    pub interval: GroupRow,
    /// Since midnight of the time zone.
    pub today: GroupRow,
    /// Since the first of the month of the time zone.
    pub month: GroupRow,
    /// Static over metered energy in the interval; none where nothing was metered.
    pub static_ratio: Option<f64>,
    /// The interval by domain: packages, memory, accelerators.
    pub domains: Vec<GroupRow>,
    /// What must hold of the interval.
    pub reconciliation: Reconciliation,
    /// What else must be said.
    pub notes: Vec<String>,
}

impl Overview {
    /// From three reports; that of the interval is by domain.
    pub fn new(
        interval: LedgerReport,
        today: &LedgerReport,
        month: &LedgerReport,
        latest_s: Option<i64>,
    ) -> Self {
        Self {
            latest_s,
            schema: "carbon.overview/1",
            version: interval.version,
            ledger: interval.scope.ledger,
            from: interval.scope.from,
            to: interval.scope.to,
            static_ratio: ratio(interval.reconciliation.static_uj, interval.reconciliation.metered_uj),
            interval: interval.total,
            today: today.total.clone(),
            month: month.total.clone(),
            domains: interval.rows,
            reconciliation: interval.reconciliation,
            notes: interval.notes,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio for display")]
fn ratio(part_uj: u64, whole_uj: u64) -> Option<f64> {
    (whole_uj > 0).then(|| part_uj as f64 / whole_uj as f64)
}

/// What was recorded in one step of a chart.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// Unix time of its start.
    pub start_s: i64,
    /// For how long there are readings; none where there are none.
    pub covered_ns: u64,
    /// By what was asked for.
    pub groups: BTreeMap<String, Group>,
}

/// Power over time: JSON schema `carbon.power/1`. A step without readings is null everywhere: it is not known, not zero.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Power {
    /// `carbon.power/1`.
    pub schema: &'static str,
    /// Length of a step.
    pub step_s: i64,
    /// Unix time of the start of each.
    pub start_s: Vec<i64>,
    /// Most energy first; what is beyond them is in the last, as `other`.
    pub series: Vec<PowerSeries>,
    /// Emissions over energy of the machines, PUE included; none where unknown.
    pub g_per_kwh: Vec<Option<f64>>,
}

/// One area of the chart.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PowerSeries {
    /// Whose; none for all others together.
    pub key: Option<String>,
    /// For people, where a workload has a name.
    pub name: Option<String>,
    /// The lowest of its parts.
    pub quality: Option<&'static str>,
    /// Mean over the time of each step that there are readings of.
    pub watts: Vec<Option<f64>>,
    /// Standard deviation of each. Areas are taken to err together, as they share a meter: a sum has the sum of theirs.
    pub stddev_watts: Vec<Option<f64>>,
}

impl Power {
    /// Names of workloads, by their keys.
    #[must_use]
    pub fn named<'a>(mut self, workloads: impl IntoIterator<Item = &'a Workload>) -> Self {
        let names: BTreeMap<&str, &str> =
            workloads.into_iter().map(|it| (it.identity.as_str(), it.name.as_str())).collect();
        for series in &mut self.series {
            let name = series.key.as_deref().and_then(|key| names.get(key)).filter(|name| !name.is_empty());
            series.name = name.map(|name| (*name).to_owned());
        }
        self
    }

    /// At most `series_max` areas, and one of all others.
    pub fn new(length_s: i64, steps: &[Step], series_max: usize) -> Self {
        let mut totals: BTreeMap<&str, Microjoules> = BTreeMap::new();
        for (key, group) in steps.iter().flat_map(|step| &step.groups) {
            *totals.entry(key).or_default() += group.energy();
        }
        let mut order: Vec<(&str, Microjoules)> = totals.into_iter().collect();
        order.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(other.0)));
        let (shown, others) = order.split_at(series_max.min(order.len()));
        let mut series: Vec<PowerSeries> = shown.iter().map(|(key, _)| series_of(steps, &[key])).collect();
        if !others.is_empty() {
            let keys: Vec<&str> = others.iter().map(|(key, _)| *key).collect();
            series.push(PowerSeries { key: None, ..series_of(steps, &keys) });
        }
        Self {
            schema: "carbon.power/1",
            step_s: length_s,
            start_s: steps.iter().map(|step| step.start_s).collect(),
            series,
            g_per_kwh: steps.iter().map(intensity_of).collect(),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "display values")]
fn series_of(steps: &[Step], keys: &[&str]) -> PowerSeries {
    let mut quality: Option<Quality> = None;
    let known = steps.iter().map(|step| {
        let (mut energy, mut stddev_uj) = (Microjoules::ZERO, 0.0);
        for group in keys.iter().filter_map(|key| step.groups.get(*key)) {
            energy += group.energy();
            stddev_uj += group.stddev_uj();
            quality = match (quality, group.quality) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        let of = |uj: f64| (step.covered_ns > 0).then(|| uj * 1e3 / step.covered_ns as f64);
        (of(energy.0 as f64), of(stddev_uj))
    });
    let (watts, stddev_watts) = known.unzip();
    PowerSeries {
        key: keys.first().map(|key| (*key).to_owned()),
        name: None,
        quality: quality.map(Quality::as_str),
        watts,
        stddev_watts,
    }
}

fn intensity_of(step: &Step) -> Option<f64> {
    let mut all = Group::default();
    for group in step.groups.values() {
        all.merge(group);
    }
    let kwh = all.energy().kilowatt_hours();
    all.grams().ok().filter(|_| kwh > 0.0).map(|grams| grams.middle / kwh)
}

/// Emissions in things that people know: JSON schema `carbon.equivalents/1`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Equivalents {
    /// `carbon.equivalents/1`.
    pub schema: &'static str,
    /// Of what.
    pub total: GroupRow,
    /// Each with its factor, year and source.
    pub equivalents: Vec<Equivalent>,
}

impl Equivalents {
    /// Of the total of a report; none where its grams are unknown.
    pub fn new(report: LedgerReport) -> Self {
        let kwh = report.total.energy().map(Microjoules::kilowatt_hours);
        let of = |set| match (report.total.grams, kwh) {
            (Some(grams), Some(kwh)) => equivalents::all(grams, kwh, set),
            _ => Vec::new(),
        };
        let mut all = of(EquivalentSet::EpaCurrent);
        all.extend(of(EquivalentSet::Codecarbon));
        Self { schema: "carbon.equivalents/1", equivalents: all, total: report.total }
    }
}

/// What is measured, what is modelled, and whether it adds up: JSON schema `carbon.quality/1`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DataQuality {
    /// `carbon.quality/1`.
    pub schema: &'static str,
    /// One for each domain of a node.
    pub meters: Vec<MeterRow>,
    /// Energy of all rows by their quality and kind.
    pub energies: Vec<QualityRow>,
    /// All domains together.
    pub reconciliation: Reconciliation,
    /// By which factors grams are.
    pub factors: Vec<super::ledger::FactorRow>,
    /// What else must be said.
    pub notes: Vec<String>,
}

/// A domain with its balance.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MeterRow {
    /// Name of the machine.
    pub node: String,
    /// Such as `package`.
    pub domain: String,
    /// Such as `package-0`.
    pub device: String,
    /// The meter or model.
    pub source: String,
    /// Of the meter.
    pub quality: &'static str,
    /// What it showed.
    pub metered_uj: u64,
    /// Given to workloads.
    pub attributed_uj: u64,
    /// By idle power.
    pub static_uj: u64,
    /// Given to nobody.
    pub lost_uj: u64,
    /// Windows in which it hid some energy.
    pub gaps: u64,
    /// For how long there are readings.
    pub covered_ns: u64,
    /// metered = attributed + static + lost.
    pub holds: bool,
}

impl MeterRow {
    /// Of a domain and its balance.
    pub fn new(domain: &NamedDomain, balance: Balance) -> Self {
        Self {
            node: domain.node.clone(),
            domain: domain.domain.clone(),
            device: domain.device.clone(),
            source: domain.source.clone(),
            quality: domain.quality.as_str(),
            metered_uj: balance.metered_uj,
            attributed_uj: balance.attributed_uj,
            static_uj: balance.static_uj,
            lost_uj: balance.lost_uj,
            gaps: balance.gaps,
            covered_ns: balance.covered_ns,
            holds: balance.holds(),
        }
    }
}

/// Energy of one quality and kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QualityRow {
    /// Such as `measured`.
    pub quality: &'static str,
    /// Such as `dynamic`.
    pub kind: &'static str,
    /// How much.
    pub energy_uj: u64,
}

impl DataQuality {
    /// From a report, its meters, and its energies.
    pub fn new(
        report: LedgerReport,
        meters: Vec<MeterRow>,
        energies: impl IntoIterator<Item = (Quality, EnergyKind, u64)>,
    ) -> Self {
        let mut sums: BTreeMap<(Quality, EnergyKind), u64> = BTreeMap::new();
        for (quality, kind, energy_uj) in energies {
            let sum = sums.entry((quality, kind)).or_default();
            *sum = sum.saturating_add(energy_uj);
        }
        let energies = sums
            .into_iter()
            .rev()
            .map(|((quality, kind), energy_uj)| QualityRow {
                quality: quality.as_str(),
                kind: kind.as_str(),
                energy_uj,
            })
            .collect();
        Self {
            schema: "carbon.quality/1",
            meters,
            energies,
            reconciliation: report.reconciliation,
            factors: report.factors,
            notes: report.notes,
        }
    }
}

/// Names of workloads by identity, for people: JSON schema `carbon.workloads/1` is a report with these beside it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Workloads {
    /// `carbon.workloads/1`.
    pub schema: &'static str,
    /// Rows that were left out, those with the least energy; they are in the total.
    pub left_out: usize,
    /// The report.
    pub report: LedgerReport,
    /// What is known of each row that is a workload.
    pub names: BTreeMap<String, NamedWorkload>,
}

/// Who a workload is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NamedWorkload {
    /// Such as `container`.
    pub kind: String,
    /// For people.
    pub name: String,
    /// Container's name.
    pub container: Option<String>,
    /// Pod's name.
    pub pod: Option<String>,
    /// Kubernetes namespace.
    pub namespace: Option<String>,
    /// systemd unit.
    pub unit: Option<String>,
}

impl From<&Workload> for NamedWorkload {
    fn from(workload: &Workload) -> Self {
        Self {
            kind: workload.kind.clone(),
            name: workload.name.clone(),
            container: workload.container.clone(),
            pod: workload.pod.clone(),
            namespace: workload.namespace.clone(),
            unit: workload.unit.clone(),
        }
    }
}

impl Workloads {
    /// The first `rows_max` rows of a report.
    pub fn new<'a>(
        mut report: LedgerReport,
        rows_max: usize,
        workloads: impl IntoIterator<Item = &'a Workload>,
    ) -> Self {
        let left_out = report.rows.len().saturating_sub(rows_max);
        report.rows.truncate(rows_max);
        let shown: std::collections::BTreeSet<&str> =
            report.rows.iter().map(|row| row.key.as_str()).collect();
        let names = workloads
            .into_iter()
            .filter(|it| shown.contains(it.identity.as_str()))
            .map(|it| (it.identity.clone(), it.into()))
            .collect();
        Self { schema: "carbon.workloads/1", left_out, names, report }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::carbon::Intensity;
    use crate::ledger::Factor;
    use crate::report::group::Part;
    use crate::units::Pue;

    fn group(uj: u64) -> Group {
        let factor = Factor::new(Intensity::of("FR").unwrap(), Pue(1.0));
        let mut group = Group::default();
        group.add(&Part {
            kind: EnergyKind::Dynamic,
            factor: &factor,
            quality: Quality::Measured,
            energy: Microjoules(uj),
            cpu_ns: 0,
            common_uj: 0.0,
            variance_uj2: 0.0,
            rerated: false,
        });
        group
    }

    #[test]
    fn power_is_of_the_time_that_was_measured_and_a_hole_is_not_zero() {
        let of = |start_s, covered_ns, keys: &[(&str, u64)]| Step {
            start_s,
            covered_ns,
            groups: keys.iter().map(|(key, uj)| ((*key).to_owned(), group(*uj))).collect(),
        };
        let steps = [
            of(0, 30_000_000_000, &[("a", 60_000_000), ("b", 3_000_000), ("c", 6_000_000)]),
            of(60, 0, &[]),
            of(120, 60_000_000_000, &[("a", 60_000_000)]),
        ];
        let power = Power::new(60, &steps, 1);
        assert_eq!(power.series[0].key.as_deref(), Some("a"));
        assert_eq!(power.series[0].watts, [Some(2.0), None, Some(1.0)]);
        assert_eq!(power.series[1].key, None, "all others together");
        assert_eq!(power.series[1].watts, [Some(0.3), None, Some(0.0)]);
        let fr = Intensity::of("FR").unwrap().g_per_kwh.0;
        assert!((power.g_per_kwh[0].unwrap() - fr).abs() < 1e-9 && power.g_per_kwh[1].is_none());
    }
}
