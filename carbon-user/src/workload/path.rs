//! From the top of a path down: the state that the families of shapes share, and what their names are made of.

use super::{Identity, Kind, Note, Outer, Qos, Realm, Runtime};
use super::{containers, jobs, kubernetes, machines, systemd};

/// A path's identity, and where on the path it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located<'p> {
    /// Whose it is.
    pub identity: Identity,
    /// What is below the workload's own cgroup, without a slash at its begin; empty where the path ends with it.
    pub inner: &'p str,
}

/// Whose cgroup `path` is. Any text is a path; one of no known shape is [`Kind::Unknown`].
pub fn identify(path: &str) -> Identity {
    locate(path).identity
}

/// Whose cgroup `path` is, and how much of the path says so.
pub fn locate(path: &str) -> Located<'_> {
    let (names, rest) = components(path);
    let mut walk = Walk { names: &names, ..Walk::default() };
    if names.is_empty() && path.starts_with('/') {
        // Above a reader's own namespace only the root itself holds processes: the kernel allows none between.
        walk.identity.kind = Kind::Root;
    }
    for at in 0..names.len() {
        walk.step(at);
    }
    let inner = match walk.taken.checked_sub(1).and_then(|last| names.get(last)) {
        Some(last) => below(rest, last).unwrap_or_default(),
        None => rest,
    };
    Located { identity: walk.identity, inner: inner.trim_matches('/') }
}

/// What of `path` follows its component `last`, a part of the same text.
fn below<'p>(path: &'p str, last: &str) -> Option<&'p str> {
    let end = (last.as_ptr().addr() + last.len()).checked_sub(path.as_ptr().addr())?;
    path.get(end..)
}

/// Components without the `..` that a reader in another cgroup namespace sees first, and without the mark of a cgroup
/// that has gone (`cgroup_path_ns` and `proc_cgroup_show` in the kernel's kernel/cgroup/cgroup.c, 6.18); and the path so cut.
pub(super) fn components(path: &str) -> (Vec<&str>, &str) {
    let path = path.trim_end_matches('\n');
    let mut rest = path.strip_suffix(" (deleted)").unwrap_or(path);
    loop {
        rest = rest.trim_start_matches('/');
        match rest.strip_prefix("..") {
            Some(after) if after.is_empty() || after.starts_with('/') => rest = after,
            _ => break,
        }
    }
    (rest.split('/').filter(|name| !name.is_empty()).collect(), rest)
}

/// What is known at one component of a path.
#[derive(Debug, Default)]
pub(super) struct Walk<'w> {
    /// The path.
    pub(super) names: &'w [&'w str],
    /// As far as it was read.
    pub(super) identity: Identity,
    /// Components up to the one that last changed the identity.
    pub(super) taken: usize,
    /// Below Kubernetes' own top, and above its pods.
    pub(super) below_kubelet: bool,
    /// The class of the pods there, if it was told.
    pub(super) pods_qos: Option<Qos>,
    /// Below `user@UID.service`, where a user makes units.
    pub(super) below_manager: bool,
}

impl Walk<'_> {
    fn step(&mut self, at: usize) {
        let Some(name) = self.names.get(at).copied() else { return };
        let parent = at.checked_sub(1).and_then(|above| self.names.get(above).copied()).unwrap_or_default();
        let of_a_user = systemd::is_of_a_user(name) || systemd::is_top_of_users(name, at);
        if self.identity.realm != Realm::User && of_a_user {
            self.identity.realm = Realm::User;
        }
        let taken = if self.identity.helper.is_some() {
            false
        } else if self.identity.kind == Kind::Vm {
            machines::inside(self, name);
            false
        } else if self.identity.kind == Kind::Job && self.identity.runtime != Some(Runtime::Ecs) {
            jobs::inside(self, name)
        } else if self.identity.realm == Realm::User {
            containers::of_a_user(self, name, parent)
                || jobs::of_a_user(self, name)
                || systemd::take(self, name)
        } else {
            kubernetes::take(self, name, parent)
                || jobs::take(self, name, parent, at)
                || machines::take(self, name, parent, at)
                || containers::take(self, name, parent, at)
                || systemd::take(self, name)
        };
        if taken {
            self.taken = at + 1;
        }
    }

    /// Whether no container has been entered.
    pub(super) fn on_the_node(&self) -> bool {
        !self.identity.kind.is_container() && self.identity.outer.is_none()
    }

    /// Goes into a container; the one that it is in already becomes the outer one. What is inside a pod or a task stays
    /// charged to it.
    pub(super) fn enter(
        &mut self,
        kind: Kind,
        runtime: Option<Runtime>,
        container_id: &str,
        unit: Option<String>,
    ) {
        self.leave_for_inner();
        let identity = &mut self.identity;
        identity.kind = kind;
        identity.runtime = runtime;
        identity.container_id = Some(container_id.to_owned());
        identity.unit = unit;
        identity.notes.retain(|note| matches!(note, Note::PodmanPod(_)));
        self.below_kubelet = false;
    }

    /// Makes the container in which the walk is the outer one, if it is in any.
    pub(super) fn leave_for_inner(&mut self) {
        let identity = &mut self.identity;
        if identity.kind.is_container() {
            identity.outer = identity.container_id.take().map(|container_id| Outer {
                runtime: identity.runtime,
                container_id,
                pod_uid: identity.pod_uid.clone(),
            });
            identity.notes.clear();
            if identity.realm == Realm::Node {
                identity.realm = Realm::Container;
            }
        }
    }

    /// Goes into a job of a batch system.
    pub(super) fn enter_job(&mut self, runtime: Runtime, job_id: &str) {
        self.identity.kind = Kind::Job;
        self.identity.runtime = Some(runtime);
        self.identity.job_id = Some(job_id.to_owned());
    }
}

/// Undoes the escapes of systemd: `\x` and two hex digits for a byte (systemd.unit(5)), and `_` before what would look
/// like a file of cgroupfs (`cg_escape` in systemd's src/basic/cgroup-util.c).
pub(super) fn unescaped(name: &str) -> String {
    let name = name.strip_prefix('_').unwrap_or(name);
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((before, after)) = rest.split_once("\\x") {
        bytes.extend_from_slice(before.as_bytes());
        let code = after.get(..2).filter(|digits| is_hex(digits));
        if let Some(byte) = code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            bytes.push(byte);
            rest = after.get(2..).unwrap_or_default();
        } else {
            bytes.extend_from_slice(b"\\x");
            rest = after;
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether `name` is of a unit of the type `suffix`, such as `scope`.
pub(super) fn is_a(suffix: &str, name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, end)| end == suffix)
}

/// Whether `name` is of a unit that has a cgroup.
pub(super) fn is_unit(name: &str) -> bool {
    ["service", "scope", "slice", "mount", "swap", "socket"].iter().any(|suffix| is_a(suffix, name))
}

/// Hexadecimal digits, as ids are written: lower case.
pub(super) fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A whole container id: 64 hex digits.
pub(super) fn is_full_id(text: &str) -> bool {
    text.len() == 64 && is_hex(text)
}

/// A container id behind a name that says what it is; 12 digits is the short form.
pub(super) fn is_id(text: &str) -> bool {
    (12..=64).contains(&text.len()) && is_hex(text)
}

/// 8-4-4-4-12 hex digits.
pub(super) fn is_uuid(text: &str) -> bool {
    text.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && text.split('-').all(is_hex)
}

/// Decimal digits.
pub(super) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
