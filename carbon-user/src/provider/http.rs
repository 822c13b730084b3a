//! Requests with short time-outs, small answers, and patience for servers that are busy.

use super::ProviderError;
use crate::small_file::{self, CERTIFICATES_BYTES_MAX};
use std::path::Path;
use std::time::Duration;
use ureq::config::ConfigBuilder;
use ureq::tls::{PemItem, RootCerts, TlsConfig};
use ureq::typestate::AgentScope;

/// A whole request.
const REQUEST_MAX: Duration = Duration::from_secs(10);

/// How often a busy server is asked.
const ATTEMPTS: u32 = 3;

/// Largest answer.
const BYTES_MAX: u64 = 1 << 20;

/// What of a refusal is told, in characters.
const SAID_MAX: usize = 300;

/// Trusts servers by the certificates of a file, in PEM, that theirs are signed with, and by no others.
pub(super) fn trust(ca_file: &Path) -> Result<TlsConfig, String> {
    let pem = small_file::bytes(ca_file, CERTIFICATES_BYTES_MAX).map_err(|error| error.to_string())?;
    let certificates: Vec<_> = ureq::tls::parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err("it holds no certificate".to_owned());
    }
    Ok(TlsConfig::builder().root_certs(RootCerts::new_with_certs(&certificates)).build())
}

/// What asks; made with the user's leave only.
#[derive(Clone, Debug)]
pub struct Http {
    agent: Option<ureq::Agent>,
    request_max: Duration,
    pause: Duration,
    attempts: u32,
    bytes_max: u64,
}

fn config(request_max: Duration) -> ConfigBuilder<AgentScope> {
    ureq::Agent::config_builder()
        .timeout_global(Some(request_max))
        .http_status_as_error(false)
        .max_redirects(0)
        .user_agent(concat!("carbon/", env!("CARGO_PKG_VERSION")))
}

impl Http {
    /// One that asks.
    pub fn online() -> Self {
        Self::with(REQUEST_MAX, Duration::from_millis(500), ATTEMPTS)
    }

    /// One that opens no socket.
    pub fn offline() -> Self {
        Self {
            agent: None,
            request_max: REQUEST_MAX,
            pause: Duration::ZERO,
            attempts: 0,
            bytes_max: BYTES_MAX,
        }
    }

    /// With other limits; `pause` doubles with each attempt.
    pub fn with(request_max: Duration, pause: Duration, attempts: u32) -> Self {
        let agent = Some(agent(config(request_max), None));
        Self { agent, request_max, pause, attempts, bytes_max: BYTES_MAX }
    }

    /// One that asks once, and past the proxy that the environment may name: that one would answer for its own machine.
    pub fn past_proxies(request_max: Duration) -> Self {
        let agent = Some(agent(config(request_max).proxy(None), None));
        Self { agent, request_max, pause: Duration::ZERO, attempts: 1, bytes_max: BYTES_MAX }
    }

    /// The same, for servers whose certificates are signed with those of a file.
    pub fn trusting(self, ca_file: &Path) -> Result<Self, String> {
        let tls = trust(ca_file)?;
        let agent = self.agent.map(|_| agent(config(self.request_max), Some(tls)));
        Ok(Self { agent, ..self })
    }

    /// With larger answers.
    #[must_use]
    pub fn up_to(self, bytes_max: u64) -> Self {
        Self { bytes_max, ..self }
    }

    /// The body of a successful answer.
    pub fn get(
        &self,
        url: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> Result<String, ProviderError> {
        self.request(None, url, query, headers)
    }

    /// As [`get`](Self::get), by PUT, with or without a body.
    pub fn put(&self, url: &str, headers: &[(&str, &str)], body: &str) -> Result<String, ProviderError> {
        self.request(Some(body), url, &[], headers)
    }

    fn request(
        &self,
        body: Option<&str>,
        url: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> Result<String, ProviderError> {
        let agent = self.agent.as_ref().ok_or(ProviderError::Offline)?;
        let unreachable = |reason: String| ProviderError::Unreachable { url: url.to_owned(), reason };
        let mut pause = self.pause;
        let mut attempt = 1;
        loop {
            let sent = if let Some(body) = body {
                let request =
                    headers.iter().fold(agent.put(url), |it, (name, value)| it.header(*name, *value));
                if body.is_empty() { request.send_empty() } else { request.send(body) }
            } else {
                let request =
                    headers.iter().fold(agent.get(url), |it, (name, value)| it.header(*name, *value));
                query.iter().fold(request, |it, (name, value)| it.query(*name, *value)).call()
            };
            let failure = match sent {
                Ok(mut response) => match response.status().as_u16() {
                    200..=299 => {
                        let body = response.body_mut().with_config().limit(self.bytes_max).read_to_string();
                        return body.map_err(|error| unreachable(error.to_string()));
                    }
                    status @ (401 | 403) => {
                        return Err(ProviderError::Refused { url: url.to_owned(), status });
                    }
                    status @ (429 | 500..=599) => ProviderError::Failed { url: url.to_owned(), status },
                    status @ (409 | 413 | 422) => {
                        let said = response.body_mut().with_config().limit(BYTES_MAX).read_to_string();
                        let said = said_of(&said.unwrap_or_default());
                        let said = said.chars().filter(|it| !it.is_control()).take(SAID_MAX).collect();
                        return Err(ProviderError::NotTaken { url: url.to_owned(), status, said });
                    }
                    status => return Err(ProviderError::Failed { url: url.to_owned(), status }),
                },
                Err(error) => unreachable(error.to_string()),
            };
            if attempt >= self.attempts {
                return Err(failure);
            }
            std::thread::sleep(pause);
            pause = pause.saturating_mul(2);
            attempt += 1;
        }
    }
}

fn agent(config: ConfigBuilder<AgentScope>, tls: Option<TlsConfig>) -> ureq::Agent {
    let config = match tls {
        Some(tls) => config.tls_config(tls),
        None => config,
    };
    config.build().into()
}

/// The words of an answer `{"detail": "..."}`; any other as it is.
fn said_of(body: &str) -> String {
    let value: Option<serde_json::Value> = serde_json::from_str(body).ok();
    let detail = value.as_ref().and_then(|value| value.get("detail")?.as_str());
    detail.unwrap_or(body).to_owned()
}
