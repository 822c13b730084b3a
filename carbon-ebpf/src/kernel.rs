//! Where the running kernel keeps what the programs read.
//!
//! Rust has no CO-RE relocations: userspace finds every offset in the kernel's own BTF and sets these constants
//! before the object is loaded. The verifier then sees frozen read-only data, that is, known numbers.

use aya_ebpf::{
    Global,
    cty::c_void,
    helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_kernel_str},
};
use carbon_ebpf::{COMM_LEN, TaskRecord};

macro_rules! constants {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[unsafe(no_mangle)]
        pub(crate) static $name: Global<u64> = Global::new(0);
    )*};
}

constants! {
    /// Number of possible CPUs.
    CPU_COUNT;
    /// Number of packages, at most `PACKAGES_MAX`.
    PACKAGE_COUNT;
    /// Books every so many rows or switches to a wrong key, so that tests can see that they notice. 0, as it is
    /// outside tests, lets the verifier remove the branch.
    MISBOOK_EVERY;
    /// The hook does not see switches away from the threads of this process, so that tests can see what it makes of
    /// that. 0 as above.
    UNSEEN_FROM;
    /// Rows that one pass over the cgroups may write.
    ROWS_MAX;
    /// Bytes of the event buffer.
    EVENT_BYTES;
    /// Events that are counted by key.
    COUNTERS_WANTED;
    /// `bpf_array.pptrs`.
    BPF_ARRAY_PPTRS;
    /// `cgroup.kn`.
    CGROUP_KN;
    /// `kernfs_node.id`.
    KERNFS_NODE_ID;
    /// `cgroup.self.serial_nr`.
    CGROUP_SERIAL;
    /// `cgroup_subsys_state.serial_nr`.
    CSS_SERIAL;
    /// `cgroup.level`.
    CGROUP_LEVEL;
    /// Id of the hierarchy that is followed: 0 for cgroup2.
    HIERARCHY_ID;
    /// Not zero: it is that of the cpuacct controller, of version 1.
    BY_CPUACCT;
    /// `cgroup.subsys[cpuacct_cgrp_id]`.
    CGROUP_CPUACCT;
    /// `cgroup_subsys_state.cgroup`.
    CSS_CGROUP;
    /// `cgroup.root`.
    CGROUP_ROOT;
    /// `cgroup_root.hierarchy_id`.
    CGROUP_ROOT_HIERARCHY_ID;
    /// `cgroup.rstat_base_cpu`, or `cgroup.rstat_cpu` before it was split off.
    CGROUP_RSTAT;
    /// From there to `bstat.cputime.sum_exec_runtime`.
    RSTAT_SUM_EXEC;
    /// `task_struct.pid`.
    TASK_PID;
    /// `task_struct.tgid`.
    TASK_TGID;
    /// `task_struct.group_leader`.
    TASK_GROUP_LEADER;
    /// `task_struct.flags`.
    TASK_FLAGS;
    /// `task_struct.comm`.
    TASK_COMM;
    /// `task_struct.start_time`.
    TASK_START_TIME;
    /// `task_struct.wake_cpu`.
    TASK_WAKE_CPU;
    /// `task_struct.cgroups`.
    TASK_CGROUPS;
    /// `task_struct.se.sum_exec_runtime`.
    TASK_SUM_EXEC;
    /// `task_struct.se.prev_sum_exec_runtime`.
    TASK_PREV_SUM_EXEC;
    /// `task_struct.prio`.
    TASK_PRIO;
    /// `css_set.dfl_cgrp`.
    CSS_SET_DFL_CGRP;
    /// `css_set.subsys[cpuacct_cgrp_id]`; 0 where the kernel has no cpuacct.
    CSS_SET_CPUACCT;
    /// `cgroup_subsys_state.parent`.
    CSS_PARENT;
    /// `cpuacct.cpuusage`.
    CPUACCT_CPUUSAGE;
}

/// A word at a kernel address; 0 where it cannot be read.
#[inline(always)]
pub(crate) fn word(address: u64) -> u64 {
    let mut value = 0u64;
    // SAFETY: the helper checks the address itself and fills at most the 8 bytes of `value`.
    unsafe { bpf_probe_read_kernel((&raw mut value).cast(), 8, address as *const c_void) };
    value
}

/// A 32-bit word at a kernel address; 0 where it cannot be read.
#[inline(always)]
pub(crate) fn half(address: u64) -> u32 {
    let mut value = 0u32;
    // SAFETY: as in `word`, with 4 bytes.
    unsafe { bpf_probe_read_kernel((&raw mut value).cast(), 4, address as *const c_void) };
    value
}

/// A word of a kernel object behind a typed pointer: a plain load, at an offset that the verifier knows.
#[inline(always)]
pub(crate) unsafe fn typed<T: Copy>(object: *const u8, offset: u64) -> T {
    // SAFETY: the verifier checks the load against the kernel's types.
    unsafe { object.add(offset as usize).cast::<T>().read_volatile() }
}

/// The same number, of which the compiler knows nothing: it then compares and uses one register, not another one
/// that it derives, of which the verifier would know nothing.
#[inline(always)]
pub(crate) fn opaque(mut number: u64) -> u64 {
    // SAFETY: no instruction.
    unsafe {
        core::arch::asm!("/* {0} */", inout(reg) number, options(pure, nomem, nostack, preserves_flags))
    };
    number
}

/// Id of a cgroup.
#[inline(always)]
pub(crate) fn cgroup_id(cgroup: u64) -> u64 {
    word(word(cgroup + CGROUP_KN.load()) + KERNFS_NODE_ID.load())
}

/// Whether a cgroup is of the hierarchy that is followed; that of cgroup2 is 0 (`cgroup_init`,
/// kernel/cgroup/cgroup.c).
#[inline(always)]
pub(crate) fn is_followed(cgroup: u64) -> bool {
    let hierarchy = half(word(cgroup + CGROUP_ROOT.load()) + CGROUP_ROOT_HIERARCHY_ID.load());
    u64::from(hierarchy) == HIERARCHY_ID.load()
}

/// Id of a task's cgroup in the hierarchy that is followed.
#[inline(always)]
pub(crate) fn task_cgroup_id(task: u64) -> u64 {
    let css_set = word(task + TASK_CGROUPS.load());
    if BY_CPUACCT.load() == 0 {
        cgroup_id(word(css_set + CSS_SET_DFL_CGRP.load()))
    } else {
        cgroup_id(word(word(css_set + CSS_SET_CPUACCT.load()) + CSS_CGROUP.load()))
    }
}

/// Serial number of a task's cgroup in the hierarchy that is followed: no two have had the same since the machine was started.
#[inline(always)]
pub(crate) fn task_cgroup_serial(task: u64) -> u64 {
    let css_set = word(task + TASK_CGROUPS.load());
    if BY_CPUACCT.load() == 0 {
        word(word(css_set + CSS_SET_DFL_CGRP.load()) + CGROUP_SERIAL.load())
    } else {
        word(word(css_set + CSS_SET_CPUACCT.load()) + CSS_SERIAL.load())
    }
}

/// Id of the cgroup above one of the cpuacct hierarchy.
#[inline(always)]
pub(crate) fn cpuacct_parent_id(cgroup: u64) -> u64 {
    let css = word(cgroup + CGROUP_CPUACCT.load());
    cgroup_id(word(word(css + CSS_PARENT.load()) + CSS_CGROUP.load()))
}

/// When a task's process began. A thread that executes another program takes this over from the first one.
#[inline(always)]
pub(crate) fn process_start_ns(task: u64) -> u64 {
    word(word(task + TASK_GROUP_LEADER.load()) + TASK_START_TIME.load())
}

/// Fills a record from a task.
#[inline(always)]
pub(crate) fn describe(task: u64, kind: u64, run: u64, record: &mut TaskRecord) {
    record.kind = kind;
    record.run = run;
    record.cgroup = task_cgroup_id(task);
    record.exec_ns = word(task + TASK_SUM_EXEC.load());
    record.task = task;
    record.start_ns = word(task + TASK_START_TIME.load());
    record.tid = half(task + TASK_PID.load());
    record.tgid = half(task + TASK_TGID.load());
    record.cpu = half(task + TASK_WAKE_CPU.load());
    record.flags = half(task + TASK_FLAGS.load());
    // SAFETY: the helper checks the address and fills at most the bytes of `comm`.
    unsafe {
        bpf_probe_read_kernel_str(
            record.comm.as_mut_ptr().cast(),
            COMM_LEN as u32,
            (task + TASK_COMM.load()) as *const c_void,
        )
    };
}

/// Whether a test wants the switch away from this task not to be seen.
#[inline(always)]
pub(crate) unsafe fn is_unseen(prev: *const u8) -> bool {
    let process = UNSEEN_FROM.load();
    // SAFETY: `prev` is a typed pointer of a tracepoint.
    process != 0 && u64::from(unsafe { typed::<u32>(prev, TASK_TGID.load()) }) == process
}

/// A key, wrong every so many times where a test asks for that.
#[inline(always)]
pub(crate) fn booked_to(key: u64) -> u64 {
    let every = MISBOOK_EVERY.load();
    if every == 0 {
        return key;
    }
    crate::maps::count(carbon_ebpf::counter::BOOKINGS, 1);
    if crate::maps::counter_word(carbon_ebpf::counter::BOOKINGS)
        .is_some_and(|word| unsafe { *word } % every == 0)
    {
        key ^ (1 << 40)
    } else {
        key
    }
}
