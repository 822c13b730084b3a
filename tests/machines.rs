//! What `carbon doctor` says of the meters of each machine in `tests/fixtures/sys`: which is used, and why not the others.

use carbon_user::cli::doctor::{Findings, PerfEvents, diagnose};
use carbon_user::meters::{MeterChoice, Meters};
use carbon_user::sysroot::SysRoot;
use carbon_user::topology::Topology;
use std::fs;
use std::path::Path;

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
