//! The kernel module of `tests/fakerapl`, built for a guest's kernel with Debian's headers: the genuine powercap class and
//! the genuine perf PMU `power`, over counters that are known.

use super::cpio::Archive;
use super::debian::{self, Kernel, cache};
use super::guest::{LAB, MODULE};
use crate::sh::cmd;
use crate::workspace;
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Gives the file to load. Needs make and the C compiler.
pub(super) fn build(kernel: &Kernel) -> Result<PathBuf> {
    let headers = debian::headers(kernel)?;
    let folder = cache().join("module").join(kernel.name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let sources = workspace::root().join("tests/fakerapl");
    for file in ["Makefile", "fakerapl.c"] {
        fs::copy(sources.join(file), folder.join(file)).with_context(|| format!("cannot copy {file}"))?;
    }
    // Without types of its own: for these the kernel's file with its symbols would be needed.
    let make = cmd("make").args(["-s", "CC=cc", "CONFIG_DEBUG_INFO_BTF_MODULES=", "-C"]).arg(&headers);
    make.arg(format!("M={}", folder.display())).arg("modules").run()?;
    let module = folder.join(MODULE);
    cmd("strip").arg("-g").arg(&module).run()?;
    Ok(module)
}

/// An initial file system with the module beside everything else: the kernel unpacks one archive after the other.
pub(super) fn add(initrd: &Path, kernel: &Kernel, module: &Path) -> Result<PathBuf> {
    let mut archive = Archive::default();
    archive.file(&format!("{LAB}/{MODULE}"), &fs::read(module)?);
    let mut all = fs::read(initrd)?;
    all.extend(archive.finish());
    let path = cache().join(format!("initrd.{}", kernel.name));
    fs::write(&path, all).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
