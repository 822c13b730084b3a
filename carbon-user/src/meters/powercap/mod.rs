//! RAPL counters of Intel and AMD processors through the kernel's powercap class.
//!
//! Costs one open, read and close per domain and window. The file is opened anew each time, so that a right that
//! was withdrawn or a driver that was unloaded is noticed and named.

mod discover;

use super::counter::Counter;
use super::cpu_power::CpuPower;
use super::{Edge, ErrorKind, Meter, MeterError, MeterFinding, Reading};
use crate::sysroot::SysRoot;
use crate::topology::Topology;
use crate::units::{PackageId, Quality, Watts};
use crate::window::{Domain, DomainKind};
use discover::{CLASS, Zone, discover};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// The name in findings and sources.
const NAME: &str = "powercap";

/// Packages and their memory, as the processor's own counters measure them.
#[derive(Debug)]
pub struct Powercap {
    domains: Vec<Rc<Domain>>,
    counters: Vec<(PathBuf, Counter)>,
}

impl Powercap {
    /// Opens what can be read below the sysfs root. The first finding is that of the meter as a whole, the others
    /// are those of its zones. There is no meter without a package that can be read.
    ///
    /// Static power of a package has a prior: idle watts per hardware thread of `power`, shared among the dies of
    /// the package. Those are of whole servers at the wall, so the prior is an upper one. Memory has none.
    pub fn open(root: &SysRoot, topology: &Topology, power: &CpuPower) -> (Option<Self>, Vec<MeterFinding>) {
        let (zones, skipped) = match discover(root) {
            Ok(found) => found,
            Err(error) => return (None, vec![no_class(root, &error)]),
        };
        let mut findings: Vec<MeterFinding> =
            skipped.into_iter().map(|zone| finding(&zone.zone, Err((zone.reason, None)))).collect();
        let mut usable = Vec::new();
        let mut denied = None;
        for zone in zones {
            let outcome = check(root, topology, &zone);
            let label = format!("{} ({})", zone.folder, zone.kind.as_str());
            match outcome {
                Ok(package) => {
                    findings.push(finding(&label, Ok(())));
                    usable.push((zone, package));
                }
                Err(why) => {
                    if zone.kind == DomainKind::Package {
                        denied.get_or_insert_with(|| why.clone());
                    }
                    findings.push(finding(&label, Err(why)));
                }
            }
        }
        findings.sort_by(|a, b| a.name.cmp(&b.name));
        if !usable.iter().any(|(zone, _)| zone.kind == DomainKind::Package) {
            for finding in findings.iter_mut().filter(|finding| finding.chosen) {
                finding.chosen = false;
                "it could be read, but no package can".clone_into(&mut finding.reason);
            }
            let class = root.sys.join(CLASS);
            let (reason, advice) = denied.unwrap_or_else(|| {
                (format!("{} has no package zone", class.display()), Some(LOAD_DRIVER.to_owned()))
            });
            findings.insert(
                0,
                MeterFinding {
                    name: NAME.to_owned(),
                    chosen: false,
                    quality: Quality::Measured,
                    reason,
                    advice,
                },
            );
            return (None, findings);
        }
        let meter = Self::new(root, topology, power, &usable);
        let zones: Vec<_> = usable.iter().map(|(zone, _)| zone.folder.as_str()).collect();
        let reason = format!("reads {}", zones.join(", "));
        findings.insert(
            0,
            MeterFinding {
                name: NAME.to_owned(),
                chosen: true,
                quality: Quality::Measured,
                reason,
                advice: None,
            },
        );
        (Some(meter), findings)
    }

    fn new(root: &SysRoot, topology: &Topology, power: &CpuPower, zones: &[(Zone, PackageId)]) -> Self {
        let domain = |zone: &Zone, package: PackageId| Domain {
            kind: zone.kind,
            device: zone.device.clone(),
            source: format!("{NAME} {}", zone.folder),
            quality: Quality::Measured,
            bounds: None,
            package,
            idle_watts: (zone.kind == DomainKind::Package).then(|| {
                let same = |(other, at): &&(Zone, PackageId)| other.kind == zone.kind && *at == package;
                let dies = u32::try_from(zones.iter().filter(same).count()).unwrap_or(1).max(1);
                let threads = topology.online.get(usize::from(package.0)).copied().unwrap_or(0);
                Watts(power.idle(threads).0 / f64::from(dies))
            }),
        };
        Self {
            domains: zones.iter().map(|(zone, package)| Rc::new(domain(zone, *package))).collect(),
            counters: zones
                .iter()
                .map(|(zone, _)| (energy_file(root, zone), Counter::new(zone.range_uj, zone.max)))
                .collect(),
        }
    }
}

impl Meter for Powercap {
    fn name(&self) -> &'static str {
        NAME
    }

    fn domains(&self) -> &[Rc<Domain>] {
        &self.domains
    }

    fn read(&mut self, edge: &Edge<'_>) -> Vec<Result<Reading, MeterError>> {
        let read = |(file, counter): &mut (PathBuf, Counter)| match read_counter(file) {
            Ok(raw_uj) if counter.doubts(raw_uj) => {
                Err(Failure::of(file, &invalid("it fell to zero")).into())
            }
            Ok(raw_uj) => Ok(counter.advance(raw_uj, edge.monotonic_ns)),
            Err(error) => Err(Failure::of(file, &error).into()),
        };
        self.counters.iter_mut().map(read).collect()
    }
}

const LOAD_DRIVER: &str =
    "on bare metal load the driver: modprobe intel_rapl_msr; virtual machines have no such meter";

fn no_class(root: &SysRoot, error: &io::Error) -> MeterFinding {
    let reason = format!("cannot read {}: {}", root.sys.join(CLASS).display(), describe(error));
    MeterFinding {
        name: NAME.to_owned(),
        chosen: false,
        quality: Quality::Measured,
        reason,
        advice: Some(LOAD_DRIVER.to_owned()),
    }
}

fn finding(zone: &str, outcome: Result<(), (String, Option<String>)>) -> MeterFinding {
    let chosen = outcome.is_ok();
    let (reason, advice) = outcome.err().unwrap_or_else(|| ("its counter can be read".to_owned(), None));
    MeterFinding { name: format!("{NAME} {zone}"), chosen, quality: Quality::Measured, reason, advice }
}

/// The package of a zone that can be used, or the reason and the advice.
fn check(root: &SysRoot, topology: &Topology, zone: &Zone) -> Result<PackageId, (String, Option<String>)> {
    let file = energy_file(root, zone);
    if let Err(error) = read_counter(&file) {
        let failure = Failure::of(&file, &error);
        return Err((failure.reason, failure.advice.map(str::to_owned)));
    }
    topology.by_physical_id(root, zone.physical_id).ok_or_else(|| {
        let reason = format!("no CPU of package {} is online", zone.physical_id);
        (reason, Some("bring one of its CPUs online".to_owned()))
    })
}

fn energy_file(root: &SysRoot, zone: &Zone) -> PathBuf {
    root.sys.join(&zone.path).join("energy_uj")
}

fn read_counter(file: &Path) -> io::Result<u64> {
    // 2^64 has 20 digits.
    let mut buffer = [0; 32];
    let length = File::open(file)?.read(&mut buffer)?;
    let text = buffer.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok()).map(str::trim);
    match text {
        Some("") => Err(invalid("it is empty")),
        Some(text) => text.parse().map_err(|_| invalid("it is not a number")),
        None => Err(invalid("it is not text")),
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// A failed read, sorted.
struct Failure {
    kind: ErrorKind,
    reason: String,
    advice: Option<&'static str>,
}

impl Failure {
    /// The class turns whatever the driver says into EINVAL, so that one tells nothing; only what is certain to
    /// last is not tried again.
    fn of(file: &Path, error: &io::Error) -> Self {
        let (kind, advice) = match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOENT | Errno::NODEV | Errno::NXIO) => (ErrorKind::Gone, None),
            Some(Errno::ACCESS | Errno::PERM) => {
                (ErrorKind::Fatal, Some("run as root or give CAP_DAC_READ_SEARCH"))
            }
            _ => (ErrorKind::Retry, None),
        };
        Self { kind, reason: format!("cannot read {}: {}", file.display(), describe(error)), advice }
    }
}

impl From<Failure> for MeterError {
    fn from(Failure { kind, reason, advice }: Failure) -> Self {
        let advice = advice.unwrap_or(match kind {
            ErrorKind::Gone => "its driver was unloaded or its processor removed",
            ErrorKind::Retry | ErrorKind::Fatal => "it is tried again at the next window",
        });
        Self { kind, message: format!("{reason}; {advice}") }
    }
}

/// The error in lower case and without its number.
fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

#[cfg(test)]
mod tests;
