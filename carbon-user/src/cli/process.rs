//! Starts a command, stays beside it, and waits for it: all that `carbon run` does besides measuring.
//!
//! The command sees what it would see without carbon: standard streams, environment, directory, process group,
//! terminal, signal mask and ignored signals are inherited; handled ones are the default again by exec, and so is
//! SIGPIPE, which Rust's runtime ignores in carbon itself (std resets it in the child). One difference remains: a
//! caller that ignores SIGPIPE cannot be told from the runtime, and its command gets the default.

use super::error::CliError;
use super::signals::{Arrived, Signals};
use crate::clock;
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, kill_process, set_child_subreaper, wait, waitpid,
};
use std::ffi::OsString;
use std::future::Future;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;

/// Runs in the child between fork and exec. Must be async-signal-safe: no allocation, no lock, no panic
/// (signal-safety(7)). An error keeps the command from being started.
pub type BeforeExec = Box<dyn FnMut() -> io::Result<()> + Send + Sync>;

/// What is to be started, and how.
pub struct Launch<'a> {
    /// Program and arguments.
    pub command: &'a [OsString],
    /// Called in the child.
    pub before_exec: Option<BeforeExec>,
    /// Become the reaper of descendants whose parents have gone (`PR_SET_CHILD_SUBREAPER`), so that their CPU
    /// time comes back to it. For accounting without the kernel's help only: the command's
    /// daemons see carbon as their parent.
    pub adopt_orphans: bool,
    /// Wait for the last process of the tree, not only for the command.
    pub wait_all: bool,
    /// Time between two calls of [`Attendant::tick`].
    pub interval: Duration,
}

impl std::fmt::Debug for Launch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Launch").field("command", &self.command).finish_non_exhaustive()
    }
}

/// What is done while the command runs.
pub trait Attendant {
    /// Called once, when the command has its process id.
    fn started(&mut self, pid: u32);

    /// Called at each interval; short, since signals wait for it.
    fn tick(&mut self);

    /// Ready when the last process of the tree has gone. Asked with `--wait-all` after the command has ended,
    /// where orphans are not adopted; dropped and asked anew at each tick.
    fn tree_gone(&mut self) -> impl Future<Output = ()>;
}

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// By itself, with this status.
    Exited(u8),
    /// By this signal.
    Killed(u8),
}

impl Outcome {
    /// The status that a shell gives it: 128 + n for signal n.
    pub fn status(self) -> u8 {
        match self {
            Self::Exited(status) => status,
            Self::Killed(signal) => signal.saturating_add(128),
        }
    }

    fn of(status: WaitStatus) -> Self {
        let byte = |number: i32| u8::try_from(number & 0xff).unwrap_or(u8::MAX);
        match (status.exit_status(), status.terminating_signal()) {
            (Some(status), _) => Self::Exited(byte(status)),
            (None, signal) => Self::Killed(byte(signal.unwrap_or(0))),
        }
    }
}

/// A command that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// Its process id.
    pub pid: u32,
    /// How.
    pub outcome: Outcome,
    /// Monotonic time when it was started, in nanoseconds.
    pub start_ns: u64,
    /// Monotonic time when the waiting was over: the command's end, or the tree's with `--wait-all`.
    pub end_ns: u64,
}

/// Starts the command and waits for its end, passing signals on and calling the attendant; within a tokio
/// runtime on one thread.
pub async fn supervise(launch: Launch<'_>, attendant: &mut impl Attendant) -> Result<Ended, CliError> {
    let own = |action| move |source| CliError::Start { action, source };
    let mut signals = Signals::handle().map_err(own("handle signals"))?;
    let mut children = signal(SignalKind::child()).map_err(own("handle signals"))?;
    if launch.adopt_orphans {
        // Any number but zero means yes (PR_SET_CHILD_SUBREAPER(2const)).
        set_child_subreaper(Pid::from_raw(1)).map_err(|error| own("adopt orphans")(error.into()))?;
    }
    let (adopt, wait_all, interval) = (launch.adopt_orphans, launch.wait_all, launch.interval);
    let start_ns = clock::monotonic_ns();
    let pid = start(launch)?;
    attendant.started(number(pid));
    let mut family = Family { pid, adopt, outcome: None, childless: false };
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + interval, interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let outcome = loop {
        family.reap().map_err(own("wait for the command"))?;
        match family.outcome {
            Some(outcome) if !wait_all || family.childless => break outcome,
            ended => tokio::select! {
                _ = children.recv() => {}
                arrived = signals.next() => match ended {
                    None => pass_on(pid, arrived),
                    // The command has gone: who sends an end now means the waiting.
                    Some(outcome) if is_end(arrived.signal) => break outcome,
                    Some(_) => {}
                },
                _ = ticks.tick() => attendant.tick(),
                () = attendant.tree_gone(), if ended.is_some() && !adopt => family.childless = true,
            },
        }
    };
    let end_ns = clock::monotonic_ns();
    Ok(Ended { pid: number(pid), outcome, start_ns, end_ns })
}

fn number(pid: Pid) -> u32 {
    pid.as_raw_nonzero().get().unsigned_abs()
}

/// The command, and with `adopt` whatever else is carbon's child.
struct Family {
    pid: Pid,
    adopt: bool,
    outcome: Option<Outcome>,
    childless: bool,
}

impl Family {
    /// Takes note of all that have ended, without waiting.
    fn reap(&mut self) -> io::Result<()> {
        loop {
            let ended = match (self.adopt, self.outcome) {
                (true, _) => wait(WaitOptions::NOHANG),
                (false, None) => waitpid(Some(self.pid), WaitOptions::NOHANG),
                (false, Some(_)) => return Ok(()),
            };
            match ended {
                Ok(Some((pid, status))) if pid == self.pid => self.outcome = Some(Outcome::of(status)),
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => return Ok(()),
                Err(Errno::CHILD) if self.outcome.is_some() => {
                    self.childless = true;
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn pass_on(pid: Pid, arrived: Arrived) {
    if let Some(signal) = Signal::from_named_raw(arrived.signal).filter(|_| arrived.pass_on) {
        // It fails only where the command has just ended or has changed its user: as without carbon.
        kill_process(pid, signal).ok();
    }
}

fn is_end(signal: i32) -> bool {
    [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT].contains(&signal)
}

/// Forks and executes. An error of exec is told from one of `before_exec` by a pipe that only the latter writes to.
#[expect(unsafe_code, reason = "the hook before exec")]
#[expect(clippy::disallowed_methods, reason = "this is `carbon run`")]
fn start(launch: Launch<'_>) -> Result<Pid, CliError> {
    let failed = |action: &'static str| move |source: io::Error| CliError::Start { action, source };
    let (program, arguments) = launch.command.split_first().ok_or_else(|| {
        failed("start a process")(io::Error::new(io::ErrorKind::InvalidInput, "no command given"))
    })?;
    let mut command = std::process::Command::new(program);
    command.args(arguments);
    let (mut hook_failed, hook_failure) = io::pipe().map_err(failed("make a pipe"))?;
    if let Some(mut hook) = launch.before_exec {
        let mut hook_failure = hook_failure;
        let wrapped = move || {
            hook().inspect_err(|_| {
                // One byte always fits in a new pipe.
                hook_failure.write_all(&[1]).ok();
            })
        };
        // SAFETY: runs in the forked child: `hook` is async-signal-safe by the contract of `BeforeExec`, and all
        // that is added is one write(2) from the stack.
        unsafe { command.pre_exec(wrapped) };
    } else {
        drop(hook_failure);
    }
    let started = command.spawn();
    // The writing end is in `command`; without it the pipe has an end.
    drop(command);
    let source = match started {
        Ok(child) => {
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            return pid.ok_or_else(|| failed("start a process")(io::ErrorKind::InvalidData.into()));
        }
        Err(source) => source,
    };
    let mut byte = [0];
    if hook_failed.read(&mut byte).is_ok_and(|count| count == 1) {
        return Err(failed("enrol the command in its run")(source));
    }
    let command = program.clone();
    Err(match source.raw_os_error() {
        Some(libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE) => failed("start a process")(source),
        Some(libc::ENOENT) => CliError::NotFound { command, source },
        _ => CliError::NotExecutable { command, source },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says that the tree has gone after a number of ticks.
    struct Ticks {
        seen: u32,
        gone_after: u32,
    }

    impl Attendant for Ticks {
        fn started(&mut self, pid: u32) {
            assert!(pid > 1);
        }

        fn tick(&mut self) {
            self.seen += 1;
        }

        async fn tree_gone(&mut self) {
            if self.seen < self.gone_after {
                std::future::pending::<()>().await;
            }
        }
    }

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    fn launch(command: &[OsString], before_exec: Option<BeforeExec>) -> Launch<'_> {
        Launch {
            command,
            before_exec,
            adopt_orphans: false,
            wait_all: true,
            interval: Duration::from_millis(20),
        }
    }

    fn failing_hook(errno: i32) -> BeforeExec {
        Box::new(move || Err(io::Error::from_raw_os_error(errno)))
    }

    #[test]
    fn a_failed_hook_is_not_taken_for_a_failed_exec() {
        let command = words(&["true"]);
        for errno in [libc::ENOENT, libc::EACCES] {
            let error = start(launch(&command, Some(failing_hook(errno)))).unwrap_err();
            assert!(matches!(error, CliError::Start { .. }), "{error:?}");
        }
        let missing = words(&["/nonexistent/command"]);
        let hook: BeforeExec = Box::new(|| Ok(()));
        let error = start(launch(&missing, Some(hook))).unwrap_err();
        assert!(matches!(error, CliError::NotFound { .. }), "{error:?}");
        assert!(matches!(start(launch(&[], None)), Err(CliError::Start { .. })));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_tree_is_waited_for_as_long_as_the_attendant_says() {
        let mut attendant = Ticks { seen: 0, gone_after: 3 };
        let ended = supervise(launch(&words(&["sh", "-c", "exit 8"]), None), &mut attendant).await.unwrap();
        assert_eq!((ended.outcome, attendant.seen), (Outcome::Exited(8), 3));
        assert!(ended.end_ns - ended.start_ns >= 60_000_000);
    }

    #[test]
    fn a_signal_is_added_to_128() {
        assert_eq!(Outcome::Killed(15).status(), 143);
        assert_eq!(Outcome::Exited(143).status(), 143);
    }
}
