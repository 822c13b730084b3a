//! What the commands measure with: the one place where scheduler time, meters, attribution and carbon are put
//! together.

mod files;

use super::args::{Format, RunFormat};
use super::doctor::{Findings, RungFinding};
use super::error::CliError;
use super::learning::{self, Beginning, Keeper};
use super::options::{Measuring, RunOptions, TopOptions};
use super::output::Layout;
use super::process::{Attendant, BeforeExec, Ended};
use super::recorder::Recorder;
use super::run::RunMeasurement;
use super::run_entry;
use super::top::TopMeasurement;
use crate::attribution::bank::Calibration;
use crate::attribution::static_policy::StaticPolicy;
use crate::attribution::totals::Totals;
use crate::attribution::{Method, State, attribute};
use crate::carbon::Intensity;
use crate::carbon::series::Series;
use crate::claims::Claims;
use crate::clock;
use crate::ledger::Factor;
use crate::ledger::rows::RunEnd;
use crate::meters::{Edge, MeterChoice, MeterFinding, Meters};
use crate::report::run::{Execution, Run};
use crate::report::table::{self, Style};
use crate::report::top::Top;
use crate::report::{Context, csv};
use crate::sampler::Sampler;
use crate::sampler::governor::{Action, Governor};
use crate::sched::{
    self, Accounting, Census, Counters, Enrolment, Limits, Opened, Rung, SchedError, Skipped,
};
use crate::sysroot::SysRoot;
use crate::topology::Topology;
use crate::units::{Pue, Quality, RunId};
use crate::window::counts::{CounterKind, Counts};
use crate::window::{Domain, DomainKind, Window};
use jiff::Timestamp;
use serde::Serialize;
use std::time::Duration;

/// RAPL's counters move once in about a millisecond (Intel SDM 3B, 17.9.3), so a shorter window is mostly its edges.
const SHORT_WINDOW: Duration = Duration::from_millis(50);

/// How long the last look waits for the finals of a run's tasks: the kernel frees them a moment after their end.
const SETTLING_MAX: Duration = Duration::from_millis(300);
const SETTLING_STEP: Duration = Duration::from_millis(5);

/// How long doctor compares two meters of the same.
const COMPARING: Duration = Duration::from_millis(1100);

/// How often `--wait-all` looks whether the tree has gone.
const TREE_STEP: Duration = Duration::from_millis(20);

/// Below this part of the time that they were to count, counters took turns.
const TURNS_RATIO: f64 = 0.999;

/// Reads events by workload.
type ReadCounters = Box<dyn FnMut() -> Result<Counts, SchedError>>;

/// From the kernel and the meters to sums of energy.
#[derive(Debug)]
pub(super) struct Engine {
    sampler: Sampler,
    state: State,
    policy: StaticPolicy,
    totals: Totals,
    intensity: Intensity,
    pue: Pue,
    node: String,
    start: Timestamp,
    end: Timestamp,
    notes: Vec<String>,
    limits: Limits,
    /// What the governor did last.
    governed: Option<String>,
    /// Whether there is a meter to learn from, and learning is wanted.
    learns: bool,
    beginning: Beginning,
    recorder: Option<Recorder>,
    keeper: Option<Keeper>,
}

/// What is wanted beside CPU time and energy.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted<'a> {
    /// Events to count.
    counters: &'a [CounterKind],
    /// There will be runs.
    runs: bool,
    /// What cgroups hold, whatever the policy: windows are recorded, and may be attributed under another one.
    claims: bool,
}

impl Engine {
    /// Opens everything and takes the first edge. `begin` is what is done with the accounting before that; where it
    /// fails, a lower rung is tried.
    pub(super) fn open<T>(
        measuring: &Measuring,
        wanted: Wanted<'_>,
        begin: impl Fn(&mut dyn Accounting) -> Result<T, SchedError>,
    ) -> Result<(Self, T), CliError> {
        let mut notes = Vec::new();
        let intensity = intensity(measuring, &mut notes)?;
        let topology = Topology::read(&measuring.root).map_err(|error| {
            let what = format!("cannot read the CPUs below {}", measuring.root.sys.display());
            CliError::cannot_measure(anyhow::Error::new(error).context(what))
        })?;
        let meters = Meters::open(&measuring.root, &topology, measuring.meter)
            .map_err(|error| CliError::measuring(error, "see \"carbon doctor\""))?;
        notes.extend(unreadable(&meters));
        // What learns each workload's own watts from a meter is better where it knows how long the package was awake.
        let learns = measuring.attribution == Method::Bank
            && meters
                .domains()
                .iter()
                .any(|domain| domain.quality == Quality::Measured && domain.kind != DomainKind::Gpu);
        let beginning = learning::beginning(measuring, &topology, learns);
        if let Some(note) = &beginning.note {
            log::warn!("{note}");
            notes.push(note.clone());
        }
        let limits = Limits {
            hierarchy: measuring.hierarchy,
            wake: learns,
            without_runs: !wanted.runs,
            ..Limits::default()
        };
        let (accounting, outcome) = accounting(measuring, &topology, limits, begin, &mut notes)?;
        let census = census(measuring, wanted.claims, &meters)?;
        let counters = open_counters(measuring, &topology, wanted.counters, &mut notes);
        let mut sampler = Sampler::new(Box::new(clock::now), accounting, meters, &topology)
            .with_census(census)
            .with_counters(counters);
        let start = clock::wall();
        sampler.edge().map_err(cannot_account)?;
        let engine = Self {
            sampler,
            state: beginning.state(measuring.attribution),
            policy: measuring.static_policy,
            totals: Totals::default(),
            intensity,
            pue: measuring.pue,
            node: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            start,
            end: start,
            notes,
            limits,
            governed: None,
            learns,
            beginning,
            recorder: None,
            keeper: None,
        };
        Ok((engine, outcome))
    }

    /// Closes a window and gives its sums; they are in the sums of all windows too.
    fn window(&mut self) -> Result<Totals, SchedError> {
        let window = self.sampler.edge()?;
        Ok(self.attribute(window.as_ref()))
    }

    /// Goes on with another way of accounting.
    fn replace_accounting(&mut self, accounting: Box<dyn Accounting>) -> Result<(), SchedError> {
        let window = self.sampler.replace_accounting(accounting)?;
        self.attribute(window.as_ref());
        Ok(())
    }

    fn attribute(&mut self, window: Option<&Window>) -> Totals {
        let mut totals = Totals::default();
        if let Some(window) = window {
            if let Some(recorder) = &mut self.recorder {
                recorder.window(window, |cgroup| self.sampler.cgroup_path(cgroup));
            }
            let attributed = attribute(window, &mut self.state, self.policy);
            totals.add(&attributed);
            self.totals.add(&attributed);
        }
        self.end = clock::wall();
        totals
    }

    /// Whether there is a meter, and learning from it is wanted.
    pub(super) fn learns(&self) -> bool {
        self.learns
    }

    /// Closes a window, attributes it, and gives it.
    pub(super) fn observe(&mut self) -> Result<Option<Window>, SchedError> {
        let window = self.sampler.edge()?;
        self.attribute(window.as_ref());
        Ok(window)
    }

    /// Sums of all windows.
    pub(super) fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Takes up what a calibration found.
    pub(super) fn calibrate(&mut self, domain: &Domain, calibration: Calibration) {
        self.state.calibrate(domain, calibration);
    }

    /// Takes the intensity of this time from a series, where it has one. Within one report energy has one factor: the
    /// mean over its time.
    fn rate(&mut self, series: &Series) {
        let (start, end) = (self.start.as_second(), self.end.as_second());
        let Some(mean) = series.mean(start, end) else {
            self.notes.push(
                "the file of intensities has no value for this time: the yearly average holds".to_owned(),
            );
            return;
        };
        if mean.covered_ratio < 1.0 {
            let percent = 100.0 * mean.covered_ratio;
            self.notes.push(format!(
                "the file of intensities covers {percent:.0} % of the time: its mean is of that part"
            ));
        }
        if mean.estimated {
            self.notes.push("the intensity is an estimate of its publisher".to_owned());
        }
        self.notes.retain(|note| !note.starts_with("no zone given"));
        self.intensity = mean.intensity;
    }

    fn context(&self) -> Context<'_> {
        Context {
            node: self.node.clone(),
            start: self.start,
            end: self.end,
            rung: self.sampler.rung(),
            policy: self.policy,
            state: &self.state,
            intensity: self.intensity.clone(),
            pue: self.pue,
            notes: self.notes.iter().chain(&self.governed).cloned().chain(self.kept_notes()).collect(),
        }
    }

    fn top(&self, totals: &Totals) -> Top {
        Top::new(&self.context(), totals, |cgroup| self.sampler.cgroup_path(cgroup))
    }
}

/// What looks at the cgroups' files, where the policy needs to know what they hold: for `proportional` only memory's
/// energy goes by that.
fn census(
    measuring: &Measuring,
    recorded: bool,
    meters: &Meters,
) -> Result<Option<Box<dyn FnMut() -> Claims>>, CliError> {
    let policy = measuring.static_policy;
    let memory = meters.domains().iter().any(|domain| domain.kind == DomainKind::Dram);
    let wanted = recorded || policy.needs_claims() || (memory && policy == StaticPolicy::Proportional);
    if !wanted {
        return Ok(None);
    }
    match Census::open(&measuring.root, measuring.hierarchy) {
        Ok(census) => Ok(Some(Box::new(move || census.read()))),
        // By CPU time then, which is said.
        Err(_) if !policy.needs_claims() => Ok(None),
        Err(error) => Err(cannot_account(error)),
    }
}

/// What counts events by workload. What cannot be counted is said, and is then absent from the report.
fn open_counters(
    measuring: &Measuring,
    topology: &Topology,
    kinds: &[CounterKind],
    notes: &mut Vec<String>,
) -> Option<ReadCounters> {
    if kinds.is_empty() {
        return None;
    }
    let mut said = |note: String| {
        log::warn!("{note}");
        notes.push(note);
    };
    match Counters::open(&measuring.root, topology, measuring.hierarchy, kinds) {
        Ok((counters, not)) => {
            for not in &not {
                said(not.to_string());
            }
            let mut counters = counters?;
            let mut warned = false;
            Some(Box::new(move || {
                let ratio = counters.counted_ratio().unwrap_or(1.0);
                if ratio < TURNS_RATIO && !std::mem::replace(&mut warned, true) {
                    log::warn!(
                        "the processor has no room for all counters at once: they count {:.0} % of the time",
                        100.0 * ratio
                    );
                }
                counters.read()
            }))
        }
        Err(error) => {
            said(format!("events are not counted: {error}; {}", error.advice()));
            None
        }
    }
}

/// A word where there is a meter that cannot be read: that the model stands in must not pass for what there is.
fn unreadable(meters: &Meters) -> Option<String> {
    let denied = meters.denied()?;
    let advice = denied.advice.as_ref().map(|advice| format!("; {advice}")).unwrap_or_default();
    Some(format!("joules are modelled, since {} cannot be used: {}{advice}", denied.name, denied.reason))
}

fn intensity(measuring: &Measuring, notes: &mut Vec<String>) -> Result<Intensity, CliError> {
    let Some(zone) = measuring.zone.as_deref() else {
        notes.push("no zone given, so the world's average: give --zone or CARBON_ZONE".to_owned());
        return Ok(Intensity::of_unknown_place());
    };
    Intensity::of(zone).map_err(|error| CliError::Zone { source: error })
}

fn accounting<T>(
    measuring: &Measuring,
    topology: &Topology,
    limits: Limits,
    begin: impl Fn(&mut dyn Accounting) -> Result<T, SchedError>,
    notes: &mut Vec<String>,
) -> Result<(Box<dyn Accounting>, T), CliError> {
    let root = &measuring.root;
    if let Some(rung) = measuring.accounting {
        let mut accounting = sched::open(rung, root, topology, limits).map_err(cannot_account)?;
        let outcome = begin(accounting.as_mut()).map_err(cannot_account)?;
        return Ok((accounting, outcome));
    }
    let Opened { accounting, outcome, skipped } =
        sched::open_best(root, topology, limits, begin).map_err(cannot_account)?;
    // The hook and the books are worth the same; what lies below is worth a word.
    if let Some(Skipped { rung, error }) = skipped.first().filter(|_| accounting.rung() > Rung::Hook) {
        let used = accounting.rung();
        notes.push(format!(
            "CPU time is taken by {used}, since {rung} does not work here: {error}; {}",
            error.advice()
        ));
    }
    Ok((accounting, outcome))
}

pub(super) fn cannot_account(error: SchedError) -> CliError {
    let advice = error.advice();
    CliError::measuring(error, advice)
}

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
        self.settle();
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
    /// Waits a moment for the finals of the tasks that have ended; says so where they do not come.
    fn settle(&mut self) {
        let begun_ns = clock::monotonic_ns();
        loop {
            match self.engine.sampler.accounting().runs().settled(self.run) {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) => {
                    log::warn!("{error}");
                    break;
                }
            }
            let waited = Duration::from_nanos(clock::monotonic_ns().saturating_sub(begun_ns));
            if waited > SETTLING_MAX {
                self.engine.notes.push(
                    "the kernel did not tell the final CPU time of every task: some are counted up to a tick before \
                     their end"
                        .to_owned(),
                );
                break;
            }
            std::thread::sleep(SETTLING_STEP);
        }
        if self.failed_windows > 0 {
            let failed = self.failed_windows;
            self.engine.notes.push(format!("{failed} windows could not be read and were joined to the next"));
        }
    }
}

/// The whole machine.
#[derive(Debug)]
pub struct Machine {
    engine: Engine,
    /// Of the last window.
    last: Option<Totals>,
    limit: Option<usize>,
    governor: Governor,
    measuring: Measuring,
    topology: Topology,
    /// Context switches of the machine when it was last looked.
    switches: u64,
}

/// For `carbon top`.
pub fn open_top(options: &TopOptions) -> Result<Machine, CliError> {
    let wanted =
        Wanted { counters: &options.counters, claims: options.record.is_some(), ..Wanted::default() };
    let (mut engine, ()) = Engine::open(&options.measuring, wanted, |_| Ok(()))?;
    let root = &options.measuring.root;
    let topology = Topology::read(root).map_err(CliError::cannot_measure)?;
    if let Some(record) = &options.record {
        engine.record(record)?;
    }
    engine.keep(&topology, &options.measuring)?;
    Ok(Machine {
        engine,
        last: None,
        limit: options.limit,
        governor: Governor::new(options.max_overhead_ratio, options.measuring.interval),
        measuring: options.measuring.clone(),
        topology,
        switches: sched::context_switches(root),
    })
}

impl Machine {
    /// Acts where measuring costs too much, and says so.
    fn govern(&mut self, window: &Totals) {
        let root = &self.measuring.root;
        let now = sched::context_switches(root);
        let switched = now.saturating_sub(std::mem::replace(&mut self.switches, now));
        let rung = self.engine.sampler.rung();
        let in_kernel_ns = switched.saturating_mul(rung.switch_cost_ns());
        let cost = Duration::from_nanos(window.accounts().own_ns.saturating_add(in_kernel_ns));
        let Some(action) = self.governor.observe(cost, window.duration(), self.topology.cpus_online()) else {
            return;
        };
        let lower = rung.cheaper();
        let said = match (action, lower) {
            (Action::Fall, None) => return,
            (Action::Fall, Some(lower)) => {
                let opened = sched::open(lower, root, &self.topology, self.engine.limits);
                let replaced = opened.and_then(|accounting| self.engine.replace_accounting(accounting));
                if let Err(error) = replaced {
                    log::warn!("{lower} does not work here: {error}; {rung} goes on");
                    return;
                }
                format!("CPU time by {lower} instead of {rung} from here on")
            }
            (action, _) => action.to_string(),
        };
        let what = match action {
            Action::Narrow(_) => "measuring is cheap again",
            Action::Widen(_) | Action::Fall => "measuring cost more than --max-overhead",
        };
        log::warn!("{what}: {said}");
        // The last one alone: a live table runs for years.
        self.engine.governed = Some(format!("{what}: {said}"));
    }
}

impl TopMeasurement for Machine {
    fn tick(&mut self) -> Result<Duration, CliError> {
        let window = self.engine.window().map_err(cannot_account)?;
        self.govern(&window);
        let Engine { keeper, state, sampler, .. } = &mut self.engine;
        if let Some(keeper) = keeper {
            keeper.tick(state, |cgroup| sampler.cgroup_path(cgroup));
        }
        self.last = Some(window);
        Ok(self.governor.window())
    }

    fn close(&mut self) -> Vec<String> {
        self.engine.close()
    }

    fn live(&self, layout: Layout) -> String {
        let Some(last) = &self.last else { return "measuring the first window ...\n".to_owned() };
        let top = self.engine.top(last);
        // Below the rows: a header, what they sum to, and the notes.
        let around = 6 + top.domains.len() + top.notes.len();
        let fitting = layout.rows.map(|rows| usize::from(rows).saturating_sub(around).max(1));
        table::top(&top, style(layout, self.limit.or(fitting)))
    }

    fn report(&self, format: Format, layout: Layout) -> Result<String, CliError> {
        let top = self.engine.top(&self.engine.totals);
        match format {
            Format::Table => Ok(table::top(&top, style(layout, self.limit))),
            Format::Json => json(&top),
            Format::Csv => csv::top(&top).map_err(|error| unwritten(std::io::Error::other(error))),
        }
    }
}

pub(super) fn style(layout: Layout, rows_max: Option<usize>) -> Style {
    Style { width: layout.columns, color: layout.colours, rows_max }
}

pub(super) fn json(report: &impl Serialize) -> Result<String, CliError> {
    let mut text = serde_json::to_string_pretty(report).map_err(|error| unwritten(error.into()))?;
    text.push('\n');
    Ok(text)
}

pub(super) fn unwritten(source: std::io::Error) -> CliError {
    CliError::from_write("memory", source)
}

/// For `carbon doctor`: what each rung and each meter says of this machine. Each rung is opened, and closed again.
pub fn findings(root: &SysRoot) -> Findings {
    let topology = match Topology::read(root) {
        Ok(topology) => topology,
        Err(error) => {
            let reason = format!("cannot read the CPUs below {}: {error}", root.sys.display());
            let advice = Some("mount sysfs, and name it by --sysfs-root where it is not at /sys".to_owned());
            let rungs = Rung::ALL.map(|rung| RungFinding {
                rung,
                available: false,
                reason: reason.clone(),
                advice: advice.clone(),
            });
            return Findings { rungs: rungs.into(), meters: Vec::new() };
        }
    };
    let rungs = Rung::ALL.map(|rung| {
        let (available, reason, advice) = match sched::open(rung, root, &topology, Limits::default()) {
            Ok(_) => (true, rung.description().to_owned(), None),
            Err(error) => (false, error.to_string(), Some(error.advice().to_owned())),
        };
        RungFinding { rung, available, reason, advice }
    });
    let meters = Meters::open(root, &topology, MeterChoice::Auto).map_or_else(|_| Vec::new(), compared);
    Findings { rungs: rungs.into(), meters }
}

/// What the meters say of themselves, after two ways to the same counters have been compared, where there are two.
fn compared(mut meters: Meters) -> Vec<MeterFinding> {
    if meters.compares() {
        // More than twice only where a reading fails.
        for pause in [Duration::ZERO, COMPARING, COMPARING, COMPARING] {
            std::thread::sleep(pause);
            meters.read(&Edge { monotonic_ns: clock::monotonic_ns(), busy: &[] });
            if meters.compared().is_some() {
                break;
            }
        }
    }
    meters.findings().iter().chain(meters.compared()).cloned().collect()
}
