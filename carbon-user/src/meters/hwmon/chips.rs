//! Which sensors of the hwmon class measure a processor, its memory or the whole machine, by driver and label.
//!
//! Drivers and labels: kernel 6.12, `drivers/hwmon`: `smpro-hwmon.c`, `xgene-hwmon.c`, `ibmpowernv.c`,
//! `acpi_power_meter.c` (and `amd_energy`, which left the kernel with 5.13 and lives on outside it).
//! NVIDIA Grace has ACPI power meters whose `oem_info` is such as `Grace Power Socket 0`; those of the module, the cores
//! and the I/O contain each other. A driver that is in no list is named and left out: nobody knows what its sensors
//! contain.

use super::{NAME, finding};
use crate::meters::MeterFinding;
use crate::meters::registry::Ground;
use crate::units::{PackageId, Quality};
use crate::window::DomainKind;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Below the sysfs root.
pub(super) const CLASS: &str = "class/hwmon";

/// How often power is sampled where the driver does not say how often it changes.
const SAMPLE_PERIOD: Duration = Duration::from_millis(100);

/// The slowest sampling: a driver that averages over minutes is still asked once in a while.
const SAMPLE_PERIOD_MAX: Duration = Duration::from_secs(5);

/// The files of a part.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Sensors {
    /// A counter in microjoules.
    Energy(PathBuf),
    /// Powers in microwatts, to be added and sampled this often.
    Power(Vec<PathBuf>, Duration),
}

/// Sensors that make up a domain.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Part {
    pub(super) kind: DomainKind,
    pub(super) device: String,
    pub(super) package: PackageId,
    /// Driver and sensors, such as `smpro_hwmon power1+power2`.
    pub(super) label: String,
    pub(super) sensors: Sensors,
}

impl Part {
    /// Why it is used.
    pub(super) fn reason(&self) -> String {
        let what = format!("{} of {}", self.kind.as_str(), self.device);
        match &self.sensors {
            Sensors::Energy(_) => format!("{what}: its counter can be read"),
            Sensors::Power(_, period) => format!("{what}: power, sampled every {} ms", period.as_millis()),
        }
    }
}

/// A sensor of energy or power.
#[derive(Clone, Debug)]
struct Sensor {
    /// `energy` or `power`.
    quantity: &'static str,
    /// Such as `power1`.
    name: String,
    label: String,
    file: PathBuf,
    interval: Option<Duration>,
}

/// One hwmon device.
#[derive(Debug)]
struct Chip {
    driver: String,
    sensors: Vec<Sensor>,
}

/// What a sensor measures, or why it does not count.
type Verdict = Result<(DomainKind, u32), &'static str>;

const PART: &str = "part of its package";
const CONTAINS: &str = "contains packages, which are counted";

/// Sensors that count, and what is left out with the reason. An error means that there is no such class.
pub(super) fn discover(ground: &Ground<'_>) -> io::Result<(Vec<Part>, Vec<MeterFinding>)> {
    let chips = chips(&ground.root.sys.join(CLASS))?;
    let (mut parts, mut left_out): (Vec<Part>, Vec<MeterFinding>) = (Vec::new(), Vec::new());
    let mut of_driver: Vec<&str> = Vec::new();
    for chip in &chips {
        // Where a driver does not tell the socket, its devices are in the order of the sockets.
        let place = of_driver.iter().filter(|driver| **driver == chip.driver).count();
        of_driver.push(&chip.driver);
        let place = u32::try_from(place).unwrap_or(u32::MAX);
        for sensor in &chip.sensors {
            let label = Some(&sensor.label).filter(|label| !label.is_empty());
            let label = label.map_or_else(String::new, |label| format!(" ({label})"));
            let named = format!("{NAME} {} {}{label}", chip.driver, sensor.name);
            let verdict = verdict(&chip.driver, sensor, place);
            let counted =
                verdict.and_then(|(kind, socket)| Ok((kind, package(ground, kind, socket)?, socket)));
            match counted {
                Ok((kind, package, socket)) => add(&mut parts, chip, sensor, kind, package, socket),
                Err(why) => left_out.push(finding(&named, false, Quality::Sampled, why.to_owned())),
            }
        }
    }
    if parts.iter().any(|part| part.kind == DomainKind::Package) {
        let (platform, counted): (Vec<Part>, Vec<Part>) =
            parts.into_iter().partition(|part| part.kind == DomainKind::Platform);
        left_out.extend(platform.into_iter().map(|part| {
            finding(&format!("{NAME} {}", part.label), false, Quality::Sampled, CONTAINS.to_owned())
        }));
        parts = counted;
    }
    Ok((parts, left_out))
}

/// Sensors of the whole machine, however many packages it has, the first of them only: to compare the sum with, never to
/// count.
pub(super) fn machine(ground: &Ground<'_>) -> Option<Part> {
    let chips = chips(&ground.root.sys.join(CLASS)).ok()?;
    let is_whole = |chip: &Chip, sensor: &Sensor| {
        let system = chip.driver == "ibmpowernv" && sensor.quantity == "energy" && sensor.label == "System";
        system || matches!(verdict(&chip.driver, sensor, 0), Ok((DomainKind::Platform, _)))
    };
    let all = chips.iter().flat_map(|chip| chip.sensors.iter().map(move |sensor| (chip, sensor)));
    let (chip, sensor) = { all }.find(|(chip, sensor)| is_whole(chip, sensor))?;
    let mut parts = Vec::new();
    add(&mut parts, chip, sensor, DomainKind::Platform, PackageId(0), 0);
    parts.pop()
}

/// The part of the machine that a socket's energy is split in.
fn package(ground: &Ground<'_>, kind: DomainKind, socket: u32) -> Result<PackageId, &'static str> {
    let several = ground.topology.packages > 1;
    match kind {
        DomainKind::Platform if several => Err(
            "of the whole machine: it cannot be split between several packages; the sum is held against it",
        ),
        DomainKind::Platform => Ok(PackageId(0)),
        _ => ground
            .topology
            .by_physical_id(ground.root, socket)
            .or_else(|| u16::try_from(socket).ok().map(PackageId))
            .filter(|package| usize::from(package.0) < ground.topology.packages)
            .ok_or("no CPU of its package is online"),
    }
}

/// Adds a sensor to its part: powers of one package are summed, a counter stands for itself.
fn add(
    parts: &mut Vec<Part>,
    chip: &Chip,
    sensor: &Sensor,
    kind: DomainKind,
    package: PackageId,
    socket: u32,
) {
    let device =
        if kind == DomainKind::Platform { "machine".to_owned() } else { format!("package-{socket}") };
    let period = sensor.interval.unwrap_or(SAMPLE_PERIOD).clamp(SAMPLE_PERIOD, SAMPLE_PERIOD_MAX);
    let same = |part: &&mut Part| {
        part.kind == kind && part.device == device && matches!(part.sensors, Sensors::Power(..))
    };
    if sensor.quantity == "power"
        && let Some(part) = parts.iter_mut().find(same)
        && let Sensors::Power(files, _) = &mut part.sensors
    {
        files.push(sensor.file.clone());
        part.label = format!("{}+{}", part.label, sensor.name);
        return;
    }
    let sensors = if sensor.quantity == "energy" {
        Sensors::Energy(sensor.file.clone())
    } else {
        Sensors::Power(vec![sensor.file.clone()], period)
    };
    let label = format!("{} {}", chip.driver, sensor.name);
    parts.push(Part { kind, device, package, label, sensors });
}

fn verdict(driver: &str, sensor: &Sensor, place: u32) -> Verdict {
    let label = sensor.label.as_str();
    match driver {
        "amd_energy" => match label.strip_prefix("Esocket") {
            Some(socket) => Ok((DomainKind::Package, socket.parse().map_err(|_| "its socket is not known")?)),
            None => Err(PART),
        },
        "smpro" | "smpro_hwmon" if label.contains("DIMM") => Ok((DomainKind::Dram, place)),
        "smpro" | "smpro_hwmon" | "apm_xgene" | "xgene_hwmon" => Ok((DomainKind::Package, place)),
        "ibmpowernv" => powernv(sensor),
        "power_meter" | "acpi_power_meter" => acpi(label),
        _ => Err("nobody knows what the sensors of this driver contain"),
    }
}

/// Labels of the on-chip controller are `Chip N` with the part behind it, and `System`. It has power and, from the same
/// samples, energy: the energy counts.
fn powernv(sensor: &Sensor) -> Verdict {
    let label = sensor.label.trim();
    if label == "System" {
        return Err(CONTAINS);
    }
    let Some(rest) = label.strip_prefix("Chip ") else { return Err("not of a processor") };
    let (number, part) = rest.split_once(' ').unwrap_or((rest, ""));
    let socket = number.parse().map_err(|_| "its chip is not known")?;
    match (sensor.quantity, part.trim()) {
        ("power", _) => Err("the same sensor counts energy too"),
        (_, "") => Ok((DomainKind::Package, socket)),
        (_, "Memory") => Ok((DomainKind::Dram, socket)),
        _ => Err(PART),
    }
}

/// NVIDIA's objects name what they measure; any other ACPI power meter is taken for that of the whole machine.
fn acpi(label: &str) -> Verdict {
    let Some((what, socket)) = label.split_once(" Power Socket ") else {
        return Ok((DomainKind::Platform, 0));
    };
    let socket = socket.trim().parse().map_err(|_| "its socket is not known")?;
    match what.trim() {
        "Grace" => Ok((DomainKind::Package, socket)),
        "CPU" | "SysIO" => Err(PART),
        _ => Err(CONTAINS),
    }
}

fn chips(class: &Path) -> io::Result<Vec<Chip>> {
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

/// The attributes of older drivers are in the folder of the device.
fn chip(folder: &Path) -> Option<Chip> {
    let device = folder.join("device");
    let driver = text(&folder.join("name")).or_else(|| text(&device.join("name")))?;
    let mut sensors = sensors(folder);
    if sensors.is_empty() {
        sensors = self::sensors(&device);
    }
    (!sensors.is_empty()).then_some(Chip { driver, sensors })
}

fn sensors(folder: &Path) -> Vec<Sensor> {
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
        // A mean over the interval is better than an instant, where there are both.
        if let Some((.., known)) = found.iter_mut().find(|(known, ..)| known == name) {
            if kind == "average" {
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
