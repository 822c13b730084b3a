//! The kernel programs, loaded: their constants set, their maps sized for this machine, attached as long as this
//! process has the object.

use super::btf::KernelTypes;
use super::enrol::Enrolment;
use super::hierarchy::Hierarchy;
use super::layout::Layout;
use super::records::{Record, decode};
use super::{Limits, SchedError};
use crate::heap;
use crate::sysroot::SysRoot;
use crate::topology::Topology;
use crate::units::RunId;
use aya::maps::{Array, HashMap, MapData, PerCpuArray, PerCpuHashMap, RingBuf};
use aya::programs::{BtfTracePoint, Iter, RawTracePoint, RawTracePointRunOptions, TestRun};
use aya::{Btf, Ebpf, EbpfLoader, Endianness};
use aya_log::EbpfLogger;
use carbon_ebpf::{
    CELLS, CGROUP_RECORD_HEAD, CPUS_MAX, CounterState, EVENT_COUNTERS, PACKAGES_MAX, Peek, RunCounts,
    RunMember, SumKey, TaskSum, Wake, control, counter,
};
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// The object file that `cargo xtask ebpf` built from `carbon-ebpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("CARBON_BPF_OBJECT"));

/// Bytes of the event buffer: ends of cgroups and tasks between two drains. 8,000 cgroups that are made, removed and
/// released, or 10,000 ends of tasks. A power of two of pages, as it must be.
const EVENT_BYTES: u32 = 1 << 20;
/// Bytes of the row buffer. What does not fit is read by further passes.
const ROW_BYTES: u32 = 512 << 10;
/// Processes of all runs at one time: 6 MB.
const MEMBERS_MAX: u32 = 65_536;
/// Looks at the members of a run that ends: who forks faster than it is looked at keeps some.
const MEMBER_LOOKS: usize = 8;
/// Workloads whose events are counted; the rest is summed. 24 bytes for each on every CPU.
pub(super) const COUNTED_MAX: u32 = 4_096;
/// Arguments of a raw tracepoint at most.
pub(super) const ARGUMENTS: usize = 12;
/// What a ring buffer puts before each record (`BPF_RINGBUF_HDR_SZ`).
const RECORD_HEADER_BYTES: u32 = 8;

/// The loaded object.
pub(super) struct Object {
    ebpf: Ebpf,
    btf: Option<Btf>,
    /// What was found of the kernel.
    pub(super) layout: Layout,
    /// Cgroups that one pass may read.
    pub(super) rows_a_pass: u64,
    rows: RingBuf<MapData>,
    events: RingBuf<MapData>,
    log: Option<EbpfLogger<&'static dyn log::Log>>,
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object").field("layout", &self.layout).finish_non_exhaustive()
    }
}

impl Object {
    /// Finds the kernel's layout and creates maps; no program is loaded yet.
    /// Without a hierarchy the kernel's types are not asked for: for programs that read no field. `hook` says that its
    /// overflow table is used.
    pub(super) fn open(
        root: &SysRoot,
        topology: &Topology,
        limits: Limits,
        hierarchy: Option<&Hierarchy>,
        hook: bool,
    ) -> Result<Self, SchedError> {
        let layout = match hierarchy {
            None => Layout::default(),
            Some(_) => Layout::find(&KernelTypes::read(&root.sys)?)?,
        };
        if hierarchy.is_some_and(Hierarchy::is_cpuacct) && !layout.has_cpuacct {
            return Err(SchedError::Btf { what: "what the cpuacct hierarchy is followed by".into() });
        }
        let cpus = topology.package_of.len();
        if cpus > CPUS_MAX {
            return Err(SchedError::TooManyCpus { cpus, most: CPUS_MAX });
        }
        let packages = topology.packages.min(PACKAGES_MAX);
        let event_bytes = limits.event_bytes.unwrap_or(EVENT_BYTES);
        let rows_a_pass = limits.rows_a_pass.unwrap_or_else(|| rows_a_pass(packages));
        // The hook keeps times of its own: without CPUs the programs that it shares with the books read none of theirs.
        let cpus_read = if hook { 0 } else { cpus as u64 };
        let machine = [
            ("CPU_COUNT", cpus_read),
            ("PACKAGE_COUNT", packages as u64),
            ("MISBOOK_EVERY", limits.misbook_every),
            ("UNSEEN_FROM", limits.unseen_from.into()),
            ("HIERARCHY_ID", hierarchy.map_or(0, |hierarchy| hierarchy.id)),
            ("BY_CPUACCT", u64::from(hierarchy.is_some_and(Hierarchy::is_cpuacct))),
            ("ROWS_MAX", rows_a_pass),
            ("EVENT_BYTES", event_bytes.into()),
            ("COUNTERS_WANTED", limits.counters as u64),
        ];
        let constants: Vec<(&str, u64)> = layout.constants.iter().copied().chain(machine).collect();
        let btf = match hierarchy {
            None => None,
            Some(_) => Some(
                Btf::parse_file(root.sys.join("kernel/btf/vmlinux"), Endianness::default())
                    .map_err(|error| SchedError::Btf { what: error.to_string() })?,
            ),
        };
        allow_locked_memory();
        let mut loader = EbpfLoader::new();
        loader.btf(btf.as_ref());
        for (name, value) in &constants {
            loader.override_global(name, value, true);
        }
        loader.map_max_entries("ROWS", ROW_BYTES);
        loader.map_max_entries("EVENTS", event_bytes);
        if !limits.without_runs {
            loader.map_max_entries("MEMBERS", limits.members.unwrap_or(MEMBERS_MAX));
        }
        if !hook {
            loader.map_max_entries("CROWDED", 1);
        }
        if limits.counters > 0 {
            loader.map_max_entries("COUNTED", COUNTED_MAX);
        }
        let mut ebpf = loader.load(OBJECT).map_err(|error| SchedError::load("the maps", error))?;
        let log = EbpfLogger::init(&mut ebpf).ok();
        let rows = ring(&mut ebpf, "ROWS")?;
        let events = ring(&mut ebpf, "EVENTS")?;
        let mut this = Self { ebpf, btf, layout, rows_a_pass, rows, events, log };
        this.set_packages(topology)?;
        Ok(this)
    }

    fn set_packages(&mut self, topology: &Topology) -> Result<(), SchedError> {
        let mut cpus: Array<_, [u64; 2]> = self.map_mut("CPUS")?;
        for (cpu, package) in (0_u32..).zip(&topology.package_of) {
            let package = u64::from(package.0).min(PACKAGES_MAX as u64 - 1);
            cpus.set(cpu, [0, package], 0).map_err(|error| SchedError::map("CPUS", error))?;
        }
        Ok(())
    }

    fn map_mut<'a, T>(&'a mut self, name: &'static str) -> Result<T, SchedError>
    where
        T: TryFrom<&'a mut aya::maps::Map, Error = aya::maps::MapError>,
    {
        let map = self.ebpf.map_mut(name).ok_or(SchedError::NoSuch { what: name })?;
        T::try_from(map).map_err(|error| SchedError::map(name, error))
    }

    fn map<'a, T>(&'a self, name: &'static str) -> Result<T, SchedError>
    where
        T: TryFrom<&'a aya::maps::Map, Error = aya::maps::MapError>,
    {
        let map = self.ebpf.map(name).ok_or(SchedError::NoSuch { what: name })?;
        T::try_from(map).map_err(|error| SchedError::map(name, error))
    }

    /// Loads a program for a tracepoint with types.
    pub(super) fn load(&mut self, program: &'static str, tracepoint: &str) -> Result<(), SchedError> {
        let btf = self.btf.as_ref().ok_or(SchedError::NoSuch { what: "kernel types" })?;
        let found = self.ebpf.program_mut(program).ok_or(SchedError::NoSuch { what: program })?;
        let hook: &mut BtfTracePoint = found.try_into().map_err(|error| SchedError::load(program, error))?;
        hook.load(tracepoint, btf).map_err(|error| SchedError::load(program, error))
    }

    /// Attaches a program that is loaded, until the object is dropped.
    pub(super) fn attach(&mut self, program: &'static str) -> Result<(), SchedError> {
        let found = self.ebpf.program_mut(program).ok_or(SchedError::NoSuch { what: program })?;
        let hook: &mut BtfTracePoint = found.try_into().map_err(|error| SchedError::load(program, error))?;
        hook.attach().map_err(|error| SchedError::load(program, error))?;
        Ok(())
    }

    /// Loads a program that is only run on demand.
    pub(super) fn load_on_demand(&mut self, program: &'static str) -> Result<(), SchedError> {
        let found = self.ebpf.program_mut(program).ok_or(SchedError::NoSuch { what: program })?;
        let raw: &mut RawTracePoint = found.try_into().map_err(|error| SchedError::load(program, error))?;
        raw.load().map_err(|error| SchedError::load(program, error))
    }

    /// Attaches such a program to a tracepoint, until the object is dropped.
    pub(super) fn attach_raw(&mut self, program: &'static str, tracepoint: &str) -> Result<(), SchedError> {
        let found = self.ebpf.program_mut(program).ok_or(SchedError::NoSuch { what: program })?;
        let raw: &mut RawTracePoint = found.try_into().map_err(|error| SchedError::load(program, error))?;
        raw.attach(tracepoint).map_err(|error| SchedError::load(program, error))?;
        Ok(())
    }

    /// Runs such a program with a first argument, on a given CPU if one is named.
    pub(super) fn run_on_demand(
        &mut self,
        program: &'static str,
        argument: u64,
        cpu: Option<u32>,
    ) -> Result<(), SchedError> {
        let mut arguments = [0; ARGUMENTS];
        arguments[0] = argument;
        self.run_with(program, arguments, cpu)
    }

    /// The same with all the arguments that there can be.
    pub(super) fn run_with(
        &mut self,
        program: &'static str,
        arguments: [u64; ARGUMENTS],
        cpu: Option<u32>,
    ) -> Result<(), SchedError> {
        let found = self.ebpf.program_mut(program).ok_or(SchedError::NoSuch { what: program })?;
        let raw: &mut RawTracePoint = found.try_into().map_err(|error| SchedError::load(program, error))?;
        let mut options = RawTracePointRunOptions { cpu, ..RawTracePointRunOptions::default() };
        options.args = arguments;
        let result = raw.test_run(options).map_err(|error| SchedError::load(program, error))?;
        if result.return_value != 0 {
            return Err(SchedError::Refused { program, code: result.return_value });
        }
        Ok(())
    }

    /// Loads an iterator's program and gives its descriptor.
    pub(super) fn load_iterator(
        &mut self,
        program: &'static str,
        over: &str,
    ) -> Result<BorrowedFd<'_>, SchedError> {
        let btf = self.btf.as_ref().ok_or(SchedError::NoSuch { what: "kernel types" })?;
        let found = self.ebpf.program_mut(program).ok_or(SchedError::NoSuch { what: program })?;
        let iterator: &mut Iter = found.try_into().map_err(|error| SchedError::load(program, error))?;
        iterator.load(over, btf).map_err(|error| SchedError::load(program, error))?;
        self.iterator(program)
    }

    /// The descriptor of an iterator's program that is loaded.
    pub(super) fn iterator(&self, program: &'static str) -> Result<BorrowedFd<'_>, SchedError> {
        let found = self.ebpf.program(program).ok_or(SchedError::NoSuch { what: program })?;
        let iterator: &Iter = found.try_into().map_err(|error| SchedError::load(program, error))?;
        let fd = iterator.fd().map_err(|error| SchedError::load(program, error))?;
        Ok(fd.as_fd())
    }

    /// Frees what only loading needs: the parsed kernel types are megabytes.
    pub(super) fn loaded(&mut self) {
        self.btf = None;
        heap::trim();
    }

    /// Hands over what the iterators wrote since the last call.
    pub(super) fn drain_rows(&mut self, mut take: impl FnMut(Record)) {
        while let Some(item) = self.rows.next() {
            if let Some(record) = decode(&item) {
                take(record);
            }
        }
    }

    /// Hands over what happened since the last call.
    pub(super) fn drain_events(&mut self, mut take: impl FnMut(Record)) {
        while let Some(item) = self.events.next() {
            if let Some(record) = decode(&item) {
                take(record);
            }
        }
        if let Some(log) = &mut self.log {
            log.flush();
        }
    }

    /// A word of the counter map: see [`carbon_ebpf::counter`].
    pub(super) fn counter(&self, index: u32) -> Result<u64, SchedError> {
        debug_assert!(index < counter::WORDS);
        let counters: Array<_, u64> = self.map("COUNTERS")?;
        counters.get(&index, 0).map_err(|error| SchedError::map("COUNTERS", error))
    }

    /// Sets a word of the counter map to zero before a pass that adds to it.
    pub(super) fn clear_counter(&mut self, index: u32) -> Result<(), SchedError> {
        let mut counters: Array<_, u64> = self.map_mut("COUNTERS")?;
        counters.set(index, 0, 0).map_err(|error| SchedError::map("COUNTERS", error))
    }

    /// Sets a word of the control map: see [`carbon_ebpf::control`].
    pub(super) fn set_control(&mut self, index: u32, value: u64) -> Result<(), SchedError> {
        debug_assert!(index < control::WORDS);
        let mut words: Array<_, u64> = self.map_mut("CONTROL")?;
        words.set(index, value, 0).map_err(|error| SchedError::map("CONTROL", error))
    }

    /// How many tasks a run has.
    pub(super) fn run_counts(&self, run: RunId) -> Result<RunCounts, SchedError> {
        let counts: HashMap<_, u64, [u64; 4]> = self.map("RUN_COUNTS")?;
        match counts.get(&run.0, 0) {
            Ok(words) => Ok(bytemuck::cast(words)),
            Err(aya::maps::MapError::KeyNotFound) => Ok(RunCounts::default()),
            Err(error) => Err(SchedError::map("RUN_COUNTS", error)),
        }
    }

    /// Adds tasks and processes that run already to a run's counts. Only before the kernel adds to them: it is no one step.
    pub(super) fn add_to_run(&mut self, run: RunId, tasks: u64, processes: u64) -> Result<(), SchedError> {
        let mut counts = self.run_counts(run)?;
        counts.alive = counts.alive.wrapping_add(tasks);
        counts.unfreed = counts.unfreed.wrapping_add(tasks);
        counts.processes = counts.processes.wrapping_add(processes);
        let mut map: HashMap<_, u64, [u64; 4]> = self.map_mut("RUN_COUNTS")?;
        map.insert(run.0, bytemuck::cast::<RunCounts, [u64; 4]>(counts), 0)
            .map_err(|error| SchedError::map("RUN_COUNTS", error))
    }

    /// The entry of a process in the map of members, which may be that of an earlier process with the same id.
    pub(super) fn member(&self, pid: u32) -> Result<Option<RunMember>, SchedError> {
        let members: HashMap<_, u32, [u64; 3]> = self.map("MEMBERS")?;
        match members.get(&pid, 0) {
            Ok(words) => Ok(Some(bytemuck::cast(words))),
            Err(aya::maps::MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(SchedError::map("MEMBERS", error)),
        }
    }

    /// Makes a process a member of a run.
    pub(super) fn set_member(&mut self, pid: u32, member: RunMember) -> Result<(), SchedError> {
        let mut members: HashMap<_, u32, [u64; 3]> = self.map_mut("MEMBERS")?;
        members
            .insert(pid, bytemuck::cast::<RunMember, [u64; 3]>(member), 0)
            .map_err(|error| SchedError::map("MEMBERS", error))
    }

    /// Takes a process out of its run.
    pub(super) fn remove_member(&mut self, pid: u32) -> Result<(), SchedError> {
        let mut members: HashMap<_, u32, [u64; 3]> = self.map_mut("MEMBERS")?;
        removed("MEMBERS", members.remove(&pid))
    }

    /// Takes all processes out of a run, those too that no record has told of: nothing else would, where no run is open or their
    /// run is none any more. What they fork meanwhile is found by the next look.
    pub(super) fn forget_members(&mut self, run: RunId) -> Result<(), SchedError> {
        let mut members: HashMap<_, u32, [u64; 3]> = self.map_mut("MEMBERS")?;
        for _ in 0..MEMBER_LOOKS {
            let entries = members.iter().flatten();
            let of_run = entries.filter(|(_, words)| bytemuck::cast::<_, RunMember>(*words).run == run.0);
            let pids: Vec<u32> = of_run.map(|(pid, _)| pid).collect();
            if pids.is_empty() {
                break;
            }
            for pid in &pids {
                removed("MEMBERS", members.remove(pid))?;
            }
        }
        Ok(())
    }

    /// Drops what the maps hold of a run, but for its members.
    pub(super) fn forget_run(&mut self, run: RunId) -> Result<(), SchedError> {
        let mut counts: HashMap<_, u64, [u64; 4]> = self.map_mut("RUN_COUNTS")?;
        removed("RUN_COUNTS", counts.remove(&run.0))?;
        let mut sums: HashMap<_, [u64; 4], [u64; 2]> = self.map_mut("SUMS")?;
        let of_run = |key: &[u64; 4]| bytemuck::cast::<[u64; 4], SumKey>(*key).run == run.0;
        let keys: Vec<[u64; 4]> = sums.keys().flatten().filter(of_run).collect();
        keys.iter().try_for_each(|key| removed("SUMS", sums.remove(key)))
    }

    /// Sums of ended tasks that were not told one by one, by run, cgroup and name.
    pub(super) fn sums(&self, mut take: impl FnMut(SumKey, TaskSum)) -> Result<(), SchedError> {
        let sums: HashMap<_, [u64; 4], [u64; 2]> = self.map("SUMS")?;
        for entry in &sums {
            let (key, sum) = entry.map_err(|error| SchedError::map("SUMS", error))?;
            take(bytemuck::cast(key), bytemuck::cast(sum));
        }
        Ok(())
    }

    /// What the first process of a run needs to enter it.
    pub(super) fn enrolment(&mut self, run: RunId) -> Result<Enrolment, SchedError> {
        let name = "carbon_enrol";
        let found = self.ebpf.program_mut(name).ok_or(SchedError::NoSuch { what: name })?;
        let raw: &mut RawTracePoint = found.try_into().map_err(|error| SchedError::load(name, error))?;
        let fd = raw.fd().map_err(|error| SchedError::load(name, error))?;
        let program =
            fd.as_fd().try_clone_to_owned().map_err(|source| SchedError::Call { call: "dup", source })?;
        Ok(Enrolment::Program { program, run: run.0 })
    }

    /// Sets out to observe how long packages are awake: all CPUs count as busy until they say otherwise.
    pub(super) fn begin_wake(&mut self, online: &[u32], now_ns: u64) -> Result<(), SchedError> {
        let mut wakes: Array<_, [u64; 3]> = self.map_mut("WAKES")?;
        for (package, cpus) in (0..).zip(online).take(PACKAGES_MAX) {
            let wake = Wake { busy_cpus: u64::from(*cpus), since_ns: now_ns, awake_ns: 0 };
            wakes
                .set(package, bytemuck::cast::<Wake, [u64; 3]>(wake), 0)
                .map_err(|error| SchedError::map("WAKES", error))?;
        }
        Ok(())
    }

    /// How long a package has been awake.
    pub(super) fn wake(&self, package: usize) -> Result<Wake, SchedError> {
        let wakes: Array<_, [u64; size_of::<Wake>() / 8]> = self.map("WAKES")?;
        let package = u32::try_from(package).unwrap_or(0);
        wakes.get(&package, 0).map(bytemuck::cast).map_err(|error| SchedError::map("WAKES", error))
    }

    /// What the last run of `carbon_peek` saw.
    pub(super) fn peeked(&self) -> Result<Peek, SchedError> {
        let peeked: Array<_, [u64; size_of::<Peek>() / 8]> = self.map("PEEKED")?;
        peeked.get(&0, 0).map(bytemuck::cast).map_err(|error| SchedError::map("PEEKED", error))
    }

    /// Gives the programs an open perf event of a CPU.
    pub(super) fn set_event(
        &mut self,
        map: &'static str,
        cpu: u32,
        event: std::os::fd::RawFd,
    ) -> Result<(), SchedError> {
        use aya::maps::Map;
        let found = self.ebpf.map(map).ok_or(SchedError::NoSuch { what: map })?;
        let Map::PerfEventArray(events) = found else { return Err(SchedError::NoSuch { what: map }) };
        set_element(events.fd().as_fd(), cpu, event).map_err(|error| SchedError::map(map, error))
    }

    /// Calls `take` with possible CPU, key (none for what found no room) and events.
    pub(super) fn counted(
        &self,
        mut take: impl FnMut(usize, Option<u64>, [u64; EVENT_COUNTERS]),
    ) -> Result<(), SchedError> {
        let counted: PerCpuHashMap<_, u64, [u64; EVENT_COUNTERS]> = self.map("COUNTED")?;
        for entry in &counted {
            let (key, values) = entry.map_err(|error| SchedError::map("COUNTED", error))?;
            for (cpu, counts) in values.iter().enumerate() {
                take(cpu, Some(key), *counts);
            }
        }
        for (cpu, state) in self.counter_states()?.iter().enumerate() {
            take(cpu, None, state.overflow.counts);
        }
        Ok(())
    }

    /// Takes a key out of the table of counted events.
    pub(super) fn forget_counted(&mut self, key: u64) -> Result<(), SchedError> {
        let mut counted: PerCpuHashMap<_, u64, [u64; EVENT_COUNTERS]> = self.map_mut("COUNTED")?;
        removed("COUNTED", counted.remove(&key))
    }

    fn counter_states(&self) -> Result<Vec<CounterState>, SchedError> {
        let states: PerCpuArray<_, [u64; 5 * EVENT_COUNTERS]> = self.map("COUNTER_STATE")?;
        let values = states.get(&0, 0).map_err(|error| SchedError::map("COUNTER_STATE", error))?;
        Ok(values.iter().map(|words| bytemuck::cast(*words)).collect())
    }

    /// Time that events counted over the time that they were to, of all CPUs.
    pub(super) fn counted_ratio(&self) -> Result<f64, SchedError> {
        let states = self.counter_states()?;
        let sum = |of: fn(&CounterState) -> [u64; EVENT_COUNTERS]| -> f64 {
            states.iter().flat_map(of).map(|ns| std::time::Duration::from_nanos(ns).as_secs_f64()).sum()
        };
        let (enabled, running) = (sum(|state| state.enabled_ns), sum(|state| state.running_ns));
        Ok(if enabled > 0.0 { (running / enabled).min(1.0) } else { 1.0 })
    }

    /// The hook's slots, one per possible CPU.
    pub(super) fn slots(&self) -> Result<Vec<carbon_ebpf::Slot>, SchedError> {
        let slots: PerCpuArray<_, [u64; size_of::<carbon_ebpf::Slot>() / 8]> = self.map("SLOTS")?;
        let values = slots.get(&0, 0).map_err(|error| SchedError::map("SLOTS", error))?;
        Ok(values.iter().map(|words| bytemuck::cast(*words)).collect())
    }

    /// Takes a name out of the hook's overflow table.
    pub(super) fn forget_crowded(&mut self, name: u64) -> Result<(), SchedError> {
        let mut crowded: PerCpuHashMap<_, u64, u64> = self.map_mut("CROWDED")?;
        removed("CROWDED", crowded.remove(&name))
    }

    /// Every cell of the hook, by possible CPU.
    pub(super) fn cells(&self) -> Result<HookCells, SchedError> {
        let table: PerCpuArray<_, [u64; 2 * CELLS]> = self.map("CELL_TABLE")?;
        let table = table.get(&0, 0).map_err(|error| SchedError::map("CELL_TABLE", error))?;
        // After the keys: a key's name is written before it.
        let names: PerCpuArray<_, [u64; CELLS + 1]> = self.map("CELL_NAMES")?;
        let names = names.get(&0, 0).map_err(|error| SchedError::map("CELL_NAMES", error))?;
        let mut cells = HookCells::default();
        for (words, names) in table.iter().zip(names.iter()) {
            let cells_of_cpu =
                pairs(words).zip(names).map(|((key, exec_ns), name)| HookCell { key, name: *name, exec_ns });
            cells.by_cpu.push(cells_of_cpu.filter(|cell| cell.key != 0).collect());
            cells.crowded_name.push(names.last().copied().unwrap_or(0));
        }
        let crowded: PerCpuHashMap<_, u64, u64> = self.map("CROWDED")?;
        for entry in &crowded {
            let (name, values) = entry.map_err(|error| SchedError::map("CROWDED", error))?;
            for (cpu, exec_ns) in cells.by_cpu.iter_mut().zip(values.iter()) {
                cpu.push(HookCell { key: 0, name, exec_ns: *exec_ns });
            }
        }
        Ok(cells)
    }
}

/// A key's time on one CPU.
#[derive(Clone, Copy, Debug)]
pub(super) struct HookCell {
    /// What the programs know it by; 0 where it has no cell.
    pub(super) key: u64,
    /// Id of its cgroup, and the class.
    pub(super) name: u64,
    /// Its time.
    pub(super) exec_ns: u64,
}

/// What the hook keeps by key.
#[derive(Debug, Default)]
pub(super) struct HookCells {
    by_cpu: Vec<Vec<HookCell>>,
    /// Of the slot's key, where that has no cell.
    crowded_name: Vec<u64>,
}

impl HookCells {
    /// Each with its CPU.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &HookCell)> {
        self.by_cpu.iter().enumerate().flat_map(|(cpu, cells)| cells.iter().map(move |cell| (cpu, cell)))
    }

    /// The name of what a CPU's slot is open for; 0 where it has none.
    pub(super) fn name_of(&self, cpu: usize, key: u64) -> u64 {
        let cell = self.by_cpu.get(cpu).and_then(|cells| cells.iter().find(|cell| cell.key == key));
        cell.map(|cell| cell.name).or_else(|| self.crowded_name.get(cpu).copied()).unwrap_or(0)
    }
}

/// What is not there is removed.
fn removed(map: &'static str, result: Result<(), aya::maps::MapError>) -> Result<(), SchedError> {
    match result {
        Ok(()) | Err(aya::maps::MapError::KeyNotFound) => Ok(()),
        Err(aya::maps::MapError::SyscallError(error))
            if error.io_error.kind() == std::io::ErrorKind::NotFound =>
        {
            Ok(())
        }
        Err(error) => Err(SchedError::map(map, error)),
    }
}

fn pairs(words: &[u64]) -> impl Iterator<Item = (u64, u64)> {
    words.chunks_exact(2).filter_map(|pair| match pair {
        [key, value] => Some((*key, *value)),
        _ => None,
    })
}

fn ring(ebpf: &mut Ebpf, name: &'static str) -> Result<RingBuf<MapData>, SchedError> {
    let map = ebpf.take_map(name).ok_or(SchedError::NoSuch { what: name })?;
    RingBuf::try_from(map).map_err(|error| SchedError::map(name, error))
}

/// Cgroups that the row buffer has room for, less one: it is full when one byte is left.
fn rows_a_pass(packages: usize) -> u64 {
    let row = CGROUP_RECORD_HEAD as u64 + u64::from(RECORD_HEADER_BYTES) + 8 * packages as u64;
    u64::from(ROW_BYTES) / row - 1
}

/// Puts an open perf event into a map (`BPF_MAP_UPDATE_ELEM`, bpf(2)); the library only puts those in that it opens itself.
#[expect(unsafe_code, reason = "a system call that takes pointers")]
fn set_element(map: BorrowedFd<'_>, key: u32, value: std::os::fd::RawFd) -> std::io::Result<()> {
    /// The part of `union bpf_attr` that the command reads.
    #[repr(C)]
    struct Element {
        map: u32,
        padding: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
    const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
    let element = Element {
        map: map.as_raw_fd().cast_unsigned(),
        padding: 0,
        key: std::ptr::from_ref(&key) as u64,
        value: std::ptr::from_ref(&value) as u64,
        flags: 0,
    };
    // SAFETY: the kernel reads the element and the 4 bytes behind each of its pointers, which all outlive the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_MAP_UPDATE_ELEM, &raw const element, size_of::<Element>())
    };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Before 5.11 maps counted as locked memory. Where the limit may not be raised, loading itself will tell.
fn allow_locked_memory() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    if setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None }).is_err() {
        log::debug!("the limit of locked memory stays as it is");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffers_have_legal_sizes() {
        for bytes in [ROW_BYTES, EVENT_BYTES] {
            assert!(bytes.is_power_of_two() && bytes >= 4096);
        }
        assert_eq!((rows_a_pass(1), rows_a_pass(8)), (13_106, 5_460));
    }
}
