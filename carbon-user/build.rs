//! Finds the kernel programs for the loader, and refuses to build with ones that are older than their sources.
//!
//! It builds nothing: that needs a toolchain of its own (`cargo xtask ebpf`).

use std::path::Path;

#[path = "../carbon-ebpf/source_hash.rs"]
mod source_hash;

fn main() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".."));
    for path in source_hash::INPUTS.iter().chain([&source_hash::OBJECT, &source_hash::RECORD]) {
        println!("cargo::rerun-if-changed={}", workspace.join(path).display());
    }
    println!("cargo::rustc-env=CARBON_BPF_OBJECT={}", workspace.join(source_hash::OBJECT).display());
    if let Err(message) = source_hash::check(workspace) {
        println!("cargo::error={message}");
    }
}
