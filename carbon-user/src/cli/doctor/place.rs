//! Where carbon runs: processors, cgroups, namespaces, containers, virtual machines.

use super::{Check, State, reason};
use crate::sysroot::{CgroupLayout, SysRoot, cgroup_layout};
use crate::topology::Topology;

const SECTION: &str = "machine";
/// Inode numbers of the initial namespaces: `include/linux/proc_ns.h`, `PROC_CGROUP_INIT_INO`, `PROC_PID_INIT_INO`.
const INITIAL_CGROUP_NAMESPACE: u32 = 0xEFFF_FFFB;
const INITIAL_PID_NAMESPACE: u32 = 0xEFFF_FFFC;

pub(super) fn checks(root: &SysRoot) -> Vec<Check> {
    vec![
        processors(root),
        tickless(root),
        virtualisation(root),
        container(root),
        namespace(
            root,
            "pid",
            "pid_namespace",
            INITIAL_PID_NAMESPACE,
            "processes outside it have no names here",
        ),
        namespace(
            root,
            "cgroup",
            "cgroup_namespace",
            INITIAL_CGROUP_NAMESPACE,
            "cgroups outside it show as paths that begin with /..",
        ),
        cgroups(root),
        cpuacct(root),
    ]
}

fn processors(root: &SysRoot) -> Check {
    let topology = match Topology::read(root) {
        Ok(topology) => topology,
        Err(error) => return Check::unread(SECTION, "processors", "/sys/devices/system/cpu", &error),
    };
    let cpuinfo = root.read_proc("cpuinfo").unwrap_or_default();
    let model = cpuinfo_value(&cpuinfo, "model name").unwrap_or("no model name");
    let threads = match root.read_sys("devices/system/cpu/smt/active").as_deref() {
        Ok("1") => ", SMT on",
        Ok(_) => ", SMT off",
        Err(_) => "",
    };
    let (cpus, packages) = (topology.cpus_online(), topology.packages);
    let finding = format!("{model}: {cpus} CPUs online on {packages} package(s){threads}");
    Check::new(SECTION, "processors", State::Note, finding)
}

/// The first value of a key in `/proc/cpuinfo`.
fn cpuinfo_value<'a>(cpuinfo: &'a str, key: &str) -> Option<&'a str> {
    cpuinfo.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then_some(value.trim())
    })
}

/// CPUs without a regular tick book running tasks once a second only (`Documentation/timers/no_hz.rst`); isolated
/// CPUs are for whoever reads the report.
fn tickless(root: &SysRoot) -> Check {
    let list = |name: &str| {
        let text = root.read_sys(format!("devices/system/cpu/{name}")).unwrap_or_default();
        (!text.is_empty() && text != "(null)").then_some(text)
    };
    let (tickless, isolated) = (list("nohz_full"), list("isolated"));
    let mut parts = Vec::new();
    parts.extend(tickless.iter().map(|cpus| format!("no regular tick on CPUs {cpus}")));
    parts.extend(isolated.iter().map(|cpus| format!("CPUs {cpus} are isolated")));
    match tickless {
        Some(_) => Check::new(SECTION, "tickless_cpus", State::Warn, parts.join("; ")).advise(
            "the books lag a second behind there: use --accounting hook for windows of a few seconds",
        ),
        None if parts.is_empty() => {
            Check::new(SECTION, "tickless_cpus", State::Ok, "none, and none isolated")
        }
        None => Check::new(SECTION, "tickless_cpus", State::Note, parts.join("; ")),
    }
}

fn virtualisation(root: &SysRoot) -> Check {
    let cpuinfo = match root.read_proc("cpuinfo") {
        Ok(cpuinfo) => cpuinfo,
        Err(error) => return Check::unread(SECTION, "virtualisation", "/proc/cpuinfo", &error),
    };
    // x86 only: bit 31 of ECX of CPUID leaf 1, which the architecture leaves to hypervisors.
    let flagged =
        cpuinfo_value(&cpuinfo, "flags").is_some_and(|flags| flags.split(' ').any(|f| f == "hypervisor"));
    let mut names: Vec<String> = Vec::new();
    for file in ["hypervisor/type", "class/dmi/id/sys_vendor", "class/dmi/id/product_name"] {
        names.extend(root.read_sys(file).ok().filter(|name| !name.is_empty()));
    }
    let known = names.join(", ");
    let on = if known.is_empty() { String::new() } else { format!(" ({known})") };
    if flagged || root.read_sys("hypervisor/type").is_ok() {
        Check::new(SECTION, "virtualisation", State::Note, format!("a virtual machine{on}")).advise(
            "hypervisors hide energy counters as a rule: the model stands in, charged for this machine's CPUs only",
        )
    } else {
        Check::new(SECTION, "virtualisation", State::Note, format!("no sign of a hypervisor{on}"))
    }
}

/// Signs that container managers leave: files in the root directory, and `container=` in the environment of the
/// first process (systemd's container interface).
fn container(root: &SysRoot) -> Check {
    let mut signs = Vec::new();
    for file in [".dockerenv", "run/.containerenv", "run/systemd/container"] {
        if root.proc.join("self/root").join(file).exists() {
            signs.push(format!("/{file}"));
        }
    }
    let environment = std::fs::read(root.proc.join("1/environ")).unwrap_or_default();
    let mut variables = environment.split(|byte| *byte == 0);
    if let Some(manager) = variables.find_map(|variable| variable.strip_prefix(b"container=")) {
        signs.push(format!("container={}", String::from_utf8_lossy(manager)));
    }
    if signs.is_empty() {
        Check::new(SECTION, "container", State::Note, "no sign of one")
    } else {
        Check::new(SECTION, "container", State::Note, format!("signs of one: {}", signs.join(", ")))
    }
}

fn namespace(root: &SysRoot, kind: &str, name: &'static str, initial: u32, otherwise: &str) -> Check {
    let link = match root.proc.join("self/ns").join(kind).read_link() {
        Ok(link) => link,
        Err(error) => return Check::unread(SECTION, name, &format!("/proc/self/ns/{kind}"), &error),
    };
    let text = link.to_string_lossy();
    let inode = text.split_once('[').and_then(|(_, rest)| rest.strip_suffix(']')?.parse::<u32>().ok());
    match inode {
        Some(inode) if inode == initial => Check::new(SECTION, name, State::Ok, "the host's"),
        Some(_) => Check::new(SECTION, name, State::Warn, format!("private: {otherwise}"))
            .advise(format!("start the container with the host's {kind} namespace")),
        None => Check::new(SECTION, name, State::Unknown, format!("{text}: not a namespace")),
    }
}

fn cgroups(root: &SysRoot) -> Check {
    let mounts = match root.cgroup_mounts() {
        Ok(mounts) => mounts,
        Err(error) => return Check::unread(SECTION, "cgroups", "/proc/self/mountinfo", &error),
    };
    let paths = |v1: bool| {
        let chosen = mounts.iter().filter(|mount| mount.v1.is_some() == v1);
        let texts = chosen.map(|mount| match &mount.v1 {
            Some(controllers) => format!("{} ({controllers})", mount.path.display()),
            None => mount.path.display().to_string(),
        });
        texts.collect::<Vec<_>>().join(", ")
    };
    match cgroup_layout(&mounts) {
        CgroupLayout::V2 => Check::new(SECTION, "cgroups", State::Ok, format!("version 2: {}", paths(false))),
        CgroupLayout::Hybrid => {
            let finding = format!("hybrid: version 2 at {}; version 1 at {}", paths(false), paths(true));
            Check::new(SECTION, "cgroups", State::Warn, finding)
                .advise("where workloads are grouped in version 1 only, --hierarchy cpuacct tells them apart")
        }
        CgroupLayout::V1 => {
            Check::new(SECTION, "cgroups", State::Warn, format!("version 1 only: {}", paths(true)))
                .advise("the tree of cpuacct is followed; version 2 has more: boot with it, or mount it too")
        }
        CgroupLayout::None => Check::new(SECTION, "cgroups", State::No, "none mounted")
            .advise("mount -t cgroup2 none /sys/fs/cgroup"),
    }
}

/// The root of this controller has the CPU time of kernel threads and of the root cgroup (rung 1).
fn cpuacct(root: &SysRoot) -> Check {
    let controllers = match root.read_proc("cgroups") {
        Ok(controllers) => controllers,
        Err(error) => {
            let finding = format!("cannot read /proc/cgroups: {}", reason(&error));
            return Check::new(SECTION, "cpuacct", State::Unknown, finding);
        }
    };
    let enabled = controllers.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("cpuacct")).then(|| words.nth(2) == Some("1"))
    });
    match enabled {
        Some(true) => Check::new(SECTION, "cpuacct", State::Ok, "present"),
        Some(false) => Check::new(SECTION, "cpuacct", State::Warn, "disabled at boot")
            .advise("remove cgroup_disable=cpuacct from the kernel's command line"),
        None => Check::new(SECTION, "cpuacct", State::Warn, "not compiled in")
            .advise("use a kernel with CONFIG_CGROUP_CPUACCT=y for the time of kernel threads"),
    }
}
