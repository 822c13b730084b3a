//! How much a user may take: a bucket of tokens each, filled at a steady rate.

use std::collections::HashMap;

/// Users that are remembered before those with a full bucket are forgotten.
const USERS_MAX: usize = 1_024;

/// In thousand-millionths, so that a nanosecond at one token a second is one.
const TOKEN: i64 = 1_000_000_000;

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Thousand-millionths of a token; below nothing is a debt.
    nanotokens: i64,
    at_ns: u64,
}

/// All buckets.
#[derive(Debug)]
pub(crate) struct Throttle {
    per_s: u64,
    burst: u32,
    users: HashMap<u32, Bucket>,
}

impl Throttle {
    pub(crate) fn new(per_s: u32, burst: u32) -> Self {
        Self { per_s: per_s.into(), burst, users: HashMap::new() }
    }

    /// Takes one of the user's tokens; whether there was one. `now_ns` is of the monotonic clock.
    pub(crate) fn take(&mut self, uid: u32, now_ns: u64) -> bool {
        let has = self.has(uid, now_ns);
        if has {
            self.charge(uid, 1, now_ns);
        }
        has
    }

    /// Whether the user has a token.
    pub(crate) fn has(&self, uid: u32, now_ns: u64) -> bool {
        self.users.get(&uid).map_or(self.full(), |bucket| self.filled(bucket, now_ns)) >= TOKEN
    }

    /// Takes so many, and leaves a debt where there are fewer.
    pub(crate) fn charge(&mut self, uid: u32, tokens: u64, now_ns: u64) {
        if self.users.len() >= USERS_MAX {
            let mut users = std::mem::take(&mut self.users);
            users.retain(|_, bucket| self.filled(bucket, now_ns) < self.full());
            self.users = users;
        }
        let before = self.users.get(&uid).map_or(self.full(), |bucket| self.filled(bucket, now_ns));
        let taken = i64::try_from(tokens).unwrap_or(i64::MAX).saturating_mul(TOKEN);
        self.users.insert(uid, Bucket { nanotokens: before.saturating_sub(taken), at_ns: now_ns });
    }

    fn full(&self) -> i64 {
        i64::from(self.burst).saturating_mul(TOKEN)
    }

    fn filled(&self, bucket: &Bucket, now_ns: u64) -> i64 {
        let more = now_ns.saturating_sub(bucket.at_ns).saturating_mul(self.per_s);
        bucket.nanotokens.saturating_add(i64::try_from(more).unwrap_or(i64::MAX)).min(self.full())
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
