//! The domains of a state file, as they are written.

use crate::attribution::Kept;
use crate::attribution::bank::{
    Calibration, Evidence, Experiment, Experiments, IdleWindows, Learned, LearnedMember, LearnedOwn, Tried,
    Trust,
};
use crate::units::CgroupId;
use crate::window::{Class, DomainKind, WorkloadKey};
use serde::{Deserialize, Serialize};

/// What was learned of one domain.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DomainEntry {
    domain: String,
    device: String,
    cpus: u32,
    windows: u64,
    prior_p0_w: f64,
    /// None in a file of an earlier version: half of it.
    prior_p0_stddev_w: Option<f64>,
    prior_watts_per_cpu: f64,
    mean_w: f64,
    lag_ratio: Option<f64>,
    idle: IdleEntry,
    calibration: Option<CalibrationEntry>,
    /// None in a file of an earlier version: nothing is held against own watts then.
    trust: Option<TrustEntry>,
    /// The same over spans of several windows.
    #[serde(default)]
    trust_of_spans: Option<TrustEntry>,
    experiments: u64,
    /// Predicted and measured change of power and the standard deviation of the prediction, watts.
    recent_experiments: Vec<(f64, f64, f64)>,
    workloads: Vec<WorkloadEntry>,
    /// Places in `workloads`.
    together: Vec<Vec<usize>>,
    members: Vec<MemberEntry>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct IdleEntry {
    windows: u64,
    mean_w: f64,
    variance_w2: f64,
    busy_cpus: f64,
    wake_ratio: f64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct CalibrationEntry {
    p0_w: f64,
    p0_stddev_w: f64,
    wake_w: f64,
    wake_stddev_w: f64,
    per_cpu_w: f64,
    per_cpu_stddev_w: f64,
    bend_ratio: f64,
    bend_stddev_ratio: f64,
    windows: u64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct TrustEntry {
    windows: f64,
    xx: f64,
    xy: f64,
    xu: f64,
    uy: f64,
    uu: f64,
    left: f64,
    weight: f64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct WorkloadEntry {
    cgroup_id: u64,
    kernel: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct MemberEntry {
    score: f64,
    noise_ratio: f64,
    error_w: f64,
    common: Vec<f64>,
    covariance: Vec<f64>,
    /// Deviation, its variance, and its covariance with the common watts.
    own: Vec<(f64, f64, f64)>,
}

impl DomainEntry {
    /// Without the runs, which do not outlive the process that follows them.
    pub(crate) fn of(kept: &Kept) -> Self {
        let Learned {
            prior_p0_w,
            prior_p0_stddev_w,
            prior_watts_per_cpu,
            cpus,
            mean_w,
            lag_ratio,
            members,
            workloads,
            together,
            windows,
            trust,
            experiments,
            evidence: Evidence { idle, calibration },
        } = &kept.learned;
        let stay: Vec<WorkloadKey> = workloads.iter().copied().filter(|key| key.run.is_none()).collect();
        let stays: Vec<bool> = workloads.iter().map(|key| key.run.is_none()).collect();
        let place = |key: &WorkloadKey| stay.iter().position(|stays| stays == key);
        let sets = together.iter().map(|set| set.iter().filter_map(place).collect::<Vec<_>>());
        let own = |own: &[LearnedOwn]| {
            let stay = own.iter().zip(&stays).filter(|(_, stays)| **stays);
            stay.map(|(own, _)| (own.deviation, own.variance, own.with_common)).collect::<Vec<_>>()
        };
        Self {
            domain: kept.kind.as_str().to_owned(),
            device: kept.device.clone(),
            cpus: *cpus,
            windows: *windows,
            prior_p0_w: *prior_p0_w,
            prior_p0_stddev_w: Some(*prior_p0_stddev_w),
            prior_watts_per_cpu: *prior_watts_per_cpu,
            mean_w: *mean_w,
            lag_ratio: *lag_ratio,
            idle: (*idle).into(),
            calibration: calibration.map(Into::into),
            trust: Some(trust.changes.into()),
            trust_of_spans: Some(trust.spans.into()),
            experiments: experiments.total(),
            recent_experiments: experiments
                .recent()
                .map(|one| (one.predicted_w, one.measured_w, one.stddev_w))
                .collect(),
            workloads: stay
                .iter()
                .map(|key| WorkloadEntry {
                    cgroup_id: key.cgroup.0,
                    kernel: key.class == Class::KernelThreads,
                })
                .collect(),
            together: sets.filter(|set| set.len() > 1).collect(),
            members: members
                .iter()
                .map(|member| MemberEntry {
                    score: member.score,
                    noise_ratio: member.noise_ratio,
                    error_w: member.error_w,
                    common: member.common.clone(),
                    covariance: member.covariance.clone(),
                    own: own(&member.own),
                })
                .collect(),
        }
    }

    /// What it says; of workloads only where their ids are still theirs.
    ///
    /// # Errors
    /// Where it names a domain that there is not.
    pub(crate) fn kept(self, same_boot: bool) -> Result<Kept, String> {
        let kind = DomainKind::ALL.into_iter().find(|kind| kind.as_str() == self.domain);
        let kind = kind.ok_or_else(|| format!("no domain {:?}", self.domain))?;
        let key = |workload: &WorkloadEntry| WorkloadKey {
            cgroup: CgroupId(workload.cgroup_id),
            class: if workload.kernel { Class::KernelThreads } else { Class::Tasks },
            run: None,
        };
        let workloads: Vec<WorkloadKey> =
            if same_boot { self.workloads.iter().map(key).collect() } else { Vec::new() };
        let own = |(deviation, variance, with_common)| LearnedOwn { deviation, variance, with_common };
        let member = |member: MemberEntry| LearnedMember {
            score: member.score,
            noise_ratio: member.noise_ratio,
            error_w: member.error_w,
            common: member.common,
            covariance: member.covariance,
            own: if same_boot { member.own.into_iter().map(own).collect() } else { Vec::new() },
        };
        let experiment =
            |(predicted_w, measured_w, stddev_w)| Experiment { predicted_w, measured_w, stddev_w };
        let set = |set: &Vec<usize>| -> Vec<WorkloadKey> {
            set.iter().filter_map(|place| workloads.get(*place).copied()).collect()
        };
        let together = self.together.iter().map(set).filter(|set| set.len() > 1).collect();
        Ok(Kept {
            kind,
            device: self.device,
            learned: Learned {
                prior_p0_w: self.prior_p0_w,
                prior_p0_stddev_w: self.prior_p0_stddev_w.unwrap_or(0.5 * self.prior_p0_w),
                prior_watts_per_cpu: self.prior_watts_per_cpu,
                cpus: self.cpus,
                mean_w: self.mean_w,
                lag_ratio: self.lag_ratio,
                members: self.members.into_iter().map(member).collect(),
                together,
                workloads,
                windows: self.windows,
                trust: Tried {
                    changes: self.trust.map_or_else(Trust::default, Into::into),
                    spans: self.trust_of_spans.map_or_else(Trust::default, Into::into),
                },
                experiments: Experiments::of(
                    self.experiments,
                    self.recent_experiments.into_iter().map(experiment),
                ),
                evidence: Evidence { idle: self.idle.into(), calibration: self.calibration.map(Into::into) },
            },
        })
    }
}

/// The same fields on both sides.
macro_rules! same {
    ($inner:ident, $entry:ident, { $($field:ident),+ }) => {
        impl From<$inner> for $entry {
            fn from($inner { $($field),+ }: $inner) -> Self {
                Self { $($field),+ }
            }
        }

        impl From<$entry> for $inner {
            fn from($entry { $($field),+ }: $entry) -> Self {
                Self { $($field),+ }
            }
        }
    };
}

same!(IdleWindows, IdleEntry, { windows, mean_w, variance_w2, busy_cpus, wake_ratio });
same!(Trust, TrustEntry, { windows, xx, xy, xu, uy, uu, left, weight });
same!(Calibration, CalibrationEntry, {
    p0_w, p0_stddev_w, wake_w, wake_stddev_w, per_cpu_w, per_cpu_stddev_w, bend_ratio, bend_stddev_ratio, windows
});
