//! What attribution starts from: the machine's packages, and what tables say of their processors.

use super::options::Measuring;
use crate::attribution::{PackagePrior, State};
use crate::meters::cpu_power::CpuPower;
use crate::topology::Topology;

/// Attribution's state as the options ask for it.
pub fn state(measuring: &Measuring, topology: &Topology) -> State {
    let per_cpu = Some(CpuPower::read(&measuring.root).per_busy_thread());
    let packages = topology.online.iter().map(|cpus| PackagePrior { cpus: *cpus, per_cpu }).collect();
    State::new(measuring.attribution, packages)
}
