//! Sections of a document that a benchmark writes anew, between two comments; what stands around them stays.

use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// Puts a section in its place; to the end where there is none yet. Says when, on what, and what it was.
pub(crate) fn write(document: Option<&Path>, name: &str, text: &str) -> Result<()> {
    let Some(document) = document else { return Ok(()) };
    let before =
        fs::read_to_string(document).with_context(|| format!("cannot read {}", document.display()))?;
    let after = replaced(&before, name, &format!("{}\n\n{}", conditions(), text.trim()));
    fs::write(document, after).with_context(|| format!("cannot write {}", document.display()))
}

fn replaced(before: &str, name: &str, text: &str) -> String {
    let (open, close) = (format!("<!-- {name}: written by the command above -->"), "<!-- end -->");
    let section = format!("{open}\n\n{text}\n\n{close}");
    if let Some((head, rest)) = before.split_once(&open)
        && let Some((_, tail)) = rest.split_once(close)
    {
        return format!("{head}{section}{tail}");
    }
    format!("{}\n\n{section}\n", before.trim_end())
}

/// Date, kernel and machine, in a line.
fn conditions() -> String {
    let system = rustix::system::uname();
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |key: &str| {
        let line = info.lines().find(|line| line.starts_with(key));
        line.and_then(|line| line.split_once(':')).map_or("unknown", |(_, value)| value.trim()).to_owned()
    };
    let cpus = info.lines().filter(|line| line.starts_with("processor")).count();
    let virtual_machine = if value("flags").contains("hypervisor") { ", a virtual machine" } else { "" };
    let date = carbon_user::clock::wall().strftime("%Y-%m-%d");
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "*{date}, kernel {}, {cpus} CPUs of {}{virtual_machine}; load average at the end {}.*",
        system.release().to_string_lossy(),
        value("model name"),
        load.split(' ').next().unwrap_or("unknown")
    )
}
