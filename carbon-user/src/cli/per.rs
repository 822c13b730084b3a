//! `--per` of `carbon report`: periods of time, and the functional unit of a score. Both may be given.

use super::error::CliError;
use super::report_args::{PerArg, ReportArgs, ReportFormat};
use crate::report::figures::amount;
use clap::ValueEnum;
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

/// One `--per`.
#[derive(Clone, Debug, PartialEq)]
pub enum Per {
    /// One row for each of these.
    Time(PerArg),
    /// What a score is divided by.
    Unit(FunctionalUnit),
}

/// What was served, as ISO/IEC 21031 asks for it.
#[derive(Clone, Debug, PartialEq)]
pub struct FunctionalUnit {
    /// Such as `request`.
    pub name: String,
    /// How many.
    pub count: f64,
}

impl Display for FunctionalUnit {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}={}", self.name, amount(self.count))
    }
}

/// A text that is neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "give hour, day or month, or a functional unit and how many were served as UNIT=COUNT, such as request=12345"
)]
pub struct NoPer;

impl FromStr for Per {
    type Err = NoPer;

    fn from_str(text: &str) -> Result<Self, NoPer> {
        let Some((name, count)) = text.split_once('=') else {
            return PerArg::from_str(text.trim(), true).map(Self::Time).map_err(|_| NoPer);
        };
        let count: f64 = count.trim().parse().map_err(|_| NoPer)?;
        let name = name.trim().to_owned();
        if name.is_empty() { Err(NoPer) } else { Ok(Self::Unit(FunctionalUnit { name, count })) }
    }
}

impl ReportArgs {
    /// The periods, where rows are wanted for each.
    pub(super) fn period(&self) -> Option<PerArg> {
        self.per.iter().find_map(|per| if let Per::Time(period) = per { Some(*period) } else { None })
    }

    /// The unit of the score.
    pub(super) fn unit(&self) -> Option<&FunctionalUnit> {
        self.per.iter().find_map(|per| if let Per::Unit(unit) = per { Some(unit) } else { None })
    }

    /// That `--per` says each thing once, and what the score needs.
    pub(super) fn check_per(&self) -> Result<(), CliError> {
        let wrong = |reason: &str, advice: &str| {
            Err(CliError::Argument {
                option: "--per",
                value: self.unit().map_or_else(String::new, ToString::to_string),
                reason: reason.into(),
                advice: advice.into(),
            })
        };
        let units = self.per.iter().filter(|per| matches!(per, Per::Unit(_))).count();
        match (self.per.len() - units, units) {
            (2.., _) => wrong("two periods are given", "give one of hour, day and month"),
            (_, 2..) => wrong("two functional units are given", "give one"),
            (_, 0) if self.sci => wrong(
                "a score is per functional unit, and none is given",
                "give it and how many were served, such as --per request=12345",
            ),
            (_, 1) if !self.sci => {
                wrong("only a score is per functional unit", "add --sci, or give hour, day or month")
            }
            _ => self.check_score(),
        }
    }

    /// That the score has a place in what is written: columns are of rows, and it is of all of them.
    fn check_score(&self) -> Result<(), CliError> {
        let name = match self.format {
            ReportFormat::Csv => "csv",
            ReportFormat::Parquet => "parquet",
            ReportFormat::FocusCsv => "focus-csv",
            _ => return Ok(()),
        };
        if !self.sci {
            return Ok(());
        }
        Err(CliError::Argument {
            option: "--sci",
            value: format!("--format {name}"),
            reason: "a score is of the whole report, and this format has rows alone".into(),
            advice: "give table, json, markdown, html, latex, bibtex or model-card".into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_period_or_a_unit() {
        assert_eq!("month".parse(), Ok(Per::Time(PerArg::Month)));
        let unit = FunctionalUnit { name: "request".into(), count: 12_345.0 };
        assert_eq!(" request = 12345".parse(), Ok(Per::Unit(unit)));
        for text in ["", "request", "=5", "request=", "request=many", "week"] {
            assert_eq!(text.parse::<Per>(), Err(NoPer), "{text:?}");
        }
    }
}
