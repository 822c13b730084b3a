//! What `carbon agent` tells a service manager, which here is a socket as systemd's.

use crate::agent::{Machine, end};
use rustix::process::{Pid, Signal, kill_process};
use std::os::unix::net::UnixDatagram;
use std::process::Child;
use std::time::{Duration, Instant};

/// Half of it is how often the agent is to tell that it lives.
const WATCHDOG: Duration = Duration::from_secs(2);

struct Manager {
    socket: UnixDatagram,
    machine: Machine,
    child: Child,
}

impl Manager {
    fn start(more: &[&str]) -> Self {
        let machine = Machine::new();
        let path = machine.path("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let microseconds = WATCHDOG.as_micros().to_string();
        let child = machine
            .start_with(more, &[("NOTIFY_SOCKET", path.as_path()), ("WATCHDOG_USEC", microseconds.as_ref())]);
        Self { socket, machine, child }
    }

    /// The next that is told, if it is told in this time.
    fn next(&self, time: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(time.max(Duration::from_millis(1)))).unwrap();
        let mut text = [0; 1024];
        let length = self.socket.recv(&mut text).ok()?;
        Some(String::from_utf8_lossy(&text[..length]).into_owned())
    }

    /// What is told in this time, and when.
    fn hear(&self, time: Duration) -> Vec<(Duration, String)> {
        let begun = Instant::now();
        let next = || {
            let text = self.next(time.checked_sub(begun.elapsed())?)?;
            Some((begun.elapsed(), text))
        };
        std::iter::from_fn(next).collect()
    }

    /// Waits for something to be told; gives what was told before it, and it.
    fn until(&self, what: &str) -> (Vec<String>, String) {
        let begun = Instant::now();
        let mut told = Vec::new();
        loop {
            let Some(text) = self.next(Duration::from_secs(1)) else {
                assert!(begun.elapsed() < Duration::from_mins(1), "no {what}: {told:?}");
                continue;
            };
            if text.lines().any(|line| line.starts_with(what)) {
                return (told, text);
            }
            told.push(text);
            assert!(begun.elapsed() < Duration::from_mins(1), "no {what}: {told:?}");
        }
    }
}

#[test]
fn a_service_manager_is_told_that_it_lives_however_wide_windows_are() {
    // One window takes longer than the watchdog allows.
    let manager = Manager::start(&["--interval", "30s", "--listen", "none"]);
    let (before, _) = manager.until("READY=1");
    assert_eq!(before, [""; 0], "not before it measures");
    let told = manager.hear(WATCHDOG * 4);
    let lives: Vec<Duration> =
        told.iter().filter(|(_, text)| text.contains("WATCHDOG=1")).map(|(at, _)| *at).collect();
    assert!(lives.len() >= 4, "{told:?}");
    // Twice in its time; on a busy machine a little later, and never too late.
    let longest = lives.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).max().unwrap();
    assert!(longest < WATCHDOG, "{longest:?}: {told:?}");

    let pid = Pid::from_child(&manager.child);
    kill_process(pid, Signal::HUP).unwrap();
    let (_, text) = manager.until("RELOADING=1");
    assert!(text.contains("MONOTONIC_USEC="), "{text}");
    manager.until("READY=1");

    // A loop that stands still says nothing, by which it would be started again.
    kill_process(pid, Signal::STOP).unwrap();
    drop(manager.hear(Duration::from_millis(100)));
    let told = manager.hear(WATCHDOG * 2);
    kill_process(pid, Signal::CONT).unwrap();
    assert_eq!(told, [], "it stands still");
    manager.until("WATCHDOG=1");

    let Manager { socket, machine, child } = manager;
    let (said, status) = end(child, Signal::TERM);
    assert_eq!(status, Some(0), "{said}");
    socket.set_nonblocking(true).unwrap();
    let mut text = [0; 1024];
    let mut told = Vec::new();
    while let Ok(length) = socket.recv(&mut text) {
        told.push(String::from_utf8_lossy(&text[..length]).into_owned());
    }
    assert!(told.iter().any(|text| text.contains("STOPPING=1")), "{told:?}");
    drop(machine);
}

#[test]
fn a_watchdog_of_another_process_is_not_told() {
    let machine = Machine::new();
    let path = machine.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let own = std::process::id().to_string();
    let child = machine.start_with(
        &["--interval", "200ms", "--listen", "none"],
        &[
            ("NOTIFY_SOCKET", path.as_path()),
            ("WATCHDOG_USEC", "200000".as_ref()),
            ("WATCHDOG_PID", own.as_ref()),
        ],
    );
    let manager = Manager { socket, machine, child };
    manager.until("READY=1");
    let told = manager.hear(Duration::from_secs(1));
    let Manager { child, machine, .. } = manager;
    let (said, status) = end(child, Signal::TERM);
    assert_eq!((told, status), (Vec::new(), Some(0)), "{said}");
    drop(machine);
}
