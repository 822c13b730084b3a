use super::text::{Format, render};
use super::{Listen, Names, NamesByIdentity, Series, Sums, Token, View, table};
use crate::agent::{DomainSums, DomainTotals, OwnCost, Published, Who, WorkloadTotals};
use crate::carbon::Intensity;
use crate::carbon::kind::{Kind, Span};
use crate::ledger::Factor;
use crate::metadata::{Counts, Job};
use crate::meters::PowerLimit;
use crate::units::{CpuNanos, GramsPerKwh, Microjoules, Pue, Quality, Watts};
use crate::workload::identify;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(super) fn domain(name: &'static str, metered: u64) -> DomainTotals {
    DomainTotals {
        domain: name,
        device: format!("{name}-0"),
        source: "powercap".to_owned(),
        quality: Quality::Measured,
        metered: Microjoules(metered),
        attributed: Microjoules(metered / 2),
        static_energy: Microjoules(metered - metered / 2 - metered / 100),
        static_shared: Microjoules(0),
        lost: Microjoules(metered / 100),
        gaps: 0,
        unread: 0,
        faults: 1,
        watts: Some(Watts(42.0)),
        limits: None,
    }
}

fn workload(path: &str, energies: &[(u64, u64)], cpu: u64) -> WorkloadTotals {
    let of = |(dynamic, fixed): &(u64, u64)| DomainSums {
        dynamic_energy: Microjoules(*dynamic),
        static_energy: Microjoules(*fixed),
        quality: Some(Quality::Measured),
    };
    let path_says = identify(path);
    WorkloadTotals {
        who: Arc::new(Who {
            identity: path.to_owned(),
            kind: "cgroup",
            name: path.to_owned(),
            path: path_says,
            cgroup: None,
        }),
        domains: energies.iter().map(of).collect(),
        cpu: CpuNanos(cpu),
        watts: Watts(1.0),
    }
}

pub(super) fn published(windows: u64, workloads: Vec<WorkloadTotals>) -> Published {
    Published {
        node: "node-1".to_owned(),
        accounting: "books",
        static_policy: "proportional",
        attribution: "bank",
        domains: vec![domain("package", 10_000_000), domain("dram", 1_000_000)],
        workloads,
        own: OwnCost {
            cpu: CpuNanos(20_000_000),
            started_us: 1_767_225_600_500_000,
            resident_bytes: Some(20_000_000),
            energy: Some(Microjoules(1500)),
            ..OwnCost::default()
        },
        windows,
        window_ns: 1_000_000_000,
        ..Published::default()
    }
}

fn factor(year: u16, span: Span) -> Factor {
    let known = Intensity::of("FR").unwrap();
    let kind = Kind { span, ..known.kind };
    let (zone, source) = ("FR".to_owned(), "a table".to_owned());
    let intensity = Intensity { g_per_kwh: GramsPerKwh(40.0), year, kind, zone, source, ..known };
    Factor::new(intensity, Pue(1.5))
}

pub(super) const POD: &str = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod12345678_1234_1234_1234_123456789abc.slice/cri-containerd-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope";

pub(super) fn made_up() -> (Published, NamesByIdentity) {
    let workloads = vec![
        workload(POD, &[(3_000_001, 1_000_000), (250_000, 0)], 1_500_000_000),
        workload("/system.slice/nginx.service", &[(1_250_000, 0)], 500_000_000),
        workload("/odd \"quoted\"\\name\nline", &[(10, 0)], 1_000),
    ];
    let mut published = published(7, workloads);
    published.other = workload("other", &[(700_000, 5)], 9);
    published.ended = workload("ended", &[(90_000, 0)], 8);
    published.factor = Some(factor(2024, Span::Year));
    // A day into 2026.
    published.window_end_us = 1_767_312_000_000_000;
    let limit = |constraint: &str, watts| PowerLimit { constraint: constraint.to_owned(), watts };
    let limits = [limit("long_term", Watts(72.0)), limit("short_term", Watts(90.0))];
    published.domains[0].limits = Some(limits.into());
    let names = Names {
        namespace: "shop".to_owned(),
        pod: "cart-0".to_owned(),
        container: "cart".to_owned(),
        image: "registry.example/cart:1".to_owned(),
        job: Job::default(),
        labels: vec![("label_team", "checkout".to_owned())],
    };
    (published, NamesByIdentity::from([(POD.to_owned(), names)]))
}

#[test]
fn the_text_is_that_of_the_snapshot() {
    let (published, names) = made_up();
    let view = Arc::new(View { cpus: 4, ..Series::new(10).observe(Arc::new(published), &names) });
    insta::with_settings!({filters => vec![(r#"version="[0-9.]+""#, r#"version="[version]""#)]}, {
        insta::assert_snapshot!("prometheus", render(Arc::clone(&view), Format::Prometheus).unwrap());
        insta::assert_snapshot!("open_metrics", render(view, Format::OpenMetrics).unwrap());
    });
}

#[test]
fn a_name_does_nothing_to_a_terminal_and_two_stay_two() {
    let names = ["/a\u{1b}[31m", "/a\u{7}[31m", "/a\u{202e}[31m", "/\u{e9}"];
    let workloads = names.map(|name| workload(name, &[(10, 0), (0, 0)], 1_000)).to_vec();
    let view = Series::new(10).observe(Arc::new(published(7, workloads)), &NamesByIdentity::new());
    let text = render(Arc::new(view), Format::Prometheus).unwrap();
    assert!(!text.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{text}");
    let series = text.lines().filter(|line| line.starts_with("carbon_workload_cpu_seconds_total{"));
    let series: BTreeSet<&str> = series.map(|line| line.rsplit_once(' ').unwrap().0).collect();
    assert_eq!(series.len(), 4, "{series:?}");
    assert!(text.contains("workload=\"/\u{e9}\"") && text.contains("workload=\"/a\u{fffd}[31m~"), "{text}");
}

#[test]
fn open_metrics_is_given_to_who_asks_for_it() {
    let asked = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
    for (header, format) in [
        (asked, Format::OpenMetrics),
        ("", Format::Prometheus),
        ("*/*", Format::Prometheus),
        ("text/plain;version=0.0.4", Format::Prometheus),
        ("application/openmetrics-text;q=0, text/plain", Format::Prometheus),
        ("application/openmetrics-text; Q = 0.00", Format::Prometheus),
        // As Prometheus writes it where scrape_protocols names the text first; then without weights; then with one that is none.
        (
            "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1",
            Format::Prometheus,
        ),
        ("text/plain, application/openmetrics-text", Format::OpenMetrics),
        ("Application/OpenMetrics-Text;version=1.0.0;q=0.5;q=2, */*", Format::OpenMetrics),
    ] {
        assert_eq!(Format::accepted(header), format, "{header}");
    }
}

#[test]
fn every_series_has_only_labels_of_the_table() {
    let (published, names) = made_up();
    let view = Series::new(2).observe(Arc::new(published), &names);
    let all = super::samples::all(&view);
    let listed: Vec<String> = table::ALL.iter().map(table::Family::name).collect();
    assert_eq!(all.iter().map(|(family, _)| family.name()).collect::<Vec<_>>(), listed);
    for (family, samples) in all {
        assert!(family.help.ends_with('.') && !family.help.contains(['\n', '\\']), "{}", family.name());
        let mut seen = std::collections::HashSet::new();
        for sample in samples {
            for (label, _) in &sample.labels {
                let own = family.stem == table::WORKLOAD_INFO.stem && label.starts_with("label_");
                assert!(own || family.labels.contains(label), "{}: {label}", family.name());
            }
            assert!(seen.insert(format!("{:?}", sample.labels)), "{}: {:?}", family.name(), sample.labels);
        }
    }
}

/// What a family shows, by what `key` makes of the labels.
fn sums_of(
    view: &View,
    family: table::Family,
    key: impl Fn(&[(&'static str, String)]) -> String,
) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    let all = super::samples::all(view);
    for (_, samples) in all.iter().filter(|(of, _)| of.name() == family.name()) {
        for sample in samples {
            *sums.entry(key(&sample.labels)).or_default() += sample.value;
        }
    }
    sums
}

/// Dynamic, static and lost of each domain are what its meter showed, and what is lost has a reason.
#[test]
fn what_meters_showed_and_what_is_lost_is_what_the_node_has() {
    let mut published = published(1, Vec::new());
    published.domains.extend([domain("gpu", 7_000_000), domain("package", 3_000_000)]);
    published.domains[3].device = "package-1".to_owned();
    published.domains.push(DomainTotals { device: "gpu-1".to_owned(), watts: None, ..domain("gpu", 0) });
    let view = Series::new(2).observe(Arc::new(published), &NamesByIdentity::new());
    let of = |labels: &[(&'static str, String)], names: &[&str]| -> String {
        labels
            .iter()
            .filter(|(name, _)| names.contains(name))
            .flat_map(|(_, text)| [text.as_str(), " "])
            .collect()
    };
    let place = |labels: &[(&'static str, String)]| of(labels, &["domain", "device"]);
    let (node, meters) =
        (sums_of(&view, table::NODE_ENERGY, place), sums_of(&view, table::METER_ENERGY, place));
    assert_eq!(node.keys().collect::<Vec<_>>(), meters.keys().collect::<Vec<_>>());
    assert_eq!(meters.len(), 4, "one that was never read has none: {meters:?}");
    for (place, energy) in &meters {
        assert!((energy - node[place]).abs() < 5e-7, "{place}: {energy} is not {}", node[place]);
    }
    let lost = sums_of(&view, table::ENERGY_LOST, |labels| of(labels, &["reason"]));
    let kinds = sums_of(&view, table::NODE_ENERGY, |labels| of(labels, &["domain", "kind"]));
    let near = |reason: &str, domains: &[&str]| {
        let sum: f64 = domains.iter().map(|domain| kinds[&format!("{domain} lost ")]).sum();
        assert!(sum > 0.0 && (lost[reason] - sum).abs() < 5e-7, "{reason}: {lost:?}, {kinds:?}");
    };
    near("nothing_ran ", &["package", "dram"]);
    near("no_process ", &["gpu"]);
    assert_eq!(lost.len(), 2);
}

#[test]
fn an_intensity_is_as_old_as_the_end_of_its_year() {
    let age = |factor, window_end_us| {
        let published = Published { factor, window_end_us, ..published(1, Vec::new()) };
        let view = Series::new(2).observe(Arc::new(published), &NamesByIdentity::new());
        sums_of(&view, table::INTENSITY_AGE, |_| String::new()).into_values().next()
    };
    // 2026-01-02T00:00:00Z
    let now_us = 1_767_312_000_000_000;
    assert_eq!(age(Some(factor(2025, Span::Year)), now_us), Some(86_400.0));
    assert_eq!(age(Some(factor(2024, Span::Year)), now_us), Some(366.0 * 86_400.0));
    assert_eq!(age(Some(factor(2026, Span::Year)), now_us), None, "its year is not over");
    assert_eq!(age(Some(factor(2024, Span::Hour)), now_us), None, "of which hour is not known");
    assert_eq!(age(None, now_us), None);
    assert_eq!(age(Some(factor(2024, Span::Year)), -1), None, "a clock that was never set");
    assert_eq!(age(Some(factor(u16::MAX, Span::Year)), now_us), None);
}

/// `cargo xtask docs` sets the variable; without it the page must be the one of the table.
#[test]
fn the_page_is_made_from_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
    let page = table::markdown();
    if std::env::var_os("CARBON_WRITE_DOCS").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let there = std::fs::read_to_string(path).unwrap_or_default();
    assert!(there == page, "docs/metrics.md is not that of the table: run cargo xtask docs");
}

#[test]
fn a_token_is_right_only_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "0123456789abcdef\n").unwrap();
    let token = Token::read(&path).unwrap();
    assert_eq!(format!("{token:?}"), "Token(..)");
    assert!(token.is_shown(Some(b"Bearer 0123456789abcdef")));
    assert!(token.is_shown(Some(b"bearer 0123456789abcdef")));
    for wrong in
        ["", "Bearer ", "Bearer 0123456789abcde", "Bearer 0123456789abcdef0", "Basic 0123456789abcdef"]
    {
        assert!(!token.is_shown(Some(wrong.as_bytes())), "{wrong}");
    }
    assert!(!token.is_shown(None));
    std::fs::write(&path, "fedcba9876543210\n").unwrap();
    let listen = |token| Listen::new(Listen::DEFAULT, Some(token)).unwrap();
    let (old, copy) = (listen(token.clone()), token.clone());
    let new = listen(Token::read(&path).unwrap());
    assert!(old != new && old.renew(&new) && !old.renew(&new), "another one, once");
    assert!(copy.is_shown(Some(b"Bearer fedcba9876543210")), "whoever asks for it asks for the new one");
    assert!(!copy.is_shown(Some(b"Bearer 0123456789abcdef")) && old == new);
    assert!(!old.renew(&Listen::new(Listen::DEFAULT, None).unwrap()) && old.token().is_some());
    for unfit in ["", "short", "0123456789abcdef 0123", "0123456789abcdef\n\nmore"] {
        std::fs::write(&path, unfit).unwrap();
        let error = Token::read(&path).unwrap_err().to_string();
        assert!(error.contains("openssl rand"), "{error}");
    }
}

/// What happens to a made-up machine in a window: who uses how much, and who ends.
#[derive(Clone, Debug)]
struct Step {
    used: Vec<(usize, u64, u64)>,
    other: u64,
    ends: Vec<usize>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let used = prop::collection::vec((0_usize..12, 0_u64..5_000_000, 0_u64..1000), 0..8);
    let step = (used, 0_u64..1000, prop::collection::vec(0_usize..12, 0..3));
    prop::collection::vec(step.prop_map(|(used, other, ends)| Step { used, other, ends }), 1..25)
}

fn shown(view: &View) -> BTreeMap<String, Sums> {
    let rows = view.rows.iter().map(|row| (row.who.identity.clone(), row.sums.clone()));
    rows.chain([("other".to_owned(), view.other.clone()), ("ended".to_owned(), view.ended.clone())]).collect()
}

fn same(one: &Sums, other: &Sums) -> bool {
    one.less(other).energy() == Microjoules::ZERO
        && other.less(one).energy() == Microjoules::ZERO
        && one.cpu == other.cpu
}

proptest! {
    /// For any number of workloads, any N and any churn, and whenever names come: all series sum to what was published, namespaces
    /// and what waits for a name to what was added since the start, and no series falls while it lives.
    #[test]
    fn series_sum_to_the_totals_and_never_fall(steps in steps(), max in 0_usize..8, resumed: bool) {
        let mut alive: BTreeMap<usize, WorkloadTotals> = BTreeMap::new();
        let mut state = published(0, Vec::new());
        let mut series = Series::new(max);
        state.naming = Some(Counts::default());
        let path = |index: usize| format!("/docker/{index:064x}");
        let named = |i: usize| (path(i), Names { namespace: ["", "a", "b"][i % 3].to_owned(), ..Names::default() });
        let mut before: BTreeMap<String, Sums> = BTreeMap::new();
        let mut spaces: BTreeMap<String, Sums> = BTreeMap::new();
        let mut begin = Sums::default();
        for (number, step) in steps.into_iter().enumerate() {
            let names: NamesByIdentity = (0..12).filter(|i| number > i % 5).map(named).collect();
            for &end in &step.ends {
                if let Some(gone) = alive.remove(&end) {
                    let mut sums = Sums::from(&state.ended);
                    sums.add(&Sums::from(&gone));
                    let of = |it: &super::sums::Energy| (it.dynamic_energy.0, it.static_energy.0);
                    let energies: Vec<_> = sums.domains.iter().map(of).collect();
                    state.ended = workload("ended", &energies, sums.cpu.0);
                }
            }
            for (index, dynamic, fixed) in step.used {
                let one = alive.entry(index).or_insert_with(|| workload(&path(index), &[], 0));
                let mut sums = Sums::from(&*one);
                sums.add(&Sums::from(&workload("", &[(dynamic, fixed), (fixed, 0)], dynamic)));
                let of = |it: &super::sums::Energy| (it.dynamic_energy.0, it.static_energy.0);
                let energies: Vec<_> = sums.domains.iter().map(of).collect();
                *one = workload(&path(index), &energies, sums.cpu.0);
            }
            let other = state.other.cpu.0 + step.other;
            state.other = workload("other", &[(other, 0)], other);
            state.windows += 1;
            state.workloads = alive.values().cloned().collect();
            if resumed && number == 0 {
                // All of this was of an agent before.
                begin = super::series::total(&state);
                state.begun = state.workloads.iter().chain([&state.other, &state.ended]).cloned().collect();
                continue;
            }
            let view = series.observe(Arc::new(state.clone()), &names);

            prop_assert!(view.rows.len() <= max);
            let now = shown(&view);
            let mut sum = Sums::default();
            for sums in now.values() {
                sum.add(sums);
            }
            let total = super::series::total(&state);
            prop_assert!(same(&sum, &total), "{sum:?} is not {total:?}");
            let falls = |old: &Sums, new: &Sums| {
                let fell = old.less(new);
                fell.energy() > Microjoules::ZERO || fell.cpu > CpuNanos::ZERO
            };
            for (identity, old) in &before {
                // One that ended and came back under its name in the same window is another workload.
                if let Some(new) = now.get(identity) && !step.ends.iter().any(|end| *identity == path(*end)) {
                    prop_assert!(!falls(old, new), "{identity} fell: {old:?} {new:?}");
                }
            }
            let mut sum = view.held.clone();
            for (name, sums) in &view.namespaces {
                sum.add(sums);
                if let Some(old) = spaces.insert(name.clone(), sums.clone()) {
                    prop_assert!(!falls(&old, sums), "{name:?} fell");
                }
            }
            prop_assert!(same(&sum, &total.less(&begin)));
            before = now;
        }
    }
}

#[test]
fn what_a_container_used_before_its_name_came_is_its_namespaces() {
    let (_, names) = made_up();
    let unknown = "/docker/5c50e6c9d2559565af8e20ae74feafc393734067b8bc9d6e5d28b07a92e32a41";
    let at = |windows, asked: bool, energies: &[(&str, u64)]| {
        let workloads = energies.iter().map(|(path, energy)| workload(path, &[(*energy, 0)], 0)).collect();
        let naming = asked.then(Counts::default);
        Arc::new(Published { naming, ..published(windows, workloads) })
    };
    let space = |view: &View, name: &str| {
        let sums = view.namespaces.iter().find(|(of, _)| of == name);
        sums.map_or(0, |(_, sums)| sums.energy().0)
    };
    let mut series = Series::new(9);
    series.observe(at(1, true, &[]), &NamesByIdentity::new());
    // A pod of one window, a container that nobody will name, and one whose path is all that there is.
    let used = [(POD, 300), (unknown, 40), ("/lxc.payload.db", 7)];
    let view = series.observe(at(2, true, &used), &NamesByIdentity::new());
    assert_eq!((space(&view, "shop"), space(&view, ""), view.held.energy().0), (0, 7, 340));
    let view = series.observe(at(3, true, &used), &names);
    assert_eq!((space(&view, "shop"), space(&view, ""), view.held.energy().0), (300, 7, 40));
    let view = series.observe(at(31, true, &used), &names);
    assert_eq!(view.held.energy().0, 40);
    let view = series.observe(at(32, true, &used), &names);
    assert_eq!((space(&view, "shop"), space(&view, ""), view.held.energy().0), (300, 47, 0));
    assert_eq!(view.unresolved, 1, "the one that an engine should know");
    // Where nobody is asked, nothing waits.
    let mut series = Series::new(9);
    series.observe(at(1, false, &[]), &NamesByIdentity::new());
    let view = series.observe(at(2, false, &used), &NamesByIdentity::new());
    assert_eq!((space(&view, ""), view.held), (347, Sums::default()));
}

#[test]
fn a_small_workload_makes_room_for_a_larger_one_and_leaves_what_it_showed() {
    let mut series = Series::new(1);
    let names = NamesByIdentity::new();
    let at = |windows, small, large| {
        let workloads = vec![workload("small", &[(small, 0)], 0), workload("large", &[(large, 0)], 0)];
        Arc::new(published(windows, workloads))
    };
    let view = series.observe(at(1, 1_000_000, 10), &names);
    assert_eq!(view.rows[0].who.identity, "small");
    let view = series.observe(at(2, 1_100_000, 2_000_000), &names);
    assert_eq!(view.rows[0].who.identity, "small", "less than twice as much");
    let view = series.observe(at(3, 1_200_000, 9_000_000), &names);
    assert_eq!(view.rows[0].who.identity, "large");
    assert_eq!(view.rows[0].sums.energy(), Microjoules::ZERO, "begins at zero");
    assert_eq!(view.ended.energy(), Microjoules(1_100_000), "what the series of the small one showed last");
    assert_eq!(view.other.energy(), Microjoules(9_100_000));
}
