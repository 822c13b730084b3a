//! Checked options: everything that can be wrong with a command line is found here, before anything is opened.

mod agent;
mod learned;
mod meters;

pub use agent::AgentOptions;
pub use learned::{CalibrateOptions, ModelOptions, RecordOptions, ReplayOptions};

use super::args::{
    AccountingArg, AttributionArg, Cli, Command, CounterArg, DoctorArgs, Format, HierarchyArg, MetadataArg,
    RunArgs, RunFormat, SharedArgs, StaticArg, TopArgs, TrackArgs,
};
use super::error::CliError;
use super::here::HereArgs;
use super::ledger_args::{
    AdviseArgs, DashboardArgs, ExplainArgs, IntensityArgs, LedgerArgs, ReportArgs, RunsArgs,
};
use super::run_agent::ByAgent;
use super::run_entry::EntryOptions;
use super::serve_args::{ImportArgs, ServeArgs};
use super::store::Chosen;
use crate::attribution::Method;
use crate::attribution::static_policy::StaticPolicy;
use crate::carbon;
use crate::carbon::place::CloudRegion;
use crate::meters::{MeterChoice, NamedSensor};
use crate::sched::{HierarchyChoice, Rung};
use crate::sysroot::SysRoot;
use crate::units::Pue;
use crate::window::counts::{COUNTERS_MAX, CounterKind};
use clap::Parser;
use clap::error::ErrorKind;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Shortest window. RAPL updates once a millisecond, so ten readings at least are in one.
const INTERVAL_MIN: Duration = Duration::from_millis(10);
/// Longest window. A 32-bit RAPL counter of 15.3 uJ wraps after 65.5 kJ: 131 s at 500 W.
const INTERVAL_MAX: Duration = Duration::from_mins(1);
/// Shortest `--balance`: a hundred ticks.
const BALANCE_MIN: Duration = Duration::from_secs(1);
/// Longest `--once`: what takes longer wants the ledger of an agent.
const DURATION_MAX: Duration = Duration::from_hours(24);
const PROJECT_CHARACTERS_MAX: usize = 128;

/// A command, ready to run.
#[derive(Debug)]
pub enum Options {
    /// `carbon run`.
    Run(Box<RunOptions>),
    /// `carbon top`.
    Top(TopOptions),
    /// `carbon model`.
    Model(ModelOptions),
    /// `carbon replay`.
    Replay(ReplayOptions),
    /// `carbon calibrate`.
    Calibrate(CalibrateOptions),
    /// `carbon doctor`.
    Doctor(DoctorOptions),
    /// `carbon report`; checked where it is done.
    Report(Box<ReportArgs>),
    /// `carbon runs`; checked where it is done.
    Runs(RunsArgs),
    /// `carbon ledger`.
    Ledger(LedgerArgs),
    /// `carbon explain`.
    Explain(ExplainArgs),
    /// `carbon advise`; checked where it is done.
    Advise(AdviseArgs),
    /// `carbon agent`.
    Agent(Box<AgentOptions>),
    /// `carbon intensity`.
    Intensity(IntensityArgs),
    /// `carbon track`.
    Track(Box<TrackOptions>),
    /// `carbon dashboard`; checked where it is done.
    Dashboard(DashboardArgs),
    /// `carbon serve`; checked where it is done.
    Serve(Box<ServeArgs>),
    /// `carbon import`; checked where it is done.
    Import(Box<ImportArgs>),
    /// Help or the version was asked for and has been printed.
    Shown,
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
    pub(super) fn set_zone(&mut self, zone: String) {
        if !self.pue_given {
            self.pue = default_pue(Some(&zone));
        }
        self.zone = Some(zone);
    }

    /// What must be said of the PUE where it is that of others.
    pub(super) fn pue_note(&self) -> Option<String> {
        let region = self.zone.as_deref().and_then(CloudRegion::parse).filter(|_| !self.pue_given)?;
        let pue = region.pue();
        let (name, ratio) = (region.name(), self.pue.0);
        pue.assumed.then(|| {
            format!("PUE {ratio}, {}, assumed: {name} publishes none; give --pue if you know it", pue.source)
        })
    }
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

/// `carbon track`, checked.
#[derive(Clone, Debug)]
pub struct TrackOptions {
    /// The process.
    pub pid: u32,
    /// Where runs are recorded.
    pub(super) chosen: Chosen,
    /// How to measure.
    pub measuring: Measuring,
}

/// `carbon top`, checked.
#[derive(Clone, Debug)]
pub struct TopOptions {
    /// How to measure.
    pub measuring: Measuring,
    /// `Some`: measure once for so long. `None`: live.
    pub once: Option<Duration>,
    /// How the report is written.
    pub format: Format,
    /// Where the report goes, if not to stdout.
    pub output: Option<PathBuf>,
    /// Rows of the table.
    pub limit: Option<usize>,
    /// Share of all CPU time that measuring may cost.
    pub max_overhead_ratio: f64,
    /// Events to count.
    pub counters: Vec<CounterKind>,
    /// Whether engines are asked for names.
    pub metadata: bool,
    /// Where windows are written down.
    pub record: Option<RecordOptions>,
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

/// The agent's file, from text that may hold anything: where it is wrong, the place is one of the text.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz_config(text: &str) {
    if let Err(((line, column), reason)) = agent::values(text) {
        assert!(
            (1..=text.matches('\n').count() + 1).contains(&line) && column >= 1,
            "{line}:{column}: {reason}"
        );
    }
}

/// Parses and checks a command line, program name first. Help and version are printed here.
pub fn parse(arguments: &[OsString]) -> Result<Options, CliError> {
    match Cli::try_parse_from(arguments) {
        Ok(Cli { command: Command::Run(args) }) => run(*args).map(|options| Options::Run(Box::new(options))),
        Ok(Cli { command: Command::Top(args) }) => top(args).map(Options::Top),
        Ok(Cli { command: Command::Model(args) }) => learned::model(args).map(Options::Model),
        Ok(Cli { command: Command::Replay(args) }) => learned::replay(args).map(Options::Replay),
        Ok(Cli { command: Command::Calibrate(args) }) => learned::calibrate(args).map(Options::Calibrate),
        Ok(Cli { command: Command::Doctor(args) }) => doctor(args).map(Options::Doctor),
        Ok(Cli { command: Command::Report(args) }) => Ok(Options::Report(args)),
        Ok(Cli { command: Command::Runs(args) }) => Ok(Options::Runs(args)),
        Ok(Cli { command: Command::Ledger(args) }) => Ok(Options::Ledger(args)),
        Ok(Cli { command: Command::Explain(args) }) => Ok(Options::Explain(args)),
        Ok(Cli { command: Command::Advise(args) }) => Ok(Options::Advise(args)),
        Ok(Cli { command: Command::Agent(_) }) => {
            agent::agent(arguments).map(|it| Options::Agent(Box::new(it)))
        }
        Ok(Cli { command: Command::Intensity(args) }) => Ok(Options::Intensity(args)),
        Ok(Cli { command: Command::Track(args) }) => track(args).map(|it| Options::Track(Box::new(it))),
        Ok(Cli { command: Command::Dashboard(args) }) => Ok(Options::Dashboard(args)),
        Ok(Cli { command: Command::Serve(args) }) => Ok(Options::Serve(args)),
        Ok(Cli { command: Command::Import(args) }) => Ok(Options::Import(args)),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            error.print().map_err(|source| CliError::from_write("standard output", source))?;
            Ok(Options::Shown)
        }
        // Of the agent it is said which variable it is of.
        Err(error)
            if arguments.get(1).is_some_and(|word| word == "agent")
                && matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidUtf8) =>
        {
            agent::agent(arguments).map(|it| Options::Agent(Box::new(it)))
        }
        Err(error) if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Err(CliError::CommandLine("no command given; try \"carbon --help\"".into()))
        }
        Err(error) => Err(CliError::CommandLine(one_line(&error))),
    }
}

fn run(args: RunArgs) -> Result<RunOptions, CliError> {
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
    Ok(RunOptions { measuring, project, here, offline, entry, wait_all, by_agent, format, output, command })
}

fn track(args: TrackArgs) -> Result<TrackOptions, CliError> {
    let TrackArgs { pid, store, shared } = args;
    if let Some(path) = &shared.output {
        return Err(CliError::Argument {
            option: "--output",
            value: path.display().to_string(),
            reason: "answers go to standard output".into(),
            advice: "leave it out".into(),
        });
    }
    let parent = rustix::process::getppid().map_or(1, |pid| pid.as_raw_nonzero().get().unsigned_abs());
    Ok(TrackOptions { pid: pid.unwrap_or(parent), chosen: store.choose()?, measuring: measuring(shared)? })
}

fn top(args: TopArgs) -> Result<TopOptions, CliError> {
    let TopArgs {
        once,
        duration,
        format,
        limit,
        counters,
        max_overhead,
        metadata,
        record,
        record_limit,
        shared,
    } = args;
    let needs_once = |option, value: String| CliError::Argument {
        option,
        value,
        reason: "the live table has no use for it".into(),
        advice: "add --once".into(),
    };
    let duration_given = duration.is_some();
    let duration =
        check_duration("--duration", duration.as_deref().unwrap_or("5s"), INTERVAL_MIN, DURATION_MAX)?;
    if !once {
        if duration_given {
            return Err(needs_once("--duration", text_of(duration)));
        }
        if format != Format::Table {
            return Err(needs_once("--format", if format == Format::Json { "json" } else { "csv" }.into()));
        }
        if let Some(path) = &shared.output {
            return Err(needs_once("--output", path.display().to_string()));
        }
    }
    let limit = check_rows(limit)?;
    let output = shared.output.clone();
    let measuring = measuring(shared)?;
    let max_overhead_ratio = check_overhead(&max_overhead)?;
    let bytes_max = learned::check_bytes("--record-limit", record_limit.as_deref().unwrap_or("256MiB"))?;
    let record = record.map(|file| RecordOptions { file, bytes_max });
    let counters = check_counters(&counters)?;
    let once = once.then_some(duration);
    let metadata = metadata == MetadataArg::Auto;
    Ok(TopOptions { measuring, once, format, output, limit, max_overhead_ratio, counters, metadata, record })
}

fn check_counters(given: &[CounterArg]) -> Result<Vec<CounterKind>, CliError> {
    let mut kinds: Vec<CounterKind> = Vec::new();
    for counter in given {
        let kind = match counter {
            CounterArg::Cycles => CounterKind::Cycles,
            CounterArg::Instructions => CounterKind::Instructions,
            CounterArg::LlcMisses => CounterKind::LlcMisses,
            CounterArg::PageFaults => CounterKind::PageFaults,
        };
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    if kinds.len() > COUNTERS_MAX {
        return Err(CliError::Argument {
            option: "--counters",
            value: kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(","),
            reason: format!("more than {COUNTERS_MAX} events at one time"),
            advice: "leave one out".into(),
        });
    }
    Ok(kinds)
}

/// Nothing for the word "none" and for an empty environment variable.
fn state_file(path: PathBuf) -> Option<PathBuf> {
    Some(path).filter(|path| !["none", ""].iter().any(|word| path.as_os_str() == *word))
}

fn doctor(args: DoctorArgs) -> Result<DoctorOptions, CliError> {
    let balance = args.balance.as_deref();
    let balance =
        balance.map(|text| check_duration("--balance", text, BALANCE_MIN, DURATION_MAX)).transpose()?;
    let root = check_root(args.sysfs_root)?;
    let sensors = meters::check_sensors(&args.hwmon, MeterChoice::Auto)?;
    Ok(DoctorOptions { format: args.format, root, sensors, balance })
}

fn measuring(shared: SharedArgs) -> Result<Measuring, CliError> {
    // An environment variable that is set to nothing is not set.
    let given = |text: &String| !text.trim().is_empty();
    let pue_text = shared.pue.filter(given);
    let pue_given = pue_text.is_some();
    let pue = match pue_text {
        Some(text) => check_pue(&text)?,
        None => default_pue(shared.zone.as_deref()),
    };
    let root = check_root(shared.sysfs_root)?;
    let meter = meters::meter(shared.meter);
    let sensors = meters::check_sensors(&shared.hwmon, meter)?;
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

fn rung(accounting: AccountingArg) -> Option<Rung> {
    match accounting {
        AccountingArg::Auto => None,
        AccountingArg::Books => Some(Rung::Books),
        AccountingArg::Hook => Some(Rung::Hook),
        AccountingArg::Rawtp => Some(Rung::Raw),
        AccountingArg::CpuStat => Some(Rung::CpuStat),
        AccountingArg::Proc => Some(Rung::Proc),
    }
}

pub(super) fn policy(policy: StaticArg) -> StaticPolicy {
    match policy {
        StaticArg::Separate => StaticPolicy::Separate,
        StaticArg::Proportional => StaticPolicy::Proportional,
        StaticArg::Equal => StaticPolicy::Equal,
        StaticArg::Requests => StaticPolicy::Requests,
    }
}

pub(super) fn method(attribution: AttributionArg) -> Method {
    match attribution {
        AttributionArg::Bank => Method::Bank,
        AttributionArg::CpuTime => Method::CpuTime,
    }
}

fn check_rows(limit: Option<usize>) -> Result<Option<usize>, CliError> {
    match limit.filter(|rows| !(1..=1_000_000).contains(rows)) {
        None => Ok(limit),
        Some(rows) => Err(CliError::Argument {
            option: "--limit",
            value: rows.to_string(),
            reason: "out of range".into(),
            advice: "give a number from 1 to 1000000".into(),
        }),
    }
}

fn check_root(sys: PathBuf) -> Result<SysRoot, CliError> {
    if sys.is_dir() {
        return Ok(SysRoot { sys, ..SysRoot::default() });
    }
    Err(CliError::Argument {
        option: "--sysfs-root",
        value: sys.display().to_string(),
        reason: "not a directory".into(),
        advice: "give the directory where sysfs is mounted, such as /sys".into(),
    })
}

/// That of the region of a cloud; else nothing is added.
fn default_pue(zone: Option<&str>) -> Pue {
    zone.and_then(CloudRegion::parse).map_or(carbon::DEFAULT_PUE, |region| region.pue().value)
}

fn check_pue(text: &str) -> Result<Pue, CliError> {
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

fn check_overhead(text: &str) -> Result<f64, CliError> {
    match text.trim().trim_end_matches('%').trim_end().parse::<f64>() {
        Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(percent / 100.0),
        _ => Err(CliError::Argument {
            option: "--max-overhead",
            value: text.into(),
            reason: "not a share above 0 and up to 100 per cent".into(),
            advice: "give per cent of the time of all CPUs, such as 0.5".into(),
        }),
    }
}

/// A name that goes into the ledger.
pub(super) fn check_name(option: &'static str, name: &str) -> Result<(), CliError> {
    let length = name.chars().count();
    if (1..=PROJECT_CHARACTERS_MAX).contains(&length) && !name.chars().any(char::is_control) {
        return Ok(());
    }
    Err(CliError::Argument {
        option,
        value: format!("{name:?}"),
        reason: "not a name".into(),
        advice: format!("give 1 to {PROJECT_CHARACTERS_MAX} printable characters"),
    })
}

/// A number of things.
fn check_count(option: &'static str, text: &str, min: usize, max: usize) -> Result<usize, CliError> {
    let count = text.trim().parse::<usize>().ok().filter(|count| (min..=max).contains(count));
    count.ok_or_else(|| CliError::Argument {
        option,
        value: text.into(),
        reason: "not a whole number in its range".into(),
        advice: format!("give {min} to {max}"),
    })
}

/// Whether a word says yes; set to nothing it says no, as where it is not set.
pub(super) fn yes_or_no(text: &str) -> Result<bool, &'static str> {
    match text.trim().to_lowercase().as_str() {
        "true" | "yes" | "on" | "1" | "y" | "t" => Ok(true),
        "" | "false" | "no" | "off" | "0" | "n" | "f" => Ok(false),
        _ => Err("give true or false"),
    }
}

fn check_duration(
    option: &'static str,
    text: &str,
    min: Duration,
    max: Duration,
) -> Result<Duration, CliError> {
    let error = |reason: String| CliError::Argument {
        option,
        value: text.into(),
        reason,
        advice: format!("give a number and a unit from {} to {}, such as 5s", text_of(min), text_of(max)),
    };
    match parse_duration(text) {
        None => Err(error("not a duration".into())),
        Some(duration) if duration < min => Err(error("too short".into())),
        Some(duration) if duration > max => Err(error("too long".into())),
        Some(duration) => Ok(duration),
    }
}

/// A decimal number and one of `ms`, `s`, `m`, `h`, without a sign: `500ms`, `1.5s`.
fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let unit_seconds = match unit {
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    if !number.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    // Rounded, so that 1.1 s is 1,100,000,000 ns.
    Duration::try_from_secs_f64(number.trim_end().parse::<f64>().ok()? * unit_seconds).ok()
}

fn text_of(duration: Duration) -> String {
    match duration.as_millis() {
        millis if millis % 3_600_000 == 0 => format!("{}h", millis / 3_600_000),
        millis if millis % 60_000 == 0 => format!("{}m", millis / 60_000),
        millis if millis % 1000 == 0 => format!("{}s", millis / 1000),
        millis => format!("{millis}ms"),
    }
}

/// clap explains itself in a paragraph; ours is one line: its first paragraph, its tips, and where help is.
fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let mut words = Vec::new();
    let mut help = "carbon --help".to_owned();
    for line in text.lines().map(str::trim) {
        if let Some(usage) = line.strip_prefix("Usage: ") {
            let command = usage.split(' ').take_while(|word| !word.starts_with(['[', '<', '-']));
            help = format!("{} --help", command.collect::<Vec<_>>().join(" "));
        } else if !line.is_empty() && !line.starts_with("For more information") {
            words.push(line.strip_prefix("error: ").unwrap_or(line));
        }
    }
    format!("{}; try \"{help}\"", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(line: &str) -> Result<Options, CliError> {
        parse(&line.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    fn message(line: &str) -> String {
        parse_words(line).unwrap_err().message()
    }

    #[test]
    fn no_option_has_two_meanings() {
        use crate::cli::ledger_args::PerArg;
        // A parser that contradicts itself panics in debug builds only, and only where that command is given.
        <Cli as clap::CommandFactory>::command().debug_assert();
        let report = |line: &str| match parse_words(line) {
            Ok(Options::Report(args)) => (args.period(), args.unit().map(|unit| unit.count)),
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(report("carbon report --per month"), (Some(PerArg::Month), None));
        assert_eq!(report("carbon report --sci --per request=5 --per day"), (Some(PerArg::Day), Some(5.0)));
    }

    #[test]
    fn durations_are_read() {
        let cases = [
            ("5s", Some(5_000_000_000)),
            ("500ms", Some(500_000_000)),
            ("1m", Some(60_000_000_000)),
            ("1.1s", Some(1_100_000_000)),
            ("2 h", Some(7_200_000_000_000)),
            ("5", None),
            ("", None),
            ("s", None),
            ("-5s", None),
            ("+5s", None),
            ("1e3s", None),
            ("5 apples", None),
            ("infs", None),
            ("99999999999999999999999h", None),
        ];
        for (text, nanos) in cases {
            assert_eq!(parse_duration(text).map(|duration| duration.as_nanos()), nanos, "{text:?}");
        }
    }

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

    #[test]
    fn once_has_five_seconds_unless_told() {
        let Options::Top(top) = parse_words("carbon top --once --format csv").unwrap() else {
            panic!("not a top")
        };
        assert_eq!(top.once, Some(Duration::from_secs(5)));
        let Options::Top(top) = parse_words("carbon top --attribution cpu-time").unwrap() else {
            panic!("not a top")
        };
        assert_eq!((top.once, top.measuring.attribution), (None, Method::CpuTime));
    }

    #[test]
    fn every_refusal_says_what_to_do() {
        let refused = [
            "carbon",
            "carbon tap",
            "carbon run",
            "carbon run --pue 0.9 -- true",
            "carbon run --pue -1 -- true",
            "carbon run --pue NaN -- true",
            "carbon run --pue one -- true",
            "carbon run --sysfs-root /dev/null -- true",
            "carbon run --interval 1ms -- true",
            "carbon run --interval 5 -- true",
            "carbon run --interval 2m -- true",
            "carbon run --format csv -- true",
            "carbon run --accountin books -- true",
            "carbon top --duration 5s",
            "carbon top --format json",
            "carbon top --output x",
            "carbon top --once --limit 0",
            "carbon top --max-overhead 0",
            "carbon top --record-limit 1MiB",
            "carbon top --record x --record-limit 3",
            "carbon top --record x --record-limit 1MB",
            "carbon model --state none",
            "carbon replay",
            "carbon replay x --pue 0.5",
            "carbon calibrate --duration 1s",
            "carbon doctor --format xml",
            "carbon doctor --balance 5ms",
        ];
        let said: Vec<String> = refused.iter().map(|line| format!("$ {line}\n{}", message(line))).collect();
        assert!(said.iter().all(|text| text.lines().count() == 2));
        insta::assert_snapshot!(said.join("\n"));
        assert!(check_name("--project", "").is_err());
        assert!(check_name("--project", "a\nb").is_err());
    }
}
