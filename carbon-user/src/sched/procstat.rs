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

/// Time outside tasks since the beginning, of the CPUs that were online.
#[derive(Clone, Debug)]
pub(super) struct Outside {
    last: ProcStat,
    last_ns: u64,
    /// In tasks, by ticks.
    pub(super) busy_ns: u64,
    /// Idle.
    pub(super) idle_ns: u64,
    /// Interrupts and steal, as far as the kernel accounts them apart.
    pub(super) irq_steal_ns: u64,
}

/// What passed since the look before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Passed {
    /// CPUs times clock; nothing where some CPU went or came, and nobody knows when.
    pub(super) wall_ns: Option<u64>,
}

impl Outside {
    /// `begin` was read at `now_ns` of the monotonic clock.
    pub(super) fn new(begin: ProcStat, now_ns: u64) -> Self {
        Self { last: begin, last_ns: now_ns, busy_ns: 0, idle_ns: 0, irq_steal_ns: 0 }
    }

    /// When it was last looked at.
    pub(super) fn last_ns(&self) -> u64 {
        self.last_ns
    }

    /// Adds what each CPU gained that was and is online. When a CPU goes or comes, the kernel takes its idle time from
    /// another counter (`get_idle_time`, fs/proc/stat.c), which can be seconds off: no CPU gains more than passed.
    pub(super) fn update(&mut self, now: ProcStat, now_ns: u64) -> Passed {
        let ns = now_ns.saturating_sub(std::mem::replace(&mut self.last_ns, now_ns));
        let most_ns = ns.saturating_add(2 * TICK_NS);
        let same = now.cpus.iter().map(|(cpu, _)| cpu).eq(self.last.cpus.iter().map(|(cpu, _)| cpu));
        for (cpu, times) in &now.cpus {
            let Some((_, before)) = self.last.cpus.iter().find(|(known, _)| known == cpu) else { continue };
            self.busy_ns += times.busy_ns.saturating_sub(before.busy_ns).min(most_ns);
            self.idle_ns += times.idle_ns.saturating_sub(before.idle_ns).min(most_ns);
            self.irq_steal_ns += times.irq_steal_ns.saturating_sub(before.irq_steal_ns).min(most_ns);
        }
        let wall_ns = same.then(|| ns.saturating_mul(now.cpus.len() as u64));
        self.last = now;
        Passed { wall_ns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_that_comes_back_with_another_counter_gains_no_more_than_passed() {
        let stat = |cpus: &[(usize, u64)]| ProcStat {
            all: CpuTimes::default(),
            cpus: cpus
                .iter()
                .map(|(cpu, idle_ns)| (*cpu, CpuTimes { idle_ns: *idle_ns, ..CpuTimes::default() }))
                .collect(),
        };
        let second = 1_000_000_000;
        let mut outside = Outside::new(stat(&[(0, 0), (1, 0)]), 0);
        let passed = outside.update(stat(&[(0, second), (1, second / 2)]), second);
        assert_eq!(passed, Passed { wall_ns: Some(2 * second) });
        assert_eq!(outside.update(stat(&[(0, 2 * second)]), 2 * second).wall_ns, None);
        assert_eq!(outside.update(stat(&[(0, 3 * second), (1, 90 * second)]), 3 * second).wall_ns, None);
        assert_eq!(outside.idle_ns, 3 * second + second / 2);
        outside.update(stat(&[(0, 3 * second), (1, 20 * second)]), 4 * second);
        outside.update(stat(&[(0, 3 * second), (1, 99 * second)]), 5 * second);
        assert_eq!(outside.idle_ns, 4 * second + second / 2 + 2 * TICK_NS);
    }

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
