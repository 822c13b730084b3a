//! Agents of several nodes that write to one PostgreSQL, and what is asked of it: by node, and by a job that ran on all of
//! them, beside what Slurm says; and a job by the name, user and account that Slurm's prolog notes. The nodes are this machine under several names, each with a meter of its own.

use crate::agent::{Machine, ask, end};
use crate::postgres::Server;
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const JOB: &str = "4711";
const NODES: [&str; 3] = ["n001", "n002", "n003"];

/// The cgroup of a job's step as slurmd makes it on a host with cgroup2, with a task that computes; gone at the end.
struct Step {
    top: PathBuf,
    path: PathBuf,
    task: Child,
}

impl Step {
    fn new() -> Self {
        let top = crate::support::root().cgroup2().unwrap().unwrap().path;
        let path = top.join(format!("system.slice/slurmstepd.scope/job_{JOB}/step_0/user/task_0"));
        fs::create_dir_all(&path).unwrap();
        let script = format!("{} && while :; do :; done", crate::support::enter(&path));
        let task = Command::new("sh").arg("-c").arg(script).spawn().unwrap();
        Self { top, path, task }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        let _gone = self.task.kill();
        let _status = self.task.wait();
        sleep(Duration::from_millis(100));
        // Those above may be a real host's, and then are not empty.
        for path in self.path.ancestors().take_while(|path| *path != self.top) {
            let _busy = fs::remove_dir(path);
        }
    }
}

fn agent(machine: &Machine, node: &str, store: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_carbon"))
        .args(["agent", "--meter", "powercap", "--accounting", "cpustat", "--hierarchy", "cgroup2"])
        .args(["--state", "none", "--resume", "none", "--socket", "none", "--listen", "none"])
        .args(["--interval", "200ms", "--flush", "1s", "--static", "proportional", "--zone", "FR"])
        .args(["--metadata", "off", "--node", node, "--store", store, "--sysfs-root"])
        .arg(machine.path("sys"))
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn report(store: &str, by: &str) -> serde_json::Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carbon"));
    let output = command.args(["report", "--store", store, "--by", by, "--format", "json"]).output().unwrap();
    serde_json::from_str(&said(&output)).unwrap()
}

fn energy(row: &serde_json::Value) -> u64 {
    row["dynamic_uj"].as_u64().unwrap() + row["static_uj"].as_u64().unwrap()
}

/// A program of this name that says this.
fn stub(folder: &Path, name: &str, script: &str) {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn slurm(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/slurm").join(name)
}

#[test]
fn agents_of_many_nodes_write_to_one_server_and_a_job_is_the_sum_of_its_nodes() {
    const TEST: &str = "agents_of_many_nodes_write_to_one_server";
    if !rustix::process::geteuid().is_root() || crate::support::root().cgroup2().ok().flatten().is_none() {
        println!("SKIPPED: {TEST}: only root makes cgroups, where cgroup2 is mounted");
        return;
    }
    let Some(server) = Server::start_or_skip(TEST) else { return };
    let store = server.database("fleet");
    let step = Step::new();
    let machines = NODES.map(|_| Machine::new());
    // All at once, on a database that is empty: one of them makes the tables.
    let agents: Vec<Child> =
        machines.iter().zip(NODES).map(|(machine, node)| agent(machine, node, &store)).collect();
    sleep(Duration::from_secs(6));
    for agent in agents {
        let (said, status) = end(agent, Signal::TERM);
        assert_eq!(status, Some(0), "{said}");
        assert!(!said.contains("level=error") && !said.contains("not written"), "{said}");
    }
    drop(step);

    let by_node = report(&store, "node");
    let rows = by_node["rows"].as_array().unwrap();
    let mut keys: Vec<_> = rows.iter().map(|row| row["key"].as_str().unwrap()).collect();
    keys.sort_unstable();
    assert_eq!(keys, NODES);
    assert!(rows.iter().all(|row| energy(row) > 1_000_000), "{rows:?}");
    assert_eq!(by_node["reconciliation"]["holds"], true, "{by_node}");

    let by_job = report(&store, "job");
    let job = by_job["rows"].as_array().unwrap().iter().find(|row| row["key"] == JOB).unwrap();
    let job_uj = energy(job);
    assert!(job_uj > 0 && job_uj < rows.iter().map(energy).sum::<u64>(), "{by_job}");
    // Of each node a part, and these are the whole.
    let has = |condition: &str| {
        let joined = "energy JOIN series ON series.id = energy.series JOIN workload ON workload.id = series.workload \
                      JOIN node ON node.id = series.node";
        let of_job = format!("WHERE job = '{JOB}' AND level_s = 86400");
        server.sql("fleet", &format!("SELECT 1 / ({condition})::int FROM {joined} {of_job}"))
    };
    assert!(has("count(DISTINCT node.name) = 3"), "{by_job}");
    assert!(has(&format!("sum(energy_uj) = {job_uj}")), "{by_job}");
    assert!(!has("count(DISTINCT node.name) = 2"), "the question can fail");

    beside_slurm(&store, job_uj);
}

/// `carbon-job` on the same ledger, with a stub in `sacct`'s place that tells the energy of three whole nodes.
fn beside_slurm(store: &str, job_uj: u64) {
    let folder = tempfile::tempdir().unwrap();
    let slurm_j = 4 * job_uj / 1_000_000;
    let now = "$(date +%s)";
    stub(
        folder.path(),
        "sacct",
        &format!(
            "[ \"$SLURM_TIME_FORMAT\" = %s ] || exit 9\nn={now}\n\
             echo \"{JOB}|$((n - 60))|Unknown|3|{slurm_j}\"\necho \"9|$((n - 600))|$((n - 500))|1|18446744073709551614\"\n\
             echo \"10|$((n - 600))|$((n - 500))|1|0\""
        ),
    );
    let output = Command::new(slurm("carbon-job"))
        .args([JOB, "9", "10"])
        .env("PATH", format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap()))
        .env("CARBON", env!("CARGO_BIN_EXE_carbon"))
        .env("CARBON_STORE", store)
        .env("TZ", "America/New_York")
        .output()
        .unwrap();
    let text = said(&output);
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        lines[0],
        ["JOBID", "NODES", "ELAPSED_S", "CARBON_J", "CO2E_G", "QUALITY", "SLURM_J", "SHARE"]
    );
    let joules = format!("{:.1}", job_uj as f64 / 1e6);
    assert_eq!(
        (lines[1][0], lines[1][1], lines[1][3], lines[1][7]),
        (JOB, "3", joules.as_str(), "25%"),
        "{text}"
    );
    assert_eq!((lines[2][0], lines[2][3], lines[2][6]), ("9", "-", "-"), "{text}");
    // What a real sacct says of a machine whose energy nobody gathers.
    assert_eq!((lines[3][0], lines[3][3], lines[3][6]), ("10", "-", "-"), "{text}");
    let wrong = Command::new(slurm("carbon-job")).arg("4711; reboot").output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
}

/// The prolog's note is in metrics and in the ledger, where the job's number alone was before.
#[test]
fn a_job_has_what_slurms_prolog_notes() {
    const TEST: &str = "a_job_has_what_slurms_prolog_notes";
    if !rustix::process::geteuid().is_root() || crate::support::root().cgroup2().ok().flatten().is_none() {
        println!("SKIPPED: {TEST}: only root makes cgroups, where cgroup2 is mounted");
        return;
    }
    let machine = Machine::new();
    let notes = machine.path("notes");
    let prolog = Command::new(slurm("prolog.sh"))
        .env("CARBON_SLURM_DIR", &notes)
        .envs([("SLURM_JOB_ID", JOB), ("SLURM_JOB_USER", "ada"), ("SLURM_JOB_ACCOUNT", "physics")])
        .envs([("SLURM_JOB_PARTITION", "gpu"), ("SLURM_JOB_NAME", "relax|NVT\n300 K")])
        .status()
        .unwrap();
    assert!(prolog.success());
    let step = Step::new();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let dir = notes.display().to_string();
    let options = ["--interval", "200ms", "--flush", "1s", "--hierarchy", "cgroup2", "--listen", &free];
    let agent = machine.start(&[&options[..], &["--slurm-dir", &dir]].concat());
    let wanted = r#"job_user="ada",job_name="relax|NVT",job_account="physics",job_partition="gpu""#;
    let named = (0..100).any(|_| {
        sleep(Duration::from_millis(100));
        let answer = ask(&free, "/metrics").unwrap_or_default();
        answer.lines().any(|line| line.starts_with("carbon_workload_info") && line.contains(wanted))
    });
    // The minute in which it has a name is written at the end.
    let (said, status) = end(agent, Signal::TERM);
    drop(step);
    assert!(named, "{said}");
    assert_eq!(status, Some(0), "{said}");
    let store = machine.path("ledger.db").display().to_string();
    let row = |by: &str, key: &str| {
        let rows = report(&store, by)["rows"].as_array().unwrap().clone();
        rows.into_iter().find(|row| row["key"] == key).unwrap_or_else(|| panic!("no {key} by {by}"))
    };
    assert_eq!(row("job", JOB)["name"], "relax|NVT");
    let job_uj = energy(&row("job", JOB));
    assert!(job_uj > 0);
    assert_eq!((energy(&row("user", "ada")), energy(&row("account", "physics"))), (job_uj, job_uj));
}

/// Prolog and epilog with a stub in the program's place: the line that they leave, and that neither ever fails or waits.
#[test]
fn prolog_and_epilog_leave_a_line_and_never_fail() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let csv = "key,cpu_ns,dynamic_uj,static_uj,stddev_uj,grams,grams_interval,quality\\n\
               471,1,9,9,9,9,,measured\\n4711,1,2500000,500000,1,0.25,,sampled\\n";
    stub(folder.path(), "carbon", &format!("echo \"$@\" >>{}; printf '{csv}'", at("asked").display()));
    // As on a machine that is slow just then.
    stub(folder.path(), "setsid", "sleep 0.3; PATH=${PATH#*:}; exec setsid \"$@\"");
    let run = |script: &str, job: &str, folder: &Path| {
        let begun = Instant::now();
        let mut child = Command::new(slurm(script))
            .process_group(0)
            .env("PATH", format!("{}:{}", at("").display(), std::env::var("PATH").unwrap()))
            .env("CARBON", at("carbon"))
            .env("CARBON_SLURM_DIR", folder)
            .env("CARBON_SLURM_LOG", at("log"))
            .env("CARBON_SLURM_WAIT_S", "2")
            .env("SLURM_JOB_ID", job)
            .env("SLURM_JOB_USER", "ada")
            .env("SLURM_JOB_ACCOUNT", "phys\"ics")
            .env("SLURM_JOB_PARTITION", "gpu")
            .env("CARBON_SLURM_NAMES", "squeue")
            .env("CARBON_SLURM_SQUEUE", at("squeue"))
            .spawn()
            .unwrap();
        let status = child.wait().unwrap();
        // slurmd ends what a script has left in its group (run_script, src/slurmd/common/run_script.c).
        let _gone = kill_process_group(Pid::from_child(&child), Signal::KILL);
        assert_eq!(status.code(), Some(0), "{script} {job}");
        assert!(begun.elapsed() < Duration::from_secs(2), "{script} waits");
    };
    let notes = at("notes");
    // Slurm 22.05 tells its prolog no name: another program is asked where that is wanted, and it is waited for by nobody.
    stub(
        folder.path(),
        "squeue",
        "sleep 0.5; [ \"$*\" = '--noheader --jobs 4711 --format %j' ] && echo 'relax|NVT'",
    );
    run("prolog.sh", JOB, &notes);
    let note = || fs::read_to_string(notes.join(JOB)).unwrap();
    let first = note();
    assert!(first.ends_with("|ada|phys\"ics|gpu|\n"), "{first}");
    let begun = Instant::now();
    while !note().ends_with("|gpu|relax|NVT\n") {
        assert!(begun.elapsed() < Duration::from_secs(10), "{}", note());
        sleep(Duration::from_millis(50));
    }
    assert_eq!(note().split_once('|').unwrap().0, first.split_once('|').unwrap().0, "it began when it began");
    assert_eq!(fs::read_dir(&notes).unwrap().count(), 1, "nothing else is left there");
    run("epilog.sh", JOB, &notes);
    let begun = Instant::now();
    while notes.join(JOB).exists() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the line is not written");
        sleep(Duration::from_millis(50));
    }
    let line: serde_json::Value = serde_json::from_str(&fs::read_to_string(at("log")).unwrap()).unwrap();
    assert_eq!(
        (&line["job"], &line["user"], &line["account"]),
        (&4711.into(), &"ada".into(), &"phys?ics".into())
    );
    assert_eq!((&line["dynamic_uj"], &line["static_uj"]), (&2_500_000.into(), &500_000.into()));
    assert_eq!((&line["quality"], &line["grams"]), (&"sampled".into(), &0.25.into()));
    let asked = fs::read_to_string(at("asked")).unwrap();
    assert!(asked.starts_with("report --by job --format csv --equivalents none --from 20"), "{asked}");
    // No number, no note of the start, a folder that cannot be made: nothing, without an error.
    for (job, folder) in
        [("", notes.as_path()), ("../x", &notes), ("5", &notes), ("6", Path::new("/proc/no"))]
    {
        run("prolog.sh", job, Path::new("/proc/no"));
        run("epilog.sh", job, folder);
    }
}
