//! What a ledger can fail with, and what to do about it.

/// Why the ledger could not be read or written. Nothing of a failed write is kept.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// `--store` names nothing that can be a store.
    #[error("no store {store:?}: give the path of a file, or postgres://USER@HOST/DATABASE, or none")]
    Store {
        /// What was given, without a password.
        store: String,
    },
    /// It cannot be opened.
    #[error("cannot open the ledger {place}: {reason}; {advice}")]
    Open {
        /// Which.
        place: String,
        /// Why not.
        reason: String,
        /// What to do.
        advice: &'static str,
    },
    /// The file is no ledger, or is damaged.
    #[error(
        "the ledger {place} is damaged or is no ledger: {reason}; keep the file and give another --store; SQLite's \
         own \"sqlite3 FILE .recover\" may save what is still in it"
    )]
    Damaged {
        /// Which.
        place: String,
        /// How.
        reason: String,
    },
    /// A newer carbon wrote it.
    #[error(
        "the ledger {place} has schema {found}, and this carbon knows up to {known}: use the newer carbon"
    )]
    Newer {
        /// Which.
        place: String,
        /// Its schema.
        found: i64,
        /// The newest known.
        known: i64,
    },
    /// An older carbon wrote it, and it may only be read.
    #[error(
        "the ledger {place} has schema {found}, this carbon reads {known}, and it may only be read: let its owner run \
         \"carbon ledger verify\" once, which brings it up to date"
    )]
    Older {
        /// Which.
        place: String,
        /// Its schema.
        found: i64,
        /// What is read.
        known: i64,
    },
    /// Reading took longer than it may.
    #[error("the ledger {place} did not answer in time: ask for a shorter interval")]
    Late {
        /// Which.
        place: String,
    },
    /// No space is left.
    #[error("no space is left for the ledger {place}: free some, or give another --store")]
    Full {
        /// Which.
        place: String,
    },
    /// It may only be read.
    #[error("the ledger {place} may only be read: give another --store, or run as its owner")]
    ReadOnly {
        /// Which.
        place: String,
    },
    /// Another program writes, and does not end.
    #[error("another program keeps the ledger {place} locked: try again")]
    Busy {
        /// Which.
        place: String,
    },
    /// The server or the connection failed.
    #[error("the ledger {place} failed: {reason}")]
    Database {
        /// Which.
        place: String,
        /// What it said.
        reason: String,
    },
    /// A number that does not fit.
    #[error("an energy of {0} uJ does not fit in the ledger")]
    Overflow(u64),
    /// The parts of a bucket are not its whole.
    #[error("the bucket at {start_s} does not balance: {reason}")]
    Unbalanced {
        /// Unix time of its start.
        start_s: i64,
        /// How.
        reason: String,
    },
    /// Rows are of another kind than what they would be rated by.
    #[error("cannot rate again, and nothing was changed")]
    Kinds(#[from] crate::carbon::kind::MixedKinds),
    /// Nothing has that name.
    #[error("no run {wanted:?}{}", near(.candidates))]
    NoRun {
        /// What was asked for.
        wanted: String,
        /// Runs that it could be; empty where there are none.
        candidates: Vec<String>,
    },
    /// What is exported cannot be written.
    #[error("cannot write the export: {0}")]
    Export(#[source] std::io::Error),
    /// What is to be imported cannot be.
    #[error("cannot import line {line}: {reason}; nothing was imported")]
    Import {
        /// From 1.
        line: usize,
        /// Why not.
        reason: String,
    },
}

fn near(candidates: &[String]) -> String {
    if candidates.is_empty() {
        ": see \"carbon runs list\"".to_owned()
    } else {
        format!(": it could be {}", candidates.join(" or "))
    }
}
