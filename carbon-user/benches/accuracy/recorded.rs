//! A node's windows with their truth as CSV, with the true joules beside what an agent may see, and back.

use crate::scenarios::Node;
use anyhow::{Context, Result, bail};
use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// What `--help` says of the columns.
pub(crate) const COLUMNS: &str = "\
CSV files (--csv): lines that begin with '#' hold key=value: cpus, prior_p0_w, prior_w_per_cpu (what a table of CPU
models would say), true_p0_w, and window_s where it is not 1. Then a header and one row per window:
  energy_j        metered package energy
  wake_fraction   share of the window in which any CPU was busy (may be missing)
  cpu_s_<k>       CPU seconds of workload k
  joules_<k>      truth: its dynamic energy
Other columns are left alone. The first fifth of the rows is not scored.

--format json prints one object a line for each file:
  file, total_error_pct, share_error_pct     sum |estimate - truth| / sum truth over workloads; the same with both
                                             scaled to the same sum
  cpu_time_same_p0_pct, cpu_time_true_p0_pct total error of splitting by CPU time, with our static energy, and with the
                                             true idle power
  coverage_90_pct                            how often the 90 % interval of a workload's joules in a minute holds the
                                             truth; workloads with under 0.1 % of the minute's dynamic energy left out
  median_half_width_pct                      of these intervals, relative to the estimate
  conserved                                  shares + static + lost = metered in every window, in whole microjoules";

/// Reads one.
pub(crate) fn read(path: &Path) -> Result<Node> {
    let file = std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(BufReader::new(file)).with_context(|| format!("not a scenario: {}", path.display()))
}

fn parse(reader: impl BufRead) -> Result<Node> {
    let (mut given, mut columns) = (HashMap::<String, f64>::new(), None);
    let (mut energy_j, mut wake_ratio, mut cpu_s, mut joules) = (vec![], vec![], vec![], vec![]);
    for (number, line) in reader.lines().enumerate() {
        let number = number + 1;
        let line = line.with_context(|| format!("line {number}"))?;
        if let Some(comment) = line.strip_prefix('#') {
            for word in comment.split_whitespace() {
                if let Some((name, Ok(value))) = word.split_once('=').map(|(name, text)| (name, text.parse()))
                {
                    given.insert(name.to_owned(), value);
                }
            }
            continue;
        }
        if line.trim().is_empty() {
            continue;
        }
        let Some(columns) = &columns else {
            columns = Some(Columns::of(&line).with_context(|| format!("line {number}, the header"))?);
            continue;
        };
        let cells: Vec<f64> = line
            .split(',')
            .map(|cell| cell.trim().parse().with_context(|| format!("line {number}: not a number: {cell}")))
            .collect::<Result<_>>()?;
        let cell = |place: &usize| {
            let cell = cells.get(*place).copied();
            let cell = cell.with_context(|| format!("line {number} has {} columns only", cells.len()))?;
            if !cell.is_finite() {
                bail!("line {number}, column {}: {cell}", place + 1);
            }
            Ok(cell)
        };
        energy_j.push(cell(&columns.energy)?);
        wake_ratio.extend(columns.wake.as_ref().map(cell).transpose()?);
        cpu_s.push(columns.cpu.iter().map(cell).collect::<Result<Vec<f64>>>()?);
        if let Some(used) = cpu_s.last().and_then(|row| row.iter().find(|used| **used < 0.0)) {
            bail!("line {number}: {used} CPU seconds");
        }
        joules.push(columns.joules.iter().map(cell).collect::<Result<Vec<f64>>>()?);
    }
    if cpu_s.first().is_none_or(Vec::is_empty) {
        bail!("no windows or no workloads");
    }
    let number = |name: &str| {
        let number = given.get(name).copied();
        let number = number.with_context(|| format!("no {name}=NUMBER in the comments"))?;
        if !(number.is_finite() && number >= 0.0) {
            bail!("{name}={number} in the comments");
        }
        Ok(number)
    };
    let window_s = given.get("window_s").copied().unwrap_or(1.0);
    if !(0.001..=86_400.0).contains(&window_s) {
        bail!("window_s={window_s} in the comments");
    }
    if joules.iter().flatten().sum::<f64>() <= 0.0 {
        bail!("no true joules, so there is nothing to be held against them");
    }
    Ok(Node {
        cpus: Some(number("cpus")?).filter(|cpus| *cpus >= 1.0).context("cpus=0 in the comments")? as u32,
        prior_p0_w: number("prior_p0_w")?,
        prior_w_per_cpu: number("prior_w_per_cpu")?,
        true_p0_w: number("true_p0_w")?,
        window_s,
        spans_s: Vec::new(),
        energy_j,
        wake_ratio,
        cpu_s,
        joules,
    })
}

struct Columns {
    energy: usize,
    wake: Option<usize>,
    cpu: Vec<usize>,
    joules: Vec<usize>,
}

impl Columns {
    fn of(header: &str) -> Result<Self> {
        let places: HashMap<&str, usize> =
            header.split(',').enumerate().map(|(place, name)| (name.trim(), place)).collect();
        let numbered = |prefix: &str| -> Vec<usize> {
            (0..).map_while(|number| places.get(format!("{prefix}_{number}").as_str()).copied()).collect()
        };
        let (cpu, joules) = (numbered("cpu_s"), numbered("joules"));
        if cpu.len() != joules.len() {
            bail!("{} columns of CPU seconds and {} of joules", cpu.len(), joules.len());
        }
        let energy = places.get("energy_j").copied().context("no column energy_j")?;
        Ok(Self { energy, wake: places.get("wake_fraction").copied(), cpu, joules })
    }
}

/// Writes one to standard output.
pub(crate) fn print(name: &str, seed: u64, node: &Node) {
    let workloads = node.cpu_s[0].len();
    println!("# scenario={name}\n# seed={seed}\n# cpus={}\n# workloads={workloads}", node.cpus);
    println!("# window_s={}\n# prior_p0_w={}", node.window_s, node.prior_p0_w);
    println!("# prior_w_per_cpu={}\n# true_p0_w={}", node.prior_w_per_cpu, node.true_p0_w);
    let numbered =
        |prefix: &str| (0..workloads).map(|k| format!("{prefix}_{k}")).collect::<Vec<_>>().join(",");
    println!("t,energy_j,wake_fraction,{},{}", numbered("cpu_s"), numbered("joules"));
    for window in 0..node.energy_j.len() {
        let row = node.cpu_s[window].iter().chain(&node.joules[window]);
        let cells: Vec<String> = row.map(|value| format!("{value:.6}")).collect();
        println!("{window},{:.6},{:.6},{}", node.energy_j[window], node.wake_ratio[window], cells.join(","));
    }
}
