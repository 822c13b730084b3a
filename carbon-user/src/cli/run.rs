//! `carbon run`: measures one command and all that it starts.

use super::error::CliError;
use super::output::{Layout, Output};
use super::process::{Attendant, BeforeExec, Ended, Launch, supervise};
use super::run_options::RunOptions;
use crate::ledger::rows::RunEnd;

/// What measures while the command runs.
pub trait RunMeasurement: Attendant {
    /// Takes the first edge and gives what enrols the child in the run. The last thing before the fork.
    fn begin(&mut self) -> Result<Option<BeforeExec>, CliError>;

    /// Whether carbon has to become the parent of orphans to see their CPU time.
    fn adopts_orphans(&self) -> bool;

    /// Takes the last edge and writes the report in the format of the options, newline at its end.
    fn report(&mut self, ended: &Ended, options: &RunOptions, layout: Layout) -> Result<String, CliError>;

    /// What is kept of the run; none before its report was made.
    fn record(&mut self, ended: &Ended) -> Option<RunEnd>;
}

/// Runs the command of `options` and gives the status to exit with. What can fail is tried before the command is
/// started: the report's file, then `open`.
///
/// A failure after the command has ended is an error only where the command itself was successful; else it is
/// said, and the status is the command's. What is to be kept of the run is put into `recorded`, for when nothing waits
/// any more.
pub async fn run<M: RunMeasurement>(
    options: &RunOptions,
    open: impl FnOnce(&RunOptions) -> Result<M, CliError>,
    recorded: &mut Option<RunEnd>,
) -> Result<u8, CliError> {
    let output = Output::open(options.output.as_deref(), Output::Stderr)?;
    let mut measurement = open(options)?;
    let launch = Launch {
        command: &options.command,
        adopt_orphans: measurement.adopts_orphans(),
        before_exec: measurement.begin()?,
        wait_all: options.wait_all,
        interval: options.measuring.interval,
    };
    let ended = supervise(launch, &mut measurement).await?;
    let status = ended.outcome.status();
    let written = write_report(&mut measurement, &ended, options, output);
    *recorded = measurement.record(&ended);
    match (written, status) {
        (Err(CliError::BrokenPipe) | Ok(()), _) => Ok(status),
        (Err(error), 0) => Err(error),
        (Err(error), _) => {
            error.report();
            Ok(status)
        }
    }
}

fn write_report(
    measurement: &mut impl RunMeasurement,
    ended: &Ended,
    options: &RunOptions,
    output: Output,
) -> Result<(), CliError> {
    let report = measurement.report(ended, options, output.layout())?;
    let repeated = options.entry.repeat > 1 && options.output.is_none();
    if (options.measuring.quiet && options.output.is_none()) || repeated {
        return Ok(());
    }
    output.write(&report)
}
