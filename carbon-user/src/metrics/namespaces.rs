//! Energy by namespace: exact for billing, whichever workloads have a series of their own, and not ended by the end of a pod.
//!
//! It counts from the start of the agent, with what was recovered of the time before. What comes from workloads without a
//! namespace, and from those that were never seen by name, is in the namespace without a name, so that the
//! sum over namespaces is what all workloads used since then. What a container used before its name came is held back until
//! it comes, for half a minute at most, since a counter that has it cannot give it to another: a pod of 300 ms is its namespace's.

use super::{NamesByIdentity, Sums};
use crate::agent::{Published, WorkloadTotals};
use crate::metadata::Key;
use std::collections::{BTreeMap, HashMap};

/// Namespaces with a sum of their own; the energy of more than these goes to the one without a name.
pub const NAMESPACES_MAX: usize = 500;

/// For how long energy waits for a name: a runtime tells it at once, the kubelet within seconds of the container's start.
const HELD_NS: u64 = 30_000_000_000;

/// A workload, as it was seen last.
#[derive(Debug, Default)]
struct Seen {
    /// What of its sum is in a namespace, with or without a name.
    given: Sums,
    /// The window in which it was seen first.
    since: u64,
}

/// Sums by namespace.
#[derive(Debug, Default)]
pub struct Namespaces {
    begin: Option<Sums>,
    last: HashMap<String, Seen>,
    named: BTreeMap<String, Sums>,
    held: Sums,
}

/// Whether somebody is asked for its name and may still tell it.
fn may_be_named(workload: &WorkloadTotals, published: &Published, since: u64) -> bool {
    let waited_ns = published.windows.saturating_sub(since).saturating_mul(published.window_ns);
    published.naming.is_some() && waited_ns < HELD_NS && Key::of(&workload.who.path).is_some()
}

impl Namespaces {
    /// Takes in a publication.
    pub fn observe(&mut self, published: &Published, names: &NamesByIdentity) {
        if self.begin.is_none() {
            self.begin(published);
        }
        let mut before = std::mem::take(&mut self.last);
        self.held = Sums::default();
        for workload in &published.workloads {
            let identity = &workload.who.identity;
            let now = Sums::from(workload);
            let seen = before.remove(identity);
            let mut seen = seen.unwrap_or_else(|| Seen { since: published.windows, ..Seen::default() });
            let more = now.less(&seen.given);
            match names.get(identity) {
                None if may_be_named(workload, published, seen.since) => self.held.add(&more),
                known => {
                    let namespace = known.map_or("", |known| known.namespace.as_str());
                    if !namespace.is_empty() {
                        self.give(namespace, &more);
                    }
                    seen.given = now;
                }
            }
            self.last.insert(identity.clone(), seen);
        }
    }

    /// What there was before the start is in nobody's sum.
    fn begin(&mut self, published: &Published) {
        let mut begin = Sums::default();
        for workload in published.begun.iter() {
            let given = Sums::from(workload);
            begin.add(&given);
            let seen = Seen { given, since: published.windows };
            self.last.insert(workload.who.identity.clone(), seen);
        }
        self.begin = Some(begin);
    }

    fn give(&mut self, namespace: &str, more: &Sums) {
        if let Some(sums) = self.named.get_mut(namespace) {
            sums.add(more);
        } else if self.named.len() < NAMESPACES_MAX {
            self.named.insert(namespace.to_owned(), more.clone());
        }
    }

    /// What is in none of them yet.
    pub fn held(&self) -> &Sums {
        &self.held
    }

    /// All of them; the last has no name and holds the rest.
    pub fn rows(&self, published: &Published) -> Vec<(String, Sums)> {
        let mut rest = super::series::total(published).less(&self.begin.clone().unwrap_or_default());
        for sums in self.named.values().chain([&self.held]) {
            rest = rest.less(sums);
        }
        let named = self.named.iter().map(|(name, sums)| (name.clone(), sums.clone()));
        named.chain([(String::new(), rest)]).collect()
    }
}
