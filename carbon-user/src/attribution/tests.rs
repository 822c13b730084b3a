use super::totals::{Totals, WorkloadTotal};
use super::*;
use crate::claims::{Claim, Claims, RequestSource};
use crate::units::{CgroupId, PackageId, Watts};
use crate::window::counts::Counts;
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
        counts: Rc::default(),
        claims: Rc::default(),
        accounts: Accounts { idle_ns: 7, ..Accounts::default() },
        domains: energies
            .iter()
            .map(|(domain, metered)| DomainWindow {
                domain: Rc::clone(domain),
                metered: Microjoules(*metered),
                duration,
                gap: None,
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

/// Runs of a few windows each, one after the other, do not wear away what was learned: resuming makes it less sure.
#[test]
fn short_runs_do_not_wear_away_what_was_learned() {
    let domain = domain(0, Some(1.0), None);
    let see = |state: &mut State, windows: u64| {
        for number in 0..windows {
            let on = if (number / 7).is_multiple_of(2) { 1_000_000_000 } else { 0 };
            let rows = [(1, [on, 0]), (2, [500_000_000, 0])];
            attribute(&window(&rows, &[(&domain, 5_000_000 + on / 200)]), state, StaticPolicy::Separate);
        }
    };
    let new = || State::new(Method::Bank, vec![PackagePrior { cpus: 4, per_cpu: None }; 2]);
    let mut state = new();
    assert_eq!(state.resumed_windows(&domain), None);
    see(&mut state, 200);
    let mut kept = state.kept();
    let learned = kept[0].learned.clone();
    assert_eq!((kept.len(), learned.windows), (1, 200));
    for _ in 0..20 {
        let mut again = new();
        again.resume(kept);
        assert_eq!(
            again.kept()[0].learned.members,
            learned.members,
            "a domain that does not come up stays known"
        );
        see(&mut again, 20);
        assert_eq!(again.resumed_windows(&domain), Some(200));
        kept = again.kept();
        assert_eq!(kept[0].learned.members, learned.members);
    }
    let mut long = new();
    long.resume(kept);
    see(&mut long, 60);
    let kept = long.kept();
    assert!(kept[0].learned.members != learned.members && kept[0].learned.windows == 260);
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

fn dram(package: u16, idle: Option<f64>) -> Rc<Domain> {
    let of = domain(package, idle, None);
    Rc::new(Domain { kind: DomainKind::Dram, ..(*of).clone() })
}

/// Cgroup, processes in it, what it asked for, resident bytes.
fn claims(rows: &[(u64, u64, Option<u64>, Option<u64>)]) -> Rc<Claims> {
    let mut claims = Claims::default();
    claims.requests = Some(RequestSource::Kubelet);
    for (cgroup, alive, requested, resident_bytes) in rows {
        let claim = Claim { alive: *alive, requested: *requested, resident_bytes: *resident_bytes };
        claims.add(CgroupId(*cgroup), claim, 1000);
    }
    Rc::new(claims)
}

/// Static energy of cgroups 1 to 4 under each policy; the third only holds others, the fourth ran and has gone.
#[test]
fn each_policy_shares_static_energy_by_its_own_measure() {
    use SharedBy::{Alive, CpuTime, Requests, Resident};
    let (zero, memory) = (domain(0, Some(1.0), None), dram(0, Some(0.6)));
    let mut window = window(&[(1, [300, 0]), (4, [100, 0])], &[(&zero, 5_000_000), (&memory, 2_000_000)]);
    window.claims =
        claims(&[(1, 1, Some(500), Some(10)), (2, 1, Some(1_500), Some(20)), (3, 0, Some(2_000), Some(70))]);
    let shares = |window: &Window, policy| {
        let attributed = attribute(window, &mut State::default(), policy);
        let of = |id: u64| {
            attributed.workloads.iter().find(|row| row.key == key(id)).map_or(0, |row| row.static_energy.0)
        };
        let by = attributed.domains.iter().map(|domain| domain.static_by).collect::<Vec<_>>();
        ([of(1), of(2), of(3), of(4)], by)
    };
    let asked = Requests(RequestSource::Kubelet);
    assert_eq!(shares(&window, StaticPolicy::Separate), ([0; 4], vec![None, None]));
    // 1 J by 3 to 1, and 0.6 J by 10 to 20 to 70.
    assert_eq!(
        shares(&window, StaticPolicy::Proportional),
        ([810_000, 120_000, 420_000, 250_000], vec![Some(CpuTime), Some(Resident)])
    );
    assert_eq!(
        shares(&window, StaticPolicy::Equal),
        ([533_334, 533_333, 0, 533_333], vec![Some(Alive), Some(Alive)])
    );
    assert_eq!(
        shares(&window, StaticPolicy::Requests),
        ([310_000, 870_000, 420_000, 0], vec![Some(asked), Some(Resident)])
    );
    // Nobody knows what is resident, and nobody asked.
    window.claims = Rc::default();
    assert_eq!(shares(&window, StaticPolicy::Proportional).1, [Some(CpuTime), Some(CpuTime)]);
    assert_eq!(shares(&window, StaticPolicy::Requests), ([0; 4], vec![None, None]));
}

#[test]
fn the_split_of_memory_is_a_model_whoever_measured_it() {
    let (zero, memory) = (domain(0, Some(1.0), None), dram(0, None));
    let both = window(&[(1, [9, 0])], &[(&zero, 5_000_000), (&memory, 2_000_000)]);
    let attributed = attribute(&both, &mut State::default(), StaticPolicy::Separate);
    assert_eq!(row(&attributed, 1).quality, Some(Quality::Modelled));
    assert_eq!(row(&attributed, 1).memory_energy, Some(Microjoules(2_000_000)));
    let qualities: Vec<_> =
        attributed.domains.iter().map(|energy| (energy.domain.quality, energy.split_quality)).collect();
    assert_eq!(qualities, [(Quality::Measured, Quality::Measured), (Quality::Measured, Quality::Modelled)]);
    let package =
        attribute(&window(&[(1, [9, 0])], &[(&zero, 5)]), &mut State::default(), StaticPolicy::Separate);
    assert_eq!((row(&package, 1).quality, row(&package, 1).memory_energy), (Some(Quality::Measured), None));
}

/// Where accesses are counted, memory's energy goes by them, on its own package, and is worth more than a model.
#[test]
fn counted_accesses_split_memory() {
    let (zero, memory) = (domain(0, Some(1.0), None), dram(0, None));
    let mut both = window(&[(1, [9, 0]), (2, [1, 0])], &[(&zero, 5_000_000), (&memory, 2_000_000)]);
    let mut counts = Counts::new(&[CounterKind::Cycles, CounterKind::LlcMisses]);
    counts.add(key(1), PackageId(0), [100, 1, 0]);
    counts.add(key(2), PackageId(0), [100, 3, 0]);
    counts.add(key(1), PackageId(1), [100, 90, 0]);
    both.counts = Rc::new(counts);
    let attributed = attribute(&both, &mut State::default(), StaticPolicy::Separate);
    assert_eq!(row(&attributed, 1).memory_energy, Some(Microjoules(500_000)));
    assert_eq!(row(&attributed, 2).memory_energy, Some(Microjoules(1_500_000)));
    assert_eq!(row(&attributed, 1).quality, Some(Quality::Sampled));
    assert_eq!(row(&attributed, 1).counts, [Some(200), None, Some(91), None]);
    assert_eq!(attributed.domains[1].method, Method::LlcMisses);
    // The meter could not be read at the window before: accesses of that one were another window's.
    both.domains[1].duration = Duration::from_secs(2);
    let late = attribute(&both, &mut State::default(), StaticPolicy::Separate);
    assert_eq!(row(&late, 1).memory_energy, Some(Microjoules(1_800_000)));
}

/// On a machine whose memory's power follows what one workload does, the bank of dram learns that, apart from the
/// package's.
#[test]
fn memory_has_a_bank_of_its_own() {
    let (zero, memory) = (domain(0, Some(10.0), None), dram(0, Some(2.0)));
    let mut state = State::new(Method::Bank, vec![PackagePrior { cpus: 4, per_cpu: Some(Watts(5.0)) }]);
    let mut last = None;
    for number in 0_u64..400 {
        let (one, two) = (200_000_000 + number % 7 * 100_000_000, 200_000_000 + number % 5 * 150_000_000);
        // Of the package 6 W per CPU for both; of memory 4 W per CPU for the first, 0.5 for the second.
        let package_uj = 10_000_000 + (6 * one + 6 * two) / 1000;
        let memory_uj = 2_000_000 + (4 * one + two / 2) / 1000;
        let window = window(&[(1, [one, 0]), (2, [two, 0])], &[(&zero, package_uj), (&memory, memory_uj)]);
        last = Some((attribute(&window, &mut state, StaticPolicy::Separate), one, two));
    }
    let (attributed, one, two) = last.unwrap();
    assert!(attributed.domains.iter().all(|domain| domain.method == Method::Bank));
    for (cgroup, truth_uj) in [(1, 4 * one / 1000), (2, two / 2 / 1000)] {
        let got = row(&attributed, cgroup).memory_energy.unwrap();
        assert!(got.0.abs_diff(truth_uj) < truth_uj / 10 + 20_000, "{cgroup}: {got:?}, in truth {truth_uj}");
    }
}

fn drawn_claims() -> impl Strategy<Value = Rc<Claims>> {
    let any_of = || prop::option::of(prop_oneof![0_u64..5, any::<u64>()]);
    let row = (1_u64..30, 0_u64..3, any_of(), any_of());
    prop::collection::vec(row, 0..20).prop_map(|rows| claims(&rows))
}

proptest! {
    /// Under every policy: metered = dynamic + static + lost, what the workloads have of static energy is what was shared,
    /// which is all of it or none, and nothing that is dynamic changes.
    #[test]
    fn static_energy_is_conserved_under_every_policy(drawn in windows(), claims in drawn_claims()) {
        let domains = [domain(0, Some(3.0), None), domain(1, Some(0.5), None), dram(1, Some(2.0))];
        for policy in [StaticPolicy::Separate, StaticPolicy::Proportional, StaticPolicy::Equal, StaticPolicy::Requests] {
            let (mut state, mut plain, mut totals) = (State::default(), State::default(), Totals::default());
            for (rows, energies) in &drawn {
                let energies: Vec<_> = domains.iter().zip(energies.iter().copied()).collect();
                let mut window = window(rows, &energies);
                window.claims = Rc::clone(&claims);
                let attributed = attribute(&window, &mut state, policy);
                let mut shared = Microjoules::ZERO;
                for domain in &attributed.domains {
                    prop_assert_eq!(domain.dynamic_energy + domain.static_energy + domain.lost, domain.metered);
                    prop_assert!(domain.static_shared == domain.static_energy || domain.static_shared.0 == 0);
                    prop_assert!(policy != StaticPolicy::Separate || domain.static_by.is_none());
                    shared += domain.static_shared;
                }
                prop_assert_eq!(attributed.workloads.iter().map(|row| row.static_energy).sum::<Microjoules>(), shared);
                let separate = attribute(&window, &mut plain, StaticPolicy::Separate);
                for row in &separate.workloads {
                    let same = attributed.workloads.iter().find(|other| other.key == row.key).unwrap();
                    prop_assert_eq!((same.cpu, same.dynamic_energy), (row.cpu, row.dynamic_energy));
                }
                totals.add(&attributed);
            }
            let shared: Microjoules = totals.domains().iter().map(|domain| domain.static_shared).sum();
            prop_assert_eq!(totals.sum_of(|_| true).static_energy, shared);
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
