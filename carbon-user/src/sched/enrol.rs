//! How the first process of a run becomes part of it: between fork and exec, by itself.

#![expect(unsafe_code, reason = "runs between fork and exec, where only system calls are safe")]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// `BPF_PROG_TEST_RUN` (include/uapi/linux/bpf.h).
const PROG_TEST_RUN: libc::c_long = 10;

/// The part of `union bpf_attr` for running a raw tracepoint program with made-up arguments.
#[repr(C)]
#[derive(Debug, Default)]
struct TestRunAttr {
    program: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    pad: u32,
}

/// What the child does to enter its run.
#[derive(Debug)]
pub enum Enrolment {
    /// Runs a BPF program on itself, with the run's id as argument.
    Program {
        /// The program.
        program: OwnedFd,
        /// The run.
        run: u64,
    },
    /// Writes itself into a cgroup.
    Cgroup {
        /// Its `cgroup.procs`, open for writing.
        procs: OwnedFd,
    },
    /// Nothing: the run is what descends from the child.
    Descent,
}

impl Enrolment {
    /// Makes the calling process part of the run. Only system calls: safe between fork and exec.
    pub fn enter(&self) -> io::Result<()> {
        match self {
            Self::Program { program, run } => enter_by_program(program, *run),
            Self::Cgroup { procs } => {
                rustix::io::write(procs, b"0").map_err(io::Error::from)?;
                Ok(())
            }
            Self::Descent => Ok(()),
        }
    }
}

fn enter_by_program(program: &OwnedFd, run: u64) -> io::Result<()> {
    let arguments = [run; 1];
    let mut attr = TestRunAttr {
        program: program.as_raw_fd().cast_unsigned(),
        ctx_size_in: 8,
        ctx_in: arguments.as_ptr().addr() as u64,
        ..TestRunAttr::default()
    };
    // SAFETY: `attr` and the arguments that it points to live through the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, PROG_TEST_RUN, std::ptr::from_mut(&mut attr), size_of::<TestRunAttr>())
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    if attr.retval != 0 {
        return Err(io::Error::from_raw_os_error(libc::ENOSPC));
    }
    Ok(())
}
