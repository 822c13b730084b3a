//! What container engines, the kubelet and Slurm say of a workload: its name, image, namespace and pod; a job's user.
//!
//! They are asked by a thread of its own, since a socket may hang; who measures hands over what it wants to know, and
//! looks at what is known so far, without waiting. All is bounded, and what did not fit is counted. What a container was
//! called is kept after it has gone.

mod cri;
mod desk;
mod engine;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod http;
mod kubelet;
mod shards;
mod slurm;
#[cfg(test)]
mod tests;
mod worker;

pub use kubelet::Kubelet;
pub use worker::{Counts, Metadata, Seen};

use crate::workload::{Identity, Realm, Runtime};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

/// Characters of a value that are kept.
const TEXT_MAX: usize = 253;
/// Digits of the id of a container of an engine.
const ID_DIGITS: usize = 64;
/// Labels of a workload that are kept.
const LABELS_MAX: usize = 16;

/// Where Slurm's prolog leaves its notes unless it is told otherwise.
pub const SLURM_DIR: &str = "/run/carbon-slurm";

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// A container by its id.
    Container(String),
    /// A pod of Kubernetes by its uid.
    Pod(String),
    /// A job of Slurm by its number.
    Job(String),
}

impl Key {
    /// The container or pod to ask for. Of what is inside of a container only the outer one is. What engines and the kubelet do not name is not asked
    /// for: what a user's own engine made, a system container, whose path has its name, a step of a build, and what a
    /// scheduler has ids of its own for.
    pub fn of(identity: &Identity) -> Option<Self> {
        let (container, pod, runtime) = match &identity.outer {
            Some(outer) => (Some(&outer.container_id), outer.pod_uid.as_ref(), outer.runtime),
            None => (identity.container_id.as_ref(), identity.pod_uid.as_ref(), identity.runtime),
        };
        // A session in a container is the container's. Below a user's slice of the node runtimes are others (`workload`).
        let named = match runtime {
            None => identity.realm != Realm::User,
            Some(runtime) => matches!(
                runtime,
                Runtime::Containerd
                    | Runtime::Crio
                    | Runtime::Docker
                    | Runtime::Ecs
                    | Runtime::Kata
                    | Runtime::Kubernetes
                    | Runtime::Podman
            ),
        };
        // It becomes part of a path. In a pod an id can be of another form, outside it is the name of one.
        let is_id = |id: &&String| match pod {
            Some(_) => is_plain(id),
            None => id.len() == ID_DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
        };
        match container.filter(is_id) {
            _ if !named => None,
            Some(id) => Some(Self::Container(id.clone())),
            None => pod.filter(|uid| is_plain(uid)).map(|uid| Self::Pod(uid.clone())),
        }
    }

    /// The job to ask for: of Slurm, which alone leaves notes of its jobs.
    fn of_job(identity: &Identity) -> Option<Self> {
        let id = identity.job_id.as_ref().filter(|_| identity.runtime == Some(Runtime::Slurm))?;
        // It becomes the name of a file, and Slurm's own numbers are of 32 bits.
        let is_number = id.len() <= 10 && id.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| Self::Job(id.clone()))
    }
}

/// Whether it can be a part of a path as it is.
fn is_plain(id: &str) -> bool {
    (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// What Slurm says of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Job {
    /// As its user called it.
    pub name: Option<String>,
    /// Whose it is.
    pub user: Option<String>,
    /// Who pays for it.
    pub account: Option<String>,
    /// Where it was queued.
    pub partition: Option<String>,
}

/// What was learned of a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Who said it, such as `docker`.
    pub source: &'static str,
    /// Of the container.
    pub container: Option<String>,
    /// What it was made from.
    pub image: Option<String>,
    /// Of Kubernetes.
    pub namespace: Option<String>,
    /// Name of the pod.
    pub pod: Option<String>,
    /// Those that were asked for.
    pub labels: BTreeMap<String, String>,
    /// Of a job.
    pub job: Option<Job>,
}

impl Known {
    /// A name for people: `namespace/pod/container`, or the container's.
    pub fn label(&self) -> Option<String> {
        let parts = [&self.namespace, &self.pod, &self.container];
        let parts: Vec<&str> = parts.into_iter().flatten().map(String::as_str).collect();
        (!parts.is_empty()).then(|| parts.join("/"))
    }
}

/// Which labels are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(pub Vec<String>);

impl Labels {
    /// At most 16 names, which must differ as labels of a metric too. What is wrong is said.
    pub fn new(names: &[String]) -> Result<Self, String> {
        let mut shown = BTreeSet::new();
        for name in names {
            if !(1..=TEXT_MAX).contains(&name.len())
                || name.chars().any(|c| c.is_control() || c.is_whitespace())
            {
                return Err(format!("{name:?} is no name of a label"));
            }
            if !shown.insert(Self::shown(name)) {
                return Err(format!("{name:?} is as another of them in metrics: {}", Self::shown(name)));
            }
        }
        if names.len() > LABELS_MAX {
            return Err(format!("{} are more than {LABELS_MAX}", names.len()));
        }
        Ok(Self(names.to_vec()))
    }

    /// The name of a label in metrics: `label_`, and `_` for what cannot be in one there, as kube-state-metrics does it.
    pub fn shown(name: &str) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' };
        format!("label_{}", name.chars().map(plain).collect::<String>())
    }

    fn keep(&self, all: &HashMap<String, String>) -> BTreeMap<String, String> {
        let wanted = self.0.iter().take(LABELS_MAX);
        wanted.filter_map(|name| Some((name.clone(), text(all.get(name)?)?))).collect()
    }
}

/// A value of bounded length, without control characters; nothing where nothing is left.
fn text(value: &str) -> Option<String> {
    let kept: String = value.chars().filter(|c| !c.is_control()).take(TEXT_MAX).collect();
    (!kept.is_empty()).then_some(kept)
}

/// Who is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Sockets of Docker, or of Podman, which speaks the same.
    pub engines: Vec<(&'static str, PathBuf)>,
    /// Sockets of the container runtime interface of Kubernetes.
    pub cri: Vec<(&'static str, PathBuf)>,
    /// The kubelet.
    pub kubelet: Option<Kubelet>,
    /// Where Slurm's prolog leaves its notes.
    pub slurm: Option<PathBuf>,
    /// Labels that are kept; none unless named.
    pub labels: Labels,
}

impl Options {
    /// The usual sockets. One that is not there is looked for again later.
    pub fn usual() -> Self {
        let path = |(name, path): (&'static str, &str)| (name, PathBuf::from(path));
        Self {
            engines: [("docker", "/run/docker.sock"), ("podman", "/run/podman/podman.sock")].map(path).into(),
            cri: [
                ("containerd", "/run/containerd/containerd.sock"),
                ("containerd", "/run/k3s/containerd/containerd.sock"),
                ("crio", "/run/crio/crio.sock"),
            ]
            .map(path)
            .into(),
            slurm: Some(SLURM_DIR.into()),
            ..Self::default()
        }
    }
}

/// Why a source said nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// It is not installed, or has stopped. Nothing is wrong.
    #[error("nothing listens at {0}")]
    Absent(String),
    /// It refuses or fails.
    #[error("{0}")]
    Failed(String),
}

/// What knows names of workloads.
trait Source: Send {
    /// For people.
    fn name(&self) -> &'static str;

    /// Whether it is one to ask for this.
    fn may_know(&self, key: &Key) -> bool {
        !matches!(key, Key::Job(_))
    }

    /// What it knows of `wanted`; may say more than was asked for. May wait, for seconds at most.
    fn ask(&mut self, wanted: &[Key]) -> Result<Vec<(Key, Known)>, SourceError>;
}
