//! What a bank believes, in numbers for people: from what it keeps over a restart, so that nothing has to run.

use super::StaticPower;
use super::kinds::Kind;
use super::learned::{Learned, LearnedMember, LearnedOwn};
use super::member::{MU, P0, WAKE};
use crate::units::Watts;
use crate::window::WorkloadKey;

/// Standard deviation of own watts over the common ones where nothing is known of a workload, as everywhere in the bank.
const UNKNOWN_OWN_RATIO: f64 = 0.4;

/// One member.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MemberInsight {
    /// What it believes in.
    pub kind: Kind,
    /// Its weight, 0 to 1.
    pub weight_ratio: f64,
    /// Log density of what came, forgotten slowly.
    pub score: f64,
    /// Rolling mean of the size of its one-step errors.
    pub error: Watts,
    /// Its idle power.
    pub p0: Watts,
    /// What leaving package idle costs, by it.
    pub wake: Watts,
}

/// What a workload's CPU time costs at 0.3 of the package's CPUs in use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OwnWatts {
    /// Whose.
    pub key: WorkloadKey,
    /// Watts per busy CPU.
    pub per_cpu: Watts,
    /// Its standard deviation.
    pub stddev: Watts,
}

fn cell(member: &LearnedMember, one: usize, other: usize) -> f64 {
    let (row, column) = (one.max(other), one.min(other));
    member.covariance.get(row * (row + 1) / 2 + column).copied().unwrap_or(0.0)
}

fn state(member: &LearnedMember, place: usize) -> f64 {
    member.common.get(place).copied().unwrap_or(0.0)
}

/// Idle power given that waking costs at least nothing, as in [`Member::constrained`](super::member::Member).
fn p0_of(member: &LearnedMember) -> f64 {
    let (wake, variance) = (state(member, WAKE), cell(member, WAKE, WAKE));
    let below = if wake < 0.0 && variance > 0.0 { cell(member, P0, WAKE) * wake / variance } else { 0.0 };
    (state(member, P0) - below).max(0.0)
}

/// Mean and variance of a mixture: of each its weight, mean and variance.
fn mixture(parts: &[(f64, f64, f64)]) -> (f64, f64) {
    let whole: f64 = parts.iter().map(|(weight, ..)| weight).sum();
    let mean = parts.iter().map(|(weight, mean, _)| weight * mean).sum::<f64>() / whole;
    let spread = |(weight, own, variance): &(f64, f64, f64)| weight * (variance + (own - mean).powi(2));
    (mean, parts.iter().map(spread).sum::<f64>() / whole)
}

impl Learned {
    /// Members with weight, sum 1.
    fn weighted(&self) -> Vec<(f64, &LearnedMember, Kind)> {
        let logs: Vec<f64> = self
            .members
            .iter()
            .zip(self.kinds())
            .map(|(member, kind)| member.score + kind.prior_weight().ln())
            .collect();
        let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let whole: f64 = logs.iter().map(|log| (log - most).exp()).sum();
        let weights = logs.iter().map(|log| (log - most).exp() / whole);
        weights
            .zip(&self.members)
            .zip(self.kinds())
            .map(|((weight, member), kind)| (weight, member, kind))
            .collect()
    }

    /// All members, in the order of their kinds.
    pub fn insight(&self) -> Vec<MemberInsight> {
        let of = |(weight_ratio, member, kind): (f64, &LearnedMember, Kind)| MemberInsight {
            kind,
            weight_ratio,
            score: member.score,
            error: Watts(member.error_w),
            p0: Watts(p0_of(member)),
            wake: Watts(state(member, WAKE).max(0.0)),
        };
        self.weighted().into_iter().map(of).collect()
    }

    /// Idle power, over all members.
    pub fn idle_power(&self) -> StaticPower {
        let parts: Vec<_> = self
            .weighted()
            .iter()
            .map(|(weight, member, _)| (*weight, p0_of(member), cell(member, P0, P0).max(0.0)))
            .collect();
        let (mean, variance) = mixture(&parts);
        let stddev = Watts(variance.sqrt());
        StaticPower {
            now: Watts(mean),
            p0: Watts(mean),
            stddev,
            identified: stddev.0 < 0.5 * self.prior_p0_stddev_w,
        }
    }

    /// Each workload's watts, over all members, in the order of the workloads; of what they deviate by as much as changes
    /// of power bear out, as in the split, and the interval reaches to what is left out.
    pub fn own_watts(&self) -> Vec<OwnWatts> {
        let (members, trust_ratio) = (self.weighted(), self.trust.ratio());
        let own = |(slot, key): (usize, &WorkloadKey)| {
            let of = |(weight, member, _): &(f64, &LearnedMember, Kind)| {
                let (mean, variance) = member.own_watts(slot);
                (*weight, mean, variance)
            };
            let (mean, variance) = mixture(&members.iter().map(of).collect::<Vec<_>>());
            let common: f64 = members.iter().map(|(weight, member, _)| weight * state(member, MU)).sum();
            let believed = common + trust_ratio * (mean - common);
            let (mean, variance) = (believed, variance + (mean - believed).powi(2));
            OwnWatts { key: *key, per_cpu: Watts(mean.max(0.0)), stddev: Watts(variance.max(0.0).sqrt()) }
        };
        self.workloads.iter().enumerate().map(own).collect()
    }

    /// Rolling mean of one-step errors, weighted over members.
    pub fn error(&self) -> Watts {
        Watts(self.weighted().iter().map(|(weight, member, _)| weight * member.error_w).sum())
    }
}

impl LearnedMember {
    /// Mean and variance of the watts of the workload in a slot.
    fn own_watts(&self, slot: usize) -> (f64, f64) {
        let (mu, of_mu) = (state(self, MU), cell(self, MU, MU).max(0.0));
        let Some(LearnedOwn { deviation, variance, with_common }) = self.own.get(slot) else {
            return (mu, of_mu + (UNKNOWN_OWN_RATIO * mu).powi(2));
        };
        (mu + deviation, (variance + of_mu + 2.0 * with_common).max(0.0))
    }
}
