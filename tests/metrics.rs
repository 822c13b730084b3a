//! The metrics as their readers get them: over HTTP, by promtool, and by a Prometheus that scrapes them.

use arc_swap::ArcSwap;
use carbon_user::agent::{Cause, DomainSums, DomainTotals, Published, Who, WorkloadTotals};
use carbon_user::metrics::server::Limits;
use carbon_user::metrics::{Aliases, Feed, Listen, Server, Token};
use carbon_user::units::{CpuNanos, Microjoules, Quality, Watts};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

pub(crate) fn published(windows: u64, joules: u64) -> Published {
    let workload = |index: u64| WorkloadTotals {
        who: Arc::new(Who {
            identity: format!("/system.slice/w{index}.service"),
            kind: "unit",
            ..Who::default()
        }),
        domains: vec![DomainSums {
            dynamic_energy: Microjoules(joules * 100_000),
            static_energy: Microjoules(0),
            quality: Some(Quality::Measured),
        }],
        cpu: CpuNanos(1_000_000 * index),
        watts: Watts(1.0),
    };
    Published {
        domains: vec![DomainTotals {
            domain: "package",
            device: "package-0".to_owned(),
            source: "powercap".to_owned(),
            quality: Quality::Measured,
            metered: Microjoules(joules * 1_000_000),
            attributed: Microjoules(joules * 1_000_000),
            static_energy: Microjoules(0),
            static_shared: Microjoules(0),
            lost: Microjoules(0),
            gaps: 0,
            unread: 0,
            faults: 0,
            watts: Some(Watts(10.0)),
            limits: None,
        }],
        workloads: (0..10).map(workload).collect(),
        windows,
        window_ns: 1_000_000_000,
        ..Published::default()
    }
}

pub(crate) fn feed(published: Published) -> Feed {
    Feed { published: Arc::new(ArcSwap::from_pointee(published)), ..Feed::default() }
}

fn any_port() -> Listen {
    Listen::new("127.0.0.1:0".parse().unwrap(), None).unwrap()
}

/// Sends bytes as they are, and reads until the other side closes.
fn send(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // It may have closed already, having seen enough.
    let _closed = stream.write_all(request);
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(address: SocketAddr, path: &str, header: &str) -> String {
    send(address, format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{header}\r\n").as_bytes())
}

/// The view is made within a second of a publication.
fn wait_ready(address: SocketAddr) {
    for _ in 0..100 {
        if get(address, "/readyz", "").starts_with("HTTP/1.1 200") {
            return;
        }
        sleep(Duration::from_millis(50));
    }
    panic!("not ready: {}", get(address, "/readyz", ""));
}

#[test]
fn a_scrape_is_answered_in_the_format_asked_for() {
    let server = Server::start(any_port(), feed(published(1, 10)), Limits::default()).unwrap();
    let address = server.address();
    wait_ready(address);
    let text = get(address, "/metrics", "");
    assert!(text.starts_with("HTTP/1.1 200") && text.contains("text/plain; version=0.0.4"), "{text}");
    assert!(text.contains("# TYPE carbon_node_energy_joules_total counter"), "{text}");
    let text = get(address, "/metrics", "Accept: application/openmetrics-text; version=1.0.0\r\n");
    assert!(
        text.contains("content-type: application/openmetrics-text") && text.ends_with("# EOF\n"),
        "{text}"
    );
    assert!(get(address, "/healthz", "").starts_with("HTTP/1.1 200"));
    let missing = get(address, "/", "");
    assert!(missing.starts_with("HTTP/1.1 404") && missing.contains("/metrics"), "{missing}");
    let post = send(address, b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    assert!(post.starts_with("HTTP/1.1 405"), "{post}");
}

#[test]
fn not_ready_before_the_first_window() {
    let feed = feed(Published::default());
    let server = Server::start(any_port(), feed.clone(), Limits::default()).unwrap();
    let answer = get(server.address(), "/readyz", "");
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("no window yet"), "{answer}");
    assert!(get(server.address(), "/healthz", "").starts_with("HTTP/1.1 200"), "starting is not unhealthy");
    feed.published.store(Arc::new(published(1, 1)));
    wait_ready(server.address());
}

#[test]
fn unhealthy_when_no_window_comes() {
    let server = Server::start(any_port(), feed(published(1, 1)), Limits::default()).unwrap();
    wait_ready(server.address());
    // Ten seconds at least.
    sleep(Duration::from_secs(11));
    let answer = get(server.address(), "/healthz", "");
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("no window for 1"), "{answer}");
}

#[test]
fn another_address_than_loopback_needs_a_token() {
    let open = "0.0.0.0:0".parse().unwrap();
    let refused = Listen::new(open, None).unwrap_err().to_string();
    assert!(refused.contains("bearer token"), "{refused}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    fs::write(&path, "a-secret-of-some-length\n").unwrap();
    let listen = Listen::new(open, Some(Token::read(&path).unwrap())).unwrap();
    let server = Server::start(listen, feed(published(1, 10)), Limits::default()).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], server.address().port()));
    wait_ready(address);
    for wrong in ["", "Authorization: Bearer a-secret-of-some-lengtX\r\n"] {
        let answer = get(address, "/metrics", wrong);
        assert!(answer.starts_with("HTTP/1.1 401") && !answer.contains("joules"), "{answer}");
    }
    let right = get(address, "/metrics", "Authorization: Bearer a-secret-of-some-length\r\n");
    assert!(right.starts_with("HTTP/1.1 200"), "{right}");
}

#[test]
fn a_name_that_was_made_to_point_here_reads_nothing_without_a_token() {
    let named = Published { node: "node-7".to_owned(), ..published(1, 10) };
    let feed = feed(named);
    let refused = Arc::clone(&feed.refused);
    let server = Server::start(any_port(), feed, Limits::default()).unwrap();
    let address = server.address();
    wait_ready(address);
    let of = |host: &str| send(address, format!("GET /metrics HTTP/1.1\r\n{host}\r\n").as_bytes());
    for own in ["Host: 127.0.0.1:9488\r\n", "Host: localhost\r\n", "Host: Node-7:9488\r\n"] {
        assert!(of(own).starts_with("HTTP/1.1 200"), "{own}");
    }
    assert!(send(address, b"GET /metrics HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 200"), "no browser");
    let answer = of("Host: rebound.example:9488\r\n");
    assert!(answer.starts_with("HTTP/1.1 421") && !answer.contains("joules"), "{answer}");
    assert!(answer.contains("token"), "what to do: {answer}");
    assert_eq!(refused.counts().of(Cause::Host), 1);
}

#[test]
fn readers_that_never_finish_do_not_keep_others_out() {
    // No limit of time ends them: who has asked nothing makes room for who comes.
    let hour = Duration::from_hours(1);
    let limits = Limits { connections: 4, headers: hour, connection: hour, ..Limits::default() };
    let server = Server::start(any_port(), feed(published(1, 10)), limits).unwrap();
    let address = server.address();
    wait_ready(address);
    // Three times as many as there is room for: each begins a request and does not end it, as a slow-loris does.
    let mut slow: Vec<TcpStream> = (0..12).map(|_| TcpStream::connect(address).unwrap()).collect();
    for stream in &mut slow {
        stream.write_all(b"GET /metrics HTTP/1.1\r\nX: ").unwrap();
    }
    for _ in 0..3 {
        let answer = get(address, "/metrics", "");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    // The oldest are closed, and those for whom there is room may still ask.
    let first = slow.first_mut().unwrap();
    first.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert!(matches!(first.read(&mut [0; 8]), Ok(0) | Err(_)), "it is closed");
    let last = slow.last_mut().unwrap();
    last.write_all(b"x\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    last.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    last.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// Those that were asked and are answered slowly are not ended for others: these wait for the time limit.
#[test]
fn who_has_asked_is_not_ended_for_who_comes() {
    let limits = Limits { connections: 2, connection: Duration::from_secs(1), ..Limits::default() };
    let slow = axum::Router::new().route(
        "/slow",
        axum::routing::get(|| async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            "done"
        }),
    );
    let server = Server::start_with(any_port(), feed(published(1, 10)), limits, slow).unwrap();
    let address = server.address();
    wait_ready(address);
    let asked: Vec<_> = (0..6).map(|_| std::thread::spawn(move || get(address, "/slow", ""))).collect();
    for asked in asked {
        let answer = asked.join().unwrap();
        assert!(answer.ends_with("done"), "{answer}");
    }
}

#[test]
fn what_is_not_http_or_too_large_is_refused() {
    let server = Server::start(any_port(), feed(published(1, 10)), Limits::default()).unwrap();
    let address = server.address();
    wait_ready(address);
    let long = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(100_000));
    assert!(!send(address, long.as_bytes()).contains("joules"));
    let body = b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n";
    let answer = send(address, body);
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    for garbage in
        [&b"\x16\x03\x01\x02\x00\x01"[..], b"\r\n\r\n\r\n", b"GET\x00/ HTTP/9.9\r\n\r\n", &[0xff; 5000]]
    {
        assert!(!send(address, garbage).contains("joules"));
    }
    wait_ready(address);
}

#[test]
fn who_is_refused_or_cut_off_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("token"), "a-secret-of-some-length\n").unwrap();
    let token = Token::read(&folder.path().join("token")).unwrap();
    let listen = Listen::new("127.0.0.1:0".parse().unwrap(), Some(token)).unwrap();
    let feed = feed(published(1, 10));
    let limits = Limits { connections: 2, headers: Duration::from_millis(700), ..Limits::default() };
    let server = Server::start(listen, feed.clone(), limits).unwrap();
    let address = server.address();
    wait_ready(address);
    let counts = || Cause::ALL.map(|cause| feed.refused.counts().of(cause));
    assert_eq!(counts(), [0; Cause::ALL.len()], "who is answered, and who goes by itself, is not counted");
    drop(TcpStream::connect(address).unwrap());
    get(address, "/healthz", "");
    // In the order of `Cause::ALL`: token, malformed, too large, slow, no room, rate, host.
    let mut expected = [0; Cause::ALL.len()];
    let mut counted = |place: usize, times: u64| {
        expected[place] += times;
        let begun = Instant::now();
        while counts() != expected {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "{place}: {:?} and not {expected:?}",
                counts()
            );
            sleep(Duration::from_millis(10));
        }
    };
    for wrong in ["", "Authorization: Bearer a-secret-of-some-lengtX\r\n"] {
        assert!(get(address, "/metrics", wrong).starts_with("HTTP/1.1 401"));
    }
    counted(0, 2);
    send(address, b"\x16\x03\x01\x02\x00\x01\r\n\r\n");
    counted(1, 1);
    send(
        address,
        format!("GET /metrics HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(100_000)).as_bytes(),
    );
    counted(2, 1);
    send(address, b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n");
    counted(2, 1);
    assert_eq!(send(address, b"GET /healthz HTTP/1.1\r\nX: "), "", "half a request is not waited for");
    counted(3, 1);
    drop(server);
    // Of two that say nothing, and have all the time to do so, one makes room.
    let hour = Duration::from_hours(1);
    let limits = Limits { connections: 2, headers: hour, connection: hour, ..Limits::default() };
    let server = Server::start(any_port(), feed.clone(), limits).unwrap();
    wait_ready(server.address());
    let _silent = [(); 2].map(|()| TcpStream::connect(server.address()).unwrap());
    assert!(get(server.address(), "/healthz", "").starts_with("HTTP/1.1 200"));
    counted(4, 1);
}

/// The program, or a line that is counted where it is not installed.
fn program(name: &str, test: &str) -> Option<Command> {
    let there = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if there.is_ok_and(|status| status.success()) {
        return Some(Command::new(name));
    }
    println!("SKIPPED IN PART: {test}: no {name} is installed (Debian: apt-get install prometheus)");
    None
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn promtool_finds_nothing_to_say() {
    let Some(mut promtool) = program("promtool", "promtool_finds_nothing_to_say") else { return };
    // Names of Scaphandre are not all as promtool would have them: it is for micro-units.
    let aliases = Aliases::parse("kepler").unwrap();
    let feed = Feed { aliases, ..feed(published(1, 10)) };
    let server = Server::start(any_port(), feed, Limits::default()).unwrap();
    wait_ready(server.address());
    let answer = get(server.address(), "/metrics", "");
    assert!(answer.contains("kepler_node_cpu_joules_total"), "{answer}");
    let text = answer.split_once("\r\n\r\n").unwrap().1;
    let mut child = promtool
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && said(&output).is_empty(), "{}", said(&output));
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

#[test]
fn prometheus_scrapes_it_and_the_sums_are_right() {
    let Some(mut prometheus) = program("prometheus", "prometheus_scrapes_it") else { return };
    let aliases = Aliases::parse("kepler,scaphandre").unwrap();
    let feed = Feed { aliases, ..feed(published(1, 100)) };
    let server = Server::start(any_port(), feed, Limits { series: 4, ..Limits::default() }).unwrap();
    wait_ready(server.address());
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("prometheus.yml");
    let target = server.address();
    fs::write(
        &config,
        format!(
            "scrape_configs:\n- job_name: carbon\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  honor_labels: true\n  \
             static_configs:\n  - targets: ['{target}']\n"
        ),
    )
    .unwrap();
    // A free port: taken and given back.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let _running = Running(
        prometheus
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let ask = |query: &str| -> Option<f64> {
        let mut stream = TcpStream::connect(address).ok()?;
        let request =
            format!("GET /api/v1/query?query={query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let body = &answer[answer.find('{')?..=answer.rfind('}')?];
        let json: serde_json::Value = serde_json::from_str(body).ok()?;
        json["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    };
    let begun = Instant::now();
    while ask("sum(carbon_workload_energy_joules_total)").is_none() {
        assert!(begun.elapsed() < Duration::from_mins(1), "Prometheus has no value");
        sleep(Duration::from_millis(200));
    }
    let near = |query: &str, expected: f64| {
        let value = ask(query).unwrap();
        assert!((value - expected).abs() < 1e-6, "{query}: {value}, not {expected}");
    };
    near("sum(carbon_workload_energy_joules_total)", 100.0);
    near("sum(carbon_node_energy_joules_total)", 100.0);
    near("count(carbon_workload_energy_joules_total)", 5.0);
    near("up", 1.0);
    // The same under the names of others.
    near("sum(kepler_node_cpu_joules_total)", 100.0);
    near("scaph_host_energy_microjoules", 100.0e6);
    near("sum(scaph_socket_power_microwatts)", 10.0e6);
    near("sum(scaph_process_power_consumption_microwatts)", 4.0e6);
}

/// Rules and alerts are right, and each alert is tried, by `deploy/prometheus/carbon_test.yml`.
#[test]
fn the_rules_pass_their_cases() {
    let Some(_) = program("promtool", "the_rules_pass_their_cases") else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/prometheus");
    for arguments in [
        &["check", "rules", "carbon_rules.yml", "kepler_rules.yml"][..],
        &["test", "rules", "carbon_test.yml", "kepler_test.yml"],
    ] {
        let output = Command::new("promtool").args(arguments).current_dir(&folder).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }
    let rules = fs::read_to_string(folder.join("carbon_rules.yml")).unwrap();
    let cases = fs::read_to_string(folder.join("carbon_test.yml")).unwrap();
    let runbooks = fs::read_to_string(folder.join("../../docs/runbooks.md")).unwrap();
    for line in rules.lines() {
        if let Some(alert) = line.trim().strip_prefix("- alert: ") {
            assert!(cases.contains(&format!("alertname: {alert}\n    exp_alerts:\n")), "no case for {alert}");
            let place = format!("runbook_url: 'docs/runbooks.md#{}'\n", alert.to_lowercase());
            assert!(rules.contains(&place), "{alert} has no page");
            assert!(runbooks.contains(&format!("\n## {alert}\n")), "{alert} is not in docs/runbooks.md");
        }
    }
}

/// Boards ask only for what there is: a name that is not in the page of the metrics or among the rules is a mistake.
#[test]
fn boards_ask_for_what_there_is() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let board = fs::read_to_string(top.join("deploy/grafana/carbon.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&board).unwrap();
    let page = fs::read_to_string(top.join("docs/metrics.md")).unwrap();
    let rules = fs::read_to_string(top.join("deploy/prometheus/carbon_rules.yml")).unwrap();
    let mut names = 0;
    for text in [&board, &rules] {
        for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':') {
            if word.starts_with("carbon_") && !word.starts_with("carbon_rules") {
                names += 1;
                assert!(page.contains(&format!("`{word}`")), "{word} is in no table");
            }
            if word.contains(":carbon_") {
                assert!(rules.contains(&format!("record: {word}\n")), "{word} is in no rule");
            }
        }
    }
    assert!(names > 10, "{names}");
    // Labels that are summed by are of some family, or of the target.
    let of_target = ["instance", "node", "cluster"];
    for sum in board.split("by (").skip(1) {
        for label in sum.split(')').next().unwrap().split(", ") {
            assert!(
                of_target.contains(&label) || page.contains(&format!("`{label}`")),
                "{label} is no label"
            );
        }
    }
    let panels = json["panels"].as_array().unwrap();
    for (place, panel) in panels.iter().enumerate() {
        let same = |other: &&serde_json::Value| {
            other["id"] == panel["id"]
                || (&other["gridPos"]["x"], &other["gridPos"]["y"])
                    == (&panel["gridPos"]["x"], &panel["gridPos"]["y"])
        };
        assert!(panels[..place].iter().find(same).is_none(), "{} is where another is", panel["title"]);
    }
}
