//! Limits of power that are set in a zone (Linux, Documentation/power/powercap/powercap.rst, "Constraint Attributes").
//!
//! They are read along with the counter, in its lane, but only once a minute: each is one more read of a register.

use crate::clock;
use crate::meters::file::{FileProbe, read_number};
use crate::meters::lane::{Probe, Raws};
use crate::meters::{LIMITS_PERIOD, PowerLimit, PowerLimits};
use crate::units::Watts;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Those that are looked for: RAPL has three, `long_term`, `short_term` and `peak_power`.
pub(super) const CONSTRAINTS: Range<u32> = 0..4;

/// The longest name that is taken over.
const NAME_MAX: usize = 32;

/// Reads a zone's counter, and its limits.
#[derive(Debug)]
pub(super) struct ZoneProbe {
    energy: FileProbe,
    folder: PathBuf,
    limits: Option<PowerLimits>,
    looked_ns: Option<u64>,
}

impl ZoneProbe {
    /// That of a zone at `folder`; `period` as of its counter.
    pub(super) fn new(folder: PathBuf, period: Option<Duration>) -> Self {
        let energy = FileProbe::new(folder.join("energy_uj"), period);
        Self { energy, folder, limits: None, looked_ns: None }
    }
}

impl Probe for ZoneProbe {
    fn read(&mut self, at_edge: bool) -> Raws {
        let mut raws = self.energy.read(at_edge);
        let now_ns = clock::monotonic_ns();
        let age = self.looked_ns.map(|looked_ns| Duration::from_nanos(now_ns.saturating_sub(looked_ns)));
        if at_edge && age.is_none_or(|age| age >= LIMITS_PERIOD) {
            self.looked_ns = Some(now_ns);
            self.limits = set_in(&self.folder);
        }
        for raw in raws.iter_mut().flatten() {
            raw.limits.clone_from(&self.limits);
        }
        raws
    }

    fn period(&self) -> Option<Duration> {
        self.energy.period()
    }
}

/// What is set in a zone. Nothing where the zone says that its limits are off: then they limit nothing.
pub(super) fn set_in(folder: &Path) -> Option<PowerLimits> {
    if read_number(&folder.join("enabled")).is_ok_and(|enabled| enabled == 0) {
        return None;
    }
    let limits: PowerLimits = CONSTRAINTS.filter_map(|index| limit(folder, index)).collect();
    (!limits.is_empty()).then_some(limits)
}

fn limit(folder: &Path, index: u32) -> Option<PowerLimit> {
    let file = |what: &str| folder.join(format!("constraint_{index}_{what}"));
    let limit_uw = read_number(&file("power_limit_uw")).ok().filter(|limit_uw| *limit_uw > 0)?;
    let name = fs::read_to_string(file("name")).unwrap_or_default();
    let name = name.trim();
    let is_word = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    let fits = !name.is_empty() && name.len() <= NAME_MAX && is_word;
    let constraint = if fits { name.to_owned() } else { index.to_string() };
    #[expect(clippy::cast_precision_loss, reason = "2^53 uW are 9 GW")]
    let watts = Watts(limit_uw as f64 / 1e6);
    Some(PowerLimit { constraint, watts })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meters::tests::fixture_copy;

    fn said(folder: &Path) -> Vec<(String, f64)> {
        let set = set_in(folder);
        set.iter().flat_map(|set| set.iter()).map(|it| (it.constraint.clone(), it.watts.0)).collect()
    }

    #[test]
    fn what_is_set_and_on_is_a_limit() {
        let (_directory, root) = fixture_copy("intel-client");
        let class = root.sys.join("class/powercap");
        let package = class.join("intel-rapl:0");
        assert_eq!(said(&package), [("long_term".to_owned(), 72.0), ("short_term".to_owned(), 90.0)]);
        let memory = class.join("intel-rapl:0:2");
        assert_eq!(said(&memory), [], "zero, and off");
        fs::write(memory.join("constraint_0_power_limit_uw"), "15000000\n").unwrap();
        assert_eq!(said(&memory), [], "off");
        fs::write(memory.join("enabled"), "1\n").unwrap();
        assert_eq!(said(&memory), [("long_term".to_owned(), 15.0)]);
        fs::write(memory.join("constraint_0_name"), "no \"word\"\n").unwrap();
        assert_eq!(said(&memory), [("0".to_owned(), 15.0)]);
        fs::write(package.join("constraint_0_power_limit_uw"), "none\n").unwrap();
        fs::remove_file(package.join("constraint_1_power_limit_uw")).unwrap();
        assert_eq!(set_in(&package), None, "unknown is not zero");
    }

    #[test]
    fn limits_are_looked_at_once_in_a_while_and_told_each_time() {
        let (_directory, root) = fixture_copy("intel-client");
        let package = root.sys.join("class/powercap/intel-rapl:0");
        let mut probe = ZoneProbe::new(package.clone(), None);
        let mut first = |at_edge| {
            let raw = probe.read(at_edge).remove(0).unwrap();
            raw.limits.and_then(|set| set.first().map(|it| it.watts.0))
        };
        assert_eq!(first(false), None, "between edges there is no time for it");
        assert_eq!(first(true), Some(72.0));
        fs::write(package.join("constraint_0_power_limit_uw"), "30000000\n").unwrap();
        assert_eq!((first(true), first(false)), (Some(72.0), Some(72.0)));
        probe.looked_ns = Some(0);
        assert!(
            Duration::from_nanos(clock::monotonic_ns()) > LIMITS_PERIOD,
            "of a machine that has just begun"
        );
        let raw = probe.read(true).remove(0).unwrap();
        assert_eq!(raw.limits.map(|set| set[0].watts), Some(Watts(30.0)));
    }
}
