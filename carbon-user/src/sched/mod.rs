//! Scheduler time: who ran, for how long, on which package.
//!
//! Five implementations of one interface, best first ([`Rung`]); the rest of the program does not know which one
//! it has, but for the quality that it carries.

mod adopt;
mod apart;
mod books;
mod btf;
mod census;
mod cgroup_totals;
mod cgroup_tree;
mod counters;
mod cpustat;
mod enrol;
mod hierarchy;
mod hook;
mod iterator;
mod layout;
mod members;
mod names;
mod object;
mod pace;
mod proc;
mod procstat;
mod programs;
mod raw;
mod records;
mod refusal;
mod runs;
mod slots;
mod tracer;
mod usage_files;
mod whereabouts;

pub use adopt::Adopted;
pub use books::Books;
pub use census::Census;
pub use counters::{Counters, NotCounted};
pub use cpustat::CpuStat;
pub use enrol::Enrolment;
pub use hierarchy::HierarchyChoice;
pub use hook::Hook;
pub use members::{MEMBERS_MAX, Member, Members};
pub use names::CgroupNames;
pub use proc::Proc;
pub use programs::{ProgramTime, Timing, time_programs};
pub use raw::Raw;
pub use runs::{ProcessTime, Processes};
pub use usage_files::UsageFiles;
pub use whereabouts::Whereabouts;

use crate::sysroot::SysRoot;
use crate::topology::Topology;
use crate::units::{CgroupId, Quality, RunId};
use crate::window::SchedSnapshot;
use std::fmt;
use std::io;

/// How scheduler time is taken, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rung {
    /// The scheduler's own books, read by BPF iterators: exact, nothing on the hot path.
    Books,
    /// A BPF program on every context switch: exact, some nanoseconds a switch.
    Hook,
    /// A BPF program on every context switch that reads no field of the kernel, for kernels without BTF: by the monotonic
    /// clock, with what interrupts and the hypervisor took.
    Raw,
    /// The cgroups' `cpu.stat` files: exact per cgroup, no split by package, ends of cgroups are not seen.
    CpuStat,
    /// `/proc`: processes that live shorter than a window are lost.
    Proc,
}

impl Rung {
    /// All rungs, best first.
    pub const ALL: [Self; 5] = [Self::Books, Self::Hook, Self::Raw, Self::CpuStat, Self::Proc];

    /// The word of `--accounting`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Books => "books",
            Self::Hook => "hook",
            Self::Raw => "rawtp",
            Self::CpuStat => "cpustat",
            Self::Proc => "proc",
        }
    }

    /// What it reads, in a few words.
    pub fn description(self) -> &'static str {
        match self {
            Self::Books => "the scheduler's own books, by BPF iterators; nothing on the context switch",
            Self::Hook => "a BPF program on every context switch",
            Self::Raw => {
                "a BPF program on every context switch that needs no BTF; steal and interrupts are in its times"
            }
            Self::CpuStat => "the cgroups' cpu.stat files; removed cgroups and packages are not told apart",
            Self::Proc => "the processes in /proc; those that live between two looks are lost",
        }
    }

    /// A cheaper one for where this costs too much: the books are the cheapest, and what reads files costs by the cgroup
    /// and the look.
    pub fn cheaper(self) -> Option<Self> {
        match self {
            Self::Hook | Self::Raw => Some(Self::CpuStat),
            Self::Books | Self::CpuStat | Self::Proc => None,
        }
    }

    /// What a context switch costs more with it, in nanoseconds: `cargo xtask bench switch` on a quiet two-core virtual
    /// machine has the hook's program at 55 to 70 ns, where an empty one has 50 to 55.
    pub fn switch_cost_ns(self) -> u64 {
        match self {
            Self::Hook => 70,
            Self::Raw => 130,
            Self::Books | Self::CpuStat | Self::Proc => 0,
        }
    }

    /// Best quality of what is derived from it.
    pub fn quality(self) -> Quality {
        match self {
            Self::Books | Self::Hook => Quality::Measured,
            Self::Raw | Self::CpuStat | Self::Proc => Quality::Sampled,
        }
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A source of scheduler time.
pub trait Accounting: fmt::Debug {
    /// Which one it is.
    fn rung(&self) -> Rung;

    /// The books as they stand now, cumulative since it was opened.
    fn snapshot(&mut self) -> Result<SchedSnapshot, SchedError>;

    /// Takes what has happened out of the kernel's bounded buffers, between two snapshots.
    fn drain(&mut self) -> Result<(), SchedError>;

    /// Path of a cgroup below the root of its hierarchy, also of one that was removed since.
    fn cgroup_path(&self, cgroup: CgroupId) -> Option<&str>;

    /// Whether a cgroup was seen to be removed, up to the last snapshot; `false` where ends are not seen.
    fn is_removed(&self, _cgroup: CgroupId) -> bool {
        false
    }

    /// How it tells runs apart.
    fn runs(&mut self) -> &mut dyn Runs;
}

/// How runs are told from the rest.
pub trait Runs {
    /// Opens a run; its first process enters it by what is given back.
    fn open(&mut self, run: RunId) -> Result<Enrolment, SchedError>;

    /// Tells the process id of the run's first process, once it has one.
    fn started(&mut self, _run: RunId, _pid: u32) {}

    /// Makes a process that runs already the first of a run, with what descends from it but for this process: what they used
    /// before is not the run's.
    fn attach(&mut self, _run: RunId, _pid: u32) -> Result<(), SchedError> {
        Err(SchedError::NoSuch { what: "way of this accounting to attach to a process" })
    }

    /// Tasks of a run that are alive, zombies not counted where they can be told.
    fn alive(&mut self, run: RunId) -> Result<u64, SchedError>;

    /// Whether the final of every ended task of a run has arrived, so that a snapshot would hold them all.
    fn settled(&mut self, _run: RunId) -> Result<bool, SchedError> {
        Ok(true)
    }

    /// The processes of a run, as of the last snapshot.
    fn processes(&self, run: RunId) -> Processes;

    /// The open run that a process belongs to.
    fn of_process(&self, _pid: u32) -> Result<Option<RunId>, SchedError> {
        Ok(None)
    }

    /// Makes a process that runs already part of an open run, with those of the same user that descend from it; not those
    /// that are in a run which it is not in itself.
    fn adopt(&mut self, _run: RunId, _pid: u32) -> Result<Adopted, SchedError> {
        Err(SchedError::NoSuch { what: "way of this accounting to follow processes that run already" })
    }

    /// Number and start of the processes of a run, as of the last snapshot: by these another program finds them again.
    fn members(&self, _run: RunId) -> Vec<(u32, u64)> {
        Vec::new()
    }

    /// Makes processes part of an open run, where they are those that began then, with what descends from them; gives how many
    /// are.
    fn adopt_again(&mut self, _run: RunId, _members: &[(u32, u64)]) -> Result<usize, SchedError> {
        Ok(0)
    }

    /// Tasks of a run that the last snapshot saw alive; `None` before there was one.
    fn seen_alive(&self, _run: RunId) -> Option<u64> {
        None
    }

    /// Ends a run: what its processes use from here on is their cgroup's.
    fn close(&mut self, _run: RunId) -> Result<(), SchedError> {
        Ok(())
    }
}

/// Limits that can be set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// The tree of cgroups to follow.
    pub hierarchy: HierarchyChoice,
    /// Cgroups that one pass of a snapshot may read, if not as many as there is room for.
    pub rows_a_pass: Option<u64>,
    /// Observe how long each package is awake, where the kernel allows it.
    pub wake: bool,
    /// No run will be opened: no room is kept for their processes.
    pub without_runs: bool,
    /// Processes of runs that there is room for at one time, if not as many as serve most machines.
    pub members: Option<u32>,
    /// Bytes of the event buffer, a power of two of pages, if not as many as serve most machines.
    pub event_bytes: Option<u32>,
    /// Read every CPU as those that are not to be disturbed are: for tests where there are none.
    pub disturb_no_cpu: bool,
    /// Events that a program counts by key, at most three.
    pub counters: usize,
    /// For tests that must see a wrong booking: every so many rows or switches go to a wrong key. 0 is never.
    pub misbook_every: u64,
    /// For tests that must see what comes of it: the hook does not see switches away from this process. 0 is none.
    pub unseen_from: u32,
}

/// Context switches of the machine since it booted; 0 where /proc/stat does not say.
pub fn context_switches(root: &SysRoot) -> u64 {
    let text = root.read_proc("stat").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("ctxt "));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

/// Which rung was tried, and why it is not used.
#[derive(Debug)]
pub struct Skipped {
    /// The rung.
    pub rung: Rung,
    /// What is in its way.
    pub error: SchedError,
}

/// The rung that was opened.
#[derive(Debug)]
pub struct Opened<T> {
    /// It.
    pub accounting: Box<dyn Accounting>,
    /// What was done with it first.
    pub outcome: T,
    /// Better ones that do not work, best first.
    pub skipped: Vec<Skipped>,
}

/// Opens one rung.
pub fn open(
    rung: Rung,
    root: &SysRoot,
    topology: &Topology,
    limits: Limits,
) -> Result<Box<dyn Accounting>, SchedError> {
    let opened: Result<Box<dyn Accounting>, SchedError> = match rung {
        Rung::Books => Books::open(root, topology, limits).map(|books| Box::new(books) as _),
        Rung::Hook => Hook::open(root, topology, limits).map(|hook| Box::new(hook) as _),
        Rung::Raw => Raw::open(root, topology, limits).map(|raw| Box::new(raw) as _),
        Rung::CpuStat => CpuStat::open(root, topology, limits).map(|files| Box::new(files) as _),
        Rung::Proc => Proc::open(root, topology, limits).map(|processes| Box::new(processes) as _),
    };
    opened.map_err(|error| error.with_layer(root))
}

/// Opens the best rung that this machine and this user allow for what `begin` does with it, such as opening a run,
/// and says why not a better one.
pub fn open_best<T>(
    root: &SysRoot,
    topology: &Topology,
    limits: Limits,
    begin: impl Fn(&mut dyn Accounting) -> Result<T, SchedError>,
) -> Result<Opened<T>, SchedError> {
    let mut skipped = Vec::new();
    for rung in Rung::ALL {
        let opened = open(rung, root, topology, limits).and_then(|mut accounting| {
            let outcome = begin(accounting.as_mut())?;
            Ok((accounting, outcome))
        });
        match opened {
            Ok((accounting, outcome)) => return Ok(Opened { accounting, outcome, skipped }),
            Err(error) if rung == Rung::Proc => return Err(error),
            Err(error) => skipped.push(Skipped { rung, error }),
        }
    }
    Err(SchedError::NoSuch { what: "accounting" })
}

/// Why scheduler time cannot be had. Each message says what failed and on what; [`SchedError::advice`] what to do.
#[derive(Debug, thiserror::Error)]
pub enum SchedError {
    /// Something that a snapshot needs cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The kernel's type information lacks something.
    #[error("the kernel's type information (BTF) lacks {what}")]
    Btf {
        /// The field, or what is wrong with the information itself.
        what: String,
    },
    /// The kernel refused a program or a map.
    #[error("cannot load {what} into the kernel: {detail}")]
    Load {
        /// Which one.
        what: &'static str,
        /// What the kernel or its verifier said.
        detail: String,
        /// It is a matter of privilege.
        denied: bool,
    },
    /// A map cannot be read or written.
    #[error("cannot use the map {map}: {detail}")]
    Map {
        /// Which one.
        map: &'static str,
        /// What the kernel said.
        detail: String,
    },
    /// A system call failed.
    #[error("{call} failed: {source}")]
    Call {
        /// Which one.
        call: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A kernel program ran and said no.
    #[error("the kernel program {program} returned {code}")]
    Refused {
        /// Which one.
        program: &'static str,
        /// What it returned.
        code: u32,
    },
    /// The machine has more CPUs than the programs have room for.
    #[error("{cpus} possible CPUs, and the kernel programs have room for {most}")]
    TooManyCpus {
        /// How many there are.
        cpus: usize,
        /// How many there may be.
        most: usize,
    },
    /// Something that this kernel or this build does not have.
    #[error("there is no {what}")]
    NoSuch {
        /// What.
        what: &'static str,
    },
}

impl SchedError {
    fn load(what: &'static str, error: impl std::error::Error + 'static) -> Self {
        let mut causes = vec![error.to_string()];
        let mut denied = false;
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(error) = cause {
            if let Some(io) = error.downcast_ref::<io::Error>() {
                denied |= io.kind() == io::ErrorKind::PermissionDenied;
            }
            let text = error.to_string();
            if !causes.iter().any(|known| known.contains(&text)) {
                causes.push(text);
            }
            cause = error.source();
        }
        Self::Load { what, detail: causes.join(": "), denied }
    }

    /// Names who refused, where somebody did.
    fn with_layer(self, root: &SysRoot) -> Self {
        match self {
            Self::Load { what, detail, denied: true } => {
                let detail = detail.trim_end().trim_end_matches("Verifier output:").trim_end();
                let detail = format!("{}: {detail}", refusal::layer(root));
                Self::Load { what, detail: detail.trim_end_matches('.').to_owned(), denied: true }
            }
            other => other,
        }
    }

    fn map(map: &'static str, error: impl std::error::Error) -> Self {
        Self::Map { map, detail: error.to_string() }
    }

    /// What the user can do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => "run as root",
            Self::Read { .. } => "see \"carbon doctor\" for what this machine offers",
            Self::Btf { .. } => "use a kernel built with CONFIG_DEBUG_INFO_BTF, or a lower --accounting",
            Self::Load { denied: true, .. } => "run as root, or give CAP_BPF and CAP_PERFMON",
            Self::Load { .. } | Self::Refused { .. } | Self::Map { .. } | Self::Call { .. } => {
                "see \"carbon doctor\", or choose a lower --accounting"
            }
            Self::TooManyCpus { .. } => "use --accounting cpustat",
            Self::NoSuch { .. } => "choose another --accounting",
        }
    }
}
