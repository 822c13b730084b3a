use super::lines::{Hierarchy, Line, choose};
use super::path::components;
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;

mod platforms;
mod realms;

const COLUMNS: [&str; 11] = [
    "kind",
    "runtime",
    "container_id",
    "pod_uid",
    "qos",
    "unit",
    "job_id",
    "job_step",
    "vm_name",
    "user_uid",
    "parent_kind_note",
];
/// Keys of notes that the table writes as `key=value`.
const NOTES: [&str; 6] = ["app=", "launcher=", "snap=", "node=", "task=", "podman pod="];

const HEX: &str = "5c50e6c9d2559565af8e20ae74feafc393734067b8bc9d6e5d28b07a92e32a41";
const HEX2: &str = "aa118c9ded36c1d3bd774977c3b68dc2b02a832e1fe5145a95b3635bda180f86";
const UID: &str = "98210229-528f-4c9a-805d-48a1af2194bf";

/// Hierarchy, path, and the other columns by name.
type Rows = Vec<(String, String, BTreeMap<&'static str, String>)>;

/// Rows of the table that the parser was written by.
fn table() -> Rows {
    rows("paths.tsv")
}

fn rows(file: &str) -> Rows {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/cgroups").join(file);
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().skip(1).map(|line| {
        let fields: Vec<&str> = line.split('\t').collect();
        assert_eq!(fields.len(), COLUMNS.len() + 3, "{line}");
        let expected = COLUMNS.iter().zip(&fields[2..]).map(|(name, value)| (*name, (*value).to_owned()));
        (fields[0].to_owned(), fields[1].to_owned(), expected.collect())
    });
    rows.collect()
}

fn told(identity: &Identity) -> BTreeMap<&'static str, String> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let values = [
        identity.kind.to_string(),
        identity.runtime.map(|runtime| runtime.to_string()).unwrap_or_default(),
        text(&identity.container_id),
        text(&identity.pod_uid),
        identity.qos.map(|qos| qos.to_string()).unwrap_or_default(),
        text(&identity.unit),
        text(&identity.job_id),
        text(&identity.job_step),
        text(&identity.vm_name),
        identity.user_uid.map(|uid| uid.to_string()).unwrap_or_default(),
    ];
    COLUMNS.into_iter().zip(values).collect()
}

/// The value behind `key` in a note of the table, up to a space or a mark.
fn value_of<'n>(note: &'n str, key: &str) -> Option<&'n str> {
    note.split_once(key).map(|(_, rest)| rest.split([' ', ';', ',']).next().unwrap().trim_end_matches(':'))
}

/// What of an identity's notes is not as the table's note says.
fn differences_of_notes(identity: &Identity, note: &str) -> Vec<String> {
    let mut found = Vec::new();
    let outer = identity.outer.as_ref().map(ToString::to_string);
    if outer.as_deref() != value_of(note, "outer=") {
        found.push(format!("outer is {outer:?}, expected {:?}", value_of(note, "outer=")));
    }
    let helper = identity.helper.map(Helper::as_str);
    let expected = value_of(note, "helper=").or(note.contains("helper: podman client").then_some("client"));
    if helper != expected {
        found.push(format!("helper is {helper:?}, expected {expected:?}"));
    }
    let notes: Vec<String> = identity.notes.iter().map(ToString::to_string).collect();
    for key in NOTES {
        let expected = value_of(note, key).map(|value| format!("{key}{value}"));
        if !expected.iter().all(|expected| notes.contains(expected)) {
            found.push(format!("notes are {notes:?}, expected {expected:?}"));
        }
    }
    if note.contains("inner unit") != identity.notes.iter().any(|note| matches!(note, Note::Inner(_))) {
        found.push(format!("notes are {notes:?}, and an inner unit is not as expected"));
    }
    found
}

#[test]
fn every_path_of_the_table_is_known() {
    let rows = table();
    assert_eq!(rows.len(), 138);
    all_are_known(&rows);
}

/// Most of it was written down by what is known of the tools before the parser was asked (the fixtures' README.md), with who
/// could have given a path's names.
#[test]
fn every_path_of_the_second_table_is_known() {
    let rows = rows("more-paths.tsv");
    assert!(rows.len() > 300);
    all_are_known(&rows);
    for (_, path, expected) in rows {
        let realm = value_of(&expected["parent_kind_note"], "realm=").unwrap_or("node");
        assert_eq!(identify(&path).realm.as_str(), realm, "{path}");
    }
}

fn all_are_known(rows: &Rows) {
    let mut wrong = Vec::new();
    for (hierarchy, path, expected) in rows {
        let identity = identify(path);
        let mut found = differences_of_notes(&identity, &expected["parent_kind_note"]);
        for (name, value) in told(&identity) {
            if value != expected[name] {
                found.push(format!("{name} is {value:?}, expected {:?}", expected[name]));
            }
        }
        // As one line of /proc/PID/cgroup it says the same.
        let line = match hierarchy.strip_prefix("v1:") {
            Some(controllers) => format!("7:{controllers}:{path}\n"),
            None => format!("0::{path}\n"),
        };
        if choose(&line).map(|choice| choice.identity) != Some(identity) {
            found.push("not the same from /proc/PID/cgroup".to_owned());
        }
        if !found.is_empty() {
            wrong.push(format!("{path}\n    {}", found.join("\n    ")));
        }
    }
    assert!(wrong.is_empty(), "{} of {} paths:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

/// A table whose every expectation is turned shows as many differences: the test above can fail.
#[test]
fn a_wrong_expectation_is_seen() {
    for (_, path, expected) in table() {
        let identity = identify(&path);
        for (name, value) in told(&identity) {
            assert_ne!(value, format!("{}x", expected[name]));
        }
        let note = format!(
            "{} helper=x, outer=x:x",
            expected["parent_kind_note"].replace("helper", "").replace("outer", "")
        );
        assert_eq!(differences_of_notes(&identity, &note).len(), 2, "{path}");
    }
}

#[test]
fn all_of_the_table_has_a_name() {
    let names: Vec<String> = table()
        .iter()
        .map(|(_, path, _)| {
            format!("{path}\n    {}", identify(path).label().unwrap_or_else(|| "-".to_owned()))
        })
        .collect();
    insta::assert_snapshot!("names", names.join("\n"));
}

/// Kind, runtime, and unit, id or name.
fn check(path: &str, expected: &str) {
    let identity = identify(path);
    let runtime = identity.runtime.map_or("-", Runtime::as_str);
    let ids =
        [&identity.job_id, &identity.vm_name, &identity.container_id, &identity.pod_uid, &identity.unit];
    let id = ids.into_iter().flatten().next().map_or("-", String::as_str);
    let user = identity.user_uid.map(|uid| format!(" uid {uid}")).unwrap_or_default();
    assert_eq!(format!("{} {runtime} {id}{user} {}", identity.kind, identity.realm), expected, "{path}");
}

#[test]
fn shapes_near_the_known_ones_degrade() {
    let uid = UID.replace('-', "_");
    for (path, expected) in [
        ("", "unknown - - node"),
        ("/..", "root - - node"),
        ("/../../", "root - - node"),
        ("/docker", "unknown - - node"),
        ("/docker/x", "unknown - - node"),
        ("/system.slice/x", "slice systemd system.slice node"),
        ("/system.slice/docker-compose.scope", "scope systemd docker-compose.scope node"),
        ("/system.slice/ssh.service (deleted)", "unit systemd ssh.service node"),
        ("/system.slice/_cpu.service", "unit systemd cpu.service node"),
        ("/system.slice/a\\x2db\\x.service", "unit systemd a-b\\x.service node"),
        ("/kubepods/burstable", "slice kubernetes - node"),
        ("/kubepods/burstable/podx", "slice kubernetes - node"),
        ("/system.slice/slurmstepd.scope/job_x", "scope slurm slurmstepd.scope node"),
        ("/x.slice/slurmstepd.scope/job_1", "scope systemd slurmstepd.scope node"),
        ("/slurm/uid_7", "unknown slurm - uid 7 node"),
        (
            "/user.slice/user-1000.slice/session-2.scope/job_1",
            "session systemd session-2.scope uid 1000 user",
        ),
        ("/machine.slice/machine-c1.scope", "nspawn nspawn c1 node"),
        ("/machine.slice/systemd-nspawn@a\\x2db.service/supervisor", "nspawn nspawn a-b node"),
        ("/libvirt/qemu/old/vcpu0", "vm libvirt old node"),
        ("/ecs/34dc0b5e626f2c5c4c5170e34b10e765", "job ecs 34dc0b5e626f2c5c4c5170e34b10e765 node"),
        (
            "/hadoop-yarn/container_e17_1410901177871_0001_01_000005",
            "container yarn application_1410901177871_0001 node",
        ),
        ("/system/uid_1000/pid_1", "unknown android - uid 1000 node"),
        ("/a/b/c", "unknown - - node"),
    ] {
        check(path, expected);
    }
    check(&format!("/kubepods-pod{uid}.slice/x"), &format!("pod kubernetes {UID} node"));
    check(&format!("/../pod{UID}/{HEX}"), &format!("container kubernetes {HEX} node"));
    check(&format!("/system.slice:docker:{HEX}"), &format!("container docker {HEX} node"));
    check(
        "/ecs/34dc0b5e626f2c5c4c5170e34b10e765/34dc0b5e626f2c5c4c5170e34b10e765-1234567890",
        "container ecs 34dc0b5e626f2c5c4c5170e34b10e765 node",
    );
    assert_eq!(identify(&format!("/../besteffort/pod{UID}")).qos, Some(Qos::Besteffort));
}

#[test]
fn the_part_below_is_told() {
    let below = |path| locate(path).inner.to_owned();
    assert_eq!(below("/system.slice/a.service"), "");
    assert_eq!(below("/../system.slice/a.service/x//y (deleted)"), "x//y");
    assert_eq!(below("/system.slice/x"), "x");
    assert_eq!(below("/x/y"), "x/y");
    assert_eq!(below("/machine.slice/machine-qemu\\x2d1\\x2dv.scope/libvirt/vcpu1"), "libvirt/vcpu1");
    assert_eq!(below("/slurm/uid_1/job_2/step_0/task_3"), "task_3");
    assert_eq!(below(&format!("/docker/{HEX}/a")), "a");
}

#[test]
fn the_line_that_names_the_workload_wins() {
    let pod = format!("/kubepods.slice/kubepods-pod{}.slice/crio-{HEX}.scope", UID.replace('-', "_"));
    let path = |text: &str| choose(text).unwrap().line.path.to_owned();
    // A daemon's unit in cgroup2.
    assert_eq!(path(&format!("12:pids:{pod}\n1:name=systemd:{pod}\n0::/system.slice/crio.service\n")), pod);
    let text = format!("3:cpuset:/docker/{HEX}\n0::/system.slice/snap.docker.dockerd.service\n");
    assert_eq!(choose(&text).unwrap().line.hierarchy, Hierarchy::V1("cpuset"));
    // Controllers that stop at the slice, and those that have no group.
    let session = "/user.slice/user-1000.slice/session-2.scope";
    assert_eq!(
        path(&format!("9:devices:/user.slice\n5:cpu:/\n1:name=systemd:{session}\n0::{session}\n")),
        session
    );
    let text = format!("9:cpu,cpuacct:{session}\n1:name=systemd:{session}\n0::{session}\n");
    assert_eq!(choose(&text).unwrap().line.hierarchy, Hierarchy::V1("name=systemd"));
    // The longest.
    let whole = format!("/kubepods/pod{UID}/{HEX}");
    assert_eq!(path(&format!("2:cpu:/kubepods/pod{UID}\n3:pids:{whole}\n4:memory:/kubepods\n")), whole);
    // A long path that a user made does not win over a container or job of the node.
    let long = format!("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{HEX}.scope/a/b/c/d");
    let job = "/slurm/uid_1000/job_5/step_0";
    assert_eq!(path(&format!("1:name=systemd:{long}\n2:cpu:{job}\n0::{long}\n")), job);
    // Colons in the path, and lines that are none.
    let mismatch = format!(
        "/system.slice/containerd.service/kubepods-pod{}.slice:cri-containerd:{HEX}",
        UID.replace('-', "_")
    );
    assert_eq!(path(&format!("x\n\n1:name=systemd:{mismatch}\n0::/\n")), mismatch);
    assert_eq!(path("0::/\n"), "/");
    assert!(choose("").is_none());
    assert!(choose("x:y:/z\n1:cpu:z\n").is_none());
}

/// Parents below which any name is a name of something.
fn names_its_children(path: &str) -> bool {
    let names = components(path).0;
    matches!(names.last(), Some(&("lxc" | "lxc.payload" | "lxc.monitor")))
        || matches!(
            names.as_slice(),
            [] | ["default" | "k8s.io" | "libvirt" | "podruntime" | "system"] | ["libvirt", "qemu"]
        )
        || matches!(names.as_slice(), [jail] if jail.starts_with("firecracker"))
}

/// Components that mean something somewhere.
fn component() -> impl Strategy<Value = String> {
    let known: Vec<String> = table()
        .iter()
        .flat_map(|(_, path, _)| path.split('/').map(str::to_owned).collect::<Vec<_>>())
        .chain(
            ["lxc.payload", "docker-x.scope", "_", ".slice", "::", "pod", "podruntime.slice"]
                .map(str::to_owned),
        )
        .collect();
    prop_oneof![8 => prop::sample::select(known), 1 => "[a-z:.@_\\\\-]{0,12}", 1 => any::<String>()]
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(component(), 0..8).prop_map(|names| format!("/{}", names.join("/")))
}

proptest! {
    #[test]
    fn any_text_is_a_path(text in any::<String>(), path in path()) {
        for text in [text, path] {
            let located = locate(&text);
            prop_assert!(text.contains(located.inner));
            drop(located.identity.label());
            drop(choose(&text));
        }
    }

    #[test]
    fn an_unknown_child_is_part_of_its_parent(path in path()) {
        if !names_its_children(&path) && !path.ends_with(" (deleted)") {
            prop_assert_eq!(identify(&format!("{path}/unknown-child")), identify(&path), "{}", path);
        }
    }

    #[test]
    fn no_pod_or_job_of_the_node_is_below_a_users_slice(
        begin in prop::sample::select(vec![
            "/user.slice",
            "/user.slice/user-1000.slice",
            "/user.slice/user-1000.slice/user@1000.service",
            "/user.slice/user-1000.slice/session-2.scope",
            "/../user-1000.slice",
            "/../../user@1000.service/app.slice",
            "/capsule.slice/capsule@a.service",
        ]),
        path in path(),
    ) {
        let path = format!("{begin}{path}");
        let identity = identify(&path);
        prop_assert_eq!(identity.realm, Realm::User, "{}", &path);
        let rootless = matches!(
            identity.runtime,
            Some(
                Runtime::Systemd | Runtime::Snap | Runtime::Flatpak | Runtime::PodmanRootless | Runtime::DockerRootless
                    | Runtime::ContainerdRootless | Runtime::Apptainer | Runtime::Flux
            )
        );
        prop_assert!(rootless, "{}: {:?}", path, identity);
        prop_assert!(identity.kind != Kind::Pod || identity.runtime == Some(Runtime::PodmanRootless), "{}", &path);
        prop_assert!(identity.kind != Kind::Job || identity.runtime == Some(Runtime::Flux), "{}", &path);
        prop_assert!(identity.pod_uid.is_none() && identity.vm_name.is_none(), "{}", &path);
        if identity.runtime == Some(Runtime::Systemd) || identity.runtime == Some(Runtime::Flux) {
            prop_assert!(!identity.kind.is_container());
        }
    }

    #[test]
    fn the_order_of_lines_does_not_matter(paths in prop::collection::vec(path(), 1..5)) {
        let names = ["cpu", "name=systemd", "", "pids", "freezer"];
        let lines: Vec<String> = paths
            .iter()
            .zip(names)
            .map(|(path, name)| format!("{}:{name}:{}", u8::from(!name.is_empty()), path.replace('\n', "")))
            .filter(|line| line.lines().count() == 1)
            .collect();
        let turned: Vec<&str> = lines.iter().rev().map(String::as_str).collect();
        let (text, turned) = (lines.join("\n"), turned.join("\n"));
        prop_assert_eq!(choose(&text), choose(&turned));
        for line in &lines {
            prop_assert!(Line::read(line).is_some());
        }
    }
}
