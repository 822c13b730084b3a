//! Whose a cgroup is where its path in cgroup2 does not say: on hybrid hosts a container can be in its daemon's unit
//! there, while a hierarchy of version 1 names it.

use crate::resolver::resolve;
use crate::sysroot::SysRoot;
use crate::workload::Identity;
use std::fs::File;
use std::io::Read;

/// Processes of a cgroup that are looked at.
const PIDS_MAX: usize = 64;
/// Bytes of `cgroup.procs` that are read.
const BYTES_MAX: u64 = 4096;

/// The identity that all of the processes in a cgroup (of cgroup2) agree on. Nothing where they disagree, as where a
/// daemon and its containers share the cgroup: then its time is the unit's, and no container's.
pub(super) fn whose(root: &SysRoot, path: &str) -> Option<Identity> {
    let mount = root.cgroup2().ok()??;
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
