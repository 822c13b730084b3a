//! What `carbon doctor` says of the meters of each machine in `tests/fixtures/sys`: which is used, and why not the others.

use carbon_user::cli::doctor::{Findings, PerfEvents, diagnose};
use carbon_user::meters::{MeterChoice, Meters};
use carbon_user::sysroot::SysRoot;
use carbon_user::topology::Topology;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

#[test]
fn the_choice_of_each_machine_is_explained() {
    let machines = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/sys");
    let mut names: Vec<String> = fs::read_dir(&machines)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(names.len() >= 14, "{names:?}");
    for name in names {
        let tree = machines.join(&name);
        let root = SysRoot { sys: tree.join("sys"), proc: tree.join("proc") };
        let meters = Meters::open(&root, &Topology::read(&root).unwrap(), MeterChoice::Auto).unwrap();
        // The library of accelerators is this machine's.
        let found = meters.findings().iter().filter(|finding| !finding.name.starts_with("nvml")).cloned();
        let perf = PerfEvents { cycles: Ok(()), cpu_clock: Ok(()) };
        let findings = Findings { rungs: Vec::new(), meters: found.collect() };
        let table = diagnose(&root, &perf, findings).to_table(false);
        let section: Vec<&str> =
            table.lines().skip_while(|line| *line != "meters").take_while(|line| !line.is_empty()).collect();
        assert!(section.len() > 1, "{name}: {table}");
        let said = section.join("\n").replace(tree.to_str().unwrap(), "");
        insta::with_settings!({ snapshot_suffix => name }, { insta::assert_snapshot!("meters", said) });
    }
}

fn carbon(machine: &str, arguments: &[&str]) -> Output {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/sys").join(machine).join("sys");
    let mut carbon = Command::new(env!("CARGO_BIN_EXE_carbon"));
    carbon.args(arguments).arg("--sysfs-root").arg(tree).env_remove("CARBON_HWMON");
    carbon.env("CARBON_STATE", "none").output().unwrap()
}

#[test]
fn sensors_are_named_on_the_command_line() {
    let clusters = ["vexpress_energy:A15 Jcore=package", "vexpress_energy:A7 Jcore=package"];
    let named = carbon("arm-tc2", &["doctor", "--hwmon", clusters[0], "--hwmon", clusters[1]]);
    let said = String::from_utf8_lossy(&named.stdout).into_owned();
    let sum = "vexpress_energy A15 Jcore+A7 Jcore";
    assert!(said.contains(&format!("reads hwmon {sum}")), "{said}");
    assert!(said.contains("package of package-0, as was said by --hwmon: its counter can be read"), "{said}");
    let unnamed = carbon("arm-tc2", &["doctor"]);
    let said = String::from_utf8_lossy(&unnamed.stdout).into_owned();
    assert!(said.contains("say --hwmon 'vexpress_energy:A15 Jcore=package-0'"), "{said}");

    let top = ["top", "--once", "--duration", "1s", "--zone", "FR"];
    for (arguments, status, why) in [
        (&["--hwmon", "ina226"][..], 2, "--hwmon ina226: no driver, sensor and part"),
        (&["--hwmon", "a:b=gpu"], 2, "package, dram or system"),
        (&["--hwmon", clusters[0], "--meter", "perf"], 2, "in place of the meter that --meter perf asks for"),
        (
            &["--hwmon", "vexpress_energy:A9=package"],
            3,
            "there is no sensor vexpress_energy:A9, which --hwmon names",
        ),
    ] {
        let output = carbon("arm-tc2", &[&top, arguments].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {said}");
        assert!(said.contains(why), "{arguments:?}: {said}");
    }
}
