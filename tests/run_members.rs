//! The kernel's map of the processes of runs: what has gone gives its place to others, however it went.

use crate::stress::start_in;
use crate::support::{TestCgroup, alone, exact_rungs, kernel_or_skip, root, topology};
use carbon_user::sched::{Accounting, Limits, Rung, open};
use carbon_user::units::RunId;
use std::process::Command;

/// Room for fewer processes than come.
const ROOM: u32 = 32;
const PROCESSES: u64 = 40;

fn of_little_room(rung: Rung) -> Box<dyn Accounting> {
    let limits = Limits { members: Some(ROOM), ..Limits::default() };
    open(rung, &root(), &topology(), limits).unwrap()
}

/// Nothing looks at the machine before these runs are closed, and no run is open when their processes end.
#[test]
fn a_closed_run_leaves_no_process_behind() {
    if !kernel_or_skip("a_closed_run_leaves_no_process_behind") {
        return;
    }
    let _alone = alone();
    for rung in exact_rungs("a_closed_run_leaves_no_process_behind") {
        let mut accounting = of_little_room(rung);
        for number in 1..=PROCESSES {
            let enrolment = accounting.runs().open(RunId(number)).unwrap();
            let mut child = start_in(enrolment, "sleep 0.02 & wait");
            accounting.runs().close(RunId(number)).unwrap();
            assert!(child.wait().unwrap().success());
        }
        assert_eq!(accounting.snapshot().unwrap().accounts.lost_events, 0, "{rung}");
    }
}

/// Processes join a run that goes on for long, and end.
#[test]
fn processes_that_joined_a_run_and_ended_make_room() {
    if !kernel_or_skip("processes_that_joined_a_run_and_ended_make_room") {
        return;
    }
    let _alone = alone();
    for rung in exact_rungs("processes_that_joined_a_run_and_ended_make_room") {
        let mut accounting = of_little_room(rung);
        drop(accounting.runs().open(RunId(1)).unwrap());
        for _ in 0..PROCESSES {
            let mut child = Command::new("sleep").arg("0.02").spawn().unwrap();
            assert_eq!(accounting.runs().adopt(RunId(1), child.id()).unwrap().processes, 1);
            assert!(child.wait().unwrap().success());
            accounting.snapshot().unwrap();
        }
        let processes = accounting.runs().processes(RunId(1));
        assert_eq!(processes.listed.len() as u64, PROCESSES, "{rung}: none is forgotten");
    }
}

/// More ends of cgroups than the buffer of events holds: those that were lost are noticed all the same.
#[test]
fn cgroups_whose_end_was_lost_are_known_to_be_gone() {
    if !kernel_or_skip("cgroups_whose_end_was_lost_are_known_to_be_gone") {
        return;
    }
    let _alone = alone();
    for rung in exact_rungs("cgroups_whose_end_was_lost_are_known_to_be_gone") {
        let cgroups: Vec<TestCgroup> =
            (0..200).map(|index| TestCgroup::new(&format!("lost-{index}"))).collect();
        let limits = Limits { event_bytes: Some(4096), ..Limits::default() };
        let mut accounting = open(rung, &root(), &topology(), limits).unwrap();
        let ids: Vec<_> = cgroups.iter().map(|cgroup| cgroup.id).collect();
        assert!(ids.iter().all(|id| accounting.cgroup_path(*id).is_some()));
        drop(cgroups);
        let lost = accounting.snapshot().unwrap().accounts.lost_events;
        assert!(lost > 0, "{rung}: all of them fitted");
        assert!(ids.iter().all(|id| accounting.is_removed(*id)), "{rung}");
    }
}
