//! What programs on the context switch cost: an empty one, the hook, a slot kept by the monotonic clock, and peers.

use super::soak::{Place, loads};
use super::{OBJECT, Peer, median, spread};
use anyhow::{Context, Result};
use aya::programs::{BtfTracePoint, loaded_programs};
use aya::sys::{Stats, enable_stats};
use aya::{Btf, Ebpf};
use carbon_user::sched::{Hook, Limits};
use carbon_user::sysroot::SysRoot;
use carbon_user::topology::Topology;
use rustix::thread::{CpuSet, sched_setaffinity};
use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 7;
const PING_PONGS: u32 = 100_000;
/// Active cgroups of the second table's rows.
const CGROUPS: [&str; 3] = ["10", "100", "1000"];
/// Time for each program in each round of it.
const RING: Duration = Duration::from_secs(1);

/// What a variant is.
#[derive(Clone, Copy)]
enum Kind {
    Nothing,
    /// A program of the object.
    Program(&'static str),
    Hook,
    /// Other programs: the first of these commands that loads something. Those of Debian's bpfcc-tools want the kernel's
    /// headers; the same tools are in libbpf-tools without that.
    Peer(&'static [&'static [&'static str]]),
}

const BPFTRACE: &str =
    "tracepoint:sched:sched_switch { @t[cgroup] = sum(nsecs - @s[cpu]); @s[cpu] = nsecs; }";

/// The sum by cgroup in bpftrace.
pub(crate) const SUM_BY_CGROUP: &[&[&str]] = &[&["bpftrace", "-e", BPFTRACE]];

const VARIANTS: [(&str, Kind); 7] = [
    ("nothing", Kind::Nothing),
    ("an empty program", Kind::Program("bench_empty")),
    ("**the hook**", Kind::Hook),
    ("a slot kept by the monotonic clock", Kind::Program("bench_ktime")),
    ("bpftrace, sum of time by cgroup", Kind::Peer(SUM_BY_CGROUP)),
    ("cpudist", Kind::Peer(&[&["cpudist-bpfcc", "3600"], &["cpudist", "3600"]])),
    ("runqlat", Kind::Peer(&[&["runqlat-bpfcc", "3600"], &["runqlat", "3600"]])),
];

/// Something that is attached while it lives.
enum Attached {
    Nothing,
    Program(#[expect(dead_code, reason = "held for its drop")] Ebpf),
    Hook(#[expect(dead_code, reason = "held for its drop")] Box<Hook>),
    Peer(#[expect(dead_code, reason = "held for its drop")] Peer),
}

impl Kind {
    /// Attached, with what it is by name; nothing where it cannot be had.
    fn attach(self, btf: &Btf) -> Result<Option<(Attached, String)>> {
        Ok(Some(match self {
            Self::Nothing => (Attached::Nothing, String::new()),
            Self::Hook => {
                let root = SysRoot::default();
                let hook = Hook::open(&root, &Topology::read(&root)?, Limits::default())?;
                (Attached::Hook(Box::new(hook)), "carbon_switch".into())
            }
            Self::Program(name) => {
                let mut ebpf = Ebpf::load(OBJECT)?;
                let program: &mut BtfTracePoint =
                    ebpf.program_mut(name).context("the program")?.try_into()?;
                program.load("sched_switch", btf)?;
                program.attach()?;
                (Attached::Program(ebpf), name.into())
            }
            Self::Peer(commands) => match peer(commands)? {
                Some((peer, command)) => (Attached::Peer(peer), command.into()),
                None => return Ok(None),
            },
        }))
    }
}

/// The first of the commands that loads a program into the kernel.
pub(crate) fn peer(commands: &[&[&'static str]]) -> Result<Option<(Peer, &'static str)>> {
    for command in commands {
        let [program, arguments @ ..] = command else { continue };
        let before = ids();
        let mut tool = Command::new(program);
        let tool = loads::ending_with_us(&mut tool);
        let started =
            tool.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let Ok(child) = started else { continue };
        let mut peer = Peer(child);
        for _ in 0..100 {
            std::thread::sleep(Duration::from_millis(100));
            if ids().difference(&before).next().is_some() {
                // The rest of its programs, and until all are attached.
                std::thread::sleep(Duration::from_secs(1));
                return Ok(Some((peer, *program)));
            }
            if peer.0.try_wait()?.is_some() {
                break;
            }
        }
    }
    Ok(None)
}

fn ids() -> HashSet<u32> {
    loaded_programs().flatten().map(|program| program.id()).collect()
}

/// Most runs of any program that is not among `before`, and the nanoseconds of all of them; where a name is given, of
/// those of that name.
fn own_time(before: &HashSet<u32>, name: Option<&str>) -> (u64, u64) {
    let programs = loaded_programs().flatten().filter(|program| {
        !before.contains(&program.id()) && name.is_none_or(|name| program.name_as_str() == Some(name))
    });
    programs.fold((0, 0), |(runs, nanos), program| {
        (
            runs.max(program.run_count()),
            nanos + u64::try_from(program.run_time().as_nanos()).unwrap_or(u64::MAX),
        )
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

/// What a program took for each run while `work` was done.
fn own(kind: Kind, before: &HashSet<u32>, work: impl FnOnce() -> Result<()>) -> Result<Option<f64>> {
    let name = match kind {
        Kind::Program(name) => Some(name),
        Kind::Hook => Some("carbon_switch"),
        Kind::Nothing | Kind::Peer(_) => None,
    };
    let (runs, nanos) = own_time(before, name);
    work()?;
    let (runs_after, nanos_after) = own_time(before, name);
    Ok((runs_after > runs).then(|| (nanos_after - nanos) as f64 / (runs_after - runs) as f64))
}

/// The second table alone.
pub(crate) fn switch_of_cgroups() -> Result<String> {
    let _stats = enable_stats(Stats::RunTime)?;
    rings(&Btf::from_sys_fs()?)
}

/// Both tables.
pub(crate) fn switch() -> Result<String> {
    let _stats = enable_stats(Stats::RunTime)?;
    let btf = Btf::from_sys_fs()?;
    let mut rows = VARIANTS.map(|(name, kind)| (name, kind, String::new(), Vec::new(), Vec::new()));
    ping_pong()?;
    for _ in 0..ROUNDS {
        for (_, kind, command, own_ns, whole_ns) in &mut rows {
            let before = ids();
            let Some((_attached, program)) = kind.attach(&btf)? else { continue };
            *command = program;
            own_ns.extend(own(*kind, &before, || {
                whole_ns.push(ping_pong()?);
                Ok(())
            })?);
        }
    }
    let mut text = format!(
        "{ROUNDS} rounds of {} switches of a ping-pong through two pipes on one CPU, alternated; median [least to most]. A \
         program's own run time is the kernel's `run_time_ns` over `run_cnt`; of a peer's programs together, for each run of \
         the one that runs most.\n\n\
         | program | own run time, ns | over an empty one | a whole switch, ns | added, ns |\n|---|---|---|---|---|\n",
        2 * PING_PONGS
    );
    let (empty, bare) = (median(&rows[1].3), median(&rows[0].4));
    for (name, kind, command, own_ns, whole_ns) in &rows {
        if whole_ns.is_empty() {
            let _ = writeln!(text, "| {name} | not installed, or it does not load here | | | |");
            continue;
        }
        let of = if matches!(kind, Kind::Peer(_)) { format!(" (`{command}`)") } else { String::new() };
        let over = if own_ns.is_empty() { String::new() } else { format!("{:+.1}", median(own_ns) - empty) };
        let _ = writeln!(
            text,
            "| {name}{of} | {} | {over} | {} | {:+.0} |",
            spread(own_ns),
            spread(whole_ns),
            median(whole_ns) - bare
        );
    }
    Ok(text + "\n" + &rings(&btf)?)
}

/// The same where each switch is to another cgroup: a token goes round processes in cgroups of their own.
fn rings(btf: &Btf) -> Result<String> {
    let mut text = String::from(
        "A token that goes round processes on one CPU, each in a cgroup of its own: every switch is to another key, and with many \
         of them the caches hold neither the tasks nor their cgroups.\n\n\
         | active cgroups | an empty program, ns | **the hook**, ns | over the empty one |\n|---|---|---|---|\n",
    );
    for cgroups in CGROUPS {
        let place = Place::new("ring")?;
        let _ring = place.start(&["ring", cgroups])?;
        let kinds = [Kind::Program("bench_empty"), Kind::Hook];
        let mut own_ns = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (kind, own_ns) in kinds.iter().zip(&mut own_ns) {
                let before = ids();
                let Some((_attached, _)) = kind.attach(btf)? else { continue };
                own_ns.extend(own(*kind, &before, || {
                    std::thread::sleep(RING);
                    Ok(())
                })?);
            }
        }
        let [empty, hook] = &own_ns;
        let over = median(hook) - median(empty);
        let _ = writeln!(text, "| {cgroups} | {} | {} | {over:+.1} |", spread(empty), spread(hook));
    }
    Ok(text)
}
