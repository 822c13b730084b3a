//! Runs of the agent's clients over a restart of the agent: what is kept of them, and how they go on.

use super::node::NodeMeter;
use super::node_runs::moment;
use crate::agent::runs::kept::{KeptGroup, KeptRun, KeptRuns, KeptSegment, KeptStart, SCHEMA};
use crate::agent::runs::{Before, Begin, Bound, Moment, OpenRun, Segment};
use crate::carbon::Intensity;
use crate::clock;
use crate::ledger::Factor;
use crate::units::{Pue, RunId};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Its client has so long to find a run whose processes have ended meanwhile.
const AGAIN_NS: u64 = 60_000_000_000;

impl NodeMeter {
    /// All that are open, as of the window that has just ended.
    pub(in crate::cli) fn kept_runs(&mut self, boot_id: &str, closed: bool) -> KeptRuns {
        let runs = self.runs.all().map(kept).collect();
        let trees: Vec<_> = self.runs.trees().collect();
        let books = self.engine.sampler.accounting().runs();
        let group = |(id, inside, first): (RunId, Option<RunId>, Option<u32>)| KeptGroup {
            number: id.0,
            inside: inside.map(|around| around.0),
            first,
            processes: books.members(id),
        };
        KeptRuns {
            schema: SCHEMA.to_owned(),
            boot_id: boot_id.to_owned(),
            at_ns: clock::monotonic_ns(),
            closed,
            groups: trees.into_iter().map(group).collect(),
            runs,
        }
    }

    /// Goes on with runs of an agent before. Those whose processes have gone stay for a moment, for their clients to stop them,
    /// unless they were recorded as ended long ago. Gives how many there are.
    pub(in crate::cli) fn resume_runs(&mut self, kept: &KeptRuns, boot_id: &str) -> usize {
        let same_boot = kept.boot_id == boot_id;
        let now = moment();
        let away_ns = now.at_ns.saturating_sub(kept.at_ns);
        let long_ago = !same_boot || away_ns > AGAIN_NS;
        let mut groups = BTreeMap::new();
        for group in from_outside(&kept.groups).into_iter().filter(|_| same_boot) {
            let inside = group.inside.and_then(|around| groups.get(&around).map(|(around, _)| *around));
            groups.extend(self.group_again(group, inside).map(|found| (group.number, found)));
        }
        let mut resumed = 0;
        let mut runs: Vec<&KeptRun> = kept.runs.iter().collect();
        runs.sort_by_key(|run| run.at_ns);
        for run in runs {
            let Ok(id) = Uuid::parse_str(&run.id) else { continue };
            let found = groups.get(&run.group).copied();
            let alive = found.is_some_and(|(_, adopted)| adopted > 0);
            if kept.closed && long_ago && !alive {
                continue;
            }
            let group = found.map_or_else(|| self.new_group(None, None), |(group, _)| Some(group));
            let Some(group) = group else { continue };
            groups.entry(run.group).or_insert((group, 0));
            let until_ns = if long_ago { now.at_ns } else { now.at_ns.saturating_add(AGAIN_NS) };
            self.runs.begin(self.begin_again(id, run, until_ns, same_boot.then_some(away_ns)), group);
            self.runs.restore(id, before(run));
            resumed += 1;
        }
        for group in self.runs.retire() {
            self.engine.sampler.unfollow_run(group);
            self.engine.sampler.accounting().runs().close(group).ok();
        }
        resumed
    }

    /// A group that goes on, and how many of its processes are there.
    fn group_again(&mut self, kept: &KeptGroup, inside: Option<RunId>) -> Option<(RunId, usize)> {
        let group = self.new_group(kept.first, inside)?;
        let runs = self.engine.sampler.accounting().runs();
        let adopted = runs.adopt_again(group, &kept.processes).unwrap_or_else(|error| {
            log::warn!("processes of a run are not followed any more: {error}");
            0
        });
        Some((group, adopted))
    }

    fn new_group(&mut self, first: Option<u32>, inside: Option<RunId>) -> Option<RunId> {
        self.groups += 1;
        let group = RunId(self.groups);
        if let Err(error) = self.engine.sampler.accounting().runs().open(group) {
            log::warn!("a run does not go on: {error}");
            return None;
        }
        self.engine.sampler.follow_run(group);
        self.runs.add_group(group, first, inside);
        Some(group)
    }

    fn begin_again(&self, id: Uuid, kept: &KeptRun, until_ns: u64, away_ns: Option<u64>) -> Begin {
        let intensity = Some(&self.engine.intensity)
            .filter(|own| own.zone == kept.zone)
            .cloned()
            .or_else(|| Intensity::of(&kept.zone).ok())
            .unwrap_or_else(|| self.engine.intensity.clone());
        let away = match away_ns {
            Some(ns) => format!("{:.1} s", std::time::Duration::from_nanos(ns).as_secs_f64()),
            None => "a boot of the machine".to_owned(),
        };
        Begin {
            start: kept.start.start(kept.id.clone()),
            id,
            uid: kept.uid,
            factor: Factor::new(intensity, Pue(kept.pue)),
            recorded: kept.recorded,
            bound: Bound::Again(until_ns),
            empty: kept.empty,
            at: Moment { wall_us: kept.start.start_us, at_ns: kept.at_ns },
            notes: vec![format!(
                "the agent was started again meanwhile: what the run used in the {away} since its last word is not in it, and \
                 figures by process and by domain are of the time after"
            )],
        }
    }
}

/// Each after the one around it.
fn from_outside(groups: &[KeptGroup]) -> Vec<&KeptGroup> {
    let around = |group: &KeptGroup| groups.iter().find(|other| Some(other.number) == group.inside);
    let depth = |group: &&KeptGroup| {
        let line = std::iter::successors(Some(*group), |group| around(group));
        // One that is around itself is in no file that was written here.
        line.take(groups.len()).count()
    };
    let mut sorted: Vec<&KeptGroup> = groups.iter().collect();
    sorted.sort_by_key(depth);
    sorted
}

fn kept(run: &OpenRun) -> KeptRun {
    let state = &run.state;
    let begun = &state.begun;
    KeptRun {
        group: run.group.0,
        id: begun.id.to_string(),
        uid: begun.uid,
        recorded: begun.recorded,
        empty: begun.empty,
        zone: begun.factor.intensity.zone.clone(),
        pue: begun.factor.pue.0,
        at_ns: begun.at.at_ns,
        start: KeptStart::of(&begun.start),
        energy: (&state.energy).into(),
        own: (&state.own).into(),
        counts: state.counts.clone(),
        segments: state.segments_more.saturating_add(state.segments.len() as u64),
        segment: KeptSegment {
            name: state.segment.name.clone(),
            start_us: state.segment.start.wall_us,
            start_ns: state.segment.start.at_ns,
            counts: state.segment.counts.clone(),
            energy: (&state.segment.energy).into(),
        },
    }
}

fn before(kept: &KeptRun) -> Before {
    let segment = &kept.segment;
    Before {
        energy: kept.energy.energy(),
        own: kept.own.total(),
        counts: kept.counts.clone(),
        segments: kept.segments,
        segment: Segment {
            name: segment.name.clone(),
            start: Moment { wall_us: segment.start_us, at_ns: segment.start_ns },
            end: Moment::default(),
            counts: segment.counts.clone(),
            energy: segment.energy.energy(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_comes_after_the_one_around_it() {
        let group = |number, inside| KeptGroup { number, inside, ..KeptGroup::default() };
        let groups = [group(1, Some(3)), group(2, None), group(3, Some(2)), group(4, Some(4))];
        let numbers: Vec<u64> = from_outside(&groups).iter().map(|group| group.number).collect();
        let place = |number| numbers.iter().position(|other| *other == number);
        assert!(place(2) < place(3) && place(3) < place(1), "{numbers:?}");
        assert_eq!(numbers.len(), 4);
    }
}
