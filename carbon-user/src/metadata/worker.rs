//! The thread that asks, and the handle of who measures.

use super::cri::Cri;
use super::desk::{Desk, KNOWN_MAX};
use super::engine::Engine;
use super::kubelet::Pods;
use super::shards::Shards;
use super::slurm::Notes;
use super::whose::whose;
use super::{Key, Known, Options, Source};
use crate::clock;
use crate::sysroot::{CgroupLayout, SysRoot, cgroup_layout};
use crate::units::CgroupId;
use crate::workload::{Identity, Kind};
use arc_swap::ArcSwap;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// Questions that may wait.
const ROOM: usize = 1024;
/// How often is looked whether something is to be asked again.
const PERIOD: Duration = Duration::from_millis(500);

/// What is handed to the thread.
#[derive(Debug)]
enum Question {
    Name(Key),
    Whose(CgroupId, String),
}

/// What is published.
#[derive(Debug, Default)]
struct Answers {
    known: Shards<Key, Arc<Known>>,
    whose: Shards<CgroupId, Option<Arc<Identity>>>,
}

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
    questions: SyncSender<Question>,
    answers: Arc<ArcSwap<Answers>>,
    counters: Arc<Counters>,
    hybrid: bool,
}

impl Metadata {
    /// Starts the thread. Opens nothing yet.
    pub fn start(options: Options, root: &SysRoot) -> io::Result<Self> {
        let (questions, receiver) = sync_channel(ROOM);
        let answers = Arc::<ArcSwap<Answers>>::default();
        let counters = Arc::<Counters>::default();
        let hybrid = cgroup_layout(&root.cgroup_mounts().unwrap_or_default()) == CgroupLayout::Hybrid;
        let worker = Worker {
            desk: Desk::new(sources(options), clock::monotonic_ns()),
            root: root.clone(),
            whose: Shards::default(),
            order: VecDeque::new(),
            answers: Arc::clone(&answers),
            counters: Arc::clone(&counters),
        };
        std::thread::Builder::new().name("metadata".to_owned()).spawn(move || {
            crate::meters::ease();
            worker.serve(&receiver);
        })?;
        Ok(Self { questions, answers, counters, hybrid })
    }

    /// What is known of a workload; it is asked for where nothing is. Never waits.
    pub fn lookup(&self, identity: &Identity) -> Option<Arc<Known>> {
        let key = Key::of(identity).or_else(|| Key::of_job(identity))?;
        let answers = self.answers.load();
        if let Some(known) = answers.known.get(&key) {
            return Some(Arc::clone(known));
        }
        self.offer(Question::Name(key));
        // Of a container that nobody knows yet the pod may be.
        let pod = identity.pod_uid.as_ref().filter(|_| identity.outer.is_none())?;
        answers.known.get(&Key::Pod(pod.clone())).cloned()
    }

    /// Whose the processes of a cgroup are, where its path in cgroup2 says no more than a unit and the host has
    /// hierarchies of version 1, which may know better. Never waits.
    pub fn whose(&self, cgroup: CgroupId, path: &str, by_path: &Identity) -> Option<Arc<Identity>> {
        let vague = matches!(by_path.kind, Kind::Unit | Kind::Scope | Kind::Slice | Kind::Unknown);
        if !self.hybrid || !vague || by_path.container_id.is_some() {
            return None;
        }
        if let Some(answer) = self.answers.load().whose.get(&cgroup) {
            return answer.clone();
        }
        self.offer(Question::Whose(cgroup, path.to_owned()));
        None
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

    fn offer(&self, question: Question) {
        if self.questions.try_send(question).is_err() {
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
        }
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
    root: SysRoot,
    whose: Shards<CgroupId, Option<Arc<Identity>>>,
    order: VecDeque<CgroupId>,
    answers: Arc<ArcSwap<Answers>>,
    counters: Arc<Counters>,
}

impl Worker {
    fn serve(mut self, questions: &Receiver<Question>) {
        loop {
            let first = match questions.recv_timeout(PERIOD) {
                Ok(question) => Some(question),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let now_ns = clock::monotonic_ns();
            let mut changed = false;
            for question in first.into_iter().chain(questions.try_iter().take(ROOM)) {
                match question {
                    Question::Name(key) => self.desk.want(key, now_ns),
                    Question::Whose(cgroup, path) => changed |= self.look(cgroup, &path),
                }
            }
            let dropped = std::mem::take(&mut self.desk.dropped);
            self.counters.dropped.fetch_add(dropped, Ordering::Relaxed);
            changed |= self.desk.round(now_ns);
            self.counters.unresolved.store(self.desk.unresolved() as u64, Ordering::Relaxed);
            let errors = self.desk.errors();
            if **self.counters.errors.load() != errors {
                self.counters.errors.store(Arc::new(errors));
            }
            if changed {
                let (known, whose) = (self.desk.known().clone(), self.whose.clone());
                self.answers.store(Arc::new(Answers { known, whose }));
            }
        }
    }

    /// Looks once at each cgroup.
    fn look(&mut self, cgroup: CgroupId, path: &str) -> bool {
        if self.whose.get(&cgroup).is_some() {
            return false;
        }
        let better = |identity: &Identity| identity.container_id.is_some() || identity.pod_uid.is_some();
        self.whose.insert(cgroup, whose(&self.root, path).filter(better).map(Arc::new));
        self.order.push_back(cgroup);
        if self.order.len() > KNOWN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.whose.remove(&oldest);
        }
        true
    }
}
