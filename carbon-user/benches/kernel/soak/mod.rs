//! Accounting under everything at once, and where there is very much of one thing: does it stay right and bounded?
//!
//! `soak [--minutes M] [--cgroups N] [--threads N] [--switches SECONDS]`: the churn for M minutes (3 if nothing else is
//! asked for), N cgroups made and removed, N live threads, as many switches as this machine can for some seconds. Each
//! way of accounting takes a snapshot every second, both at once, beside `carbon top` by each. Fails where a cgroup is off
//! by more than 0.1 % of its cpu.stat (a tick of each CPU at least, and by the hook what it says to have missed), where the
//! accounts do not add up to the clock, or where memory or descriptors grow.

mod churn;
pub(crate) mod loads;
mod scale;
mod watch;

use super::{Peer, doc};
use anyhow::{Context, Result, bail};
use carbon_user::sched::{Limits, Rung};
use carbon_user::sysroot::SysRoot;
use carbon_user::topology::Topology;
use carbon_user::units::CgroupId;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use watch::{Held, Watch};

const RUNGS: [Rung; 2] = [Rung::Books, Rung::Hook];
/// A process may hold so much more at the end than in the middle.
const GROWTH_KIB: u64 = 1024;

/// A cgroup of the soak.
pub(crate) struct Place {
    pub(crate) name: &'static str,
    pub(crate) id: CgroupId,
    pub(crate) path: PathBuf,
    /// Tasks are moved into it and out while they run.
    pub(crate) moved: bool,
    /// What comes and goes below it counts too.
    pub(crate) with_below: bool,
}

impl Place {
    pub(crate) fn new(name: &'static str) -> Result<Self> {
        let top = SysRoot::default().cgroup2()?.context("no cgroup2 is mounted")?.path;
        let path = top.join(format!("carbon-soak-{}-{name}", std::process::id()));
        fs::create_dir(&path)?;
        let id = CgroupId(fs::metadata(&path)?.ino());
        Ok(Self { name, id, path, moved: name.starts_with("moved"), with_below: name == "cgroups" })
    }

    /// `usage_usec` of its cpu.stat.
    fn usage_us(&self) -> Result<u64> {
        let text = fs::read_to_string(self.path.join("cpu.stat"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
        line.and_then(|number| number.parse().ok()).context("cpu.stat has no usage_usec")
    }

    pub(crate) fn start(&self, words: &[&str]) -> Result<Peer> {
        loads::start(&self.path, words).with_context(|| format!("cannot start the load of {}", self.name))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _gone = fs::write(self.path.join("cgroup.kill"), "1");
        for _ in 0..500 {
            for below in fs::read_dir(&self.path).into_iter().flatten().flatten() {
                if below.file_type().is_ok_and(|kind| kind.is_dir()) {
                    let _gone = fs::remove_dir(below.path());
                }
            }
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// What is asked for.
struct Options {
    minutes: f64,
    cgroups: u64,
    threads: u64,
    switches_s: u64,
    /// Every so many rows or switches to a wrong key: to see that the soak fails then.
    misbook: u64,
}

impl Options {
    fn parse(arguments: &[&str]) -> Result<Self> {
        let mut options = Self { minutes: 0.0, cgroups: 0, threads: 0, switches_s: 0, misbook: 0 };
        for pair in arguments.chunks(2) {
            let [name, value] = pair else { bail!("{} wants a number", pair.concat()) };
            match *name {
                "--minutes" => options.minutes = value.parse()?,
                "--cgroups" => options.cgroups = value.parse()?,
                "--threads" => options.threads = value.parse()?,
                "--switches" => options.switches_s = value.parse()?,
                "--misbook" => options.misbook = value.parse()?,
                other => {
                    bail!("no option {other}: say --minutes, --cgroups, --threads or --switches and a number")
                }
            }
        }
        if options.minutes <= 0.0 && options.cgroups + options.threads + options.switches_s == 0 {
            options.minutes = 3.0;
        }
        Ok(options)
    }
}

/// Runs what is asked for; each part becomes a section of the document.
pub(crate) fn soak(arguments: &[&str], document: Option<&std::path::Path>) -> Result<()> {
    let options = Options::parse(arguments)?;
    let mut faults = Vec::new();
    let mut part = |name: &str, result: Result<Told>| -> Result<()> {
        let told = result?;
        println!("{}", told.text);
        doc::write(document, name, &told.text)?;
        faults.extend(told.faults);
        Ok(())
    };
    if options.switches_s > 0 {
        part("switches", scale::switches(&options))?;
    }
    if options.threads > 0 {
        part("threads", scale::threads(&options))?;
    }
    if options.cgroups > 0 {
        part("cgroups", scale::cgroups(&options))?;
    }
    if options.minutes > 0.0 {
        part("churn", churn::churn(&options))?;
    }
    if faults.is_empty() { Ok(()) } else { bail!("{}", faults.join("; ")) }
}

/// A section, and what is not as it should be.
struct Told {
    text: String,
    faults: Vec<String>,
}

fn cpus() -> Result<u32> {
    Ok(Topology::read(&SysRoot::default())?.cpus_online())
}

fn watches(places: &[Place], options: &Options) -> Result<Vec<Watch>> {
    let limits = Limits { misbook_every: options.misbook, without_runs: true, ..Limits::default() };
    RUNGS.into_iter().map(|rung| Watch::begin(rung, places, limits)).collect()
}

/// Context switches and forks of the machine so far.
fn machine() -> (u64, u64) {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let of = |name: &str| {
        let number = text.lines().find_map(|line| line.strip_prefix(name));
        number.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
    };
    (of("ctxt "), of("processes "))
}

/// The last line of each part: what each way says, cgroup by cgroup.
fn compared(watches: &[Watch], faults: &mut Vec<String>) -> String {
    let mut text = String::from("| cgroup | cpu.stat, s |");
    for watch in watches {
        let _ = write!(text, " {}: off by, ms | % |", watch.rung);
    }
    text += "\n|---|---|";
    text += &"---|---|".repeat(watches.len());
    text.push('\n');
    let names = watches.first().map(|watch| watch.errors.iter().map(|error| (error.name, error.truth_ns)));
    for (index, (name, truth_ns)) in names.into_iter().flatten().enumerate() {
        let _ = write!(text, "| {name} | {:.3} |", truth_ns / 1e9);
        for error in watches.iter().filter_map(|watch| watch.errors.get(index)) {
            let _ = write!(text, " {:+.3} | {:+.4} |", error.off_ns / 1e6, error.percent());
        }
        text.push('\n');
    }
    for watch in watches {
        let accounts = &watch.accounts;
        let _ = write!(
            text,
            "\n{}: {} snapshots of {} ms of CPU time; missed {:.1} ms in {} switches, overflow {:.1} ms, {} events lost; \
             all accounts together are {:.4} of the clock.\n",
            watch.rung,
            watch.snapshots_ms.len(),
            super::spread(&watch.snapshots_ms),
            accounts.missed_ns as f64 / 1e6,
            accounts.missed_switches,
            accounts.overflow_ns as f64 / 1e6,
            accounts.lost_events,
            watch.balance
        );
        faults.extend(watch.faults());
    }
    text
}

fn carbon_top(rung: Rung) -> Result<Peer> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carbon"));
    let child = loads::ending_with_us(&mut command)
        .args(["top", "--once", "--quiet", "--duration", "24h", "--interval", "1s", "--output", "/dev/null"])
        .args(["--accounting", rung.as_str()])
        .stdin(Stdio::null())
        .spawn()?;
    Ok(Peer(child))
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// A row of the churn's table.
struct Minute {
    top: Vec<Held>,
}

fn outcome(faults: &[String]) -> String {
    if faults.is_empty() {
        "\nNothing grew, and each figure is within its bound.\n".into()
    } else {
        format!("\n**Not as it should be:** {}.\n", faults.join("; "))
    }
}

/// What a process holds more in the last third than it did in the second. Its own memory is judged where its bounded tables
/// (16,384 removed cgroups) were `full` before the second third.
fn growth(minutes: &[Minute], full: bool) -> Vec<String> {
    let (middle, end) = (minutes.len() / 3, minutes.len() * 2 / 3);
    let mut faults = Vec::new();
    if middle == 0 {
        return faults;
    }
    for (index, rung) in RUNGS.into_iter().enumerate() {
        let all = |range: std::ops::Range<usize>, of: fn(&Held) -> u64| {
            let rows = minutes.get(range).unwrap_or_default();
            rows.iter().filter_map(|minute| minute.top.get(index)).map(of).collect::<Vec<_>>()
        };
        let most = |held: Vec<u64>| held.into_iter().max().unwrap_or(0);
        // A leak raises these; a file that happens to be open at a look does not.
        let fewest = |held: Vec<u64>| held.into_iter().min().unwrap_or(0);
        for (what, of, pick, allowed) in [
            (
                "KiB resident",
                (|held: &Held| held.resident_kib) as fn(&Held) -> u64,
                most as fn(Vec<u64>) -> u64,
                GROWTH_KIB,
            ),
            ("KiB in the kernel", |held| held.kernel_kib, most, 0),
            ("descriptors", |held| held.descriptors, fewest, 0),
        ] {
            let (before, after) = (pick(all(middle..end, of)), pick(all(end..minutes.len(), of)));
            if after > before + allowed && (full || allowed == 0) {
                faults.push(format!("carbon top by {rung} grew from {before} to {after} {what}"));
            }
        }
    }
    faults
}
