//! What each way of accounting and each meter says of this machine, for `carbon doctor`.

use crate::cli::doctor::{Findings, RungFinding};
use crate::clock;
use crate::meters::{Edge, MeterChoice, MeterFinding, Meters, NamedSensor, NoMeter};
use crate::sched::{self, Limits, Rung};
use crate::sysroot::SysRoot;
use crate::topology::Topology;
use std::time::Duration;

/// How long doctor compares two meters of the same.
const COMPARING: Duration = Duration::from_millis(1100);

/// How often meters are read at most, to compare them: the longest comparison is over four seconds.
const COMPARING_MOST: u32 = 8;

/// For `carbon doctor`: what each rung and each meter says of this machine, with the sensors that were named. Each rung is opened, and closed again.
pub fn findings(root: &SysRoot, sensors: &[NamedSensor]) -> Findings {
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
    let meters = match Meters::open_with(root, &topology, MeterChoice::Auto, sensors) {
        Ok(meters) => compared(meters),
        Err(NoMeter(finding)) => vec![finding],
    };
    Findings { rungs: rungs.into(), meters }
}

/// What the meters say of themselves, after two ways to the same counters have been compared, where there are two, and the
/// sum with the whole machine's, where there is a sensor of it.
fn compared(mut meters: Meters) -> Vec<MeterFinding> {
    let is_done = |meters: &Meters| {
        meters.compares() == meters.compared().is_some() && meters.sums() == meters.summed().is_some()
    };
    for number in 0..COMPARING_MOST {
        if is_done(&meters) {
            break;
        }
        std::thread::sleep(if number == 0 { Duration::ZERO } else { COMPARING });
        meters.read(&Edge { monotonic_ns: clock::monotonic_ns(), suspended_ns: 0, busy: &[] });
    }
    meters.findings().iter().chain(meters.compared()).chain(meters.summed()).cloned().collect()
}
