//! Sensors of energy and power in the kernel's hwmon class: those of processors that have no RAPL, and of boards.
//!
//! Counters of energy are read as they are; power is sampled by a thread of its own and added up, which is less than a
//! counter and marked as sampled. Which sensors count is in `chips.rs`.

mod chips;
mod named;
mod sensors;

use super::counter::Counter;
use super::file::{Failure, describe, read_number};
use super::integral::Integral;
use super::lane::{Lane, Probe, Raws};
use super::lanes::{LaneMeter, Track};
use super::registry::{Found, Ground, Role, Source};
use super::{Meter, MeterError, MeterFinding};
use crate::clock;
use crate::units::{Quality, Watts};
use crate::window::{Domain, DomainKind};
use chips::{Basis, CLASS, Part, Sensors, discover};
pub use named::{NamedSensor, NotNamed};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

const NAME: &str = "hwmon";

/// The entry of the registry.
pub(super) const SOURCE: Source = Source { name: NAME, role: Role::Processor, open };

/// More than a package draws, or a whole machine with all that is in it.
const PACKAGE_WATTS_MAX: Watts = Watts(1000.0);
const PLATFORM_WATTS_MAX: Watts = Watts(20_000.0);

/// `amd_energy` adds up every few seconds by itself and at each read; others move faster.
const MOVES_WITHIN: Duration = Duration::from_secs(2);

/// How often the counter of a driver that is not known here moves at least.
const UNKNOWN_MOVES_WITHIN: Duration = Duration::from_secs(10);

/// Files of sysfs whose numbers are added.
fn sum(files: &[PathBuf]) -> Result<u64, MeterError> {
    files.iter().try_fold(0_u64, |sum, file| match read_number(file) {
        Ok(number) => Ok(sum.saturating_add(number)),
        Err(error) => Err(MeterError::from(Failure::of(file, &error))),
    })
}

/// Counters of energy that are added up together.
#[derive(Debug)]
struct EnergyProbe {
    files: Vec<PathBuf>,
}

impl Probe for EnergyProbe {
    fn read(&mut self, _at_edge: bool) -> Raws {
        vec![sum(&self.files).map(Into::into)]
    }
}

/// Sensors of power that are added up together.
#[derive(Debug)]
struct PowerProbe {
    files: Vec<PathBuf>,
    period: Duration,
    integral: Integral,
}

impl Probe for PowerProbe {
    fn read(&mut self, at_edge: bool) -> Raws {
        let power = sum(&self.files).map(|uw| {
            #[expect(clippy::cast_precision_loss, reason = "2^53 uW are 9 GW")]
            let watts = uw as f64 / 1e6;
            Watts(watts)
        });
        vec![power.map(|power| self.integral.take(power, clock::monotonic_ns(), at_edge))]
    }

    fn period(&self) -> Option<Duration> {
        Some(self.period)
    }
}

fn open(ground: &Ground<'_>) -> Found {
    // One that was asked for by its name is not there: what else there is must not pass for it.
    let missing = chips::missing(ground);
    if !missing.is_empty() {
        let reason = format!("there is no sensor {}, which --hwmon names", missing.join(", "));
        let advice =
            "see what carbon doctor lists without that option, or cat /sys/class/hwmon/hwmon*/{name,*_label}";
        let finding = finding(NAME, false, Quality::Sampled, reason);
        let finding = MeterFinding { advice: Some(advice.to_owned()), ..finding };
        return Found { meter: None, findings: vec![finding], present: true };
    }
    let (parts, mut findings) = match discover(ground) {
        Ok(found) => found,
        Err(error) => {
            let class = ground.root.sys.join(CLASS);
            let reason = format!("cannot read {}: {}", class.display(), describe(&error));
            return Found::absent(finding(NAME, false, Quality::Sampled, reason));
        }
    };
    let present = !parts.is_empty();
    let mut lanes = Vec::new();
    let (mut denied, mut readable) = (None, false);
    let dies = |part: &Part| {
        parts.iter().filter(|it| it.kind == DomainKind::Package && it.package == part.package).count()
    };
    for part in &parts {
        let (quality, tried) = (part.quality(), try_out(part));
        let label = format!("{NAME} {}", part.label);
        let read = tried.and_then(|(lane, raws)| {
            // One that cannot be read now is asked again, like one that fails later.
            lanes.push((lane, vec![track(ground, part, quality, dies(part))]));
            raws?.into_iter().find_map(Result::err).map_or(Ok(()), Err)
        });
        match read.map_err(|error| error.message) {
            Ok(()) => {
                readable |= part.kind != DomainKind::Dram;
                findings.push(finding(&label, true, quality, part.reason()));
            }
            Err(reason) => {
                denied.get_or_insert_with(|| reason.clone());
                findings.push(finding(&label, false, quality, reason));
            }
        }
    }
    if !readable {
        for finding in findings.iter_mut().filter(|finding| finding.chosen) {
            finding.chosen = false;
            "it could be read, but no package can".clone_into(&mut finding.reason);
        }
        let reason = denied.unwrap_or_else(|| "no sensor of a processor's energy or power".to_owned());
        findings.insert(0, finding(NAME, false, Quality::Sampled, reason));
        return Found { meter: None, findings, present };
    }
    let lowest = lanes.iter().flat_map(|(_, tracks)| tracks).map(|track| track.domain.quality).min();
    let names: Vec<String> =
        lanes.iter().flat_map(|(_, tracks)| tracks).map(|it| it.domain.source.clone()).collect();
    let reason = format!("reads {}", names.join(", "));
    findings.insert(0, finding(NAME, true, lowest.unwrap_or(Quality::Sampled), reason));
    Found { meter: Some(Box::new(LaneMeter::new(NAME, lanes))), findings, present }
}

/// The sensor of the whole machine, where there is one that answers.
pub(super) fn machine(ground: &Ground<'_>) -> Option<Box<dyn Meter>> {
    let part = chips::machine(ground)?;
    let (lane, raws) = try_out(&part).ok()?;
    raws.ok()?.iter().all(Result::is_ok).then_some(())?;
    let track = track(ground, &part, part.quality(), 1);
    Some(Box::new(LaneMeter::new(NAME, vec![(lane, vec![track])])))
}

/// A lane that has been asked once.
type Tried = Result<(Lane, Result<Raws, MeterError>), MeterError>;

fn try_out(part: &Part) -> Tried {
    match &part.sensors {
        Sensors::Energy(files) => Lane::tried(NAME, EnergyProbe { files: files.clone() }),
        Sensors::Power(files, period) => {
            let integral = Integral::new(*period);
            Lane::tried(NAME, PowerProbe { files: files.clone(), period: *period, integral })
        }
    }
}

fn counter(part: &Part) -> Counter {
    let max = if part.kind == DomainKind::Platform { PLATFORM_WATTS_MAX } else { PACKAGE_WATTS_MAX };
    match part.sensors {
        Sensors::Energy(_) => {
            let within = if part.basis == Basis::Driver { MOVES_WITHIN } else { UNKNOWN_MOVES_WITHIN };
            Counter::new(0, max).moving_within(within).lasting()
        }
        Sensors::Power(..) => Counter::new(0, max),
    }
}

fn track(ground: &Ground<'_>, part: &Part, quality: Quality, dies: usize) -> Track {
    let domain = Rc::new(Domain {
        kind: part.kind,
        device: part.device.clone(),
        source: format!("{NAME} {}", part.label),
        quality,
        bounds: None,
        package: part.package,
        idle_watts: (part.kind != DomainKind::Dram).then(|| ground.idle_of_die(part.package, dies)),
    });
    Track { domain, counter: counter(part) }
}

fn finding(name: &str, chosen: bool, quality: Quality, reason: String) -> MeterFinding {
    MeterFinding { name: name.to_owned(), chosen, quality, reason, advice: None }
}

#[cfg(test)]
mod tests;
