//! Which path a cgroup id stands for, also after the cgroup has gone.

use crate::heap;
use crate::sysroot::CgroupMount;
use crate::units::CgroupId;
use std::collections::{HashMap, HashSet, VecDeque};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Removed cgroups whose names are kept.
const REMOVED_MAX: usize = 16_384;
/// Depth of a walk, which is one of the stack too; a loop cannot happen in cgroupfs.
const DEPTH_MAX: usize = 1024;

/// Paths of cgroups by id, below the root of their hierarchy.
#[derive(Debug, Default)]
pub struct CgroupNames {
    paths: HashMap<CgroupId, Box<str>>,
    /// In the order in which they went.
    removed: VecDeque<CgroupId>,
    /// Those of them that were not made again since: version 1 gives a number to the next.
    absent: HashSet<CgroupId>,
    /// Made with a path that did not fit in its event.
    cut: Vec<CgroupId>,
}

impl CgroupNames {
    /// Walks a mounted hierarchy: the inode number of a directory is its id. A directory that vanishes meanwhile
    /// is no error. Returns the cgroups that it found.
    pub fn walk(&mut self, mount: &CgroupMount) -> HashSet<CgroupId> {
        let mut found = HashSet::new();
        let prefix = mount.root.trim_end_matches('/').to_owned();
        if let Ok(top) = fs::metadata(&mount.path) {
            let path = if prefix.is_empty() { "/" } else { prefix.as_str() };
            self.made(CgroupId(top.ino()), path);
            found.insert(CgroupId(top.ino()));
        }
        self.walk_below(&mount.path, &prefix, 0, &mut found);
        found
    }

    fn walk_below(&mut self, directory: &Path, path: &str, depth: usize, found: &mut HashSet<CgroupId>) {
        let Ok(entries) = fs::read_dir(directory) else { return };
        if depth > DEPTH_MAX {
            return;
        }
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            let below = format!("{path}/{}", entry.file_name().to_string_lossy());
            if let Ok(metadata) = entry.metadata() {
                self.made(CgroupId(metadata.ino()), &below);
                found.insert(CgroupId(metadata.ino()));
                self.walk_below(&entry.path(), &below, depth + 1, found);
            }
        }
    }

    /// Notes a cgroup's path.
    pub fn made(&mut self, cgroup: CgroupId, path: &str) {
        self.paths.insert(cgroup, path.into());
        self.absent.remove(&cgroup);
    }

    /// Notes a cgroup whose path was cut.
    pub fn cut(&mut self, cgroup: CgroupId) {
        self.cut.push(cgroup);
    }

    /// Finds those whose path was cut, where there are any; one that has gone since keeps no name.
    pub fn look_for_cut(&mut self, mount: &CgroupMount) {
        if !std::mem::take(&mut self.cut).is_empty() {
            self.walk(mount);
        }
    }

    /// Notes that a cgroup is gone; its name stays for a while.
    pub fn gone(&mut self, cgroup: CgroupId) {
        self.removed.push_back(cgroup);
        self.absent.insert(cgroup);
        if self.removed.len() > REMOVED_MAX
            && let Some(oldest) = self.removed.pop_front()
            && self.absent.remove(&oldest)
        {
            self.paths.remove(&oldest);
            heap::fit(&mut self.paths);
        }
    }

    /// Notes as gone all that are not there any more, for those who hear of no end.
    pub fn keep_only(&mut self, is_there: impl Fn(CgroupId) -> bool) {
        let Self { paths, absent, .. } = self;
        let gone = paths.keys().filter(|cgroup| !is_there(**cgroup) && !absent.contains(cgroup));
        for cgroup in gone.copied().collect::<Vec<_>>() {
            self.gone(cgroup);
        }
    }

    /// Whether it is one of the last that have gone.
    pub fn is_removed(&self, cgroup: CgroupId) -> bool {
        self.absent.contains(&cgroup)
    }

    /// The path, if it is known.
    pub fn path(&self, cgroup: CgroupId) -> Option<&str> {
        self.paths.get(&cgroup).map(AsRef::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_walked_and_names_outlive_their_cgroups_up_to_the_bound() {
        let top = tempfile::tempdir().unwrap();
        fs::create_dir_all(top.path().join("a/b")).unwrap();
        let mount = CgroupMount { path: top.path().to_owned(), v1: None, root: "/".into(), above: false };
        let mut names = CgroupNames::default();
        assert_eq!(names.walk(&mount).len(), 3);
        let b = CgroupId(fs::metadata(top.path().join("a/b")).unwrap().ino());
        assert_eq!(names.path(b), Some("/a/b"));
        assert!(!names.is_removed(b));
        names.gone(b);
        assert_eq!((names.path(b), names.is_removed(b)), (Some("/a/b"), true));
        let again = CgroupId(7);
        names.gone(again);
        names.made(again, "/again");
        for id in 0..REMOVED_MAX as u64 {
            names.made(CgroupId(u64::MAX - id), "/x");
            names.gone(CgroupId(u64::MAX - id));
        }
        assert_eq!((names.path(b), names.is_removed(b)), (None, false));
        assert_eq!((names.path(again), names.is_removed(again)), (Some("/again"), false), "it is there");
        assert!(names.absent.len() <= REMOVED_MAX);
    }

    #[test]
    fn who_hears_of_no_end_keeps_no_more_names_of_those_that_have_gone() {
        let top = tempfile::tempdir().unwrap();
        let mount = CgroupMount { path: top.path().to_owned(), v1: None, root: "/".into(), above: false };
        let mut names = CgroupNames::default();
        let stays = CgroupId(fs::metadata(top.path()).unwrap().ino());
        for round in 0..3 * REMOVED_MAX as u64 / 500 {
            let there: HashSet<_> = (0..500).map(|id| CgroupId(u64::MAX - 500 * round - id)).collect();
            for cgroup in &there {
                names.made(*cgroup, "/x");
            }
            names.walk(&mount);
            names.keep_only(|cgroup| cgroup == stays || there.contains(&cgroup));
            assert!(there.iter().all(|cgroup| !names.is_removed(*cgroup)), "they are there");
        }
        assert_eq!(names.paths.len(), REMOVED_MAX + 500 + 1);
        assert!(!names.is_removed(stays));
    }
}
