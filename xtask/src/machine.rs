//! What this machine lets us do.

use std::fs;
use std::path::Path;

/// Whether the effective user is root (the second number of the line `Uid` in proc(5)'s status).
pub(crate) fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    ids.and_then(|ids| ids.split_whitespace().nth(1)) == Some("0")
}

/// Whether the kernel describes its own types, without which the kernel programs cannot be loaded.
pub(crate) fn has_btf() -> bool {
    Path::new("/sys/kernel/btf/vmlinux").exists()
}

/// What the kernel part of the tests and the demo lack here; empty where they can run.
pub(crate) fn kernel_part_lacks() -> Vec<&'static str> {
    let mut lacks = Vec::new();
    if !is_root() {
        lacks.push("root (run it with sudo)");
    }
    if !has_btf() {
        lacks.push("/sys/kernel/btf/vmlinux (a kernel built with CONFIG_DEBUG_INFO_BTF, and /sys mounted)");
    }
    lacks
}
