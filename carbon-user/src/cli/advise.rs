//! `carbon advise`: the same work in each region of a cloud.

use super::error::CliError;
use super::ledger_args::AdviseArgs;
use super::run_entry::parse_energy;
use super::runs::write;
use crate::carbon::place::{CloudRegion, providers};
use crate::report::advice::{Advice, Candidate};
use crate::units::Microjoules;

/// Writes the ranking and gives the status.
pub(super) fn advise(args: &AdviseArgs) -> Result<u8, CliError> {
    let regions = CloudRegion::all(&args.provider);
    if regions.is_empty() {
        return Err(CliError::Argument {
            option: "--provider",
            value: args.provider.clone(),
            reason: "not a provider of the table".into(),
            advice: format!("give one of {}", providers().join(", ")),
        });
    }
    let near = args.near.as_deref().map(|name| find(&args.provider, name, &regions)).transpose()?;
    let energy: Microjoules = parse_energy("--energy", &args.energy)?;
    let mut candidates = Vec::new();
    for region in &regions {
        let intensity = region.intensity().map_err(|error| CliError::Zone { source: error })?;
        let km = near.as_ref().map(|near| near.coordinates().distance_km(region.coordinates()));
        if args.within.is_some_and(|within| km.is_some_and(|km| km > within)) {
            continue;
        }
        candidates.push(Candidate { region: region.clone(), intensity, pue: region.pue(), km });
    }
    let advice = Advice::new(&candidates, near.as_ref().map(CloudRegion::name), energy, args.limit);
    write(&advice.grid(), &advice, args.format, &advice.lines())?;
    Ok(0)
}

fn find(provider: &str, name: &str, regions: &[CloudRegion]) -> Result<CloudRegion, CliError> {
    let name = name.rsplit(':').next().unwrap_or(name);
    CloudRegion::find(provider, name).ok_or_else(|| CliError::Argument {
        option: "--near",
        value: name.into(),
        reason: format!("not a region of {provider}"),
        advice: format!(
            "give one such as {}",
            regions.iter().take(3).map(|it| it.row().region.clone()).collect::<Vec<_>>().join(", ")
        ),
    })
}
