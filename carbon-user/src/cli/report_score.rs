//! `--sci` of `carbon report`: the score of ISO/IEC 21031.

use super::error::CliError;
use super::per::FunctionalUnit;
use super::report_args::ReportArgs;
use crate::carbon::embodied::Machine;
use crate::carbon::sci;
use crate::report::figures::{amount, significant};
use crate::report::ledger::{LedgerReport, SciRow};
use crate::units::Grams;
use std::time::Duration;

/// Adds the score to a report of machines that were in use for this long.
pub(super) fn add_score(
    args: &ReportArgs,
    report: &mut LedgerReport,
    time: Duration,
) -> Result<(), CliError> {
    let unit = args.unit();
    let wrong = |reason: String| CliError::Argument {
        option: "--sci",
        value: unit.map_or_else(String::new, |unit| format!("--per {unit}")),
        reason,
        advice: "see the score in docs/ledger.md".into(),
    };
    let Some(FunctionalUnit { name, count }) = unit else { return Err(wrong("it has no unit".into())) };
    let machine = match (args.embodied_kg, &args.embodied_parts) {
        (Some(kg), _) => Machine::known(kg, args.life_years),
        (None, parts) => parts
            .as_ref()
            .map_or_else(Machine::unknown_server, Machine::of_parts)
            .ok_or(crate::carbon::embodied::ImpossibleShare::Machine)
            .and_then(|server| server.used_for(args.life_years)),
    };
    let embodied = machine
        .and_then(|machine| machine.share(time, args.reserved).map(|grams| (machine, grams)))
        .map_err(|error| wrong(error.to_string()))?;
    let Some(operational) = report.total.grams.map(Grams) else {
        return Err(wrong("the grams of this report are unknown, so there is no score".into()));
    };
    let kinds = report.factors.iter().filter_map(|row| crate::carbon::Kind::parse(&row.boundary, &row.basis));
    let kind = kinds.max_by_key(|kind| kind.method).unwrap_or(crate::carbon::Kind::YEARLY);
    let (machine, made) = embodied;
    let score = sci::score(operational, kind, made, *count).map_err(|error| wrong(error.to_string()))?;
    report.sci = Some(SciRow {
        score_g: score.0,
        unit: name.clone(),
        count: *count,
        operational_g: operational.0,
        embodied_g: made.0,
        embodied_method: format!(
            "{} kg over {} years, {} s, share {}; {}",
            whole(machine.made_kg),
            amount(machine.life_years),
            whole(time.as_secs_f64()),
            amount(args.reserved),
            machine.source
        ),
    });
    report.notes.push(
        "SCI counts hardware that is reserved: its energy must hold the share of idle power (carbon run --static proportional)"
            .to_owned(),
    );
    Ok(())
}

/// Seconds or kilograms: whole ones where there are many, and what is less than one is not none.
fn whole(value: f64) -> String {
    if value >= 1000.0 { format!("{value:.0}") } else { significant(value, 4) }
}
