//! The kubelet: one question for all pods of the node (`GET /pods`, which needs the right `nodes/pods`, or `nodes/proxy`
//! on clusters before 1.33).

use super::http::{REQUEST_MAX, body};
use super::{Key, Known, Labels, Source, SourceError, text};
use crate::small_file::{self, CERTIFICATES_BYTES_MAX, SECRET_BYTES_MAX};
use serde::Deserialize;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use ureq::tls::{PemItem, RootCerts, TlsConfig};

/// Where the kubelet is, and what it wants to see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kubelet {
    /// Such as `https://127.0.0.1:10250`.
    pub url: String,
    /// Holds the token; read each time, as it is renewed.
    pub token_file: Option<PathBuf>,
    /// Holds the certificates that the kubelet's is signed with.
    pub ca_file: Option<PathBuf>,
}

/// The kubelet as a source.
pub(super) struct Pods {
    kubelet: Kubelet,
    labels: Labels,
}

impl Pods {
    pub(super) fn new(kubelet: Kubelet, labels: Labels) -> Self {
        Self { kubelet, labels }
    }

    fn agent(&self) -> Result<ureq::Agent, SourceError> {
        let mut config = ureq::Agent::config_builder()
            .timeout_global(Some(REQUEST_MAX))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_idle_connections(0)
            .proxy(None);
        if let Some(path) = &self.kubelet.ca_file {
            let pem = small(path, CERTIFICATES_BYTES_MAX)?;
            let certificates: Vec<_> = ureq::tls::parse_pem(pem.as_bytes())
                .filter_map(|item| match item {
                    Ok(PemItem::Certificate(certificate)) => Some(certificate),
                    _ => None,
                })
                .collect();
            if certificates.is_empty() {
                return Err(SourceError::Failed(format!("{} holds no certificate", path.display())));
            }
            config = config.tls_config(
                TlsConfig::builder().root_certs(RootCerts::new_with_certs(&certificates)).build(),
            );
        }
        Ok(config.build().into())
    }
}

/// A file that a person or the kubelet wrote.
fn small(path: &Path, bytes_max: u64) -> Result<String, SourceError> {
    small_file::text(path, bytes_max)
        .map_err(|error| SourceError::Failed(format!("{}: {error}", path.display())))
}

#[derive(Deserialize)]
struct PodList {
    // Go writes an empty list as null.
    items: Option<Vec<Pod>>,
}

#[derive(Deserialize)]
struct Pod {
    metadata: About,
    status: Option<Status>,
}

#[derive(Deserialize)]
struct About {
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    uid: String,
    labels: Option<HashMap<String, String>>,
    annotations: Option<HashMap<String, String>>,
}

#[derive(Deserialize, Default)]
struct Status {
    #[serde(rename = "containerStatuses")]
    containers: Option<Vec<Container>>,
    #[serde(rename = "initContainerStatuses")]
    init: Option<Vec<Container>>,
    #[serde(rename = "ephemeralContainerStatuses")]
    ephemeral: Option<Vec<Container>>,
}

#[derive(Deserialize)]
struct Container {
    #[serde(default)]
    name: String,
    #[serde(default)]
    image: String,
    #[serde(default, rename = "containerID")]
    id: String,
}

impl Source for Pods {
    fn name(&self) -> &'static str {
        "kubelet"
    }

    fn ask(&mut self, _: &[Key]) -> Result<Vec<(Key, Known)>, SourceError> {
        let url = format!("{}/pods", self.kubelet.url.trim_end_matches('/'));
        let mut request = self.agent()?.get(&url);
        if let Some(path) = &self.kubelet.token_file {
            request =
                request.header("Authorization", format!("Bearer {}", small(path, SECRET_BYTES_MAX)?.trim()));
        }
        // It was named, so that one that is not there has failed.
        let answer = body(request.call(), &url)
            .map_err(|error| SourceError::Failed(error.to_string()))?
            .ok_or_else(|| SourceError::Failed(format!("{url} answers with status 404")))?;
        known(&url, &answer, &self.labels)
    }
}

/// What an answer says.
pub(super) fn known(url: &str, answer: &str, labels: &Labels) -> Result<Vec<(Key, Known)>, SourceError> {
    let list: PodList = serde_json::from_str(answer)
        .map_err(|error| SourceError::Failed(format!("{url} gave no list of pods: {error}")))?;
    Ok(list.items.unwrap_or_default().into_iter().flat_map(|pod| of_pod(pod, labels)).collect())
}

fn of_pod(pod: Pod, labels: &Labels) -> Vec<(Key, Known)> {
    let about = Known {
        source: "kubelet",
        namespace: text(&pod.metadata.namespace),
        pod: text(&pod.metadata.name),
        labels: labels.keep(&pod.metadata.labels.unwrap_or_default()),
        ..Known::default()
    };
    let mut all = vec![(Key::Pod(pod.metadata.uid), about.clone())];
    // The path of a static pod has the hash of its file, and the API's uid is another.
    let annotations = pod.metadata.annotations.unwrap_or_default();
    if let Some(hash) = annotations.get("kubernetes.io/config.hash") {
        all.push((Key::Pod(hash.clone()), about.clone()));
    }
    let status = pod.status.unwrap_or_default();
    let lists = [status.containers, status.init, status.ephemeral];
    for container in lists.into_iter().flatten().flatten() {
        // `containerd://ID`
        let Some((_, id)) = container.id.split_once("://") else { continue };
        let known =
            Known { container: text(&container.name), image: text(&container.image), ..about.clone() };
        all.push((Key::Container(id.to_owned()), known));
    }
    all
}
