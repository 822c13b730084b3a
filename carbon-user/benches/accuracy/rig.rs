//! A bank at work, to be timed.

use crate::random::Random;
use carbon_user::attribution::bank::{Bank, Beforehand, Observation};
use carbon_user::units::{CgroupId, Watts};
use carbon_user::window::WorkloadKey;
use std::time::{Duration, Instant};

/// A bank with so many workloads running, after `windows`.
pub(crate) struct Rig {
    pub(crate) bank: Bank,
    random: Random,
    rows: Vec<(WorkloadKey, f64)>,
}

impl Rig {
    pub(crate) fn new(workloads: u64) -> Self {
        let beforehand = Beforehand { cpus: 64, idle: Some(Watts(70.0)), per_cpu: Some(Watts(5.0)) };
        let rows = (0..workloads).map(|id| (WorkloadKey::cgroup(CgroupId(id)), 0.0)).collect();
        Self { bank: Bank::new(beforehand), random: Random::new(1), rows }
    }

    /// Goes on by a window, and tells how long the bank took for it.
    pub(crate) fn window(&mut self) -> Duration {
        let each = 32.0 / self.rows.len() as f64;
        let mut joules = 70.0;
        for (key, cpu_s) in &mut self.rows {
            *cpu_s = each * self.random.uniform(0.2, 1.8);
            joules += *cpu_s * (2.0 + (key.cgroup.0 % 7) as f64);
        }
        joules *= 1.0 + 0.005 * self.random.normal();
        let begun = Instant::now();
        let seen = Observation { seconds: 1.0, joules, wake_ratio: Some(1.0), rows: &self.rows, events: &[] };
        let learned = self.bank.observe(&seen);
        if let Some(power) = learned {
            let parts = self.bank.split(joules - power.now.0);
            std::hint::black_box(&parts);
        }
        begun.elapsed()
    }
}
