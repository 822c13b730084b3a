//! The command line of all that reads and writes the ledger, as it is written.

use super::live_values::LiveArgs;
use super::per::Per;
use super::serve_args::ServerArgs;
use crate::carbon::embodied::Parts;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Where the ledger is.
#[derive(Args, Clone, Debug, Default)]
pub struct StoreArgs {
    /// The ledger: a file, `postgres://USER@HOST/DATABASE`, or none [default: /var/lib/carbon/ledger.db for root, else
    /// carbon/ledger.db in the user's data directory].
    #[arg(long, env = "CARBON_STORE", value_name = "STORE")]
    pub store: Option<String>,
}

/// What `carbon run` writes of a run besides its project.
#[derive(Args, Clone, Debug, Default)]
pub struct EntryArgs {
    /// Where the run is recorded.
    #[command(flatten)]
    pub store: StoreArgs,
    /// Do not record the run, whatever --store or `CARBON_STORE` say.
    #[arg(long)]
    pub no_store: bool,
    /// The organisation that the run is booked to.
    #[arg(long, env = "CARBON_ORGANISATION", value_name = "NAME")]
    pub organisation: Option<String>,
    /// The experiment that the run belongs to.
    #[arg(long, value_name = "NAME")]
    pub experiment: Option<String>,
    /// A name for the run itself.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// A word to find the run by; may be given more than once.
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// Intensities by time, as CSV: `start,end,g_per_kwh,signal,boundary,method`. Where it has no value, the place's yearly
    /// average holds, and that is said.
    #[arg(long, value_name = "FILE", conflicts_with = "live")]
    pub intensity_file: Option<PathBuf>,
    /// Live intensities.
    #[command(flatten)]
    pub live: LiveArgs,
    /// Status 1 if the command used more than this, such as 50J, 1.5kJ or 2Wh; of repeats, their mean.
    #[arg(long, value_name = "ENERGY", allow_hyphen_values = true)]
    pub max_energy: Option<String>,
    /// Run the command so many times, each recorded, and report the mean.
    #[arg(long, value_name = "TIMES", default_value_t = 1)]
    pub repeat: u32,
    /// Where the run is sent when the command has ended.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Formats of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// For people.
    Table,
    /// For programs; documented and stable.
    Json,
    /// One row each.
    Csv,
    /// For a page of text.
    Markdown,
}

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

/// `carbon runs`.
#[derive(Args, Clone, Debug)]
pub struct RunsArgs {
    /// What to do with runs.
    #[command(subcommand)]
    pub action: RunsAction,
}

/// The actions of `carbon runs`.
#[derive(Clone, Debug, Subcommand)]
pub enum RunsAction {
    /// List runs, oldest first.
    List {
        /// Which.
        #[command(flatten)]
        filter: FilterArgs,
        /// How the list is written.
        #[arg(long, value_enum, default_value_t = ListFormat::Table)]
        format: ListFormat,
        /// The ledger.
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Show one run.
    Show {
        /// Its id, the beginning or end of it, or its name.
        run: String,
        /// How it is written.
        #[arg(long, value_enum, default_value_t = ListFormat::Table)]
        format: ListFormat,
        /// The ledger.
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Add up runs, failed and killed ones too.
    Sum {
        /// Which.
        #[command(flatten)]
        filter: FilterArgs,
        /// How the sum is written.
        #[arg(long, value_enum, default_value_t = ListFormat::Table)]
        format: ListFormat,
        /// The ledger.
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Compare two runs, or two sets of repeats: A is what was, B what is now.
    Compare {
        /// A run, a series of repeats (its id, or the name that they share), or experiment:NAME, project:NAME, tag:NAME.
        a: String,
        /// As A.
        b: String,
        /// Status 1 if B uses more than A by this, such as 5%, and chance does not explain it.
        #[arg(long, value_name = "PERCENT", allow_hyphen_values = true)]
        fail_above: Option<String>,
        /// How sure to be: the chance of a false alarm.
        #[arg(long, value_name = "P", default_value_t = 0.05)]
        alpha: f64,
        /// How it is written.
        #[arg(long, value_enum, default_value_t = ListFormat::Table)]
        format: ListFormat,
        /// The ledger.
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Draw the energy of each run with its interval.
    Plot {
        /// Which.
        #[command(flatten)]
        filter: FilterArgs,
        /// Write the picture to this file, whole or not at all: as PNG where its name ends in .png, else as SVG.
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
        /// The ledger.
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Send runs that have ended to a team's server, `carbon serve`; ones that are there already stay as they are.
    Send {
        /// Ids, the beginnings or ends of them, or names; without any, all that the options say.
        #[arg(value_name = "RUN")]
        runs: Vec<String>,
        /// Which.
        #[command(flatten)]
        filter: FilterArgs,
        /// Where to.
        #[command(flatten)]
        server: ServerArgs,
        /// The ledger.
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Write runs as lines of JSON.
    Export {
        /// Which.
        #[command(flatten)]
        filter: FilterArgs,
        /// Write them to this file, whole or not at all.
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
        /// The ledger.
        #[command(flatten)]
        store: StoreArgs,
    },
}

/// Which runs.
#[derive(Args, Clone, Debug, Default)]
pub struct FilterArgs {
    /// Of this organisation.
    #[arg(long, value_name = "NAME")]
    pub organisation: Option<String>,
    /// Of this project.
    #[arg(long, short, value_name = "NAME")]
    pub project: Option<String>,
    /// Of this experiment.
    #[arg(long, value_name = "NAME")]
    pub experiment: Option<String>,
    /// With this tag.
    #[arg(long, value_name = "TAG")]
    pub tag: Option<String>,
    /// The newest only.
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
}

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

/// `carbon explain`.
#[derive(Args, Clone, Debug)]
pub struct ExplainArgs {
    /// A run (its id, the beginning or end of it, or its name), or a time of the ledger: a day such as 2026-01-31, an hour
    /// such as 2026-01-31T12, or a minute such as 2026-01-31T12:30.
    #[arg(value_name = "RUN|WHEN")]
    pub what: String,
    /// Of a time: only workloads whose identity or name contains this.
    #[arg(long, value_name = "NAME")]
    pub workload: Option<String>,
    /// Time zone of the time, such as Europe/Paris.
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub tz: String,
    /// The ledger.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// `carbon advise`.
#[derive(Args, Clone, Debug)]
pub struct AdviseArgs {
    /// The cloud: aws, azure, gcp, hetzner, oci, ovh or scaleway.
    #[arg(long, value_name = "NAME")]
    pub provider: String,
    /// The region where the work is now, such as eu-west-1.
    #[arg(long, value_name = "REGION")]
    pub near: Option<String>,
    /// Only regions within this distance of --near, in kilometres.
    #[arg(long, value_name = "KM", requires = "near", value_parser = not_negative, allow_negative_numbers = true)]
    pub within: Option<f64>,
    /// Energy that the work takes in a month, such as 100kWh.
    #[arg(long, value_name = "ENERGY", default_value = "100kWh")]
    pub energy: String,
    /// Rows of the table.
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Hours in a row that the work takes each day: the best ones are told, where a service or a file knows hours.
    #[arg(long, value_name = "HOURS", default_value_t = 4, value_parser = hours)]
    pub hours: u8,
    /// Intensities by time of the place where the work is, as for `carbon run --intensity-file`: of the hours to come, else of
    /// days that were.
    #[arg(long, value_name = "FILE", conflicts_with = "live")]
    pub intensity_file: Option<PathBuf>,
    /// A service's forecast.
    #[command(flatten)]
    pub live: LiveArgs,
    /// Time zone of the hours, such as Europe/Paris.
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub tz: String,
    /// Draw regions and hours into this file, whole or not at all: as PNG where its name ends in .png, else as SVG.
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
    /// How it is written.
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub format: ListFormat,
}

/// `carbon dashboard`.
#[derive(Args, Clone, Debug)]
pub struct DashboardArgs {
    /// Where it listens; an address that other machines reach needs --token-file.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9489")]
    pub listen: String,
    /// A file with a token that readers must show: one line of 16 printable characters or more.
    #[arg(long, env = "CARBON_DASHBOARD_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// A name that it may be called by, besides localhost and addresses; may be given more than once.
    #[arg(long = "host", value_name = "NAME")]
    pub hosts: Vec<String>,
    /// The ledger.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// `carbon intensity`.
#[derive(Args, Clone, Debug)]
pub struct IntensityArgs {
    /// A country, grid zone, state, region of a cloud such as aws:eu-west-1, or coordinates such as 53.35,-6.26
    /// [default: that of `CARBON_ZONE`, else an unknown place].
    #[arg(allow_hyphen_values = true)]
    pub place: Option<String>,
    /// Compute it from the country's mix of sources instead.
    #[arg(long, conflicts_with = "live")]
    pub mix: bool,
    /// Ask a service for the present value: electricitymaps, watttime, uk or energy-charts; the place is by its own name
    /// for it. Where it fails, the table's value stands in, and that is said.
    #[arg(long, value_name = "SERVICE")]
    pub live: Option<String>,
    /// Where that service is, if not at its own address.
    #[arg(long, value_name = "URL", requires = "live")]
    pub live_url: Option<String>,
    /// Ask the metadata service of the cloud where this machine is.
    #[arg(long, conflicts_with = "place")]
    pub here: bool,
    /// Where the metadata service is, if not at its own address.
    #[arg(long, value_name = "URL", requires = "here")]
    pub metadata_url: Option<String>,
    /// Open no socket.
    #[arg(long, env = "CARBON_OFFLINE", value_parser = super::options::yes_or_no)]
    pub offline: bool,
    /// How it is written.
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub format: ListFormat,
}

/// Hours of a day that are fewer than all.
fn hours(text: &str) -> Result<u8, String> {
    let hours = text.parse().ok().filter(|hours| (1..=23).contains(hours));
    hours.ok_or_else(|| "give 1 to 23 hours: of a whole day there are no best ones".to_owned())
}

fn not_negative(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| "give a number, 0 or more".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_out_of_range_are_refused_with_the_range() {
        assert_eq!((hours("1"), hours("23")), (Ok(1), Ok(23)));
        for text in ["0", "24", "-1", "x"] {
            assert!(hours(text).unwrap_err().contains("1 to 23"), "{text}");
        }
        assert_eq!(not_negative("0.5"), Ok(0.5));
        for text in ["nan", "inf", "-1", ""] {
            assert!(not_negative(text).is_err(), "{text}");
        }
    }
}
