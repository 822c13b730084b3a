//! A team's organisations, projects, experiments, members and tokens, and the runs that they post.
//!
//! Posted runs are runs of the ledger: `carbon runs`, `carbon report` and the dashboard see them. What can be refused is
//! looked at before anything is written, so that many posts of many clients share one transaction ([`Ledger::team`]), and one that
//! is refused leaves the others whole.

mod groups;
mod posts;
mod removal;
mod sums;
mod tokens;

pub use posts::{Figures, KeptPost, NewRun, Posted, PostedRun};
pub use sums::{By, Span, TeamSum};
pub use tokens::{Access, KeptToken, Scope, hash_of};

use super::Ledger;
use super::error::LedgerError;
use super::names::Names;
use uuid::Uuid;

/// Longest name of anything, in characters.
pub const NAME_MAX: usize = 200;

/// Longest description, in characters.
pub const DESCRIPTION_MAX: usize = 2000;

/// Why something is not done.
#[derive(Debug, thiserror::Error)]
pub enum TeamError {
    /// There is none, or not for who asks.
    #[error("there is no {what} {wanted:?}{advice}")]
    None {
        /// Of what kind.
        what: &'static str,
        /// What was asked for.
        wanted: String,
        /// What to do; begins with `: ` where there is any.
        advice: &'static str,
    },
    /// There is one already, and it is another.
    #[error("{0}")]
    Taken(String),
    /// It cannot be so.
    #[error("{0}")]
    Wrong(String),
    /// The ledger failed: nothing of the transaction is kept.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl TeamError {
    /// Nothing of this name.
    pub fn none(what: &'static str, wanted: impl Into<String>) -> Self {
        Self::None { what, wanted: wanted.into(), advice: "" }
    }
}

/// A number that does not fit, or a name that cannot be one, is the asker's.
pub(super) type Told<T> = Result<T, TeamError>;

/// Who pays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organisation {
    /// UUID.
    pub id: String,
    /// Unique.
    pub name: String,
    /// In words.
    pub description: String,
}

/// What for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// UUID.
    pub id: String,
    /// Id of the organisation.
    pub organisation: String,
    /// Unique in it.
    pub name: String,
    /// In words.
    pub description: String,
    /// Whether there is a public link.
    pub shared: bool,
}

/// Which question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Experiment {
    /// UUID; another project may have the same.
    pub id: String,
    /// Id of the project.
    pub project: String,
    /// For people.
    pub name: String,
    /// What else was said of it, as a JSON object.
    pub details: String,
    /// Unix time in microseconds.
    pub made_us: i64,
}

/// Somebody of an organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// UUID.
    pub id: String,
    /// Such as an address.
    pub name: String,
    /// Whether he manages.
    pub admin: bool,
}

/// The team's tables, within a transaction or for reading.
#[derive(Debug)]
pub struct Team<'a> {
    ledger: &'a mut Ledger,
    names: Names,
}

impl Ledger {
    /// Does `work` in one transaction: all of it is on the disk when this returns, or nothing.
    pub fn team<T>(
        &mut self,
        work: impl FnOnce(&mut Team<'_>) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        self.database.begin()?;
        let done = work(&mut Team { ledger: self, names: Names::default() });
        let ended = done.and_then(|done| self.database.batch("COMMIT").map(|()| done));
        if ended.is_err() {
            // The first error is the one to tell; where the connection is gone, so is the transaction.
            drop(self.database.batch("ROLLBACK"));
        }
        ended
    }

    /// The same for one piece of work that can be refused.
    pub fn team_once<T>(&mut self, work: impl FnOnce(&mut Team<'_>) -> Told<T>) -> Told<T> {
        let mut refused = None;
        let done = self.team(|team| match work(team) {
            Ok(done) => Ok(Some(done)),
            Err(TeamError::Ledger(error)) => Err(error),
            Err(error) => {
                refused = Some(error);
                Ok(None)
            }
        })?;
        match (done, refused) {
            (Some(done), _) => Ok(done),
            (None, Some(error)) => Err(error),
            (None, None) => Err(TeamError::Wrong("nothing was done".to_owned())),
        }
    }

    /// For reading only.
    pub fn team_to_read(&mut self) -> Team<'_> {
        Team { ledger: self, names: Names::default() }
    }
}

/// Refuses a name that nobody could read: empty, too long, or with control characters.
pub fn check_text(what: &str, text: &str, characters_max: usize) -> Told<()> {
    if text.chars().count() > characters_max {
        return Err(TeamError::Wrong(format!("{what} is longer than {characters_max} characters")));
    }
    if text.chars().any(|character| character.is_control() && !"\n\t".contains(character)) {
        return Err(TeamError::Wrong(format!("{what} has control characters in it")));
    }
    Ok(())
}

fn check_name(what: &str, name: &str) -> Told<()> {
    if name.trim().is_empty() {
        return Err(TeamError::Wrong(format!("{what} is empty: give one")));
    }
    check_text(what, name, NAME_MAX)
}

/// An id as clients write it, in the one form that is kept.
pub fn parse_id(what: &'static str, text: &str) -> Told<String> {
    Uuid::try_parse(text).map(|id| id.to_string()).map_err(|_| {
        TeamError::Wrong(format!(
            "{what} {:?} is no UUID such as 0198c5a0-93f6-7cc2-8e6a-2f1f5d0f1c11",
            shown(text)
        ))
    })
}

/// The beginning of what a client sent.
fn shown(text: &str) -> String {
    text.chars().take(60).collect()
}

fn new_id() -> String {
    Uuid::now_v7().to_string()
}
