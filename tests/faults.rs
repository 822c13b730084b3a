//! `carbon agent` where the machine around it fails: it measures on, and each microjoule is in the ledger in the end.

#![expect(clippy::unwrap_used, reason = "clippy excuses functions with #[test] only, not those they call")]

use crate::agent::{Machine, STEP_UJ, Shown, ask, end};
use crate::measuring::within_seconds;
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A file system of a few MiB, until it is dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(path: PathBuf) -> Option<Self> {
        fs::create_dir(&path).unwrap();
        let status =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(&path).status();
        status.is_ok_and(|status| status.success()).then_some(Self(path))
    }

    /// Leaves no byte.
    fn fill(&self) {
        let mut file = fs::File::create(self.0.join("filler")).unwrap();
        while file.write_all(&[0; 4_096]).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        assert!(Command::new("umount").arg("-l").arg(&self.0).status().unwrap().success());
    }
}

#[test]
fn a_full_disk_is_said_and_all_is_written_once_there_is_room() {
    let machine = Machine::new();
    let Some(disk) = Disk::mount(machine.path("disk")) else {
        println!(
            "SKIPPED: a_full_disk_is_said_and_all_is_written_once_there_is_room: only root mounts file systems"
        );
        return;
    };
    symlink(disk.0.join("ledger.db"), machine.path("ledger.db")).unwrap();
    let child = machine.start(&["--interval", "200ms", "--flush", "500ms"]);
    sleep(Duration::from_secs(2));
    disk.fill();
    sleep(Duration::from_millis(2_500));
    disk.free();
    sleep(Duration::from_millis(1_500));
    let (said, status) = end(child, Signal::TERM);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("minutes wait to be written") && said.contains("written again"), "{said}");
    let (written, sampled) = machine.written();
    assert_eq!(sampled, 0, "{said}");
    // From its first reading on, within half a second of its start.
    assert!(machine.marked() - 5_000_000 - written < 60 * STEP_UJ, "{written}: {said}");
}

/// `tests/clock.c`, compiled.
fn stepping_clock(folder: &Path) -> PathBuf {
    let library = folder.join("clock.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clock.c");
    let status =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).status();
    assert!(status.expect("a C compiler named cc").success());
    library
}

#[test]
fn a_wall_clock_that_steps_moves_no_energy() {
    let machine = Machine::new();
    let library = stepping_clock(&machine.path(""));
    let offset = machine.path("offset");
    fs::write(&offset, "0").unwrap();
    let preload = [("LD_PRELOAD", library.as_path()), ("CLOCK_OFFSET", offset.as_path())];
    let child = machine.start_with(&["--interval", "200ms", "--flush", "500ms"], &preload);
    let step = |seconds: &str| {
        sleep(Duration::from_millis(1_300));
        fs::write(machine.path("offset.new"), seconds).unwrap();
        fs::rename(machine.path("offset.new"), &offset).unwrap();
    };
    // Two hours on, three days back, and right again.
    step("7200");
    step("-259200");
    step("0");
    sleep(Duration::from_millis(1_300));
    let (said, status) = end(child, Signal::TERM);
    assert_eq!(status, Some(0), "{said}");
    let (written, sampled) = machine.written();
    assert_eq!(sampled, 0, "{said}");
    let metered = machine.marked() - 5_000_000;
    assert!(metered - written < 60 * STEP_UJ && written > 150 * STEP_UJ, "{written} of {metered}: {said}");
    // The labels are those of the clock.
    let now_s = carbon_user::clock::wall().as_second();
    for away_s in [7_200, -259_200, 0] {
        assert!(machine.metered_between(now_s + away_s - 60, now_s + away_s) > 0, "{away_s}: {said}");
    }
}

#[test]
fn a_hundred_clients_at_once_are_answered_and_the_agent_measures_on() {
    let machine = Machine::new();
    let socket = machine.path("carbon.sock");
    let at = socket.to_str().unwrap().to_owned();
    let child = machine
        .launch("cpustat", &["--interval", "200ms", "--flush", "500ms", "--listen", "none", "--socket", &at]);
    while UnixStream::connect(&socket).is_err() {
        sleep(Duration::from_millis(50));
    }
    let clients: Vec<_> = (0..100)
        .map(|_| {
            let socket = socket.clone();
            std::thread::spawn(move || {
                let stream = UnixStream::connect(&socket).unwrap();
                stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
                let mut stream = BufReader::new(stream);
                let mut answered = 0;
                for request in ["hello", "energy", "hello", "energy"].iter().cycle().take(60) {
                    let line = format!("{{\"version\":1,\"request\":\"{request}\"}}\n");
                    stream.get_mut().write_all(line.as_bytes()).unwrap();
                    let mut answer = String::new();
                    stream.read_line(&mut answer).unwrap();
                    let answer: Value = serde_json::from_str(&answer).unwrap();
                    match answer["error"]["code"].as_str() {
                        None => answered += 1,
                        Some("too_many_requests" | "busy") => sleep(Duration::from_millis(100)),
                        Some(other) => panic!("{other}"),
                    }
                }
                answered
            })
        })
        .collect();
    let answered: Vec<usize> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    let (said, status) = end(child, Signal::TERM);
    assert_eq!(status, Some(0), "{said}");
    assert!(answered.iter().sum::<usize>() > 200, "{answered:?}: {said}");
    let (written, _) = machine.written();
    assert!(machine.marked() - 5_000_000 - written < 60 * STEP_UJ, "{written}: {said}");
}

/// An agent whose metrics are read.
pub(crate) struct Watched {
    pub(crate) child: Child,
    address: String,
}

impl Watched {
    pub(crate) fn start(machine: &Machine, accounting: &str, more: &[&str]) -> Self {
        Self::start_through(machine, "exec \"$@\"", accounting, more)
    }

    /// By a line of a shell.
    pub(crate) fn start_through(machine: &Machine, line: &str, accounting: &str, more: &[&str]) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let own = ["--flush", "500ms", "--socket", "none", "--listen", &address];
        let all: Vec<&str> = own.iter().chain(more).copied().collect();
        let carbon = machine.command(accounting, &all);
        let mut shell = Command::new("sh");
        shell.args(["-c", line, "sh"]).arg(carbon.get_program()).args(carbon.get_args());
        shell.env("CARBON_ZONE", "FR").stderr(Stdio::piped()).stdout(Stdio::null());
        let this = Self { child: machine.spawn(&mut shell), address };
        assert!(within_seconds(60, || this.sum("carbon_windows_total") >= 1.0), "no window");
        this
    }

    /// Of all series of a family.
    pub(crate) fn sum(&self, family: &str) -> f64 {
        self.lines(family, "")
            .iter()
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    }

    /// Whether a count is this.
    pub(crate) fn counts(&self, family: &str, wanted: f64) -> bool {
        (self.sum(family) - wanted).abs() < 0.5
    }

    /// Series of a family with these labels.
    pub(crate) fn lines(&self, family: &str, labels: &str) -> Vec<String> {
        let answer = ask(&self.address, "/metrics").unwrap_or_default();
        let own = answer
            .lines()
            .filter(|line| line.strip_prefix(family).is_some_and(|rest| rest.starts_with(['{', ' '])));
        own.filter(|line| line.contains(labels)).map(str::to_owned).collect()
    }

    /// It closes windows, however slow the machine is.
    pub(crate) fn goes_on(&self) {
        let now = self.sum("carbon_windows_total");
        assert!(within_seconds(60, || self.sum("carbon_windows_total") >= now + 3.0), "it stands still");
    }
}

#[test]
fn a_meter_that_fails_meanwhile_is_told_and_loses_nothing() {
    let machine = Machine::new();
    let agent = Watched::start(&machine, "cpustat", &["--interval", "200ms"]);
    for (fault, faults) in [(Shown::Text("n/a\n"), 1.0), (Shown::Nothing, 2.0)] {
        machine.show(fault);
        assert!(within_seconds(60, || agent.counts("carbon_meter_up", 0.0)), "{fault:?} is not noticed");
        agent.goes_on();
        machine.show(Shown::Counter);
        assert!(within_seconds(60, || agent.counts("carbon_meter_up", 1.0)), "{fault:?} does not end");
        assert!(agent.counts("carbon_meter_errors_total", faults), "{fault:?}");
    }
    assert!(agent.counts("carbon_meter_gaps_total", 0.0), "the counter went on meanwhile");
    agent.goes_on();
    let (said, status) = end(agent.child, Signal::TERM);
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(said.matches("gives no energy from here on").count(), 2, "{said}");
    assert_eq!(said.matches("is in the window that ends here").count(), 2, "{said}");
    let (written, sampled) = machine.written();
    let before_it = machine.marked() - 5_000_000 - written;
    assert_eq!((before_it % STEP_UJ, sampled), (0, 0), "from its first reading on: {said}");
    assert!(before_it < 60 * STEP_UJ, "{before_it}: {said}");
}

#[test]
fn a_counter_that_is_reset_meanwhile_loses_that_window_and_no_other() {
    let machine = Machine::new();
    let agent = Watched::start(&machine, "cpustat", &["--interval", "200ms"]);
    agent.goes_on();
    machine.show(Shown::Reset);
    assert!(within_seconds(60, || agent.sum("carbon_meter_gaps_total") >= 1.0), "it is not noticed");
    let lost_at = agent.sum("carbon_node_energy_joules_total");
    assert!(
        within_seconds(60, || agent.sum("carbon_node_energy_joules_total") > lost_at),
        "no energy any more"
    );
    assert!(agent.counts("carbon_meter_gaps_total", 1.0));
    let (said, status) = end(agent.child, Signal::TERM);
    assert_eq!(status, Some(0), "{said}");
    assert!(
        said.contains("shows what cannot be true") && said.contains("energy of this window is lost"),
        "{said}"
    );
}

#[test]
fn limits_of_power_are_told_and_what_the_meter_showed_is_what_the_node_has() {
    let machine = Machine::new();
    let zone = machine.path("sys/class/powercap/intel-rapl:0");
    fs::write(zone.join("constraint_0_name"), "long_term\n").unwrap();
    fs::write(zone.join("constraint_0_power_limit_uw"), "95000000\n").unwrap();
    let agent = Watched::start(&machine, "cpustat", &["--interval", "200ms"]);
    let limits = || agent.lines("carbon_node_power_limit_watts", "");
    let limit =
        r#"carbon_node_power_limit_watts{domain="package",device="package-0",constraint="long_term"} 95.0"#;
    assert!(within_seconds(60, || limits() == [limit]), "{:?}", limits());
    let text = ask(&agent.address, "/metrics").unwrap();
    let sum = |family: &str| -> f64 {
        let own =
            text.lines().filter(|line| line.strip_prefix(family).is_some_and(|rest| rest.starts_with('{')));
        own.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    };
    let (node, meter) = (sum("carbon_node_energy_joules_total"), sum("carbon_meter_energy_joules_total"));
    assert!(meter > 0.0 && (node - meter).abs() < 5e-7, "{node} is not {meter}");
    assert!(sum("carbon_intensity_age_seconds") > 0.0, "{text}");
    // What cannot be read is not told as it was.
    machine.show(Shown::Nothing);
    assert!(within_seconds(60, || limits().is_empty()), "{:?}", limits());
    let (said, status) = end(agent.child, Signal::TERM);
    assert_eq!(status, Some(0), "{said}");
}

/// Pipes in the place of all its files: who opens one waits for who writes to it.
#[test]
fn pipes_in_the_place_of_its_files_are_told_and_not_waited_for() {
    let machine = Machine::new();
    for (name, says) in [
        ("agent.json", "cannot go on from"),
        ("state.json", "cannot read what was learned before from"),
        ("agent.json.runs", "runs that were open do not go on"),
        ("ledger.db", "minutes wait to be written: cannot open the ledger"),
        ("ledger.db-wal", "minutes wait to be written: cannot open the ledger"),
    ] {
        let folder = machine.path(&format!("of-{name}"));
        fs::create_dir(&folder).unwrap();
        let pipe = folder.join(name);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_carbon"));
        command.args(["agent", "--meter", "powercap", "--accounting", "cpustat", "--zone", "FR"]);
        command.args(["--socket", "none", "--listen", "none", "--interval", "200ms", "--flush", "500ms"]);
        command.arg("--sysfs-root").arg(machine.path("sys"));
        for (file, of) in [("agent.json", "--resume"), ("state.json", "--state"), ("ledger.db", "--store")] {
            command.arg(of).arg(folder.join(file));
        }
        let mut child = machine.spawn(command.stderr(Stdio::piped()));
        sleep(Duration::from_secs(2));
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::TERM).unwrap();
        let ended = within_seconds(30, || child.try_wait().unwrap().is_some());
        let (said, status) = end_of(child, ended);
        assert!(ended && status == Some(0), "{name}: {said}");
        assert!(said.contains(says) && said.contains("it is no regular file"), "{name}: {said}");
    }
}

/// What it said; one that did not end is killed.
fn end_of(mut child: Child, ended: bool) -> (String, Option<i32>) {
    if !ended {
        child.kill().unwrap();
    }
    let output = child.wait_with_output().unwrap();
    (String::from_utf8_lossy(&output.stderr).into_owned(), output.status.code())
}

/// The flush that a file of a restart says to be in doubt; none where all is settled.
fn in_doubt(machine: &Machine) -> Option<String> {
    let text = fs::read_to_string(machine.path("agent.json")).unwrap_or_default();
    let resume = serde_json::from_str::<Value>(&text).ok()?;
    let name = resume["edges"].as_array().unwrap().last().unwrap()["flush"].as_str().unwrap().to_owned();
    (!name.is_empty()).then_some(name)
}

#[test]
fn kill_9_amid_a_flush_loses_no_microjoule_and_doubles_none() {
    let machine = Machine::new();
    let options = ["--interval", "200ms", "--flush", "500ms"];
    let child = machine.start(&options);
    assert!(within_seconds(60, || machine.path("ledger.db").exists()), "nothing is written");
    end(child, Signal::TERM);
    assert_eq!(in_doubt(&machine), None, "after a proper end the ledger needs not be asked");
    let origin = machine.marked() - machine.written().0;
    let ledger = rusqlite::Connection::open(machine.path("ledger.db")).unwrap();
    ledger.busy_timeout(Duration::from_mins(1)).unwrap();
    let has = |name: &str| -> i64 {
        ledger.query_row("SELECT count(*) FROM flush WHERE name = ?1", [name], |row| row.get(0)).unwrap()
    };

    // Before it is written: somebody else holds the ledger, so that it waits for that amid the flush.
    let child = machine.start(&options);
    let before = machine.marked();
    assert!(within_seconds(60, || machine.marked() != before), "nothing is written");
    ledger.execute_batch("BEGIN IMMEDIATE").unwrap();
    let held = || in_doubt(&machine).filter(|name| has(name) == 0);
    assert!(within_seconds(60, || held().is_some()), "no flush waits for the ledger");
    let name = held().unwrap();
    end(child, Signal::KILL);
    ledger.execute_batch("COMMIT").unwrap();
    assert_eq!(has(&name), 0, "it was not written, and what it had comes with the next");

    // As soon as it is written, before the agent has taken note of it.
    for pause_us in [0, 50, 200, 1_000] {
        let child = machine.start(&options);
        let version = || -> i64 { ledger.query_row("PRAGMA data_version", [], |row| row.get(0)).unwrap() };
        let before = (0..2).fold(version(), |now, _| {
            let begun = Instant::now();
            while version() == now && begun.elapsed() < Duration::from_mins(1) {}
            version()
        });
        sleep(Duration::from_micros(pause_us));
        end(child, Signal::KILL);
        assert!(before > 0);
        let doubt = in_doubt(&machine);
        println!("killed {pause_us} us after a commit: in doubt: {doubt:?}");
    }

    let child = machine.start(&options);
    sleep(Duration::from_secs(1));
    let (said, status) = end(child, Signal::TERM);
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(machine.written().0, machine.marked() - origin, "no microjoule twice or never: {said}");
}
