//! What each workload's CPU time costs, learned from the meter: a bank of small models, and a score that chooses.
//!
//! Splitting by CPU time gives every workload the same watts; learning each workload's own watts by one regression is
//! right only where power has the form that the regression assumes, and worse than CPU time elsewhere. So
//! twenty-eight members predict each window's metered power before it is seen (four shapes of power over use, up to five
//! ways in which own watts drift, and plain CPU time); how well each did is its weight, and shares, static power and intervals are
//! their weighted opinion. Formulas, sources, figures and limits: `docs/attribution.md`.
//!
//! One bank per package and domain. It knows nothing of counters or clocks: power, seconds and CPUs in, shares out. Its
//! memory is bounded ([`SLOTS_MAX`] workloads have watts of their own, the rest has the common ones), under 1.5 MiB when
//! full (2 MiB in the first minutes), and a window with 1,000 workloads takes some milliseconds: `cargo xtask bench
//! accuracy --speed`.

mod alignment;
mod calibrate;
mod evidence;
mod experiments;
mod hints;
mod insight;
mod kinds;
mod learned;
mod member;
mod packed;
mod slots;
mod split;
mod still;
mod together;
mod trust;
mod used;
mod warm_up;

pub use calibrate::{LoadWindow, fit};
pub use evidence::{Calibration, Evidence, IdleWindows};
pub use experiments::{Experiment, ExperimentScore, Experiments, RECENT_MAX};
pub use insight::{MemberInsight, OwnWatts};
pub use kinds::{Drift, Kind, Shape};
pub use learned::{Learned, LearnedMember, LearnedOwn};
pub use slots::SLOTS_MAX;
pub use split::{JointSplit, Split};
pub use trust::{Tried, Trust};
pub use warm_up::WARM_UP_WINDOWS;

use crate::units::Watts;
use crate::window::WorkloadKey;
use crate::window::counts::COUNTERS_MAX;
use alignment::Alignment;
use hints::Hints;
use member::{Look, Member, P0, Prior};
use slots::{Change, Slots};
use split::{Row, Span};
use still::{Moved, Still};
use together::Together;
use trust::Aged;
use used::Use;
use warm_up::WarmUp;

/// What is known of a package and domain beforehand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Beforehand {
    /// CPUs online on the package.
    pub cpus: u32,
    /// Power with all of them idle, by a table.
    pub idle: Option<Watts>,
    /// Power of one busy CPU above idle, by a table.
    pub per_cpu: Option<Watts>,
}

impl Beforehand {
    fn cpus(&self) -> f64 {
        f64::from(self.cpus.max(1))
    }
}

/// What a bank learns from. Rows are in order of their keys, each key once.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// Length, above zero.
    pub seconds: f64,
    /// Metered energy.
    pub joules: f64,
    /// Share of the time in which any CPU of the package was busy, where it is known.
    pub wake_ratio: Option<f64>,
    /// CPU seconds of each workload that ran on the package.
    pub rows: &'a [(WorkloadKey, f64)],
    /// Events of each row, in the order of the window's counters; empty where none are counted.
    pub events: &'a [[u64; COUNTERS_MAX]],
}

/// What a bank believes of static power.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StaticPower {
    /// Power to be taken as static in this window: P0, with what moves the whole package now.
    pub now: Watts,
    /// Idle power.
    pub p0: Watts,
    /// Its standard deviation.
    pub stddev: Watts,
    /// Whether the data say more of it than half of what the prior did.
    pub identified: bool,
}

/// A member, for those who look inside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MemberReport {
    /// What it believes in.
    pub kind: Kind,
    /// Its weight, 0 to 1.
    pub weight_ratio: f64,
    /// Its score: a log density, forgotten slowly.
    pub score: f64,
    /// Its idle power.
    pub p0: Watts,
    /// How often it had to be made anew.
    pub restarts: u64,
}

/// Learns one package and domain.
#[derive(Clone, Debug)]
pub struct Bank {
    beforehand: Beforehand,
    warm_up: WarmUp,
    still: Still,
    prior: Prior,
    slots: Slots,
    members: Vec<Member>,
    weights: Vec<f64>,
    alignment: Option<Alignment>,
    /// How much of a window's CPU time belongs to the meter's next: 0 where both edges are the same.
    lag: f64,
    /// Windows since the members were made.
    number: f64,
    mean_w: f64,
    mean_change: f64,
    wake_min: f64,
    together: Together,
    trust: Tried,
    aged: Aged,
    hints: Hints,
    /// This window and the one before.
    now: Use,
    before: Use,
    rows: Vec<Row>,
    watts: f64,
    seconds: f64,
    /// The window before as the members saw it, without rows, and its power and length.
    previous: Option<(Use, f64, f64)>,
    experiments: Experiments,
    evidence: Evidence,
    /// Windows learned from, those before a restart included, and those since.
    windows: u64,
    fresh_windows: u64,
}

impl Bank {
    /// Knows what is known beforehand; up to [`SLOTS_MAX`] workloads get watts of their own.
    pub fn new(beforehand: Beforehand) -> Self {
        Self::with_slots(beforehand, SLOTS_MAX)
    }

    /// The same with another number of slots, for tests and trials.
    pub fn with_slots(beforehand: Beforehand, slots_max: usize) -> Self {
        Self {
            beforehand,
            warm_up: WarmUp::default(),
            still: Still::default(),
            prior: Prior {
                p0_w: 0.0,
                p0_stddev_w: 0.0,
                watts_per_cpu: 0.0,
                cpus: beforehand.cpus(),
                noise_ratio: 0.0,
            },
            slots: Slots::new(slots_max),
            members: Vec::new(),
            weights: Vec::new(),
            alignment: Some(Alignment::default()),
            lag: 0.0,
            number: 0.0,
            mean_w: 0.0,
            mean_change: 0.0,
            wake_min: 1.0,
            together: Together::default(),
            trust: Tried::default(),
            aged: Aged::default(),
            hints: Hints::default(),
            now: Use::default(),
            before: Use::default(),
            rows: Vec::new(),
            watts: 0.0,
            seconds: 0.0,
            previous: None,
            experiments: Experiments::default(),
            evidence: Evidence::default(),
            windows: 0,
            fresh_windows: 0,
        }
    }

    /// Learns from a window. `None` while it warms up, or where the window says nothing: then CPU time has to do.
    pub fn observe(&mut self, seen: &Observation<'_>) -> Option<StaticPower> {
        if !(seen.seconds > 0.0 && seen.joules.is_finite() && seen.joules >= 0.0) {
            return None;
        }
        match self.still.take(seen) {
            Moved::Now => self.take_in(seen),
            Moved::Late(whole) => self.take_in(&whole.observation()),
            Moved::Not => None,
        }
    }

    fn take_in(&mut self, seen: &Observation<'_>) -> Option<StaticPower> {
        (self.watts, self.seconds) = (seen.joules / seen.seconds, seen.seconds);
        self.take_rows(seen);
        self.windows = self.windows.saturating_add(1);
        self.fresh_windows = self.fresh_windows.saturating_add(1);
        if self.now.busy < evidence::IDLE_RATIO * self.beforehand.cpus() && self.watts > 0.0 {
            self.evidence.idle.add(self.watts, self.now.busy, self.now.wake);
        }
        if self.members.is_empty() {
            if let Some((prior, mean_w)) = self.warm_up.add(seen, self.beforehand) {
                (self.prior, self.mean_w) = (prior, mean_w);
                self.begin();
            }
            return None;
        }
        self.align();
        let use_seen = if self.lag > 0.0 { self.before.blend(&self.now, self.lag) } else { self.now.clone() };
        self.experiment(&use_seen);
        self.try_own(&use_seen);
        self.learn(&use_seen);
        let kept = Use { slots: use_seen.slots.clone(), rows: Vec::new(), ..use_seen };
        self.previous = Some((kept, self.watts, self.seconds));
        self.rows = use_seen
            .rows
            .iter()
            .map(|(key, used)| Row { key: *key, slot: self.slots.of(*key), used: *used })
            .collect();
        Some(self.static_power())
    }

    /// CPUs used by each workload, and slots for the new ones.
    fn take_rows(&mut self, seen: &Observation<'_>) {
        let mut new = Vec::new();
        for change in self.slots.assign(seen.seconds, seen.rows.iter().map(|(key, _)| *key)) {
            match change {
                Change::Added => {
                    self.members.iter_mut().for_each(Member::grow);
                    self.together.grow();
                    new.push(self.hints.grow());
                    if let Some(alignment) = &mut self.alignment {
                        alignment.grow();
                    }
                }
                Change::Given(slot) => {
                    self.members.iter_mut().for_each(|member| member.reset(slot));
                    self.together.reset(slot);
                    self.hints.reset(slot);
                    self.aged.reset(slot);
                    new.push(slot);
                    if let Some(alignment) = &mut self.alignment {
                        alignment.reset(slot);
                    }
                    let before = self.previous.as_mut().map(|(used, ..)| used);
                    for used in [Some(&mut self.now), before].into_iter().flatten() {
                        if let Some(used) = used.slots.get_mut(slot) {
                            *used = 0.0;
                        }
                    }
                }
            }
        }
        self.take_hints(seen, &new);
        let rows: Vec<_> = seen.rows.iter().map(|(key, cpu_s)| (*key, cpu_s / seen.seconds)).collect();
        let mut slots = vec![0.0; self.slots.len()];
        for (key, used) in &rows {
            if let Some(slot) = self.slots.of(*key).and_then(|slot| slots.get_mut(slot)) {
                *slot = *used;
            }
        }
        let busy: f64 = rows.iter().map(|(_, used)| used).sum();
        // Where it is not known: CPUs are busy or not independently of each other.
        let apart = || 1.0 - (1.0 - busy / self.prior.cpus).clamp(0.0, 1.0).powf(self.prior.cpus);
        let wake = seen.wake_ratio.unwrap_or_else(apart).clamp(0.0, 1.0);
        self.wake_min = self.wake_min.min(wake);
        self.before = std::mem::replace(&mut self.now, Use { slots, busy, wake, rows });
    }

    /// What was counted of each, and what that says of the new ones.
    fn take_hints(&mut self, seen: &Observation<'_>, new: &[usize]) {
        if seen.events.is_empty() {
            return;
        }
        self.hints.forget(seen.seconds);
        for ((key, cpu_s), events) in seen.rows.iter().zip(seen.events) {
            if let Some(slot) = self.slots.of(*key) {
                #[expect(clippy::cast_precision_loss, reason = "events of a window in a ratio")]
                self.hints.add(slot, *cpu_s, events.map(|count| count as f64));
            }
        }
        for member in &mut self.members {
            for slot in new {
                if let Some(expected) = self.hints.expect(*slot, member) {
                    member.expect(*slot, expected);
                }
            }
        }
    }

    /// Makes the members, and all their scores zero.
    fn begin(&mut self) {
        let slots = self.slots.len();
        self.members = Kind::all().map(|kind| Member::new(kind, self.prior, slots)).collect();
        self.number = 0.0;
        self.trust = Tried::default();
        self.aged = Aged::default();
        self.weigh();
        if let Some(alignment) = &mut self.alignment {
            alignment.begin(self.prior, slots);
        }
    }

    /// In the first windows, finds out whether meter and scheduler see the same instants.
    fn align(&mut self) {
        let Some(mut alignment) = self.alignment.take() else { return };
        let look = self.look(&self.now, self.number);
        if alignment.observe(look, &self.before, &self.now) {
            self.alignment = Some(alignment);
        } else if let Some(lag) = alignment.found() {
            self.lag = lag;
            self.begin();
            // They were predicted by members that saw other instants than the meter.
            self.experiments = Experiments::default();
        }
    }

    fn look<'a>(&self, used: &'a Use, number: f64) -> Look<'a> {
        Look {
            seconds: self.seconds,
            watts: self.watts,
            mean_watts: self.mean_w,
            wake: used.wake,
            busy: used.busy,
            slots: &used.slots,
            event: false,
            number,
        }
    }

    /// How well starts and stops of workloads were predicted.
    pub fn experiments(&self) -> &Experiments {
        &self.experiments
    }

    /// What is known of idle power by itself.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// Windows learned from since it was made or resumed.
    pub fn fresh_windows(&self) -> u64 {
        self.fresh_windows
    }

    fn learn(&mut self, used: &Use) {
        self.mean_w += (self.watts - self.mean_w) * (0.01 * self.seconds).min(0.5);
        let slots = self.now.slots.iter().zip(&self.before.slots);
        let change: f64 = slots.map(|(now, before)| (now - before).abs()).sum();
        let event = self.number > 20.0 && change > 1.5 * self.mean_change;
        self.mean_change += (change - self.mean_change) * 0.05;
        let look = Look { event, ..self.look(used, self.number) };
        for member in &mut self.members {
            member.observe(&look);
        }
        self.together.observe(&self.now.slots, &self.before.slots);
        self.number += 1.0;
        self.weigh();
    }

    /// Weights: prior times score, to sum 1.
    fn weigh(&mut self) {
        let logs: Vec<f64> =
            self.members.iter().map(|member| member.score + member.kind.prior_weight().ln()).collect();
        let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let parts: Vec<f64> = logs.iter().map(|log| (log - most).exp()).collect();
        let whole: f64 = parts.iter().sum();
        self.weights = parts.iter().map(|part| part / whole).collect();
    }

    fn weighted(&self) -> impl Iterator<Item = (f64, &Member)> {
        self.weights.iter().copied().zip(&self.members)
    }

    /// Mean and variance of P0 over members (between them only).
    fn p0_w(&self) -> (f64, f64) {
        let p0s: Vec<(f64, f64)> = self
            .weighted()
            .filter(|(weight, _)| *weight > 1e-4)
            .map(|(weight, member)| (weight, member.constrained().get(P0).copied().unwrap_or(0.0).max(0.0)))
            .collect();
        let whole: f64 = p0s.iter().map(|(weight, _)| weight).sum();
        let mean = p0s.iter().map(|(weight, p0)| weight * p0).sum::<f64>() / whole;
        let spread = p0s.iter().map(|(weight, p0)| weight * (p0 - mean).powi(2)).sum::<f64>() / whole;
        (mean, spread)
    }

    /// What power was more than the members expected.
    fn unexpected_w(&self) -> f64 {
        self.weighted().map(|(weight, member)| weight * member.last_error()).sum()
    }

    fn static_power(&self) -> StaticPower {
        let (p0, spread) = self.p0_w();
        let level: f64 = self.weighted().map(|(weight, member)| weight * member.level_w()).sum();
        let moved = if self.watts > 0.0 { (level / self.watts).clamp(-0.3, 0.3) } else { 0.0 };
        let within: f64 =
            self.weighted().map(|(weight, member)| weight * member.covariance.get(P0, P0)).sum();
        let stddev = (within.max(0.0) + spread).sqrt();
        StaticPower {
            now: Watts(p0 * (1.0 + moved)),
            p0: Watts(p0),
            stddev: Watts(stddev),
            identified: stddev < 0.5 * self.prior.p0_stddev_w,
        }
    }

    /// Splits the dynamic energy of the window that was observed last. The order is that of the keys; shares sum to 1
    /// where anything ran.
    pub fn split(&mut self, dynamic_j: f64) -> (Vec<Split>, Vec<JointSplit>) {
        let (p0_w, p0_spread_w2) = self.p0_w();
        let span = Span {
            dynamic_j,
            metered_j: self.watts * self.seconds,
            unexpected_j: self.unexpected_w().abs() * self.seconds,
            seconds: self.seconds,
            p0_w,
            p0_spread_w2,
            wake_min: self.wake_min,
        };
        let members: Vec<(f64, &Member)> = self.weighted().collect();
        let parts = split::split(&members, &self.rows, &self.together.sets(), self.trust.ratio(), span);
        for split in &parts.0 {
            self.slots.book(split.key, split.share_ratio * dynamic_j);
        }
        parts
    }

    /// Books the energy of a window that was split by CPU time, so that slots go to those who use most.
    pub fn book(&mut self, key: WorkloadKey, joules: f64) {
        self.slots.book(key, joules);
    }

    /// The members with their weights; none while it warms up.
    pub fn members(&self) -> impl Iterator<Item = MemberReport> {
        self.weighted().map(|(weight, member)| MemberReport {
            kind: member.kind,
            weight_ratio: weight,
            score: member.score,
            p0: Watts(member.state.get(P0).copied().unwrap_or(0.0)),
            restarts: member.restarts,
        })
    }

    /// Part of a window by which the meter was found to lag behind the scheduler.
    pub fn lag_ratio(&self) -> f64 {
        self.lag
    }

    /// Workloads with watts of their own.
    pub fn slots(&self) -> &[WorkloadKey] {
        self.slots.owners()
    }

    /// The smallest pivot of any member's covariance, relative to the variance of its state: above zero as long as all
    /// are positive. Costs as much as a thousand windows; for tests and self-tests.
    pub fn smallest_pivot_ratio(&self) -> f64 {
        let members = self.members.iter().map(|member| member.covariance.smallest_pivot_ratio());
        members.fold(f64::INFINITY, f64::min)
    }

    /// Bytes on the heap, without what the allocator adds.
    pub fn bytes(&self) -> usize {
        self.members.iter().map(|member| size_of::<Member>() + member.bytes()).sum::<usize>()
            + self.alignment.as_ref().map_or(0, Alignment::bytes)
            + self.slots.bytes()
            + self.together.bytes()
            + self.hints.bytes()
            + self.aged.bytes()
            + self.still.bytes()
            + self.experiments.bytes()
            + (self.now.rows.capacity() + self.before.rows.capacity()) * size_of::<(WorkloadKey, f64)>()
            + self.rows.capacity() * size_of::<Row>()
    }
}

#[cfg(test)]
mod tests;
