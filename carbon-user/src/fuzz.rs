//! Parsers of bytes from outside, each under a name, for a fuzzer: compiled for tests and with `--cfg fuzzing` only.
//!
//! A target takes any bytes and does not panic; where something is understood, what must hold of it is asserted. Inputs that
//! once broke one are kept in tests/fixtures/fuzz and run by the unit tests, with the seeds that a fuzzer begins with.

#![expect(clippy::panic, clippy::expect_used, reason = "a fuzzer learns of a broken promise by a panic")]

use crate::api::request;
use crate::checkpoint;
use crate::cli;
use crate::ledger;
use crate::metadata;
use crate::meters;
use crate::metrics;
use crate::metrics::text::Format;
use crate::provider;
use crate::recording::{Entry, Reader};
use crate::serve::{EmissionBody, RunBody, figures_of, run_of};
use crate::units::Quality;
use crate::workload::{Kind, Runtime, identify, lines};

/// A parser under its name.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("cgroup", cgroup),
    ("api", api),
    ("config", |bytes| text(bytes, cli::options::fuzz_config)),
    ("kubelet", metadata::fuzz::kubelet),
    ("engine", metadata::fuzz::engine),
    ("cri", metadata::fuzz::cri),
    ("slurm", metadata::fuzz::slurm),
    ("provider", |bytes| text(bytes, provider::fuzz::answers)),
    ("recording", recording),
    ("checkpoint", checkpoint::fuzz),
    ("resume", |bytes| drop(crate::agent::resume::parse(bytes))),
    ("runs", |bytes| drop(crate::agent::runs::kept::parse(bytes))),
    ("query", provider::fuzz::query),
    ("track", cli::fuzz::track),
    ("series", |bytes| text(bytes, cli::fuzz::series)),
    ("import", cli::fuzz::import),
    ("posts", posts),
    ("ledger", |bytes| ledger::exchange::fuzz(bytes, &folder("ledger"))),
    ("powercap", |bytes| meters::fuzz_powercap(bytes, &folder("powercap"))),
    ("http", metrics::server::fuzz),
    ("accept", |bytes| text(bytes, accept)),
];

/// Runs one.
///
/// # Panics
/// Where there is no such target, or what must hold does not.
pub fn run(name: &str, bytes: &[u8]) {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    let Some((_, target)) = found else {
        let names: Vec<_> = TARGETS.iter().map(|(name, _)| *name).collect();
        panic!("no target {name:?}; there are {}", names.join(", "))
    };
    target(bytes);
}

/// A folder of its own for each thread that tries something.
fn folder(name: &str) -> std::path::PathBuf {
    let thread = format!("{:?}", std::thread::current().id());
    let thread = thread.trim_matches(|c: char| !c.is_ascii_digit());
    std::env::temp_dir().join(format!("carbon-fuzz-{name}-{}-{thread}", std::process::id()))
}

fn text(bytes: &[u8], parse: impl Fn(&str)) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        parse(text);
    }
}

/// The header by which a reader asks for a format.
fn accept(header: &str) {
    let named = header.to_ascii_lowercase().contains("openmetrics");
    assert!(named || Format::accepted(header) == Format::Prometheus, "only who names it gets it");
}

/// The path of a cgroup, and the lines of /proc/PID/cgroup.
fn cgroup(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let identity = identify(text);
    assert_eq!(identity, identify(text), "the same path is the same workload");
    if text.starts_with("/user.slice/") {
        let own = identity.kind != Kind::Job || identity.runtime == Some(Runtime::Flux);
        assert!(
            own && identity.pod_uid.is_none(),
            "{text:?} is a user's, and no job or pod of the node: {identity:?}"
        );
    }
    if let Some(choice) = lines::choose(text) {
        assert!(text.contains(choice.line.path), "the path is one of the text");
    }
}

/// A line that a client sends, and what is answered.
fn api(bytes: &[u8]) {
    let parsed = request::parse(bytes);
    assert_eq!(format!("{parsed:?}"), format!("{:?}", request::parse(bytes)));
}

/// What a client posts to `carbon serve`: nothing that is taken has a figure that cannot be.
fn posts(bytes: &[u8]) {
    const NOW_US: i64 = 1_800_000_000_000_000;
    if let Ok(body) = serde_json::from_slice::<RunBody>(bytes) {
        drop(run_of(&body, NOW_US));
    }
    let Ok(body) = serde_json::from_slice::<EmissionBody>(bytes) else { return };
    if let Ok(figures) = figures_of(&body, Quality::Modelled, NOW_US) {
        let grams = figures.factor.as_ref().map_or(0.0, |factor| factor.grams(figures.energy).0);
        assert!(grams.is_finite() && grams >= 0.0 && figures.stddev_uj.is_finite(), "{figures:?}");
    }
}

/// Lines of a recording: each is given the sum that it must begin with, which no fuzzer finds.
fn recording(bytes: &[u8]) {
    let mut whole = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        whole.extend(format!("{:08x} ", crc32fast::hash(line)).into_bytes());
        whole.extend(line);
        whole.push(b'\n');
    }
    let Ok((mut reader, _)) = Reader::begin(&whole[..]) else { return };
    while let Ok(Entry::Window(_)) = reader.next_entry() {}
    assert!(reader.windows() <= u64::try_from(bytes.len()).expect("a length"), "a window has a line");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;
    use std::path::{Path, PathBuf};

    fn kept(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/fuzz").join(name);
        let files = fs::read_dir(&folder).into_iter().flatten().map(|entry| entry.unwrap().path());
        files.map(|path| (path.clone(), fs::read(&path).unwrap())).collect()
    }

    fn cases() -> u32 {
        std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(64)
    }

    /// Seeds, and inputs that once broke something.
    #[test]
    fn what_is_kept_of_fuzzing_breaks_nothing() {
        for (name, target) in TARGETS {
            let kept = kept(name);
            assert!(!kept.is_empty(), "{name} has no seed");
            for (path, bytes) in kept {
                println!("{}", path.display());
                target(&bytes);
            }
        }
    }

    /// A target that a fuzzer does not build is never looked at.
    #[test]
    fn cargo_fuzz_has_each_target() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/Cargo.toml");
        let manifest: toml::Table = fs::read_to_string(path).unwrap().parse().unwrap();
        let built = manifest["bin"].as_array().unwrap().iter().map(|bin| bin["name"].as_str().unwrap());
        let mut built: Vec<&str> = built.collect();
        let mut known: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
        built.sort_unstable();
        known.sort_unstable();
        assert_eq!(built, known);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

        /// A seed with some bytes changed: a fuzzer's first steps, in every run of the tests. `PROPTEST_CASES` and
        /// `CARBON_FUZZ_TARGET` make it a long look at one.
        #[test]
        fn seeds_with_changed_bytes_break_nothing(
            changes in prop::collection::vec((any::<usize>(), any::<u8>()), 0..6),
            cut in any::<usize>(),
        ) {
            let only = std::env::var("CARBON_FUZZ_TARGET").ok();
            let slow = ["http", "ledger", "powercap"];
            let chosen = |name: &str| only.as_ref().map_or(!slow.contains(&name), |only| only == name);
            for (name, target) in TARGETS.iter().filter(|(name, _)| chosen(name)) {
                for (_, mut bytes) in kept(name) {
                    let length = bytes.len().max(1);
                    for (at, byte) in &changes {
                        if let Some(place) = bytes.get_mut(at % length) {
                            *place = *byte;
                        }
                    }
                    bytes.truncate(1 + cut % (2 * length));
                    target(&bytes);
                }
            }
        }
    }
}
