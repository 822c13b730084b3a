//! A view as an OTLP message (opentelemetry-proto 1.x, `ExportMetricsServiceRequest`).
//!
//! Each family of docs/metrics.md is a metric: its name with points, its unit by UCUM. A receiver that makes Prometheus' names
//! of these by OpenTelemetry's rules gets the names of that page again. Beside them the machine's energy is told by the names of
//! OpenTelemetry's conventions for hardware (`hw.host.energy`, `hw.energy`).

use crate::metrics::samples::{self, Sample};
use crate::metrics::series::{Row, View};
use crate::metrics::table::{Family, Type};
use crate::units::Microjoules;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use std::collections::{BTreeMap, HashMap};

/// All that `/metrics` tells. What is of a container or a pod has a resource that says so; all else is the machine's.
pub(super) fn request(view: &View) -> ExportMetricsServiceRequest {
    let named: Vec<&Row> = view.rows.iter().filter(|row| is_named(row)).collect();
    let places: HashMap<&str, usize> =
        named.iter().zip(1..).map(|(row, place)| (row.who.identity.as_str(), place)).collect();
    let time_unix_nano = u64::try_from(view.published.window_end_us).unwrap_or_default().saturating_mul(1000);
    let mut metrics: BTreeMap<usize, Vec<Metric>> = BTreeMap::from([(0, hardware(view, time_unix_nano))]);
    for (family, samples) in samples::all(view) {
        let mut points: BTreeMap<usize, Vec<NumberDataPoint>> = BTreeMap::new();
        for sample in samples {
            let workload = sample.labels.iter().find(|(name, _)| *name == "workload");
            let place = workload.and_then(|(_, identity)| places.get(identity.as_str()).copied());
            points.entry(place.unwrap_or(0)).or_default().push(point(&sample, time_unix_nano));
        }
        for (place, points) in points {
            metrics.entry(place).or_default().push(metric(&family, points));
        }
    }
    let of = |(place, metrics): (usize, Vec<Metric>)| {
        let row = place.checked_sub(1).and_then(|index| named.get(index)).copied();
        resource_metrics(resource(view, row), metrics)
    };
    ExportMetricsServiceRequest { resource_metrics: metrics.into_iter().map(of).collect() }
}

/// How many values a message holds.
pub(super) fn count(request: &ExportMetricsServiceRequest) -> u64 {
    let metrics = request.resource_metrics.iter().flat_map(|of| &of.scope_metrics).flat_map(|of| &of.metrics);
    let points = metrics.map(|metric| match &metric.data {
        Some(metric::Data::Gauge(gauge)) => gauge.data_points.len(),
        Some(metric::Data::Sum(sum)) => sum.data_points.len(),
        _ => 0,
    });
    u64::try_from(points.sum::<usize>()).unwrap_or(u64::MAX)
}

fn is_named(row: &Row) -> bool {
    row.who.path.container_id.is_some() || row.who.path.pod_uid.is_some()
}

fn resource_metrics(resource: Resource, metrics: Vec<Metric>) -> ResourceMetrics {
    let scope = InstrumentationScope {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let of_scope = ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() };
    ResourceMetrics { resource: Some(resource), scope_metrics: vec![of_scope], ..ResourceMetrics::default() }
}

/// `service.name` and `service.instance.id` are what a receiver makes Prometheus' `job` and `instance` of.
fn resource(view: &View, row: Option<&Row>) -> Resource {
    let node = view.published.node.as_str();
    let mut attributes = vec![("service.name", "carbon"), ("service.instance.id", node), ("host.name", node)];
    if let Some(row) = row {
        let path = &row.who.path;
        attributes.extend([
            ("k8s.namespace.name", row.names.namespace.as_str()),
            ("k8s.pod.name", row.names.pod.as_str()),
            ("k8s.pod.uid", path.pod_uid.as_deref().unwrap_or_default()),
            ("container.id", path.container_id.as_deref().unwrap_or_default()),
            ("container.image.name", row.names.image.as_str()),
            ("container.runtime.name", path.runtime.map_or("", |of| of.as_str())),
        ]);
        let of_pod = path.pod_uid.is_some();
        attributes.push((
            if of_pod { "k8s.container.name" } else { "container.name" },
            row.names.container.as_str(),
        ));
    }
    let known = attributes.into_iter().filter(|(_, text)| !text.is_empty());
    Resource { attributes: known.map(|(key, text)| attribute(key, text)).collect(), ..Resource::default() }
}

fn attribute(key: &str, text: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(text.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

/// The start of a sum is left unknown: sums go on over restarts of the agent.
fn point(sample: &Sample, time_unix_nano: u64) -> NumberDataPoint {
    NumberDataPoint {
        attributes: sample.labels.iter().map(|(key, text)| attribute(key, text)).collect(),
        time_unix_nano,
        value: Some(number_data_point::Value::AsDouble(sample.value)),
        ..NumberDataPoint::default()
    }
}

fn metric(family: &Family, data_points: Vec<NumberDataPoint>) -> Metric {
    let suffix = if family.kind == Type::Info { ".info" } else { "" };
    Metric {
        name: family.stem.replace('_', ".") + suffix,
        description: family.help.to_owned(),
        unit: unit(family.unit).to_owned(),
        data: Some(match family.kind {
            Type::Counter => sum(data_points),
            Type::Gauge | Type::Info | Type::Unknown => metric::Data::Gauge(Gauge { data_points }),
        }),
        ..Metric::default()
    }
}

fn sum(data_points: Vec<NumberDataPoint>) -> metric::Data {
    let aggregation_temporality = AggregationTemporality::Cumulative.into();
    metric::Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic: true })
}

/// The words of the names as UCUM has them; `kwh` is not in it, and is what stays in a name of Prometheus.
fn unit(word: &str) -> &str {
    match word {
        "watts" => "W",
        "joules" => "J",
        "seconds" => "s",
        "grams" => "g",
        "bytes" => "By",
        "ratio" => "1",
        "grams_per_kwh" => "g/kwh",
        other => other,
    }
}

/// By OpenTelemetry's semantic conventions for hardware (`hw.*`, in development): what the meters showed.
fn hardware(view: &View, time_unix_nano: u64) -> Vec<Metric> {
    let energy =
        |labels, energy: Microjoules| point(&Sample { labels, value: energy.joules() }, time_unix_nano);
    let of = |name: &str, description: &str, points| Metric {
        name: name.to_owned(),
        description: description.to_owned(),
        unit: "J".to_owned(),
        data: Some(sum(points)),
        ..Metric::default()
    };
    let domains = &view.published.domains;
    if domains.is_empty() {
        return Vec::new();
    }
    let host = vec![("hw.id", view.published.node.clone())];
    let total = energy(host, domains.iter().map(|domain| domain.metered).sum());
    let parts = domains.iter().filter_map(|domain| {
        let kind = match domain.domain {
            "package" => "cpu",
            "dram" => "memory",
            "gpu" => "gpu",
            _ => return None,
        };
        let labels = vec![("hw.id", domain.device.clone()), ("hw.type", kind.to_owned())];
        Some(energy(labels, domain.metered))
    });
    vec![
        of("hw.host.energy", "Energy of the machine: the sum of all domains that are metered.", vec![total]),
        of("hw.energy", "Energy of a package, of memory or of an accelerator.", parts.collect()),
    ]
}
