//! Answers of engines, runtimes and the kubelet, and notes of Slurm's prolog, from bytes that may hold anything.

use super::cri::{Cri, ListContainersResponse, ListSandboxesResponse};
use super::{Key, Known, Labels, engine, kubelet, slurm};
use prost::Message as _;

fn labels() -> Labels {
    Labels(vec!["app".to_owned(), "team".to_owned()])
}

/// Names go to terminals and to metrics: without control characters, and of a bounded length.
fn check<'a>(known: impl IntoIterator<Item = &'a Known>) {
    for known in known {
        let texts = [&known.namespace, &known.pod, &known.container, &known.image];
        let of_job = known.job.iter().flat_map(|job| [&job.name, &job.user, &job.account, &job.partition]);
        for text in texts.into_iter().chain(of_job).flatten().chain(known.labels.values()) {
            assert!(!text.is_empty() && !text.chars().any(char::is_control), "{text:?}");
            assert!(text.len() <= 4 * super::TEXT_MAX, "{} bytes", text.len());
        }
    }
}

pub(crate) fn kubelet(bytes: &[u8]) {
    let Ok(answer) = std::str::from_utf8(bytes) else { return };
    if let Ok(known) = kubelet::known("kubelet", answer, &labels()) {
        check(known.iter().map(|(_, known)| known));
    }
}

pub(crate) fn slurm(bytes: &[u8]) {
    check(slurm::known(bytes).iter());
}

pub(crate) fn engine(bytes: &[u8]) {
    let Ok(answer) = std::str::from_utf8(bytes) else { return };
    check(engine::known("docker", answer, &labels()).iter());
}

/// The first byte says which of the two answers it is.
pub(crate) fn cri(bytes: &[u8]) {
    let Some((first, answer)) = bytes.split_first() else { return };
    let (mut containers, mut sandboxes) =
        (ListContainersResponse::default(), ListSandboxesResponse::default());
    if first % 2 == 0 {
        containers = ListContainersResponse::decode(answer).unwrap_or_default();
    } else {
        sandboxes = ListSandboxesResponse::decode(answer).unwrap_or_default();
    }
    let known: Vec<(Key, Known)> = Cri::new("cri", "/none".into(), labels()).known(containers, sandboxes);
    check(known.iter().map(|(_, known)| known));
}
