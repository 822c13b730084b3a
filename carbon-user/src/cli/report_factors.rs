//! `--factors` of `carbon report`: grams by other intensities than were recorded.

use super::error::CliError;
use super::report_args::ReportArgs;
use crate::carbon::Intensity;
use crate::ledger::Factor;
use crate::report::ledger::LedgerReport;
use std::collections::BTreeSet;

/// The factor that was recorded, or the one that `--factors` puts in its place. What is in the ledger stays.
pub(super) fn factor_for(args: &ReportArgs, recorded: &Factor) -> Result<Factor, CliError> {
    let zone = match asked_factors(args) {
        None => return Ok(recorded.clone()),
        Some(CURRENT) if recorded.intensity.assumed => {
            return Ok(Factor::new(Intensity::of_unknown_place(), recorded.pue));
        }
        Some(CURRENT) => {
            // A place of somebody's own file is in no table.
            return Ok(Intensity::of(&recorded.intensity.zone)
                .map_or_else(|_| recorded.clone(), |intensity| Factor::new(intensity, recorded.pue)));
        }
        Some(zone) => zone,
    };
    let intensity = Intensity::of(zone).map_err(|error| CliError::Argument {
        option: "--factors",
        value: zone.into(),
        reason: error.to_string(),
        advice: "or `current`, or `recorded`".into(),
    })?;
    Ok(Factor::new(intensity, recorded.pue))
}

/// `--factors` with the factors of this program.
const CURRENT: &str = "current";

/// What `--factors` asks for; none for what was recorded.
fn asked_factors(args: &ReportArgs) -> Option<&str> {
    args.factors.as_deref().map(str::trim).filter(|asked| !["", "recorded"].contains(asked))
}

/// What `--factors` leaves as it was.
pub(super) fn notes_of_factors(args: &ReportArgs, report: &LedgerReport) -> Vec<String> {
    let Some(asked) = asked_factors(args) else { return Vec::new() };
    let mut notes = vec![format!(
        "grams are by --factors {asked}, which replaces the intensity alone: PUE is as recorded"
    )];
    let kept: BTreeSet<&str> = report
        .factors
        .iter()
        .filter(|row| asked == CURRENT && !row.assumed && Intensity::of(&row.zone).is_err())
        .map(|row| row.zone.as_str())
        .collect();
    if !kept.is_empty() {
        let kept: Vec<&str> = kept.into_iter().collect();
        notes.push(format!("no table knows {}: the intensity there is as recorded too", kept.join(", ")));
    }
    notes
}
