//! Runs of clients on their way to the ledger.

use crate::attribution::totals::WorkloadTotal;
use crate::cli::journal;
use crate::cli::process::{Ended, Outcome};
use crate::cli::run_entry::run_end;
use crate::ledger::rows::{EnergyKind, RunEnd, RunEnergy, RunStart};
use crate::ledger::runs::KeptRun;
use crate::ledger::{Factor, Ledger, LedgerError, Location};
use crate::report::run::Run;
use crate::units::{Microjoules, Quality};
use std::collections::VecDeque;

/// Records that wait for a ledger that cannot be written; above it the oldest are lost, and that is said.
pub(super) const WAITING_MAX: usize = 4_096;

/// What is to be written of a run.
#[derive(Debug)]
pub(super) enum RunRecord {
    Begin(Box<RunStart>),
    End(Box<EndedRun>),
}

/// A run that has ended.
#[derive(Debug)]
pub(super) struct EndedRun {
    pub(super) start: RunStart,
    pub(super) report: Run,
    /// Without the runs inside it, so that the sums over all hold each joule once.
    pub(super) own: WorkloadTotal,
    pub(super) factor: Factor,
    pub(super) outlived_by: u64,
    pub(super) outcome: Outcome,
}

impl EndedRun {
    /// As it is kept.
    fn end(&self) -> RunEnd {
        let ended = Ended { pid: 0, outcome: self.outcome, start_ns: 0, end_ns: self.report.duration_ns };
        let mut end = run_end(&self.report, &ended, &self.factor, self.outlived_by);
        // None where no domain gave any: it is unknown.
        if !end.energies.is_empty() {
            end.energies = self.energies();
        }
        end
    }

    fn energies(&self) -> Vec<RunEnergy> {
        let own = &self.own;
        let energy = |kind, energy, stddev_uj| RunEnergy {
            kind,
            factor: self.factor.clone(),
            recorded: None,
            quality: own.quality.unwrap_or(Quality::Modelled),
            energy,
            stddev_uj,
        };
        let dynamic = energy(EnergyKind::Dynamic, own.dynamic_energy, own.uncertainty.stddev_uj());
        let idle = [(EnergyKind::Static, own.static_energy), (EnergyKind::Held, own.held_energy)];
        let idle = idle.into_iter().filter(|(_, idle)| *idle > Microjoules::ZERO);
        [dynamic].into_iter().chain(idle.map(|(kind, idle)| energy(kind, idle, 0.0))).collect()
    }
}

/// Those that are not written yet, in order.
#[derive(Debug, Default)]
pub(super) struct Records {
    waiting: VecDeque<RunRecord>,
}

impl Records {
    /// Takes more.
    pub(super) fn add(&mut self, records: impl IntoIterator<Item = RunRecord>) {
        self.waiting.extend(records);
        let lost = self.waiting.len().saturating_sub(WAITING_MAX);
        if lost > 0 {
            log::error!("{lost} records of runs are lost: the ledger could not be written for too long");
            self.waiting.drain(..lost);
        }
    }

    /// Gives them to another to wait there.
    pub(super) fn take(&mut self) -> Vec<RunRecord> {
        std::mem::take(&mut self.waiting).into()
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Keeps in files what is not written, at the end.
    pub(super) fn keep(&mut self, location: &Location, error: &LedgerError) {
        for record in self.waiting.drain(..) {
            let RunRecord::End(ended) = record else { continue };
            let run = KeptRun { start: ended.start.clone(), end: Some(ended.end()) };
            match journal::keep(location, &run, error) {
                Ok(kept) => log::warn!("{kept}"),
                Err(why) => log::error!("a run is lost: {error}; {why}"),
            }
        }
    }

    /// Writes them; what is written does not wait any more.
    pub(super) fn write(&mut self, ledger: &mut Ledger) -> Result<(), LedgerError> {
        while let Some(record) = self.waiting.front() {
            match record {
                RunRecord::Begin(start) => ledger.begin_run(start)?,
                RunRecord::End(ended) => ledger.end_run(&ended.start, &ended.end())?,
            }
            self.waiting.pop_front();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::carbon::Intensity;
    use crate::ledger::runs::RunFilter;
    use crate::units::Pue;

    #[test]
    fn what_an_agent_could_not_write_at_its_end_is_in_the_ledger_later() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let location = Location::File(path.clone());
        let start = RunStart {
            id: "one".into(),
            node: "n".into(),
            organisation: None,
            project: None,
            experiment: None,
            name: None,
            series: None,
            tags: Vec::new(),
            command: Vec::new(),
            start_us: 0,
        };
        let ended = EndedRun {
            start: start.clone(),
            report: crate::report::gpu_tests::a_run(),
            own: WorkloadTotal { dynamic_energy: Microjoules(7), ..WorkloadTotal::default() },
            factor: Factor::new(Intensity::of("FR").unwrap(), Pue(1.0)),
            outlived_by: 0,
            outcome: Outcome::Exited(0),
        };
        let mut records = Records::default();
        records.add(vec![RunRecord::Begin(Box::new(start)), RunRecord::End(Box::new(ended))]);
        records.keep(&location, &LedgerError::Busy { place: path.display().to_string() });
        assert!(records.is_empty());
        let runs = Ledger::open(&location).unwrap().runs(&RunFilter::default()).unwrap();
        let of = |run: &KeptRun| (run.start.id.clone(), run.energy());
        assert_eq!(runs.iter().map(of).collect::<Vec<_>>(), [("one".to_owned(), Microjoules(7))]);
    }
}
