//! The library, opened anew where its driver was unloaded or a device came back.

use super::super::lane::deadline_ns;
use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// First and longest pause between two attempts to open it.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The library stays unaware of a device that came back until it is opened anew.
const LOST_FOR: Duration = Duration::from_secs(30);

/// NVML, if it is open.
pub(super) struct Session {
    nvml: Option<Nvml>,
    /// In place of the one that the linker finds.
    library: Option<PathBuf>,
    pause: Duration,
    again_ns: u64,
    lost_ns: Option<u64>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("open", &self.nvml.is_some()).finish_non_exhaustive()
    }
}

/// Errors after which the library must be opened anew: its driver was unloaded, or replaced by another version.
pub(super) fn is_over(error: &NvmlError) -> bool {
    matches!(
        error,
        NvmlError::Uninitialized
            | NvmlError::DriverNotLoaded
            | NvmlError::LibRmVersionMismatch
            | NvmlError::LibraryNotFound
    )
}

fn load(library: Option<&Path>) -> Result<Nvml, NvmlError> {
    match library {
        Some(library) => Nvml::builder().lib_path(library.as_os_str()).init(),
        None => Nvml::init(),
    }
}

impl Session {
    pub(super) fn open(library: Option<PathBuf>) -> Result<Self, NvmlError> {
        let nvml = Some(load(library.as_deref())?);
        Ok(Self { nvml, library, pause: PAUSE_MIN, again_ns: 0, lost_ns: None })
    }

    pub(super) fn opened(&self) -> Option<&Nvml> {
        self.nvml.as_ref()
    }

    /// It; opened anew where it was closed and the pause is over.
    pub(super) fn get(&mut self, now_ns: u64) -> Result<&Nvml, NvmlError> {
        if self.nvml.is_none() && now_ns >= self.again_ns {
            match load(self.library.as_deref()) {
                Ok(nvml) => self.nvml = Some(nvml),
                Err(error) => {
                    self.pause_from(now_ns);
                    return Err(error);
                }
            }
        }
        self.nvml.as_ref().ok_or(NvmlError::Uninitialized)
    }

    /// Closes it where these errors say so.
    pub(super) fn heed<'e>(&mut self, now_ns: u64, errors: impl Iterator<Item = &'e NvmlError>) {
        let (mut over, mut lost) = (false, false);
        for error in errors {
            over |= is_over(error);
            lost |= super::away(error);
        }
        if !lost {
            self.lost_ns = None;
            self.pause = PAUSE_MIN;
            return;
        }
        let since_ns = *self.lost_ns.get_or_insert(now_ns);
        if over || now_ns >= deadline_ns(since_ns, LOST_FOR) {
            self.nvml = None;
            self.lost_ns = None;
            self.pause_from(now_ns);
        }
    }

    fn pause_from(&mut self, now_ns: u64) {
        self.again_ns = deadline_ns(now_ns, self.pause);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }
}
