//! `carbon report`: sums of the ledger.

use super::chart_steps::ChartSteps;
use super::dashboard_answers::power;
use super::error::CliError;
use super::output::Output;
use super::parquet;
use super::report_args::{ByArg, EquivalentsArg, ReportArgs, ReportFormat};
use super::report_factors::{factor_for, notes_of_factors};
use super::report_score::add_score;
use super::report_source;
use super::report_time::{covered, interval, notes_of_resolution, periods, shown, zone};
use super::runs::{in_memory, json, style};
use crate::dashboard::standalone;
use crate::ledger::Ledger;
use crate::ledger::query::{Balance, NamedDomain, Sum};
use crate::ledger::rows::Workload;
use crate::ledger::runs::{KeptRun, RunFilter};
use crate::report::equivalents::EquivalentSet;
use crate::report::figures::printable_json;
use crate::report::group::{Group, Hashed, Part};
use crate::report::ledger::{LedgerReport, Period, Scope};
use crate::report::power::Power;
use crate::report::reconciliation::Rows;
use crate::report::{columns, paper, runs as run_rows};
use crate::units::CpuNanos;
use jiff::ZonedDateTime;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// What has no name of the asked sort.
pub(super) const NONE: &str = "(none)";

type Groups = Vec<(Period, BTreeMap<String, Group>)>;

/// Writes the report and gives the status.
pub(super) fn report(args: &ReportArgs) -> Result<u8, CliError> {
    args.check_per()?;
    let output = Output::open(args.output.as_deref(), Output::Stdout)?;
    let (report, power) = if let Some(url) = &args.source {
        args.store.refuse_beside_source()?;
        (finished(args, report_source::collect(args, url, &zone(&args.tz)?)?)?, None)
    } else {
        let mut ledger = args.store.open_to_read()?;
        let report = made(args, None, &mut ledger)?;
        let charts = args.format == ReportFormat::Html && !of_runs_alone(args.by);
        (report, charts.then(|| power(args, None, &mut ledger, &ChartSteps::new(0))).transpose()?)
    };
    formatted(args, &report, power.as_ref(), &output).and_then(|bytes| output.write_bytes(&bytes))?;
    Ok(0)
}

/// Only what belongs to one of something, such as a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Within {
    /// Of which sort.
    pub(super) by: ByArg,
    /// Its name.
    pub(super) key: String,
}

/// The report that was asked for, from a ledger.
pub(super) fn made(
    args: &ReportArgs,
    within: Option<&Within>,
    ledger: &mut Ledger,
) -> Result<LedgerReport, CliError> {
    finished(args, ledger.snapshot(|ledger| of_ledger(args, within, ledger))?)
}

fn finished(args: &ReportArgs, mut collected: Collected) -> Result<LedgerReport, CliError> {
    collected.scope.tz.clone_from(&args.tz);
    by_name(args.by).clone_into(&mut collected.scope.by);
    let set = match args.equivalents {
        EquivalentsArg::EpaCurrent => Some(EquivalentSet::EpaCurrent),
        EquivalentsArg::Codecarbon => Some(EquivalentSet::Codecarbon),
        EquivalentsArg::None => None,
    };
    let Collected { groups, balance, rows, notes, scope, reserved, span: (from, to), names } = collected;
    let mut report = LedgerReport::new(scope, &groups, balance, rows, set, notes);
    for row in &mut report.rows {
        row.name = names.get(&row.key).cloned();
    }
    let replaced = notes_of_factors(args, &report);
    report.notes.extend(replaced);
    if args.source.is_some() {
        report.without_deviations();
    }
    if args.sci {
        let time = reserved.unwrap_or_else(|| from.timestamp().duration_until(to.timestamp()).unsigned_abs());
        add_score(args, &mut report, time)?;
    }
    Ok(report)
}

/// Whether only recorded runs are added up, which have no power over time.
fn of_runs_alone(by: ByArg) -> bool {
    matches!(by, ByArg::Project | ByArg::Experiment | ByArg::Organisation | ByArg::Run)
}

/// What the charts of a page are drawn from.
#[derive(Serialize)]
struct Charts<'a> {
    report: &'a LedgerReport,
    power: Option<&'a Power>,
}

fn page(report: &LedgerReport, power: Option<&Power>) -> Result<String, CliError> {
    let (title, body) = paper::html(report);
    let charts = serde_json::to_string(&Charts { report, power }).map_err(|error| in_memory(&error))?;
    Ok(standalone::page(&title, &body, &printable_json(&charts)))
}

/// From a ledger.
fn of_ledger(args: &ReportArgs, within: Option<&Within>, ledger: &mut Ledger) -> Result<Collected, CliError> {
    let tz = zone(&args.tz)?;
    let by_runs = of_runs_alone(args.by);
    let (from, to) = interval(args, &tz, ledger, by_runs)?;
    let periods = periods(&from, &to, args.period())?;
    let mut collected =
        if by_runs { of_runs(args, ledger, &periods)? } else { of_energies(args, within, ledger, &periods)? };
    if periods.is_empty() {
        collected.span = (from, to);
    }
    let (from, to) = (shown(&collected.span.0), shown(&collected.span.1));
    collected.scope = Scope { ledger: ledger.place(), from, to, ..collected.scope };
    Ok(collected)
}

fn formatted(
    args: &ReportArgs,
    report: &LedgerReport,
    power: Option<&Power>,
    output: &Output,
) -> Result<Vec<u8>, CliError> {
    let text = match args.format {
        ReportFormat::Table => report.table(style(output.layout())),
        ReportFormat::Json => json(report)?,
        ReportFormat::Csv => columns::grid(report).csv().map_err(|error| in_memory(&error))?,
        ReportFormat::Parquet => return parquet::parquet(report).map_err(|error| in_memory(&error)),
        ReportFormat::Markdown => report.markdown(),
        ReportFormat::Html => page(report, power)?,
        ReportFormat::FocusCsv => paper::focus(report).csv().map_err(|error| in_memory(&error))?,
        ReportFormat::Latex => paper::latex(report),
        ReportFormat::Bibtex => paper::bibtex(report),
        ReportFormat::ModelCard => paper::model_card(report),
    };
    Ok(text.into_bytes())
}

/// What the ledger, or another source, gave.
pub(super) struct Collected {
    pub(super) groups: Groups,
    pub(super) balance: Balance,
    /// What the rows are of that which was attributed.
    pub(super) rows: Rows,
    pub(super) notes: Vec<String>,
    pub(super) scope: Scope,
    /// For how long machines were in use, where that is known.
    pub(super) reserved: Option<Duration>,
    /// From and to.
    pub(super) span: (ZonedDateTime, ZonedDateTime),
    /// What people call a row, by its key.
    pub(super) names: HashMap<String, String>,
}

pub(super) fn by_name(by: ByArg) -> &'static str {
    match by {
        ByArg::Workload => "workload",
        ByArg::Container => "container",
        ByArg::Pod => "pod",
        ByArg::Namespace => "namespace",
        ByArg::Unit => "unit",
        ByArg::Job => "job",
        ByArg::User => "user",
        ByArg::Account => "account",
        ByArg::Domain => "domain",
        ByArg::Node => "node",
        ByArg::Project => "project",
        ByArg::Experiment => "experiment",
        ByArg::Organisation => "organisation",
        ByArg::Run => "run",
    }
}

/// Whose an energy is.
pub(super) fn key_of(by: ByArg, workload: Option<&Workload>, domain: Option<&NamedDomain>) -> String {
    let of =
        |name: Option<&String>| name.filter(|name| !name.is_empty()).map_or(NONE.to_owned(), Clone::clone);
    match by {
        // Names of pods are unique within a namespace only, and names of containers within a pod.
        ByArg::Container => workload
            .map_or(NONE.to_owned(), |it| full_name(&[&it.namespace, &it.pod], it.container.as_deref())),
        ByArg::Pod => workload.map_or(NONE.to_owned(), |it| full_name(&[&it.namespace], it.pod.as_deref())),
        ByArg::Namespace => of(workload.and_then(|it| it.namespace.as_ref())),
        ByArg::Unit => of(workload.and_then(|it| it.unit.as_ref())),
        ByArg::Job => of(workload.and_then(|it| it.job.as_ref())),
        ByArg::User => of(workload.and_then(|it| it.owner.as_ref())),
        ByArg::Account => of(workload.and_then(|it| it.account.as_ref())),
        ByArg::Domain => domain.map_or(NONE.to_owned(), |it| it.domain.clone()),
        ByArg::Node => domain.map_or(NONE.to_owned(), |it| it.node.clone()),
        _ => of(workload.map(|it| &it.identity)),
    }
}

/// Names of what sums belong to: made once for each workload and domain, and none for those that are not meant.
pub(super) struct Keys<'a> {
    by: ByArg,
    within: Option<&'a Within>,
    workloads: &'a HashMap<i64, Workload>,
    domains: &'a HashMap<i64, NamedDomain>,
    known: HashMap<(i64, i64), Option<String>>,
}

impl<'a> Keys<'a> {
    pub(super) fn new(
        by: ByArg,
        within: Option<&'a Within>,
        workloads: &'a HashMap<i64, Workload>,
        domains: &'a HashMap<i64, NamedDomain>,
    ) -> Self {
        Self { by, within, workloads, domains, known: HashMap::new() }
    }

    /// Of a workload in a domain, by their ids.
    pub(super) fn of(&mut self, workload: i64, domain: i64) -> Option<&str> {
        let (by, within) = (self.by, self.within);
        let (workloads, domains) = (self.workloads, self.domains);
        let key = self.known.entry((workload, domain)).or_insert_with(|| {
            let (workload, domain) = (workloads.get(&workload), domains.get(&domain));
            let meant = within.is_none_or(|within| key_of(within.by, workload, domain) == within.key);
            meant.then(|| key_of(by, workload, domain))
        });
        key.as_deref()
    }
}

/// A name after those of what it is in, such as `shop/web-1/nginx`; where nobody told a namespace, it stands alone.
fn full_name(outer: &[&Option<String>], name: Option<&str>) -> String {
    let known = |name: &&Option<String>| name.as_deref().is_some_and(|name| !name.is_empty());
    let Some(own) = name.filter(|name| !name.is_empty()) else { return NONE.to_owned() };
    if !outer.first().is_some_and(known) {
        return own.to_owned();
    }
    let all = outer.iter().filter(|it| known(it)).filter_map(|it| it.as_deref()).chain([own]);
    all.collect::<Vec<_>>().join("/")
}

fn of_energies(
    args: &ReportArgs,
    within: Option<&Within>,
    ledger: &mut Ledger,
    periods: &[(Option<String>, ZonedDateTime, ZonedDateTime)],
) -> Result<Collected, CliError> {
    let (workloads, domains, factors) = (ledger.workloads()?, ledger.domains()?, ledger.factors()?);
    let mut replaced: HashMap<i64, Hashed> = HashMap::new();
    for (id, factor) in &factors {
        replaced.insert(*id, Hashed::new(factor_for(args, factor)?));
    }
    let mut keys = Keys::new(args.by, within, &workloads, &domains);
    let mut groups = Groups::new();
    let mut balance = Balance::default();
    let intervals: Vec<(i64, i64)> = periods
        .iter()
        .map(|(_, from, to)| (from.timestamp().as_second(), to.timestamp().as_second()))
        .collect();
    let parts = ledger.segments_each(&intervals)?;
    let mut notes = notes_of_resolution(&intervals, &parts);
    let (mut from_all, mut to_all) = all_of(periods);
    for (n, ((label, from, to), segments)) in periods.iter().zip(&parts).enumerate() {
        // What is in a bucket of the period before has no row here.
        let Some((from, to)) = covered(segments, from, to) else { continue };
        if n == 0 {
            from_all = from.clone();
        }
        to_all = to.clone();
        let mut of_period: BTreeMap<String, Group> = BTreeMap::new();
        ledger.each_sum(segments, &mut |sum| {
            let Some(factor) = replaced.get(&sum.factor) else { return };
            if let Some(key) = keys.of(sum.workload, sum.domain) {
                match of_period.get_mut(key) {
                    Some(group) => group.add(&part(sum, factor)),
                    None => of_period.entry(key.to_owned()).or_default().add(&part(sum, factor)),
                }
            }
        })?;
        for (_, of_domain) in ledger.balances(segments)? {
            balance = balance.plus(of_domain);
        }
        groups.push((period(label.as_ref(), &from, &to), of_period));
    }
    if balance.gaps > 0 {
        notes.push(format!("meters hid some energy in {} windows: their counters were reset", balance.gaps));
    }
    let mut methods: Vec<String> =
        domains.values().map(|it| format!("{} by {}", it.domain, it.source)).collect();
    methods.sort();
    methods.dedup();
    let scope = Scope { methods, ..Scope::default() };
    let rows = if within.is_none() { Rows::All } else { Rows::Part };
    let names = if args.by == ByArg::Job { names_of_jobs(workloads.values()) } else { HashMap::new() };
    Ok(Collected { groups, balance, rows, notes, scope, reserved: None, span: (from_all, to_all), names })
}

/// Names of jobs by their numbers.
fn names_of_jobs<'a>(workloads: impl Iterator<Item = &'a Workload>) -> HashMap<String, String> {
    workloads.filter_map(|it| Some((it.job.clone()?, it.job_name.clone()?))).collect()
}

pub(super) fn period(label: Option<&String>, from: &ZonedDateTime, to: &ZonedDateTime) -> Period {
    Period { label: label.cloned(), from: shown(from), to: shown(to) }
}

fn all_of(periods: &[(Option<String>, ZonedDateTime, ZonedDateTime)]) -> (ZonedDateTime, ZonedDateTime) {
    let from = periods.first().map(|(_, from, _)| from.clone()).unwrap_or_default();
    (from, periods.last().map(|(_, _, to)| to.clone()).unwrap_or_default())
}

pub(super) fn part<'a>(sum: &Sum, factor: &'a Hashed) -> Part<'a> {
    Part {
        kind: sum.kind,
        factor,
        quality: sum.quality,
        energy: crate::units::Microjoules(sum.energy_uj),
        cpu_ns: sum.cpu_ns,
        common_uj: sum.common_uj,
        variance_uj2: sum.variance_uj2,
        rerated: sum.rerated,
    }
}

fn of_runs(
    args: &ReportArgs,
    ledger: &mut Ledger,
    periods: &[(Option<String>, ZonedDateTime, ZonedDateTime)],
) -> Result<Collected, CliError> {
    let mut groups = Groups::new();
    let mut all: Vec<KeptRun> = Vec::new();
    for (label, from, to) in periods {
        let filter = RunFilter {
            tag: args.tag.clone(),
            from_us: Some(from.timestamp().as_microsecond()),
            to_us: Some(to.timestamp().as_microsecond()),
            ..RunFilter::default()
        };
        let mut of_period: BTreeMap<String, Group> = BTreeMap::new();
        for run in ledger.runs(&filter)? {
            let name = match args.by {
                ByArg::Project => run.start.project.clone(),
                ByArg::Experiment => run.start.experiment.clone(),
                ByArg::Organisation => run.start.organisation.clone(),
                _ => Some(run.start.id.clone()),
            };
            let group = of_period.entry(name.unwrap_or_else(|| NONE.to_owned())).or_default();
            group.add_run(run.end.as_ref().map_or(0, |end| end.duration_ns));
            let mut cpu_ns = run.end.as_ref().map_or(CpuNanos::ZERO, |end| end.cpu).0;
            for energy in run.end.iter().flat_map(|end| &end.energies) {
                let factor = Hashed::new(factor_for(args, &energy.factor)?);
                group.add(&Part {
                    kind: energy.kind,
                    factor: &factor,
                    quality: energy.quality,
                    energy: energy.energy,
                    // The time is of the run, so it is counted with its first energy only.
                    cpu_ns: std::mem::take(&mut cpu_ns),
                    common_uj: energy.stddev_uj,
                    variance_uj2: 0.0,
                    rerated: energy.recorded.is_some(),
                });
            }
            all.push(run);
        }
        groups.push((period(label.as_ref(), from, to), of_period));
    }
    let mut balance = Balance::default();
    for row in all.iter().filter_map(|run| run.end.as_ref()).flat_map(|end| &end.domains) {
        balance = balance.plus(Balance {
            metered_uj: row.metered.0,
            attributed_uj: row.attributed.0,
            static_uj: row.static_energy.0,
            lost_uj: row.lost.0,
            gaps: row.gaps,
            covered_ns: row.covered_ns,
        });
    }
    let mut notes = vec![
        "metered is the whole machine while these runs lasted; what is not theirs is other work's".to_owned(),
    ];
    if run_rows::overlap(&all) {
        notes.push("some runs overlap: their machine's energy meanwhile is counted for each of them, their own energy once".into());
    }
    let unfinished = all.iter().filter(|run| run.end.is_none()).count();
    if unfinished > 0 {
        notes.push(format!(
            "{unfinished} runs have not ended, or carbon was killed before they did: their energy is unknown"
        ));
    }
    let unknown = all.iter().filter_map(|run| run.end.as_ref()).filter(|end| end.energies.is_empty()).count();
    if unknown > 0 {
        notes.push(format!("the energy of {unknown} runs is not known, and is missing in the sums"));
    }
    let distinct = |mut values: Vec<String>| {
        values.sort();
        values.dedup();
        values
    };
    let ends = || all.iter().filter_map(|run| run.end.as_ref());
    let scope = Scope {
        hardware: distinct(ends().map(|end| end.hardware.clone()).collect()),
        methods: distinct(
            ends()
                .flat_map(|end| {
                    end.domains.iter().map(|row| {
                        format!(
                            "{} by {} ({}), CPU time by {}, split by {}",
                            row.domain.domain,
                            row.domain.source,
                            row.domain.quality,
                            end.accounting,
                            end.attribution
                        )
                    })
                })
                .collect(),
        ),
        ..Scope::default()
    };
    let reserved = ends().map(|end| Duration::from_nanos(end.duration_ns)).sum();
    Ok(Collected {
        groups,
        balance,
        rows: Rows::Part,
        notes,
        scope,
        reserved: Some(reserved),
        span: all_of(periods),
        names: HashMap::new(),
    })
}
