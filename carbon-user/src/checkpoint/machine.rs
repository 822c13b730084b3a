//! Which machine it is, and which boot of it.

use crate::sysroot::SysRoot;
use crate::topology::Topology;

/// What tells one machine from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// The kernel's `/proc/sys/kernel/random/boot_id`; empty where it cannot be read.
    pub boot_id: String,
    /// A mark made of `/etc/machine-id`; `None` where there is none.
    pub id: Option<String>,
    /// The processor as it calls itself, and how many CPUs it has online.
    pub processor: String,
}

impl Machine {
    /// This one. The CPUs online count, since a state learned with others is of other packages.
    pub fn read(root: &SysRoot, topology: &Topology) -> Self {
        let cpuinfo = root.read_proc("cpuinfo").unwrap_or_default();
        Self {
            boot_id: root.read_proc("sys/kernel/random/boot_id").unwrap_or_default(),
            id: root.machine_id().map(|id| mark(&id)),
            processor: format!("{}, CPUs online {:?}", processor(&cpuinfo), topology.online),
        }
    }
}

/// The lines of the first CPU that do not change while it runs, in one.
fn processor(cpuinfo: &str) -> String {
    let names = ["vendor_id", "cpu family", "model", "model name", "stepping", "CPU implementer", "CPU part"];
    let first = cpuinfo.split("\n\n").next().unwrap_or_default();
    let lines = first.lines().filter_map(|line| line.split_once(':'));
    let told = lines.filter(|(name, _)| names.contains(&name.trim())).map(|(_, value)| value.trim());
    let told: Vec<&str> = told.collect();
    if told.is_empty() { "unknown".to_owned() } else { told.join(" ") }
}

/// machine-id(5) asks that the id itself be told to nobody: so only a checksum of it is.
fn mark(id: &str) -> String {
    format!("{:08x}", crc32fast::hash(id.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_is_told_by_what_does_not_change() {
        let of = |mhz| format!("vendor_id\t: A\nmodel name\t: B 1\ncpu MHz\t: {mhz}\n\nvendor_id\t: A\n");
        assert_eq!(processor(&of("100")), "A B 1");
        assert_eq!(processor(&of("100")), processor(&of("2000")));
        assert_eq!(processor(""), "unknown");
        assert_eq!(mark("123456789"), "cbf43926", "the check value of CRC-32 (ISO 3309)");
    }
}
