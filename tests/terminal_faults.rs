//! The terminal after a fault of the program itself, in a process of its own: this test program, started once more.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy excuses functions with #[test] only, not those they call"
)]

use crate::terminal::Terminal;
use carbon_user::tui::app::{Abilities, App};
use carbon_user::tui::screen::size;
use carbon_user::tui::thread::Ui;
use std::io;
use std::thread::{Builder, sleep};
use std::time::Duration;

/// Names the fault; without it the first test here has nothing to do.
const FAULT: &str = "CARBON_TEST_FAULT";

/// What it says of the fault.
const SAID: &str = "a fault of its own";

fn shown() -> io::Result<Ui> {
    let abilities = Abilities { colours: true, unicode: true };
    let ui = Ui::start(App::new(abilities, None, size()), None)?;
    // Until the screen was drawn, and taken away from the shell.
    sleep(Duration::from_millis(300));
    Ok(ui)
}

fn fails() -> io::Result<()> {
    let _ui = shown()?;
    Err(io::Error::other(SAID))
}

/// By a thread of this name: those that measure and draw are known by theirs.
fn panics(name: &str) {
    let thread = Builder::new().name(name.to_owned()).spawn(|| {
        // Not given back by being dropped: only by what is done where a thread panics.
        std::mem::forget(shown().unwrap());
        panic!("{SAID}");
    });
    assert!(thread.unwrap().join().is_err());
}

#[test]
fn a_program_with_a_fault() {
    match std::env::var(FAULT).ok().as_deref() {
        None => {}
        Some("error") => eprintln!("{}", fails().unwrap_err()),
        Some(name) => panics(name),
    }
}

#[test]
fn the_terminal_is_given_back_after_a_panic_and_an_error() {
    let own = std::env::current_exe().unwrap();
    for fault in ["main", "carbon-screen", "error"] {
        let terminal = Terminal::of((24, 80), |_| {
            let test = "--exact terminal_faults::a_program_with_a_fault --nocapture";
            format!("env {FAULT}={fault} {} {test}", own.display())
        });
        // Told on the screen that is the user's again, where it stays to be read.
        let text = terminal.until("the fault is told", |text| text.contains("test result"));
        assert!(text.contains(SAID), "{fault}: {text}");
        let all = terminal.written();
        let (taken, told) = (all.find("\u{1b}[?1049h").unwrap(), all.find(SAID).unwrap());
        let given = all.find("\u{1b}[?1049l").unwrap();
        assert!(taken < given && given < told, "{fault}: {taken} {given} {told}");
        assert_eq!(terminal.ends(), "0", "{fault}");
    }
}
