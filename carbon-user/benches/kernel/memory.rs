//! What a process holds of the machine's memory.

use anyhow::{Context, Result};
use std::fs;

/// Resident, in KiB.
pub(crate) fn resident_kib(pid: u32) -> Result<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok());
    kib.context("no VmRSS: the process has ended")
}

/// Bytes of its BPF maps and programs.
pub(crate) fn kernel_bytes(pid: u32) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        let text = fs::read_to_string(entry?.path()).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("memlock:"));
        bytes += line.and_then(|number| number.trim().parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(bytes)
}
