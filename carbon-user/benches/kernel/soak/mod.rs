//! Accounting under everything at once, and where there is very much of one thing: does it stay right and bounded?
//!
//! `soak [--minutes M] [--cgroups N] [--threads N] [--switches SECONDS]`: the churn for M minutes (3 if nothing else is
//! asked for), N cgroups made and removed, N live threads, as many switches as this machine can for some seconds. Each
//! way of accounting takes a snapshot every second, both at once, beside `carbon top` by each. Fails where a cgroup is off
//! by more than 0.1 % of its cpu.stat (a tick of each CPU at least, and by the hook what it says to have missed), where the
//! accounts do not add up to the clock, or where memory or descriptors grow.

pub(crate) mod loads;
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
use std::time::{Duration, Instant};
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
        part("switches", switches(&options))?;
    }
    if options.threads > 0 {
        part("threads", threads(&options))?;
    }
    if options.cgroups > 0 {
        part("cgroups", cgroups(&options))?;
    }
    if options.minutes > 0.0 {
        part("churn", churn(&options))?;
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
            let _ = write!(text, " {:+.3} | {:+.4} |", error.error_ns / 1e6, error.percent());
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

/// Everything at once.
fn churn(options: &Options) -> Result<Told> {
    let names = ["busy", "half", "forks", "threads", "switches", "moved-a", "moved-b", "cgroups"];
    let places = names.into_iter().map(Place::new).collect::<Result<Vec<_>>>()?;
    let [busy, half, forks, threads, switches, one, other, cgroups] = &places[..] else {
        bail!("eight places")
    };
    let folder = tempfile::tempdir()?;
    let told = folder.path().join("cgroups");
    let paths = [one, other, cgroups].map(|place| place.path.to_string_lossy().into_owned());
    let mut _loads = vec![
        busy.start(&["duty", "40"])?,
        half.start(&["duty", "20"])?,
        forks.start(&["forks", "3000"])?,
        threads.start(&["threads", "5000"])?,
        one.start(&["move", "10", &paths[0], &paths[1]])?,
        cgroups.start(&["cgroups", "500", "0", &told.to_string_lossy()])?,
    ];
    for cpu in 0..cpus()? {
        _loads.push(switches.start(&["switches", &cpu.to_string()])?);
    }
    let tops = RUNGS.into_iter().map(carbon_top).collect::<Result<Vec<_>>>()?;
    std::thread::sleep(Duration::from_secs(2));
    let mut watches = watches(&places, options)?;
    let mut text = String::from(
        "| minute | switches/s | forks and threads/s | cgroups/s | books: resident, MB | hook: resident, MB | in the \
         kernel, MB | descriptors | lost events | missed, ms | overflow, ms | books: worst, % | hook: worst, % |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    let mut minutes: Vec<Minute> = Vec::new();
    let begun = Instant::now();
    let cpus = f64::from(cpus()?);
    let made = || fs::read_to_string(&told).ok().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let (mut ended, mut last, mut before) = (0_u64, (machine(), made()), begun);
    let mut row_begun = begun;
    let mut runs = 0_u64;
    // A row a minute; more often where there are few of them.
    let rows_s = if options.minutes < 10.0 { 15 } else { 60 };
    while begun.elapsed().as_secs_f64() < options.minutes * 60.0 {
        std::thread::sleep(Duration::from_secs(1).saturating_sub(before.elapsed()));
        before = Instant::now();
        for watch in &mut watches {
            watch.look(&places, cpus)?;
        }
        // A run is opened and closed.
        let run = Command::new(env!("CARGO_BIN_EXE_carbon"))
            .args(["run", "--quiet", "--output", "/dev/null", "--", "true"])
            .stdin(Stdio::null())
            .status()?;
        if !run.success() {
            bail!("carbon run failed: {run}");
        }
        runs += 1;
        if begun.elapsed().as_secs() / rows_s > ended {
            ended = begun.elapsed().as_secs() / rows_s;
            let now = (machine(), made());
            let a_second = |now: u64, before: u64| (now - before) as f64 / row_begun.elapsed().as_secs_f64();
            let top = tops.iter().map(|top| Held::of(top.0.id())).collect::<Result<Vec<_>>>()?;
            let sum = |of: fn(&carbon_user::window::Accounts) -> u64| {
                watches.iter().map(|watch| of(&watch.accounts)).sum::<u64>()
            };
            let worst: Vec<String> = watches.iter().map(|watch| format!("{:.4}", watch.worst())).collect();
            let of_tops = |of: fn(&Held) -> String| top.iter().map(of).collect::<Vec<_>>().join(" and ");
            let row = format!(
                "| {:.2} | {:.0} | {:.0} | {:.0} | {} | {} | {} | {:.1} | {:.1} | {} |\n",
                begun.elapsed().as_secs_f64() / 60.0,
                a_second(now.0.0, last.0.0),
                a_second(now.0.1, last.0.1),
                a_second(now.1, last.1),
                top.iter()
                    .map(|held| format!("{:.1}", mib(held.resident_kib)))
                    .collect::<Vec<_>>()
                    .join(" | "),
                of_tops(|held| format!("{:.1}", mib(held.kernel_kib))),
                of_tops(|held| held.descriptors.to_string())
                    + &format!(" | {}", sum(|accounts| accounts.lost_events)),
                sum(|accounts| accounts.missed_ns) as f64 / 1e6,
                sum(|accounts| accounts.overflow_ns) as f64 / 1e6,
                worst.join(" | ")
            );
            eprint!("{row}");
            text += &row;
            last = now;
            row_begun = Instant::now();
            minutes.push(Minute { top });
        }
    }
    let mut faults = growth(&minutes);
    let tables = compared(&watches, &mut faults);
    let head = format!(
        "Busy and idle tasks, forks, threads, switches, cgroups that come and go, tasks that are moved, and {runs} times `carbon \
         run`, all at once for {:.1} minutes. `carbon top` by each way of accounting is what memory and descriptors are of.\n\n",
        begun.elapsed().as_secs_f64() / 60.0
    );
    Ok(Told { text: head + &text + "\n" + &tables + &outcome(&faults), faults })
}

fn outcome(faults: &[String]) -> String {
    if faults.is_empty() {
        "\nNothing grew, and each figure is within its bound.\n".into()
    } else {
        format!("\n**Not as it should be:** {}.\n", faults.join("; "))
    }
}

/// What a process holds more in the last third than it did in the second.
fn growth(minutes: &[Minute]) -> Vec<String> {
    let (middle, end) = (minutes.len() / 3, minutes.len() * 2 / 3);
    let mut faults = Vec::new();
    if middle == 0 {
        return faults;
    }
    for (index, rung) in RUNGS.into_iter().enumerate() {
        let most = |range: std::ops::Range<usize>, of: fn(&Held) -> u64| {
            let rows = minutes.get(range).unwrap_or_default();
            rows.iter().filter_map(|minute| minute.top.get(index)).map(of).max().unwrap_or(0)
        };
        for (what, of, allowed) in [
            ("KiB resident", (|held: &Held| held.resident_kib) as fn(&Held) -> u64, GROWTH_KIB),
            ("KiB in the kernel", |held| held.kernel_kib, 0),
            ("descriptors", |held| held.descriptors, 0),
        ] {
            let (before, after) = (most(middle..end, of), most(end..minutes.len(), of));
            if after > before + allowed {
                faults.push(format!("carbon top by {rung} grew from {before} to {after} {what}"));
            }
        }
    }
    faults
}

/// As many switches as the machine can make, for some seconds.
fn switches(options: &Options) -> Result<Told> {
    let places = [Place::new("switches")?];
    let cpus = cpus()?;
    let rate_of = |seconds: u64| -> Result<f64> {
        let before = machine().0;
        let begun = Instant::now();
        std::thread::sleep(Duration::from_secs(seconds));
        Ok((machine().0 - before) as f64 / begun.elapsed().as_secs_f64())
    };
    let loads =
        (0..cpus).map(|cpu| places[0].start(&["switches", &cpu.to_string()])).collect::<Result<Vec<_>>>()?;
    let alone = rate_of(3)?;
    let mut watches = watches(&places, options)?;
    let (before, begun) = (machine().0, Instant::now());
    for _ in 0..options.switches_s {
        std::thread::sleep(Duration::from_secs(1));
        for watch in &mut watches {
            watch.look(&places, cpus.into())?;
        }
    }
    let rate = (machine().0 - before) as f64 / begun.elapsed().as_secs_f64();
    drop(loads);
    let mut faults = Vec::new();
    let tables = compared(&watches, &mut faults);
    let head = format!(
        "A ping-pong on each of {cpus} CPUs: {alone:.0} switches a second with nothing attached, {rate:.0} with the hook \
         (and the books) for {:.1} s.\n\n",
        begun.elapsed().as_secs_f64()
    );
    Ok(Told { text: head + &tables + &outcome(&faults), faults })
}

/// Very many threads that live at once.
fn threads(options: &Options) -> Result<Told> {
    const A_PROCESS: u64 = 1_000;
    let _ids = MoreIds::allow(options.threads + 20_000)?;
    let places = [Place::new("threads")?];
    let mut watches = watches(&places, options)?;
    let begun = Instant::now();
    let mut loads = Vec::new();
    for _ in 0..options.threads.div_ceil(A_PROCESS) {
        let started = places[0].start(&["threads-live", &A_PROCESS.to_string()]);
        loads.push(started.with_context(|| format!("after {} threads", loads.len() as u64 * A_PROCESS))?);
    }
    let made_s = begun.elapsed().as_secs_f64();
    let count = loads.len() as u64 * A_PROCESS;
    for watch in &mut watches {
        // While they live is what is asked for.
        watch.snapshots_ms.clear();
        for _ in 0..5 {
            watch.look(&places, cpus()?.into())?;
        }
    }
    let held = Held::of(std::process::id())?;
    drop(loads);
    std::thread::sleep(Duration::from_secs(2));
    let mut faults = Vec::new();
    let mut tables = String::new();
    for watch in &mut watches {
        let _ = writeln!(
            tables,
            "{}: a snapshot with all of them alive takes {} ms of CPU time.\n",
            watch.rung,
            super::spread(&watch.snapshots_ms)
        );
        watch.look(&places, cpus()?.into())?;
    }
    tables += &compared(&watches, &mut faults);
    let head = format!(
        "{count} threads in {} processes, made in {made_s:.1} s, and ended; both ways of accounting in one process of {:.1} MB \
         resident and {:.1} MB in the kernel.\n\n",
        count / A_PROCESS,
        mib(held.resident_kib),
        mib(held.kernel_kib)
    );
    Ok(Told { text: head + &tables + &outcome(&faults), faults })
}

/// The machine's largest process id, raised for the time of the soak.
struct MoreIds(String);

impl MoreIds {
    const FILE: &str = "/proc/sys/kernel/pid_max";

    fn allow(ids: u64) -> Result<Self> {
        let before = fs::read_to_string(Self::FILE)?;
        if before.trim().parse::<u64>()? < ids {
            fs::write(Self::FILE, ids.next_power_of_two().to_string())
                .context("cannot raise kernel.pid_max")?;
        }
        Ok(Self(before))
    }
}

impl Drop for MoreIds {
    fn drop(&mut self) {
        let _kept = fs::write(Self::FILE, self.0.trim());
    }
}

/// Very many cgroups, one after the other, by one process on each CPU.
fn cgroups(options: &Options) -> Result<Told> {
    let places = [Place::new("cgroups")?];
    let cpus = cpus()?;
    let tops = RUNGS.into_iter().map(carbon_top).collect::<Result<Vec<_>>>()?;
    std::thread::sleep(Duration::from_secs(1));
    let folder = tempfile::tempdir()?;
    let told: Vec<PathBuf> = (0..cpus).map(|cpu| folder.path().join(cpu.to_string())).collect();
    let each = options.cgroups.div_ceil(cpus.into());
    let mut watches = watches(&places, options)?;
    let begun = Instant::now();
    let mut loads = told
        .iter()
        .map(|told| places[0].start(&["cgroups", "0", &each.to_string(), &told.to_string_lossy()]))
        .collect::<Result<Vec<_>>>()?;
    let made = || -> u64 {
        let counts = told.iter().filter_map(|file| fs::read_to_string(file).ok()?.parse::<u64>().ok());
        counts.sum()
    };
    let mut minutes = Vec::new();
    while loads.iter_mut().any(|load| matches!(load.0.try_wait(), Ok(None))) {
        std::thread::sleep(Duration::from_secs(1));
        for watch in &mut watches {
            watch.look(&places, cpus.into())?;
        }
        minutes.push(Minute { top: tops.iter().map(|top| Held::of(top.0.id())).collect::<Result<_>>()? });
    }
    let (count, seconds) = (made(), begun.elapsed().as_secs_f64());
    std::thread::sleep(Duration::from_secs(1));
    for watch in &mut watches {
        watch.look(&places, cpus.into())?;
    }
    let mut faults = growth(&minutes);
    if count < options.cgroups {
        faults.push(format!("{count} cgroups were made, {} asked for", options.cgroups));
    }
    let tables = compared(&watches, &mut faults);
    let held: Vec<String> = minutes
        .last()
        .map(|minute| minute.top.iter().zip(RUNGS))
        .into_iter()
        .flatten()
        .map(|(held, rung)| {
            format!(
                "{rung} {:.1} MB resident, {:.1} MB in the kernel",
                mib(held.resident_kib),
                mib(held.kernel_kib)
            )
        })
        .collect();
    let head = format!(
        "{count} cgroups made, used by a process and removed in {seconds:.0} s: {:.0} a second. `carbon top` beside it, at the \
         end: {}.\n\n",
        count as f64 / seconds,
        held.join("; ")
    );
    Ok(Told { text: head + &tables + &outcome(&faults), faults })
}
