//! Options of `carbon track`.

use crate::cli::error::CliError;
use crate::cli::options::{Measuring, SharedArgs, measuring};
use crate::cli::store::{Chosen, StoreArgs};
use clap::Args;

/// `carbon track`.
#[derive(Args, Debug)]
pub struct TrackArgs {
    /// The process, with all that descends from it [default: the one that started this].
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
    /// Where runs are recorded.
    #[command(flatten)]
    pub store: StoreArgs,
    /// Shared options.
    #[command(flatten)]
    pub shared: SharedArgs,
}

/// `carbon track`, checked.
#[derive(Clone, Debug)]
pub struct TrackOptions {
    /// The process.
    pub pid: u32,
    /// Where runs are recorded.
    pub(super) chosen: Chosen,
    /// How to measure.
    pub measuring: Measuring,
}

impl TrackOptions {
    /// Checks what was written.
    pub(in crate::cli) fn check(args: TrackArgs) -> Result<Self, CliError> {
        let TrackArgs { pid, store, shared } = args;
        if let Some(path) = &shared.output {
            return Err(CliError::Argument {
                option: "--output",
                value: path.display().to_string(),
                reason: "answers go to standard output".into(),
                advice: "leave it out".into(),
            });
        }
        let parent = rustix::process::getppid().map_or(1, |pid| pid.as_raw_nonzero().get().unsigned_abs());
        Ok(Self { pid: pid.unwrap_or(parent), chosen: store.choose()?, measuring: measuring(shared)? })
    }
}
