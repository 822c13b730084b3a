//! Clients that were refused or cut off, by why: counted by those who serve them, shown by the metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a client did not get what it came for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Without the token, or with another.
    Token,
    /// Not the protocol.
    Malformed,
    /// More bytes than are read.
    TooLarge,
    /// It took too long to ask, or to take its answer.
    Slow,
    /// No room: too many connections, or too much is asked at once.
    NoRoom,
    /// More requests a second than a user may make, or more recorded runs.
    Rate,
    /// By a name that is not its own.
    Host,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Token, Self::Malformed, Self::TooLarge, Self::Slow, Self::NoRoom, Self::Rate, Self::Host];

    /// The word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::Slow => "slow",
            Self::NoRoom => "no_room",
            Self::Rate => "rate",
            Self::Host => "host",
        }
    }
}

/// Counts of one listener, which several threads add to.
#[derive(Debug, Default)]
pub struct Refused {
    /// In the order of [`Cause::ALL`].
    counts: [AtomicU64; Cause::ALL.len()],
}

impl Refused {
    /// One more.
    pub fn add(&self, cause: Cause) {
        for (count, of) in self.counts.iter().zip(Cause::ALL) {
            if of == cause {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// As of now.
    pub fn counts(&self) -> RefusedCounts {
        let mut counts = RefusedCounts::default();
        for (to, from) in counts.0.iter_mut().zip(&self.counts) {
            *to = from.load(Ordering::Relaxed);
        }
        counts
    }
}

/// Counts as they were at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RefusedCounts([u64; Cause::ALL.len()]);

impl RefusedCounts {
    /// Each cause with its count.
    pub fn each(self) -> impl Iterator<Item = (Cause, u64)> {
        Cause::ALL.into_iter().zip(self.0)
    }

    /// That of one cause.
    pub fn of(self, cause: Cause) -> u64 {
        self.each().find(|(of, _)| *of == cause).map_or(0, |(_, count)| count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_a_count_of_its_own() {
        let refused = Refused::default();
        for (times, cause) in (1..).zip(Cause::ALL) {
            (0..times).for_each(|_| refused.add(cause));
        }
        let counts = refused.counts();
        assert_eq!(Cause::ALL.map(|cause| counts.of(cause)), [1, 2, 3, 4, 5, 6, 7]);
        let words: std::collections::HashSet<_> = Cause::ALL.map(Cause::as_str).into();
        assert_eq!(words.len(), Cause::ALL.len());
    }
}
