//! Maps of the programs. Each is bounded; what does not fit is counted in [`COUNTERS`].
//!
//! Sizes given here are least ones: userspace sets those that depend on the machine before the object is loaded.

use crate::kernel;
use aya_ebpf::{
    bindings::{BPF_NOEXIST, BPF_RB_AVAIL_DATA, BPF_RB_NO_WAKEUP},
    macros::map,
    maps::{Array, HashMap, PerCpuArray, PerCpuHashMap, PerfEventArray, RingBuf},
};
use carbon_ebpf::{
    CPUS_MAX, CellNames, Cells, CounterState, CpuEntry, EventCounts, Leaving, PACKAGES_MAX, PATH_RECORD_HEAD,
    PathRecord, Peek, RunCounts, RunMember, Slot, SumKey, TaskRecord, TaskSum, Wake, control, counter,
};

/// Words that userspace sets: see [`carbon_ebpf::control`].
#[map]
static CONTROL: Array<u64> = Array::with_max_entries(control::WORDS, 0);

/// Words that the programs add to: see [`carbon_ebpf::counter`].
#[map]
static COUNTERS: Array<u64> = Array::with_max_entries(counter::WORDS, 0);

/// Where the per-CPU data of each CPU is, and its package.
#[map]
pub(crate) static CPUS: Array<CpuEntry> = Array::with_max_entries(CPUS_MAX as u32, 0);

/// Has a known per-CPU address, from which `prepare` learns the offsets of all CPUs.
#[map]
pub(crate) static LANDMARK: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// What an iterator writes during one pass.
#[map]
static ROWS: RingBuf = RingBuf::with_byte_size(1 << 16, 0);

/// What happened since the last pass.
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 16, 0);

/// Processes of runs, by thread group.
#[map]
pub(crate) static MEMBERS: HashMap<u32, RunMember> = HashMap::with_max_entries(1, 0);

/// Runs.
#[map]
pub(crate) static RUN_COUNTS: HashMap<u64, RunCounts> = HashMap::with_max_entries(1_024, 0);

/// Ends of tasks that could not be told one by one.
#[map]
static SUMS: HashMap<SumKey, TaskSum> = HashMap::with_max_entries(1_024, 0);

/// What runs on each CPU, for the hook.
#[map]
pub(crate) static SLOTS: PerCpuArray<Slot> = PerCpuArray::with_max_entries(1, 0);

/// The task that exits on each CPU, if the hook had not seen it begin to run there.
#[map]
pub(crate) static LEAVING: PerCpuArray<Leaving> = PerCpuArray::with_max_entries(1, 0);

/// What the last peek at a CPU saw, for the hook.
#[map]
pub(crate) static PEEKED: Array<Peek> = Array::with_max_entries(1, 0);

/// Whether this CPU is idle, as it said itself.
#[map]
pub(crate) static IDLE: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// By package.
#[map]
pub(crate) static WAKES: Array<Wake> = Array::with_max_entries(PACKAGES_MAX as u32, 0);

/// CPU time per key on each CPU, for the hook.
#[map]
pub(crate) static CELL_TABLE: PerCpuArray<Cells> = PerCpuArray::with_max_entries(1, 0);

/// What their keys are called.
#[map]
pub(crate) static CELL_NAMES: PerCpuArray<CellNames> = PerCpuArray::with_max_entries(1, 0);

/// Time of keys whose cells belong to others, by name.
#[map]
pub(crate) static CROWDED: PerCpuHashMap<u64, u64> = PerCpuHashMap::with_max_entries(4_096, 0);

/// Counters that userspace opened, by CPU: one map for each, since a CPU has one place in it.
#[map]
pub(crate) static COUNTER_0: PerfEventArray<u64> = PerfEventArray::new(0);
/// The second.
#[map]
pub(crate) static COUNTER_1: PerfEventArray<u64> = PerfEventArray::new(0);
/// The third.
#[map]
pub(crate) static COUNTER_2: PerfEventArray<u64> = PerfEventArray::new(0);

/// What this CPU's counters showed last.
#[map]
pub(crate) static COUNTER_STATE: PerCpuArray<CounterState> = PerCpuArray::with_max_entries(1, 0);

/// Events by key on each CPU.
#[map]
pub(crate) static COUNTED: PerCpuHashMap<u64, EventCounts> = PerCpuHashMap::with_max_entries(1, 0);

/// Room for one path while it is read: larger than a program's stack likes.
#[map]
static PATH_SCRATCH: PerCpuArray<PathRecord> = PerCpuArray::with_max_entries(1, 0);

/// A word of the control map.
#[inline(always)]
pub(crate) fn control(index: u32) -> u64 {
    CONTROL.get(index).copied().unwrap_or(0)
}

/// Adds to a word of the counter map, from any CPU.
#[inline(always)]
pub(crate) fn count(index: u32, amount: u64) {
    if let Some(word) = COUNTERS.get_ptr_mut(index) {
        // SAFETY: a word of the map.
        unsafe { add(word, amount) };
    }
}

/// Adds to a word of a map's element from any CPU. Rust's atomics have no such method on this target; the
/// instruction is the first of BPF's atomic ones, which gives no old value and which every kernel has.
///
/// # Safety
/// `word` comes from a look-up of this run of the program.
#[inline(always)]
pub(crate) unsafe fn add(word: *mut u64, amount: u64) {
    // SAFETY: the caller's; the verifier checks it again.
    unsafe { core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) word, in(reg) amount) };
}

/// The same, and gives what was there before: an instruction of kernel 5.12.
///
/// # Safety
/// As for [`add`].
#[inline(always)]
pub(crate) unsafe fn fetch_add(word: *mut u64, amount: u64) -> u64 {
    let mut before = amount;
    // SAFETY: the caller's; the verifier checks it again.
    unsafe {
        core::arch::asm!(
            "{1} = atomic_fetch_add((u64 *)({0} + 0), {1})",
            in(reg) word,
            inout(reg) before
        );
    }
    before
}

/// A word of the counter map that one program alone writes.
#[inline(always)]
pub(crate) fn counter_word(index: u32) -> Option<*mut u64> {
    COUNTERS.get_ptr_mut(index)
}

/// Sends a row; returns whether it fitted.
#[inline(always)]
pub(crate) fn send_row(bytes: &[u8]) -> bool {
    let sent = ROWS.output::<[u8]>(bytes, u64::from(BPF_RB_NO_WAKEUP)).is_ok();
    if !sent {
        count(counter::ROWS_LOST, 1);
    }
    sent
}

/// Sends an event; returns whether it fitted. Nobody is woken: userspace comes at the edge of its window.
#[inline(always)]
pub(crate) fn send_event(bytes: &[u8]) -> bool {
    let sent = EVENTS.output::<[u8]>(bytes, u64::from(BPF_RB_NO_WAKEUP)).is_ok();
    if !sent {
        count(counter::EVENTS_LOST, 1);
    }
    sent
}

/// Whether the event buffer is half full or more: what comes often then goes to sums, and the rest of the room is
/// left to the ends of cgroups and of long-lived tasks.
#[inline(always)]
pub(crate) fn crowded() -> bool {
    EVENTS.query(u64::from(BPF_RB_AVAIL_DATA)) >= kernel::EVENT_BYTES.load() / 2
}

/// Adds an ended task to the sum of its name; counts its time as lost where there are too many names.
#[inline(always)]
pub(crate) fn sum(record: &TaskRecord) {
    count(counter::TASKS_SUMMED, 1);
    let key = SumKey { run: record.run, cgroup: record.cgroup, comm: record.comm };
    if SUMS.get_ptr_mut(key).is_none() {
        // It fails where another CPU was quicker, or where the map is full: the look below tells.
        let _ = SUMS.insert(key, TaskSum::default(), u64::from(BPF_NOEXIST));
    }
    let Some(sum) = SUMS.get_ptr_mut(key) else {
        count(counter::TASKS_LOST_NS, record.exec_ns);
        return;
    };
    // SAFETY: an element of the map.
    unsafe { add(&raw mut (*sum).tasks, 1) };
    // SAFETY: as above.
    unsafe { add(&raw mut (*sum).exec_ns, record.exec_ns) };
}

/// Whether exactly one event was lost so far: the moment to say so.
#[inline(always)]
pub(crate) fn first_loss() -> bool {
    COUNTERS.get(counter::EVENTS_LOST).copied() == Some(1)
}

/// Room for a path on this CPU.
#[inline(always)]
pub(crate) fn path_scratch() -> Option<&'static mut PathRecord> {
    // SAFETY: per-CPU, and a program is not preempted by another one of the same kind on its CPU.
    PATH_SCRATCH.get_ptr_mut(0).map(|record| unsafe { &mut *record })
}

/// The bytes of a record's first `length` bytes of path.
#[inline(always)]
pub(crate) fn path_bytes(record: &PathRecord, length: usize) -> &[u8] {
    let bytes = core::ptr::from_ref(record).cast::<u8>();
    // SAFETY: the caller bounds `length` by `PATH_LEN`.
    unsafe { core::slice::from_raw_parts(bytes, PATH_RECORD_HEAD + length) }
}
