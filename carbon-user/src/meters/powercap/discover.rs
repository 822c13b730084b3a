//! Which zones the powercap class has, and which of them count.
//!
//! Zones overlap: psys contains the packages, a package contains core and uncore, and `intel-rapl-mmio` repeats
//! a package, where `intel-rapl` has it. Only packages and memory are taken, so that no joule counts twice; everything else is left out with
//! a reason. Layout and names: kernel 6.12, `drivers/powercap/{powercap_sys,intel_rapl_common}.c`; AMD's is the
//! same.

use super::limits::CONSTRAINTS;
use super::share::Share;
use crate::sysroot::SysRoot;
use crate::units::Watts;
use crate::window::DomainKind;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Control types of the processor's driver by registers (MSR) or by TPMI, and of that of its thermal device (MMIO).
const MSR_OR_TPMI: &str = "intel-rapl";
const MMIO: &str = "intel-rapl-mmio";

const REPEATS: &str = "repeats a zone of intel-rapl by another way to the same counter";

/// Below the sysfs root.
pub(super) const CLASS: &str = "class/powercap";

/// Deeper than any zone is nested (package, then its parts).
const DEPTH_MAX: usize = 4;

/// What no package exceeds where it does not say its limits: twice the rated power of the largest sold in 2026
/// (500 W).
const PACKAGE_WATTS_MAX: Watts = Watts(1000.0);

/// What a virtual machine's share of its host does not exceed: more than a whole machine draws.
const SHARE_WATTS_MAX: Watts = Watts(20_000.0);

/// Limits below this are taken for settings rather than for what the silicon can draw.
const LIMIT_WATTS_MIN: f64 = 100.0;

/// A zone that counts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Zone {
    /// Its folder, such as `intel-rapl:0:2`.
    pub(super) folder: String,
    /// The folder below the sysfs root.
    pub(super) path: PathBuf,
    /// What it measures.
    pub(super) kind: DomainKind,
    /// The package or die that it belongs to, such as `package-0` or `package-0-die-1`.
    pub(super) device: String,
    /// The kernel's number of that package.
    pub(super) physical_id: u32,
    /// Where the counter starts again at zero; 0 where it does not say.
    pub(super) range_uj: u64,
    /// More than it can draw.
    pub(super) max: Watts,
    /// Set where it is a share of another machine.
    pub(super) share: Option<Share>,
}

/// A zone that does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Skipped {
    /// Its folder and name.
    pub(super) zone: String,
    /// Why not.
    pub(super) reason: String,
}

/// Lists the zones below the root, in the order of their numbers. An error means that there is no such class.
pub(super) fn discover(root: &SysRoot) -> io::Result<(Vec<Zone>, Vec<Skipped>)> {
    let mut folders = BTreeMap::new();
    collect(&root.sys, Path::new(CLASS), 0, &mut folders)?;
    let names: BTreeMap<&Key, io::Result<String>> =
        folders.iter().map(|(key, path)| (key, root.read_sys(path.join("name")))).collect();
    let name_of = |key: &Key| names.get(key).and_then(|name| name.as_deref().ok());
    let (mut zones, mut skipped) = (Vec::new(), Vec::new());
    for (key, path) in &folders {
        let folder = key.folder();
        let verdict = match names.get(key) {
            Some(Ok(name)) => classify(key, name, name_of),
            Some(Err(error)) => Err(format!("its name cannot be read: {error}")),
            None => Err("it has no name".to_owned()),
        };
        let verdict = verdict.and_then(|(kind, device, physical_id)| {
            // Those of the thermal device come after the others: they are counted where they are alone.
            let again = zones.iter().any(|it: &Zone| it.kind == kind && it.device == device);
            let way = || if key.control == MMIO { REPEATS } else { "has the name of a zone that is counted" };
            if again { Err(way().to_owned()) } else { Ok((kind, device, physical_id)) }
        });
        match verdict {
            Ok((kind, device, physical_id)) => {
                let share = Share::of(root, path);
                zones.push(Zone {
                    range_uj: number(root, path, "max_energy_range_uj").unwrap_or(0),
                    max: share.map_or_else(|| plausible_max(root, path), |_| SHARE_WATTS_MAX),
                    path: path.clone(),
                    folder,
                    kind,
                    device,
                    physical_id,
                    share,
                });
            }
            Err(reason) => {
                let name = name_of(key).unwrap_or("no name");
                skipped.push(Skipped { zone: format!("{folder} ({name})"), reason });
            }
        }
    }
    Ok((zones, skipped))
}

/// A folder such as `intel-rapl:0:2`, in an order in which 10 comes after 2.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    control: String,
    numbers: Vec<u32>,
}

impl Key {
    fn parse(folder: &str) -> Option<Self> {
        let (control, numbers) = folder.split_once(':')?;
        let numbers = numbers.split(':').map(|number| number.parse().ok()).collect::<Option<_>>()?;
        Some(Self { control: control.to_owned(), numbers })
    }

    fn folder(&self) -> String {
        let numbers: Vec<_> = self.numbers.iter().map(u32::to_string).collect();
        format!("{}:{}", self.control, numbers.join(":"))
    }

    fn parent(&self) -> Option<Self> {
        let (_, rest) = self.numbers.split_last()?;
        Some(Self { control: self.control.clone(), numbers: rest.to_vec() })
    }
}

/// Zones are entries of the class and of each other. Paths are joined below the root and never resolved: the
/// class's entries are links, which need not stay below another root.
fn collect(sys: &Path, below: &Path, depth: usize, folders: &mut BTreeMap<Key, PathBuf>) -> io::Result<()> {
    let mut deeper = Vec::new();
    for entry in fs::read_dir(sys.join(below))? {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else { continue };
        let path = below.join(name);
        let key = Key::parse(name);
        // Control types have no number: their zones are looked for, but they count nothing themselves.
        if key.is_some() || depth == 0 {
            deeper.push(path.clone());
        }
        if let Some(key) = key {
            folders.entry(key).or_insert(path);
        }
    }
    // The entries of the class itself first: their paths are the ones that people know.
    for path in deeper.into_iter().filter(|path| depth < DEPTH_MAX && sys.join(path).is_dir()) {
        // A zone that vanishes meanwhile is no reason to lose the others.
        collect(sys, &path, depth + 1, folders).or_else(gone_is_fine)?;
    }
    Ok(())
}

fn gone_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Kind, device and package of a zone that counts, or why it does not.
fn classify<'a>(
    key: &Key,
    name: &str,
    name_of: impl Fn(&Key) -> Option<&'a str>,
) -> Result<(DomainKind, String, u32), String> {
    match key.control.as_str() {
        MSR_OR_TPMI | MMIO => {}
        _ => return Err("not a meter of the processor".to_owned()),
    }
    if let Some(physical_id) = package_number(name) {
        return Ok((DomainKind::Package, name.to_owned(), physical_id));
    }
    let parent = key.parent().and_then(|parent| name_of(&parent));
    match (name, parent.and_then(|parent| Some((parent, package_number(parent)?)))) {
        ("dram", Some((parent, physical_id))) => Ok((DomainKind::Dram, parent.to_owned(), physical_id)),
        ("dram", None) => Err("belongs to no package".to_owned()),
        ("core" | "uncore", _) => Err("part of its package".to_owned()),
        // The second machine part that has one is "psys-1" (rapl_init_domains).
        (name, _) if name == "psys" || name.starts_with("psys-") => {
            Err("contains package and dram, which are counted".to_owned())
        }
        _ => Err("not a kind of zone that is known".to_owned()),
    }
}

/// The number in `package-1` or `package-1-die-0`.
fn package_number(name: &str) -> Option<u32> {
    let rest = name.strip_prefix("package-")?;
    let (number, die) = rest.split_once("-die-").map_or((rest, None), |(number, die)| (number, Some(die)));
    if die.is_some_and(|die| die.parse::<u32>().is_err()) {
        return None;
    }
    number.parse().ok()
}

/// Twice the highest limit that the zone tells at the start. A limit is a mean over a time window, seconds for the first
/// and milliseconds for the second, and may be exceeded within it (Intel SDM 3B, "Package RAPL Domain": power limits #1
/// and #2); the highest is often the second, a quarter above the first by default (Intel's datasheets, "Turbo Boost power
/// control"). Limits can be raised while this runs, and are no limits where they are not enabled. A wrong step of a
/// counter is greater by orders of magnitude: of a range of 262 kJ, 400 W twice over in a second are 0.3 %.
fn plausible_max(root: &SysRoot, zone: &Path) -> Watts {
    let limits_uw = CONSTRAINTS.flat_map(|index| {
        ["max_power_uw", "power_limit_uw"]
            .into_iter()
            .filter_map(move |limit| number(root, zone, &format!("constraint_{index}_{limit}")))
    });
    #[expect(clippy::cast_precision_loss, reason = "2^53 uW are 9 GW")]
    let limit_watts = limits_uw.max().unwrap_or(0) as f64 / 1e6;
    if limit_watts > 0.0 { Watts((2.0 * limit_watts).max(LIMIT_WATTS_MIN)) } else { PACKAGE_WATTS_MAX }
}

fn number(root: &SysRoot, zone: &Path, file: &str) -> Option<u64> {
    root.read_sys(zone.join(file)).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meters::tests::{fixture, fixture_copy};

    fn folders(zones: &[Zone]) -> Vec<(&str, DomainKind, &str, u32)> {
        zones.iter().map(|zone| (&*zone.folder, zone.kind, &*zone.device, zone.physical_id)).collect()
    }

    #[test]
    fn what_overlaps_is_left_out_with_a_reason() {
        let (zones, skipped) = discover(&fixture("intel-client")).unwrap();
        assert_eq!(
            folders(&zones),
            [
                ("intel-rapl:0", DomainKind::Package, "package-0", 0),
                ("intel-rapl:0:2", DomainKind::Dram, "package-0", 0)
            ]
        );
        let skipped: Vec<_> = skipped.iter().map(|skipped| (&*skipped.zone, &*skipped.reason)).collect();
        assert_eq!(
            skipped,
            [
                ("intel-rapl:0:0 (core)", "part of its package"),
                ("intel-rapl:0:1 (uncore)", "part of its package"),
                ("intel-rapl:1 (psys)", "contains package and dram, which are counted"),
                (
                    "intel-rapl-mmio:0 (package-0)",
                    "repeats a zone of intel-rapl by another way to the same counter"
                ),
            ]
        );
        assert_eq!((zones[0].range_uj, zones[0].max), (262_143_328_850, Watts(180.0)));
        assert_eq!(zones[1].max, Watts(100.0), "a limit of 22 W is lifted");
    }

    /// Laptops on which the driver by registers is not loaded, as in kernels that lack the processor's number.
    #[test]
    fn a_zone_of_the_thermal_device_counts_where_it_is_alone() {
        let (_directory, root) = fixture_copy("intel-client");
        for folder in ["intel-rapl", "intel-rapl:0", "intel-rapl:0:0", "intel-rapl:0:1", "intel-rapl:0:2"] {
            fs::remove_dir_all(root.sys.join(CLASS).join(folder)).unwrap();
        }
        let (zones, skipped) = discover(&root).unwrap();
        assert_eq!(folders(&zones), [("intel-rapl-mmio:0", DomainKind::Package, "package-0", 0)]);
        assert_eq!(skipped.len(), 1, "psys: {skipped:?}");
    }

    #[test]
    fn no_zone_counts_twice_and_each_psys_is_one() {
        let (_directory, root) = fixture_copy("intel-two-socket");
        for (number, name) in [(2, "psys"), (3, "psys-1"), (4, "package-1")] {
            let folder = root.sys.join(CLASS).join(format!("intel-rapl:{number}"));
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("name"), name).unwrap();
            fs::write(folder.join("energy_uj"), "1").unwrap();
        }
        let (zones, skipped) = discover(&root).unwrap();
        assert_eq!(zones.len(), 4, "{zones:?}");
        let psys = "contains package and dram, which are counted";
        let reasons: Vec<_> = skipped.iter().map(|skipped| &*skipped.reason).collect();
        assert_eq!(reasons, [psys, psys, "has the name of a zone that is counted"]);
    }

    #[test]
    fn sockets_and_dies_are_told_apart() {
        let (zones, _) = discover(&fixture("intel-two-socket")).unwrap();
        assert_eq!(zones.iter().map(|zone| zone.physical_id).collect::<Vec<_>>(), [0, 0, 1, 1]);
        assert_eq!(zones[2].max, Watts(826.0));
        let (zones, _) = discover(&fixture("intel-multi-die")).unwrap();
        let packages = zones.iter().filter(|zone| zone.kind == DomainKind::Package);
        let packages: Vec<_> = packages.map(|zone| (&*zone.device, zone.physical_id)).collect();
        let dies =
            [("package-0-die-0", 0), ("package-0-die-1", 0), ("package-1-die-0", 1), ("package-1-die-1", 1)];
        assert_eq!(packages, dies);
    }

    #[test]
    fn one_core_of_amd_is_no_sum() {
        let (zones, skipped) = discover(&fixture("amd-epyc")).unwrap();
        assert_eq!(folders(&zones), [("intel-rapl:0", DomainKind::Package, "package-0", 0)]);
        assert_eq!(zones[0].max, PACKAGE_WATTS_MAX, "it tells no limit");
        assert_eq!(skipped[0].zone, "intel-rapl:0:0 (core)");
    }

    #[test]
    fn zones_that_are_only_nested_and_links_are_found_once() {
        let (_directory, root) = fixture_copy("intel-two-socket");
        let class = root.sys.join(CLASS);
        let devices = root.sys.join("devices/virtual/powercap/intel-rapl");
        fs::create_dir_all(&devices).unwrap();
        for package in ["intel-rapl:0", "intel-rapl:1"] {
            fs::rename(class.join(package), devices.join(package)).unwrap();
            let dram = format!("{package}:0");
            fs::rename(class.join(&dram), devices.join(package).join(&dram)).unwrap();
            let target = format!("../../devices/virtual/powercap/intel-rapl/{package}");
            std::os::unix::fs::symlink(target, class.join(package)).unwrap();
        }
        let (zones, skipped) = discover(&root).unwrap();
        assert_eq!(
            zones.iter().map(|zone| &*zone.folder).collect::<Vec<_>>(),
            ["intel-rapl:0", "intel-rapl:0:0", "intel-rapl:1", "intel-rapl:1:0"]
        );
        assert_eq!(skipped, []);
    }

    #[test]
    fn odd_zones_are_left_out() {
        let (_directory, root) = fixture_copy("amd-epyc");
        let class = root.sys.join(CLASS);
        for (folder, name) in [
            ("intel-rapl:1", "dram"),
            ("intel-rapl:2", "package-x"),
            ("dtpm:0", "soc"),
            ("intel-rapl:10", "package-3"),
        ] {
            fs::create_dir(class.join(folder)).unwrap();
            fs::write(class.join(folder).join("name"), name).unwrap();
        }
        fs::create_dir(class.join("intel-rapl:3")).unwrap();
        let (zones, skipped) = discover(&root).unwrap();
        assert_eq!(
            zones.iter().map(|zone| &*zone.folder).collect::<Vec<_>>(),
            ["intel-rapl:0", "intel-rapl:10"]
        );
        assert_eq!(zones[1].range_uj, 0, "no file, no range");
        let reason =
            |zone: &str| skipped.iter().find(|it| it.zone == zone).map(|it| it.reason.clone()).unwrap();
        assert_eq!(reason("intel-rapl:1 (dram)"), "belongs to no package");
        assert_eq!(reason("intel-rapl:2 (package-x)"), "not a kind of zone that is known");
        assert_eq!(reason("dtpm:0 (soc)"), "not a meter of the processor");
        assert!(reason("intel-rapl:3 (no name)").starts_with("its name cannot be read"));
    }

    #[test]
    fn a_machine_without_the_class_is_an_error() {
        assert_eq!(discover(&fixture("vm")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
