//! Programs that are only measured against: loaded by `cargo xtask bench switch`, never otherwise.

use crate::maps;
use aya_ebpf::{
    helpers::generated::bpf_ktime_get_ns, macros::btf_tracepoint, programs::BtfTracePointContext,
};

/// What any program on a context switch costs.
#[btf_tracepoint(function = "sched_switch")]
pub(crate) fn bench_empty(_: BtfTracePointContext) -> i32 {
    0
}

/// A slot that keeps time by the monotonic clock instead of the scheduler's.
#[btf_tracepoint(function = "sched_switch")]
pub(crate) fn bench_ktime(ctx: BtfTracePointContext) -> i32 {
    let next: u64 = ctx.arg(2);
    let Some(slot) = maps::SLOTS.get_ptr_mut(0) else { return 0 };
    // SAFETY: an element of this CPU, and the program is not preempted by itself.
    let slot = unsafe { &mut *slot };
    // SAFETY: the helper has no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    slot.pending_ns += now.saturating_sub(slot.booked_ns);
    slot.booked_ns = now;
    slot.task = next;
    0
}
