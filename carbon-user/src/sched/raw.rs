//! The rung for kernels that do not describe their types (no BTF): a program on every context switch that reads no field.
//!
//! Its clock is the monotonic one, so that interrupts and time stolen by the hypervisor are in the workloads' times: 1 to 2 %
//! more or less than the kernel's own figure. Kernel threads are in the root cgroup's row, and a run gets a cgroup of its own.
//! A cgroup that is made and removed between two looks has its time and no name, so that a run does not know it for its own:
//! *sampled*.

use super::cgroup_tree::CgroupTree;
use super::hierarchy::Hierarchy;
use super::object::Object;
use super::procstat::ProcStat;
use super::slots::SlotTimes;
use super::{Accounting, HierarchyChoice, Limits, Rung, Runs, SchedError};
use crate::sysroot::SysRoot;
use crate::topology::Topology;
use crate::units::CgroupId;
use crate::window::{SchedSnapshot, Usage, WorkloadKey};
use std::collections::HashSet;

const PROGRAM: &str = "carbon_raw";

/// The rung.
#[derive(Debug)]
pub struct Raw {
    root: SysRoot,
    tree: CgroupTree,
    object: Object,
    times: SlotTimes,
    /// Gone before anybody looked for their names.
    nameless: HashSet<CgroupId>,
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
        let mut tree = CgroupTree::new(root, mount);
        tree.walk();
        let stat = ProcStat::read(root)?;
        close(&mut object, &stat);
        let begin = object.slots()?;
        Ok(Self {
            root: root.clone(),
            object,
            tree,
            times: SlotTimes::new(topology, stat, begin),
            nameless: HashSet::new(),
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
        let rows = self.times.usage(self.times.rows(&self.object.cells()?));
        let unknown: Vec<CgroupId> = rows
            .rows()
            .map(|(key, _)| key.cgroup)
            .filter(|cgroup| self.tree.names.path(*cgroup).is_none() && !self.nameless.contains(cgroup))
            .collect();
        if !unknown.is_empty() {
            self.tree.walk();
            // One that has gone is not looked for again, for as long as it has a row.
            let rows: HashSet<CgroupId> = rows.rows().map(|(key, _)| key.cgroup).collect();
            self.nameless.retain(|cgroup| rows.contains(cgroup));
            self.nameless
                .extend(unknown.into_iter().filter(|cgroup| self.tree.names.path(*cgroup).is_none()));
        }
        self.tree.look();
        let mut usage = Usage::new(rows.packages());
        for (key, nanos) in rows.rows() {
            let run = self.tree.book(key.cgroup, nanos.iter().copied().sum());
            usage.push(WorkloadKey { run, ..key }, nanos);
        }
        let accounts = self.times.accounts(stat, &slots, usage.total(), 0);
        Ok(SchedSnapshot { usage, accounts, awake: Vec::new() })
    }

    fn drain(&mut self) -> Result<(), SchedError> {
        self.tree.look();
        Ok(())
    }

    fn cgroup_path(&self, cgroup: CgroupId) -> Option<&str> {
        self.tree.names.path(cgroup)
    }

    fn is_removed(&self, cgroup: CgroupId) -> bool {
        self.tree.names.is_removed(cgroup)
    }

    fn runs(&mut self) -> &mut dyn Runs {
        &mut self.tree
    }
}
