//! Options of `carbon calibrate`.

use super::args::{CalibrateArgs, RunFormat};
use super::error::CliError;
use super::options::{INTERVAL_MAX, Measuring, check_duration, check_root, check_sensors, rung, state_file};
use crate::attribution::Method;
use crate::attribution::static_policy::StaticPolicy;
use crate::carbon;
use crate::meters::MeterChoice;
use crate::sched::HierarchyChoice;
use std::time::Duration;

/// Shortest and longest `carbon calibrate`: windows of half a second at all levels of load, twice.
const CALIBRATION_MIN: Duration = Duration::from_secs(10);
const CALIBRATION_MAX: Duration = Duration::from_hours(1);

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
