//! Who is in a cgroup now, for a view of one workload's processes: read when somebody looks, and by who looks.

use super::hierarchy::{Hierarchy, HierarchyChoice};
use super::proc::thread_group;
use super::procstat::TICK_NS;
use crate::sysroot::SysRoot;
use crate::units::CpuNanos;
use carbon_ebpf::PF_KTHREAD;
use std::fs;
use std::io;
use std::path::PathBuf;

/// Processes that are read at one look, about 10 ms of CPU time.
pub const MEMBERS_MAX: usize = 1_000;

/// A process of the cgroup itself, not of one below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Process id.
    pub pid: u32,
    /// When it was started, in ticks since the boot: with `pid` it names one process.
    pub start: u64,
    /// Its name.
    pub comm: String,
    /// CPU time of all its threads, in steps of 10 ms.
    pub cpu: CpuNanos,
}

/// Where cgroups are looked up.
#[derive(Clone, Debug)]
pub struct Members {
    root: SysRoot,
    mount: PathBuf,
    top: String,
}

impl Member {
    /// When it was started, by the boot-time clock, up to a tick too late.
    pub fn start_ns(&self) -> u64 {
        self.start.saturating_add(1).saturating_mul(TICK_NS)
    }
}

impl Members {
    /// The tree of cgroups that is followed; nothing where none is mounted.
    pub fn open(root: &SysRoot, choice: HierarchyChoice) -> Option<Self> {
        let hierarchy = Hierarchy::choose(root, choice).ok()?;
        let top = hierarchy.mount.root.trim_matches('/').to_owned();
        Some(Self { root: root.clone(), mount: hierarchy.mount.path, top })
    }

    /// The processes of a cgroup, by its path below the root of its hierarchy; at the root `kernel` picks kernel threads,
    /// which are else left out there. And how many more there are.
    pub fn look(&self, path: &str, kernel: bool) -> io::Result<(Vec<Member>, u64)> {
        let path = path.trim_start_matches('/');
        let below = path.strip_prefix(&self.top).ok_or(io::ErrorKind::NotFound)?;
        let at_root = path.is_empty();
        let directory = self.mount.join(below.trim_start_matches('/'));
        // In a threaded cgroup processes are in the one above, and only threads here (cgroup-v2.rst, "Threads").
        let text = fs::read_to_string(directory.join("cgroup.procs"))
            .or_else(|_| fs::read_to_string(directory.join("cgroup.threads")))?;
        let mut found = Vec::new();
        let mut more = 0;
        for pid in text.lines().filter_map(|line| line.parse().ok()) {
            if found.len() == MEMBERS_MAX {
                more += 1;
                continue;
            }
            let Some(group) = thread_group(&self.root, pid) else { continue };
            if !at_root || (group.flags & PF_KTHREAD != 0) == kernel {
                found.push(Member { pid, start: group.start, comm: group.comm, cpu: group.cpu });
            }
        }
        Ok((found, more))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_in_its_cgroup() {
        let root = SysRoot::default();
        let Some(members) = Members::open(&root, HierarchyChoice::Auto) else {
            return println!("SKIPPED: no tree of cgroups is mounted");
        };
        let resolved = root.read_proc("self/cgroup").unwrap();
        let path = super::super::cgroup_tree::path_in(&resolved, members.mount.ends_with("cpuacct"));
        let path = path.unwrap_or_default();
        let (found, _) = members.look(&path, false).unwrap();
        assert!(found.iter().any(|member| member.pid == std::process::id()), "{path}: {found:?}");
        assert!(members.look("/there/is/none", false).is_err());
    }
}
