//! What each way of accounting and each meter says of this machine, for `carbon doctor`.

use crate::cli::doctor::{Findings, RungFinding};
use crate::clock;
use crate::meters::{Edge, MeterChoice, MeterFinding, Meters};
use crate::sched::{self, Limits, Rung};
use crate::sysroot::SysRoot;
use crate::topology::Topology;
use std::time::Duration;

/// How long doctor compares two meters of the same.
const COMPARING: Duration = Duration::from_millis(1100);

/// For `carbon doctor`: what each rung and each meter says of this machine. Each rung is opened, and closed again.
pub fn findings(root: &SysRoot) -> Findings {
    let topology = match Topology::read(root) {
        Ok(topology) => topology,
        Err(error) => {
            let reason = format!("cannot read the CPUs below {}: {error}", root.sys.display());
            let advice = Some("mount sysfs, and name it by --sysfs-root where it is not at /sys".to_owned());
            let rungs = Rung::ALL.map(|rung| RungFinding {
                rung,
                available: false,
                reason: reason.clone(),
                advice: advice.clone(),
            });
            return Findings { rungs: rungs.into(), meters: Vec::new() };
        }
    };
    let rungs = Rung::ALL.map(|rung| {
        let (available, reason, advice) = match sched::open(rung, root, &topology, Limits::default()) {
            Ok(_) => (true, rung.description().to_owned(), None),
            Err(error) => (false, error.to_string(), Some(error.advice().to_owned())),
        };
        RungFinding { rung, available, reason, advice }
    });
    let meters = Meters::open(root, &topology, MeterChoice::Auto).map_or_else(|_| Vec::new(), compared);
    Findings { rungs: rungs.into(), meters }
}

/// What the meters say of themselves, after two ways to the same counters have been compared, where there are two.
fn compared(mut meters: Meters) -> Vec<MeterFinding> {
    if meters.compares() {
        // More than twice only where a reading fails.
        for pause in [Duration::ZERO, COMPARING, COMPARING, COMPARING] {
            std::thread::sleep(pause);
            meters.read(&Edge { monotonic_ns: clock::monotonic_ns(), busy: &[] });
            if meters.compared().is_some() {
                break;
            }
        }
    }
    meters.findings().iter().chain(meters.compared()).cloned().collect()
}
