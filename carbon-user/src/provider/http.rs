//! Requests with short time-outs, small answers, and patience for servers that are busy.

use super::ProviderError;
use std::time::Duration;
use ureq::config::ConfigBuilder;
use ureq::typestate::AgentScope;

/// A whole request.
const REQUEST_MAX: Duration = Duration::from_secs(10);

/// How often a busy server is asked.
const ATTEMPTS: u32 = 3;

/// Largest answer.
const BYTES_MAX: u64 = 1 << 20;

/// What asks; made with the user's leave only.
#[derive(Clone, Debug)]
pub struct Http {
    agent: Option<ureq::Agent>,
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
        Self { agent: None, pause: Duration::ZERO, attempts: 0, bytes_max: BYTES_MAX }
    }

    /// With other limits; `pause` doubles with each attempt.
    pub fn with(request_max: Duration, pause: Duration, attempts: u32) -> Self {
        Self { agent: Some(config(request_max).build().into()), pause, attempts, bytes_max: BYTES_MAX }
    }

    /// One that asks once, and past the proxy that the environment may name: that one would answer for its own machine.
    pub fn past_proxies(request_max: Duration) -> Self {
        let agent = config(request_max).proxy(None).build().into();
        Self { agent: Some(agent), pause: Duration::ZERO, attempts: 1, bytes_max: BYTES_MAX }
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
        self.request("GET", url, query, headers)
    }

    /// As [`get`](Self::get), by PUT without a body.
    pub fn put(&self, url: &str, headers: &[(&str, &str)]) -> Result<String, ProviderError> {
        self.request("PUT", url, &[], headers)
    }

    fn request(
        &self,
        method: &str,
        url: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> Result<String, ProviderError> {
        let agent = self.agent.as_ref().ok_or(ProviderError::Offline)?;
        let unreachable = |reason: String| ProviderError::Unreachable { url: url.to_owned(), reason };
        let mut pause = self.pause;
        let mut attempt = 1;
        loop {
            let sent = if method == "PUT" {
                let request =
                    headers.iter().fold(agent.put(url), |it, (name, value)| it.header(*name, *value));
                request.send_empty()
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
