//! Work that may wait for a disk, on a thread of its own: who measures hands it over and never waits.

use std::io;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

/// A thread that does one job after the other.
#[derive(Debug)]
pub struct Background<T> {
    sender: Option<SyncSender<T>>,
    thread: Option<JoinHandle<()>>,
    failure: Arc<OnceLock<String>>,
}

impl<T: Send + 'static> Background<T> {
    /// Starts it; `room` jobs may wait. What fails first is remembered.
    pub fn start(
        name: &str,
        room: usize,
        mut work: impl FnMut(T) -> Result<(), String> + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, jobs) = sync_channel(room);
        let failure = Arc::new(OnceLock::new());
        let failed = Arc::clone(&failure);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            crate::meters::ease();
            while let Ok(job) = jobs.recv() {
                if let Err(error) = work(job) {
                    // The first is told, and nothing is said of those after it.
                    failed.set(error).ok();
                }
            }
        })?;
        Ok(Self { sender: Some(sender), thread: Some(thread), failure })
    }

    /// Hands a job over. False where too many wait already, or the thread has gone.
    pub fn offer(&self, job: T) -> bool {
        match self.sender.as_ref().map(|sender| sender.try_send(job)) {
            Some(Ok(())) => true,
            None | Some(Err(TrySendError::Full(_) | TrySendError::Disconnected(_))) => false,
        }
    }

    /// Hands the last job over, and waits until all are done: when nothing is measured any more.
    pub fn finish(&mut self, last: Option<T>) {
        if let (Some(sender), Some(last)) = (&self.sender, last) {
            sender.send(last).ok();
        }
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }

    /// What failed first.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn jobs_are_done_in_order_and_the_last_is_waited_for() {
        let (out, done) = channel();
        let mut background = Background::start("t", 8, move |job: u32| {
            out.send(job).unwrap();
            if job % 2 == 1 { Err(format!("{job} failed")) } else { Ok(()) }
        })
        .unwrap();
        assert!((0..4).all(|job| background.offer(job)));
        background.finish(Some(9));
        assert_eq!(done.iter().collect::<Vec<_>>(), [0, 1, 2, 3, 9]);
        assert_eq!(background.failure(), Some("1 failed"));
        assert!(!background.offer(5), "it has ended");
    }

    #[test]
    fn who_offers_never_waits() {
        let (go, wait) = channel::<()>();
        let mut background = Background::start("t", 1, move |(): ()| {
            wait.recv().ok();
            Ok(())
        })
        .unwrap();
        let taken = (0..10).filter(|_| background.offer(())).count();
        assert!((1..=2).contains(&taken), "one is done and one waits: {taken}");
        drop(go);
        background.finish(None);
    }
}
