//! The metrics, pushed to a receiver of OpenTelemetry's protocol (OTLP over HTTP, binary protobuf).
//!
//! A thread of its own reads what was published and sends it; the window loop knows nothing of it. A push that fails is
//! counted and not repeated: sums are cumulative, so that the next push tells all that this one would have.

mod message;
mod send;

use super::series::Series;
use super::server::Feed;
use crate::agent::Pushes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use prost::Message as _;
use send::{Receiver, SendError};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What a receiver may ask to be left alone for, at most.
const PAUSE_MAX: Duration = Duration::from_mins(5);

/// Where to, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The base, such as `http://127.0.0.1:4318`; `/v1/metrics` is added.
    pub url: String,
    /// From one push to the next.
    pub interval: Duration,
    /// Holds a bearer token; read each time, as it may be renewed.
    pub token_file: Option<PathBuf>,
    /// Holds the certificates that the receiver's is signed with.
    pub ca_file: Option<PathBuf>,
    /// Workloads with series of their own.
    pub series: usize,
}

impl Options {
    /// Why the token cannot be sent, where there is one.
    pub fn token_unfit(&self) -> Option<String> {
        send::token(self.token_file.as_deref()?).err()
    }
}

#[derive(Debug, Default)]
struct Shared {
    end: AtomicBool,
    sent: AtomicU64,
    failed: AtomicU64,
    rejected: AtomicU64,
}

/// A running thread that pushes; it ends when this is dropped, after one more push.
#[derive(Debug)]
pub struct Pusher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Pusher {
    /// Pushes what the feed shows until it is dropped.
    pub fn start(options: Options, feed: Feed) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        let thread = thread::Builder::new().name("otlp".to_owned()).spawn(move || {
            crate::meters::ease();
            push_on(&options, &feed, &own);
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// What became of the pushes so far.
    pub fn pushes(&self) -> Pushes {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Shared { sent, failed, rejected, .. } = &*self.shared;
        Pushes { sent: of(sent), failed: of(failed), rejected: of(rejected) }
    }
}

impl Drop for Pusher {
    fn drop(&mut self) {
        self.shared.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                log::error!("the thread that pushes metrics ended by a panic");
            }
        }
    }
}

fn push_on(options: &Options, feed: &Feed, shared: &Shared) {
    let receiver = Receiver::new(options);
    let mut series = Series::new(options.series);
    let (mut said, mut told) = (None, None);
    loop {
        let last = shared.end.load(Ordering::Relaxed);
        let published = feed.published.load_full();
        let mut pause = options.interval;
        if published.windows > 0 && told != Some(published.windows) {
            let windows = published.windows;
            let request = message::request(&series.observe(published, &feed.names.load()));
            match receiver.send(&request) {
                Ok(answer) => {
                    shared.sent.fetch_add(1, Ordering::Relaxed);
                    told = Some(windows);
                    if said.take().is_some() {
                        log::info!("metrics are pushed to {} again", options.url);
                    }
                    let rejected = rejected(&answer).min(message::count(&request));
                    if shared.rejected.fetch_add(rejected, Ordering::Relaxed) == 0 && rejected > 0 {
                        log::warn!("{} refuses {rejected} values of a push", options.url);
                    }
                }
                Err(error) => {
                    shared.failed.fetch_add(1, Ordering::Relaxed);
                    pause = pause.max(error.pause().min(PAUSE_MAX));
                    let text = error.to_string();
                    if said.as_ref() != Some(&text) {
                        log::warn!("metrics are not pushed: {text}; tried again every {pause:?}");
                        said = Some(text);
                    }
                }
            }
        } else if published.windows == 0 {
            pause = pause.min(Duration::from_secs(1));
        }
        if last {
            return;
        }
        wait(pause, shared);
    }
}

/// Until then, or until the end is asked for.
fn wait(pause: Duration, shared: &Shared) {
    let until_ns =
        crate::clock::monotonic_ns().saturating_add(u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX));
    while !shared.end.load(Ordering::Relaxed) {
        let left_ns = until_ns.saturating_sub(crate::clock::monotonic_ns());
        if left_ns == 0 {
            return;
        }
        thread::park_timeout(Duration::from_nanos(left_ns));
    }
}

/// Values that the receiver did not take, of an answer that says so.
fn rejected(answer: &[u8]) -> u64 {
    let response = ExportMetricsServiceResponse::decode(answer).unwrap_or_default();
    let rejected = response.partial_success.map_or(0, |partial| partial.rejected_data_points);
    u64::try_from(rejected).unwrap_or_default()
}

impl SendError {
    /// How long the receiver wants to be left alone.
    fn pause(&self) -> Duration {
        match self {
            Self::Busy { pause, .. } => *pause,
            _ => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests;
