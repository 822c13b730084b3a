//! `carbon report --source` against real engines that hold days of several nodes, with all that happens to counters.

#![expect(clippy::unwrap_used, reason = "clippy excuses functions with #[test] only, not those they call")]

use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// The first scrape: 2026-03-28T23:00Z, an hour before the time that is asked about.
const BEGIN_S: i64 = 1_774_738_800;
const MINUTES: i64 = 60 + 2 * 1440;

/// Samples by series.
#[derive(Default)]
struct Data {
    series: BTreeMap<String, Vec<(i64, f64)>>,
}

impl Data {
    fn put(&mut self, name: &str, node: &str, labels: &str, minute: i64, value: f64) {
        let series = format!("{name}{{job=\"carbon\",cluster=\"prod\",instance=\"{node}:9488\"{labels}}}");
        self.series.entry(series).or_default().push((BEGIN_S + 60 * minute, value));
    }

    /// As `promtool tsdb create-blocks-from openmetrics` reads it.
    fn open_metrics(&self) -> String {
        let mut text = String::new();
        for (series, samples) in &self.series {
            for (at_s, value) in samples {
                writeln!(text, "{series} {value} {at_s}").unwrap();
            }
        }
        text + "# EOF\n"
    }

    /// As `VictoriaMetrics` imports it.
    fn prometheus(&self) -> String {
        let mut text = String::new();
        for (series, samples) in &self.series {
            for (at_s, value) in samples {
                writeln!(text, "{series} {value} {at_s}000").unwrap();
            }
        }
        text
    }
}

const INTENSITY: &str = ",zone=\"FR\",year=\"2025\",boundary=\"lifecycle\",basis=\"location-based, yearly average, \
                         production\",source=\"a test\",quality=\"yearly\"";

/// Three nodes; gives microjoules by namespace of the two days, and all dynamic and static energy.
fn fleet() -> (Data, BTreeMap<&'static str, u64>, u64, u64) {
    let mut data = Data::default();
    let mut truth = BTreeMap::from([("shop", 0), ("batch", 0), ("(none)", 0)]);
    let (mut dynamic_all, mut static_all) = (0, 0);
    for (place, node) in ["a", "b", "c"].into_iter().enumerate() {
        let place = u64::try_from(place).unwrap();
        // Sums before the first scrape are nobody's.
        let (mut shop, mut batch, mut unit, mut idle) =
            (77_000_000_000_u64, 0_u64, 5_000_000_u64, 1_000_000_u64);
        let (mut of_shop, mut of_batch, mut of_none) = (shop, 0_u64, unit);
        for minute in 0..MINUTES {
            let counts = (61..MINUTES).contains(&minute);
            let step = [600_000_001 + 1_000 * place, 30_000_007, 120_000_000];
            let load = if minute % 7 == 0 { 5 } else { 1 };
            // A pod of c that comes on the second day, uses energy before it is first scraped, and goes again.
            let runs = node == "c" && (2000..2300).contains(&minute);
            let more = [step[0] * load, if runs { 900_000_003 } else { 0 }, step[1], step[2]];
            shop += more[0];
            batch += more[1];
            unit += more[2];
            idle += more[3];
            if counts {
                *truth.get_mut("shop").unwrap() += more[0];
                *truth.get_mut("batch").unwrap() += more[1];
                *truth.get_mut("(none)").unwrap() += more[2] + more[3];
                dynamic_all += more[0] + more[1] + more[2];
                static_all += more[3];
            }
            // The agent of a starts anew: its namespaces begin at zero, and its other sums go on.
            if node == "a" && minute == 1500 {
                (of_shop, of_batch, of_none) = (0, 0, 0);
            }
            of_shop += more[0];
            of_batch += more[1];
            of_none += more[2];
            // Nothing is scraped of b for three hours: a hole over midnight of the first day's end.
            if node == "b" && (1400..1580).contains(&minute) {
                continue;
            }
            #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
            let joules = |uj: u64| uj as f64 / 1e6;
            let mut put = |name: &str, labels: &str, value: f64| data.put(name, node, labels, minute, value);
            let package = ",domain=\"package\",device=\"package-0\"";
            let node_energy = "carbon_node_energy_joules_total";
            put(
                node_energy,
                &format!("{package},kind=\"dynamic\",quality=\"measured\""),
                joules(shop + batch + unit),
            );
            put(node_energy, &format!("{package},kind=\"static\",quality=\"measured\""), joules(idle));
            let namespace = "carbon_namespace_energy_joules_total";
            put(namespace, &format!("{package},kind=\"dynamic\",namespace=\"shop\""), joules(of_shop));
            put(namespace, &format!("{package},kind=\"dynamic\""), joules(of_none));
            if of_batch > 0 {
                put(namespace, &format!("{package},kind=\"dynamic\",namespace=\"batch\""), joules(of_batch));
            }
            let workload = "carbon_workload_energy_joules_total";
            let pod = format!(
                "kind_of=\"container\",workload=\"/pods/{node}\",namespace=\"shop\",pod=\"web-{node}\",container=\"nginx\""
            );
            put(workload, &format!(",{pod}{package},kind=\"dynamic\""), joules(shop));
            put("carbon_workload_cpu_seconds_total", &format!(",{pod}"), joules(shop) / 10.0);
            let labels = ",kind_of=\"unit\",workload=\"/system.slice/sshd.service\",unit=\"sshd.service\"";
            put(workload, &format!("{labels}{package},kind=\"dynamic\""), joules(unit));
            for workload in [&*format!("/pods/{node}"), "/system.slice/sshd.service", "/job"] {
                let labels = format!(",workload=\"{workload}\",quality=\"measured\"");
                put("carbon_workload_info", &labels, 1.0);
            }
            if (2000..2305).contains(&minute) && batch > 0 {
                let job = ",kind_of=\"job\",workload=\"/job\",namespace=\"batch\",pod=\"run\",container=\"main\",job_id=\"42\"";
                put(workload, &format!("{job}{package},kind=\"dynamic\""), joules(batch));
            }
            // What series showed that are no more comes in one go, and is counted already.
            put(
                workload,
                &format!(",kind_of=\"ended\"{package},kind=\"dynamic\""),
                if minute > 2305 { 1e6 } else { 0.0 },
            );
            put("carbon_windows_total", "", f64::from(u32::try_from(minute).unwrap()));
            put("carbon_grid_intensity_grams_per_kwh", INTENSITY, 50.0);
            put("carbon_pue_ratio", "", 1.2);
        }
    }
    (data, truth, dynamic_all, static_all)
}

pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

pub(crate) fn there(name: &str, option: &str, test: &str) -> bool {
    let there = Command::new(name).arg(option).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let there = there.is_ok_and(|status| status.success());
    if !there {
        println!("SKIPPED IN PART: {test}: no {name} is installed (Debian: apt-get install {name})");
    }
    there
}

pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The status and body of an answer.
fn ask(address: SocketAddr, request: &str, body: &[u8]) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    let head = format!(
        "{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

pub(crate) fn wait_for(address: SocketAddr, path: &str) {
    for _ in 0..300 {
        if ask(address, &format!("GET {path}"), b"").is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
        {
            return;
        }
        sleep(Duration::from_millis(100));
    }
    panic!("{path} is not ready");
}

fn prometheus(folder: &Path, data: &Data, more: &[&str]) -> (Running, SocketAddr) {
    let file = folder.join("data.txt");
    fs::write(&file, data.open_metrics()).unwrap();
    let made = Command::new("promtool")
        .args(["tsdb", "create-blocks-from", "openmetrics"])
        .arg(&file)
        .arg(folder.join("tsdb"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    prometheus_on(folder, more)
}

/// Prometheus with the blocks that are in `folder/tsdb`.
pub(crate) fn prometheus_on(folder: &Path, more: &[&str]) -> (Running, SocketAddr) {
    fs::write(folder.join("prometheus.yml"), "").unwrap();
    let address = free_address();
    let child = Command::new("prometheus")
        .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()))
        .args(["--storage.tsdb.retention.time=100y", &format!("--web.listen-address={address}")])
        .args(more)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let running = Running(child);
    wait_for(address, "/-/ready");
    (running, address)
}

/// `VictoriaMetrics` with its data in a folder.
pub(crate) fn victoria_metrics_on(folder: &Path) -> (Running, SocketAddr) {
    let address = free_address();
    let child = Command::new("victoria-metrics")
        .arg(format!("-storageDataPath={}", folder.display()))
        .args(["-retentionPeriod=100y", &format!("-httpListenAddr={address}")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let running = Running(child);
    wait_for(address, "/health");
    (running, address)
}

pub(crate) fn carbon(address: SocketAddr, line: &str) -> (String, String, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carbon"));
    command.args(["report", "--source", &format!("http://{address}")]);
    command.args(line.split(' ')).env("CARBON_STORE", "none");
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr), output.status.code())
}

const DAYS: &str = "--from 2026-03-29 --to 2026-03-30T23:59 --format json";

fn report(address: SocketAddr, by: &str) -> Value {
    let (out, said, status) = carbon(address, &format!("--by {by} {DAYS}"));
    assert_eq!(status, Some(0), "{said}");
    serde_json::from_str(&out).unwrap()
}

pub(crate) fn rows(report: &Value) -> BTreeMap<String, u64> {
    let rows = report["rows"].as_array().unwrap();
    let of = |row: &Value| row["dynamic_uj"].as_u64().unwrap() + row["static_uj"].as_u64().unwrap();
    let mut sums = BTreeMap::new();
    for row in rows {
        *sums.entry(row["key"].as_str().unwrap().to_owned()).or_default() += of(row);
    }
    sums
}

/// Sums are right to the microjoule but for rounding, one for each series, node and day.
fn check(address: SocketAddr) {
    let near = |value: u64, truth: u64, what: &str| {
        assert!(value.abs_diff(truth) < 100, "{what}: {value}, not {truth}");
    };
    let (_, truth, dynamic_all, static_all) = fleet();
    let by_namespace = report(address, "namespace");
    let sums = rows(&by_namespace);
    assert_eq!(sums.len(), truth.len(), "{sums:?}");
    for (namespace, truth) in &truth {
        near(sums[*namespace], *truth, namespace);
    }
    let reconciled = &by_namespace["reconciliation"];
    near(reconciled["attributed_uj"].as_u64().unwrap(), dynamic_all, "attributed");
    near(reconciled["static_uj"].as_u64().unwrap(), static_all, "static");
    let grams = by_namespace["total"]["grams"].as_f64().unwrap();
    #[expect(clippy::cast_precision_loss, reason = "a figure of a report")]
    let expected = (dynamic_all + static_all) as f64 / 3.6e12 * 1.2 * 50.0;
    assert!((grams / expected - 1.0).abs() < 1e-9, "{grams}, not {expected}");
    assert_eq!(by_namespace["total"]["stddev_uj"], Value::Null, "it is not known, and not zero");
    assert_eq!(by_namespace["total"]["quality"], "measured");
    assert_eq!(by_namespace["factors"][0]["zone"], "FR");

    let pods = rows(&report(address, "pod"));
    near(pods["batch/run"], truth["batch"], "a pod that came and went");
    near(pods["shop/web-a"] + pods["shop/web-b"] + pods["shop/web-c"], truth["shop"], "pods that stay");
    let containers = rows(&report(address, "container"));
    near(containers["batch/run/main"], truth["batch"], "container");
    near(rows(&report(address, "job"))["42"], truth["batch"], "job");
    let nodes = rows(&report(address, "node"));
    assert_eq!(nodes.keys().collect::<Vec<_>>(), ["prod/a:9488", "prod/b:9488", "prod/c:9488"]);
    assert!(!by_namespace["notes"].to_string().contains("COUNTED TWICE"), "{by_namespace}");
    near(nodes.values().sum(), dynamic_all + static_all, "nodes");
    assert_eq!(by_namespace["reconciliation"]["holds"], true, "{by_namespace}");
    assert_eq!(by_namespace["reconciliation"]["not_told_apart_uj"], 0, "{by_namespace}");
    let (out, _, _) = carbon(address, &format!("--by namespace --per day --tz Europe/Paris {DAYS}"));
    let by_day: Value = serde_json::from_str(&out).unwrap();
    let periods: Vec<&str> =
        by_day["rows"].as_array().unwrap().iter().filter_map(|row| row["period"].as_str()).collect();
    assert!(periods.contains(&"2026-03-29") && periods.contains(&"2026-03-30"), "{periods:?}");
    let (one, other) = (rows(&by_day), rows(&by_namespace));
    // What is asked about begins an hour earlier and ends two hours earlier there.
    assert!(one["shop"] < other["shop"] && one["batch"].abs_diff(other["batch"]) < 100, "{one:?}, {other:?}");
}

#[test]
fn prometheus_answers_as_a_ledger_does() {
    let test = "prometheus_answers_as_a_ledger_does";
    if !there("prometheus", "--version", test) || !there("promtool", "--version", test) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (data, ..) = fleet();
    let (_running, address) = prometheus(folder.path(), &data, &[]);
    check(address);
    let (table, said, _) = carbon(address, "--by namespace --from 2026-03-29 --to 2026-03-30");
    assert!(
        table.contains("DYNAMIC J") && table.contains("shop") && table.contains("PUE 1.2"),
        "{table}{said}"
    );
    for (line, says) in [
        ("--by project --from 2026-03-29", "ask a ledger"),
        ("--by pod", "--from"),
        ("--by pod --from 2026-03-29 --source-match a", "LABEL=VALUE"),
        ("--by pod --from 2026-03-29 --store ledger.db", "cannot be used with --source"),
        (
            "--by pod --from 2026-03-29 --to 2026-03-30 --source-match cluster=other",
            "cluster=\"other\",job=\"carbon\"",
        ),
        ("--by pod --from 2026-03-29 --to 2026-03-30 --source-match job=x", "by the jobs carbon: give"),
        ("--by pod --from 2025-03-29 --to 2025-03-30", "docs/fleet.md"),
    ] {
        let (_, said, status) = carbon(address, line);
        assert!(status == Some(2) && said.contains(says), "{line}: {said}");
    }
}

/// Of `brief` all goes to the sums of what ended, as if each of its processes lived between two scrapes; of `dropped`, which
/// somebody's relabeling drops, nothing is seen.
fn with_brief(brief: f64, dropped: f64) -> Data {
    let mut data = Data::default();
    let package = ",domain=\"package\",device=\"p\"";
    for minute in 0..200 {
        let of = |joules: f64| joules * f64::from(i32::try_from(minute).unwrap());
        let mut put = |name: &str, labels: &str, value: f64| data.put(name, "a", labels, minute, value);
        let dynamic = format!("{package},kind=\"dynamic\"");
        let node = "carbon_node_energy_joules_total";
        put(node, &format!("{dynamic},quality=\"measured\""), of(30.0 + 10.0 + brief + dropped));
        put(node, &format!("{package},kind=\"static\",quality=\"measured\""), of(5.0));
        let workload = "carbon_workload_energy_joules_total";
        for (name, joules, quality) in [("web", 30.0, "modelled"), ("db", 10.0, "measured")] {
            let identity = format!("workload=\"/{name}\"");
            let labels = format!(",kind_of=\"container\",{identity},namespace=\"{name}\"");
            put(workload, &format!("{labels}{dynamic}"), of(joules));
            put("carbon_workload_cpu_seconds_total", &labels, of(1.0));
            put("carbon_workload_info", &format!(",{identity},quality=\"{quality}\""), 1.0);
            let namespace = format!(",namespace=\"{name}\"{dynamic}");
            put("carbon_namespace_energy_joules_total", &namespace, of(joules));
        }
        put(workload, &format!(",kind_of=\"ended\"{dynamic}"), of(brief));
        put("carbon_namespace_energy_joules_total", &dynamic, of(brief));
        put("carbon_windows_total", "", of(1.0));
    }
    data
}

const TWO_HOURS: &str = "--from 2026-03-29T00:00 --to 2026-03-29T02:00";

/// Rows sum to the nodes' figures, and no row has a better quality than what it sums.
#[test]
fn what_came_and_went_within_a_minute_has_a_row() {
    let test = "what_came_and_went_within_a_minute_has_a_row";
    if !there("prometheus", "--version", test) || !there("promtool", "--version", test) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (_running, address) = prometheus(folder.path(), &with_brief(4.0, 0.0), &[]);
    let of = |by: &str| -> (BTreeMap<String, (u64, String)>, Value) {
        let (out, said, status) = carbon(address, &format!("--by {by} {TWO_HOURS} --format json"));
        assert_eq!(status, Some(0), "{said}");
        let report: Value = serde_json::from_str(&out).unwrap();
        let qualities = report["rows"].as_array().unwrap().iter().map(|row| &row["quality"]);
        let keys = report["rows"].as_array().unwrap().iter().map(|row| row["key"].as_str().unwrap());
        let qualities: BTreeMap<&str, &Value> = keys.zip(qualities).collect();
        let rows = rows(&report).into_iter().map(|(key, uj)| {
            let quality = qualities[&*key].as_str().unwrap().to_owned();
            (key, (uj, quality))
        });
        (rows.collect(), report["reconciliation"].clone())
    };
    let row = |key: &str, joules: u64, quality: &str| {
        (key.to_owned(), (joules * 120 * 1_000_000, quality.to_owned()))
    };
    let (rows, sums) = of("workload");
    let expected = [
        row("/web", 30, "modelled"),
        row("/db", 10, "measured"),
        row("(not told apart)", 4, "modelled"),
        row("system/idle", 5, "measured"),
    ];
    assert_eq!(rows, BTreeMap::from(expected));
    assert_eq!((&sums["not_told_apart_uj"], &sums["holds"]), (&480_000_000.into(), &true.into()), "{sums}");
    assert_eq!(sums["rows_uj"], sums["attributed_uj"]);
    let (rows, sums) = of("namespace");
    // Nobody tells what the workloads of no namespace are worth.
    let expected = [row("web", 30, "modelled"), row("db", 10, "measured"), row("(none)", 4 + 5, "modelled")];
    assert_eq!((rows, &sums["holds"]), (BTreeMap::from(expected), &true.into()));
    assert_eq!(of("node").0, BTreeMap::from([row("prod/a:9488", 49, "modelled")]));
    assert_eq!(of("domain").0, BTreeMap::from([row("package", 49, "modelled")]));
    let (table, _, _) = carbon(address, &format!("--by workload {TWO_HOURS}"));
    let line =
        "have 5280.000000 of the attributed, 480.000000 J (9.1 %) of which are not told apart: reconciled";
    assert!(table.contains(line), "{table}");
}

/// Half of what a node was given is in no series, and what ended does not say why.
#[test]
fn rows_that_are_not_what_was_attributed_are_not_reconciled() {
    let test = "rows_that_are_not_what_was_attributed_are_not_reconciled";
    if !there("prometheus", "--version", test) || !there("promtool", "--version", test) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (_running, address) = prometheus(folder.path(), &with_brief(0.0, 40.0), &[]);
    for (by, reconciled) in [("workload", false), ("namespace", false), ("node", true)] {
        let (table, said, _) = carbon(address, &format!("--by {by} {TWO_HOURS}"));
        assert_eq!(!table.contains("NOT RECONCILED"), reconciled, "{table}{said}");
        assert_eq!(
            !table.contains("4800.000000 J (50 %) of which are not told apart"),
            reconciled,
            "{table}"
        );
    }
}

/// Two servers that scrape the same agents, whose data nobody puts together, have each joule twice.
#[test]
fn what_two_servers_scraped_is_said_to_be_counted_twice() {
    let test = "what_two_servers_scraped_is_said_to_be_counted_twice";
    if !there("prometheus", "--version", test) || !there("promtool", "--version", test) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut data = Data::default();
    for minute in 0..200 {
        for replica in ["0", "1"] {
            let of = |labels: &str| format!("{labels},replica=\"{replica}\"");
            let joules = f64::from(u32::try_from(minute).unwrap());
            let energy = ",domain=\"package\",device=\"p\",kind=\"dynamic\",quality=\"measured\"";
            data.put("carbon_node_energy_joules_total", "a", &of(energy), minute, joules);
            let namespace = ",domain=\"package\",device=\"p\",kind=\"dynamic\",namespace=\"shop\"";
            data.put("carbon_namespace_energy_joules_total", "a", &of(namespace), minute, joules);
            data.put("carbon_windows_total", "a", &of(""), minute, joules);
        }
    }
    let (_running, address) = prometheus(folder.path(), &data, &[]);
    let of = |more: &str| -> (u64, bool) {
        let line =
            format!("--by namespace --from 2026-03-29T00:00 --to 2026-03-29T02:00 --format json{more}");
        let (out, said, status) = carbon(address, &line);
        assert_eq!(status, Some(0), "{said}");
        let report: Value = serde_json::from_str(&out).unwrap();
        (rows(&report)["shop"], report["notes"].to_string().contains("COUNTED TWICE"))
    };
    assert_eq!(of(""), (240_000_000, true));
    assert_eq!(of(" --source-match replica=0"), (120_000_000, false));
}

/// A day at once is more than this server does: it is asked about less.
#[test]
fn a_server_with_little_room_is_asked_in_parts() {
    let test = "a_server_with_little_room_is_asked_in_parts";
    if !there("prometheus", "--version", test) || !there("promtool", "--version", test) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (data, truth, ..) = fleet();
    let (_running, address) = prometheus(folder.path(), &data, &["--query.max-samples=9000"]);
    let sums = rows(&report(address, "namespace"));
    assert!(sums["shop"].abs_diff(truth["shop"]) < 1000, "{sums:?}, not {truth:?}");
}

#[test]
fn victoria_metrics_answers_as_a_ledger_does() {
    if !there("victoria-metrics", "--version", "victoria_metrics_answers_as_a_ledger_does") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (data, ..) = fleet();
    let (_running, address) = victoria_metrics_on(folder.path());
    let answer = ask(address, "POST /api/v1/import/prometheus", data.prometheus().as_bytes()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    wait_for(address, "/internal/force_flush");
    check(address);
}

#[test]
fn who_does_not_answer_is_named() {
    let (_, said, status) = carbon(free_address(), "--by pod --from 2026-03-29");
    assert!(status == Some(2) && said.contains("does not answer"), "{said}");
}

/// An engine before several stores, one of which did not answer: its sums are too low, and it says so.
#[test]
fn what_an_engine_lacks_is_said_in_the_report() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let sample = r#"{"metric":{"domain":"package","kind":"dynamic"},"value":[1,"1"]}"#;
    let report_of = |more: &'static str| {
        let listener = listener.try_clone().unwrap();
        let (ended, end) = std::sync::mpsc::channel::<()>();
        let engine = std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                if end.try_recv().is_ok() {
                    return;
                }
                let mut asked = [0; 4_096];
                let _asked = stream.read(&mut asked).unwrap();
                let body = format!(
                    r#"{{"status":"success",{more}"data":{{"resultType":"vector","result":[{sample}]}}}}"#
                );
                let head =
                    format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
                let _gone = stream.write_all((head + &body).as_bytes());
            }
        });
        let report = report(address, "namespace");
        ended.send(()).unwrap();
        drop(TcpStream::connect(address));
        engine.join().unwrap();
        report["notes"].to_string()
    };
    let notes = report_of(r#""warnings":["a store is away"],"#);
    assert!(notes.contains("NOT WHOLE") && notes.contains("a store is away"), "{notes}");
    assert!(report_of(r#""isPartial":true,"#).contains("NOT WHOLE"));
    assert!(!report_of("").contains("NOT WHOLE"));
}
