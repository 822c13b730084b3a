//! The query API of Prometheus, which Thanos, Mimir and `VictoriaMetrics` answer too: one question, and what it gave.
//!
//! <https://prometheus.io/docs/prometheus/latest/querying/api/>, instant queries by POST.

use super::http::trust;
use crate::small_file::{self, SECRET_BYTES_MAX};
use serde::Deserialize;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Largest answer: some 200,000 series.
pub const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// A whole question; the server's own limit is two minutes by default.
const REQUEST_MAX: Duration = Duration::from_mins(3);
/// Characters of what a server says of an error.
const SAID_MAX: usize = 300;
/// Different things that it says of what its answers lack.
const WARNINGS_MAX: usize = 10;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// A file of the user's.
    #[error("cannot use {path}: {reason}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// No connection, or no answer in time.
    #[error("{url} does not answer: {reason}")]
    Unreachable {
        /// As it was given.
        url: String,
        /// Why.
        reason: String,
    },
    /// It will not answer this user.
    #[error("{url} refuses with status {status}: give --source-token with a token that may read")]
    Refused {
        /// As it was given.
        url: String,
        /// 401 or 403.
        status: u16,
    },
    /// The question is more than the server will do at once.
    #[error("{url} cannot answer so much at once: {said}; give a shorter time or --source-match")]
    TooMuch {
        /// As it was given.
        url: String,
        /// The server's words.
        said: String,
    },
    /// The answer is larger than what is read.
    #[error("the answer of {url} is larger than {} MiB: give a shorter time, --source-match, or a coarser --by", ANSWER_BYTES_MAX >> 20)]
    TooLarge {
        /// As it was given.
        url: String,
    },
    /// It is no query API, or says that the question is wrong.
    #[error(
        "{url} gave no answer that can be used: {reason}; it should be the base of a Prometheus-compatible API, such as http://localhost:9090"
    )]
    Answer {
        /// As it was given.
        url: String,
        /// How.
        reason: String,
    },
}

/// One series at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Without those that are empty.
    pub labels: BTreeMap<String, String>,
    /// Never NaN.
    pub value: f64,
}

impl Value {
    /// A label; empty where there is none.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// A server that is asked.
#[derive(Debug)]
pub struct Prometheus {
    url: String,
    agent: ureq::Agent,
    token: Option<String>,
    warnings: RefCell<BTreeSet<String>>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    status: String,
    #[serde(default)]
    error: String,
    data: Option<Data>,
    /// What the answer lacks, such as a store that Thanos could not reach.
    warnings: Option<Vec<String>>,
    /// The same, as a cluster of `VictoriaMetrics` says it.
    #[serde(default, rename = "isPartial")]
    is_partial: bool,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "resultType")]
    result_type: String,
    #[serde(default)]
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    value: (f64, String),
}

impl Prometheus {
    /// `url` is the base, such as `http://localhost:9090`; files hold a bearer token, and certificates that the server's is
    /// signed with.
    pub fn new(url: &str, token: Option<&Path>, ca: Option<&Path>) -> Result<Self, QueryError> {
        let mut config = ureq::Agent::config_builder()
            .timeout_global(Some(REQUEST_MAX))
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("carbon/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = ca {
            let tls = trust(path).map_err(|reason| QueryError::File { path: path.into(), reason })?;
            config = config.tls_config(tls);
        }
        let token = token.map(small).transpose()?.map(|text| text.trim().to_owned());
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            agent: config.build().into(),
            token,
            warnings: RefCell::default(),
        })
    }

    /// What its answers lacked so far, in its own words: sums of them are too low.
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.borrow().iter().cloned().collect()
    }

    /// The value of an expression at a time, by series.
    pub fn instant(&self, expression: &str, at_s: i64) -> Result<Vec<Value>, QueryError> {
        let url = || self.url.clone();
        let mut request = self.agent.post(format!("{}/api/v1/query", self.url));
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let at = at_s.to_string();
        let mut response = request
            .send_form([("query", expression), ("time", at.as_str())])
            .map_err(|error| QueryError::Unreachable { url: url(), reason: error.to_string() })?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let body = body.map_err(|error| match error {
            ureq::Error::BodyExceedsLimit(_) => QueryError::TooLarge { url: url() },
            error => QueryError::Unreachable { url: url(), reason: error.to_string() },
        })?;
        self.values(status, &body)
    }

    pub(super) fn values(&self, status: u16, body: &[u8]) -> Result<Vec<Value>, QueryError> {
        let url = self.url.clone();
        if matches!(status, 401 | 403) {
            return Err(QueryError::Refused { url, status });
        }
        let parsed: Result<Answer, _> = serde_json::from_slice(body);
        let answer = match parsed {
            Ok(answer) => answer,
            // What stands before the engine gave up waiting for it.
            Err(_) if matches!(status, 502..=504) => {
                return Err(QueryError::TooMuch { url, said: format!("status {status}") });
            }
            Err(error) if status == 200 => return Err(QueryError::Answer { url, reason: error.to_string() }),
            Err(_) => return Err(QueryError::Answer { url, reason: format!("status {status}") }),
        };
        if answer.status != "success" {
            let said = plain(&answer.error);
            // What Prometheus and VictoriaMetrics say where a limit was reached.
            let limits = ["too many samples", "timed out", "timeout", "exceed", "limit"];
            if matches!(status, 422 | 429 | 503 | 504) && limits.iter().any(|word| said.contains(word)) {
                return Err(QueryError::TooMuch { url, said });
            }
            return Err(QueryError::Answer { url, reason: format!("status {status}, {said}") });
        }
        let Some(data) = answer.data.filter(|data| data.result_type == "vector") else {
            return Err(QueryError::Answer { url, reason: "it is no vector".into() });
        };
        let mut warnings = self.warnings.borrow_mut();
        let said = answer.warnings.unwrap_or_default();
        let room = WARNINGS_MAX.saturating_sub(warnings.len());
        warnings.extend(said.iter().take(room).map(|said| plain(said)));
        if answer.is_partial {
            warnings.insert("some of its stores did not answer".to_owned());
        }
        let of = |series: Series| {
            let value: f64 = series.value.1.parse().ok()?;
            let labels = series.metric.into_iter().filter(|(_, text)| !text.is_empty()).collect();
            value.is_finite().then_some(Value { labels, value })
        };
        Ok(data.result.into_iter().filter_map(of).collect())
    }
}

/// What a server says, for one line.
fn plain(said: &str) -> String {
    said.chars().filter(|c| !c.is_control()).take(SAID_MAX).collect()
}

fn small(path: &Path) -> Result<String, QueryError> {
    let failed = |error: std::io::Error| QueryError::File { path: path.into(), reason: error.to_string() };
    small_file::text(path, SECRET_BYTES_MAX).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_and_an_error_says_what_to_do() {
        let server = Prometheus::new("http://localhost:9090/", None, None).unwrap();
        let body = br#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{"node":"a","namespace":""},"value":[1,"2.5"]},{"metric":{},"value":[1,"NaN"]}]}}"#;
        let values = server.values(200, body).unwrap();
        assert_eq!((values.len(), values[0].value), (1, 2.5));
        assert_eq!((values[0].label("node"), values[0].label("namespace")), ("a", ""));
        let said = |status, body: &[u8]| server.values(status, body).unwrap_err().to_string();
        assert!(said(401, b"").contains("--source-token"));
        assert!(said(200, b"<html>").contains("http://localhost:9090 gave no answer"));
        let much = br#"{"status":"error","errorType":"execution","error":"query processing would load too many samples into memory"}"#;
        assert!(matches!(server.values(422, much), Err(QueryError::TooMuch { .. })));
        assert!(said(400, br#"{"status":"error","error":"parse error"}"#).contains("parse error"));
        assert!(
            said(200, br#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#)
                .contains("no vector")
        );
    }

    #[test]
    fn an_answer_that_lacks_something_is_no_whole_one() {
        let server = Prometheus::new("http://localhost:9090", None, None).unwrap();
        let ask = |more: &str| {
            let body = format!(
                "{{\"status\":\"success\",{more}\"data\":{{\"resultType\":\"vector\",\"result\":[]}}}}"
            );
            server.values(200, body.as_bytes()).unwrap();
            server.warnings()
        };
        assert_eq!(ask("\"isPartial\":false,"), [""; 0]);
        assert_eq!(ask("\"warnings\":null,"), [""; 0]);
        assert_eq!(ask("\"warnings\":[\"no store matched\\n\"],"), ["no store matched"]);
        assert_eq!(ask("\"isPartial\":true,").len(), 2);
        assert_eq!(ask("\"isPartial\":true,").len(), 2, "said once");
        // A proxy before the engine has pages of its own for that it waited too long.
        assert!(matches!(server.values(504, b"<html>"), Err(QueryError::TooMuch { .. })));
        assert!(matches!(server.values(404, b"<html>"), Err(QueryError::Answer { .. })));
    }

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let refused = Prometheus::new("https://x", None, Some(file.path())).unwrap_err();
        assert!(refused.to_string().contains("no certificate"), "{refused}");
        assert!(Prometheus::new("https://x", Some(Path::new("/nonexistent")), None).is_err());
    }
}
