use super::desk::{Desk, KNOWN_MAX, PENDING_MAX};
use super::*;
use proptest::prelude::*;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};

const SECOND_NS: u64 = 1_000_000_000;
const ID: &str = "3f6b32aaf0e8c1d2a4b5c6d7e8f90112233445566778899aabbccddeeff00112";

/// Reads one request of a connection and gives `answer`; returns what was asked.
fn serve(mut stream: impl Read + Write, answer: &str) -> String {
    let mut asked = Vec::new();
    let mut byte = [0; 1];
    while !asked.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
        asked.push(byte[0]);
    }
    stream.write_all(answer.as_bytes()).ok();
    String::from_utf8(asked).unwrap()
}

fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn container() -> Key {
    Key::Container(ID.to_owned())
}

#[test]
fn an_engine_is_asked_by_id_and_its_socket_may_go_and_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("docker.sock");
    let labels = Labels(vec!["team".into()]);
    let mut engine = engine::Engine::new("docker", path.clone(), labels);
    assert!(matches!(engine.ask(&[container()]), Err(SourceError::Absent(_))));
    let listener = UnixListener::bind(&path).unwrap();
    // As Docker 27 answers, chunked, and less what is not read.
    let body = r#"{"Id":"3f6b","Created":"2026-01-01T00:00:00Z","Name":"/web-1","Config":{"Hostname":"h","Image":"nginx:1.27","Labels":{"team":"a\u001bb","secret":"x"}},"State":{"Pid":7}}"#;
    let chunked = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    let answers = [
        chunked,
        "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}".to_owned(),
        ok("{\"Name\": 3"),
        "garbage\r\n\r\n".to_owned(),
    ];
    let thread =
        std::thread::spawn(move || answers.map(|answer| serve(listener.accept().unwrap().0, &answer)));
    let found = engine.ask(&[container(), Key::Pod("p".into()), Key::Container("../x".into())]).unwrap();
    let [(key, known)] = &found[..] else { panic!("{found:?}") };
    assert_eq!((key, known.label().as_deref()), (&container(), Some("web-1")));
    assert_eq!(known.image.as_deref(), Some("nginx:1.27"));
    assert_eq!(known.labels, BTreeMap::from([("team".to_owned(), "ab".to_owned())]));
    assert_eq!(engine.ask(&[container()]).unwrap(), []);
    assert!(matches!(engine.ask(&[container()]), Err(SourceError::Failed(_))));
    assert!(matches!(engine.ask(&[container()]), Err(SourceError::Failed(_))));
    let asked = thread.join().unwrap();
    assert!(asked[0].starts_with(&format!("GET /containers/{ID}/json HTTP/1.1\r\n")), "{asked:?}");
    // The listener has gone with its thread, and the file is still there.
    assert!(matches!(engine.ask(&[container()]), Err(SourceError::Absent(_))));
}

#[test]
fn a_kubelet_tells_pods_and_says_why_not() {
    let folder = tempfile::tempdir().unwrap();
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, "abc\n").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let list = format!(
        r#"{{"kind":"PodList","apiVersion":"v1","metadata":{{}},"items":[{{"metadata":{{"name":"web-0","namespace":"shop","uid":"98210229-0000-4000-8000-000000000001","labels":{{"app":"web"}},"annotations":{{"kubernetes.io/config.hash":"0123456789abcdef0123456789abcdef"}}}},"spec":{{}},"status":{{"phase":"Running","containerStatuses":[{{"name":"nginx","image":"nginx:1.27","containerID":"containerd://{ID}"}},{{"name":"later","image":"x"}}]}}}}]}}"#
    );
    let answers = [
        ok(&list),
        "HTTP/1.1 401 Unauthorized\r\nContent-Length: 12\r\n\r\nUnauthorized".to_owned(),
        "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n".to_owned(),
        ok("[]x"),
        ok(r#"{"items":null}"#),
    ];
    let thread =
        std::thread::spawn(move || answers.map(|answer| serve(listener.accept().unwrap().0, &answer)));
    let kubelet = Kubelet { url, token_file: Some(token_file), ca_file: None };
    let mut pods = kubelet::Pods::new(kubelet, Labels::default());
    let known: HashMap<Key, Known> = pods.ask(&[]).unwrap().into_iter().collect();
    assert_eq!(known[&container()].label().as_deref(), Some("shop/web-0/nginx"));
    for uid in ["98210229-0000-4000-8000-000000000001", "0123456789abcdef0123456789abcdef"] {
        assert_eq!(known[&Key::Pod(uid.into())].label().as_deref(), Some("shop/web-0"));
    }
    assert!(known.values().all(|known| known.labels.is_empty()), "none was asked for");
    let refused = pods.ask(&[]).unwrap_err().to_string();
    assert!(refused.contains("401") && refused.contains("token"), "{refused}");
    assert!(pods.ask(&[]).unwrap_err().to_string().contains("429"));
    assert!(pods.ask(&[]).unwrap_err().to_string().contains("no list of pods"));
    assert_eq!(pods.ask(&[]).unwrap(), []);
    let asked = thread.join().unwrap();
    assert!(asked.iter().all(|asked| asked.to_lowercase().contains("authorization: bearer abc\r\n")));
}

/// A field of protocol buffers whose value has a length.
fn field(number: u8, value: impl AsRef<[u8]>) -> Vec<u8> {
    let value = value.as_ref();
    let mut bytes = Vec::new();
    prost::encoding::encode_varint(u64::from(number) << 3 | 2, &mut bytes);
    prost::encoding::encode_varint(value.len() as u64, &mut bytes);
    bytes.extend(value);
    bytes
}

/// Bytes as `api.proto` of runtime.v1 numbers the fields, with some that are passed over.
#[test]
fn lists_of_the_runtime_interface_are_read() {
    use prost::Message as _;
    let label = |number, key: &str, value: &str| field(number, [field(1, key), field(2, value)].concat());
    let one = [
        field(1, ID),
        field(2, "5a"),
        field(3, field(1, "nginx")),
        field(4, [field(1, "sha256:77"), field(18, "nginx:1.27")].concat()),
        field(5, "sha256:77"),
        label(8, "io.kubernetes.container.name", "nginx"),
        label(8, "io.kubernetes.pod.name", "web-0"),
        label(8, "io.kubernetes.pod.namespace", "shop"),
    ];
    let sandbox = [
        field(1, "5a"),
        field(2, [field(1, "web-0"), field(2, "98210229"), field(3, "shop")].concat()),
        label(5, "app", "web"),
    ];
    let containers = cri::ListContainersResponse::decode(&field(1, one.concat())[..]).unwrap();
    let sandboxes = cri::ListSandboxesResponse::decode(&field(1, sandbox.concat())[..]).unwrap();
    let cri = cri::Cri::new("containerd", "/none".into(), Labels(vec!["app".into()]));
    let known: HashMap<Key, Known> = cri.known(containers, sandboxes).into_iter().collect();
    assert_eq!(known[&container()].label().as_deref(), Some("shop/web-0/nginx"));
    assert_eq!(known[&container()].image.as_deref(), Some("nginx:1.27"));
    assert_eq!(known[&container()].labels["app"], "web", "its pod's");
    assert_eq!(known[&Key::Pod("98210229".into())].label().as_deref(), Some("shop/web-0"));
    assert_eq!(known[&Key::Container("5a".into())].labels["app"], "web");
    assert!(cri::ListContainersResponse::decode(&b"\x0a\xffgarbage"[..]).is_err());
}

/// Fails as often as it is told, then knows everything.
struct Stub {
    failures: usize,
    asked: std::sync::Arc<std::sync::atomic::AtomicUsize>,
}

impl Source for Stub {
    fn name(&self) -> &'static str {
        "stub"
    }

    fn ask(&mut self, wanted: &[Key]) -> Result<Vec<(Key, Known)>, SourceError> {
        self.asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if self.failures > 0 {
            self.failures -= 1;
            return Err(SourceError::Failed("busy".into()));
        }
        Ok(wanted.iter().map(|key| (key.clone(), Known::default())).collect())
    }
}

#[test]
fn a_source_that_fails_is_left_alone_for_longer_each_time() {
    let asked = std::sync::Arc::<std::sync::atomic::AtomicUsize>::default();
    let mut desk = Desk::new(vec![Box::new(Stub { failures: 5, asked: std::sync::Arc::clone(&asked) })], 0);
    desk.want(container(), 0);
    let mut known_at = None;
    for tenth in 0..600 {
        if desk.round(tenth * SECOND_NS / 10) {
            known_at = known_at.or(Some(tenth / 10));
        }
    }
    // 1 + 2 + 4 + 8 + 16 s, and the question itself backs off in the same way.
    assert_eq!((known_at, desk.unresolved()), (Some(31), 0));
    assert_eq!(desk.errors(), BTreeMap::from([("stub", 5)]));
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 6);
}

/// Knows nothing.
struct Ignorant;

impl Source for Ignorant {
    fn name(&self) -> &'static str {
        "ignorant"
    }

    fn ask(&mut self, _: &[Key]) -> Result<Vec<(Key, Known)>, SourceError> {
        Ok(Vec::new())
    }
}

#[test]
fn what_nobody_asks_for_any_more_is_forgotten_and_keeps_nothing_out() {
    let mut desk = Desk::new(vec![Box::new(Ignorant)], 0);
    let key = |number: usize| Key::Container(number.to_string());
    // Few: one is still there and asked for every ten seconds, the others have gone.
    for number in 0..100 {
        desk.want(key(number), 0);
    }
    for half in 0..=620 {
        let now_ns = half * SECOND_NS / 2;
        if half % 20 == 0 {
            desk.want(key(0), now_ns);
        }
        desk.round(now_ns);
        let open = if half < 600 { 100 } else { 1 };
        assert_eq!((desk.unresolved(), desk.dropped), (open, 0), "after {half} half seconds");
    }
    // Many: containers that nobody knows come and go for minutes, faster than questions are given up. Those that are there
    // are asked for all the time.
    let begun_ns = 1_000 * SECOND_NS;
    for half in 0..1_200 {
        let now_ns = begun_ns + half * SECOND_NS / 2;
        for gone in 0..20 {
            desk.want(key(1_000 + 20 * usize::try_from(half).unwrap() + gone), now_ns);
        }
        if half % 20 == 0 {
            for number in 0..500 {
                desk.want(key(number), now_ns);
            }
        }
        desk.round(now_ns);
        assert!(desk.unresolved() <= PENDING_MAX, "after {half} half seconds");
    }
    assert_eq!(desk.dropped, 0, "all had room");
    for number in 0..500 {
        assert!(desk.is_open(&key(number)), "{number} is asked for");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_known_and_asked_for_is_bounded(count in 1_usize..3 * PENDING_MAX, rounds in 0_usize..90) {
        let mut desk = Desk::new(vec![Box::new(Stub { failures: 0, asked: std::sync::Arc::default() })], 0);
        for id in 0..count {
            desk.want(Key::Container(format!("{id}")), 0);
        }
        prop_assert_eq!(desk.dropped, count.saturating_sub(PENDING_MAX) as u64);
        for round in 0..rounds {
            desk.round(round as u64);
        }
        prop_assert_eq!(desk.known().len(), count.min(PENDING_MAX).min(256 * rounds));
        prop_assert!(desk.known().len() <= KNOWN_MAX);
    }
}

#[test]
fn labels_are_those_that_are_named_and_differ_in_metrics() {
    let of = |names: &[&str]| Labels::new(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    assert_eq!(of(&[]), Ok(Labels::default()));
    let two = of(&["team", "app.kubernetes.io/name"]).unwrap();
    assert_eq!(
        two.0.iter().map(|name| Labels::shown(name)).collect::<Vec<_>>(),
        ["label_team", "label_app_kubernetes_io_name"]
    );
    let all = HashMap::from(
        [("team", "a"), ("secret", "b")].map(|(name, text)| (name.to_owned(), text.to_owned())),
    );
    assert_eq!(two.keep(&all), BTreeMap::from([("team".to_owned(), "a".to_owned())]));
    for wrong in [&["a.b", "a/b"][..], &["a b"], &[""], &["a\n"]] {
        assert!(of(wrong).is_err(), "{wrong:?}");
    }
    let many: Vec<String> = (0..17).map(|number| format!("l{number}")).collect();
    assert!(Labels::new(&many).is_err() && Labels::new(&many[1..]).is_ok());
}

#[test]
fn what_a_user_could_make_up_is_not_asked_for() {
    let of = |path: &str| Key::of(&crate::workload::identify(path));
    assert_eq!(of(&format!("/system.slice/docker-{ID}.scope")), Some(container()));
    assert_eq!(of(&format!("/user.slice/user-1000.slice/docker-{ID}.scope")), None);
    assert_eq!(of("/system.slice/ssh.service"), None);
    // Who logs in to a container is the container's.
    let session = "user.slice/user-1000.slice/session-1.scope";
    assert_eq!(of(&format!("/system.slice/docker-{ID}.scope/{session}")), Some(container()));
    let rootless = format!("user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope");
    assert_eq!(of(&format!("/{rootless}/{session}")), None);
    assert_eq!(of(&format!("/user/alice/0/docker/{ID}")), None);
}

#[test]
fn only_what_somebody_names_is_asked_for() {
    let of = |path: &str| Key::of(&crate::workload::identify(path));
    let uid = "98210229-0000-4000-8000-000000000001";
    for path in [
        "/lxc.payload.db",
        "/lxc.payload.db/system.slice/nginx.service",
        "/machine.slice/systemd-nspawn@web.service/payload",
        &format!("/lxc.payload.{ID}"),
        &format!("/mesos/{uid}"),
        "/docker/buildkit/n3bffzjelwjyh31a49hogwh65",
        &format!("/garden/{uid}"),
        &format!("/ecs/{0}/{0}-1", "34dc0b5e626f2c5c4c5170e34b10e765"),
        "/default/redis-1",
        "/system.slice/apptainer-7.scope",
    ] {
        assert_eq!(of(path), None, "{path}");
    }
    let docker = |id: &str| Some(Key::Container(id.to_owned()));
    assert_eq!(of(&format!("/{ID}")), container().into());
    assert_eq!(of(&format!("/ecs/{uid}/{ID}")), docker(ID));
    assert_eq!(of(&format!("/kubepods/pod{uid}/{uid}")), docker(uid));
    assert_eq!(of(&format!("/kubepods/pod{uid}/kata_{ID}")), docker(ID));
    assert_eq!(of(&format!("/kubepods/pod{uid}")), Some(Key::Pod(uid.to_owned())));
    assert_eq!(of(&format!("/system.slice/docker-{ID}.scope/kubepods/pod{uid}/{uid}")), docker(ID));
}

#[test]
fn a_runtime_that_left_its_socket_behind_has_not_failed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("containerd.sock");
    let mut runtime = cri::Cri::new("containerd", path.clone(), Labels::default());
    assert!(matches!(runtime.ask(&[]), Err(SourceError::Absent(_))));
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    assert!(matches!(runtime.ask(&[]), Err(SourceError::Absent(_))));
    // One that listens and speaks another language has.
    let listener = UnixListener::bind(folder.path().join("other.sock")).unwrap();
    let thread = std::thread::spawn(move || serve(listener.accept().unwrap().0, "HTTP/1.1 200 OK\r\n\r\n"));
    let mut other = cri::Cri::new("containerd", folder.path().join("other.sock"), Labels::default());
    assert!(matches!(other.ask(&[]), Err(SourceError::Failed(_))));
    drop(thread);
}

#[test]
fn an_engine_that_takes_no_connections_has_failed_and_keeps_nobody_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("docker.sock");
    let listener = UnixListener::bind(&path).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let _first = UnixStream::connect(&path).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut docker = engine::Engine::new("docker", path.clone(), Labels::default());
        let mut runtime = cri::Cri::new("containerd", path, Labels::default());
        tell.send(docker.ask(&[container()])).unwrap();
        tell.send(runtime.ask(&[])).unwrap();
    });
    for (name, reason) in [("docker", "takes no more connections"), ("containerd", "unavailable")] {
        let answer = told.recv_timeout(std::time::Duration::from_secs(20));
        let said = answer.expect(name).unwrap_err();
        assert!(matches!(&said, SourceError::Failed(why) if why.contains(reason)), "{name}: {said:?}");
    }
}

#[test]
fn a_note_of_slurms_prolog_is_read() {
    let check = |note: &[u8], wanted: Option<[Option<&str>; 4]>| {
        let job = slurm::known(note).map(|known| known.job.unwrap());
        let parts = job.map(|it| [it.user, it.account, it.partition, it.name]);
        let parts = parts.as_ref().map(|parts| parts.each_ref().map(Option::as_deref));
        assert_eq!(parts, wanted, "{}", String::from_utf8_lossy(note));
    };
    let all = [Some("ada"), Some("physics"), Some("gpu"), Some("relax|NVT")];
    check(b"1772366400|ada|physics|gpu|relax|NVT\n", Some(all));
    // What the name has after its first line, and what would be done to a terminal.
    check(b"1772366400|ada|physics|gpu|relax|NVT\n1|eve|x|y|z\n", Some(all));
    check(b"1|ada|||a\x1b[2Jb\xff\n", Some([Some("ada"), None, None, Some("a[2Jb\u{fffd}")]));
    // As carbon left them before.
    check(b"1|1000|\n", Some([Some("1000"), None, None, None]));
    // Half written, or something else.
    for none in ["", "\n", "17723", "1772366400|", "x|ada|physics", "-1|ada|physics"] {
        check(none.as_bytes(), None);
    }
    let long = [&b"1|ada|p|g|"[..], &[b'x'; 9_000]].concat();
    assert_eq!(slurm::known(&long).unwrap().job.unwrap().name.unwrap().len(), TEXT_MAX);
}

#[test]
fn notes_that_others_could_have_written_are_not_believed() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join("notes").join(name);
    let mode = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let job = |id: &str| Key::Job(id.to_owned());
    let mut notes = slurm::Notes::new(at(""));
    assert!(matches!(notes.ask(&[job("1")]), Err(SourceError::Absent(_))), "no prolog of ours");
    std::fs::create_dir(at("")).unwrap();
    mode(&at(""), 0o700);
    for id in ["1", "2", "3"] {
        std::fs::write(at(id), "1|ada|physics|gpu|relax\n").unwrap();
        mode(&at(id), 0o600);
    }
    let found = notes.ask(&[job("1"), job("9"), container()]).unwrap();
    assert_eq!(found.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(), [job("1")]);
    let refused =
        |notes: &mut slurm::Notes, id: &str| matches!(notes.ask(&[job(id)]), Err(SourceError::Failed(_)));
    mode(&at("2"), 0o620);
    symlink(at("1"), at("4")).unwrap();
    std::fs::create_dir(at("5")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, at("6"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    for id in ["2", "4", "5", "6"] {
        assert!(refused(&mut notes, id), "{id}");
    }
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(at("3"), Some(65_534), None).unwrap();
        assert!(refused(&mut notes, "3"), "a user's own");
    }
    mode(&at(""), 0o777);
    assert!(refused(&mut notes, "1"), "anybody could have put it there");
    mode(&at(""), 0o700);
    let mut elsewhere = slurm::Notes::new(folder.path().join("link"));
    symlink(at(""), folder.path().join("link")).unwrap();
    assert!(refused(&mut elsewhere, "1"), "a link");
    assert!(!refused(&mut notes, "1"));
}

#[test]
fn a_job_of_slurm_is_asked_for_and_no_engine_is_asked_for_it() {
    let of = |path: &str| Key::of_job(&crate::workload::identify(path));
    let seven = Some(Key::Job("7".into()));
    assert_eq!(of("/system.slice/slurmstepd.scope/job_7/step_0/user/task_0"), seven);
    assert_eq!(of("/slurm/uid_1000/job_7/step_batch"), seven);
    assert_eq!(of("/system.slice/slurmstepd.scope/s1ABCDEFGH12345"), None, "no number");
    assert_eq!(of("/torque/7.host"), None, "another's");
    assert_eq!(of("/user.slice/user-1000.slice/slurmstepd.scope/job_7"), None);
    let asked = std::sync::Arc::<std::sync::atomic::AtomicUsize>::default();
    let mut desk = Desk::new(vec![Box::new(Stub { failures: 0, asked: std::sync::Arc::clone(&asked) })], 0);
    desk.want(Key::Job("7".into()), 0);
    assert!(!desk.round(1));
    assert_eq!((asked.load(std::sync::atomic::Ordering::Relaxed), desk.unresolved()), (0, 1));
}
