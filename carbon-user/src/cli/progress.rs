//! Signs of life on stderr for what takes longer than a second. Never part of the output.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// A bar that fills as the time passes that a measurement takes. Hidden where stderr is no terminal, with
/// `--quiet`, and for a second or less.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Begins, for something that takes `total`.
    pub fn begin(quiet: bool, what: &'static str, total: Duration) -> Self {
        let hidden = quiet || total <= Duration::from_secs(1);
        let target = if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(millis(total)), target).with_message(what);
        if let Ok(style) = ProgressStyle::with_template("{msg} {bar:30} {percent:>3} %, {eta} left") {
            bar.set_style(style);
        }
        bar.tick();
        Self { bar }
    }

    /// `elapsed` of the total has passed.
    pub fn at(&self, elapsed: Duration) {
        self.bar.set_position(millis(elapsed));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
