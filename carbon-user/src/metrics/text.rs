//! A view as text: `OpenMetrics`, and the older format of Prometheus.

use super::samples::{self, Sample};
use super::series::View;
use super::table::{Family, Type};
use crate::report::figures::{is_printable, printable};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Registry;
use sha2::{Digest as _, Sha256};
use std::fmt::{self, Write as _};
use std::sync::Arc;

/// A form of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The text format of Prometheus, version 0.0.4.
    Prometheus,
    /// `OpenMetrics` 1.0.
    OpenMetrics,
}

impl Format {
    /// What an `Accept` header asks for: `OpenMetrics` only where it is named, and no other is preferred to it (`q`, RFC 9110 12.4.2).
    pub fn accepted(header: &str) -> Self {
        let of = |wanted: &str| {
            let ranges = header.split(',').filter_map(|range| {
                let mut parts = range.split(';').map(str::trim);
                let kind = parts.next().filter(|kind| kind.eq_ignore_ascii_case(wanted));
                kind.map(|_| parts.find_map(weight).unwrap_or(1.0))
            });
            ranges.fold(0.0, f64::max)
        };
        let open = of("application/openmetrics-text");
        if open > 0.0 && open >= of("text/plain") { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// The value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The value of `q=VALUE`; one that is none is as if it was not there.
fn weight(part: &str) -> Option<f64> {
    let (name, value) = part.split_once('=')?;
    let value: f64 = value.trim().parse().ok()?;
    (name.trim().eq_ignore_ascii_case("q") && (0.0..=1.0).contains(&value)).then_some(value)
}

#[derive(Debug)]
struct Families(Arc<View>);

/// Whether a terminal may show it as it is; the format has an escape for line feeds.
fn is_shown(text: &str) -> bool {
    text.chars().all(|char| char == '\n' || is_printable(char))
}

/// A name as a terminal may show it. Two that differ in what is not shown stay two: with the same labels a whole scrape is refused.
fn told_apart(text: &str) -> String {
    if is_shown(text) {
        return text.to_owned();
    }
    let hash = Sha256::digest(text.as_bytes());
    let mut shown = printable(text) + "~";
    for byte in hash.iter().take(8) {
        let _written = write!(shown, "{byte:02x}");
    }
    shown
}

fn write(family: &Family, samples: &[Sample], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let unit = family.open_metrics_unit();
    let mut metric =
        encoder.encode_descriptor(family.stem, family.help, unit.as_ref(), family.metric_type())?;
    for sample in samples {
        let none: Option<&Exemplar<Vec<(String, String)>, f64>> = None;
        let safe;
        let set = if sample.labels.iter().all(|(_, text)| is_shown(text)) {
            &sample.labels
        } else {
            safe = sample.labels.iter().map(|(name, text)| (*name, told_apart(text))).collect();
            &safe
        };
        match family.kind {
            Type::Counter => metric.encode_family(set)?.encode_counter(&sample.value, none)?,
            Type::Gauge | Type::Unknown => metric.encode_family(set)?.encode_gauge(&sample.value)?,
            Type::Info => metric.encode_info(set)?,
        }
    }
    Ok(())
}

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let all = samples::all(&self.0);
        let mut known = all.iter().chain(&self.0.aliases).filter(|(_, samples)| !samples.is_empty());
        known.try_for_each(|(family, samples)| write(family, samples, &mut encoder))
    }
}

/// The view in one of the formats.
pub fn render(view: Arc<View>, format: Format) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Families(view)));
    let mut open = String::new();
    encode(&mut open, &registry)?;
    Ok(match format {
        Format::OpenMetrics => open,
        Format::Prometheus => classic(&open),
    })
}

/// The older format from the newer: it calls a family by the name of its series, and knows neither units nor info.
/// Values and labels are written in the same way in both, and no line of a value begins with `#`.
fn classic(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut help: Option<(&str, &str)> = None;
    for line in open.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), Some(rest)) => help = Some((name, rest)),
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let (suffix, kind) = match kind {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    "unknown" => ("", "untyped"),
                    other => ("", other),
                };
                if let Some((_, help)) = help.take() {
                    let _written = writeln!(text, "# HELP {name}{suffix} {help}");
                }
                let _written = writeln!(text, "# TYPE {name}{suffix} {kind}");
            }
            (Some("#"), ..) => {}
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}
