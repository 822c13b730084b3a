//! Whether the agent grows where more comes and goes than on any real node.

use super::node::Node;
use super::slope::slope;
use super::subject::Subject;
use super::{Arguments, Told};
use anyhow::Result;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// Containers that have used something and are gone before it is begun, each with its pod: more than the 16,384 workloads whose
/// energy of late the agent remembers, and the cgroups whose names it keeps. The other tables are smaller: 4,096 identities, 4,096
/// questions for names, 1,000 series.
const GONE_BEFORE: u32 = 17_000;
/// Descriptors that are open at times: the ledger's three while a minute is written, files of the kernel while they are read, a reader
/// of metrics.
const OPEN_AT_TIMES: usize = 8;
const SAMPLE_EVERY: Duration = Duration::from_secs(2);
const ROW_EVERY: Duration = Duration::from_mins(1);

struct Sample {
    minute: f64,
    resident_mib: f64,
    kernel_mib: f64,
    descriptors: usize,
}

pub(crate) fn soak(arguments: &Arguments) -> Result<Told> {
    let churn = arguments.size.churn.saturating_mul(arguments.times);
    let node = Node::start(&arguments.size, churn)?;
    let agent = Subject::start(&arguments.agent)?;
    node.make_and_remove(GONE_BEFORE)?;
    let warm_up = Duration::from_secs_f64(arguments.warm_up_minutes * 60.0);
    let length = warm_up + Duration::from_secs_f64(arguments.minutes * 60.0);
    let begun = Instant::now();
    let (first, cpu_before_s) = (agent.scrape()?, agent.cpu_s()?);
    let mut samples = Vec::new();
    let mut rows = String::from(
        "| minute | resident, MiB | maps and programs, MiB | descriptors | workloads told apart | series | CPU time lost, s | \
         events lost |\n|---|---|---|---|---|---|---|---|\n",
    );
    let mut next_row = ROW_EVERY;
    while begun.elapsed() < length {
        std::thread::sleep(SAMPLE_EVERY);
        let (resident_mib, kernel_mib) = agent.resident_mib()?;
        let minute = begun.elapsed().as_secs_f64() / 60.0;
        let sample = Sample { minute, resident_mib, kernel_mib, descriptors: agent.descriptors()? };
        if begun.elapsed() >= next_row {
            next_row += ROW_EVERY;
            let now = agent.scrape()?;
            let row = format!(
                "| {minute:.1} | {resident_mib:.1} | {kernel_mib:.1} | {} | {:.0} | {} | {:.3} | {:.0} |\n",
                sample.descriptors,
                now.labelled("carbon_workloads", "state=\"tracked\""),
                now.series,
                now.sum("carbon_cpu_lost_seconds_total") - first.sum("carbon_cpu_lost_seconds_total"),
                now.sum("carbon_events_lost_total") - first.sum("carbon_events_lost_total"),
            );
            print!("{row}");
            rows += &row;
        }
        samples.push(sample);
    }
    let percent = 100.0 * (agent.cpu_s()? - cpu_before_s) / begun.elapsed().as_secs_f64();
    let forks_s = node.forks_a_second();
    let last = agent.scrape()?;
    drop(node);
    let warm = arguments.warm_up_minutes;
    let judged: Vec<&Sample> = samples.iter().filter(|sample| sample.minute >= warm).collect();
    let mut faults = Vec::new();
    let mut text = format!(
        "`carbon agent` ({}) with {} containers, {} processes and a churn of {churn} processes a second asked for: {forks_s:.0} \
         forks a second on the machine; {percent:.1} % of one CPU for its process. {GONE_BEFORE} containers came and went before, \
         and the {:.0} minutes from minute {warm:.1} on are judged.\n\n{rows}\n",
        last.accounting(),
        arguments.size.containers,
        arguments.size.processes,
        arguments.minutes,
    );
    for (what, of) in [
        ("resident memory", (|sample: &Sample| sample.resident_mib) as fn(&Sample) -> f64),
        ("maps and programs", |sample| sample.kernel_mib),
    ] {
        let points: Vec<(f64, f64)> = judged.iter().map(|sample| (sample.minute, of(sample))).collect();
        let Some((slope, half_width)) = slope(&points) else {
            faults.push("too short to tell whether it grows".to_owned());
            continue;
        };
        let _ = writeln!(
            text,
            "- {what}: {:+.1} KiB a minute, 95 % interval {:+.1} to {:+.1}.",
            slope * 1024.0,
            (slope - half_width) * 1024.0,
            (slope + half_width) * 1024.0
        );
        if slope - half_width > 0.0 {
            faults.push(format!("{what} grows by {:.1} KiB a minute", slope * 1024.0));
        }
    }
    let (before, after) = judged.split_at(judged.len() / 2);
    let fewest = |part: &[&Sample]| part.iter().map(|sample| sample.descriptors).min().unwrap_or(0);
    let most = judged.iter().map(|sample| sample.descriptors).max().unwrap_or(0);
    // While a minute is written the ledger is open, with its log and index of that: what is left open raises the fewest.
    let _ = writeln!(
        text,
        "- descriptors: {} at the fewest in the first half, {} in the second; {most} at the most.",
        fewest(before),
        fewest(after)
    );
    if fewest(after) > fewest(before) {
        faults.push(format!("descriptors grew from {} to {}", fewest(before), fewest(after)));
    }
    if most > fewest(before) + OPEN_AT_TIMES {
        faults.push(format!("{most} descriptors at a time"));
    }
    if let Some(said) = agent.said()? {
        let _ = writeln!(text, "- the agent said: {said}");
    }
    Ok(Told::new(text, faults))
}
