//! The genuine powercap class and the genuine perf PMU `power`, of a kernel module whose counters are known
//! (`tests/fakerapl`): `cargo xtask test vm` builds it for a guest and loads it there.

use carbon_user::clock;
use carbon_user::meters::{Edge, Gap, MeterChoice, Meters};
use carbon_user::sysroot::SysRoot;
use carbon_user::topology::Topology;
use carbon_user::units::CpuNanos;
use std::fs;
use std::process::{Command, Stdio};
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
    gap: Option<Gap>,
}

fn read(meters: &mut Meters) -> Vec<Seen> {
    let seen = read_over_gaps(meters);
    assert!(seen.iter().all(|seen| seen.gap.is_none()), "no energy is lost");
    seen
}

fn read_over_gaps(meters: &mut Meters) -> Vec<Seen> {
    let zones: Vec<&str> = meters
        .domains()
        .iter()
        .map(|domain| if domain.kind.as_str() == "dram" { "dram" } else { "package-0" })
        .collect();
    let before: Vec<u64> = zones.iter().map(|name| zone(name)).collect();
    let clock::Moment { monotonic_ns, suspended_ns } = clock::moment();
    let readings = meters.read(&Edge { monotonic_ns, suspended_ns, busy: &[] });
    let after: Vec<u64> = zones.iter().map(|name| zone(name)).collect();
    let all = before.into_iter().zip(readings).zip(after);
    all.map(|((before, reading), after)| {
        let reading = reading.unwrap_or_else(|error| panic!("{error}"));
        Seen { before, total: reading.total.0, after, gap: reading.gap }
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

/// Seconds that the machine is suspended for.
const ASLEEP_S: u64 = 3;

/// The program in a guest that may be suspended; no other machine may.
fn program_in_a_guest() -> Option<std::ffi::OsString> {
    fs::metadata(TRUTH).ok()?;
    std::env::var_os("CARBON_TEST_SUSPEND")
}

/// Suspends the guest to memory (ACPI's S3), until its real-time clock wakes it.
fn suspend() -> bool {
    let alarm = "/sys/class/rtc/rtc0/wakealarm";
    fs::write(alarm, "0").is_ok()
        && fs::write(alarm, format!("+{ASLEEP_S}")).is_ok()
        && fs::write("/sys/power/state", "mem").is_ok()
}

#[test]
fn a_suspension_loses_one_window_at_most_and_is_stated() {
    const TEST: &str = "a_suspension_loses_one_window_at_most_and_is_stated";
    let Some(program) = program_in_a_guest() else {
        println!("SKIPPED: {TEST}: the kernel has no module fakerapl: only a guest of the lab is suspended");
        return;
    };
    let root = SysRoot::default();
    let topology = Topology::read(&root).unwrap();
    // The program, and the meters by themselves, over one suspension: the emulated machine does not sleep a second time.
    let mut top = Command::new(program);
    top.args([
        "top",
        "--once",
        "--format",
        "json",
        "--zone",
        "FR",
        "--duration",
        "24s",
        "--interval",
        "500ms",
    ]);
    top.args(["--max-overhead", "100", "--state", "none"]);
    let top = top.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // In emulation it takes some seconds until it measures.
    sleep(Duration::from_secs(10));
    let mut meters = Meters::open(&root, &topology, MeterChoice::Auto).unwrap();
    let pause = || sleep(Duration::from_millis(700));
    let first = read(&mut meters);
    pause();
    let before = clock::moment();
    assert!(suspend(), "the guest can be suspended to memory");
    let over = read_over_gaps(&mut meters);
    let asleep = clock::moment().suspended_since(before);
    assert!(asleep >= Duration::from_secs(ASLEEP_S - 2), "it did sleep: {asleep:?}");
    pause();
    let after = read(&mut meters);
    for ((first, over), after) in first.iter().zip(&over).zip(&after) {
        assert_eq!(over.gap, Some(Gap::Suspended));
        let most = over.after - first.before + STEPS_UJ + UNITS_UJ;
        assert!(over.total <= most, "{} of at most {most}: no spike", over.total);
        // The window after it is whole again.
        let (least, most) = (after.before - over.after, after.after - over.before);
        let slack = STEPS_UJ + UNITS_UJ;
        let window = after.total - over.total;
        assert!(window + slack >= least && window <= most + slack, "{window} of {least} to {most}");
    }

    // Its windows, its books of CPU time, and what it says.
    let output = top.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |value: &serde_json::Value| value.as_f64().unwrap_or_else(|| panic!("{value} is no number"));
    let wall_ns = number(&report["duration_ns"]);
    assert!((23.5e9..26.5e9).contains(&wall_ns), "the sleep is in no window: {wall_ns}");
    for domain in report["domains"].as_array().unwrap() {
        assert_eq!((&domain["gaps"], &domain["unread"]), (&1.into(), &0.into()), "{domain}: {said}");
        let gap_ns = number(&domain["gap_ns"]);
        assert!(gap_ns > 0.0 && gap_ns < 2.5e9, "a window that emulation makes longer: {domain}");
    }
    assert_eq!(
        said.matches("the machine was suspended meanwhile").count(),
        2,
        "a line for each domain: {said}"
    );
    let notes = report["notes"].to_string();
    assert!(notes.contains("the machine was suspended for"), "{notes}");
    let rows = report["workloads"].as_array().unwrap();
    let ran: f64 = rows.iter().map(|row| number(&row["cpu_ns"])).sum();
    let accounts = &report["accounts"];
    let accounts: f64 = ["idle_ns", "irq_steal_ns", "missed_ns", "overflow_ns"]
        .iter()
        .map(|key| number(&accounts[key]))
        .sum();
    let whole = wall_ns * f64::from(topology.cpus_online());
    // The sleep would be an eighth of it; the edges of the two readings are wider where the emulator waits for a processor.
    assert!(((ran + accounts) / whole - 1.0).abs() < 0.05, "{ran} + {accounts} of {whole} ns");
}
