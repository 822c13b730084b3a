//! The command line as it is written. What it means is checked in [`options`](super::options).

use super::here::HereArgs;
use super::ledger_args::{
    AdviseArgs, DashboardArgs, EntryArgs, ExplainArgs, IntensityArgs, LedgerArgs, ReportArgs, RunsArgs,
    StoreArgs,
};
use super::serve_args::{ImportArgs, ServeArgs};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

const RUN_STATUS: &str = "\
Exit status:
  the command's own; 128 + n if signal n ended it
  125  carbon itself failed, before the command was started or while the report was written
  126  the command was found and cannot be executed
  127  the command was not found

Signals: what the terminal sends (Ctrl-C, Ctrl-\\, Ctrl-Z) reaches the command without help, and carbon stays to \
report. SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGCONT, and SIGINT, SIGQUIT and SIGWINCH sent by a process, are passed \
on to the command.";

const OTHER_STATUS: &str = "\
Exit status:
  0  done
  1  the answer is no
  2  usage or configuration
  3  cannot measure";

/// Where what is learned is kept.
pub const STATE_FILE: &str = "/var/lib/carbon/state.json";

/// Where the agent goes on after a restart.
pub const RESUME_FILE: &str = "/var/lib/carbon/agent.json";

/// Which container, job or experiment used this energy, and what did it emit?
#[derive(Debug, Parser)]
#[command(name = "carbon", version, about, max_term_width = 100, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a command and report the energy and CO2e of it and of all that it starts.
    #[command(after_help = RUN_STATUS)]
    Run(Box<RunArgs>),
    /// Show energy and CO2e by cgroup, live or once.
    #[command(after_help = OTHER_STATUS)]
    Top(TopArgs),
    /// Show what was learned of this machine and its workloads, and how sure it is.
    #[command(after_help = OTHER_STATUS)]
    Model(ModelArgs),
    /// Attribute recorded windows again, as they were or in another way.
    #[command(after_help = OTHER_STATUS)]
    Replay(ReplayArgs),
    /// Find idle power, wake cost and curve of an idle machine by short bursts of load.
    #[command(after_help = OTHER_STATUS)]
    Calibrate(CalibrateArgs),
    /// Say what can be measured on this machine, why not, and what to do.
    #[command(after_help = OTHER_STATUS)]
    Doctor(DoctorArgs),
    /// Report energy and CO2e from the ledger.
    #[command(after_help = OTHER_STATUS)]
    Report(Box<ReportArgs>),
    /// List, show, add up, compare and export recorded runs.
    #[command(after_help = OTHER_STATUS)]
    Runs(RunsArgs),
    /// Check, compact, export and import the ledger.
    #[command(after_help = OTHER_STATUS)]
    Ledger(LedgerArgs),
    /// Say how a run's grams come from the meter's readings.
    #[command(after_help = OTHER_STATUS)]
    Explain(ExplainArgs),
    /// Rank the regions of a cloud for the same work.
    #[command(after_help = OTHER_STATUS)]
    Advise(AdviseArgs),
    /// Measure this machine from now on: minutes to the ledger, sums for others to read.
    #[command(after_help = OTHER_STATUS)]
    Agent(Box<AgentArgs>),
    /// Say the carbon intensity of a place, and where it is from.
    #[command(after_help = OTHER_STATUS)]
    Intensity(IntensityArgs),
    /// Measure a process that runs already, for a program that asks on standard input, in lines of JSON.
    #[command(after_help = OTHER_STATUS)]
    Track(TrackArgs),
    /// Show the ledger in a browser: power, workloads, runs, regions, and how good the data are.
    #[command(after_help = OTHER_STATUS)]
    Dashboard(DashboardArgs),
    /// A team's server: runs are posted to it and read from it, by CodeCarbon's client too.
    #[command(after_help = OTHER_STATUS)]
    Serve(Box<ServeArgs>),
    /// Take in what CodeCarbon has measured until now: an emissions.csv, or the history of its server.
    #[command(after_help = OTHER_STATUS)]
    Import(Box<ImportArgs>),
}

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

/// `carbon run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// The project that the run is booked to.
    #[arg(long, short, value_name = "PROJECT")]
    pub project: Option<String>,
    /// Wait for the last process of the tree, not only for the command.
    #[arg(long)]
    pub wait_all: bool,
    /// Have the agent measure that listens here; without this, that at /run/carbon/carbon.sock does for those who are not root.
    #[arg(long, env = "CARBON_SOCKET", value_name = "PATH")]
    pub agent: Option<PathBuf>,
    /// Measure without an agent.
    #[arg(long)]
    pub no_agent: bool,
    /// How the report is written.
    #[arg(long, value_enum, default_value_t = RunFormat::Table)]
    pub format: RunFormat,
    /// What is recorded, and where.
    #[command(flatten)]
    pub entry: EntryArgs,
    /// Where it runs.
    #[command(flatten)]
    pub here: HereArgs,
    /// Shared options.
    #[command(flatten)]
    pub shared: SharedArgs,
    /// The command and its arguments.
    #[arg(trailing_var_arg = true, required = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// `carbon track`.
#[derive(Args, Debug)]
pub struct TrackArgs {
    /// The process, with all that descends from it [default: the one that started this].
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
    /// Where runs are recorded.
    #[command(flatten)]
    pub store: StoreArgs,
    /// Shared options.
    #[command(flatten)]
    pub shared: SharedArgs,
}

/// `carbon top`.
#[derive(Args, Debug)]
pub struct TopArgs {
    /// Measure once, print, and end; for scripts.
    #[arg(long)]
    pub once: bool,
    /// With --once: how long to measure [default: 5s].
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub duration: Option<String>,
    /// How the report is written; json and csv with --once.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Rows of the table; the rest is added up; of a tree, groups of the first level [default: all].
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Count events by cgroup too, at most three, by a program on every context switch. Memory's energy is split by
    /// llc-misses where they are counted.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "EVENTS")]
    pub counters: Vec<CounterArg>,
    /// Share of all CPU time that measuring may cost; above it windows get wider, then accounting cheaper.
    #[arg(long, value_name = "PERCENT", default_value = "0.5", allow_negative_numbers = true)]
    pub max_overhead: String,
    /// Whether engines on this machine (Docker, Podman, containerd, CRI-O) are asked for names of containers, by their
    /// local sockets.
    #[arg(long, value_enum, default_value_t = MetadataArg::Auto, value_name = "WHETHER")]
    pub metadata: MetadataArg,
    /// Write all windows to this file too, for carbon replay.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// With --record: bytes that it may take; it ends there [default: 256MiB].
    #[arg(long, value_name = "BYTES", requires = "record")]
    pub record_limit: Option<String>,
    /// Shared options.
    #[command(flatten)]
    pub shared: SharedArgs,
}

/// `carbon agent`.
#[derive(Args, Debug)]
pub struct AgentArgs {
    /// Options in TOML, by the names of these; the environment, as `CARBON_INTERVAL`, and options given here are above it
    /// [default: /etc/carbon/agent.toml, if it is there].
    #[arg(long, env = "CARBON_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where it runs.
    #[command(flatten)]
    pub here: HereArgs,
    /// With --here: open no socket for it.
    #[arg(long, env = "CARBON_OFFLINE", num_args = 0..=1, require_equals = true, default_value = "false",
          default_missing_value = "true", value_name = "BOOL", value_parser = super::options::yes_or_no)]
    pub offline: bool,
    /// Where minutes are written.
    #[command(flatten)]
    pub store: StoreArgs,
    /// How often they are, at most 1m; each minute of the clock for itself.
    #[arg(long, default_value = "1m", value_name = "DURATION", allow_hyphen_values = true)]
    pub flush: String,
    /// Share of all CPU time that measuring may cost; above it windows get wider, then accounting cheaper.
    #[arg(long, value_name = "PERCENT", default_value = "0.5", allow_negative_numbers = true)]
    pub max_overhead: String,
    /// Where the last readings and the sums are kept, for a restart to go on from, or none.
    #[arg(long, value_name = "FILE", default_value = RESUME_FILE)]
    pub resume: PathBuf,
    /// Workloads with sums of their own; the rest share one.
    #[arg(long, value_name = "N", default_value = "1000", allow_negative_numbers = true)]
    pub series: String,
    /// Where /metrics, /healthz and /readyz are served, or none; what others can reach needs --listen-token.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9488")]
    pub listen: String,
    /// A file with the bearer token that readers of /metrics must show; read again on SIGHUP.
    #[arg(long, value_name = "FILE")]
    pub listen_token: Option<PathBuf>,
    /// Where clients on this machine ask for what their own processes use, or none [default: /run/carbon/carbon.sock for root,
    /// else none].
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Who may connect there, in octal.
    #[arg(long, value_name = "MODE", default_value = "0666")]
    pub socket_mode: String,
    /// A file with the certificates that /metrics is served with, in PEM: https; read again on SIGHUP.
    #[arg(long, value_name = "FILE", requires = "listen_key")]
    pub listen_cert: Option<PathBuf>,
    /// A file with the key of the first of them, in PEM.
    #[arg(long, value_name = "FILE", requires = "listen_cert")]
    pub listen_key: Option<PathBuf>,
    /// Whether the dashboard is served at --listen too: what is in the ledger, and what is measured now.
    #[arg(long, value_enum, default_value_t = DashboardArg::Off, value_name = "WHETHER")]
    pub dashboard: DashboardArg,
    /// Capabilities that are kept while it runs: auto, all, none, or names such as bpf,perfmon.
    #[arg(long, value_name = "WHICH", default_value = "auto")]
    pub capabilities: String,
    /// Workloads with series of their own on /metrics; the rest share one.
    #[arg(long, value_name = "N", default_value = "200", allow_negative_numbers = true)]
    pub metrics_series: String,
    /// Other tools under whose names the sums are shown on /metrics too: kepler, scaphandre, or both with a comma.
    #[arg(long, value_name = "TOOLS", default_value = "none")]
    pub metric_aliases: String,
    /// The URL of an OTLP receiver for HTTP that the metrics are pushed to, such as <http://127.0.0.1:4318>; /v1/metrics is
    /// added.
    #[arg(long, value_name = "URL")]
    pub otlp: Option<String>,
    /// How often they are pushed.
    #[arg(long, default_value = "15s", value_name = "DURATION", allow_hyphen_values = true)]
    pub otlp_interval: String,
    /// A file with the bearer token that the receiver wants to see.
    #[arg(long, value_name = "FILE", requires = "otlp")]
    pub otlp_token: Option<PathBuf>,
    /// A file with the certificates that the receiver's is signed with.
    #[arg(long, value_name = "FILE", requires = "otlp")]
    pub otlp_ca: Option<PathBuf>,
    /// What this machine is called in the ledger and in metrics [default: its host name].
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// Whether engines on this machine (Docker, Podman, containerd, CRI-O) are asked for names of containers, by their
    /// local sockets.
    #[arg(long, value_enum, default_value_t = MetadataArg::Auto, value_name = "WHETHER")]
    pub metadata: MetadataArg,
    /// The URL of this node's kubelet, to be asked for names of pods: it listens on port 10250.
    #[arg(long, value_name = "URL")]
    pub kubelet: Option<String>,
    /// A file with the token that the kubelet wants to see.
    #[arg(long, value_name = "FILE", requires = "kubelet")]
    pub kubelet_token: Option<PathBuf>,
    /// A file with the certificates that the kubelet's is signed with.
    #[arg(long, value_name = "FILE", requires = "kubelet")]
    pub kubelet_ca: Option<PathBuf>,
    /// Labels of containers and pods that `carbon_workload_info` shows, with commas, such as app.kubernetes.io/name as
    /// `label_app_kubernetes_io_name`; no other is kept.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub labels: Vec<String>,
    /// A directory in which each virtual machine of this node finds its share of the energy, as a powercap tree that a
    /// carbon inside takes for its --sysfs-root.
    #[arg(long, value_name = "DIR")]
    pub share_with_vms: Option<PathBuf>,
    /// Shared options.
    #[command(flatten)]
    pub shared: SharedArgs,
}

/// `carbon model`.
#[derive(Args, Debug)]
pub struct ModelArgs {
    /// Where what was learned is kept.
    #[arg(long, env = "CARBON_STATE", value_name = "FILE", default_value = STATE_FILE)]
    pub state: PathBuf,
    /// How well starts and stops of workloads were predicted, one by one; status 1 where the 90 % interval held less
    /// than 70 % of them.
    #[arg(long)]
    pub self_test: bool,
    /// How it is written.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Write it to this file, whole or not at all.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Where sysfs is mounted.
    #[arg(long, default_value = "/sys", value_name = "DIR")]
    pub sysfs_root: PathBuf,
}

/// `carbon replay`.
#[derive(Args, Debug)]
pub struct ReplayArgs {
    /// What carbon top --record has written.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// How the energy of running is split [default: as it was].
    #[arg(long, value_enum, value_name = "HOW")]
    pub attribution: Option<AttributionArg>,
    /// Who the energy drawn even when idle is shown to [default: as it was].
    #[arg(long = "static", value_enum, value_name = "POLICY")]
    pub static_policy: Option<StaticArg>,
    /// Where the electricity was used [default: as it was].
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,
    /// Energy of the whole site over the energy of its machines [default: as it was].
    #[arg(long, value_name = "RATIO", allow_negative_numbers = true)]
    pub pue: Option<String>,
    /// How the report is written.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Rows of the table; the rest is added up.
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Write the report to this file, whole or not at all.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

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

/// `--meter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MeterArg {
    /// The best that works here.
    Auto,
    /// Counters of the powercap class in sysfs (RAPL).
    Powercap,
    /// The same counters by perf events.
    Perf,
    /// Sensors of the board and of processors without RAPL.
    Hwmon,
    /// Watts by CPU model and use, for machines without a meter.
    Model,
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

/// `--counters`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CounterArg {
    /// Cycles of the processor's clock.
    Cycles,
    /// Instructions.
    Instructions,
    /// Accesses that the last cache did not hold.
    LlcMisses,
    /// Page faults.
    PageFaults,
}

/// `--dashboard`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DashboardArg {
    /// Whoever may read metrics may read the ledger too, with the command lines of runs.
    On,
    /// Metrics alone.
    Off,
}

/// `--metadata`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MetadataArg {
    /// Those that are there and may be asked.
    Auto,
    /// Nobody: names are told from paths alone.
    Off,
}

/// `--attribution`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AttributionArg {
    /// By learned watts.
    Bank,
    /// By CPU time.
    CpuTime,
}

/// Formats of a report that has lists in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RunFormat {
    /// For people.
    Table,
    /// For programs; documented and stable.
    Json,
}

/// Formats of a report that is one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs; documented and stable.
    Json,
    /// One row per workload.
    Csv,
}
