//! `carbon replay`: recorded windows through the same attribution as live ones, as they were or in another way.

use super::args::Format;
use super::engine::{json, says_no_zone, style, unwritten};
use super::error::CliError;
use super::options::{AttributionArg, StaticArg, check_pue, check_rows, method, policy};
use super::output::Output;
use crate::attribution::static_policy::StaticPolicy;
use crate::attribution::totals::Totals;
use crate::attribution::{Method, State, attribute};
use crate::carbon::Intensity;
use crate::recording::{End, Entry, Head, Reader, RecordingError};
use crate::report::top::Top;
use crate::report::{Context, csv, table};
use crate::sched::Rung;
use crate::units::Pue;
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

/// `carbon replay`.
#[derive(Args, Debug)]
pub struct ReplayArgs {
    /// What carbon top --record has written.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// How the energy of running is split [default: as it was].
    #[arg(long, value_enum, value_name = "HOW")]
    pub attribution: Option<AttributionArg>,
    /// Who the energy drawn even when idle is shown to [default: as it was].
    #[arg(long = "static", value_enum, value_name = "POLICY")]
    pub static_policy: Option<StaticArg>,
    /// Where the electricity was used [default: as it was].
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,
    /// Energy of the whole site over the energy of its machines [default: as it was].
    #[arg(long, value_name = "RATIO", allow_negative_numbers = true)]
    pub pue: Option<String>,
    /// How the report is written.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Rows of the table; the rest is added up.
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Write the report to this file, whole or not at all.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `carbon replay`, checked.
#[derive(Clone, Debug)]
pub struct ReplayOptions {
    /// The recording.
    pub file: PathBuf,
    /// `None`: as it was.
    pub attribution: Option<Method>,
    /// `None`: as it was.
    pub static_policy: Option<StaticPolicy>,
    /// `None`: as it was; not yet looked up.
    pub zone: Option<String>,
    /// `None`: as it was.
    pub pue: Option<Pue>,
    /// How the report is written.
    pub format: Format,
    /// Rows of the table.
    pub limit: Option<usize>,
    /// Where the report goes, if not to stdout.
    pub output: Option<PathBuf>,
}

impl ReplayOptions {
    /// Checks what was written.
    pub(super) fn check(args: ReplayArgs) -> Result<Self, CliError> {
        Ok(Self {
            file: args.file,
            attribution: args.attribution.map(method),
            static_policy: args.static_policy.map(policy),
            zone: args.zone,
            pue: args.pue.as_deref().map(check_pue).transpose()?,
            format: args.format,
            limit: check_rows(args.limit)?,
            output: args.output,
        })
    }
}

/// Attributes all windows again and prints the report. Where the recording is damaged, that of the windows before, and
/// an error.
pub fn replay(options: &ReplayOptions) -> Result<u8, CliError> {
    let output = Output::open(options.output.as_deref(), Output::Stdout)?;
    let failed = |source| CliError::Recording { path: options.file.clone(), source };
    let file = File::open(&options.file).map_err(|error| failed(error.into()))?;
    let (mut reader, head) = Reader::begin(BufReader::new(file)).map_err(failed)?;
    let foreign = |what: &str, word: &str| failed(RecordingError::Foreign(format!("no {what} {word:?}")));
    let method = options
        .attribution
        .map_or_else(|| AttributionArg::from_str(&head.attribution, false).map(method), Ok);
    let method = method.map_err(|_| foreign("attribution", &head.attribution))?;
    let policy =
        options.static_policy.map_or_else(|| StaticArg::from_str(&head.static_policy, false).map(policy), Ok);
    let policy = policy.map_err(|_| foreign("static policy", &head.static_policy))?;
    let start: Timestamp = head.start.parse().map_err(|_| foreign("time", &head.start))?;
    let intensity = if options.zone.is_none() && head.zone_assumed {
        Intensity::of_unknown_place()
    } else {
        let zone = options.zone.as_ref().unwrap_or(&head.zone);
        Intensity::of(zone).map_err(|error| CliError::Zone { source: error })?
    };

    let mut state = State::new(method, head.packages.clone());
    state.resume(head.kept.clone());
    let mut totals = Totals::default();
    let (end, damage) = loop {
        match reader.next_entry() {
            Ok(Entry::Window(window)) => totals.add(&attribute(&window, &mut state, policy)),
            Ok(Entry::End(end)) => break (Some(end), None),
            Err(error) if reader.windows() == 0 => return Err(failed(error)),
            Err(error) => break (None, Some(error)),
        }
    };
    let word = end.as_ref().map_or(&head.accounting, |end| &end.accounting);
    let rung = Rung::ALL.into_iter().find(|rung| rung.as_str() == word);
    let context = Context {
        node: head.node.clone(),
        start,
        end: end_of(end.as_ref(), start, &totals),
        rung: rung.ok_or_else(|| foreign("accounting", word))?,
        policy,
        state: &state,
        intensity,
        pue: options.pue.unwrap_or(Pue(head.pue)),
        notes: notes(options, &head, end.as_ref(), damage.as_ref()),
    };
    let top = Top::new(&context, &totals, |cgroup| reader.cgroup_path(cgroup));
    let text = match options.format {
        Format::Table => table::top(&top, style(output.layout(), options.limit)),
        Format::Json => json(&top)?,
        Format::Csv => csv::top(&top).map_err(|error| unwritten(std::io::Error::other(error)))?,
    };
    output.write(&text)?;
    damage.map_or(Ok(0), |error| Err(failed(error)))
}

/// The last edge; where the end is missing, as long after the first as there are windows.
fn end_of(end: Option<&End>, start: Timestamp, totals: &Totals) -> Timestamp {
    let told = end.and_then(|end| end.end.parse().ok());
    let counted = || {
        let duration = jiff::SignedDuration::try_from(totals.duration()).ok()?;
        start.saturating_add(duration).ok()
    };
    told.or_else(counted).unwrap_or(start)
}

fn notes(
    options: &ReplayOptions,
    head: &Head,
    end: Option<&End>,
    damage: Option<&RecordingError>,
) -> Vec<String> {
    let mut notes = end.map(|end| end.notes.clone()).unwrap_or_default();
    if options.zone.is_some() {
        notes.retain(|note| !says_no_zone(note));
    }
    let mut replayed = format!(
        "attributed again from a recording, which was made with --attribution {} --static {}",
        head.attribution, head.static_policy
    );
    if options.zone.is_some() || options.pue.is_some() {
        replayed = format!("{replayed}, zone {} and PUE {}", head.zone, head.pue);
    }
    notes.push(replayed);
    notes.extend(damage.map(|damage| format!("the recording is damaged: {damage}")));
    notes
}
