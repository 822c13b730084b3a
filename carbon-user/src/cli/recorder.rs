//! Writes windows down as they come, for `carbon replay`.

use super::background::Background;
use super::error::CliError;
use super::top_options::RecordOptions;
use crate::recording::{End, Head, Writer};
use crate::units::CgroupId;
use crate::window::Window;
use std::fs::File;
use std::io::Write;

/// Lines that may wait for the disk: minutes of windows.
const LINES_MAX: usize = 1_024;

/// A recording that goes on.
#[derive(Debug)]
pub struct Recorder {
    writer: Writer,
    background: Background<Vec<u8>>,
    /// Why it ended before it was told to.
    ended: Option<String>,
}

impl Recorder {
    /// Opens the file and hands its first line over.
    pub fn open(options: &RecordOptions, head: &Head) -> Result<Self, CliError> {
        let path = options.file.clone();
        let failed = |source| CliError::Output { path: path.clone(), source };
        let mut file = File::create(&path).map_err(failed)?;
        let (writer, line) = Writer::begin(head, options.bytes_max).ok_or_else(|| CliError::Argument {
            option: "--record-limit",
            value: options.bytes_max.to_string(),
            reason: "too little for what was learned before and one window".into(),
            advice: "give more, such as 64MiB".into(),
        })?;
        let said = path.display().to_string();
        let background = Background::start("carbon-record", LINES_MAX, move |line: Vec<u8>| {
            // Each window whole at once, so that a kill cuts off at most the last one.
            file.write_all(&line).map_err(|error| format!("cannot write the recording to {said}: {error}"))
        })
        .map_err(|source| CliError::Start { action: "start a thread", source })?;
        background.offer(line);
        Ok(Self { writer, background, ended: None })
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
        }
    }

    /// Writes the end, and waits until all is written.
    pub fn finish<'p>(&mut self, end: &End, path_of: impl Fn(CgroupId) -> Option<&'p str>) {
        self.background.finish(self.writer.end(end, path_of));
    }

    /// What must be said of it.
    pub fn note(&self) -> Option<String> {
        self.background.failure().map(str::to_owned).or_else(|| self.ended.clone())
    }
}
