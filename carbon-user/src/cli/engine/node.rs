//! This machine from now on: what `carbon agent` measures with.

use super::governing::Governing;
use super::{Engine, Wanted, cannot_account, intensity, is_of_place};
use crate::agent::books::{Books, who};
use crate::agent::minute::Names;
use crate::agent::resume::{EdgeMarks, Sums};
use crate::agent::runs::RunBooks;
use crate::agent::{Governed, OwnCost, Published, Who};
use crate::attribution::attribute;
use crate::cli::error::CliError;
use crate::cli::options::{AgentOptions, Measuring};
use crate::clock;
use crate::ledger::Factor;
use crate::ledger::rows::Flush;
use crate::resolver::Whose;
use crate::sampler::Sampler;
use crate::sampler::governor::Action;
use crate::sched::{self, CpuStat, Limits, SchedError, UsageFiles, Whereabouts};
use crate::topology::Topology;
use crate::units::{CgroupId, CpuNanos, Microjoules, Quality};
use crate::window::{Accounts, Class, Domain, DomainWindow, Usage, Window, WorkloadKey};
use std::rc::Rc;
use std::time::Duration;

/// Processes of all runs of clients at one time: 1.5 MB.
const MEMBERS_MAX: u32 = 16_384;

/// Readings of another program of this boot, and the CPU time since then.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Past {
    pub(in crate::cli) edge: EdgeMarks,
    pub(in crate::cli) usage: Usage,
}

impl Past {
    /// Takes up where `edge` ended.
    pub(in crate::cli) fn new(edge: EdgeMarks, measuring: &Measuring) -> Result<Self, SchedError> {
        let root = &measuring.root;
        let topology = Topology::read(root)
            .map_err(|source| SchedError::Read { path: root.sys.display().to_string(), source })?;
        let limits = Limits { hierarchy: measuring.hierarchy, ..Limits::default() };
        let mut files = CpuStat::since(root, &topology, limits, &edge.cgroups)?;
        let usage = sched::Accounting::snapshot(&mut files)?.usage;
        Ok(Self { edge, usage })
    }
}

/// What is said of losses is said no more often.
const LOSS_PERIOD_NS: u64 = 60_000_000_000;

/// Losses that were not told yet.
#[derive(Debug, Default)]
struct Losses {
    events: u64,
    overflow: CpuNanos,
    told_ns: Option<u64>,
}

impl Losses {
    fn add(&mut self, accounts: &Accounts, now_ns: u64) {
        self.events = self.events.saturating_add(accounts.lost_events);
        self.overflow += CpuNanos(accounts.overflow_ns);
        let nothing = self.events == 0 && self.overflow == CpuNanos::ZERO;
        if nothing || self.told_ns.is_some_and(|told_ns| now_ns.saturating_sub(told_ns) < LOSS_PERIOD_NS) {
            return;
        }
        log::warn!(
            "{} kernel events did not fit in their buffer: {:.3} s of CPU time are no workload's",
            self.events,
            self.overflow.seconds()
        );
        *self = Self { told_ns: Some(now_ns), ..Self::default() };
    }
}

/// The machine, and its books.
#[derive(Debug)]
pub(in crate::cli) struct NodeMeter {
    pub(super) engine: Engine,
    pub(super) books: Books,
    /// Runs of clients.
    pub(in crate::cli) runs: RunBooks,
    /// How many groups of processes were made for them.
    pub(super) groups: u64,
    whose: Whose,
    /// For what a restart needs to know; nothing where there are no such files.
    files: Option<UsageFiles>,
    /// This process's own cgroup, in the tree that is followed.
    own_cgroup: Option<CgroupId>,
    /// What that is called in the books, and its dynamic energy and CPU time before the start.
    own: Option<(String, (Microjoules, CpuNanos))>,
    /// Context switches when it was last looked, and what they cost since the start.
    switches: (u64, u64),
    losses: Losses,
    started_us: i64,
    governing: Governing,
    measuring: Measuring,
}

impl NodeMeter {
    /// Opens everything and takes the first edge; with `past` the energy since then is in the books.
    pub(in crate::cli) fn open(
        options: &AgentOptions,
        past: Option<&Past>,
        sums: Option<Sums>,
    ) -> Result<Self, CliError> {
        let measuring = &options.measuring;
        let members = Some(MEMBERS_MAX);
        let wanted = Wanted { past, runs: options.socket.is_some(), members, ..Wanted::default() };
        let (mut engine, ()) = Engine::open(measuring, wanted, |_| Ok(()))?;
        engine.node.clone_from(&options.node);
        let root = &measuring.root;
        let topology = Topology::read(root).map_err(CliError::cannot_measure)?;
        engine.keep(&topology, measuring)?;
        let factor = Factor::new(engine.intensity.clone(), engine.pue);
        let mut books = Books::new(&engine.node, factor, options.series_max);
        if let Some(Sums { domains, workloads }) = sums {
            books.resume(domains, workloads, clock::monotonic_ns());
        }
        let own_cgroup = Whereabouts::in_tree(root, measuring.hierarchy)
            .ok()
            .and_then(|whereabouts| whereabouts.own(root));
        let engine_limits = engine.limits;
        books.also().factor = Some(Factor::new(engine.intensity.clone(), engine.pue));
        let mut node = Self {
            engine,
            books,
            runs: RunBooks::default(),
            groups: 0,
            whose: Whose::new(root),
            files: UsageFiles::find(root, measuring.hierarchy).ok(),
            governing: Governing::new(options.max_overhead_ratio, measuring, topology, engine_limits),
            measuring: measuring.clone(),
            own_cgroup,
            own: None,
            switches: (sched::context_switches(root), 0),
            losses: Losses::default(),
            started_us: clock::wall().as_microsecond(),
        };
        node.find_own();
        if let Some(past) = past {
            node.recover(past);
        }
        Ok(node)
    }

    /// Where clients are found in the tree that is followed.
    pub(in crate::cli) fn whereabouts(&self) -> Option<Whereabouts> {
        Whereabouts::in_tree(&self.measuring.root, self.measuring.hierarchy).ok()
    }

    /// What the own cgroup is called, once its path is known.
    fn find_own(&mut self) {
        if self.own.is_some() {
            return;
        }
        let Some(cgroup) = self.own_cgroup else { return };
        let Some(path) = self.engine.sampler.cgroup_path(cgroup) else { return };
        let identity = who(WorkloadKey { cgroup, class: Class::Tasks, run: None }, Some(path), None).identity;
        let before = self.books.of(&identity).unwrap_or_default();
        self.own = Some((identity, before));
    }

    /// What this machine is called.
    pub(in crate::cli) fn name(&self) -> &str {
        &self.engine.node
    }

    /// By what it measures, for people.
    pub(in crate::cli) fn means(&self) -> String {
        let sampler = &self.engine.sampler;
        let meter = |it: &Rc<Domain>| format!("{} by {} ({})", it.device, it.source, it.quality.as_str());
        let meters: Vec<String> = sampler.domains().iter().map(meter).collect();
        format!("CPU time by {}, {}", sampler.rung().as_str(), meters.join(", "))
    }

    /// What was said when it was opened.
    pub(in crate::cli) fn notes(&self) -> &[String] {
        &self.engine.notes
    }

    /// Books the energy since the last readings of another program, by CPU time of the same span and by what was learned;
    /// nothing is learned from it.
    fn recover(&mut self, past: &Past) {
        let domains = self.engine.sampler.take_recovered();
        let marked = past.edge.counters.len();
        let lost =
            domains.iter().filter(|window| window.gap.is_some()).map(|window| window.domain.source.clone());
        let mut lost: Vec<String> =
            lost.map(|source| format!("{source} was reset, may have wrapped more than once, or was not counting while the machine was suspended")).collect();
        if domains.len() < marked || marked == 0 {
            lost.push("some meters do not count while nobody reads them".to_owned());
        }
        let Some(duration) = domains.iter().map(|window: &DomainWindow| window.duration).max() else {
            self.books.also().unrecovered = Some(lost.join("; "));
            return;
        };
        let window = Window {
            start_ns: past.edge.at_ns,
            duration,
            edge_width: Duration::ZERO,
            suspended: Duration::ZERO,
            usage: Rc::new(past.usage.clone()),
            counts: Rc::default(),
            claims: Rc::default(),
            accounts: Accounts::default(),
            domains,
            unread: Vec::new(),
        };
        let mut attributed = attribute(&window, &mut self.engine.state.clone(), self.engine.policy);
        for share in &mut attributed.shares {
            share.quality = share.quality.min(Quality::Sampled);
        }
        let (sampler, whose) = (&self.engine.sampler, &mut self.whose);
        self.books.add(&attributed, clock::monotonic_ns(), |key| named(key, sampler, whose));
        let recovered: Microjoules = attributed.domains.iter().map(|energy| energy.metered).sum();
        let also = self.books.also();
        also.recovered += recovered;
        also.unrecovered = (!lost.is_empty()).then(|| lost.join("; "));
        log::info!("{recovered} of the {duration:.1?} since the last minute that was written are recovered");
    }

    /// Closes a window; its energy is in the books. Gives how long the next one is to be. `serving_ns` is CPU time of this
    /// process so far that is not of measuring.
    pub(in crate::cli) fn tick(&mut self, serving_ns: u64) -> Result<Duration, CliError> {
        let window = match self.engine.sampler.edge() {
            Ok(window) => window,
            Err(error) => {
                self.books.also().failed_windows += 1;
                return Err(cannot_account(error));
            }
        };
        self.engine.end = clock::wall();
        let Some(window) = window else { return Ok(self.governing.window()) };
        self.book(&window);
        self.govern(&window, serving_ns);
        let Engine { sampler, keeper, state, .. } = &mut self.engine;
        if let Some(keeper) = keeper {
            keeper.tick(state, |cgroup| sampler.cgroup_path(cgroup));
        }
        self.describe();
        Ok(self.governing.window())
    }

    fn book(&mut self, window: &Window) {
        let attributed = attribute(window, &mut self.engine.state, self.engine.policy);
        self.runs.add(&attributed);
        self.losses.add(&window.accounts, clock::monotonic_ns());
        let (sampler, whose) = (&self.engine.sampler, &mut self.whose);
        // Runs are no workloads of their own there: what a cgroup's processes used is the cgroup's, whoever follows them.
        self.books.add(&attributed, clock::monotonic_ns(), |key| {
            named(WorkloadKey { run: None, ..key }, sampler, whose)
        });
    }

    /// Acts where measuring costs too much.
    fn govern(&mut self, window: &Window, serving_ns: u64) {
        self.governing.serving(serving_ns);
        self.governing.holds_runs = self.runs.count(None) > 0;
        let sampler = &mut self.engine.sampler;
        let governed = self.governing.govern(&window.accounts, window.duration, &self.measuring, sampler);
        if let Some(closed) = governed.as_ref().and_then(|governed| governed.window.as_ref()) {
            self.book(closed);
        }
        let (limit_ratio, cost_ratio) = self.governing.ratios();
        let target_ns = u64::try_from(self.governing.window().as_nanos()).unwrap_or(u64::MAX);
        let now = &mut self.books.also().governed;
        *now = Governed { target_ns, cost_ratio, limit_ratio, ..*now };
        match governed.map(|governed| governed.action) {
            Some(Action::Widen(_)) => now.widened += 1,
            Some(Action::Narrow(_)) => now.narrowed += 1,
            Some(Action::Fall) => now.fell += 1,
            None => {}
        }
    }

    /// What is published beside the sums.
    fn describe(&mut self) {
        let rung = self.engine.sampler.rung();
        // On a machine of many CPUs that file is long.
        if rung.switch_cost_ns() > 0 {
            let now = sched::context_switches(&self.measuring.root);
            let (before, cost_ns) = self.switches;
            let more_ns = now.saturating_sub(before).saturating_mul(rung.switch_cost_ns());
            self.switches = (now, cost_ns.saturating_add(more_ns));
        }
        let cpu = CpuNanos(clock::process_cpu_ns());
        self.find_own();
        let of_cgroup =
            self.own.as_ref().and_then(|(identity, before)| Some((self.books.of(identity)?, *before)));
        let own = OwnCost {
            cpu,
            in_kernel: CpuNanos(self.switches.1),
            started_us: self.started_us,
            resident_bytes: resident_bytes(),
            energy: of_cgroup.map(|((energy, all), (energy_before, all_before))| {
                let energy = energy.saturating_sub(energy_before);
                let all = all.saturating_sub(all_before);
                let ratio = if all > CpuNanos::ZERO { (cpu.seconds() / all.seconds()).min(1.0) } else { 0.0 };
                Microjoules::from_joules(energy.joules() * ratio)
            }),
        };
        let faults = self.engine.sampler.meter_faults();
        let limits = self.engine.sampler.power_limits();
        let also = self.books.also();
        // A share of what grows may fall a little: what was told stays.
        let told = also.own.energy;
        also.own = OwnCost { energy: own.energy.max(told), ..own };
        also.accounting = rung.as_str();
        also.static_policy = self.engine.policy.as_str();
        also.attribution = self.engine.state.method().as_str();
        also.window_end_us = self.engine.end.as_microsecond();
        for domain in &mut also.domains {
            let is_it = |known: &Domain| known.source == domain.source && known.device == domain.device;
            let of = faults.iter().find(|(known, _)| is_it(known));
            domain.limits = limits.iter().find(|(known, _)| is_it(known)).and_then(|(_, set)| set.clone());
            domain.faults = of.map_or(domain.faults, |(_, faults)| *faults);
        }
    }

    /// What else is published.
    pub(in crate::cli) fn also(&mut self) -> &mut Published {
        self.books.also()
    }

    /// All as it stands.
    pub(in crate::cli) fn published(&self) -> Published {
        self.books.published()
    }

    /// The energy since the last one, and the readings that it ends with. `names` gives what is known of a workload.
    pub(in crate::cli) fn take_minute(
        &mut self,
        name: String,
        start_s: i64,
        names: impl Fn(&Who) -> Option<Names>,
    ) -> (Option<Flush>, EdgeMarks) {
        let counters = self.engine.sampler.marks().into_iter();
        let counters: Vec<_> =
            counters.filter_map(|(domain, mark)| Some((domain.kind, domain.device.clone(), mark?))).collect();
        let at_ns =
            counters.iter().map(|(.., mark)| mark.at.monotonic_ns).max().unwrap_or_else(clock::monotonic_ns);
        let edge = EdgeMarks {
            flush: name.clone(),
            at_ns,
            wall_us: self.engine.end.as_microsecond(),
            counters,
            cgroups: self.files.as_ref().and_then(|files| files.totals().ok()).unwrap_or_default(),
        };
        (self.books.take_minute(name, start_s, names), edge)
    }

    /// Takes up what may change while it measures: by which factor energy becomes grams. The minute must have been taken
    /// before.
    pub(in crate::cli) fn rate(&mut self, measuring: &Measuring) -> Result<(), CliError> {
        let mut notes = Vec::new();
        self.engine.intensity = intensity(measuring, &mut notes)?;
        self.engine.notes.retain(|note| !is_of_place(note));
        self.engine.notes.extend(notes);
        self.engine.pue = measuring.pue;
        if measuring.interval != self.measuring.interval {
            self.governing.restart(measuring.interval);
            self.measuring.interval = measuring.interval;
        }
        let factor = Factor::new(self.engine.intensity.clone(), self.engine.pue);
        self.books.also().factor = Some(factor.clone());
        self.books.rate(factor);
        Ok(())
    }

    /// Keeps what was learned. Nothing is measured any more.
    pub(in crate::cli) fn close(&mut self) -> Vec<String> {
        self.engine.close()
    }
}

/// Who a key stands for, once its cgroup has run in a window: a series has the same labels from its first window on.
fn named(key: WorkloadKey, sampler: &Sampler, whose: &mut Whose) -> Who {
    let path = sampler.cgroup_path(key.cgroup);
    let of_tasks = path.filter(|_| key.class == Class::Tasks);
    who(key, path, of_tasks.and_then(|path| whose.look(key.cgroup, path)).as_deref())
}

/// `resident` of `proc_pid_statm(5)`, in pages.
fn resident_bytes() -> Option<u64> {
    let text = crate::sysroot::SysRoot::default().read_proc("self/statm").ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    pages.checked_mul(u64::try_from(rustix::param::page_size()).ok()?)
}
