//! The genuine powercap class and the genuine perf PMU `power`, of a kernel module whose counters are known
//! (`tests/fakerapl`): `cargo xtask test vm` builds it for a guest and loads it there.

use carbon_user::clock;
use carbon_user::meters::{Edge, MeterChoice, Meters};
use carbon_user::sysroot::SysRoot;
use carbon_user::topology::Topology;
use carbon_user::units::CpuNanos;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

/// What the module counted.
const TRUTH: &str = "/proc/fakerapl";

/// The module's counters step each 976 us, and it computes what they show at the instant of the read: two of these steps
/// of all CPUs at work (5 W each and uncore, beside idle power of 5 W) are less.
const STEPS_UJ: u64 = 2 * 30_000;

/// What the powercap class gives only to a full microjoule and the PMU in 2^-32 J.
const UNITS_UJ: u64 = 2;

fn zone(name: &str) -> u64 {
    let text = fs::read_to_string(TRUTH).unwrap();
    let of = |line: &str| line.strip_prefix("zone ")?.strip_prefix(name)?.trim().parse().ok();
    text.lines().find_map(of).unwrap_or_else(|| panic!("no zone {name}: {text}"))
}

/// Domain and truth before and after a reading, and the reading.
struct Seen {
    before: u64,
    total: u64,
    after: u64,
}

fn read(meters: &mut Meters) -> Vec<Seen> {
    let zones: Vec<&str> = meters
        .domains()
        .iter()
        .map(|domain| if domain.kind.as_str() == "dram" { "dram" } else { "package-0" })
        .collect();
    let before: Vec<u64> = zones.iter().map(|name| zone(name)).collect();
    let edge = Edge { monotonic_ns: clock::monotonic_ns(), suspended_ns: 0, busy: &[] };
    let readings = meters.read(&edge);
    let after: Vec<u64> = zones.iter().map(|name| zone(name)).collect();
    let all = before.into_iter().zip(readings).zip(after);
    all.map(|((before, reading), after)| {
        let reading = reading.unwrap_or_else(|error| panic!("{error}"));
        assert!(reading.gap.is_none(), "no energy is lost");
        Seen { before, total: reading.total.0, after }
    })
    .collect()
}

#[test]
fn both_ways_to_the_registers_agree_with_their_truth() {
    if fs::metadata(TRUTH).is_err() {
        println!(
            "SKIPPED: both_ways_to_the_registers_agree_with_their_truth: the kernel has no module fakerapl"
        );
        return;
    }
    let root = SysRoot::default();
    let topology = Topology::read(&root).unwrap();
    for choice in [MeterChoice::Powercap, MeterChoice::Perf] {
        let mut meters = Meters::open(&root, &topology, choice).unwrap();
        assert_eq!(meters.domains().len(), 2, "a package and its memory: {:?}", meters.findings());
        let first = read(&mut meters);
        for _ in 0..3 {
            // The guest's own work is what is measured.
            sleep(Duration::from_millis(700));
            for (domain, (first, now)) in first.iter().zip(read(&mut meters)).enumerate() {
                let least = now.before - first.after;
                let most = now.after - first.before;
                let slack = STEPS_UJ + UNITS_UJ;
                assert!(most > 0, "it moves");
                assert!(
                    now.total + slack >= least && now.total <= most + slack,
                    "{choice:?}, domain {domain}: {} of {least} to {most}",
                    now.total
                );
            }
        }
    }
    let mut both = Meters::open(&root, &topology, MeterChoice::Auto).unwrap();
    assert!(both.compares(), "{:?}", both.findings());
    for _ in 0..4 {
        read(&mut both);
        sleep(Duration::from_millis(700));
    }
    let compared = both.compared().unwrap_or_else(|| panic!("they were not compared"));
    assert!(compared.reason.contains("agree"), "{compared:?}");
}

/// A processor that the kernel's drivers take for theirs, without registers behind it: the PMU `power` is there and has no event.
#[test]
fn a_pmu_without_events_is_said_and_all_else_goes_on() {
    let root = SysRoot::default();
    let pmu = root.sys.join("bus/event_source/devices/power");
    if !pmu.exists() || pmu.join("events/energy-pkg").exists() {
        println!(
            "SKIPPED: a_pmu_without_events_is_said_and_all_else_goes_on: the kernel has no PMU power without events"
        );
        return;
    }
    let topology = Topology::read(&root).unwrap();
    let refused = Meters::open(&root, &topology, MeterChoice::Perf).unwrap_err().to_string();
    assert!(refused.contains("has no event for packages of this processor"), "{refused}");
    let mut meters = Meters::open(&root, &topology, MeterChoice::Auto).unwrap();
    let found = |name: &str| meters.findings().iter().find(|finding| finding.name == name).unwrap().clone();
    for (name, why) in [("perf", "has no event for packages"), ("powercap", "has no package zone")] {
        let finding = found(name);
        assert!(!finding.chosen && finding.reason.contains(why), "{finding:?}");
    }
    assert!(found("model").chosen);
    let busy = [0, 1_000_000_000].map(|nanos| vec![CpuNanos(nanos); topology.packages]);
    let mut totals = Vec::new();
    for (second, busy) in (0..).zip(&busy) {
        let edge = Edge { monotonic_ns: second * 1_000_000_000, suspended_ns: 0, busy };
        let readings = meters.read(&edge);
        totals.push(readings.into_iter().map(|reading| reading.unwrap().total.0).sum::<u64>());
    }
    assert!(totals[1] > totals[0], "{totals:?}");
}
