//! `carbon model`: what was learned of this machine, from the file where it is kept. Nothing is measured.

use super::args::Format;
use super::engine::{json, style, unwritten};
use super::error::CliError;
use super::learning;
use super::options::{STATE_FILE, check_root, state_file};
use super::output::Output;
use crate::report::model::{self, Model};
use crate::sysroot::SysRoot;
use crate::topology::Topology;
use clap::Args;
use std::path::PathBuf;

/// Below this share of predictions whose 90 % interval held, the answer of `--self-test` is no: with 20 right ones fewer
/// than 14 hold once in 400 times.
const COVERAGE_MIN_RATIO: f64 = 0.7;
/// Experiments below which there is no verdict.
const EXPERIMENTS_MIN: usize = 20;

/// `carbon model`.
#[derive(Args, Debug)]
pub struct ModelArgs {
    /// Where what was learned is kept.
    #[arg(long, env = "CARBON_STATE", value_name = "FILE", default_value = STATE_FILE)]
    pub state: PathBuf,
    /// How well starts and stops of workloads were predicted, one by one; status 1 where the 90 % interval held less
    /// than 70 % of them.
    #[arg(long)]
    pub self_test: bool,
    /// How it is written.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Write it to this file, whole or not at all.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Where sysfs is mounted.
    #[arg(long, default_value = "/sys", value_name = "DIR")]
    pub sysfs_root: PathBuf,
}

/// `carbon model`, checked.
#[derive(Clone, Debug)]
pub struct ModelOptions {
    /// Where what was learned is kept.
    pub state: PathBuf,
    /// Experiments only, and a verdict.
    pub self_test: bool,
    /// How it is written.
    pub format: Format,
    /// Where it goes, if not to stdout.
    pub output: Option<PathBuf>,
    /// Where sysfs and procfs are.
    pub root: SysRoot,
}

impl ModelOptions {
    /// Checks what was written.
    pub(super) fn check(args: ModelArgs) -> Result<Self, CliError> {
        let ModelArgs { state, self_test, format, output, sysfs_root } = args;
        let root = check_root(sysfs_root)?;
        let state = state_file(state).ok_or_else(|| CliError::Argument {
            option: "--state",
            value: "none".into(),
            reason: "there is nothing to show".into(),
            advice: "give the file that carbon top keeps".into(),
        })?;
        Ok(Self { state, self_test, format, output, root })
    }
}

/// Prints what was learned.
pub fn model(options: &ModelOptions) -> Result<u8, CliError> {
    let output = Output::open(options.output.as_deref(), Output::Stdout)?;
    let topology = Topology::read(&options.root).map_err(CliError::cannot_measure)?;
    let loaded = learning::load(&options.state, &options.root, &topology, true)
        .map_err(|source| CliError::State { source })?;
    let Some(checkpoint) = loaded else {
        return Err(CliError::NothingLearned { path: options.state.clone() });
    };
    let path = options.state.display().to_string();
    let report = Model::new(path, checkpoint.saved_at, &checkpoint.kept, &checkpoint.paths);
    let style = style(output.layout(), None);
    let text = match options.format {
        Format::Table if options.self_test => model::self_test(&report, style),
        Format::Table => model::table(&report, style),
        Format::Json => json(&report)?,
        Format::Csv => model::csv(&report).map_err(|error| unwritten(std::io::Error::other(error)))?,
    };
    output.write(&text)?;
    let (all, held) = report.held();
    #[expect(clippy::cast_precision_loss, reason = "counts of some hundreds")]
    let wrong = all >= EXPERIMENTS_MIN && (held as f64) < COVERAGE_MIN_RATIO * all as f64;
    Ok(u8::from(options.self_test && wrong))
}
