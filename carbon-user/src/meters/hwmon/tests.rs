use super::chips::{Part, Sensors, discover};
use super::*;
use crate::meters::Edge;
use crate::meters::cpu_power::CpuPower;
use crate::meters::tests::{fixture, fixture_copy};
use crate::sysroot::SysRoot;
use crate::topology::Topology;

fn with<T>(root: &SysRoot, act: impl FnOnce(&Ground<'_>) -> T) -> T {
    let (topology, power) = (Topology::read(root).unwrap(), CpuPower::read(root));
    act(&Ground { root, topology: &topology, power: &power })
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
