//! The report of `carbon model`, JSON schema `carbon.model/1`: what was learned, and how sure it is.

use super::experiments::ExperimentRow;
use super::figures::{METERED, MODELLED, interval, printable, significant, spread};
use super::table::{Style, arrange, empty_table, line, trimmed, wrapped};
use super::top::kind_and_name;
use super::{calibration::Found, domain_name};
use crate::attribution::Kept;
use crate::attribution::bank::{Experiment, Learned, MemberInsight, OwnWatts};
use crate::units::CgroupId;
use crate::window::WorkloadKey;
use crate::workload::locate;
use serde::Serialize;
use std::collections::BTreeMap;

/// Name and version of the schema.
pub const SCHEMA: &str = "carbon.model/1";
/// Members printed: the rest has next to no weight.
const MEMBERS_SHOWN: usize = 6;

/// What was learned of a machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Model {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The file that it is from.
    pub state: String,
    /// When that was written.
    pub saved_at: String,
    /// By domain.
    pub domains: Vec<DomainModel>,
}

/// Of one domain.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DomainModel {
    /// What it is, such as `package`.
    pub domain: &'static str,
    /// Which one.
    pub device: String,
    /// Windows that it was learned from.
    pub windows: u64,
    /// Rolling mean of the size of one-step errors, in watts.
    pub error_w: f64,
    /// Mean power meanwhile, forgotten in some minutes.
    pub mean_w: f64,
    /// Idle power in watts.
    pub p0_w: f64,
    /// Its standard deviation.
    pub p0_stddev_w: f64,
    /// Lower end of its 90 % interval.
    pub p0_low_w: f64,
    /// Upper end of its 90 % interval.
    pub p0_high_w: f64,
    /// Whether the data say anything of it.
    pub p0_identified: bool,
    /// What was believed of it beforehand.
    pub p0_prior_w: f64,
    /// Standard deviation of that.
    pub p0_prior_stddev_w: f64,
    /// Watts per CPU as believed after the first windows.
    pub watts_per_cpu_prior: f64,
    /// Part of a window by which the meter lags; `null` while that is not settled.
    pub lag_ratio: Option<f64>,
    /// Windows in which nearly nothing ran.
    pub idle_windows: u64,
    /// Mean power in these; `null` without any.
    pub idle_mean_w: Option<f64>,
    /// What `carbon calibrate` found; `null` where it was not run.
    pub calibration: Option<Found>,
    /// How much of what workloads' watts differ by is believed, 0 to 1: less than 1 where changes of power say so.
    pub own_trust_ratio: f64,
    /// Starts and stops of workloads, as they were predicted; `null` where there was none yet.
    pub experiments: Option<ExperimentRow>,
    /// The latest of them one by one, oldest first.
    pub experiments_recent: Vec<ExperimentDetail>,
    /// Most weight first.
    pub members: Vec<MemberRow>,
    /// Most watts per CPU first.
    pub workloads: Vec<OwnRow>,
    /// Names of workloads that rise and fall together, so that only the watts of their sum are known.
    pub sets: Vec<Vec<String>>,
}

/// One experiment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ExperimentDetail {
    /// Predicted change of power.
    pub predicted_w: f64,
    /// Standard deviation of that.
    pub stddev_w: f64,
    /// What came.
    pub measured_w: f64,
    /// Whether it is inside the 90 % interval.
    pub holds: bool,
}

/// One member of the bank.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MemberRow {
    /// Of power over use.
    pub shape: &'static str,
    /// Of own watts.
    pub drift: &'static str,
    /// 0 to 1.
    pub weight_ratio: f64,
    /// Log density of what came, forgotten slowly.
    pub score: f64,
    /// Rolling mean of the size of its one-step errors, in watts.
    pub error_w: f64,
    /// Its idle power.
    pub p0_w: f64,
    /// Its cost of leaving package idle.
    pub wake_w: f64,
}

/// One workload's watts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OwnRow {
    /// Path of the cgroup; `null` where it is not known.
    pub cgroup: Option<String>,
    /// The kernel's id of the cgroup.
    pub cgroup_id: u64,
    /// As in `carbon.top/1`.
    pub kind: &'static str,
    /// Short name.
    pub name: String,
    /// Watts per busy CPU, at 0.3 of the package in use.
    pub watts_per_cpu: f64,
    /// Its standard deviation.
    pub watts_per_cpu_stddev: f64,
    /// Lower end of its 90 % interval.
    pub watts_per_cpu_low: f64,
    /// Upper end of its 90 % interval.
    pub watts_per_cpu_high: f64,
}

impl Model {
    /// What a state file says.
    pub fn new(state: String, saved_at: String, kept: &[Kept], paths: &BTreeMap<CgroupId, String>) -> Self {
        let domains = kept.iter().map(|kept| domain(kept, paths)).collect();
        Self { schema: SCHEMA, state, saved_at, domains }
    }

    /// Of all domains, how many of the latest experiments there are, and how many of these held.
    pub fn held(&self) -> (usize, usize) {
        let all = || self.domains.iter().flat_map(|domain| &domain.experiments_recent);
        (all().count(), all().filter(|one| one.holds).count())
    }
}

fn domain(kept: &Kept, paths: &BTreeMap<CgroupId, String>) -> DomainModel {
    let learned: &Learned = &kept.learned;
    let power = learned.idle_power();
    let (p0_low_w, p0_high_w) = interval(power.p0.0, power.stddev.0, "measured");
    let idle = learned.evidence.idle;
    let name = |key: WorkloadKey| {
        let path = paths.get(&key.cgroup).map(String::as_str);
        kind_and_name(key, path, path.map(locate).as_ref())
    };
    let mut members: Vec<MemberRow> = learned.insight().into_iter().map(member).collect();
    members.sort_by(|one, other| other.weight_ratio.total_cmp(&one.weight_ratio));
    let own = |OwnWatts { key, per_cpu, stddev }| {
        let (kind, name) = name(key);
        let (low, high) = interval(per_cpu.0, stddev.0, "measured");
        OwnRow {
            cgroup: paths.get(&key.cgroup).cloned(),
            cgroup_id: key.cgroup.0,
            kind,
            name,
            watts_per_cpu: per_cpu.0,
            watts_per_cpu_stddev: stddev.0,
            watts_per_cpu_low: low,
            watts_per_cpu_high: high,
        }
    };
    let mut workloads: Vec<OwnRow> = learned.own_watts().into_iter().map(own).collect();
    workloads.sort_by(|one, other| {
        let most_first = other.watts_per_cpu.total_cmp(&one.watts_per_cpu);
        most_first.then_with(|| (&one.name, one.cgroup_id).cmp(&(&other.name, other.cgroup_id)))
    });
    DomainModel {
        domain: kept.kind.as_str(),
        device: kept.device.clone(),
        windows: learned.windows,
        error_w: learned.error().0,
        mean_w: learned.mean_w,
        p0_w: power.p0.0,
        p0_stddev_w: power.stddev.0,
        p0_low_w,
        p0_high_w,
        p0_identified: power.identified,
        p0_prior_w: learned.prior_p0_w,
        p0_prior_stddev_w: learned.prior_p0_stddev_w,
        watts_per_cpu_prior: learned.prior_watts_per_cpu,
        lag_ratio: learned.lag_ratio,
        idle_windows: idle.windows,
        idle_mean_w: (idle.windows > 0).then_some(idle.mean_w),
        calibration: learned.evidence.calibration.map(Into::into),
        own_trust_ratio: learned.trust.ratio(),
        experiments: learned.experiments.score().map(Into::into),
        experiments_recent: learned.experiments.recent().map(detail).collect(),
        members,
        workloads,
        sets: learned.together.iter().map(|set| set.iter().map(|key| name(*key).1).collect()).collect(),
    }
}

fn member(insight: MemberInsight) -> MemberRow {
    MemberRow {
        shape: insight.kind.shape.as_str(),
        drift: insight.kind.drift.as_str(),
        weight_ratio: insight.weight_ratio,
        score: insight.score,
        error_w: insight.error.0,
        p0_w: insight.p0.0,
        wake_w: insight.wake.0,
    }
}

fn detail(one: &Experiment) -> ExperimentDetail {
    let Experiment { predicted_w, measured_w, stddev_w } = *one;
    ExperimentDetail { predicted_w, stddev_w, measured_w, holds: one.holds() }
}

/// Workloads as CSV, one row each.
///
/// # Errors
/// None in practice: the text is made in memory.
pub fn csv(model: &Model) -> Result<String, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record([
        "domain",
        "device",
        "name",
        "kind",
        "cgroup",
        "cgroup_id",
        "watts_per_cpu",
        "watts_per_cpu_stddev",
        "watts_per_cpu_low",
        "watts_per_cpu_high",
    ])?;
    for domain in &model.domains {
        for row in &domain.workloads {
            writer.write_record([
                domain.domain,
                &printable(&domain.device),
                &printable(&row.name),
                row.kind,
                &printable(row.cgroup.as_deref().unwrap_or_default()),
                &row.cgroup_id.to_string(),
                &row.watts_per_cpu.to_string(),
                &row.watts_per_cpu_stddev.to_string(),
                &row.watts_per_cpu_low.to_string(),
                &row.watts_per_cpu_high.to_string(),
            ])?;
        }
    }
    let bytes = writer.into_inner().map_err(csv::IntoInnerError::into_error)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// As tables.
pub fn table(model: &Model, style: Style) -> String {
    let mut text = String::new();
    line(&mut text, &format!("learned until {} ({})", printable(&model.saved_at), printable(&model.state)));
    let mut text = wrapped(&text, style);
    for domain in &model.domains {
        text.push('\n');
        text.push_str(&wrapped(&summary(domain), style));
        let mut members = empty_table(style, &["MEMBER", "WEIGHT", "SCORE", "ERROR W", "P0 W", "WAKE W"]);
        for row in domain.members.iter().take(MEMBERS_SHOWN) {
            members.add_row([
                format!("{}/{}", row.shape, row.drift),
                format!("{} %", significant(100.0 * row.weight_ratio, 2)),
                format!("{:.1}", row.score),
                significant(row.error_w, 2),
                significant(row.p0_w, METERED),
                significant(row.wake_w, 2),
            ]);
        }
        arrange(&mut members, 1..=5, 0);
        text.push_str(&trimmed(&members));
        if domain.members.len() > MEMBERS_SHOWN {
            let rest: f64 = domain.members.iter().skip(MEMBERS_SHOWN).map(|row| row.weight_ratio).sum();
            let count = domain.members.len() - MEMBERS_SHOWN;
            line(&mut text, &format!("and {count} more with {} %", significant(100.0 * rest, 2)));
        }
        if domain.workloads.is_empty() {
            line(
                &mut text,
                "no workload's watts are known: cgroups have other ids since the last boot, or none was seen",
            );
            continue;
        }
        let mut workloads = empty_table(style, &["WORKLOAD", "W/CPU", "90 %"]);
        for row in &domain.workloads {
            workloads.add_row([
                printable(&row.name),
                significant(row.watts_per_cpu, 3),
                spread(row.watts_per_cpu, row.watts_per_cpu_stddev, "measured"),
            ]);
        }
        arrange(&mut workloads, 1..=2, 0);
        text.push_str(&trimmed(&workloads));
        for set in &domain.sets {
            let names: Vec<String> = set.iter().map(|name| printable(name)).collect();
            let said = format!("cannot be told apart, only their sum is known: {}", names.join(", "));
            text.push_str(&wrapped(&(said + "\n"), style));
        }
    }
    text
}

fn summary(domain: &DomainModel) -> String {
    let mut text = String::new();
    line(
        &mut text,
        &format!(
            "{}: {} windows, one-step error {} W of {} W",
            printable(&domain_name(domain.domain, &domain.device)),
            domain.windows,
            significant(domain.error_w, 2),
            significant(domain.mean_w, METERED)
        ),
    );
    let identified =
        if domain.p0_identified { "" } else { "; not identified: the data say next to nothing of it" };
    line(
        &mut text,
        &format!(
            "idle power {} W (90 %: {} W; beforehand {} W \u{b1}{}){identified}",
            significant(domain.p0_w, METERED),
            spread(domain.p0_w, domain.p0_stddev_w, "measured"),
            significant(domain.p0_prior_w, MODELLED),
            significant(1.645 * domain.p0_prior_stddev_w, MODELLED),
        ),
    );
    let idle = domain.idle_mean_w.map_or_else(
        || "no window was idle".to_owned(),
        |watts| format!("{} windows were idle, at {} W", domain.idle_windows, significant(watts, METERED)),
    );
    let calibration = domain.calibration.map_or_else(
        || "not calibrated".to_owned(),
        |found| {
            format!(
                "calibrated: {} W, waking {} W",
                significant(found.p0_w, METERED),
                significant(found.wake_w, 2)
            )
        },
    );
    line(&mut text, &format!("evidence: {idle}; {calibration}"));
    if let Some(lag) = domain.lag_ratio.filter(|lag| *lag > 0.0) {
        line(&mut text, &format!("the meter lags by {lag} of a window"));
    }
    if domain.own_trust_ratio < 1.0 {
        let percent = significant(100.0 * domain.own_trust_ratio, 2);
        let said = format!(
            "what workloads' watts differ by is believed to {percent} %: power changes by less than that"
        );
        line(&mut text, &said);
    }
    line(&mut text, &format!("natural experiments: {}", ExperimentRow::words(domain.experiments.as_ref())));
    text
}

/// How well starts and stops were predicted, as text.
pub fn self_test(model: &Model, style: Style) -> String {
    let mut text = String::new();
    for domain in &model.domains {
        let name = printable(&domain_name(domain.domain, &domain.device));
        let words = ExperimentRow::words(domain.experiments.as_ref());
        text.push_str(&wrapped(&format!("{name}: {words}\n"), style));
        if domain.experiments_recent.is_empty() {
            continue;
        }
        let mut table = empty_table(style, &["PREDICTED W", "90 %", "MEASURED W", "INSIDE"]);
        for one in &domain.experiments_recent {
            table.add_row([
                significant(one.predicted_w, 3),
                format!("\u{b1}{}", significant(1.645 * one.stddev_w, 2)),
                significant(one.measured_w, 3),
                if one.holds { "yes" } else { "no" }.to_owned(),
            ]);
        }
        arrange(&mut table, 0..=2, 3);
        text.push_str(&trimmed(&table));
    }
    text
}
