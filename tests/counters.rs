//! Events by cgroup, counted by the kernel program that is loaded only where they are asked for.

use crate::measuring::{carbon, has_loaded, number, report, stderr, within_seconds};
use crate::support::{TestCgroup, alone, kernel_or_skip, load};
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

/// Two cgroups at once, taking turns on the same CPUs, touch so many fresh pages each: each has its own faults, within what
/// starting a program takes. What this machine has no counter for is named and absent.
#[test]
fn page_faults_are_counted_by_cgroup() {
    if !kernel_or_skip("page_faults_are_counted_by_cgroup") {
        return;
    }
    let _alone = alone();
    for accounting in ["books", "hook"] {
        let cgroups =
            [(40_000_u64, TestCgroup::new("faults-many")), (15_000, TestCgroup::new("faults-some"))];
        let arguments = ["top", "--once", "--duration", "4s", "--interval", "500ms", "--format", "json"];
        let events = ["--accounting", accounting, "--counters", "page-faults,cycles", "--zone", "FR"];
        let child = carbon(&[&arguments[..], &events].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        assert!(within_seconds(10, || has_loaded(child.id())), "it has loaded");
        sleep(Duration::from_millis(1_500));
        let started: Vec<_> = cgroups
            .iter()
            .map(|(pages, cgroup)| cgroup.start(&format!("exec {} pages {pages}", load().display())))
            .collect();
        for mut load in started {
            assert!(load.wait().unwrap().success());
        }
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let report = report(&output.stdout, "top-1.schema.json");
        let rows = report["workloads"].as_array().unwrap();
        for (pages, cgroup) in &cgroups {
            let name = cgroup.path.file_name().unwrap().to_str().unwrap();
            let row = rows.iter().find(|row| row["name"] == name).unwrap();
            let faults = number(&row["page_faults"]);
            println!("{accounting}: {faults} faults for {pages} pages");
            assert!((*pages..pages + 3_000).contains(&faults), "{faults} faults for {pages} pages");
        }
        // Either it is counted, or it is said why not: it is never zero for what ran.
        let counted = rows.iter().any(|row| !row["cycles"].is_null());
        let notes = report["notes"].to_string();
        assert_ne!(counted, notes.contains("cycles cannot be counted"), "{notes}");
        assert!(rows.iter().all(|row| row["llc_misses"].is_null()), "nobody asked for these");
    }
}

/// Without the option no such program is loaded, and nothing is counted.
#[test]
fn nothing_is_counted_that_nobody_asked_for() {
    if !kernel_or_skip("nothing_is_counted_that_nobody_asked_for") {
        return;
    }
    let _alone = alone();
    let output =
        carbon(&["top", "--once", "--duration", "1s", "--format", "json", "--zone", "FR"]).output().unwrap();
    let report = report(&output.stdout, "top-1.schema.json");
    assert!(report["workloads"].as_array().unwrap().iter().all(|row| row["page_faults"].is_null()));
    let many = ["top", "--once", "--counters", "cycles,instructions,llc-misses,page-faults"];
    let output = carbon(&many).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("more than 3 events"), "{}", stderr(&output));
}
