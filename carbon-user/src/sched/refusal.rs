//! Who refuses to load a program: the kernel itself says only "operation not permitted".

use crate::sysroot::SysRoot;

/// Numbers of capabilities (include/uapi/linux/capability.h).
const SYS_ADMIN: u32 = 21;
const PERFMON: u32 = 38;
const BPF: u32 = 39;

/// The first of the layers that the kernel asks which says no, as far as it shows.
pub(super) fn layer(root: &SysRoot) -> String {
    let status = root.read_proc("self/status").unwrap_or_default();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let effective = field("CapEff:").and_then(|mask| u64::from_str_radix(mask, 16).ok());
    let has = |bit: u32| effective.is_none_or(|mask| mask >> bit & 1 == 1 || mask >> SYS_ADMIN & 1 == 1);
    let missing: Vec<&str> = [(BPF, "CAP_BPF"), (PERFMON, "CAP_PERFMON")]
        .into_iter()
        .filter(|(bit, _)| !has(*bit))
        .map(|(_, name)| name)
        .collect();
    if !missing.is_empty() {
        return format!("{} missing", missing.join(" and "));
    }
    let lockdown = root.read_sys("kernel/security/lockdown").unwrap_or_default();
    if lockdown.contains("[confidentiality]") {
        return "kernel lockdown in confidentiality mode".to_owned();
    }
    if field("Seccomp:").is_some_and(|mode| mode != "0") {
        return "probably a seccomp filter, as in a container: allow bpf(2) there".to_owned();
    }
    match root.read_sys("kernel/security/lsm") {
        Ok(modules) => format!("probably a security module ({modules}): see the audit log"),
        Err(_) => "no layer that shows: probably a security module or a user namespace".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn machine(status: &str, lockdown: &str) -> String {
        let directory = tempfile::tempdir().unwrap();
        let root = SysRoot { sys: directory.path().join("sys"), proc: directory.path().join("proc") };
        for (path, text) in [
            (root.proc.join("self/status"), status),
            (root.sys.join("kernel/security/lockdown"), lockdown),
            (root.sys.join("kernel/security/lsm"), "lockdown,selinux,bpf"),
        ] {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        layer(&root)
    }

    #[test]
    fn the_layer_that_refuses_is_named() {
        let all = "CapEff:\t000001ffffffffff\nSeccomp:\t0\n";
        assert_eq!(machine("CapEff:\t0000000000000000\n", ""), "CAP_BPF and CAP_PERFMON missing");
        assert_eq!(machine("CapEff:\t0000008000000000\n", ""), "CAP_PERFMON missing");
        assert_eq!(
            machine(all, "none integrity [confidentiality]\n"),
            "kernel lockdown in confidentiality mode"
        );
        assert!(machine("CapEff:\t000000c000000000\nSeccomp:\t2\n", "[none]").contains("seccomp"));
        assert!(
            machine(all, "none [integrity] confidentiality")
                .contains("security module (lockdown,selinux,bpf)")
        );
    }
}
