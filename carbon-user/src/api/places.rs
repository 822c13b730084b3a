//! Places among the connections: so many for a user, and some that are root's alone. Where all are taken, one that is silent ends
//! for one that comes.

use super::Limits;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::rc::Rc;
use tokio::sync::Notify;

/// A connection.
struct Taken {
    uid: u32,
    /// When it was last answered, or connected, by the monotonic clock.
    spoke_ns: u64,
    /// A run would end with it.
    bound: bool,
    end: Rc<Notify>,
}

/// All of them, by number.
pub(super) struct Places {
    limits: Limits,
    taken: HashMap<u64, Taken>,
}

impl Places {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, taken: HashMap::new() }
    }

    /// Takes one, where there is one for this user; gives what tells that the connection is to end.
    pub(super) fn take(&mut self, number: u64, uid: u32, now_ns: u64) -> Option<Rc<Notify>> {
        let own = self.of_user(uid);
        let users = self.taken.len().saturating_sub(self.of_user(0));
        let most = self.limits.clients.saturating_sub(self.limits.for_root);
        if uid != 0 && own >= self.limits.clients_of_user {
            return None;
        }
        if self.taken.len() >= self.limits.clients || (uid != 0 && users >= most) {
            self.make_room()?;
        }
        let end = Rc::new(Notify::new());
        self.taken.insert(number, Taken { uid, spoke_ns: now_ns, bound: false, end: Rc::clone(&end) });
        Some(end)
    }

    /// A connection was answered.
    pub(super) fn spoke(&mut self, number: u64, bound: bool, now_ns: u64) {
        if let Some(taken) = self.taken.get_mut(&number) {
            (taken.spoke_ns, taken.bound) = (now_ns, bound);
        }
    }

    /// A connection has ended.
    pub(super) fn leave(&mut self, number: u64) {
        self.taken.remove(&number);
    }

    fn of_user(&self, uid: u32) -> usize {
        self.taken.values().filter(|taken| taken.uid == uid).count()
    }

    /// Ends the one that has been silent for longest of the user who has most: whoever takes many loses his own.
    fn make_room(&mut self) -> Option<()> {
        let mut counts: HashMap<u32, usize> = HashMap::new();
        for taken in self.taken.values() {
            *counts.entry(taken.uid).or_default() += 1;
        }
        let may_end = self.taken.iter().filter(|(_, taken)| taken.uid != 0 && !taken.bound);
        let (number, _) =
            may_end.max_by_key(|(_, taken)| (counts.get(&taken.uid).copied(), Reverse(taken.spoke_ns)))?;
        let number = *number;
        self.taken.remove(&number)?.end.notify_one();
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places {
        Places::new(Limits { clients: 8, for_root: 2, clients_of_user: 3, ..Limits::default() })
    }

    fn numbers(places: &Places) -> Vec<u64> {
        let mut numbers: Vec<u64> = places.taken.keys().copied().collect();
        numbers.sort_unstable();
        numbers
    }

    #[test]
    fn users_leave_places_to_root_and_to_one_another() {
        let mut places = places();
        let taken: Vec<bool> = (1..=4).map(|number| places.take(number, 7, number).is_some()).collect();
        assert_eq!(taken, [true, true, true, false], "so many are of one user");
        for number in 5..=7 {
            assert!(places.take(number, 8, number).is_some());
        }
        // Users have all of theirs: the silent one goes, and one with a run, or that spoke, stays.
        places.spoke(1, true, 20);
        places.spoke(2, false, 21);
        places.spoke(6, false, 22);
        assert!(places.take(9, 9, 30).is_some());
        assert_eq!(numbers(&places), [1, 2, 5, 6, 7, 9], "3 was the longest silent");
        assert!(places.take(10, 0, 31).is_some() && places.take(11, 0, 32).is_some());
        assert_eq!(numbers(&places), [1, 2, 5, 6, 7, 9, 10, 11], "root has its own");
        assert!(places.take(12, 0, 33).is_some());
        assert_eq!(numbers(&places), [1, 2, 6, 7, 9, 10, 11, 12], "and takes one of who has most");
    }

    #[test]
    fn who_is_to_go_is_told_and_runs_hold_their_places() {
        let mut places = places();
        let ends: Vec<_> = [7, 7, 7, 8, 8, 8]
            .into_iter()
            .zip(0..)
            .map(|(uid, number)| places.take(number, uid, number))
            .collect();
        assert!(places.take(6, 9, 6).is_some());
        assert!(is_told(ends[0].as_ref().unwrap()), "it ends");
        assert!(!is_told(ends[1].as_ref().unwrap()));
        for number in 1..=6 {
            places.spoke(number, true, 7);
        }
        assert!(places.take(7, 10, 8).is_none(), "each has a run");
        places.leave(3);
        assert!(places.take(8, 10, 9).is_some());
    }

    fn is_told(end: &Notify) -> bool {
        use std::future::Future;
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        std::pin::pin!(end.notified()).poll(&mut context).is_ready()
    }
}
