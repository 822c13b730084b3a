//! What work costs beside each way of accounting: hackbench's time, and how late cyclictest's threads wake up.

use super::{Peer, median, spread};
use anyhow::{Context, Result, bail};
use std::fmt::Write as _;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const ROUNDS: usize = 7;

/// What runs beside the work.
const VARIANTS: [(&str, &[&str]); 5] = [
    ("nothing", &[]),
    ("nothing, again", &[]),
    (
        "books",
        &["top", "--once", "--quiet", "--duration", "1h", "--accounting", "books", "--output", "/dev/null"],
    ),
    (
        "hook",
        &["top", "--once", "--quiet", "--duration", "1h", "--accounting", "hook", "--output", "/dev/null"],
    ),
    ("bpftrace", &[]),
];

/// The table.
pub(crate) fn load() -> Result<String> {
    let mut hackbench: Vec<Vec<f64>> = vec![Vec::new(); VARIANTS.len()];
    let mut half: Vec<Vec<f64>> = vec![Vec::new(); VARIANTS.len()];
    let mut late: Vec<Vec<f64>> = vec![Vec::new(); VARIANTS.len()];
    for _ in 0..ROUNDS {
        for (index, (name, arguments)) in VARIANTS.iter().enumerate() {
            let _beside = match *name {
                "nothing" | "nothing, again" => None,
                "bpftrace" => match super::switch::peer(super::switch::SUM_BY_CGROUP)? {
                    Some((peer, _)) => Some(peer),
                    None => continue,
                },
                _ => Some(Peer(carbon(arguments)?)),
            };
            hackbench[index].push(seconds_of_hackbench()?);
            let (p50, p99) = wake_up_us()?;
            half[index].push(p50);
            late[index].push(p99);
        }
    }
    let mut text = format!(
        "hackbench (`-g 2 -l 2000`), and how late cyclictest's two threads wake up (a millisecond's sleep, 1,500 times), with \
         `carbon top` at windows of one second; {ROUNDS} rounds, alternated; median [least to most]. \"Nothing\" has two rows: \
         what differs between them is no effect of anything.\n\n\
         | beside it | hackbench, s | wake-up p50, us | wake-up p99, us |\n|---|---|---|---|\n"
    );
    for (index, (name, _)) in VARIANTS.iter().enumerate() {
        if hackbench[index].is_empty() {
            let _ = writeln!(text, "| {name} | not installed, or tracefs is not mounted | | |");
            continue;
        }
        let (work, half, late) = (spread(&hackbench[index]), spread(&half[index]), spread(&late[index]));
        let _ = writeln!(text, "| {name} | {work} | {half} | {late} |");
    }
    let [without, again] = [0, 1].map(|index| (least(&hackbench[index]), most(&hackbench[index])));
    let spread_of_nothing = (without.0.min(again.0), without.1.max(again.1));
    for (index, (name, _)) in
        VARIANTS.iter().enumerate().skip(2).filter(|(index, _)| !hackbench[*index].is_empty())
    {
        let middle = median(&hackbench[index]);
        let within = (spread_of_nothing.0..=spread_of_nothing.1).contains(&middle);
        let word = if within { "within" } else { "outside" };
        let _ = write!(text, "\n{name}: hackbench's median is {word} the spread of runs beside nothing.");
    }
    Ok(text + "\n")
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn most(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

fn carbon(arguments: &[&str]) -> Result<Child> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carbon"));
    let child = super::soak::loads::ending_with_us(&mut command).args(arguments).spawn()?;
    // Until its programs are loaded.
    std::thread::sleep(Duration::from_millis(700));
    Ok(child)
}

fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot run {program}: apt-get install rt-tests"))?;
    let mut text = String::new();
    child.stdout.take().context("its output")?.read_to_string(&mut text)?;
    if !child.wait()?.success() {
        bail!("{program} failed");
    }
    Ok(text)
}

fn seconds_of_hackbench() -> Result<f64> {
    let text = output("hackbench", &["-g", "2", "-l", "2000"])?;
    let line = text.lines().find_map(|line| line.strip_prefix("Time: "));
    line.and_then(|seconds| seconds.trim().parse().ok()).context("hackbench says no time")
}

/// Lateness of two threads that sleep a millisecond at a time: half of the wake-ups and 99 of 100 are no later, by
/// cyclictest's histogram.
fn wake_up_us() -> Result<(f64, f64)> {
    let text = output("cyclictest", &["-q", "-t", "2", "-i", "1000", "-l", "1500", "-h", "5000"])?;
    let rows: Vec<(f64, u64)> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let mut words = line.split_whitespace().map(str::parse::<u64>);
            let late = words.next()?.ok()?;
            Some((late as f64, words.map_while(Result::ok).sum()))
        })
        .collect();
    let all: u64 = rows.iter().map(|(_, count)| count).sum();
    let within = |share: f64| {
        let mut seen = 0;
        let found = rows.iter().find(|(_, count)| {
            seen += count;
            seen as f64 >= share * all as f64
        });
        found.map_or(f64::NAN, |(late, _)| *late)
    };
    Ok((within(0.5), within(0.99)))
}
