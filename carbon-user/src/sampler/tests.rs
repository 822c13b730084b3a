use super::*;
use crate::claims::Claim;
use crate::clock::Moment;
use crate::meters::Meter;
use crate::sched::{Enrolment, Processes, Runs};
use crate::units::{CgroupId, PackageId, Quality, RunId};
use crate::window::{DomainKind, WorkloadKey};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

#[derive(Debug)]
struct FakeBooks(VecDeque<Result<SchedSnapshot, SchedError>>);

impl Accounting for FakeBooks {
    fn rung(&self) -> Rung {
        Rung::Books
    }
    fn snapshot(&mut self) -> Result<SchedSnapshot, SchedError> {
        self.0.pop_front().unwrap()
    }
    fn drain(&mut self) -> Result<(), SchedError> {
        Ok(())
    }
    fn cgroup_path(&self, _: CgroupId) -> Option<&str> {
        None
    }
    fn is_removed(&self, cgroup: CgroupId) -> bool {
        cgroup == REMOVED
    }
    fn arrivals(&self) -> u64 {
        ARRIVALS
    }
    fn runs(&mut self) -> &mut dyn Runs {
        self
    }
}

impl Runs for FakeBooks {
    fn open(&mut self, _: RunId) -> Result<Enrolment, SchedError> {
        Err(SchedError::NoSuch { what: "run" })
    }
    fn alive(&mut self, _: RunId) -> Result<u64, SchedError> {
        Ok(0)
    }
    fn processes(&self, _: RunId) -> Processes {
        Processes::default()
    }
}

const REMOVED: CgroupId = CgroupId(66);
const ARRIVALS: u64 = 7;

type Script = VecDeque<Vec<Result<meters::Reading, MeterError>>>;

#[derive(Debug)]
struct FakeMeter {
    domains: Vec<Rc<Domain>>,
    script: Script,
    busy_seen: Rc<RefCell<Vec<Vec<CpuNanos>>>>,
}

impl Meter for FakeMeter {
    fn name(&self) -> &'static str {
        "fake"
    }
    fn domains(&self) -> &[Rc<Domain>] {
        &self.domains
    }
    fn read(&mut self, edge: &Edge<'_>) -> Vec<Result<meters::Reading, MeterError>> {
        self.busy_seen.borrow_mut().push(edge.busy.to_vec());
        self.script.pop_front().unwrap()
    }
}

fn domain(device: &str) -> Rc<Domain> {
    Rc::new(Domain {
        kind: DomainKind::Package,
        device: device.into(),
        source: "fake".into(),
        quality: Quality::Measured,
        bounds: None,
        package: PackageId(0),
        idle_watts: None,
    })
}

#[expect(clippy::unnecessary_wraps, reason = "an entry of a script")]
fn books(rows: &[(u64, u64)]) -> Result<SchedSnapshot, SchedError> {
    let mut usage = Usage::new(1);
    for (cgroup, nanos) in rows {
        usage.push(WorkloadKey::cgroup(CgroupId(*cgroup)), &[CpuNanos(*nanos)]);
    }
    Ok(SchedSnapshot { usage, ..SchedSnapshot::default() })
}

#[expect(clippy::unnecessary_wraps, reason = "an entry of a script")]
fn good(total: u64) -> Result<meters::Reading, MeterError> {
    Ok(meters::Reading { total: Microjoules(total), gap: None })
}

fn bad(kind: ErrorKind) -> Result<meters::Reading, MeterError> {
    Err(MeterError { kind, message: "no answer".into() })
}

struct Bench {
    sampler: Sampler,
    now: Rc<Cell<u64>>,
    suspended: Rc<Cell<u64>>,
    busy_seen: Rc<RefCell<Vec<Vec<CpuNanos>>>>,
}

impl Bench {
    /// Two domains, `a` and `b`.
    fn new(snapshots: Vec<Result<SchedSnapshot, SchedError>>, script: Script) -> Self {
        let now = Rc::new(Cell::new(0));
        let suspended = Rc::new(Cell::new(0));
        let (clock, asleep) = (Rc::clone(&now), Rc::clone(&suspended));
        let busy_seen = Rc::new(RefCell::new(Vec::new()));
        let meter =
            FakeMeter { domains: vec![domain("a"), domain("b")], script, busy_seen: Rc::clone(&busy_seen) };
        let topology = Topology { package_of: vec![PackageId(0)], packages: 1, online: vec![1] };
        let sampler = Sampler::new(
            Box::new(move || {
                // Each look at the clock costs 2 ns.
                clock.set(clock.get() + 2);
                Reading {
                    monotonic_ns: clock.get() - 2,
                    suspended_ns: asleep.get(),
                    own_ns: clock.get() / 10,
                }
            }),
            Box::new(FakeBooks(snapshots.into())),
            Meters::new(vec![Box::new(meter)], vec![]),
            &topology,
        );
        Self { sampler, now, suspended, busy_seen }
    }

    fn at(&mut self, ns: u64) -> Option<Window> {
        self.now.set(ns);
        self.sampler.edge().unwrap()
    }
}

#[test]
fn a_window_is_the_difference_of_two_edges() {
    let mut bench = Bench::new(
        vec![books(&[(1, 5)]), books(&[(1, 9), (2, 3)])],
        [vec![good(100), good(0)], vec![good(160), good(7)]].into(),
    );
    assert!(bench.at(1_000).is_none());
    let window = bench.at(3_500).unwrap();
    assert_eq!((window.start_ns, window.duration), (1_000, Duration::from_nanos(2_500)));
    assert_eq!(window.edge_width, Duration::from_nanos(2));
    assert_eq!(window.usage.total(), CpuNanos(7));
    let energies: Vec<u64> = window.domains.iter().map(|domain| domain.metered.0).collect();
    assert_eq!(energies, [60, 7]);
    assert!(window.unread.is_empty());
    assert!(window.domains.iter().all(|domain| Rc::ptr_eq(&domain.usage, &window.usage)));
    assert_eq!(bench.sampler.faults(), Faults::default());
}

#[test]
fn what_cgroups_hold_is_of_both_edges_and_copied_only_where_somebody_looked() {
    let script = (0..4).map(|_| vec![good(0), good(0)]).collect();
    let mut bench = Bench::new((0..4).map(|_| books(&[])).collect(), script);
    let held = |cgroup: u64| {
        let mut claims = Claims::default();
        claims.add(CgroupId(cgroup), Claim { alive: 1, ..Claim::default() }, 9);
        Rc::new(claims)
    };
    let (first, second) = (held(1), held(2));
    let mut looks = [&first, &first, &second, &second].map(Rc::clone).into_iter();
    bench.sampler = bench.sampler.with_census(Some(Box::new(move |arrivals, is_removed| {
        assert_eq!(arrivals, ARRIVALS);
        assert!(is_removed(REMOVED) && !is_removed(CgroupId(1)));
        looks.next().unwrap()
    })));
    bench.at(0);
    assert!(Rc::ptr_eq(&bench.at(100).unwrap().claims, &first));
    let both: Vec<_> = bench.at(200).unwrap().claims.rows().map(|(cgroup, _)| cgroup.0).collect();
    assert_eq!(both, [1, 2]);
    assert!(Rc::ptr_eq(&bench.at(300).unwrap().claims, &second));
}

#[test]
fn a_failed_read_keeps_both_spans() {
    let mut bench = Bench::new(
        vec![books(&[]), books(&[(1, 5)]), books(&[(1, 5), (2, 20)]), books(&[(2, 50)]), books(&[(2, 50)])],
        [
            vec![good(0), good(0)],
            vec![good(10), bad(ErrorKind::Retry)],
            vec![good(20), bad(ErrorKind::Retry)],
            vec![good(30), good(99)],
            vec![good(40), good(100)],
        ]
        .into(),
    );
    bench.at(0);
    let window = bench.at(100).unwrap();
    assert_eq!((window.domains.len(), window.unread[0].1.as_str()), (1, "no answer"));
    bench.at(200);
    let window = bench.at(300).unwrap();
    let [a, b] = &window.domains[..] else { panic!("two domains") };
    assert_eq!(
        (a.metered, a.duration, a.usage.total()),
        (Microjoules(10), Duration::from_nanos(100), CpuNanos(30))
    );
    // The time of cgroup 1, which ended on the way, is in it.
    assert_eq!(
        (b.metered, b.duration, b.usage.total()),
        (Microjoules(99), Duration::from_nanos(300), CpuNanos(55))
    );
    let window = bench.at(400).unwrap();
    assert!(Rc::ptr_eq(&window.domains[1].usage, &window.usage));
    assert_eq!(window.domains[1].metered, Microjoules(1));
    assert_eq!(bench.sampler.faults().unread, 2);
    assert!(bench.sampler.pending.is_empty());
}

#[test]
fn domains_that_start_together_share_their_usage() {
    let failed = || vec![bad(ErrorKind::Retry), bad(ErrorKind::Retry)];
    let mut bench = Bench::new(
        vec![books(&[]), books(&[(1, 5)]), books(&[(1, 8)]), books(&[(1, 9)])],
        [vec![good(0), good(0)], failed(), failed(), vec![good(3), good(4)]].into(),
    );
    bench.at(0);
    bench.at(100);
    assert_eq!(bench.at(200).unwrap().unread.len(), 2);
    let window = bench.at(300).unwrap();
    assert!(Rc::ptr_eq(&window.domains[0].usage, &window.domains[1].usage));
    assert_eq!(window.domains[0].usage.total(), CpuNanos(9));
    assert_eq!(window.usage.total(), CpuNanos(1));
}

#[test]
fn a_domain_that_went_for_good_stays_away() {
    let mut bench = Bench::new(
        vec![books(&[]), books(&[(1, 5)]), books(&[(1, 8)]), books(&[(1, 9)])],
        [
            vec![good(0), bad(ErrorKind::Fatal)],
            vec![bad(ErrorKind::Retry), good(1)],
            vec![good(1_000), good(2)],
            vec![good(1_001)],
        ]
        .into(),
    );
    bench.at(0);
    let window = bench.at(100).unwrap();
    assert_eq!((window.domains.len(), window.unread.len()), (0, 2));
    for metered in [1_000, 1] {
        let window = bench.at(200).unwrap();
        assert_eq!((window.domains.len(), window.domains[0].metered), (1, Microjoules(metered)));
        assert_eq!((window.unread.len(), window.unread[0].1.as_str()), (1, "no answer"));
    }
    assert_eq!(bench.sampler.faults().unread, 5);
}

#[test]
fn a_sleep_of_the_machine_is_in_its_window_and_no_part_of_its_length() {
    let pair = || vec![good(0), good(0)];
    let mut bench = Bench::new(vec![books(&[]), books(&[]), books(&[])], [pair(), pair(), pair()].into());
    bench.at(0);
    bench.suspended.set(20);
    assert_eq!(bench.at(100).unwrap().suspended, Duration::ZERO, "the clocks are read one after the other");
    bench.suspended.set(5_000_000_020);
    let window = bench.at(200).unwrap();
    assert_eq!((window.duration, window.suspended), (Duration::from_nanos(100), Duration::from_secs(5)));
}

#[test]
fn how_long_a_package_was_awake_is_told_for_the_span_of_the_energy() {
    let awake = |ns: u64| Ok(SchedSnapshot { awake: vec![Duration::from_nanos(ns)], ..books(&[]).unwrap() });
    let mut bench = Bench::new(
        vec![awake(0), awake(25), awake(125), books(&[])],
        [
            vec![good(0), good(0)],
            vec![good(1), bad(ErrorKind::Retry)],
            vec![good(2), good(2)],
            vec![good(3), good(3)],
        ]
        .into(),
    );
    bench.at(0);
    let ratios =
        |window: Window| -> Vec<_> { window.domains.iter().map(|domain| domain.wake_ratio).collect() };
    assert_eq!(ratios(bench.at(100).unwrap()), [Some(0.25)]);
    // The second domain's span began at the first edge; a clock that ran ahead gives no more than all of it.
    assert_eq!(ratios(bench.at(200).unwrap()), [Some(1.0), Some(0.625)]);
    assert_eq!(ratios(bench.at(300).unwrap()), [None, None]);
}

#[test]
fn what_fell_is_counted_and_never_negative() {
    let mut bench = Bench::new(
        vec![books(&[(1, 10)]), books(&[(1, 4)]), books(&[(1, 12)])],
        [vec![good(100), good(0)], vec![good(40), good(0)], vec![good(45), good(0)]].into(),
    );
    bench.at(100);
    let window = bench.at(100).unwrap();
    assert_eq!((window.duration, window.usage.total()), (Duration::ZERO, CpuNanos::ZERO));
    assert_eq!((window.domains[0].metered, window.domains[0].gap), (Microjoules::ZERO, Some(Duration::ZERO)));
    assert_eq!(window.accounts.clamped, 1);
    let window = bench.at(50).unwrap();
    assert_eq!((window.duration, window.usage.total()), (Duration::ZERO, CpuNanos(2)));
    assert_eq!((window.domains[0].metered, window.domains[0].gap), (Microjoules(5), None));
    let faults = Faults { empty_windows: 2, fallen_usage: 1, fallen_meters: 1, unread: 0 };
    assert_eq!(bench.sampler.faults(), faults);
}

#[test]
fn busy_time_never_falls_when_a_cgroup_leaves_the_books() {
    let pair = || vec![good(0), good(0)];
    let mut bench = Bench::new(
        vec![books(&[(1, 100)]), books(&[(1, 160), (2, 5)]), books(&[(2, 6)])],
        [pair(), pair(), pair()].into(),
    );
    for edge in 0..3 {
        bench.at(edge * 100);
    }
    let seen: Vec<u64> = bench.busy_seen.borrow().iter().map(|busy| busy[0].0).collect();
    assert_eq!(seen, [0, 65, 66]);
}

#[test]
fn an_edge_without_scheduler_time_did_not_happen() {
    let failed = SchedError::Read { path: "x".into(), source: std::io::Error::other("gone") };
    let mut bench = Bench::new(
        vec![books(&[(1, 1)]), Err(failed), books(&[(1, 9)])],
        [vec![good(0), good(0)], vec![good(8), good(0)]].into(),
    );
    bench.at(0);
    bench.now.set(100);
    assert!(bench.sampler.edge().is_err());
    let window = bench.at(200).unwrap();
    assert_eq!((window.duration, window.usage.total()), (Duration::from_nanos(200), CpuNanos(8)));
    assert_eq!(window.domains[0].metered, Microjoules(8));
}

/// Two edges at the same instant, and one before the other: counted, and nothing is divided by.
#[test]
fn a_window_of_no_length_is_whole_and_counted() {
    let pair = |joules| vec![good(joules), good(0)];
    let snapshots = vec![books(&[(1, 5)]), books(&[(1, 8)]), books(&[(1, 8)]), books(&[(1, 20)])];
    let mut bench = Bench::new(snapshots, [pair(10), pair(14), pair(14), pair(20)].into());
    bench.at(500);
    let empty = bench.at(500).unwrap();
    assert_eq!((empty.duration, empty.usage.total()), (Duration::ZERO, CpuNanos(3)));
    assert_eq!(empty.domains[0].metered.0, 4, "what was metered between them stays in it");
    assert!(empty.domains.iter().all(|domain| domain.wake_ratio.is_none()));
    let back = bench.at(400).unwrap();
    assert_eq!((back.duration, back.usage.total()), (Duration::ZERO, CpuNanos(0)));
    assert_eq!(bench.sampler.faults().empty_windows, 2);
    let next = bench.at(1_400).unwrap();
    assert_eq!((next.duration, next.usage.total()), (Duration::from_micros(1), CpuNanos(12)));
}

/// An edge that comes late, by however much: the window is as long as it was, and holds all of it.
#[test]
fn a_late_edge_makes_a_longer_window() {
    let pair = |joules| vec![good(joules), good(0)];
    let snapshots = vec![books(&[]), books(&[(1, 1)]), books(&[(1, 901)]), books(&[(1, 902)])];
    let mut bench = Bench::new(snapshots, [pair(0), pair(1), pair(91), pair(92)].into());
    let windows: Vec<Window> = [0, 1_000, 901_000, 902_000].iter().filter_map(|ns| bench.at(*ns)).collect();
    let lengths: Vec<u128> = windows.iter().map(|window| window.duration.as_nanos()).collect();
    assert_eq!(lengths, [1_000, 900_000, 1_000]);
    let energies: Vec<u64> = windows.iter().map(|window| window.domains[0].metered.0).collect();
    assert_eq!(energies, [1, 90, 1]);
    assert_eq!(windows[1].usage.total(), CpuNanos(900));
}

/// A meter of one counter, as sources that read hardware have it.
#[derive(Debug)]
struct Counting {
    domains: Vec<Rc<Domain>>,
    counter: meters::counter::Counter,
    raws: VecDeque<u64>,
}

impl Meter for Counting {
    fn name(&self) -> &'static str {
        "counting"
    }
    fn domains(&self) -> &[Rc<Domain>] {
        &self.domains
    }
    fn read(&mut self, edge: &Edge<'_>) -> Vec<Result<meters::Reading, MeterError>> {
        let at = Moment { monotonic_ns: edge.monotonic_ns, suspended_ns: edge.suspended_ns };
        let raw_uj = self.raws.pop_front().unwrap();
        let taken = self.counter.take(raw_uj, false, at);
        vec![taken.map_err(|fault| MeterError { kind: ErrorKind::Retry, message: fault.to_string() })]
    }
}

/// Windows of half a second of a counter that shows `raws`, in each of which the machine was suspended for so many
/// seconds as `asleep` says: energy, length, and how long a part of it lacks energy.
fn counted(range_uj: u64, raws: &[u64], asleep: &[u64]) -> Vec<Option<(u64, Duration, Option<Duration>)>> {
    const HALF: u64 = 500_000_000;
    let counter = meters::counter::Counter::new(range_uj, crate::units::Watts(400.0));
    let meter = Counting { domains: vec![domain("a")], counter, raws: raws.iter().copied().collect() };
    let (now, suspended) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let (clock, sleep) = (Rc::clone(&now), Rc::clone(&suspended));
    let mut sampler = Sampler::new(
        Box::new(move || Reading { monotonic_ns: clock.get(), suspended_ns: sleep.get(), own_ns: 0 }),
        Box::new(FakeBooks(raws.iter().map(|_| books(&[])).collect())),
        Meters::new(vec![Box::new(meter)], vec![]),
        &Topology { package_of: vec![PackageId(0)], packages: 1, online: vec![1] },
    );
    let mut windows = Vec::new();
    for (edge, asleep_s) in (0..raws.len()).zip(std::iter::once(&0).chain(asleep)) {
        now.set(edge as u64 * HALF);
        suspended.set(suspended.get() + asleep_s * 1_000_000_000);
        windows.extend(sampler.edge().unwrap());
    }
    let of = |window: Window| {
        let domain = window.domains.first()?;
        Some((domain.metered.0, domain.duration, domain.gap))
    };
    windows.into_iter().map(of).collect()
}

/// One window at most is lost by whatever makes a counter begin anew, and it is told how long it was.
#[test]
fn what_makes_a_counter_begin_anew_loses_one_window() {
    let half = Duration::from_millis(500);
    let good = Some((20_000_000, half, None));
    let lost = Some((0, half, Some(half)));
    let base = 90_000_000_000;
    let up = |windows: u64| base + windows * 20_000_000;
    let awake = [0; 4];
    let range = 262_143_328_850;

    assert_eq!(counted(range, &[up(0), up(1), 7_000_000, 27_000_000], &awake), [good, lost, good], "a reset");
    // One that is seen at zero is known to be one with the next value: the window after it is whole.
    let twice = Some((20_000_000, 2 * half, Some(half)));
    assert_eq!(counted(range, &[up(0), up(1), 0, 20_000_000, 40_000_000], &awake), [good, None, twice, good]);
    let zeros = [up(0), up(1), 0, 0, 20_000_000];
    assert_eq!(counted(range, &zeros, &awake)[3], Some((20_000_000, 3 * half, Some(2 * half))));

    assert_eq!(counted(0, &[up(0), up(1), 5, 20_000_005], &awake), [good, lost, good], "a range of zero");
    assert_eq!(counted(0, &[up(0), up(1), 0, 20_000_000, 40_000_000], &awake), [good, None, twice, good]);

    // A night's sleep in the second window, over which the counter was reset, went on, or was lost sight of.
    for range in [0, range] {
        let slept = [0, 30_000, 0, 0];
        let part = |uj| Some((uj, half, Some(half)));
        assert_eq!(
            counted(range, &[up(0), up(1), 6_000_000, 26_000_000], &slept),
            [good, part(6_000_000), good]
        );
        assert_eq!(counted(range, &[up(0), up(1), up(2), up(3)], &slept), [good, part(20_000_000), good]);
        let far = up(2_000);
        assert_eq!(counted(range, &[up(0), up(1), far, far + 20_000_000], &slept), [good, lost, good]);
    }
}

/// Nothing is measured yet, so that it costs nothing to begin once more.
#[test]
fn a_first_edge_that_took_long_is_taken_again() {
    const MS: u64 = 1_000_000;
    // Two looks at each edge: the first took 90 ms, the second 2, and later ones may take as long as they like.
    let mut looks = [0, 90, 100, 102, 1_100, 1_190].into_iter();
    let script = [vec![good(1_000)], vec![good(5_000)], vec![good(5_700)]].into();
    let meter = FakeMeter { domains: vec![domain("a")], script, busy_seen: Rc::default() };
    let mut sampler = Sampler::new(
        Box::new(move || Reading { monotonic_ns: looks.next().unwrap() * MS, suspended_ns: 0, own_ns: 0 }),
        Box::new(FakeBooks([books(&[(1, 3)]), books(&[(1, 5)]), books(&[(1, 9)])].into())),
        Meters::new(vec![Box::new(meter)], vec![]),
        &Topology { package_of: vec![PackageId(0)], packages: 1, online: vec![1] },
    );
    assert!(sampler.edge().unwrap().is_none());
    let window = sampler.edge().unwrap().unwrap();
    assert_eq!((window.start_ns, window.duration), (100 * MS, Duration::from_secs(1)));
    assert_eq!((window.domains[0].metered, window.usage.total()), (Microjoules(700), CpuNanos(4)));
    assert_eq!(window.edge_width, Duration::from_millis(90));
}
