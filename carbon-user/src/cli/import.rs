//! `carbon import`: what `CodeCarbon` has measured until now, from its file or from its server.

use super::error::{CliError, warn};
use super::import_csv::{self, CsvRun};
use super::output::Output;
use super::report_time::zone;
use super::serve_args::ImportArgs;
use crate::clock;
use crate::ledger::rows::{EnergyKind, RunEnd, RunEnergy, RunStart, RunStatus};
use crate::ledger::team::{By, Figures, NewRun, Project, Span, Team, TeamError, parse_id};
use crate::ledger::{Ledger, Merged};
use crate::metrics::Token;
use crate::provider::ProviderError;
use crate::provider::codecarbon::{Named, TeamServer};
use crate::serve::{EmissionBody, RunBody, factor_of, figures_of, run_of};
use crate::units::{CpuNanos, Quality};
use serde_json::{Map, Value};
use std::io::Read as _;
use std::path::Path;

/// Faults told, one by one.
const TOLD_MAX: usize = 5;

/// Imports, and gives the status: 1 where something was left out.
pub(super) fn import(args: &ImportArgs) -> Result<u8, CliError> {
    let mut left_out = Vec::new();
    let done = match (&args.from_server, &args.file) {
        (Some(url), _) => from_server(args, url, &mut left_out)?,
        (None, Some(file)) => from_file(args, file, &mut left_out)?,
        (None, None) => {
            return Err(CliError::CommandLine("give an emissions.csv, or --from-server URL".into()));
        }
    };
    for fault in left_out.iter().take(TOLD_MAX) {
        warn(false, fault);
    }
    let text = format!(
        "{} runs are new, {} went on since they were imported, {} were there already; {} entries cannot be used\n",
        done.new,
        done.longer,
        done.same,
        left_out.len()
    );
    Output::Stdout.write(&text)?;
    Ok(u8::from(!left_out.is_empty()))
}

fn wrong(value: &Path, reason: String) -> CliError {
    CliError::Argument {
        option: "carbon import",
        value: value.display().to_string(),
        reason,
        advice: "give an emissions.csv that CodeCarbon has written".into(),
    }
}

fn from_file(args: &ImportArgs, file: &Path, left_out: &mut Vec<String>) -> Result<Merged, CliError> {
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut bytes).map_err(|error| wrong(file, error.to_string()))?;
    } else {
        bytes = std::fs::read(file).map_err(|error| wrong(file, error.to_string()))?;
    }
    let (runs, bad) =
        import_csv::parse(&bytes, &zone(&args.tz)?).map_err(|error| wrong(file, error.to_string()))?;
    left_out.extend(bad.iter().map(|fault| format!("{}: {fault}", file.display())));
    let now_us = clock::wall().as_microsecond();
    let mut figures = Vec::new();
    for run in runs {
        match of_csv(&run, now_us) {
            Ok(it) => figures.push((run, it)),
            Err(reason) => left_out.push(format!("{}: run {}: {reason}", file.display(), run.id)),
        }
    }
    let mut ledger = args.store.open()?;
    let Some(project) = &args.into else {
        let runs: Vec<_> = figures.iter().map(|(run, figures)| kept(args, run, figures)).collect();
        return Ok(ledger.merge_runs(&runs)?);
    };
    Ok(ledger.team_once(|team| {
        let project = team.project(project)?;
        let mut merged = Merged::default();
        for (run, figures) in &figures {
            into_project(team, &project, run, figures, &mut merged, now_us)?;
        }
        Ok(merged)
    })?)
}

/// Its sums, with the factor that makes its own grams of its energy, at the place that it names.
fn of_csv(run: &CsvRun, now_us: i64) -> Result<Figures, String> {
    let figures = figures_of(&run.sums, Quality::Modelled, now_us).map_err(|refused| refused.reason)?;
    let zone = if run.zone.is_empty() { "unknown" } else { &run.zone };
    let name = if run.place.is_empty() { zone } else { &run.place };
    let source = format!("as {} recorded it", accounting(run));
    let (kg, kwh) = (run.sums.emissions_sum, run.sums.energy_consumed);
    let factor = factor_of(kg, kwh, (zone, name, &source), run.end_us).map_err(|refused| refused.reason)?;
    Ok(Figures { factor, ..figures })
}

fn accounting(run: &CsvRun) -> String {
    format!("codecarbon {}", run.version).trim_end().to_owned()
}

fn start_of(args: Option<&ImportArgs>, run: &CsvRun) -> RunStart {
    RunStart {
        id: run.id.clone(),
        // The file does not say on which machine.
        node: "unknown".to_owned(),
        organisation: args.and_then(|args| args.organisation.clone()),
        project: Some(args.and_then(|args| args.project.clone()).unwrap_or_else(|| run.project.clone())),
        experiment: args.and_then(|args| args.experiment.clone()).or_else(|| run.experiment.clone()),
        command: vec!["python".to_owned()],
        start_us: run.start_us,
        ..RunStart::default()
    }
}

fn kept(args: &ImportArgs, run: &CsvRun, figures: &Figures) -> (RunStart, RunEnd) {
    let energy = |factor| RunEnergy {
        kind: EnergyKind::Dynamic,
        factor,
        recorded: None,
        quality: figures.quality,
        energy: figures.energy,
        stddev_uj: figures.stddev_uj,
    };
    let end = RunEnd {
        status: RunStatus::Done,
        exit_status: 0,
        end_us: run.end_us,
        duration_ns: figures.duration_ns,
        outlived_by: 0,
        cpu: CpuNanos::ZERO,
        accounting: accounting(run),
        attribution: "as recorded".into(),
        static_policy: "none".into(),
        hardware: run.hardware.clone(),
        report: "null".into(),
        energies: figures.factor.clone().map(energy).into_iter().collect(),
        domains: Vec::new(),
    };
    (start_of(Some(args), run), end)
}

/// As posts of a project: what was not posted yet.
fn into_project(
    team: &mut Team<'_>,
    project: &Project,
    run: &CsvRun,
    figures: &Figures,
    merged: &mut Merged,
    now_us: i64,
) -> Result<(), TeamError> {
    let none = || "00000000-0000-0000-0000-000000000000".to_owned();
    let new = NewRun {
        id: Some(run.id.clone()),
        once: None,
        experiment: run.experiment.clone().unwrap_or_else(none),
        experiment_name: run.experiment.is_none().then(|| "imported".to_owned()),
        start: start_of(None, run),
        hardware: run.hardware.clone(),
        accounting: accounting(run),
        details: "{}".to_owned(),
    };
    let posted = team.begin_posted(project, new, now_us)?;
    let of_run = (project.id.as_str(), None, Some(posted.run.as_str()));
    let known = team.sums(of_run, Span::ALL, By::All)?.into_values().next().unwrap_or_default();
    if known.posts > 0 && known.duration_ns >= figures.duration_ns {
        merged.same += 1;
        return Ok(());
    }
    let rest_ratio = 1.0 - known.energy.joules() / figures.energy.joules().max(f64::MIN_POSITIVE);
    let rest = Figures {
        stddev_uj: figures.stddev_uj * rest_ratio.max(0.0),
        duration_ns: figures.duration_ns.saturating_sub(known.duration_ns),
        energy: figures.energy.saturating_sub(known.energy),
        cpu: figures.cpu.saturating_sub(known.cpu),
        gpu: figures.gpu.saturating_sub(known.gpu),
        ram: figures.ram.saturating_sub(known.ram),
        ..figures.clone()
    };
    team.post(&posted, None, &rest)?;
    let count = if known.posts == 0 { &mut merged.new } else { &mut merged.longer };
    *count += 1;
    Ok(())
}

fn asked(error: &ProviderError) -> CliError {
    CliError::Argument {
        option: "--from-server",
        value: "the server".into(),
        reason: error.to_string(),
        advice: "give the URL of its API, and a token that may read in --token-file".into(),
    }
}

fn from_server(args: &ImportArgs, url: &str, left_out: &mut Vec<String>) -> Result<Merged, CliError> {
    let Some(path) = &args.token_file else {
        return Err(CliError::CommandLine(
            "--from-server needs --token-file with a token that may read".into(),
        ));
    };
    let token = Token::read(path).map_err(|error| wrong(path, error.to_string()))?;
    let server = TeamServer::new(url, &token.text(), args.ca_file.as_deref()).map_err(|reason| {
        CliError::Argument {
            option: "--from-server",
            value: url.into(),
            reason,
            advice: "give the URL of its API, and a file of certificates in --ca-file where it has its own"
                .into(),
        }
    })?;
    let mut ledger = args.store.open()?;
    let mut merged = Merged::default();
    for organisation in server.organisations().map_err(|error| asked(&error))? {
        for project in server.projects(&organisation.id).map_err(|error| asked(&error))? {
            let own = made(&mut ledger, &organisation, &project)?;
            for experiment in server.experiments(&project.id).map_err(|error| asked(&error))? {
                let id = text(&experiment, "id");
                let name = text(&experiment, "name");
                let details = Value::Object(experiment.clone()).to_string();
                ledger.team_once(|team| {
                    let id = parse_id("the experiment", &id)?;
                    let name = if name.trim().is_empty() { format!("experiment {id}") } else { name };
                    team.make_experiment(&own.id, Some(&id), &name, &details, now_us())
                })?;
                for run in server.runs(&id).map_err(|error| asked(&error))? {
                    let posts = server.emissions(&text(&run, "id")).map_err(|error| asked(&error))?;
                    // A run at a time: what is there when this is interrupted is whole, and found the next time.
                    match ledger.team_once(|team| of_server(team, &own, &run, posts, left_out)) {
                        Ok((new, posts)) => {
                            let count = match (new, posts) {
                                (true, _) => &mut merged.new,
                                (false, 0) => &mut merged.same,
                                (false, _) => &mut merged.longer,
                            };
                            *count += 1;
                        }
                        Err(TeamError::Ledger(error)) => return Err(error.into()),
                        Err(error) => left_out.push(format!("run {}: {error}", text(&run, "id"))),
                    }
                }
            }
        }
    }
    Ok(merged)
}

fn now_us() -> i64 {
    clock::wall().as_microsecond()
}

fn text(of: &Map<String, Value>, name: &str) -> String {
    of.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The same organisation and project here: by id, else by name, else new ones of that id.
fn made(ledger: &mut Ledger, organisation: &Named, project: &Named) -> Result<Project, CliError> {
    let said = |it: &Named| it.description.clone().unwrap_or_default();
    Ok(ledger.team_once(|team| {
        let known = team.organisation(&organisation.id).or_else(|_| team.organisation(&organisation.name));
        let own = match known {
            Ok(own) => own,
            Err(TeamError::None { .. }) => {
                let id = parse_id("the organisation", &organisation.id)?;
                team.make_organisation(Some(&id), &organisation.name, &said(organisation), now_us())?
            }
            Err(error) => return Err(error),
        };
        let id = parse_id("the project", &project.id)?;
        let known = team.projects(&own.id)?;
        match known.into_iter().find(|it| it.id == id || it.name == project.name) {
            Some(known) => Ok(known),
            None => team.make_project(Some(&id), &own.id, &project.name, &said(project), now_us()),
        }
    })?)
}

/// A run and its posts, in the order of their times. Says whether it is new, and how many posts are.
fn of_server(
    team: &mut Team<'_>,
    project: &Project,
    run: &Map<String, Value>,
    posts: Vec<Value>,
    left_out: &mut Vec<String>,
) -> Result<(bool, usize), TeamError> {
    let id = parse_id("the run", &text(run, "id"))?;
    let body: RunBody = serde_json::from_value(Value::Object(run.clone()))
        .map_err(|error| TeamError::Wrong(error.to_string()))?;
    let new = team.posted_run(&id).is_err();
    let facts = run_of(&body, now_us()).map_err(|refused| TeamError::Wrong(refused.reason))?;
    let posted = team.begin_posted(project, NewRun { id: Some(id), ..facts }, now_us())?;
    let mut bodies: Vec<(String, EmissionBody)> = Vec::new();
    for post in posts {
        let word = |name: &str| post.get(name).and_then(Value::as_str).unwrap_or_default();
        let key = format!("{} {}", word("timestamp"), word("id"));
        match serde_json::from_value(post) {
            Ok(body) => bodies.push((key, body)),
            Err(error) => left_out.push(format!("run {}: a post: {error}", posted.run)),
        }
    }
    bodies.sort_by(|one, other| one.0.cmp(&other.0));
    let mut count = 0;
    for (sequence, (_, body)) in (0..).zip(&bodies) {
        match figures_of(body, Quality::Modelled, now_us()) {
            Ok(figures) => count += usize::from(team.post(&posted, Some(sequence), &figures)?.new),
            Err(refused) => left_out.push(format!("run {}: post {sequence}: {refused}", posted.run)),
        }
    }
    Ok((new, count))
}
