//! When a look that costs by the number of cgroups is due again: it pays for itself. One for which there is news comes sooner,
//! and the next one later.
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
    /// When all looks so far are paid for.
    paid: Duration,
}

/// How long a look of this cost takes to be paid for.
fn period(cost: Duration) -> Duration {
    cost.saturating_mul(PARTS).min(AGE_MAX)
}

impl Pace {
    /// Whether it is time to look. The first look always is. For news one look may be owed, so that what comes after a while
    /// without any is seen at once, and where news never end a look costs what it costs without.
    pub(super) fn is_due(&self, now: Duration, news: bool) -> bool {
        let Some((at, cost)) = self.last else { return true };
        let credit = if news { period(cost) } else { Duration::ZERO };
        now.saturating_sub(at) >= AGE_MAX || now + credit >= self.paid
    }

    /// Takes in what a look at `at` cost.
    pub(super) fn looked(&mut self, at: Duration, cost: Duration) {
        let period = period(cost);
        // A look may be cheaper than those before it: what is owed is two of its own at most.
        self.paid = (self.paid.max(at) + period).min(at + 2 * period);
        self.last = Some((at, cost));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks in windows of this length, each of which costs `cost_us`, and what they cost of one CPU, in ten minutes.
    fn looks(window_ms: u64, cost_us: u64, news: bool) -> (u32, f64) {
        let (mut pace, mut looks) = (Pace::default(), 0);
        let (window, cost) = (Duration::from_millis(window_ms), Duration::from_micros(cost_us));
        let mut now = Duration::from_hours(1);
        while now < Duration::from_hours(1) + Duration::from_mins(10) {
            if pace.is_due(now, news) {
                pace.looked(now, cost);
                looks += 1;
            }
            now += window;
        }
        (looks, f64::from(looks) * cost.as_secs_f64() / 600.0)
    }

    #[test]
    fn a_small_node_looks_in_each_window_and_a_large_one_as_often_as_it_pays() {
        assert_eq!(looks(1_000, 1_900, false).0, 600);
        let (large, cost_ratio) = looks(1_000, 30_000, false);
        assert!(large == 40 && cost_ratio <= 0.0021, "{large} {cost_ratio}");
        assert_eq!(looks(1_000, 3_000_000, false).0, 10, "never older than a minute");
        assert_eq!(looks(60_000, 30_000, false).0, 10, "each of long windows");
        let (added, cost_ratio) = looks(100, 1_900, false);
        assert!(
            added == 600 && cost_ratio <= 0.0021,
            "windows that clients add cost no more: {added} {cost_ratio}"
        );
    }

    #[test]
    fn what_has_not_looked_is_due_and_what_has_just_looked_is_not() {
        let mut pace = Pace::default();
        assert!(pace.is_due(Duration::ZERO, false));
        pace.looked(Duration::from_secs(9), Duration::from_millis(2));
        let due = |ms| pace.is_due(Duration::from_millis(ms), false);
        assert_eq!([9_000, 9_999, 10_000, 0].map(due), [false, false, true, false]);
    }

    #[test]
    fn what_is_new_is_seen_at_once_and_costs_no_more_where_there_always_is_something() {
        let ms = Duration::from_millis;
        let mut pace = Pace::default();
        // 15 s each, as of 1,000 cgroups.
        pace.looked(ms(100_000), ms(30));
        assert!(pace.is_due(ms(101_000), true) && !pace.is_due(ms(101_000), false));
        pace.looked(ms(101_000), ms(30));
        // The next one waits until that is paid for, and without news until both are.
        let due = |news| [114_999, 115_000, 129_999, 130_000].map(|at| pace.is_due(ms(at), news));
        assert_eq!((due(true), due(false)), ([false, true, true, true], [false, false, false, true]));
        let (quiet, busy) = (looks(1_000, 30_000, false), looks(1_000, 30_000, true));
        assert!(busy.0 <= quiet.0 + 1 && busy.1 <= 0.0021, "{quiet:?} {busy:?}");
    }
}
