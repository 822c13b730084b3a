//! `CodeCarbon`'s routes that post and look (its client and `carbonserver/` of 3.3).

use super::bodies::{self, EmissionBody, RunBody};
use super::routes::Asked;
use super::shapes;
use super::{Answer, Answered, Refused};
use crate::ledger::team::{By, Experiment, NewRun, Project, Span, Team, TeamSum, check_text, parse_id};
use crate::units::Quality;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Rows of a list at most.
const ROWS_MAX: u32 = 10_000;

/// Rows where nothing is said, as `CodeCarbon`'s server has it.
const ROWS_DEFAULT: u32 = 1000;

/// Longest key that names a post, in characters.
const ONCE_MAX: usize = 200;

pub(super) fn check(_team: &mut Team<'_>, asked: &Asked) -> Answered {
    let access = &asked.access;
    Answer::json(
        200,
        &json!({
            "token": access.name,
            "scope": access.scope.as_str(),
            "organization_id": access.organisation,
            "project_id": access.project,
        }),
    )
}

pub(super) fn add_run(team: &mut Team<'_>, asked: &Asked) -> Answered {
    let body: RunBody = bodies::parse(&asked.body)?;
    if let Some(once) = &asked.once {
        check_text("Idempotency-Key", once, ONCE_MAX)?;
    }
    let run = NewRun { once: asked.once.clone(), ..bodies::run_of(&body, asked.now_us)? };
    // Clients bring the ids of experiments from elsewhere, or their default: it is made in the token's project.
    let project = match asked.experiment_of(team, &run.experiment)? {
        Some((project, _)) => project,
        None => asked.own_project(team)?,
    };
    let posted = team.begin_posted(&project, run, asked.now_us)?;
    Answer::json(201, &shapes::run(&posted))
}

pub(super) fn add_post(team: &mut Team<'_>, asked: &Asked) -> Answered {
    let body: EmissionBody = bodies::parse(&asked.body)?;
    let figures = bodies::figures_of(&body, Quality::Modelled, asked.now_us)?;
    let (_project, run) = asked.run_of(team, &body.run_id)?;
    let sequence = asked.once.as_deref().map(sequence_of).transpose()?;
    let posted = team.post(&run, sequence, &figures)?;
    Answer::json(201, &Value::String(posted.id))
}

/// The number at the end of a key such as `RUN:7`.
fn sequence_of(key: &str) -> Result<i64, Refused> {
    let number = key.rsplit(':').next().and_then(|number| number.parse().ok()).filter(|number| *number >= 0);
    number.ok_or_else(|| Refused::wrong("Idempotency-Key must end with the post's number, as in RUN:7"))
}

/// `POST /experiments`; what else it says is kept.
#[derive(Debug, Deserialize, Serialize)]
struct ExperimentBody {
    name: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    on_cloud: Option<bool>,
    #[serde(skip_serializing)]
    project_id: String,
    #[serde(default)]
    country_name: Option<String>,
    #[serde(default)]
    country_iso_code: Option<String>,
    #[serde(default)]
    region: Option<String>,
    #[serde(default)]
    cloud_provider: Option<String>,
    #[serde(default)]
    cloud_region: Option<String>,
}

pub(super) fn add_experiment(team: &mut Team<'_>, asked: &Asked) -> Answered {
    let body: ExperimentBody = bodies::parse(&asked.body)?;
    let project = asked.project_of(team, &body.project_id)?;
    let texts = [
        ("description", &body.description),
        ("country_name", &body.country_name),
        ("country_iso_code", &body.country_iso_code),
        ("region", &body.region),
        ("cloud_provider", &body.cloud_provider),
        ("cloud_region", &body.cloud_region),
    ];
    for (what, text) in texts {
        text.as_deref().map_or(Ok(()), |text| check_text(what, text, 2000))?;
    }
    let details = bodies::details(&body)?;
    let made = team.make_experiment(&project.id, None, &body.name, &details, asked.now_us)?;
    Answer::json(201, &shapes::experiment(&made))
}

pub(super) fn experiment(team: &mut Team<'_>, asked: &Asked) -> Answered {
    let (_project, experiment) = asked.experiment(team)?;
    Answer::json(200, &shapes::experiment(&experiment))
}

pub(super) fn experiments(team: &mut Team<'_>, asked: &Asked) -> Answered {
    let project = asked.project(team)?;
    let experiments = team.experiments(&project.id)?;
    Answer::json(200, &experiments.iter().map(shapes::experiment).collect::<Vec<_>>())
}

pub(super) fn run(team: &mut Team<'_>, asked: &Asked) -> Answered {
    let (_project, run) = asked.run(team)?;
    Answer::json(200, &shapes::run(&run))
}

pub(super) fn runs(team: &mut Team<'_>, asked: &Asked) -> Answered {
    let (project, experiment) = asked.experiment(team)?;
    let rows = shapes::number("limit", asked.query.get("limit"), ROWS_DEFAULT, ROWS_MAX)?;
    let runs = team.posted_runs(&project.id, Some(&experiment.id), rows)?;
    Answer::json(200, &runs.iter().map(shapes::run).collect::<Vec<_>>())
}

pub(super) fn last_run(team: &mut Team<'_>, asked: &Asked) -> Answered {
    let project = asked.project(team)?;
    let newest = team.posted_runs(&project.id, None, 1)?;
    Answer::json(200, &newest.first().map(shapes::run))
}

pub(super) fn post(team: &mut Team<'_>, asked: &Asked) -> Answered {
    let id = parse_id("the post", asked.part("post"))?;
    let post = team.kept_post(&id)?;
    let none = || Refused::new(404, format!("there is no post {id:?} that this token is good for"));
    asked.run_of(team, &post.run).map_err(|_other| none())?;
    Answer::json(200, &shapes::post(&post))
}

/// In pages, as `CodeCarbon`'s server gives them.
pub(super) fn posts(team: &mut Team<'_>, asked: &Asked) -> Answered {
    let (_project, run) = asked.run(team)?;
    let size = shapes::number("size", asked.query.get("size"), ROWS_DEFAULT, ROWS_MAX)?;
    let page = shapes::number("page", asked.query.get("page"), 1, u32::MAX)?;
    let (total, posts) = team.posts(&run.run, page.saturating_sub(1).saturating_mul(size), size)?;
    Answer::json(
        200,
        &json!({
            "items": posts.iter().map(shapes::post).collect::<Vec<_>>(),
            "total": total,
            "page": page,
            "size": size,
            "pages": total.div_ceil(u64::from(size)),
        }),
    )
}

pub(super) fn organisation_sums(team: &mut Team<'_>, asked: &Asked) -> Answered {
    let organisation = team.organisation(asked.organisation()?)?;
    let span = asked.span()?;
    let mut all = TeamSum::default();
    for project in team.projects(&organisation.id)?.iter().filter(|project| asked.access.covers(project)) {
        for sum in team.sums((&project.id, None, None), span, By::All)?.values() {
            all.merge(sum);
        }
    }
    let mut report = shapes::report_of(&all);
    report.extend(shapes::object(json!({
        "organization_id": organisation.id,
        "name": organisation.name,
        "description": organisation.description,
    })));
    Answer::json(200, &report)
}

pub(super) fn project_sums(team: &mut Team<'_>, asked: &Asked) -> Answered {
    let project = asked.project(team)?;
    Answer::json(200, &sums_of_project(team, &project, asked.span()?)?)
}

/// Of a project, as `CodeCarbon`'s server tells it.
pub(super) fn sums_of_project(team: &mut Team<'_>, project: &Project, span: Span) -> Result<Value, Refused> {
    let sums = team.sums((&project.id, None, None), span, By::All)?;
    let mut report = shapes::report_of(&sums.into_values().next().unwrap_or_default());
    report.extend(shapes::object(json!({
        "project_id": project.id,
        "name": project.name,
        "description": project.description,
    })));
    Ok(Value::Object(report))
}

pub(super) fn experiments_sums(team: &mut Team<'_>, asked: &Asked) -> Answered {
    let project = asked.project(team)?;
    let experiments = team.experiments(&project.id)?;
    let sums = team.sums((&project.id, None, None), asked.span()?, By::Experiment)?;
    let of = |experiment: &Experiment| {
        let mut report = shapes::report_of(&sums.get(&experiment.id).copied().unwrap_or_default());
        report.extend(shapes::object(shapes::experiment(experiment)));
        report.insert("experiment_id".to_owned(), Value::String(experiment.id.clone()));
        Value::Object(report)
    };
    Answer::json(200, &experiments.iter().map(of).collect::<Vec<_>>())
}

pub(super) fn runs_sums(team: &mut Team<'_>, asked: &Asked) -> Answered {
    let (project, experiment) = asked.experiment(team)?;
    let span = asked.span()?;
    let sums = team.sums((&project.id, Some(&experiment.id), None), span, By::Run)?;
    let mut reports = Vec::new();
    for run in team.posted_runs(&project.id, Some(&experiment.id), ROWS_MAX)? {
        let Some(sum) = sums.get(&run.run) else { continue };
        let mut report = shapes::report_of(sum);
        report.extend(shapes::object(shapes::run(&run)));
        report.insert("run_id".to_owned(), Value::String(run.run));
        reports.push(Value::Object(report));
    }
    Answer::json(200, &reports)
}
