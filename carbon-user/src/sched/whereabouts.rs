//! In which cgroup a process is now, for what knows processes by their number alone.

use super::cgroup_tree::path_in;
use super::hierarchy::{Hierarchy, HierarchyChoice};
use crate::sysroot::{CgroupMount, SysRoot};
use crate::units::CgroupId;
use std::fs;
use std::os::unix::fs::{DirEntryExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// Inode number of the first process-id namespace (kernel, `include/uapi/linux/nsfs.h`).
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Files and directories that are looked through for the own one: a cgroup has some fifty.
const LOOKED_MAX: usize = 1_000_000;

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
    /// Where in the tree this process's namespace of cgroups begins.
    namespace: String,
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
        Self::in_tree(root, HierarchyChoice::Auto)
    }

    /// The same for processes of whom this process has the numbers itself.
    ///
    /// # Errors
    /// In words, where no tree is mounted.
    pub fn in_tree(root: &SysRoot, choice: HierarchyChoice) -> Result<Self, String> {
        let hierarchy = Hierarchy::choose(root, choice).map_err(|error| error.to_string())?;
        let cpuacct = hierarchy.is_cpuacct();
        let top = hierarchy.mount.root.trim_matches('/').to_owned();
        let (proc, mount) = (root.proc.clone(), hierarchy.mount.path);
        let mut this = Self { proc, mount, top, cpuacct, namespace: String::new() };
        if hierarchy.mount.above
            && let Some(own) = this.own(root).and_then(|own| found(&this.mount, own))
            && let Some(begin) = own.strip_suffix(&this.path("self").unwrap_or_default())
        {
            begin.trim_end_matches('/').clone_into(&mut this.namespace);
        }
        Ok(this)
    }

    fn path(&self, pid: &str) -> Option<String> {
        let bytes = fs::read(self.proc.join(pid).join("cgroup")).ok()?;
        path_in(&String::from_utf8_lossy(&bytes), self.cpuacct)
    }

    /// The path of a process's cgroup in the whole tree, as accounting by that tree names it. `None` where it has gone.
    pub fn path_of(&self, pid: u32) -> Option<String> {
        absolute(&self.namespace, &self.path(&pid.to_string())?)
    }

    /// This process's own cgroup. In a namespace of cgroups, as in a container, its path is that below the container's, which
    /// only a mount of the same part of the tree tells.
    pub fn own(&self, root: &SysRoot) -> Option<CgroupId> {
        let path = self.path("self")?;
        let is_of_tree = |mount: &CgroupMount| match &mount.v1 {
            None => !self.cpuacct,
            Some(names) => self.cpuacct && names.split(',').any(|name| name == "cpuacct"),
        };
        root.cgroup_mounts().ok()?.iter().filter(|mount| is_of_tree(mount) && !mount.above).find_map(
            |mount| {
                let below = below(&path, mount.root.trim_matches('/'))?;
                Some(CgroupId(fs::metadata(mount.path.join(below)).ok()?.ino()))
            },
        )
    }

    /// The cgroup of a process; `None` where it has gone, or is outside of what is mounted here.
    pub fn of(&self, pid: u32) -> Option<CgroupId> {
        let path = self.path_of(pid)?;
        let below = below(path.trim_start_matches('/'), &self.top)?;
        Some(CgroupId(fs::metadata(self.mount.join(below)).ok()?.ino()))
    }
}

/// The path of a directory below `top`, by its inode number; `None` where there is none among the first so many.
fn found(top: &Path, own: CgroupId) -> Option<String> {
    let (mut folders, mut looked) = (vec![(top.to_owned(), String::new())], 0);
    while let Some((folder, path)) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            looked += 1;
            if looked > LOOKED_MAX {
                return None;
            }
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let name = format!("{path}{}", entry.file_name().to_string_lossy());
            if entry.ino() == own.0 {
                return Some(name);
            }
            folders.push((entry.path(), name + "/"));
        }
    }
    None
}

/// What is left of a path below a part of the tree.
fn below<'p>(path: &'p str, top: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(top)?;
    // A path has its slash where the part's name ends.
    (top.is_empty() || rest.is_empty() || rest.starts_with('/')).then(|| rest.trim_start_matches('/'))
}

/// A path that is told from below `namespace`: outside of it, it begins with as many `..` as lead to where both ways part
/// (`kernfs_path_from_node`, fs/kernfs/dir.c).
fn absolute(namespace: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = namespace.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        if part == ".." {
            parts.pop()?;
        } else {
            parts.push(part);
        }
    }
    Some(format!("/{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_of_the_whole_tree_whichever_namespace_tells_them() {
        let of = |path: &str| absolute("kubepods.slice/pod1.slice/cri-a.scope", path);
        assert_eq!(of("").as_deref(), Some("/kubepods.slice/pod1.slice/cri-a.scope"));
        assert_eq!(of("sub").as_deref(), Some("/kubepods.slice/pod1.slice/cri-a.scope/sub"));
        assert_eq!(of("../cri-b.scope").as_deref(), Some("/kubepods.slice/pod1.slice/cri-b.scope"));
        assert_eq!(
            of("../../pod2.slice/cri-c.scope").as_deref(),
            Some("/kubepods.slice/pod2.slice/cri-c.scope")
        );
        assert_eq!(of("../../../system.slice/sshd.service").as_deref(), Some("/system.slice/sshd.service"));
        assert_eq!(of("../../../..").as_deref(), None);
        assert_eq!(absolute("", "").as_deref(), Some("/"));
        assert_eq!(absolute("", "user.slice/a").as_deref(), Some("/user.slice/a"));
    }

    /// A hybrid host's lines name another cgroup in the hierarchies that are not followed.
    #[test]
    fn the_own_cgroup_is_that_of_the_tree_that_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (proc, tree) = (folder.path().join("proc"), folder.path().join("two"));
        for path in [proc.join("self"), tree.join("a/agent"), tree.join("b")] {
            fs::create_dir_all(path).unwrap();
        }
        let root = SysRoot { proc: proc.clone(), sys: folder.path().join("sys") };
        let mounts = |lines: &[(&str, &Path)]| {
            let line = |(root, path): &(&str, &Path)| {
                format!("30 1 0:30 {root} {} rw - cgroup2 cgroup2 rw\n", path.display())
            };
            fs::write(proc.join("self/mountinfo"), lines.iter().map(line).collect::<String>()).unwrap();
        };
        let id = |path: &Path| CgroupId(fs::metadata(path).unwrap().ino());
        let whereabouts = || Whereabouts::in_tree(&root, HierarchyChoice::Cgroup2).unwrap();

        mounts(&[("/", &tree)]);
        fs::write(proc.join("self/cgroup"), "4:memory:/b\n0::/a/agent\n").unwrap();
        assert_eq!(whereabouts().own(&root), Some(id(&tree.join("a/agent"))));
        // In a namespace the machine's tree is above, and only the own part is known by its mount.
        fs::write(proc.join("self/cgroup"), "4:memory:/b\n0::/\n").unwrap();
        mounts(&[("/../..", &tree)]);
        assert_eq!(whereabouts().own(&root), None);
        mounts(&[("/../..", &tree), ("/", &tree.join("a/agent"))]);
        assert_eq!(whereabouts().own(&root), Some(id(&tree.join("a/agent"))));
        fs::create_dir_all(proc.join("7")).unwrap();
        for (told, path) in [("/../../b", "/b"), ("/..", "/a"), ("/", "/a/agent")] {
            fs::write(proc.join("7/cgroup"), format!("0::{told}\n")).unwrap();
            assert_eq!(whereabouts().path_of(7).as_deref(), Some(path));
            assert_eq!(whereabouts().of(7), Some(id(&tree.join(&path[1..]))), "{path}");
        }
    }

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
