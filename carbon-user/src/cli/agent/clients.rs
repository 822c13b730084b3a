//! What clients of the local API ask of the window loop. Nothing here waits for a client: answers go to a place of their own,
//! and who is not there any more gets none.

use super::allowance::{Allowance, OVER};
use super::records::{EndedRun, Records, RunRecord};
use crate::agent::runs::{Begin, Bound};
use crate::agent::{Cause, Refused};
use crate::api::request::{Start, Status, Stop};
use crate::api::server::{Listen, Server};
use crate::api::{Asked, Client, Event, Limits, Refusal, Reply, Stopped};
use crate::cli::engine::{Finish, NodeMeter, moment};
use crate::cli::process::Outcome;
use crate::ledger::Factor;
use crate::ledger::rows::RunStart;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;
use uuid::Uuid;

/// Windows that clients add are so far from the one before at least: ten a second cost little, and tell little of what others
/// do (docs/api.md).
const EDGE_MIN: Duration = Duration::from_millis(100);

/// How long the end of a run waits for the finals of its tasks, and how often it looks.
const SETTLING_MAX: Duration = Duration::from_millis(300);
const SETTLING_STEP: Duration = Duration::from_millis(20);

/// After a window that could not be ended, those that clients wait for are tried again.
const FAILED_STEP: Duration = Duration::from_secs(1);

/// A run of an agent before is kept for so long after its last process, for its client, which has no connection to it, to stop it.
const AGAIN_NS: u64 = 5_000_000_000;

/// A run that processes are to join ends where none does for so long.
const JOIN_NS_MAX: u64 = 60_000_000_000;

/// As a shell has it for a process that was killed.
const KILLED_STATUS: u8 = 128 + 9;

type Instant = tokio::time::Instant;

fn now() -> Instant {
    tokio::time::Instant::now()
}

type Answer = oneshot::Sender<Result<Reply, Refusal>>;

/// What waits for the end of a window.
#[derive(Debug)]
enum Waiting {
    Start(Client, Box<Start>, Answer),
    Mark(Uuid, Option<String>, Answer),
    Stop(Box<Stop>, Answer),
    /// Nobody stopped it.
    Lost(Uuid),
}

impl Waiting {
    /// The run that it ends.
    fn ends(&self) -> Option<Uuid> {
        match self {
            Self::Stop(stop, _) => Some(stop.run),
            Self::Lost(run) => Some(*run),
            Self::Start(..) | Self::Mark(..) => None,
        }
    }
}

/// The loop's end of the API.
#[derive(Debug)]
pub(super) struct Clients {
    server: Option<(Server, Receiver<Event>)>,
    limits: Limits,
    window: Duration,
    waiting: Vec<(Waiting, Instant)>,
    /// Of those, which the window that ends now is for: as many from the front.
    ready: usize,
    due: Option<Instant>,
    edge: Instant,
    records: Records,
    allowance: Allowance,
    /// Where those who are over it are counted.
    refused: Arc<Refused>,
    /// That the socket has gone was said.
    told_lost: bool,
}

impl Clients {
    /// Without a socket.
    pub(super) fn none(window: Duration) -> Self {
        Self {
            server: None,
            limits: Limits::default(),
            window,
            waiting: Vec::new(),
            ready: 0,
            due: None,
            edge: now(),
            records: Records::default(),
            allowance: Allowance::default(),
            refused: Arc::default(),
            told_lost: false,
        }
    }

    /// Listens. Without it the agent measures on: that is said.
    pub(super) fn listen(
        &mut self,
        listen: &Listen,
        again: bool,
        refused: Arc<Refused>,
        start: impl FnOnce(Limits, Arc<Refused>) -> Started,
    ) {
        self.refused = Arc::clone(&refused);
        match start(self.limits, refused) {
            Ok(server) => {
                log::info!("the local API is served on {}", listen.path.display());
                self.server = Some(server);
            }
            Err(error) if again => log::debug!("the local API is still not served: {error}"),
            Err(error) => log::error!(
                "the local API is not served: {error}; it is tried again; give another --socket, or none"
            ),
        }
    }

    /// Looks whether the socket is there, and has it made again where somebody removed it.
    pub(super) fn look(&mut self, path: &Path) {
        let Some((server, _)) = &mut self.server else { return };
        let path = path.display();
        match server.look() {
            Ok(false) => self.told_lost = false,
            Ok(true) => log::warn!("{path} had been removed: the local API has a new socket there"),
            Err(error) if self.told_lost => log::debug!("the local API has no socket: {error}"),
            Err(error) => {
                self.told_lost = true;
                log::error!("the socket of the local API was removed: {error}; it is tried again");
            }
        }
    }

    /// Whether it does.
    pub(super) fn listens(&self) -> bool {
        self.server.is_some()
    }

    /// CPU time that serving them took so far, in nanoseconds, but for what the window loop does.
    pub(super) fn cpu_ns(&self) -> u64 {
        self.server.as_ref().map_or(0, |(server, _)| server.cpu_ns())
    }

    /// The next event; never, without a socket.
    pub(super) async fn next(&mut self) -> Event {
        match &mut self.server {
            Some((_, events)) => match events.recv().await {
                Some(event) => event,
                None => std::future::pending().await,
            },
            None => std::future::pending().await,
        }
    }

    /// When a window is wanted.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// What is to be written of runs.
    pub(super) fn take_records(&mut self) -> Vec<RunRecord> {
        self.records.take()
    }

    pub(super) fn has_records(&self) -> bool {
        !self.records.is_empty()
    }

    fn wait(&mut self, waiting: Waiting) {
        let now = now();
        self.waiting.push((waiting, now));
        let due = now.max(self.edge + EDGE_MIN);
        self.due = Some(self.due.map_or(due, |known| known.min(due)));
    }

    /// Whether a window may be ended for a client now.
    pub(super) fn may_end_window(&self) -> bool {
        self.edge.elapsed() >= EDGE_MIN
    }

    /// Does what can be done at once, and lets the rest wait for the end of a window.
    pub(super) fn take(&mut self, event: Event, node: &mut NodeMeter) {
        let (client, asked, reply) = match event {
            Event::Asked { client, asked, reply } => (client, asked, reply),
            Event::Gone { connection } => return self.gone(connection, node),
        };
        let result = match asked {
            Asked::Hello => Ok(Reply::About(Box::new(node.about(self.window)))),
            Asked::Start(start) if !start.empty && node.group_of(&client.peer).is_some() => {
                return self.wait(Waiting::Start(client, start, reply));
            }
            Asked::Start(start) => self.start(&client, *start, node),
            Asked::Join(run) => own(node, &client, run).and_then(|()| {
                node.join_run(run, &client.peer)?;
                Ok(Reply::Joined(run))
            }),
            Asked::Mark(run, name) => match own(node, &client, run) {
                Ok(()) => return self.wait(Waiting::Mark(run, name, reply)),
                Err(refused) => Err(refused),
            },
            Asked::Count(run, unit, count) => own(node, &client, run).and_then(|()| {
                let count = node.runs.count_up(run, &unit, count);
                let count = count.ok_or_else(|| {
                    Refusal::new("too_many_runs", "a run counts up to 16 units: use one of those")
                })?;
                Ok(Reply::Counted { run, unit, count })
            }),
            Asked::Energy(run) => run.map_or(Ok(()), |run| own(node, &client, run)).map(|()| {
                let wanted = |of: &Begin| run.map_or(of.uid == client.peer.uid, |run| of.id == run);
                let ids: Vec<Uuid> = node
                    .runs
                    .all()
                    .map(|run| &run.state.begun)
                    .filter(|of| wanted(of))
                    .map(|of| of.id)
                    .collect();
                let runs = ids.into_iter().filter_map(|id| {
                    let alive = node.alive(id);
                    Some((node.runs.get(id)?.state.without_segments(), alive))
                });
                let runs = runs.collect();
                Reply::Runs { as_of_us: node.also().window_end_us, runs }
            }),
            Asked::Stop(stop) => match own(node, &client, stop.run) {
                Ok(()) => return self.wait(Waiting::Stop(stop, reply)),
                Err(refused) => Err(refused),
            },
        };
        // Whoever asked may have gone.
        reply.send(result).ok();
    }

    fn gone(&mut self, connection: u64, node: &NodeMeter) {
        let begins = |waiting: &Waiting| matches!(waiting, Waiting::Start(client, ..) if client.connection == connection);
        self.waiting.retain(|(waiting, _)| !begins(waiting));
        let bound = node.runs.all().filter(|run| run.state.begun.bound == Bound::Connection(connection));
        let lost: Vec<Uuid> = bound.map(|run| run.state.begun.id).collect();
        for run in lost {
            self.wait(Waiting::Lost(run));
        }
    }

    fn start(&mut self, client: &Client, start: Start, node: &mut NodeMeter) -> Result<Reply, Refusal> {
        let uid = client.peer.uid;
        let Limits { runs, runs_of_user, for_root, .. } = self.limits;
        let (of_user, most) =
            if uid == 0 { (runs, runs) } else { (runs_of_user, runs.saturating_sub(for_root)) };
        if node.runs.count(None) >= most || node.runs.count(Some(uid)) >= of_user {
            return Err(Refusal::new("too_many_runs", format!("{of_user} runs may be open: stop some")));
        }
        let at = moment();
        let id = Uuid::now_v7();
        let usual = node.factor();
        let record = RunStart {
            id: id.to_string(),
            node: node.name().to_owned(),
            organisation: start.organisation,
            project: start.project,
            experiment: start.experiment,
            name: start.name,
            series: start.series,
            tags: start.tags,
            command: start.command,
            start_us: at.wall_us,
        };
        let wanted = !start.unrecorded;
        let recorded = wanted && self.allowance.has(uid, at.at_ns);
        let begun = Begin {
            start: record.clone(),
            id,
            uid,
            factor: Factor::new(start.intensity.unwrap_or(usual.intensity), start.pue.unwrap_or(usual.pue)),
            recorded,
            bound: if start.connection { Bound::Connection(client.connection) } else { Bound::Tree },
            empty: start.empty,
            at,
            notes: (wanted && !recorded).then(|| OVER.to_owned()).into_iter().collect(),
        };
        node.begin_run(begun, &client.peer)?;
        if recorded {
            self.allowance.begin(uid, &record, at.at_ns);
            self.records.add([RunRecord::Begin(Box::new(record))]);
        } else if wanted {
            self.refused.add(Cause::Rate);
        }
        Ok(Reply::Started { run: id, start_us: at.wall_us })
    }

    /// Before a window ends: which of those that wait it is for. Whether there is any.
    pub(super) fn prepare(&mut self, node: &mut NodeMeter) -> bool {
        let is_ready = |(waiting, since): &(Waiting, Instant)| {
            waiting.ends().is_none_or(|run| since.elapsed() >= SETTLING_MAX || node.settled(run))
        };
        let (mut ready, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(is_ready);
        self.ready = ready.len();
        self.due = (!later.is_empty()).then(|| now() + SETTLING_STEP);
        ready.extend(later);
        self.waiting = ready;
        self.ready > 0
    }

    /// After a window that could not be ended: those that wait for it wait for the next try, which is not as far as the next
    /// window may be.
    pub(super) fn window_failed(&mut self) {
        if std::mem::take(&mut self.ready) > 0 {
            let again = now() + FAILED_STEP;
            self.due = Some(self.due.map_or(again, |due| due.min(again)));
        }
    }

    /// After a window has ended well.
    pub(super) fn window_ended(&mut self, node: &mut NodeMeter) {
        self.edge = now();
        let ready: Vec<_> = self.waiting.drain(..self.ready.min(self.waiting.len())).collect();
        self.ready = 0;
        for (waiting, _) in ready {
            match waiting {
                Waiting::Start(client, start, reply) => {
                    let result = self.start(&client, *start, node);
                    reply.send(result).ok();
                }
                Waiting::Mark(run, name, reply) => {
                    reply.send(mark(run, name, node)).ok();
                }
                Waiting::Stop(stop, reply) => {
                    let result = self.stop(*stop, node);
                    reply.send(result).ok();
                }
                Waiting::Lost(run) => self.lose(run, node),
            }
        }
        if let Some(due) = &mut self.due {
            *due = (*due).max(self.edge + EDGE_MIN);
        }
        for run in ended_trees(node) {
            self.lose(run, node);
        }
    }

    fn stop(&mut self, stop: Stop, node: &mut NodeMeter) -> Result<Reply, Refusal> {
        let Stop { run, status, exit_status, notes, report } = stop;
        let outcome = match status {
            Status::Done | Status::Failed => Outcome::Exited(exit_status),
            Status::Killed => Outcome::Killed(exit_status.saturating_sub(128)),
        };
        let mut stopped =
            self.end(run, outcome, Finish { exit_status, notes }, node).ok_or_else(Refusal::no_such_run)?;
        if report.is_none() {
            stopped.report = None;
        }
        Ok(Reply::Stopped(Box::new(stopped)))
    }

    /// Nobody has stopped it.
    fn lose(&mut self, run: Uuid, node: &mut NodeMeter) {
        let notes = vec!["nobody stopped this run: its process or its connection ended".to_owned()];
        let finish = Finish { exit_status: KILLED_STATUS, notes };
        self.end(run, Outcome::Killed(KILLED_STATUS - 128), finish, node);
    }

    fn end(&mut self, run: Uuid, outcome: Outcome, finish: Finish, node: &mut NodeMeter) -> Option<Stopped> {
        let finished = node.finish_run(run, finish)?;
        let begun = &finished.state.begun;
        if begun.recorded {
            let (notes, segments) = (&finished.report.notes, &finished.state.segments);
            self.allowance.end(begun.uid, notes, segments, moment().at_ns);
            self.records.add([RunRecord::End(Box::new(EndedRun {
                start: begun.start.clone(),
                report: finished.report.clone(),
                own: finished.state.own,
                factor: begun.factor.clone(),
                outlived_by: finished.outlived_by,
                outcome,
            }))]);
        }
        Some(Stopped {
            status: match outcome {
                Outcome::Exited(0) => "done",
                Outcome::Exited(_) => "failed",
                Outcome::Killed(_) => "killed",
            },
            accounting: finished.report.accounting,
            outlived_by: finished.outlived_by,
            notes: finished.report.notes.clone(),
            report: Some(finished.report),
            run: finished.state,
        })
    }

    /// The last window has ended: all that waited for one is done.
    pub(super) fn finish(&mut self, node: &mut NodeMeter) {
        self.ready = self.waiting.len();
        self.window_ended(node);
    }

    /// Ends all runs, and the server: the agent ends.
    pub(super) fn close(&mut self, node: &mut NodeMeter) {
        let open: Vec<Uuid> = node.runs.all().map(|run| run.state.begun.id).collect();
        for run in open {
            self.lose(run, node);
        }
        // Its queue first, so that nobody waits for an answer that does not come.
        if let Some((server, events)) = self.server.take() {
            drop(events);
            drop(server);
        }
    }
}

/// What a server is started with, or why there is none.
pub(super) type Started = Result<(Server, Receiver<Event>), crate::api::server::ServeError>;

/// Whether a run is the client's.
fn own(node: &NodeMeter, client: &Client, run: Uuid) -> Result<(), Refusal> {
    let uid = client.peer.uid;
    let known = node.runs.get(run).is_some_and(|run| uid == 0 || run.state.begun.uid == uid);
    if known { Ok(()) } else { Err(Refusal::no_such_run()) }
}

fn mark(run: Uuid, name: Option<String>, node: &mut NodeMeter) -> Result<Reply, Refusal> {
    let segment = node.runs.mark(run, name, moment()).ok_or_else(Refusal::no_such_run)?;
    let state = &node.runs.get(run).ok_or_else(Refusal::no_such_run)?.state;
    Ok(Reply::Marked {
        run,
        segment: Box::new(segment),
        total: Box::new(state.energy.clone()),
        factor: Box::new(state.begun.factor.clone()),
    })
}

/// Runs whose processes have all ended, or never came.
fn ended_trees(node: &mut NodeMeter) -> Vec<Uuid> {
    let now_ns = moment().at_ns;
    let open: Vec<(Uuid, bool, Bound, u64)> = node
        .runs
        .all()
        .map(|run| &run.state.begun)
        .map(|begun| (begun.id, begun.empty, begun.bound, begun.at.at_ns))
        .collect();
    let mut ended = Vec::new();
    for (id, empty, bound, begun_ns) in open {
        let gone = match bound {
            Bound::Connection(_) => false,
            Bound::Tree if empty => now_ns.saturating_sub(begun_ns) > JOIN_NS_MAX,
            Bound::Tree => node.alive(id) == Some(0),
            Bound::Again(until_ns) if node.alive(id) == Some(0) || empty => now_ns >= until_ns,
            Bound::Again(_) => {
                node.runs.keep_again(id, now_ns.saturating_add(AGAIN_NS));
                false
            }
        };
        ended.extend(gone.then_some(id));
    }
    ended
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::agent::records::WAITING_MAX;

    #[test]
    fn records_that_a_hanging_ledger_does_not_take_are_bounded() {
        let mut clients = Clients::none(Duration::from_secs(1));
        for number in 0..WAITING_MAX + 10 {
            let start = RunStart { id: number.to_string(), ..RunStart::default() };
            clients.records.add([RunRecord::Begin(Box::new(start))]);
        }
        let records = clients.take_records();
        assert_eq!(records.len(), WAITING_MAX);
        let newest = (WAITING_MAX + 9).to_string();
        assert!(matches!(records.last(), Some(RunRecord::Begin(start)) if start.id == newest));
        assert!(!clients.has_records());
    }
}
