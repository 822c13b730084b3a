//! What the kernel programs cost: the run time that the kernel counts for each while it is asked to.

use super::SchedError;
use aya::programs::loaded_programs;
use aya::sys::{Stats, enable_stats};
use std::fmt;
use std::os::fd::OwnedFd;

/// Begin of the names of this project's programs.
const PREFIX: &str = "carbon_";

/// A program that is loaded now, this process's or that of another copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramTime {
    /// The kernel's id of it.
    pub id: u32,
    /// Its name, cut by the kernel at 15 characters.
    pub name: String,
    /// How often it has run while times were counted.
    pub runs: u64,
    /// How long, in sum.
    pub run_time_ns: u64,
}

/// The kernel counts the run time of all BPF programs while this lives, at some 20 ns a run.
pub struct Timing {
    _counting: OwnedFd,
}

impl fmt::Debug for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timing").finish_non_exhaustive()
    }
}

/// Has the kernel count from here on (`BPF_ENABLE_STATS`, kernel 5.8).
pub fn time_programs() -> Result<Timing, SchedError> {
    let counting =
        enable_stats(Stats::RunTime).map_err(|error| SchedError::load("run time counts", error))?;
    Ok(Timing { _counting: counting })
}

impl Timing {
    /// This project's programs, in the order of their ids.
    pub fn programs(&self) -> Vec<ProgramTime> {
        let programs = loaded_programs().flatten().filter_map(|program| {
            let name = program.name_as_str()?.to_owned();
            let run_time_ns = u64::try_from(program.run_time().as_nanos()).unwrap_or(u64::MAX);
            let ours = name.starts_with(PREFIX);
            ours.then(|| ProgramTime { id: program.id(), name, runs: program.run_count(), run_time_ns })
        });
        programs.collect()
    }
}
