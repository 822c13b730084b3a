//! Warnings of the library and of the kernel programs, as lines on stderr.

use super::error::warn;
use super::output::Output;
use log::{LevelFilter, Log, Metadata, Record};

#[derive(Debug)]
struct Stderr;

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // What draws pictures tells of each letter; that is said once, by who has the picture written.
        metadata.level() <= log::max_level() && !metadata.target().starts_with("usvg")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            warn(false, &record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// A line for each event, for journals and collectors: `level=info msg="..."`.
#[derive(Debug)]
struct Lines;

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Of its own only: what libraries tell of their connections is not of the agent.
        metadata.level() <= log::max_level() && metadata.target().starts_with("carbon")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let level = record.level().as_str().to_lowercase();
            let line = format!("level={level} msg={:?}\n", record.args().to_string());
            // Nobody is left to be told where this fails.
            drop(Output::Stderr.write(&line));
        }
    }

    fn flush(&self) {}
}

/// Events are told as lines from here on.
pub(super) fn log_lines() {
    if log::set_logger(&Lines).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

/// Warnings are said from here on, unless `quiet`.
pub(super) fn say(quiet: bool) {
    // It fails where a logger is set already, such as in a second test of one program: then that one stays.
    if log::set_logger(&Stderr).is_ok() {
        log::set_max_level(if quiet { LevelFilter::Off } else { LevelFilter::Warn });
    }
}
