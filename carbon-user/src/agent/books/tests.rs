use super::*;
use crate::attribution::static_policy::StaticPolicy;
use crate::attribution::{State, attribute};
use crate::carbon::Intensity;
use crate::ledger::rows::EnergyKind;
use crate::metadata::Job;
use crate::units::{PackageId, Pue, Quality, Watts};
use crate::window::{DomainKind, DomainWindow, Usage, Window};
use proptest::prelude::*;
use std::rc::Rc;

const SECOND: u64 = 1_000_000_000;

fn window(number: u64, metered: &[u64], used: &[(u64, u64)]) -> Window {
    let mut usage = Usage::new(1);
    for (cgroup, nanos) in used {
        usage.push(WorkloadKey::cgroup(CgroupId(*cgroup)), &[CpuNanos(*nanos)]);
    }
    let usage = Rc::new(usage);
    let domain = |(place, uj): (usize, &u64)| DomainWindow {
        domain: Rc::new(Domain {
            kind: if place == 0 { DomainKind::Package } else { DomainKind::Dram },
            device: "package-0".into(),
            source: "a test".into(),
            quality: Quality::Measured,
            bounds: None,
            package: PackageId(0),
            idle_watts: (place == 0).then_some(Watts(3.0)),
        }),
        metered: Microjoules(*uj),
        duration: Duration::from_secs(1),
        gap: None,
        usage: Rc::clone(&usage),
        wake_ratio: None,
    };
    Window {
        start_ns: number * SECOND,
        duration: Duration::from_secs(1),
        edge_width: Duration::ZERO,
        suspended: Duration::ZERO,
        usage: Rc::clone(&usage),
        counts: Rc::default(),
        claims: Rc::default(),
        accounts: Accounts::default(),
        domains: metered.iter().enumerate().map(domain).collect(),
        unread: Vec::new(),
    }
}

fn books(series_max: usize) -> Books {
    Books::new("n", Factor::new(Intensity::of_unknown_place(), Pue(1.0)), series_max)
}

fn named(key: WorkloadKey) -> Who {
    who(key, Some(&format!("/w{}", key.cgroup.0)), None)
}

fn energy(totals: &WorkloadTotals) -> (u64, u64) {
    totals.domains.iter().fold((0, 0), |sum, own| (sum.0 + own.dynamic_energy.0, sum.1 + own.static_energy.0))
}

proptest! {
    /// Whoever comes and goes, with few series or many: what is published and what is to be written both sum to what was
    /// metered, and no sum falls while its series is there.
    #[test]
    fn published_and_written_sum_to_what_was_metered(
        series_max in 1_usize..6,
        windows in prop::collection::vec(
            (0_u64..60_000_000, 0_u64..9_000_000, prop::collection::btree_map(2_u64..12, 1_u64..SECOND, 0..5), 1_u64..200),
            1..40,
        ),
        policy in prop::sample::select(vec![StaticPolicy::Separate, StaticPolicy::Proportional]),
    ) {
        let mut books = books(series_max);
        let mut state = State::default();
        let mut now_ns = 0;
        let (mut metered, mut written) = (0, 0);
        let mut before = books.published();
        for (number, (package, dram, used, pause)) in windows.iter().enumerate() {
            now_ns += pause * SECOND;
            let used: Vec<(u64, u64)> = used.iter().map(|(cgroup, nanos)| (*cgroup, *nanos)).collect();
            let window = window(number as u64, &[*package, *dram], &used);
            books.add(&attribute(&window, &mut state, policy), now_ns, named);
            metered += package + dram;
            let now = books.published();
            prop_assert!(now.workloads.len() <= series_max);
            for totals in &now.workloads {
                let then = before.workloads.iter().find(|then| then.who == totals.who);
                prop_assert!(then.is_none_or(|then| energy(then) <= energy(totals) && then.cpu <= totals.cpu));
            }
            for (then, now) in [(&before.other, &now.other), (&before.ended, &now.ended)] {
                prop_assert!(energy(then).0 <= energy(now).0 && energy(then).1 <= energy(now).1);
            }
            before = now;
            if number % 3 == 0 {
                let Some(flush) = books.take_minute(number.to_string(), 0, |_| None) else { continue };
                for balance in &flush.balances {
                    let own = || flush.rows.iter().filter(|row| row.domain == balance.domain);
                    let dynamic = own().filter(|row| row.kind == EnergyKind::Dynamic);
                    let of_rows: u64 = dynamic.map(|row| row.energy.0).sum();
                    prop_assert_eq!(of_rows, balance.attributed.0);
                    // What is shared with nobody is a row too: all rows are what was metered and not lost.
                    let all: u64 = own().map(|row| row.energy.0).sum();
                    prop_assert_eq!(all, balance.metered.0 - balance.lost.0);
                    written += balance.metered.0;
                }
            }
        }
        written += books.take_minute("last".into(), 0, |_| None).map_or(0, |flush| flush.balances.iter().map(|row| row.metered.0).sum());
        prop_assert_eq!(written, metered);
        let published = books.published();
        let all = published.workloads.iter().chain([&published.other, &published.ended]).map(energy);
        let (dynamic, fixed) = all.fold((0, 0), |sum, own| (sum.0 + own.0, sum.1 + own.1));
        let of_domains = |of: fn(&DomainTotals) -> Microjoules| -> u64 { published.domains.iter().map(of).sum::<Microjoules>().0 };
        prop_assert_eq!(dynamic, of_domains(|domain| domain.attributed));
        prop_assert_eq!(fixed, of_domains(|domain| domain.static_shared));
        prop_assert_eq!(
            of_domains(|domain| domain.metered),
            of_domains(|domain| domain.attributed + domain.static_energy + domain.lost)
        );
        prop_assert_eq!(of_domains(|domain| domain.metered), metered);
    }
}

#[test]
fn an_ended_workload_stays_for_two_scrapes_and_is_then_summed() {
    let mut books = books(10);
    let mut state = State::default();
    let mut add = |second: u64, used: &[(u64, u64)]| {
        let window = window(second, &[10_000_000], used);
        books.add(&attribute(&window, &mut state, StaticPolicy::Separate), second * SECOND, named);
        books.published()
    };
    let first = add(1, &[(5, SECOND)]);
    assert_eq!(first.workloads[0].who.identity, "/w5");
    let own = energy(&first.workloads[0]);
    let later = add(121, &[(6, SECOND)]);
    let still = later.workloads.iter().find(|totals| totals.who.identity == "/w5").unwrap();
    assert_eq!((energy(still), still.watts), (own, Watts(0.0)), "two minutes later it is still told");
    let gone = add(301, &[(6, SECOND)]);
    assert!(gone.workloads.iter().all(|totals| totals.who.identity != "/w5"));
    assert_eq!(energy(&gone.ended), own);
}

#[test]
fn a_large_workload_has_a_series_however_many_small_ones_come_and_go() {
    let mut books = books(50);
    let mut state = State::default();
    let (mut metered, mut named_at) = (Microjoules::ZERO, None);
    // Twenty new ones a second, each for 1 ms: all series are of those by the time that 9999 comes.
    for second in 1..=60 {
        let mut used: Vec<(u64, u64)> = (0..20).map(|one| (second * 100 + one, SECOND / 1_000)).collect();
        if second > 30 {
            used.push((9_999, SECOND / 2));
        }
        let window = window(second, &[10_000_000], &used);
        books.add(&attribute(&window, &mut state, StaticPolicy::Separate), second * SECOND, named);
        metered += Microjoules(10_000_000);
        let now = books.published();
        assert!(now.workloads.len() <= 50);
        if now.workloads.iter().any(|totals| totals.who.identity == "/w9999") {
            named_at.get_or_insert(second);
        }
        let all = now.workloads.iter().chain([&now.other, &now.ended]).map(|totals| energy(totals).0);
        assert_eq!(all.sum::<u64>(), now.domains[0].attributed.0, "in second {second}");
        assert_eq!(now.domains[0].metered, metered);
    }
    assert_eq!(named_at, Some(31));
    let now = books.published();
    let of_the_first = |totals: &&WorkloadTotals| totals.who.identity.len() == 5;
    assert_eq!(now.workloads.iter().filter(of_the_first).count(), 49, "those of one size do not take turns");
}

#[test]
fn names_of_those_that_have_gone_are_not_kept() {
    let mut books = books(50);
    let mut state = State::default();
    for second in 1..=200 {
        let mut used: Vec<(u64, u64)> = (0..20).map(|one| (second * 100 + one, SECOND / 1_000)).collect();
        used.push((9_999, SECOND / 2));
        let window = window(second, &[10_000_000], &used);
        books.add(&attribute(&window, &mut state, StaticPolicy::Separate), second * SECOND, named);
        // Those with a series, and those of twice the ten seconds.
        assert!(books.names.len() <= 50 + 20 * 21, "{} in second {second}", books.names.len());
    }
    assert!(books.names.contains_key(&WorkloadKey::cgroup(CgroupId(9_999))));
}

#[test]
fn names_that_are_known_by_the_end_are_in_the_whole_minute() {
    let pod = "/kubepods.slice/kubepods-pod12345678_1234_1234_1234_123456789abc.slice/cri-containerd-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope";
    let mut books = books(10);
    let mut state = State::default();
    let attributed =
        attribute(&window(1, &[5_000_000], &[(7, SECOND / 2)]), &mut state, StaticPolicy::Separate);
    books.add(&attributed, SECOND, |key| who(key, Some(pod), None));
    let names = |of: &Who| {
        assert_eq!(of.identity, pod);
        let text = |text: &str| Some(text.to_owned());
        Some(Names {
            namespace: text("shop"),
            pod: text("web-1"),
            container: text("nginx"),
            job: Job::default(),
        })
    };
    let flush = books.take_minute("one".into(), 0, names).unwrap();
    let row = flush.rows.iter().find(|row| row.workload.identity == pod).unwrap();
    let of = |text: &Option<String>| text.clone().unwrap();
    let workload = &row.workload;
    assert_eq!(
        [of(&workload.namespace), of(&workload.pod), of(&workload.container)],
        ["shop", "web-1", "nginx"]
    );
    assert!(!workload.ids);
    // A minute in which nobody answers has the ids of the path, marked as such.
    let attributed =
        attribute(&window(2, &[5_000_000], &[(7, SECOND / 2)]), &mut state, StaticPolicy::Separate);
    books.add(&attributed, 2 * SECOND, |key| who(key, Some(pod), None));
    let flush = books.take_minute("two".into(), 60, |_| None).unwrap();
    let row = flush.rows.iter().find(|row| row.workload.identity == pod).unwrap();
    assert!(row.workload.ids && row.workload.namespace.is_none());
    assert!(of(&row.workload.container).starts_with("0123456789ab"));
}

/// What was resumed is known by its path alone, which says no more than a unit.
#[test]
fn a_resumed_series_goes_on_as_whose_its_processes_say() {
    let path = "/system.slice/f-docker1.service";
    let told = crate::workload::identify(&format!("/docker/{}", "5a".repeat(32)));
    let key = WorkloadKey::cgroup(CgroupId(7));
    let before = WorkloadTotals {
        who: Arc::new(Who { cgroup: None, ..who(key, Some(path), None) }),
        cpu: CpuNanos(5),
        ..WorkloadTotals::default()
    };
    assert_eq!(before.who.kind, "unit");
    let mut books = books(10);
    books.resume(Vec::new(), vec![before], 0);
    let mut state = State::default();
    let attributed =
        attribute(&window(1, &[5_000_000], &[(7, SECOND / 2)]), &mut state, StaticPolicy::Separate);
    books.add(&attributed, SECOND, |key| who(key, Some(path), Some(&told)));
    let published = books.published();
    let [only] = published.workloads.as_slice() else { panic!("{:?}", published.workloads) };
    assert_eq!((only.who.identity.as_str(), only.who.kind), (path, "container"));
    assert_eq!((only.who.path.clone(), only.cpu), (told.clone(), CpuNanos(5 + SECOND / 2)));
    let flush = books.take_minute("one".into(), 0, |_| None).unwrap();
    assert!(flush.rows.iter().any(|row| row.workload.container == told.container_id));
}
