//! How far off each program is, and the page that says so.

use super::read::{Said, Span};
use super::{LOADS, places};
use anyhow::Result;
use std::fmt::Write as _;

/// What a round came to.
#[derive(Debug)]
pub(super) struct Round {
    /// Carbon's report, and what was true of its time.
    pub(super) carbon: (Said, Span),
    /// The same windows by CPU time.
    pub(super) by_cpu_time: Said,
    /// Scaphandre's, of its own time, which lies within Carbon's.
    pub(super) scaphandre: (Said, Span),
}

/// Sum over the loads of |estimate - truth| over the sum of truth, in per cent.
pub(super) fn error_pct(estimates: &[f64], truths: &[f64]) -> f64 {
    let pairs = || estimates.iter().zip(truths).take(LOADS.len());
    let off: f64 = pairs().map(|(estimate, truth)| (estimate - truth).abs()).sum();
    100.0 * off / pairs().map(|(_, truth)| truth).sum::<f64>()
}

/// The same with the estimates brought to the sum of the truth: of the split alone.
pub(super) fn share_error_pct(estimates: &[f64], truths: &[f64]) -> f64 {
    let sum = |of: &[f64]| of.iter().take(LOADS.len()).sum::<f64>();
    let level = sum(truths) / sum(estimates);
    error_pct(&estimates.iter().map(|estimate| estimate * level).collect::<Vec<_>>(), truths)
}

/// Energy of who runs and of a package that is idle, the latter by CPU time.
fn with_idle(span: &Span) -> Vec<f64> {
    let idle_j = span.package_j - span.joules.iter().sum::<f64>();
    let cpu_s: f64 = span.cpu_s.iter().sum();
    span.joules.iter().zip(&span.cpu_s).map(|(joules, own_s)| joules + idle_j * own_s / cpu_s).collect()
}

fn off_pct(estimate: f64, truth: f64) -> f64 {
    100.0 * (estimate / truth - 1.0)
}

/// How many of the loads' intervals hold the truth, and how many there are.
pub(super) fn held((said, truth): &(Said, Span)) -> (usize, usize) {
    let known = said.intervals.iter().zip(&truth.joules).filter_map(|(interval, truth)| {
        let (low, high) = (*interval)?;
        Some(low <= *truth && *truth <= high)
    });
    let known: Vec<bool> = known.collect();
    (known.iter().filter(|holds| **holds).count(), known.len())
}

impl Round {
    /// What of its time Scaphandre's kernel has counted by ticks.
    pub(super) fn ticked_ratio(&self) -> f64 {
        self.scaphandre.1.ticked_s / self.scaphandre.1.time_s
    }

    /// What Scaphandre would have said if the kernel had counted all of the time: it divides by that.
    fn without_lost_ticks(&self) -> Said {
        let (said, _) = &self.scaphandre;
        let joules = said.joules.iter().map(|joules| joules * self.ticked_ratio()).collect();
        Said { joules, machine_j: said.machine_j, ..Said::default() }
    }

    /// A row for each program: total error, split, and what the sums come to beside the meter.
    pub(super) fn summary(&self) -> Result<String> {
        let (carbon, truth) = &self.carbon;
        let (scaphandre, its_truth) = &self.scaphandre;
        let (holds, of) = held(&self.carbon);
        let mut text = String::from(
            "| | error, total | error, shares | all workloads and idle / meter | own figure of the machine / meter | 90 % interval holds |\n\
             |---|---|---|---|---|---|\n",
        );
        let mut row = |name: &str, said: &Said, truth: &Span, joules: &[f64], holds: &str| {
            let sum = said.joules.iter().sum::<f64>() + said.idle_j;
            writeln!(
                text,
                "| {name} | {:.1} | {:.1} | {:.3} | {:.3} | {holds} |",
                error_pct(&said.joules, joules),
                share_error_pct(&said.joules, joules),
                sum / truth.package_j,
                said.machine_j / truth.package_j,
            )
        };
        row("Carbon", carbon, truth, &truth.joules, &format!("{holds} of {of}"))?;
        row("the same windows by CPU time", &self.by_cpu_time, truth, &truth.joules, "")?;
        row("Scaphandre, as it says", scaphandre, its_truth, &its_truth.joules, "has none")?;
        let ticking = self.without_lost_ticks();
        row("the same without lost ticks", &ticking, its_truth, &its_truth.joules, "has none")?;
        let whole = with_idle(its_truth);
        row("and if idle energy belongs to who runs, by CPU time", &ticking, its_truth, &whole, "has none")?;
        Ok(text)
    }

    /// A row for each cgroup, and the package's sums.
    pub(super) fn table(&self) -> Result<String> {
        let (carbon, truth) = &self.carbon;
        let (scaphandre, its_truth) = &self.scaphandre;
        let mut text = String::from(
            "| cgroup | W per CPU | CPU s | truth, J | Carbon, J | its 90 % interval | off, % | by CPU time, J | off, % \
             | truth in Scaphandre's time, J | Scaphandre, J | off, % |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n",
        );
        let names = places().map(|(name, watts)| (name, f64::from(watts) / 1e3));
        let names = names.chain([("everything else", f64::from(super::OTHERS_MW) / 1e3)]);
        let of = |joules: &[f64], place: usize| joules.get(place).copied().unwrap_or(f64::NAN);
        for (place, (name, watts)) in names.enumerate() {
            let interval = carbon.intervals.get(place).copied().flatten();
            let interval = interval.map_or(String::new(), |(low, high)| format!("{low:.1} to {high:.1}"));
            let [own, its] = [truth, its_truth].map(|truth| of(&truth.joules, place));
            let said = [carbon, &self.by_cpu_time, scaphandre].map(|said| of(&said.joules, place));
            let [by_carbon, by_cpu_time, by_scaphandre] = said;
            writeln!(
                text,
                "| {name} | {watts} | {:.1} | {own:.1} | {by_carbon:.1} | {interval} | {:+.1} | {by_cpu_time:.1} | {:+.1} | {its:.1} | \
                 {by_scaphandre:.1} | {:+.1} |",
                of(&truth.cpu_s, place),
                off_pct(by_carbon, own),
                off_pct(by_cpu_time, own),
                off_pct(by_scaphandre, its),
            )?;
        }
        let idle_j = |truth: &Span| truth.package_j - truth.joules.iter().sum::<f64>();

        let rows = [
            ("idle", idle_j(truth), carbon.idle_j, self.by_cpu_time.idle_j, idle_j(its_truth), None),
            (
                "the meter, and each one's figure of the machine",
                truth.package_j,
                carbon.machine_j,
                self.by_cpu_time.machine_j,
                its_truth.package_j,
                Some(scaphandre.machine_j),
            ),
        ];
        for (name, own, by_carbon, by_cpu_time, its, by_scaphandre) in rows {
            let last = by_scaphandre.map_or_else(
                || "none | ".to_owned(),
                |joules| format!("{joules:.1} | {:+.1}", off_pct(joules, its)),
            );
            writeln!(
                text,
                "| {name} | | | {own:.1} | {by_carbon:.1} | | {:+.1} | {by_cpu_time:.1} | {:+.1} | {its:.1} | {last} |",
                off_pct(by_carbon, own),
                off_pct(by_cpu_time, own),
            )?;
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(joules: [f64; 7], package_j: f64) -> Span {
        Span { package_j, time_s: 10.0, ticked_s: 8.0, cpu_s: vec![1.0; 7], joules: joules.to_vec() }
    }

    #[test]
    fn errors_are_of_the_loads_alone_and_shares_are_brought_to_level() {
        let truth = [10.0, 20.0, 30.0, 40.0, 999.0];
        assert!((error_pct(&[20.0, 20.0, 30.0, 20.0, 0.0], &truth) - 30.0).abs() < 1e-9);
        let doubled = truth.map(|joules| 2.0 * joules);
        assert!((error_pct(&doubled, &truth) - 100.0).abs() < 1e-9);
        assert!(share_error_pct(&doubled, &truth) < 1e-9);
        // A quarter each, where a tenth to four tenths are true.
        assert!((share_error_pct(&[7.0; 5], &truth) - 40.0).abs() < 1e-9);
    }

    #[test]
    fn idle_energy_goes_to_who_runs_by_cpu_time() {
        let whole = with_idle(&span([1.0, 2.0, 3.0, 4.0, 0.0, 0.0, 0.0], 24.0));
        assert_eq!(whole, [3.0, 4.0, 5.0, 6.0, 2.0, 2.0, 2.0]);
    }

    #[test]
    fn intervals_that_miss_the_truth_are_not_counted_as_holding_it() {
        let intervals = vec![Some((0.5, 1.5)), Some((0.0, 1.0)), None, Some((4.1, 9.0))];
        let said = Said { intervals, ..Said::default() };
        assert_eq!(held(&(said, span([1.0, 2.0, 3.0, 4.0, 0.0, 0.0, 0.0], 10.0))), (1, 3));
    }

    #[test]
    fn a_round_is_told_by_program_and_by_cgroup() {
        let truth = span([10.0, 20.0, 30.0, 40.0, 1.0, 2.0, 3.0], 116.0);
        let said = |factor: f64, idle_j: f64| Said {
            joules: truth.joules.iter().map(|joules| joules * factor).collect(),
            intervals: vec![Some((9.0, 11.0)); 4],
            machine_j: 116.0,
            idle_j,
            ..Said::default()
        };
        let round = Round {
            carbon: (said(1.0, 10.0), truth.clone()),
            by_cpu_time: said(1.1, 0.0),
            scaphandre: (said(1.5, 0.0), truth.clone()),
        };
        let text = round.summary().unwrap();
        assert!(text.contains("| Carbon | 0.0 | 0.0 | 1.000 | 1.000 | 1 of 4 |"), "{text}");
        assert!(
            text.contains("| Scaphandre, as it says | 50.0 | 0.0 | 1.371 | 1.000 | has none |"),
            "{text}"
        );
        assert!(
            text.contains("| the same without lost ticks | 20.0 | 0.0 | 1.097 | 1.000 | has none |"),
            "{text}"
        );
        let table = round.table().unwrap();
        assert!(
            table.contains(
                "| b | 4 | 1.0 | 20.0 | 20.0 | 9.0 to 11.0 | +0.0 | 22.0 | +10.0 | 20.0 | 30.0 | +50.0 |"
            ),
            "{table}"
        );
        assert!(
            table.contains("| idle | | | 10.0 | 10.0 | | +0.0 | 0.0 | -100.0 | 10.0 | none |  |"),
            "{table}"
        );
    }
}
