//! Repeats of one command: their mean and how sure it is.

use super::args::RunFormat;
use super::error::{CliError, warn};
use super::output::Output;
use super::run_options::RunOptions;
use crate::ledger::rows::RunEnd;
use crate::report::figures::{of_quality, significant};
use crate::report::statistics::Summary;
use crate::units::{Microjoules, Quality};
use serde::Serialize;

/// Chance that the interval of the mean misses it.
const ALPHA: f64 = 0.1;

/// What a repeat used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    /// None where unknown.
    energy: Option<Microjoules>,
    duration_ns: u64,
    quality: Option<Quality>,
}

impl Sample {
    /// Of a run.
    pub(super) fn of(end: &RunEnd) -> Self {
        let known = !end.energies.is_empty();
        Self {
            energy: known.then(|| end.energies.iter().map(|row| row.energy).sum()),
            duration_ns: end.duration_ns,
            quality: end.energies.iter().map(|row| row.quality).min(),
        }
    }
}

/// The summary, JSON schema `carbon.repeat/1`.
#[derive(Debug, Serialize)]
struct Repeated<'a> {
    schema: &'static str,
    series: Option<&'a str>,
    runs: usize,
    unknown: usize,
    mean_j: Option<f64>,
    stddev_j: Option<f64>,
    mean_half_width_j: Option<f64>,
    confidence_ratio: f64,
    mean_s: Option<f64>,
    stddev_s: Option<f64>,
    quality: Option<&'static str>,
}

fn joules(samples: &[Sample]) -> Vec<f64> {
    samples.iter().filter_map(|sample| sample.energy).map(Microjoules::joules).collect()
}

/// Writes the mean of the repeats where their reports would go.
pub(super) fn report(options: &RunOptions, series: Option<&str>, samples: &[Sample]) -> Result<(), CliError> {
    if options.measuring.quiet || samples.is_empty() {
        return Ok(());
    }
    let energy = Summary::of(&joules(samples));
    #[expect(clippy::cast_precision_loss, reason = "seconds for display")]
    let seconds = Summary::of(&samples.iter().map(|it| it.duration_ns as f64 / 1e9).collect::<Vec<_>>());
    let quality = samples.iter().filter_map(|sample| sample.quality).min().map(Quality::as_str);
    let repeated = Repeated {
        schema: "carbon.repeat/1",
        series,
        runs: samples.len(),
        unknown: samples.iter().filter(|sample| sample.energy.is_none()).count(),
        mean_j: energy.map(|it| it.mean),
        stddev_j: energy.and_then(|it| it.stddev),
        mean_half_width_j: energy.and_then(|it| it.half_width(ALPHA)),
        confidence_ratio: 1.0 - ALPHA,
        mean_s: seconds.map(|it| it.mean),
        stddev_s: seconds.and_then(|it| it.stddev),
        quality,
    };
    let text = match options.format {
        RunFormat::Json => serde_json::to_string_pretty(&repeated)
            .map(|text| text + "\n")
            .map_err(|error| CliError::Write { destination: "memory".into(), source: error.into() })?,
        RunFormat::Table => in_words(&repeated),
    };
    // A file of --output has the report of the last run.
    Output::Stderr.write(&text)
}

fn in_words(it: &Repeated<'_>) -> String {
    let quality = it.quality.unwrap_or("none");
    let figures = of_quality(quality);
    let plus = |half: Option<f64>| half.map_or_else(|| "unknown".to_owned(), |half| significant(half, 2));
    let energy = it.mean_j.map_or_else(
        || "energy unknown".to_owned(),
        |mean| {
            format!(
                "mean {} J \u{b1}{} (90 % of the mean), standard deviation {} J, {quality}",
                significant(mean, figures),
                plus(it.mean_half_width_j),
                plus(it.stddev_j)
            )
        },
    );
    let time = it.mean_s.map_or_else(String::new, |mean| {
        format!("; {} s \u{b1}{} standard deviation", significant(mean, 4), plus(it.stddev_s))
    });
    let series = it.series.map_or_else(String::new, |series| format!(", series {series}"));
    format!("{} runs{series}: {energy}{time}\n", it.runs)
}

/// Whether the mean is within the limit; says where not. Unknown energy is within no limit.
pub(super) fn within(limit: Microjoules, samples: &[Sample], quiet: bool) -> bool {
    let joules = joules(samples);
    let limit_j = limit.joules();
    match Summary::of(&joules).filter(|_| joules.len() == samples.len()) {
        Some(summary) if summary.mean <= limit_j => true,
        Some(summary) => {
            warn(
                quiet,
                &format!(
                    "the command used {} J, more than --max-energy {} J",
                    significant(summary.mean, 4),
                    significant(limit_j, 4)
                ),
            );
            false
        }
        None => {
            warn(quiet, "the energy is not known, so --max-energy is not kept; see \"carbon doctor\"");
            false
        }
    }
}
