//! The dashboard beside the metrics: answers from the ledger that the agent writes, and what it measures now.

use crate::cli::dashboard_answers::FromLedger;
use crate::cli::dashboard_processes::Looks;
use crate::cli::options::AgentOptions;
use crate::dashboard::{Limits, Live, Pages};
use crate::metrics::{Feed, Listen};
use crate::sched::Members;
use axum::Router;
use std::sync::Arc;
use std::time::Duration;

/// Ledgers that are read at one time, and for how long: less than a connection may last, and little beside measuring.
const READS: usize = 2;
const READ: Duration = Duration::from_secs(8);

/// Sums that are remembered: 5 MB, as an agent is to stay small.
const SUMS_MAX: usize = 50_000;

/// The routes of the pages; none where they were not asked for.
pub(super) fn routes(options: &AgentOptions, listen: &Listen, feed: &Feed, node: &str) -> Router {
    if !options.dashboard {
        return Router::new();
    }
    let measuring = &options.measuring;
    let looks = Looks::new(feed.clone(), Members::open(&measuring.root, measuring.hierarchy));
    let answers = Arc::new(FromLedger::new(options.chosen.location.clone(), SUMS_MAX, Some(looks)));
    let pages = Pages {
        answers,
        live: Some(Arc::new(Live::new(feed.clone()))),
        token: listen.token().cloned(),
        hosts: vec![node.to_owned()],
        limits: Limits { reads: READS, read: READ, ..Limits::default() },
    };
    pages.routes()
}
