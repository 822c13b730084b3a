//! What a window costs, and whether a bank stays sound over a million of them.

use crate::random::Random;
use crate::rig::Rig;
use carbon_user::attribution::bank::{Bank, Beforehand, Observation};
use carbon_user::units::{CgroupId, Watts};
use carbon_user::window::WorkloadKey;
use std::time::Duration;

/// A window with a thousand workloads may take so long.
const WINDOW_MOST: Duration = Duration::from_millis(5);
/// Models of two packages, each with its memory, may take so many bytes.
const MODELS_MOST: usize = 8 << 20;

/// Milliseconds per window by number of workloads, as Markdown.
///
/// # Errors
/// The same text where a window or the models take more than they may.
pub(crate) fn speed() -> Result<String, String> {
    let mut text = String::from(
        "| active workloads | median | 95 of 100 are under | memory of the model |\n|---|---|---|---|\n",
    );
    let mut fits = true;
    for workloads in [10, 100, 1_000] {
        let mut rig = Rig::new(workloads);
        // With the alignment of the first windows, which costs most, and without.
        let mut times: Vec<Duration> = (0..20).map(|_| rig.window()).collect();
        times.clear();
        let early = rig.bank.bytes();
        times.extend((0..300).map(|_| rig.window()));
        times.sort_unstable();
        let (median, most) = (times[times.len() / 2], times[times.len() * 95 / 100]);
        fits &= most <= WINDOW_MOST && 4 * early.max(rig.bank.bytes()) <= MODELS_MOST;
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        text.push_str(&format!(
            "| {workloads} | {:.3} ms | {:.3} ms | {:.2} MiB, {:.2} in the first 240 windows |\n",
            milliseconds(median),
            milliseconds(most),
            rig.bank.bytes() as f64 / f64::from(1 << 20),
            early as f64 / f64::from(1 << 20),
        ));
    }
    if fits {
        return Ok(text);
    }
    Err(format!("{text}\nMORE than {WINDOW_MOST:?} a window, or {MODELS_MOST} bytes for four models\n"))
}

/// Runs a bank for so many windows of changing length, some of them idle, with half more workloads than slots, and gives
/// the smallest pivot ratio of any member's covariance: above zero, all of its eigenvalues are.
///
/// # Errors
/// The same text where one was not, or where a member had to be made anew.
pub(crate) fn endurance(windows: u32, slots: usize) -> Result<String, String> {
    let beforehand = Beforehand { cpus: 16, idle: Some(Watts(30.0)), per_cpu: Some(Watts(10.0)) };
    let (mut bank, mut random) = (Bank::with_slots(beforehand, slots), Random::new(7));
    let mut rows: Vec<(WorkloadKey, f64)> =
        (0..slots as u64 * 3 / 2).map(|id| (WorkloadKey::cgroup(CgroupId(id)), 0.0)).collect();
    let mut smallest = f64::INFINITY;
    for window in 0..windows {
        let seconds = if window % 97 == 0 { 10.0 } else { 1.0 };
        let idle = window % 500 < 60;
        let mut joules = 30.0 * seconds;
        for (key, cpu_s) in &mut rows {
            let id = (key.cgroup.0 % 40) as u32;
            let on = !idle && (window / (20 + 7 * id)).is_multiple_of(2);
            *cpu_s = if on { random.uniform(0.1, 1.2) * seconds * 8.0 / slots as f64 } else { 0.0 };
            joules += *cpu_s * (4.0 + f64::from(id % 13));
        }
        let ran: Vec<_> = rows.iter().copied().filter(|(_, cpu_s)| *cpu_s > 0.0).collect();
        joules *= 1.0 + 0.005 * random.normal();
        let seen = Observation { seconds, joules, wake_ratio: None, rows: &ran, events: &[] };
        if let Some(power) = bank.observe(&seen) {
            std::hint::black_box(&bank.split((joules - power.now.0 * seconds).max(0.0)));
        }
        if window % 1_000 == 0 {
            smallest = smallest.min(bank.smallest_pivot_ratio());
        }
    }
    let restarts: u64 = bank.members().map(|member| member.restarts).sum();
    let text = format!(
        "{slots} slots, {windows} windows: smallest pivot {smallest:.1e} of its variance, {restarts} members made anew\n"
    );
    if smallest > 0.0 && restarts == 0 { Ok(text) } else { Err(text) }
}
