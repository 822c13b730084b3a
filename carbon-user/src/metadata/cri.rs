//! The container runtime interface of Kubernetes: two questions for all containers and pods of the node.
//!
//! Messages hold the fields that are used; numbers are those of `api.proto` of `runtime.v1` (kubernetes/cri-api), and
//! fields that are not named here are passed over, as protocol buffers are read.

use super::http::REQUEST_MAX;
use super::{Key, Known, Labels, Source, SourceError, text};
use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::path::PathBuf;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};

/// No filter: all of them.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ListRequest {}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ListContainersResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) containers: Vec<Container>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Container {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    #[prost(string, tag = "2")]
    pub(super) sandbox_id: String,
    #[prost(message, optional, tag = "3")]
    pub(super) metadata: Option<ContainerMetadata>,
    #[prost(message, optional, tag = "4")]
    pub(super) image: Option<ImageSpec>,
    #[prost(map = "string, string", tag = "8")]
    pub(super) labels: HashMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ContainerMetadata {
    #[prost(string, tag = "1")]
    pub(super) name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ImageSpec {
    #[prost(string, tag = "1")]
    pub(super) image: String,
    /// What the user asked for; the other one may be a digest.
    #[prost(string, tag = "18")]
    pub(super) user_specified_image: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ListSandboxesResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) items: Vec<Sandbox>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Sandbox {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    #[prost(message, optional, tag = "2")]
    pub(super) metadata: Option<SandboxMetadata>,
    #[prost(map = "string, string", tag = "5")]
    pub(super) labels: HashMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SandboxMetadata {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) uid: String,
    #[prost(string, tag = "3")]
    pub(super) namespace: String,
}

/// Whether a runtime has left its socket behind, or took it away a moment ago.
fn nobody_listens(error: &(dyn Error + 'static)) -> bool {
    let is = |error: &(dyn Error + 'static)| {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        matches!(kind, Some(io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound))
    };
    is(error) || error.source().is_some_and(nobody_listens)
}

/// What the others are about: tonic's own says "transport error", whatever it is.
fn root<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    error.source().map_or(error, root)
}

/// A runtime at a socket.
pub(super) struct Cri {
    name: &'static str,
    socket: PathBuf,
    labels: Labels,
}

impl Cri {
    pub(super) fn new(name: &'static str, socket: PathBuf, labels: Labels) -> Self {
        Self { name, socket, labels }
    }

    fn failed(&self, why: impl std::fmt::Display) -> SourceError {
        SourceError::Failed(format!("{}: {why}", self.socket.display()))
    }

    fn absent(&self) -> SourceError {
        SourceError::Absent(self.socket.display().to_string())
    }

    async fn lists(&self) -> Result<(ListContainersResponse, ListSandboxesResponse), SourceError> {
        let endpoint = Endpoint::from_shared(format!("unix://{}", self.socket.display()))
            .map_err(|error| self.failed(error))?;
        let channel = endpoint.connect().await.map_err(|error| {
            if nobody_listens(&error) { self.absent() } else { self.failed(root(&error)) }
        })?;
        let mut grpc = tonic::client::Grpc::new(channel);
        let containers = self.list(&mut grpc, "/runtime.v1.RuntimeService/ListContainers").await?;
        let sandboxes = self.list(&mut grpc, "/runtime.v1.RuntimeService/ListPodSandbox").await?;
        Ok((containers, sandboxes))
    }

    async fn list<R>(
        &self,
        grpc: &mut tonic::client::Grpc<Channel>,
        method: &'static str,
    ) -> Result<R, SourceError>
    where
        R: prost::Message + Default + 'static,
    {
        grpc.ready().await.map_err(|error| self.failed(error))?;
        let codec = tonic_prost::ProstCodec::<ListRequest, R>::default();
        let request = tonic::Request::new(ListRequest {});
        let answer = grpc.unary(request, PathAndQuery::from_static(method), codec).await;
        answer.map(tonic::Response::into_inner).map_err(|status| self.failed(status))
    }

    pub(super) fn known(
        &self,
        containers: ListContainersResponse,
        sandboxes: ListSandboxesResponse,
    ) -> Vec<(Key, Known)> {
        let mut all = Vec::new();
        // The kubelet gives a pod's labels to the sandbox alone.
        let mut of_sandbox = HashMap::new();
        for sandbox in sandboxes.items {
            let metadata = sandbox.metadata.unwrap_or_default();
            let known = Known {
                source: self.name,
                namespace: text(&metadata.namespace),
                pod: text(&metadata.name),
                labels: self.labels.keep(&sandbox.labels),
                ..Known::default()
            };
            of_sandbox.insert(sandbox.id.clone(), known.labels.clone());
            all.push((Key::Container(sandbox.id), known.clone()));
            all.push((Key::Pod(metadata.uid), known));
        }
        for container in containers.containers {
            let of_pod = |name: &str| {
                container.labels.get(&format!("io.kubernetes.{name}")).and_then(|value| text(value))
            };
            let image = container.image.clone().unwrap_or_default();
            let mut labels = of_sandbox.get(&container.sandbox_id).cloned().unwrap_or_default();
            labels.extend(self.labels.keep(&container.labels));
            let known = Known {
                source: self.name,
                container: of_pod("container.name").or_else(|| text(&container.metadata.as_ref()?.name)),
                image: text(&image.user_specified_image).or_else(|| text(&image.image)),
                namespace: of_pod("pod.namespace"),
                pod: of_pod("pod.name"),
                labels,
                ..Known::default()
            };
            all.push((Key::Container(container.id), known));
        }
        all
    }
}

impl Source for Cri {
    fn name(&self) -> &'static str {
        self.name
    }

    fn ask(&mut self, _: &[Key]) -> Result<Vec<(Key, Known)>, SourceError> {
        if !self.socket.exists() {
            return Err(self.absent());
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| self.failed(error))?;
        let lists = runtime.block_on(async { tokio::time::timeout(REQUEST_MAX, self.lists()).await });
        let (containers, sandboxes) = lists.map_err(|_| self.failed("no answer in time"))??;
        Ok(self.known(containers, sandboxes))
    }
}
