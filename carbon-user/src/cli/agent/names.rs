//! Names of workloads for who reads metrics: asked for by a thread of their own, looked up after each window.

use crate::agent::minute;
use crate::agent::{Published, Who};
use crate::metadata::{Known, Metadata, Options};
use crate::metrics::{Names, NamesByIdentity};
use crate::sysroot::SysRoot;
use arc_swap::ArcSwap;
use std::sync::Arc;

/// The thread, and what it has answered.
#[derive(Debug)]
pub(super) struct Naming {
    metadata: Option<Metadata>,
    /// What is known of the workloads that were published last.
    pub(super) names: Arc<ArcSwap<NamesByIdentity>>,
}

impl Naming {
    /// Asks nobody without options. Where there can be no more threads, that is said, and names are told from paths.
    pub(super) fn start(options: Option<Options>, root: &SysRoot) -> Self {
        let metadata = options.and_then(|options| match Metadata::start(options, root) {
            Ok(metadata) => Some(metadata),
            Err(error) => {
                log::warn!("names of containers are not asked for: {error}");
                None
            }
        });
        Self { metadata, names: Arc::default() }
    }

    /// Hands over whose names are wanted, and shows those that are known by now. Never waits.
    pub(super) fn look(&self, published: &Published) {
        let Some(metadata) = &self.metadata else { return };
        let all = published.workloads.iter().filter_map(|workload| {
            let known = known(metadata, &workload.who)?;
            Some((workload.who.identity.clone(), names(&known)))
        });
        let names: NamesByIdentity = all.collect();
        if **self.names.load() != names {
            self.names.store(Arc::new(names));
        }
    }
}

impl Naming {
    /// What is known of a workload by now, for the ledger. Never waits.
    pub(super) fn of(&self, who: &Who) -> Option<minute::Names> {
        let known = known(self.metadata.as_ref()?, who)?;
        let Known { namespace, pod, container, .. } = (*known).clone();
        Some(minute::Names { namespace, pod, container })
    }
}

/// Of a container of a hybrid host that has a unit to itself in cgroup2, the processes say whose it is.
fn known(metadata: &Metadata, who: &Who) -> Option<Arc<Known>> {
    let whose = who.cgroup.and_then(|cgroup| metadata.whose(cgroup, &who.identity, &who.path));
    metadata.lookup(whose.as_deref().unwrap_or(&who.path))
}

fn names(known: &Known) -> Names {
    let of = |text: &Option<String>| text.clone().unwrap_or_default();
    Names {
        namespace: of(&known.namespace),
        pod: of(&known.pod),
        container: of(&known.container),
        image: of(&known.image),
    }
}
