//! Names of workloads for who reads metrics: asked for by a thread of their own, looked up after each window.

use crate::agent::minute;
use crate::agent::{Published, Who};
use crate::metadata::{Counts, Known, Labels, Metadata, Options, Seen};
use crate::metrics::{Names, NamesByIdentity};
use arc_swap::ArcSwap;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// A name that nobody knew is asked for again after so long: the thread that asks repeats the question by itself, and
/// this is for one for which it had no room.
const AGAIN_NS: u64 = 10_000_000_000;

/// What is known of a workload, and when it was looked.
#[derive(Debug)]
struct Looked {
    who: Arc<Who>,
    known: Option<Arc<Known>>,
    at_ns: u64,
    /// The last look in which it was there.
    look: u64,
}

/// The thread, and what it has answered.
#[derive(Debug)]
pub(super) struct Naming {
    metadata: Option<Metadata>,
    /// By the address of `who`, which is held as long: a window has many workloads, and few of them are new.
    looked: FxHashMap<usize, Looked>,
    looks: u64,
    seen: Seen,
    /// Labels that are shown, each with its name in metrics.
    labels: Vec<(String, &'static str)>,
    /// What is known of the workloads that were published last.
    pub(super) names: Arc<ArcSwap<NamesByIdentity>>,
}

impl Naming {
    /// Asks nobody without options. Where there can be no more threads, that is said, and names are told from paths.
    pub(super) fn start(options: Option<Options>) -> Self {
        let wanted = options.iter().flat_map(|options| &options.labels.0);
        // A few names, which the program has for as long as it runs.
        let shown = |name: &String| (name.clone(), &*Labels::shown(name).leak());
        let labels = wanted.map(shown).collect();
        let metadata = options.and_then(|options| match Metadata::start(options) {
            Ok(metadata) => Some(metadata),
            Err(error) => {
                log::warn!("names of containers are not asked for: {error}");
                None
            }
        });
        Self {
            metadata,
            looked: FxHashMap::default(),
            looks: 0,
            seen: Seen::default(),
            labels,
            names: Arc::default(),
        }
    }

    /// Hands over whose names are wanted, and shows those that are known by now. Never waits.
    pub(super) fn look(&mut self, published: &Published, now_ns: u64) {
        let Some(metadata) = &self.metadata else { return };
        let news = metadata.is_news(&mut self.seen);
        self.looks += 1;
        let mut changed = false;
        for workload in &published.workloads {
            let who = &workload.who;
            let look = self.looks;
            let looked = self.looked.entry(Arc::as_ptr(who).addr()).or_insert_with(|| Looked {
                who: Arc::clone(who),
                known: None,
                at_ns: 0,
                look: 0,
            });
            let again = looked.known.is_none() && now_ns.saturating_sub(looked.at_ns) >= AGAIN_NS;
            if looked.look == 0 || news || again {
                let known = metadata.lookup(&who.path);
                changed |= known != looked.known;
                *looked = Looked { known, at_ns: now_ns, who: Arc::clone(who), look };
            }
            looked.look = look;
        }
        self.looked.retain(|_, looked| {
            let gone = looked.look != self.looks;
            changed |= gone && looked.known.is_some();
            !gone
        });
        if changed {
            let named = |looked: &Looked| {
                Some((looked.who.identity.clone(), names(looked.known.as_ref()?, &self.labels)))
            };
            let all = self.looked.values().filter_map(named);
            self.names.store(Arc::new(all.collect()));
        }
    }
}

impl Naming {
    /// How it goes; `None` where nobody is asked.
    pub(super) fn counts(&self) -> Option<Counts> {
        self.metadata.as_ref().map(Metadata::counts)
    }

    /// What is known of a workload by now, for the ledger. Never waits.
    pub(super) fn of(&self, who: &Who) -> Option<minute::Names> {
        let known = self.metadata.as_ref()?.lookup(&who.path)?;
        let Known { namespace, pod, container, job, .. } = (*known).clone();
        Some(minute::Names { namespace, pod, container, job: job.unwrap_or_default() })
    }
}

fn names(known: &Known, labels: &[(String, &'static str)]) -> Names {
    let of = |text: &Option<String>| text.clone().unwrap_or_default();
    let label = |(name, shown): &(String, &'static str)| Some((*shown, known.labels.get(name)?.clone()));
    Names {
        namespace: of(&known.namespace),
        pod: of(&known.pod),
        container: of(&known.container),
        image: of(&known.image),
        job: known.job.clone().unwrap_or_default(),
        labels: labels.iter().filter_map(label).collect(),
    }
}
