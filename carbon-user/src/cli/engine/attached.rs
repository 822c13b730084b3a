//! A process that runs already and all that descends from it: what `carbon track` measures with.
//!
//! For root by the kernel's books, which follow every fork. Else by `/proc`, which needs no privilege: time of processes that
//! have ended comes back to those that waited for them, so that short ones are counted.

use super::command::settle;
use super::{Engine, Wanted, cannot_account};
use crate::attribution::totals::{Totals, WorkloadTotal};
use crate::cli::error::CliError;
use crate::cli::options::Measuring;
use crate::cli::process::{Ended, Outcome};
use crate::cli::run_entry;
use crate::ledger::Factor;
use crate::ledger::rows::RunEnd;
use crate::report::run::{Execution, Run};
use crate::sched::Rung;
use crate::units::{Pue, Quality, RunId};
use std::time::Duration;

/// The one run of this program.
const RUN: RunId = RunId(1);

/// Ways to follow a process that runs already in the kernel, best first.
const KERNELS: [Rung; 2] = [Rung::Books, Rung::Hook];

/// A process tree.
#[derive(Debug)]
pub(in crate::cli) struct ProcessMeter {
    engine: Engine,
    /// No window has been closed.
    fresh: bool,
}

impl ProcessMeter {
    /// Opens everything and takes the first edge: what was used before is not counted.
    pub(in crate::cli) fn open(measuring: &Measuring, pid: u32) -> Result<Self, CliError> {
        if let Some(rung) = measuring.accounting {
            return Self::by(rung, measuring, pid);
        }
        // Of others each would be refused after having been loaded.
        let kernels: &[Rung] = if rustix::process::geteuid().is_root() { &KERNELS } else { &[] };
        for rung in kernels {
            match Self::by(*rung, measuring, pid) {
                Ok(meter) => return Ok(meter),
                Err(error) => log::debug!("not followed by {rung}: {}", error.message()),
            }
        }
        Self::by(Rung::Proc, measuring, pid)
    }

    fn by(rung: Rung, measuring: &Measuring, pid: u32) -> Result<Self, CliError> {
        let measuring = Measuring { accounting: Some(rung), ..measuring.clone() };
        let wanted = Wanted { runs: true, ..Wanted::default() };
        let (mut engine, ()) = Engine::open(&measuring, wanted, |accounting| {
            accounting.runs().open(RUN)?;
            accounting.runs().attach(RUN, pid)
        })?;
        engine.sampler.follow_run(RUN);
        Ok(Self { engine, fresh: true })
    }

    /// Begins anew without being opened again, where it was opened just now; whether it was.
    pub(in crate::cli) fn begin(&mut self) -> bool {
        if !self.fresh || self.window().is_err() {
            return false;
        }
        self.engine.totals = Totals::default();
        self.engine.start = self.engine.end;
        true
    }

    /// Closes a window.
    pub(in crate::cli) fn window(&mut self) -> Result<(), CliError> {
        self.fresh = false;
        self.engine.window().map(drop).map_err(cannot_account)
    }

    /// Closes the last one, once the kernel has told the final time of what has ended.
    pub(in crate::cli) fn last_window(&mut self) -> Result<(), CliError> {
        settle(&mut self.engine, RUN);
        self.window()
    }

    /// What the tree used since the start.
    pub(in crate::cli) fn total(&self) -> WorkloadTotal {
        self.engine.totals.sum_of(|key| key.run == Some(RUN))
    }

    /// The machine meanwhile.
    pub(in crate::cli) fn totals(&self) -> &Totals {
        &self.engine.totals
    }

    /// The lower of meter and CPU time; none where no domain gave it energy.
    pub(in crate::cli) fn quality(&self, total: &WorkloadTotal) -> Option<Quality> {
        total.quality.map(|quality| quality.min(self.engine.sampler.rung().quality()))
    }

    /// Name of the machine, how CPU time is taken, how energy is split, and who static energy is shown to.
    pub(in crate::cli) fn described(&self) -> (&str, &'static str, &'static str, &'static str) {
        let Engine { node, sampler, state, policy, .. } = &self.engine;
        (node, sampler.rung().as_str(), state.method().as_str(), policy.as_str())
    }

    /// By which energy becomes grams.
    pub(in crate::cli) fn factor(&self) -> Factor {
        Factor::new(self.engine.intensity.clone(), self.engine.pue)
    }

    /// Takes another place and site.
    pub(in crate::cli) fn rate(&mut self, intensity: Option<crate::carbon::Intensity>, pue: Option<Pue>) {
        self.engine.intensity = intensity.unwrap_or_else(|| self.engine.intensity.clone());
        self.engine.pue = pue.unwrap_or(self.engine.pue);
    }

    /// What must be said.
    pub(in crate::cli) fn notes(&self) -> &[String] {
        &self.engine.notes
    }

    /// What is kept of the run, and how many of its tasks are still there.
    pub(in crate::cli) fn record(
        &mut self,
        pid: u32,
        times_ns: (u64, u64),
        outcome: Outcome,
        execution: Execution,
    ) -> RunEnd {
        let runs = self.engine.sampler.accounting().runs();
        let (processes, outlived_by) = (runs.processes(RUN), runs.alive(RUN).unwrap_or(0));
        let (start_ns, end_ns) = times_ns;
        let execution =
            Execution { duration: Duration::from_nanos(end_ns.saturating_sub(start_ns)), ..execution };
        let total = self.total();
        let report = Run::new(&self.engine.context(), execution, &self.engine.totals, &total, &processes);
        let ended = Ended { pid, outcome, start_ns, end_ns };
        run_entry::run_end(&report, &ended, &self.factor(), outlived_by)
    }
}
