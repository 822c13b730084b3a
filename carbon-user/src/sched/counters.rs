//! Events of the processor or of the kernel by cgroup: a perf event on each CPU for each kind, read by a kernel program of
//! its own on every context switch. Loaded only where it is asked for; it costs some 100 ns a switch and event more.
//!
//! Works beside every way of accounting, on kernels that describe their types.

use super::hierarchy::{Hierarchy, HierarchyChoice};
use super::object::Object;
use super::{Limits, SchedError};
use crate::sysroot::SysRoot;
use crate::topology::Topology;
use crate::units::{CgroupId, PackageId};
use crate::window::WorkloadKey;
use crate::window::counts::{COUNTERS_MAX, CounterKind, Counts};
use carbon_ebpf::{EVENT_COUNTERS, KEY_IDLE, KEY_KERNEL_THREAD};
use perf_event::events::{Hardware, Software};
use perf_event::{Builder, Counter};
use std::io;
use std::os::fd::AsRawFd;

const PROGRAM: &str = "carbon_counters";
/// Maps of the program, one a kind.
const MAPS: [&str; EVENT_COUNTERS] = ["COUNTER_0", "COUNTER_1", "COUNTER_2"];
const _: () = assert!(EVENT_COUNTERS == COUNTERS_MAX);
/// The program is loaded beside another object, and nothing is sent through its own buffers.
const EVENT_BYTES: u32 = 4096;

/// Why a kind is not counted.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be counted: {reason}", .kind.as_str())]
pub struct NotCounted {
    /// Which.
    pub kind: CounterKind,
    /// Why not.
    pub reason: String,
}

/// The program, its perf events, and what they counted.
#[derive(Debug)]
pub struct Counters {
    object: Object,
    /// They count as long as they are open.
    _events: Vec<Counter>,
    kinds: Vec<CounterKind>,
    cpus: Vec<u32>,
    package_of: Vec<PackageId>,
}

impl Counters {
    /// Opens those of `kinds` that this machine offers, and says why the others are not counted; `None` where none is.
    ///
    /// # Errors
    /// Where the program cannot be loaded.
    pub fn open(
        root: &SysRoot,
        topology: &Topology,
        hierarchy: HierarchyChoice,
        kinds: &[CounterKind],
    ) -> Result<(Option<Self>, Vec<NotCounted>), SchedError> {
        let cpus = root.online_cpus().map_err(|source| SchedError::Read {
            path: root.sys.join("devices/system/cpu/online").display().to_string(),
            source,
        })?;
        let (mut opened, mut not) = (Vec::new(), Vec::new());
        for kind in kinds.iter().take(EVENT_COUNTERS) {
            match events(*kind, &cpus) {
                Ok(events) => opened.push((*kind, events)),
                Err(error) => not.push(NotCounted { kind: *kind, reason: reason(&error) }),
            }
        }
        if opened.is_empty() {
            return Ok((None, not));
        }
        let hierarchy = Hierarchy::choose(root, hierarchy)?;
        let limits = Limits {
            without_runs: true,
            event_bytes: Some(EVENT_BYTES),
            counters: opened.len(),
            ..Limits::default()
        };
        let mut object = Object::open(root, topology, limits, Some(&hierarchy), true)?;
        for ((_, events), map) in opened.iter().zip(MAPS) {
            for (cpu, event) in cpus.iter().zip(events) {
                object.set_event(map, *cpu, event.as_raw_fd())?;
            }
        }
        object.load_on_demand(PROGRAM)?;
        object.attach_raw(PROGRAM, "sched_switch")?;
        object.loaded();
        let kinds = opened.iter().map(|(kind, _)| *kind).collect();
        let events = opened.into_iter().flat_map(|(_, events)| events).collect();
        let package_of = topology.package_of.clone();
        Ok((Some(Self { object, _events: events, kinds, cpus, package_of }), not))
    }

    /// What was counted since the start, by workload. What runs now is counted up to now.
    ///
    /// # Errors
    /// Where the maps cannot be read.
    pub fn read(&mut self) -> Result<Counts, SchedError> {
        for cpu in &self.cpus {
            if let Err(error) = self.object.run_on_demand(PROGRAM, 0, Some(*cpu)) {
                log::debug!("CPU {cpu} keeps what it counts until the next window: {error}");
            }
        }
        let mut counts = Counts::new(&self.kinds);
        self.object.counted(|cpu, key, counted| {
            let package = self.package_of.get(cpu).copied().unwrap_or(PackageId(0));
            match key {
                None => counts.add(WorkloadKey::OVERFLOW, package, counted),
                // Interrupts count while a CPU is idle; they are nobody's.
                Some(KEY_IDLE) => {}
                Some(key) => {
                    let cgroup = CgroupId(key & !KEY_KERNEL_THREAD);
                    let workload = WorkloadKey::of_task(cgroup, key & KEY_KERNEL_THREAD != 0);
                    counts.add(workload, package, counted);
                }
            }
        })?;
        Ok(counts)
    }

    /// How much of the time the processor had room for the counters, from 0 to 1: below 1 they took turns, and their sums
    /// are of that part of the time only.
    ///
    /// # Errors
    /// Where the maps cannot be read.
    pub fn counted_ratio(&self) -> Result<f64, SchedError> {
        self.object.counted_ratio()
    }
}

/// One on each CPU, of user and kernel alike, counting.
fn events(kind: CounterKind, cpus: &[u32]) -> io::Result<Vec<Counter>> {
    let open = |cpu: &u32| {
        let mut builder = match kind {
            CounterKind::Cycles => Builder::new(Hardware::CPU_CYCLES),
            CounterKind::Instructions => Builder::new(Hardware::INSTRUCTIONS),
            CounterKind::LlcMisses => Builder::new(Hardware::CACHE_MISSES),
            CounterKind::PageFaults => Builder::new(Software::PAGE_FAULTS),
        };
        let cpu = usize::try_from(*cpu).unwrap_or(0);
        let mut counter = builder.any_pid().one_cpu(cpu).include_kernel().include_hv().build()?;
        counter.enable()?;
        Ok(counter)
    };
    cpus.iter().map(open).collect()
}

/// `perf_event_open(2)`, ERRORS.
fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::EOPNOTSUPP | libc::ENODEV | libc::EINVAL) => {
            "not offered by this processor or hypervisor (no PMU)".to_owned()
        }
        Some(libc::EACCES | libc::EPERM) => {
            "permission denied; give CAP_PERFMON, or as root: sysctl kernel.perf_event_paranoid=0".to_owned()
        }
        Some(libc::ENOSYS) => "perf events are not compiled in, or a seccomp filter hides them".to_owned(),
        Some(libc::EMFILE) => {
            "too many open files: one is needed for each CPU and event (ulimit -n)".to_owned()
        }
        _ => error.to_string(),
    }
}
