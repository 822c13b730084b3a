//! What `carbon agent` costs on a busy node, and whether it stays as it is: `cargo xtask bench agent`.
//!
//! The node is made here: containers as cgroups with the paths that containerd gives them under systemd, with processes that
//! begin and end all the time. The agent is this build's, with its defaults; what it costs is the kernel's word (`cpu.stat` of a
//! cgroup that it has for itself, and the run time of its programs), not its own.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark starts programs, looks at the clock and prints figures for people to read"
)]

#[path = "../kernel/doc.rs"]
mod doc;
#[path = "../kernel/fork.rs"]
mod fork;
#[path = "../kernel/memory.rs"]
mod memory;
mod node;
mod peer;
mod scrape;
mod slope;
mod soak;
mod subject;

use anyhow::{Context, Result, bail};
use aya::sys::{Stats, enable_stats};
use clap::Parser;
use node::{Node, Size};
use peer::CodeCarbon;
use scrape::Scrape;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use subject::Subject;

/// What it may cost.
const CPU_PERCENT_MOST: f64 = 0.5;
const MEMORY_MIB_MOST: f64 = 40.0;
const SCRAPE_MS_MOST: f64 = 20.0;
const SERIES_MOST: usize = 5_000;

/// Loading, and the first windows, are not what is asked for.
const SETTLING: Duration = Duration::from_secs(10);

/// How often metrics are read while the costs are taken.
const SCRAPE_EVERY: Duration = Duration::from_secs(15);

/// How often they are read for their latency.
const SCRAPES: usize = 50;

/// Measures `carbon agent` on a node of containers that come and go.
#[derive(Debug, Parser)]
#[command(name = "agent", bin_name = "cargo xtask bench agent")]
struct Arguments {
    #[command(flatten)]
    size: Size,
    /// How long the costs are taken for.
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// A Python that has CodeCarbon, to be measured beside it.
    #[arg(long, value_name = "PYTHON")]
    codecarbon: Option<PathBuf>,
    /// Whether memory and descriptors grow, with more churn and for longer, instead.
    #[arg(long)]
    soak: bool,
    /// The part of the soak that is judged.
    #[arg(long, default_value_t = 10.0, requires = "soak")]
    minutes: f64,
    /// The soak's churn, in times of --churn.
    #[arg(long, default_value_t = 20, requires = "soak")]
    times: u32,
    /// The part before it, in which what is remembered for minutes fills.
    #[arg(long, default_value_t = 10.0, requires = "soak")]
    warm_up_minutes: f64,
    /// Print what each thread and each kernel program used.
    #[arg(long)]
    detail: bool,
    /// The folder that holds docs/, for the figures to be written to.
    #[arg(long, hide = true)]
    document: Option<PathBuf>,
    /// Further options of the agent, after `--`.
    #[arg(last = true)]
    agent: Vec<String>,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().filter(|argument| argument != "--bench").collect();
    if let [_, mode, words @ ..] = &arguments[..]
        && mode == node::MODE
    {
        return node::load(words);
    }
    let arguments = Arguments::parse_from(arguments);
    if !rustix::process::geteuid().is_root() {
        bail!("cgroups and kernel programs need root");
    }
    let (file, section, told) = if arguments.soak {
        ("soak.md", "agent", soak::soak(&arguments)?)
    } else {
        ("overhead.md", "agent", costs(&arguments)?)
    };
    println!("{}", told.text);
    let document = arguments.document.as_ref().map(|docs| docs.join(file));
    doc::write(document.as_deref(), section, &told.text)?;
    if told.faults.is_empty() { Ok(()) } else { bail!("{}", told.faults.join("; ")) }
}

/// A section, and what is not as it should be.
struct Told {
    text: String,
    faults: Vec<String>,
}

impl Told {
    fn new(mut text: String, faults: Vec<String>) -> Self {
        if !faults.is_empty() {
            let _ = write!(text, "\n**Not as it should be:** {}.\n", faults.join("; "));
        }
        Self { text, faults }
    }
}

fn costs(arguments: &Arguments) -> Result<Told> {
    let _stats =
        enable_stats(Stats::RunTime).context("the kernel does not count the run time of programs")?;
    let node = Node::start(&arguments.size, arguments.size.churn)?;
    let peer = arguments.codecarbon.as_deref().map(CodeCarbon::start).transpose()?;
    let agent = Subject::start(&arguments.agent)?;
    std::thread::sleep(SETTLING);
    let before = Costs::take(&agent, peer.as_ref())?;
    let first = agent.scrape()?;
    while before.at.elapsed() < Duration::from_secs(arguments.seconds) {
        let left = Duration::from_secs(arguments.seconds).saturating_sub(before.at.elapsed());
        std::thread::sleep(left.min(SCRAPE_EVERY));
        agent.scrape()?;
    }
    let after = Costs::take(&agent, peer.as_ref())?;
    let last = agent.scrape()?;
    let detail = if arguments.detail { agent.detail(after.at - before.at)? } else { String::new() };
    let scrapes = (0..SCRAPES).map(|_| agent.scrape()).collect::<Result<Vec<_>>>()?;
    let forks_s = node.forks_a_second();
    drop(node);
    let said = Said { before, after, first, last, scrapes, forks_s, resident: agent.resident_mib()? };
    let mut told = said.table(arguments, peer.as_ref(), &agent)?;
    told.text += &detail;
    Ok(told)
}

/// What both have used so far.
struct Costs {
    at: Instant,
    agent_s: f64,
    programs_s: f64,
    peer_s: Option<f64>,
}

impl Costs {
    fn take(agent: &Subject, peer: Option<&CodeCarbon>) -> Result<Self> {
        Ok(Self {
            at: Instant::now(),
            agent_s: agent.cpu_s()?,
            programs_s: agent.programs_s(),
            peer_s: peer.map(CodeCarbon::cpu_s).transpose()?,
        })
    }
}

/// All that was seen.
struct Said {
    before: Costs,
    after: Costs,
    first: Scrape,
    last: Scrape,
    scrapes: Vec<Scrape>,
    forks_s: f64,
    /// Of the process, and of its maps and programs.
    resident: (f64, f64),
}

impl Said {
    fn table(&self, arguments: &Arguments, peer: Option<&CodeCarbon>, agent: &Subject) -> Result<Told> {
        let span_s = (self.after.at - self.before.at).as_secs_f64();
        let percent = |after: f64, before: f64| 100.0 * (after - before) / span_s;
        let own = percent(self.after.agent_s, self.before.agent_s);
        let programs = percent(self.after.programs_s, self.before.programs_s);
        let (resident, kernel) = self.resident;
        let mut latencies: Vec<f64> = self.scrapes.iter().map(|scrape| scrape.took_ms).collect();
        latencies.sort_by(f64::total_cmp);
        let (least, most) =
            (latencies.first().copied().unwrap_or(f64::NAN), latencies.last().copied().unwrap_or(f64::NAN));
        let median = latencies.get(latencies.len() / 2).copied().unwrap_or(f64::NAN);
        let series = self.scrapes.iter().map(|scrape| scrape.series).max().unwrap_or(0);
        let grew = |family: &str| self.last.sum(family) - self.first.sum(family);
        let windows = grew("carbon_windows_total");
        let lost_s = grew("carbon_cpu_lost_seconds_total");
        let lost_events = grew("carbon_events_lost_total");
        let failed = grew("carbon_windows_failed_total") + grew("carbon_meter_gaps_total");
        let target_s = self.last.sum("carbon_window_target_seconds");
        let mut faults = Vec::new();
        let mut fault = |wrong: bool, text: String| {
            if wrong {
                faults.push(text);
            }
        };
        fault(own + programs > CPU_PERCENT_MOST, format!("{:.2} % of a CPU", own + programs));
        fault(resident + kernel > MEMORY_MIB_MOST, format!("{:.1} MiB", resident + kernel));
        fault(median > SCRAPE_MS_MOST, format!("{median:.1} ms for /metrics"));
        fault(series > SERIES_MOST, format!("{series} series"));
        fault(lost_s > 0.0, format!("{lost_s:.3} s of CPU time lost"));
        fault(lost_events > 0.0, format!("{lost_events:.0} kernel events lost"));
        fault(failed > 0.0, format!("{failed:.0} windows failed or with a gap"));
        fault(windows < span_s / target_s - 2.0, format!("{windows:.0} windows in {span_s:.0} s"));
        fault((target_s - 1.0).abs() > 1e-6, format!("windows of {target_s} s"));
        let size = &arguments.size;
        let peer_says = |of: &dyn Fn(&CodeCarbon) -> Result<String>| -> Result<String> {
            peer.map_or_else(|| Ok(String::new()), |peer| Ok(format!(" {} |", of(peer)?)))
        };
        let none = |text: &str| peer.map_or_else(String::new, |_| format!(" {text} |"));
        let peer_cpu =
            self.after.peer_s.zip(self.before.peer_s).map(|(after, before)| percent(after, before));
        let mut text = format!(
            "`carbon agent` with its defaults ({}), {} containers with {} processes, of which {} a second end and are replaced (a \
             tenth with their whole container); {:.0} forks a second on the machine; {span_s:.0} s, metrics read every {} s.\n\n",
            self.last.accounting(),
            size.containers,
            size.processes,
            size.churn,
            self.forks_s,
            SCRAPE_EVERY.as_secs(),
        );
        let _ = write!(
            text,
            "| | at most | agent |{}\n|---|---|---|{}\n",
            peer.map_or_else(String::new, |peer| format!(" {} |", peer.version())),
            peer.map_or("", |_| "---|")
        );
        let _ = writeln!(
            text,
            "| CPU time, % of one CPU | {CPU_PERCENT_MOST} | {:.2} (process {own:.2}, kernel programs on others' time \
             {programs:.2}) |{}",
            own + programs,
            peer_says(&|_| Ok(format!("{:.2}", peer_cpu.unwrap_or(f64::NAN))))?
        );
        let _ = writeln!(
            text,
            "| memory, MiB | {MEMORY_MIB_MOST} | {:.1} (resident {resident:.1}, maps and programs {kernel:.1}) |{}",
            resident + kernel,
            peer_says(&|peer| Ok(format!("{:.1}", peer.resident_mib()?)))?
        );
        let _ = writeln!(
            text,
            "| CPU time lost, s; kernel events lost | 0; 0 | {lost_s:.3}; {lost_events:.0} |{}",
            none("not told")
        );
        let _ = writeln!(
            text,
            "| windows, of {target_s} s | {span_s:.0} | {windows:.0} |{}",
            none("each second")
        );
        let _ = writeln!(
            text,
            "| `/metrics`, ms: median [least to most] | {SCRAPE_MS_MOST} | {median:.1} [{least:.1} to {most:.1}] |{}",
            none("none")
        );
        let _ = writeln!(text, "| series | {SERIES_MOST} | {series} |{}", none("none"));
        let _ = writeln!(
            text,
            "| workloads told apart | | {:.0} |{}",
            self.last.labelled("carbon_workloads", "state=\"tracked\""),
            none("none: one figure for the machine")
        );
        if let Some(said) = agent.said()? {
            let _ = write!(text, "\nThe agent said: {said}\n");
        }
        Ok(Told::new(text, faults))
    }
}
