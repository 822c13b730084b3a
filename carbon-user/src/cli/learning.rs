//! What attribution starts from: the machine's packages, what tables say of their processors, and what was learned before;
//! and where what it learns is kept.

use super::background::Background;
use super::error::CliError;
use super::options::Measuring;
use crate::attribution::{Kept, Method, PackagePrior, State};
use crate::checkpoint::{self, Checkpoint, CheckpointError, Machine};
use crate::clock;
use crate::meters::cpu_power::CpuPower;
use crate::sysroot::SysRoot;
use crate::topology::Topology;
use crate::units::CgroupId;
use std::path::Path;
use std::time::Duration;

/// How often what is learned is kept: a kill in between loses so much.
const KEPT_EVERY: Duration = Duration::from_mins(1);

/// What attribution starts from.
#[derive(Clone, Debug)]
pub struct Beginning {
    /// Of each package, in the order of their ids.
    pub packages: Vec<PackagePrior>,
    /// What was learned before.
    pub kept: Vec<Kept>,
    /// What is to be said of that.
    pub note: Option<String>,
}

impl Beginning {
    /// Attribution's state as `method` asks for it.
    pub fn state(&self, method: Method) -> State {
        let mut state = State::new(method, self.packages.clone());
        state.resume(self.kept.clone());
        state
    }
}

/// For a machine that `learns` from a meter. A file that cannot be used is no failure: it is said, once.
pub fn beginning(measuring: &Measuring, topology: &Topology, learns: bool) -> Beginning {
    let per_cpu = Some(CpuPower::read(&measuring.root).per_busy_thread());
    let packages = topology.online.iter().map(|cpus| PackagePrior { cpus: *cpus, per_cpu }).collect();
    let file = measuring.state.as_deref().filter(|_| learns);
    let loaded = file.map_or(Ok(None), |path| load(path, &measuring.root, topology, false));
    let (kept, note) = match loaded {
        Ok(checkpoint) => (checkpoint.map(|checkpoint| checkpoint.kept).unwrap_or_default(), None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    Beginning { packages, kept, note }
}

/// What a file says that was learned of this machine.
pub fn load(
    path: &Path,
    root: &SysRoot,
    topology: &Topology,
    look_only: bool,
) -> Result<Option<Checkpoint>, CheckpointError> {
    checkpoint::load(path, &Machine::read(root, topology), look_only)
}

/// Keeps what is learned in a file, now and then and at the end.
#[derive(Debug)]
pub struct Keeper {
    background: Background<Checkpoint>,
    kept_at_ns: u64,
}

impl Keeper {
    /// For a machine that learns; nothing where no file is wanted.
    pub fn open(measuring: &Measuring, topology: &Topology, learns: bool) -> Result<Option<Self>, CliError> {
        let Some(path) = measuring.state.clone().filter(|_| learns) else { return Ok(None) };
        let machine = Machine::read(&measuring.root, topology);
        let work = move |checkpoint: Checkpoint| save(&path, &machine, &checkpoint);
        // One may wait: a later one says all that it does.
        let background = Background::start("carbon-state", 1, work)
            .map_err(|source| CliError::Start { action: "start a thread", source })?;
        Ok(Some(Self { background, kept_at_ns: clock::monotonic_ns() }))
    }

    /// Keeps the state where it is time to.
    pub fn tick<'p>(&mut self, state: &State, path_of: impl Fn(CgroupId) -> Option<&'p str>) {
        let now_ns = clock::monotonic_ns();
        let since = Duration::from_nanos(now_ns.saturating_sub(self.kept_at_ns));
        if since >= KEPT_EVERY && self.background.offer(checkpoint(state, path_of)) {
            self.kept_at_ns = now_ns;
        }
    }

    /// Keeps the state for the last time, and waits for that.
    pub fn finish<'p>(&mut self, state: &State, path_of: impl Fn(CgroupId) -> Option<&'p str>) {
        self.background.finish(Some(checkpoint(state, path_of)));
    }

    /// Why it could not be kept.
    pub fn failure(&self) -> Option<&str> {
        self.background.failure()
    }
}

fn save(path: &Path, machine: &Machine, checkpoint: &Checkpoint) -> Result<(), String> {
    // A file of nothing says nothing, and would hide that there was none.
    if checkpoint.kept.is_empty() {
        return Ok(());
    }
    checkpoint::save(path, machine, checkpoint).map_err(|error| error.to_string())
}

fn checkpoint<'p>(state: &State, path_of: impl Fn(CgroupId) -> Option<&'p str>) -> Checkpoint {
    let saved_at = clock::wall().to_string();
    let mut checkpoint = Checkpoint { kept: state.kept(), saved_at, ..Checkpoint::default() };
    let known = checkpoint.workloads().filter_map(|key| Some((key.cgroup, path_of(key.cgroup)?.to_owned())));
    checkpoint.paths = known.collect();
    checkpoint
}
