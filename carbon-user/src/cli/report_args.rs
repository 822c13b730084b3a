//! Options of `carbon report`, as they are written; checked where it is done.

use super::options::not_negative;
use super::per::Per;
use super::store::StoreArgs;
use crate::carbon::embodied::Parts;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Formats of `carbon report`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// For people.
    Table,
    /// For programs; documented and stable.
    Json,
    /// One row per group.
    Csv,
    /// The same columns, with types; to a file or a pipe.
    Parquet,
    /// For a page of text.
    Markdown,
    /// A page of its own.
    Html,
    /// Columns of the FinOps cost and usage specification, where they have a meaning here.
    FocusCsv,
    /// A paragraph and a table for a paper.
    Latex,
    /// A reference for a paper.
    Bibtex,
    /// The `co2_eq_emissions` part of a model card.
    ModelCard,
}

/// `--by`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ByArg {
    /// Each workload.
    Workload,
    /// Container.
    Container,
    /// Pod.
    Pod,
    /// Kubernetes namespace.
    Namespace,
    /// systemd unit.
    Unit,
    /// Batch job.
    Job,
    /// User.
    User,
    /// Account that pays for batch jobs.
    Account,
    /// Domain of a meter.
    Domain,
    /// Machine.
    Node,
    /// Project, from runs.
    Project,
    /// Experiment, from runs.
    Experiment,
    /// Organisation, from runs.
    Organisation,
    /// Each run.
    Run,
}

/// A period of `--per`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PerArg {
    /// Hours.
    Hour,
    /// Days of the time zone.
    Day,
    /// Months of the time zone.
    Month,
}

/// `--equivalents`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EquivalentsArg {
    /// US EPA's current factors.
    EpaCurrent,
    /// `CodeCarbon`'s, for comparison.
    Codecarbon,
    /// None.
    None,
}

/// `carbon report`.
#[derive(Args, Clone, Debug)]
pub struct ReportArgs {
    /// What to add up by.
    #[arg(long, value_enum, default_value_t = ByArg::Project)]
    pub by: ByArg,
    /// One row for each hour, day or month too; with --sci also the functional unit and how many were served, such as
    /// request=12345.
    #[arg(long, value_name = "PERIOD|UNIT=COUNT")]
    pub per: Vec<Per>,
    /// From this date or time on, such as 2026-01-31 or 2026-01-31T12:00 [default: the beginning].
    #[arg(long, value_name = "WHEN")]
    pub from: Option<String>,
    /// Up to this date or time, itself left out [default: now].
    #[arg(long, value_name = "WHEN")]
    pub to: Option<String>,
    /// Time zone of dates, such as Europe/Paris.
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub tz: String,
    /// Recompute the grams: `current` for the factors of this program at the recorded places, or a place such as FR. The PUE
    /// stays as recorded. Without it, all is as recorded.
    #[arg(long, value_name = "SET")]
    pub factors: Option<String>,
    /// Only runs with this tag.
    #[arg(long, value_name = "TAG")]
    pub tag: Option<String>,
    /// The score of ISO/IEC 21031 (SCI); needs --per UNIT=COUNT.
    #[arg(long, requires = "per")]
    pub sci: bool,
    /// Emissions of making the machine in kg, for the score [default: the median of 48 servers' sheets].
    #[arg(long, value_name = "KG", requires = "sci", value_parser = not_negative, allow_negative_numbers = true)]
    pub embodied_kg: Option<f64>,
    /// What the machine is made of, for the score where its makers say nothing: numbers of `cpus`, `die_mm2`,
    /// `memory_modules`, `memory_gb`, `ssds`, `ssd_gb`, `hdds` and `power_supplies`, such as `cpus=2,die_mm2=1200,memory_gb=256`.
    #[arg(long, value_name = "PART=NUMBER,...", requires = "sci", conflicts_with = "embodied_kg")]
    pub embodied_parts: Option<Parts>,
    /// Years that the machine is used.
    #[arg(long, value_name = "YEARS", default_value_t = 4.0)]
    pub life_years: f64,
    /// Share of the machine that was reserved, 0 to 1.
    #[arg(long, value_name = "RATIO", default_value_t = 1.0)]
    pub reserved: f64,
    /// Everyday equivalents.
    #[arg(long, value_enum, default_value_t = EquivalentsArg::EpaCurrent)]
    pub equivalents: EquivalentsArg,
    /// How the report is written.
    #[arg(long, value_enum, default_value_t = ReportFormat::Table)]
    pub format: ReportFormat,
    /// Write the report to this file, whole or not at all.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Ask an engine that scrapes the agents of many nodes instead of a ledger: the base of a Prometheus-compatible query API,
    /// such as <http://localhost:9090>; needs --from.
    #[arg(long, value_name = "URL", conflicts_with = "tag")]
    pub source: Option<String>,
    /// With --source: only series with this label, such as cluster=prod; may be given more than once [default: job=carbon].
    #[arg(long, value_name = "LABEL=VALUE", requires = "source")]
    pub source_match: Vec<String>,
    /// With --source: a file with the bearer token that it wants to see.
    #[arg(long, value_name = "FILE", requires = "source")]
    pub source_token: Option<PathBuf>,
    /// With --source: a file with the certificates that its own is signed with.
    #[arg(long, value_name = "FILE", requires = "source")]
    pub source_ca: Option<PathBuf>,
    /// The ledger.
    #[command(flatten)]
    pub store: StoreArgs,
}
