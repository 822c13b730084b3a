//! What a run used: sums of all its domains, and of each.

use crate::attribution::totals::WorkloadTotal;
use crate::attribution::{Share, WorkloadEnergy};
use crate::ledger::rows::DomainId;
use crate::units::{Microjoules, Quality};
use crate::window::DomainKind;

/// Energy from one domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainPart {
    /// Which.
    pub domain: DomainId,
    /// Caused by running.
    pub dynamic_energy: Microjoules,
    /// A share of what is drawn when idle.
    pub static_energy: Microjoules,
    /// Idle energy of an accelerator that it held.
    pub held_energy: Microjoules,
    /// The lowest of its splits.
    pub quality: Quality,
}

/// Energy of a run or a part of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Energy {
    /// All domains together.
    pub total: WorkloadTotal,
    /// Each, in order of appearance: they sum to the total.
    pub domains: Vec<DomainPart>,
}

impl Energy {
    pub(super) fn add_row(&mut self, row: &WorkloadEnergy) {
        self.total = self.total.plus(&row.into());
    }

    pub(super) fn add_share(&mut self, share: &Share) {
        let domain = &share.domain;
        let known = |part: &DomainPart| {
            part.domain.domain == domain.kind.as_str()
                && part.domain.device == domain.device
                && part.domain.source == domain.source
        };
        let place = self.domains.iter().position(known).unwrap_or_else(|| {
            self.domains.push(DomainPart {
                domain: DomainId {
                    domain: domain.kind.as_str().to_owned(),
                    device: domain.device.clone(),
                    source: domain.source.clone(),
                    quality: domain.quality,
                },
                dynamic_energy: Microjoules::ZERO,
                static_energy: Microjoules::ZERO,
                held_energy: Microjoules::ZERO,
                quality: share.quality,
            });
            self.domains.len() - 1
        });
        let Some(part) = self.domains.get_mut(place) else { return };
        part.dynamic_energy += share.dynamic_energy;
        part.quality = part.quality.min(share.quality);
        // Idle energy of an accelerator is its holders', by no policy.
        if domain.kind == DomainKind::Gpu {
            part.held_energy += share.static_energy;
        } else {
            part.static_energy += share.static_energy;
        }
    }
}
