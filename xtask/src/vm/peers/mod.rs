//! `cargo xtask bench accuracy --guest`: Carbon and Scaphandre over the same time on the same meter, whose truth is known, in a
//! guest's kernel. Scaphandre reads the powercap class at its place in sysfs, and where a kernel has no loadable modules it
//! panics; so a module puts a genuine class in place (`tests/fakerapl`), and its own account is the truth.

mod guest;
mod read;
mod score;

pub(super) use guest::run as run_guest;

use super::boot::Report;
use super::debian::{self, SERIES, Tools, cache};
use super::guest::{LAB, MODULE};
use super::{boot, missing, module, payload};
use crate::sh::{cargo, cmd};
use crate::workspace;
use anyhow::{Context as _, Result, bail};
use read::Truth;
use score::Round;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// In the lab, where this is what the guest is for: how many rounds, and of how many seconds.
pub(super) const PLAN: &str = "peers";
/// What is compared, each in a cgroup of that name.
const PROGRAMS: [&str; 2] = ["carbon", "scaphandre"];
/// Cgroups with load, and milliwatts of a busy CPU there: 0.4 to 1.6 times their mean.
const LOADS: [(&str, u32); 4] = [("a", 12_000), ("b", 4_000), ("c", 16_000), ("d", 8_000)];
/// The same of everything else, both programs too.
const OTHERS_MW: u32 = 6_000;
/// Scaphandre's own default.
const STEP_S: u64 = 2;
/// Carbon begins without having learned anything, and goes on from there.
const ROUNDS: u64 = 3;

const PAGE: &str = "docs/accuracy.md";
const HEADING: &str = "## Beside Scaphandre";
const BEGIN: &str = "<!-- written by `cargo xtask bench accuracy --guest` -->";
const END: &str = "<!-- end of what --guest writes -->";

/// Carbon and Scaphandre 1.0.0 side by side in an emulated kernel, on one meter whose truth is known. Writes its section of
/// docs/accuracy.md. Needs neither root nor a meter.
#[derive(Debug, clap::Parser)]
#[command(name = "accuracy --guest", bin_name = "cargo xtask bench accuracy --guest")]
struct Options {
    /// Series of the kernel.
    #[arg(long, value_name = "SERIES", default_value = "6.1", value_parser = SERIES.map(|series| series.name))]
    kernel: String,
    /// Length of each of the three rounds.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(20..=900))]
    seconds: u64,
    /// This program, instead of one that is built here in the release profile.
    #[arg(long, value_name = "FILE")]
    carbon: Option<PathBuf>,
    /// Tell once more of the last guest, without booting another.
    #[arg(long, conflicts_with = "carbon")]
    again: bool,
    /// Print only; leave the page as it is.
    #[arg(long)]
    no_page: bool,
}

/// Cgroups that are looked at, and their milliwatts of a busy CPU: loads first.
fn places() -> impl Iterator<Item = (&'static str, u32)> {
    LOADS.into_iter().chain(PROGRAMS.map(|name| (name, OTHERS_MW)))
}

/// The arguments without `--guest`.
pub(crate) fn run(arguments: &[OsString]) -> Result<()> {
    let words = [OsString::from("accuracy --guest")].into_iter().chain(arguments.iter().cloned());
    let options = <Options as clap::Parser>::parse_from(words);
    if let Some(reason) = missing() {
        bail!("{reason}");
    }
    let scaphandre = scaphandre()?;
    let kept = cache().join(format!("peers.{}.report", options.kernel));
    let report = if options.again {
        let text =
            fs::read(&kept).with_context(|| format!("no guest was kept: cannot read {}", kept.display()))?;
        Report::read(&String::from_utf8_lossy(&text))
    } else {
        let report = guest(&options, &scaphandre)?;
        // The next guest of any kind takes that one's place.
        fs::copy(cache().join(format!("{}.report", options.kernel)), &kept)?;
        report
    };
    if !report.complete {
        bail!("the guest did not come to its end");
    }
    let date = cmd("date").args(["-u", "+%Y-%m-%d", "-r"]).arg(&kept).read()?;
    let version = cmd(&scaphandre).arg("--version").read()?;
    let text = page(&report, version.trim(), date.trim())?;
    println!("{text}");
    if !options.no_page {
        let page = workspace::root().join(PAGE);
        let old = fs::read_to_string(&page).with_context(|| format!("cannot read {PAGE}"))?;
        fs::write(&page, shown_in(&old, &text)).with_context(|| format!("cannot write {PAGE}"))?;
    }
    Ok(())
}

/// Boots a guest with both programs, and gives what it reported.
fn guest(options: &Options, scaphandre: &Path) -> Result<Report> {
    let series = SERIES.iter().find(|series| series.name == options.kernel).context("no such kernel")?;
    let tools = Tools::find_or_fetch()?;
    let kernel = debian::kernel(series)?;
    let module = module::build(&kernel)?;
    let carbon = if let Some(file) = &options.carbon {
        file.canonicalize().with_context(|| format!("cannot find {}", file.display()))?
    } else {
        cargo().args(["build", "--quiet", "--release", "-p", "carbon-user", "--bin", "carbon"]).run()?;
        workspace::target().join("release").join("carbon")
    };
    let mut archive = payload::base(&tools)?;
    for (name, file) in PROGRAMS.iter().zip([carbon.as_path(), scaphandre]) {
        payload::program(&mut archive, name, file)?;
    }
    archive.file(&format!("{LAB}/{MODULE}"), &fs::read(module)?);
    archive.file(&format!("{LAB}/{PLAN}"), format!("{ROUNDS} {}", options.seconds).as_bytes());
    let initrd = payload::write(archive, "initrd.peers")?;
    let most = Duration::from_secs(ROUNDS * (options.seconds + 90) + 60);
    eprintln!("xtask: the guest takes some {} s", ROUNDS * (options.seconds + 20));
    boot::boot(&tools, &kernel, &initrd, boot::PROCESSOR, most)
}

/// The program, below the target folder.
fn scaphandre() -> Result<PathBuf> {
    let root = workspace::target().join("tmp").join("scaphandre-1.0.0");
    let program = root.join("bin").join("scaphandre");
    if !program.exists() {
        bail!(
            "no Scaphandre. Run: cargo install scaphandre --version 1.0.0 --locked --no-default-features --features json,prometheus \
             --root {}",
            root.display()
        );
    }
    Ok(program)
}

/// What is told of a guest's report.
fn page(report: &Report, version: &str, date: &str) -> Result<String> {
    let output = |name: &str| -> Result<&str> {
        let step = report.steps.iter().find(|step| step.name == name);
        let step = step.with_context(|| format!("the guest has said nothing of {name}"))?;
        if step.status != Some(0) {
            bail!("{name} failed in the guest, status {:?}:\n{}", step.status, step.output);
        }
        Ok(&step.output)
    };
    let truth = Truth::parse(output("truth")?)?;
    let mut rounds = Vec::new();
    for number in 1..=ROUNDS {
        let carbon = read::carbon(output(&format!("carbon {number}"))?)?;
        let said = output(&format!("scaphandre {number}"))?;
        let scaphandre = read::scaphandre(said, &truth, carbon.from_s, carbon.to_s)?;
        rounds.push(Round {
            by_cpu_time: read::carbon(output(&format!("cpu-time {number}"))?)?,
            scaphandre: (truth.between(scaphandre.from_s, scaphandre.to_s)).map(|span| (scaphandre, span))?,
            carbon: truth.between(carbon.from_s, carbon.to_s).map(|span| (carbon, span))?,
        });
    }
    let seconds = rounds.first().map_or(0.0, |round| round.carbon.1.time_s);
    let watts: Vec<String> =
        LOADS.iter().map(|(name, watts)| format!("{name} {}", f64::from(*watts) / 1e3)).collect();
    let mut text = format!(
        "**What the truth is.** A model, not silicon: Linux {}, emulated with 2 CPUs, in which a module (`tests/fakerapl`) has put a \
         genuine powercap class with one package. Its counter grows by CPU nanoseconds between context switches times the watts of \
         the cgroup, hidden from both programs ({} W per busy CPU, everything else {} W), and by 2.3 W of idle power. Each of the four \
         cgroups has a process that works in bursts, more or less so, or not at all, for some seconds each. The module's account \
         by cgroup is the truth, read five times a second, and taken in proportion to time between two readings. \
         It is of a form that Carbon's model has, with watts that do not change; for others see the tables above.\n\n\
         **What is compared.** `carbon top --once --duration {seconds:.0}s` and `scaphandre json --step {STEP_S}` (Scaphandre {}), started together, \
         {ROUNDS} times; each against what was true of its own time, Scaphandre's records within Carbon's time. Carbon knows nothing to begin \
         with, and goes on in each round with what it has learned in those before. Its limit of what measuring may cost is lifted: \
         CPU-bound code is some 17 times slower there. *By CPU time*: `carbon replay --attribution cpu-time` of Carbon's windows, with the idle power of its \
         table, as nothing is learned then. Scaphandre's watts of a process hold from one record to the next; \
         processes are added up by cgroup. *Error, total*: sum over the four of |estimate - truth| over the sum of truth, in per cent, dynamic energy; \
         *shares*: the same with estimates brought to the sum of the truth, so of the split alone. Scaphandre has no idle \
         power: it gives a process the part of the machine's power that its CPU time is of all CPUs' time, by /proc/stat. So it is also held against \
         dynamic energy with idle energy split by CPU time. An emulated kernel loses ticks, by which /proc/stat counts, and all of \
         Scaphandre's processes come out larger by that, which they would not elsewhere: *without lost ticks* takes it out again. \
         *Shares* know neither.\n\nMade on {}.\n",
        report.release,
        watts.join(", "),
        f64::from(OTHERS_MW) / 1e3,
        version.trim_start_matches("scaphandre "),
        date,
    );
    for (number, round) in (1..).zip(&rounds) {
        let knows = if number == 1 { "nothing learned before" } else { "with what was learned before" };
        let (counted, summary, table) = (100.0 * round.ticked_ratio(), round.summary()?, round.table()?);
        write!(
            text,
            "\n### Round {number}: {knows}\n\n{summary}\nTicks: /proc/stat counted {counted:.0} % of the time.\n\n{table}"
        )?;
    }
    Ok(text)
}

/// The page with the text in its place; a page that was printed anew has none, and gets it at its end.
fn shown_in(page: &str, text: &str) -> String {
    let parts = page.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    match parts {
        Some((before, after)) => format!("{before}{BEGIN}\n\n{text}\n{END}{after}"),
        None => format!("{}\n\n{HEADING}\n\n{BEGIN}\n\n{text}\n{END}\n", page.trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_section_is_replaced_and_the_rest_stays() {
        let page = fs::read_to_string(workspace::root().join(PAGE)).unwrap();
        assert!(page.contains(HEADING), "{PAGE} is without the section");
        let new = shown_in(&page, "new");
        assert_eq!(shown_in(&new, "new"), new);
        assert!(new.contains(&format!("{BEGIN}\n\nnew\n{END}")));
        let outside = |text: &str| {
            let (before, rest) = text.split_once(BEGIN).unwrap();
            (before.to_owned(), rest.split_once(END).unwrap().1.to_owned())
        };
        assert_eq!(outside(&page), outside(&new));
        let printed = shown_in("# Title\n", "new");
        assert!(printed.starts_with(&format!("# Title\n\n{HEADING}\n")));
        assert_eq!(shown_in(&printed, "new"), printed);
    }

    #[test]
    fn the_loads_come_first_and_everybody_has_a_name_of_their_own() {
        let names: Vec<&str> = places().map(|(name, _)| name).collect();
        assert_eq!(names.get(..LOADS.len()), Some(LOADS.map(|(name, _)| name).as_slice()));
        let mut once = names.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), names.len());
    }
}
