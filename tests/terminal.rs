//! `carbon top` on a terminal: a real one (script(1) gives it), real keys, and a reader of its control sequences.

#![expect(clippy::unwrap_used, reason = "clippy excuses functions with #[test] only, not those they call")]

use crate::measuring::carbon;
use crate::support::{TestCgroup, alone, enter, kernel_or_skip, load};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

/// A program on a terminal of its own: mostly `carbon top`.
pub(crate) struct Terminal {
    directory: tempfile::TempDir,
    script: Child,
    keys: Option<ChildStdin>,
    shown: Arc<Mutex<(vt100::Parser, Vec<u8>)>>,
}

impl Terminal {
    /// With the options of a line, on so many rows and columns.
    pub(crate) fn start(options: &str, size: (u16, u16)) -> Self {
        Self::with(options, size, "NO_COLOR=")
    }

    fn with(options: &str, size: (u16, u16), environment: &str) -> Self {
        let top = format!("env {environment} {} top --metadata off {options}", env!("CARGO_BIN_EXE_carbon"));
        Self::of(size, |at| format!("sh -c 'echo $$ > {at}/pid; exec {top}' 2> {at}/stderr"))
    }

    /// Of what the shell runs by a line; it is made with the directory for its files.
    pub(crate) fn of((rows, columns): (u16, u16), program: impl FnOnce(&str) -> String) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().display().to_string();
        let program = program(&at);
        // The shell says how the terminal was before and is afterwards.
        let line = format!(
            "stty rows {rows} cols {columns}; tty > {at}/tty; stty -g > {at}/before; \
             {program}; echo $? > {at}/status; stty -g > {at}/after",
        );
        let mut command = Command::new("script");
        for (name, value) in carbon(&[]).get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let mut script = command
            .args(["--quiet", "--return", "--command", &line, "/dev/null"])
            .env("LC_ALL", "C.UTF-8")
            .env("TERM", "xterm-256color")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let shown = Arc::new(Mutex::new((vt100::Parser::new(rows, columns, 0), Vec::new())));
        let (mut output, screen) = (script.stdout.take().unwrap(), Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                let mut screen = screen.lock().unwrap();
                screen.0.process(&bytes[..count]);
                screen.1.extend_from_slice(&bytes[..count]);
            }
        });
        let keys = script.stdin.take();
        Self { directory, script, keys, shown }
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.directory.path().join(name)).unwrap_or_default().trim().to_owned()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.file("pid").parse().unwrap()).unwrap()
    }

    pub(crate) fn text(&self) -> String {
        self.shown.lock().unwrap().0.screen().contents()
    }

    /// What is on the screen once it is as it should be.
    pub(crate) fn until(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let text = self.text();
            if wanted(&text) {
                return text;
            }
            assert!(begun.elapsed() < PATIENCE, "{what}: {text}\n{}", self.file("stderr"));
            sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn shows(&self, text: &str) -> String {
        self.until(&format!("{text:?} is shown"), |screen| screen.contains(text))
    }

    fn hides(&self, text: &str) -> String {
        self.until(&format!("{text:?} is hidden"), |screen| !screen.contains(text))
    }

    pub(crate) fn press(&mut self, keys: &str) {
        let pipe = self.keys.as_mut().unwrap();
        pipe.write_all(keys.as_bytes()).unwrap();
        pipe.flush().unwrap();
    }

    /// What was written to it since the start.
    pub(crate) fn written(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap().1).into_owned()
    }

    /// The screen as it is now, drawn: SVG.
    pub(crate) fn picture(&self) -> String {
        crate::terminal_picture::svg(self.shown.lock().unwrap().0.screen())
    }

    fn resize(&self, rows: u16, columns: u16) {
        self.shown.lock().unwrap().0.screen_mut().set_size(rows, columns);
        let size = ["rows".to_owned(), rows.to_string(), "cols".to_owned(), columns.to_string()];
        let status = Command::new("stty").arg("-F").arg(self.file("tty")).args(size).status().unwrap();
        assert!(status.success());
    }

    /// The status that it ended with, once the terminal is as it was before.
    pub(crate) fn ends(mut self) -> String {
        self.until_file("after");
        assert_eq!(self.file("before"), self.file("after"), "keys are as before");
        assert_eq!(self.file("stderr"), "");
        let status = self.file("status");
        drop(self.keys.take());
        self.script.wait().unwrap();
        let shown = self.shown.lock().unwrap();
        let screen = shown.0.screen();
        assert!(!screen.alternate_screen() && !screen.hide_cursor(), "the screen is the user's again");
        assert_eq!(screen.mouse_protocol_mode(), vt100::MouseProtocolMode::None);
        status
    }

    fn until_file(&self, name: &str) {
        let begun = Instant::now();
        while self.file(name).is_empty() {
            assert!(begun.elapsed() < PATIENCE, "{name}: {}", self.text());
            sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        drop(self.script.kill());
        drop(self.script.wait());
    }
}

/// A cgroup that works, with one in it that does too.
pub(crate) struct Work {
    cgroup: TestCgroup,
    processes: Vec<Child>,
}

impl Work {
    pub(crate) fn start(name: &str) -> Self {
        let cgroup = TestCgroup::new(name);
        let inner = cgroup.path.join("inner-one");
        fs::create_dir(&inner).unwrap();
        let spin = |path: &Path| {
            let script = format!("{} && exec {} spin 120", enter(path), load().display());
            Command::new("sh").arg("-c").arg(script).spawn().unwrap()
        };
        let processes = vec![spin(&cgroup.path), spin(&inner)];
        Self { cgroup, processes }
    }

    fn name(&self) -> String {
        self.cgroup.path.file_name().unwrap().to_str().unwrap().to_owned()
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        for process in &mut self.processes {
            drop(process.kill());
            drop(process.wait());
        }
        drop(fs::remove_dir(self.cgroup.path.join("inner-one")));
    }
}

#[test]
fn the_terminal_is_used_by_keys_and_given_back() {
    if !kernel_or_skip("the_terminal_is_used_by_keys_and_given_back") {
        return;
    }
    let _alone = alone();
    let work = Work::start("keys");
    let name = work.name();
    let mut terminal = Terminal::start("--zone FR --meter model --interval 250ms", (30, 110));
    let text = terminal.shows("inner-one");
    assert!(text.contains("WORKLOAD") && text.contains("modelled"), "{text}");
    assert!(text.contains("sort: W ") && text.contains("CPU time: "), "{text}");

    terminal.press("s");
    terminal.shows("sort: W/CPU");
    terminal.press("S");
    terminal.shows("sort: W ");

    terminal.press("finner-one");
    terminal.shows("filter: inner-one_");
    terminal.press("\r");
    let text = terminal.shows("filter: inner-one");
    assert!(!text.contains("kernel threads"), "{text}");

    // Escape and a letter at once are another key: each time it is waited for.
    terminal.press("\x1b");
    terminal.hides("filter: inner-one");
    terminal.press(&format!("f{name}\rtt"));
    terminal.shows("group: cgroup");
    terminal.shows("(itself)");
    terminal.press("g ");
    let text = terminal.hides("inner-one");
    assert!(text.contains('\u{25b8}'), "a folded group: {text}");
    terminal.press(" ");
    terminal.shows("inner-one");

    terminal.press("p");
    terminal.shows("PAUSED");
    let held = terminal.text();
    sleep(Duration::from_millis(800));
    assert_eq!(held, terminal.text(), "nothing moves while it is paused");
    terminal.press("p");
    terminal.hides("PAUSED");

    terminal.resize(12, 44);
    let text = terminal.until("it fits", |text| !text.contains("90 %") && text.contains("WORKLOAD"));
    assert!(text.lines().all(|line| line.chars().count() <= 44), "{text}");
    terminal.resize(40, 120);
    terminal.shows("machine, W: 0 to");

    terminal.press("/inner-one\r\r");
    let text = terminal.shows("processes of");
    assert!(text.contains("inner-one"), "{text}");
    let pid = work.processes[1].id().to_string();
    let text = terminal.shows(&pid);
    let row = text.lines().find(|line| line.contains(&pid)).unwrap();
    assert!(row.contains("load") && row.contains('~'), "it has watts, by a model: {row}");
    terminal.press("\x1b");
    terminal.hides("processes of");

    terminal.press("?");
    terminal.shows("sort by the next");
    terminal.press("\x1b");
    terminal.hides("sort by the next");
    terminal.press("i");
    terminal.shows("CO2e at");
    terminal.press("\x1b");
    terminal.hides("CO2e at");
    terminal.press("q");
    assert_eq!(terminal.ends(), "0");
}

#[test]
fn clicks_and_the_wheel_are_understood() {
    if !kernel_or_skip("clicks_and_the_wheel_are_understood") {
        return;
    }
    let _alone = alone();
    let work = Work::start("mouse");
    let mut terminal = Terminal::start("--zone FR --meter model --interval 250ms", (30, 110));
    terminal.shows("inner-one");
    // On the head of the first column, which sorts by name; and on the second row of the table, twice.
    terminal.press("\x1b[<0;2;2M\x1b[<0;2;2m");
    terminal.shows("sort: name");
    terminal.press(&format!("f{}\r", work.name()));
    terminal.shows("filter: ");
    terminal.press("\x1b[<0;4;4M\x1b[<0;4;4m\x1b[<0;4;4M\x1b[<0;4;4m");
    terminal.shows("processes of");
    terminal.press("\x03");
    assert_eq!(terminal.ends(), "0");
}

#[test]
fn the_terminal_is_given_back_on_a_signal_and_after_a_stop() {
    if !kernel_or_skip("the_terminal_is_given_back_on_a_signal_and_after_a_stop") {
        return;
    }
    let _alone = alone();
    let terminal = Terminal::start("--meter model --interval 250ms", (24, 80));
    terminal.shows("WORKLOAD");
    let pid = terminal.pid();
    kill_process(pid, Signal::TSTP).unwrap();
    terminal.until("the screen is the shell's", |_| {
        !terminal.shown.lock().unwrap().0.screen().alternate_screen()
    });
    let stopped = |pid: Pid| {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap();
        stat.rsplit_once(") ").unwrap().1.starts_with('T')
    };
    terminal.until("it is stopped", |_| stopped(pid));
    let now = Command::new("stty").arg("-F").arg(terminal.file("tty")).arg("-g").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&now.stdout).trim(), terminal.file("before"), "keys are the shell's");
    kill_process(pid, Signal::CONT).unwrap();
    terminal.shows("WORKLOAD");
    terminal.until("it has the screen", |_| terminal.shown.lock().unwrap().0.screen().alternate_screen());
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(terminal.ends(), "0");
}

/// Windows of a recording so far: it grows with each.
fn recorded(path: &PathBuf) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

#[test]
fn a_terminal_that_takes_no_output_holds_up_no_window() {
    if !kernel_or_skip("a_terminal_that_takes_no_output_holds_up_no_window") {
        return;
    }
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let record = directory.path().join("windows");
    let options = format!("--meter model --interval 100ms --record {}", record.display());
    let terminal = Terminal::start(&options, (60, 200));
    terminal.shows("WORKLOAD");
    let pid = terminal.pid();
    let script = Pid::from_raw(terminal.script.id().cast_signed()).unwrap();
    kill_process(script, Signal::STOP).unwrap();
    // A frame of another size is drawn whole: more than a terminal takes in.
    for turn in 0..60 {
        terminal.resize(60 - turn % 2, 200);
        sleep(Duration::from_millis(20));
    }
    let tasks = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).unwrap().flatten();
    let drawing = tasks
        .map(|task| task.path())
        .find(|task| fs::read_to_string(task.join("comm")).unwrap().trim() == "carbon-screen")
        .unwrap();
    let syscall = fs::read_to_string(drawing.join("syscall")).unwrap_or_default();
    println!("the thread that draws is in the system call {syscall}");
    let before = recorded(&record);
    let begun = Instant::now();
    while recorded(&record) == before || begun.elapsed() < Duration::from_secs(1) {
        assert!(begun.elapsed() < PATIENCE, "windows stand still");
        sleep(Duration::from_millis(50));
    }
    kill_process(pid, Signal::TERM).unwrap();
    let begun = Instant::now();
    // Its parent, a shell, does not wait for the terminal either.
    terminal.until_file("status");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    kill_process(script, Signal::CONT).unwrap();
    assert_eq!(terminal.file("status"), "0");
    terminal.until_file("after");
    assert_eq!(terminal.file("before"), terminal.file("after"));
}

#[test]
fn no_colours_are_used_where_none_are_wanted() {
    if !kernel_or_skip("no_colours_are_used_where_none_are_wanted") {
        return;
    }
    let _alone = alone();
    let coloured = |environment: &str| {
        let mut terminal = Terminal::with("--meter model --interval 250ms", (24, 80), environment);
        terminal.shows("WORKLOAD");
        terminal.press("q");
        terminal.until_file("after");
        let text = terminal.written();
        ["\x1b[38;5;", "\x1b[3"].iter().any(|colour| {
            text.split(colour).skip(1).any(|rest| {
                rest.split(|char: char| !char.is_ascii_digit())
                    .next()
                    .is_some_and(|number| number.parse::<u8>().is_ok_and(|number| number < 8))
            })
        })
    };
    assert!(coloured("NO_COLOR="));
    assert!(!coloured("NO_COLOR=1"));
}
