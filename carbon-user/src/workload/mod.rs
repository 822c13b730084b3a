//! Who a cgroup belongs to, told from its path alone: pure, so that it can be tested on paths of machines that are not
//! at hand.
//!
//! The path is read from the top down. Each family of shapes (Kubernetes, container engines, machines, batch systems,
//! systemd) takes the components that it knows; what none knows leaves the identity at the nearest known thing above.
//! A path says the same whichever hierarchy it is of; which of a process's paths to read is for [`lines`].
//!
//! What is believed depends on who can make the name. Everything below `user.slice` may be a user's own work, so a
//! `kubepods`, a `docker` or a job there is not one of the node ([`Realm::User`]); only container engines that users
//! start themselves are known there, by names of their own. Names inside a container are its root's
//! ([`Realm::Container`]). On a path that begins above the reader's own namespace (`/..`), what stood before is not
//! known, and the rest is read as from the top. A service that was given its cgroup by systemd (`Delegate=`) is
//! believed, as container engines work like that.

mod containers;
mod jobs;
mod kubernetes;
mod label;
pub mod lines;
mod machines;
mod names;
mod path;
mod systemd;
#[cfg(test)]
mod tests;

pub use names::{Helper, Kind, Note, Qos, Realm, Runtime};
pub use path::{Located, identify, locate};

/// A container that holds the workload's own one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Outer {
    /// What made it.
    pub runtime: Option<Runtime>,
    /// Its id, or its name where it has no id.
    pub container_id: String,
    /// The pod that it is of.
    pub pod_uid: Option<String>,
}

/// What the path of a cgroup says about its workload. Empty where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Identity {
    /// What its time is charged to.
    pub kind: Kind,
    /// What made it.
    pub runtime: Option<Runtime>,
    /// The innermost container: its id, or its name where it has no id (LXC, nspawn, containerd).
    pub container_id: Option<String>,
    /// With dashes; of a static pod the hash of its configuration (32 hex digits), which is not the API's uid.
    pub pod_uid: Option<String>,
    /// Of the pod.
    pub qos: Option<Qos>,
    /// The innermost unit of systemd, unescaped; a slice only where the identity is one, or a pod, job or user that has one.
    pub unit: Option<String>,
    /// Of a batch system; the task of ECS.
    pub job_id: Option<String>,
    /// Of Slurm: a number, `batch`, `extern` or `interactive`; of Nomad the task.
    pub job_step: Option<String>,
    /// Of a virtual machine.
    pub vm_name: Option<String>,
    /// The user whose slice, job or application it is.
    pub user_uid: Option<u32>,
    /// Set where this only serves the workload, and is not one more of its kind.
    pub helper: Option<Helper>,
    /// The container around the innermost one.
    pub outer: Option<Outer>,
    /// Who could have given the names.
    pub realm: Realm,
    /// What else the path says, in its order.
    pub notes: Vec<Note>,
}
