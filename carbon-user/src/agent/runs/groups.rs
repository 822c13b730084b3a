//! Which process trees are inside which, and which runs are on them.

use crate::units::RunId;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// A process tree that the accounting tells from the rest.
#[derive(Debug, Default)]
struct Group {
    inside: Option<RunId>,
    /// Whose tree it is; nobody's where processes join.
    first: Option<u32>,
    /// Runs on it that are open, in the order in which they were begun.
    runs: Vec<Uuid>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: BTreeMap<RunId, Group>,
}

impl Groups {
    pub(super) fn add(&mut self, group: RunId, first: Option<u32>, inside: Option<RunId>) {
        let inside = inside.filter(|around| self.groups.contains_key(around));
        self.groups.insert(group, Group { inside, first, runs: Vec::new() });
    }

    /// Those around a part of the tree that is this group's now, unless they are inside another one already, or around it.
    pub(super) fn enclose(&mut self, group: RunId, others: &BTreeSet<RunId>) {
        let Some(around) = self.groups.get(&group).map(|group| group.inside) else { return };
        let line: Vec<RunId> = self.line(group);
        for other in others.iter().filter(|other| !line.contains(other)) {
            if let Some(found) = self.groups.get_mut(other).filter(|found| found.inside == around) {
                found.inside = Some(group);
            }
        }
    }

    /// Each with the one around it, and whose tree it is.
    pub(super) fn all(&self) -> impl Iterator<Item = (RunId, Option<RunId>, Option<u32>)> {
        self.groups.iter().map(|(id, group)| (*id, group.inside, group.first))
    }

    pub(super) fn is_first(&self, group: RunId, pid: u32) -> bool {
        self.groups.get(&group).is_some_and(|group| group.first == Some(pid))
    }

    /// Puts a run on a group; whether it is the only one.
    pub(super) fn push(&mut self, group: RunId, run: Uuid) -> bool {
        let runs = &mut self.groups.entry(group).or_default().runs;
        runs.push(run);
        runs.len() == 1
    }

    pub(super) fn pop(&mut self, group: RunId, run: Uuid) {
        if let Some(group) = self.groups.get_mut(&group) {
            group.runs.retain(|known| *known != run);
        }
    }

    /// A group, and those around it from the nearest on.
    fn line(&self, group: RunId) -> Vec<RunId> {
        let mut line = Vec::new();
        let mut next = Some(group);
        // None is twice in it: one cannot be put into what is inside it.
        while let Some(group) = next.filter(|group| !line.contains(group)) {
            line.push(group);
            next = self.groups.get(&group).and_then(|group| group.inside);
        }
        line
    }

    /// The runs that the energy of each group is of, the innermost first.
    pub(super) fn lines(&self) -> BTreeMap<RunId, Vec<Uuid>> {
        let runs = |group: &RunId| {
            let line = self.line(*group).into_iter().filter_map(|group| self.groups.get(&group));
            line.flat_map(|group| group.runs.iter().rev().copied()).collect()
        };
        self.groups.keys().map(|group| (*group, runs(group))).collect()
    }

    /// A group and all that are inside it.
    pub(super) fn inside(&self, group: RunId) -> Vec<RunId> {
        self.groups.keys().copied().filter(|other| self.line(*other).contains(&group)).collect()
    }

    /// Takes out those that no run is on or around; what was inside them is in none then.
    pub(super) fn retire(&mut self) -> Vec<RunId> {
        let lines = self.lines();
        let idle: Vec<RunId> =
            lines.into_iter().filter(|(_, runs)| runs.is_empty()).map(|(group, _)| group).collect();
        self.groups.retain(|group, _| !idle.contains(group));
        for group in self.groups.values_mut() {
            group.inside = group.inside.filter(|around| !idle.contains(around));
        }
        idle
    }
}
