//! How right attribution is, on simulated nodes whose joules per workload are known: `cargo xtask bench accuracy`.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::format_push_string,
    reason = "a simulation that looks at the clock and prints its figures"
)]

mod metered;
mod plots;
mod random;
mod recorded;
mod report;
mod rig;
mod scenarios;
mod score;
mod speed;

use anyhow::{Context, Result, bail};
use clap::builder::TypedValueParser;
use clap::{Parser, ValueEnum};
use scenarios::{Node, SCENARIOS, Setting, simulate};
use score::{median, score};
use std::path::PathBuf;

/// Attributes windows of which the joules per workload are known, and prints how far off the result is.
///
/// Without options: all scenarios at 2, 16 and 128 CPUs, as Markdown.
#[derive(Debug, Parser)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
#[command(name = "accuracy", bin_name = "cargo xtask bench accuracy", after_help = recorded::COLUMNS)]
struct Arguments {
    /// Only these scenarios; see --list.
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
    /// CPUs of the node; all standard sizes where not given.
    #[arg(long)]
    cpus: Option<u32>,
    /// Workloads of the node.
    #[arg(long, default_value_t = 20)]
    workloads: usize,
    /// Length of a run in windows of a second.
    #[arg(long, default_value_t = 600)]
    seconds: usize,
    /// Length of a window in seconds.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=60).map(|seconds| seconds as usize))]
    window: usize,
    /// Runs of each scenario, with the seeds 1, 2 and so on.
    #[arg(long, default_value_t = 5)]
    seeds: u64,
    /// Add this to every seed.
    #[arg(long, default_value_t = 0)]
    seed_offset: u64,
    /// Multiply what is believed of idle power beforehand.
    #[arg(long, default_value_t = 1.0)]
    prior_p0_factor: f64,
    /// Multiply what is believed of watts per CPU beforehand.
    #[arg(long, default_value_t = 1.0)]
    prior_w_factor: f64,
    /// Score these files instead.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    csv: Vec<PathBuf>,
    /// Of what is printed for --csv.
    #[arg(long, value_enum, default_value_t = Form::Table)]
    format: Form,
    /// Print one scenario (with the seed --seed-offset) as CSV.
    #[arg(long, value_name = "NAME", conflicts_with = "csv")]
    print: Option<String>,
    /// What a window costs.
    #[arg(long)]
    speed: bool,
    /// Run one bank for so many windows, and say whether it stayed sound.
    #[arg(long, value_name = "WINDOWS")]
    endurance: Option<u32>,
    /// Of the bank of --endurance.
    #[arg(long, default_value_t = 8)]
    slots: usize,
    /// Real load in real cgroups under simulated meters instead; needs root and a quiet machine.
    #[arg(long)]
    metered: bool,
    /// With --metered: only these meters.
    #[arg(long, value_name = "NAME", num_args = 1.., requires = "metered")]
    meter: Vec<String>,
    /// With --metered: a Python that has CodeCarbon, to be run beside.
    #[arg(long, value_name = "PYTHON", requires = "metered")]
    codecarbon: Option<PathBuf>,
    /// Beside Scaphandre, on the meter of an emulated kernel, instead; its own options: --guest --help.
    #[arg(long)]
    guest: bool,
    /// A workload of --metered.
    #[arg(long, hide = true, value_name = "SEED")]
    spin: Option<u64>,
    /// Write two pictures, of learned watts and of error over time, into this folder.
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,
    /// Print the names of the scenarios.
    #[arg(long)]
    list: bool,
    /// Folder that files are given relative to.
    #[arg(long, hide = true, default_value = ".")]
    folder: PathBuf,
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    Table,
    Json,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(wrong) = arguments.scenario.iter().chain(&arguments.print).find(|name| !is_known(name)) {
        bail!("no scenario {wrong}; see --list");
    }
    if arguments.guest {
        bail!("this is for xtask, which boots the kernel; say `cargo xtask bench accuracy --guest`");
    }
    if let Some(seed) = arguments.spin {
        metered::spin(seed);
    } else if arguments.metered {
        return metered::run(&metered::Settings {
            modes: arguments.meter.clone(),
            seconds: arguments.seconds as u64,
            codecarbon: arguments.codecarbon.as_ref().map(|python| arguments.folder.join(python)),
            seed: arguments.seed_offset + 1,
        });
    } else if arguments.list {
        for (name, truth) in SCENARIOS {
            println!("{name:12} {truth}");
        }
    } else if let Some(name) = &arguments.print {
        let setting = setting(&arguments, arguments.cpus.unwrap_or(16), arguments.seed_offset);
        recorded::print(name, arguments.seed_offset, &simulate(name, setting));
    } else if arguments.speed {
        print!("{}", speed::speed().map_err(anyhow::Error::msg)?);
    } else if let Some(windows) = arguments.endurance {
        print!("{}", speed::endurance(windows, arguments.slots).map_err(anyhow::Error::msg)?);
    } else if let Some(folder) = &arguments.plots {
        return plots::write(&arguments.folder.join(folder));
    } else if !arguments.csv.is_empty() {
        return files(&arguments);
    } else if let Some(cpus) = arguments.cpus {
        let of = |seed| setting(&arguments, cpus, seed + arguments.seed_offset);
        let change = |node: Node| {
            node.merged(arguments.window).misled(arguments.prior_p0_factor, arguments.prior_w_factor)
        };
        print!("{}", report::table(&arguments.scenario, arguments.seeds, change, of));
    } else {
        return report::page(arguments.seeds);
    }
    Ok(())
}

fn is_known(name: &str) -> bool {
    SCENARIOS.iter().any(|(known, _)| *known == name)
}

fn setting(arguments: &Arguments, cpus: u32, seed: u64) -> Setting {
    Setting { cpus, workloads: arguments.workloads, seconds: arguments.seconds, seed }
}

fn files(arguments: &Arguments) -> Result<()> {
    let mut failed = 0;
    for path in &arguments.csv {
        let node: Node = match recorded::read(&arguments.folder.join(path)) {
            Ok(node) => node,
            Err(error) => {
                eprintln!("{error:#}");
                failed += 1;
                continue;
            }
        };
        let score = score(&node);
        let ((hits, tries), widths) = &score.intervals;
        let rounded = |value: f64| (value * 1e3).round() / 1e3;
        let figures = serde_json::json!({
            "file": path,
            "total_error_pct": rounded(score.total_pct),
            "share_error_pct": rounded(score.share_pct),
            "cpu_time_same_p0_pct": rounded(score.same_p0_pct),
            "cpu_time_true_p0_pct": rounded(score.true_p0_pct),
            "coverage_90_pct": rounded(100.0 * f64::from(*hits) / f64::from((*tries).max(1))),
            "median_half_width_pct": rounded(100.0 * median(widths)),
            "conserved": score.conserved,
        });
        if arguments.format == Form::Json {
            println!("{}", serde_json::to_string(&figures)?);
        } else {
            for (name, value) in figures.as_object().context("an object")? {
                println!("{name:22} {value}");
            }
            println!();
        }
    }
    if failed > 0 {
        bail!("{failed} of {} files could not be scored", arguments.csv.len());
    }
    Ok(())
}
