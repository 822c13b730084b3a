//! One command and all that it starts: what `carbon run` measures with.

use super::{Engine, Wanted, cannot_account, json, style};
use crate::cli::args::RunFormat;
use crate::cli::error::CliError;
use crate::cli::options::Measuring;
use crate::cli::output::Layout;
use crate::cli::process::{Attendant, BeforeExec, Ended};
use crate::cli::run::RunMeasurement;
use crate::cli::run_entry;
use crate::cli::run_options::RunOptions;
use crate::clock;
use crate::ledger::Factor;
use crate::ledger::rows::RunEnd;
use crate::report::run::{Execution, Run};
use crate::report::table;
use crate::sched::{Enrolment, Rung};
use crate::units::RunId;
use std::time::Duration;

/// RAPL's counters move once in about a millisecond (Intel SDM 3B, 17.9.3), so a shorter window is mostly its edges.
const SHORT_WINDOW: Duration = Duration::from_millis(50);

/// How long the last look waits for the finals of a run's tasks: the kernel frees them a moment after their end.
const SETTLING_MAX: Duration = Duration::from_millis(300);
const SETTLING_STEP: Duration = Duration::from_millis(5);

/// How often `--wait-all` looks whether the tree has gone.
const TREE_STEP: Duration = Duration::from_millis(20);

/// One command and all that it starts.
#[derive(Debug)]
pub struct CommandMeter {
    engine: Engine,
    run: RunId,
    enrolment: Option<Enrolment>,
    failed_windows: u64,
    /// Once it is made.
    report: Option<Run>,
}

/// For `carbon run`: opens a run, and takes the first edge.
pub fn open_run(options: &RunOptions) -> Result<CommandMeter, CliError> {
    let run = run_id();
    let wanted = Wanted { runs: true, ..Wanted::default() };
    let (mut engine, enrolment) =
        Engine::open(&options.measuring, wanted, |accounting| accounting.runs().open(run))?;
    engine.sampler.follow_run(run);
    Ok(CommandMeter { engine, run, enrolment: Some(enrolment), failed_windows: 0, report: None })
}

/// For `carbon run` whose agent has gone: the process `pid` and what descends from it, from here on.
pub(in crate::cli) fn open_attached(options: &RunOptions, pid: u32) -> Result<CommandMeter, CliError> {
    let run = run_id();
    let measuring = Measuring { accounting: Some(Rung::Proc), ..options.measuring.clone() };
    let wanted = Wanted { runs: true, ..Wanted::default() };
    let (mut engine, ()) = Engine::open(&measuring, wanted, |accounting| {
        accounting.runs().open(run)?;
        accounting.runs().attach(run, pid)
    })?;
    engine.sampler.follow_run(run);
    Ok(CommandMeter { engine, run, enrolment: None, failed_windows: 0, report: None })
}

/// Not that of any other run on this machine: two programs with the same id do not run at the same time.
fn run_id() -> RunId {
    let milliseconds = clock::boottime_ns() / 1_000_000;
    RunId(u64::from(std::process::id()) << 32 | (milliseconds & u64::from(u32::MAX)))
}

impl Attendant for CommandMeter {
    fn started(&mut self, pid: u32) {
        self.engine.sampler.accounting().runs().started(self.run, pid);
    }

    fn tick(&mut self) {
        // The next good window covers the time of a failed one.
        if let Err(error) = self.engine.window() {
            self.failed_windows += 1;
            log::warn!("{error}; {}", error.advice());
        }
    }

    async fn tree_gone(&mut self) {
        loop {
            match self.engine.sampler.accounting().runs().alive(self.run) {
                Ok(0) => return,
                // Where forks are not followed, processes are known by being looked at.
                Ok(_) => drop(self.engine.sampler.accounting().drain()),
                Err(error) => {
                    log::warn!("cannot tell whether the command's processes have gone: {error}");
                    return;
                }
            }
            tokio::time::sleep(TREE_STEP).await;
        }
    }
}

impl RunMeasurement for CommandMeter {
    fn begin(&mut self) -> Result<Option<BeforeExec>, CliError> {
        Ok(self.enrolment.take().map(|enrolment| -> BeforeExec { Box::new(move || enrolment.enter()) }))
    }

    fn adopts_orphans(&self) -> bool {
        self.engine.sampler.rung() == Rung::Proc
    }

    fn report(&mut self, ended: &Ended, options: &RunOptions, layout: Layout) -> Result<String, CliError> {
        settle(&mut self.engine, self.run);
        if self.failed_windows > 0 {
            let failed = self.failed_windows;
            self.engine.notes.push(format!("{failed} windows could not be read and were joined to the next"));
        }
        self.engine.window().map_err(cannot_account)?;
        let Self { engine, run, .. } = self;
        let duration = Duration::from_nanos(ended.end_ns.saturating_sub(ended.start_ns));
        if duration < SHORT_WINDOW {
            engine.notes.push(format!(
                "the command ran for less than {} ms: a meter that is updated once a millisecond, and what else \
                 the machine did just then, are a large part of so little energy",
                SHORT_WINDOW.as_millis()
            ));
        }
        engine.notes.extend(options.entry.notes.iter().cloned());
        if let Some(series) = &options.entry.series {
            engine.rate(series);
        }
        // After the last window: nothing is measured while a service is waited for.
        if let Some(live) = &options.entry.live {
            let known = live.known(options.measuring.zone.as_deref());
            engine.notes.extend(known.notes);
            if let Some(series) = &known.series {
                engine.rate(series);
            } else {
                engine.notes.push("the yearly average holds, since no live value is known".to_owned());
            }
        }
        let processes = engine.sampler.accounting().runs().processes(*run);
        let total = engine.totals.sum_of(|key| key.run == Some(*run));
        let command = options.command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let execution = Execution {
            project: options.project.clone(),
            command,
            exit_status: i32::from(ended.outcome.status()),
            duration,
        };
        let report = Run::new(&engine.context(), execution, &engine.totals, &total, &processes);
        let text = match options.format {
            RunFormat::Table => Ok(table::run(&report, style(layout, None))),
            RunFormat::Json => json(&report),
        };
        self.report = Some(report);
        text
    }

    fn record(&mut self, ended: &Ended) -> Option<RunEnd> {
        let outlived_by = self.engine.sampler.accounting().runs().alive(self.run).unwrap_or(0);
        let factor = Factor::new(self.engine.intensity.clone(), self.engine.pue);
        let report = self.report.as_ref()?;
        Some(run_entry::run_end(report, ended, &factor, outlived_by))
    }
}

impl CommandMeter {
    /// Says something in the report.
    pub(in crate::cli) fn note(&mut self, note: String) {
        self.engine.notes.push(note);
    }
}

/// Waits a moment for the finals of a run's tasks that have ended; says so where they do not come.
pub(super) fn settle(engine: &mut Engine, run: RunId) {
    let begun_ns = clock::monotonic_ns();
    loop {
        match engine.sampler.accounting().runs().settled(run) {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => return log::warn!("{error}"),
        }
        let waited = Duration::from_nanos(clock::monotonic_ns().saturating_sub(begun_ns));
        if waited > SETTLING_MAX {
            engine.notes.push(
                "the kernel did not tell the final CPU time of every task: some are counted up to a tick before \
                 their end"
                    .to_owned(),
            );
            return;
        }
        std::thread::sleep(SETTLING_STEP);
    }
}
