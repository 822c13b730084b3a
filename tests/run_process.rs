//! `carbon run` around real commands: what the command and its caller see is what they would see without carbon.

#![expect(clippy::unwrap_used, reason = "clippy excuses functions with #[test] only, not those they call")]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

fn carbon(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carbon"));
    command.args(arguments).env_remove("CARBON_ZONE").env_remove("CARBON_PUE").env("CARBON_STORE", "none");
    command
}

fn run(command: &[&str]) -> Output {
    carbon(&[&["run", "--quiet", "--"], command].concat()).output().unwrap()
}

fn status(command: &[&str]) -> Option<i32> {
    run(command).status.code()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn the_status_is_the_commands() {
    assert_eq!(status(&["true"]), Some(0));
    assert_eq!(status(&["sh", "-c", "exit 7"]), Some(7));
    assert_eq!(status(&["sh", "-c", "kill -TERM $$"]), Some(143));
    assert_eq!(status(&["sh", "-c", "kill -KILL $$"]), Some(137));
    assert_eq!(status(&["sh", "-c", "exit 255"]), Some(255));
}

#[test]
fn what_cannot_be_run_has_the_status_of_env() {
    let directory = tempfile::tempdir().unwrap();
    let text = directory.path().join("text");
    fs::write(&text, "no program").unwrap();
    fs::set_permissions(&text, fs::Permissions::from_mode(0o644)).unwrap();
    let broken = directory.path().join("script");
    fs::write(&broken, "#!/nonexistent/interpreter\n").unwrap();
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o755)).unwrap();
    let cases = [
        ("no-such-command-anywhere", 127, "no such file"),
        ("", 127, "no such file"),
        (broken.to_str().unwrap(), 127, "#!"),
        (text.to_str().unwrap(), 126, "permission denied"),
        (directory.path().to_str().unwrap(), 126, "permission denied"),
    ];
    for (command, status, said) in cases {
        let output = run(&[command]);
        assert_eq!(output.status.code(), Some(status), "{command}");
        let stderr = stderr(&output);
        assert!(stderr.starts_with("carbon: cannot run ") && stderr.contains(said), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        let env = Command::new("env").arg("--").arg(command).output().unwrap();
        assert_eq!(env.status.code(), Some(status), "env disagrees on {command:?}");
    }
}

#[test]
fn own_failures_are_125_and_come_before_the_command() {
    let directory = tempfile::tempdir().unwrap();
    let mark = directory.path().join("started");
    let touch = ["--", "touch", mark.to_str().unwrap()];
    let refused: [&[&str]; 5] = [
        &["--output", "/nonexistent/report"],
        &["--output", "/"],
        &["--pue", "0.5"],
        &["--no-such-option"],
        &["--interval", "1"],
    ];
    for options in refused {
        let output = carbon(&[&["run"], options, &touch].concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{options:?}");
        assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
        assert!(!mark.exists(), "{options:?}");
    }
    let output = carbon(&["run", "--", "true"]).env("CARBON_PUE", "free").output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert_eq!(carbon(&["top", "--pue", "0.5"]).output().unwrap().status.code(), Some(2));
}

#[test]
fn a_report_that_fails_does_not_hide_a_command_that_failed() {
    let full = |command: &[&str]| {
        let output = carbon(&[&["run", "--output", "/dev/full", "--"], command].concat()).output().unwrap();
        assert!(stderr(&output).contains("no space left"), "{}", stderr(&output));
        output.status.code()
    };
    assert_eq!(full(&["sh", "-c", "exit 3"]), Some(3));
    assert_eq!(full(&["true"]), Some(125));
}

#[test]
fn the_report_is_on_stderr_or_in_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("report");
    let output =
        carbon(&["run", "--output", path.to_str().unwrap(), "--", "echo", "hello"]).output().unwrap();
    assert_eq!((output.stdout.as_slice(), stderr(&output).as_str()), (b"hello\n".as_slice(), ""));
    assert!(!fs::read(&path).unwrap().is_empty());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    let output = carbon(&["run", "--", "echo", "hello"]).output().unwrap();
    assert_eq!(output.stdout, b"hello\n");
    assert!(!output.stderr.is_empty());
    let output = run(&["echo", "hello"]);
    assert_eq!((output.stdout.as_slice(), stderr(&output).as_str()), (b"hello\n".as_slice(), ""));
}

#[test]
fn streams_pass_unchanged() {
    let mut input = Vec::new();
    for number in 0..300_000_u32 {
        input.extend_from_slice(&number.wrapping_mul(2_654_435_761).to_le_bytes());
    }
    let mut child = carbon(&["run", "--quiet", "--", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let fed = input.clone();
    let feeder = std::thread::spawn(move || stdin.write_all(&fed));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap().unwrap();
    assert!(output.status.success());
    assert!(output.stdout == input, "{} of {} bytes", output.stdout.len(), input.len());
}

/// The two signals that the C library keeps for itself (signal(7)): a program that has threads has handlers for them, and
/// nobody can ask for any other state.
const OF_THE_C_LIBRARY: u64 = 0b11 << 31;

/// Signal state of a command, as the kernel sees it.
fn signal_lines(mut command: Command) -> Vec<String> {
    let output = command.args(["grep", "-E", "^Sig(Blk|Ign|Cgt)", "/proc/self/status"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = |line: &str| {
        let (name, mask) = line.split_once('\t').unwrap();
        format!("{name}\t{:016x}", u64::from_str_radix(mask, 16).unwrap() & !OF_THE_C_LIBRARY)
    };
    text.lines().map(line).collect()
}

#[test]
fn signals_of_the_command_are_as_without_carbon() {
    let bare = signal_lines(Command::new("env"));
    assert_eq!(bare.len(), 3);
    assert_eq!(signal_lines(carbon(&["run", "--quiet", "--"])), bare);
    // Under nohup SIGHUP is ignored, and stays so.
    let mut bare_nohup = Command::new("nohup");
    let bare_nohup = signal_lines(std::mem::replace(bare_nohup.arg("env"), Command::new("true")));
    let mut nohup = Command::new("nohup");
    nohup.arg(env!("CARGO_BIN_EXE_carbon")).args(["run", "--quiet", "--no-store", "--"]);
    let nohup = signal_lines(nohup);
    assert_eq!(nohup, bare_nohup);
    // Looked at by itself: these tests may be under nohup too.
    let ignored = u64::from_str_radix(nohup[1].rsplit('\t').next().unwrap(), 16).unwrap();
    assert_eq!(ignored & 1, 1, "{nohup:?}");
}

#[test]
fn a_broken_pipe_ends_the_command_quietly() {
    let output = run(&["sh", "-c", "yes | head -n 1"]);
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    assert_eq!(output.stdout, b"y\n");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = carbon(&["doctor"]).stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
}

/// All signals at their default: who runs the tests may ignore some, which a shell cannot then trap.
const DEFAULT_SIGNALS: &str = "--default-signal";

/// Starts a shell under carbon that says `ready`, and gives both once it has.
fn start_ready(script: &str) -> (Child, std::process::ChildStdout) {
    let mut child = Command::new("env")
        .args([DEFAULT_SIGNALS, env!("CARGO_BIN_EXE_carbon"), "run", "--quiet", "--no-store", "--"])
        .args(["sh", "-c", script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut ready = [0; 6];
    stdout.read_exact(&mut ready).unwrap();
    assert_eq!(&ready, b"ready\n");
    (child, stdout)
}

fn send(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, signal).unwrap();
}

#[test]
fn signals_sent_to_carbon_reach_the_command() {
    use rustix::process::Signal;
    let signals = [
        ("TERM", Signal::TERM),
        ("HUP", Signal::HUP),
        ("USR1", Signal::USR1),
        ("USR2", Signal::USR2),
        ("INT", Signal::INT),
        ("QUIT", Signal::QUIT),
        ("CONT", Signal::CONT),
        ("WINCH", Signal::WINCH),
    ];
    for (name, signal) in signals {
        let script =
            format!("trap 'echo got; exit 9' {name}; echo ready; for i in $(seq 500); do sleep 0.01; done");
        let (mut child, mut stdout) = start_ready(&script);
        send(&child, signal);
        let mut said = String::new();
        stdout.read_to_string(&mut said).unwrap();
        assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(9), "got\n"), "{name}");
    }
}

#[test]
fn a_command_that_dies_of_a_passed_signal_gives_its_number() {
    let (mut child, _stdout) = start_ready("echo ready; exec sleep 10");
    send(&child, rustix::process::Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn a_stopped_command_goes_on() {
    use rustix::process::Signal;
    let (mut child, mut stdout) = start_ready("echo ready; kill -STOP $$; echo on; exit 4");
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let shell = fs::read_to_string(children).unwrap();
    let stat = format!("/proc/{}/stat", shell.trim());
    while !fs::read_to_string(&stat).unwrap().contains(") T ") {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(child.try_wait().unwrap(), None, "a stop is no end");
    send(&child, Signal::CONT);
    let mut said = String::new();
    stdout.read_to_string(&mut said).unwrap();
    assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(4), "on\n"));
}

/// Presses Ctrl-C on a terminal of its own once `command` says `ready` there, and gives what it says from then on,
/// with the status.
fn interrupted_on_a_terminal(command: &str) -> (String, Option<i32>) {
    // Without a shell in between, which the terminal would interrupt too.
    let line = format!(
        "exec env {DEFAULT_SIGNALS} {} run --quiet --no-store -- {command}",
        env!("CARGO_BIN_EXE_carbon")
    );
    let mut script = Command::new("script")
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = script.stdin.take().unwrap();
    let mut stdout = script.stdout.take().unwrap();
    let mut said = Vec::new();
    let mut byte = [0];
    while !said.ends_with(b"ready\r\n") {
        assert_eq!(stdout.read(&mut byte).unwrap(), 1);
        said.push(byte[0]);
    }
    stdin.write_all(&[3]).unwrap();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    (rest, script.wait().unwrap().code())
}

#[test]
fn an_interrupt_of_the_terminal_is_left_to_the_terminal() {
    let script = "trap 'echo got' INT; echo ready; for i in 1 2 3 4 5; do sleep 0.1; done; exit 6";
    // In the foreground the terminal reaches the command, and carbon stays to give its status.
    let (said, status) = interrupted_on_a_terminal(&format!("sh -c \"{script}\""));
    assert_eq!((said.matches("got").count(), status), (1, Some(6)), "{said:?}");
    // In a session of its own it does not, and carbon does not either.
    let (said, status) = interrupted_on_a_terminal(&format!("setsid sh -c \"{script}\""));
    assert_eq!((said.matches("got").count(), status), (0, Some(6)), "{said:?}");
}

#[test]
fn wait_all_waits_for_what_the_command_left_behind() {
    let directory = tempfile::tempdir().unwrap();
    let mark = directory.path().join("done");
    let script = format!("setsid sh -c 'sleep 0.3; echo x > {}' >/dev/null 2>&1 & exit 5", mark.display());
    let output = carbon(&["run", "--quiet", "--", "sh", "-c", &script]).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(!mark.exists());
    let output = carbon(&["run", "--quiet", "--wait-all", "--", "sh", "-c", &script]).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(mark.exists());
}

#[test]
fn the_command_is_in_the_process_group_of_carbon() {
    let output = run(&["sh", "-c", "ps -o pgid= -p $$; ps -o pgid= -p $PPID"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let groups: Vec<&str> = text.split_whitespace().collect();
    assert!(matches!(groups.as_slice(), [one, other] if one == other), "{text:?}");
}

#[test]
fn a_killed_carbon_leaves_the_command_alone() {
    let (mut child, mut stdout) = start_ready("echo ready; sleep 0.2; echo lives");
    send(&child, rustix::process::Signal::KILL);
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    let mut said = String::new();
    stdout.read_to_string(&mut said).unwrap();
    assert_eq!(said, "lives\n");
}
