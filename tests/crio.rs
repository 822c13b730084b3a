//! CRI-O as the agent sees it: a server of the runtime interface at a socket, whose answers have all fields that CRI-O fills in
//! (`api.proto` of `runtime.v1`, kubernetes/cri-api 0.34; `server/container_list.go` and `sandbox_list.go` of CRI-O 1.34).

use carbon_user::metadata::{Known, Labels, Metadata, Options};
use carbon_user::workload::identify;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use std::collections::HashMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::UnixListener;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

const CONTAINER: &str = "9f1c2b7d3e4a5968778695a4b3c2d1e0f1a2b3c4d5e6f708192a3b4c5d6e7f80";
const SANDBOX: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9";
const UID: &str = "7a9c3f1e-2b4d-4c6e-8f0a-1b2c3d4e5f60";

#[derive(Clone, PartialEq, prost::Message)]
struct Asked {}

#[derive(Clone, PartialEq, prost::Message)]
struct Containers {
    #[prost(message, repeated, tag = "1")]
    containers: Vec<Container>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Container {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    pod_sandbox_id: String,
    #[prost(message, optional, tag = "3")]
    metadata: Option<About>,
    #[prost(message, optional, tag = "4")]
    image: Option<Image>,
    #[prost(string, tag = "5")]
    image_ref: String,
    #[prost(int32, tag = "6")]
    state: i32,
    #[prost(int64, tag = "7")]
    created_at: i64,
    #[prost(map = "string, string", tag = "8")]
    labels: HashMap<String, String>,
    #[prost(map = "string, string", tag = "9")]
    annotations: HashMap<String, String>,
    #[prost(string, tag = "10")]
    image_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct About {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint32, tag = "2")]
    attempt: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
#[expect(clippy::struct_field_names, reason = "the names of the protocol")]
struct Image {
    #[prost(string, tag = "1")]
    image: String,
    #[prost(map = "string, string", tag = "2")]
    annotations: HashMap<String, String>,
    #[prost(string, tag = "18")]
    user_specified_image: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Sandboxes {
    #[prost(message, repeated, tag = "1")]
    items: Vec<Sandbox>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Sandbox {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, optional, tag = "2")]
    metadata: Option<AboutPod>,
    #[prost(int32, tag = "3")]
    state: i32,
    #[prost(int64, tag = "4")]
    created_at: i64,
    #[prost(map = "string, string", tag = "5")]
    labels: HashMap<String, String>,
    #[prost(map = "string, string", tag = "6")]
    annotations: HashMap<String, String>,
    #[prost(string, tag = "7")]
    runtime_handler: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AboutPod {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    namespace: String,
    #[prost(uint32, tag = "4")]
    attempt: u32,
}

fn map(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Labels that the kubelet gives to all that it has made.
fn labels() -> HashMap<String, String> {
    map(&[
        ("io.kubernetes.container.name", "nginx"),
        ("io.kubernetes.pod.name", "web-0"),
        ("io.kubernetes.pod.namespace", "shop"),
        ("io.kubernetes.pod.uid", UID),
        ("app", "web"),
    ])
}

fn containers() -> Containers {
    let digest =
        "docker.io/library/nginx@sha256:4c0fdaa8b6341bfdeca5f18f7837462c80cff90527ee35ef185571e1c327beac";
    let one = Container {
        id: CONTAINER.to_owned(),
        pod_sandbox_id: SANDBOX.to_owned(),
        metadata: Some(About { name: "nginx".to_owned(), attempt: 2 }),
        image: Some(Image {
            image: "60adc2e137e757418d4d771822fa3b3f5d3b4ad58ef2385d200c9ee78375b6d5".to_owned(),
            annotations: HashMap::new(),
            user_specified_image: "docker.io/library/nginx:1.27".to_owned(),
        }),
        image_ref: digest.to_owned(),
        state: 1,
        created_at: 1_772_366_400_123_456_789,
        labels: labels(),
        annotations: map(&[("io.kubernetes.container.restartCount", "2")]),
        image_id: "60adc2e137e7".to_owned(),
    };
    Containers { containers: vec![one] }
}

fn sandboxes() -> Sandboxes {
    let metadata =
        AboutPod { name: "web-0".to_owned(), uid: UID.to_owned(), namespace: "shop".to_owned(), attempt: 1 };
    let one = Sandbox {
        id: SANDBOX.to_owned(),
        metadata: Some(metadata),
        state: 0,
        created_at: 1_772_366_400_000_000_000,
        labels: labels(),
        annotations: map(&[("kubernetes.io/config.source", "api")]),
        runtime_handler: "crun".to_owned(),
    };
    Sandboxes { items: vec![one] }
}

/// A method that gives always the same.
#[derive(Clone)]
struct Says<T>(T);

impl<T: Clone + Send + 'static> Service<Request<Asked>> for Says<T> {
    type Response = Response<T>;
    type Error = Status;
    type Future = BoxFuture<Self::Response, Status>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Asked>) -> Self::Future {
        let answer = self.0.clone();
        Box::pin(async move { Ok(Response::new(answer)) })
    }
}

/// The two methods that are asked; any other is not there, as gRPC says it. While it is told to, it refuses.
#[derive(Clone)]
struct Crio {
    refuses: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
}

impl Service<http::Request<hyper::body::Incoming>> for Crio {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<hyper::body::Incoming>) -> Self::Future {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let refuses = self.refuses.load(Ordering::Relaxed);
        Box::pin(async move {
            let method = request.uri().path().to_owned();
            let request = request.map(Body::new);
            Ok(match method.as_str() {
                _ if refuses => Status::unavailable("server is not initialized yet").into_http(),
                "/runtime.v1.RuntimeService/ListContainers" => {
                    let codec = ProstCodec::<Containers, Asked>::default();
                    tonic::server::Grpc::new(codec).unary(Says(containers()), request).await
                }
                "/runtime.v1.RuntimeService/ListPodSandbox" => {
                    let codec = ProstCodec::<Sandboxes, Asked>::default();
                    tonic::server::Grpc::new(codec).unary(Says(sandboxes()), request).await
                }
                _ => Status::unimplemented(method).into_http(),
            })
        })
    }
}

/// Serves at a socket until the test's process ends.
fn serve(socket: &Path, crio: Crio) {
    let _old = std::fs::remove_file(socket);
    let listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    std::thread::spawn(move || {
        runtime.block_on(async move {
            let listener = UnixListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let service = TowerToHyperService::new(crio.clone());
                let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(served.serve_connection(TokioIo::new(stream), service));
            }
        });
    });
}

fn known(metadata: &Metadata, path: &str) -> Option<Arc<Known>> {
    (0..200).find_map(|_| {
        std::thread::sleep(Duration::from_millis(50));
        metadata.lookup(&identify(path))
    })
}

#[test]
fn crio_tells_containers_and_pods_once_it_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("crio.sock");
    let crio = Crio { refuses: Arc::new(AtomicBool::new(true)), asked: Arc::default() };
    serve(&socket, crio.clone());
    let options = Options {
        cri: vec![("crio", socket.clone())],
        labels: Labels(vec!["app".to_owned()]),
        ..Options::default()
    };
    let metadata = Metadata::start(options).unwrap();
    let pod = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod7a9c3f1e_2b4d_4c6e_8f0a_1b2c3d4e5f60.slice";
    let path = format!("{pod}/crio-{CONTAINER}.scope");
    assert_eq!(metadata.lookup(&identify(&path)), None);
    // It refuses at first, which is counted, and is asked again later.
    let refused = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        metadata.counts().errors.get("crio").is_some_and(|errors| *errors > 0)
    });
    assert!(refused && crio.asked.load(Ordering::Relaxed) > 0, "{:?}", metadata.counts());
    crio.refuses.store(false, Ordering::Relaxed);
    let container = known(&metadata, &path).expect("the container's names");
    assert_eq!((container.source, container.label().as_deref()), ("crio", Some("shop/web-0/nginx")));
    assert_eq!(
        container.image.as_deref(),
        Some("docker.io/library/nginx:1.27"),
        "as it was asked for, no digest"
    );
    assert_eq!(container.labels.get("app").map(String::as_str), Some("web"));
    // What is charged to the pod alone, and what its sandbox itself uses.
    for path in
        [pod.to_owned(), format!("{pod}/crio-{SANDBOX}.scope"), format!("{pod}/crio-conmon-{SANDBOX}.scope")]
    {
        let of_pod = known(&metadata, &path).unwrap_or_else(|| panic!("{path}"));
        assert_eq!(
            (of_pod.namespace.as_deref(), of_pod.pod.as_deref()),
            (Some("shop"), Some("web-0")),
            "{path}"
        );
    }
}
