//! Whether own watts are worth anything: held against what power changes by.
//!
//! A member is chosen by how well it predicts a window, and on a node whose power is moved by what CPU time does not show
//! that is won by following the power, whatever for. Then deviations from the common watts are noise, and worse than
//! none. What they are for tells them apart: when uses change, power has to change by what they say, beyond what CPU time says.
//! With `y` what power changed by beyond what it would have by CPU time alone, and `x` what the members say of that
//! before they have seen it, the slope of `y` on `x` is one where own watts are right and nothing where they are noise.

use super::Bank;
use super::member::Look;
use super::used::Use;

/// Seconds in which it is forgotten.
const MEMORY_S: f64 = 1_000.0;
/// Changes that are not looked at: members have hardly learned anything yet.
const UNTRIED: f64 = 20.0;
/// Own watts are cut down only where the slope is below one by more than so many of its standard deviations.
const SIGMAS: f64 = 1.0;
/// A slope that is below one by less than this is no reason: what was believed at first was worse than what is now.
const SLACK_RATIO: f64 = 0.05;
/// Changes before anything is said.
const WEIGHT_MIN: f64 = 20.0;
/// A change this many times as large as usual tells of a gust.
const GUST_RATIO: f64 = 3.0;

/// Sums of a regression through the origin.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Trust {
    /// Changes of power seen.
    pub windows: f64,
    /// Sum of the squares of what own watts say beyond CPU time, watts squared.
    pub xx: f64,
    /// Sum of the products of that with what came.
    pub xy: f64,
    /// Sum of the squares of what own watts leave, and the weight that it is of.
    pub left: f64,
    /// Changes in these sums, those of long ago as the part that is not forgotten.
    pub weight: f64,
}

impl Trust {
    /// Takes in a change: in watts, what was said of it by CPU time, and by own watts.
    pub(super) fn add(&mut self, seconds: f64, changed: f64, by_cpu_time: f64, by_own: f64) {
        self.windows += 1.0;
        if self.windows <= UNTRIED || ![changed, by_cpu_time, by_own].into_iter().all(f64::is_finite) {
            return;
        }
        let x = by_own - by_cpu_time;
        let kept = (-seconds / MEMORY_S).exp();
        let left = changed - by_own;
        let usual = GUST_RATIO * (self.left / self.weight.max(1e-12)).sqrt();
        let left = if self.weight > WEIGHT_MIN { left.clamp(-usual, usual) } else { left };
        let y = x + left;
        self.xx = self.xx * kept + x * x;
        self.xy = self.xy * kept + x * y;
        self.left = self.left * kept + left * left;
        self.weight = self.weight * kept + 1.0;
    }

    /// Whether it can have come from windows: a file may say anything.
    pub(super) fn is_sound(&self) -> bool {
        let Self { windows, xx, xy, left, weight } = *self;
        xy.is_finite() && [windows, xx, left, weight].into_iter().all(|sum| sum.is_finite() && sum >= 0.0)
    }

    /// How much of the deviations is to be believed: 1 unless changes of power say less.
    pub fn ratio(&self) -> f64 {
        if self.weight < WEIGHT_MIN || self.xx <= 0.0 {
            return 1.0;
        }
        let stddev = (self.left / self.weight / self.xx).sqrt();
        (self.xy / self.xx + SIGMAS * stddev + SLACK_RATIO).clamp(0.0, 1.0)
    }
}

impl Bank {
    /// Holds own watts against what power changed by.
    pub(super) fn try_own(&mut self, used: &Use) {
        let Some((before, watts, _)) = &self.previous else { return };
        let now = self.look(used, self.number);
        let then = Look { slots: &before.slots, wake: before.wake, busy: before.busy, watts: *watts, ..now };
        let (mut own, mut plain) = ((0.0, 0.0), (0.0, 0.0));
        let best = |has_own: bool| {
            let of = self.weighted().filter(move |(_, member)| member.kind.drift.has_own() == has_own);
            of.map(|(_, member)| member.score).fold(f64::NEG_INFINITY, f64::max)
        };
        let (best_own, best_plain) = (best(true), best(false));
        for (_, member) in self.weighted() {
            let (sum, best) =
                if member.kind.drift.has_own() { (&mut own, best_own) } else { (&mut plain, best_plain) };
            let weight = (member.score - best).exp() * member.kind.prior_weight();
            if weight > 1e-4 {
                sum.0 += weight;
                sum.1 += weight * (member.expected_w(&now) - member.expected_w(&then));
            }
        }
        if own.0 > 0.0 && plain.0 > 0.0 {
            self.trust.add(self.seconds, self.watts - watts, plain.1 / plain.0, own.1 / own.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Beforehand, Learned, Observation};
    use super::*;
    use crate::units::{CgroupId, Watts};
    use crate::window::WorkloadKey;
    use std::collections::BTreeMap;

    /// A mean of 0, a span of 1.
    fn noise(seed: u32) -> f64 {
        f64::from(
            seed.wrapping_mul(2_654_435_761).wrapping_add(12_345).rotate_left(13).wrapping_mul(0x9e37_79b9),
        ) / f64::from(u32::MAX)
            - 0.5
    }

    /// Of own watts that say `right` of what comes, beside noise of their own.
    fn ratio(right: f64) -> f64 {
        let mut trust = Trust::default();
        for number in 0..600 {
            let (said, plain, gust) = (4.0 * noise(number), noise(number + 7_000), noise(number + 90_000));
            trust.add(1.0, plain + right * said + gust, plain, plain + said);
        }
        trust.ratio()
    }

    #[test]
    fn what_comes_true_is_believed_and_noise_is_not() {
        assert!(ratio(1.0) > 0.98, "{}", ratio(1.0));
        assert!((0.4..0.7).contains(&ratio(0.5)), "{}", ratio(0.5));
        assert!(ratio(0.0) < 0.2, "{}", ratio(0.0));
        assert!(ratio(-1.0).abs() < 1e-12, "{}", ratio(-1.0));
    }

    #[test]
    fn a_gust_is_no_verdict_and_no_number_none() {
        let mut trust = Trust::default();
        assert!((trust.ratio() - 1.0).abs() < f64::EPSILON);
        for number in 0..600 {
            let said = 4.0 * noise(number);
            let gust = if number % 50 == 49 { -100.0 * said } else { 0.1 * noise(number + 5_000) };
            trust.add(1.0, said + gust, 0.0, said);
            trust.add(1.0, f64::NAN, 0.0, said);
        }
        assert!(trust.ratio() > 0.9, "{}", trust.ratio());
    }

    const OF_ALL_W: f64 = 6.0;

    fn key(id: u64) -> WorkloadKey {
        WorkloadKey::cgroup(CgroupId(id))
    }

    /// Eight workloads that come and go and draw the same, on a node of which something unseen moves the power by half of
    /// its idle power; how wrong their shares are in the second half, and the bank.
    fn moved_by_what_is_not_seen() -> (f64, Bank) {
        let beforehand = Beforehand { cpus: 16, idle: Some(Watts(30.0)), per_cpu: Some(Watts(OF_ALL_W)) };
        let mut bank = Bank::new(beforehand);
        let (mut told, mut truth) = (BTreeMap::new(), BTreeMap::new());
        for second in 0..600 {
            let on = |id: u32| noise(second / (9 + 4 * id) + 1_000 * id) > -0.1;
            let rows: Vec<_> = (0..8)
                .filter(|id| on(*id))
                .map(|id| (key(u64::from(id)), 0.6 + 0.3 * noise(50_000 + second * 8 + id)))
                .collect();
            let used: f64 = rows.iter().map(|(_, cpu_s)| cpu_s).sum();
            let unseen = if noise(second / 11 + 77_777) > 0.0 { 1.5 } else { 1.0 };
            let joules = 30.0 * unseen + OF_ALL_W * used;
            let seen = Observation { seconds: 1.0, joules, wake_ratio: Some(1.0), rows: &rows, events: &[] };
            if bank.observe(&seen).is_none() || second < 300 {
                continue;
            }
            for split in bank.split(1.0).0 {
                *told.entry(split.key).or_insert(0.0) += split.share_ratio;
            }
            for (key, cpu_s) in rows {
                *truth.entry(key).or_insert(0.0) += cpu_s / used;
            }
        }
        let whole: f64 = truth.values().sum();
        let apart: f64 = truth.iter().map(|(key, share)| (told[key] - share).abs()).sum();
        (apart / whole, bank)
    }

    #[test]
    fn where_power_is_moved_by_what_is_not_seen_own_watts_are_cut_down() {
        let (error, bank) = moved_by_what_is_not_seen();
        println!("error {error} ratio {}", bank.trust.ratio());
        assert!(error < 0.05, "{error}");
        assert!(bank.trust.ratio() < 0.5, "{:?}", bank.trust);
    }

    #[test]
    fn what_is_believed_outlives_a_restart_and_is_shown() {
        let (_, bank) = moved_by_what_is_not_seen();
        let learned = bank.learned().unwrap();
        let resumed = Bank::resume(bank.beforehand, &learned).unwrap();
        assert_eq!(resumed.trust, bank.trust);
        let sums = [f64::NAN, f64::INFINITY, -1.0].map(|xx| Trust { xx, ..bank.trust });
        for trust in sums {
            let resumed = Bank::resume(bank.beforehand, &Learned { trust, ..learned.clone() }).unwrap();
            assert_eq!(resumed.trust, Trust::default());
        }
        let apart = |learned: &Learned| {
            let watts: Vec<f64> = learned.own_watts().iter().map(|own| own.per_cpu.0).collect();
            let mean = watts.iter().sum::<f64>() / 8.0;
            watts.iter().map(|watts| (watts - mean).abs()).sum::<f64>() / 8.0
        };
        let untried = Learned { trust: Trust::default(), ..learned.clone() };
        let (shown, members_say) = (apart(&learned), apart(&untried));
        assert!((shown / members_say - bank.trust.ratio()).abs() < 0.05, "{shown} of {members_say}");
        let widths = learned.own_watts().into_iter().zip(untried.own_watts());
        assert!(
            widths.into_iter().all(|(one, other)| one.stddev > other.stddev),
            "what is left out is in the interval"
        );
    }
}
