//! The kernel's own threads that work for a virtual machine's devices: their CPU time is that machine's, as in its cpu.stat.

use crate::accounting::{open_rung, tolerance_ns};
use crate::support::{alone, enter, exact_rungs, kernel_or_skip, root, scaled};
use carbon_user::agent::books::who;
use carbon_user::window::Class;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiled, and where there may be no compiler, that of the environment.
fn vhost(folder: &Path) -> PathBuf {
    if let Some(path) = std::env::var_os("CARBON_TEST_VHOST") {
        return path.into();
    }
    let path = folder.join("vhost");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vhost.c");
    let status = Command::new("cc").args(["-O1", "-o"]).arg(&path).arg(source).status();
    assert!(status.expect("a C compiler named cc").success());
    path
}

/// The cgroups of a domain of libvirt; gone when it is dropped.
struct Scope(PathBuf);

impl Scope {
    fn new(name: &str) -> Self {
        let top = root().cgroup2().unwrap().unwrap().path;
        let path = top.join(format!("machine.slice/machine-qemu\\x2d1\\x2d{name}.scope"));
        fs::create_dir_all(path.join("libvirt/emulator")).unwrap();
        Self(path)
    }

    fn usage_usec(&self) -> u64 {
        let text = fs::read_to_string(self.0.join("libvirt/emulator/cpu.stat")).unwrap();
        text.lines().find_map(|line| line.strip_prefix("usage_usec ")).unwrap().parse().unwrap()
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        for below in ["libvirt/emulator", "libvirt", "", ".."] {
            // The slice may be a real one, and then is not empty.
            let _busy = fs::remove_dir(self.0.join(below));
        }
    }
}

/// From Linux 6.4 on they are threads of the process. Before they are kernel threads, which are put into their owner's cgroup, by
/// 5.10 into those of version 1 only (`cgroup_attach_task_all`, kernel/cgroup/cgroup-v1.c): else they are the kernel's.
#[test]
fn vhost_threads_are_in_their_machines_share() {
    const TEST: &str = "vhost_threads_are_in_their_machines_share";
    if !kernel_or_skip(TEST) {
        return;
    }
    if !Path::new("/dev/vhost-vsock").exists() {
        println!("SKIPPED: {TEST}: the kernel has no vhost_vsock that is loaded");
        return;
    }
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let program = vhost(folder.path());
    for rung in exact_rungs(TEST) {
        let name = format!("vhostx{}", std::process::id());
        let scope = Scope::new(&name);
        let mut accounting = open_rung(rung);
        let start = accounting.snapshot().unwrap();
        let emulator = scope.0.join("libvirt/emulator").display().to_string().replace('\\', "\\\\");
        let script =
            format!("{} && exec {} {}", enter(Path::new(&emulator)), program.display(), scaled(10.0));
        let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said} {}", String::from_utf8_lossy(&output.stderr));
        let [worker, whose, place] = said.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("{said}")
        };
        let worker_ns = worker.parse::<f64>().unwrap() * 1e6;

        let end = accounting.snapshot().unwrap();
        let (grown, _) = end.usage.since(&start.usage);
        let missed_ns = end.accounts.since(&start.accounts).missed_ns as f64;
        let (mut ours_ns, mut apart_ns) = (0.0, 0.0);
        for (key, nanos) in grown.rows() {
            let spent_ns = nanos.iter().map(|nanos| nanos.0 as f64).sum::<f64>();
            let path = accounting.cgroup_path(key.cgroup);
            if who(key, path, None).path.vm_name.as_ref() == Some(&name) {
                ours_ns += spent_ns;
            }
            if key.class == Class::KernelThreads {
                apart_ns += spent_ns;
            }
        }
        let truth_ns = scope.usage_usec() as f64 * 1e3;
        println!(
            "{rung}: {ours_ns} ns of the machine, cpu.stat {truth_ns}; vhost {worker_ns}, {place}, a thread of {whose}; \
             kernel threads {apart_ns}"
        );
        if place == "elsewhere" {
            println!(
                "SKIPPED IN PART: {TEST}: {rung}: the kernel has no vhost threads in cgroups of version 2"
            );
            assert!(whose == "kernel" && apart_ns >= 0.9 * worker_ns, "{apart_ns}, {worker_ns}");
        }
        // What is left out would be noticed.
        assert!(worker_ns > 4.0 * tolerance_ns(truth_ns), "{worker_ns} of {truth_ns}");
        assert!(
            (ours_ns - truth_ns).abs() < tolerance_ns(truth_ns) + missed_ns,
            "{rung}: {ours_ns}, {truth_ns}"
        );
        drop(accounting);
    }
}
