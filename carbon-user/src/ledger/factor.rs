//! The factor by which energy became grams, with all that must be known to do it again years later.

use crate::carbon::{self, Intensity, Kind, Spread};
use crate::reference::factors;
use crate::units::{Grams, GramsPerKwh, Microjoules, Pue};
use sha2::{Digest, Sha256};

/// An intensity and a PUE. Never changed once it is in a ledger: a better figure is another factor.
#[derive(Clone, Debug, PartialEq)]
pub struct Factor {
    /// Of the electricity.
    pub intensity: Intensity,
    /// Of the site.
    pub pue: Pue,
    /// Which edition of the bundled tables it was looked up in: the start of the hash of their sums.
    pub tables_hash: String,
}

impl Factor {
    /// With the tables of this program.
    pub fn new(intensity: Intensity, pue: Pue) -> Self {
        Self { intensity, pue, tables_hash: tables_hash() }
    }

    /// SHA-256 over everything that it says, as 64 hexadecimal digits.
    pub fn hash(&self) -> String {
        let Intensity { g_per_kwh, zone, name, year, kind, spread, source, assumed } = &self.intensity;
        let Spread { low_ratio, high_ratio } = spread;
        // Floats by their bits, texts with their lengths: no two factors have one text.
        let parts = [
            format!("{:016x}", g_per_kwh.0.to_bits()),
            format!("{:016x}", low_ratio.to_bits()),
            format!("{:016x}", high_ratio.to_bits()),
            format!("{:016x}", self.pue.0.to_bits()),
            zone.clone(),
            name.clone(),
            year.to_string(),
            kind.boundary_text().to_owned(),
            kind.basis_text(),
            source.clone(),
            assumed.to_string(),
            self.tables_hash.clone(),
        ];
        let mut sum = Sha256::new();
        sum.update("carbon.factor/1");
        for part in parts {
            sum.update(part.len().to_le_bytes());
            sum.update(part);
        }
        hexadecimal(&sum.finalize())
    }

    /// Emissions of an energy.
    pub fn grams(&self, energy: Microjoules) -> Grams {
        carbon::grams(energy, self.pue, self.intensity.g_per_kwh)
    }

    /// From what a ledger holds; an unknown kind is a newer program's.
    pub(crate) fn from_row(row: &super::sql::Row, first: usize) -> Self {
        let at = |column: usize| first + column;
        let kind = Kind::parse(&row.text(at(7)), &row.text(at(8))).unwrap_or(Kind::YEARLY);
        Self {
            intensity: Intensity {
                g_per_kwh: GramsPerKwh(row.real(at(0))),
                spread: Spread { low_ratio: row.real(at(1)), high_ratio: row.real(at(2)) },
                zone: row.text(at(4)),
                name: row.text(at(5)),
                year: u16::try_from(row.int(at(6))).unwrap_or(0),
                kind,
                source: row.text(at(9)),
                assumed: row.int(at(10)) != 0,
            },
            pue: Pue(row.real(at(3))),
            tables_hash: row.text(at(11)),
        }
    }
}

/// Columns of a factor in the order of [`Factor::from_row`].
pub(crate) const COLUMNS: &str = "g_per_kwh, low_ratio, high_ratio, pue_ratio, zone, zone_name, year, boundary, \
                                  basis, source, assumed, tables_hash";

/// The first 16 digits of the SHA-256 of the sums of all bundled tables.
pub fn tables_hash() -> String {
    let mut hash = hexadecimal(&Sha256::digest(factors::sums()));
    hash.truncate(16);
    hash
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// One hash for a set of factors, whatever their order.
pub fn set_hash<'a>(factors: impl IntoIterator<Item = &'a Factor>) -> String {
    let mut hashes: Vec<String> = factors.into_iter().map(Factor::hash).collect();
    hashes.sort();
    hashes.dedup();
    hexadecimal(&Sha256::digest(hashes.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_tells_factors_apart() {
        let factor = Factor::new(Intensity::of("FR").unwrap(), Pue(1.2));
        let other = Factor { pue: Pue(1.3), ..factor.clone() };
        assert_eq!((factor.hash().len(), factor.hash()), (64, factor.clone().hash()));
        assert_ne!(factor.hash(), other.hash());
        let assumed = Factor::new(Intensity { assumed: true, ..factor.intensity.clone() }, Pue(1.2));
        assert_ne!(factor.hash(), assumed.hash());
        assert_eq!(set_hash([&factor, &other]), set_hash([&other, &factor, &factor]));
        assert_ne!(set_hash([&factor, &other]), set_hash([&factor]));
    }
}
