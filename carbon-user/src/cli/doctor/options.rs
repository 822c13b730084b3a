//! Options of `carbon doctor`.

use crate::cli::args::{DoctorArgs, RunFormat};
use crate::cli::error::CliError;
use crate::cli::options::{DURATION_MAX, check_duration, check_root, check_sensors};
use crate::meters::{MeterChoice, NamedSensor};
use crate::sysroot::SysRoot;
use std::time::Duration;

/// Shortest `--balance`: a hundred ticks.
const BALANCE_MIN: Duration = Duration::from_secs(1);

/// `carbon doctor`, checked.
#[derive(Clone, Debug)]
pub struct DoctorOptions {
    /// How the findings are written.
    pub format: RunFormat,
    /// Where sysfs and procfs are.
    pub root: SysRoot,
    /// Sensors that were named.
    pub sensors: Vec<NamedSensor>,
    /// Compare the ways of accounting for so long instead.
    pub balance: Option<Duration>,
}

impl DoctorOptions {
    /// Checks what was written.
    pub(in crate::cli) fn check(args: DoctorArgs) -> Result<Self, CliError> {
        let balance = args.balance.as_deref();
        let balance =
            balance.map(|text| check_duration("--balance", text, BALANCE_MIN, DURATION_MAX)).transpose()?;
        let root = check_root(args.sysfs_root)?;
        let sensors = check_sensors(&args.hwmon, MeterChoice::Auto)?;
        Ok(Self { format: args.format, root, sensors, balance })
    }
}
