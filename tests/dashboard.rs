//! The dashboard, in a real browser, with the data of an agent and of runs made here.

use crate::agent::{Machine, end};
use rustix::process::Signal;
use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// A name that is markup, if anything takes it for that.
const MARKUP: &str = "<img src=x onerror=alert(1)>";

/// A name that clears a screen, and turns what stands behind it.
const TURNED: &str = "\u{1b}[2J\u{202e}drawkcab";

struct Dashboard {
    child: Child,
    /// Such as `127.0.0.1:40123`.
    address: String,
}

impl Dashboard {
    fn start(store: &Path, more: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_carbon"))
            .args(["dashboard", "--listen", "127.0.0.1:0", "--store"])
            .arg(store)
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("the dashboard is at http://").unwrap();
        Self { address: address.trim_end_matches('/').to_owned(), child }
    }

    /// The whole answer to a request with these headers.
    fn ask(&self, path: &str, headers: &str) -> String {
        String::from_utf8(self.ask_bytes(path, headers)).unwrap()
    }

    /// The same where it need not be text.
    fn ask_bytes(&self, path: &str, headers: &str) -> Vec<u8> {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        answer
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Runs of two projects, in a ledger of the machine's folder.
fn runs(machine: &Machine) -> PathBuf {
    let store = machine.path("ledger.db");
    for (project, line) in [("thesis", "busy"), ("thesis", "busy"), ("thesis", "busy"), (MARKUP, "true")] {
        let busy = "i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done";
        let line = if line == "busy" { busy } else { line };
        let status = Command::new(env!("CARGO_BIN_EXE_carbon"))
            .args([
                "run",
                "--quiet",
                "--no-agent",
                "--accounting",
                "proc",
                "--meter",
                "model",
                "--project",
                project,
            ])
            .arg("--store")
            .arg(&store)
            .args(["--", "sh", "-c", line])
            .env("CARBON_STATE", "none")
            .env("CARBON_ZONE", "FR")
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
    }
    store
}

/// As runs are recorded where CPU time is counted by the scheduler's books: with processes, which `proc` does not tell.
fn with_processes(store: &Path) {
    let ledger = rusqlite::Connection::open(store).unwrap();
    let processes = r#"[{"pid":77,"comm":"sh","cpu_ns":5000000,"dynamic_uj":60000}]"#;
    let set = "UPDATE run SET report = json_set(report, '$.processes', json(?1))";
    assert_eq!(ledger.execute(set, [processes]).unwrap(), 4);
}

#[test]
fn answers_are_the_reports_and_only_its_own_names_are_served() {
    let machine = Machine::new();
    let store = runs(&machine);
    with_processes(&store);
    let dashboard = Dashboard::start(&store, &[]);
    let host = format!("Host: {}\r\n", dashboard.address);
    for topic in ["overview", "power", "workloads", "runs", "regions", "intensity", "equivalents", "quality"]
    {
        let answer = dashboard.ask(&format!("/api/v1/{topic}?tz=UTC"), &host);
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"schema\""), "{topic}: {answer}");
    }
    let plain = dashboard.ask_bytes("/api/v1/regions", &host);
    let packed = dashboard.ask_bytes("/api/v1/regions", &format!("{host}Accept-Encoding: gzip\r\n"));
    assert!(String::from_utf8_lossy(&packed).contains("content-encoding: gzip"));
    assert!(packed.len() * 2 < plain.len(), "{} of {} bytes", packed.len(), plain.len());
    let runs = dashboard.ask("/api/v1/runs", &host);
    assert_eq!(runs.matches("\"thesis\"").count(), 3, "{runs}");
    // A run has the processes that were recorded with it; of a workload the ledger has none, and that is said.
    let body = |answer: &str| -> serde_json::Value {
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    };
    let id = body(&runs)["runs"][0]["id"].as_str().unwrap().to_owned();
    let processes = body(&dashboard.ask(&format!("/api/v1/processes?within=run:{id}"), &host));
    let sh = &processes["processes"][0];
    assert!(sh["comm"] == "sh" && sh["dynamic_uj"] == 60_000, "{processes}");
    let none = body(&dashboard.ask("/api/v1/processes?within=workload:/", &host));
    assert!(none["processes"].as_array().unwrap().is_empty(), "{none}");
    assert!(none["notes"][0].as_str().unwrap().contains("--dashboard on"), "{none}");
    // No agent wrote: what pages say of the machine, they say of the runs, and of how many.
    let overview = body(&dashboard.ask("/api/v1/overview?tz=UTC", &host));
    for time in ["interval", "today", "month"] {
        assert!(overview[time]["runs"] == 4 && overview[time]["grams"].is_f64(), "{time}: {overview}");
    }
    assert_eq!(overview["domains"].as_array().unwrap().len(), 0, "projects are no domains: {overview}");
    let equivalents = body(&dashboard.ask("/api/v1/equivalents?tz=UTC", &host));
    assert_eq!(equivalents["total"]["grams"], overview["interval"]["grams"]);
    let quality = body(&dashboard.ask("/api/v1/quality?tz=UTC", &host));
    assert!(quality["runs"] == 4 && quality["energies"][0]["quality"] == "modelled", "{quality}");
    let of_kinds: u64 =
        quality["energies"].as_array().unwrap().iter().map(|it| it["energy_uj"].as_u64().unwrap()).sum();
    assert_eq!(overview["interval"]["dynamic_uj"], of_kinds, "{quality}");
    let meter = &quality["meters"][0];
    assert!(meter["gaps"].is_null() && meter["covered_ns"].as_u64() > Some(0), "{quality}");
    assert_eq!(meter["metered_uj"], quality["reconciliation"]["metered_uj"], "{quality}");
    // Of a time without runs nothing is known, as before.
    let never = "?tz=UTC&from=2001-01-01&to=2001-01-02";
    let overview = body(&dashboard.ask(&format!("/api/v1/overview{never}"), &host));
    assert!(overview["interval"]["runs"].is_null() && overview["interval"]["grams"].is_null(), "{overview}");
    let quality = body(&dashboard.ask(&format!("/api/v1/quality{never}"), &host));
    assert!(quality["runs"].is_null() && quality["meters"].as_array().unwrap().is_empty(), "{quality}");
    // Without a place, that of the ledger, where it has one only: the runs were in France.
    let here = body(&dashboard.ask("/api/v1/intensity", &host));
    assert!(here["zone"] == "FR" && here["assumed"] == false, "{here}");
    let page = dashboard.ask("/", &host);
    assert!(page.contains("content-security-policy: default-src 'none'; script-src 'self'"), "{page}");
    for (path, headers, status) in [
        ("/", "Host: evil.example\r\n", "421"),
        ("/api/v1/runs", "Host: localhost.evil.example\r\n", "421"),
        ("/api/v1/runs", "", "421"),
        ("/api/v1/nothing", &host, "404"),
        ("/api/v1/runs?what=1", &host, "400"),
        ("/api/v1/workloads?by=project", &host, "200"),
        ("/api/v1/workloads?by=run", &host, "400"),
        ("/api/v1/workloads?by=project&within=unit:x", &host, "400"),
        ("/api/v1/live", &host, "204"),
        ("/api/v1/processes?within=run:none", &host, "400"),
        ("/api/v1/processes", &host, "400"),
        ("/api/v1/workloads?from=yesterday-ish", &host, "400"),
    ] {
        let answer = dashboard.ask(path, headers);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path} {headers}: {answer}");
    }
}

#[test]
fn with_a_token_only_who_shows_it_reads() {
    let machine = Machine::new();
    let store = runs(&machine);
    let token = machine.path("token");
    fs::write(&token, "0123456789abcdef\n").unwrap();
    let dashboard = Dashboard::start(&store, &["--token-file", token.to_str().unwrap()]);
    let host = format!("Host: {}\r\n", dashboard.address);
    assert!(dashboard.ask("/", &host).starts_with("HTTP/1.1 200"), "the page asks for the token itself");
    assert!(dashboard.ask("/api/v1/runs", &host).starts_with("HTTP/1.1 401"));
    let wrong = format!("{host}Authorization: Bearer 0123456789abcdeX\r\n");
    assert!(dashboard.ask("/api/v1/runs", &wrong).starts_with("HTTP/1.1 401"));
    let right = format!("{host}Authorization: Bearer 0123456789abcdef\r\n");
    assert!(dashboard.ask("/api/v1/runs", &right).starts_with("HTTP/1.1 200"));
    let reached = Command::new(env!("CARGO_BIN_EXE_carbon"))
        .args(["dashboard", "--listen", "0.0.0.0:0", "--store"])
        .arg(&store)
        .output()
        .unwrap();
    assert_eq!(reached.status.code(), Some(2), "others would reach it without a token");
}

#[test]
fn an_older_ledger_is_refused_and_stays_as_it_is() {
    let machine = Machine::new();
    let store = runs(&machine);
    let older = rusqlite::Connection::open(&store).unwrap();
    older.execute("UPDATE meta SET value = 2 WHERE name = 'schema'", []).unwrap();
    let refused = Command::new(env!("CARGO_BIN_EXE_carbon"))
        .args(["dashboard", "--listen", "127.0.0.1:0", "--store"])
        .arg(&store)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("carbon ledger verify"), "{said}");
    let schema: i64 =
        older.query_row("SELECT value FROM meta WHERE name = 'schema'", [], |row| row.get(0)).unwrap();
    assert_eq!(schema, 2, "who only reads changes nothing");
}

/// The agent's own pages, beside its metrics.
#[test]
fn an_agent_serves_the_pages_and_its_windows() {
    let machine = Machine::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listen = format!("127.0.0.1:{port}");
    let options =
        ["--interval", "200ms", "--flush", "500ms", "--listen", listen.as_str(), "--dashboard", "on"];
    let agent = machine.start(&options);
    let ask = |path: &str, host: &str| -> TcpStream {
        let connected = |_| {
            sleep(Duration::from_millis(50));
            TcpStream::connect(&listen).ok()
        };
        let mut stream = (0..100).find_map(connected).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
        stream
    };
    let whole = |path: &str, host: &str| {
        let mut text = String::new();
        ask(path, host).read_to_string(&mut text).unwrap();
        text
    };
    assert!(whole("/", "localhost").contains("content-security-policy: default-src 'none'"));
    assert!(whole("/", "evil.example").starts_with("HTTP/1.1 421"));
    // Without a token the metrics are as the pages are.
    assert!(whole("/metrics", "evil.example").starts_with("HTTP/1.1 421"));
    sleep(Duration::from_millis(1_500));
    assert!(whole("/api/v1/overview?tz=UTC", "localhost").contains("\"schema\":\"carbon.overview/1\""));
    // Two windows, one after the other, for each who follows; there is room for eight.
    let mut followers: Vec<BufReader<TcpStream>> =
        (0..8).map(|_| BufReader::new(ask("/api/v1/live", "localhost"))).collect();
    let mut next = |at: usize| -> i64 {
        let lines = std::iter::from_fn(|| {
            let mut line = String::new();
            (followers[at].read_line(&mut line).unwrap() > 0).then_some(line)
        });
        let event = lines.map(|line| line.trim().to_owned()).find(|line| line.starts_with("data: ")).unwrap();
        let window: serde_json::Value = serde_json::from_str(&event[6..]).unwrap();
        assert_eq!(window["schema"], "carbon.live/1");
        assert_eq!(window["domains"][0]["domain"], "package");
        window["window_end_us"].as_i64().unwrap()
    };
    let (first, second) = (next(0), next(0));
    // Of a workload that it measures, processes; of anything else none, and why.
    let processes = |within: &str| -> serde_json::Value {
        let text = whole(&format!("/api/v1/processes?within={within}"), "localhost");
        serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap()
    };
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default().to_owned();
    let found = processes(&format!("workload:{own}"));
    let rows = found["processes"].as_array().unwrap();
    assert_eq!(found["schema"], "carbon.processes/1");
    assert!(
        rows.iter().any(|it| it["pid"] == std::process::id()) || !found["notes"][0].is_null(),
        "{own}: {found}"
    );
    assert!(rows.is_empty() || rows.iter().all(|it| it["dynamic_uj"].is_null()), "{found}");
    let none = processes("workload:/there/is/none");
    assert!(none["processes"].as_array().unwrap().is_empty() && none["notes"][0].is_string(), "{none}");
    assert!(whole("/api/v1/processes?within=pod:x", "localhost").starts_with("HTTP/1.1 400"));
    assert!(second > first, "{first} {second}");
    for at in 1..8 {
        next(at);
    }
    assert!(whole("/api/v1/live", "localhost").starts_with("HTTP/1.1 503"), "there is room for eight");
    assert!(
        whole("/metrics", "localhost").starts_with("HTTP/1.1 200"),
        "and for who reads metrics beside them"
    );
    drop(followers);
    let (said, status) = end(agent, Signal::TERM);
    assert_eq!(status, Some(0), "{said}");
}

/// Where it is found along PATH.
fn found(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

#[test]
fn pages_work_in_a_browser() {
    let [Some(node), Some(npm), Some(chromium)] = ["node", "npm", "chromium"].map(found) else {
        println!("SKIPPED: pages_work_in_a_browser: node, npm and chromium are needed");
        return;
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("browser");
    let shots = folder.join("screenshots");
    fs::create_dir_all(&shots).unwrap();
    for name in ["package.json", "package-lock.json", "pages.mjs", "speed.mjs", "picture.mjs"] {
        fs::copy(root.join("tests/browser").join(name), folder.join(name)).unwrap();
    }
    let npm = Command::new(npm)
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(&folder)
        .output()
        .unwrap();
    if !npm.status.success() {
        println!("SKIPPED: pages_work_in_a_browser: npm: {}", String::from_utf8_lossy(&npm.stderr));
        return;
    }
    let machine = Machine::new();
    let store = runs(&machine);
    with_processes(&store);
    let agent = machine.start(&["--interval", "200ms", "--flush", "500ms"]);
    sleep(Duration::from_millis(2_500));
    let (said, status) = end(agent, Signal::TERM);
    assert_eq!(status, Some(0), "{said}");
    // As much as a hall of such machines would have used, so that it is worth something everyday.
    let more = rusqlite::Connection::open(&store).unwrap();
    more.execute_batch(
        "UPDATE energy SET energy_uj = energy_uj * 1000000; UPDATE balance SET metered_uj = metered_uj * 1000000, \
         attributed_uj = attributed_uj * 1000000, static_uj = static_uj * 1000000, lost_uj = lost_uj * 1000000;",
    )
    .unwrap();
    // Such names are refused by carbon run; a ledger may have them of others.
    for (place, name) in [(0, TURNED.to_owned()), (1, "x".repeat(4096))] {
        let first =
            "UPDATE run SET name = ?1 WHERE id = (SELECT id FROM run ORDER BY start_us LIMIT 1 OFFSET ?2)";
        more.execute(first, (name, place)).unwrap();
    }
    drop(more);
    let dashboard = Dashboard::start(&store, &[]);
    let of_runs = Machine::new();
    let alone = Dashboard::start(&runs(&of_runs), &[]);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listen = format!("127.0.0.1:{port}");
    let agent = machine.start(&["--interval", "500ms", "--listen", &listen, "--dashboard", "on"]);
    let pages = Command::new(node)
        .arg("pages.mjs")
        .arg(format!("http://{}/", dashboard.address))
        .arg(&chromium)
        .arg(&shots)
        .arg(format!("http://{listen}/"))
        .arg(format!("http://{}/", alone.address))
        .current_dir(&folder)
        .output()
        .unwrap();
    end(agent, Signal::TERM);
    let said = String::from_utf8_lossy(&pages.stdout) + String::from_utf8_lossy(&pages.stderr);
    assert!(pages.status.success(), "{said}");
    let live = Command::new(found("node").unwrap())
        .arg("speed.mjs")
        .arg(format!("http://{}/", dashboard.address))
        .arg(&chromium)
        .arg(&shots)
        .current_dir(&folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&live.stdout) + String::from_utf8_lossy(&live.stderr);
    println!("{said}");
    assert!(live.status.success(), "{said}");
    // The picture of the README is made so, of another ledger.
    let picture = Command::new(found("node").unwrap())
        .arg("picture.mjs")
        .arg(format!("http://{}/?range=1h", dashboard.address))
        .arg(&chromium)
        .arg(shots.join("readme.png"))
        .current_dir(&folder)
        .output()
        .unwrap();
    assert!(picture.status.success(), "{}", String::from_utf8_lossy(&picture.stdout));
    // Each page light, dark and narrow; then names, none, old, on paper, two of processes, four of runs alone, two that follow an agent
    // until it ends, and the README's.
    assert_eq!(fs::read_dir(&shots).unwrap().count(), 21 + 4 + 2 + 4 + 3 + 1);
}
