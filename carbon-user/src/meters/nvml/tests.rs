//! A library that stands in for the driver's (`tests/nvml.c`), with counters in files: for the tests that every meter must
//! pass.

use super::*;
use crate::meters::cpu_power::CpuPower;
use crate::meters::tests::{AHEAD_NS, fixture_copy};
use crate::meters::{Edge, PowerLimit};
use crate::topology::Topology;
use std::path::Path;

/// In a fixture, below its sysfs root: the library, what its machine is made of, and the counters.
const LIBRARY: &str = "nvml/libnvidia-ml.so.1";

/// The meter, on a fixture.
pub(in crate::meters) const STAND_IN: Source = Source {
    name: NAME,
    role: Role::Device,
    open: |ground| open_with(ground, Some(ground.root.sys.join(LIBRARY))),
};

/// Builds the library into a fixture that has a machine for it. False where there is no compiler.
#[expect(clippy::disallowed_methods, reason = "a compiler, for a test")]
pub(in crate::meters) fn build(sys: &Path) -> bool {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/nvml.c");
    let mut compiler = std::process::Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(sys.join(LIBRARY)).arg(source);
    compiler.status().is_ok_and(|status| status.success())
}

#[test]
fn the_limit_of_each_device_is_told() {
    let (_directory, root) = fixture_copy("two-gpus");
    if !build(&root.sys) {
        println!("SKIPPED: no C compiler builds the stand-in for the driver's library");
        return;
    }
    let (topology, power) = (Topology::read(&root).unwrap(), CpuPower::read(&root));
    let ground = Ground { root: &root, topology: &topology, power: &power, sensors: &[] };
    let mut meter = (STAND_IN.open)(&ground).meter.unwrap();
    let edge = Edge { monotonic_ns: AHEAD_NS, suspended_ns: 0, busy: &[] };
    meter.ask(&edge, clock::monotonic_ns() + 5_000_000_000);
    meter.read(&edge);
    let limit = PowerLimit { constraint: "enforced".to_owned(), watts: Watts(300.0) };
    assert_eq!(meter.limits(), vec![Some([limit].into()); 2]);
}
