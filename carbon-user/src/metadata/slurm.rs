//! Slurm's jobs: a note for each job of this node, which its prolog leaves (deploy/slurm/prolog.sh). Nothing is asked of
//! Slurm, whose controller may be out of reach and has better to do; root writes the notes, so that no user can make one up.

use super::{Job, Key, Known, Source, SourceError, text};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Bytes of a note that are read: the name of the job, which its user chose, comes last.
const NOTE_BYTES_MAX: u64 = 4096;
/// Write permission of the group and of others.
const OPEN_TO_OTHERS: u32 = 0o022;

/// A folder of notes, each under the number of its job.
pub(super) struct Notes {
    folder: PathBuf,
}

impl Notes {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The note of a job, where it has one.
    fn note(&self, folder: &OwnedFd, id: &str) -> Result<Option<Vec<u8>>, SourceError> {
        // Without waiting for the other end of what may be no file.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let path = self.folder.join(id);
        let file = match openat(folder, id, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(failed(&path, error)),
        };
        believed(&file, FileType::RegularFile, &path)?;
        let mut note = Vec::new();
        file.take(NOTE_BYTES_MAX).read_to_end(&mut note).map_err(|error| failed(&path, error))?;
        Ok(Some(note))
    }
}

fn failed(path: &Path, why: impl std::fmt::Display) -> SourceError {
    SourceError::Failed(format!("{}: {why}", path.display()))
}

/// Whether root, or the user that this program runs as, alone could have written it.
fn believed(file: impl AsFd, kind: FileType, path: &Path) -> Result<(), SourceError> {
    let is = fstat(file).map_err(|error| failed(path, error))?;
    let own = [0, rustix::process::geteuid().as_raw()].contains(&is.st_uid);
    if FileType::from_raw_mode(is.st_mode) != kind || !own || is.st_mode & OPEN_TO_OTHERS != 0 {
        return Err(failed(path, "not believed, as others than root could have written it"));
    }
    Ok(())
}

impl Source for Notes {
    fn name(&self) -> &'static str {
        "slurm"
    }

    fn may_know(&self, key: &Key) -> bool {
        matches!(key, Key::Job(_))
    }

    fn ask(&mut self, wanted: &[Key]) -> Result<Vec<(Key, Known)>, SourceError> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = match openat(CWD, &self.folder, flags, Mode::empty()) {
            Ok(folder) => folder,
            Err(Errno::NOENT) => return Err(SourceError::Absent(self.folder.display().to_string())),
            Err(error) => return Err(failed(&self.folder, error)),
        };
        believed(&folder, FileType::Directory, &self.folder)?;
        let mut found = Vec::new();
        for key in wanted {
            let Key::Job(id) = key else { continue };
            let note = self.note(&folder, id)?;
            found.extend(note.and_then(|note| known(&note)).map(|known| (key.clone(), known)));
        }
        Ok(found)
    }
}

/// What a note says, `BEGIN|USER|ACCOUNT|PARTITION|NAME` in its first line; an older one ends after the account. Nothing where
/// it is none: one that is half written is read again later.
pub(super) fn known(note: &[u8]) -> Option<Known> {
    let note = String::from_utf8_lossy(note);
    let mut parts = note.lines().next()?.splitn(5, '|');
    parts.next()?.parse::<u64>().ok()?;
    let mut part = || parts.next().and_then(text);
    let (user, account, partition, name) = (part(), part(), part(), part());
    user.as_ref()?;
    Some(Known { source: "slurm", job: Some(Job { name, user, account, partition }), ..Known::default() })
}
