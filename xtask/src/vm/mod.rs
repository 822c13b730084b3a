//! `cargo xtask test vm`: the accounting tests and `carbon` inside real Debian kernels, emulated in software.
//!
//! Nothing of it touches this machine's kernel, and nothing is installed: kernels, and the emulator where there is
//! none, are unpacked below the target folder. No root is needed. In emulation only what the kernel itself counts is
//! meaningful: times are compared with cpu.stat and rusage of the same guest, never with this machine's clock.

mod boot;
mod cpio;
mod debian;
mod guest;
mod headers;
mod module;
mod payload;
mod peers;
mod verifier;

pub(crate) use guest::run as run_guest;
pub(crate) use peers::run as run_peers;

use crate::machine;
use crate::sh::{Stopwatch, find};
use crate::test::Tally;
use anyhow::{Result, bail};
use boot::{Report, Step};
use debian::{Kernel, SERIES, Series, Tools};
use std::path::Path;
use verifier::Table;

/// Kernels that CI boots: the oldest, which has the hook only, and the first with the books.
const CI_KERNELS: [&str; 2] = ["5.10", "6.1"];

/// What to boot, and what for.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Options {
    /// Series of kernels [default: all].
    #[arg(long = "kernel", value_name = "SERIES", value_parser = SERIES.map(|series| series.name))]
    kernels: Vec<String>,
    /// Only tests whose name contains this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Keep the verifier's counts of these kernels as the ones to compare with.
    #[arg(long)]
    update: bool,
    /// Show what every step wrote, not only those that failed.
    #[arg(long)]
    verbose: bool,
}

/// Boots the kernels, one after the other.
pub(crate) fn run(options: &Options) -> Result<()> {
    if let Some(reason) = missing() {
        bail!("{reason}");
    }
    let asked = |series: &&Series| {
        options.kernels.is_empty() || options.kernels.iter().any(|name| name == series.name)
    };
    let begun = Stopwatch::start();
    let tools = Tools::find_or_fetch()?;
    let kernels = SERIES.iter().filter(asked).map(debian::kernel).collect::<Result<Vec<_>>>()?;
    let initrd = payload::build(&tools, options.only.as_deref())?;
    let mut table = if options.update { Table::read().unwrap_or_default() } else { Table::read()? };
    let (mut summary, mut failures) = (Vec::new(), Vec::new());
    let (mut modules, mut reasons) = (0, Vec::new());
    for kernel in &kernels {
        let booted = Stopwatch::start();
        let module = module::build(kernel);
        modules += u32::from(module.is_ok());
        if let Err(error) = &module {
            reasons.push(format!("{}: its meters are not tested: {error:#}", kernel.name));
        }
        let whole = module::add(&initrd, kernel, module.ok().as_deref())?;
        let report = match boot::boot(&tools, kernel, &whole, boot::PROCESSOR, boot::GUEST_MOST) {
            Ok(report) => report,
            Err(error) => {
                failures.push(format!("{error:#}"));
                continue;
            }
        };
        let mut verdict = Verdict::of(&report, options.verbose);
        if let Some(counts) = verifier_counts(&report) {
            if options.update {
                table.set(kernel.name, counts);
            } else {
                verdict.failures.extend(table.objections(kernel.name, &counts));
            }
        }
        summary.push(verdict.line(&report, booted.elapsed().as_secs_f64()));
        summary.extend(verdict.tally.skipped.iter().map(|line| format!("  {line}")));
        failures.extend(verdict.failures.into_iter().map(|what| format!("{}: {what}", kernel.name)));
        match without_events(&tools, kernel, &initrd, options) {
            Ok(Some((line, wrong))) => {
                summary.push(line);
                failures.extend(wrong);
            }
            Ok(None) => {}
            Err(error) => failures.push(format!("{error:#}")),
        }
    }
    summary.extend(reasons.iter().map(|reason| format!("  {reason}")));
    if modules == 0 {
        failures.extend(reasons);
    }
    if options.update {
        table.write()?;
    }
    println!("\nxtask test vm: {} kernels, {:.0} s", kernels.len(), begun.elapsed().as_secs_f64());
    for line in summary {
        println!("  {line}");
    }
    if failures.is_empty() { Ok(()) } else { bail!("{}", failures.join("\n  ")) }
}

/// The same kernel on a processor whose PMU `power` has no event: what it came to, and what went wrong. Nothing where the
/// kernel has no drivers for it, or only tests are wanted that are not of meters.
fn without_events(
    tools: &Tools,
    kernel: &Kernel,
    initrd: &Path,
    options: &Options,
) -> Result<Option<(String, Vec<String>)>> {
    if options.only.as_ref().is_some_and(|only| !guest::EMPTY_METERS.contains(only.as_str())) {
        return Ok(None);
    }
    let Some(initrd) = module::add_without_events(initrd, kernel)? else { return Ok(None) };
    let begun = Stopwatch::start();
    let report = boot::boot(tools, kernel, &initrd, boot::WITHOUT_EVENTS, boot::GUEST_MOST)?;
    let verdict = Verdict::of(&report, options.verbose);
    let line =
        format!("{} on {}", verdict.line(&report, begun.elapsed().as_secs_f64()), boot::WITHOUT_EVENTS);
    let named = |what: &String| format!("{} on {}: {what}", kernel.name, boot::WITHOUT_EVENTS);
    Ok(Some((line, verdict.failures.iter().map(named).collect())))
}

/// For CI: two kernels. Passed over where they cannot be had; as root on Debian they can, or it is a failure.
pub(crate) fn run_in_ci() -> Result<()> {
    let fetched = missing().map_or_else(|| fetch(&CI_KERNELS).map_err(|error| format!("{error:#}")), Err);
    if let Err(reason) = fetched {
        if machine::is_root() && Path::new("/etc/debian_version").exists() {
            bail!("{reason}");
        }
        println!("SKIPPED: tests in other kernels: {reason}");
        return Ok(());
    }
    run(&Options { kernels: CI_KERNELS.map(str::to_owned).into(), ..Options::default() })
}

/// Has the emulator and these kernels on this machine.
fn fetch(names: &[&str]) -> Result<()> {
    Tools::find_or_fetch()?;
    SERIES
        .iter()
        .filter(|series| names.contains(&series.name))
        .try_for_each(|series| debian::kernel(series).map(drop))
}

/// What is not there and cannot be fetched.
fn missing() -> Option<String> {
    let tool = ["cc", "make", "strip", "ldd", "xz"].into_iter().find(|tool| find(tool).is_none());
    tool.map(|tool| format!("no {tool} (Debian: gcc, libc6-dev, make, binutils, xz-utils)"))
        .or_else(debian::lacks)
}

const FAILED: &str = "FAILED";

/// What came of one kernel.
#[derive(Debug, Default)]
struct Verdict {
    tally: Tally,
    failures: Vec<String>,
    /// Tests that passed without having tested anything.
    not_run: u64,
    /// The status of `carbon` says nothing.
    unwired: bool,
}

/// What the verifier said, where the test that makes it speak came to its end.
fn verifier_counts(report: &Report) -> Option<verifier::Counts> {
    let asked = |step: &&Step| step.name.ends_with(guest::COUNTED) && step.status == Some(0);
    report.steps.iter().find(asked)?;
    let said = report.steps.iter().find(|step| step.name == guest::VERIFIER)?;
    Some(verifier::read_counts(&said.output))
}

/// Whether `carbon` was built without any accounting, which it then says itself.
fn is_unwired(report: &Report) -> bool {
    report.steps.iter().any(|step| step.output.contains("no accounting and no meter is built in"))
}

impl Verdict {
    fn of(report: &Report, verbose: bool) -> Self {
        let mut verdict = Self { unwired: is_unwired(report), ..Self::default() };
        if verdict.unwired {
            verdict
                .tally
                .skipped
                .push("SKIPPED: carbon: this build of it has nothing to measure with".to_owned());
        }
        for step in report.steps.iter().filter(|step| step.name != guest::VERIFIER) {
            let outcome = verdict.judge(step);
            println!("  {} {outcome:7} {:5.1} s  {}", report.release, step.time.as_secs_f64(), step.name);
            if verbose || outcome == FAILED {
                for line in step.output.lines() {
                    println!("    {line}");
                }
            }
        }
        if !report.steps.iter().any(|step| step.name.starts_with(guest::TEST)) {
            verdict.failures.push("no test ran".to_owned());
        }
        if !report.complete {
            verdict.failures.push("the guest did not come to its end".to_owned());
        }
        verdict
    }

    /// What is printed beside the step.
    fn judge(&mut self, step: &Step) -> &'static str {
        let is_test = step.name.starts_with(guest::TEST);
        if is_test {
            step.output.lines().for_each(|line| self.tally.read(line));
            self.not_run += u64::from(step.output.lines().any(|line| line.starts_with("SKIPPED: ")));
        }
        let what = match step.status {
            Some(guest::TIMED_OUT) => "ran out of time".to_owned(),
            Some(_) if self.unwired && !is_test => return "skipped",
            Some(0) => return "ok",
            Some(status) => format!("status {status}"),
            None => "did not end".to_owned(),
        };
        self.failures.push(format!("{}: {what}", step.name));
        FAILED
    }

    fn line(&self, report: &Report, seconds: f64) -> String {
        let programs = report.steps.iter().filter(|step| step.name.starts_with("carbon"));
        let ended_well = programs.clone().filter(|step| step.status == Some(0)).count();
        let carbon = if self.unwired {
            "carbon skipped".to_owned()
        } else {
            format!("carbon {ended_well} of {}", programs.count())
        };
        format!(
            "{}: {} tests passed, {} failed, {} skipped or in part; {carbon}; {}; {seconds:.0} s",
            report.release,
            self.tally.passed.saturating_sub(self.not_run),
            self.tally.failed,
            self.tally.skipped.len(),
            if report.has_books { "books and hook" } else { "hook only" },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ci_boots_kernels_that_are_known() {
        for kernel in CI_KERNELS {
            assert!(SERIES.iter().any(|series| series.name == kernel), "{kernel}");
        }
    }

    #[test]
    fn a_step_that_failed_hung_or_was_cut_fails_the_kernel() {
        let step = |status| Step { name: "carbon run".into(), status, ..Step::default() };
        let steps = [Some(0), Some(1), Some(guest::TIMED_OUT), None].map(step).into();
        let verdict = Verdict::of(&Report { steps, complete: true, ..Report::default() }, false);
        assert_eq!(verdict.failures.len(), 4, "and no test ran");
        assert_eq!(Verdict::of(&Report::default(), false).failures.len(), 2);
    }
}
