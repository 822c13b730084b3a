//! What the agent may do: it gives away, before it opens anything or starts a thread, all that measuring does not need.
//!
//! Capabilities are of threads (capabilities(7)), and threads get those of who starts them; so this is done while there is
//! one, and there is no moment at which something from outside is read with more. The table of what is kept, and what fails
//! without it, is in docs/security.md.

use crate::meters;
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{self, CapabilitySet, CapabilitySets};
use std::fmt::Write as _;
use thiserror::Error;

/// As a limit, 20 less the niceness that threads may take (getrlimit(2)): the window loop and lanes of meters ask for -10.
const NICE_LIMIT: u64 = 30;

/// Capabilities that may be kept.
const KNOWN: [(&str, CapabilitySet); 10] = [
    ("bpf", CapabilitySet::BPF),
    ("perfmon", CapabilitySet::PERFMON),
    ("dac_read_search", CapabilitySet::DAC_READ_SEARCH),
    ("dac_override", CapabilitySet::DAC_OVERRIDE),
    ("sys_ptrace", CapabilitySet::SYS_PTRACE),
    ("sys_resource", CapabilitySet::SYS_RESOURCE),
    ("sys_nice", CapabilitySet::SYS_NICE),
    ("sys_admin", CapabilitySet::SYS_ADMIN),
    ("syslog", CapabilitySet::SYSLOG),
    ("net_bind_service", CapabilitySet::NET_BIND_SERVICE),
];

/// What is needed to load kernel programs and open perf events, whoever runs it.
const ALWAYS: CapabilitySet = CapabilitySet::BPF.union(CapabilitySet::PERFMON);

/// A word of `--capabilities` that is none.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "{word:?} is not auto, all, none, or names of capabilities that an agent can have a use for: {}",
    known()
)]
pub struct UnknownCapability {
    word: String,
}

fn known() -> String {
    KNOWN.map(|(name, _)| name).join(", ")
}

/// What is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// What measuring needs.
    Needed,
    /// All that it was started with; nothing is given away.
    All,
    /// These.
    These(CapabilitySet),
}

impl Keep {
    /// From `auto`, `all`, `none`, or names such as `bpf,perfmon`, with or without `cap_`.
    pub fn parse(text: &str) -> Result<Self, UnknownCapability> {
        match text.trim() {
            "auto" => return Ok(Self::Needed),
            "all" => return Ok(Self::All),
            "none" => return Ok(Self::These(CapabilitySet::empty())),
            _ => {}
        }
        let mut set = CapabilitySet::empty();
        for word in text.split(',').map(str::trim) {
            let lower = word.to_ascii_lowercase();
            let name = lower.strip_prefix("cap_").unwrap_or(&lower);
            let Some((_, capability)) = KNOWN.iter().find(|(known, _)| *known == name) else {
                return Err(UnknownCapability { word: word.to_owned() });
            };
            set |= *capability;
        }
        Ok(Self::These(set))
    }

    /// As a set, for a user. Root owns the energy counters, which no one else may read, and reads them as their owner.
    fn set(self, is_root: bool) -> Option<CapabilitySet> {
        match self {
            Self::All => None,
            Self::These(set) => Some(set),
            Self::Needed if is_root => Some(ALWAYS),
            Self::Needed => Some(ALWAYS | CapabilitySet::DAC_READ_SEARCH),
        }
    }
}

/// Gives away what is not kept, and says what is left and what was refused. Nothing of this ends the agent: it then has more
/// than it needs.
pub(super) fn reduce(keep: Keep) {
    raise_limits();
    // While it may, by whichever right; threads that only write or serve give it back.
    if let Err(error) = meters::hurry(&"the window loop") {
        log::info!(
            "the window loop and the threads of meters wait for their turn as all other work does: {error}; LimitNICE=-10 or \
             CAP_SYS_NICE lets them be first"
        );
    }
    let Some(wanted) = keep.set(rustix::process::geteuid().is_root()) else {
        log::warn!("all capabilities are kept, as --capabilities all asks for");
        return;
    };
    match drop_to(wanted) {
        Ok(kept) if kept == wanted => log::info!("capabilities: {}, and no new ones", names(kept)),
        Ok(kept) => {
            let missing = names(wanted.difference(kept));
            log::info!("capabilities: {}, and no new ones; not given: {missing}", names(kept));
        }
        Err(error) => log::warn!("capabilities stay as they are: {error}"),
    }
    if let Err(error) = thread::set_no_new_privs(true) {
        log::warn!("no_new_privs is refused: {error}");
    }
}

/// Limits that threads and maps ask for later, which only who has `CAP_SYS_RESOURCE` may raise; refused, a right
/// to a priority may still be there (`CAP_SYS_NICE`), and maps before 5.11 may have no room, which loading them tells.
fn raise_limits() {
    let limit = |value| Rlimit { current: value, maximum: value };
    for (resource, value) in [(Resource::Nice, Some(NICE_LIMIT)), (Resource::Memlock, None)] {
        if let Err(error) = setrlimit(resource, limit(value)) {
            log::debug!("the limit {resource:?} stays as it is: {error}");
        }
    }
}

fn drop_to(wanted: CapabilitySet) -> rustix::io::Result<CapabilitySet> {
    let held = thread::capabilities(None)?;
    let kept = held.permitted & wanted;
    // Needs CAP_SETPCAP, so it comes first. Whatever stays in the bounding set is of no use without new privileges.
    let mut refused = CapabilitySet::empty();
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        // An error is a number that the kernel does not know: there are no more.
        let Ok(is_held) = thread::capability_is_in_bounding_set(capability) else { break };
        if is_held
            && !wanted.contains(capability)
            && thread::remove_capability_from_bounding_set(capability).is_err()
        {
            refused |= capability;
        }
    }
    if !refused.is_empty() {
        log::info!("the bounding set keeps {}: without CAP_SETPCAP it cannot be narrowed", names(refused));
    }
    if let Err(error) = thread::clear_ambient_capability_set() {
        log::debug!("ambient capabilities stay: {error}");
    }
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    thread::set_capabilities(None, sets)?;
    Ok(kept)
}

/// As capabilities(7) writes them; a number where it is none of those that an agent can have a use for.
fn names(set: CapabilitySet) -> String {
    let mut text = String::new();
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if !set.contains(capability) {
            continue;
        }
        let separator = if text.is_empty() { "" } else { ", " };
        let name = KNOWN.iter().find(|(_, known)| *known == capability);
        let written = match name {
            Some((name, _)) => write!(text, "{separator}CAP_{}", name.to_uppercase()),
            None => write!(text, "{separator}{bit}"),
        };
        debug_assert!(written.is_ok(), "a string takes all");
    }
    if text.is_empty() { "none".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_sets() {
        assert_eq!(Keep::parse("auto"), Ok(Keep::Needed));
        assert_eq!(Keep::parse("all"), Ok(Keep::All));
        assert_eq!(Keep::parse("none"), Ok(Keep::These(CapabilitySet::empty())));
        let set = CapabilitySet::BPF | CapabilitySet::SYS_PTRACE;
        assert_eq!(Keep::parse("CAP_BPF, sys_ptrace"), Ok(Keep::These(set)));
        let error = Keep::parse("bpf,chown").unwrap_err().to_string();
        assert!(error.starts_with("\"chown\" is not auto") && error.contains("perfmon"), "{error}");
        assert!(Keep::parse("").is_err());
    }

    #[test]
    fn root_reads_counters_as_their_owner() {
        assert_eq!(names(Keep::Needed.set(true).unwrap()), "CAP_PERFMON, CAP_BPF");
        assert_eq!(names(Keep::Needed.set(false).unwrap()), "CAP_DAC_READ_SEARCH, CAP_PERFMON, CAP_BPF");
        assert_eq!(Keep::All.set(true), None);
        assert_eq!(names(CapabilitySet::empty()), "none");
    }
}
