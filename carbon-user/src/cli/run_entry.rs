//! `carbon run`, with what it leaves in the ledger: repeats, gates and the record.

use super::args::RunFormat;
use super::engine;
use super::error::{CliError, Invocation};
use super::journal::Journal;
use super::live_values::LiveOptions;
use super::on_this_thread;
use super::options::check_name;
use super::output::Output;
use super::process::{Ended, Outcome};
use super::repeat::{self, Sample};
use super::run;
use super::run_agent;
use super::run_options::{EntryArgs, RunOptions};
use super::send::Destination;
use super::series_file;
use super::store::Chosen;
use crate::carbon::series::Series;
use crate::clock;
use crate::ledger::Factor;
use crate::ledger::rows::{
    BalanceRow, DomainId, EnergyKind, RunEnd, RunEnergy, RunStart, RunStatus, parse_quality,
};
use crate::report::run::Run;
use crate::units::{CpuNanos, Microjoules, Quality};
use uuid::Uuid;

/// Tags of a run at most.
const TAGS_MAX: usize = 32;

/// Repeats at most: a day of one-second commands.
const REPEAT_MAX: u32 = 100_000;

/// What is recorded, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct EntryOptions {
    pub(super) chosen: Chosen,
    /// Who pays.
    pub organisation: Option<String>,
    /// Which question.
    pub experiment: Option<String>,
    /// The run's own name.
    pub name: Option<String>,
    /// Free words.
    pub tags: Vec<String>,
    /// Intensities by time.
    pub series: Option<Series>,
    /// Intensities of a service.
    pub live: Option<LiveOptions>,
    /// The most that the command may use.
    pub max_energy: Option<Microjoules>,
    /// How many times, at least 1.
    pub repeat: u32,
    /// Where it is sent.
    pub(super) server: Option<Destination>,
    /// What must be said of the record in the report.
    pub notes: Vec<String>,
}

impl EntryOptions {
    /// Checks what was given; `zone` is the place of the run, if it was said.
    pub fn check(args: EntryArgs, zone: Option<&str>) -> Result<Self, CliError> {
        let EntryArgs {
            store,
            no_store,
            organisation,
            experiment,
            name,
            tags,
            intensity_file,
            live,
            max_energy,
            repeat,
            server,
        } = args;
        let organisation = organisation.filter(|name| !name.trim().is_empty());
        let names = [("--organisation", &organisation), ("--experiment", &experiment), ("--name", &name)];
        for (option, name) in names {
            name.as_deref().map_or(Ok(()), |name| check_name(option, name))?;
        }
        tags.iter().try_for_each(|tag| check_name("--tag", tag))?;
        let out_of_range = |option, value: String, advice: String| CliError::Argument {
            option,
            value,
            reason: "out of range".into(),
            advice,
        };
        if tags.len() > TAGS_MAX {
            return Err(out_of_range("--tag", tags.len().to_string(), format!("give up to {TAGS_MAX} tags")));
        }
        if !(1..=REPEAT_MAX).contains(&repeat) {
            return Err(out_of_range("--repeat", repeat.to_string(), format!("give 1 to {REPEAT_MAX}")));
        }
        let chosen = if no_store { Chosen { location: None, named: false } } else { store.choose()? };
        let max_energy = max_energy.map(|text| parse_energy("--max-energy", &text)).transpose()?;
        let series = intensity_file.as_deref().map(|file| series_file::read(file, zone)).transpose()?;
        Ok(Self {
            chosen,
            organisation,
            experiment,
            name,
            tags,
            series,
            live: LiveOptions::check(live)?,
            max_energy,
            repeat,
            server: Destination::check(&server)?,
            notes: Vec::new(),
        })
    }
}

/// A number and `J`, `mJ`, `kJ`, `MJ`, `Wh` or `kWh`.
pub(super) fn parse_energy(option: &'static str, text: &str) -> Result<Microjoules, CliError> {
    let parse = || -> Option<Microjoules> {
        let text = text.trim();
        let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
        let joules_per_unit = match unit {
            "mJ" => 1e-3,
            "J" => 1.0,
            "kJ" => 1e3,
            "MJ" => 1e6,
            "Wh" => 3.6e3,
            "kWh" => 3.6e6,
            "MWh" => 3.6e9,
            _ => return None,
        };
        let number: f64 = number.trim_end().parse().ok()?;
        (number > 0.0 && number < 1e12).then(|| Microjoules::from_joules(number * joules_per_unit))
    };
    parse().ok_or_else(|| CliError::Argument {
        option,
        value: text.into(),
        reason: "not an amount of energy".into(),
        advice: "give a number above 0 and a unit, such as 50J, 1.5kJ, 20Wh or 2kWh".into(),
    })
}

/// Runs the command of `options`, as often as asked, and records each run.
pub(super) fn run(options: &RunOptions) -> Result<u8, CliError> {
    let mut options = options.clone();
    let told = options.here.find(&mut options.measuring, options.offline);
    options.entry.notes.extend(told);
    let series = (options.entry.repeat > 1).then(|| Uuid::now_v7().to_string());
    let mut agent = run_agent::open(&options, series.as_deref()).unwrap_or_else(|why| {
        options.entry.notes.push(why);
        None
    });
    let by_agent = agent.is_some();
    // The agent records what it measures.
    let mut journal = if by_agent { Journal::none(&options) } else { Journal::open(&options)? };
    options.entry.notes.append(&mut journal.notes);
    let (options, record) = (&options, &options.entry);
    let mut samples = Vec::new();
    let mut status = 0;
    for _ in 0..record.repeat {
        let start = run_start(options, series.clone());
        let mut end = None;
        let open = |options: &RunOptions| {
            let opened = engine::open_run(options)?;
            journal.begin(&start)?;
            Ok(opened)
        };
        let mut recorded = None;
        let result = if by_agent {
            let meter = match agent.take() {
                Some(meter) => meter,
                None => again(options, series.as_deref())?,
            };
            recorded = meter.recorded().map(str::to_owned);
            on_this_thread(run::run(options, |_| Ok(meter), &mut end))
        } else {
            on_this_thread(run::run(options, open, &mut end))
        };
        if let Err(error) = &result {
            // A command that could not be started, or whose report could not be written, was tried all the same.
            let end = end.get_or_insert_with(|| not_started(error.status(Invocation::Run)));
            journal.end(&start, end, true)?;
            return result;
        }
        let this_status = result?;
        if let Some(end) = &end {
            journal.end(&start, end, this_status != 0)?;
            // What this program measured itself, as the agent had gone, is not the agent's record.
            let recorded = recorded.filter(|_| end.accounting.is_empty());
            if options.output.is_none() && options.format == RunFormat::Table && record.repeat == 1 {
                journal.tell(&start)?;
                if let Some(run) = recorded.as_ref().filter(|_| !options.measuring.quiet) {
                    Output::Stderr.write(&format!("recorded as run {run} by the agent\n"))?;
                }
            }
            if let Some(server) = &record.server {
                let kept = journal.begun || recorded.is_some();
                let id = recorded.unwrap_or_else(|| start.id.clone());
                server.send_or_warn(&RunStart { id, ..start.clone() }, end, kept, options.measuring.quiet);
            }
            samples.push(Sample::of(end));
        }
        status = if status == 0 { this_status } else { status };
        // Who interrupts one interrupts all.
        if end.is_some_and(|end| end.status == RunStatus::Killed) {
            break;
        }
    }
    if record.repeat > 1 {
        repeat::report(options, series.as_deref(), &samples)?;
    }
    match record.max_energy {
        Some(limit) if status == 0 => Ok(u8::from(!repeat::within(limit, &samples, options.measuring.quiet))),
        _ => Ok(status),
    }
}

/// The next repeat, by the agent too.
fn again(options: &RunOptions, series: Option<&str>) -> Result<run_agent::AgentMeter, CliError> {
    let why = match run_agent::open(options, series) {
        Ok(Some(meter)) => return Ok(meter),
        Ok(None) => "the agent has ended".to_owned(),
        Err(why) => why,
    };
    Err(CliError::CannotMeasure { source: anyhow::Error::msg(why), advice: "give --no-agent".into() })
}

fn run_start(options: &RunOptions, series: Option<String>) -> RunStart {
    let record = &options.entry;
    RunStart {
        id: Uuid::now_v7().to_string(),
        node: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        organisation: record.organisation.clone(),
        project: options.project.clone(),
        experiment: record.experiment.clone(),
        name: record.name.clone(),
        series,
        tags: record.tags.clone(),
        command: options.command.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
        start_us: clock::wall().as_microsecond(),
    }
}

/// The end of a run of which nothing was measured: its energy is unknown, not zero.
fn not_started(status: u8) -> RunEnd {
    RunEnd {
        status: RunStatus::Failed,
        exit_status: i64::from(status),
        end_us: clock::wall().as_microsecond(),
        duration_ns: 0,
        outlived_by: 0,
        cpu: CpuNanos::ZERO,
        accounting: "none".into(),
        attribution: "none".into(),
        static_policy: "none".into(),
        hardware: hardware(),
        report: "null".into(),
        energies: Vec::new(),
        domains: Vec::new(),
    }
}

/// Its energies, the same as in its report: none where no domain gave any.
fn energies(report: &Run, factor: &Factor) -> Vec<RunEnergy> {
    if !report.domains.iter().any(|row| row.metered_uj > 0) {
        return Vec::new();
    }
    let quality = parse_quality(report.quality).unwrap_or(Quality::Modelled);
    let energy = |kind, uj, stddev_uj| RunEnergy {
        kind,
        factor: factor.clone(),
        recorded: None,
        quality,
        energy: Microjoules(uj),
        stddev_uj,
    };
    #[expect(clippy::cast_precision_loss, reason = "a deviation")]
    let dynamic = energy(EnergyKind::Dynamic, report.dynamic_uj, report.dynamic_stddev_uj as f64);
    let idle = [(EnergyKind::Static, report.static_uj), (EnergyKind::Held, report.held_uj.unwrap_or(0))];
    let idle = idle.into_iter().filter(|(_, uj)| *uj > 0).map(|(kind, uj)| energy(kind, uj, 0.0));
    [dynamic].into_iter().chain(idle).collect()
}

/// What is kept of a run, from its report: the same figures.
pub(super) fn run_end(report: &Run, ended: &Ended, factor: &Factor, outlived_by: u64) -> RunEnd {
    RunEnd {
        status: match ended.outcome {
            Outcome::Exited(0) => RunStatus::Done,
            Outcome::Exited(_) => RunStatus::Failed,
            Outcome::Killed(_) => RunStatus::Killed,
        },
        exit_status: i64::from(report.exit_status),
        end_us: report.window_end.as_microsecond(),
        duration_ns: report.duration_ns,
        outlived_by,
        cpu: CpuNanos(report.cpu_ns),
        accounting: report.accounting.to_owned(),
        attribution: if report.domains.iter().any(|row| row.bank_windows > 0) { "bank" } else { "cpu-time" }
            .to_owned(),
        static_policy: report.static_policy.to_owned(),
        hardware: hardware(),
        report: serde_json::to_string(report).unwrap_or_default(),
        energies: energies(report, factor),
        domains: report
            .domains
            .iter()
            .map(|row| BalanceRow {
                domain: DomainId {
                    domain: row.domain.to_owned(),
                    device: row.device.clone(),
                    source: row.source.clone(),
                    quality: parse_quality(row.quality).unwrap_or(Quality::Modelled),
                },
                covered_ns: report.duration_ns,
                metered: Microjoules(row.metered_uj),
                attributed: Microjoules(row.dynamic_uj),
                static_energy: Microjoules(row.static_uj),
                lost: Microjoules(row.lost_uj),
                gaps: row.gaps,
            })
            .collect(),
    }
}

/// Processor, CPUs and kernel in words, for whoever reads the record years later.
fn hardware() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name.trim()))
        .unwrap_or("processor of unknown name");
    let cpus = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = rustix::system::uname();
    format!(
        "{model}, {cpus} CPUs, {} {} {}",
        kernel.sysname().to_string_lossy(),
        kernel.release().to_string_lossy(),
        kernel.machine().to_string_lossy()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::carbon::Intensity;
    use crate::report::group::add_grams;
    use crate::units::{GramsPerKwh, Pue};

    #[test]
    fn the_ledger_has_all_that_the_report_has() {
        let report = crate::report::gpu_tests::a_run();
        let g_per_kwh = GramsPerKwh(report.intensity.g_per_kwh);
        let intensity = Intensity { g_per_kwh, ..Intensity::of("FR").unwrap() };
        let factor = Factor::new(intensity, Pue(report.pue));
        let rows = energies(&report, &factor);
        let of = |kind| rows.iter().filter(|row| row.kind == kind).map(|row| row.energy.0).sum::<u64>();
        assert_eq!(of(EnergyKind::Dynamic), report.dynamic_uj);
        assert_eq!(Some(of(EnergyKind::Held)), report.held_uj.filter(|held| *held > 0));
        let grams = add_grams(rows.iter().map(|row| (&row.factor, row.energy, row.stddev_uj))).unwrap();
        assert!((grams.middle / report.grams - 1.0).abs() < 1e-9, "{} and {} g", grams.middle, report.grams);
    }

    #[test]
    fn energies_are_read() {
        let of = |text: &str| parse_energy("--max-energy", text).ok().map(|energy| energy.0);
        assert_eq!(of("50J"), Some(50_000_000));
        assert_eq!(of("1.5 kJ"), Some(1_500_000_000));
        assert_eq!(of("2Wh"), Some(7_200_000_000));
        assert_eq!(of("1kWh"), Some(3_600_000_000_000));
        for text in ["", "J", "50", "-1J", "0J", "nanJ", "1 apple", "infJ"] {
            assert_eq!(of(text), None, "{text:?}");
        }
    }
}
