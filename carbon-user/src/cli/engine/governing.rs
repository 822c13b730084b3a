//! The governor at work: what measuring cost, and what is done where that is too much.

use crate::cli::options::Measuring;
use crate::sampler::Sampler;
use crate::sampler::governor::{Action, Governor};
use crate::sched::{self, Limits};
use crate::topology::Topology;
use crate::window::Window;
use std::time::Duration;

/// What measuring cost, window by window.
#[derive(Debug)]
pub(super) struct Governing {
    governor: Governor,
    limit_ratio: f64,
    topology: Topology,
    limits: Limits,
    /// Context switches of the machine when it was last looked.
    switches: u64,
    /// What the last window cost, as a part of the time of all CPUs.
    cost_ratio: f64,
    /// What windows that ended early cost, and how long they were.
    early: (u64, Duration),
    /// Falling would lose runs that are open.
    pub(super) holds_runs: bool,
}

/// What was done.
#[derive(Debug)]
pub(super) struct Governed {
    pub(super) action: Action,
    /// Why and what, in words.
    pub(super) said: String,
    /// The window that ended with a change of the accounting: what it holds is not to be lost.
    pub(super) window: Option<Window>,
}

impl Governing {
    /// `limit_ratio` is of the time of all CPUs.
    pub(super) fn new(limit_ratio: f64, measuring: &Measuring, topology: Topology, limits: Limits) -> Self {
        Self {
            governor: Governor::new(limit_ratio, measuring.interval),
            limit_ratio,
            topology,
            limits,
            switches: sched::context_switches(&measuring.root),
            cost_ratio: 0.0,
            early: (0, Duration::ZERO),
            holds_runs: false,
        }
    }

    /// How wide a window is to be.
    pub(super) fn window(&self) -> Duration {
        self.governor.window()
    }

    /// What measuring may cost, and what it cost in the last window, as parts of the time of all CPUs.
    pub(super) fn ratios(&self) -> (f64, f64) {
        (self.limit_ratio, self.cost_ratio)
    }

    /// Windows are never to be narrower than this from here on.
    pub(super) fn restart(&mut self, interval: Duration) {
        self.governor = Governor::new(self.limit_ratio, interval);
    }

    /// Takes in a window whose measuring took `own_ns` of this process, and acts where that is too much.
    pub(super) fn govern(
        &mut self,
        own_ns: u64,
        length: Duration,
        measuring: &Measuring,
        sampler: &mut Sampler,
    ) -> Option<Governed> {
        // Windows that clients had end early are judged together, by the width that was meant.
        let (own_ns, length) = (self.early.0.saturating_add(own_ns), self.early.1.saturating_add(length));
        if length < self.governor.window() / 2 {
            self.early = (own_ns, length);
            return None;
        }
        self.early = (0, Duration::ZERO);
        let root = &measuring.root;
        let now = sched::context_switches(root);
        let switched = now.saturating_sub(std::mem::replace(&mut self.switches, now));
        let rung = sampler.rung();
        let in_kernel_ns = switched.saturating_mul(rung.switch_cost_ns());
        let cost = Duration::from_nanos(own_ns.saturating_add(in_kernel_ns));
        let cpus = self.topology.cpus_online();
        let all = length.as_secs_f64() * f64::from(cpus.max(1));
        self.cost_ratio = if all > 0.0 { cost.as_secs_f64() / all } else { 0.0 };
        let action = self.governor.observe(cost, length, cpus)?;
        let mut window = None;
        let said = match (action, rung.cheaper()) {
            (Action::Fall, None) => return None,
            (Action::Fall, _) if self.holds_runs => return None,
            (Action::Fall, Some(lower)) => {
                let opened = sched::open(lower, root, &self.topology, self.limits);
                match opened.and_then(|accounting| sampler.replace_accounting(accounting)) {
                    Ok(closed) => window = closed,
                    Err(error) => {
                        log::warn!("{lower} does not work here: {error}; {rung} goes on");
                        return None;
                    }
                }
                format!("CPU time by {lower} instead of {rung} from here on")
            }
            (action, _) => action.to_string(),
        };
        let what = match action {
            Action::Narrow(_) => "measuring is cheap again",
            Action::Widen(_) | Action::Fall => "measuring cost more than --max-overhead",
        };
        let said = format!("{what}: {said}");
        log::warn!("{said}");
        Some(Governed { action, said, window })
    }
}
