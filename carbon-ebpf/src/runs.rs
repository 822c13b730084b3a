//! Runs: a process tree is followed from fork to fork by an id that userspace gives to its first process before
//! it executes anything. No process is moved, and while there is no run every event costs one look.
//!
//! The id is kept by thread group in a hash, which every supported kernel has; an entry lives until its last
//! task is freed, so that a task's final finds its run.

use crate::books::{bytes_of, every_task};
use crate::{kernel, maps};
use aya_ebpf::{
    helpers::generated::bpf_get_current_task,
    macros::{btf_tracepoint, raw_tracepoint},
    programs::{BtfTracePointContext, RawTracePointContext},
};
use carbon_ebpf::{PF_KTHREAD, RunCounts, RunMember, TaskRecord, control, counter, kind};

/// What a task has run that is always told when it begins to exit.
const LONG_NS: u64 = 1_000_000;

/// Run by the first process of a run, on itself, with the run's id as argument.
#[raw_tracepoint]
pub(crate) fn carbon_enrol(ctx: RawTracePointContext) -> i32 {
    let run: u64 = ctx.arg(0);
    // SAFETY: the helper has no arguments.
    let task = unsafe { bpf_get_current_task() };
    i32::from(!join(task, run))
}

/// The run of a task that is to be reported: 0 for a task of no run where every task is wanted.
#[inline(always)]
pub(crate) fn reported(task: u64) -> Option<u64> {
    let run = if maps::control(control::RUNS) == 0 { 0 } else { run_of(task) };
    (run != 0 || every_task()).then_some(run)
}

/// The entry of a task's process. One that an earlier process with the same id left behind is none: it stays where the
/// program at the end of a task was not run.
#[inline(always)]
fn member(task: u64) -> Option<*mut RunMember> {
    let tgid = kernel::half(task + kernel::TASK_TGID.load());
    let member = maps::MEMBERS.get_ptr_mut(tgid)?;
    // SAFETY: an element of the map.
    let start_ns = unsafe { (*member).start_ns };
    let leader = kernel::word(task + kernel::TASK_GROUP_LEADER.load());
    let ours = if kernel::half(leader + kernel::TASK_PID.load()) == tgid {
        start_ns == kernel::word(leader + kernel::TASK_START_TIME.load())
    } else {
        // The first thread may be freed before the others, in another CPU's turn: its memory is then somebody else's.
        start_ns <= kernel::word(task + kernel::TASK_START_TIME.load())
    };
    ours.then_some(member)
}

#[inline(always)]
fn run_of(task: u64) -> u64 {
    // SAFETY: an element of the map.
    member(task).map_or(0, |member| unsafe { (*member).run })
}

/// Makes the process of its first task part of a run; returns whether there was room.
#[inline(always)]
fn join(task: u64, run: u64) -> bool {
    let member = RunMember { run, tasks: 1, start_ns: kernel::process_start_ns(task) };
    if maps::MEMBERS.insert(kernel::half(task + kernel::TASK_TGID.load()), member, 0).is_err() {
        maps::count(counter::MEMBERS_LOST, 1);
        return false;
    }
    started(run);
    if let Some(counts) = maps::RUN_COUNTS.get_ptr_mut(run) {
        // SAFETY: an element of the map.
        unsafe { maps::add(&raw mut (*counts).processes, 1) };
    }
    true
}

#[inline(always)]
fn started(run: u64) {
    if let Some(counts) = maps::RUN_COUNTS.get_ptr_mut(run) {
        // SAFETY: an element of the map.
        unsafe { maps::add(&raw mut (*counts).alive, 1) };
        // SAFETY: as above.
        unsafe { maps::add(&raw mut (*counts).unfreed, 1) };
    } else {
        let _ =
            maps::RUN_COUNTS.insert(run, RunCounts { alive: 1, unfreed: 1, freed_ns: 0, processes: 0 }, 0);
    }
}

/// A fork, of a process or of a thread: `(struct task_struct *parent, struct task_struct *child)`.
#[btf_tracepoint(function = "sched_process_fork")]
pub(crate) fn carbon_fork(ctx: BtfTracePointContext) -> i32 {
    if maps::control(control::RUNS) == 0 {
        return 0;
    }
    let (parent, child): (u64, u64) = (ctx.arg(0), ctx.arg(1));
    let parent_tgid = kernel::half(parent + kernel::TASK_TGID.load());
    let Some(member) = member(parent) else { return 0 };
    // SAFETY: an element of the map.
    let run = unsafe { (*member).run };
    let child_tgid = kernel::half(child + kernel::TASK_TGID.load());
    if child_tgid == parent_tgid {
        // SAFETY: an element of the map.
        unsafe { maps::add(&raw mut (*member).tasks, 1) };
        started(run);
    } else {
        join(child, run);
    }
    0
}

/// A task of a run executes another program, and so changes its name: `(struct task_struct *, ...)`.
#[btf_tracepoint(function = "sched_process_exec")]
pub(crate) fn carbon_exec(ctx: BtfTracePointContext) -> i32 {
    let task: u64 = ctx.arg(0);
    if let Some(run) = reported(task)
        && !maps::crowded()
    {
        let mut record = TaskRecord::default();
        kernel::describe(task, kind::TASK_EXEC, run, &mut record);
        maps::send_event(bytes_of(&record));
    }
    0
}

/// A task of a run begins to exit: `(struct task_struct *, ...)`. What it has used by now is sent, since the program
/// at its end may not be run: the task is freed in the context of whatever runs then, which a guard of the kernel or
/// of a hypervisor may keep programs out of. Where the buffer is crowded only what ran long is sent: a CPU makes at most
/// a thousand of these in a second.
#[btf_tracepoint(function = "sched_process_exit")]
pub(crate) fn carbon_exit(ctx: BtfTracePointContext) -> i32 {
    let task: u64 = ctx.arg(0);
    let run = run_of(task);
    if run == 0 {
        return 0;
    }
    if kernel::word(task + kernel::TASK_SUM_EXEC.load()) > LONG_NS || !maps::crowded() {
        let mut record = TaskRecord::default();
        kernel::describe(task, kind::TASK_EXIT, run, &mut record);
        maps::send_event(bytes_of(&record));
    }
    if let Some(counts) = maps::RUN_COUNTS.get_ptr_mut(run) {
        // SAFETY: an element of the map.
        unsafe { maps::add(&raw mut (*counts).alive, u64::MAX) };
    }
    0
}

/// A task is freed. Its `sum_exec_runtime` is final, where that at sched_process_exit is up to a tick old.
#[btf_tracepoint(function = "sched_process_free")]
pub(crate) fn carbon_free(ctx: BtfTracePointContext) -> i32 {
    let task: u64 = ctx.arg(0);
    if kernel::half(task + kernel::TASK_FLAGS.load()) & PF_KTHREAD != 0 {
        maps::count(counter::KERNEL_THREADS_ENDED_NS, kernel::word(task + kernel::TASK_SUM_EXEC.load()));
    }
    let Some(run) = reported(task) else { return 0 };
    let mut record = TaskRecord::default();
    kernel::describe(task, kind::TASK_FREED, run, &mut record);
    // What no row can have told is as well told by a sum.
    let short_lived = record.start_ns > maps::control(control::TASKS_PASSED_NS);
    if (short_lived && maps::crowded()) || !maps::send_event(bytes_of(&record)) {
        maps::sum(&record);
    }
    if run != 0 {
        left(task, &record);
    }
    0
}

/// Takes a freed task out of its run.
#[inline(always)]
fn left(task: u64, record: &TaskRecord) {
    if let Some(member) = member(task) {
        // SAFETY: an element of the map.
        let tasks = unsafe { &raw mut (*member).tasks };
        // SAFETY: as above.
        unsafe { maps::add(tasks, u64::MAX) };
        // Two last threads freed at once may both see zero: the second removal finds nothing.
        // SAFETY: as above.
        if unsafe { core::ptr::read_volatile(tasks) } == 0 {
            let _ = maps::MEMBERS.remove(record.tgid);
        }
    }
    if let Some(counts) = maps::RUN_COUNTS.get_ptr_mut(record.run) {
        // SAFETY: an element of the map.
        unsafe { maps::add(&raw mut (*counts).freed_ns, record.exec_ns) };
        // SAFETY: as above.
        unsafe { maps::add(&raw mut (*counts).unfreed, u64::MAX) };
    }
}
