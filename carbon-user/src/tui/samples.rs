//! Reports for tests.

use super::history::{Sum, Update};
use crate::report::top::{IdentityRow, KnownRow, Top, WorkloadRow};
use crate::report::{AccountsRow, DomainRow, Intensity};
use std::collections::BTreeMap;

/// A machine with one package that used 20 J in a second, and no workload yet.
pub(crate) fn top() -> Top {
    let intensity = crate::carbon::Intensity::of("FR").unwrap();
    Top {
        schema: crate::report::top::SCHEMA,
        node: "node-1".to_owned(),
        window_start: "2026-01-01T00:00:00Z".parse().unwrap(),
        window_end: "2026-01-01T00:00:01Z".parse().unwrap(),
        duration_ns: 1_000_000_000,
        windows: 1,
        edge_width_ns: 20_000,
        accounting: "books",
        static_policy: "separate",
        attribution: "bank",
        domains: vec![package("measured", "powercap intel-rapl:0")],
        workloads: vec![],
        sets: vec![],
        accounts: AccountsRow {
            idle_ns: 2_000_000_000,
            irq_steal_ns: 1_000_000,
            missed_ns: 0,
            overflow_ns: 0,
            missed_switches: 0,
            lost_events: 0,
            clamped: 0,
            own_ns: 400_000,
        },
        intensity: Intensity::from(&intensity),
        pue: 1.0,
        notes: vec!["a note of the measurement".to_owned()],
    }
}

pub(crate) fn package(quality: &'static str, source: &str) -> DomainRow {
    DomainRow {
        domain: "package",
        device: "package-0".to_owned(),
        metered_uj: 20_000_000,
        dynamic_uj: 14_000_000,
        static_uj: 6_000_000,
        static_by: None,
        static_shared_uj: 0,
        lost_uj: 0,
        held_uj: None,
        parts: vec![],
        quality,
        split_quality: quality,
        source: source.to_owned(),
        low_uj: None,
        high_uj: None,
        gaps: 0,
        gap_ns: 0,
        unread: 0,
        bank_windows: 1,
        p0_w: None,
        p0_stddev_w: None,
        p0_identified: None,
        resumed_windows: None,
        experiments: None,
    }
}

/// A cgroup that ran for half a second.
pub(crate) fn workload(id: u64, path: &str, dynamic_uj: u64) -> WorkloadRow {
    #[expect(clippy::cast_precision_loss, reason = "a test value")]
    let watts = dynamic_uj as f64 / 1e6 / 0.5;
    WorkloadRow {
        cgroup: Some(path.to_owned()),
        cgroup_id: Some(id),
        kind: "cgroup",
        name: path.rsplit('/').next().unwrap().to_owned(),
        cpu_ns: 500_000_000,
        dynamic_uj,
        dynamic_stddev_uj: dynamic_uj / 20,
        dynamic_low_uj: dynamic_uj - dynamic_uj / 12,
        dynamic_high_uj: dynamic_uj + dynamic_uj / 12,
        watts_per_cpu: Some(watts),
        watts_per_cpu_low: Some(watts * 0.92),
        watts_per_cpu_high: Some(watts * 1.08),
        dram_uj: None,
        cycles: None,
        instructions: None,
        llc_misses: None,
        page_faults: None,
        static_uj: 0,
        gpu_uj: None,
        held_uj: None,
        grams: 0.0,
        quality: "measured",
        workload: None,
        known: None,
    }
}

pub(crate) fn identity(kind: &'static str) -> IdentityRow {
    IdentityRow {
        kind,
        runtime: None,
        container_id: None,
        pod_uid: None,
        qos: None,
        unit: None,
        job_id: None,
        job_step: None,
        vm_name: None,
        user_uid: None,
    }
}

/// A small node: a pod of two containers, units, a user, kernel threads.
pub(crate) fn node() -> Vec<WorkloadRow> {
    let pod = "/kubepods.slice/kubepods-pod98210229_0000_4000_8000_000000000000.slice";
    let container = |id, name: &str, uj| {
        let mut row = workload(id, &format!("{pod}/cri-containerd-{id:064x}.scope"), uj);
        let known = KnownRow {
            source: "cri",
            container: Some(name.to_owned()),
            image: Some(format!("registry.example/{name}:1")),
            namespace: Some("shop".to_owned()),
            pod: Some("cart-7d9f".to_owned()),
            labels: BTreeMap::new(),
            job: None,
        };
        (row.kind, row.name, row.known) = ("container", format!("shop/cart-7d9f / {name}"), Some(known));
        let uid = Some("98210229-0000-4000-8000-000000000000".to_owned());
        row.workload =
            Some(IdentityRow { pod_uid: uid, runtime: Some("containerd"), ..identity("container") });
        row
    };
    let unit = |id, name: &str, uj| {
        let mut row = workload(id, &format!("/system.slice/{name}"), uj);
        row.kind = "unit";
        row.workload = Some(IdentityRow { unit: Some(name.to_owned()), ..identity("unit") });
        row
    };
    let mut session = workload(7, "/user.slice/user-1000.slice/session-2.scope", 1_500_000);
    (session.kind, session.name) = ("session", "session 2 of user 1000".to_owned());
    session.workload = Some(IdentityRow { user_uid: Some(1000), ..identity("session") });
    let mut kernel = workload(1, "/", 250_000);
    (kernel.kind, kernel.name, kernel.quality) = ("kernel", "kernel threads".to_owned(), "measured");
    let mut quiet = unit(9, "cron.service", 0);
    (quiet.cpu_ns, quiet.watts_per_cpu, quiet.watts_per_cpu_low, quiet.watts_per_cpu_high) =
        (0, None, None, None);
    vec![
        container(5, "web", 7_000_000),
        container(6, "redis", 2_125_000),
        unit(3, "postgresql.service", 3_000_000),
        session,
        kernel,
        quiet,
    ]
}

/// A window of it.
pub(crate) fn update(workloads: Vec<WorkloadRow>) -> Update {
    let sum = |energy_uj: u64| {
        #[expect(clippy::cast_precision_loss, reason = "a test value")]
        let grams = energy_uj as f64 / 3.6e12 * 41.0;
        Sum { energy_uj, grams }
    };
    let sums = workloads.iter().map(|row| sum(10 * row.energy_uj())).collect();
    Update { top: Top { workloads, ..top() }, sums, sum: sum(200_000_000), since_start_ns: 10_000_000_000 }
}
