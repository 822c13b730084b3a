//! `carbon runs`: list, show, sum, compare, export.

use super::args::ListFormat;
use super::error::CliError;
use super::output::{Layout, Output};
use super::picture::Picture;
use super::runs_args::{FilterArgs, RunsAction, RunsArgs};
use super::send;
use crate::ledger::exchange::{SCHEMA as LINES, run_line};
use crate::ledger::runs::{KeptRun, RunFilter};
use crate::ledger::{Ledger, LedgerError};
use crate::report::compare::{Compared, Verdict};
use crate::report::grid::Grid;
use crate::report::runs::{RunList, RunRow, RunSum, SCHEMA, grid, notes};
use crate::report::runs_plot;
use crate::report::table::Style;
use serde::Serialize;

/// Does what was asked and gives the status.
pub(super) fn runs(args: &RunsArgs) -> Result<u8, CliError> {
    match &args.action {
        RunsAction::List { filter, format, store } => {
            let runs = store.open_to_read()?.runs(&filter.filter())?;
            let rows: Vec<RunRow> = runs.iter().map(Into::into).collect();
            let table = grid(&rows);
            let count = |marked: fn(&RunRow) -> bool| rows.iter().filter(|row| marked(row)).count();
            let said = notes(count(|row| row.rerated), count(|row| row.assumed));
            let lines: Vec<String> = said.iter().map(|note| format!("note: {note}")).collect();
            write(&table, &RunList { schema: SCHEMA, runs: rows }, *format, &lines)?;
            Ok(0)
        }
        RunsAction::Show { run, format, store } => {
            let run = store.open_to_read()?.find_run(run)?;
            let row = RunRow::from(&run);
            let lines = super::explain::facts(&run);
            let table = grid(std::slice::from_ref(&row));
            write(&table, &RunList { schema: SCHEMA, runs: vec![row] }, *format, &lines)?;
            Ok(0)
        }
        RunsAction::Sum { filter, format, store } => {
            let runs = store.open_to_read()?.runs(&filter.filter())?;
            let sum = RunSum::of(&runs);
            let notes: Vec<String> = sum.notes.iter().map(|note| format!("note: {note}")).collect();
            write(&sum.grid(), &sum, *format, &notes)?;
            Ok(0)
        }
        RunsAction::Compare { a, b, fail_above, alpha, format, store } => {
            let limit = fail_above.as_deref().map(check_percent).transpose()?;
            if !(*alpha > 0.0 && *alpha <= 0.5) {
                return Err(CliError::Argument {
                    option: "--alpha",
                    value: alpha.to_string(),
                    reason: "not a chance".into(),
                    advice: "give a number above 0 and up to 0.5, such as 0.05".into(),
                });
            }
            let mut ledger = store.open_to_read()?;
            let (before, now) = (pick(&mut ledger, a)?, pick(&mut ledger, b)?);
            let compared = Compared::new((a, &before), (b, &now), limit, *alpha);
            let lines = compared.lines();
            write(&compared.grid(), &compared, *format, &lines)?;
            Ok(u8::from(compared.verdict == Verdict::Worse))
        }
        RunsAction::Plot { filter, output, store } => {
            let picture = Picture::open("--output", output.as_deref())?;
            let runs = store.open_to_read()?.runs(&filter.filter())?;
            let rows: Vec<RunRow> = runs.iter().map(Into::into).collect();
            picture.write(&runs_plot::svg(&rows))?;
            Ok(0)
        }
        RunsAction::Send { runs, filter, server, store } => {
            send::send_kept(runs, &filter.filter(), server, store)
        }
        RunsAction::Export { filter, output, store } => {
            let output = Output::open(output.as_deref(), Output::Stdout)?;
            let runs = store.open_to_read()?.runs(&filter.filter())?;
            let mut text = format!("{{\"line\":\"ledger\",\"schema\":\"{LINES}\"}}\n");
            for run in &runs {
                text.push_str(&run_line(run));
                text.push('\n');
            }
            output.write(&text)?;
            Ok(0)
        }
    }
}

impl FilterArgs {
    fn filter(&self) -> RunFilter {
        RunFilter {
            project: self.project.clone(),
            experiment: self.experiment.clone(),
            organisation: self.organisation.clone(),
            tag: self.tag.clone(),
            limit: self.limit,
            ..RunFilter::default()
        }
    }
}

/// Runs by `experiment:`, `project:` or `tag:` and a name, else the repeats of a series, by its id or the name that they share
/// (the last ones of that name), else one run. A repeat that is named by its own id stands for itself alone.
pub(super) fn pick(ledger: &mut Ledger, wanted: &str) -> Result<Vec<KeptRun>, CliError> {
    let name = |prefix: &str| wanted.strip_prefix(prefix).map(ToOwned::to_owned);
    let mut filter = RunFilter {
        experiment: name("experiment:"),
        project: name("project:"),
        tag: name("tag:"),
        ..RunFilter::default()
    };
    if filter == RunFilter::default() {
        filter.series = Some(wanted.to_owned());
        let series = ledger.runs(&filter)?;
        if !series.is_empty() {
            return Ok(series);
        }
        let run = ledger.find_run(wanted)?;
        if run.start.name.as_deref() == Some(wanted) && run.start.series.is_some() {
            filter.series.clone_from(&run.start.series);
            return Ok(ledger.runs(&filter)?);
        }
        return Ok(vec![run]);
    }
    let runs = ledger.runs(&filter)?;
    if runs.is_empty() {
        return Err(LedgerError::NoRun { wanted: wanted.to_owned(), candidates: Vec::new() }.into());
    }
    Ok(runs)
}

fn check_percent(text: &str) -> Result<f64, CliError> {
    match text.trim().trim_end_matches('%').trim_end().parse::<f64>() {
        Ok(percent) if (0.0..=10_000.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err(CliError::Argument {
            option: "--fail-above",
            value: text.into(),
            reason: "not a share from 0 per cent up".into(),
            advice: "give per cent, such as 5%".into(),
        }),
    }
}

/// A table with lines below it, or the value behind it.
pub(super) fn write(
    table: &Grid,
    value: &impl Serialize,
    format: ListFormat,
    lines: &[String],
) -> Result<(), CliError> {
    let output = Output::Stdout;
    let text = match format {
        ListFormat::Table => with_lines(table.table(style(output.layout())), lines),
        ListFormat::Markdown => with_lines(table.markdown() + "\n", lines),
        ListFormat::Csv => table.csv().map_err(|error| in_memory(&error))?,
        ListFormat::Json => json(value)?,
    };
    output.write(&text)
}

fn with_lines(mut text: String, lines: &[String]) -> String {
    for line in lines {
        text.push_str(&crate::report::figures::printable(line));
        text.push('\n');
    }
    text
}

/// As JSON with a newline at its end.
pub(super) fn json(value: &impl Serialize) -> Result<String, CliError> {
    serde_json::to_string_pretty(value).map(|text| text + "\n").map_err(|error| in_memory(&error))
}

/// A text that could not be made: not seen to happen.
pub(super) fn in_memory(error: &impl ToString) -> CliError {
    CliError::Write { destination: "memory".into(), source: std::io::Error::other(error.to_string()) }
}

/// For a destination.
pub(super) fn style(layout: Layout) -> Style {
    Style { width: layout.columns, color: layout.colours, rows_max: None }
}
