//! `carbon agent` on a meter whose counter is known: each microjoule of it is in the ledger, however the agent ends.

#![expect(clippy::unwrap_used, reason = "clippy excuses functions with #[test] only, not those they call")]

use carbon_user::ledger::{Ledger, Location};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

/// Microjoules that the counter moves by, every 20 ms.
pub(crate) const STEP_UJ: u64 = 400_000;

/// What the counter's file shows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Shown {
    /// The counter.
    #[default]
    Counter,
    /// Something else, while the counter moves on.
    Text(&'static str),
    /// Nothing: the file is not there, while the counter moves on.
    Nothing,
    /// The counter, which begins anew: not at zero, which a meter takes for no value.
    Reset,
}

/// A sysfs with one package, whose counter moves until it is dropped.
pub(crate) struct Machine {
    folder: tempfile::TempDir,
    shown: Arc<Mutex<Shown>>,
    stop: Arc<AtomicBool>,
    writer: Option<JoinHandle<()>>,
    /// Agents that were started: a test that fails ends none.
    started: Mutex<Vec<u32>>,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sys = folder.path().join("sys");
        let zone = sys.join("class/powercap/intel-rapl:0");
        fs::create_dir_all(&zone).unwrap();
        for shared in ["devices", "kernel", "fs"] {
            symlink(Path::new("/sys").join(shared), sys.join(shared)).unwrap();
        }
        fs::write(zone.join("name"), "package-0").unwrap();
        fs::write(zone.join("max_energy_range_uj"), "262143328850").unwrap();
        fs::write(zone.join("energy_uj"), "5000000").unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let own = Arc::clone(&stop);
        let shown = Arc::<Mutex<Shown>>::default();
        let now = Arc::clone(&shown);
        let writer = std::thread::spawn(move || {
            let mut uj = 5_000_000;
            let show = |text: &str| {
                fs::write(zone.join("next"), text).unwrap();
                fs::rename(zone.join("next"), zone.join("energy_uj")).unwrap();
            };
            while !own.load(Ordering::Acquire) {
                uj += STEP_UJ;
                let mut shown = now.lock().unwrap();
                match *shown {
                    Shown::Counter => show(&uj.to_string()),
                    Shown::Text(text) => show(text),
                    Shown::Nothing => drop(fs::remove_file(zone.join("energy_uj"))),
                    Shown::Reset => {
                        uj = STEP_UJ;
                        *shown = Shown::Counter;
                        show(&uj.to_string());
                    }
                }
                drop(shown);
                sleep(Duration::from_millis(20));
            }
        });
        Self { folder, shown, stop, writer: Some(writer), started: Mutex::default() }
    }

    /// From now on.
    pub(crate) fn show(&self, shown: Shown) {
        *self.shown.lock().unwrap() = shown;
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn start(&self, more: &[&str]) -> Child {
        let more: Vec<&str> = ["--socket", "none"].into_iter().chain(more.iter().copied()).collect();
        self.launch("cpustat", &more)
    }

    /// With files named in its environment.
    pub(crate) fn start_with(&self, more: &[&str], files: &[(&str, &Path)]) -> Child {
        let more: Vec<&str> = ["--socket", "none"].into_iter().chain(more.iter().copied()).collect();
        self.spawn(self.command("cpustat", &more).envs(files.iter().copied()))
    }

    pub(crate) fn launch(&self, accounting: &str, more: &[&str]) -> Child {
        self.spawn(&mut self.command(accounting, more))
    }

    pub(crate) fn spawn(&self, command: &mut Command) -> Child {
        let child = command.spawn().unwrap();
        self.started.lock().unwrap().push(child.id());
        child
    }

    pub(crate) fn command(&self, accounting: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_carbon"));
        command.args(["agent", "--meter", "powercap", "--accounting", accounting, "--state", "none"]);
        command.arg("--sysfs-root").arg(self.path("sys")).arg("--resume").arg(self.path("agent.json"));
        if !more.contains(&"--store") {
            command.arg("--store").arg(self.path("ledger.db"));
        }
        command.args(more);
        command.env("CARBON_ZONE", "FR").stderr(Stdio::piped()).stdout(Stdio::null());
        command
    }

    /// Metered energy of whole hours around `from_s` to `to_s`, in Unix time.
    pub(crate) fn metered_between(&self, from_s: i64, to_s: i64) -> u64 {
        let mut ledger = Ledger::open(&Location::File(self.path("ledger.db"))).unwrap();
        let hour = |second: i64| second.div_euclid(3_600) * 3_600;
        let segments = ledger.segments(hour(from_s), hour(to_s) + 3_600).unwrap();
        ledger.balances(&segments).unwrap().iter().map(|(_, balance)| balance.metered_uj).sum()
    }

    /// Metered energy in the ledger, and how much of it is sampled; whether all of it balances.
    pub(crate) fn written(&self) -> (u64, u64) {
        let mut ledger = Ledger::open(&Location::File(self.path("ledger.db"))).unwrap();
        let segments = ledger.segments(0, 4_000_000_000 / 86_400 * 86_400).unwrap();
        let (mut metered, mut given) = (0, 0);
        for (_, balance) in ledger.balances(&segments).unwrap() {
            assert!(balance.holds());
            metered += balance.metered_uj;
            given += balance.attributed_uj + balance.static_uj;
        }
        let sums = ledger.sums(&segments).unwrap();
        // Idle energy that is nobody's has a row too.
        assert_eq!(sums.iter().map(|sum| sum.energy_uj).sum::<u64>(), given);
        let sampled = sums.iter().filter(|sum| sum.quality == carbon_user::units::Quality::Sampled);
        (metered, sampled.map(|sum| sum.energy_uj).sum())
    }

    /// Energy of each workload in the ledger whose cgroup is `cgroup` or below it.
    pub(crate) fn energy_below(&self, cgroup: &Path) -> Vec<u64> {
        let top = crate::support::root().cgroup2().unwrap().unwrap().path;
        let own = format!("/{}", cgroup.strip_prefix(top).unwrap().display());
        let mut ledger = Ledger::open(&Location::File(self.path("ledger.db"))).unwrap();
        let segments = ledger.segments(0, 4_000_000_000 / 86_400 * 86_400).unwrap();
        let mut energies: BTreeMap<String, u64> = BTreeMap::new();
        let workloads = ledger.workloads().unwrap();
        for sum in ledger.sums(&segments).unwrap() {
            let path = &workloads[&sum.workload].identity;
            if path.strip_prefix(&own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
                *energies.entry(path.clone()).or_default() += sum.energy_uj;
            }
        }
        energies.into_values().collect()
    }

    /// The counter where the agent last read it.
    pub(crate) fn marked(&self) -> u64 {
        let text = fs::read_to_string(self.path("agent.json")).unwrap();
        let resume: serde_json::Value = serde_json::from_str(&text).unwrap();
        resume["edges"].as_array().unwrap().last().unwrap()["counters"][0]["raw_uj"].as_u64().unwrap()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for agent in self.started.get_mut().unwrap().drain(..) {
                let _ended =
                    Pid::from_raw(agent.cast_signed()).map(|agent| kill_process(agent, Signal::KILL));
            }
        }
        self.stop.store(true, Ordering::Release);
        if let Some(writer) = self.writer.take() {
            writer.join().unwrap();
        }
    }
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// What it said, and its status.
pub(crate) fn end(mut child: Child, signal: Signal) -> (String, Option<i32>) {
    send(&child, signal);
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (said, child.wait().unwrap().code())
}

#[test]
fn each_microjoule_is_in_the_ledger_however_the_agent_ends() {
    let machine = Machine::new();
    let options = ["--interval", "200ms", "--flush", "500ms"];
    let child = machine.start(&options);
    sleep(Duration::from_millis(2_500));
    // The first reading is where the file of a restart begins; it is not known from outside before it has ended.
    let (said, status) = end(child, Signal::TERM);
    assert_eq!(status, Some(0), "{said}");
    let (first, sampled) = machine.written();
    let origin = machine.marked() - first;
    assert!(first > 10 * STEP_UJ && sampled == 0, "{first}: {said}");
    assert_eq!((origin - 5_000_000) % STEP_UJ, 0, "it begins with a reading");

    let child = machine.start(&options);
    sleep(Duration::from_millis(1_500));
    let (said, status) = end(child, Signal::KILL);
    assert_eq!(status, None);
    assert!(said.contains("since the last minute that was written are recovered"), "{said}");
    sleep(Duration::from_secs(1));

    let child = machine.start(&options);
    sleep(Duration::from_secs(1));
    let (said, status) = end(child, Signal::INT);
    assert_eq!(status, Some(0), "{said}");
    let (all, sampled) = machine.written();
    assert_eq!(all, machine.marked() - origin, "no microjoule twice or never: {said}");
    assert!(sampled > 20 * STEP_UJ && sampled < all, "{sampled} of {all}");
}

#[test]
fn a_ledger_that_cannot_be_written_is_written_later() {
    let machine = Machine::new();
    fs::create_dir(machine.path("ledger.db")).unwrap();
    let child = machine.start(&["--interval", "200ms", "--flush", "500ms"]);
    sleep(Duration::from_secs(2));
    fs::remove_dir(machine.path("ledger.db")).unwrap();
    sleep(Duration::from_millis(1_500));
    let (said, status) = end(child, Signal::TERM);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("minutes wait to be written") && said.contains("written again"), "{said}");
    let (written, _) = machine.written();
    // From its first reading on, within half a second of its start.
    assert!(machine.marked() - 5_000_000 - written < 60 * STEP_UJ, "{written}: {said}");
}

#[test]
fn a_changed_file_is_taken_up_and_a_broken_one_is_not() {
    let machine = Machine::new();
    let config = machine.path("agent.toml");
    let option = format!("--config={}", config.display());
    fs::write(&config, "interval = \"200ms\"\n\nflsh = \"1s\"\n").unwrap();
    let output = machine.start(&[&option]).wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(said.contains("agent.toml:3:1: unknown key \"flsh\""), "{said}");

    fs::write(&config, "interval = \"200ms\"\nflush = \"1s\"\n").unwrap();
    let child = machine.start(&[&option]);
    sleep(Duration::from_secs(1));
    fs::write(&config, "interval = \"never\"\n").unwrap();
    send(&child, Signal::HUP);
    sleep(Duration::from_millis(500));
    fs::write(&config, "interval = \"100ms\"\nflush = \"2s\"\n").unwrap();
    send(&child, Signal::HUP);
    sleep(Duration::from_millis(500));
    let (said, status) = end(child, Signal::TERM);
    assert_eq!(status, Some(0), "{said}");
    assert!(
        said.contains("everything stays as it was") && said.contains("agent.toml:1:1: --interval never"),
        "{said}"
    );
    assert!(said.contains("reloaded: windows of 100ms, flushed every 2s"), "{said}");
}

/// A pod's container as Kubernetes makes it, without Kubernetes; its cgroups go with it.
struct Pod {
    top: PathBuf,
    uid: String,
    container: String,
}

impl Pod {
    /// In a hierarchy.
    fn below(top: PathBuf) -> Self {
        let unique = std::process::id();
        let pod = Self {
            top,
            uid: format!("98210229-0000-4000-8000-{unique:012}"),
            container: format!("{unique:064x}"),
        };
        fs::create_dir_all(pod.path()).unwrap();
        pod
    }

    fn path(&self) -> PathBuf {
        self.top.join(format!("kubepods/besteffort/pod{}/{}", self.uid, self.container))
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        // Those above may be a real node's, and then are not empty.
        for path in self.path().ancestors().take_while(|path| *path != self.top) {
            let _busy = fs::remove_dir(path);
        }
    }
}

/// Sends a request and reads all of the answer.
pub(crate) fn ask(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn metrics_have_the_names_that_the_kubelet_tells() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: metrics_have_the_names_that_the_kubelet_tells: only root makes cgroups");
        return;
    }
    let pod = Pod::below(crate::support::root().cgroup2().unwrap().unwrap().path);
    named_by_the_kubelet(&pod, &crate::support::enter(&pod.path()));
}

/// A hierarchy of version 1 without a controller, as systemd's own is, until it is dropped.
pub(crate) struct Named(pub(crate) PathBuf);

impl Named {
    pub(crate) fn mount(path: PathBuf) -> Self {
        fs::create_dir(&path).unwrap();
        let name = format!("none,name=carbon-test-{}", std::process::id());
        let mut mount = Command::new("mount");
        mount.args(["-t", "cgroup", "-o", &name, "cgroup"]).arg(&path);
        assert!(mount.status().unwrap().success());
        Self(path)
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        assert!(Command::new("umount").arg("-l").arg(&self.0).status().unwrap().success());
    }
}

/// Its containers are in their daemon's unit in cgroup2, which is what is measured; the other hierarchy names their pods.
#[test]
fn metrics_of_a_hybrid_host_have_the_names_of_its_other_hierarchy() {
    let test = "metrics_of_a_hybrid_host_have_the_names_of_its_other_hierarchy";
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: {test}: only root makes cgroups");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let named = Named::mount(folder.path().join("v1"));
    let pod = Pod::below(named.0.clone());
    let daemon = crate::support::TestCgroup::new("daemon.service");
    let enter = [pod.path(), daemon.path.clone()].map(|path| crate::support::enter(&path)).join(" && ");
    named_by_the_kubelet(&pod, &enter);
}

/// An agent that follows cgroup2 shows the names of a pod, whose container a process is that enters it by `enter`.
fn named_by_the_kubelet(pod: &Pod, enter: &str) {
    let machine = Machine::new();
    let kubelet = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", kubelet.local_addr().unwrap());
    let list = format!(
        r#"{{"items":[{{"metadata":{{"name":"web-0","namespace":"shop","uid":"{}","labels":{{"example.org/team":"a","secret":"b"}}}},"status":{{"containerStatuses":[{{"name":"nginx","image":"nginx:1.27","containerID":"containerd://{}"}}]}}}}]}}"#,
        pod.uid, pod.container
    );
    std::thread::spawn(move || {
        for mut stream in kubelet.incoming().map_while(Result::ok) {
            let mut asked = [0; 1_024];
            let _asked = stream.read(&mut asked);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", list.len());
            let _gone = stream.write_all((head + &list).as_bytes());
        }
    });
    let busy = format!("{enter} && while :; do :; done");
    let mut child = Command::new("sh").arg("-c").arg(busy).spawn().unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let agent = machine.start(&[
        "--interval",
        "200ms",
        "--hierarchy",
        "cgroup2",
        "--listen",
        &free,
        "--kubelet",
        &url,
        "--labels",
        "example.org/team",
    ]);
    let energy = |answer: &str, family: &str, labels: &str| {
        let mut lines = answer.lines().filter(|line| line.starts_with(family));
        lines.any(|line| line.contains(labels))
    };
    let wanted = r#"namespace="shop",pod="web-0",container="nginx""#;
    // What it used before it had a name stays with those that have none.
    let named = (0..100).any(|_| {
        sleep(Duration::from_millis(100));
        ask(&free, "/metrics").is_some_and(|answer| {
            energy(&answer, "carbon_workload_energy_joules_total", wanted)
                && energy(&answer, "carbon_namespace_energy_joules_total", r#"namespace="shop""#)
                && energy(&answer, "carbon_workload_info", r#"label_example_org_team="a""#)
        })
    });
    let shown = ask(&free, "/metrics");
    child.kill().unwrap();
    child.wait().unwrap();
    let (said, status) = end(agent, Signal::TERM);
    assert!(named, "no such series: {shown:?}\n{said}");
    assert!(!shown.unwrap_or_default().contains("secret"), "no other label is kept");
    assert_eq!(status, Some(0), "{said}");
}
