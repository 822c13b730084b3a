//! Which of a process's cgroups says whose it is.
//!
//! A process is in one cgroup of every hierarchy. With cgroup2 alone there is nothing to choose. On a hybrid host they
//! differ: cgroup2 can have a container in its daemon's unit while a hierarchy of version 1 names its pod, and the
//! controllers of version 1 can stop at `user.slice` where systemd's own hierarchy names the session.

use super::path::components;
use super::{Identity, Kind, Realm, identify};

/// A hierarchy of cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hierarchy<'t> {
    /// cgroup2.
    V2,
    /// Of version 1, by its controllers and names, such as `cpu,cpuacct` or `name=systemd`.
    V1(&'t str),
}

/// A line of `/proc/PID/cgroup`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Line<'t> {
    /// Of which hierarchy.
    pub hierarchy: Hierarchy<'t>,
    /// The cgroup below its root.
    pub path: &'t str,
}

impl<'t> Line<'t> {
    /// Reads `NUMBER:CONTROLLERS:PATH` (cgroups(7)): only the first two colons divide, as a path may hold more. Only
    /// cgroup2's has the number 0 and no controllers.
    pub fn read(line: &'t str) -> Option<Self> {
        let mut fields = line.splitn(3, ':');
        let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        number.parse::<u32>().ok().filter(|_| path.starts_with('/'))?;
        let hierarchy = if controllers.is_empty() { Hierarchy::V2 } else { Hierarchy::V1(controllers) };
        Some(Self { hierarchy, path })
    }

    /// Hierarchies in which container engines always make their groups, most telling first; then the rest.
    fn rank(&self) -> usize {
        const TELLING: [&str; 4] = ["name=systemd", "cpu", "pids", "memory"];
        match self.hierarchy {
            Hierarchy::V1(names) => {
                TELLING.iter().position(|telling| names.split(',').any(|name| name == *telling)).unwrap_or(5)
            }
            Hierarchy::V2 => 4,
        }
    }
}

/// What was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice<'t> {
    /// The line that said it.
    pub line: Line<'t>,
    /// What it says.
    pub identity: Identity,
}

/// Chooses among the lines of `/proc/PID/cgroup`: a workload before a unit, and a unit before a group; what root made
/// before what a user could have; then the longest path; then systemd's hierarchy, cpu, pids, memory, cgroup2, the rest.
/// `None` where there is no line.
pub fn choose(text: &str) -> Option<Choice<'_>> {
    let choices =
        text.lines().filter_map(Line::read).map(|line| Choice { identity: identify(line.path), line });
    choices.max_by_key(|choice| {
        let depth = components(choice.line.path).0.len();
        let weight = weight(&choice.identity);
        (weight, choice.identity.realm != Realm::User, depth, usize::MAX - choice.line.rank())
    })
}

/// How much an identity says.
fn weight(identity: &Identity) -> u8 {
    match identity.kind {
        // What serves a container names it too.
        _ if identity.container_id.is_some() => 4,
        Kind::Container | Kind::Pod | Kind::Job | Kind::Vm | Kind::Lxc | Kind::Nspawn => 4,
        Kind::Unit | Kind::Scope | Kind::Session => 3,
        Kind::User => 2,
        Kind::Slice | Kind::Unknown => 1,
        Kind::Root => 0,
    }
}
