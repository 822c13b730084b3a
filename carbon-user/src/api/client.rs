//! The other end of the socket, for `carbon` itself: one request, one answer.

use super::VERSION;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Map, Value};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An answer may wait for a window and for what the kernel says last; anything beyond is an agent that hangs.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Nobody answers.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Something else than an agent answers.
    #[error("{}: this is no answer of an agent", .path.display())]
    NoAnswer {
        /// The socket.
        path: PathBuf,
    },
    /// It says no.
    #[error("{message}")]
    Refused {
        /// One of those in docs/api.md.
        code: String,
        /// For people.
        message: String,
    },
}

/// A connection to an agent.
#[derive(Debug)]
pub struct Link {
    path: PathBuf,
    stream: BufReader<UnixStream>,
}

impl Link {
    /// Connects.
    pub fn open(path: &Path) -> Result<Self, LinkError> {
        let connect = || {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(ANSWER_MAX))?;
            stream.set_write_timeout(Some(ANSWER_MAX))?;
            Ok(BufReader::new(stream))
        };
        let stream = connect().map_err(|source| LinkError::Io { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), stream })
    }

    /// Whether the other end has closed it. Does not wait.
    pub fn is_closed(&self) -> bool {
        let mut polled = [PollFd::new(self.stream.get_ref(), PollFlags::RDHUP)];
        let ready = poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0);
        let ends = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        ready && polled.iter().any(|one| one.revents().intersects(ends))
    }

    /// The line of a request with these keys.
    pub fn line(request: &str, mut keys: Map<String, Value>) -> String {
        keys.insert("version".to_owned(), VERSION.into());
        keys.insert("request".to_owned(), request.into());
        format!("{}\n", Value::Object(keys))
    }

    /// Asks, and waits for the answer.
    pub fn ask(&mut self, request: &str, keys: Map<String, Value>) -> Result<Map<String, Value>, LinkError> {
        let mut answer = String::new();
        let talk = || {
            self.stream.get_mut().write_all(Self::line(request, keys).as_bytes())?;
            self.stream.read_line(&mut answer)
        };
        let count = talk().map_err(|source| LinkError::Io { path: self.path.clone(), source })?;
        if count == 0 {
            let source = io::ErrorKind::UnexpectedEof.into();
            return Err(LinkError::Io { path: self.path.clone(), source });
        }
        let no_answer = || LinkError::NoAnswer { path: self.path.clone() };
        let answer: Map<String, Value> = serde_json::from_str(&answer).map_err(|_garbage| no_answer())?;
        match answer.get("ok").and_then(Value::as_bool) {
            Some(true) => Ok(answer),
            Some(false) => {
                let text = |key: &str| answer.get("error").and_then(|error| error.get(key)?.as_str());
                let (code, message) = (text("code"), text("message"));
                Err(LinkError::Refused {
                    code: code.unwrap_or_default().to_owned(),
                    message: message.unwrap_or_default().to_owned(),
                })
            }
            None => Err(no_answer()),
        }
    }
}
