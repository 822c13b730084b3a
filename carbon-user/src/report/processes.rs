//! The processes of one workload now, or of a run that was recorded: JSON schema `carbon.processes/1`.

use super::process_rows::{OtherProcesses, ProcessRow};
use crate::sched::Member;
use serde::{Deserialize, Serialize};

/// Name and version of the schema.
pub const SCHEMA: &str = "carbon.processes/1";

/// What is known of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProcessList {
    /// `carbon.processes/1`.
    pub schema: &'static str,
    /// Of what they are, as it was asked for.
    pub of: String,
    /// When they were looked at, by the boot-time clock; none where they were recorded. Between two looks a process has used the
    /// difference of its CPU times.
    pub at_ns: Option<u64>,
    /// One by one.
    pub processes: Vec<ProcessEntry>,
    /// How many there are besides.
    pub more: u64,
    /// Dynamic energy that no listed process has; none where nothing is known of energies.
    pub rest_uj: Option<u64>,
    /// Why there are none, and what else must be said.
    pub notes: Vec<String>,
}

/// One process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProcessEntry {
    /// Process id outside any namespace.
    pub pid: u32,
    /// When it was started, in nanoseconds since the boot: with `pid` it names one process; none where that was not recorded.
    pub start_ns: Option<u64>,
    /// Its name.
    pub comm: String,
    /// CPU time of all its threads: since its start, or while the run lasted.
    pub cpu_ns: u64,
    /// Its part of the run's dynamic energy, by CPU time; none where only CPU time is known.
    pub dynamic_uj: Option<u64>,
}

/// The part of a run's report that is read again.
#[derive(Deserialize)]
struct Recorded {
    processes: Vec<ProcessRow>,
    processes_other: OtherProcesses,
}

impl ProcessList {
    /// None, and why.
    pub fn none(of: &str, why: &str) -> Self {
        let (of, notes) = (of.to_owned(), vec![why.to_owned()]);
        Self { schema: SCHEMA, of, at_ns: None, processes: Vec::new(), more: 0, rest_uj: None, notes }
    }

    /// As they were found at `at_ns` of the boot-time clock; `more` of them were not read.
    pub fn found(of: &str, at_ns: u64, members: Vec<Member>, more: u64) -> Self {
        let entry = |member: Member| ProcessEntry {
            pid: member.pid,
            start_ns: Some(member.start_ns()),
            cpu_ns: member.cpu.0,
            comm: member.comm,
            dynamic_uj: None,
        };
        let processes = members.into_iter().map(entry).collect();
        Self { at_ns: Some(at_ns), processes, more, notes: Vec::new(), ..Self::none(of, "") }
    }

    /// Of a run's report, as it was recorded.
    pub fn recorded(of: &str, report: &str) -> Self {
        let Ok(Recorded { processes, processes_other }) = serde_json::from_str(report) else {
            return Self::none(of, "no processes were recorded with this run");
        };
        let entry = |row: ProcessRow| ProcessEntry {
            pid: row.pid,
            start_ns: None,
            comm: row.comm,
            cpu_ns: row.cpu_ns,
            dynamic_uj: Some(row.dynamic_uj),
        };
        if processes.is_empty() {
            return Self::none(
                of,
                "the way in which this run's CPU time was counted tells no single processes",
            );
        }
        let notes = vec!["energy is split by CPU time".to_owned()];
        Self {
            processes: processes.into_iter().map(entry).collect(),
            more: processes_other.count,
            rest_uj: Some(processes_other.dynamic_uj),
            notes,
            ..Self::none(of, "")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::CpuNanos;

    #[test]
    fn what_was_recorded_is_read_again_and_what_was_not_is_said() {
        let report = r#"{"schema":"carbon.run/1","dynamic_uj":10,"processes":[{"pid":7,"comm":"sh","cpu_ns":5,"dynamic_uj":9}],
            "processes_other":{"count":2,"cpu_ns":1,"dynamic_uj":1}}"#;
        let list = ProcessList::recorded("run:1", report);
        let sh = ProcessEntry { pid: 7, start_ns: None, comm: "sh".into(), cpu_ns: 5, dynamic_uj: Some(9) };
        assert_eq!((list.processes, list.more, list.rest_uj), (vec![sh], 2, Some(1)));
        let nobody = r#"{"processes":[],"processes_other":{"count":0,"cpu_ns":1,"dynamic_uj":1}}"#;
        for other in ["", "{}", "[1]", nobody] {
            let none = ProcessList::recorded("run:1", other);
            assert!(none.processes.is_empty() && none.notes.len() == 1 && none.rest_uj.is_none(), "{other}");
        }
    }

    #[test]
    fn what_is_found_has_no_energy_yet() {
        let member = Member { pid: 7, start: 100, comm: "sh".into(), cpu: CpuNanos(5) };
        let list = ProcessList::found("workload:/a", 3, vec![member], 1);
        assert_eq!((list.at_ns, list.more, list.processes.len()), (Some(3), 1, 1));
        assert_eq!((list.processes[0].cpu_ns, list.processes[0].dynamic_uj), (5, None));
        assert_eq!(list.processes[0].start_ns, Some(1_010_000_000));
    }
}
