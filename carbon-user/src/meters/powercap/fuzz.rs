//! Files of the powercap class that may hold anything: each line is one of a zone's.

use super::discover::{CLASS, discover};
use super::limits::set_in;
use crate::meters::file::read_number;
use crate::sysroot::SysRoot;
use std::fs;
use std::path::Path;

const FILES: [&str; 8] = [
    "name",
    "max_energy_range_uj",
    "energy_uj",
    "constraint_0_max_power_uw",
    "constraint_0_power_limit_uw",
    "quality",
    "constraint_0_name",
    "enabled",
];

/// A package as it should be, and a zone below it that is made of the lines.
pub(crate) fn files(bytes: &[u8], sys: &Path) {
    let package = sys.join(CLASS).join("intel-rapl:0");
    let zone = package.join("intel-rapl:0:0");
    if fs::create_dir_all(&zone).is_err() {
        return;
    }
    let good = fs::write(package.join("name"), "package-0");
    for (file, line) in
        FILES.iter().zip(bytes.split(|byte| *byte == b'\n').chain(std::iter::repeat(&b""[..])))
    {
        drop(fs::write(zone.join(file), line));
    }
    let found = discover(&SysRoot { sys: sys.to_owned(), ..SysRoot::default() });
    if good.is_ok()
        && let Ok((zones, skipped)) = found
    {
        assert_eq!(zones.len() + skipped.len(), 2, "each zone counts, or it is said why not");
        assert!(zones.iter().all(|zone| zone.max.0 > 0.0 && zone.max.0.is_finite()), "{zones:?}");
    }
    drop(read_number(&zone.join("energy_uj")));
    for limit in set_in(&zone).iter().flat_map(|set| set.iter()) {
        assert!(limit.watts.0 > 0.0 && limit.watts.0.is_finite(), "{limit:?}");
    }
    drop(fs::remove_dir_all(sys));
}
