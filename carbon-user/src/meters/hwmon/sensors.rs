//! The devices of the hwmon class and their sensors of energy and power, as they are, whoever made them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A sensor of energy or power.
#[derive(Clone, Debug)]
pub(super) struct Sensor {
    /// `energy` or `power`.
    pub(super) quantity: &'static str,
    /// Such as `power1`.
    pub(super) name: String,
    pub(super) label: String,
    pub(super) file: PathBuf,
    pub(super) interval: Option<Duration>,
}

impl Sensor {
    /// It is a mean over an interval.
    pub(super) fn is_average(&self) -> bool {
        self.file.to_string_lossy().ends_with("_average")
    }
}

/// One hwmon device.
#[derive(Debug)]
pub(super) struct Chip {
    pub(super) driver: String,
    /// What its device is called on its bus, such as `1-0040`.
    pub(super) place: Option<String>,
    pub(super) sensors: Vec<Sensor>,
    /// It belongs to a card, a stick or a battery of its own.
    pub(super) is_accessory: bool,
}

pub(super) fn chips(class: &Path) -> io::Result<Vec<Chip>> {
    let mut folders: Vec<(u32, PathBuf)> = fs::read_dir(class)?
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let number = path.file_name()?.to_str()?.strip_prefix("hwmon")?.parse().ok()?;
            Some((number, path))
        })
        .collect();
    folders.sort();
    Ok(folders.into_iter().filter_map(|(_, folder)| chip(&folder)).collect())
}

/// AMD's driver for processors before Zen: `power1_input` is the package, `power1_average` its compute units only
/// (`Documentation/hwmon/fam15h_power.rst`).
pub(super) const FAM15H: &str = "fam15h_power";

/// Buses and classes whose devices are none of the board's own. Those of PCI and USB have a file `vendor` too.
const ACCESSORIES: [&str; 6] = ["pci", "usb", "hid", "nvme", "power_supply", "drm"];

/// The attributes of older drivers are in the folder of the device.
fn chip(folder: &Path) -> Option<Chip> {
    let device = folder.join("device");
    let driver = text(&folder.join("name")).or_else(|| text(&device.join("name")))?;
    let mut sensors = sensors(folder, &driver);
    if sensors.is_empty() {
        sensors = self::sensors(&device, &driver);
    }
    let is_accessory = is_accessory(&device);
    let place = fs::read_link(&device).ok();
    let place = place.and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
    (!sensors.is_empty()).then_some(Chip { driver, place, sensors, is_accessory })
}

/// Whether a device is on a bus of cards, or is a supply of power: what it calls its package is not the processor's.
fn is_accessory(device: &Path) -> bool {
    let bus = fs::read_link(device.join("subsystem")).ok();
    let bus = bus.as_ref().and_then(|path| path.file_name()).and_then(|name| name.to_str());
    bus.is_some_and(|bus| ACCESSORIES.contains(&bus)) || device.join("vendor").exists()
}

fn sensors(folder: &Path, driver: &str) -> Vec<Sensor> {
    let mut found: Vec<(String, u32, Sensor)> = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let file_name = entry.file_name();
        let Some((name, kind)) = file_name.to_str().and_then(|name| name.split_once('_')) else { continue };
        let quantity = match (name.trim_end_matches(|c: char| c.is_ascii_digit()), kind) {
            ("energy", "input") => "energy",
            ("power", "input" | "average") => "power",
            _ => continue,
        };
        let Ok(number) = name.trim_start_matches(quantity).parse() else { continue };
        // A mean over the interval is better than an instant, where there are both and they are of the same.
        if let Some((.., known)) = found.iter_mut().find(|(known, ..)| known == name) {
            if (kind == "average") != (driver == FAM15H) {
                known.file = entry.path();
            }
            continue;
        }
        let label = text(&folder.join(format!("{name}_label")))
            .or_else(|| text(&folder.join(format!("{name}_oem_info"))))
            .unwrap_or_default();
        let interval = text(&folder.join(format!("{name}_average_interval")))
            .and_then(|text| text.parse().ok())
            .map(Duration::from_millis);
        let sensor = Sensor { quantity, name: name.to_owned(), label, file: entry.path(), interval };
        found.push((name.to_owned(), number, sensor));
    }
    found.sort_by_key(|(_, number, sensor)| (sensor.quantity, *number));
    found.into_iter().map(|(.., sensor)| sensor).collect()
}

fn text(file: &Path) -> Option<String> {
    let bytes = fs::read(file).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim().to_owned()).filter(|text| !text.is_empty())
}
