//! Black box: the program, the real kernel, real cgroups. One program, so that it is linked once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a test ends where something is not as it should be, starts programs and looks at the clock"
)]

mod accounting;
mod agent;
mod architecture;
mod counters;
mod doctor;
mod edges;
mod gpu;
mod ledger;
mod live;
mod measuring;
mod metadata;
mod meters;
mod metrics;
mod model;
mod postgres;
mod recorded_runs;
mod run_process;
mod stress;
mod support;
