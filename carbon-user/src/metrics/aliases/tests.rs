use super::{Aliases, Tool};
use crate::agent::{DomainSums, Published, Who, WorkloadTotals};
use crate::metrics::samples::Sample;
use crate::metrics::tests::{POD, domain, made_up, published};
use crate::metrics::text::{Format, render};
use crate::metrics::{NamesByIdentity, Series, View};
use crate::units::{CpuNanos, Microjoules, Quality, Watts};
use crate::workload::identify;
use std::sync::Arc;

fn both() -> Aliases {
    Aliases::parse("scaphandre, kepler,kepler").unwrap()
}

#[test]
fn names_of_tools_are_read() {
    assert_eq!(both(), Aliases(Tool::ALL.to_vec()));
    assert_eq!(Aliases::parse("none").unwrap(), Aliases::default());
    assert_eq!(Aliases::parse("").unwrap(), Aliases::default());
    let error = Aliases::parse("kepler,ceems").unwrap_err().to_string();
    assert_eq!(error, "\"ceems\" is no tool whose names are known");
}

fn workload(path: &str, dynamic: u64) -> WorkloadTotals {
    let energy = DomainSums {
        dynamic_energy: Microjoules(dynamic),
        static_energy: Microjoules(77),
        quality: Some(Quality::Measured),
    };
    WorkloadTotals {
        who: Arc::new(Who {
            identity: path.to_owned(),
            kind: "cgroup",
            name: path.to_owned(),
            path: identify(path),
            cgroup: None,
        }),
        domains: vec![energy],
        cpu: CpuNanos(dynamic),
        watts: Watts(0.5),
    }
}

/// The values of a family, by one of its labels.
fn values(view: &View, family: &str, label: &str) -> Vec<(String, f64)> {
    let found = view.aliases.iter().find(|(it, _)| it.name() == family).unwrap();
    let of = |sample: &Sample| {
        let text = sample.labels.iter().find(|(name, _)| *name == label).map(|(_, text)| text.clone());
        (text.unwrap_or_default(), sample.value)
    };
    found.1.iter().map(of).collect()
}

#[test]
fn nothing_is_there_unless_asked_for() {
    let (published, names) = made_up();
    let view = Series::new(10).observe(Arc::new(published), &names);
    assert!(view.aliases.is_empty());
}

#[test]
fn the_same_sums_are_under_the_names_of_others() {
    let (published, names) = made_up();
    let view = Series::new(10).with_aliases(both()).observe(Arc::new(published), &names);
    let all: Vec<_> = Tool::ALL.iter().flat_map(|tool| tool.families()).collect();
    assert_eq!(view.aliases.len(), all.len());
    for ((family, samples), known) in view.aliases.iter().zip(all) {
        assert_eq!(family.name(), known.name());
        assert!(family.help.ends_with('.'));
        for (label, _) in samples.iter().flat_map(|sample| &sample.labels) {
            assert!(family.labels.contains(label), "{}: {label}", family.name());
        }
    }
    insta::assert_snapshot!(aliases_of(view));
}

/// Their part of the text.
fn aliases_of(view: View) -> String {
    let text = render(Arc::new(view), Format::Prometheus).unwrap();
    let lines = text.lines().filter(|line| line.contains("kepler_") || line.contains("scaph_"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Machines with two packages have one zone of each name for a container, and a socket each for Scaphandre.
#[test]
fn packages_are_one_zone_and_two_sockets() {
    let mut domains = vec![domain("package", 1000), domain("package", 3000), domain("gpu", 9000)];
    domains[1].device = "package-1".to_owned();
    let mut one = workload(POD, 10);
    one.domains = vec![one.domains[0]; 3];
    let published = Published { domains, ..published(1, vec![one]) };
    let view = Series::new(10).with_aliases(both()).observe(Arc::new(published), &NamesByIdentity::new());
    assert_eq!(values(&view, "kepler_container_cpu_joules_total", "zone"), [("package".to_owned(), 20e-6)]);
    assert_eq!(values(&view, "scaph_host_energy_microjoules", ""), [(String::new(), 4000.0)]);
    let sockets = values(&view, "scaph_socket_power_microwatts", "socket_id");
    assert_eq!(sockets, [("0".to_owned(), 42e6), ("1".to_owned(), 42e6)]);
}

/// A container that ends, or begins anew, leaves the pod's sum as it was; when all have ended the pod is shown no more.
#[test]
fn a_pods_sum_does_not_fall_when_a_container_ends() {
    let second = POD.replace("cri-containerd-0123", "cri-containerd-ffff");
    let inside = format!("{POD}/init.scope");
    let mut series = Series::new(10).with_aliases(both());
    let mut sum = |windows, workloads: Vec<WorkloadTotals>, family: &str| {
        let view = series.observe(Arc::new(published(windows, workloads)), &NamesByIdentity::new());
        let joules: f64 = values(&view, family, "zone").iter().map(|(_, joules)| joules).sum();
        format!("{:.0}", joules * 1e6)
    };
    let pod = "kepler_pod_cpu_joules_total";
    assert_eq!(sum(1, vec![workload(POD, 100), workload(&inside, 5), workload(&second, 40)], pod), "145");
    assert_eq!(sum(2, vec![workload(POD, 110), workload(&inside, 5)], pod), "155");
    assert_eq!(sum(3, vec![workload(POD, 110), workload(&inside, 6)], pod), "156");
    assert_eq!(
        sum(4, vec![workload(POD, 111), workload(&inside, 6)], "kepler_container_cpu_joules_total"),
        "117"
    );
    assert_eq!(sum(5, vec![workload(POD, 3)], pod), "160", "111 that began anew, 6 that ended, 3, and 40");
    assert_eq!(sum(6, Vec::new(), pod).trim_start_matches('-'), "0");
}
