use super::totals::{Totals, WorkloadTotal};
use super::*;
use crate::units::{CgroupId, PackageId, Watts};
use crate::window::{Bounds, DomainKind, Usage};
use proptest::prelude::*;
use std::path::Path;

fn key(cgroup: u64) -> WorkloadKey {
    WorkloadKey::cgroup(CgroupId(cgroup))
}

fn domain(package: u16, idle: Option<f64>, bounds: Option<Bounds>) -> Rc<Domain> {
    Rc::new(Domain {
        kind: DomainKind::Package,
        device: format!("package-{package}"),
        source: "test".into(),
        quality: if bounds.is_some() { Quality::Modelled } else { Quality::Measured },
        bounds,
        package: PackageId(package),
        idle_watts: idle.map(Watts),
    })
}

/// A window of one second; rows are CPU nanoseconds by package, energies microjoules by domain.
fn window(rows: &[(u64, [u64; 2])], energies: &[(&Rc<Domain>, u64)]) -> Window {
    let mut usage = Usage::new(2);
    for (cgroup, nanos) in rows {
        usage.push(key(*cgroup), &nanos.map(CpuNanos));
    }
    let usage = Rc::new(usage);
    let duration = Duration::from_secs(1);
    Window {
        start_ns: 0,
        duration,
        edge_width: Duration::from_micros(3),
        suspended: Duration::ZERO,
        usage: Rc::clone(&usage),
        accounts: Accounts { idle_ns: 7, ..Accounts::default() },
        domains: energies
            .iter()
            .map(|(domain, metered)| DomainWindow {
                domain: Rc::clone(domain),
                metered: Microjoules(*metered),
                duration,
                gap: false,
                usage: Rc::clone(&usage),
                wake_ratio: None,
            })
            .collect(),
        unread: Vec::new(),
    }
}

fn row(attributed: &Attributed, cgroup: u64) -> WorkloadEnergy {
    *attributed.workloads.iter().find(|row| row.key == key(cgroup)).unwrap()
}

#[test]
fn energy_goes_to_those_who_ran_on_its_package() {
    let (zero, one) = (domain(0, Some(1.0), None), domain(1, None, None));
    let window = window(&[(1, [300, 0]), (2, [100, 50])], &[(&zero, 5_000_000), (&one, 700)]);
    let attributed = attribute(&window, &mut State::default(), StaticPolicy::Separate);
    assert_eq!(row(&attributed, 1).dynamic_energy, Microjoules(3_000_000));
    assert_eq!(row(&attributed, 2).dynamic_energy, Microjoules(1_000_700));
    assert_eq!(row(&attributed, 2).cpu, CpuNanos(150));
    assert_eq!(row(&attributed, 1).static_energy, Microjoules::ZERO);
    assert_eq!(attributed.domains[0].static_energy, Microjoules(1_000_000));
    assert_eq!(attributed.accounts.idle_ns, 7);
}

#[test]
fn static_energy_is_shared_where_asked() {
    let zero = domain(0, Some(1.0), None);
    let window = window(&[(1, [300, 0]), (2, [100, 0]), (3, [0, 100])], &[(&zero, 5_000_000)]);
    let attributed = attribute(&window, &mut State::default(), StaticPolicy::Proportional);
    assert_eq!(row(&attributed, 1).static_energy, Microjoules(750_000));
    assert_eq!(row(&attributed, 2).static_energy, Microjoules(250_000));
    assert_eq!(row(&attributed, 3).static_energy, Microjoules::ZERO);
    assert_eq!(row(&attributed, 3).quality, None);
}

#[test]
fn energy_with_nobody_to_give_it_to_is_lost_and_stated() {
    let zero = domain(0, Some(1.0), None);
    let window = window(&[(1, [0, 300])], &[(&zero, 5_000_000)]);
    let attributed = attribute(&window, &mut State::default(), StaticPolicy::Proportional);
    assert_eq!(attributed.domains[0].lost, Microjoules(4_000_000));
    assert_eq!(attributed.domains[0].static_energy, Microjoules(1_000_000));
    assert_eq!(row(&attributed, 1).dynamic_energy, Microjoules::ZERO);
}

#[test]
fn a_workload_is_given_energy_of_a_span_before_this_window() {
    let zero = domain(0, None, None);
    let mut late = window(&[(1, [10, 0])], &[(&zero, 30)]);
    let mut longer = Usage::new(2);
    longer.push(key(1), &[CpuNanos(10)]);
    longer.push(key(2), &[CpuNanos(20)]);
    late.domains[0].usage = Rc::new(longer);
    let attributed = attribute(&late, &mut State::default(), StaticPolicy::Separate);
    assert_eq!(
        (row(&attributed, 2).cpu, row(&attributed, 2).dynamic_energy),
        (CpuNanos::ZERO, Microjoules(20))
    );
}

#[test]
fn a_window_without_length_is_no_fault() {
    let zero = domain(0, Some(1.0), None);
    let mut empty = window(&[], &[(&zero, 9)]);
    empty.duration = Duration::ZERO;
    empty.domains[0].duration = Duration::ZERO;
    let attributed = attribute(&empty, &mut State::default(), StaticPolicy::Proportional);
    assert_eq!(attributed.domains[0].lost, Microjoules(9));
}

#[test]
fn uncertainty_has_both_causes() {
    let modelled = domain(0, None, Some(Bounds { low_ratio: 0.5, high_ratio: 2.0 }));
    let alone = attribute(
        &window(&[(1, [9, 0])], &[(&modelled, 1_000)]),
        &mut State::default(),
        StaticPolicy::Separate,
    );
    let model = 1_000.0 * 2.0_f64.ln() / 1.645;
    assert!((row(&alone, 1).uncertainty.stddev_uj() - model).abs() < 1e-6);
    assert_eq!(row(&alone, 1).quality, Some(Quality::Modelled));
    let pair = window(&[(1, [9, 0]), (2, [9, 0])], &[(&modelled, 2_000)]);
    let pair = attribute(&pair, &mut State::default(), StaticPolicy::Separate);
    let split = 1_000.0 * 0.25 / 2.0_f64.sqrt();
    assert!((row(&pair, 1).uncertainty.stddev_uj() - split.hypot(model)).abs() < 1e-6);
}

#[test]
fn a_model_is_split_by_cpu_time() {
    let modelled = domain(0, Some(1.0), Some(Bounds { low_ratio: 0.5, high_ratio: 2.0 }));
    let mut state = State::new(Method::Bank, vec![PackagePrior { cpus: 2, per_cpu: None }]);
    for _ in 0..20 {
        let attributed =
            attribute(&window(&[(1, [9, 0])], &[(&modelled, 4_000_000)]), &mut state, StaticPolicy::Separate);
        assert_eq!(attributed.domains[0].method, Method::CpuTime);
    }
    assert_eq!(state.banks().count(), 0);
}

#[test]
fn an_idle_power_above_the_meter_is_told() {
    let (zero, mut state) = (domain(0, Some(10.0), None), State::default());
    for _ in 0..3 {
        attribute(&window(&[(1, [9, 0])], &[(&zero, 4_000_000)]), &mut state, StaticPolicy::Separate);
    }
    let told: Vec<_> =
        state.excess_static().map(|(domain, excess)| (domain.device.as_str(), excess.0)).collect();
    assert_eq!(told, [("package-0", 8_000_000)]);
}

#[test]
fn a_full_table_of_totals_still_sums() {
    let zero = domain(0, None, None);
    let mut totals = Totals::new(2);
    for round in 0..3 {
        let rows: Vec<(u64, [u64; 2])> = (1..=4).map(|cgroup| (cgroup + round, [100, 0])).collect();
        totals.add(&attribute(
            &window(&rows, &[(&zero, 4_000)]),
            &mut State::default(),
            StaticPolicy::Separate,
        ));
    }
    let all = totals.sum_of(|_| true);
    assert_eq!((all.cpu, all.dynamic_energy), (CpuNanos(1_200), Microjoules(12_000)));
    let overflow = totals.sum_of(|key| *key == WorkloadKey::OVERFLOW);
    assert_eq!((totals.workloads().count(), totals.overflow_rows()), (3, 9));
    assert_eq!(overflow.dynamic_energy, Microjoules(9_000));
}

#[test]
fn a_domain_that_could_not_be_read_is_remembered_until_it_can() {
    let zero = domain(0, None, None);
    let mut blind = window(&[(1, [100, 0])], &[]);
    blind.unread.push((Rc::clone(&zero), "input/output error".into()));
    let mut totals = Totals::default();
    totals.add(&attribute(&blind, &mut State::default(), StaticPolicy::Separate));
    assert_eq!(totals.domains()[0].pending.as_deref(), Some("input/output error"));
    totals.add(&attribute(
        &window(&[(1, [1, 0])], &[(&zero, 5)]),
        &mut State::default(),
        StaticPolicy::Separate,
    ));
    assert_eq!((totals.domains()[0].pending.clone(), totals.domains()[0].unread), (None, 1));
    assert_eq!((totals.windows(), totals.duration()), (2, Duration::from_secs(2)));
}

/// One window: CPU time by workload and package, and the energy of three domains.
type Drawn = (Vec<(u64, [u64; 2])>, [u64; 3]);

fn windows() -> impl Strategy<Value = Vec<Drawn>> {
    let rows = prop::collection::btree_map(1_u64..30, prop::array::uniform2(0_u64..2_000_000_000), 0..20);
    let energy = prop_oneof![0_u64..10, 0_u64..50_000_000, any::<u32>().prop_map(u64::from)];
    let one = (rows.prop_map(|rows| rows.into_iter().collect()), prop::array::uniform3(energy));
    prop::collection::vec(one, 1..8)
}

proptest! {
    #[test]
    fn joules_are_conserved(drawn in windows(), proportional: bool, keys_max in 1_usize..40) {
        let policy = if proportional { StaticPolicy::Proportional } else { StaticPolicy::Separate };
        let bounds = Some(Bounds { low_ratio: 0.5, high_ratio: 2.0 });
        let domains = [domain(0, Some(3.0), None), domain(1, Some(0.5), bounds), domain(1, None, None)];
        let (mut state, mut totals, mut metered) = (State::default(), Totals::new(keys_max), 0);
        for (rows, energies) in &drawn {
            let energies: Vec<_> = domains.iter().zip(energies.iter().copied()).collect();
            let attributed = attribute(&window(rows, &energies), &mut state, policy);
            for (domain, (_, energy)) in attributed.domains.iter().zip(&energies) {
                prop_assert_eq!(domain.metered.0, *energy);
                prop_assert_eq!(domain.dynamic_energy + domain.static_energy + domain.lost, domain.metered);
            }
            let given: Microjoules = attributed.workloads.iter().map(|row| row.dynamic_energy).sum();
            let dynamic: Microjoules = attributed.domains.iter().map(|domain| domain.dynamic_energy).sum();
            prop_assert_eq!(given, dynamic);
            let cpu: u64 = rows.iter().flat_map(|(_, nanos)| nanos).sum();
            prop_assert_eq!(attributed.workloads.iter().map(|row| row.cpu).sum::<CpuNanos>(), CpuNanos(cpu));
            metered += energies.iter().map(|(_, energy)| energy).sum::<u64>();
            totals.add(&attributed);
        }
        let all: WorkloadTotal = totals.sum_of(|_| true);
        let outside: Microjoules = totals.domains().iter().map(|domain| domain.static_energy + domain.lost).sum();
        prop_assert_eq!((all.dynamic_energy + outside).0, metered);
        prop_assert!(totals.workloads().count() <= keys_max + 1);
    }

    /// The same with the bank, which takes its time to warm up.
    #[test]
    fn joules_are_conserved_by_the_bank(
        drawn in prop::collection::vec(
            (prop::collection::btree_map(0_u64..9, prop::array::uniform2(0_u64..2_000_000_000), 0..7),
             prop::array::uniform2(prop_oneof![Just(0_u64), 0_u64..90_000_000, Just(u64::MAX)])),
            15..50,
        ),
        policy in prop_oneof![Just(StaticPolicy::Separate), Just(StaticPolicy::Proportional)],
    ) {
        let domains = [domain(0, Some(3.0), None), domain(1, None, None)];
        let package = PackagePrior { cpus: 4, per_cpu: Some(Watts(5.0)) };
        let bank = || State::new(Method::Bank, vec![package; 2]);
        let (mut state, mut turned_state) = (bank(), bank());
        for (number, (rows, energies)) in drawn.iter().enumerate() {
            let rows: Vec<_> = rows.iter().map(|(id, nanos)| (*id, *nanos)).collect();
            let turned: Vec<_> = rows.iter().rev().copied().collect();
            let energies: Vec<_> = domains.iter().zip(energies.iter().copied()).collect();
            let attributed = attribute(&window(&rows, &energies), &mut state, policy);
            for (domain, (_, energy)) in attributed.domains.iter().zip(&energies) {
                prop_assert_eq!(domain.metered.0, *energy);
                prop_assert_eq!(domain.dynamic_energy + domain.static_energy + domain.lost, domain.metered);
                prop_assert!(domain.method == Method::CpuTime || number >= 10);
            }
            let given: Microjoules = attributed.workloads.iter().map(|row| row.dynamic_energy).sum();
            let dynamic: Microjoules = attributed.domains.iter().map(|domain| domain.dynamic_energy).sum();
            prop_assert_eq!(given, dynamic);
            prop_assert_eq!(state.unbalanced(), 0);
            let again = attribute(&window(&turned, &energies), &mut turned_state, policy);
            for row in &attributed.workloads {
                prop_assert!(again.workloads.iter().any(|other| other == row), "{:?}", row);
            }
        }
    }

    #[test]
    fn the_order_of_workloads_does_not_matter(drawn in windows()) {
        let zero = domain(0, Some(1.0), None);
        for (rows, [energy, ..]) in &drawn {
            let turned: Vec<_> = rows.iter().rev().copied().collect();
            let of = |rows: &[(u64, [u64; 2])]| {
                let window = window(rows, &[(&zero, *energy)]);
                let mut rows: Vec<_> = attribute(&window, &mut State::default(), StaticPolicy::Proportional)
                    .workloads.iter().map(|row| (row.key, row.dynamic_energy, row.static_energy)).collect();
                rows.sort_unstable();
                rows
            };
            prop_assert_eq!(of(rows), of(&turned));
        }
    }
}

/// Modules that must stay pure name nothing that could reach outside.
#[test]
fn pure_modules_import_nothing_that_reaches_outside() {
    const FORBIDDEN: [&str; 16] = [
        "crate::{",
        "std::time::Instant",
        "SystemTime",
        "std::fs",
        "std::env",
        "std::net",
        "std::process",
        "std::io",
        "tokio",
        "log::",
        "jiff",
        "crate::clock",
        "crate::sched",
        "crate::meters",
        "crate::report",
        "crate::cli",
    ];
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = 0;
    for module in ["attribution", "attribution/bank", "carbon", "workload"] {
        let Ok(entries) = std::fs::read_dir(source.join(module)) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.extension().is_none_or(|extension| extension != "rs") || path.ends_with("tests.rs") {
                continue;
            }
            files += 1;
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            for (number, line) in
                code.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"))
            {
                for word in FORBIDDEN {
                    assert!(!line.contains(word), "{}:{}: {word}", path.display(), number + 1);
                }
            }
        }
    }
    assert!(files >= 5, "only {files} files looked at");
}
