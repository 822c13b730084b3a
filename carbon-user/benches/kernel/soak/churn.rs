//! Everything at once.

use super::watch::Held;
use super::{
    Minute, Options, Place, RUNGS, Told, carbon_top, compared, cpus, growth, machine, mib, outcome, watches,
};
use anyhow::{Result, bail};
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Everything at once.
pub(super) fn churn(options: &Options) -> Result<Told> {
    let names = ["busy", "half", "forks", "threads", "switches", "moved-a", "moved-b", "cgroups"];
    let places = names.into_iter().map(Place::new).collect::<Result<Vec<_>>>()?;
    let [busy, half, forks, threads, switches, one, other, cgroups] = &places[..] else {
        bail!("eight places")
    };
    let folder = tempfile::tempdir()?;
    let told = folder.path().join("cgroups");
    let paths = [one, other, cgroups].map(|place| place.path.to_string_lossy().into_owned());
    let mut loads = vec![
        busy.start(&["duty", "40"])?,
        half.start(&["duty", "20"])?,
        forks.start(&["forks", "3000"])?,
        threads.start(&["threads", "5000"])?,
        one.start(&["move", "10", &paths[0], &paths[1]])?,
        cgroups.start(&["cgroups", "500", "0", &told.to_string_lossy()])?,
    ];
    for cpu in 0..cpus()? {
        loads.push(switches.start(&["switches", &cpu.to_string()])?);
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
            let a_second =
                |now: u64, before: u64| now.saturating_sub(before) as f64 / row_begun.elapsed().as_secs_f64();
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
            print!("{row}");
            text += &row;
            last = now;
            row_begun = Instant::now();
            minutes.push(Minute { top });
        }
    }
    let mut faults = growth(&minutes, options.minutes >= 9.0);
    let tables = compared(&watches, &mut faults);
    let opening = format!(
        "Busy and idle tasks, forks, threads, switches, cgroups that come and go, tasks that are moved, and {runs} times `carbon \
         run`, all at once for {:.1} minutes. `carbon top` by each way of accounting is what memory and descriptors are of{}.\n\n",
        begun.elapsed().as_secs_f64() / 60.0,
        if options.minutes < 9.0 { "; too short to tell whether its own memory grows" } else { "" }
    );
    Ok(Told { text: opening + &text + "\n" + &tables + &outcome(&faults), faults })
}
