//! `--share-with-vms`: the shares of virtual machines on their way to files, on a thread that may wait for a disk.
//!
//! Files change once a second at most, and by whole quanta: energy at high rate and resolution tells what a processor
//! computes (PLATYPUS, CVE-2020-8694), here of a machine's own secrets to whoever may read the files in it, and of its
//! neighbours', whose load moves what CPU time costs.

use super::share_tree::ShareTrees;
use crate::agent::Published;
use crate::agent::resume::Sums;
use crate::agent::shares::{Share, Shares};
use crate::cli::background::Background;
use crate::cli::error::CliError;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// How often files change, at most.
pub(super) const UPDATE: Duration = Duration::from_secs(1);

/// Jobs that may wait. Each has all that those before it had.
const ROOM: usize = 1;

/// What the thread is handed: the machines that there are now, and whether it is the end.
#[derive(Debug)]
struct Job {
    machines: BTreeMap<String, Share>,
    last: bool,
}

/// The loop's end of it.
#[derive(Debug)]
pub(super) struct Sharing {
    shares: Shares,
    background: Background<Job>,
    due_ns: u64,
}

impl Sharing {
    /// Starts the thread. `sums` are those that an agent before this one ended with.
    pub(super) fn start(folder: &Path, interval: Duration, sums: Option<&Sums>) -> Result<Self, CliError> {
        let mut trees =
            ShareTrees::open(folder, UPDATE.max(interval)).map_err(|reason| CliError::Argument {
                option: "--share-with-vms",
                value: folder.display().to_string(),
                reason,
                advice: "name a directory that only root can write to".into(),
            })?;
        let mut failing = false;
        let background = Background::start("carbon-shares", ROOM, move |Job { machines, last }| {
            let result = trees.write(&machines, last);
            match (&result, failing) {
                (Err(error), false) => log::warn!("shares of virtual machines are not written: {error}"),
                (Ok(()), true) => log::info!("shares of virtual machines are written again"),
                _ => {}
            }
            failing = result.is_err();
            result
        })
        .map_err(CliError::cannot_measure)?;
        let sums = sums.map(|sums| (sums.domains.as_slice(), sums.workloads.as_slice()));
        Ok(Self { shares: Shares::since(sums), background, due_ns: 0 })
    }

    /// Takes what was published, and hands it over where files are due. Never waits.
    pub(super) fn look(&mut self, published: &Published, now_ns: u64) {
        self.take(published);
        if now_ns < self.due_ns {
            return;
        }
        // In step with windows that are a little late.
        let update_ns = u64::try_from(UPDATE.as_nanos()).unwrap_or(u64::MAX);
        self.due_ns = match self.due_ns.saturating_add(update_ns) {
            next if next > now_ns => next,
            _ => now_ns.saturating_add(update_ns),
        };
        // Where there is no room, the next job has this one's energy.
        self.background.offer(Job { machines: self.shares.machines(), last: false });
    }

    /// The last files.
    pub(super) fn finish(&mut self, published: &Published) {
        self.take(published);
        self.background.finish(Some(Job { machines: self.shares.machines(), last: true }));
    }

    fn take(&mut self, published: &Published) {
        for note in self.shares.look(&published.domains, &published.workloads) {
            log::warn!("{note}");
        }
    }
}
