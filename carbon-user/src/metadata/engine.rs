//! Docker, and Podman, which speaks Docker's API: one question for each container.

use super::http::{at_socket, body};
use super::{ID_DIGITS, Key, Known, Labels, Source, SourceError, text};
use serde::Deserialize;
use std::collections::HashMap;
use std::path::PathBuf;

/// An engine at a socket.
pub(super) struct Engine {
    name: &'static str,
    socket: PathBuf,
    agent: ureq::Agent,
    labels: Labels,
}

impl Engine {
    pub(super) fn new(name: &'static str, socket: PathBuf, labels: Labels) -> Self {
        Self { name, agent: at_socket(&socket), socket, labels }
    }
}

/// Of the answer to `GET /containers/ID/json` (Docker Engine API v1.24 and later).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    #[serde(default)]
    name: String,
    config: Option<Config>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    #[serde(default)]
    image: String,
    labels: Option<HashMap<String, String>>,
}

impl Source for Engine {
    fn name(&self) -> &'static str {
        self.name
    }

    fn ask(&mut self, wanted: &[Key]) -> Result<Vec<(Key, Known)>, SourceError> {
        let mut found = Vec::new();
        for key in wanted {
            let Key::Container(id) = key else { continue };
            if id.len() != ID_DIGITS {
                continue;
            }
            let url = format!("http://localhost/containers/{id}/json");
            let Some(text) = body(self.agent.get(&url).call(), &self.socket.display().to_string())? else {
                continue;
            };
            found.push((key.clone(), known(self.name, &text, &self.labels)?));
        }
        Ok(found)
    }
}

pub(super) fn known(source: &'static str, answer: &str, labels: &Labels) -> Result<Known, SourceError> {
    let inspected: Inspected = serde_json::from_str(answer)
        .map_err(|error| SourceError::Failed(format!("{source} gave an answer that is not one: {error}")))?;
    let config = inspected.config.unwrap_or(Config { image: String::new(), labels: None });
    let all = config.labels.unwrap_or_default();
    // Of a container that the kubelet had made by Docker (dockershim, cri-dockerd).
    let of_pod = |name: &str| all.get(&format!("io.kubernetes.{name}")).and_then(|value| text(value));
    Ok(Known {
        source,
        container: of_pod("container.name").or_else(|| text(inspected.name.trim_start_matches('/'))),
        image: text(&config.image),
        namespace: of_pod("pod.namespace"),
        pod: of_pod("pod.name"),
        labels: labels.keep(&all),
        ..Known::default()
    })
}
