use super::chips::{Part, Sensors, discover};
use super::*;
use crate::meters::Edge;
use crate::meters::cpu_power::CpuPower;
use crate::meters::tests::{fixture, fixture_copy};
use crate::sysroot::SysRoot;
use crate::topology::Topology;

fn with<T>(root: &SysRoot, act: impl FnOnce(&Ground<'_>) -> T) -> T {
    with_named(root, &[], act)
}

fn with_named<T>(root: &SysRoot, named: &[&str], act: impl FnOnce(&Ground<'_>) -> T) -> T {
    let (topology, power) = (Topology::read(root).unwrap(), CpuPower::read(root));
    let sensors: Vec<NamedSensor> = named.iter().map(|text| text.parse().unwrap()).collect();
    act(&Ground { root, topology: &topology, power: &power, sensors: &sensors })
}

fn parts(machine: &str) -> (Vec<Part>, Vec<MeterFinding>) {
    with(&fixture(machine), |ground| discover(ground).unwrap())
}

fn seen(parts: &[Part]) -> Vec<(DomainKind, &str, u16, &str)> {
    parts.iter().map(|part| (part.kind, &*part.device, part.package.0, &*part.label)).collect()
}

fn reasons(left_out: &[MeterFinding]) -> Vec<(&str, &str)> {
    left_out.iter().map(|finding| (&*finding.name, &*finding.reason)).collect()
}

#[test]
fn sockets_of_amd_count_and_cores_are_part_of_them() {
    let (found, left_out) = parts("amd-energy");
    assert_eq!(
        seen(&found),
        [
            (DomainKind::Package, "package-0", 0, "amd_energy energy5"),
            (DomainKind::Package, "package-1", 1, "amd_energy energy6"),
        ]
    );
    assert!(matches!(found[0].sensors, Sensors::Energy(_)));
    assert_eq!(left_out.len(), 4);
    assert_eq!(reasons(&left_out)[0], ("hwmon amd_energy energy1 (Ecore000)", "part of its package"));
}

#[test]
fn powers_of_a_socket_are_added_and_its_memory_is_apart() {
    let (found, left_out) = parts("ampere-altra");
    assert_eq!(
        seen(&found),
        [
            (DomainKind::Package, "package-0", 0, "smpro_hwmon power1+power2+power5"),
            (DomainKind::Dram, "package-0", 0, "smpro_hwmon power3+power4"),
            (DomainKind::Package, "package-1", 1, "smpro_hwmon power1+power2+power5"),
            (DomainKind::Dram, "package-1", 1, "smpro_hwmon power3+power4"),
        ]
    );
    assert_eq!(left_out, []);
    let (found, _) = parts("xgene");
    assert_eq!(seen(&found), [(DomainKind::Package, "package-0", 0, "apm_xgene power0+power1")]);
}

#[test]
fn what_contains_each_other_on_grace_counts_once() {
    let (found, left_out) = parts("grace");
    assert_eq!(seen(&found), [(DomainKind::Package, "package-0", 0, "power_meter power1")]);
    let Sensors::Power(files, period) = &found[0].sensors else { panic!("{found:?}") };
    assert!(files[0].ends_with("hwmon1/device/power1_average"));
    assert_eq!(*period, Duration::from_millis(100), "no more often than is of use");
    let reasons: Vec<&str> = reasons(&left_out).into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(
        reasons,
        ["contains packages, which are counted", "part of its package", "part of its package"]
    );
}

#[test]
fn power_chips_count_by_energy() {
    let (found, left_out) = parts("power9");
    assert_eq!(
        seen(&found),
        [
            (DomainKind::Package, "package-0", 0, "ibmpowernv energy2"),
            (DomainKind::Package, "package-8", 1, "ibmpowernv energy5"),
        ]
    );
    assert_eq!(left_out.len(), 10);
}

#[test]
fn a_meter_of_the_whole_machine_is_taken_where_nothing_else_is() {
    let (found, left_out) = parts("acpi-meter");
    assert_eq!(seen(&found), [(DomainKind::Platform, "machine", 0, "power_meter power1")]);
    let said = reasons(&left_out);
    assert_eq!(said, [("hwmon ina3221 power1 (5V)", "nobody knows what the sensors of this driver contain")]);
    // Two packages: nobody can say which of them drew it.
    let (_directory, root) = fixture_copy("acpi-meter");
    let file = root.sys.join("devices/system/cpu/cpu1/topology/physical_package_id");
    std::fs::write(file, "1\n").unwrap();
    let found = with(&root, open);
    assert!(found.meter.is_none() && !found.present, "{found:?}");
    assert_eq!(found.findings[0].reason, "no sensor of a processor's energy or power");
}

#[test]
fn power_becomes_energy() {
    let root = fixture("ampere-altra");
    let mut meter = with(&root, open).meter.unwrap();
    assert!(meter.domains().iter().all(|domain| domain.quality == Quality::Sampled));
    let mut read = || -> Vec<u64> {
        let now_ns = clock::monotonic_ns();
        let edge = Edge { monotonic_ns: now_ns, suspended_ns: 0, busy: &[] };
        meter.ask(&edge, now_ns + 5_000_000_000);
        meter.read(&edge).into_iter().map(|reading| reading.unwrap().total.0).collect()
    };
    let (first, begun_ns) = (read(), clock::monotonic_ns());
    std::thread::sleep(Duration::from_millis(250));
    let (second, ended_ns) = (read(), clock::monotonic_ns());
    #[expect(clippy::cast_precision_loss, reason = "a quarter of a second")]
    let watts = (second[0] - first[0]) as f64 * 1e3 / (ended_ns - begun_ns) as f64;
    assert!((watts / 86.0 - 1.0).abs() < 0.2, "{watts} of 62 + 21 + 3 W");
    assert_eq!(read().len(), 4);
}

#[test]
fn what_cannot_be_read_is_named() {
    let (_directory, root) = fixture_copy("grace");
    std::fs::write(root.sys.join("class/hwmon/hwmon1/device/power1_average"), "").unwrap();
    let found = with(&root, open);
    assert!(found.meter.is_none() && found.present);
    assert!(found.findings[0].reason.contains("power1_average: it is empty"), "{:?}", found.findings);
    let absent = with(&fixture("vm"), open);
    assert!(!absent.present && absent.findings[0].reason.contains("class/hwmon"), "{absent:?}");
}

#[test]
fn processors_before_zen_estimate_their_own_power() {
    let (found, _) = parts("opteron");
    assert_eq!(
        seen(&found),
        [
            (DomainKind::Package, "package-0", 0, "fam15h_power power1"),
            (DomainKind::Package, "package-1", 1, "fam15h_power power1"),
        ],
        "on a bus of cards, and of the processor all the same"
    );
    // Both files are there with some models, and the mean is of the compute units alone.
    let (_directory, root) = fixture_copy("opteron");
    let chip = root.sys.join("class/hwmon/hwmon0");
    std::fs::write(chip.join("power1_average"), "5000000\n").unwrap();
    let (found, _) = with(&root, |ground| discover(ground).unwrap());
    let Sensors::Power(files, _) = &found[0].sensors else { panic!("{found:?}") };
    assert!(files[0].ends_with("power1_input"));
    std::fs::remove_file(chip.join("power1_input")).unwrap();
    let (found, left_out) = with(&root, |ground| discover(ground).unwrap());
    assert_eq!((found.len(), &*left_out[0].reason), (1, "part of its package"));
}

#[test]
fn a_label_counts_where_it_leaves_no_doubt() {
    let (found, left_out) = parts("apple-smc");
    assert_eq!(seen(&found), [(DomainKind::Platform, "machine", 0, "macsmc_hwmon Total System Power")]);
    assert_eq!(found[0].quality(), Quality::Sampled);
    assert_eq!(left_out.len(), 3);
    assert!(left_out.iter().all(|it| it.advice.as_ref().unwrap().contains("--hwmon 'macsmc_hwmon:")));
    for (machine, sensors) in [("workstation", 5), ("arm-tc2", 4)] {
        let (found, left_out) = parts(machine);
        assert_eq!((found.len(), left_out.len()), (0, sensors), "{machine}");
    }
    // Counters before power; a label that two have says nothing; of several packages it needs a number.
    let (_directory, root) = fixture_copy("arm-tc2");
    let label = |place: u32, label: &str| {
        let chip = root.sys.join(format!("class/hwmon/hwmon{place}"));
        let file = if place < 2 { "power1_label" } else { "energy1_label" };
        std::fs::write(chip.join(file), label).unwrap();
    };
    let look = || with(&root, |ground| discover(ground).unwrap());
    label(0, "CPU package power");
    label(2, "CPU package energy");
    let (found, left_out) = look();
    let energy = (DomainKind::Package, "package-0", 0, "vexpress_energy CPU package energy");
    assert_eq!(seen(&found), [energy]);
    assert_eq!(found[0].quality(), Quality::Sampled, "a counter, on the word of its label");
    assert!(reasons(&left_out).contains(&(
        "hwmon vexpress_power power1 (CPU package power)",
        "the same part has a counter of energy too"
    )));
    // That of a card or a stick is not the processor's.
    let device = root.sys.join("class/hwmon/hwmon2/device");
    std::fs::create_dir(&device).unwrap();
    std::os::unix::fs::symlink("../../../../bus/hid", device.join("subsystem")).unwrap();
    let (found, left_out) = look();
    assert_eq!(seen(&found), [(DomainKind::Package, "package-0", 0, "vexpress_power CPU package power")]);
    assert!(left_out.iter().any(|it| it.reason == "of a device of its own, not of the processor"));
    std::fs::remove_dir_all(&device).unwrap();
    label(3, "package");
    let (found, left_out) = look();
    assert_eq!(found, []);
    let doubtful =
        reasons(&left_out).into_iter().filter(|(_, why)| *why == "several sensors have this label");
    assert_eq!(doubtful.count(), 3);
    label(3, "A7 Jcore");
    std::fs::write(root.sys.join("devices/system/cpu/cpu3/topology/physical_package_id"), "1").unwrap();
    let (found, left_out) = look();
    assert_eq!(found, []);
    assert!(left_out.iter().any(|it| it.reason == "its label does not say of which package"));
}

#[test]
fn sensors_that_were_named_are_added_and_stand_before_others() {
    let named = ["vexpress_energy:A15 Jcore=package", "vexpress_energy:A7 Jcore=package"];
    let root = fixture("arm-tc2");
    let (found, left_out) = with_named(&root, &named, |ground| discover(ground).unwrap());
    let sum = "vexpress_energy A15 Jcore+A7 Jcore";
    assert_eq!(seen(&found), [(DomainKind::Package, "package-0", 0, sum)]);
    assert_eq!((found[0].quality(), left_out.len()), (Quality::Measured, 2));
    let mut meter = with_named(&root, &named, open).meter.unwrap();
    assert_eq!(meter.domains().len(), 1);
    let edge = Edge { monotonic_ns: clock::monotonic_ns(), suspended_ns: 0, busy: &[] };
    meter.ask(&edge, edge.monotonic_ns + 5_000_000_000);
    assert!(meter.read(&edge)[0].is_ok());
    assert_eq!(meter.marks()[0].unwrap().raw_uj, 914_307_211 + 201_993_012);
    // Power beside a counter of the same would count twice.
    let both = [named[0], "vexpress_power:A15 Pcore=package"];
    let (found, left_out) = with_named(&root, &both, |ground| discover(ground).unwrap());
    assert_eq!(seen(&found), [(DomainKind::Package, "package-0", 0, "vexpress_energy A15 Jcore")]);
    assert!(left_out.iter().any(|it| it.reason == "the same part has a counter of energy too"));
    // In place of what the driver's own sensors would be.
    let (found, left_out) =
        with_named(&fixture("xgene"), &["apm_xgene:power0=package"], |ground| discover(ground).unwrap());
    assert_eq!(seen(&found), [(DomainKind::Package, "package-0", 0, "apm_xgene CPU power")]);
    assert_eq!(reasons(&left_out)[0].1, "another sensor was named for the same");
    // One of several devices of a driver.
    let (_directory, copy) = fixture_copy("arm-tc2");
    for place in [2, 3] {
        let link = copy.sys.join(format!("class/hwmon/hwmon{place}/device"));
        std::os::unix::fs::symlink(format!("../../../dcc:energy@{place}"), link).unwrap();
        let label = copy.sys.join(format!("class/hwmon/hwmon{place}/energy1_label"));
        std::fs::remove_file(label).unwrap();
    }
    let named = ["vexpress_energy@dcc:energy@3:energy1=package"];
    let (found, _) = with_named(&copy, &named, |ground| discover(ground).unwrap());
    let Sensors::Energy(files) = &found[0].sensors else { panic!("{found:?}") };
    assert!(files.len() == 1 && files[0].ends_with("hwmon3/energy1_input"), "{found:?}");
    // A name that nothing has is no reason to read something else.
    let absent = with_named(&root, &["vexpress_energy:A9 Jcore=package"], open);
    assert!(absent.meter.is_none(), "{absent:?}");
    assert!(absent.findings[0].reason.contains("no sensor vexpress_energy:A9 Jcore"), "{absent:?}");
}

#[test]
fn two_drivers_of_one_processor_count_once() {
    let (_directory, root) = fixture_copy("ampere-altra");
    let class = root.sys.join("class/hwmon");
    for (place, (name, watts)) in [("CPU power", 16_280_000), ("IO power", 31_900_000)].iter().enumerate() {
        let chip = class.join("hwmon9");
        std::fs::create_dir_all(&chip).unwrap();
        std::fs::write(chip.join("name"), "apm_xgene").unwrap();
        std::fs::write(chip.join(format!("power{place}_label")), name).unwrap();
        std::fs::write(chip.join(format!("power{place}_input")), watts.to_string()).unwrap();
    }
    let (found, left_out) = with(&root, |ground| discover(ground).unwrap());
    assert_eq!(seen(&found), seen(&parts("ampere-altra").0));
    assert!(left_out.len() == 2 && left_out.iter().all(|it| it.reason == "another sensor measures the same"));
    // The successor of amd_energy beside it.
    let (_directory, root) = fixture_copy("amd-energy");
    let class = root.sys.join("class/hwmon");
    std::fs::create_dir_all(class.join("hwmon9")).unwrap();
    for (file, text) in [("name", "zenergy"), ("energy1_label", "Esocket0"), ("energy1_input", "77")] {
        std::fs::write(class.join("hwmon9").join(file), text).unwrap();
    }
    let (found, left_out) = with(&root, |ground| discover(ground).unwrap());
    assert_eq!((seen(&found), left_out.len()), (seen(&parts("amd-energy").0), 5));
}

#[test]
fn power_chips_without_counters_count_by_power() {
    let (_directory, root) = fixture_copy("power9");
    for number in 1..=6 {
        std::fs::remove_file(root.sys.join(format!("class/hwmon/hwmon0/energy{number}_input"))).unwrap();
    }
    let (found, _) = with(&root, |ground| discover(ground).unwrap());
    assert_eq!(
        seen(&found),
        [
            (DomainKind::Package, "package-0", 0, "ibmpowernv power2"),
            (DomainKind::Package, "package-8", 1, "ibmpowernv power5"),
        ]
    );
}

/// ACPI's table of processors gives packages any numbers (PPTT), and Grace counts its sockets.
#[test]
fn sockets_are_counted_where_firmware_made_up_their_numbers() {
    let (_directory, root) = fixture_copy("ampere-altra");
    for (cpu, id) in [(0, 1), (1, 1), (2, 2), (3, 2)] {
        let file = root.sys.join(format!("devices/system/cpu/cpu{cpu}/topology/physical_package_id"));
        std::fs::write(file, id.to_string()).unwrap();
    }
    let (found, _) = with(&root, |ground| discover(ground).unwrap());
    assert_eq!(found.iter().map(|part| part.package.0).collect::<Vec<_>>(), [0, 0, 1, 1]);
}
