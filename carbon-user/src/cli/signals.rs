//! Signals while a command runs: which of them are passed on to it.
//!
//! The command is in carbon's process group, so that job control works as without carbon, and the terminal's
//! signals (Ctrl-C, Ctrl-\, Ctrl-Z, a changed size) reach both. What a process sends to carbon alone would not
//! reach the command: that is passed on. The two are told apart by `si_code`, as sudo does: positive for the
//! kernel, zero or less for a process (sigaction(2)). A process that sends to the whole group reaches the command
//! twice, as with timeout(1).
//!
//! SIGTSTP, SIGTTIN and SIGTTOU keep their default: carbon stops beside its command and goes on with it.

use crate::sysroot::SysRoot;
use std::io;
use std::os::raw::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals that the kernel sends to the foreground group of a terminal: passed on only when a process sent them.
const OF_THE_TERMINAL: [c_int; 3] = [libc::SIGINT, libc::SIGQUIT, libc::SIGWINCH];

/// Signals that are always passed on. SIGHUP of a terminal that hangs up reaches the leader of the session only.
const ALWAYS: [c_int; 5] = [libc::SIGTERM, libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2, libc::SIGCONT];

/// A signal that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrived {
    /// Its number.
    pub(super) signal: c_int,
    /// Whether the command has to be given it; else it has it already.
    pub(super) pass_on: bool,
}

/// The receiving end of all handled signals.
#[derive(Debug)]
pub(super) struct Signals {
    receivers: Vec<(c_int, Signal, Option<Arc<AtomicBool>>)>,
}

impl Signals {
    /// Handles the signals from here on; within a tokio runtime. One that carbon was started to ignore (nohup(1)
    /// does so) stays ignored, by carbon and by the command: a handler would turn it into the default at exec.
    pub(super) fn handle() -> io::Result<Self> {
        let ignored = ignored_signals();
        let mut receivers = Vec::with_capacity(ALWAYS.len() + OF_THE_TERMINAL.len());
        for number in OF_THE_TERMINAL.into_iter().filter(|number| !ignored.contains(*number)) {
            let sent = note_sender(number)?;
            receivers.push((number, signal(SignalKind::from_raw(number))?, Some(sent)));
        }
        for number in ALWAYS.into_iter().filter(|number| !ignored.contains(*number)) {
            receivers.push((number, signal(SignalKind::from_raw(number))?, None));
        }
        Ok(Self { receivers })
    }

    /// The next one. Several of one kind that arrive at once are one, as ever with signals.
    pub(super) async fn next(&mut self) -> Arrived {
        std::future::poll_fn(|context| {
            for (number, receiver, sent) in &mut self.receivers {
                if let Poll::Ready(Some(())) = receiver.poll_recv(context) {
                    let pass_on = sent.as_ref().is_none_or(|sent| sent.swap(false, Ordering::Relaxed));
                    return Poll::Ready(Arrived { signal: *number, pass_on });
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// A flag that is set whenever `number` is sent by a process. Registered before tokio's own action for the
/// signal, so that the flag is set by the time a receiver wakes: actions run in the order of registration.
#[expect(unsafe_code, reason = "an action inside a signal handler is the only way to see si_code")]
fn note_sender(number: c_int) -> io::Result<Arc<AtomicBool>> {
    let sent = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&sent);
    // SAFETY: the action runs inside a signal handler; it reads a plain field and stores to an atomic, both
    // async-signal-safe. It allocates nothing, takes no lock and cannot panic.
    unsafe {
        signal_hook_registry::register_sigaction(number, move |info| {
            if info.si_code <= 0 {
                flag.store(true, Ordering::Relaxed);
            }
        })
    }?;
    Ok(sent)
}

/// A set of signals as in `/proc/self/status`: bit n - 1 for signal n.
#[derive(Clone, Copy, Debug)]
struct SignalSet(u64);

impl SignalSet {
    fn contains(self, number: c_int) -> bool {
        u32::try_from(number - 1)
            .ok()
            .and_then(|bit| self.0.checked_shr(bit))
            .is_some_and(|bits| bits & 1 == 1)
    }
}

/// Whether this process ignores a signal now.
pub(super) fn is_ignored(number: c_int) -> bool {
    ignored_signals().contains(number)
}

/// What this process ignores now; nothing where `/proc` does not say (`proc_pid_status(5)`, `SigIgn`).
fn ignored_signals() -> SignalSet {
    let status = SysRoot::default().read_proc("self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    SignalSet(mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_count_from_signal_one() {
        let set = SignalSet(0x1001);
        assert!(set.contains(libc::SIGHUP) && set.contains(libc::SIGPIPE));
        assert!(!set.contains(libc::SIGINT) && !set.contains(0) && !set.contains(65) && !set.contains(-1));
    }

    #[test]
    fn the_runtime_has_made_sigpipe_ignored() {
        assert!(ignored_signals().contains(libc::SIGPIPE));
    }
}
