//! Options of `carbon runs`, as they are written; checked where it is done.

use super::args::ListFormat;
use super::serve_args::ServerArgs;
use super::store::StoreArgs;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `carbon runs`.
#[derive(Args, Clone, Debug)]
pub struct RunsArgs {
    /// What to do with runs.
    #[command(subcommand)]
    pub action: RunsAction,
}

/// The actions of `carbon runs`.
#[derive(Clone, Debug, Subcommand)]
pub enum RunsAction {
    /// List runs, oldest first.
    List {
        /// Which.
        #[command(flatten)]
        filter: FilterArgs,
        /// How the list is written.
        #[arg(long, value_enum, default_value_t = ListFormat::Table)]
        format: ListFormat,
        /// The ledger.
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Show one run.
    Show {
        /// Its id, the beginning or end of it, or its name.
        run: String,
        /// How it is written.
        #[arg(long, value_enum, default_value_t = ListFormat::Table)]
        format: ListFormat,
        /// The ledger.
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Add up runs, failed and killed ones too.
    Sum {
        /// Which.
        #[command(flatten)]
        filter: FilterArgs,
        /// How the sum is written.
        #[arg(long, value_enum, default_value_t = ListFormat::Table)]
        format: ListFormat,
        /// The ledger.
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Compare two runs, or two sets of repeats: A is what was, B what is now.
    Compare {
        /// A run, a series of repeats (its id, or the name that they share), or experiment:NAME, project:NAME, tag:NAME.
        a: String,
        /// As A.
        b: String,
        /// Status 1 if B uses more than A by this, such as 5%, and chance does not explain it.
        #[arg(long, value_name = "PERCENT", allow_hyphen_values = true)]
        fail_above: Option<String>,
        /// How sure to be: the chance of a false alarm.
        #[arg(long, value_name = "P", default_value_t = 0.05)]
        alpha: f64,
        /// How it is written.
        #[arg(long, value_enum, default_value_t = ListFormat::Table)]
        format: ListFormat,
        /// The ledger.
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Draw the energy of each run with its interval.
    Plot {
        /// Which.
        #[command(flatten)]
        filter: FilterArgs,
        /// Write the picture to this file, whole or not at all: as PNG where its name ends in .png, else as SVG.
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
        /// The ledger.
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Send runs that have ended to a team's server, `carbon serve`; ones that are there already stay as they are.
    Send {
        /// Ids, the beginnings or ends of them, or names; without any, all that the options say.
        #[arg(value_name = "RUN")]
        runs: Vec<String>,
        /// Which.
        #[command(flatten)]
        filter: FilterArgs,
        /// Where to.
        #[command(flatten)]
        server: ServerArgs,
        /// The ledger.
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Write runs as lines of JSON.
    Export {
        /// Which.
        #[command(flatten)]
        filter: FilterArgs,
        /// Write them to this file, whole or not at all.
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
        /// The ledger.
        #[command(flatten)]
        store: StoreArgs,
    },
}

/// Which runs.
#[derive(Args, Clone, Debug, Default)]
pub struct FilterArgs {
    /// Of this organisation.
    #[arg(long, value_name = "NAME")]
    pub organisation: Option<String>,
    /// Of this project.
    #[arg(long, short, value_name = "NAME")]
    pub project: Option<String>,
    /// Of this experiment.
    #[arg(long, value_name = "NAME")]
    pub experiment: Option<String>,
    /// With this tag.
    #[arg(long, value_name = "TAG")]
    pub tag: Option<String>,
    /// The newest only.
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
}
