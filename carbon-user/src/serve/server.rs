//! The HTTP server: looks at the token and the body, and hands what was asked to the threads that own a ledger.

use super::desk::{Desk, Lane, Opener};
use super::page::{self, Part};
use super::routes::{Asked, ROUTES, Route, Verb};
use super::{Answer, Answered, Refused};
use crate::ledger::team::{Team, hash_of};
use crate::metrics::server::{Limits as Connections, accept};
use crate::metrics::{ListenError, Tls};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, RawPathParams, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, get, on};
use serde_json::json;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tower_http::limit::RequestBodyLimitLayer;

/// A run or a post is about 1 kB.
const BODY_MAX_BYTES: usize = 64 * 1024;

/// No token is longer.
const TOKEN_MAX: usize = 512;

/// Bounds on what clients may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of connections.
    pub connections: Connections,
    /// Threads that read.
    pub readers: usize,
    /// Until an answer is given up. A post may be written all the same: who sends it again under its name writes it once.
    pub answer: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let connection = Duration::from_secs(30);
        Self {
            connections: Connections { connections: 256, connection, ..Connections::default() },
            readers: 3,
            answer: Duration::from_secs(20),
        }
    }
}

#[derive(Debug)]
struct Shared {
    desk: Desk,
    now_us: fn() -> i64,
    answer_max: Duration,
}

/// A bound socket, ready to serve.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Tls>,
}

impl Server {
    /// Listens. It must be called inside a runtime.
    pub fn bind(address: SocketAddr, tls: Option<Tls>) -> Result<Self, ListenError> {
        let bound = |source| ListenError::Bind { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(bound)?;
        listener.set_nonblocking(true).map_err(bound)?;
        let address = listener.local_addr().map_err(bound)?;
        let listener = TcpListener::from_std(listener).map_err(bound)?;
        Ok(Self { listener, address, tls })
    }

    /// Where it listens; the port is the one that it got.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers without end, from the ledger that `open` opens: first for the writer, then for readers. `now_us` is the wall clock
    /// in Unix microseconds.
    pub async fn serve(self, open: Opener, now_us: fn() -> i64, limits: Limits) -> Result<(), ListenError> {
        let desk = Desk::start(&open, limits.readers).map_err(ListenError::Thread)?;
        let shared = Arc::new(Shared { desk, now_us, answer_max: limits.answer });
        accept(self.listener, self.tls, router(shared), limits.connections, Arc::default()).await;
        Ok(())
    }
}

fn filter(verb: Verb) -> MethodFilter {
    match verb {
        Verb::Get => MethodFilter::GET,
        Verb::Post => MethodFilter::POST,
        Verb::Put => MethodFilter::PUT,
        Verb::Patch => MethodFilter::PATCH,
        Verb::Delete => MethodFilter::DELETE,
    }
}

fn router(shared: Arc<Shared>) -> Router {
    let mut router: Router<Arc<Shared>> = Router::new()
        .route("/", get(|| async { "carbon serve: see docs/server.md for what it can be asked\n" }))
        .route("/healthz", get(health))
        .route("/share/{secret}", get(|shared, path, query| share(shared, path, query, Part::Page)))
        .route("/share/{secret}/sums", get(|shared, path, query| share(shared, path, query, Part::Sums)))
        .route("/share/{secret}/runs", get(|shared, path, query| share(shared, path, query, Part::Runs)));
    for route in ROUTES {
        let handler = move |State(shared): State<Arc<Shared>>,
                            parameters: RawPathParams,
                            query: Result<Query<HashMap<String, String>>, _>,
                            request: Request| async move {
            let parameters =
                parameters.iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
            let query: HashMap<String, String> = match query {
                Ok(Query(query)) => query,
                Err(error) => return response(Err(unread(&error))),
            };
            response(token_and_body(&shared, route, parameters, query, request).await)
        };
        router = router.route(route.path, on(filter(route.verb), handler));
    }
    router
        .fallback(|| async { response(Err(Refused::new(404, "there is no such route: see docs/server.md"))) })
        .method_not_allowed_fallback(|| async {
            response(Err(Refused::new(405, "this route has other methods: see docs/server.md")))
        })
        .layer(RequestBodyLimitLayer::new(BODY_MAX_BYTES))
        .layer(middleware::from_fn(headers))
        .with_state(shared)
}

fn unread(error: &axum::extract::rejection::QueryRejection) -> Refused {
    Refused::new(400, error.body_text())
}

/// What every answer has. What is told is of one team, and nobody keeps it on the way.
async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("x-robots-tag"), "noindex"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// `x-api-token`, as `CodeCarbon`'s client sends it, or `Authorization: Bearer`.
fn token_of(headers: &HeaderMap) -> Option<String> {
    let text = |name: &str| headers.get(name).and_then(|text| text.to_str().ok());
    let bearer = || {
        let (scheme, token) = text("authorization")?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token)
    };
    let token = text("x-api-token").or_else(bearer)?.trim();
    (!token.is_empty() && token.len() <= TOKEN_MAX).then(|| token.to_owned())
}

async fn token_and_body(
    shared: &Shared,
    route: &'static Route,
    parameters: HashMap<String, String>,
    query: HashMap<String, String>,
    request: Request,
) -> Answered {
    let none = || {
        Refused::new(
            401,
            "a token is asked for, as x-api-token or Authorization: Bearer; this one is none that is good",
        )
    };
    let (head, body) = request.into_parts();
    let hash = hash_of(&token_of(&head.headers).ok_or_else(none)?);
    let once = match head.headers.get("idempotency-key").map(HeaderValue::to_str) {
        None => None,
        Some(Ok(text)) => Some(text.to_owned()),
        Some(Err(_)) => return Err(Refused::wrong("Idempotency-Key is no text")),
    };
    let body = axum::body::to_bytes(Body::new(body), BODY_MAX_BYTES).await.map_err(|_long| {
        Refused::new(413, format!("the body is longer than {BODY_MAX_BYTES} bytes, or did not come whole"))
    })?;
    let now_us = (shared.now_us)();
    let work = move |team: &mut Team<'_>| -> Answered {
        let access = team.access(&hash)?.ok_or_else(none)?;
        if access.scope < route.scope {
            let (own, needed) = (access.scope.as_str(), route.scope.as_str());
            return Err(Refused::new(403, format!("this token is for {own}: this needs one for {needed}")));
        }
        if route.lane() == Lane::Write {
            team.note_use(&access, now_us)?;
        }
        (route.answers)(team, &Asked { access, parameters, query, body: body.to_vec(), once, now_us })
    };
    within(shared, route.lane(), work).await
}

async fn within(
    shared: &Shared,
    lane: Lane,
    work: impl FnOnce(&mut Team<'_>) -> Answered + Send + 'static,
) -> Answered {
    let gave_up =
        |_| Refused::new(504, "the ledger did not answer in time: send it again, or ask for a shorter time");
    tokio::time::timeout(shared.answer_max, shared.desk.ask(lane, work)).await.map_err(gave_up)?
}

async fn share(
    State(shared): State<Arc<Shared>>,
    Path(secret): Path<String>,
    query: Result<Query<HashMap<String, String>>, axum::extract::rejection::QueryRejection>,
    part: Part,
) -> Response {
    let query = match query {
        Ok(Query(query)) => query,
        Err(error) => return response(Err(unread(&error))),
    };
    let work = move |team: &mut Team<'_>| page::shared(team, &secret, part, &query);
    response(within(&shared, Lane::Read, work).await)
}

/// Whether the ledger can be written.
async fn health(State(shared): State<Arc<Shared>>) -> Response {
    let ok = |_: &mut Team<'_>| Ok(Answer::text("text/plain", "ok\n".to_owned(), None));
    response(within(&shared, Lane::Write, ok).await)
}

fn response(answered: Answered) -> Response {
    let status = |code| StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match answered {
        Ok(answer) => {
            let mut response =
                (status(answer.status), [(header::CONTENT_TYPE, answer.content_type)], answer.bytes)
                    .into_response();
            if let Some(value) = answer
                .file
                .and_then(|name| HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")).ok())
            {
                response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
            }
            response
        }
        // In the form that CodeCarbon's server uses.
        Err(refused) => {
            let json = [(header::CONTENT_TYPE, "application/json")];
            let body = json!({"detail": refused.reason}).to_string();
            let mut response = (status(refused.status), json, body).into_response();
            if refused.status == 503 {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            response
        }
    }
}
