//! Inside a guest, where this program is started by busybox's init: mounts what a Linux machine has, runs the tests
//! and `carbon`, reports on the second serial line, and ends.
//!
//! The report is lines: [`MARK`], a word, and what it is about; between `step` and `end` stands what was written.

use super::peers;
use crate::sh::{Stopwatch, cmd};
use anyhow::{Context as _, Result, bail};
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::time::Duration;

/// How each line of the report begins that is not output of a step.
pub(super) const MARK: &str = "@vm ";
/// Where everything is that does not belong to a Linux machine.
pub(super) const LAB: &str = "/lab";
/// A module with meters whose truth is known, where it could be built for this kernel.
pub(super) const MODULE: &str = "fakerapl.ko";
/// The test of them.
const METERS: &str = "rapl::both_ways_to_the_registers_agree_with_their_truth";
/// The test that suspends the guest, with them.
const SUSPENSION: &str = "rapl::a_suspension_loses_one_window_at_most_and_is_stated";
/// Where modules of the kernel's own are, with a list of them in the order to be loaded.
pub(super) const OWN_MODULES: &str = "modules";
/// That list.
pub(super) const ORDER: &str = "order";
/// There where only the meters of a processor without events are to be tested.
pub(super) const WITHOUT_EVENTS: &str = "without-events";
/// The test of these.
pub(super) const EMPTY_METERS: &str = "rapl::a_pmu_without_events_is_said_and_all_else_goes_on";
/// The step whose output is a line `PROGRAM COUNT` for each program that was loaded, or several.
pub(super) const VERIFIER: &str = "verifier";
/// How the name of a step begins that is a test.
pub(super) const TEST: &str = "test ";
/// The test that loads every program: what the verifier says is noted there, and does not disturb the others.
pub(super) const COUNTED: &str = "every_program_loads";
/// Status of a step that did not end in time, as of timeout(1).
pub(super) const TIMED_OUT: i32 = 124;

/// CPU-bound code is 16 to 18 times slower in emulation: a fifth of the work still takes seconds.
const SCALE: &str = "0.2";
const STEP_MOST: Duration = Duration::from_mins(2);
const REPORT: &str = "/dev/ttyS1";
const OUTPUT: &str = "/tmp/output";
const COUNTS: &str = "/tmp/verifier";

/// File systems: type, where, and whether a kernel may lack it.
const MOUNTS: [(&str, &str, bool); 9] = [
    ("proc", "/proc", false),
    ("sysfs", "/sys", false),
    ("devtmpfs", "/dev", false),
    ("tmpfs", "/tmp", false),
    ("tmpfs", "/run", false),
    ("cgroup2", "/sys/fs/cgroup", false),
    ("bpf", "/sys/fs/bpf", false),
    ("tracefs", "/sys/kernel/tracing", true),
    ("securityfs", "/sys/kernel/security", true),
];

/// Runs everything, and ends the guest in any case.
pub(crate) fn run() -> Result<()> {
    // On a real machine it would be the end of that machine's day.
    let is_known = ["tests", peers::PLAN].iter().any(|name| Path::new(LAB).join(name).exists());
    if std::os::unix::process::parent_id() != 1 || !is_known {
        bail!("this is for the first program of a guest; say `cargo xtask test vm`");
    }
    let result = mount_all().and_then(|()| report());
    if let Err(error) = &result {
        eprintln!("guest: {error:#}");
    }
    // The emulator ends at a reset. It does not where a guest that was suspended powers off.
    cmd("reboot").arg("-f").dir(Path::new("/")).run()
}

fn mount_all() -> Result<()> {
    for (kind, at, may_lack) in MOUNTS {
        let mounted = cmd("mount").args(["-t", kind, kind, at]).dir(Path::new("/")).read();
        if !may_lack {
            mounted?;
        }
    }
    // As systemd does it: controllers change how the scheduler groups tasks.
    fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+cpu +memory +pids")
        .context("cannot delegate cgroups")
}

fn report() -> Result<()> {
    let mut to = OpenOptions::new().write(true).open(REPORT).context("cannot open the serial line")?;
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let books = has_books();
    writeln!(to, "{MARK}begin {} {}", release.trim(), if books { "books" } else { "hook" })?;
    if let Ok(plan) = fs::read_to_string(format!("{LAB}/{}", peers::PLAN)) {
        peers::run_guest(&mut to, &plan)?;
        writeln!(to, "{MARK}done")?;
        return Ok(());
    }
    load_modules();
    if Path::new(LAB).join(WITHOUT_EVENTS).exists() {
        return without_events(&mut to);
    }
    let only = fs::read_to_string(format!("{LAB}/only")).unwrap_or_default();
    for test in tests()?.iter().filter(|test| test.contains(only.trim())) {
        let name = format!("{TEST}{}", test.trim_start_matches("accounting::"));
        step(&mut to, &name, "tests", &[test, "--exact", "--show-output"])?;
    }
    step(&mut to, "carbon doctor", "carbon", &["doctor"])?;
    step(&mut to, "carbon run", "carbon", &["run", "--no-store", "--", "true"])?;
    step(&mut to, "carbon top", "carbon", &["top", "--once", "--duration", "2s"])?;
    let counting = ["top", "--once", "--duration", "2s", "--counters", "page-faults"];
    step(&mut to, "carbon top --counters", "carbon", &counting)?;
    for rung in if books { ["hook", "books"].iter() } else { ["hook"].iter() } {
        let args = ["run", "--no-store", "--accounting", rung, "--", "true"];
        step(&mut to, &format!("carbon run --accounting {rung}"), "carbon", &args)?;
    }
    // Up to here the powercap class was there and empty.
    let module = format!("{LAB}/{MODULE}");
    if Path::new(&module).exists() && [METERS, SUSPENSION].iter().any(|test| test.contains(only.trim())) {
        cmd("insmod").arg(module).dir(Path::new("/")).read().context("cannot load the module")?;
        for test in [METERS, SUSPENSION] {
            let name = format!("{TEST}{}", test.trim_start_matches("rapl::"));
            step(&mut to, &name, "tests", &[test, "--exact", "--show-output"])?;
        }
        step(&mut to, "carbon doctor with meters", "carbon", &["doctor"])?;
        for meter in ["powercap", "perf"] {
            let args = ["run", "--no-store", "--meter", meter, "--", "true"];
            step(&mut to, &format!("carbon run --meter {meter}"), "carbon", &args)?;
        }
    }
    let counts = fs::read_to_string(COUNTS).unwrap_or_default();
    writeln!(to, "{MARK}step {VERIFIER}\n{counts}\n{MARK}end 0 0\n{MARK}done")?;
    // Closing waits until everything has left the line.
    drop(to);
    Ok(())
}

/// Modules of the kernel's own, in the order that they need each other. What one lacks (a device, a processor) is no failure:
/// the tests that need it say so.
fn load_modules() {
    let Ok(list) = fs::read_to_string(format!("{LAB}/{OWN_MODULES}/{ORDER}")) else { return };
    for name in list.lines() {
        let file = format!("{LAB}/{OWN_MODULES}/{name}.ko");
        if let Err(error) = cmd("insmod").arg(file).dir(Path::new("/")).read() {
            eprintln!("guest: {name} is not loaded: {error:#}");
        }
    }
}

/// A processor whose PMU `power` has no event, beside an empty powercap class: what cannot be read is said, and everything
/// else goes on.
fn without_events(to: &mut File) -> Result<()> {
    step(to, &format!("{TEST}{EMPTY_METERS}"), "tests", &[EMPTY_METERS, "--exact", "--show-output"])?;
    step(to, "carbon doctor", "carbon", &["doctor"])?;
    step(to, "carbon run", "carbon", &["run", "--no-store", "--", "true"])?;
    step(to, "carbon top", "carbon", &["top", "--once", "--duration", "2s"])?;
    writeln!(to, "{MARK}done")?;
    Ok(())
}

/// Whether the kernel has an iterator over cgroups, by the name of its context among the kernel's types.
fn has_books() -> bool {
    let types = fs::read("/sys/kernel/btf/vmlinux").unwrap_or_default();
    let name = b"\0bpf_iter__cgroup\0";
    types.windows(name.len()).any(|window| window == name)
}

fn tests() -> Result<Vec<String>> {
    let list = cmd(format!("{LAB}/tests")).args(["accounting::", "vhost::", "--list", "--format", "terse"]);
    let list = list.dir(Path::new("/")).read()?;
    Ok(list.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
}

/// Runs a program of the lab.
fn step(to: &mut File, name: &str, program: &str, args: &[&str]) -> Result<()> {
    writeln!(to, "{MARK}step {name}")?;
    let begun = Stopwatch::start();
    let mut command = cmd(format!("{LAB}/{program}"))
        .args(args)
        .dir(Path::new("/"))
        .env("CARBON_TEST_LOAD", format!("{LAB}/load"))
        .env("CARBON_TEST_VHOST", format!("{LAB}/vhost"))
        .env("CARBON_TEST_SCALE", SCALE)
        // That this machine may be suspended, and what it is to measure with meanwhile.
        .env("CARBON_TEST_SUSPEND", format!("{LAB}/carbon"))
        .output_to(&File::create(OUTPUT)?)?;
    if name.ends_with(COUNTED) {
        command =
            command.env("LD_PRELOAD", format!("{LAB}/verifier.so")).env("CARBON_VERIFIER_COUNTS", COUNTS);
    }
    let mut running = command.spawn()?;
    let status = running.wait_at_most(STEP_MOST)?;
    drop(running);
    let code = status
        .map_or(TIMED_OUT, |status| status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)));
    to.write_all(&fs::read(OUTPUT)?)?;
    writeln!(to, "\n{MARK}end {code} {}", begun.elapsed().as_millis())?;
    Ok(())
}
