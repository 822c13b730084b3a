//! Runs in the ledger: one measured command each.

use super::Ledger;
use super::error::LedgerError;
use super::factor::{self, Factor};
use super::flush::whole;
use super::names::Names;
use super::rerate;
use super::rows::{
    BalanceRow, DomainId, EnergyKind, RunEnd, RunEnergy, RunStart, RunStatus, quality_code, quality_of,
};
use super::sql::{Database, Row, Value, transaction};
use crate::units::{CpuNanos, Microjoules};

/// Candidates told for an ambiguous name.
const CANDIDATES_MAX: usize = 5;

/// A run as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptRun {
    /// From its beginning.
    pub start: RunStart,
    /// From its end, without energies; none for one that has not ended.
    pub end: Option<RunEnd>,
}

impl KeptRun {
    /// All its energy.
    pub fn energy(&self) -> Microjoules {
        self.end.iter().flat_map(|end| &end.energies).map(|row| row.energy).sum()
    }

    /// Whether a factor of it became known after it.
    pub fn rerated(&self) -> bool {
        self.end.iter().flat_map(|end| &end.energies).any(|row| row.recorded.is_some())
    }

    /// How it ended, or did not.
    pub fn status(&self) -> RunStatus {
        self.end.as_ref().map_or(RunStatus::Running, |end| end.status)
    }
}

/// Which runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Of this project.
    pub project: Option<String>,
    /// Of this experiment.
    pub experiment: Option<String>,
    /// Of this organisation.
    pub organisation: Option<String>,
    /// With this tag.
    pub tag: Option<String>,
    /// Of this series of repeats.
    pub series: Option<String>,
    /// Begun at or after, Unix microseconds.
    pub from_us: Option<i64>,
    /// Begun before, Unix microseconds.
    pub to_us: Option<i64>,
    /// The newest only.
    pub limit: Option<usize>,
}

impl Ledger {
    /// Writes that a run begins, so that one that is killed is not forgotten.
    pub fn begin_run(&mut self, run: &RunStart) -> Result<(), LedgerError> {
        transaction(self.database.as_mut(), |database| {
            let mut names = Names::default();
            insert_run(database, &mut names, run)
        })
    }

    /// Writes how a run ended, all of it or nothing. Where its beginning was not written, that is too. Of two ends the later one
    /// holds: a run whose agent ended goes on with the next one.
    pub fn end_run(&mut self, run: &RunStart, end: &RunEnd) -> Result<(), LedgerError> {
        transaction(self.database.as_mut(), |database| {
            let mut names = Names::default();
            let known = database.query("SELECT 1 FROM run WHERE id = $1", &[run.id.as_str().into()])?;
            if known.is_empty() {
                insert_run(database, &mut names, run)?;
            }
            finish_run(database, &mut names, run, end)
        })
    }

    /// Runs, oldest first.
    pub fn runs(&mut self, filter: &RunFilter) -> Result<Vec<KeptRun>, LedgerError> {
        let mut conditions = Vec::new();
        let mut values: Vec<Value> = Vec::new();
        let texts = [
            ("run.project = ", &filter.project),
            ("run.experiment = ", &filter.experiment),
            ("run.organisation = ", &filter.organisation),
            ("run.series = ", &filter.series),
        ];
        for (condition, value) in texts {
            if let Some(value) = value {
                values.push(value.as_str().into());
                conditions.push(format!("{condition}${}", values.len()));
            }
        }
        if let Some(tag) = &filter.tag {
            values.push(tag.as_str().into());
            conditions.push(format!(
                "EXISTS (SELECT 1 FROM run_tag WHERE run_tag.run = run.id AND run_tag.tag = ${})",
                values.len()
            ));
        }
        for (condition, value) in [("run.start_us >= ", filter.from_us), ("run.start_us < ", filter.to_us)] {
            if let Some(value) = value {
                values.push(value.into());
                conditions.push(format!("{condition}${}", values.len()));
            }
        }
        let wanted =
            if conditions.is_empty() { String::new() } else { format!("WHERE {}", conditions.join(" AND ")) };
        let limit = filter.limit.map_or_else(String::new, |rows| format!("LIMIT {rows}"));
        let sql = format!(
            "SELECT {RUN_COLUMNS} FROM run JOIN node ON node.id = run.node {wanted} \
             ORDER BY run.start_us DESC, run.id DESC {limit}"
        );
        let mut rows = self.database.query(&sql, &values)?;
        rows.reverse();
        rows.iter().map(|row| self.load(row)).collect()
    }

    /// The one run whose id begins or ends so, or that has this name; the newest of those that share a name.
    pub fn find_run(&mut self, wanted: &str) -> Result<KeptRun, LedgerError> {
        let plain: String = wanted.chars().filter(|it| it.is_ascii_alphanumeric() || *it == '-').collect();
        let by_id = format!(
            "SELECT {RUN_COLUMNS} FROM run JOIN node ON node.id = run.node \
             WHERE run.id LIKE $1 OR run.id LIKE $2 ORDER BY run.id LIMIT {}",
            CANDIDATES_MAX + 1
        );
        let mut rows = Vec::new();
        if plain.len() >= 4 && plain == wanted {
            rows = self.database.query(&by_id, &[format!("{plain}%").into(), format!("%{plain}").into()])?;
        }
        if rows.is_empty() {
            let by_name = format!(
                "SELECT {RUN_COLUMNS} FROM run JOIN node ON node.id = run.node WHERE run.name = $1 \
                 ORDER BY run.start_us DESC LIMIT 1"
            );
            rows = self.database.query(&by_name, &[wanted.into()])?;
        }
        match rows.as_slice() {
            [row] => self.load(row),
            _ => Err(LedgerError::NoRun {
                wanted: wanted.to_owned(),
                candidates: rows.iter().take(CANDIDATES_MAX).map(|row| row.text(0)).collect(),
            }),
        }
    }

    fn load(&mut self, row: &Row) -> Result<KeptRun, LedgerError> {
        let id = row.text(0);
        let sql = "SELECT tag FROM run_tag WHERE run = $1 ORDER BY tag";
        let tags = self.database.query(sql, &[id.as_str().into()])?;
        let status = RunStatus::parse(&row.text(8)).unwrap_or(RunStatus::Running);
        let start = RunStart {
            node: row.text(1),
            organisation: row.opt_text(2),
            project: row.opt_text(3),
            experiment: row.opt_text(4),
            name: row.opt_text(5),
            series: row.opt_text(6),
            tags: tags.iter().map(|row| row.text(0)).collect(),
            command: serde_json::from_str(&row.text(7)).unwrap_or_default(),
            start_us: row.int(10),
            id: id.clone(),
        };
        if status == RunStatus::Running {
            return Ok(KeptRun { start, end: None });
        }
        let end = RunEnd {
            status,
            exit_status: row.int(9),
            end_us: row.int(11),
            duration_ns: row.amount(12),
            outlived_by: row.amount(13),
            cpu: CpuNanos(row.amount(14)),
            accounting: row.text(15),
            attribution: row.text(16),
            static_policy: row.text(17),
            hardware: row.text(18),
            report: row.text(19),
            energies: self.run_energies(&id)?,
            domains: self.run_domains(&id)?,
        };
        Ok(KeptRun { start, end: Some(end) })
    }

    fn run_energies(&mut self, id: &str) -> Result<Vec<RunEnergy>, LedgerError> {
        let columns = |table: &str| {
            let columns = factor::COLUMNS.split(", ").map(|column| format!("{table}.{column}"));
            columns.collect::<Vec<_>>().join(", ")
        };
        let sql = format!(
            "SELECT run_energy.kind, run_energy.quality, run_energy.energy_uj, run_energy.stddev_uj, \
             run_rerate.rated_by, {}, {} FROM run_energy JOIN factor ON factor.id = run_energy.factor \
             LEFT JOIN run_rerate ON run_rerate.run = run_energy.run AND run_rerate.factor = run_energy.factor \
             LEFT JOIN factor AS later ON later.id = run_rerate.rated_by WHERE run_energy.run = $1 \
             ORDER BY run_energy.kind, run_energy.factor",
            columns("factor"),
            columns("later")
        );
        let of = |row: &Row| {
            let recorded = Factor::from_row(row, 5);
            let later =
                row.opt_int(4).map(|_| Factor::from_row(row, 5 + factor::COLUMNS.split(", ").count()));
            let (factor, recorded) = later.map_or((recorded.clone(), None), |later| (later, Some(recorded)));
            RunEnergy {
                kind: EnergyKind::from_code(row.int(0)),
                quality: quality_of(row.int(1)),
                energy: Microjoules(row.amount(2)),
                stddev_uj: row.real(3),
                factor,
                recorded,
            }
        };
        Ok(self.database.query(&sql, &[id.into()])?.iter().map(of).collect())
    }

    fn run_domains(&mut self, id: &str) -> Result<Vec<BalanceRow>, LedgerError> {
        let sql = "SELECT domain.domain, domain.device, domain.source, domain.quality, run_domain.metered_uj, \
                   run_domain.attributed_uj, run_domain.static_uj, run_domain.lost_uj FROM run_domain \
                   JOIN domain ON domain.id = run_domain.domain WHERE run_domain.run = $1 ORDER BY domain.id";
        let of = |row: &Row| BalanceRow {
            domain: DomainId {
                domain: row.text(0),
                device: row.text(1),
                source: row.text(2),
                quality: quality_of(row.int(3)),
            },
            covered_ns: 0,
            metered: Microjoules(row.amount(4)),
            attributed: Microjoules(row.amount(5)),
            static_energy: Microjoules(row.amount(6)),
            lost: Microjoules(row.amount(7)),
            gaps: 0,
        };
        Ok(self.database.query(sql, &[id.into()])?.iter().map(of).collect())
    }
}

const RUN_COLUMNS: &str = "run.id, node.name, run.organisation, run.project, run.experiment, run.name, run.series, \
                           run.command, run.status, run.exit_status, run.start_us, run.end_us, run.duration_ns, \
                           run.outlived_by, run.cpu_ns, run.accounting, run.attribution, run.static_policy, \
                           run.hardware, run.report";

pub(super) fn insert_run(
    database: &mut dyn Database,
    names: &mut Names,
    run: &RunStart,
) -> Result<(), LedgerError> {
    let node = names.node(database, &run.node)?;
    let sql = "INSERT INTO run (id, node, organisation, project, experiment, name, series, command, status, \
               start_us) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    let command = serde_json::to_string(&run.command).unwrap_or_default();
    let values = [
        run.id.as_str().into(),
        node.into(),
        run.organisation.clone().into(),
        run.project.clone().into(),
        run.experiment.clone().into(),
        run.name.clone().into(),
        run.series.clone().into(),
        command.into(),
        RunStatus::Running.as_str().into(),
        run.start_us.into(),
    ];
    database.execute(sql, &values)?;
    let mut tags = run.tags.clone();
    tags.sort();
    tags.dedup();
    for tag in tags {
        database.execute(
            "INSERT INTO run_tag (run, tag) VALUES ($1, $2)",
            &[run.id.as_str().into(), tag.into()],
        )?;
    }
    Ok(())
}

pub(super) fn finish_run(
    database: &mut dyn Database,
    names: &mut Names,
    run: &RunStart,
    end: &RunEnd,
) -> Result<(), LedgerError> {
    let sql = "UPDATE run SET status = $1, exit_status = $2, end_us = $3, duration_ns = $4, outlived_by = $5, \
               cpu_ns = $6, accounting = $7, attribution = $8, static_policy = $9, hardware = $10, report = $11 \
               WHERE id = $12";
    let values = [
        end.status.as_str().into(),
        end.exit_status.into(),
        end.end_us.into(),
        whole(end.duration_ns)?,
        whole(end.outlived_by)?,
        whole(end.cpu.0)?,
        end.accounting.as_str().into(),
        end.attribution.as_str().into(),
        end.static_policy.as_str().into(),
        end.hardware.as_str().into(),
        end.report.as_str().into(),
        run.id.as_str().into(),
    ];
    database.execute(sql, &values)?;
    for table in ["run_energy", "run_domain"] {
        database.execute(&format!("DELETE FROM {table} WHERE run = $1"), &[run.id.as_str().into()])?;
    }
    for row in &end.energies {
        let factor = names.factor(database, row.recorded.as_ref().unwrap_or(&row.factor))?;
        if row.recorded.is_some() {
            let rated_by = names.factor(database, &row.factor)?;
            rerate::note_run(database, &run.id, factor, rated_by)?;
        }
        let sql = "INSERT INTO run_energy (run, kind, factor, quality, energy_uj, stddev_uj) \
                   VALUES ($1, $2, $3, $4, $5, $6)";
        let values = [
            run.id.as_str().into(),
            row.kind.code().into(),
            factor.into(),
            quality_code(row.quality).into(),
            whole(row.energy.0)?,
            row.stddev_uj.into(),
        ];
        database.execute(sql, &values)?;
    }
    let node = names.node(database, &run.node)?;
    for row in &end.domains {
        let sql = "INSERT INTO run_domain (run, domain, metered_uj, attributed_uj, static_uj, lost_uj) \
                   VALUES ($1, $2, $3, $4, $5, $6)";
        let values = [
            run.id.as_str().into(),
            names.domain(database, node, &row.domain)?.into(),
            whole(row.metered.0)?,
            whole(row.attributed.0)?,
            whole(row.static_energy.0)?,
            whole(row.lost.0)?,
        ];
        database.execute(sql, &values)?;
    }
    Ok(())
}

impl Ledger {
    /// When the first run began, in Unix microseconds.
    pub fn first_run_us(&mut self) -> Result<Option<i64>, LedgerError> {
        let rows = self.database.query("SELECT MIN(start_us) FROM run", &[])?;
        Ok(rows.first().and_then(|row| row.opt_int(0)))
    }
}
