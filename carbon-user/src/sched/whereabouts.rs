//! In which cgroup a process is now, for what knows processes by their number alone.

use super::SchedError;
use super::cgroup_tree::path_in;
use super::hierarchy::{Hierarchy, HierarchyChoice};
use crate::sysroot::SysRoot;
use crate::units::CgroupId;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Inode number of the first process-id namespace (kernel, `include/uapi/linux/nsfs.h`).
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Whether processes have the numbers here that they have in the kernel.
pub(super) fn sees_kernel_numbers(root: &SysRoot) -> bool {
    let namespace = fs::read_link(root.proc.join("self/ns/pid"));
    namespace.map_or(true, |link| link.as_os_str() == INITIAL_PID_NAMESPACE)
}

/// Where processes are looked up.
#[derive(Clone, Debug)]
pub struct Whereabouts {
    proc: PathBuf,
    mount: PathBuf,
    /// The part of the hierarchy that is mounted there.
    top: String,
    cpuacct: bool,
}

impl Whereabouts {
    /// The tree of cgroups that is followed, seen from here.
    ///
    /// # Errors
    /// In words, where numbers that a driver gives to processes mean nothing here, or no tree is mounted.
    pub fn open(root: &SysRoot) -> Result<Self, String> {
        if !sees_kernel_numbers(root) {
            let advice = "start the container with the host's pid namespace";
            return Err(format!(
                "carbon is in a pid namespace of its own, where processes have other numbers; {advice}"
            ));
        }
        Self::here(root, HierarchyChoice::Auto).map_err(|error| error.to_string())
    }

    /// The same of a chosen tree, for processes that are known by the number that they have here.
    ///
    /// # Errors
    /// Where the tree is not mounted.
    pub fn here(root: &SysRoot, choice: HierarchyChoice) -> Result<Self, SchedError> {
        let hierarchy = Hierarchy::choose(root, choice)?;
        let cpuacct = hierarchy.is_cpuacct();
        let top = hierarchy.mount.root.trim_matches('/').to_owned();
        Ok(Self { proc: root.proc.clone(), mount: hierarchy.mount.path, top, cpuacct })
    }

    /// The cgroup of a process; `None` where it has gone, or is outside of what is mounted here.
    pub fn of(&self, pid: u32) -> Option<CgroupId> {
        let bytes = fs::read(self.proc.join(pid.to_string()).join("cgroup")).ok()?;
        let path = path_in(&String::from_utf8_lossy(&bytes), self.cpuacct)?;
        let below = path.strip_prefix(&self.top)?.trim_start_matches('/');
        Some(CgroupId(fs::metadata(self.mount.join(below)).ok()?.ino()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_of_its_own_is_told_from_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let root = SysRoot { proc: folder.path().into(), ..SysRoot::default() };
        let link = folder.path().join("self/ns/pid");
        fs::create_dir_all(folder.path().join("self/ns")).unwrap();
        assert!(sees_kernel_numbers(&root), "a kernel without namespaces has one numbering");
        std::os::unix::fs::symlink(INITIAL_PID_NAMESPACE, &link).unwrap();
        assert!(sees_kernel_numbers(&root));
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink("pid:[4026532201]", &link).unwrap();
        assert!(!sees_kernel_numbers(&root));
    }

    #[test]
    fn this_process_is_found_and_one_that_is_not_there_is_not() {
        let root = SysRoot::default();
        let whereabouts = match Whereabouts::open(&root) {
            Ok(whereabouts) => whereabouts,
            Err(why) => return println!("SKIPPED: {why}"),
        };
        let found = whereabouts.of(std::process::id());
        assert!(found.is_some_and(|cgroup| cgroup.0 > 0));
        assert_eq!(whereabouts.of(u32::MAX), None);
        let elsewhere = Whereabouts { top: "not/mounted/here".into(), ..whereabouts };
        assert_eq!(elsewhere.of(std::process::id()), None);
    }
}
