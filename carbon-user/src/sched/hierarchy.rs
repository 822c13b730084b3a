//! Which tree of cgroups is followed: cgroup2, or that of the cpuacct controller of version 1.
//!
//! Every task is in one cgroup of each hierarchy. Where cgroup2 is mounted it is followed, unless workloads are grouped
//! in cpuacct's tree alone, as on hybrid machines whose container runtime knows version 1 only.

use super::SchedError;
use crate::sysroot::{CgroupMount, SysRoot};
use std::fs;

/// The tree that is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HierarchyChoice {
    /// The one in which the workloads are.
    #[default]
    Auto,
    /// cgroup2.
    Cgroup2,
    /// That of the cpuacct controller, of version 1.
    Cpuacct,
}

/// The tree that is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hierarchy {
    /// Where it is mounted.
    pub(super) mount: CgroupMount,
    /// The kernel's id of it; 0 for cgroup2.
    pub(super) id: u64,
}

impl Hierarchy {
    /// Chooses among what is mounted.
    pub(super) fn choose(root: &SysRoot, choice: HierarchyChoice) -> Result<Self, SchedError> {
        let unread = |source| SchedError::Read {
            path: root.proc.join("self/mountinfo").display().to_string(),
            source,
        };
        let cgroup2 = root.cgroup2().map_err(unread)?.map(|mount| Self { mount, id: 0 });
        let cpuacct = Self::cpuacct(root).map_err(unread)?;
        match choice {
            HierarchyChoice::Cgroup2 => {
                cgroup2.ok_or(SchedError::NoSuch { what: "mounted cgroup2 hierarchy" })
            }
            HierarchyChoice::Cpuacct => {
                cpuacct.ok_or(SchedError::NoSuch { what: "mounted cpuacct hierarchy of version 1" })
            }
            HierarchyChoice::Auto => match (cgroup2, cpuacct) {
                (Some(cgroup2), Some(cpuacct)) if !cgroup2.has_children() && cpuacct.has_children() => {
                    Ok(cpuacct)
                }
                (Some(one), _) | (None, Some(one)) => Ok(one),
                (None, None) => Err(SchedError::NoSuch { what: "mounted cgroup hierarchy with CPU time" }),
            },
        }
    }

    fn cpuacct(root: &SysRoot) -> std::io::Result<Option<Self>> {
        let holds = |controllers: &str| controllers.split(',').any(|name| name == "cpuacct");
        let mounts = root.cgroup_mounts()?.into_iter();
        let mount = mounts
            .filter(|mount| mount.v1.as_deref().is_some_and(holds))
            .min_by_key(|mount| (!mount.is_whole(), mount.root.len()));
        let listed = root.read_proc("cgroups").unwrap_or_default();
        let id = listed.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("cpuacct")).then(|| words.next()?.parse::<u64>().ok())?
        });
        Ok(mount.zip(id.filter(|id| *id != 0)).map(|(mount, id)| Self { mount, id }))
    }

    fn has_children(&self) -> bool {
        let entries = fs::read_dir(&self.mount.path).into_iter().flatten().flatten();
        entries.into_iter().any(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
    }

    /// Whether it is cpuacct's, in which a cgroup's time holds that of those below it.
    pub(super) fn is_cpuacct(&self) -> bool {
        self.id != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(mounts: &[(&str, &str, bool)]) -> (tempfile::TempDir, SysRoot) {
        let directory = tempfile::tempdir().unwrap();
        let root = SysRoot { sys: directory.path().join("sys"), proc: directory.path().join("proc") };
        fs::create_dir_all(root.proc.join("self")).unwrap();
        let mut lines = Vec::new();
        for (name, kind, children) in mounts {
            let path = directory.path().join(name);
            fs::create_dir_all(if *children { path.join("child") } else { path.clone() }).unwrap();
            let options = if *kind == "cgroup" { "rw,cpu,cpuacct" } else { "rw" };
            lines.push(format!("30 1 0:30 / {} rw - {kind} {kind} {options}\n", path.display()));
        }
        fs::write(root.proc.join("self/mountinfo"), lines.concat()).unwrap();
        fs::write(root.proc.join("cgroups"), "#subsys_name hierarchy\ncpu 4 1 1\ncpuacct 4 1 1\n").unwrap();
        (directory, root)
    }

    fn chosen(mounts: &[(&str, &str, bool)], choice: HierarchyChoice) -> Option<u64> {
        let (_directory, root) = machine(mounts);
        Hierarchy::choose(&root, choice).ok().map(|hierarchy| hierarchy.id)
    }

    #[test]
    fn the_tree_with_the_workloads_is_followed() {
        let (two, one) = (("two", "cgroup2", true), ("one", "cgroup", true));
        let (two_bare, one_bare) = (("two", "cgroup2", false), ("one", "cgroup", false));
        assert_eq!(chosen(&[two, one], HierarchyChoice::Auto), Some(0));
        assert_eq!(chosen(&[two_bare, one], HierarchyChoice::Auto), Some(4));
        assert_eq!(chosen(&[two_bare, one_bare], HierarchyChoice::Auto), Some(0));
        assert_eq!(chosen(&[one_bare], HierarchyChoice::Auto), Some(4));
        assert_eq!(chosen(&[], HierarchyChoice::Auto), None);
        assert_eq!(chosen(&[two, one], HierarchyChoice::Cpuacct), Some(4));
        assert_eq!(chosen(&[two], HierarchyChoice::Cpuacct), None);
        assert_eq!(chosen(&[one], HierarchyChoice::Cgroup2), None);
    }
}
