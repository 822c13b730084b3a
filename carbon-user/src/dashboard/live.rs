//! What an agent measures now, sent to pages as server-sent events (WHATWG HTML, 9.2): one for each window.
//!
//! An event is made once for all who follow, when the first of them asks for it, and nothing is made while nobody does. Who
//! reads slowly gets the latest window and misses those between: nothing is kept for anybody.

use super::question::ROWS_MAX;
use crate::agent::Published;
use crate::metrics::server::Lease;
use crate::metrics::{Feed, Names, NamesByIdentity};
use crate::report::live::{LiveDomain, LiveWindow, LiveWorkload, SCHEMA, rounded};
use arc_swap::ArcSwap;
use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

/// Pages that follow at one time. There is room left for who reads metrics.
pub const FOLLOWERS_MAX: usize = 8;

/// How often it looks for another window: the finest that a page can follow.
const LOOK: Duration = Duration::from_secs(1);

/// Without a window, something is sent, so that who has gone is noticed.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// The agent's windows, for pages.
#[derive(Debug)]
pub struct Live {
    feed: Feed,
    /// Of which window, and its event.
    last: ArcSwap<(u64, Bytes)>,
    room: Arc<Semaphore>,
}

/// Who follows.
struct Follower {
    live: Arc<Live>,
    ticks: Interval,
    seen: u64,
    sent: Instant,
    _room: OwnedSemaphorePermit,
}

impl Live {
    /// Of these cells.
    pub fn new(feed: Feed) -> Self {
        Self { feed, last: ArcSwap::default(), room: Arc::new(Semaphore::new(FOLLOWERS_MAX)) }
    }

    /// Number of the last window, and its event.
    fn event(&self) -> (u64, Bytes) {
        let published = self.feed.published.load();
        let last = self.last.load_full();
        if last.0 == published.windows {
            return (last.0, last.1.clone());
        }
        let window = window(&published, &self.feed.names.load());
        let json = serde_json::to_string(&window).unwrap_or_default();
        let event = (published.windows, Bytes::from(format!("data: {json}\n\n")));
        self.last.store(Arc::new(event.clone()));
        event
    }

    /// Events without end, as long as there is room for another who follows.
    pub(super) fn follow(live: &Arc<Self>, lease: &Lease) -> Response {
        let Ok(room) = Arc::clone(&live.room).try_acquire_owned() else {
            let advice = "too many pages follow already: close one\n";
            return (StatusCode::SERVICE_UNAVAILABLE, advice).into_response();
        };
        lease.extend();
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let follower = Follower { live: Arc::clone(live), ticks, seen: 0, sent: Instant::now(), _room: room };
        let events = stream::unfold(follower, |mut follower| async {
            let event = follower.next().await;
            Some((Ok::<_, Infallible>(event), follower))
        });
        ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response()
    }
}

impl Follower {
    async fn next(&mut self) -> Bytes {
        loop {
            self.ticks.tick().await;
            let (window, event) = self.live.event();
            if window != self.seen {
                self.seen = window;
                self.sent = Instant::now();
                return event;
            }
            if self.sent.elapsed() >= SILENCE_MAX {
                self.sent = Instant::now();
                return Bytes::from_static(b": no window yet\n\n");
            }
        }
    }
}

/// What was published last, by the names that are known.
fn window(published: &Published, names: &NamesByIdentity) -> LiveWindow {
    let workloads = published.workloads.iter().map(|it| LiveWorkload {
        key: it.who.identity.clone(),
        name: names.get(&it.who.identity).and_then(full_name).unwrap_or_else(|| it.who.name.clone()),
        watts: rounded(it.watts.0),
    });
    let domains = published.domains.iter().map(|it| LiveDomain {
        domain: it.domain,
        device: it.device.clone(),
        source: it.source.clone(),
        quality: it.quality.as_str(),
        watts: it.watts.map(|watts| rounded(watts.0)),
    });
    let window = LiveWindow {
        schema: SCHEMA,
        window_end_us: published.window_end_us,
        window_ns: published.window_ns,
        node: published.node.clone(),
        domains: domains.collect(),
        workloads: workloads.collect(),
        left_out: 0,
    };
    window.listed(ROWS_MAX)
}

/// What an engine or the kubelet calls it.
fn full_name(names: &Names) -> Option<String> {
    let parts = [&names.namespace, &names.pod, &names.container];
    let known: Vec<&str> = parts.into_iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
    (!known.is_empty()).then(|| known.join("/"))
}

#[cfg(test)]
mod tests;
