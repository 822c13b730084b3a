//! `carbon doctor`: what can be measured on this machine, why not, and what to do.
//!
//! Looks only: nothing is loaded or attached here (what the rungs and meters say of themselves is handed in). A
//! file that cannot be read makes its line `unknown`, with the reason, and nothing else.

mod balance;
mod kernel;
pub(super) mod options;
mod perf;
mod place;
mod privilege;
mod render;

pub use perf::PerfEvents;

use super::args::RunFormat;
use super::error::CliError;
use super::output::Output;
use crate::meters::{MeterFinding, NamedSensor};
use crate::sched::Rung;
use crate::sysroot::SysRoot;
use crate::units::Quality;
use options::DoctorOptions;
use std::io;
use std::time::Duration;

/// What a line means for measuring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As it should be.
    Ok,
    /// Works, with less.
    Warn,
    /// Does not work.
    No,
    /// Cannot be told.
    Unknown,
    /// Neither good nor bad: for whoever reads the report of another machine.
    Note,
}

impl State {
    /// The word on every output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::No => "no",
            Self::Unknown => "unknown",
            Self::Note => "note",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The heading it stands under.
    pub section: &'static str,
    /// What was looked at; stable.
    pub name: &'static str,
    /// What it means.
    pub state: State,
    /// What was found.
    pub finding: String,
    /// What to do about it.
    pub advice: Option<String>,
}

impl Check {
    fn new(section: &'static str, name: &'static str, state: State, finding: impl Into<String>) -> Self {
        Self { section, name, state, finding: finding.into(), advice: None }
    }

    fn advise(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }

    /// A line for what could not be read.
    fn unread(section: &'static str, name: &'static str, what: &str, error: &io::Error) -> Self {
        Self::new(section, name, State::Unknown, format!("cannot read {what}: {}", reason(error)))
    }
}

/// What a way of taking CPU time says of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RungFinding {
    /// Which way.
    pub rung: Rung,
    /// Whether it works here.
    pub available: bool,
    /// What was found.
    pub reason: String,
    /// What to do where it does not work.
    pub advice: Option<String>,
}

/// What the other parts of the program say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Ways of taking CPU time, best first.
    pub rungs: Vec<RungFinding>,
    /// Sources of joules.
    pub meters: Vec<MeterFinding>,
}

/// Everything that doctor says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// What was looked at, by section.
    pub checks: Vec<Check>,
    /// What the other parts say.
    pub findings: Findings,
}

impl Diagnosis {
    /// The way that would be used: the best that works.
    pub fn rung(&self) -> Option<Rung> {
        self.findings.rungs.iter().filter(|finding| finding.available).map(|finding| finding.rung).min()
    }

    /// What the reports of this machine will carry: the lower quality of CPU time and of joules. `None`: one of
    /// the two cannot be had, and nothing can be measured.
    pub fn quality(&self) -> Option<Quality> {
        let meters =
            self.findings.meters.iter().filter(|meter| meter.chosen).map(|meter| meter.quality).min()?;
        Some(self.rung()?.quality().min(meters))
    }

    /// As text for people.
    pub fn to_table(&self, colours: bool) -> String {
        render::table(self, colours)
    }

    /// As `carbon.doctor/1`.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        render::json(self)
    }
}

/// Looks at the machine below `root`.
pub fn diagnose(root: &SysRoot, perf: &PerfEvents, findings: Findings) -> Diagnosis {
    let mut checks = kernel::checks(root);
    checks.extend(privilege::checks(root));
    checks.extend(perf::checks(root, perf));
    checks.extend(place::checks(root));
    Diagnosis { checks, findings }
}

/// The command. Status 1: nothing can be measured.
pub fn doctor(
    options: &DoctorOptions,
    findings: impl FnOnce(&SysRoot, &[NamedSensor]) -> Findings,
) -> Result<u8, CliError> {
    if let Some(duration) = options.balance {
        return balanced(options, duration);
    }
    let diagnosis = diagnose(&options.root, &PerfEvents::open(), findings(&options.root, &options.sensors));
    let output = Output::Stdout;
    let text = match options.format {
        RunFormat::Table => diagnosis.to_table(output.layout().colours),
        RunFormat::Json => diagnosis
            .to_json()
            .map_err(|error| CliError::from_write("standard output", io::Error::other(error)))?,
    };
    output.write(&text)?;
    Ok(u8::from(diagnosis.quality().is_none()))
}

/// `--balance`. Status 1: the ways of accounting disagree.
fn balanced(options: &DoctorOptions, duration: Duration) -> Result<u8, CliError> {
    let balance = balance::measure(options, duration)?;
    let text = match options.format {
        RunFormat::Table => balance.to_table(),
        RunFormat::Json => balance
            .to_json()
            .map_err(|error| CliError::from_write("standard output", io::Error::other(error)))?,
    };
    Output::Stdout.write(&text)?;
    Ok(u8::from(!balance.balanced))
}

/// The operating system's words without the number.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        _ => error.to_string(),
    }
}
