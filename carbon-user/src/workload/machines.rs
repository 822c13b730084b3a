//! Virtual machines, and containers that are systems of their own: LXC, nspawn, libvirt's.

use super::path::{Walk, is_a, is_number, is_unit, unescaped};
use super::{Helper, Kind, Note, Runtime};

/// Takes `name`, if it is a machine's. Inside a container only system containers are known: a machine there is charged
/// to the container.
pub(super) fn take(walk: &mut Walk<'_>, name: &str, parent: &str, at: usize) -> bool {
    lxc(walk, name, parent)
        || nspawn(walk, name, parent)
        || (walk.on_the_node() && vm(walk, name, parent, at))
}

/// Inside a virtual machine: its threads, in groups of their own on some hosts. They are below it, and no name of it.
pub(super) fn inside(walk: &mut Walk<'_>, name: &str) {
    let thread = ["vcpu", "emulator", "iothread"].iter().any(|kind| name.starts_with(kind));
    let first = !walk.identity.notes.iter().any(|note| matches!(note, Note::Thread(_)));
    if thread && first {
        walk.identity.notes.push(Note::Thread(name.to_owned()));
    }
}

fn lxc(walk: &mut Walk<'_>, name: &str, parent: &str) -> bool {
    let (helper, container) = match (name.split_once('.'), parent) {
        (_, "lxc" | "lxc.payload") => (None, name),
        (_, "lxc.monitor") => (Some(Helper::Monitor), name),
        (Some(("lxc", rest)), _) => match rest.split_once('.') {
            Some(("payload", container)) => (None, container),
            Some(("monitor", container)) => (Some(Helper::Monitor), container),
            _ => return false,
        },
        _ => return false,
    };
    if container.is_empty() {
        return false;
    }
    // `/libvirt/lxc/NAME`, before libvirt had partitions.
    let of_libvirt = parent == "lxc" && walk.names.first() == Some(&"libvirt");
    let runtime = if of_libvirt { Runtime::Libvirt } else { Runtime::Lxc };
    walk.enter(Kind::Lxc, Some(runtime), container, None);
    walk.identity.helper = helper;
    true
}

/// `systemd-nspawn@NAME.service`, or `machine-NAME.scope` where it was started by hand (systemd-machined); NixOS starts
/// its own as `container@NAME.service`.
fn nspawn(walk: &mut Walk<'_>, name: &str, parent: &str) -> bool {
    let unit = unescaped(name);
    let of_nixos = || name.strip_prefix("container@").filter(|_| parent == "machine.slice");
    let service = name.strip_prefix("systemd-nspawn@").or_else(of_nixos);
    let service = service.and_then(|rest| rest.strip_suffix(".service"));
    let scope = name.strip_prefix("machine-").and_then(|rest| rest.strip_suffix(".scope"));
    let Some(machine) = service.or(scope.filter(|_| Domain::of_scope(&unit).is_none())) else {
        if walk.identity.kind == Kind::Nspawn && name == "supervisor" {
            walk.identity.helper = Some(Helper::Supervisor);
            return true;
        }
        return false;
    };
    walk.enter(Kind::Nspawn, Some(Runtime::Nspawn), &unescaped(machine), Some(unit));
    true
}

fn vm(walk: &mut Walk<'_>, name: &str, parent: &str, at: usize) -> bool {
    let unit = unescaped(name);
    if let Some(domain) = Domain::of_scope(&unit).or_else(|| Domain::of_directory(name)) {
        let unit = is_a("scope", name).then(|| unit.clone());
        if domain.driver == "lxc" {
            walk.enter(Kind::Lxc, Some(Runtime::Libvirt), domain.name, unit);
        } else {
            enter_vm(walk, Runtime::Libvirt, domain.name, unit);
        }
        return true;
    }
    if let Some(machine) =
        name.strip_prefix("systemd-vmspawn@").and_then(|rest| rest.strip_suffix(".service"))
    {
        enter_vm(walk, Runtime::Vmspawn, &unescaped(machine), Some(unit));
        return true;
    }
    let top = walk.names.first().copied().unwrap_or_default();
    match (top, name.strip_suffix(".scope")) {
        ("qemu.slice", Some(number)) if is_number(number) => {
            enter_vm(walk, Runtime::Proxmox, number, Some(unit));
        }
        // Before libvirt had partitions.
        ("libvirt", _) if parent == "qemu" && at == 2 => enter_vm(walk, Runtime::Libvirt, name, None),
        // The jailer takes the program's own name, which can have a version: `firecracker-v1.7.0-x86_64`.
        (jail, _) if at == 1 && jail.starts_with("firecracker") && !is_unit(jail) => {
            enter_vm(walk, Runtime::Firecracker, name, None);
        }
        _ => return false,
    }
    true
}

fn enter_vm(walk: &mut Walk<'_>, runtime: Runtime, name: &str, unit: Option<String>) {
    walk.identity.kind = Kind::Vm;
    walk.identity.runtime = Some(runtime);
    walk.identity.vm_name = Some(name.to_owned());
    walk.identity.unit = unit;
}

/// A domain of libvirt (docs/cgroups.rst of libvirt): driver, number since the daemon's start, name.
struct Domain<'n> {
    driver: &'n str,
    name: &'n str,
}

impl<'n> Domain<'n> {
    /// `machine-DRIVER-NUMBER-NAME.scope`, unescaped.
    fn of_scope(unit: &'n str) -> Option<Self> {
        let stem = unit.strip_prefix("machine-")?.strip_suffix(".scope")?;
        let (driver, name) = stem.split_once('-')?;
        let known = matches!(driver, "qemu" | "lxc" | "xen" | "ch");
        numbered(name).filter(|_| known).map(|name| Self { driver, name })
    }

    /// `[DRIVER-NUMBER-]NAME.libvirt-DRIVER`.
    fn of_directory(name: &'n str) -> Option<Self> {
        let (stem, driver) = name.rsplit_once(".libvirt-")?;
        let bare = stem.split_once('-').filter(|(first, _)| *first == driver);
        let name = bare.and_then(|(_, rest)| numbered(rest)).unwrap_or(stem);
        (matches!(driver, "qemu" | "lxc" | "xen" | "ch") && !name.is_empty()).then_some(Self { driver, name })
    }
}

/// The name behind `NUMBER-`.
fn numbered(text: &str) -> Option<&str> {
    let (number, name) = text.split_once('-')?;
    (is_number(number) && !name.is_empty()).then_some(name)
}
