//! Who could have given the names on a path.

use super::{HEX, HEX2, UID, check};
use crate::workload::lines::choose;
use crate::workload::{Kind, Realm, Runtime, identify};

#[test]
fn what_a_user_could_make_up_is_not_believed() {
    let manager = "/user.slice/user-1000.slice/user@1000.service";
    for (below, expected) in [
        (format!("kubepods/burstable/pod{UID}/{HEX}"), "user systemd user@1000.service uid 1000 user"),
        (
            format!("kubepods.slice/kubepods-pod{}.slice/cri-containerd-{HEX}.scope", UID.replace('-', "_")),
            &format!("scope systemd cri-containerd-{HEX}.scope uid 1000 user"),
        ),
        (
            format!("x.slice/kubepods-pod{}.slice:cri-containerd:{HEX}", UID.replace('-', "_")),
            "slice systemd x.slice uid 1000 user",
        ),
        ("system.slice/slurmstepd.scope/job_1/step_0".into(), "scope systemd slurmstepd.scope uid 1000 user"),
        ("slurm/uid_0/job_1".into(), "user systemd user@1000.service uid 1000 user"),
        ("pbs_jobs.service/jobs/1.pbs".into(), "unit systemd pbs_jobs.service uid 1000 user"),
        (format!("nomad.slice/{UID}.web.scope"), &format!("scope systemd {UID}.web.scope uid 1000 user")),
        (format!("docker/{HEX}"), "user systemd user@1000.service uid 1000 user"),
        (HEX.into(), "user systemd user@1000.service uid 1000 user"),
        ("lxc.payload.db".into(), "user systemd user@1000.service uid 1000 user"),
        ("machine-qemu\\x2d1\\x2dvm.scope".into(), "scope systemd machine-qemu-1-vm.scope uid 1000 user"),
        ("qemu.slice/100.scope".into(), "scope systemd 100.scope uid 1000 user"),
        ("session-9.scope".into(), "scope systemd session-9.scope uid 1000 user"),
        // A user of another number cannot be made up below one's own.
        ("user-0.slice/user@0.service/x".into(), "unit systemd user@0.service uid 1000 user"),
        (format!("user.slice/docker-{HEX}.scope"), &format!("container docker-rootless {HEX} uid 1000 user")),
        (
            format!("user.slice/docker-{HEX}.scope/kubepods/pod{UID}/{HEX2}"),
            &format!("container docker-rootless {HEX} uid 1000 user"),
        ),
        (
            format!("user.slice/user-libpod_pod_{HEX2}.slice/libpod-{HEX}.scope"),
            &format!("container podman-rootless {HEX} uid 1000 user"),
        ),
    ] {
        check(&format!("{manager}/{below}"), expected);
        // The begin of the path can be missing.
        check(&format!("/../user@1000.service/{below}"), expected);
    }
}

#[test]
fn names_inside_a_container_are_its_own() {
    let docker = format!("/system.slice/docker-{HEX}.scope");
    let container = |realm: &str| format!("container docker {HEX} {realm}");
    check(&format!("{docker}/system.slice/slurmstepd.scope/job_1/step_0"), &container("node"));
    check(&format!("{docker}/machine.slice/machine-qemu\\x2d1\\x2dvm.scope"), &container("node"));
    check(&format!("{docker}/kubepods.slice/kubepods-burstable.slice"), &container("node"));
    check(&format!("{docker}/kubepods/pod{UID}"), &format!("pod kubernetes {UID} container"));
    check(&format!("/lxc/107/ns/docker/{HEX}"), &container("container"));
    // A user's slice in there has users of another system.
    check("/lxc.payload.c/user.slice/user-5.slice/user@5.service/a.service", "lxc lxc c user");
    // Docker inside a pod is charged to the pod.
    let nested = identify(&format!("/kubepods/burstable/pod{UID}/{HEX}/docker/{HEX2}"));
    assert_eq!((nested.kind, nested.runtime), (Kind::Container, Some(Runtime::Docker)));
    assert_eq!(nested.pod_uid.as_deref(), Some(UID));
    assert_eq!(nested.outer.unwrap().to_string(), format!("kubernetes:{HEX}"));
    // A pod that a pod's container made up does not hide whose it is.
    let other = UID.replace('9', "8");
    let forged = identify(&format!("/kubepods/pod{UID}/{HEX}/kubepods/pod{other}/{HEX2}"));
    assert_eq!(forged.realm, Realm::Container);
    assert_eq!(forged.outer.unwrap().pod_uid.as_deref(), Some(UID));
}

#[test]
fn where_a_user_may_make_groups_nothing_is_the_nodes() {
    // pam_cgfs of lxcfs gives a group in each hierarchy of version 1 to who logs in; with the deepest path, too.
    let forged = format!("/user/alice/0/kubepods/burstable/pod{UID}/{HEX}");
    check(&forged, "unknown - - user");
    check("/user/alice/0/lxc/db", "unknown - - user");
    check("/user/1000.user/c2.session/kubepods", "session systemd - uid 1000 user");
    let session = "/user.slice/user-1000.slice/session-2.scope";
    let text = format!("4:freezer:{forged}\n1:name=systemd:{session}\n0::{session}\n");
    assert_eq!(choose(&text).unwrap().line.path, session);
    // A group that is called so elsewhere is somebody else's.
    check(&format!("/system.slice/user/docker/{HEX}"), &format!("container docker {HEX} node"));
}
