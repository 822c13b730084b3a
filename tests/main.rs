//! Black-box tests: the real kernel, real cgroups, the real binary.

#![expect(clippy::disallowed_methods, reason = "tests start programs and look at the clock")]
#![expect(clippy::cast_precision_loss, reason = "times are compared as numbers")]

mod accounting;
mod doctor;
mod run_process;
mod support;
