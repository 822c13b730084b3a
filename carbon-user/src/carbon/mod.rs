//! From energy to carbon. Pure: numbers in, numbers out.

pub mod day;
pub mod embodied;
pub mod intensity;
pub mod kind;
pub mod mix;
pub mod place;
pub mod sci;
pub mod series;

pub use intensity::{Intensity, Spread, UnknownZone};
pub use kind::Kind;

use crate::units::{Grams, GramsPerKwh, Microjoules, Pue};

/// For a machine in a room of its own without cooling, where the meter is at the machine: nothing is added
/// (`constants.csv`, `pue_own_room`). A data centre's must be given: the mean of all is 1.56, a cloud's 1.1 to 1.2.
pub const DEFAULT_PUE: Pue = Pue(1.0);

/// Above this it is a typing error: the worst data centres that were ever published are at 3.
pub const PUE_MAX: f64 = 10.0;

/// A PUE that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("impossible PUE {0}: give energy of the site over energy of its machines, 1 to 10, such as 1.2")]
pub struct ImpossiblePue(pub f64);

/// `ratio` as a PUE: energy of the site over energy of its machines (ISO/IEC 30134-2), 1 to 10.
pub fn pue(ratio: f64) -> Result<Pue, ImpossiblePue> {
    if (1.0..=PUE_MAX).contains(&ratio) { Ok(Pue(ratio)) } else { Err(ImpossiblePue(ratio)) }
}

/// Operational emissions: `kWh x PUE x g/kWh` (Software Carbon Intensity, ISO/IEC 21031:2024: O = E x I, where E
/// covers the site's overhead).
pub fn grams(energy: Microjoules, pue: Pue, intensity: GramsPerKwh) -> Grams {
    Grams(energy.kilowatt_hours() * pue.0 * intensity.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;
    use proptest::prelude::*;

    const KILOWATT_HOUR: Microjoules = Microjoules(3_600_000_000_000);

    #[test]
    fn a_kilowatt_hour_emits_its_intensity_times_pue() {
        assert_eq!(grams(KILOWATT_HOUR, DEFAULT_PUE, GramsPerKwh(458.0)), Grams(458.0));
        let twice = grams(KILOWATT_HOUR, Pue(1.5), GramsPerKwh(40.0));
        assert!((twice.0 - 60.0).abs() < 1e-9);
        assert_eq!(grams(Microjoules::ZERO, Pue(1.5), GramsPerKwh(40.0)), Grams(0.0));
    }

    #[test]
    fn a_pue_below_one_or_absurd_is_refused() {
        for ratio in [0.0, 0.99, -1.0, 10.01, f64::NAN, f64::INFINITY] {
            assert!(pue(ratio).is_err(), "{ratio}");
        }
        assert_eq!((pue(1.0), pue(10.0)), (Ok(Pue(1.0)), Ok(Pue(10.0))));
        let message = pue(0.5).unwrap_err().to_string();
        assert!(message.starts_with("impossible PUE 0.5: give "), "{message}");
    }

    #[test]
    fn the_default_pue_is_that_of_the_table() {
        let row = reference::constant("pue_own_room").unwrap();
        assert_eq!(DEFAULT_PUE, Pue(row.value));
    }

    proptest! {
        #[test]
        fn parts_emit_what_the_whole_does(a in 0u64..1 << 50, b in 0u64..1 << 50, g in 0.0f64..1500.0) {
            let of = |uj| grams(Microjoules(uj), Pue(1.2), GramsPerKwh(g)).0;
            prop_assert!((of(a) + of(b) - of(a + b)).abs() <= 1e-9 * of(a + b));
        }
    }
}
