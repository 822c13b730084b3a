//! The second rung: a program on every context switch, for kernels without an iterator over cgroups and as the
//! independent check of the books.
//!
//! The clock is the scheduler's own: a task's `sum_exec_runtime` when it is switched in, and when it is switched
//! out. That has cpu.stat's definition, and costs no helper call; one read of the monotonic clock is made where
//! the CPU becomes idle or stops being so. While the key stays the same, only the CPU's slot is touched.
//!
//! The key is read from the task that leaves, not from the one that comes: the kernel has just followed the same pointers
//! to charge it (`cgroup_account_cputime`, kernel/sched/fair.c), so that they are in the cache. It is the serial number of
//! the cgroup, which no other has before or after it and which lies near what the kernel has read; the id by which the
//! world knows the cgroup is two structures away, and is looked up where a key gets its cell, once. With a thousand cgroups
//! that was most of the cost.

use crate::{kernel, maps};
use aya_ebpf::{
    cty::c_void,
    helpers::generated::{
        bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_get_current_task, bpf_ktime_get_ns,
        bpf_map_lookup_percpu_elem,
    },
    macros::{btf_tracepoint, raw_tracepoint},
    programs::{BtfTracePointContext, RawTracePointContext},
};
use carbon_ebpf::{
    CELLS, Cell, Cells, KEY_IDLE, KEY_KERNEL_THREAD, KEY_NONE, Leaving, MAX_RT_PRIO, PF_EXITING, PF_KTHREAD,
    Peek, Slot, cell_index,
};
use core::sync::atomic::{Ordering, compiler_fence};

/// What a task is booked to; not asked of the idle one.
#[inline(always)]
unsafe fn key_of(task: *const u8) -> u64 {
    // SAFETY: `task` is a typed pointer of a tracepoint.
    unsafe {
        let css_set: *const u8 = kernel::typed(task, kernel::TASK_CGROUPS.load());
        let serial: u64 = if kernel::BY_CPUACCT.load() == 0 {
            let cgroup: *const u8 = kernel::typed(css_set, kernel::CSS_SET_DFL_CGRP.load());
            kernel::typed(cgroup, kernel::CGROUP_SERIAL.load())
        } else {
            let css: *const u8 = kernel::typed(css_set, kernel::CSS_SET_CPUACCT.load());
            kernel::typed(css, kernel::CSS_SERIAL.load())
        };
        classed(numbered(serial), kernel::typed(task, kernel::TASK_FLAGS.load()))
    }
}

/// That of a task that is known by its address.
#[inline(always)]
fn key_at(task: u64) -> u64 {
    classed(numbered(kernel::task_cgroup_serial(task)), kernel::half(task + kernel::TASK_FLAGS.load()))
}

/// The root cgroup of version 2 has serial number 0, and 0 is no key.
#[inline(always)]
fn numbered(serial: u64) -> u64 {
    serial.wrapping_add(1)
}

/// The name of a task's key: its cgroup's id, and the class.
#[inline(always)]
unsafe fn name_of(task: *const u8) -> u64 {
    // SAFETY: `task` is a typed pointer of a tracepoint.
    unsafe {
        let css_set: *const u8 = kernel::typed(task, kernel::TASK_CGROUPS.load());
        let cgroup: *const u8 = if kernel::BY_CPUACCT.load() == 0 {
            kernel::typed(css_set, kernel::CSS_SET_DFL_CGRP.load())
        } else {
            let css: *const u8 = kernel::typed(css_set, kernel::CSS_SET_CPUACCT.load());
            kernel::typed(css, kernel::CSS_CGROUP.load())
        };
        let node: *const u8 = kernel::typed(cgroup, kernel::CGROUP_KN.load());
        let id: u64 = kernel::typed(node, kernel::KERNFS_NODE_ID.load());
        classed(id, kernel::typed(task, kernel::TASK_FLAGS.load()))
    }
}

/// That of a task that is known by its address.
#[inline(always)]
fn name_at(task: u64) -> u64 {
    classed(kernel::task_cgroup_id(task), kernel::half(task + kernel::TASK_FLAGS.load()))
}

#[inline(always)]
fn classed(cgroup: u64, flags: u32) -> u64 {
    if flags & PF_KTHREAD == 0 { cgroup } else { cgroup | KEY_KERNEL_THREAD }
}

/// A context switch: `(bool preempt, struct task_struct *prev, struct task_struct *next, ...)`.
#[btf_tracepoint(function = "sched_switch")]
pub(crate) fn carbon_switch(ctx: BtfTracePointContext) -> i32 {
    let (prev, next): (*const u8, *const u8) = (ctx.arg(1), ctx.arg(2));
    // SAFETY: a typed pointer of the tracepoint.
    if unsafe { kernel::is_unseen(prev) } {
        return 0;
    }
    let Some(slot) = maps::SLOTS.get_ptr_mut(0) else { return 0 };
    // SAFETY: an element of this CPU, and the program is not preempted by itself.
    let slot = unsafe { &mut *slot };
    begin_change(slot);
    // SAFETY: typed pointers of the tracepoint.
    unsafe {
        let prev_ns: u64 = kernel::typed(prev, kernel::TASK_SUM_EXEC.load());
        if slot.task != prev as u64 {
            if slot.task != 0 {
                missed(slot, prev, prev_ns);
            }
        } else if slot.key != KEY_IDLE {
            let key = key_of(prev);
            if key != slot.key {
                let wrong = kernel::booked_to(key) ^ key;
                turn(slot, key ^ wrong, || name_of(prev) ^ wrong);
            }
            slot.pending_ns += prev_ns.wrapping_sub(slot.booked_ns);
        }
        let idle = kernel::typed::<u32>(next, kernel::TASK_PID.load()) == 0;
        if idle != (slot.key == KEY_IDLE) {
            turn(slot, if idle { KEY_IDLE } else { KEY_NONE }, || 0);
        }
        slot.task = next as u64;
        slot.booked_ns = kernel::typed(next, kernel::TASK_SUM_EXEC.load());
    }
    end_change(slot);
    0
}

/// The slot's sequence becomes odd, before anything else is written.
#[inline(always)]
fn begin_change(slot: &mut Slot) {
    count_change(slot);
    compiler_fence(Ordering::SeqCst);
}

/// The slot's sequence becomes even again, after everything else.
#[inline(always)]
fn end_change(slot: &mut Slot) {
    compiler_fence(Ordering::SeqCst);
    count_change(slot);
}

#[inline(always)]
fn count_change(slot: &mut Slot) {
    let next = slot.sequence.wrapping_add(1);
    // SAFETY: a field of the slot.
    unsafe { (&raw mut slot.sequence).write_volatile(next) };
}

/// Run by userspace on any CPU, with another one's number as argument: reads how much the task there has run, without
/// disturbing it. For CPUs that are to be left alone (`nohz_full`).
#[raw_tracepoint]
pub(crate) fn carbon_peek(ctx: RawTracePointContext) -> i32 {
    let cpu: u64 = ctx.arg(0);
    let Some(peeked) = maps::PEEKED.get_ptr_mut(0) else { return 1 };
    let map = (&raw const maps::SLOTS).cast_mut().cast::<c_void>();
    let key = 0u32;
    // SAFETY: the map and the key are valid; a CPU that is not possible gives null.
    let slot = unsafe { bpf_map_lookup_percpu_elem(map, (&raw const key).cast(), cpu as u32) }.cast::<Slot>();
    if slot.is_null() {
        return 2;
    }
    // SAFETY: a field of the slot, which its CPU may write meanwhile: hence volatile, and read again below.
    let before = unsafe { (&raw const (*slot).sequence).read_volatile() };
    // SAFETY: as above.
    let task = unsafe { (&raw const (*slot).task).read_volatile() };
    // A task that has gone meanwhile gives any number, and then the sequence has changed.
    let exec_ns = kernel::word(task + kernel::TASK_SUM_EXEC.load());
    let name = name_at(task);
    // SAFETY: as above.
    let after = unsafe { (&raw const (*slot).sequence).read_volatile() };
    let sequence = if before == after { u64::from(before) } else { 1 };
    // SAFETY: an element of the map, which only this program writes.
    unsafe { *peeked = Peek { sequence, exec_ns, name } };
    0
}

/// Closes the slot's key and opens another one; `name` is asked only where that has no cell yet.
#[inline(always)]
fn turn(slot: &mut Slot, key: u64, name: impl FnOnce() -> u64) {
    if slot.key == KEY_IDLE {
        // SAFETY: the helper has no arguments.
        slot.idle_ns += unsafe { bpf_ktime_get_ns() }.saturating_sub(slot.idle_since_ns);
    } else {
        settle(slot);
    }
    if key == KEY_IDLE {
        // SAFETY: the helper has no arguments.
        slot.idle_since_ns = unsafe { bpf_ktime_get_ns() };
    } else if key != KEY_NONE {
        open(key, name);
    }
    slot.key = key;
}

/// Gives a key its cell, if it has none, and writes its name beside it. Where both of its places are others', its time will
/// go to the hash, by its name.
#[inline(always)]
fn open(key: u64, name: impl FnOnce() -> u64) {
    let Some(table) = maps::CELL_TABLE.get_ptr_mut(0) else { return };
    // SAFETY: an element of this CPU.
    let table = unsafe { &mut *table };
    let place = place_of(table, key);
    if place.is_some_and(|place| table.cells[place & (CELLS - 1)].key == key) {
        return;
    }
    let Some(names) = maps::CELL_NAMES.get_ptr_mut(0) else { return };
    // SAFETY: an element of this CPU.
    let names = unsafe { &mut *names };
    let name = name();
    if let Some(place) = place {
        names.names[place & (CELLS - 1)] = name;
        table.cells[place & (CELLS - 1)].key = key;
    } else {
        names.crowded = name;
    }
}

/// Where the key's cell is, or a free one for it; nothing where both of its places are others'. It is not looked for a free
/// one before both are seen: the first may have become free after the key took the second.
#[inline(always)]
fn place_of(table: &Cells, key: u64) -> Option<usize> {
    let first = cell_index(key) & (CELLS - 1);
    let second = first ^ 1;
    let [one, other] = [table.cells[first].key, table.cells[second].key];
    if one == key {
        Some(first)
    } else if other == key {
        Some(second)
    } else if one == 0 {
        Some(first)
    } else if other == 0 {
        Some(second)
    } else {
        None
    }
}

/// Moves what is pending to the key's cell. A cell is never given to another key while it belongs to one: the loser
/// of a conflict goes to the hash, and what has no room there to the overflow account.
#[inline(always)]
fn settle(slot: &mut Slot) {
    let pending_ns = slot.pending_ns;
    slot.pending_ns = 0;
    if pending_ns == 0 {
        return;
    }
    let Some(table) = maps::CELL_TABLE.get_ptr_mut(0) else { return };
    // SAFETY: an element of this CPU.
    let table = unsafe { &mut *table };
    if let Some(place) = place_of(table, slot.key)
        && table.cells[place & (CELLS - 1)].key == slot.key
    {
        table.cells[place & (CELLS - 1)].exec_ns += pending_ns;
        return;
    }
    // SAFETY: an element of this CPU.
    let name = maps::CELL_NAMES.get_ptr_mut(0).map_or(0, |names| unsafe { (*names).crowded });
    if name == 0 {
        slot.overflow_ns += pending_ns;
    } else if let Some(crowded) = maps::CROWDED.get_ptr_mut(name) {
        // SAFETY: this CPU's copy of the element.
        unsafe { *crowded += pending_ns };
    } else if maps::CROWDED.insert(name, pending_ns, 0).is_err() {
        slot.overflow_ns += pending_ns;
    }
}

/// Run by userspace on a CPU with keys as arguments that nothing can be booked to any more, 0 for none: gives their cells
/// free there. The programs on this CPU's switches do not run meanwhile, as interrupts are off.
#[raw_tracepoint]
pub(crate) fn carbon_forget(ctx: RawTracePointContext) -> i32 {
    let Some(table) = maps::CELL_TABLE.get_ptr_mut(0) else { return 1 };
    // SAFETY: an element of this CPU.
    let table = unsafe { &mut *table };
    forget(table, ctx.arg(0));
    forget(table, ctx.arg(1));
    forget(table, ctx.arg(2));
    forget(table, ctx.arg(3));
    forget(table, ctx.arg(4));
    forget(table, ctx.arg(5));
    forget(table, ctx.arg(6));
    forget(table, ctx.arg(7));
    forget(table, ctx.arg(8));
    forget(table, ctx.arg(9));
    forget(table, ctx.arg(10));
    forget(table, ctx.arg(11));
    0
}

#[inline(always)]
fn forget(table: &mut Cells, key: u64) {
    if key != 0
        && let Some(place) = place_of(table, key)
        && table.cells[place & (CELLS - 1)].key == key
    {
        table.cells[place & (CELLS - 1)] = Cell { key: 0, exec_ns: 0 };
    }
}

/// A context switch on a kernel that does not describe its types: no field can be read, but the previous task is still the
/// current one, and helpers tell its cgroup. The clock is the monotonic one, so that interrupts and steal are in it.
/// Run by userspace on each CPU at the edge of a window too, where it closes what runs there.
#[raw_tracepoint]
pub(crate) fn carbon_raw(_: RawTracePointContext) -> i32 {
    let Some(slot) = maps::SLOTS.get_ptr_mut(0) else { return 0 };
    // SAFETY: an element of this CPU, and the program is not preempted by itself.
    let slot = unsafe { &mut *slot };
    // SAFETY: the helper has no arguments.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    let elapsed_ns = now_ns.saturating_sub(slot.booked_ns);
    if slot.booked_ns != 0 {
        // SAFETY: as above.
        if unsafe { bpf_get_current_pid_tgid() } == 0 {
            slot.idle_ns += elapsed_ns;
        } else {
            // SAFETY: as above.
            let id = unsafe { bpf_get_current_cgroup_id() };
            // Without the kernel's types there is no other number: the name is the key.
            open(id, || id);
            slot.key = id;
            slot.pending_ns = elapsed_ns;
            settle(slot);
        }
    }
    slot.booked_ns = now_ns;
    0
}

/// A switch whose previous task is not the remembered one: the program was not run for some switch before. What
/// the previous task ran since it was picked is booked to it, a lower bound; the rest stays missed.
#[inline(never)]
fn missed(slot: &mut Slot, prev: *const u8, prev_ns: u64) {
    slot.missed_switches += 1;
    let prev = prev as u64;
    let flags = kernel::half(prev + kernel::TASK_FLAGS.load());
    let idle = kernel::half(prev + kernel::TASK_PID.load()) == 0;
    let key = if idle { KEY_IDLE } else { key_at(prev) };
    if key != slot.key {
        turn(slot, key, || name_at(prev));
    }
    if key != KEY_IDLE && keeps_when_picked(prev) {
        let mut picked_ns = kernel::word(prev + kernel::TASK_PREV_SUM_EXEC.load());
        if flags & PF_EXITING != 0
            && let Some(leaving) = maps::LEAVING.get_ptr_mut(0)
        {
            // SAFETY: an element of this CPU.
            let leaving = unsafe { &mut *leaving };
            if leaving.task == prev {
                picked_ns = leaving.picked_ns;
                leaving.task = 0;
            }
        }
        slot.pending_ns += prev_ns.saturating_sub(picked_ns);
    }
}

/// Only the fair class of the scheduler writes down what a task had run when it was picked (`set_next_entity`,
/// kernel/sched/fair.c); one of a real-time class has a number from before, or none.
#[inline(always)]
fn keeps_when_picked(task: u64) -> bool {
    kernel::half(task + kernel::TASK_PRIO.load()) as i32 >= MAX_RT_PRIO
}

/// A task begins to exit: `(struct task_struct *, ...)`. Where the switch to it was not seen, when it was picked is
/// kept from here on: the kernel soon puts it in another group of its scheduler, and counts anew from there
/// (`sched_autogroup_exit_task`, kernel/sched/autogroup.c). What it ran before, often all of it, would be missed.
#[btf_tracepoint(function = "sched_process_exit")]
pub(crate) fn carbon_leave(ctx: BtfTracePointContext) -> i32 {
    let task: u64 = ctx.arg(0);
    let Some(slot) = maps::SLOTS.get_ptr_mut(0) else { return 0 };
    // SAFETY: a field of this CPU's slot, which a switch may change before the next line: the task is then known.
    let known = unsafe { (&raw const (*slot).task).read_volatile() };
    if known == task || known == 0 {
        return 0;
    }
    let Some(leaving) = maps::LEAVING.get_ptr_mut(0) else { return 0 };
    let picked_ns = kernel::word(task + kernel::TASK_PREV_SUM_EXEC.load());
    // SAFETY: an element of this CPU.
    unsafe { *leaving = Leaving { task, picked_ns } };
    0
}

/// Run by userspace on each CPU at the edge of a window: books the task that runs there up to its last tick, and
/// takes notice if it changed its cgroup. The first time it fills the slot.
#[raw_tracepoint]
pub(crate) fn carbon_fold(_: RawTracePointContext) -> i32 {
    let Some(slot) = maps::SLOTS.get_ptr_mut(0) else { return 1 };
    // SAFETY: an element of this CPU; the program runs with interrupts off.
    let slot = unsafe { &mut *slot };
    // SAFETY: the helper has no arguments.
    let task = unsafe { bpf_get_current_task() };
    let exec_ns = kernel::word(task + kernel::TASK_SUM_EXEC.load());
    let idle = kernel::half(task + kernel::TASK_PID.load()) == 0;
    let key = if idle { KEY_IDLE } else { key_at(task) };
    begin_change(slot);
    if slot.task != 0 && slot.task != task {
        missed(slot, task as *const u8, exec_ns);
    }
    if key != slot.key {
        turn(slot, key, || name_at(task));
    }
    if !idle {
        if slot.task == task {
            slot.pending_ns += exec_ns.wrapping_sub(slot.booked_ns);
        }
        settle(slot);
    }
    slot.task = task;
    slot.booked_ns = exec_ns;
    end_change(slot);
    0
}
