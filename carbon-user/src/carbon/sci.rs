//! The Software Carbon Intensity score (ISO/IEC 21031:2024): `SCI = ((E x I) + M) per R`.

use super::kind::{Kind, Method};
use crate::units::Grams;

/// Why there is no score.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum NoScore {
    /// No units were served.
    #[error("impossible number of functional units {0}: give how many were served, more than 0")]
    Units(f64),
    /// The standard wants what the grid delivers: certificates and offsets do not count.
    #[error(
        "a score is location-based (ISO/IEC 21031:2024): give an intensity of the grid, not of a contract"
    )]
    MarketBased,
}

/// Grams of CO2 equivalent per functional unit, of `operational` and `embodied` emissions together.
pub fn score(operational: Grams, kind: Kind, embodied: Grams, units: f64) -> Result<Grams, NoScore> {
    if kind.method == Method::Market {
        return Err(NoScore::MarketBased);
    }
    if units > 0.0 && units.is_finite() {
        Ok(Grams((operational.0 + embodied.0) / units))
    } else {
        Err(NoScore::Units(units))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_is_per_unit() {
        assert_eq!(score(Grams(90.0), Kind::YEARLY, Grams(10.0), 50.0), Ok(Grams(2.0)));
        for units in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(score(Grams(1.0), Kind::YEARLY, Grams(0.0), units), Err(NoScore::Units(_))));
        }
        let market = Kind { method: Method::Market, ..Kind::YEARLY };
        assert_eq!(score(Grams(1.0), market, Grams(0.0), 1.0), Err(NoScore::MarketBased));
    }
}
