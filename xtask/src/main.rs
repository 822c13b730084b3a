//! What the project does with itself: `cargo xtask ebpf|data|docs|test|demo|bench|ci`.
//!
//! It depends on no other part of the workspace, so that it builds when they do not. Everything it runs is printed
//! first, as a line that could be typed.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it speaks to a terminal")]

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

mod bench;
mod cgroup;
mod chart;
mod ci;
mod data;
mod demo;
mod docs;
mod ebpf;
mod load;
mod machine;
mod python;
mod sh;
#[path = "../../carbon-ebpf/source_hash.rs"]
mod source_hash;
mod test;
mod toolchain;
mod vm;
mod web;
mod workspace;

/// Builds, tests and shows Carbon.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Build the kernel programs into carbon-ebpf/prebuilt, finding or installing the toolchain for it.
    Ebpf {
        /// Build nothing; fail if the object is not the one of the present sources.
        #[arg(long)]
        check: bool,
        /// Install nothing; say what is missing.
        #[arg(long, conflicts_with = "check")]
        no_install: bool,
    },
    /// Run all tests; those of the kernel part need root.
    Test {
        #[command(subcommand)]
        place: Option<Place>,
    },
    /// Build, load into the kernel, measure processes in several cgroups and print the report; needs root.
    Demo,
    /// What accounting costs, measured on this machine (needs root), and how right attribution is.
    #[command(disable_help_flag = true)]
    Bench {
        /// `switch`: programs on context switches; `snapshot`: the books against the cpu.stat files; `load`: other
        /// work beside each; `top`: the whole program at rest; `overhead`: all of these, into docs/overhead.md; `soak`: everything at once, for long, and very much of one
        /// thing, into docs/soak.md; `accuracy`: attribution on simulated nodes; `bank`: how the time of its windows grows, by criterion; `agent`: the agent on a node of 500 containers that come and go, into docs/overhead.md, and for long with --soak, into docs/soak.md; `ledger`: reports of a year of hours, into docs/ledger.md;
        /// `serve`: clients that post to the team's server, into docs/server.md; `tracker`: what the Python package costs
        /// its program and how right it is, into docs/python.md.
        #[arg(value_parser = ["switch", "snapshot", "load", "top", "overhead", "soak", "accuracy", "bank", "agent", "ledger", "serve", "tracker"])]
        what: String,
        /// For `snapshot`: how many cgroups. For `soak`: --minutes, --cgroups, --threads, --switches, each with a number.
        /// For `accuracy`: see its --help, and with --guest, Carbon and Scaphandre in an emulated kernel, --guest --help.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Check every row of the tables in data/, and write their sums.
    Data {
        /// Write nothing; fail if the sums are not those of the tables.
        #[arg(long)]
        check: bool,
    },
    /// Write the pages that are made from what the program holds: docs/metrics.md.
    Docs {
        /// Write nothing; fail if a page is not up to date.
        #[arg(long)]
        check: bool,
    },
    /// Build the dashboard's pages from their sources, by npm.
    Web {
        /// Build nothing; fail if what is committed is not of the present sources.
        #[arg(long)]
        check: bool,
    },
    /// What CI runs: formatting, lints, licences, documentation, the kernel programs from source, all tests.
    Ci,
    /// The first program's work in an emulated machine.
    #[command(hide = true)]
    Guest,
    /// Work for the demo to measure.
    #[command(hide = true)]
    Load(load::Load),
    /// Wait for the end of standard input, then end what runs below the cgroup and remove it.
    #[command(hide = true)]
    Sweep {
        /// Directory of the cgroup.
        cgroup: PathBuf,
    },
}

/// Where tests run, if not on this machine's kernel.
#[derive(Debug, Subcommand)]
enum Place {
    /// In Debian's kernels 5.10, 6.1, 6.12 and 7.3, emulated; fetches them, and the emulator where there is none.
    Vm(vm::Options),
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Ebpf { check: true, .. } => ebpf::check(),
        Task::Ebpf { no_install, .. } => ebpf::build(!no_install),
        Task::Test { place: None } => test::run(),
        Task::Test { place: Some(Place::Vm(options)) } => vm::run(&options),
        Task::Demo => demo::run(),
        Task::Bench { what, arguments } => bench::run(&what, &arguments),
        Task::Data { check } => data::run(check),
        Task::Docs { check } => docs::run(check),
        Task::Web { check } => web::run(check),
        Task::Ci => ci::run(),
        Task::Guest => vm::run_guest(),
        Task::Load(load) => load.run(),
        Task::Sweep { cgroup } => cgroup::sweep(&cgroup),
    }
}
