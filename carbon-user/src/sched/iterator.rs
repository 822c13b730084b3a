//! A BPF iterator that can be run again and again.
//!
//! aya attaches iterators without the parameters that iter/cgroup needs (a cgroup and an order), so the link is
//! made here by `bpf(2)` itself; so is the file that one pass is read from.

#![expect(unsafe_code, reason = "two commands of bpf(2) that aya does not offer")]

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `BPF_LINK_CREATE` and `BPF_ITER_CREATE` (include/uapi/linux/bpf.h).
const LINK_CREATE: libc::c_long = 28;
const ITER_CREATE: libc::c_long = 33;
/// `BPF_TRACE_ITER`.
const TRACE_ITER: u32 = 28;
/// `BPF_CGROUP_ITER_DESCENDANTS_PRE`: a cgroup before its children, so that the root's total comes first.
const DESCENDANTS_PRE: u32 = 2;

/// Rows after which a pass stops to have them taken. A tenth of a row buffer's room.
const ROWS_A_READ: usize = 512;

/// The part of `union bpf_attr` for making an iterator's link.
#[repr(C)]
#[derive(Default)]
struct LinkAttr {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    info: u64,
    info_len: u32,
    pad: u32,
}

/// The part of `union bpf_attr` for starting a pass.
#[repr(C)]
#[derive(Default)]
struct PassAttr {
    link: u32,
    flags: u32,
}

/// `union bpf_iter_link_info`, its task part (Linux 6.1), as long as the union is there.
#[repr(C)]
#[derive(Default)]
struct TaskInfo {
    thread: u32,
    process: u32,
    process_fd: u32,
    pad: u32,
}

/// `union bpf_iter_link_info`, its cgroup part.
#[repr(C)]
#[derive(Default)]
struct CgroupInfo {
    order: u32,
    cgroup: u32,
    id: u64,
}

/// An attached iterator; detached when it is dropped.
#[derive(Debug)]
pub(super) struct KernelIterator {
    link: OwnedFd,
}

impl KernelIterator {
    /// Over the cgroups at and below `cgroup`, a directory of a cgroup mount.
    pub(super) fn over_cgroups(program: BorrowedFd<'_>, cgroup: &File) -> io::Result<Self> {
        let info = CgroupInfo { order: DESCENDANTS_PRE, cgroup: cgroup.as_raw_fd().cast_unsigned(), id: 0 };
        Self::attach(program, Some(&info))
    }

    /// Over all tasks of this process's pid namespace.
    pub(super) fn over_tasks(program: BorrowedFd<'_>) -> io::Result<Self> {
        Self::attach::<TaskInfo>(program, None)
    }

    /// Over the threads of one process. Kernels before 6.1 refuse it (`E2BIG`).
    pub(super) fn over_process(program: BorrowedFd<'_>, process: u32) -> io::Result<Self> {
        Self::attach(program, Some(&TaskInfo { process, ..TaskInfo::default() }))
    }

    fn attach<Info>(program: BorrowedFd<'_>, info: Option<&Info>) -> io::Result<Self> {
        let mut attr = LinkAttr {
            program: program.as_raw_fd().cast_unsigned(),
            attach_type: TRACE_ITER,
            ..LinkAttr::default()
        };
        if let Some(info) = info {
            attr.info = std::ptr::from_ref(info).addr() as u64;
            attr.info_len = u32::try_from(size_of::<Info>()).unwrap_or(0);
        }
        Ok(Self { link: bpf(LINK_CREATE, &attr)? })
    }

    /// Runs the program over everything once. It writes to its map, and a byte for each row to the file that is
    /// read here: after so many of them, `take` is called to empty the map.
    pub(super) fn pass(&self, mut take: impl FnMut()) -> io::Result<()> {
        let attr = PassAttr { link: self.link.as_raw_fd().cast_unsigned(), flags: 0 };
        let mut file = File::from(bpf(ITER_CREATE, &attr)?);
        let mut told = [0; ROWS_A_READ];
        loop {
            match file.read(&mut told) {
                Ok(0) => return Ok(()),
                Ok(_) => take(),
                // The kernel gives up the CPU after a million objects without output, and goes on when asked.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// `bpf(2)` for a command that gives a file descriptor.
fn bpf<T>(command: libc::c_long, attr: &T) -> io::Result<OwnedFd> {
    // SAFETY: `attr` lives through the call, is as long as said, and holds no pointer but to live memory.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attr), size_of::<T>()) };
    let fd = i32::try_from(result).unwrap_or(-1);
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
