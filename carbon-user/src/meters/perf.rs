//! RAPL counters through the kernel's perf PMU `power`: the same registers as powercap, with `CAP_PERFMON` instead of a
//! file that only root may read.
//!
//! Events and their scale are in sysfs (kernel 6.12, arch/x86/events/rapl.c): `energy-pkg` and `energy-ram` count; `cores`
//! and `gpu` are parts of a package, `psys` contains it. Values are 64 bits wide and added up by the kernel, so that none
//! wraps. A PMU may be there and have no event for this processor (Granite Rapids, Rocket Lake): then powercap alone has
//! the counters. The exclude bits must be clear: with one set the PMU refuses with EINVAL.

use super::counter::Counter;
use super::file::describe;
use super::lane::{Lane, Probe, Raws};
use super::lanes::{LaneMeter, Track};
use super::registry::{Found, Ground, Role, Source};
use super::{ErrorKind, MeterError, MeterFinding};
use crate::sysroot::SysRoot;
use crate::units::{PackageId, Quality, Watts};
use crate::window::{Domain, DomainKind};
use perf_event::Builder;
use perf_event::events::Dynamic;
use std::fmt;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

const NAME: &str = "perf";

/// The entry of the registry.
pub(super) const SOURCE: Source = Source { name: NAME, role: Role::Processor, open };

/// Below the sysfs root.
const PMU: &str = "bus/event_source/devices/power";

/// As for powercap: twice the rated power of the largest package sold. This interface tells no limits.
const WATTS_MAX: Watts = Watts(1000.0);

/// The registers move once in about a millisecond.
const MOVES_WITHIN: Duration = Duration::from_millis(500);

/// `f_type` of sysfs (linux/magic.h).
const SYSFS_MAGIC: i64 = 0x6265_6572;

/// An event of one package or die.
#[derive(Clone, Debug, PartialEq)]
struct Event {
    name: &'static str,
    kind: DomainKind,
    cpu: u32,
    device: String,
    package: PackageId,
    /// Microjoules per count, times 2^64.
    scale: u128,
}

/// Events of the PMU, and those that are left out.
fn discover(ground: &Ground<'_>) -> io::Result<(Vec<Event>, Vec<MeterFinding>)> {
    let root = ground.root;
    let _number: String = root.read_sys(format!("{PMU}/type"))?;
    let cpus = root.cpu_list(format!("{PMU}/cpumask"))?;
    let devices = devices(ground, &cpus);
    let (mut events, mut left_out) = (Vec::new(), Vec::new());
    for (name, verdict) in [
        ("energy-pkg", Ok(DomainKind::Package)),
        ("energy-ram", Ok(DomainKind::Dram)),
        ("energy-cores", Err("part of its package")),
        ("energy-gpu", Err("part of its package")),
        ("energy-psys", Err("contains package and dram, which are counted")),
    ] {
        let has = root.read_sys(format!("{PMU}/events/{name}")).is_ok();
        match verdict {
            Ok(kind) if has => {
                let scale = scale(root, name)?;
                let each = cpus.iter().zip(&devices).map(|(cpu, (device, package))| Event {
                    name,
                    kind,
                    cpu: *cpu,
                    device: device.clone(),
                    package: *package,
                    scale,
                });
                events.extend(each);
            }
            Err(why) if has => left_out.push(finding(&format!("{NAME} {name}"), false, why.to_owned(), None)),
            Ok(_) | Err(_) => {}
        }
    }
    Ok((events, left_out))
}

/// Package of each of these CPUs: one for each package, or for each die where a package has several.
fn devices(ground: &Ground<'_>, cpus: &[u32]) -> Vec<(String, PackageId)> {
    let of = |cpu: u32, file: &str| -> Option<u32> {
        let path = format!("devices/system/cpu/cpu{cpu}/topology/{file}");
        ground.root.read_sys(path).ok()?.parse().ok()
    };
    let ids: Vec<u32> = cpus.iter().map(|cpu| of(*cpu, "physical_package_id").unwrap_or(0)).collect();
    cpus.iter()
        .zip(&ids)
        .map(|(cpu, id)| {
            let dies = ids.iter().filter(|other| *other == id).count();
            let die = of(*cpu, "die_id").filter(|_| dies > 1);
            let name = die.map_or_else(|| format!("package-{id}"), |die| format!("package-{id}-die-{die}"));
            let place = usize::try_from(*cpu).unwrap_or(usize::MAX);
            (name, ground.topology.package_of.get(place).copied().unwrap_or(PackageId(0)))
        })
        .collect()
}

/// `2.3283064365386962890625e-10` joules is 2^-32.
fn scale(root: &SysRoot, event: &str) -> io::Result<u128> {
    let invalid = |what: &str| {
        io::Error::new(io::ErrorKind::InvalidData, format!("the {what} of its event {event} is not known"))
    };
    if root.read_sys(format!("{PMU}/events/{event}.unit"))? != "Joules" {
        return Err(invalid("unit"));
    }
    let joules: f64 = root
        .read_sys(format!("{PMU}/events/{event}.scale"))?
        .parse()
        .ok()
        .filter(|joules| (1e-12..=1.0).contains(joules))
        .ok_or_else(|| invalid("scale"))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "up to 1e6 x 2^64")]
    let scale = (joules * 1e6 * 18_446_744_073_709_551_616.0) as u128;
    Ok(scale)
}

/// `count` in microjoules.
fn microjoules(count: u64, scale: u128) -> u64 {
    // Both halves apart: the product may have more than 128 bits.
    let count = u128::from(count);
    let (high, low) = (scale >> 64, scale & u128::from(u64::MAX));
    u64::try_from(high.saturating_mul(count).saturating_add((low * count) >> 64)).unwrap_or(u64::MAX)
}

/// What counts for an event.
trait Count: fmt::Debug + Send {
    /// Counts since it was opened, of the event's own unit.
    fn count(&mut self) -> io::Result<u64>;
}

impl Count for perf_event::Counter {
    fn count(&mut self) -> io::Result<u64> {
        self.read()
    }
}

/// Opened events, each with what counts for it.
#[derive(Debug)]
struct PerfProbe {
    events: Vec<(Event, Box<dyn Count>)>,
}

impl Probe for PerfProbe {
    fn read(&mut self, _at_edge: bool) -> Raws {
        let read = |(event, counter): &mut (Event, Box<dyn Count>)| match counter.count() {
            Ok(count) => Ok(microjoules(count, event.scale).into()),
            Err(error) => Err(MeterError {
                kind: ErrorKind::Retry,
                message: format!(
                    "cannot read the perf event {} of CPU {}: {}; it is tried again",
                    event.name,
                    event.cpu,
                    describe(&error)
                ),
            }),
        };
        self.events.iter_mut().map(read).collect()
    }
}

/// Opens what counts for an event.
type OpenEvent = fn(&SysRoot, &Event) -> io::Result<Box<dyn Count>>;

fn open_event(root: &SysRoot, event: &Event) -> io::Result<Box<dyn Count>> {
    if !is_sysfs(&root.sys) {
        // Numbers of PMUs are those of the running kernel.
        let reason = format!("{} is not the running kernel's sysfs", root.sys.display());
        return Err(io::Error::new(io::ErrorKind::Unsupported, reason));
    }
    let pmu = root.sys.join(PMU).canonicalize()?;
    let mut dynamic = Dynamic::builder(&pmu)?;
    let dynamic = dynamic.event(event.name)?.build().map_err(io::Error::other)?;
    let mut builder = Builder::new(dynamic);
    builder.any_pid().one_cpu(usize::try_from(event.cpu).unwrap_or(usize::MAX));
    builder.exclude_kernel(false).exclude_hv(false);
    let mut counter = builder.build()?;
    counter.enable()?;
    Ok(Box::new(counter))
}

fn open(ground: &Ground<'_>) -> Found {
    open_with(ground, open_event)
}

fn open_with(ground: &Ground<'_>, open_event: OpenEvent) -> Found {
    let absent = |reason: String, advice: Option<&str>| Found::absent(finding(NAME, false, reason, advice));
    let (events, mut findings) = match discover(ground) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return absent("there is no perf PMU named power".to_owned(), None);
        }
        Err(error) => return absent(format!("cannot use the perf PMU power: {}", describe(&error)), None),
    };
    if !events.iter().any(|event| event.kind == DomainKind::Package) {
        let reason = "the perf PMU power has no event for packages of this processor";
        return absent(
            reason.to_owned(),
            Some("on bare metal powercap alone has the counters; virtual machines have none"),
        );
    }
    let unusable = |reason: String, advice: Option<&str>| Found {
        meter: None,
        findings: vec![finding(NAME, false, reason, advice)],
        present: true,
    };
    let opened = events.iter().map(|event| Ok((event.clone(), open_event(ground.root, event)?)));
    let probe = match opened.collect::<io::Result<_>>() {
        Ok(events) => PerfProbe { events },
        Err(error) => {
            if error.kind() == io::ErrorKind::Unsupported && error.raw_os_error().is_none() {
                return absent(error.to_string(), None);
            }
            let denied = matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM));
            let advice = "run as root, give CAP_PERFMON, or sysctl kernel.perf_event_paranoid=0";
            let reason = format!("cannot open the events of the perf PMU power: {}", describe(&error));
            return unusable(reason, denied.then_some(advice));
        }
    };
    let lane = match Lane::proven(NAME, probe) {
        Ok((lane, raws)) if raws.iter().all(Result::is_ok) => lane,
        Ok(_) => return unusable("its events were opened and cannot be read".to_owned(), None),
        Err(error) => return unusable(error.message, None),
    };
    let names: Vec<String> =
        events.iter().map(|event| format!("{} of {}", event.name, event.device)).collect();
    findings.insert(0, finding(NAME, true, format!("reads {}", names.join(", ")), None));
    let tracks = events.iter().map(|event| track(ground, event, &events)).collect();
    Found { meter: Some(Box::new(LaneMeter::new(NAME, vec![(lane, tracks)]))), findings, present: true }
}

fn track(ground: &Ground<'_>, event: &Event, events: &[Event]) -> Track {
    let dies = |it: &&Event| it.kind == DomainKind::Package && it.package == event.package;
    let domain = Rc::new(Domain {
        kind: event.kind,
        device: event.device.clone(),
        source: format!("{NAME} {} cpu {}", event.name, event.cpu),
        quality: Quality::Measured,
        bounds: None,
        package: event.package,
        idle_watts: (event.kind == DomainKind::Package)
            .then(|| ground.idle_of_die(event.package, events.iter().filter(dies).count())),
    });
    Track { domain, counter: Counter::new(0, WATTS_MAX).moving_within(MOVES_WITHIN) }
}

fn is_sysfs(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|found| found.f_type == SYSFS_MAGIC)
}

fn finding(name: &str, chosen: bool, reason: String, advice: Option<&str>) -> MeterFinding {
    let advice = advice.map(str::to_owned);
    MeterFinding { name: name.to_owned(), chosen, quality: Quality::Measured, reason, advice }
}

/// Events that files stand in for, in microjoules, beside the PMU's own: for the tests that every meter must pass.
#[cfg(test)]
pub(super) mod stand_in {
    use super::*;
    use crate::meters::file::read_number;
    use std::path::PathBuf;

    /// The meter, on a fixture.
    pub(in crate::meters) const SOURCE: Source =
        Source { name: NAME, role: Role::Processor, open: |ground| open_with(ground, open_event) };

    #[derive(Debug)]
    struct InFile(PathBuf);

    impl Count for InFile {
        fn count(&mut self) -> io::Result<u64> {
            // Of 2^-32 J, rounded up, so that it is the same number of microjoules on its way back.
            let uj = u128::from(read_number(&self.0)?);
            Ok(u64::try_from((uj << 32).div_ceil(1_000_000)).unwrap_or(u64::MAX))
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "as the kernel's events are opened")]
    fn open_event(root: &SysRoot, event: &Event) -> io::Result<Box<dyn Count>> {
        let file = format!("{PMU}/counts/{}-cpu{}", event.name, event.cpu);
        Ok(Box::new(InFile(root.sys.join(file))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meters::cpu_power::CpuPower;
    use crate::meters::tests::{fixture, fixture_copy};
    use crate::topology::Topology;

    fn with<T>(root: &SysRoot, act: impl FnOnce(&Ground<'_>) -> T) -> T {
        let (topology, power) = (Topology::read(root).unwrap(), CpuPower::read(root));
        act(&Ground { root, topology: &topology, power: &power, sensors: &[] })
    }

    #[test]
    fn packages_and_memory_count_and_parts_do_not() {
        let (events, left_out) = with(&fixture("intel-perf"), |ground| discover(ground).unwrap());
        let opened = with(&fixture("intel-perf"), open);
        let seen: Vec<_> = events.iter().map(|event| (event.kind, &*event.device, event.cpu)).collect();
        assert_eq!(
            seen,
            [
                (DomainKind::Package, "package-0", 0),
                (DomainKind::Package, "package-1", 2),
                (DomainKind::Dram, "package-0", 0),
                (DomainKind::Dram, "package-1", 2),
            ]
        );
        assert_eq!(events[3].package, PackageId(1));
        assert_eq!(left_out.len(), 2, "{left_out:?}");
        let reason = &opened.findings[0].reason;
        assert!(opened.meter.is_none() && reason.ends_with("is not the running kernel's sysfs"), "{reason}");
    }

    #[test]
    fn a_pmu_without_events_or_with_another_unit_is_none() {
        let (_directory, root) = fixture_copy("intel-perf");
        let events = root.sys.join(PMU).join("events");
        std::fs::write(events.join("energy-ram.unit"), "Volts\n").unwrap();
        let opened = with(&root, open);
        assert!(
            opened.findings[0].reason.contains("the unit of its event energy-ram"),
            "{:?}",
            opened.findings
        );
        std::fs::remove_dir_all(&events).unwrap();
        let opened = with(&root, open);
        assert!(opened.findings[0].reason.contains("no event for packages"), "{:?}", opened.findings);
        let opened = with(&fixture("vm"), open);
        assert!(!opened.present && opened.findings[0].reason == "there is no perf PMU named power");
    }

    #[test]
    fn counts_are_scaled_exactly() {
        let scale = scale(&fixture("intel-perf"), "energy-pkg").unwrap();
        assert_eq!(microjoules(1 << 32, scale), 1_000_000);
        assert_eq!(microjoules(0, scale), 0);
        // 4 GJ, the most that 64 bits hold.
        assert_eq!(microjoules(u64::MAX, scale), 4_294_967_295_999_999);
    }
}
