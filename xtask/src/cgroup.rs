//! Cgroups for the demo: made, read and removed.

use crate::sh::{Stopwatch, cmd};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

/// Where the cgroup2 hierarchy is mounted: the mount that shows the most of it.
pub(crate) fn mount_point() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
    cgroup2_mount(&mounts)
        .context("no cgroup2 hierarchy is mounted. Run: mount -t cgroup2 none /sys/fs/cgroup/unified")
}

/// Lines of mountinfo (proc(5)): `id parent major:minor root mount-point options [optional...] - type source ...`.
fn cgroup2_mount(mountinfo: &str) -> Option<PathBuf> {
    mountinfo
        .lines()
        .filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let mut fields = left.split(' ').skip(3);
            let (root, path) = (fields.next()?, fields.next()?);
            (right.split(' ').next()? == "cgroup2").then_some((root, path))
        })
        .min_by_key(|(root, _)| root.len())
        .map(|(_, path)| PathBuf::from(unescaped(path)))
}

/// mountinfo writes blanks and backslashes as a backslash and three octal digits.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (digits, rest) = part.split_at_checked(3).unwrap_or((part, ""));
        match u8::from_str_radix(digits, 8) {
            Ok(byte) => plain.push(char::from(byte)),
            Err(_) => plain.extend(["\\", digits]),
        }
        plain.push_str(rest);
    }
    plain
}

/// CPU time of a cgroup and all below it, in seconds, by the kernel's own cpu.stat.
pub(crate) fn cpu_seconds(cgroup: &Path) -> Result<f64> {
    let file = cgroup.join("cpu.stat");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let usage = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
    let micros: u32 = usage.and_then(|micros| micros.parse().ok()).context("cpu.stat has no usage_usec")?;
    Ok(f64::from(micros) / 1e6)
}

/// Removes a cgroup whose last task has just ended; the kernel may need a moment to see it empty.
pub(crate) fn remove(cgroup: &Path) -> Result<()> {
    let begun = Stopwatch::start();
    loop {
        match fs::remove_dir(cgroup) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) if begun.elapsed() > Duration::from_secs(5) => {
                return Err(error).with_context(|| format!("cannot remove {}", cgroup.display()));
            }
            Err(_) => sleep(Duration::from_millis(10)),
        }
    }
}

/// Ends everything in a cgroup and in those directly below it, and removes them.
pub(crate) fn remove_all(cgroup: &Path) -> Result<()> {
    let children: Vec<PathBuf> = match fs::read_dir(cgroup) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", cgroup.display())),
    };
    for one in children.iter().map(PathBuf::as_path).chain([cgroup]) {
        kill(one);
        remove(one)?;
    }
    Ok(())
}

/// Kills the tasks of one cgroup: by cgroup.kill (kernel 5.14 and later), else one by one.
fn kill(cgroup: &Path) {
    if fs::write(cgroup.join("cgroup.kill"), "1").is_err() {
        let tasks = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
        for pid in tasks.lines() {
            // A task that is gone already is what we want.
            let _: bool = cmd("kill").args(["-9", pid]).succeeds();
        }
    }
}

/// The clean-up that outlives the demo. It runs as a process of its own, waits until the demo closes the pipe, by
/// coming to its end in whatever way, and removes the demo's cgroups.
pub(crate) fn sweep(cgroup: &Path) -> Result<()> {
    std::io::stdin().read_to_end(&mut Vec::new())?;
    remove_all(cgroup)
}

/// Makes the demo's cgroup; fails where another demo is using it.
pub(crate) fn make(cgroup: &Path) -> Result<()> {
    match fs::create_dir(cgroup) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            bail!("{} exists: another demo is running, or that name is in use", cgroup.display())
        }
        Err(error) => Err(error).with_context(|| format!("cannot make the cgroup {}", cgroup.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_that_shows_the_most_is_taken() {
        let mounts = "33 31 0:30 / /sys/fs/cgroup/cpu rw shared:9 - cgroup cgroup rw,cpu\n\
                      40 31 0:38 /a/b /c rw - cgroup2 cgroup2 rw\n\
                      41 31 0:38 / /sys/fs/my\\040group rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(cgroup2_mount(mounts), Some("/sys/fs/my group".into()));
        assert_eq!(cgroup2_mount("22 27 0:21 / /proc rw - proc proc rw\n"), None);
    }

    #[test]
    fn octal_is_undone_and_other_text_kept() {
        assert_eq!(unescaped("a\\134b\\011c"), "a\\b\tc");
        assert_eq!(unescaped("plain"), "plain");
        assert_eq!(unescaped("end\\"), "end\\");
        assert_eq!(unescaped("x\\9zz"), "x\\9zz");
    }
}
