//! The agent's local API: what clients of a Unix socket may ask, and what they get (docs/api.md).
//!
//! `request` reads a line, `answer` writes one, `peer` is who asks, `server` is the thread that listens, and `client` asks. The
//! server hands what it cannot answer itself to the window loop, by a bounded queue, as an [`Event`] with a place for the
//! [`Reply`]; the loop waits for none of it.

pub mod answer;
pub mod client;
pub mod peer;
mod places;
pub mod request;
pub mod server;
pub(crate) mod throttle;
mod unique;

pub use peer::Peer;
pub use request::Asked;

use crate::agent::runs::{Energy, RunState, Segment};
use crate::ledger::Factor;
use crate::report::run::Run;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use uuid::Uuid;

/// Of the protocol.
pub const VERSION: u64 = 1;

/// Where the agent of root listens, and clients look.
pub const SOCKET: &str = "/run/carbon/carbon.sock";

/// Bounds on what clients may take. Those of a user do not hold for root.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a request's line.
    pub line_bytes: usize,
    /// Connections at one time.
    pub clients: usize,
    /// Of one user.
    pub clients_of_user: usize,
    /// Of connections, and of open runs: those that users leave to root.
    pub for_root: usize,
    /// Requests a second and user, in the long run.
    pub requests_per_s: u32,
    /// And at once.
    pub requests_burst: u32,
    /// Open runs.
    pub runs: usize,
    /// Of one user.
    pub runs_of_user: usize,
    /// For a line that has begun to be whole, and for an answer to be taken.
    pub line: Duration,
    /// Without a request.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            line_bytes: 65_536,
            clients: 256,
            clients_of_user: 96,
            for_root: 32,
            requests_per_s: 100,
            requests_burst: 200,
            runs: 256,
            runs_of_user: 64,
            line: Duration::from_secs(5),
            idle: Duration::from_mins(10),
        }
    }
}

/// What the window loop gets.
#[derive(Debug)]
pub enum Event {
    /// A request.
    Asked {
        /// Who.
        client: Client,
        /// What.
        asked: Asked,
        /// For the answer; whoever waits for it may have gone.
        reply: oneshot::Sender<Result<Reply, Refusal>>,
    },
    /// A connection has ended.
    Gone {
        /// Its number.
        connection: u64,
    },
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Client {
    /// Number of the connection.
    pub connection: u64,
    /// The process at its other end.
    pub peer: Arc<Peer>,
}

/// What there is to say of a request that is done.
#[derive(Debug)]
pub enum Reply {
    /// What the agent is.
    About(Box<About>),
    /// A run was begun.
    Started {
        /// Which.
        run: Uuid,
        /// Unix time in microseconds.
        start_us: i64,
    },
    /// The client is part of a run.
    Joined(Uuid),
    /// A segment has ended.
    Marked {
        /// Of this run.
        run: Uuid,
        /// What ended.
        segment: Box<Segment>,
        /// The run so far.
        total: Box<Energy>,
        /// By which it becomes grams.
        factor: Box<Factor>,
    },
    /// Something was counted.
    Counted {
        /// In this run.
        run: Uuid,
        /// What.
        unit: String,
        /// So far.
        count: u64,
    },
    /// Runs as they are.
    Runs {
        /// Unix time in microseconds of the last window's end.
        as_of_us: i64,
        /// With the tasks of each that the last look saw.
        runs: Vec<(RunState, Option<u64>)>,
    },
    /// A run has ended.
    Stopped(Box<Stopped>),
}

/// What the agent is.
#[derive(Clone, Debug)]
pub struct About {
    /// Name of the machine.
    pub node: String,
    /// How CPU time is taken, such as `books`.
    pub accounting: &'static str,
    /// The lowest of meters and CPU time.
    pub quality: &'static str,
    /// How energy is split.
    pub attribution: &'static str,
    /// Who static energy is shown to.
    pub static_policy: &'static str,
    /// Length of a window.
    pub window: Duration,
    /// Whether it can follow processes.
    pub runs: bool,
    /// By which energy becomes grams, where the client does not say.
    pub factor: Factor,
}

/// A run that has ended.
#[derive(Debug)]
pub struct Stopped {
    /// All of it.
    pub run: RunState,
    /// Its report, where it was asked for.
    pub report: Option<Run>,
    /// As it was ended.
    pub status: &'static str,
    /// How CPU time was taken.
    pub accounting: &'static str,
    /// Tasks of its tree that are still there.
    pub outlived_by: u64,
    /// What must be said.
    pub notes: Vec<String>,
}

/// Why a request is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// One of those in docs/api.md.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

impl Refusal {
    /// With this code.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// A request that is none.
    pub fn bad(message: impl Into<String>) -> Self {
        Self::new("bad_request", message)
    }

    /// No such run of this user.
    pub fn no_such_run() -> Self {
        Self::new("no_such_run", "no run of yours is open under this id")
    }

    /// More than the loop takes.
    pub fn busy() -> Self {
        Self::new("busy", "the agent has more to do than it takes at once: try again")
    }
}
