use super::run::{Execution, Run};
use super::table::{self, Style};
use super::top::{Told, Top};
use super::*;
use crate::attribution::bank::Calibration;
use crate::attribution::totals::Totals;
use crate::attribution::{Method, PackagePrior, State, attribute};
use crate::sched::{ProcessTime, Processes};
use crate::units::{CgroupId, CpuNanos, GramsPerKwh, PackageId, RunId, Watts};
use crate::window::{Bounds, Class, Domain, DomainKind, DomainWindow, Usage, Window, WorkloadKey};
use serde_json::Value;
use std::path::Path;
use std::rc::Rc;

pub(super) const RUN: RunId = RunId(7);
pub(super) const LONG: Style = Style { width: None, color: false, rows_max: None };

pub(super) fn domain(modelled: bool) -> Rc<Domain> {
    Rc::new(Domain {
        kind: DomainKind::Package,
        device: "package-0".into(),
        source: if modelled { "model: AMD Zen 3 (EPYC 3rd Gen)" } else { "powercap intel-rapl:0" }.into(),
        quality: if modelled { Quality::Modelled } else { Quality::Measured },
        bounds: modelled.then_some(Bounds { low_ratio: 1.0 / 1.7, high_ratio: 1.7 }),
        package: PackageId(0),
        idle_watts: Some(Watts(4.0)),
    })
}

pub(super) fn path_of(cgroup: CgroupId) -> Option<&'static str> {
    match cgroup.0 {
        1 => Some("/"),
        20 => Some("/system.slice/ssh.service"),
        21 => Some("/user.slice/build"),
        22 => Some("/user.slice/batch/build"),
        23 => Some("/user.slice/\u{1b}[31mred"),
        _ => None,
    }
}

pub(super) fn key(cgroup: u64, class: Class, run: Option<RunId>) -> WorkloadKey {
    WorkloadKey { cgroup: CgroupId(cgroup), class, run }
}

/// Five seconds in which everything that a report can name has run.
pub(super) fn window(domain: &Rc<Domain>) -> Window {
    let mut usage = Usage::new(1);
    for (key, ms) in [
        (key(20, Class::Tasks, None), 12),
        (key(21, Class::Tasks, None), 1_250),
        (key(22, Class::Tasks, None), 300),
        (key(23, Class::Tasks, None), 7),
        (key(22, Class::Tasks, Some(RUN)), 4_000),
        (key(1, Class::Tasks, None), 33),
        (key(1, Class::KernelThreads, None), 41),
        (key(99, Class::Tasks, None), 2),
        (WorkloadKey::OVERFLOW, 5),
    ] {
        usage.push(key, &[CpuNanos(ms * 1_000_000)]);
    }
    let (usage, duration) = (Rc::new(usage), Duration::from_secs(5));
    Window {
        start_ns: 1,
        duration,
        edge_width: Duration::from_micros(410),
        suspended: Duration::ZERO,
        usage: Rc::clone(&usage),
        counts: Rc::default(),
        claims: Rc::default(),
        accounts: Accounts { idle_ns: 4_310_000_000, irq_steal_ns: 40_000_000, ..Accounts::default() },
        domains: vec![DomainWindow {
            domain: Rc::clone(domain),
            metered: Microjoules(61_234_567),
            duration,
            gap: None,
            usage,
            wake_ratio: None,
        }],
        unread: Vec::new(),
    }
}

fn totals(modelled: bool, policy: StaticPolicy, state: &mut State) -> Totals {
    let mut totals = Totals::default();
    totals.add(&attribute(&window(&domain(modelled)), state, policy));
    totals
}

pub(super) fn context(state: &State, policy: StaticPolicy) -> Context<'_> {
    Context {
        node: "lab-1".into(),
        start: "2025-03-01T10:00:00.25Z".parse().unwrap(),
        end: "2025-03-01T10:00:05.25Z".parse().unwrap(),
        rung: Rung::Books,
        policy,
        state,
        intensity: carbon::Intensity {
            g_per_kwh: GramsPerKwh(56.04),
            zone: "FR".into(),
            name: "France".into(),
            year: 2024,
            kind: carbon::Kind { flow: carbon::kind::Flow::Unstated, ..carbon::Kind::YEARLY },
            spread: carbon::Spread::COUNTRY,
            source: "a table of the test".into(),
            assumed: false,
        },
        pue: Pue(1.2),
        notes: vec!["a note of the caller".into()],
    }
}

fn top(modelled: bool) -> Top {
    let mut state = State::default();
    let totals = totals(modelled, StaticPolicy::Separate, &mut state);
    Top::new(&context(&state, StaticPolicy::Separate), &totals, path_of)
}

fn run(modelled: bool, policy: StaticPolicy) -> Run {
    let mut state = State::default();
    let totals = totals(modelled, policy, &mut state);
    run_of(&state, &totals, policy)
}

pub(super) fn run_of(state: &State, totals: &Totals, policy: StaticPolicy) -> Run {
    let listed = (1..=13)
        .map(|pid| ProcessTime { pid, comm: format!("cc{pid}"), cpu: CpuNanos(u64::from(pid) * 30_000_000) })
        .collect();
    let processes = Processes { listed, other_count: 2, other_cpu: CpuNanos(1_270_000_000) };
    let execution = Execution {
        project: Some("thesis".into()),
        command: vec!["make".into(), "-j4".into()],
        exit_status: 0,
        duration: Duration::from_millis(4_812),
    };
    let total = totals.sum_of(|key| key.run == Some(RUN));
    Run::new(&context(state, policy), execution, totals, &total, &processes)
}

pub(super) fn json(report: &impl Serialize) -> Value {
    serde_json::to_value(report).unwrap()
}

#[test]
fn top_is_printed() {
    insta::assert_snapshot!("top_measured", table::top(&top(false), LONG));
    insta::assert_snapshot!("top_modelled", table::top(&top(true), Style { rows_max: Some(3), ..LONG }));
    insta::assert_snapshot!("top_narrow", table::top(&top(false), Style { width: Some(72), ..LONG }));
    insta::assert_snapshot!("top_csv", csv::top(&top(false)).unwrap());
    insta::assert_json_snapshot!("top_json", top(true));
}

#[test]
fn run_is_printed() {
    insta::assert_snapshot!("run_measured", table::run(&run(false, StaticPolicy::Proportional), LONG));
    insta::assert_snapshot!("run_modelled", table::run(&run(true, StaticPolicy::Separate), LONG));
    insta::assert_json_snapshot!("run_json", run(false, StaticPolicy::Proportional));
}

/// The interval of grams is of energy and intensity together; where nothing is known of the intensity, that is said.
#[test]
fn intervals_of_grams_are_of_energy_and_intensity() {
    let mut state = State::default();
    let totals = totals(false, StaticPolicy::Separate, &mut state);
    let total = totals.sum_of(|key| key.run == Some(RUN));
    let of = |spread| {
        let mut context = context(&state, StaticPolicy::Separate);
        context.intensity.spread = spread;
        let execution = Execution {
            project: None,
            command: Vec::new(),
            exit_status: 0,
            duration: Duration::from_secs(1),
        };
        let run = Run::new(&context, execution, &totals, &total, &Processes::default());
        (run.grams_high.unwrap() / run.grams, run.grams / run.grams_low.unwrap(), run.notes)
    };
    let (wide, down, notes) = of(carbon::Spread::COUNTRY);
    assert!(wide > 1.7 && wide < 1.8 && (wide - down).abs() < 1e-9, "{wide}: little is added by the energy");
    assert!(notes.iter().all(|note| !note.contains("of the energy alone")), "{notes:?}");
    let (narrow, _, notes) = of(carbon::Spread::NONE);
    assert!(narrow > 1.0 && narrow < 1.2, "{narrow}");
    assert!(notes.iter().any(|note| note.contains("of the energy alone")), "{notes:?}");
}

#[test]
fn only_colour_brings_escapes() {
    assert!(!table::top(&top(false), LONG).contains('\u{1b}'));
    assert!(table::top(&top(false), Style { color: true, ..LONG }).contains('\u{1b}'));
}

#[test]
fn workloads_and_domains_reconcile() {
    let top = top(true);
    let given: u64 = top.workloads.iter().map(|row| row.dynamic_uj).sum();
    assert_eq!(given, top.domains[0].dynamic_uj);
    assert_eq!(given + top.domains[0].static_uj + top.domains[0].lost_uj, top.domains[0].metered_uj);
    // 3.6e12 uJ are a kilowatt-hour.
    let grams: f64 = top.workloads.iter().map(|row| row.grams).sum();
    assert!((grams - 41.234_567 / 3.6e6 * 1.2 * 56.04).abs() < 1e-9);
    let run = run(true, StaticPolicy::Proportional);
    let processes: u64 = run.processes.iter().map(|row| row.dynamic_uj).sum();
    assert_eq!(processes + run.processes_other.dynamic_uj, run.dynamic_uj);
}

#[test]
fn the_lower_quality_is_told() {
    let mut state = State::default();
    let totals = totals(false, StaticPolicy::Separate, &mut state);
    let context = Context { rung: Rung::CpuStat, ..context(&state, StaticPolicy::Separate) };
    let top = Top::new(&context, &totals, path_of);
    assert!(top.workloads.iter().all(|row| row.quality == "sampled"));
    assert_eq!(top.domains[0].quality, "measured");
}

#[test]
fn what_is_missing_is_told() {
    let mut state = State::default();
    let mut totals = Totals::new(3);
    let mut blind = window(&domain(false));
    blind.domains.clear();
    blind.unread.push((domain(false), "permission denied".into()));
    blind.accounts.lost_events = 4;
    totals.add(&attribute(&blind, &mut state, StaticPolicy::Separate));
    let top = Top::new(&context(&state, StaticPolicy::Separate), &totals, path_of);
    insta::assert_snapshot!("notes", top.notes.join("\n"));
    assert!(top.workloads.iter().all(|row| row.quality == "modelled" && row.dynamic_uj == 0));
    for _ in 0..3 {
        let mut starved = window(&domain(false));
        starved.domains[0].metered = Microjoules(1_000_000);
        starved.domains[0].gap = None;
        totals.add(&attribute(&starved, &mut state, StaticPolicy::Separate));
    }
    let notes = Top::new(&context(&state, StaticPolicy::Separate), &totals, path_of).notes;
    assert!(
        notes.iter().any(|note| note.starts_with("idle power not identified: package-0 showed 53 J")),
        "{notes:?}"
    );
}

/// After the bank has learned: two replicas on one clock, and one on its own.
fn learned_state() -> (State, Totals) {
    let mut state = State::new(Method::Bank, vec![PackagePrior { cpus: 8, per_cpu: Some(Watts(6.0)) }]);
    let (domain, mut totals) = (domain(false), Totals::default());
    for second in 0..200_u64 {
        let on = |period: u64| if (second / period).is_multiple_of(2) { 1_000_000_000 } else { 50_000_000 };
        let used = [(20, on(13)), (21, on(13) / 2), (23, on(17))];
        let mut usage = Usage::new(1);
        for (cgroup, nanos) in used {
            usage.push(WorkloadKey::cgroup(CgroupId(cgroup)), &[CpuNanos(nanos)]);
        }
        let mut window = window(&domain);
        window.domains[0].usage = Rc::new(usage);
        window.domains[0].gap = None;
        window.domains[0].duration = Duration::from_secs(1);
        let noise_uj = (second * 7_919) % 101 * 2_000;
        let dynamic_uj: u64 = used.iter().map(|(cgroup, nanos)| (cgroup - 15) * nanos / 1_000).sum();
        window.domains[0].metered = Microjoules(4_000_000 + dynamic_uj + noise_uj);
        totals.add(&attribute(&window, &mut state, StaticPolicy::Separate));
    }
    (state, totals)
}

fn learned() -> Top {
    let (state, totals) = learned_state();
    Top::new(&context(&state, StaticPolicy::Separate), &totals, path_of)
}

fn model() -> model::Model {
    let (mut state, _) = learned_state();
    state.calibrate(&domain(false), FOUND);
    let kept = state.kept();
    let keys = kept.iter().flat_map(|kept| &kept.learned.workloads);
    let paths = keys.filter_map(|key| Some((key.cgroup, path_of(key.cgroup)?.to_owned()))).collect();
    model::Model::new("/var/lib/carbon/state.json".into(), "2026-11-24T06:00:00Z".into(), &kept, &paths)
}

const FOUND: Calibration = Calibration {
    p0_w: 4.0,
    p0_stddev_w: 0.02,
    wake_w: 0.5,
    wake_stddev_w: 0.3,
    per_cpu_w: 6.0,
    per_cpu_stddev_w: 0.1,
    bend_ratio: 0.25,
    bend_stddev_ratio: 0.03,
    windows: 34,
};

fn calibrated() -> calibration::CalibrationReport {
    let state = State::default();
    let context = context(&state, StaticPolicy::Separate);
    calibration::CalibrationReport {
        schema: calibration::SCHEMA,
        node: context.node,
        window_start: context.start,
        window_end: context.end,
        accounting: context.rung.as_str(),
        domains: [Some(FOUND), None]
            .map(|found| calibration::DomainCalibration::new(&domain(false), found))
            .into(),
        others_ratio: 0.012,
        own_cpu_ns: 12_345_678_901,
        own_dynamic_uj: 81_234_567,
        state: Some("/var/lib/carbon/state.json".into()),
        notes: context.notes,
    }
}

#[test]
fn model_and_calibration_are_printed_and_keep_their_schemas() {
    let model = model();
    let table = model::table(&model, LONG);
    for words in [
        "evidence: no window was idle; calibrated: 4.000 W, waking 0.50 W",
        "cannot be told apart, only their sum is known: ssh.service, user.slice/build",
        "MEMBER ",
        "W/CPU",
    ] {
        assert!(table.contains(words), "{words} in {table}");
    }
    assert!(!table.contains("not identified") && model::csv(&model).unwrap().lines().count() == 4, "{table}");
    insta::assert_snapshot!("calibration", calibrated().text(LONG));
    // On a busy machine next to nothing is found, and no curve of watts that may be nothing.
    let unsure =
        Calibration { p0_stddev_w: 3.0, per_cpu_w: 0.02, per_cpu_stddev_w: 3.0, bend_ratio: -9.5, ..FOUND };
    let unsure = calibration::DomainCalibration::new(&domain(false), Some(unsure));
    let unsure = calibration::CalibrationReport { domains: vec![unsure], ..calibrated() }.text(LONG);
    assert!(unsure.contains("not identified: ") && unsure.contains("curve          not known: "), "{unsure}");
    let rising = Calibration { bend_ratio: -0.16, ..FOUND };
    let rising = calibration::DomainCalibration::new(&domain(false), Some(rising));
    let rising = calibration::CalibrationReport { domains: vec![rising], ..calibrated() }.text(LONG);
    assert!(rising.contains("average is 16 % (90 %: \u{b1}4.9 %) above the first's"), "{rising}");
    assert!(!calibrated().text(LONG).contains("not identified"));
    for (file, report) in
        [("model-1.schema.json", json(&model)), ("calibration-1.schema.json", json(&calibrated()))]
    {
        assert_eq!(errors(file, &report), [""; 0]);
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        for key in keys(&report) {
            let mut broken = report.clone();
            broken.as_object_mut().unwrap().remove(&key);
            assert!(!errors(file, &broken).is_empty(), "{file} without {key}");
        }
        for key in keys(&report["domains"][0]) {
            let mut broken = report.clone();
            broken["domains"][0].as_object_mut().unwrap().remove(&key);
            assert!(!errors(file, &broken).is_empty(), "{file} without domains {key}");
        }
    }
}

#[test]
fn experiments_are_told() {
    assert_eq!(experiments::ExperimentRow::words(None), "none yet: no workload has started or stopped alone");
    let state = learned_state().0;
    let row = learned().domains[0].experiments.unwrap();
    assert!(row.count > 5 && row.recent == row.count, "{row:?}");
    let said = experiments::ExperimentRow::words(Some(&row));
    assert!(said.contains("starts and stops") && said.contains("% inside the 90 % interval"), "{said}");
    let kept = state.kept();
    let model = model::Model::new(String::new(), String::new(), &kept, &std::collections::BTreeMap::new());
    let test = model::self_test(&model, LONG);
    assert_eq!(test.lines().count() as u64, row.recent + 2, "{test}");
}

#[test]
fn what_was_learned_is_told() {
    let top = learned();
    assert_eq!((top.attribution, top.domains[0].bank_windows), ("bank", 190));
    assert_eq!(top.domains[0].p0_identified, Some(true));
    assert!((top.domains[0].p0_w.unwrap() - 4.1).abs() < 0.3, "{:?}", top.domains[0]);
    assert_eq!(top.sets.len(), 1);
    assert_eq!(top.sets[0].names, ["ssh.service", "user.slice/build"]);
    assert_eq!(errors("top-1.schema.json", &json(&top)), [""; 0]);
    let text = table::top(&top, LONG);
    assert!(
        text.contains("rise and fall together on package-0: ssh.service, user.slice/build; together "),
        "{text}"
    );
}

/// Errors of `instance` against the schema in `docs/schema/`.
pub(super) fn errors(file: &str, instance: &Value) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema").join(file);
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    validator.iter_errors(instance).map(|error| error.to_string()).collect()
}

#[test]
fn json_keeps_its_schema() {
    for modelled in [false, true] {
        assert_eq!(errors("top-1.schema.json", &json(&top(modelled))), [""; 0]);
        for policy in [StaticPolicy::Separate, StaticPolicy::Proportional] {
            assert_eq!(errors("run-1.schema.json", &json(&run(modelled, policy))), [""; 0]);
        }
    }
}

/// The schema would see a key that is missing, renamed or of another type.
#[test]
fn the_schema_sees_every_missing_key() {
    for (file, report) in [
        ("top-1.schema.json", json(&top(true))),
        ("run-1.schema.json", json(&run(true, StaticPolicy::Separate))),
    ] {
        for key in report.as_object().unwrap().keys() {
            let mut broken = report.clone();
            broken.as_object_mut().unwrap().remove(key);
            assert!(!errors(file, &broken).is_empty(), "{file} without {key}");
            broken[key] = json(&true);
            assert!(!errors(file, &broken).is_empty(), "{file} with a wrong {key}");
        }
    }
    for list in ["workloads", "domains"] {
        let report = json(&top(false));
        for key in report[list][0].as_object().unwrap().keys() {
            let mut broken = report.clone();
            broken[list][0].as_object_mut().unwrap().remove(key);
            assert!(!errors("top-1.schema.json", &broken).is_empty(), "{list} without {key}");
        }
    }
}

/// Workloads by name, and what has the same name told apart by the part of the path below it.
#[test]
fn workloads_have_names_of_their_own() {
    const CONTAINER: &str = "5c50e6c9d2559565af8e20ae74feafc393734067b8bc9d6e5d28b07a92e32a41";
    let pod = "/kubepods/burstable/pod98210229-528f-4c9a-805d-48a1af2194bf";
    let paths = [
        format!("{pod}/{CONTAINER}"),
        "/system.slice/web.service".to_owned(),
        "/system.slice/web.service/worker".to_owned(),
        "/system.slice/slurmstepd.scope/job_4/step_0/user/task_0".to_owned(),
        "/machine/qemu-1-a.libvirt-qemu/vcpu0".to_owned(),
        "/machine/qemu-1-a.libvirt-qemu/vcpu1".to_owned(),
        "/bench".to_owned(),
        "/other/bench".to_owned(),
    ];
    let mut usage = Usage::new(1);
    for cgroup in 0..paths.len() as u64 {
        usage.push(WorkloadKey::cgroup(CgroupId(100 + cgroup)), &[CpuNanos(1_000_000 * (100 - cgroup))]);
    }
    let mut window = window(&domain(false));
    window.domains[0].usage = Rc::new(usage);
    window.usage = Rc::clone(&window.domains[0].usage);
    let (mut state, mut totals) = (State::default(), Totals::default());
    totals.add(&attribute(&window, &mut state, StaticPolicy::Separate));
    let path_of = |cgroup: CgroupId| {
        usize::try_from(cgroup.0).ok()?.checked_sub(100).and_then(|row| paths.get(row)).map(String::as_str)
    };
    let top = Top::new(&context(&state, StaticPolicy::Separate), &totals, path_of);
    assert_eq!(errors("top-1.schema.json", &json(&top)), [""; 0]);
    let rows: Vec<_> = top.workloads.iter().map(|row| (row.kind, row.name.as_str())).collect();
    assert_eq!(
        rows,
        [
            ("container", "pod 98210229 / 5c50e6c9d255"),
            ("unit", "web.service"),
            ("unit", "web.service/worker"),
            ("job", "job 4 step 0"),
            ("vm", "vm a/vcpu0"),
            ("vm", "vm a/vcpu1"),
            ("cgroup", "/bench"),
            ("cgroup", "/other/bench"),
        ]
    );
    let pod = top.workloads[0].workload.as_ref().unwrap();
    assert_eq!(
        (pod.runtime, pod.qos, pod.container_id.as_deref()),
        (Some("kubernetes"), Some("burstable"), Some(CONTAINER))
    );
    let job = top.workloads[3].workload.as_ref().unwrap();
    assert_eq!((job.kind, job.job_id.as_deref(), job.job_step.as_deref()), ("job", Some("4"), Some("0")));
}

/// What an engine says is the name, in every form; a helper is told apart from what it serves.
#[test]
fn what_an_engine_says_is_the_name() {
    let mut state = State::default();
    let totals = totals(false, StaticPolicy::Separate, &mut state);
    let known = crate::metadata::Known {
        source: "kubelet",
        container: Some("nginx".into()),
        image: Some("nginx:1.27".into()),
        namespace: Some("shop".into()),
        pod: Some("web-0".into()),
        ..crate::metadata::Known::default()
    };
    let known = std::sync::Arc::new(known);
    let told = |cgroup: CgroupId, _: &str| Told {
        known: (cgroup.0 == 20).then(|| std::sync::Arc::clone(&known)),
        ..Told::default()
    };
    let top = Top::with_names(&context(&state, StaticPolicy::Separate), &totals, path_of, told);
    assert_eq!(errors("top-1.schema.json", &json(&top)), [""; 0]);
    assert!(table::top(&top, LONG).contains("shop/web-0/nginx "));
    let csv = csv::top(&top).unwrap();
    let line = csv.lines().find(|line| line.starts_with("shop/web-0/nginx,unit,")).unwrap();
    assert!(line.ends_with(",systemd,,,ssh.service,,,,,nginx,nginx:1.27,shop,web-0,false"), "{line}");
    assert_eq!(top.workloads.iter().filter(|row| row.known.is_some()).count(), 1);
}

/// A job is found by its number, and read by its name.
#[test]
fn a_job_has_its_name_beside_its_number() {
    let mut state = State::default();
    let totals = totals(false, StaticPolicy::Separate, &mut state);
    let job = crate::metadata::Job { name: Some("relax".into()), ..crate::metadata::Job::default() };
    let known =
        crate::metadata::Known { source: "slurm", job: Some(job), ..crate::metadata::Known::default() };
    let known = std::sync::Arc::new(known);
    let path = |cgroup: CgroupId| match cgroup.0 {
        20 => Some("/system.slice/slurmstepd.scope/job_4/step_0"),
        _ => path_of(cgroup),
    };
    let told = |cgroup: CgroupId, _: &str| Told {
        known: (cgroup.0 == 20).then(|| std::sync::Arc::clone(&known)),
        ..Told::default()
    };
    let top = Top::with_names(&context(&state, StaticPolicy::Separate), &totals, path, told);
    assert_eq!(errors("top-1.schema.json", &json(&top)), [""; 0]);
    assert!(top.workloads.iter().any(|row| row.name == "job 4 step 0 (relax)"), "{:?}", top.workloads);
}

/// Grams leave with a word on their place, whatever the form.
#[test]
fn a_place_that_nobody_gave_is_in_every_form() {
    let mut state = State::default();
    let totals = totals(false, StaticPolicy::Separate, &mut state);
    let policy = StaticPolicy::Separate;
    for (intensity, expected) in
        [(carbon::Intensity::of_unknown_place(), true), (carbon::Intensity::of("FR").unwrap(), false)]
    {
        let context = Context { intensity, ..context(&state, policy) };
        let top = Top::new(&context, &totals, path_of);
        let csv = csv::top(&top).unwrap();
        assert!(csv.lines().next().unwrap().ends_with(",assumed"), "{csv}");
        assert!(csv.lines().skip(1).all(|line| line.ends_with(&format!(",{expected}"))), "{csv}");
        assert_eq!(json(&top)["intensity"]["assumed"], expected);
    }
}
