//! Our own routes: runs and posts under names that the client gives them, in whole units, so that what is sent again is written
//! once.

use super::bodies;
use super::routes::Asked;
use super::shapes;
use super::{Answer, Answered, Refused};
use crate::carbon::{DEFAULT_PUE, Intensity, Kind, Spread};
use crate::ledger::Factor;
use crate::ledger::rows::{RunStart, RunStatus, parse_quality};
use crate::ledger::team::{By, Figures, NewRun, Project, Span, Team, check_text, parse_id};
use crate::units::{GramsPerKwh, Microjoules, Quality};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Schema of sums.
const SUMS: &str = "carbon.team-sums/1";

/// Energy of one post at most, in uJ: 10,000 kWh.
const UJ_MAX: u64 = 36_000_000_000_000_000;

/// Words of a command at most.
const WORDS_MAX: usize = 100;

/// `PUT /api/v1/runs/{run}`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RunBody {
    /// Id of the project; without it the token's.
    #[serde(default)]
    project: Option<String>,
    /// Id, or name, of the experiment.
    experiment: String,
    /// When it began.
    started: String,
    /// Name of the machine.
    #[serde(default)]
    node: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    command: Vec<String>,
    /// The machine in words.
    #[serde(default)]
    hardware: Option<String>,
    /// How it ended: done, failed or killed.
    #[serde(default)]
    status: Option<String>,
}

/// Makes the run, or says how it ended.
pub(super) fn put_run(team: &mut Team<'_>, asked: &Asked) -> Answered {
    let id = parse_id("the run", asked.part("run"))?;
    let body: RunBody = bodies::parse(&asked.body)?;
    let project = match &body.project {
        Some(project) => asked.project_of(team, project)?,
        None => asked.own_project(team)?,
    };
    let status = match body.status.as_deref() {
        None => None,
        Some(word) => Some(
            RunStatus::parse(word)
                .ok_or_else(|| Refused::wrong("status must be running, done, failed or killed"))?,
        ),
    };
    if body.command.len() > WORDS_MAX {
        return Err(Refused::wrong(format!("command has more than {WORDS_MAX} words")));
    }
    body.command.iter().try_for_each(|word| check_text("a word of command", word, 2000))?;
    for (what, text) in [("node", &body.node), ("hardware", &body.hardware)] {
        text.as_deref().map_or(Ok(()), |text| check_text(what, text, 500))?;
    }
    let experiment = experiment(team, &project, &body.experiment)?;
    let run = NewRun {
        id: Some(id),
        once: None,
        experiment: experiment.0,
        experiment_name: Some(experiment.1),
        start: RunStart {
            node: body.node.clone().filter(|node| !node.is_empty()).unwrap_or_else(|| "unknown".to_owned()),
            name: body.name.clone(),
            tags: body.tags.clone(),
            command: body.command.clone(),
            start_us: bodies::past("started", &body.started, asked.now_us)?,
            ..RunStart::default()
        },
        hardware: body.hardware.clone().unwrap_or_else(|| "processor of unknown name".to_owned()),
        accounting: "as posted".to_owned(),
        details: bodies::details(&body)?,
    };
    let posted = team.begin_posted(&project, run, asked.now_us)?;
    if let Some(status) = status.filter(|status| *status != RunStatus::Running) {
        team.end_posted(&posted, status, asked.now_us)?;
    }
    Answer::json(200, &shapes::run(&posted))
}

/// Its id and name: by either, or a new one of that name.
fn experiment(team: &mut Team<'_>, project: &Project, wanted: &str) -> Result<(String, String), Refused> {
    if let Ok(id) = parse_id("experiment", wanted) {
        return Ok((id.clone(), format!("experiment {id}")));
    }
    let known = team.experiments(&project.id)?.into_iter().find(|it| it.name == wanted);
    Ok(match known {
        Some(known) => (known.id, known.name),
        None => (uuid::Uuid::now_v7().to_string(), wanted.to_owned()),
    })
}

/// `PUT /api/v1/runs/{run}/posts/{sequence}`: what was used since the post before.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct PostBody {
    /// When it ended.
    at: String,
    duration_ns: u64,
    energy_uj: u64,
    #[serde(default)]
    cpu_uj: u64,
    #[serde(default)]
    gpu_uj: u64,
    #[serde(default)]
    ram_uj: u64,
    /// Of the electricity.
    g_per_kwh: f64,
    /// Where it is used.
    #[serde(default)]
    zone: Option<String>,
    /// Who says so.
    #[serde(default)]
    source: Option<String>,
    /// measured, sampled or modelled.
    #[serde(default)]
    quality: Option<String>,
    /// Standard deviation of the energy.
    #[serde(default)]
    stddev_uj: Option<f64>,
}

pub(super) fn put_post(team: &mut Team<'_>, asked: &Asked) -> Answered {
    let sequence = asked.part("sequence").parse::<u32>();
    let sequence = sequence.map_err(|_| Refused::wrong("the sequence must be a whole number from 0 up"))?;
    let body: PostBody = bodies::parse(&asked.body)?;
    let figures = figures(&body, asked.now_us)?;
    let (_project, run) = asked.run(team)?;
    let posted = team.post(&run, Some(i64::from(sequence)), &figures)?;
    let said = json!({"id": posted.id, "sequence": posted.sequence, "new": posted.new});
    Answer::json(if posted.new { 201 } else { 200 }, &said)
}

fn figures(body: &PostBody, now_us: i64) -> Result<Figures, Refused> {
    let at_us = bodies::past("at", &body.at, now_us)?;
    for (what, uj) in [
        ("energy_uj", body.energy_uj),
        ("cpu_uj", body.cpu_uj),
        ("gpu_uj", body.gpu_uj),
        ("ram_uj", body.ram_uj),
    ] {
        if uj > UJ_MAX {
            return Err(Refused::wrong(format!("{what} is {uj}: a post has {UJ_MAX} uJ at most")));
        }
    }
    // Ten years.
    if body.duration_ns > 320_000_000_000_000_000 {
        return Err(Refused::wrong("duration_ns is more than ten years"));
    }
    if !(0.0..=5000.0).contains(&body.g_per_kwh) {
        return Err(Refused::wrong("g_per_kwh must be from 0 to 5000"));
    }
    let word = body.quality.as_deref().unwrap_or("modelled");
    let quality: Quality =
        parse_quality(word).ok_or_else(|| Refused::wrong("quality must be measured, sampled or modelled"))?;
    let zone = body.zone.as_deref().unwrap_or("as posted");
    let source = body.source.as_deref().unwrap_or("the client's own figure");
    for (what, text) in [("zone", zone), ("source", source)] {
        check_text(what, text, 300)?;
    }
    let intensity = Intensity {
        g_per_kwh: GramsPerKwh(body.g_per_kwh),
        zone: zone.to_owned(),
        name: zone.to_owned(),
        year: bodies::year_of(at_us),
        kind: Kind::YEARLY,
        spread: Spread::NONE,
        source: source.to_owned(),
        assumed: false,
    };
    let energy = Microjoules(body.energy_uj);
    let stddev_uj = body.stddev_uj.unwrap_or_else(|| bodies::stddev_uj(energy, quality));
    if !(0.0..=1e18).contains(&stddev_uj) {
        return Err(Refused::wrong("stddev_uj must be from 0 up"));
    }
    Ok(Figures {
        at_us,
        duration_ns: body.duration_ns,
        energy,
        stddev_uj,
        cpu: Microjoules(body.cpu_uj),
        gpu: Microjoules(body.gpu_uj),
        ram: Microjoules(body.ram_uj),
        factor: (body.energy_uj > 0).then(|| Factor::new(intensity, DEFAULT_PUE)),
        quality,
        details: bodies::details(body)?,
    })
}

pub(super) fn sums(team: &mut Team<'_>, asked: &Asked) -> Answered {
    let project = asked.project(team)?;
    let by = match asked.query.get("by").map(String::as_str) {
        None | Some("project") => By::All,
        Some("experiment") => By::Experiment,
        Some("run") => By::Run,
        Some("day") => By::Day,
        Some(_) => return Err(Refused::wrong("by must be project, experiment, run or day")),
    };
    Answer::json(200, &sums_of(team, &project, asked.span()?, by)?)
}

/// Sums in whole units, with names beside keys.
pub(super) fn sums_of(team: &mut Team<'_>, project: &Project, span: Span, by: By) -> Result<Value, Refused> {
    let experiments = if by == By::Experiment { team.experiments(&project.id)? } else { Vec::new() };
    let mut groups = Vec::new();
    for (key, sum) in team.sums((&project.id, None, None), span, by)? {
        let (key, name) = match by {
            By::All => (key, project.name.clone()),
            By::Experiment => {
                let name = experiments.iter().find(|it| it.id == key).map(|it| it.name.clone());
                (key, name.unwrap_or_default())
            }
            By::Run => (key, String::new()),
            By::Day => {
                let day = key.parse::<i64>().unwrap_or(0).saturating_mul(86_400);
                let day = Timestamp::from_second(day).unwrap_or_default();
                (day.strftime("%Y-%m-%d").to_string(), String::new())
            }
        };
        let mut group = shapes::sum_of(&sum);
        group.insert("key".to_owned(), Value::String(key));
        group.insert("name".to_owned(), Value::String(name));
        groups.push(Value::Object(group));
    }
    let ends = [span.from_us, span.to_us].map(|us| Timestamp::from_microsecond(us).ok());
    Ok(json!({
        "schema": SUMS,
        "project": project.name,
        "from": ends[0].filter(|_| span.from_us != Span::ALL.from_us),
        "to": ends[1].filter(|_| span.to_us != Span::ALL.to_us),
        "groups": groups,
    }))
}
