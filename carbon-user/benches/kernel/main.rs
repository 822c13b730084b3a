//! What accounting costs, as ratios within one run: `cargo xtask bench switch|snapshot|meters|load|top|overhead`, and whether it
//! holds: `soak`.
//!
//! `switch` compares programs on `sched_switch`: an empty one, the hook, a slot kept by the monotonic clock, and a
//! sum by cgroup in bpftrace. A program's own run time is the kernel's `run_time_ns` over `run_cnt`; beside it the
//! time that it adds to a ping-pong through two pipes on one CPU, which is noisier. `snapshot` compares reading the
//! books with reading the cpu.stat files, for a number of cgroups. Variants alternate, so that what else the
//! machine does falls on all of them. `top` is the whole program at rest: its CPU time for each window, by the
//! scheduler's own figure, and its memory with that of its maps and programs.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark starts programs, looks at the clock and prints"
)]
#![expect(clippy::cast_precision_loss, reason = "times for people to read")]
#![expect(clippy::indexing_slicing, reason = "one place for each variant, made so above")]

mod doc;
mod fork;
mod load;
mod memory;
mod meters;
mod soak;
mod switch;

use anyhow::{Context, Result, bail};
use aya::programs::loaded_programs;
use aya::sys::{Stats, enable_stats};
use carbon_user::sched::{Accounting, Books, CpuStat, Limits, Proc};
use carbon_user::sysroot::SysRoot;
use carbon_user::topology::Topology;
use rustix::time::{ClockId, clock_gettime};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("CARBON_BPF_OBJECT"));

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let [soak::loads::MODE, rest @ ..] = &words[..] {
        return soak::loads::run(rest);
    }
    // Where to write what is printed.
    let (document, words) = match &words[..] {
        ["--document", file, rest @ ..] => (Some(Path::new(file)), rest),
        rest => (None, rest),
    };
    let told = |name: &str, text: Result<String>| -> Result<()> {
        let text = text?;
        println!("{text}");
        doc::write(document, name, &text)
    };
    match words {
        ["switch"] => told("switch", switch::switch()),
        ["switch", "cgroups"] => {
            println!("{}", switch::switch_of_cgroups()?);
            Ok(())
        }
        ["snapshot"] => told("snapshot", snapshots(&[1, 100, 1_000, 10_000])),
        ["snapshot", count] => told("snapshot", snapshots(&[count.parse().context("a number of cgroups")?])),
        ["meters"] => meters::bench(),
        ["load"] => told("load", load::load()),
        ["top"] => told("top", top()),
        ["overhead"] => {
            told("switch", switch::switch())?;
            told("snapshot", snapshots(&[1, 100, 1_000, 10_000]))?;
            told("load", load::load())?;
            told("top", top())
        }
        ["soak", arguments @ ..] => soak::soak(arguments, document),
        _ => bail!("say switch, snapshot [CGROUPS], load, top, overhead for all of these, meters, or soak"),
    }
}

/// Runs and nanoseconds of the loaded programs of a name.
fn own_time(name: &str) -> (u64, u64) {
    let programs = loaded_programs().flatten().filter(|program| program.name_as_str() == Some(name));
    programs.fold((0, 0), |(runs, nanos), program| {
        (runs + program.run_count(), nanos + u64::try_from(program.run_time().as_nanos()).unwrap_or(u64::MAX))
    })
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn spread(values: &[f64]) -> String {
    if values.is_empty() {
        return String::new();
    }
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(0.0, f64::max);
    format!("{:.2} [{least:.2} to {most:.2}]", median(values))
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Cgroups for the time of the benchmark.
struct Many(std::path::PathBuf, usize);

impl Many {
    fn new(count: usize) -> Result<Self> {
        let top = SysRoot::default().cgroup2()?.context("no cgroup2 is mounted")?.path;
        let many = Self(top.join(format!("carbon-bench-{}", std::process::id())), count);
        fs::create_dir(&many.0)?;
        // Something has run in each: of one in which nothing ever did, the books have nothing to tell.
        let script = format!(
            "i=0; while [ $i -lt {count} ]; do mkdir $i && echo 0 > $i/cgroup.procs && /bin/true; i=$((i+1)); done; \
             echo 0 > ../cgroup.procs"
        );
        Command::new("sh").arg("-c").arg(script).current_dir(&many.0).status()?;
        Ok(many)
    }
}

impl Drop for Many {
    fn drop(&mut self) {
        for index in 0..self.1 {
            let _gone = fs::remove_dir(self.0.join(index.to_string()));
        }
        let _gone = fs::remove_dir(&self.0);
    }
}

fn snapshots(counts: &[usize]) -> Result<String> {
    let mut text = String::from(
        "CPU time in milliseconds of one look at all cgroups, of which each had run one process; 101 rounds, 31 with more than \
         1,000. Between two looks of the books the others read all their files, which leaves the books' memory out of the \
         caches; the last column is without that. Median [least to most].\n\n\
         | cgroups | books | cpu.stat files | /proc (of few processes) | cpu.stat / books | books alone | of which \
         `carbon_cgroups`, ns a cgroup |\n|---|---|---|---|---|---|---|\n",
    );
    for count in counts {
        text += &snapshot(*count)?;
    }
    Ok(text)
}

fn snapshot(count: usize) -> Result<String> {
    let root = SysRoot::default();
    let topology = Topology::read(&root)?;
    let _many = Many::new(count)?;
    let _stats = enable_stats(Stats::RunTime)?;
    let mut books = Books::open(&root, &topology, Limits::default())?;
    let mut files = CpuStat::open(&root, &topology, Limits::default())?;
    // One after the other, as fast as can be, before the others fill the caches with theirs.
    let mut warm = Vec::new();
    for _ in 0..101 {
        let start = cpu_time();
        books.snapshot()?;
        warm.push(cpu_time().saturating_sub(start).as_secs_f64() * 1e3);
    }
    let mut processes = Proc::open(&root, &topology, Limits::default())?;
    let (mut of_books, mut of_files, mut of_processes) = (Vec::new(), Vec::new(), Vec::new());
    let rounds = if count > 1_000 { 31 } else { 101 };
    let (runs_before, nanos_before) = own_time("carbon_cgroups");
    for _ in 0..rounds {
        for (accounting, times) in [
            (&mut books as &mut dyn Accounting, &mut of_books),
            (&mut files, &mut of_files),
            (&mut processes, &mut of_processes),
        ] {
            let start = cpu_time();
            accounting.snapshot()?;
            times.push(cpu_time().saturating_sub(start).as_secs_f64() * 1e3);
        }
    }
    let (runs, nanos) = own_time("carbon_cgroups");
    Ok(format!(
        "| {count} | {} | {} | {} | {:.1} | {} | {:.0} |\n",
        spread(&of_books),
        spread(&of_files),
        spread(&of_processes),
        median(&of_files) / median(&of_books),
        spread(&warm),
        (nanos - nanos_before) as f64 / (runs - runs_before).max(1) as f64
    ))
}

/// Windows of `top` that are measured, of a second each.
const WINDOWS: u32 = 20;

fn top() -> Result<String> {
    let seconds = WINDOWS + 4;
    let child = Command::new(env!("CARGO_BIN_EXE_carbon"))
        .args(["top", "--once", "--quiet", "--duration", &format!("{seconds}s"), "--output", "/dev/null"])
        .spawn()?;
    let mut child = Peer(child);
    let pid = child.0.id();
    // Loading the programs is not what is asked for.
    std::thread::sleep(Duration::from_secs(2));
    let before = exec_ns(pid)?;
    std::thread::sleep(Duration::from_secs(WINDOWS.into()));
    let each_ms = (exec_ns(pid)? - before) as f64 / 1e6 / f64::from(WINDOWS);
    let mut text = format!(
        "`carbon top`, {WINDOWS} windows of one second, nothing else running.\n\n| | |\n|---|---|\n\
         | CPU time | {each_ms:.2} ms a window, {:.3} % of one CPU |\n",
        each_ms / 10.0
    );
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    for (key, what) in [("VmRSS:", "resident"), ("VmHWM:", "at most, while loading")] {
        let kib = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or(" unknown").trim();
        let _ = writeln!(text, "| memory | {kib} {what} |");
    }
    let _ = writeln!(
        text,
        "| memory | {} kB of maps and programs in the kernel |",
        memory::kernel_bytes(pid)? / 1024
    );
    child.0.wait()?;
    Ok(text)
}

/// A child that does not outlive its owner.
struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

/// CPU time of a process's threads, in nanoseconds.
fn exec_ns(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        let nanos: Option<u64> = text.split(' ').next().and_then(|number| number.parse().ok());
        sum += nanos.context("schedstat has no number")?;
    }
    Ok(sum)
}
