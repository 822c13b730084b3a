//! Scaphandre's names (docs_src/references/exporter-prometheus.md there, as of main in July 2026).

use super::is_of_cpu;
use crate::metrics::samples::{Labels, Sample};
use crate::metrics::series::{Row, View};
use crate::metrics::table::{Family, Type, gauge};
use crate::units::{Microjoules, Watts};
use std::collections::{BTreeMap, HashMap};

/// Not a counter by its type, as the name of one would have to end in `_total`.
const HOST_ENERGY: Family = Family {
    stem: "scaph_host_energy_microjoules",
    kind: Type::Unknown,
    unit: "",
    help: "Energy of the node, in microjoules: it never falls while the agent runs.",
    labels: &[],
};
const HOST_POWER: Family =
    gauge("scaph_host_power_microwatts", "", &[], "Power of the node in the last window, in microwatts.");
const SOCKET_POWER: Family = gauge(
    "scaph_socket_power_microwatts",
    "",
    &["socket_id"],
    "Power of a package in the last window, in microwatts.",
);
const PROCESS_POWER: Family = gauge(
    "scaph_process_power_consumption_microwatts",
    "",
    &[
        "exe",
        "container_id",
        "container_names",
        "container_scheduler",
        "kubernetes_node_name",
        "kubernetes_pod_name",
        "kubernetes_pod_namespace",
    ],
    "Power that a workload caused by running in the last window, in microwatts: all its processes in one series.",
);

/// All of them, in the order in which they are written.
pub(super) const ALL: &[Family] = &[HOST_ENERGY, HOST_POWER, SOCKET_POWER, PROCESS_POWER];

pub(super) fn families(view: &View) -> Vec<(Family, Vec<Sample>)> {
    let domains = || view.published.domains.iter().filter(|it| is_of_cpu(it.domain));
    let energy: Microjoules = domains().map(|it| it.metered).sum();
    let watts: Vec<Watts> = domains().filter_map(|it| it.watts).collect();
    let one = |value: f64| vec![Sample { labels: Vec::new(), value }];
    vec![
        (HOST_ENERGY, one(energy.joules() * 1e6)),
        (HOST_POWER, if watts.is_empty() { Vec::new() } else { one(watts.into_iter().map(micro).sum()) }),
        (SOCKET_POWER, sockets(view)),
        (PROCESS_POWER, processes(view)),
    ]
}

fn micro(watts: Watts) -> f64 {
    watts.0 * 1e6
}

fn sockets(view: &View) -> Vec<Sample> {
    let packages = view.published.domains.iter().filter(|it| it.domain == "package");
    let power = packages.filter_map(|it| Some((it.device.trim_start_matches("package-"), it.watts?)));
    power
        .map(|(id, watts)| Sample { labels: vec![("socket_id", id.to_owned())], value: micro(watts) })
        .collect()
}

/// Workloads of the same names are one.
fn processes(view: &View) -> Vec<Sample> {
    let watts: HashMap<&str, Watts> =
        view.published.workloads.iter().map(|it| (it.who.identity.as_str(), it.watts)).collect();
    let mut sums: BTreeMap<Labels, f64> = BTreeMap::new();
    for row in &view.rows {
        let watts = watts.get(row.who.identity.as_str()).map_or(0.0, |watts| micro(*watts));
        *sums.entry(labels(row, &view.published.node)).or_default() += watts;
    }
    sums.into_iter().map(|(labels, value)| Sample { labels, value }).collect()
}

fn labels(row: &Row, node: &str) -> Labels {
    let path = &row.who.path;
    let of_pod = path.pod_uid.is_some();
    let container = path.container_id.as_deref().unwrap_or_default();
    let scheduler = match path.runtime {
        _ if container.is_empty() => "",
        _ if of_pod => "kubernetes",
        runtime => runtime.map_or("", |of| of.as_str()),
    };
    let all = [
        ("exe", if container.is_empty() { row.who.name.as_str() } else { "" }),
        ("container_id", container),
        ("container_names", row.names.container.as_str()),
        ("container_scheduler", scheduler),
        ("kubernetes_node_name", if of_pod { node } else { "" }),
        ("kubernetes_pod_name", row.names.pod.as_str()),
        ("kubernetes_pod_namespace", row.names.namespace.as_str()),
    ];
    let known = all.into_iter().filter(|(_, text)| !text.is_empty());
    known.map(|(name, text)| (name, text.to_owned())).collect()
}
