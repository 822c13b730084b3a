//! Options of all commands that measure: how, with which meters, where, and who the energy is shown to.

use super::meters::{MeterArg, check_sensors, meter};
use super::values::{check_duration, check_root, state_file};
use crate::attribution::Method;
use crate::attribution::static_policy::StaticPolicy;
use crate::carbon;
use crate::carbon::place::CloudRegion;
use crate::cli::error::CliError;
use crate::meters::{MeterChoice, NamedSensor};
use crate::sched::{HierarchyChoice, Rung};
use crate::sysroot::SysRoot;
use crate::units::Pue;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Shortest window. RAPL updates once a millisecond, so ten readings at least are in one.
pub(in crate::cli) const INTERVAL_MIN: Duration = Duration::from_millis(10);
/// Longest window. A 32-bit RAPL counter of 15.3 uJ wraps after 65.5 kJ: 131 s at 500 W.
pub(in crate::cli) const INTERVAL_MAX: Duration = Duration::from_mins(1);

/// Where what is learned is kept.
pub(in crate::cli) const STATE_FILE: &str = "/var/lib/carbon/state.json";

/// What `run` and `top` share.
#[derive(Args, Debug)]
pub struct SharedArgs {
    /// Where the electricity is used: a country such as FR; the world's average where none is given.
    #[arg(long, env = "CARBON_ZONE", value_name = "ZONE")]
    pub zone: Option<String>,
    /// Energy of the whole site over the energy of its machines, at least 1.
    #[arg(long, env = "CARBON_PUE", value_name = "RATIO", allow_negative_numbers = true)]
    pub pue: Option<String>,
    /// How CPU time is taken.
    #[arg(long, value_enum, default_value_t = AccountingArg::Auto, value_name = "HOW")]
    pub accounting: AccountingArg,
    /// Which tree of cgroups is followed.
    #[arg(long, value_enum, default_value_t = HierarchyArg::Auto, value_name = "TREE")]
    pub hierarchy: HierarchyArg,
    /// Where joules come from.
    #[arg(long, value_enum, default_value_t = MeterArg::Auto, value_name = "METER")]
    pub meter: MeterArg,
    /// A sensor of power or energy of the kernel's hwmon class that is read as a part of the machine: its driver, its label or
    /// name, and what it measures, which is package, dram or system (package-1 where there are several).
    #[arg(long, env = "CARBON_HWMON", value_name = "DRIVER:SENSOR=WHAT", value_delimiter = ',')]
    pub hwmon: Vec<String>,
    /// Where sysfs is mounted.
    #[arg(long, default_value = "/sys", value_name = "DIR")]
    pub sysfs_root: PathBuf,
    /// Energy drawn even when idle: shown on its own, or shared by use of the CPU, by being there, or by what was asked
    /// for (the last two with top).
    #[arg(long = "static", value_enum, default_value_t = StaticArg::Separate, value_name = "POLICY")]
    pub static_policy: StaticArg,
    /// How the energy of running is split: by what each workload's CPU time costs as learned from the meter (by CPU time
    /// until it has learned, and where there is no meter), or by CPU time alone.
    #[arg(long, value_enum, default_value_t = AttributionArg::Bank, value_name = "HOW")]
    pub attribution: AttributionArg,
    /// Where what is learned of watts is kept over restarts, or none; run only reads it.
    #[arg(long, env = "CARBON_STATE", value_name = "FILE", default_value = STATE_FILE)]
    pub state: PathBuf,
    /// Length of a window, such as 500ms or 1s.
    #[arg(long, default_value = "1s", value_name = "DURATION", allow_hyphen_values = true)]
    pub interval: String,
    /// Write the report to this file, whole or not at all.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// No progress and no warnings; with `run`, no report on stderr.
    #[arg(long, short)]
    pub quiet: bool,
}

/// `--accounting`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AccountingArg {
    /// The best that works here.
    Auto,
    /// The scheduler's own books, read by BPF iterators.
    Books,
    /// A BPF program on every context switch.
    Hook,
    /// A BPF program on every context switch that needs no BTF.
    Rawtp,
    /// The cgroups' cpu.stat files.
    #[value(name = "cpustat")]
    CpuStat,
    /// The processes in /proc.
    Proc,
}

/// `--hierarchy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum HierarchyArg {
    /// cgroup2, unless workloads are grouped in cpuacct's tree alone.
    Auto,
    /// cgroup2.
    Cgroup2,
    /// That of the cpuacct controller, of version 1.
    Cpuacct,
}

/// `--static`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StaticArg {
    /// On its own.
    Separate,
    /// Shared by CPU time; memory's by resident memory, where that is known.
    Proportional,
    /// The same for every workload that is there.
    Equal,
    /// By the CPU that was asked for: by cpu.weight of the cgroups.
    Requests,
}

/// `--attribution`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AttributionArg {
    /// By learned watts.
    Bank,
    /// By CPU time.
    CpuTime,
}

/// How to measure, whatever is measured.
#[derive(Clone, Debug)]
pub struct Measuring {
    /// Where the electricity is used; not yet looked up.
    pub zone: Option<String>,
    /// Energy of the site over energy of its machines.
    pub pue: Pue,
    /// Whether it was given; else it is that of the zone.
    pub pue_given: bool,
    /// `None`: the best that works.
    pub accounting: Option<Rung>,
    /// Which tree of cgroups is followed.
    pub hierarchy: HierarchyChoice,
    /// Where joules come from.
    pub meter: MeterChoice,
    /// Sensors that were named.
    pub sensors: Vec<NamedSensor>,
    /// Where sysfs and procfs are.
    pub root: SysRoot,
    /// What becomes of static energy.
    pub static_policy: StaticPolicy,
    /// How dynamic energy is split.
    pub attribution: Method,
    /// Where what is learned is kept.
    pub state: Option<PathBuf>,
    /// Length of a window.
    pub interval: Duration,
    /// No progress, no warnings.
    pub quiet: bool,
}

impl Measuring {
    /// Another place, with its PUE where none was given.
    pub(in crate::cli) fn set_zone(&mut self, zone: String) {
        if !self.pue_given {
            self.pue = default_pue(Some(&zone));
        }
        self.zone = Some(zone);
    }

    /// What must be said of the PUE where it is that of others.
    pub(in crate::cli) fn pue_note(&self) -> Option<String> {
        let region = self.zone.as_deref().and_then(CloudRegion::parse).filter(|_| !self.pue_given)?;
        let pue = region.pue();
        let (name, ratio) = (region.name(), self.pue.0);
        pue.assumed.then(|| {
            format!("PUE {ratio}, {}, assumed: {name} publishes none; give --pue if you know it", pue.source)
        })
    }
}

pub(in crate::cli) fn measuring(shared: SharedArgs) -> Result<Measuring, CliError> {
    // An environment variable that is set to nothing is not set.
    let given = |text: &String| !text.trim().is_empty();
    let pue_text = shared.pue.filter(given);
    let pue_given = pue_text.is_some();
    let pue = match pue_text {
        Some(text) => check_pue(&text)?,
        None => default_pue(shared.zone.as_deref()),
    };
    let root = check_root(shared.sysfs_root)?;
    let meter = meter(shared.meter);
    let sensors = check_sensors(&shared.hwmon, meter)?;
    Ok(Measuring {
        zone: shared.zone.filter(given).map(|zone| zone.trim().to_owned()),
        pue,
        pue_given,
        accounting: rung(shared.accounting),
        hierarchy: match shared.hierarchy {
            HierarchyArg::Auto => HierarchyChoice::Auto,
            HierarchyArg::Cgroup2 => HierarchyChoice::Cgroup2,
            HierarchyArg::Cpuacct => HierarchyChoice::Cpuacct,
        },
        meter,
        sensors,
        root,
        static_policy: policy(shared.static_policy),
        attribution: method(shared.attribution),
        state: state_file(shared.state),
        interval: check_duration("--interval", &shared.interval, INTERVAL_MIN, INTERVAL_MAX)?,
        quiet: shared.quiet,
    })
}

pub(in crate::cli) fn rung(accounting: AccountingArg) -> Option<Rung> {
    match accounting {
        AccountingArg::Auto => None,
        AccountingArg::Books => Some(Rung::Books),
        AccountingArg::Hook => Some(Rung::Hook),
        AccountingArg::Rawtp => Some(Rung::Raw),
        AccountingArg::CpuStat => Some(Rung::CpuStat),
        AccountingArg::Proc => Some(Rung::Proc),
    }
}

pub(in crate::cli) fn policy(policy: StaticArg) -> StaticPolicy {
    match policy {
        StaticArg::Separate => StaticPolicy::Separate,
        StaticArg::Proportional => StaticPolicy::Proportional,
        StaticArg::Equal => StaticPolicy::Equal,
        StaticArg::Requests => StaticPolicy::Requests,
    }
}

pub(in crate::cli) fn method(attribution: AttributionArg) -> Method {
    match attribution {
        AttributionArg::Bank => Method::Bank,
        AttributionArg::CpuTime => Method::CpuTime,
    }
}

/// That of the region of a cloud; else nothing is added.
fn default_pue(zone: Option<&str>) -> Pue {
    zone.and_then(CloudRegion::parse).map_or(carbon::DEFAULT_PUE, |region| region.pue().value)
}

pub(in crate::cli) fn check_pue(text: &str) -> Result<Pue, CliError> {
    match text.trim().parse::<f64>() {
        Ok(ratio) if carbon::pue(ratio).is_ok() => Ok(Pue(ratio)),
        _ => Err(CliError::Argument {
            option: "--pue",
            value: text.into(),
            reason: format!("not a number from 1 to {}", carbon::PUE_MAX),
            advice: "give the site's energy over its machines' energy, such as 1.2, here or in CARBON_PUE"
                .into(),
        }),
    }
}
