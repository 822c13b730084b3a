//! Options of the agent: a file, the environment and the command line, the later above the earlier.
//!
//! A key of the file is the name of an option. What a file or the environment says is put behind the command line as the
//! option itself, unless that option was given there: so that each value is checked in one place, wherever it is from.

mod checks;
mod environment;
mod file;

#[cfg(any(test, fuzzing))]
pub(super) use file::values;

use super::{Measuring, check_count, check_duration, check_overhead, measuring, state_file};
use crate::api;
use crate::cli::agent::privileges::Keep;
use crate::cli::args::{AgentArgs, Cli, Command, DashboardArg};
use crate::cli::error::CliError;
use crate::cli::here::HereArgs;
use crate::cli::store::Chosen;
use crate::metadata;
use crate::metrics::{Aliases, Listen, otlp};
use checks::{
    checked_listen, checked_metadata, checked_node, checked_otlp, checked_socket, checked_tls, open_secret,
};
use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

const FLUSH_MIN: Duration = Duration::from_millis(500);
const FLUSH_MAX: Duration = Duration::from_mins(1);
const SERIES_MAX: usize = 100_000;
const METRICS_SERIES_MAX: usize = 10_000;

/// What a file may say: all options but those of one call.
const KEYS: [&str; 41] = [
    "zone",
    "here",
    "metadata-url",
    "offline",
    "pue",
    "accounting",
    "hierarchy",
    "meter",
    "hwmon",
    "sysfs-root",
    "static",
    "attribution",
    "state",
    "interval",
    "store",
    "flush",
    "max-overhead",
    "resume",
    "series",
    "listen",
    "listen-token",
    "socket",
    "socket-mode",
    "listen-cert",
    "listen-key",
    "dashboard",
    "capabilities",
    "metrics-series",
    "metric-aliases",
    "otlp",
    "otlp-interval",
    "otlp-token",
    "otlp-ca",
    "node",
    "metadata",
    "kubelet",
    "kubelet-token",
    "kubelet-ca",
    "slurm-dir",
    "labels",
    "share-with-vms",
];

/// `carbon agent`, checked.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// How to measure.
    pub measuring: Measuring,
    /// Whether the place is asked for, at the start.
    pub here: HereArgs,
    /// Whether no socket is opened for it.
    pub offline: bool,
    /// The region that was told.
    pub found: Option<String>,
    /// How often minutes are written.
    pub flush: Duration,
    /// Share of all CPU time that measuring may cost.
    pub max_overhead_ratio: f64,
    /// The ledger.
    pub(in crate::cli) chosen: Chosen,
    /// Where a restart goes on.
    pub resume: Option<PathBuf>,
    /// Workloads with sums of their own.
    pub series_max: usize,
    /// Where metrics are served.
    pub listen: Option<Listen>,
    /// Whether the dashboard is served there too.
    pub dashboard: bool,
    /// Where clients on this machine ask.
    pub socket: Option<api::server::Listen>,
    /// What may be done while it runs.
    pub capabilities: Keep,
    /// Workloads with series of their own there.
    pub metrics_series: usize,
    /// Other tools whose names are used there too.
    pub metric_aliases: Aliases,
    /// Where metrics are pushed.
    pub otlp: Option<otlp::Options>,
    /// What this machine is called.
    pub node: String,
    /// Who is asked for names of containers; `None` for nobody.
    pub metadata: Option<metadata::Options>,
    /// Where virtual machines find their shares.
    pub share_with_vms: Option<PathBuf>,
    /// The file that was read.
    pub config: Option<PathBuf>,
    /// What is to be said of how they were given.
    pub notes: Vec<String>,
    /// The command line, to be read again with the file.
    arguments: Vec<OsString>,
    /// Each option as it was written, or its default.
    written: BTreeMap<&'static str, Vec<OsString>>,
}

impl AgentOptions {
    /// Reads file, environment and command line again.
    pub fn again(&self) -> Result<Self, CliError> {
        let new = agent(&self.arguments)?;
        match &self.config {
            // Else all that it said would be at its default from now on, without a word.
            Some(path) if new.config.is_none() => Err(CliError::Config {
                path: path.clone(),
                line: None,
                reason: "it is not there any more".into(),
            }),
            _ => Ok(new),
        }
    }

    /// Options of `new` that are others. A token, or certificates and their key, of other files are not, since what these hold
    /// is taken up ([`Listen::renew`]); that there are some at all is.
    pub fn changed(&self, new: &Self) -> Vec<&'static str> {
        let both =
            |has: fn(&Listen) -> bool| [self, new].map(|of| of.listen.as_ref().is_some_and(has)) == [true; 2];
        let is_taken_up = |key: &str| match key {
            "listen-token" => both(|listen| listen.token().is_some()),
            "listen-cert" | "listen-key" => both(|listen| listen.tls().is_some()),
            _ => false,
        };
        let is_other = |key: &&str| self.written.get(*key) != new.written.get(*key) && !is_taken_up(key);
        KEYS.into_iter().filter(is_other).collect()
    }
}

/// Where a value is from that the command line does not have.
#[derive(Debug)]
enum Origin {
    /// The file, at this line.
    Line(usize),
    /// The variable of its name.
    Environment,
}

/// All of it. Errors of a value that the file or the environment has name its line or its variable.
pub(super) fn agent(arguments: &[OsString]) -> Result<AgentOptions, CliError> {
    let said: Vec<Option<String>> =
        KEYS.into_iter().map(environment::said).collect::<Result<_, CliError>>()?;
    let set: Vec<_> = KEYS
        .into_iter()
        .zip(&said)
        .filter(|(_, said)| said.is_some())
        .map(|(key, _)| (key, Origin::Environment))
        .collect();
    let (given, config) = given(arguments).map_err(|error| located(error, None, &set))?;
    let file = file::read(config)?;
    let mut all = arguments.to_vec();
    let mut origins = Vec::new();
    for (key, said) in KEYS.into_iter().zip(said).filter(|(key, _)| !given.contains(&(*key).to_owned())) {
        let of_file =
            || file.as_ref()?.values.get(key).map(|(value, line)| (value.clone(), Origin::Line(*line)));
        let Some((value, origin)) = said.map(|value| (value, Origin::Environment)).or_else(of_file) else {
            continue;
        };
        all.push(format!("--{key}={value}").into());
        origins.push((key, origin));
    }
    let config = file.map(|file| file.path);
    parse(&all)
        .and_then(|(args, written)| check(args, written, config.clone(), arguments))
        .map_err(|error| located(error, config.as_deref(), &origins))
}

/// Options that the command line itself has, and the file that it or the environment names.
fn given(arguments: &[OsString]) -> Result<(Vec<String>, Option<PathBuf>), CliError> {
    let command_line = |error: clap::Error| CliError::CommandLine(super::one_line(&error));
    let matches = Cli::command().try_get_matches_from(arguments).map_err(command_line)?;
    let Some((_, matches)) = matches.subcommand() else { return Ok((Vec::new(), None)) };
    let of_line = |id: &clap::Id| matches.value_source(id.as_str()) == Some(ValueSource::CommandLine);
    let given = matches.ids().filter(|id| of_line(id)).map(|id| match id.as_str() {
        "static_policy" => "static".to_owned(),
        id => id.replace('_', "-"),
    });
    let config = matches.get_one::<PathBuf>("config").filter(|path| !path.as_os_str().is_empty());
    Ok((given.collect(), config.cloned()))
}

/// Each option as it was written.
type Written = BTreeMap<&'static str, Vec<OsString>>;

fn parse(arguments: &[OsString]) -> Result<(AgentArgs, Written), CliError> {
    let command_line = |error: clap::Error| CliError::CommandLine(super::one_line(&error));
    let matches = Cli::command().try_get_matches_from(arguments).map_err(command_line)?;
    let written = matches.subcommand().map(|(_, matches)| {
        let of = |key: &str| -> Vec<OsString> {
            let id = if key == "static" { "static_policy".to_owned() } else { key.replace('-', "_") };
            let raw = matches.try_get_raw(&id).ok().flatten();
            raw.into_iter().flatten().map(OsString::from).collect()
        };
        KEYS.into_iter().map(|key| (key, of(key))).collect()
    });
    match Cli::from_arg_matches(&matches).map_err(command_line)?.command {
        Command::Agent(args) => Ok((*args, written.unwrap_or_default())),
        _ => Err(CliError::CommandLine("not the agent's command line".into())),
    }
}

fn check(
    args: AgentArgs,
    written: Written,
    config: Option<PathBuf>,
    arguments: &[OsString],
) -> Result<AgentOptions, CliError> {
    let metadata = checked_metadata(&args)?;
    let socket = checked_socket(args.socket.as_deref(), &args.socket_mode)?;
    let listen = checked_listen(&args.listen, args.listen_token.as_deref(), checked_tls(&args)?)?;
    let capabilities = Keep::parse(&args.capabilities).map_err(|error| CliError::Argument {
        option: "--capabilities",
        value: args.capabilities.clone(),
        reason: error.to_string(),
        advice: "give auto, or see docs/security.md".into(),
    })?;
    let mut notes = environment::strangers(std::env::vars_os().map(|(name, _)| name));
    let secrets = [&args.listen_token, &args.listen_key, &args.otlp_token];
    notes.extend(secrets.into_iter().flatten().filter_map(|path| open_secret(path)));
    let metrics_series = check_count("--metrics-series", &args.metrics_series, 0, METRICS_SERIES_MAX)?;
    let otlp = checked_otlp(&args, metrics_series)?;
    let node = checked_node(args.node.as_deref())?;
    let metric_aliases = Aliases::parse(&args.metric_aliases).map_err(|error| CliError::Argument {
        option: "--metric-aliases",
        value: args.metric_aliases.clone(),
        reason: error.to_string(),
        advice: "give kepler, scaphandre, or both with a comma between them".into(),
    })?;
    let AgentArgs { store, flush, resume, series, share_with_vms, max_overhead, shared, .. } = args;
    if let Some(path) = &shared.output {
        return Err(CliError::Argument {
            option: "--output",
            value: path.display().to_string(),
            reason: "the agent writes no report".into(),
            advice: "leave it out, and ask carbon report".into(),
        });
    }
    let series_max = check_count("--series", &series, 1, SERIES_MAX)?;
    let measuring = measuring(shared)?;
    if let Some(zone) = measuring.zone.as_deref() {
        crate::carbon::Intensity::of(zone).map_err(|source| CliError::Zone { source })?;
    }
    Ok(AgentOptions {
        measuring,
        here: args.here,
        offline: args.offline,
        found: None,
        flush: check_duration("--flush", &flush, FLUSH_MIN, FLUSH_MAX)?,
        max_overhead_ratio: check_overhead(&max_overhead)?,
        chosen: store.choose()?,
        resume: state_file(resume),
        series_max,
        listen,
        dashboard: args.dashboard == DashboardArg::On,
        socket,
        capabilities,
        metrics_series,
        metric_aliases,
        otlp,
        node,
        metadata,
        share_with_vms,
        config,
        notes,
        arguments: arguments.to_vec(),
        written,
    })
}

/// An error of a value that the command line does not have, with its line or its variable; of several together, with the file.
fn located(error: CliError, path: Option<&Path>, origins: &[(&'static str, Origin)]) -> CliError {
    let message = error.message();
    let reason = message.strip_prefix("carbon: ").unwrap_or(&message);
    // What is to be tried at a terminal helps nobody who writes a file.
    let reason = reason.split_once("; try \"").map_or(reason, |(reason, _)| reason).to_owned();
    let names = |key: &str| {
        let option = format!("--{key}");
        // What a store may be is said without the option.
        (key == "store" && matches!(error, CliError::Ledger(_)))
            || reason.split([' ', '\'', ':', '=', '[']).any(|word| word == option)
    };
    let of_file =
        |line| path.map(|path| CliError::Config { path: path.into(), line, reason: reason.clone() });
    let located = match origins.iter().find(|(key, _)| names(key)) {
        Some((_, Origin::Line(line))) => of_file(Some((*line, 1))),
        Some((key, Origin::Environment)) => {
            Some(CliError::Variable { name: environment::variable(key), reason: reason.clone() })
        }
        // One that is missing beside another.
        None if matches!(error, CliError::CommandLine(_)) && !origins.is_empty() => of_file(None),
        None => None,
    };
    located.unwrap_or(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_secret_that_others_can_read_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "a-token-of-some-length").unwrap();
        let notes = |mode: u32| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let line = format!("carbon agent --store none --listen-token {}", path.display());
            agent(&line.split(' ').map(Into::into).collect::<Vec<OsString>>()).unwrap().notes
        };
        assert!(
            notes(0o644).iter().any(|note| note.contains("chmod 0400"))
                && notes(0o640).len() > notes(0o400).len()
        );
        assert!(!notes(0o400).iter().any(|note| note.contains("chmod")));
    }

    #[test]
    fn a_kubelet_that_cannot_be_asked_is_refused() {
        let words = |line: &str| -> Vec<OsString> { line.split(' ').map(Into::into).collect() };
        let file = tempfile::NamedTempFile::new().unwrap();
        let of =
            |line: &str| agent(&words(&format!("carbon agent --config {} {line}", file.path().display())));
        let options = of("--kubelet https://127.0.0.1:10250/ --kubelet-token /t").unwrap();
        assert_eq!(options.metadata.unwrap().kubelet.unwrap().url, "https://127.0.0.1:10250");
        for (given, url) in [
            ("https://fd00::a:10250", "https://[fd00::a]:10250"),
            ("https://fd00::a", "https://[fd00::a]"),
            ("https://[fd00::a]:10250", "https://[fd00::a]:10250"),
            ("https://node.local:10250", "https://node.local:10250"),
        ] {
            let options = of(&format!("--kubelet {given}")).unwrap();
            assert_eq!(options.metadata.unwrap().kubelet.unwrap().url, url);
        }
        assert_eq!(of("--metadata off").unwrap().metadata, None);
        for (line, says) in [
            ("--kubelet 127.0.0.1", "not a URL"),
            ("--kubelet https://127.0.0.1:10250 --metadata off", "nobody is to be asked"),
            ("--kubelet http://127.0.0.1:10255 --kubelet-token /t", "in the clear"),
            ("--kubelet-token /t", "--kubelet"),
            ("--labels team --metadata off", "nobody is to be asked"),
            ("--labels a.b,a/b", "label_a_b"),
            ("--labels a,,b", "no name of a label"),
        ] {
            let message = of(line).unwrap_err().message();
            assert!(message.contains(says), "{line}: {message}");
        }
    }

    #[test]
    fn a_file_may_ask_for_the_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.toml");
        std::fs::write(&path, "here = true\noffline = true\nmetadata-url = \"http://127.0.0.1:1\"\n")
            .unwrap();
        let of = |line: &str| {
            let line = format!("carbon agent --config {} {line}", path.display());
            agent(&line.split_whitespace().map(Into::into).collect::<Vec<OsString>>()).unwrap()
        };
        let options = of("--zone FR");
        assert!(options.here.here && options.offline);
        assert_eq!(options.here.metadata_url.as_deref(), Some("http://127.0.0.1:1"));
        let mut measuring = options.measuring.clone();
        let told = options.here.find(&mut measuring, options.offline).unwrap();
        assert!(told.starts_with("where this machine is cannot be told: "), "{told}");
        assert_eq!(measuring.zone.as_deref(), Some("FR"), "what was given holds");
        assert!(!of("--here=false").here.here);
    }

    #[test]
    fn a_file_that_has_gone_is_not_a_file_that_says_nothing() {
        let words = |line: &str| -> Vec<OsString> { line.split(' ').map(Into::into).collect() };
        let mut options = agent(&words("carbon agent --store none")).unwrap();
        if options.config.is_some() {
            println!(
                "SKIPPED: a_file_that_has_gone_is_not_a_file_that_says_nothing: this machine has the usual file"
            );
            return;
        }
        assert!(options.again().is_ok());
        options.config = Some("/etc/carbon/agent.toml".into());
        let said = options.again().unwrap_err().message();
        assert!(said.contains("agent.toml: it is not there any more"), "{said}");
    }

    #[test]
    fn the_command_line_is_above_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.toml");
        std::fs::write(&path, "flush = \"2s\"\ninterval = \"300ms\"\nstore = \"none\"\n").unwrap();
        let words = |line: &str| -> Vec<OsString> { line.split(' ').map(Into::into).collect() };
        let line = format!("carbon agent --config {} --flush 5s", path.display());
        let options = agent(&words(&line)).unwrap();
        assert_eq!(options.flush, Duration::from_secs(5));
        assert_eq!(options.measuring.interval, Duration::from_millis(300));
        std::fs::write(&path, "\nflush = \"2h\"\n").unwrap();
        let message =
            agent(&words(&format!("carbon agent --config {}", path.display()))).unwrap_err().message();
        assert!(message.contains("agent.toml:2:1: --flush 2h: too long"), "{message}");
        std::fs::write(&path, "static = \"some\"\n").unwrap();
        let message =
            agent(&words(&format!("carbon agent --config {}", path.display()))).unwrap_err().message();
        assert!(message.contains("agent.toml:1:1: ") && message.contains("some"), "{message}");
    }
}
