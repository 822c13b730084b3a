//! The commands: raw arguments, checked options, run.
//!
//! [`args`] is the command line as it is written, [`options`] what parses and checks it, `run`, `top` and the others the
//! commands, with what their options mean in the same file or beside it, [`engine`] what they measure with, [`error`] what can
//! fail and the status for it.

mod advise;
pub mod agent;
pub mod args;
pub mod background;
pub mod burst;
pub mod calibrate;
pub mod calibrate_options;
mod chart_steps;
mod dashboard;
mod dashboard_answers;
mod dashboard_processes;
mod dashboard_runs;
pub mod doctor;
pub mod engine;
pub mod error;
mod explain;
mod explain_window;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub mod here;
mod import;
mod import_csv;
mod intensity;
mod journal;
pub mod learning;
mod ledger_command;
mod live_values;
pub mod model;
pub mod options;
pub mod output;
mod parquet;
pub mod per;
mod picture;
pub mod process;
pub mod progress;
pub mod recorder;
mod repeat;
pub mod replay;
mod report;
pub mod report_args;
mod report_factors;
mod report_score;
mod report_source;
#[cfg(test)]
mod report_tests;
mod report_time;
pub mod run;
pub mod run_agent;
pub mod run_entry;
pub mod run_options;
mod runs;
pub mod runs_args;
mod send;
mod series_file;
mod serve;
pub mod serve_args;
mod serve_manage;
mod signals;
mod store;
pub mod top;
pub mod top_options;
mod track;
mod warnings;

use error::CliError;
use options::Options;

/// Runs a command and gives the status to exit with.
pub fn execute(options: &Options) -> Result<u8, CliError> {
    if let Options::Agent(_) | Options::Serve(_) = options {
        warnings::log_lines();
    }
    warnings::say(match options {
        Options::Run(options) => options.measuring.quiet,
        // A live table has the whole screen: what a warning would say is in its notes.
        Options::Top(options) => options.measuring.quiet || options.once.is_none(),
        Options::Calibrate(options) => options.measuring.quiet,
        _ => false,
    });
    match options {
        Options::Agent(options) => agent::agent(options).map(|()| 0),
        Options::Run(options) => run_entry::run(options),
        Options::Top(options) => on_this_thread(top::top(options, engine::open_top)).map(|()| 0),
        Options::Model(options) => model::model(options),
        Options::Replay(options) => replay::replay(options),
        Options::Calibrate(options) => calibrate::calibrate(options),
        Options::Doctor(options) => doctor::doctor(options, engine::findings),
        Options::Report(args) => report::report(args),
        Options::Runs(args) => runs::runs(args),
        Options::Ledger(args) => ledger_command::ledger(args),
        Options::Explain(args) => explain::explain(args),
        Options::Advise(args) => advise::advise(args),
        Options::Track(options) => track::track(options).map(|()| 0),
        Options::Intensity(args) => intensity::intensity(args),
        Options::Dashboard(args) => dashboard::dashboard(args).map(|()| 0),
        Options::Serve(args) => serve::serve(args),
        Options::Import(args) => import::import(args),
        Options::Shown => Ok(0),
    }
}

/// A runtime on this thread alone: what runs in it may hold things that cannot leave their thread.
fn on_this_thread<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| CliError::Start { action: "start the runtime", source })?;
    runtime.block_on(work)
}
