//! Who caused the energy of a window. PURE: no input or output, no clock, no environment; numbers in, numbers out.
//!
//! Per domain: static energy is what idle power makes of the window's length ([`static_policy`]); the rest is
//! dynamic and split over the workloads of the domain's package by their CPU time ([`share`]); where nothing ran
//! there is nobody to give it to and it is stated as lost. To the microjoule, in every window and domain:
//!
//! ```text
//! metered = sum of the workloads' dynamic energy + static + lost
//! ```
//!
//! CPU time that no workload could be given ([`Accounts`]) takes no part in the split: its energy is in the
//! others' shares.

pub mod share;
pub mod static_policy;
pub mod totals;
pub mod uncertainty;

use crate::units::{CpuNanos, Microjoules, Quality};
use crate::window::{Accounts, Domain, DomainWindow, Window, WorkloadKey};
use static_policy::{StaticPolicy, StaticState};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;
use uncertainty::{Uncertainty, model_stddev_ratio, split_stddev_ratio};

/// What attribution carries from window to window, per domain. The caller keeps it.
#[derive(Clone, Debug, Default)]
pub struct State {
    statics: Vec<(Rc<Domain>, StaticState)>,
}

impl State {
    /// Domains whose meter shows less than their idle power asks for, and how much less since the start: their
    /// idle power is set too high.
    pub fn excess_static(&self) -> impl Iterator<Item = (&Rc<Domain>, Microjoules)> {
        self.statics
            .iter()
            .map(|(domain, state)| (domain, state.excess()))
            .filter(|(_, excess)| *excess > Microjoules::ZERO)
    }

    fn static_of(&mut self, window: &DomainWindow) -> Microjoules {
        let domain = &window.domain;
        let place = self.statics.iter().position(|(known, _)| **known == **domain).unwrap_or_else(|| {
            self.statics.push((Rc::clone(domain), StaticState::default()));
            self.statics.len() - 1
        });
        self.statics.get_mut(place).map_or(Microjoules::ZERO, |(_, state)| {
            state.static_of(domain.idle_watts, window.duration, window.metered, window.gap)
        })
    }
}

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
    let domains =
        window.domains.iter().map(|domain| attribute_domain(domain, state, policy, &mut rows)).collect();
    Attributed {
        duration: window.duration,
        edge_width: window.edge_width,
        suspended: window.suspended,
        accounts: window.accounts,
        workloads: rows.rows,
        domains,
        unread: window.unread.clone(),
    }
}

fn attribute_domain(
    window: &DomainWindow,
    state: &mut State,
    policy: StaticPolicy,
    rows: &mut Rows,
) -> DomainEnergy {
    let domain = &window.domain;
    let static_energy = state.static_of(window);
    let above = window.metered.saturating_sub(static_energy);
    let weights: Vec<(WorkloadKey, u64)> = window
        .usage
        .on_package(domain.package)
        .filter(|(_, nanos)| *nanos > CpuNanos::ZERO)
        .map(|(key, nanos)| (key, nanos.0))
        .collect();
    let (dynamic_energy, lost) =
        if weights.is_empty() { (Microjoules::ZERO, above) } else { (above, Microjoules::ZERO) };
    let dynamic = share::split(dynamic_energy.0, &weights);
    let shared = match policy {
        StaticPolicy::Separate => vec![0; weights.len()],
        StaticPolicy::Proportional => share::split(static_energy.0, &weights),
    };
    let model_ratio = domain.bounds.map_or(0.0, model_stddev_ratio);
    let split_ratios = split_ratios(&weights);
    for ((((key, _), dynamic), shared), split_ratio) in
        weights.iter().zip(dynamic).zip(shared).zip(split_ratios)
    {
        let energy_uj = Microjoules(dynamic).joules() * 1e6;
        rows.update(*key, |row| {
            row.dynamic_energy += Microjoules(dynamic);
            row.static_energy += Microjoules(shared);
            row.uncertainty = row
                .uncertainty
                .plus(Uncertainty { split_uj: energy_uj * split_ratio, model_uj: energy_uj * model_ratio });
            row.quality = Some(row.quality.map_or(domain.quality, |quality| quality.min(domain.quality)));
        });
    }
    DomainEnergy {
        domain: Rc::clone(domain),
        metered: window.metered,
        dynamic_energy,
        static_energy,
        lost,
        gap: window.gap,
    }
}

/// Relative standard deviation of each weight's share.
fn split_ratios(weights: &[(WorkloadKey, u64)]) -> impl Iterator<Item = f64> {
    let whole: f64 = weights.iter().map(|(_, nanos)| CpuNanos(*nanos).seconds()).sum();
    let share = move |nanos: u64| CpuNanos(nanos).seconds() / whole;
    let squares: f64 = weights.iter().map(|(_, nanos)| share(*nanos).powi(2)).sum();
    weights.iter().map(move |(_, nanos)| split_stddev_ratio(share(*nanos), squares))
}

#[cfg(test)]
mod tests;
