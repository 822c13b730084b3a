//! `carbon agent` where the machine around it fails: it measures on, and each microjoule is in the ledger in the end.

#![expect(clippy::unwrap_used, reason = "clippy excuses functions with #[test] only, not those they call")]

use crate::agent::{Machine, STEP_UJ, end};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

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
