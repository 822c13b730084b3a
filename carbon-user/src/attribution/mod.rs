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
//! Static energy is shown on its own or shared ([`StaticPolicy`]); what is shared sums to the domain's, too.
//!
//! The energy of an accelerator is split by who used it (`device`), by the same equation.
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
use crate::window::counts::{ByKind, CounterKind, Counts, plus};
use crate::window::{Accounts, Domain, DomainKind, DomainWindow, Window, WorkloadKey};
use bank::JointSplit;
use rustc_hash::FxHashMap;
use static_policy::{SharedBy, StaticPolicy};
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
    /// Standard deviation of `device_energy`, in microjoules: of the split alone, so part of that of `uncertainty`.
    pub device_split_uj: f64,
    /// Idle energy of accelerators while it held them; neither dynamic nor static energy of it.
    pub held_energy: Microjoules,
    /// Of `dynamic_energy`.
    pub uncertainty: Uncertainty,
    /// Of `dynamic_energy`: what comes from memory modules; `None` where it has none of it.
    pub memory_energy: Option<Microjoules>,
    /// Events that were counted.
    pub counts: ByKind,
    /// The worst of the domains' splits that it has energy from; `None` where no domain measures its packages.
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
            device_split_uj: 0.0,
            held_energy: Microjoules::ZERO,
            uncertainty: Uncertainty::default(),
            memory_energy: None,
            counts: ByKind::default(),
            quality: None,
        }
    }

    fn has_energy_of(&mut self, quality: Quality) {
        self.quality = Some(self.quality.map_or(quality, |known| known.min(quality)));
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
    /// What the static energy was shared by; `None` where it was not.
    pub static_by: Option<SharedBy>,
    /// Of `static_energy`: what was shared, and so is in the workloads' sums too.
    pub static_shared: Microjoules,
    /// Above static, with no CPU time at all to give it to.
    pub lost: Microjoules,
    /// A fault hid some energy of this span: of how long a part.
    pub gap: Option<Duration>,
    /// The span: longer than the window after failed readings.
    pub duration: Duration,
    /// How the dynamic energy was split.
    pub method: Method,
    /// What the split among workloads is worth at best.
    pub split_quality: Quality,
    /// Of an accelerator.
    pub device: Option<DeviceEnergy>,
}

/// What a workload's part of a domain is worth at best. A package's energy follows the CPU time that is counted on it;
/// memory's follows accesses, of which those that miss the last cache are most, and CPU time is but a model; so it is of a
/// whole machine, with its fans, disks and losses. An accelerator's has a rule of its own (`device`).
fn split_quality(domain: &Domain, method: Method) -> Quality {
    match (domain.kind, method) {
        (DomainKind::Package, _) => domain.quality,
        (DomainKind::Dram, Method::LlcMisses) | (DomainKind::Gpu, _) => domain.quality.min(Quality::Sampled),
        (DomainKind::Dram, Method::Bank | Method::CpuTime) | (DomainKind::Platform, _) => {
            domain.quality.min(Quality::Modelled)
        }
    }
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

/// What one domain gave to one workload. Over all shares of a domain the dynamic energies sum to the domain's, and the
/// static ones to what it shared or had held.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// Which domain.
    pub domain: Rc<Domain>,
    /// Whose.
    pub key: WorkloadKey,
    /// Caused by running.
    pub dynamic_energy: Microjoules,
    /// Shared or held idle energy.
    pub static_energy: Microjoules,
    /// Of `dynamic_energy`.
    pub uncertainty: Uncertainty,
    /// Of the split.
    pub quality: Quality,
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
    /// The same energy by domain and workload; none that is zero.
    pub shares: Vec<Share>,
    /// Workloads that could not be told apart, per domain.
    pub sets: Vec<SetEnergy>,
    /// Domains that were not, with the reason; their energy comes with their next good reading.
    pub unread: Vec<(Rc<Domain>, String)>,
}

/// Rows by key, in order of appearance.
#[derive(Debug, Default)]
struct Rows {
    all: Vec<WorkloadEnergy>,
    places: FxHashMap<WorkloadKey, usize>,
    shares: Vec<Share>,
}

impl Rows {
    fn update(&mut self, key: WorkloadKey, change: impl FnOnce(&mut WorkloadEnergy)) {
        let place = *self.places.entry(key).or_insert_with(|| {
            self.all.push(WorkloadEnergy::new(key));
            self.all.len() - 1
        });
        if let Some(row) = self.all.get_mut(place) {
            change(row);
        }
    }

    fn share(&mut self, share: Share) {
        if share.dynamic_energy > Microjoules::ZERO || share.static_energy > Microjoules::ZERO {
            self.shares.push(share);
        }
    }
}

/// Attributes the energy of one window. `state` is what the windows before left behind.
pub fn attribute(window: &Window, state: &mut State, policy: StaticPolicy) -> Attributed {
    let mut rows = Rows::default();
    for (key, nanos) in window.usage.rows() {
        rows.update(key, |row| row.cpu += nanos.iter().copied().sum());
    }
    for (key, counts) in window.counts.rows() {
        rows.update(key, |row| row.counts = plus(row.counts, counts));
    }
    let mut sets = Vec::new();
    let domains = window
        .domains
        .iter()
        .filter_map(|domain| attribute_domain(domain, window, state, policy, &mut rows, &mut sets))
        .collect();
    Attributed {
        duration: window.duration,
        edge_width: window.edge_width,
        suspended: window.suspended,
        accounts: window.accounts,
        workloads: rows.all,
        domains,
        shares: rows.shares,
        sets,
        unread: window.unread.clone(),
    }
}

fn attribute_domain(
    window: &DomainWindow,
    whole: &Window,
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
    // Not where the meter shows a longer span than events were counted in.
    let same_span = window.duration == whole.duration && !whole.counts.kinds().is_empty();
    let counts = same_span.then_some(&*whole.counts);
    let static_energy = learning.static_of(window, counts);
    let above = window.metered.saturating_sub(static_energy);
    let parts = learning.parts(window, above, counts.and_then(|counts| accesses(domain, counts)));
    let weights: Vec<(WorkloadKey, u64)> = parts.rows.iter().map(|(key, part)| (*key, part.weight)).collect();
    let nobody = weights.iter().all(|(_, weight)| *weight == 0);
    let (dynamic_energy, lost) = if nobody { (Microjoules::ZERO, above) } else { (above, Microjoules::ZERO) };
    let dynamic = share::split(dynamic_energy.0, &weights);
    let given: u128 = dynamic.iter().map(|uj| u128::from(*uj)).sum();
    if given + u128::from(static_energy.0) + u128::from(lost.0) != u128::from(window.metered.0) {
        state.count_unbalanced();
    }
    let mut sharing = policy.sharing(domain.kind, domain.package, &window.usage, &whole.claims);
    if sharing.by == Some(SharedBy::CpuTime) && sharing.weights.is_empty() {
        // A meter that lags shows energy of those who ran just before.
        sharing.weights.clone_from(&weights);
    }
    let mut shared = Microjoules::ZERO;
    for ((key, _), part) in sharing.weights.iter().zip(share::split(static_energy.0, &sharing.weights)) {
        shared += Microjoules(part);
        rows.share(Share {
            domain: Rc::clone(domain),
            key: *key,
            dynamic_energy: Microjoules::ZERO,
            static_energy: Microjoules(part),
            uncertainty: Uncertainty::default(),
            quality: domain.quality,
        });
        rows.update(*key, |row| {
            row.static_energy += Microjoules(part);
            row.has_energy_of(domain.quality);
        });
    }
    let model_ratio = domain.bounds.map_or(0.0, model_stddev_ratio);
    for set in &parts.joint {
        sets.push(SetEnergy::new(domain, set, &weights, &dynamic));
    }
    let split_quality = split_quality(domain, parts.method);
    for ((key, part), dynamic) in parts.rows.iter().zip(dynamic) {
        let uncertainty = Uncertainty {
            split_uj: part.lasting_stddev_uj,
            model_uj: Microjoules(dynamic).joules() * 1e6 * model_ratio,
            meter_uj: part.passing_stddev_uj,
        };
        rows.share(Share {
            domain: Rc::clone(domain),
            key: *key,
            dynamic_energy: Microjoules(dynamic),
            static_energy: Microjoules::ZERO,
            uncertainty,
            quality: split_quality,
        });
        rows.update(*key, |row| {
            row.dynamic_energy += Microjoules(dynamic);
            row.uncertainty = row.uncertainty.plus(uncertainty);
            if domain.kind == DomainKind::Dram {
                row.memory_energy = Some(row.memory_energy.unwrap_or_default() + Microjoules(dynamic));
            }
            row.has_energy_of(split_quality);
        });
    }
    Some(DomainEnergy {
        domain: Rc::clone(domain),
        metered: window.metered,
        dynamic_energy,
        static_energy,
        static_by: sharing.by,
        static_shared: shared,
        lost,
        gap: window.gap,
        duration: window.duration,
        method: parts.method,
        split_quality,
        device: None,
    })
}

/// What memory's energy is split by where it is counted: accesses that missed the last cache.
fn accesses(domain: &Domain, counts: &Counts) -> Option<Vec<(WorkloadKey, u64)>> {
    if domain.kind != DomainKind::Dram {
        return None;
    }
    let misses = counts.on_package(CounterKind::LlcMisses, domain.package)?;
    let misses: Vec<_> = misses.into_iter().filter(|(_, count)| *count > 0).collect();
    (!misses.is_empty()).then_some(misses)
}

#[cfg(test)]
mod tests;
