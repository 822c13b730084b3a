//! The words of an identity.

use std::fmt;

/// Gives an enum with the name of each value.
macro_rules! words {
    ($(#[$outer:meta])* $name:ident { $($(#[$inner:meta])* $value:ident = $word:literal,)* }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$inner])* $value,)* }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$value,)*];

            /// As in reports.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$value => $word,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// What a workload is.
    #[derive(Default)]
    Kind {
        /// A container of any engine.
        Container = "container",
        /// Containers that share a cgroup, without the container.
        Pod = "pod",
        /// A service, or another unit that systemd starts.
        Unit = "unit",
        /// Processes that systemd did not start but keeps together.
        Scope = "scope",
        /// A group of units.
        Slice = "slice",
        /// A login.
        Session = "session",
        /// All that is a user's and in no smaller group.
        User = "user",
        /// A job of a batch system, or a part of one.
        Job = "job",
        /// A virtual machine.
        Vm = "vm",
        /// A system container of LXC, LXD, Incus or libvirt.
        Lxc = "lxc",
        /// A system container of systemd.
        Nspawn = "nspawn",
        /// The root of the hierarchy: kernel threads, and what is in no group.
        Root = "root",
        /// A cgroup of no known shape.
        #[default]
        Unknown = "unknown",
    }
}

impl Kind {
    /// Whether it has a system of its own inside, with names that its own root gives.
    pub fn is_container(self) -> bool {
        matches!(self, Self::Container | Self::Lxc | Self::Nspawn)
    }

    /// Whether it is only a group: what is below and not known is something of its own.
    pub fn is_group(self) -> bool {
        matches!(self, Self::Slice | Self::User | Self::Root | Self::Unknown)
    }
}

words! {
    /// What made a workload. Of a container of Kubernetes whose path does not tell the engine, `Kubernetes`.
    Runtime {
        /// Android's process groups.
        Android = "android",
        /// Apptainer or Singularity.
        Apptainer = "apptainer",
        /// `BuildKit`, for one step of a build.
        Buildkit = "buildkit",
        /// containerd.
        Containerd = "containerd",
        /// containerd that a user started.
        ContainerdRootless = "containerd-rootless",
        /// CRI-O.
        Crio = "crio",
        /// Docker.
        Docker = "docker",
        /// Docker that a user started.
        DockerRootless = "docker-rootless",
        /// Amazon ECS.
        Ecs = "ecs",
        /// Firecracker under its jailer.
        Firecracker = "firecracker",
        /// Flatpak.
        Flatpak = "flatpak",
        /// Flux.
        Flux = "flux",
        /// Garden of Cloud Foundry.
        Garden = "garden",
        /// `HTCondor`.
        Htcondor = "htcondor",
        /// Kata Containers.
        Kata = "kata",
        /// Kubernetes.
        Kubernetes = "kubernetes",
        /// libvirt.
        Libvirt = "libvirt",
        /// LXC, LXD or Incus.
        Lxc = "lxc",
        /// Mesos.
        Mesos = "mesos",
        /// Nomad.
        Nomad = "nomad",
        /// systemd-nspawn.
        Nspawn = "nspawn",
        /// OAR.
        Oar = "oar",
        /// PBS or `OpenPBS`.
        Pbs = "pbs",
        /// Podman.
        Podman = "podman",
        /// Podman that a user started.
        PodmanRootless = "podman-rootless",
        /// Proxmox VE.
        Proxmox = "proxmox",
        /// Slurm.
        Slurm = "slurm",
        /// Snap.
        Snap = "snap",
        /// systemd.
        Systemd = "systemd",
        /// Talos Linux.
        Talos = "talos",
        /// Torque.
        Torque = "torque",
        /// systemd-vmspawn.
        Vmspawn = "vmspawn",
        /// Hadoop YARN.
        Yarn = "yarn",
    }
}

words! {
    /// Quality of service of a pod.
    Qos {
        /// Requests equal limits.
        Guaranteed = "guaranteed",
        /// Some requests.
        Burstable = "burstable",
        /// None.
        Besteffort = "besteffort",
    }
}

words! {
    /// What serves a workload: charged to it, and not one more of it.
    Helper {
        /// The monitor of a container of CRI-O or Podman.
        Conmon = "conmon",
        /// The monitor of a container of LXC.
        Monitor = "monitor",
        /// systemd-nspawn itself, or what watches over a container in its own unit.
        Supervisor = "supervisor",
        /// The machine monitor of a sandbox.
        Vmm = "vmm",
        /// The client that holds a user's namespaces.
        Client = "client",
    }
}

words! {
    /// Who could have given the names on the path.
    #[derive(Default)]
    Realm {
        /// Root of this node.
        #[default]
        Node = "node",
        /// A user, below `user.slice`: never to be joined with what the node's own services say.
        User = "user",
        /// Root of the outer container.
        Container = "container",
    }
}

/// What else a path says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Note {
    /// An application, by its id.
    App(String),
    /// What started it.
    Launcher(String),
    /// The snap that it is of.
    Snap(String),
    /// The node's name, where one host is several nodes of a batch system.
    Node(String),
    /// A task of a job's step.
    Task(String),
    /// A pod of Podman, which is none of Kubernetes.
    PodmanPod(String),
    /// A thread, or group of threads, of a virtual machine.
    Thread(String),
    /// The unit was made inside the container, by its own root.
    Inner(String),
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, value) = match self {
            Self::App(value) => ("app", value),
            Self::Launcher(value) => ("launcher", value),
            Self::Snap(value) => ("snap", value),
            Self::Node(value) => ("node", value),
            Self::Task(value) => ("task", value),
            Self::PodmanPod(value) => ("podman pod", value),
            Self::Thread(value) => ("thread", value),
            Self::Inner(value) => ("inner", value),
        };
        write!(f, "{key}={value}")
    }
}
