//! What `/proc/stat` says of time outside tasks.

use super::SchedError;
use crate::sysroot::SysRoot;

/// `USER_HZ` is 100 on every architecture that Linux runs on today (proc(5): `sysconf(_SC_CLK_TCK)`).
pub(super) const TICK_NS: u64 = 10_000_000;

/// Cumulative times of one CPU or of all, in nanoseconds, in steps of 10 ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "the unit stands last in every name")]
pub(super) struct CpuTimes {
    /// User, nice and system: time in tasks.
    pub(super) busy_ns: u64,
    /// Idle, waiting for I/O included.
    pub(super) idle_ns: u64,
    /// Interrupts and soft interrupts (inside tasks where the kernel does not account them apart), and steal.
    pub(super) irq_steal_ns: u64,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ProcStat {
    /// Sum over the CPUs.
    pub(super) all: CpuTimes,
    /// Each online CPU with its number.
    pub(super) cpus: Vec<(usize, CpuTimes)>,
}

impl ProcStat {
    /// Reads it below the procfs root.
    pub(super) fn read(root: &SysRoot) -> Result<Self, SchedError> {
        let text = root.read_proc("stat").map_err(|source| SchedError::Read {
            path: root.proc.join("stat").display().to_string(),
            source,
        })?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let mut stat = Self::default();
        for line in text.lines() {
            let Some(rest) = line.strip_prefix("cpu") else { break };
            let (number, fields) = rest.split_once(' ').unwrap_or((rest, ""));
            let times = CpuTimes::parse(fields);
            match number.parse() {
                Ok(cpu) => stat.cpus.push((cpu, times)),
                Err(_) => stat.all = times,
            }
        }
        stat
    }
}

impl CpuTimes {
    /// Fields: user nice system idle iowait irq softirq steal guest `guest_nice`.
    fn parse(fields: &str) -> Self {
        let ticks: Vec<u64> = fields.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
        let sum = |range: std::ops::Range<usize>| {
            ticks.get(range).unwrap_or(&[]).iter().sum::<u64>().saturating_mul(TICK_NS)
        };
        Self { busy_ns: sum(0..3), idle_ns: sum(3..5), irq_steal_ns: sum(5..8) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lines_are_read_and_the_rest_is_not() {
        let stat = ProcStat::parse(
            "cpu  3 1 2 10 5 1 1 1 0 0\ncpu0 1 1 1 4 1 0 0 0 0 0\ncpu7 2 0 1 6 4 1 1 1 0 0\nintr 5\ncpu9 9\n",
        );
        assert_eq!(
            stat.all,
            CpuTimes { busy_ns: 6 * TICK_NS, idle_ns: 15 * TICK_NS, irq_steal_ns: 3 * TICK_NS }
        );
        assert_eq!(stat.cpus.iter().map(|(cpu, _)| *cpu).collect::<Vec<_>>(), [0, 7]);
        assert_eq!(stat.cpus[1].1.idle_ns, 10 * TICK_NS);
    }
}
