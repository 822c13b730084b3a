//! Loads of the soak. Each is this program again, as a process of its own that ends with its parent.

use super::super::Peer;
use super::super::fork::{fork_into, waited};
use anyhow::{Context, Result, bail};
use rustix::process::{Signal, set_parent_process_death_signal};
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a load's first argument is.
pub(crate) const MODE: &str = "soak-load";

/// Least stack of a thread here; the C library adds a guard page.
const STACK_BYTES: usize = 16 << 10;
/// What is paced does its part this often.
const BEAT: Duration = Duration::from_millis(10);

/// Starts a load in a cgroup.
pub(crate) fn start(cgroup: &Path, words: &[&str]) -> Result<Peer> {
    let child = Command::new(std::env::current_exe()?)
        .arg(MODE)
        .arg(cgroup)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut peer = Peer(child);
    // One byte, when it is in its cgroup.
    let mut ready = [0];
    let told = peer.0.stdout.as_mut().context("its output")?.read_exact(&mut ready);
    told.with_context(|| format!("the load {} did not begin", words.join(" ")))?;
    Ok(peer)
}

/// Has a program end with this one, however that ends.
#[expect(unsafe_code, reason = "between fork and exec")]
pub(crate) fn ending_with_us(command: &mut Command) -> &mut Command {
    use std::os::unix::process::CommandExt;
    // SAFETY: one system call.
    unsafe { command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?)) }
}

/// The process of a load: `CGROUP KIND ARGUMENTS...`.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let [cgroup, words @ ..] = arguments else { bail!("a load is: CGROUP KIND ARGUMENTS") };
    fs::write(Path::new(cgroup).join("cgroup.procs"), "0").context("cannot enter the load's cgroup")?;
    let ready = || -> Result<()> {
        let mut out = std::io::stdout();
        out.write_all(b".")?;
        Ok(out.flush()?)
    };
    if let ["ring", count] = words {
        return ring(cgroup, count.parse()?, ready);
    }
    if let ["threads-live", count] = words {
        return live_threads(count.parse()?, ready);
    }
    ready()?;
    match words {
        ["duty", percent] => duty(percent.parse()?, || Ok(())),
        ["move", percent, one, other] => {
            let mut places = [one, other].into_iter().cycle();
            duty(percent.parse()?, || {
                let place = places.next().map_or("", |place| *place);
                Ok(fs::write(Path::new(place).join("cgroup.procs"), "0")?)
            })
        }
        ["forks", rate] => paced(rate.parse()?, fork_and_wait),
        ["threads", rate] => paced(rate.parse()?, || {
            std::thread::Builder::new()
                .stack_size(STACK_BYTES)
                .spawn(|| busy(Duration::from_micros(5)))?
                .join()
                .map_err(|_| anyhow::anyhow!("a thread failed"))
        }),
        ["switches", cpu] => switches(cpu.parse()?),
        ["cgroups", rate, most, told] => cgroups(cgroup, rate.parse()?, most.parse()?, Path::new(told)),
        other => bail!("no such load: {other:?}"),
    }
}

/// Busy for so long.
fn busy(time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// Busy for a part of the time, and then something else.
fn duty(percent: u32, mut then: impl FnMut() -> Result<()>) -> Result<()> {
    loop {
        busy(BEAT * percent / 100);
        then()?;
        std::thread::sleep(BEAT * (100 - percent) / 100);
    }
}

/// So many a second, or as many as can be where that is 0.
fn paced(rate: u32, mut one: impl FnMut() -> Result<()>) -> Result<()> {
    loop {
        let begun = Instant::now();
        for _ in 0..(rate / 100).max(1) {
            one()?;
        }
        if rate > 0 {
            std::thread::sleep(BEAT.saturating_sub(begun.elapsed()));
        }
    }
}

#[expect(unsafe_code, reason = "a fork without an exec")]
fn fork_and_wait() -> Result<()> {
    // SAFETY: this process has one thread, and the child does nothing but end.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: ends the child.
        unsafe { libc::_exit(0) };
    }
    waited(child.into())
}

/// One ping-pong through two pipes, both ends on a CPU, for ever.
fn switches(cpu: usize) -> Result<()> {
    let pin = move || {
        let mut cpus = rustix::thread::CpuSet::new();
        cpus.set(cpu);
        rustix::thread::sched_setaffinity(None, &cpus)
    };
    let (mut here_read, mut there_write) = std::io::pipe()?;
    let (mut there_read, mut here_write) = std::io::pipe()?;
    pin()?;
    let _other = std::thread::spawn(move || -> Result<()> {
        pin()?;
        let mut byte = [0];
        loop {
            there_read.read_exact(&mut byte)?;
            there_write.write_all(&byte)?;
        }
    });
    let mut byte = [1];
    loop {
        here_write.write_all(&byte)?;
        here_read.read_exact(&mut byte)?;
    }
}

/// Threads that live until standard input of the parent's end is closed by its death; each has run a moment.
fn live_threads(count: u32, ready: impl Fn() -> Result<()>) -> Result<()> {
    for _ in 0..count {
        std::thread::Builder::new().stack_size(STACK_BYTES).spawn(|| {
            busy(Duration::from_micros(20));
            loop {
                std::thread::sleep(Duration::from_secs(30));
            }
        })?;
    }
    ready()?;
    loop {
        std::thread::sleep(Duration::from_hours(1));
    }
}

/// Makes cgroups, has a process begin and end in each, and removes them. How many there were is in the file `told`.
fn cgroups(top: &str, rate: u32, most: u64, told: &Path) -> Result<()> {
    let mut made = 0_u64;
    let own = std::process::id();
    let done = paced(rate, || {
        let folder: PathBuf = Path::new(top).join(format!("{own}-{made}"));
        fs::create_dir(&folder)?;
        let into = fs::File::open(&folder)?;
        clone_into(&into)?;
        remove(&folder)?;
        made += 1;
        if made.is_multiple_of(100) || made == most {
            // Whole at any moment.
            let next = told.with_extension("next");
            fs::write(&next, made.to_string())?;
            fs::rename(&next, told)?;
        }
        if made == most {
            bail!("all of them");
        }
        Ok(())
    });
    if made == most { Ok(()) } else { done }
}

/// The last steps of its process may follow its parent's being told.
fn remove(folder: &Path) -> Result<()> {
    for _ in 0..1_000 {
        if fs::remove_dir(folder).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_micros(50));
    }
    fs::remove_dir(folder).with_context(|| format!("cannot remove {}", folder.display()))
}

/// A token that goes round processes on one CPU, each in a cgroup of its own.
#[expect(unsafe_code, reason = "forks without an exec")]
fn ring(top: &str, count: usize, ready: impl Fn() -> Result<()>) -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most })?;
    let mut cpus = rustix::thread::CpuSet::new();
    cpus.set(0);
    rustix::thread::sched_setaffinity(None, &cpus)?;
    let pipes = (0..count).map(|_| std::io::pipe()).collect::<std::io::Result<Vec<_>>>()?;
    for (index, ((read, _), (_, write))) in pipes.iter().zip(pipes.iter().cycle().skip(1)).enumerate() {
        let folder = Path::new(top).join(index.to_string());
        fs::create_dir(&folder)?;
        if fork_into(&fs::File::open(&folder)?)? == 0 {
            let _ended = set_parent_process_death_signal(Some(Signal::KILL));
            let (mut read, mut write) = (read, write);
            let mut byte = [0];
            while read.read_exact(&mut byte).and_then(|()| write.write_all(&byte)).is_ok() {}
            // SAFETY: ends the child.
            unsafe { libc::_exit(0) };
        }
    }
    if let Some((_, mut write)) = pipes.first().map(|(read, write)| (read, write)) {
        write.write_all(b".")?;
    }
    ready()?;
    loop {
        std::thread::sleep(Duration::from_hours(1));
    }
}

/// A process that begins in the cgroup, is busy for 50 us and ends.
#[expect(unsafe_code, reason = "as fork")]
fn clone_into(cgroup: &fs::File) -> Result<()> {
    let child = fork_into(cgroup)?;
    if child == 0 {
        busy(Duration::from_micros(50));
        // SAFETY: ends the child.
        unsafe { libc::_exit(0) };
    }
    waited(child)
}
