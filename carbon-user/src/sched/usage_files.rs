//! The cgroups' `cpu.stat` files, or `cpuacct.usage` in version 1: CPU time of each with that of those below it.

use super::hierarchy::Hierarchy;
use super::{HierarchyChoice, SchedError};
use crate::sysroot::{CgroupMount, SysRoot};
use crate::units::CgroupId;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A cgroup as its file has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileUsage {
    pub(super) usec: u64,
    pub(super) parent: Option<CgroupId>,
}

/// The files of a hierarchy. Nothing is kept from one reading to the next.
#[derive(Clone, Debug)]
pub struct UsageFiles {
    mount: CgroupMount,
}

impl UsageFiles {
    /// Finds the hierarchy. That it has no such files is an error.
    pub fn find(root: &SysRoot, hierarchy: HierarchyChoice) -> Result<Self, SchedError> {
        let mount = Hierarchy::choose(root, hierarchy)?.mount;
        usage_usec(&mount.path).map_err(|source| cannot_read(&mount, source))?;
        Ok(Self { mount })
    }

    /// Where it is mounted.
    pub(super) fn mount(&self) -> &CgroupMount {
        &self.mount
    }

    /// Time of every cgroup in microseconds since it was made, for [`CpuStat::since`](super::CpuStat::since).
    pub fn totals(&self) -> Result<Vec<(CgroupId, u64)>, SchedError> {
        Ok(self.read(|_, _| ())?.into_iter().map(|(cgroup, file)| (cgroup, file.usec)).collect())
    }

    /// Reads all files; `name` is told the path of each cgroup.
    pub(super) fn read(
        &self,
        mut name: impl FnMut(CgroupId, &str),
    ) -> Result<HashMap<CgroupId, FileUsage>, SchedError> {
        let mut files = HashMap::new();
        let prefix = self.mount.root.trim_end_matches('/');
        read_below(&self.mount.path, prefix, None, &mut name, &mut files);
        if files.is_empty() {
            return Err(cannot_read(&self.mount, io::Error::from(io::ErrorKind::NotFound)));
        }
        Ok(files)
    }
}

fn cannot_read(mount: &CgroupMount, source: io::Error) -> SchedError {
    SchedError::Read { path: mount.path.join("cpu.stat").display().to_string(), source }
}

/// Reads a directory and those below it. One that vanishes meanwhile is no error: its time is in its parent.
fn read_below(
    directory: &Path,
    path: &str,
    parent: Option<CgroupId>,
    name: &mut impl FnMut(CgroupId, &str),
    files: &mut HashMap<CgroupId, FileUsage>,
) {
    let Ok(metadata) = fs::metadata(directory) else { return };
    let cgroup = CgroupId(metadata.ino());
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let child = format!("{path}/{}", entry.file_name().to_string_lossy());
            read_below(&entry.path(), &child, Some(cgroup), name, files);
        }
    }
    if let Ok(usec) = usage_usec(directory) {
        name(cgroup, if path.is_empty() { "/" } else { path });
        files.insert(cgroup, FileUsage { usec, parent });
    }
}

/// Time of the cgroup and its descendants: first line of `cpu.stat`, or `cpuacct.usage` in version 1, in nanoseconds.
fn usage_usec(directory: &Path) -> io::Result<u64> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "no usage in it");
    if let Ok(text) = fs::read_to_string(directory.join("cpuacct.usage")) {
        return text.trim().parse::<u64>().map(|nanos| nanos / 1000).map_err(|_| invalid());
    }
    let text = fs::read_to_string(directory.join("cpu.stat"))?;
    let usage = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
    usage.and_then(|number| number.trim().parse().ok()).ok_or_else(invalid)
}
