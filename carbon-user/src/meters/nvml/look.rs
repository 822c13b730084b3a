//! One device: its energy, and a look at who uses it.

use super::super::integral::Integral;
use super::super::{DeviceUse, Holder, Instance, LIMITS_PERIOD, PowerLimit, PowerLimits, Raw};
use super::POWER_PERIOD;
use crate::sched::Whereabouts;
use crate::units::{CgroupId, Quality, Watts};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use nvml_wrapper::{Device, Nvml};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// A device.
#[derive(Debug)]
pub(super) struct Gpu {
    uuid: String,
    name: String,
    limit: Option<Watts>,
    /// When `limit` was last asked for.
    limit_ns: Option<u64>,
    /// In place of a counter.
    integral: Option<Integral>,
    last_ns: Option<u64>,
    /// The latest sample of utilisation that was seen, by the driver's clock.
    seen_us: u64,
    /// Cgroups of the processes of the last look, for those that have ended since.
    known: HashMap<u32, CgroupId>,
    used: DeviceUse,
}

/// Processes on a device at one instant.
#[derive(Debug, Default)]
struct Processes {
    /// With the number of the part that each is confined to.
    held: Vec<(u32, Option<u32>)>,
    shared: HashSet<u32>,
    instances: Vec<Instance>,
    /// How much each used, in per cent; `None` where the driver does not say.
    percent: Option<HashMap<u32, f64>>,
    /// How much of the time anything ran, in per cent.
    whole_percent: Option<u32>,
    blind: Option<String>,
}

impl Gpu {
    /// What does not change of it.
    pub(super) fn open(device: &Device<'_>) -> Result<Self, NvmlError> {
        let uuid = device.uuid()?;
        let integral = match device.total_energy_consumption() {
            Ok(_) => None,
            Err(error) if is_lacking(&error) => {
                device.power_usage()?;
                Some(Integral::new(POWER_PERIOD))
            }
            Err(error) => return Err(error),
        };
        Ok(Self {
            uuid,
            name: device.name().unwrap_or_else(|_| "GPU".to_owned()),
            limit: enforced(device),
            limit_ns: None,
            integral,
            last_ns: None,
            seen_us: 0,
            known: HashMap::new(),
            used: DeviceUse::default(),
        })
    }

    pub(super) fn uuid(&self) -> &str {
        &self.uuid
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn limit(&self) -> Option<Watts> {
        self.limit
    }

    pub(super) fn has_counter(&self) -> bool {
        self.integral.is_none()
    }

    pub(super) fn quality(&self) -> Quality {
        if self.has_counter() { Quality::Measured } else { Quality::Sampled }
    }

    /// Its energy, and at an edge who used it since the last.
    pub(super) fn look(
        &mut self,
        nvml: &Nvml,
        whereabouts: Result<&Whereabouts, &String>,
        now_ns: u64,
        at_edge: bool,
    ) -> Result<Raw, NvmlError> {
        let device = nvml.device_by_uuid(self.uuid.as_str())?;
        let mut raw = match &mut self.integral {
            None => Raw::from(device.total_energy_consumption()?.saturating_mul(1000)),
            Some(integral) => integral.take(Watts(f64::from(device.power_usage()?) / 1e3), now_ns, at_edge),
        };
        let processes = processes(&device, &mut self.seen_us);
        if let Some(last_ns) = self.last_ns.replace(now_ns) {
            self.book(processes, whereabouts, Duration::from_nanos(now_ns.saturating_sub(last_ns)));
        }
        if at_edge {
            raw.device_use = Some(Box::new(std::mem::take(&mut self.used)));
            let since = self.limit_ns.map(|last_ns| Duration::from_nanos(now_ns.saturating_sub(last_ns)));
            if since.is_none_or(|since| since >= LIMITS_PERIOD) {
                self.limit_ns = Some(now_ns);
                self.limit = enforced(&device);
            }
        }
        raw.limits = self.limit.map(limits);
        Ok(raw)
    }

    /// Adds what was used since the look before.
    fn book(&mut self, processes: Processes, whereabouts: Result<&Whereabouts, &String>, passed: Duration) {
        let Processes { held, shared, instances, percent, whole_percent, blind } = processes;
        let before = std::mem::take(&mut self.known);
        let mut cgroup_of = |pid: u32| {
            let cgroup = whereabouts.ok().and_then(|whereabouts| whereabouts.of(pid));
            let cgroup = cgroup.or_else(|| before.get(&pid).copied());
            if let Some(cgroup) = cgroup {
                self.known.insert(pid, cgroup);
            }
            cgroup
        };
        let mut used = DeviceUse { span: passed, instances, ..DeviceUse::default() };
        let blind = blind.or_else(|| whereabouts.err().cloned());
        used.blind = u64::from(blind.is_some());
        used.blind_reason = blind;
        let modelled = percent.is_none();
        let whole = f64::from(whole_percent.unwrap_or(0).min(100)) / 100.0;
        let mut seen = HashSet::new();
        for (pid, instance) in &held {
            let busy = match &percent {
                Some(percent) if seen.insert(*pid) => percent.get(pid).copied().unwrap_or(0.0) / 100.0,
                Some(_) => 0.0,
                None => modelled_share(&held, &used.instances, *instance, whole_percent),
            };
            used.add_holder(Holder {
                pid: *pid,
                cgroup: cgroup_of(*pid),
                busy: passed.mul_f64(busy.clamp(0.0, 1.0)),
                held: passed,
                instance: *instance,
                shared: shared.contains(pid),
                modelled,
            });
        }
        // Those that ended before they could be seen to hold it.
        for (pid, percent) in percent.iter().flatten().filter(|(pid, _)| !seen.contains(pid)) {
            used.add_holder(Holder {
                pid: *pid,
                cgroup: cgroup_of(*pid),
                busy: passed.mul_f64((percent / 100.0).clamp(0.0, 1.0)),
                held: Duration::ZERO,
                instance: None,
                shared: shared.contains(pid),
                modelled: false,
            });
        }
        if used.holders.iter().all(|holder| holder.busy.is_zero()) && held.is_empty() {
            used.unknown = passed.mul_f64(whole);
        }
        self.used.add(used);
    }
}

/// A part of the device's use, where the driver does not say whose it was: that of the slices that a process shares with the
/// others in its part, or of the whole among all of them.
fn modelled_share(
    held: &[(u32, Option<u32>)],
    instances: &[Instance],
    instance: Option<u32>,
    whole_percent: Option<u32>,
) -> f64 {
    let slices = |id: u32| instances.iter().find(|it| it.id == id).map_or(1, |it| it.slices.max(1));
    let whole: u32 = instances.iter().map(|it| it.slices.max(1)).sum();
    let together = held.iter().filter(|(_, other)| *other == instance).count();
    let together = f64::from(u32::try_from(together).unwrap_or(u32::MAX)).max(1.0);
    match instance {
        Some(id) => f64::from(slices(id)) / f64::from(whole.max(1)) / together,
        None => f64::from(whole_percent.unwrap_or(100).min(100)) / 100.0 / together,
    }
}

/// The least of all limits that are set (`nvmlDeviceGetEnforcedPowerLimit`).
fn enforced(device: &Device<'_>) -> Option<Watts> {
    let limit_mw = device.enforced_power_limit().ok().filter(|limit_mw| *limit_mw > 0)?;
    Some(Watts(f64::from(limit_mw) / 1e3))
}

fn limits(watts: Watts) -> PowerLimits {
    [PowerLimit { constraint: "enforced".to_owned(), watts }].into()
}

/// The driver or the device lacks the function.
fn is_lacking(error: &NvmlError) -> bool {
    matches!(error, NvmlError::NotSupported | NvmlError::FunctionNotFound | NvmlError::FailedToLoadSymbol(_))
}

fn processes(device: &Device<'_>, seen_us: &mut u64) -> Processes {
    let mut found = Processes::default();
    if device.mig_mode().is_ok_and(|mode| mode.current == 1) {
        parts(device, &mut found);
        return found;
    }
    let pids = |listed: Result<Vec<ProcessInfo>, NvmlError>| {
        listed.map(|listed| listed.into_iter().map(|it| it.pid))
    };
    match pids(device.running_compute_processes()) {
        Ok(pids) => found.held.extend(pids.map(|pid| (pid, None))),
        Err(error) => found.blind = Some(format!("NVML lists no processes: {}", super::words(&error))),
    }
    // What draws on a screen holds the device too. Devices without either have no such list.
    if let Ok(pids) = pids(device.running_graphics_processes()) {
        found.held.extend(pids.map(|pid| (pid, None)));
    }
    if let Ok(pids) = pids(device.mps_running_compute_processes()) {
        for pid in pids {
            found.shared.insert(pid);
            found.held.push((pid, None));
        }
    }
    let mut once = HashSet::new();
    found.held.retain(|(pid, _)| once.insert(*pid));
    match device.process_utilization_stats(*seen_us) {
        Ok(samples) => {
            let mut sums: HashMap<u32, (f64, f64)> = HashMap::new();
            for sample in samples.iter().filter(|sample| sample.timestamp > *seen_us) {
                let sum = sums.entry(sample.pid).or_default();
                *sum = (sum.0 + f64::from(sample.sm_util), sum.1 + 1.0);
            }
            *seen_us = samples.iter().map(|sample| sample.timestamp).fold(*seen_us, u64::max);
            found.percent = Some(sums.into_iter().map(|(pid, (sum, count))| (pid, sum / count)).collect());
        }
        // No sample since the last look: nothing ran.
        Err(NvmlError::NotFound) => found.percent = Some(HashMap::new()),
        Err(error) => {
            let why = format!("NVML does not say how much each process uses: {}", super::words(&error));
            found.blind.get_or_insert(why);
        }
    }
    found.whole_percent = device.utilization_rates().ok().map(|rates| rates.gpu);
    found
}

/// The parts of a divided device (MIG). NVML has neither energy nor use of a part, so that both are modelled.
fn parts(device: &Device<'_>, found: &mut Processes) {
    for id in 0..device.mig_device_count().unwrap_or(0) {
        let Ok(part) = device.mig_device_by_index(id) else { continue };
        let slices = part.attributes().map_or(1, |it| it.compute_instance_slice_count.max(1));
        let uuid = part.uuid().unwrap_or_else(|_| format!("MIG {id}"));
        found.instances.push(Instance { id, uuid, slices });
        match part.running_compute_processes() {
            Ok(listed) => found.held.extend(listed.into_iter().map(|process| (process.pid, Some(id)))),
            Err(error) => found.blind = Some(format!("NVML lists no processes: {}", super::words(&error))),
        }
    }
}
