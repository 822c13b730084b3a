//! Types shared by the kernel programs and userspace, with their layout asserted on both sides.
//!
//! Everything here is plain old data of 8-byte words (or padded to them), so that a record read from a map is
//! valid whatever its bytes are. Times are nanoseconds of `sum_exec_runtime`, the scheduler's own clock.

#![no_std]

use bytemuck::{Pod, Zeroable};
use core::mem::{offset_of, size_of};

/// Packages that a row has room for. Userspace folds the packages of a larger machine into the last column and
/// says so.
pub const PACKAGES_MAX: usize = 8;

/// Possible CPUs that the programs have room for.
pub const CPUS_MAX: usize = 1024;

/// Bytes of a command's name, as the kernel keeps it (`TASK_COMM_LEN`).
pub const COMM_LEN: usize = 16;

/// Bytes of a cgroup's path that an event carries; a longer one is found by walking the tree.
pub const PATH_LEN: usize = 512;

/// Cells of the hook's table on each CPU, two for each hash; a power of two. As many as the kernel lets a per-CPU value have
/// bytes for (`PCPU_MIN_UNIT_SIZE`, 32 KiB): of a thousand active keys one in thirty finds both of its cells taken.
pub const CELLS: usize = 2048;

/// `task_struct.flags` of a kernel thread (`include/linux/sched.h`, the same from 2.6 to 7.3; no BTF has it).
pub const PF_KTHREAD: u32 = 0x0020_0000;

/// `task_struct.flags` of a task that exits (`include/linux/sched.h`, the same from 2.6 to 7.3).
pub const PF_EXITING: u32 = 0x0000_0004;

/// `task_struct.prio` of the least urgent real-time task, and one (`include/linux/sched/prio.h`, the same from 2.6 to 7.3).
pub const MAX_RT_PRIO: i32 = 100;

/// Bit of a [`Cell`]'s key and of its name that says kernel thread; the rest is the cgroup's serial number and one, or its id.
pub const KEY_KERNEL_THREAD: u64 = 1 << 63;

/// Key of the idle task in a [`Slot`]. No cgroup has it: that many are never made.
pub const KEY_IDLE: u64 = u64::MAX;

/// Key of a [`Slot`] with nothing pending: the task that runs is asked for its key when it leaves.
pub const KEY_NONE: u64 = 0;

/// A CPU as the programs see it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct CpuEntry {
    /// Offset of this CPU's copy of per-CPU data from the per-CPU address, modulo 2^64.
    pub per_cpu_offset: u64,
    /// Column of the CPU's package, below [`PACKAGES_MAX`].
    pub package: u64,
}

/// What a record in the row or event buffer is. The first word of each.
pub mod kind {
    /// [`CgroupRecord`](super::CgroupRecord): a live cgroup, own tasks only.
    pub const CGROUP: u64 = 1;
    /// [`CgroupRecord`](super::CgroupRecord): time of all tasks of the machine, kernel threads included.
    pub const TOTAL: u64 = 2;
    /// [`CgroupRecord`](super::CgroupRecord): the cgroup's directory was removed.
    pub const CGROUP_REMOVED: u64 = 3;
    /// [`CgroupRecord`](super::CgroupRecord): the last reference to a removed cgroup is gone: its final.
    pub const CGROUP_RELEASED: u64 = 4;
    /// [`PathRecord`](super::PathRecord): a cgroup was made.
    pub const CGROUP_MADE: u64 = 5;
    /// [`TaskRecord`](super::TaskRecord): a live task.
    pub const TASK: u64 = 6;
    /// [`TaskRecord`](super::TaskRecord): a task is gone: its final.
    pub const TASK_FREED: u64 = 7;
    /// [`TaskRecord`](super::TaskRecord): a task executes another program.
    pub const TASK_EXEC: u64 = 8;
    /// [`TaskRecord`](super::TaskRecord): a task of a run begins to exit: up to a tick before its final.
    pub const TASK_EXIT: u64 = 9;
}

/// CPU time of a cgroup. Only the first `packages` words of `exec_ns` are sent.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct CgroupRecord {
    /// One of [`kind`].
    pub kind: u64,
    /// Id of the cgroup.
    pub cgroup: u64,
    /// Id of the cgroup above it, where its time is in that one's too (cpuacct); else 0.
    pub parent: u64,
    /// Time by package.
    pub exec_ns: [u64; PACKAGES_MAX],
}

/// Bytes of a [`CgroupRecord`] before its times.
pub const CGROUP_RECORD_HEAD: usize = offset_of!(CgroupRecord, exec_ns);

/// Path of a new cgroup below the root of its hierarchy. Only the first `length` bytes of `path` are sent.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct PathRecord {
    /// [`kind::CGROUP_MADE`].
    pub kind: u64,
    /// Id of the cgroup.
    pub cgroup: u64,
    /// Bytes of the path.
    pub length: u64,
    /// The path, cut at [`PATH_LEN`].
    pub path: [u8; PATH_LEN],
}

/// Bytes of a [`PathRecord`] before its path.
pub const PATH_RECORD_HEAD: usize = offset_of!(PathRecord, path);

/// A task, as it is or as it ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct TaskRecord {
    /// One of [`kind`].
    pub kind: u64,
    /// Run that the task belongs to, 0 for none.
    pub run: u64,
    /// Id of its cgroup.
    pub cgroup: u64,
    /// Its CPU time.
    pub exec_ns: u64,
    /// Address of its `task_struct`: the one thing that stays the same where a thread executes another program.
    pub task: u64,
    /// When it began, monotonic: tells two processes with the same id apart.
    pub start_ns: u64,
    /// Thread id.
    pub tid: u32,
    /// Thread group, which is what users call the process id.
    pub tgid: u32,
    /// CPU it ran on last.
    pub cpu: u32,
    /// `task_struct.flags`.
    pub flags: u32,
    /// Name, ended by a zero byte.
    pub comm: [u8; COMM_LEN],
}

/// A process of a run: a value of the map by thread group.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct RunMember {
    /// The run.
    pub run: u64,
    /// Tasks of the process that are not freed yet.
    pub tasks: u64,
    /// When the process began: another one with the same id is no member.
    pub start_ns: u64,
}

/// How many tasks a run has.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct RunCounts {
    /// Tasks that have not begun to exit.
    pub alive: u64,
    /// Tasks that are not freed yet.
    pub unfreed: u64,
    /// CPU time of those that are.
    pub freed_ns: u64,
    /// Processes that ever belonged to it.
    pub processes: u64,
}

/// What ends of tasks are summed by where there are too many to be told one by one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct SumKey {
    /// Run.
    pub run: u64,
    /// Id of the cgroup.
    pub cgroup: u64,
    /// Name, ended by a zero byte.
    pub comm: [u8; COMM_LEN],
}

/// A sum over ended tasks.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct TaskSum {
    /// How many.
    pub tasks: u64,
    /// Their CPU time.
    pub exec_ns: u64,
}

/// Words of the control map, written by userspace.
pub mod control {
    /// Runs that are open: zero lets every fork, exec and exit pass at the cost of one look.
    pub const RUNS: u32 = 0;
    /// Not zero: report every task, not only those of runs.
    pub const EVERY_TASK: u32 = 1;
    /// Cgroups that a pass leaves out at its beginning: earlier passes of the same snapshot had them.
    pub const ROWS_FROM: u32 = 2;
    /// Monotonic time at which the last pass over the tasks ended: a task that began later is in no row.
    pub const TASKS_PASSED_NS: u32 = 3;
    /// Words of the map.
    pub const WORDS: u32 = 4;
}

/// Words of the counter map, written by the programs.
pub mod counter {
    /// Rows that did not fit in the row buffer.
    pub const ROWS_LOST: u32 = 0;
    /// Events that did not fit in the event buffer.
    pub const EVENTS_LOST: u32 = 1;
    /// CPU time of cgroups whose removal did not fit in the event buffer.
    pub const REMOVED_LOST_NS: u32 = 2;
    /// CPU time of tasks whose end did not fit in the event buffer.
    pub const TASKS_LOST_NS: u32 = 3;
    /// Processes that did not fit in the map of runs, and so left their run.
    pub const MEMBERS_LOST: u32 = 4;
    /// CPU time of live kernel threads: the sum of the last pass over the tasks.
    pub const KERNEL_THREADS_NS: u32 = 5;
    /// CPU time of kernel threads that ended.
    pub const KERNEL_THREADS_ENDED_NS: u32 = 6;
    /// Tasks that the last pass saw.
    pub const TASKS_SEEN: u32 = 7;
    /// Address of the machine's per-CPU sums of CPU time (root of the cpuacct controller).
    pub const TOTAL_ADDRESS: u32 = 8;
    /// Scratch, for making an address a plain number.
    pub const SCRATCH: u32 = 9;
    /// Bookings, counted only where a test has some of them go wrong.
    pub const BOOKINGS: u32 = 10;
    /// Cgroups that the pass has come by.
    pub const CGROUPS_SEEN: u32 = 11;
    /// Ends of tasks that went to a sum, since the event buffer was half full or more.
    pub const TASKS_SUMMED: u32 = 12;
    /// Words of the map.
    pub const WORDS: u32 = 13;
}

/// What runs on a CPU now, on the rung that hooks the switch. One cache line.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Slot {
    /// Address of the task, 0 before the first fold.
    pub task: u64,
    /// Its `sum_exec_runtime` up to which it is booked.
    pub booked_ns: u64,
    /// What is pending is booked to it: [`KEY_IDLE`] exactly while the CPU is idle, [`KEY_NONE`] where nothing is.
    pub key: u64,
    /// Booked to the key, but not in its cell yet.
    pub pending_ns: u64,
    /// Idle time, complete slices only.
    pub idle_ns: u64,
    /// Start of the idle slice, monotonic, while the CPU is idle.
    pub idle_since_ns: u64,
    /// Switches whose previous task was not the remembered one.
    pub missed_switches: u32,
    /// Odd while the CPU changes the slot or its cells: a reader that finds it even, and the same after reading, has
    /// read one state. Plain stores in this order suffice where stores stay in order (x86-64); on arm64 a reader can
    /// see a change without its number, and is then off by a slice that the next reading makes good.
    pub sequence: u32,
    /// Time whose key found no room.
    pub overflow_ns: u64,
}

/// A task that exits on a CPU whose slot remembers another one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Leaving {
    /// Its address; 0 for none.
    pub task: u64,
    /// Its `sum_exec_runtime` when it was picked for the last time before.
    pub picked_ns: u64,
}

/// How long a package has had any CPU busy.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Wake {
    /// CPUs that are not idle. One that was idle from the beginning counts as busy until it has woken up once.
    pub busy_cpus: u64,
    /// Since when there is any, monotonic.
    pub since_ns: u64,
    /// Time with any before that.
    pub awake_ns: u64,
}

/// What runs on a CPU that is not to be disturbed, as another one sees it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Peek {
    /// [`Slot::sequence`] before and after, if they are the same; else odd.
    pub sequence: u64,
    /// `sum_exec_runtime` of the task.
    pub exec_ns: u64,
    /// The name of what the task is to be booked to: its cgroup's id, and the class.
    pub name: u64,
}

/// CPU time of a key on one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Cell {
    /// The cgroup's serial number and one, and the class; 0 for a free cell. Without the kernel's types, its id.
    pub key: u64,
    /// Its time on this CPU.
    pub exec_ns: u64,
}

/// The cells of one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Cells {
    /// A key's place is that of [`cell_index`], or the neighbour that differs in the last bit.
    pub cells: [Cell; CELLS],
}

/// What the keys of one CPU's cells are called: ids of cgroups, and the class. Apart from them, since per-CPU data ends at
/// 32 KiB (`PCPU_MIN_UNIT_SIZE`, include/linux/percpu.h), and read only by userspace.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct CellNames {
    /// In the places of the cells.
    pub names: [u64; CELLS],
    /// Of the slot's key, where that has no cell.
    pub crowded: u64,
}

/// The cell of a key: the top bits of a Fibonacci hash (Knuth, The Art of Computer Programming 3, 6.4).
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "as many bits as the table has cells for")]
pub const fn cell_index(key: u64) -> usize {
    (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - CELLS.trailing_zeros())) as usize
}

/// Events that can be counted at one time.
pub const EVENT_COUNTERS: usize = 3;

/// Events of a key on one CPU, in the order in which they were asked for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct EventCounts {
    /// By counter.
    pub counts: [u64; EVENT_COUNTERS],
}

/// The counters of a CPU as they were read last.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct CounterState {
    /// Not zero once the counter has been read.
    pub seen: [u64; EVENT_COUNTERS],
    /// What it showed.
    pub last: [u64; EVENT_COUNTERS],
    /// For how long it was to count.
    pub enabled_ns: [u64; EVENT_COUNTERS],
    /// For how long it did: less, where more events are counted than the processor has counters for.
    pub running_ns: [u64; EVENT_COUNTERS],
    /// Of keys that found no room.
    pub overflow: EventCounts,
}

const _: () = {
    assert!(size_of::<EventCounts>() == 8 * EVENT_COUNTERS);
    assert!(size_of::<CounterState>() == 40 * EVENT_COUNTERS);
    assert!(size_of::<CpuEntry>() == 16);
    assert!(size_of::<CgroupRecord>() == 24 + 8 * PACKAGES_MAX);
    assert!(CGROUP_RECORD_HEAD == 24);
    assert!(size_of::<PathRecord>() == 24 + PATH_LEN);
    assert!(PATH_RECORD_HEAD == 24);
    assert!(size_of::<TaskRecord>() == 80);
    assert!(offset_of!(TaskRecord, tid) == 48 && offset_of!(TaskRecord, comm) == 64);
    assert!(size_of::<RunMember>() == 24);
    assert!(size_of::<RunCounts>() == 32);
    assert!(size_of::<SumKey>() == 32);
    assert!(size_of::<TaskSum>() == 16);
    assert!(size_of::<Slot>() == 64);
    assert!(size_of::<Leaving>() == 16);
    assert!(size_of::<Peek>() == 24);
    assert!(size_of::<Wake>() == 24);
    assert!(size_of::<Cell>() == 16);
    assert!(size_of::<Cells>() == 16 * CELLS);
    assert!(size_of::<CellNames>() == 8 * CELLS + 8);
    assert!(CELLS.is_power_of_two());
};
