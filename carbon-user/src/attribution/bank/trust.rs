//! Whether own watts are worth anything: held against what power changes by.
//!
//! A member is chosen by how well it predicts a window, and on a node whose power is moved by what CPU time does not show
//! that is won by following the power, whatever for. Then deviations from the common watts are noise, and worse than
//! none. What they are for tells them apart: when uses change, power has to change by what they say, beyond what CPU time says.
//! With `y` what power changed by beyond what it would have by CPU time alone, and `x` what the members say of that
//! before they have seen it, the slope of `y` on `x` is one where own watts are right and nothing where they are noise.

use super::Bank;
use super::member::{Look, Member};
use super::used::Use;

/// Seconds in which it is forgotten.
const MEMORY_S: f64 = 1_000.0;
/// Changes that are not looked at, of windows of a second, and so many fewer of longer ones: members have hardly learned
/// anything yet.
const UNTRIED: f64 = 20.0;
/// Seconds whose mean is held against that of as many before. Where a meter is coarse or noisy, means tell more than
/// windows; where power moves slowly for what no CPU time shows, windows do.
const SPAN_S: f64 = 5.0;
/// Belief beforehand that own watts are right; the rest is that any slope from nothing to one is as likely.
const RIGHT_PRIOR: f64 = 0.8;
/// A slope that is below one by less than this is no reason: what was believed at first was worse than what is now.
const SLACK_RATIO: f64 = 0.05;
/// No slope is known better than this: changes are no independent tests.
const STDDEV_MIN: f64 = 0.02;
/// Slopes from nothing to one that are weighed.
const SLOPES: u32 = 50;
/// Changes before anything is said.
const WEIGHT_MIN: f64 = 10.0;
/// A change this many times as large as usual tells of a gust.
const GUST_RATIO: f64 = 3.0;

/// Seconds after which deviations are held against changes, at least, and twice that at most.
const AGE_S: f64 = 10.0;

/// Deviations of some seconds ago, by member and slot.
#[derive(Clone, Debug, Default)]
pub(super) struct Aged {
    /// What is held against changes.
    old: Vec<Vec<f64>>,
    /// What will be, as of that many seconds later.
    next: Vec<Vec<f64>>,
    old_s: f64,
    next_s: f64,
    means: Means,
}

/// Use and power of the latest [`SPAN_S`] as far as they are seen, and of those before.
#[derive(Clone, Debug, Default)]
struct Means {
    /// CPU seconds.
    sum: Use,
    seconds: f64,
    joules: f64,
    before: Option<(Use, f64)>,
}

impl Means {
    /// The mean use and power of a span, and its length, with the window that ends it.
    fn add(&mut self, used: &Use, watts: f64, seconds: f64) -> Option<(Use, f64, f64)> {
        self.sum.slots.resize(used.slots.len(), 0.0);
        for (sum, one) in self.sum.slots.iter_mut().zip(&used.slots) {
            *sum += one * seconds;
        }
        self.sum.busy += used.busy * seconds;
        self.sum.wake += used.wake * seconds;
        self.seconds += seconds;
        self.joules += watts * seconds;
        // The last window of a span may be a little short.
        if self.seconds < 0.95 * SPAN_S {
            return None;
        }
        let mut mean = std::mem::take(&mut self.sum);
        let (length, joules) = (std::mem::take(&mut self.seconds), std::mem::take(&mut self.joules));
        mean.slots.iter_mut().for_each(|one| *one /= length);
        (mean.busy, mean.wake) = (mean.busy / length, mean.wake / length);
        Some((mean, joules / length, length))
    }

    /// All that is kept of a slot.
    fn slots(&mut self) -> impl Iterator<Item = &mut Vec<f64>> {
        [&mut self.sum.slots].into_iter().chain(self.before.as_mut().map(|(used, _)| &mut used.slots))
    }
}

impl Aged {
    /// Time has passed.
    fn step(&mut self, seconds: f64, members: &[Member]) {
        (self.old_s, self.next_s) = (self.old_s + seconds, self.next_s + seconds);
        if self.next_s >= AGE_S || self.next.is_empty() {
            let now = members.iter().map(|member| member.deviations().to_vec()).collect();
            (self.old, self.old_s) = (std::mem::replace(&mut self.next, now), self.next_s);
            self.next_s = 0.0;
        }
    }

    /// Of a member, and how old they are.
    fn of(&self, member: usize) -> Option<(&[f64], f64)> {
        self.old.get(member).map(|own| (own.as_slice(), self.old_s))
    }

    /// A slot has another workload, of which nothing was known then.
    pub(super) fn reset(&mut self, slot: usize) {
        for own in self.old.iter_mut().chain(&mut self.next).chain(self.means.slots()) {
            if let Some(own) = own.get_mut(slot) {
                *own = 0.0;
            }
        }
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        let own = self.old.iter().chain(&self.next).map(Vec::capacity);
        let means = self.means.sum.slots.capacity()
            + self.means.before.as_ref().map_or(0, |(used, _)| used.slots.capacity());
        (own.sum::<usize>() + means) * size_of::<f64>()
            + (self.old.capacity() + self.next.capacity()) * size_of::<Vec<f64>>()
    }
}

/// What changes from window to window tell of own watts, and what those between spans of several windows do.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tried {
    /// From one window to the next.
    pub changes: Trust,
    /// From the mean of some seconds to that of the next.
    pub spans: Trust,
}

impl Tried {
    /// Whether both can have come from windows.
    pub(super) fn is_sound(&self) -> bool {
        self.changes.is_sound() && self.spans.is_sound()
    }

    /// How much of the deviations is to be believed, 0 to 1, by whichever of the two knows its slope better.
    pub fn ratio(&self) -> f64 {
        let stddev = |trust: &Trust| trust.slope().map_or(f64::INFINITY, |(_, stddev)| stddev);
        if stddev(&self.spans) < stddev(&self.changes) { self.spans.ratio() } else { self.changes.ratio() }
    }
}

/// Sums of a regression through the origin on what own watts say and on the change of use.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Trust {
    /// Changes of power seen.
    pub windows: f64,
    /// Sum of the squares of what own watts say beyond CPU time, watts squared.
    pub xx: f64,
    /// Sum of the products of that with what came.
    pub xy: f64,
    /// Sum of its products with the changes of use, CPUs.
    pub xu: f64,
    /// Sum of the products of the changes of use with what came.
    pub uy: f64,
    /// Sum of the squares of the changes of use.
    pub uu: f64,
    /// Sum of the squares of what own watts leave, and the weight that it is of.
    pub left: f64,
    /// Changes in these sums, those of long ago as the part that is not forgotten.
    pub weight: f64,
}

impl Trust {
    /// Takes in a change: in watts, what was said of it by CPU time, and by own watts; and by how many CPUs use changed.
    pub(super) fn add(&mut self, seconds: f64, changed: f64, by_cpu_time: f64, by_own: f64, used: f64) {
        self.windows += 1.0;
        if self.windows <= UNTRIED / seconds.max(1.0)
            || ![changed, by_cpu_time, by_own, used].into_iter().all(f64::is_finite)
        {
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
        self.xu = self.xu * kept + x * used;
        self.uy = self.uy * kept + used * y;
        self.uu = self.uu * kept + used * used;
        self.left = self.left * kept + left * left;
        self.weight = self.weight * kept + 1.0;
    }

    /// Whether it can have come from windows: a file may say anything.
    pub(super) fn is_sound(&self) -> bool {
        let Self { windows, xx, xy, xu, uy, uu, left, weight } = *self;
        let sums = [windows, xx, uu, left, weight].into_iter().all(|sum| sum.is_finite() && sum >= 0.0);
        sums && [xy, xu, uy].into_iter().all(f64::is_finite)
    }

    /// The slope and its standard deviation. What all own watts have in common is no matter of shares, so it is left to the
    /// change of use.
    fn slope(&self) -> Option<(f64, f64)> {
        let (by_use, also) = if self.uu > 0.0 { (self.xu / self.uu, self.uy) } else { (0.0, 0.0) };
        let xx = self.xx - by_use * self.xu;
        if self.weight < WEIGHT_MIN || xx <= 1e-9 * self.xx {
            return None;
        }
        Some(((self.xy - by_use * also) / xx, (self.left / self.weight / xx).sqrt()))
    }

    /// How much of the deviations is to be believed, 0 to 1: the mean of what the slope may be, by what was believed
    /// beforehand and by what changes of power say.
    pub fn ratio(&self) -> f64 {
        let Some((slope, stddev)) = self.slope() else { return 1.0 };
        let (slope, stddev) = (slope + SLACK_RATIO, stddev.max(STDDEV_MIN));
        let density = |one: f64| (-0.5 * ((one.min(1.0) - slope.min(1.0)) / stddev).powi(2)).exp();
        let (mut weight, mut sum) = (RIGHT_PRIOR * density(1.0), RIGHT_PRIOR * density(1.0));
        for step in 0..SLOPES {
            let one = (f64::from(step) + 0.5) / f64::from(SLOPES);
            let part = (1.0 - RIGHT_PRIOR) / f64::from(SLOPES) * density(one);
            (weight, sum) = (weight + part, sum + part * one);
        }
        // So far below nothing that no number is left.
        if weight > 0.0 { sum / weight } else { 0.0 }
    }
}

/// A change of power, in watts, and of use, in CPUs.
#[derive(Clone, Copy, Debug)]
struct Changed {
    watts: f64,
    by_cpu_time: f64,
    by_own: f64,
    used: f64,
}

impl Bank {
    /// Holds own watts against what power changed by.
    pub(super) fn try_own(&mut self, used: &Use) {
        self.aged.step(self.seconds, &self.members);
        let previous = self.previous.as_ref();
        let changed =
            previous.and_then(|(before, watts, _)| self.changed((before, *watts), (used, self.watts)));
        if let Some(Changed { watts, by_cpu_time, by_own, used }) = changed {
            self.trust.changes.add(self.seconds, watts, by_cpu_time, by_own, used);
        }
        let Some((mean, mean_w, seconds)) = self.aged.means.add(used, self.watts, self.seconds) else {
            return;
        };
        let before = self.aged.means.before.as_ref();
        let changed = before.and_then(|(before, watts)| self.changed((before, *watts), (&mean, mean_w)));
        if let Some(Changed { watts, by_cpu_time, by_own, used }) = changed {
            self.trust.spans.add(seconds, watts, by_cpu_time, by_own, used);
        }
        self.aged.means.before = Some((mean, mean_w));
    }

    /// What changed, and what is said of it by own watts of some time ago and without any.
    fn changed(&self, (before, before_w): (&Use, f64), (used, watts): (&Use, f64)) -> Option<Changed> {
        let now = self.look(used, self.number);
        let then =
            Look { slots: &before.slots, wake: before.wake, busy: before.busy, watts: before_w, ..now };
        let (mut own, mut plain) = ((0.0, 0.0), (0.0, 0.0));
        // What follows power, whatever for, is no measure of who only has CPU time.
        let tried = || {
            let all = self.weighted().enumerate();
            all.filter(|(_, (_, member))| !member.kind.drift.has_gain())
        };
        let best = |has_own: bool| {
            let of = tried().filter(move |(_, (_, member))| member.kind.drift.has_own() == has_own);
            of.map(|(_, (_, member))| member.score).fold(f64::NEG_INFINITY, f64::max)
        };
        let (best_own, best_plain) = (best(true), best(false));
        for (place, (_, member)) in tried() {
            let (sum, best) =
                if member.kind.drift.has_own() { (&mut own, best_own) } else { (&mut plain, best_plain) };
            let weight = (member.score - best).exp() * member.kind.prior_weight();
            let Some((deviations, age_s)) = self.aged.of(place).filter(|_| weight > 1e-4) else { continue };
            let ratio = member.kept_ratio(age_s);
            let expected = |look| member.expected_with(look, deviations, ratio);
            sum.0 += weight;
            sum.1 += weight * (expected(&now) - expected(&then));
        }
        (own.0 > 0.0 && plain.0 > 0.0).then(|| Changed {
            watts: watts - before_w,
            by_cpu_time: plain.1 / plain.0,
            by_own: own.1 / own.0,
            used: now.busy - then.busy,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Beforehand, Learned, Observation};
    use super::*;
    use crate::units::{CgroupId, Watts};
    use crate::window::WorkloadKey;

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
            trust.add(1.0, plain + right * said + gust, plain, plain + said, noise(number + 40_000));
        }
        trust.ratio()
    }

    #[test]
    fn what_comes_true_is_believed_and_noise_is_not() {
        assert!(ratio(1.0) > 0.98, "{}", ratio(1.0));
        assert!((0.4..0.7).contains(&ratio(0.5)), "{}", ratio(0.5));
        assert!(ratio(0.0) < 0.2, "{}", ratio(0.0));
        assert!(ratio(-1.0) < 0.05, "{}", ratio(-1.0));
    }

    #[test]
    fn what_all_have_in_common_is_no_matter_of_shares() {
        let mut trust = Trust::default();
        for number in 0..600 {
            // All draw a fifth more than what CPU time says, and own watts say so; what they say of each is noise.
            let used = 3.0 * noise(number);
            let common = 0.2 * used;
            let said = 0.5 * noise(number + 7_000);
            trust.add(1.0, used + common + 0.1 * noise(number + 90_000), used, used + common + said, used);
        }
        assert!(trust.xy > 0.5 * trust.xx, "{trust:?}");
        assert!(trust.ratio() < 0.2, "{}", trust.ratio());
    }

    #[test]
    fn a_gust_is_no_verdict_and_no_number_none() {
        let mut trust = Trust::default();
        assert!((trust.ratio() - 1.0).abs() < f64::EPSILON);
        for number in 0..600 {
            let said = 4.0 * noise(number);
            let gust = if number % 50 == 49 { -100.0 * said } else { 0.1 * noise(number + 5_000) };
            trust.add(1.0, said + gust, 0.0, said, noise(number + 40_000));
            trust.add(1.0, f64::NAN, 0.0, said, 0.0);
        }
        assert!(trust.ratio() > 0.9, "{}", trust.ratio());
    }

    const OF_ALL_W: f64 = 6.0;

    fn key(id: u64) -> WorkloadKey {
        WorkloadKey::cgroup(CgroupId(id))
    }

    /// Eight workloads that come and go: how wrong their energy is in the second half, by the bank and by CPU time, and the
    /// bank. By second and workload what each draws per CPU; of all joules until then, what the meter shows.
    fn errors(watts: impl Fn(u32, u32) -> f64, shown: impl Fn(f64) -> f64) -> (f64, f64, Bank) {
        let beforehand = Beforehand { cpus: 16, idle: Some(Watts(30.0)), per_cpu: Some(Watts(OF_ALL_W)) };
        let mut bank = Bank::new(beforehand);
        // By workload: told, by CPU time, true.
        let mut sums = [[0.0; 3]; 8];
        let mut all = 0.0;
        for second in 0..900 {
            let on = |id: u32| noise(second / (9 + 4 * id) + 1_000 * id) > -0.1;
            let ran = (0..8).filter(|id| on(*id));
            let rows: Vec<_> =
                ran.map(|id| (key(u64::from(id)), 0.6 + 0.3 * noise(50_000 + second * 8 + id))).collect();
            let watts = |id: u64| watts(second, u32::try_from(id).unwrap());
            let dynamic: Vec<f64> = rows.iter().map(|(key, cpu_s)| watts(key.cgroup.0) * cpu_s).collect();
            let whole: f64 = dynamic.iter().sum();
            let before = shown(all);
            all += 30.0 + whole;
            let joules = shown(all) - before;
            let seen = Observation { seconds: 1.0, joules, wake_ratio: Some(1.0), rows: &rows, events: &[] };
            if bank.observe(&seen).is_none() || second < 300 {
                continue;
            }
            let used: f64 = rows.iter().map(|(_, cpu_s)| cpu_s).sum();
            for ((split, (key, cpu_s)), joules) in bank.split(whole).0.iter().zip(&rows).zip(dynamic) {
                let sums = &mut sums[usize::try_from(key.cgroup.0).unwrap()];
                sums[0] += split.share_ratio * whole;
                sums[1] += cpu_s / used * whole;
                sums[2] += joules;
            }
        }
        let whole: f64 = sums.iter().map(|sums| sums[2]).sum();
        let error = |place: usize| sums.iter().map(|sums| (sums[place] - sums[2]).abs()).sum::<f64>() / whole;
        (error(0), error(1), bank)
    }

    /// Each draws something else every three seconds.
    fn of_no_watts_of_their_own() -> (f64, f64, Bank) {
        errors(|second, id| OF_ALL_W * (1.0 + 1.6 * noise(second / 3 * 8 + id + 300_000)), |joules| joules)
    }

    #[test]
    fn where_clocks_move_all_or_the_meter_is_coarse_it_is_cpu_time() {
        let (error, by_cpu_time, _) =
            errors(|second, _| OF_ALL_W * (1.0 + 0.5 * noise(second / 45 + 400_000)), |joules| joules);
        assert!(error < by_cpu_time + 0.006, "{error}, by CPU time {by_cpu_time}");
        let (error, by_cpu_time, bank) = errors(|_, _| OF_ALL_W, |joules| (joules / 30.0).floor() * 30.0);
        assert!(error < by_cpu_time + 0.04, "{error}, by CPU time {by_cpu_time}");
        let Tried { changes, spans } = bank.trust;
        let (of_changes, of_spans) = (changes.slope().unwrap().1, spans.slope().unwrap().1);
        assert!(of_spans < 0.5 * of_changes, "{of_spans} {of_changes}");
        assert!((bank.trust.ratio() - spans.ratio()).abs() < f64::EPSILON, "{:?}", bank.trust);
        assert!(spans.ratio() < changes.ratio(), "{} {}", spans.ratio(), changes.ratio());
        // And where each has watts of its own they are told all the same.
        let own = |id: u32| OF_ALL_W * (0.4 + 0.15 * f64::from(id));
        let (error, by_cpu_time, _) =
            errors(|second, id| own(id) * (1.0 + 0.5 * noise(second / 45 + 400_000)), |joules| joules);
        assert!(error < 0.3 * by_cpu_time, "{error}, by CPU time {by_cpu_time}");
    }

    #[test]
    fn where_nothing_has_watts_of_its_own_cpu_time_is_hardly_left() {
        let (error, by_cpu_time, bank) = of_no_watts_of_their_own();
        assert!(error < by_cpu_time + 0.002, "{error}, by CPU time {by_cpu_time}");
        assert!(bank.trust.ratio() < 0.5, "{:?}", bank.trust);
    }

    #[test]
    fn what_is_believed_outlives_a_restart_and_is_shown() {
        let (.., bank) = of_no_watts_of_their_own();
        let learned = bank.learned().unwrap();
        let resumed = Bank::resume(bank.beforehand, &learned).unwrap();
        assert_eq!(resumed.trust, bank.trust);
        let sums = [f64::NAN, f64::INFINITY, -1.0].map(|xx| Trust { xx, ..bank.trust.changes });
        let sums = sums
            .into_iter()
            .flat_map(|wrong| [Tried { changes: wrong, ..bank.trust }, Tried { spans: wrong, ..bank.trust }]);
        for trust in sums {
            let resumed = Bank::resume(bank.beforehand, &Learned { trust, ..learned.clone() }).unwrap();
            assert_eq!(resumed.trust, Tried::default());
        }
        let apart = |learned: &Learned| {
            let watts: Vec<f64> = learned.own_watts().iter().map(|own| own.per_cpu.0).collect();
            let mean = watts.iter().sum::<f64>() / 8.0;
            watts.iter().map(|watts| (watts - mean).abs()).sum::<f64>() / 8.0
        };
        let untried = Learned { trust: Tried::default(), ..learned.clone() };
        let (shown, members_say) = (apart(&learned), apart(&untried));
        assert!((shown / members_say - bank.trust.ratio()).abs() < 0.05, "{shown} of {members_say}");
        let widths = learned.own_watts().into_iter().zip(untried.own_watts());
        assert!(
            widths.into_iter().all(|(one, other)| one.stddev > other.stddev),
            "what is left out is in the interval"
        );
    }
}
