//! Processes for the dashboard: of a workload as it is now, where an agent measures, and of a run as they were recorded.

use super::error::CliError;
use crate::clock;
use crate::ledger::Ledger;
use crate::metrics::Feed;
use crate::report::processes::ProcessList;
use crate::sched::Members;

/// Why a ledger alone knows none.
const NOT_KEPT: &str = "the ledger keeps the energy of a workload, not of its processes: those of now are shown by an agent (carbon agent \
                        --dashboard on), and those of a run with the run";

/// Where processes of now are looked up.
#[derive(Debug)]
pub(super) struct Looks {
    feed: Feed,
    members: Option<Members>,
}

impl Looks {
    /// Of the workloads of an agent; without a tree of cgroups there are none.
    pub(super) fn new(feed: Feed, members: Option<Members>) -> Self {
        Self { feed, members }
    }

    /// The processes of a workload, by its identity. Only one that the agent has in its sums is looked for: a path that somebody
    /// makes up is not read.
    fn look(&self, of: &str, identity: &str) -> ProcessList {
        let none = |why: &str| ProcessList::none(of, why);
        let Some(members) = &self.members else { return none("no tree of cgroups is mounted here") };
        let published = self.feed.published.load();
        let known = published.workloads.iter().find(|it| it.who.identity == identity);
        let (path, kernel) = match known.map(|it| it.who.kind) {
            None => return none("this agent does not see it run now"),
            Some("kernel") => ("/", true),
            Some(_) if !identity.starts_with('/') => {
                return none("it is no cgroup of which processes could be read");
            }
            Some(_) => (identity, false),
        };
        match members.look(path, kernel) {
            Ok((members, more)) => ProcessList::found(of, clock::boottime_ns(), members, more),
            Err(error) => none(&format!("its processes cannot be read: {error}")),
        }
    }
}

/// The processes of `workload:IDENTITY`.
pub(super) fn now(looks: Option<&Looks>, of: &str, identity: &str) -> ProcessList {
    looks.map_or_else(|| ProcessList::none(of, NOT_KEPT), |looks| looks.look(of, identity))
}

/// The processes of `run:ID`.
pub(super) fn of_run(ledger: &mut Ledger, of: &str, run: &str) -> Result<ProcessList, CliError> {
    let run = ledger.find_run(run)?;
    Ok(match &run.end {
        Some(end) => ProcessList::recorded(of, &end.report),
        None => ProcessList::none(of, "the run has not ended, or carbon was killed before it did"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{Published, Who, WorkloadTotals};
    use crate::sched::HierarchyChoice;
    use crate::sysroot::SysRoot;
    use std::sync::Arc;

    fn looks(identity: &str, kind: &'static str) -> Option<Looks> {
        let who = Who { identity: identity.to_owned(), kind, ..Who::default() };
        let workload = WorkloadTotals { who: Arc::new(who), ..WorkloadTotals::default() };
        let published = Published { workloads: vec![workload], ..Published::default() };
        let feed =
            Feed { published: Arc::new(arc_swap::ArcSwap::from_pointee(published)), ..Feed::default() };
        let members = Members::open(&SysRoot::default(), HierarchyChoice::Auto)?;
        Some(Looks::new(feed, Some(members)))
    }

    #[test]
    fn only_what_the_agent_measures_is_looked_at() {
        let Some(root) = looks("/", "root") else {
            return println!("SKIPPED: no tree of cgroups is mounted");
        };
        let list = now(Some(&root), "workload:/", "/");
        assert!(list.at_ns.is_some() && list.notes.is_empty(), "{list:?}");
        let other = now(Some(&root), "workload:/other", "/other");
        assert_eq!((other.at_ns, other.notes.len()), (None, 1), "{other:?}");
        let gone = looks("/there/is/none", "cgroup").unwrap();
        assert!(now(Some(&gone), "", "/there/is/none").notes[0].contains("cannot be read"));
        let sum = looks("system/overflow", "overflow").unwrap();
        assert!(now(Some(&sum), "", "system/overflow").notes[0].contains("no cgroup"));
        assert_eq!(now(None, "workload:/", "/").notes, [NOT_KEPT]);
    }
}
