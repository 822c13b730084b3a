//! Cgroups, loads and the kernel's own truth, for tests on the real kernel.

use carbon_user::sched::Rung;
use carbon_user::sysroot::SysRoot;
use carbon_user::topology::Topology;
use carbon_user::units::CgroupId;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::Duration;

/// One test on the kernel at a time: they share two CPUs and compare times.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Whether eBPF may be loaded here; says so in a line that is counted where it may not.
pub(crate) fn kernel_or_skip(test: &str) -> bool {
    let why = if !rustix::process::geteuid().is_root() {
        "not root"
    } else if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        "the kernel has no BTF"
    } else if root().cgroup2().ok().flatten().is_none() {
        "no cgroup2 is mounted"
    } else {
        return true;
    };
    println!("SKIPPED: {test}: {why}");
    false
}

/// Whether the kernel has the iterator that the books are read by: the name of its context is among its types.
fn has_books() -> bool {
    let types = fs::read("/sys/kernel/btf/vmlinux").unwrap();
    let name = b"\0bpf_iter__cgroup\0";
    types.windows(name.len()).any(|window| window == name)
}

/// Exact rungs of this kernel, best first; what it lacks is said in a line that is counted.
pub(crate) fn exact_rungs(test: &str) -> Vec<Rung> {
    if has_books() {
        return vec![Rung::Books, Rung::Hook];
    }
    println!("SKIPPED IN PART: {test}: books: the kernel has no iterator over cgroups");
    vec![Rung::Hook]
}

/// Whether the kernel has the books; says so in a line that is counted where it has not.
pub(crate) fn books_or_skip(test: &str) -> bool {
    let has = has_books();
    if !has {
        println!("SKIPPED: {test}: the kernel has no iterator over cgroups");
    }
    has
}

/// Length of a tick: what the coarse clocks are rounded to.
pub(crate) fn tick() -> Duration {
    let tick = rustix::time::clock_getres(rustix::time::ClockId::MonotonicCoarse);
    Duration::new(tick.tv_sec.try_into().unwrap(), tick.tv_nsec.try_into().unwrap())
}

/// An amount of work, less of it where the environment says that this machine is slow.
pub(crate) fn scaled(amount: f64) -> f64 {
    static SCALE: OnceLock<f64> = OnceLock::new();
    amount
        * SCALE.get_or_init(|| std::env::var("CARBON_TEST_SCALE").map_or(1.0, |text| text.parse().unwrap()))
}

/// Whether this machine is slow, so that the kernel's own work takes milliseconds where it takes microseconds.
pub(crate) fn is_slow() -> bool {
    scaled(1.0) < 1.0
}

pub(crate) fn root() -> SysRoot {
    SysRoot::default()
}

pub(crate) fn topology() -> Topology {
    Topology::read(&root()).unwrap()
}

/// The load generator: that of the environment where there may be no compiler, else compiled once.
pub(crate) fn load() -> &'static Path {
    static BINARY: OnceLock<(Option<tempfile::TempDir>, PathBuf)> = OnceLock::new();
    let (_, path) = BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("CARBON_TEST_LOAD") {
            return (None, path.into());
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("load");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/load.c");
        let status = Command::new("cc").args(["-O1", "-pthread", "-o"]).arg(&path).arg(source).status();
        assert!(status.expect("a C compiler named cc").success());
        (Some(directory), path)
    });
    path
}

/// Shell commands by which a shell enters a cgroup: a child of its own moves it while it waits, since the hook books all
/// that a task ran since the last switch to the cgroup that it is in at the next one.
pub(crate) fn enter(cgroup: &Path) -> String {
    format!("(echo $$ > {}/cgroup.procs)", cgroup.display())
}

/// A cgroup that goes with its processes and the cgroups directly below it when it is dropped.
#[derive(Debug)]
pub(crate) struct TestCgroup {
    pub(crate) path: PathBuf,
    pub(crate) id: CgroupId,
}

impl TestCgroup {
    pub(crate) fn new(name: &str) -> Self {
        Self::in_hierarchy(&root().cgroup2().unwrap().unwrap().path, name)
    }

    /// One directly below the top of a mounted hierarchy.
    pub(crate) fn in_hierarchy(top: &Path, name: &str) -> Self {
        let path = top.join(format!("carbon-test-{}-{name}", std::process::id()));
        fs::create_dir(&path).unwrap();
        let id = CgroupId(fs::metadata(&path).unwrap().ino());
        Self { path, id }
    }

    /// `usage_usec` of cpu.stat.
    pub(crate) fn usage_usec(&self) -> u64 {
        let text = fs::read_to_string(self.path.join("cpu.stat")).unwrap();
        text.lines().find_map(|line| line.strip_prefix("usage_usec ")).unwrap().parse().unwrap()
    }

    /// Starts a shell command line in it.
    pub(crate) fn start(&self, script: &str) -> Child {
        Command::new("sh").arg("-c").arg(format!("{} && {script}", enter(&self.path))).spawn().unwrap()
    }

    pub(crate) fn take_in(&self, pid: u32) {
        fs::write(self.path.join("cgroup.procs"), pid.to_string()).unwrap();
    }

    /// Removes it, waiting until its last process is out.
    pub(crate) fn remove(&self) {
        for _ in 0..500 {
            match fs::remove_dir(&self.path) {
                Ok(()) => return,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
        println!("cannot remove {}", self.path.display());
    }
}

impl Drop for TestCgroup {
    fn drop(&mut self) {
        for pid in fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default().lines() {
            if let Some(pid) = pid.parse().ok().and_then(rustix::process::Pid::from_raw) {
                let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        for below in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            if below.file_type().is_ok_and(|kind| kind.is_dir()) {
                let _busy = fs::remove_dir(below.path());
            }
        }
        self.remove();
    }
}
