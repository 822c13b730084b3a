//! Edges of the accounting: switches that are not seen, namespaces, mounts, runs inside runs, windows of no length.

use crate::accounting::{disagreements, edge};
use crate::support::{TestCgroup, alone, kernel_or_skip, load, root, topology};
use carbon_user::sched::{Limits, Rung, open};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Runs `work` while on each CPU a thread of this process wakes up every 10 ms, and takes the CPU from what runs there.
fn beside_wakers(work: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for cpu in 0..std::thread::available_parallelism().unwrap().get() {
            let stop = &stop;
            scope.spawn(move || {
                let mut cpus = rustix::thread::CpuSet::new();
                cpus.set(cpu);
                rustix::thread::sched_setaffinity(None, &cpus).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(10));
                }
            });
        }
        work();
        stop.store(true, Ordering::Relaxed);
    });
}

/// A hypervisor or a guard of the kernel may keep the hook from running while threads of some process are current: the
/// switches away from these are not seen. What the next task runs is booked to it all the same, to its very end, where the
/// kernel puts it in another scheduling group and counts what it ran anew.
#[test]
fn a_task_that_was_not_seen_to_begin_keeps_its_time() {
    let test = "a_task_that_was_not_seen_to_begin_keeps_its_time";
    if !kernel_or_skip(test) {
        return;
    }
    let _alone = alone();
    let cgroups = ["unseen"].map(TestCgroup::new);
    let limits = Limits { unseen_from: std::process::id(), ..Limits::default() };
    let mut accounting = open(Rung::Hook, &root(), &topology(), limits).unwrap();
    let begun = std::time::Instant::now();
    let start = edge(accounting.as_mut(), &cgroups);
    let path = cgroups[0].path.to_str().unwrap();
    beside_wakers(|| {
        for _ in 0..20 {
            // In its cgroup from the beginning: a move is seen a little late by the hook, 40 of them too late.
            let spin = || Command::new(load()).args(["into", path, "0.033"]).spawn().unwrap();
            for child in &mut [spin(), spin()] {
                assert!(child.wait().unwrap().success());
            }
        }
    });
    let end = edge(accounting.as_mut(), &cgroups);
    let accounts = end.snapshot.accounts.since(&start.snapshot.accounts);
    let wall_ns = begun.elapsed().as_nanos() as f64 * f64::from(topology().cpus_online());
    let (grown, _) = end.snapshot.usage.since(&start.snapshot.usage);
    println!("{accounts:?}, tasks {} ns of {wall_ns}", grown.total().0);
    // Tasks of real-time classes, migration's above all, do not say when they were picked: nothing is made up for them.
    assert!(grown.total().0 as f64 <= wall_ns, "no more than there was");
    assert!(accounts.missed_switches > 100, "switches were kept from the hook");
    assert_eq!(disagreements(&start, &end, &cgroups, 0.0), Vec::<String>::new());
}
