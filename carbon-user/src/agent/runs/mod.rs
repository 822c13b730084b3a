//! Runs that clients have open: which process trees they are of, and what these have used so far. Plain arithmetic: who asks,
//! and who follows the processes, is elsewhere.
//!
//! The accounting counts each process to one *group*, the tree of one client. A run is of a group, and holds the groups that were
//! made of a part of it. Energy of a group is the own energy of one run at most, the innermost: the last that was begun on it, or
//! else on the group around it. So the own energies of all runs are each joule once, however they are nested.

mod energy;
mod groups;
pub mod kept;

pub use energy::{DomainPart, Energy};
use groups::Groups;

use crate::attribution::Attributed;
use crate::attribution::totals::{Totals, WorkloadTotal};
use crate::ledger::Factor;
use crate::ledger::rows::RunStart;
use crate::units::RunId;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Segments of a run that are kept; of more, only each one's end tells.
pub const SEGMENTS_MAX: usize = 1_000;

/// Things that a run counts.
pub const UNITS_MAX: usize = 16;

/// Workloads of a run that are told apart while it runs: cgroups that its processes are in.
const KEYS_MAX: usize = 256;

/// An instant: by the wall clock, for people, and by the monotonic one, for lengths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Unix time in microseconds.
    pub wall_us: i64,
    /// Monotonic nanoseconds.
    pub at_ns: u64,
}

/// What ends a run that nobody stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The end of its last process.
    Tree,
    /// The end of the connection with this number.
    Connection(u64),
    /// The end of its last process, but not before this instant of the monotonic clock: an agent before had it, and its client
    /// is to find it here.
    Again(u64),
}

/// What a run is begun with.
#[derive(Clone, Debug)]
pub struct Begin {
    /// What is recorded of it; its id is in there as well.
    pub start: RunStart,
    /// Its id.
    pub id: Uuid,
    /// The user whose it is.
    pub uid: u32,
    /// By which its energy becomes grams.
    pub factor: Factor,
    /// Whether it goes to the ledger.
    pub recorded: bool,
    /// What ends it.
    pub bound: Bound,
    /// Whether its processes are to come yet.
    pub empty: bool,
    /// Now.
    pub at: Moment,
    /// What must be said of it.
    pub notes: Vec<String>,
}

/// A part of a run between two marks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Segment {
    /// As it was marked.
    pub name: Option<String>,
    /// When it began.
    pub start: Moment,
    /// When it ended; for the open one, nothing.
    pub end: Moment,
    /// What was counted in it.
    pub counts: BTreeMap<String, u64>,
    /// What it used.
    pub energy: Energy,
}

/// What there is to say of a run.
#[derive(Clone, Debug)]
pub struct RunState {
    /// How it began.
    pub begun: Begin,
    /// What it used, with the runs inside it.
    pub energy: Energy,
    /// What it used without them.
    pub own: WorkloadTotal,
    /// What was counted.
    pub counts: BTreeMap<String, u64>,
    /// Segments that have ended, the first ones.
    pub segments: Vec<Segment>,
    /// How many more there were.
    pub segments_more: u64,
    /// The one that is open.
    pub segment: Segment,
}

/// What a run had with an agent before.
#[derive(Clone, Debug, Default)]
pub struct Before {
    /// With the runs inside it.
    pub energy: Energy,
    /// Without them.
    pub own: WorkloadTotal,
    /// What was counted.
    pub counts: BTreeMap<String, u64>,
    /// Segments that had ended.
    pub segments: u64,
    /// The open one.
    pub segment: Segment,
}

/// A run that is open, or has just ended.
#[derive(Clone, Debug)]
pub struct OpenRun {
    /// What it has used.
    pub state: RunState,
    /// The group that it is of.
    pub group: RunId,
    /// Whether its group was made for it, so that all that is known of the group's processes is the run's.
    pub whole_group: bool,
    /// The machine meanwhile, and of workloads only its own.
    pub totals: Totals,
}

/// All that are open.
#[derive(Debug, Default)]
pub struct RunBooks {
    groups: Groups,
    open: BTreeMap<Uuid, OpenRun>,
}

impl RunBooks {
    /// How many are open, of one user where one is named.
    pub fn count(&self, uid: Option<u32>) -> usize {
        self.open.values().filter(|run| uid.is_none_or(|uid| run.state.begun.uid == uid)).count()
    }

    /// One of them.
    pub fn get(&self, id: Uuid) -> Option<&OpenRun> {
        self.open.get(&id)
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &OpenRun> {
        self.open.values()
    }

    /// A new group inside another: the tree of the process `first`, or of those that join.
    pub fn add_group(&mut self, group: RunId, first: Option<u32>, inside: Option<RunId>) {
        self.groups.add(group, first, inside);
    }

    /// Puts groups that were around a part of a new group's tree into it.
    pub fn enclose(&mut self, group: RunId, others: &BTreeSet<RunId>) {
        self.groups.enclose(group, others);
    }

    /// Whether a group was made for the tree of this process.
    pub fn is_first(&self, group: RunId, pid: u32) -> bool {
        self.groups.is_first(group, pid)
    }

    /// The groups whose processes are a run's.
    pub fn groups_of(&self, run: &OpenRun) -> Vec<RunId> {
        self.groups.inside(run.group)
    }

    /// Begins a run on a group.
    pub fn begin(&mut self, begun: Begin, group: RunId) {
        let whole_group = self.groups.push(group, begun.id);
        let segment = Segment { start: begun.at, ..Segment::default() };
        let id = begun.id;
        let state = RunState {
            energy: Energy::default(),
            own: WorkloadTotal::default(),
            counts: BTreeMap::new(),
            segments: Vec::new(),
            segments_more: 0,
            segment,
            begun,
        };
        self.open.insert(id, OpenRun { state, group, whole_group, totals: Totals::new(KEYS_MAX) });
    }

    /// The groups with the one around each, and whose tree it is.
    pub fn trees(&self) -> impl Iterator<Item = (RunId, Option<RunId>, Option<u32>)> {
        self.groups.all()
    }

    /// Gives a run that has just begun what it had with an agent before.
    pub fn restore(&mut self, id: Uuid, before: Before) {
        let Some(OpenRun { state: run, whole_group, .. }) = self.open.get_mut(&id) else { return };
        let Before { energy, own, counts, segments, segment } = before;
        (run.energy, run.own, run.counts) = (energy, own, counts);
        (run.segments_more, run.segment) = (segments, segment);
        // What its processes used before is not known by process.
        *whole_group = false;
    }

    /// Keeps a run of an agent before until an instant at least, while it has processes: its client may be about to stop it.
    pub fn keep_again(&mut self, id: Uuid, until_ns: u64) {
        if let Some(run) = self.open.get_mut(&id)
            && let Bound::Again(known_ns) = &mut run.state.begun.bound
        {
            *known_ns = (*known_ns).max(until_ns);
        }
    }

    /// A process has joined a run.
    pub fn joined(&mut self, id: Uuid) {
        if let Some(run) = self.open.get_mut(&id) {
            run.state.begun.empty = false;
        }
    }

    /// Adds a window.
    pub fn add(&mut self, window: &Attributed) {
        if self.open.is_empty() {
            return;
        }
        let lines = self.groups.lines();
        let of = |run: Option<RunId>| run.and_then(|run| lines.get(&run)).map_or(&[][..], Vec::as_slice);
        for (id, run) in &mut self.open {
            run.totals.add_only(window, |key| of(key.run).contains(id));
        }
        for row in &window.workloads {
            for (place, id) in of(row.key.run).iter().enumerate() {
                let Some(OpenRun { state: run, .. }) = self.open.get_mut(id) else { continue };
                run.energy.add_row(row);
                run.segment.energy.add_row(row);
                if place == 0 {
                    run.own = run.own.plus(&row.into());
                }
            }
        }
        for share in &window.shares {
            for id in of(share.key.run) {
                let Some(OpenRun { state: run, .. }) = self.open.get_mut(id) else { continue };
                run.energy.add_share(share);
                run.segment.energy.add_share(share);
            }
        }
    }

    /// Ends a run's segment and begins another; gives the one that has ended. The window must have ended too.
    pub fn mark(&mut self, id: Uuid, name: Option<String>, at: Moment) -> Option<Segment> {
        let OpenRun { state: run, .. } = self.open.get_mut(&id)?;
        let next = Segment { name, start: at, ..Segment::default() };
        let ended = Segment { end: at, ..std::mem::replace(&mut run.segment, next) };
        run.keep(&ended);
        Some(ended)
    }

    /// Adds to what a run and its segment count; gives the run's sum, and nothing where it has no room for one more unit.
    pub fn count_up(&mut self, id: Uuid, unit: &str, more: u64) -> Option<u64> {
        let OpenRun { state: run, .. } = self.open.get_mut(&id)?;
        if run.counts.len() >= UNITS_MAX && !run.counts.contains_key(unit) {
            return None;
        }
        for counts in [&mut run.segment.counts, &mut run.counts] {
            let sum = counts.entry(unit.to_owned()).or_default();
            *sum = sum.saturating_add(more);
        }
        run.counts.get(unit).copied()
    }

    /// Takes a run out. The window must have ended.
    pub fn end(&mut self, id: Uuid, at: Moment) -> Option<OpenRun> {
        let mut run = self.open.remove(&id)?;
        self.groups.pop(run.group, id);
        let last = Segment { end: at, ..std::mem::take(&mut run.state.segment) };
        run.state.keep(&last);
        run.state.segment = last;
        Some(run)
    }

    /// Takes out the groups that no run is on or around.
    pub fn retire(&mut self) -> Vec<RunId> {
        self.groups.retire()
    }
}

impl RunState {
    /// The same without its segments, which may be many.
    #[must_use]
    pub fn without_segments(&self) -> Self {
        Self {
            begun: self.begun.clone(),
            energy: self.energy.clone(),
            own: self.own,
            counts: self.counts.clone(),
            segments: Vec::new(),
            segments_more: self.segments_more,
            segment: self.segment.clone(),
        }
    }

    fn keep(&mut self, ended: &Segment) {
        if self.segments.len() < SEGMENTS_MAX {
            self.segments.push(ended.clone());
        } else {
            self.segments_more += 1;
        }
    }
}

#[cfg(test)]
mod tests;
