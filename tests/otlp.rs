//! Metrics pushed to a receiver: a stub that decodes what OTLP sends, and answers well, badly, late or not at all.

use crate::agent::{Machine, ask, end};
use crate::metrics::{feed, published};
use carbon_user::metrics::otlp::{Options, Pusher};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::metrics::v1::{metric, number_data_point};
use prost::Message as _;
use rustix::process::Signal;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// A request as it came: its head, and what was in it.
pub(crate) struct Pushed {
    pub(crate) head: String,
    pub(crate) message: ExportMetricsServiceRequest,
}

fn read(stream: &mut BufReader<TcpStream>) -> Option<Pushed> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        (stream.read_line(&mut head).ok()? > 0).then_some(())?;
    }
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    Some(Pushed { head, message: ExportMetricsServiceRequest::decode(&body[..]).unwrap() })
}

/// A receiver: answers each request with what `answer` gives for its number, from 0; not at all for `None`.
pub(crate) fn receiver(
    answer: impl Fn(usize) -> Option<(&'static str, Vec<u8>)> + Send + 'static,
) -> (SocketAddr, Receiver<Pushed>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, received) = channel();
    std::thread::spawn(move || {
        let mut number = 0;
        let mut unanswered = Vec::new();
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            while let Some(request) = read(&mut stream) {
                if sender.send(request).is_err() {
                    return;
                }
                let answer = answer(number);
                number += 1;
                let Some((head, body)) = answer else { break };
                let head = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.get_mut().write_all(&[head.as_bytes(), &body].concat()).unwrap();
            }
            unanswered.push(stream);
        }
    });
    (address, received)
}

fn options(address: SocketAddr) -> Options {
    Options {
        url: format!("http://{address}/"),
        interval: Duration::from_millis(200),
        token_file: None,
        ca_file: None,
        series: 4,
    }
}

/// The sum of a metric over all resources.
pub(crate) fn sum_of(message: &ExportMetricsServiceRequest, name: &str) -> f64 {
    let metrics = message.resource_metrics.iter().flat_map(|of| &of.scope_metrics).flat_map(|of| &of.metrics);
    let points =
        metrics.filter(|metric| metric.name == name).flat_map(|metric| match metric.data.as_ref().unwrap() {
            metric::Data::Sum(sum) => &sum.data_points,
            metric::Data::Gauge(gauge) => &gauge.data_points,
            other => panic!("{other:?}"),
        });
    let value = |it: &Option<number_data_point::Value>| match it {
        Some(number_data_point::Value::AsDouble(value)) => *value,
        other => panic!("{other:?}"),
    };
    points.map(|point| value(&point.value)).sum()
}

const SOON: Duration = Duration::from_secs(20);

fn wait(what: &str, is: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < SOON, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_receiver_gets_what_is_published_and_the_last_at_the_end() {
    let (address, received) = receiver(|_| Some(("200 OK", Vec::new())));
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "a-secret-of-some-length\n").unwrap();
    let feed = feed(published(1, 100));
    let options = Options { token_file: Some(token), ..options(address) };
    let pusher = Pusher::start(options, feed.clone()).unwrap();
    let first = received.recv_timeout(SOON).unwrap();
    assert!(first.head.starts_with("POST /v1/metrics HTTP/1.1\r\n"), "{}", first.head);
    let head = first.head.to_ascii_lowercase();
    assert!(head.contains("content-type: application/x-protobuf\r\n"), "{head}");
    assert!(head.contains("authorization: bearer a-secret-of-some-length\r\n"), "{head}");
    for name in ["carbon.workload.energy", "carbon.node.energy", "hw.host.energy", "hw.energy"] {
        assert!((sum_of(&first.message, name) - 100.0).abs() < 1e-9, "{name}");
    }
    wait("counted", || pusher.pushes().sent == 1);
    // Nothing new, nothing sent.
    assert!(received.recv_timeout(Duration::from_secs(1)).is_err());
    feed.published.store(Arc::new(published(2, 200)));
    assert!((sum_of(&received.recv_timeout(SOON).unwrap().message, "hw.host.energy") - 200.0).abs() < 1e-9);
    feed.published.store(Arc::new(published(3, 300)));
    drop(pusher);
    let last = received.recv_timeout(SOON).unwrap();
    assert!((sum_of(&last.message, "hw.host.energy") - 300.0).abs() < 1e-9, "the last is sent at the end");
}

#[test]
fn pushes_that_fail_are_counted_and_the_next_tells_all() {
    let partial =
        ExportMetricsPartialSuccess { rejected_data_points: 2, error_message: "too many".to_owned() };
    let some = ExportMetricsServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    let (address, received) = receiver(move |number| {
        Some(match number {
            0 => ("503 Service Unavailable\r\nRetry-After: 1", Vec::new()),
            1 => ("401 Unauthorized", Vec::new()),
            2 => ("404 Not Found", Vec::new()),
            _ => ("200 OK", some.clone()),
        })
    });
    let pusher = Pusher::start(options(address), feed(published(1, 100))).unwrap();
    let begun = Instant::now();
    wait("three that failed and one that did not", || pusher.pushes().sent == 1);
    assert!(begun.elapsed() > Duration::from_secs(1), "it was asked to wait a second");
    let counts = pusher.pushes();
    assert_eq!((counts.failed, counts.rejected), (3, 2));
    let all: Vec<_> = received.try_iter().map(|it| sum_of(&it.message, "hw.host.energy")).collect();
    assert_eq!(all.len(), 4);
    assert!(all.iter().all(|joules| (joules - 100.0).abs() < 1e-9), "{all:?}");
}

#[test]
fn a_receiver_that_is_not_there_or_hangs_costs_a_time_out() {
    // A free port: taken and given back.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let pusher = Pusher::start(options(nobody), feed(published(1, 1))).unwrap();
    wait("refused connections are counted", || pusher.pushes().failed > 1);
    drop(pusher);
    let (hangs, _pushed) = receiver(|_| None);
    let pusher = Pusher::start(options(hangs), feed(published(1, 1))).unwrap();
    wait("a time-out is counted", || pusher.pushes().failed > 0);
    let begun = Instant::now();
    drop(pusher);
    assert!(begun.elapsed() < Duration::from_secs(15), "the end waits for two requests at most");
}

/// The value of a series in the text of `/metrics`.
fn value(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

#[test]
fn an_agent_measures_on_while_its_receiver_hangs() {
    let (hangs, _pushed) = receiver(|_| None);
    let machine = Machine::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let url = format!("http://{hangs}");
    let agent = machine.start(&[
        "--interval",
        "200ms",
        "--flush",
        "1s",
        "--listen",
        &free,
        "--otlp",
        &url,
        "--otlp-interval",
        "1s",
        "--metadata",
        "off",
    ]);
    let failed = r#"carbon_otlp_pushes_total{result="failed"}"#;
    wait("a push fails, and it is in the metrics", || {
        ask(&free, "/metrics").and_then(|text| value(&text, failed)).is_some_and(|count| count > 0.0)
    });
    let text = ask(&free, "/metrics").unwrap();
    let (said, status) = end(agent, Signal::TERM);
    assert_eq!(status, Some(0), "{said}");
    // It took 5 s to fail, in which there were windows all the time.
    assert!(value(&text, "carbon_windows_total{}").unwrap() > 10.0, "{text}");
    assert_eq!(value(&text, "carbon_windows_failed_total{}"), Some(0.0));
    assert!(said.contains("metrics are not pushed: ") && said.contains(&url), "{said}");
    let (metered, sampled) = machine.written();
    assert!(metered > 1_000_000 && sampled == 0, "{said}");
}
