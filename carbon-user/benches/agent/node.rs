//! The node: containers that come and go, with processes that come and go in them.

use super::fork::{fork_into, waited};
use anyhow::{Context, Result, bail};
use carbon_user::sysroot::SysRoot;
use clap::Args;
use rustix::process::{Pid, Signal, getpid, getppid, kill_process, set_parent_process_death_signal};
use std::collections::VecDeque;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The first argument of the process that makes them.
pub(crate) const MODE: &str = "agent-load";

/// What is paced does its part this often.
const BEAT: Duration = Duration::from_millis(10);

/// Of the processes that are replaced, one in so many is with its whole container.
const WITH_CONTAINER: u64 = 10;

/// Containers that [`Node::make_and_remove`] makes before it waits for a second.
const A_SECOND: u32 = 400;

/// Which containers those are, in their names.
const LIVING: u16 = 0x8000;
const SHORT_LIVED: u16 = 0x9000;

/// CPU time of a process at its beginning, and each second of one in each container.
const BEGIN_BUSY: Duration = Duration::from_micros(200);
const WORK_BUSY: Duration = Duration::from_micros(100);

/// How much of it there is.
#[derive(Clone, Debug, Args)]
pub(crate) struct Size {
    /// Containers.
    #[arg(long, default_value_t = 500)]
    pub(crate) containers: u32,
    /// Processes, of all containers together.
    #[arg(long, default_value_t = 5_000)]
    pub(crate) processes: u32,
    /// Processes that end and are replaced, a second.
    #[arg(long, default_value_t = 200)]
    pub(crate) churn: u32,
}

/// A node that is there until this is dropped.
pub(crate) struct Node {
    load: Child,
    top: PathBuf,
    begun: (Instant, u64),
}

impl Node {
    /// Makes all containers and processes, and begins to replace them, `churn` processes a second.
    pub(crate) fn start(size: &Size, churn: u32) -> Result<Self> {
        if size.containers == 0 || size.processes < size.containers || churn == 0 {
            bail!("there must be containers, a process in each at least, and churn");
        }
        let top = SysRoot::default().cgroup2()?.context("no cgroup2 is mounted")?.path;
        let mut load = Command::new(std::env::current_exe()?)
            .arg(MODE)
            .arg(&top)
            .args([size.containers, size.processes / size.containers, churn].map(|number| number.to_string()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        // One byte, when all are there.
        let told = load.stdout.as_mut().context("its output")?.read_exact(&mut [0]);
        let node = Self { load, top, begun: (Instant::now(), forks()) };
        told.context("the containers cannot be made")?;
        Ok(node)
    }

    /// Makes containers with a process that ends at once, and removes them, at a pace at which the agent hears of each: what it
    /// remembers of containers that have gone is full then, however slow the machine is. This process must have one thread.
    pub(crate) fn make_and_remove(&self, count: u32) -> Result<()> {
        for number in 0..count {
            let (pod, path) = container(&self.top, self.load.id(), SHORT_LIVED, number.into());
            fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
            let child = fork_into(&fs::File::open(&path)?)?;
            if child == 0 {
                busy(BEGIN_BUSY);
                leave();
            }
            waited(child)?;
            remove(&path)?;
            remove(&pod)?;
            if number % A_SECOND == A_SECOND - 1 {
                std::thread::sleep(Duration::from_secs(1));
            }
        }
        Ok(())
    }

    /// Forks on the whole machine.
    pub(crate) fn forks_a_second(&self) -> f64 {
        forks().saturating_sub(self.begun.1) as f64 / self.begun.0.elapsed().as_secs_f64()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Its processes end with it.
        let _gone = self.load.kill();
        let _status = self.load.wait();
        let burstable = burstable(&self.top);
        for pod in folders(&burstable).filter(|pod| is_ours(pod, self.load.id())) {
            for container in folders(&pod) {
                let _kept = remove(&container);
            }
            let _kept = remove(&pod);
        }
        // Those above may be a real node's, and then are not empty.
        let _kept = fs::remove_dir(&burstable);
        let _kept = burstable.parent().map(fs::remove_dir);
    }
}

/// Folders in a folder.
fn folders(path: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path())
}

fn forks() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("processes "));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

fn burstable(top: &Path) -> PathBuf {
    top.join("kubepods.slice/kubepods-burstable.slice")
}

/// Pods here have the number of the process that made them.
fn is_ours(pod: &Path, load: u32) -> bool {
    let begin = format!("kubepods-burstable-pod{load:08x}_");
    pod.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&begin))
}

/// The paths that containerd gives a pod and its container by systemd's driver. All have the same length: what is remembered of
/// those that have gone then takes the same memory, whichever they were.
fn container(top: &Path, load: u32, kind: u16, number: u64) -> (PathBuf, PathBuf) {
    let pod = burstable(top)
        .join(format!("kubepods-burstable-pod{load:08x}_0000_4000_{kind:04x}_{number:012x}.slice"));
    let path = pod.join(format!("cri-containerd-{kind:04x}{number:060x}.scope"));
    (pod, path)
}

/// A container, and its processes from the oldest on.
struct Container {
    pod: PathBuf,
    path: PathBuf,
    processes: VecDeque<i64>,
}

impl Container {
    fn make(top: &Path, number: u64, count: usize) -> Result<Self> {
        let (pod, path) = container(top, std::process::id(), LIVING, number);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let mut this = Self { pod, path, processes: VecDeque::new() };
        for place in 0..count {
            this.fork(place == 0)?;
        }
        Ok(this)
    }

    fn fork(&mut self, works: bool) -> Result<()> {
        let us = getpid();
        let child = fork_into(&fs::File::open(&self.path)?)?;
        if child == 0 {
            let _ends_with_us = set_parent_process_death_signal(Some(Signal::KILL));
            // Who has ended before that sends no signal any more.
            if getppid() == Some(us) {
                live(works);
            }
            leave();
        }
        self.processes.push_back(child);
        Ok(())
    }

    /// Ends the process after the first, which works, and has another one begin.
    fn replace_one(&mut self) -> Result<()> {
        let works = self.processes.len() < 2;
        if let Some(process) = self.processes.remove(usize::from(!works)) {
            kill(process)?;
        }
        self.fork(works)
    }

    fn end(mut self) -> Result<()> {
        self.processes.drain(..).try_for_each(kill)?;
        remove(&self.path)?;
        remove(&self.pod)
    }
}

fn kill(process: i64) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(process)?).context("a process id")?;
    kill_process(pid, Signal::KILL)?;
    waited(process)
}

/// The last steps of its processes may follow their parent's being told.
fn remove(folder: &Path) -> Result<()> {
    for _ in 0..2_000 {
        if fs::remove_dir(folder).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_micros(50));
    }
    fs::remove_dir(folder).with_context(|| format!("cannot remove {}", folder.display()))
}

/// Ends a process that was forked without an exec.
#[expect(unsafe_code, reason = "a fork without an exec")]
fn leave() -> ! {
    // SAFETY: ends the child, whose memory is a copy of its parent's.
    unsafe { libc::_exit(0) }
}

/// What a process of a container does.
fn live(works: bool) {
    busy(BEGIN_BUSY);
    loop {
        std::thread::sleep(Duration::from_secs(if works { 1 } else { 3_600 }));
        busy(WORK_BUSY);
    }
}

fn busy(time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// The process that makes them: `TOP CONTAINERS PROCESSES_EACH CHURN`.
pub(crate) fn load(words: &[String]) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let [top, containers, each, churn] = words else { bail!("a load is: TOP CONTAINERS EACH CHURN") };
    let top = Path::new(top);
    let (containers, each, churn): (u64, usize, u32) = (containers.parse()?, each.parse()?, churn.parse()?);
    let made = (0..containers).map(|number| Container::make(top, number, each));
    let mut live: VecDeque<Container> = made.collect::<Result<_>>()?;
    let mut out = std::io::stdout();
    out.write_all(b".")?;
    out.flush()?;
    let (mut number, mut replaced, mut replaced_with) = (containers, 0, 0);
    let mut last = Instant::now();
    let mut due = 0.0;
    loop {
        std::thread::sleep(BEAT);
        due += f64::from(churn) * last.elapsed().as_secs_f64();
        last = Instant::now();
        // Of a machine that is too slow for it no more is asked than it can do.
        due = due.min(f64::from(churn));
        while due >= 1.0 {
            let Some(mut container) = live.pop_front() else { bail!("no container is left") };
            if replaced_with * WITH_CONTAINER <= replaced {
                container.end()?;
                live.push_back(Container::make(top, number, each)?);
                number += 1;
                replaced_with += each as u64;
                replaced += each as u64;
                due -= each as f64;
            } else {
                container.replace_one()?;
                live.push_back(container);
                replaced += 1;
                due -= 1.0;
            }
        }
    }
}
