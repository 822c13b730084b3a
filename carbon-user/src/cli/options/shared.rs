//! Options of all commands that measure: how, with which meters, where, and who the energy is shown to.

use super::meters::{check_sensors, meter};
use super::values::{check_duration, check_root, state_file};
use crate::attribution::Method;
use crate::attribution::static_policy::StaticPolicy;
use crate::carbon;
use crate::carbon::place::CloudRegion;
use crate::cli::args::{AccountingArg, AttributionArg, HierarchyArg, SharedArgs, StaticArg};
use crate::cli::error::CliError;
use crate::meters::{MeterChoice, NamedSensor};
use crate::sched::{HierarchyChoice, Rung};
use crate::sysroot::SysRoot;
use crate::units::Pue;
use std::path::PathBuf;
use std::time::Duration;

/// Shortest window. RAPL updates once a millisecond, so ten readings at least are in one.
pub(in crate::cli) const INTERVAL_MIN: Duration = Duration::from_millis(10);
/// Longest window. A 32-bit RAPL counter of 15.3 uJ wraps after 65.5 kJ: 131 s at 500 W.
pub(in crate::cli) const INTERVAL_MAX: Duration = Duration::from_mins(1);

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
