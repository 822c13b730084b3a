//! A zone that is no register but a virtual machine's share of its host, which `carbon agent --share-with-vms` fills.
//!
//! It moves once in an interval, and not at all where the machine does nothing: so another file counts its updates, and
//! says whether anybody is there.

use crate::clock;
use crate::meters::file::{FileProbe, read_number};
use crate::meters::lane::{Probe, Raws};
use crate::meters::{ErrorKind, MeterError};
use crate::sysroot::SysRoot;
use crate::units::Quality;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Updates that may be late before nobody is taken to be there: the host may be busy, and file systems that it shares
/// keep what they read for a second (`cache=auto` of virtiofsd).
const MISSED_MAX: u32 = 5;

/// What the zone says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// How often it is updated.
    pub(super) update: Duration,
    /// What its energy is worth; the lowest where that is not known.
    pub(super) quality: Quality,
}

impl Share {
    /// That of a zone, where it is one.
    pub(super) fn of(root: &SysRoot, zone: &Path) -> Option<Self> {
        let update_us = root.read_sys(zone.join("update_interval_us")).ok()?.parse().ok()?;
        let told = root.read_sys(zone.join("quality")).unwrap_or_default();
        let known = [Quality::Measured, Quality::Sampled].into_iter().find(|known| known.as_str() == told);
        Some(Self { update: Duration::from_micros(update_us), quality: known.unwrap_or(Quality::Modelled) })
    }
}

/// Reads it.
#[derive(Debug)]
pub(super) struct ShareProbe {
    energy: FileProbe,
    enabled: PathBuf,
    updates: PathBuf,
    patience: Duration,
    /// The number of updates, and when it was first seen.
    last: Option<(u64, u64)>,
}

impl ShareProbe {
    /// That of a zone at `folder`.
    pub(super) fn new(folder: &Path, share: Share) -> Self {
        Self {
            energy: FileProbe::new(folder.join("energy_uj"), None),
            enabled: folder.join("enabled"),
            updates: folder.join("updates"),
            patience: share.update.saturating_mul(MISSED_MAX),
            last: None,
        }
    }

    /// Whether somebody updates it at this time of the monotonic clock.
    fn is_alive(&mut self, now_ns: u64) -> bool {
        let Ok(updates) = read_number(&self.updates) else { return false };
        let since_ns = match self.last {
            Some((last, since_ns)) if last == updates => since_ns,
            _ => now_ns,
        };
        self.last = Some((updates, since_ns));
        let enabled = read_number(&self.enabled).is_ok_and(|enabled| enabled != 0);
        enabled && Duration::from_nanos(now_ns.saturating_sub(since_ns)) <= self.patience
    }

    fn read_at(&mut self, now_ns: u64) -> Raws {
        if self.is_alive(now_ns) {
            return self.energy.read(true);
        }
        vec![Err(MeterError {
            kind: ErrorKind::Retry,
            message: "the host does not update it: carbon agent --share-with-vms has ended there, or hangs; it is tried \
                      again at the next window"
                .to_owned(),
        })]
    }
}

impl Probe for ShareProbe {
    fn read(&mut self, _at_edge: bool) -> Raws {
        self.read_at(clock::monotonic_ns())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn an_idle_machine_is_told_from_a_host_that_has_gone() {
        let folder = tempfile::tempdir().unwrap();
        let put = |file: &str, text: &str| fs::write(folder.path().join(file), text).unwrap();
        put("energy_uj", "70000\n");
        put("enabled", "1\n");
        put("updates", "1\n");
        let share = Share { update: Duration::from_secs(1), quality: Quality::Sampled };
        let mut probe = ShareProbe::new(folder.path(), share);
        let mut at = |second: u64| probe.read_at(second * 1_000_000_000).remove(0).map(|raw| raw.uj);
        for second in 0..=5 {
            assert_eq!(at(second).unwrap(), 70_000);
        }
        assert_eq!(at(6).unwrap_err().kind, ErrorKind::Retry, "five updates have been missed");
        put("updates", "2\n");
        assert_eq!(at(7).unwrap(), 70_000, "it did nothing, and that is known");
        put("enabled", "0\n");
        assert!(at(8).unwrap_err().message.contains("has ended there"));
        put("enabled", "1\n");
        put("energy_uj", "90000\n");
        assert_eq!(at(9).unwrap(), 90_000);
    }
}
