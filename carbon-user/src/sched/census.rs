//! Which cgroups have processes, what CPU they asked for and what memory is charged to them: read from the files of the
//! cgroups, only where a policy for static energy needs it, and as often as that pays for itself: what was seen is kept
//! until then, without cgroups that were removed since.
//!
//! What was asked for is taken from `cpu.weight` (`cpu.shares` in version 1): of a cgroup's part, those of its children
//! that have processes in or below them have theirs in proportion to their weights, as the scheduler would share the CPUs
//! if all wanted them (Linux, Documentation/admin-guide/cgroup-v2.rst, "Weights"). Processes beside such children count
//! as one more child of default weight. The root's own tasks have no weight, and so ask for nothing.

use super::SchedError;
use super::hierarchy::{Hierarchy, HierarchyChoice};
use super::pace::Pace;
use crate::claims::{Claim, Claims, RequestSource};
use crate::clock;
use crate::sysroot::SysRoot;
use crate::units::CgroupId;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// Cgroups kept apart; the rest is summed.
const ROWS_MAX: usize = 16_384;
/// Depth of a walk, which is one of the stack too; a loop cannot happen in cgroupfs.
const DEPTH_MAX: usize = 1024;
/// The whole machine, of which cgroups have parts.
const WHOLE: u64 = 1 << 40;
/// Weight of a cgroup for which none was set, in each version, and the file that has it.
const WEIGHTS: [(&str, u64); 2] = [("cpu.weight", 100), ("cpu.shares", 1024)];

/// Looks at all cgroups of the hierarchy that is followed.
#[derive(Debug)]
pub struct Census {
    top: PathBuf,
    version_1: bool,
    pace: Pace,
    kept: Rc<Claims>,
    /// Cgroups that had come when it last looked.
    arrivals: u64,
}

#[derive(Debug)]
struct Node {
    cgroup: CgroupId,
    /// A process is in it.
    alive: bool,
    /// A process is in it or below.
    populated: bool,
    weight: u64,
    /// With those below.
    memory: Option<u64>,
    below: Vec<usize>,
}

impl Census {
    /// Of the hierarchy that accounting with this choice follows.
    ///
    /// # Errors
    /// Where no hierarchy is mounted.
    pub fn open(root: &SysRoot, hierarchy: HierarchyChoice) -> Result<Self, SchedError> {
        let hierarchy = Hierarchy::choose(root, hierarchy)?;
        Ok(Self::of(hierarchy.mount.path.clone(), hierarchy.is_cpuacct()))
    }

    fn of(top: PathBuf, version_1: bool) -> Self {
        Self { top, version_1, pace: Pace::default(), kept: Rc::default(), arrivals: 0 }
    }

    /// What is there: as of now where a look is due, sooner where more cgroups have come (`arrivals`) than at the last look, else as
    /// of the last look, without what `is_removed` since.
    pub fn look(&mut self, arrivals: u64, is_removed: &dyn Fn(CgroupId) -> bool) -> Rc<Claims> {
        let now = Duration::from_nanos(clock::monotonic_ns());
        if self.pace.is_due(now, arrivals != self.arrivals) {
            let begun_ns = clock::thread_cpu_ns();
            self.arrivals = arrivals;
            self.kept = Rc::new(self.read());
            self.pace.looked(now, Duration::from_nanos(clock::thread_cpu_ns().saturating_sub(begun_ns)));
        } else if self.kept.rows().any(|(cgroup, _)| is_removed(cgroup)) {
            self.kept = Rc::new(self.kept.without(is_removed));
        }
        Rc::clone(&self.kept)
    }

    /// What is there now. A cgroup that vanishes meanwhile is left out.
    fn read(&self) -> Claims {
        let mut nodes = Vec::new();
        let mut weighted = false;
        let top = self.walk(&self.top, 0, &mut nodes, &mut weighted);
        let mut claims = Claims::default();
        claims.requests = weighted.then_some(RequestSource::CpuWeight);
        let mut waiting: Vec<(usize, u64)> = top.into_iter().map(|top| (top, WHOLE)).collect();
        while let Some((place, part)) = waiting.pop() {
            let Some(node) = nodes.get(place) else { continue };
            let below = || node.below.iter().filter_map(|below| Some((*below, nodes.get(*below)?)));
            let asking = || below().filter(|(_, child)| child.populated);
            let is_top = Some(place) == top;
            let own_weight = if node.alive && !is_top { self.default_weight() } else { 0 };
            let weights: u64 =
                asking().fold(own_weight, |sum, (_, child)| sum.saturating_add(child.weight)).max(1);
            let part_of = |weight: u64| {
                u64::try_from(u128::from(part) * u128::from(weight) / u128::from(weights)).unwrap_or(part)
            };
            let others: u64 = below().filter_map(|(_, child)| child.memory).fold(0, u64::saturating_add);
            let claim = Claim {
                // In the root there are threads of the kernel, which are there whether they ran or not.
                alive: u64::from(node.alive && !is_top),
                requested: (weighted && node.alive && !is_top).then(|| part_of(own_weight)),
                // Each file is read a moment after the other.
                resident_bytes: node.memory.map(|memory| memory.saturating_sub(others)),
            };
            if claim.alive > 0 || claim.resident_bytes.is_some_and(|bytes| bytes > 0) {
                claims.add(node.cgroup, claim, ROWS_MAX);
            }
            waiting.extend(asking().map(|(place, child)| (place, part_of(child.weight))));
            waiting.extend(below().filter(|(_, child)| !child.populated).map(|(place, _)| (place, 0)));
        }
        claims
    }

    fn default_weight(&self) -> u64 {
        WEIGHTS.get(usize::from(self.version_1)).map_or(1, |(_, weight)| *weight)
    }

    /// Reads a directory and those below it. Where the controller is not on for a cgroup, it has the default weight, as it
    /// would have if nobody had set one.
    fn walk(
        &self,
        directory: &Path,
        depth: usize,
        nodes: &mut Vec<Node>,
        weighted: &mut bool,
    ) -> Option<usize> {
        let cgroup = CgroupId(fs::metadata(directory).ok()?.ino());
        let mut below = Vec::new();
        if depth < DEPTH_MAX {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    below.extend(self.walk(&entry.path(), depth + 1, nodes, weighted));
                }
            }
        }
        let (file, default) = WEIGHTS.get(usize::from(self.version_1)).copied()?;
        let weight = number(&directory.join(file)).filter(|_| depth > 0);
        *weighted |= weight.is_some();
        let alive = has_processes(directory);
        let populated =
            alive || below.iter().any(|child| nodes.get(*child).is_some_and(|child| child.populated));
        let memory = number(&directory.join("memory.current"));
        nodes.push(Node { cgroup, alive, populated, weight: weight.unwrap_or(default), memory, below });
        Some(nodes.len() - 1)
    }
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The first byte tells. A cgroup in a threaded tree lists threads only.
fn has_processes(directory: &Path) -> bool {
    let holds = |file: &str| -> Option<bool> {
        let read = File::open(directory.join(file)).and_then(|mut file| file.read(&mut [0]));
        read.ok().map(|bytes| bytes > 0)
    };
    holds("cgroup.procs").or_else(|| holds("cgroup.threads")).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Tree(tempfile::TempDir);

    impl Tree {
        /// Path, whether it has a process, weight, memory with those below.
        fn new(cgroups: &[(&str, bool, Option<u64>, Option<u64>)], weight_file: &str) -> Self {
            let this = Self(tempfile::tempdir().unwrap());
            for (path, alive, weight, memory) in cgroups {
                let directory = this.0.path().join(path);
                fs::create_dir_all(&directory).unwrap();
                fs::write(directory.join("cgroup.procs"), if *alive { "12\n" } else { "" }).unwrap();
                if let Some(weight) = weight {
                    fs::write(directory.join(weight_file), format!("{weight}\n")).unwrap();
                }
                if let Some(memory) = memory {
                    fs::write(directory.join("memory.current"), format!("{memory}\n")).unwrap();
                }
            }
            this
        }

        fn claims(&self, version_1: bool) -> Claims {
            Census::of(self.0.path().to_owned(), version_1).read()
        }

        fn of(&self, claims: &Claims, path: &str) -> Option<Claim> {
            let ino = fs::metadata(self.0.path().join(path)).unwrap().ino();
            claims.rows().find(|(cgroup, _)| cgroup.0 == ino).map(|(_, claim)| *claim)
        }
    }

    fn parts(claims: &Claims, tree: &Tree, paths: &[&str]) -> Vec<u64> {
        let part = |path: &&str| tree.of(claims, path).unwrap().requested.unwrap();
        paths.iter().map(part).map(|part| part * 1000 / WHOLE).collect()
    }

    #[test]
    fn a_weight_is_a_part_of_the_parents_part() {
        let tree = Tree::new(
            &[
                ("", true, None, None),
                ("pods", false, Some(300), Some(900)),
                ("pods/a", true, Some(20), Some(500)),
                ("pods/b", true, Some(60), Some(300)),
                ("pods/empty", false, Some(10_000), Some(7)),
                ("system", false, Some(100), Some(100)),
                ("system/one", true, None, None),
            ],
            "cpu.weight",
        );
        let claims = tree.claims(false);
        assert_eq!(parts(&claims, &tree, &["pods/a", "pods/b", "system/one"]), [187, 562, 250]);
        assert_eq!(claims.requests, Some(RequestSource::CpuWeight));
        assert_eq!(tree.of(&claims, ""), None, "the root has no weight, and kernel threads");
        let memory = |path| tree.of(&claims, path).unwrap().resident_bytes;
        assert_eq!(memory("pods"), Some(93), "its own, without those below");
        assert_eq!((memory("pods/a"), memory("pods/empty")), (Some(500), Some(7)));
        assert_eq!(memory("system/one"), None, "unknown is not nothing");
        assert_eq!(tree.of(&claims, "pods").unwrap().alive, 0);
    }

    #[test]
    fn what_was_seen_is_kept_until_the_next_look_but_for_what_has_gone() {
        let cgroups = [("", false, None, None), ("a", true, Some(100), None), ("b", true, Some(100), None)];
        let tree = Tree::new(&cgroups, "cpu.weight");
        let ino = |path: &str| CgroupId(fs::metadata(tree.0.path().join(path)).unwrap().ino());
        let mut census = Census::of(tree.0.path().to_owned(), false);
        let nobody = |_| false;
        let seen = census.look(0, &nobody);
        assert_eq!(seen.rows().count(), 2);
        // As dear a look as there can be: none is due before a minute is over.
        census.pace.looked(Duration::from_nanos(clock::monotonic_ns()), Duration::from_hours(1));
        let (a, b) = (ino("a"), ino("b"));
        fs::remove_dir_all(tree.0.path().join("b")).unwrap();
        assert!(Rc::ptr_eq(&census.look(0, &nobody), &seen), "no look, and nothing is copied");
        let rows: Vec<_> = census.look(0, &|cgroup| cgroup == b).rows().map(|(cgroup, _)| cgroup).collect();
        assert_eq!(rows, [a]);
        assert_eq!(
            census.look(0, &nobody).rows().count(),
            1,
            "it does not come back when its name is forgotten"
        );
        fs::create_dir(tree.0.path().join("c")).unwrap();
        fs::write(tree.0.path().join("c/cgroup.procs"), "7\n").unwrap();
        assert_eq!(census.look(0, &nobody).rows().count(), 1, "nobody saw it come");
        // Its own cost is as it is on this machine, and the one before is paid for by now.
        census.pace = Pace::default();
        census.pace.looked(Duration::from_nanos(clock::monotonic_ns()), Duration::from_hours(1));
        assert_eq!(census.look(1, &|cgroup| cgroup == a).rows().count(), 2, "what is seen now is there");
    }

    #[test]
    fn processes_beside_children_count_as_one_child() {
        let cgroups =
            [("", false, None, None), ("a", true, Some(2048), None), ("a/b", true, Some(3072), None)];
        let tree = Tree::new(&cgroups, "cpu.shares");
        assert_eq!(parts(&tree.claims(true), &tree, &["a", "a/b"]), [250, 750]);
    }

    #[test]
    fn without_the_controller_nobody_asked() {
        let tree = Tree::new(&[("", false, None, None), ("a", true, None, None)], "cpu.weight");
        let claims = tree.claims(false);
        assert_eq!(claims.requests, None);
        assert_eq!(tree.of(&claims, "a"), Some(Claim { alive: 1, ..Claim::default() }));
    }
}
