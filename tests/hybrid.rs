//! The agent on a hybrid host, where a container has a unit to itself in cgroup2 and only version 1 names it.

use crate::agent::{Machine, Named, ask, end};
use crate::support::{TestCgroup, enter};
use carbon_user::ledger::{Ledger, Location};
use rustix::process::Signal;
use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

/// Nobody is asked for names: the processes tell it by themselves, from the first window on.
#[test]
fn a_container_of_a_hybrid_host_is_whose_its_processes_say() {
    let test = "a_container_of_a_hybrid_host_is_whose_its_processes_say";
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: {test}: only root makes cgroups");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let named = Named::mount(folder.path().join("v1"));
    let id = format!("{:x}{}", 0x9d5c_0000_0000_u64 + u64::from(std::process::id()), "5a".repeat(26));
    let (docker, container) = (named.0.join("docker"), named.0.join("docker").join(&id));
    fs::create_dir_all(&container).unwrap();
    let unit = TestCgroup::new("docker1.service");
    let script = format!("{} && {} && while :; do :; done", enter(&container), enter(&unit.path));
    let mut busy = Command::new("sh").arg("-c").arg(script).spawn().unwrap();
    let is_in =
        || fs::read_to_string(unit.path.join("cgroup.procs")).unwrap().contains(&busy.id().to_string());
    assert!((0..100).any(|_| is_in() || {
        sleep(Duration::from_millis(20));
        false
    }));

    let machine = Machine::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut options = vec!["--interval", "200ms", "--flush", "500ms", "--hierarchy", "cgroup2"];
    options.extend(["--metadata", "off", "--listen", &free, "--metric-aliases", "kepler"]);
    let agent = machine.start(&options);
    let path = format!("/{}", unit.path.file_name().unwrap().display());
    let (mut kinds, mut shown) = (Vec::new(), String::new());
    for _ in 0..40 {
        sleep(Duration::from_millis(100));
        let Some(answer) = ask(&free, "/metrics") else { continue };
        let own = answer.lines().filter(|line| {
            line.starts_with("carbon_workload_energy") && line.contains(&format!("workload=\"{path}\""))
        });
        kinds.extend(own.map(|line| line.contains("kind_of=\"container\"")));
        shown = answer;
        if kinds.len() >= 5 {
            break;
        }
    }
    let (said, status) = end(agent, Signal::TERM);
    busy.kill().unwrap();
    busy.wait().unwrap();
    let emptied = fs::remove_dir(&container).and_then(|()| fs::remove_dir(&docker));
    assert_eq!(status, Some(0), "{said}");
    emptied.unwrap();
    assert!(kinds.len() >= 5 && kinds.iter().all(|is_container| *is_container), "{kinds:?}: {shown}\n{said}");
    let info =
        shown.lines().find(|line| line.starts_with("carbon_workload_info") && line.contains(&path)).unwrap();
    assert!(
        info.contains(&format!("container_id=\"{id}\"")) && info.contains("runtime=\"docker\""),
        "{info}"
    );
    let alias = |line: &str| line.starts_with("kepler_container_cpu_joules") && line.contains(&id);
    assert!(shown.lines().any(alias), "{shown}");
    let mut ledger = Ledger::open(&Location::File(machine.path("ledger.db"))).unwrap();
    let rows: Vec<_> = ledger.workloads().unwrap().into_values().filter(|row| row.identity == path).collect();
    assert!(!rows.is_empty() && rows.iter().all(|row| row.container.as_deref() == Some(&id)), "{rows:?}");
}
