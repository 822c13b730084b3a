//! Power over time, for charts. Energies of a step are summed whatever their factor: a year whose hours each have one would be too
//! much to hold otherwise.

use super::group::Part;
use crate::carbon::Kind;
use crate::ledger::Factor;
use crate::ledger::rows::Workload;
use crate::units::{Microjoules, Quality};
use serde::Serialize;
use std::collections::BTreeMap;

/// What is summed of one thing in one step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Area {
    energy: Microjoules,
    common_uj: f64,
    variance_uj2: f64,
    /// The lowest of its parts.
    quality: Option<Quality>,
    grams: f64,
    /// Of its intensities; they can be added as long as they are not `mixed`.
    kind: Option<Kind>,
    mixed: bool,
}

impl Area {
    /// One energy.
    pub fn of(part: &Part<'_>) -> Self {
        let factor: &Factor = part.factor.factor();
        Self {
            energy: part.energy,
            common_uj: part.common_uj,
            variance_uj2: part.variance_uj2,
            quality: Some(part.quality),
            grams: factor.grams(part.energy).0,
            kind: Some(factor.intensity.kind),
            mixed: false,
        }
    }

    /// Adds another.
    pub fn add(&mut self, other: &Self) {
        self.energy += other.energy;
        self.common_uj += other.common_uj;
        self.variance_uj2 += other.variance_uj2;
        self.quality = match (self.quality, other.quality) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        self.grams += other.grams;
        let differ = |(one, other): (Kind, Kind)| one.addable(other).is_err();
        self.mixed |= other.mixed || self.kind.zip(other.kind).is_some_and(differ);
        self.kind = self.kind.or(other.kind);
    }

    fn stddev_uj(&self) -> f64 {
        self.common_uj.hypot(self.variance_uj2.max(0.0).sqrt())
    }

    fn g_per_kwh(&self) -> Option<f64> {
        let kwh = self.energy.kilowatt_hours();
        (kwh > 0.0 && !self.mixed).then(|| self.grams / kwh)
    }
}

/// What was recorded in one step of a chart.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// Unix time of its start.
    pub start_s: i64,
    /// For how long there are readings; none where there are none.
    pub covered_ns: u64,
    /// By what was asked for.
    pub areas: BTreeMap<String, Area>,
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
        for (key, area) in steps.iter().flat_map(|step| &step.areas) {
            *totals.entry(key).or_default() += area.energy;
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
        for area in keys.iter().filter_map(|key| step.areas.get(*key)) {
            energy += area.energy;
            stddev_uj += area.stddev_uj();
            quality = match (quality, area.quality) {
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
    let mut all = Area::default();
    step.areas.values().for_each(|area| all.add(area));
    all.g_per_kwh()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::carbon::Intensity;
    use crate::ledger::rows::EnergyKind;
    use crate::report::group::Hashed;
    use crate::units::Pue;

    fn area(zone: &str, uj: u64) -> Area {
        let factor = Hashed::new(Factor::new(Intensity::of(zone).unwrap(), Pue(1.0)));
        Area::of(&Part {
            kind: EnergyKind::Dynamic,
            factor: &factor,
            quality: Quality::Measured,
            energy: Microjoules(uj),
            cpu_ns: 0,
            common_uj: 0.0,
            variance_uj2: 0.0,
            rerated: false,
        })
    }

    #[test]
    fn power_is_of_the_time_that_was_measured_and_a_hole_is_not_zero() {
        let of = |start_s, covered_ns, keys: &[(&str, u64)]| Step {
            start_s,
            covered_ns,
            areas: keys.iter().map(|(key, uj)| ((*key).to_owned(), area("FR", *uj))).collect(),
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

    #[test]
    fn intensities_are_weighed_by_energy_and_other_questions_are_not_added() {
        let (fr, de) = (Intensity::of("FR").unwrap(), Intensity::of("DE").unwrap());
        let mut both = area("FR", 3_000_000);
        both.add(&area("DE", 1_000_000));
        let mean = (3.0 * fr.g_per_kwh.0 + de.g_per_kwh.0) / 4.0;
        assert!((both.g_per_kwh().unwrap() - mean).abs() < 1e-9);
        both.add(&area("US-CA", 1_000_000));
        assert_eq!(both.g_per_kwh(), None, "what leaves the chimney is another question");
        let mut all = Area::default();
        all.add(&both);
        assert_eq!(all.g_per_kwh(), None, "and stays one");
    }
}
