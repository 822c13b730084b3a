//! The HTTP server: pages for everybody, answers for who shows the token where there is one.
//!
//! A page of another site that a browser has open can send requests here. It cannot read the answers, as none allows
//! another origin; and a name that was made to point here (DNS rebinding) is refused by the Host header.

use super::assets::{self, ASSETS, Asset};
use super::live::Live;
use super::question::{Query, Question, Topic};
use super::{Answers, Refusal};
use crate::metrics::host::{host, is_own};
use crate::metrics::server::{Lease, Limits as Connections, accept};
use crate::metrics::{Listen, ListenError, Tls, Token};
use axum::Router;
use axum::extract::{Extension, Path, Query as QueryOf, Request, State, rejection::QueryRejection};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tower_http::compression::CompressionLayer;
use tower_http::limit::RequestBodyLimitLayer;

/// No request has a body.
const BODY_MAX_BYTES: usize = 1024;

/// Only what comes with the page is run, drawn or asked. Nothing frames it. A picture may be of a blob, which only the page's
/// own script makes: it draws a chart's PNG that way.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Bounds on what readers may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of connections.
    pub connections: Connections,
    /// Ledgers that are read at one time.
    pub reads: usize,
    /// Until a read is given up, the time that it waited for its turn included.
    pub read: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: Connections { connection: Duration::from_mins(1), ..Connections::default() },
            reads: 4,
            read: Duration::from_secs(30),
        }
    }
}

/// What the pages say, and to whom.
pub struct Pages {
    /// What they say.
    pub answers: Arc<dyn Answers>,
    /// What is measured now, where an agent measures.
    pub live: Option<Arc<Live>>,
    /// What readers must show.
    pub token: Option<Token>,
    /// Names that it may be called by, besides `localhost` and addresses.
    pub hosts: Vec<String>,
    /// Bounds.
    pub limits: Limits,
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pages")
            .field("hosts", &self.hosts)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Pages {
    /// Pages and answers, guarded, without what answers other paths.
    pub fn routes(self) -> Router {
        let reads = Arc::new(Semaphore::new(self.limits.reads));
        let shared = Arc::new(Shared { pages: self, reads });
        let mut router = Router::new()
            .route("/api/v1/live", get(live))
            .route("/api/v1/{topic}", get(answer))
            .route_layer(middleware::from_fn_with_state(Arc::clone(&shared), authorize));
        for asset in ASSETS {
            router =
                router.route(asset.path, get(move |headers: HeaderMap| async move { file(asset, &headers) }));
        }
        router
            // Names and numbers are a tenth of their size. Events are left as they are: each is sent at once.
            .layer(CompressionLayer::new())
            .layer(RequestBodyLimitLayer::new(BODY_MAX_BYTES))
            .layer(middleware::from_fn_with_state(Arc::clone(&shared), guard))
            .with_state(shared)
    }
}

/// What is shared by all requests.
struct Shared {
    pages: Pages,
    reads: Arc<Semaphore>,
}

/// A bound socket, ready to serve.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    token: Option<Token>,
    tls: Option<Tls>,
}

impl Server {
    /// Listens. It must be called inside a runtime.
    pub fn bind(listen: Listen) -> Result<Self, ListenError> {
        let (address, token, tls) = listen.into_parts();
        let bound = |source| ListenError::Bind { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(bound)?;
        listener.set_nonblocking(true).map_err(bound)?;
        let address = listener.local_addr().map_err(bound)?;
        let listener = TcpListener::from_std(listener).map_err(bound)?;
        Ok(Self { listener, address, token, tls })
    }

    /// Where it listens; the port is the one that it got.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers without end. `hosts` are names that it may be called by.
    pub async fn serve(self, answers: Arc<dyn Answers>, hosts: Vec<String>, limits: Limits) {
        let pages = Pages { answers, live: None, token: self.token, hosts, limits };
        let app = pages
            .routes()
            .fallback(|| async { (StatusCode::NOT_FOUND, "not found; the dashboard is at /\n") })
            .method_not_allowed_fallback(|| async {
                (StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n")
            });
        accept(self.listener, self.tls, app, limits.connections, Arc::default()).await;
    }
}

/// Refuses names that are not its own, and sets what every answer has.
async fn guard(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let mut response = if host(request.headers()).is_some_and(|host| is_own(host, &shared.pages.hosts)) {
        next.run(request).await
    } else {
        let advice = "this name is not the dashboard's: call it by its address or as localhost, or start it with --host NAME\n";
        (StatusCode::MISDIRECTED_REQUEST, advice).into_response()
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

async fn authorize(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let sent = request.headers().get(header::AUTHORIZATION).map(|text| text.as_bytes().to_vec());
    if shared.pages.token.as_ref().is_none_or(|token| token.is_shown(sent.as_deref())) {
        return next.run(request).await;
    }
    // No challenge: a browser would ask for a password, and the page asks for the token itself.
    (StatusCode::UNAUTHORIZED, "a bearer token is asked for\n").into_response()
}

/// A page is the same until the program is another.
fn file(asset: Asset, headers: &HeaderMap) -> Response {
    let tag = assets::tag();
    let cached = [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, "no-cache".to_owned())];
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, cached).into_response();
    }
    (cached, [(header::CONTENT_TYPE, asset.content_type)], asset.bytes).into_response()
}

/// What is measured now; nothing where no agent measures here.
async fn live(State(shared): State<Arc<Shared>>, Extension(lease): Extension<Lease>) -> Response {
    match &shared.pages.live {
        Some(live) => Live::follow(live, &lease),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    Path(topic): Path<String>,
    query: Result<QueryOf<Query>, QueryRejection>,
) -> Response {
    let Some(topic) = Topic::parse(&topic) else {
        return (StatusCode::NOT_FOUND, "there is no such answer\n").into_response();
    };
    let query = match query {
        Ok(QueryOf(query)) => query,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{}\n", error.body_text())).into_response(),
    };
    match timeout(shared.pages.limits.read, read(&shared, Question { topic, query })).await {
        Ok(Ok(json)) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Ok(Err(Refusal::Wrong(why))) => (StatusCode::BAD_REQUEST, why + "\n").into_response(),
        Ok(Err(Refusal::Failed(why))) => (StatusCode::SERVICE_UNAVAILABLE, why + "\n").into_response(),
        Ok(Err(Refusal::Late(why))) => (StatusCode::GATEWAY_TIMEOUT, why + "\n").into_response(),
        Err(_late) => {
            let advice = "the ledger did not answer in time: ask for a shorter interval\n";
            (StatusCode::GATEWAY_TIMEOUT, advice).into_response()
        }
    }
}

async fn read(shared: &Shared, question: Question) -> Result<Vec<u8>, Refusal> {
    let ended = |_| Refusal::Failed("the ledger could not be read".to_owned());
    let begun = Instant::now();
    let permit = Arc::clone(&shared.reads)
        .acquire_owned()
        .await
        .map_err(|_closed| Refusal::Failed("the dashboard is ending".to_owned()))?;
    let answers = Arc::clone(&shared.pages.answers);
    // Who has gone reads no further either: the ledger ends the reading at the same time.
    let left = shared.pages.limits.read.saturating_sub(begun.elapsed());
    let read = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        answers.answer(&question, left)
    });
    read.await.map_err(ended)?
}
