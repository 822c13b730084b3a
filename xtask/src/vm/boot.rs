//! Boots one kernel with one initial file system, and reads what the guest reports.

use super::debian::{Kernel, Tools, cache};
use super::guest::MARK;
use crate::sh::Stopwatch;
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// One program that ran in the guest.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    /// What it is called.
    pub(super) name: String,
    /// Exit status; `None` where the guest came to its end before.
    pub(super) status: Option<i32>,
    /// How long it took.
    pub(super) time: Duration,
    /// What it wrote.
    pub(super) output: String,
}

/// What a guest has reported.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    /// The kernel's release.
    pub(super) release: String,
    /// Whether the kernel has an iterator over cgroups.
    pub(super) has_books: bool,
    /// In the order that they ran.
    pub(super) steps: Vec<Step>,
    /// It came to its end.
    pub(super) complete: bool,
}

/// Boots again where a kernel dies before it starts its first program, as some do in emulation.
const BOOTS_MOST: u32 = 3;
/// Time for a whole guest with the tests.
pub(super) const GUEST_MOST: Duration = Duration::from_mins(7);
/// Time until its first line.
const BOOT_MOST: Duration = Duration::from_mins(1);
/// Two, and as many that may be added: what is possible and what is online differ on virtual machines.
const CPUS: &str = "2,maxcpus=4";
const LINE: &str = "console=ttyS0 panic=-1 mitigations=off quiet";

/// A processor with all that the emulator has.
pub(super) const PROCESSOR: &str = "max";
/// One that the kernel's drivers of RAPL take for theirs, and whose registers are not emulated: there is a PMU `power`, and it
/// has no event.
pub(super) const WITHOUT_EVENTS: &str = "Skylake-Server";

/// Boots a kernel, and gives what it reported in `most` of time, be it incomplete.
pub(super) fn boot(
    tools: &Tools,
    kernel: &Kernel,
    initrd: &Path,
    processor: &str,
    most: Duration,
) -> Result<Report> {
    let [console, lines] = ["console", "report"].map(|name| cache().join(format!("{}.{name}", kernel.name)));
    for attempt in 1..=BOOTS_MOST {
        for file in [&console, &lines] {
            fs::write(file, "").with_context(|| format!("cannot write {}", file.display()))?;
        }
        let how = run(tools, kernel, initrd, processor, [&console, &lines], most)?;
        let report = Report::read(&String::from_utf8_lossy(&fs::read(&lines)?));
        if report.complete {
            return Ok(report);
        }
        let said = fs::read(&console)?;
        let said = String::from_utf8_lossy(&said);
        let last: Vec<&str> = said.lines().rev().take(12).collect();
        for line in last.iter().rev() {
            eprintln!("  {} console: {}", kernel.name, line.trim_end());
        }
        if !report.release.is_empty() {
            eprintln!("xtask: the guest of {} {how} before its end", kernel.name);
            return Ok(report);
        }
        eprintln!("xtask: the guest of {} {how} before its first program, boot {attempt}", kernel.name);
    }
    bail!("kernel {} did not start its first program in {BOOTS_MOST} boots", kernel.name)
}

/// Runs the emulator until the guest ends; says how it did.
fn run(
    tools: &Tools,
    kernel: &Kernel,
    initrd: &Path,
    processor: &str,
    [console, lines]: [&Path; 2],
    most: Duration,
) -> Result<&'static str> {
    let serial = |file: &Path| format!("file:{}", file.display());
    let machine =
        ["-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", processor, "-smp", CPUS, "-m", "1024"];
    let rest = ["-nodefaults", "-no-reboot", "-display", "none", "-append", LINE];
    let qemu = tools.qemu().args(machine).args(rest);
    let qemu = qemu.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(initrd);
    let mut running = qemu.arg("-serial").arg(serial(console)).arg("-serial").arg(serial(lines)).spawn()?;
    let begun = Stopwatch::start();
    loop {
        if running.wait_at_most(Duration::from_secs(1))?.is_some() {
            return Ok("ended");
        }
        // Dropping it kills the emulator.
        if begun.elapsed() > most {
            return Ok("ran out of time");
        }
        if begun.elapsed() > BOOT_MOST && fs::metadata(lines)?.len() == 0 {
            return Ok("hung");
        }
    }
}

impl Report {
    /// From the lines of the serial line.
    pub(super) fn read(text: &str) -> Self {
        let mut report = Self::default();
        for line in text.lines().map(|line| line.trim_end_matches('\r')) {
            let Some(marked) = line.strip_prefix(MARK) else {
                if let Some(step) = report.steps.last_mut().filter(|step| step.status.is_none()) {
                    step.output.push_str(line);
                    step.output.push('\n');
                }
                continue;
            };
            let (word, rest) = marked.split_once(' ').unwrap_or((marked, ""));
            match word {
                "begin" => {
                    let (release, rung) = rest.split_once(' ').unwrap_or((rest, ""));
                    release.clone_into(&mut report.release);
                    report.has_books = rung == "books";
                }
                "step" => report.steps.push(Step { name: rest.to_owned(), ..Step::default() }),
                "end" => {
                    if let Some(step) = report.steps.last_mut() {
                        let (status, millis) = rest.split_once(' ').unwrap_or((rest, "0"));
                        step.status = status.parse().ok();
                        step.time = Duration::from_millis(millis.parse().unwrap_or(0));
                    }
                }
                "done" => report.complete = true,
                _ => {}
            }
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_by_its_marks() {
        let text = "@vm begin 6.1.0-56-cloud-amd64 books\r\n@vm step carbon run\r\nthe report\r\nof two lines\r\n\
                    @vm end 3 1500\r\nbetween\r\n@vm step cut\r\nhalf a li";
        let report = Report::read(text);
        assert_eq!(report.release, "6.1.0-56-cloud-amd64");
        assert!(report.has_books && !report.complete);
        let step = Step {
            name: "carbon run".into(),
            status: Some(3),
            time: Duration::from_millis(1500),
            output: "the report\nof two lines\n".into(),
        };
        let cut = Step { name: "cut".into(), output: "half a li\n".into(), ..Step::default() };
        assert_eq!(report.steps, [step, cut]);
        assert!(Report::read("@vm begin 5.10 hook\n@vm done\n").complete);
    }
}
