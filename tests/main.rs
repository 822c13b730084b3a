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
mod advise;
mod agent;
mod agent_full;
mod agent_ledger;
mod agent_notify;
mod agent_operation;
mod api;
mod architecture;
mod counters;
mod crio;
mod dashboard;
mod doctor;
mod edges;
mod faults;
mod fleet;
mod fleet_week;
mod gpu;
mod hybrid;
mod late_runs;
mod ledger;
mod ledger_faults;
mod live;
mod machines;
mod many_nodes;
mod measuring;
mod metadata;
mod meters;
mod metrics;
mod model;
mod otlp;
mod postgres;
mod privileges;
mod rapl;
mod recorded_runs;
mod run_members;
mod run_process;
mod runs_again;
mod serve;
mod serve_clients;
mod serve_removal;
mod serve_tls;
mod sharing;
mod stress;
mod support;
mod terminal;
mod terminal_faults;
mod terminal_picture;
mod tour;
mod vhost;
