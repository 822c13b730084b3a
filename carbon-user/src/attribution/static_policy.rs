//! Static energy: what a domain draws although nothing runs, and who is shown it.

use crate::claims::{Claims, RequestSource};
use crate::units::{CgroupId, CpuNanos, Microjoules, PackageId, Watts};
use crate::window::{DomainKind, Usage, WorkloadKey};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Who static energy is shown to. The split of metered energy into static and dynamic is the same under all.
///
/// Under every policy but the first, what is memory's (dram) goes by resident memory where that is known, except that
/// `equal` is equal everywhere. Where there is nobody to share with, it stays with the domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StaticPolicy {
    /// On its own, per domain; workloads carry dynamic energy only.
    #[default]
    Separate,
    /// Shared by CPU time among the workloads of the window, as ISO/IEC 21031 (SCI) needs it.
    Proportional,
    /// The same for all that were alive in the window: had a process at one of its edges, or ran in it.
    Equal,
    /// By what each asked for, whether it ran or not.
    Requests,
}

impl StaticPolicy {
    /// The word of `--static`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Separate => "separate",
            Self::Proportional => "proportional",
            Self::Equal => "equal",
            Self::Requests => "requests",
        }
    }

    /// Whether a window must hold [`Claims`] for it. Memory's static energy goes by them under every policy that shares,
    /// but is shared by CPU time where they are not there.
    pub fn needs_claims(self) -> bool {
        match self {
            Self::Separate | Self::Proportional => false,
            Self::Equal | Self::Requests => true,
        }
    }
}

impl fmt::Display for StaticPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a domain's static energy was shared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SharedBy {
    /// CPU time on its package.
    CpuTime,
    /// Being there.
    Alive,
    /// Memory that is resident.
    Resident,
    /// What was asked for.
    Requests(RequestSource),
}

impl SharedBy {
    /// The word in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CpuTime => "cpu-time",
            Self::Alive => "alive",
            Self::Resident => "resident-memory",
            Self::Requests(source) => source.as_str(),
        }
    }
}

/// Who shares a domain's static energy, in which proportion. No weights, or none above zero: it stays with the domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sharing {
    /// `None` where it is not shared.
    pub(super) by: Option<SharedBy>,
    /// Unique keys in order, so that a tie between remainders does not depend on how the books were read.
    pub(super) weights: Vec<(WorkloadKey, u64)>,
}

impl Sharing {
    fn of(by: SharedBy, weights: impl IntoIterator<Item = (WorkloadKey, u64)>) -> Self {
        let mut sums: BTreeMap<WorkloadKey, u64> = BTreeMap::new();
        for (key, weight) in weights {
            let sum = sums.entry(key).or_default();
            *sum = sum.saturating_add(weight);
        }
        Self { by: Some(by), weights: sums.into_iter().filter(|(_, weight)| *weight > 0).collect() }
    }
}

impl StaticPolicy {
    /// How the static energy of a domain of this kind on `package` is shared. `usage` is that of the same span.
    pub(super) fn sharing(
        self,
        kind: DomainKind,
        package: PackageId,
        usage: &Usage,
        claims: &Claims,
    ) -> Sharing {
        let by_cpu_time =
            || Sharing::of(SharedBy::CpuTime, usage.on_package(package).map(|(key, nanos)| (key, nanos.0)));
        let memory = || resident(claims).filter(|_| kind == DomainKind::Dram);
        match self {
            Self::Separate => Sharing::default(),
            Self::Proportional => memory().unwrap_or_else(by_cpu_time),
            Self::Equal => {
                let ran = usage.rows().filter(|(_, nanos)| nanos.iter().any(|nanos| *nanos > CpuNanos::ZERO));
                let mut alive: BTreeMap<WorkloadKey, u64> = ran.map(|(key, _)| (key, 1)).collect();
                for (cgroup, claim) in claims.rows() {
                    let count = alive.entry(key_of(cgroup)).or_default();
                    *count = (*count).max(claim.alive);
                }
                Sharing::of(SharedBy::Alive, alive)
            }
            Self::Requests => memory().or_else(|| requested(claims)).unwrap_or_default(),
        }
    }
}

fn key_of(cgroup: CgroupId) -> WorkloadKey {
    WorkloadKey::cgroup(cgroup)
}

fn resident(claims: &Claims) -> Option<Sharing> {
    let rows = claims.rows().filter_map(|(cgroup, claim)| Some((key_of(cgroup), claim.resident_bytes?)));
    Some(Sharing::of(SharedBy::Resident, rows)).filter(|sharing| !sharing.weights.is_empty())
}

/// Only of those that are there: a cgroup that holds others asked for what these have.
fn requested(claims: &Claims) -> Option<Sharing> {
    let source = claims.requests?;
    let rows = claims.rows().filter(|(_, claim)| claim.alive > 0);
    let rows = rows.filter_map(|(cgroup, claim)| Some((key_of(cgroup), claim.requested?)));
    Some(Sharing::of(SharedBy::Requests(source), rows))
}

/// The longest span of idle power that may be owed, in seconds. A meter that is read early or late owes for its
/// update interval (1 ms on RAPL, up to 1 s on slow sensors); a longer debt says that the idle power is too high,
/// and must not turn the next busy seconds into static energy. A meter that stood still owes for all of that time, and
/// shows it when it moves.
const RESIDUAL_SECONDS_MAX: f64 = 1.0;
/// A meter that works does not stand still for longer.
const STILL_SECONDS_MAX: f64 = 120.0;

/// What one domain carries from window to window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StaticState {
    /// Static energy by idle power less what was reported, in microjoules: signed, the rounding and what a window
    /// with less energy than its idle power could not hold.
    residual_uj: f64,
    /// Static energy by idle power that the meter never showed, in microjoules, since the start: above zero, idle
    /// power is set too high.
    excess_uj: f64,
    /// Seconds since the meter showed any energy.
    still_s: f64,
}

impl StaticState {
    /// Static energy by idle power that the meter never showed, since the start.
    pub fn excess(&self) -> Microjoules {
        Microjoules::from_joules(self.excess_uj / 1e6)
    }

    /// The static part of `metered` over `duration`: S = P0 x dt plus what is carried, at most `metered`; the rest
    /// is carried on, so that the sum over windows is unbiased, where cutting each window off at its energy would
    /// lose some every time. After a `gap` the meter shows only a part: nothing is carried.
    pub fn static_of(
        &mut self,
        idle: Option<Watts>,
        duration: Duration,
        metered: Microjoules,
        gap: bool,
    ) -> Microjoules {
        let Some(Watts(idle)) = idle.filter(|idle| idle.0.is_finite() && idle.0 > 0.0) else {
            return Microjoules::ZERO;
        };
        let due = idle * duration.as_secs_f64() * 1e6;
        if gap {
            return Microjoules::from_joules(due / 1e6).min(metered);
        }
        let due = due + self.residual_uj;
        let reported = Microjoules::from_joules(due / 1e6).min(metered);
        let residual = due - reported.joules() * 1e6;
        self.still_s = if metered == Microjoules::ZERO { self.still_s + duration.as_secs_f64() } else { 0.0 };
        let bound = idle * self.still_s.clamp(RESIDUAL_SECONDS_MAX, STILL_SECONDS_MAX) * 1e6;
        self.residual_uj = residual.clamp(-bound, bound);
        self.excess_uj += (residual - bound).max(0.0);
        reported
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn run(state: &mut StaticState, metered: u64) -> u64 {
        state.static_of(Some(Watts(2.0)), SECOND, Microjoules(metered), false).0
    }

    #[test]
    fn what_a_window_cannot_hold_is_carried_to_the_next() {
        let mut state = StaticState::default();
        assert_eq!(run(&mut state, 1_500_000), 1_500_000);
        assert_eq!(run(&mut state, 9_000_000), 2_500_000);
        assert_eq!(run(&mut state, 9_000_000), 2_000_000);
        assert_eq!(state.excess(), Microjoules::ZERO);
    }

    #[test]
    fn an_idle_power_above_the_meter_is_told_and_not_owed_for_ever() {
        let mut state = StaticState::default();
        for _ in 0..100 {
            assert_eq!(run(&mut state, 1_000_000), 1_000_000);
        }
        // 100 s at 2 W are 200 J; 100 J were metered, and 2 J are still owed.
        assert_eq!(state.excess(), Microjoules(98_000_000));
        assert_eq!(run(&mut state, 50_000_000), 4_000_000);
    }

    #[test]
    fn a_meter_that_stood_still_owes_for_all_of_the_time() {
        let mut state = StaticState::default();
        for _ in 0..30 {
            assert_eq!(run(&mut state, 0), 0);
        }
        assert_eq!(run(&mut state, 500_000_000), 62_000_000);
        assert_eq!(run(&mut state, 500_000_000), 2_000_000);
        assert_eq!(state.excess(), Microjoules::ZERO);
        // One that has gone does not.
        for _ in 0..1_000 {
            run(&mut state, 0);
        }
        assert_eq!(run(&mut state, 500_000_000), 242_000_000);
    }

    #[test]
    fn a_gap_carries_nothing() {
        let mut state = StaticState::default();
        assert_eq!(state.static_of(Some(Watts(2.0)), SECOND, Microjoules(5), true), Microjoules(5));
        assert_eq!(state, StaticState::default());
    }

    #[test]
    fn without_an_idle_power_all_is_dynamic() {
        for idle in
            [None, Some(Watts(0.0)), Some(Watts(-1.0)), Some(Watts(f64::NAN)), Some(Watts(f64::INFINITY))]
        {
            let mut state = StaticState::default();
            assert_eq!(state.static_of(idle, SECOND, Microjoules(5), false), Microjoules::ZERO);
        }
    }

    proptest! {
        #[test]
        fn over_many_windows_static_is_idle_power_times_time(
            windows in prop::collection::vec((1_u64..3_000_000_000, 0.0..2.0), 1..200)
        ) {
            // The meter shows this window's energy early or late by up to 10 ms at 30 W; idle power is 7.3 W.
            let (mut state, mut sum, mut seconds, mut early_uj) = (StaticState::default(), 0, 0.0, 0.0);
            for (ns, jitter) in windows {
                let duration = Duration::from_nanos(ns);
                let exact = 7.3e6 * duration.as_secs_f64() - early_uj;
                early_uj = jitter * 1e4;
                let metered = Microjoules::from_joules(((exact + early_uj) / 1e6).max(0.0));
                let part = state.static_of(Some(Watts(7.3)), duration, metered, false);
                prop_assert!(part <= metered);
                sum += part.0;
                seconds += duration.as_secs_f64();
            }
            let due = Microjoules::from_joules(7.3 * seconds).0;
            prop_assert!(due.abs_diff(sum) <= 7_300_001, "due {} got {}", due, sum);
            prop_assert_eq!(state.excess(), Microjoules::ZERO);
        }
    }
}
