//! `cargo xtask demo`: the main job on real input, from an empty machine to the report.

use crate::sh::{Running, cargo, cmd};
use crate::{cgroup, machine, workspace};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

/// Length of the measured window.
const WINDOW_S: u64 = 6;

/// Processes in the cgroup of short ones.
const SHORT_PROCESSES: u32 = 1_500;

/// The cgroups below the demo's own.
const GROUPS: [&str; 4] = ["spinner", "two-threads", "short-lived", "removed"];

/// Builds, checks, measures, cleans up. Fails where the report lacks one of the cgroups.
pub(crate) fn run() -> Result<()> {
    let lacks = machine::kernel_part_lacks();
    if !lacks.is_empty() {
        bail!("the demo loads programs into the kernel and makes cgroups. Missing: {}", lacks.join("; "));
    }
    let top = cgroup::mount_point()?.join("carbon-demo");

    step("Building carbon (release); the kernel programs come prebuilt");
    cargo().args(["build", "--release", "--package", "carbon-user", "--bin", "carbon"]).run()?;
    let carbon = workspace::target().join("release/carbon");

    step("What can be measured on this machine, and how well");
    cmd(&carbon)
        .arg("doctor")
        .run()
        .context("carbon cannot do its main job here; the lines above say why")?;

    step(&format!("Making cgroups below {}; they go away with this command, however it ends", top.display()));
    let demo = Demo::begin(top)?;
    let report = demo.measure(&carbon);
    let swept = demo.end();
    let report = report?;
    swept?;

    step("One command and all its children, as a job on the French grid would report it");
    let script = "i=0; while [ $i -lt 200 ]; do /bin/true; i=$((i+1)); done; (sleep 0.2 &) ; sleep 0.5";
    cmd(&carbon).args(["run", "--no-store", "--zone", "FR", "--", "sh", "-c", script]).run()?;

    let missing: Vec<_> = GROUPS.into_iter().filter(|group| !report.contains(group)).collect();
    if !missing.is_empty() {
        bail!("the report lacks the cgroup {}", missing.join(", "));
    }
    Ok(())
}

fn step(text: &str) {
    eprintln!("\n== {text}");
}

/// The demo's cgroups, and the process that removes them when this one is gone.
struct Demo {
    top: PathBuf,
    sweeper: Running,
}

impl Demo {
    fn begin(top: PathBuf) -> Result<Self> {
        cgroup::make(&top)?;
        let sweeper = own().and_then(|own| cmd(own).arg("sweep").arg(&top).spawn_apart());
        let sweeper = match sweeper {
            Ok(sweeper) => sweeper,
            Err(error) => {
                cgroup::remove_all(&top)?;
                return Err(error);
            }
        };
        for group in GROUPS {
            cgroup::make(&top.join(group))?;
        }
        Ok(Self { top, sweeper })
    }

    /// Closing the sweeper's standard input starts it.
    fn end(self) -> Result<()> {
        self.sweeper.wait().context("the demo's cgroups are not all gone")
    }

    /// Runs the work and `carbon top` over it; gives the report.
    fn measure(&self, carbon: &Path) -> Result<String> {
        let group = |name: &str| self.top.join(name);
        step("Starting one busy thread in spinner, and two threads at half load in two-threads");
        let spinner = load(&group("spinner"), WINDOW_S + 20, 1, 100)?;
        let threads = load(&group("two-threads"), WINDOW_S + 20, 2, 50)?;
        let before = [cgroup::cpu_seconds(&group("spinner"))?, cgroup::cpu_seconds(&group("two-threads"))?];

        step(&format!(
            "Measuring for {WINDOW_S} s; meanwhile {SHORT_PROCESSES} processes of about 1 ms run in short-lived, and \
             removed is busy for 2 s and then removed"
        ));
        let duration = format!("{WINDOW_S}s");
        let args = ["top", "--once", "--duration", &duration, "--format", "table"];
        let (report, ends) = std::thread::scope(|scope| {
            let top = scope.spawn(move || {
                let mut report = String::new();
                let ran = cmd(carbon).args(args).run_lines(|line| report.extend([line, "\n"]));
                ran.map(|()| report)
            });
            // Until carbon has loaded its programs and taken the window's first edge.
            sleep(Duration::from_millis(700));
            let ends = self.short_ones();
            (top.join().unwrap_or_else(|_| bail!("the thread that reads from carbon top has panicked")), ends)
        });
        let (report, (removed, shorts)) = (report?, ends?);
        let after = [cgroup::cpu_seconds(&group("spinner"))?, cgroup::cpu_seconds(&group("two-threads"))?];
        drop((spinner, threads));

        let [spinner, threads] = [0, 1].map(|i| after.get(i).unwrap_or(&0.0) - before.get(i).unwrap_or(&0.0));
        step(&format!(
            "For comparison, CPU seconds by the kernel's own cpu.stat: short-lived {shorts:.3}, removed {removed:.3} \
             (both began and ended inside the window); from a moment before the window to a moment after it: spinner \
             {spinner:.2}, two-threads {threads:.2}"
        ));
        Ok(report)
    }

    /// The work that begins and ends inside the window; gives CPU seconds of removed and short-lived.
    fn short_ones(&self) -> Result<(f64, f64)> {
        let (removed, shorts) = (self.top.join("removed"), self.top.join("short-lived"));
        let busy = load(&removed, 2, 1, 100)?;
        let script = format!(
            "echo 0 > \"$0/cgroup.procs\" && i=0 && while [ $i -lt {SHORT_PROCESSES} ]; do /bin/true; i=$((i+1)); done"
        );
        let loop_of_shorts = cmd("sh").args(["-c", &script]).arg(&shorts).spawn()?;
        busy.wait()?;
        let final_removed = cgroup::cpu_seconds(&removed)?;
        cgroup::remove(&removed)?;
        loop_of_shorts.wait()?;
        Ok((final_removed, cgroup::cpu_seconds(&shorts)?))
    }
}

/// A load of this program's own in a cgroup.
fn load(cgroup: &Path, seconds: u64, threads: u32, busy_percent: u32) -> Result<Running> {
    let number = |value: u64| value.to_string();
    let mut command = cmd(own()?).arg("load").arg("--cgroup").arg(cgroup);
    for (flag, value) in
        [("--seconds", seconds), ("--threads", threads.into()), ("--busy-percent", busy_percent.into())]
    {
        command = command.args([flag, &number(value)]);
    }
    let mut running = command.spawn()?;
    // Until it is in, what it does would be booked elsewhere.
    for _ in 0..200 {
        let entered = fs::read_to_string(cgroup.join("cgroup.procs")).is_ok_and(|tasks| !tasks.is_empty());
        if entered || running.has_ended() {
            break;
        }
        sleep(Duration::from_millis(5));
    }
    Ok(running)
}

fn own() -> Result<PathBuf> {
    std::env::current_exe().context("cannot find this program's own file")
}
