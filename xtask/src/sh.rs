//! Running other programs: the only place here that does.

#![expect(clippy::disallowed_methods, reason = "running cargo and its tools is what xtask is for")]

use anyhow::{Context as _, Result, bail};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

/// A program with its arguments, and how it would be typed.
pub(crate) struct Cmd {
    inner: Command,
    text: String,
}

/// `program` in the workspace's folder.
pub(crate) fn cmd(program: impl AsRef<OsStr>) -> Cmd {
    let mut inner = Command::new(program.as_ref());
    inner.current_dir(crate::workspace::root()).stdin(Stdio::null());
    Cmd { inner, text: quoted(program.as_ref()) }
}

/// The running cargo.
pub(crate) fn cargo() -> Cmd {
    let mut cargo = cmd(crate::workspace::cargo());
    "cargo".clone_into(&mut cargo.text);
    cargo
}

impl Cmd {
    /// One more argument.
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.text.push(' ');
        self.text.push_str(&quoted(arg.as_ref()));
        self.inner.arg(arg);
        self
    }

    /// More arguments.
    pub(crate) fn args<A: AsRef<OsStr>>(self, args: impl IntoIterator<Item = A>) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    /// One more argument, not shown: for those that say nothing to a reader.
    pub(crate) fn arg_unshown(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.inner.arg(arg);
        self
    }

    /// Another folder to run in than the workspace's.
    pub(crate) fn dir(mut self, folder: &Path) -> Self {
        self.inner.current_dir(folder);
        self
    }

    /// What it writes goes to a file.
    pub(crate) fn output_to(mut self, file: &File) -> Result<Self> {
        self.inner.stdout(file.try_clone()?).stderr(file.try_clone()?);
        Ok(self)
    }

    /// Sets a variable of the environment.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.text = format!("{name}={} {}", quoted(value.as_ref()), self.text);
        self.inner.env(name, value);
        self
    }

    /// Sets a variable that is too long to show.
    pub(crate) fn env_unshown(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.inner.env(name, value);
        self
    }

    /// Removes variables from the environment.
    pub(crate) fn without_env(mut self, names: &[&str]) -> Self {
        for name in names {
            self.inner.env_remove(name);
        }
        self
    }

    /// Prints the command, runs it, and fails where it does.
    pub(crate) fn run(mut self) -> Result<()> {
        self.announce();
        let status = self.inner.status().with_context(|| format!("cannot run {}", self.text))?;
        if !status.success() {
            bail!("failed ({status}): {}", self.text);
        }
        Ok(())
    }

    /// Prints the command, runs it, and passes its standard output on line by line, to the terminal and to `each`.
    pub(crate) fn run_lines(self, mut each: impl FnMut(&str)) -> Result<()> {
        self.run_lines_unshown(|line| {
            println!("{line}");
            each(line);
        })
    }

    /// Prints the command, runs it, and passes its standard output line by line to `each` alone.
    pub(crate) fn run_lines_unshown(mut self, mut each: impl FnMut(&str)) -> Result<()> {
        self.announce();
        let mut child =
            self.inner.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot run {}", self.text))?;
        if let Some(stdout) = child.stdout.take() {
            for line in BufReader::new(stdout).split(b'\n') {
                let line = line.context("cannot read its output")?;
                each(&String::from_utf8_lossy(&line));
            }
        }
        let status = child.wait()?;
        if !status.success() {
            bail!("failed ({status}): {}", self.text);
        }
        Ok(())
    }

    /// Runs it without a word and gives its standard output; the error holds what it wrote to standard error.
    pub(crate) fn read(mut self) -> Result<String> {
        let output = self.inner.output().with_context(|| format!("cannot run {}", self.text))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("failed ({}): {}: {}", output.status, self.text, said.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Whether it runs and succeeds; nothing is shown.
    pub(crate) fn succeeds(mut self) -> bool {
        self.inner.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }

    /// Starts it in the background.
    pub(crate) fn spawn(mut self) -> Result<Running> {
        let child = self.inner.spawn().with_context(|| format!("cannot run {}", self.text))?;
        Ok(Running { child, text: self.text })
    }

    /// Starts it in the background with a pipe to its standard input, out of reach of the terminal's Ctrl-C.
    pub(crate) fn spawn_apart(mut self) -> Result<Running> {
        self.inner.stdin(Stdio::piped()).process_group(0);
        self.spawn()
    }

    fn announce(&self) {
        eprintln!("$ {}", self.text);
    }
}

/// A program in the background. One that is dropped before it was waited for is killed; one that was started apart
/// is left to end by itself, as its standard input is closed.
pub(crate) struct Running {
    child: Child,
    text: String,
}

impl Running {
    /// Closes its standard input, waits for its end, and fails where it does.
    pub(crate) fn wait(mut self) -> Result<()> {
        let status = self.child.wait()?;
        if !status.success() {
            bail!("failed ({status}): {}", self.text);
        }
        Ok(())
    }

    /// Its status, once it ends; `None` where it has not by then. It is then still running.
    pub(crate) fn wait_at_most(&mut self, time: Duration) -> Result<Option<ExitStatus>> {
        let begun = Stopwatch::start();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            if begun.elapsed() > time {
                return Ok(None);
            }
            sleep(Duration::from_millis(20));
        }
    }

    /// Whether it has come to its end.
    pub(crate) fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.stdin.is_none() && !self.has_ended() {
            // Both fail only where it has just ended, which is what is wanted.
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// Time since it was made.
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Nanoseconds since 1970, as other programs write when something was.
pub(crate) fn unix_ns() -> u128 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_nanos())
}

/// Where a program of that name is found in PATH or among cargo's own.
pub(crate) fn find(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let cargo_bin = crate::workspace::cargo_home().map(|home| home.join("bin"));
    std::env::split_paths(&path)
        .chain(cargo_bin)
        .map(|folder| folder.join(name))
        .find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// As a shell would want to read it.
fn quoted(text: &OsStr) -> String {
    let text = text.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}
