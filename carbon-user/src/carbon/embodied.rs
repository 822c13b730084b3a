//! What making the hardware emitted, by share of its life and of its resources.
//!
//! Software Carbon Intensity (ISO/IEC 21031:2024): `M = TE x (TiR / EL) x (RR / ToR)`, where TE are the emissions of
//! making the machine, TiR the time reserved, EL the expected life, RR the resources reserved and ToR all of them.

use crate::reference::factors;
use crate::units::Grams;
use std::time::Duration;

/// A Julian year, as life is given in years.
const YEAR: Duration = Duration::from_hours(8766);

/// Emissions of making a machine, and how long it lives. Its `low` and `high` are those of the table: a factor of two
/// either way is usual.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// In kilograms of CO2 equivalent.
    pub made_kg: f64,
    /// The lowest tenth.
    pub low_kg: f64,
    /// The highest tenth.
    pub high_kg: f64,
    /// Expected life in years.
    pub life_years: f64,
    /// Where from.
    pub source: String,
}

/// What cannot be.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum ImpossibleShare {
    /// Emissions or life out of range.
    #[error("impossible machine: give more than 0 kg of CO2e and 0.5 to 30 years of life")]
    Machine,
    /// More than all of it.
    #[error("impossible share {0} of a machine: give reserved over all resources, 0 to 1")]
    Resources(f64),
}

impl Machine {
    /// The median of 48 manufacturers' sheets of servers, over the usual life of 4 years.
    pub fn unknown_server() -> Option<Self> {
        let server = factors::embodied("server", "whole, manufacturing")?;
        let life = factors::embodied("server", "lifetime")?;
        Some(Self {
            made_kg: server.value?,
            low_kg: server.low?,
            high_kg: server.high?,
            life_years: life.value?,
            source: server.reference,
        })
    }

    /// A machine whose sheet the user has.
    pub fn known(made_kg: f64, life_years: f64) -> Result<Self, ImpossibleShare> {
        let source = "given".to_owned();
        Self { made_kg, low_kg: made_kg, high_kg: made_kg, life_years, source }.used_for(life_years)
    }

    /// The same with another life.
    pub fn used_for(self, life_years: f64) -> Result<Self, ImpossibleShare> {
        if self.made_kg > 0.0 && self.made_kg.is_finite() && (0.5..=30.0).contains(&life_years) {
            Ok(Self { life_years, ..self })
        } else {
            Err(ImpossibleShare::Machine)
        }
    }

    /// A server from its parts: dies by area, memory and disks by size (UBA Texte 94/2021, `embodied.csv`).
    pub fn of_parts(parts: &Parts) -> Option<Self> {
        let of = |component, quantity| factors::embodied(component, quantity)?.value;
        let density = factors::embodied("ram", "density")?;
        let memory = |gb_per_cm2: f64| -> Option<f64> {
            Some(parts.memory_modules * of("ram", "base")? + parts.memory_gb / gb_per_cm2 * of("ram", "die")?)
        };
        // The table's density of flash has no middle: its low is the oldest, its value the default.
        let flash = factors::embodied("ssd", "density").and_then(|row| row.value.or(row.low))?;
        let rest = parts.cpus * of("cpu", "base")?
            + parts.die_mm2 * of("cpu", "die")?
            + parts.ssds * of("ssd", "base")?
            + parts.ssd_gb / flash * of("ssd", "die")?
            + parts.hdds * of("hdd", "disk")?
            + of("motherboard", "unit")?
            + parts.power_supplies * of("power_supply", "mass")? * of("power_supply", "mass_per_unit")?
            + of("case_rack", "unit")?
            + of("assembly", "unit")?;
        Some(Self {
            made_kg: rest + memory(density.value?)?,
            low_kg: rest + memory(density.high?)?,
            high_kg: rest + memory(density.low?)?,
            life_years: factors::embodied("server", "lifetime")?.value?,
            source: "UBA Texte 94/2021, bottom up".to_owned(),
        })
    }

    /// The part of a machine that was reserved for `time`, with `resources` of all of it. For every share of a life,
    /// parts add up to the whole.
    pub fn share(&self, time: Duration, resources: f64) -> Result<Grams, ImpossibleShare> {
        if !(0.0..=1.0).contains(&resources) {
            return Err(ImpossibleShare::Resources(resources));
        }
        let life = YEAR.as_secs_f64() * self.life_years;
        Ok(Grams(self.made_kg * 1000.0 * time.as_secs_f64() / life * resources))
    }
}

/// What a server is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Parts {
    /// Processors.
    pub cpus: f64,
    /// Area of their dies together, in square millimetres.
    pub die_mm2: f64,
    /// Memory modules.
    pub memory_modules: f64,
    /// Memory in gigabytes.
    pub memory_gb: f64,
    /// Flash disks.
    pub ssds: f64,
    /// Their size together, in gigabytes.
    pub ssd_gb: f64,
    /// Magnetic disks.
    pub hdds: f64,
    /// Power supplies.
    pub power_supplies: f64,
}

impl std::str::FromStr for Parts {
    type Err = ImpossibleParts;

    /// Such as `cpus=2,die_mm2=1200,memory_modules=8,memory_gb=256,ssds=2,ssd_gb=3840,power_supplies=2`; what is not named
    /// is not there.
    fn from_str(text: &str) -> Result<Self, ImpossibleParts> {
        let mut parts = Self::default();
        for part in text.split(',') {
            let wrong = || ImpossibleParts(part.trim().to_owned());
            let (name, number) = part.split_once('=').ok_or_else(wrong)?;
            let of = match name.trim() {
                "cpus" => &mut parts.cpus,
                "die_mm2" => &mut parts.die_mm2,
                "memory_modules" => &mut parts.memory_modules,
                "memory_gb" => &mut parts.memory_gb,
                "ssds" => &mut parts.ssds,
                "ssd_gb" => &mut parts.ssd_gb,
                "hdds" => &mut parts.hdds,
                "power_supplies" => &mut parts.power_supplies,
                _ => return Err(wrong()),
            };
            *of =
                number.trim().parse().ok().filter(|number| (0.0..1e6).contains(number)).ok_or_else(wrong)?;
        }
        Ok(parts)
    }
}

/// A part that is not known, or not so many of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "impossible part {0:?}: give numbers of cpus, die_mm2, memory_modules, memory_gb, ssds, ssd_gb, hdds and \
     power_supplies, such as cpus=2,die_mm2=1200,memory_gb=256"
)]
pub struct ImpossibleParts(String);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_hour_of_scis_own_example() {
        let machine = Machine::known(1000.0, 4.0).unwrap();
        let hour = machine.share(Duration::from_hours(1), 1.0).unwrap();
        assert!((hour.0 - 28.5).abs() < 0.1, "1,000 kg over 4 years are about 28 g an hour: {hour:?}");
    }

    #[test]
    fn an_unknown_server_is_the_median() {
        let server = Machine::unknown_server().unwrap();
        assert!((server.made_kg - 1221.0).abs() < 1e-9 && (server.life_years - 4.0).abs() < 1e-9);
        assert!(server.low_kg < server.made_kg && server.made_kg < server.high_kg);
    }

    #[test]
    fn parts_make_a_server() {
        let memory = Parts { memory_gb: 512.0, memory_modules: 0.0, ..Parts::default() };
        let empty = Machine::of_parts(&Parts::default()).unwrap();
        let machine = Machine::of_parts(&memory).unwrap();
        assert!((machine.low_kg - empty.low_kg - 474.3).abs() < 0.1, "512 GB at 2.375 GB/cm2");
        assert!((machine.high_kg - empty.high_kg - 1802.2).abs() < 0.1, "512 GB at 0.625 GB/cm2");
    }

    #[test]
    fn parts_are_read() {
        let parts: Parts = "cpus=2, die_mm2=1200,memory_gb=256".parse().unwrap();
        assert_eq!(parts, Parts { cpus: 2.0, die_mm2: 1200.0, memory_gb: 256.0, ..Parts::default() });
        for text in ["", "cpus", "gpus=1", "cpus=two", "cpus=-1", "cpus=NaN", "cpus=2,"] {
            assert!(text.parse::<Parts>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(Machine::known(0.0, 4.0).is_err() && Machine::known(1000.0, 0.0).is_err());
        let machine = Machine::known(1000.0, 4.0).unwrap();
        for share in [-0.1, 1.1, f64::NAN] {
            assert!(machine.share(Duration::from_secs(1), share).is_err(), "{share}");
        }
    }

    proptest! {
        #[test]
        fn parts_of_a_life_add_up(seconds in 0_u64..100_000_000, other in 0_u64..100_000_000, share in 0.0_f64..1.0) {
            let machine = Machine::known(1221.0, 4.0).unwrap();
            let of = |seconds, share| machine.share(Duration::from_secs(seconds), share).unwrap().0;
            let whole = of(seconds + other, 1.0);
            let parts = of(seconds, share) + of(seconds, 1.0 - share) + of(other, 1.0);
            prop_assert!((whole - parts).abs() <= 1e-9 * whole.max(1.0));
        }
    }
}
