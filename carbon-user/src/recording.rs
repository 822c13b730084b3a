//! Windows as attribution got them, in a file: so that they can be attributed again, by the same code, to the same bits.
//!
//! One line each: eight digits of CRC-32 (ISO 3309), a space, JSON. First the head (how it was measured, and what was learned
//! before), then the windows, then the end. Names of workloads and domains are written once and stand for a number from
//! then on. A line that is cut short or garbled is found by its sum; what came before it is good. Format and version are
//! told by the head (`carbon.recording/1`, `docs/model.md`).

mod lines;
mod reader;
mod writer;

pub use reader::{Entry, Reader};
pub use writer::Writer;

use crate::attribution::{Kept, PackagePrior};
use crate::units::CgroupId;
use std::io;

/// Name and version of the format.
pub const SCHEMA: &str = "carbon.recording/1";

/// How it was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// Name of the machine.
    pub node: String,
    /// First edge, by the wall clock, RFC 3339.
    pub start: String,
    /// How CPU time was taken, as a word.
    pub accounting: String,
    /// How dynamic energy was split, as a word.
    pub attribution: String,
    /// Who static energy was shown to, as a word.
    pub static_policy: String,
    /// Where the electricity was used.
    pub zone: String,
    /// Whether that is for want of a place, and not what was asked for.
    pub zone_assumed: bool,
    /// Energy of the site over energy of its machines.
    pub pue: f64,
    /// What was known of the packages.
    pub packages: Vec<PackagePrior>,
    /// What was learned before the first window.
    pub kept: Vec<Kept>,
}

/// How it ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct End {
    /// Last edge, by the wall clock, RFC 3339.
    pub end: String,
    /// How CPU time was taken at last, as a word.
    pub accounting: String,
    /// What else had to be said.
    pub notes: Vec<String>,
    /// Paths of cgroups that were found since they were first written.
    pub paths: Vec<(CgroupId, String)>,
}

/// What is wrong with a recording.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The operating system says so.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It begins with something else.
    #[error("it is no {SCHEMA}: {0}")]
    Foreign(String),
    /// A line is not what was written.
    #[error("window {window} is garbled ({reason}); the {} before it are good", .window - 1)]
    Garbled {
        /// Number of the window, from 1.
        window: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// It has no end.
    #[error("it is cut short after window {windows}; the {windows} windows up to there are good")]
    Cut {
        /// How many there are.
        windows: u64,
    },
}

#[cfg(test)]
mod tests;
