//! Attributed windows added up: exact integer sums, in bounded memory.

use super::static_policy::SharedBy;
use super::uncertainty::Uncertainty;
use super::{Attributed, DeviceEnergy, DomainEnergy, Method, SetEnergy, WorkloadEnergy};
use crate::units::{CpuNanos, Microjoules, Quality};
use crate::window::counts::{ByKind, plus};
use crate::window::{Accounts, Domain, WorkloadKey};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

/// Workloads kept by name, unless set otherwise; about 2 MB.
pub const KEYS_MAX: usize = 16_384;

/// Sets of workloads kept; they are a second view of the same energy, so that none is lost with what is not kept.
const SETS_MAX: usize = 64;

/// A workload's sums.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WorkloadTotal {
    /// CPU time.
    pub cpu: CpuNanos,
    /// Energy caused by running.
    pub dynamic_energy: Microjoules,
    /// Share of the static energy, where it is shared.
    pub static_energy: Microjoules,
    /// The part of `dynamic_energy` that accelerators drew.
    pub device_energy: Microjoules,
    /// Standard deviation of `device_energy`, in microjoules: of the split alone, so part of that of `uncertainty`.
    pub device_split_uj: f64,
    /// Idle energy of accelerators while it held them.
    pub held_energy: Microjoules,
    /// Of `dynamic_energy`.
    pub uncertainty: Uncertainty,
    /// Of `dynamic_energy`: what comes from memory modules; `None` where it has none of it.
    pub memory_energy: Option<Microjoules>,
    /// Events that were counted.
    pub counts: ByKind,
    /// The worst of the domains' splits that it has energy from; `None` where no domain measured it.
    pub quality: Option<Quality>,
}

impl WorkloadTotal {
    /// All kinds of energy.
    pub fn energy(&self) -> Microjoules {
        self.dynamic_energy + self.static_energy + self.held_energy
    }

    /// Dynamic energy that was split by CPU time: without that of accelerators.
    pub fn by_cpu(&self) -> (Microjoules, Uncertainty) {
        let split_uj = (self.uncertainty.split_uj - self.device_split_uj).max(0.0);
        (self.dynamic_energy.saturating_sub(self.device_energy), Uncertainty { split_uj, ..self.uncertainty })
    }

    /// Two sums as one; the quality is the lower.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            cpu: self.cpu + other.cpu,
            dynamic_energy: self.dynamic_energy + other.dynamic_energy,
            static_energy: self.static_energy + other.static_energy,
            device_energy: self.device_energy + other.device_energy,
            device_split_uj: self.device_split_uj + other.device_split_uj,
            held_energy: self.held_energy + other.held_energy,
            uncertainty: self.uncertainty.plus(other.uncertainty),
            memory_energy: match (self.memory_energy, other.memory_energy) {
                (Some(one), Some(other)) => Some(one + other),
                (one, other) => one.or(other),
            },
            counts: plus(self.counts, other.counts),
            quality: match (self.quality, other.quality) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            },
        }
    }
}

impl From<&WorkloadEnergy> for WorkloadTotal {
    fn from(energy: &WorkloadEnergy) -> Self {
        Self {
            cpu: energy.cpu,
            dynamic_energy: energy.dynamic_energy,
            static_energy: energy.static_energy,
            device_energy: energy.device_energy,
            device_split_uj: energy.device_split_uj,
            held_energy: energy.held_energy,
            uncertainty: energy.uncertainty,
            memory_energy: energy.memory_energy,
            counts: energy.counts,
            quality: energy.quality,
        }
    }
}

/// A domain's sums: metered = dynamic + static + lost.
#[derive(Clone, Debug, PartialEq)]
pub struct DomainTotal {
    /// Which domain.
    pub domain: Rc<Domain>,
    /// What the meter showed.
    pub metered: Microjoules,
    /// Given to workloads.
    pub dynamic_energy: Microjoules,
    /// By idle power.
    pub static_energy: Microjoules,
    /// What the static energy was shared by, the last time; `None` where it never was.
    pub static_by: Option<SharedBy>,
    /// Of `static_energy`: what was shared.
    pub static_shared: Microjoules,
    /// Given to nobody.
    pub lost: Microjoules,
    /// Windows in which a fault hid some energy.
    pub gaps: u64,
    /// How long those were together, with the failed readings before them.
    pub gap_time: Duration,
    /// Windows whose dynamic energy was split by learned watts; the others were split by CPU time.
    pub bank_windows: u64,
    /// The worst that its split was worth; `None` before there was any.
    pub split_quality: Option<Quality>,
    /// Windows at whose end it could not be read.
    pub unread: u64,
    /// Why, the last time, if its energy since then is still to come.
    pub pending: Option<String>,
    /// Of an accelerator.
    pub device: Option<DeviceEnergy>,
}

/// Sums over windows.
#[derive(Clone, Debug)]
pub struct Totals {
    keys_max: usize,
    workloads: HashMap<WorkloadKey, WorkloadTotal>,
    overflow_rows: u64,
    domains: Vec<DomainTotal>,
    sets: Vec<SetEnergy>,
    accounts: Accounts,
    duration: Duration,
    windows: u64,
    edge_width: Duration,
    suspended: Duration,
}

impl Default for Totals {
    fn default() -> Self {
        Self::new(KEYS_MAX)
    }
}

impl Totals {
    /// Keeps up to `keys_max` workloads by name; the rest share one row, [`WorkloadKey::OVERFLOW`].
    pub fn new(keys_max: usize) -> Self {
        Self {
            keys_max,
            workloads: HashMap::new(),
            overflow_rows: 0,
            domains: Vec::new(),
            sets: Vec::new(),
            accounts: Accounts::default(),
            duration: Duration::ZERO,
            windows: 0,
            edge_width: Duration::ZERO,
            suspended: Duration::ZERO,
        }
    }

    /// Adds a window.
    pub fn add(&mut self, window: &Attributed) {
        self.add_only(window, |_| true);
    }

    /// Adds a window, but of its workloads only those that `wanted` picks.
    pub fn add_only(&mut self, window: &Attributed, wanted: impl Fn(&WorkloadKey) -> bool) {
        self.duration = self.duration.saturating_add(window.duration);
        self.windows += 1;
        self.edge_width = self.edge_width.max(window.edge_width);
        self.suspended = self.suspended.saturating_add(window.suspended);
        self.accounts = self.accounts.plus(&window.accounts);
        for energy in window.workloads.iter().filter(|energy| wanted(&energy.key)) {
            let fits = self.workloads.len() < self.keys_max || self.workloads.contains_key(&energy.key);
            let key = if fits { energy.key } else { WorkloadKey::OVERFLOW };
            self.overflow_rows += u64::from(!fits);
            let total = self.workloads.entry(key).or_default();
            *total = total.plus(&energy.into());
        }
        for energy in &window.domains {
            self.add_domain(energy);
        }
        for set in window.sets.iter().filter(|set| set.keys.iter().all(&wanted)) {
            self.add_set(set);
        }
        for (domain, reason) in &window.unread {
            let total = self.domain(domain);
            total.unread += 1;
            total.pending = Some(reason.clone());
        }
    }

    fn add_set(&mut self, set: &SetEnergy) {
        let same = |sum: &&mut SetEnergy| sum.keys == set.keys && sum.domain == set.domain;
        if let Some(sum) = self.sets.iter_mut().find(same) {
            sum.dynamic_energy += set.dynamic_energy;
            sum.uncertainty = sum.uncertainty.plus(set.uncertainty);
        } else if self.sets.len() < SETS_MAX {
            self.sets.push(set.clone());
        }
    }

    fn add_domain(&mut self, energy: &DomainEnergy) {
        let total = self.domain(&energy.domain);
        total.metered += energy.metered;
        total.dynamic_energy += energy.dynamic_energy;
        total.static_energy += energy.static_energy;
        total.static_by = energy.static_by.or(total.static_by);
        total.static_shared += energy.static_shared;
        total.lost += energy.lost;
        total.gaps += u64::from(energy.gap.is_some());
        let quality = energy.split_quality;
        total.split_quality = Some(total.split_quality.map_or(quality, |known| known.min(quality)));
        total.gap_time = total.gap_time.saturating_add(energy.gap.unwrap_or_default());
        if let Some(device) = &energy.device {
            total.device.get_or_insert_default().add(device);
        }
        total.bank_windows += u64::from(energy.method == Method::Bank);
        total.pending = None;
    }

    fn domain(&mut self, domain: &Rc<Domain>) -> &mut DomainTotal {
        let place = self.domains.iter().position(|known| *known.domain == **domain);
        let place = place.unwrap_or(self.domains.len());
        if place == self.domains.len() {
            self.domains.push(DomainTotal {
                domain: Rc::clone(domain),
                metered: Microjoules::ZERO,
                dynamic_energy: Microjoules::ZERO,
                static_energy: Microjoules::ZERO,
                static_by: None,
                static_shared: Microjoules::ZERO,
                lost: Microjoules::ZERO,
                gaps: 0,
                gap_time: Duration::ZERO,
                bank_windows: 0,
                split_quality: None,
                unread: 0,
                pending: None,
                device: None,
            });
        }
        #[expect(clippy::indexing_slicing, reason = "found there, or pushed there just above")]
        &mut self.domains[place]
    }

    /// Workloads and their sums; the order has no meaning.
    pub fn workloads(&self) -> impl Iterator<Item = (WorkloadKey, &WorkloadTotal)> {
        self.workloads.iter().map(|(key, total)| (*key, total))
    }

    /// The sums of one workload, if it is kept by name.
    pub fn of(&self, key: WorkloadKey) -> Option<&WorkloadTotal> {
        self.workloads.get(&key)
    }

    /// The sum over the workloads that `wanted` picks, such as those of a run.
    pub fn sum_of(&self, wanted: impl Fn(&WorkloadKey) -> bool) -> WorkloadTotal {
        // By key, so that the sums of floats come out the same every time.
        let mut picked: Vec<_> = self.workloads.iter().filter(|(key, _)| wanted(key)).collect();
        picked.sort_unstable_by_key(|(key, _)| **key);
        picked.into_iter().fold(WorkloadTotal::default(), |sum, (_, total)| sum.plus(total))
    }

    /// How many rows of windows went to the row of the overflow.
    pub fn overflow_rows(&self) -> u64 {
        self.overflow_rows
    }

    /// Domains in order of appearance.
    pub fn domains(&self) -> &[DomainTotal] {
        &self.domains
    }

    /// Workloads that could not be told apart, with the energy of the windows in which they could not.
    pub fn sets(&self) -> &[SetEnergy] {
        &self.sets
    }

    /// CPU time outside workloads.
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// Length of all windows together.
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// How many windows.
    pub fn windows(&self) -> u64 {
        self.windows
    }

    /// How long the machine was suspended in all.
    pub fn suspended(&self) -> Duration {
        self.suspended
    }

    /// The widest edge of any.
    pub fn edge_width(&self) -> Duration {
        self.edge_width
    }
}
