//! The public link of a project: a page without scripts, and the same as JSON and CSV. Who has the link reads; nobody else, and
//! nothing but this project.

use super::export;
use super::own;
use super::routes::span_of;
use super::{Answer, Answered, Refused};
use crate::ledger::team::{By, Project, Span, Team, TeamSum, hash_of};
use crate::report::figures::{MODELLED, significant};
use crate::report::grid::html_escaped;
use crate::report::runs::RunRow;
use std::collections::HashMap;

/// Runs on the page: the newest.
const RUNS: u32 = 50;

/// What of it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The page.
    Page,
    /// Sums as JSON.
    Sums,
    /// Runs as JSON or CSV.
    Runs,
}

/// For who has the link.
pub(super) fn shared(
    team: &mut Team<'_>,
    secret: &str,
    part: Part,
    query: &HashMap<String, String>,
) -> Answered {
    let none = || Refused::new(404, "this link is not good, or no longer");
    let project = team.shared_by(&hash_of(secret))?.ok_or_else(none)?;
    let span = span_of(query)?;
    match part {
        Part::Page => page(team, &project, span, secret),
        Part::Sums => Answer::json(200, &own::sums_of(team, &project, span, By::Experiment)?),
        Part::Runs => export::file(team, &project, query),
    }
}

fn page(team: &mut Team<'_>, project: &Project, span: Span, secret: &str) -> Answered {
    let sum = team.sums((&project.id, None, None), span, By::All)?.into_values().next().unwrap_or_default();
    let experiments = team.experiments(&project.id)?;
    let by_experiment = team.sums((&project.id, None, None), span, By::Experiment)?;
    let mut groups = String::new();
    for (key, sum) in &by_experiment {
        let name = experiments.iter().find(|it| it.id == *key).map_or(key.as_str(), |it| it.name.as_str());
        groups.push_str(&row(&[name.to_owned(), kwh(sum), grams(sum.grams), sum.posts.to_string()]));
    }
    let mut runs = String::new();
    for run in export::rows(team, project, span, RUNS)?.iter().rev() {
        runs.push_str(&row(&run_cells(run)));
    }
    let (name, description) = (html_escaped(&project.name), html_escaped(&project.description));
    let link = html_escaped(secret);
    let text = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{name}</title></head><body>\n<h1>{name}</h1>\n<p>{description}</p>\n\
         <p><b>{}</b> kWh, <b>{}</b> g CO2e in {} posts, as the runs' own meters and models say.</p>\n\
         <h2>Experiments</h2>\n<table><tr><th>experiment<th>kWh<th>g CO2e<th>posts</tr>\n{groups}</table>\n\
         <h2>Newest runs</h2>\n<table><tr><th>began (UTC)<th>experiment<th>s<th>J<th>g CO2e<th>quality</tr>\n{runs}</table>\n\
         <p><a href=\"/share/{link}/runs?format=csv\">all runs as CSV</a> \
         <a href=\"/share/{link}/runs\">as JSON</a> <a href=\"/share/{link}/sums\">sums</a></p>\n</body></html>\n",
        kwh(&sum),
        grams(sum.grams),
        sum.posts,
    );
    Ok(Answer::text("text/html; charset=utf-8", text, None))
}

fn kwh(sum: &TeamSum) -> String {
    significant(sum.energy.kilowatt_hours(), 4)
}

fn grams(grams: f64) -> String {
    significant(grams, MODELLED)
}

fn run_cells(run: &RunRow) -> [String; 6] {
    let unknown = || "unknown".to_owned();
    #[expect(clippy::cast_precision_loss, reason = "a display value")]
    let seconds = run.duration_ns.map(|ns| significant(ns as f64 / 1e9, 4));
    [
        run.start.strftime("%Y-%m-%d %H:%M").to_string(),
        run.experiment.clone().unwrap_or_default(),
        seconds.unwrap_or_else(unknown),
        run.joules().map_or_else(unknown, |joules| significant(joules, 4)),
        run.grams.map_or_else(unknown, grams),
        run.quality.unwrap_or("none").to_owned(),
    ]
}

fn row(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| html_escaped(cell)).collect();
    format!("<tr><td>{}</tr>\n", cells.join("<td>"))
}
