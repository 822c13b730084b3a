//! The thread that asks, and the handle of who measures.

use super::cri::Cri;
use super::desk::Desk;
use super::engine::Engine;
use super::kubelet::Pods;
use super::shards::Shards;
use super::slurm::Notes;
use super::{Key, Known, Options, Source};
use crate::clock;
use crate::workload::Identity;
use arc_swap::ArcSwap;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// Questions that may wait.
const ROOM: usize = 1024;
/// How often is looked whether something is to be asked again.
const PERIOD: Duration = Duration::from_millis(500);

/// What is published.
type Answers = Shards<Key, Arc<Known>>;

#[derive(Debug, Default)]
struct Counters {
    errors: ArcSwap<BTreeMap<&'static str, u64>>,
    dropped: AtomicU64,
    unresolved: AtomicU64,
}

/// What was known when it was last looked: see [`Metadata::is_news`].
#[derive(Debug, Default)]
pub struct Seen(Option<Arc<Answers>>);

/// How it goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Times that each source refused or failed; one that is not there has not failed.
    pub errors: Arc<BTreeMap<&'static str, u64>>,
    /// Questions for which there was no room.
    pub dropped: u64,
    /// Workloads that are still asked for and that nobody knows by now.
    pub unresolved: u64,
}

/// Names of workloads. It is dropped without waiting: the thread ends after the question that it is at.
#[derive(Debug)]
pub struct Metadata {
    questions: SyncSender<Key>,
    answers: Arc<ArcSwap<Answers>>,
    counters: Arc<Counters>,
}

impl Metadata {
    /// Starts the thread. Opens nothing yet.
    pub fn start(options: Options) -> io::Result<Self> {
        let (questions, receiver) = sync_channel(ROOM);
        let answers = Arc::<ArcSwap<Answers>>::default();
        let counters = Arc::<Counters>::default();
        let worker = Worker {
            desk: Desk::new(sources(options), clock::monotonic_ns()),
            answers: Arc::clone(&answers),
            counters: Arc::clone(&counters),
        };
        std::thread::Builder::new().name("metadata".to_owned()).spawn(move || {
            crate::meters::ease();
            worker.serve(&receiver);
        })?;
        Ok(Self { questions, answers, counters })
    }

    /// What is known of a workload; it is asked for where nothing is. Never waits.
    pub fn lookup(&self, identity: &Identity) -> Option<Arc<Known>> {
        let key = Key::of(identity).or_else(|| Key::of_job(identity))?;
        let answers = self.answers.load();
        if let Some(known) = answers.get(&key) {
            return Some(Arc::clone(known));
        }
        if self.questions.try_send(key).is_err() {
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
        }
        // Of a container that nobody knows yet the pod may be.
        let pod = identity.pod_uid.as_ref().filter(|_| identity.outer.is_none())?;
        answers.get(&Key::Pod(pod.clone())).cloned()
    }

    /// Whether anything was answered since `seen` was given here last.
    pub fn is_news(&self, seen: &mut Seen) -> bool {
        let answers = self.answers.load_full();
        let news = seen.0.as_ref().is_none_or(|before| !Arc::ptr_eq(before, &answers));
        seen.0 = Some(answers);
        news
    }

    /// How it goes.
    pub fn counts(&self) -> Counts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { errors, dropped, unresolved } = &*self.counters;
        Counts { errors: errors.load_full(), dropped: get(dropped), unresolved: get(unresolved) }
    }
}

fn sources(options: Options) -> Vec<Box<dyn Source>> {
    let Options { engines, cri, kubelet, slurm, labels } = options;
    let mut all: Vec<Box<dyn Source>> = Vec::new();
    // Those first that tell all at once.
    if let Some(kubelet) = kubelet {
        all.push(Box::new(Pods::new(kubelet, labels.clone())));
    }
    if let Some(folder) = slurm {
        all.push(Box::new(Notes::new(folder)));
    }
    for (name, socket) in cri {
        all.push(Box::new(Cri::new(name, socket, labels.clone())));
    }
    for (name, socket) in engines {
        all.push(Box::new(Engine::new(name, socket, labels.clone())));
    }
    all
}

struct Worker {
    desk: Desk,
    answers: Arc<ArcSwap<Answers>>,
    counters: Arc<Counters>,
}

impl Worker {
    fn serve(mut self, questions: &Receiver<Key>) {
        loop {
            let first = match questions.recv_timeout(PERIOD) {
                Ok(question) => Some(question),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let now_ns = clock::monotonic_ns();
            for question in first.into_iter().chain(questions.try_iter().take(ROOM)) {
                self.desk.want(question, now_ns);
            }
            let dropped = std::mem::take(&mut self.desk.dropped);
            self.counters.dropped.fetch_add(dropped, Ordering::Relaxed);
            let changed = self.desk.round(now_ns);
            self.counters.unresolved.store(self.desk.unresolved() as u64, Ordering::Relaxed);
            let errors = self.desk.errors();
            if **self.counters.errors.load() != errors {
                self.counters.errors.store(Arc::new(errors));
            }
            if changed {
                self.answers.store(Arc::new(self.desk.known().clone()));
            }
        }
    }
}
