//! The Python package's checks: lints, types and tests, by tools in a virtual environment of their own.

use crate::sh::{Cmd, cargo, cmd};
use crate::test::Tally;
use crate::workspace;
use anyhow::Result;
use std::ffi::OsString;
use std::path::PathBuf;

/// Python 3.9 or later, with what makes a virtual environment and fills it (on Debian packages of their own).
const USABLE: &str = "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 9))";

/// Runs all of it, and adds to the tally; says so where there is no Python to run it with.
pub(crate) fn run(tally: &mut Tally) -> Result<()> {
    if !is_usable() {
        skip(tally, "there is no python3 of 3.9 or later with venv and pip");
        return Ok(());
    }
    let folder = target().join("python-tests");
    let python = folder.join("bin").join("python");
    if !python.exists() {
        cmd("python3").args(["-m", "venv"]).arg(&folder).run()?;
    }
    let pip = || cmd(&python).args(["-m", "pip", "install", "-q", "--disable-pip-version-check"]);
    if let Err(error) = pip().args(["-r", "python/tests/requirements.txt"]).run() {
        skip(tally, &format!("its tools cannot be installed: {error:#}"));
        return Ok(());
    }
    pip().args(["--no-build-isolation", "--no-deps", "-e", "python"]).run()?;
    let within = |words: &[&str]| -> Cmd { cmd(&python).args(words).dir(&workspace::root().join("python")) };
    let checks = [
        within(&["-m", "ruff", "check", "-q", "."]),
        within(&["-m", "ruff", "format", "-q", "--check", "."]),
        within(&["-m", "mypy"]),
    ];
    checks.into_iter().try_for_each(Cmd::run)?;
    let program = target().join("debug").join("carbon");
    within(&["-m", "pytest", "-q", "-p", "no:cacheprovider"])
        .env("CARBON_TEST_BINARY", program)
        .run_lines(|line| read(tally, line))
}

/// What the package costs its program, and how right it is, beside CodeCarbon's where that can be installed. The words are those
/// of `python/tools/truth.py`.
pub(crate) fn bench(arguments: &[OsString]) -> Result<()> {
    cargo().args(["build", "--quiet", "--release", "-p", "carbon-user", "--bin", "carbon"]).run()?;
    // The tests of the team's server have it there too.
    let folder = target().join("tmp").join("codecarbon-3.3.2");
    let theirs = folder.join("bin").join("python");
    let pip = ["-m", "pip", "install", "-q", "--disable-pip-version-check", "codecarbon==3.3.2"];
    let made = cmd("python3").args(["-m", "venv"]).arg(&folder).run();
    let installed = made.and_then(|()| cmd(&theirs).args(pip).run());
    if let Err(error) = &installed {
        eprintln!("without CodeCarbon, which cannot be installed: {error:#}");
    }
    let root = workspace::root();
    for (tool, words) in [("cost.py", &[][..]), ("truth.py", arguments)] {
        let mut run = cmd("python3").arg(root.join("python").join("tools").join(tool));
        run = run.arg("--program").arg(target().join("release").join("carbon"));
        run = run.arg("--document").arg(root.join("docs").join("python.md"));
        if installed.is_ok() {
            run = run.arg("--codecarbon").arg(&theirs);
        }
        run.args(words).run()?;
    }
    Ok(())
}

/// Whether there is a Python to run it with.
pub(crate) fn is_usable() -> bool {
    cmd("python3").args(["-c", USABLE]).succeeds()
}

/// Where cargo builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace::root().join("target"), PathBuf::from)
}

fn skip(tally: &mut Tally, reason: &str) {
    let line = format!("SKIPPED: the Python package: {reason}");
    println!("{line}");
    tally.read(&line);
}

/// Takes in a line of pytest's output: its last one is such as `3 failed, 96 passed in 12.58s`.
pub(crate) fn read(tally: &mut Tally, line: &str) {
    tally.read(line);
    let Some((counts, _)) = line.rsplit_once(" in ").filter(|(_, time)| time.ends_with('s')) else { return };
    for count in counts.split(", ") {
        match count.split_once(' ').map(|(number, word)| (number.parse::<u64>(), word)) {
            Some((Ok(number), "passed")) => tally.passed += number,
            Some((Ok(number), "failed" | "error" | "errors")) => tally.failed += number,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_pytest_is_counted() {
        let mut tally = Tally::default();
        for line in [
            "....s....                                [100%]",
            "SKIPPED: python tests/test_wheel.py::test: hatchling is not installed",
            "it happened in 2 places",
            "2 failed, 96 passed, 1 skipped in 12.58s",
        ] {
            read(&mut tally, line);
        }
        assert_eq!((tally.passed, tally.failed, tally.skipped.len()), (96, 2, 1));
    }
}
