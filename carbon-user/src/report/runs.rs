//! Recorded runs as rows: JSON schema `carbon.runs/1`.

use super::figures::{of_quality, significant, spread};
use super::grid::{Cell, Column, Grid};
use super::group::{Grams, add_grams};
use super::ledger::NO_SPREAD;
use crate::ledger::rows::{EnergyKind, RunStatus};
use crate::ledger::runs::KeptRun;
use crate::units::{Microjoules, Quality};
use jiff::Timestamp;
use serde::Serialize;

/// Name and version of the schema.
pub const SCHEMA: &str = "carbon.runs/1";

/// Runs, and nothing else.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunList {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// One each.
    pub runs: Vec<RunRow>,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunRow {
    /// UUID.
    pub id: String,
    /// When it began.
    pub start: Timestamp,
    /// When it ended; none for one that has not.
    pub end: Option<Timestamp>,
    /// Name of the machine.
    pub node: String,
    /// Such as `done`.
    pub status: &'static str,
    /// As `carbon run` gave it on.
    pub exit_status: Option<i64>,
    /// Who pays.
    pub organisation: Option<String>,
    /// What for.
    pub project: Option<String>,
    /// Which question.
    pub experiment: Option<String>,
    /// Its own name.
    pub name: Option<String>,
    /// The id that its repeats share.
    pub series: Option<String>,
    /// Free words.
    pub tags: Vec<String>,
    /// Program and arguments.
    pub command: Vec<String>,
    /// From start to end.
    pub duration_ns: Option<u64>,
    /// CPU time.
    pub cpu_ns: Option<u64>,
    /// Processes that were still there at its end.
    pub outlived_by: Option<u64>,
    /// Energy caused by running; none where unknown.
    pub dynamic_uj: Option<u64>,
    /// Its standard deviation.
    pub dynamic_stddev_uj: Option<f64>,
    /// Share of static energy.
    pub static_uj: Option<u64>,
    /// Idle energy of accelerators while it held them; only where there is some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_uj: Option<u64>,
    /// CO2 equivalent of all of it; none where unknown.
    pub grams: Option<f64>,
    /// Nine times in ten the truth is above.
    pub grams_low: Option<f64>,
    /// Nine times in ten the truth is below.
    pub grams_high: Option<f64>,
    /// The lowest of its parts.
    pub quality: Option<&'static str>,
    /// How CPU time was taken.
    pub accounting: Option<String>,
    /// The machine in words.
    pub hardware: Option<String>,
    /// Hashes of the factors.
    pub factors: Vec<String>,
    /// Whether a factor became known after the run.
    pub rerated: bool,
    /// Whether nobody said where it ran: the world's average stands in.
    pub assumed: bool,
}

impl From<&KeptRun> for RunRow {
    fn from(run: &KeptRun) -> Self {
        let start = &run.start;
        let end = run.end.as_ref();
        let known = end.filter(|end| !end.energies.is_empty());
        let of = |kind: EnergyKind| {
            known.map(|end| {
                end.energies
                    .iter()
                    .filter(|row| row.kind == kind)
                    .map(|row| row.energy)
                    .sum::<Microjoules>()
                    .0
            })
        };
        let grams = known
            .map(|end| add_grams(end.energies.iter().map(|row| (&row.factor, row.energy, row.stddev_uj))));
        let grams: Option<Grams> = grams.and_then(Result::ok);
        let mut factors: Vec<String> =
            end.iter().flat_map(|end| &end.energies).map(|row| row.factor.hash()).collect();
        factors.dedup();
        let time = |us| Timestamp::from_microsecond(us).ok();
        Self {
            id: start.id.clone(),
            start: time(start.start_us).unwrap_or_default(),
            end: end.and_then(|end| time(end.end_us)),
            node: start.node.clone(),
            status: run.status().as_str(),
            exit_status: end.map(|end| end.exit_status),
            organisation: start.organisation.clone(),
            project: start.project.clone(),
            experiment: start.experiment.clone(),
            name: start.name.clone(),
            series: start.series.clone(),
            tags: start.tags.clone(),
            command: start.command.clone(),
            duration_ns: end.map(|end| end.duration_ns),
            cpu_ns: end.map(|end| end.cpu.0),
            outlived_by: end.map(|end| end.outlived_by),
            dynamic_uj: of(EnergyKind::Dynamic),
            dynamic_stddev_uj: known.map(|end| {
                let dynamic = end.energies.iter().filter(|row| row.kind == EnergyKind::Dynamic);
                dynamic.map(|row| row.stddev_uj).sum()
            }),
            static_uj: of(EnergyKind::Static),
            held_uj: of(EnergyKind::Held).filter(|held| *held > 0),
            grams: grams.map(|grams| grams.middle),
            grams_low: grams.map(|grams| grams.low),
            grams_high: grams.map(|grams| grams.high),
            quality: known
                .and_then(|end| end.energies.iter().map(|row| row.quality).min())
                .map(Quality::as_str),
            accounting: end.map(|end| end.accounting.clone()),
            hardware: end.map(|end| end.hardware.clone()),
            factors,
            rerated: run.rerated(),
            assumed: is_assumed(run),
        }
    }
}

impl RunRow {
    /// All its energy in joules.
    pub fn joules(&self) -> Option<f64> {
        self.energy().map(Microjoules::joules)
    }

    fn energy(&self) -> Option<Microjoules> {
        let idle = self.static_uj?.saturating_add(self.held_uj.unwrap_or(0));
        Some(Microjoules(self.dynamic_uj?.saturating_add(idle)))
    }

    fn cells(&self) -> Vec<Cell> {
        let quality = self.quality.unwrap_or("none");
        let figures = of_quality(quality);
        let name = self.name.clone().unwrap_or_else(|| self.command.join(" "));
        // Of version 7, the beginning is the time: what tells runs apart stands at the end.
        let short = self.id.rsplit('-').next().unwrap_or(&self.id).to_owned();
        let joules = self.joules();
        let or_unknown = |value: Option<f64>, exact: Option<String>, figures| match (value, exact) {
            (Some(value), Some(exact)) => Cell::number(significant(value, figures), exact),
            _ => Cell::unknown(),
        };
        #[expect(clippy::cast_precision_loss, reason = "a display value")]
        let seconds = self.duration_ns.map(|ns| ns as f64 / 1e9);
        let uj = self.energy().map(|energy| energy.0);
        vec![
            Cell { shown: short, exact: self.id.clone() },
            Cell::number(self.start.strftime("%Y-%m-%d %H:%M:%S").to_string(), self.start),
            Cell::text(self.status),
            Cell::text(self.project.as_deref().unwrap_or_default()),
            Cell::text(self.experiment.as_deref().unwrap_or_default()),
            Cell::text(self.tags.join(" ")),
            or_unknown(seconds, self.duration_ns.map(|ns| ns.to_string()), 4),
            or_unknown(joules, uj.map(|uj| uj.to_string()), figures),
            match (joules, self.dynamic_stddev_uj) {
                (Some(joules), Some(stddev)) => Cell::number(spread(joules, stddev / 1e6, quality), stddev),
                _ => Cell::unknown(),
            },
            or_unknown(self.grams, self.grams.map(|grams| grams.to_string()), 2),
            Cell::text(quality),
            Cell::text(shortened(&name)),
        ]
    }
}

/// Long command lines, cut.
fn shortened(text: &str) -> String {
    const LENGTH_MAX: usize = 48;
    if text.chars().count() <= LENGTH_MAX {
        return text.to_owned();
    }
    text.chars().take(LENGTH_MAX - 1).chain(['\u{2026}']).collect()
}

/// Runs as a table.
pub fn grid(runs: &[RunRow]) -> Grid {
    let mut grid = Grid::new(&[
        ("RUN", "id", false),
        ("BEGAN (UTC)", "start", false),
        ("STATUS", "status", false),
        ("PROJECT", "project", false),
        ("EXPERIMENT", "experiment", false),
        ("TAGS", "tags", false),
        ("s", "duration_ns", true),
        ("J", "energy_uj", true),
        ("J, 90 %", "stddev_uj", true),
        ("gCO2e", "grams", true),
        ("QUALITY", "quality", false),
        ("COMMAND", "command", false),
    ]);
    grid.rows = runs.iter().map(RunRow::cells).collect();
    // Programs have always the same columns.
    let head = if runs.iter().any(|run| run.assumed) { "PLACE" } else { "" };
    grid.columns.push(Column { head, key: "assumed", number: false });
    for (cells, run) in grid.rows.iter_mut().zip(runs) {
        let shown = if run.assumed { "ASSUMED" } else { "" };
        cells.push(Cell { shown: shown.into(), exact: run.assumed.to_string() });
    }
    grid
}

/// Runs added up: JSON schema `carbon.runs-sum/1`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunSum {
    /// `carbon.runs-sum/1`.
    pub schema: &'static str,
    /// How many.
    pub runs: usize,
    /// How many ended well.
    pub done: usize,
    /// How many failed.
    pub failed: usize,
    /// How many were killed.
    pub killed: usize,
    /// How many have not ended, or were lost with carbon.
    pub running: usize,
    /// Of how many the energy is not known: they are not in the sums.
    pub unknown: usize,
    /// Of how many nobody said where they ran: the world's average stands in.
    pub assumed: usize,
    /// Energy caused by running.
    pub dynamic_uj: u64,
    /// Shares of static energy.
    pub static_uj: u64,
    /// Idle energy of accelerators while they held them.
    pub held_uj: u64,
    /// CPU time.
    pub cpu_ns: u64,
    /// CO2 equivalent; none where the factors are of different kinds.
    pub grams: Option<f64>,
    /// Nine times in ten the truth is above.
    pub grams_low: Option<f64>,
    /// Nine times in ten the truth is below.
    pub grams_high: Option<f64>,
    /// The lowest of all.
    pub quality: Option<&'static str>,
    /// What else must be said.
    pub notes: Vec<String>,
}

impl RunSum {
    /// Of these.
    pub fn of(runs: &[KeptRun]) -> Self {
        let count = |status| runs.iter().filter(|run| run.status() == status).count();
        let energies = || runs.iter().filter_map(|run| run.end.as_ref()).flat_map(|end| &end.energies);
        let of =
            |kind| energies().filter(|row| row.kind == kind).map(|row| row.energy).sum::<Microjoules>().0;
        let unknown =
            runs.iter().filter(|run| run.end.as_ref().is_none_or(|end| end.energies.is_empty())).count();
        let grams = add_grams(energies().map(|row| (&row.factor, row.energy, row.stddev_uj)));
        let mut notes = Vec::new();
        if unknown > 0 {
            notes.push(format!("the energy of {unknown} runs is not known, and is missing in the sums"));
        }
        if let Err(error) = &grams {
            notes.push(format!("no sum of grams: {error}"));
        }
        if energies().any(|row| !row.factor.intensity.spread.is_known()) {
            notes.push(NO_SPREAD.to_owned());
        }
        let assumed = runs.iter().filter(|run| is_assumed(run)).count();
        notes.extend(self::notes(runs.iter().filter(|run| run.rerated()).count(), assumed));
        if overlap(runs) {
            notes.push(
                "some runs overlap: each has its own processes' energy, so none is counted twice".into(),
            );
        }
        let grams = grams.ok();
        Self {
            schema: "carbon.runs-sum/1",
            runs: runs.len(),
            done: count(RunStatus::Done),
            failed: count(RunStatus::Failed),
            killed: count(RunStatus::Killed),
            running: count(RunStatus::Running),
            unknown,
            assumed,
            dynamic_uj: of(EnergyKind::Dynamic),
            static_uj: of(EnergyKind::Static),
            held_uj: of(EnergyKind::Held),
            cpu_ns: runs.iter().filter_map(|run| run.end.as_ref()).map(|end| end.cpu.0).sum(),
            grams: grams.map(|grams| grams.middle),
            grams_low: grams.map(|grams| grams.low),
            grams_high: grams.map(|grams| grams.high),
            quality: energies().map(|row| row.quality).min().map(Quality::as_str),
            notes,
        }
    }

    /// As a table of one row.
    pub fn grid(&self) -> Grid {
        let mut grid = Grid::new(&[
            ("RUNS", "runs", true),
            ("DONE", "done", true),
            ("FAILED", "failed", true),
            ("KILLED", "killed", true),
            ("RUNNING", "running", true),
            ("CPU s", "cpu_ns", true),
            ("J", "energy_uj", true),
            ("gCO2e", "grams", true),
            ("gCO2e, 90 %", "grams_low grams_high", false),
            ("QUALITY", "quality", false),
        ]);
        let quality = self.quality.unwrap_or("none");
        let uj = self.dynamic_uj.saturating_add(self.static_uj).saturating_add(self.held_uj);
        #[expect(clippy::cast_precision_loss, reason = "a display value")]
        let cpu = self.cpu_ns as f64 / 1e9;
        let known = self.quality.is_some();
        let whole = |count: usize| Cell::number(count.to_string(), count);
        grid.rows.push(vec![
            whole(self.runs),
            whole(self.done),
            whole(self.failed),
            whole(self.killed),
            whole(self.running),
            Cell::number(significant(cpu, 4), self.cpu_ns),
            if known {
                Cell::number(significant(Microjoules(uj).joules(), of_quality(quality)), uj)
            } else {
                Cell::unknown()
            },
            self.grams
                .filter(|_| known)
                .map_or_else(Cell::unknown, |grams| Cell::number(significant(grams, 2), grams)),
            match (self.grams_low, self.grams_high) {
                (Some(low), Some(high)) if known => Cell::number(
                    format!("{} to {}", significant(low, 2), significant(high, 2)),
                    format!("{low} {high}"),
                ),
                _ => Cell::unknown(),
            },
            Cell::text(quality),
        ]);
        let head = if self.assumed > 0 { "ASSUMED" } else { "" };
        grid.columns.push(Column { head, key: "assumed", number: true });
        grid.rows.iter_mut().for_each(|cells| cells.push(whole(self.assumed)));
        grid
    }
}

/// What is said of runs by the notes below them: whose intensity became known after them, and whose place nobody gave.
pub fn notes(rerated: usize, assumed: usize) -> Vec<String> {
    let assumed = (assumed > 0).then(|| {
        format!("ASSUMED: no place was given for {assumed} of these runs: the world's average stands in")
    });
    rerated_note(rerated).into_iter().chain(assumed).collect()
}

/// Whether nobody said where a run was.
fn is_assumed(run: &KeptRun) -> bool {
    run.end.iter().flat_map(|end| &end.energies).any(|row| row.factor.intensity.assumed)
}

/// What is said of runs whose intensity became known after them.
fn rerated_note(count: usize) -> Option<String> {
    (count > 0)
        .then(|| format!("{count} runs were rated again when the intensity of their time became known"))
}

/// Whether two of them ran on one machine at one time.
pub fn overlap(runs: &[KeptRun]) -> bool {
    let mut spans: Vec<(&str, i64, i64)> = runs
        .iter()
        .filter_map(|run| Some((run.start.node.as_str(), run.start.start_us, run.end.as_ref()?.end_us)))
        .collect();
    spans.sort_unstable();
    spans.iter().zip(spans.iter().skip(1)).any(|(one, next)| one.0 == next.0 && next.1 < one.2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::rows::RunStart;

    #[test]
    fn programs_have_always_the_same_columns() {
        let run = KeptRun { start: RunStart::default(), end: None };
        let known = RunRow::from(&run);
        let assumed = RunRow { assumed: true, ..known.clone() };
        for (rows, values, shown) in [
            (vec![known.clone()], vec!["false"], false),
            (vec![assumed, known], vec!["true", "false"], true),
            (Vec::new(), Vec::new(), false),
        ] {
            let csv = grid(&rows).csv().unwrap();
            let last: Vec<&str> = csv.lines().map(|line| line.rsplit_once(',').unwrap().1).collect();
            assert_eq!(last, [&["assumed"], &values[..]].concat());
            for text in [grid(&rows).table(crate::report::table::Style::default()), grid(&rows).markdown()] {
                assert_eq!((text.contains("PLACE"), text.contains("ASSUMED")), (shown, shown), "{text}");
            }
        }
        let sum = RunSum::of(&[run]).grid();
        assert!(sum.csv().unwrap().lines().next().unwrap().ends_with(",assumed"));
        assert!(!sum.markdown().contains("ASSUMED"), "{}", sum.markdown());
    }
}
