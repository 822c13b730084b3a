//! What the API can be asked.

use serde::Deserialize;

/// Rows of an answer at most, and unless told otherwise.
pub const ROWS_MAX: usize = 2000;
/// Rows where no limit is given.
pub const ROWS_DEFAULT: usize = 500;

/// What an answer is about: the last part of its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Figures at a glance.
    Overview,
    /// Power over time.
    Power,
    /// Energies by workload, or by what they belong to.
    Workloads,
    /// Recorded runs.
    Runs,
    /// Two runs, or sets of them.
    Compare,
    /// Regions of a cloud, ranked.
    Regions,
    /// Carbon intensity of a place.
    Intensity,
    /// Everyday equivalents.
    Equivalents,
    /// What is measured and what is modelled.
    Quality,
    /// Processes of a workload, as they are now, or of a run.
    Processes,
}

impl Topic {
    /// By its word in the path.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "overview" => Self::Overview,
            "power" => Self::Power,
            "workloads" => Self::Workloads,
            "runs" => Self::Runs,
            "compare" => Self::Compare,
            "regions" => Self::Regions,
            "intensity" => Self::Intensity,
            "equivalents" => Self::Equivalents,
            "quality" => Self::Quality,
            "processes" => Self::Processes,
            _ => return None,
        })
    }
}

/// The query, as it is written. Dates and names have the forms of `carbon report`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Query {
    /// From this time on.
    pub from: Option<String>,
    /// Up to this time, itself left out.
    pub to: Option<String>,
    /// Time zone of dates.
    pub tz: Option<String>,
    /// What to add up by.
    pub by: Option<String>,
    /// Only what belongs to this, as `namespace:NAME`; of processes `workload:NAME` or `run:ID`.
    pub within: Option<String>,
    /// Rows at most.
    pub limit: Option<usize>,
    /// Runs of this project.
    pub project: Option<String>,
    /// Runs of this experiment.
    pub experiment: Option<String>,
    /// Runs of this organisation.
    pub organisation: Option<String>,
    /// Runs with this tag.
    pub tag: Option<String>,
    /// Runs to compare: what was.
    pub a: Option<String>,
    /// Runs to compare: what is now.
    pub b: Option<String>,
    /// A cloud.
    pub provider: Option<String>,
    /// The region where the work is.
    pub near: Option<String>,
    /// Energy that the work takes in a month.
    pub energy: Option<String>,
    /// A place.
    pub place: Option<String>,
}

impl Query {
    /// Rows that are wanted, within what is allowed.
    pub fn rows(&self) -> usize {
        self.limit.unwrap_or(ROWS_DEFAULT).clamp(1, ROWS_MAX)
    }
}

/// A topic and its query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// About what.
    pub topic: Topic,
    /// The rest.
    pub query: Query,
}
