//! The rung for kernels that do not describe their types (no BTF): a program on every context switch that reads no field.
//!
//! Its clock is the monotonic one, so that interrupts and time stolen by the hypervisor are in the workloads' times: 1 to 2 %
//! more or less than the kernel's own figure. Kernel threads are in the root cgroup's row, and a run gets a cgroup of its own.
//! A cgroup that is made and removed between two looks has its time and no name, so that a run does not know it for its own:
//! *sampled*.

use super::enrol::Enrolment;
use super::hierarchy::Hierarchy;
use super::names::CgroupNames;
use super::object::Object;
use super::procstat::ProcStat;
use super::run_cgroup::RunCgroups;
use super::runs::Processes;
use super::slots::SlotTimes;
use super::{Accounting, HierarchyChoice, Limits, Rung, SchedError};
use crate::sysroot::{CgroupMount, SysRoot};
use crate::topology::Topology;
use crate::units::{CgroupId, CpuNanos, RunId};
use crate::window::{SchedSnapshot, Usage, WorkloadKey};
use std::collections::{HashMap, HashSet};

const PROGRAM: &str = "carbon_raw";

/// The rung.
#[derive(Debug)]
pub struct Raw {
    root: SysRoot,
    object: Object,
    mount: CgroupMount,
    names: CgroupNames,
    times: SlotTimes,
    runs: RunCgroups,
    /// Gone before anybody looked for their names.
    nameless: HashSet<CgroupId>,
    /// Of the last snapshot.
    totals: HashMap<CgroupId, CpuNanos>,
}

impl Raw {
    /// Loads and attaches the program: everything is counted from here.
    pub fn open(root: &SysRoot, topology: &Topology, limits: Limits) -> Result<Self, SchedError> {
        if limits.hierarchy == HierarchyChoice::Cpuacct {
            return Err(SchedError::NoSuch {
                what: "way to tell cpuacct's cgroups without the kernel's types",
            });
        }
        // What the helper tells is the cgroup in cgroup2.
        let mount = Hierarchy::choose(root, HierarchyChoice::Cgroup2)?.mount;
        let mut object = Object::open(root, topology, limits, None, true)?;
        object.load_on_demand(PROGRAM)?;
        object.attach_raw(PROGRAM, "sched_switch")?;
        let mut names = CgroupNames::default();
        names.walk(&mount);
        let stat = ProcStat::read(root)?;
        close(&mut object, &stat);
        let begin = object.slots()?;
        Ok(Self {
            root: root.clone(),
            object,
            mount,
            names,
            times: SlotTimes::new(topology, stat, begin),
            runs: RunCgroups::new(root),
            nameless: HashSet::new(),
            totals: HashMap::new(),
        })
    }
}

/// Has each CPU book what runs there now. One that went offline meanwhile is no error.
fn close(object: &mut Object, online: &ProcStat) {
    for (cpu, _) in &online.cpus {
        if let Err(error) = object.run_on_demand(PROGRAM, 0, u32::try_from(*cpu).ok()) {
            log::debug!("CPU {cpu} keeps its running slice until the next window: {error}");
        }
    }
}

impl Accounting for Raw {
    fn rung(&self) -> Rung {
        Rung::Raw
    }

    fn snapshot(&mut self) -> Result<SchedSnapshot, SchedError> {
        let stat = ProcStat::read(&self.root)?;
        close(&mut self.object, &stat);
        let slots = self.object.slots()?;
        let rows = self.times.usage(self.times.cells(&self.object)?);
        let unknown: Vec<CgroupId> = rows
            .rows()
            .map(|(key, _)| key.cgroup)
            .filter(|cgroup| self.names.path(*cgroup).is_none() && !self.nameless.contains(cgroup))
            .collect();
        if !unknown.is_empty() {
            self.names.walk(&self.mount);
            // One that has gone is not looked for again.
            self.nameless.extend(unknown.into_iter().filter(|cgroup| self.names.path(*cgroup).is_none()));
        }
        self.runs.look();
        let mut usage = Usage::new(rows.packages());
        for (key, nanos) in rows.rows() {
            let run = self.runs.of(&self.names, key.cgroup);
            self.totals.insert(key.cgroup, nanos.iter().copied().sum());
            usage.push(WorkloadKey { run, ..key }, nanos);
        }
        let accounts = self.times.accounts(stat, &slots, usage.total(), 0);
        Ok(SchedSnapshot { usage, accounts, awake: Vec::new() })
    }

    fn drain(&mut self) -> Result<(), SchedError> {
        self.runs.look();
        Ok(())
    }

    fn cgroup_path(&self, cgroup: CgroupId) -> Option<&str> {
        self.names.path(cgroup)
    }

    fn open_run(&mut self, run: RunId) -> Result<Enrolment, SchedError> {
        self.runs.open(&self.mount, &mut self.names, run)
    }

    fn run_started(&mut self, _run: RunId, _pid: u32) {}

    fn run_alive(&mut self, run: RunId) -> Result<u64, SchedError> {
        Ok(self.runs.alive(run))
    }

    fn run_settled(&mut self, _run: RunId) -> Result<bool, SchedError> {
        Ok(true)
    }

    fn run_processes(&self, run: RunId) -> Processes {
        self.runs.processes(&self.names, run, self.totals.iter().map(|(cgroup, cpu)| (*cgroup, *cpu)))
    }
}
