//! A model in place of a meter, for machines that have none, as most virtual machines: idle power per hardware
//! thread, and the rest of it while a task runs.
//!
//! Energy of a package = `idle W per thread x threads x time + (max W - idle W) x busy thread time`: linear in
//! utilisation between two medians of the microarchitecture ([`CpuPower`]). These are of whole servers at the
//! wall, so memory is in it: nothing may be added for it. A virtual machine is charged for the CPUs that it
//! sees, never for its host. Reads nothing and costs nothing.

use super::cpu_power::CpuPower;
use super::{Edge, Meter, MeterError, Reading};
use crate::topology::Topology;
use crate::units::{CpuNanos, Microjoules, PackageId, Quality, Watts};
use crate::window::{Domain, DomainKind};
use std::rc::Rc;

/// 1 uW over 1 ns is 1e-15 J; a microjoule has as many of them.
const FEMTOJOULES_PER_MICROJOULE: u128 = 1_000_000_000;

/// The utilisation model: one domain per package.
#[derive(Debug)]
pub struct CpuModel {
    domains: Vec<Rc<Domain>>,
    packages: Vec<ModelledPackage>,
}

impl CpuModel {
    /// A model of all packages of `topology` that have CPUs online.
    pub fn new(topology: &Topology, power: &CpuPower) -> Self {
        let idle_uw = microwatts(power.idle_per_thread);
        let busy_uw = microwatts(power.max_per_thread).saturating_sub(idle_uw);
        let (mut domains, mut packages) = (Vec::new(), Vec::new());
        for (package, threads) in (0..).map(PackageId).zip(&topology.online).filter(|(_, cpus)| **cpus > 0) {
            domains.push(Rc::new(Domain {
                kind: DomainKind::Package,
                device: format!("package-{}", package.0),
                source: source(power),
                quality: Quality::Modelled,
                bounds: Some(power.bounds),
                package,
                idle_watts: Some(power.idle(*threads)),
            }));
            let idle_uw = idle_uw.saturating_mul(u128::from(*threads));
            packages.push(ModelledPackage { package, idle_uw, busy_uw, total_fj: 0, last: None });
        }
        Self { domains, packages }
    }
}

fn source(power: &CpuPower) -> String {
    format!(
        "model: {}, {:.2} to {:.2} W per hardware thread, its memory included",
        power.name, power.idle_per_thread.0, power.max_per_thread.0
    )
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "some watts; float casts saturate"
)]
fn microwatts(watts: Watts) -> u128 {
    (watts.0 * 1e6).round() as u128
}

impl Meter for CpuModel {
    fn name(&self) -> &'static str {
        "model"
    }

    fn domains(&self) -> &[Rc<Domain>] {
        &self.domains
    }

    fn read(&mut self, edge: &Edge<'_>) -> Vec<Result<Reading, MeterError>> {
        self.packages.iter_mut().map(|package| Ok(package.advance(edge))).collect()
    }
}

/// Femtojoules are added up, not microjoules: no rounding can drift.
#[derive(Debug)]
struct ModelledPackage {
    package: PackageId,
    idle_uw: u128,
    busy_uw: u128,
    total_fj: u128,
    last: Option<(u64, CpuNanos)>,
}

impl ModelledPackage {
    fn advance(&mut self, edge: &Edge<'_>) -> Reading {
        let busy = edge.busy.get(usize::from(self.package.0)).copied().unwrap_or_default();
        if let Some((last_ns, last_busy)) = self.last.replace((edge.monotonic_ns, busy)) {
            let elapsed_ns = u128::from(edge.monotonic_ns.saturating_sub(last_ns));
            let busy_ns = u128::from(busy.saturating_sub(last_busy).0);
            let idle_fj = self.idle_uw.saturating_mul(elapsed_ns);
            let busy_fj = self.busy_uw.saturating_mul(busy_ns);
            self.total_fj = self.total_fj.saturating_add(idle_fj).saturating_add(busy_fj);
        }
        let total_uj = u64::try_from(self.total_fj / FEMTOJOULES_PER_MICROJOULE).unwrap_or(u64::MAX);
        Reading { total: Microjoules(total_uj), gap: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meters::tests::fixture;
    use crate::sysroot::SysRoot;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    fn model(root: &SysRoot) -> CpuModel {
        CpuModel::new(&Topology::read(root).unwrap(), &CpuPower::read(root))
    }

    fn totals(model: &mut CpuModel, monotonic_ns: u64, busy_ns: &[u64]) -> Vec<u64> {
        let busy: Vec<_> = busy_ns.iter().copied().map(CpuNanos).collect();
        let readings = model.read(&Edge { monotonic_ns, suspended_ns: 0, busy: &busy });
        readings.into_iter().map(|reading| reading.unwrap().total.0).collect()
    }

    #[test]
    fn a_virtual_machine_is_charged_for_its_own_cpus() {
        let mut model = model(&fixture("vm"));
        let [domain] = model.domains() else { panic!("{:?}", model.domains()) };
        assert_eq!(
            domain.source,
            "model: AMD Zen 3 (EPYC 3rd Gen), 0.42 to 1.92 W per hardware thread, its memory included"
        );
        assert_eq!((domain.quality, &*domain.device), (Quality::Modelled, "package-0"));
        assert_eq!(domain.idle_watts, Some(Watts(0.848)), "two of its eight possible CPUs are online");
        let bounds = domain.bounds.unwrap();
        assert!((bounds.low_ratio * 1.7 - 1.0).abs() < 1e-12 && (bounds.high_ratio - 1.7).abs() < 1e-12);
        assert_eq!(totals(&mut model, 5 * SECOND, &[77 * SECOND]), [0], "counted from the first edge");
        assert_eq!(totals(&mut model, 6 * SECOND, &[77 * SECOND]), [848_000], "idle");
        assert_eq!(totals(&mut model, 7 * SECOND, &[79 * SECOND]), [848_000 + 3_832_000], "both CPUs full");
    }

    #[test]
    fn packages_are_modelled_apart() {
        let mut model = model(&fixture("intel-two-socket"));
        totals(&mut model, 0, &[0, 0]);
        let idle = 4 * 924_000;
        assert_eq!(totals(&mut model, SECOND, &[0, SECOND]), [idle, idle + 4_099_000 - 924_000]);
        assert_eq!(totals(&mut model, 2 * SECOND, &[]), [2 * idle, 2 * idle + 4_099_000 - 924_000]);
    }

    proptest! {
        #[test]
        fn however_the_time_is_cut_the_energy_is_the_same(
            steps in proptest::collection::vec((1u64..3_000_000, 0u64..6_000_000), 1..200),
        ) {
            let (mut at, mut busy) = (0, 0);
            let mut stepwise = model(&fixture("vm"));
            totals(&mut stepwise, 0, &[0]);
            let mut last = vec![];
            for (wall_ns, busy_ns) in steps {
                (at, busy) = (at + wall_ns, busy + busy_ns);
                last = totals(&mut stepwise, at, &[busy]);
            }
            let mut whole = model(&fixture("vm"));
            totals(&mut whole, 0, &[0]);
            prop_assert_eq!(last, totals(&mut whole, at, &[busy]));
        }
    }
}
