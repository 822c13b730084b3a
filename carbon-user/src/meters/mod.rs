//! Energy meters: who can say how many joules a domain has used.
//!
//! A [`Meter`] is opened once, lists its domains, and gives for each a cumulative number of microjoules. What a
//! counter does on its way (wrap, reset, a failed read) ends here. A broken domain never takes the others with
//! it: each has its own result.

pub mod counter;
pub mod cpu_model;
pub mod cpu_power;
mod crosscheck;
mod device;
mod faults;
mod file;
mod hwmon;
mod integral;
mod lane;
mod lanes;
mod nvml;
mod perf;
mod powercap;
pub mod registry;
mod sumcheck;

#[cfg(any(test, fuzzing))]
pub(crate) use powercap::fuzz::files as fuzz_powercap;

pub use counter::Mark;
pub use device::{DeviceUse, Holder, Instance};
pub use faults::DomainFaults;
pub use hwmon::{NamedSensor, NotNamed};
pub use lane::{Probe, Raw, Raws};
pub(crate) use lane::{ease, hurry};
pub use registry::{MeterChoice, Meters, NoMeter};

use crate::clock::Moment;
use crate::units::{CpuNanos, Microjoules, Quality, Watts};
use crate::window::Domain;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// The instant of a reading, and what a model needs to know of it. Meters that read hardware ignore the CPU time.
#[derive(Clone, Copy, Debug)]
pub struct Edge<'a> {
    /// Monotonic time in nanoseconds.
    pub monotonic_ns: u64,
    /// How long the machine was suspended since it booted, in nanoseconds.
    pub suspended_ns: u64,
    /// Cumulative time with a task on the CPU, per package.
    pub busy: &'a [CpuNanos],
}

impl Edge<'_> {
    fn moment(&self) -> Moment {
        Moment { monotonic_ns: self.monotonic_ns, suspended_ns: self.suspended_ns }
    }
}

/// What the caller does about a failed reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The device, or the right to read it, has gone and may come back (hot-unplugged, driver unloaded): it is tried
    /// again, ever more seldom.
    Gone,
    /// Try again at the next edge; the next good reading carries the energy of this window too.
    Retry,
    /// This domain stays off until the meters are opened anew.
    Fatal,
}

/// Why a domain gave no reading.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct MeterError {
    /// What to do about it.
    pub kind: ErrorKind,
    /// What failed, on what, and what to do.
    pub message: String,
}

impl MeterError {
    /// For a meter that gave fewer results than it has domains.
    fn missing() -> Self {
        Self { kind: ErrorKind::Retry, message: "the meter gave no result for it".to_owned() }
    }
}

/// A good reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Energy since the first good reading.
    pub total: Microjoules,
    /// Energy since the last good reading is missing from `total`, nobody knows how much; why.
    pub gap: Option<Gap>,
}

/// Why energy is missing from a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Gap {
    /// It fell, and not because it wrapped.
    #[error("it was reset")]
    Reset {
        /// At the end of the span, the time of which the energy is known nevertheless.
        known: Duration,
    },
    /// A suspension may have stopped it, reset it or let it wrap.
    #[error("the machine was suspended meanwhile")]
    Suspended,
    /// More than the device can draw in the time.
    #[error("it rose by {:.3} J, more than the {:.3} J that the device can draw in the time", .shown.joules(), .limit.joules())]
    Impossible {
        /// What it seems to have risen by.
        shown: Microjoules,
        /// Power limit times time.
        limit: Microjoules,
    },
    /// It was left alone for long.
    #[error("it may have wrapped more than once since it was last read")]
    Unseen,
    /// Power is sampled, and samples did not come.
    #[error("samples of its power are missing")]
    Unsampled,
}

impl Gap {
    /// How much of a span lacks energy, at most.
    pub fn of(self, span: Duration) -> Duration {
        match self {
            Self::Reset { known } => span.saturating_sub(known),
            _ => span,
        }
    }
}

/// A limit of power that is set for a domain, and may be set anew at any time.
#[derive(Clone, Debug, PartialEq)]
pub struct PowerLimit {
    /// Which of several, in the driver's word, such as `long_term`.
    pub constraint: String,
    /// What the mean over the limit's own time window may be.
    pub watts: Watts,
}

/// Those of one domain.
pub type PowerLimits = Arc<[PowerLimit]>;

/// How often it is looked which limits are set.
const LIMITS_PERIOD: Duration = Duration::from_mins(1);

/// A source of energy readings.
pub trait Meter: fmt::Debug {
    /// Short name, such as `powercap`.
    fn name(&self) -> &'static str;

    /// What it measures. Fixed from opening on.
    fn domains(&self) -> &[Rc<Domain>];

    /// Told of an edge before any meter is read: what reads by a thread of its own has it begin. `until_ns` is how long
    /// [`read`](Self::read) may wait for it, by the monotonic clock.
    fn ask(&mut self, _edge: &Edge<'_>, _until_ns: u64) {}

    /// One result per domain, in the order of [`domains`](Self::domains), taken as close together as can be.
    fn read(&mut self, edge: &Edge<'_>) -> Vec<Result<Reading, MeterError>>;

    /// Where another program could go on, by domain: nothing where the counter ends with this one.
    fn marks(&self) -> Vec<Option<Mark>> {
        vec![None; self.domains().len()]
    }

    /// Has a domain go on from where another program stopped, before it is first read. Whether it can.
    fn resume(&mut self, _domain: usize, _mark: Mark) -> bool {
        false
    }

    /// Limits of power by domain as of the last reading: nothing where none is known.
    fn limits(&self) -> Vec<Option<PowerLimits>> {
        vec![None; self.domains().len()]
    }

    /// Who used the device of a domain, by its place in [`domains`](Self::domains), since this was last taken: for
    /// devices whose energy is not split by CPU time.
    fn take_use(&mut self, _domain: usize) -> Option<DeviceUse> {
        None
    }
}

/// What opening found of a meter or of one of its domains, for `carbon doctor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeterFinding {
    /// The meter, such as `powercap`, or one domain of it, such as `powercap intel-rapl:0:0 (core)`.
    pub name: String,
    /// Whether it is used.
    pub chosen: bool,
    /// What its numbers carry.
    pub quality: Quality,
    /// Why, or why not.
    pub reason: String,
    /// What to do about it; nothing where nothing can or need be done.
    pub advice: Option<String>,
}

#[cfg(test)]
mod conformance;

#[cfg(test)]
mod tests {
    use super::{Edge, Meter, MeterError, Reading};
    use crate::sysroot::SysRoot;
    use crate::units::{PackageId, Quality};
    use crate::window::{Domain, DomainKind};
    use std::collections::VecDeque;
    use std::path::Path;
    use std::rc::Rc;

    /// Edges that begin here are ahead of every clock: a lane's reading is not later.
    pub(crate) const AHEAD_NS: u64 = 1 << 60;

    /// A meter that does what a test says.
    #[derive(Debug)]
    pub(crate) struct Scripted {
        name: &'static str,
        domains: Vec<Rc<Domain>>,
        results: VecDeque<Vec<Result<Reading, MeterError>>>,
    }

    impl Scripted {
        pub(crate) fn named(
            name: &'static str,
            devices: &[&str],
            results: Vec<Vec<Result<Reading, MeterError>>>,
        ) -> Self {
            let domain = |device: &&str| {
                Rc::new(Domain {
                    kind: DomainKind::Package,
                    device: (*device).to_owned(),
                    source: name.to_owned(),
                    quality: Quality::Measured,
                    bounds: None,
                    package: PackageId(0),
                    idle_watts: None,
                })
            };
            Self { name, domains: devices.iter().map(domain).collect(), results: results.into() }
        }
    }

    impl Meter for Scripted {
        fn name(&self) -> &'static str {
            self.name
        }
        fn domains(&self) -> &[Rc<Domain>] {
            &self.domains
        }
        fn read(&mut self, _edge: &Edge<'_>) -> Vec<Result<Reading, MeterError>> {
            self.results.pop_front().unwrap()
        }
    }

    /// A machine of `tests/fixtures/sys`.
    pub(crate) fn fixture(machine: &str) -> SysRoot {
        let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/sys").join(machine);
        assert!(tree.is_dir(), "no machine {machine}");
        SysRoot { sys: tree.join("sys"), proc: tree.join("proc") }
    }

    /// A copy of such a machine that a test may change.
    pub(crate) fn fixture_copy(machine: &str) -> (tempfile::TempDir, SysRoot) {
        fn copy(from: &Path, to: &Path) {
            std::fs::create_dir_all(to).unwrap();
            for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
                let (from, to) = (entry.path(), to.join(entry.file_name()));
                if from.is_dir() { copy(&from, &to) } else { assert!(std::fs::copy(from, to).is_ok()) }
            }
        }
        let directory = tempfile::tempdir().unwrap();
        let from = fixture(machine);
        let root = SysRoot { sys: directory.path().join("sys"), proc: directory.path().join("proc") };
        copy(&from.sys, &root.sys);
        copy(&from.proc, &root.proc);
        (directory, root)
    }
}
