//! What a command can fail with, what it says then, and the status it exits with.
//!
//! | status | meaning |
//! |---|---|
//! | 0 | done; also when the reader of the output went away |
//! | 1 | the answer is no: `carbon doctor` finds that nothing can be measured, `carbon model` that nothing was learned |
//! | 2 | usage or configuration |
//! | 3 | cannot measure |
//!
//! `carbon run` gives the command's own status, 128 + n when signal n ended it. Its own failures have the numbers
//! that env(1) and timeout(1) use, so that none is taken for the command's: 125, 126 for a command that cannot be
//! executed, 127 for one that is not found. The mapping is here and nowhere else, by variant.

use crate::carbon::UnknownZone;
use crate::checkpoint::CheckpointError;
use crate::ledger::LedgerError;
use crate::provider::prometheus::QueryError;
use crate::recording::RecordingError;
use crate::report::figures::printable;
use std::error::Error;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;

/// Why a command could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The command line does not parse. The text is one line and says what to do.
    #[error("{0}")]
    CommandLine(String),
    /// An option, or the environment variable behind it, has a value that cannot be used.
    #[error("{option} {value}: {reason}")]
    Argument {
        /// The option as the user writes it, such as `--pue`.
        option: &'static str,
        /// What was given.
        value: String,
        /// Why not.
        reason: String,
        /// What to give instead.
        advice: String,
    },
    /// A zone that is in no table.
    #[error("--zone")]
    Zone {
        /// Which, and those with a similar name.
        source: UnknownZone,
    },
    /// The ledger cannot be read or written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The engine of `--source` gives no answer.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The agent's file of options cannot be used.
    #[error("{}{}: {reason}", .path.display(), place_of(.line.as_ref()))]
    Config {
        /// The file.
        path: PathBuf,
        /// Line and column, where it is of one.
        line: Option<(usize, usize)>,
        /// Why not, and what to give instead.
        reason: String,
    },
    /// An environment variable has a value that cannot be used.
    #[error("{name}: {reason}")]
    Variable {
        /// Which.
        name: String,
        /// Why not, and what to give instead.
        reason: String,
    },
    /// The report's file cannot be opened.
    #[error("cannot open {} for the report", .path.display())]
    Output {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The report cannot be written.
    #[error("cannot write the report to {destination}")]
    Write {
        /// The file, or `standard output`.
        destination: String,
        /// Why not.
        source: io::Error,
    },
    /// Whoever read the output has closed it: no failure.
    #[error("the reader of the output has gone")]
    BrokenPipe,
    /// Neither the kernel nor a meter gives what the command needs.
    #[error("cannot measure")]
    CannotMeasure {
        /// What failed, with its causes.
        source: anyhow::Error,
        /// What to do; `carbon doctor` where nothing better is known.
        advice: String,
    },
    /// A recording that cannot be used, or not to its end.
    #[error("cannot use the recording {}", .path.display())]
    Recording {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: RecordingError,
    },
    /// What was learned cannot be read.
    #[error("cannot show what was learned")]
    State {
        /// Why not.
        source: CheckpointError,
    },
    /// There is no file of what was learned.
    #[error("nothing was learned yet: there is no {}", .path.display())]
    NothingLearned {
        /// The file.
        path: PathBuf,
    },
    /// No such command.
    #[error("cannot run {}", .command.display())]
    NotFound {
        /// As it was given.
        command: OsString,
        /// What exec said.
        source: io::Error,
    },
    /// The command is there and cannot be executed.
    #[error("cannot run {}", .command.display())]
    NotExecutable {
        /// As it was given.
        command: OsString,
        /// What exec said.
        source: io::Error,
    },
    /// No process could be made for the command, or it could not be enrolled in the run.
    #[error("cannot {action}")]
    Start {
        /// What was tried, such as `start a process`.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
}

fn place_of(line: Option<&(usize, usize)>) -> String {
    line.map(|(line, column)| format!(":{line}:{column}")).unwrap_or_default()
}

/// Whose rules the exit status follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invocation {
    /// `carbon run`, which passes on the status of its command.
    Run,
    /// Every other command.
    Other,
}

impl Invocation {
    /// Told from the arguments themselves, program name first, so that it is known when they do not parse.
    pub fn of(arguments: &[OsString]) -> Self {
        if arguments.get(1).is_some_and(|name| name == "run") { Self::Run } else { Self::Other }
    }
}

impl CliError {
    /// For what keeps the program from measuring, with what to do about it.
    pub fn measuring(source: impl Into<anyhow::Error>, advice: &str) -> Self {
        Self::CannotMeasure { source: source.into(), advice: advice.to_owned() }
    }

    /// For anything that keeps the program from measuring.
    pub fn cannot_measure(source: impl Into<anyhow::Error>) -> Self {
        Self::measuring(source, "see \"carbon doctor\"")
    }

    /// A failed write: a reader that has gone is told apart.
    pub fn from_write(destination: impl Into<String>, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::BrokenPipe {
            Self::BrokenPipe
        } else {
            Self::Write { destination: destination.into(), source }
        }
    }

    /// The status that the process exits with.
    pub fn status(&self, invocation: Invocation) -> u8 {
        match (self, invocation) {
            (Self::BrokenPipe, _) => 0,
            (Self::NotFound { .. }, _) => 127,
            (Self::NotExecutable { .. }, _) => 126,
            (_, Invocation::Run) => 125,
            (Self::NothingLearned { .. }, Invocation::Other) => 1,
            (Self::CannotMeasure { .. } | Self::Start { .. }, Invocation::Other) => 3,
            (
                Self::CommandLine(_)
                | Self::Argument { .. }
                | Self::Zone { .. }
                | Self::Config { .. }
                | Self::Variable { .. }
                | Self::Ledger(_)
                | Self::Query(_)
                | Self::Output { .. }
                | Self::Recording { .. }
                | Self::State { .. }
                | Self::Write { .. },
                Invocation::Other,
            ) => 2,
        }
    }

    /// What the user can do about it, where the message does not say so itself.
    fn advice(&self) -> Option<&str> {
        match self {
            Self::Argument { advice, .. } | Self::CannotMeasure { advice, .. } => Some(advice),
            Self::Output { .. } => Some("give --output a file in a directory that can be written"),
            Self::Write { .. } => Some("check the space left there"),
            Self::NotFound { .. } => Some("check its name and PATH, and the #! line if it is a script"),
            Self::NotExecutable { .. } => Some("check that it is a program with execute permission"),
            Self::Start { .. } => Some("check the limits on processes and memory (ulimit -a, pids.max)"),
            Self::Recording { .. } => Some("it is made by carbon top --record"),
            Self::NothingLearned { .. } => {
                Some("run carbon top for some minutes on a machine with a meter, or give --state")
            }
            Self::CommandLine(_)
            | Self::Zone { .. }
            | Self::Config { .. }
            | Self::Variable { .. }
            | Self::State { .. }
            | Self::Ledger(_)
            | Self::Query(_)
            | Self::BrokenPipe => None,
        }
    }

    /// The whole message on one line: what failed, its causes after colons, and what to do.
    pub fn message(&self) -> String {
        let mut message = format!("carbon: {self}");
        let mut cause = self.source();
        while let Some(error) = cause {
            let text = lower_first(&error.to_string());
            // Some say their cause themselves.
            if !message.to_lowercase().ends_with(&text.to_lowercase()) {
                message.push_str(": ");
                message.push_str(&text);
            }
            cause = error.source();
        }
        if let Some(advice) = self.advice() {
            message.push_str("; ");
            message.push_str(advice);
        }
        printable(&message.replace('\n', " "))
    }

    /// Says it on stderr. Silent for a reader that has gone.
    pub fn report(&self) {
        if !matches!(self, Self::BrokenPipe) {
            say(&self.message());
        }
    }
}

/// A warning on stderr, unless `quiet`.
pub fn warn(quiet: bool, message: &str) {
    if !quiet {
        say(&format!("carbon: warning: {}", printable(message)));
    }
}

/// One line on stderr. Nothing can be done where stderr itself fails.
fn say(line: &str) {
    drop(writeln!(io::stderr().lock(), "{line}"));
}

/// The operating system's texts begin with a capital, which looks odd after a colon.
fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    match (characters.next(), characters.clone().next()) {
        (Some(first), Some(second)) if first.is_ascii_uppercase() && second.is_ascii_lowercase() => {
            format!("{}{}", first.to_ascii_lowercase(), characters.as_str())
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn run_keeps_its_own_failures_out_of_the_commands_range() {
        let run = Invocation::of(&arguments(&["carbon", "run", "--nonsense"]));
        let top = Invocation::of(&arguments(&["carbon", "top", "run"]));
        let usage = CliError::CommandLine("no such option".into());
        let measure = CliError::cannot_measure(anyhow::anyhow!("no meter"));
        assert_eq!((usage.status(run), usage.status(top)), (125, 2));
        assert_eq!((measure.status(run), measure.status(top)), (125, 3));
        assert_eq!(CliError::BrokenPipe.status(top), 0);
    }

    #[test]
    fn a_message_is_one_line_with_causes_and_advice() {
        let inner = io::Error::from_raw_os_error(libc::EACCES);
        let error = CliError::cannot_measure(anyhow::Error::new(inner).context("cannot load\nthe programs"));
        assert_eq!(
            error.message(),
            "carbon: cannot measure: cannot load the programs: permission denied (os error 13); \
             see \"carbon doctor\""
        );
    }
}
