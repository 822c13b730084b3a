//! `carbon agent`: measures this machine until it is told to end.
//!
//! One thread closes windows and waits for nothing but the next; what it publishes is replaced in one step, and minutes are
//! handed to a thread that writes them.

mod allowance;
mod clients;
mod names;
mod pages;
pub mod privileges;
mod records;
mod reload;
mod serving;
mod share_tree;
mod sharing;
mod writer;

use super::engine::{NodeMeter, Past};
use super::error::CliError;
use super::on_this_thread;
use super::options::AgentOptions;
use super::top::{after, handle};
use crate::agent::resume::{self, EdgeMarks, Resume, Sums};
use crate::agent::runs::kept;
use crate::agent::{Alone, Published, Who};
use crate::api;
use crate::clock;
use crate::heap;
use crate::ledger::{Ledger, Location};
use crate::metrics::otlp::Pusher;
use arc_swap::ArcSwap;
use clients::Clients;
use names::Naming;
use sd_notify::NotifyState;
use serving::Serving;
use sharing::Sharing;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::SignalKind;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;
use writer::{Job, Writer};

const MINUTE_S: i64 = 60;

/// Runs it.
pub(super) fn agent(options: &AgentOptions) -> Result<(), CliError> {
    heap::be_frugal();
    let mut options = options.clone();
    for note in &options.notes {
        log::warn!("{note}");
    }
    // Before the loop, which waits for no service: a machine stays in its region for as long as it runs.
    match options.here.find(&mut options.measuring, options.offline) {
        Some(told) => log::warn!("{told}"),
        None => options.found = options.measuring.zone.clone().filter(|_| options.here.here),
    }
    on_this_thread(run(options))
}

async fn run(options: AgentOptions) -> Result<(), CliError> {
    let mut ends = [SignalKind::interrupt(), SignalKind::terminate()].map(handle).into_iter();
    let (Some(interrupt), Some(terminate)) = (ends.next(), ends.next()) else { return Ok(()) };
    let (mut interrupt, mut terminate) = (interrupt?, terminate?);
    let mut hang_up = handle(SignalKind::hangup())?;
    privileges::reduce(options.capabilities);
    let alone = alone(&options)?;
    let mut agent = Agent::open(options, alone)?;
    agent.serve();
    agent.pusher = agent.push();
    tell(&[NotifyState::Ready, NotifyState::Status("measuring")]);
    let mut next = Instant::now() + agent.options.measuring.interval;
    let watchdog = sd_notify::watchdog_enabled().map(|limit| limit / 2);
    let mut ping = Instant::now();
    loop {
        let due = agent.clients.due();
        tokio::select! {
            biased;
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hang_up.recv() => agent.reload(),
            () = sleep_until(next) => {
                let window = agent.tick();
                agent.serve_again();
                next = after(next, window);
            }
            // The loop is alive, however wide windows are by now.
            () = sleep_until(ping), if watchdog.is_some() => {
                tell(&[NotifyState::Watchdog]);
                ping = Instant::now() + watchdog.unwrap_or_default();
            }
            event = agent.clients.next() => agent.event(event),
            () = sleep_until(due.unwrap_or(next)), if due.is_some() => agent.due(),
        }
    }
    tell(&[NotifyState::Stopping]);
    agent.close();
    Ok(())
}

/// Holds what one agent at a time has.
fn alone(options: &AgentOptions) -> Result<Option<Alone>, CliError> {
    let Some(path) = &options.resume else { return Ok(None) };
    match Alone::with(path) {
        Ok(Some(alone)) => Ok(Some(alone)),
        Ok(None) => Err(CliError::Argument {
            option: "--resume",
            value: path.display().to_string(),
            reason: "another agent measures this machine with it already, and two would book each joule twice".into(),
            advice: "end that one first; a second for a trial needs --resume, --store, --listen and --socket of its own"
                .into(),
        }),
        Err(error) => {
            log::warn!("a second agent would not be noticed: cannot lock {}.lock: {error}", path.display());
            Ok(None)
        }
    }
}

/// To the service manager, where there is one.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::warn!("cannot tell the service manager: {error}");
    }
}

/// Everything that the loop holds.
#[derive(Debug)]
struct Agent {
    options: AgentOptions,
    node: NodeMeter,
    writer: Writer,
    published: Arc<ArcSwap<Published>>,
    naming: Naming,
    clients: Clients,
    sharing: Option<Sharing>,
    boot_id: String,
    pusher: Option<Pusher>,
    serving: Serving,
    /// When the minute that is not written began: Unix time in seconds, and the monotonic clock.
    begun: (i64, u64),
    failing: bool,
}

impl Agent {
    fn open(options: AgentOptions, alone: Option<Alone>) -> Result<Self, CliError> {
        let boot_id = options.measuring.root.read_proc("sys/kernel/random/boot_id").unwrap_or_default();
        let before = Before::read(&options, &boot_id, &options.node);
        let start =
            |folder: &PathBuf| Sharing::start(folder, options.measuring.interval, before.sums.as_ref());
        let sharing = options.share_with_vms.as_ref().map(start).transpose()?;
        let node = NodeMeter::open(&options, before.past.as_ref(), before.sums)?;
        for note in node.notes() {
            log::info!("{note}");
        }
        let written = before.past.map(|past| past.edge);
        let location = options.chosen.location.clone();
        let writer = Writer::start(location, (options.resume.clone(), alone), boot_id.clone(), written)?;
        let naming = Naming::start(options.metadata.clone());
        let window = options.measuring.interval;
        let mut agent = Self {
            options,
            node,
            writer,
            published: Arc::new(ArcSwap::from_pointee(Published::default())),
            naming,
            clients: Clients::none(window),
            sharing,
            boot_id,
            pusher: None,
            serving: Serving::default(),
            begun: (clock::wall().as_second(), clock::monotonic_ns()),
            failing: false,
        };
        if let Some(lost) = before.lost {
            log::warn!("{lost}");
            let unrecovered = &mut agent.node.also().unrecovered;
            let also = unrecovered.take().into_iter().chain([lost]).collect::<Vec<_>>();
            *unrecovered = Some(also.join("; "));
        }
        agent.resume_runs();
        // What was recovered is written at once, and a kill from here on is recovered from here.
        agent.flush();
        agent.publish();
        let (name, window) = (agent.node.name(), agent.options.measuring.interval);
        log::info!("measuring {name} in windows of {window:?}: {}", agent.node.means());
        Ok(agent)
    }

    /// Goes on with the runs that an agent before had open.
    fn resume_runs(&mut self) {
        let Some(path) = self.options.resume.as_deref().map(kept::path) else { return };
        match kept::load(&path) {
            Ok(runs) if runs.runs.is_empty() => {}
            Ok(runs) => {
                let resumed = self.node.resume_runs(&runs, &self.boot_id);
                log::info!("{resumed} of {} runs that were open go on", runs.runs.len());
            }
            Err(error) => {
                log::warn!("runs that were open do not go on: cannot use {}: {error}", path.display());
            }
        }
    }

    /// Something that a client wants. A run begins with a window of its own, where that is not too much: the window before
    /// ends once the client has its answer, which it waits for, or for a run that has to begin with a window, with it.
    fn event(&mut self, event: api::Event) {
        let starts = matches!(&event, api::Event::Asked { asked: api::Asked::Start(_), .. });
        self.clients.take(event, &mut self.node);
        if starts && self.clients.may_end_window() {
            self.tick();
        }
        self.write_runs();
    }

    /// A window that a client waits for.
    fn due(&mut self) {
        if self.clients.prepare(&mut self.node) {
            self.tick();
        }
    }

    /// Hands records of runs over. Where the thread has no room, they wait.
    fn write_runs(&mut self) {
        if self.clients.has_records() && self.writer.has_room() {
            let runs = self.clients.take_records();
            let open = Some(self.node.kept_runs(&self.boot_id, false));
            self.writer.offer(Job { flush: None, edge: None, sums: None, runs, open });
        }
    }

    /// Starts pushing the metrics. Without it the agent measures on: that is said.
    fn push(&self) -> Option<Pusher> {
        let options = self.options.otlp.clone()?;
        let url = options.url.clone();
        let pusher = Pusher::start(options, self.feed());
        match &pusher {
            Ok(_) => log::info!("metrics are pushed to {url}"),
            Err(error) => log::error!("metrics are not pushed: {error}"),
        }
        pusher.ok()
    }

    /// Closes a window, and gives how long the next one is to be.
    fn tick(&mut self) -> Duration {
        self.clients.prepare(&mut self.node);
        let serving_ns = self.serving_cpu_ns();
        let window = match self.node.tick(serving_ns) {
            Ok(window) => {
                self.failing = false;
                self.clients.window_ended(&mut self.node);
                self.write_runs();
                window
            }
            Err(error) => {
                self.clients.window_failed();
                // The next window has its time.
                if !std::mem::replace(&mut self.failing, true) {
                    log::warn!("{}", error.message());
                }
                self.options.measuring.interval
            }
        };
        let (unix_s, begun_ns) = self.begun;
        let another = clock::wall().as_second().div_euclid(MINUTE_S) != unix_s.div_euclid(MINUTE_S);
        let since_ns = clock::monotonic_ns().saturating_sub(begun_ns);
        if another || u128::from(since_ns) >= self.options.flush.as_nanos() {
            self.flush();
        }
        self.publish();
        window
    }

    /// Hands the minute over. Where the thread has no room, the minute goes on.
    fn flush(&mut self) {
        if !self.writer.has_room() {
            return;
        }
        let job = self.job(None);
        self.writer.offer(job);
    }

    fn job(&mut self, sums: Option<Sums>) -> Job {
        let start_s = self.begun.0.div_euclid(MINUTE_S).saturating_mul(MINUTE_S);
        self.begun = (clock::wall().as_second(), clock::monotonic_ns());
        let names = |who: &Who| self.naming.of(who);
        let (flush, edge) = self.node.take_minute(Uuid::now_v7().to_string(), start_s, names);
        let open = Some(self.node.kept_runs(&self.boot_id, false));
        Job { flush, edge: Some(edge), sums, runs: self.clients.take_records(), open }
    }

    fn publish(&mut self) {
        let progress = self.writer.progress();
        let pushes = self.pusher.as_ref().map(Pusher::pushes);
        let naming = self.naming.counts();
        let also = self.node.also();
        also.flushes = progress.flushes;
        also.flushes_waiting = progress.waiting;
        also.flushes_merged = progress.merged;
        also.pushes = pushes;
        also.naming = naming;
        also.refused_readers = self.serving.readers.counts();
        also.refused_clients = self.serving.clients.counts();
        also.ledger_error.clone_from(&progress.error);
        let published = Arc::new(self.node.published());
        self.naming.look(&published, clock::monotonic_ns());
        if let Some(sharing) = &mut self.sharing {
            sharing.look(&published, clock::monotonic_ns());
        }
        self.published.store(published);
    }

    /// The last window, everything written.
    fn close(&mut self) {
        let serving_ns = self.serving_cpu_ns();
        if let Err(error) = self.node.tick(serving_ns) {
            log::warn!("{}", error.message());
        }
        self.clients.finish(&mut self.node);
        // They are recorded as ended, should no agent follow, and go on where one does.
        let open = self.node.kept_runs(&self.boot_id, true);
        self.clients.close(&mut self.node);
        let Published { domains, workloads, other, ended, .. } = self.node.published();
        let workloads = workloads.into_iter().chain([other, ended]).collect();
        let job = Job { open: Some(open), ..self.job(Some(Sums { domains, workloads })) };
        let progress = self.writer.finish(job);
        for note in self.node.close() {
            log::warn!("{note}");
        }
        if let Some(error) = &progress.error {
            let waiting = progress.waiting;
            let then = match &self.options.resume {
                Some(_) => "the next start recovers their energy as sampled",
                None => "their energy is lost, as there is no file for a restart (--resume)",
            };
            log::error!("{waiting} minutes are not written: {error}; {then}");
        }
        self.publish();
        if let Some(sharing) = &mut self.sharing {
            sharing.finish(&self.published.load());
        }
        log::info!("ended after {} windows, {} flushes", self.published.load().windows, progress.flushes);
    }
}

/// What another agent left.
#[derive(Debug, Default)]
struct Before {
    past: Option<Past>,
    sums: Option<Sums>,
    /// Why the time since then is not known.
    lost: Option<String>,
}

impl Before {
    fn read(options: &AgentOptions, boot_id: &str, node: &str) -> Self {
        let lost = |lost: String| Self { lost: Some(lost), ..Self::default() };
        let resume = match options.resume.as_deref().map(resume::load).transpose() {
            Ok(resume) => resume.flatten(),
            Err(error) => return lost(error.to_string()),
        };
        let Some(Resume { boot_id: of_boot, mut edges, sums }) = resume else { return Self::default() };
        let Some(newest) = edges.pop() else { return Self::default() };
        let is_written = written(options, node, &newest);
        let (edge, settled) = match (is_written, edges.pop()) {
            (Some(false), Some(before)) => (before, false),
            (Some(false), None) => {
                return lost("the first minute of the agent before was not written".to_owned());
            }
            (Some(true) | None, _) => (newest, true),
        };
        // Once again in the ledger would be worse than once too few, as nobody would see it.
        let doubt = is_written.is_none().then(|| {
            "the agent before was killed while it wrote, and the ledger cannot be asked whether it has that: it is taken to, and \
             is lost if not"
                .to_owned()
        });
        let sums = sums.filter(|_| settled);
        if of_boot != boot_id {
            let lost = "the machine was booted since: energy used in between is not known".to_owned();
            return Self { past: None, sums, lost: Some(lost) };
        }
        match Past::new(edge, &options.measuring) {
            Ok(past) => Self { past: Some(past), sums, lost: doubt },
            Err(error) => Self {
                past: None,
                sums,
                lost: Some(format!("CPU time since the last end is not known: {error}")),
            },
        }
    }
}

/// Whether the flush that ends with `edge` is in the ledger; `None` where it does not say.
fn written(options: &AgentOptions, node: &str, edge: &EdgeMarks) -> Option<bool> {
    if edge.flush.is_empty() {
        return Some(true);
    }
    let Some(location) = &options.chosen.location else { return Some(true) };
    if let Location::File(path) = location
        && path.try_exists().is_ok_and(|exists| !exists)
    {
        return Some(false);
    }
    let mut ledger = Ledger::open_to_read(location).ok()?;
    ledger.has_flush(node, &edge.flush).ok()
}
