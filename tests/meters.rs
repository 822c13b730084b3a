//! Faults of a meter while `carbon top` runs: the other domain goes on, nothing jumps, the lost energy is stated, and the
//! domain comes back without a restart.

use crate::support::{alone, kernel_or_skip};
use serde_json::Value;
use std::cell::Cell;
use std::fs;
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

/// How far what was metered may be from what the counters were to show: on a busy machine they are written late. What a
/// fault of a fifth of the time would lose is twice as much.
const TOLERANCE_RATIO: f64 = 0.1;

/// Watts of the package and of its memory.
const WATTS: [u64; 2] = [40, 6];

/// What a fault does to the package's counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The file has this text instead.
    Text(&'static str),
    /// It is away.
    Missing,
    /// It fails with EIO.
    Io,
    /// It may not be read: who runs as root must have been denied `CAP_DAC_OVERRIDE` and `CAP_DAC_READ_SEARCH`.
    Denied,
    /// A read of it does not return.
    Hang,
    /// It keeps its value.
    Stuck,
    /// It starts again at zero.
    Reset,
    /// It is far ahead for a moment.
    Jump,
}

/// A sysfs with this machine's processors and a package whose counters run in real time.
struct Tree {
    directory: tempfile::TempDir,
    files: [PathBuf; 2],
    stop: Arc<AtomicBool>,
    /// The package's file is left alone.
    held: Arc<AtomicBool>,
    /// Subtracted from the package's value.
    origin_uj: Arc<AtomicU64>,
    writer: Option<JoinHandle<()>>,
    /// The other end of a pipe: while it is open, a read does not return.
    pipe: Cell<Option<fs::File>>,
}

impl Tree {
    fn new(range_uj: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path();
        for shared in ["devices", "kernel", "fs"] {
            symlink(Path::new("/sys").join(shared), top.join(shared)).unwrap();
        }
        let files = ["intel-rapl:0", "intel-rapl:0:0"].map(|zone| {
            let folder = top.join("class/powercap").join(zone);
            fs::create_dir_all(&folder).unwrap();
            let name = if zone.ends_with(":0:0") { "dram" } else { "package-0" };
            fs::write(folder.join("name"), name).unwrap();
            fs::write(folder.join("max_energy_range_uj"), range_uj.to_string()).unwrap();
            folder.join("energy_uj")
        });
        let (stop, held) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let origin_uj = Arc::new(AtomicU64::new(0));
        let mut tree = Self { directory, files, stop, held, origin_uj, writer: None, pipe: Cell::new(None) };
        let begun = Instant::now();
        tree.write(begun, range_uj);
        let own =
            (tree.files.clone(), Arc::clone(&tree.stop), Arc::clone(&tree.held), Arc::clone(&tree.origin_uj));
        tree.writer = Some(std::thread::spawn(move || {
            let (files, stop, held, origin_uj) = own;
            while !stop.load(Ordering::Acquire) {
                write(
                    &files,
                    begun,
                    range_uj,
                    held.load(Ordering::Acquire),
                    origin_uj.load(Ordering::Acquire),
                );
                sleep(Duration::from_millis(2));
            }
        }));
        tree
    }

    fn write(&self, begun: Instant, range_uj: u64) {
        write(&self.files, begun, range_uj, false, 0);
    }

    fn begin(&self, fault: Fault) {
        let file = &self.files[0];
        self.held.store(true, Ordering::Release);
        sleep(Duration::from_millis(10));
        let beside = file.with_extension("fault");
        match fault {
            Fault::Text(text) => fs::write(&beside, text).unwrap(),
            Fault::Missing => return fs::remove_file(file).unwrap(),
            Fault::Io => symlink("/proc/self/mem", &beside).unwrap(),
            Fault::Hang => {
                use rustix::fs::{CWD, FileType, Mode, mknodat};
                mknodat(CWD, &beside, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
                // For both, so that the opening itself waits for nobody (fifo(7)).
                let both = fs::OpenOptions::new().read(true).write(true).open(&beside).unwrap();
                self.pipe.set(Some(both));
            }
            Fault::Denied => return fs::set_permissions(file, Permissions::from_mode(0o000)).unwrap(),
            Fault::Stuck => return,
            Fault::Reset => {
                let now: u64 = fs::read_to_string(file).unwrap().trim().parse().unwrap();
                self.origin_uj.fetch_add(now, Ordering::AcqRel);
                return self.held.store(false, Ordering::Release);
            }
            Fault::Jump => fs::write(&beside, "9000000000000\n").unwrap(),
        }
        fs::rename(&beside, file).unwrap();
    }

    fn end(&self) {
        self.held.store(false, Ordering::Release);
        sleep(Duration::from_millis(20));
        drop(self.pipe.take());
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(writer) = self.writer.take() {
            writer.join().unwrap();
        }
    }
}

/// Whole files at once: a reader never sees half of one.
fn write(files: &[PathBuf; 2], begun: Instant, range_uj: u64, held: bool, origin_uj: u64) {
    let us = u64::try_from(begun.elapsed().as_micros()).unwrap();
    for (place, (file, watts)) in files.iter().zip(WATTS).enumerate() {
        let uj = 5_000_000 + us * watts - if place == 0 { origin_uj } else { 0 };
        if place == 0 && held {
            continue;
        }
        let beside = file.with_extension("next");
        fs::write(&beside, format!("{}\n", uj % range_uj)).unwrap();
        fs::rename(beside, file).unwrap();
    }
}

/// A report of six seconds, with what was said; `during` is done meanwhile.
fn top(tree: &Tree, interval: &str, during: impl FnOnce()) -> (Value, String) {
    top_by(Command::new(env!("CARGO_BIN_EXE_carbon")), tree, interval, during)
}

fn top_by(mut command: Command, tree: &Tree, interval: &str, during: impl FnOnce()) -> (Value, String) {
    command.args(["top", "--once", "--format", "json", "--zone", "FR", "--duration", "6s"]);
    command.args(["--interval", interval]).env("CARBON_STATE", "none");
    // An unoptimised program costs more than it may: its windows are not to be widened for that.
    command.args(["--max-overhead", "100"]);
    command.arg("--sysfs-root").arg(tree.directory.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    during();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    (serde_json::from_slice(&output.stdout).unwrap(), said)
}

fn domain<'r>(report: &'r Value, kind: &str) -> &'r Value {
    report["domains"].as_array().unwrap().iter().find(|domain| domain["domain"] == kind).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn watts(report: &Value, kind: &str) -> f64 {
    number(&domain(report, kind)["metered_uj"]) * 1e3 / number(&report["duration_ns"])
}

#[test]
fn every_fault_of_a_counter_passes_without_a_restart() {
    if !kernel_or_skip("every_fault_of_a_counter_passes_without_a_restart") {
        return;
    }
    let _alone = alone();
    let faults = [
        Fault::Text(""),
        Fault::Text("<no counter>\n"),
        Fault::Text("0\n"),
        Fault::Missing,
        Fault::Io,
        Fault::Hang,
        Fault::Stuck,
        Fault::Reset,
        Fault::Jump,
    ];
    for fault in faults {
        let tree = Tree::new(262_143_328_850);
        let (report, said) = top(&tree, "200ms", || {
            sleep(Duration::from_secs(2));
            tree.begin(fault);
            sleep(Duration::from_millis(1200));
            tree.end();
        });
        let package = domain(&report, "package");
        println!("{fault:?}: {:.2} W, {package}", watts(&report, "package"));
        assert!(number(&report["windows"]) >= 24.0, "{fault:?} held up the windows: {}", report["windows"]);
        let memory = domain(&report, "dram");
        // One edge may come too late for it where every CPU is busy.
        assert!(number(&memory["unread"]) <= 1.0 && memory["gaps"] == 0, "{fault:?}: {memory}");
        assert!((watts(&report, "dram") / 6.0 - 1.0).abs() < TOLERANCE_RATIO, "{fault:?}: {memory}");
        let parts: f64 = ["dynamic_uj", "static_uj", "lost_uj"].iter().map(|key| number(&package[key])).sum();
        assert!((number(&package["metered_uj"]) - parts).abs() < 0.5, "{fault:?}: {package}");
        let lines = |word: &str| said.lines().filter(|line| line.contains(word)).count();
        let own = |word: &str| lines(&format!("powercap intel-rapl:0 {word}"));
        let (lost, back) = (own("gives no energy from here on"), own("is read again after"));
        match fault {
            Fault::Reset => {
                // One window at most, and that is said.
                let watts = watts(&report, "package");
                assert!((36.0..41.0).contains(&watts), "{watts}");
                assert_eq!((&package["gaps"], lost), (&1.into(), 0), "{package} {said}");
                assert!(
                    number(&package["gap_ns"]) > 1.5e8 && report["notes"].to_string().contains("hid some")
                );
            }
            Fault::Jump => {
                assert!((number(&package["gaps"]) - 2.0).abs() < 0.5, "up and down again: {package}");
                assert!((27.0..41.0).contains(&watts(&report, "package")), "{package}");
                assert_eq!(lines("cannot be true"), 1, "{said}");
            }
            _ => {
                assert!(
                    (watts(&report, "package") / 40.0 - 1.0).abs() < TOLERANCE_RATIO,
                    "{fault:?}: {package}"
                );
                assert_eq!(package["gaps"], 0, "{fault:?}");
                assert!(number(&package["unread"]) >= 2.0, "{fault:?}: {package}");
                assert_eq!((lost, back), (1, 1), "{fault:?}, one line each way: {said}");
            }
        }
    }
}

/// A right that is withdrawn and given back while it runs, as who is not root, and as root without the rights to read what
/// is not its own.
#[test]
fn a_right_that_comes_back_is_used_without_a_restart() {
    let _alone = alone();
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let confined = ["--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"];
    let cases: &[(&str, &[&str])] = if rustix::process::geteuid().is_root() {
        &[("nobody", &nobody), ("root without CAP_DAC_OVERRIDE", &confined)]
    } else {
        &[("who runs the tests", &[])]
    };
    for (who, rights) in cases {
        let tree = Tree::new(262_143_328_850);
        let folder = tree.directory.path();
        fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
        // Folders on the way to the built one may be closed to others.
        let carbon = folder.join("carbon");
        fs::copy(env!("CARGO_BIN_EXE_carbon"), &carbon).unwrap();
        let command = if rights.is_empty() {
            Command::new(carbon)
        } else {
            let mut command = Command::new("setpriv");
            command.args(*rights).arg(carbon);
            command
        };
        let (report, said) = top_by(command, &tree, "200ms", || {
            sleep(Duration::from_secs(2));
            tree.begin(Fault::Denied);
            sleep(Duration::from_millis(1200));
            fs::set_permissions(&tree.files[0], Permissions::from_mode(0o644)).unwrap();
            tree.end();
        });
        let (package, memory) = (domain(&report, "package"), domain(&report, "dram"));
        assert_eq!(package["source"], "powercap intel-rapl:0", "{who}: {report:#}");
        for (watts, expected) in [(watts(&report, "package"), 40.0), (watts(&report, "dram"), 6.0)] {
            assert!((watts / expected - 1.0).abs() < TOLERANCE_RATIO, "{who}: {watts} W, {package} {memory}");
        }
        assert!(number(&memory["unread"]) <= 1.0, "{who}: {memory}");
        assert!(number(&package["unread"]) >= 1.0 && package["gaps"] == 0, "{who}: {package}");
        let lines = |word: &str| said.lines().filter(|line| line.contains(word)).collect::<Vec<_>>();
        let [denied] = lines("intel-rapl:0 gives no energy from here on")[..] else {
            panic!("{who}: {said}")
        };
        assert!(denied.contains("energy_uj: permission denied; run as root or give"), "{who}: {denied}");
        assert_eq!(lines("intel-rapl:0 is read again after").len(), 1, "{who}: {said}");
    }
}

#[test]
fn a_counter_that_wraps_within_a_window_loses_nothing() {
    if !kernel_or_skip("a_counter_that_wraps_within_a_window_loses_nothing") {
        return;
    }
    let _alone = alone();
    // 40 W wrap 100 J in 2.5 s, 20 J in half of one: more often than windows of a second end.
    for range_uj in [100_000_000, 20_000_000] {
        let tree = Tree::new(range_uj);
        let (report, _) = top(&tree, "3s", || {});
        for (kind, expected) in [("package", 40.0), ("dram", 6.0)] {
            let found = watts(&report, kind);
            assert!((found / expected - 1.0).abs() < 0.06, "{range_uj}, {kind}: {found} W");
            assert_eq!(domain(&report, kind)["gaps"], 0, "{range_uj}, {kind}");
        }
    }
}

/// A server's own meter, by the ACPI driver, beside the processor's.
#[test]
fn the_sum_is_held_against_the_machines_own_meter() {
    let _alone = alone();
    let tree = Tree::new(262_143_328_850);
    let sensor = tree.directory.path().join("class/hwmon/hwmon0/device");
    fs::create_dir_all(&sensor).unwrap();
    fs::write(sensor.join("name"), "power_meter\n").unwrap();
    fs::write(sensor.join("power1_average_interval"), "1000\n").unwrap();
    // 46 W of parts.
    for (watts, said, advised) in
        [(100, "the rest is what no meter has", false), (20, "cannot exceed the whole", true)]
    {
        fs::write(sensor.join("power1_average"), format!("{watts}000000\n")).unwrap();
        let mut doctor = Command::new(env!("CARGO_BIN_EXE_carbon"));
        doctor.args(["doctor", "--format", "json", "--sysfs-root"]).arg(tree.directory.path());
        let output = doctor.env("CARBON_STATE", "none").env("CARBON_STORE", "none").output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let meters = report["meters"].as_array().unwrap();
        let of = |name: &str| meters.iter().find(|meter| meter["name"] == name);
        let sum = of("powercap against hwmon power_meter power1").unwrap_or_else(|| panic!("{report:#}"));
        assert!(sum["reason"].as_str().unwrap().contains(said), "{watts} W: {sum}");
        assert_eq!(sum["advice"].is_string(), advised, "{sum}");
        assert_eq!(of("powercap").unwrap()["reason"], "reads intel-rapl:0, intel-rapl:0:0", "{report:#}");
        let alone = of("hwmon").unwrap()["reason"].as_str().unwrap();
        assert!(
            alone.contains("no joule may count twice") || alone.contains("between several packages"),
            "{alone}"
        );
    }
}
