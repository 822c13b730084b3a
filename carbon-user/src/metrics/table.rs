//! The families: names, types, units and meaning, as data. docs/metrics.md is made from it.

use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use std::fmt::Write as _;

/// Type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Never falls, but for a restart; its series end in `_total`.
    Counter,
    /// A present value.
    Gauge,
    /// Always 1: its labels are what it says.
    Info,
    /// A counter or a gauge under another tool's name, which says neither.
    Unknown,
}

/// One family.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Without unit and suffix.
    pub stem: &'static str,
    /// Its type.
    pub kind: Type,
    /// The last word of the name before `_total`; empty for a plain number.
    pub unit: &'static str,
    /// One sentence, with its full stop.
    pub help: &'static str,
    /// The labels that a series may have.
    pub labels: &'static [&'static str],
}

/// Labels of a workload.
pub const WORKLOAD: &[&str] = &[
    "kind_of",
    "workload",
    "namespace",
    "pod",
    "container",
    "unit",
    "job_id",
    "vm",
    "domain",
    "device",
    "kind",
];

pub(super) const fn counter(
    stem: &'static str,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Family {
    Family { stem, kind: Type::Counter, unit, help, labels }
}

pub(super) const fn gauge(
    stem: &'static str,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Family {
    Family { stem, kind: Type::Gauge, unit, help, labels }
}

/// Declares each family under a name, and the list of all in the order of the page.
macro_rules! families {
    ($($name:ident = $family:expr;)*) => {
        $(#[expect(missing_docs, reason = "its help says it")] pub const $name: Family = $family;)*
        /// All of them, in the order in which they are written.
        pub const ALL: &[Family] = &[$($name),*];
    };
}

families! {
    NODE_ENERGY = counter("carbon_node_energy", "joules", &["domain", "device", "kind", "quality"],
        "Energy by domain of the node: dynamic (given to workloads), static (by idle power) and lost (given to nobody); their sum is what the meter showed.");
    METER_ENERGY = counter("carbon_meter_energy", "joules", &["meter", "domain", "device"],
        "Energy by domain as its meter or model showed it: dynamic, static and lost of carbon_node_energy_joules_total together, to the microjoule. The same joules once more, so the two are not to be added.");
    ENERGY_LOST = counter("carbon_energy_lost", "joules", &["reason"],
        "Energy that was metered and given to nobody, of all domains: kind=lost of carbon_node_energy_joules_total. Nothing ran, or no process was seen to use the accelerator. What a fault hid nobody knows: carbon_meter_gaps_total counts how often.");
    POWER_LIMIT = gauge("carbon_node_power_limit", "watts", &["domain", "device", "constraint"],
        "Limits of power that are set for a domain and on, as of the last minute: long_term, short_term and peak_power of a processor, enforced of an accelerator. Means over their own time windows; absent where none is known.");
    WORKLOAD_ENERGY = counter("carbon_workload_energy", "joules", WORKLOAD,
        "Energy by workload and domain; kind_of=other are workloads without a series, kind_of=ended what series showed that are no more.");
    WORKLOAD_CPU = counter("carbon_workload_cpu", "seconds",
        &["kind_of", "workload", "namespace", "pod", "container", "unit", "job_id", "vm"],
        "CPU time by workload, from the scheduler.");
    NAMESPACE_ENERGY = counter("carbon_namespace_energy", "joules", &["namespace", "domain", "device", "kind"],
        "Energy of workloads by namespace since the agent was started; the empty one holds all that has none.");
    WORKLOAD_EMISSIONS = counter("carbon_workload_emissions", "grams",
        &["kind_of", "workload", "namespace", "pod", "container", "unit", "job_id", "vm", "boundary", "basis"],
        "CO2 equivalent by workload since the agent was started: energy of all domains and kinds, times PUE, times the intensity in use then.");
    NAMESPACE_EMISSIONS = counter("carbon_namespace_emissions", "grams", &["namespace", "boundary", "basis"],
        "CO2 equivalent by namespace since the agent was started; the empty one holds all that has none.");
    GRID_INTENSITY = gauge("carbon_grid_intensity", "grams_per_kwh",
        &["zone", "year", "boundary", "basis", "source", "quality"],
        "Carbon intensity of electricity in use now; quality is yearly or hourly, or assumed where nobody said the place.");
    INTENSITY_AGE = gauge("carbon_intensity_age", "seconds", &["zone", "year", "quality"],
        "Time since the end of the year (UTC) that the carbon intensity in use is the mean of.");
    PUE = gauge("carbon_pue", "ratio", &[], "Energy of the site over energy of its machines, as it was given.");
    WORKLOAD_INFO = Family { stem: "carbon_workload", kind: Type::Info, unit: "",
        help: "What is known of a workload beside its sums, and the lowest quality of its energies; join by the label workload. Labels that --labels names are label_NAME.",
        labels: &["workload", "container_id", "pod_uid", "image", "runtime", "qos", "job_user", "job_name", "job_account", "job_partition", "quality"] };
    WORKLOADS = gauge("carbon_workloads", "", &["state"],
        "Workloads: tracked, exported with a series of their own, and unresolved (containers and pods whose name an engine or the kubelet should tell and has not).");
    CPU_LOST = counter("carbon_cpu_lost", "seconds", &["reason"],
        "CPU time that no workload was given: missed, or of workloads that did not fit in a full map (overflow).");
    EVENTS_LOST = counter("carbon_events_lost", "", &[], "Kernel events that did not fit in their buffer.");
    METER_UP = gauge("carbon_meter_up", "", &["meter", "domain", "device"],
        "Whether the domain could be read in the last window.");
    METER_ERRORS = counter("carbon_meter_errors", "", &["meter", "domain", "device"],
        "Times that a meter failed, however long each lasted.");
    METER_GAPS = counter("carbon_meter_gaps", "", &["meter", "domain", "device"],
        "Windows in which a fault hid energy that nobody knows.");
    WINDOW = gauge("carbon_window_duration", "seconds", &[], "Length of the last window.");
    WINDOWS = counter("carbon_windows", "", &[], "Windows closed.");
    WINDOWS_FAILED = counter("carbon_windows_failed", "", &[],
        "Windows that could not be closed; their time is in the next.");
    WINDOW_TARGET = gauge("carbon_window_target", "seconds", &[],
        "Length that windows are to have now: wider than was asked for while measuring costs too much.");
    OVERHEAD = gauge("carbon_overhead", "ratio", &[],
        "What measuring cost in the last window, as a part of the time of all CPUs.");
    OVERHEAD_LIMIT = gauge("carbon_overhead_limit", "ratio", &[], "What measuring may cost (max-overhead).");
    GOVERNOR = counter("carbon_governor_actions", "", &["action"],
        "Times that the agent made windows wider or narrower again, or took a cheaper way of accounting (fall).");
    ACCOUNTING = gauge("carbon_accounting", "", &["accounting"],
        "Which way of taking CPU time is in use: 1 for it and 0 for the others.");
    FLUSHES = counter("carbon_ledger_flushes", "", &[], "Minutes written to the ledger.");
    FLUSHES_WAITING = gauge("carbon_ledger_flushes_waiting", "", &[], "Minutes that wait to be written.");
    LEDGER_UP = gauge("carbon_ledger_up", "", &[], "Whether the ledger can be written.");
    NAMES_ERRORS = counter("carbon_metadata_errors", "", &["source"],
        "Times that a source of names of workloads (an engine, a runtime, the kubelet) refused or failed; one that is not there has not.");
    NAMES_DROPPED = counter("carbon_metadata_dropped", "questions", &[],
        "Questions for names that there was no room for: they are asked again while the workload is there.");
    PUSHES = counter("carbon_otlp_pushes", "", &["result"],
        "Pushes of these metrics to the receiver of --otlp: sent or failed.");
    PUSHES_REFUSED = counter("carbon_otlp_refused", "values", &[],
        "Values of pushes that the receiver took without these.");
    CLIENTS_REFUSED = counter("carbon_clients_refused", "", &["listener", "cause"],
        "Requests and connections that were refused or cut off, of the listener of these metrics and of the local API's socket: without the right token, malformed, too_large, slow, no_room (too many at once), more than the rate of a user, or asked for by another host's name.");
    RECOVERED = counter("carbon_energy_recovered", "joules", &[],
        "Energy of the time in which the agent did not run, given to workloads after a restart.");
    NODE_CPUS = gauge("carbon_node_cpus", "", &[], "CPUs that the agent sees.");
    AGENT_ENERGY = counter("carbon_agent_energy", "joules", &[], "Energy of the agent itself.");
    AGENT_KERNEL = counter("carbon_agent_kernel", "seconds", &[],
        "CPU time of its kernel programs, in the time of the tasks that they ran in; modelled.");
    PROCESS_CPU = counter("process_cpu", "seconds", &[], "CPU time of the agent's process.");
    PROCESS_START = gauge("process_start_time", "seconds", &[],
        "When the agent was started, in seconds of Unix time by the clock of then.");
    PROCESS_MEMORY = gauge("process_resident_memory", "bytes", &[], "Resident memory of the agent's process.");
    BUILD_INFO = Family { stem: "carbon_build", kind: Type::Info, unit: "",
        help: "The program, and how it accounts.",
        labels: &["version", "accounting", "attribution", "static_policy"] };
}

impl Family {
    /// With its unit and without the suffix that its type gives.
    pub fn base(&self) -> String {
        if self.unit.is_empty() { self.stem.to_owned() } else { format!("{}_{}", self.stem, self.unit) }
    }

    /// As series of it are called.
    pub fn name(&self) -> String {
        self.base() + self.suffix()
    }

    pub(super) fn suffix(&self) -> &'static str {
        match self.kind {
            Type::Counter => "_total",
            Type::Gauge | Type::Unknown => "",
            Type::Info => "_info",
        }
    }

    pub(super) fn metric_type(&self) -> MetricType {
        match self.kind {
            Type::Counter => MetricType::Counter,
            Type::Gauge => MetricType::Gauge,
            Type::Info => MetricType::Info,
            Type::Unknown => MetricType::Unknown,
        }
    }

    pub(super) fn open_metrics_unit(&self) -> Option<Unit> {
        (!self.unit.is_empty()).then(|| Unit::Other(self.unit.to_owned()))
    }
}

/// The page docs/metrics.md.
pub fn markdown() -> String {
    let mut page = include_str!("metrics_head.md").to_owned();
    page.push('\n');
    rows(&mut page, ALL);
    page.push_str(&super::aliases::markdown());
    page
}

/// A table of families.
pub(super) fn rows(page: &mut String, families: &[Family]) {
    page.push_str("| name | type | labels | meaning |\n|---|---|---|---|\n");
    for family in families {
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let kind = match family.kind {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
            Type::Info => "info",
            Type::Unknown => "unknown",
        };
        let _written =
            writeln!(page, "| `{}` | {kind} | {} | {} |", family.name(), labels.join(" "), family.help);
    }
}
