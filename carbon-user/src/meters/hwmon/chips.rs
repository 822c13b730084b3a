//! Which sensors of the hwmon class measure a processor, its memory or the whole machine, by driver and label.
//!
//! Drivers and labels: kernel 6.12, `drivers/hwmon`: `smpro-hwmon.c`, `xgene-hwmon.c`, `fam15h_power.c`,
//! `ibmpowernv.c`, `acpi_power_meter.c` (and `amd_energy`, which left the kernel with 5.13 and lives on outside it, as `zenergy` too).
//! NVIDIA Grace has ACPI power meters whose `oem_info` is such as `Grace Power Socket 0`; those of the module, the cores
//! and the I/O contain each other. Of a driver that is in no list nobody knows what its sensors contain: they count where
//! somebody named them, or where their label leaves no doubt (`named.rs`).
//!
//! Each part of the machine has one source, so that no joule counts twice: sensors that were named before those of known
//! drivers, these before labels, and counters of energy before power.

use super::named::by_label;
use super::sensors::{Chip, FAM15H, Sensor, chips};
use super::{NAME, finding};
use crate::meters::MeterFinding;
use crate::meters::registry::Ground;
use crate::units::{PackageId, Quality};
use crate::window::DomainKind;
use std::io;
use std::path::PathBuf;
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
    /// Counters in microjoules, to be added.
    Energy(Vec<PathBuf>),
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
    pub(super) basis: Basis,
}

/// Why a sensor is believed to measure what it measures, the best reason first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Basis {
    /// Somebody said so.
    Named,
    /// By its driver's source.
    Driver,
    /// By its label.
    Label,
}

impl Part {
    /// A counter is no better than the word of its label.
    pub(super) fn quality(&self) -> Quality {
        match (&self.sensors, self.basis) {
            (Sensors::Energy(_), Basis::Named | Basis::Driver) => Quality::Measured,
            (Sensors::Energy(_), Basis::Label) | (Sensors::Power(..), _) => Quality::Sampled,
        }
    }

    /// Why it is used.
    pub(super) fn reason(&self) -> String {
        let what = format!("{} of {}", self.kind.as_str(), self.device);
        let what = match self.basis {
            Basis::Named => format!("{what}, as was said by --hwmon"),
            Basis::Driver => what,
            Basis::Label => format!("{what}, by its label"),
        };
        match &self.sensors {
            Sensors::Energy(_) => format!("{what}: its counter can be read"),
            Sensors::Power(_, period) => format!("{what}: power, sampled every {} ms", period.as_millis()),
        }
    }
}

/// A sensor that measures a part of the machine.
#[derive(Debug)]
struct Candidate<'c> {
    chip: &'c Chip,
    sensor: &'c Sensor,
    kind: DomainKind,
    package: PackageId,
    device: String,
    basis: Basis,
}

impl Candidate<'_> {
    /// The least is the best: why it is believed, a counter before power, and of Ampere's drivers the one that has all of it.
    fn rank(&self) -> (Basis, bool, bool) {
        let is_xgene = matches!(self.chip.driver.as_str(), "apm_xgene" | "xgene_hwmon");
        (self.basis, self.sensor.quantity != "energy", is_xgene)
    }

    /// What tells it from the others: of devices that nobody here knows the name alone says nothing.
    fn shown(&self) -> &str {
        let label = self.sensor.label.trim();
        if self.basis == Basis::Driver || label.is_empty() { &self.sensor.name } else { label }
    }

    fn part(&self) -> Part {
        let period = self.sensor.interval.unwrap_or(SAMPLE_PERIOD).clamp(SAMPLE_PERIOD, SAMPLE_PERIOD_MAX);
        let file = self.sensor.file.clone();
        let sensors = if self.sensor.quantity == "energy" {
            Sensors::Energy(vec![file])
        } else {
            Sensors::Power(vec![file], period)
        };
        let label = format!("{} {}", self.chip.driver, self.shown());
        let Self { kind, package, basis, .. } = *self;
        Part { kind, device: self.device.clone(), package, label, sensors, basis }
    }

    /// Joins the part that a better sensor has begun, or says why it cannot.
    fn join(&self, part: &mut Part, first: &Self) -> Result<(), &'static str> {
        if self.basis != first.basis {
            return Err(if first.basis == Basis::Named { OTHER_NAMED } else { OTHER_DRIVER });
        }
        let one_device = std::ptr::eq(self.chip, first.chip);
        match (&mut part.sensors, self.sensor.quantity) {
            (Sensors::Power(..), "energy") | (Sensors::Energy(_), "power") => return Err(SAME),
            // Of the same driver once more, or of another one that knows the same processor.
            (_, _) if self.basis == Basis::Driver && !one_device => return Err(OTHER_DRIVER),
            (Sensors::Energy(_), _) if self.basis == Basis::Driver => return Err(OTHER_DRIVER),
            (Sensors::Energy(files) | Sensors::Power(files, _), _) => files.push(self.sensor.file.clone()),
        }
        if let (Sensors::Power(_, period), Sensors::Power(_, own)) = (&mut part.sensors, self.part().sensors)
        {
            *period = own.min(*period);
        }
        let one_driver = self.chip.driver == first.chip.driver;
        let driver = if one_driver { String::new() } else { format!("{} ", self.chip.driver) };
        part.label = format!("{}+{driver}{}", part.label, self.shown());
        Ok(())
    }
}

/// What a sensor measures, or why it does not count.
type Verdict = Result<(DomainKind, u32), &'static str>;

const PART: &str = "part of its package";
const CONTAINS: &str = "contains packages, which are counted";
const SAME: &str = "the same part has a counter of energy too";
const OTHER_NAMED: &str = "another sensor was named for the same";
const OTHER_DRIVER: &str = "another sensor measures the same";
const AMBIGUOUS: &str = "several sensors have this label";
const UNKNOWN: &str = "nobody knows what the sensors of this driver contain";
const ACCESSORY: &str = "of a device of its own, not of the processor";

/// Sensors that count, and what is left out with the reason. An error means that there is no such class.
pub(super) fn discover(ground: &Ground<'_>) -> io::Result<(Vec<Part>, Vec<MeterFinding>)> {
    let chips = chips(&ground.root.sys.join(CLASS))?;
    let mut left_out: Vec<MeterFinding> = Vec::new();
    let mut candidates: Vec<Candidate<'_>> = Vec::new();
    for (chip, sensor, place) in with_places(&chips) {
        match candidate(ground, chip, sensor, place) {
            Ok(candidate) => candidates.push(candidate),
            Err(why) => left_out.push(left(chip, sensor, why)),
        }
    }
    let mut parts: Vec<Part> = Vec::new();
    while let Some(next) = candidates.first() {
        // All of one part, in the place of its first sensor; the best of them first.
        let (kind, device) = (next.kind, next.device.clone());
        let (mut same, rest): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|it| it.kind == kind && it.device == device);
        candidates = rest;
        same.sort_by_key(Candidate::rank);
        let Some((first, others)) = same.split_first() else { break };
        let rival =
            |it: &&Candidate<'_>| it.basis == Basis::Label && it.sensor.quantity == first.sensor.quantity;
        if first.basis == Basis::Label && others.iter().any(|it| rival(&it)) {
            left_out.extend(same.iter().map(|it| left(it.chip, it.sensor, AMBIGUOUS)));
            continue;
        }
        let mut part = first.part();
        for other in others {
            if let Err(why) = other.join(&mut part, first) {
                left_out.push(left(other.chip, other.sensor, why));
            }
        }
        parts.push(part);
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

/// Each sensor with the place of its device among those of its driver: where a driver does not tell the socket, its devices are
/// in the order of the sockets.
fn with_places(chips: &[Chip]) -> impl Iterator<Item = (&Chip, &Sensor, u32)> {
    chips.iter().enumerate().flat_map(|(at, chip)| {
        let place = chips.iter().take(at).filter(|other| other.driver == chip.driver).count();
        let place = u32::try_from(place).unwrap_or(u32::MAX);
        chip.sensors.iter().map(move |sensor| (chip, sensor, place))
    })
}

fn left(chip: &Chip, sensor: &Sensor, why: &str) -> MeterFinding {
    let label = Some(&sensor.label).filter(|label| !label.is_empty());
    let shown = label.map_or_else(String::new, |label| format!(" ({label})"));
    let named = format!("{NAME} {} {}{shown}", chip.driver, sensor.name);
    let advice = [UNKNOWN, AMBIGUOUS, WHICH_PACKAGE].contains(&why).then(|| {
        let sensor = label.unwrap_or(&sensor.name);
        let at = chip.place.as_ref().map_or_else(String::new, |place| format!("@{place}"));
        format!(
            "if you know that it is all of a package, say --hwmon '{}{at}:{sensor}=package-0'",
            chip.driver
        )
    });
    MeterFinding { advice, ..finding(&named, false, Quality::Sampled, why.to_owned()) }
}

/// What a sensor measures.
fn candidate<'c>(
    ground: &Ground<'_>,
    chip: &'c Chip,
    sensor: &'c Sensor,
    place: u32,
) -> Result<Candidate<'c>, &'static str> {
    let (basis, (kind, socket)) = match ground.sensors.iter().find(|named| named.is(chip, sensor)) {
        Some(named) => (Basis::Named, (named.kind, named.socket)),
        None => match verdict(&chip.driver, sensor, place) {
            Some(verdict) => (Basis::Driver, verdict?),
            None => (Basis::Label, labelled(ground, chip, sensor)?),
        },
    };
    let package = package(ground, kind, socket)?;
    let device =
        if kind == DomainKind::Platform { "machine".to_owned() } else { format!("package-{socket}") };
    Ok(Candidate { chip, sensor, kind, package, device, basis })
}

/// Of a driver that is in no list.
fn labelled(ground: &Ground<'_>, chip: &Chip, sensor: &Sensor) -> Verdict {
    if chip.is_accessory {
        return Err(ACCESSORY);
    }
    match by_label(&sensor.label) {
        Some((kind, Some(socket))) => Ok((kind, socket)),
        Some((kind, None)) if kind == DomainKind::Platform || ground.topology.packages == 1 => Ok((kind, 0)),
        Some(_) => Err(WHICH_PACKAGE),
        None => Err(UNKNOWN),
    }
}

const WHICH_PACKAGE: &str = "its label does not say of which package";

/// Sensors of the whole machine, however many packages it has, the first of them only: to compare the sum with, never to
/// count.
pub(super) fn machine(ground: &Ground<'_>) -> Option<Part> {
    let chips = chips(&ground.root.sys.join(CLASS)).ok()?;
    let whole = |(chip, sensor, place): (&'_ Chip, &'_ Sensor, u32)| -> Option<(Basis, Part)> {
        let system = chip.driver == "ibmpowernv" && sensor.quantity == "energy" && sensor.label == "System";
        let named = ground.sensors.iter().find(|named| named.is(chip, sensor)).map(|named| named.kind);
        let (basis, kind) = match (named, verdict(&chip.driver, sensor, place)) {
            (Some(kind), _) => (Basis::Named, kind),
            (None, _) if system => (Basis::Driver, DomainKind::Platform),
            (None, Some(verdict)) => (Basis::Driver, verdict.ok()?.0),
            (None, None) => (Basis::Label, labelled(ground, chip, sensor).ok()?.0),
        };
        let device = "machine".to_owned();
        let candidate = Candidate { chip, sensor, kind, package: PackageId(0), device, basis };
        (kind == DomainKind::Platform).then(|| (basis, candidate.part()))
    };
    let (_, part) = with_places(&chips).filter_map(whole).min_by_key(|(basis, _)| *basis)?;
    Some(part)
}

/// Sensors that were named and are not there.
pub(super) fn missing(ground: &Ground<'_>) -> Vec<String> {
    let chips = chips(&ground.root.sys.join(CLASS)).unwrap_or_default();
    let is_there = |named: &&super::NamedSensor| {
        chips.iter().any(|chip| chip.sensors.iter().any(|sensor| named.is(chip, sensor)))
    };
    ground.sensors.iter().filter(|named| !is_there(named)).map(ToString::to_string).collect()
}

/// The part of the machine that a socket's energy is split in.
fn package(ground: &Ground<'_>, kind: DomainKind, socket: u32) -> Result<PackageId, &'static str> {
    let packages = ground.topology.packages;
    if kind == DomainKind::Platform {
        return if packages > 1 {
            Err(
                "of the whole machine: it cannot be split between several packages; the sum is held against it",
            )
        } else {
            Ok(PackageId(0))
        };
    }
    let by_id = |id: u32| ground.topology.by_physical_id(ground.root, id);
    let by_place =
        u16::try_from(socket).ok().map(PackageId).filter(|package| usize::from(package.0) < packages);
    // Where the kernel's numbers do not begin at 0, firmware made them up (ACPI's PPTT), and sockets are counted.
    let found = if by_place.is_some() && by_id(0).is_none() { by_place } else { by_id(socket).or(by_place) };
    found.ok_or("no CPU of its package is online")
}

/// What a sensor of a known driver measures; nothing where the driver is not known.
fn verdict(driver: &str, sensor: &Sensor, place: u32) -> Option<Verdict> {
    let label = sensor.label.as_str();
    Some(match driver {
        "amd_energy" | "zenergy" => amd(label),
        "smpro" | "smpro_hwmon" if label.contains("DIMM") => Ok((DomainKind::Dram, place)),
        "smpro" | "smpro_hwmon" | "apm_xgene" | "xgene_hwmon" => Ok((DomainKind::Package, place)),
        FAM15H if sensor.is_average() => Err(PART),
        FAM15H => Ok((DomainKind::Package, place)),
        "ibmpowernv" => powernv(sensor),
        "power_meter" | "acpi_power_meter" => acpi(label),
        _ => return None,
    })
}

/// Cores are `Ecore000`, and sockets have all of theirs.
fn amd(label: &str) -> Verdict {
    let socket = label.strip_prefix("Esocket").ok_or(PART)?;
    Ok((DomainKind::Package, socket.parse().map_err(|_| "its socket is not known")?))
}

/// Labels of the on-chip controller are `Chip N` with the part behind it, and `System`. It has power and, with most
/// firmware, energy from the same samples.
fn powernv(sensor: &Sensor) -> Verdict {
    let label = sensor.label.trim();
    if label == "System" {
        return Err(CONTAINS);
    }
    let Some(rest) = label.strip_prefix("Chip ") else { return Err("not of a processor") };
    let (number, part) = rest.split_once(' ').unwrap_or((rest, ""));
    let socket = number.parse().map_err(|_| "its chip is not known")?;
    match part.trim() {
        "" => Ok((DomainKind::Package, socket)),
        "Memory" => Ok((DomainKind::Dram, socket)),
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
