//! Runs that are open, in a file: an agent that is started again goes on with them.
//!
//! JSON with a schema of its own (`carbon.runs/1`), written whole or not at all. Processes are known by number and start, so that
//! one which got the number since is not taken for another. Segments that had ended are kept as a number, since their clients have
//! been told of them.

use super::{DomainPart, Energy};
use crate::agent::private;
use crate::attribution::totals::WorkloadTotal;
use crate::attribution::uncertainty::Uncertainty;
use crate::checkpoint::read_regular;
use crate::ledger::rows::{DomainId, RunStart, parse_quality};
use crate::units::{CpuNanos, Microjoules, Quality};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Name and version of the file's schema.
pub const SCHEMA: &str = "carbon.runs/1";
/// More than 256 runs with all their processes.
const BYTES_MAX: u64 = 64 << 20;

/// All that are open.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeptRuns {
    /// See [`SCHEMA`].
    pub schema: String,
    /// Processes and the monotonic clock are of this boot only.
    pub boot_id: String,
    /// When this was so, by the monotonic clock.
    pub at_ns: u64,
    /// Whether they are recorded as ended, since the agent ended.
    pub closed: bool,
    /// Process trees.
    pub groups: Vec<KeptGroup>,
    /// In the order in which they were begun.
    pub runs: Vec<KeptRun>,
}

/// A process tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptGroup {
    /// In this file.
    pub number: u64,
    /// The one around it.
    pub inside: Option<u64>,
    /// Whose tree it is.
    pub first: Option<u32>,
    /// Number and start of each process that was alive.
    pub processes: Vec<(u32, u64)>,
}

/// A run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeptRun {
    /// The group that it is of.
    pub group: u64,
    /// Its id.
    pub id: String,
    /// The user whose it is.
    pub uid: u32,
    /// Whether it goes to the ledger.
    pub recorded: bool,
    /// Whether its processes are to come yet.
    pub empty: bool,
    /// By which its energy becomes grams; the agent's where the zone is in no table of this program.
    pub zone: String,
    /// And the PUE.
    pub pue: f64,
    /// When it began, by the monotonic clock.
    pub at_ns: u64,
    /// What is recorded of it.
    pub start: KeptStart,
    /// What it used, with the runs inside it.
    pub energy: KeptEnergy,
    /// Without them.
    pub own: KeptTotal,
    /// What was counted.
    pub counts: BTreeMap<String, u64>,
    /// Segments that have ended.
    pub segments: u64,
    /// The open one: its name, when it began, and what it has.
    pub segment: KeptSegment,
}

/// What is recorded of its beginning, beside what is above.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "those of RunStart")]
pub struct KeptStart {
    pub node: String,
    pub organisation: Option<String>,
    pub project: Option<String>,
    pub experiment: Option<String>,
    pub name: Option<String>,
    pub series: Option<String>,
    pub tags: Vec<String>,
    pub command: Vec<String>,
    pub start_us: i64,
}

/// The open segment of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "those of Segment")]
pub struct KeptSegment {
    pub name: Option<String>,
    pub start_us: i64,
    pub start_ns: u64,
    pub counts: BTreeMap<String, u64>,
    pub energy: KeptEnergy,
}

/// Energy of a run or a part of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeptEnergy {
    total: KeptTotal,
    domains: Vec<KeptDomain>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct KeptDomain {
    domain: String,
    device: String,
    source: String,
    meter_quality: String,
    dynamic_uj: u64,
    static_uj: u64,
    held_uj: u64,
    quality: String,
}

/// Sums of all domains.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeptTotal {
    cpu_ns: u64,
    dynamic_uj: u64,
    static_uj: u64,
    held_uj: u64,
    device_uj: u64,
    memory_uj: Option<u64>,
    device_split_uj: f64,
    split_uj: f64,
    model_uj: f64,
    meter_uj: f64,
    quality: Option<String>,
}

impl From<&WorkloadTotal> for KeptTotal {
    fn from(total: &WorkloadTotal) -> Self {
        let Uncertainty { split_uj, model_uj, meter_uj } = total.uncertainty;
        Self {
            cpu_ns: total.cpu.0,
            dynamic_uj: total.dynamic_energy.0,
            static_uj: total.static_energy.0,
            held_uj: total.held_energy.0,
            device_uj: total.device_energy.0,
            memory_uj: total.memory_energy.map(|energy| energy.0),
            device_split_uj: total.device_split_uj,
            split_uj,
            model_uj,
            meter_uj,
            quality: total.quality.map(|quality| quality.as_str().to_owned()),
        }
    }
}

impl KeptTotal {
    /// As it was, but for what was counted of events.
    pub fn total(&self) -> WorkloadTotal {
        WorkloadTotal {
            cpu: CpuNanos(self.cpu_ns),
            dynamic_energy: Microjoules(self.dynamic_uj),
            static_energy: Microjoules(self.static_uj),
            held_energy: Microjoules(self.held_uj),
            device_energy: Microjoules(self.device_uj),
            memory_energy: self.memory_uj.map(Microjoules),
            device_split_uj: self.device_split_uj,
            uncertainty: Uncertainty {
                split_uj: self.split_uj,
                model_uj: self.model_uj,
                meter_uj: self.meter_uj,
            },
            quality: self.quality.as_deref().map(|word| parse_quality(word).unwrap_or(Quality::Modelled)),
            ..WorkloadTotal::default()
        }
    }
}

impl From<&Energy> for KeptEnergy {
    fn from(energy: &Energy) -> Self {
        let domain = |part: &DomainPart| KeptDomain {
            domain: part.domain.domain.clone(),
            device: part.domain.device.clone(),
            source: part.domain.source.clone(),
            meter_quality: part.domain.quality.as_str().to_owned(),
            dynamic_uj: part.dynamic_energy.0,
            static_uj: part.static_energy.0,
            held_uj: part.held_energy.0,
            quality: part.quality.as_str().to_owned(),
        };
        Self { total: (&energy.total).into(), domains: energy.domains.iter().map(domain).collect() }
    }
}

impl KeptEnergy {
    /// As it was.
    pub fn energy(&self) -> Energy {
        let quality = |word: &str| parse_quality(word).unwrap_or(Quality::Modelled);
        let part = |kept: &KeptDomain| DomainPart {
            domain: DomainId {
                domain: kept.domain.clone(),
                device: kept.device.clone(),
                source: kept.source.clone(),
                quality: quality(&kept.meter_quality),
            },
            dynamic_energy: Microjoules(kept.dynamic_uj),
            static_energy: Microjoules(kept.static_uj),
            held_energy: Microjoules(kept.held_uj),
            quality: quality(&kept.quality),
        };
        Energy { total: self.total.total(), domains: self.domains.iter().map(part).collect() }
    }
}

impl KeptStart {
    /// Without the id, which the run has.
    pub fn of(start: &RunStart) -> Self {
        Self {
            node: start.node.clone(),
            organisation: start.organisation.clone(),
            project: start.project.clone(),
            experiment: start.experiment.clone(),
            name: start.name.clone(),
            series: start.series.clone(),
            tags: start.tags.clone(),
            command: start.command.clone(),
            start_us: start.start_us,
        }
    }

    /// As it was.
    pub fn start(&self, id: String) -> RunStart {
        RunStart {
            id,
            node: self.node.clone(),
            organisation: self.organisation.clone(),
            project: self.project.clone(),
            experiment: self.experiment.clone(),
            name: self.name.clone(),
            series: self.series.clone(),
            tags: self.tags.clone(),
            command: self.command.clone(),
            start_us: self.start_us,
        }
    }
}

/// Beside the file by which a restart goes on.
pub fn path(resume: &Path) -> PathBuf {
    let mut name = resume.as_os_str().to_owned();
    name.push(".runs");
    name.into()
}

/// Writes it, whole or not at all; where no run is open, there is no file.
pub fn save(path: &Path, kept: &KeptRuns) -> io::Result<()> {
    if kept.runs.is_empty() {
        return match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    }
    private::write(path, &serde_json::to_vec(kept)?)
}

/// Reads it; nothing where there is none. In words, why it cannot be used.
pub fn load(path: &Path) -> Result<KeptRuns, String> {
    match read_regular(path, BYTES_MAX) {
        Ok(bytes) => parse(&bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(KeptRuns::default()),
        Err(error) => Err(error.to_string()),
    }
}

/// The runs in the bytes of such a file.
pub fn parse(bytes: &[u8]) -> Result<KeptRuns, String> {
    let kept: KeptRuns = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if kept.schema == SCHEMA { Ok(kept) } else { Err(format!("its schema is {:?}", kept.schema)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_and_nothing_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(&folder.path().join("new/agent.json"));
        assert_eq!(load(&path), Ok(KeptRuns::default()));
        let total = WorkloadTotal {
            cpu: CpuNanos(5),
            dynamic_energy: Microjoules(7),
            memory_energy: Some(Microjoules(2)),
            uncertainty: Uncertainty { split_uj: 0.5, model_uj: 0.25, meter_uj: 0.0 },
            quality: Some(Quality::Measured),
            ..WorkloadTotal::default()
        };
        let domain = DomainId {
            domain: "package".into(),
            device: "package-0".into(),
            source: "powercap".into(),
            quality: Quality::Measured,
        };
        let part = DomainPart {
            domain,
            dynamic_energy: Microjoules(7),
            static_energy: Microjoules(1),
            held_energy: Microjoules::ZERO,
            quality: Quality::Sampled,
        };
        let energy = Energy { total, domains: vec![part] };
        let run = KeptRun {
            id: "0197".into(),
            own: (&total).into(),
            energy: (&energy).into(),
            ..KeptRun::default()
        };
        let kept = KeptRuns { schema: SCHEMA.into(), runs: vec![run], ..KeptRuns::default() };
        save(&path, &kept).unwrap();
        let again = load(&path).unwrap();
        assert_eq!(again, kept);
        assert_eq!((again.runs[0].energy.energy(), again.runs[0].own.total()), (energy, total));
        save(&path, &KeptRuns::default()).unwrap();
        assert!(!path.exists());
        fs::write(&path, "{}").unwrap();
        assert!(load(&path).is_err());
    }
}
