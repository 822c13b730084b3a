//! Files of the agent that are nobody else's business: what ran when, and with which arguments.

use crate::ledger::{beside, make_private};
use std::fs::{self, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

fn make_folder_of(path: &Path) -> io::Result<()> {
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => make_private(folder),
        None => Ok(()),
    }
}

/// Writes a file for its owner alone, whole or not at all, on the disk when this returns.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    make_folder_of(path)?;
    let new = beside(path, &format!(".{}.new", std::process::id()));
    let write = || -> io::Result<()> {
        let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        out.write_all(bytes)?;
        out.sync_all()?;
        fs::rename(&new, path)
    };
    write().inspect_err(|_| drop(fs::remove_file(&new)))
}

/// Held while an agent runs; the kernel lets go of it however the agent ends.
#[derive(Debug)]
pub struct Alone {
    file: fs::File,
    path: PathBuf,
}

impl Alone {
    /// With the file of a restart, which one agent at a time has: a second would book each joule again, in the same ledger.
    /// Nothing where another has it.
    pub fn with(path: &Path) -> io::Result<Option<Self>> {
        make_folder_of(path)?;
        let lock = beside(path, ".lock");
        // Written by nobody, so that a disk without room is no matter.
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&lock)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { file, path: lock })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Whether the file that is locked is still the one of that name: once it is removed, another agent can lock a new one.
    pub fn holds(&self) -> bool {
        match (fs::metadata(&self.path), self.file.metadata()) {
            (Ok(named), Ok(locked)) => (named.dev(), named.ino()) == (locked.dev(), locked.ino()),
            (Err(error), _) => error.kind() != io::ErrorKind::NotFound,
            (Ok(_), Err(_)) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn files_are_their_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("carbon/agent.json");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn one_at_a_time_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.json");
        let one = Alone::with(&path).unwrap();
        assert!(one.is_some() && Alone::with(&path).unwrap().is_none());
        assert!(Alone::with(&folder.path().join("other.json")).unwrap().is_some());
        drop(one);
        let one = Alone::with(&path).unwrap().unwrap();
        assert!(one.holds());
        fs::remove_file(folder.path().join("agent.json.lock")).unwrap();
        assert!(!one.holds(), "a second can begin");
        let _second = Alone::with(&path).unwrap().unwrap();
        assert!(!one.holds(), "a second has begun");
    }
}
