//! Which ledger a command means.

use super::error::CliError;
use crate::ledger::{Ledger, Location};
use clap::Args;
use std::path::PathBuf;

/// Where the ledger is.
#[derive(Args, Clone, Debug, Default)]
pub struct StoreArgs {
    /// The ledger: a file, `postgres://USER@HOST/DATABASE`, or none [default: /var/lib/carbon/ledger.db for root, else
    /// carbon/ledger.db in the user's data directory].
    #[arg(long, env = "CARBON_STORE", value_name = "STORE")]
    pub store: Option<String>,
}

/// A ledger that was named, or the one that is used where none is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    /// Where; none for none.
    pub(super) location: Option<Location>,
    /// Whether the user named it, so that it is an error where it cannot be used.
    pub(super) named: bool,
}

impl StoreArgs {
    /// What was given, else the default.
    pub(super) fn choose(&self) -> Result<Chosen, CliError> {
        match self.store.as_deref().filter(|text| !text.trim().is_empty()) {
            Some(text) => Ok(Chosen { location: Location::parse(text)?, named: true }),
            None => Ok(Chosen { location: default_location(), named: false }),
        }
    }

    /// An engine is asked instead of a ledger. One that `CARBON_STORE` names is meant for other commands; clap would refuse it
    /// too.
    pub(super) fn refuse_beside_source(&self) -> Result<(), CliError> {
        match &self.store {
            Some(store) if std::env::var("CARBON_STORE").ok().as_ref() != Some(store) => {
                Err(CliError::Argument {
                    option: "--store",
                    value: store.clone(),
                    reason: "cannot be used with --source".into(),
                    advice: "give one of them: a ledger, or an engine that has scraped the agents".into(),
                })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn location(&self) -> Result<Location, CliError> {
        self.choose()?.location.ok_or_else(|| CliError::Argument {
            option: "--store",
            value: "none".into(),
            reason: "this command needs a ledger".into(),
            advice: "give a file or postgres://USER@HOST/DATABASE, here or in CARBON_STORE".into(),
        })
    }

    /// For reading what is there.
    pub(super) fn open_to_read(&self) -> Result<Ledger, CliError> {
        Ok(Ledger::open_to_read(&self.location()?)?)
    }

    /// For writing.
    pub(super) fn open(&self) -> Result<Ledger, CliError> {
        Ok(Ledger::open(&self.location()?)?)
    }
}

fn default_location() -> Option<Location> {
    let path = |name| std::env::var_os(name).map(PathBuf::from);
    Location::default_for(
        rustix::process::geteuid().is_root(),
        path("XDG_DATA_HOME").as_deref(),
        path("HOME").as_deref(),
    )
}
