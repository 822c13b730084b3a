//! Values that options of several commands have: durations, numbers, names, folders.

use crate::cli::error::CliError;
use crate::sysroot::SysRoot;
use std::path::PathBuf;
use std::time::Duration;

/// Longest `--once`: what takes longer wants the ledger of an agent.
pub(in crate::cli) const DURATION_MAX: Duration = Duration::from_hours(24);
const PROJECT_CHARACTERS_MAX: usize = 128;

/// Nothing for the word "none" and for an empty environment variable.
pub(in crate::cli) fn state_file(path: PathBuf) -> Option<PathBuf> {
    Some(path).filter(|path| !["none", ""].iter().any(|word| path.as_os_str() == *word))
}

pub(in crate::cli) fn check_rows(limit: Option<usize>) -> Result<Option<usize>, CliError> {
    match limit.filter(|rows| !(1..=1_000_000).contains(rows)) {
        None => Ok(limit),
        Some(rows) => Err(CliError::Argument {
            option: "--limit",
            value: rows.to_string(),
            reason: "out of range".into(),
            advice: "give a number from 1 to 1000000".into(),
        }),
    }
}

pub(in crate::cli) fn check_root(sys: PathBuf) -> Result<SysRoot, CliError> {
    if sys.is_dir() {
        return Ok(SysRoot { sys, ..SysRoot::default() });
    }
    Err(CliError::Argument {
        option: "--sysfs-root",
        value: sys.display().to_string(),
        reason: "not a directory".into(),
        advice: "give the directory where sysfs is mounted, such as /sys".into(),
    })
}

pub(in crate::cli) fn check_overhead(text: &str) -> Result<f64, CliError> {
    match text.trim().trim_end_matches('%').trim_end().parse::<f64>() {
        Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(percent / 100.0),
        _ => Err(CliError::Argument {
            option: "--max-overhead",
            value: text.into(),
            reason: "not a share above 0 and up to 100 per cent".into(),
            advice: "give per cent of the time of all CPUs, such as 0.5".into(),
        }),
    }
}

/// A name that goes into the ledger.
pub(in crate::cli) fn check_name(option: &'static str, name: &str) -> Result<(), CliError> {
    let length = name.chars().count();
    if (1..=PROJECT_CHARACTERS_MAX).contains(&length) && !name.chars().any(char::is_control) {
        return Ok(());
    }
    Err(CliError::Argument {
        option,
        value: format!("{name:?}"),
        reason: "not a name".into(),
        advice: format!("give 1 to {PROJECT_CHARACTERS_MAX} printable characters"),
    })
}

/// A number of things.
pub(in crate::cli) fn check_count(
    option: &'static str,
    text: &str,
    min: usize,
    max: usize,
) -> Result<usize, CliError> {
    let count = text.trim().parse::<usize>().ok().filter(|count| (min..=max).contains(count));
    count.ok_or_else(|| CliError::Argument {
        option,
        value: text.into(),
        reason: "not a whole number in its range".into(),
        advice: format!("give {min} to {max}"),
    })
}

/// Whether a word says yes; set to nothing it says no, as where it is not set.
pub(in crate::cli) fn yes_or_no(text: &str) -> Result<bool, &'static str> {
    match text.trim().to_lowercase().as_str() {
        "true" | "yes" | "on" | "1" | "y" | "t" => Ok(true),
        "" | "false" | "no" | "off" | "0" | "n" | "f" => Ok(false),
        _ => Err("give true or false"),
    }
}

/// A number that is not below nothing.
pub(in crate::cli) fn not_negative(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| "give a number, 0 or more".to_owned())
}

pub(in crate::cli) fn check_duration(
    option: &'static str,
    text: &str,
    min: Duration,
    max: Duration,
) -> Result<Duration, CliError> {
    let error = |reason: String| CliError::Argument {
        option,
        value: text.into(),
        reason,
        advice: format!("give a number and a unit from {} to {}, such as 5s", text_of(min), text_of(max)),
    };
    match parse_duration(text) {
        None => Err(error("not a duration".into())),
        Some(duration) if duration < min => Err(error("too short".into())),
        Some(duration) if duration > max => Err(error("too long".into())),
        Some(duration) => Ok(duration),
    }
}

/// A decimal number and one of `ms`, `s`, `m`, `h`, without a sign: `500ms`, `1.5s`.
pub(in crate::cli) fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let unit_seconds = match unit {
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    if !number.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    // Rounded, so that 1.1 s is 1,100,000,000 ns.
    Duration::try_from_secs_f64(number.trim_end().parse::<f64>().ok()? * unit_seconds).ok()
}

pub(in crate::cli) fn text_of(duration: Duration) -> String {
    match duration.as_millis() {
        millis if millis % 3_600_000 == 0 => format!("{}h", millis / 3_600_000),
        millis if millis % 60_000 == 0 => format!("{}m", millis / 60_000),
        millis if millis % 1000 == 0 => format!("{}s", millis / 1000),
        millis => format!("{millis}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        let cases = [
            ("5s", Some(5_000_000_000)),
            ("500ms", Some(500_000_000)),
            ("1m", Some(60_000_000_000)),
            ("1.1s", Some(1_100_000_000)),
            ("2 h", Some(7_200_000_000_000)),
            ("5", None),
            ("", None),
            ("s", None),
            ("-5s", None),
            ("+5s", None),
            ("1e3s", None),
            ("5 apples", None),
            ("infs", None),
            ("99999999999999999999999h", None),
        ];
        for (text, nanos) in cases {
            assert_eq!(parse_duration(text).map(|duration| duration.as_nanos()), nanos, "{text:?}");
        }
    }

    #[test]
    fn a_number_below_nothing_is_refused() {
        assert_eq!(not_negative("0.5"), Ok(0.5));
        for text in ["nan", "inf", "-1", ""] {
            assert!(not_negative(text).is_err(), "{text}");
        }
    }
}
