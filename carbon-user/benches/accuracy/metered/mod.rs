//! Real load in real cgroups under a powercap tree whose truth is known: `cargo xtask bench accuracy --metered`.
//!
//! CPU time comes from the kernel by the same code as in `carbon` (books and sampler), joules from files that `carbon`'s
//! meter reads; only the silicon is missing. See [`meter`] for what is true.

mod load;
mod meter;
mod peer;

use crate::scenarios::Node;
use crate::score::{Score, median, score};
use anyhow::{Context, Result, bail};
use carbon_user::clock;
use carbon_user::meters::{MeterChoice, Meters};
use carbon_user::sampler::Sampler;
use carbon_user::sched::{Limits, Rung, open};
use carbon_user::sysroot::SysRoot;
use carbon_user::topology::Topology;
use carbon_user::window::{DomainKind, Window};
use meter::{MODES, Meter, Mode, OTHER, WORKLOADS};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub(crate) use load::spin;

/// What is believed of idle power and of watts per CPU beforehand, over the truth: wrong by a fifth each.
const PRIOR_P0_RATIO: f64 = 0.8;
const PRIOR_WATTS_RATIO: f64 = 1.2;
const WINDOW: Duration = Duration::from_secs(1);

const HEADER: &str = "\
| meter | carbon, total | carbon, shares | CPU time, same P0 | CPU time, true P0 | 90 % interval holds | its half-width | \
metered / true | others' CPUs | load average |
|---|---|---|---|---|---|---|---|---|---|
";

/// What to run.
pub(crate) struct Settings {
    pub(crate) modes: Vec<String>,
    pub(crate) seconds: u64,
    /// A Python that has CodeCarbon.
    pub(crate) codecarbon: Option<PathBuf>,
    pub(crate) seed: u64,
}

/// Names of the modes.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    MODES.iter().map(|mode| mode.name)
}

/// Runs the modes one after the other and prints a table.
pub(crate) fn run(settings: &Settings) -> Result<()> {
    if let Some(wrong) = settings.modes.iter().find(|name| !names().any(|known| known == *name)) {
        bail!("no mode {wrong}; there are {}", names().collect::<Vec<_>>().join(", "));
    }
    if !rustix::process::geteuid().is_root() {
        bail!("cgroups and kernel programs need root");
    }
    println!("\n## Real load under simulated meters\n");
    println!("Printed by `cargo xtask bench accuracy --metered`; do not edit.\n\n{}\n", meter::description());
    println!(
        "Columns as above; *metered / true*: what was read over what was true, all windows; *others*: CPUs that all else on the \
         machine used meanwhile. {} s a meter, the first fifth not scored; on {}.\n",
        settings.seconds,
        machine()
    );
    print!("{HEADER}");
    let mut peers = Vec::new();
    let wanted =
        |mode: &&Mode| settings.modes.is_empty() || settings.modes.iter().any(|name| name == mode.name);
    for mode in MODES.iter().filter(wanted) {
        let Outcome { nodes, peer, others } =
            one(mode, settings).with_context(|| format!("mode {}", mode.name))?;
        for (package, (node, metered_ratio)) in nodes.iter().enumerate() {
            let name =
                if nodes.len() > 1 { format!("{} {package}", mode.name) } else { mode.name.to_owned() };
            println!("{}", line(&name, &score(node), *metered_ratio, others));
        }
        peers.extend(peer.map(|said| format!("- {}: {said}", mode.name)));
    }
    if settings.codecarbon.is_some() {
        println!(
            "\nCodeCarbon on the same meter in the same runs. It has no split: in process mode too its figure is the machine's.\n"
        );
        println!("{}", peers.join("\n"));
    }
    println!("\n{}", scaphandre());
    Ok(())
}

fn scaphandre() -> &'static str {
    if Path::new("/proc/modules").exists() {
        "Scaphandre was not run: it reads the class at its place in /sys only, and needs a kernel module that puts one there; `--guest` \
         does that in an emulated kernel, see [below](#beside-scaphandre)."
    } else {
        "Scaphandre could not be run here: 1.0.0 panics on a kernel without loadable modules (it reads /proc/modules). `--guest` runs \
         it in an emulated kernel, see [below](#beside-scaphandre)."
    }
}

fn machine() -> String {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    format!("Linux {release}, {cpus} CPUs, {}", jiff::Timestamp::now().strftime("%Y-%m-%d"))
}

fn line(name: &str, score: &Score, metered_ratio: f64, others: f64) -> String {
    let ((hits, tries), widths) = &score.intervals;
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "| {name} | {:.1} | {:.1} | {:.1} | {:.1} | {:.0} of {tries} | {:.0} | {metered_ratio:.4}{} | {others:.2} | {} |",
        score.total_pct,
        score.share_pct,
        score.same_p0_pct,
        score.true_p0_pct,
        100.0 * f64::from(*hits) / f64::from((*tries).max(1)),
        100.0 * median(widths),
        if score.conserved { "" } else { " NOT CONSERVED" },
        load.split(' ').next().unwrap_or("?"),
    )
}

/// What came of a run.
struct Outcome {
    /// Of each package its windows with their truth, and its metered energy over the truth.
    nodes: Vec<(Node, f64)>,
    /// What the peer said.
    peer: Option<String>,
    /// CPUs that others used.
    others: f64,
}

fn one(mode: &'static Mode, settings: &Settings) -> Result<Outcome> {
    let workloads = load::Workloads::start(mode.sockets, settings.seed)?;
    let meter = Meter::start(mode, &workloads, settings.seed, settings.seconds)?;
    let root = SysRoot { sys: meter.sysfs().to_owned(), ..SysRoot::default() };
    let topology = Topology::read(&root)?;
    let limits = Limits { wake: true, without_runs: true, ..Limits::default() };
    let accounting = open(Rung::Books, &root, &topology, limits)?;
    let meters = Meters::open(&root, &topology, MeterChoice::Powercap)?;
    let mut sampler = Sampler::new(Box::new(clock::now), accounting, meters, &topology);
    let peer =
        settings.codecarbon.as_deref().map(|python| peer::start(python, meter.sysfs(), settings.seconds));
    let peer = peer.transpose()?;
    let mut windows: Vec<Window> = Vec::new();
    let begun = Instant::now();
    sampler.edge()?;
    for number in 1..=settings.seconds {
        let due = begun + WINDOW * u32::try_from(number)?;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        windows.extend(sampler.edge()?);
    }
    let said = peer.map(peer::Peer::finish).transpose()?;
    let truth = meter.stop()?;
    let said = said.map(|said| said.against(&truth));
    let nodes = (0..mode.sockets).map(|package| node(&windows, package, &truth, &workloads, &topology));
    let nodes = nodes.collect::<Result<Vec<_>>>()?;
    let span_s: f64 = windows.iter().map(|window| window.duration.as_secs_f64()).sum();
    let others: f64 = nodes.iter().flat_map(|(node, _)| node.cpu_s.iter().map(|row| row[OTHER])).sum();
    Ok(Outcome { nodes, peer: said, others: others / span_s })
}

/// The windows of a package, and its metered energy over the truth.
fn node(
    windows: &[Window],
    package: usize,
    truth: &meter::Truth,
    workloads: &load::Workloads,
    topology: &Topology,
) -> Result<(Node, f64)> {
    let cpus = topology.online.get(package).copied().context("no such package")?;
    let (idle_w, watts) = meter::beliefs(truth.sockets);
    let mut node = Node {
        cpus,
        prior_p0_w: idle_w * PRIOR_P0_RATIO,
        prior_w_per_cpu: watts * PRIOR_WATTS_RATIO,
        true_p0_w: 0.0,
        window_s: 1.0,
        spans_s: Vec::new(),
        energy_j: Vec::new(),
        wake_ratio: Vec::new(),
        cpu_s: Vec::new(),
        joules: Vec::new(),
    };
    let (mut static_j, mut true_j) = (0.0, 0.0);
    for window in windows {
        let of_package = |kind: DomainKind| {
            window
                .domains
                .iter()
                .find(|it| it.domain.kind == kind && usize::from(it.domain.package.0) == package)
        };
        let domain = of_package(DomainKind::Package).context("a window without its package")?;
        let mut seconds = vec![0.0; WORKLOADS + 1];
        for (key, nanos) in domain.usage.on_package(domain.domain.package) {
            seconds[workloads.place(key.cgroup.0).unwrap_or(OTHER)] += nanos.seconds();
        }
        let end_ns = window.start_ns + u64::try_from(window.duration.as_nanos())?;
        let (before, after) = (truth.at(window.start_ns, package), truth.at(end_ns, package));
        node.spans_s.push(domain.duration.as_secs_f64());
        node.energy_j.push(domain.metered.joules());
        node.wake_ratio.extend(domain.wake_ratio);
        node.joules.push(after.dynamic_since(&before).to_vec());
        node.cpu_s.push(seconds);
        static_j += after.static_j - before.static_j;
        true_j += after.package_j() - before.package_j();
    }
    node.true_p0_w = static_j / node.spans_s.iter().sum::<f64>();
    let metered_ratio = node.energy_j.iter().sum::<f64>() / true_j;
    Ok((node, metered_ratio))
}
