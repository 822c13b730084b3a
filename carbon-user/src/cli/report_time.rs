//! The times of a report: dates of a zone, hours, days and months.

use super::error::CliError;
use super::report_args::{PerArg, ReportArgs};
use super::runs::in_memory;
use crate::clock;
use crate::ledger::Ledger;
use crate::ledger::query::{MINUTE, Segment};
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, ZonedDateTime};

/// Rows of time at most: a year of hours.
const PERIODS_MAX: usize = 9000;

/// By its name.
pub(super) fn zone(name: &str) -> Result<TimeZone, CliError> {
    TimeZone::get(name).map_err(|error| CliError::Argument {
        option: "--tz",
        value: name.into(),
        reason: error.to_string(),
        advice: "give a name of the time zone database, such as UTC or Europe/Paris".into(),
    })
}

/// With its offset.
pub(super) fn shown(time: &ZonedDateTime) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

/// From and to of what is read, in the zone; none where that is nothing. What is still to come is not in it.
pub(super) fn covered(
    segments: &[Segment],
    from: &ZonedDateTime,
    to: &ZonedDateTime,
) -> Option<(ZonedDateTime, ZonedDateTime)> {
    let at =
        |second| Timestamp::from_second(second).ok().map(|it| it.to_zoned_datetime(from.time_zone().clone()));
    let (start, end) = (at(segments.first()?.start_s)?, at(segments.last()?.end_s)?);
    let known = clock::wall().to_zoned_datetime(to.time_zone().clone()).max(to.clone());
    Some((start, end.min(known)))
}

/// What must be said where details are gone: ends that are widened, and periods that do not begin where they are asked to.
pub(super) fn notes_of_resolution(intervals: &[(i64, i64)], parts: &[Vec<Segment>]) -> Vec<String> {
    let mut notes = Vec::new();
    let ends = |instants: (Option<i64>, Option<i64>)| instants.0.zip(instants.1);
    let first =
        ends((intervals.first().map(|it| it.0), parts.first().and_then(|it| Some(it.first()?.start_s))));
    let last_end = parts.iter().rev().find_map(|it| it.last()).map(|it| it.end_s);
    let last = ends((intervals.last().map(|it| it.1), last_end));
    if first.is_some_and(|(from_s, start_s)| from_s.saturating_sub(start_s) >= MINUTE)
        || last.is_some_and(|(to_s, end_s)| end_s.saturating_sub(to_s) >= MINUTE)
    {
        notes.push(
            "details that old are no longer kept, so the ends are widened to whole hours or days".to_owned(),
        );
    }
    let inner = intervals.iter().zip(parts).take(intervals.len().saturating_sub(1));
    let late = |(it, part): (&(i64, i64), &Vec<Segment>)| {
        part.last().is_some_and(|end| end.end_s.saturating_sub(it.1) >= MINUTE)
    };
    if inner.into_iter().any(late) {
        let without = intervals.iter().zip(parts).filter(|(it, part)| it.0 < it.1 && part.is_empty()).count();
        let rest = if without > 0 {
            format!(", and {without} periods have no rows: they are not known by themselves")
        } else {
            String::new()
        };
        notes.push(format!(
            "details that fine are no longer kept for all of it: the energy of an hour or a day that is kept as a whole is in the \
             period in which it begins{rest}"
        ));
    }
    notes
}

/// From and to: as given, else from the first day of which there is anything until now.
pub(super) fn interval(
    args: &ReportArgs,
    tz: &TimeZone,
    ledger: &mut Ledger,
    by_runs: bool,
) -> Result<(ZonedDateTime, ZonedDateTime), CliError> {
    let (from, to) = given(args, tz)?;
    let to = to.unwrap_or_else(|| clock::wall().to_zoned_datetime(tz.clone()));
    let from = if let Some(from) = from {
        from
    } else {
        {
            let first = if by_runs {
                ledger.first_run_us()?.and_then(|us| Timestamp::from_microsecond(us).ok())
            } else {
                ledger.extent()?.and_then(|(first, _)| Timestamp::from_second(first).ok())
            };
            let first = first.map_or_else(|| to.clone(), |first| first.to_zoned_datetime(tz.clone()));
            let day = first.start_of_day().unwrap_or(first);
            if day < to { day } else { to.clone() }
        }
    };
    check_order(args, &from, &to)?;
    Ok((from, to))
}

/// From and to, as far as they are given.
pub(super) fn given(
    args: &ReportArgs,
    tz: &TimeZone,
) -> Result<(Option<ZonedDateTime>, Option<ZonedDateTime>), CliError> {
    let read =
        |option, text: &Option<String>| text.as_deref().map(|text| instant(option, text, tz)).transpose();
    Ok((read("--from", &args.from)?, read("--to", &args.to)?))
}

/// That a beginning that was given is before the end.
pub(super) fn check_order(
    args: &ReportArgs,
    from: &ZonedDateTime,
    to: &ZonedDateTime,
) -> Result<(), CliError> {
    if from >= to && args.from.is_some() {
        return Err(CliError::Argument {
            option: "--from",
            value: args.from.clone().unwrap_or_default(),
            reason: format!("not before the end, {}", shown(to)),
            advice: "give an earlier date".into(),
        });
    }
    Ok(())
}

/// A date, a time of the zone, or a time with its own offset.
pub(super) fn instant(option: &'static str, text: &str, tz: &TimeZone) -> Result<ZonedDateTime, CliError> {
    let text = text.trim();
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Ok(timestamp.to_zoned_datetime(tz.clone()));
    }
    let civil = text.parse::<DateTime>().or_else(|_| text.parse::<Date>().map(DateTime::from));
    civil.and_then(|civil| civil.to_zoned_datetime(tz.clone())).map_err(|_| CliError::Argument {
        option,
        value: text.into(),
        reason: "not a date or time".into(),
        advice: "give one such as 2026-01-31, 2026-01-31T12:00 or 2026-01-31T12:00Z".into(),
    })
}

/// The interval cut at hours, days or months of the zone: a day with a change of the clock has 23 or 25 hours.
pub(super) fn periods(
    from: &ZonedDateTime,
    to: &ZonedDateTime,
    per: Option<PerArg>,
) -> Result<Vec<(Option<String>, ZonedDateTime, ZonedDateTime)>, CliError> {
    let Some(per) = per else { return Ok(vec![(None, from.clone(), to.clone())]) };
    let failed = |error: jiff::Error| in_memory(&error);
    let (step, format) = match per {
        PerArg::Hour => (1.hour(), "%Y-%m-%dT%H:00%:z"),
        PerArg::Day => (1.day(), "%Y-%m-%d"),
        PerArg::Month => (1.month(), "%Y-%m"),
    };
    let mut start = from.clone();
    let mut periods = Vec::new();
    while start < *to {
        let begun = match per {
            PerArg::Hour => start.timestamp().as_second().div_euclid(3600).saturating_mul(3600),
            PerArg::Day => start.start_of_day().map_err(failed)?.timestamp().as_second(),
            PerArg::Month => {
                let first = start.first_of_month().map_err(failed)?;
                first.start_of_day().map_err(failed)?.timestamp().as_second()
            }
        };
        let begun =
            Timestamp::from_second(begun).map_err(failed)?.to_zoned_datetime(start.time_zone().clone());
        let next = begun.checked_add(step).map_err(failed)?;
        let end = if next < *to { next } else { to.clone() };
        periods.push((Some(begun.strftime(format).to_string()), start, end.clone()));
        start = end;
        if periods.len() > PERIODS_MAX {
            return Err(CliError::Argument {
                option: "--per",
                value: format!("more than {PERIODS_MAX} periods"),
                reason: "too many rows".into(),
                advice: "give a shorter interval, or longer periods".into(),
            });
        }
    }
    Ok(periods)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, zone: &str) -> ZonedDateTime {
        instant("--from", text, &TimeZone::get(zone).unwrap()).unwrap()
    }

    #[test]
    fn periods_follow_the_clock_of_the_zone() {
        let days =
            periods(&at("2026-03-28", "Europe/Paris"), &at("2026-03-31", "Europe/Paris"), Some(PerArg::Day))
                .unwrap();
        let hours: Vec<i64> = days
            .iter()
            .map(|(_, from, to)| (to.timestamp().as_second() - from.timestamp().as_second()) / 3600)
            .collect();
        assert_eq!(hours, [24, 23, 24], "the clock is put forward on the 29th");
        let months =
            periods(&at("2026-01-15", "UTC"), &at("2026-03-02", "UTC"), Some(PerArg::Month)).unwrap();
        let labels: Vec<&str> = months.iter().filter_map(|(label, _, _)| label.as_deref()).collect();
        assert_eq!(labels, ["2026-01", "2026-02", "2026-03"]);
        for (one, next) in months.iter().zip(months.iter().skip(1)) {
            assert_eq!(one.2, next.1);
        }
        assert!(periods(&at("2020-01-01", "UTC"), &at("2026-01-01", "UTC"), Some(PerArg::Hour)).is_err());
    }

    #[test]
    fn an_instant_has_many_forms() {
        let second = |text| at(text, "Europe/Paris").timestamp().as_second();
        assert_eq!(second("2026-01-31T12:00Z"), second("2026-01-31T13:00"));
        assert_eq!(second("2026-01-31"), second("2026-01-30T23:00Z"));
        assert!(instant("--to", "yesterday-ish", &TimeZone::UTC).is_err());
    }
}
