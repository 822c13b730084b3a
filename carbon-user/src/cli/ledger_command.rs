//! `carbon ledger`: verify, compact, export, import.

use super::error::CliError;
use super::live_values::{Known, LiveArgs, LiveOptions};
use super::output::Output;
use super::series_file;
use super::store::StoreArgs;
use crate::carbon::Intensity;
use crate::clock;
use crate::ledger::query::DAY;
use crate::ledger::{Ledger, LedgerError, late};
use clap::{Args, Subcommand};
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

/// `carbon ledger`.
#[derive(Args, Clone, Debug)]
pub struct LedgerArgs {
    /// What to do with the ledger.
    #[command(subcommand)]
    pub action: LedgerAction,
}

/// The actions of `carbon ledger`.
#[derive(Clone, Debug, Subcommand)]
pub enum LedgerAction {
    /// Check that every sum holds; status 1 where one does not.
    Verify {
        /// The ledger.
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Remove details that are old, keep their sums, and give the space back.
    Compact {
        /// Keep minutes for so many days.
        #[arg(long, value_name = "DAYS", default_value_t = 30)]
        minutes: u32,
        /// Keep hours for so many days. Days are kept for good.
        #[arg(long, value_name = "DAYS", default_value_t = 400)]
        hours: u32,
        /// The ledger.
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Rate hours and runs again whose intensity became known after them: once each, marked, with the old factor kept.
    Rerate {
        /// The zone whose hours and runs were recorded by its yearly average, as reports name it.
        #[arg(long, env = "CARBON_ZONE", value_name = "ZONE")]
        zone: String,
        /// Intensities by time, as for `carbon run --intensity-file`.
        #[arg(long, value_name = "FILE", conflicts_with = "live", required_unless_present = "live")]
        intensity_file: Option<PathBuf>,
        /// Live intensities.
        #[command(flatten)]
        live: LiveArgs,
        /// The ledger.
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Write everything as lines of JSON.
    Export {
        /// Write it to this file, whole or not at all.
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
        /// The ledger.
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Read what export wrote, all of it or nothing; `-` for standard input.
    Import {
        /// The file.
        file: PathBuf,
        /// The ledger.
        #[command(flatten)]
        store: StoreArgs,
    },
}

/// Does what was asked and gives the status.
pub(super) fn ledger(args: &LedgerArgs) -> Result<u8, CliError> {
    match &args.action {
        LedgerAction::Verify { store } => {
            let location = store.location()?;
            if late::is_waiting(&location) {
                // Where it cannot be written, what is there is looked at all the same.
                if let Err(error) = Ledger::open(&location) {
                    log::warn!("{error}");
                }
            }
            let mut ledger = store.open_to_read()?;
            let found = ledger.snapshot(Ledger::verify)?;
            let mut text = format!(
                "{}: {} rows of energies, {} runs, {} factors: {}\n",
                ledger.place(),
                found.energies,
                found.runs,
                found.factors,
                if found.faults.is_empty() { "all sums hold" } else { "FAULTS" }
            );
            for fault in &found.faults {
                text.push_str(fault);
                text.push('\n');
            }
            Output::Stdout.write(&text)?;
            Ok(u8::from(!found.faults.is_empty()))
        }
        LedgerAction::Compact { minutes, hours, store } => {
            let now = clock::wall().as_second();
            let ago = |days: u32| now.saturating_sub(i64::from(days).saturating_mul(DAY));
            let mut ledger = store.open()?;
            let removed = ledger.compact(ago(*minutes), ago(*hours))?;
            Output::Stdout
                .write(&format!("{}: {removed} rows removed; their sums are kept\n", ledger.place()))?;
            Ok(0)
        }
        LedgerAction::Rerate { zone, intensity_file, live, store } => {
            rerate(zone, intensity_file.as_deref(), live.clone(), store)
        }
        LedgerAction::Export { output, store } => {
            let output = Output::open(output.as_deref(), Output::Stdout)?;
            let mut ledger = store.open_to_read()?;
            let mut failed = None;
            let written = output.write_with(|out| {
                ledger.export(out).map_err(|error| match error {
                    LedgerError::Export(source) => source,
                    other => {
                        let stopped = io::Error::other(other.to_string());
                        failed = Some(other);
                        stopped
                    }
                })
            });
            failed.map_or(Ok(()), Err)?;
            written.map(|_| 0)
        }
        LedgerAction::Import { file, store } => {
            let mut input = open(file)?;
            let count = store.open()?.import(input.as_mut())?;
            Output::Stdout.write(&format!(
                "imported {} rows of energies, {} of balances, {} runs\n",
                count.energies, count.balances, count.runs
            ))?;
            Ok(0)
        }
    }
}

/// By a file or by what a service has said so far.
fn rerate(zone: &str, file: Option<&Path>, live: LiveArgs, store: &StoreArgs) -> Result<u8, CliError> {
    // By its code, as it was recorded: an unknown one would rate nothing, and look like success.
    let found = Intensity::of(zone).map_err(|source| CliError::Zone { source })?;
    let zone = found.zone.as_str();
    let known = match (file, LiveOptions::check(live)?) {
        (Some(file), _) => Known { series: Some(series_file::read(file, Some(zone))?), notes: Vec::new() },
        (None, Some(live)) => live.known(Some(zone)),
        (None, None) => Known::default(),
    };
    let mut text = String::new();
    let mut ledger = store.open()?;
    if let Some(series) = &known.series {
        let done = ledger.rerate(series, zone)?;
        text = format!(
            "{}: {} hours of {zone} rated again; {} are not covered, and stay as recorded\n\
             {} runs of {zone} rated again; {} are not covered, and stay as recorded\n",
            ledger.place(),
            done.hours,
            done.uncovered,
            done.runs,
            done.uncovered_runs
        );
    }
    text.extend(known.notes.iter().map(|note| format!("note: {note}\n")));
    Output::Stdout.write(&text)?;
    Ok(0)
}

fn open(file: &Path) -> Result<Box<dyn BufRead>, CliError> {
    if file == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let opened = fs::File::open(file).map_err(|error| CliError::Argument {
        option: "ledger import",
        value: file.display().to_string(),
        reason: format!("cannot open it: {error}"),
        advice: "give a file that carbon ledger export wrote, or - for standard input".into(),
    })?;
    Ok(Box::new(BufReader::new(opened)))
}
