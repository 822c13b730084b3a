//! Pods and their containers, as the kubelet names them.
//!
//! With the cgroupfs driver `/kubepods/burstable/podUID/ID`; with systemd's
//! `/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU_I_D.slice/RUNTIME-ID.scope`, in which a pod of the
//! class guaranteed has no class in its name; below another top with `--cgroup-root`. Where kubelet and engine disagree
//! on the driver, `SLICE:RUNTIME:ID` is one component.

use super::containers::engine;
use super::path::{Walk, is_a, is_full_id, is_hex, is_id, is_uuid};
use super::{Kind, Qos, Runtime};

/// Takes `name`, if it is of a pod, or a container in one that only Kubernetes tells.
pub(super) fn take(walk: &mut Walk<'_>, name: &str, parent: &str) -> bool {
    if let Some((slice, prefix, id)) = three(name) {
        let Some(Group { qos, uid: Some(uid) }) = group(slice) else { return false };
        let Some(runtime) = engine(prefix).filter(|_| is_id(id)) else { return false };
        enter_pod(walk, &uid, qos, None);
        walk.enter(Kind::Container, Some(runtime), id, None);
        return true;
    }
    if let Some(Group { qos, uid }) = group(name) {
        let unit = is_a("slice", name).then(|| name.to_owned());
        match uid {
            Some(uid) => enter_pod(walk, &uid, qos, unit),
            None => return enter_group(walk, qos, unit),
        }
        return true;
    }
    if walk.below_kubelet {
        // Some put a group of their own between the kubelet's top and its classes.
        if let Some(qos) = class(name) {
            return enter_group(walk, Some(qos), None);
        }
        if let Some(uid) = name.strip_prefix("pod").filter(|uid| is_uid(uid)) {
            let qos = walk.pods_qos.or(is_top(parent).then_some(Qos::Guaranteed));
            enter_pod(walk, uid, qos, None);
            return true;
        }
    } else if walk.taken == 0 {
        // The begin of the path was cut off by a namespace.
        if let Some(uid) = name.strip_prefix("pod").filter(|uid| is_uuid(uid)) {
            enter_pod(walk, uid, class(parent), None);
            return true;
        }
    }
    bare(walk, name)
}

/// A container in a pod whose name is its id.
fn bare(walk: &mut Walk<'_>, name: &str) -> bool {
    if walk.identity.kind != Kind::Pod || walk.identity.runtime != Some(Runtime::Kubernetes) {
        return false;
    }
    let scope = name.strip_suffix(".scope");
    let (runtime, id) = match name.strip_prefix("kata_") {
        Some(id) => (Runtime::Kata, id),
        None => (Runtime::Kubernetes, scope.unwrap_or(name)),
    };
    let found = is_full_id(id) || is_uuid(id);
    if found {
        walk.enter(Kind::Container, Some(runtime), id, scope.map(|_| name.to_owned()));
    }
    found
}

/// `SLICE:RUNTIME:ID`.
pub(super) fn three(name: &str) -> Option<(&str, &str, &str)> {
    let mut parts = name.split(':');
    let three = (parts.next()?, parts.next()?, parts.next()?);
    (parts.next().is_none() && is_a("slice", three.0)).then_some(three)
}

/// What the name of a slice or directory of the kubelet says.
struct Group {
    qos: Option<Qos>,
    uid: Option<String>,
}

/// Reads `[PREFIX-]kubepods[-CLASS][-podUID][.slice]`; of directories the top alone.
fn group(name: &str) -> Option<Group> {
    if is_top(name) {
        return Some(Group { qos: None, uid: None });
    }
    let stem = name.strip_suffix(".slice")?;
    let (before, rest) = stem.split_once("kubepods-")?;
    if !(before.is_empty() || before.ends_with('-')) {
        return None;
    }
    let (qos, rest) = match rest.split_once('-') {
        Some((first, rest)) if class(first).is_some() => (class(first), rest),
        _ => (class(rest), if class(rest).is_some() { "" } else { rest }),
    };
    if rest.is_empty() {
        return Some(Group { qos, uid: None });
    }
    let uid = rest.strip_prefix("pod").map(|uid| uid.replace('_', "-")).filter(|uid| is_uid(uid))?;
    Some(Group { qos: qos.or(Some(Qos::Guaranteed)), uid: Some(uid) })
}

fn is_top(name: &str) -> bool {
    let stem = name.strip_suffix(".slice").unwrap_or(name);
    stem == "kubepods" || (stem.len() < name.len() && stem.ends_with("-kubepods"))
}

fn class(name: &str) -> Option<Qos> {
    Qos::ALL.iter().copied().find(|qos| qos.as_str() == name)
}

/// A uid of the API, or the 32 hex digits of a static pod's hash.
fn is_uid(text: &str) -> bool {
    is_uuid(text) || (text.len() == 32 && is_hex(text))
}

/// The kubelet's groups above the pods. Inside a container (a node in a container) they are no workload of their own.
fn enter_group(walk: &mut Walk<'_>, qos: Option<Qos>, unit: Option<String>) -> bool {
    walk.below_kubelet = true;
    walk.pods_qos = qos;
    if walk.identity.kind.is_container() {
        return false;
    }
    walk.identity.kind = Kind::Slice;
    walk.identity.runtime = Some(Runtime::Kubernetes);
    walk.identity.qos = qos;
    walk.identity.unit = unit;
    true
}

fn enter_pod(walk: &mut Walk<'_>, uid: &str, qos: Option<Qos>, unit: Option<String>) {
    walk.leave_for_inner();
    walk.identity.kind = Kind::Pod;
    walk.identity.runtime = Some(Runtime::Kubernetes);
    walk.identity.pod_uid = Some(uid.to_owned());
    walk.identity.qos = qos;
    walk.identity.unit = unit;
    walk.below_kubelet = false;
}
