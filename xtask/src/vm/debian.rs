//! Packages from Debian's mirrors, unpacked below the target folder: kernels to boot, and the emulator where the
//! machine has none. Nothing is installed and nothing removed, so no root is needed either.
//!
//! apt checks the signatures, with a configuration of its own that borrows only the addresses of the mirrors.

use super::module;
use crate::sh::{Cmd, cmd, find};
use crate::workspace;
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A series of kernels and the suite of Debian that has it.
#[derive(Debug)]
pub(super) struct Series {
    /// As in `--kernel`.
    pub(super) name: &'static str,
    suite: &'static str,
    security: bool,
}

/// Those that Carbon is tested on, oldest first.
pub(super) const SERIES: [Series; 4] = [
    Series { name: "5.10", suite: "bullseye-security", security: true },
    Series { name: "6.1", suite: "bookworm-security", security: true },
    Series { name: "6.12", suite: "bookworm-backports", security: false },
    Series { name: "7.3", suite: "trixie-backports", security: false },
];

/// A kernel on this machine.
#[derive(Debug)]
pub(super) struct Kernel {
    /// Its series.
    pub(super) name: &'static str,
    /// Such as `6.1.0-56-cloud-amd64`.
    pub(super) release: String,
    /// File to boot.
    pub(super) image: PathBuf,
    /// Folder with modules of its own.
    pub(super) modules: PathBuf,
    pub(super) suite: &'static str,
    pub(super) security: bool,
}

/// Where everything fetched is kept.
pub(super) fn cache() -> PathBuf {
    workspace::target().join("vm")
}

/// Why packages cannot be had on this machine; `None` where they can be asked for.
pub(super) fn lacks() -> Option<String> {
    if cfg!(not(target_arch = "x86_64")) {
        return Some("the kernels are fetched for x86_64 only".into());
    }
    let tools = ["apt-get", "apt-cache", "dpkg-deb"].into_iter().find(|tool| find(tool).is_none());
    if let Some(tool) = tools {
        return Some(format!("no {tool}: kernels are fetched as Debian packages"));
    }
    (!Path::new(KEYRING).exists()).then(|| format!("no {KEYRING}: install debian-archive-keyring"))
}

/// The newest kernel of a series that its suite has, or the one that was fetched before.
pub(super) fn kernel(series: &'static Series) -> Result<Kernel> {
    let folder = cache().join("kernels").join(series.name);
    let [image, release, modules] = ["vmlinuz", "release", "modules"].map(|name| folder.join(name));
    if [&image, &release, &modules].iter().any(|part| !part.exists()) {
        fetch_kernel(series, &folder).with_context(|| format!("cannot fetch kernel {}", series.name))?;
    }
    let release = fs::read_to_string(release)?.trim().to_owned();
    Ok(Kernel { name: series.name, release, image, modules, suite: series.suite, security: series.security })
}

fn fetch_kernel(series: &Series, folder: &Path) -> Result<()> {
    let apt = Apt::update(&[series.suite], series.security, Known::Nothing)?;
    let prefix = format!("linux-image-{}.", series.name);
    let names = apt.cache().args(["pkgnames", &prefix]).read()?;
    let newest = newest_cloud(names.lines()).with_context(|| {
        format!("{} has no linux-image-{}.*-cloud-amd64 any more", series.suite, series.name)
    })?;
    // From 7.x on image and modules are in packages of their own, which that one depends on.
    let apart = ["linux-binary-", "linux-modules-"].map(|start| newest.replacen("linux-image-", start, 1));
    let all = apt.cache().args(["pkgnames", "linux-"]).read()?;
    let parts = apart.iter().map(String::as_str).filter(|name| all.lines().any(|line| line == *name));
    let packages = [newest].into_iter().chain(parts);
    let unpacked = folder.join("unpacked");
    for file in apt.download(packages)? {
        unpack(&file, &unpacked)?;
    }
    let image = file_that_begins(&unpacked, "vmlinuz").context("no vmlinuz in the packages")?;
    fs::rename(image, folder.join("vmlinuz"))?;
    module::keep(&unpacked, &folder.join("modules"))?;
    fs::write(folder.join("release"), newest.trim_start_matches("linux-image-"))?;
    fs::remove_dir_all(unpacked)?;
    Ok(())
}

/// Of package names such as `linux-image-6.1.0-56-cloud-amd64`, the one with the highest version.
fn newest_cloud<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let version = |name: &str| -> Vec<u32> {
        name.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
    };
    names.filter(|name| name.ends_with("-cloud-amd64")).max_by_key(|name| version(name))
}

/// The first file below a folder whose name begins so.
pub(super) fn file_that_begins(folder: &Path, start: &str) -> Option<PathBuf> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).ok()?.flatten() {
            let kind = entry.file_type().ok()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() && entry.file_name().to_string_lossy().starts_with(start) {
                return Some(entry.path());
            }
        }
    }
    None
}

/// The emulator, and a busybox without shared libraries for the guest.
#[derive(Debug)]
pub(super) struct Tools {
    qemu: PathBuf,
    /// Where an unpacked emulator's files are; `None` for an installed one.
    unpacked: Option<PathBuf>,
    /// The busybox.
    pub(super) busybox: PathBuf,
}

/// Before this version every sixth guest of 6.12 died of registers that were lost in an interrupt (7.2: 5 of 6
/// boots went well; 10.0: 10 of 10).
const QEMU_MAJOR_MIN: u32 = 8;

impl Tools {
    /// Those of Debian's packages, unpacked; an emulator that is installed is taken if it is new enough.
    pub(super) fn find_or_fetch() -> Result<Self> {
        let folder = cache().join("tools");
        let qemu = folder.join("usr/bin/qemu-system-x86_64");
        // The machine's own busybox may need libraries that the guest has not.
        let busybox = ["bin/busybox", "usr/bin/busybox"].map(|path| folder.join(path));
        let has_busybox = || busybox.iter().find(|path| path.exists()).cloned();
        let installed =
            if qemu.exists() { None } else { find("qemu-system-x86_64").filter(|qemu| is_new(qemu)) };
        let wanted: &[&str] =
            if installed.is_none() { &["qemu-system-x86", "busybox-static"] } else { &["busybox-static"] };
        if (installed.is_none() && !qemu.exists()) || has_busybox().is_none() {
            fetch_tools(wanted, &folder).with_context(|| format!("cannot fetch {}", wanted.join(" and ")))?;
        }
        let unpacked = installed.is_none().then_some(folder);
        let busybox = has_busybox().context("no busybox in Debian's package busybox-static")?;
        Ok(Self { qemu: installed.unwrap_or(qemu), unpacked, busybox })
    }

    /// The emulator, to be given its arguments.
    pub(super) fn qemu(&self) -> Cmd {
        let Some(folder) = &self.unpacked else { return cmd(&self.qemu) };
        let libraries = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"].map(|path| folder.join(path));
        let libraries = libraries.map(|path| path.display().to_string()).join(":");
        cmd(&self.qemu)
            .env("LD_LIBRARY_PATH", libraries)
            .arg("-L")
            .arg(folder.join("usr/share/seabios"))
            .arg("-L")
            .arg(folder.join("usr/share/qemu"))
    }
}

/// By `QEMU emulator version 10.0.2 (...)`.
fn is_new(qemu: &Path) -> bool {
    let said = cmd(qemu).arg("--version").read().unwrap_or_default();
    let version = said.split_once("version ").map_or("", |(_, rest)| rest);
    version
        .split('.')
        .next()
        .and_then(|major| major.parse::<u32>().ok())
        .is_some_and(|major| major >= QEMU_MAJOR_MIN)
}

fn fetch_tools(packages: &[&str], folder: &Path) -> Result<()> {
    let release = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let codename = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let codename = codename.context("/etc/os-release names no VERSION_CODENAME")?.trim_matches('"');
    let backports = format!("{codename}-backports");
    // Testing and unstable have no backports, nor do they need any.
    let apt = Apt::update(&[codename, &backports], false, Known::Installed)
        .or_else(|_| Apt::update(&[codename], false, Known::Installed))?;
    // Whole or not at all: half of it would be taken for all of it the next time.
    let partial = folder.with_extension("partial");
    for old in [&partial, folder].into_iter().filter(|old| old.exists()) {
        fs::remove_dir_all(old)?;
    }
    for file in apt.download_with_dependencies(packages)? {
        unpack(&file, &partial)?;
    }
    fs::rename(&partial, folder)?;
    Ok(())
}

pub(super) fn unpack(package: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    cmd("dpkg-deb").arg("--extract").arg(package).arg(folder).run()?;
    fs::remove_file(package)?;
    Ok(())
}

/// What apt is told of the packages on this machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Known {
    /// Libraries that are installed need not be fetched.
    Installed,
    /// Only the suite itself counts.
    Nothing,
}

/// apt for these suites alone, so that versions do not mix, with all its files in the cache.
pub(super) struct Apt {
    options: Vec<String>,
    archives: PathBuf,
}

impl Apt {
    /// Of several suites the last is preferred.
    pub(super) fn update(suites: &[&str], security: bool, known: Known) -> Result<Self> {
        let folder = cache().join("apt").join(suites.join("+"));
        let (lists, cache) = (folder.join("lists"), folder.join("cache"));
        let archives = cache.join("archives");
        if archives.exists() {
            // What an interrupted run has left.
            fs::remove_dir_all(&archives)?;
        }
        for partial in [lists.join("partial"), archives.join("partial")] {
            fs::create_dir_all(&partial).with_context(|| format!("cannot make {}", partial.display()))?;
        }
        let sources = folder.join("sources.list");
        let mirror = mirror(security);
        let line = |suite: &&str| format!("deb [arch=amd64 signed-by={KEYRING}] {mirror} {suite} main\n");
        fs::write(&sources, suites.iter().map(line).collect::<String>())?;
        let mut options = vec![
            format!("Dir::State::Lists={}", lists.display()),
            format!("Dir::Cache={}", cache.display()),
            format!("Dir::Etc::SourceList={}", sources.display()),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            // Neither dpkg's lock nor a user of apt's own: nothing is written outside the cache.
            "Debug::NoLocking=1".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
        ];
        options.extend(suites.last().map(|suite| format!("APT::Default-Release={suite}")));
        if known == Known::Nothing {
            options.push("Dir::State::Status=/dev/null".to_owned());
        }
        let this = Self { options, archives };
        this.get().args(["-qq", "update"]).run()?;
        Ok(this)
    }

    fn get(&self) -> Cmd {
        self.with_options(cmd("apt-get"))
    }

    pub(super) fn cache(&self) -> Cmd {
        self.with_options(cmd("apt-cache"))
    }

    fn with_options(&self, command: Cmd) -> Cmd {
        self.options.iter().fold(command, |command, option| command.arg_unshown("-o").arg_unshown(option))
    }

    pub(super) fn download<'a>(&self, packages: impl Iterator<Item = &'a str>) -> Result<Vec<PathBuf>> {
        self.get().args(["-qq", "download"]).args(packages).dir(&self.archives).run()?;
        self.downloaded()
    }

    fn download_with_dependencies(&self, packages: &[&str]) -> Result<Vec<PathBuf>> {
        self.get()
            .args(["-qq", "install", "--download-only", "--reinstall", "--yes", "--no-install-recommends"])
            .args(packages)
            .run()?;
        self.downloaded()
    }

    fn downloaded(&self) -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(&self.archives)?.collect::<Result<Vec<_>, _>>()?;
        let files = entries.into_iter().map(|entry| entry.path());
        let files: Vec<PathBuf> =
            files.filter(|path| path.extension().is_some_and(|end| end == "deb")).collect();
        if files.is_empty() {
            bail!("apt has downloaded nothing");
        }
        Ok(files)
    }
}

/// The mirror that this machine uses for Debian itself, else the one that is always there.
fn mirror(security: bool) -> String {
    let format = "$(ORIGIN) $(CODENAME) $(REPO_URI)";
    let targets = cmd("apt-get").args(["indextargets", "--format", format, "Created-By: Packages"]).read();
    let found = targets.ok().and_then(|targets| mirror_of(&targets, security));
    let standard =
        if security { "http://deb.debian.org/debian-security" } else { "http://deb.debian.org/debian" };
    found.unwrap_or_else(|| standard.to_owned())
}

fn mirror_of(targets: &str, security: bool) -> Option<String> {
    targets.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (origin, codename, uri) = (words.next()?, words.next()?, words.next()?);
        (origin == "Debian" && codename.ends_with("-security") == security).then(|| uri.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_is_by_number_and_of_the_cloud() {
        let names = [
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
            "linux-image-6.1.0-57-cloud-amd64-unsigned",
            "linux-image-6.1.0-58-amd64",
            "linux-image-6.1.0-10-cloud-amd64",
        ];
        assert_eq!(newest_cloud(names.into_iter()), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(newest_cloud(["linux-image-6.1.0-58-amd64"].into_iter()), None);
    }

    #[test]
    fn the_mirror_is_that_of_debian() {
        let targets = "X bookworm http://x.example/debian/\n\
                       Debian bookworm-security http://m.example/debian-security/\n\
                       Debian bookworm http://m.example/debian/\n";
        assert_eq!(mirror_of(targets, false).as_deref(), Some("http://m.example/debian/"));
        assert_eq!(mirror_of(targets, true).as_deref(), Some("http://m.example/debian-security/"));
        assert_eq!(mirror_of("X y http://z.example\n", true), None);
    }
}
