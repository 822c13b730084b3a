//! Runs of the agent's clients, on the machine that it measures.

use super::is_of_place;
use super::node::NodeMeter;
use crate::agent::runs::{Begin, Moment, RunState, Segment};
use crate::api::{About, Peer, Refusal};
use crate::clock;
use crate::ledger::Factor;
use crate::report::Context;
use crate::report::run::{Execution, Parts, Run, SEGMENTS_MAX, SegmentRow};
use crate::sched::{Adopted, Processes, Rung, SchedError};
use crate::units::RunId;
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

/// How a run is said to have ended.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct Finish {
    /// As `carbon run` gives it on.
    pub(in crate::cli) exit_status: u8,
    /// For the report.
    pub(in crate::cli) notes: Vec<String>,
}

/// A run that has ended, with its report.
#[derive(Debug)]
pub(in crate::cli) struct Finished {
    pub(in crate::cli) state: RunState,
    pub(in crate::cli) report: Run,
    pub(in crate::cli) outlived_by: u64,
}

/// Now.
pub(in crate::cli) fn moment() -> Moment {
    Moment { wall_us: clock::wall().as_microsecond(), at_ns: clock::monotonic_ns() }
}

fn unmeasured(error: &SchedError) -> Refusal {
    Refusal::new("cannot_measure", error.to_string())
}

fn unknown() -> Refusal {
    Refusal::new("unknown_process", "the agent cannot see your process, or it has ended")
}

impl NodeMeter {
    /// What it is.
    pub(in crate::cli) fn about(&mut self, window: Duration) -> About {
        let rung = self.engine.sampler.rung();
        let also = self.books.also();
        let meters = also.domains.iter().map(|domain| domain.quality).min();
        About {
            node: also.node.clone(),
            accounting: rung.as_str(),
            quality: meters.map_or("none", |quality| quality.min(rung.quality()).as_str()),
            attribution: self.engine.state.method().as_str(),
            static_policy: self.engine.policy.as_str(),
            window,
            runs: self.follows_runs(),
            factor: self.factor(),
        }
    }

    /// By which energy becomes grams.
    pub(in crate::cli) fn factor(&self) -> Factor {
        Factor::new(self.engine.intensity.clone(), self.engine.pue)
    }

    fn follows_runs(&self) -> bool {
        matches!(self.engine.sampler.rung(), Rung::Books | Rung::Hook)
    }

    /// The group that was made for the tree of this process, where there is one: a window has to end before another run
    /// begins on it.
    pub(in crate::cli) fn group_of(&mut self, peer: &Peer) -> Option<RunId> {
        let pid = peer.alive()?;
        let group = self.engine.sampler.accounting().runs().of_process(pid).ok().flatten()?;
        self.runs.is_first(group, pid).then_some(group)
    }

    /// Begins a run of a client: on a group that is there, or on one that is made of its tree, or of nobody.
    pub(in crate::cli) fn begin_run(&mut self, mut begun: Begin, peer: &Peer) -> Result<(), Refusal> {
        if !self.follows_runs() {
            let rung = self.engine.sampler.rung();
            let message = format!("accounting by {rung} cannot follow processes that run already");
            return Err(Refusal::new("cannot_measure", message));
        }
        let known = if begun.empty { None } else { self.group_of(peer) };
        let group = match known {
            Some(group) => group,
            None => self.make_group(begun.empty, peer)?,
        };
        let zone = begun.factor.intensity != self.engine.intensity;
        let notes = self.engine.notes.iter().filter(|note| !(zone && is_of_place(note)));
        begun.notes.extend(notes.cloned());
        self.runs.begin(begun, group);
        Ok(())
    }

    fn make_group(&mut self, empty: bool, peer: &Peer) -> Result<RunId, Refusal> {
        let pid = peer.alive().ok_or_else(unknown)?;
        self.groups += 1;
        let group = RunId(self.groups);
        let runs = self.engine.sampler.accounting().runs();
        let inside = runs.of_process(pid).map_err(|error| unmeasured(&error))?;
        runs.open(group).map_err(|error| unmeasured(&error))?;
        let adopted = if empty { Ok(Adopted::default()) } else { runs.adopt(group, pid) };
        let failed = match &adopted {
            Err(error) => Some(unmeasured(error)),
            // While it is there, the number is its own and no other's.
            Ok(adopted) if peer.alive().is_none() || (!empty && adopted.processes == 0) => Some(unknown()),
            Ok(_) => None,
        };
        if let Some(failed) = failed {
            runs.close(group).ok();
            return Err(failed);
        }
        self.engine.sampler.follow_run(group);
        self.runs.add_group(group, (!empty).then_some(pid), inside);
        self.runs.enclose(group, &adopted.map(|adopted| adopted.others).unwrap_or_default());
        Ok(group)
    }

    /// Makes a client's tree part of a run.
    pub(in crate::cli) fn join_run(&mut self, id: Uuid, peer: &Peer) -> Result<(), Refusal> {
        let group = self.runs.get(id).map(|run| run.group).ok_or_else(Refusal::no_such_run)?;
        let pid = peer.alive().ok_or_else(unknown)?;
        let runs = self.engine.sampler.accounting().runs();
        let adopted = runs.adopt(group, pid).map_err(|error| unmeasured(&error))?;
        if peer.alive().is_none() {
            return Err(unknown());
        }
        self.runs.enclose(group, &adopted.others);
        self.runs.joined(id);
        Ok(())
    }

    /// Tasks of a run that the last look at all tasks saw alive.
    pub(in crate::cli) fn alive(&mut self, id: Uuid) -> Option<u64> {
        let groups = self.runs.groups_of(self.runs.get(id)?);
        let runs = self.engine.sampler.accounting().runs();
        groups.into_iter().map(|group| runs.seen_alive(group)).sum()
    }

    /// Whether the kernel has told the last of those of a run's tasks that have ended.
    pub(in crate::cli) fn settled(&mut self, id: Uuid) -> bool {
        let Some(run) = self.runs.get(id) else { return true };
        let groups = self.runs.groups_of(run);
        let runs = self.engine.sampler.accounting().runs();
        // What cannot be asked is not waited for.
        groups.into_iter().all(|group| runs.settled(group).unwrap_or(true))
    }

    /// Ends a run with the window that has just ended.
    pub(in crate::cli) fn finish_run(&mut self, id: Uuid, finish: Finish) -> Option<Finished> {
        let outlived_by = self.alive(id).unwrap_or(0);
        let processes = self.processes(id);
        let run = self.runs.end(id, moment())?;
        let state = run.state;
        let time = |us| jiff::Timestamp::from_microsecond(us).unwrap_or_default();
        let at = state.segment.end;
        let context = Context {
            node: self.engine.node.clone(),
            start: time(state.begun.at.wall_us),
            end: time(at.wall_us),
            rung: self.engine.sampler.rung(),
            policy: self.engine.policy,
            state: &self.engine.state,
            intensity: state.begun.factor.intensity.clone(),
            pue: state.begun.factor.pue,
            notes: state.begun.notes.iter().cloned().chain(finish.notes).collect(),
        };
        let execution = Execution {
            project: state.begun.start.project.clone(),
            command: state.begun.start.command.clone(),
            exit_status: finish.exit_status.into(),
            duration: Duration::from_nanos(at.at_ns.saturating_sub(state.begun.at.at_ns)),
        };
        let mut report = Run::new(&context, execution, &run.totals, &state.energy.total, &processes);
        report.parts = parts(&state);
        for group in self.runs.retire() {
            self.engine.sampler.unfollow_run(group);
            if let Err(error) = self.engine.sampler.accounting().runs().close(group) {
                log::warn!("a run's processes are still followed: {error}");
            }
        }
        Some(Finished { state, report, outlived_by })
    }

    /// The processes of a run and of those inside it, each once. Nothing where they were used before it began.
    fn processes(&mut self, id: Uuid) -> Processes {
        let Some(run) = self.runs.get(id).filter(|run| run.whole_group) else { return Processes::default() };
        let groups = self.runs.groups_of(run);
        let runs = self.engine.sampler.accounting().runs();
        let mut all = Processes::default();
        let mut places = BTreeMap::new();
        for group in groups {
            let Processes { listed, other_count, other_cpu } = runs.processes(group);
            all.other_count += other_count;
            all.other_cpu += other_cpu;
            for process in listed {
                let place = *places.entry((process.pid, process.comm.clone())).or_insert(all.listed.len());
                match all.listed.get_mut(place) {
                    Some(known) => known.cpu += process.cpu,
                    None => all.listed.push(process),
                }
            }
        }
        all
    }
}

/// What its client counted and marked. A run that nobody marked has no segments.
fn parts(run: &RunState) -> Parts {
    let marked = run.segments.len() > 1 || run.segments_more > 0;
    let segments = if marked { run.segments.as_slice() } else { &[] };
    let left_out = segments.len().saturating_sub(SEGMENTS_MAX) as u64;
    Parts {
        counts: run.counts.clone(),
        segments: segments.iter().take(SEGMENTS_MAX).map(segment_row).collect(),
        segments_more: run.segments_more.saturating_add(left_out),
    }
}

fn segment_row(segment: &Segment) -> SegmentRow {
    let total = &segment.energy.total;
    SegmentRow {
        name: segment.name.clone(),
        start: jiff::Timestamp::from_microsecond(segment.start.wall_us).unwrap_or_default(),
        duration_ns: segment.end.at_ns.saturating_sub(segment.start.at_ns),
        cpu_ns: total.cpu.0,
        dynamic_uj: total.dynamic_energy.0,
        static_uj: total.static_energy.0,
        counts: segment.counts.clone(),
    }
}
