//! The HTTP server of `/metrics`, `/healthz` and `/readyz`: a thread with a runtime of its own.
//!
//! Whoever reads slowly, or asks without end, costs himself: a connection is for one request and ends after
//! [`Limits::connection`], so that as many as there is room for are free again by then; others wait in the kernel's queue. Where
//! there is no room, who has asked nothing yet for longest makes it: those who open connections and say nothing keep nobody out.

use super::NamesByIdentity;
use super::aliases::Aliases;
pub(crate) use super::connections::accept;
#[cfg(any(test, fuzzing))]
use super::connections::one_request;
pub use super::connections::{Lease, Limits};
use super::host::{host, is_own};
use super::listen::{Listen, ListenError, Token};
use super::series::{Series, View};
use super::text::{self, Format};
use super::tls::Tls;
use crate::agent::{Published, Refused};
use crate::clock::{self, ThreadClock};
use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;
use tower_http::limit::RequestBodyLimitLayer;

/// How often the published sums are looked at: the finest that a reader can see.
const LOOK: Duration = Duration::from_secs(1);

/// How often series follow the sums while nobody reads: sooner than a workload that has ended leaves them.
const FOLLOW_NS: u64 = 15_000_000_000;

/// No request has a body; one that comes with more is refused.
const BODY_MAX_BYTES: usize = 1024;

/// Windows that may be missing before the agent counts as unhealthy, and how long at least.
const STALE_WINDOWS: u64 = 5;
const STALE_NS_MIN: u64 = 10_000_000_000;

/// The same before the first window, whose length is not known yet.
const START_NS_MAX: u64 = 300_000_000_000;

/// What the server reads: cells that others fill. And how it is shown.
#[derive(Clone, Debug, Default)]
pub struct Feed {
    /// Replaced after each window.
    pub published: Arc<ArcSwap<Published>>,
    /// Names of workloads, as they become known.
    pub names: Arc<ArcSwap<NamesByIdentity>>,
    /// Whose names are used beside the agent's own.
    pub aliases: Aliases,
    /// Where readers that are refused or cut off are counted.
    pub refused: Arc<Refused>,
}

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    end: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
    clock: ThreadClock,
    is_encrypted: bool,
}

/// Who waits for a view of now.
type Ask = oneshot::Sender<Arc<View>>;

#[derive(Debug)]
struct Shown {
    /// What was published when it was last looked.
    latest: ArcSwap<Published>,
    /// What was made of it for who asked last.
    view: ArcSwap<View>,
    asks: Sender<Ask>,
    /// When the last window came, by the monotonic clock.
    window_at_ns: AtomicU64,
    token: Option<Token>,
}

impl Server {
    /// Listens, and answers until it is dropped.
    pub fn start(listen: Listen, feed: Feed, limits: Limits) -> Result<Self, ListenError> {
        Self::start_with(listen, feed, limits, Router::new())
    }

    /// The same, with other pages beside the metrics: routes without a fallback, which guard themselves.
    pub fn start_with(
        listen: Listen,
        feed: Feed,
        limits: Limits,
        pages: Router,
    ) -> Result<Self, ListenError> {
        let (address, token, tls) = listen.into_parts();
        let is_encrypted = tls.is_some();
        let bound = |source| ListenError::Bind { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(bound)?;
        listener.set_nonblocking(true).map_err(bound)?;
        let address = listener.local_addr().map_err(bound)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ListenError::Thread)?;
        let (end, ended) = oneshot::channel();
        let serve = async move {
            match TcpListener::from_std(listener) {
                Ok(listener) => {
                    tokio::select! {
                        () = serve(listener, token, tls, feed, limits, pages) => {}
                        _dropped = ended => {}
                    }
                }
                Err(error) => log::error!("the metrics are not served: {error}"),
            }
        };
        let clock = ThreadClock::default();
        let own = clock.clone();
        let thread = thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || {
                own.begin();
                crate::meters::ease();
                runtime.block_on(serve);
            })
            .map_err(ListenError::Thread)?;
        Ok(Self { address, end: Some(end), thread: Some(thread), clock, is_encrypted })
    }

    /// CPU time that serving took so far, in nanoseconds.
    pub fn cpu_ns(&self) -> u64 {
        self.clock.cpu_ns()
    }

    /// Whether it speaks https.
    pub fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    /// Where it listens; the port is the one that it got.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(Err(_panicked)) = self.thread.take().map(thread::JoinHandle::join) {
            log::error!("the thread of the metrics ended by a panic");
        }
    }
}

async fn serve(
    listener: TcpListener,
    token: Option<Token>,
    tls: Option<Tls>,
    feed: Feed,
    limits: Limits,
    pages: Router,
) {
    let window_at_ns = AtomicU64::new(clock::monotonic_ns());
    let (asks, asked) = channel(limits.connections.max(1));
    let (latest, view) = (ArcSwap::default(), ArcSwap::default());
    let shown = Arc::new(Shown { latest, view, asks, window_at_ns, token });
    let refused = Arc::clone(&feed.refused);
    let follow = follow(Arc::clone(&shown), feed, limits.series, asked);
    let app = router(shown, pages);
    tokio::select! { () = follow => {}, () = accept(listener, tls, app, limits, refused) => {} }
}

/// Makes views of what is published: of each second for who asks, and else as often as nothing is missed. What a window added
/// is in the difference of two sums, whichever windows are looked at.
async fn follow(shown: Arc<Shown>, feed: Feed, series_max: usize, mut asked: Receiver<Ask>) {
    let mut series = Series::new(series_max).with_aliases(feed.aliases);
    let (mut windows, mut followed_ns) = (0, clock::monotonic_ns());
    let mut observe = |published: Arc<Published>| {
        if published.windows != windows {
            windows = published.windows;
            shown.view.store(Arc::new(series.observe(published, &feed.names.load())));
        }
    };
    let mut ticks = tokio::time::interval(LOOK);
    loop {
        let ask = tokio::select! {
            _ = ticks.tick() => None,
            Some(ask) = asked.recv() => Some(ask),
        };
        if ask.is_none() {
            let published = feed.published.load_full();
            let before = shown.latest.swap(Arc::clone(&published));
            if published.windows != before.windows {
                shown.window_at_ns.store(clock::monotonic_ns(), Ordering::Relaxed);
            }
            // Grams are of the factor of their time.
            if published.factor != before.factor {
                observe(before);
            }
        }
        if ask.is_some()
            || clock::monotonic_ns().saturating_sub(followed_ns) >= FOLLOW_NS
            || shown.view.load().published.windows == 0
        {
            followed_ns = clock::monotonic_ns();
            observe(shown.latest.load_full());
        }
        if let Some(ask) = ask {
            // Who asked may have gone.
            drop(ask.send(shown.view.load_full()));
        }
    }
}

fn router(shown: Arc<Shown>, pages: Router) -> Router {
    let guarded = Router::new()
        .route("/metrics", get(metrics))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&shown), authorize));
    // What a probe of a container platform asks, which has no token: it tells nothing but whether it runs.
    let open = Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz));
    guarded
        .merge(open)
        .fallback(|| async {
            (StatusCode::NOT_FOUND, "not found; there are /metrics, /healthz and /readyz\n")
        })
        .method_not_allowed_fallback(|| async { (StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n") })
        .layer(RequestBodyLimitLayer::new(BODY_MAX_BYTES))
        .with_state(shown)
        .merge(pages)
}

async fn authorize(State(shown): State<Arc<Shown>>, request: Request, next: Next) -> Response {
    let Some(token) = &shown.token else {
        let own = [shown.latest.load().node.clone()];
        if host(request.headers()).is_none_or(|host| is_own(host, &own)) {
            return next.run(request).await;
        }
        let advice = "this name is not the agent's: call it by its address, as localhost or by the node's name, or give it a token\n";
        return (StatusCode::MISDIRECTED_REQUEST, advice).into_response();
    };
    let sent = request.headers().get(header::AUTHORIZATION).map(|text| text.as_bytes().to_vec());
    if token.is_shown(sent.as_deref()) {
        return next.run(request).await;
    }
    let ask = [(header::WWW_AUTHENTICATE, "Bearer")];
    (StatusCode::UNAUTHORIZED, ask, "a bearer token is asked for\n").into_response()
}

async fn metrics(State(shown): State<Arc<Shown>>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|text| text.to_str().ok()).unwrap_or_default();
    let format = Format::accepted(accept);
    let (ask, answer) = oneshot::channel();
    let asked = shown.asks.send(ask).await.is_ok();
    let view = if asked { answer.await.ok() } else { None };
    match text::render(view.unwrap_or_else(|| shown.view.load_full()), format) {
        Ok(text) => ([(header::CONTENT_TYPE, format.content_type())], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn healthz(State(shown): State<Arc<Shown>>) -> Response {
    let age_ns = clock::monotonic_ns().saturating_sub(shown.window_at_ns.load(Ordering::Relaxed));
    let latest = shown.latest.load();
    let window_ns = latest.window_ns;
    let usual_ns = window_ns.saturating_mul(STALE_WINDOWS).max(STALE_NS_MIN);
    if age_ns <= if latest.windows == 0 { START_NS_MAX } else { usual_ns } {
        return "ok\n".into_response();
    }
    let seconds = age_ns / 1_000_000_000;
    (StatusCode::SERVICE_UNAVAILABLE, format!("no window for {seconds} s\n")).into_response()
}

async fn readyz(State(shown): State<Arc<Shown>>) -> Response {
    if shown.latest.load().windows == 0 {
        return (StatusCode::SERVICE_UNAVAILABLE, "no window yet\n").into_response();
    }
    healthz(State(shown)).await
}

/// A connection on which anything comes, of somebody without the token: it ends, and tells nothing.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(bytes: &[u8]) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let limits = Limits { headers: Duration::from_millis(20), ..Limits::default() };
    let view =
        View { published: Arc::new(Published { windows: 1, ..Published::default() }), ..View::default() };
    let token = Token::for_fuzzing();
    let window_at_ns = AtomicU64::new(clock::monotonic_ns());
    let (latest, view) = (ArcSwap::new(Arc::clone(&view.published)), ArcSwap::from_pointee(view));
    let (asks, _nobody) = channel(1);
    let shown = Shown { latest, view, asks, window_at_ns, token: Some(token) };
    let app = router(Arc::new(shown), Router::new());
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    let answer = runtime.block_on(async move {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let sent = bytes.get(..1 << 15).unwrap_or(bytes);
        drop(client.write_all(sent).await);
        drop(client.shutdown().await);
        one_request(server, app, limits).await;
        let mut answer = Vec::new();
        drop(client.read_to_end(&mut answer).await);
        answer
    });
    let answer = String::from_utf8_lossy(&answer);
    assert!(!answer.contains("carbon_"), "metrics without the token: {answer}");
}
