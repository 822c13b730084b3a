//! What counted events say of a workload's watts before the meter does.
//!
//! A workload that was not seen before is believed to draw what all do. Where events are counted, workloads that the meter
//! has told apart already say more: a regression of their deviations `d` over their events per CPU second, in each member
//! by itself. It scores itself as it goes: each workload is predicted from those before it, and only where that was better than
//! "as all do" is a new one believed to deviate as its events say.

use super::member::Member;
use super::packed::{Packed, dot};
use crate::window::counts::COUNTERS_MAX;

/// In which events and CPU time are forgotten.
const MEMORY_S: f64 = 300.0;
/// Workloads that must be known before anything is concluded from them.
const KNOWN_MIN: usize = 8;
/// A workload is known where the meter left at most this part of the variance that was believed of it.
const KNOWN_VARIANCE_RATIO: f64 = 0.5;
/// Squared errors with events over those without, from which on events are listened to.
const WORTH_RATIO: f64 = 0.8;
/// Least part of its variance that a new workload keeps: workloads with the same events do differ.
const VARIANCE_MIN_RATIO: f64 = 0.25;
/// Most of the common watts that events may take away from a workload.
const LESS_MAX_RATIO: f64 = 0.9;

/// Events by kind, in the order of the window's counters; zero where there are fewer kinds.
pub(super) type Events = [f64; COUNTERS_MAX];

#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    events: Events,
    cpu_s: f64,
}

/// Events of each slot, forgotten slowly.
#[derive(Clone, Debug, Default)]
pub(super) struct Hints {
    slots: Vec<Counted>,
}

/// A workload's deviation and its variance, W per CPU and its square.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Expected {
    pub(super) deviation: f64,
    pub(super) variance: f64,
}

impl Hints {
    /// One slot more; its place.
    pub(super) fn grow(&mut self) -> usize {
        self.slots.push(Counted::default());
        self.slots.len() - 1
    }

    /// A slot has another workload.
    pub(super) fn reset(&mut self, slot: usize) {
        if let Some(counted) = self.slots.get_mut(slot) {
            *counted = Counted::default();
        }
    }

    /// Time goes by.
    pub(super) fn forget(&mut self, seconds: f64) {
        let kept = (-seconds / MEMORY_S).exp();
        for counted in &mut self.slots {
            counted.cpu_s *= kept;
            counted.events.iter_mut().for_each(|events| *events *= kept);
        }
    }

    /// Takes up what a slot's workload did.
    pub(super) fn add(&mut self, slot: usize, cpu_s: f64, events: Events) {
        if let Some(counted) = self.slots.get_mut(slot) {
            counted.cpu_s += cpu_s;
            counted.events.iter_mut().zip(events).for_each(|(sum, more)| *sum += more);
        }
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Counted>()
    }

    /// What this member is to believe of the new workload in `slot`; `None` where events say nothing.
    pub(super) fn expect(&self, slot: usize, member: &Member) -> Option<Expected> {
        let prior = member.own_variance();
        let known: Vec<(usize, Expected)> = (0..self.slots.len())
            .filter(|other| *other != slot)
            .filter_map(|other| Some((other, member.own(other)?)))
            .filter(|(other, own)| {
                own.variance < KNOWN_VARIANCE_RATIO * prior && self.rates(*other).is_some()
            })
            .collect();
        if known.len() < KNOWN_MIN || prior <= 0.0 {
            return None;
        }
        let scale = Scale::of(known.iter().filter_map(|(other, _)| self.rates(*other)));
        let mut slopes = [0.0; COUNTERS_MAX];
        let mut covariance = Packed::diagonal(&[prior; COUNTERS_MAX]);
        let (ones, none) = ([1.0; COUNTERS_MAX], [0.0; COUNTERS_MAX]);
        let (mut with_events, mut without) = (0.0, 0.0);
        for (other, own) in &known {
            let features = scale.apply(self.rates(*other)?);
            let mut gain = [0.0; COUNTERS_MAX];
            covariance.times(&features, &mut gain);
            let error = own.deviation - dot(&features, &slopes);
            with_events += error * error;
            without += own.deviation * own.deviation;
            let variance = dot(&features, &gain) + own.variance + prior;
            slopes.iter_mut().zip(&gain).for_each(|(slope, gain)| *slope += gain * error / variance);
            covariance.step(&ones, &none, &gain, variance);
        }
        let ratio = with_events / without;
        if ratio.is_nan() || ratio > WORTH_RATIO {
            return None;
        }
        let features = scale.apply(self.rates(slot)?);
        let mut product = [0.0; COUNTERS_MAX];
        covariance.times(&features, &mut product);
        let variance = prior * ratio.max(VARIANCE_MIN_RATIO) + dot(&features, &product);
        let least = -LESS_MAX_RATIO * member.common_watts();
        let most = 2.0 * prior.sqrt();
        let deviation = dot(&features, &slopes).clamp(least.min(most), most);
        Some(Expected { deviation, variance: variance.min(prior) })
    }

    /// Events per CPU second.
    fn rates(&self, slot: usize) -> Option<Events> {
        let counted = self.slots.get(slot).filter(|counted| counted.cpu_s > 0.0)?;
        let any = counted.events.iter().any(|events| *events > 0.0);
        any.then(|| counted.events.map(|events| events / counted.cpu_s))
    }
}

/// Makes rates of very different kinds alike: logarithms over their mean, with mean 0 and variance 1.
struct Scale {
    mean_rates: Events,
    means: Events,
    stddevs: Events,
}

impl Scale {
    fn of(rates: impl Iterator<Item = Events> + Clone) -> Self {
        let mean_rates = mean(rates.clone());
        let mut scale = Self { mean_rates, means: Events::default(), stddevs: [1.0; COUNTERS_MAX] };
        scale.means = mean(rates.clone().map(|rates| scale.apply(rates)));
        let squares = mean(rates.map(|rates| scale.apply(rates).map(|feature| feature * feature)));
        scale.stddevs = squares.map(f64::sqrt);
        scale
    }

    fn apply(&self, rates: Events) -> Events {
        let mut features = Events::default();
        for (place, feature) in features.iter_mut().enumerate() {
            let at = |numbers: &Events| numbers.get(place).copied().unwrap_or(0.0);
            // A kind that is not counted, or the same everywhere, says nothing.
            if at(&self.mean_rates) > 0.0 && at(&self.stddevs) > 1e-6 {
                let relative = (at(&rates) / at(&self.mean_rates)).ln_1p();
                *feature = ((relative - at(&self.means)) / at(&self.stddevs)).clamp(-3.0, 3.0);
            }
        }
        features
    }
}

fn mean(all: impl Iterator<Item = Events>) -> Events {
    let (mut sum, mut count) = (Events::default(), 0.0);
    for one in all {
        sum.iter_mut().zip(one).for_each(|(sum, one)| *sum += one);
        count += 1.0;
    }
    sum.map(|sum| if count > 0.0 { sum / count } else { 0.0 })
}
