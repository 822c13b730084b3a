//! The ledger while commands run.

use super::error::{CliError, warn};
use super::output::Output;
use super::run_options::RunOptions;
use super::store::Chosen;
use crate::ledger::rows::{RunEnd, RunStart};
use crate::ledger::runs::KeptRun;
use crate::ledger::{Ledger, LedgerError, Location, late};

/// An error of a ledger that nobody named is a warning, and ends the recording. A run that has ended is lost in neither case.
pub(super) struct Journal {
    ledger: Option<Ledger>,
    /// Where it is, to be opened anew after a run that has to wait; none where nothing is recorded.
    location: Option<Location>,
    named: bool,
    quiet: bool,
    /// Whether the run that goes on was written.
    pub(super) begun: bool,
    /// For the report.
    pub(super) notes: Vec<String>,
}

impl Journal {
    /// Of an agent that has its own.
    pub(super) fn none(options: &RunOptions) -> Self {
        let quiet = options.measuring.quiet;
        Self { ledger: None, location: None, named: false, quiet, begun: false, notes: Vec::new() }
    }

    pub(super) fn open(options: &RunOptions) -> Result<Self, CliError> {
        let Chosen { location, named } = &options.entry.chosen;
        let mut journal = Self { named: *named, ..Self::none(options) };
        if let Some(location) = location {
            match Ledger::open(location) {
                Ok(ledger) => {
                    journal.ledger = Some(ledger);
                    journal.location = Some(location.clone());
                }
                // Not on standard error, where the report may be JSON.
                Err(error) if !named => {
                    journal.notes.push(format!("this run is not recorded: {error}; or give --no-store"));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(journal)
    }

    fn failed(&mut self, error: LedgerError) -> Result<(), CliError> {
        (self.ledger, self.location) = (None, None);
        if self.named {
            return Err(error.into());
        }
        warn(self.quiet, &format!("this run is not recorded: {error}; or give --no-store"));
        Ok(())
    }

    pub(super) fn begin(&mut self, start: &RunStart) -> Result<(), CliError> {
        self.begun = false;
        let Some(location) = &self.location else { return Ok(()) };
        let opened = self.ledger.take().map_or_else(|| Ledger::open(location), Ok);
        let begun = opened.and_then(|mut ledger| {
            let begun = ledger.begin_run(start);
            self.ledger = Some(ledger);
            begun
        });
        match begun {
            Ok(()) => {
                self.begun = true;
                Ok(())
            }
            Err(error) => self.failed(error),
        }
    }

    /// Says under which id the run is found.
    pub(super) fn tell(&self, start: &RunStart) -> Result<(), CliError> {
        match &self.ledger {
            Some(ledger) if self.begun && !self.quiet => {
                Output::Stderr.write(&format!("recorded as run {} in {}\n", start.id, ledger.place()))
            }
            _ => Ok(()),
        }
    }

    /// A command that failed is not hidden by a ledger that does. What cannot be written now waits in a file for the next carbon,
    /// and the command's status holds.
    pub(super) fn end(&mut self, start: &RunStart, end: &RunEnd, failed: bool) -> Result<(), CliError> {
        if !self.begun {
            return Ok(());
        }
        let (Some(ledger), Some(location)) = (&mut self.ledger, &self.location) else { return Ok(()) };
        let mut written = ledger.end_run(start, end);
        if let (Err(LedgerError::Database { .. }), Location::Postgres(_)) = (&written, location) {
            // A server that was started anew meanwhile takes it by another connection.
            written = Ledger::open(location).and_then(|mut again| again.end_run(start, end));
        }
        let Err(error) = written else { return Ok(()) };
        self.ledger = None;
        let run = KeptRun { start: start.clone(), end: Some(end.clone()) };
        match keep(location, &run, &error) {
            // Said however quiet it is to be: who looks for the run must know where it is.
            Ok(kept) => Output::Stderr.write(&format!("carbon: {kept}\n")),
            Err(why) => {
                warn(self.quiet, &why);
                match self.failed(error) {
                    Err(error) if failed => {
                        error.report();
                        Ok(())
                    }
                    other => other,
                }
            }
        }
    }
}

/// Keeps a run that the ledger could not be told of, and gives what is to be said: where it is, or why it is nowhere.
pub(super) fn keep(location: &Location, run: &KeptRun, error: &LedgerError) -> Result<String, String> {
    let id = &run.start.id;
    if !late::may_pass(error) {
        return Err(format!("run {id} is not kept"));
    }
    match late::keep(location, run) {
        Ok(path) => Ok(format!(
            "run {id} is not in the ledger yet ({error}): it is kept in {}, and the next carbon that opens this ledger to write \
             takes it, such as \"carbon ledger verify\"",
            path.display()
        )),
        Err(why) => Err(format!("run {id} cannot be kept in a file either: {why}")),
    }
}
