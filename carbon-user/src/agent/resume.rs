//! Where a restart goes on: the last readings of meters and of CPU time, and the sums that were published.
//!
//! JSON with a schema of its own (`carbon.agent/1`), written whole or not at all, before each flush and after it. It holds the
//! edge of the last flush that is known to be in the ledger, and while another is written the edge of that one too, with its name:
//! who finds the name in the ledger goes on from the second, else from the first. So a kill at any instant counts no energy twice,
//! and leaves none out that a meter still knows; and but for an instant no ledger needs to be asked, which may be away, damaged or
//! another one by then.

use super::private;
use super::published::{DomainSums, DomainTotals, Who, WorkloadTotals};
use crate::checkpoint::read_regular;
use crate::clock::Moment;
use crate::ledger::rows::parse_quality;
use crate::meters::Mark;
use crate::units::{CgroupId, CpuNanos, Microjoules};
use crate::window::DomainKind;
use crate::workload::locate;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Name and version of the file's schema.
pub const SCHEMA: &str = "carbon.agent/1";
/// More than the largest: two edges of 20,000 cgroups, and all series.
const BYTES_MAX: u64 = 64 << 20;

/// Readings at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EdgeMarks {
    /// The flush that ends here; empty where all before is settled: it is in the ledger, or there was nothing to write.
    pub flush: String,
    /// By the monotonic clock.
    pub at_ns: u64,
    /// Unix time in microseconds: a label.
    pub wall_us: i64,
    /// Counters that go on while nobody reads them.
    pub counters: Vec<(DomainKind, String, Mark)>,
    /// CPU time of each cgroup with those below it, in microseconds.
    pub cgroups: Vec<(CgroupId, u64)>,
}

impl EdgeMarks {
    /// With all before it written.
    #[must_use]
    pub fn settled(self) -> Self {
        Self { flush: String::new(), ..self }
    }
}

/// Sums that are published from the start on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sums {
    /// Of the machine.
    pub domains: Vec<DomainTotals>,
    /// Of workloads, `other` and `ended` among them.
    pub workloads: Vec<WorkloadTotals>,
}

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resume {
    /// As /proc tells it: marks are of this boot only.
    pub boot_id: String,
    /// At most two, in the order of time.
    pub edges: Vec<EdgeMarks>,
    /// Only after a proper end: after a kill nobody knows what was read of them since, and they must not fall.
    pub sums: Option<Sums>,
}

/// Why it cannot be used or written.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// It is there and cannot be read, or is none.
    #[error("cannot go on from {path}: {reason}; energy of the time since it was written is not known")]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// It cannot be written.
    #[error("cannot write {path}, so that a restart would lose what is used meanwhile: {source}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct FileForm {
    schema: String,
    boot_id: String,
    edges: Vec<EdgeForm>,
    sums: Option<SumsForm>,
}

#[derive(Debug, Serialize, Deserialize)]
struct EdgeForm {
    flush: String,
    at_ns: u64,
    wall_us: i64,
    counters: Vec<CounterForm>,
    cgroups: Vec<(u64, u64)>,
}

#[derive(Debug, Serialize, Deserialize)]
struct CounterForm {
    domain: String,
    device: String,
    raw_uj: u64,
    range_uj: u64,
    at_ns: u64,
    /// How long the machine was suspended until then; before this was written down, taken for never.
    #[serde(default)]
    suspended_ns: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct SumsForm {
    domains: Vec<DomainForm>,
    workloads: Vec<WorkloadForm>,
}

#[derive(Debug, Serialize, Deserialize)]
struct DomainForm {
    domain: String,
    device: String,
    source: String,
    quality: String,
    metered_uj: u64,
    attributed_uj: u64,
    static_uj: u64,
    static_shared_uj: u64,
    lost_uj: u64,
    gaps: u64,
    unread: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct WorkloadForm {
    identity: String,
    kind: String,
    name: String,
    cpu_ns: u64,
    /// By domain: dynamic, static, quality.
    energies: Vec<(u64, u64, Option<String>)>,
}

/// Writes it, whole or not at all; makes the folder where there is none.
pub fn save(path: &Path, resume: &Resume) -> Result<(), ResumeError> {
    let form = FileForm {
        schema: SCHEMA.into(),
        boot_id: resume.boot_id.clone(),
        edges: resume.edges.iter().map(EdgeForm::of).collect(),
        sums: resume.sums.as_ref().map(SumsForm::of),
    };
    let write = || private::write(path, &serde_json::to_vec(&form)?);
    write().map_err(|source| ResumeError::Write { path: path.into(), source })
}

/// Reads it; nothing where there is none.
pub fn load(path: &Path) -> Result<Option<Resume>, ResumeError> {
    let unusable = |reason: String| ResumeError::Unusable { path: path.into(), reason };
    match read_regular(path, BYTES_MAX) {
        Ok(bytes) => parse(&bytes).map(Some).map_err(unusable),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(error.to_string())),
    }
}

/// What a file holds, or why it cannot be used.
pub(crate) fn parse(bytes: &[u8]) -> Result<Resume, String> {
    let form: FileForm = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if form.schema != SCHEMA {
        return Err(format!("its schema is {:?}", form.schema));
    }
    let edges = form.edges.into_iter().map(EdgeForm::marks).collect();
    Ok(Resume { boot_id: form.boot_id, edges, sums: form.sums.map(SumsForm::sums) })
}

impl EdgeForm {
    fn of(edge: &EdgeMarks) -> Self {
        let counter = |(kind, device, mark): &(DomainKind, String, Mark)| CounterForm {
            domain: kind.as_str().to_owned(),
            device: device.clone(),
            raw_uj: mark.raw_uj,
            range_uj: mark.range_uj,
            at_ns: mark.at.monotonic_ns,
            suspended_ns: mark.at.suspended_ns,
        };
        Self {
            flush: edge.flush.clone(),
            at_ns: edge.at_ns,
            wall_us: edge.wall_us,
            counters: edge.counters.iter().map(counter).collect(),
            cgroups: edge.cgroups.iter().map(|(cgroup, usec)| (cgroup.0, *usec)).collect(),
        }
    }

    fn marks(self) -> EdgeMarks {
        let counter = |form: CounterForm| {
            let kind = DomainKind::ALL.into_iter().find(|kind| kind.as_str() == form.domain)?;
            let at = Moment { monotonic_ns: form.at_ns, suspended_ns: form.suspended_ns };
            let mark = Mark { raw_uj: form.raw_uj, range_uj: form.range_uj, at };
            Some((kind, form.device, mark))
        };
        EdgeMarks {
            flush: self.flush,
            at_ns: self.at_ns,
            wall_us: self.wall_us,
            counters: self.counters.into_iter().filter_map(counter).collect(),
            cgroups: self.cgroups.into_iter().map(|(cgroup, usec)| (CgroupId(cgroup), usec)).collect(),
        }
    }
}

impl SumsForm {
    fn of(sums: &Sums) -> Self {
        let domain = |totals: &DomainTotals| DomainForm {
            domain: totals.domain.to_owned(),
            device: totals.device.clone(),
            source: totals.source.clone(),
            quality: totals.quality.as_str().to_owned(),
            metered_uj: totals.metered.0,
            attributed_uj: totals.attributed.0,
            static_uj: totals.static_energy.0,
            static_shared_uj: totals.static_shared.0,
            lost_uj: totals.lost.0,
            gaps: totals.gaps,
            unread: totals.unread,
        };
        let energy = |sums: &DomainSums| {
            let quality = sums.quality.map(|quality| quality.as_str().to_owned());
            (sums.dynamic_energy.0, sums.static_energy.0, quality)
        };
        let workload = |totals: &WorkloadTotals| WorkloadForm {
            identity: totals.who.identity.clone(),
            kind: totals.who.kind.to_owned(),
            name: totals.who.name.clone(),
            cpu_ns: totals.cpu.0,
            energies: totals.domains.iter().map(energy).collect(),
        };
        Self {
            domains: sums.domains.iter().map(domain).collect(),
            workloads: sums.workloads.iter().map(workload).collect(),
        }
    }

    /// A domain of an unknown kind would shift the energies of all after it, so that nothing is taken then.
    fn sums(self) -> Sums {
        let domain = |form: DomainForm| {
            let kind = DomainKind::ALL.into_iter().find(|kind| kind.as_str() == form.domain)?;
            Some(DomainTotals {
                domain: kind.as_str(),
                device: form.device,
                source: form.source,
                quality: parse_quality(&form.quality)?,
                metered: Microjoules(form.metered_uj),
                attributed: Microjoules(form.attributed_uj),
                static_energy: Microjoules(form.static_uj),
                static_shared: Microjoules(form.static_shared_uj),
                lost: Microjoules(form.lost_uj),
                gaps: form.gaps,
                unread: form.unread,
                faults: 0,
                watts: None,
                limits: None,
            })
        };
        let domains: Option<Vec<DomainTotals>> = self.domains.into_iter().map(domain).collect();
        let Some(domains) = domains else { return Sums::default() };
        Sums { domains, workloads: self.workloads.into_iter().map(WorkloadForm::totals).collect() }
    }
}

impl WorkloadForm {
    fn totals(self) -> WorkloadTotals {
        let located = self.identity.starts_with('/').then(|| locate(&self.identity).identity);
        let energy = |(dynamic, fixed, quality): (u64, u64, Option<String>)| DomainSums {
            dynamic_energy: Microjoules(dynamic),
            static_energy: Microjoules(fixed),
            quality: quality.and_then(|word| parse_quality(&word)),
        };
        let kind = match self.kind.as_str() {
            "other" => "other",
            "ended" => "ended",
            "kernel" => "kernel",
            "root" => "root",
            "overflow" => "overflow",
            _ => located.as_ref().map_or("cgroup", |identity| match identity.kind.as_str() {
                "unknown" => "cgroup",
                word => word,
            }),
        };
        WorkloadTotals {
            who: Arc::new(Who {
                path: located.unwrap_or_default(),
                identity: self.identity,
                kind,
                name: self.name,
                cgroup: None,
            }),
            domains: self.energies.into_iter().map(energy).collect(),
            cpu: CpuNanos(self.cpu_ns),
            ..WorkloadTotals::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Quality;
    use std::fs;

    #[test]
    fn what_is_saved_is_loaded_and_a_damaged_file_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("below/agent.json");
        assert_eq!(load(&path).unwrap(), None);
        let mark = Mark { raw_uj: 12, range_uj: 99, at: Moment { monotonic_ns: 7, suspended_ns: 3 } };
        let edge = EdgeMarks {
            flush: "f".into(),
            at_ns: 8,
            wall_us: 9,
            counters: vec![(DomainKind::Dram, "package-1".into(), mark)],
            cgroups: vec![(CgroupId(4), 1_000)],
        };
        let energies = DomainSums {
            dynamic_energy: Microjoules(5),
            static_energy: Microjoules(6),
            quality: Some(Quality::Sampled),
        };
        let path_of = "/system.slice/a.service";
        let workload = WorkloadTotals {
            // Nothing is seen to run before it is.
            who: Arc::new(Who {
                cgroup: None,
                ..super::super::books::who(
                    crate::window::WorkloadKey::cgroup(CgroupId(4)),
                    Some(path_of),
                    None,
                )
            }),
            domains: vec![DomainSums::default(), energies],
            cpu: CpuNanos(3),
            ..WorkloadTotals::default()
        };
        let sums = Sums { domains: Vec::new(), workloads: vec![workload] };
        let resume = Resume { boot_id: "b".into(), edges: vec![edge], sums: Some(sums) };
        save(&path, &resume).unwrap();
        assert_eq!(load(&path).unwrap(), Some(resume));
        let text = fs::read_to_string(&path).unwrap();
        for bad in [String::new(), text[..text.len() / 2].to_owned(), text.replace("agent/1", "agent/2")] {
            fs::write(&path, bad).unwrap();
            assert!(matches!(load(&path), Err(ResumeError::Unusable { .. })));
        }
    }
}
