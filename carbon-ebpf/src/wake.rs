//! How long a package has had any CPU busy: what its cores cannot sleep deeply without. An option: two events each time
//! a CPU goes idle and wakes up, and none while it is busy.

use crate::maps;
use aya_ebpf::{
    helpers::generated::bpf_ktime_get_ns, macros::btf_tracepoint, programs::BtfTracePointContext,
};

/// `PWR_EVENT_EXIT` (include/trace/events/power.h): the CPU stops being idle.
const EXIT: u32 = u32::MAX;

/// A CPU goes idle, or stops being so: `(unsigned int state, unsigned int cpu)`. It is the CPU that the program runs on.
#[btf_tracepoint(function = "cpu_idle")]
pub(crate) fn carbon_idle(ctx: BtfTracePointContext) -> i32 {
    let state: u64 = ctx.arg(0);
    let cpu: u64 = ctx.arg(1);
    let busy = state as u32 == EXIT;
    let Some(idle) = maps::IDLE.get_ptr_mut(0) else { return 0 };
    // SAFETY: an element of this CPU, which goes idle and wakes up in turn.
    let was_idle = unsafe { *idle } != 0;
    if was_idle != busy {
        return 0;
    }
    // SAFETY: as above.
    unsafe { *idle = u64::from(!busy) };
    let Some(entry) = maps::CPUS.get(cpu as u32) else { return 0 };
    let Some(wake) = maps::WAKES.get_ptr_mut(entry.package as u32) else { return 0 };
    // SAFETY: the helper has no arguments.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    // SAFETY: an element of the map. Two CPUs that change at once are told apart by what each found; a time may then be
    // off by the moment between the two.
    unsafe {
        let others = maps::fetch_add(&raw mut (*wake).busy_cpus, if busy { 1 } else { u64::MAX });
        if busy && others == 0 {
            (*wake).since_ns = now_ns;
        } else if !busy && others == 1 {
            let awake_ns = now_ns.saturating_sub((*wake).since_ns);
            maps::add(&raw mut (*wake).awake_ns, awake_ns);
        }
    }
    0
}
