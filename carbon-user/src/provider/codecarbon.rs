//! What a server of `CodeCarbon`'s API has of a team: organisations, projects, experiments, runs and their emissions.
//!
//! The routes are those of its server 3.3 (`carbonserver/carbonserver/api/routers`).

use super::{Http, ProviderError};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::path::Path;

/// Emissions asked for at once: about 350 kB.
const PAGE: u32 = 500;

/// Pages of one run at most: a year of posts a minute.
const PAGES_MAX: u32 = 1_200;

/// Largest answer: some 50,000 runs.
const BYTES_MAX: u64 = 64 << 20;

/// Something with a name.
#[derive(Clone, Debug, Deserialize)]
pub struct Named {
    /// UUID.
    pub id: String,
    /// For people.
    #[serde(default)]
    pub name: String,
    /// In words.
    #[serde(default)]
    pub description: Option<String>,
}

/// A page of emissions. Older servers give the list itself.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Page {
    Pages { items: Vec<Value> },
    List(Vec<Value>),
}

/// A server and the right to read it, or to post to it.
#[derive(Debug)]
pub struct TeamServer {
    http: Http,
    url: String,
    token: String,
}

impl TeamServer {
    /// At this URL, such as `https://api.codecarbon.io`; with `ca_file`, by certificates that are signed with those of that file.
    pub fn new(url: &str, token: &str, ca_file: Option<&Path>) -> Result<Self, String> {
        if !["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err("not a URL that begins with http:// or https://".to_owned());
        }
        let http = Http::online().up_to(BYTES_MAX);
        let http = match ca_file {
            Some(path) => {
                http.trusting(path).map_err(|reason| format!("cannot use {}: {reason}", path.display()))?
            }
            None => http,
        };
        Ok(Self { http, url: url.trim_end_matches('/').to_owned(), token: token.to_owned() })
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Puts a value at a path of `carbon serve`: the same again changes nothing.
    pub fn put(&self, path: &str, value: &Value) -> Result<(), ProviderError> {
        let headers = [("x-api-token", self.token.as_str()), ("Content-Type", "application/json")];
        self.http.put(&format!("{}{path}", self.url), &headers, &value.to_string()).map(|_said| ())
    }

    fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T, ProviderError> {
        // Its own tokens are sent as the first, those of its log-in as the second.
        let bearer = format!("Bearer {}", self.token);
        let headers = [("x-api-token", self.token.as_str()), ("Authorization", bearer.as_str())];
        let text = self.http.get(&format!("{}{path}", self.url), query, &headers)?;
        serde_json::from_str(&text).map_err(|error| ProviderError::Answer {
            provider: "the server",
            reason: format!("{path}: {error}"),
        })
    }

    /// All that the token may see.
    pub fn organisations(&self) -> Result<Vec<Named>, ProviderError> {
        self.get("/organizations", &[])
    }

    /// Of an organisation.
    pub fn projects(&self, organisation: &str) -> Result<Vec<Named>, ProviderError> {
        self.get(&format!("/organizations/{organisation}/projects"), &[])
    }

    /// Of a project: all that is said of each, with `id` and `name`.
    pub fn experiments(&self, project: &str) -> Result<Vec<Map<String, Value>>, ProviderError> {
        self.get(&format!("/projects/{project}/experiments"), &[])
    }

    /// Of an experiment: all that is said of each, with `id`.
    pub fn runs(&self, experiment: &str) -> Result<Vec<Map<String, Value>>, ProviderError> {
        self.get(&format!("/experiments/{experiment}/runs"), &[])
    }

    /// Of a run, all of them.
    pub fn emissions(&self, run: &str) -> Result<Vec<Value>, ProviderError> {
        let size = PAGE.to_string();
        let mut all = Vec::new();
        for page in 1..=PAGES_MAX {
            let number = page.to_string();
            let query = [("page", number.as_str()), ("size", size.as_str())];
            let (items, whole) = match self.get(&format!("/runs/{run}/emissions"), &query)? {
                Page::Pages { items } => (items, false),
                Page::List(items) => (items, true),
            };
            let last = whole || items.len() < size.parse().unwrap_or(usize::MAX);
            all.extend(items);
            if last {
                return Ok(all);
            }
        }
        Err(ProviderError::Answer {
            provider: "the server",
            reason: format!("run {run} has no end of emissions"),
        })
    }
}
