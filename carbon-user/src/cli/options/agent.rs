//! Options of the agent: a file, the environment and the command line, the later above the earlier.
//!
//! A key of the file is the name of an option. What a file or the environment says is put behind the command line as the
//! option itself, unless that option was given there: so that each value is checked in one place, wherever it is from.

mod environment;
mod file;

#[cfg(any(test, fuzzing))]
pub(super) use file::values;

use super::{Measuring, check_count, check_duration, check_name, check_overhead, measuring, state_file};
use crate::api;
use crate::cli::agent::privileges::Keep;
use crate::cli::args::{AgentArgs, Cli, Command, DashboardArg, MetadataArg};
use crate::cli::error::CliError;
use crate::cli::here::HereArgs;
use crate::cli::store::Chosen;
use crate::metadata::{self, Kubelet, Labels};
use crate::metrics::{Aliases, Listen, Tls, Token, otlp};
use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

const FLUSH_MIN: Duration = Duration::from_millis(500);
const FLUSH_MAX: Duration = Duration::from_mins(1);
const PUSH_MIN: Duration = Duration::from_secs(1);
const PUSH_MAX: Duration = Duration::from_hours(1);
const SERIES_MAX: usize = 100_000;
const METRICS_SERIES_MAX: usize = 10_000;
const SOCKET_BYTES_MAX: usize = 100;

/// What a file may say: all options but those of one call.
const KEYS: [&str; 40] = [
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

    /// Options of `new` that are others, or whose file holds something else; but not certificates and their key.
    pub fn changed(&self, new: &Self) -> Vec<&'static str> {
        let token = |options: &Self| options.listen.as_ref().and_then(|listen| listen.token().cloned());
        let is_other = |key: &&str| {
            self.written.get(*key) != new.written.get(*key)
                || (*key == "listen-token" && token(self) != token(new))
        };
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

/// What is to be said of a secret that other users can read.
fn open_secret(path: &Path) -> Option<String> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    (mode & 0o044 != 0)
        .then(|| format!("{} can be read by other users: chmod 0400 keeps it a secret", path.display()))
}

/// Who is asked for names.
fn checked_metadata(args: &AgentArgs) -> Result<Option<metadata::Options>, CliError> {
    let off = args.metadata == MetadataArg::Off;
    let wrong = |url: &str, reason: &str, advice: &str| CliError::Argument {
        option: "--kubelet",
        value: url.to_owned(),
        reason: reason.into(),
        advice: advice.into(),
    };
    let kubelet = match &args.kubelet {
        Some(url) if off => {
            return Err(wrong(url, "nobody is to be asked for names", "leave out --metadata off, or this"));
        }
        Some(url) if !url.starts_with("https://") && !url.starts_with("http://") => {
            return Err(wrong(url, "not a URL", "give one such as https://127.0.0.1:10250"));
        }
        Some(url) if url.starts_with("http://") && args.kubelet_token.is_some() => {
            return Err(wrong(url, "the token would be sent in the clear", "give an https URL, or no token"));
        }
        Some(url) => Some(Kubelet {
            url: url.trim_end_matches('/').to_owned(),
            token_file: args.kubelet_token.clone(),
            ca_file: args.kubelet_ca.clone(),
        }),
        None => None,
    };
    let wrong = |reason: String, advice: &str| CliError::Argument {
        option: "--labels",
        value: args.labels.join(","),
        reason,
        advice: advice.into(),
    };
    let labels = Labels::new(&args.labels)
        .map_err(|reason| wrong(reason, "give names such as team,app.kubernetes.io/name"))?;
    if off && !labels.0.is_empty() {
        return Err(wrong("nobody is to be asked for names".into(), "leave out --metadata off, or this"));
    }
    Ok((!off).then(|| metadata::Options { kubelet, labels, ..metadata::Options::usual() }))
}

/// Where metrics are pushed.
fn checked_otlp(args: &AgentArgs, series: usize) -> Result<Option<otlp::Options>, CliError> {
    let interval = check_duration("--otlp-interval", &args.otlp_interval, PUSH_MIN, PUSH_MAX)?;
    let Some(url) = args.otlp.as_deref().filter(|url| !["", "none"].contains(url)) else { return Ok(None) };
    let wrong = |reason: &str, advice: &str| CliError::Argument {
        option: "--otlp",
        value: url.to_owned(),
        reason: reason.into(),
        advice: advice.into(),
    };
    let (encrypted, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => return Err(wrong("not a URL", "give one such as http://127.0.0.1:4318")),
    };
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    let here = ["localhost", "127.", "[::1]"].iter().any(|start| host.starts_with(start));
    if args.otlp_token.is_some() && !encrypted && !here {
        return Err(wrong("the token would be sent in the clear", "give an https URL, or no token"));
    }
    Ok(Some(otlp::Options {
        url: url.to_owned(),
        interval,
        token_file: args.otlp_token.clone(),
        ca_file: args.otlp_ca.clone(),
        series,
    }))
}

/// What the machine is called: as told, else its host name. That of a container is the container's.
fn checked_node(name: Option<&str>) -> Result<String, CliError> {
    match name {
        Some(name) => check_name("--node", name).map(|()| name.to_owned()),
        None => Ok(rustix::system::uname().nodename().to_string_lossy().into_owned()),
    }
}

/// The socket of the local API, and who may connect to it; `none` serves nothing.
fn checked_socket(path: Option<&Path>, mode: &str) -> Result<Option<api::server::Listen>, CliError> {
    let wrong = |option, value: String, reason: &str, advice: String| CliError::Argument {
        option,
        value,
        reason: reason.into(),
        advice,
    };
    let bits = u32::from_str_radix(mode.trim(), 8).ok().filter(|bits| *bits <= 0o777);
    let bits = bits.ok_or_else(|| {
        let advice = "give three octal digits, such as 0660".to_owned();
        wrong("--socket-mode", mode.to_owned(), "not a mode", advice)
    })?;
    let path = match path {
        Some(path) => state_file(path.to_owned()),
        None => rustix::process::geteuid().is_root().then(|| api::SOCKET.into()),
    };
    // sun_path of unix(7) has 108 bytes, and the name beside it four more than this one.
    match path {
        Some(path) if path.as_os_str().len() > SOCKET_BYTES_MAX => {
            let advice = format!("give up to {SOCKET_BYTES_MAX} bytes");
            Err(wrong("--socket", path.display().to_string(), "too long for a socket", advice))
        }
        path => Ok(path.map(|path| api::server::Listen { path, mode: bits })),
    }
}

/// With what /metrics is encrypted.
fn checked_tls(args: &AgentArgs) -> Result<Option<Tls>, CliError> {
    let (Some(certificates), Some(key)) = (&args.listen_cert, &args.listen_key) else { return Ok(None) };
    Tls::read(certificates, key).map(Some).map_err(|error| CliError::Argument {
        option: "--listen-cert",
        value: certificates.display().to_string(),
        reason: error.to_string(),
        advice: "name a file of certificates and one of their key, both in PEM".into(),
    })
}

/// The address and who may read there; `none` serves nothing.
fn checked_listen(address: &str, token: Option<&Path>, tls: Option<Tls>) -> Result<Option<Listen>, CliError> {
    if address == "none" {
        return Ok(None);
    }
    let wrong = |option, value: String, reason: String, advice: &str| CliError::Argument {
        option,
        value,
        reason,
        advice: advice.into(),
    };
    let parsed = address.parse().map_err(|_not_one| {
        let advice = "give an address and a port, such as 127.0.0.1:9488 or [::1]:9488, or none";
        wrong("--listen", address.to_owned(), "not an address of a socket".into(), advice)
    })?;
    let shown = || token.map(|path| path.display().to_string()).unwrap_or_default();
    let token = token.map(Token::read).transpose().map_err(|error| {
        wrong("--listen-token", shown(), error.to_string(), "name a file that this user can read")
    })?;
    let listen = Listen::new(parsed, token).map_err(|error| {
        wrong("--listen", address.to_owned(), error.to_string(), "the file is named by --listen-token")
    })?;
    Ok(Some(listen.with_tls(tls)))
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

    #[test]
    fn what_others_can_reach_needs_a_token() {
        assert!(checked_listen("127.0.0.1:9488", None, None).unwrap().is_some());
        assert!(checked_listen("none", None, None).unwrap().is_none());
        for (address, says) in [("0.0.0.0:9488", "--listen-token"), ("9488", "give an address and a port")] {
            let message = checked_listen(address, None, None).unwrap_err().message();
            assert!(message.contains(says), "{message}");
        }
    }

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
