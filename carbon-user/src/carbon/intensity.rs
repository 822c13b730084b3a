//! Yearly mean carbon intensity of a country or a region.
//!
//! A country's mean has a standard uncertainty of about 15 % for large countries and a factor of 1.7 for the
//! worst tenth (two yearly sources compared); nothing falls back to another place silently.

use super::kind::{Boundary, Flow, Gas, Kind, Method, Signal};
use super::place::{CloudRegion, Coordinates, NEAR_KM_MAX};
use crate::reference::places::{self, SubnationalRow, ZoneRow};
use crate::reference::{self, GridRow};
use crate::units::GramsPerKwh;
use std::fmt;

/// Codes in common use that are not in ISO 3166-1: reserved there, or the European Union's own.
const ALIASES: [(&str, &str); 2] = [("UK", "GB"), ("EL", "GR")];

/// Names suggested at most.
const SUGGESTIONS_MAX: usize = 3;

/// The notice that the zones' table asks for.
const ZONES_SOURCE: &str = "Contains information from Electricity Maps (yearly means), made available under the Open \
                            Database License (ODbL) 1.0";

/// Nine times in ten, the truth lies between value x low and value x high.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// At most 1.
    pub low_ratio: f64,
    /// At least 1.
    pub high_ratio: f64,
}

impl Spread {
    /// One year's mean for another of the same zone: nine in ten of 1,408 pairs within 24 %.
    pub const ZONE: Self = Self { low_ratio: 1.0 / 1.24, high_ratio: 1.24 };
    /// Two competent sources for one country: nine in ten of 184 countries within 71 %.
    pub const COUNTRY: Self = Self { low_ratio: 1.0 / 1.7, high_ratio: 1.7 };
    /// A country of many grids, such as the United States, whose zones are from 26 to 848 g/kWh.
    pub const LARGE_COUNTRY: Self = Self { low_ratio: 0.5, high_ratio: 2.0 };
    /// Nothing is known of it: an interval is then of the energy alone, and that is said.
    pub const NONE: Self = Self { low_ratio: 1.0, high_ratio: 1.0 };

    /// What is taken where a publisher states none: for an average by location, how far two competent sources of one place are
    /// apart ([`COUNTRY`](Self::COUNTRY); of yearly means, as none of hours can be compared freely). Nothing that is public
    /// says it of marginal intensities, nor of those by certificates.
    pub fn where_none_is_stated(kind: Kind) -> Self {
        match (kind.signal, kind.method) {
            (Signal::Average, Method::Location) => Self::COUNTRY,
            _ => Self::NONE,
        }
    }

    /// Of a product of two that are independent: logarithms in quadrature.
    #[must_use]
    pub fn times(self, other: Self) -> Self {
        let both = |one: f64, other: f64| one.ln().hypot(other.ln());
        Self {
            low_ratio: (-both(self.low_ratio, other.low_ratio)).exp(),
            high_ratio: both(self.high_ratio, other.high_ratio).exp(),
        }
    }

    /// Whether anything is known of it.
    pub fn is_known(self) -> bool {
        self != Self::NONE
    }
}

/// Carbon intensity of electricity with what must be said about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Intensity {
    /// The value.
    pub g_per_kwh: GramsPerKwh,
    /// ISO 3166-1 alpha-2 code of the country, name of the region in capitals, key of the zone, or the name of a
    /// cloud's region.
    pub zone: String,
    /// English name.
    pub name: String,
    /// Year that it is the mean of.
    pub year: u16,
    /// What is counted, and how.
    pub kind: Kind,
    /// How far off it may be.
    pub spread: Spread,
    /// Publisher and licence, as they ask to be named.
    pub source: String,
    /// Whether nobody said where the electricity is used, so that this is the world's mean in its place.
    pub assumed: bool,
}

/// A zone that is in no table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown zone {zone:?}: give a country such as FR or FRA, a grid zone or state such as IT-NO or US-CA, a cloud's region such as \
     aws:eu-west-1, coordinates within 150 km of a known city such as 48.85,2.35, or WORLD{}", Suggested(.near))]
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
    /// The intensity of a place: an ISO 3166-1 code of two or three letters, an English name, `WORLD` or another
    /// region such as `EU`; a grid zone such as `IT-NO`; a state or province such as `US-CA`; a region of a cloud
    /// such as `aws:eu-west-1`; or coordinates such as `53.35,-6.26`. In capitals or not.
    pub fn of(zone: &str) -> Result<Self, UnknownZone> {
        let wanted = zone.trim();
        if let Some(point) = Coordinates::parse(wanted) {
            return Self::of_point(point).ok_or_else(|| unknown(zone));
        }
        if wanted.contains([':', '/']) {
            return CloudRegion::parse(wanted).ok_or_else(|| unknown_region(zone))?.intensity();
        }
        let of = |code: &str| {
            Self::of_country(code).or_else(|| Self::of_zone(code)).or_else(|| Self::of_state(code))
        };
        // A state's name stands for its code, so that both spellings have one figure: the grid zone's where there is one.
        let code = || state(wanted).map(|row| row.iso3166_2);
        Self::of_country(wanted).or_else(|| of(&code()?)).or_else(|| of(wanted)).ok_or_else(|| unknown(zone))
    }

    /// The world's mean for a place that nobody named, marked so. Its spread is that of the countries: a tenth of
    /// them lies outside.
    pub fn of_unknown_place() -> Self {
        let mut all: Vec<f64> =
            reference::grid().filter(|row| row.iso2.is_some()).map(|row| row.intensity_g_per_kwh).collect();
        all.sort_by(f64::total_cmp);
        let at = |twentieths: usize| all.get(all.len() * twentieths / 20).copied();
        let mean = reference::constant("world_grid").map_or(458.0, |row| row.value);
        let world = Self::of("WORLD").unwrap_or_else(|_| Self {
            g_per_kwh: GramsPerKwh(mean),
            zone: "WORLD".into(),
            name: "World".into(),
            year: 2025,
            kind: Kind::YEARLY,
            spread: Spread::NONE,
            source: source("ember-ger-2026").into(),
            assumed: true,
        });
        let ratio = |bound: Option<f64>| bound.map_or(1.0, |bound| bound / world.g_per_kwh.0);
        let spread = Spread { low_ratio: ratio(at(1)).min(1.0), high_ratio: ratio(at(19)).max(1.0) };
        Self { spread, assumed: true, ..world }
    }

    fn of_country(wanted: &str) -> Option<Self> {
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
    }

    /// By the key of a grid zone.
    pub fn of_zone(wanted: &str) -> Option<Self> {
        places::zones().find(|row| row.zone.eq_ignore_ascii_case(wanted)).and_then(|row| from_zone(&row))
    }

    /// By ISO 3166-2 code or English name of a state or province.
    pub fn of_state(wanted: &str) -> Option<Self> {
        state(wanted).map(from_state)
    }

    /// By the nearest city of which the grid zone is known, where one is near.
    fn of_point(point: Coordinates) -> Option<Self> {
        let (region, km) = CloudRegion::nearest(point)?;
        let found = region.intensity().ok().filter(|_| km <= NEAR_KM_MAX)?;
        Some(Self {
            name: format!("{:.0} km from {}", km, found.name),
            zone: format!("{},{}", point.lat, point.lon),
            ..found
        })
    }

    /// What is counted, such as `lifecycle`.
    pub fn boundary(&self) -> &'static str {
        self.kind.boundary_text()
    }

    /// How it is counted.
    pub fn basis(&self) -> String {
        self.kind.basis_text()
    }
}

/// By code or English name.
fn state(wanted: &str) -> Option<SubnationalRow> {
    places::subnational()
        .find(|row| row.iso3166_2.eq_ignore_ascii_case(wanted) || row.name.eq_ignore_ascii_case(wanted))
}

fn unknown(zone: &str) -> UnknownZone {
    UnknownZone { zone: zone.to_owned(), near: near(zone.trim()) }
}

/// Regions of the provider with a similar name.
fn unknown_region(zone: &str) -> UnknownZone {
    let provider = zone.split([':', '/']).next().unwrap_or_default();
    let wanted = letters(zone);
    let mut found: Vec<(usize, String)> = CloudRegion::all(provider)
        .into_iter()
        .map(|region| (distance(&wanted, &letters(&region.name())), region.name()))
        .filter(|(apart, _)| *apart <= wanted.len() / 3)
        .collect();
    found.sort();
    UnknownZone {
        zone: zone.to_owned(),
        near: found.into_iter().take(SUGGESTIONS_MAX).map(|(_, name)| name).collect(),
    }
}

fn from_zone(row: &ZoneRow) -> Option<Intensity> {
    let (value, year) = row.newest()?;
    Some(Intensity {
        g_per_kwh: GramsPerKwh(value),
        zone: row.zone.clone(),
        name: row.name.clone(),
        year,
        kind: Kind { flow: Flow::Consumption, ..Kind::YEARLY },
        spread: Spread::ZONE,
        source: ZONES_SOURCE.into(),
        assumed: false,
    })
}

fn from_state(row: SubnationalRow) -> Intensity {
    Intensity {
        g_per_kwh: GramsPerKwh(row.intensity_g_per_kwh),
        zone: row.iso3166_2,
        name: row.name,
        year: row.year,
        kind: Kind {
            boundary: if row.boundary == "direct" { Boundary::Direct } else { Boundary::Lifecycle },
            gas: if row.gas == "CO2" { Gas::Co2 } else { Gas::Co2e },
            ..Kind::YEARLY
        },
        spread: Spread::COUNTRY,
        source: source(&row.source).into(),
        assumed: false,
    }
}

impl From<GridRow> for Intensity {
    fn from(row: GridRow) -> Self {
        let world = row.iso3 == "WORLD";
        let grids = row.iso2.as_deref().map_or(0, |code| {
            let prefix = format!("{code}-");
            places::zones().filter(|zone| zone.zone.starts_with(&prefix)).count()
        });
        let bounds = reference::constant("world_grid").filter(|_| world);
        let spread = match bounds.as_ref().map(|row| (row.low, row.high)) {
            Some((Some(low), Some(high))) => Spread {
                low_ratio: low / row.intensity_g_per_kwh,
                high_ratio: high / row.intensity_g_per_kwh,
            },
            _ if grids >= 5 => Spread::LARGE_COUNTRY,
            _ => Spread::COUNTRY,
        };
        Self {
            g_per_kwh: GramsPerKwh(row.intensity_g_per_kwh),
            zone: row.iso2.unwrap_or(row.iso3),
            name: row.name,
            year: row.year,
            kind: Kind::YEARLY,
            spread,
            source: source(&row.source).into(),
            assumed: false,
        }
    }
}

/// The line that a source asks for (`data/PROVENANCE.md`).
fn source(key: &str) -> &'static str {
    match key {
        "ember-owid-2026" => "Ember (2026), with major processing by Our World in Data, CC BY 4.0",
        "ember-via-co2js" => "Ember, via co2.js by the Green Web Foundation, CC BY 4.0",
        "ember-ger-2026" => "Ember, Global Electricity Review 2026, CC BY 4.0",
        "epa-egrid2023" => "US EPA eGRID2023, public domain",
        "cn-mee-2025-47" => "MEE/NBS of China, announcement 2025 No. 47",
        "mix-x-ipcc-ar5" => {
            "Canada's mix of 2023 with the factors of IPCC AR5, by CodeCarbon (MIT) and Carbon"
        }
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
            (world.boundary(), world.basis().as_str()),
            ("lifecycle", "location-based, yearly average, production")
        );
        assert_eq!(
            Intensity::of("SE").unwrap().source,
            "Ember (2026), with major processing by Our World in Data, CC BY 4.0"
        );
        for row in reference::grid() {
            assert!(!source(&row.source).is_empty(), "{row:?}");
        }
        for row in places::subnational() {
            assert!(!source(&row.source).is_empty(), "{row:?}");
        }
    }

    #[test]
    fn places_of_every_sort_are_found() {
        let of = |zone| Intensity::of(zone).unwrap();
        assert_eq!((of("it-no").zone, of("it-no").kind.flow), ("IT-NO".into(), Flow::Consumption));
        assert!(of("IT-NO").source.contains("ODbL"));
        let california = of("US-CA");
        assert_eq!((california.kind.boundary, california.name.as_str()), (Boundary::Direct, "California"));
        assert_eq!(of("california"), california);
        assert_eq!(of("CA-QC").kind.boundary, Boundary::Lifecycle);
        assert_eq!(of("Georgia").zone, "GE", "the country goes first");
        assert_eq!(of("aws:eu-west-3").zone, "aws:eu-west-3");
        assert_eq!(of("48.85,2.35").year, 2025);
        assert!(of("48.85,2.35").name.contains("km from"));
        assert!(Intensity::of("-40.0,-140.0").is_err(), "in the middle of an ocean");
        assert!(Intensity::of("aws:eu-west-33").unwrap_err().near.contains(&"aws:eu-west-3".to_owned()));
    }

    #[test]
    fn a_place_has_one_factor_however_it_is_spelt() {
        for row in places::subnational().filter(|row| Intensity::of_country(&row.name).is_none()) {
            let of = |zone: &str| Intensity::of(zone).unwrap();
            assert_eq!(of(&row.name), of(&row.iso3166_2));
            assert_eq!(of(&row.name.to_uppercase()), of(&row.iso3166_2.to_lowercase()));
        }
        let ontario = Intensity::of("Ontario").unwrap();
        assert_eq!((ontario.zone.as_str(), ontario.year), ("CA-ON", 2025));
        assert!(ontario.source.contains("Electricity Maps"), "{}", ontario.source);
    }

    #[test]
    fn an_unknown_place_is_the_world_and_says_so() {
        let unknown = Intensity::of_unknown_place();
        assert!(unknown.assumed && unknown.zone == "WORLD");
        assert!(unknown.spread.low_ratio < 0.2 && unknown.spread.high_ratio > 1.4, "{unknown:?}");
        let world = Intensity::of("WORLD").unwrap();
        assert!(!world.assumed && world.spread.low_ratio > 0.9);
        assert_eq!(Intensity::of("US").unwrap().spread, Spread::LARGE_COUNTRY);
        assert_eq!(Intensity::of("PT").unwrap().spread, Spread::COUNTRY);
    }

    #[test]
    fn an_unknown_zone_is_refused_with_near_names() {
        let message = |zone| Intensity::of(zone).unwrap_err().to_string();
        assert_eq!(
            message("FRA NCE"),
            "unknown zone \"FRA NCE\": give a country such as FR or FRA, a grid zone or state such as IT-NO or US-CA, a cloud's \
             region such as aws:eu-west-1, coordinates within 150 km of a known city such as 48.85,2.35, or WORLD; \
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
