//! Which package each CPU belongs to.

use crate::sysroot::SysRoot;
use crate::units::PackageId;
use std::collections::BTreeSet;
use std::io;

/// CPUs and packages of the machine, as they were when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Package of each possible CPU, by CPU number; an offline CPU counts to package 0 until it comes online.
    pub package_of: Vec<PackageId>,
    /// Number of packages, at least 1.
    pub packages: usize,
    /// CPUs that are online, per package.
    pub online: Vec<u32>,
}

impl Topology {
    /// Reads `devices/system/cpu` below the sysfs root. Kernels and hypervisors that give no package, or -1 for
    /// it, make one package. So does a virtual machine's share of its host: what packages the machine has is made up, and
    /// the share is of all of them.
    pub fn read(root: &SysRoot) -> io::Result<Self> {
        let possible = usize::try_from(root.possible_cpus()?).unwrap_or(1);
        let online = root.online_cpus()?;
        let is_share = root.is_share();
        let ids: Vec<(u32, u32)> = online
            .iter()
            .map(|cpu| {
                let file = format!("devices/system/cpu/cpu{cpu}/topology/physical_package_id");
                let id = root.read_sys(file).ok().and_then(|text| text.parse().ok());
                (*cpu, id.filter(|_| !is_share).unwrap_or(0))
            })
            .collect();
        let distinct: Vec<u32> = ids.iter().map(|(_, id)| *id).collect::<BTreeSet<_>>().into_iter().collect();
        let packages = distinct.len().max(1);
        let mut package_of = vec![PackageId(0); possible];
        let mut online = vec![0; packages];
        for (cpu, id) in ids {
            let index = distinct.binary_search(&id).unwrap_or(0);
            if let Some(package) = package_of.get_mut(usize::try_from(cpu).unwrap_or(usize::MAX)) {
                *package = PackageId(u16::try_from(index).unwrap_or(0));
            }
            if let Some(count) = online.get_mut(index) {
                *count += 1;
            }
        }
        Ok(Self { package_of, packages, online })
    }

    /// The package with the kernel's `physical_package_id` `physical_id`, as meters name it, if a CPU of it is
    /// online. A machine that gives its CPUs no package has one package, which takes all.
    pub fn by_physical_id(&self, root: &SysRoot, physical_id: u32) -> Option<PackageId> {
        if self.packages == 1 {
            return Some(PackageId(0));
        }
        let online = root.online_cpus().ok()?;
        let cpu = online.into_iter().find(|cpu| {
            let file = format!("devices/system/cpu/cpu{cpu}/topology/physical_package_id");
            root.read_sys(file).ok().and_then(|text| text.parse().ok()) == Some(physical_id)
        })?;
        self.package_of.get(usize::try_from(cpu).ok()?).copied()
    }

    /// CPUs online on all packages.
    pub fn cpus_online(&self) -> u32 {
        self.online.iter().sum()
    }
}
