//! A thread of its own for whatever reads a driver, so that a read that hangs stops nobody else.
//!
//! A driver may block for as long as it likes: a file system in user space, an ACPI method, a GPU that fell off its
//! bus. The window loop therefore never reads itself. It asks, waits for the answer until a deadline that all lanes
//! share, and goes on without it. A lane that has missed a deadline is not waited for again until it has answered, so
//! a hang costs one deadline, once. Both mailboxes hold one message: at most one question is open.
//!
//! A round trip costs two wake-ups, about 20 us of CPU time; a lane that nobody asks costs nothing.

use super::{DeviceUse, ErrorKind, MeterError, PowerLimits};
use crate::clock::{self, Moment};
use std::fmt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

/// How long an edge waits for all lanes together. Wake-ups take tens of microseconds, milliseconds where every CPU is busy.
/// Not longer than what a counter allows for between an edge and its reading.
pub(super) const PATIENCE: Duration = Duration::from_millis(100);

/// Niceness of the threads, and of the agent's loop that waits for them: they do microseconds of work that a window or a client
/// waits for, on machines that are busy with other work. Without the right to it (`CAP_SYS_NICE`) they are as all others.
const NICENESS: i32 = -10;

/// The same at the start, where a driver may wake its device first.
const PATIENCE_AT_START: Duration = Duration::from_secs(1);

/// Readings kept between two questions. Beyond that the oldest go, of which the counter's total needs none.
const BETWEEN_MAX: usize = 1024;

/// What one read of a counter gave.
#[derive(Debug, Default)]
pub struct Raw {
    /// The counter in microjoules, from any origin.
    pub uj: u64,
    /// Energy before it is missing from the value.
    pub gap: bool,
    /// Who used the device since the last edge, where it can tell.
    pub device_use: Option<Box<DeviceUse>>,
    /// Limits of its power, where any is known.
    pub limits: Option<PowerLimits>,
}

impl From<u64> for Raw {
    fn from(uj: u64) -> Self {
        Self { uj, ..Self::default() }
    }
}

/// One result for each domain.
pub type Raws = Vec<Result<Raw, MeterError>>;

/// What a lane's thread does: it reads, and may block.
pub trait Probe: fmt::Debug + Send + 'static {
    /// Reads all that this probe reads, always as many. `at_edge`: the window loop asked; else it is a reading in
    /// between.
    fn read(&mut self, at_edge: bool) -> Raws;

    /// How often it must be read even if nobody asks: a power to be integrated, or a counter that wraps soon.
    fn period(&self) -> Option<Duration> {
        None
    }
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// Readings since the answer before, with the instant of each.
    pub(super) between: Vec<(Moment, Raws)>,
    /// The reading that was asked for.
    pub(super) raws: Raws,
    /// When that was taken: later than the edge by what came between.
    pub(super) at: Moment,
}

/// The window loop's end of a thread that reads.
#[derive(Debug)]
pub(super) struct Lane {
    questions: SyncSender<()>,
    answers: Receiver<Answer>,
    /// When the open question was asked.
    asked_ns: Option<u64>,
}

impl Lane {
    /// Starts the thread.
    pub(super) fn start(name: &'static str, probe: impl Probe) -> Result<Self, MeterError> {
        let (questions, inbox) = sync_channel(1);
        let (outbox, answers) = sync_channel(1);
        let started = thread::Builder::new()
            .name(format!("carbon-{name}"))
            .spawn(move || serve(probe, &inbox, &outbox));
        match started {
            Ok(_detached) => Ok(Self { questions, answers, asked_ns: None }),
            Err(error) => Err(MeterError {
                kind: ErrorKind::Fatal,
                message: format!("cannot start a thread to read {name}: {error}"),
            }),
        }
    }

    /// Starts it, and has a first answer.
    pub(super) fn proven(name: &'static str, probe: impl Probe) -> Result<(Self, Raws), MeterError> {
        let (lane, raws) = Self::tried(name, probe)?;
        Ok((lane, raws?))
    }

    /// Starts it and asks once; a driver that does not answer now may do so later.
    pub(super) fn tried(
        name: &'static str,
        probe: impl Probe,
    ) -> Result<(Self, Result<Raws, MeterError>), MeterError> {
        let mut lane = Self::start(name, probe)?;
        let now_ns = clock::monotonic_ns();
        lane.ask(now_ns);
        let raws = lane.answer(deadline_ns(now_ns, PATIENCE_AT_START)).map(|answer| answer.raws);
        Ok((lane, raws))
    }

    /// Asks for a reading. One that still owes an answer is not asked again; an answer that came too late is dropped,
    /// since nobody knows which window it belongs to.
    pub(super) fn ask(&mut self, now_ns: u64) {
        if self.asked_ns.is_some() && self.answers.try_recv().is_ok() {
            self.asked_ns = None;
        }
        if self.asked_ns.is_none() && self.questions.try_send(()).is_ok() {
            self.asked_ns = Some(now_ns);
        }
    }

    /// The answer, if it comes before `until_ns` of the monotonic clock. One that is owed since before this edge is not
    /// waited for.
    pub(super) fn answer(&mut self, until_ns: u64) -> Result<Answer, MeterError> {
        let now_ns = clock::monotonic_ns();
        let left = Duration::from_nanos(until_ns.saturating_sub(now_ns));
        let answer = match self.answers.try_recv() {
            Err(TryRecvError::Empty) if !left.is_zero() => self.answers.recv_timeout(left),
            Err(TryRecvError::Empty) => Err(RecvTimeoutError::Timeout),
            Err(TryRecvError::Disconnected) => Err(RecvTimeoutError::Disconnected),
            Ok(answer) => Ok(answer),
        };
        match answer {
            Ok(answer) => {
                self.asked_ns = None;
                Ok(answer)
            }
            Err(RecvTimeoutError::Timeout) => Err(MeterError {
                kind: ErrorKind::Retry,
                message: "its driver does not answer; it is asked again when it has".to_owned(),
            }),
            Err(RecvTimeoutError::Disconnected) => Err(MeterError {
                kind: ErrorKind::Fatal,
                message: "the thread that reads it has ended, which is a fault of carbon; restart it"
                    .to_owned(),
            }),
        }
    }

    /// Whether a question of an earlier edge than that at `edge_ns` is still open.
    pub(super) fn owes_since_before(&self, edge_ns: u64) -> bool {
        self.asked_ns.is_some_and(|asked_ns| asked_ns < edge_ns)
    }
}

/// What `work` gives, if it does so in time: for what may hang before there is anything to read.
pub(super) fn within<T: Send + 'static>(
    name: &'static str,
    patience: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, MeterError> {
    let (outbox, inbox) = sync_channel(1);
    let fatal = |message: String| MeterError { kind: ErrorKind::Fatal, message };
    thread::Builder::new()
        .name(format!("carbon-{name}"))
        .spawn(move || drop(outbox.send(work())))
        .map_err(|error| fatal(format!("cannot start a thread to open {name}: {error}")))?;
    inbox.recv_timeout(patience).map_err(|_| fatal(format!("{name} did not answer within {patience:?}")))
}

/// `patience` from `now_ns` on.
pub(super) fn deadline_ns(now_ns: u64, patience: Duration) -> u64 {
    now_ns.saturating_add(u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX))
}

/// Has the calling thread run before those of other work, where it may and has no other priority than the usual one. `who` is
/// for the log.
pub(crate) fn hurry(who: &dyn fmt::Display) -> std::io::Result<()> {
    if rustix::process::getpriority_process(None).is_ok_and(|niceness| niceness != 0) {
        return Ok(());
    }
    // Of this thread alone (setpriority(2), "C library/kernel differences").
    rustix::process::setpriority_process(None, NICENESS)
        .inspect_err(|error| log::debug!("{who} keeps its priority: {error}"))?;
    Ok(())
}

/// Gives back what [`hurry`] took, in a thread that was started by one that hurries, and which nobody waits for. Refused to
/// nobody.
pub(crate) fn ease() {
    if rustix::process::getpriority_process(None) == Ok(NICENESS) {
        rustix::process::setpriority_process(None, 0).ok();
    }
}

/// The thread: it ends when the other side is gone.
fn serve(mut probe: impl Probe, inbox: &Receiver<()>, outbox: &SyncSender<Answer>) {
    hurry(&format_args!("the thread of {probe:?}")).ok();
    let mut between = Vec::new();
    loop {
        let question = match probe.period() {
            None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(period) => inbox.recv_timeout(period),
        };
        match question {
            Ok(()) => {
                let raws = probe.read(true);
                let answer = Answer { between: std::mem::take(&mut between), raws, at: clock::moment() };
                if outbox.send(answer).is_err() {
                    return;
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                if between.len() == BETWEEN_MAX {
                    between.drain(..BETWEEN_MAX / 2);
                }
                let raws = probe.read(false);
                between.push((clock::moment(), raws));
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Sender, channel};

    /// Answers with the next number, once it is let.
    #[derive(Debug)]
    struct Gated {
        gate: Receiver<()>,
        count: u64,
        period: Option<Duration>,
    }

    impl Probe for Gated {
        fn read(&mut self, at_edge: bool) -> Raws {
            let open = !at_edge || self.gate.recv().is_ok();
            self.count += u64::from(open);
            vec![Ok(self.count.into())]
        }
        fn period(&self) -> Option<Duration> {
            self.period
        }
    }

    fn gated(period: Option<Duration>) -> (Sender<()>, Lane) {
        let (open, gate) = channel();
        (open, Lane::start("test", Gated { gate, count: 0, period }).unwrap())
    }

    fn soon() -> u64 {
        deadline_ns(clock::monotonic_ns(), Duration::from_secs(5))
    }

    #[test]
    fn a_hang_is_waited_for_once_and_its_late_answer_dropped() {
        let (open, mut lane) = gated(None);
        lane.ask(1);
        let short = deadline_ns(clock::monotonic_ns(), Duration::from_millis(10));
        let error = lane.answer(short).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Retry);
        assert!(lane.owes_since_before(2) && !lane.owes_since_before(1));
        lane.ask(2);
        assert!(lane.owes_since_before(2), "no second question while one is open");
        open.send(()).unwrap();
        open.send(()).unwrap();
        // The late answer arrives at some time; then the next question has its own.
        while lane.owes_since_before(3) {
            lane.ask(3);
        }
        assert_eq!(lane.answer(soon()).unwrap().raws[0].as_ref().unwrap().uj, 2);
    }

    #[test]
    fn what_is_read_in_between_comes_with_the_answer() {
        let (open, mut lane) = gated(Some(Duration::from_millis(1)));
        thread::sleep(Duration::from_millis(30));
        open.send(()).unwrap();
        lane.ask(1);
        let answer = lane.answer(soon()).unwrap();
        let counts: Vec<u64> = answer.between.iter().map(|(_, raws)| raws[0].as_ref().unwrap().uj).collect();
        assert_eq!(counts, (1..=counts.len() as u64).collect::<Vec<_>>());
        assert!(
            counts.len() > 1
                && answer.between.windows(2).all(|two| two[0].0.monotonic_ns < two[1].0.monotonic_ns)
        );
    }

    #[test]
    fn a_probe_that_panics_is_a_fault_and_no_more() {
        #[derive(Debug)]
        struct Panics;
        impl Probe for Panics {
            fn read(&mut self, _: bool) -> Raws {
                panic!("on purpose")
            }
        }
        let mut lane = Lane::start("test", Panics).unwrap();
        lane.ask(1);
        assert_eq!(lane.answer(soon()).unwrap_err().kind, ErrorKind::Fatal);
    }
}
