//! Very much of one thing: switches, live threads, cgroups.

use super::watch::Held;
use super::{
    Minute, Options, Place, RUNGS, Told, carbon_top, compared, cpus, growth, machine, mib, outcome, watches,
};
use crate::spread;
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// `carbon top` may hold so much of its own where cgroups come and go as fast as they can.
const RESIDENT_MOST_KIB: u64 = 48 << 10;

/// As many switches as the machine can make, for some seconds.
pub(super) fn switches(options: &Options) -> Result<Told> {
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
    let opening = format!(
        "A ping-pong on each of {cpus} CPUs: {alone:.0} switches a second with nothing attached, {rate:.0} with the hook \
         (and the books) for {:.1} s.\n\n",
        begun.elapsed().as_secs_f64()
    );
    Ok(Told { text: opening + &tables + &outcome(&faults), faults })
}

/// Very many threads that live at once.
pub(super) fn threads(options: &Options) -> Result<Told> {
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
            spread(&watch.snapshots_ms)
        );
        watch.look(&places, cpus()?.into())?;
    }
    tables += &compared(&watches, &mut faults);
    let opening = format!(
        "{count} threads in {} processes, made in {made_s:.1} s, and ended; both ways of accounting in one process of {:.1} MB \
         resident and {:.1} MB in the kernel.\n\n",
        count / A_PROCESS,
        mib(held.resident_kib),
        mib(held.kernel_kib)
    );
    Ok(Told { text: opening + &tables + &outcome(&faults), faults })
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
pub(super) fn cgroups(options: &Options) -> Result<Told> {
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
    let mut faults = growth(&minutes, false);
    // A thousand a second fill every table that is bounded: how much that is, not whether it still swings, is asked.
    let most_kib = minutes.iter().flat_map(|minute| &minute.top).map(|held| held.resident_kib).max();
    if most_kib.is_some_and(|kib| kib > RESIDENT_MOST_KIB) {
        faults.push(format!("carbon top holds more than {RESIDENT_MOST_KIB} KiB"));
    }
    if count < options.cgroups {
        faults.push(format!("{count} cgroups were made, {} asked for", options.cgroups));
    }
    let tables = compared(&watches, &mut faults);
    let at_the_end: Vec<String> = minutes
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
    let opening = format!(
        "{count} cgroups made, used by a process and removed in {seconds:.0} s: {:.0} a second. `carbon top` beside it, at the \
         end: {}.\n\n",
        count as f64 / seconds,
        at_the_end.join("; ")
    );
    Ok(Told { text: opening + &tables + &outcome(&faults), faults })
}
