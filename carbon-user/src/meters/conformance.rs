//! What every meter must do, whatever it reads: a new one is added to [`rigs`] with a stand-in for its hardware, and has
//! passed when these tests pass.

use super::registry::{Found, Ground, Source};
use super::tests::fixture_copy;
use super::{Edge, ErrorKind, Meter, MeterError, Reading};
use crate::clock;
use crate::meters::cpu_power::CpuPower;
use crate::sysroot::SysRoot;
use crate::topology::Topology;
use crate::units::{Quality, Watts};
use crate::window::DomainKind;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

mod time;

/// How long a reading may take that nothing holds up.
const PATIENCE_NS: u64 = 10_000_000_000;

/// A meter and the files that stand in for its hardware.
struct Rig {
    source: Source,
    machine: &'static str,
    /// One file of each domain, below the sysfs root, in the order of the domains.
    files: &'static [&'static str],
    /// What the files hold is power in microwatts, not energy.
    power: bool,
    /// What the loss of a file stands for.
    gone: ErrorKind,
    /// What its errors name: the file, where nothing is said here.
    named: Option<&'static str>,
}

const RIGS: &[Rig] = &[
    Rig {
        source: super::powercap::SOURCE,
        machine: "intel-two-socket",
        files: &[
            "class/powercap/intel-rapl:0/energy_uj",
            "class/powercap/intel-rapl:0:0/energy_uj",
            "class/powercap/intel-rapl:1/energy_uj",
            "class/powercap/intel-rapl:1:0/energy_uj",
        ],
        power: false,
        gone: ErrorKind::Gone,
        named: None,
    },
    Rig {
        source: super::powercap::SOURCE,
        machine: "intel-tpmi",
        files: &["class/powercap/intel-rapl:0/energy_uj", "class/powercap/intel-rapl:0:0/energy_uj"],
        power: false,
        gone: ErrorKind::Gone,
        named: None,
    },
    Rig {
        // One descriptor for each event: none is lost apart from its driver.
        source: super::perf::stand_in::SOURCE,
        machine: "intel-perf",
        files: &[
            "bus/event_source/devices/power/counts/energy-pkg-cpu0",
            "bus/event_source/devices/power/counts/energy-pkg-cpu2",
            "bus/event_source/devices/power/counts/energy-ram-cpu0",
            "bus/event_source/devices/power/counts/energy-ram-cpu2",
        ],
        power: false,
        gone: ErrorKind::Retry,
        named: Some("perf event energy-"),
    },
    Rig {
        source: super::hwmon::SOURCE,
        machine: "amd-energy",
        files: &["class/hwmon/hwmon1/energy5_input", "class/hwmon/hwmon1/energy6_input"],
        power: false,
        gone: ErrorKind::Gone,
        named: None,
    },
    Rig {
        source: super::hwmon::SOURCE,
        machine: "power9",
        files: &["class/hwmon/hwmon0/energy2_input", "class/hwmon/hwmon0/energy5_input"],
        power: false,
        gone: ErrorKind::Gone,
        named: None,
    },
    Rig {
        source: super::hwmon::SOURCE,
        machine: "ampere-altra",
        files: &[
            "class/hwmon/hwmon0/power2_input",
            "class/hwmon/hwmon0/power3_input",
            "class/hwmon/hwmon1/power5_input",
            "class/hwmon/hwmon1/power4_input",
        ],
        power: true,
        gone: ErrorKind::Gone,
        named: None,
    },
    Rig {
        source: super::hwmon::SOURCE,
        machine: "opteron",
        files: &["class/hwmon/hwmon0/power1_input", "class/hwmon/hwmon2/power1_input"],
        power: true,
        gone: ErrorKind::Gone,
        named: None,
    },
    Rig {
        source: super::hwmon::SOURCE,
        machine: "apple-smc",
        files: &["class/hwmon/hwmon1/power1_input"],
        power: true,
        gone: ErrorKind::Gone,
        named: None,
    },
    Rig {
        source: super::hwmon::SOURCE,
        machine: "acpi-meter",
        files: &["class/hwmon/hwmon0/device/power1_average"],
        power: true,
        gone: ErrorKind::Gone,
        named: None,
    },
    Rig {
        // A lost device, and errors that the library has no name for.
        source: super::nvml::tests::STAND_IN,
        machine: "two-gpus",
        files: &["nvml/counter-0", "nvml/counter-1"],
        power: false,
        gone: ErrorKind::Gone,
        named: Some("GPU-00000000-"),
    },
];

/// A rig at work: its counters go on by a joule a second unless told otherwise.
struct Bench {
    _directory: tempfile::TempDir,
    root: SysRoot,
    files: Vec<PathBuf>,
    power: bool,
    gone: ErrorKind,
    named: Option<&'static str>,
    meter: Box<dyn Meter>,
    name: String,
    /// Threads that read, as far as they have a domain each.
    lanes: usize,
    /// How long an edge waits for them.
    patience_ns: u64,
    /// The last edge. Ahead of the clock: what a lane reads in between is before it.
    at_ns: u64,
}

impl Bench {
    /// Nothing where it cannot be built here.
    fn of(rig: &Rig) -> Option<Self> {
        let (directory, root) = fixture_copy(rig.machine);
        if root.sys.join("nvml").is_dir() && !super::nvml::tests::build(&root.sys) {
            println!("SKIPPED: {} on {}: no C compiler named cc", rig.source.name, rig.machine);
            return None;
        }
        let found = open(rig.source, &root);
        let meter = found.meter.unwrap_or_else(|| panic!("{}: {:?}", rig.machine, found.findings));
        let files = rig.files.iter().map(|file| root.sys.join(file)).collect();
        let name = format!("{} on {}", rig.source.name, rig.machine);
        let Rig { power, gone, named, .. } = *rig;
        let lanes = if ["perf", "nvml"].contains(&rig.source.name) { 1 } else { rig.files.len() };
        let (at_ns, patience_ns) = (clock::monotonic_ns(), PATIENCE_NS);
        Some(Self {
            _directory: directory,
            root,
            files,
            power,
            gone,
            named,
            meter,
            name,
            lanes,
            patience_ns,
            at_ns,
        })
    }

    /// An edge a second after the last, before which the counters of all domains but `held` go on.
    fn edge(&mut self, held: Option<usize>) -> Vec<Result<Reading, MeterError>> {
        for (place, file) in self.files.iter().enumerate() {
            if Some(place) != held && !self.power {
                let uj: u64 = fs::read_to_string(file).unwrap().trim().parse().unwrap();
                fs::write(file, format!("{}\n", uj + 1_000_000)).unwrap();
            }
        }
        self.at_ns += 1_000_000_000;
        let edge = Edge { monotonic_ns: self.at_ns, suspended_ns: 0, busy: &[] };
        self.meter.ask(&edge, clock::monotonic_ns() + self.patience_ns);
        self.meter.read(&edge)
    }
}

fn open(source: Source, root: &SysRoot) -> Found {
    let (topology, power) = (Topology::read(root).unwrap(), CpuPower::read(root));
    (source.open)(&Ground { root, topology: &topology, power: &power, sensors: &[] })
}

fn benches() -> impl Iterator<Item = Bench> {
    RIGS.iter().filter_map(Bench::of)
}

#[test]
fn names_are_whole_and_no_domain_is_there_twice() {
    for (rig, mut bench) in RIGS.iter().filter_map(|rig| Some((rig, Bench::of(rig)?))) {
        let found = open(rig.source, &bench.root);
        assert_eq!(found.findings[0].name, rig.source.name, "the first finding is the meter's own");
        assert!(found.present && found.findings[0].chosen);
        assert!(found.findings.iter().all(|it| !it.reason.is_empty()), "{}", bench.name);
        assert_eq!(bench.meter.domains().len(), bench.files.len(), "{}", bench.name);
        let mut seen = BTreeSet::new();
        for domain in bench.meter.domains() {
            assert!(domain.source.starts_with(rig.source.name), "{}: {}", bench.name, domain.source);
            assert!(
                !domain.device.is_empty() && domain.quality > Quality::Modelled && domain.bounds.is_none()
            );
            assert!(seen.insert((domain.kind, domain.device.clone())), "{}: {domain:?}", bench.name);
            // Memory has none, and of an accelerator nobody knows it.
            let known = !matches!(domain.kind, DomainKind::Dram | DomainKind::Gpu);
            assert_eq!(domain.idle_watts.is_some(), known, "{}", bench.name);
            assert!(domain.idle_watts.is_none_or(|Watts(watts)| watts > 0.0));
        }
        let kinds: BTreeSet<_> = bench.meter.domains().iter().map(|domain| domain.kind).collect();
        assert!(
            !kinds.contains(&DomainKind::Platform) || kinds.len() == 1,
            "{}: the machine contains its parts",
            bench.name
        );
        assert_eq!(bench.edge(None).len(), bench.files.len());
    }
}

#[test]
fn totals_begin_at_nothing_and_never_fall() {
    for mut bench in benches() {
        let mut last = vec![0; bench.files.len()];
        for second in 0..5 {
            for (last, reading) in last.iter_mut().zip(bench.edge(None)) {
                let reading = reading.unwrap_or_else(|error| panic!("{}: {error}", bench.name));
                assert!(reading.total.0 >= *last && reading.gap.is_none(), "{}: {reading:?}", bench.name);
                if !bench.power {
                    assert_eq!(reading.total.0, second * 1_000_000, "{}", bench.name);
                }
                *last = reading.total.0;
            }
        }
    }
}

/// Each fault of one domain: the others go on, it is told apart, and afterwards all energy is there.
#[test]
fn a_fault_is_its_own_domains_and_passes() {
    for mut bench in benches() {
        let faults: [(&str, Option<&str>, ErrorKind); 6] = [
            ("empty", Some(""), ErrorKind::Retry),
            ("garbage", Some("n/a\n"), ErrorKind::Retry),
            ("negative", Some("-1\n"), ErrorKind::Retry),
            ("too large", Some("99999999999999999999999\n"), ErrorKind::Retry),
            ("not text", Some("\u{fffd}\u{0}"), ErrorKind::Retry),
            ("missing", None, bench.gone),
        ];
        let first = bench.edge(None);
        assert!(first.iter().all(Result::is_ok));
        for (what, content, kind) in faults {
            for place in 0..bench.files.len() {
                let file = bench.files[place].clone();
                let before = fs::read_to_string(&file).unwrap();
                match content {
                    Some(content) => fs::write(&file, content).unwrap(),
                    None => fs::remove_file(&file).unwrap(),
                }
                let readings = bench.edge(Some(place));
                let error = readings[place].as_ref().unwrap_err();
                assert_eq!(error.kind, kind, "{}, {what}: {error}", bench.name);
                assert!(
                    error.message.contains(bench.named.unwrap_or(file.to_str().unwrap())),
                    "{}: {error}",
                    bench.name
                );
                let others = readings.iter().enumerate().filter(|(at, _)| *at != place);
                assert!(
                    { others }.all(|(_, reading)| reading.is_ok()),
                    "{}, {what}: {readings:?}",
                    bench.name
                );
                fs::write(&file, before).unwrap();
                // What has gone is tried again after a pause.
                let back = (0..3).find_map(|_| bench.edge(None).remove(place).ok());
                let back = back.unwrap_or_else(|| panic!("{}, {what}: it does not come back", bench.name));
                assert!(back.gap.is_none() || bench.power, "{}, {what}", bench.name);
            }
        }
    }
}

#[test]
fn a_counter_that_is_reset_or_jumps_loses_its_own_window_only() {
    for mut bench in benches().filter(|bench| !bench.power) {
        bench.edge(None);
        let before: Vec<u64> = bench.edge(None).into_iter().map(|reading| reading.unwrap().total.0).collect();
        for (at, value) in ["1000", "1234567890123456", "1000"].into_iter().enumerate() {
            fs::write(&bench.files[0], value).unwrap();
            let readings = bench.edge(None);
            let reading = readings[0].as_ref().unwrap();
            assert!(
                reading.gap.is_some() && reading.total.0 == before[0] + at as u64 * 1_000_000,
                "{}: {reading:?}",
                bench.name
            );
            let next = bench.edge(None).remove(0).unwrap();
            assert!(
                next.gap.is_none() && next.total.0 == reading.total.0 + 1_000_000,
                "{}: {next:?}",
                bench.name
            );
        }
        for (before, reading) in before.iter().zip(bench.edge(None)).skip(1) {
            assert_eq!(reading.unwrap().total.0, before + 7_000_000, "{}", bench.name);
        }
    }
}

#[test]
fn a_counter_that_stands_still_or_shows_zero_gives_no_sample() {
    for mut bench in benches().filter(|bench| !bench.power) {
        bench.edge(None);
        let before = bench.edge(None)[0].as_ref().unwrap().total.0;
        let stuck: Vec<_> = (0..4).map(|_| bench.edge(Some(0)).remove(0)).collect();
        assert!(stuck.last().unwrap().is_err(), "{}: {stuck:?}", bench.name);
        let held = fs::read_to_string(&bench.files[0]).unwrap();
        fs::write(&bench.files[0], "0\n").unwrap();
        assert_eq!(bench.edge(Some(0))[0].as_ref().unwrap_err().kind, ErrorKind::Retry, "{}", bench.name);
        fs::write(&bench.files[0], held).unwrap();
        let back = bench.edge(None).remove(0).unwrap();
        assert_eq!((back.total.0, back.gap), (before + 1_000_000, None), "{}", bench.name);
    }
}

/// The fixtures' own counters: one in the model's place would be a number without a source.
#[test]
fn what_is_not_there_is_no_meter() {
    for rig in RIGS {
        let (_directory, root) = fixture_copy("vm");
        let found = open(rig.source, &root);
        assert!(found.meter.is_none() && !found.present && !found.findings[0].reason.is_empty());
    }
}
