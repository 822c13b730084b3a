//! `carbon track`: measures a process that runs already, and says what it used to whoever asks on standard input.
//!
//! For programs that measure themselves where there is no agent, as the Python package does. It speaks the lines of docs/api.md, and
//! ends with its input, so that a program which is killed leaves a run that has ended; a segment's energy has its sum and CPU time
//! alone, and `stop` lists none. One thread: it sleeps until a line comes or a window ends.

pub(super) mod options;
mod session;
mod wire;

use super::error::CliError;
use crate::clock;
use options::TrackOptions;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use session::Session;
use std::io::{self, Write};

/// Bytes of a request's line.
const LINE_BYTES_MAX: usize = 65_536;

/// What a line that is refused is answered; nothing for one that asks for something.
#[cfg(any(test, fuzzing))]
pub(super) fn answer_for_fuzzing(line: &[u8]) -> Option<String> {
    let (id, asked) = wire::parse(line);
    asked.err().map(|refusal| wire::line(id, Err(refusal)))
}

/// Runs it until its input ends.
pub(super) fn track(options: &TrackOptions) -> Result<(), CliError> {
    let mut session = Session::open(options.measuring.clone(), options.chosen.location.clone(), options.pid)?;
    let ended = serve(&mut session, options);
    session.abandon();
    ended
}

fn serve(session: &mut Session, options: &TrackOptions) -> Result<(), CliError> {
    let failed = |action| move |source: io::Error| CliError::Start { action, source };
    let interval_ns = u64::try_from(options.measuring.interval.as_nanos()).unwrap_or(u64::MAX);
    let (input, mut output) = (io::stdin(), io::stdout());
    let mut waiting = Vec::new();
    let mut next_ns = clock::monotonic_ns().saturating_add(interval_ns);
    loop {
        let left_ns = next_ns.saturating_sub(clock::monotonic_ns());
        let mut ready = [PollFd::new(&input, PollFlags::IN)];
        match poll(&mut ready, Some(&timespec(left_ns))) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(failed("wait for requests")(error.into())),
        }
        let has_input = ready.iter().any(|ready| !ready.revents().is_empty());
        if clock::monotonic_ns() >= next_ns {
            session.tick();
            next_ns = clock::monotonic_ns().saturating_add(interval_ns);
        }
        if !has_input {
            continue;
        }
        let mut bytes = [0; 4_096];
        match rustix::io::read(&input, &mut bytes) {
            Ok(0) => return Ok(()),
            Ok(count) => waiting.extend(bytes.iter().take(count)),
            Err(Errno::INTR | Errno::AGAIN) => continue,
            Err(error) => return Err(failed("read requests")(error.into())),
        }
        while let Some(end) = waiting.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = waiting.drain(..=end).collect();
            let answer = session.answer(&line);
            if output.write_all(answer.as_bytes()).and_then(|()| output.flush()).is_err() {
                // Whoever asked has gone.
                return Ok(());
            }
        }
        if waiting.len() > LINE_BYTES_MAX {
            return Err(failed("read requests")(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a line of more than {LINE_BYTES_MAX} bytes"),
            )));
        }
    }
}

fn timespec(ns: u64) -> Timespec {
    let (seconds, nanos) = (ns / 1_000_000_000, ns % 1_000_000_000);
    Timespec { tv_sec: seconds.try_into().unwrap_or(i64::MAX), tv_nsec: nanos.try_into().unwrap_or(0) }
}
