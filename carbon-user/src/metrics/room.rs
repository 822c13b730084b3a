//! Who makes room for the next connection, where there is none.

use crate::agent::{Cause, Refused};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

/// For how long who has connected may say nothing while others wait for room: a request is there within a round trip.
const SILENCE: Duration = Duration::from_millis(200);

/// Those who have asked nothing yet, the oldest first: since when, the end of each, and whether it has asked by now.
#[derive(Debug, Default)]
pub(super) struct Silent(VecDeque<(Instant, AbortHandle, Arc<AtomicBool>)>);

impl Silent {
    pub(super) fn add(&mut self, end: AbortHandle, asked: Arc<AtomicBool>) {
        self.0.push_back((Instant::now(), end, asked));
    }

    /// Room for one more: what is free, or becomes so, or that of the oldest who has said nothing for too long.
    pub(super) async fn room(
        &mut self,
        room: &Arc<Semaphore>,
        refused: &Refused,
    ) -> Option<OwnedSemaphorePermit> {
        self.0.retain(|(_, end, asked)| !end.is_finished() && !asked.load(Ordering::Relaxed));
        let until = match self.0.front() {
            Some((since, ..)) if room.available_permits() == 0 => *since + SILENCE,
            _ => return Arc::clone(room).acquire_owned().await.ok(),
        };
        tokio::select! {
            permit = Arc::clone(room).acquire_owned() => return permit.ok(),
            () = sleep_until(until) => {}
        }
        let oldest =
            self.0.iter().find(|(_, end, asked)| !end.is_finished() && !asked.load(Ordering::Relaxed));
        if let Some((_, end, _)) = oldest.filter(|(since, ..)| since.elapsed() >= SILENCE) {
            end.abort();
            refused.add(Cause::NoRoom);
        }
        Arc::clone(room).acquire_owned().await.ok()
    }
}
