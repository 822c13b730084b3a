//! Every command line, parsed and checked: all that can be wrong with one is found before anything is opened.
//!
//! What a command's options are and mean stands with that command; the agent's are in `options/agent`. Here is what
//! commands share: `shared` is how to measure, `values` are durations, numbers and names.

mod agent;
mod meters;
mod shared;
mod values;

pub use agent::AgentOptions;
pub use meters::MeterArg;
pub(super) use meters::check_sensors;
pub use shared::{AccountingArg, AttributionArg, HierarchyArg, Measuring, SharedArgs, StaticArg};
pub(super) use shared::{INTERVAL_MAX, INTERVAL_MIN, STATE_FILE, check_pue, measuring, method, policy, rung};
pub(super) use values::{
    DURATION_MAX, check_count, check_duration, check_name, check_overhead, check_root, check_rows,
    not_negative, state_file, text_of, yes_or_no,
};

use super::advise::AdviseArgs;
use super::args::{Cli, Command};
use super::calibrate_options::CalibrateOptions;
use super::dashboard::DashboardArgs;
use super::doctor::options::DoctorOptions;
use super::error::CliError;
use super::explain::ExplainArgs;
use super::intensity::IntensityArgs;
use super::ledger_command::LedgerArgs;
use super::model::ModelOptions;
use super::replay::ReplayOptions;
use super::report_args::ReportArgs;
use super::run_options::RunOptions;
use super::runs_args::RunsArgs;
use super::serve_args::{ImportArgs, ServeArgs};
use super::top_options::TopOptions;
use super::track::options::TrackOptions;
use clap::Parser;
use clap::error::ErrorKind;
use std::ffi::OsString;

/// A command, ready to run.
#[derive(Debug)]
pub enum Options {
    /// `carbon run`.
    Run(Box<RunOptions>),
    /// `carbon top`.
    Top(TopOptions),
    /// `carbon model`.
    Model(ModelOptions),
    /// `carbon replay`.
    Replay(ReplayOptions),
    /// `carbon calibrate`.
    Calibrate(CalibrateOptions),
    /// `carbon doctor`.
    Doctor(DoctorOptions),
    /// `carbon report`; checked where it is done.
    Report(Box<ReportArgs>),
    /// `carbon runs`; checked where it is done.
    Runs(RunsArgs),
    /// `carbon ledger`.
    Ledger(LedgerArgs),
    /// `carbon explain`.
    Explain(ExplainArgs),
    /// `carbon advise`; checked where it is done.
    Advise(AdviseArgs),
    /// `carbon agent`.
    Agent(Box<AgentOptions>),
    /// `carbon intensity`.
    Intensity(IntensityArgs),
    /// `carbon track`.
    Track(Box<TrackOptions>),
    /// `carbon dashboard`; checked where it is done.
    Dashboard(DashboardArgs),
    /// `carbon serve`; checked where it is done.
    Serve(Box<ServeArgs>),
    /// `carbon import`; checked where it is done.
    Import(Box<ImportArgs>),
    /// Help or the version was asked for and has been printed.
    Shown,
}

/// The agent's file, from text that may hold anything: where it is wrong, the place is one of the text.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz_config(text: &str) {
    if let Err(((line, column), reason)) = agent::values(text) {
        assert!(
            (1..=text.matches('\n').count() + 1).contains(&line) && column >= 1,
            "{line}:{column}: {reason}"
        );
    }
}

/// Parses and checks a command line, program name first. Help and version are printed here.
pub fn parse(arguments: &[OsString]) -> Result<Options, CliError> {
    match Cli::try_parse_from(arguments) {
        Ok(Cli { command: Command::Run(args) }) => {
            RunOptions::check(*args).map(|it| Options::Run(Box::new(it)))
        }
        Ok(Cli { command: Command::Top(args) }) => TopOptions::check(args).map(Options::Top),
        Ok(Cli { command: Command::Model(args) }) => ModelOptions::check(args).map(Options::Model),
        Ok(Cli { command: Command::Replay(args) }) => ReplayOptions::check(args).map(Options::Replay),
        Ok(Cli { command: Command::Calibrate(args) }) => {
            CalibrateOptions::check(args).map(Options::Calibrate)
        }
        Ok(Cli { command: Command::Doctor(args) }) => DoctorOptions::check(args).map(Options::Doctor),
        Ok(Cli { command: Command::Report(args) }) => Ok(Options::Report(args)),
        Ok(Cli { command: Command::Runs(args) }) => Ok(Options::Runs(args)),
        Ok(Cli { command: Command::Ledger(args) }) => Ok(Options::Ledger(args)),
        Ok(Cli { command: Command::Explain(args) }) => Ok(Options::Explain(args)),
        Ok(Cli { command: Command::Advise(args) }) => Ok(Options::Advise(args)),
        Ok(Cli { command: Command::Agent(_) }) => {
            agent::agent(arguments).map(|it| Options::Agent(Box::new(it)))
        }
        Ok(Cli { command: Command::Intensity(args) }) => Ok(Options::Intensity(args)),
        Ok(Cli { command: Command::Track(args) }) => {
            TrackOptions::check(args).map(|it| Options::Track(Box::new(it)))
        }
        Ok(Cli { command: Command::Dashboard(args) }) => Ok(Options::Dashboard(args)),
        Ok(Cli { command: Command::Serve(args) }) => Ok(Options::Serve(args)),
        Ok(Cli { command: Command::Import(args) }) => Ok(Options::Import(args)),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            error.print().map_err(|source| CliError::from_write("standard output", source))?;
            Ok(Options::Shown)
        }
        // Of the agent it is said which variable it is of.
        Err(error)
            if arguments.get(1).is_some_and(|word| word == "agent")
                && matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidUtf8) =>
        {
            agent::agent(arguments).map(|it| Options::Agent(Box::new(it)))
        }
        Err(error) if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Err(CliError::CommandLine("no command given; try \"carbon --help\"".into()))
        }
        Err(error) => Err(CliError::CommandLine(one_line(&error))),
    }
}

/// clap explains itself in a paragraph; ours is one line: its first paragraph, its tips, and where help is.
fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let mut words = Vec::new();
    let mut help = "carbon --help".to_owned();
    for line in text.lines().map(str::trim) {
        if let Some(usage) = line.strip_prefix("Usage: ") {
            let command = usage.split(' ').take_while(|word| !word.starts_with(['[', '<', '-']));
            help = format!("{} --help", command.collect::<Vec<_>>().join(" "));
        } else if !line.is_empty() && !line.starts_with("For more information") {
            words.push(line.strip_prefix("error: ").unwrap_or(line));
        }
    }
    format!("{}; try \"{help}\"", words.join(" "))
}

/// A command line of words without spaces.
#[cfg(test)]
pub(super) fn parse_words(line: &str) -> Result<Options, CliError> {
    parse(&line.split(' ').map(OsString::from).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(line: &str) -> String {
        parse_words(line).unwrap_err().message()
    }

    #[test]
    fn no_option_has_two_meanings() {
        use crate::cli::report_args::PerArg;
        // A parser that contradicts itself panics in debug builds only, and only where that command is given.
        <Cli as clap::CommandFactory>::command().debug_assert();
        let report = |line: &str| match parse_words(line) {
            Ok(Options::Report(args)) => (args.period(), args.unit().map(|unit| unit.count)),
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(report("carbon report --per month"), (Some(PerArg::Month), None));
        assert_eq!(report("carbon report --sci --per request=5 --per day"), (Some(PerArg::Day), Some(5.0)));
    }

    #[test]
    fn every_refusal_says_what_to_do() {
        let refused = [
            "carbon",
            "carbon tap",
            "carbon run",
            "carbon run --pue 0.9 -- true",
            "carbon run --pue -1 -- true",
            "carbon run --pue NaN -- true",
            "carbon run --pue one -- true",
            "carbon run --sysfs-root /dev/null -- true",
            "carbon run --interval 1ms -- true",
            "carbon run --interval 5 -- true",
            "carbon run --interval 2m -- true",
            "carbon run --format csv -- true",
            "carbon run --accountin books -- true",
            "carbon top --duration 5s",
            "carbon top --format json",
            "carbon top --output x",
            "carbon top --once --limit 0",
            "carbon top --max-overhead 0",
            "carbon top --record-limit 1MiB",
            "carbon top --record x --record-limit 3",
            "carbon top --record x --record-limit 1MB",
            "carbon model --state none",
            "carbon replay",
            "carbon replay x --pue 0.5",
            "carbon calibrate --duration 1s",
            "carbon doctor --format xml",
            "carbon doctor --balance 5ms",
        ];
        let said: Vec<String> = refused.iter().map(|line| format!("$ {line}\n{}", message(line))).collect();
        assert!(said.iter().all(|text| text.lines().count() == 2));
        insta::assert_snapshot!(said.join("\n"));
        assert!(check_name("--project", "").is_err());
        assert!(check_name("--project", "a\nb").is_err());
    }
}
