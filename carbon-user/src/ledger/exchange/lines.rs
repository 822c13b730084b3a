//! The lines as they are written: stored types of their own, versioned with the format.

use super::refuse;
use crate::carbon::{Intensity, Kind, Spread};
use crate::ledger::error::LedgerError;
use crate::ledger::factor::Factor;
use crate::ledger::rows::{
    BalanceRow, DomainId, EnergyKind, RunEnd, RunEnergy, RunStart, RunStatus, Workload, parse_quality,
};
use crate::ledger::runs::KeptRun;
use crate::units::{CpuNanos, GramsPerKwh, Microjoules, Pue};
use serde::{Deserialize, Serialize};

/// One line.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "line", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Line {
    Ledger { schema: String },
    Energy(Box<EnergyLine>),
    Balance(BalanceLine),
    Run(Box<RunLine>),
    Rerate(Box<RerateLine>),
}

/// An hour that was rated again, and the factor before.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RerateLine {
    pub(super) node: String,
    pub(super) start_s: i64,
    pub(super) factor: FactorLine,
    pub(super) rated_by: FactorLine,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FactorLine {
    pub(super) g_per_kwh: f64,
    pub(super) low_ratio: f64,
    pub(super) high_ratio: f64,
    pub(super) pue_ratio: f64,
    pub(super) zone: String,
    pub(super) zone_name: String,
    pub(super) year: u16,
    pub(super) boundary: String,
    pub(super) basis: String,
    pub(super) source: String,
    #[serde(default)]
    pub(super) assumed: bool,
    #[serde(default)]
    pub(super) tables_hash: String,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DomainLine {
    pub(super) domain: String,
    pub(super) device: String,
    pub(super) source: String,
    pub(super) quality: String,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WorkloadLine {
    pub(super) identity: String,
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) container: Option<String>,
    pub(super) pod: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) unit: Option<String>,
    pub(super) job: Option<String>,
    pub(super) owner: Option<String>,
    pub(super) project: Option<String>,
    // Left out where there is none, so that a carbon without them reads the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) job_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) account: Option<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EnergyLine {
    pub(super) level_s: i64,
    pub(super) start_s: i64,
    pub(super) node: String,
    pub(super) workload: WorkloadLine,
    pub(super) domain: DomainLine,
    pub(super) kind: String,
    pub(super) factor: FactorLine,
    pub(super) quality: String,
    pub(super) energy_uj: u64,
    #[serde(default)]
    pub(super) cpu_ns: u64,
    #[serde(default)]
    pub(super) common_uj: f64,
    #[serde(default)]
    pub(super) variance_uj2: f64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) rerated: bool,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BalanceLine {
    pub(super) level_s: i64,
    pub(super) start_s: i64,
    pub(super) node: String,
    pub(super) domain: DomainLine,
    #[serde(default)]
    pub(super) covered_ns: u64,
    pub(super) metered_uj: u64,
    pub(super) attributed_uj: u64,
    pub(super) static_uj: u64,
    pub(super) lost_uj: u64,
    #[serde(default)]
    pub(super) gaps: u64,
}

/// A run as JSON.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RunLine {
    pub(super) id: String,
    pub(super) node: String,
    pub(super) organisation: Option<String>,
    pub(super) project: Option<String>,
    pub(super) experiment: Option<String>,
    pub(super) name: Option<String>,
    pub(super) series: Option<String>,
    pub(super) tags: Vec<String>,
    pub(super) command: Vec<String>,
    pub(super) start_us: i64,
    pub(super) end: Option<RunEndLine>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RunEndLine {
    pub(super) status: String,
    pub(super) exit_status: i64,
    pub(super) end_us: i64,
    pub(super) duration_ns: u64,
    pub(super) outlived_by: u64,
    pub(super) cpu_ns: u64,
    pub(super) accounting: String,
    pub(super) attribution: String,
    pub(super) static_policy: String,
    pub(super) hardware: String,
    pub(super) report: serde_json::Value,
    pub(super) energies: Vec<RunEnergyLine>,
    pub(super) domains: Vec<RunDomainLine>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RunEnergyLine {
    pub(super) kind: String,
    pub(super) factor: FactorLine,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) recorded: Option<FactorLine>,
    pub(super) quality: String,
    pub(super) energy_uj: u64,
    pub(super) stddev_uj: f64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RunDomainLine {
    pub(super) domain: DomainLine,
    pub(super) metered_uj: u64,
    pub(super) attributed_uj: u64,
    pub(super) static_uj: u64,
    pub(super) lost_uj: u64,
}

impl FactorLine {
    pub(super) fn of(self, line: usize) -> Result<Factor, LedgerError> {
        let kind = Kind::parse(&self.boundary, &self.basis).ok_or_else(|| {
            refuse(line, format!("no kind of intensity {:?}, {:?}", self.boundary, self.basis))
        })?;
        if !(0.0..=5000.0).contains(&self.g_per_kwh) || crate::carbon::pue(self.pue_ratio).is_err() {
            return Err(refuse(line, "impossible intensity or PUE"));
        }
        Ok(Factor {
            intensity: Intensity {
                g_per_kwh: GramsPerKwh(self.g_per_kwh),
                zone: self.zone,
                name: self.zone_name,
                year: self.year,
                kind,
                spread: Spread { low_ratio: self.low_ratio, high_ratio: self.high_ratio },
                source: self.source,
                assumed: self.assumed,
            },
            pue: Pue(self.pue_ratio),
            tables_hash: self.tables_hash,
        })
    }
}

impl From<&Factor> for FactorLine {
    fn from(factor: &Factor) -> Self {
        let intensity = &factor.intensity;
        Self {
            g_per_kwh: intensity.g_per_kwh.0,
            low_ratio: intensity.spread.low_ratio,
            high_ratio: intensity.spread.high_ratio,
            pue_ratio: factor.pue.0,
            zone: intensity.zone.clone(),
            zone_name: intensity.name.clone(),
            year: intensity.year,
            boundary: intensity.boundary().to_owned(),
            basis: intensity.basis(),
            source: intensity.source.clone(),
            assumed: intensity.assumed,
            tables_hash: factor.tables_hash.clone(),
        }
    }
}

impl DomainLine {
    pub(super) fn of(self, line: usize) -> Result<DomainId, LedgerError> {
        let quality = parse_quality(&self.quality)
            .ok_or_else(|| refuse(line, format!("no quality {:?}", self.quality)))?;
        Ok(DomainId { domain: self.domain, device: self.device, source: self.source, quality })
    }
}

impl From<&DomainId> for DomainLine {
    fn from(it: &DomainId) -> Self {
        Self {
            domain: it.domain.clone(),
            device: it.device.clone(),
            source: it.source.clone(),
            quality: it.quality.as_str().to_owned(),
        }
    }
}

impl From<WorkloadLine> for Workload {
    fn from(it: WorkloadLine) -> Self {
        let WorkloadLine { identity, kind, name, container, pod, namespace, unit, job, .. } = it;
        let WorkloadLine { owner, project, job_name, account, .. } = it;
        let ids = false;
        Self {
            identity,
            kind,
            name,
            container,
            pod,
            namespace,
            unit,
            job,
            owner,
            project,
            job_name,
            account,
            ids,
        }
    }
}

impl From<Workload> for WorkloadLine {
    fn from(it: Workload) -> Self {
        let Workload { identity, kind, name, container, pod, namespace, unit, job, .. } = it;
        let Workload { owner, project, job_name, account, .. } = it;
        Self { identity, kind, name, container, pod, namespace, unit, job, owner, project, job_name, account }
    }
}

impl From<&KeptRun> for RunLine {
    fn from(run: &KeptRun) -> Self {
        let start = run.start.clone();
        Self {
            id: start.id,
            node: start.node,
            organisation: start.organisation,
            project: start.project,
            experiment: start.experiment,
            name: start.name,
            series: start.series,
            tags: start.tags,
            command: start.command,
            start_us: start.start_us,
            end: run.end.as_ref().map(Into::into),
        }
    }
}

impl From<&RunEnd> for RunEndLine {
    fn from(end: &RunEnd) -> Self {
        Self {
            status: end.status.as_str().to_owned(),
            exit_status: end.exit_status,
            end_us: end.end_us,
            duration_ns: end.duration_ns,
            outlived_by: end.outlived_by,
            cpu_ns: end.cpu.0,
            accounting: end.accounting.clone(),
            attribution: end.attribution.clone(),
            static_policy: end.static_policy.clone(),
            hardware: end.hardware.clone(),
            report: serde_json::from_str(&end.report).unwrap_or_default(),
            energies: end
                .energies
                .iter()
                .map(|row| RunEnergyLine {
                    kind: row.kind.as_str().to_owned(),
                    factor: (&row.factor).into(),
                    recorded: row.recorded.as_ref().map(Into::into),
                    quality: row.quality.as_str().to_owned(),
                    energy_uj: row.energy.0,
                    stddev_uj: row.stddev_uj,
                })
                .collect(),
            domains: end
                .domains
                .iter()
                .map(|row| RunDomainLine {
                    domain: (&row.domain).into(),
                    metered_uj: row.metered.0,
                    attributed_uj: row.attributed.0,
                    static_uj: row.static_energy.0,
                    lost_uj: row.lost.0,
                })
                .collect(),
        }
    }
}

impl RunLine {
    pub(super) fn of(self, line: usize) -> Result<(RunStart, Option<RunEnd>), LedgerError> {
        let start = RunStart {
            id: self.id,
            node: self.node,
            organisation: self.organisation,
            project: self.project,
            experiment: self.experiment,
            name: self.name,
            series: self.series,
            tags: self.tags,
            command: self.command,
            start_us: self.start_us,
        };
        Ok((start, self.end.map(|end| end.of(line)).transpose()?))
    }
}

impl RunEndLine {
    pub(super) fn of(self, line: usize) -> Result<RunEnd, LedgerError> {
        let status = RunStatus::parse(&self.status).filter(|status| *status != RunStatus::Running);
        let energy = |row: RunEnergyLine| -> Result<RunEnergy, LedgerError> {
            Ok(RunEnergy {
                kind: EnergyKind::parse(&row.kind)
                    .ok_or_else(|| refuse(line, format!("no kind {:?}", row.kind)))?,
                factor: row.factor.of(line)?,
                recorded: row.recorded.map(|factor| factor.of(line)).transpose()?,
                quality: parse_quality(&row.quality)
                    .ok_or_else(|| refuse(line, format!("no quality {:?}", row.quality)))?,
                energy: Microjoules(row.energy_uj),
                stddev_uj: row.stddev_uj,
            })
        };
        let domain = |row: RunDomainLine| -> Result<BalanceRow, LedgerError> {
            Ok(BalanceRow {
                domain: row.domain.of(line)?,
                covered_ns: 0,
                metered: Microjoules(row.metered_uj),
                attributed: Microjoules(row.attributed_uj),
                static_energy: Microjoules(row.static_uj),
                lost: Microjoules(row.lost_uj),
                gaps: 0,
            })
        };
        Ok(RunEnd {
            status: status.ok_or_else(|| refuse(line, format!("no status {:?}", self.status)))?,
            exit_status: self.exit_status,
            end_us: self.end_us,
            duration_ns: self.duration_ns,
            outlived_by: self.outlived_by,
            cpu: CpuNanos(self.cpu_ns),
            accounting: self.accounting,
            attribution: self.attribution,
            static_policy: self.static_policy,
            hardware: self.hardware,
            report: self.report.to_string(),
            energies: self.energies.into_iter().map(energy).collect::<Result<_, _>>()?,
            domains: self.domains.into_iter().map(domain).collect::<Result<_, _>>()?,
        })
    }
}
