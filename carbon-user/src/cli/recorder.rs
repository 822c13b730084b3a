//! Writes windows down as they come, for `carbon replay`.

use super::background::Background;
use super::error::CliError;
use super::top_options::RecordOptions;
use crate::recording::{End, Head, Writer};
use crate::units::CgroupId;
use crate::window::Window;
use jiff::{SignedDuration, Timestamp};
use std::fs::File;
use std::io::Write;
use std::time::Duration;

/// Lines that may wait for the disk: minutes of windows.
const LINES_MAX: usize = 1_024;

/// A recording that goes on.
#[derive(Debug)]
pub struct Recorder {
    writer: Writer,
    background: Background<Vec<u8>>,
    /// First edge, by the wall clock, and the length of the windows that are in it.
    start: Option<Timestamp>,
    duration: Duration,
    /// Why it ended before it was told to.
    ended: Option<String>,
}

impl Recorder {
    /// Opens the file and hands its first line over.
    pub fn open(options: &RecordOptions, head: &Head) -> Result<Self, CliError> {
        let path = options.file.clone();
        let failed = |source| CliError::Output { path: path.clone(), source };
        let (writer, line) = Writer::begin(head, options.bytes_max).ok_or_else(|| CliError::Argument {
            option: "--record-limit",
            value: options.bytes_max.to_string(),
            reason: "too little for what was learned before and one window".into(),
            advice: "give more, such as 64MiB".into(),
        })?;
        // Not before: what is there already is not lost for an option that cannot be.
        let mut file = File::create(&path).map_err(failed)?;
        let said = path.display().to_string();
        let background = Background::start("carbon-record", LINES_MAX, move |line: Vec<u8>| {
            // Each window whole at once, so that a kill cuts off at most the last one.
            file.write_all(&line).map_err(|error| format!("cannot write the recording to {said}: {error}"))
        })
        .map_err(|source| CliError::Start { action: "start a thread", source })?;
        background.offer(line);
        let start = head.start.parse().ok();
        Ok(Self { writer, background, start, duration: Duration::ZERO, ended: None })
    }

    /// Writes a window down.
    pub fn window<'p>(&mut self, window: &Window, path_of: impl Fn(CgroupId) -> Option<&'p str>) {
        if self.ended.is_some() {
            return;
        }
        let windows = self.writer.windows();
        let Some(line) = self.writer.window(window, path_of) else {
            self.ended =
                Some(format!("the recording is full after {windows} windows: --record-limit gives it more"));
            return;
        };
        if !self.background.offer(line) {
            // One that is missing would make all after it wrong.
            self.writer.take_back();
            self.ended = Some(format!("the recording ended after {windows} windows: its disk is too slow"));
            return;
        }
        self.duration += window.duration;
    }

    /// Writes the end, and waits until all is written.
    pub fn finish<'p>(&mut self, end: &End, path_of: impl Fn(CgroupId) -> Option<&'p str>) {
        self.background.finish(self.writer.end(&self.shortened(end), path_of));
    }

    /// Where it ended early, its end is that of its last window, and who replays it is told.
    fn shortened(&self, end: &End) -> End {
        let mut end = end.clone();
        let last = SignedDuration::try_from(self.duration).ok().zip(self.start);
        if let (Some(why), Some((duration, start))) = (&self.ended, last) {
            end.end = start.saturating_add(duration).map_or(end.end, |last| last.to_string());
            end.notes.push(format!("{why}; the run went on"));
        }
        end
    }

    /// What must be said of it.
    pub fn note(&self) -> Option<String> {
        self.background.failure().map(str::to_owned).or_else(|| self.ended.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_without_room_costs_no_recording_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let options = RecordOptions { file: folder.path().join("windows"), bytes_max: 1_000 };
        std::fs::write(&options.file, "of yesterday").unwrap();
        let head = Head {
            node: "node".to_owned(),
            start: "2026-11-28T12:00:00Z".to_owned(),
            accounting: "hook".to_owned(),
            attribution: "bank".to_owned(),
            static_policy: "separate".to_owned(),
            zone: "FR".to_owned(),
            zone_assumed: false,
            pue: 1.0,
            packages: Vec::new(),
            kept: Vec::new(),
        };
        let refused = Recorder::open(&options, &head).unwrap_err().to_string();
        assert!(refused.contains("--record-limit 1000: too little"), "{refused}");
        assert_eq!(std::fs::read_to_string(&options.file).unwrap(), "of yesterday");
    }
}
