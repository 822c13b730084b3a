//! Finds a compiler for the kernel programs, or installs one.
//!
//! rustup's stable toolchain compiles for BPF in principle, but brings no `core` for it. Two ways lead to one:
//! Debian's `rustc-web` with the prebuilt `core` of `libstd-rust-web-dev-bpf`, or a rustup nightly, which builds
//! `core` from `rust-src`. Either needs `bpf-linker`, built against the LLVM of the same number as the compiler's,
//! because it reads the compiler's bitcode.

use crate::machine;
use crate::sh::{cargo, cmd, find};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// The Rust target of the kernel programs.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

const LINKER_VERSION: &str = "0.13.0";

/// LLVM versions that this bpf-linker can be built with.
const LINKER_LLVM: std::ops::RangeInclusive<u32> = 21..=23;

/// Debian's compiler with the `core` for BPF.
const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "libstd-rust-web-dev-bpf", "rust-web-llvm"];

/// Everything that turns the sources into the object.
pub(crate) struct Toolchain {
    /// The compiler.
    pub(crate) compiler: Compiler,
    /// bpf-linker.
    pub(crate) linker: PathBuf,
    /// llvm-objcopy of the same LLVM, which can leave DWARF out.
    pub(crate) objcopy: Option<PathBuf>,
    /// All of it in one line, for the record beside the object.
    pub(crate) name: String,
}

/// A compiler that has, or can build, `core` for BPF.
pub(crate) struct Compiler {
    /// Its `rustc`.
    pub(crate) rustc: PathBuf,
    /// Its folder of libraries and sources.
    pub(crate) sysroot: PathBuf,
    /// Whether cargo must build `core` first.
    pub(crate) builds_core: bool,
    version: String,
    llvm: u32,
}

/// Finds the toolchain; where a part is missing and `install` allows it, installs that part.
pub(crate) fn find_or_install(install: bool) -> Result<Toolchain> {
    let compiler = match find_compiler() {
        Some(compiler) => compiler,
        None if install => install_compiler()?,
        None => bail!("no compiler for BPF. {}", what_to_install()),
    };
    eprintln!("compiler: {} at {}", compiler.version, compiler.rustc.display());
    let linker = match find("bpf-linker") {
        Some(linker) => linker,
        None if install => install_linker(compiler.llvm)?,
        None => bail!("no bpf-linker. {}", what_to_install()),
    };
    let linker_version = cmd(&linker).arg("--version").read()?.trim().to_owned();
    eprintln!("linker: {linker_version} at {}", linker.display());
    let objcopy = find_objcopy(compiler.llvm);
    if objcopy.is_none() {
        eprintln!(
            "no llvm-objcopy: the object keeps its DWARF sections, which make it larger and nothing else"
        );
    }
    let name = format!("{}, LLVM {}, {linker_version}", compiler.version, compiler.llvm);
    Ok(Toolchain { compiler, linker, objcopy, name })
}

fn find_compiler() -> Option<Compiler> {
    let debian = Compiler::ask(Path::new("/usr/bin/rustc"));
    let nightly = || {
        let rustc = cmd("rustup").args(["which", "--toolchain", "nightly", "rustc"]).read().ok()?;
        Compiler::ask(Path::new(rustc.trim()))
    };
    debian
        .filter(Compiler::has_core)
        .or_else(|| nightly().filter(Compiler::has_sources).map(Compiler::building_core))
}

impl Compiler {
    /// What the compiler at `rustc` says of itself; `None` where it is missing or too old for the workspace.
    fn ask(rustc: &Path) -> Option<Self> {
        let said = cmd(rustc).arg("-vV").read().ok()?;
        let line = |key: &str| said.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        let version = said.lines().next()?.to_owned();
        let wanted = two_numbers(env!("CARGO_PKG_RUST_VERSION"))?;
        if two_numbers(line("release:")?)? < wanted {
            eprintln!("passing over {} ({version}): older than the workspace asks for", rustc.display());
            return None;
        }
        let (llvm, _) = two_numbers(line("LLVM version:")?)?;
        let sysroot = PathBuf::from(cmd(rustc).args(["--print", "sysroot"]).read().ok()?.trim());
        Some(Self { rustc: rustc.to_owned(), sysroot, builds_core: false, version, llvm })
    }

    fn has_core(&self) -> bool {
        let Ok(entries) = fs::read_dir(self.sysroot.join("lib/rustlib").join(TARGET).join("lib")) else {
            return false;
        };
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
    }

    fn has_sources(&self) -> bool {
        self.sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml").exists()
    }

    fn building_core(self) -> Self {
        Self { builds_core: true, ..self }
    }
}

fn install_compiler() -> Result<Compiler> {
    if can_apt() {
        eprintln!(
            "No compiler for BPF. Installing Debian's {}: a rustc with a prebuilt core for {TARGET}.",
            DEBIAN_PACKAGES.join(", ")
        );
        match apt_install(&DEBIAN_PACKAGES) {
            Ok(()) => {
                if let Some(compiler) = find_compiler() {
                    return Ok(compiler);
                }
                eprintln!("Debian's packages do not bring a compiler that the workspace can use.");
            }
            Err(error) => eprintln!("{error:#}"),
        }
    }
    if find("rustup").is_some() {
        eprintln!(
            "No compiler for BPF. Installing rustup's nightly with rust-src, to build core for {TARGET}."
        );
        let install = ["toolchain", "install", "nightly", "--profile", "minimal", "--component", "rust-src"];
        match cmd("rustup").args(install).run() {
            Ok(()) => {
                if let Some(compiler) = find_compiler() {
                    return Ok(compiler);
                }
            }
            Err(error) => eprintln!("{error:#}"),
        }
    }
    bail!("no compiler for BPF, and none could be installed. {}", what_to_install())
}

fn install_linker(llvm: u32) -> Result<PathBuf> {
    if !LINKER_LLVM.contains(&llvm) {
        bail!(
            "bpf-linker {LINKER_VERSION} knows no LLVM {llvm}, which the compiler uses. {}",
            what_to_install()
        );
    }
    let prefix = PathBuf::from(format!("/usr/lib/llvm-{llvm}"));
    // What is linked to: the tool `llvm-config` comes with other packages too.
    let library = prefix.join("lib/libLLVM.so");
    let has_llvm = library.exists() && cmd("c++").arg("--version").succeeds();
    if !has_llvm && can_apt() {
        let packages = [format!("llvm-{llvm}-dev"), "g++".to_owned(), "zlib1g-dev".to_owned()];
        eprintln!("Installing {}: bpf-linker is built against the compiler's LLVM.", packages.join(", "));
        apt_install(&packages)?;
    }
    if !library.exists() {
        bail!("bpf-linker needs the libraries of LLVM {llvm}. {}", what_to_install());
    }
    eprintln!(
        "Installing bpf-linker {LINKER_VERSION} with cargo, about two minutes: it makes one BPF object of the crates."
    );
    let path = std::env::join_paths(
        std::iter::once(prefix.join("bin"))
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    )?;
    let feature = format!("llvm-{llvm}");
    cargo()
        .args(["install", "--locked", "bpf-linker", "--version", LINKER_VERSION])
        .args(["--no-default-features", "--features", &feature])
        .env("LLVM_PREFIX", &prefix)
        .env_unshown("PATH", path)
        .without_env(&["CARGO_TARGET_DIR", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"])
        .run()?;
    find("bpf-linker")
        .context("cargo installed bpf-linker, but it is neither in PATH nor in cargo's bin folder")
}

fn find_objcopy(llvm: u32) -> Option<PathBuf> {
    let own = PathBuf::from(format!("/usr/lib/llvm-{llvm}/bin/llvm-objcopy"));
    if own.exists() { Some(own) } else { find("llvm-objcopy") }
}

/// Installs a Debian package for a program that is not found, where that can be done; what needs it says if it is missing.
pub(crate) fn wish_for(program: &str, package: &str) {
    if find(program).is_none()
        && can_apt()
        && let Err(error) = apt_install(&[package])
    {
        eprintln!("{package} is not installed: {error:#}");
    }
}

pub(crate) fn can_apt() -> bool {
    machine::is_root() && find("apt-get").is_some()
}

/// Installs packages, but never at the price of removing others (rustc-web and rustc exclude each other).
pub(crate) fn apt_install<P: AsRef<str>>(packages: &[P]) -> Result<()> {
    cmd("apt-get").args(["-q", "update"]).run()?;
    cmd("apt-get")
        .args(["-q", "install", "--yes", "--no-remove", "--no-install-recommends"])
        .args(packages.iter().map(AsRef::as_ref))
        .env("DEBIAN_FRONTEND", "noninteractive")
        .run()
}

/// The advice at the end of every failure.
fn what_to_install() -> String {
    format!(
        "The kernel programs need one of these:\n  \
         (a) on Debian, as root: apt-get update && apt-get install {} llvm-22-dev g++ zlib1g-dev\n  \
         (b) elsewhere: rustup toolchain install nightly --profile minimal --component rust-src\n\
         and with either bpf-linker {LINKER_VERSION} in PATH, built for the compiler's LLVM (see `rustc -vV`): a release \
         from https://github.com/aya-rs/bpf-linker/releases, or with LLVM 22\n  \
         LLVM_PREFIX=/usr/lib/llvm-22 cargo install --locked bpf-linker --version {LINKER_VERSION} \
         --no-default-features --features llvm-22\n\
         As root on Debian, `cargo xtask ebpf` installs all of it. Only a change in carbon-ebpf/ needs it: the object \
         in carbon-ebpf/prebuilt serves everything else.",
        DEBIAN_PACKAGES.join(" ")
    )
}

/// `1.96.0-nightly` as (1, 96).
fn two_numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.trim().split(['.', '-']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(two_numbers("1.96.0"), Some((1, 96)));
        assert_eq!(two_numbers("1.97.0-nightly"), Some((1, 97)));
        assert_eq!(two_numbers(" 22.1.8"), Some((22, 1)));
        assert!(two_numbers("1.100.0") > two_numbers("1.95"));
        assert_eq!(two_numbers("unknown"), None);
    }
}
