//! What is taken up of a file that has changed, on SIGHUP.

use super::{Agent, tell};
use crate::cli::options::AgentOptions;
use crate::clock;
use sd_notify::NotifyState;

/// Options that are taken up while it runs.
const TAKEN_UP: [&str; 4] = ["interval", "flush", "zone", "pue"];

impl Agent {
    /// Takes up a changed file. What is wrong with it is told, and everything stays as it was.
    pub(super) fn reload(&mut self) {
        let begun_us = clock::monotonic_ns() / 1_000;
        let begun_us = i128::from(begun_us);
        tell(&[NotifyState::Reloading, NotifyState::MonotonicUsec(begun_us)]);
        match self.options.again() {
            Ok(new) => self.take_up(&new),
            Err(error) => log::error!("not reloaded, everything stays as it was: {}", error.message()),
        }
        tell(&[NotifyState::Ready]);
    }

    fn take_up(&mut self, new: &AgentOptions) {
        let mut measuring = new.measuring.clone();
        if let Some(found) = self.options.found.clone() {
            measuring.set_zone(found);
        }
        for note in new.notes.iter().filter(|note| !self.options.notes.contains(note)) {
            log::warn!("{note}");
        }
        self.options.notes.clone_from(&new.notes);
        let changed = self.options.changed(new);
        let fixed: Vec<&str> = changed.into_iter().filter(|key| !TAKEN_UP.contains(key)).collect();
        if !fixed.is_empty() {
            log::warn!(
                "{} changed, which needs a restart: until then it is as it was; {} are taken up",
                fixed.join(", "),
                TAKEN_UP.join(", ")
            );
        }
        // What was used so far is of the old place.
        self.flush();
        if let Err(error) = self.node.rate(&measuring) {
            log::error!("not reloaded, everything stays as it was: {}", error.message());
            return;
        }
        if let (Some(own), Some(new)) = (&self.options.listen, &new.listen)
            && own.renew(new)
        {
            log::info!("readers of /metrics must show the new token of listen-token from here on");
        }
        let own = &mut self.options.measuring;
        own.interval = measuring.interval;
        own.zone.clone_from(&measuring.zone);
        own.pue = measuring.pue;
        own.pue_given = measuring.pue_given;
        self.options.flush = new.flush;
        log::info!(
            "reloaded: windows of {:?}, flushed every {:?}",
            self.options.measuring.interval,
            new.flush
        );
    }
}
