//! `carbon top`: energy by cgroup, live or once.

use super::args::Format;
use super::error::{CliError, warn};
use super::output::{Layout, Output, layout};
use super::progress::Progress;
use super::signals::is_ignored;
use super::top_options::TopOptions;
use crate::clock;
use crate::sched::Members;
use crate::tui::app::{Abilities, App, Request};
use crate::tui::history::Update;
use crate::tui::screen::size;
use crate::tui::thread::Ui;
use rustix::process::{Signal, kill_current_process_group};
use std::io::{self, IsTerminal};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until};

/// What measures the machine, window by window. Opening it takes the first edge.
pub trait TopMeasurement {
    /// Takes an edge and with it closes a window. Returns how long the next one is to be.
    fn tick(&mut self) -> Result<Duration, CliError>;

    /// The last window, to be shown; nothing before the first has closed.
    fn window(&self) -> Option<Update>;

    /// Nothing is measured any more: what is learned is kept, and a recording ended. What must be said of that.
    fn close(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// All windows since the first edge, newline at the end.
    fn report(&self, format: Format, layout: Layout) -> Result<String, CliError>;
}

/// Runs until the time is over, or until it is told to end: Ctrl-C ends the live table, and with `--once` it ends
/// the measurement early; the report covers the time that was measured.
pub async fn top<M: TopMeasurement>(
    options: &TopOptions,
    open: impl FnOnce(&TopOptions) -> Result<M, CliError>,
) -> Result<(), CliError> {
    if let Some(duration) = options.once {
        let output = Output::open(options.output.as_deref(), Output::Stdout)?;
        let mut ends = Ends::handle()?;
        let measurement = once(options, duration, open(options)?, &mut ends).await?;
        let report = measurement.report(options.format, output.layout())?;
        return output.write(&report);
    }
    if !io::stdout().is_terminal() {
        return Err(CliError::CommandLine(
            "the live table needs a terminal on standard output; add --once, or run it in a terminal".into(),
        ));
    }
    let mut ends = Ends::handle()?;
    live(options, open(options)?, &mut ends).await
}

async fn once<M: TopMeasurement>(
    options: &TopOptions,
    duration: Duration,
    mut measurement: M,
    ends: &mut Ends,
) -> Result<M, CliError> {
    let start_ns = clock::monotonic_ns();
    let start = Instant::now();
    let progress = Progress::begin(options.measuring.quiet, "measuring", duration);
    let mut next = start + options.measuring.interval;
    loop {
        let over = tokio::select! {
            biased;
            () = ends.next() => true,
            () = sleep_until(start + duration) => true,
            () = sleep_until(next) => false,
        };
        next = after(next, measurement.tick()?);
        if over {
            say(options, &measurement.close());
            return Ok(measurement);
        }
        progress.at(Duration::from_nanos(clock::monotonic_ns().saturating_sub(start_ns)));
    }
}

async fn live(
    options: &TopOptions,
    mut measurement: impl TopMeasurement,
    ends: &mut Ends,
) -> Result<(), CliError> {
    let lost = |source| CliError::from_write("the terminal", source);
    let mut resized = handle(SignalKind::window_change())?;
    let mut stopped = handle(SignalKind::from_raw(libc::SIGTSTP))?;
    let mut continued = handle(SignalKind::from_raw(libc::SIGCONT))?;
    let abilities = Abilities { colours: layout(&io::stdout()).colours, unicode: speaks_unicode() };
    let measuring = &options.measuring;
    let members = Members::open(&measuring.root, measuring.hierarchy);
    let mut ui = Ui::start(App::new(abilities, options.limit, size()), members).map_err(lost)?;
    let mut next = Instant::now() + measuring.interval;
    loop {
        tokio::select! {
            biased;
            () = ends.next() => break,
            request = ui.request() => match request {
                None | Some(Request::Quit) => break,
                // As any program that is stopped by its terminal: whoever started this one is stopped with it.
                Some(Request::Suspend) => kill_current_process_group(Signal::TSTP)
                    .map_err(|error| CliError::Start { action: "stop", source: error.into() })?,
            },
            _ = resized.recv() => ui.resized(),
            _ = stopped.recv() => ui.suspend(),
            _ = continued.recv() => ui.continued(),
            () = sleep_until(next) => {
                next = after(next, measurement.tick()?);
                if let Some(window) = measurement.window() {
                    ui.window(window);
                }
            }
        }
    }
    let ended = ui.end();
    say(options, &measurement.close());
    ended.map_err(lost)
}

/// Whether the locale lets programs write more than ASCII: where it says nothing, terminals of today can.
fn speaks_unicode() -> bool {
    let said = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(|name| std::env::var_os(name).filter(|value| !value.is_empty()));
    said.is_none_or(|said| said.to_string_lossy().to_lowercase().contains("utf"))
}

/// Once, when the screen is the user's again.
fn say(options: &TopOptions, all: &[String]) {
    for said in all {
        warn(options.measuring.quiet, said);
    }
}

/// The edge after the one that was due at `due`: a late one does not make the next window short.
pub(super) fn after(due: Instant, window: Duration) -> Instant {
    let now = Instant::now();
    let next = due + window;
    if next > now + window / 2 { next } else { now + window }
}

/// The signals that ask for an end.
struct Ends {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    /// Nothing where it was to be ignored, as under nohup(1).
    hang_up: Option<tokio::signal::unix::Signal>,
    quit: tokio::signal::unix::Signal,
}

impl Ends {
    fn handle() -> Result<Self, CliError> {
        Ok(Self {
            interrupt: handle(SignalKind::interrupt())?,
            terminate: handle(SignalKind::terminate())?,
            hang_up: (!is_ignored(libc::SIGHUP)).then(|| handle(SignalKind::hangup())).transpose()?,
            quit: handle(SignalKind::quit())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            Some(()) = async { self.hang_up.as_mut()?.recv().await } => {}
            _ = self.quit.recv() => {}
        }
    }
}

pub(super) fn handle(kind: SignalKind) -> Result<tokio::signal::unix::Signal, CliError> {
    signal(kind).map_err(|source| CliError::Start { action: "handle signals", source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::options::{Options, parse};

    /// Counts its windows.
    struct Windows(u32);

    impl TopMeasurement for Windows {
        fn tick(&mut self) -> Result<Duration, CliError> {
            self.0 += 1;
            Ok(Duration::from_millis(100))
        }

        fn window(&self) -> Option<Update> {
            None
        }

        fn report(&self, _: Format, _: Layout) -> Result<String, CliError> {
            Ok(format!("{} windows\n", self.0))
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn once_closes_its_last_window_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("report");
        let line = format!("carbon top --once --duration 250ms --interval 100ms --output {}", path.display());
        let Options::Top(options) = parse(&line.split(' ').map(Into::into).collect::<Vec<_>>()).unwrap()
        else {
            panic!("not a top")
        };
        top(&options, |_| Ok(Windows(0))).await.unwrap();
        // Two whole windows and the rest; one fewer where the machine is so busy that a tick came late.
        let report = std::fs::read_to_string(&path).unwrap();
        assert!(["2 windows\n", "3 windows\n"].contains(&report.as_str()), "{report}");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_unwritable_report_is_refused_before_anything_is_opened() {
        let line = "carbon top --once --output /nonexistent/report";
        let Options::Top(options) = parse(&line.split(' ').map(Into::into).collect::<Vec<_>>()).unwrap()
        else {
            panic!("not a top")
        };
        let opened = |_: &TopOptions| -> Result<Windows, CliError> { panic!("opened") };
        assert!(matches!(top(&options, opened).await, Err(CliError::Output { .. })));
    }
}
