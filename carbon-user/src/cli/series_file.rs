//! Intensities that the user has, by time, in a CSV file.
//!
//! Columns: `start` and `end` (RFC 3339, with or without seconds; a blank end is the next start), `g_per_kwh`, `signal`
//! (average or marginal), `boundary` (lifecycle or direct), `method` (location or market); `zone`, `source` and
//! `estimated` (true or false) may be left out; the zone is then the one that the command was given. What kind it is must be said, the same in every row.

use super::error::CliError;
use crate::carbon::kind::{Boundary, Flow, Gas, Method, Signal, Span};
use crate::carbon::series::{NoSeries, Point, Series};
use crate::carbon::{Kind, series};
use crate::units::GramsPerKwh;
use jiff::Timestamp;
use serde::Deserialize;
use std::path::Path;

/// Bytes read at most: the most points that are kept, at a hundred bytes each.
const BYTES_MAX: u64 = 100 * series::POINTS_MAX as u64;

#[derive(Debug, Deserialize)]
struct Line {
    start: String,
    end: Option<String>,
    g_per_kwh: f64,
    signal: String,
    boundary: String,
    method: String,
    zone: Option<String>,
    source: Option<String>,
    estimated: Option<bool>,
}

/// Reads and checks the whole file; `zone` is where it holds if it does not say so.
pub(super) fn read(path: &Path, zone: Option<&str>) -> Result<Series, CliError> {
    let refused = |reason: String| CliError::Argument {
        option: "--intensity-file",
        value: path.display().to_string(),
        reason,
        advice: "give a CSV file with start,end,g_per_kwh,signal,boundary,method, such as \
                 2026-01-31T12:00Z,2026-01-31T13:00Z,56,average,lifecycle,location"
            .into(),
    };
    let size = std::fs::metadata(path).map_err(|error| refused(error.to_string()))?.len();
    if size > BYTES_MAX {
        return Err(refused(format!("{size} bytes are too many")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
    parse(&text, &path.display().to_string(), zone).map_err(refused)
}

pub(super) fn parse(text: &str, name: &str, zone: Option<&str>) -> Result<Series, String> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let mut lines: Vec<(u64, Line)> = Vec::new();
    for (number, line) in (2..).zip(reader.deserialize()) {
        lines.push((number, line.map_err(|error| format!("line {number}: {error}"))?));
    }
    let first = lines.first().map(|(_, line)| line).ok_or_else(|| "no values".to_owned())?;
    let kind = kind(first).ok_or_else(|| "line 2: the kind is not said in known words".to_owned())?;
    let (zone, source) = (
        first.zone.as_deref().or(zone).unwrap_or("file").to_owned(),
        first.source.clone().unwrap_or_else(|| format!("the user's file {name}")),
    );
    let mut points = Vec::new();
    for (index, (number, line)) in lines.iter().enumerate() {
        let at = |text: &str| instant(text).ok_or_else(|| format!("line {number}: {text:?} is no time"));
        if self::kind(line) != Some(kind) {
            return Err(format!("line {number}: another kind than in line 2; kinds are never mixed"));
        }
        let start_s = at(&line.start)?;
        let given = line.end.as_deref().filter(|end| !end.is_empty());
        let end_s = match (given, lines.get(index + 1), points.last()) {
            (Some(end), ..) => at(end)?,
            (None, Some((_, next)), _) => at(&next.start)?,
            // The last holds for as long as the one before it.
            (None, None, Some(Point { start_s: before, end_s, .. })) => {
                start_s.saturating_add(end_s - before)
            }
            (None, None, None) => return Err(format!("line {number}: it has no end")),
        };
        let estimated = line.estimated.unwrap_or(false);
        points.push(Point { start_s, end_s, g_per_kwh: GramsPerKwh(line.g_per_kwh), estimated });
    }
    let starts: Vec<i64> = points.iter().map(|point| point.start_s).collect();
    let impossible = points.iter().position(|point| !series::possible(point.g_per_kwh));
    Series::new(&zone, kind, &source, points).map_err(|error| {
        // Of two that hold at once, the later line.
        let index = match error {
            NoSeries::Value(_) => impossible,
            NoSeries::Backwards(at_s) | NoSeries::Overlap(at_s) => {
                starts.iter().rposition(|start| *start == at_s)
            }
            NoSeries::Empty | NoSeries::Many => None,
        };
        let line = index.and_then(|index| lines.get(index));
        line.map_or_else(|| error.to_string(), |(number, _)| format!("line {number}: {error}"))
    })
}

fn kind(line: &Line) -> Option<Kind> {
    Some(Kind {
        signal: match line.signal.as_str() {
            "average" => Signal::Average,
            "marginal" => Signal::Marginal,
            _ => return None,
        },
        boundary: match line.boundary.as_str() {
            "lifecycle" => Boundary::Lifecycle,
            "direct" => Boundary::Direct,
            _ => return None,
        },
        method: match line.method.as_str() {
            "location" => Method::Location,
            "market" => Method::Market,
            _ => return None,
        },
        flow: Flow::Unstated,
        gas: Gas::Co2e,
        span: Span::Hour,
    })
}

/// A time with its offset; some publishers leave the seconds out, which RFC 3339 does not allow.
fn instant(text: &str) -> Option<i64> {
    text.trim().parse::<Timestamp>().ok().map(Timestamp::as_second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEAD: &str = "start,end,g_per_kwh,signal,boundary,method\n";

    #[test]
    fn values_are_read_with_their_kind() {
        let text = format!(
            "{HEAD}2026-01-31T12:00Z,,50,average,lifecycle,location\n\
             2026-01-31T14:00:00+01:00,2026-01-31T14:00Z,70,average,lifecycle,location\n"
        );
        let series = parse(&text, "x.csv", Some("FR")).unwrap();
        assert_eq!(series.zone(), "FR", "the file has no zone of its own");
        let noon = instant("2026-01-31T12:00:00Z").unwrap();
        let mean = series.mean(noon + 1800, noon + 5400).unwrap();
        assert!((mean.intensity.g_per_kwh.0 - 60.0).abs() < 1e-9);
        assert_eq!(mean.intensity.year, 2026);
        assert_eq!(mean.intensity.basis(), "location-based, hourly average");
    }

    #[test]
    fn what_is_no_series_is_told_with_its_line() {
        let row = "2026-01-31T12:00Z,2026-01-31T13:00Z,50,average,lifecycle,location\n";
        let cases = [
            (String::new(), "no values"),
            (
                format!("{HEAD}{row}{}", row.replace("average", "marginal").replace("12:00Z", "13:00Z")),
                "line 3: another kind",
            ),
            (format!("{HEAD}{}", row.replace("average", "mean")), "line 2: the kind"),
            (format!("{HEAD}{}", row.replace("2026-01-31T12:00Z", "noon")), "line 2: \"noon\" is no time"),
            (format!("{HEAD}{}", row.replace("50", "")), "line 2: "),
            (format!("{HEAD}{}", row.replace("50", "NaN")), "line 2: impossible intensity"),
            (format!("{HEAD}{row}{row}"), "line 3: two values hold"),
            (format!("{HEAD}{row}{}", row.replace("12:00Z", "14:00Z")), "line 3: the value of"),
            (format!("{HEAD}{}", row.replace("2026-01-31T13:00Z", "")), "line 2: it has no end"),
        ];
        for (text, said) in cases {
            let error = parse(&text, "x.csv", None).unwrap_err();
            assert!(error.contains(said), "{text:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_series_or_an_error(text in "(.|\n){0,200}") {
            let _error = parse(&text, "x.csv", None);
            let _error = parse(&format!("{HEAD}{text}"), "x.csv", None);
        }
    }
}
