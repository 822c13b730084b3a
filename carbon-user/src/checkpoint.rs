//! What attribution has learned, in a file: so that a restart does not begin anew.
//!
//! JSON with a schema of its own (`carbon.model/1`), apart from the inner types. Deviations of workloads are kept by cgroup
//! id, which is unique until the next boot; after one only what belongs to the machine is taken up: idle power, curve,
//! scores. A file that cannot be used is never fatal: it is set aside, and attribution starts from its tables.

use crate::attribution::Kept;
use crate::attribution::bank::{Learned, LearnedMember};
use crate::units::CgroupId;
use crate::window::{Class, DomainKind, WorkloadKey};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const SCHEMA: &str = "carbon.model/1";
/// More than the largest that is written: 16 domains of 128 workloads.
const BYTES_MAX: u64 = 16 << 20;

/// Why a file was not used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// It is there and cannot be read.
    #[error("cannot read what was learned from {path}: {source}; starting without it")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("{path} is no {SCHEMA} ({reason}); set aside as {aside}, starting without it")]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// Its new name.
        aside: PathBuf,
    },
    /// It cannot be written.
    #[error("cannot write what was learned to {path}: {source}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct CheckpointFile {
    schema: String,
    boot_id: String,
    domains: Vec<DomainEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct DomainEntry {
    domain: String,
    device: String,
    cpus: u32,
    prior_p0_w: f64,
    prior_watts_per_cpu: f64,
    mean_w: f64,
    lag_ratio: Option<f64>,
    workloads: Vec<WorkloadEntry>,
    members: Vec<MemberEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct WorkloadEntry {
    cgroup_id: u64,
    kernel: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct MemberEntry {
    score: f64,
    noise_ratio: f64,
    common: Vec<f64>,
    covariance: Vec<f64>,
    own: Vec<(f64, f64)>,
}

/// Writes what was learned, whole or not at all. `boot_id` is the kernel's (`/proc/sys/kernel/random/boot_id`).
///
/// # Errors
/// Where the folder cannot be written to.
pub fn save(path: &Path, boot_id: &str, kept: &[Kept]) -> Result<(), CheckpointError> {
    let domains = kept.iter().map(entry).collect();
    let file = CheckpointFile { schema: SCHEMA.into(), boot_id: boot_id.into(), domains };
    let write = || -> io::Result<()> {
        let new = with_suffix(path, ".new");
        let mut out = File::create(&new)?;
        out.write_all(&serde_json::to_vec(&file)?)?;
        out.sync_all()?;
        fs::rename(&new, path)
    };
    write().map_err(|source| CheckpointError::Write { path: path.into(), source })
}

/// Reads what was learned; nothing where there is no file.
///
/// # Errors
/// Where there is a file and it cannot be used. It is set aside then, so that the next start does not fail likewise.
pub fn load(path: &Path, boot_id: &str) -> Result<Vec<Kept>, CheckpointError> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(File::open(path)?, BYTES_MAX), &mut bytes)?;
        Ok(bytes)
    };
    let bytes = match read() {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(CheckpointError::Read { path: path.into(), source }),
    };
    parse(&bytes, boot_id).map_err(|reason| {
        let aside = with_suffix(path, ".set-aside");
        match fs::rename(path, &aside) {
            Ok(()) => CheckpointError::Unusable { path: path.into(), reason, aside },
            Err(source) => CheckpointError::Read { path: path.into(), source },
        }
    })
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn parse(bytes: &[u8], boot_id: &str) -> Result<Vec<Kept>, String> {
    let file: CheckpointFile = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if file.schema != SCHEMA {
        return Err(format!("its schema is {:?}", file.schema));
    }
    let same_boot = file.boot_id == boot_id;
    file.domains.into_iter().map(|entry| kept(entry, same_boot)).collect()
}

fn entry(kept: &Kept) -> DomainEntry {
    let Learned { prior_p0_w, prior_watts_per_cpu, cpus, mean_w, lag_ratio, members, workloads } =
        &kept.learned;
    // A run does not outlive the process that follows it.
    let stays: Vec<bool> = workloads.iter().map(|key| key.run.is_none()).collect();
    let only = |own: &[(f64, f64)]| {
        own.iter().zip(&stays).filter(|(_, stays)| **stays).map(|(own, _)| *own).collect::<Vec<_>>()
    };
    DomainEntry {
        domain: kept.kind.as_str().to_owned(),
        device: kept.device.clone(),
        cpus: *cpus,
        prior_p0_w: *prior_p0_w,
        prior_watts_per_cpu: *prior_watts_per_cpu,
        mean_w: *mean_w,
        lag_ratio: *lag_ratio,
        workloads: workloads
            .iter()
            .filter(|key| key.run.is_none())
            .map(|key| WorkloadEntry { cgroup_id: key.cgroup.0, kernel: key.class == Class::KernelThreads })
            .collect(),
        members: members
            .iter()
            .map(|member| MemberEntry {
                score: member.score,
                noise_ratio: member.noise_ratio,
                common: member.common.clone(),
                covariance: member.covariance.clone(),
                own: only(&member.own),
            })
            .collect(),
    }
}

fn kept(entry: DomainEntry, same_boot: bool) -> Result<Kept, String> {
    let kind = [DomainKind::Package, DomainKind::Dram, DomainKind::Platform]
        .into_iter()
        .find(|kind| kind.as_str() == entry.domain);
    let kind = kind.ok_or_else(|| format!("no domain {:?}", entry.domain))?;
    let key = |workload: WorkloadEntry| WorkloadKey {
        cgroup: CgroupId(workload.cgroup_id),
        class: if workload.kernel { Class::KernelThreads } else { Class::Tasks },
        run: None,
    };
    let workloads = if same_boot { entry.workloads.into_iter().map(key).collect() } else { Vec::new() };
    let member = |member: MemberEntry| LearnedMember {
        score: member.score,
        noise_ratio: member.noise_ratio,
        common: member.common,
        covariance: member.covariance,
        own: if same_boot { member.own } else { Vec::new() },
    };
    Ok(Kept {
        kind,
        device: entry.device,
        learned: Learned {
            prior_p0_w: entry.prior_p0_w,
            prior_watts_per_cpu: entry.prior_watts_per_cpu,
            cpus: entry.cpus,
            mean_w: entry.mean_w,
            lag_ratio: entry.lag_ratio,
            members: entry.members.into_iter().map(member).collect(),
            workloads,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribution::bank::{Bank, Beforehand, Observation};
    use crate::units::{RunId, Watts};

    const BEFOREHAND: Beforehand = Beforehand { cpus: 4, idle: Some(Watts(9.0)), per_cpu: None };

    fn learned() -> Kept {
        let mut bank = Bank::new(BEFOREHAND);
        let run = WorkloadKey { run: Some(RunId(3)), ..WorkloadKey::cgroup(CgroupId(4)) };
        let threads = WorkloadKey { class: Class::KernelThreads, ..WorkloadKey::cgroup(CgroupId(1)) };
        for second in 0..300 {
            let on = f64::from(second / 7 % 2);
            let rows = [(threads, 0.1 + on), (run, 0.5), (WorkloadKey::cgroup(CgroupId(9)), 1.1 - on)];
            let joules = 12.0 + 5.0 * on;
            bank.observe(&Observation { seconds: 1.0, joules, wake_ratio: None, rows: &rows });
        }
        Kept { kind: DomainKind::Dram, device: "package-1".into(), learned: bank.learned().unwrap() }
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.json");
        assert!(load(&path, "a").unwrap().is_empty());
        let kept = learned();
        save(&path, "a", std::slice::from_ref(&kept)).unwrap();
        let [loaded] = &load(&path, "a").unwrap()[..] else { panic!("not one domain") };
        assert_eq!((loaded.kind, loaded.device.as_str()), (kept.kind, "package-1"));
        assert_eq!(loaded.learned.workloads.len(), 2, "the run is gone");
        assert_eq!(loaded.learned.members[0].common, kept.learned.members[0].common);
        assert_eq!(loaded.learned.lag_ratio, Some(0.0));
        assert!(Bank::resume(BEFOREHAND, &loaded.learned).is_some());
    }

    #[test]
    fn after_a_boot_only_the_machine_is_known() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.json");
        save(&path, "a", &[learned()]).unwrap();
        let loaded = load(&path, "b").unwrap();
        assert!(loaded[0].learned.workloads.is_empty());
        let resumed = Bank::resume(BEFOREHAND, &loaded[0].learned).unwrap();
        assert!(resumed.slots().is_empty() && resumed.members().count() == 25);
    }

    #[test]
    fn a_file_that_is_none_is_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.json");
        let aside = directory.path().join("model.json.set-aside");
        for (text, reason) in [
            ("", "EOF"),
            ("{\"schema\": \"carbon.model/1\"}", "missing field"),
            ("{\"schema\": \"carbon.model/9\", \"boot_id\": \"a\", \"domains\": []}", "carbon.model/9"),
        ] {
            fs::write(&path, text).unwrap();
            let message = load(&path, "a").unwrap_err().to_string();
            assert!(message.contains(reason) && message.contains("set aside"), "{message}");
            assert!(!path.exists() && aside.exists());
        }
        assert!(matches!(load(directory.path(), "a"), Err(CheckpointError::Read { .. })));
        assert!(matches!(save(Path::new("/nonexistent/x"), "a", &[]), Err(CheckpointError::Write { .. })));
    }
}
