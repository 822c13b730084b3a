//! What a processor is likely to draw, from what it says of itself: CPUID or ARM part number to
//! microarchitecture to watts per hardware thread.
//!
//! Clouds hide the model name but not family and model. The figures are medians over whole servers at the wall
//! with their memory, fans and power supply loss (`SPECpower`; `data/PROVENANCE.md`): as power of the package
//! alone they are too high.

use crate::reference::{self, CpuIdentity};
use crate::sysroot::SysRoot;
use crate::units::Watts;
use crate::window::Bounds;

/// Nine times in ten the truth is within this factor, either way, where the microarchitecture is known: the
/// 10th to 90th percentile of the servers of one architecture are a factor of 1.2 to 2 apart.
const KNOWN_FACTOR: f64 = 1.7;

/// The same for an unknown processor: on machines left out of a fit, the error from the rated power was below a
/// factor of 2.15 nine times in ten.
const UNKNOWN_FACTOR: f64 = 2.2;

/// Watts per hardware thread of this machine's processor.
#[derive(Clone, Debug, PartialEq)]
pub struct CpuPower {
    /// The microarchitecture, or what is known of a processor that is in no table.
    pub name: String,
    /// With all threads idle.
    pub idle_per_thread: Watts,
    /// With all threads at full load.
    pub max_per_thread: Watts,
    /// How far the truth may be.
    pub bounds: Bounds,
}

impl CpuPower {
    /// Identifies the processor by `cpuinfo` below the procfs root. One that cannot be identified is an unknown
    /// one, which is no error: it has wider bounds.
    pub fn read(root: &SysRoot) -> Self {
        let cpuinfo = root.read_proc("cpuinfo").unwrap_or_default();
        Self::of(parse_cpuinfo(&cpuinfo).as_ref())
    }

    fn of(cpu: Option<&CpuIdentity>) -> Self {
        let id = cpu.and_then(reference::cpu_id);
        let arch =
            id.as_ref().and_then(|row| row.microarchitecture.as_deref()).and_then(reference::arch_power);
        if let Some(arch) = arch {
            return Self {
                name: arch.microarchitecture,
                idle_per_thread: Watts(arch.idle_w_per_thread),
                max_per_thread: Watts(arch.max_w_per_thread),
                bounds: within(KNOWN_FACTOR),
            };
        }
        let name = match (cpu, id.and_then(|row| row.kernel_name)) {
            (Some(cpu), Some(kernel_name)) => format!("unknown CPU ({} {kernel_name})", cpu.vendor),
            (Some(CpuIdentity { vendor, family: Some(family), model, .. }), None) => {
                format!("unknown CPU ({vendor} family {family} model {model})")
            }
            (Some(CpuIdentity { vendor, family: None, model, .. }), None) => {
                format!("unknown CPU ({vendor} part {model:#x})")
            }
            (None, _) => "unknown CPU".to_owned(),
        };
        let watts = |id| Watts(reference::constant(id).map_or(0.0, |row| row.value));
        Self {
            name,
            idle_per_thread: watts("cpu_unknown_idle_w_per_thread"),
            max_per_thread: watts("cpu_unknown_max_w_per_thread"),
            bounds: within(UNKNOWN_FACTOR),
        }
    }

    /// Power of one busy hardware thread above that of an idle one.
    pub fn per_busy_thread(&self) -> Watts {
        Watts((self.max_per_thread.0 - self.idle_per_thread.0).max(0.0))
    }

    /// Power of `threads` idle hardware threads.
    pub fn idle(&self, threads: u32) -> Watts {
        Watts(self.idle_per_thread.0 * f64::from(threads))
    }
}

fn within(factor: f64) -> Bounds {
    Bounds { low_ratio: 1.0 / factor, high_ratio: factor }
}

/// The first processor of `/proc/cpuinfo`; machines with different ones are taken for what the first is.
fn parse_cpuinfo(cpuinfo: &str) -> Option<CpuIdentity> {
    let first = cpuinfo.trim_start().split("\n\n").next()?;
    let field = |name: &str| {
        first
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find_map(|(key, value)| (key.trim() == name).then(|| value.trim()))
    };
    if let Some(vendor) = field("vendor_id") {
        return Some(CpuIdentity {
            vendor: vendor.to_owned(),
            family: Some(field("cpu family")?.parse().ok()?),
            model: field("model")?.parse().ok()?,
            stepping: field("stepping").and_then(|text| text.parse().ok()),
        });
    }
    Some(CpuIdentity {
        vendor: format!("ARM:{}", field("CPU implementer")?),
        family: None,
        model: reference::parse_hexadecimal(field("CPU part")?)?,
        stepping: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meters::tests::fixture;

    fn power(cpuinfo: &str) -> CpuPower {
        CpuPower::of(parse_cpuinfo(cpuinfo).as_ref())
    }

    #[test]
    fn a_virtual_machine_without_a_name_is_recognised() {
        let power = CpuPower::read(&fixture("vm"));
        assert_eq!(power.name, "AMD Zen 3 (EPYC 3rd Gen)");
        assert_eq!((power.idle_per_thread, power.max_per_thread), (Watts(0.424), Watts(1.916)));
        assert_eq!(power.bounds, within(1.7));
        assert_eq!(power.idle(64), Watts(0.424 * 64.0));
    }

    #[test]
    fn processors_of_the_fixtures_are_recognised() {
        let name = |machine| CpuPower::read(&fixture(machine)).name;
        assert_eq!(name("intel-client"), "Intel Kaby Lake (E3)");
        assert_eq!(name("intel-two-socket"), "Intel Ice Lake-SP");
        assert_eq!(name("intel-multi-die"), "Intel Cascade Lake");
    }

    #[test]
    fn arm_parts_are_recognised() {
        let cpuinfo = "processor\t: 0\nBogoMIPS\t: 50.00\nCPU implementer\t: 0x41\nCPU architecture: 8\n\
                       CPU variant\t: 0x3\nCPU part\t: 0xd0c\nCPU revision\t: 1\n";
        assert_eq!(power(cpuinfo).name, "Ampere Altra (Neoverse N1)");
    }

    #[test]
    fn what_is_in_no_table_is_unknown_with_wider_bounds() {
        let skylake_l = "vendor_id : GenuineIntel\ncpu family : 6\nmodel : 78\nstepping : 3\n";
        assert_eq!(power(skylake_l).name, "unknown CPU (GenuineIntel SKYLAKE_L)");
        let newer = "vendor_id : GenuineIntel\ncpu family : 19\nmodel : 1\nstepping : 3\n";
        assert_eq!(power(newer).name, "unknown CPU (GenuineIntel family 19 model 1)");
        let arm = "CPU implementer : 0x61\nCPU part : 0x022\n";
        assert_eq!(power(arm).name, "unknown CPU (ARM:0x61 part 0x22)");
        for cpuinfo in [newer, arm, "", "vendor_id : X\ncpu family : y\n"] {
            let power = power(cpuinfo);
            assert_eq!((power.idle_per_thread, power.max_per_thread), (Watts(0.6), Watts(2.51)));
            assert_eq!(power.bounds, within(2.2));
        }
    }
}
