//! What attribution has learned, in a file: so that a restart does not begin anew.
//!
//! JSON with a schema of its own (`carbon.state/1`), apart from the inner types. Deviations of workloads are kept by cgroup
//! id, which is unique until the next boot; after one only what belongs to the machine is taken up: idle power, curve,
//! scores, experiments. A file that cannot be used, or is of another machine, is never fatal: it is set aside, and attribution
//! starts from its tables.

mod entries;
mod machine;

pub(crate) use entries::DomainEntry;
pub use machine::Machine;

use crate::attribution::Kept;
use crate::units::CgroupId;
use crate::window::WorkloadKey;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Name and version of the file's schema.
pub const SCHEMA: &str = "carbon.state/1";
/// More than the largest that is written: 16 domains of 128 workloads.
const BYTES_MAX: u64 = 16 << 20;

/// Why a file was not used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// It is there and cannot be read.
    #[error("cannot read what was learned before from {path}: {source}; starting without it")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("{path} is no {SCHEMA} of this machine ({reason}); set aside as {aside}, starting without it")]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// Its new name.
        aside: PathBuf,
    },
    /// It is not what it should be, and stays where it is.
    #[error("{path} is no {SCHEMA} of this machine ({reason}); left as it is and not used")]
    Left {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It cannot be written.
    #[error(
        "cannot keep what is learned in {path}: {source}; give --state a file that can be written, or none"
    )]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What was learned, with what is not needed to go on from it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    /// By domain.
    pub kept: Vec<Kept>,
    /// Paths of cgroups below the root of their hierarchy, where they were known.
    pub paths: BTreeMap<CgroupId, String>,
    /// When it was written, RFC 3339; a label.
    pub saved_at: String,
}

impl Checkpoint {
    /// Workloads that are kept: no runs, which do not outlive the process that follows them.
    pub fn workloads(&self) -> impl Iterator<Item = WorkloadKey> {
        self.kept.iter().flat_map(|kept| kept.learned.workloads.iter().copied())
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct CheckpointFile {
    schema: String,
    saved_at: String,
    boot_id: String,
    machine: Option<String>,
    processor: String,
    domains: Vec<DomainEntry>,
    cgroups: Vec<(u64, String)>,
}

/// Writes what was learned, whole or not at all; makes the folder where there is none.
///
/// # Errors
/// Where the folder cannot be written to.
pub fn save(path: &Path, machine: &Machine, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
    let file = CheckpointFile {
        schema: SCHEMA.into(),
        saved_at: checkpoint.saved_at.clone(),
        boot_id: machine.boot_id.clone(),
        machine: machine.id.clone(),
        processor: machine.processor.clone(),
        domains: checkpoint.kept.iter().map(DomainEntry::of).collect(),
        cgroups: checkpoint.paths.iter().map(|(cgroup, path)| (cgroup.0, path.clone())).collect(),
    };
    let write = || -> io::Result<()> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        // Two programs that keep the same file each write their own, and the last one stays.
        let new = with_suffix(path, &format!(".{}.new", std::process::id()));
        let write_new = || -> io::Result<()> {
            let mut out = File::create(&new)?;
            out.write_all(&serde_json::to_vec(&file)?)?;
            out.sync_all()?;
            fs::rename(&new, path)
        };
        write_new().inspect_err(|_| drop(fs::remove_file(&new)))
    };
    write().map_err(|source| CheckpointError::Write { path: path.into(), source })
}

/// Reads what was learned; nothing where there is no file.
///
/// # Errors
/// Where there is a file and it cannot be used. It is set aside then, so that the next start does not fail likewise;
/// where `look_only`, it is left alone.
pub fn load(path: &Path, machine: &Machine, look_only: bool) -> Result<Option<Checkpoint>, CheckpointError> {
    let bytes = match read_regular(path, BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(CheckpointError::Read { path: path.into(), source }),
    };
    parse(&bytes, machine).map(Some).map_err(|reason| {
        let aside = with_suffix(path, ".set-aside");
        if look_only || fs::rename(path, &aside).is_err() {
            return CheckpointError::Left { path: path.into(), reason };
        }
        CheckpointError::Unusable { path: path.into(), reason, aside }
    })
}

/// What a file of our own holds, up to `bytes_max`. A pipe, or anything else that one would wait for, is refused at once.
pub(crate) fn read_regular(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let file = File::options().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// A file that may hold anything.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(bytes: &[u8]) {
    let processor = "AMD EPYC 7763 64-Core Processor, 2 online".to_owned();
    let machine = Machine { boot_id: "boot".to_owned(), id: None, processor };
    drop(parse(bytes, &machine));
}

fn parse(bytes: &[u8], machine: &Machine) -> Result<Checkpoint, String> {
    #[derive(Deserialize)]
    struct Head {
        schema: String,
    }
    let head: Head = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if head.schema != SCHEMA {
        return Err(format!("its schema is {:?}", head.schema));
    }
    let file: CheckpointFile = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if file.processor != machine.processor {
        return Err(format!("it is of the processor {:?}", file.processor));
    }
    if file.machine.is_some() && machine.id.is_some() && file.machine != machine.id {
        return Err("it is of another machine".to_owned());
    }
    // An id of a cgroup is one until the next boot.
    let same_boot = file.boot_id == machine.boot_id;
    let kept = file.domains.into_iter().map(|entry| entry.kept(same_boot)).collect::<Result<_, _>>()?;
    let cgroups = file.cgroups.into_iter().filter(|_| same_boot);
    let paths = cgroups.map(|(cgroup, path)| (CgroupId(cgroup), path)).collect();
    Ok(Checkpoint { kept, paths, saved_at: file.saved_at })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribution::bank::{Bank, Beforehand, Learned, Observation};
    use crate::units::{RunId, Watts};
    use crate::window::{Class, DomainKind};

    fn machine(boot_id: &str) -> Machine {
        Machine { boot_id: boot_id.into(), id: Some("m".into()), processor: "p".into() }
    }

    fn of(kept: Vec<Kept>) -> Checkpoint {
        let paths = BTreeMap::from([(CgroupId(9), "/a".to_owned())]);
        Checkpoint { kept, paths, saved_at: "now".into() }
    }

    const BEFOREHAND: Beforehand = Beforehand { cpus: 4, idle: Some(Watts(9.0)), per_cpu: None };

    fn learned() -> Kept {
        let mut bank = Bank::new(BEFOREHAND);
        let run = WorkloadKey { run: Some(RunId(3)), ..WorkloadKey::cgroup(CgroupId(4)) };
        let threads = WorkloadKey { class: Class::KernelThreads, ..WorkloadKey::cgroup(CgroupId(1)) };
        for second in 0..300 {
            let on = f64::from(second / 7 % 2);
            let rows = [(threads, 0.1 + on), (run, 0.5), (WorkloadKey::cgroup(CgroupId(9)), 1.1 - on)];
            let joules = 12.0 + 5.0 * on;
            bank.observe(&Observation { seconds: 1.0, joules, wake_ratio: None, rows: &rows, events: &[] });
        }
        Kept { kind: DomainKind::Dram, device: "package-1".into(), learned: bank.learned().unwrap() }
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.json");
        let path = directory.path().join("folder").join(path.file_name().unwrap());
        assert!(load(&path, &machine("a"), false).unwrap().is_none());
        let kept = learned();
        save(&path, &machine("a"), &of(vec![kept.clone()])).unwrap();
        let checkpoint = load(&path, &machine("a"), false).unwrap().unwrap();
        assert_eq!(checkpoint.paths[&CgroupId(9)], "/a");
        assert!(checkpoint.workloads().eq(checkpoint.kept[0].learned.workloads.iter().copied()));
        let [loaded] = &checkpoint.kept[..] else { panic!("not one domain") };
        // What is written is what is read, to the last bit, but for the run.
        let numbers = |learned: &Learned| Learned { workloads: vec![], together: vec![], ..learned.clone() };
        let mut before = numbers(&kept.learned);
        for member in &mut before.members {
            if !member.own.is_empty() {
                member.own.remove(1);
            }
        }
        assert_eq!(numbers(&loaded.learned), before);
        assert_eq!((loaded.kind, loaded.device.as_str()), (kept.kind, "package-1"));
        assert_eq!(loaded.learned.workloads.len(), 2, "the run is gone");
        assert_eq!(loaded.learned.members[0].common, kept.learned.members[0].common);
        assert_eq!(loaded.learned.lag_ratio, Some(0.0));
        assert!(Bank::resume(BEFOREHAND, &loaded.learned).is_some());
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else is left there");
    }

    #[test]
    fn after_a_boot_only_the_machine_is_known() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.json");
        save(&path, &machine("a"), &of(vec![learned()])).unwrap();
        let Checkpoint { kept: loaded, paths, .. } = load(&path, &machine("b"), false).unwrap().unwrap();
        assert!(paths.is_empty() && loaded[0].learned.together.is_empty());
        assert_eq!(loaded[0].learned.evidence, learned().learned.evidence);
        assert!(loaded[0].learned.workloads.is_empty());
        let resumed = Bank::resume(BEFOREHAND, &loaded[0].learned).unwrap();
        assert!(resumed.slots().is_empty() && resumed.members().count() == 28);
    }

    #[test]
    fn a_file_that_is_none_is_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.json");
        let aside = directory.path().join("model.json.set-aside");
        for (text, reason) in [
            ("", "EOF"),
            ("{\"schema\": \"carbon.state/1\"}", "missing field"),
            ("{\"schema\": \"carbon.state/0\", \"domains\": []}", "its schema is \"carbon.state/0\""),
            ("{\"schema\": \"carbon.state/9\", \"boot_id\": \"a\", \"domains\": []}", "carbon.state/9"),
        ] {
            fs::write(&path, text).unwrap();
            let message = load(&path, &machine("a"), true).unwrap_err().to_string();
            assert!(message.contains(reason) && path.exists(), "who only looks leaves it: {message}");
            let message = load(&path, &machine("a"), false).unwrap_err().to_string();
            assert!(message.contains(reason) && message.contains("set aside"), "{message}");
            assert!(!path.exists() && aside.exists());
        }
        let readable = load(directory.path(), &machine("a"), false);
        assert!(matches!(readable, Err(CheckpointError::Read { .. })));
        let written = save(Path::new("/proc/x/y"), &machine("a"), &Checkpoint::default());
        assert!(matches!(written, Err(CheckpointError::Write { .. })));
    }

    #[test]
    fn a_file_of_another_machine_or_cut_short_is_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        let save = || save(&path, &machine("a"), &of(vec![learned()])).unwrap();
        let others = [
            (Machine { id: Some("other".into()), ..machine("a") }, "of another machine"),
            (Machine { processor: "q".into(), ..machine("a") }, "of the processor \"p\""),
        ];
        for (machine, reason) in others {
            save();
            let message = load(&path, &machine, false).unwrap_err().to_string();
            assert!(message.contains(reason) && !path.exists(), "{message}");
        }
        save();
        assert!(
            load(&path, &Machine { id: None, ..machine("a") }, false).unwrap().is_some(),
            "it cannot tell"
        );
        let whole = fs::read(&path).unwrap();
        for length in [0, 1, 20, whole.len() / 2, whole.len() - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(load(&path, &machine("a"), false).is_err(), "{length} bytes");
        }
        // Of a sound form, and of numbers that make no sense: the bank does not go on from it.
        let text = String::from_utf8(whole).unwrap().replacen("\"cpus\":4", "\"cpus\":5", 1);
        fs::write(&path, text).unwrap();
        let loaded = load(&path, &machine("a"), false).unwrap().unwrap();
        assert!(Bank::resume(BEFOREHAND, &loaded.kept[0].learned).is_none());
    }
}
