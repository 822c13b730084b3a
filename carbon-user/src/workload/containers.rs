//! Containers of the engines: Docker, containerd, CRI-O, Podman, and those with schemes of their own.

use super::kubernetes::three;
use super::path::{Walk, is_a, is_full_id, is_hex, is_id, is_number, is_uuid, unescaped};
use super::{Helper, Kind, Note, Realm, Runtime};

/// Takes `name`, if it is a container's.
pub(super) fn take(walk: &mut Walk<'_>, name: &str, parent: &str, at: usize) -> bool {
    ecs(walk, name)
        || prefixed(walk, name)
        || build_step(walk, name)
        || podman(walk, name)
        || below_a_known_parent(walk, name, parent, at)
        || by_its_shape(walk, name)
}

/// What a user may start: with an engine of the user's own only, and by its scope's name. The user's root owns nothing
/// of the node, so that a name that was made up harms nobody else.
pub(super) fn of_a_user(walk: &mut Walk<'_>, name: &str, parent: &str) -> bool {
    if podman(walk, name) || apptainer(walk, name) {
        return true;
    }
    if !walk.below_manager || walk.identity.kind.is_container() {
        return false;
    }
    if let Some((_, "libpod", id)) = three(name).filter(|(_, _, id)| is_full_id(id)) {
        walk.enter(Kind::Container, Some(Runtime::PodmanRootless), id, None);
        return true;
    }
    if parent == "libpod" && is_full_id(name) {
        walk.enter(Kind::Container, Some(Runtime::PodmanRootless), name, None);
        return true;
    }
    let Some(Prefixed { engine, id, helper }) = Prefixed::read(name) else { return false };
    let whole = is_a("scope", name) || engine == Runtime::Podman;
    if !whole || !matches!(engine, Runtime::Podman | Runtime::Docker) && !name.starts_with("nerdctl-") {
        return false;
    }
    enter(walk, engine, id, helper, name);
    true
}

/// The engine that writes `PREFIX-ID.scope`, or `SLICE:PREFIX:ID`.
pub(super) fn engine(prefix: &str) -> Option<Runtime> {
    Some(match prefix {
        "docker" => Runtime::Docker,
        "cri-containerd" | "containerd" | "nerdctl" => Runtime::Containerd,
        "crio" => Runtime::Crio,
        "libpod" => Runtime::Podman,
        _ => return None,
    })
}

/// `PREFIX-ID`, with or without `.scope`.
struct Prefixed<'n> {
    engine: Runtime,
    id: &'n str,
    helper: Option<Helper>,
}

impl<'n> Prefixed<'n> {
    fn read(name: &'n str) -> Option<Self> {
        let (prefix, id) = name.strip_suffix(".scope").unwrap_or(name).rsplit_once('-')?;
        let (prefix, helper) = match prefix.strip_suffix("-conmon") {
            Some(prefix @ ("crio" | "libpod")) => (prefix, Some(Helper::Conmon)),
            _ => {
                (prefix.strip_suffix("-payload").filter(|prefix| *prefix == "libpod").unwrap_or(prefix), None)
            }
        };
        Some(Self { engine: engine(prefix).filter(|_| is_id(id))?, id, helper })
    }
}

fn prefixed(walk: &mut Walk<'_>, name: &str) -> bool {
    if let Some((_, prefix, id)) = three(name) {
        let Some(runtime) = engine(prefix).filter(|_| is_id(id)) else { return false };
        walk.enter(Kind::Container, Some(runtime), id, None);
        return true;
    }
    let Some(Prefixed { engine, id, helper }) = Prefixed::read(name) else { return false };
    enter(walk, engine, id, helper, name);
    true
}

/// A step of a build where groups are made by systemd: by Docker `docker-ID.scope`, as a container, with `BuildKit`'s kind of id.
fn build_step(walk: &mut Walk<'_>, name: &str) -> bool {
    let id = name.strip_prefix("docker-").or_else(|| name.strip_prefix("buildkit-"));
    let id = id.and_then(|rest| rest.strip_suffix(".scope"));
    // One of 25 letters alone could be a word of somebody's own.
    let Some(id) = id.filter(|id| is_base36(id) && id.bytes().any(|byte| byte.is_ascii_digit())) else {
        return false;
    };
    walk.enter(Kind::Container, Some(Runtime::Buildkit), id, Some(name.to_owned()));
    true
}

/// Goes into a container of an engine, and the monitor of one.
fn enter(walk: &mut Walk<'_>, engine: Runtime, id: &str, helper: Option<Helper>, name: &str) {
    let own = is_a("scope", name).then(|| name.to_owned());
    // With `--cgroups=split` a container of Podman is below the unit that started it, which tells more than its id.
    let split = |unit: &String| unit.ends_with(".service") && unit != "podman.service";
    let unit = own.or_else(|| {
        let unit = walk.identity.unit.clone().filter(split);
        unit.filter(|_| engine == Runtime::Podman && walk.identity.kind == Kind::Unit)
    });
    let runtime = match (engine, walk.below_manager, walk.identity.kind, walk.identity.runtime) {
        (_, _, Kind::Job, Some(task)) => task,
        (Runtime::Podman, true, ..) => Runtime::PodmanRootless,
        (Runtime::Docker, true, ..) => Runtime::DockerRootless,
        (Runtime::Containerd, true, ..) => Runtime::ContainerdRootless,
        _ => engine,
    };
    walk.enter(Kind::Container, Some(runtime), id, unit);
    if helper.is_some() {
        walk.identity.kind = Kind::Scope;
        walk.identity.helper = helper;
    }
}

/// Podman's pods, and what serves its containers.
fn podman(walk: &mut Walk<'_>, name: &str) -> bool {
    if walk.identity.kind.is_container() || (walk.identity.realm == Realm::User && !walk.below_manager) {
        return false;
    }
    let runtime = if walk.below_manager { Runtime::PodmanRootless } else { Runtime::Podman };
    let slice = name.strip_suffix(".slice");
    if let Some(pod) = slice.and_then(|stem| stem.rsplit_once("libpod_pod_")).map(|(_, pod)| pod)
        && is_full_id(pod)
    {
        podman_pod(walk, runtime, pod, Some(name));
        return true;
    }
    let scope = name.strip_suffix(".scope").and_then(|stem| stem.strip_prefix("podman-"));
    if scope.is_some_and(|number| is_number(number) || number.starts_with("pause-")) {
        walk.identity.kind = Kind::Scope;
        walk.identity.runtime = Some(runtime);
        walk.identity.unit = Some(name.to_owned());
        walk.identity.helper = Some(Helper::Client);
        return true;
    }
    false
}

fn podman_pod(walk: &mut Walk<'_>, runtime: Runtime, pod: &str, unit: Option<&str>) {
    walk.leave_for_inner();
    let identity = &mut walk.identity;
    identity.kind = Kind::Pod;
    identity.runtime = Some(runtime);
    identity.unit = unit.map(str::to_owned);
    identity.notes.push(Note::PodmanPod(pod.to_owned()));
}

/// Names that are only ids, below a parent that says whose they are.
fn below_a_known_parent(walk: &mut Walk<'_>, name: &str, parent: &str, at: usize) -> bool {
    let grandparent = at.checked_sub(2).and_then(|above| walk.names.get(above).copied()).unwrap_or_default();
    let runtime = match parent {
        "docker" | "actions_job" | "moby" if is_id(name) => Runtime::Docker,
        "buildx" if grandparent == "docker" && is_id(name) => Runtime::Docker,
        // Containers have a prefix there; a bare id is a pod's.
        "libpod_parent" if is_full_id(name) => {
            podman_pod(walk, Runtime::Podman, name, None);
            return true;
        }
        "libpod" if is_id(name) => Runtime::Podman,
        "buildkit" if is_base36(name) => Runtime::Buildkit,
        "garden" if is_of_garden(name) => Runtime::Garden,
        // Newer versions sort them by how much they use.
        "good" | "bad" if grandparent == "garden" && is_of_garden(name) => Runtime::Garden,
        "mesos" if is_uuid(name) => Runtime::Mesos,
        // A namespace of containerd, which its users give names of their own: believed at the top only.
        "default" | "k8s.io" if at == 1 => Runtime::Containerd,
        "apptainer" | "singularity" if at == 1 && is_number(name) => Runtime::Apptainer,
        "kata_overhead" if is_full_id(name) => {
            walk.enter(Kind::Container, Some(Runtime::Kata), name, None);
            walk.identity.helper = Some(Helper::Vmm);
            return true;
        }
        _ => return false,
    };
    walk.enter(Kind::Container, Some(runtime), name, None);
    true
}

/// Garden's ids are 28 digits and dashes, or a whole UUID.
fn is_of_garden(name: &str) -> bool {
    matches!(name.len(), 28 | 36) && name.split('-').all(is_hex)
}

/// `BuildKit`'s ids are of 25 digits and lower case letters.
fn is_base36(name: &str) -> bool {
    name.len() == 25 && name.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase())
}

/// Names that say for themselves what they are.
fn by_its_shape(walk: &mut Walk<'_>, name: &str) -> bool {
    if yarn(walk, name) || apptainer(walk, name) {
        return true;
    }
    let id = name.strip_suffix(".scope").unwrap_or(name);
    if is_full_id(id) {
        let unit = (id.len() < name.len()).then(|| name.to_owned());
        walk.enter(Kind::Container, None, id, unit);
        return true;
    }
    false
}

/// `container_[eEPOCH_]CLUSTER_APPLICATION_ATTEMPT_NUMBER` (Hadoop's `ContainerId`).
fn yarn(walk: &mut Walk<'_>, name: &str) -> bool {
    let Some(rest) = name.strip_prefix("container_") else { return false };
    let parts: Vec<&str> = rest.split('_').collect();
    let numbers = match parts.as_slice() {
        [epoch, numbers @ ..] if epoch.strip_prefix('e').is_some_and(is_number) => numbers,
        numbers => numbers,
    };
    let [cluster, application, _, _] = numbers else { return false };
    if !numbers.iter().all(|part| is_number(part)) {
        return false;
    }
    let job_id = format!("application_{cluster}_{application}");
    walk.enter(Kind::Container, Some(Runtime::Yarn), name, None);
    walk.identity.job_id = Some(job_id);
    true
}

/// `apptainer-PID.scope`, and Singularity's before it; without systemd `/apptainer/PID`.
fn apptainer(walk: &mut Walk<'_>, name: &str) -> bool {
    let stem = name.strip_suffix(".scope").unwrap_or_default();
    let pid = stem.strip_prefix("apptainer-").or_else(|| stem.strip_prefix("singularity-"));
    let Some(pid) = pid.filter(|pid| is_number(pid) && !walk.identity.kind.is_container()) else {
        return false;
    };
    walk.enter(Kind::Container, Some(Runtime::Apptainer), pid, Some(unescaped(name)));
    true
}

/// `/ecs/TASK/ID`, or `ecstasks-TASK.slice` above a scope of Docker; on Fargate an id is `TASK-NUMBER`, also without the task above.
fn ecs(walk: &mut Walk<'_>, name: &str) -> bool {
    let is_task = |text: &str| is_uuid(text) || (text.len() == 32 && is_hex(text));
    if !walk.on_the_node() {
        return false;
    }
    let slice = name.strip_prefix("ecstasks-").and_then(|rest| rest.strip_suffix(".slice"));
    if let Some(task) = slice.filter(|task| is_task(task)) {
        walk.enter_job(Runtime::Ecs, task);
        walk.identity.unit = Some(name.to_owned());
        return true;
    }
    if walk.names.first() != Some(&"ecs") {
        return false;
    }
    let fargate = name.split_once('-').filter(|(task, number)| is_task(task) && is_number(number));
    if walk.identity.kind != Kind::Job {
        let task = if is_task(name) { Some(name) } else { fargate.map(|(task, _)| task) };
        let Some(task) = task else { return false };
        walk.enter_job(Runtime::Ecs, task);
        if task == name {
            return true;
        }
    }
    let found = is_full_id(name) || fargate.is_some();
    if found {
        walk.enter(Kind::Container, Some(Runtime::Ecs), name, None);
    }
    found
}
