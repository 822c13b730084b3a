//! Reports of a machine with an accelerator that is divided.

use super::tests::{LONG, RUN, context, domain, errors, json, key, path_of, run_of, window};
use super::top::Top;
use super::{csv, table};
use crate::attribution::static_policy::StaticPolicy;
use crate::attribution::totals::Totals;
use crate::attribution::{State, attribute};
use crate::units::{Microjoules, PackageId, Quality};
use crate::window::{
    Class, DeviceInstance, DeviceRow, DeviceUsage, Domain, DomainKind, DomainWindow, Usage, WorkloadKey,
};
use std::rc::Rc;
use std::time::Duration;

fn row(key: Option<WorkloadKey>, busy_ms: u64, instance: Option<u32>) -> DeviceRow {
    DeviceRow {
        key,
        busy_ns: busy_ms * 1_000_000,
        held_ns: 5_000_000_000,
        instance,
        shared: false,
        modelled: instance.is_some(),
    }
}

/// Idle for a window, then used by a run, by another workload, and by a process that nobody knows.
fn totals(state: &mut State) -> Totals {
    let gpu = Rc::new(Domain {
        kind: DomainKind::Gpu,
        device: "GPU-1".into(),
        source: "nvml NVIDIA A100".into(),
        quality: Quality::Measured,
        bounds: None,
        package: PackageId(0),
        idle_watts: None,
    });
    let idle = DeviceUsage { span_ns: 5_000_000_000, ..DeviceUsage::default() };
    let used = DeviceUsage {
        rows: vec![
            row(Some(key(22, Class::Tasks, Some(RUN))), 3_000, Some(0)),
            row(Some(key(21, Class::Tasks, None)), 1_000, None),
            row(None, 1_000, None),
        ],
        instances: vec![DeviceInstance { id: 0, uuid: "MIG-7".into(), slices: 3 }],
        ..idle.clone()
    };
    let mut totals = Totals::default();
    for (joules, gap, used) in [(250, false, idle), (1_250, true, used)] {
        let mut window = window(&domain(false));
        window.domains.push(DomainWindow {
            domain: Rc::clone(&gpu),
            metered: Microjoules(joules * 1_000_000),
            duration: Duration::from_secs(5),
            gap: gap.then_some(Duration::from_secs(5)),
            usage: Rc::new(Usage::of_device(used)),
            wake_ratio: None,
        });
        totals.add(&attribute(&window, state, StaticPolicy::Separate));
    }
    totals
}

/// Of a run that used a device, and held it while that was idle.
pub(crate) fn a_run() -> super::run::Run {
    let mut state = State::default();
    let totals = totals(&mut state);
    run_of(&state, &totals, StaticPolicy::Separate)
}

#[test]
fn an_accelerator_is_in_every_report() {
    let mut state = State::default();
    let totals = totals(&mut state);
    let top = Top::new(&context(&state, StaticPolicy::Separate), &totals, path_of);
    let run = run_of(&state, &totals, StaticPolicy::Separate);
    insta::assert_snapshot!("gpu_top", table::top(&top, LONG));
    insta::assert_snapshot!("gpu_run", table::run(&run, LONG));
    insta::assert_json_snapshot!("gpu_domain", top.domains[1]);
    let text = csv::top(&top).unwrap();
    assert!(text.lines().next().unwrap().contains(",gpu_uj,held_uj,"));
    assert_eq!(errors("top-1.schema.json", &json(&top)), [""; 0]);
    assert_eq!(errors("run-1.schema.json", &json(&run)), [""; 0]);
    // 1250 J less the 250 J of idle power, a fifth of it nobody's; the idle power of three holders.
    assert_eq!((run.gpu_uj, run.held_uj), (Some(600_000_000), Some(83_333_333)));
    assert_eq!(top.domains[1].lost_uj, 200_000_000);
}
