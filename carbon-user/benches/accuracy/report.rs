//! Tables of scores.

use crate::scenarios::{Node, SCENARIOS, Setting, simulate};
use crate::score::{Score, median, score};
use crate::speed::{endurance, speed};
use anyhow::{Error, Result};
use std::fmt::Write;

/// Settings of a whole run: CPUs, workloads, seconds, and seconds a window.
const SETTINGS: [(u32, usize, usize, usize); 7] = [
    (16, 20, 600, 1),
    (16, 20, 3_600, 1),
    (2, 4, 600, 1),
    (2, 4, 3_600, 1),
    (16, 100, 600, 1),
    (128, 100, 600, 1),
    (16, 20, 3_600, 5),
];

const HEADER: &str = "\
| truth | carbon, total | carbon, shares | CPU time, same P0 | CPU time, true P0 | 90 % interval holds | its half-width | \
P0 / true | sets: error, holds, half-width |
|---|---|---|---|---|---|---|---|---|
";

const PREAMBLE: &str = "\
# How right attribution is

Printed by `cargo xtask bench accuracy`, and the last two sections by the same with `--metered` and with `--guest`; do not edit.

**What the truth is.** Simulated nodes (`carbon-user/benches/accuracy/scenarios.rs`), not silicon. Dynamic energy of a window
is own watts x CPU seconds of each workload, and what is common to all (waking the package, curvature, frequency) follows the same
proportion; own watts are 0.4 to 1.6 times the mean. The meter has 0.5 % of noise and 1 ms of jitter. What Carbon is told beforehand
(idle power, watts per CPU) is wrong by a log-normal factor with sigma 0.25. CPU seconds and the share of time with any CPU busy are exact.
Two of the truths (additive and threads) are of a form that the model has; `lagging` to `memory` were written after it, and nothing but
two terms of the intervals, the noise to begin with and the slack before own watts are cut was chosen with them in view (`standing` and `outliers`: after defects that other truths had shown). Windows go through the same code as those of a real meter, from integer microjoules to integer microjoules.

**What the columns are.** Error: sum over workloads of |estimate - truth| over sum of truth, dynamic energy, last 80 % of the run, in
per cent, mean over seeds. *Shares*: the same with estimates scaled to the sum of the truth. *CPU time, same P0*: the same dynamic
energy, split by CPU time; *true P0*: with the true idle power, which nobody knows. *90 % interval*: of a workload's joules in a
minute; how often it holds the truth, in per cent of workloads with at least 0.1 % of that minute's energy, and the median of its
half-width over the estimate. *P0 / true*: at the end, with the half-width of its 90 % interval. *Sets*: workloads reported as not to be told apart: error
of their sum, how often its interval holds, its half-width.
";

/// The whole page.
///
/// # Errors
/// Where the model is not sound over a million windows, or takes more time or memory than it may.
pub(crate) fn page(seeds: u64) -> Result<()> {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    println!("{PREAMBLE}");
    println!(
        "Made on {}, {} seeds a scenario, on {} ({} CPUs).",
        jiff::Timestamp::now().strftime("%Y-%m-%d"),
        seeds,
        processor.map_or("an unknown processor", |(_, name)| name),
        std::thread::available_parallelism().map_or(1, usize::from),
    );
    for (cpus, workloads, seconds, merged) in SETTINGS {
        println!("\n## {cpus} CPUs, {workloads} workloads, {seconds} s, windows of {merged} s\n");
        print!(
            "{}",
            table(&[], seeds, |node| node.merged(merged), |seed| Setting { cpus, workloads, seconds, seed })
        );
    }
    let speed = speed().map_err(Error::msg)?;
    println!(
        "\n## Cost\n\nOf a window of one domain, and the memory of its bank (`cargo xtask bench bank` times the same by criterion):\n\n{speed}"
    );
    println!("A bank with half more workloads than slots, idle now and then, windows of 1 and 10 s:\n");
    print!("- {}", endurance(1_000_000, 8).map_err(Error::msg)?);
    print!("- {}", endurance(100_000, 128).map_err(Error::msg)?);
    Ok(())
}

/// Runs the scenarios at one setting, seeds from 1 on, and gives a Markdown table.
pub(crate) fn table(
    names: &[String],
    seeds: u64,
    change: impl Fn(Node) -> Node,
    of: impl Fn(u64) -> Setting,
) -> String {
    let mut text = String::from(HEADER);
    let mut all = Vec::new();
    for (name, _) in
        SCENARIOS.iter().filter(|(name, _)| names.is_empty() || names.iter().any(|it| it == name))
    {
        let scores: Vec<Score> = (1..=seeds).map(|seed| score(&change(simulate(name, of(seed))))).collect();
        text.push_str(&line(name, &scores));
        all.extend(scores);
    }
    text.push_str(&line("**all**", &all));
    if let Some(broken) = all.iter().position(|score| !score.conserved) {
        writeln!(text, "\nNOT CONSERVED in run {broken}").unwrap_or_default();
    }
    text
}

fn line(name: &str, scores: &[Score]) -> String {
    let mean = |of: &dyn Fn(&Score) -> f64| scores.iter().map(of).sum::<f64>() / scores.len() as f64;
    let pooled = |parts: &[&((u32, u32), Vec<f64>)]| {
        let (hits, tries) = parts.iter().fold((0, 0), |sum, part| (sum.0 + part.0.0, sum.1 + part.0.1));
        let widths: Vec<f64> = parts.iter().flat_map(|part| part.1.iter().copied()).collect();
        (100.0 * f64::from(hits) / f64::from(tries.max(1)), 100.0 * median(&widths))
    };
    let own: Vec<_> = scores.iter().map(|score| &score.intervals).collect();
    let (holds, width) = pooled(&own);
    let sets: Vec<_> = scores.iter().filter_map(|score| score.sets.as_ref()).collect();
    let of_sets = if sets.is_empty() {
        String::new()
    } else {
        let (holds, width) = pooled(&sets.iter().map(|set| &set.intervals).collect::<Vec<_>>());
        let error = sets.iter().map(|set| set.error_pct).sum::<f64>() / sets.len() as f64;
        format!("{error:.1}, {holds:.0}, {width:.0} ({} runs)", sets.len())
    };
    let unidentified = scores.iter().filter(|score| !score.p0_identified).count();
    let told = if unidentified > 0 { format!(", not identified in {unidentified}") } else { String::new() };
    format!(
        "| {name} | {:.1} | {:.1} | {:.1} | {:.1} | {holds:.0} | {width:.0} | {:.2} +- {:.0} %{told} | {of_sets} |\n",
        mean(&|score| score.total_pct),
        mean(&|score| score.share_pct),
        mean(&|score| score.same_p0_pct),
        mean(&|score| score.true_p0_pct),
        mean(&|score| score.p0_ratio),
        164.5 * mean(&|score| score.p0_stddev_ratio),
    )
}
