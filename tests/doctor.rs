//! Doctor on fixture machines, and on this one.

use crate::measuring::document;
use crate::support;
use carbon_user::cli::doctor::{Diagnosis, Findings, PerfEvents, RungFinding, diagnose};
use carbon_user::meters::MeterFinding;
use carbon_user::sched::Rung;
use carbon_user::sysroot::SysRoot;
use carbon_user::units::Quality;
use std::path::Path;
use std::process::Command;

fn rung(rung: Rung, available: bool, reason: &str, advice: Option<&str>) -> RungFinding {
    RungFinding { rung, available, reason: reason.into(), advice: advice.map(Into::into) }
}

fn meter(name: &str, chosen: bool, quality: Quality, reason: &str, advice: Option<&str>) -> MeterFinding {
    MeterFinding { name: name.into(), chosen, quality, reason: reason.into(), advice: advice.map(Into::into) }
}

fn machine(name: &str, perf: &PerfEvents, findings: Findings) -> Diagnosis {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/doctor").join(name);
    diagnose(&SysRoot { sys: tree.join("sys"), proc: tree.join("proc") }, perf, findings)
}

fn cloud() -> Diagnosis {
    let perf =
        PerfEvents { cycles: Err("not offered by this processor or hypervisor".into()), cpu_clock: Ok(()) };
    let findings = Findings {
        rungs: vec![
            rung(Rung::Books, true, "iterators load", None),
            rung(Rung::Hook, true, "loads", None),
            rung(Rung::CpuStat, true, "cgroup2 is mounted", None),
            rung(Rung::Proc, true, "/proc is mounted", None),
        ],
        meters: vec![
            meter("powercap", false, Quality::Measured, "no /sys/class/powercap", Some("bare metal has it")),
            meter("model", true, Quality::Modelled, "AMD Zen 3, 2 hardware threads", None),
        ],
    };
    machine("vm-hybrid", &perf, findings)
}

fn strict() -> Diagnosis {
    let denied = || Err("permission denied".to_owned());
    let perf = PerfEvents { cycles: denied(), cpu_clock: denied() };
    let findings = Findings {
        rungs: vec![
            rung(Rung::Books, false, "permission denied", Some("run as root")),
            rung(Rung::CpuStat, true, "cgroup2 is mounted", None),
        ],
        meters: vec![meter("powercap", false, Quality::Measured, "energy_uj: permission denied", None)],
    };
    machine("metal-strict", &perf, findings)
}

#[test]
fn the_table_says_what_to_do() {
    insta::assert_snapshot!("vm_hybrid_table", cloud().to_table(false));
    insta::assert_snapshot!("metal_strict_table", strict().to_table(false));
}

#[test]
fn the_json_is_stable() {
    for diagnosis in [cloud(), strict()] {
        document(diagnosis.to_json().unwrap().as_bytes());
    }
    insta::assert_snapshot!("vm_hybrid_json", cloud().to_json().unwrap());
    insta::assert_snapshot!("metal_strict_json", strict().to_json().unwrap());
}

#[test]
fn an_old_kernel_is_refused_and_what_is_missing_is_unknown() {
    let perf = PerfEvents { cycles: Ok(()), cpu_clock: Ok(()) };
    insta::assert_snapshot!("old_v1_table", machine("old-v1", &perf, Findings::default()).to_table(false));
}

#[test]
fn nothing_at_all_is_readable_and_still_there_is_a_report() {
    let perf = PerfEvents { cycles: Ok(()), cpu_clock: Ok(()) };
    insta::assert_snapshot!("nothing_table", machine("nowhere", &perf, Findings::default()).to_table(false));
}

#[test]
fn colours_are_all_that_colours_add() {
    let (plain, mut coloured) = (cloud().to_table(false), cloud().to_table(true));
    assert!(coloured.contains("\x1b[32mok"));
    for code in ["\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m"] {
        coloured = coloured.replace(code, "");
    }
    assert_eq!(plain, coloured);
}

#[test]
fn the_quality_is_the_lower_of_time_and_joules() {
    assert_eq!(cloud().quality(), Some(Quality::Modelled));
    assert_eq!(strict().quality(), None);
    let mut metered = strict();
    metered.findings.meters[0].chosen = true;
    assert_eq!(metered.quality(), Some(Quality::Sampled));
}

#[test]
fn this_machine_is_examined() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_carbon")).args(["doctor", "--format", "json"]).output().unwrap();
    let document = document(&output.stdout);
    assert_eq!(document["schema"], "carbon.doctor/1");
    assert_eq!(output.status.code(), Some(i32::from(document["usable"] == false)));
    let checks = document["checks"].as_array().unwrap();
    let release = checks.iter().find(|check| check["name"] == "release").unwrap();
    let here = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert!(release["finding"].as_str().unwrap().starts_with(here.trim()));
}

#[test]
fn the_ways_of_accounting_are_put_side_by_side() {
    let test = "the_ways_of_accounting_are_put_side_by_side";
    if !support::kernel_or_skip(test) || !support::books_or_skip(test) {
        return;
    }
    let _alone = support::alone();
    let output = Command::new(env!("CARGO_BIN_EXE_carbon"))
        .args(["doctor", "--balance", "1s", "--format", "json"])
        .output()
        .unwrap();
    let document = document(&output.stdout);
    assert_eq!(document["schema"], "carbon.balance/1");
    assert_eq!(output.status.code(), Some(i32::from(document["balanced"] == false)));
    let ways: Vec<&str> = document["accounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["accounting"].as_str().unwrap())
        .collect();
    assert_eq!(ways.len(), 3, "{ways:?}");
    assert!(!document["rows"].as_array().unwrap().is_empty());
}
