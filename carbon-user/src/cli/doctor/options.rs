//! Options of `carbon doctor`.

use crate::cli::args::RunFormat;
use crate::cli::error::CliError;
use crate::cli::options::{DURATION_MAX, check_duration, check_root, check_sensors};
use crate::meters::{MeterChoice, NamedSensor};
use crate::sysroot::SysRoot;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// Shortest `--balance`: a hundred ticks.
const BALANCE_MIN: Duration = Duration::from_secs(1);

/// `carbon doctor`.
#[derive(Args, Debug)]
pub struct DoctorArgs {
    /// Measure for so long by the books, the hook and cpu.stat at once, and compare them key by key; status 1 where
    /// they disagree.
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub balance: Option<String>,
    /// How the findings are written.
    #[arg(long, value_enum, default_value_t = RunFormat::Table)]
    pub format: RunFormat,
    /// A sensor of power or energy of the kernel's hwmon class that is read as a part of the machine: its driver, its label or
    /// name, and what it measures, which is package, dram or system (package-1 where there are several).
    #[arg(long, env = "CARBON_HWMON", value_name = "DRIVER:SENSOR=WHAT", value_delimiter = ',')]
    pub hwmon: Vec<String>,
    /// Where sysfs is mounted.
    #[arg(long, default_value = "/sys", value_name = "DIR")]
    pub sysfs_root: PathBuf,
}

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
