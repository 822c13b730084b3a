//! What the pages of `carbon dashboard` say: the answers of `carbon report`, `runs`, `advise` and `intensity`.

use super::advise::{self, AdviseArgs};
use super::args::ListFormat;
use super::chart_steps::{ChartSteps, Read};
use super::dashboard_processes::{self, Looks};
use super::dashboard_runs;
use super::error::CliError;
use super::intensity::{self, Said};
use super::live_values::LiveArgs;
use super::report::{Keys, Within, made};
use super::report_args::{ByArg, EquivalentsArg, ReportArgs, ReportFormat};
use super::report_time::{interval, zone};
use super::runs::{in_memory, pick};
use super::store::StoreArgs;
use crate::carbon::place::CloudRegion;
use crate::clock;
use crate::dashboard::question::Query;
use crate::dashboard::{Answers, Question, Refusal, Topic};
use crate::ledger::query::{DAY, HOUR, MINUTE};
use crate::ledger::runs::RunFilter;
use crate::ledger::{Ledger, LedgerError, Location, SumsCache};
use crate::report::compare::Compared;
use crate::report::dashboard::{DataQuality, EnergiesByQuality, Equivalents, MeterRow, Overview, Workloads};
use crate::report::group::Hashed;
use crate::report::ledger::LedgerReport;
use crate::report::power::{Power, Step};
use crate::report::processes::ProcessList;
use crate::report::runs::{RunList, SCHEMA as RUNS};
use clap::ValueEnum as _;
use jiff::Timestamp;
use jiff::civil::Time;
use serde::Serialize;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Steps of a chart at most: no screen shows more.
const STEPS_MAX: i64 = 240;

/// Lengths that a step may have. Whole hours and days are read from their own buckets.
const STEPS_S: [i64; 9] = [MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 3 * HOUR, 6 * HOUR, DAY, 7 * DAY, 28 * DAY];

/// Areas of a chart: as many as colours can be told apart.
const SERIES_MAX: usize = 8;

/// Chance of a false alarm where runs are compared, as in `carbon runs compare`.
const ALPHA: f64 = 0.05;

/// Reads a ledger for each answer, so that none is held while nobody asks; sums of what is over are remembered.
#[derive(Debug)]
pub(super) struct FromLedger {
    location: Option<Location>,
    cache: Arc<SumsCache>,
    steps: ChartSteps,
    looks: Option<Looks>,
}

impl FromLedger {
    /// Of this ledger; without one, only what the tables say is answered, and what an agent looks up. So many sums are remembered.
    pub(super) fn new(location: Option<Location>, sums_max: usize, looks: Option<Looks>) -> Self {
        Self {
            location,
            cache: Arc::new(SumsCache::new(sums_max)),
            steps: ChartSteps::new(sums_max / 2),
            looks,
        }
    }

    fn open(&self, limit: Duration) -> Result<Ledger, CliError> {
        let none = || CliError::Argument {
            option: "--store",
            value: "none".into(),
            reason: "this agent writes no ledger".into(),
            advice: "start it with --store to see what was used before now".into(),
        };
        let location = self.location.as_ref().ok_or_else(none)?;
        Ok(Ledger::open_read_only(location, limit)?.remembering(Arc::clone(&self.cache)))
    }

    fn json(&self, question: &Question, limit: Duration) -> Result<Vec<u8>, CliError> {
        let query = &question.query;
        match question.topic {
            Topic::Regions => return bytes(&regions(query)?),
            Topic::Intensity => return bytes(&self.intensity(query, limit)?),
            Topic::Processes => return bytes(&self.processes(query, limit)?),
            _ => {}
        }
        let mut ledger = self.open(limit)?;
        let ledger = &mut ledger;
        match question.topic {
            Topic::Overview => bytes(&overview(query, ledger)?),
            Topic::Power => {
                bytes(&power(&report_args(query, by(query)?), within(query)?.as_ref(), ledger, &self.steps)?)
            }
            Topic::Workloads => {
                let report = report(query, by_runs_too(query)?, ledger)?;
                let workloads = ledger.workloads()?;
                bytes(&Workloads::new(report, query.rows(), workloads.values()))
            }
            Topic::Runs => {
                let runs = ledger.runs(&filter(query)?)?;
                bytes(&RunList { schema: RUNS, runs: runs.iter().map(Into::into).collect() })
            }
            Topic::Compare => {
                let (Some(a), Some(b)) = (given(query.a.as_deref()), given(query.b.as_deref())) else {
                    let none = LedgerError::NoRun { wanted: String::new(), candidates: Vec::new() };
                    return Err(none.into());
                };
                let (before, now) = (pick(ledger, a)?, pick(ledger, b)?);
                bytes(&Compared::new((a, &before), (b, &now), None, ALPHA))
            }
            Topic::Equivalents => bytes(&Equivalents::new(or_of_runs(query, ByArg::Node, ledger)?)),
            _ => bytes(&quality(query, ledger)?),
        }
    }
}

impl FromLedger {
    /// Of the place that is asked for; else of `CARBON_ZONE`, else of the only one that the ledger has factors of.
    fn intensity(&self, query: &Query, limit: Duration) -> Result<Said, CliError> {
        if let Some(place) = given(query.place.as_deref()) {
            return intensity::of_tables(Some(place));
        }
        let own = std::env::var("CARBON_ZONE").ok();
        // A place that the tables do not have, and a ledger that cannot be read, tell none: the page says so.
        let known = |place: &str| intensity::of_tables(Some(place)).ok();
        if let Some(said) = given(own.as_deref()).and_then(known) {
            return Ok(said);
        }
        let factors = self.open(limit).ok().and_then(|mut ledger| ledger.factors().ok()).unwrap_or_default();
        let given = factors.into_values().filter(|factor| !factor.intensity.assumed);
        let zones: BTreeSet<String> = given.map(|factor| factor.intensity.zone).collect();
        let only = if zones.len() == 1 { zones.first() } else { None };
        only.and_then(|zone| known(zone)).map_or_else(|| intensity::of_tables(None), Ok)
    }

    fn processes(&self, query: &Query, limit: Duration) -> Result<ProcessList, CliError> {
        let of = query.within.as_deref().unwrap_or_default();
        match of.split_once(':') {
            Some(("workload", identity)) => Ok(dashboard_processes::now(self.looks.as_ref(), of, identity)),
            Some(("run", id)) => dashboard_processes::of_run(&mut self.open(limit)?, of, id),
            _ => Err(wrong("within", of, "give it as workload:NAME or run:ID".into())),
        }
    }
}

impl Answers for FromLedger {
    fn answer(&self, question: &Question, limit: Duration) -> Result<Vec<u8>, Refusal> {
        self.json(question, limit).map_err(|error| {
            let message = error.message();
            let said = message.strip_prefix("carbon: ").unwrap_or(&message).to_owned();
            match error {
                CliError::Argument { .. }
                | CliError::Zone { .. }
                | CliError::Ledger(LedgerError::NoRun { .. }) => Refusal::Wrong(said),
                CliError::Ledger(LedgerError::Late { .. }) => Refusal::Late(said),
                _ => Refusal::Failed(said),
            }
        })
    }
}

fn bytes(value: &impl Serialize) -> Result<Vec<u8>, CliError> {
    serde_json::to_vec(value).map_err(|error| in_memory(&error))
}

fn given(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

fn wrong(option: &'static str, value: &str, advice: String) -> CliError {
    CliError::Argument { option, value: value.into(), reason: "cannot be answered".into(), advice }
}

/// What to add up by: energies only. Runs have a page of their own.
fn parse_by(option: &'static str, word: &str) -> Result<ByArg, CliError> {
    let runs = [ByArg::Project, ByArg::Experiment, ByArg::Organisation, ByArg::Run];
    ByArg::from_str(word, false).ok().filter(|by| !runs.contains(by)).ok_or_else(|| {
        let advice =
            "give one of workload, container, pod, namespace, unit, job, user, account, domain, node";
        wrong(option, word, advice.into())
    })
}

fn by(query: &Query) -> Result<ByArg, CliError> {
    given(query.by.as_deref()).map_or(Ok(ByArg::Workload), |word| parse_by("by", word))
}

/// Sums of runs too: of these there is no part that belongs to something else.
fn by_runs_too(query: &Query) -> Result<ByArg, CliError> {
    match given(query.by.as_deref()) {
        Some("project") if query.within.is_none() => Ok(ByArg::Project),
        Some("experiment") if query.within.is_none() => Ok(ByArg::Experiment),
        Some("organisation") if query.within.is_none() => Ok(ByArg::Organisation),
        _ => by(query),
    }
}

fn within(query: &Query) -> Result<Option<Within>, CliError> {
    let Some(text) = query.within.as_deref().filter(|text| !text.is_empty()) else { return Ok(None) };
    let (by, key) =
        text.split_once(':').ok_or_else(|| wrong("within", text, "give it as namespace:NAME".into()))?;
    Ok(Some(Within { by: parse_by("within", by)?, key: key.to_owned() }))
}

fn report_args(query: &Query, by: ByArg) -> ReportArgs {
    let of = |text: &Option<String>| given(text.as_deref()).map(ToOwned::to_owned);
    ReportArgs {
        by,
        per: Vec::new(),
        from: of(&query.from),
        to: of(&query.to),
        tz: of(&query.tz).unwrap_or_else(|| "UTC".into()),
        factors: None,
        tag: None,
        sci: false,
        embodied_kg: None,
        embodied_parts: None,
        life_years: 4.0,
        reserved: 1.0,
        equivalents: EquivalentsArg::None,
        format: ReportFormat::Json,
        output: None,
        source: None,
        source_match: Vec::new(),
        source_token: None,
        source_ca: None,
        store: StoreArgs::default(),
    }
}

fn report(query: &Query, by: ByArg, ledger: &mut Ledger) -> Result<LedgerReport, CliError> {
    made(&report_args(query, by), within(query)?.as_ref(), ledger)
}

/// The same; where nothing was recorded of the machine in that time, of the runs that began in it, if there are any.
fn or_of_runs(query: &Query, by: ByArg, ledger: &mut Ledger) -> Result<LedgerReport, CliError> {
    let report = report(query, by, ledger)?;
    Ok(dashboard_runs::instead(&report_args(query, ByArg::Project), &report, ledger)?.unwrap_or(report))
}

fn overview(query: &Query, ledger: &mut Ledger) -> Result<Overview, CliError> {
    let tz = zone(query.tz.as_deref().unwrap_or("UTC"))?;
    let now = clock::wall().to_zoned_datetime(tz);
    let since = |date: jiff::civil::Date| Query {
        from: Some(date.to_datetime(Time::midnight()).to_string()),
        to: None,
        ..query.clone()
    };
    let today = or_of_runs(&since(now.date()), ByArg::Node, ledger)?;
    let month = or_of_runs(&since(now.date().first_of_month()), ByArg::Node, ledger)?;
    let latest_s = ledger.latest()?;
    Ok(Overview::new(or_of_runs(query, ByArg::Domain, ledger)?, &today, &month, latest_s))
}

/// Power over the time of a report, in steps that fit it, as of one instant.
pub(super) fn power(
    args: &ReportArgs,
    within: Option<&Within>,
    ledger: &mut Ledger,
    known: &ChartSteps,
) -> Result<Power, CliError> {
    ledger.snapshot(|ledger| power_of(args, within, ledger, known))
}

fn power_of(
    args: &ReportArgs,
    within: Option<&Within>,
    ledger: &mut Ledger,
    known: &ChartSteps,
) -> Result<Power, CliError> {
    let by = args.by;
    let (from, to) = interval(args, &zone(&args.tz)?, ledger, false)?;
    let (from_s, to_s) = (from.timestamp().as_second(), to.timestamp().as_second());
    let span = to_s.saturating_sub(from_s);
    let length_s = STEPS_S.into_iter().find(|step| span / step < STEPS_MAX).ok_or_else(|| {
        wrong("from", &from.to_string(), "give a shorter interval: eighteen years at most".into())
    })?;
    let (workloads, domains) = (ledger.workloads()?, ledger.domains()?);
    let factors = ledger.factors()?.into_iter().map(|(id, factor)| (id, Hashed::new(factor))).collect();
    let mut keys = Keys::new(by, within, &workloads, &domains);
    let mut steps = Vec::new();
    let mut start_s = from_s.div_euclid(length_s).saturating_mul(length_s);
    while start_s < to_s {
        let Read { covered_ns, pieces } = known.read(ledger, (start_s, length_s), &factors)?;
        let mut step = Step { start_s, covered_ns, ..Step::default() };
        for piece in pieces.iter() {
            if let Some(key) = keys.of(piece.workload, piece.domain) {
                match step.areas.get_mut(key) {
                    Some(area) => area.add(&piece.area),
                    None => drop(step.areas.insert(key.to_owned(), piece.area)),
                }
            }
        }
        steps.push(step);
        start_s = start_s.saturating_add(length_s);
    }
    Ok(Power::new(length_s, &steps, SERIES_MAX).named(workloads.values()))
}

fn quality(query: &Query, ledger: &mut Ledger) -> Result<DataQuality, CliError> {
    let args = report_args(query, ByArg::Domain);
    let of_machine = made(&args, None, ledger)?;
    let runs = report_args(query, ByArg::Project);
    if let Some(of_runs) = dashboard_runs::instead(&runs, &of_machine, ledger)? {
        return dashboard_runs::quality(&runs, of_runs, query.rows(), ledger);
    }
    let (meters, energies) = ledger.snapshot(|ledger| metered(query, &args, ledger))?;
    Ok(DataQuality::new(of_machine, meters, &energies))
}

/// The meters of an interval with their balances, and energies by how good they are.
fn metered(
    query: &Query,
    args: &ReportArgs,
    ledger: &mut Ledger,
) -> Result<(Vec<MeterRow>, EnergiesByQuality), CliError> {
    let (from, to) = interval(args, &zone(&args.tz)?, ledger, false)?;
    let segments = ledger.segments(from.timestamp().as_second(), to.timestamp().as_second())?;
    let domains = ledger.domains()?;
    let balances = ledger.balances(&segments)?;
    let mut meters: Vec<MeterRow> =
        balances.iter().filter_map(|(id, balance)| Some(MeterRow::new(domains.get(id)?, *balance))).collect();
    meters.truncate(query.rows());
    let mut energies = EnergiesByQuality::new();
    ledger.each_sum(&segments, &mut |sum| {
        let of_both = energies.entry((sum.quality, sum.kind)).or_default();
        *of_both = of_both.saturating_add(sum.energy_uj);
    })?;
    Ok((meters, energies))
}

/// Runs that began in the interval, the newest if there are too many.
fn filter(query: &Query) -> Result<RunFilter, CliError> {
    let of = |text: &Option<String>| given(text.as_deref()).map(ToOwned::to_owned);
    let tz = zone(query.tz.as_deref().unwrap_or("UTC"))?;
    let time = |option, text: &Option<String>| {
        let us = |text: &str| super::report_time::instant(option, text, &tz).map(|it| it.timestamp());
        given(text.as_deref()).map(us).transpose().map(|time| time.map(Timestamp::as_microsecond))
    };
    Ok(RunFilter {
        project: of(&query.project),
        experiment: of(&query.experiment),
        organisation: of(&query.organisation),
        tag: of(&query.tag),
        from_us: time("from", &query.from)?,
        to_us: time("to", &query.to)?,
        limit: Some(query.rows()),
        ..RunFilter::default()
    })
}

/// The region of `CARBON_ZONE`, where it is one of this cloud.
fn own_region(provider: &str) -> Option<String> {
    let zone = std::env::var("CARBON_ZONE").ok()?;
    let region = CloudRegion::parse(&zone)?.name();
    region.strip_prefix(provider)?.starts_with(':').then_some(region)
}

fn regions(query: &Query) -> Result<crate::report::advice::Advice, CliError> {
    let provider = given(query.provider.as_deref()).unwrap_or("aws").to_owned();
    let near = given(query.near.as_deref()).map(ToOwned::to_owned).or_else(|| own_region(&provider));
    advise::rank(&AdviseArgs {
        provider,
        near,
        within: None,
        energy: given(query.energy.as_deref()).unwrap_or("100kWh").to_owned(),
        limit: None,
        hours: 4,
        intensity_file: None,
        // Pages dial nobody: hours are told by the command line.
        live: LiveArgs::none(),
        tz: "UTC".into(),
        plot: None,
        format: ListFormat::Json,
    })
}
