//! When a look that costs by the number of cgroups is due again: it pays for itself.
//!
//! Pure: times in, a decision out.

use std::time::Duration;

/// Of the time since the last look, what the next may cost: a five-hundredth of one CPU. A cgroup costs some 30 us in a walk
/// of all, so that up to 65 are looked at each second, and 1,000 each 15 s.
const PARTS: u32 = 500;
/// However dear it is, nothing that is kept is older: the ledger's minutes are of cgroups that were there then.
const AGE_MAX: Duration = Duration::from_mins(1);

/// The last look.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// When it was, by a clock that never goes back, and what it cost of one CPU.
    last: Option<(Duration, Duration)>,
}

impl Pace {
    /// Whether it is time to look. The first look always is.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        let Some((at, cost)) = self.last else { return true };
        let age = now.saturating_sub(at);
        age >= AGE_MAX || cost.saturating_mul(PARTS) <= age
    }

    /// Takes in what a look at `at` cost.
    pub(super) fn looked(&mut self, at: Duration, cost: Duration) {
        self.last = Some((at, cost));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks in windows of this length, each of which costs `cost_us`, and what they cost of one CPU, in ten minutes.
    fn looks(window_ms: u64, cost_us: u64) -> (u32, f64) {
        let (mut pace, mut looks) = (Pace::default(), 0);
        let (window, cost) = (Duration::from_millis(window_ms), Duration::from_micros(cost_us));
        let mut now = Duration::from_hours(1);
        while now < Duration::from_hours(1) + Duration::from_mins(10) {
            if pace.is_due(now) {
                pace.looked(now, cost);
                looks += 1;
            }
            now += window;
        }
        (looks, f64::from(looks) * cost.as_secs_f64() / 600.0)
    }

    #[test]
    fn a_small_node_looks_in_each_window_and_a_large_one_as_often_as_it_pays() {
        assert_eq!(looks(1_000, 1_900).0, 600);
        let (large, cost_ratio) = looks(1_000, 30_000);
        assert!(large == 40 && cost_ratio <= 0.0021, "{large} {cost_ratio}");
        assert_eq!(looks(1_000, 3_000_000).0, 10, "never older than a minute");
        assert_eq!(looks(60_000, 30_000).0, 10, "each of long windows");
        let (added, cost_ratio) = looks(100, 1_900);
        assert!(
            added == 600 && cost_ratio <= 0.0021,
            "windows that clients add cost no more: {added} {cost_ratio}"
        );
    }

    #[test]
    fn what_has_not_looked_is_due_and_what_has_just_looked_is_not() {
        let mut pace = Pace::default();
        assert!(pace.is_due(Duration::ZERO));
        pace.looked(Duration::from_secs(9), Duration::from_millis(2));
        let due = |ms| pace.is_due(Duration::from_millis(ms));
        assert_eq!([9_000, 9_999, 10_000, 0].map(due), [false, false, true, false]);
    }
}
