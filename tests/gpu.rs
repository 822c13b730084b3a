//! Accelerators, with a stand-in for the driver's library whose machine a file describes.

use crate::support::{TestCgroup, alone, kernel_or_skip};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const UUID: &str = "GPU-00000000-0000-0000-0000-000000000001";

/// A machine with the library in a folder of its own.
struct Machine {
    directory: tempfile::TempDir,
}

impl Machine {
    fn new(name: &str, flags: &[&str], devices: &str) -> Option<Self> {
        if !kernel_or_skip(name) {
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/nvml.c");
        let library = directory.path().join("libnvidia-ml.so.1");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-Wl,-soname,libnvidia-ml.so.1", "-o"]).arg(library);
        let status = compiler.args(flags).arg(source).status();
        if !status.is_ok_and(|status| status.success()) {
            println!("SKIPPED: {name}: no C compiler named cc");
            return None;
        }
        let machine = Self { directory };
        machine.set(devices);
        Some(machine)
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("machine")
    }

    /// Changes the machine at once: the library never sees half of it.
    fn set(&self, devices: &str) {
        let new = self.directory.path().join("new");
        fs::write(&new, devices).unwrap();
        fs::rename(new, self.file()).unwrap();
    }

    fn carbon(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_carbon"));
        command.args(arguments).env("LD_LIBRARY_PATH", self.directory.path());
        command.env("CARBON_STATE", "none").env("CARBON_STORE", "none");
        command.env("STANDIN_NVML", self.file()).env("CUDA_VISIBLE_DEVICES", "7");
        command
    }

    fn start_top(&self, duration: &str) -> Child {
        let options = ["top", "--once", "--format", "json", "--zone", "FR", "--duration", duration];
        self.carbon(&options)
            .args(["--interval", "200ms", "--max-overhead", "100"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn top(&self, duration: &str) -> Value {
        finish(self.start_top(duration)).0
    }
}

/// The report, held against its schema, and what was said.
fn finish(child: Child) -> (Value, String) {
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema/top-1.schema.json");
    let schema: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator.iter_errors(&report).map(|error| error.to_string()).collect();
    assert_eq!(errors, [""; 0]);
    (report, said)
}

fn gpu(report: &Value) -> &Value {
    let domains = report["domains"].as_array().unwrap();
    let found = domains.iter().find(|domain| domain["domain"] == "gpu");
    found.unwrap_or_else(|| panic!("no GPU in {domains:?}"))
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn assert_reconciles(report: &Value) {
    let rows = report["workloads"].as_array().unwrap();
    for domain in report["domains"].as_array().unwrap() {
        let parts: f64 = ["dynamic_uj", "static_uj", "lost_uj"].iter().map(|key| number(&domain[key])).sum();
        assert!((number(&domain["metered_uj"]) - parts).abs() < 0.5, "{domain}");
    }
    let sum = |key: &str| rows.iter().map(|row| number(&row[key])).sum::<f64>();
    assert!((sum("gpu_uj") - number(&gpu(report)["dynamic_uj"])).abs() < 0.5);
    assert!((sum("held_uj") - number(&gpu(report)["held_uj"])).abs() < 0.5);
}

/// Power of a key of a row over the whole report, in watts.
fn watts(report: &Value, row: &Value, key: &str) -> f64 {
    number(&row[key]) * 1e3 / number(&report["duration_ns"])
}

fn workload<'r>(report: &'r Value, cgroup: &TestCgroup) -> &'r Value {
    let rows = report["workloads"].as_array().unwrap();
    let found = rows.iter().find(|row| row["cgroup_id"] == cgroup.id.0);
    found.unwrap_or_else(|| panic!("no row of {}", cgroup.path.display()))
}

fn assert_near(found: f64, expected: f64, what: &str) {
    assert!((found / expected - 1.0).abs() < 0.15, "{what}: {found}, expected {expected}");
}

#[test]
fn energy_goes_to_who_uses_a_device_and_idle_power_to_who_holds_it() {
    let idle = format!("gpu 0 {UUID} 20000\n");
    let Some(machine) = Machine::new("energy_goes_to_who_uses_a_device", &[], &idle) else { return };
    let _alone = alone();
    let cgroups = [TestCgroup::new("gpu-a"), TestCgroup::new("gpu-b")];
    let mut children = cgroups.each_ref().map(|cgroup| cgroup.start("exec sleep 30"));
    let [a, b] = children.each_ref().map(Child::id);
    // Idle, then used: idle power is learned first, and shows while it is held.
    let top = machine.start_top("4s");
    sleep(Duration::from_millis(1500));
    machine.set(&format!("{idle}proc 0 {a} 60 90000\nproc 0 {b} 20 30000\nproc 0 4194304 20 30000\n"));
    let (report, said) = finish(top);
    for child in &mut children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_reconciles(&report);
    let device = gpu(&report);
    assert_eq!((&device["device"], &device["quality"]), (&UUID.into(), &"measured".into()));
    assert!(said.is_empty(), "{said}");
    let [a, b] = cgroups.each_ref().map(|cgroup| workload(&report, cgroup));
    let ratio = number(&a["gpu_uj"]) / number(&b["gpu_uj"]);
    assert_near(ratio, 3.0, "by utilisation");
    assert_eq!(a["quality"], "sampled");
    // A process that no workload can be found for: its part is lost, and said to be.
    assert_near(number(&device["lost_uj"]), number(&b["gpu_uj"]), "the third process's part");
    assert!(report["notes"].to_string().contains("belong to no workload"), "{}", report["notes"]);
    assert!(number(&a["held_uj"]) > 1e6 && number(&device["held_uj"]) < number(&device["static_uj"]));
    assert_near(watts(&report, device, "static_uj"), 20.0, "idle power");
}

#[test]
fn a_run_has_the_energy_of_its_own_processes() {
    let idle = format!("gpu 0 {UUID} 20000\n");
    let Some(machine) = Machine::new("a_run_has_the_energy_of_its_own_processes", &[], &idle) else { return };
    let _alone = alone();
    let file = machine.file();
    let script = format!(
        "sleep 0.5; echo gpu 0 {UUID} 20000 > {0}.n; echo proc 0 $$ 50 100000 >> {0}.n; mv {0}.n {0}; \
         i=0; while [ $i -lt 20 ]; do sleep 0.1; i=$((i+1)); done",
        file.display()
    );
    let output = machine
        .carbon(&[
            "run",
            "--format",
            "json",
            "--interval",
            "200ms",
            "--zone",
            "FR",
            "--",
            "sh",
            "-c",
            &script,
        ])
        .output()
        .unwrap();
    assert!(output.status.success());
    let report: Value = serde_json::from_slice(&output.stderr).unwrap();
    let gpu_uj = number(&report["gpu_uj"]);
    assert!((150e6..260e6).contains(&gpu_uj), "two seconds of 100 W: {gpu_uj}");
    assert!((25e6..60e6).contains(&number(&report["held_uj"])), "{report}");
    assert!(number(&report["dynamic_uj"]) >= gpu_uj);
}

#[test]
fn parts_of_a_device_and_shared_contexts_have_rows_by_model() {
    let devices = format!(
        "gpu 0 {UUID} 50000\npart 0 0 MIG-a 3\npart 0 1 MIG-b 4\n\
         gpu 1 GPU-2 20000\nproc 1 1 40 80000\nmps 1 1\n"
    );
    let Some(machine) = Machine::new("parts_of_a_device", &[], &devices) else { return };
    let _alone = alone();
    let cgroup = TestCgroup::new("gpu-mig");
    let mut child = cgroup.start("exec sleep 30");
    let top = machine.start_top("3s");
    sleep(Duration::from_millis(1200));
    machine.set(&format!("{devices}proc 0 {} 0 70000 1\n", child.id()));
    let (report, _) = finish(top);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_reconciles_all(&report);
    let parts = gpu(&report)["parts"].as_array().unwrap();
    let names: Vec<_> = parts.iter().map(|part| (&part["name"], &part["quality"])).collect();
    assert_eq!(names, [(&"MIG-a".into(), &"modelled".into()), (&"MIG-b".into(), &"modelled".into())]);
    assert!(number(&parts[1]["energy_uj"]) > 60e6 && number(&parts[0]["energy_uj"]) == 0.0, "{parts:?}");
    assert_eq!(workload(&report, &cgroup)["quality"], "modelled");
    let second =
        report["domains"].as_array().unwrap().iter().find(|domain| domain["device"] == "GPU-2").unwrap();
    assert_eq!(second["parts"][0]["kind"], "mps");
}

fn assert_reconciles_all(report: &Value) {
    let sum = |rows: &Value, key: &str| -> f64 {
        rows.as_array().unwrap().iter().filter_map(|row| row[key].as_f64()).sum()
    };
    let held = sum(&report["domains"], "held_uj");
    assert!((sum(&report["workloads"], "held_uj") - held).abs() < 0.5);
    assert!((sum(&report["workloads"], "dynamic_uj") - sum(&report["domains"], "dynamic_uj")).abs() < 0.5);
}

/// With parts, holders, processes that nobody knows and a time without an answer: the joules of the live report, under each policy
/// that a replay may be asked for the equation holds.
#[test]
fn a_recorded_device_is_attributed_again_to_the_last_bit() {
    let devices = format!("gpu 0 {UUID} 20000\npart 0 0 MIG-a 3\n");
    let Some(machine) = Machine::new("a_recorded_device", &[], &devices) else { return };
    let _alone = alone();
    let cgroup = TestCgroup::new("gpu-record");
    let mut child = cgroup.start("exec sleep 30");
    let file = machine.directory.path().join("windows").display().to_string();
    let mut top = machine.carbon(&["top", "--once", "--format", "json", "--zone", "FR", "--duration", "3s"]);
    top.args(["--interval", "200ms", "--max-overhead", "100", "--state", "none", "--record", &file]);
    let top = top.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    sleep(Duration::from_millis(1200));
    machine.set(&format!("{devices}proc 0 {} 0 70000 0\n", child.id()));
    let (live, _) = finish(top);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(number(&workload(&live, &cgroup)["gpu_uj"]) > 0.0);
    for policy in ["separate", "proportional", "equal", "requests"] {
        let mut replay = machine.carbon(&["replay", &file, "--format", "json", "--static", policy]);
        let (again, _) = finish(replay.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        assert_reconciles(&again);
        assert!(!again["notes"].to_string().contains("static of GPU"), "{}", again["notes"]);
        if policy == "separate" {
            assert_eq!((&again["workloads"], &again["domains"]), (&live["workloads"], &live["domains"]));
        }
    }
}

/// Every fault while running: the processor's domain goes on, nothing jumps, and the device comes back by itself.
#[test]
fn faults_of_the_driver_pass_without_a_restart() {
    let devices = format!("gpu 0 {UUID} 20000\ngpu 1 GPU-2 30000\n");
    let Some(machine) = Machine::new("faults_of_the_driver", &[], &devices) else { return };
    let _alone = alone();
    // As after a driver that was loaded again and found its devices in another order.
    let exchanged = format!("gpu 1 {UUID} 20000\ngpu 0 GPU-2 30000\n");
    let faults = [
        ("exchanged", exchanged),
        ("lost", "fail nvmlDeviceGetTotalEnergyConsumption 15\n".to_owned()),
        ("unloaded", "fail nvmlDeviceGetHandleByUUID 9\nfail nvmlInit_v2 9\n".to_owned()),
        ("unknown error", "fail nvmlDeviceGetTotalEnergyConsumption 999\n".to_owned()),
        ("denied", "fail nvmlDeviceGetTotalEnergyConsumption 4\n".to_owned()),
        ("hang", "hang nvmlDeviceGetTotalEnergyConsumption\n".to_owned()),
        ("jump", "energy 0 900000000\n".to_owned()),
    ];
    for (what, line) in faults {
        machine.set(&devices);
        let begun = Instant::now();
        let top = machine.start_top("6s");
        sleep(Duration::from_millis(1500));
        machine.set(&if what == "exchanged" { line } else { format!("{devices}{line}") });
        sleep(Duration::from_secs(1));
        machine.set(&devices);
        let (report, said) = finish(top);
        assert!(begun.elapsed() < Duration::from_secs(9), "{what} held up the windows");
        assert!(number(&report["windows"]) >= 26.0, "{what}: {} windows", report["windows"]);
        assert_reconciles(&report);
        let device = gpu(&report);
        let joules = number(&device["metered_uj"]) / 1e6;
        // Nothing jumps: at most all that it drew, at least what was seen of it.
        assert!((50.0..126.0).contains(&joules), "{what}: {joules} J of at most 120 J: {device}");
        let domains = report["domains"].as_array().unwrap();
        let package = domains.iter().find(|domain| domain["domain"] == "package").unwrap();
        assert_eq!(package["unread"], 0, "{what}: {package}");
        if what == "exchanged" {
            // The energy of the one never becomes the other's.
            assert!(said.is_empty() && device["unread"] == 0 && device["gaps"] == 0, "{said}: {device}");
            assert_near(joules, 20.0 * number(&report["duration_ns"]) / 1e9, "its own, by its UUID");
        } else if what == "jump" {
            assert!(number(&device["gaps"]) >= 1.0 && number(&device["gap_ns"]) > 1e8, "{device}");
            assert!(report["notes"].to_string().contains("cannot be true"), "{}", report["notes"]);
        } else {
            assert!(number(&device["unread"]) >= 3.0, "{what}: {device}");
            let (lost, back) = ("gives no energy from here on", "is read again after");
            let lines = |word: &str| said.lines().filter(|line| line.contains(word)).count();
            assert_eq!((lines(lost), lines(back)), (2, 2), "{what}: one line each way and device: {said}");
        }
    }
}

/// A device that does not answer when carbon starts is in no number, and that is said where the numbers are.
#[test]
fn a_device_that_cannot_be_opened_is_said_to_be_left_out() {
    let devices = format!("gpu 0 {UUID} 25000\n");
    let Some(machine) = Machine::new("a_device_that_cannot_be_opened", &[], &devices) else { return };
    let _alone = alone();
    for (line, why) in [
        ("hang nvmlInit_v2", "nvml is not measured: nvml did not answer within 5s"),
        ("fail nvmlInit_v2 18", "nvml is not measured: NVML cannot be used"),
        ("fail nvmlDeviceGetUUID 15", "nvml GPU 0 is not measured: the GPU has fallen off the bus"),
    ] {
        machine.set(&format!("{devices}{line}\n"));
        let notes = machine.top("1s")["notes"].to_string();
        assert!(notes.contains(why), "{line}: {notes}");
    }
    // A library and no driver: a machine without such devices.
    machine.set("fail nvmlInit_v2 9\n");
    let notes = machine.top("1s")["notes"].to_string();
    assert!(!notes.contains("nvml"), "{notes}");
}

#[test]
fn a_library_without_a_counter_is_sampled() {
    let devices = format!("gpu 0 {UUID} 25000\n");
    let Some(machine) = Machine::new("a_library_without_a_counter", &["-DNO_COUNTER"], &devices) else {
        return;
    };
    let _alone = alone();
    let report = machine.top("2s");
    let device = gpu(&report);
    assert_eq!(device["quality"], "sampled");
    assert_near(watts(&report, device, "metered_uj"), 25.0, "integrated power");
    let doctor = machine.carbon(&["doctor"]).output().unwrap();
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(said.contains("reads its power, sampled"), "{said}");
}

/// A driver from before processes' use, parts and shared contexts: the device is metered, and what cannot be told is said.
#[test]
fn a_library_without_half_of_its_functions_still_meters() {
    let devices = format!("gpu 0 {UUID} 25000\n");
    let Some(machine) = Machine::new("a_library_without_half_of_its_functions", &["-DOLD"], &devices) else {
        return;
    };
    let _alone = alone();
    let cgroup = TestCgroup::new("gpu-old");
    let mut child = cgroup.start("exec sleep 30");
    let top = machine.start_top("3s");
    sleep(Duration::from_secs(1));
    machine.set(&format!("{devices}proc 0 {} 50 40000\n", child.id()));
    let (report, _) = finish(top);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_reconciles(&report);
    let joules = number(&gpu(&report)["metered_uj"]) / 1e6;
    assert!((75.0..200.0).contains(&joules), "25 W for 3 s and 40 W more for two of them: {joules}");
    // Who used it how much is made up from who held it.
    assert_eq!(workload(&report, &cgroup)["quality"], "modelled");
    let said = "how much each process uses: the driver's library lacks the function";
    assert!(report["notes"].to_string().contains(said), "{}", report["notes"]);
}

#[test]
fn without_a_driver_there_is_no_device_and_no_word_but_doctors() {
    if !kernel_or_skip("without_a_driver_there_is_no_device") {
        return;
    }
    let doctor = Command::new(env!("CARGO_BIN_EXE_carbon")).arg("doctor").output().unwrap();
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
    if said.contains("reads GPU-") {
        return println!("SKIPPED: without_a_driver_there_is_no_device: there is one");
    }
    assert!(said.contains("no libnvidia-ml.so.1") || said.contains("NVML"), "{said}");
}
