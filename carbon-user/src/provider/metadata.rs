//! Where this machine is, by the metadata service of its cloud. The addresses are link-local: nothing leaves the host's
//! own network.

use super::{Http, ProviderError};
use crate::carbon::place::CloudRegion;
use std::time::Duration;

/// How long one service may take: outside its cloud nobody answers.
const ANSWER_MAX: Duration = Duration::from_millis(800);

/// Where the services are.
const AWS_AND_AZURE: &str = "http://169.254.169.254";
const GCP: &str = "http://metadata.google.internal";

/// The region of this machine, if it is in a cloud that says so. `base` stands for all addresses, for tests.
pub fn region(offline: bool, base: Option<&str>) -> Result<CloudRegion, ProviderError> {
    if offline {
        return Err(ProviderError::Offline);
    }
    let http = Http::past_proxies(ANSWER_MAX);
    let services: [(&str, Ask, &str); 3] =
        [("aws", aws, AWS_AND_AZURE), ("azure", azure, AWS_AND_AZURE), ("gcp", gcp, GCP)];
    let mut reasons = Vec::new();
    // One after the other: what was told is not asked of others, who would hear of it.
    for (provider, ask, own) in services {
        match ask(&http, base.unwrap_or(own)) {
            Ok(name) => {
                return CloudRegion::find(provider, &name).ok_or_else(|| ProviderError::Answer {
                    provider: "the metadata service",
                    reason: format!("{provider} has no region {name:?} in the table"),
                });
            }
            // No token of the user's and no plan is in question here.
            Err(ProviderError::Refused { url, status }) => reasons.push(format!(
                "{provider}: the metadata service refuses {url} with status {status}; see what the machine's settings let it say"
            )),
            Err(error) => reasons.push(format!("{provider}: {error}")),
        }
    }
    Err(ProviderError::Nowhere { reasons: reasons.join("; ") })
}

/// Asks one service.
type Ask = fn(&Http, &str) -> Result<String, ProviderError>;

/// Version 2: a token first, so that a forged request through a proxy gets nothing.
fn aws(http: &Http, base: &str) -> Result<String, ProviderError> {
    let token =
        http.put(&format!("{base}/latest/api/token"), &[("X-aws-ec2-metadata-token-ttl-seconds", "60")], "")?;
    let token = token.trim();
    if token.is_empty() || token.contains(|c: char| c.is_control()) {
        return Err(nonsense("no token"));
    }
    let url = format!("{base}/latest/meta-data/placement/region");
    name(&http.get(&url, &[], &[("X-aws-ec2-metadata-token", token)])?)
}

fn azure(http: &Http, base: &str) -> Result<String, ProviderError> {
    let url = format!("{base}/metadata/instance/compute/location");
    name(&http.get(&url, &[("api-version", "2021-02-01"), ("format", "text")], &[("Metadata", "true")])?)
}

/// `projects/123/zones/europe-west1-b`.
fn gcp(http: &Http, base: &str) -> Result<String, ProviderError> {
    let url = format!("{base}/computeMetadata/v1/instance/zone");
    let answer = http.get(&url, &[], &[("Metadata-Flavor", "Google")])?;
    let zone = answer.trim().rsplit('/').next().unwrap_or_default();
    let region = zone.rsplit_once('-').map(|(region, _)| region).ok_or_else(|| nonsense("no zone"))?;
    name(region)
}

pub(super) fn name(text: &str) -> Result<String, ProviderError> {
    let text = text.trim();
    let plain =
        !text.is_empty() && text.len() <= 64 && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if plain { Ok(text.to_owned()) } else { Err(nonsense("no name of a region")) }
}

fn nonsense(reason: &str) -> ProviderError {
    ProviderError::Answer { provider: "the metadata service", reason: reason.to_owned() }
}
