//! The web dashboard of `carbon dashboard`: pages that are part of the program, and an API that they are drawn from.
//!
//! It reads no ledger itself: who starts it gives it [`Answers`], so that what a page says is what the command line says.
//! Nothing is loaded from elsewhere, and no page holds a script of its own. The agent serves the same pages
//! beside its metrics, where it is told to, with what it measures now ([`Live`]).

pub mod assets;
pub mod live;
pub mod question;
pub mod server;
pub mod standalone;

pub use live::Live;
pub use question::{Question, Topic};
pub use server::{Limits, Pages, Server};

use std::time::Duration;

/// Gives the JSON of a page.
pub trait Answers: Send + Sync + 'static {
    /// Reads what was asked for; it may wait for a disk or a server, and gives up after `limit`.
    fn answer(&self, question: &Question, limit: Duration) -> Result<Vec<u8>, Refusal>;
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The question cannot be answered as it is: what to ask instead.
    #[error("{0}")]
    Wrong(String),
    /// The ledger cannot be read at present.
    #[error("{0}")]
    Failed(String),
    /// Reading took too long, and was ended.
    #[error("{0}")]
    Late(String),
}
