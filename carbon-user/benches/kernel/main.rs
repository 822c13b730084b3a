//! What accounting costs, as ratios within one run: `cargo xtask bench switch|snapshot|meters|load|top`.
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

mod load;
mod meters;

use anyhow::{Context, Result, bail};
use aya::programs::{BtfTracePoint, loaded_programs};
use aya::sys::{Stats, enable_stats};
use aya::{Btf, Ebpf};
use carbon_user::sched::{Accounting, Books, CpuStat, Hook, Limits, Proc};
use carbon_user::sysroot::SysRoot;
use carbon_user::topology::Topology;
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("CARBON_BPF_OBJECT"));
const ROUNDS: usize = 7;
const PING_PONGS: u32 = 100_000;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["switch"] => switch(),
        ["meters"] => meters::bench(),
        ["snapshot"] => [1, 100, 1_000, 10_000].into_iter().try_for_each(snapshot),
        ["load"] => load::load(),
        ["top"] => top(),
        ["snapshot", count] => snapshot(count.parse().context("a number of cgroups")?),
        _ => bail!("say switch, snapshot [CGROUPS], meters, load or top"),
    }
}

/// Something that is attached while it lives.
enum Attached {
    Nothing,
    Program(#[expect(dead_code, reason = "held for its drop")] Ebpf),
    Hook(#[expect(dead_code, reason = "held for its drop")] Box<Hook>),
    Peer(#[expect(dead_code, reason = "held for its drop")] Peer),
}

const VARIANTS: [(&str, &str); 5] = [
    ("nothing", ""),
    ("empty", "bench_empty"),
    ("hook", "carbon_switch"),
    ("ktime", "bench_ktime"),
    ("bpftrace", "sched_switch"),
];

const PEER: &str = "tracepoint:sched:sched_switch { @t[cgroup] = sum(nsecs - @s[cpu]); @s[cpu] = nsecs; }";

fn attach(variant: &str, btf: &Btf) -> Result<Option<Attached>> {
    Ok(Some(match variant {
        "nothing" => Attached::Nothing,
        "hook" => {
            let root = SysRoot::default();
            Attached::Hook(Box::new(Hook::open(&root, &Topology::read(&root)?, Limits::default())?))
        }
        "bpftrace" => match bpftrace()? {
            Some(peer) => Attached::Peer(peer),
            None => return Ok(None),
        },
        other => {
            let mut ebpf = Ebpf::load(OBJECT)?;
            let name = VARIANTS.iter().find(|(name, _)| *name == other).context("a variant")?.1;
            let program: &mut BtfTracePoint = ebpf.program_mut(name).context("the program")?.try_into()?;
            program.load("sched_switch", btf)?;
            program.attach()?;
            Attached::Program(ebpf)
        }
    }))
}

/// The peer, attached; nothing where it cannot be.
fn bpftrace() -> Result<Option<Peer>> {
    let started =
        Command::new("bpftrace").args(["-e", PEER]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let Ok(mut child) = started else { return Ok(None) };
    let mut first = [0; 9];
    if child.stdout.as_mut().context("its output")?.read_exact(&mut first).is_err() {
        child.wait()?;
        return Ok(None);
    }
    std::thread::sleep(Duration::from_millis(500));
    Ok(Some(Peer(child)))
}

/// Runs and nanoseconds of the loaded programs of a name.
fn own_time(name: &str) -> (u64, u64) {
    let programs = loaded_programs().flatten().filter(|program| program.name_as_str() == Some(name));
    programs.fold((0, 0), |(runs, nanos), program| {
        (runs + program.run_count(), nanos + u64::try_from(program.run_time().as_nanos()).unwrap_or(u64::MAX))
    })
}

/// Nanoseconds a switch of a ping-pong through two pipes, both ends on CPU 0.
fn ping_pong() -> Result<f64> {
    let (mut here_read, mut there_write) = std::io::pipe()?;
    let (mut there_read, mut here_write) = std::io::pipe()?;
    pin()?;
    let other = std::thread::spawn(move || -> Result<()> {
        pin()?;
        let mut byte = [0];
        for _ in 0..PING_PONGS {
            there_read.read_exact(&mut byte)?;
            there_write.write_all(&byte)?;
        }
        Ok(())
    });
    let start = Instant::now();
    let mut byte = [1];
    for _ in 0..PING_PONGS {
        here_write.write_all(&byte)?;
        here_read.read_exact(&mut byte)?;
    }
    let nanos = start.elapsed().as_nanos() as f64;
    other.join().map_err(|_| anyhow::anyhow!("the other end failed"))??;
    Ok(nanos / f64::from(2 * PING_PONGS))
}

fn pin() -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(0);
    Ok(sched_setaffinity(None, &cpus)?)
}

fn switch() -> Result<()> {
    let _stats = enable_stats(Stats::RunTime)?;
    let btf = Btf::from_sys_fs()?;
    let mut own: Vec<Vec<f64>> = vec![Vec::new(); VARIANTS.len()];
    let mut whole: Vec<Vec<f64>> = vec![Vec::new(); VARIANTS.len()];
    ping_pong()?;
    for _ in 0..ROUNDS {
        for (index, (variant, program)) in VARIANTS.iter().enumerate() {
            let Some(_attached) = attach(variant, &btf)? else { continue };
            let (runs, nanos) = own_time(program);
            whole[index].push(ping_pong()?);
            let (runs_after, nanos_after) = own_time(program);
            if runs_after > runs {
                own[index].push((nanos_after - nanos) as f64 / (runs_after - runs) as f64);
            }
        }
    }
    println!("{} rounds of {} switches, alternated; median [least to most]", ROUNDS, 2 * PING_PONGS);
    println!(
        "{:10} {:>26} {:>12} {:>30} {:>14}",
        "program", "own run time, ns", "over empty", "whole switch, ns", "added, ns"
    );
    for (index, (variant, _)) in VARIANTS.iter().enumerate() {
        if whole[index].is_empty() {
            println!(
                "{variant:10} not installed (apt-get install {variant}), or tracefs is not mounted (mount -t tracefs \
                 tracefs /sys/kernel/tracing)"
            );
            continue;
        }
        let added = median(&whole[index]) - median(&whole[0]);
        let over = if own[index].is_empty() {
            String::new()
        } else {
            format!("{:+.1}", median(&own[index]) - median(&own[1]))
        };
        println!(
            "{variant:10} {:>26} {over:>12} {:>30} {added:>+14.0}",
            spread(&own[index]),
            spread(&whole[index])
        );
    }
    Ok(())
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

fn snapshot(count: usize) -> Result<()> {
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
    println!(
        "{count} cgroups besides the machine's own, {rounds} snapshots alternated; CPU time in ms, median [least to most]"
    );
    println!("books     {}; without the others in between {}", spread(&of_books), spread(&warm));
    for program in ["carbon_cgroups", "carbon_tasks"] {
        let (runs, nanos) = own_time(program);
        println!(
            "  of which {program} {:.2} ms: {:.0} ns for each object",
            nanos as f64 / 1e6 / f64::from(rounds + 102),
            nanos as f64 / runs as f64
        );
    }
    println!("cpu.stat  {}", spread(&of_files));
    println!("/proc     {}", spread(&of_processes));
    println!("cpu.stat / books  {:.1}\n", median(&of_files) / median(&of_books));
    Ok(())
}

/// Windows of `top` that are measured, of a second each.
const WINDOWS: u32 = 20;

fn top() -> Result<()> {
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
    println!("carbon top, {WINDOWS} windows of 1 s:");
    println!("CPU time   {each_ms:.2} ms a window, {:.3} % of one CPU", each_ms / 10.0);
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    for (key, what) in [("VmRSS:", "resident"), ("VmHWM:", "at most, while loading")] {
        let kib = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or(" unknown").trim();
        println!("memory     {kib} {what}");
    }
    println!("memory     {} kB of maps and programs in the kernel", kernel_memory(pid)? / 1024);
    child.0.wait()?;
    Ok(())
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

/// Bytes of the BPF maps and programs that a process holds.
fn kernel_memory(pid: u32) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        let text = fs::read_to_string(entry?.path()).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("memlock:"));
        bytes += line.and_then(|number| number.trim().parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(bytes)
}
