//! What is done with each request: one run at a time, of one process and what descends from it.

use super::wire::{self, Refusal, Request, Segment, Start, Status, Stop};
use crate::carbon::{self, Intensity};
use crate::cli::engine::ProcessMeter;
use crate::cli::error::CliError;
use crate::cli::journal;
use crate::cli::options::Measuring;
use crate::cli::process::Outcome;
use crate::clock;
use crate::ledger::rows::{RunEnd, RunStart};
use crate::ledger::runs::KeptRun;
use crate::ledger::{Ledger, Location};
use crate::report::run::Execution;
use crate::units::Pue;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

/// Things that a run counts, at most.
const UNITS_MAX: usize = 16;
/// SIGKILL: what a run that nobody stopped is taken to have ended by.
const KILL: u8 = 9;

/// The process, and its run where one is open.
#[derive(Debug)]
pub(super) struct Session {
    pid: u32,
    measuring: Measuring,
    location: Option<Location>,
    meter: ProcessMeter,
    run: Option<Open>,
}

#[derive(Debug)]
struct Open {
    start: RunStart,
    start_ns: u64,
    counts: BTreeMap<String, u64>,
    segment: Segment,
    /// When the segment began.
    before: crate::attribution::totals::WorkloadTotal,
    recorded: bool,
}

impl Session {
    pub(super) fn open(measuring: Measuring, location: Option<Location>, pid: u32) -> Result<Self, CliError> {
        let meter = ProcessMeter::open(&measuring, pid)?;
        Ok(Self { pid, measuring, location, meter, run: None })
    }

    /// Closes a window; the next good one has the time of one that failed.
    pub(super) fn tick(&mut self) {
        if let Err(error) = self.meter.window() {
            log::warn!("{}", error.message());
        }
    }

    /// Answers a line.
    pub(super) fn answer(&mut self, line: &[u8]) -> String {
        let (id, asked) = wire::parse(line);
        wire::line(id, asked.and_then(|asked| self.act(asked)))
    }

    fn act(&mut self, asked: Request) -> Result<Value, Refusal> {
        match asked {
            Request::Hello {} => Ok(self.hello()),
            Request::Start(start) => self.start(*start),
            Request::Mark { run, name } => self.mark(&run, name),
            Request::Count { run, unit, count } => self.count(&run, &unit, count),
            Request::Energy { run } => self.energy(run.as_deref()),
            Request::Stop(stop) => self.stop(&stop),
        }
    }

    fn hello(&self) -> Value {
        let (node, accounting, attribution, static_policy) = self.meter.described();
        let factor = self.meter.factor();
        json!({
            "server": concat!("carbon ", env!("CARGO_PKG_VERSION")),
            "versions": [wire::VERSION],
            "node": node,
            "accounting": accounting,
            "attribution": attribution,
            "static_policy": static_policy,
            "window_ns": u64::try_from(self.measuring.interval.as_nanos()).unwrap_or(u64::MAX),
            "runs": true,
            "intensity": wire::intensity(&factor),
            "pue": factor.pue.0,
            "you": {"pid": self.pid},
        })
    }

    fn start(&mut self, start: Start) -> Result<Value, Refusal> {
        if self.run.is_some() {
            return Err(Refusal::new(
                "too_many_runs",
                "this program has one run at a time: stop the one that is open",
            ));
        }
        let intensity = start.zone.as_deref().map(|zone| Intensity::of(zone.trim())).transpose();
        let intensity = intensity.map_err(|error| Refusal::new("bad_request", format!("zone: {error}")))?;
        if start.pue.is_some_and(|ratio| carbon::pue(ratio).is_err()) {
            let most = carbon::PUE_MAX;
            return Err(Refusal::new("bad_request", format!("pue is from 1 to {most}")));
        }
        // What was used up to here is of no run.
        if !self.meter.begin() {
            self.meter = ProcessMeter::open(&self.measuring, self.pid)
                .map_err(|error| Refusal::new("cannot_measure", error.message()))?;
        }
        self.meter.rate(intensity, start.pue.map(Pue));
        let (start_us, begun_ns) = (clock::wall().as_microsecond(), clock::monotonic_ns());
        let recorded = start.record != Some(false) && self.location.is_some();
        let begun = RunStart {
            id: Uuid::now_v7().to_string(),
            node: self.meter.described().0.to_owned(),
            organisation: start.organisation,
            project: start.project,
            experiment: start.experiment,
            name: start.name,
            series: start.series,
            tags: start.tags,
            command: start.command,
            start_us,
        };
        let answer = json!({"run": begun.id, "start": wire::time(start_us)});
        let segment = Segment { name: None, start_us, start_ns: begun_ns, counts: BTreeMap::new() };
        self.run = Some(Open {
            start: begun,
            start_ns: begun_ns,
            counts: BTreeMap::new(),
            segment,
            before: crate::attribution::totals::WorkloadTotal::default(),
            recorded,
        });
        Ok(answer)
    }

    fn known(&mut self, id: &str) -> Result<&mut Open, Refusal> {
        let run = self.run.as_mut().filter(|run| run.start.id == id);
        run.ok_or_else(|| Refusal::new("no_such_run", "no run is open under this id"))
    }

    fn mark(&mut self, id: &str, name: Option<String>) -> Result<Value, Refusal> {
        self.known(id)?;
        self.meter.window().map_err(|error| Refusal::new("cannot_measure", error.message()))?;
        let (total, factor) = (self.meter.total(), self.meter.factor());
        let quality = self.meter.quality(&total);
        let (now_us, at_ns) = (clock::wall().as_microsecond(), clock::monotonic_ns());
        let run = self.known(id)?;
        let next = Segment { name, start_us: now_us, start_ns: at_ns, counts: BTreeMap::new() };
        let ended = std::mem::replace(&mut run.segment, next);
        let before = std::mem::replace(&mut run.before, total);
        let used = total.energy().saturating_sub(before.energy()).0;
        Ok(json!({
            "run": id,
            "at": wire::time(now_us),
            "segment": {
                "name": ended.name,
                "start": wire::time(ended.start_us),
                "end": wire::time(now_us),
                "duration_ns": at_ns.saturating_sub(ended.start_ns),
                "counts": ended.counts,
                "energy": {"energy_uj": used, "cpu_ns": total.cpu.saturating_sub(before.cpu).0},
            },
            "total": wire::energy(&total, quality, &factor, Some(self.meter.totals())),
        }))
    }

    fn count(&mut self, id: &str, unit: &str, more: u64) -> Result<Value, Refusal> {
        let run = self.known(id)?;
        if run.counts.len() >= UNITS_MAX && !run.counts.contains_key(unit) {
            return Err(Refusal::new("too_many_runs", format!("a run counts {UNITS_MAX} units at most")));
        }
        for counts in [&mut run.segment.counts, &mut run.counts] {
            let sum = counts.entry(unit.to_owned()).or_default();
            *sum = sum.saturating_add(more);
        }
        let count = run.counts.get(unit).copied();
        Ok(json!({"run": id, "unit": unit, "count": count}))
    }

    fn energy(&mut self, id: Option<&str>) -> Result<Value, Refusal> {
        if let Some(id) = id {
            self.known(id)?;
        }
        let total = self.meter.total();
        let energy =
            wire::energy(&total, self.meter.quality(&total), &self.meter.factor(), Some(self.meter.totals()));
        let runs: Vec<Value> = self
            .run
            .iter()
            .map(|run| {
                json!({"run": run.start.id, "name": run.start.name, "start": wire::time(run.start.start_us),
                       "energy": energy, "counts": run.counts})
            })
            .collect();
        Ok(json!({"as_of": wire::time(clock::wall().as_microsecond()), "cgroup": null, "runs": runs}))
    }

    fn stop(&mut self, stop: &Stop) -> Result<Value, Refusal> {
        self.known(&stop.run)?;
        let outcome = match stop.status {
            Status::Done => Outcome::Exited(0),
            Status::Failed => Outcome::Exited(stop.exit_status.unwrap_or(1).max(1)),
            Status::Killed => Outcome::Killed(KILL),
        };
        let Some((run, end)) = self.end(outcome) else {
            return Err(Refusal::new("no_such_run", "no run is open under this id"));
        };
        let (total, factor) = (self.meter.total(), self.meter.factor());
        let energy = wire::energy(&total, self.meter.quality(&total), &factor, Some(self.meter.totals()));
        let notes: Vec<&String> = self.meter.notes().iter().chain(&stop.notes).collect();
        Ok(json!({
            "run": run.start.id,
            "status": stop.status,
            "start": wire::time(run.start.start_us),
            "end": wire::time(end.end_us),
            "duration_ns": end.duration_ns,
            "energy": energy,
            "outlived_by": end.outlived_by,
            "counts": run.counts,
            "intensity": wire::intensity(&factor),
            "pue": factor.pue.0,
            "accounting": end.accounting,
            "recorded": run.recorded,
            "notes": notes,
        }))
    }

    /// Ends the run, where one is open, and keeps it.
    pub(super) fn end(&mut self, outcome: Outcome) -> Option<(OpenRun, RunEnd)> {
        let run = self.run.take()?;
        if let Err(error) = self.meter.last_window() {
            log::warn!("{}", error.message());
        }
        let execution = Execution {
            project: run.start.project.clone(),
            command: run.start.command.clone(),
            exit_status: i32::from(outcome.status()),
            duration: Duration::ZERO,
        };
        let times_ns = (run.start_ns, clock::monotonic_ns());
        let end = self.meter.record(self.pid, times_ns, outcome, execution);
        let recorded = run.recorded && self.keep(&run.start, &end);
        Some((OpenRun { start: run.start, counts: run.counts, recorded }, end))
    }

    /// Writes the run to the ledger; a failure is said, and costs the record alone.
    fn keep(&self, start: &RunStart, end: &RunEnd) -> bool {
        let Some(location) = &self.location else { return false };
        let written = Ledger::open(location).and_then(|mut ledger| {
            ledger.begin_run(start)?;
            ledger.end_run(start, end)
        });
        if let Err(error) = &written {
            let run = KeptRun { start: start.clone(), end: Some(end.clone()) };
            let told = journal::keep(location, &run, error);
            log::warn!("{}", told.unwrap_or_else(|why| format!("this run is not recorded: {error}; {why}")));
        }
        written.is_ok()
    }

    /// Ends a run that nobody stopped.
    pub(super) fn abandon(&mut self) {
        drop(self.end(Outcome::Killed(KILL)));
    }
}

/// A run that has ended.
#[derive(Debug)]
pub(super) struct OpenRun {
    start: RunStart,
    counts: BTreeMap<String, u64>,
    recorded: bool,
}
