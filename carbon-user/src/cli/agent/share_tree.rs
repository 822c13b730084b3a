//! The files of `--share-with-vms`: for each virtual machine a tree as the kernel's powercap class has it
//! (Documentation/power/powercap/powercap.rst), which a carbon inside the machine takes for its `--sysfs-root`.
//!
//! The machine may be able to write to its tree, and is not trusted: no link in it is followed, and a file is replaced as
//! a whole, so that no reader sees half a number.

use crate::agent::shares::{Gained, Share};
use crate::units::{Microjoules, Quality};
use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, fstat, mkdirat, openat, renameat, symlinkat, unlinkat};
use rustix::io::Errno;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

/// By which energy in the files moves: 10 mW over a second, and 160 times the step of the registers behind it (61 uJ).
pub(super) const QUANTUM: Microjoules = Microjoules(10_000);

/// Where the counters wrap: the highest number that every reader of numbers takes (2^53 - 1), after 28 years of 10 kW.
const RANGE_UJ: u64 = (1 << 53) - 1;

/// Trees that are kept. One of a machine that has ended stays until an administrator removes it.
const TREES_MAX: usize = 10_000;

const FOLDER: Mode = Mode::from_raw_mode(0o755);
/// As `energy_uj` of the kernel.
const SECRET: Mode = Mode::from_raw_mode(0o400);

/// What is written of one counter.
#[derive(Clone, Copy, Debug)]
struct Counter {
    /// In the file, with what is below its quantum.
    energy: Microjoules,
    /// What the machine had gained then.
    gained: Microjoules,
    /// As it stands in the file; `None` where the last update was not written as a whole.
    quality: Option<Quality>,
}

/// One machine's.
#[derive(Debug, Default)]
struct Tree {
    package: Option<Counter>,
    dram: Option<Counter>,
    updates: u64,
}

/// All trees.
#[derive(Debug)]
pub(super) struct ShareTrees {
    top: OwnedFd,
    update: Duration,
    trees: HashMap<String, Tree>,
}

impl ShareTrees {
    /// Takes a folder, which is made where it is missing, for root only. `update` is how often files will change.
    pub(super) fn open(folder: &Path, update: Duration) -> Result<Self, String> {
        let refused = |error: Errno| format!("cannot be used: {error}");
        match mkdirat(CWD, folder, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(format!("cannot be made: {error}")),
        }
        let top = openat(CWD, folder, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(refused)?;
        let mode = Mode::from_raw_mode(fstat(&top).map_err(refused)?.st_mode);
        if mode.intersects(Mode::WGRP | Mode::WOTH) {
            return Err("others than its owner can write to it".to_owned());
        }
        Ok(Self { top, update, trees: HashMap::new() })
    }

    /// Writes what machines have. Those that are not among them have ended, and those of the last call too: their trees
    /// say so, and stay. One that fails does not keep the others from being written; the first failure is told.
    pub(super) fn write(&mut self, machines: &BTreeMap<String, Share>, last: bool) -> Result<(), String> {
        let mut failure = None;
        let ended: Vec<String> =
            self.trees.keys().filter(|name| last || !machines.contains_key(*name)).cloned().collect();
        for (name, share) in machines {
            if let Err(error) = self.update(name, *share) {
                failure.get_or_insert(format!("of {name}: {error}"));
            }
        }
        for name in ended {
            let tree = self.trees.remove(&name).unwrap_or_default();
            let zones = [(PACKAGE, tree.package), (DRAM, tree.dram)];
            for (zone, _) in zones.into_iter().filter(|(_, counter)| counter.is_some()) {
                let written = self.zone(&name, zone.folder).and_then(|(zone, _)| put(&zone, "enabled", "0"));
                if let Err(error) = written {
                    failure.get_or_insert(format!("of {name}: {error}"));
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    fn update(&mut self, name: &str, share: Share) -> Result<(), String> {
        if !self.trees.contains_key(name) {
            self.make(name)?;
        }
        let mut tree = self.trees.remove(name).unwrap_or_default();
        let result = self.update_zones(name, &mut tree, share);
        self.trees.insert(name.to_owned(), tree);
        result
    }

    fn update_zones(&self, name: &str, tree: &mut Tree, share: Share) -> Result<(), String> {
        tree.updates = tree.updates.wrapping_add(1);
        for (zone, gained, counter) in
            [(PACKAGE, share.package, &mut tree.package), (DRAM, share.dram, &mut tree.dram)]
        {
            let Some(gained) = gained else { continue };
            let (folder, made) = self.zone(name, zone.folder)?;
            let before = counter.unwrap_or_else(|| Counter::going_on(&folder));
            let now = before.plus(gained);
            let whole = made || before.quality.is_none();
            // Until all of it is written, as what failed is written again.
            *counter = Some(Counter { quality: None, ..now });
            if whole {
                put(&folder, "name", zone.name)?;
                put(&folder, "max_energy_range_uj", &RANGE_UJ.to_string())?;
                put(&folder, "update_interval_us", &self.update.as_micros().to_string())?;
                put(&folder, "enabled", "1")?;
            }
            if whole || before.quality != now.quality {
                put(&folder, "quality", gained.quality.as_str())?;
            }
            if whole || before.quantised() != now.quantised() {
                put(&folder, "energy_uj", &now.quantised().to_string())?;
            }
            // After the energy: who sees the new one sees no old energy.
            put(&folder, "updates", &tree.updates.to_string())?;
            *counter = Some(now);
        }
        Ok(())
    }

    /// The top of a machine's tree. What else is read of sysfs comes from the reader's own.
    fn make(&self, name: &str) -> Result<(), String> {
        let known = openat(&self.top, name, OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty()).is_ok();
        let dir = Dir::read_from(&self.top).map_err(told("the directory"))?;
        if !known && dir.count() >= TREES_MAX {
            return Err(format!("there are {TREES_MAX} trees; remove those of machines that are no more"));
        }
        let (top, _) = folder(&self.top, name)?;
        for own in ["devices", "fs", "kernel"] {
            match symlinkat(format!("/sys/{own}"), &top, own) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(told(own)(error)),
            }
        }
        Ok(())
    }

    /// A zone's folder, and whether it was made now.
    fn zone(&self, name: &str, zone: &str) -> Result<(OwnedFd, bool), String> {
        let (mut at, mut made) = folder(&self.top, name)?;
        for part in ["class", "powercap", zone] {
            (at, made) = folder(&at, part)?;
        }
        Ok((at, made))
    }
}

/// A zone of the powercap class.
#[derive(Clone, Copy, Debug)]
struct Zone {
    folder: &'static str,
    name: &'static str,
}

const PACKAGE: Zone = Zone { folder: "intel-rapl:0", name: "package-0" };
const DRAM: Zone = Zone { folder: "intel-rapl:0:0", name: "dram" };

impl Counter {
    /// From where an agent before this one ended, or from zero.
    fn going_on(folder: &OwnedFd) -> Self {
        let before = read(folder, "energy_uj").and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        Self { energy: Microjoules(before), gained: Microjoules::ZERO, quality: None }
    }

    fn plus(self, gained: Gained) -> Self {
        // A machine that was gone and is back begins anew.
        let before = if gained.energy < self.gained { Microjoules::ZERO } else { self.gained };
        let energy = self.energy + gained.energy.saturating_sub(before);
        let energy = Microjoules(energy.0.checked_rem(RANGE_UJ + 1).unwrap_or(0));
        Self { energy, gained: gained.energy, quality: Some(gained.quality) }
    }

    fn quantised(self) -> u64 {
        self.energy.0 - self.energy.0 % QUANTUM.0
    }
}

fn told(what: &str) -> impl Fn(Errno) -> String + use<'_> {
    move |error| format!("{what}: {error}")
}

/// A folder below another, and whether it had to be made; a link is none.
fn folder(above: &OwnedFd, name: &str) -> Result<(OwnedFd, bool), String> {
    let made = match mkdirat(above, name, FOLDER) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(error) => return Err(told(name)(error)),
    };
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok((openat(above, name, flags, Mode::empty()).map_err(told(name))?, made))
}

/// Replaces a file as a whole.
fn put(folder: &OwnedFd, name: &str, text: &str) -> Result<(), String> {
    let new = format!(".{name}");
    let create = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = if name == "energy_uj" { SECRET } else { Mode::from_raw_mode(0o444) };
    let file = match openat(folder, &new, create, mode) {
        // Of an agent that was killed.
        Err(Errno::EXIST) => {
            unlinkat(folder, &new, AtFlags::empty()).map_err(told(name))?;
            openat(folder, &new, create, mode)
        }
        other => other,
    };
    let mut file = File::from(file.map_err(told(name))?);
    writeln!(file, "{text}").map_err(|error| format!("{name}: {error}"))?;
    renameat(folder, &new, folder, name).map_err(told(name))
}

/// What a file says, if it is one.
fn read(folder: &OwnedFd, name: &str) -> Option<String> {
    // Whatever a machine put there instead: it is not waited for.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat(folder, name, flags, Mode::empty()).ok()?);
    let mut text = String::new();
    file.take(64).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn machines(package_uj: u64, dram_uj: Option<u64>) -> BTreeMap<String, Share> {
        let gained = |uj| Gained { energy: Microjoules(uj), quality: Quality::Sampled };
        [("web".to_owned(), Share { package: Some(gained(package_uj)), dram: dram_uj.map(gained) })].into()
    }

    fn open(folder: &Path) -> ShareTrees {
        ShareTrees::open(folder, Duration::from_secs(1)).unwrap()
    }

    fn said(folder: &Path, file: &str) -> String {
        let zone = folder.join("web/class/powercap");
        fs::read_to_string(zone.join(file)).unwrap_or_default().trim().to_owned()
    }

    #[test]
    fn counters_move_by_whole_quanta_and_lose_nothing_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().join("vms");
        let mut trees = open(&top);
        for (uj, told) in [(9_999, "0"), (10_000, "10000"), (19_999, "10000"), (1_234_567, "1230000")] {
            trees.write(&machines(uj, None), false).unwrap();
            assert_eq!(said(&top, "intel-rapl:0/energy_uj"), told);
        }
        assert_eq!(said(&top, "intel-rapl:0/updates"), "4");
        assert_eq!(said(&top, "intel-rapl:0/quality"), "sampled");
        assert_eq!(said(&top, "intel-rapl:0/update_interval_us"), "1000000");
        assert!(!top.join("web/class/powercap/intel-rapl:0:0").exists(), "no memory is measured");
        trees.write(&machines(1_234_567, Some(50_000)), true).unwrap();
        assert_eq!(
            (said(&top, "intel-rapl:0:0/name"), said(&top, "intel-rapl:0:0/energy_uj")),
            ("dram".into(), "50000".into())
        );
        assert_eq!(said(&top, "intel-rapl:0/enabled"), "0", "it was the last");
        let mode = |path: &str| fs::metadata(top.join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(""), mode("web/class/powercap/intel-rapl:0/energy_uj")), (0o700, 0o400));
    }

    #[test]
    fn another_agent_and_a_machine_that_comes_back_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let mut trees = open(folder.path());
        trees.write(&machines(500_000, None), false).unwrap();
        drop(trees);
        let mut trees = open(folder.path());
        trees.write(&machines(20_000, None), false).unwrap();
        assert_eq!(said(folder.path(), "intel-rapl:0/energy_uj"), "520000");
        trees.write(&BTreeMap::new(), false).unwrap();
        assert_eq!(said(folder.path(), "intel-rapl:0/enabled"), "0");
        assert_eq!(said(folder.path(), "intel-rapl:0/energy_uj"), "520000", "its tree stays");
        trees.write(&machines(30_000, None), false).unwrap();
        assert_eq!(said(folder.path(), "intel-rapl:0/energy_uj"), "550000");
        assert_eq!(said(folder.path(), "intel-rapl:0/enabled"), "1");
        // Gone and back between two jobs.
        trees.write(&machines(10_000, None), false).unwrap();
        assert_eq!(said(folder.path(), "intel-rapl:0/energy_uj"), "560000");
    }

    #[test]
    fn a_link_in_a_tree_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (top, victim) = (folder.path().join("vms"), folder.path().join("victim"));
        fs::create_dir(&victim).unwrap();
        fs::write(victim.join("energy_uj"), "7").unwrap();
        let zone = top.join("web/class/powercap/intel-rapl:0");
        let mut trees = open(&top);
        trees.write(&machines(50_000, None), false).unwrap();
        fs::remove_file(zone.join("energy_uj")).unwrap();
        symlink(victim.join("energy_uj"), zone.join("energy_uj")).unwrap();
        symlink(victim.join("energy_uj"), zone.join(".energy_uj")).unwrap();
        trees.write(&machines(70_000, None), false).unwrap();
        assert_eq!(fs::read_to_string(victim.join("energy_uj")).unwrap(), "7");
        assert_eq!(said(&top, "intel-rapl:0/energy_uj"), "70000", "the links are replaced");
        fs::remove_dir_all(&zone).unwrap();
        symlink(&victim, &zone).unwrap();
        assert!(trees.write(&machines(90_000, None), false).unwrap_err().contains("intel-rapl:0"));
        assert_eq!(fs::read_to_string(victim.join("energy_uj")).unwrap(), "7");
        assert_eq!(fs::read_dir(&victim).unwrap().count(), 1, "nothing was made there");
        fs::remove_file(&zone).unwrap();
        trees.write(&machines(90_000, None), false).unwrap();
        assert_eq!(said(&top, "intel-rapl:0/energy_uj"), "90000", "what could not be written is not lost");
    }

    #[test]
    fn a_folder_that_others_can_write_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let error = ShareTrees::open(folder.path(), Duration::from_secs(1)).unwrap_err();
        assert!(error.contains("others"), "{error}");
    }

    #[test]
    fn a_reader_never_sees_half_a_number() {
        let folder = tempfile::tempdir().unwrap();
        let mut trees = open(folder.path());
        trees.write(&machines(10_000, None), false).unwrap();
        let path = folder.path().join("web/class/powercap/intel-rapl:0/energy_uj");
        let reader = std::thread::spawn(move || {
            let mut last = 0;
            while last < 20_000_000 {
                let now: u64 = fs::read_to_string(&path).unwrap().trim().parse().unwrap();
                assert!(now >= last && now.is_multiple_of(QUANTUM.0), "{last} {now}");
                last = now;
            }
        });
        for step in 2..=2_000 {
            trees.write(&machines(step * 10_000, None), false).unwrap();
        }
        reader.join().unwrap();
    }
}
