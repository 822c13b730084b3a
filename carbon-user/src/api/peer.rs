//! Who is at the other end of a connection, by what the kernel says of it.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The process that connected.
#[derive(Debug)]
pub struct Peer {
    /// As this process numbers it; none where it cannot see it, or it has gone.
    pub pid: Option<u32>,
    /// Its user then.
    pub uid: u32,
    /// Its group then.
    pub gid: u32,
    /// Stays with it when its number is another's.
    handle: Option<OwnedFd>,
}

impl Peer {
    /// Of a connection, with what [`tokio`] has read of `SO_PEERCRED`.
    pub fn of(stream: &tokio::net::UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        // 0 is one that is not seen from here (unix(7)).
        let pid = credentials.pid().and_then(Pid::from_raw);
        let handle = pid.and_then(|pid| match peer_handle(stream.as_fd()) {
            Ok(handle) => Some(handle),
            // Before 6.5; between connecting and here its number may have become another's, which the user tells where that
            // one is another user's.
            Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => {
                pidfd_open(pid, PidfdFlags::empty()).ok()
            }
            Err(_gone) => None,
        });
        let pid = pid.filter(|_| handle.is_some()).map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
        Ok(Self { pid, uid: credentials.uid(), gid: credentials.gid(), handle })
    }

    /// The process, where it is there: a number that was read before this is still its own.
    pub fn alive(&self) -> Option<u32> {
        let handle = self.handle.as_ref()?;
        let mut polled = [PollFd::new(handle, PollFlags::IN)];
        // Readable once it has ended (pidfd_open(2)).
        let ended = poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0);
        self.pid.filter(|_| !ended)
    }

    /// Ready when it has ended; never, where there is no handle to watch.
    #[expect(unsafe_code, reason = "the reactor wants to be told that the descriptor stays open")]
    pub async fn ended(&self) {
        let handle = self.handle.as_ref().and_then(|handle| handle.try_clone().ok());
        // SAFETY: `OwnedFd` owns an open descriptor, which is neither replaced nor closed before it is dropped.
        let watched = handle
            .and_then(|handle| unsafe { AsyncFd::register_with_interest(handle, Interest::READABLE).ok() });
        match watched {
            Some(watched) => drop(watched.readable().await),
            None => std::future::pending().await,
        }
    }
}

/// `SO_PEERPIDFD` (Linux 6.5): a handle of the process that connected, whatever became of its number since.
#[expect(unsafe_code, reason = "no safe wrapper among the crates used has this option")]
fn peer_handle(stream: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut handle: libc::c_int = -1;
    let mut length: libc::socklen_t = 4;
    // SAFETY: the kernel writes at most the 4 bytes that `length` says `handle` has.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERPIDFD,
            (&raw mut handle).cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if handle < 0 {
        return Err(io::ErrorKind::NotFound.into());
    }
    // SAFETY: a new descriptor that the kernel has just given, with no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(handle) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixStream;

    #[tokio::test(flavor = "current_thread")]
    async fn this_process_is_its_own_peer() {
        let (one, _other) = UnixStream::pair().unwrap();
        let peer = Peer::of(&one).unwrap();
        assert_eq!((peer.pid, peer.alive()), (Some(std::process::id()), Some(std::process::id())));
        assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
        let waited = tokio::time::timeout(std::time::Duration::from_millis(20), peer.ended()).await;
        assert!(waited.is_err(), "it is still there");
    }
}
