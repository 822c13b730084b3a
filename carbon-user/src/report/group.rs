//! Energies added up on the way to a row of a report: microjoules per factor first, grams last.

use super::ledger::{GroupRow, Period};
use crate::attribution::uncertainty::SIGMAS_OF_90_PERCENT;
use crate::carbon::kind::MixedKinds;
use crate::carbon::{Kind, Spread};
use crate::ledger::Factor;
use crate::ledger::rows::EnergyKind;
use crate::units::{Microjoules, Quality};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Emissions with their interval, energy and intensity combined.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Grams {
    /// The value.
    pub middle: f64,
    /// Nine times in ten the truth is above.
    pub low: f64,
    /// Nine times in ten the truth is below.
    pub high: f64,
}

/// A factor with its hash. To make that takes far longer than to add an energy, so it is made once.
#[derive(Clone, Debug, PartialEq)]
pub struct Hashed {
    factor: Arc<Factor>,
    /// The first half of it, which no two factors share either.
    hash: u128,
}

impl Hashed {
    /// Of this factor.
    pub fn new(factor: Factor) -> Self {
        let half = factor.hash().get(..32).and_then(|digits| u128::from_str_radix(digits, 16).ok());
        Self { hash: half.unwrap_or_default(), factor: Arc::new(factor) }
    }

    /// The factor.
    pub fn factor(&self) -> &Factor {
        &self.factor
    }
}

/// Adds up emissions: microjoules per factor first, then one multiplication for each factor. The errors of energy and
/// intensity are independent, and both are factors: their logarithms add up in quadrature. Between factors they are
/// taken to go together, which gives the wider interval.
pub fn add_grams<'a>(
    energies: impl IntoIterator<Item = (&'a Factor, Microjoules, f64)>,
) -> Result<Grams, MixedKinds> {
    let mut by_factor: BTreeMap<String, (&Factor, Microjoules, f64)> = BTreeMap::new();
    for (factor, energy, stddev_uj) in energies {
        let sum = by_factor.entry(factor.hash()).or_insert((factor, Microjoules::ZERO, 0.0));
        sum.1 += energy;
        sum.2 += stddev_uj;
    }
    add_distinct(by_factor.into_values())
}

/// The same of factors that differ.
fn add_distinct<'a>(
    energies: impl IntoIterator<Item = (&'a Factor, Microjoules, f64)>,
) -> Result<Grams, MixedKinds> {
    let mut kind: Option<Kind> = None;
    let mut total = Grams::default();
    for (factor, energy, stddev_uj) in energies {
        kind.unwrap_or(factor.intensity.kind).addable(factor.intensity.kind)?;
        kind = kind.or(Some(factor.intensity.kind));
        let middle = factor.grams(energy).0;
        #[expect(clippy::cast_precision_loss, reason = "a ratio")]
        let relative = if energy.0 > 0 { stddev_uj / energy.0 as f64 } else { 0.0 };
        let of_factor = Grams::of(middle, relative, factor.intensity.spread);
        total.middle += of_factor.middle;
        total.low += of_factor.low;
        total.high += of_factor.high;
    }
    Ok(total)
}

impl Grams {
    /// Of one intensity, with the relative standard deviation of the energy.
    pub fn of(middle: f64, energy_ratio: f64, spread: Spread) -> Self {
        let of = |ratio: f64| {
            let intensity = ratio.max(f64::MIN_POSITIVE).ln().abs() / SIGMAS_OF_90_PERCENT;
            (SIGMAS_OF_90_PERCENT * energy_ratio.hypot(intensity)).exp()
        };
        Self { middle, low: middle / of(spread.low_ratio), high: middle * of(spread.high_ratio) }
    }
}

/// What goes by one factor.
#[derive(Clone, Debug)]
pub(super) struct OfFactor {
    pub(super) factor: Hashed,
    energy: Microjoules,
    common_uj: f64,
    variance_uj2: f64,
}

impl OfFactor {
    fn none(factor: &Hashed) -> Self {
        Self { factor: factor.clone(), energy: Microjoules::ZERO, common_uj: 0.0, variance_uj2: 0.0 }
    }

    fn add(&mut self, energy: Microjoules, common_uj: f64, variance_uj2: f64) {
        self.energy += energy;
        self.common_uj += common_uj;
        self.variance_uj2 += variance_uj2;
    }
}

/// What a row of the report adds up, on the way.
#[derive(Clone, Debug, Default)]
pub struct Group {
    pub(super) dynamic: Microjoules,
    pub(super) static_energy: Microjoules,
    pub(super) held: Microjoules,
    pub(super) cpu_ns: u64,
    pub(super) common_uj: f64,
    pub(super) variance_uj2: f64,
    pub(super) quality: Option<Quality>,
    pub(super) rerated: bool,
    pub(super) runs: usize,
    pub(super) duration_ns: u64,
    pub(super) by_factor: BTreeMap<u128, OfFactor>,
}

/// One energy to be added to a group.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// Why.
    pub kind: EnergyKind,
    /// By which it becomes grams.
    pub factor: &'a Hashed,
    /// The lower of meter and CPU time.
    pub quality: Quality,
    /// How much.
    pub energy: Microjoules,
    /// CPU time.
    pub cpu_ns: u64,
    /// Deviation that adds up linearly.
    pub common_uj: f64,
    /// Variance that adds up.
    pub variance_uj2: f64,
    /// Whether the factor came after the hour.
    pub rerated: bool,
}

impl Group {
    /// Adds an energy.
    pub fn add(&mut self, part: &Part<'_>) {
        match part.kind {
            EnergyKind::Dynamic => self.dynamic += part.energy,
            EnergyKind::Static => self.static_energy += part.energy,
            EnergyKind::Held => self.held += part.energy,
        }
        self.cpu_ns = self.cpu_ns.saturating_add(part.cpu_ns);
        self.common_uj += part.common_uj;
        self.variance_uj2 += part.variance_uj2;
        self.quality = Some(self.quality.map_or(part.quality, |quality| quality.min(part.quality)));
        self.rerated |= part.rerated;
        self.of(part.factor).add(part.energy, part.common_uj, part.variance_uj2);
    }

    fn of(&mut self, factor: &Hashed) -> &mut OfFactor {
        self.by_factor.entry(factor.hash).or_insert_with(|| OfFactor::none(factor))
    }

    /// Adds a run to the count.
    pub fn add_run(&mut self, duration_ns: u64) {
        self.runs += 1;
        self.duration_ns = self.duration_ns.saturating_add(duration_ns);
    }

    /// All of it.
    pub(super) fn energy(&self) -> Microjoules {
        self.dynamic + self.static_energy + self.held
    }

    /// Standard deviation of it.
    pub(super) fn stddev_uj(&self) -> f64 {
        self.common_uj.hypot(self.variance_uj2.max(0.0).sqrt())
    }

    pub(super) fn grams(&self) -> Result<Grams, MixedKinds> {
        let sum = |it| {
            let OfFactor { factor, energy, common_uj, variance_uj2 }: &OfFactor = it;
            (factor.factor(), *energy, common_uj.hypot(variance_uj2.max(0.0).sqrt()))
        };
        add_distinct(self.by_factor.values().map(sum))
    }

    pub(super) fn row(&self, span: Period, key: &str) -> GroupRow {
        let grams = self.grams().ok();
        let known = self.quality.is_some();
        GroupRow {
            period: span.label.clone(),
            span,
            key: key.to_owned(),
            name: None,
            runs: (self.runs > 0).then_some(self.runs),
            dynamic_uj: known.then_some(self.dynamic.0),
            static_uj: known.then_some(self.static_energy.0),
            held_uj: (known && self.held > Microjoules::ZERO).then_some(self.held.0),
            stddev_uj: known.then(|| self.stddev_uj()),
            cpu_ns: self.cpu_ns,
            grams: grams.filter(|_| known).map(|grams| grams.middle),
            grams_low: grams.filter(|_| known).map(|grams| grams.low),
            grams_high: grams.filter(|_| known).map(|grams| grams.high),
            quality: self.quality.map(Quality::as_str),
            rerated: self.rerated,
            assumed: self.by_factor.values().any(|part| part.factor.factor.intensity.assumed),
        }
    }
}

impl Group {
    /// Adds all of another group.
    pub fn merge(&mut self, other: &Self) {
        self.dynamic += other.dynamic;
        self.static_energy += other.static_energy;
        self.held += other.held;
        self.cpu_ns = self.cpu_ns.saturating_add(other.cpu_ns);
        self.common_uj += other.common_uj;
        self.variance_uj2 += other.variance_uj2;
        self.quality = match (self.quality, other.quality) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        self.rerated |= other.rerated;
        self.runs += other.runs;
        self.duration_ns = self.duration_ns.saturating_add(other.duration_ns);
        for more in other.by_factor.values() {
            self.of(&more.factor).add(more.energy, more.common_uj, more.variance_uj2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::carbon::{Intensity, Spread};
    use crate::units::{GramsPerKwh, Pue};
    use proptest::prelude::*;

    fn factor(zone: &str, g: f64) -> Factor {
        let intensity =
            Intensity { g_per_kwh: GramsPerKwh(g), spread: Spread::COUNTRY, ..Intensity::of(zone).unwrap() };
        Factor { intensity, pue: Pue(1.0), tables_hash: String::new() }
    }

    #[test]
    fn factors_of_different_kinds_are_not_added() {
        let (grid, direct) = (factor("FR", 40.0), factor("US-CA", 200.0));
        let kwh = Microjoules(3_600_000_000_000);
        assert!(add_grams([(&grid, kwh, 0.0), (&direct, kwh, 0.0)]).is_err());
        let grams = add_grams([(&grid, kwh, 0.0), (&factor("DE", 330.0), kwh, 0.0)]).unwrap();
        assert!((grams.middle - 370.0).abs() < 1e-9);
        assert!((grams.high / grams.middle - 1.7).abs() < 1e-9, "the spread of the intensity");
    }

    #[test]
    fn both_uncertainties_widen_the_interval() {
        let kwh = Microjoules(3_600_000_000_000);
        let sure = add_grams([(&factor("FR", 40.0), kwh, 0.0)]).unwrap();
        let unsure = add_grams([(&factor("FR", 40.0), kwh, 0.5 * 3.6e12)]).unwrap();
        assert!(unsure.high > sure.high && unsure.low < sure.low);
        assert!((unsure.middle - sure.middle).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn grams_are_of_summed_microjoules(parts in prop::collection::vec(0_u64..1_000_000_000_000, 1..50)) {
            let factor = factor("FR", 41.44);
            let of_parts = add_grams(parts.iter().map(|uj| (&factor, Microjoules(*uj), 0.0))).unwrap();
            let of_sum = factor.grams(Microjoules(parts.iter().sum())).0;
            prop_assert_eq!(of_parts.middle.to_bits(), of_sum.to_bits(), "one multiplication, whatever the parts");
        }
    }
}
