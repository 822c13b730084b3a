//! Tables of factors: intensity by source of electricity, the making of hardware, everyday equivalents.

use super::rows;
use serde::Deserialize;

const SOURCES: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../data/energy-sources.csv"));
const EMBODIED: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../data/embodied.csv"));
const EQUIVALENTS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../data/equivalents.csv"));
const SUMS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../data/SHA256SUMS"));

/// Intensity of electricity from one source (`energy-sources.csv`).
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SourceRow {
    /// Such as `coal`.
    pub source: String,
    /// Whose set of factors.
    pub set: String,
    /// Lowest, in grams of CO2 equivalent per kilowatt-hour.
    pub low_g_per_kwh: Option<f64>,
    /// Median; none where the set has none for this source.
    pub g_per_kwh: Option<f64>,
    /// Highest.
    pub high_g_per_kwh: Option<f64>,
    /// `lifecycle`, `direct`, or `mixed`, which is neither.
    pub boundary: String,
    /// Where from.
    pub reference: String,
}

/// What making hardware emits (`embodied.csv`).
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct EmbodiedRow {
    /// Such as `server`.
    pub component: String,
    /// What of it.
    pub quantity: String,
    /// Unit.
    pub unit: String,
    /// Lowest.
    pub low: Option<f64>,
    /// Middle.
    pub value: Option<f64>,
    /// Highest.
    pub high: Option<f64>,
    /// Where from.
    pub reference: String,
}

/// Something that people know (`equivalents.csv`).
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct EquivalentRow {
    /// Key.
    pub id: String,
    /// In words, singular.
    pub label: String,
    /// `emissions` or `energy`.
    pub basis: String,
    /// How much one is worth.
    pub per_unit: f64,
    /// In which unit: `gCO2e`, `gCO2` or `kWh`.
    pub unit: String,
    /// What one is.
    pub quantity: String,
    /// Year of the figure, where known.
    pub year: Option<u16>,
    /// Where it holds.
    pub region: Option<String>,
    /// Which set it belongs to, such as `epa-current`.
    pub set: String,
    /// Where from.
    pub reference: String,
    /// What must be known of it.
    pub caveat: Option<String>,
}

/// All factors by source.
pub fn sources() -> impl Iterator<Item = SourceRow> {
    rows(SOURCES)
}

/// What making `quantity` of `component` emits.
pub fn embodied(component: &str, quantity: &str) -> Option<EmbodiedRow> {
    rows::<EmbodiedRow>(EMBODIED).find(|row| row.component == component && row.quantity == quantity)
}

/// All equivalents.
pub fn equivalents() -> impl Iterator<Item = EquivalentRow> {
    rows(EQUIVALENTS)
}

/// The sums of all bundled tables, as `sha256sum` writes them.
pub fn sums() -> &'static str {
    SUMS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::tests::all;
    use sha2::{Digest, Sha256};

    #[test]
    fn every_row_is_read() {
        assert_eq!(all::<SourceRow>(SOURCES, 45).iter().filter(|row| row.g_per_kwh.is_none()).count(), 1);
        assert!(all::<EmbodiedRow>(EMBODIED, 21).iter().all(|row| !row.reference.is_empty()));
        assert!(all::<EquivalentRow>(EQUIVALENTS, 22).iter().all(|row| row.per_unit > 0.0));
    }

    #[test]
    fn the_sums_are_those_of_the_tables() {
        for (name, table) in
            [("energy-sources.csv", SOURCES), ("embodied.csv", EMBODIED), ("equivalents.csv", EQUIVALENTS)]
        {
            let line = sums().lines().find(|line| line.ends_with(&format!("  {name}"))).unwrap();
            let bytes = Sha256::digest(table);
            for (index, byte) in bytes.iter().enumerate() {
                let kept = u8::from_str_radix(&line[2 * index..2 * index + 2], 16);
                assert_eq!(kept, Ok(*byte), "{name}: run cargo xtask data");
            }
        }
    }
}
