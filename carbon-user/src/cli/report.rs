//! `carbon report`: sums of the ledger.

use super::error::CliError;
use super::ledger_args::{ByArg, EquivalentsArg, ReportArgs, ReportFormat};
use super::output::Output;
use super::parquet;
use super::report_time::{interval, periods, shown, zone};
use super::runs::{in_memory, json, style};
use crate::carbon::embodied::Machine;
use crate::carbon::{Intensity, sci};
use crate::ledger::query::{Balance, NamedDomain, Sum};
use crate::ledger::rows::Workload;
use crate::ledger::runs::{KeptRun, RunFilter};
use crate::ledger::{Factor, Ledger};
use crate::report::equivalents::EquivalentSet;
use crate::report::group::{Group, Part};
use crate::report::ledger::{LedgerReport, SciRow, Scope};
use crate::report::{paper, runs as run_rows};
use crate::units::{CpuNanos, Grams};
use jiff::ZonedDateTime;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// What has no name of the asked sort.
const NONE: &str = "(none)";

type Groups = Vec<(Option<String>, BTreeMap<String, Group>)>;

/// Writes the report and gives the status.
pub(super) fn report(args: &ReportArgs) -> Result<u8, CliError> {
    let tz = zone(&args.tz)?;
    let output = Output::open(args.output.as_deref(), Output::Stdout)?;
    let mut ledger = args.store.open_to_read()?;
    let by_runs = matches!(args.by, ByArg::Project | ByArg::Experiment | ByArg::Organisation | ByArg::Run);
    let (from, to) = interval(args, &tz, &mut ledger, by_runs)?;
    let periods = periods(&from, &to, args.per)?;
    let mut collected = if by_runs {
        of_runs(args, &mut ledger, &periods)?
    } else {
        of_energies(args, &mut ledger, &periods)?
    };
    collected.scope = Scope {
        ledger: ledger.place(),
        from: shown(&from),
        to: shown(&to),
        tz: args.tz.clone(),
        by: by_name(args.by).to_owned(),
        ..collected.scope
    };
    let set = match args.equivalents {
        EquivalentsArg::EpaCurrent => Some(EquivalentSet::EpaCurrent),
        EquivalentsArg::Codecarbon => Some(EquivalentSet::Codecarbon),
        EquivalentsArg::None => None,
    };
    let Collected { groups, balance, exact, notes, scope, reserved } = collected;
    let mut report = LedgerReport::new(scope, &groups, balance, exact, set, notes);
    if args.sci {
        let time = reserved.unwrap_or_else(|| from.timestamp().duration_until(to.timestamp()).unsigned_abs());
        add_score(args, &mut report, time)?;
    }
    formatted(args, &report, &output).and_then(|bytes| output.write_bytes(&bytes))?;
    Ok(0)
}

fn formatted(args: &ReportArgs, report: &LedgerReport, output: &Output) -> Result<Vec<u8>, CliError> {
    let text = match args.format {
        ReportFormat::Table => report.table(style(output.layout())),
        ReportFormat::Json => json(report)?,
        ReportFormat::Csv => report.grid().csv().map_err(|error| in_memory(&error))?,
        ReportFormat::Parquet => return parquet::parquet(report).map_err(|error| in_memory(&error)),
        ReportFormat::Markdown => report.markdown(),
        ReportFormat::Html => paper::html(report),
        ReportFormat::FocusCsv => paper::focus(report).csv().map_err(|error| in_memory(&error))?,
        ReportFormat::Latex => paper::latex(report),
        ReportFormat::Bibtex => paper::bibtex(report),
        ReportFormat::ModelCard => paper::model_card(report),
    };
    Ok(text.into_bytes())
}

/// What the ledger gave.
struct Collected {
    groups: Groups,
    balance: Balance,
    /// Whether the rows are all that was attributed.
    exact: bool,
    notes: Vec<String>,
    scope: Scope,
    /// For how long machines were in use, where that is known.
    reserved: Option<Duration>,
}

fn by_name(by: ByArg) -> &'static str {
    match by {
        ByArg::Workload => "workload",
        ByArg::Container => "container",
        ByArg::Pod => "pod",
        ByArg::Namespace => "namespace",
        ByArg::Unit => "unit",
        ByArg::Job => "job",
        ByArg::User => "user",
        ByArg::Domain => "domain",
        ByArg::Node => "node",
        ByArg::Project => "project",
        ByArg::Experiment => "experiment",
        ByArg::Organisation => "organisation",
        ByArg::Run => "run",
    }
}

/// Whose an energy is.
fn key_of(by: ByArg, workload: Option<&Workload>, domain: Option<&NamedDomain>) -> String {
    let of =
        |name: Option<&String>| name.filter(|name| !name.is_empty()).map_or(NONE.to_owned(), Clone::clone);
    match by {
        ByArg::Container => of(workload.and_then(|it| it.container.as_ref())),
        ByArg::Pod => of(workload.and_then(|it| it.pod.as_ref())),
        ByArg::Namespace => of(workload.and_then(|it| it.namespace.as_ref())),
        ByArg::Unit => of(workload.and_then(|it| it.unit.as_ref())),
        ByArg::Job => of(workload.and_then(|it| it.job.as_ref())),
        ByArg::User => of(workload.and_then(|it| it.owner.as_ref())),
        ByArg::Domain => domain.map_or(NONE.to_owned(), |it| it.domain.clone()),
        ByArg::Node => domain.map_or(NONE.to_owned(), |it| it.node.clone()),
        _ => of(workload.map(|it| &it.identity)),
    }
}

fn of_energies(
    args: &ReportArgs,
    ledger: &mut Ledger,
    periods: &[(Option<String>, ZonedDateTime, ZonedDateTime)],
) -> Result<Collected, CliError> {
    let (workloads, domains, factors) = (ledger.workloads()?, ledger.domains()?, ledger.factors()?);
    let mut replaced: HashMap<i64, Factor> = HashMap::new();
    for (id, factor) in &factors {
        replaced.insert(*id, factor_for(args, factor)?);
    }
    let mut notes = Vec::new();
    let mut groups = Groups::new();
    let mut balance = Balance::default();
    for (label, from, to) in periods {
        let (from_s, to_s) = (from.timestamp().as_second(), to.timestamp().as_second());
        let segments = ledger.segments(from_s, to_s)?;
        let widened = segments.first().is_some_and(|it| from_s - it.start_s >= 60)
            || segments.last().is_some_and(|it| it.end_s - to_s >= 60);
        if widened && notes.is_empty() {
            notes.push(
                "details that old are no longer kept, so the ends are widened to whole hours or days"
                    .to_owned(),
            );
        }
        let mut of_period: BTreeMap<String, Group> = BTreeMap::new();
        for sum in ledger.sums(&segments)? {
            let Some(factor) = replaced.get(&sum.factor) else { continue };
            let key = key_of(args.by, workloads.get(&sum.workload), domains.get(&sum.domain));
            of_period.entry(key).or_default().add(&part(&sum, factor));
        }
        for (_, of_domain) in ledger.balances(&segments)? {
            balance = balance.plus(of_domain);
        }
        groups.push((label.clone(), of_period));
    }
    if balance.gaps > 0 {
        notes.push(format!("meters hid some energy in {} windows: their counters were reset", balance.gaps));
    }
    let mut methods: Vec<String> =
        domains.values().map(|it| format!("{} by {}", it.domain, it.source)).collect();
    methods.sort();
    methods.dedup();
    let scope = Scope { methods, ..empty_scope() };
    Ok(Collected { groups, balance, exact: true, notes, scope, reserved: None })
}

fn part<'a>(sum: &Sum, factor: &'a Factor) -> Part<'a> {
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
                let factor = factor_for(args, &energy.factor)?;
                group.add(&Part {
                    kind: energy.kind,
                    factor: &factor,
                    quality: energy.quality,
                    energy: energy.energy,
                    // The time is of the run, so it is counted with its first energy only.
                    cpu_ns: std::mem::take(&mut cpu_ns),
                    common_uj: energy.stddev_uj,
                    variance_uj2: 0.0,
                    rerated: false,
                });
            }
            all.push(run);
        }
        groups.push((label.clone(), of_period));
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
        ..empty_scope()
    };
    let reserved = ends().map(|end| Duration::from_nanos(end.duration_ns)).sum();
    Ok(Collected { groups, balance, exact: false, notes, scope, reserved: Some(reserved) })
}

fn empty_scope() -> Scope {
    Scope {
        ledger: String::new(),
        from: String::new(),
        to: String::new(),
        tz: String::new(),
        by: String::new(),
        hardware: Vec::new(),
        methods: Vec::new(),
    }
}

/// The factor that was recorded, or the one that `--factors` puts in its place. What is in the ledger stays.
fn factor_for(args: &ReportArgs, recorded: &Factor) -> Result<Factor, CliError> {
    let zone = match args.factors.as_deref().map(str::trim) {
        None | Some("" | "recorded") => return Ok(recorded.clone()),
        Some("current") if recorded.intensity.assumed => {
            return Ok(Factor::new(Intensity::of_unknown_place(), recorded.pue));
        }
        Some("current") => recorded.intensity.zone.as_str(),
        Some(zone) => zone,
    };
    let intensity = Intensity::of(zone).map_err(|error| CliError::Zone { source: error })?;
    Ok(Factor::new(intensity, recorded.pue))
}

fn add_score(args: &ReportArgs, report: &mut LedgerReport, time: Duration) -> Result<(), CliError> {
    let wrong = |reason: String| CliError::Argument {
        option: "--per-unit",
        value: args.per_unit.clone().unwrap_or_default(),
        reason,
        advice: "give a unit and how many were served, such as request=12345".into(),
    };
    let (unit, count) = args
        .per_unit
        .as_deref()
        .and_then(|text| text.split_once('='))
        .ok_or_else(|| wrong("not UNIT=COUNT".into()))?;
    let count: f64 = count.trim().parse().map_err(|_| wrong("no number".into()))?;
    let machine = match args.embodied_kg {
        Some(kg) => Machine::known(kg, args.life_years),
        None => Machine::unknown_server()
            .map(|server| Machine { life_years: args.life_years, ..server })
            .ok_or(crate::carbon::embodied::ImpossibleShare::Machine),
    };
    let embodied = machine
        .and_then(|machine| machine.share(time, args.reserved).map(|grams| (machine, grams)))
        .map_err(|error| wrong(error.to_string()))?;
    let Some(operational) = report.total.grams.map(Grams) else {
        return Err(wrong("the grams of this report are unknown, so there is no score".into()));
    };
    let kinds = report.factors.iter().filter_map(|row| crate::carbon::Kind::parse(&row.boundary, &row.basis));
    let kind = kinds.max_by_key(|kind| kind.method).unwrap_or(crate::carbon::Kind::YEARLY);
    let (machine, made) = embodied;
    let score = sci::score(operational, kind, made, count).map_err(|error| wrong(error.to_string()))?;
    report.sci = Some(SciRow {
        score_g: score.0,
        unit: unit.trim().to_owned(),
        count,
        operational_g: operational.0,
        embodied_g: made.0,
        embodied_method: format!(
            "{:.0} kg over {} years, {:.0} s, share {}; {}",
            machine.made_kg,
            machine.life_years,
            time.as_secs_f64(),
            args.reserved,
            machine.source
        ),
    });
    report.notes.push(
        "SCI counts hardware that is reserved: its energy must hold the share of idle power (carbon run --static proportional)"
            .to_owned(),
    );
    Ok(())
}
