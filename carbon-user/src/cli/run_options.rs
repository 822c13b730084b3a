//! Options of `carbon run`.

use super::args::RunFormat;
use super::error::CliError;
use super::here::HereArgs;
use super::live_values::LiveArgs;
use super::options::{Measuring, SharedArgs, check_name, measuring, state_file};
use super::run_agent::ByAgent;
use super::run_entry::EntryOptions;
use super::serve_args::ServerArgs;
use super::store::StoreArgs;
use clap::Args;
use std::ffi::OsString;
use std::path::PathBuf;

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

/// What `carbon run` writes of a run besides its project.
#[derive(Args, Clone, Debug, Default)]
pub struct EntryArgs {
    /// Where the run is recorded.
    #[command(flatten)]
    pub store: StoreArgs,
    /// Do not record the run, whatever --store or `CARBON_STORE` say.
    #[arg(long)]
    pub no_store: bool,
    /// The organisation that the run is booked to.
    #[arg(long, env = "CARBON_ORGANISATION", value_name = "NAME")]
    pub organisation: Option<String>,
    /// The experiment that the run belongs to.
    #[arg(long, value_name = "NAME")]
    pub experiment: Option<String>,
    /// A name for the run itself.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// A word to find the run by; may be given more than once.
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// Intensities by time, as CSV: `start,end,g_per_kwh,signal,boundary,method`. Where it has no value, the place's yearly
    /// average holds, and that is said.
    #[arg(long, value_name = "FILE", conflicts_with = "live")]
    pub intensity_file: Option<PathBuf>,
    /// Live intensities.
    #[command(flatten)]
    pub live: LiveArgs,
    /// Status 1 if the command used more than this, such as 50J, 1.5kJ or 2Wh; of repeats, their mean.
    #[arg(long, value_name = "ENERGY", allow_hyphen_values = true)]
    pub max_energy: Option<String>,
    /// Run the command so many times, each recorded, and report the mean.
    #[arg(long, value_name = "TIMES", default_value_t = 1)]
    pub repeat: u32,
    /// Where the run is sent when the command has ended.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `carbon run`, checked.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// How to measure.
    pub measuring: Measuring,
    /// The project that the run is booked to.
    pub project: Option<String>,
    /// Whether the place is asked for.
    pub here: HereArgs,
    /// Whether no socket is opened for it.
    pub offline: bool,
    /// What is recorded, and where.
    pub entry: EntryOptions,
    /// Wait for the last process of the tree.
    pub wait_all: bool,
    /// Whether an agent measures.
    pub by_agent: ByAgent,
    /// How the report is written.
    pub format: RunFormat,
    /// Where the report goes, if not to stderr.
    pub output: Option<PathBuf>,
    /// Program and arguments; never empty.
    pub command: Vec<OsString>,
}

impl RunOptions {
    /// Checks what was written.
    pub(super) fn check(args: RunArgs) -> Result<Self, CliError> {
        let RunArgs { project, wait_all, agent, no_agent, format, entry, here, shared, command } = args;
        let offline = entry.live.offline;
        if let Some(project) = &project {
            check_name("--project", project)?;
        }
        let entry = EntryOptions::check(entry, shared.zone.as_deref())?;
        let output = shared.output.clone();
        let measuring = measuring(shared)?;
        if measuring.static_policy.needs_claims() {
            return Err(CliError::Argument {
                option: "--static",
                value: measuring.static_policy.to_string(),
                reason: "a command is in the cgroup of others, and asks for nothing of its own".into(),
                advice: "give separate or proportional, or use \"carbon top\"".into(),
            });
        }
        let given = agent.filter(|path| !path.as_os_str().is_empty());
        let by_agent = match given {
            _ if no_agent => ByAgent::No,
            None => ByAgent::Usual,
            Some(path) => state_file(path).map_or(ByAgent::No, ByAgent::At),
        };
        Ok(Self { measuring, project, here, offline, entry, wait_all, by_agent, format, output, command })
    }
}

#[cfg(test)]
mod tests {
    use crate::attribution::Method;
    use crate::cli::options::{Options, parse_words};
    use crate::sched::Rung;
    use crate::units::Pue;
    use std::time::Duration;

    #[test]
    fn a_run_is_checked() {
        let Options::Run(run) =
            parse_words("carbon run -p thesis --pue 1.25 --accounting cpustat -- env -i --help").unwrap()
        else {
            panic!("not a run")
        };
        assert_eq!(run.command, ["env", "-i", "--help"]);
        assert_eq!(run.project.as_deref(), Some("thesis"));
        assert_eq!((run.measuring.pue, run.measuring.accounting), (Pue(1.25), Some(Rung::CpuStat)));
        assert_eq!(run.measuring.interval, Duration::from_secs(1));
        assert_eq!(run.measuring.attribution, Method::Bank);
    }

    #[test]
    fn options_end_where_the_command_begins() {
        let Options::Run(run) = parse_words("carbon run ls --quiet").unwrap() else { panic!("not a run") };
        assert_eq!(run.command, ["ls", "--quiet"]);
        assert!(!run.measuring.quiet);
    }
}
