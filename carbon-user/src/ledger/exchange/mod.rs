//! A ledger as lines of JSON, to be carried to another: the finest buckets that are kept, and runs.
//!
//! What is imported is added to all coarser levels, so sums stay exact. Nothing is imported twice: a bucket or run that
//! is there already refuses the whole file.

mod lines;

use super::error::LedgerError;
use super::factor::{COLUMNS, Factor};
use super::flush::add;
use super::names::Names;
use super::query::{DAY, HOUR, MINUTE};
use super::rerate;
use super::rows::{
    BalanceRow, EnergyKind, EnergyRow, WORKLOAD_COLUMNS, parse_quality, quality_code, quality_of, workload_of,
};
use super::runs::{KeptRun, RunFilter, finish_run, insert_run};
use super::sql::{Database, Row, Value, transaction};
use super::{HOURS_FROM, Ledger, MINUTES_FROM, kept_from, raise_meta};
use crate::attribution::uncertainty::Uncertainty;
use crate::units::{CpuNanos, Microjoules};
use lines::{BalanceLine, DomainLine, EnergyLine, Line, RerateLine, RunLine};
use std::io::{BufRead, Write};

/// Name and version of the format, in its first line.
pub const SCHEMA: &str = "carbon.ledger/1";

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

/// The run of such a line.
pub(super) fn run_of_line(text: &str) -> Result<KeptRun, LedgerError> {
    let line: Line = serde_json::from_str(text).map_err(|error| refuse(1, error.to_string()))?;
    let Line::Run(line) = line else { return Err(refuse(1, "it is no run")) };
    let (start, end) = line.of(1)?;
    Ok(KeptRun { start, end })
}

impl Ledger {
    /// Writes everything to `out` as of one instant, an hour at a time: a ledger of years is more than memory should hold.
    pub fn export(&mut self, out: &mut dyn Write) -> Result<Exchanged, LedgerError> {
        self.snapshot(|ledger| ledger.export_to(out))
    }

    fn export_to(&mut self, out: &mut dyn Write) -> Result<Exchanged, LedgerError> {
        let mut count = Exchanged::default();
        let mut put = |line: &Line| -> Result<(), LedgerError> {
            let text = serde_json::to_string(line).map_err(|error| LedgerError::Export(error.into()))?;
            writeln!(out, "{text}").map_err(LedgerError::Export)
        };
        put(&Line::Ledger { schema: SCHEMA.to_owned() })?;
        let (minutes_from, hours_from) = self.kept_from()?;
        let parts =
            [(DAY, i64::MIN, hours_from), (HOUR, hours_from, minutes_from), (MINUTE, minutes_from, i64::MAX)];
        for (level, from, to) in parts {
            let step = level.max(HOUR);
            let days = self.days(from, to)?;
            let steps =
                days.into_iter().flat_map(|day| (0..DAY / step).map(move |n| day.saturating_add(n * step)));
            for start_s in steps {
                let bounds: [Value; 3] = [level.into(), start_s.into(), start_s.saturating_add(step).into()];
                for line in self.energy_lines(&bounds)? {
                    put(&line)?;
                    count.energies += 1;
                }
                for line in self.balance_lines(&bounds)? {
                    put(&line)?;
                    count.balances += 1;
                }
            }
        }
        for line in self.rerate_lines()? {
            put(&line)?;
        }
        for run in self.runs(&RunFilter::default())? {
            put(&Line::Run(Box::new((&run).into())))?;
            count.runs += 1;
        }
        Ok(count)
    }

    /// Starts of days in which there is anything. Details are kept by whole days, and no day is removed.
    fn days(&mut self, from: i64, to: i64) -> Result<Vec<i64>, LedgerError> {
        let sql = "SELECT start_s FROM balance WHERE level_s = $1 AND start_s >= $2 AND start_s < $3 \
                   UNION SELECT start_s FROM energy WHERE level_s = $1 AND start_s >= $2 AND start_s < $3 \
                   ORDER BY start_s";
        let starts = self.database.query(sql, &[DAY.into(), from.into(), to.into()])?;
        Ok(starts.iter().map(|row| row.int(0)).collect())
    }

    fn energy_lines(&mut self, bounds: &[Value]) -> Result<Vec<Line>, LedgerError> {
        let workload: Vec<String> =
            WORKLOAD_COLUMNS.split(", ").map(|column| format!("workload.{column}")).collect();
        let factor: Vec<String> = COLUMNS.split(", ").map(|column| format!("factor.{column}")).collect();
        let sql = format!(
            "SELECT energy.level_s, energy.start_s, node.name, domain.domain, domain.device, domain.source, \
             domain.quality, series.kind, series.quality, energy.energy_uj, energy.cpu_ns, energy.common_uj, \
             energy.variance_uj2, {}, {}, series.rerated FROM energy JOIN series ON series.id = energy.series \
             JOIN node ON node.id = series.node JOIN domain ON domain.id = series.domain \
             JOIN workload ON workload.id = series.workload JOIN factor ON factor.id = series.factor \
             WHERE energy.level_s = $1 AND energy.start_s >= $2 AND energy.start_s < $3 \
             ORDER BY energy.start_s, series.node, series.workload, series.domain",
            workload.join(", "),
            factor.join(", ")
        );
        let of = |row: &Row| {
            Line::Energy(Box::new(EnergyLine {
                level_s: row.int(0),
                start_s: row.int(1),
                node: row.text(2),
                domain: domain_of(row, 3),
                kind: EnergyKind::from_code(row.int(7)).as_str().to_owned(),
                quality: quality_of(row.int(8)).as_str().to_owned(),
                energy_uj: row.amount(9),
                cpu_ns: row.amount(10),
                common_uj: row.real(11),
                variance_uj2: row.real(12),
                workload: workload_of(row, 13).into(),
                factor: (&Factor::from_row(row, 25)).into(),
                rerated: row.int(37) != 0,
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
        let of = |row: &Row| {
            Line::Balance(BalanceLine {
                level_s: row.int(0),
                start_s: row.int(1),
                node: row.text(2),
                domain: domain_of(row, 3),
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

    fn rerate_lines(&mut self) -> Result<Vec<Line>, LedgerError> {
        let factors = self.factors()?;
        let sql = "SELECT node.name, rerate.start_s, rerate.factor, rerate.rated_by FROM rerate \
                   JOIN node ON node.id = rerate.node ORDER BY rerate.start_s, rerate.node, rerate.factor";
        let of = |row: &Row| -> Option<Line> {
            let factor = |column| factors.get(&row.int(column)).map(Into::into);
            Some(Line::Rerate(Box::new(RerateLine {
                node: row.text(0),
                start_s: row.int(1),
                factor: factor(2)?,
                rated_by: factor(3)?,
            })))
        };
        Ok(self.database.query(sql, &[])?.iter().filter_map(of).collect())
    }

    /// Reads what [`export`](Self::export) wrote, in one transaction, line by line.
    pub fn import(&mut self, input: &mut dyn BufRead) -> Result<Exchanged, LedgerError> {
        let mut lines = (1..).zip(input.lines()).map(|(number, text)| {
            let failed = |reason: String| LedgerError::Import { line: number, reason };
            let text = text.map_err(|error| failed(error.to_string()))?;
            let line: Line = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
            Ok::<_, LedgerError>((number, line))
        });
        match lines.next().transpose()? {
            Some((_, Line::Ledger { schema })) if schema == SCHEMA => {}
            Some((_, Line::Ledger { schema })) => {
                return Err(refuse(1, format!("its schema is {schema:?}, not {SCHEMA}")));
            }
            Some(_) => return Err(refuse(1, format!("the first line does not say {SCHEMA}"))),
            None => return Ok(Exchanged::default()),
        }
        transaction(self.database.as_mut(), |database| {
            let mut names = Names::default();
            let mut count = Exchanged::default();
            let kept = kept_from(database)?;
            for line in lines {
                let (number, line) = line?;
                match line {
                    Line::Ledger { .. } => return Err(refuse(number, "another beginning")),
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
                    Line::Rerate(line) => import_rerate(database, &mut names, number, *line)?,
                }
            }
            Ok(count)
        })
    }
}

/// Lines that may hold anything, into a ledger of the thread's own.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(bytes: &[u8], folder: &std::path::Path) {
    struct Own(std::path::PathBuf, Option<Ledger>);

    impl Drop for Own {
        fn drop(&mut self) {
            self.1 = None;
            drop(std::fs::remove_dir_all(&self.0));
        }
    }

    impl Own {
        fn new(folder: &std::path::Path) -> Self {
            drop(std::fs::create_dir_all(folder));
            let ledger = Ledger::open(&super::Location::File(folder.join("ledger.db"))).ok();
            Self(folder.to_owned(), ledger)
        }
    }

    thread_local! {
        static OWN: std::cell::RefCell<Option<Own>> = const { std::cell::RefCell::new(None) };
    }
    OWN.with_borrow_mut(|own| {
        let Some(ledger) = &mut own.get_or_insert_with(|| Own::new(folder)).1 else { return };
        if ledger.import(&mut &*bytes).is_ok() {
            // What was taken in can be told again.
            let mut told = Vec::new();
            assert!(ledger.export(&mut told).is_ok());
            *own = None;
        }
    });
}

/// A domain, whose columns begin at `first`.
fn domain_of(row: &Row, first: usize) -> DomainLine {
    DomainLine {
        domain: row.text(first),
        device: row.text(first + 1),
        source: row.text(first + 2),
        quality: quality_of(row.int(first + 3)).as_str().to_owned(),
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
    // Rated again or not: it is the same energy.
    let sql = "SELECT 1 FROM series JOIN energy ON energy.series = series.id WHERE energy.level_s = $1 AND \
               energy.start_s = $2 AND series.node = $3 AND series.workload = $4 AND series.kind = $5 AND \
               series.domain = $6 AND series.factor = $7 AND series.quality = $8";
    let quality = quality_code(row.quality);
    let values: Vec<Value> = key.into_iter().chain([domain.into(), factor.into(), quality.into()]).collect();
    if !database.query(sql, &values)?.is_empty() {
        return Err(refuse(line, "it is there already"));
    }
    add(database, names, &it.node, it.level_s, it.start_s, (&[row], &[]), it.rerated)
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
    if !row.balances() {
        return Err(refuse(line, "its parts are not what was metered"));
    }
    coarse_only(database, it.level_s, it.start_s)?;
    let node = names.node(database, &it.node)?;
    let domain = names.domain(database, node, &row.domain)?;
    let sql = "SELECT 1 FROM balance WHERE level_s = $1 AND start_s = $2 AND domain = $3";
    if !database.query(sql, &[it.level_s.into(), it.start_s.into(), domain.into()])?.is_empty() {
        return Err(refuse(line, "it is there already"));
    }
    add(database, names, &it.node, it.level_s, it.start_s, (&[], &[row]), false)
}

fn import_rerate(
    database: &mut dyn Database,
    names: &mut Names,
    line: usize,
    it: RerateLine,
) -> Result<(), LedgerError> {
    let node = names.node(database, &it.node)?;
    let (factor, rated_by) = (it.factor.of(line)?, it.rated_by.of(line)?);
    let (factor, rated_by) = (names.factor(database, &factor)?, names.factor(database, &rated_by)?);
    rerate::note(database, (it.start_s, node, factor), rated_by)
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
    if let Some(row) = end.iter().flat_map(|end| &end.domains).find(|row| !row.balances()) {
        let domain = &row.domain;
        let which = format!("{} {} of {}", domain.domain, domain.device, domain.source);
        return Err(refuse(line, format!("run {}: the parts of {which} are not what was metered", start.id)));
    }
    insert_run(database, names, &start)?;
    end.map_or(Ok(()), |end| finish_run(database, names, &start, &end))
}
