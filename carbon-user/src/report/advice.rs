//! Regions ranked for the same work, and how sure the ranking is: JSON schema `carbon.advice/1`.

use super::figures::significant;
use super::grid::{Cell, Grid};
use super::hours::BestHours;
use crate::attribution::uncertainty::SIGMAS_OF_90_PERCENT;
use crate::carbon::intensity::Spread;
use crate::carbon::place::{CloudRegion, Sourced};
use crate::carbon::{self, Intensity};
use crate::units::{Microjoules, Pue};
use serde::Serialize;

/// A region to be ranked.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Which.
    pub region: CloudRegion,
    /// Of its grid.
    pub intensity: Intensity,
    /// Of the site.
    pub pue: Sourced<Pue>,
    /// Distance from where the work is now.
    pub km: Option<f64>,
}

/// One region.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AdviceRow {
    /// 1 is the least.
    pub rank: usize,
    /// Such as `aws:eu-west-1`.
    pub region: String,
    /// City.
    pub city: String,
    /// Grams per kilowatt-hour of the grid.
    pub g_per_kwh: f64,
    /// Energy of the site over that of its machines.
    pub pue: f64,
    /// Where the PUE is from.
    pub pue_source: String,
    /// Whether nothing is published of this region, so that it is others' PUE.
    pub pue_assumed: bool,
    /// Emissions of the work in a month.
    pub grams_per_month: f64,
    /// Nine times in ten the truth is above.
    pub grams_low: f64,
    /// Nine times in ten the truth is below.
    pub grams_high: f64,
    /// Against where the work is now; negative where it would be more.
    pub saving_g_per_month: Option<f64>,
    /// The chance that it is less than where the work is now.
    pub better_probability: Option<f64>,
    /// Whether it is more than the least of all, with a chance of 90 % or more.
    pub told_from_first: bool,
    /// Distance from there.
    pub km: Option<f64>,
    /// How the intensity is counted.
    pub kind: String,
}

/// The ranking.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Advice {
    /// `carbon.advice/1`.
    pub schema: &'static str,
    /// Where the work is now.
    pub near: Option<String>,
    /// Energy of the machines in a month.
    pub energy_uj_per_month: u64,
    /// Least emissions first.
    pub regions: Vec<AdviceRow>,
    /// How many regions the least cannot be told from: their order is not known.
    pub not_told_from_first: usize,
    /// Of all pairs of regions, the share whose order is known with a chance of 90 % or more; none of fewer than two regions.
    pub pairs_told_ratio: Option<f64>,
    /// The best hours of where the work is; none where they are not known.
    pub hours: Option<BestHours>,
    /// What else must be said.
    pub notes: Vec<String>,
}

/// Standard deviation of the logarithm.
fn sigma(spread: Spread) -> f64 {
    let widest = spread.high_ratio.ln().max(-spread.low_ratio.ln());
    widest / SIGMAS_OF_90_PERCENT
}

/// The chance that `one` is below `other`, both log-normal and independent. Regions of one grid have one error, so
/// between them only the PUE decides, which has an error where it is assumed.
fn below(one: &Candidate, other: &Candidate) -> f64 {
    let value = |it: &Candidate| it.intensity.g_per_kwh.0 * it.pue.value.0;
    let (low, high) = (value(one), value(other));
    let same_grid =
        one.region.row().em_zone.is_some() && one.region.row().em_zone == other.region.row().em_zone;
    let grids =
        if same_grid { 0.0 } else { sigma(one.intensity.spread).hypot(sigma(other.intensity.spread)) };
    let spread = grids.hypot(sigma(one.pue.spread)).hypot(sigma(other.pue.spread));
    let distance = (high / low).ln();
    if spread <= 0.0 {
        return if distance > 0.0 {
            1.0
        } else if distance < 0.0 {
            0.0
        } else {
            0.5
        };
    }
    normal(distance / spread)
}

/// A chance from which on the order of two regions is taken as known.
const SURE: f64 = 0.9;

/// Of all pairs in order, the share whose order is known.
#[expect(clippy::cast_precision_loss, reason = "counts of pairs")]
fn pairs_told(ranked: &[&Candidate]) -> Option<f64> {
    let pairs = || {
        ranked.iter().enumerate().flat_map(|(at, one)| ranked.iter().skip(at + 1).map(move |it| (one, it)))
    };
    let told = pairs().filter(|(one, other)| below(one, other) >= SURE).count();
    (ranked.len() > 1).then(|| told as f64 / pairs().count() as f64)
}

/// Whether two kinds, in words, are not to be added.
fn apart(one: &str, other: &str) -> bool {
    let kind = |words: &str| {
        let (boundary, basis) = words.strip_suffix(')')?.split_once(" (")?;
        carbon::Kind::parse(boundary, basis)
    };
    kind(one).zip(kind(other)).is_none_or(|(one, other)| one.addable(other).is_err())
}

/// The normal distribution function (Abramowitz and Stegun, 26.2.17; error below 7.5e-8).
fn normal(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * x.abs());
    let series = t
        * (0.319_381_530
            + t * (-0.356_563_782 + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    let tail = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() * series;
    if x >= 0.0 { 1.0 - tail } else { tail }
}

/// Of a PUE that is assumed, for the table.
fn mark(row: &AdviceRow) -> &'static str {
    if row.pue_assumed { "*" } else { "" }
}

impl Advice {
    /// Ranks the candidates for work that takes `energy` in a month. Regions whose figures are of another kind than
    /// most cannot be ranked with them, and are left out.
    pub fn new(
        candidates: &[Candidate],
        near: Option<String>,
        energy: Microjoules,
        limit: Option<usize>,
    ) -> Self {
        let addable = |it: &&Candidate| it.intensity.kind.addable(carbon::Kind::YEARLY).is_ok();
        let mut notes = Vec::new();
        let odd = candidates.iter().filter(|it| !addable(it)).count();
        if odd > 0 {
            notes.push(format!(
                "{odd} regions are left out: their intensity is direct or marginal, not to be compared"
            ));
        }
        let mut ranked: Vec<&Candidate> = candidates.iter().filter(addable).collect();
        let grams = |it: &Candidate| carbon::grams(energy, it.pue.value, it.intensity.g_per_kwh).0;
        ranked.sort_by(|one, other| {
            grams(one).total_cmp(&grams(other)).then_with(|| one.region.name().cmp(&other.region.name()))
        });
        let now = ranked.iter().copied().find(|it| Some(it.region.name()) == near);
        let first = ranked.first().copied();
        let told = |it: &Candidate| first.is_some_and(|first| below(first, it) >= SURE);
        let not_told_from_first = ranked.iter().skip(1).filter(|other| !told(other)).count();
        let rows = (1..).zip(&ranked).map(|(rank, it)| AdviceRow {
            rank,
            region: it.region.name(),
            city: it.region.row().city.clone(),
            g_per_kwh: it.intensity.g_per_kwh.0,
            pue: it.pue.value.0,
            pue_source: it.pue.source.clone(),
            pue_assumed: it.pue.assumed,
            grams_per_month: grams(it),
            grams_low: grams(it) * it.intensity.spread.times(it.pue.spread).low_ratio,
            grams_high: grams(it) * it.intensity.spread.times(it.pue.spread).high_ratio,
            saving_g_per_month: now.map(|now| grams(now) - grams(it)),
            better_probability: now.map(|now| below(it, now)),
            told_from_first: told(it),
            km: it.km,
            kind: it.intensity.kind.to_string(),
        });
        if ranked.iter().any(|it| it.intensity.source.contains("ODbL")) {
            notes.push("Contains information from Electricity Maps, made available under the ODbL: https://www.electricitymaps.com/methodology".to_owned());
        }
        Self {
            schema: "carbon.advice/1",
            near,
            energy_uj_per_month: energy.0,
            regions: rows.take(limit.unwrap_or(usize::MAX)).collect(),
            not_told_from_first,
            pairs_told_ratio: pairs_told(&ranked),
            hours: None,
            notes,
        }
    }

    /// With the best hours, or why they are not known.
    #[must_use]
    pub fn with_hours(mut self, hours: Option<BestHours>, why: Vec<String>) -> Self {
        self.notes.extend(why);
        match &hours {
            None => self.notes.push(
                "the ranking is of yearly averages; which hours are best is not known: give --live or --intensity-file"
                    .to_owned(),
            ),
            Some(hours) if self.regions.iter().any(|row| apart(&row.kind, &hours.kind)) => self.notes.push(format!(
                "hours are by another kind of intensity than the ranking ({}): their grams are not to be added",
                hours.kind
            )),
            Some(_) => {}
        }
        self.hours = hours;
        self
    }

    /// As a table.
    pub fn grid(&self) -> Grid {
        let mut grid = Grid::new(&[
            ("REGION", "region", false),
            ("CITY", "city", false),
            ("g/kWh", "g_per_kwh", true),
            ("PUE", "pue", true),
            ("kgCO2e/month", "grams_per_month", true),
            ("90 %", "grams_low grams_high", true),
            ("SAVED kg", "saving_g_per_month", true),
            ("BETTER", "better_probability", true),
            ("km", "km", true),
        ]);
        for row in &self.regions {
            let kg = |grams: f64| significant(grams / 1e3, 2);
            let optional = |value: Option<f64>, shown: &dyn Fn(f64) -> String| {
                value.map_or_else(Cell::default, |value| Cell::number(shown(value), value))
            };
            grid.rows.push(vec![
                Cell::text(&row.region),
                Cell::text(&row.city),
                Cell::number(significant(row.g_per_kwh, 3), row.g_per_kwh),
                Cell::number(format!("{}{}", significant(row.pue, 3), mark(row)), row.pue),
                Cell::number(kg(row.grams_per_month), row.grams_per_month),
                Cell::number(
                    format!("{} to {}", kg(row.grams_low), kg(row.grams_high)),
                    format!("{} {}", row.grams_low, row.grams_high),
                ),
                optional(row.saving_g_per_month, &kg),
                optional(row.better_probability, &|p| format!("{:.0} %", 100.0 * p)),
                optional(row.km, &|km| format!("{km:.0}")),
            ]);
        }
        grid
    }

    /// What is said below it.
    pub fn lines(&self) -> Vec<String> {
        let kwh = Microjoules(self.energy_uj_per_month).kilowatt_hours();
        let mut lines = vec![format!(
            "for {} kWh of the machines in a month; BETTER: the chance that it is less than now, with the uncertainty of the factors",
            significant(kwh, 3)
        )];
        if let Some(first) = self.regions.first() {
            lines.push(format!(
                "{} regions cannot be told from {} (less than 90 % sure)",
                self.not_told_from_first, first.region
            ));
        }
        if let Some(ratio) = self.pairs_told_ratio {
            lines.push(format!(
                "of all pairs of regions, the order of {:.0} % is known with a chance of 90 % or more",
                100.0 * ratio
            ));
        }
        let mut assumed: Vec<&str> =
            self.regions.iter().filter(|row| row.pue_assumed).map(|row| row.pue_source.as_str()).collect();
        assumed.sort_unstable();
        assumed.dedup();
        if !assumed.is_empty() {
            lines.push(format!(
                "* PUE is assumed, as none is published of the region: {}; its range is in the intervals and in BETTER",
                assumed.join(", ")
            ));
        }
        lines.extend(self.hours.iter().flat_map(BestHours::lines));
        lines.extend(self.notes.iter().map(|note| format!("note: {note}")));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn candidate(provider: &str, region: &str) -> Candidate {
        let region = CloudRegion::find(provider, region).unwrap();
        Candidate { intensity: region.intensity().unwrap(), pue: region.pue(), km: None, region }
    }

    #[test]
    fn the_least_goes_first_and_doubt_is_told() {
        let all =
            [candidate("aws", "eu-west-1"), candidate("aws", "eu-north-1"), candidate("aws", "eu-west-3")];
        let advice = Advice::new(&all, Some("aws:eu-west-1".into()), Microjoules(3_600_000_000_000), None);
        let grams: Vec<f64> = advice.regions.iter().map(|row| row.grams_per_month).collect();
        assert!(grams.is_sorted(), "{grams:?}");
        let dublin = advice.regions.last().unwrap();
        assert_eq!((dublin.region.as_str(), dublin.saving_g_per_month), ("aws:eu-west-1", Some(0.0)));
        assert!(advice.regions[0].better_probability.unwrap() > 0.99);
        let told = |advice: &Advice| advice.regions.iter().filter(|row| row.told_from_first).count();
        assert_eq!(told(&advice), advice.regions.len() - 1 - advice.not_told_from_first);
        let of = |regions: &[Candidate]| Advice::new(regions, None, Microjoules(1), None).pairs_told_ratio;
        assert_eq!((of(&all[..1]), of(&all[..2])), (None, Some(1.0)));
        assert_eq!(of(&[all[0].clone(), all[0].clone()]), Some(0.0), "a region is not told from itself");
    }

    #[test]
    fn an_assumed_pue_is_marked_and_has_a_range() {
        // The same region, with its own PUE and with that of others.
        let published = candidate("aws", "eu-west-1");
        assert!(!published.pue.assumed);
        let pue = candidate("aws", "ap-east-1").pue;
        assert!(pue.assumed && pue.source == "AWS median");
        let less = Pue(published.pue.value.0 * 1.001);
        let assumed = Candidate { pue: Sourced { value: less, ..pue }, ..published.clone() };
        let sure = below(&published, &assumed);
        assert!(sure > 0.5 && sure < SURE, "a median is not known to be above: {sure}");
        let advice = Advice::new(&[published.clone(), assumed], None, Microjoules(3_600_000_000_000), None);
        let [first, second] = advice.regions.as_slice() else { panic!("{advice:?}") };
        assert!(!first.pue_assumed && first.pue_source.starts_with("published"), "{first:?}");
        assert!(second.pue_assumed && second.grams_high > first.grams_high * 1.01, "{second:?}");
        let said = advice.lines().join("\n");
        assert!(said.contains("* PUE is assumed, as none is published of the region: AWS median"), "{said}");
        assert_eq!(advice.regions.iter().map(mark).collect::<Vec<_>>(), ["", "*"]);
        let alone = Advice::new(&[published], None, Microjoules(1), None).lines().join("\n");
        assert!(!alone.contains("assumed"), "{alone}");
    }

    #[test]
    fn what_is_not_known_of_hours_is_said_and_kinds_are_not_mixed() {
        let advice = Advice::new(&[candidate("aws", "eu-west-1")], None, Microjoules(1), None);
        let none = advice.clone().with_hours(None, vec!["no forecast: x".into()]);
        assert!(
            none.notes.join("; ").contains("no forecast: x; the ranking is of yearly averages"),
            "{none:?}"
        );
        assert!(!apart(&advice.regions[0].kind, &carbon::Kind::YEARLY.to_string()));
        assert!(apart(&advice.regions[0].kind, "direct, CO2 only (location-based, hourly marginal)"));
        assert!(apart(&advice.regions[0].kind, "a newer kind"));
    }

    #[test]
    fn the_normal_distribution_is_the_tables() {
        for (x, p) in [(0.0, 0.5), (1.645, 0.95), (-1.645, 0.05), (3.0, 0.998_65)] {
            assert!((normal(x) - p).abs() < 1e-4, "{x}: {}", normal(x));
        }
    }

    proptest! {
        #[test]
        fn one_of_two_is_below(a in 0_usize..20, b in 0_usize..20) {
            let regions = CloudRegion::all("aws");
            let of = |index: usize| {
                let region = regions[index].clone();
                Candidate { intensity: region.intensity().unwrap(), pue: region.pue(), km: None, region }
            };
            prop_assert!((below(&of(a), &of(b)) + below(&of(b), &of(a)) - 1.0).abs() < 1e-6);
        }
    }
}
