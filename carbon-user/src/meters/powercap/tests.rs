use super::*;
use crate::clock;
use crate::meters::cpu_power::CpuPower;
use crate::meters::tests::{AHEAD_NS, fixture, fixture_copy};
use crate::meters::{Edge, ErrorKind, MeterError, Reading};
use crate::units::{Microjoules, Watts};
use std::fs;

fn open(root: &SysRoot) -> (Option<Box<dyn Meter>>, Vec<MeterFinding>) {
    let (topology, power) = (Topology::read(root).unwrap(), CpuPower::read(root));
    let found = super::open(&Ground { root, topology: &topology, power: &power, sensors: &[] });
    (found.meter, found.findings)
}

fn read_at(meter: &mut Box<dyn Meter>, second: u64) -> Vec<Result<Reading, MeterError>> {
    let edge = Edge { monotonic_ns: AHEAD_NS + second * 1_000_000_000, suspended_ns: 0, busy: &[] };
    meter.ask(&edge, clock::monotonic_ns() + 5_000_000_000);
    meter.read(&edge)
}

#[test]
fn a_client_has_a_package_and_its_memory() {
    let (meter, findings) = open(&fixture("intel-client"));
    let mut meter = meter.unwrap();
    let [package, dram] = meter.domains() else { panic!("{:?}", meter.domains()) };
    assert_eq!((package.kind, &*package.device), (DomainKind::Package, "package-0"));
    assert_eq!((&*package.source, package.quality), ("powercap intel-rapl:0", Quality::Measured));
    assert_eq!(package.idle_watts, Some(Watts(1.55 * 4.0)), "idle watts per thread of Kaby Lake (E3)");
    assert_eq!((dram.kind, &*dram.device, dram.idle_watts), (DomainKind::Dram, "package-0", None));
    assert_eq!((findings[0].chosen, &*findings[0].reason), (true, "reads intel-rapl:0, intel-rapl:0:2"));
    assert_eq!(findings.iter().filter(|finding| finding.chosen).count(), 3);
    assert_eq!(findings.len(), 1 + 6);
    assert_eq!(meter.limits(), [None, None]);
    read_at(&mut meter, 0);
    let limits: Vec<_> = meter.limits().into_iter().map(|set| set.map(|set| set[0].watts)).collect();
    assert_eq!(limits, [Some(Watts(72.0)), None], "that of memory is off");
}

#[test]
fn sockets_have_their_own_cpus_and_dies_share_them() {
    let (meter, _) = open(&fixture("intel-two-socket"));
    let packages: Vec<_> = meter.unwrap().domains().iter().map(|domain| domain.package.0).collect();
    assert_eq!(packages, [0, 0, 1, 1]);
    let (meter, _) = open(&fixture("intel-multi-die"));
    let meter = meter.unwrap();
    assert_eq!(meter.domains().len(), 8);
    let idle: f64 = meter.domains().iter().filter_map(|domain| domain.idle_watts).map(|watts| watts.0).sum();
    assert!((idle - 0.603 * 4.0).abs() < 1e-9, "four threads of Cascade Lake, whatever the dies: {idle}");
}

#[test]
fn packages_need_not_be_numbered_from_zero() {
    let (_directory, root) = fixture_copy("intel-two-socket");
    for cpu in [1, 3, 5, 7] {
        let id = root.sys.join(format!("devices/system/cpu/cpu{cpu}/topology/physical_package_id"));
        fs::write(id, "3\n").unwrap();
    }
    let (meter, findings) = open(&root);
    assert_eq!(meter.unwrap().domains().len(), 2, "package-1 has no CPU");
    assert!(findings.iter().any(|finding| finding.reason == "no CPU of package 1 is online"));
    fs::write(root.sys.join("class/powercap/intel-rapl:1/name"), "package-3\n").unwrap();
    let (meter, _) = open(&root);
    let packages: Vec<_> = meter.unwrap().domains().iter().map(|domain| domain.package.0).collect();
    assert_eq!(packages, [0, 0, 1, 1]);
}

#[test]
fn energy_is_counted_from_the_first_reading() {
    let (_directory, root) = fixture_copy("amd-epyc");
    let mut meter = open(&root).0.unwrap();
    assert_eq!(read_at(&mut meter, 0)[0].as_ref().unwrap().total, Microjoules::ZERO);
    let file = root.sys.join("class/powercap/intel-rapl:0/energy_uj");
    fs::write(&file, "34600890123\n").unwrap();
    assert_eq!(read_at(&mut meter, 1)[0].as_ref().unwrap().total, Microjoules(33_000_000));
}

#[test]
fn one_broken_domain_leaves_the_others_and_comes_back() {
    let (_directory, root) = fixture_copy("intel-two-socket");
    let mut meter = open(&root).0.unwrap();
    read_at(&mut meter, 0);
    let file = root.sys.join("class/powercap/intel-rapl:0/energy_uj");
    for (second, content) in
        [(1, ""), (2, "<no counter>\n"), (3, "-5\n"), (4, "99999999999999999999999999\n"), (5, "0\n")]
    {
        fs::write(&file, content).unwrap();
        let readings = read_at(&mut meter, second);
        assert_eq!(readings[0].as_ref().unwrap_err().kind, ErrorKind::Retry, "{content:?}");
        let said: Vec<String> =
            readings[1..].iter().map(|it| it.as_ref().unwrap_err().message.clone()).collect();
        assert!(
            said.iter().all(|said| said.contains("stood still")),
            "the others are not moved here: {said:?}"
        );
    }
    fs::write(&file, "1700000000\n").unwrap();
    let reading = *read_at(&mut meter, 6)[0].as_ref().unwrap();
    assert_eq!(reading, Reading { total: Microjoules(700_000_000), gap: None }, "all of the six seconds");
    fs::remove_file(&file).unwrap();
    let error = read_at(&mut meter, 7).remove(0).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Gone);
    assert!(error.message.contains("intel-rapl:0/energy_uj: no such file"), "{error}");
    fs::create_dir(&file).unwrap();
    let later: Vec<_> =
        (8..10).map(|second| read_at(&mut meter, second).remove(0).unwrap_err().kind).collect();
    assert_eq!(later, [ErrorKind::Retry; 2], "a second after it had gone it is tried again");
}

#[test]
fn without_a_package_that_can_be_read_there_is_no_meter() {
    let (_directory, root) = fixture_copy("intel-client");
    fs::write(root.sys.join("class/powercap/intel-rapl:0/energy_uj"), "").unwrap();
    let (meter, findings) = open(&root);
    assert!(meter.is_none(), "memory alone is no meter");
    assert!(!findings[0].chosen && findings[0].reason.ends_with("energy_uj: it is empty"), "{findings:?}");

    let (meter, findings) = open(&fixture("vm"));
    assert!(meter.is_none());
    assert!(findings[0].reason.ends_with("class/powercap: no such file or directory"), "{findings:?}");
    assert!(findings[0].advice.is_some());

    fs::remove_dir_all(root.sys.join(CLASS)).unwrap();
    fs::create_dir_all(root.sys.join(CLASS).join("intel-rapl")).unwrap();
    let (meter, findings) = open(&root);
    assert!(meter.is_none() && findings[0].reason.ends_with("has no package zone"), "{findings:?}");
}

#[test]
fn a_domain_that_cannot_be_read_at_the_start_is_taken_up_later() {
    let (_directory, root) = fixture_copy("intel-two-socket");
    let file = root.sys.join("class/powercap/intel-rapl:1/energy_uj");
    let other = root.sys.join("class/powercap/intel-rapl:0/energy_uj");
    fs::remove_file(&file).unwrap();
    let (meter, findings) = open(&root);
    let mut meter = meter.unwrap();
    let its = findings.iter().find(|it| it.name == "powercap intel-rapl:1 (package)").unwrap();
    assert!(!its.chosen && its.reason.contains("no such file"), "{its:?}");
    assert_eq!(meter.domains()[2].device, "package-1");
    assert_eq!(read_at(&mut meter, 0)[2].as_ref().unwrap_err().kind, ErrorKind::Gone);
    fs::write(&other, "1000100000\n").unwrap();
    assert!(read_at(&mut meter, 1)[0].is_ok(), "the other goes on");
    fs::write(&file, "5000000\n").unwrap();
    let first = (2..40).find_map(|second| read_at(&mut meter, second).remove(2).ok()).unwrap();
    assert_eq!(
        first,
        Reading { total: Microjoules::ZERO, gap: None },
        "what it had before is not of this time"
    );
    fs::write(&file, "6000000\n").unwrap();
    assert_eq!(read_at(&mut meter, 40)[2].as_ref().unwrap().total, Microjoules(1_000_000));
}

#[test]
fn a_share_of_a_host_is_of_all_packages_and_has_its_quality() {
    let (_directory, root) = fixture_copy("intel-two-socket");
    let class = root.sys.join(CLASS);
    for folder in ["intel-rapl:1", "intel-rapl:1:0"] {
        fs::remove_dir_all(class.join(folder)).unwrap();
    }
    for zone in ["intel-rapl:0", "intel-rapl:0:0"] {
        let put = |file: &str, text: &str| fs::write(class.join(zone).join(file), text).unwrap();
        put("update_interval_us", "1000000\n");
        put("quality", "sampled\n");
        put("updates", "1\n");
        put("enabled", "1\n");
    }
    assert_eq!(Topology::read(&root).unwrap().packages, 1, "its own packages are made up");
    let (meter, findings) = open(&root);
    let mut meter = meter.unwrap();
    assert_eq!(meter.domains().len(), 2);
    for domain in meter.domains() {
        assert_eq!((domain.quality, domain.idle_watts), (Quality::Sampled, None));
    }
    assert!(findings[0].reason.starts_with("reads this machine's share"), "{findings:?}");
    for second in 0..3 {
        assert!(read_at(&mut meter, second).iter().all(Result::is_ok), "one that does nothing stands still");
    }
}
