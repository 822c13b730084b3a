//! Where a report goes, and whether it may have colours.

use super::error::CliError;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

/// What a report may use of its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Columns; `None` where nothing limits them.
    pub columns: Option<u16>,
    /// Rows; `None` where nothing limits them.
    pub rows: Option<u16>,
    /// Whether colours may be used.
    pub colours: bool,
}

impl Layout {
    /// No limits, no colours: files and pipes.
    pub const PLAIN: Self = Self { columns: None, rows: None, colours: false };
}

/// A stream that may be a terminal.
pub trait Stream: IsTerminal + rustix::fd::AsFd {}
impl<T: IsTerminal + rustix::fd::AsFd> Stream for T {}

/// The layout for a stream as it is now: colours on a terminal only, and not where `NO_COLOR` is set to anything
/// (<https://no-color.org>).
pub fn layout(stream: &impl Stream) -> Layout {
    if !stream.is_terminal() {
        return Layout::PLAIN;
    }
    let size = rustix::termios::tcgetwinsize(stream).ok();
    let limit = |cells: u16| (cells > 0).then_some(cells);
    Layout {
        columns: size.and_then(|size| limit(size.ws_col)),
        rows: size.and_then(|size| limit(size.ws_row)),
        colours: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
    }
}

/// Where a report goes. Opened before anything is measured, so that a report that could not be written costs
/// nothing.
#[derive(Debug)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error, for reports beside the output of a command.
    Stderr,
    /// A file that appears whole or not at all.
    File(NewFile),
    /// A pipe or a device: written in place.
    Stream {
        /// As it was given.
        path: PathBuf,
        /// Open for writing.
        file: File,
    },
}

impl Output {
    /// Opens `path`, or takes `otherwise` where there is none.
    pub fn open(path: Option<&Path>, otherwise: Self) -> Result<Self, CliError> {
        let Some(path) = path else { return Ok(otherwise) };
        open_path(path).map_err(|source| CliError::Output { path: path.into(), source })
    }

    /// How a report for it is laid out.
    pub fn layout(&self) -> Layout {
        match self {
            Self::Stdout => layout(&io::stdout()),
            Self::Stderr => layout(&io::stderr()),
            Self::File(_) | Self::Stream { .. } => Layout::PLAIN,
        }
    }

    /// Writes the whole report, once.
    pub fn write(self, text: &str) -> Result<(), CliError> {
        self.write_bytes(text.as_bytes())
    }

    /// As [`Self::write`], of what is no text.
    pub fn write_bytes(self, bytes: &[u8]) -> Result<(), CliError> {
        self.write_with(|stream| stream.write_all(bytes))
    }

    /// As [`Self::write`], of what is too long to be held: `make` writes it bit by bit. A file gets its name only where that
    /// was all done.
    pub fn write_with<T>(self, make: impl FnOnce(&mut dyn Write) -> io::Result<T>) -> Result<T, CliError> {
        let all = |stream: &mut dyn Write| {
            let mut buffered = BufWriter::new(stream);
            let result = make(&mut buffered)?;
            buffered.flush()?;
            Ok(result)
        };
        let (name, result) = match self {
            Self::Stdout => ("standard output".into(), all(&mut io::stdout().lock())),
            Self::Stderr => ("standard error".into(), all(&mut io::stderr().lock())),
            Self::Stream { path, mut file } => (path.display().to_string(), all(&mut file)),
            Self::File(mut file) => (
                file.target.display().to_string(),
                all(&mut file.file).and_then(|made| file.commit().map(|()| made)),
            ),
        };
        result.map_err(|source| CliError::from_write(name, source))
    }
}

/// A file under a temporary name beside its own; removed when it is dropped before it was written.
#[derive(Debug)]
pub struct NewFile {
    target: PathBuf,
    temporary: PathBuf,
    file: File,
    committed: bool,
}

impl NewFile {
    fn create(target: PathBuf) -> io::Result<Self> {
        if target.file_name().is_none() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        // Not made of the file's own name, which may be as long as names can be.
        let temporary = target.with_file_name(format!(".carbon.{}.tmp", std::process::id()));
        let new = || OpenOptions::new().write(true).create_new(true).open(&temporary);
        let file = match new() {
            // Of a program with the same process id that was killed: this one has made none yet.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(&temporary)?;
                new()?
            }
            opened => opened?,
        };
        Ok(Self { target, temporary, file, committed: false })
    }

    /// Gives the file its name; what had the name before is replaced in one step.
    fn commit(mut self) -> io::Result<()> {
        if let Ok(existing) = fs::metadata(&self.target) {
            self.file.set_permissions(existing.permissions())?;
        }
        fs::rename(&self.temporary, &self.target)?;
        self.committed = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.committed {
            // Nothing is left to do where even this fails.
            drop(fs::remove_file(&self.temporary));
        }
    }
}

fn open_path(path: &Path) -> io::Result<Output> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        // Below /dev and /proc, names such as /dev/stdout stand for files that others have open: they are not
        // replaced, and what is in them stays.
        Ok(metadata) if !metadata.is_file() || path.starts_with("/dev") || path.starts_with("/proc") => {
            Ok(Output::Stream { path: path.into(), file: OpenOptions::new().append(true).open(path)? })
        }
        Ok(_) => {
            // A file that its mode protects is not replaced, although its directory would allow that.
            drop(OpenOptions::new().write(true).open(path)?);
            // Through a symbolic link, what it points at is replaced, not the link.
            Ok(Output::File(NewFile::create(fs::canonicalize(path)?)?))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(Output::File(NewFile::create(end_of_links(path)?)?))
        }
        Err(error) => Err(error),
    }
}

/// The name that is made where a symbolic link points at nothing yet: the link stays.
fn end_of_links(path: &Path) -> io::Result<PathBuf> {
    let mut end = path.to_path_buf();
    // As many as the kernel follows (MAXSYMLINKS, include/linux/namei.h).
    for _ in 0..40 {
        match fs::read_link(&end) {
            Ok(target) => end = end.parent().unwrap_or(Path::new("")).join(target),
            Err(_) => return Ok(end),
        }
    }
    Err(io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("report.json");
        let output = Output::open(Some(&path), Output::Stdout).unwrap();
        assert!(!path.exists());
        drop(output);
        assert!(names(directory.path()).is_empty());
        Output::open(Some(&path), Output::Stdout).unwrap().write("{}\n").unwrap();
        assert_eq!(names(directory.path()), ["report.json"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "{}\n");
    }

    #[test]
    fn what_fails_half_way_leaves_what_was_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("export");
        fs::write(&path, "old").unwrap();
        let half = |out: &mut dyn Write| -> io::Result<()> {
            out.write_all(b"new, but not")?;
            Err(io::Error::other("gone"))
        };
        assert!(Output::open(Some(&path), Output::Stdout).unwrap().write_with(half).is_err());
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), names(directory.path()).len()), ("old", 1));
    }

    #[test]
    fn a_link_and_the_mode_of_an_existing_file_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let (path, link) = (directory.path().join("report"), directory.path().join("link"));
        fs::write(&path, "old, and longer than the new one").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("report", &link).unwrap();
        Output::open(Some(&link), Output::Stdout).unwrap().write("new").unwrap();
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn a_link_to_a_file_that_is_not_there_yet_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| directory.path().join(name));
        symlink("second", &first).unwrap();
        symlink("report", &second).unwrap();
        Output::open(Some(&first), Output::Stdout).unwrap().write("new").unwrap();
        assert_eq!(names(directory.path()), ["first", "report", "second"]);
        assert!(
            first.symlink_metadata().unwrap().is_symlink() && second.symlink_metadata().unwrap().is_symlink()
        );
        assert_eq!(fs::read_to_string(&first).unwrap(), "new");
    }

    #[test]
    fn a_device_is_written_in_place() {
        Output::open(Some(Path::new("/dev/null")), Output::Stdout).unwrap().write("x").unwrap();
        let full =
            Output::open(Some(Path::new("/dev/full")), Output::Stdout).unwrap().write("x").unwrap_err();
        assert!(matches!(full, CliError::Write { .. }));
    }

    #[test]
    fn what_cannot_be_opened_is_said_before() {
        for path in ["/", "/nonexistent/report", "/proc/report", "/dev/null/report"] {
            let error = Output::open(Some(Path::new(path)), Output::Stdout).unwrap_err();
            assert!(matches!(error, CliError::Output { .. }), "{path}");
        }
    }
}
