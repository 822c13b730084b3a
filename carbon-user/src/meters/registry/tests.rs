use super::*;
use crate::meters::tests::{AHEAD_NS, Scripted, fixture, fixture_copy};
use crate::meters::{ErrorKind, Gap};
use crate::units::Microjoules;
use std::time::Duration;

const EDGE: Edge<'static> = Edge { monotonic_ns: 0, suspended_ns: 0, busy: &[] };

fn open(machine: &str, choice: MeterChoice) -> Result<Meters, NoMeter> {
    let root = fixture(machine);
    Meters::open(&root, &Topology::read(&root).unwrap(), choice)
}

fn scripted(results: Vec<Vec<Result<Reading, MeterError>>>) -> Box<dyn Meter> {
    let devices = ["package-0", "package-1"];
    let count = results[0].len();
    Box::new(Scripted::named("scripted", &devices[..count], results))
}

fn good(uj: u64) -> Reading {
    Reading { total: Microjoules(uj), gap: None }
}

fn bad(kind: ErrorKind) -> Result<Reading, MeterError> {
    Err(MeterError { kind, message: format!("{kind:?}") })
}

#[test]
fn a_meter_is_preferred_to_the_model() {
    let meters = open("intel-two-socket", MeterChoice::Auto).unwrap();
    assert_eq!(meters.domains().len(), 4);
    assert!(meters.domains().iter().all(|domain| domain.quality == Quality::Measured));
    let model = meters.findings().last().unwrap();
    assert_eq!((&*model.name, model.chosen, &*model.reason), ("model", false, "a meter can be read"));
    assert_eq!(open("amd-epyc", MeterChoice::Powercap).unwrap().domains().len(), 1);
}

#[test]
fn without_a_meter_there_is_the_model() {
    let meters = open("vm", MeterChoice::Auto).unwrap();
    assert_eq!(meters.domains()[0].quality, Quality::Modelled);
    let [powercap, perf, hwmon, nvml, model] = meters.findings() else { panic!("{:?}", meters.findings()) };
    assert!([powercap, perf, hwmon, nvml].iter().all(|finding| !finding.chosen));
    assert!(powercap.advice.is_some() && meters.denied().is_none());
    assert!(model.chosen, "{model:?}");
    assert_eq!(model.reason, "no meter can be read; AMD Zen 3 (EPYC 3rd Gen)");
    assert_eq!(model.advice.as_deref(), Some("expect the truth within a factor of 1.7 either way"));
}

#[test]
fn what_is_asked_for_is_used() {
    let meters = open("intel-client", MeterChoice::Model).unwrap();
    assert_eq!(meters.domains()[0].quality, Quality::Modelled);
    assert_eq!(meters.findings().iter().filter(|finding| finding.chosen).count(), 1);
    let error = open("vm", MeterChoice::Powercap).unwrap_err().to_string();
    assert!(error.starts_with("no meter: cannot read "), "{error}");
    assert!(error.ends_with("virtual machines have no such meter; or use the model with --meter model"));
}

#[test]
fn failures_of_one_domain_are_its_own() {
    let mut meters = Meters::new(
        vec![
            scripted(vec![
                vec![bad(ErrorKind::Retry), Ok(good(1))],
                vec![Ok(good(2)), bad(ErrorKind::Gone)],
                vec![Ok(good(4)), Ok(good(9))],
            ]),
            scripted(vec![
                vec![Ok(Reading { gap: Some(Gap::Reset { known: Duration::ZERO }), ..good(3) })],
                vec![bad(ErrorKind::Fatal)],
                vec![Ok(good(8))],
            ]),
        ],
        vec![],
    );
    let mut read = || -> Vec<Result<u64, ErrorKind>> {
        let results = meters.read(&EDGE).into_iter();
        results.map(|result| result.map(|reading| reading.total.0).map_err(|error| error.kind)).collect()
    };
    assert_eq!(read(), [Err(ErrorKind::Retry), Ok(1), Ok(3)]);
    assert_eq!(read(), [Ok(2), Err(ErrorKind::Gone), Err(ErrorKind::Fatal)]);
    assert_eq!(
        read(),
        [Ok(4), Ok(9), Err(ErrorKind::Fatal)],
        "what is gone may come back, what is fatal not"
    );
    let counts: Vec<_> = meters.faults().iter().map(|it| (it.faults, it.recoveries, it.impossible)).collect();
    assert_eq!(counts, [(1, 1, 0), (1, 1, 0), (1, 0, 1)]);
}

/// Edges at which each counter that is not held has gone on by one joule.
struct Machine {
    root: SysRoot,
    meters: Meters,
    second: u64,
}

impl Machine {
    fn new(root: SysRoot) -> Self {
        let meters = Meters::open(&root, &Topology::read(&root).unwrap(), MeterChoice::Auto).unwrap();
        Self { root, meters, second: 0 }
    }

    fn file(&self, zone: &str) -> std::path::PathBuf {
        self.root.sys.join("class/powercap").join(zone).join("energy_uj")
    }

    fn edge(&mut self, moving: &[&str]) -> Vec<Result<Reading, MeterError>> {
        for zone in moving {
            let file = self.file(zone);
            let uj: u64 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
            std::fs::write(file, format!("{}\n", uj + 1_000_000)).unwrap();
        }
        self.second += 1;
        self.meters.read(&Edge {
            monotonic_ns: AHEAD_NS + self.second * 1_000_000_000,
            suspended_ns: 0,
            busy: &[],
        })
    }
}

const ZONES: [&str; 4] = ["intel-rapl:0", "intel-rapl:0:0", "intel-rapl:1", "intel-rapl:1:0"];

#[test]
fn a_counter_that_vanishes_comes_back_with_its_energy() {
    let (_directory, root) = fixture_copy("intel-two-socket");
    let mut machine = Machine::new(root);
    assert!(machine.edge(&ZONES).iter().all(Result::is_ok));
    let file = machine.file(ZONES[2]);
    let kept = file.with_extension("kept");
    std::fs::rename(&file, &kept).unwrap();
    let others = [ZONES[0], ZONES[1], ZONES[3]];
    for _ in 0..2 {
        let present: Vec<_> = machine.edge(&others).iter().map(Result::is_ok).collect();
        assert_eq!(present, [true, true, false, true]);
    }
    std::fs::write(&kept, "30000000\n").unwrap();
    std::fs::rename(&kept, &file).unwrap();
    let back = (0..3).map(|_| machine.edge(&others).remove(2)).find_map(Result::ok);
    assert!(back.unwrap().total.0 < 200_000_000, "{back:?}");
    let faults = &machine.meters.faults()[2];
    assert_eq!((faults.faults, faults.recoveries), (1, 1));
}

fn fifo(path: &std::path::Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

/// A read of a pipe without a writer blocks, as one of a driver that hangs does.
#[test]
fn a_read_that_hangs_costs_one_deadline_and_leaves_the_others() {
    let (directory, root) = fixture_copy("intel-two-socket");
    let mut machine = Machine::new(root);
    machine.edge(&ZONES);
    let file = machine.file(ZONES[0]);
    let kept = directory.path().join("kept");
    std::fs::rename(&file, &kept).unwrap();
    fifo(&file);
    let mut took = Vec::new();
    for _ in 0..5 {
        let begun_ns = clock::monotonic_ns();
        let readings = machine.edge(&ZONES[1..]);
        took.push(clock::monotonic_ns() - begun_ns);
        assert!(readings[1..].iter().all(Result::is_ok), "{readings:?}");
        let error = readings[0].as_ref().unwrap_err();
        assert!(error.kind == ErrorKind::Retry && error.message.contains("does not answer"), "{error}");
    }
    let patience_ns = u64::try_from(PATIENCE.as_nanos()).unwrap();
    assert!(took[0] >= patience_ns, "{took:?}");
    assert!(took[1..].iter().all(|took_ns| *took_ns < patience_ns), "only the first edge waits: {took:?}");
    // The pipe is opened for writing and closed again: the reader wakes up. Then the file is as before.
    drop(std::fs::OpenOptions::new().write(true).open(&file).unwrap());
    std::fs::rename(&kept, &file).unwrap();
    let back = (0..100).find_map(|_| {
        std::thread::sleep(Duration::from_millis(5));
        machine.edge(&ZONES).remove(0).ok()
    });
    assert!(back.is_some(), "{:?}", machine.meters.faults());
}

#[test]
fn a_counter_that_stands_still_is_no_zero() {
    let (_directory, root) = fixture_copy("intel-two-socket");
    let mut machine = Machine::new(root);
    machine.edge(&ZONES);
    for _ in 0..3 {
        let readings = machine.edge(&ZONES[1..]);
        let said = readings[0].as_ref().unwrap_err();
        assert!(said.message.contains("it has stood still for"), "{said}");
    }
    std::fs::write(machine.file(ZONES[0]), "1041000000\n").unwrap();
    let reading = machine.edge(&ZONES[1..]).remove(0).unwrap();
    assert_eq!(reading, Reading { total: Microjoules(40_000_000), gap: None }, "all of the four seconds");
}

#[test]
fn each_machine_has_the_meter_that_counts_all_and_nothing_twice() {
    let chosen = |machine: &str| -> Vec<String> {
        let meters = open(machine, MeterChoice::Auto).unwrap();
        meters.domains().iter().map(|domain| format!("{} {}", domain.source, domain.device)).collect()
    };
    assert_eq!(
        chosen("intel-tpmi"),
        ["powercap intel-rapl:0 package-0", "powercap intel-rapl:0:0 package-0"]
    );
    assert_eq!(
        chosen("amd-energy"),
        ["hwmon amd_energy energy5 package-0", "hwmon amd_energy energy6 package-1"]
    );
    assert_eq!(chosen("acpi-meter"), ["hwmon power_meter power1 machine"]);
    let guest = open("skylake-guest", MeterChoice::Auto).unwrap();
    assert_eq!(guest.domains()[0].quality, Quality::Modelled);
    let said: Vec<&str> = guest.findings().iter().map(|finding| &*finding.reason).collect();
    assert!(said[0].ends_with("has no package zone"), "{said:?}");
    assert_eq!(said[1], "the perf PMU power has no event for packages of this processor");
    let both = open("intel-perf", MeterChoice::Auto).unwrap();
    assert_eq!(both.domains().len(), 4);
    let perf = both.findings().iter().find(|finding| finding.name == "perf").unwrap();
    assert!(!perf.chosen, "{perf:?}");
    assert!(
        open("grace", MeterChoice::Perf)
            .unwrap_err()
            .to_string()
            .starts_with("no meter: there is no perf PMU")
    );
    assert_eq!(open("amd-energy", MeterChoice::Hwmon).unwrap().domains().len(), 2);
    let denied = open("grace", MeterChoice::Powercap).unwrap_err().to_string();
    assert!(denied.contains("class/powercap"), "{denied}");
}
