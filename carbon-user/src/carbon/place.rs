//! Places: a region of a cloud provider, or coordinates; their PUE and water.

use super::intensity::{Intensity, Spread, UnknownZone};
use crate::reference;
use crate::reference::places::{self, CloudRegionRow};
use crate::units::Pue;

/// Farther than this from every city of the table, coordinates say nothing of the grid.
pub const NEAR_KM_MAX: f64 = 150.0;

/// Mean radius of the Earth in kilometres (IUGG).
const EARTH_KM: f64 = 6371.0;

/// A point on the Earth in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coordinates {
    /// Latitude, -90 to 90.
    pub lat: f64,
    /// Longitude, -180 to 180.
    pub lon: f64,
}

impl Coordinates {
    /// `53.35,-6.26`: latitude and longitude in degrees.
    pub fn parse(text: &str) -> Option<Self> {
        let (lat, lon) = text.split_once(',')?;
        let (lat, lon) = (lat.trim().parse().ok()?, lon.trim().parse().ok()?);
        let inside = (-90.0..=90.0).contains(&lat) && (-180.0..=180.0).contains(&lon);
        inside.then_some(Self { lat, lon })
    }

    /// Along the great circle, on a sphere (haversine).
    pub fn distance_km(self, other: Self) -> f64 {
        let half = |degrees: f64| (degrees.to_radians() / 2.0).sin().powi(2);
        let chord = half(other.lat - self.lat)
            + self.lat.to_radians().cos() * other.lat.to_radians().cos() * half(other.lon - self.lon);
        2.0 * EARTH_KM * chord.clamp(0.0, 1.0).sqrt().asin()
    }
}

/// A ratio with where it is from.
#[derive(Clone, Debug, PartialEq)]
pub struct Sourced<T> {
    /// What it is.
    pub value: T,
    /// Year and source in words.
    pub source: String,
    /// Whether it is that of others, as nothing is published of this one.
    pub assumed: bool,
    /// How far off it may be; [`Spread::NONE`] where it is published.
    pub spread: Spread,
}

impl<T> Sourced<T> {
    fn published(value: T, year: u16) -> Self {
        let source = format!("published by the provider for {year}");
        Self { value, source, assumed: false, spread: Spread::NONE }
    }
}

/// A region of a cloud provider.
#[derive(Clone, Debug, PartialEq)]
pub struct CloudRegion {
    row: CloudRegionRow,
}

impl CloudRegion {
    /// `aws:eu-west-1`, with `google` and `oracle` for `gcp` and `oci`; none where either is unknown.
    pub fn parse(text: &str) -> Option<Self> {
        let (provider, region) = text.trim().split_once([':', '/'])?;
        Self::find(provider, region)
    }

    /// By provider and region.
    pub fn find(provider: &str, region: &str) -> Option<Self> {
        let provider = provider_key(provider);
        places::cloud_regions()
            .find(|row| row.provider == provider && row.region.eq_ignore_ascii_case(region.trim()))
            .map(|row| Self { row })
    }

    /// All regions of a provider.
    pub fn all(provider: &str) -> Vec<Self> {
        let provider = provider_key(provider);
        places::cloud_regions().filter(|row| row.provider == provider).map(|row| Self { row }).collect()
    }

    /// As in the table.
    pub fn row(&self) -> &CloudRegionRow {
        &self.row
    }

    /// Such as `aws:eu-west-1`.
    pub fn name(&self) -> String {
        format!("{}:{}", self.row.provider, self.row.region)
    }

    /// Of its city.
    pub fn coordinates(&self) -> Coordinates {
        Coordinates { lat: self.row.lat, lon: self.row.lon }
    }

    /// The grid's intensity there: of its zone, else of its state, else of its country. Its `zone` is the
    /// region's name, its `name` says whose figure it is.
    pub fn intensity(&self) -> Result<Intensity, UnknownZone> {
        let candidates =
            [self.row.em_zone.as_deref(), self.row.iso3166_2.as_deref(), Some(self.row.iso2.as_str())];
        let mut last = None;
        for (index, candidate) in candidates.iter().enumerate() {
            let Some(candidate) = candidate else { continue };
            let found = match index {
                0 => Intensity::of_zone(candidate),
                1 => Intensity::of_state(candidate),
                _ => Intensity::of(candidate).ok(),
            };
            match found {
                Some(intensity) => {
                    return Ok(Intensity {
                        name: format!("{}, grid {} ({})", self.row.city, intensity.zone, intensity.name),
                        zone: self.name(),
                        ..intensity
                    });
                }
                None => last = Some(*candidate),
            }
        }
        Err(UnknownZone { zone: last.unwrap_or_default().to_owned(), near: Vec::new() })
    }

    /// Energy of the site over that of its machines: the region's, else the provider's median, else that of an
    /// unknown data centre. Its spread is then the range of what the provider publishes of other regions; of a provider that
    /// publishes none, of what all do (`constants.csv`, `cloud-regions.csv`).
    pub fn pue(&self) -> Sourced<Pue> {
        if let (Some(pue), Some(year)) = (self.row.pue, self.row.pue_year) {
            return Sourced::published(Pue(pue), year);
        }
        let (key, whose) = match self.row.provider.as_str() {
            "aws" => ("pue_aws", "AWS median"),
            "gcp" => ("pue_gcp", "Google median"),
            "azure" => ("pue_azure", "Azure median"),
            "ovh" => ("pue_ovh", "OVHcloud as a whole, by Green Algorithms"),
            "oci" => ("pue_oracle", "Oracle as a whole, by Green Algorithms"),
            _ => ("pue_unknown", "mean of data centres, by Uptime Institute 2024"),
        };
        let Some(row) = reference::constant(key) else {
            let value = super::DEFAULT_PUE;
            return Sourced { value, source: "none known".into(), assumed: true, spread: Spread::NONE };
        };
        let (low, high) = row.low.zip(row.high).unwrap_or_else(|| published_pue(row.value));
        let spread = Spread { low_ratio: low / row.value, high_ratio: high / row.value };
        Sourced { value: Pue(row.value), source: whose.into(), assumed: true, spread }
    }

    /// Litres of water per kilowatt-hour of the machines; none where not published.
    pub fn wue_l_per_kwh(&self) -> Option<Sourced<f64>> {
        Some(Sourced::published(self.row.wue_l_per_kwh?, self.row.wue_year?))
    }

    /// The region nearest to a point, and how far it is in kilometres.
    pub fn nearest(to: Coordinates) -> Option<(Self, f64)> {
        places::cloud_regions()
            .map(|row| Self { row })
            .map(|region| {
                let km = region.coordinates().distance_km(to);
                (region, km)
            })
            .min_by(|(_, one), (_, other)| one.total_cmp(other))
    }
}

/// The lowest and the highest that any provider publishes of a region, `value` among them.
fn published_pue(value: f64) -> (f64, f64) {
    let all = places::cloud_regions().filter_map(|row| row.pue);
    all.fold((value, value), |(low, high), pue| (low.min(pue), high.max(pue)))
}

fn provider_key(provider: &str) -> String {
    let lower = provider.trim().to_lowercase();
    match lower.as_str() {
        "google" => "gcp".into(),
        "oracle" => "oci".into(),
        "amazon" => "aws".into(),
        "microsoft" => "azure".into(),
        _ => lower,
    }
}

/// All providers of the table.
pub fn providers() -> Vec<String> {
    let mut names: Vec<String> = places::cloud_regions().map(|row| row.provider).collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_cloud_region_has_the_intensity_of_its_zone_and_its_own_pue() {
        let region = CloudRegion::parse("aws:eu-west-1").unwrap();
        let intensity = region.intensity().unwrap();
        assert_eq!((intensity.zone.as_str(), intensity.year), ("aws:eu-west-1", 2025));
        assert!(intensity.name.starts_with("Dublin, grid IE"), "{}", intensity.name);
        assert!(region.pue().value.0 > 1.0 && region.pue().source.contains("20"));
        assert!(CloudRegion::parse("Google/europe-west9").is_some());
        assert!(CloudRegion::parse("aws:nowhere-1").is_none());
    }

    #[test]
    fn every_region_has_an_intensity_and_a_pue() {
        for provider in providers() {
            for region in CloudRegion::all(&provider) {
                let intensity = region.intensity().unwrap();
                assert!(intensity.g_per_kwh.0 > 0.0, "{}", region.name());
                let pue = region.pue();
                assert!((1.0..=2.0).contains(&pue.value.0), "{}", region.name());
                assert_eq!(pue.assumed, region.row().pue.is_none(), "{}", region.name());
                assert_eq!(pue.spread.is_known(), pue.assumed, "{}", region.name());
                assert!(pue.spread.low_ratio * pue.value.0 >= 1.0, "{}", region.name());
            }
        }
    }

    #[test]
    fn a_point_is_near_its_city() {
        let (region, km) = CloudRegion::nearest(Coordinates::parse("48.85, 2.35").unwrap()).unwrap();
        assert_eq!(region.row().iso2, "FR");
        assert!(km < 20.0, "{km}");
        for text in ["91,0", "0,181", "1;2", "nan,0", "", ","] {
            assert_eq!(Coordinates::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_distance_is_one(a in -90.0_f64..90.0, b in -180.0_f64..180.0, c in -90.0_f64..90.0, d in -180.0_f64..180.0) {
            let (one, other) = (Coordinates { lat: a, lon: b }, Coordinates { lat: c, lon: d });
            let km = one.distance_km(other);
            prop_assert!((0.0..=20_016.0).contains(&km), "half of the Earth at most");
            prop_assert!((km - other.distance_km(one)).abs() < 1e-6);
            prop_assert!(one.distance_km(one) < 1e-6);
        }
    }
}
