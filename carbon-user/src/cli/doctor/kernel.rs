//! The kernel: its version, its type information, and what it lets eBPF programs do.

use super::{Check, State, reason};
use crate::sysroot::SysRoot;
use std::io::ErrorKind;

const SECTION: &str = "kernel";
/// The oldest kernel that the programs are tested on.
const RELEASE_MIN: (u32, u32) = (5, 10);

pub(super) fn checks(root: &SysRoot) -> Vec<Check> {
    vec![
        release(root),
        btf(root),
        unprivileged_bpf(root),
        jit(root),
        lockdown(root),
        security_modules(root),
        sched_ext(root),
    ]
}

/// Major and minor of `6.18.44-fc`.
pub(super) fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn release(root: &SysRoot) -> Check {
    let release = match root.read_proc("sys/kernel/osrelease") {
        Ok(release) => release,
        Err(error) => return Check::unread(SECTION, "release", "/proc/sys/kernel/osrelease", &error),
    };
    match version(&release) {
        Some(version) if version >= RELEASE_MIN => Check::new(SECTION, "release", State::Ok, release),
        Some(_) => {
            Check::new(SECTION, "release", State::No, format!("{release}: too old for the eBPF programs"))
                .advise("use a kernel from 5.10 on, or --accounting cpustat or proc")
        }
        None => Check::new(SECTION, "release", State::Unknown, format!("{release}: not a version")),
    }
}

fn btf(root: &SysRoot) -> Check {
    match root.sys.join("kernel/btf/vmlinux").metadata() {
        Ok(file) => Check::new(SECTION, "btf", State::Ok, format!("present, {} KiB", file.len() / 1024)),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Check::new(SECTION, "btf", State::No, "no /sys/kernel/btf/vmlinux: field offsets are not known")
                .advise("use a kernel with CONFIG_DEBUG_INFO_BTF=y; in a container, mount the host's /sys")
        }
        Err(error) => Check::unread(SECTION, "btf", "/sys/kernel/btf/vmlinux", &error),
    }
}

/// Documentation/admin-guide/sysctl/kernel.rst: 0 allowed, 1 not until reboot, 2 not until root changes it.
fn unprivileged_bpf(root: &SysRoot) -> Check {
    let name = "unprivileged_bpf_disabled";
    match root.read_proc("sys/kernel/unprivileged_bpf_disabled") {
        Ok(value) => {
            let meaning = match value.as_str() {
                "0" => "users may load simple programs",
                "1" => "only with CAP_BPF, until the next boot",
                "2" => "only with CAP_BPF, unless root changes it",
                _ => "not a known value",
            };
            Check::new(SECTION, name, State::Note, format!("{value}: {meaning}"))
        }
        Err(error) => Check::unread(SECTION, name, "/proc/sys/kernel/unprivileged_bpf_disabled", &error),
    }
}

/// Documentation/admin-guide/sysctl/net.rst, `bpf_jit_enable`.
fn jit(root: &SysRoot) -> Check {
    let name = "bpf_jit_enable";
    match root.read_proc("sys/net/core/bpf_jit_enable") {
        Ok(value) if value == "0" => {
            Check::new(SECTION, name, State::Warn, "0: programs are interpreted, several times slower")
                .advise("as root: sysctl net.core.bpf_jit_enable=1")
        }
        Ok(value) if value == "2" => {
            Check::new(SECTION, name, State::Warn, "2: every program is written to the log")
                .advise("as root: sysctl net.core.bpf_jit_enable=1")
        }
        Ok(value) => Check::new(SECTION, name, State::Ok, value),
        Err(error) => Check::unread(SECTION, name, "/proc/sys/net/core/bpf_jit_enable", &error),
    }
}

/// `[none] integrity confidentiality`, the one in force in brackets (`kernel_lockdown(7)`). BPF programs may not
/// read the kernel's memory, and perf may not be used by root, from confidentiality on (security/lockdown).
fn lockdown(root: &SysRoot) -> Check {
    let text = match root.read_sys("kernel/security/lockdown") {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let finding = "no /sys/kernel/security/lockdown: not compiled in, or securityfs is not mounted";
            return Check::new(SECTION, "lockdown", State::Note, finding);
        }
        Err(error) => return Check::unread(SECTION, "lockdown", "/sys/kernel/security/lockdown", &error),
    };
    let in_force = text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(mode, _)| mode);
    match in_force {
        Some(mode @ ("none" | "integrity")) => Check::new(SECTION, "lockdown", State::Ok, mode),
        Some("confidentiality") => {
            let finding = "confidentiality: eBPF programs may not read the scheduler's books";
            Check::new(SECTION, "lockdown", State::No, finding)
                .advise("boot with lockdown=integrity or without it, or use --accounting cpustat")
        }
        _ => Check::new(SECTION, "lockdown", State::Unknown, format!("{text:?}: not a known form")),
    }
}

fn security_modules(root: &SysRoot) -> Check {
    let name = "security_modules";
    let modules = match root.read_sys("kernel/security/lsm") {
        Ok(modules) => modules,
        Err(error) => {
            let finding = format!("cannot read /sys/kernel/security/lsm: {}", reason(&error));
            return Check::new(SECTION, name, State::Note, finding);
        }
    };
    let mut finding = modules.clone();
    if root.read_sys("fs/selinux/enforce").is_ok_and(|value| value == "1") {
        finding.push_str("; SELinux enforces");
    }
    if let Ok(scope) = root.read_proc("sys/kernel/yama/ptrace_scope") {
        finding.push_str("; yama ptrace_scope ");
        finding.push_str(&scope);
    }
    let check = Check::new(SECTION, name, State::Note, finding);
    if modules.split(',').any(|module| matches!(module, "selinux" | "apparmor")) {
        check.advise(
            "if loading is refused although the capabilities are there, look for a denial in the audit log",
        )
    } else {
        check
    }
}

/// Documentation/scheduler/sched-ext.rst: `disabled` unless a BPF scheduler is loaded.
fn sched_ext(root: &SysRoot) -> Check {
    let finding = match root.read_sys("kernel/sched_ext/state") {
        Ok(state) => state,
        Err(error) if error.kind() == ErrorKind::NotFound => "not compiled in".into(),
        Err(error) => return Check::unread(SECTION, "sched_ext", "/sys/kernel/sched_ext/state", &error),
    };
    Check::new(SECTION, "sched_ext", State::Note, finding)
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn releases_are_read() {
        let cases = [
            ("6.18.44-fc-v595", Some((6, 18))),
            ("5.4-rc1", Some((5, 4))),
            ("7.3+", Some((7, 3))),
            ("x.1", None),
            ("6", None),
            ("", None),
        ];
        for (release, expected) in cases {
            assert_eq!(version(release), expected, "{release:?}");
        }
    }
}
