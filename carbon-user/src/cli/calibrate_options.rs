//! Options of `carbon calibrate`.

use super::args::RunFormat;
use super::error::CliError;
use super::options::{
    AccountingArg, INTERVAL_MAX, Measuring, STATE_FILE, check_duration, check_root, check_sensors, rung,
    state_file,
};
use crate::attribution::Method;
use crate::attribution::static_policy::StaticPolicy;
use crate::carbon;
use crate::meters::MeterChoice;
use crate::sched::HierarchyChoice;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// Shortest and longest `carbon calibrate`: windows of half a second at all levels of load, twice.
const CALIBRATION_MIN: Duration = Duration::from_secs(10);
const CALIBRATION_MAX: Duration = Duration::from_hours(1);

/// `carbon calibrate`.
#[derive(Args, Debug)]
pub struct CalibrateArgs {
    /// How long it may take.
    #[arg(long, value_name = "DURATION", default_value = "60s", allow_hyphen_values = true)]
    pub duration: String,
    /// Calibrate although something else runs.
    #[arg(long)]
    pub force: bool,
    /// How the findings are written.
    #[arg(long, value_enum, default_value_t = RunFormat::Table)]
    pub format: RunFormat,
    /// Where what is learned is kept, or none.
    #[arg(long, env = "CARBON_STATE", value_name = "FILE", default_value = STATE_FILE)]
    pub state: PathBuf,
    /// How CPU time is taken.
    #[arg(long, value_enum, default_value_t = AccountingArg::Auto, value_name = "HOW")]
    pub accounting: AccountingArg,
    /// A sensor of power or energy of the kernel's hwmon class that is read as a part of the machine: its driver, its label or
    /// name, and what it measures, which is package, dram or system (package-1 where there are several).
    #[arg(long, env = "CARBON_HWMON", value_name = "DRIVER:SENSOR=WHAT", value_delimiter = ',')]
    pub hwmon: Vec<String>,
    /// Where sysfs is mounted.
    #[arg(long, default_value = "/sys", value_name = "DIR")]
    pub sysfs_root: PathBuf,
    /// No progress and no warnings.
    #[arg(long, short)]
    pub quiet: bool,
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

impl CalibrateOptions {
    /// Checks what was written.
    pub(super) fn check(args: CalibrateArgs) -> Result<Self, CliError> {
        let duration = check_duration("--duration", &args.duration, CALIBRATION_MIN, CALIBRATION_MAX)?;
        let sensors = check_sensors(&args.hwmon, MeterChoice::Auto)?;
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
        Ok(Self { measuring, duration, force: args.force, format: args.format })
    }
}
