//! Events of the processor or of the kernel by key: an option, in a program of its own that is loaded only where it is
//! asked for. On each context switch every wanted counter of the CPU is read once and its growth booked to who ran.

use crate::{kernel, maps};
use aya_ebpf::{
    bindings::{BPF_F_CURRENT_CPU, bpf_perf_event_value},
    cty::c_void,
    helpers::generated::{bpf_get_current_task, bpf_perf_event_read_value},
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use carbon_ebpf::{EVENT_COUNTERS, EventCounts, KEY_IDLE, KEY_KERNEL_THREAD, PF_KTHREAD};

/// What a counter of this CPU shows; nothing where none was opened for it.
#[inline(always)]
fn read(counter: usize) -> Option<bpf_perf_event_value> {
    let map: *const c_void = match counter {
        0 => (&raw const maps::COUNTER_0).cast(),
        1 => (&raw const maps::COUNTER_1).cast(),
        _ => (&raw const maps::COUNTER_2).cast(),
    };
    let mut value = bpf_perf_event_value { counter: 0, enabled: 0, running: 0 };
    // SAFETY: a map of the right kind, and the helper fills the value that it is given the size of.
    let failed = unsafe {
        bpf_perf_event_read_value(
            map.cast_mut(),
            u64::from(BPF_F_CURRENT_CPU),
            &raw mut value,
            size_of::<bpf_perf_event_value>() as u32,
        )
    };
    (failed == 0).then_some(value)
}

/// A context switch: the previous task is still the current one. Run by userspace on each CPU at the edge of a window too,
/// where it closes what runs there.
#[raw_tracepoint]
pub(crate) fn carbon_counters(_: RawTracePointContext) -> i32 {
    let Some(state) = maps::COUNTER_STATE.get_ptr_mut(0) else { return 0 };
    // SAFETY: an element of this CPU, and the program is not preempted by itself.
    let state = unsafe { &mut *state };
    let mut grown = EventCounts::default();
    let wanted = kernel::COUNTERS_WANTED.load();
    for counter in 0..EVENT_COUNTERS {
        if counter as u64 >= wanted {
            break;
        }
        let Some(value) = read(counter) else { continue };
        if state.seen[counter] != 0 {
            grown.counts[counter] = value.counter.wrapping_sub(state.last[counter]);
        }
        state.seen[counter] = 1;
        state.last[counter] = value.counter;
        state.enabled_ns[counter] = value.enabled;
        state.running_ns[counter] = value.running;
    }
    // SAFETY: the helper has no arguments.
    let task = unsafe { bpf_get_current_task() };
    let key = if kernel::half(task + kernel::TASK_PID.load()) == 0 {
        KEY_IDLE
    } else {
        let class = kernel::half(task + kernel::TASK_FLAGS.load()) & PF_KTHREAD;
        kernel::task_cgroup_id(task) | if class == 0 { 0 } else { KEY_KERNEL_THREAD }
    };
    if let Some(counted) = maps::COUNTED.get_ptr_mut(key) {
        // SAFETY: this CPU's copy of the element.
        unsafe { add(&mut *counted, &grown) };
    } else if maps::COUNTED.insert(key, grown, 0).is_err() {
        add(&mut state.overflow, &grown);
    }
    0
}

#[inline(always)]
fn add(sum: &mut EventCounts, more: &EventCounts) {
    for counter in 0..EVENT_COUNTERS {
        sum.counts[counter] = sum.counts[counter].wrapping_add(more.counts[counter]);
    }
}
