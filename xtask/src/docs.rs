//! `cargo xtask docs`: pages that are made from what the program holds. The program's own test writes and compares
//! them, as xtask depends on no other part of the workspace.

use crate::sh::cargo;
use anyhow::{Context as _, Result};

/// Writes docs/metrics.md, or with `check` fails where it is not the one of the table.
pub(crate) fn run(check: bool) -> Result<()> {
    let test = cargo().args(["test", "--package", "carbon-user", "--lib", "the_page_is_made_from_the_table"]);
    if check {
        test.without_env(&["CARBON_WRITE_DOCS"])
            .run()
            .context("docs/metrics.md is not up to date: run cargo xtask docs")
    } else {
        test.env("CARBON_WRITE_DOCS", "1").run()
    }
}
