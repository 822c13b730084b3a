//! How many requests a user may make: a bucket of tokens each, filled at a steady rate.

use std::collections::HashMap;

/// Users that are remembered before those with a full bucket are forgotten.
const USERS_MAX: usize = 1_024;

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Thousand-millionths of a token, so that a nanosecond at one token a second is one.
    nanotokens: u64,
    at_ns: u64,
}

/// All buckets.
#[derive(Debug)]
pub(super) struct Throttle {
    per_s: u64,
    burst: u64,
    users: HashMap<u32, Bucket>,
}

impl Throttle {
    pub(super) fn new(per_s: u32, burst: u32) -> Self {
        Self { per_s: per_s.into(), burst: burst.into(), users: HashMap::new() }
    }

    /// Takes one of the user's tokens; whether there was one. `now_ns` is of the monotonic clock.
    pub(super) fn take(&mut self, uid: u32, now_ns: u64) -> bool {
        const TOKEN: u64 = 1_000_000_000;
        let full = self.burst.saturating_mul(TOKEN);
        let filled = |bucket: &Bucket| {
            let more = now_ns.saturating_sub(bucket.at_ns).saturating_mul(self.per_s);
            bucket.nanotokens.saturating_add(more).min(full)
        };
        if self.users.len() >= USERS_MAX {
            self.users.retain(|_, bucket| filled(bucket) < full);
        }
        let nanotokens = self.users.get(&uid).map_or(full, filled);
        let (left, taken) = match nanotokens.checked_sub(TOKEN) {
            Some(left) => (left, true),
            None => (nanotokens, false),
        };
        self.users.insert(uid, Bucket { nanotokens: left, at_ns: now_ns });
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_has_a_burst_and_a_rate() {
        let mut throttle = Throttle::new(10, 20);
        let taken =
            |throttle: &mut Throttle, uid, at_ns| (0..100).filter(|_| throttle.take(uid, at_ns)).count();
        assert_eq!(taken(&mut throttle, 1, 5), 20);
        assert_eq!(taken(&mut throttle, 2, 5), 20, "another user's is another bucket");
        assert_eq!(taken(&mut throttle, 1, 1_000_000_005), 10);
        assert_eq!(taken(&mut throttle, 1, 1_050_000_005), 0);
        assert_eq!(taken(&mut throttle, 1, 1_100_000_005), 1, "what was refused took nothing");
        assert_eq!(taken(&mut throttle, 1, u64::MAX), 20);
    }

    #[test]
    fn users_are_bounded() {
        let mut throttle = Throttle::new(1, 2);
        for uid in 0..10_000 {
            assert!(throttle.take(uid, u64::from(uid) * 2_000_000_000));
        }
        assert!(throttle.users.len() <= USERS_MAX);
    }
}
