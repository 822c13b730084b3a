//! The commands, the options of the agent, and formats, as they are written. The options of each other command stand with it;
//! what they mean is checked before anything is opened, as [`options`](super::options) says.

use super::advise::AdviseArgs;
use super::calibrate_options::CalibrateArgs;
use super::dashboard::DashboardArgs;
use super::doctor::options::DoctorArgs;
use super::explain::ExplainArgs;
use super::here::HereArgs;
use super::intensity::IntensityArgs;
use super::ledger_command::LedgerArgs;
use super::model::ModelArgs;
use super::options::SharedArgs;
use super::replay::ReplayArgs;
use super::report_args::ReportArgs;
use super::run_options::RunArgs;
use super::runs_args::RunsArgs;
use super::serve_args::{ImportArgs, ServeArgs};
use super::store::StoreArgs;
use super::top_options::TopArgs;
use super::track::options::TrackArgs;
use clap::{Args, Parser, Subcommand, ValueEnum};
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
    /// Where Slurm's prolog leaves its notes of jobs.
    #[arg(long, value_name = "DIR", default_value = crate::metadata::SLURM_DIR)]
    pub slurm_dir: PathBuf,
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

/// Formats of a report that has lists in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RunFormat {
    /// For people.
    Table,
    /// For programs; documented and stable.
    Json,
}

/// Formats of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// For people.
    Table,
    /// For programs; documented and stable.
    Json,
    /// One row each.
    Csv,
    /// For a page of text.
    Markdown,
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
