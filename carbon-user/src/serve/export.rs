//! Runs of a project as a file: the rows of `carbon runs`, whether they were posted or recorded by this ledger's own commands.

use super::routes::{Asked, span_of};
use super::shapes;
use super::{Answer, Answered, Refused};
use crate::ledger::runs::RunFilter;
use crate::ledger::team::{Project, Span, Team};
use crate::report::runs::{RunList, RunRow, SCHEMA, grid};
use std::collections::HashMap;

/// Rows of a file at most, the newest.
const ROWS_MAX: u32 = 100_000;

pub(super) fn runs(team: &mut Team<'_>, asked: &Asked) -> Answered {
    let project = asked.project(team)?;
    file(team, &project, &asked.query)
}

/// By `format`, `from`, `to` and `limit` of a query. Runs are of the time when they began.
pub(super) fn file(team: &mut Team<'_>, project: &Project, query: &HashMap<String, String>) -> Answered {
    let limit = shapes::number("limit", query.get("limit"), ROWS_MAX, ROWS_MAX)?;
    let rows = rows(team, project, span_of(query)?, limit)?;
    match query.get("format").map(String::as_str) {
        None | Some("json") => Answer::json(200, &RunList { schema: SCHEMA, runs: rows }),
        Some("csv") => {
            let text = grid(&rows).csv().map_err(|error| Refused::new(500, error.to_string()))?;
            Ok(Answer::text("text/csv; charset=utf-8", text, Some("runs.csv")))
        }
        Some(_) => Err(Refused::wrong("format must be json or csv")),
    }
}

/// Oldest first.
pub(super) fn rows(
    team: &mut Team<'_>,
    project: &Project,
    span: Span,
    limit: u32,
) -> Result<Vec<RunRow>, Refused> {
    let organisation = team.organisation(&project.organisation)?.name;
    let filter = RunFilter {
        organisation: Some(organisation),
        project: Some(project.name.clone()),
        from_us: Some(span.from_us),
        to_us: Some(span.to_us),
        limit: usize::try_from(limit).ok(),
        ..RunFilter::default()
    };
    Ok(team.runs(&filter)?.iter().map(RunRow::from).collect())
}
