//! What a guest is given: the test program and `carbon` as cargo builds them here, with their shared libraries,
//! busybox, and this program itself.

use super::cpio::Archive;
use super::debian::{Tools, cache};
use super::guest::LAB;
use crate::sh::{cargo, cmd};
use crate::workspace;
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// busybox's init starts it once, and reaps what loses its parent, which is part of what is tested.
const INITTAB: &str = "::once:/lab/xtask guest\n";

/// Builds everything and writes the initial file system, the same for all kernels; gives its path.
pub(super) fn build(tools: &Tools, only: Option<&str>) -> Result<PathBuf> {
    let (tests, carbon) = cargo_build()?;
    let folder = cache().join("payload");
    fs::create_dir_all(&folder)?;
    let load = folder.join("load");
    let source = |name: &str| workspace::root().join("tests").join(name);
    cmd("cc").args(["-O1", "-static", "-pthread", "-o"]).arg(&load).arg(source("load.c")).run()?;
    let vhost = folder.join("vhost");
    cmd("cc").args(["-O1", "-static", "-o"]).arg(&vhost).arg(source("vhost.c")).run()?;
    let shim = folder.join("verifier.so");
    cmd("cc").args(["-O1", "-shared", "-fPIC", "-o"]).arg(&shim).arg(source("verifier.c")).run()?;

    let mut archive = base(tools)?;
    archive.file(&format!("{LAB}/only"), only.unwrap_or_default().as_bytes());
    for (name, file) in [("tests", &tests), ("carbon", &carbon)] {
        program(&mut archive, name, file)?;
    }
    for (name, file) in [("load", &load), ("vhost", &vhost), ("verifier.so", &shim)] {
        archive.file(&format!("{LAB}/{name}"), &fs::read(file)?);
    }
    write(archive, "initrd")
}

/// What every guest has: busybox, its init, and this program.
pub(super) fn base(tools: &Tools) -> Result<Archive> {
    let own = std::env::current_exe().context("cannot find this program's own file")?;
    let mut archive = Archive::default();
    for folder in ["/dev", "/proc", "/sys", "/tmp", "/run", "/root"] {
        archive.directory(folder);
    }
    // The kernel gives the first program the console before anything is mounted.
    archive.device("/dev/console", (5, 1));
    archive.device("/dev/null", (1, 3));
    archive.file("/bin/busybox", &fs::read(&tools.busybox)?);
    for applet in cmd(&tools.busybox).arg("--list").read()?.lines().filter(|applet| *applet != "busybox") {
        archive.link(&format!("/bin/{applet}"), "/bin/busybox");
    }
    archive.link("/init", "/bin/busybox");
    archive.file("/etc/inittab", INITTAB.as_bytes());
    program(&mut archive, "xtask", &own)?;
    Ok(archive)
}

/// Writes it into the cache.
pub(super) fn write(archive: Archive, name: &str) -> Result<PathBuf> {
    let initrd = cache().join(name);
    fs::write(&initrd, archive.finish()).with_context(|| format!("cannot write {}", initrd.display()))?;
    Ok(initrd)
}

/// The test program and `carbon`.
fn cargo_build() -> Result<(PathBuf, PathBuf)> {
    let mut tests = None;
    let build =
        cargo().args(["test", "--workspace", "--test", "carbon", "--no-run", "--message-format", "json"]);
    build.run_lines_unshown(|line| {
        let is_tests = line.contains(r#""kind":["test"]"#) && line.contains(r#""name":"carbon""#);
        let path = line.split_once(r#""executable":""#).and_then(|(_, rest)| rest.split('"').next());
        if is_tests && let Some(path) = path {
            tests = Some(PathBuf::from(path));
        }
    })?;
    let tests = tests.context("cargo has built no test program `carbon`")?;
    let carbon = tests.parent().and_then(Path::parent).map(|folder| folder.join("carbon"));
    match carbon.filter(|carbon| carbon.exists()) {
        Some(carbon) => Ok((tests, carbon)),
        None => bail!("cargo has built no program `carbon` beside {}", tests.display()),
    }
}

/// A program without its symbols, and the shared libraries that it names, where it looks for them.
pub(super) fn program(archive: &mut Archive, name: &str, file: &Path) -> Result<()> {
    let folder = cache().join("payload");
    fs::create_dir_all(&folder)?;
    let stripped = folder.join(name);
    cmd("strip").arg("-o").arg(&stripped).arg(file).run()?;
    archive.file(&format!("{LAB}/{name}"), &fs::read(&stripped)?);
    for library in libraries(&cmd("ldd").arg(&stripped).read()?) {
        if !archive.has(Path::new(library)) {
            archive.file(library, &fs::read(library).with_context(|| format!("cannot read {library}"))?);
        }
    }
    Ok(())
}

/// Paths in what ldd(1) says: `libm.so.6 => /lib/libm.so.6 (0x...)`, `/lib64/ld-linux-x86-64.so.2 (0x...)`.
fn libraries(ldd: &str) -> impl Iterator<Item = &str> {
    ldd.split_whitespace().filter(|word| word.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_the_paths_of_ldd() {
        let said = "\tlinux-vdso.so.1 (0x1)\n\tlibc.so.6 => /lib/libc.so.6 (0x2)\n\t/lib64/ld.so (0x3)\n";
        assert_eq!(libraries(said).collect::<Vec<_>>(), ["/lib/libc.so.6", "/lib64/ld.so"]);
    }
}
