//! What a bank has learned, as plain numbers: to be kept over a restart.
//!
//! Covariances between a workload and anything else are left out: they would be megabytes. What is resumed is therefore
//! made less sure than it was, which also stands for what has changed meanwhile.

use super::kinds::Kind;
use super::member::{COMMON, MU, Member, Prior};
use super::split::SET_VARIANCE_RATIO_MAX;
use super::{Alignment, Bank, Beforehand, Evidence, Experiments, Tried};
use crate::window::WorkloadKey;

/// Part of its prior variance that every state loses of what was known.
const LOST_RATIO: f64 = 0.05;
/// Windows that a resumed bank counts as, so that it is scored at once and its noise adapts no faster than usual.
const WINDOWS_OF_RESUMED: f64 = 1_000.0;

/// A bank after its warm-up.
#[derive(Clone, Debug, PartialEq)]
pub struct Learned {
    /// Idle power as believed before anything was learned, watts.
    pub prior_p0_w: f64,
    /// Its standard deviation.
    pub prior_p0_stddev_w: f64,
    /// Watts per CPU as believed after the warm-up.
    pub prior_watts_per_cpu: f64,
    /// CPUs online.
    pub cpus: u32,
    /// Slow mean of metered power, watts.
    pub mean_w: f64,
    /// Lag of the meter, once it is settled.
    pub lag_ratio: Option<f64>,
    /// In the order of their kinds.
    pub members: Vec<LearnedMember>,
    /// Workloads, in the order of `own` of the members.
    pub workloads: Vec<WorkloadKey>,
    /// Workloads that rise and fall together.
    pub together: Vec<Vec<WorkloadKey>>,
    /// Windows that it was learned from.
    pub windows: u64,
    /// Own watts held against changes of power.
    pub trust: Tried,
    /// Starts and stops as they were predicted.
    pub experiments: Experiments,
    /// Of idle power.
    pub evidence: Evidence,
}

/// One member.
#[derive(Clone, Debug, PartialEq)]
pub struct LearnedMember {
    /// Log density of what came.
    pub score: f64,
    /// Variance of the noise relative to power squared.
    pub noise_ratio: f64,
    /// States that are common to all workloads.
    pub common: Vec<f64>,
    /// Their covariance: lower triangle by rows.
    pub covariance: Vec<f64>,
    /// Rolling mean of the size of one-step errors, watts.
    pub error_w: f64,
    /// By workload; empty for CPU time.
    pub own: Vec<LearnedOwn>,
}

/// A workload's deviation from the common watts per CPU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LearnedOwn {
    /// Watts per CPU.
    pub deviation: f64,
    /// Its variance.
    pub variance: f64,
    /// Its covariance with the common watts; not resumed.
    pub with_common: f64,
}

impl Learned {
    /// What its members believe in. A file of before there was a gain has none of these.
    pub(super) fn kinds(&self) -> impl Iterator<Item = Kind> {
        let has_gain = self.members.len() == Kind::all().count();
        Kind::all().filter(move |kind| has_gain || !kind.drift.has_gain())
    }
}

impl Bank {
    /// What was learned; `None` while it warms up.
    pub fn learned(&self) -> Option<Learned> {
        (!self.members.is_empty()).then(|| Learned {
            prior_p0_w: self.prior.p0_w,
            prior_p0_stddev_w: self.prior.p0_stddev_w,
            prior_watts_per_cpu: self.prior.watts_per_cpu,
            cpus: self.beforehand.cpus,
            mean_w: self.mean_w,
            lag_ratio: self.alignment.is_none().then_some(self.lag),
            members: self.members.iter().map(Member::learned).collect(),
            workloads: self.slots.owners().to_vec(),
            together: self.tied(),
            windows: self.windows,
            trust: self.trust,
            experiments: self.experiments.clone(),
            evidence: self.evidence,
        })
    }

    /// A bank that goes on from there. `None` where the numbers make no sense or are of another machine: another number
    /// of CPUs is another machine.
    pub fn resume(beforehand: Beforehand, learned: &Learned) -> Option<Self> {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        let Learned { prior_p0_w, prior_p0_stddev_w, prior_watts_per_cpu, mean_w, .. } = learned;
        let numbers = [prior_p0_w, prior_p0_stddev_w, prior_watts_per_cpu, mean_w];
        let sound = numbers.into_iter().all(|value| positive(*value));
        if !sound || learned.cpus != beforehand.cpus {
            return None;
        }
        let kinds: Vec<Kind> = learned.kinds().collect();
        if learned.members.len() != kinds.len() {
            return None;
        }
        let mut bank = Self::new(beforehand);
        bank.prior = Prior {
            p0_w: learned.prior_p0_w,
            p0_stddev_w: learned.prior_p0_stddev_w,
            watts_per_cpu: learned.prior_watts_per_cpu,
            cpus: beforehand.cpus(),
            noise_ratio: 0.0,
        };
        bank.mean_w = learned.mean_w;
        let slots = bank.slots.assign(0.0, learned.workloads.iter().copied()).len();
        for _ in 0..slots {
            bank.together.grow();
            bank.hints.grow();
        }
        bank.now.slots = vec![0.0; slots];
        let corrected = learned.evidence.corrected(bank.prior);
        bank.prior = corrected.unwrap_or(bank.prior);
        bank.begin();
        // What was learned from a belief that was so wrong is worth nothing.
        if corrected.is_none() {
            // Nothing is said of those that are not in the file, so that they are not believed until they have shown it.
            let least = learned.members.iter().map(|member| member.score).fold(f64::INFINITY, f64::min);
            let mut kept = kinds.iter().zip(&learned.members).peekable();
            for member in &mut bank.members {
                if let Some((_, learned)) = kept.next_if(|(kind, _)| **kind == member.kind) {
                    member.resume(learned)?;
                } else {
                    member.score = least;
                }
            }
            bank.trust = Some(learned.trust).filter(Tried::is_sound).unwrap_or_default();
        }
        if let Some(lag) = learned.lag_ratio {
            bank.lag = lag.clamp(0.0, 1.0);
            bank.alignment = None::<Alignment>;
            bank.number = WINDOWS_OF_RESUMED;
        }
        for member in &mut bank.members {
            learned.evidence.teach(member);
        }
        bank.windows = learned.windows;
        bank.experiments = learned.experiments.clone();
        bank.evidence = learned.evidence;
        bank.weigh();
        Some(bank)
    }

    /// Workloads that rise and fall together and that the members have not told apart all the same, by key.
    fn tied(&self) -> Vec<Vec<WorkloadKey>> {
        let owner = |slot: usize| self.slots.owners().get(slot).copied();
        self.together
            .sets()
            .into_iter()
            .filter(|set| self.is_untold(set))
            .map(|set| set.into_iter().filter_map(owner).collect())
            .collect()
    }
}

impl Bank {
    /// Whether of these slots the power of all together is known much better than that of each, as in the split of a
    /// window in which each uses what it usually moves by.
    fn is_untold(&self, set: &[usize]) -> bool {
        let (mut joint, mut apart) = (0.0, 0.0);
        for (weight, member) in self.weighted().filter(|(_, member)| member.kind.drift.has_own()) {
            for one in set {
                for other in set {
                    let uses = self.together.scale(*one) * self.together.scale(*other);
                    // Of `mu + d`: what all have too much of is not what these two cannot be told apart by.
                    let covariance = |row, column| member.covariance.get(row, column);
                    let own = covariance(COMMON + one, COMMON + other)
                        + covariance(COMMON + one, MU)
                        + covariance(COMMON + other, MU)
                        + covariance(MU, MU);
                    let both = weight * uses * own;
                    joint += both;
                    apart += if one == other { both } else { 0.0 };
                }
            }
        }
        joint < SET_VARIANCE_RATIO_MAX * apart
    }
}

impl Member {
    fn learned(&self) -> LearnedMember {
        let covariance = (0..COMMON)
            .flat_map(|row| (0..=row).map(move |column| (row, column)))
            .map(|(row, column)| self.covariance.get(row, column));
        let own = self.state.iter().enumerate().skip(COMMON);
        LearnedMember {
            score: self.score,
            noise_ratio: self.noise_ratio(),
            common: self.state.iter().take(COMMON).copied().collect(),
            covariance: covariance.collect(),
            error_w: self.error_w,
            own: own
                .map(|(state, value)| LearnedOwn {
                    deviation: *value,
                    variance: self.covariance.get(state, state),
                    with_common: self.covariance.get(state, MU),
                })
                .collect(),
        }
    }

    /// Takes on what was learned, less sure than it was.
    fn resume(&mut self, learned: &LearnedMember) -> Option<()> {
        let LearnedMember { score, noise_ratio, common, covariance, error_w, own } = learned;
        let numbers = common.iter().chain(covariance).chain([score, noise_ratio, error_w]);
        let all_finite = numbers.chain(own.iter().flat_map(|own| [&own.deviation, &own.variance]));
        let slots = self.state.len().saturating_sub(COMMON);
        if !all_finite.into_iter().all(|number| number.is_finite())
            || common.len() != COMMON
            || own.len() != slots
        {
            return None;
        }
        for (state, value) in
            self.state.iter_mut().zip(common.iter().chain(own.iter().map(|own| &own.deviation)))
        {
            *state = *value;
        }
        let mut cells = covariance.iter();
        for row in 0..COMMON {
            for column in 0..=row {
                let lost = if row == column { LOST_RATIO * self.covariance.get(row, row) } else { 0.0 };
                self.covariance.set(row, column, cells.next()? + lost);
            }
        }
        let prior = self.own_variance();
        for (slot, LearnedOwn { variance, .. }) in own.iter().enumerate() {
            self.covariance.set(
                COMMON + slot,
                COMMON + slot,
                (variance + LOST_RATIO * prior).clamp(0.0, prior),
            );
        }
        (self.score, self.error_w) = (*score, error_w.max(0.0));
        self.set_noise_ratio(*noise_ratio);
        (self.covariance.is_sound() && self.covariance.smallest_pivot_ratio() > 0.0).then_some(())
    }
}
