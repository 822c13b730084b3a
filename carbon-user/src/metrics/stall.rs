//! A connection whose reader must keep reading: one that takes nothing for a while is ended, so that what is sent without an
//! end holds neither memory nor a place for somebody who has gone to sleep.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A connection, and how long a write may wait.
#[derive(Debug)]
pub struct Stalling<S> {
    inner: S,
    limit: Duration,
    /// Set while a write waits.
    waits: Option<Pin<Box<Sleep>>>,
}

impl<S> Stalling<S> {
    /// Ends it with an error once a write has waited for `limit`.
    pub fn new(inner: S, limit: Duration) -> Self {
        Self { inner, limit, waits: None }
    }

    fn watch<T>(&mut self, wrote: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.waits = None;
            return wrote;
        }
        let limit = self.limit;
        let waits = self.waits.get_or_insert_with(|| Box::pin(sleep(limit)));
        match waits.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "nothing is read"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stalling<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stalling<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.watch(wrote, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.watch(flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.watch(ended, cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    #[test]
    fn who_reads_nothing_is_dropped_and_who_reads_slowly_is_not() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (near, mut far) = duplex(64);
            let mut sleepy = Stalling::new(near, Duration::from_millis(100));
            let begun = clock::monotonic_ns();
            let ended = sleepy.write_all(&[0; 1000]).await.unwrap_err();
            assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
            assert!(clock::monotonic_ns() - begun >= 100_000_000);
            // What fitted is there to be read.
            let mut taken = [0; 64];
            assert_eq!(far.read(&mut taken).await.unwrap(), 64);

            let (near, mut far) = duplex(64);
            let mut slow = Stalling::new(near, Duration::from_millis(200));
            let reader = async {
                let (mut all, mut taken) = (0, [0; 64]);
                while all < 512 {
                    sleep(Duration::from_millis(50)).await;
                    all += far.read(&mut taken).await.unwrap();
                }
            };
            let (wrote, ()) = tokio::join!(slow.write_all(&[0; 512]), reader);
            assert!(wrote.is_ok(), "{wrote:?}: each write waited for less than the limit");
        });
    }
}
