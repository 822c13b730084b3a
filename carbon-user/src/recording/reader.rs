//! Reads a recording, line by line.

use super::lines::{ClaimLine, DeviceLine, DeviceRowLine, DomainLine, EndLine, GapForm, Line, WindowLine};
use super::{End, Head, RecordingError, SCHEMA};
use crate::attribution::PackagePrior;
use crate::claims::{Claim, Claims, RequestSource};
use crate::units::{CgroupId, CpuNanos, Microjoules, PackageId, Quality, RunId, Watts};
use crate::window::counts::{COUNTERS_MAX, CounterKind, Counts};
use crate::window::{
    Accounts, Bounds, Class, DeviceInstance, DeviceRow, DeviceUsage, Domain, DomainKind, DomainWindow, Usage,
    Window, WorkloadKey,
};
use std::collections::BTreeMap;
use std::io::{BufRead, Read};
use std::rc::Rc;
use std::time::Duration;

/// No line is longer: 65,536 workloads with long paths.
const LINE_BYTES_MAX: u64 = 64 << 20;
/// Packages that a machine can have at most: more is no recording.
const PACKAGES_MAX: usize = 4_096;

/// What comes next.
#[derive(Debug)]
pub enum Entry {
    /// A window.
    Window(Box<Window>),
    /// The end; nothing comes after it.
    End(End),
}

/// A recording, open.
#[derive(Debug)]
pub struct Reader<R> {
    lines: R,
    windows: u64,
    keys: Vec<WorkloadKey>,
    domains: Vec<Rc<Domain>>,
    paths: BTreeMap<CgroupId, String>,
}

impl<R: BufRead> Reader<R> {
    /// Reads the head.
    ///
    /// # Errors
    /// Where it is no recording.
    pub fn begin(mut lines: R) -> Result<(Self, Head), RecordingError> {
        let foreign = |reason: &str| RecordingError::Foreign(reason.to_owned());
        let bytes = next_line(&mut lines)?.ok_or_else(|| foreign("it is empty"))?;
        let Ok(Line::Head(head)) = parse(&bytes) else { return Err(foreign("it does not begin like one")) };
        if head.schema != SCHEMA {
            return Err(foreign(&format!("its format is {:?}", head.schema)));
        }
        let kept = head.state.into_iter().map(|entry| entry.kept(true)).collect::<Result<Vec<_>, _>>();
        let kept = kept.map_err(RecordingError::Foreign)?;
        let packages = head.packages.into_iter();
        let head = Head {
            node: head.node,
            start: head.start,
            accounting: head.accounting,
            attribution: head.attribution,
            static_policy: head.static_policy,
            zone: head.zone,
            zone_assumed: head.zone_assumed,
            pue: head.pue,
            packages: packages
                .map(|(cpus, watts)| PackagePrior { cpus, per_cpu: watts.map(Watts) })
                .collect(),
            kept,
        };
        let (keys, domains, paths) = (Vec::new(), Vec::new(), BTreeMap::new());
        Ok((Self { lines, windows: 0, keys, domains, paths }, head))
    }

    /// The next window, or the end.
    ///
    /// # Errors
    /// Where the line is not what was written; what came before is good.
    pub fn next_entry(&mut self) -> Result<Entry, RecordingError> {
        let garbled = |window, reason: String| RecordingError::Garbled { window, reason };
        let Some(bytes) = next_line(&mut self.lines)? else {
            return Err(RecordingError::Cut { windows: self.windows });
        };
        if bytes.last() != Some(&b'\n') {
            return Err(RecordingError::Cut { windows: self.windows });
        }
        match parse(&bytes).map_err(|reason| garbled(self.windows + 1, reason))? {
            Line::Head(_) => Err(garbled(self.windows + 1, "another recording begins there".to_owned())),
            Line::Window(line) if line.n != self.windows + 1 => {
                Err(garbled(self.windows + 1, format!("window {} stands in its place", line.n)))
            }
            Line::Window(line) => {
                let window = self.window(line).map_err(|reason| garbled(self.windows + 1, reason))?;
                self.windows += 1;
                Ok(Entry::Window(Box::new(window)))
            }
            Line::End(end) if end.windows != self.windows => Err(garbled(
                self.windows + 1,
                format!("the end of {} windows stands in its place", end.windows),
            )),
            Line::End(end) => Ok(Entry::End(self.end(end))),
        }
    }

    /// Windows read so far.
    pub fn windows(&self) -> u64 {
        self.windows
    }

    /// Path of a cgroup, as far as it has been read.
    pub fn cgroup_path(&self, cgroup: CgroupId) -> Option<&str> {
        self.paths.get(&cgroup).map(String::as_str)
    }

    fn end(&mut self, end: EndLine) -> End {
        let paths: Vec<_> = end.paths.into_iter().map(|(cgroup, path)| (CgroupId(cgroup), path)).collect();
        self.paths.extend(paths.iter().cloned());
        End { end: end.end, accounting: end.accounting, notes: end.notes, paths }
    }

    fn window(&mut self, line: WindowLine) -> Result<Window, String> {
        if line.anew {
            self.keys.clear();
        }
        for (cgroup, kernel, run, path) in line.k {
            let class = if kernel { Class::KernelThreads } else { Class::Tasks };
            self.keys.push(WorkloadKey { cgroup: CgroupId(cgroup), class, run: run.map(RunId) });
            if let Some(path) = path {
                self.paths.insert(CgroupId(cgroup), path);
            }
        }
        for new in line.m {
            self.domains.push(Rc::new(domain(new)?));
        }
        if !(1..=PACKAGES_MAX).contains(&line.p) {
            return Err(format!("{} packages", line.p));
        }
        let tables = line.u.iter().map(|table| self.usage(table, line.p).map(Rc::new));
        let mut tables = tables.collect::<Result<Vec<Rc<Usage>>, String>>()?;
        for (number, used) in line.g {
            let table = tables.get_mut(number).ok_or("a table is missing")?;
            *table = Rc::new(Usage::of_device(self.device(used)?));
        }
        let table = |number: usize| tables.get(number).map(Rc::clone).ok_or("a table is missing");
        let domain_of = |number: usize| self.domains.get(number).map(Rc::clone).ok_or("a domain is missing");
        let domains = line.x.into_iter().map(|(domain, uj, span_ns, gap, usage, wake_ratio)| {
            Ok::<_, String>(DomainWindow {
                domain: domain_of(domain)?,
                metered: Microjoules(uj),
                duration: Duration::from_nanos(span_ns),
                gap: match gap {
                    GapForm::Whole(whole) => whole.then_some(Duration::from_nanos(span_ns)),
                    GapForm::Part(part_ns) => Some(Duration::from_nanos(part_ns)),
                },
                usage: table(usage)?,
                wake_ratio,
            })
        });
        let unread = line.y.into_iter().map(|(domain, why)| Ok::<_, String>((domain_of(domain)?, why)));
        let claims = claims(&line.c, line.q.as_deref())?;
        let counts = self.counts(&line.e, &line.f)?;
        let [start_ns, length_ns, width_ns, suspended_ns] = line.t;
        let [idle_ns, irq_steal_ns, missed_ns, overflow_ns, missed_switches, lost_events, clamped, own_ns] =
            line.a;
        Ok(Window {
            start_ns,
            duration: Duration::from_nanos(length_ns),
            edge_width: Duration::from_nanos(width_ns),
            suspended: Duration::from_nanos(suspended_ns),
            usage: table(0)?,
            counts: Rc::new(counts),
            claims: Rc::new(claims),
            accounts: Accounts {
                idle_ns,
                irq_steal_ns,
                missed_ns,
                overflow_ns,
                missed_switches,
                lost_events,
                clamped,
                own_ns,
            },
            domains: domains.collect::<Result<_, _>>()?,
            unread: unread.collect::<Result<_, _>>()?,
        })
    }

    fn device(&self, line: DeviceLine) -> Result<DeviceUsage, String> {
        let row = |(key, busy_ns, held_ns, instance, shared, modelled): DeviceRowLine| {
            let key = key.map(|number| self.key(number)).transpose()?;
            Ok::<_, String>(DeviceRow { key, busy_ns, held_ns, instance, shared, modelled })
        };
        let instances = line.instances.into_iter();
        Ok(DeviceUsage {
            rows: line.rows.into_iter().map(row).collect::<Result<_, _>>()?,
            unknown_ns: line.unknown_ns,
            span_ns: line.span_ns,
            instances: instances.map(|(id, uuid, slices)| DeviceInstance { id, uuid, slices }).collect(),
            blind: line.blind,
        })
    }

    fn counts(&self, kinds: &[String], cells: &[(u64, u16, [u64; COUNTERS_MAX])]) -> Result<Counts, String> {
        let kind = |word: &String| {
            let known = CounterKind::ALL.into_iter().find(|kind| kind.as_str() == word);
            known.ok_or_else(|| format!("no events {word:?}"))
        };
        let mut counts = Counts::new(&kinds.iter().map(kind).collect::<Result<Vec<_>, _>>()?);
        for (number, package, events) in cells {
            if usize::from(*package) >= PACKAGES_MAX {
                return Err(format!("package {package}"));
            }
            counts.add(self.key(*number)?, PackageId(*package), *events);
        }
        Ok(counts)
    }

    fn key(&self, number: u64) -> Result<WorkloadKey, String> {
        let key = usize::try_from(number).ok().and_then(|number| self.keys.get(number));
        key.copied().ok_or_else(|| "a workload is missing".to_owned())
    }

    fn usage(&self, table: &[u64], packages: usize) -> Result<Usage, String> {
        let mut usage = Usage::new(packages);
        let rows = table.chunks_exact(packages + 1);
        if !rows.remainder().is_empty() {
            return Err("a row is cut short".to_owned());
        }
        for row in rows {
            let (number, nanos) = row.split_first().ok_or("a row is empty")?;
            let nanos: Vec<CpuNanos> = nanos.iter().copied().map(CpuNanos).collect();
            usage.push(self.key(*number)?, &nanos);
        }
        Ok(usage)
    }
}

fn claims(rows: &[ClaimLine], requests: Option<&str>) -> Result<Claims, String> {
    let mut claims = Claims::default();
    for (cgroup, alive, requested, resident_bytes) in rows {
        let claim = Claim { alive: *alive, requested: *requested, resident_bytes: *resident_bytes };
        claims.add(CgroupId(*cgroup), claim, usize::MAX);
    }
    let sources = [RequestSource::Kubelet, RequestSource::CpuWeight];
    let source = |word| {
        let known = sources.into_iter().find(|source| source.as_str() == word);
        known.ok_or_else(|| format!("nobody called {word:?} says what was asked for"))
    };
    claims.requests = requests.map(source).transpose()?;
    Ok(claims)
}

fn domain(line: DomainLine) -> Result<Domain, String> {
    let kind = DomainKind::ALL.into_iter().find(|kind| kind.as_str() == line.kind);
    let qualities = [Quality::Modelled, Quality::Sampled, Quality::Measured];
    let quality = qualities.into_iter().find(|quality| quality.as_str() == line.quality);
    Ok(Domain {
        kind: kind.ok_or_else(|| format!("no domain {:?}", line.kind))?,
        device: line.device,
        source: line.source,
        quality: quality.ok_or_else(|| format!("no quality {:?}", line.quality))?,
        bounds: line.bounds.map(|(low_ratio, high_ratio)| Bounds { low_ratio, high_ratio }),
        package: PackageId(line.package),
        idle_watts: line.idle_w.map(Watts),
    })
}

fn next_line(lines: &mut impl BufRead) -> Result<Option<Vec<u8>>, RecordingError> {
    let mut bytes = Vec::new();
    lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes)?;
    Ok((!bytes.is_empty()).then_some(bytes))
}

fn parse(bytes: &[u8]) -> Result<Line, String> {
    let sum = bytes.get(..8).and_then(|sum| std::str::from_utf8(sum).ok());
    let sum = sum.and_then(|sum| u32::from_str_radix(sum, 16).ok()).ok_or("it does not begin with a sum")?;
    if bytes.get(8) != Some(&b' ') {
        return Err("no space stands after its sum".to_owned());
    }
    let json = bytes.get(9..).and_then(|rest| rest.strip_suffix(b"\n")).ok_or("it is cut short")?;
    if crc32fast::hash(json) != sum {
        return Err("its sum is wrong".to_owned());
    }
    serde_json::from_slice(json).map_err(|error| error.to_string())
}
