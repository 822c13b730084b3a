//! `carbon agent --share-with-vms`: a virtual machine's cgroups as libvirt makes them, and a second carbon that reads their
//! share.

#![expect(clippy::unwrap_used, reason = "clippy excuses functions with #[test] only, not those they call")]

use crate::agent::{Machine, end};
use rustix::process::Signal;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// An agent that shares the machine with those on it, and the folder of their shares.
fn share(machine: &Machine) -> (Child, PathBuf) {
    let vms = machine.path("vms");
    let share = format!("--share-with-vms={}", vms.display());
    let options = [
        "--hierarchy",
        "cgroup2",
        "--static",
        "proportional",
        "--flush",
        "500ms",
        "--listen",
        "none",
        &share,
    ];
    (machine.start(&options), vms)
}

/// A domain of libvirt as systemd keeps it (docs/cgroups.rst of libvirt), without a virtual machine: what runs in it is
/// given by the name of its thread. All of it goes when it is dropped.
struct Domain {
    scope: PathBuf,
    name: String,
    children: Vec<Child>,
}

impl Domain {
    fn new(number: u32, threads: &[&str]) -> Self {
        let top = crate::support::root().cgroup2().unwrap().unwrap().path;
        let name = format!("web{number}x{}", std::process::id());
        let scope = top.join(format!("machine.slice/machine-qemu\\x2d{number}\\x2d{name}.scope"));
        let mut domain = Self { scope, name, children: Vec::new() };
        for thread in threads {
            let cgroup = domain.scope.join("libvirt").join(thread);
            fs::create_dir_all(&cgroup).unwrap();
            // In quotes, as the names have backslashes.
            let script = r#"(echo $$ > "$0/cgroup.procs") && while :; do :; done"#;
            domain.children.push(Command::new("sh").arg("-c").arg(script).arg(&cgroup).spawn().unwrap());
        }
        domain
    }
}

/// Threads of QEMU with `-name debug-threads=on`, the vhost thread that Linux 6.4 and later start in it, and the cgroup that
/// libvirt puts each into.
const THREADS: [(&str, &str); 6] = [
    ("qemu-system-x86", "emulator"),
    ("vhost-4242", "emulator"),
    ("worker", "emulator"),
    ("IO iothread1", "iothread1"),
    ("CPU 0/KVM", "vcpu0"),
    ("CPU 1/KVM", "vcpu1"),
];

impl Domain {
    /// One process with all its threads, in threaded cgroups as on cgroup2 (`cgroup-v2.rst`, "Threads").
    fn of_one_process(number: u32) -> Self {
        let mut domain = Self::new(number, &[]);
        let top = domain.scope.join("libvirt");
        for (_, cgroup) in THREADS {
            fs::create_dir_all(top.join(cgroup)).unwrap();
            fs::write(top.join(cgroup).join("cgroup.type"), "threaded").unwrap();
        }
        let script = r#"(echo $$ > "$0/cgroup.procs") && exec "$@""#;
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).arg(&top).arg(crate::support::load()).args(["named", "60"]);
        let child = command.args(THREADS.map(|(name, _)| name)).spawn().unwrap();
        let tasks = PathBuf::from(format!("/proc/{}/task", child.id()));
        domain.children.push(child);
        for (name, cgroup) in THREADS {
            let named =
                |task: &PathBuf| fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name);
            let begun = Instant::now();
            let task = loop {
                let all = fs::read_dir(&tasks).unwrap().map(|task| task.unwrap().path());
                match { all }.find(named) {
                    Some(task) => break task,
                    None if begun.elapsed() > Duration::from_secs(20) => panic!("no thread {name}"),
                    None => sleep(Duration::from_millis(10)),
                }
            };
            let id = task.file_name().unwrap().to_str().unwrap();
            fs::write(top.join(cgroup).join("cgroup.threads"), id).unwrap();
        }
        domain
    }

    /// CPU time of a cgroup of it by cpu.stat.
    fn usage_usec(&self, cgroup: &str) -> u64 {
        let text = fs::read_to_string(self.scope.join("libvirt").join(cgroup).join("cpu.stat")).unwrap();
        text.lines().find_map(|line| line.strip_prefix("usage_usec ")).unwrap().parse().unwrap()
    }
}

impl Drop for Domain {
    fn drop(&mut self) {
        for child in &mut self.children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let below = fs::read_dir(self.scope.join("libvirt")).unwrap().map(|entry| entry.unwrap().path());
        let below: Vec<_> = below.filter(|path| path.is_dir()).collect();
        let above = self.scope.ancestors().take(2).map(Path::to_path_buf);
        for path in below.into_iter().chain([self.scope.join("libvirt")]).chain(above) {
            // The slice may be a real one, and then is not empty.
            let _busy = fs::remove_dir(path);
        }
    }
}

fn number(zone: &Path, file: &str) -> Option<u64> {
    fs::read_to_string(zone.join(file)).ok()?.trim().parse().ok()
}

/// Waits until a file of a zone says more than it did.
fn wait_for_more(zone: &Path, file: &str, than: u64) -> u64 {
    let begun = Instant::now();
    loop {
        match number(zone, file) {
            Some(now) if now > than => return now,
            _ if begun.elapsed() > Duration::from_secs(20) => panic!("{} stays", zone.join(file).display()),
            _ => sleep(Duration::from_millis(20)),
        }
    }
}

/// Microjoules of all packages that a run on this sysfs was metered with, and its quality.
fn run_on(sys: &Path, seconds: &str) -> (u64, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_carbon"))
        .args(["run", "--meter", "powercap", "--accounting", "cpustat", "--no-store", "--format", "json"])
        .args(["--zone", "FR", "--sysfs-root"])
        .arg(sys)
        .args(["--", "sleep", seconds])
        .env("CARBON_STATE", "none")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let json = text.find('{').map(|at| &text[at..]).or_else(|| said.find('{').map(|at| &said[at..]));
    let report: serde_json::Value =
        serde_json::from_str(json.unwrap_or_else(|| panic!("no report: {said}"))).unwrap();
    let domains = report["domains"].as_array().unwrap_or_else(|| panic!("{report:#}"));
    let metered = domains.iter().map(|domain| domain["metered_uj"].as_u64().unwrap()).sum();
    (metered, domains[0]["quality"].as_str().unwrap().to_owned())
}

#[test]
fn a_virtual_machine_reads_its_share_of_the_host() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: a_virtual_machine_reads_its_share_of_the_host: only root makes cgroups");
        return;
    }
    let _alone = crate::support::alone();
    let machine = Machine::new();
    let busy = Domain::new(1, &["vcpu0", "emulator"]);
    let (agent, vms) = share(&machine);
    let zone = vms.join(&busy.name).join("class/powercap/intel-rapl:0");
    let first = wait_for_more(&zone, "energy_uj", 0);
    let (metered, quality) = run_on(&vms.join(&busy.name), "4");
    let last = number(&zone, "energy_uj").unwrap();
    // 4 s of 20 W, of which the domain has two busy threads' part, whatever else the machine does.
    assert!(metered > 1_000_000, "{metered}");
    assert!(metered <= last - first, "{metered} of {first} to {last}: not more than was written in the time");
    assert_eq!(metered % 10_000, 0, "whole quanta");
    assert_eq!(quality, "measured", "as the host's");

    let (said, status) = end(agent, Signal::TERM);
    assert_eq!(status, Some(0), "{said}");
    let shared = number(&zone, "energy_uj").unwrap();
    assert_eq!(number(&zone, "enabled"), Some(0), "the end of the agent is seen");
    // Both threads are in it: rows of the ledger are by cgroup, and there is nothing else that says so.
    let of_cgroups = machine.energy_below(&busy.scope);
    let all: u64 = of_cgroups.iter().sum();
    assert_eq!(of_cgroups.iter().filter(|uj| **uj > 1_000_000).count(), 2, "{of_cgroups:?}");
    assert!(all - shared < 10_000, "{shared} of {all}: what is not shared yet is less than a quantum");

    // Another agent goes on, with what was used since.
    let (agent, _) = share(&machine);
    let later = wait_for_more(&zone, "energy_uj", shared);
    assert_eq!(number(&zone, "enabled"), Some(1));
    let (said, status) = end(agent, Signal::TERM);
    assert_eq!(status, Some(0), "{said}");
    let (shared, all) =
        (number(&zone, "energy_uj").unwrap(), machine.energy_below(&busy.scope).iter().sum::<u64>());
    assert!(shared >= later && all.abs_diff(shared) < 20_000, "{shared} of {all}: {said}");
}

#[test]
fn all_threads_of_a_machine_are_in_its_share() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: all_threads_of_a_machine_are_in_its_share: only root makes cgroups");
        return;
    }
    let _alone = crate::support::alone();
    let machine = Machine::new();
    let (agent, vms) = share(&machine);
    let busy = Domain::of_one_process(2);
    let zone = vms.join(&busy.name).join("class/powercap/intel-rapl:0");
    let first = wait_for_more(&zone, "energy_uj", 0);
    // 4 s of 20 W, most of it the machine's.
    wait_for_more(&zone, "energy_uj", first + 50_000_000);
    let (said, status) = end(agent, Signal::TERM);
    assert_eq!(status, Some(0), "{said}");
    let shared = number(&zone, "energy_uj").unwrap();
    let of_cgroups = machine.energy_below(&busy.scope);
    let all: u64 = of_cgroups.iter().sum();
    assert!(all - shared < 10_000, "{shared} of {all}: what is not shared yet is less than a quantum");
    // Each cgroup has its part: three threads of the emulator's, one of each other.
    let used = ["emulator", "iothread1", "vcpu0", "vcpu1"].map(|cgroup| busy.usage_usec(cgroup));
    assert!(used.iter().all(|usec| *usec > 200_000), "{used:?}");
    assert!(used[0] > used[1] + used[2], "the emulator's and the vhost thread's: {used:?}");
    let parts: Vec<u64> = of_cgroups.into_iter().filter(|uj| *uj > 1_000_000).collect();
    assert!(parts.len() >= 4, "{parts:?}");
    let most = parts.iter().max().unwrap();
    assert!(*most as f64 > 0.3 * all as f64, "three of six threads: {parts:?}");
}
