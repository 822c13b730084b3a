//! Makes the lines of a recording; who writes them down is the caller's business.

use super::lines::{DeviceLine, DomainLine, EndLine, GapForm, HeadLine, KeyLine, Line, WindowLine};
use super::{End, Head, SCHEMA};
use crate::checkpoint::DomainEntry;
use crate::claims::Claim;
use crate::units::CgroupId;
use crate::window::{Accounts, Class, DeviceUsage, Domain, Usage, Window, WorkloadKey};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::Duration;

/// Workloads that have a number at one time, and paths that are remembered; beyond that numbers begin anew.
const KEYS_MAX: usize = 65_536;
/// Room for the last line besides its paths, bytes.
const END_BYTES: u64 = 16_384;

/// Turns windows into lines, up to a number of bytes.
#[derive(Debug)]
pub struct Writer {
    bytes_left: u64,
    windows: u64,
    keys: HashMap<WorkloadKey, u64>,
    domains: Vec<Rc<Domain>>,
    /// Path of each cgroup as it was written; `None` where it was not known.
    paths: BTreeMap<CgroupId, Option<String>>,
    path_bytes: u64,
}

impl Writer {
    /// For a recording of at most `bytes_max`, with its first line; `None` where not even that has room.
    pub fn begin(head: &Head, bytes_max: u64) -> Option<(Self, Vec<u8>)> {
        let line = text(&Line::Head(HeadLine {
            schema: SCHEMA.to_owned(),
            node: head.node.clone(),
            start: head.start.clone(),
            accounting: head.accounting.clone(),
            attribution: head.attribution.clone(),
            static_policy: head.static_policy.clone(),
            zone: head.zone.clone(),
            zone_assumed: head.zone_assumed,
            pue: head.pue,
            packages: head.packages.iter().map(|one| (one.cpus, one.per_cpu.map(|watts| watts.0))).collect(),
            state: head.kept.iter().map(DomainEntry::of).collect(),
        }))?;
        let bytes_left = bytes_max.checked_sub(line.len() as u64)?;
        let writer = Self {
            bytes_left,
            windows: 0,
            keys: HashMap::new(),
            domains: Vec::new(),
            paths: BTreeMap::new(),
            path_bytes: 0,
        };
        (bytes_left > END_BYTES).then_some((writer, line))
    }

    /// How many windows have been given lines.
    pub fn windows(&self) -> u64 {
        self.windows
    }

    /// The line of a window; `None` where it has no room any more: then only [`end`](Self::end) is left to be called.
    /// `path_of` gives a cgroup's path.
    pub fn window<'p>(
        &mut self,
        window: &Window,
        path_of: impl Fn(CgroupId) -> Option<&'p str>,
    ) -> Option<Vec<u8>> {
        let anew = self.keys.len() >= KEYS_MAX;
        if anew {
            self.keys.clear();
        }
        let (mut keys, mut domains) = (Vec::new(), Vec::new());
        let mut usages: Vec<&Rc<Usage>> = vec![&window.usage];
        let x = window
            .domains
            .iter()
            .map(|domain| {
                let known = usages.iter().position(|usage| Rc::ptr_eq(usage, &domain.usage));
                let table = known.unwrap_or_else(|| {
                    usages.push(&domain.usage);
                    usages.len() - 1
                });
                let number = self.number_of(&domain.domain, &mut domains);
                let span_ns = nanoseconds(domain.duration);
                let gap = domain.gap.filter(|gap| *gap != domain.duration).map(nanoseconds);
                let gap = gap.map_or(GapForm::Whole(domain.gap.is_some()), GapForm::Part);
                (number, domain.metered.0, span_ns, gap, table, domain.wake_ratio)
            })
            .collect();
        let unread = window.unread.iter();
        let y = unread.map(|(domain, why)| (self.number_of(domain, &mut domains), why.clone())).collect();
        let u = usages.iter().map(|usage| self.table(usage, &mut keys, &path_of)).collect();
        let devices = usages.iter().enumerate().filter_map(|(table, usage)| Some((table, usage.device()?)));
        let device_uses =
            devices.map(|(table, used)| (table, self.device(used, &mut keys, &path_of))).collect();
        let counted = window.counts.cells();
        let f = counted
            .map(|(key, package, counts)| {
                (self.number_of_workload(key, &mut keys, &path_of), package.0, counts)
            })
            .collect();
        let claim = |(cgroup, claim): (CgroupId, &Claim)| {
            (cgroup.0, claim.alive, claim.requested, claim.resident_bytes)
        };
        let line = text(&Line::Window(WindowLine {
            n: self.windows + 1,
            t: [
                window.start_ns,
                nanoseconds(window.duration),
                nanoseconds(window.edge_width),
                nanoseconds(window.suspended),
            ],
            a: accounts(&window.accounts),
            anew,
            k: keys,
            m: domains,
            p: window.usage.packages(),
            u,
            g: device_uses,
            x,
            c: window.claims.rows().map(claim).collect(),
            q: window.claims.requests.map(|source| source.as_str().to_owned()),
            e: window.counts.kinds().iter().map(|kind| kind.as_str().to_owned()).collect(),
            f,
            y,
        }))?;
        let left = self.bytes_left.checked_sub(line.len() as u64)?;
        if left < END_BYTES + self.path_bytes {
            self.bytes_left = 0;
            return None;
        }
        self.bytes_left = left;
        self.windows += 1;
        Some(line)
    }

    /// The latest window was not written down after all; none may come after it.
    pub fn take_back(&mut self) {
        self.windows = self.windows.saturating_sub(1);
        self.bytes_left = 0;
    }

    /// The last line.
    pub fn end<'p>(&self, end: &End, path_of: impl Fn(CgroupId) -> Option<&'p str>) -> Option<Vec<u8>> {
        let found = self.paths.iter().filter_map(|(cgroup, before)| {
            let path = path_of(*cgroup).filter(|path| before.as_deref() != Some(*path))?;
            Some((cgroup.0, path.to_owned()))
        });
        text(&Line::End(EndLine {
            windows: self.windows,
            end: end.end.clone(),
            accounting: end.accounting.clone(),
            notes: end.notes.clone(),
            paths: found.collect(),
        }))
    }

    fn table<'p>(
        &mut self,
        usage: &Usage,
        new: &mut Vec<KeyLine>,
        path_of: &impl Fn(CgroupId) -> Option<&'p str>,
    ) -> Vec<u64> {
        let mut table = Vec::with_capacity(usage.len().saturating_mul(usage.packages() + 1));
        for (key, nanos) in usage.rows() {
            table.push(self.number_of_workload(key, new, path_of));
            table.extend(nanos.iter().map(|nanos| nanos.0));
        }
        table
    }

    fn device<'p>(
        &mut self,
        used: &DeviceUsage,
        new: &mut Vec<KeyLine>,
        path_of: &impl Fn(CgroupId) -> Option<&'p str>,
    ) -> DeviceLine {
        let DeviceUsage { rows, unknown_ns, span_ns, instances, blind } = used;
        let rows = rows.iter().map(|row| {
            let key = row.key.map(|key| self.number_of_workload(key, new, path_of));
            (key, row.busy_ns, row.held_ns, row.instance, row.shared, row.modelled)
        });
        DeviceLine {
            rows: rows.collect(),
            unknown_ns: *unknown_ns,
            span_ns: *span_ns,
            instances: instances.iter().map(|part| (part.id, part.uuid.clone(), part.slices)).collect(),
            blind: blind.clone(),
        }
    }

    fn number_of_workload<'p>(
        &mut self,
        key: WorkloadKey,
        new: &mut Vec<KeyLine>,
        path_of: &impl Fn(CgroupId) -> Option<&'p str>,
    ) -> u64 {
        let next = self.keys.len() as u64;
        *self.keys.entry(key).or_insert_with(|| {
            let path = path_of(key.cgroup).map(str::to_owned);
            if self.paths.len() < KEYS_MAX {
                // A path that comes late takes room in the last line.
                self.path_bytes += path.as_ref().map_or(512, |_| 0);
                self.paths.insert(key.cgroup, path.clone());
            }
            let kernel = key.class == Class::KernelThreads;
            new.push((key.cgroup.0, kernel, key.run.map(|run| run.0), path));
            next
        })
    }

    fn number_of(&mut self, domain: &Rc<Domain>, new: &mut Vec<DomainLine>) -> usize {
        if let Some(number) = self.domains.iter().position(|known| **known == **domain) {
            return number;
        }
        new.push(DomainLine {
            kind: domain.kind.as_str().to_owned(),
            device: domain.device.clone(),
            source: domain.source.clone(),
            quality: domain.quality.as_str().to_owned(),
            bounds: domain.bounds.map(|bounds| (bounds.low_ratio, bounds.high_ratio)),
            package: domain.package.0,
            idle_w: domain.idle_watts.map(|watts| watts.0),
        });
        self.domains.push(Rc::clone(domain));
        self.domains.len() - 1
    }
}

fn accounts(accounts: &Accounts) -> [u64; 8] {
    let Accounts {
        idle_ns,
        irq_steal_ns,
        missed_ns,
        overflow_ns,
        missed_switches,
        lost_events,
        clamped,
        own_ns,
    } = *accounts;
    [idle_ns, irq_steal_ns, missed_ns, overflow_ns, missed_switches, lost_events, clamped, own_ns]
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// `None` where JSON has no form for it, which none of the types here has.
fn text(line: &Line) -> Option<Vec<u8>> {
    let json = serde_json::to_string(line).ok()?;
    Some(format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())).into_bytes())
}
