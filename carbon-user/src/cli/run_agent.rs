//! `carbon run` by way of an agent: it follows the command's processes and reads the meters, so that this program needs no
//! rights. The report, the record and the status are the same.

use super::args::RunFormat;
use super::engine::{CommandMeter, open_attached};
use super::error::CliError;
use super::output::Layout;
use super::process::{Attendant, BeforeExec, Ended, Outcome};
use super::run::RunMeasurement;
use super::run_options::RunOptions;
use crate::api;
use crate::api::client::{Link, LinkError};
use crate::attribution::Method;
use crate::carbon::{DEFAULT_PUE, Intensity};
use crate::clock;
use crate::ledger::Factor;
use crate::ledger::rows::{EnergyKind, RunEnd, RunEnergy, RunStatus, parse_quality};
use crate::meters::MeterChoice;
use crate::sched::HierarchyChoice;
use crate::units::{CpuNanos, Microjoules};
use rustix::io::Errno;
use serde_json::{Map, Value, json};
use std::io::{self, Read, Write};
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How an answer that is none of an error begins.
const OK: &[u8] = b"{\"version\":1,\"ok\":true";

/// The child waits so long for the agent before the command is given up.
const JOIN_MAX: Duration = Duration::from_secs(10);

/// How often `--wait-all` asks whether the tree has gone.
const TREE_STEP: Duration = Duration::from_millis(250);

/// An agent that has gone is waited for so long, since it may be on its way back from an upgrade, and asked so often.
const AGAIN_MAX: Duration = Duration::from_secs(15);
const AGAIN_STEP: Duration = Duration::from_millis(250);

/// Which agent measures a command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ByAgent {
    /// The one at the usual place, for those who are not root.
    #[default]
    Usual,
    /// The one that listens here.
    At(PathBuf),
    /// None.
    No,
}

impl ByAgent {
    /// Where the agent would be.
    fn socket(&self) -> Option<PathBuf> {
        match self {
            Self::No => None,
            Self::At(path) => Some(path.clone()),
            Self::Usual if rustix::process::geteuid().is_root() => None,
            Self::Usual => Some(PathBuf::from(api::SOCKET)).filter(|path| path.exists()),
        }
    }
}

/// A command that an agent measures.
#[derive(Debug)]
pub struct AgentMeter {
    socket: PathBuf,
    link: Link,
    run: String,
    recorded: bool,
    options: RunOptions,
    /// The command, once it has started.
    pid: Option<u32>,
    /// The child writes a byte to it where the agent did not take it into its run.
    unjoined: Option<io::PipeReader>,
    /// Whether it did.
    joined: bool,
    /// Since when the agent has been gone, by the monotonic clock, and what measures in its place.
    gone: Option<(u64, Option<Box<CommandMeter>>)>,
    /// Once it has ended.
    stopped: Option<Map<String, Value>>,
}

/// Begins a run with the agent. `None` where there is none to ask; in words, why one that is there is not used.
pub fn open(options: &RunOptions, series: Option<&str>) -> Result<Option<AgentMeter>, String> {
    let Some(socket) = options.by_agent.socket() else { return Ok(None) };
    let at = socket.display();
    if let Some(option) = own_way(options) {
        return Err(format!("measured without the agent at {at}, which does not know of {option}"));
    }
    let begin = || -> Result<AgentMeter, LinkError> {
        let mut link = Link::open(&socket)?;
        let answer = link.ask("start", start_keys(options, series))?;
        let run = answer.get("run").and_then(Value::as_str).unwrap_or_default().to_owned();
        let recorded = options.entry.chosen.location.is_some();
        Ok(AgentMeter {
            socket: socket.clone(),
            link,
            run,
            recorded,
            options: options.clone(),
            pid: None,
            unjoined: None,
            joined: true,
            gone: None,
            stopped: None,
        })
    };
    begin().map(Some).map_err(|error| format!("measured without the agent at {at}: {error}"))
}

/// What of the options only this program can do.
fn own_way(options: &RunOptions) -> Option<&'static str> {
    let (measuring, entry) = (&options.measuring, &options.entry);
    let ways = [
        (measuring.accounting.is_some(), "--accounting"),
        (measuring.hierarchy != HierarchyChoice::Auto, "--hierarchy"),
        (measuring.meter != MeterChoice::Auto, "--meter"),
        (!measuring.sensors.is_empty(), "--hwmon"),
        (measuring.root.sys != Path::new("/sys"), "--sysfs-root"),
        (measuring.attribution != Method::Bank, "--attribution"),
        (entry.chosen.named && entry.chosen.location.is_some(), "--store"),
        (entry.series.is_some(), "--intensity-file"),
        (entry.live.is_some(), "--live"),
    ];
    ways.into_iter().find(|(given, _)| *given).map(|(_, option)| option)
}

fn start_keys(options: &RunOptions, series: Option<&str>) -> Map<String, Value> {
    let entry = &options.entry;
    let command: Vec<_> = options.command.iter().map(|word| word.to_string_lossy()).collect();
    let keys = json!({
        "project": options.project,
        "experiment": entry.experiment,
        "organisation": entry.organisation,
        "name": entry.name,
        "series": series,
        "tags": entry.tags,
        "command": command,
        "zone": options.measuring.zone,
        // Where no place is given, that of the agent holds, with its PUE.
        "pue": options.measuring.zone.as_ref().map(|_| options.measuring.pue.0),
        "bound": "connection",
        "members": "none",
        "record": entry.chosen.location.is_some(),
    });
    match keys {
        Value::Object(keys) => keys,
        _ => Map::new(),
    }
}

impl AgentMeter {
    /// Under which id the run is found, where it is recorded with what is reported.
    pub fn recorded(&self) -> Option<&str> {
        let by_agent = self.gone.is_none() || self.stopped.is_some();
        (self.recorded && by_agent).then_some(self.run.as_str())
    }

    fn keys(&self) -> Map<String, Value> {
        [("run".to_owned(), Value::from(self.run.as_str()))].into_iter().collect()
    }

    fn alive(&mut self) -> Result<Option<u64>, LinkError> {
        let answer = self.link.ask("energy", self.keys())?;
        Ok(answer.get("runs").and_then(|runs| runs.get(0)?.get("alive")?.as_u64()))
    }
}

impl AgentMeter {
    fn own(&mut self) -> Option<&mut CommandMeter> {
        self.gone.as_mut().and_then(|(_, own)| own.as_deref_mut())
    }

    /// The agent has gone, or follows nothing of the command: what that uses from here on is measured.
    fn measure_itself(&mut self) {
        let own = self.pid.and_then(|pid| match open_attached(&self.options, pid) {
            Ok(own) => Some(Box::new(own)),
            Err(error) => {
                log::warn!("the agent does not measure the command, and nor can this program: {error}");
                None
            }
        });
        self.gone = Some((clock::monotonic_ns(), own));
    }

    /// Ends the run. One that is started again knows the run, if its state is kept: it is waited for.
    fn stop(&mut self, keys: &Map<String, Value>) -> Result<Map<String, Value>, LinkError> {
        let mut answer = match self.gone {
            None => self.link.ask("stop", keys.clone()),
            Some(_) => Link::open(&self.socket).and_then(|mut link| link.ask("stop", keys.clone())),
        };
        let since_ns = self.gone.as_ref().map_or_else(clock::monotonic_ns, |(since_ns, _)| *since_ns);
        while matches!(answer, Err(LinkError::Io { .. })) {
            let away = Duration::from_nanos(clock::monotonic_ns().saturating_sub(since_ns));
            if away > AGAIN_MAX {
                break;
            }
            std::thread::sleep(AGAIN_STEP);
            answer = Link::open(&self.socket).and_then(|mut link| link.ask("stop", keys.clone()));
        }
        answer
    }
}

impl Attendant for AgentMeter {
    fn started(&mut self, pid: u32) {
        self.pid = Some(pid);
        // All writing ends are closed by now: it does not wait.
        let byte = self.unjoined.take().map_or(0, |mut pipe| pipe.read(&mut [0]).unwrap_or(0));
        if byte > 0 {
            self.joined = false;
            self.measure_itself();
        }
    }

    fn tick(&mut self) {
        if let Some(own) = self.own() {
            own.tick();
        } else if self.gone.is_none() && self.link.is_closed() {
            self.measure_itself();
        }
    }

    async fn tree_gone(&mut self) {
        if let Some(own) = self.own() {
            return own.tree_gone().await;
        }
        loop {
            match self.alive() {
                Ok(Some(0)) => return,
                Ok(_) => {}
                Err(error) => {
                    log::warn!("cannot tell whether the command's processes have gone: {error}");
                    return;
                }
            }
            tokio::time::sleep(TREE_STEP).await;
        }
    }
}

impl RunMeasurement for AgentMeter {
    fn begin(&mut self) -> Result<Option<BeforeExec>, CliError> {
        let failed = |source| CliError::Start { action: "ask the agent", source };
        let address = SocketAddr::from_pathname(&self.socket).map_err(failed)?;
        let line = Link::line("join", self.keys()).into_bytes();
        let (reader, mut writer) = io::pipe().map_err(failed)?;
        self.unjoined = Some(reader);
        // An agent that ended since its run began keeps no command from running.
        Ok(Some(Box::new(move || match join(&address, &line) {
            Ok(()) => Ok(()),
            Err(_) => writer.write_all(&[1]),
        })))
    }

    fn adopts_orphans(&self) -> bool {
        false
    }

    fn report(&mut self, ended: &Ended, options: &RunOptions, layout: Layout) -> Result<String, CliError> {
        let status = match ended.outcome {
            Outcome::Exited(0) => "done",
            Outcome::Exited(_) => "failed",
            Outcome::Killed(_) => "killed",
        };
        let form = match options.format {
            RunFormat::Json => json!({ "format": "json" }),
            RunFormat::Table => {
                json!({ "format": "table", "columns": layout.columns, "colours": layout.colours })
            }
        };
        let by = format!("measured by the agent at {}", self.socket.display());
        let pue = options.measuring.pue_note();
        let notes: Vec<&String> = [&by].into_iter().chain(&pue).chain(&options.entry.notes).collect();
        let mut keys = self.keys();
        keys.insert("status".to_owned(), status.into());
        keys.insert("exit_status".to_owned(), ended.outcome.status().into());
        keys.insert("notes".to_owned(), json!(notes));
        keys.insert("report".to_owned(), form);
        // Of a run that the command never joined the agent knows nothing: its end is that of the connection.
        let stopped = if self.joined {
            self.stop(&keys).map_err(|error| error.to_string())
        } else {
            Err(String::new())
        };
        let answer = match stopped {
            Ok(answer) => answer,
            Err(error) => {
                let at = self.socket.display();
                let why = if self.joined {
                    format!(
                        "the agent at {at} ended before the command did, and does not know the run any more ({error}): this is \
                         what the command used from then on"
                    )
                } else {
                    format!(
                        "the agent at {at} ended, or refused, as the command was to join its run: measured without it"
                    )
                };
                if let Some(own) = self.own() {
                    own.note(why);
                    return own.report(ended, options, layout);
                }
                let error = anyhow::Error::msg(why).context("the agent does not say what the command used");
                return Err(CliError::CannotMeasure {
                    source: error,
                    advice: "see the agent's log, or give --no-agent".into(),
                });
            }
        };
        let text = answer.get("report").and_then(Value::as_str).unwrap_or_default().to_owned();
        self.stopped = Some(answer);
        Ok(text)
    }

    /// For means and limits of this program; the agent records the run.
    fn record(&mut self, ended: &Ended) -> Option<RunEnd> {
        if self.stopped.is_none() {
            return self.own().and_then(|own| own.record(ended));
        }
        let stopped = self.stopped.as_ref()?;
        let energy = stopped.get("energy")?;
        let number = |of: &Value, key: &str| of.get(key).and_then(Value::as_u64).unwrap_or(0);
        let quality = energy.get("quality").and_then(Value::as_str).and_then(parse_quality);
        let energies = quality.map(|quality| RunEnergy {
            kind: EnergyKind::Dynamic,
            // Grams are the agent's to say: of this none are made.
            factor: Factor::new(Intensity::of_unknown_place(), DEFAULT_PUE),
            recorded: None,
            quality,
            energy: Microjoules(number(energy, "energy_uj")),
            stddev_uj: 0.0,
        });
        Some(RunEnd {
            status: match ended.outcome {
                Outcome::Exited(0) => RunStatus::Done,
                Outcome::Exited(_) => RunStatus::Failed,
                Outcome::Killed(_) => RunStatus::Killed,
            },
            exit_status: ended.outcome.status().into(),
            end_us: 0,
            duration_ns: ended.end_ns.saturating_sub(ended.start_ns),
            outlived_by: stopped.get("outlived_by").and_then(Value::as_u64).unwrap_or(0),
            cpu: CpuNanos(number(energy, "cpu_ns")),
            accounting: String::new(),
            attribution: String::new(),
            static_policy: String::new(),
            hardware: String::new(),
            report: String::new(),
            energies: energies.into_iter().collect(),
            domains: Vec::new(),
        })
    }
}

/// Makes the calling process part of the run, by a connection of its own. Between fork and exec: system calls on what was there
/// before, and no allocation.
fn join(address: &SocketAddr, line: &[u8]) -> io::Result<()> {
    let mut stream = UnixStream::connect_addr(address)?;
    stream.set_read_timeout(Some(JOIN_MAX))?;
    stream.write_all(line)?;
    let mut answer = [0; 512];
    let mut count = 0;
    while let Some(room) = answer.get_mut(count..).filter(|room| !room.is_empty()) {
        let read = stream.read(room)?;
        count += read;
        if read == 0 || answer.contains(&b'\n') {
            break;
        }
    }
    if answer.starts_with(OK) {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(Errno::PROTO.raw_os_error()))
    }
}
