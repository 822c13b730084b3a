use super::*;
use crate::claims::{Claim, Claims, RequestSource};
use crate::units::{CpuNanos, Microjoules, PackageId, Quality, RunId, Watts};
use crate::window::counts::{CounterKind, Counts};
use crate::window::{
    Accounts, Bounds, Class, DeviceInstance, DeviceRow, DeviceUsage, Domain, DomainKind, DomainWindow, Usage,
    Window, WorkloadKey,
};
use proptest::prelude::*;
use std::rc::Rc;
use std::time::Duration;

fn head() -> Head {
    Head {
        node: "n".into(),
        start: "2026-01-01T00:00:00Z".into(),
        accounting: "books".into(),
        attribution: "bank".into(),
        static_policy: "separate".into(),
        zone: "FR".into(),
        zone_assumed: true,
        pue: 1.1,
        packages: vec![PackagePrior { cpus: 2, per_cpu: Some(Watts(0.1 + 0.2)) }],
        kept: Vec::new(),
    }
}

fn domain(device: &str) -> Rc<Domain> {
    Rc::new(Domain {
        kind: match device {
            "gpu" | "idle gpu" => DomainKind::Gpu,
            "board" => DomainKind::Platform,
            "package" => DomainKind::Package,
            _ => DomainKind::Dram,
        },
        device: device.into(),
        source: "s".into(),
        quality: Quality::Measured,
        bounds: Some(Bounds { low_ratio: 0.7, high_ratio: 1.0 / 0.7 }),
        package: PackageId(1),
        idle_watts: Some(Watts(1.0 / 3.0)),
    })
}

fn usage(rows: &[(u64, bool, Option<u64>, [u64; 2])]) -> Rc<Usage> {
    let mut usage = Usage::new(2);
    for (cgroup, kernel, run, nanos) in rows {
        let class = if *kernel { Class::KernelThreads } else { Class::Tasks };
        let key = WorkloadKey { cgroup: CgroupId(*cgroup), class, run: run.map(RunId) };
        usage.push(key, &nanos.map(CpuNanos));
    }
    Rc::new(usage)
}

/// Processes of a known workload, of one that had no CPU time, of a run, and one that nobody knows.
fn device_usage() -> DeviceUsage {
    let row = |key: Option<(u64, Option<u64>)>, instance, shared, modelled| DeviceRow {
        key: key.map(|(cgroup, run)| WorkloadKey {
            run: run.map(RunId),
            ..WorkloadKey::cgroup(CgroupId(cgroup))
        }),
        busy_ns: u64::MAX,
        held_ns: 3,
        instance,
        shared,
        modelled,
    };
    DeviceUsage {
        rows: vec![
            row(Some((7, None)), Some(0), false, true),
            row(Some((11, Some(9))), None, true, false),
            row(None, None, false, false),
        ],
        unknown_ns: 5,
        span_ns: 1_000_000_007,
        instances: vec![DeviceInstance { id: 0, uuid: "MIG-7".into(), slices: 3 }],
        blind: Some("not \"allowed\"".into()),
    }
}

fn claims() -> Claims {
    let mut claims = Claims::default();
    claims.add(CgroupId(7), Claim { alive: 1, requested: Some(100), resident_bytes: None }, 9);
    claims.add(CgroupId(8), Claim { alive: 0, requested: None, resident_bytes: Some(u64::MAX) }, 9);
    claims.requests = Some(RequestSource::CpuWeight);
    claims
}

fn counts() -> Counts {
    let mut counts = Counts::new(&[CounterKind::LlcMisses, CounterKind::PageFaults]);
    counts.add(WorkloadKey::cgroup(CgroupId(7)), PackageId(1), [u64::MAX, 1, 0]);
    // One that had no CPU time.
    counts.add(WorkloadKey::cgroup(CgroupId(9)), PackageId(0), [0, 2, 0]);
    counts
}

fn window(usage: &Rc<Usage>, older: &Rc<Usage>, wake_ratio: f64) -> Window {
    let of = |device, usage: &Rc<Usage>, wake_ratio| DomainWindow {
        domain: domain(device),
        metered: Microjoules(u64::MAX - 1),
        duration: Duration::from_nanos(1_000_000_007),
        gap: (device == "b").then_some(Duration::from_nanos(7)),
        usage: Rc::clone(usage),
        wake_ratio,
    };
    Window {
        start_ns: 5,
        duration: Duration::from_nanos(999_999_999),
        edge_width: Duration::from_nanos(3),
        suspended: Duration::from_nanos(4),
        usage: Rc::clone(usage),
        counts: Rc::new(counts()),
        claims: Rc::new(claims()),
        accounts: Accounts { idle_ns: 1, own_ns: 8, clamped: 7, ..Accounts::default() },
        domains: vec![
            of("a", usage, Some(wake_ratio)),
            of("b", older, None),
            of("gpu", &Rc::new(Usage::of_device(device_usage())), None),
            of("idle gpu", &Rc::new(Usage::of_device(DeviceUsage::default())), None),
            of("board", usage, None),
            of("package", usage, None),
        ],
        unread: vec![(domain("c"), "it is \"gone\"\n".into())],
    }
}

fn record(windows: &[Window]) -> Vec<u8> {
    let (mut writer, mut file) = Writer::begin(&head(), u64::MAX).unwrap();
    for window in windows {
        file.extend(writer.window(window, |cgroup| (cgroup.0 == 7).then_some("/seven")).unwrap());
    }
    let end = End { end: "e".into(), accounting: "hook".into(), notes: vec!["n".into()], paths: vec![] };
    file.extend(writer.end(&end, |cgroup| Some(if cgroup.0 == 7 { "/seven" } else { "/late" })).unwrap());
    file
}

/// Windows up to the first error or the end, as text: it has every field.
fn read(file: &[u8]) -> (Vec<String>, Result<End, RecordingError>) {
    let (mut reader, _) = Reader::begin(file).unwrap();
    let mut windows = Vec::new();
    loop {
        match reader.next_entry() {
            Ok(Entry::Window(window)) => windows.push(format!("{window:?}")),
            Ok(Entry::End(end)) => return (windows, Ok(end)),
            Err(error) => return (windows, Err(error)),
        }
    }
}

fn two() -> Vec<Window> {
    let first = usage(&[(7, false, None, [10, 20]), (1, true, None, [0, 1])]);
    let second =
        usage(&[(1, true, None, [3, 1]), (7, false, Some(9), [5, 5]), (u64::MAX, false, None, [2, 2])]);
    vec![window(&first, &first, 1.0 / 3.0), window(&second, &first, 0.1 + 0.2)]
}

#[test]
fn what_is_read_is_what_was_written() {
    let windows = two();
    let file = record(&windows);
    let (read, end) = read(&file);
    assert_eq!(read, windows.iter().map(|window| format!("{window:?}")).collect::<Vec<_>>());
    let end = end.unwrap();
    assert_eq!((end.accounting.as_str(), &end.notes[..]), ("hook", &["n".to_owned()][..]));
    assert_eq!(end.paths.len(), 4, "the path that was known before is not written again: {:?}", end.paths);
    let (mut reader, read) = Reader::begin(&file[..]).unwrap();
    assert_eq!(read, head());
    let Entry::Window(window) = reader.next_entry().unwrap() else { panic!("no window") };
    assert!(Rc::ptr_eq(&window.usage, &window.domains[1].usage), "one table for both");
    assert_eq!((reader.cgroup_path(CgroupId(7)), reader.cgroup_path(CgroupId(1))), (Some("/seven"), None));
}

/// Cut anywhere, or with any byte changed: either all is read, or the error says where, and what was before is good.
#[test]
fn a_damaged_file_is_good_up_to_the_damage() {
    let windows = two();
    let file = record(&windows);
    let lines: Vec<usize> =
        file.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(place, _)| place + 1).collect();
    let texts: Vec<String> = windows.iter().map(|window| format!("{window:?}")).collect();
    for length in lines[0]..file.len() {
        let whole = lines.iter().filter(|end| **end <= length).count() - 1;
        let (read, end) = read(&file[..length]);
        assert_eq!(read, texts[..whole.min(2)], "{length}");
        assert!(
            end.unwrap_err().to_string().contains(&format!("cut short after window {whole}")),
            "{length}"
        );
    }
    for place in lines[0]..file.len() {
        let mut damaged = file.clone();
        damaged[place] ^= 1;
        let line = lines.iter().filter(|end| **end <= place).count() - 1;
        let (read, end) = read(&damaged);
        assert_eq!(read, texts[..line.min(2)], "{place}");
        let said = end.unwrap_err().to_string();
        let cut = place + 1 == file.len();
        assert!(cut || said.contains(&format!("window {} is garbled", line + 1)), "{place}: {said}");
    }
    for (other, reason) in [(&b""[..], "empty"), (b"{}\n", "begin"), (b"00000000 {}\n", "begin")] {
        assert!(Reader::begin(other).unwrap_err().to_string().contains(reason));
    }
}

#[test]
fn a_recording_stays_below_its_limit_and_has_an_end() {
    let limit = 40_000;
    let (mut writer, mut file) = Writer::begin(&head(), limit).unwrap();
    let windows = two();
    let mut lines = 0;
    while let Some(line) = writer.window(&windows[lines % 2], |_| None) {
        file.extend(line);
        lines += 1;
    }
    assert!(writer.window(&windows[0], |_| None).is_none(), "the end is the end");
    file.extend(writer.end(&End::default(), |_| Some("/a/path")).unwrap());
    assert!(file.len() as u64 <= limit && lines > 10, "{} bytes, {lines} windows", file.len());
    let (read, end) = read(&file);
    assert_eq!((read.len(), end.is_ok()), (lines, true));
    assert!(Writer::begin(&head(), 100).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn parse_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), place in 0_usize..2_000) {
        let mut file = record(&two());
        let place = place.min(file.len());
        file.splice(place..(place + bytes.len()).min(record(&two()).len()), bytes.iter().copied());
        if let Ok((mut reader, _)) = Reader::begin(&file[..]) {
            while let Ok(Entry::Window(_)) = reader.next_entry() {}
        }
        prop_assert!(Reader::begin(&bytes[..]).is_err());
    }
}
