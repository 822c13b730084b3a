//! The kernel module of `tests/fakerapl`, built for a guest's kernel with Debian's headers: the genuine powercap class and
//! the genuine perf PMU `power`, over counters that are known. And modules of the kernel's own that tests need.

use super::cpio::Archive;
use super::debian::{self, Kernel, cache};
use super::guest::{LAB, MODULE, ORDER, OWN_MODULES, WITHOUT_EVENTS};
use super::headers;
use crate::sh::cmd;
use crate::workspace;
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// What gives a process a vhost thread, each after what it needs.
const VHOST: [&str; 5] =
    ["vhost_iotlb", "vsock", "vmw_vsock_virtio_transport_common", "vhost", "vhost_vsock"];
/// The drivers of RAPL, for perf and for the powercap class, each after what it needs.
const RAPL: [&str; 4] = [PMU, "iosf_mbi", "intel_rapl_common", "intel_rapl_msr"];
/// That of perf.
const PMU: &str = "rapl";

/// What a module is built without, though its kernel was built with it: types of its own, for which the kernel's file with its
/// symbols would be needed, and an option of gcc 14 for which older ones have another (the kernel's Makefile, "-falign-functions").
const OTHERWISE: [&str; 2] = ["CONFIG_DEBUG_INFO_BTF_MODULES=", "CONFIG_CC_HAS_MIN_FUNCTION_ALIGNMENT="];

/// Of a kernel's unpacked package, the modules that tests need, into a folder. One that a kernel has not is left out.
pub(super) fn keep(unpacked: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    for name in VHOST.into_iter().chain(RAPL) {
        let Some(file) = debian::file_that_begins(unpacked, &format!("{name}.ko")) else { continue };
        let kept = folder.join(file.file_name().unwrap_or_default());
        fs::rename(&file, &kept).with_context(|| format!("cannot keep {}", file.display()))?;
        match kept.extension().and_then(|end| end.to_str()) {
            Some("ko") => {}
            Some("xz") => cmd("xz").arg("--decompress").arg(&kept).run()?,
            _ => bail!("{} is packed in a way that is not known", kept.display()),
        }
    }
    Ok(())
}

/// Gives the file to load. Needs make and the C compiler.
pub(super) fn build(kernel: &Kernel) -> Result<PathBuf> {
    let headers = headers::headers(kernel)?;
    let folder = cache().join("module").join(kernel.name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let sources = workspace::root().join("tests/fakerapl");
    for file in ["Makefile", "fakerapl.c"] {
        fs::copy(sources.join(file), folder.join(file)).with_context(|| format!("cannot copy {file}"))?;
    }
    let make = cmd("make").args(["-s", "CC=cc"]).args(OTHERWISE).arg("-C").arg(&headers);
    make.arg(format!("M={}", folder.display())).arg("modules").run()?;
    let module = folder.join(MODULE);
    cmd("strip").arg("-g").arg(&module).run()?;
    Ok(module)
}

/// An initial file system for a guest with all that is tested, and with the module where it could be built.
pub(super) fn add(initrd: &Path, kernel: &Kernel, module: Option<&Path>) -> Result<PathBuf> {
    let mut archive = Archive::default();
    if let Some(module) = module {
        archive.file(&format!("{LAB}/{MODULE}"), &fs::read(module)?);
    }
    add_own(&mut archive, kernel, &VHOST)?;
    beside(initrd, archive, &format!("initrd.{}", kernel.name))
}

/// One for a guest in which the meters of a processor without events are tested; nothing where the kernel has none.
pub(super) fn add_without_events(initrd: &Path, kernel: &Kernel) -> Result<Option<PathBuf>> {
    let mut archive = Archive::default();
    archive.file(&format!("{LAB}/{WITHOUT_EVENTS}"), b"");
    let has_pmu = add_own(&mut archive, kernel, &RAPL)?.contains(&PMU);
    let all = beside(initrd, archive, &format!("initrd.{}.without-events", kernel.name))?;
    Ok(has_pmu.then_some(all))
}

/// Adds those of the kernel's own modules that it has as such, and gives them; others are built in.
fn add_own<'n>(archive: &mut Archive, kernel: &Kernel, names: &[&'n str]) -> Result<Vec<&'n str>> {
    let mut order = Vec::new();
    for name in names.iter().copied() {
        let file = kernel.modules.join(format!("{name}.ko"));
        if file.exists() {
            archive.file(&format!("{LAB}/{OWN_MODULES}/{name}.ko"), &fs::read(file)?);
            order.push(name);
        }
    }
    archive.file(&format!("{LAB}/{OWN_MODULES}/{ORDER}"), order.join("\n").as_bytes());
    Ok(order)
}

/// The kernel unpacks one archive after the other.
pub(super) fn beside(initrd: &Path, archive: Archive, name: &str) -> Result<PathBuf> {
    let mut all = fs::read(initrd)?;
    all.extend(archive.finish());
    let path = cache().join(name);
    fs::write(&path, all).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
