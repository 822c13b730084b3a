//! What the agent serves: the metrics and the local API. Where an address or a socket is another's, it measures on without, and
//! looks again.

use super::{Agent, pages};
use crate::agent::Refused;
use crate::api;
use crate::clock;
use crate::metrics::server::Limits;
use crate::metrics::{Feed, Listen, Server};
use std::sync::Arc;

/// How often it is looked whether what was refused is free, and whether the socket is there.
const AGAIN_NS: u64 = 5_000_000_000;

/// What is served.
#[derive(Debug, Default)]
pub(super) struct Serving {
    metrics: Option<Server>,
    /// Who was refused or cut off there, and at the socket.
    pub(super) readers: Arc<Refused>,
    pub(super) clients: Arc<Refused>,
    /// When it is looked again.
    due_ns: u64,
}

impl Agent {
    /// Starts both. Without one of them the agent measures on: that is said.
    pub(super) fn serve(&mut self) {
        self.serve_metrics(false);
        self.listen(false);
        self.serving.due_ns = clock::monotonic_ns().saturating_add(AGAIN_NS);
    }

    /// Tries again what was refused; nothing is said where it still is.
    pub(super) fn serve_again(&mut self) {
        if clock::monotonic_ns() < self.serving.due_ns {
            return;
        }
        self.serving.due_ns = clock::monotonic_ns().saturating_add(AGAIN_NS);
        if self.serving.metrics.is_none() && self.options.listen.as_ref().is_some_and(Listen::is_free) {
            self.serve_metrics(true);
        }
        if !self.clients.listens() {
            self.listen(true);
        } else if let Some(listen) = &self.options.socket {
            self.clients.look(&listen.path);
        }
    }

    /// CPU time that both took so far, in nanoseconds.
    pub(super) fn serving_cpu_ns(&self) -> u64 {
        let metrics = self.serving.metrics.as_ref().map_or(0, Server::cpu_ns);
        metrics.saturating_add(self.clients.cpu_ns())
    }

    /// What is shown of this agent.
    pub(super) fn feed(&self) -> Feed {
        Feed {
            published: Arc::clone(&self.published),
            names: Arc::clone(&self.naming.names),
            aliases: self.options.metric_aliases.clone(),
            refused: Arc::clone(&self.serving.readers),
        }
    }

    fn serve_metrics(&mut self, again: bool) {
        let Some(listen) = self.options.listen.clone() else { return };
        let limits = Limits { series: self.options.metrics_series, ..Limits::default() };
        let feed = self.feed();
        let pages = pages::routes(&self.options, &listen, &feed, self.node.name());
        match Server::start_with(listen, feed, limits, pages) {
            Ok(server) => {
                let scheme = if server.is_encrypted() { "https" } else { "http" };
                log::info!("metrics are served on {scheme}://{}/metrics", server.address());
                if self.options.dashboard {
                    log::info!("the dashboard is at {scheme}://{}/", server.address());
                }
                self.serving.metrics = Some(server);
            }
            Err(error) if again => log::debug!("metrics are still not served: {error}"),
            Err(error) => log::error!(
                "metrics are not served: {error}; it is tried again; give another --listen, or none"
            ),
        }
    }

    /// Listens for clients on this machine.
    fn listen(&mut self, again: bool) {
        let Some(listen) = self.options.socket.clone() else { return };
        let (published, whereabouts) = (Arc::clone(&self.published), self.node.whereabouts());
        let refused = Arc::clone(&self.serving.clients);
        self.clients.listen(&listen, again, refused, |limits, refused| {
            api::server::Server::start(&listen, published, whereabouts, limits, refused)
        });
    }
}
