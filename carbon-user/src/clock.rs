//! The only place that reads a clock.

#![expect(clippy::disallowed_methods, reason = "this is the place")]

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of the monotonic clock: the one that edges of windows are taken by.
pub fn monotonic_ns() -> u64 {
    nanoseconds(ClockId::Monotonic)
}

/// An instant by the clocks that a window is taken by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The monotonic clock, which stands still while the machine is suspended.
    pub monotonic_ns: u64,
    /// How long the machine was suspended since it booted.
    pub suspended_ns: u64,
    /// CPU time of this process so far.
    pub own_ns: u64,
}

/// The present.
pub fn now() -> Reading {
    let monotonic_ns = monotonic_ns();
    let suspended_ns = boottime_ns().saturating_sub(monotonic_ns);
    Reading { monotonic_ns, suspended_ns, own_ns: process_cpu_ns() }
}

/// Nanoseconds of the boot-time clock, which goes on during suspend; its lead over the monotonic clock grows by
/// the time suspended.
pub fn boottime_ns() -> u64 {
    nanoseconds(ClockId::Boottime)
}

/// CPU time of this process so far, in nanoseconds.
pub fn process_cpu_ns() -> u64 {
    nanoseconds(ClockId::ProcessCPUTime)
}

/// The wall clock, for labels only: it may step.
pub fn wall() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}
