//! Carbon: which container, job or experiment used this energy, and what did it emit?
//!
//! Data flows one way through the modules, and each imports only what stands before it: `clock`, `heap`, `units`,
//! `small_file`, `sysroot`, `topology`, `reference`, `claims`, `window`, `sched`, `meters`, `sampler`, `attribution`, `carbon`,
//! `workload`, `resolver`, `metadata`, `checkpoint`, `recording`, `ledger`, `provider`, `report`, `agent`, `metrics`, `api`,
//! `dashboard`, `serve`, `tui`, `cli`; for tests and fuzzers, `fuzz`. See `docs/ARCHITECTURE.md`.

pub mod agent;
pub mod api;
pub mod attribution;
pub mod carbon;
pub mod checkpoint;
pub mod claims;
pub mod cli;
pub mod clock;
pub mod dashboard;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod heap;
pub mod ledger;
pub mod metadata;
pub mod meters;
pub mod metrics;
pub mod provider;
pub mod recording;
pub mod reference;
pub mod report;
pub mod resolver;
pub mod sampler;
pub mod sched;
pub mod serve;
pub mod small_file;
pub mod sysroot;
pub mod topology;
pub mod tui;
pub mod units;
pub mod window;
pub mod workload;
