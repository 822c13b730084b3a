use super::*;
use crate::attribution::uncertainty::Uncertainty;
use crate::attribution::{Share, WorkloadEnergy};
use crate::carbon::Intensity;
use crate::units::{CgroupId, CpuNanos, Microjoules, PackageId, Pue, Quality};
use crate::window::counts::ByKind;
use crate::window::{Class, Domain, DomainKind, WorkloadKey};
use proptest::prelude::*;
use std::rc::Rc;

fn begin(number: u128, uid: u32) -> Begin {
    let id = Uuid::from_u128(number);
    Begin {
        start: RunStart {
            id: id.to_string(),
            node: "n".into(),
            organisation: None,
            project: None,
            experiment: None,
            name: None,
            series: None,
            tags: Vec::new(),
            command: Vec::new(),
            start_us: 0,
        },
        id,
        uid,
        factor: Factor::new(Intensity::of_unknown_place(), Pue(1.0)),
        recorded: true,
        bound: Bound::Tree,
        empty: false,
        at: Moment::default(),
        notes: Vec::new(),
    }
}

/// A window in which groups (0 for none) had so many microjoules.
fn window(energies: &[(u64, u64)]) -> Attributed {
    let domain = Rc::new(Domain {
        kind: DomainKind::Package,
        device: "package-0".into(),
        source: "a test".into(),
        quality: Quality::Measured,
        bounds: None,
        package: PackageId(0),
        idle_watts: None,
    });
    let mut window = Attributed::default();
    for (group, uj) in energies {
        let run = (*group > 0).then_some(RunId(*group));
        let key = WorkloadKey { cgroup: CgroupId(7), class: Class::Tasks, run };
        let energy = Microjoules(*uj);
        window.workloads.push(WorkloadEnergy {
            key,
            cpu: CpuNanos(*uj),
            dynamic_energy: energy,
            static_energy: Microjoules::ZERO,
            device_energy: Microjoules::ZERO,
            device_split_uj: 0.0,
            held_energy: Microjoules::ZERO,
            uncertainty: Uncertainty::default(),
            memory_energy: None,
            counts: ByKind::default(),
            quality: Some(Quality::Measured),
        });
        window.shares.push(Share {
            domain: Rc::clone(&domain),
            key,
            dynamic_energy: energy,
            static_energy: Microjoules::ZERO,
            uncertainty: Uncertainty::default(),
            quality: Quality::Measured,
        });
    }
    window
}

fn uj(run: &OpenRun) -> (u64, u64) {
    (run.state.energy.total.dynamic_energy.0, run.state.own.dynamic_energy.0)
}

#[test]
fn the_innermost_has_the_energy_and_those_around_hold_it() {
    let mut books = RunBooks::default();
    let id = Uuid::from_u128;
    books.add_group(RunId(1), Some(100), None);
    books.begin(begin(1, 5), RunId(1));
    books.add(&window(&[(0, 7), (1, 10)]));
    // A second run of the same process, and one of a child of it.
    books.begin(begin(2, 5), RunId(1));
    books.add_group(RunId(2), Some(101), Some(RunId(1)));
    books.begin(begin(3, 5), RunId(2));
    books.add(&window(&[(0, 7), (1, 100), (2, 1_000)]));
    let of = |books: &RunBooks, number| uj(books.get(id(number)).unwrap());
    assert_eq!((of(&books, 1), of(&books, 2), of(&books, 3)), ((1_110, 10), (1_100, 100), (1_000, 1_000)));
    assert!(books.get(id(1)).unwrap().whole_group && !books.get(id(2)).unwrap().whole_group);
    assert_eq!(books.groups_of(books.get(id(1)).unwrap()), [RunId(1), RunId(2)]);
    // What the child does after its run has ended is its parent's.
    assert_eq!(uj(&books.end(id(3), Moment::default()).unwrap()), (1_000, 1_000));
    assert!(books.retire().is_empty(), "a run is around it");
    books.add(&window(&[(2, 5)]));
    assert_eq!((of(&books, 1), of(&books, 2)), ((1_115, 10), (1_105, 105)));
    books.end(id(2), Moment::default()).unwrap();
    books.end(id(1), Moment::default()).unwrap();
    assert_eq!(books.retire(), [RunId(1), RunId(2)]);
    assert_eq!((books.count(None), books.retire().len()), (0, 0));
}

#[test]
fn a_run_that_begins_later_can_be_around_one_that_is_there() {
    let mut books = RunBooks::default();
    books.add_group(RunId(1), Some(101), None);
    books.begin(begin(1, 5), RunId(1));
    books.add_group(RunId(2), Some(100), None);
    books.enclose(RunId(2), &BTreeSet::from([RunId(1)]));
    books.begin(begin(2, 5), RunId(2));
    // Nobody is put into what is inside it.
    books.enclose(RunId(1), &BTreeSet::from([RunId(2)]));
    books.add(&window(&[(1, 10), (2, 100)]));
    assert_eq!(uj(books.get(Uuid::from_u128(2)).unwrap()), (110, 100));
    assert_eq!(uj(books.get(Uuid::from_u128(1)).unwrap()), (10, 10));
}

#[test]
fn segments_hold_all_energy_once_and_are_bounded() {
    let mut books = RunBooks::default();
    let id = Uuid::from_u128(1);
    books.add_group(RunId(1), Some(100), None);
    books.begin(begin(1, 5), RunId(1));
    let at = |at_ns| Moment { wall_us: 0, at_ns };
    for number in 0..SEGMENTS_MAX as u64 + 5 {
        books.add(&window(&[(1, number)]));
        assert_eq!(books.count_up(id, "tokens", 2), Some(2 * (number + 1)));
        let ended = books.mark(id, Some(format!("step {number}")), at(number)).unwrap();
        assert_eq!(ended.energy.total.dynamic_energy.0, number);
        assert_eq!((ended.counts["tokens"], ended.end.at_ns), (2, number));
    }
    for unit in 1..UNITS_MAX {
        assert_eq!(books.count_up(id, &unit.to_string(), 1), Some(1));
    }
    assert_eq!(
        (books.count_up(id, "one more", 1), books.count_up(id, "tokens", u64::MAX)),
        (None, Some(u64::MAX))
    );
    books.add(&window(&[(1, 9)]));
    let run = books.end(id, at(5_000)).unwrap().state;
    assert_eq!((run.segments.len(), run.segments_more), (SEGMENTS_MAX, 6));
    assert_eq!(run.segment.energy.total.dynamic_energy.0, 9);
    let [part] = &run.energy.domains[..] else { panic!("{:?}", run.energy.domains) };
    assert_eq!(part.dynamic_energy, run.energy.total.dynamic_energy);
}

proptest! {
    /// However groups are nested and runs begin and end, own energies are what the groups of open runs had, once.
    #[test]
    fn own_energies_of_runs_are_each_joule_once(
        steps in prop::collection::vec((0_u8..4, 0_u64..6, 0_u64..6, 1_u64..1_000), 1..80)
    ) {
        let mut books = RunBooks::default();
        let (mut begun, mut all, mut own, mut group_max) = (0, 0, 0, 0);
        for (what, one, other, uj) in steps {
            match what {
                0 => {
                    group_max += 1;
                    books.add_group(RunId(group_max), None, (one > 0).then_some(RunId(one)));
                    books.enclose(RunId(group_max), &BTreeSet::from([RunId(other)]));
                    begun += 1;
                    books.begin(begin(begun, 1), RunId(group_max));
                }
                1 if books.groups.lines().contains_key(&RunId(one)) => {
                    begun += 1;
                    books.begin(begin(begun, 1), RunId(one));
                }
                2 => {
                    if let Some(run) = books.end(Uuid::from_u128(one.into()), Moment::default()) {
                        own += run.state.own.dynamic_energy.0;
                        prop_assert!(run.state.own.dynamic_energy <= run.state.energy.total.dynamic_energy);
                    }
                    books.retire();
                }
                _ => {
                    let lines = books.groups.lines();
                    let with_run = |group| lines.get(&RunId(group)).is_some_and(|runs| !runs.is_empty());
                    all += if with_run(one) { uj } else { 0 };
                    books.add(&window(&[(one, uj), (0, 5)]));
                }
            }
        }
        own += books.all().map(|run| run.state.own.dynamic_energy.0).sum::<u64>();
        prop_assert_eq!(own, all);
    }
}
