//! The governor at work: what measuring cost, and what is done where that is too much.

use crate::cli::options::Measuring;
use crate::sampler::Sampler;
use crate::sampler::governor::{Action, Governor};
use crate::sched::{self, Limits, Rung};
use crate::sysroot::SysRoot;
use crate::topology::Topology;
use crate::window::{Accounts, Window};
use std::time::Duration;

/// CPU time of serving clients, in nanoseconds. It is no cost of measuring: whoever asks without end would have windows widen
/// for all.
#[derive(Debug, Default)]
struct Serving {
    so_far_ns: u64,
    unjudged_ns: u64,
}

impl Serving {
    /// Less than before is of a server that began anew.
    fn add(&mut self, so_far_ns: u64) {
        let more_ns = so_far_ns.saturating_sub(std::mem::replace(&mut self.so_far_ns, so_far_ns));
        self.unjudged_ns = self.unjudged_ns.saturating_add(more_ns);
    }

    /// What is left of `own_ns` for measuring. The two clocks are read one after the other: what does not fit is of the next.
    fn left_out_of(&mut self, own_ns: u64) -> u64 {
        let serving_ns = self.unjudged_ns.min(own_ns);
        self.unjudged_ns -= serving_ns;
        own_ns - serving_ns
    }
}

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
    /// What windows that ended early cost, how long they were, and how long CPUs were idle in them.
    early: (u64, Duration, u64),
    serving: Serving,
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
            early: (0, Duration::ZERO, 0),
            serving: Serving::default(),
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

    /// What the programs on the context switch took since it was last looked.
    fn switches_ns(&mut self, root: &SysRoot, rung: Rung) -> u64 {
        let each_ns = rung.switch_cost_ns();
        if each_ns == 0 {
            return 0;
        }
        let now = sched::context_switches(root);
        now.saturating_sub(std::mem::replace(&mut self.switches, now)).saturating_mul(each_ns)
    }

    /// What serving clients took so far, in nanoseconds.
    pub(super) fn serving(&mut self, so_far_ns: u64) {
        self.serving.add(so_far_ns);
    }

    /// Takes in a window by its accounts, and acts where measuring cost too much.
    pub(super) fn govern(
        &mut self,
        accounts: &Accounts,
        length: Duration,
        measuring: &Measuring,
        sampler: &mut Sampler,
    ) -> Option<Governed> {
        // Windows that clients had end early are judged together, by the width that was meant.
        let own_ns = self.early.0.saturating_add(accounts.own_ns);
        let length = self.early.1.saturating_add(length);
        let idle_ns = self.early.2.saturating_add(accounts.idle_ns);
        if length < self.governor.window() / 2 {
            self.early = (own_ns, length, idle_ns);
            return None;
        }
        self.early = (0, Duration::ZERO, 0);
        let root = &measuring.root;
        let rung = sampler.rung();
        let in_kernel_ns = self.switches_ns(root, rung);
        let measuring_ns = self.serving.left_out_of(own_ns);
        let cost = Duration::from_nanos(measuring_ns.saturating_add(in_kernel_ns));
        let cpus = self.topology.cpus_online();
        let all = length.as_secs_f64() * f64::from(cpus.max(1));
        self.cost_ratio = if all > 0.0 { cost.as_secs_f64() / all } else { 0.0 };
        let action = self.governor.observe(cost, length, cpus, Duration::from_nanos(idle_ns))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serving_is_no_cost_of_measuring() {
        let mut serving = Serving::default();
        assert_eq!(serving.left_out_of(5), 5);
        // Windows that end early are judged together.
        serving.add(700);
        serving.add(900);
        assert_eq!(serving.left_out_of(1_000), 100);
        assert_eq!(serving.left_out_of(10), 10, "nothing is left out twice");
        // What was told late is of the next window.
        serving.add(1_000);
        assert_eq!((serving.left_out_of(60), serving.left_out_of(100)), (0, 60));
        // A server that began anew counts from nothing.
        serving.add(3);
        serving.add(10);
        assert_eq!(serving.left_out_of(20), 13);
    }
}
