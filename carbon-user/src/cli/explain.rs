//! `carbon explain`: the chain from a meter's reading to a gram.

use super::error::CliError;
use super::explain_window::{self, Bucket};
use super::output::Output;
use super::store::StoreArgs;
use crate::carbon::Intensity;
use crate::ledger::runs::KeptRun;
use crate::ledger::{Factor, LedgerError};
use crate::report::figures::{printable, significant};
use crate::report::group::add_grams;
use crate::report::ledger::NO_SPREAD;
use crate::units::Microjoules;
use clap::Args;

/// `carbon explain`.
#[derive(Args, Clone, Debug)]
pub struct ExplainArgs {
    /// A run (its id, the beginning or end of it, or its name), or a time of the ledger: a day such as 2026-01-31, an hour
    /// such as 2026-01-31T12, or a minute such as 2026-01-31T12:30.
    #[arg(value_name = "RUN|WHEN")]
    pub what: String,
    /// Of a time: only workloads whose identity or name contains this.
    #[arg(long, value_name = "NAME")]
    pub workload: Option<String>,
    /// Time zone of the time, such as Europe/Paris.
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub tz: String,
    /// The ledger.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// Writes the chain and gives the status.
pub(super) fn explain(args: &ExplainArgs) -> Result<u8, CliError> {
    let tz = super::report_time::zone(&args.tz)?;
    let mut ledger = args.store.open_to_read()?;
    let lines = match Bucket::parse(&args.what, &tz) {
        Some(bucket) => ledger.snapshot(|ledger| explain_window::facts(ledger, bucket, args, &tz))?,
        None => match ledger.find_run(&args.what) {
            Err(LedgerError::NoRun { .. }) if looks_like_a_time(&args.what) => {
                return Err(CliError::Argument {
                    option: "explain",
                    value: args.what.clone(),
                    reason: "there is no such time, and no run of that name".into(),
                    advice: "give a run, a day such as 2026-01-31, an hour such as 2026-01-31T12, or a minute such as \
                             2026-01-31T12:30"
                        .into(),
                });
            }
            found => facts(&found?),
        },
    };
    let text: String = lines.iter().map(|line| printable(line) + "\n").collect();
    Output::Stdout.write(&text)?;
    Ok(0)
}

/// Such as `2026-13-01`.
fn looks_like_a_time(text: &str) -> bool {
    let text = text.trim();
    let of_time = |byte: u8| byte.is_ascii_digit() || b"-T:".contains(&byte);
    text.len() >= 7 && text.as_bytes().get(4) == Some(&b'-') && text.bytes().all(of_time)
}

/// Line by line.
pub(super) fn facts(run: &KeptRun) -> Vec<String> {
    let start = &run.start;
    let mut lines = vec![format!("run {}: {} on {}", start.id, start.command.join(" "), start.node)];
    let Some(end) = &run.end else {
        lines.push(
            "it has not ended, or carbon was killed before it did: its energy is unknown, not zero".into(),
        );
        return lines;
    };
    lines.push(format!(
        "{} with status {} after {} s; {}",
        end.status.as_str(),
        end.exit_status,
        seconds(end.duration_ns),
        if end.outlived_by == 0 {
            "no process of it was left".to_owned()
        } else {
            format!("{} of its processes outlived it, and what they used later is not in it", end.outlived_by)
        }
    ));
    lines.push(format!("hardware: {}", end.hardware));
    for row in &end.domains {
        lines.push(format!(
            "1. reading: {} ({}) counted {:.6} J on the whole machine meanwhile, {}, by {}",
            row.domain.device,
            row.domain.domain,
            row.metered.joules(),
            row.domain.quality,
            row.domain.source
        ));
        lines.push(format!(
            "   {} uJ metered = {} attributed to what ran + {} static (idle power) + {} lost",
            row.metered.0, row.attributed.0, row.static_energy.0, row.lost.0
        ));
    }
    lines.push(format!("2. CPU time: {} s of the run, by {}", seconds(end.cpu.0), end.accounting));
    let attributed: Microjoules = end.domains.iter().map(|row| row.attributed).sum();
    for row in &end.energies {
        #[expect(clippy::cast_precision_loss, reason = "a share for display")]
        let share = if attributed.0 > 0 { 100.0 * row.energy.0 as f64 / attributed.0 as f64 } else { 0.0 };
        lines.push(format!(
            "3. energy: {} uJ {} ({} % of what was attributed), split by {}, static energy {}, standard deviation {} J, {}",
            row.energy.0,
            row.kind.as_str(),
            significant(share, 3),
            end.attribution,
            end.static_policy,
            significant(row.stddev_uj / 1e6, 2),
            row.quality
        ));
        lines.push(factor_line(&row.factor));
        lines.extend(row.recorded.as_ref().map(|first| before_line("run", first)));
        lines.push(grams_line(&row.factor, row.energy));
    }
    if end.energies.is_empty() {
        lines.push("3. energy: unknown, not zero: no domain gave any".into());
    } else {
        lines.push(together(end.energies.iter().map(|row| (&row.factor, row.energy, row.stddev_uj))));
    }
    lines
}

#[expect(clippy::cast_precision_loss, reason = "a display value")]
pub(super) fn seconds(ns: u64) -> String {
    significant(ns as f64 / 1e9, 4)
}

/// By what energy becomes grams.
pub(super) fn factor_line(factor: &Factor) -> String {
    let intensity = &factor.intensity;
    format!(
        "4. factor {}: {} g/kWh ({}) for {} ({}), {}, {}, {}; {}; tables {}{}",
        factor.hash().get(..12).unwrap_or_default(),
        intensity.g_per_kwh.0,
        spread_of(intensity),
        intensity.zone,
        intensity.name,
        intensity.year,
        intensity.boundary(),
        intensity.basis(),
        intensity.source,
        factor.tables_hash,
        if intensity.assumed { "; ASSUMED: no place was given" } else { "" }
    )
}

/// How far off an intensity may be.
fn spread_of(intensity: &Intensity) -> String {
    let (g, spread) = (intensity.g_per_kwh.0, intensity.spread);
    if spread.is_known() {
        format!("90 %: {} to {}", significant(g * spread.low_ratio, 2), significant(g * spread.high_ratio, 2))
    } else {
        "how far off it may be is not known".to_owned()
    }
}

/// Of a factor that came late: which was recorded before it.
pub(super) fn before_line(what: &str, first: &Factor) -> String {
    format!(
        "   it came after its {what}; recorded first by {} g/kWh, factor {}",
        first.intensity.g_per_kwh.0,
        first.hash().get(..12).unwrap_or_default()
    )
}

/// The multiplication.
pub(super) fn grams_line(factor: &Factor, energy: Microjoules) -> String {
    format!(
        "5. grams: {} uJ / 3.6e12 uJ/kWh x PUE {} x {} g/kWh = {} g",
        energy.0,
        factor.pue.0,
        factor.intensity.g_per_kwh.0,
        factor.grams(energy).0
    )
}

/// The sum, or why there is none.
pub(super) fn together<'a>(rows: impl IntoIterator<Item = (&'a Factor, Microjoules, f64)>) -> String {
    let rows: Vec<_> = rows.into_iter().collect();
    let known = rows.iter().all(|(factor, ..)| factor.intensity.spread.is_known());
    match add_grams(rows) {
        Ok(grams) => format!(
            "together {} gCO2e, 90 %: {} to {} ({})",
            significant(grams.middle, 2),
            significant(grams.low, 2),
            significant(grams.high, 2),
            if known { "energy and intensity combined" } else { NO_SPREAD }
        ),
        Err(error) => format!("no sum of grams: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_time_is_told_from_a_name() {
        for text in ["2026-13-01", "2026-02-30T25", "2026-01-01T10:99", "2026-13"] {
            assert!(looks_like_a_time(text), "{text}");
        }
        for text in ["2026-13-x", "019ae1b2-0000", "nightly", "1234", "20261301"] {
            assert!(!looks_like_a_time(text), "{text}");
        }
    }
}
