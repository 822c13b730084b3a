//! What the kernel programs need to know of the running kernel, found before they are loaded.

use super::SchedError;
use super::btf::KernelTypes;

/// Names and values of the programs' constants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    /// In the order that they were found.
    pub(super) constants: Vec<(&'static str, u64)>,
    /// The kernel keeps CPU time per cgroup and CPU where the books look.
    pub(super) has_books: bool,
    /// The kernel keeps the machine's total where the books look.
    pub(super) has_total: bool,
    /// The hierarchy of cpuacct can be followed too.
    pub(super) has_cpuacct: bool,
}

/// Constant, struct, path to the field.
type Field = (&'static str, &'static str, &'static [&'static str]);

/// Fields that every rung with BPF needs; all kernels from 5.10 on have them.
const NEEDED: &[Field] = &[
    ("CGROUP_KN", "cgroup", &["kn"]),
    ("KERNFS_NODE_ID", "kernfs_node", &["id"]),
    ("CGROUP_SERIAL", "cgroup", &["self", "serial_nr"]),
    ("CSS_SERIAL", "cgroup_subsys_state", &["serial_nr"]),
    ("CGROUP_LEVEL", "cgroup", &["level"]),
    ("CGROUP_ROOT", "cgroup", &["root"]),
    ("CGROUP_ROOT_HIERARCHY_ID", "cgroup_root", &["hierarchy_id"]),
    ("TASK_PID", "task_struct", &["pid"]),
    ("TASK_TGID", "task_struct", &["tgid"]),
    ("TASK_GROUP_LEADER", "task_struct", &["group_leader"]),
    ("TASK_FLAGS", "task_struct", &["flags"]),
    ("TASK_COMM", "task_struct", &["comm"]),
    ("TASK_START_TIME", "task_struct", &["start_time"]),
    ("TASK_CGROUPS", "task_struct", &["cgroups"]),
    ("TASK_SUM_EXEC", "task_struct", &["se", "sum_exec_runtime"]),
    ("TASK_PREV_SUM_EXEC", "task_struct", &["se", "prev_sum_exec_runtime"]),
    ("TASK_PRIO", "task_struct", &["prio"]),
    ("CSS_SET_DFL_CGRP", "css_set", &["dfl_cgrp"]),
    ("BPF_ARRAY_PPTRS", "bpf_array", &["pptrs"]),
];

/// A kernel built for one CPU has no such field; its only CPU is 0.
const WAKE_CPU: Field = ("TASK_WAKE_CPU", "task_struct", &["wake_cpu"]);

impl Layout {
    /// Finds everything, or says which field this kernel lacks.
    pub(super) fn find(types: &KernelTypes) -> Result<Self, SchedError> {
        let mut constants = Vec::with_capacity(NEEDED.len() + 8);
        for (constant, structure, path) in NEEDED {
            let offset = types
                .offset(structure, path)
                .ok_or_else(|| SchedError::Btf { what: format!("{structure}.{}", path.join(".")) })?;
            constants.push((*constant, offset));
        }
        let (constant, structure, path) = WAKE_CPU;
        constants.push((constant, types.offset(structure, path).unwrap_or(0)));
        let books = books(types);
        let (rstat, sum_exec) = books.unwrap_or_default();
        constants.extend([("CGROUP_RSTAT", rstat), ("RSTAT_SUM_EXEC", sum_exec)]);
        let total = total(types);
        let (cpuacct, parent, cpuusage) = total.unwrap_or_default();
        let hierarchy = cpuacct_hierarchy(types).filter(|_| total.is_some());
        let (of_cgroup, to_cgroup) = hierarchy.unwrap_or_default();
        constants.extend([
            ("CSS_SET_CPUACCT", cpuacct),
            ("CSS_PARENT", parent),
            ("CPUACCT_CPUUSAGE", cpuusage),
            ("CGROUP_CPUACCT", of_cgroup),
            ("CSS_CGROUP", to_cgroup),
        ]);
        let (has_books, has_total, has_cpuacct) = (books.is_some(), total.is_some(), hierarchy.is_some());
        Ok(Self { constants, has_books, has_total, has_cpuacct })
    }
}

/// Where a cgroup's per-CPU sums are: `rstat_base_cpu` where it was split off (6.16), else `rstat_cpu`.
fn books(types: &KernelTypes) -> Option<(u64, u64)> {
    let sum = ["bstat", "cputime", "sum_exec_runtime"];
    let found = |field: &str, structure: &str| {
        Some((types.offset("cgroup", &[field])?, types.offset(structure, &sum)?))
    };
    found("rstat_base_cpu", "cgroup_rstat_base_cpu").or_else(|| found("rstat_cpu", "cgroup_rstat_cpu"))
}

/// Where the sums of all tasks are. Before 5.18 `cpuusage` had another shape, with `cpuacct_usage` elements.
fn total(types: &KernelTypes) -> Option<(u64, u64, u64)> {
    if types.has_struct("cpuacct_usage") {
        return None;
    }
    let subsys = types.offset("css_set", &["subsys"])?;
    let id = types.enumerator("cgroup_subsys_id", "cpuacct_cgrp_id")?;
    let parent = types.offset("cgroup_subsys_state", &["parent"])?;
    Some((subsys + 8 * id, parent, types.offset("cpuacct", &["cpuusage"])?))
}

/// From a cgroup to its cpuacct, and from that to its cgroup again; where the latter is what `cpuacct` begins with.
fn cpuacct_hierarchy(types: &KernelTypes) -> Option<(u64, u64)> {
    let subsys = types.offset("cgroup", &["subsys"])?;
    let id = types.enumerator("cgroup_subsys_id", "cpuacct_cgrp_id")?;
    let begins = types.offset("cpuacct", &["css"])? == 0;
    begins.then_some((subsys + 8 * id, types.offset("cgroup_subsys_state", &["cgroup"])?))
}
