//! The one place that knows where `/proc`, `/sys` and the cgroup mounts are.
//!
//! Both roots can be set, for tests on fixture trees and for a container that mounts the host's.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where the kernel's file systems are mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SysRoot {
    /// Usually `/sys`.
    pub sys: PathBuf,
    /// Usually `/proc`.
    pub proc: PathBuf,
}

impl Default for SysRoot {
    fn default() -> Self {
        Self { sys: "/sys".into(), proc: "/proc".into() }
    }
}

/// One mounted cgroup hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupMount {
    /// Where it is mounted.
    pub path: PathBuf,
    /// `None` for cgroup2, else the controllers and names of the v1 hierarchy, such as `cpu,cpuacct`.
    pub v1: Option<String>,
    /// The directory of the hierarchy that is mounted here: `/` unless a private namespace or a bind mount
    /// shows only a part.
    pub root: String,
    /// Whether its top is above this process's namespace of cgroups, as that of the host's mount in a container: paths that are told
    /// from the namespace are not paths of this mount then.
    pub above: bool,
}

impl CgroupMount {
    /// Whether its top is that of the hierarchy, and not of a part that a bind mount or a private namespace shows: the
    /// top of a hierarchy has the first inode number (`kernfs_create_root`, fs/kernfs/dir.c).
    pub fn is_whole(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|top| top.ino() == 1)
    }
}

/// How a machine mounts its cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupLayout {
    /// cgroup2 only.
    V2,
    /// cgroup2 beside v1 hierarchies.
    Hybrid,
    /// v1 hierarchies only.
    V1,
    /// Nothing mounted.
    None,
}

impl SysRoot {
    /// Reads a file below the sysfs root, without its trailing white space.
    pub fn read_sys(&self, relative: impl AsRef<Path>) -> io::Result<String> {
        read_trimmed(&self.sys.join(relative))
    }

    /// Reads a file below the procfs root, without its trailing white space.
    pub fn read_proc(&self, relative: impl AsRef<Path>) -> io::Result<String> {
        read_trimmed(&self.proc.join(relative))
    }

    /// The cgroup hierarchies that this process sees, from `self/mountinfo` (proc(5)); later mounts over the
    /// same directory win.
    pub fn cgroup_mounts(&self) -> io::Result<Vec<CgroupMount>> {
        Ok(parse_cgroup_mounts(&self.read_proc("self/mountinfo")?))
    }

    /// The cgroup2 mount that shows the most of the hierarchy, if any. In a private cgroup namespace a mount of its own
    /// has the root `/` too, and the machine's has one like `/../..`: the directory itself tells.
    pub fn cgroup2(&self) -> io::Result<Option<CgroupMount>> {
        let mut mounts: Vec<_> =
            self.cgroup_mounts()?.into_iter().filter(|mount| mount.v1.is_none()).collect();
        mounts.sort_by_key(|mount| (!mount.is_whole(), mount.root.len()));
        Ok(mounts.into_iter().next())
    }

    /// Whether the sysfs root is the tree of a virtual machine, which an agent on its host fills
    /// (`carbon agent --share-with-vms`): a zone of the kernel has no interval of updates.
    pub fn is_share(&self) -> bool {
        self.sys.join("class/powercap/intel-rapl:0/update_interval_us").exists()
    }

    /// Numbers of the CPUs that are online.
    pub fn online_cpus(&self) -> io::Result<Vec<u32>> {
        self.cpu_list("devices/system/cpu/online")
    }

    /// Numbers of the CPUs that a file below the sysfs root lists.
    pub fn cpu_list(&self, relative: impl AsRef<Path>) -> io::Result<Vec<u32>> {
        parse_cpu_list(&self.read_sys(relative)?)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a list of CPUs"))
    }

    /// CPUs without a regular tick, which are not to be disturbed (`nohz_full=`).
    pub fn tickless_cpus(&self) -> Vec<u32> {
        let text = self.read_sys("devices/system/cpu/nohz_full").unwrap_or_default();
        parse_cpu_list(&text).unwrap_or_default()
    }

    /// The id that machine-id(5) gives this installation. That of the host where procfs is the host's and names its first
    /// process's root; else what is at /etc.
    pub fn machine_id(&self) -> Option<String> {
        let of_host = read_trimmed(&self.proc.join("1").join("root").join("etc/machine-id"));
        let id = of_host.or_else(|_| read_trimmed(Path::new("/etc/machine-id"))).ok()?;
        (!id.is_empty()).then_some(id)
    }

    /// Number of CPUs that could ever come online: the width of per-CPU data.
    pub fn possible_cpus(&self) -> io::Result<u32> {
        parse_cpu_list(&self.read_sys("devices/system/cpu/possible")?)
            .and_then(|cpus| cpus.last().map(|last| last.saturating_add(1)))
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a list of CPUs"))
    }
}

/// What kinds of hierarchy `mounts` holds.
pub fn cgroup_layout(mounts: &[CgroupMount]) -> CgroupLayout {
    match (mounts.iter().any(|mount| mount.v1.is_none()), mounts.iter().any(|mount| mount.v1.is_some())) {
        (true, false) => CgroupLayout::V2,
        (true, true) => CgroupLayout::Hybrid,
        (false, true) => CgroupLayout::V1,
        (false, false) => CgroupLayout::None,
    }
}

fn read_trimmed(path: &Path) -> io::Result<String> {
    // Names in these files are given by users, in any bytes.
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

/// Lines of mountinfo: `id parent major:minor root mount-point options [optional...] - type source super-options`.
fn parse_cgroup_mounts(mountinfo: &str) -> Vec<CgroupMount> {
    let mut mounts: Vec<CgroupMount> = Vec::new();
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let mut left = left.split(' ').skip(3);
        let (Some(root), Some(path)) = (left.next(), left.next()) else { continue };
        let mut right = right.split(' ');
        let (Some(kind), Some(options)) = (right.next(), right.nth(1)) else { continue };
        let path = PathBuf::from(unescape_mount(path));
        mounts.retain(|mount| mount.path != path);
        let v1 = match kind {
            "cgroup2" => None,
            "cgroup" => Some(
                options
                    .split(',')
                    .filter(|option| {
                        !matches!(*option, "rw" | "ro" | "xattr" | "clone_children" | "noprefix")
                    })
                    .collect::<Vec<_>>()
                    .join(","),
            ),
            _ => continue,
        };
        // What lies above the reader's namespace has no other name than its height; what is below it is told from there.
        let above = root.split('/').skip(1).all(|name| name == "..");
        let (root, above) = if above { ("/".to_owned(), root != "/") } else { (unescape_mount(root), false) };
        mounts.push(CgroupMount { path, v1, root, above });
    }
    mounts
}

/// mountinfo writes space, tab, newline and backslash as three octal digits.
fn unescape_mount(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

/// The kernel's list format: `0-3,8,10-11`.
fn parse_cpu_list(text: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last > 65_535 {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists_are_read() {
        assert_eq!(parse_cpu_list("0-2,5\n"), Some(vec![0, 1, 2, 5]));
        assert_eq!(parse_cpu_list("0"), Some(vec![0]));
        assert_eq!(parse_cpu_list("3-1"), None);
        assert_eq!(parse_cpu_list("0-4000000000"), None);
        assert_eq!(parse_cpu_list("x"), None);
    }

    #[test]
    fn a_hybrid_machine_is_recognised() {
        let mounts = parse_cgroup_mounts(
            "33 31 0:30 / /sys/fs/cgroup/cpu\\040x rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n\
             22 27 0:21 / /proc rw,relatime - proc proc rw\n",
        );
        assert_eq!(cgroup_layout(&mounts), CgroupLayout::Hybrid);
        assert_eq!(mounts[0].path, Path::new("/sys/fs/cgroup/cpu x"));
        assert_eq!(mounts[0].v1.as_deref(), Some("cpu,cpuacct"));
        assert_eq!(mounts[1].v1, None);
        assert_eq!(cgroup_layout(&[]), CgroupLayout::None);
    }

    #[test]
    fn what_is_above_a_private_namespace_is_a_top() {
        let roots = |root: &str| {
            let mounts = parse_cgroup_mounts(&format!("1 0 0:1 {root} /c rw - cgroup2 c rw\n"));
            mounts[0].root.clone()
        };
        assert_eq!(["/../..", "/..", "/", "/a/..b"].map(roots), ["/", "/", "/", "/a/..b"]);
    }

    #[test]
    fn a_later_mount_hides_an_earlier_one() {
        let mounts =
            parse_cgroup_mounts("1 0 0:1 / /c rw - cgroup c rw,cpu\n2 0 0:2 /a /c rw - cgroup2 c rw\n");
        assert_eq!(mounts.len(), 1);
        assert_eq!((mounts[0].v1.as_deref(), mounts[0].root.as_str()), (None, "/a"));
    }
}
