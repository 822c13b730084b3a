//! Black-box tests: the real kernel, real cgroups, the real binary.

#![expect(clippy::disallowed_methods, reason = "tests start programs and look at the clock")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test stops where something is not as it should be, and says what it has seen"
)]
#![expect(clippy::cast_precision_loss, reason = "times are compared as numbers")]

mod accounting;
mod doctor;
mod run_process;
mod support;
