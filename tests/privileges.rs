//! What the agent may do while it runs, by the kernel's word, and what fails with one capability less.

use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// What it said, and the lines of `/proc/PID/status` of each of its threads that tell of privileges.
fn run(capabilities: &str) -> (String, Vec<String>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_carbon"))
        .args(["agent", "--meter", "model", "--store", "none", "--state", "none", "--resume", "none"])
        .args(["--listen", "127.0.0.1:0", "--interval", "200ms", "--capabilities", capabilities])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    sleep(Duration::from_secs(2));
    let tasks = fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
    let threads = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("status")).unwrap());
    let threads: Vec<String> = threads.collect();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{said}");
    (said, threads)
}

#[test]
fn all_threads_keep_what_measuring_needs_and_no_more() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: all_threads_keep_what_measuring_needs_and_no_more: not root");
        return;
    }
    // CAP_PERFMON is 38 and CAP_BPF 39 (include/uapi/linux/capability.h).
    let set = format!("{:016x}", (1_u64 << 38) | (1 << 39));
    let (said, threads) = run("auto");
    assert!(threads.len() > 1, "{said}");
    for status in threads {
        for (field, value) in [("CapPrm", &*set), ("CapEff", &*set), ("CapBnd", &*set), ("NoNewPrivs", "1")] {
            assert!(status.contains(&format!("{field}:\t{value}\n")), "{field}: {status}");
        }
    }
    assert!(said.contains("capabilities: CAP_PERFMON, CAP_BPF, and no new ones"), "{said}");
    let (said, threads) = run("all");
    assert!(said.contains("all capabilities are kept"), "{said}");
    assert!(threads.iter().all(|status| status.contains("NoNewPrivs:\t0\n")));
}

#[test]
fn each_capability_that_is_missing_is_named() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: each_capability_that_is_missing_is_named: not root");
        return;
    }
    for (kept, missing) in [("perfmon", "CAP_BPF missing"), ("bpf", "CAP_PERFMON missing")] {
        let (said, _) = run(kept);
        assert!(said.contains(missing), "{kept}: {said}");
    }
    let (said, _) = run("bpf,perfmon");
    assert!(!said.contains("missing"), "{said}");
}

/// The units and manifests give what `auto` keeps as root, by the test above, and no more; all their options are the program's.
#[test]
fn what_is_deployed_gives_these_two_and_no_more() {
    let unit = include_str!("../deploy/systemd/carbon.service");
    assert!(unit.contains("\nCapabilityBoundingSet=CAP_BPF CAP_PERFMON\n"));
    // ProtectSystem=strict makes /run read-only but for this, and the socket is there by default.
    assert!(unit.contains("\nProtectSystem=strict\n") && unit.contains("\nRuntimeDirectory=carbon\n"));
    // It allows the clock's device, and so no other, before systemd 253: accelerators are devices.
    assert!(
        !unit.lines().any(|line| ["ProtectClock", "DeviceAllow", "PrivateDevices"]
            .iter()
            .any(|it| line.starts_with(it)))
    );
    let pods = include_str!("../deploy/kubernetes/carbon.yaml");
    assert_eq!(pods.matches("add: [BPF, PERFMON]\n").count(), 1);
    assert_eq!((pods.matches("add:").count(), pods.contains("privileged: true")), (1, false));
    let help = Command::new(env!("CARGO_BIN_EXE_carbon")).args(["agent", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let options: Vec<&str> = pods.lines().filter_map(|line| line.trim().strip_prefix("- --")).collect();
    assert!(options.len() > 5);
    for option in options {
        let name = option.split('=').next().unwrap();
        assert!(help.contains(&format!("--{name} ")), "--{name}");
    }
}
