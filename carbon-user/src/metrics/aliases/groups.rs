//! Sums of workloads that another tool knows as one: all cgroups of a container, of a pod, of a virtual machine.

use crate::metrics::samples::Labels;
use crate::metrics::series::Row;
use crate::metrics::sums::Sums;
use crate::units::{CpuNanos, Microjoules};
use std::collections::{BTreeMap, HashMap};

#[derive(Debug, Default)]
struct Group {
    rows: HashMap<String, Sums>,
    /// What rows showed that are no more, or began anew.
    left: Sums,
}

/// Groups from one view to the next: none falls while a workload of it has a series. As many as there are rows at most.
#[derive(Debug, Default)]
pub(super) struct Groups(BTreeMap<String, Group>);

/// A row's group: its name among all, and the labels, where this row knows them all.
pub(super) type Member<'a> = (String, Labels, &'a Row);

/// A sum that is less than it was is of something new under the old name.
fn fell(old: &Sums, new: &Sums) -> bool {
    let less = old.less(new);
    less.energy() > Microjoules::ZERO || less.cpu > CpuNanos::ZERO
}

impl Groups {
    /// Takes in the rows of a view, and gives each group's labels and sums. Of several sets of labels the one with most is
    /// taken: names become known one after the other.
    pub(super) fn observe<'a>(&mut self, members: impl Iterator<Item = Member<'a>>) -> Vec<(Labels, Sums)> {
        let mut before = std::mem::take(&mut self.0);
        let mut labels: BTreeMap<String, Labels> = BTreeMap::new();
        for (key, of_row, row) in members {
            let group = self.0.entry(key.clone()).or_insert_with(|| {
                let left = before.get_mut(&key).map(|old| std::mem::take(&mut old.left));
                Group { left: left.unwrap_or_default(), ..Group::default() }
            });
            let old = before.get_mut(&key).and_then(|old| old.rows.remove(&row.who.identity));
            if let Some(old) = old.filter(|old| fell(old, &row.sums)) {
                group.left.add(&old);
            }
            group.rows.insert(row.who.identity.clone(), row.sums.clone());
            let known = labels.entry(key).or_default();
            if of_row.len() > known.len() {
                *known = of_row;
            }
        }
        for (key, old) in before {
            if let Some(group) = self.0.get_mut(&key) {
                old.rows.values().for_each(|gone| group.left.add(gone));
            }
        }
        let sums = self.0.values().map(|group| {
            let mut sums = group.left.clone();
            group.rows.values().for_each(|row| sums.add(row));
            sums
        });
        labels.into_values().zip(sums).collect()
    }
}
