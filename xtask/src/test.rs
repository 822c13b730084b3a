//! `cargo xtask test`: all tests, and an honest account of what did not run.
//!
//! A test that cannot run here, or only in part, prints a line that begins with [`SKIPPED`] and passes. On a machine
//! that could have run it, as root and with BTF, that counts as a failure; what the kernel lacks does not.
//!
//! The tests of the kernel part see a machine that others use. Where at most [`AGAIN`] of them fail, each is run once more
//! alone; one that passes then is named in the account as unsteady, with what it said the first time.

use crate::chart;
use crate::machine;
use crate::python;
use crate::sh::{Stopwatch, cargo, cmd, find};
use crate::toolchain::{apt_install, can_apt};
use anyhow::{Result, bail};
use std::path::Path;

/// What a test that cannot run prints at the start of a line, before the reason.
const SKIPPED: [&str; 2] = ["SKIPPED:", "SKIPPED IN PART:"];

/// Reasons that are no fault of whoever runs the tests.
const LACKING: [&str; 3] =
    ["the kernel has no ", "the machine is too busy", "too large to be installed for tests alone"];

/// So many failures may be those of a busy machine; more are not.
const AGAIN: usize = 3;

/// The name of the step whose tests are run once more.
const ON_THE_MACHINE: &str = "the program and the kernel";

/// The steps: how each is called, and cargo's arguments. One list of packages for all, so that the dependencies are
/// built once.
const STEPS: [(&str, &[&str]); 3] = [
    ("unit tests", &["--lib", "--bins"]),
    ("examples in the documentation", &["--doc"]),
    // In one thread: tests that count what the whole machine did would see each other. All output is shown, since
    // a passing test may say that it skipped.
    (ON_THE_MACHINE, &["--test", "carbon", "--", "--test-threads=1", "--show-output"]),
];

/// Runs every step even if one fails; fails at the end.
pub(crate) fn run() -> Result<()> {
    let begun = Stopwatch::start();
    if !cmd("cc").arg("--version").succeeds() {
        bail!(
            "no C compiler `cc`, which links Rust programs. On Debian, as root: apt-get install gcc libc6-dev"
        );
    }
    let lacks = machine::kernel_part_lacks();
    if lacks.is_empty() {
        eprintln!("xtask test: root and BTF are there: the kernel part is tested too");
    } else {
        eprintln!("xtask test: the kernel part is left out; missing: {}", lacks.join("; "));
    }
    install_servers();
    let mut tally = Tally::default();
    let mut failures = Vec::new();
    for (name, args) in STEPS {
        eprintln!("\n== {name}");
        let passed_before = tally.passed;
        let mut failed = Failed::default();
        let step = cargo().args(["test", "--workspace", "--no-fail-fast"]).args(args);
        let result = step.run_lines(|line| {
            tally.read(line);
            failed.read(line);
        });
        if let Err(error) = result {
            if name != ON_THE_MACHINE || !pass_again(&failed, &mut tally) {
                failures.push(format!("{name}: {error:#}"));
            }
            tally.said.extend(failed.said);
        } else if tally.passed == passed_before && !args.contains(&"--doc") {
            failures.push(format!("{name}: no test ran"));
        }
    }
    eprintln!("\n== the Python package");
    if let Err(error) = python::run(&mut tally) {
        failures.push(format!("the Python package: {error:#}"));
    }
    eprintln!("\n== the Helm chart");
    if let Err(error) = chart::run(&mut tally) {
        failures.push(format!("the Helm chart: {error:#}"));
    }
    let kernel = if lacks.is_empty() { "tested" } else { "NOT tested" };
    println!(
        "\nxtask test: {} passed, {} failed, {} ignored, {} skipped; kernel part {kernel}; {:.0} s",
        tally.passed,
        tally.failed,
        tally.ignored,
        tally.skipped.len(),
        begun.elapsed().as_secs_f64()
    );
    for line in tally.skipped.iter().chain(&tally.said) {
        println!("  {line}");
    }
    let avoidable =
        tally.skipped.iter().filter(|line| !LACKING.iter().any(|lacking| line.contains(lacking))).count();
    if lacks.is_empty() && avoidable > 0 {
        failures.push(format!("{avoidable} skipped that this machine can run"));
    }
    if failures.is_empty() { Ok(()) } else { bail!("{}", failures.join("; ")) }
}

/// Whether each of a few tests that failed passes alone.
fn pass_again(failed: &Failed, tally: &mut Tally) -> bool {
    if !(1..=AGAIN).contains(&failed.names.len()) {
        return false;
    }
    let mut all = true;
    for name in &failed.names {
        eprintln!("\n== once more, alone: {name}");
        let again = cargo().args(["test", "--workspace", "--test", "carbon", "--", "--test-threads=1"]);
        let mut told = Tally::default();
        let result = again.args(["--show-output", "--exact"]).arg(name).run_lines(|line| told.read(line));
        if result.is_ok() && told.passed == 1 {
            tally.failed = tally.failed.saturating_sub(1);
            tally.passed += 1;
            tally.skipped.extend(told.skipped);
            tally.said.push(format!("UNSTEADY: {name} failed among the others and passed alone"));
        } else {
            all = false;
        }
    }
    all
}

/// What tests start, each on its own: the ledger's a PostgreSQL, the metrics' a Prometheus and a `VictoriaMetrics`, a browser,
/// container runtimes, and Python's a virtual environment. Their programs are enough.
fn install_servers() {
    let postgres = Path::new("/usr/lib/postgresql").is_dir() || find("initdb").is_some();
    let prometheus = find("prometheus").is_some() && find("promtool").is_some();
    let victoria = find("victoria-metrics").is_some();
    let browser = find("chromium").is_some();
    let wanted = [
        (postgres, "postgresql"),
        (prometheus, "prometheus"),
        (victoria, "victoria-metrics"),
        (python::is_usable(), "python3-venv"),
        (browser, "chromium"),
        (find("npm").is_some(), "npm"),
        (find("podman").is_some(), "podman"),
        (find("containerd").is_some(), "containerd"),
    ];
    for (there, package) in wanted {
        if there || !can_apt() {
            continue;
        }
        eprintln!("xtask test: installing {package}, for the tests that start it");
        if let Err(error) = apt_install(&[package]) {
            eprintln!("xtask test: the tests that need it are left out: {error:#}");
        }
    }
}

/// Counts over all test programs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    ignored: u64,
    /// What was not tested, and why not.
    pub(crate) skipped: Vec<String>,
    /// What is told of failures at the end.
    said: Vec<String>,
}

impl Tally {
    /// Takes in one line of a test program's output.
    pub(crate) fn read(&mut self, line: &str) {
        if SKIPPED.iter().any(|start| line.starts_with(start)) {
            self.skipped.push(line.to_owned());
        } else if let Some(result) = line.strip_prefix("test result: ") {
            let count = |word: &str| {
                let part = result.split([';', '.']).find_map(|part| part.trim().strip_suffix(word));
                part.and_then(|number| number.trim().parse::<u64>().ok()).unwrap_or(0)
            };
            self.passed += count(" passed");
            self.failed += count(" failed");
            self.ignored += count(" ignored");
        }
    }
}

/// The tests of one program that failed, and the beginning of what each said.
#[derive(Debug, Default)]
struct Failed {
    names: Vec<String>,
    said: Vec<String>,
    /// How many more lines of the present test's output are kept.
    to_keep: usize,
}

impl Failed {
    /// Takes in one line of a test program's output.
    fn read(&mut self, line: &str) {
        const KEPT: usize = 12;
        let named = |start: &str, end: &str| -> Option<String> {
            Some(line.strip_prefix(start)?.strip_suffix(end)?.to_owned())
        };
        if let Some(name) = named("test ", " ... FAILED") {
            self.names.push(name);
        } else if let Some(name) = named("---- ", " stdout ----") {
            self.to_keep = if self.names.contains(&name) { KEPT } else { 0 };
            if self.to_keep > 0 {
                self.said.push(format!("{name} said:"));
            }
        } else if self.to_keep > 0 && !line.is_empty() {
            self.to_keep -= 1;
            self.said.push(format!("  {line}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_and_skips_are_counted() {
        let mut tally = Tally::default();
        for line in [
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.10s",
            "test a::skipped ... ok",
            "SKIPPED: no root",
            "  SKIPPED: within other text",
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
        ] {
            tally.read(line);
        }
        let skipped = vec!["SKIPPED: no root".to_owned()];
        assert_eq!(tally, Tally { passed: 15, failed: 2, ignored: 1, skipped, said: Vec::new() });
    }

    #[test]
    fn what_fails_is_named_with_what_it_said() {
        let mut failed = Failed::default();
        for line in [
            "test a::passes ... ok",
            "test a::fails ... FAILED",
            "---- a::passes stdout ----",
            "all is well",
            "---- a::fails stdout ----",
            "",
            "1 is not 2",
        ] {
            failed.read(line);
        }
        assert_eq!(failed.names, ["a::fails"]);
        assert_eq!(failed.said, ["a::fails said:", "  1 is not 2"]);
        assert!(!pass_again(&Failed::default(), &mut Tally::default()));
    }
}
