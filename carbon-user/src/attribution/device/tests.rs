use super::*;
use crate::attribution::static_policy::StaticPolicy;
use crate::attribution::totals::Totals;
use crate::attribution::{Attributed, State};
use crate::units::{CgroupId, PackageId};
use crate::window::{Accounts, DeviceInstance, Domain, DomainKind, Usage, Window};
use proptest::prelude::*;
use std::time::Duration;

fn domain() -> Rc<Domain> {
    Rc::new(Domain {
        kind: DomainKind::Gpu,
        device: "GPU-1".into(),
        source: "nvml test".into(),
        quality: Quality::Measured,
        bounds: None,
        package: PackageId(0),
        idle_watts: None,
    })
}

/// Of process in a cgroup (0: not known): per cent of the second that it was busy, and whether it held the device.
fn row(cgroup: u64, busy_percent: u64, held: bool) -> DeviceRow {
    DeviceRow {
        key: (cgroup > 0).then(|| WorkloadKey::cgroup(CgroupId(cgroup))),
        busy_ns: busy_percent * 10_000_000,
        held_ns: if held { 1_000_000_000 } else { 0 },
        instance: None,
        shared: false,
        modelled: false,
    }
}

fn used(rows: Vec<DeviceRow>) -> DeviceUsage {
    DeviceUsage { rows, span_ns: 1_000_000_000, ..DeviceUsage::default() }
}

fn second(state: &mut State, joules: u64, device: DeviceUsage) -> Attributed {
    let duration = Duration::from_secs(1);
    let window = Window {
        start_ns: 0,
        duration,
        edge_width: Duration::ZERO,
        suspended: Duration::ZERO,
        usage: Rc::new(Usage::new(1)),
        counts: Rc::default(),
        claims: Rc::default(),
        accounts: Accounts::default(),
        domains: vec![DomainWindow {
            domain: domain(),
            metered: Microjoules(joules * 1_000_000),
            duration,
            gap: None,
            usage: Rc::new(Usage::of_device(device)),
            wake_ratio: None,
        }],
        unread: Vec::new(),
    };
    crate::attribution::attribute(&window, state, StaticPolicy::Separate)
}

/// Dynamic and held joules of a cgroup.
fn of(attributed: &Attributed, cgroup: u64) -> (u64, u64) {
    let key = WorkloadKey::cgroup(CgroupId(cgroup));
    let row = attributed.workloads.iter().find(|row| row.key == key);
    row.map_or((0, 0), |row| (row.dynamic_energy.0 / 1_000_000, row.held_energy.0 / 1_000_000))
}

fn joules(attributed: &Attributed) -> [u64; 4] {
    let energy = &attributed.domains[0];
    [energy.metered, energy.dynamic_energy, energy.static_energy, energy.lost].map(|uj| uj.0 / 1_000_000)
}

#[test]
fn an_idle_device_is_static_and_a_held_one_its_holders() {
    let mut state = State::default();
    let alone = second(&mut state, 20, used(vec![]));
    assert_eq!(joules(&alone), [20, 0, 20, 0]);
    assert_eq!(alone.domains[0].device.as_ref().unwrap().held, Microjoules::ZERO);
    let held = second(&mut state, 60, used(vec![row(7, 0, true), row(8, 0, true)]));
    assert_eq!(joules(&held), [60, 0, 60, 0]);
    assert_eq!((of(&held, 7), of(&held, 8)), ((0, 30), (0, 30)));
    // Its clocks stay up while it is held: that is the idle power of a window in which it is used.
    let busy = second(&mut state, 300, used(vec![row(7, 60, true), row(8, 20, true)]));
    assert_eq!(joules(&busy), [300, 240, 60, 0]);
    assert_eq!((of(&busy, 7), of(&busy, 8)), ((180, 30), (60, 30)));
    assert!(busy.workloads.iter().all(|row| row.quality == Some(Quality::Sampled)));
    assert!(!busy.domains[0].device.as_ref().unwrap().idle_unknown);
}

#[test]
fn what_nobody_can_be_given_is_lost_and_not_the_others() {
    let mut state = State::default();
    second(&mut state, 20, used(vec![]));
    let some = second(&mut state, 120, used(vec![row(7, 50, true), row(0, 50, true)]));
    assert_eq!(joules(&some), [120, 50, 20, 50]);
    assert_eq!(of(&some, 7), (50, 10), "and of the idle power it has its half");
    let unseen = second(&mut state, 120, DeviceUsage { unknown_ns: 400_000_000, ..used(vec![]) });
    assert_eq!(joules(&unseen), [120, 0, 20, 100]);
}

#[test]
fn a_device_that_was_never_idle_has_no_static_part_and_that_is_said() {
    let mut state = State::default();
    let busy = second(&mut state, 300, used(vec![row(7, 100, true)]));
    assert_eq!(joules(&busy), [300, 300, 0, 0]);
    assert!(busy.domains[0].device.as_ref().unwrap().idle_unknown);
}

#[test]
fn parts_of_a_device_have_rows_of_their_own_by_model() {
    let mut state = State::default();
    second(&mut state, 50, used(vec![]));
    let part = |cgroup, id, busy| DeviceRow { instance: Some(id), modelled: true, ..row(cgroup, busy, true) };
    let instance = |id, slices| DeviceInstance { id, uuid: format!("MIG-{id}"), slices };
    let divided = DeviceUsage {
        instances: vec![instance(0, 3), instance(1, 4)],
        ..used(vec![part(7, 0, 30), part(8, 1, 40), DeviceRow { shared: true, ..row(9, 30, false) }])
    };
    let mut totals = Totals::default();
    for _ in 0..2 {
        let attributed = second(&mut state, 150, divided.clone());
        assert!(attributed.workloads.iter().all(|row| row.quality == Some(Quality::Modelled)));
        totals.add(&attributed);
    }
    let device = totals.domains()[0].device.as_ref().unwrap();
    let parts: Vec<_> = device
        .parts
        .iter()
        .map(|part| (part.kind, &*part.name, part.slices, part.energy.0 / 1_000_000))
        .collect();
    assert_eq!(parts, [("mig", "MIG-0", 3, 110), ("mig", "MIG-1", 4, 130), ("mps", "MPS clients", 0, 60)]);
    assert_eq!(device.held, Microjoules(100_000_000));
}

proptest! {
    #[test]
    fn joules_of_a_device_are_conserved(
        windows in prop::collection::vec(
            (any::<u32>(), prop::collection::vec((0u64..5, 0u64..101, any::<bool>()), 0..8), 0u64..1_000_000_000),
            1..30,
        ),
    ) {
        let mut state = State::default();
        for (joules, rows, unknown_ns) in windows {
            let rows = rows.into_iter().map(|(cgroup, busy, held)| row(cgroup, busy, held)).collect();
            let attributed = second(&mut state, u64::from(joules), DeviceUsage { unknown_ns, ..used(rows) });
            let energy = &attributed.domains[0];
            prop_assert_eq!(energy.metered, energy.dynamic_energy + energy.static_energy + energy.lost);
            let dynamic: Microjoules = attributed.workloads.iter().map(|row| row.dynamic_energy).sum();
            let held: Microjoules = attributed.workloads.iter().map(|row| row.held_energy).sum();
            prop_assert_eq!(dynamic, energy.dynamic_energy);
            prop_assert_eq!(held, energy.device.as_ref().unwrap().held);
            prop_assert!(held <= energy.static_energy);
        }
    }
}
