//! Runs of this ledger, sent to a team's server: `carbon run --server` and `carbon runs send`.
//!
//! A run goes under its own id, and its energies under numbers: what is sent again is written once, so that after an outage
//! everything can be sent anew.

use super::error::{CliError, warn};
use super::output::Output;
use super::serve_args::ServerArgs;
use super::store::StoreArgs;
use crate::ledger::rows::{RunEnd, RunEnergy, RunStart, RunStatus};
use crate::ledger::runs::{KeptRun, RunFilter};
use crate::metrics::Token;
use crate::provider::ProviderError;
use crate::provider::codecarbon::TeamServer;
use crate::units::Microjoules;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Of a run that names no experiment.
const EXPERIMENT: &str = "carbon run";

/// Words of a command that the server takes.
const WORDS_MAX: usize = 100;

/// Where to, and by what right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Destination {
    url: String,
    token: Token,
    ca_file: Option<PathBuf>,
}

fn wrong(option: &'static str, value: &str, reason: String) -> CliError {
    CliError::Argument {
        option,
        value: value.to_owned(),
        reason,
        advice: "give the URL of a carbon serve, a token that may post in --server-token-file, and, where its certificate is \
                 signed by none that this system trusts, --server-ca-file"
            .into(),
    }
}

impl Destination {
    /// Checks what was given; none where no server is.
    pub(super) fn check(args: &ServerArgs) -> Result<Option<Self>, CliError> {
        let Some(url) = args.server.as_deref().filter(|url| !url.trim().is_empty()) else { return Ok(None) };
        let Some(file) = &args.server_token_file else {
            return Err(wrong("--server", url, "there is no token".into()));
        };
        let token = Token::read(file)
            .map_err(|error| wrong("--server-token-file", &file.display().to_string(), error.to_string()))?;
        let this = Self { url: url.to_owned(), token, ca_file: args.server_ca_file.clone() };
        this.server()?;
        Ok(Some(this))
    }

    fn server(&self) -> Result<TeamServer, CliError> {
        TeamServer::new(&self.url, &self.token.text(), self.ca_file.as_deref())
            .map_err(|reason| wrong("--server", &self.url, reason))
    }

    /// Sends a run that has just ended. A server that fails is no failure of the command: it is said, and how to send it later.
    pub(super) fn send_or_warn(&self, start: &RunStart, end: &RunEnd, kept: bool, quiet: bool) {
        let sent = self.server().map_err(|error| error.to_string());
        let sent = sent.and_then(|server| send(&server, start, end).map_err(|error| error.to_string()));
        if let Err(reason) = sent {
            let later = if kept {
                format!("send it later: carbon runs send {} --server {}", start.id, self.url)
            } else {
                "it is kept nowhere".to_owned()
            };
            warn(quiet, &format!("the run is not on the server: {reason}; {later}"));
        }
    }
}

/// `carbon runs send`. The status is 1 where some could not be sent.
pub(super) fn send_kept(
    wanted: &[String],
    filter: &RunFilter,
    args: &ServerArgs,
    store: &StoreArgs,
) -> Result<u8, CliError> {
    let Some(destination) = Destination::check(args)? else {
        return Err(CliError::CommandLine("give --server URL, or CARBON_SERVER".into()));
    };
    let mut ledger = store.open_to_read()?;
    let runs: Vec<KeptRun> = if wanted.is_empty() {
        ledger.runs(filter)?
    } else {
        wanted.iter().map(|id| ledger.find_run(id)).collect::<Result<_, _>>()?
    };
    let server = destination.server()?;
    let (mut sent, mut open, mut failed) = (0_u64, 0_u64, 0_u64);
    for run in &runs {
        let Some(end) = &run.end else {
            open += 1;
            continue;
        };
        match send(&server, &run.start, end) {
            Ok(()) => sent += 1,
            // One that is not taken keeps no other back; a server that does not answer has nothing for the others either.
            Err(error @ ProviderError::NotTaken { .. }) => {
                failed += 1;
                warn(false, &format!("run {}: {error}", run.start.id));
            }
            Err(error) => return Err(wrong("--server", server.url(), error.to_string())),
        }
    }
    let text =
        format!("{sent} runs are on {}; {failed} were not taken; {open} have not ended\n", server.url());
    Output::Stdout.write(&text)?;
    Ok(u8::from(failed > 0))
}

fn send(server: &TeamServer, start: &RunStart, end: &RunEnd) -> Result<(), ProviderError> {
    let path = format!("/api/v1/runs/{}", start.id);
    server.put(&path, &begin(start, end, None))?;
    for (sequence, post) in posts(end).iter().enumerate() {
        server.put(&format!("{path}/posts/{sequence}"), post)?;
    }
    server.put(&path, &begin(start, end, Some(end.status)))
}

fn time(us: i64) -> String {
    Timestamp::from_microsecond(us).unwrap_or_default().to_string()
}

fn begin(start: &RunStart, end: &RunEnd, status: Option<RunStatus>) -> Value {
    json!({
        "experiment": start.experiment.as_deref().unwrap_or(EXPERIMENT),
        "started": time(start.start_us),
        "node": start.node,
        "name": start.name,
        "tags": start.tags,
        "command": start.command.iter().take(WORDS_MAX).collect::<Vec<_>>(),
        "hardware": end.hardware,
        "status": status.map(RunStatus::as_str),
    })
}

/// One post for each factor and quality, the time in the first: the server adds up times too.
fn posts(end: &RunEnd) -> Vec<Value> {
    let mut groups: Vec<(&RunEnergy, Microjoules, f64)> = Vec::new();
    for row in &end.energies {
        match groups.iter_mut().find(|(one, ..)| one.factor == row.factor && one.quality == row.quality) {
            Some((_, energy, stddev_uj)) => {
                *energy += row.energy;
                *stddev_uj += row.stddev_uj;
            }
            None => groups.push((row, row.energy, row.stddev_uj)),
        }
    }
    // What runs used of each domain is known for all of them together.
    let alone = groups.len() == 1;
    let of = |kinds: &[&str]| -> u64 {
        let rows = end.domains.iter().filter(|row| kinds.contains(&row.domain.domain.as_str()));
        if alone { rows.map(|row| row.attributed.0).sum() } else { 0 }
    };
    let post = |(place, (row, energy, stddev_uj)): (usize, (&RunEnergy, Microjoules, f64))| {
        let factor = &row.factor;
        json!({
            "at": time(end.end_us),
            "duration_ns": if place == 0 { end.duration_ns } else { 0 },
            "energy_uj": energy.0,
            "cpu_uj": of(&["package", "platform"]),
            "gpu_uj": of(&["gpu"]),
            "ram_uj": of(&["dram"]),
            // The server has no PUE of its own.
            "g_per_kwh": factor.intensity.g_per_kwh.0 * factor.pue.0,
            "zone": factor.intensity.zone,
            "source": factor.intensity.source,
            "quality": row.quality.as_str(),
            "stddev_uj": stddev_uj,
        })
    };
    groups.into_iter().enumerate().map(post).collect()
}
