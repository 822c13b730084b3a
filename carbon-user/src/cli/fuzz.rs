//! Files that users give, from bytes that may hold anything.

use super::{import_csv, series_file, track};
use jiff::tz::TimeZone;

/// `--intensity-file`: what is understood is in order of time.
pub(crate) fn series(text: &str) {
    if let Ok(series) = series_file::parse(text, "a file", None) {
        let starts: Vec<i64> = series.points().iter().map(|point| point.start_s).collect();
        assert!(!starts.is_empty() && starts.is_sorted(), "{starts:?}");
    }
}

/// A line that the Python package sends to `carbon track`: what is refused is answered by one line of JSON.
pub(crate) fn track(bytes: &[u8]) {
    let line = track::answer_for_fuzzing(bytes);
    assert!(line.is_none_or(|line| line.ends_with('\n') && line.matches('\n').count() == 1), "one line");
}

/// `emissions.csv`: no run ends before it begins.
pub(crate) fn import(bytes: &[u8]) {
    if let Ok((runs, _)) = import_csv::parse(bytes, &TimeZone::UTC) {
        for run in runs {
            assert!(run.start_us <= run.end_us, "{run:?}");
        }
    }
}
