//! Kepler's names from 0.10 on (docs/user/metrics.md there, as of main in August 2026).

use super::groups::{Groups, Member};
use super::is_of_cpu;
use crate::agent::DomainTotals;
use crate::metrics::samples::{Labels, Sample};
use crate::metrics::series::{Row, View};
use crate::metrics::sums::Sums;
use crate::metrics::table::{Family, counter};
use crate::units::{CpuNanos, Microjoules};
use std::collections::BTreeMap;

const NODE: Family = counter(
    "kepler_node_cpu",
    "joules",
    &["zone", "path", "node_name"],
    "Energy by zone of the node: all that its meter showed.",
);
const NODE_ACTIVE: Family = counter(
    "kepler_node_cpu_active",
    "joules",
    &["zone", "path", "node_name"],
    "Of it what workloads caused by running (dynamic).",
);
const NODE_IDLE: Family = counter(
    "kepler_node_cpu_idle",
    "joules",
    &["zone", "path", "node_name"],
    "Of it what is drawn by idle power (static).",
);
const CONTAINER: Family = counter(
    "kepler_container_cpu",
    "joules",
    &["container_id", "container_name", "runtime", "state", "zone", "pod_id", "node_name"],
    "Energy that a container caused by running (dynamic).",
);
const CONTAINER_CPU: Family = counter(
    "kepler_container_cpu",
    "seconds",
    &["container_id", "container_name", "runtime", "state", "pod_id", "node_name"],
    "CPU time of a container.",
);
const POD: Family = counter(
    "kepler_pod_cpu",
    "joules",
    &["pod_id", "pod_name", "pod_namespace", "state", "zone", "node_name"],
    "Energy that a pod caused by running (dynamic).",
);
const MACHINE: Family = counter(
    "kepler_vm_cpu",
    "joules",
    &["vm_id", "vm_name", "hypervisor", "state", "zone", "node_name"],
    "Energy that a virtual machine caused by running (dynamic).",
);

/// All of them, in the order in which they are written.
pub(super) const ALL: &[Family] = &[NODE, NODE_ACTIVE, NODE_IDLE, CONTAINER, CONTAINER_CPU, POD, MACHINE];

pub(super) fn families(
    view: &View,
    containers: &mut Groups,
    pods: &mut Groups,
    machines: &mut Groups,
) -> Vec<(Family, Vec<Sample>)> {
    let containers = containers.observe(view.rows.iter().filter_map(container));
    let pods = pods.observe(view.rows.iter().filter_map(pod));
    let machines = machines.observe(view.rows.iter().filter_map(machine));
    vec![
        (NODE, node(view, |of| of.metered)),
        (NODE_ACTIVE, node(view, |of| of.attributed)),
        (NODE_IDLE, node(view, |of| of.static_energy)),
        (CONTAINER, energies(view, &containers)),
        (CONTAINER_CPU, times(view, &containers)),
        (POD, energies(view, &pods)),
        (MACHINE, energies(view, &machines)),
    ]
}

fn node(view: &View, of: impl Fn(&DomainTotals) -> Microjoules) -> Vec<Sample> {
    let domains = view.published.domains.iter().filter(|it| is_of_cpu(it.domain));
    let sample = |it: &DomainTotals| {
        let labels = labels([
            ("zone", it.domain),
            ("path", it.device.as_str()),
            ("node_name", view.published.node.as_str()),
        ]);
        Sample { labels, value: of(it).joules() }
    };
    domains.map(sample).collect()
}

fn labels<const N: usize>(all: [(&'static str, &str); N]) -> Labels {
    let known = all.into_iter().filter(|(_, text)| !text.is_empty());
    known.map(|(name, text)| (name, text.to_owned())).collect()
}

fn container(row: &Row) -> Option<Member<'_>> {
    let path = &row.who.path;
    let id = path.container_id.as_deref()?;
    let labels = labels([
        ("container_id", id),
        ("container_name", row.names.container.as_str()),
        ("runtime", path.runtime.map_or("", |of| of.as_str())),
        ("state", "running"),
        ("pod_id", path.pod_uid.as_deref().unwrap_or_default()),
    ]);
    Some((id.to_owned(), labels, row))
}

fn pod(row: &Row) -> Option<Member<'_>> {
    let uid = row.who.path.pod_uid.as_deref()?;
    let labels = labels([
        ("pod_id", uid),
        ("pod_name", row.names.pod.as_str()),
        ("pod_namespace", row.names.namespace.as_str()),
        ("state", "running"),
    ]);
    Some((uid.to_owned(), labels, row))
}

fn machine(row: &Row) -> Option<Member<'_>> {
    let name = row.who.path.vm_name.as_deref()?;
    let hypervisor = row.who.path.runtime.map_or("", |of| of.as_str());
    let labels =
        labels([("vm_id", name), ("vm_name", name), ("hypervisor", hypervisor), ("state", "running")]);
    Some((format!("{hypervisor}/{name}"), labels, row))
}

fn energies(view: &View, groups: &[(Labels, Sums)]) -> Vec<Sample> {
    let mut samples = Vec::new();
    for (labels, sums) in groups {
        let mut zones: BTreeMap<&str, Microjoules> = BTreeMap::new();
        for (energy, domain) in sums.domains.iter().zip(&view.published.domains) {
            if is_of_cpu(domain.domain) {
                *zones.entry(domain.domain).or_default() += energy.dynamic_energy;
            }
        }
        for (zone, energy) in zones.into_iter().filter(|(_, energy)| *energy > Microjoules::ZERO) {
            let mut labels = named(view, labels);
            labels.push(("zone", zone.to_owned()));
            samples.push(Sample { labels, value: energy.joules() });
        }
    }
    samples
}

fn times(view: &View, groups: &[(Labels, Sums)]) -> Vec<Sample> {
    let used = groups.iter().filter(|(_, sums)| sums.cpu > CpuNanos::ZERO);
    used.map(|(labels, sums)| Sample { labels: named(view, labels), value: sums.cpu.seconds() }).collect()
}

/// With the name of the node, which Kepler has on every series.
fn named(view: &View, labels: &Labels) -> Labels {
    let mut labels = labels.clone();
    labels.push(("node_name", view.published.node.clone()));
    labels
}
