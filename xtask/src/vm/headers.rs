//! What modules for a guest's kernel are built with: Debian's headers of it, and its own programs (objtool, modpost), made to
//! run here.
//!
//! The programs are linked for the release of Debian that has the kernel. On an older one its C library is fetched too, and
//! a program that this machine's libraries cannot run is started through that: nothing is installed.

use super::debian::{Apt, Kernel, Known, cache, unpack};
use crate::sh::cmd;
use anyhow::{Context as _, Result};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Packages with all that those programs are linked with.
const LIBRARIES: [&str; 4] = ["libc6", "libelf1t64", "libzstd1", "zlib1g"];

/// Where these are, once unpacked.
const FOLDER: &str = "usr/lib/x86_64-linux-gnu";

/// What starts a program with other libraries than the machine's (ld.so(8)).
const LOADER: &str = "ld-linux-x86-64.so.2";

/// How the name of a program ends that a script starts in its stead.
const WRAPPED: &str = ".wrapped";

/// The folder that modules for a kernel are built in.
pub(super) fn headers(kernel: &Kernel) -> Result<PathBuf> {
    let folder = cache().join("headers").join(&kernel.release);
    let own = format!("linux-headers-{}", kernel.release);
    let top = folder.join("usr/src").join(&own);
    if !top.exists() {
        fetch(kernel, &own, &folder).with_context(|| format!("cannot fetch {own}"))?;
    }
    make_runnable(kernel, &folder.join("usr/lib"))?;
    Ok(top)
}

fn fetch(kernel: &Kernel, own: &str, folder: &Path) -> Result<()> {
    let apt = Apt::update(&[kernel.suite], kernel.security, Known::Nothing)?;
    let needs = apt.cache().args(["depends", "--no-recommends", own]).read()?;
    let partial = folder.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    for file in apt.download([own].into_iter().chain(parts_of_headers(&needs)))? {
        unpack(&file, &partial)?;
    }
    // It names the headers that all flavours share by where they would be installed.
    let makefile = partial.join("usr/src").join(own).join("Makefile");
    let text =
        fs::read_to_string(&makefile).with_context(|| format!("cannot read {}", makefile.display()))?;
    let shared = folder.join("usr/src").display().to_string();
    fs::write(&makefile, text.replace("/usr/src", &shared))?;
    fs::rename(&partial, folder)?;
    Ok(())
}

/// Of what apt-cache(8) says that headers depend on, what they are made of; a compiler is here already.
fn parts_of_headers(depends: &str) -> impl Iterator<Item = &str> {
    let names = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    names.filter(|name| ["linux-headers-", "linux-kbuild-"].iter().any(|start| name.starts_with(start)))
}

/// Puts a script in the place of each program that this machine's libraries cannot run.
fn make_runnable(kernel: &Kernel, programs: &Path) -> Result<()> {
    for program in elf_programs(programs)? {
        let said = cmd("ldd").arg(&program).read().unwrap_or_default();
        if !lacks_a_library(&said) {
            continue;
        }
        let libraries = libraries(kernel)?;
        let mut wrapped = program.clone().into_os_string();
        wrapped.push(WRAPPED);
        fs::rename(&program, &wrapped)?;
        let script = format!(
            "#!/bin/sh\nexec {0}/{LOADER} --library-path {0} {1} \"$@\"\n",
            libraries.display(),
            Path::new(&wrapped).display()
        );
        fs::write(&program, script).with_context(|| format!("cannot write {}", program.display()))?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// By ldd(1): it wants a newer C library than the machine's. What else a program lacks comes with no release of Debian, as
/// the OpenSSL of old programs that sign modules, which nobody calls here.
fn lacks_a_library(said: &str) -> bool {
    said.lines().any(|line| line.contains("`GLIBC_") && line.contains("not found"))
}

/// Programs below a folder, but those that have a script already.
fn elf_programs(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut folders, mut programs) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
            let entry = entry?;
            let (kind, path) = (entry.file_type()?, entry.path());
            let wrapped = path.to_string_lossy().ends_with(WRAPPED);
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() && !wrapped && fs::read(&path)?.starts_with(b"\x7fELF") {
                programs.push(path);
            }
        }
    }
    Ok(programs)
}

/// The libraries of the release whose suite has the kernel, fetched once.
fn libraries(kernel: &Kernel) -> Result<PathBuf> {
    let release = kernel.suite.split('-').next().unwrap_or(kernel.suite);
    let folder = cache().join("libraries").join(release);
    if !folder.exists() {
        let apt = Apt::update(&[release], false, Known::Nothing)?;
        let partial = folder.with_extension("partial");
        if partial.exists() {
            fs::remove_dir_all(&partial)?;
        }
        for file in apt.download(LIBRARIES.into_iter())? {
            unpack(&file, &partial)?;
        }
        fs::rename(&partial, &folder)?;
    }
    Ok(folder.join(FOLDER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_in_three_packages() {
        let said = "linux-headers-6.1.0-56-cloud-amd64\n  Depends: linux-headers-6.1.0-56-common\n  \
                    Depends: linux-kbuild-6.1\n  Depends: linux-compiler-gcc-12-x86\n";
        assert_eq!(
            parts_of_headers(said).collect::<Vec<_>>(),
            ["linux-headers-6.1.0-56-common", "linux-kbuild-6.1"]
        );
    }

    #[test]
    fn a_program_of_a_newer_release_is_told_by_ldd() {
        let newer = "objtool: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found (required by objtool)\n\
                     \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x1)\n";
        assert!(lacks_a_library(newer) && !lacks_a_library("\tlibcrypto.so.1.1 => not found\n"));
        assert!(!lacks_a_library("\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x1)\n"));
    }
}
