//! Connections of readers: one request each, within limits of time, size and number. Who is refused or cut off is counted.

use super::room::Silent;
use super::stall::Stalling;
use super::tls::Tls;
use crate::agent::{Cause, Refused};
use axum::Router;
use axum::extract::{Extension, Request};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Of all headers together.
const HEADERS_MAX_BYTES: usize = 16 * 1024;

/// Bounds on what readers may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Workloads with a series of their own.
    pub series: usize,
    /// Connections at one time.
    pub connections: usize,
    /// Until all headers are there.
    pub headers: Duration,
    /// From the first byte to the last.
    pub connection: Duration,
    /// The same of an answer without an end, for which [`Lease::extend`] was called.
    pub stream: Duration,
    /// For how long a reader may read nothing of what it was sent.
    pub stall: Duration,
}

/// Comes with each request: who answers one without an end has more time for it.
#[derive(Clone, Debug, Default)]
pub struct Lease(Arc<AtomicBool>);

impl Lease {
    /// Takes [`Limits::stream`] for the limit of this connection.
    pub fn extend(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            series: 200,
            connections: 32,
            headers: Duration::from_secs(2),
            connection: Duration::from_secs(10),
            stream: Duration::from_mins(10),
            stall: Duration::from_secs(10),
        }
    }
}

/// Takes connections and answers them, within the limits, without end.
pub(crate) async fn accept(
    listener: TcpListener,
    tls: Option<Tls>,
    app: Router,
    limits: Limits,
    refused: Arc<Refused>,
) {
    let room = Arc::new(Semaphore::new(limits.connections));
    let mut silent = Silent::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let Some(permit) = silent.room(&room, &refused).await else { return };
                let asked = Arc::<AtomicBool>::default();
                let own = Arc::clone(&asked);
                let noted = (own, Arc::clone(&refused));
                let task = connection(stream, tls.clone(), app.clone(), limits, noted, permit);
                silent.add(tokio::spawn(task).abort_handle(), asked);
            }
            // Out of descriptors, or gone before it was taken: the next may be better.
            Err(error) => {
                log::debug!("cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    tls: Option<Tls>,
    app: Router,
    limits: Limits,
    (asked, refused): (Arc<AtomicBool>, Arc<Refused>),
    _permit: OwnedSemaphorePermit,
) {
    let lease = Lease::default();
    let answers = Arc::clone(&refused);
    let note = move |request: Request, next: Next| {
        asked.store(true, Ordering::Relaxed);
        let answers = Arc::clone(&answers);
        async move {
            let response = next.run(request).await;
            if let Some(cause) = refusal(response.status()) {
                answers.add(cause);
            }
            response
        }
    };
    let app = app.layer(Extension(lease.clone())).layer(middleware::from_fn(note));
    let served = async {
        match tls {
            None => one_request(Stalling::new(stream, limits.stall), app, limits).await,
            Some(tls) => match tokio::time::timeout(limits.headers, tls.accept(stream)).await {
                Ok(Ok(stream)) => one_request(Stalling::new(stream, limits.stall), app, limits).await,
                Ok(Err(error)) => {
                    log::debug!("a reader of the metrics: {error}");
                    // A probe that connects and goes was not refused.
                    (error.kind() == std::io::ErrorKind::InvalidData).then_some(Cause::Malformed)
                }
                Err(_late) => {
                    log::debug!("a reader of the metrics was too slow to begin");
                    Some(Cause::Slow)
                }
            },
        }
    };
    tokio::pin!(served);
    let mut ended = tokio::time::timeout(limits.connection, &mut served).await;
    if ended.is_err() && lease.0.load(Ordering::Relaxed) {
        // An answer without an end is ended at some time.
        ended = Ok(tokio::time::timeout(limits.stream, served).await.unwrap_or_default());
    }
    let cause = ended.unwrap_or_else(|_late| {
        log::debug!("a reader of the metrics was too slow");
        Some(Cause::Slow)
    });
    if let Some(cause) = cause {
        refused.add(cause);
    }
}

/// Why a request with this answer was refused, where it was.
fn refusal(status: StatusCode) -> Option<Cause> {
    match status {
        StatusCode::UNAUTHORIZED => Some(Cause::Token),
        StatusCode::PAYLOAD_TOO_LARGE => Some(Cause::TooLarge),
        StatusCode::MISDIRECTED_REQUEST => Some(Cause::Host),
        _ => None,
    }
}

/// Why a connection ended before its request was answered; nothing where the reader itself ended it.
fn cut_off(error: &hyper::Error) -> Option<Cause> {
    let io = error.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    if error.is_timeout() || io.is_some_and(|error| error.kind() == std::io::ErrorKind::TimedOut) {
        Some(Cause::Slow)
    } else if error.is_parse_too_large() {
        Some(Cause::TooLarge)
    } else {
        error.is_parse().then_some(Cause::Malformed)
    }
}

/// Answers one request, and says why it was cut off, where it was.
pub(super) async fn one_request<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    app: Router,
    limits: Limits,
) -> Option<Cause> {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.headers)
        .max_buf_size(HEADERS_MAX_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let error = served.await.err()?;
    log::debug!("a reader: {error}");
    cut_off(&error)
}
