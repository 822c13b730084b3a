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

/// Cgroups that come and go, more of them than the hook has room for at once: places of those that are gone are used
/// again, and nothing is lost.
#[test]
fn the_hook_gives_places_of_removed_cgroups_to_others() {
    let test = "the_hook_gives_places_of_removed_cgroups_to_others";
    if !kernel_or_skip(test) {
        return;
    }
    let _alone = alone();
    let top = TestCgroup::new("places");
    let mut accounting = open(Rung::Hook, &root(), &topology(), Limits::default()).unwrap();
    let start = accounting.snapshot().unwrap();
    let (mut last, mut ours_ns) = (start.usage, 0);
    for _ in 0..6 {
        let mut cgroups = Command::new(load());
        cgroups.args(["cgroups", top.path.to_str().unwrap(), "1500"]);
        assert!(cgroups.status().unwrap().success());
        // The last of them are released a moment later.
        std::thread::sleep(Duration::from_millis(50));
        let next = accounting.snapshot().unwrap();
        let below = format!("{}/", accounting.cgroup_path(top.id).unwrap());
        let (grown, fallen) = next.usage.since(&last);
        assert_eq!(fallen, 0);
        let rows = grown.rows().filter(|(key, _)| {
            accounting.cgroup_path(key.cgroup).is_some_and(|path| path.starts_with(&below))
        });
        ours_ns += rows.flat_map(|(_, nanos)| nanos).map(|nanos| nanos.0).sum::<u64>();
        println!("{} rows", next.usage.len());
        assert!(next.usage.len() < 3_500, "those that are gone leave the table");
        last = next.usage;
    }
    let end = accounting.snapshot().unwrap();
    let accounts = end.accounts.since(&start.accounts);
    let truth_ns = top.usage_usec() * 1000;
    println!("{ours_ns} ns, cpu.stat {truth_ns}, {accounts:?}");
    assert_eq!((accounts.overflow_ns, accounts.lost_events), (0, 0));
    let slack_ns = truth_ns / 100 + accounts.missed_ns;
    assert!(ours_ns.abs_diff(truth_ns) < slack_ns, "{ours_ns} ns, cpu.stat {truth_ns}");
}
