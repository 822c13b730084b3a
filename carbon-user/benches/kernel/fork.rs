//! Processes that begin in a cgroup, for loads of many of them.

use anyhow::{Context, Result};
use std::fs;

/// A fork whose child begins in the cgroup: what it gives is 0 there.
#[expect(unsafe_code, reason = "clone3 has no safe form")]
pub(crate) fn fork_into(cgroup: &fs::File) -> Result<i64> {
    use std::os::fd::AsRawFd;
    /// `struct clone_args` up to its member `cgroup` (linux/sched.h, kernel 5.7).
    #[repr(C)]
    #[derive(Default)]
    struct Arguments {
        flags: u64,
        unused: [u64; 3],
        exit_signal: u64,
        unused_too: [u64; 5],
        cgroup: u64,
    }
    /// `CLONE_INTO_CGROUP`.
    const INTO_CGROUP: u64 = 0x2_0000_0000;
    let arguments = Arguments {
        flags: INTO_CGROUP,
        exit_signal: libc::SIGCHLD.unsigned_abs().into(),
        cgroup: u64::from(cgroup.as_raw_fd().unsigned_abs()),
        ..Arguments::default()
    };
    // SAFETY: as fork; this process has one thread.
    let child = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<Arguments>()) };
    if child < 0 {
        return Err(std::io::Error::last_os_error()).context("clone3");
    }
    Ok(child)
}

/// Waits for a child to end.
pub(crate) fn waited(child: i64) -> Result<()> {
    if child < 0 {
        return Err(std::io::Error::last_os_error()).context("fork");
    }
    let child = rustix::process::Pid::from_raw(i32::try_from(child)?).context("a process id")?;
    rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty())?;
    Ok(())
}
