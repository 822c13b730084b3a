//! A second set of shapes.

use super::{HEX, HEX2, UID, check};
use crate::workload::{Note, identify};

/// Shapes of platforms that the table has no row of, from their sources and documentation.
#[test]
fn shapes_of_other_platforms_are_known_or_degrade() {
    const STEP: &str = "n3bffzjelwjyh31a49hogwh65";
    let pods = format!("kubepods-burstable-pod{}.slice", UID.replace('-', "_"));
    let systemd = format!("/kubepods.slice/kubepods-burstable.slice/{pods}");
    let container = |runtime: &str| format!("container {runtime} {HEX} node");
    let pod = format!("pod kubernetes {UID} node");
    let capsule = "/capsule.slice/capsule@build.service";
    for (path, expected) in [
        // Builds: Docker with systemd's driver, and a builder in a container of its own.
        (format!("/system.slice/docker-{STEP}.scope"), format!("container buildkit {STEP} node")),
        (format!("/docker/buildx/{HEX}"), container("docker")),
        (format!("/docker/buildx/{HEX}/buildkit/{STEP}"), format!("container buildkit {STEP} container")),
        ("/system.slice/docker-abcdefghijklmnopqrstuvwxy.scope".into(), {
            "scope systemd docker-abcdefghijklmnopqrstuvwxy.scope node".into()
        }),
        // Podman's pods without systemd, and what serves them.
        (format!("/libpod_parent/{HEX2}/libpod-{HEX}"), container("podman")),
        (format!("/libpod_parent/{HEX2}/conmon"), "pod podman - node".into()),
        ("/libpod_parent/conmon".into(), "unknown - - node".into()),
        // Kubernetes: cgroups for crun, for the infrastructure, of runtimes that nobody knows, below another root.
        (format!("{systemd}/crio-{HEX}.scope/container/init.scope"), container("crio")),
        (format!("{systemd}/crio-conmonrs-{HEX}.scope"), pod.clone()),
        (format!("{systemd}/isulad-{HEX}.scope"), pod.clone()),
        (format!("{systemd}/kata_{HEX}"), container("kata")),
        (format!("/kata_overhead/{pods}:cri-containerd:{HEX}"), container("containerd")),
        (format!("/node/kubepods/besteffort/pod{UID}/cri-containerd-{HEX}"), container("containerd")),
        (format!("/system.slice/crio-conmon-{HEX}.scope"), format!("scope crio {HEX} node")),
        (format!("/system.slice/docker-{HEX2}.scope/init"), format!("container docker {HEX2} node")),
        (format!("/system.slice/docker-{HEX2}.scope/k3s/kubepods/pod{UID}/{HEX}"), {
            format!("container kubernetes {HEX} container")
        }),
        ("/system.slice/k3s-agent.service".into(), "unit systemd k3s-agent.service node".into()),
        ("/system.slice/snap.microk8s.daemon-kubelite.service".into(), {
            "unit snap snap.microk8s.daemon-kubelite.service node".into()
        }),
        // containerd's namespaces, and engines with names of their own.
        (format!("/k8s.io/{HEX}"), container("containerd")),
        (format!("/moby/{HEX}"), container("docker")),
        (format!("/isulad/{HEX}"), container("-")),
        (format!("/finch/{HEX}"), container("-")),
        ("/services.linuxkit/sshd".into(), "unknown - - node".into()),
        ("/default/admin".into(), "container containerd admin node".into()),
        (format!("/system.slice/balena-{HEX}.scope"), format!("scope systemd balena-{HEX}.scope node")),
        // Amazon ECS with the cluster in the path.
        (format!("/ecs/shop-1/{UID}/{HEX}"), format!("container ecs {UID} node")),
        ("/system.slice/ecs.service".into(), "unit systemd ecs.service node".into()),
        // Machines and system containers.
        (format!("/firecracker-v1.7.0-x86_64/{UID}"), format!("vm firecracker {UID} node")),
        ("/firecracker.service/x".into(), "unit systemd firecracker.service node".into()),
        ("/machine.slice/container@db.service/payload/system.slice/postgresql.service".into(), {
            "nspawn nspawn db node".into()
        }),
        ("/system.slice/container@db.service".into(), "unit systemd container@db.service node".into()),
        ("/machine.slice/machine-rkt\\x2d7b2f.scope/system.slice/etcd.service".into(), {
            "nspawn nspawn rkt-7b2f node".into()
        }),
        ("/machine.slice/1001".into(), "slice systemd machine.slice node".into()),
        ("/lxc.payload/web/init.scope".into(), "lxc lxc web node".into()),
        ("/lxc.payload.a/lxc.payload.b".into(), "lxc lxc b container".into()),
        ("/lxc.pivot".into(), "unknown - - node".into()),
        ("/machine/qemu-7-vm.example.org.libvirt-qemu/emulator".into(), {
            "vm libvirt vm.example.org node".into()
        }),
        ("/qemu.slice/100.scope/vcpu0".into(), "vm proxmox 100 node".into()),
        // Batch systems.
        ("/pbspro/17.head".into(), "job pbs 17.head node".into()),
        ("/pbspro.slice/pbspro-17.head\\x2d1.slice".into(), "job pbs 17.head-1 node".into()),
        ("/pbspro.slice/pbspro-x.slice".into(), "slice systemd pbspro-x.slice node".into()),
        ("/system.slice/slurmstepd.scope/job_9/step_0+1/user/task_0".into(), "job slurm 9 node".into()),
        ("/system.slice/slurmstepd.scope/job_9/step_interactive/user/task_special".into(), {
            "job slurm 9 node".into()
        }),
        ("/slurm/system".into(), "unknown slurm - node".into()),
        (format!("/nomad.slice/reserve.slice/{UID}.web.1.scope"), format!("job nomad {UID} node")),
        (format!("/nomad.slice/share.slice/docker-{HEX}.scope"), container("docker")),
        ("/system.slice/condor.service/condor_var_lib_condor_execute_slot1_2@ep".into(), {
            "job htcondor slot1_2@ep node".into()
        }),
        ("/lsf/cluster1/job.9.3.1".into(), "unknown - - node".into()),
        (format!("/mesos/{UID}/mesos/{}", UID.replace('9', "8")), {
            format!("container mesos {} container", UID.replace('9', "8"))
        }),
        // Systemd and desktops.
        ("/dev-hugepages.mount".into(), "unit systemd dev-hugepages.mount node".into()),
        ("/user.slice/user-0.slice/session-c1.scope".into(), {
            "session systemd session-c1.scope uid 0 user".into()
        }),
        ("/user.slice/user-7.slice/user@7.service/app.slice/app-org.kde.kate@a1.service".into(), {
            "unit systemd app-org.kde.kate@a1.service uid 7 user".into()
        }),
        // A capsule's manager runs for a user without rights: what it names is not the node's.
        (format!("{capsule}/app.slice/run-p9-i1.service"), "unit systemd run-p9-i1.service user".into()),
        (format!("{capsule}/kubepods/pod{UID}/{HEX}"), "unit systemd capsule@build.service user".into()),
        (format!("{capsule}/docker/{HEX}"), "unit systemd capsule@build.service user".into()),
        (format!("/../capsule@build.service/docker-{HEX}.scope"), {
            format!("scope systemd docker-{HEX}.scope user")
        }),
    ] {
        check(&path, &expected);
    }
    let of_pod = identify(&format!("/libpod_parent/{HEX2}/libpod-{HEX}"));
    assert_eq!(of_pod.notes, [Note::PodmanPod(HEX2.to_owned())]);
    assert_eq!(of_pod.outer, None, "a pod is no container around it");
}
