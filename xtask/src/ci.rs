//! `cargo xtask ci`: what CI runs, the same on a laptop.

use crate::sh::{Stopwatch, cargo, cmd, find};
use crate::source_hash::{OBJECT, RECORD};
use crate::toolchain::{apt_install, can_apt};
use crate::{data, docs, ebpf, test, vm, web, workspace};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::PathBuf;

/// A named step.
type Step = (&'static str, fn() -> Result<()>);

/// In this order: what fails fast comes first, and the object before all that embeds it.
const STEPS: [Step; 12] = [
    ("fmt", || cargo().args(["fmt", "--all", "--check"]).run()),
    ("committed kernel programs", ebpf::check),
    ("tables", || data::run(true)),
    ("the dashboard's pages", || web::run(true)),
    ("kernel programs from source", rebuild),
    ("clippy", || cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]).run()),
    ("arm64", arm64),
    ("deny", deny),
    ("doc", || cargo().args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings").run()),
    ("pages made from the program", || docs::run(true)),
    ("test", test::run),
    ("test in other kernels", vm::run_in_ci),
];

/// Runs every step even if one fails, prints how long each took, and fails at the end.
pub(crate) fn run() -> Result<()> {
    let mut results = Vec::new();
    for (name, step) in STEPS {
        eprintln!("\n==== {name}");
        let begun = Stopwatch::start();
        let result = step();
        if let Err(error) = &result {
            eprintln!("xtask ci: {name}: {error:#}");
        }
        results.push((name, begun.elapsed(), result.is_ok()));
    }
    println!("\nxtask ci:");
    for (name, time, passed) in &results {
        println!("  {:6} {:5.0} s  {name}", if *passed { "ok" } else { "FAILED" }, time.as_secs_f64());
    }
    let failed: Vec<_> = results.iter().filter(|(_, _, passed)| !passed).map(|(name, ..)| *name).collect();
    if failed.is_empty() { Ok(()) } else { bail!("failed: {}", failed.join(", ")) }
}

/// Removes the committed object and builds it again: the tests then run on what the sources say. With the toolchain
/// that made the committed one, each byte must be the same; with another, the difference is only reported.
fn rebuild() -> Result<()> {
    let files = [OBJECT, RECORD].map(|path| workspace::root().join(path));
    let committed = files.clone().map(|file| fs::read(file).ok());
    remove(&files)?;
    if let Err(error) = ebpf::build(true) {
        for (file, bytes) in files.iter().zip(&committed) {
            if let Some(bytes) = bytes {
                fs::write(file, bytes).with_context(|| format!("cannot put back {}", file.display()))?;
            }
        }
        return Err(error.context("the committed object is put back"));
    }
    let [_, old] =
        committed.map(Option::unwrap_or_default).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let new = fs::read_to_string(workspace::root().join(RECORD))?;
    let toolchain = |record: &str| record.lines().find(|line| line.starts_with('#')).map(str::to_owned);
    if old == new {
        eprintln!("the same bytes as the committed object");
    } else if toolchain(&old) == toolchain(&new) {
        bail!(
            "the same toolchain made another object than the committed one; commit this one if the sources changed"
        );
    } else {
        eprintln!("another toolchain made another object than the committed one; the tests run on this one");
    }
    Ok(())
}

/// The compiler's checks for arm64, where it has the standard library of that target or rustup can fetch it. Debian has no
/// package of it for another architecture than the machine's.
fn arm64() -> Result<()> {
    const TARGET: &str = "aarch64-unknown-linux-gnu";
    let there = || -> bool {
        let libraries = cmd("rustc").args(["--print", "target-libdir", "--target", TARGET]).read();
        libraries.is_ok_and(|folder| PathBuf::from(folder.trim()).is_dir())
    };
    if !there() && find("rustup").is_some() {
        cmd("rustup").args(["target", "add", TARGET]).run().unwrap_or_else(|error| eprintln!("{error:#}"));
    }
    if !there() {
        println!(
            "SKIPPED: arm64: the compiler has no standard library for {TARGET}, and rustup could not fetch it"
        );
        return Ok(());
    }
    // SQLite and the cryptography are C, and are compiled even for a check.
    if find("aarch64-linux-gnu-gcc").is_none()
        && can_apt()
        && let Err(error) = apt_install(&["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"])
    {
        eprintln!("{error:#}");
    }
    if find("aarch64-linux-gnu-gcc").is_none() {
        println!(
            "SKIPPED: arm64: no C compiler for it (Debian: gcc-aarch64-linux-gnu, libc6-dev-arm64-cross)"
        );
        return Ok(());
    }
    cargo().args(["check", "--target", TARGET, "--package", "carbon-user", "--package", "carbon-ebpf"]).run()
}

fn remove(files: &[PathBuf]) -> Result<()> {
    for file in files {
        match fs::remove_file(file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", file.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Licences, sources and duplicates of the dependencies. The database of advisories is left out: it is not a package
/// of the registry and cannot be fetched everywhere.
fn deny() -> Result<()> {
    if find("cargo-deny").is_none() {
        eprintln!("not checked: cargo-deny is not installed (cargo install --locked cargo-deny)");
        return Ok(());
    }
    cargo()
        .args(["deny", "--all-features", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"])
        .run()
}
