//! RAPL counters of Intel and AMD processors through the kernel's powercap class.
//!
//! Costs one open, read and close per domain and window, in a lane for each domain, and a few more once a minute for its limits. The file is opened anew each time, so
//! that a right that was withdrawn or a driver that was unloaded is noticed and named.

mod discover;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;
mod limits;
mod share;

use super::counter::Counter;
use super::file::{Failure, FileProbe, describe};
use super::lane::Lane;
use super::lanes::{LaneMeter, Track};
use super::registry::{Found, Ground, Role, Source};
use super::{Meter, MeterError, MeterFinding};
use crate::sysroot::SysRoot;
use crate::topology::Topology;
use crate::units::{PackageId, Quality};
use crate::window::{Domain, DomainKind};
use discover::{CLASS, Zone, discover};
use limits::ZoneProbe;
use share::ShareProbe;
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// The name in findings and sources.
const NAME: &str = "powercap";

/// The entry of the registry.
pub(super) const SOURCE: Source = Source { name: NAME, role: Role::Processor, open };

/// Counters move once in about a millisecond (Intel SDM 3B, 17.9.3; AMD's the same), and by whole milliwatts at least.
const MOVES_WITHIN: Duration = Duration::from_millis(500);

/// Opens what can be read below the sysfs root. The first finding is that of the meter as a whole, the others are those
/// of its zones. There is no meter without a package that can be read.
///
/// Static power of a package has a prior: idle watts per hardware thread, shared among the dies of the package. Those
/// are of whole servers at the wall, so the prior is an upper one. Memory has none.
fn open(ground: &Ground<'_>) -> Found {
    let Ground { root, topology, .. } = ground;
    let (zones, skipped) = match discover(root) {
        Ok(found) => found,
        Err(error) => return Found::absent(no_class(root, &error)),
    };
    let mut findings: Vec<MeterFinding> = skipped
        .into_iter()
        .map(|zone| finding(&zone.zone, Quality::Measured, Err((zone.reason, None))))
        .collect();
    let mut usable = Vec::new();
    let mut denied = None;
    let mut readable = false;
    let there_are = !zones.is_empty();
    for zone in zones {
        let label = format!("{} ({})", zone.folder, zone.kind.as_str());
        let outcome = check(root, topology, &zone).and_then(|(package, lane, read)| {
            let whole = read.is_ok() && zone.kind == DomainKind::Package;
            readable |= whole;
            // One that cannot be read now is asked again, like one that fails later.
            usable.push((zone.clone(), package, lane));
            read
        });
        if let (Err(why), DomainKind::Package) = (&outcome, zone.kind) {
            denied.get_or_insert_with(|| why.clone());
        }
        findings.push(finding(&label, quality(&zone), outcome));
    }
    findings.sort_by(|a, b| a.name.cmp(&b.name));
    let whole = |chosen, reason, advice| MeterFinding {
        name: NAME.to_owned(),
        chosen,
        quality: usable.iter().map(|(zone, ..)| quality(zone)).min().unwrap_or(Quality::Measured),
        reason,
        advice,
    };
    if !readable {
        for finding in findings.iter_mut().filter(|finding| finding.chosen) {
            finding.chosen = false;
            "it could be read, but no package can".clone_into(&mut finding.reason);
        }
        let class = root.sys.join(CLASS);
        let (reason, advice) =
            denied.unwrap_or_else(|| (format!("{} has no package zone", class.display()), load_driver()));
        findings.insert(0, whole(false, reason, advice));
        return Found { meter: None, findings, present: there_are };
    }
    let zones: Vec<_> = usable.iter().map(|(zone, ..)| zone.folder.as_str()).collect();
    let reads = if usable.iter().any(|(zone, ..)| zone.share.is_some()) {
        "reads this machine's share of its host: "
    } else {
        "reads "
    };
    findings.insert(0, whole(true, format!("{reads}{}", zones.join(", ")), None));
    Found { meter: Some(Box::new(meter(ground, usable))), findings, present: true }
}

fn meter(ground: &Ground<'_>, usable: Vec<(Zone, PackageId, Lane)>) -> impl Meter + use<> {
    let places: Vec<(DomainKind, PackageId)> = usable.iter().map(|(zone, at, _)| (zone.kind, *at)).collect();
    let domain = |zone: &Zone, package: PackageId| Domain {
        kind: zone.kind,
        device: zone.device.clone(),
        source: format!("{NAME} {}", zone.folder),
        quality: quality(zone),
        bounds: None,
        package,
        // Idle energy of a host is in a share only where its policy says so.
        idle_watts: (zone.kind == DomainKind::Package && zone.share.is_none()).then(|| {
            let dies = places.iter().filter(|place| **place == (DomainKind::Package, package)).count();
            ground.idle_of_die(package, dies)
        }),
    };
    let lanes = usable.into_iter().map(|(zone, package, lane)| {
        let domain = Rc::new(domain(&zone, package));
        (lane, vec![Track { domain, counter: counter(&zone) }])
    });
    LaneMeter::new(NAME, lanes.collect())
}

fn quality(zone: &Zone) -> Quality {
    zone.share.map_or(Quality::Measured, |share| share.quality)
}

fn counter(zone: &Zone) -> Counter {
    let counter = Counter::new(zone.range_uj, zone.max).lasting();
    // A machine that does nothing has no share.
    if zone.share.is_some() { counter } else { counter.moving_within(MOVES_WITHIN) }
}

/// Other architectures have no such driver.
fn load_driver() -> Option<String> {
    let advice =
        "on bare metal load the driver: modprobe intel_rapl_msr; virtual machines have no such meter";
    cfg!(target_arch = "x86_64").then(|| advice.to_owned())
}

fn no_class(root: &SysRoot, error: &io::Error) -> MeterFinding {
    let reason = format!("cannot read {}: {}", root.sys.join(CLASS).display(), describe(error));
    MeterFinding {
        name: NAME.to_owned(),
        chosen: false,
        quality: Quality::Measured,
        reason,
        advice: load_driver(),
    }
}

/// Why something is not used, and what to do about it.
type Why = (String, Option<String>);

fn finding(zone: &str, quality: Quality, outcome: Result<(), Why>) -> MeterFinding {
    let chosen = outcome.is_ok();
    let (reason, advice) = outcome.err().unwrap_or_else(|| ("its counter can be read".to_owned(), None));
    MeterFinding { name: format!("{NAME} {zone}"), chosen, quality, reason, advice }
}

/// The package of a zone, the lane that reads it, and whether it could; or why there is no such lane.
fn check(
    root: &SysRoot,
    topology: &Topology,
    zone: &Zone,
) -> Result<(PackageId, Lane, Result<(), Why>), Why> {
    let package = topology.by_physical_id(root, zone.physical_id).ok_or_else(|| {
        let reason = format!("no CPU of package {} is online", zone.physical_id);
        (reason, Some("bring one of its CPUs online".to_owned()))
    })?;
    let folder = root.sys.join(&zone.path);
    let file = folder.join("energy_uj");
    let cannot = |error: MeterError| (format!("cannot read {}: {}", file.display(), error.message), None);
    let tried = match zone.share {
        Some(share) => Lane::tried(NAME, ShareProbe::new(&folder, share)),
        None => Lane::tried(NAME, ZoneProbe::new(folder.clone(), counter(zone).period())),
    };
    let (lane, raws) = tried.map_err(cannot)?;
    let read = match raws.map(|raws| raws.into_iter().find_map(Result::err)) {
        Ok(None) => Ok(()),
        // Once more, for the reason and the advice apart: it does not hang.
        Ok(Some(error)) => Err(match FileProbe::new(file.clone(), None).value() {
            Err(again) => {
                let failure = Failure::of(&file, &again);
                (failure.reason, failure.advice.map(str::to_owned))
            }
            Ok(_) => cannot(error),
        }),
        Err(error) => Err(cannot(error)),
    };
    Ok((package, lane, read))
}

#[cfg(test)]
mod tests;
