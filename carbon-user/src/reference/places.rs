//! Tables of places: grid zones, states and provinces, regions of cloud providers.

use super::rows;
use serde::Deserialize;

const ZONES: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../data/grid-zones-electricitymaps.csv"));
const SUBNATIONAL: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../data/grid-subnational.csv"));
const MIXES: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../data/grid-mix-countries.csv"));
const REGIONS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../data/cloud-regions.csv"));
const INSTANCES: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../data/cloud-instances.csv"));

/// Yearly mean of a grid zone (`grid-zones-electricitymaps.csv`): lifecycle, by what is consumed there.
/// The table is under the ODbL: what is printed of it carries its notice.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ZoneRow {
    /// Key, such as `IT-NO`.
    pub zone: String,
    /// English name.
    pub name: String,
    /// ISO 3166-1 alpha-2 of its country.
    pub iso2: String,
    /// Mean of 2021 in grams of CO2 equivalent per kilowatt-hour.
    pub g_2021: Option<f64>,
    /// Mean of 2022.
    pub g_2022: Option<f64>,
    /// Mean of 2023.
    pub g_2023: Option<f64>,
    /// Mean of 2024.
    pub g_2024: Option<f64>,
    /// Mean of 2025.
    pub g_2025: Option<f64>,
}

impl ZoneRow {
    /// The newest mean and its year.
    pub fn newest(&self) -> Option<(f64, u16)> {
        let years = [
            (self.g_2025, 2025),
            (self.g_2024, 2024),
            (self.g_2023, 2023),
            (self.g_2022, 2022),
            (self.g_2021, 2021),
        ];
        years.into_iter().find_map(|(value, year)| value.map(|value| (value, year)))
    }
}

/// Yearly mean of a state or province (`grid-subnational.csv`), by production.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SubnationalRow {
    /// ISO 3166-2 code, such as `US-CA`.
    pub iso3166_2: String,
    /// English name.
    pub name: String,
    /// In grams of `gas` per kilowatt-hour.
    pub intensity_g_per_kwh: f64,
    /// Year of the figure.
    pub year: u16,
    /// `direct` or `lifecycle`: never to be compared with each other.
    pub boundary: String,
    /// `CO2e`, or `CO2` alone.
    pub gas: String,
    /// Key of the source.
    pub source: String,
}

/// Generation of a country by source in a year, in terawatt-hours (`grid-mix-countries.csv`).
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct MixRow {
    /// ISO 3166-1 alpha-3.
    pub iso3: String,
    /// Year of the figures.
    pub year: u16,
    /// Of coal.
    pub coal_twh: Option<f64>,
    /// Of oil.
    pub oil_twh: Option<f64>,
    /// Of gas.
    pub gas_twh: Option<f64>,
    /// Of nuclear power.
    pub nuclear_twh: Option<f64>,
    /// Of hydropower.
    pub hydro_twh: Option<f64>,
    /// Of wind.
    pub wind_twh: Option<f64>,
    /// Of the sun.
    pub solar_twh: Option<f64>,
    /// Of biomass.
    pub bioenergy_twh: Option<f64>,
    /// Of geothermal, tidal and others.
    pub other_renewable_twh: Option<f64>,
}

/// A region of a cloud provider (`cloud-regions.csv`). Blank is not published.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct CloudRegionRow {
    /// `aws`, `azure`, `gcp`, `hetzner`, `oci`, `ovh` or `scaleway`.
    pub provider: String,
    /// The provider's own name of it.
    pub region: String,
    /// City.
    pub city: String,
    /// ISO 3166-1 alpha-2.
    pub iso2: String,
    /// ISO 3166-2, where known.
    pub iso3166_2: Option<String>,
    /// Latitude of the city in degrees.
    pub lat: f64,
    /// Longitude of the city in degrees.
    pub lon: f64,
    /// Key into [`zones`].
    pub em_zone: Option<String>,
    /// WattTime's region.
    pub wt_region: Option<String>,
    /// Energy of the site over that of its machines.
    pub pue: Option<f64>,
    /// Year of it.
    pub pue_year: Option<u16>,
    /// Litres of water per kilowatt-hour of the machines.
    pub wue_l_per_kwh: Option<f64>,
    /// Year of it.
    pub wue_year: Option<u16>,
    /// The provider's market-based figure: what its certificates claim.
    pub provider_market_g_per_kwh: Option<f64>,
    /// Year of it.
    pub provider_market_year: Option<u16>,
    /// Marginal intensity by WattTime.
    pub wt_marginal_g_per_kwh: Option<f64>,
    /// Year of it.
    pub wt_marginal_year: Option<u16>,
}

/// A virtual machine type and its host (`cloud-instances.csv`).
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct InstanceRow {
    /// `aws`, `azure` or `gcp`.
    pub provider: String,
    /// The provider's name of it.
    pub instance_type: String,
    /// Hardware threads of the machine.
    pub vcpu: f64,
    /// Memory of the machine in GiB.
    pub memory_gib: Option<f64>,
    /// Hardware threads of its host.
    pub platform_vcpu: Option<f64>,
    /// Memory of its host in GB.
    pub platform_memory_gb: Option<f64>,
}

/// All grid zones.
pub fn zones() -> impl Iterator<Item = ZoneRow> {
    rows(ZONES)
}

/// All states and provinces.
pub fn subnational() -> impl Iterator<Item = SubnationalRow> {
    rows(SUBNATIONAL)
}

/// All countries' mixes.
pub fn mixes() -> impl Iterator<Item = MixRow> {
    rows(MIXES)
}

/// All regions of all providers.
pub fn cloud_regions() -> impl Iterator<Item = CloudRegionRow> {
    rows(REGIONS)
}

/// The virtual machine type `name` of `provider`.
pub fn instance(provider: &str, name: &str) -> Option<InstanceRow> {
    rows::<InstanceRow>(INSTANCES).find(|row| row.provider == provider && row.instance_type == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::tests::all;

    #[test]
    fn every_row_is_read() {
        assert!(all::<ZoneRow>(ZONES, 352).iter().all(|row| row.newest().is_some()));
        assert!(all::<SubnationalRow>(SUBNATIONAL, 95).iter().all(|row| !row.name.is_empty()));
        assert!(all::<MixRow>(MIXES, 213).iter().all(|row| row.iso3.len() == 3));
        assert!(all::<CloudRegionRow>(REGIONS, 215).iter().all(|row| row.iso2.len() == 2));
        assert!(all::<InstanceRow>(INSTANCES, 2156).iter().all(|row| row.vcpu >= 0.0));
    }

    #[test]
    fn rows_that_were_wrong_elsewhere_are_right_here() {
        let of = |provider, region| {
            cloud_regions().find(|row| row.provider == provider && row.region == region).unwrap()
        };
        assert_eq!(
            (of("azure", "northeurope").iso2, of("azure", "northeurope").city),
            ("IE".into(), "Dublin".into())
        );
        assert_eq!(of("gcp", "me-central1").em_zone.as_deref(), Some("QA"));
        assert_eq!(zones().find(|row| row.zone == "NA").unwrap().name, "Namibia");
    }
}
