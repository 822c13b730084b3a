//! Energy by namespace: exact for billing, whichever workloads have a series of their own, and not ended by the end of a pod.
//!
//! It counts from the start of the agent: the first publication is where it begins. What comes from workloads without a
//! namespace, and from those that were never seen by name, is in the namespace without a name, so that the
//! sum over namespaces is what all workloads used since then.

use super::{NamesByIdentity, Sums};
use crate::agent::Published;
use std::collections::{BTreeMap, HashMap};

/// Namespaces with a sum of their own; the energy of more than these goes to the one without a name.
pub const NAMESPACES_MAX: usize = 500;

/// Sums by namespace.
#[derive(Debug, Default)]
pub struct Namespaces {
    begin: Option<Sums>,
    last: HashMap<String, Sums>,
    named: BTreeMap<String, Sums>,
}

impl Namespaces {
    /// Takes in a publication.
    pub fn observe(&mut self, published: &Published, names: &NamesByIdentity) {
        let first = self.begin.is_none();
        if first {
            self.begin = Some(super::series::total(published));
        }
        let mut present = HashMap::with_capacity(published.workloads.len());
        for workload in &published.workloads {
            let identity = &workload.who.identity;
            let now = Sums::from(workload);
            let namespace = names.get(identity).map_or("", |names| names.namespace.as_str());
            if !first && !namespace.is_empty() {
                let before = self.last.get(identity).cloned().unwrap_or_default();
                self.give(namespace, &now.less(&before));
            }
            present.insert(identity.clone(), now);
        }
        self.last = present;
    }

    fn give(&mut self, namespace: &str, more: &Sums) {
        if let Some(sums) = self.named.get_mut(namespace) {
            sums.add(more);
        } else if self.named.len() < NAMESPACES_MAX {
            self.named.insert(namespace.to_owned(), more.clone());
        }
    }

    /// All of them; the last has no name and holds the rest.
    pub fn rows(&self, published: &Published) -> Vec<(String, Sums)> {
        let mut rest = super::series::total(published).less(&self.begin.clone().unwrap_or_default());
        for sums in self.named.values() {
            rest = rest.less(sums);
        }
        let named = self.named.iter().map(|(name, sums)| (name.clone(), sums.clone()));
        named.chain([(String::new(), rest)]).collect()
    }
}
