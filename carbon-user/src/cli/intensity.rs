//! `carbon intensity`: what is known of a place.

use super::args::ListFormat;
use super::error::CliError;
use super::live_values::service_place;
use super::runs::write;
use crate::carbon::mix::{self, FactorSet};
use crate::carbon::place::CloudRegion;
use crate::carbon::{Intensity, UnknownZone};
use crate::clock;
use crate::ledger::factor::tables_hash;
use crate::provider::cache::HOLDS_S;
use crate::provider::{self, Http, Live, ProviderError, metadata};
use crate::reference;
use crate::report::figures::significant;
use crate::report::grid::{Cell, Grid};
use clap::Args;
use serde::Serialize;

/// `carbon intensity`.
#[derive(Args, Clone, Debug)]
pub struct IntensityArgs {
    /// A country, grid zone, state, region of a cloud such as aws:eu-west-1, or coordinates such as 53.35,-6.26
    /// [default: that of `CARBON_ZONE`, else an unknown place].
    #[arg(allow_hyphen_values = true)]
    pub place: Option<String>,
    /// Compute it from the country's mix of sources instead.
    #[arg(long, conflicts_with = "live")]
    pub mix: bool,
    /// Ask a service for the present value: electricitymaps, watttime, uk or energy-charts; the place is by its own name
    /// for it. Where it fails, the table's value stands in, and that is said.
    #[arg(long, value_name = "SERVICE")]
    pub live: Option<String>,
    /// Where that service is, if not at its own address.
    #[arg(long, value_name = "URL", requires = "live")]
    pub live_url: Option<String>,
    /// Ask the metadata service of the cloud where this machine is.
    #[arg(long, conflicts_with = "place")]
    pub here: bool,
    /// Where the metadata service is, if not at its own address.
    #[arg(long, value_name = "URL", requires = "here")]
    pub metadata_url: Option<String>,
    /// Open no socket.
    #[arg(long, env = "CARBON_OFFLINE", value_parser = super::options::yes_or_no)]
    pub offline: bool,
    /// How it is written.
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub format: ListFormat,
}

/// JSON schema `carbon.intensity/1`.
#[derive(Debug, Serialize)]
pub(super) struct Said {
    schema: &'static str,
    zone: String,
    name: String,
    g_per_kwh: f64,
    low_g_per_kwh: Option<f64>,
    high_g_per_kwh: Option<f64>,
    year: u16,
    boundary: String,
    basis: String,
    source: String,
    assumed: bool,
    pue: Option<f64>,
    pue_source: Option<String>,
    pue_assumed: Option<bool>,
    wue_l_per_kwh: Option<f64>,
    wue_source: Option<String>,
    market_g_per_kwh: Option<f64>,
    tables_hash: String,
    notes: Vec<String>,
}

/// Writes it and gives the status.
pub(super) fn intensity(args: &IntensityArgs) -> Result<u8, CliError> {
    let place = args.place.clone().or_else(|| std::env::var("CARBON_ZONE").ok());
    let place = place.filter(|place| !place.trim().is_empty());
    let mut notes = Vec::new();
    let place = match (place, args.here) {
        (_, true) => match metadata::region(args.offline, args.metadata_url.as_deref()) {
            Ok(region) => Some(region.name()),
            Err(error) => {
                notes.push(format!("where this machine is cannot be told: {error}"));
                None
            }
        },
        (place, false) => place,
    };
    let live = args.live.as_deref().map(|service| ask(service, args, place.as_deref())).transpose()?;
    let found = match place.as_deref() {
        _ if live.as_ref().is_some_and(Result::is_ok) => Intensity::of_unknown_place(),
        None => Intensity::of_unknown_place(),
        Some(place) => Intensity::of(place).map_err(|error| CliError::Zone { source: error })?,
    };
    let region = place.as_deref().and_then(CloudRegion::parse);
    let found = match live {
        Some(Ok(live)) => {
            let when = jiff::Timestamp::from_second(live.start_s).unwrap_or_default();
            let how = if live.estimated { "an estimate of its publisher" } else { "measured" };
            notes.push(format!("live: from {when} on, {how}"));
            let age_s = clock::wall().as_second().saturating_sub(live.start_s);
            if age_s > HOLDS_S {
                notes.push(format!("it is {} h old: the service has none of this hour", age_s / HOLDS_S));
            }
            if !live.intensity.spread.is_known() {
                notes.push("how far off it may be is not known".to_owned());
            }
            live.intensity
        }
        Some(Err(error)) => {
            notes.push(format!("no live value, so the table's stands in: {error}"));
            found
        }
        None => found,
    };
    let mut said = said(found, region.as_ref());
    if args.mix {
        from_mix(&mut said)?;
    }
    let mut grid = Grid::new(&[
        ("PLACE", "zone", false),
        ("g/kWh", "g_per_kwh", true),
        ("90 %", "low_g_per_kwh high_g_per_kwh", true),
        ("YEAR", "year", true),
        ("COUNTED", "boundary", false),
        ("HOW", "basis", false),
        ("PUE", "pue", true),
        ("WUE l/kWh", "wue_l_per_kwh", true),
    ]);
    let ratio = |value: Option<f64>| {
        value.map_or_else(Cell::unknown, |value| Cell::number(significant(value, 3), value))
    };
    grid.rows.push(vec![
        Cell::text(format!("{} ({})", said.zone, said.name)),
        Cell::number(significant(said.g_per_kwh, 4), said.g_per_kwh),
        match (said.low_g_per_kwh, said.high_g_per_kwh) {
            (Some(low), Some(high)) => Cell::number(
                format!("{} to {}", significant(low, 2), significant(high, 2)),
                format!("{low} {high}"),
            ),
            _ => Cell::unknown(),
        },
        Cell::number(said.year.to_string(), said.year),
        Cell::text(&said.boundary),
        Cell::text(&said.basis),
        ratio(said.pue),
        ratio(said.wue_l_per_kwh),
    ]);
    let mut lines = vec![format!("source: {}", said.source)];
    if said.assumed {
        lines.push("ASSUMED: no place was given, so this is the world's average".into());
    }
    if let (Some(pue), Some(source)) = (said.pue, &said.pue_source) {
        let assumed =
            if said.pue_assumed == Some(true) { ", assumed: the region publishes none" } else { "" };
        lines.push(format!("PUE {pue}: {source}{assumed}"));
    }
    if let (Some(wue), Some(source)) = (said.wue_l_per_kwh, &said.wue_source) {
        lines.push(format!("WUE {wue} l/kWh: {source}"));
    }
    if let Some(market) = said.market_g_per_kwh {
        lines.push(format!(
            "market-based, by the provider's certificates: {market} g/kWh; another question, never mixed with the above"
        ));
    }
    lines.extend(notes.iter().map(|note| format!("note: {note}")));
    said.notes = notes;
    write(&grid, &said, args.format, &lines)?;
    Ok(0)
}

/// What the tables say of a place, or of an unknown one.
pub(super) fn of_tables(place: Option<&str>) -> Result<Said, CliError> {
    let found = match place {
        None => Intensity::of_unknown_place(),
        Some(place) => Intensity::of(place).map_err(|error| CliError::Zone { source: error })?,
    };
    Ok(said(found, place.and_then(CloudRegion::parse).as_ref()))
}

/// The live value of a service, or why there is none.
fn ask(
    service: &str,
    args: &IntensityArgs,
    place: Option<&str>,
) -> Result<Result<Live, ProviderError>, CliError> {
    let provider =
        provider::provider(service, args.live_url.as_deref()).ok_or_else(|| CliError::Argument {
            option: "--live",
            value: service.into(),
            reason: "not a known service".into(),
            advice: "give electricitymaps, watttime, uk or energy-charts".into(),
        })?;
    let refused = |reason: String| CliError::Argument {
        option: "--live",
        value: service.into(),
        reason,
        advice: "give the service's name of the place, such as FR".into(),
    };
    let place = place.ok_or_else(|| refused("no place".into()))?;
    let place = &service_place(service, place)
        .ok_or_else(|| refused(format!("what it calls {place} is not known")))?;
    let http = if args.offline { Http::offline() } else { Http::online() };
    Ok(provider::latest(provider.as_ref(), &http, place, clock::wall().as_second()))
}

fn said(found: Intensity, region: Option<&CloudRegion>) -> Said {
    let bound = |ratio: f64| found.spread.is_known().then_some(found.g_per_kwh.0 * ratio);
    let pue = region.map(CloudRegion::pue);
    let wue = region.and_then(CloudRegion::wue_l_per_kwh);
    Said {
        schema: "carbon.intensity/1",
        g_per_kwh: found.g_per_kwh.0,
        low_g_per_kwh: bound(found.spread.low_ratio),
        high_g_per_kwh: bound(found.spread.high_ratio),
        year: found.year,
        boundary: found.boundary().to_owned(),
        basis: found.basis(),
        zone: found.zone,
        name: found.name,
        source: found.source,
        assumed: found.assumed,
        pue: pue.as_ref().map(|it| it.value.0),
        pue_assumed: pue.as_ref().map(|it| it.assumed),
        pue_source: pue.map(|it| it.source),
        wue_l_per_kwh: wue.as_ref().map(|it| it.value),
        wue_source: wue.map(|it| it.source),
        market_g_per_kwh: region.and_then(|region| region.row().provider_market_g_per_kwh),
        tables_hash: tables_hash(),
        notes: Vec::new(),
    }
}

/// By the country's mix and the factors of the IPCC.
fn from_mix(said: &mut Said) -> Result<(), CliError> {
    let unknown = |zone: &str| CliError::Zone {
        source: UnknownZone { zone: format!("{zone} (no mix is known)"), near: Vec::new() },
    };
    let country = reference::grid()
        .find(|row| row.iso2.as_deref() == Some(said.zone.as_str()) || row.iso3 == said.zone)
        .ok_or_else(|| unknown(&said.zone))?;
    let (year, sources) = mix::of_country(&country.iso3).ok_or_else(|| unknown(&said.zone))?;
    let found = mix::intensity(&sources, FactorSet::Ipcc2014).map_err(|_| unknown(&said.zone))?;
    said.g_per_kwh = found.middle.0;
    said.low_g_per_kwh = Some(found.low.0);
    said.high_g_per_kwh = Some(found.high.0);
    said.year = year;
    said.source =
        "generation by source (CodeCarbon, MIT; Our World in Data) x factors of IPCC AR5 WG3 Annex III (oil: 650)".into();
    Ok(())
}
