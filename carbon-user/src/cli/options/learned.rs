//! Options of the commands around what is learned: `model`, `replay`, `calibrate`, and `--record`.

use super::{
    INTERVAL_MAX, Measuring, check_duration, check_pue, check_root, check_rows, meters, method, policy, rung,
    state_file,
};
use crate::attribution::Method;
use crate::attribution::static_policy::StaticPolicy;
use crate::carbon;
use crate::cli::args::{CalibrateArgs, Format, ModelArgs, ReplayArgs, RunFormat};
use crate::cli::error::CliError;
use crate::meters::MeterChoice;
use crate::sched::HierarchyChoice;
use crate::sysroot::SysRoot;
use crate::units::Pue;
use std::path::PathBuf;
use std::time::Duration;

/// Shortest and longest `carbon calibrate`: windows of half a second at all levels of load, twice.
const CALIBRATION_MIN: Duration = Duration::from_secs(10);
const CALIBRATION_MAX: Duration = Duration::from_hours(1);
/// The head alone takes some of it.
const RECORD_BYTES_MIN: u64 = 64 << 10;
/// `--record`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordOptions {
    /// Where to.
    pub file: PathBuf,
    /// How much of it.
    pub bytes_max: u64,
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

/// `carbon replay`, checked.
#[derive(Clone, Debug)]
pub struct ReplayOptions {
    /// The recording.
    pub file: PathBuf,
    /// `None`: as it was.
    pub attribution: Option<Method>,
    /// `None`: as it was.
    pub static_policy: Option<StaticPolicy>,
    /// `None`: as it was; not yet looked up.
    pub zone: Option<String>,
    /// `None`: as it was.
    pub pue: Option<Pue>,
    /// How the report is written.
    pub format: Format,
    /// Rows of the table.
    pub limit: Option<usize>,
    /// Where the report goes, if not to stdout.
    pub output: Option<PathBuf>,
}

/// `carbon calibrate`, checked.
#[derive(Clone, Debug)]
pub struct CalibrateOptions {
    /// How to measure.
    pub measuring: Measuring,
    /// How long.
    pub duration: Duration,
    /// Whatever else runs.
    pub force: bool,
    /// How the findings are written.
    pub format: RunFormat,
}

pub(super) fn model(args: ModelArgs) -> Result<ModelOptions, CliError> {
    let ModelArgs { state, self_test, format, output, sysfs_root } = args;
    let root = check_root(sysfs_root)?;
    let state = state_file(state).ok_or_else(|| CliError::Argument {
        option: "--state",
        value: "none".into(),
        reason: "there is nothing to show".into(),
        advice: "give the file that carbon top keeps".into(),
    })?;
    Ok(ModelOptions { state, self_test, format, output, root })
}

pub(super) fn replay(args: ReplayArgs) -> Result<ReplayOptions, CliError> {
    Ok(ReplayOptions {
        file: args.file,
        attribution: args.attribution.map(method),
        static_policy: args.static_policy.map(policy),
        zone: args.zone,
        pue: args.pue.as_deref().map(check_pue).transpose()?,
        format: args.format,
        limit: check_rows(args.limit)?,
        output: args.output,
    })
}

pub(super) fn calibrate(args: CalibrateArgs) -> Result<CalibrateOptions, CliError> {
    let duration = check_duration("--duration", &args.duration, CALIBRATION_MIN, CALIBRATION_MAX)?;
    let sensors = meters::check_sensors(&args.hwmon, MeterChoice::Auto)?;
    let measuring = Measuring {
        // Grams are no part of it.
        zone: Some("WORLD".to_owned()),
        pue: carbon::DEFAULT_PUE,
        pue_given: true,
        accounting: rung(args.accounting),
        hierarchy: HierarchyChoice::Auto,
        meter: MeterChoice::Auto,
        sensors,
        root: check_root(args.sysfs_root)?,
        static_policy: StaticPolicy::Separate,
        attribution: Method::Bank,
        state: state_file(args.state),
        interval: INTERVAL_MAX,
        quiet: args.quiet,
    };
    Ok(CalibrateOptions { measuring, duration, force: args.force, format: args.format })
}

/// A whole number and, if wanted, one of `KiB`, `MiB`, `GiB`.
pub(super) fn check_bytes(option: &'static str, text: &str) -> Result<u64, CliError> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit = match unit.trim() {
        "" | "B" => Some(1),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1_u64 << 30),
        _ => None,
    };
    let bytes = number.parse::<u64>().ok().zip(unit).and_then(|(number, unit)| number.checked_mul(unit));
    bytes.filter(|bytes| *bytes >= RECORD_BYTES_MIN).ok_or_else(|| CliError::Argument {
        option,
        value: text.into(),
        reason: "not a number of bytes from 64KiB upwards".into(),
        advice: "give a number with KiB, MiB or GiB, such as 64MiB".into(),
    })
}
