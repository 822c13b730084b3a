//! The agent, and what the kernel says that it uses.

use super::memory::{kernel_bytes, resident_kib};
use super::scrape::Scrape;
use anyhow::{Context, Result, bail};
use aya::programs::loaded_programs;
use carbon_user::sysroot::SysRoot;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Programs that the agent runs itself: their time is its own already.
const RUN_BY_ITSELF: [&str; 5] =
    ["carbon_cgroups", "carbon_tasks", "carbon_prepare", "carbon_enrol", "carbon_peek"];

/// It must answer after so long.
const START_MAX: Duration = Duration::from_mins(1);

/// A cgroup for one program.
pub(crate) struct Place(PathBuf);

impl Place {
    pub(crate) fn new(name: &str) -> Result<Self> {
        let top = SysRoot::default().cgroup2()?.context("no cgroup2 is mounted")?.path;
        let path = top.join(format!("carbon-bench-{}-{name}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    /// A command that enters it and executes the program.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$@\""]).arg(&self.0).arg(program);
        command
    }

    /// `usage_usec` of its cpu.stat, in seconds.
    pub(crate) fn cpu_s(&self) -> Result<f64> {
        let text = fs::read_to_string(self.0.join("cpu.stat"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
        let micros: u64 =
            line.and_then(|number| number.parse().ok()).context("cpu.stat has no usage_usec")?;
        Ok(micros as f64 / 1e6)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// It, running; ended with this.
pub(crate) struct Subject {
    child: Child,
    place: Place,
    folder: tempfile::TempDir,
    address: String,
    /// What its threads and programs had used when it had settled.
    threads: BTreeMap<String, u64>,
    programs: BTreeMap<String, (u64, u64)>,
}

impl Subject {
    /// Starts it with files of its own.
    pub(crate) fn start(more: &[String]) -> Result<Self> {
        let place = Place::new("agent")?;
        let folder = tempfile::tempdir()?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let file = |name: &str| folder.path().join(name);
        let child = place
            .command(Path::new(env!("CARGO_BIN_EXE_carbon")))
            .args(["agent", "--interval", "1s", "--hierarchy", "cgroup2", "--listen", &address])
            .arg("--store")
            .arg(file("ledger.db"))
            .arg("--state")
            .arg(file("state.json"))
            .arg("--resume")
            .arg(file("agent.json"))
            .arg("--socket")
            .arg(file("carbon.sock"))
            .args(more)
            .stdin(Stdio::null())
            .stderr(fs::File::create(file("said"))?)
            .spawn()?;
        let mut this =
            Self { child, place, folder, address, threads: BTreeMap::new(), programs: BTreeMap::new() };
        let begun = Instant::now();
        while this.scrape().is_err() {
            if begun.elapsed() > START_MAX || this.child.try_wait()?.is_some() {
                bail!("the agent does not answer: {}", this.said()?.unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        this.threads = this.threads()?;
        this.programs = this.programs();
        Ok(this)
    }

    pub(crate) fn scrape(&self) -> Result<Scrape> {
        Scrape::of(&self.address)
    }

    /// CPU time of the process.
    pub(crate) fn cpu_s(&self) -> Result<f64> {
        self.place.cpu_s()
    }

    /// CPU time of its programs in other tasks.
    pub(crate) fn programs_s(&self) -> f64 {
        let programs = self.programs().into_iter();
        let others = programs.filter(|(name, _)| !RUN_BY_ITSELF.contains(&name.as_str()));
        others.map(|(_, (nanos, _))| nanos as f64 / 1e9).sum()
    }

    /// Resident memory, and that of its maps and programs.
    pub(crate) fn resident_mib(&self) -> Result<(f64, f64)> {
        let pid = self.child.id();
        Ok((f64::from(resident_kib(pid)?) / 1024.0, kernel_bytes(pid)? as f64 / f64::from(1 << 20)))
    }

    pub(crate) fn descriptors(&self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count())
    }

    /// Warnings and errors in its log, the first of them.
    pub(crate) fn said(&self) -> Result<Option<String>> {
        let text = fs::read_to_string(self.folder.path().join("said"))?;
        let found: Vec<&str> = text.lines().filter(|line| !line.contains("level=info")).take(5).collect();
        Ok((!found.is_empty()).then(|| found.join("; ")))
    }

    /// Nanoseconds and runs of its programs.
    fn programs(&self) -> BTreeMap<String, (u64, u64)> {
        let mut sums: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        let own = program_ids(self.child.id());
        for program in loaded_programs().flatten() {
            let Some(name) = program.name_as_str().filter(|name| name.starts_with("carbon_")) else {
                continue;
            };
            if own.contains(&program.id()) {
                let sum = sums.entry(name.to_owned()).or_default();
                sum.0 += u64::try_from(program.run_time().as_nanos()).unwrap_or(0);
                sum.1 += program.run_count();
            }
        }
        sums
    }

    /// Nanoseconds of its threads, by name.
    fn threads(&self) -> Result<BTreeMap<String, u64>> {
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let path = thread?.path();
            let read = |name: &str| fs::read_to_string(path.join(name)).unwrap_or_default();
            let nanos: u64 =
                read("schedstat").split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0);
            *sums.entry(read("comm").trim().to_owned()).or_default() += nanos;
        }
        Ok(sums)
    }

    /// Each thread and program since the start.
    pub(crate) fn detail(&self, span: Duration) -> Result<String> {
        let mut text = String::from("\nSince the start:\n\n");
        for (name, nanos) in self.threads()? {
            let more = nanos.saturating_sub(self.threads.get(&name).copied().unwrap_or(0));
            let _ = writeln!(text, "- thread {name}: {:.1} ms", more as f64 / 1e6);
        }
        for (name, (nanos, runs)) in self.programs() {
            let (before, runs_before) = self.programs.get(&name).copied().unwrap_or_default();
            let _ = writeln!(
                text,
                "- program {name}: {:.1} ms in {} runs",
                nanos.saturating_sub(before) as f64 / 1e6,
                runs.saturating_sub(runs_before)
            );
        }
        let _ = writeln!(text, "- of which {:.0} s were measured", span.as_secs_f64());
        Ok(text)
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Programs that a process holds, by their descriptors.
fn program_ids(pid: u32) -> BTreeSet<u32> {
    let files = fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
    let texts = files.filter_map(|file| fs::read_to_string(file.path()).ok());
    let id = |text: String| text.lines().find_map(|line| line.strip_prefix("prog_id:"))?.trim().parse().ok();
    texts.filter_map(id).collect()
}
