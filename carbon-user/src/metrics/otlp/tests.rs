use super::message::{count, request};
use super::rejected;
use crate::metrics::Series;
use crate::metrics::tests::made_up;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{NumberDataPoint, metric, number_data_point};
use prost::Message as _;
use std::fmt::Write as _;
use std::sync::Arc;

fn words(attributes: &[KeyValue]) -> String {
    let word = |it: &KeyValue| match it.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => format!("{}={text:?}", it.key),
        other => panic!("{other:?}"),
    };
    attributes.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// The message as lines, by what a receiver sees.
#[test]
fn the_message_is_that_of_the_snapshot() {
    let (mut published, names) = made_up();
    published.window_end_us = 1_700_000_000_000_000;
    let view = crate::metrics::View { cpus: 4, ..Series::new(10).observe(Arc::new(published), &names) };
    let request = request(&view);
    let mut text = String::new();
    let mut points = 0;
    for of in &request.resource_metrics {
        let resource = of.resource.as_ref().unwrap();
        writeln!(text, "resource {}", words(&resource.attributes)).unwrap();
        for metric in &of.scope_metrics[0].metrics {
            let (kind, all): (_, &[NumberDataPoint]) = match metric.data.as_ref().unwrap() {
                metric::Data::Sum(sum) => {
                    assert!(sum.is_monotonic && sum.aggregation_temporality == 2, "cumulative");
                    ("sum", &sum.data_points)
                }
                metric::Data::Gauge(gauge) => ("gauge", &gauge.data_points),
                other => panic!("{other:?}"),
            };
            writeln!(text, "  {} [{}] {kind}", metric.name, metric.unit).unwrap();
            for point in all {
                assert_eq!(
                    (point.time_unix_nano, point.start_time_unix_nano),
                    (1_700_000_000_000_000_000, 0)
                );
                let Some(number_data_point::Value::AsDouble(value)) = point.value else { panic!("no value") };
                writeln!(text, "    {value} {}", words(&point.attributes)).unwrap();
                points += 1;
            }
        }
    }
    assert_eq!(count(&request), points);
    insta::with_settings!({filters => vec![(r#"version="[0-9.]+""#, r#"version="[version]""#)]}, {
        insta::assert_snapshot!(text);
    });
}

#[test]
fn what_a_receiver_refuses_is_read_from_its_answer() {
    let partial = ExportMetricsPartialSuccess { rejected_data_points: 3, error_message: "no".to_owned() };
    let answer = ExportMetricsServiceResponse { partial_success: Some(partial) };
    assert_eq!(rejected(&answer.encode_to_vec()), 3);
    assert_eq!(rejected(b""), 0);
    assert_eq!(rejected(b"{\"partialSuccess\":{}}"), 0, "not protobuf");
}

#[test]
fn a_token_is_one_word_and_no_more_is_read_of_a_file() {
    let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
    let read = |text: &str| {
        std::fs::write(&path, text).unwrap();
        super::send::token(&path)
    };
    assert_eq!(read("abc\n"), Ok("abc".to_owned()));
    for unfit in ["", "\n", "abc\ndef\n", "a b", "caf\u{e9}"] {
        assert!(read(unfit).unwrap_err().contains("one line"), "{unfit:?}");
    }
    assert!(super::send::token(std::path::Path::new("/dev/zero")).unwrap_err().contains("65536 bytes"));
}
