//! In the guest: loads in cgroups of known watts, and Carbon and Scaphandre beside them, at the same time and on the same meter.

use super::{LOADS, OTHERS_MW, PROGRAMS, STEP_S, places};
use crate::sh::{Cmd, Running, Stopwatch, cmd, unix_ns};
use crate::vm::guest::{LAB, MARK, MODULE, TIMED_OUT};
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

const CGROUPS: &str = "/sys/fs/cgroup";
/// The module's own account, which also takes orders.
const ACCOUNT: &str = "/proc/fakerapl";
/// One zone, that of the package, and the cores' in it; watts of a cgroup are those of the package, with nothing on top.
const METER: [&str; 2] = ["amd=1", "uncore_permille=0"];
/// Between two looks at the account.
const LOOK: Duration = Duration::from_millis(200);
/// Scaphandre starts and ends outside of what Carbon measures.
const LONGER_S: u64 = 8;
/// For both to start and to write, in emulation.
const SLACK: Duration = Duration::from_secs(45);
/// Looks at the account and its end before and after a round.
const STATE: &str = "/tmp/state.json";
const WINDOWS: &str = "/tmp/windows";

/// Runs all rounds, and reports what each program said and what was true.
pub(in crate::vm) fn run(to: &mut File, plan: &str) -> Result<()> {
    let (rounds, seconds) = plan.trim().split_once(' ').context("no plan")?;
    let (rounds, seconds): (u64, u64) = (rounds.parse()?, seconds.parse()?);
    cmd("insmod").arg(format!("{LAB}/{MODULE}")).args(METER).dir(Path::new("/")).read()?;
    let mut watch = Watch::start()?;
    let whole = rounds * (seconds + 2 * SLACK.as_secs());
    let load = |(place, (name, _)): (u64, &(&str, u32))| {
        let load = cmd(format!("{LAB}/xtask")).arg("load").arg("--cgroup").arg(folder(name));
        load.args(["--seconds", &whole.to_string(), "--phases", &place.to_string()])
            .dir(Path::new("/"))
            .spawn()
    };
    let loads = (1..).zip(&LOADS).map(load).collect::<Result<Vec<Running>>>()?;
    for number in 1..=rounds {
        round(to, &mut watch, number, seconds)?;
    }
    drop(loads);
    step(to, "truth", watch.report().as_bytes(), 0)
}

/// Both programs over the same time, and the same windows of Carbon split by CPU time.
fn round(to: &mut File, watch: &mut Watch, number: u64, seconds: u64) -> Result<()> {
    let (span, longer) = (format!("{seconds}s"), (seconds + LONGER_S).to_string());
    let step_s = STEP_S.to_string();
    let scaphandre =
        ["json", "--timeout", &longer, "--step", &step_s, "--max-top-consumers", "100", "--file"];
    // CPU-bound code is some 17 times slower here, so that the limit of what measuring may cost is lifted.
    let carbon = [
        ["top", "--once"].as_slice(),
        &["--duration", &span, "--format", "json", "--metadata", "off", "--max-overhead", "100"],
        &["--state", STATE, "--record", WINDOWS, "--output"],
    ]
    .concat();
    let mut running = Vec::new();
    for (name, args) in PROGRAMS.iter().zip([carbon.as_slice(), &scaphandre]) {
        let said = said(name);
        if said.exists() {
            fs::remove_file(&said)?;
        }
        let log = File::create(log(name))?;
        running.push(inside(name).args(args).arg(&said).output_to(&log)?.spawn()?);
    }
    let begun = Stopwatch::start();
    let mut ends = [None; PROGRAMS.len()];
    while ends.iter().any(Option::is_none) && begun.elapsed() < Duration::from_secs(seconds) + SLACK {
        for (end, running) in ends.iter_mut().zip(&mut running) {
            if end.is_none() {
                *end = running.wait_at_most(Duration::ZERO)?;
            }
        }
        watch.look()?;
        sleep(LOOK);
    }
    for (name, end) in PROGRAMS.iter().zip(ends) {
        let status = end.map_or(TIMED_OUT, |end| end.code().unwrap_or(-1));
        let output = if status == 0 { fs::read(said(name))? } else { fs::read(log(name))? };
        step(to, &format!("{name} {number}"), &output, status)?;
    }
    let again = ["replay", WINDOWS, "--attribution", "cpu-time", "--format", "json"];
    let by_cpu_time = cmd(format!("{LAB}/carbon")).args(again).dir(Path::new("/")).read()?;
    fs::remove_file(WINDOWS)?;
    step(to, &format!("cpu-time {number}"), by_cpu_time.as_bytes(), 0)
}

/// A program of the lab, in the cgroup of its name.
fn inside(name: &str) -> Cmd {
    let enter = "echo 0 > \"$0/cgroup.procs\" && exec \"$@\"";
    cmd("sh").args(["-c", enter]).arg(folder(name)).arg(format!("{LAB}/{name}")).dir(Path::new("/"))
}

fn folder(name: &str) -> PathBuf {
    Path::new(CGROUPS).join(name)
}

fn said(name: &str) -> PathBuf {
    format!("/tmp/{name}.json").into()
}

fn log(name: &str) -> PathBuf {
    format!("/tmp/{name}.log").into()
}

fn step(to: &mut File, name: &str, output: &[u8], status: i32) -> Result<()> {
    writeln!(to, "{MARK}step {name}")?;
    to.write_all(output)?;
    writeln!(to, "\n{MARK}end {status} 0")?;
    Ok(())
}

/// What is true, over time.
struct Watch {
    /// Ids of the cgroups, by place.
    ids: Vec<u64>,
    looks: String,
    /// By process, the place of its cgroup.
    pids: BTreeMap<u32, usize>,
}

impl Watch {
    /// Makes the cgroups and hides their watts in the meter.
    fn start() -> Result<Self> {
        order(&format!("default {OTHERS_MW} 0"))?;
        let mut ids = Vec::new();
        for (name, watts) in places() {
            fs::create_dir(folder(name)).with_context(|| format!("cannot make the cgroup {name}"))?;
            let id = fs::metadata(folder(name))?.ino();
            order(&format!("set {id} {watts} 0"))?;
            ids.push(id);
        }
        Ok(Self { ids, looks: String::new(), pids: BTreeMap::new() })
    }

    /// Takes down the account of this moment: when, microjoules of the package, ticks that a CPU has counted, and by place CPU
    /// nanoseconds and microjoules, all other cgroups last.
    fn look(&mut self) -> Result<()> {
        let before = unix_ns();
        let account = fs::read_to_string(ACCOUNT)?;
        // The account is of a moment between.
        let at = before.midpoint(unix_ns());
        let mut uses = vec![(0_u64, 0_u64); self.ids.len() + 1];
        let mut package = None;
        for line in account.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["zone", "package-0", microjoules] => package = microjoules.parse::<u64>().ok(),
                ["cgroup", id, _, _, ns, microjoules, _] => {
                    let id: u64 = id.parse()?;
                    let place = self.ids.iter().position(|known| *known == id).unwrap_or(self.ids.len());
                    let Some(sum) = uses.get_mut(place) else { bail!("no place {place}") };
                    sum.0 += ns.parse::<u64>()?;
                    sum.1 += microjoules.parse::<u64>()?;
                }
                _ => {}
            }
        }
        let package = package.context("the account has no package")?;
        write!(self.looks, "look {at} {package} {}", ticks(&fs::read_to_string("/proc/stat")?)?)?;
        for (ns, microjoules) in uses {
            write!(self.looks, " {ns} {microjoules}")?;
        }
        self.looks.push('\n');
        for (place, (name, _)) in places().enumerate() {
            let pids = fs::read_to_string(folder(name).join("cgroup.procs"))?;
            self.pids.extend(pids.lines().filter_map(|pid| Some((pid.parse().ok()?, place))));
        }
        Ok(())
    }

    fn report(&self) -> String {
        let pids: Vec<String> = self.pids.iter().map(|(pid, place)| format!("pid {pid} {place}")).collect();
        format!("{}\n{}", pids.join("\n"), self.looks)
    }
}

/// Of /proc/stat (proc(5)): hundredths of seconds that a CPU has counted in its mean, whatever for. Time of guests is in that of users.
fn ticks(stat: &str) -> Result<u64> {
    let all = stat.lines().find_map(|line| line.strip_prefix("cpu  ")).context("/proc/stat has no sum")?;
    let sum: u64 = all.split(' ').take(8).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    let cpus = stat.lines().filter(|line| line.starts_with("cpu")).count() - 1;
    sum.checked_div(u64::try_from(cpus)?).context("/proc/stat has no CPU")
}

fn order(what: &str) -> Result<()> {
    fs::write(ACCOUNT, what).with_context(|| format!("the module takes no order `{what}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_those_of_a_cpu_without_its_guests() {
        let stat =
            "cpu  1 2 3 4 5 6 7 8 100 100\ncpu0 1 2 3 4 5 6 7 8 100 100\ncpu1 0 0 0 0 0 0 0 0 0 0\nintr 5\n";
        assert_eq!(ticks(stat).unwrap(), 18);
        assert!(ticks("cpu  1 2\n").is_err() && ticks("intr 5\n").is_err());
    }
}
