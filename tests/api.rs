//! The local API of `carbon agent`, on a meter whose counter is known: what clients get, and that none of them does harm.

#![expect(clippy::unwrap_used, reason = "clippy excuses functions with #[test] only, not those they call")]

use crate::agent::{Machine, end};
use crate::support::{alone, kernel_or_skip};
use carbon_user::ledger::rows::RunStatus;
use carbon_user::ledger::runs::{KeptRun, RunFilter};
use carbon_user::ledger::{Ledger, Location};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Somebody without rights.
const NOBODY: u32 = 65_534;

/// An agent that listens.
pub(crate) struct Agent {
    pub(crate) machine: Machine,
    pub(crate) child: Option<Child>,
    pub(crate) socket: PathBuf,
    accounting: String,
}

impl Agent {
    pub(crate) fn start(accounting: &str) -> Self {
        let machine = Machine::new();
        fs::set_permissions(machine.path(""), fs::Permissions::from_mode(0o755)).unwrap();
        let socket = machine.path("api/carbon.sock");
        let mut agent = Self { machine, child: None, socket, accounting: accounting.to_owned() };
        agent.start_again();
        agent
    }

    /// Once it has ended.
    pub(crate) fn start_again(&mut self) {
        let at = self.socket.to_str().unwrap().to_owned();
        let more = ["--interval", "300ms", "--flush", "1s", "--listen", "none", "--socket", &at];
        self.child = Some(self.machine.launch(&self.accounting, &more));
        let begun = Instant::now();
        while UnixStream::connect(&self.socket).is_err() {
            assert!(begun.elapsed() < Duration::from_mins(1), "no agent");
            sleep(Duration::from_millis(50));
        }
    }

    /// Ends it; gives what it said.
    pub(crate) fn end(&mut self) -> String {
        let (said, status) = end(self.child.take().unwrap(), Signal::TERM);
        assert_eq!(status, Some(0), "{said}");
        assert!(!self.socket.exists(), "its socket goes with it");
        said
    }

    pub(crate) fn client(&self) -> Client {
        Client::open(&self.socket)
    }

    pub(crate) fn ledger(&self) -> Ledger {
        Ledger::open(&Location::File(self.machine.path("ledger.db"))).unwrap()
    }

    /// A run as it is kept; it is written a moment after its end.
    pub(crate) fn kept(&self, id: &str) -> KeptRun {
        let begun = Instant::now();
        loop {
            match self.ledger().find_run(id) {
                Ok(run) if run.end.is_some() => return run,
                found => assert!(begun.elapsed() < Duration::from_secs(20), "{id}: {found:?}"),
            }
            sleep(Duration::from_millis(100));
        }
    }

    /// `carbon run` of somebody without rights.
    pub(crate) fn run(&self, script: &str) -> Command {
        run_by(&self.socket, script)
    }

    /// This test program again, as a client: see [`a_client_of_its_own`].
    fn other_client(&self, through: &[&str], stops: bool) -> Child {
        self.client_command(through).env("CARBON_TEST_STOPS", stops.to_string()).spawn().unwrap()
    }

    fn client_command(&self, through: &[&str]) -> Command {
        let own = std::env::current_exe().unwrap();
        let mut words = through.iter().map(PathBuf::from).chain([own]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).args(["api::a_client_of_its_own", "--exact", "--ignored", "--nocapture"]);
        command.env("CARBON_TEST_SOCKET", &self.socket).stdout(Stdio::piped());
        command
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

/// `carbon run` of somebody without rights, by the agent at a socket.
pub(crate) fn run_by(socket: &Path, script: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carbon"));
    command.args(["run", "--format", "json", "--agent"]).arg(socket);
    command.args(["--", "sh", "-c", script]).env_remove("CARBON_STORE");
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.stderr(Stdio::piped()).stdout(Stdio::null());
    command
}

pub(crate) struct Client(BufReader<UnixStream>);

impl Client {
    fn open(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        Self(BufReader::new(stream))
    }

    fn send(&mut self, line: &[u8]) -> Value {
        self.0.get_mut().write_all(line).unwrap();
        self.0.get_mut().write_all(b"\n").unwrap();
        self.read()
    }

    fn read(&mut self) -> Value {
        let mut answer = String::new();
        self.0.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{answer:?}: {error}"))
    }

    pub(crate) fn ask(&mut self, request: &str, mut keys: Value) -> Value {
        keys["version"] = 1.into();
        keys["request"] = request.into();
        self.send(keys.to_string().as_bytes())
    }
}

fn code(answer: &Value) -> &str {
    assert_eq!(answer["ok"], false, "{answer}");
    answer["error"]["code"].as_str().unwrap()
}

pub(crate) fn text<'a>(answer: &'a Value, key: &str) -> &'a str {
    answer[key].as_str().unwrap_or_else(|| panic!("no {key}: {answer}"))
}

/// So much CPU time of this process, however long that takes.
pub(crate) fn burn(time: Duration) {
    let used = || {
        let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Duration::new(used.tv_sec.try_into().unwrap(), used.tv_nsec.try_into().unwrap())
    };
    let begun = used();
    while used().saturating_sub(begun) < time {
        std::hint::black_box((0..1_000).sum::<u64>());
    }
}

/// CPU time of a process in ticks of 10 ms: fields 14 and 15 of `proc_pid_stat(5)`.
fn ticks(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = text.rsplit_once(')').unwrap().1.split_whitespace().skip(11).take(2);
    fields.map(|field| field.parse::<u64>().unwrap()).sum()
}

pub(crate) fn report(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

const BUSY: &str = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; (exit 3); exit 7";

#[test]
fn a_user_without_rights_gets_the_joules_of_a_command() {
    if !kernel_or_skip("a_user_without_rights_gets_the_joules_of_a_command") {
        return;
    }
    let _alone = alone();
    let mut agent = Agent::start("books");
    let one = agent.run(BUSY).spawn().unwrap();
    let other = agent.run(BUSY).spawn().unwrap();
    let outputs = [one.wait_with_output().unwrap(), other.wait_with_output().unwrap()];
    let mut own = 0;
    for output in &outputs {
        let run = report(output);
        assert_eq!(output.status.code(), Some(7), "{run}");
        assert_eq!((&run["schema"], &run["exit_status"]), (&json!("carbon.run/1"), &json!(7)));
        let notes = run["notes"].to_string();
        assert!(notes.contains("measured by the agent at"), "{notes}");
        let (dynamic, metered) = (&run["dynamic_uj"], &run["domains"][0]["metered_uj"]);
        assert!(dynamic.as_u64() > Some(0) && dynamic.as_u64() <= metered.as_u64(), "{run}");
        assert_eq!(run["quality"], "measured");
        // The subshell is there, and nothing of carbon itself.
        let processes = run["processes"].as_array().unwrap();
        assert!(processes.len() >= 2 && processes.iter().all(|row| row["comm"] == "sh"), "{run}");
        let parts: u64 = processes.iter().map(|row| row["dynamic_uj"].as_u64().unwrap()).sum();
        assert_eq!(parts + run["processes_other"]["dynamic_uj"].as_u64().unwrap(), dynamic.as_u64().unwrap());
        own += dynamic.as_u64().unwrap();
    }
    let said = agent.end();
    let (metered, _) = agent.machine.written();
    assert!(own < metered, "{own} of {metered}: {said}");
    let filter = RunFilter::default();
    let kept = agent.ledger().runs(&filter).unwrap();
    assert_eq!((kept.len(), kept.iter().map(|run| run.energy().0).sum::<u64>()), (2, own));
    assert!(kept.iter().all(|run| run.status() == RunStatus::Failed && run.start.command[0] == "sh"));
}

#[test]
fn a_run_of_ones_own_process_is_marked_and_holds_runs_inside_it() {
    if !kernel_or_skip("a_run_of_ones_own_process_is_marked_and_holds_runs_inside_it") {
        return;
    }
    let _alone = alone();
    burn(Duration::from_millis(300));
    let mut agent = Agent::start("books");
    let mut client = agent.client();
    let hello = client.ask("hello", json!({"id": "x"}));
    assert_eq!((&hello["ok"], &hello["runs"], &hello["id"]), (&json!(true), &json!(true), &json!("x")));
    assert_eq!(hello["you"]["pid"], std::process::id());
    let begun = Instant::now();
    let started = client.ask("start", json!({"project": "p", "name": "outer", "bound": "connection"}));
    let took = begun.elapsed();
    let outer = json!({"run": text(&started, "run")});
    burn(Duration::from_millis(400));
    let with = |of: &Value, key: &str, value: Value| {
        let mut keys = of.clone();
        keys[key] = value;
        keys
    };
    let marked = client.ask("mark", with(&outer, "name", "second".into()));
    let first = &marked["segment"]["energy"];
    let cpu_ns = first["cpu_ns"].as_u64().unwrap();
    // What the process had used before is not in it.
    assert!((330_000_000..600_000_000).contains(&cpu_ns), "{marked}");
    assert_eq!(marked["total"]["dynamic_uj"], first["dynamic_uj"]);
    let counted = client.ask("count", json!({"run": outer["run"], "unit": "tokens", "count": 5}));
    assert_eq!(counted["count"], 5);
    // Its cgroup is the one that is measured, whichever hierarchy names it best.
    let used = client.ask("energy", json!({}));
    assert!(used["cgroup"]["cpu_ns"].as_u64().is_some_and(|ns| ns > 0), "{used}");
    let started = client.ask("start", json!({"name": "inner", "zone": "FR", "record": false}));
    let inner = json!({"run": text(&started, "run")});
    burn(Duration::from_millis(400));
    // A run of the same user is stopped from any connection of his.
    let inner = agent.client().ask("stop", inner);
    burn(Duration::from_millis(200));
    let stopped = client.ask("stop", with(&outer, "report", json!({"format": "table", "columns": 90})));
    let of = |answer: &Value, what: &str, key: &str| answer[what][key].as_u64().unwrap();
    let (all, own) = (of(&stopped, "energy", "dynamic_uj"), of(&stopped, "own", "dynamic_uj"));
    assert_eq!(all, own + of(&inner, "energy", "dynamic_uj"), "{stopped}\n{inner}");
    assert!(of(&inner, "energy", "cpu_ns") > 330_000_000 && inner["recorded"] == false, "{inner}");
    let segments = stopped["segments"].as_array().unwrap();
    assert_eq!(segments.len(), 2);
    let sum: u64 = segments.iter().map(|segment| of(segment, "energy", "dynamic_uj")).sum();
    assert_eq!((sum, &segments[1]["counts"]), (all, &json!({"tokens": 5})));
    assert!(text(&stopped, "report").contains("CPU time"), "{stopped}");
    assert_eq!(code(&client.ask("stop", outer.clone())), "no_such_run");
    assert!(took < Duration::from_millis(500), "a start took {took:?}");
    println!("start took {took:?}");
    let kept = agent.kept(text(&outer, "run"));
    assert_eq!(kept.energy().0, own);
    // What was counted and marked is kept with it.
    let report: Value = serde_json::from_str(&kept.end.unwrap().report).unwrap();
    assert_eq!(
        (&report["counts"], &report["segments"][1]["name"]),
        (&json!({"tokens": 5}), &json!("second"))
    );
    assert_eq!(report["segments"][0]["dynamic_uj"], segments[0]["energy"]["dynamic_uj"]);
    agent.end();
}

/// Of a user, whose runs no other one may see.
#[test]
fn runs_that_nobody_stops_are_recorded_as_killed_and_are_their_users_alone() {
    if !kernel_or_skip("runs_that_nobody_stops_are_recorded_as_killed_and_are_their_users_alone") {
        return;
    }
    let _alone = alone();
    let mut agent = Agent::start("hook");
    // By the connection: carbon itself is killed, and its command goes on.
    let mut killed = agent.run("exec sleep 2").spawn().unwrap();
    let mut client = agent.client();
    sleep(Duration::from_millis(600));
    let begun = agent.ledger().runs(&RunFilter::default()).unwrap();
    let by_connection = begun.first().expect("it is recorded as it begins").start.id.clone();
    assert!(client.ask("energy", json!({"run": by_connection}))["ok"] == true, "root sees all");
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(agent.kept(&by_connection).status(), RunStatus::Killed);
    // Another user sees nothing of root's.
    let roots = client.ask("start", json!({"members": "none"}));
    let mut other = agent.client_command(&[]);
    let output = other.env("CARBON_TEST_RUN", text(&roots, "run")).uid(NOBODY).gid(NOBODY).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("REFUSED 4\nOWN []"), "{said}");
    // By the tree.
    let mut child = agent.other_client(&[], false);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let by_tree = lines.find_map(|line| Some(line.strip_prefix("RUN ")?.to_owned())).unwrap();
    // However busy the machine is.
    while ticks(child.id()) < 30 {
        sleep(Duration::from_millis(50));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let kept = agent.kept(&by_tree);
    assert_eq!(kept.status(), RunStatus::Killed);
    assert!(kept.energy().0 > 0 && kept.end.unwrap().cpu.0 > 200_000_000);
    agent.end();
}

#[test]
fn a_client_in_another_pid_namespace_is_known_by_its_number_here() {
    if !kernel_or_skip("a_client_in_another_pid_namespace_is_known_by_its_number_here") {
        return;
    }
    let _alone = alone();
    let mut agent = Agent::start("books");
    let child = agent.other_client(&["unshare", "--pid", "--fork", "--kill-child"], true);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let of =
        |word: &str| said.lines().find_map(|line| line.strip_prefix(word)).unwrap_or_default().to_owned();
    assert_eq!(of("INSIDE "), "1", "{said}");
    let outside: u32 = of("OUTSIDE ").parse().unwrap();
    assert!(outside > 1, "{said}");
    let stopped: Value = serde_json::from_str(&of("STOPPED ")).unwrap();
    assert!(stopped["energy"]["cpu_ns"].as_u64() > Some(200_000_000), "{stopped}");
    agent.end();
}

/// Started by others above, with a socket in its environment.
#[test]
#[ignore = "a program that other tests start"]
fn a_client_of_its_own() {
    let Some(socket) = std::env::var_os("CARBON_TEST_SOCKET") else { return };
    let mut client = Client::open(Path::new(&socket));
    let hello = client.ask("hello", json!({}));
    println!("\nINSIDE {}\nOUTSIDE {}", std::process::id(), hello["you"]["pid"]);
    if let Some(run) = std::env::var_os("CARBON_TEST_RUN") {
        let run = json!({"run": run.to_str().unwrap()});
        let asked = ["energy", "join", "mark", "stop"].map(|request| client.ask(request, run.clone()));
        println!("REFUSED {}", asked.iter().filter(|answer| code(answer) == "no_such_run").count());
        println!("OWN {}", client.ask("energy", json!({}))["runs"]);
        return;
    }
    let started = client.ask("start", json!({"name": "child"}));
    println!("RUN {}", text(&started, "run"));
    if std::env::var("CARBON_TEST_STOPS").unwrap() == "true" {
        burn(Duration::from_millis(400));
        println!("STOPPED {}", client.ask("stop", json!({"run": started["run"]})));
        return;
    }
    // It speaks no more: its run goes on without the connection.
    drop(client);
    burn(Duration::from_mins(1));
}

#[test]
fn what_clients_send_costs_an_answer_and_nothing_else() {
    let mut agent = Agent::start("cpustat");
    let mut client = agent.client();
    let deep = "[".repeat(60_000);
    for line in [&b""[..], b"{", b"\xff\xfe", b"[1]", b"{\"version\":1}", deep.as_bytes()] {
        assert_eq!(code(&client.send(line)), "bad_request");
    }
    assert_eq!(code(&client.send(br#"{"version":9,"request":"hello"}"#)), "version");
    let nobody = json!({"run": "0197a0b2-0000-7000-8000-000000000001"});
    assert_eq!(code(&client.ask("stop", nobody)), "no_such_run");
    // These files know no processes.
    assert_eq!(code(&client.ask("start", json!({}))), "cannot_measure");
    let mut long = agent.client();
    long.0.get_mut().write_all(&vec![b'x'; 70_000]).unwrap();
    assert_eq!(code(&long.read()), "too_long");
    // With the rest unread, which resets a connection.
    let closed = long.0.read(&mut [0]);
    assert!(
        closed.as_ref().map_or_else(|error| error.kind() == ErrorKind::ConnectionReset, |count| *count == 0)
    );
    // Those who connect and say nothing, say half, or read nothing.
    let mut silent: Vec<Client> = (0..100).map(|_| agent.client()).collect();
    for client in &mut silent[..50] {
        client.0.get_mut().write_all(b"{\"version\":1,").unwrap();
    }
    let begun = Instant::now();
    assert_eq!(client.ask("hello", json!({}))["runs"], false);
    assert!(begun.elapsed() < Duration::from_secs(2));
    let answers: Vec<Value> = (0..400).map(|_| client.ask("hello", json!({}))).collect();
    let refused = answers.iter().filter(|answer| answer["ok"] == false).inspect(|answer| {
        assert_eq!(code(answer), "too_many_requests");
    });
    assert!(refused.count() > 0);
    sleep(Duration::from_millis(5_500));
    let mut half = silent.swap_remove(0);
    assert_eq!(half.0.read(&mut [0]).unwrap(), 0, "half a line is not waited for");
    assert_eq!(silent.pop().unwrap().ask("hello", json!({}))["ok"], true);
    let energy = client.ask("energy", json!({}));
    assert_eq!(energy["runs"], json!([]), "{energy}");
    agent.end();
    let (metered, _) = agent.machine.written();
    assert!(metered > 0, "it measured on");
}

#[test]
fn who_asks_too_much_is_read_once_a_second() {
    let mut agent = Agent::start("cpustat");
    let mut client = agent.client();
    client.0.get_mut().write_all(&b"{\"version\":1,\"request\":\"hello\"}\n".repeat(1_000)).unwrap();
    let refused = |client: &mut Client| while client.read()["ok"] == true {};
    refused(&mut client);
    let begun = Instant::now();
    refused(&mut client);
    let between = begun.elapsed();
    assert!(between >= Duration::from_millis(900), "refused again after {between:?}");
    drop(client);
    agent.end();
}

/// On a hybrid host a process has a path in each hierarchy, and one of them is measured.
#[test]
fn a_client_is_told_of_the_cgroup_that_is_measured() {
    if !kernel_or_skip("a_client_is_told_of_the_cgroup_that_is_measured") {
        return;
    }
    let _alone = alone();
    let mut agent = Agent::start("cpustat");
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let paths: Vec<&str> = own.lines().map(|line| line.splitn(3, ':').nth(2).unwrap()).collect();
    let mut told = Value::Null;
    let known = crate::measuring::within_seconds(60, || {
        told = agent.client().ask("energy", json!({}))["cgroup"].take();
        told["cpu_ns"].as_u64() > Some(0)
    });
    assert!(known && paths.contains(&told["path"].as_str().unwrap()), "{told}, of {own}");
    agent.end();
}

/// Clients that are connected stay so; what another program has made there since is left alone.
#[test]
fn a_socket_that_was_removed_is_made_again() {
    let mut agent = Agent::start("cpustat");
    let mut client = agent.client();
    fs::remove_dir_all(agent.socket.parent().unwrap()).unwrap();
    let again = crate::measuring::within_seconds(30, || UnixStream::connect(&agent.socket).is_ok());
    assert!(again, "no socket");
    assert_eq!(agent.client().ask("hello", json!({}))["ok"], true);
    assert_eq!(client.ask("hello", json!({}))["ok"], true);
    fs::remove_file(&agent.socket).unwrap();
    let _another = UnixListener::bind(&agent.socket).unwrap();
    sleep(Duration::from_secs(6));
    let (said, status) = end(agent.child.take().unwrap(), Signal::TERM);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("the local API has a new socket there"), "{said}");
    assert!(said.contains("the socket of the local API was removed: another agent answers"), "{said}");
    assert!(agent.socket.exists(), "it is another's");
}

/// What another agent answers on is not taken away, and what is no socket is left alone.
#[test]
fn a_socket_that_is_taken_stays() {
    let mut agent = Agent::start("cpustat");
    let at = agent.socket.to_str().unwrap().to_owned();
    let other = Machine::new();
    let second = other.launch("cpustat", &["--interval", "300ms", "--listen", "none", "--socket", &at]);
    let another = Machine::new();
    let file = another.path("file");
    fs::write(&file, "x").unwrap();
    let at_file = file.to_str().unwrap().to_owned();
    let third = another.launch("cpustat", &["--listen", "none", "--socket", &at_file]);
    sleep(Duration::from_secs(2));
    assert!(end(second, Signal::TERM).0.contains("another agent answers on"));
    assert!(end(third, Signal::TERM).0.contains("is there and is no socket"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "x");
    assert_eq!(agent.client().ask("hello", json!({}))["ok"], true);
    assert_eq!(fs::metadata(&agent.socket).unwrap().permissions().mode() & 0o777, 0o666);
    // One that a killed agent left is replaced.
    let mut child = agent.child.take().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(agent.socket.exists());
    agent.child = Some(agent.machine.launch("cpustat", &["--listen", "none", "--socket", &at]));
    sleep(Duration::from_secs(2));
    assert_eq!(agent.client().ask("hello", json!({}))["ok"], true);
    agent.end();
}
