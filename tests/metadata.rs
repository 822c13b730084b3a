//! Real container engines, asked for names by the socket.

use carbon_user::metadata::{Known, Metadata, Options};
use carbon_user::workload::identify;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An engine with storage of its own, all of which goes with it.
struct Podman {
    folder: tempfile::TempDir,
    service: Option<Child>,
}

impl Podman {
    fn command(&self) -> Command {
        let at = |name: &str| self.folder.path().join(name);
        let mut command = Command::new("podman");
        command.env("CONTAINERS_CONF", at("containers.conf"));
        command.arg("--root").arg(at("root")).arg("--runroot").arg(at("run")).args([
            "--cgroup-manager",
            "cgroupfs",
            "--events-backend",
            "none",
            "--storage-driver",
            "vfs",
        ]);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().unwrap()
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        self.run(&["rm", "--all", "--force", "--time", "0"]);
        if let Some(mut service) = self.service.take() {
            service.kill().unwrap();
            service.wait().unwrap();
        }
    }
}

/// Looks until it is known, for ten seconds.
fn learned(metadata: &Metadata, path: &str) -> Option<Arc<Known>> {
    let identity = identify(path);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(10) {
        let asked = Instant::now();
        let known = metadata.lookup(&identity);
        assert!(asked.elapsed() < Duration::from_millis(100), "it waits for nobody");
        if known.is_some() {
            return known;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    None
}

#[test]
fn podman_says_names_and_what_is_gone_keeps_its_own() {
    let test = "podman_says_names_and_what_is_gone_keeps_its_own";
    let skip = |why: &str| println!("SKIPPED: {test}: {why}");
    if !rustix::process::geteuid().is_root() {
        return skip("not root");
    }
    if Command::new("podman").arg("--version").output().is_err() {
        return skip("there is no podman");
    }
    let mut podman = Podman { folder: tempfile::tempdir().unwrap(), service: None };
    let folder = podman.folder.path().to_owned();
    fs::write(folder.join("containers.conf"), "[containers]\npids_limit = 0\n").unwrap();
    // A root folder with nothing in it: what is made is never started.
    fs::create_dir(folder.join("rootfs")).unwrap();
    let rootfs = folder.join("rootfs").display().to_string();
    let made = podman.run(&[
        "create",
        "--name",
        "web-1",
        "--label",
        "team=a",
        "--label",
        "secret=x",
        "--network",
        "none",
        "--rootfs",
        &rootfs,
        "/none",
    ]);
    if !made.status.success() {
        return skip(&format!("podman makes no container: {}", String::from_utf8_lossy(&made.stderr)));
    }
    let id = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    let socket = folder.join("podman.sock");
    let mut options = Options { engines: vec![("podman", socket.clone())], ..Options::default() };
    options.labels.0 = vec!["team".into()];
    // The socket is not there yet.
    let metadata = Metadata::start(options).unwrap();
    let path = format!("/machine.slice/libpod-{id}.scope");
    assert_eq!(metadata.lookup(&identify(&path)), None);
    std::thread::sleep(Duration::from_millis(300));
    let service = podman
        .command()
        .args(["system", "service", "--time", "0"])
        .arg(format!("unix://{}", socket.display()))
        .spawn();
    podman.service = Some(service.unwrap());
    assert!(wait_for(&socket), "podman made no socket");
    let known = learned(&metadata, &path).expect("podman knows its container");
    assert_eq!((known.source, known.container.as_deref()), ("podman", Some("web-1")));
    let labels: Vec<_> = known.labels.iter().collect();
    assert_eq!(labels, [(&"team".to_owned(), &"a".to_owned())]);
    // Nobody knows this one, and it is counted.
    let other = format!("/machine.slice/libpod-{}.scope", "0".repeat(64));
    assert_eq!(metadata.lookup(&identify(&other)), None);
    podman.run(&["rm", "--force", "web-1"]);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(metadata.lookup(&identify(&path)), Some(known));
    assert_eq!(metadata.counts().unresolved, 1);
}

fn wait_for(path: &Path) -> bool {
    (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        path.exists()
    })
}

/// Ends with the test.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// It has no container, as one needs an image: what is held here is that it understands what it is asked.
#[test]
fn containerd_is_asked_in_its_own_words() {
    let test = "containerd_is_asked_in_its_own_words";
    if !rustix::process::geteuid().is_root() {
        return println!("SKIPPED: {test}: not root");
    }
    if Command::new("containerd").arg("--version").output().is_err() {
        return println!("SKIPPED: {test}: there is no containerd");
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let config = format!(
        "version = 2\nroot = {:?}\nstate = {:?}\n[grpc]\naddress = {:?}\n\
         [plugins.\"io.containerd.grpc.v1.cri\"]\ndisable_apparmor = true\nrestrict_oom_score_adj = true\n",
        at("root"),
        at("state"),
        at("socket"),
    );
    fs::write(at("config.toml"), config).unwrap();
    let log = fs::File::create(at("log")).unwrap();
    let mut command = Command::new("containerd");
    let _service = Service(
        command
            .arg("-c")
            .arg(at("config.toml"))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap(),
    );
    let log = || fs::read_to_string(at("log")).unwrap();
    let booted = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        log().contains("successfully booted")
    });
    if !booted || !log().contains("Start subscribing containerd event") {
        return println!("SKIPPED: {test}: containerd or its CRI plugin does not start: {}", log());
    }
    let options = Options { cri: vec![("containerd", at("socket").into())], ..Options::default() };
    let metadata = Metadata::start(options).unwrap();
    let path = format!("/kubepods/besteffort/pod98210229-0000-4000-8000-000000000001/{}", "1".repeat(64));
    assert_eq!(metadata.lookup(&identify(&path)), None);
    let told = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        metadata.counts().unresolved == 1
    });
    assert!(told, "{:?}", metadata.counts());
    assert_eq!(metadata.counts().errors.values().sum::<u64>(), 0, "{}", log());
}
