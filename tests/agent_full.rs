//! `carbon agent` where the kernel part has no room: what did not fit is counted and said, and it measures on.

use crate::agent::{Machine, end};
use crate::faults::Watched;
use crate::measuring::within_seconds;
use crate::support::{TestCgroup, alone, books_or_skip, kernel_or_skip, load};
use rustix::process::Signal;
use rustix::thread::{CpuSet, sched_setaffinity};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Windows in which much can happen, no governor that takes a cheaper way, and a series for each cgroup that was there.
const OPTIONS: [&str; 8] =
    ["--interval", "2s", "--hierarchy", "cgroup2", "--max-overhead", "90", "--series", "20000"];

/// Seconds that no workload was given as there was no room for it.
fn overflow_s(agent: &Watched) -> f64 {
    let lines = agent.lines("carbon_cpu_lost_seconds_total", "overflow");
    lines.first().map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

/// Has a new cgroup use something, of which nothing is lost; gives its path, and what the kernel says that it used.
fn uses(agent: &Watched, name: &str) -> (PathBuf, f64) {
    agent.goes_on();
    let before = (agent.sum("carbon_events_lost_total"), overflow_s(agent));
    let cgroup = TestCgroup::new(name);
    let mut child = cgroup.start(&format!("exec {} spin 0.3", load().display()));
    assert!(child.wait().unwrap().success());
    let truth_s = Duration::from_micros(cgroup.usage_usec()).as_secs_f64();
    agent.goes_on();
    assert_eq!((agent.sum("carbon_events_lost_total"), overflow_s(agent)), before, "it has room again");
    (cgroup.path.clone(), truth_s)
}

/// It measures the machine beside others, and its ledger balances.
fn ends_well(machine: &Machine, agent: Watched) -> String {
    let (said, status) = end(agent.child, Signal::TERM);
    assert_eq!(status, Some(0), "{said}");
    let (written, sampled) = machine.written();
    assert!(written > 0 && sampled == 0, "{written}, {sampled}: {said}");
    said
}

#[test]
fn a_full_buffer_of_events_is_counted_and_the_agent_measures_on() {
    let test = "a_full_buffer_of_events_is_counted_and_the_agent_measures_on";
    if !kernel_or_skip(test) || !books_or_skip(test) {
        return;
    }
    let _alone = alone();
    let machine = Machine::new();
    let agent = Watched::start(&machine, "books", &OPTIONS);
    let top = TestCgroup::new("full");
    let folder = top.path.to_str().unwrap();
    // More cgroups come and go than there is room for in one window, and then those that use something.
    let storm = || {
        for number in 0..10_000 {
            let path = top.path.join(number.to_string());
            fs::create_dir(&path).unwrap();
            fs::remove_dir(&path).unwrap();
        }
        assert!(Command::new(load()).args(["cgroups", folder, "300"]).status().unwrap().success());
        agent.sum("carbon_events_lost_total") > 0.0 && overflow_s(&agent) > 0.0
    };
    assert!(within_seconds(120, storm), "nothing is told of what was lost");
    agent.goes_on();
    let (lost_s, used_us) = (overflow_s(&agent), top.usage_usec());
    println!("{} events, {lost_s} s of {used_us} us", agent.sum("carbon_events_lost_total"));
    let truth_s = Duration::from_micros(used_us).as_secs_f64();
    assert!(lost_s <= truth_s + 0.03, "{lost_s} s are lost of {truth_s}");
    let (path, truth_s) = uses(&agent, "after-events");
    let own = path.file_name().unwrap().to_str().unwrap();
    let seen_s = || -> f64 {
        let lines = agent.lines("carbon_workload_cpu_seconds_total", own);
        lines.iter().map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    };
    let right = || (seen_s() - truth_s).abs() < 0.03;
    assert!(within_seconds(60, right), "{} s of {truth_s}", seen_s());
    let said = ends_well(&machine, agent);
    assert!(said.contains("kernel events did not fit in their buffer"), "{said}");
}

#[test]
fn a_full_map_is_counted_and_the_agent_measures_on() {
    let test = "a_full_map_is_counted_and_the_agent_measures_on";
    if !kernel_or_skip(test) {
        return;
    }
    let _alone = alone();
    let machine = Machine::new();
    let agent = Watched::start(&machine, "hook", &OPTIONS);
    let crowd = TestCgroup::new("crowd");
    // Each CPU has room of its own: all of them run on one.
    let on_one_cpu = |folder: &Path| {
        let folder = folder.to_str().unwrap().to_owned();
        let run = move || {
            let mut first = CpuSet::new();
            first.set(0);
            sched_setaffinity(None, &first).unwrap();
            Command::new(load()).args(["crowd", &folder, "7500"]).status().unwrap()
        };
        std::thread::spawn(run).join().unwrap()
    };
    assert!(on_one_cpu(&crowd.path).success());
    assert!(within_seconds(60, || overflow_s(&agent) > 0.0), "nothing is told of what had no room");
    agent.goes_on();
    let (lost_s, used_us) = (overflow_s(&agent), crowd.usage_usec());
    println!("{lost_s} s of {used_us} us in cgroups without room");
    let truth_s = Duration::from_micros(used_us).as_secs_f64();
    assert!(lost_s < truth_s, "most of them had room: {lost_s} of {truth_s} s");
    drop(crowd);
    // Metrics show those that used most: the ledger has a row for each.
    let (path, _) = uses(&agent, "after-crowd");
    ends_well(&machine, agent);
    assert!(machine.energy_below(&path).iter().sum::<u64>() > 0, "it has energy of its own");
}
