//! Edges of the accounting: switches that are not seen, namespaces, mounts, runs inside runs, windows of no length.

use crate::accounting::{disagreements, edge};
use crate::support::{TestCgroup, alone, exact_rungs, kernel_or_skip, load, root, topology};
use carbon_user::sched::{Limits, Rung, open};
use carbon_user::units::CgroupId;
use carbon_user::window::{Usage, WorkloadKey};
use serde_json::Value;
use std::collections::HashMap;
use std::ffi::CString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
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

fn text_of(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

/// Has a command run in cgroup and mount namespaces of its own, where the hierarchy is mounted at `place`, and no more
/// at `hidden`.
#[expect(unsafe_code, reason = "between fork and exec")]
fn in_private_namespace(command: &mut Command, place: &Path, hidden: Option<&Path>) {
    let (place, hidden) = (text_of(place), hidden.map(text_of));
    let checked = |result: libc::c_int| match result {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    };
    let enter = move || {
        // SAFETY: system calls, with strings that live through them.
        checked(unsafe { libc::unshare(libc::CLONE_NEWCGROUP | libc::CLONE_NEWNS) })?;
        let (none, private) = (std::ptr::null(), libc::MS_REC | libc::MS_PRIVATE);
        // SAFETY: as above.
        checked(unsafe { libc::mount(none, c"/".as_ptr(), none, private, none.cast()) })?;
        let kind = c"cgroup2".as_ptr();
        // SAFETY: as above.
        checked(unsafe { libc::mount(kind, place.as_ptr(), kind, 0, none.cast()) })?;
        match &hidden {
            // SAFETY: as above.
            Some(hidden) => checked(unsafe { libc::umount2(hidden.as_ptr(), libc::MNT_DETACH) }),
            None => Ok(()),
        }
    };
    // SAFETY: only system calls.
    unsafe { command.pre_exec(enter) };
}

/// CPU time in a report of the cgroup with a name that ends so; nothing where there is none.
fn reported_ns(report: &Value, end: &str) -> Option<u64> {
    let rows = report["workloads"].as_array()?;
    let row = rows.iter().find(|row| row["cgroup"].as_str().is_some_and(|path| path.ends_with(end)))?;
    row["cpu_ns"].as_u64()
}

/// In a cgroup namespace of its own `carbon` measures the whole machine where the machine's own mount is there too, which
/// has a stranger root than the namespace's mount. Where it is not, the books cannot be read and it says so; the hook takes
/// their place.
#[test]
fn a_private_cgroup_namespace_does_not_narrow_what_is_measured() {
    let test = "a_private_cgroup_namespace_does_not_narrow_what_is_measured";
    if !kernel_or_skip(test) {
        return;
    }
    let _alone = alone();
    let (inside, outside) = (TestCgroup::new("inside"), TestCgroup::new("outside"));
    let machine = root().cgroup2().unwrap().unwrap().path;
    let place = tempfile::tempdir().unwrap();
    let [best, ..] = exact_rungs(test)[..] else { panic!() };
    let carbon = |accounting: &str, hidden: Option<&Path>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_carbon"));
        command.args(["top", "--once", "--quiet", "--format", "json", "--duration", "1s"]);
        command.args(["--accounting", accounting]).env("CARBON_STATE", "none");
        // The cgroup that it is in then is the namespace's root.
        let procs = inside.path.join("cgroup.procs");
        let mut procs = std::fs::File::options().write(true).open(procs).unwrap();
        #[expect(unsafe_code, reason = "between fork and exec")]
        // SAFETY: a system call.
        unsafe {
            command.pre_exec(move || procs.write_all(b"0"));
        }
        in_private_namespace(&mut command, place.path(), hidden);
        command.output().unwrap()
    };
    for (hidden, rung) in [(None, best), (Some(machine.as_path()), Rung::Hook)] {
        let mut spinner = outside.start(&format!("exec {} spin 30", load().display()));
        let output = carbon("auto", hidden);
        spinner.kill().unwrap();
        spinner.wait().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["accounting"], rung.as_str(), "{errors}");
        let id = outside.id.0;
        let rows = report["workloads"].as_array().unwrap();
        let row = rows.iter().find(|row| row["cgroup_id"].as_u64() == Some(id)).unwrap();
        println!("{rung}: {row}");
        assert!(row["cpu_ns"].as_u64().unwrap() > 100_000_000, "{row}");
        if hidden.is_none() {
            let name = outside.path.file_name().unwrap().to_str().unwrap();
            assert!(reported_ns(&report, &format!("/{name}")).is_some(), "{row}");
            assert!(!row["cgroup"].as_str().unwrap().contains(".."), "{row}");
        }
    }
    let refused = carbon("books", Some(&machine));
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success());
    assert!(errors.contains("private cgroup namespace") || best == Rung::Hook, "{errors}");
}

/// The hierarchy is unmounted and mounted again, elsewhere: ids and names stay, since they are the kernel's and not the
/// mount's.
#[test]
fn ids_and_names_outlive_the_mount() {
    let test = "ids_and_names_outlive_the_mount";
    if !kernel_or_skip(test) {
        return;
    }
    let _alone = alone();
    let cgroup = TestCgroup::new("remount");
    let name = cgroup.path.file_name().unwrap().to_owned();
    let place = tempfile::tempdir().unwrap();
    let again = Command::new("mount").args(["-t", "cgroup2", "cgroup2"]).arg(place.path()).status();
    if !again.is_ok_and(|status| status.success()) {
        println!("SKIPPED IN PART: {test}: the kernel has no second mount of cgroup2 here");
        return;
    }
    let id = |path: &Path| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap());
    let same = id(&place.path().join(&name));
    for rung in exact_rungs(test) {
        let mut accounting = open(rung, &root(), &topology(), Limits::default()).unwrap();
        let start = accounting.snapshot().unwrap();
        // By the other mount.
        let procs = place.path().join(&name).join("cgroup.procs");
        let script = format!("echo $$ > {} && (:) && exec {} spin 0.2", procs.display(), load().display());
        assert!(Command::new("sh").arg("-c").arg(script).status().unwrap().success());
        let end = accounting.snapshot().unwrap();
        let ours = crate::accounting::booked(&end.usage.since(&start.usage).0, cgroup.id);
        assert!((190_000_000..400_000_000).contains(&ours), "{rung}: {ours}");
        assert!(accounting.cgroup_path(cgroup.id).unwrap().ends_with(name.to_str().unwrap()));
    }
    assert!(Command::new("umount").arg(place.path()).status().unwrap().success());
    assert_eq!(same, cgroup.id.0);
}

/// A run inside a run: the inner one has its own tree's time, and the outer one has all of that and the inner `carbon`'s.
#[test]
fn a_run_holds_the_runs_inside_it() {
    let test = "a_run_holds_the_runs_inside_it";
    if !kernel_or_skip(test) {
        return;
    }
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let carbon = env!("CARGO_BIN_EXE_carbon");
    for rung in exact_rungs(test) {
        let [outer, inner] = ["outer", "inner"].map(|name| folder.path().join(format!("{name}-{rung}")));
        let options = |file: &Path| {
            let to = [
                "run",
                "--quiet",
                "--no-store",
                "--format",
                "json",
                "--accounting",
                rung.as_str(),
                "--output",
            ];
            to.into_iter().chain([file.to_str().unwrap(), "--"]).map(str::to_owned).collect::<Vec<_>>()
        };
        let status = Command::new(carbon)
            .args(options(&outer))
            .arg(carbon)
            .args(options(&inner))
            .args([load().to_str().unwrap(), "spin", "0.4"])
            .status();
        assert!(status.unwrap().success());
        let run_ns = |file: &Path| -> u64 {
            let report: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
            report["cpu_ns"].as_u64().unwrap_or_else(|| panic!("{report}"))
        };
        let (outer, inner) = (run_ns(&outer), run_ns(&inner));
        println!("{rung}: outer {outer} ns, inner {inner} ns");
        assert!((400_000_000..450_000_000).contains(&inner), "{inner}");
        assert!(outer > inner, "{outer} holds {inner}");
    }
}

/// Two snapshots at once: nothing is added twice, and nothing falls.
#[test]
fn snapshots_without_time_between_them_add_nothing() {
    let test = "snapshots_without_time_between_them_add_nothing";
    if !kernel_or_skip(test) {
        return;
    }
    let _alone = alone();
    let cgroup = TestCgroup::new("at-once");
    let mut spinner = cgroup.start(&format!("exec {} spin 0.4", load().display()));
    for rung in exact_rungs(test) {
        let mut accounting = open(rung, &root(), &topology(), Limits::default()).unwrap();
        let begun = std::time::Instant::now();
        let kernel_us = cgroup.usage_usec();
        let first = accounting.snapshot().unwrap();
        let mut last = first.usage.clone();
        for _ in 0..100 {
            let next = accounting.snapshot().unwrap().usage;
            // The root's own tasks are what kernel threads leave, which are read a moment later: held by the sampler.
            let rows = |usage: &Usage| -> HashMap<WorkloadKey, u64> {
                usage.rows().map(|(key, nanos)| (key, nanos.iter().map(|nanos| nanos.0).sum())).collect()
            };
            let now = rows(&next);
            for (key, before) in rows(&last) {
                let slack = if key.cgroup == CgroupId::ROOT { 1_000_000 } else { 0 };
                assert!(
                    now.get(&key).is_none_or(|now| now + slack >= before),
                    "{rung}: {key:?} was {before}"
                );
            }
            last = next;
        }
        // A tick that was late books what ran before the first snapshot: cpu.stat then has more than the clock too.
        let booked_ns = 1e3 * (cgroup.usage_usec() - kernel_us) as f64;
        let most = booked_ns.max(begun.elapsed().as_nanos() as f64) + crate::accounting::tolerance_ns(0.0);
        let ours = crate::accounting::booked(&last.since(&first.usage).0, cgroup.id) as f64;
        assert!(ours <= most, "{rung}: {ours} of {most}");
    }
    assert!(spinner.wait().unwrap().success());
}
