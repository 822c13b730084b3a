//! Who caused the energy of a window. PURE: no input or output, no clock, no environment; numbers in, numbers out.
//!
//! Per domain: static energy is what idle power makes of the window's length ([`static_policy`]); the rest is
//! dynamic and split over the workloads of the domain's package ([`share`]), in proportion to what their CPU time is
//! believed to cost ([`bank`]) or to CPU time alone; where nothing ran there is nobody to give it to and it is stated
//! as lost. To the microjoule, in every window and domain:
//!
//! ```text
//! metered = sum of the workloads' dynamic energy + static + lost
//! ```
//!
//! The energy of an accelerator is split by who used it ([`device`]), by the same equation.
//!
//! CPU time that no workload could be given ([`Accounts`]) takes no part in the split: its energy is in the
//! others' shares.

pub mod bank;
mod device;
pub mod share;
mod state;
pub mod static_policy;
pub mod totals;
pub mod uncertainty;

use crate::units::{CpuNanos, Microjoules, Quality};
use crate::window::{Accounts, Domain, DomainWindow, Window, WorkloadKey};
use bank::JointSplit;
use static_policy::StaticPolicy;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;
use uncertainty::{Uncertainty, model_stddev_ratio};

pub use device::{DeviceEnergy, PartEnergy};
pub use state::{Kept, Method, PackagePrior, State};

/// A workload's part of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorkloadEnergy {
    /// Whose.
    pub key: WorkloadKey,
    /// CPU time in the window, on all packages.
    pub cpu: CpuNanos,
    /// Energy caused by running, of all domains. It may be of a longer span than `cpu` where a domain could not be
    /// read at the window before.
    pub dynamic_energy: Microjoules,
    /// Share of the static energy; zero under [`StaticPolicy::Separate`].
    pub static_energy: Microjoules,
    /// The part of `dynamic_energy` that accelerators drew.
    pub device_energy: Microjoules,
    /// Idle energy of accelerators while it held them; neither dynamic nor static energy of it.
    pub held_energy: Microjoules,
    /// Of `dynamic_energy`.
    pub uncertainty: Uncertainty,
    /// The worst of the domains that it has energy from; `None` where no domain measures its packages.
    pub quality: Option<Quality>,
}

impl WorkloadEnergy {
    fn new(key: WorkloadKey) -> Self {
        Self {
            key,
            cpu: CpuNanos::ZERO,
            dynamic_energy: Microjoules::ZERO,
            static_energy: Microjoules::ZERO,
            device_energy: Microjoules::ZERO,
            held_energy: Microjoules::ZERO,
            uncertainty: Uncertainty::default(),
            quality: None,
        }
    }
}

/// A domain's energy and what became of it: metered = dynamic + static + lost.
#[derive(Clone, Debug, PartialEq)]
pub struct DomainEnergy {
    /// Which domain.
    pub domain: Rc<Domain>,
    /// What the meter showed.
    pub metered: Microjoules,
    /// Sum of what the workloads were given.
    pub dynamic_energy: Microjoules,
    /// By idle power, whoever it is shown to.
    pub static_energy: Microjoules,
    /// Above static, with no CPU time at all to give it to.
    pub lost: Microjoules,
    /// A fault hid some energy of this span.
    pub gap: bool,
    /// The span: longer than the window after failed readings.
    pub duration: Duration,
    /// How the dynamic energy was split.
    pub method: Method,
    /// Of an accelerator.
    pub device: Option<DeviceEnergy>,
}

/// The energy of workloads that rise and fall together, of which the sum is known better than any of them.
#[derive(Clone, Debug, PartialEq)]
pub struct SetEnergy {
    /// In which domain.
    pub domain: Rc<Domain>,
    /// Who, in order.
    pub keys: Vec<WorkloadKey>,
    /// Their dynamic energy.
    pub dynamic_energy: Microjoules,
    /// Of this sum.
    pub uncertainty: Uncertainty,
}

impl SetEnergy {
    fn new(domain: &Rc<Domain>, set: &JointSplit, weights: &[(WorkloadKey, u64)], dynamic: &[u64]) -> Self {
        let of_set = weights.iter().zip(dynamic).filter(|((key, _), _)| set.keys.contains(key));
        Self {
            domain: Rc::clone(domain),
            keys: set.keys.clone(),
            dynamic_energy: of_set.map(|(_, uj)| Microjoules(*uj)).sum(),
            uncertainty: Uncertainty {
                split_uj: set.lasting_stddev_j * 1e6,
                model_uj: 0.0,
                meter_uj: set.passing_stddev_j * 1e6,
            },
        }
    }
}

/// A window, attributed.
#[derive(Clone, Debug, Default)]
pub struct Attributed {
    /// Length of the window.
    pub duration: Duration,
    /// Uncertainty of its edges.
    pub edge_width: Duration,
    /// How long the machine was suspended meanwhile.
    pub suspended: Duration,
    /// CPU time outside workloads.
    pub accounts: Accounts,
    /// One row per workload that ran or was given energy; the order has no meaning.
    pub workloads: Vec<WorkloadEnergy>,
    /// Domains that were read at its end.
    pub domains: Vec<DomainEnergy>,
    /// Workloads that could not be told apart, per domain.
    pub sets: Vec<SetEnergy>,
    /// Domains that were not, with the reason; their energy comes with their next good reading.
    pub unread: Vec<(Rc<Domain>, String)>,
}

/// Rows by key, in order of appearance.
#[derive(Debug, Default)]
struct Rows {
    rows: Vec<WorkloadEnergy>,
    places: HashMap<WorkloadKey, usize>,
}

impl Rows {
    fn update(&mut self, key: WorkloadKey, change: impl FnOnce(&mut WorkloadEnergy)) {
        let place = *self.places.entry(key).or_insert_with(|| {
            self.rows.push(WorkloadEnergy::new(key));
            self.rows.len() - 1
        });
        if let Some(row) = self.rows.get_mut(place) {
            change(row);
        }
    }
}

/// Attributes the energy of one window. `state` is what the windows before left behind.
pub fn attribute(window: &Window, state: &mut State, policy: StaticPolicy) -> Attributed {
    let mut rows = Rows::default();
    for (key, nanos) in window.usage.rows() {
        rows.update(key, |row| row.cpu += nanos.iter().copied().sum());
    }
    let mut sets = Vec::new();
    let domains = window
        .domains
        .iter()
        .filter_map(|domain| attribute_domain(domain, state, policy, &mut rows, &mut sets))
        .collect();
    Attributed {
        duration: window.duration,
        edge_width: window.edge_width,
        suspended: window.suspended,
        accounts: window.accounts,
        workloads: rows.rows,
        domains,
        sets,
        unread: window.unread.clone(),
    }
}

fn attribute_domain(
    window: &DomainWindow,
    state: &mut State,
    policy: StaticPolicy,
    rows: &mut Rows,
    sets: &mut Vec<SetEnergy>,
) -> Option<DomainEnergy> {
    let domain = &window.domain;
    let learning = state.of(domain)?;
    if let Some(used) = window.usage.device() {
        return Some(device::attribute(window, used, learning.device(), rows));
    }
    let static_energy = learning.static_of(window);
    let above = window.metered.saturating_sub(static_energy);
    let parts = learning.parts(window, above);
    let weights: Vec<(WorkloadKey, u64)> = parts.rows.iter().map(|(key, part)| (*key, part.weight)).collect();
    let nobody = weights.iter().all(|(_, weight)| *weight == 0);
    let (dynamic_energy, lost) = if nobody { (Microjoules::ZERO, above) } else { (above, Microjoules::ZERO) };
    let dynamic = share::split(dynamic_energy.0, &weights);
    let given: u128 = dynamic.iter().map(|uj| u128::from(*uj)).sum();
    if given + u128::from(static_energy.0) + u128::from(lost.0) != u128::from(window.metered.0) {
        state.count_unbalanced();
    }
    let shared = match policy {
        StaticPolicy::Separate => vec![0; weights.len()],
        StaticPolicy::Proportional => share::split(static_energy.0, &by_cpu_time(window, &weights)),
    };
    let model_ratio = domain.bounds.map_or(0.0, model_stddev_ratio);
    for set in &parts.joint {
        sets.push(SetEnergy::new(domain, set, &weights, &dynamic));
    }
    for (((key, part), dynamic), shared) in parts.rows.iter().zip(dynamic).zip(shared) {
        let uncertainty = Uncertainty {
            split_uj: part.lasting_stddev_uj,
            model_uj: Microjoules(dynamic).joules() * 1e6 * model_ratio,
            meter_uj: part.passing_stddev_uj,
        };
        rows.update(*key, |row| {
            row.dynamic_energy += Microjoules(dynamic);
            row.static_energy += Microjoules(shared);
            row.uncertainty = row.uncertainty.plus(uncertainty);
            row.quality = Some(row.quality.map_or(domain.quality, |quality| quality.min(domain.quality)));
        });
    }
    Some(DomainEnergy {
        domain: Rc::clone(domain),
        metered: window.metered,
        dynamic_energy,
        static_energy,
        lost,
        gap: window.gap,
        duration: window.duration,
        method: parts.method,
        device: None,
    })
}

/// CPU time of the workloads of `weights`, in their order; the weights themselves where none of them has any.
fn by_cpu_time(window: &DomainWindow, weights: &[(WorkloadKey, u64)]) -> Vec<(WorkloadKey, u64)> {
    let used: HashMap<WorkloadKey, CpuNanos> = window.usage.on_package(window.domain.package).collect();
    let times: Vec<(WorkloadKey, u64)> =
        weights.iter().map(|(key, _)| (*key, used.get(key).map_or(0, |nanos| nanos.0))).collect();
    if times.iter().any(|(_, nanos)| *nanos > 0) { times } else { weights.to_vec() }
}

#[cfg(test)]
mod tests;
