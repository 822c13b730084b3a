//! Keeps the cost of measuring below a share of the machine: wider windows first, then a cheaper way of accounting.
//!
//! Pure: numbers in, a decision out. With hysteresis, so that it does not swing: it acts on several windows in a row,
//! and goes back only where the narrower window would cost well below the limit.

use std::fmt;
use std::time::Duration;

/// Windows in a row above the limit before it acts.
const PATIENCE: u32 = 3;
/// Windows in a row far below it before it goes back.
const CALM: u32 = 10;
/// The widest window; a meter may wrap in a longer one.
const WIDEST: Duration = Duration::from_mins(1);

/// Where less of the CPUs' time is idle than this, others are at work on all of them.
const CROWDED_IDLE_RATIO: f64 = 0.1;
/// Then the same work takes more CPU time, as caches and cores are shared: 1.4 times as much was seen (`cargo xtask bench agent`
/// beside compilers: 0.94 % of a CPU, and 0.66 % with less beside it). That is no reason to measure less.
const CROWDED_LIMIT: f64 = 1.5;

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// Windows are this wide from here on.
    Widen(Duration),
    /// Back to a narrower one.
    Narrow(Duration),
    /// Windows are as wide as they may be: take a cheaper way of accounting, if there is one.
    Fall,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Widen(window) => write!(f, "windows of {} s from here on", window.as_secs_f64()),
            Self::Narrow(window) => write!(f, "back to windows of {} s", window.as_secs_f64()),
            Self::Fall => write!(f, "a cheaper way of accounting from here on"),
        }
    }
}

/// The state between windows.
#[derive(Clone, Debug)]
pub struct Governor {
    limit_ratio: f64,
    narrowest: Duration,
    window: Duration,
    above: u32,
    below: u32,
}

impl Governor {
    /// `limit_ratio` is of the time of all CPUs; windows begin at `window`, and never get narrower.
    pub fn new(limit_ratio: f64, window: Duration) -> Self {
        Self { limit_ratio, narrowest: window, window, above: 0, below: 0 }
    }

    /// How wide a window is to be.
    pub fn window(&self) -> Duration {
        self.window
    }

    /// Takes in what a window of `length` cost, in CPU time, on a machine with so many CPUs that were idle for `idle`, all
    /// together.
    pub fn observe(&mut self, cost: Duration, length: Duration, cpus: u32, idle: Duration) -> Option<Action> {
        let all = length.as_secs_f64() * f64::from(cpus.max(1));
        if all <= 0.0 {
            return None;
        }
        let ratio = cost.as_secs_f64() / all;
        let crowded = idle.as_secs_f64() / all < CROWDED_IDLE_RATIO;
        let limit_ratio = if crowded { CROWDED_LIMIT * self.limit_ratio } else { self.limit_ratio };
        self.above = if ratio > limit_ratio { self.above + 1 } else { 0 };
        // Half as wide costs twice as much, and must leave room below the limit.
        self.below = if ratio < self.limit_ratio / 4.0 { self.below + 1 } else { 0 };
        if self.above >= PATIENCE {
            self.above = 0;
            if self.window >= WIDEST {
                return Some(Action::Fall);
            }
            self.window = self.window.saturating_mul(2).min(WIDEST);
            return Some(Action::Widen(self.window));
        }
        if self.below >= CALM && self.window > self.narrowest {
            self.below = 0;
            self.window = (self.window / 2).max(self.narrowest);
            return Some(Action::Narrow(self.window));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);
    /// Of two CPUs one does nothing.
    const HALF: Duration = SECOND;

    #[test]
    fn it_acts_after_several_windows_and_goes_back_when_it_is_calm() {
        let mut governor = Governor::new(0.005, SECOND);
        let dear = Duration::from_millis(20);
        assert_eq!(governor.observe(dear, SECOND, 2, HALF), None);
        assert_eq!(
            governor.observe(Duration::ZERO, SECOND, 2, HALF),
            None,
            "one calm window begins the count anew"
        );
        assert_eq!(
            [0; 3].map(|_| governor.observe(dear, SECOND, 2, HALF)),
            [None, None, Some(Action::Widen(2 * SECOND))]
        );
        let cheap = Duration::from_millis(1);
        for _ in 0..9 {
            assert_eq!(governor.observe(cheap, 2 * SECOND, 2, HALF), None);
        }
        assert_eq!(governor.observe(cheap, 2 * SECOND, 2, HALF), Some(Action::Narrow(SECOND)));
        assert!(
            (0..50).all(|_| governor.observe(cheap, SECOND, 2, HALF).is_none()),
            "no narrower than it was asked for"
        );
    }

    #[test]
    fn it_does_not_act_on_what_others_at_work_make_dearer() {
        let acts = |cost_ratio: f64, idle: Duration| {
            let mut governor = Governor::new(0.005, SECOND);
            let cost = SECOND.mul_f64(2.0 * 0.005 * cost_ratio);
            (0..20).any(|_| governor.observe(cost, SECOND, 2, idle).is_some())
        };
        assert!(!acts(0.9, HALF) && acts(1.1, HALF), "one CPU is free");
        assert!(!acts(1.4, Duration::ZERO), "the same work beside others");
        assert!(acts(1.6, Duration::ZERO), "too much, whoever else is at work");
    }

    #[test]
    fn where_windows_cannot_be_wider_it_falls() {
        let mut governor = Governor::new(0.005, SECOND);
        let actions: Vec<Action> =
            (0..30).filter_map(|_| governor.observe(SECOND, SECOND, 2, HALF)).collect();
        assert_eq!(actions.len(), 10);
        assert_eq!(actions[5], Action::Widen(WIDEST));
        assert!(actions[6..].iter().all(|action| *action == Action::Fall));
    }

    proptest! {
        /// A cost that is the same for each window, whatever its width, ends in one width and stays there.
        #[test]
        fn it_does_not_swing(cost_us in 0_u64..2_000_000, cpus in 1_u32..256, idle in 0_u32..2) {
            let mut governor = Governor::new(0.005, SECOND);
            let mut last = 0;
            for step in 0..2_000 {
                let window = governor.window();
                if matches!(governor.observe(Duration::from_micros(cost_us), window, cpus, idle * window), Some(Action::Widen(_) | Action::Narrow(_))) {
                    last = step;
                }
            }
            prop_assert!(last < 100, "still at it at window {last}");
            prop_assert!(governor.window() >= SECOND && governor.window() <= WIDEST);
        }
    }
}
