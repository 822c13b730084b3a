//! The only place that reads a clock.

#![expect(clippy::disallowed_methods, reason = "this is the place")]

use rustix::time::{ClockId, clock_gettime};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// No machine goes to sleep and wakes up in less.
const SUSPENSION_MIN: Duration = Duration::from_millis(100);

/// What may pass between the looks at two clocks that are to be of one instant.
const APART_MAX_NS: u64 = 1_000_000;

/// Looks at both clocks until they were close together; a thread is seldom put off its CPU between two of them.
const LOOKS_MAX: usize = 4;

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

/// An instant by the clock that edges are taken by, and by what that one does not see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// The monotonic clock, which stands still while the machine is suspended.
    pub monotonic_ns: u64,
    /// How long the machine was suspended since it booted.
    pub suspended_ns: u64,
}

impl Moment {
    /// Time since `earlier`, without that in which the machine was suspended.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.monotonic_ns.saturating_sub(earlier.monotonic_ns))
    }

    /// How long the machine was suspended since `earlier`.
    #[must_use]
    pub fn suspended_since(self, earlier: Self) -> Duration {
        suspension(earlier.suspended_ns, self.suspended_ns)
    }
}

/// How long the machine was suspended between two looks at how long it was so since it booted. Two clocks are read one
/// after the other, so that a little is nothing.
pub fn suspension(before_ns: u64, now_ns: u64) -> Duration {
    let grown = Duration::from_nanos(now_ns.saturating_sub(before_ns));
    if grown < SUSPENSION_MIN { Duration::ZERO } else { grown }
}

/// The present.
pub fn now() -> Reading {
    let Moment { monotonic_ns, suspended_ns } = moment();
    Reading { monotonic_ns, suspended_ns, own_ns: process_cpu_ns() }
}

/// The present, without what only a window's edge needs.
pub fn moment() -> Moment {
    closest(|| (monotonic_ns(), boottime_ns(), monotonic_ns()))
}

/// Of looks at the monotonic clock, the boot-time clock and the monotonic clock again, the one that took least: a thread
/// that is put off its CPU between two of them would take that for a suspension.
fn closest(mut look: impl FnMut() -> (u64, u64, u64)) -> Moment {
    let mut best = (u64::MAX, Moment::default());
    for _ in 0..LOOKS_MAX {
        let (before_ns, boot_ns, after_ns) = look();
        let apart_ns = after_ns.saturating_sub(before_ns);
        if apart_ns < best.0 {
            let suspended_ns = boot_ns.saturating_sub(before_ns);
            best = (apart_ns, Moment { monotonic_ns: before_ns, suspended_ns });
        }
        if best.0 <= APART_MAX_NS {
            break;
        }
    }
    best.1
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

/// CPU time of this thread so far, in nanoseconds.
pub fn thread_cpu_ns() -> u64 {
    nanoseconds(ClockId::ThreadCPUTime)
}

/// CPU time of one thread, for others to read.
#[derive(Clone, Debug, Default)]
pub struct ThreadClock(Arc<OnceLock<File>>);

impl ThreadClock {
    /// Of the thread that calls this.
    pub fn begin(&self) {
        match File::open("/proc/thread-self/schedstat") {
            // Only the first thread is followed.
            Ok(file) => drop(self.0.set(file)),
            Err(error) => log::debug!("CPU time of a thread is not known: {error}"),
        }
    }

    /// Nanoseconds so far, up to the kernel's last tick; 0 before it began, after its end, and where the kernel does not tell.
    /// The first field of `schedstat` (`proc_pid_schedstat` of fs/proc/base.c, Linux 6.18).
    pub fn cpu_ns(&self) -> u64 {
        let mut bytes = [0; 64];
        let read = self.0.get().and_then(|file| file.read_at(&mut bytes, 0).ok()).unwrap_or(0);
        let text = std::str::from_utf8(bytes.get(..read).unwrap_or_default()).unwrap_or_default();
        text.split(' ').next().and_then(|field| field.parse().ok()).unwrap_or(0)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_put_off_between_two_clocks_was_not_suspended() {
        let asleep = 5_000_000_000;
        let mut looks =
            [(100, asleep + 900_000_100, 900_000_200), (950_000_000, asleep + 950_000_010, 950_000_020)]
                .into_iter();
        let moment = closest(|| looks.next().unwrap());
        assert_eq!(moment, Moment { monotonic_ns: 950_000_000, suspended_ns: asleep + 10 });
        let before = Moment { monotonic_ns: 50, suspended_ns: asleep };
        assert_eq!(
            (moment.since(before), moment.suspended_since(before)),
            (Duration::from_nanos(949_999_950), Duration::ZERO)
        );
        // Where every look is slow, the quickest is taken.
        let mut width = 40_000_000;
        let slow = closest(|| {
            width -= 10_000_000;
            (1_000, 2_000 + width, 1_001_000_000 + width)
        });
        assert_eq!(slow, Moment { monotonic_ns: 1_000, suspended_ns: 1_000 });
        let (first, second) = (self::moment(), self::moment());
        assert!(second.monotonic_ns >= first.monotonic_ns && second.suspended_since(first).is_zero());
    }

    #[test]
    fn the_clock_of_a_thread_is_read_by_another() {
        let clock = ThreadClock::default();
        assert_eq!(clock.cpu_ns(), 0, "it has not begun");
        let (own, (done, ended)) = (clock.clone(), std::sync::mpsc::channel::<()>());
        let (begun, burnt) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            own.begin();
            while thread_cpu_ns() < 30_000_000 {
                std::hint::black_box((0..1_000).sum::<u64>());
            }
            begun.send(thread_cpu_ns()).unwrap();
            ended.recv().ok();
        });
        let used_ns = burnt.recv().unwrap();
        std::thread::sleep(Duration::from_millis(20));
        let read_ns = clock.cpu_ns();
        assert!((used_ns..used_ns + 5_000_000).contains(&read_ns), "{read_ns} of {used_ns}");
        drop(done);
        thread.join().unwrap();
        assert_eq!(clock.cpu_ns(), 0);
    }
}
