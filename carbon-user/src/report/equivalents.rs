//! Everyday equivalents, each with its factor, year and source.

use super::figures::significant;
use crate::reference::factors;
use serde::Serialize;

/// Told at most.
const TOLD_MAX: usize = 3;

/// Less of something than this says nothing to anybody.
const AMOUNT_MIN: f64 = 0.01;

/// A set of factors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EquivalentSet {
    /// US EPA's current calculator.
    EpaCurrent,
    /// `CodeCarbon`'s, for comparison with it.
    Codecarbon,
}

impl EquivalentSet {
    fn key(self) -> &'static str {
        match self {
            Self::EpaCurrent => "epa-current",
            Self::Codecarbon => "codecarbon",
        }
    }
}

/// So many of something.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Equivalent {
    /// How many.
    pub amount: f64,
    /// Of what.
    pub label: String,
    /// What one is worth.
    pub per_unit: f64,
    /// In which unit.
    pub unit: String,
    /// Year of the factor.
    pub year: Option<u16>,
    /// Which set.
    pub set: String,
    /// Where from.
    pub reference: String,
}

/// The handiest few of [`all`].
pub fn of(grams: f64, kwh: f64, set: EquivalentSet) -> Vec<Equivalent> {
    let mut found = all(grams, kwh, set);
    found.truncate(TOLD_MAX);
    found
}

/// What `grams` and `kwh` are in things that people know, those with the handiest numbers first. What is measured in
/// energy is compared with energy.
pub fn all(grams: f64, kwh: f64, set: EquivalentSet) -> Vec<Equivalent> {
    let mut found: Vec<Equivalent> = factors::equivalents()
        .filter(|row| row.set == set.key())
        .map(|row| {
            let whole = if row.basis == "energy" { kwh } else { grams };
            Equivalent {
                amount: whole / row.per_unit,
                label: row.label,
                per_unit: row.per_unit,
                unit: row.unit,
                year: row.year,
                set: row.set,
                reference: row.reference,
            }
        })
        .filter(|it| it.amount >= AMOUNT_MIN && it.amount.is_finite())
        .collect();
    // Nearest to a few of them, in orders of magnitude.
    found.sort_by(|one, other| {
        let far = |it: &Equivalent| (it.amount.log10() - 0.7).abs();
        far(one).total_cmp(&far(other))
    });
    found
}

impl Equivalent {
    /// One line.
    pub fn line(&self) -> String {
        format!(
            "about {} x {} ({} {} each, {}, {})",
            significant(self.amount, 2),
            self.label,
            self.per_unit,
            self.unit,
            self.year.map_or_else(|| "no year".to_owned(), |year| year.to_string()),
            self.set
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kilogram_is_some_miles() {
        let told = of(1000.0, 2.0, EquivalentSet::EpaCurrent);
        assert_eq!(told.len(), TOLD_MAX);
        let mile = told.iter().find(|it| it.label.starts_with("mile")).unwrap();
        assert!((mile.amount - 1000.0 / 393.0).abs() < 1e-9);
        assert_eq!(
            mile.line(),
            "about 2.5 x mile driven by an average gasoline passenger vehicle (393 gCO2e each, 2024, epa-current)"
        );
        assert!(of(0.0, 0.0, EquivalentSet::EpaCurrent).is_empty());
        assert!(of(1000.0, 2.0, EquivalentSet::Codecarbon).iter().all(|it| it.set == "codecarbon"));
    }
}
