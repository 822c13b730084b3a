//! Minutes on their way to the ledger, on a thread that may wait for a disk or a server.

use super::records::{Records, RunRecord};
use crate::agent::Alone;
use crate::agent::backlog::Backlog;
use crate::agent::resume::{self, EdgeMarks, Resume, Sums};
use crate::agent::runs::kept::{self, KeptRuns};
use crate::cli::background::Background;
use crate::cli::error::CliError;
use crate::heap;
use crate::ledger::rows::Flush;
use crate::ledger::{Ledger, LedgerError, Location};
use arc_swap::ArcSwap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Minutes that may wait for the thread; while there is no room, the loop goes on with the minute that it has.
const ROOM: u64 = 4;

/// A minute, with the readings at its end.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) flush: Option<Flush>,
    /// Where there is a minute.
    pub(super) edge: Option<EdgeMarks>,
    /// At the end.
    pub(super) sums: Option<Sums>,
    /// Runs of clients.
    pub(super) runs: Vec<RunRecord>,
    /// Those that are open now.
    pub(super) open: Option<KeptRuns>,
}

/// How far the thread has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    jobs: u64,
    pub(super) flushes: u64,
    pub(super) waiting: u64,
    pub(super) merged: u64,
    pub(super) error: Option<String>,
}

/// What the thread works with.
#[derive(Debug)]
struct Work {
    location: Option<Location>,
    resume: Option<PathBuf>,
    alone: Option<Alone>,
    /// Whether another may measure too: said once.
    doubled: bool,
    boot_id: String,
    backlog: Backlog,
    runs: Records,
    /// Whether open runs could not be kept the last time.
    runs_unkept: bool,
    /// Why the file of a restart could not be written the last time.
    unkept: Option<String>,
    /// The end of what is known to be written.
    written: Option<EdgeMarks>,
    progress: Progress,
    shown: Arc<ArcSwap<Progress>>,
    ending: Arc<AtomicBool>,
}

/// The loop's end of it.
#[derive(Debug)]
pub(super) struct Writer {
    background: Background<Job>,
    offered: u64,
    shown: Arc<ArcSwap<Progress>>,
    ending: Arc<AtomicBool>,
}

impl Writer {
    /// Starts the thread. `written` is where it goes on from.
    pub(super) fn start(
        location: Option<Location>,
        (resume, alone): (Option<PathBuf>, Option<Alone>),
        boot_id: String,
        written: Option<EdgeMarks>,
    ) -> Result<Self, CliError> {
        let shown = Arc::new(ArcSwap::from_pointee(Progress::default()));
        let ending = Arc::<AtomicBool>::default();
        let mut work = Work {
            location,
            resume,
            alone,
            doubled: false,
            boot_id,
            backlog: Backlog::default(),
            runs: Records::default(),
            runs_unkept: false,
            unkept: None,
            written: written.map(EdgeMarks::settled),
            progress: Progress::default(),
            shown: Arc::clone(&shown),
            ending: Arc::clone(&ending),
        };
        let room = usize::try_from(ROOM).unwrap_or(1);
        let background = Background::start("carbon-ledger", room, move |job| {
            work.job(job);
            Ok(())
        })
        .map_err(|source| CliError::Start { action: "start a thread", source })?;
        Ok(Self { background, offered: 0, shown, ending })
    }

    /// Whether a job would be taken.
    pub(super) fn has_room(&self) -> bool {
        self.offered.saturating_sub(self.shown.load().jobs) < ROOM
    }

    /// Hands a minute over; never waits.
    pub(super) fn offer(&mut self, job: Job) {
        if self.background.offer(job) {
            self.offered += 1;
        } else {
            log::error!("the thread that writes the ledger has gone: a restart recovers what is not written");
        }
    }

    /// Hands the last one over and waits.
    pub(super) fn finish(&mut self, job: Job) -> Arc<Progress> {
        self.ending.store(true, Ordering::Relaxed);
        self.background.finish(Some(job));
        self.shown.load_full()
    }

    /// How far it has come.
    pub(super) fn progress(&self) -> Arc<Progress> {
        self.shown.load_full()
    }
}

impl Work {
    fn job(&mut self, job: Job) {
        let Job { flush, edge, sums, runs, open } = job;
        let last = sums.is_some();
        if let Some(open) = open {
            self.keep_runs(&open);
        }
        if self.location.is_some() {
            self.runs.add(runs);
        }
        // Each try may wait for who holds the ledger, and the end has 30 s before it is killed (Kubernetes' default): the last
        // job tries once, for all together.
        if self.ending.load(Ordering::Relaxed) && !last {
            if let Some(flush) = flush.filter(|_| self.location.is_some()) {
                self.backlog.push(flush);
            }
            return;
        }
        let minute = edge.map_or(Ok(()), |edge| self.minute(flush, edge, sums));
        if let Err(error) = minute.and_then(|()| self.write_runs()) {
            match self.location.as_ref().filter(|_| last) {
                Some(location) => self.runs.keep(location, &error),
                None if self.runs.is_empty() => {}
                None => log::warn!("records of runs wait to be written: {error}"),
            }
        }
        self.progress.jobs += 1;
        self.shown.store(Arc::new(self.progress.clone()));
        // A minute is the largest thing that is made and freed, and what outlives it lies between its parts.
        heap::trim();
    }

    fn write_runs(&mut self) -> Result<(), LedgerError> {
        let Some(location) = self.location.as_ref().filter(|_| !self.runs.is_empty()) else { return Ok(()) };
        self.runs.write(&mut Ledger::open(location)?)
    }

    fn keep_runs(&mut self, open: &KeptRuns) {
        let Some(resume) = &self.resume else { return };
        let failed = kept::save(&kept::path(resume), open).err();
        if let Some(error) = &failed
            && !self.runs_unkept
        {
            log::warn!(
                "runs would not go on after a restart: cannot write {}.runs: {error}",
                resume.display()
            );
        }
        self.runs_unkept = failed.is_some();
    }

    /// Locks again what was removed under it, so that the next agent with the same files is refused.
    fn stay_alone(&mut self) {
        let (Some(alone), Some(path)) = (&self.alone, &self.resume) else { return };
        if alone.holds() {
            return;
        }
        let name = path.display();
        let doubled = match Alone::with(path) {
            Ok(Some(alone)) => {
                log::warn!("{name}.lock was removed while this agent measures: it is made and locked again");
                self.alone = Some(alone);
                false
            }
            Ok(None) => {
                if !self.doubled {
                    log::error!(
                        "{name}.lock was removed, and another agent has a new one: both book each joule; end one of them"
                    );
                }
                true
            }
            Err(error) => {
                if !self.doubled {
                    log::warn!("{name}.lock was removed, and a second agent would not be noticed: {error}");
                }
                true
            }
        };
        self.doubled = doubled;
    }

    fn minute(
        &mut self,
        flush: Option<Flush>,
        edge: EdgeMarks,
        sums: Option<Sums>,
    ) -> Result<(), LedgerError> {
        self.stay_alone();
        if let Some(flush) = flush.filter(|_| self.location.is_some()) {
            self.backlog.push(flush);
        }
        let written = self.write(&edge, sums.as_ref());
        match &written {
            Ok(()) => {
                if self.progress.error.take().is_some() {
                    log::info!("the ledger is written again: all minutes that waited are in it");
                }
                let edge = edge.settled();
                self.keep(vec![edge.clone()], sums);
                self.written = Some(edge);
            }
            Err(error) => {
                let error = error.to_string();
                if self.progress.error.as_ref() != Some(&error) {
                    log::warn!("minutes wait to be written: {error}");
                }
                self.progress.error = Some(error);
            }
        }
        self.progress.waiting = self.backlog.len() as u64;
        self.progress.merged = self.backlog.merged();
        written
    }

    fn keep(&mut self, edges: Vec<EdgeMarks>, sums: Option<Sums>) {
        let Some(path) = &self.resume else { return };
        let resume = Resume { boot_id: self.boot_id.clone(), edges, sums };
        let error = resume::save(path, &resume).err().map(|error| error.to_string());
        match &error {
            Some(error) if self.unkept.as_ref() != Some(error) => log::warn!("{error}"),
            None if self.unkept.is_some() => log::info!("{} is written again", path.display()),
            _ => {}
        }
        self.unkept = error;
    }

    /// Opened anew each time: a minute is long, and a file that was replaced or a server that was restarted is found. The file
    /// of a restart says that a flush is in doubt only while it is: where the ledger cannot be opened it says what it said.
    fn write(&mut self, edge: &EdgeMarks, sums: Option<&Sums>) -> Result<(), LedgerError> {
        let Some(location) = self.location.clone().filter(|_| !self.backlog.is_empty()) else {
            return Ok(());
        };
        let mut ledger = Ledger::open(&location)?;
        let edges = self.written.iter().chain([edge]).cloned().collect();
        self.keep(edges, sums.cloned());
        if let Err(error) = ledger.flush(self.backlog.waiting()) {
            let node = self.backlog.waiting().last().map(|flush| flush.node.clone()).unwrap_or_default();
            // A file's transaction is undone; a server that does not answer any more may have done it.
            let undone = matches!(location, Location::File(_))
                || ledger.has_flush(&node, &edge.flush).is_ok_and(|written| !written);
            if let Some(written) = self.written.clone().filter(|_| undone) {
                self.keep(vec![written], None);
            }
            return Err(error);
        }
        self.progress.flushes += self.backlog.written() as u64;
        Ok(())
    }
}
