//! A library that stands in for the driver's (`tests/nvml.c`), with counters in files: for the tests that every meter must
//! pass.

use super::*;
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
