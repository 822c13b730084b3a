//! `carbon agent` as who operates it meets it: what its environment and its file say wrong, a second one beside it, an address that is
//! taken, and what it says of itself.

#![expect(clippy::unwrap_used, reason = "clippy excuses functions with #[test] only, not those they call")]

use crate::agent::{Machine, end};
use crate::faults::Watched;
use crate::measuring::within_seconds;
use crate::support::{TestCgroup, alone, books_or_skip, enter, kernel_or_skip};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// One that is refused, with these in its environment.
fn refused(machine: &Machine, variables: &[(&str, &OsStr)], more: &[&str]) -> String {
    let mut child = machine.command("cpustat", more).envs(variables.iter().copied()).spawn().unwrap();
    let ended = within_seconds(60, || child.try_wait().unwrap().is_some());
    if !ended {
        child.kill().unwrap();
    }
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(ended && output.status.code() == Some(2), "{}: {said}", output.status);
    said
}

#[test]
fn a_wrong_value_is_told_with_the_variable_or_the_line_that_it_is_from() {
    let machine = Machine::new();
    let of_variable = |name: &str, value: &[u8]| refused(&machine, &[(name, OsStr::from_bytes(value))], &[]);
    for (name, value, says) in [
        ("CARBON_FLUSH", &b"2h"[..], "CARBON_FLUSH: --flush 2h: too long"),
        ("CARBON_SERIES", b"-1", "CARBON_SERIES: --series -1: not a whole number in its range; give 1 to"),
        ("CARBON_STATIC", b"some", "CARBON_STATIC: invalid value 'some'"),
        ("CARBON_HERE", b"perhaps", "CARBON_HERE: invalid value 'perhaps'"),
        ("CARBON_PUE", b"1\xff", "CARBON_PUE: not text in UTF-8"),
        ("CARBON_NODE", b"\xff", "CARBON_NODE: not text in UTF-8"),
    ] {
        let said = of_variable(name, value);
        assert!(said.contains(says), "{name}: {said}");
    }
    let config = machine.path("agent.toml");
    let option = format!("--config={}", config.display());
    for (text, says) in [
        ("\nzone = FR\n", "agent.toml:2:8: FR has no quotes, which text needs: zone = \"FR\""),
        ("\nmetrics-series = 10001\n", "agent.toml:2:1: --metrics-series 10001"),
        (
            "listen-cert = \"/x\"\n",
            "agent.toml: the following required arguments were not provided: --listen-key",
        ),
        ("socket-mode = 0o999\n", "agent.toml:1:"),
    ] {
        fs::write(&config, text).unwrap();
        let said = refused(&machine, &[], &[&option]);
        assert!(said.contains(says) && !said.contains("try \""), "{text}: {said}");
    }
    // The test's own command line has another.
    fs::write(&config, "\nstore = \"mysql://me:secret@x\"\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_carbon")).args(["agent", &option]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("agent.toml:2:1: ") && !said.contains("secret"), "{said}");
}

#[test]
fn a_misspelt_variable_is_said_and_a_socket_has_the_mode_of_the_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let machine = Machine::new();
    let (config, socket) = (machine.path("agent.toml"), machine.path("carbon.sock"));
    fs::write(&config, format!("socket-mode = 0o640\nsocket = \"{}\"\n", socket.display())).unwrap();
    let mut command = machine.command("cpustat", &["--config", config.to_str().unwrap(), "--listen", "none"]);
    let child = command.env("CARBON_FLUSCH", "1s").env("CARBON_SERVICE_HOST", "10.0.0.1").spawn().unwrap();
    let has_mode = || fs::metadata(&socket).is_ok_and(|socket| socket.permissions().mode() & 0o777 == 0o640);
    let right = within_seconds(60, has_mode);
    let (said, status) = end(child, Signal::TERM);
    assert!(right && status == Some(0), "{said}");
    assert!(
        said.contains("CARBON_FLUSCH is no option of the agent and is not read: did you mean CARBON_FLUSH?"),
        "{said}"
    );
    assert!(!said.contains("SERVICE_HOST"), "{said}");
}

#[test]
fn a_reload_names_what_needs_a_restart() {
    let machine = Machine::new();
    let config = machine.path("agent.toml");
    let option = format!("--config={}", config.display());
    fs::write(&config, "flush = \"1s\"\n").unwrap();
    let mut child = machine.start(&[&option, "--interval", "200ms", "--listen", "none"]);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut until = |word: &str| -> Vec<String> {
        let mut said = Vec::new();
        for line in lines.by_ref() {
            said.push(line);
            if said.last().unwrap().contains(word) {
                return said;
            }
        }
        panic!("{word} is not said: {said:?}")
    };
    until("measuring ");
    let mut reload = |text: &str| {
        fs::write(&config, text).unwrap();
        kill_process(Pid::from_child(&child), Signal::HUP).unwrap();
        until("reloaded").concat()
    };
    let said = reload("flush = \"2s\"\n");
    assert!(!said.contains("restart") && said.contains("flushed every 2s"), "{said}");
    let said = reload("flush = \"2s\"\nmetrics-series = 7\nlabels = [\"team\"]\n");
    assert!(said.contains("metrics-series, labels changed, which needs a restart"), "{said}");
    let said = reload("flush = \"2s\"\nmax-overhead = 3\n");
    assert!(said.contains("max-overhead changed, which needs a restart"), "{said}");
    let said = reload("zone = FR\n");
    assert!(
        said.contains("not reloaded, everything stays as it was") && said.contains("zone = \\\"FR\\\""),
        "{said}"
    );
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    until("ended after");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// Sends a request with a token, and reads all of the answer.
fn ask_with(address: &str, path: &str, token: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn a_new_token_is_taken_up_and_who_is_refused_is_counted() {
    let machine = Machine::new();
    let (token, socket) = (machine.path("token"), machine.path("carbon.sock"));
    let write = |text: &str| fs::write(&token, text).unwrap();
    write("the-first-of-two-tokens\n");
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let places = [token.to_str().unwrap(), socket.to_str().unwrap()];
    let more =
        ["--listen", &address, "--dashboard", "on", "--listen-token", places[0], "--socket", places[1]];
    let child = machine.launch("cpustat", &[&more[..], &["--interval", "200ms"]].concat());
    let is = |path: &str, token: &str, status: &str| {
        ask_with(&address, path, token).is_some_and(|answer| answer.starts_with(status))
    };
    let (ok, refused) = ("HTTP/1.1 200", "HTTP/1.1 401");
    assert!(within_seconds(60, || is("/readyz", "", ok)), "no agent");
    let hang_up = || kill_process(Pid::from_child(&child), Signal::HUP).unwrap();
    // One that is none leaves the one before.
    write("short\n");
    hang_up();
    sleep(Duration::from_millis(500));
    assert!(is("/metrics", "the-first-of-two-tokens", ok));
    write("the-second-of-two-tokens\n");
    hang_up();
    assert!(within_seconds(60, || is("/metrics", "the-second-of-two-tokens", ok)));
    for path in ["/metrics", "/api/v1/live"] {
        assert!(is(path, "the-first-of-two-tokens", refused), "{path}");
    }
    for line in [b"no request\n".to_vec(), vec![b'x'; 70_000]] {
        let mut client = UnixStream::connect(&socket).unwrap();
        client.write_all(&line).unwrap();
        let _answered = client.read(&mut [0; 64]).unwrap();
    }
    let count = |listener: &str, cause: &str| -> f64 {
        let answer = ask_with(&address, "/metrics", "the-second-of-two-tokens").unwrap();
        let series = format!("carbon_clients_refused_total{{listener=\"{listener}\",cause=\"{cause}\"}} ");
        answer.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap()
    };
    let counted = |listener, cause, times: f64| within_seconds(60, || count(listener, cause) >= times);
    assert!(counted("metrics", "token", 2.0) && counted("socket", "too_large", 1.0));
    assert_eq!((count("socket", "malformed"), count("socket", "rate")), (1.0, 0.0));
    let (said, status) = end(child, Signal::TERM);
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(said.matches("must show the new token").count(), 1, "{said}");
    assert!(said.contains("not reloaded, everything stays as it was") && !said.contains("restart"), "{said}");
}

#[test]
fn a_second_agent_books_no_joule_again() {
    let machine = Machine::new();
    let options = ["--interval", "200ms", "--flush", "500ms", "--listen", "none"];
    let first = machine.start(&options);
    assert!(within_seconds(60, || machine.path("ledger.db").exists()), "no minute is written");
    let said = refused(&machine, &[], &["--socket", "none", "--listen", "none"]);
    assert!(said.contains("another agent measures this machine with it already"), "{said}");
    let (said, status) = end(first, Signal::KILL);
    assert_eq!(status, None, "{said}");
    // However one ends, the next can begin.
    let before = machine.marked();
    let next = machine.start(&options);
    assert!(within_seconds(60, || machine.marked() > before));
    let (said, status) = end(next, Signal::TERM);
    assert_eq!(status, Some(0), "{said}");
    assert!(machine.written().0 <= machine.marked() - 5_000_000, "{said}");
}

#[test]
fn a_lock_that_was_removed_is_locked_again_and_a_second_agent_is_told() {
    let machine = Machine::new();
    let (resume, lock) = (machine.path("agent.json"), machine.path("agent.json.lock"));
    let child = machine.start(&["--interval", "200ms", "--flush", "500ms", "--listen", "none"]);
    assert!(within_seconds(60, || resume.exists()), "nothing is written");
    fs::remove_file(&lock).unwrap();
    let locked_again = within_seconds(60, || lock.exists());
    let said = refused(&machine, &[], &["--socket", "none", "--listen", "none"]);
    assert!(locked_again && said.contains("another agent measures this machine with it already"), "{said}");

    // Another one is quicker.
    let second = || {
        fs::remove_file(&lock).unwrap();
        carbon_user::agent::Alone::with(&resume).unwrap()
    };
    let second = std::iter::repeat_with(second).flatten().next().unwrap();
    sleep(Duration::from_secs(3));
    assert!(second.holds());
    drop(second);
    let (said, status) = end(child, Signal::TERM);
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(said.matches("both book each joule; end one of them").count(), 1, "{said}");
    assert!(said.matches("it is made and locked again").count() >= 1, "{said}");
}

#[test]
fn an_address_that_is_taken_is_served_once_it_is_free() {
    let machine = Machine::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let socket = machine.path("carbon.sock");
    fs::write(&socket, "a file that is no socket").unwrap();
    let more = ["--interval", "200ms", "--listen", &address, "--socket", socket.to_str().unwrap()];
    let mut child = machine.launch("cpustat", &more);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let is_refused = |line: &String| line.contains("not served:");
    assert_eq!(lines.by_ref().filter(is_refused).take(2).count(), 2);
    drop(taken);
    fs::remove_file(&socket).unwrap();
    let ready = || {
        crate::agent::ask(&address, "/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
            && UnixStream::connect(&socket).is_ok()
    };
    let served = within_seconds(60, ready);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let said: Vec<String> = lines.collect();
    let status = child.wait().unwrap().code();
    assert!(served && status == Some(0), "{said:?}");
    assert!(!said.iter().any(is_refused), "each is said once: {said:?}");
}

/// What it says of its own energy is its share of its own cgroup, in a container's namespace too.
#[test]
fn its_own_energy_is_of_its_own_cgroup() {
    let test = "its_own_energy_is_of_its_own_cgroup";
    if !kernel_or_skip(test) || !books_or_skip(test) {
        return;
    }
    let _alone = alone();
    for in_namespace in [false, true] {
        let machine = Machine::new();
        let cgroup = TestCgroup::new("own");
        let mount = machine.path("own");
        fs::create_dir(&mount).unwrap();
        let wrapped = if in_namespace {
            // As a container engine does: a namespace that begins at the own cgroup, which is mounted.
            format!(
                "{} && exec unshare -C -m sh -c 'mount -t cgroup2 none {} && exec \"$@\"' sh \"$@\"",
                enter(&cgroup.path),
                mount.display()
            )
        } else {
            format!("{} && exec \"$@\"", enter(&cgroup.path))
        };
        let agent = Watched::start_through(
            &machine,
            &wrapped,
            "books",
            &["--interval", "500ms", "--hierarchy", "cgroup2", "--max-overhead", "90"],
        );
        let own = || agent.sum("carbon_agent_energy_joules_total");
        let name = format!("workload=\"/{}\"", cgroup.path.file_name().unwrap().display());
        let known = within_seconds(60, || own() > 0.0);
        let lines = agent.lines("carbon_workload_energy_joules_total", &name);
        let of = |line: &String| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
        let (before, workload) = (own(), lines.iter().map(of).sum::<f64>());
        let (said, status) = end(agent.child, Signal::TERM);
        assert_eq!(status, Some(0), "{said}");
        assert!(known, "its energy is not known, in a namespace: {in_namespace}: {lines:?}");
        // The cgroup has nobody else; a shell ran in it before, and a window may lie between the two looks.
        assert!(
            before < 2.0 * workload + 1.0 && before > 0.3 * workload,
            "{before} of {workload}: {in_namespace}"
        );
        drop(cgroup);
    }
}

/// Niceness and names of its threads.
fn niceness(pid: u32) -> Vec<(String, i64)> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of = |task: std::io::Result<fs::DirEntry>| {
        let stat = fs::read_to_string(task.ok()?.path().join("stat")).ok()?;
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
        // The 19th field of proc_pid_stat(5), of which two come before.
        Some((name.to_owned(), rest.split_whitespace().nth(16)?.parse().ok()?))
    };
    tasks.filter_map(of).collect()
}

#[test]
fn the_loop_and_the_meters_come_before_other_work_where_they_may() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: the_loop_and_the_meters_come_before_other_work_where_they_may: not root");
        return;
    }
    let listen = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let start = |machine: &Machine, through: &[&str]| {
        let (listen, socket) = (listen(), machine.path("carbon.sock"));
        let more = ["--interval", "200ms", "--flush", "500ms", "--listen", &listen, "--socket"];
        let more: Vec<&str> = more.into_iter().chain([socket.to_str().unwrap()]).collect();
        let carbon = machine.command("cpustat", &more);
        // Whatever these tests were started with: who asked for another niceness than the usual one has it.
        let usual = "renice -n 0 -p $$ >/dev/null; exec \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", usual, "sh"]).args(through).arg(carbon.get_program());
        command.args(carbon.get_args()).env("CARBON_ZONE", "FR").stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let machine = Machine::new();
    let child = start(&machine, &[]);
    assert!(within_seconds(60, || machine.path("ledger.db").exists()));
    let threads = niceness(child.id());
    let (said, status) = end(child, Signal::TERM);
    assert_eq!(status, Some(0), "{said}");
    if said.contains("wait for their turn") {
        println!(
            "SKIPPED IN PART: the_loop_and_the_meters_come_before_other_work_where_they_may: no right to it here"
        );
    } else {
        for (name, niceness) in &threads {
            let first = name == "carbon" || name == "carbon-powercap";
            assert_eq!(*niceness, if first { -10 } else { 0 }, "{threads:?}");
        }
        for name in ["carbon", "carbon-powercap", "carbon-ledger", "metrics", "api", "metadata"] {
            assert!(threads.iter().any(|(thread, _)| thread == name), "{name}: {threads:?}");
        }
    }

    // Without either right it says so, and measures.
    let machine = Machine::new();
    let child = start(
        &machine,
        &["setpriv", "--bounding-set", "-sys_nice,-sys_resource", "--inh-caps", "-sys_nice,-sys_resource"],
    );
    assert!(within_seconds(60, || machine.path("ledger.db").exists()));
    let threads = niceness(child.id());
    let (said, _) = end(child, Signal::TERM);
    assert!(threads.iter().all(|(_, niceness)| *niceness == 0), "{threads:?}");
    assert!(
        said.contains("wait for their turn as all other work does") && said.contains("LimitNICE=-10"),
        "{said}"
    );
}
