//! Options of the agent: a file, the environment and the command line, the later above the earlier.
//!
//! A key of the file is the name of an option. What a file or the environment says is put behind the command line as the
//! option itself, unless that option was given there: so that each value is checked in one place, wherever it is from.

use super::{Measuring, check_duration, check_name, check_overhead, measuring, state_file};
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
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Read where no file is named, if it is there.
const CONFIG_FILE: &str = "/etc/carbon/agent.toml";
/// More than any file of a few lines.
const BYTES_MAX: u64 = 1 << 20;
const FLUSH_MIN: Duration = Duration::from_millis(500);
const FLUSH_MAX: Duration = Duration::from_mins(1);
const PUSH_MIN: Duration = Duration::from_secs(1);
const PUSH_MAX: Duration = Duration::from_hours(1);
const SERIES_MAX: usize = 100_000;
const SOCKET_BYTES_MAX: usize = 100;

/// What a file may say: all options but those of one call.
const KEYS: [&str; 39] = [
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
    /// The command line, to be read again with the file.
    arguments: Vec<OsString>,
}

impl AgentOptions {
    /// Reads file, environment and command line again.
    pub fn again(&self) -> Result<Self, CliError> {
        agent(&self.arguments)
    }
}

/// Values with their lines, by key.
type Values = BTreeMap<String, (String, usize)>;

/// A file, read: the value of each key as an option would have it, and its line.
#[derive(Debug, Default)]
struct File {
    path: PathBuf,
    values: Values,
}

/// All of it. Errors of a value that the file has name its line.
pub(super) fn agent(arguments: &[OsString]) -> Result<AgentOptions, CliError> {
    let (given, config) = given(arguments)?;
    let file = read(config)?;
    let mut all = arguments.to_vec();
    let mut from_file = Vec::new();
    for key in KEYS.into_iter().chain(["series"]).filter(|key| !given.contains(&(*key).to_owned())) {
        let variable = format!("CARBON_{}", key.to_uppercase().replace('-', "_"));
        let said = std::env::var(&variable).ok().filter(|text| !text.trim().is_empty());
        let value = said.or_else(|| {
            let (value, line) = file.as_ref()?.values.get(key)?;
            from_file.push((key, *line));
            Some(value.clone())
        });
        all.extend(value.map(|value| format!("--{key}={value}").into()));
    }
    let config = file.as_ref().map(|file| file.path.clone());
    let options = parse(&all).and_then(|args| check(args, config.clone(), arguments));
    options.map_err(|error| match config {
        Some(path) => at_line(error, &path, &from_file),
        None => error,
    })
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

fn read(named: Option<PathBuf>) -> Result<Option<File>, CliError> {
    let path = match named {
        Some(path) => path,
        None if Path::new(CONFIG_FILE).exists() => CONFIG_FILE.into(),
        None => return Ok(None),
    };
    let unread = |reason: String| CliError::Config { path: path.clone(), line: None, reason };
    let length = std::fs::metadata(&path).map_err(|error| unread(error.to_string()))?.len();
    if length > BYTES_MAX {
        return Err(unread(format!("it has {length} bytes, and at most {BYTES_MAX} are read")));
    }
    let text = std::fs::read_to_string(&path).map_err(|error| unread(error.to_string()))?;
    let values = values(&text).map_err(|(place, reason)| CliError::Config {
        path: path.clone(),
        line: Some(place),
        reason,
    })?;
    Ok(Some(File { path, values }))
}

/// Keys with their values and lines; or where it is wrong, as line and column, and why.
pub(super) fn values(text: &str) -> Result<Values, ((usize, usize), String)> {
    let table: BTreeMap<toml::Spanned<String>, toml::Spanned<toml::Value>> =
        toml::from_str(text).map_err(|error| {
            (place(text, error.span().map_or(0, |span| span.start)), error.message().to_owned())
        })?;
    let mut values = BTreeMap::new();
    for (key, value) in table {
        let at = place(text, key.span().start);
        let name = key.into_inner();
        if !KEYS.contains(&name.as_str()) && name != "series" {
            return Err((at, format!("unknown key {name:?}; known are {}, series", KEYS.join(", "))));
        }
        let value_at = place(text, value.span().start);
        let value = match value.into_inner() {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Float(number) => number.to_string(),
            toml::Value::Boolean(yes) => yes.to_string(),
            other => {
                return Err((
                    value_at,
                    format!("{name} is a string, a number, true or false, not {}", other.type_str()),
                ));
            }
        };
        values.insert(name, (value, at.0));
    }
    Ok(values)
}

/// Line and column of a byte, both from 1.
fn place(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

fn parse(arguments: &[OsString]) -> Result<AgentArgs, CliError> {
    let command_line = |error: clap::Error| CliError::CommandLine(super::one_line(&error));
    let matches = Cli::command().try_get_matches_from(arguments).map_err(command_line)?;
    match Cli::from_arg_matches(&matches).map_err(command_line)?.command {
        Command::Agent(args) => Ok(*args),
        _ => Err(CliError::CommandLine("not the agent's command line".into())),
    }
}

fn check(args: AgentArgs, config: Option<PathBuf>, arguments: &[OsString]) -> Result<AgentOptions, CliError> {
    let metadata = checked_metadata(&args)?;
    let socket = checked_socket(args.socket.as_deref(), &args.socket_mode)?;
    let listen = checked_listen(&args.listen, args.listen_token.as_deref(), checked_tls(&args)?)?;
    let capabilities = Keep::parse(&args.capabilities).map_err(|error| CliError::Argument {
        option: "--capabilities",
        value: args.capabilities.clone(),
        reason: error.to_string(),
        advice: "give auto, or see docs/security.md".into(),
    })?;
    let otlp = checked_otlp(&args)?;
    let node = checked_node(args.node.as_deref())?;
    let metric_aliases = Aliases::parse(&args.metric_aliases).map_err(|error| CliError::Argument {
        option: "--metric-aliases",
        value: args.metric_aliases.clone(),
        reason: error.to_string(),
        advice: "give kepler, scaphandre, or both with a comma between them".into(),
    })?;
    let AgentArgs {
        store, flush, resume, series, metrics_series, share_with_vms, max_overhead, shared, ..
    } = args;
    if let Some(path) = &shared.output {
        return Err(CliError::Argument {
            option: "--output",
            value: path.display().to_string(),
            reason: "the agent writes no report".into(),
            advice: "leave it out, and ask carbon report".into(),
        });
    }
    if !(1..=SERIES_MAX).contains(&series) {
        return Err(CliError::Argument {
            option: "--series",
            value: series.to_string(),
            reason: "out of range".into(),
            advice: format!("give 1 to {SERIES_MAX}"),
        });
    }
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
        series_max: series,
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
        arguments: arguments.to_vec(),
    })
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
fn checked_otlp(args: &AgentArgs) -> Result<Option<otlp::Options>, CliError> {
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
        series: args.metrics_series,
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

/// An error of a value that the file has, with its line.
fn at_line(error: CliError, path: &Path, from_file: &[(&str, usize)]) -> CliError {
    let message = error.message();
    let reason = message.strip_prefix("carbon: ").unwrap_or(&message);
    let names = |key: &str| {
        let option = format!("--{key}");
        reason.split([' ', '\'', ':', '=']).any(|word| word == option)
    };
    match from_file.iter().find(|(key, _)| names(key)) {
        Some((_, line)) => {
            CliError::Config { path: path.into(), line: Some((*line, 1)), reason: reason.to_owned() }
        }
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_where_it_is_wrong() {
        let wrong = |text: &str| values(text).unwrap_err();
        assert_eq!(wrong("zone = \"FR\"\n  zon = \"DE\"\n").0, (2, 3));
        assert!(wrong("zon = 1").1.starts_with("unknown key \"zon\"; known are zone"));
        assert_eq!(wrong("a = 1\n\nzone = [1]\n").0, (1, 1));
        let (at, why) = wrong("zone = [1]\n");
        assert_eq!((at, why.as_str()), ((1, 8), "zone is a string, a number, true or false, not array"));
        assert_eq!(wrong("zone = \"FR\"\nzone = \n").0.0, 2);
        let values = values("pue = 1.25\nseries = 7\n# c\nzone = 'FR'\n").unwrap();
        assert_eq!(values["pue"], ("1.25".to_owned(), 1));
        assert_eq!((values["series"].0.as_str(), values["zone"].1), ("7", 4));
    }

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
