//! NVIDIA's accelerators through NVML, which is opened at run time and need not be there.
//!
//! A device's own energy counter is read where it has one (Volta and later; NVML API, `nvmlDeviceGetTotalEnergyConsumption`:
//! millijoules since the driver was loaded), else its power is sampled and added up. Who used it is asked along with it,
//! and between the edges of windows, since NVML knows processes only while they live.
//!
//! Devices are told apart by UUID: their order changes with a driver that is loaded again, and neither it nor
//! `CUDA_VISIBLE_DEVICES` has a say in what is measured. All devices are in one lane, as the driver has locks that are
//! common to them.

mod look;
mod session;

use super::counter::Counter;
use super::lane::{Lane, Probe, Raws, within};
use super::lanes::{LaneMeter, Track};
use super::registry::{Found, Ground, Role, Source};
use super::{ErrorKind, MeterError, MeterFinding};
use crate::clock;
use crate::sched::Whereabouts;
use crate::units::{PackageId, Quality, Watts};
use crate::window::{Domain, DomainKind};
use look::Gpu;
use nvml_wrapper::error::NvmlError;
use session::Session;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

const NAME: &str = "nvml";

/// The entry of the registry.
pub(super) const SOURCE: Source = Source { name: NAME, role: Role::Device, open };

/// Without a daemon that keeps it awake a driver takes seconds to open its devices.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often processes are looked at. NVML's own samples of utilisation are from 1/6 s to 1 s apart.
const LOOK_PERIOD: Duration = Duration::from_millis(500);

/// How often power is sampled, where there is no counter.
const POWER_PERIOD: Duration = Duration::from_millis(100);

/// The counter moves several times a second, and no device draws less than a watt.
const MOVES_WITHIN: Duration = Duration::from_secs(2);

/// Twice the limit that is enforced is never drawn; and twice the largest board of 2026 where none is told.
const LIMIT_FACTOR: f64 = 2.0;
const WATTS_MAX: Watts = Watts(3000.0);

/// All devices.
#[derive(Debug)]
struct NvmlProbe {
    session: Session,
    gpus: Vec<Gpu>,
    whereabouts: Result<Whereabouts, String>,
}

impl Probe for NvmlProbe {
    fn read(&mut self, at_edge: bool) -> Raws {
        let now_ns = clock::monotonic_ns();
        let nvml = match self.session.get(now_ns) {
            Ok(nvml) => nvml,
            Err(error) => return self.gpus.iter().map(|_| Err(fault(&error, NAME))).collect(),
        };
        let whereabouts = self.whereabouts.as_ref();
        let looked = self.gpus.iter_mut().map(|gpu| gpu.look(nvml, whereabouts, now_ns, at_edge));
        let looked: Vec<_> = looked.collect();
        self.session.heed(now_ns, looked.iter().filter_map(|result| result.as_ref().err()));
        let named = looked.into_iter().zip(&self.gpus);
        named.map(|(result, gpu)| result.map_err(|error| fault(&error, gpu.uuid()))).collect()
    }

    fn period(&self) -> Option<Duration> {
        let counted = self.gpus.iter().all(Gpu::has_counter);
        Some(if counted { LOOK_PERIOD } else { POWER_PERIOD })
    }
}

/// What is done about an error of the library.
fn fault(error: &NvmlError, what: &str) -> MeterError {
    let kind = if away(error) { ErrorKind::Gone } else { ErrorKind::Retry };
    MeterError { kind, message: format!("{what}: {}; it is tried again", words(error)) }
}

/// The device, its driver, or the right to use it has gone.
fn away(error: &NvmlError) -> bool {
    session::is_over(error)
        || matches!(
            error,
            NvmlError::GpuLost
                | NvmlError::ResetRequired
                | NvmlError::NotFound
                | NvmlError::InvalidArg
                | NvmlError::NoPermission
        )
}

fn words(error: &NvmlError) -> String {
    match error {
        NvmlError::GpuLost => "the GPU has fallen off the bus".to_owned(),
        NvmlError::ResetRequired => "the GPU needs a reset".to_owned(),
        NvmlError::NotFound | NvmlError::InvalidArg => "the driver has no such GPU any more".to_owned(),
        NvmlError::FailedToLoadSymbol(_) | NvmlError::FunctionNotFound => {
            "the driver's library lacks the function".to_owned()
        }
        NvmlError::NoPermission => "permission denied: run as root".to_owned(),
        other => other.to_string(),
    }
}

fn open(ground: &Ground<'_>) -> Found {
    open_with(ground, None)
}

/// By this library, or by the one that the linker finds.
fn open_with(ground: &Ground<'_>, library: Option<PathBuf>) -> Found {
    let absent = |reason: String| Found::absent(finding(NAME, false, Quality::Measured, reason));
    let whereabouts = Whereabouts::open(ground.root);
    let found = within(NAME, PATIENCE, move || find(whereabouts, library));
    let (probe, mut findings) = match found {
        Ok(Ok(found)) => found,
        Ok(Err(NvmlError::LibloadingError(_))) => {
            return absent("there is no libnvidia-ml.so.1: no NVIDIA driver".to_owned());
        }
        Ok(Err(error)) => {
            let found = absent(format!("NVML cannot be used: {}", words(&error)));
            // A library without its driver is that of a machine without such devices, an image of a container for one.
            return Found { present: !matches!(error, NvmlError::DriverNotLoaded), ..found };
        }
        Err(error) => return Found { present: true, ..absent(error.message) },
    };
    if probe.gpus.is_empty() {
        let first = finding(NAME, false, Quality::Measured, "NVML shows no GPU that answers".to_owned());
        let present = !findings.is_empty();
        findings.insert(0, first);
        return Found { meter: None, findings, present };
    }
    if let Err(why) = &probe.whereabouts {
        let reason = format!("processes on a GPU cannot be given to workloads: {why}");
        findings.push(finding(&format!("{NAME} processes"), false, Quality::Sampled, reason));
    }
    let names: Vec<&str> = probe.gpus.iter().map(Gpu::uuid).collect();
    let lowest = probe.gpus.iter().map(Gpu::quality).min().unwrap_or(Quality::Sampled);
    findings.insert(0, finding(NAME, true, lowest, format!("reads {}", names.join(", "))));
    let tracks: Vec<Track> = probe.gpus.iter().map(track).collect();
    match Lane::start(NAME, probe) {
        Ok(lane) => {
            let meter = LaneMeter::new(NAME, vec![(lane, tracks)]);
            Found { meter: Some(Box::new(meter)), findings, present: true }
        }
        Err(error) => absent(error.message),
    }
}

/// Opens the library and its devices.
fn find(
    whereabouts: Result<Whereabouts, String>,
    library: Option<PathBuf>,
) -> Result<(NvmlProbe, Vec<MeterFinding>), NvmlError> {
    let session = Session::open(library)?;
    let (mut gpus, mut findings) = (Vec::new(), Vec::new());
    if let Some(nvml) = session.opened() {
        for index in 0..nvml.device_count()? {
            match nvml.device_by_index(index).and_then(|device| Gpu::open(&device)) {
                Ok(gpu) => {
                    let how = if gpu.has_counter() { "its energy counter" } else { "its power, sampled" };
                    let label = format!("{NAME} {} ({})", gpu.uuid(), gpu.name());
                    findings.push(finding(&label, true, gpu.quality(), format!("reads {how}")));
                    gpus.push(gpu);
                }
                Err(error) => {
                    let label = format!("{NAME} GPU {index}");
                    findings.push(finding(&label, false, Quality::Measured, words(&error)));
                }
            }
        }
    }
    Ok((NvmlProbe { session, gpus, whereabouts }, findings))
}

fn track(gpu: &Gpu) -> Track {
    let domain = Rc::new(Domain {
        kind: DomainKind::Gpu,
        device: gpu.uuid().to_owned(),
        source: format!("{NAME} {}", gpu.name()),
        quality: gpu.quality(),
        bounds: None,
        package: PackageId(0),
        idle_watts: None,
    });
    let max = gpu.limit().map_or(WATTS_MAX, |Watts(limit)| Watts(limit * LIMIT_FACTOR));
    let counter = Counter::new(0, max);
    let counter = if gpu.has_counter() { counter.moving_within(MOVES_WITHIN) } else { counter };
    Track { domain, counter }
}

fn finding(name: &str, chosen: bool, quality: Quality, reason: String) -> MeterFinding {
    MeterFinding { name: name.to_owned(), chosen, quality, reason, advice: None }
}

#[cfg(test)]
pub(super) mod tests;
