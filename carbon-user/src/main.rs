//! The `carbon` command.

use carbon_user::cli::{self, error::Invocation, options};
use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let status =
        options::parse(&arguments).and_then(|options| cli::execute(&options)).unwrap_or_else(|error| {
            error.report();
            error.status(Invocation::of(&arguments))
        });
    ExitCode::from(status)
}
