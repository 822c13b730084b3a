//! What the commands measure with: the one place where scheduler time, meters, attribution and carbon are put
//! together.

mod attached;
mod command;
mod files;
mod findings;
mod governing;
mod kept_runs;
mod machine;
mod naming;
mod node;
mod node_runs;

pub(super) use attached::ProcessMeter;
pub(super) use command::open_attached;
pub use command::{CommandMeter, open_run};
pub use findings::findings;
pub use machine::{Machine, open_top};
pub(super) use node::{NodeMeter, Past};
pub(super) use node_runs::{Finish, moment};

use super::error::CliError;
use super::learning::{self, Beginning, Keeper};
use super::options::Measuring;
use super::output::Layout;
use super::recorder::Recorder;
use crate::attribution::bank::Calibration;
use crate::attribution::static_policy::StaticPolicy;
use crate::attribution::totals::Totals;
use crate::attribution::{Method, State, attribute};
use crate::carbon::Intensity;
use crate::carbon::series::Series;
use crate::clock;
use crate::meters::Meters;
use crate::report::Context;
use crate::report::table::Style;
use crate::report::top::Top;
use crate::sampler::{ReadClaims, Sampler};
use crate::sched::{self, Accounting, Census, Counters, Limits, Opened, Rung, SchedError, Skipped};
use crate::topology::Topology;
use crate::units::{Pue, Quality};
use crate::window::counts::{CounterKind, Counts};
use crate::window::{Domain, DomainKind, Window};
use jiff::Timestamp;
use naming::Naming;
use serde::Serialize;

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
    naming: Option<Naming>,
}

/// What is wanted beside CPU time and energy.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted<'a> {
    /// Events to count.
    counters: &'a [CounterKind],
    /// There will be runs.
    runs: bool,
    /// Processes of them that there is room for, if not as many as serve most machines.
    members: Option<u32>,
    /// What cgroups hold, whatever the policy: windows are recorded, and may be attributed under another one.
    claims: bool,
    /// Readings of another program to go on from.
    past: Option<&'a Past>,
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
        let meters = Meters::open_with(&measuring.root, &topology, measuring.meter, &measuring.sensors)
            .map_err(|error| CliError::measuring(error, "see \"carbon doctor\""))?;
        notes.extend(unreadable(&meters));
        notes.extend(
            meters.unmeasured().iter().map(|it| format!("{} is not measured: {}", it.name, it.reason)),
        );
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
            members: wanted.members,
            ..Limits::default()
        };
        let (accounting, outcome) = accounting(measuring, &topology, limits, begin, &mut notes)?;
        let census = census(measuring, wanted.claims, &meters)?;
        let counters = open_counters(measuring, &topology, wanted.counters, &mut notes);
        let mut sampler = Sampler::new(Box::new(clock::now), accounting, meters, &topology)
            .with_census(census)
            .with_counters(counters);
        if let Some(past) = wanted.past {
            sampler.resume(&past.edge.counters, past.usage.clone());
        }
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
            naming: None,
        };
        Ok((engine, outcome))
    }

    /// Closes a window and gives its sums; they are in the sums of all windows too.
    fn window(&mut self) -> Result<Totals, SchedError> {
        let window = self.sampler.edge()?;
        Ok(self.attribute(window.as_ref()))
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
            self.notes
                .push("no intensity by time is known for just then: the yearly average holds".to_owned());
            return;
        };
        if mean.covered_ratio < 1.0 {
            let percent = 100.0 * mean.covered_ratio;
            self.notes.push(format!(
                "the intensities by time cover {percent:.0} % of the run: their mean is of that part"
            ));
        }
        if mean.estimated {
            self.notes.push("the intensity is an estimate of its publisher".to_owned());
        }
        self.notes.retain(|note| !says_no_zone(note));
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
            notes: {
                let naming = self.naming.iter().filter_map(Naming::notes);
                let all = self.notes.iter().chain(&self.governed).cloned();
                all.chain(self.kept_notes()).chain(naming).collect()
            },
        }
    }

    fn top(&self, totals: &Totals) -> Top {
        let told =
            |cgroup, path: &str| self.naming.as_ref().map(|it| it.told(cgroup, path)).unwrap_or_default();
        Top::with_names(&self.context(), totals, |cgroup| self.sampler.cgroup_path(cgroup), told)
    }
}

/// What looks at the cgroups' files, where the policy needs to know what they hold: for `proportional` only memory's
/// energy goes by that.
fn census(measuring: &Measuring, recorded: bool, meters: &Meters) -> Result<Option<ReadClaims>, CliError> {
    let policy = measuring.static_policy;
    let memory = meters.domains().iter().any(|domain| domain.kind == DomainKind::Dram);
    let wanted = recorded || policy.needs_claims() || (memory && policy == StaticPolicy::Proportional);
    if !wanted {
        return Ok(None);
    }
    match Census::open(&measuring.root, measuring.hierarchy) {
        Ok(mut census) => Ok(Some(Box::new(move |arrivals, is_removed| census.look(arrivals, is_removed)))),
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
    notes.extend(measuring.pue_note());
    Intensity::of(zone).map_err(|error| CliError::Zone { source: error })
}

/// Whether a note says how little is known of the place: it does not hold for another.
fn is_of_place(note: &str) -> bool {
    says_no_zone(note) || note.starts_with("PUE ")
}

/// Whether a note says that no place was given.
pub(super) fn says_no_zone(note: &str) -> bool {
    note.starts_with("no zone given")
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
