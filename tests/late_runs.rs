//! Runs whose ledger cannot be written when they end: they wait in a file, and are in the ledger later, once.

#![expect(clippy::unwrap_used, reason = "clippy excuses functions with #[test] only, not those they call")]

use crate::ledger::file;
use crate::measuring::document;
use crate::postgres::Server;
use carbon_user::ledger::rows::{BalanceRow, DomainId, RunEnd, RunStart, RunStatus};
use carbon_user::ledger::runs::{KeptRun, RunFilter};
use carbon_user::ledger::sql::Database;
use carbon_user::ledger::sqlite::Sqlite;
use carbon_user::ledger::{Ledger, Location, late};
use carbon_user::units::{CpuNanos, Microjoules, Quality};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

fn start(id: &str) -> RunStart {
    RunStart {
        id: id.into(),
        node: "n".into(),
        organisation: None,
        project: Some("p".into()),
        experiment: None,
        name: None,
        series: None,
        tags: vec!["t".into()],
        command: vec!["true".into()],
        start_us: 1_000_000,
    }
}

fn end(exit_status: i64, metered: u64) -> RunEnd {
    RunEnd {
        status: RunStatus::Done,
        exit_status,
        end_us: 2_000_000,
        duration_ns: 1_000_000_000,
        outlived_by: 0,
        cpu: CpuNanos(5),
        accounting: "proc".into(),
        attribution: "cpu-time".into(),
        static_policy: "none".into(),
        hardware: "h".into(),
        report: "null".into(),
        energies: Vec::new(),
        domains: vec![BalanceRow {
            domain: DomainId {
                domain: "package".into(),
                device: "0".into(),
                source: "model".into(),
                quality: Quality::Modelled,
            },
            covered_ns: 0,
            metered: Microjoules(metered),
            attributed: Microjoules(60),
            static_energy: Microjoules(30),
            lost: Microjoules(10),
            gaps: 0,
        }],
    }
}

fn kept(id: &str, exit_status: i64) -> KeptRun {
    KeptRun { start: start(id), end: Some(end(exit_status, 100)) }
}

/// What waits completes the run that was begun, is not taken twice, and needs no beginning.
#[test]
fn a_run_that_waited_is_taken_once() {
    let directory = tempfile::tempdir().unwrap();
    let location = file(directory.path(), "a.db");
    let mut ledger = Ledger::open(&location).unwrap();
    ledger.begin_run(&start("one")).unwrap();
    assert!(!late::is_waiting(&location));
    let path = late::keep(&location, &kept("one", 0)).unwrap();
    late::keep(&location, &kept("two", 3)).unwrap();
    let folder = path.parent().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(folder)), (0o600, 0o700));
    assert_eq!(folder, directory.path().join("a.db-runs"));
    assert!(late::is_waiting(&location));
    let all = |ledger: &mut Ledger| ledger.runs(&RunFilter::default()).unwrap();
    assert_eq!(all(&mut ledger).iter().map(KeptRun::status).collect::<Vec<_>>(), [RunStatus::Running]);
    let mut next = Ledger::open(&location).unwrap();
    let taken = all(&mut next);
    let of =
        |run: &KeptRun| (run.start.id.clone(), run.end.clone().map(|end| (end.exit_status, end.domains)));
    let domains = end(0, 100).domains;
    assert_eq!(
        taken.iter().map(of).collect::<Vec<_>>(),
        [("one".to_owned(), Some((0, domains.clone()))), ("two".to_owned(), Some((3, domains)))]
    );
    assert!(!folder.exists(), "nothing is left");
    // Who comes late with the same run changes nothing.
    late::keep(&location, &kept("one", 9)).unwrap();
    assert_eq!(all(&mut Ledger::open(&location).unwrap()), taken);
    assert!(!folder.exists());
}

#[test]
fn what_is_no_run_and_what_others_could_write_is_not_taken() {
    let directory = tempfile::tempdir().unwrap();
    let location = file(directory.path(), "a.db");
    drop(Ledger::open(&location).unwrap());
    let path = late::keep(&location, &kept("one", 0)).unwrap();
    let folder = path.parent().unwrap().to_owned();
    fs::write(folder.join("bad.json"), "no line\n").unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    let runs = |location| Ledger::open(location).unwrap().runs(&RunFilter::default()).unwrap().len();
    assert_eq!(runs(&location), 0, "anybody could have written it");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(runs(&location), 1);
    assert!(folder.join("bad.refused").exists() && !path.exists(), "it is kept, and not looked at again");
    assert!(late::keep(&location, &kept("../one", 0)).is_err(), "an id is no path");
}

/// `import` and `verify` look at the balance of a run.
#[test]
fn a_run_that_does_not_balance_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let location = file(directory.path(), "a.db");
    let mut ledger = Ledger::open(&location).unwrap();
    ledger.end_run(&start("one"), &end(0, 100)).unwrap();
    assert_eq!(ledger.verify().unwrap().faults, Vec::<String>::new());
    let mut lines = Vec::new();
    ledger.export(&mut lines).unwrap();
    let good = String::from_utf8(lines).unwrap();
    let bad = good.replace(r#""metered_uj":100"#, r#""metered_uj":101"#);
    assert_ne!(good, bad);
    let mut other = Ledger::open(&file(directory.path(), "b.db")).unwrap();
    let error = other.import(&mut bad.as_bytes()).unwrap_err().to_string();
    assert!(
        error.contains(
            "cannot import line 2: run one: the parts of package 0 of model are not what was metered"
        ),
        "{error}"
    );
    assert_eq!(other.import(&mut good.as_bytes()).unwrap().runs, 1);
    let Location::File(path) = &location else { unreachable!() };
    Sqlite::open(path).unwrap().batch("UPDATE run_domain SET metered_uj = metered_uj + 1").unwrap();
    assert_eq!(
        ledger.verify().unwrap().faults,
        ["run one: the parts of package 0 of model are not what was metered"]
    );
}

fn carbon(store: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carbon"));
    command.args(arguments).env_remove("CARBON_ZONE").env_remove("CARBON_PUE").env("CARBON_STORE", store);
    command
}

/// A run whose command ends, with status 3, when `gate` is there; it is there only after the run was written.
fn waits_for(store: &str, gate: &Path) -> Child {
    let script = format!("touch {0}.begun; while [ ! -e {0} ]; do sleep 0.05; done; exit 3", gate.display());
    let run =
        ["run", "--quiet", "--accounting", "proc", "--meter=model", "--no-agent", "--", "sh", "-c", &script];
    let child = carbon(store, &run).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = gate.with_extension("begun");
    while !begun.exists() {
        std::thread::sleep(Duration::from_millis(20));
    }
    child
}

fn said(ended: &Output) -> String {
    String::from_utf8_lossy(&ended.stderr).into_owned()
}

fn statuses(store: &str) -> Vec<String> {
    let list = carbon(store, &["runs", "list", "--format", "json"]).output().unwrap();
    let runs = document(&list.stdout)["runs"].as_array().unwrap().clone();
    runs.iter().map(|run| run["status"].as_str().unwrap().to_owned()).collect()
}

/// Another writer holds the ledger for longer than it is waited for: the command's status holds, and the run comes later.
#[test]
fn a_locked_ledger_loses_no_run() {
    let directory = tempfile::tempdir().unwrap();
    let (path, gate) = (directory.path().join("a.db"), directory.path().join("gate"));
    let store = path.to_str().unwrap();
    let child = waits_for(store, &gate);
    let mut other = Sqlite::open(&path).unwrap();
    other.batch("BEGIN IMMEDIATE").unwrap();
    fs::write(&gate, "").unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(3), "{}", said(&ended));
    assert!(said(&ended).contains("is not in the ledger yet"), "{}", said(&ended));
    assert!(said(&ended).contains("a.db-runs/"), "{}", said(&ended));
    other.batch("ROLLBACK").unwrap();
    assert_eq!(statuses(store), ["running"]);
    let verified = carbon(store, &["ledger", "verify"]).output().unwrap();
    assert!(verified.status.success(), "{}", said(&verified));
    assert_eq!(statuses(store), ["failed"]);
    assert!(!directory.path().join("a.db-runs").exists());
}

#[test]
fn a_server_that_stops_loses_no_run() {
    let Some(mut server) = Server::start_or_skip("a_server_that_stops_loses_no_run") else { return };
    let directory = tempfile::tempdir().unwrap();
    let gate = directory.path().join("gate");
    let store = server.database("late");
    let child = waits_for(&store, &gate);
    server.stop();
    fs::write(&gate, "").unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(3), "{}", said(&ended));
    assert!(said(&ended).contains("is not in the ledger yet") && !said(&ended).contains("secret"));
    server.start_again();
    assert_eq!(statuses(&store), ["failed"], "a server is opened to write by who reads, too");
}
