//! Takes the edges of windows and joins two of them into a [`Window`].
//!
//! An edge is one look at everything, as close together as can be: clock, scheduler time, meters, clock. The only
//! state is what the next difference needs. A domain that cannot be read keeps its old baseline, of energy and of
//! CPU time alike, so that the next good reading carries the whole span and nothing is lost.

use crate::claims::Claims;
use crate::clock::{Reading, suspension};
use crate::meters::{self, Edge, ErrorKind, Gap, Mark, MeterError, Meters, PowerLimits};
use crate::sched::{Accounting, Rung, SchedError};
use crate::topology::Topology;
use crate::units::{CgroupId, CpuNanos, Microjoules, RunId};
use crate::window::counts::Counts;
use crate::window::{Domain, DomainKind, DomainWindow, SchedSnapshot, Usage, Window};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

/// Rows kept for a domain that cannot be read, while cgroups come and go; the rest shares one row.
const PENDING_ROWS_MAX: usize = 16_384;

/// A first edge that took longer is taken again. Meters are read up to so much after its clock, and nothing before it makes
/// up for that: 88 ms were 0.146 % of a minute, where the machine was busy. Later edges give to the next window what they take
/// from the one before.
const FIRST_WIDTH_MAX: Duration = Duration::from_millis(10);

/// What cgroups hold, told how many were seen to come and which to be removed: the same value again where nobody looked anew.
pub type ReadClaims = Box<dyn FnMut(u64, &dyn Fn(CgroupId) -> bool) -> Rc<Claims>>;

/// Times that it is taken again at most: a command to be measured waits for it, and where all are slow, so is the machine.
const FIRST_RETAKES: usize = 2;

const FIRST_READING: &str = "first good reading: its energy is known from here on";

/// Faults that were survived, since the sampler was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Edges at which the clock stood still or went back: the window has no length.
    pub empty_windows: u64,
    /// Totals of CPU time that fell and were held.
    pub fallen_usage: u64,
    /// Meters whose total fell: that window counts as a gap.
    pub fallen_meters: u64,
    /// Readings that failed.
    pub unread: u64,
}

/// Where a domain's next difference starts.
#[derive(Clone, Copy, Debug)]
struct Baseline {
    total: Microjoules,
    /// How long its package had been awake, where that is observed.
    awake: Option<Duration>,
    at_ns: u64,
    /// Number of the edge.
    edge: u64,
}

/// The latest edge.
#[derive(Debug)]
struct Latest {
    at_ns: u64,
    suspended_ns: u64,
    own_ns: u64,
    width_ns: u64,
    books: SchedSnapshot,
    claims: Rc<Claims>,
    counts: Counts,
}

/// Owns the sources and what the next window starts from.
pub struct Sampler {
    clock: Box<dyn FnMut() -> Reading>,
    accounting: Box<dyn Accounting>,
    meters: Meters,
    /// Looks at what cgroups hold, where that is asked for.
    census: Option<ReadClaims>,
    /// Reads events by workload, where that is asked for.
    counters: Option<Box<dyn FnMut() -> Result<Counts, SchedError>>>,
    /// Time in tasks per package since the start, added up from differences: the books forget what has ended.
    busy: Vec<CpuNanos>,
    edges: u64,
    latest: Option<Latest>,
    /// By domain; nothing where it could not be read yet, or never will be again.
    baselines: Vec<Option<Baseline>>,
    /// CPU time since edges that are older than the latest, for the domains that still start there.
    pending: BTreeMap<u64, Rc<Usage>>,
    faults: Faults,
    /// Energy since another program's last reading, until it is taken.
    recovered: Vec<DomainWindow>,
    /// Whose processes on devices are told from others of their cgroup.
    runs: Vec<RunId>,
}

impl fmt::Debug for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sampler")
            .field("accounting", &self.accounting)
            .field("meters", &self.meters)
            .field("edges", &self.edges)
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

impl Sampler {
    /// `clock` gives the present.
    pub fn new(
        clock: Box<dyn FnMut() -> Reading>,
        accounting: Box<dyn Accounting>,
        meters: Meters,
        topology: &Topology,
    ) -> Self {
        let baselines = vec![None; meters.domains().len()];
        Self {
            clock,
            accounting,
            meters,
            census: None,
            counters: None,
            busy: vec![CpuNanos::ZERO; topology.packages.max(1)],
            edges: 0,
            latest: None,
            baselines,
            pending: BTreeMap::new(),
            faults: Faults::default(),
            recovered: Vec::new(),
            runs: Vec::new(),
        }
    }

    /// Goes on from the last readings of another program of the same boot, before the first edge. `usage` is the CPU
    /// time since then. Gives the domains whose energy since then will be known.
    pub fn resume(&mut self, marks: &[(DomainKind, String, Mark)], usage: Usage) -> Vec<Rc<Domain>> {
        let mut resumed = Vec::new();
        let domains: Vec<Rc<Domain>> = self.meters.domains().to_vec();
        for (place, (domain, baseline)) in domains.iter().zip(&mut self.baselines).enumerate() {
            let same = |mark: &&(DomainKind, String, Mark)| mark.0 == domain.kind && mark.1 == domain.device;
            let Some((.., mark)) = marks.iter().find(same) else { continue };
            if self.meters.resume(place, *mark) {
                let start =
                    Baseline { total: Microjoules::ZERO, awake: None, at_ns: mark.at.monotonic_ns, edge: 0 };
                *baseline = Some(start);
                resumed.push(Rc::clone(domain));
            }
        }
        self.pending.insert(0, Rc::new(usage));
        resumed
    }

    /// Energy between the last readings of another program and the first edge, once.
    pub fn take_recovered(&mut self) -> Vec<DomainWindow> {
        std::mem::take(&mut self.recovered)
    }

    /// Where another program could go on, by domain.
    pub fn marks(&self) -> Vec<(Rc<Domain>, Option<Mark>)> {
        self.meters.domains().iter().cloned().zip(self.meters.marks()).collect()
    }

    /// What is metered or modelled.
    pub fn domains(&self) -> &[Rc<Domain>] {
        self.meters.domains()
    }

    /// Limits of power that are set, by domain.
    pub fn power_limits(&self) -> Vec<(Rc<Domain>, Option<PowerLimits>)> {
        self.meters.domains().iter().cloned().zip(self.meters.limits()).collect()
    }

    /// Times that each domain's meter failed.
    pub fn meter_faults(&self) -> Vec<(Rc<Domain>, u64)> {
        let faults = self.meters.faults().iter().map(|faults| faults.faults);
        self.meters.domains().iter().cloned().zip(faults).collect()
    }

    /// Puts what `census` sees at both edges into each window from the next edge on.
    #[must_use]
    pub fn with_census(mut self, census: Option<ReadClaims>) -> Self {
        self.census = census;
        self
    }

    /// Puts what `counters` count into each window from the next edge on.
    #[must_use]
    pub fn with_counters(mut self, counters: Option<Box<dyn FnMut() -> Result<Counts, SchedError>>>) -> Self {
        self.counters = counters;
        self
    }

    /// Path of a cgroup below the root of its hierarchy, also of one that was removed since.
    pub fn cgroup_path(&self, cgroup: CgroupId) -> Option<&str> {
        self.accounting.cgroup_path(cgroup)
    }

    /// The source of scheduler time, for what is not of a window: runs, draining.
    pub fn accounting(&mut self) -> &mut dyn Accounting {
        self.accounting.as_mut()
    }

    /// Tells the use of devices by the processes of a run apart from that by others of their cgroup.
    pub fn follow_run(&mut self, run: RunId) {
        self.runs.push(run);
    }

    /// Does so no longer.
    pub fn unfollow_run(&mut self, run: RunId) {
        self.runs.retain(|followed| *followed != run);
    }

    /// How scheduler time is taken.
    pub fn rung(&self) -> Rung {
        self.accounting.rung()
    }

    /// Faults so far.
    pub fn faults(&self) -> Faults {
        self.faults
    }

    /// Takes an edge, and returns the window since the one before; nothing at the first.
    ///
    /// # Errors
    /// Where scheduler time cannot be had. The edge then did not happen: the next window covers its time too.
    pub fn edge(&mut self) -> Result<Option<Window>, SchedError> {
        let is_first = self.latest.is_none();
        let mut window = self.take_edge()?;
        for _ in 0..FIRST_RETAKES {
            let width_ns = self.latest.as_ref().map_or(0, |latest| latest.width_ns);
            // What another program left off at belongs to the reading that was taken.
            let keeps = !is_first || !self.recovered.is_empty();
            if keeps || Duration::from_nanos(width_ns) <= FIRST_WIDTH_MAX {
                break;
            }
            self.latest = None;
            self.baselines.fill(None);
            self.pending.clear();
            window = self.take_edge()?;
        }
        Ok(window)
    }

    fn take_edge(&mut self) -> Result<Option<Window>, SchedError> {
        let now = (self.clock)();
        let at_ns = now.monotonic_ns;
        let mut books = self.accounting.snapshot()?;
        let counts = self.counters.as_mut().map(|counters| counters()).transpose()?.unwrap_or_default();
        let latest = self.latest.take();
        let (usage, fallen) = self.grow(&mut books, latest.as_ref().map(|latest| &latest.books));
        let readings = self.read_meters(now);
        let width_ns = (self.clock)().monotonic_ns.saturating_sub(at_ns);
        // No counter: it need not be of the same instant to a microsecond, and takes longer than all the rest.
        let claims = match &mut self.census {
            Some(census) => census(self.accounting.arrivals(), &|cgroup| self.accounting.is_removed(cgroup)),
            None => Rc::default(),
        };
        self.edges += 1;
        let (mut domains, unread) = self.join(at_ns, &usage, &books.awake, readings);
        if latest.is_none() {
            self.recovered = std::mem::take(&mut domains);
        }
        let window = latest.map(|latest| {
            if at_ns <= latest.at_ns {
                self.faults.empty_windows += 1;
            }
            let mut accounts = books.accounts.since(&latest.books.accounts);
            accounts.clamped = accounts.clamped.saturating_add(fallen);
            accounts.own_ns = now.own_ns.saturating_sub(latest.own_ns);
            Window {
                start_ns: latest.at_ns,
                duration: Duration::from_nanos(at_ns.saturating_sub(latest.at_ns)),
                edge_width: Duration::from_nanos(width_ns.max(latest.width_ns)),
                suspended: suspension(latest.suspended_ns, now.suspended_ns),
                usage,
                counts: Rc::new(counts.since(&latest.counts)),
                claims: if Rc::ptr_eq(&claims, &latest.claims) {
                    Rc::clone(&claims)
                } else {
                    Rc::new(claims.joined(&latest.claims))
                },
                accounts,
                domains,
                unread,
            }
        });
        self.latest = Some(Latest {
            at_ns,
            suspended_ns: now.suspended_ns,
            own_ns: now.own_ns,
            width_ns,
            books,
            claims,
            counts,
        });
        Ok(window)
    }

    /// Goes on with another way of accounting: the window that is open is closed by the old one, and the next begins
    /// with the new one.
    ///
    /// # Errors
    /// Where either cannot be read; then the old one stays.
    pub fn replace_accounting(
        &mut self,
        mut accounting: Box<dyn Accounting>,
    ) -> Result<Option<Window>, SchedError> {
        let window = self.edge()?;
        let books = accounting.snapshot()?;
        if let Some(latest) = &mut self.latest {
            latest.books = books;
        }
        self.accounting = accounting;
        Ok(window)
    }

    /// What was added to the books since the latest edge, and how many totals fell. The books come out with these
    /// held.
    fn grow(&mut self, books: &mut SchedSnapshot, before: Option<&SchedSnapshot>) -> (Rc<Usage>, u64) {
        let Some(before) = before else {
            return (Rc::new(Usage::new(self.busy.len())), 0);
        };
        let (grown, fallen) = books.usage.since(&before.usage);
        if fallen > 0 {
            self.faults.fallen_usage += fallen;
            books.usage = std::mem::take(&mut books.usage).held_at(&before.usage);
        }
        for (busy, more) in self.busy.iter_mut().zip(grown.by_package()) {
            *busy += more;
        }
        for since in self.pending.values_mut() {
            *since = Rc::new(since.plus(&grown, PENDING_ROWS_MAX));
        }
        (Rc::new(grown), fallen)
    }

    /// One result per domain of every meter.
    fn read_meters(&mut self, now: Reading) -> Vec<(Rc<Domain>, Result<meters::Reading, MeterError>)> {
        let edge = Edge { monotonic_ns: now.monotonic_ns, suspended_ns: now.suspended_ns, busy: &self.busy };
        let results = self.meters.read(&edge);
        self.meters.domains().iter().cloned().zip(results).collect()
    }

    /// Differences of the readings against each domain's own baseline, and what has none.
    fn join(
        &mut self,
        at_ns: u64,
        usage: &Rc<Usage>,
        awake: &[Duration],
        readings: Vec<(Rc<Domain>, Result<meters::Reading, MeterError>)>,
    ) -> (Vec<DomainWindow>, Vec<(Rc<Domain>, String)>) {
        let (mut domains, mut unread) = (Vec::new(), Vec::new());
        let mut baselines = std::mem::take(&mut self.baselines);
        for (place, (baseline, (domain, result))) in baselines.iter_mut().zip(readings).enumerate() {
            match result {
                Ok(reading) => {
                    let awake = awake.get(usize::from(domain.package.0)).copied();
                    let at = Baseline { total: reading.total, awake, at_ns, edge: self.edges };
                    // Taken at each good reading, so that use and energy are of the same span.
                    let used = (domain.kind == DomainKind::Gpu).then(|| self.device_usage(place));
                    match baseline.replace(at) {
                        Some(before) => {
                            let mut window = self.difference(&domain, before, at, reading.gap, usage);
                            window.usage = used.unwrap_or(window.usage);
                            domains.push(window);
                        }
                        None => unread.push((domain, FIRST_READING.to_owned())),
                    }
                }
                Err(error) => {
                    self.faults.unread += 1;
                    baseline.take_if(|_| error.kind == ErrorKind::Fatal);
                    unread.push((domain, error.message));
                }
            }
        }
        self.baselines = baselines;
        self.keep_pending(usage);
        (domains, unread)
    }

    fn device_usage(&mut self, domain: usize) -> Rc<Usage> {
        let used = self.meters.take_use(domain).unwrap_or_default();
        Rc::new(Usage::of_device(device::usage(used, self.accounting.as_mut(), &self.runs)))
    }

    fn difference(
        &mut self,
        domain: &Rc<Domain>,
        before: Baseline,
        now: Baseline,
        gap: Option<Gap>,
        usage: &Rc<Usage>,
    ) -> DomainWindow {
        let fell = now.total < before.total;
        self.faults.fallen_meters += u64::from(fell);
        let duration = Duration::from_nanos(now.at_ns.saturating_sub(before.at_ns));
        let awake = now.awake.zip(before.awake).map(|(now, before)| now.saturating_sub(before));
        DomainWindow {
            domain: Rc::clone(domain),
            metered: now.total.saturating_sub(before.total),
            duration,
            gap: gap.map(|gap| gap.of(duration)).or_else(|| fell.then_some(duration)),
            usage: Rc::clone(self.pending.get(&before.edge).unwrap_or(usage)),
            wake_ratio: awake
                .filter(|_| !duration.is_zero())
                .map(|awake| (awake.as_secs_f64() / duration.as_secs_f64()).min(1.0)),
        }
    }

    /// Keeps CPU time since each edge that a domain still starts at, and drops the rest.
    fn keep_pending(&mut self, usage: &Rc<Usage>) {
        let starts: BTreeSet<u64> = self.baselines.iter().flatten().map(|baseline| baseline.edge).collect();
        self.pending.retain(|edge, _| starts.contains(edge));
        for edge in starts.into_iter().filter(|edge| *edge < self.edges) {
            self.pending.entry(edge).or_insert_with(|| Rc::clone(usage));
        }
    }
}

mod device;
pub mod governor;

#[cfg(test)]
mod tests;
