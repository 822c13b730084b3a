//! The terminal: taken, written to, and put back however the program ends.
//!
//! Plain control sequences (ECMA-48, xterm's private modes) and termios(3). The difference between two frames is written at
//! once, and shown at once where the terminal knows synchronised updates (mode 2026). The terminal is never asked anything: an
//! answer that does not come would be waited for.

use super::app::App;
use super::view;
use ratatui::backend::{Backend, CrosstermBackend};
use ratatui::buffer::Buffer;
use ratatui::layout::{Rect, Size};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Another screen, the cursor hidden, lines cut at the end, clicks and the wheel told (not every move of the mouse), in
/// decimal numbers.
const TAKE: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[?1000h\x1b[?1006h\x1b[2J";
const PUT_BACK: &str = "\x1b[?1006l\x1b[?1000l\x1b[?2026l\x1b[0m\x1b[?7h\x1b[?1049l\x1b[?25h";
const CLEAR: &[u8] = b"\x1b[2J";
const FRAME_BEGINS: &[u8] = b"\x1b[?2026h";
const FRAME_ENDS: &[u8] = b"\x1b[?2026l";

/// Where a terminal does not say how large it is.
const SIZE: Size = Size { width: 80, height: 24 };

/// What is drawn at most, so that a frame has a bound.
const SIZE_MAX: Size = Size { width: 1_000, height: 500 };

/// The thread that draws.
pub(super) const THREAD: &str = "carbon-screen";

/// What puts the terminal back, from any thread.
#[derive(Clone, Debug)]
pub struct Restore {
    taken: Arc<AtomicBool>,
    /// Where keys come from, and how it was; nothing where there is no such terminal.
    keyboard: Option<Arc<(OwnedFd, Termios)>>,
}

impl Restore {
    /// Once; a second time does nothing.
    pub fn put_back(&self) {
        if self.taken.swap(false, Ordering::SeqCst) {
            self.keys_back();
            // The terminal may be gone; then there is nothing to put back.
            write_all(PUT_BACK.as_bytes()).ok();
        }
    }

    /// Keys alone: never waits for a terminal that takes no more output.
    pub fn keys_back(&self) {
        if let Some(keyboard) = &self.keyboard {
            tcsetattr(&keyboard.0, OptionalActions::Now, &keyboard.1).ok();
        }
    }
}

/// The terminal while it is ours.
#[derive(Debug)]
pub struct Screen {
    backend: CrosstermBackend<Frames>,
    restore: Restore,
    /// What is on it.
    shown: Buffer,
}

impl Screen {
    /// Takes standard output. If the thread that measures or the one that draws panics, the terminal is put back before
    /// that is told.
    pub fn take() -> io::Result<Self> {
        let keyboard = keyboard().and_then(|terminal| {
            let before = tcgetattr(&terminal).ok()?;
            Some(Arc::new((terminal, before)))
        });
        let restore = Restore { taken: Arc::new(AtomicBool::new(false)), keyboard };
        let frames = Frames { bytes: Vec::new(), taken: Arc::clone(&restore.taken) };
        let mut screen = Self {
            backend: CrosstermBackend::new(frames),
            restore,
            shown: Buffer::empty(Rect::from(size())),
        };
        let (told, restore) = (std::panic::take_hook(), screen.restore.clone());
        std::panic::set_hook(Box::new(move |panic| {
            if std::thread::current().name().is_some_and(|name| ["main", THREAD].contains(&name)) {
                restore.put_back();
            }
            told(panic);
        }));
        screen.take_again()?;
        Ok(screen)
    }

    /// After it was put back, or another program may have changed it.
    pub fn take_again(&mut self) -> io::Result<()> {
        self.restore.taken.store(true, Ordering::SeqCst);
        if let Some(keyboard) = &self.restore.keyboard {
            let mut raw = keyboard.1.clone();
            raw.make_raw();
            tcsetattr(&keyboard.0, OptionalActions::Now, &raw)?;
        }
        write_all(TAKE.as_bytes())?;
        // All is drawn anew.
        self.shown.reset();
        Ok(())
    }

    /// What puts it back.
    pub fn restore(&self) -> Restore {
        self.restore.clone()
    }

    /// Draws a frame of the size that the terminal has now.
    pub fn draw(&mut self, app: &App) -> io::Result<()> {
        let area = Rect::from(app.size);
        if area != self.shown.area {
            self.backend.write_all(CLEAR)?;
            self.shown = Buffer::empty(area);
        }
        let mut frame = Buffer::empty(area);
        view::draw(app, &mut frame);
        {
            let changed = self.shown.diff(&frame);
            if !changed.is_empty() {
                self.backend.draw(changed.into_iter())?;
            }
        }
        Backend::flush(&mut self.backend)?;
        self.shown = frame;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.restore.put_back();
    }
}

/// How large the terminal is now.
pub fn size() -> Size {
    let told = tcgetwinsize(io::stdout()).ok();
    let or = |told: Option<u16>, otherwise: u16, most: u16| {
        told.filter(|cells| *cells > 0).unwrap_or(otherwise).min(most)
    };
    Size {
        width: or(told.map(|told| told.ws_col), SIZE.width, SIZE_MAX.width),
        height: or(told.map(|told| told.ws_row), SIZE.height, SIZE_MAX.height),
    }
}

/// Where keys come from: as crossterm has it, which reads them.
fn keyboard() -> Option<OwnedFd> {
    if io::stdin().is_terminal() {
        return rustix::io::dup(io::stdin()).ok();
    }
    std::fs::OpenOptions::new().read(true).write(true).open("/dev/tty").ok().map(Into::into)
}

/// Bytes of a frame, written as one.
#[derive(Debug)]
struct Frames {
    bytes: Vec<u8>,
    taken: Arc<AtomicBool>,
}

impl Write for Frames {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.is_empty() {
            self.bytes.extend_from_slice(FRAME_BEGINS);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut frame = std::mem::take(&mut self.bytes);
        // What is left of a frame does not go to a screen that is the user's again.
        if frame.is_empty() || !self.taken.load(Ordering::SeqCst) {
            return Ok(());
        }
        frame.extend_from_slice(FRAME_ENDS);
        let written = write_all(&frame);
        frame.clear();
        self.bytes = frame;
        written
    }
}

/// Past the lock and the buffer of [`io::stdout`], which a thread that waits for the terminal may hold.
fn write_all(mut bytes: &[u8]) -> io::Result<()> {
    let stdout = io::stdout();
    while !bytes.is_empty() {
        match rustix::io::write(&stdout, bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let mut ready = [PollFd::from_borrowed_fd(stdout.as_fd(), PollFlags::OUT)];
                poll(&mut ready, None)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
