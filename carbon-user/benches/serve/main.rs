//! `cargo xtask bench serve`: many clients post to `carbon serve` at a steady pace, each post with a connection of its own, as
//! CodeCarbon's client does. What was acknowledged is compared with what the ledger has.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark starts programs, looks at the clock and prints"
)]

#[path = "../kernel/doc.rs"]
mod doc;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

#[derive(Clone, Debug, Parser)]
struct Arguments {
    /// Clients at one time.
    #[arg(long, default_value_t = 100)]
    clients: u32,
    /// Posts a second of each.
    #[arg(long, default_value_t = 10)]
    rate: u32,
    /// For how long.
    #[arg(long, default_value_t = 20)]
    seconds: u32,
    /// The ledger; a file of its own where none is given.
    #[arg(long)]
    store: Option<String>,
    /// The file whose section is written anew.
    #[arg(long)]
    document: Option<PathBuf>,
    /// As cargo calls it.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What one client saw.
#[derive(Default)]
struct Seen {
    acknowledged: u64,
    refused: u64,
    late: u64,
    waits: Vec<Duration>,
}

struct Serve(Child);

impl Drop for Serve {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir()?;
    let store = match &arguments.store {
        Some(store) => store.clone(),
        None => folder.path().join("team.db").to_string_lossy().into_owned(),
    };
    let said = |words: &[&str]| said(&store, words);
    said(&["serve", "organisation", "add", "bench"])?;
    let project = said(&["serve", "project", "add", "bench/load"])?;
    let token = said(&["serve", "token", "add", "bench/load"])?;
    let (mut serve, address) = begin(&store)?;
    let runs: Vec<String> =
        (0..arguments.clients).map(|number| format!("0198c5a0-93f6-7cc2-8e6a-{number:012x}")).collect();
    for run in &runs {
        let body = r#"{"experiment": "bench", "started": "2026-01-01T00:00:00Z"}"#;
        let (status, text) = ask(&address, "PUT", &format!("/api/v1/runs/{run}"), &token, body)?;
        ensure!(status == 200, "{status}: {text}");
    }
    let begun = Instant::now();
    let mut seen: Vec<Seen> = thread::scope(|scope| {
        let clients: Vec<_> = runs
            .iter()
            .enumerate()
            .map(|(number, run)| {
                let (address, token, arguments) = (&address, &token, &arguments);
                scope.spawn(move || client(number, run, address, token, arguments))
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap_or_default()).collect()
    });
    let took = begun.elapsed().as_secs_f64();
    let cpu = cpu_seconds(serve.0.id())?;
    let acknowledged: u64 = seen.iter().map(|it| it.acknowledged).sum();
    let refused: u64 = seen.iter().map(|it| it.refused).sum();
    let late: u64 = seen.iter().map(|it| it.late).sum();
    let mut waits: Vec<Duration> = seen.iter_mut().flat_map(|it| std::mem::take(&mut it.waits)).collect();
    waits.sort_unstable();
    let kept = kept(&address, &project, &token)?;
    ensure!(kept == acknowledged, "{acknowledged} posts were acknowledged, and {kept} are kept");
    let _gone = serve.0.kill();
    let at = |share: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a place"
        )]
        let place = (share * waits.len() as f64) as usize;
        waits.get(place.min(waits.len().saturating_sub(1))).copied().unwrap_or_default().as_secs_f64() * 1e3
    };
    #[expect(clippy::cast_precision_loss, reason = "for rates")]
    let posts = acknowledged as f64;
    let rate = posts / took;
    let place = if store.contains("://") { "PostgreSQL" } else { "SQLite" };
    let build = if cfg!(debug_assertions) { ", a debug build" } else { "" };
    let text = format!(
        "{} clients, {} posts a second each, for {} s, each on a connection of its own, the clients on the same machine; \
         {place}{build}. All {acknowledged} acknowledged posts are in the ledger once.\n\n\
         | What | |\n|---|---:|\n| Posts a second, acknowledged (on the disk) | {rate:.0} |\n| Refused or unanswered | {refused} |\n\
         | Begun more than a second late | {late} |\n| Time of a post, median | {:.1} ms |\n| 99 of 100 within | {:.1} ms |\n\
         | Longest | {:.1} ms |\n| CPU time of the server for each post | {:.2} ms |\n",
        arguments.clients,
        arguments.rate,
        arguments.seconds,
        at(0.5),
        at(0.99),
        at(1.0),
        cpu * 1e3 / posts.max(1.0),
    );
    println!("{text}");
    let section = if place == "SQLite" { "serve" } else { "serve-postgresql" };
    doc::write(arguments.document.as_deref(), section, &text)
}

/// Posts at its pace, whatever the answers take; their starts are spread over the interval.
fn client(number: usize, run: &str, address: &str, token: &str, arguments: &Arguments) -> Seen {
    let pace = Duration::from_secs(1) / arguments.rate.max(1);
    let posts = arguments.rate * arguments.seconds;
    let shift = pace * u32::try_from(number).unwrap_or(0) / arguments.clients.max(1);
    let begun = Instant::now() + shift;
    let mut seen = Seen::default();
    for sequence in 0..posts {
        let due = begun + pace * sequence;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        seen.late += u64::from(due.elapsed() > Duration::from_secs(1));
        let body = format!(
            r#"{{"at": "2026-01-01T00:00:01Z", "duration_ns": 100000000, "energy_uj": {}, "g_per_kwh": 56.0}}"#,
            1_000_000 + sequence
        );
        let path = format!("/api/v1/runs/{run}/posts/{sequence}");
        let asked = Instant::now();
        match ask(address, "PUT", &path, token, &body) {
            Ok((201, _)) => {
                seen.acknowledged += 1;
                seen.waits.push(asked.elapsed());
            }
            _ => seen.refused += 1,
        }
    }
    seen
}

fn said(store: &str, words: &[&str]) -> Result<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_carbon")).args(words).args(["--store", store]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn begin(store: &str) -> Result<(Serve, String)> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_carbon"))
        .args(["serve", "--listen", "127.0.0.1:0", "--store", store])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
    let address = line.trim().strip_prefix("carbon serve is at http://").context("no address")?;
    Ok((Serve(child), address.trim_end_matches('/').to_owned()))
}

fn ask(address: &str, verb: &str, path: &str, token: &str, body: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let request = format!(
        "{verb} {path} HTTP/1.1\r\nHost: {address}\r\nx-api-token: {token}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    Ok((head.split(' ').nth(1).context("no status")?.parse()?, body.to_owned()))
}

/// Posts that the ledger has.
fn kept(address: &str, project: &str, token: &str) -> Result<u64> {
    let (status, text) = ask(address, "GET", &format!("/api/v1/projects/{project}/sums"), token, "")?;
    ensure!(status == 200, "{text}");
    let sums: serde_json::Value = serde_json::from_str(&text)?;
    let posts = sums.pointer("/groups/0/posts").and_then(serde_json::Value::as_u64);
    posts.context("no sum")
}

/// User and system time of a process: fields 14 and 15 of `proc_pid_stat(5)`, in ticks.
fn cpu_seconds(pid: u32) -> Result<f64> {
    let text = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"))?;
    let (_, fields) = text.rsplit_once(") ").context("no fields")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks = |place: usize| -> Result<f64> { Ok(fields.get(place).context("too short")?.parse()?) };
    #[expect(clippy::cast_precision_loss, reason = "ticks a second")]
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    Ok((ticks(11)? + ticks(12)?) / per_second)
}
