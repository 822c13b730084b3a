//! The thread that shows windows and takes keys, and the one that reads them.
//!
//! Who measures hands a window over and goes on: where the terminal takes no more output, the thread waits for it, windows
//! queue up to a bound, and those above it are never shown. None is missing in what is measured.

use super::app::{App, Event, Request};
use super::history::Update;
use super::processes::Look;
use super::screen::{Restore, Screen, THREAD, size};
use crate::clock;
use crate::sched::Members;
use ratatui::crossterm::event::{self, KeyCode, KeyModifiers};
use rustix::process::{Signal, getpid, kill_process};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc as requests;

/// Windows and keys that may wait for the terminal.
const WAITING_MAX: usize = 64;
/// Requests that may wait for who measures; a key that finds no room is pressed again.
const REQUESTS_MAX: usize = 4;
/// How often is looked at the clock while nothing happens, to say that what is shown is old.
const TICK: Duration = Duration::from_secs(1);
/// How long the end waits for the terminal.
const END_MAX: Duration = Duration::from_millis(500);
const END_STEP: Duration = Duration::from_millis(5);
/// By when the program is stopped that has told itself to.
const STOPPING: Duration = Duration::from_millis(100);

/// What the thread is told.
#[derive(Debug)]
enum Message {
    Event(Event),
    /// Put the terminal back, and stop the program.
    Suspend,
    /// It was stopped, and goes on.
    Continued,
}

/// The thread, as who measures sees it.
#[derive(Debug)]
pub struct Ui {
    messages: SyncSender<Message>,
    requests: requests::Receiver<Request>,
    thread: Option<JoinHandle<io::Result<()>>>,
    ends: Arc<AtomicBool>,
    restore: Restore,
}

impl Ui {
    /// Takes the terminal and begins to show. `members` is where processes are looked up.
    pub fn start(app: App, members: Option<Members>) -> io::Result<Self> {
        let screen = Screen::take()?;
        let restore = screen.restore();
        let (messages, received) = sync_channel(WAITING_MAX);
        let (asking, requests) = requests::channel(REQUESTS_MAX);
        let ends = Arc::new(AtomicBool::new(false));
        let named = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let (sent, asked) = (messages.clone(), asking.clone());
        // It waits for keys to the end of the program.
        named("carbon-keys").spawn(move || keys(&sent, &asked))?;
        let over = Arc::clone(&ends);
        let mut shown = Shown { app, screen, members, requests: asking };
        let thread = named(THREAD).spawn(move || shown.show(&received, &over))?;
        Ok(Self { messages, requests, thread: Some(thread), ends, restore })
    }

    /// Hands a window over. Never waits.
    pub fn window(&self, update: Update) {
        self.tell(Message::Event(Event::Window(Box::new(update))));
    }

    /// The terminal has another size.
    pub fn resized(&self) {
        self.tell(Message::Event(Event::Tick));
    }

    /// The program is to be stopped.
    pub fn suspend(&self) {
        self.tell(Message::Suspend);
    }

    /// The program was stopped, and goes on.
    pub fn continued(&self) {
        self.tell(Message::Continued);
    }

    fn tell(&self, message: Message) {
        // Where there is no room, the terminal is slow: the frame is lost.
        drop(self.messages.try_send(message));
    }

    /// The next request of the user; nothing once the thread has ended.
    pub async fn request(&mut self) -> Option<Request> {
        self.requests.recv().await
    }

    /// Gives the terminal back; not to wait for one that takes no output, only its keys then.
    pub fn end(mut self) -> io::Result<()> {
        self.finish()
    }

    fn finish(&mut self) -> io::Result<()> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        self.ends.store(true, Ordering::SeqCst);
        self.tell(Message::Event(Event::Tick));
        let mut waited = Duration::ZERO;
        while !thread.is_finished() && waited < END_MAX {
            std::thread::sleep(END_STEP);
            waited += END_STEP;
        }
        if !thread.is_finished() {
            self.restore.keys_back();
            return Ok(());
        }
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that draws has panicked")))
    }
}

impl Drop for Ui {
    fn drop(&mut self) {
        // Where measuring failed: that is told, and not what the terminal says.
        drop(self.finish());
    }
}

struct Shown {
    app: App,
    screen: Screen,
    members: Option<Members>,
    requests: requests::Sender<Request>,
}

impl Shown {
    fn show(&mut self, messages: &Receiver<Message>, ends: &AtomicBool) -> io::Result<()> {
        self.screen.draw(&self.app)?;
        loop {
            let first = match messages.recv_timeout(TICK) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => Message::Event(Event::Tick),
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            // All that waits, and then one frame.
            for message in std::iter::once(first).chain(messages.try_iter()) {
                self.take(message)?;
            }
            if ends.load(Ordering::SeqCst) {
                return Ok(());
            }
            let now = size();
            if now != self.app.size {
                self.app.update(Event::Resized(now), clock::monotonic_ns());
            }
            self.look();
            self.screen.draw(&self.app)?;
        }
    }

    fn take(&mut self, message: Message) -> io::Result<()> {
        match message {
            Message::Event(event) => {
                if let Some(request) = self.app.update(event, clock::monotonic_ns()) {
                    self.requests.try_send(request).ok();
                }
            }
            Message::Suspend => {
                self.screen.restore().put_back();
                kill_process(getpid(), Signal::STOP)?;
                // Another thread may be the one that takes the signal, and this one go on for a moment.
                std::thread::sleep(STOPPING);
                self.screen.take_again()?;
            }
            Message::Continued => self.screen.take_again()?,
        }
        Ok(())
    }

    /// At the processes of the workload that is open, after each window.
    fn look(&mut self) {
        let Some((path, kernel)) = self.app.take_wanted_look() else { return };
        let look = match &self.members {
            None => Err("no tree of cgroups is mounted here".to_owned()),
            Some(members) => match members.look(&path, kernel) {
                Ok((members, more)) => Ok(Look { at_ns: clock::boottime_ns(), members, more }),
                Err(error) => Err(format!("cannot read the processes of {path}: {error}")),
            },
        };
        self.app.update(Event::Looked(look), clock::monotonic_ns());
    }
}

/// Reads keys and the mouse. What ends the program goes past a terminal that takes no output.
fn keys(messages: &SyncSender<Message>, asked: &requests::Sender<Request>) {
    while let Ok(event) = event::read() {
        let event = match event {
            event::Event::Key(key) => {
                let control = key.modifiers.contains(KeyModifiers::CONTROL);
                if control && matches!(key.code, KeyCode::Char('c' | '\\' | '4')) {
                    asked.try_send(Request::Quit).ok();
                    continue;
                }
                Event::Key(key)
            }
            event::Event::Mouse(mouse) => Event::Mouse(mouse),
            // Sizes come by the signal of who measures.
            _ => continue,
        };
        if messages.send(Message::Event(event)).is_err() {
            return;
        }
    }
}
