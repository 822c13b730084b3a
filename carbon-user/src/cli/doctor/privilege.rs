//! What this process may do (capabilities(7), `proc_pid_status(5)`).

use super::{Check, State, kernel};
use crate::sysroot::SysRoot;

const SECTION: &str = "privilege";
const SYS_ADMIN: u32 = 21;
const DAC_OVERRIDE: u32 = 1;
const GRANT: &str = "run as root, or as root once: \
     setcap cap_bpf,cap_perfmon,cap_dac_read_search=ep \"$(command -v carbon)\"";

/// A capability, what it is for, and another that stands in for it.
struct Wanted {
    name: &'static str,
    bit: u32,
    stand_in: Option<(u32, &'static str)>,
    purpose: &'static str,
    /// First kernel that can do without.
    needless_from: Option<(u32, u32)>,
}

const WANTED: [Wanted; 5] = [
    Wanted {
        name: "CAP_BPF",
        bit: 39,
        stand_in: Some((SYS_ADMIN, "CAP_SYS_ADMIN")),
        purpose: "load eBPF programs",
        needless_from: None,
    },
    Wanted {
        name: "CAP_PERFMON",
        bit: 38,
        stand_in: Some((SYS_ADMIN, "CAP_SYS_ADMIN")),
        purpose: "let them read the kernel, and open perf events",
        needless_from: None,
    },
    Wanted {
        name: "CAP_SYS_ADMIN",
        bit: SYS_ADMIN,
        stand_in: None,
        purpose: "eBPF before 5.8, which has no CAP_BPF",
        needless_from: Some((5, 8)),
    },
    Wanted {
        name: "CAP_SYS_RESOURCE",
        bit: 24,
        stand_in: None,
        purpose: "lock memory for maps before 5.11",
        needless_from: Some((5, 11)),
    },
    Wanted {
        name: "CAP_DAC_READ_SEARCH",
        bit: 2,
        stand_in: Some((DAC_OVERRIDE, "CAP_DAC_OVERRIDE")),
        purpose: "read the energy counters of sysfs, which are for root only",
        needless_from: None,
    },
];

pub(super) fn checks(root: &SysRoot) -> Vec<Check> {
    let mut checks = vec![user_namespace(root)];
    match root.read_proc("self/status") {
        Ok(status) => match effective(&status) {
            Some(set) => {
                let release = root.read_proc("sys/kernel/osrelease").ok();
                let version = release.as_deref().and_then(kernel::version);
                checks.extend(WANTED.iter().map(|wanted| capability(wanted, set, version)));
            }
            None => checks.push(Check::new(
                SECTION,
                "capabilities",
                State::Unknown,
                "/proc/self/status has no line CapEff that can be read",
            )),
        },
        Err(error) => checks.push(Check::unread(SECTION, "capabilities", "/proc/self/status", &error)),
    }
    checks
}

fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn capability(wanted: &Wanted, set: u64, version: Option<(u32, u32)>) -> Check {
    let Wanted { name, bit, stand_in, purpose, needless_from } = wanted;
    let has = |bit: u32| set >> bit & 1 == 1;
    if has(*bit) {
        return Check::new(SECTION, name, State::Ok, format!("present: {purpose}"));
    }
    if let Some((_, other)) = stand_in.filter(|(bit, _)| has(*bit)) {
        return Check::new(SECTION, name, State::Ok, format!("not present, {other} stands in: {purpose}"));
    }
    if let (Some(from), Some(version)) = (needless_from, version)
        && version >= *from
    {
        return Check::new(SECTION, name, State::Note, format!("not present, not needed here: {purpose}"));
    }
    Check::new(SECTION, name, State::Warn, format!("not present: {purpose}")).advise(GRANT)
}

/// Capabilities count for eBPF and sysfs only in the initial user namespace, whose map is all ids onto themselves
/// (`user_namespaces(7)`).
fn user_namespace(root: &SysRoot) -> Check {
    match root.read_proc("self/uid_map") {
        Ok(map) if map.split_whitespace().eq(["0", "0", "4294967295"]) => {
            Check::new(SECTION, "user_namespace", State::Ok, "the initial one")
        }
        Ok(_) => {
            let finding = "a user namespace of its own: capabilities in it do not count for eBPF";
            Check::new(SECTION, "user_namespace", State::Warn, finding)
                .advise("run carbon on the host, or in a container without a user namespace")
        }
        Err(error) => Check::unread(SECTION, "user_namespace", "/proc/self/uid_map", &error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(set: u64, version: (u32, u32)) -> Vec<State> {
        WANTED.iter().map(|wanted| capability(wanted, set, Some(version)).state).collect()
    }

    #[test]
    fn sys_admin_stands_in_where_the_kernel_lets_it() {
        use State::{Note, Ok, Warn};
        assert_eq!(states(1 << SYS_ADMIN, (6, 1)), [Ok, Ok, Ok, Note, Warn]);
        assert_eq!(states(1 << SYS_ADMIN, (5, 10)), [Ok, Ok, Ok, Warn, Warn]);
        assert_eq!(states(0, (6, 1)), [Warn, Warn, Note, Note, Warn]);
        assert_eq!(states(1 << 39 | 1 << 38 | 1 << DAC_OVERRIDE, (6, 1)), [Ok, Ok, Note, Note, Ok]);
    }

    #[test]
    fn the_effective_set_is_read() {
        assert_eq!(effective("Name:\tx\nCapEff:\t000001fffeffffff\n"), Some(0x1ff_feff_ffff));
        assert_eq!(effective("CapEff:\tx\n"), None);
        assert_eq!(effective(""), None);
    }
}
