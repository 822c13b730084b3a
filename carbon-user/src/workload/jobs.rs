//! Jobs of batch systems and schedulers.
//!
//! They are known where the system's own daemon makes them and nowhere else: a number is easily made up.

use super::path::{Walk, is_a, is_number, is_uuid, unescaped};
use super::{Kind, Note, Realm, Runtime};

/// Takes `name`, if it is of a job.
pub(super) fn take(walk: &mut Walk<'_>, name: &str, parent: &str, at: usize) -> bool {
    walk.on_the_node()
        && walk.identity.realm == Realm::Node
        && (slurm_scope(walk, name, at)
            || slurm_v1(walk, name, at)
            || of_a_user(walk, name)
            || htcondor(walk, name, parent)
            || pbs(walk, name, at)
            || torque(walk, name, at)
            || oar(walk, name, at)
            || nomad(walk, name))
}

/// Flux starts its jobs below the service manager of its own user, `imp-shell-RANK-JOB.service`; the identity says
/// whose manager it was.
pub(super) fn of_a_user(walk: &mut Walk<'_>, name: &str) -> bool {
    let stem = name.strip_prefix("imp-shell-").and_then(|rest| rest.strip_suffix(".service"));
    let Some((rank, job)) = stem.and_then(|stem| stem.split_once('-')) else { return false };
    let found = is_number(rank) && !job.is_empty() && walk.on_the_node();
    if found {
        walk.enter_job(Runtime::Flux, job);
        walk.identity.unit = Some(name.to_owned());
    }
    found
}

/// Inside a job: its step and task; whatever else is there is part of the job.
pub(super) fn inside(walk: &mut Walk<'_>, name: &str) -> bool {
    let identity = &mut walk.identity;
    if identity.runtime != Some(Runtime::Slurm) {
        return false;
    }
    if let Some(step) = name.strip_prefix("step_").filter(|step| !step.is_empty())
        && identity.job_step.is_none()
    {
        identity.job_step = Some(step.to_owned());
        return true;
    }
    let known = identity.notes.iter().any(|note| matches!(note, Note::Task(_)));
    if let Some(task) = name.strip_prefix("task_").filter(|task| !task.is_empty())
        && identity.job_step.is_some()
        && !known
    {
        // Below the step, and no name of it.
        identity.notes.push(Note::Task(task.to_owned()));
    }
    false
}

/// cgroup2: `/system.slice/[NODE_]slurmstepd.scope/job_ID`, at that very place (Slurm's documentation of cgroup/v2); the
/// waiting area of new steps is no job.
fn slurm_scope(walk: &mut Walk<'_>, name: &str, at: usize) -> bool {
    if walk.names.first() != Some(&"system.slice") {
        return false;
    }
    if at == 1
        && let Some(node) = name.strip_suffix("slurmstepd.scope")
        && (node.is_empty() || node.ends_with('_'))
    {
        walk.identity.kind = Kind::Scope;
        walk.identity.runtime = Some(Runtime::Slurm);
        walk.identity.unit = Some(name.to_owned());
        if let Some(node) = node.strip_suffix('_').filter(|node| !node.is_empty()) {
            walk.identity.notes.push(Note::Node(node.to_owned()));
        }
        return true;
    }
    if at != 2 || walk.identity.kind != Kind::Scope || walk.identity.runtime != Some(Runtime::Slurm) {
        return false;
    }
    let number = name.strip_prefix("job_").filter(|number| is_number(number));
    let found = number.or(is_sluid(name).then_some(name));
    if let Some(job) = found {
        walk.enter_job(Runtime::Slurm, job);
    }
    found.is_some()
}

/// Slurm's unique id of a job, from version 26.05: `s` and 13 digits and capitals.
fn is_sluid(name: &str) -> bool {
    let rest = name.strip_prefix('s').unwrap_or_default();
    rest.len() == 13 && rest.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
}

/// Version 1: `/slurm[_NODE]/uid_UID/job_ID`.
fn slurm_v1(walk: &mut Walk<'_>, name: &str, at: usize) -> bool {
    let top = walk.names.first().copied().unwrap_or_default();
    let Some(node) = top.strip_prefix("slurm").filter(|node| node.is_empty() || node.starts_with('_')) else {
        return false;
    };
    let identity = &mut walk.identity;
    match at {
        0 => {
            identity.runtime = Some(Runtime::Slurm);
            if let Some(node) = node.strip_prefix('_').filter(|node| !node.is_empty()) {
                identity.notes.push(Note::Node(node.to_owned()));
            }
            true
        }
        1 => {
            identity.user_uid = name.strip_prefix("uid_").and_then(|uid| uid.parse().ok());
            identity.user_uid.is_some()
        }
        2 if identity.user_uid.is_some() => {
            let job = name.strip_prefix("job_").filter(|job| is_number(job));
            if let Some(job) = job {
                walk.enter_job(Runtime::Slurm, job);
            }
            job.is_some()
        }
        _ => false,
    }
}

/// `condor_EXECUTE_DIRECTORY_SLOT` below `htcondor`, or below the daemon's unit; the slot stands for the job.
fn htcondor(walk: &mut Walk<'_>, name: &str, parent: &str) -> bool {
    if !matches!(parent, "htcondor" | "condor.service" | "condor") || !name.starts_with("condor_") {
        return false;
    }
    walk.identity.unit = None;
    let slot = name.rfind("_slot").and_then(|at| name.get(at + 1..)).unwrap_or(name);
    walk.enter_job(Runtime::Htcondor, slot);
    true
}

/// `/pbs_jobs.service/jobid/ID` (version 1), `/pbs_jobs.service/jobs/ID` (cgroup2); of older ones `/pbspro/ID`, and with systemd
/// `/pbspro.slice/pbspro-ID.slice`.
fn pbs(walk: &mut Walk<'_>, name: &str, at: usize) -> bool {
    let is_job = |id: &str| id.starts_with(|first: char| first.is_ascii_digit());
    let old = match (walk.names.first(), at) {
        (Some(&"pbspro"), 1) => Some(name),
        (Some(&"pbspro.slice"), 1) => {
            name.strip_prefix("pbspro-").and_then(|rest| rest.strip_suffix(".slice"))
        }
        _ => None,
    };
    if let Some(id) = old.filter(|id| is_job(id)) {
        walk.enter_job(Runtime::Pbs, &unescaped(id));
        walk.identity.unit = is_a("slice", name).then(|| unescaped(name));
        return true;
    }
    let [unit @ ("pbs_jobs.service" | "pbspro.service" | "pbs.service"), "jobid" | "jobs", ..] = walk.names
    else {
        return false;
    };
    let found = at == 2 && is_job(name);
    if found {
        let unit = (*unit).to_owned();
        walk.enter_job(Runtime::Pbs, name);
        walk.identity.unit = Some(unit);
    }
    found
}

/// `/torque/ID`, with the tasks of a job below it (`supremm` of `XDMoD` reads it so).
fn torque(walk: &mut Walk<'_>, name: &str, at: usize) -> bool {
    let of_job = name.starts_with(|first: char| first.is_ascii_digit());
    let found = at == 1 && walk.names.first() == Some(&"torque") && of_job;
    if found {
        walk.enter_job(Runtime::Torque, name);
    }
    found
}

/// OAR 3: `/oar.slice/oar-uUID.slice/oar-uUID-jID.slice`; before it `/oar/USER_ID` (`job_resource_manager_cgroups.pl`).
fn oar(walk: &mut Walk<'_>, name: &str, at: usize) -> bool {
    if walk.names.first() == Some(&"oar") && at == 1 {
        let job = name.rsplit_once('_').filter(|(user, job)| !user.is_empty() && is_number(job));
        if let Some((_, job)) = job {
            walk.enter_job(Runtime::Oar, job);
        }
        return job.is_some();
    }
    let stem = name.strip_prefix("oar-u").and_then(|rest| rest.strip_suffix(".slice"));
    let Some(stem) = stem.filter(|_| walk.names.first() == Some(&"oar.slice") && matches!(at, 1 | 2)) else {
        return false;
    };
    let (uid, job) = match stem.split_once("-j") {
        Some((uid, job)) if is_number(job) => (uid, Some(job)),
        _ => (stem, None),
    };
    let Ok(uid) = uid.parse() else { return false };
    walk.identity.user_uid = Some(uid);
    walk.identity.unit = Some(name.to_owned());
    if let Some(job) = job {
        walk.enter_job(Runtime::Oar, job);
    } else {
        walk.identity.kind = Kind::Slice;
        walk.identity.runtime = Some(Runtime::Systemd);
    }
    true
}

/// `ALLOCATION.TASK`, a scope below `/nomad.slice`, or a directory below `/nomad`.
fn nomad(walk: &mut Walk<'_>, name: &str) -> bool {
    let unit = match walk.names.first() {
        Some(&"nomad.slice") => Some(name.to_owned()),
        Some(&"nomad") => None,
        _ => return false,
    };
    let stem = if unit.is_some() { name.strip_suffix(".scope") } else { Some(name) };
    let Some((allocation, task)) = stem.and_then(|stem| stem.split_once('.')) else { return false };
    let found = is_uuid(allocation) && !task.is_empty();
    if found {
        walk.enter_job(Runtime::Nomad, allocation);
        walk.identity.job_step = Some(task.to_owned());
        walk.identity.unit = unit;
    }
    found
}
