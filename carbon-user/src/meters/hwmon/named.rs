//! Sensors of drivers that nobody here knows: those that somebody named, and those whose label leaves no doubt.
//!
//! Of most sensors only the builder of the board knows what they contain: `CPU` may be the cores or all of a package,
//! `SoC` all of a chip or (with Ampere) all but its cores, `SYS` the whole machine or (on Arm's boards) its bus. So a
//! label is believed only where it says package or socket, memory of it, or the whole system; any other sensor counts where
//! it is named.

use super::sensors::{Chip, Sensor};
use crate::window::DomainKind;
use std::fmt;
use std::str::FromStr;

/// A sensor that was named, and what it measures: `DRIVER:SENSOR=WHAT`, such as `scmi_sensors:BIG_ENERGY=package-0`. Where a
/// driver has several devices all of them are meant, or that of `DRIVER@PLACE`, such as `ina226@1-0040`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedSensor {
    driver: String,
    place: Option<String>,
    /// Its label, or its name such as `power1`.
    sensor: String,
    pub(super) kind: DomainKind,
    /// The socket, 0 for the whole machine.
    pub(super) socket: u32,
}

/// Why a text names no sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotNamed {
    /// It has another form.
    #[error("no driver, sensor and part of the machine")]
    Form,
    /// What it measures is no part of a machine.
    #[error(
        "what it measures is package, dram or system; with several sockets their number too, as in package-1"
    )]
    What,
}

impl FromStr for NamedSensor {
    type Err = NotNamed;

    fn from_str(text: &str) -> Result<Self, NotNamed> {
        let (which, what) = text.rsplit_once('=').ok_or(NotNamed::Form)?;
        // A place may have colons (`APMC0D29:00`), and a label without a place.
        let (driver, place, sensor) = match which.split_once('@') {
            Some((driver, rest)) if !driver.contains(':') => {
                let (place, sensor) = rest.rsplit_once(':').ok_or(NotNamed::Form)?;
                (driver, Some(place.trim().to_owned()), sensor)
            }
            _ => {
                which.split_once(':').map(|(driver, sensor)| (driver, None, sensor)).ok_or(NotNamed::Form)?
            }
        };
        let (driver, sensor, what) = (driver.trim(), sensor.trim(), what.trim());
        if driver.is_empty() || sensor.is_empty() {
            return Err(NotNamed::Form);
        }
        let (word, number) = what.split_once('-').map_or((what, None), |(word, number)| (word, Some(number)));
        let socket = number.map_or(Ok(0), str::parse).map_err(|_| NotNamed::What)?;
        let kind = match (word, number) {
            ("package", _) => DomainKind::Package,
            ("dram", _) => DomainKind::Dram,
            ("system", None) => DomainKind::Platform,
            _ => return Err(NotNamed::What),
        };
        Ok(Self { driver: driver.to_owned(), place, sensor: sensor.to_owned(), kind, socket })
    }
}

impl fmt::Display for NamedSensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.place.as_ref().map_or_else(String::new, |place| format!("@{place}"));
        write!(f, "{}{at}:{}", self.driver, self.sensor)
    }
}

impl NamedSensor {
    /// Whether it is read as a package or as memory, in place of another meter.
    pub fn is_a_part(&self) -> bool {
        self.kind != DomainKind::Platform
    }

    /// Whether it is that sensor of that device.
    pub(super) fn is(&self, chip: &Chip, sensor: &Sensor) -> bool {
        let here = self.place.is_none() || self.place == chip.place;
        self.driver == chip.driver
            && here
            && (self.sensor == sensor.label.trim() || self.sensor == sensor.name)
    }
}

/// What a label says that it measures, with the number of the socket if it has one; nothing where it may mean several things.
pub(super) fn by_label(label: &str) -> Option<(DomainKind, Option<u32>)> {
    let lower = label.to_lowercase();
    let (mut words, mut number) = (Vec::new(), None);
    for word in lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()) {
        match word.parse::<u32>() {
            // Two numbers are a place in something that nobody knows.
            Ok(_) if number.is_some() => return None,
            Ok(found) => number = Some(found),
            Err(_) if ["power", "energy", "average", "consumption"].contains(&word) => {}
            Err(_) => words.push(word),
        }
    }
    let kind = match words.as_slice() {
        ["package" | "pkg" | "socket"] | ["cpu" | "processor", "package" | "pkg" | "socket"] => {
            DomainKind::Package
        }
        ["dram"] => DomainKind::Dram,
        ["total", "system"] | ["system", "total"] if number.is_none() => DomainKind::Platform,
        _ => return None,
    };
    Some((kind, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sensor_is_named_by_driver_and_label() {
        let named: NamedSensor = "scmi_sensors: BIG:CORES =package-1".parse().unwrap();
        assert_eq!(
            (&*named.to_string(), named.kind, named.socket),
            ("scmi_sensors:BIG:CORES", DomainKind::Package, 1)
        );
        let named: NamedSensor = "apm_xgene@APMC0D29:00:power1=dram".parse().unwrap();
        assert_eq!((&*named.driver, named.place.as_deref()), ("apm_xgene", Some("APMC0D29:00")));
        assert_eq!(named.to_string(), "apm_xgene@APMC0D29:00:power1");
        let named: NamedSensor = "a:b@c:d=dram".parse().unwrap();
        assert_eq!((&*named.sensor, named.place), ("b@c:d", None));
        let named: NamedSensor = "corsairpsu:power total=system".parse().unwrap();
        assert_eq!((named.kind, named.socket), (DomainKind::Platform, 0));
        let not = |text: &str| text.parse::<NamedSensor>().unwrap_err();
        for text in ["", "ina226", "ina226:power1", "power1=package", ":power1=package", "ina226:=dram"] {
            assert_eq!(not(text), NotNamed::Form, "{text}");
        }
        for text in ["a:b=", "a:b=gpu", "a:b=package-x", "a:b=system-1", "a:b=package-99999999999"] {
            assert_eq!(not(text), NotNamed::What, "{text}");
        }
    }

    #[test]
    fn only_labels_without_doubt_are_believed() {
        for (label, kind, number) in [
            ("CPU Package", DomainKind::Package, None),
            ("CPU Package Power 1", DomainKind::Package, Some(1)),
            ("pkg_energy", DomainKind::Package, None),
            ("Socket 0", DomainKind::Package, Some(0)),
            ("DRAM 1", DomainKind::Dram, Some(1)),
            ("Total System Power", DomainKind::Platform, None),
        ] {
            assert_eq!(by_label(label), Some((kind, number)), "{label}");
        }
        for label in [
            "",
            "CPU",
            "CPU power",
            "SoC power",
            "SYS_POW",
            "BIG_ENERGY",
            "SVI2_P_SoC",
            "power total",
            "PPT",
            "System",
            "VDD_CPU_CV",
            "Package 0 Core 1",
            "Memory",
            "AC Input Power",
            "5V",
            "Total System 2",
        ] {
            assert_eq!(by_label(label), None, "{label}");
        }
    }
}
