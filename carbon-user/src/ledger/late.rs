//! Runs that ended while their ledger could not be written: each waits in a file of its own for the next that opens the ledger
//! to write.
//!
//! A run is measured once, and its ledger may be locked, full or away at that moment. The file holds the line that an export has of
//! the run. It is its owner's alone, is on the disk before it is said to be kept, and goes when the ledger has the run.

use super::error::LedgerError;
use super::factor::hexadecimal;
use super::runs::KeptRun;
use super::{Ledger, Location, exchange, postgres};
use crate::ledger::rows::RunStatus;
use rustix::process::geteuid;
use sha2::{Digest, Sha256};
use std::env;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Runs that wait for a ledger in one folder at most.
const FILES_MAX: usize = 1000;

/// Bytes of a run's line at most; one with all its domains and processes has some ten thousand.
const BYTES_MAX: u64 = 16 << 20;

/// How a file ends that waits, and one that no ledger takes.
const WAITING: &str = "json";
const REFUSED: &str = "refused";

/// Whether the same write may succeed later.
pub fn may_pass(error: &LedgerError) -> bool {
    !matches!(error, LedgerError::Overflow(_) | LedgerError::Unbalanced { .. } | LedgerError::Kinds(_))
}

/// Keeps a run that has ended, and gives the file: beside the ledger, else in the state directory, else in that of this boot. The
/// error is that of the last.
pub fn keep(location: &Location, run: &KeptRun) -> io::Result<PathBuf> {
    let id = &run.start.id;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if id.is_empty() || id.len() > 64 || !id.bytes().all(plain) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("no id of a run: {id:?}")));
    }
    let line = exchange::run_line(run);
    if line.is_empty() || line.len() as u64 > BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the run is too large for a file"));
    }
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "there is no folder for it");
    for folder in folders(location) {
        match write(&folder, id, &line) {
            Ok(path) => return Ok(path),
            Err(error) => failed = io::Error::new(error.kind(), format!("{}: {error}", folder.display())),
        }
    }
    Err(failed)
}

/// Whether a run waits for this ledger.
pub fn is_waiting(location: &Location) -> bool {
    folders(location).iter().any(|folder| !waiting(folder).is_empty())
}

/// Writes what waits, each once. What cannot be written stays, for the next.
pub(super) fn take(ledger: &mut Ledger, location: &Location) {
    for path in folders(location).iter().flat_map(|folder| waiting(folder)) {
        let text = match read(&path) {
            Ok(text) => text,
            // Another carbon was quicker.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                log::warn!("cannot read the run in {}: {error}", path.display());
                continue;
            }
        };
        let run = match exchange::run_of_line(text.trim_end()) {
            Ok(run) => run,
            Err(error) => {
                refuse(&path, &error);
                continue;
            }
        };
        match complete(ledger, &run) {
            Ok(()) => {}
            Err(error) if !may_pass(&error) => {
                refuse(&path, &error);
                continue;
            }
            Err(error) => {
                log::warn!("the run in {} waits on: {error}", path.display());
                if matches!(error, LedgerError::Busy { .. } | LedgerError::Full { .. }) {
                    return;
                }
                continue;
            }
        }
        log::info!("run {} is in the ledger now", run.start.id);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            log::warn!("cannot remove {}, whose run is in the ledger: {error}", path.display());
        }
        // The last one removes the folder.
        drop(path.parent().map(fs::remove_dir));
    }
}

/// Sets a file aside that no ledger would take, so that it is looked at once.
fn refuse(path: &Path, error: &LedgerError) {
    let kept = path.with_extension(REFUSED);
    log::warn!("{} holds no run of a ledger: {error}; it is kept as {}", path.display(), kept.display());
    drop(fs::rename(path, &kept));
}

/// Who came second finds the run ended, and changes nothing.
fn complete(ledger: &mut Ledger, run: &KeptRun) -> Result<(), LedgerError> {
    let sql = "SELECT status FROM run WHERE id = $1";
    let known = ledger.database.query(sql, &[run.start.id.as_str().into()])?;
    if known.first().is_some_and(|row| row.text(0) != RunStatus::Running.as_str()) {
        return Ok(());
    }
    run.end.as_ref().map_or(Ok(()), |end| ledger.end_run(&run.start, end))
}

/// Where runs of a ledger may wait, the best first.
fn folders(location: &Location) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let key = match location {
        Location::File(path) => {
            let mut beside = path.as_os_str().to_owned();
            beside.push("-runs");
            folders.push(PathBuf::from(beside));
            fs::canonicalize(path).unwrap_or_else(|_| path.clone()).into_os_string()
        }
        Location::Postgres(url) => postgres::without_password(url).into(),
    };
    let mut name = hexadecimal(&Sha256::digest(key.as_bytes()));
    name.truncate(16);
    let of = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    // Memory, where the disk is full. A service's own folder in /run goes with the service.
    let (state, memory) = if geteuid().is_root() {
        (Some("/var/lib/carbon".into()), Some("/run/carbon-ledger".into()))
    } else {
        let state = of("XDG_STATE_HOME").or_else(|| Some(of("HOME")?.join(".local/state")));
        (state.map(|path| path.join("carbon")), of("XDG_RUNTIME_DIR").map(|path| path.join("carbon")))
    };
    folders.extend([state, memory].into_iter().flatten().map(|folder| folder.join(format!("runs-{name}"))));
    folders
}

/// Files of runs in a folder that nobody else can write to, the oldest first.
fn waiting(folder: &Path) -> Vec<PathBuf> {
    if !fs::symlink_metadata(folder).is_ok_and(|found| is_own(&found)) {
        return Vec::new();
    }
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension() == Some(OsStr::new(WAITING))).take(FILES_MAX).collect();
    paths.sort();
    paths
}

fn is_own(folder: &Metadata) -> bool {
    folder.is_dir() && folder.uid() == geteuid().as_raw() && folder.mode() & 0o022 == 0
}

/// Whole and on the disk, or not at all.
fn write(folder: &Path, id: &str, line: &str) -> io::Result<PathBuf> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    if !is_own(&fs::symlink_metadata(folder)?) {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "others can write there"));
    }
    if waiting(folder).len() >= FILES_MAX {
        return Err(io::Error::other(format!("{FILES_MAX} runs wait there already")));
    }
    let (path, new) = (folder.join(format!("{id}.{WAITING}")), folder.join(format!("{id}.new")));
    let write_new = || -> io::Result<()> {
        let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        out.write_all(line.as_bytes())?;
        out.write_all(b"\n")?;
        out.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(folder)?.sync_all()
    };
    write_new().inspect_err(|_| {
        drop(fs::remove_file(&new));
        // One that is empty is in nobody's way, but nobody would remove it.
        drop(fs::remove_dir(folder));
    })?;
    Ok(path)
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = Vec::new();
    File::open(path)?.take(BYTES_MAX + 1).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
