//! Yearly mean carbon intensity of a country or a region.
//!
//! A country's mean has a standard uncertainty of about 15 % for large countries and a factor of 1.7 for the
//! worst tenth (two yearly sources compared); nothing falls back to another place silently.

use crate::reference::{self, GridRow};
use crate::units::GramsPerKwh;
use std::fmt;

/// What is counted: building, fuel and operation of the power stations (IPCC factors).
const BOUNDARY: &str = "lifecycle";

/// How it is counted: the mix generated in that place, imports ignored.
const BASIS: &str = "location-based, yearly average, production";

/// Codes in common use that are not in ISO 3166-1: reserved there, or the European Union's own.
const ALIASES: [(&str, &str); 2] = [("UK", "GB"), ("EL", "GR")];

/// Names suggested at most.
const SUGGESTIONS_MAX: usize = 3;

/// Carbon intensity of electricity with what must be said about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Intensity {
    /// The value.
    pub g_per_kwh: GramsPerKwh,
    /// ISO 3166-1 alpha-2 code of the country, or name of the region in capitals.
    pub zone: String,
    /// English name.
    pub name: String,
    /// Year that it is the mean of.
    pub year: u16,
    /// What is counted, such as `lifecycle`.
    pub boundary: &'static str,
    /// How it is counted.
    pub basis: &'static str,
    /// Publisher and licence, as they ask to be named.
    pub source: &'static str,
}

/// A zone that is in no table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown zone {zone:?}: give an ISO 3166 code such as FR or FRA, or WORLD{}", Suggested(.near))]
pub struct UnknownZone {
    /// What was given.
    pub zone: String,
    /// Zones with a similar name, nearest first, such as `France (FR)`.
    pub near: Vec<String>,
}

struct Suggested<'a>(&'a [String]);

impl fmt::Display for Suggested<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "; did you mean {}?", self.0.join(" or ")) }
    }
}

impl Intensity {
    /// The intensity of `zone`: an ISO 3166-1 code of two or three letters, an English name, `WORLD` or another
    /// region such as `EU`, in capitals or not.
    pub fn of(zone: &str) -> Result<Self, UnknownZone> {
        let wanted = zone.trim();
        let wanted = ALIASES
            .iter()
            .find(|(alias, _)| alias.eq_ignore_ascii_case(wanted))
            .map_or(wanted, |(_, code)| code);
        reference::grid()
            .find(|row| {
                [row.iso2.as_deref().unwrap_or_default(), &row.iso3, &row.name]
                    .into_iter()
                    .any(|key| !key.is_empty() && key.to_lowercase() == wanted.to_lowercase())
            })
            .map(Self::from)
            .ok_or_else(|| UnknownZone { zone: zone.to_owned(), near: near(wanted) })
    }
}

impl From<GridRow> for Intensity {
    fn from(row: GridRow) -> Self {
        Self {
            g_per_kwh: GramsPerKwh(row.intensity_g_per_kwh),
            zone: row.iso2.unwrap_or(row.iso3),
            name: row.name,
            year: row.year,
            boundary: BOUNDARY,
            basis: BASIS,
            source: source(&row.source),
        }
    }
}

/// The line that a source asks for (`data/PROVENANCE.md`).
fn source(key: &str) -> &'static str {
    match key {
        "ember-owid-2026" => "Ember (2026), with major processing by Our World in Data, CC BY 4.0",
        "ember-via-co2js" => "Ember, via co2.js by the Green Web Foundation, CC BY 4.0",
        "ember-ger-2026" => "Ember, Global Electricity Review 2026, CC BY 4.0",
        _ => "",
    }
}

/// Names like `wanted`: those that contain it, or differ from it in few letters.
fn near(wanted: &str) -> Vec<String> {
    let wanted = letters(wanted);
    let tolerance = (wanted.len() / 3).max(1);
    let mut found: Vec<(usize, String)> = reference::grid()
        .filter_map(|row| {
            let name = letters(&row.name);
            let names = distance(&wanted, &name);
            let codes = distance(&wanted, &letters(&row.iso3));
            let contained = wanted.len() >= 3 && name.windows(wanted.len()).any(|part| part == wanted);
            let close = if contained { names.min(codes).min(tolerance) } else { names.min(codes) };
            let code = row.iso2.unwrap_or(row.iso3);
            (close <= tolerance && close < wanted.len()).then(|| (close, format!("{} ({code})", row.name)))
        })
        .collect();
    found.sort();
    found.into_iter().take(SUGGESTIONS_MAX).map(|(_, name)| name).collect()
}

/// What two spellings of a name have in common. Bounded, so that a long input costs nothing.
fn letters(text: &str) -> Vec<char> {
    text.chars().filter(|it| it.is_alphanumeric()).flat_map(char::to_lowercase).take(64).collect()
}

/// Letters to insert, delete or replace (Levenshtein's distance), one row of the table at a time.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (deleted, from) in a.iter().enumerate() {
        let mut diagonal = deleted;
        let mut left = deleted + 1;
        let mut cells = row.iter_mut();
        if let Some(first) = cells.next() {
            *first = left;
        }
        for (cell, to) in cells.zip(b) {
            let replaced = diagonal + usize::from(from != to);
            diagonal = *cell;
            *cell = replaced.min(left + 1).min(diagonal + 1);
            left = *cell;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_zone_has_many_spellings() {
        for zone in ["FR", "fr", "FRA", "fra", "France", " france "] {
            let intensity = Intensity::of(zone).unwrap();
            assert_eq!(
                (&*intensity.zone, intensity.g_per_kwh, intensity.year),
                ("FR", GramsPerKwh(41.44), 2025)
            );
        }
        assert_eq!(Intensity::of("uk").unwrap().zone, "GB");
        assert_eq!(Intensity::of("eu").unwrap().g_per_kwh, GramsPerKwh(213.02));
        assert_eq!(Intensity::of("NA").unwrap().name, "Namibia");
    }

    #[test]
    fn an_intensity_says_where_it_is_from() {
        let world = Intensity::of("world").unwrap();
        assert_eq!((&*world.zone, world.g_per_kwh), ("WORLD", GramsPerKwh(458.0)));
        assert_eq!(
            (world.boundary, world.basis),
            ("lifecycle", "location-based, yearly average, production")
        );
        assert_eq!(
            Intensity::of("SE").unwrap().source,
            "Ember (2026), with major processing by Our World in Data, CC BY 4.0"
        );
        for row in reference::grid() {
            assert!(!source(&row.source).is_empty(), "{row:?}");
        }
    }

    #[test]
    fn an_unknown_zone_is_refused_with_near_names() {
        let message = |zone| Intensity::of(zone).unwrap_err().to_string();
        assert_eq!(
            message("FRA NCE"),
            "unknown zone \"FRA NCE\": give an ISO 3166 code such as FR or FRA, or WORLD; \
             did you mean France (FR)?"
        );
        assert!(message("Germny").ends_with("did you mean Germany (DE)?"), "{}", message("Germny"));
        assert!(message("zealand").ends_with("did you mean New Zealand (NZ)?"), "{}", message("zealand"));
        for zone in ["", "  ", "xyzzyxyzzy", "é", "💡"] {
            assert!(message(zone).ends_with("or WORLD"), "{}", message(zone));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_zone_or_an_error(text: String) {
            if let Err(error) = Intensity::of(&text) {
                prop_assert!(error.near.len() <= SUGGESTIONS_MAX);
            }
        }

        #[test]
        fn a_distance_is_one(a in "[ab]{0,6}", b in "[ab]{0,6}", c in "[ab]{0,6}") {
            let of = |a: &str, b: &str| distance(&letters(a), &letters(b));
            prop_assert_eq!(of(&a, &a), 0);
            prop_assert_eq!(of(&a, &b) == 0, a == b);
            prop_assert_eq!(of(&a, &b), of(&b, &a));
            prop_assert!(of(&a, &c) <= of(&a, &b) + of(&b, &c));
        }
    }
}
