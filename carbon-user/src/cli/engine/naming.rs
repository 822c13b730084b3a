//! Names of workloads beside their paths: what is new is handed to the thread that asks, so that a container which ends
//! before the report has a name in it.

use crate::attribution::totals::Totals;
use crate::metadata::{Metadata, Options};
use crate::report::top::Told;
use crate::resolver::Whose;
use crate::sysroot::SysRoot;
use crate::units::CgroupId;
use crate::window::Class;
use crate::workload::identify;
use rustc_hash::FxHashMap;

/// Windows in which a cgroup is looked up: a question for which there was no room is asked again.
const LOOKS: u8 = 3;
/// Cgroups that are remembered as handed over; then all are handed over again, once.
const SEEN_MAX: usize = 65_536;

/// Whose cgroups are, the thread, and what it was handed.
#[derive(Debug)]
pub(super) struct Naming {
    whose: Whose,
    /// Nothing where nobody is to be asked.
    metadata: Option<Metadata>,
    seen: FxHashMap<CgroupId, u8>,
}

impl Naming {
    /// Where there can be no more threads, that is said, and names are told from paths.
    pub(super) fn start(root: &SysRoot, asks: bool) -> Self {
        let metadata = asks.then(|| Metadata::start(Options::usual())).and_then(|started| {
            started.inspect_err(|error| log::warn!("names of containers are not asked for: {error}")).ok()
        });
        Self { whose: Whose::new(root), metadata, seen: FxHashMap::default() }
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
                self.whose.look(key.cgroup, path);
                // It is asked for by being looked up.
                drop(self.told(key.cgroup, path));
            }
        }
    }

    /// What is known by now.
    pub(super) fn told(&self, cgroup: CgroupId, path: &str) -> Told {
        let identity = self.whose.told(cgroup);
        let known = self.metadata.as_ref().and_then(|metadata| match &identity {
            Some(identity) => metadata.lookup(identity),
            None => metadata.lookup(&identify(path)),
        });
        Told { identity, known }
    }

    /// What must be said of it.
    pub(super) fn notes(&self) -> Option<String> {
        let dropped = self.metadata.as_ref()?.counts().dropped;
        (dropped > 0)
            .then(|| format!("names of workloads were not asked for {dropped} times: too many at once"))
    }
}
