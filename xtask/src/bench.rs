//! `cargo xtask bench`: runs the benchmarks of the kernel part, which print ratios within one run, and that of
//! attribution.

use crate::{sh, workspace};
use anyhow::{Context as _, Result};
use std::env;
use std::ffi::OsString;

/// Runs one of them, in the release profile.
pub(crate) fn run(what: &str, arguments: &[OsString]) -> Result<()> {
    let bench = |name| sh::cargo().args(["bench", "--quiet", "-p", "carbon-user", "--bench", name, "--"]);
    if what == "accuracy" {
        // Cargo starts it in another folder than this.
        let folder = env::current_dir().context("cannot tell the current folder")?;
        return bench("accuracy").arg("--folder").arg(folder).args(arguments).run();
    }
    if what == "soak" {
        let document = workspace::root().join("docs/soak.md");
        return bench("kernel").arg("--document").arg(document).arg(what).args(arguments).run();
    }
    bench("kernel").arg(what).args(arguments).run()
}
