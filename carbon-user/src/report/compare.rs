//! Two sets of runs side by side: JSON schema `carbon.compare/1`.

use super::figures::{of_quality, significant};
use super::grid::{Cell, Grid};
use super::statistics::{self, Summary};
use crate::ledger::runs::KeptRun;
use crate::units::Quality;
use serde::Serialize;

/// What comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// No limit was given.
    NoGate,
    /// Within the limit, or not to be told from chance.
    Passed,
    /// Above the limit.
    Worse,
}

/// One side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Side {
    /// As it was asked for.
    pub name: String,
    /// How many runs with known energy.
    pub runs: usize,
    /// How many without: left out.
    pub unknown: usize,
    /// How many failed or were killed: they are in the mean.
    pub not_done: usize,
    /// Mean energy in joules.
    pub mean_j: Option<f64>,
    /// Standard deviation in joules.
    pub stddev_j: Option<f64>,
    /// The lowest of all.
    pub quality: Option<&'static str>,
}

/// The comparison.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// `carbon.compare/1`.
    pub schema: &'static str,
    /// What was.
    pub a: Side,
    /// What is now.
    pub b: Side,
    /// (B - A) / A.
    pub change_ratio: Option<f64>,
    /// Interval of the change at 1 - alpha.
    pub change_low_ratio: Option<f64>,
    /// Interval of the change at 1 - alpha.
    pub change_high_ratio: Option<f64>,
    /// Chance of such a difference where there is none (Welch's test, one-sided).
    pub p: Option<f64>,
    /// Chance of a false alarm that is accepted.
    pub alpha: f64,
    /// The limit.
    pub fail_above_ratio: Option<f64>,
    /// What comes of it.
    pub verdict: Verdict,
    /// Why, and what else must be said.
    pub notes: Vec<String>,
}

impl Compared {
    /// Of two sets of runs. B is worse where it is above the limit and the difference is significant; where one side
    /// has a single run, no test is possible, and the limit alone decides. What is unknown or not done passes no gate.
    pub fn new(a: (&str, &[KeptRun]), b: (&str, &[KeptRun]), limit: Option<f64>, alpha: f64) -> Self {
        let ((side_a, summary_a), (side_b, summary_b)) = (side(a), side(b));
        let mut notes = Vec::new();
        let found = summary_a.zip(summary_b).map(|(a, b)| statistics::compare(a, b, alpha));
        let not_done: Vec<String> = [("A", &side_a), ("B", &side_b)]
            .iter()
            .filter(|(_, side)| side.not_done > 0)
            .map(|(which, side)| format!("{} of {which}", side.not_done))
            .collect();
        let verdict = match (limit, &found) {
            (None, _) => Verdict::NoGate,
            // Who stopped early has used less, and has not done the work.
            (Some(_), _) if !not_done.is_empty() => {
                notes.push(format!("runs that are not done, {}: these pass no gate", not_done.join(" and ")));
                Verdict::Worse
            }
            (Some(_), None) => {
                notes.push("the energy of one side is not known: that passes no gate".to_owned());
                Verdict::Worse
            }
            (Some(limit), Some(found)) if found.change_ratio <= limit => Verdict::Passed,
            (Some(_), Some(found)) => match found.p {
                Some(p) if p < alpha => Verdict::Worse,
                Some(_) => {
                    notes.push("above the limit, and chance explains it: repeat more often".to_owned());
                    Verdict::Passed
                }
                None => Verdict::Worse,
            },
        };
        if found.is_some_and(|found| found.p.is_none()) {
            notes.push(
                "no test of significance with a single run: give \"carbon run --repeat 10\" and compare the series"
                    .to_owned(),
            );
        }
        if side_a.quality == Some("modelled") || side_b.quality == Some("modelled") {
            notes.push(
                "modelled energies: their common error cancels in a comparison on one machine, not between machines"
                    .to_owned(),
            );
        }
        let machines: Vec<&str> = a.1.iter().chain(b.1).map(|run| run.start.node.as_str()).collect();
        if machines.iter().any(|machine| Some(machine) != machines.first()) {
            notes.push("the runs are of different machines".to_owned());
        }
        Self {
            schema: "carbon.compare/1",
            a: side_a,
            b: side_b,
            change_ratio: found.map(|it| it.change_ratio),
            change_low_ratio: found.and_then(|it| it.interval_ratio).map(|it| it.0),
            change_high_ratio: found.and_then(|it| it.interval_ratio).map(|it| it.1),
            p: found.and_then(|it| it.p),
            alpha,
            fail_above_ratio: limit,
            verdict,
            notes,
        }
    }

    /// Both sides as a table.
    pub fn grid(&self) -> Grid {
        let mut grid = Grid::new(&[
            ("SIDE", "side", false),
            ("RUNS", "runs", true),
            ("NOT DONE", "not_done", true),
            ("MEAN J", "mean_j", true),
            ("STDDEV J", "stddev_j", true),
            ("QUALITY", "quality", false),
        ]);
        for side in [&self.a, &self.b] {
            let quality = side.quality.unwrap_or("none");
            let number = |value: Option<f64>, figures| {
                value.map_or_else(Cell::unknown, |value| Cell::number(significant(value, figures), value))
            };
            grid.rows.push(vec![
                Cell::text(&side.name),
                Cell::number(side.runs.to_string(), side.runs),
                Cell::number(side.not_done.to_string(), side.not_done),
                number(side.mean_j, of_quality(quality).max(3)),
                number(side.stddev_j, 2),
                Cell::text(quality),
            ]);
        }
        grid
    }

    /// What comes of it, in words.
    pub fn lines(&self) -> Vec<String> {
        let percent = |ratio: f64| {
            let sign = if ratio < 0.0 { "-" } else { "+" };
            format!("{sign}{} %", significant(100.0 * ratio.abs(), 2))
        };
        let mut lines = Vec::new();
        if let Some(change) = self.change_ratio {
            let interval = match (self.change_low_ratio, self.change_high_ratio) {
                (Some(low), Some(high)) => format!(
                    " ({} %: {} to {})",
                    significant(100.0 * (1.0 - self.alpha), 3),
                    percent(low),
                    percent(high)
                ),
                _ => String::new(),
            };
            let p = self.p.map_or_else(String::new, |p| {
                let text =
                    if p < 0.0001 { "< 0.0001".to_owned() } else { format!("= {}", significant(p, 2)) };
                format!(", p {text} (Welch's test, one-sided)")
            });
            lines.push(format!("B uses {}{interval} of A{p}", percent(change)));
        }
        let verdict = match self.verdict {
            Verdict::NoGate => None,
            Verdict::Passed => Some("passed"),
            Verdict::Worse => Some("FAILED"),
        };
        if let (Some(verdict), Some(limit)) = (verdict, self.fail_above_ratio) {
            lines.push(format!("gate {}: {verdict}", percent(limit)));
        }
        lines.extend(self.notes.iter().map(|note| format!("note: {note}")));
        lines
    }
}

fn side((name, runs): (&str, &[KeptRun])) -> (Side, Option<Summary>) {
    let known: Vec<&KeptRun> =
        runs.iter().filter(|run| run.end.as_ref().is_some_and(|end| !end.energies.is_empty())).collect();
    let joules: Vec<f64> = known.iter().map(|run| run.energy().joules()).collect();
    let summary = Summary::of(&joules);
    let qualities = known.iter().filter_map(|run| run.end.as_ref()).flat_map(|end| &end.energies);
    let side = Side {
        name: name.to_owned(),
        runs: known.len(),
        unknown: runs.len() - known.len(),
        not_done: runs.iter().filter(|run| run.status() != crate::ledger::rows::RunStatus::Done).count(),
        mean_j: summary.map(|it| it.mean),
        stddev_j: summary.and_then(|it| it.stddev),
        quality: qualities.map(|row| row.quality).min().map(Quality::as_str),
    };
    (side, summary)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::carbon::Intensity;
    use crate::ledger::Factor;
    use crate::ledger::rows::{EnergyKind, RunEnd, RunEnergy, RunStart, RunStatus};
    use crate::units::{CpuNanos, Microjoules, Pue};

    fn ended(status: RunStatus, joules: u64) -> KeptRun {
        let end = RunEnd {
            status,
            exit_status: 0,
            end_us: 2_000_000,
            duration_ns: 1_000_000_000,
            outlived_by: 0,
            cpu: CpuNanos(1),
            accounting: "proc".into(),
            attribution: "cpu-time".into(),
            static_policy: "separate".into(),
            hardware: "a test".into(),
            report: String::new(),
            energies: vec![RunEnergy {
                kind: EnergyKind::Dynamic,
                factor: Factor::new(Intensity::of("FR").unwrap(), Pue(1.2)),
                recorded: None,
                quality: Quality::Measured,
                energy: Microjoules(joules * 1_000_000),
                stddev_uj: 0.0,
            }],
            domains: Vec::new(),
        };
        KeptRun { start: RunStart { start_us: 1_000_000, ..RunStart::default() }, end: Some(end) }
    }

    #[test]
    fn a_run_that_is_not_done_passes_no_gate() {
        let done = [ended(RunStatus::Done, 100)];
        let against = |runs: &[KeptRun], limit| Compared::new(("a", &done), ("b", runs), limit, 0.05);
        assert_eq!(against(&done, Some(0.05)).verdict, Verdict::Passed);
        for status in [RunStatus::Failed, RunStatus::Killed] {
            let failed = against(&[ended(status, 1)], Some(0.05));
            assert_eq!(failed.verdict, Verdict::Worse, "it has used less, and has done nothing");
            let said = failed.lines().join("\n");
            assert!(said.contains("gate +5.0 %: FAILED") && said.contains("not done, 1 of B"), "{said}");
        }
        let running = KeptRun { end: None, ..done[0].clone() };
        assert_eq!(against(&[done[0].clone(), running], Some(0.05)).verdict, Verdict::Worse);
        let before = Compared::new(("a", &[ended(RunStatus::Failed, 100)]), ("b", &done), Some(0.05), 0.05);
        assert!(before.verdict == Verdict::Worse && before.notes.iter().any(|note| note.contains("1 of A")));
        assert_eq!(against(&[ended(RunStatus::Failed, 1)], None).verdict, Verdict::NoGate);
    }
}
