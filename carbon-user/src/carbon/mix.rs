//! From the mix of sources that generate electricity to its intensity: the mean of the sources' factors, weighted by
//! energy.

use super::kind::Boundary;
use crate::reference::factors;
use crate::reference::places::{self, MixRow};
use crate::units::GramsPerKwh;

/// A set of factors per source. A set that mixes boundaries is not offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FactorSet {
    /// IPCC AR5 WG3 Annex III Table A.III.2: low, median and high. It has no oil; that row is Electricity Maps' 650.
    Ipcc2014,
    /// Electricity Maps' defaults, lifecycle.
    EmapsLifecycle,
    /// Electricity Maps' defaults, direct.
    EmapsDirect,
}

impl FactorSet {
    /// What it counts.
    pub fn boundary(self) -> Boundary {
        match self {
            Self::Ipcc2014 | Self::EmapsLifecycle => Boundary::Lifecycle,
            Self::EmapsDirect => Boundary::Direct,
        }
    }

    fn keys(self) -> (&'static str, &'static str) {
        match self {
            Self::Ipcc2014 => ("ipcc2014", "lifecycle"),
            Self::EmapsLifecycle => ("emaps-default", "lifecycle"),
            Self::EmapsDirect => ("emaps-default", "direct"),
        }
    }

    /// Low, middle and high of a source, in grams per kilowatt-hour; all the same where the set has no bounds.
    pub fn factor(self, source: &str) -> Option<(f64, f64, f64)> {
        let (set, boundary) = self.keys();
        let of = |set: &str| {
            factors::sources()
                .find(|row| row.source == source && row.set == set && row.boundary == boundary)
                .and_then(|row| {
                    let middle = row.g_per_kwh?;
                    Some((row.low_g_per_kwh.unwrap_or(middle), middle, row.high_g_per_kwh.unwrap_or(middle)))
                })
        };
        of(set).or_else(|| of("emaps-default"))
    }
}

/// Why a mix has no intensity.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MixError {
    /// A source that no set knows.
    #[error(
        "unknown source of electricity {0:?}: give coal, gas, oil, nuclear, hydro, wind, solar, biomass or geothermal"
    )]
    Source(String),
    /// An amount that cannot be.
    #[error("{source_name}: {amount} is no amount of energy: give a number from 0 up")]
    Amount {
        /// Of which source.
        source_name: String,
        /// What was given.
        amount: f64,
    },
    /// Nothing generates.
    #[error("the mix has no energy in it")]
    Empty,
}

/// The intensity of a mix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MixIntensity {
    /// With the lowest factor of every source.
    pub low: GramsPerKwh,
    /// With the middle ones.
    pub middle: GramsPerKwh,
    /// With the highest.
    pub high: GramsPerKwh,
}

/// The intensity of `mix`: sources and their energies, in any one unit.
pub fn intensity(mix: &[(&str, f64)], set: FactorSet) -> Result<MixIntensity, MixError> {
    let (mut energy, mut low, mut middle, mut high) = (0.0, 0.0, 0.0, 0.0);
    for (source, amount) in mix {
        if !amount.is_finite() || *amount < 0.0 {
            return Err(MixError::Amount { source_name: (*source).to_owned(), amount: *amount });
        }
        let factor = set.factor(source).ok_or_else(|| MixError::Source((*source).to_owned()))?;
        energy += amount;
        low += amount * factor.0;
        middle += amount * factor.1;
        high += amount * factor.2;
    }
    if energy <= 0.0 {
        return Err(MixError::Empty);
    }
    let of = |grams: f64| GramsPerKwh(grams / energy);
    Ok(MixIntensity { low: of(low), middle: of(middle), high: of(high) })
}

/// A country's generation by source. Geothermal, tidal and other renewables are one column there, and count as
/// geothermal, the largest of them.
pub fn of_country(iso3: &str) -> Option<(u16, Vec<(&'static str, f64)>)> {
    let row: MixRow = places::mixes().find(|row| row.iso3.eq_ignore_ascii_case(iso3))?;
    let sources = [
        ("coal", row.coal_twh),
        ("oil", row.oil_twh),
        ("gas", row.gas_twh),
        ("nuclear", row.nuclear_twh),
        ("hydro", row.hydro_twh),
        ("wind", row.wind_twh),
        ("solar", row.solar_twh),
        ("biomass", row.bioenergy_twh),
        ("geothermal", row.other_renewable_twh),
    ];
    Some((row.year, sources.into_iter().filter_map(|(name, twh)| Some((name, twh?))).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn near(one: GramsPerKwh, other: f64) -> bool {
        (one.0 - other).abs() < 1e-9
    }

    #[test]
    fn a_mix_has_the_mean_of_its_factors() {
        let half = intensity(&[("coal", 1.0), ("wind", 1.0)], FactorSet::Ipcc2014).unwrap();
        assert!(near(half.middle, f64::midpoint(820.0, 11.0)), "{half:?}");
        assert!(near(half.low, f64::midpoint(740.0, 7.0)) && near(half.high, f64::midpoint(910.0, 56.0)));
        let oil = intensity(&[("oil", 2.0)], FactorSet::Ipcc2014).unwrap();
        assert!(near(oil.middle, 650.0), "the IPCC's table has no oil");
        let direct = intensity(&[("nuclear", 1.0), ("coal", 1.0)], FactorSet::EmapsDirect).unwrap();
        assert!(near(direct.middle, 380.0));
    }

    #[test]
    fn what_is_no_mix_is_refused() {
        let of = |mix: &[(&str, f64)]| intensity(mix, FactorSet::Ipcc2014).unwrap_err();
        assert_eq!(of(&[]), MixError::Empty);
        assert_eq!(of(&[("coal", 0.0)]), MixError::Empty);
        assert!(of(&[("coal", -1.0)]).to_string().contains("from 0 up"));
        assert!(of(&[("coal", f64::NAN)]).to_string().contains("no amount"));
        assert!(of(&[("whales", 1.0)]).to_string().contains("unknown source"));
    }

    #[test]
    fn a_country_has_a_mix() {
        let (year, mix) = of_country("FRA").unwrap();
        assert!(year >= 2022);
        let france = intensity(&mix, FactorSet::Ipcc2014).unwrap();
        assert!((20.0..120.0).contains(&france.middle.0), "{france:?}");
        assert_eq!(of_country("nowhere"), None);
    }

    proptest! {
        #[test]
        fn an_intensity_lies_among_its_factors(coal in 0.0_f64..1e6, hydro in 0.0_f64..1e6, gas in 0.001_f64..1e6) {
            let mix = intensity(&[("coal", coal), ("hydro", hydro), ("gas", gas)], FactorSet::Ipcc2014).unwrap();
            prop_assert!(mix.low <= mix.middle && mix.middle <= mix.high);
            prop_assert!((24.0 - 1e-9..=820.0 + 1e-9).contains(&mix.middle.0));
        }
    }
}
