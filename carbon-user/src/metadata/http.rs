//! HTTP over a Unix socket, for engines that listen on this machine only.

use super::SourceError;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};

/// A whole request.
pub(super) const REQUEST_MAX: Duration = Duration::from_secs(3);
/// Largest answer: the pods of a full node with all that is said of them are some 4 MiB.
pub(super) const BYTES_MAX: u64 = 16 << 20;

/// An agent that asks at a socket only, whatever the URL's host.
pub(super) fn at_socket(socket: &Path) -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(REQUEST_MAX))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .max_idle_connections(0)
        .build();
    ureq::Agent::with_parts(config, Socket(socket.to_owned()), Nowhere)
}

/// The body of an answer with status 200, nothing for 404.
pub(super) fn body(
    sent: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    what: &str,
) -> Result<Option<String>, SourceError> {
    let failed = |error: String| SourceError::Failed(format!("{what}: {error}"));
    let mut response = match sent {
        Err(ureq::Error::Io(error))
            if [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused].contains(&error.kind()) =>
        {
            return Err(SourceError::Absent(what.to_owned()));
        }
        sent => sent.map_err(|error| failed(error.to_string()))?,
    };
    match response.status().as_u16() {
        200 => {
            let body = response.body_mut().with_config().limit(BYTES_MAX).read_to_string();
            body.map(Some).map_err(|error| failed(error.to_string()))
        }
        404 => Ok(None),
        status @ (401 | 403) => {
            Err(failed(format!("refuses with status {status}: check the token and its role")))
        }
        status => Err(failed(format!("answers with status {status}"))),
    }
}

#[derive(Debug)]
struct Socket(PathBuf);

/// Gives no address of the network, as none is used.
#[derive(Debug)]
struct Nowhere;

impl Resolver for Nowhere {
    fn resolve(
        &self,
        _: &ureq::http::Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut none = self.empty();
        none.push(([127, 0, 0, 1], 0).into());
        Ok(none)
    }
}

impl Connector for Socket {
    type Out = Stream;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        Ok(Some(Stream { stream: at_once(&self.0)?, buffers }))
    }
}

/// Connects without waiting. A Unix socket takes a connection or says why not, and only a full queue of an engine that takes none
/// (`EAGAIN`, connect(2)) would be waited for: without end, and all other engines with it.
fn at_once(path: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?).map_err(|error| match error {
        Errno::AGAIN => io::Error::other("it takes no more connections: is the engine stuck?"),
        error => error.into(),
    })?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

struct Stream {
    stream: UnixStream,
    buffers: LazyBuffers,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

/// A socket says "would block" where a time-out is over.
fn timed(error: io::Error, timeout: NextTimeout) -> ureq::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ureq::Error::Timeout(timeout.reason),
        _ => error.into(),
    }
}

impl Transport for Stream {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.set_write_timeout(timeout.not_zero().map(|it| *it))?;
        let output = self.buffers.output().get(..amount).unwrap_or_default();
        self.stream.write_all(output).map_err(|error| timed(error, timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.set_read_timeout(timeout.not_zero().map(|it| *it))?;
        let amount =
            self.stream.read(self.buffers.input_append_buf()).map_err(|error| timed(error, timeout))?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        // Each request has a connection of its own.
        false
    }
}
