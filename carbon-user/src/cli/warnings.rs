//! Warnings of the library and of the kernel programs, as lines on stderr.

use super::error::warn;
use log::{LevelFilter, Log, Metadata, Record};

#[derive(Debug)]
struct Stderr;

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            warn(false, &record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// Warnings are said from here on, unless `quiet`.
pub(super) fn say(quiet: bool) {
    // It fails where a logger is set already, such as in a second test of one program: then that one stays.
    if log::set_logger(&Stderr).is_ok() {
        log::set_max_level(if quiet { LevelFilter::Off } else { LevelFilter::Warn });
    }
}
