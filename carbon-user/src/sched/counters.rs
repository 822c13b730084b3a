//! Events of the processor or of the kernel by cgroup: a perf event on each CPU for each kind, read by a kernel program of
//! its own on every context switch. Loaded only where it is asked for; it costs some 100 ns a switch and event more.
//!
//! Works beside every way of accounting, on kernels that describe their types.

use super::hierarchy::{Hierarchy, HierarchyChoice};
use super::object::{COUNTED_MAX, Object};
use super::{Limits, SchedError};
use crate::sysroot::SysRoot;
use crate::topology::Topology;
use crate::units::{CgroupId, PackageId};
use crate::window::WorkloadKey;
use crate::window::counts::{COUNTERS_MAX, CounterKind, Counts};
use carbon_ebpf::{EVENT_COUNTERS, KEY_IDLE, KEY_KERNEL_THREAD};
use perf_event::events::{Hardware, Software};
use perf_event::{Builder, Counter};
use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::AsRawFd;

const PROGRAM: &str = "carbon_counters";
/// Maps of the program, one a kind.
const MAPS: [&str; EVENT_COUNTERS] = ["COUNTER_0", "COUNTER_1", "COUNTER_2"];
const _: () = assert!(EVENT_COUNTERS == COUNTERS_MAX);
/// The program is loaded beside another object, and nothing is sent through its own buffers.
const EVENT_BYTES: u32 = 4096;

/// Keys that count nothing for so many looks are taken out once the table is half full: the cgroups are gone, or at rest and
/// counted from 0 again, which is the same to who takes the difference of two looks.
const AT_REST: u32 = 8;

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
    /// By key: what it had counted at the last look, and for how many looks this has been the same.
    rests: HashMap<u64, ([u64; EVENT_COUNTERS], u32)>,
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
        Ok((Some(Self { object, _events: events, kinds, cpus, package_of, rests: HashMap::new() }), not))
    }

    /// What was counted since the start, by workload. What runs now is counted up to now. A workload that has counted nothing
    /// for a while may be missing, and begins at 0 again.
    ///
    /// # Errors
    /// Where the maps cannot be read.
    pub fn read(&mut self) -> Result<Counts, SchedError> {
        for cpu in &self.cpus {
            if let Err(error) = self.object.run_on_demand(PROGRAM, 0, Some(*cpu)) {
                log::debug!("CPU {cpu} keeps what it counts until the next window: {error}");
            }
        }
        let (mut told, mut sums) = (Vec::new(), HashMap::<u64, [u64; EVENT_COUNTERS]>::new());
        self.object.counted(|cpu, key, counted| {
            told.push((cpu, key, counted));
            let Some(key) = key else { return };
            for (sum, more) in sums.entry(key).or_default().iter_mut().zip(counted) {
                *sum = sum.wrapping_add(more);
            }
        })?;
        let at_rest = to_forget(&mut self.rests, &sums);
        let mut counts = Counts::new(&self.kinds);
        for (cpu, key, counted) in told {
            let package = self.package_of.get(cpu).copied().unwrap_or(PackageId(0));
            match key {
                None => counts.add(WorkloadKey::OVERFLOW, package, counted),
                // Interrupts count while a CPU is idle; they are nobody's.
                Some(KEY_IDLE) => {}
                // It begins at 0 again where it counts again, so it must not be known as it was.
                Some(key) if at_rest.contains(&key) => {}
                Some(key) => {
                    let cgroup = CgroupId(key & !KEY_KERNEL_THREAD);
                    let workload = WorkloadKey::of_task(cgroup, key & KEY_KERNEL_THREAD != 0);
                    counts.add(workload, package, counted);
                }
            }
        }
        for key in at_rest {
            if let Err(error) = self.object.forget_counted(key) {
                log::debug!("{key:#x} keeps its place among what is counted: {error}");
            }
        }
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

/// Brings `rests` up to date with a look at the table, and gives the keys to take out of it.
fn to_forget(
    rests: &mut HashMap<u64, ([u64; EVENT_COUNTERS], u32)>,
    sums: &HashMap<u64, [u64; EVENT_COUNTERS]>,
) -> HashSet<u64> {
    rests.retain(|key, _| sums.contains_key(key));
    for (key, sum) in sums {
        let (last, looks) = rests.entry(*key).or_insert((*sum, 0));
        *looks = if last == sum { *looks + 1 } else { 0 };
        *last = *sum;
    }
    if sums.len() < COUNTED_MAX as usize / 2 {
        return HashSet::new();
    }
    rests.extract_if(|_, (_, looks)| *looks > AT_REST).map(|(key, _)| key).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_at_rest_make_room_once_the_table_is_half_full() {
        let half = u64::from(COUNTED_MAX / 2);
        let mut rests = HashMap::new();
        let mut sums: HashMap<u64, [u64; EVENT_COUNTERS]> =
            (0..half - 1).map(|key| (key, [1; EVENT_COUNTERS])).collect();
        for _ in 0..20 {
            assert!(to_forget(&mut rests, &sums).is_empty(), "there is room");
        }
        sums.insert(half, [1; EVENT_COUNTERS]);
        sums.insert(0, [2; EVENT_COUNTERS]);
        let forgotten = to_forget(&mut rests, &sums);
        assert_eq!(forgotten.len() as u64, half - 2);
        assert!(!forgotten.contains(&0) && !forgotten.contains(&half), "what is new or has counted stays");
        sums.retain(|key, _| !forgotten.contains(key));
        assert!(to_forget(&mut rests, &sums).is_empty());
        assert_eq!(rests.len(), 2, "nothing is kept of what was taken out");
    }
}
