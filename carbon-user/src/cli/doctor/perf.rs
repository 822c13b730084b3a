//! perf events: what they give beyond the scheduler's books (frequency, the `power` PMU).

use super::{Check, State};
use crate::sysroot::SysRoot;
use perf_event::Builder;
use perf_event::events::{Hardware, Software};
use std::io::{self, ErrorKind};

const SECTION: &str = "perf";

/// What came of opening an event on CPU 0 for all processes: the operating system's words where it failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PerfEvents {
    /// Cycles, counted by the processor.
    pub cycles: Result<(), String>,
    /// The CPU clock, counted by the kernel.
    pub cpu_clock: Result<(), String>,
}

impl PerfEvents {
    /// Opens each event and closes it again.
    pub fn open() -> Self {
        let tried = |builder: &mut Builder<'_>| {
            let opened = builder.any_pid().one_cpu(0).exclude_kernel(false).exclude_hv(false).build();
            opened.map(drop).map_err(|error| explain(&error))
        };
        Self {
            cycles: tried(&mut Builder::new(Hardware::CPU_CYCLES)),
            cpu_clock: tried(&mut Builder::new(Software::CPU_CLOCK)),
        }
    }
}

/// `perf_event_open(2)`, ERRORS.
fn explain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::EOPNOTSUPP | libc::ENODEV) => {
            "not offered by this processor or hypervisor".into()
        }
        Some(libc::EACCES | libc::EPERM) => "permission denied".into(),
        Some(libc::ENOSYS) => "perf events are not compiled in, or a seccomp filter hides them".into(),
        _ => error.to_string(),
    }
}

pub(super) fn checks(root: &SysRoot, events: &PerfEvents) -> Vec<Check> {
    vec![
        paranoid(root),
        event("hardware_cycles", &events.cycles, State::Note),
        event("software_clock", &events.cpu_clock, State::Warn),
        power(root),
    ]
}

/// Documentation/admin-guide/sysctl/kernel.rst: without `CAP_PERFMON`, 0 and below allow all CPUs' events, 1 those
/// of own processes with the kernel's part, 2 without it; Debian and Android add 3 and above, nothing at all.
fn paranoid(root: &SysRoot) -> Check {
    let name = "perf_event_paranoid";
    let text = match root.read_proc("sys/kernel/perf_event_paranoid") {
        Ok(text) => text,
        Err(error) => return Check::unread(SECTION, name, "/proc/sys/kernel/perf_event_paranoid", &error),
    };
    let meaning = match text.parse::<i32>() {
        Ok(..=0) => "users may count on whole CPUs",
        Ok(1) => "users may count in own processes and the kernel for them",
        Ok(2) => "users may count in own processes only",
        Ok(_) => "only with CAP_PERFMON",
        Err(_) => "not a known value",
    };
    Check::new(SECTION, name, State::Note, format!("{text}: {meaning}"))
}

fn event(name: &'static str, opened: &Result<(), String>, without: State) -> Check {
    match opened {
        Ok(()) => Check::new(SECTION, name, State::Ok, "can be opened on all CPUs"),
        Err(reason) => {
            let check = Check::new(SECTION, name, without, reason.clone());
            if reason == "permission denied" {
                check.advise("give CAP_PERFMON, or as root: sysctl kernel.perf_event_paranoid=0")
            } else {
                check
            }
        }
    }
}

fn power(root: &SysRoot) -> Check {
    let path = "bus/event_source/devices/power/type";
    match root.read_sys(path) {
        Ok(number) => Check::new(SECTION, "power_pmu", State::Ok, format!("present, PMU type {number}")),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Check::new(SECTION, "power_pmu", State::Note, "none: no RAPL, or hidden by the hypervisor")
        }
        Err(error) => Check::unread(SECTION, "power_pmu", &format!("/sys/{path}"), &error),
    }
}
