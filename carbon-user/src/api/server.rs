//! The thread that listens on the socket, with a runtime of its own: reads lines, hands requests to the window loop and writes
//! answers. Whoever is slow, or asks without end, costs himself.

use super::answer::{self, Asker};
use super::places::Places;
use super::request::{self, Asked, ReportForm, ReportFormat};
use super::throttle::Throttle;
use super::{Client, Event, Limits, Peer, Refusal, Reply};
use crate::agent::{Cause, Published, Refused};
use crate::clock::{self, ThreadClock};
use crate::report::table::{self, Style};
use crate::sched::Whereabouts;
use crate::units::CgroupId;
use arc_swap::ArcSwap;
use serde_json::Value;
use std::cell::RefCell;
use std::collections::HashSet;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use tokio::io::{Interest, Ready};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use uuid::Uuid;

/// Events that may wait for the window loop.
const ROOM: usize = 128;

/// Bytes that are read at one time.
const CHUNK: usize = 4_096;

/// After an error of the listener, such as too few descriptors.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

/// How long a connection over its user's rate is not read: as long as the message says to wait.
const OVER_RATE: std::time::Duration = std::time::Duration::from_secs(1);

/// Codes of what is not the protocol.
const MALFORMED: [&str; 2] = ["bad_request", "version"];

/// Device and number of a file.
type Inode = (u64, u64);

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The socket.
    pub path: PathBuf,
    /// Who may connect.
    pub mode: u32,
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Another agent has it.
    #[error("another agent answers on {}", .0.display())]
    Taken(PathBuf),
    /// Something else is there.
    #[error("{} is there and is no socket", .0.display())]
    NoSocket(PathBuf),
    /// It cannot be made.
    #[error("cannot listen on {}: {source}", .path.display())]
    Bind {
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There can be no more threads.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// A running server; it ends, and its socket goes, when this is dropped.
#[derive(Debug)]
pub struct Server {
    listen: Listen,
    /// The socket that it made.
    at: Inode,
    /// For those that are made anew.
    listeners: Sender<StdListener>,
    clock: ThreadClock,
    end: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    /// Listens. What the window loop is to do comes out of the receiver; it must be taken out.
    pub fn start(
        listen: &Listen,
        published: Arc<ArcSwap<Published>>,
        whereabouts: Option<Whereabouts>,
        limits: Limits,
        refused: Arc<Refused>,
    ) -> Result<(Self, Receiver<Event>), ServeError> {
        let (listener, at) = bind(listen)?;
        let (listeners, anew) = channel(1);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ServeError::Thread)?;
        let (end, ended) = oneshot::channel();
        let (events, receiver) = channel(ROOM);
        let clock = ThreadClock::default();
        let own = clock.clone();
        let serve = move || {
            own.begin();
            crate::meters::ease();
            let shared = Rc::new(Shared {
                events,
                published,
                whereabouts,
                limits,
                refused,
                throttle: RefCell::new(Throttle::new(limits.requests_per_s, limits.requests_burst)),
                places: RefCell::new(Places::new(limits)),
            });
            let local = LocalSet::new();
            let accept = local.run_until(accept(listener, anew, shared));
            runtime.block_on(async move {
                tokio::select! {
                    () = accept => {}
                    _dropped = ended => {}
                }
            });
        };
        let thread =
            thread::Builder::new().name("api".to_owned()).spawn(serve).map_err(ServeError::Thread)?;
        let listen = listen.clone();
        Ok((Self { listen, at, listeners, clock, end: Some(end), thread: Some(thread) }, receiver))
    }

    /// Listens anew where its socket was removed; whether that was so. Connections stay.
    pub fn look(&mut self) -> Result<bool, ServeError> {
        if inode(&self.listen.path) == Some(self.at) {
            return Ok(false);
        }
        let (listener, at) = bind(&self.listen)?;
        // One that the thread does not take is not its socket, and is tried again.
        let taken = self.listeners.try_send(listener).is_ok();
        if taken {
            self.at = at;
        }
        Ok(taken)
    }

    /// CPU time that serving took so far, in nanoseconds.
    pub fn cpu_ns(&self) -> u64 {
        self.clock.cpu_ns()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(Err(_panicked)) = self.thread.take().map(thread::JoinHandle::join) {
            log::error!("the thread of the local API ended by a panic");
        }
        // Another agent may have made one there.
        if inode(&self.listen.path) == Some(self.at) {
            std::fs::remove_file(&self.listen.path).ok();
        }
    }
}

fn inode(path: &Path) -> Option<Inode> {
    let found = std::fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

fn bind(listen: &Listen) -> Result<(StdListener, Inode), ServeError> {
    let Listen { path, mode } = listen;
    let failed = |source| ServeError::Bind { path: path.clone(), source };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(folder).map_err(failed)?;
    }
    if let Ok(found) = std::fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            return Err(ServeError::NoSocket(path.clone()));
        }
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(ServeError::Taken(path.clone()));
        }
        std::fs::remove_file(path).map_err(failed)?;
    }
    // Under another name until it has its mode: nobody connects by the one that the umask gives.
    let fresh = beside(path);
    std::fs::remove_file(&fresh).ok();
    let listener = StdListener::bind(&fresh).map_err(failed)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(*mode)).map_err(failed)?;
    let at = inode(&fresh).ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
    std::fs::rename(&fresh, path).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok((listener, at))
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// What all connections use.
struct Shared {
    events: Sender<Event>,
    published: Arc<ArcSwap<Published>>,
    /// Where clients are found; `None` where no tree of cgroups is followed.
    whereabouts: Option<Whereabouts>,
    limits: Limits,
    /// Where clients that are refused or cut off are counted.
    refused: Arc<Refused>,
    throttle: RefCell<Throttle>,
    places: RefCell<Places>,
}

impl Shared {
    /// Counts what did not come, or was not taken, in time.
    fn count_late<T>(&self, done: &io::Result<T>) {
        if done.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut) {
            self.refused.add(Cause::Slow);
        }
    }
}

async fn accept(first: StdListener, mut anew: Receiver<StdListener>, shared: Rc<Shared>) {
    let (mut listener, mut number) = (UnixListener::from_std(first), 0);
    loop {
        let listening = match &listener {
            Ok(listening) => listening,
            Err(error) => return log::error!("the local API is not served: {error}"),
        };
        let accepted = tokio::select! {
            accepted = listening.accept() => accepted,
            Some(made) = anew.recv() => {
                listener = UnixListener::from_std(made);
                continue;
            }
        };
        match accepted {
            Ok((stream, _)) => {
                number += 1;
                tokio::task::spawn_local(connection(stream, number, Rc::clone(&shared)));
            }
            Err(error) => {
                log::debug!("cannot accept a client: {error}");
                sleep(PAUSE).await;
            }
        }
    }
}

/// A place among the connections; free again when it is dropped.
struct Place {
    number: u64,
    shared: Rc<Shared>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.places.borrow_mut().leave(self.number);
    }
}

async fn connection(stream: UnixStream, number: u64, shared: Rc<Shared>) {
    let peer = match Peer::of(&stream) {
        Ok(peer) => peer,
        Err(error) => return log::debug!("who connected is not known: {error}"),
    };
    let taken = shared.places.borrow_mut().take(number, peer.uid, clock::monotonic_ns());
    let Some(end) = taken else {
        shared.refused.add(Cause::NoRoom);
        let refused = Refusal::new("too_many_clients", "more connections than there may be: connect later");
        send(&stream, &answer::refusal(None, &refused), &shared.limits).await.ok();
        return;
    };
    let _place = Place { number, shared: Rc::clone(&shared) };
    let peer = Arc::new(peer);
    let client = Client { connection: number, peer: Arc::clone(&peer) };
    let mut talk = Talk { lines: Lines::default(), bound: HashSet::new(), stream, client, shared };
    let ended = tokio::select! {
        biased;
        ended = talk.on() => ended,
        () = peer.ended() => Ok(()),
        () = end.notified() => {
            talk.shared.refused.add(Cause::NoRoom);
            Ok(())
        }
    };
    if let Err(error) = ended {
        log::debug!("a client: {error}");
    }
    let gone = Event::Gone { connection: number };
    // The loop takes what is sent, or has ended, and its runs with it.
    talk.shared.events.send(gone).await.ok();
}

/// What came of waiting for a line.
enum Got {
    Line(Vec<u8>),
    TooLong,
    End,
}

/// Bytes on their way to lines.
#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    /// Up to where there is no end of a line.
    searched: usize,
    begun: Option<Instant>,
}

impl Lines {
    fn take(&mut self) -> Option<Vec<u8>> {
        let end = self.bytes.iter().skip(self.searched).position(|byte| *byte == b'\n');
        let Some(end) = end.map(|end| end + self.searched) else {
            self.searched = self.bytes.len();
            return None;
        };
        let rest = self.bytes.split_off(end + 1);
        let mut line = std::mem::replace(&mut self.bytes, rest);
        line.pop();
        self.searched = 0;
        self.begun = None;
        Some(line)
    }

    /// The next line; an error where it does not come in time.
    async fn next(&mut self, stream: &UnixStream, limits: &Limits, may_idle: bool) -> io::Result<Got> {
        let since = Instant::now();
        loop {
            if let Some(line) = self.take() {
                return Ok(if line.len() > limits.line_bytes { Got::TooLong } else { Got::Line(line) });
            }
            if self.bytes.len() > limits.line_bytes {
                return Ok(Got::TooLong);
            }
            let until = if self.bytes.is_empty() {
                (!may_idle).then(|| since + limits.idle)
            } else {
                Some(*self.begun.get_or_insert(since.max(Instant::now())) + limits.line)
            };
            let late = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                ready = stream.readable() => ready?,
                () = late => return Err(io::ErrorKind::TimedOut.into()),
            }
            let mut chunk = [0; CHUNK];
            match stream.try_read(&mut chunk) {
                Ok(0) => return Ok(Got::End),
                Ok(count) => self.bytes.extend(chunk.iter().take(count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// A connection that is talked on.
struct Talk {
    lines: Lines,
    /// Runs that end with it.
    bound: HashSet<Uuid>,
    stream: UnixStream,
    client: Client,
    shared: Rc<Shared>,
}

impl Talk {
    async fn on(&mut self) -> io::Result<()> {
        loop {
            let shared = Rc::clone(&self.shared);
            let limits = &shared.limits;
            let may_idle = !self.bound.is_empty();
            let next = self.lines.next(&self.stream, limits, may_idle).await;
            // One that asks nothing is only closed.
            if !self.lines.bytes.is_empty() {
                shared.count_late(&next);
            }
            let line = match next? {
                Got::Line(line) => line,
                Got::End => return Ok(()),
                Got::TooLong => {
                    shared.refused.add(Cause::TooLarge);
                    let most = limits.line_bytes;
                    let refused = Refusal::new("too_long", format!("a line has at most {most} bytes"));
                    return send(&self.stream, &answer::refusal(None, &refused), limits).await;
                }
            };
            let uid = self.client.peer.uid;
            let within = shared.throttle.borrow_mut().take(uid, clock::monotonic_ns());
            let text = if within { self.answer(&line).await } else { self.over_rate(&line) };
            let sent = send(&self.stream, &text, limits).await;
            shared.count_late(&sent);
            sent?;
            if within {
                let (number, bound) = (self.client.connection, !self.bound.is_empty());
                shared.places.borrow_mut().spoke(number, bound, clock::monotonic_ns());
            } else {
                // With its place: to refuse must cost who is refused more than this thread.
                sleep(OVER_RATE).await;
            }
        }
    }

    fn over_rate(&self, line: &[u8]) -> String {
        self.shared.refused.add(Cause::Rate);
        let per_s = self.shared.limits.requests_per_s;
        let message = format!("more than {per_s} requests a second: wait");
        let id = request::parse(line).id;
        answer::refusal(id.as_ref(), &Refusal::new("too_many_requests", message))
    }

    async fn answer(&mut self, line: &[u8]) -> String {
        let parsed = request::parse(line);
        let id = parsed.id.as_ref();
        let asked = match parsed.asked {
            Ok(asked) => asked,
            Err(refused) => {
                // That of a run that is none is as well formed as others.
                if MALFORMED.contains(&refused.code) {
                    self.shared.refused.add(Cause::Malformed);
                }
                return answer::refusal(id, &refused);
            }
        };
        let form = Form::of(&asked);
        match self.ask(asked).await {
            Ok(reply) => self.write(id, &reply, form),
            Err(refused) => answer::refusal(id, &refused),
        }
    }

    async fn ask(&mut self, asked: Asked) -> Result<Reply, Refusal> {
        let bound = matches!(&asked, Asked::Start(start) if start.connection);
        let ends = if let Asked::Stop(stop) = &asked { Some(stop.run) } else { None };
        let (reply, answer) = oneshot::channel();
        let event = Event::Asked { client: self.client.clone(), asked, reply };
        self.shared.events.try_send(event).map_err(|error| match error {
            tokio::sync::mpsc::error::TrySendError::Full(_) => {
                self.shared.refused.add(Cause::NoRoom);
                Refusal::busy()
            }
            tokio::sync::mpsc::error::TrySendError::Closed(_) => ending(),
        })?;
        let reply = answer.await.map_err(|_dropped| ending())??;
        if let Reply::Started { run, .. } = &reply
            && bound
        {
            self.bound.insert(*run);
        }
        if let Some(run) = ends {
            self.bound.remove(&run);
        }
        Ok(reply)
    }

    fn write(&self, id: Option<&Value>, reply: &Reply, form: Form) -> String {
        let (cgroup, measured) = if form.cgroup { (self.cgroup(), self.measured()) } else { (None, None) };
        let published = self.shared.published.load();
        let asker = Asker {
            client: &self.client,
            cgroup: cgroup.as_deref(),
            measured,
            published: &published,
            limits: &self.shared.limits,
        };
        let report = match (reply, form.report) {
            (Reply::Stopped(stopped), Some(form)) => stopped.report.as_ref().map(|run| match form.format {
                ReportFormat::Table => {
                    let style = Style { width: form.columns, color: form.colours, rows_max: None };
                    table::run(run, style)
                }
                ReportFormat::Json => {
                    serde_json::to_string_pretty(run).map(|text| text + "\n").unwrap_or_default()
                }
            }),
            _ => None,
        };
        answer::answer(id, &asker, reply, report.as_deref(), form.alone)
    }

    /// The client's cgroup, unless its number may be another's by now.
    fn cgroup(&self) -> Option<String> {
        let pid = self.client.peer.alive()?;
        let path = self.shared.whereabouts.as_ref()?.path_of(pid)?;
        self.client.peer.alive().map(|_| path)
    }

    /// The same by its id: what it is called in the books is not always its path.
    fn measured(&self) -> Option<CgroupId> {
        let cgroup = self.shared.whereabouts.as_ref()?.of(self.client.peer.alive()?)?;
        self.client.peer.alive().map(|_| cgroup)
    }
}

/// What of an answer depends on the request.
#[derive(Clone, Copy)]
struct Form {
    report: Option<ReportForm>,
    cgroup: bool,
    alone: bool,
}

impl Form {
    fn of(asked: &Asked) -> Self {
        Self {
            report: if let Asked::Stop(stop) = asked { stop.report } else { None },
            cgroup: matches!(asked, Asked::Hello | Asked::Energy(None)),
            alone: matches!(asked, Asked::Energy(Some(_))),
        }
    }
}

fn ending() -> Refusal {
    Refusal::new("ending", "the agent ends")
}

/// Writes all of it, or ends the connection.
async fn send(stream: &UnixStream, text: &str, limits: &Limits) -> io::Result<()> {
    let write = async {
        let mut left = text.as_bytes();
        while !left.is_empty() {
            let ready: Ready = stream.ready(Interest::WRITABLE).await?;
            if ready.is_write_closed() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            match stream.try_write(left) {
                Ok(count) => left = left.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    };
    timeout(limits.line, write).await.unwrap_or_else(|_late| Err(io::ErrorKind::TimedOut.into()))
}
