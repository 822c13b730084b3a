//! Whether the prebuilt kernel programs belong to the sources beside them.
//!
//! The object in `prebuilt/` is committed, so that `cargo build` needs no BPF toolchain; this keeps it from being
//! an old one. `cargo xtask ebpf` writes [`RECORD`], carbon-user's build script checks it: both include this file,
//! so that there is one idea of what the sources are. Cost: a few files are read and hashed.

use sha2::{Digest, Sha256};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The kernel programs, relative to the workspace.
pub(crate) const OBJECT: &str = "carbon-ebpf/prebuilt/carbon-ebpf.bpf.o";

/// What they were made from: lines of `SHA-256, two spaces, what it is of`, then a comment naming the toolchain.
pub(crate) const RECORD: &str = "carbon-ebpf/prebuilt/SOURCE.sha256";

/// The command that makes both.
pub(crate) const COMMAND: &str = "cargo xtask ebpf";

/// What the hash covers, relative to the workspace: a folder with all that is in it, the crate's manifest, and two
/// files of which only some lines count.
pub(crate) const INPUTS: [&str; 4] =
    ["carbon-ebpf/src", "carbon-ebpf/Cargo.toml", "Cargo.toml", "Cargo.lock"];

/// Locked packages whose code ends up in the object. Those that only run while it is built (`syn` and its like)
/// are left out, so that an update of a host dependency does not ask for a new object.
const LINKED: [&str; 11] = [
    "aya-ebpf",
    "aya-ebpf-bindings",
    "aya-ebpf-cty",
    "aya-ebpf-macros",
    "aya-log-common",
    "aya-log-ebpf",
    "aya-log-ebpf-macros",
    "aya-log-parser",
    "bytemuck",
    "bytemuck_derive",
    "num_enum",
];

/// Checks that [`OBJECT`] is there, unchanged, and made from the sources of this workspace.
///
/// The error is one sentence, with the command to run.
pub(crate) fn check(workspace: &Path) -> Result<(), String> {
    let sources = source_hash(workspace)
        .map_err(|error| format!("cannot hash the sources of the kernel programs: {error}"))?;
    let read = |path: &str| {
        fs::read(workspace.join(path)).map_err(|error| {
            format!("cannot read the kernel programs, {path}: {error}. Run `{COMMAND}` to build them.")
        })
    };
    let object = sha256(&read(OBJECT)?);
    let record = String::from_utf8_lossy(&read(RECORD)?).into_owned();
    let recorded = |what: &str| {
        record
            .lines()
            .find_map(|line| line.split_once("  ").filter(|(_, name)| *name == what))
            .map(|(hash, _)| hash)
    };
    if recorded("sources") != Some(sources.as_str()) {
        return Err(format!(
            "the kernel programs in {OBJECT} were not built from the present sources in carbon-ebpf. \
             Run `{COMMAND}` to build them again."
        ));
    }
    if recorded("carbon-ebpf.bpf.o") != Some(object.as_str()) {
        return Err(format!(
            "{OBJECT} is not the file that {RECORD} speaks of. Run `{COMMAND}` to build it again."
        ));
    }
    Ok(())
}

/// The hash of all that decides what is in the object: the sources by path, the crate's manifest, the profile it is
/// built with, and the locked packages linked into it.
pub(crate) fn source_hash(workspace: &Path) -> io::Result<String> {
    let [sources, manifest, profiles, lock] = INPUTS.map(|path| workspace.join(path));
    let mut fields = vec![
        ("manifest".into(), fs::read(manifest)?),
        ("profile".into(), section(&fs::read_to_string(profiles)?, "[profile.bpf]").into_bytes()),
        ("locked".into(), linked_packages(&fs::read_to_string(lock)?).into_bytes()),
    ];
    for path in files_below(&sources)? {
        let name = path.strip_prefix(&sources).unwrap_or(&path).to_string_lossy().into_owned();
        fields.push((name, fs::read(&path)?));
    }
    let mut hasher = Sha256::new();
    for (name, bytes) in fields {
        hasher.update(format!("{name}\0{}\0", bytes.len()));
        hasher.update(bytes);
    }
    Ok(hex(&hasher.finalize()))
}

/// SHA-256 in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

/// All files below `folder`, sorted by path.
fn files_below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files.extend(files_below(&entry.path())?);
        } else {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// The lines of one section of a TOML file that are neither empty nor comments.
fn section(toml: &str, header: &str) -> String {
    toml.lines()
        .skip_while(|line| line.trim() != header)
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
        .flat_map(|line| [line, "\n"])
        .collect()
}

/// Name, version and checksum of the packages in [`LINKED`], from Cargo.lock.
fn linked_packages(lock: &str) -> String {
    lock.split("[[package]]")
        .filter(|package| {
            let name = package.lines().find_map(|line| line.strip_prefix("name = "));
            name.is_some_and(|name| LINKED.contains(&name.trim_matches('"')))
        })
        .flat_map(str::lines)
        .filter(|line| ["name = ", "version = ", "checksum = "].iter().any(|key| line.starts_with(key)))
        .flat_map(|line| [line, "\n"])
        .collect()
}
