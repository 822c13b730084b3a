//! Names of workloads beside their paths: what is new is handed to the thread that asks, so that a container which ends
//! before the report has a name in it.

use crate::attribution::totals::Totals;
use crate::metadata::{Metadata, Options};
use crate::report::top::Told;
use crate::sysroot::SysRoot;
use crate::units::CgroupId;
use crate::window::Class;
use crate::workload::identify;
use rustc_hash::FxHashMap;

/// Windows in which a cgroup is looked up: the first asks whose it is, where its path does not say, and the next what that
/// is called.
const LOOKS: u8 = 3;
/// Cgroups that are remembered as handed over; then all are handed over again, once.
const SEEN_MAX: usize = 65_536;

/// The thread, and what it was handed.
#[derive(Debug)]
pub(super) struct Naming {
    metadata: Metadata,
    seen: FxHashMap<CgroupId, u8>,
}

impl Naming {
    /// Nothing where there can be no more threads, which is said: names are told from paths then.
    pub(super) fn start(root: &SysRoot) -> Option<Self> {
        match Metadata::start(Options::usual(), root) {
            Ok(metadata) => Some(Self { metadata, seen: FxHashMap::default() }),
            Err(error) => {
                log::warn!("names of containers are not asked for: {error}");
                None
            }
        }
    }

    /// Hands over what is new in a window. Never waits.
    pub(super) fn look<'p>(&mut self, window: &Totals, path_of: impl Fn(CgroupId) -> Option<&'p str>) {
        if self.seen.len() >= SEEN_MAX {
            self.seen.clear();
        }
        let keys = window.workloads().filter(|(key, _)| key.class == Class::Tasks);
        for (key, _) in keys {
            let Some(path) = path_of(key.cgroup) else { continue };
            let looks = self.seen.entry(key.cgroup).or_default();
            if *looks < LOOKS {
                *looks += 1;
                // It is asked for by being looked up.
                drop(self.told(key.cgroup, path));
            }
        }
    }

    /// What is known by now.
    pub(super) fn told(&self, cgroup: CgroupId, path: &str) -> Told {
        let by_path = identify(path);
        let identity = self.metadata.whose(cgroup, path, &by_path);
        let known = self.metadata.lookup(identity.as_deref().unwrap_or(&by_path));
        Told { identity, known }
    }

    /// What must be said of it.
    pub(super) fn notes(&self) -> Option<String> {
        let dropped = self.metadata.counts().dropped;
        (dropped > 0)
            .then(|| format!("names of workloads were not asked for {dropped} times: too many at once"))
    }
}
