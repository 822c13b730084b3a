//! `carbon explain WHEN`: the chain from a meter's reading to a gram, of a minute, an hour or a day of the ledger.

use super::error::CliError;
use super::explain::{ExplainArgs, before_line, factor_line, grams_line, seconds, together};
use crate::ledger::query::{DAY, HOUR, MINUTE, NamedDomain, Sum};
use crate::ledger::rows::{EnergyKind, Workload};
use crate::ledger::{Factor, Ledger};
use crate::report::figures::significant;
use crate::units::Microjoules;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use std::collections::{BTreeMap, HashMap};

/// Energies listed one by one; the rest is one line.
const LISTED_MAX: usize = 12;

/// A bucket of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    pub(super) start_s: i64,
    pub(super) end_s: i64,
}

impl Bucket {
    /// A day (`2026-01-31`), an hour (`2026-01-31T12`) or a minute (`2026-01-31T12:30`) of the time zone; none for what is no
    /// time, such as the name of a run.
    pub(super) fn parse(text: &str, tz: &TimeZone) -> Option<Self> {
        let text = text.trim();
        let at = |civil: DateTime| civil.to_zoned_datetime(tz.clone()).ok();
        let (start, end) = if text.contains('T') {
            // An hour is written without minutes, which the parser takes for the full hour.
            let start = at(text.parse::<DateTime>().ok()?)?;
            let hour = text.split('T').nth(1).is_some_and(|time| time.len() == 2);
            let end = start.checked_add(if hour { 1.hour() } else { 1.minute() }).ok()?;
            (start, end)
        } else {
            let start = at(text.parse::<Date>().ok()?.into())?;
            let end = start.checked_add(1.day()).ok()?;
            (start, end)
        };
        Some(Self { start_s: start.timestamp().as_second(), end_s: end.timestamp().as_second() })
    }
}

/// What is in it, by the ledger's ids.
struct Content {
    workloads: HashMap<i64, Workload>,
    domains: HashMap<i64, NamedDomain>,
    factors: HashMap<i64, Factor>,
    sums: Vec<Sum>,
    attributed: HashMap<i64, u64>,
}

/// Line by line.
pub(super) fn facts(
    ledger: &mut Ledger,
    bucket: Bucket,
    args: &ExplainArgs,
    tz: &TimeZone,
) -> Result<Vec<String>, CliError> {
    let segments = ledger.segments(bucket.start_s, bucket.end_s)?;
    let from_s = segments.first().map_or(bucket.start_s, |it| it.start_s);
    let to_s = segments.last().map_or(bucket.end_s, |it| it.end_s);
    let shown = |instant_s: i64| {
        Timestamp::from_second(instant_s)
            .map(|it| it.to_zoned_datetime(tz.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string())
            .unwrap_or_default()
    };
    let mut lines = vec![format!(
        "{} to {}, from the {} of {}",
        shown(from_s),
        shown(to_s),
        levels(segments.iter().map(|it| it.level_s)),
        ledger.place()
    )];
    if (from_s, to_s) != (bucket.start_s, bucket.end_s) {
        lines.push("details that old are no longer kept, so it is widened to whole hours or days".to_owned());
    }
    let mut content = Content {
        workloads: ledger.workloads()?,
        domains: ledger.domains()?,
        factors: ledger.factors()?,
        sums: ledger.sums(&segments)?,
        attributed: HashMap::new(),
    };
    for (id, balance) in ledger.balances(&segments)? {
        content.attributed.insert(id, balance.attributed_uj);
        let Some(domain) = content.domains.get(&id) else { continue };
        lines.push(format!(
            "1. reading: {} ({}) of {} counted {:.6} J in {} s of readings, {}, by {}",
            domain.device,
            domain.domain,
            domain.node,
            Microjoules(balance.metered_uj).joules(),
            seconds(balance.covered_ns),
            domain.quality,
            domain.source
        ));
        lines.push(format!(
            "   {} uJ metered = {} attributed to what ran + {} static (idle power) + {} lost; {} windows with a fault",
            balance.metered_uj, balance.attributed_uj, balance.static_uj, balance.lost_uj, balance.gaps
        ));
    }
    if let Some(wanted) = &args.workload {
        content.sums.retain(|sum| {
            content
                .workloads
                .get(&sum.workload)
                .is_some_and(|it| [&it.identity, &it.name].iter().any(|name| name.contains(wanted)))
        });
    }
    if content.sums.is_empty() {
        lines.push("nothing is recorded of that: joules and grams are unknown, not zero".to_owned());
        return Ok(lines);
    }
    energies(&content, &mut lines);
    let first = ledger.rated_before(from_s, to_s)?;
    grams(&content, &first, &mut lines);
    Ok(lines)
}

fn levels(levels: impl Iterator<Item = i64>) -> String {
    let mut names: Vec<&str> = levels
        .map(|level| match level {
            MINUTE => "minutes",
            HOUR => "hours",
            DAY => "days",
            _ => "buckets",
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names.join(" and ")
}

/// CPU time, and what each workload has of each domain: most first.
fn energies(content: &Content, lines: &mut Vec<String>) {
    let cpu_ns = content.sums.iter().map(|sum| sum.cpu_ns).fold(0, u64::saturating_add);
    let mut names: Vec<i64> = content.sums.iter().map(|sum| sum.workload).collect();
    names.sort_unstable();
    names.dedup();
    lines.push(format!("2. CPU time: {} s of {} workloads, in these rows", seconds(cpu_ns), names.len()));
    let mut sums: Vec<&Sum> = content.sums.iter().collect();
    sums.sort_by_key(|sum| std::cmp::Reverse(sum.energy_uj));
    for sum in sums.iter().take(LISTED_MAX) {
        let name = content.workloads.get(&sum.workload).map_or("", |it| it.identity.as_str());
        let device = content.domains.get(&sum.domain).map_or("", |it| it.device.as_str());
        let share = match (sum.kind, content.attributed.get(&sum.domain)) {
            (EnergyKind::Dynamic, Some(all)) if *all > 0 => {
                #[expect(clippy::cast_precision_loss, reason = "a share for display")]
                let percent = 100.0 * sum.energy_uj as f64 / *all as f64;
                format!(" ({} % of what was attributed)", significant(percent, 3))
            }
            _ => String::new(),
        };
        let stddev_j = sum.common_uj.hypot(sum.variance_uj2.max(0.0).sqrt()) / 1e6;
        lines.push(format!(
            "3. energy: {name}: {} uJ {} of {device}{share}, by {} s of CPU time, standard deviation {} J, {}",
            sum.energy_uj,
            sum.kind.as_str(),
            seconds(sum.cpu_ns),
            significant(stddev_j, 2),
            sum.quality
        ));
    }
    let rest = sums.get(LISTED_MAX..).unwrap_or_default();
    if !rest.is_empty() {
        let uj: u64 = rest.iter().map(|sum| sum.energy_uj).fold(0, u64::saturating_add);
        lines.push(format!(
            "   and {uj} uJ in {} more rows: give --workload, or \"carbon report --format csv\"",
            rest.len()
        ));
    }
}

/// Microjoules are summed by factor, and multiplied once.
fn grams(content: &Content, first: &[(i64, i64)], lines: &mut Vec<String>) {
    let mut by_factor: BTreeMap<(i64, bool), (Microjoules, f64)> = BTreeMap::new();
    for sum in &content.sums {
        let of_factor = by_factor.entry((sum.factor, sum.rerated)).or_default();
        of_factor.0 += Microjoules(sum.energy_uj);
        of_factor.1 += sum.common_uj.hypot(sum.variance_uj2.max(0.0).sqrt());
    }
    let mut rows = Vec::new();
    for ((id, rerated), (energy, stddev_uj)) in &by_factor {
        let Some(factor) = content.factors.get(id) else { continue };
        lines.push(factor_line(factor));
        if *rerated {
            let before = first.iter().filter(|(_, rated_by)| rated_by == id);
            let before = before.filter_map(|(before, _)| content.factors.get(before));
            lines.extend(before.map(|first| before_line("hour", first)));
        }
        lines.push(grams_line(factor, *energy));
        rows.push((factor, *energy, *stddev_uj));
    }
    lines.push(together(rows));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_day_an_hour_or_a_minute() {
        let paris = TimeZone::get("Europe/Paris").unwrap();
        let length = |text: &str| Bucket::parse(text, &paris).map(|it| it.end_s - it.start_s);
        assert_eq!(length("2026-01-31"), Some(DAY));
        assert_eq!(length("2026-03-29"), Some(23 * HOUR), "the clock changes");
        assert_eq!(length("2026-01-31T12"), Some(HOUR));
        assert_eq!(length("2026-01-31T12:30"), Some(MINUTE));
        let start = Bucket::parse("2026-01-31T12", &paris).unwrap().start_s;
        assert_eq!(Some(start), Bucket::parse("2026-01-31T11:00", &TimeZone::UTC).map(|it| it.start_s));
        for text in ["nightly", "019c2d6e-7a5b-7000-8000-000000000000", "2026-01", "2026-13-01", "T12", ""] {
            assert_eq!(length(text), None, "{text:?}");
        }
    }
}
