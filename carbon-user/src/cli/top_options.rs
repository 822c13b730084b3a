//! Options of `carbon top`.

use super::args::{Format, MetadataArg};
use super::error::CliError;
use super::options::{
    DURATION_MAX, INTERVAL_MIN, Measuring, SharedArgs, check_duration, check_overhead, check_rows, measuring,
    text_of,
};
use crate::window::counts::{COUNTERS_MAX, CounterKind};
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// The head alone takes some of it.
const RECORD_BYTES_MIN: u64 = 64 << 10;

/// `carbon top`.
#[derive(Args, Debug)]
pub struct TopArgs {
    /// Measure once, print, and end; for scripts.
    #[arg(long)]
    pub once: bool,
    /// With --once: how long to measure [default: 5s].
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub duration: Option<String>,
    /// How the report is written; json and csv with --once.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Rows of the table; the rest is added up; of a tree, groups of the first level [default: all].
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Count events by cgroup too, at most three, by a program on every context switch. Memory's energy is split by
    /// llc-misses where they are counted.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "EVENTS")]
    pub counters: Vec<CounterArg>,
    /// Share of all CPU time that measuring may cost; above it windows get wider, then accounting cheaper.
    #[arg(long, value_name = "PERCENT", default_value = "0.5", allow_negative_numbers = true)]
    pub max_overhead: String,
    /// Whether engines on this machine (Docker, Podman, containerd, CRI-O) are asked for names of containers, by their
    /// local sockets.
    #[arg(long, value_enum, default_value_t = MetadataArg::Auto, value_name = "WHETHER")]
    pub metadata: MetadataArg,
    /// Write all windows to this file too, for carbon replay.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// With --record: bytes that it may take; it ends there [default: 256MiB].
    #[arg(long, value_name = "BYTES", requires = "record")]
    pub record_limit: Option<String>,
    /// Shared options.
    #[command(flatten)]
    pub shared: SharedArgs,
}

/// `--counters`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CounterArg {
    /// Cycles of the processor's clock.
    Cycles,
    /// Instructions.
    Instructions,
    /// Accesses that the last cache did not hold.
    LlcMisses,
    /// Page faults.
    PageFaults,
}

/// `carbon top`, checked.
#[derive(Clone, Debug)]
pub struct TopOptions {
    /// How to measure.
    pub measuring: Measuring,
    /// `Some`: measure once for so long. `None`: live.
    pub once: Option<Duration>,
    /// How the report is written.
    pub format: Format,
    /// Where the report goes, if not to stdout.
    pub output: Option<PathBuf>,
    /// Rows of the table.
    pub limit: Option<usize>,
    /// Share of all CPU time that measuring may cost.
    pub max_overhead_ratio: f64,
    /// Events to count.
    pub counters: Vec<CounterKind>,
    /// Whether engines are asked for names.
    pub metadata: bool,
    /// Where windows are written down.
    pub record: Option<RecordOptions>,
}

/// `--record`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordOptions {
    /// Where to.
    pub file: PathBuf,
    /// How much of it.
    pub bytes_max: u64,
}

impl TopOptions {
    /// Checks what was written.
    pub(super) fn check(args: TopArgs) -> Result<Self, CliError> {
        let TopArgs {
            once,
            duration,
            format,
            limit,
            counters,
            max_overhead,
            metadata,
            record,
            record_limit,
            shared,
        } = args;
        let needs_once = |option, value: String| CliError::Argument {
            option,
            value,
            reason: "the live table has no use for it".into(),
            advice: "add --once".into(),
        };
        let duration_given = duration.is_some();
        let duration =
            check_duration("--duration", duration.as_deref().unwrap_or("5s"), INTERVAL_MIN, DURATION_MAX)?;
        if !once {
            if duration_given {
                return Err(needs_once("--duration", text_of(duration)));
            }
            if format != Format::Table {
                return Err(needs_once(
                    "--format",
                    if format == Format::Json { "json" } else { "csv" }.into(),
                ));
            }
            if let Some(path) = &shared.output {
                return Err(needs_once("--output", path.display().to_string()));
            }
        }
        let limit = check_rows(limit)?;
        let output = shared.output.clone();
        let measuring = measuring(shared)?;
        let max_overhead_ratio = check_overhead(&max_overhead)?;
        let bytes_max = check_bytes("--record-limit", record_limit.as_deref().unwrap_or("256MiB"))?;
        let record = record.map(|file| RecordOptions { file, bytes_max });
        let counters = check_counters(&counters)?;
        let once = once.then_some(duration);
        let metadata = metadata == MetadataArg::Auto;
        Ok(Self { measuring, once, format, output, limit, max_overhead_ratio, counters, metadata, record })
    }
}

fn check_counters(given: &[CounterArg]) -> Result<Vec<CounterKind>, CliError> {
    let mut kinds: Vec<CounterKind> = Vec::new();
    for counter in given {
        let kind = match counter {
            CounterArg::Cycles => CounterKind::Cycles,
            CounterArg::Instructions => CounterKind::Instructions,
            CounterArg::LlcMisses => CounterKind::LlcMisses,
            CounterArg::PageFaults => CounterKind::PageFaults,
        };
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    if kinds.len() > COUNTERS_MAX {
        return Err(CliError::Argument {
            option: "--counters",
            value: kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(","),
            reason: format!("more than {COUNTERS_MAX} events at one time"),
            advice: "leave one out".into(),
        });
    }
    Ok(kinds)
}

/// A whole number and, if wanted, one of `KiB`, `MiB`, `GiB`.
fn check_bytes(option: &'static str, text: &str) -> Result<u64, CliError> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit = match unit.trim() {
        "" | "B" => Some(1),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1_u64 << 30),
        _ => None,
    };
    let bytes = number.parse::<u64>().ok().zip(unit).and_then(|(number, unit)| number.checked_mul(unit));
    bytes.filter(|bytes| *bytes >= RECORD_BYTES_MIN).ok_or_else(|| CliError::Argument {
        option,
        value: text.into(),
        reason: "not a number of bytes from 64KiB upwards".into(),
        advice: "give a number with KiB, MiB or GiB, such as 64MiB".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribution::Method;
    use crate::cli::options::{Options, parse_words};

    #[test]
    fn once_has_five_seconds_unless_told() {
        let Options::Top(top) = parse_words("carbon top --once --format csv").unwrap() else {
            panic!("not a top")
        };
        assert_eq!(top.once, Some(Duration::from_secs(5)));
        let Options::Top(top) = parse_words("carbon top --attribution cpu-time").unwrap() else {
            panic!("not a top")
        };
        assert_eq!((top.once, top.measuring.attribution), (None, Method::CpuTime));
    }
}
