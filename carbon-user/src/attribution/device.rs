//! The energy of an accelerator: idle power to who holds it, the rest to who uses it.
//!
//! ```text
//! metered = dynamic + static + lost          static = held + unheld
//! ```
//!
//! A device that nobody uses draws idle power, so its power in windows without any use is its idle power: it is learned
//! apart for a device that is held (which keeps its clocks up) and for one that is not. What it draws beyond that is
//! dynamic and split by utilisation times time. A process that cannot be given to a workload gets its share too, which is
//! lost then, not given to others. Static energy of the time in which a device was held is its holders': nobody else could
//! have had it. It is told apart from both ([`WorkloadEnergy::held_energy`](super::WorkloadEnergy::held_energy)), and is
//! part of the domain's static energy.
//!
//! Utilisation is of the time in which a process had anything running, not of the units that were busy, so that shares are
//! *sampled* at best.

use super::uncertainty::{Uncertainty, split_stddev_ratio};
use super::{DomainEnergy, Method, Rows, Share, share, split_quality};
use crate::units::{Microjoules, Quality, Watts};
use crate::window::{DeviceRow, DeviceUsage, DomainWindow, WorkloadKey};
use std::rc::Rc;

/// How much a new window counts in the mean of idle power: some ten windows, since idle power follows temperature.
const IDLE_WEIGHT: f64 = 0.1;

/// What is learned of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct DeviceState {
    held: Option<Watts>,
    unheld: Option<Watts>,
}

/// What became of a device's energy beyond what every domain has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeviceEnergy {
    /// Static energy of the time in which it was held, charged to its holders.
    pub held: Microjoules,
    /// Its parts, and the processes that share a context: energy by model, of which `dynamic` and `held` hold the sum.
    pub parts: Vec<PartEnergy>,
    /// In windows in which it was used before it was ever seen idle: nothing could be split off as static.
    pub idle_unknown: bool,
    /// Why its processes could not be told.
    pub blind: Option<String>,
}

/// Energy of a part of a device, by model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartEnergy {
    /// `mig` or `mps`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Slices of the device; 0 where it has none of its own.
    pub slices: u32,
    /// Dynamic and held energy of its processes.
    pub energy: Microjoules,
}

/// Energy to be given to one process's workload.
type Weights = Vec<((Option<WorkloadKey>, usize), u64)>;

impl DeviceState {
    /// Idle power, and whether any is known; learns from windows without use.
    fn idle(&mut self, window: &DomainWindow, used: &DeviceUsage) -> Option<Watts> {
        let (own, other) =
            if used.held_ns() > 0 { (&mut self.held, self.unheld) } else { (&mut self.unheld, self.held) };
        if used.is_idle() && used.span_ns > 0 && window.gap.is_none() && !window.duration.is_zero() {
            let Watts(now) = window.metered.over(window.duration);
            let mean = own.map_or(now, |Watts(mean)| mean + IDLE_WEIGHT * (now - mean));
            *own = Some(Watts(mean));
        }
        own.or(other)
    }
}

/// Splits the energy of a device's window.
pub(super) fn attribute(
    window: &DomainWindow,
    used: &DeviceUsage,
    state: &mut DeviceState,
    rows: &mut Rows,
) -> DomainEnergy {
    let idle = state.idle(window, used);
    let unused = used.is_idle();
    let due = idle.map_or(Microjoules::ZERO, |idle| idle * window.duration);
    let static_energy = if unused { window.metered } else { due.min(window.metered) };
    let above = window.metered.saturating_sub(static_energy);
    let held = held_part(static_energy, used);

    let busy = weights(used, |row| row.busy_ns, used.unknown_ns);
    let holding = weights(used, |row| row.held_ns, 0);
    let dynamic_shares = share::split(above.0, &busy);
    let held_shares = share::split(held.0, &holding);
    let whole: f64 = busy.iter().map(|(_, ns)| seconds(*ns)).sum();
    let squares: f64 = busy.iter().map(|(_, ns)| (seconds(*ns) / whole).powi(2)).sum();
    let at_best = split_quality(&window.domain, Method::CpuTime);
    let mut split_quality = at_best;
    let (mut dynamic_energy, mut held_energy) = (Microjoules::ZERO, Microjoules::ZERO);
    for (row, (dynamic, held)) in used.rows.iter().zip(dynamic_shares.iter().zip(&held_shares)) {
        let Some(key) = row.key else { continue };
        let (dynamic, held) = (Microjoules(*dynamic), Microjoules(*held));
        dynamic_energy += dynamic;
        held_energy += held;
        let ratio = if whole > 0.0 { split_stddev_ratio(seconds(row.busy_ns) / whole, squares) } else { 0.0 };
        let quality = at_best.min(quality_of(row));
        if dynamic > Microjoules::ZERO || held > Microjoules::ZERO {
            split_quality = split_quality.min(quality);
        }
        let split_uj = dynamic.joules() * 1e6 * ratio;
        let uncertainty = Uncertainty { split_uj, ..Uncertainty::default() };
        rows.share(Share {
            domain: Rc::clone(&window.domain),
            key,
            dynamic_energy: dynamic,
            static_energy: held,
            uncertainty,
            quality,
        });
        rows.update(key, |total| {
            total.dynamic_energy += dynamic;
            total.device_energy += dynamic;
            total.held_energy += held;
            total.device_split_uj += split_uj;
            total.uncertainty = total.uncertainty.plus(uncertainty);
            total.has_energy_of(quality);
        });
    }
    DomainEnergy {
        domain: Rc::clone(&window.domain),
        metered: window.metered,
        dynamic_energy,
        static_energy,
        static_by: None,
        static_shared: Microjoules::ZERO,
        lost: above.saturating_sub(dynamic_energy),
        gap: window.gap,
        duration: window.duration,
        method: Method::CpuTime,
        split_quality,
        device: Some(DeviceEnergy {
            held: held_energy,
            parts: parts(used, &dynamic_shares, &held_shares),
            idle_unknown: idle.is_none() && !unused,
            blind: used.blind.clone(),
        }),
    }
}

/// A driver's estimate among processes in one context is as much a model as one by slices.
fn quality_of(row: &DeviceRow) -> Quality {
    if row.modelled || row.shared { Quality::Modelled } else { Quality::Sampled }
}

/// Static energy of the time in which the device was held.
fn held_part(static_energy: Microjoules, used: &DeviceUsage) -> Microjoules {
    let (held, span) = (u128::from(used.held_ns()), u128::from(used.span_ns));
    if span == 0 || held >= span {
        return if held > 0 { static_energy } else { Microjoules::ZERO };
    }
    let part = u128::from(static_energy.0) * held / span;
    Microjoules(u64::try_from(part).unwrap_or(static_energy.0))
}

/// One weight for each row, in their order, and one for what nobody was seen to cause.
fn weights(used: &DeviceUsage, of: impl Fn(&DeviceRow) -> u64, unknown: u64) -> Weights {
    let rows = used.rows.iter().enumerate().map(|(place, row)| ((row.key, place), of(row)));
    rows.chain([((None, usize::MAX), unknown)]).collect()
}

fn parts(used: &DeviceUsage, dynamic: &[u64], held: &[u64]) -> Vec<PartEnergy> {
    let energy_of = |wanted: &dyn Fn(&DeviceRow) -> bool| -> Microjoules {
        let shares =
            dynamic.iter().zip(held).map(|(dynamic, held)| Microjoules(*dynamic) + Microjoules(*held));
        used.rows.iter().zip(shares).filter(|(row, _)| wanted(row)).map(|(_, energy)| energy).sum()
    };
    let mut parts: Vec<PartEnergy> = used
        .instances
        .iter()
        .map(|instance| PartEnergy {
            kind: "mig",
            name: instance.uuid.clone(),
            slices: instance.slices,
            energy: energy_of(&|row| row.instance == Some(instance.id)),
        })
        .collect();
    if used.rows.iter().any(|row| row.shared) {
        parts.push(PartEnergy {
            kind: "mps",
            name: "MPS clients".to_owned(),
            slices: 0,
            energy: energy_of(&|row| row.shared),
        });
    }
    parts
}

#[expect(clippy::cast_precision_loss, reason = "a share")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

impl DeviceEnergy {
    /// Adds what follows in time.
    pub(super) fn add(&mut self, later: &Self) {
        self.held += later.held;
        self.idle_unknown |= later.idle_unknown;
        if later.blind.is_some() {
            self.blind.clone_from(&later.blind);
        }
        for part in &later.parts {
            let fits = self.parts.len() < PARTS_MAX;
            match self.parts.iter_mut().find(|known| (known.kind, &known.name) == (part.kind, &part.name)) {
                Some(known) => known.energy += part.energy,
                None if fits => self.parts.push(part.clone()),
                None => {}
            }
        }
    }
}

/// Parts kept of one device: seven at a time is what hardware has, and they may be made anew. The energy of those that do not
/// fit is in the sums of the device and of the workloads.
const PARTS_MAX: usize = 64;

#[cfg(test)]
mod tests;
