//! A team's server (`carbon serve`): runs are posted to it and read from it over HTTP, kept in a ledger.
//!
//! It speaks the API of `CodeCarbon`'s server, so that its own client posts here unchanged, and routes of its own below `/api/v1`,
//! which name each post so that none is written twice. [`routes`] is all that can be asked, as data: who may, and what answers.
//! A post is answered when it is on the disk, and not before. It opens no ledger itself: who starts it gives it that.

mod answers;
mod bodies;
mod desk;
mod export;
mod manage;
mod own;
mod page;
pub mod routes;
mod secret;
pub mod server;
mod shapes;

pub use bodies::{EmissionBody, RunBody, factor_of, figures_of, run_of};
pub use desk::Opener;
pub use secret::{TOKEN_PREFIX, fresh};
pub use server::{Limits, Server};

use crate::ledger::LedgerError;
use crate::ledger::team::TeamError;
use serde::Serialize;

/// What is sent back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Of the body.
    pub content_type: &'static str,
    /// The body.
    pub bytes: Vec<u8>,
    /// Offered as a file of this name, where there is one.
    pub file: Option<&'static str>,
}

impl Answer {
    /// A value as JSON.
    pub fn json(status: u16, value: &impl Serialize) -> Answered {
        let bytes = serde_json::to_vec(value).map_err(|error| Refused::new(500, error.to_string()))?;
        Ok(Self { status, content_type: "application/json", bytes, file: None })
    }

    /// Nothing to say.
    pub fn nothing() -> Self {
        Self { status: 204, content_type: "text/plain", bytes: Vec::new(), file: None }
    }

    /// A text.
    pub fn text(content_type: &'static str, text: String, file: Option<&'static str>) -> Self {
        Self { status: 200, content_type, bytes: text.into_bytes(), file }
    }
}

/// Why not: a status of HTTP, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refused {
    /// HTTP status.
    pub status: u16,
    /// In words.
    pub reason: String,
}

impl Refused {
    /// With a status.
    pub fn new(status: u16, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into() }
    }

    /// A body or a parameter that cannot be so.
    pub fn wrong(reason: impl Into<String>) -> Self {
        Self::new(422, reason)
    }
}

/// What becomes of a request. A failed ledger is not told to the client in detail: the server's log has it.
pub type Answered = Result<Answer, Refused>;

impl From<LedgerError> for Refused {
    fn from(error: LedgerError) -> Self {
        log::error!("{error}");
        Self::new(503, "the ledger cannot be written or read at present: send it again later")
    }
}

impl From<TeamError> for Refused {
    fn from(error: TeamError) -> Self {
        let reason = error.to_string();
        match error {
            TeamError::None { .. } => Self::new(404, reason),
            TeamError::Taken(_) => Self::new(409, reason),
            TeamError::Wrong(_) => Self::wrong(reason),
            TeamError::Ledger(error) => error.into(),
        }
    }
}
