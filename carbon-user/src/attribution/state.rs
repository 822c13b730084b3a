//! What attribution carries from window to window, per domain, and how it splits what is dynamic.

use super::bank::{Bank, Beforehand, Calibration, JointSplit, Learned, Observation, Split, StaticPower};
use super::device::DeviceState;
use super::static_policy::StaticState;
use super::uncertainty::split_stddev_ratio;
use crate::units::{CpuNanos, Microjoules, Quality, Watts};
use crate::window::counts::Counts;
use crate::window::{Domain, DomainKind, DomainWindow, WorkloadKey};
use std::fmt;
use std::rc::Rc;

/// How dynamic energy is split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// By what each workload's CPU time costs, as learned from the meter; by CPU time in the first windows, and where
    /// there is no meter: a model's watts are themselves made of CPU time, so nothing can be learned from them.
    Bank,
    /// By CPU time.
    #[default]
    CpuTime,
    /// By accesses that the last cache did not hold: memory's, where these are counted.
    LlcMisses,
}

impl Method {
    /// The word of `--attribution`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bank => "bank",
            Self::CpuTime => "cpu-time",
            Self::LlcMisses => "llc-misses",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What is known of a package beforehand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PackagePrior {
    /// CPUs online on it.
    pub cpus: u32,
    /// Power of one busy CPU above idle, by a table.
    pub per_cpu: Option<Watts>,
}

/// Carried from window to window. The caller keeps it.
#[derive(Clone, Debug, Default)]
pub struct State {
    method: Method,
    packages: Vec<PackagePrior>,
    domains: Vec<DomainState>,
    unbalanced: u64,
    /// What was learned before a restart, of domains that have not been seen since.
    kept: Vec<Kept>,
}

/// What was learned of one domain, to be kept over a restart.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// What it measures.
    pub kind: DomainKind,
    /// Which one of these.
    pub device: String,
    /// Its bank.
    pub learned: Learned,
}

/// Windows after a restart from which on what is learned is worth more than what was learned before: resuming makes it
/// less sure, and many short runs one after the other must not wear it away.
const FRESH_WINDOWS_MIN: u64 = 60;

/// Of one domain.
#[derive(Clone, Debug)]
pub(super) struct DomainState {
    domain: Rc<Domain>,
    statics: StaticState,
    bank: Option<Box<Bank>>,
    belief: Option<StaticPower>,
    /// Whether the latest window was split by the bank.
    learned: bool,
    /// Windows of before a restart that it goes on from.
    resumed_windows: Option<u64>,
    device: DeviceState,
}

/// A workload's weight in the split of a domain's dynamic energy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) weight: u64,
    pub(super) lasting_stddev_uj: f64,
    pub(super) passing_stddev_uj: f64,
}

/// A domain's dynamic energy, to be split.
#[derive(Clone, Debug, Default)]
pub(super) struct Parts {
    pub(super) rows: Vec<(WorkloadKey, Part)>,
    pub(super) joint: Vec<JointSplit>,
    pub(super) method: Method,
}

impl State {
    /// Splits by `method`; `packages` are in the order of their ids, and the bank needs them.
    pub fn new(method: Method, packages: Vec<PackagePrior>) -> Self {
        Self { method, packages, ..Self::default() }
    }

    /// How dynamic energy is split where it can be.
    pub fn method(&self) -> Method {
        self.method
    }

    /// Windows of domains whose parts did not sum to what was metered, which must not happen.
    pub fn unbalanced(&self) -> u64 {
        self.unbalanced
    }

    pub(super) fn count_unbalanced(&mut self) {
        self.unbalanced += 1;
    }

    /// What was learned of each domain that has warmed up; of others, and of those that have seen too little since to
    /// know it better, what was learned before. Sorted by domain.
    pub fn kept(&self) -> Vec<Kept> {
        let now = |state: &DomainState| {
            let bank = state.bank.as_deref()?;
            let (kind, device) = (state.domain.kind, state.domain.device.clone());
            let of_now = Kept { kind, device, learned: bank.learned()? };
            if state.resumed_windows.is_none() || bank.fresh_windows() >= FRESH_WINDOWS_MIN {
                return Some(of_now);
            }
            let Kept { learned: Learned { experiments, evidence, .. }, .. } = of_now;
            let before = self.before(&state.domain)?;
            let learned = Learned { experiments, evidence, ..before.learned.clone() };
            Some(Kept { learned, ..before.clone() })
        };
        let mut kept: Vec<Kept> = self.domains.iter().filter_map(now).collect();
        let same = |one: &Kept, other: &Kept| (one.kind, &one.device) == (other.kind, &other.device);
        for before in &self.kept {
            if !kept.iter().any(|now| same(now, before)) {
                kept.push(before.clone());
            }
        }
        kept.sort_by(|one, other| (one.kind, &one.device).cmp(&(other.kind, &other.device)));
        kept
    }

    fn before(&self, domain: &Domain) -> Option<&Kept> {
        self.kept.iter().find(|kept| kept.kind == domain.kind && kept.device == domain.device)
    }

    /// Windows from which the watts of this domain were known before the first of this state's; `None` where nothing
    /// was.
    pub fn resumed_windows(&self, domain: &Domain) -> Option<u64> {
        self.domains.iter().find(|state| *state.domain == *domain)?.resumed_windows
    }

    /// Keeps what a calibration found of a domain.
    pub fn calibrate(&mut self, domain: &Domain, calibration: Calibration) {
        let state = self.domains.iter_mut().find(|state| *state.domain == *domain);
        if let Some(bank) = state.and_then(|state| state.bank.as_deref_mut()) {
            bank.calibrate(calibration);
        }
    }

    /// Goes on from what was learned before, for domains that come up from now on. What makes no sense here is left.
    pub fn resume(&mut self, kept: Vec<Kept>) {
        self.kept = kept;
    }

    /// Domains whose meter shows less than their idle power asks for, and how much less since the start: their
    /// idle power is set too high.
    pub fn excess_static(&self) -> impl Iterator<Item = (&Rc<Domain>, Microjoules)> {
        self.domains
            .iter()
            .map(|state| (&state.domain, state.statics.excess()))
            .filter(|(_, excess)| *excess > Microjoules::ZERO)
    }

    /// What was learned of the static power of each domain that has a bank, once it has warmed up.
    pub fn static_powers(&self) -> impl Iterator<Item = (&Rc<Domain>, StaticPower)> {
        self.domains.iter().filter_map(|state| Some((&state.domain, state.belief?)))
    }

    /// The banks, for those who look inside.
    pub fn banks(&self) -> impl Iterator<Item = (&Rc<Domain>, &Bank)> {
        self.domains.iter().filter_map(|state| Some((&state.domain, state.bank.as_deref()?)))
    }

    pub(super) fn of(&mut self, domain: &Rc<Domain>) -> Option<&mut DomainState> {
        let place = self.domains.iter().position(|known| *known.domain == **domain).unwrap_or_else(|| {
            let (bank, resumed_windows) = self.bank_for(domain).unzip();
            self.domains.push(DomainState {
                domain: Rc::clone(domain),
                statics: StaticState::default(),
                bank: bank.map(Box::new),
                belief: None,
                learned: false,
                resumed_windows: resumed_windows.flatten(),
                device: DeviceState::default(),
            });
            self.domains.len() - 1
        });
        self.domains.get_mut(place)
    }

    /// A bank, and from how many windows it knows what it knows.
    fn bank_for(&self, domain: &Domain) -> Option<(Bank, Option<u64>)> {
        let package = self.packages.get(usize::from(domain.package.0))?;
        let splits_by_cpu_time = domain.kind != DomainKind::Gpu;
        if self.method != Method::Bank || domain.quality == Quality::Modelled || !splits_by_cpu_time {
            return None;
        }
        // The table's watts are of the processor: memory's are learned from its first windows.
        let per_cpu = package.per_cpu.filter(|_| domain.kind == DomainKind::Package);
        let beforehand = Beforehand { cpus: package.cpus, idle: domain.idle_watts, per_cpu };
        let resumed = self
            .before(domain)
            .and_then(|kept| Some((Bank::resume(beforehand, &kept.learned)?, Some(kept.learned.windows))));
        Some(resumed.unwrap_or_else(|| (Bank::new(beforehand), None)))
    }
}

impl DomainState {
    /// What is learned of an accelerator.
    pub(super) fn device(&mut self) -> &mut DeviceState {
        &mut self.device
    }

    /// Learns from a window, and from what was counted of it, and gives its static energy.
    pub(super) fn static_of(&mut self, window: &DomainWindow, counts: Option<&Counts>) -> Microjoules {
        self.learned = false;
        if let Some(bank) = self.bank.as_mut().filter(|_| window.gap.is_none()) {
            let rows: Vec<(WorkloadKey, f64)> =
                ran_in(window).into_iter().map(|(key, nanos)| (key, nanos.seconds())).collect();
            let events = counts.map_or_else(Vec::new, |counts| {
                rows.iter().map(|(key, _)| counts.of(*key, window.domain.package)).collect()
            });
            let belief = bank.observe(&Observation {
                seconds: window.duration.as_secs_f64(),
                joules: window.metered.joules(),
                wake_ratio: window.wake_ratio,
                rows: &rows,
                events: &events,
            });
            self.learned = belief.is_some();
            self.belief = belief.or(self.belief);
        }
        let idle = self.belief.map_or(window.domain.idle_watts, |belief| Some(belief.now));
        self.statics.static_of(idle, window.duration, window.metered, window.gap.is_some())
    }

    /// Weights for `dynamic` energy of the same window: `accesses`, where they are counted.
    pub(super) fn parts(
        &mut self,
        window: &DomainWindow,
        dynamic: Microjoules,
        accesses: Option<Vec<(WorkloadKey, u64)>>,
    ) -> Parts {
        if let Some(accesses) = accesses {
            return in_proportion(&accesses, dynamic, Method::LlcMisses);
        }
        if self.learned
            && let Some(bank) = &mut self.bank
        {
            let (splits, joint) = bank.split(dynamic.joules());
            let rows = splits.iter().map(|split| (split.key, split.into())).collect();
            return Parts { rows, joint, method: Method::Bank };
        }
        let parts = by_cpu_time(window, dynamic);
        if let Some(bank) = &mut self.bank {
            let whole: f64 = parts.rows.iter().map(|(_, part)| CpuNanos(part.weight).seconds()).sum();
            for (key, part) in &parts.rows {
                bank.book(*key, dynamic.joules() * CpuNanos(part.weight).seconds() / whole);
            }
        }
        parts
    }
}

/// Shares as whole weights: 2^60 parts, so that the sum of all fits and rounding is far below a microjoule.
const WHOLE: f64 = 1_152_921_504_606_846_976.0;

impl From<&Split> for Part {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share is from 0 to 1")]
    fn from(split: &Split) -> Self {
        Self {
            weight: (split.share_ratio.clamp(0.0, 1.0) * WHOLE) as u64,
            lasting_stddev_uj: split.lasting_stddev_j * 1e6,
            passing_stddev_uj: split.passing_stddev_j * 1e6,
        }
    }
}

/// Workloads that ran on the domain's package, by key: sums of floats then come out the same in whatever order the books
/// were read.
fn ran_in(window: &DomainWindow) -> Vec<(WorkloadKey, CpuNanos)> {
    let mut ran: Vec<_> =
        window.usage.on_package(window.domain.package).filter(|(_, nanos)| *nanos > CpuNanos::ZERO).collect();
    ran.sort_unstable_by_key(|(key, _)| *key);
    ran
}

fn by_cpu_time(window: &DomainWindow, dynamic: Microjoules) -> Parts {
    let ran: Vec<_> = ran_in(window).into_iter().map(|(key, nanos)| (key, nanos.0)).collect();
    in_proportion(&ran, dynamic, Method::CpuTime)
}

#[expect(clippy::cast_precision_loss, reason = "a weight in a ratio")]
fn in_proportion(weights: &[(WorkloadKey, u64)], dynamic: Microjoules, method: Method) -> Parts {
    let whole: f64 = weights.iter().map(|(_, weight)| *weight as f64).sum();
    let share = |weight: u64| weight as f64 / whole;
    let squares: f64 = weights.iter().map(|(_, weight)| share(*weight).powi(2)).sum();
    let part = |weight: u64| {
        let energy_uj = dynamic.joules() * 1e6 * share(weight);
        let lasting_stddev_uj = energy_uj * split_stddev_ratio(share(weight), squares);
        Part { weight, lasting_stddev_uj, passing_stddev_uj: 0.0 }
    };
    let rows = weights.iter().map(|(key, weight)| (*key, part(*weight))).collect();
    Parts { rows, joint: Vec::new(), method }
}
