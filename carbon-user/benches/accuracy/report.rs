//! Tables of scores.

use crate::scenarios::{SCENARIOS, Setting, simulate};
use crate::score::{Score, median, score};
use std::fmt::Write;

/// Settings of a whole run: CPUs, workloads, seconds.
pub(crate) const SETTINGS: [(u32, usize, usize); 6] =
    [(16, 20, 600), (16, 20, 3_600), (2, 4, 600), (2, 4, 3_600), (16, 100, 600), (128, 100, 600)];

const HEADER: &str = "\
| truth | carbon, total | carbon, shares | CPU time, same P0 | CPU time, true P0 | 90 % interval holds | its half-width | \
P0 / true | sets: error, holds, half-width |
|---|---|---|---|---|---|---|---|---|
";

/// Runs the scenarios at one setting, seeds from 1 on, and gives a Markdown table.
pub(crate) fn table(names: &[String], seeds: u64, of: impl Fn(u64) -> Setting) -> String {
    let mut text = String::from(HEADER);
    let mut all = Vec::new();
    for (name, _) in
        SCENARIOS.iter().filter(|(name, _)| names.is_empty() || names.iter().any(|it| it == name))
    {
        let scores: Vec<Score> = (1..=seeds).map(|seed| score(&simulate(name, of(seed)))).collect();
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
