//! A counter in a file of sysfs, and what it means where it cannot be read.

use super::lane::{Probe, Raws};
use super::{ErrorKind, MeterError};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Reads one file that holds a whole number.
#[derive(Debug)]
pub(super) struct FileProbe {
    file: PathBuf,
    period: Option<Duration>,
}

impl FileProbe {
    /// A probe of `file`, read every `period` even if nobody asks.
    pub(super) fn new(file: PathBuf, period: Option<Duration>) -> Self {
        Self { file, period }
    }

    /// What the file says.
    pub(super) fn value(&self) -> io::Result<u64> {
        read_number(&self.file)
    }
}

impl Probe for FileProbe {
    fn read(&mut self, _at_edge: bool) -> Raws {
        vec![self.value().map(Into::into).map_err(|error| Failure::of(&self.file, &error).into())]
    }

    fn period(&self) -> Option<Duration> {
        self.period
    }
}

/// The whole number in a file of sysfs.
pub(super) fn read_number(file: &Path) -> io::Result<u64> {
    // 2^64 has 20 digits.
    let mut buffer = [0; 32];
    let length = File::open(file)?.read(&mut buffer)?;
    let text = buffer.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok()).map(str::trim);
    match text {
        Some("") => Err(invalid("it is empty")),
        Some(text) => text.parse().map_err(|_| invalid("it is not a number")),
        None => Err(invalid("it is not text")),
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// A failed read, sorted.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: ErrorKind,
    pub(super) reason: String,
    pub(super) advice: Option<&'static str>,
}

impl Failure {
    /// The powercap class turns whatever the driver says into EINVAL, so that one tells nothing. A device or a right that
    /// has gone is tried again ever more seldom, everything else at the next window.
    pub(super) fn of(file: &Path, error: &io::Error) -> Self {
        let (kind, advice) = match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOENT | Errno::NODEV | Errno::NXIO) => (ErrorKind::Gone, None),
            Some(Errno::ACCESS | Errno::PERM) => {
                (ErrorKind::Gone, Some("run as root or give CAP_DAC_READ_SEARCH"))
            }
            _ => (ErrorKind::Retry, None),
        };
        Self { kind, reason: format!("cannot read {}: {}", file.display(), describe(error)), advice }
    }
}

impl From<Failure> for MeterError {
    fn from(Failure { kind, reason, advice }: Failure) -> Self {
        let advice = advice.unwrap_or(match kind {
            ErrorKind::Gone => "its driver was unloaded or its processor removed; it is tried again",
            ErrorKind::Retry | ErrorKind::Fatal => "it is tried again at the next window",
        });
        Self { kind, message: format!("{reason}; {advice}") }
    }
}

/// The error in lower case and without its number.
pub(super) fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_sorted_by_what_can_be_done() {
        let file = Path::new("/sys/class/powercap/intel-rapl:0/energy_uj");
        let kind = |errno: Errno| Failure::of(file, &io::Error::from(errno)).kind;
        for errno in [Errno::NOENT, Errno::NODEV, Errno::ACCESS, Errno::PERM] {
            assert_eq!(kind(errno), ErrorKind::Gone);
        }
        for errno in [Errno::IO, Errno::INVAL, Errno::NODATA, Errno::AGAIN] {
            assert_eq!(kind(errno), ErrorKind::Retry);
        }
        let error = MeterError::from(Failure::of(file, &io::Error::from(Errno::ACCESS)));
        assert_eq!(
            error.message,
            "cannot read /sys/class/powercap/intel-rapl:0/energy_uj: permission denied; \
             run as root or give CAP_DAC_READ_SEARCH"
        );
    }
}
