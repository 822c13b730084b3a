//! Sums of a workload as integers, added and subtracted without ever falling below zero.

use crate::agent::WorkloadTotals;
use crate::units::{CpuNanos, Microjoules};

/// Energy of a domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Energy {
    /// Caused by running.
    pub dynamic_energy: Microjoules,
    /// A share of what is drawn when idle.
    pub static_energy: Microjoules,
}

/// Energies by domain, in the order of the published domains, and CPU time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Shorter where the last domains gave nothing.
    pub domains: Vec<Energy>,
    /// CPU time.
    pub cpu: CpuNanos,
}

impl From<&WorkloadTotals> for Sums {
    fn from(totals: &WorkloadTotals) -> Self {
        let energy = |of: &crate::agent::DomainSums| Energy {
            dynamic_energy: of.dynamic_energy,
            static_energy: of.static_energy,
        };
        Self { domains: totals.domains.iter().map(energy).collect(), cpu: totals.cpu }
    }
}

impl Sums {
    /// Adds another.
    pub fn add(&mut self, other: &Self) {
        if self.domains.len() < other.domains.len() {
            self.domains.resize(other.domains.len(), Energy::default());
        }
        for (own, more) in self.domains.iter_mut().zip(&other.domains) {
            own.dynamic_energy += more.dynamic_energy;
            own.static_energy += more.static_energy;
        }
        self.cpu += other.cpu;
    }

    /// What is more than in `other`; zero where it is less.
    #[must_use]
    pub fn less(&self, other: &Self) -> Self {
        let mut rest = self.clone();
        for (own, minus) in rest.domains.iter_mut().zip(&other.domains) {
            own.dynamic_energy = own.dynamic_energy.saturating_sub(minus.dynamic_energy);
            own.static_energy = own.static_energy.saturating_sub(minus.static_energy);
        }
        rest.cpu = rest.cpu.saturating_sub(other.cpu);
        rest
    }

    /// Energy of all domains and kinds; only to compare workloads with.
    pub fn energy(&self) -> Microjoules {
        self.domains.iter().map(|of| of.dynamic_energy + of.static_energy).sum()
    }
}
