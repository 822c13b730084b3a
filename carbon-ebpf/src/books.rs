//! The scheduler's own books: what it has added up per cgroup and CPU, read by iterators and at the end of a
//! cgroup. Nothing here is on the path of a context switch.

use crate::{kernel, maps};
use aya_ebpf::{
    EbpfContext,
    bindings::seq_file,
    cty::c_void,
    helpers::generated::{
        bpf_get_current_task, bpf_map_lookup_percpu_elem, bpf_probe_read_kernel_str, bpf_seq_write,
    },
    macros::{btf_tracepoint, raw_tracepoint},
    programs::{BtfTracePointContext, RawTracePointContext},
};
use carbon_ebpf::{
    CGROUP_RECORD_HEAD, CPUS_MAX, CgroupRecord, PACKAGES_MAX, PATH_LEN, TaskRecord, control, counter, kind,
};

/// Depth of nested cgroups that `prepare` climbs to the root.
const DEPTH_MAX: u32 = 64;

/// Run once by userspace before anything else: finds where each CPU's per-CPU data is, without any kernel symbol.
/// The landmark map's element of a CPU, minus the map's own per-CPU address, is the offset of that CPU.
#[raw_tracepoint]
pub(crate) fn carbon_prepare(_: RawTracePointContext) -> i32 {
    let Some(scratch) = maps::counter_word(counter::SCRATCH) else { return 1 };
    let map = (&raw const maps::LANDMARK).cast_mut().cast::<c_void>();
    let base = kernel::word(as_number(scratch, map as u64) + kernel::BPF_ARRAY_PPTRS.load());
    let cpus = kernel::CPU_COUNT.load() as u32;
    for cpu in 0..CPUS_MAX as u32 {
        if cpu >= cpus {
            break;
        }
        let key = 0u32;
        // SAFETY: the map and the key are valid; a CPU that is not possible gives null.
        let element = unsafe { bpf_map_lookup_percpu_elem(map, (&raw const key).cast(), cpu) };
        if element.is_null() {
            return 2;
        }
        let address = as_number(scratch, element as u64);
        if let Some(entry) = maps::CPUS.get_ptr_mut(cpu) {
            // SAFETY: an element of the map, which only this program writes.
            unsafe { (*entry).per_cpu_offset = address.wrapping_sub(base) };
        }
    }
    if kernel::CSS_SET_CPUACCT.load() != 0
        && let Some(word) = maps::counter_word(counter::TOTAL_ADDRESS)
    {
        // SAFETY: an element of the map, which only this program writes.
        unsafe { *word = root_cpuusage() };
    }
    0
}

/// The verifier refuses arithmetic on a pointer with unknown numbers; a word that went through memory is a number.
#[inline(always)]
fn as_number(scratch: *mut u64, pointer: u64) -> u64 {
    // SAFETY: `scratch` is an element of the counter map.
    unsafe {
        core::ptr::write_volatile(scratch, pointer);
        core::ptr::read_volatile(scratch)
    }
}

/// Per-CPU address of the root cpuacct's `cpuusage`: the time of all tasks.
#[inline(always)]
fn root_cpuusage() -> u64 {
    // SAFETY: the helper has no arguments.
    let task = unsafe { bpf_get_current_task() };
    let mut css =
        kernel::word(kernel::word(task + kernel::TASK_CGROUPS.load()) + kernel::CSS_SET_CPUACCT.load());
    for _ in 0..DEPTH_MAX {
        let parent = kernel::word(css + kernel::CSS_PARENT.load());
        if parent == 0 {
            break;
        }
        css = parent;
    }
    kernel::word(css + kernel::CPUACCT_CPUUSAGE.load())
}

/// Adds a per-CPU word up by package.
#[inline(always)]
fn by_package(per_cpu: u64, exec_ns: &mut [u64; PACKAGES_MAX]) {
    let cpus = kernel::CPU_COUNT.load() as u32;
    for cpu in 0..CPUS_MAX as u32 {
        if cpu >= cpus {
            break;
        }
        if let Some(entry) = maps::CPUS.get(cpu) {
            let nanos = kernel::word(per_cpu.wrapping_add(entry.per_cpu_offset));
            exec_ns[entry.package as usize & (PACKAGES_MAX - 1)] += nanos;
        }
    }
}

/// Per-CPU address of a cgroup's time: its own tasks' in cgroup2, with its descendants' in cpuacct.
#[inline(always)]
fn sum_exec(cgroup: u64) -> u64 {
    if kernel::BY_CPUACCT.load() != 0 {
        // `struct cpuacct` begins with its `css`, as userspace has checked.
        return kernel::word(
            kernel::word(cgroup + kernel::CGROUP_CPUACCT.load()) + kernel::CPUACCT_CPUUSAGE.load(),
        );
    }
    kernel::word(cgroup + kernel::CGROUP_RSTAT.load()) + kernel::RSTAT_SUM_EXEC.load()
}

/// What [`CgroupRecord::parent`] says.
#[inline(always)]
fn parent(cgroup: u64) -> u64 {
    if kernel::BY_CPUACCT.load() == 0 { 0 } else { kernel::cpuacct_parent_id(cgroup) }
}

/// The part of a record that holds times of this machine's packages.
#[inline(always)]
fn record_bytes(record: &CgroupRecord) -> &[u8] {
    let mut packages = kernel::PACKAGE_COUNT.load() as usize;
    if packages > PACKAGES_MAX {
        packages = PACKAGES_MAX;
    }
    let bytes = core::ptr::from_ref(record).cast::<u8>();
    // SAFETY: `packages` is at most the length of `exec_ns`.
    unsafe { core::slice::from_raw_parts(bytes, CGROUP_RECORD_HEAD + 8 * packages) }
}

/// Whether the pass takes the cgroup that it has come to: not those of earlier passes, and not more than there is
/// room for. The kernel cannot go on with a walk over cgroups that stopped half-way, so userspace begins it again.
#[inline(always)]
fn in_turn() -> bool {
    let Some(seen) = maps::counter_word(counter::CGROUPS_SEEN) else { return false };
    // SAFETY: an element of the map, which only this program writes during a pass.
    let index = unsafe {
        let index = *seen;
        *seen = index + 1;
        index
    };
    index.wrapping_sub(maps::control(control::ROWS_FROM)) < kernel::ROWS_MAX.load()
}

/// Tells the reader of an iterator's file that a row was written: with one byte for each, its read comes back in
/// time to take the rows out of their buffer.
#[inline(always)]
unsafe fn tell(context: *mut c_void) {
    let byte = 1u8;
    // SAFETY: `struct bpf_iter_meta { struct seq_file *seq; ... }` is what the context points at first.
    unsafe {
        let meta = *context.cast::<*const *mut seq_file>();
        bpf_seq_write(*meta, (&raw const byte).cast(), 1);
    }
}

/// The object of an iterator's context, `{ meta, object, ... }`: a typed pointer, null after the last one.
#[inline(always)]
unsafe fn iterated(context: *mut c_void) -> *const u8 {
    // SAFETY: the verifier knows the context's layout and checks the load.
    unsafe { *context.cast::<*const u8>().add(1) }
}

/// One row per live cgroup of the hierarchy that the iterator was opened on; the root gives the machine's total.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/cgroup")]
pub(crate) extern "C" fn carbon_cgroups(context: *mut c_void) -> i32 {
    // SAFETY: `struct bpf_iter__cgroup { meta; cgroup; }`.
    let cgroup = unsafe { iterated(context) };
    if cgroup.is_null() {
        return 0;
    }
    if !in_turn() {
        return 0;
    }
    // Plain loads through typed pointers: a helper call for each would be a third of the cost of a row.
    // SAFETY: the verifier checks them against the kernel's types.
    let (id, level) = unsafe {
        let node: *const u8 = kernel::typed(cgroup, kernel::CGROUP_KN.load());
        let id: u64 = kernel::typed(node, kernel::KERNFS_NODE_ID.load());
        (id, kernel::typed::<u32>(cgroup, kernel::CGROUP_LEVEL.load()))
    };
    let mut record = CgroupRecord { kind: kind::CGROUP, cgroup: id, parent: 0, exec_ns: [0; PACKAGES_MAX] };
    if level == 0 {
        let total = maps::counter_word(counter::TOTAL_ADDRESS);
        // SAFETY: an element of the map, written once by `carbon_prepare`.
        let address = total.map_or(0, |word| unsafe { *word });
        if address == 0 {
            return 0;
        }
        record.kind = kind::TOTAL;
        by_package(address, &mut record.exec_ns);
    } else {
        by_package(sum_exec(cgroup as u64), &mut record.exec_ns);
        // Of the many that only hold others there is nothing to tell.
        if record.exec_ns.iter().all(|nanos| *nanos == 0) {
            return 0;
        }
        record.cgroup = kernel::booked_to(id);
        record.parent = parent(cgroup as u64);
    }
    maps::send_row(record_bytes(&record));
    0
}

/// Adds up the live kernel threads, and writes one row per task that is asked for.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub(crate) extern "C" fn carbon_tasks(context: *mut c_void) -> i32 {
    // SAFETY: `struct bpf_iter__task { meta; task; }`.
    let task = unsafe { iterated(context) };
    if task.is_null() {
        return 0;
    }
    maps::count(counter::TASKS_SEEN, 1);
    // SAFETY: the verifier checks the loads against the kernel's types.
    unsafe {
        if kernel::typed::<u32>(task, kernel::TASK_FLAGS.load()) & carbon_ebpf::PF_KTHREAD != 0 {
            maps::count(counter::KERNEL_THREADS_NS, kernel::typed(task, kernel::TASK_SUM_EXEC.load()));
        }
    }
    let task = task as u64;
    if let Some(run) = crate::runs::reported(task) {
        let mut record = TaskRecord::default();
        kernel::describe(task, kind::TASK, run, &mut record);
        maps::send_row(bytes_of(&record));
        // SAFETY: an iterator's context.
        unsafe { tell(context) };
    }
    0
}

/// A record's bytes.
#[inline(always)]
pub(crate) fn bytes_of(record: &TaskRecord) -> &[u8] {
    let bytes = core::ptr::from_ref(record).cast::<u8>();
    // SAFETY: plain old data without padding.
    unsafe { core::slice::from_raw_parts(bytes, size_of::<TaskRecord>()) }
}

/// A new cgroup: `(struct cgroup *, const char *path)`.
#[btf_tracepoint(function = "cgroup_mkdir")]
pub(crate) fn carbon_mkdir(ctx: BtfTracePointContext) -> i32 {
    let cgroup: u64 = ctx.arg(0);
    if !kernel::is_followed(cgroup) {
        return 0;
    }
    let Some(record) = maps::path_scratch() else { return 0 };
    record.kind = kind::CGROUP_MADE;
    record.cgroup = kernel::cgroup_id(cgroup);
    let path: u64 = ctx.arg(1);
    // SAFETY: the helper checks the address and writes at most `PATH_LEN` bytes.
    let length = unsafe {
        bpf_probe_read_kernel_str(record.path.as_mut_ptr().cast(), PATH_LEN as u32, path as *const c_void)
    };
    // The verifier of 6.1 and 6.12 does not carry what a comparison of `length - 1` says over to `length`, so only
    // the former is used: characters without the zero at the end.
    let characters = kernel::opaque((length as u64).wrapping_sub(1));
    if characters < PATH_LEN as u64 {
        record.length = characters;
        maps::send_event(maps::path_bytes(record, characters as usize + 1));
    }
    0
}

/// A cgroup's directory is removed. All its tasks have left, but the last steps of an exiting one may follow.
#[btf_tracepoint(function = "cgroup_rmdir")]
pub(crate) fn carbon_rmdir(ctx: BtfTracePointContext) -> i32 {
    if let Some(lost) = ended(&ctx, kind::CGROUP_REMOVED) {
        maps::count(counter::REMOVED_LOST_NS, lost);
        warn_events_lost(&ctx);
    }
    0
}

/// The last reference to a removed cgroup is gone: no task can add to it any more.
#[btf_tracepoint(function = "cgroup_release")]
pub(crate) fn carbon_release(ctx: BtfTracePointContext) -> i32 {
    ended(&ctx, kind::CGROUP_RELEASED);
    0
}

/// Sends a cgroup's final; gives its time back where it did not fit.
#[inline(always)]
fn ended(ctx: &BtfTracePointContext, kind: u64) -> Option<u64> {
    let cgroup: u64 = ctx.arg(0);
    if !kernel::is_followed(cgroup) {
        return None;
    }
    let cgroup_id = kernel::cgroup_id(cgroup);
    let mut record =
        CgroupRecord { kind, cgroup: cgroup_id, parent: parent(cgroup), exec_ns: [0; PACKAGES_MAX] };
    by_package(sum_exec(cgroup), &mut record.exec_ns);
    if maps::send_event(record_bytes(&record)) {
        return None;
    }
    Some(record.exec_ns.iter().sum())
}

/// Said once: the counters have the rest.
#[inline(always)]
fn warn_events_lost(ctx: &impl EbpfContext) {
    if maps::first_loss() {
        aya_log_ebpf::warn!(ctx, "the event buffer is full: ends of cgroups go to the overflow account");
    }
}

/// Whether every task is to be reported, not only those of runs.
#[inline(always)]
pub(crate) fn every_task() -> bool {
    maps::control(control::EVERY_TASK) != 0
}
