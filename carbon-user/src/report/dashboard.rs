//! What the dashboard's pages are drawn from, beside the reports that it shares with the command line.

use super::equivalents::{self, Equivalent, EquivalentSet};
use super::ledger::{FactorRow, GroupRow, LedgerReport};
use super::reconciliation::Reconciliation;
use crate::ledger::query::{Balance, NamedDomain};
use crate::ledger::rows::{EnergyKind, Workload};
use crate::units::{Microjoules, Quality};
use serde::Serialize;
use std::collections::BTreeMap;

/// Factors of a page at most: where each hour has one, a year has thousands, and no page shows them.
const FACTORS_MAX: usize = 100;

/// Leaves out factors beyond what a page shows, and says how many.
fn cut_factors(factors: &mut Vec<FactorRow>, notes: &mut Vec<String>) {
    let left_out = factors.len().saturating_sub(FACTORS_MAX);
    factors.truncate(FACTORS_MAX);
    if left_out > 0 {
        notes.push(format!("{left_out} more factors are not listed: carbon report --format json has them"));
    }
}

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
    /// The interval that was asked for. This and the next two say of how many runs they are, where nothing was recorded of the machine.
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
        // Rows of runs are of projects.
        let domains = if interval.total.runs.is_some() { Vec::new() } else { interval.rows };
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
            domains,
            reconciliation: interval.reconciliation,
            notes: interval.notes,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio for display")]
fn ratio(part_uj: u64, whole_uj: u64) -> Option<f64> {
    (whole_uj > 0).then(|| part_uj as f64 / whole_uj as f64)
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
    /// Of how many runs it is, where nothing else was recorded in that time: the meters then are of the machine while they lasted.
    pub runs: Option<usize>,
    /// One for each domain of a node.
    pub meters: Vec<MeterRow>,
    /// Energy of all rows by their quality and kind.
    pub energies: Vec<QualityRow>,
    /// All domains together.
    pub reconciliation: Reconciliation,
    /// By which factors grams are.
    pub factors: Vec<FactorRow>,
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
    /// Windows in which it hid some energy; none where that is not known, as of runs.
    pub gaps: Option<u64>,
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
            gaps: Some(balance.gaps),
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

/// Microjoules by quality and kind.
pub type EnergiesByQuality = BTreeMap<(Quality, EnergyKind), u64>;

impl DataQuality {
    /// From a report, its meters, and its energies.
    pub fn new(mut report: LedgerReport, meters: Vec<MeterRow>, energies: &EnergiesByQuality) -> Self {
        cut_factors(&mut report.factors, &mut report.notes);
        let energies = energies
            .iter()
            .rev()
            .map(|((quality, kind), energy_uj)| QualityRow {
                quality: quality.as_str(),
                kind: kind.as_str(),
                energy_uj: *energy_uj,
            })
            .collect();
        Self {
            schema: "carbon.quality/1",
            runs: report.total.runs,
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
        cut_factors(&mut report.factors, &mut Vec::new());
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
    use crate::report::group::{Group, Hashed, Part};
    use crate::report::ledger::{Period, Scope};
    use crate::report::reconciliation::Rows;
    use crate::units::{GramsPerKwh, Pue};

    /// As the ledger has it of hours with an intensity each.
    fn report(hours: u32) -> LedgerReport {
        let mut group = Group::default();
        for hour in 0..hours {
            let g_per_kwh = GramsPerKwh(100.0 + f64::from(hour));
            let intensity = Intensity { g_per_kwh, ..Intensity::of_unknown_place() };
            group.add(&Part {
                kind: EnergyKind::Dynamic,
                factor: &Hashed::new(Factor::new(intensity, Pue(1.0))),
                quality: Quality::Measured,
                energy: Microjoules(3_600_000),
                cpu_ns: 1,
                common_uj: 0.0,
                variance_uj2: 0.0,
                rerated: true,
            });
        }
        let scope = Scope::default();
        let groups = [(Period::default(), BTreeMap::from([("package".to_owned(), group)]))];
        LedgerReport::new(scope, &groups, Balance::default(), Rows::Part, None, Vec::new())
    }

    #[test]
    fn a_page_lists_no_more_factors_than_it_shows_and_says_how_many_there_are() {
        let few = DataQuality::new(report(100), Vec::new(), &EnergiesByQuality::new());
        assert!(
            few.factors.len() == 100 && !few.notes.iter().any(|it| it.contains("not listed")),
            "{:?}",
            few.notes
        );
        let many = DataQuality::new(report(130), Vec::new(), &EnergiesByQuality::new());
        assert_eq!(many.factors.len(), 100);
        let said = "30 more factors are not listed: carbon report --format json has them";
        assert!(many.notes.iter().any(|it| it == said), "{:?}", many.notes);
    }
}
