//! `carbon calibrate`: short bursts of its own on an idle machine find idle power, wake cost and curve of each package, which
//! nature may never show.

use super::args::RunFormat;
use super::burst::Bursts;
use super::calibrate_options::CalibrateOptions;
use super::engine::{Engine, Wanted, cannot_account, json, style};
use super::error::CliError;
use super::output::Output;
use super::progress::Progress;
use crate::attribution::bank::{Calibration, LoadWindow, fit};
use crate::clock;
use crate::report::calibration::{CalibrationReport, DomainCalibration};
use crate::topology::Topology;
use crate::units::{CpuNanos, Microjoules, PackageId, Quality};
use crate::window::{Domain, DomainWindow, Window};
use std::rc::Rc;
use std::time::Duration;

/// Length of a window that counts: hundreds of updates of a meter.
const WINDOW: Duration = Duration::from_millis(500);
/// After a change of load; that window counts for nothing.
const SETTLING: Duration = Duration::from_millis(100);
/// How long it is looked whether the machine is idle.
const LOOK: Duration = Duration::from_secs(2);
/// Others may use as much of all CPUs' time: more, and what they do is taken for what the bursts do.
const OTHERS_MAX_RATIO: f64 = 0.05;

/// A load: on a package, so many CPUs, for so many per cent of the time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Load {
    package: usize,
    cpus: usize,
    percent: u32,
}

/// Of each domain what was seen.
type Seen = Vec<(Rc<Domain>, Vec<LoadWindow>)>;

/// Measures, prints and keeps what it found.
pub fn calibrate(options: &CalibrateOptions) -> Result<u8, CliError> {
    let root = &options.measuring.root;
    let topology = Topology::read(root).map_err(CliError::cannot_measure)?;
    let (mut engine, ()) = Engine::open(&options.measuring, Wanted::default(), |_| Ok(()))?;
    if !engine.learns() {
        return Err(CliError::measuring(
            anyhow::anyhow!("no meter can be read here, and there is nothing to learn from a model"),
            "see \"carbon doctor\"",
        ));
    }
    std::thread::sleep(LOOK);
    let looked = engine.observe().map_err(cannot_account)?;
    let others_ratio = looked.map_or(0.0, |window| others_ratio(&window, &topology));
    if others_ratio > OTHERS_MAX_RATIO && !options.force {
        return Err(CliError::measuring(
            anyhow::anyhow!(
                "the machine is not idle: other programs use {:.1} % of its CPU time, and at most {:.0} % are allowed",
                100.0 * others_ratio,
                100.0 * OTHERS_MAX_RATIO
            ),
            "try again when they rest, or give --force for a result that is less sure",
        ));
    }
    let tickless = root.tickless_cpus();
    let online = root.online_cpus().map_err(CliError::cannot_measure)?;
    let cpus: Vec<Vec<u32>> = (0..topology.packages)
        .map(|package| {
            let of =
                |cpu: &u32| usize::try_from(*cpu).ok().and_then(|cpu| topology.package_of.get(cpu).copied());
            let here = |cpu: &&u32| of(cpu).is_some_and(|id| usize::from(id.0) == package);
            online.iter().filter(here).filter(|cpu| !tickless.contains(cpu)).copied().collect()
        })
        .collect();
    let seen = measure(&mut engine, options, &cpus)?;
    let mut found: Vec<(Rc<Domain>, Option<Calibration>)> = Vec::new();
    for (domain, windows) in seen {
        let online = topology.online.get(usize::from(domain.package.0)).copied().unwrap_or(1);
        let calibration = fit(&windows, online);
        if let Some(calibration) = calibration {
            engine.calibrate(&domain, calibration);
        }
        found.push((domain, calibration));
    }
    engine.keep(&topology, &options.measuring)?;
    for said in engine.close() {
        log::warn!("{said}");
    }
    let (own, energy) = own_account(&engine);
    let report = CalibrationReport {
        domains: found.iter().map(|(domain, found)| DomainCalibration::new(domain, *found)).collect(),
        others_ratio,
        own_cpu_ns: own.0,
        own_dynamic_uj: energy.0,
        state: options.measuring.state.as_ref().map(|path| path.display().to_string()),
        ..engine.calibration_report()
    };
    let text = match options.format {
        RunFormat::Table => report.text(style(Output::Stdout.layout(), None)),
        RunFormat::Json => json(&report)?,
    };
    Output::Stdout.write(&text)?;
    Ok(0)
}

/// Share of all CPUs' time that was used by other programs.
fn others_ratio(window: &Window, topology: &Topology) -> f64 {
    let others = window.usage.total().saturating_sub(CpuNanos(window.accounts.own_ns));
    let all = window.duration.as_secs_f64() * f64::from(topology.cpus_online().max(1));
    if all > 0.0 { others.seconds() / all } else { 0.0 }
}

/// Loads in turn, an idle window between each two, as often as there is time for.
fn measure(engine: &mut Engine, options: &CalibrateOptions, cpus: &[Vec<u32>]) -> Result<Seen, CliError> {
    let loads = loads(cpus);
    let bursts = Bursts::on(&cpus.concat())?;
    let progress = Progress::begin(options.measuring.quiet, "calibrating", options.duration);
    let begun_ns = clock::monotonic_ns();
    let elapsed = || Duration::from_nanos(clock::monotonic_ns().saturating_sub(begun_ns));
    let mut seen = Seen::new();
    let mut round = 0;
    // One round at least, however long it takes.
    while round == 0 || elapsed() < options.duration {
        for load in &loads {
            for load in [Load::default(), *load] {
                let first: usize = cpus.iter().take(load.package).map(Vec::len).sum();
                bursts.set(first, load.cpus, load.percent);
                std::thread::sleep(SETTLING);
                engine.observe().map_err(cannot_account)?;
                std::thread::sleep(WINDOW);
                let window = engine.observe().map_err(cannot_account)?;
                for domain in window.iter().flat_map(|window| &window.domains) {
                    note(&mut seen, domain, load, cpus);
                }
                progress.at(elapsed());
            }
            if round > 0 && elapsed() >= options.duration {
                break;
            }
        }
        round += 1;
    }
    Ok(seen)
}

fn note(seen: &mut Seen, window: &DomainWindow, load: Load, cpus: &[Vec<u32>]) {
    let seconds = window.duration.as_secs_f64();
    if window.domain.quality != Quality::Measured || window.gap.is_some() || seconds <= 0.0 {
        return;
    }
    let package = window.domain.package;
    let busy = window.usage.on_package(package).map(|(_, nanos)| nanos.seconds()).sum::<f64>() / seconds;
    let seen_here = LoadWindow {
        watts: window.metered.joules() / seconds,
        busy_cpus: busy,
        wake_ratio: window.wake_ratio.unwrap_or_else(|| wake_of(busy, package, load, cpus)),
    };
    match seen.iter_mut().find(|(domain, _)| *domain == window.domain) {
        Some((_, windows)) => windows.push(seen_here),
        None => seen.push((Rc::clone(&window.domain), vec![seen_here])),
    }
}

/// Where nobody observes it: bursts are in phase, and others independent of them and of each other.
fn wake_of(busy: f64, package: PackageId, load: Load, cpus: &[Vec<u32>]) -> f64 {
    let here = usize::from(package.0);
    let count = u32::try_from(cpus.get(here).map_or(1, Vec::len).max(1)).unwrap_or(u32::MAX);
    let of_burst = if load.package == here { f64::from(load.percent) / 100.0 } else { 0.0 };
    let running = if load.package == here { u32::try_from(load.cpus).unwrap_or(0) } else { 0 };
    let others = (busy - of_burst * f64::from(running)).max(0.0);
    let of_others = 1.0 - (1.0 - others / f64::from(count)).clamp(0.0, 1.0).powf(f64::from(count));
    let of_burst = if running > 0 { of_burst } else { 0.0 };
    of_burst + (1.0 - of_burst) * of_others
}

/// Of each package: one CPU and two, half and whole, then half of all and all. Two CPUs that are busy half of the time at
/// the same time tell what waking costs from what a CPU does.
fn loads(cpus: &[Vec<u32>]) -> Vec<Load> {
    let mut loads = Vec::new();
    for (package, cpus) in cpus.iter().enumerate() {
        let all = cpus.len();
        for (count, percent) in [(1, 50), (1, 100), (2, 50), (2, 100), (all / 2, 100), (all, 50), (all, 100)]
        {
            let load = Load { package, cpus: count, percent };
            if (1..=all).contains(&count) && !loads.contains(&load) {
                loads.push(load);
            }
        }
    }
    loads
}

/// CPU time of this process, and its part of the dynamic energy by CPU time: it is nearly all that ran.
fn own_account(engine: &Engine) -> (CpuNanos, Microjoules) {
    let totals = engine.totals();
    let own = CpuNanos(totals.accounts().own_ns);
    let all: CpuNanos = totals.workloads().map(|(_, total)| total.cpu).sum();
    let dynamic: Microjoules = totals.domains().iter().map(|domain| domain.dynamic_energy).sum();
    let share = if all > CpuNanos::ZERO { (own.seconds() / all.seconds()).min(1.0) } else { 0.0 };
    (own, Microjoules::from_joules(dynamic.joules() * share))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_of_package_has_loads_that_differ() {
        let of = |cpus: &[usize]| {
            let cpus: Vec<Vec<u32>> = cpus.iter().map(|count| vec![0; *count]).collect();
            loads(&cpus).into_iter().map(|load| (load.package, load.cpus, load.percent)).collect::<Vec<_>>()
        };
        assert_eq!(of(&[1]), [(0, 1, 50), (0, 1, 100)]);
        assert_eq!(of(&[2]), [(0, 1, 50), (0, 1, 100), (0, 2, 50), (0, 2, 100)]);
        assert_eq!(of(&[0, 8])[4..], [(1, 4, 100), (1, 8, 50), (1, 8, 100)]);
        assert!(of(&[]).is_empty());
    }

    #[test]
    fn bursts_in_phase_wake_once() {
        let cpus = [vec![0, 1], vec![2, 3]];
        let load = Load { package: 0, cpus: 2, percent: 50 };
        let near = |one: f64, other: f64| (one - other).abs() < 1e-9;
        assert!(near(wake_of(1.0, PackageId(0), load, &cpus), 0.5));
        assert!(near(wake_of(0.0, PackageId(1), load, &cpus), 0.0));
        assert!(near(wake_of(1.0, PackageId(1), load, &cpus), 0.75));
    }
}
