//! Natural experiments: something starts or stops, alone, and power moves. By how much it would was said before by the
//! members, who had not seen that window: so each is a test that nobody had to arrange.

use super::Bank;
use super::member::Look;
use super::used::Use;
use crate::attribution::uncertainty::SIGMAS_OF_90_PERCENT;
use std::collections::VecDeque;

/// Experiments that errors and coverage are taken over.
pub const RECENT_MAX: usize = 128;
/// CPUs that it must begin or end to use: of all of them, and at least.
const SUBSTANTIAL_RATIO: f64 = 0.01;
const SUBSTANTIAL_MIN: f64 = 0.2;
/// What it may use on the side on which it rests, relative to the other side.
const REST_RATIO: f64 = 0.05;
/// Windows of the members before the first experiment: until then they know next to nothing.
const EXPERIMENTS_FROM: f64 = 20.0;

/// What all others may change by meanwhile, relative to it.
const OTHERS_RATIO: f64 = 0.2;

/// One: what was predicted of the change of power, and what a meter showed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Experiment {
    /// Watts.
    pub predicted_w: f64,
    /// Watts.
    pub measured_w: f64,
    /// Standard deviation of the prediction, noise of the meter included.
    pub stddev_w: f64,
}

impl Experiment {
    /// Whether what came is inside the 90 % interval.
    pub fn holds(&self) -> bool {
        (self.measured_w - self.predicted_w).abs() <= SIGMAS_OF_90_PERCENT * self.stddev_w
    }

    fn is_finite(&self) -> bool {
        [self.predicted_w, self.measured_w, self.stddev_w].iter().all(|watts| watts.is_finite())
    }
}

/// The latest, and how many there were.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Experiments {
    total: u64,
    recent: VecDeque<Experiment>,
}

/// How well the latest were predicted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExperimentScore {
    /// Experiments since the beginning.
    pub total: u64,
    /// Of these, the latest, which the rest is of.
    pub recent: u64,
    /// Mean of the size of errors, watts.
    pub mean_error_w: f64,
    /// The same over the mean size of the changes of power.
    pub error_ratio: f64,
    /// Share of them that came to lie inside the 90 % interval.
    pub coverage_ratio: f64,
}

impl Experiments {
    /// Those of before. What is not finite is left out.
    pub fn of(total: u64, recent: impl IntoIterator<Item = Experiment>) -> Self {
        let recent = recent.into_iter().filter(Experiment::is_finite).take(RECENT_MAX).collect();
        Self { total, recent }
    }

    /// The latest, oldest first.
    pub fn recent(&self) -> impl Iterator<Item = &Experiment> {
        self.recent.iter()
    }

    /// How many there were in all.
    pub fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn add(&mut self, experiment: Experiment) {
        if !experiment.is_finite() {
            return;
        }
        self.total = self.total.saturating_add(1);
        if self.recent.len() >= RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(experiment);
    }

    /// `None` where there was none yet.
    pub fn score(&self) -> Option<ExperimentScore> {
        let recent = u32::try_from(self.recent.len()).ok().filter(|recent| *recent > 0)?;
        let sum = |of: fn(&Experiment) -> f64| self.recent.iter().map(of).sum::<f64>();
        let errors = sum(|one| (one.measured_w - one.predicted_w).abs());
        let changes = sum(|one| one.measured_w.abs());
        let held = sum(|one| f64::from(u8::from(one.holds())));
        Some(ExperimentScore {
            total: self.total,
            recent: u64::from(recent),
            mean_error_w: errors / f64::from(recent),
            error_ratio: if changes > 0.0 { errors / changes } else { 1.0 },
            coverage_ratio: held / f64::from(recent),
        })
    }

    pub(super) fn bytes(&self) -> usize {
        self.recent.capacity() * size_of::<Experiment>()
    }
}

impl Bank {
    /// Where something started or stopped alone: what the members, as they are before this window, say that power changes
    /// by, against what it changed by.
    pub(super) fn experiment(&mut self, used: &Use) {
        let Some((before, watts, seconds)) = &self.previous else { return };
        let (old, new) = ((&*before.slots, before.busy), (&*used.slots, used.busy));
        let moved = started_or_stopped(old, new, self.beforehand.cpus());
        if self.number < EXPERIMENTS_FROM || moved.is_none() {
            return;
        }
        let mut slots = before.slots.clone();
        slots.resize(used.slots.len(), 0.0);
        let now = self.look(used, self.number);
        let look = Look { slots: &slots, wake: before.wake, busy: before.busy, watts: *watts, ..now };
        let look = Look { seconds: *seconds, ..look };
        let said: Vec<(f64, f64, f64)> = self
            .weighted()
            .filter(|(weight, _)| *weight > 1e-4)
            .map(|(weight, member)| {
                let (mean, variance) = member.change(&look, &now);
                (weight, mean, variance)
            })
            .collect();
        let whole: f64 = said.iter().map(|(weight, ..)| weight).sum();
        let predicted_w = said.iter().map(|(weight, mean, _)| weight * mean).sum::<f64>() / whole;
        let apart = |mean: f64| (mean - predicted_w).powi(2);
        let variance =
            said.iter().map(|(weight, mean, own)| weight * (own + apart(*mean))).sum::<f64>() / whole;
        let measured_w = self.watts - watts;
        self.experiments.add(Experiment { predicted_w, measured_w, stddev_w: variance.sqrt() });
    }
}

/// The slot that started or stopped alone, if one did. Uses are in CPUs, `busy` with what is pooled.
pub(super) fn started_or_stopped(before: (&[f64], f64), now: (&[f64], f64), cpus: f64) -> Option<usize> {
    let least = (SUBSTANTIAL_RATIO * cpus).max(SUBSTANTIAL_MIN);
    let old = before.0.iter().copied().chain(std::iter::repeat(0.0));
    let (mut largest, mut moved, mut kept) = (None, 0.0, 0.0);
    for (slot, (now, old)) in now.0.iter().copied().zip(old).enumerate() {
        moved += (now - old).abs();
        kept += now - old;
        if largest.is_none_or(|(_, most)| (now - old).abs() > most) {
            largest = Some((slot, (now - old).abs()));
        }
    }
    let (slot, change) = largest?;
    let at = |uses: &[f64]| uses.get(slot).copied().unwrap_or(0.0);
    let (rest, run) = (at(before.0).min(at(now.0)), at(before.0).max(at(now.0)));
    // What is left of the change of all is of those without a slot.
    let others = moved - change + (now.1 - before.1 - kept).abs();
    (run >= least && rest <= REST_RATIO * run && others <= OTHERS_RATIO * change).then_some(slot)
}

#[cfg(test)]
mod tests;
