//! Whose a process is, read from `/proc`: where a host has several hierarchies, one path alone can name the wrong
//! workload, as that of a container in cgroup2 can be its daemon's.
//!
//! One small file is read for each process that is asked for. [`Whose`] does that between two windows, for a cgroup's first
//! one: what it waits for is the kernel's lock on cgroups at most, which each reading of the scheduler's books takes too.
//! A process costs 13 µs (kernel 6.18, a virtual machine, ten hierarchies).

use crate::sysroot::{CgroupMount, SysRoot};
use crate::units::CgroupId;
use crate::workload::lines::{Hierarchy, choose};
use crate::workload::{Identity, Kind, identify};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

/// Processes of a cgroup that are looked at.
const PIDS_MAX: usize = 64;
/// Bytes of `cgroup.procs` that are read.
const BYTES_MAX: u64 = 4096;
/// Cgroups whose answer is kept; the oldest go first.
const KNOWN_MAX: usize = 16_384;

/// Whose a cgroup is where its path in cgroup2 says no more than a unit: on hybrid hosts a container can be in its daemon's
/// unit there, while a hierarchy of version 1 names it.
#[derive(Debug)]
pub struct Whose {
    root: SysRoot,
    /// Of cgroup2; `None` where no hierarchy of version 1 is beside it.
    mount: Option<CgroupMount>,
    known: FxHashMap<CgroupId, Option<Arc<Identity>>>,
    order: VecDeque<CgroupId>,
}

impl Whose {
    /// Reads which hierarchies there are.
    pub fn new(root: &SysRoot) -> Self {
        let is_hybrid =
            root.cgroup_mounts().is_ok_and(|mounts| mounts.iter().any(|mount| mount.v1.is_some()));
        let mount = root.cgroup2().ok().flatten().filter(|_| is_hybrid);
        Self { root: root.clone(), mount, known: FxHashMap::default(), order: VecDeque::new() }
    }

    /// What a cgroup's processes say, where its path does not. They are looked at once.
    pub fn look(&mut self, cgroup: CgroupId, path: &str) -> Option<Arc<Identity>> {
        if let Some(known) = self.known.get(&cgroup) {
            return known.clone();
        }
        let mount = self.mount.as_ref()?;
        let by_path = identify(path);
        let is_vague = matches!(by_path.kind, Kind::Unit | Kind::Scope | Kind::Slice | Kind::Unknown);
        if !is_vague || by_path.container_id.is_some() {
            return None;
        }
        let is_better = |told: &Identity| told.container_id.is_some() || told.pod_uid.is_some();
        let told = agreed(&self.root, mount, path).filter(is_better).map(Arc::new);
        if self.known.len() >= KNOWN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.known.insert(cgroup, told.clone());
        self.order.push_back(cgroup);
        told
    }

    /// What they said when they were looked at.
    pub fn told(&self, cgroup: CgroupId) -> Option<Arc<Identity>> {
        self.known.get(&cgroup).cloned().flatten()
    }
}

/// The identity that all of the processes in a cgroup agree on. Nothing where they disagree, as where a daemon and its
/// containers share the cgroup: then its time is the unit's, and no container's.
fn agreed(root: &SysRoot, mount: &CgroupMount, path: &str) -> Option<Identity> {
    let below = path.strip_prefix(mount.root.trim_end_matches('/'))?.trim_start_matches('/');
    let mut text = String::new();
    let file = File::open(mount.path.join(below).join("cgroup.procs")).ok()?;
    file.take(BYTES_MAX).read_to_string(&mut text).ok()?;
    let pids = text.lines().filter_map(|line| line.parse().ok()).take(PIDS_MAX);
    let mut agreed = None;
    for resolved in pids.filter_map(|pid| resolve(root, pid).ok()) {
        match &agreed {
            None => agreed = Some(resolved.identity),
            Some(identity) if *identity == resolved.identity => {}
            Some(_) => return None,
        }
    }
    agreed
}

/// An identity, and the cgroup that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Whose it is.
    pub identity: Identity,
    /// The path that was believed, as `/proc` shows it.
    pub path: String,
    /// Controllers and names of its hierarchy; `None` for cgroup2.
    pub v1: Option<String>,
}

/// Why a process could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// It has ended. Nothing is wrong.
    #[error("process {0} has ended")]
    Gone(u32),
    /// Its cgroups cannot be read.
    #[error("cannot read {path}: {source}; with hidepid= this needs CAP_SYS_PTRACE")]
    Read {
        /// The file.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The file holds no line of a known form.
    #[error("{path} names no cgroup; is proc mounted there?")]
    Empty {
        /// The file.
        path: String,
    },
}

/// Whose the process `pid` is, of all its cgroups. `pid` is as seen by `root`'s proc; a number that was given to
/// another process meanwhile is that process.
pub fn resolve(root: &SysRoot, pid: u32) -> Result<Resolved, ResolveError> {
    let relative = format!("{pid}/cgroup");
    let path = || root.proc.join(&relative).display().to_string();
    let text = root.read_proc(&relative).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => ResolveError::Gone(pid),
        // The process ended between opening and reading.
        _ if source.raw_os_error() == Some(libc::ESRCH) => ResolveError::Gone(pid),
        _ => ResolveError::Read { path: path(), source },
    })?;
    let choice = choose(&text).ok_or_else(|| ResolveError::Empty { path: path() })?;
    Ok(Resolved {
        path: choice.line.path.to_owned(),
        v1: match choice.line.hierarchy {
            Hierarchy::V2 => None,
            Hierarchy::V1(names) => Some(names.to_owned()),
        },
        identity: choice.identity,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{Kind, Runtime};
    use std::path::Path;

    fn host(name: &str) -> SysRoot {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/cgroups").join(name);
        SysRoot { sys: top.join("sys"), proc: top.join("proc") }
    }

    fn told(host_name: &str, pid: u32) -> String {
        let resolved = resolve(&host(host_name), pid).unwrap();
        let v1 = resolved.v1.unwrap_or_else(|| "cgroup2".to_owned());
        format!("{}: {} ({v1})", resolved.identity.kind, resolved.identity.label().unwrap_or_default())
    }

    #[test]
    fn a_container_of_a_hybrid_host_is_not_its_daemon() {
        assert_eq!(told("hybrid", 1), "scope: init.scope (name=systemd)");
        assert_eq!(told("hybrid", 700), "unit: crio.service (name=systemd)");
        assert_eq!(told("hybrid", 2000), "container: pod 98210229 / 5c50e6c9d255 (name=systemd)");
        assert_eq!(told("hybrid", 2001), "scope: pod 98210229 / 5c50e6c9d255 (conmon) (name=systemd)");
        assert_eq!(told("hybrid", 3000), "session: session 2 of user 1000 (name=systemd)");
        assert_eq!(told("hybrid", 4000), "job: job 211 step 0 (memory)");
    }

    #[test]
    fn other_hosts_are_resolved_too() {
        assert_eq!(told("v1", 50), "container: docker 162c5dbc610f (cpu,cpuacct)");
        assert_eq!(told("v2", 60), "container: docker 3f6b32aaf0e8 (cgroup2)");
        assert_eq!(told("v2", 61), "root: root (cgroup2)");
        let container = resolve(&host("v2"), 60).unwrap();
        assert_eq!(
            (container.identity.kind, container.identity.runtime),
            (Kind::Container, Some(Runtime::Docker))
        );
        assert!(container.path.starts_with("/system.slice/docker-"), "{}", container.path);
    }

    #[test]
    fn what_cannot_be_resolved_says_why() {
        assert!(matches!(resolve(&host("v2"), 9), Err(ResolveError::Gone(9))));
        let error = resolve(&host("v2"), 62).unwrap_err().to_string();
        assert!(error.ends_with("62/cgroup names no cgroup; is proc mounted there?"), "{error}");
        let unreadable = resolve(&host("v2"), 63).unwrap_err().to_string();
        assert!(unreadable.contains("63/cgroup: ") && unreadable.contains("CAP_SYS_PTRACE"), "{unreadable}");
    }
}
