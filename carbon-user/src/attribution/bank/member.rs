//! One member: a small extended Kalman filter that predicts the power of the next window, and its score.
//!
//! ```text
//! watts = P0 + level + b wake + F(U) sum over workloads of (mu + d) u
//! F(U)  = (U / Ur)^(gamma - 1) exp(-kappa (U - Ur) / N)      U busy CPUs of N, Ur = 0.3 N
//! ```
//!
//! `mu` (watts per CPU) is common to all workloads and `d` is a workload's own deviation, so that the member without
//! `d` is CPU time. What is common multiplies (`F`): it changes what a CPU-second costs now and leaves shares alone.

use super::hints::Expected;
use super::kinds::{Kind, Shape};
use super::packed::{Packed, dot};

/// Static power, watts.
pub(super) const P0: usize = 0;
/// What moves the power of the whole package, watts; where it moves that of all CPUs, watts per CPU.
const LEVEL: usize = 1;
/// Power of the package not being idle, watts.
pub(super) const WAKE: usize = 2;
/// Exponent of power over use.
const GAMMA: usize = 3;
/// Fall of power per CPU with use.
const KAPPA: usize = 4;
/// Common watts per CPU.
pub(super) const MU: usize = 5;
/// States before those of the workloads.
pub(super) const COMMON: usize = 6;

/// How sure a table's idle power is: standard deviation relative to it.
pub(super) const P0_STDDEV_RATIO: f64 = 0.5;
/// Standard deviation of what waking costs, relative to that of idle power.
const WAKE_STDDEV_RATIO: f64 = 0.8;
/// Time constant of `level`, and its standard deviation relative to the metered power.
const LEVEL_MEMORY_S: f64 = 100.0;
const LEVEL_RATIO: f64 = 0.04;
/// Standard deviation of what the watts per CPU of all are moved by, relative to them; within the same time.
const GAIN_RATIO: f64 = 0.2;
/// In which what is common goes back to its prior: a floor under all variances, so that no member becomes sure for
/// ever (and rounding can never make a variance negative, see [`Packed`]).
const COMMON_MEMORY_S: f64 = 30.0 * 86_400.0;
const MU_MEMORY_S: f64 = 365.0 * 86_400.0;
/// Least of the common watts, relative to what was believed of them beforehand.
const MU_MIN_RATIO: f64 = 0.02;
/// Forgetting of scores per second, so that what was best an hour ago need not be now.
const SCORE_MEMORY: f64 = 0.997;
/// Neighbouring windows tell nearly the same, so that a window counts for a third of one.
const SCORE_DIVISOR: f64 = 3.0;
/// Windows that are not scored.
const UNSCORED: f64 = 20.0;
/// Smallest, first and largest variance of a window's noise, relative to its power squared.
const NOISE_MIN: f64 = 0.003 * 0.003;
const NOISE_START: f64 = 0.01 * 0.01;
const NOISE_MAX: f64 = 0.5 * 0.5;
/// Where a member expects much less than what the meter shows, the noise is taken to be that of this part of it.
const EXPECTED_MIN_RATIO: f64 = 0.5;
/// Memory of the rolling error, per window.
const ERROR_RATE: f64 = 1.0 / 300.0;
/// Mean of min(e^2 / S, 9) where S is right, for a normal e, is 0.97 or so.
const SURPRISE_MEAN: f64 = 0.97;

/// What a bank knows of its package before it has learned anything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prior {
    pub(super) p0_w: f64,
    /// Its standard deviation.
    pub(super) p0_stddev_w: f64,
    pub(super) watts_per_cpu: f64,
    pub(super) cpus: f64,
    /// Variance of a window's noise relative to power squared, where the first windows told of more than usual.
    pub(super) noise_ratio: f64,
}

/// A window as members see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look<'a> {
    /// Length in seconds.
    pub(super) seconds: f64,
    /// Metered power.
    pub(super) watts: f64,
    /// Its slow mean.
    pub(super) mean_watts: f64,
    /// Share of the window in which any CPU was busy.
    pub(super) wake: f64,
    /// Busy CPUs, those of pooled workloads included.
    pub(super) busy: f64,
    /// CPUs used by each slot.
    pub(super) slots: &'a [f64],
    /// Whether use changed much more than usual: something started or stopped.
    pub(super) event: bool,
    /// Number of this window, from 0.
    pub(super) number: f64,
}

/// A filter and its score.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) kind: Kind,
    prior: Prior,
    pub(super) state: Vec<f64>,
    pub(super) covariance: Packed,
    noise_ratio: f64,
    /// Autocorrelation of normalised innovations.
    autocorrelation: f64,
    last_error: f64,
    last_z: f64,
    /// Log of the predictive density of what came, forgotten slowly.
    pub(super) score: f64,
    /// Mean of e^2 / S over windows in which something started or stopped: above one, it is too sure.
    pub(super) misfit: f64,
    /// Rolling mean of the size of its one-step errors, watts.
    pub(super) error_w: f64,
    /// How often it was made anew because a number was none.
    pub(super) restarts: u64,
    scratch: Scratch,
}

#[derive(Clone, Debug, Default)]
struct Scratch {
    decays: Vec<f64>,
    added: Vec<f64>,
    gradient: Vec<f64>,
    decayed: Vec<f64>,
    gain: Vec<f64>,
}

/// The factor that use puts on the power of all, and its derivatives' factors.
#[derive(Clone, Copy, Debug)]
struct Curve {
    factor: f64,
    by_gamma: f64,
    by_kappa: f64,
}

impl Member {
    /// Before any window; `slots` workloads are known.
    pub(super) fn new(kind: Kind, prior: Prior, slots: usize) -> Self {
        let mut member = Self {
            kind,
            prior,
            state: Self::means(kind, prior).to_vec(),
            covariance: Packed::diagonal(&Self::variances(kind, prior)),
            noise_ratio: prior.noise_ratio.clamp(NOISE_START, NOISE_MAX),
            autocorrelation: 0.0,
            last_error: 0.0,
            last_z: 0.0,
            score: 0.0,
            misfit: 1.0,
            error_w: 0.0,
            restarts: 0,
            scratch: Scratch::default(),
        };
        for _ in 0..slots {
            member.grow();
        }
        member
    }

    fn means(kind: Kind, prior: Prior) -> [f64; COMMON] {
        [prior.p0_w, 0.0, 0.0, kind.shape.gamma().0, kind.shape.kappa().0, prior.watts_per_cpu]
    }

    fn variances(kind: Kind, prior: Prior) -> [f64; COMMON] {
        let level = match kind.drift {
            drift if drift.has_level() => LEVEL_RATIO * prior.p0_w,
            drift if drift.has_gain() => GAIN_RATIO * prior.watts_per_cpu,
            _ => 0.0,
        };
        let stddevs = [
            prior.p0_stddev_w,
            level,
            WAKE_STDDEV_RATIO * prior.p0_stddev_w,
            kind.shape.gamma().1,
            kind.shape.kappa().1,
            0.5 * prior.watts_per_cpu,
        ];
        stddevs.map(|stddev| stddev * stddev)
    }

    fn at(&self, state: usize) -> f64 {
        self.state.get(state).copied().unwrap_or(0.0)
    }

    /// Variance of a workload's deviation before anything is known of it.
    pub(super) fn own_variance(&self) -> f64 {
        let mu = self.at(MU).clamp(0.2 * self.prior.watts_per_cpu, 5.0 * self.prior.watts_per_cpu);
        (self.kind.drift.spread_ratio() * mu).powi(2)
    }

    /// Variance of P0 before anything was known.
    pub(super) fn p0_variance(&self) -> f64 {
        self.prior.p0_stddev_w.powi(2)
    }

    /// One slot more.
    pub(super) fn grow(&mut self) {
        if self.kind.drift.has_own() {
            self.state.push(0.0);
            self.covariance.grow(self.own_variance());
        }
    }

    /// A slot gets another workload.
    pub(super) fn reset(&mut self, slot: usize) {
        if let Some(own) = self.state.get_mut(COMMON + slot) {
            *own = 0.0;
            self.covariance.reset(COMMON + slot, self.own_variance());
        }
    }

    /// What is believed of a slot's workload; `None` where workloads do not differ.
    pub(super) fn own(&self, slot: usize) -> Option<Expected> {
        let deviation = self.state.get(COMMON + slot).copied()?;
        Some(Expected { deviation, variance: self.covariance.get(COMMON + slot, COMMON + slot) })
    }

    /// A slot's workload is new, and this is believed of it.
    pub(super) fn expect(&mut self, slot: usize, expected: Expected) {
        if let Some(own) = self.state.get_mut(COMMON + slot) {
            *own = expected.deviation;
            self.covariance.reset(COMMON + slot, expected.variance);
        }
    }

    /// Watts per CPU of a workload that deviates by nothing.
    pub(super) fn common_watts(&self) -> f64 {
        self.at(MU)
    }

    /// Learns from a window.
    pub(super) fn observe(&mut self, look: &Look<'_>) {
        self.prepare(look);
        let predicted = self.predict(look);
        let error = look.watts - predicted;
        let explained = dot(&self.scratch.gradient, &self.scratch.gain).max(0.0);
        // Jitter of the instant of reading weighs more in a short window.
        let noise = self.noise_w2(look, predicted);
        let expected = explained + noise;
        self.rate(look, error, noise, expected);
        let colour = self.colour();
        let robust = noise * (1.0 + colour) / (1.0 - colour) * (error * error / (9.0 * expected)).max(1.0);
        let variance = explained + robust;
        for (state, gain) in self.state.iter_mut().zip(&self.scratch.gain) {
            *state += gain * error / variance;
        }
        let Scratch { decays, added, gain, .. } = &self.scratch;
        self.covariance.step(decays, added, gain, variance);
        self.keep_sane();
    }

    /// Variance of a window's noise. It goes with the power that is expected: were it by what the meter shows, a reading
    /// that is too low would be believed more than one that is too high, and one of nothing before all.
    fn noise_w2(&self, look: &Look<'_>, expected_w: f64) -> f64 {
        let watts = expected_w.max(EXPECTED_MIN_RATIO * look.watts).max(1e-3 * look.mean_watts);
        self.noise_ratio * watts.powi(2) / look.seconds
    }

    /// What each slot's workload deviates by, watts per CPU; none where workloads do not differ.
    pub(super) fn deviations(&self) -> &[f64] {
        self.state.get(COMMON..).unwrap_or_default()
    }

    /// How much of a deviation it believes to be left after so many seconds.
    pub(super) fn kept_ratio(&self, seconds: f64) -> f64 {
        (-seconds / self.kind.drift.memory_s()).exp()
    }

    /// The power to expect with other deviations than its own, of which `ratio` is left.
    pub(super) fn expected_with(&self, look: &Look<'_>, own: &[f64], ratio: f64) -> f64 {
        let common = (self.at(MU) + self.gain()) * look.busy;
        let dynamic = self.curve(look.busy).factor * (common + ratio * dot(own, look.slots));
        self.at(P0) + self.level_w() + self.at(WAKE) * look.wake + dynamic
    }

    /// By how much power is to change from one window to the next, and the variance of what a meter should show of it: of
    /// what is not known of the states, and of the noise of both windows. What is common to both, such as idle power,
    /// cancels. `slots` of both have the same length.
    pub(super) fn change(&self, before: &Look<'_>, now: &Look<'_>) -> (f64, f64) {
        let (mut old, mut gradient) = (Vec::new(), Vec::new());
        let (expected, was) = (self.gradient(now, &mut gradient), self.gradient(before, &mut old));
        for (one, other) in gradient.iter_mut().zip(&old) {
            *one -= other;
        }
        let mut product = vec![0.0; gradient.len()];
        self.covariance.times(&gradient, &mut product);
        let explained = dot(&gradient, &product).max(0.0);
        (expected - was, explained + self.noise_w2(before, was) + self.noise_w2(now, expected))
    }

    /// Learns from power that was seen before, of which the variance is known (Kalman's update, without noise in time).
    pub(super) fn take_evidence(&mut self, look: &Look<'_>, variance_w2: f64) {
        let mut gradient = Vec::new();
        let error = look.watts - self.gradient(look, &mut gradient);
        let mut gain = vec![0.0; gradient.len()];
        self.covariance.times(&gradient, &mut gain);
        let variance = dot(&gradient, &gain).max(0.0) + variance_w2;
        for (state, gain) in self.state.iter_mut().zip(&gain) {
            *state += gain * error / variance;
        }
        let (ones, none) = (vec![1.0; gain.len()], vec![0.0; gain.len()]);
        self.covariance.step(&ones, &none, &gain, variance);
        self.keep_sane();
    }

    /// The step in time, of the state; that of the covariance is taken together with the update.
    fn prepare(&mut self, look: &Look<'_>) {
        let (means, variances) = (Self::means(self.kind, self.prior), Self::variances(self.kind, self.prior));
        let own_variance = self.own_variance();
        let own_decay = (-look.seconds / self.kind.drift.memory_s()).exp();
        let level_stddev = match self.kind.drift {
            drift if drift.has_level() => LEVEL_RATIO * look.mean_watts,
            drift if drift.has_gain() => GAIN_RATIO * self.at(MU),
            _ => 0.0,
        };
        let Scratch { decays, added, .. } = &mut self.scratch;
        decays.clear();
        added.clear();
        let common = self.state.iter_mut().zip(means).zip(variances).enumerate().take(COMMON);
        for (place, ((state, mean), variance)) in common {
            let (memory_s, variance) = match place {
                LEVEL => (LEVEL_MEMORY_S, level_stddev * level_stddev),
                MU => (MU_MEMORY_S, variance),
                _ => (COMMON_MEMORY_S, variance),
            };
            let decay = (-look.seconds / memory_s).exp();
            *state = mean + decay * (*state - mean);
            decays.push(decay);
            added.push(variance * (1.0 - decay * decay));
        }
        for state in self.state.iter_mut().skip(COMMON) {
            *state *= own_decay;
        }
        decays.resize(self.state.len(), own_decay);
        added.resize(self.state.len(), own_variance * (1.0 - own_decay * own_decay));
    }

    /// The power to expect, and what it changes by with each state.
    fn gradient(&self, look: &Look<'_>, gradient: &mut Vec<f64>) -> f64 {
        let curve = self.curve(look.busy);
        let common = (self.at(MU) + self.gain()) * look.busy;
        let sum = common + dot(self.state.get(COMMON..).unwrap_or_default(), look.slots);
        gradient.clear();
        gradient.extend([
            1.0,
            if self.kind.drift.has_gain() { curve.factor * look.busy } else { 1.0 },
            look.wake,
            curve.factor * sum * curve.by_gamma,
            -curve.factor * sum * curve.by_kappa,
            curve.factor * look.busy,
        ]);
        gradient.extend(look.slots.iter().map(|used| curve.factor * used));
        gradient.resize(self.state.len(), 0.0);
        self.at(P0) + self.level_w() + self.at(WAKE) * look.wake + curve.factor * sum
    }

    /// The power to expect; leaves the gradient and `C gradient` behind.
    fn predict(&mut self, look: &Look<'_>) -> f64 {
        let mut gradient = std::mem::take(&mut self.scratch.gradient);
        let predicted = self.gradient(look, &mut gradient);
        let Scratch { decays, added, decayed, gain, .. } = &mut self.scratch;
        decayed.clear();
        decayed.extend(gradient.iter().zip(&*decays).map(|(one, decay)| one * decay));
        gain.resize(self.state.len(), 0.0);
        self.covariance.times(decayed, gain);
        for (((gain, decay), added), gradient) in gain.iter_mut().zip(decays).zip(added).zip(&gradient) {
            *gain = *gain * *decay + *added * *gradient;
        }
        self.scratch.gradient = gradient;
        predicted
    }

    fn curve(&self, busy: f64) -> Curve {
        let cpus = self.prior.cpus;
        let (busy, reference) = (busy.max(0.01 * cpus), 0.3 * cpus);
        let by_gamma = (busy / reference).ln();
        let by_kappa = if self.kind.shape == Shape::Threads {
            (busy - 0.5 * cpus).max(0.0) / cpus
        } else {
            (busy - reference) / cpus
        };
        let exponent = (self.at(GAMMA) - 1.0) * by_gamma - self.at(KAPPA) * by_kappa;
        Curve { factor: exponent.exp(), by_gamma, by_kappa }
    }

    /// Score, noise and colour, from an error and the variance that was expected of it.
    fn rate(&mut self, look: &Look<'_>, error: f64, noise: f64, expected: f64) {
        let colour = self.colour();
        let innovation = error - colour * self.last_error;
        let variance = expected * (1.0 - colour * colour);
        // Windows of less than a second tell less.
        let weight = look.seconds.min(1.0);
        self.score *= SCORE_MEMORY.powf(look.seconds);
        if look.number >= UNSCORED {
            self.score += weight * log_student5(innovation * innovation / variance, variance) / SCORE_DIVISOR;
        }
        let surprise = (error * error / expected).min(9.0);
        let rate = (1.0 / (look.number + 5.0)).max(0.02);
        self.noise_ratio = (self.noise_ratio
            * (rate * (noise / expected).sqrt() * (surprise - SURPRISE_MEAN)).exp())
        .clamp(NOISE_MIN, NOISE_MAX);
        let z = (error / expected.sqrt()).clamp(-3.0, 3.0);
        self.autocorrelation += 0.02 * (z * self.last_z - self.autocorrelation);
        (self.last_z, self.last_error) = (z, error);
        self.error_w += (error.abs() - self.error_w) * (1.0 / (look.number + 1.0)).max(ERROR_RATE);
        if look.event {
            self.misfit += 0.05 * ((error * error / expected).min(25.0) - self.misfit);
        }
    }

    /// How much of an error is expected to come again: where a member is wrong, it is wrong for some time.
    pub(super) fn colour(&self) -> f64 {
        self.autocorrelation.clamp(0.0, 0.9)
    }

    /// Holds what linearisation could carry away, and starts anew where a number is none.
    fn keep_sane(&mut self) {
        let (gamma, mu) = (self.kind.shape.gamma(), self.prior.watts_per_cpu);
        let bounds =
            [(GAMMA, gamma.0 - 0.4, gamma.0 + 0.4), (KAPPA, -1.5, 1.5), (MU, MU_MIN_RATIO * mu, f64::MAX)];
        for (place, low, high) in bounds {
            if let Some(state) = self.state.get_mut(place) {
                *state = state.clamp(low, high);
            }
        }
        if !self.covariance.is_sound() || !self.state.iter().all(|state| state.is_finite()) {
            let slots = self.state.len().saturating_sub(COMMON);
            let fresh = Self::new(self.kind, self.prior, slots);
            *self = Self { restarts: self.restarts + 1, score: self.score.min(0.0), ..fresh };
        }
    }

    /// The state, and where `b` came out negative, the state given that it is zero: no package draws less for being
    /// awake.
    pub(super) fn constrained(&self) -> Vec<f64> {
        let mut state = self.state.clone();
        let (wake, variance) = (self.at(WAKE), self.covariance.get(WAKE, WAKE));
        if wake < 0.0 && variance > 0.0 {
            for (place, value) in state.iter_mut().enumerate() {
                *value -= self.covariance.get(place, WAKE) * wake / variance;
            }
            // What is common stays above nothing here as it does in every step, or nobody would be given anything.
            if let Some(mu) = state.get_mut(MU) {
                *mu = mu.max(MU_MIN_RATIO * self.prior.watts_per_cpu);
            }
        }
        state
    }

    /// Variance of the noise relative to power squared.
    pub(super) fn noise_ratio(&self) -> f64 {
        self.noise_ratio
    }

    pub(super) fn set_noise_ratio(&mut self, ratio: f64) {
        self.noise_ratio = ratio.clamp(NOISE_MIN, NOISE_MAX);
    }

    /// What power was more than it expected in the latest window, watts.
    pub(super) fn last_error(&self) -> f64 {
        self.last_error
    }

    /// What moves the power of the whole package now, watts.
    pub(super) fn level_w(&self) -> f64 {
        if self.kind.drift.has_gain() { 0.0 } else { self.at(LEVEL) }
    }

    /// What moves the watts per CPU of all now.
    fn gain(&self) -> f64 {
        if self.kind.drift.has_gain() { self.at(LEVEL) } else { 0.0 }
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        let Scratch { decays, added, gradient, decayed, gain } = &self.scratch;
        let vectors = [&self.state, decays, added, gradient, decayed, gain];
        self.covariance.bytes()
            + vectors.iter().map(|vector| vector.capacity() * size_of::<f64>()).sum::<usize>()
    }
}

/// Log density of Student's t with 5 degrees of freedom, less its constant, at a squared deviation of `ratio` times
/// `variance`: tails that a gust of unmodelled power does not make a verdict.
fn log_student5(ratio: f64, variance: f64) -> f64 {
    -0.5 * variance.ln() - 3.0 * (ratio / 5.0).ln_1p()
}
