//! `cargo xtask ebpf`: the kernel programs, from source into `carbon-ebpf/prebuilt`.
//!
//! The same sources and toolchain give the same bytes anywhere: no path of the building machine goes in, and that
//! is checked.

use crate::sh::{cargo, cmd};
use crate::source_hash::{COMMAND, OBJECT, RECORD, check as check_object, sha256, source_hash};
use crate::toolchain::{self, TARGET, Toolchain};
use crate::workspace;
use anyhow::{Context as _, Result, anyhow, bail};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// Flags and wrappers of the user's own builds, which would change the object.
const FOREIGN: [&str; 6] = [
    "RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTUP_TOOLCHAIN",
    "CARGO_BUILD_TARGET",
];

/// `--check`: fails unless the object is that of the present sources.
pub(crate) fn check() -> Result<()> {
    check_object(workspace::root()).map_err(|message| anyhow!(message))?;
    eprintln!("{OBJECT} belongs to the present sources");
    Ok(())
}

/// Builds the object and the record of what it was made from.
pub(crate) fn build(install: bool) -> Result<()> {
    let root = workspace::root();
    let toolchain = toolchain::find_or_install(install)?;
    // Before and after: an edit while the compiler runs would give the object a record of sources it was not made from.
    let sources = source_hash(root).context("cannot hash the sources")?;
    let built = compile(&toolchain)?;
    refuse_changed_sources(root, &sources)?;
    let object = without_dwarf(&toolchain, &built)?;
    refuse_local_paths(&object)?;
    fs::create_dir_all(root.join(OBJECT).parent().unwrap_or(root))?;
    replace(&root.join(OBJECT), &object)?;
    replace(&root.join(RECORD), record(&sources, &object, &toolchain.name).as_bytes())?;
    eprintln!("{OBJECT}: {} bytes, SHA-256 {}", object.len(), sha256(&object));
    Ok(())
}

/// Fails where the sources are no longer those that `before` is the hash of.
fn refuse_changed_sources(root: &Path, before: &str) -> Result<()> {
    if source_hash(root).context("cannot hash the sources")? != before {
        bail!("the sources changed while they were compiled; nothing is written. Run `{COMMAND}` again");
    }
    Ok(())
}

/// The text of [`RECORD`].
fn record(sources: &str, object: &[u8], toolchain: &str) -> String {
    format!("{sources}  sources\n{}  carbon-ebpf.bpf.o\n# {toolchain}\n", sha256(object))
}

/// Runs cargo for the BPF target; gives the path of the linked object.
fn compile(toolchain: &Toolchain) -> Result<PathBuf> {
    let target_dir = workspace::target().join("bpf");
    let compiler = &toolchain.compiler;
    // A compiler that builds core needs the cargo of its own version, which knows how.
    let own_cargo = compiler.rustc.with_file_name("cargo");
    let mut build = if compiler.builds_core { cmd(own_cargo) } else { cargo() };
    build = build
        .args(["build", "--locked", "--package", "carbon-ebpf", "--bin", "carbon-ebpf"])
        .args(["--features", "programs", "--profile", "bpf", "--target", TARGET])
        .arg("--target-dir")
        .arg(&target_dir);
    if compiler.builds_core {
        build = build.args(["-Z", "build-std=core"]);
    }
    build
        .without_env(&FOREIGN)
        .env("RUSTC", &compiler.rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .env_unshown("CARGO_ENCODED_RUSTFLAGS", flags(toolchain))
        .run()
        .context(
            "the kernel programs do not build. Where the linker cannot read the compiler's files, it was built for \
             an older LLVM: remove bpf-linker and run this again",
        )?;
    Ok(target_dir.join(TARGET).join("bpf/carbon-ebpf"))
}

/// Flags for rustc, in the form of `CARGO_ENCODED_RUSTFLAGS`.
fn flags(toolchain: &Toolchain) -> OsString {
    let mut linker = OsString::from("-Clinker=");
    linker.push(&toolchain.linker);
    // aya-ebpf picks the register layout by this cfg, else by the host's architecture. No program here reads
    // registers, so one value serves all and keeps the object the same wherever it is built.
    let mut flags = vec!["--cfg=bpf_target_arch=\"x86_64\"".into(), "-Clink-arg=--btf".into(), linker];
    for (path, name) in local_paths() {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(path);
        flag.push("=");
        flag.push(name);
        flags.push(flag);
    }
    let mut flag = OsString::from("--remap-path-prefix=");
    flag.push(toolchain.compiler.sysroot.join("lib/rustlib/src/rust"));
    flag.push("=rust");
    flags.push(flag);
    flags.join("\x1f".as_ref())
}

/// Folders of this machine whose files are compiled, and what they are called instead. rustc takes the last that
/// fits, and the workspace may lie in cargo's home, or the other way round in CI.
fn local_paths() -> Vec<(PathBuf, &'static str)> {
    let mut paths = vec![(workspace::root().to_owned(), "carbon"), (workspace::target(), "target")];
    paths.extend(workspace::cargo_home().map(|home| (home, "cargo")));
    paths.sort_by_key(|(path, _)| path.components().count());
    paths
}

/// The object's bytes less its DWARF sections (more than half of it, from the prebuilt `core` alone), which nothing
/// reads at run time. Symbols and relocations stay, which aya wants, and BTF where the profile makes any.
fn without_dwarf(toolchain: &Toolchain, built: &Path) -> Result<Vec<u8>> {
    let Some(objcopy) = &toolchain.objcopy else { return fs::read(built).context("cannot read the object") };
    let stripped = built.with_extension("stripped");
    cmd(objcopy).arg("--strip-debug").arg(built).arg(&stripped).run()?;
    fs::read(&stripped).context("cannot read the stripped object")
}

/// Fails where the object holds a path of this machine: it would differ from one built elsewhere.
fn refuse_local_paths(object: &[u8]) -> Result<()> {
    let home = std::env::home_dir().filter(|home| home.components().count() > 1);
    for path in local_paths().into_iter().map(|(path, _)| path).chain(home) {
        let text = path.to_string_lossy();
        if object.windows(text.len().max(1)).any(|window| window == text.as_bytes()) {
            bail!(
                "the object holds {text}, a path of this machine; local_paths() in xtask/src/ebpf.rs misses its prefix"
            );
        }
    }
    Ok(())
}

/// Writes a file so that it is either the old or the new one.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, bytes)
        .and_then(|()| fs::rename(&new, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A workspace with kernel programs, an object and a record that fit each other.
    fn workspace_that_fits() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("carbon-ebpf/src/main.rs", "programs");
        write("carbon-ebpf/src/deeper/types.rs", "types");
        write("carbon-ebpf/Cargo.toml", "[package]");
        write("Cargo.toml", "[profile.dev]\ndebug = 1\n\n[profile.bpf]\nlto = true\n");
        write(
            "Cargo.lock",
            "[[package]]\nname = \"syn\"\nversion = \"2.0.1\"\n\n[[package]]\nname = \"aya-ebpf\"\nversion = \"0.2.1\"\n",
        );
        write(OBJECT, "object");
        let sources = source_hash(folder.path()).unwrap();
        write(RECORD, &record(&sources, b"object", "rustc 1.96.0"));
        folder
    }

    /// What the check says after one file of such a workspace was edited.
    fn after_edit(path: &str, from: &str, to: &str) -> Result<(), String> {
        let folder = workspace_that_fits();
        let file = folder.path().join(path);
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{path} has no {from}");
        fs::write(&file, text.replace(from, to)).unwrap();
        check_object(folder.path())
    }

    #[test]
    fn an_object_of_the_present_sources_passes() {
        assert_eq!(check_object(workspace_that_fits().path()), Ok(()));
        assert_eq!(after_edit("Cargo.toml", "debug = 1", "debug = 2"), Ok(()));
        assert_eq!(after_edit("Cargo.lock", "2.0.1", "2.0.2"), Ok(()));
    }

    #[test]
    fn an_object_of_other_sources_is_refused() {
        for (path, from, to) in [
            ("carbon-ebpf/src/main.rs", "programs", "program"),
            ("carbon-ebpf/src/deeper/types.rs", "types", "typed"),
            ("carbon-ebpf/Cargo.toml", "[package]", "[package] "),
            ("Cargo.toml", "lto = true", "lto = false"),
            ("Cargo.lock", "0.2.1", "0.2.2"),
            (OBJECT, "object", "another"),
        ] {
            let message = after_edit(path, from, to).unwrap_err();
            assert!(message.contains(COMMAND), "{path}: {message}");
        }
    }

    #[test]
    fn a_missing_object_and_a_file_that_moved_are_refused() {
        let folder = workspace_that_fits();
        fs::remove_file(folder.path().join(OBJECT)).unwrap();
        assert!(check_object(folder.path()).unwrap_err().contains(COMMAND));

        let folder = workspace_that_fits();
        let sources = folder.path().join("carbon-ebpf/src");
        fs::rename(sources.join("main.rs"), sources.join("other.rs")).unwrap();
        assert!(check_object(folder.path()).unwrap_err().contains(COMMAND));
    }

    #[test]
    fn an_edit_during_the_build_is_noticed() {
        let folder = workspace_that_fits();
        let before = source_hash(folder.path()).unwrap();
        assert!(refuse_changed_sources(folder.path(), &before).is_ok());
        fs::write(folder.path().join("carbon-ebpf/src/main.rs"), "edited").unwrap();
        assert!(refuse_changed_sources(folder.path(), &before).is_err());
    }

    #[test]
    fn a_path_of_this_machine_is_found_in_an_object() {
        let mut object = b"\x7fELF".to_vec();
        assert!(refuse_local_paths(&object).is_ok());
        object.extend(workspace::root().as_os_str().as_encoded_bytes());
        object.extend(b"/src/main.rs\0");
        assert!(refuse_local_paths(&object).is_err());
    }
}
