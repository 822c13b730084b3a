//! The Helm chart's checks: linted and rendered by Helm, which a Python package brings, in a virtual environment of their own.

use crate::python;
use crate::sh::cmd;
use crate::test::Tally;
use anyhow::Result;

/// Runs them, and adds to the tally; says so where there is nothing to run them with.
pub(crate) fn run(tally: &mut Tally) -> Result<()> {
    if !python::is_usable() {
        skip(tally, "there is no python3 of 3.9 or later with venv and pip");
        return Ok(());
    }
    let folder = python::target().join("chart-tests");
    let program = folder.join("bin").join("python");
    if !program.exists() {
        cmd("python3").args(["-m", "venv"]).arg(&folder).run()?;
    }
    let install = ["-m", "pip", "install", "-q", "--disable-pip-version-check", "-r"];
    if let Err(error) = cmd(&program).args(install).arg("deploy/helm/tests/requirements.txt").run() {
        skip(tally, &format!("its tools cannot be installed: {error:#}"));
        return Ok(());
    }
    cmd(&program)
        .args(["-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "deploy/helm/tests"])
        .run_lines(|line| python::read(tally, line))
}

fn skip(tally: &mut Tally, reason: &str) {
    let line = format!("SKIPPED: the Helm chart: {reason}");
    println!("{line}");
    tally.read(&line);
}
