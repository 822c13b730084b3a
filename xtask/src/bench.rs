//! `cargo xtask bench`: runs the benchmark of the kernel part, which prints ratios within one run.

use crate::sh;
use anyhow::Result;

/// Runs one of them, in the release profile.
pub(crate) fn run(what: &str, cgroups: Option<u32>) -> Result<()> {
    let cgroups = cgroups.map(|count| count.to_string());
    sh::cargo()
        .args(["bench", "--quiet", "-p", "carbon-user", "--bench", "kernel", "--", what])
        .args(cgroups)
        .run()
}
