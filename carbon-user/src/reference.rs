//! The reference tables of `data/`, compiled in.
//!
//! Each look-up parses its table anew and scans it: they are some kilobytes, read once at start, so nothing of
//! them stays in memory. A row that does not parse is skipped here; a unit test reads every row, so that such a
//! row cannot be released. Sources, licences and caveats are in `data/PROVENANCE.md`.

pub mod factors;
pub mod places;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use std::ops::RangeInclusive;

const CPU_IDS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../data/cpu-ids.csv"));
const CPU_ARCH_POWER: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../data/cpu-arch-power.csv"));
const CONSTANTS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../data/constants.csv"));
const GRID_COUNTRIES: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../data/grid-countries.csv"));

/// A range of processor models and the microarchitecture that they have (`cpu-ids.csv`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct CpuIdRow {
    /// `vendor_id` of x86, such as `GenuineIntel`; `ARM:` and the implementer in hexadecimal for ARM.
    pub vendor: String,
    /// CPUID family in the kernel's numbering; none for ARM.
    pub family: Option<u32>,
    /// First CPUID model, or the ARM part number.
    #[serde(deserialize_with = "hexadecimal")]
    pub model_from: u32,
    /// Last CPUID model, inclusive.
    #[serde(deserialize_with = "hexadecimal")]
    pub model_to: u32,
    /// Steppings; none for all.
    #[serde(deserialize_with = "stepping_range")]
    pub stepping: Option<RangeInclusive<u32>>,
    /// The kernel's name of the model, where it has one.
    pub kernel_name: Option<String>,
    /// Key into [`arch_power`]; none where no power figures are known.
    pub microarchitecture: Option<String>,
}

/// Watts per hardware thread of a microarchitecture (`cpu-arch-power.csv`): medians over servers, the whole
/// server at the wall, its memory included.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ArchPowerRow {
    /// Name.
    pub microarchitecture: String,
    /// All threads idle.
    pub idle_w_per_thread: f64,
    /// All threads at full load.
    pub max_w_per_thread: f64,
}

/// A default with its range (`constants.csv`).
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ConstantRow {
    /// Key.
    pub id: String,
    /// Value, in `unit`.
    pub value: f64,
    /// Lowest, where known.
    pub low: Option<f64>,
    /// Highest, where known.
    pub high: Option<f64>,
    /// Unit.
    pub unit: String,
    /// Source.
    pub reference: String,
}

/// Yearly mean intensity of a country or a region (`grid-countries.csv`): lifecycle, production based.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct GridRow {
    /// ISO 3166-1 alpha-2; none for regions.
    pub iso2: Option<String>,
    /// ISO 3166-1 alpha-3, or the name of a region in capitals, such as `WORLD`.
    pub iso3: String,
    /// English name.
    pub name: String,
    /// Grams of CO2 equivalent per kilowatt-hour.
    pub intensity_g_per_kwh: f64,
    /// Year of the figure.
    pub year: u16,
    /// Key of the source.
    pub source: String,
}

/// A processor as the kernel identifies it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuIdentity {
    /// As in [`CpuIdRow::vendor`].
    pub vendor: String,
    /// As in [`CpuIdRow::family`].
    pub family: Option<u32>,
    /// CPUID model or ARM part number.
    pub model: u32,
    /// CPUID stepping, if known.
    pub stepping: Option<u32>,
}

impl CpuIdRow {
    fn covers(&self, cpu: &CpuIdentity) -> bool {
        self.vendor.eq_ignore_ascii_case(&cpu.vendor)
            && self.family == cpu.family
            && (self.model_from..=self.model_to).contains(&cpu.model)
            && self.stepping.as_ref().is_none_or(|range| cpu.stepping.is_some_and(|it| range.contains(&it)))
    }
}

/// The row for `cpu`, if it is known.
pub fn cpu_id(cpu: &CpuIdentity) -> Option<CpuIdRow> {
    rows::<CpuIdRow>(CPU_IDS).find(|row| row.covers(cpu))
}

/// The power of a microarchitecture by its name.
pub fn arch_power(microarchitecture: &str) -> Option<ArchPowerRow> {
    rows::<ArchPowerRow>(CPU_ARCH_POWER).find(|row| row.microarchitecture == microarchitecture)
}

/// A constant by its key.
pub fn constant(id: &str) -> Option<ConstantRow> {
    rows::<ConstantRow>(CONSTANTS).find(|row| row.id == id)
}

/// All countries and regions, regions first.
pub fn grid() -> impl Iterator<Item = GridRow> {
    rows(GRID_COUNTRIES)
}

fn rows<T: DeserializeOwned>(table: &'static str) -> impl Iterator<Item = T> {
    csv::Reader::from_reader(table.as_bytes()).into_deserialize().filter_map(Result::ok)
}

fn hexadecimal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_hexadecimal(&text).ok_or_else(|| D::Error::custom("not a hexadecimal number"))
}

/// A number such as `0x9E`.
pub fn parse_hexadecimal(text: &str) -> Option<u32> {
    u32::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()
}

/// `5-7`, or nothing for all.
fn stepping_range<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<RangeInclusive<u32>>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let parse = |number: &str| number.parse::<u32>().map_err(D::Error::custom);
    let (first, last) = text.split_once('-').ok_or_else(|| D::Error::custom("not a range such as 5-7"))?;
    Ok(Some(parse(first)?..=parse(last)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// Every row, or what is wrong with the first bad one.
    pub(super) fn all<T: DeserializeOwned>(table: &'static str, count: usize) -> Vec<T> {
        let read: Result<Vec<T>, _> = csv::Reader::from_reader(table.as_bytes()).into_deserialize().collect();
        let read = read.unwrap();
        assert_eq!(read.len(), count, "rows as in PROVENANCE.md");
        read
    }

    /// Cells of one row by their column.
    type Cells = std::collections::HashMap<String, String>;

    #[test]
    fn every_row_of_arch_power_is_sound() {
        let mut names = HashSet::new();
        for row in all::<ArchPowerRow>(CPU_ARCH_POWER, 31) {
            assert!(row.idle_w_per_thread > 0.05 && row.max_w_per_thread < 20.0, "{row:?}");
            assert!(row.idle_w_per_thread < row.max_w_per_thread, "{row:?}");
            assert!(names.insert(row.microarchitecture.clone()), "{row:?} twice");
        }
        for cells in all::<Cells>(CPU_ARCH_POWER, 31) {
            let value = |column: &str| cells[column].parse::<f64>().unwrap();
            for kind in ["idle", "max"] {
                let median = value(&format!("{kind}_w_per_thread"));
                assert!(value(&format!("{kind}_w_per_thread_p10")) <= median, "{cells:?}");
                assert!(value(&format!("{kind}_w_per_thread_p90")) >= median, "{cells:?}");
            }
            assert!(value("first_year") <= value("last_year") && value("servers") >= 1.0, "{cells:?}");
            assert!(value("idle_to_max_ratio") < 1.0 && value("memory_gb_per_thread") > 0.0, "{cells:?}");
        }
    }

    #[test]
    fn every_row_of_cpu_ids_is_sound() {
        let ids = all::<CpuIdRow>(CPU_IDS, 81);
        for (index, row) in ids.iter().enumerate() {
            assert!(row.model_from <= row.model_to, "{row:?}");
            assert_eq!(row.family.is_none(), row.vendor.starts_with("ARM:0x"), "{row:?}");
            if let Some(name) = &row.microarchitecture {
                assert!(arch_power(name).is_some(), "{row:?}: no power of {name}");
            }
            let first = CpuIdentity {
                vendor: row.vendor.clone(),
                family: row.family,
                model: row.model_from,
                stepping: row.stepping.as_ref().map(|range| *range.start()),
            };
            assert_eq!(ids.iter().position(|other| other.covers(&first)), Some(index), "hidden: {row:?}");
        }
    }

    #[test]
    fn every_constant_is_sound() {
        let mut ids = HashSet::new();
        for row in all::<ConstantRow>(CONSTANTS, 15) {
            assert!(row.value > 0.0 && row.value.is_finite(), "{row:?}");
            assert!(row.low.is_none_or(|low| low <= row.value), "{row:?}");
            assert!(row.high.is_none_or(|high| high >= row.value), "{row:?}");
            assert!(!row.unit.is_empty() && !row.reference.is_empty(), "{row:?}");
            assert!(ids.insert(row.id.clone()), "{row:?} twice");
        }
    }

    #[test]
    fn every_zone_is_sound() {
        let mut codes = HashSet::new();
        for row in all::<GridRow>(GRID_COUNTRIES, 226) {
            assert!((5.0..=1500.0).contains(&row.intensity_g_per_kwh), "{row:?}");
            assert!((2009..=2026).contains(&row.year), "{row:?}");
            let capitals = |text: &str| text.bytes().all(|byte| byte.is_ascii_uppercase());
            if let Some(iso2) = &row.iso2 {
                assert!(iso2.len() == 2 && capitals(iso2), "{row:?}");
                assert!(row.iso3.len() == 3 && capitals(&row.iso3), "{row:?}");
                assert!(codes.insert(iso2.clone()), "{row:?} twice");
            }
            assert!(codes.insert(row.iso3.clone()), "{row:?} twice");
            assert!(!row.name.is_empty() && row.name.trim() == row.name, "{row:?}");
        }
        assert!(codes.contains("WORLD") && codes.contains("NA"), "Namibia is not a missing value");
    }

    #[test]
    fn a_broken_row_does_not_pass() {
        let table = "iso2,iso3,name,intensity_g_per_kwh,year,source\nFR,FRA,France,,2025,x\n";
        let read: Result<Vec<GridRow>, _> =
            csv::Reader::from_reader(table.as_bytes()).into_deserialize().collect();
        assert!(read.is_err());
    }

    #[test]
    fn steppings_tell_the_generations_of_one_model_apart() {
        let of = |stepping| {
            let cpu = CpuIdentity { vendor: "GenuineIntel".into(), family: Some(6), model: 0x55, stepping };
            cpu_id(&cpu).and_then(|row| row.microarchitecture)
        };
        assert_eq!(of(Some(4)).as_deref(), Some("Intel Skylake-SP"));
        assert_eq!(of(Some(7)).as_deref(), Some("Intel Cascade Lake"));
        assert_eq!(of(Some(11)).as_deref(), Some("Intel Cooper Lake"));
        assert_eq!(of(Some(8)), None);
        assert_eq!(of(None), None);
    }
}
