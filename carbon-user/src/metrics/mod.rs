//! What monitoring systems read: `/metrics`, `/healthz` and `/readyz`.
//!
//! [`Series`] follows the published sums and decides which workloads keep a series of their own, so that no counter falls and
//! each joule of a domain is in one series of a family. [`View`] is what it knows after a window; [`text`] writes a view
//! down, by the families of [`table`]. The server runs on a thread of its own and reads only what was published: a
//! scrape never moves a window, and a window never waits for a scrape.

pub mod aliases;
mod connections;
pub mod emissions;
pub(crate) mod host;
pub mod listen;
pub mod namespaces;
pub mod otlp;
mod room;
mod samples;
pub mod series;
pub mod server;
pub mod stall;
pub mod sums;
pub mod table;
#[cfg(test)]
mod tests;
pub mod text;
pub mod tls;

pub use aliases::Aliases;
pub use listen::{Listen, ListenError, Token};
pub use series::{Series, View};
pub use server::{Feed, Server};
pub use sums::Sums;
pub use tls::Tls;

use std::collections::HashMap;

/// What a runtime or the kubelet says of a workload; empty where it is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Of the pod.
    pub namespace: String,
    /// Its name.
    pub pod: String,
    /// Its name.
    pub container: String,
    /// As it was asked for.
    pub image: String,
    /// Labels that are to be shown, by their names in metrics.
    pub labels: Vec<(&'static str, String)>,
}

/// Names by the identity of a workload ([`crate::agent::Who`]).
pub type NamesByIdentity = HashMap<String, Names>;
