//! The report of `carbon top --once`, JSON schema `carbon.top/1`.

use super::figures::interval;
use super::{AccountsRow, Context, DomainRow, Intensity};
use super::{domain_rows, grams_of, has_devices, nanoseconds, notes_of, quality_of, stddev_uj};
use crate::attribution::totals::{Totals, WorkloadTotal};
use crate::metadata::{Job, Known};
use crate::units::{CgroupId, CpuNanos, Microjoules};
use crate::window::{Class, WorkloadKey};
use crate::workload::{Identity, Located, Qos, Runtime, locate};
use jiff::Timestamp;
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Name and version of the schema.
pub const SCHEMA: &str = "carbon.top/1";

/// Who used how much, over one or more windows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Top {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Name of the machine.
    pub node: String,
    /// First edge.
    pub window_start: Timestamp,
    /// Last edge.
    pub window_end: Timestamp,
    /// Length of all windows, by the monotonic clock.
    pub duration_ns: u64,
    /// How many windows were added up.
    pub windows: u64,
    /// Uncertainty of the edges: the longest that one took.
    pub edge_width_ns: u64,
    /// How CPU time was taken.
    pub accounting: &'static str,
    /// Who static energy is shown to.
    pub static_policy: &'static str,
    /// How dynamic energy is split where it can be: `bank` or `cpu-time`.
    pub attribution: &'static str,
    /// Energy of the machine.
    pub domains: Vec<DomainRow>,
    /// Energy of the workloads, most first.
    pub workloads: Vec<WorkloadRow>,
    /// Workloads that rise and fall together: of these the sum is known better than any.
    pub sets: Vec<SetRow>,
    /// CPU time outside workloads.
    pub accounts: AccountsRow,
    /// Of the electricity.
    pub intensity: Intensity,
    /// Of the site.
    pub pue: f64,
    /// What else must be said.
    pub notes: Vec<String>,
}

/// A workload's part.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorkloadRow {
    /// Path of the cgroup below the root of its hierarchy; `null` where it is not known or there are several.
    pub cgroup: Option<String>,
    /// The kernel's id of the cgroup; `null` for the overflow.
    pub cgroup_id: Option<u64>,
    /// What the cgroup is, such as `container`, or `cgroup` where its path does not say; `kernel` (kernel threads), `root`
    /// (processes in the root cgroup), `run` or `overflow`.
    pub kind: &'static str,
    /// Short name.
    pub name: String,
    /// CPU time.
    pub cpu_ns: u64,
    /// Energy caused by running.
    pub dynamic_uj: u64,
    /// Its standard deviation.
    pub dynamic_stddev_uj: u64,
    /// Lower end of its 90 % interval.
    pub dynamic_low_uj: u64,
    /// Upper end of its 90 % interval.
    pub dynamic_high_uj: u64,
    /// Dynamic energy without that of accelerators per CPU second: watts of one CPU that does nothing else; `null` without CPU time.
    pub watts_per_cpu: Option<f64>,
    /// Lower end of its 90 % interval.
    pub watts_per_cpu_low: Option<f64>,
    /// Upper end of its 90 % interval.
    pub watts_per_cpu_high: Option<f64>,
    /// Of `dynamic_uj`: what comes from memory modules (dram), whose split is modelled; only where it has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dram_uj: Option<u64>,
    /// Cycles, where they were counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cycles: Option<u64>,
    /// Instructions, where they were counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instructions: Option<u64>,
    /// Accesses that missed the last cache, where they were counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub llc_misses: Option<u64>,
    /// Page faults, where they were counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page_faults: Option<u64>,
    /// Share of the static energy; 0 under the policy `separate`.
    pub static_uj: u64,
    /// The part of `dynamic_uj` that accelerators drew; only where there are some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_uj: Option<u64>,
    /// Idle energy of accelerators while it held them; neither dynamic nor static. Only where there are some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_uj: Option<u64>,
    /// CO2 equivalent of `dynamic_uj + static_uj`, and `held_uj` where it is there.
    pub grams: f64,
    /// The lower of meter and CPU time.
    pub quality: &'static str,
    /// What the path says; `null` where the path is not known, and of kernel threads.
    pub workload: Option<IdentityRow>,
    /// What an engine, the kubelet or Slurm says; only where one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known: Option<KnownRow>,
}

/// What an engine, the kubelet or Slurm says of a workload.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KnownRow {
    /// Which.
    pub source: &'static str,
    /// Name of the container.
    pub container: Option<String>,
    /// What it was made from.
    pub image: Option<String>,
    /// Of Kubernetes.
    pub namespace: Option<String>,
    /// Name of the pod.
    pub pod: Option<String>,
    /// Those that were asked for.
    pub labels: BTreeMap<String, String>,
    /// Of a job, and there only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<JobRow>,
}

/// What Slurm says of a job.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JobRow {
    /// As its user called it.
    pub name: Option<String>,
    /// Whose it is.
    pub user: Option<String>,
    /// Who pays for it.
    pub account: Option<String>,
    /// Where it was queued.
    pub partition: Option<String>,
}

impl From<Job> for JobRow {
    fn from(job: Job) -> Self {
        let Job { name, user, account, partition } = job;
        Self { name, user, account, partition }
    }
}

impl From<&Known> for KnownRow {
    fn from(known: &Known) -> Self {
        let Known { source, container, image, namespace, pod, labels, job } = known.clone();
        Self { source, container, image, namespace, pod, labels, job: job.map(Into::into) }
    }
}

/// What is known of a cgroup beside its path.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// What another of its processes' paths says, where that is more.
    pub identity: Option<Arc<Identity>>,
    /// What an engine, the kubelet or Slurm says.
    pub known: Option<Arc<Known>>,
}

/// What a cgroup's path says of its workload; `null` where it says nothing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IdentityRow {
    /// As of the identity, such as `container`.
    pub kind: &'static str,
    /// What made it.
    pub runtime: Option<&'static str>,
    /// The innermost container.
    pub container_id: Option<String>,
    /// With dashes.
    pub pod_uid: Option<String>,
    /// Of the pod.
    pub qos: Option<&'static str>,
    /// The innermost unit of systemd.
    pub unit: Option<String>,
    /// Of a batch system.
    pub job_id: Option<String>,
    /// Of the job.
    pub job_step: Option<String>,
    /// Of a virtual machine.
    pub vm_name: Option<String>,
    /// Whose it is.
    pub user_uid: Option<u32>,
}

impl From<Identity> for IdentityRow {
    fn from(identity: Identity) -> Self {
        Self {
            kind: identity.kind.as_str(),
            runtime: identity.runtime.map(Runtime::as_str),
            container_id: identity.container_id,
            pod_uid: identity.pod_uid,
            qos: identity.qos.map(Qos::as_str),
            unit: identity.unit,
            job_id: identity.job_id,
            job_step: identity.job_step,
            vm_name: identity.vm_name,
            user_uid: identity.user_uid,
        }
    }
}

/// Workloads that cannot be told apart.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SetRow {
    /// What measured them, such as `package`.
    pub domain: &'static str,
    /// Which one.
    pub device: String,
    /// Their names, as in `workloads`.
    pub names: Vec<String>,
    /// Their dynamic energy in this domain, of the windows in which they could not be told apart.
    pub dynamic_uj: u64,
    /// Its standard deviation.
    pub dynamic_stddev_uj: u64,
}

impl WorkloadRow {
    /// All kinds of energy together, in microjoules.
    pub fn energy_uj(&self) -> u64 {
        self.dynamic_uj.saturating_add(self.static_uj).saturating_add(self.held_uj.unwrap_or(0))
    }
}

impl Top {
    /// The report of `totals`. `path_of` gives a cgroup's path below the root of its hierarchy, if it is known.
    pub fn new<'p>(
        context: &Context<'_>,
        totals: &Totals,
        path_of: impl Fn(CgroupId) -> Option<&'p str>,
    ) -> Self {
        Self::with_names(context, totals, path_of, |_, _| Told::default())
    }

    /// As [`new`](Self::new); `told` says what else is known of a cgroup with a path.
    pub fn with_names<'p>(
        context: &Context<'_>,
        totals: &Totals,
        path_of: impl Fn(CgroupId) -> Option<&'p str>,
        told: impl Fn(CgroupId, &str) -> Told,
    ) -> Self {
        let devices = has_devices(totals);
        let mut workloads: Vec<WorkloadRow> = totals
            .workloads()
            .map(|(key, total)| {
                let path = path_of(key.cgroup);
                let told = path.filter(|_| key.class == Class::Tasks).map(|path| told(key.cgroup, path));
                row(context, key, total, path.map(str::to_owned), &told.unwrap_or_default(), devices)
            })
            .collect();
        tell_apart(&mut workloads);
        let sets = sets(totals, &workloads);
        workloads.sort_by(|left, right| {
            let most_first = |row: &WorkloadRow| Reverse((row.energy_uj(), row.cpu_ns));
            most_first(left).cmp(&most_first(right)).then_with(|| {
                (&left.name, left.cgroup_id, left.kind).cmp(&(&right.name, right.cgroup_id, right.kind))
            })
        });
        Self {
            schema: SCHEMA,
            node: context.node.clone(),
            window_start: context.start,
            window_end: context.end,
            duration_ns: nanoseconds(totals.duration()),
            windows: totals.windows(),
            edge_width_ns: nanoseconds(totals.edge_width()),
            accounting: context.rung.as_str(),
            static_policy: context.policy.as_str(),
            attribution: context.state.method().as_str(),
            domains: domain_rows(totals, context.state),
            workloads,
            sets,
            accounts: totals.accounts().into(),
            intensity: (&context.intensity).into(),
            pue: context.pue.0,
            notes: notes_of(context, totals),
        }
    }
}

fn row(
    context: &Context<'_>,
    key: WorkloadKey,
    total: &WorkloadTotal,
    path: Option<String>,
    told: &Told,
    devices: bool,
) -> WorkloadRow {
    let located = path.as_deref().map(|path| located(path, told.identity.as_deref()));
    let (kind, mut name) = kind_and_name(key, path.as_deref(), located.as_ref());
    let helper = located.as_ref().and_then(|located| located.identity.helper);
    if let Some(label) = told.known.as_ref().and_then(|known| known.label()).filter(|_| key.run.is_none()) {
        name = helper.map_or_else(|| label.clone(), |helper| format!("{label} ({helper})"));
    }
    let job = told.known.as_ref().and_then(|known| known.job.as_ref()?.name.as_ref());
    if let Some(job) = job.filter(|_| key.run.is_none()) {
        name = format!("{name} ({job})");
    }
    let kernel = key.class == Class::KernelThreads;
    let workload = located.filter(|_| !kernel).map(|located| located.identity.into());
    let overflow = key == WorkloadKey::OVERFLOW;
    let quality = quality_of(total, context.rung).as_str();
    let dynamic = total.dynamic_energy.joules();
    let (low, high) = interval(dynamic, total.uncertainty.stddev_uj() / 1e6, quality);
    // From whole microjoules, as they are printed.
    let (low, high) = (Microjoules::from_joules(low), Microjoules::from_joules(high));
    // An accelerator's energy has nothing to do with CPU time.
    let (by_cpu, uncertainty) = total.by_cpu();
    let by_cpu = by_cpu.joules();
    let (cpu_low, cpu_high) = interval(by_cpu, uncertainty.stddev_uj() / 1e6, quality);
    let whole = |joules: f64| Microjoules::from_joules(joules).joules();
    let [cycles, instructions, llc_misses, page_faults] = total.counts;
    // CPU time is exact beside it.
    let per_cpu = |joules: f64| (total.cpu > CpuNanos::ZERO).then(|| joules / total.cpu.seconds());
    WorkloadRow {
        cgroup: path,
        cgroup_id: (!overflow).then_some(key.cgroup.0),
        kind,
        name,
        cpu_ns: total.cpu.0,
        dynamic_uj: total.dynamic_energy.0,
        dynamic_stddev_uj: stddev_uj(total),
        dynamic_low_uj: low.0,
        dynamic_high_uj: high.0,
        watts_per_cpu: per_cpu(by_cpu),
        watts_per_cpu_low: per_cpu(whole(cpu_low)),
        watts_per_cpu_high: per_cpu(whole(cpu_high)),
        dram_uj: total.memory_energy.map(|energy| energy.0),
        cycles,
        instructions,
        llc_misses,
        page_faults,
        static_uj: total.static_energy.0,
        gpu_uj: devices.then_some(total.device_energy.0),
        held_uj: devices.then_some(total.held_energy.0),
        grams: grams_of(total.energy(), context).0,
        quality,
        workload,
        known: told.known.as_deref().map(Into::into),
    }
}

/// `rows` are in the order of the totals' workloads.
fn sets(totals: &Totals, rows: &[WorkloadRow]) -> Vec<SetRow> {
    let names: HashMap<WorkloadKey, &str> =
        totals.workloads().zip(rows).map(|((key, _), row)| (key, row.name.as_str())).collect();
    let mut sets: Vec<SetRow> = totals
        .sets()
        .iter()
        .map(|set| SetRow {
            domain: set.domain.kind.as_str(),
            device: set.domain.device.clone(),
            names: set.keys.iter().filter_map(|key| names.get(key).map(|name| (*name).to_owned())).collect(),
            dynamic_uj: set.dynamic_energy.0,
            dynamic_stddev_uj: Microjoules::from_joules(set.uncertainty.stddev_uj().ceil() / 1e6).0,
        })
        .collect();
    sets.sort_by(|left, right| {
        (Reverse(left.dynamic_uj), &left.names).cmp(&(Reverse(right.dynamic_uj), &right.names))
    });
    sets
}

/// Whose the cgroup at `path` is, where `told` is what its processes say of it.
pub(crate) fn located<'p>(path: &'p str, told: Option<&Identity>) -> Located<'p> {
    let by_path = locate(path);
    match told {
        Some(identity) => Located { identity: identity.clone(), ..by_path },
        None => by_path,
    }
}

pub(crate) fn kind_and_name(
    key: WorkloadKey,
    path: Option<&str>,
    located: Option<&Located<'_>>,
) -> (&'static str, String) {
    if key == WorkloadKey::OVERFLOW {
        return ("overflow", "overflow".to_owned());
    }
    if let Some(run) = key.run {
        return ("run", format!("run {}", run.0));
    }
    if key.class == Class::KernelThreads {
        return ("kernel", "kernel threads".to_owned());
    }
    if key.cgroup == CgroupId::ROOT || path == Some("/") {
        return ("root", "root".to_owned());
    }
    if let Some(Located { identity, inner }) = located
        && let Some(label) = identity.label()
    {
        // What is below a mere group is something of its own.
        let own = identity.kind.is_group() && !inner.is_empty();
        return (identity.kind.as_str(), if own { format!("{label}/{inner}") } else { label });
    }
    let name = path.and_then(|path| path.rsplit('/').find(|part| !part.is_empty()));
    ("cgroup", name.map_or_else(|| format!("cgroup {}", key.cgroup.0), str::to_owned))
}

/// Where two workloads have the same name, what is below the workload's own cgroup may tell them apart, and else the
/// whole path does.
fn tell_apart(rows: &mut [WorkloadRow]) {
    for row in same_names(rows) {
        let inner = row.cgroup.as_deref().map(|path| locate(path).inner).unwrap_or_default();
        if !inner.is_empty()
            && !["cgroup", "run", "kernel", "root"].contains(&row.kind)
            && !row.name.ends_with(inner)
        {
            row.name = format!("{}/{inner}", row.name);
        }
    }
    for row in same_names(rows) {
        match (&row.cgroup, row.kind) {
            (Some(path), "cgroup") => row.name.clone_from(path),
            (Some(path), _) => row.name = format!("{} in {path}", row.name),
            (None, _) => {}
        }
    }
}

/// Rows whose name another has too.
fn same_names(rows: &mut [WorkloadRow]) -> impl Iterator<Item = &mut WorkloadRow> {
    let mut uses: HashMap<String, usize> = HashMap::new();
    for row in rows.iter() {
        *uses.entry(row.name.clone()).or_default() += 1;
    }
    rows.iter_mut().filter(move |row| uses.get(&row.name).is_some_and(|uses| *uses > 1))
}
