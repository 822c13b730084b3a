//! Threads that own a ledger each: one writes, some read. What they may be asked at one time is bounded.
//!
//! A commit waits for the disk, so posts that have come meanwhile share the next one: a client is answered when its post is on the
//! disk, and hundreds a second need a few commits only.

use super::{Answered, Refused};
use crate::ledger::team::Team;
use crate::ledger::{Ledger, LedgerError};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;

/// Opens the ledger that is served.
pub type Opener = Arc<dyn Fn() -> Result<Ledger, LedgerError> + Send + Sync>;

/// Requests that may wait for the writer, and for each reader.
const QUEUE_MAX: usize = 1024;

/// Posts that share a commit at most: so many take tens of milliseconds.
const TOGETHER_MAX: usize = 256;

/// A piece of work.
type Work = Box<dyn FnOnce(&mut Team<'_>) -> Answered + Send>;

struct Job {
    work: Work,
    reply: oneshot::Sender<Answered>,
}

/// Who does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// A reader.
    Read,
    /// The writer.
    Write,
}

/// Where work is handed in.
pub(super) struct Desk {
    writer: Sender<Job>,
    readers: Vec<Sender<Job>>,
    next: AtomicUsize,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("readers", &self.readers.len()).finish_non_exhaustive()
    }
}

impl Desk {
    /// Starts the threads. They end when this is dropped and what was handed in is done.
    pub(super) fn start(open: &Opener, readers: usize) -> io::Result<Self> {
        let begin = |name: &str, serve: fn(&Opener, Receiver<Job>)| {
            let (jobs, asked) = channel(QUEUE_MAX);
            let open = Arc::clone(open);
            let _thread = thread::Builder::new().name(name.to_owned()).spawn(move || serve(&open, asked))?;
            Ok::<_, io::Error>(jobs)
        };
        let writer = begin("carbon-write", write)?;
        let readers = (0..readers.max(1)).map(|_| begin("carbon-read", read)).collect::<io::Result<_>>()?;
        Ok(Self { writer, readers, next: AtomicUsize::new(0) })
    }

    /// Has it done, and waits for what comes of it.
    pub(super) async fn ask(
        &self,
        lane: Lane,
        work: impl FnOnce(&mut Team<'_>) -> Answered + Send + 'static,
    ) -> Answered {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let jobs = match lane {
            Lane::Write => Some(&self.writer),
            Lane::Read => self.readers.get(turn.checked_rem(self.readers.len()).unwrap_or(0)),
        };
        let (reply, answer) = oneshot::channel();
        let busy = || Refused::new(503, "too much waits for the ledger: send it again in a second");
        let job = Job { work: Box::new(work), reply };
        jobs.ok_or_else(busy)?.try_send(job).map_err(|_full| busy())?;
        answer.await.unwrap_or_else(|_gone| Err(Refused::new(503, "the server ends: send it again")))
    }
}

fn read(open: &Opener, mut asked: Receiver<Job>) {
    let mut ledger = None;
    while let Some(Job { work, reply }) = asked.blocking_recv() {
        let answer = match ready(&mut ledger, open) {
            Ok(ledger) => work(&mut ledger.team_to_read()),
            Err(error) => Err(error.into()),
        };
        // A connection that failed is made anew.
        if answer.as_ref().is_err_and(|refused| refused.status == 503) {
            ledger = None;
        }
        drop(reply.send(answer));
    }
}

fn write(open: &Opener, mut asked: Receiver<Job>) {
    let mut ledger = None;
    while let Some(first) = asked.blocking_recv() {
        let mut jobs = vec![first];
        while let Some(job) = (jobs.len() < TOGETHER_MAX).then(|| asked.try_recv().ok()).flatten() {
            jobs.push(job);
        }
        let (works, replies): (Vec<Work>, Vec<_>) = jobs.into_iter().map(|job| (job.work, job.reply)).unzip();
        let done = ready(&mut ledger, open).and_then(|ledger| ledger.team(|team| together(team, works)));
        let answers = done.unwrap_or_else(|error| {
            ledger = None;
            let refused = Refused::from(error);
            replies.iter().map(|_| Err(refused.clone())).collect()
        });
        for (reply, answer) in replies.into_iter().zip(answers) {
            drop(reply.send(answer));
        }
    }
}

/// All of them, or none where the ledger failed under one: what was refused has written nothing.
fn together(team: &mut Team<'_>, works: Vec<Work>) -> Result<Vec<Answered>, LedgerError> {
    let mut answers = Vec::with_capacity(works.len());
    for work in works {
        let answer = work(team);
        if let Some(refused) = answer.as_ref().err().filter(|refused| refused.status >= 500) {
            return Err(LedgerError::Database { place: team.place(), reason: refused.reason.clone() });
        }
        answers.push(answer);
    }
    Ok(answers)
}

fn ready<'a>(ledger: &'a mut Option<Ledger>, open: &Opener) -> Result<&'a mut Ledger, LedgerError> {
    match ledger {
        Some(ledger) => Ok(ledger),
        none => Ok(none.insert(open()?)),
    }
}
