//! One request to a receiver, with a time-out, and what became of it.

use super::Options;
use crate::small_file::{self, CERTIFICATES_BYTES_MAX, SECRET_BYTES_MAX};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;
use ureq::tls::{PemItem, RootCerts, TlsConfig};

/// A whole request.
const REQUEST_MAX: Duration = Duration::from_secs(5);
/// An answer: it says how many values were refused, and why.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Why a push failed.
#[derive(Debug, Error)]
pub(super) enum SendError {
    #[error("cannot use {}: {reason}", .path.display())]
    File { path: PathBuf, reason: String },
    #[error("{url} does not answer: {reason}")]
    Unreachable { url: String, reason: String },
    #[error("{url} refuses with status {status}: check the token and what it may do")]
    Refused { url: String, status: u16 },
    #[error("{url} is busy, status {status}")]
    Busy { url: String, status: u16, pause: Duration },
    #[error("{url} answers with status {status}: is it an OTLP receiver for HTTP (port 4318 by default)?")]
    Failed { url: String, status: u16 },
}

/// The receiver, with the connection that is kept.
#[derive(Debug)]
pub(super) struct Receiver {
    url: String,
    token_file: Option<PathBuf>,
    /// Or the file of certificates that cannot be used.
    agent: Result<ureq::Agent, (PathBuf, String)>,
}

impl Receiver {
    pub(super) fn new(options: &Options) -> Self {
        let url = format!("{}/v1/metrics", options.url.trim_end_matches('/'));
        Self { url, token_file: options.token_file.clone(), agent: agent(options.ca_file.as_deref()) }
    }

    /// The body of an answer that says that it was taken.
    pub(super) fn send(&self, request: &ExportMetricsServiceRequest) -> Result<Vec<u8>, SendError> {
        let unread = |(path, reason): &(PathBuf, String)| SendError::File {
            path: path.clone(),
            reason: reason.clone(),
        };
        let url = self.url.clone();
        let mut post = self.agent.as_ref().map_err(unread)?.post(&url).content_type("application/x-protobuf");
        if let Some(path) = &self.token_file {
            let token = token(path).map_err(|reason| SendError::File { path: path.clone(), reason })?;
            post = post.header("Authorization", format!("Bearer {token}"));
        }
        let unreachable =
            |error: ureq::Error| SendError::Unreachable { url: url.clone(), reason: error.to_string() };
        let mut response = post.send(&request.encode_to_vec()[..]).map_err(unreachable)?;
        match response.status().as_u16() {
            200..=299 => {
                let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
                body.map_err(unreachable)
            }
            status @ (401 | 403) => Err(SendError::Refused { url, status }),
            // Those that OTLP calls retryable.
            status @ (429 | 502..=504) => {
                let after = response.headers().get("Retry-After").and_then(|text| text.to_str().ok());
                let pause = after.and_then(|text| text.trim().parse().ok()).unwrap_or_default();
                Err(SendError::Busy { url, status, pause: Duration::from_secs(pause) })
            }
            status => Err(SendError::Failed { url, status }),
        }
    }
}

fn agent(ca_file: Option<&Path>) -> Result<ureq::Agent, (PathBuf, String)> {
    let mut config = ureq::Agent::config_builder()
        .timeout_global(Some(REQUEST_MAX))
        .http_status_as_error(false)
        .max_redirects(0)
        .user_agent(concat!("carbon/", env!("CARGO_PKG_VERSION")));
    if let Some(path) = ca_file {
        let pem = small_file::bytes(path, CERTIFICATES_BYTES_MAX);
        let pem = pem.map_err(|error| (path.to_owned(), error.to_string()))?;
        let certificates: Vec<_> = ureq::tls::parse_pem(&pem)
            .filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            })
            .collect();
        if certificates.is_empty() {
            return Err((path.to_owned(), "it holds no certificate".to_owned()));
        }
        let roots = RootCerts::new_with_certs(&certificates);
        config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
    }
    Ok(config.build().into())
}

/// The bearer token of a file: one word, as a header has no room for more. Read for each push, as it is renewed.
pub(super) fn token(path: &Path) -> Result<String, String> {
    let text = small_file::text(path, SECRET_BYTES_MAX).map_err(|error| error.to_string())?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("a token is one line of printable characters without spaces".to_owned());
    }
    Ok(token.to_owned())
}
