//! Whose a process is, read from `/proc`: where a host has several hierarchies, one path alone can name the wrong
//! workload, as that of a container in cgroup2 can be its daemon's.
//!
//! One small file is read for each process that is asked for; a caller asks once for each cgroup, and not in the loop
//! that measures.

use crate::sysroot::SysRoot;
use crate::workload::Identity;
use crate::workload::lines::{Hierarchy, choose};
use std::io;

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
