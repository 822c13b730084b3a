//! `carbon run` and `carbon top` as a user calls them, against what the kernel says of the same work.

use crate::support::{TestCgroup, alone, enter, kernel_or_skip, load, tick, topology};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

pub(crate) fn carbon(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carbon"));
    command.args(arguments).env_remove("CARBON_ZONE").env_remove("CARBON_PUE");
    command.env("CARBON_STATE", "none").env("CARBON_STORE", "none");
    command
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A report, checked against its schema in docs.
pub(crate) fn report(text: &[u8], schema: &str) -> Value {
    let report: Value = serde_json::from_slice(text)
        .unwrap_or_else(|error| panic!("{error} in {:?}", String::from_utf8_lossy(text)));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema").join(schema);
    let schema: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator.iter_errors(&report).map(|error| error.to_string()).collect();
    assert_eq!(errors, [""; 0]);
    report
}

/// A document, checked against the schema that it names.
pub(crate) fn document(text: &[u8]) -> Value {
    let document: Value = serde_json::from_slice(text).unwrap();
    let name = document["schema"].as_str().and_then(|name| name.strip_prefix("carbon.")).unwrap();
    report(text, &format!("{}.schema.json", name.replace('/', "-")))
}

/// Runs a command under `carbon run` with these options; gives the report and the status.
fn run(options: &[&str], command: &[&str]) -> (Value, Option<i32>) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("report.json");
    let to_file = ["--format", "json", "--output", file.to_str().unwrap()];
    let output = carbon(&[&["run"], options, &to_file, &["--"], command].concat()).output().unwrap();
    let text = fs::read(&file).unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)));
    (report(&text, "run-1.schema.json"), output.status.code())
}

fn top(options: &[&str]) -> Value {
    let output = carbon(&[&["top", "--once", "--format", "json", "--zone", "FR"], options].concat());
    let output = { output }.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    report(&output.stdout, "top-1.schema.json")
}

pub(crate) fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no whole number"))
}

fn sum(rows: &Value, key: &str) -> u64 {
    rows.as_array().unwrap().iter().map(|row| number(&row[key])).sum()
}

fn assert_reconciles(report: &Value) {
    for domain in report["domains"].as_array().unwrap() {
        let parts: u64 = ["dynamic_uj", "static_uj", "lost_uj"].iter().map(|key| number(&domain[key])).sum();
        assert_eq!(number(&domain["metered_uj"]), parts, "{domain}");
    }
}

/// Within half a per cent, and a tick of each CPU; less by what the report says was missed.
fn assert_near(ours_ns: u64, truth_ns: u64, report: &Value) {
    let tolerance =
        truth_ns / 200 + u64::try_from(tick().as_nanos()).unwrap() * u64::from(topology().cpus_online());
    let missed_ns = number(&report["accounts"]["missed_ns"]);
    let range = truth_ns.saturating_sub(tolerance + missed_ns)..=truth_ns + tolerance;
    assert!(range.contains(&ours_ns), "{}: {ours_ns} ns, the kernel {truth_ns} ns", report["accounting"]);
}

/// A tree with a thread, short processes and a grandchild in a session of its own has, by each way of accounting,
/// the CPU time of the cgroup that it runs in.
#[test]
fn a_run_has_the_cpu_time_that_the_kernel_counted() {
    if !kernel_or_skip("a_run_has_the_cpu_time_that_the_kernel_counted") {
        return;
    }
    let _alone = alone();
    let load = load().display();
    for accounting in ["auto", "books", "hook", "rawtp", "cpustat", "proc"] {
        let cgroup = TestCgroup::new(&format!("run-{accounting}"));
        let enter = enter(&cgroup.path);
        // What is moved into a cgroup has left that of the run, by which this way counts.
        let by_cgroup = ["cpustat", "rawtp"].contains(&accounting);
        let enter = if by_cgroup { "true" } else { &enter };
        let script = format!(
            "{enter}; {load} threads 2 0.2; {load} orphan 0.3; i=0; while [ $i -lt 100 ]; do /bin/true; i=$((i+1)); done; exit 5"
        );
        let options = ["--wait-all", "--project", "p", "--zone", "FR", "--accounting", accounting];
        let (report, status) = run(&options, &["sh", "-c", &script]);
        assert_eq!((status, &report["exit_status"]), (Some(5), &Value::from(5)));
        let expected = if accounting == "auto" { "books" } else { accounting };
        assert_eq!((&report["accounting"], &report["project"]), (&expected.into(), &"p".into()));
        let cpu_ns = number(&report["cpu_ns"]);
        println!("{accounting}: {cpu_ns} ns, cpu.stat {} us", cgroup.usage_usec());
        if by_cgroup {
            // Two threads, an orphan, and at least a third of a millisecond for each of the short ones.
            assert!((730_000_000..1_500_000_000).contains(&cpu_ns), "{cpu_ns}");
        } else {
            // Start-up of the shell, before it was in the cgroup.
            let outside_ns = 3_000_000;
            assert_near(cpu_ns, cgroup.usage_usec() * 1000 + outside_ns, &report);
        }
        assert_reconciles(&report);
        let processes =
            sum(&report["processes"], "dynamic_uj") + number(&report["processes_other"]["dynamic_uj"]);
        assert_eq!(processes, number(&report["dynamic_uj"]));
        assert!(report["grams"].as_f64().unwrap() > 0.0);
        assert_eq!(report["intensity"]["zone"], "FR");
    }
}

/// A cgroup's row agrees with its cpu.stat, and everything together is the CPUs' wall clock.
#[test]
fn top_has_each_cgroup_and_all_of_the_time() {
    if !kernel_or_skip("top_has_each_cgroup_and_all_of_the_time") {
        return;
    }
    let _alone = alone();
    for accounting in ["books", "hook", "rawtp", "cpustat", "proc"] {
        let cgroup = TestCgroup::new(&format!("top-{accounting}"));
        let inner = cgroup.start(&format!("sleep 0.7; exec {} spin 1", load().display()));
        let report = top(&["--duration", "3s", "--interval", "500ms", "--accounting", accounting]);
        assert!({ inner }.wait().unwrap().success());
        let name = cgroup.path.file_name().unwrap().to_str().unwrap();
        let rows = report["workloads"].as_array().unwrap();
        let is_ours = |row: &&Value| row["cgroup"].as_str().is_some_and(|path| path.ends_with(name));
        let ours: Vec<_> = rows.iter().filter(is_ours).collect();
        assert_eq!(ours.len(), 1, "{rows:?}");
        let truth_ns = cgroup.usage_usec() * 1000;
        // In steps of 10 ms and without what ended between two looks, where only /proc is read.
        let sampled_ns = if accounting == "proc" { 30_000_000 } else { 0 };
        // By the clock, in which interrupts and steal are.
        let sampled_ns = if accounting == "rawtp" { truth_ns / 20 } else { sampled_ns };
        let cpu_ns = number(&ours[0]["cpu_ns"]);
        println!("{accounting}: {cpu_ns} ns, cpu.stat {truth_ns} ns");
        if cpu_ns.abs_diff(truth_ns) > sampled_ns {
            assert_near(cpu_ns, truth_ns, &report);
        }
        assert_reconciles(&report);
        let attributed = sum(&report["workloads"], "dynamic_uj");
        assert_eq!(attributed, sum(&report["domains"], "dynamic_uj"));
        if ["books", "hook"].contains(&accounting) {
            let accounts = &report["accounts"];
            let other = ["idle_ns", "irq_steal_ns", "missed_ns", "overflow_ns"];
            let known: u64 = other.iter().map(|key| number(&accounts[key])).sum::<u64>()
                + sum(&report["workloads"], "cpu_ns");
            let wall = number(&report["duration_ns"]) * u64::from(topology().cpus_online());
            assert!(known.abs_diff(wall) < wall / 50, "{known} of {wall}: {accounts}");
        }
    }
}

/// A kernel that does not describe its types.
#[test]
fn without_types_the_clock_is_taken() {
    if !kernel_or_skip("without_types_the_clock_is_taken") {
        return;
    }
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    for shared in ["devices", "fs"] {
        symlink(Path::new("/sys").join(shared), directory.path().join(shared)).unwrap();
    }
    let load = load().to_str().unwrap();
    let (report, _) = run(&["--sysfs-root", directory.path().to_str().unwrap()], &[load, "spin", "0.3"]);
    assert_eq!(report["accounting"], "rawtp");
    let notes = report["notes"].to_string();
    assert!(notes.contains("since books does not work here") && notes.contains("btf/vmlinux"), "{notes}");
    assert!((290_000_000..400_000_000).contains(&number(&report["cpu_ns"])), "{report}");
}

/// A sysfs with this machine's processors and kernel types, and a powercap zone whose counter a test writes.
struct PowercapTree {
    directory: tempfile::TempDir,
    counter: PathBuf,
}

impl PowercapTree {
    fn new(energy_uj: u64, range_uj: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path();
        for shared in ["devices", "kernel", "fs"] {
            symlink(Path::new("/sys").join(shared), top.join(shared)).unwrap();
        }
        let zone = top.join("class/powercap/intel-rapl:0");
        fs::create_dir_all(&zone).unwrap();
        for (name, text) in [("name", "package-0".to_owned()), ("max_energy_range_uj", range_uj.to_string())]
        {
            fs::write(zone.join(name), text + "\n").unwrap();
        }
        let counter = zone.join("energy_uj");
        fs::write(&counter, format!("{energy_uj}\n")).unwrap();
        Self { directory, counter }
    }

    /// A zone for the memory of the package, beside its own; gives its counter.
    fn add_dram(&self, energy_uj: u64) -> PathBuf {
        let zone = self.directory.path().join("class/powercap/intel-rapl:0:0");
        fs::create_dir_all(&zone).unwrap();
        fs::write(zone.join("name"), "dram\n").unwrap();
        fs::write(zone.join("max_energy_range_uj"), "65712999613\n").unwrap();
        fs::write(zone.join("energy_uj"), format!("{energy_uj}\n")).unwrap();
        zone.join("energy_uj")
    }

    fn root(&self) -> &str {
        self.directory.path().to_str().unwrap()
    }

    /// A command line that spins, and sets the counter.
    fn set(&self, energy_uj: u64) -> String {
        format!("{} spin 0.1; echo {energy_uj} > {}", load().display(), self.counter.display())
    }
}

#[test]
fn what_a_meter_counts_is_in_the_report_to_the_microjoule() {
    if !kernel_or_skip("what_a_meter_counts_is_in_the_report_to_the_microjoule") {
        return;
    }
    let _alone = alone();
    let range = 262_143_328_850;
    for (before, after, metered) in
        [(1_000_000, 3_345_678, 2_345_678), (range - 1_000_000, 500_000, 1_500_000)]
    {
        let tree = PowercapTree::new(before, range);
        let options = ["--sysfs-root", tree.root(), "--interval", "10s"];
        let (report, _) = run(&options, &["sh", "-c", &tree.set(after)]);
        let domain = &report["domains"][0];
        assert_eq!(number(&domain["metered_uj"]), metered, "{domain}");
        assert_eq!((&domain["quality"], &domain["domain"]), (&"measured".into(), &"package".into()));
        assert_eq!(report["quality"], "measured");
        assert_reconciles(&report);
    }
}

/// Adds so much to a counter every 50 ms, until it is dropped.
struct Counting(std::process::Child);

impl Counting {
    fn start(counters: &[(&Path, u64)]) -> Self {
        let start =
            counters.iter().enumerate().map(|(i, (path, _))| format!("c{i}=$(cat {}); ", path.display()));
        let step = counters.iter().enumerate().map(|(i, (path, step))| {
            // In place and of one width, so that whoever reads meanwhile sees the one or the other.
            format!("c{i}=$((c{i}+{step})); printf '%014d\\n' $c{i} 1<> {}; ", path.display())
        });
        let script =
            format!("{}while :; do {}sleep 0.05; done", start.collect::<String>(), step.collect::<String>());
        Self(Command::new("sh").args(["-c", &script]).spawn().unwrap())
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Under every policy a metered joule is dynamic, static or lost, and what workloads have of static energy is the
/// domains'. One cgroup runs, one only sleeps; memory has a meter too, and its split is a model.
#[test]
fn static_energy_is_shared_as_asked_and_sums() {
    if !kernel_or_skip("static_energy_is_shared_as_asked_and_sums") {
        return;
    }
    let _alone = alone();
    let (busy, asleep) = (TestCgroup::new("static-busy"), TestCgroup::new("static-asleep"));
    let tree = PowercapTree::new(1_000_000, 262_143_328_850);
    let dram = tree.add_dram(5_000_000);
    let spinning = busy.start(&format!("exec {} spin 60", load().display()));
    let sleeping = asleep.start("exec sleep 60");
    let _counting = Counting::start(&[(&tree.counter, 3_000_000), (&dram, 400_000)]);
    for policy in ["separate", "proportional", "equal", "requests"] {
        let options =
            ["--duration", "1500ms", "--interval", "500ms", "--hierarchy", "cgroup2", "--static", policy];
        let report = top(&[&options[..], &["--sysfs-root", tree.root()]].concat());
        assert_eq!(report["static_policy"], policy);
        assert_reconciles(&report);
        let domains = report["domains"].as_array().unwrap();
        assert_eq!(domains.len(), 2, "{domains:?}");
        assert_eq!(sum(&report["workloads"], "dynamic_uj"), sum(&report["domains"], "dynamic_uj"));
        assert_eq!(sum(&report["workloads"], "static_uj"), sum(&report["domains"], "static_shared_uj"));
        let of = |kind: &str| domains.iter().find(|domain| domain["domain"] == kind).unwrap();
        let (package, memory) = (of("package"), of("dram"));
        assert_eq!(
            (&package["quality"], &package["split_quality"]),
            (&"measured".into(), &"measured".into())
        );
        assert_eq!((&memory["quality"], &memory["split_quality"]), (&"measured".into(), &"modelled".into()));
        assert!(number(&package["static_uj"]) > 0 && number(&memory["metered_uj"]) > 0, "{package} {memory}");
        let row = |cgroup: &TestCgroup| {
            let name = cgroup.path.file_name().unwrap().to_str().unwrap();
            report["workloads"].as_array().unwrap().iter().find(|row| row["name"] == name).cloned()
        };
        let ran = row(&busy).unwrap();
        assert_eq!(ran["quality"], "modelled", "it has energy of memory: {ran}");
        assert!(number(&ran["dram_uj"]) > 0 && number(&ran["dram_uj"]) < number(&ran["dynamic_uj"]), "{ran}");
        let notes = report["notes"].to_string();
        assert!(notes.contains("its split among workloads is modelled"), "{notes}");
        let all = number(&package["static_shared_uj"]) == number(&package["static_uj"]);
        match policy {
            "separate" => {
                assert_eq!(
                    (&package["static_by"], sum(&report["workloads"], "static_uj")),
                    (&Value::Null, 0)
                );
            }
            "proportional" => {
                assert_eq!((&package["static_by"], all), (&"cpu-time".into(), true));
                assert!(
                    row(&asleep).is_none_or(|row| number(&row["static_uj"]) < number(&ran["static_uj"]) / 20)
                );
            }
            "equal" => {
                assert_eq!((&package["static_by"], all), (&"alive".into(), true));
                let slept = row(&asleep).expect("it is there, although it does not run");
                assert_eq!(number(&slept["cpu_ns"]), 0);
                let (slept, ran) = (number(&slept["static_uj"]), number(&ran["static_uj"]));
                assert!(
                    slept > 0 && slept.abs_diff(ran) <= 2 * number(&report["windows"]),
                    "{slept} and {ran}"
                );
            }
            _ if package["static_by"] == "cpu-weight" => {
                assert!(all && notes.contains("a fallback"), "{notes}");
                let (slept, ran) = (number(&row(&asleep).unwrap()["static_uj"]), number(&ran["static_uj"]));
                assert!(
                    slept > 0 && slept.abs_diff(ran) <= 2 * number(&report["windows"]),
                    "{slept} and {ran}"
                );
            }
            // Where no cgroup has a weight, nobody asked for anything: said, and not shared.
            _ => {
                assert_eq!((&package["static_by"], number(&package["static_shared_uj"])), (&Value::Null, 0));
                assert!(notes.contains("nobody asked for a share"), "{notes}");
            }
        }
    }
    for mut child in [spinning, sleeping] {
        drop(child.kill());
        drop(child.wait());
    }
    let refused = carbon(&["run", "--static", "requests", "--", "true"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(125));
    assert!(stderr(&refused).contains("separate or proportional"), "{}", stderr(&refused));
}

#[test]
fn a_meter_that_fails_on_the_way_is_named_and_hides_nothing() {
    if !kernel_or_skip("a_meter_that_fails_on_the_way_is_named_and_hides_nothing") {
        return;
    }
    let _alone = alone();
    for (script, said) in
        [("rm", "could not be read at the end"), ("echo nonsense >", "could not be read at the end")]
    {
        let tree = PowercapTree::new(1, 1_000_000_000);
        let script = format!("{script} {}; {} spin 0.1", tree.counter.display(), load().display());
        let (report, status) = run(&["--sysfs-root", tree.root()], &["sh", "-c", &script]);
        assert_eq!(status, Some(0));
        let notes = report["notes"].to_string();
        assert!(notes.contains("package-0") && notes.contains(said), "{notes}");
        assert!(notes.contains("unknown, not zero"), "{notes}");
        assert!(number(&report["cpu_ns"]) > 90_000_000);
    }
    // One that cannot be read from the start: asked for, it is an error that says what to do.
    let tree = PowercapTree::new(1, 1_000_000_000);
    fs::remove_file(&tree.counter).unwrap();
    let output =
        carbon(&["top", "--once", "--meter", "powercap", "--sysfs-root", tree.root()]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("--meter model"), "{}", stderr(&output));
}

#[test]
fn a_zone_that_is_in_no_table_is_refused() {
    for (arguments, status) in
        [(&["top", "--once", "--zone", "Frnace"][..], 2), (&["run", "--zone", "Frnace", "--", "true"], 125)]
    {
        let output = carbon(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(status));
        let said = stderr(&output);
        assert!(said.contains("unknown zone") && said.contains("France (FR)"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

/// The program as somebody who owns nothing here.
fn as_nobody(arguments: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = directory.path().join("carbon");
    fs::copy(env!("CARGO_BIN_EXE_carbon"), &copy).unwrap();
    let ids = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let mut command = Command::new("setpriv");
    command.args(ids).arg(&copy).args(arguments).current_dir("/").env("CARBON_STORE", "none");
    command.output().unwrap()
}

#[test]
fn without_privilege_a_run_is_measured_all_the_same() {
    if !kernel_or_skip("without_privilege_a_run_is_measured_all_the_same") {
        return;
    }
    let script = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
    let output = as_nobody(&["run", "--format", "json", "--", "sh", "-c", script]);
    assert!(output.status.success(), "{}", stderr(&output));
    let report = report(&output.stderr, "run-1.schema.json");
    assert_eq!(report["accounting"], "proc");
    let notes = report["notes"].to_string();
    assert!(notes.contains("since books does not work here") && notes.contains("run as root"), "{notes}");
    assert!(number(&report["cpu_ns"]) > 10_000_000, "{report}");
    for (forced, status) in [("books", 125), ("hook", 125)] {
        let output = as_nobody(&["run", "--accounting", forced, "--", "true"]);
        assert_eq!(output.status.code(), Some(status), "{forced}");
        let said = stderr(&output);
        assert!(said.contains("run as root, or give CAP_BPF") && said.lines().count() == 1, "{said}");
    }
}

/// Root without one of the capabilities: which, is said.
#[test]
fn the_capability_that_is_missing_is_named() {
    if !kernel_or_skip("the_capability_that_is_missing_is_named") {
        return;
    }
    for (without, named) in
        [("-perfmon,-sys_admin", "CAP_PERFMON missing"), ("-bpf,-sys_admin", "CAP_BPF missing")]
    {
        let output = Command::new("setpriv")
            .arg(format!("--bounding-set={without}"))
            .args([env!("CARGO_BIN_EXE_carbon"), "top", "--once", "--accounting", "books"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(3));
        let said = stderr(&output);
        assert!(said.contains(named) && said.lines().count() == 1, "{said}");
    }
}

/// Above the limit windows get wider, and it is said; below it nothing is.
#[test]
fn measuring_that_costs_too_much_is_governed() {
    if !kernel_or_skip("measuring_that_costs_too_much_is_governed") {
        return;
    }
    let _alone = alone();
    for (limit, wider) in [("0.0001", true), ("100", false)] {
        let report = top(&["--duration", "2s", "--interval", "50ms", "--max-overhead", limit, "--quiet"]);
        let notes = report["notes"].to_string();
        assert_eq!(notes.contains("measuring cost more than --max-overhead: windows of "), wider, "{notes}");
        let windows = number(&report["windows"]);
        assert!(if wider { windows < 20 } else { windows > 20 }, "{windows} windows");
        assert!(number(&report["accounts"]["own_ns"]) > 0);
        assert_reconciles(&report);
    }
}

/// Kernel programs that a process holds, by the kernel's ids.
fn programs_of(pid: u32) -> BTreeSet<u32> {
    let entries = fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
    let texts = entries.filter_map(|entry| fs::read_to_string(entry.path()).ok());
    let ids = texts.filter_map(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("prog_id:"))?;
        line.trim().parse().ok()
    });
    ids.collect()
}

/// Whether the programs of a process are loaded: those that both ways share, and its own.
pub(crate) fn has_loaded(pid: u32) -> bool {
    programs_of(pid).len() >= 10
}

/// Which of these the kernel still has. It lets go of a detached one only when no CPU can still be in it, which takes
/// seconds on a busy machine.
fn still_there(ids: &BTreeSet<u32>) -> usize {
    aya::programs::loaded_programs().flatten().filter(|program| ids.contains(&program.id())).count()
}

pub(crate) fn within_seconds(seconds: u64, mut done: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(seconds) {
        if done() {
            return true;
        }
        sleep(Duration::from_millis(5));
    }
    false
}

#[test]
fn nothing_is_left_in_the_kernel_however_it_ends() {
    if !kernel_or_skip("nothing_is_left_in_the_kernel_however_it_ends") {
        return;
    }
    let _alone = alone();
    for accounting in ["books", "hook", "rawtp"] {
        for signal in [None, Some(Signal::INT), Some(Signal::TERM), Some(Signal::KILL)] {
            let duration = if signal.is_some() { "60s" } else { "1s" };
            let arguments = ["top", "--once", "--duration", duration, "--accounting", accounting];
            let mut child = carbon(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let least = if accounting == "rawtp" { 1 } else { 10 };
            let mut ids = BTreeSet::new();
            let loaded = within_seconds(10, || {
                ids = programs_of(child.id());
                ids.len() >= least
            });
            assert!(loaded, "{accounting} loads its programs: {ids:?}");
            if let Some(signal) = signal {
                // Until the first edge has been taken, an end is an end without a report.
                sleep(Duration::from_millis(500));
                ids = programs_of(child.id());
                kill_process(Pid::from_child(&child), signal).unwrap();
            }
            let status = child.wait().unwrap();
            assert_eq!(status.success(), signal != Some(Signal::KILL), "{accounting} {signal:?}");
            let gone = within_seconds(30, || still_there(&ids) == 0);
            assert!(gone, "{accounting} {signal:?} left {} of {}", still_there(&ids), ids.len());
        }
    }
}

/// Two programs that watch the same work, begun and ended inside both windows, say the same.
#[test]
fn two_programs_at_once_agree() {
    if !kernel_or_skip("two_programs_at_once_agree") {
        return;
    }
    let _alone = alone();
    let cgroup = TestCgroup::new("both");
    let arguments = ["top", "--once", "--duration", "6s", "--format", "json"];
    let both: Vec<_> = (0..2).map(|_| carbon(&arguments).stdout(Stdio::piped()).spawn().unwrap()).collect();
    assert!(within_seconds(10, || both.iter().all(|child| has_loaded(child.id()))), "both have loaded");
    // And have taken their first edge.
    sleep(Duration::from_millis(1_500));
    assert!(cgroup.start(&format!("exec {} spin 1.5", load().display())).wait().unwrap().success());
    let said: Vec<u64> = both
        .into_iter()
        .map(|child| {
            let report = report(&child.wait_with_output().unwrap().stdout, "top-1.schema.json");
            let rows = report["workloads"].as_array().unwrap().clone();
            let row = rows.iter().find(|row| row["cgroup_id"] == cgroup.id.0).unwrap();
            number(&row["cpu_ns"])
        })
        .collect();
    println!("{said:?}");
    assert!(said[0] > 1_450_000_000);
    assert!(said[0].abs_diff(said[1]) < said[0] / 1000, "{said:?}");
}

#[test]
fn the_live_table_is_drawn_and_ends_with_an_interrupt() {
    if !kernel_or_skip("the_live_table_is_drawn_and_ends_with_an_interrupt") {
        return;
    }
    let _alone = alone();
    let line = format!(
        "exec env --default-signal timeout --foreground -s INT 3 {} top",
        env!("CARGO_BIN_EXE_carbon")
    );
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("WORKLOAD") && text.contains("CPU time: books"), "{text}");
    assert!(text.trim_end().ends_with("\u{1b}[?25h"), "the cursor is back: {text:?}");
}
