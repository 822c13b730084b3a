//! A ledger as lines of JSON, to be carried to another: the finest buckets that are kept, and runs.
//!
//! What is imported is added to all coarser levels, so sums stay exact. Nothing is imported twice: a bucket or run that
//! is there already refuses the whole file.

use super::error::LedgerError;
use super::factor::{COLUMNS, Factor};
use super::flush::add;
use super::names::Names;
use super::query::{DAY, HOUR, MINUTE};
use super::rows::{
    BalanceRow, DomainId, EnergyKind, EnergyRow, WORKLOAD_COLUMNS, Workload, quality_of, workload_of,
};
use super::rows::{RunEnd, RunEnergy, RunStart, RunStatus, parse_quality};
use super::runs::{KeptRun, RunFilter};
use super::sql::{Database, Value, transaction};
use super::{HOURS_FROM, Ledger, MINUTES_FROM, kept_from, raise_meta};
use crate::attribution::uncertainty::Uncertainty;
use crate::carbon::{Intensity, Kind, Spread};
use crate::units::{CpuNanos, GramsPerKwh, Microjoules, Pue};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, Write};

/// Name and version of the format, in its first line.
pub const SCHEMA: &str = "carbon.ledger/1";

/// One line.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "line", rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    Ledger { schema: String },
    Energy(Box<EnergyLine>),
    Balance(BalanceLine),
    Run(Box<RunLine>),
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct FactorLine {
    g_per_kwh: f64,
    low_ratio: f64,
    high_ratio: f64,
    pue_ratio: f64,
    zone: String,
    zone_name: String,
    year: u16,
    boundary: String,
    basis: String,
    source: String,
    #[serde(default)]
    assumed: bool,
    #[serde(default)]
    tables_hash: String,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct DomainLine {
    domain: String,
    device: String,
    source: String,
    quality: String,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct WorkloadLine {
    identity: String,
    kind: String,
    name: String,
    container: Option<String>,
    pod: Option<String>,
    namespace: Option<String>,
    unit: Option<String>,
    job: Option<String>,
    owner: Option<String>,
    project: Option<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct EnergyLine {
    level_s: i64,
    start_s: i64,
    node: String,
    workload: WorkloadLine,
    domain: DomainLine,
    kind: String,
    factor: FactorLine,
    quality: String,
    energy_uj: u64,
    #[serde(default)]
    cpu_ns: u64,
    #[serde(default)]
    common_uj: f64,
    #[serde(default)]
    variance_uj2: f64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct BalanceLine {
    level_s: i64,
    start_s: i64,
    node: String,
    domain: DomainLine,
    #[serde(default)]
    covered_ns: u64,
    metered_uj: u64,
    attributed_uj: u64,
    static_uj: u64,
    lost_uj: u64,
    #[serde(default)]
    gaps: u64,
}

/// A run as JSON.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RunLine {
    id: String,
    node: String,
    organisation: Option<String>,
    project: Option<String>,
    experiment: Option<String>,
    name: Option<String>,
    series: Option<String>,
    tags: Vec<String>,
    command: Vec<String>,
    start_us: i64,
    end: Option<RunEndLine>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RunEndLine {
    status: String,
    exit_status: i64,
    end_us: i64,
    duration_ns: u64,
    outlived_by: u64,
    cpu_ns: u64,
    accounting: String,
    attribution: String,
    static_policy: String,
    hardware: String,
    report: serde_json::Value,
    energies: Vec<RunEnergyLine>,
    domains: Vec<RunDomainLine>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RunEnergyLine {
    kind: String,
    factor: FactorLine,
    quality: String,
    energy_uj: u64,
    stddev_uj: f64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RunDomainLine {
    domain: DomainLine,
    metered_uj: u64,
    attributed_uj: u64,
    static_uj: u64,
    lost_uj: u64,
}

/// Buckets and runs of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exchanged {
    /// Rows of energies.
    pub energies: u64,
    /// Rows of balances.
    pub balances: u64,
    /// Runs.
    pub runs: u64,
}

/// One run as a line of JSON, without its newline.
pub fn run_line(run: &KeptRun) -> String {
    serde_json::to_string(&Line::Run(Box::new(run.into()))).unwrap_or_default()
}

impl Ledger {
    /// Writes everything to `out`.
    pub fn export(&mut self, out: &mut dyn Write) -> Result<Exchanged, LedgerError> {
        let place = self.place();
        let mut count = Exchanged::default();
        let mut put = |line: &Line| -> Result<(), LedgerError> {
            let failed = |reason: String| LedgerError::Database { place: place.clone(), reason };
            let text = serde_json::to_string(line).map_err(|error| failed(error.to_string()))?;
            writeln!(out, "{text}").map_err(|error| failed(error.to_string()))
        };
        put(&Line::Ledger { schema: SCHEMA.to_owned() })?;
        let (minutes_from, hours_from) = self.kept_from()?;
        let parts =
            [(DAY, i64::MIN, hours_from), (HOUR, hours_from, minutes_from), (MINUTE, minutes_from, i64::MAX)];
        for (level, from, to) in parts {
            let bounds: [Value; 3] = [level.into(), from.into(), to.into()];
            for line in self.energy_lines(&bounds)? {
                put(&line)?;
                count.energies += 1;
            }
            for line in self.balance_lines(&bounds)? {
                put(&line)?;
                count.balances += 1;
            }
        }
        for run in self.runs(&RunFilter::default())? {
            put(&Line::Run(Box::new((&run).into())))?;
            count.runs += 1;
        }
        Ok(count)
    }

    fn energy_lines(&mut self, bounds: &[Value]) -> Result<Vec<Line>, LedgerError> {
        let workload: Vec<String> =
            WORKLOAD_COLUMNS.split(", ").map(|column| format!("workload.{column}")).collect();
        let factor: Vec<String> = COLUMNS.split(", ").map(|column| format!("factor.{column}")).collect();
        let sql = format!(
            "SELECT energy.level_s, energy.start_s, node.name, domain.domain, domain.device, domain.source, \
             domain.quality, energy.kind, energy.quality, energy.energy_uj, energy.cpu_ns, energy.common_uj, \
             energy.variance_uj2, {}, {} FROM energy JOIN node ON node.id = energy.node \
             JOIN domain ON domain.id = energy.domain JOIN workload ON workload.id = energy.workload \
             JOIN factor ON factor.id = energy.factor \
             WHERE energy.level_s = $1 AND energy.start_s >= $2 AND energy.start_s < $3 \
             ORDER BY energy.start_s, energy.node, energy.workload, energy.domain",
            workload.join(", "),
            factor.join(", ")
        );
        let of = |row: &super::sql::Row| {
            Line::Energy(Box::new(EnergyLine {
                level_s: row.int(0),
                start_s: row.int(1),
                node: row.text(2),
                domain: DomainLine {
                    domain: row.text(3),
                    device: row.text(4),
                    source: row.text(5),
                    quality: quality_of(row.int(6)).as_str().to_owned(),
                },
                kind: EnergyKind::from_code(row.int(7)).as_str().to_owned(),
                quality: quality_of(row.int(8)).as_str().to_owned(),
                energy_uj: row.amount(9),
                cpu_ns: row.amount(10),
                common_uj: row.real(11),
                variance_uj2: row.real(12),
                workload: workload_of(row, 13).into(),
                factor: (&Factor::from_row(row, 23)).into(),
            }))
        };
        Ok(self.database.query(&sql, bounds)?.iter().map(of).collect())
    }

    fn balance_lines(&mut self, bounds: &[Value]) -> Result<Vec<Line>, LedgerError> {
        let sql = "SELECT balance.level_s, balance.start_s, node.name, domain.domain, domain.device, \
                   domain.source, domain.quality, balance.covered_ns, balance.metered_uj, \
                   balance.attributed_uj, balance.static_uj, balance.lost_uj, balance.gaps FROM balance \
                   JOIN domain ON domain.id = balance.domain JOIN node ON node.id = domain.node \
                   WHERE balance.level_s = $1 AND balance.start_s >= $2 AND balance.start_s < $3 \
                   ORDER BY balance.start_s, balance.domain";
        let of = |row: &super::sql::Row| {
            Line::Balance(BalanceLine {
                level_s: row.int(0),
                start_s: row.int(1),
                node: row.text(2),
                domain: DomainLine {
                    domain: row.text(3),
                    device: row.text(4),
                    source: row.text(5),
                    quality: quality_of(row.int(6)).as_str().to_owned(),
                },
                covered_ns: row.amount(7),
                metered_uj: row.amount(8),
                attributed_uj: row.amount(9),
                static_uj: row.amount(10),
                lost_uj: row.amount(11),
                gaps: row.amount(12),
            })
        };
        Ok(self.database.query(sql, bounds)?.iter().map(of).collect())
    }

    /// Reads what [`export`](Self::export) wrote, in one transaction.
    pub fn import(&mut self, input: &mut dyn BufRead) -> Result<Exchanged, LedgerError> {
        let mut lines = Vec::new();
        for (number, text) in (1..).zip(input.lines()) {
            let failed = |reason: String| LedgerError::Import { line: number, reason };
            let text = text.map_err(|error| failed(error.to_string()))?;
            let line: Line = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
            match (&line, number) {
                (Line::Ledger { schema }, 1) if schema == SCHEMA => {}
                (Line::Ledger { schema }, 1) => {
                    return Err(failed(format!("its schema is {schema:?}, not {SCHEMA}")));
                }
                (_, 1) => return Err(failed(format!("the first line does not say {SCHEMA}"))),
                (Line::Ledger { .. }, _) => return Err(failed("another beginning".to_owned())),
                _ => lines.push((number, line)),
            }
        }
        transaction(self.database.as_mut(), |database| {
            let mut names = Names::default();
            let mut count = Exchanged::default();
            let kept = kept_from(database)?;
            for (number, line) in lines {
                match line {
                    Line::Ledger { .. } => {}
                    Line::Energy(line) => {
                        import_energy(database, &mut names, number, *line, kept)?;
                        count.energies += 1;
                    }
                    Line::Balance(line) => {
                        import_balance(database, &mut names, number, line)?;
                        count.balances += 1;
                    }
                    Line::Run(line) => {
                        import_run(database, &mut names, number, *line)?;
                        count.runs += 1;
                    }
                }
            }
            Ok(count)
        })
    }
}

fn refuse(line: usize, reason: impl Into<String>) -> LedgerError {
    LedgerError::Import { line, reason: reason.into() }
}

fn check_bucket(line: usize, level_s: i64, start_s: i64) -> Result<(), LedgerError> {
    if [MINUTE, HOUR, DAY].contains(&level_s) && start_s.rem_euclid(level_s) == 0 {
        Ok(())
    } else {
        Err(refuse(line, format!("no bucket of {level_s} s begins at {start_s}")))
    }
}

/// A bucket without its details: from here on none before its day's end are counted on.
fn coarse_only(database: &mut dyn Database, level_s: i64, start_s: i64) -> Result<(), LedgerError> {
    let next_day = start_s.div_euclid(DAY).saturating_add(1).saturating_mul(DAY);
    if level_s >= HOUR {
        raise_meta(database, MINUTES_FROM, next_day)?;
    }
    if level_s >= DAY {
        raise_meta(database, HOURS_FROM, next_day)?;
    }
    Ok(())
}

fn import_energy(
    database: &mut dyn Database,
    names: &mut Names,
    line: usize,
    it: EnergyLine,
    (minutes_from, hours_from): (i64, i64),
) -> Result<(), LedgerError> {
    check_bucket(line, it.level_s, it.start_s)?;
    if (it.level_s == MINUTE && it.start_s < minutes_from) || (it.level_s == HOUR && it.start_s < hours_from)
    {
        return Err(refuse(line, "this ledger has compacted that time: import into a new one"));
    }
    coarse_only(database, it.level_s, it.start_s)?;
    let row = EnergyRow {
        workload: it.workload.into(),
        domain: it.domain.of(line)?,
        kind: EnergyKind::parse(&it.kind).ok_or_else(|| refuse(line, format!("no kind {:?}", it.kind)))?,
        factor: it.factor.of(line)?,
        quality: parse_quality(&it.quality)
            .ok_or_else(|| refuse(line, format!("no quality {:?}", it.quality)))?,
        energy: Microjoules(it.energy_uj),
        cpu: CpuNanos(it.cpu_ns),
        uncertainty: Uncertainty {
            split_uj: it.common_uj,
            model_uj: 0.0,
            meter_uj: it.variance_uj2.max(0.0).sqrt(),
        },
    };
    let key = [
        it.level_s.into(),
        it.start_s.into(),
        names.node(database, &it.node)?.into(),
        names.workload(database, &row.workload)?.into(),
        row.kind.code().into(),
    ];
    let node = names.node(database, &it.node)?;
    let domain = names.domain(database, node, &row.domain)?;
    let factor = names.factor(database, &row.factor)?;
    let sql = "SELECT 1 FROM energy WHERE level_s = $1 AND start_s = $2 AND node = $3 AND workload = $4 AND \
               kind = $5 AND domain = $6 AND factor = $7 AND quality = $8";
    let quality = super::rows::quality_code(row.quality);
    let values: Vec<Value> = key.into_iter().chain([domain.into(), factor.into(), quality.into()]).collect();
    if !database.query(sql, &values)?.is_empty() {
        return Err(refuse(line, "it is there already"));
    }
    add(database, names, &it.node, it.level_s, it.start_s, (&[row], &[]))
}

fn import_balance(
    database: &mut dyn Database,
    names: &mut Names,
    line: usize,
    it: BalanceLine,
) -> Result<(), LedgerError> {
    check_bucket(line, it.level_s, it.start_s)?;
    let row = BalanceRow {
        domain: it.domain.of(line)?,
        covered_ns: it.covered_ns,
        metered: Microjoules(it.metered_uj),
        attributed: Microjoules(it.attributed_uj),
        static_energy: Microjoules(it.static_uj),
        lost: Microjoules(it.lost_uj),
        gaps: it.gaps,
    };
    let parts = u128::from(it.attributed_uj) + u128::from(it.static_uj) + u128::from(it.lost_uj);
    if parts != u128::from(it.metered_uj) {
        return Err(refuse(line, "its parts are not what was metered"));
    }
    coarse_only(database, it.level_s, it.start_s)?;
    let node = names.node(database, &it.node)?;
    let domain = names.domain(database, node, &row.domain)?;
    let sql = "SELECT 1 FROM balance WHERE level_s = $1 AND start_s = $2 AND domain = $3";
    if !database.query(sql, &[it.level_s.into(), it.start_s.into(), domain.into()])?.is_empty() {
        return Err(refuse(line, "it is there already"));
    }
    add(database, names, &it.node, it.level_s, it.start_s, (&[], &[row]))
}

fn import_run(
    database: &mut dyn Database,
    names: &mut Names,
    line: usize,
    it: RunLine,
) -> Result<(), LedgerError> {
    let known = database.query("SELECT 1 FROM run WHERE id = $1", &[it.id.as_str().into()])?;
    if !known.is_empty() {
        return Err(refuse(line, format!("run {} is there already", it.id)));
    }
    let (start, end) = it.of(line)?;
    super::runs::insert_run(database, names, &start)?;
    end.map_or(Ok(()), |end| super::runs::finish_run(database, names, &start, &end))
}

impl FactorLine {
    fn of(self, line: usize) -> Result<Factor, LedgerError> {
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
    fn of(self, line: usize) -> Result<DomainId, LedgerError> {
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
        let WorkloadLine { identity, kind, name, container, pod, namespace, unit, job, owner, project } = it;
        Self { identity, kind, name, container, pod, namespace, unit, job, owner, project }
    }
}

impl From<Workload> for WorkloadLine {
    fn from(it: Workload) -> Self {
        let Workload { identity, kind, name, container, pod, namespace, unit, job, owner, project } = it;
        Self { identity, kind, name, container, pod, namespace, unit, job, owner, project }
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
    fn of(self, line: usize) -> Result<(RunStart, Option<RunEnd>), LedgerError> {
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
    fn of(self, line: usize) -> Result<RunEnd, LedgerError> {
        let status = RunStatus::parse(&self.status).filter(|status| *status != RunStatus::Running);
        let energy = |row: RunEnergyLine| -> Result<RunEnergy, LedgerError> {
            Ok(RunEnergy {
                kind: EnergyKind::parse(&row.kind)
                    .ok_or_else(|| refuse(line, format!("no kind {:?}", row.kind)))?,
                factor: row.factor.of(line)?,
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
