//! What goes into a ledger: stored types of its own, versioned with the schema.

use super::factor::Factor;
use super::sql::Row;
use crate::attribution::uncertainty::Uncertainty;
use crate::units::{CpuNanos, Microjoules, Quality};

/// Why energy was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EnergyKind {
    /// Caused by running.
    Dynamic,
    /// A share of what is drawn when idle.
    Static,
    /// What an accelerator draws when idle, while it was held: static energy of its domain, charged to its holders.
    Held,
}

impl EnergyKind {
    /// The word on every output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dynamic => "dynamic",
            Self::Static => "static",
            Self::Held => "held",
        }
    }

    pub(crate) fn code(self) -> i64 {
        match self {
            Self::Dynamic => 0,
            Self::Static => 1,
            Self::Held => 2,
        }
    }

    pub(crate) fn from_code(code: i64) -> Self {
        match code {
            0 => Self::Dynamic,
            2 => Self::Held,
            _ => Self::Static,
        }
    }

    /// By its word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Dynamic, Self::Static, Self::Held].into_iter().find(|kind| kind.as_str() == word)
    }
}

/// As kept: the lower, the less is known, so that the minimum is that of a sum.
pub(crate) fn quality_code(quality: Quality) -> i64 {
    match quality {
        Quality::Modelled => 0,
        Quality::Sampled => 1,
        Quality::Measured => 2,
    }
}

pub(crate) fn quality_of(code: i64) -> Quality {
    match code {
        2 => Quality::Measured,
        1 => Quality::Sampled,
        _ => Quality::Modelled,
    }
}

/// A quality by its word.
pub fn parse_quality(word: &str) -> Option<Quality> {
    [Quality::Modelled, Quality::Sampled, Quality::Measured]
        .into_iter()
        .find(|quality| quality.as_str() == word)
}

/// Who a workload is. What is not known of it is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Workload {
    /// Unique: the path of its cgroup, or what stands for one, such as `system/kernel`.
    pub identity: String,
    /// Such as `container`, `unit` or `cgroup`.
    pub kind: String,
    /// For people.
    pub name: String,
    /// Container's name, or its id where no name is known.
    pub container: Option<String>,
    /// Pod's name, or its uid where no name is known.
    pub pod: Option<String>,
    /// Kubernetes namespace.
    pub namespace: Option<String>,
    /// systemd unit.
    pub unit: Option<String>,
    /// Batch job.
    pub job: Option<String>,
    /// User's name, or the uid where no name is known.
    pub owner: Option<String>,
    /// Project.
    pub project: Option<String>,
    /// Name of the batch job.
    pub job_name: Option<String>,
    /// Who pays for the batch job.
    pub account: Option<String>,
    /// Whether container, pod and owner are ids: these stand in until a name is known, and never replace one. Not kept.
    pub ids: bool,
}

/// Which domain of a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DomainId {
    /// Such as `package`.
    pub domain: String,
    /// Such as `package-0`.
    pub device: String,
    /// The meter or model.
    pub source: String,
    /// Of the meter.
    pub quality: Quality,
}

/// Energy of a workload in a minute.
#[derive(Clone, Debug, PartialEq)]
pub struct EnergyRow {
    /// Whose.
    pub workload: Workload,
    /// From which domain.
    pub domain: DomainId,
    /// Why.
    pub kind: EnergyKind,
    /// By which it becomes grams.
    pub factor: Factor,
    /// The lower of meter and CPU time.
    pub quality: Quality,
    /// How much.
    pub energy: Microjoules,
    /// CPU time that it is by; none for static energy.
    pub cpu: CpuNanos,
    /// Of the energy.
    pub uncertainty: Uncertainty,
}

/// A domain in a minute: metered = attributed + static + lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BalanceRow {
    /// Which.
    pub domain: DomainId,
    /// How much of the minute the readings cover, in nanoseconds.
    pub covered_ns: u64,
    /// What the meter showed.
    pub metered: Microjoules,
    /// Given to workloads as dynamic energy.
    pub attributed: Microjoules,
    /// By idle power, whoever it is shown to: static and held energies of workloads are parts of it.
    pub static_energy: Microjoules,
    /// Given to nobody.
    pub lost: Microjoules,
    /// Windows in which a fault hid some energy.
    pub gaps: u64,
}

impl BalanceRow {
    /// Whether its parts are what was metered.
    pub fn balances(&self) -> bool {
        let parts = [self.attributed, self.static_energy, self.lost];
        parts.iter().map(|part| u128::from(part.0)).sum::<u128>() == u128::from(self.metered.0)
    }
}

/// One minute of one node, to be written whole or not at all.
#[derive(Clone, Debug, PartialEq)]
pub struct Flush {
    /// Name of the machine.
    pub node: String,
    /// Unique for the node: a second flush of the same name is not written.
    pub name: String,
    /// Unix time of the minute's start.
    pub start_s: i64,
    /// Energies.
    pub rows: Vec<EnergyRow>,
    /// Domains.
    pub balances: Vec<BalanceRow>,
}

/// How a run ended, or did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunStatus {
    /// It has not ended, or carbon was killed before it did.
    Running,
    /// By itself, with status 0.
    Done,
    /// By itself, with another status.
    Failed,
    /// By a signal.
    Killed,
}

impl RunStatus {
    /// The word on every output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Killed => "killed",
        }
    }

    /// By its word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Running, Self::Done, Self::Failed, Self::Killed].into_iter().find(|it| it.as_str() == word)
    }
}

/// What is known of a run before it begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunStart {
    /// UUID of version 7: in the order of time.
    pub id: String,
    /// Name of the machine.
    pub node: String,
    /// Who pays.
    pub organisation: Option<String>,
    /// What for.
    pub project: Option<String>,
    /// Which question.
    pub experiment: Option<String>,
    /// Its own name.
    pub name: Option<String>,
    /// The id that repeats of one command share.
    pub series: Option<String>,
    /// Free words.
    pub tags: Vec<String>,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Unix time in microseconds.
    pub start_us: i64,
}

/// What is known of it at its end.
#[derive(Clone, Debug, PartialEq)]
pub struct RunEnd {
    /// How.
    pub status: RunStatus,
    /// As `carbon run` gave it on.
    pub exit_status: i64,
    /// Unix time in microseconds.
    pub end_us: i64,
    /// By the monotonic clock.
    pub duration_ns: u64,
    /// Processes of its tree that were still there.
    pub outlived_by: u64,
    /// CPU time of the whole tree.
    pub cpu: CpuNanos,
    /// How CPU time was taken.
    pub accounting: String,
    /// How energy was split.
    pub attribution: String,
    /// Who static energy is shown to.
    pub static_policy: String,
    /// The machine in words.
    pub hardware: String,
    /// The whole report, as JSON.
    pub report: String,
    /// Energies.
    pub energies: Vec<RunEnergy>,
    /// The machine's domains meanwhile.
    pub domains: Vec<BalanceRow>,
}

/// Energy of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunEnergy {
    /// Why.
    pub kind: EnergyKind,
    /// By which it becomes grams.
    pub factor: Factor,
    /// The factor that was recorded first, where `factor` became known after the run.
    pub recorded: Option<Factor>,
    /// The lower of meter and CPU time.
    pub quality: Quality,
    /// How much.
    pub energy: Microjoules,
    /// Standard deviation in microjoules.
    pub stddev_uj: f64,
}

/// Columns of a workload in the order of [`workload_of`].
pub(crate) const WORKLOAD_COLUMNS: &str =
    "identity, kind, name, container, pod, namespace, unit, job, owner, project, job_name, account";

pub(crate) fn workload_of(row: &Row, first: usize) -> Workload {
    Workload {
        identity: row.text(first),
        kind: row.text(first + 1),
        name: row.text(first + 2),
        container: row.opt_text(first + 3),
        pod: row.opt_text(first + 4),
        namespace: row.opt_text(first + 5),
        unit: row.opt_text(first + 6),
        job: row.opt_text(first + 7),
        owner: row.opt_text(first + 8),
        project: row.opt_text(first + 9),
        job_name: row.opt_text(first + 10),
        account: row.opt_text(first + 11),
        ids: false,
    }
}
