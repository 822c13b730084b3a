//! `carbon report --source` against engines that hold a week of a thousand nodes: the sums are right, and it says how long each
//! report takes. Some minutes and 3 GB of disk, so it runs on demand:
//!
//! `cargo test -p carbon-user --test carbon -- --ignored --nocapture a_week_of_a_thousand_nodes`

#![expect(clippy::unwrap_used, reason = "clippy excuses functions with #[test] only, not those they call")]

use crate::fleet::{Running, carbon, prometheus_on, rows, there, victoria_metrics_on, wait_for};
use serde_json::Value;
use std::fs::File;
use std::io::{BufWriter, Read as _, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// 2026-03-01T23:00Z, an hour before the week.
const BEGIN_S: i64 = 1_772_406_000;
const HOUR_S: i64 = 3_600;
const WEEK_S: i64 = 7 * 86_400;
/// Between two scrapes: as seldom as a server that looks five minutes back allows.
const STEP_S: i64 = 240;
const STEPS: i64 = (HOUR_S + WEEK_S) / STEP_S + 1;
const WEEK: &str = "--from 2026-03-02T00:00 --to 2026-03-09T00:00 --tz UTC --format json";

fn nodes() -> i64 {
    std::env::var("CARBON_TEST_NODES").map_or(1_000, |text| text.parse().unwrap())
}

/// One series: labels, and its value at a step; nothing where it is not scraped.
type Series = (String, Box<dyn Fn(i64) -> Option<f64>>);

#[expect(clippy::cast_precision_loss, reason = "below 2^53")]
fn joules(uj: i64) -> f64 {
    uj as f64 / 1e6
}

/// What a node's namespace uses in a step, in microjoules.
fn used(node: i64, namespace: usize) -> i64 {
    [120_000_007, 40_000_003, 90_000_001][namespace] + 1_000 * node
}

/// Of one node: a tenth of the agents start anew within the week, and a twentieth is not scraped for three hours.
fn series(node: i64) -> Vec<Series> {
    let hole = move |step: i64| node % 20 == 3 && (700..745).contains(&step);
    let of = |name: &str, labels: &str, value: Box<dyn Fn(i64) -> f64>| -> Series {
        let text = format!("{name}{{job=\"carbon\",instance=\"n{node:04}\",node=\"n{node:04}\"{labels}}}");
        (text, Box::new(move |step| (!hole(step)).then(|| value(step))))
    };
    let package = ",domain=\"package\",device=\"package-0\"";
    let mut all = vec![
        of("carbon_windows_total", "", Box::new(|step| joules(step * 240_000_000))),
        of("carbon_pue_ratio", "", Box::new(|_| 1.2)),
        of(
            "carbon_grid_intensity_grams_per_kwh",
            ",zone=\"FR\",year=\"2025\",boundary=\"lifecycle\",basis=\"location-based, yearly average, production\",source=\"a test\",quality=\"yearly\"",
            Box::new(|_| 50.0),
        ),
        of(
            "carbon_node_energy_joules_total",
            &format!("{package},kind=\"dynamic\",quality=\"measured\""),
            Box::new(move |step| joules(step * (used(node, 0) + used(node, 1)))),
        ),
        of(
            "carbon_node_energy_joules_total",
            &format!("{package},kind=\"static\",quality=\"measured\""),
            Box::new(move |step| joules(step * used(node, 2))),
        ),
    ];
    all.push(of(
        "carbon_workload_energy_joules_total",
        &format!(",kind_of=\"other\"{package},kind=\"dynamic\""),
        Box::new(move |step| joules(step * (used(node, 0) + used(node, 1)))),
    ));
    for (place, namespace) in ["shop", ""].into_iter().enumerate() {
        let labels = if namespace.is_empty() { String::new() } else { format!(",namespace=\"{namespace}\"") };
        let anew = if node % 10 == 7 { 1_000 } else { 0 };
        all.push(of(
            "carbon_namespace_energy_joules_total",
            &format!("{package},kind=\"dynamic\"{labels}"),
            Box::new(move |step| {
                joules((if step >= anew && anew > 0 { step - anew + 1 } else { step }) * used(node, place))
            }),
        ));
    }
    all
}

/// Hands each sample to `put`: the series, the second and the value.
fn samples(mut put: impl FnMut(&str, i64, f64)) {
    for node in 0..nodes() {
        for (series, value) in series(node) {
            for step in 0..STEPS {
                if let Some(value) = value(step) {
                    put(&series, BEGIN_S + step * STEP_S, value);
                }
            }
        }
    }
}

/// Sums of the week, and what is said of how long it took.
fn check(engine: &str, address: SocketAddr) {
    let steps = WEEK_S / STEP_S;
    let of = |namespace: usize| -> u64 {
        (0..nodes()).map(|node| (steps * used(node, namespace)).cast_unsigned()).sum()
    };
    // A microjoule or two for each series and day.
    let near = |value: u64, truth: u64, what: &str| {
        assert!(value.abs_diff(truth) < 14 * nodes().cast_unsigned(), "{what}: {value}, not {truth}");
    };
    let report = |by: &str| -> Value {
        let begun = Instant::now();
        let (out, said, status) = carbon(address, &format!("--by {by} {WEEK}"));
        assert_eq!(status, Some(0), "{said}");
        println!(
            "{engine}: --by {by} of {} nodes and a week: {:.1} s",
            nodes(),
            begun.elapsed().as_secs_f64()
        );
        serde_json::from_str(&out).unwrap()
    };
    let by_namespace = report("namespace");
    let sums = rows(&by_namespace);
    near(sums["shop"], of(0), "shop");
    near(sums["(none)"], of(1) + of(2), "the rest");
    near(by_namespace["reconciliation"]["metered_uj"].as_u64().unwrap(), of(0) + of(1) + of(2), "metered");
    let by_node = rows(&report("node"));
    assert_eq!(by_node.len(), usize::try_from(nodes()).unwrap());
    near(by_node.values().sum(), of(0) + of(1) + of(2), "nodes");
    let notes = by_namespace["notes"].to_string();
    assert!(!notes.contains("COUNTED TWICE") && !notes.contains("NOT WHOLE"), "{notes}");
}

fn prometheus(folder: &Path) -> (Running, SocketAddr) {
    let file = folder.join("data.txt");
    let mut out = BufWriter::new(File::create(&file).unwrap());
    samples(|series, at_s, value| writeln!(out, "{series} {value} {at_s}").unwrap());
    writeln!(out, "# EOF").unwrap();
    out.into_inner().unwrap().sync_all().unwrap();
    // Blocks of 162 hours: the file is read once for each.
    let made = Command::new("promtool")
        .args(["tsdb", "create-blocks-from", "--max-block-duration=168h", "openmetrics"])
        .arg(&file)
        .arg(folder.join("tsdb"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    std::fs::remove_file(&file).unwrap();
    prometheus_on(folder, &[])
}

/// The next part of a body of which nobody says how long it is.
fn chunk(stream: &mut TcpStream, text: &[u8]) {
    write!(stream, "{:x}\r\n", text.len()).unwrap();
    stream.write_all(text).unwrap();
    stream.write_all(b"\r\n").unwrap();
}

fn victoria_metrics(folder: &Path) -> (Running, SocketAddr) {
    let (running, address) = victoria_metrics_on(folder);
    let mut stream = TcpStream::connect(address).unwrap();
    let head = "POST /api/v1/import/prometheus HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut text = Vec::new();
    samples(|series, at_s, value| {
        writeln!(text, "{series} {value} {at_s}000").unwrap();
        if text.len() > 1 << 20 {
            chunk(&mut stream, &text);
            text.clear();
        }
    });
    chunk(&mut stream, &text);
    stream.write_all(b"0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    wait_for(address, "/internal/force_flush");
    (running, address)
}

#[test]
#[ignore = "some minutes and 3 GB of disk"]
fn a_week_of_a_thousand_nodes() {
    let test = "a_week_of_a_thousand_nodes";
    if there("victoria-metrics", "--version", test) {
        let folder = tempfile::tempdir().unwrap();
        let (_running, address) = victoria_metrics(folder.path());
        check("VictoriaMetrics", address);
    }
    if there("prometheus", "--version", test) && there("promtool", "--version", test) {
        let folder = tempfile::tempdir().unwrap();
        let (_running, address) = prometheus(folder.path());
        check("Prometheus", address);
    }
}
