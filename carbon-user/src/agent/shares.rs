//! What virtual machines used, out of the sums that are published: arithmetic, and no more.
//!
//! A machine is all cgroups whose path names it. Its vCPUs, its emulator, its I/O threads and the kernel's vhost threads,
//! which are put into their owner's cgroup (`vhost_attach_cgroups`, drivers/vhost/vhost.c), are below that path. What
//! comes out only grows: where the sums of a workload begin anew, they are new energy.

use super::published::{DomainSums, DomainTotals, WorkloadTotals};
use crate::units::{Microjoules, Quality};
use crate::workload::{Kind, Runtime};
use std::collections::{BTreeMap, HashMap};

/// Longest name of a file that Linux's file systems take.
const NAME_BYTES_MAX: usize = 255;

/// Energy of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gained {
    /// Since the machine was first seen.
    pub energy: Microjoules,
    /// The lowest of what it is made of.
    pub quality: Quality,
}

/// A virtual machine's part of the node's energy: dynamic energy, and the static energy that the policy gives it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Of packages, and of the whole machine where nothing in it is measured apart.
    pub package: Option<Gained>,
    /// Of memory, where it is measured apart.
    pub dram: Option<Gained>,
}

/// What is known of the machines that have a series now.
#[derive(Debug, Default)]
pub struct Shares {
    /// The sums of each cgroup when they were last looked at; `None` before the first look.
    seen: Option<HashMap<String, Share>>,
    machines: BTreeMap<String, (Option<Runtime>, Share)>,
    /// Names that were refused, which is said once.
    refused: BTreeMap<String, bool>,
}

impl Shares {
    /// Goes on from sums that an agent before this one ended with: what they have grown by since is new. Without such
    /// sums all that is published first is taken for old.
    pub fn since(sums: Option<(&[DomainTotals], &[WorkloadTotals])>) -> Self {
        let seen = sums.map(|(domains, workloads)| {
            let seen =
                workloads.iter().map(|workload| (workload.who.identity.clone(), share(domains, workload)));
            seen.collect()
        });
        Self { seen, ..Self::default() }
    }

    /// Adds what the sums have grown by. Gives what is to be said of names that cannot be used.
    pub fn look(&mut self, domains: &[DomainTotals], workloads: &[WorkloadTotals]) -> Vec<String> {
        let before = self.seen.take();
        let (mut seen, mut notes) = (HashMap::new(), Vec::new());
        let mut present = BTreeMap::new();
        for workload in workloads.iter().filter(|workload| workload.who.path.kind == Kind::Vm) {
            let Some(name) = workload.who.path.vm_name.as_deref() else { continue };
            let now = share(domains, workload);
            let more = match before.as_ref().map(|before| before.get(&workload.who.identity)) {
                Some(Some(before)) => now.since(*before),
                Some(None) => now,
                None => now.since(now),
            };
            seen.insert(workload.who.identity.clone(), now);
            let runtime = workload.who.path.runtime;
            let (owner, gained) = present
                .entry(name.to_owned())
                .or_insert_with(|| self.machines.remove(name).unwrap_or((runtime, Share::default())));
            let other = if !is_a_file_name(name) {
                "it is no name of a file"
            } else if *owner != runtime {
                "another machine has that name"
            } else {
                *gained = gained.plus(more);
                continue;
            };
            if self.refused.insert(name.to_owned(), true).is_none() {
                notes.push(format!("virtual machine {name:?} is not given its share: {other}"));
            }
        }
        // Those without a series have ended, or do nothing: they begin anew.
        self.machines = present.into_iter().filter(|(name, _)| is_a_file_name(name)).collect();
        self.refused.retain(|name, _| workloads.iter().any(|it| it.who.path.vm_name.as_ref() == Some(name)));
        self.seen = Some(seen);
        notes
    }

    /// The machines that have a series now, by name.
    pub fn machines(&self) -> BTreeMap<String, Share> {
        self.machines.iter().map(|(name, (_, share))| (name.clone(), *share)).collect()
    }
}

impl Share {
    /// What it has grown by; all of it where it has fallen, as it has begun anew.
    fn since(self, before: Self) -> Self {
        let fell = |now: Option<Gained>, before: Option<Gained>| {
            before.is_some_and(|before| now.is_none_or(|now| now.energy < before.energy))
        };
        if fell(self.package, before.package) || fell(self.dram, before.dram) {
            return self;
        }
        let less = |now: Option<Gained>, before: Option<Gained>| {
            let now = now?;
            let energy = now.energy.saturating_sub(before.map_or(Microjoules::ZERO, |before| before.energy));
            Some(Gained { energy, ..now })
        };
        Self { package: less(self.package, before.package), dram: less(self.dram, before.dram) }
    }

    fn plus(self, more: Self) -> Self {
        Self { package: sum(self.package, more.package), dram: sum(self.dram, more.dram) }
    }
}

fn sum(one: Option<Gained>, other: Option<Gained>) -> Option<Gained> {
    match (one, other) {
        (Some(one), Some(other)) => {
            Some(Gained { energy: one.energy + other.energy, quality: one.quality.min(other.quality) })
        }
        (one, other) => one.or(other),
    }
}

/// Sums of a workload by kind. Accelerators are not in it: one that a machine was given is measured inside.
fn share(domains: &[DomainTotals], workload: &WorkloadTotals) -> Share {
    let mut share = Share::default();
    for (domain, sums) in domains.iter().zip(&workload.domains) {
        let DomainSums { dynamic_energy, static_energy, quality } = *sums;
        let gained = Gained {
            energy: dynamic_energy + static_energy,
            quality: quality.map_or(domain.quality, |quality| quality.min(domain.quality)),
        };
        let of_kind = match domain.domain {
            "package" | "platform" => &mut share.package,
            "dram" => &mut share.dram,
            _ => continue,
        };
        *of_kind = sum(*of_kind, Some(gained));
    }
    share
}

/// Whether a folder can have the name and is where it says: units may be called anything.
fn is_a_file_name(name: &str) -> bool {
    let ends = name.is_empty() || name.starts_with('.') || name.len() > NAME_BYTES_MAX;
    !ends && !name.contains(|c: char| c == '/' || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Who;
    use crate::workload::locate;
    use std::sync::Arc;

    fn domain(kind: &'static str) -> DomainTotals {
        DomainTotals {
            domain: kind,
            device: "package-0".into(),
            source: "powercap".into(),
            quality: Quality::Measured,
            metered: Microjoules::ZERO,
            attributed: Microjoules::ZERO,
            static_energy: Microjoules::ZERO,
            static_shared: Microjoules::ZERO,
            lost: Microjoules::ZERO,
            gaps: 0,
            unread: 0,
            faults: 0,
            watts: None,
            limits: None,
        }
    }

    fn domains() -> Vec<DomainTotals> {
        vec![domain("package"), domain("gpu"), domain("dram"), domain("package")]
    }

    /// By domain, dynamic and static energy.
    fn used(path: &str, energies: &[(u64, u64)]) -> WorkloadTotals {
        let who = Who { identity: path.into(), path: locate(path).identity, ..Who::default() };
        let sums = |(dynamic_uj, static_uj): &(u64, u64)| DomainSums {
            dynamic_energy: Microjoules(*dynamic_uj),
            static_energy: Microjoules(*static_uj),
            quality: Some(Quality::Sampled),
        };
        WorkloadTotals {
            who: Arc::new(who),
            domains: energies.iter().map(sums).collect(),
            ..WorkloadTotals::default()
        }
    }

    const VCPU: &str = "/machine.slice/machine-qemu\\x2d1\\x2dweb.scope/libvirt/vcpu0";
    const EMULATOR: &str = "/machine.slice/machine-qemu\\x2d1\\x2dweb.scope/libvirt/emulator";

    fn energies(shares: &Shares, name: &str) -> Option<(u64, Option<u64>)> {
        let share = shares.machines().get(name).copied()?;
        Some((share.package.map_or(0, |it| it.energy.0), share.dram.map(|it| it.energy.0)))
    }

    #[test]
    fn threads_of_all_kinds_are_one_machine_and_its_energy_of_one_kind_one_sum() {
        let mut shares = Shares::since(None);
        shares.look(&domains(), &[used(VCPU, &[(900, 0)]), used("/a.service", &[(5, 5)])]);
        assert_eq!(energies(&shares, "web"), Some((0, None)), "what was there before is nobody's news");
        let now = [used(VCPU, &[(1_000, 7), (50, 50), (30, 0), (2, 0)]), used(EMULATOR, &[(10, 1)])];
        shares.look(&domains(), &now);
        assert_eq!(energies(&shares, "web"), Some((1_007 + 2 - 900 + 11, Some(30))));
        assert_eq!(shares.machines().len(), 1);
        assert_eq!(shares.machines()["web"].package.unwrap().quality, Quality::Sampled);
    }

    #[test]
    fn what_begins_anew_is_new_energy_and_what_ends_is_forgotten() {
        let mut shares = Shares::since(None);
        shares.look(&domains(), &[]);
        for (uj, total) in [(1_000, 1_000), (1_500, 1_500), (20, 1_520), (20, 1_520)] {
            shares.look(&domains(), &[used(VCPU, &[(uj, 0)])]);
            assert_eq!(energies(&shares, "web"), Some((total, None)));
        }
        shares.look(&domains(), &[]);
        assert_eq!(energies(&shares, "web"), None);
        shares.look(&domains(), &[used(VCPU, &[(5, 0)])]);
        assert_eq!(energies(&shares, "web"), Some((5, None)));
    }

    #[test]
    fn a_restart_goes_on_from_the_sums_that_were_told() {
        let told = [used(VCPU, &[(1_000, 0)])];
        let mut shares = Shares::since(Some((&domains(), &told)));
        shares.look(&domains(), &[used(VCPU, &[(1_400, 0)])]);
        assert_eq!(energies(&shares, "web"), Some((400, None)), "what was recovered is in it");
    }

    #[test]
    fn a_name_that_leads_elsewhere_or_is_anothers_is_refused_once() {
        let mut shares = Shares::since(None);
        let out = "/machine.slice/machine-qemu\\x2d2\\x2d..\\x2f..\\x2fetc.scope";
        let dots = "/machine.slice/machine-qemu\\x2d3\\x2d...scope";
        assert_eq!(locate(out).identity.vm_name.as_deref(), Some("../../etc"), "systemd unescapes it so");
        assert_eq!(locate(dots).identity.vm_name.as_deref(), Some(".."));
        let other = "/qemu.slice/100.scope";
        let same = "/machine.slice/machine-qemu\\x2d4\\x2d100.scope";
        let all = [out, dots, other, same].map(|path| used(path, &[(10, 0)]));
        shares.look(&domains(), &[]);
        assert_eq!(shares.look(&domains(), &all).len(), 3);
        assert_eq!(shares.look(&domains(), &all).len(), 0);
        assert_eq!(shares.machines().keys().collect::<Vec<_>>(), ["100"]);
        assert_eq!(energies(&shares, "100"), Some((10, None)), "of the one that came first");
    }
}
