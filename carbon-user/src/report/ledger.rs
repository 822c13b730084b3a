//! The report of `carbon report`, JSON schema `carbon.report/1`: sums of a ledger, with what must hold of them.

use super::equivalents::{self, Equivalent, EquivalentSet};
use super::figures::{METERED, amount, of_quality, printable, significant, spread};
use super::grid::{Cell, Grid, markdown_escaped};
use super::group::Group;
use super::reconciliation::{Reconciliation, Rows};
use super::table::Style;
use crate::ledger::Factor;
use crate::ledger::factor::set_hash;
use crate::ledger::query::Balance;
use crate::units::Microjoules;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Name and version of the schema.
pub const SCHEMA: &str = "carbon.report/1";

/// A part of the report's time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Period {
    /// The hour, day or month; none for the whole.
    pub label: Option<String>,
    /// From here, in the time zone.
    pub from: String,
    /// To here, left out.
    pub to: String,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupRow {
    /// From and to.
    #[serde(skip)]
    pub span: Period,
    /// The hour, day or month, where asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<String>,
    /// What was added up by.
    pub key: String,
    /// What people call it, where the key is a number and that is known: of a job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How many runs; only where runs are added up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runs: Option<usize>,
    /// Energy caused by running; none where unknown.
    pub dynamic_uj: Option<u64>,
    /// Static energy.
    pub static_uj: Option<u64>,
    /// Idle energy of accelerators while they were held; only where there is some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_uj: Option<u64>,
    /// Standard deviation of the energy.
    pub stddev_uj: Option<f64>,
    /// CPU time.
    pub cpu_ns: u64,
    /// CO2 equivalent; none where unknown or of different kinds.
    pub grams: Option<f64>,
    /// Nine times in ten the truth is above.
    pub grams_low: Option<f64>,
    /// Nine times in ten the truth is below.
    pub grams_high: Option<f64>,
    /// The lowest of its parts.
    pub quality: Option<&'static str>,
    /// Whether a factor came after its hour or run.
    pub rerated: bool,
    /// Whether nobody said where some of it was used: the world's average stands in.
    pub assumed: bool,
}

impl GroupRow {
    /// All its energy; none where unknown.
    pub fn energy(&self) -> Option<Microjoules> {
        let idle = self.static_uj?.saturating_add(self.held_uj.unwrap_or(0));
        Some(Microjoules(self.dynamic_uj?.saturating_add(idle)))
    }
}

/// A factor that grams are by.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FactorRow {
    /// SHA-256 of all that it says.
    pub hash: String,
    /// Grams of CO2 equivalent per kilowatt-hour.
    pub g_per_kwh: f64,
    /// Energy of the site over that of its machines.
    pub pue: f64,
    /// Place.
    pub zone: String,
    /// Its name.
    pub name: String,
    /// Year that it is the mean of.
    pub year: u16,
    /// What is counted.
    pub boundary: String,
    /// How it is counted.
    pub basis: String,
    /// Who says so.
    pub source: String,
    /// Whether nobody said where the electricity was used.
    pub assumed: bool,
    /// Edition of the bundled tables.
    pub tables_hash: String,
}

impl From<&Factor> for FactorRow {
    fn from(factor: &Factor) -> Self {
        let intensity = &factor.intensity;
        Self {
            hash: factor.hash(),
            g_per_kwh: intensity.g_per_kwh.0,
            pue: factor.pue.0,
            zone: intensity.zone.clone(),
            name: intensity.name.clone(),
            year: intensity.year,
            boundary: intensity.boundary().to_owned(),
            basis: intensity.basis(),
            source: intensity.source.clone(),
            assumed: intensity.assumed,
            tables_hash: factor.tables_hash.clone(),
        }
    }
}

/// The score of ISO/IEC 21031.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SciRow {
    /// Grams of CO2 equivalent per functional unit.
    pub score_g: f64,
    /// The functional unit.
    pub unit: String,
    /// How many were served.
    pub count: f64,
    /// E x I.
    pub operational_g: f64,
    /// M.
    pub embodied_g: f64,
    /// How M was had, with its sources.
    pub embodied_method: String,
}

impl SciRow {
    /// In words.
    pub fn line(&self) -> String {
        format!(
            "SCI (ISO/IEC 21031): {} gCO2e per {} of {} (operational {} g + embodied {} g; {})",
            significant(self.score_g, 2),
            self.unit,
            amount(self.count),
            significant(self.operational_g, 2),
            significant(self.embodied_g, 2),
            self.embodied_method
        )
    }
}

/// What the report is of.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Scope {
    /// Which ledger.
    pub ledger: String,
    /// From here, in the time zone.
    pub from: String,
    /// To here, left out.
    pub to: String,
    /// Time zone.
    pub tz: String,
    /// What was added up by.
    pub by: String,
    /// Machines in words, of runs.
    pub hardware: Vec<String>,
    /// How energy was had and split, of runs.
    pub methods: Vec<String>,
}

/// The report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LedgerReport {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Version of the program.
    pub version: &'static str,
    /// What it is of.
    pub scope: Scope,
    /// Most energy first, within each period.
    pub rows: Vec<GroupRow>,
    /// All rows together.
    pub total: GroupRow,
    /// What must hold.
    pub reconciliation: Reconciliation,
    /// By which factors.
    pub factors: Vec<FactorRow>,
    /// One hash of them all.
    pub factor_set: String,
    /// In things that people know.
    pub equivalents: Vec<Equivalent>,
    /// The score, where asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sci: Option<SciRow>,
    /// What else must be said.
    pub notes: Vec<String>,
}

impl LedgerReport {
    /// From groups by period and key. What `rows` must be of what was attributed, they are held to.
    pub fn new(
        scope: Scope,
        groups: &[(Period, BTreeMap<String, Group>)],
        balance: Balance,
        rows_are: Rows,
        set: Option<EquivalentSet>,
        mut notes: Vec<String>,
    ) -> Self {
        let mut rows = Vec::new();
        let mut total = Group::default();
        for (period, groups) in groups {
            let mut of_period: Vec<(Microjoules, GroupRow)> =
                groups.iter().map(|(key, group)| (group.energy(), group.row(period.clone(), key))).collect();
            of_period.sort_by(|one, other| other.0.cmp(&one.0).then_with(|| one.1.key.cmp(&other.1.key)));
            rows.extend(of_period.into_iter().map(|(_, row)| row));
            for group in groups.values() {
                total.merge(group);
            }
        }
        let factors: Vec<&Factor> = total.by_factor.values().map(|it| it.factor.factor()).collect();
        notes.extend(factor_notes(&factors));
        if let Err(error) = total.grams() {
            notes.push(format!("no sum of grams: {error}"));
        }
        if total.rerated {
            let what = if total.runs > 0 { "runs" } else { "hours" };
            notes.push(format!("some {what} were rated again when their intensity became known"));
        }
        if total.quality.is_none() {
            notes.push("no energy is recorded for that: joules and grams are unknown, not zero".to_owned());
        }
        let reconciliation = Reconciliation::new(balance, total.dynamic.0, rows_are);
        if !reconciliation.holds {
            notes.push(rows_are.why_not().to_owned());
        }
        let equivalents = match (set, total.grams()) {
            (Some(set), Ok(grams)) => equivalents::of(grams.middle, total.energy().kilowatt_hours(), set),
            _ => Vec::new(),
        };
        let whole = Period { label: None, from: scope.from.clone(), to: scope.to.clone() };
        Self {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            scope,
            rows,
            total: total.row(whole, "total"),
            reconciliation,
            factor_set: set_hash(factors.iter().copied()),
            factors: factors.into_iter().map(Into::into).collect(),
            equivalents,
            sci: None,
            notes,
        }
    }

    /// Says that standard deviations of energies are not known, which is not zero.
    pub fn without_deviations(&mut self) {
        for row in self.rows.iter_mut().chain([&mut self.total]) {
            row.stddev_uj = None;
        }
    }

    /// The rows as a table.
    pub fn grid(&self) -> Grid {
        let names = self.rows.iter().any(|row| row.name.is_some());
        let periods = self.rows.iter().any(|row| row.period.is_some());
        let runs = self.rows.iter().any(|row| row.runs.is_some());
        let held = self.rows.iter().any(|row| row.held_uj.is_some());
        let mut columns = vec![("BY", "key", false)];
        if names {
            columns.push(("NAME", "name", false));
        }
        if periods {
            columns.push(("PERIOD", "period", false));
        }
        if runs {
            columns.push(("RUNS", "runs", true));
        }
        columns.extend([
            ("CPU s", "cpu_ns", true),
            ("DYNAMIC J", "dynamic_uj", true),
            ("STATIC J", "static_uj", true),
        ]);
        if held {
            columns.push(("HELD J", "held_uj", true));
        }
        columns.extend([
            ("J, 90 %", "stddev_uj", true),
            ("gCO2e", "grams", true),
            ("gCO2e, 90 %", "grams_low grams_high", true),
            ("QUALITY", "quality", false),
        ]);
        let mut grid = Grid::new(&columns);
        grid.rows = self.rows.iter().map(|row| cells(row, (names, periods, runs, held))).collect();
        grid
    }

    /// For a terminal.
    pub fn table(&self, style: Style) -> String {
        let mut text = self.grid().table(style);
        for said in self.lines() {
            writeln!(text, "{said}").unwrap_or_default();
        }
        text
    }

    /// For a page of text.
    pub fn markdown(&self) -> String {
        let mut text = self.grid().markdown();
        text.push('\n');
        for said in self.lines() {
            writeln!(text, "- {}", markdown_escaped(&said)).unwrap_or_default();
        }
        text
    }

    /// All that is said below the rows, line by line.
    pub fn lines(&self) -> Vec<String> {
        let scope = &self.scope;
        let mut lines = vec![format!("{} to {} ({}), from {}", scope.from, scope.to, scope.tz, scope.ledger)];
        lines.push(self.total_line());
        lines.push(self.reconciliation.line());
        for factor in &self.factors {
            lines.push(format!(
                "CO2e at {} g/kWh ({} {}, {}, {}; {}), PUE {}, factor {}{}",
                significant(factor.g_per_kwh, METERED),
                factor.zone,
                factor.year,
                factor.boundary,
                factor.basis,
                factor.source,
                significant(factor.pue, 3),
                factor.hash.get(..12).unwrap_or_default(),
                if factor.assumed { "; ASSUMED: no place was given" } else { "" }
            ));
        }
        lines.extend(self.equivalents.iter().map(Equivalent::line));
        if let Some(sci) = &self.sci {
            lines.push(sci.line());
        }
        lines.extend(self.notes.iter().map(|note| format!("note: {note}")));
        // Names of places, sources and files are of others.
        lines.iter().map(|line| printable(line)).collect()
    }

    fn total_line(&self) -> String {
        let total = &self.total;
        let quality = total.quality.unwrap_or("none");
        match (total.energy(), total.grams, total.grams_low, total.grams_high) {
            (Some(energy), Some(grams), Some(low), Some(high)) => format!(
                "total {} J, {} gCO2e (90 %: {} to {}), {quality}",
                significant(energy.joules(), of_quality(quality)),
                significant(grams, 2),
                significant(low, 2),
                significant(high, 2)
            ),
            (Some(energy), ..) => format!(
                "total {} J, {quality}; grams unknown",
                significant(energy.joules(), of_quality(quality))
            ),
            _ => "total unknown".to_owned(),
        }
    }
}

/// Said where an intensity has no spread.
pub const NO_SPREAD: &str = "how far off an intensity may be is not known for some of it: there the interval of grams is of the energy alone";

fn factor_notes(factors: &[&Factor]) -> Vec<String> {
    let mut notes = Vec::new();
    if factors.iter().any(|factor| factor.intensity.assumed) {
        notes.push("no place was given for some of it: the world's average stands in, and its interval is that of the countries".to_owned());
    }
    if factors.iter().any(|factor| !factor.intensity.spread.is_known()) {
        notes.push(NO_SPREAD.to_owned());
    }
    if factors.iter().any(|factor| factor.intensity.source.contains("ODbL")) {
        notes.push("Contains information from Electricity Maps, made available under the ODbL: https://www.electricitymaps.com/methodology".to_owned());
    }
    notes
}

#[expect(clippy::cast_precision_loss, reason = "display values")]
fn cells(row: &GroupRow, (names, periods, runs, held): (bool, bool, bool, bool)) -> Vec<Cell> {
    let quality = row.quality.unwrap_or("none");
    let figures = of_quality(quality);
    let joules = |uj: Option<u64>| {
        uj.map_or_else(Cell::unknown, |uj| Cell::number(significant(Microjoules(uj).joules(), figures), uj))
    };
    let mut cells = vec![Cell::text(&row.key)];
    if names {
        cells.push(Cell::text(row.name.as_deref().unwrap_or_default()));
    }
    if periods {
        cells.push(Cell::text(row.period.as_deref().unwrap_or_default()));
    }
    if runs {
        let count = row.runs.unwrap_or(0);
        cells.push(Cell::number(count.to_string(), count));
    }
    cells.push(Cell::number(significant(row.cpu_ns as f64 / 1e9, METERED), row.cpu_ns));
    cells.push(joules(row.dynamic_uj));
    cells.push(joules(row.static_uj));
    if held {
        cells.push(joules(row.static_uj.map(|_| row.held_uj.unwrap_or(0))));
    }
    cells.push(match (row.dynamic_uj, row.stddev_uj) {
        (Some(uj), Some(stddev)) => {
            Cell::number(spread(Microjoules(uj).joules(), stddev / 1e6, quality), stddev)
        }
        _ => Cell::unknown(),
    });
    cells.push(row.grams.map_or_else(Cell::unknown, |grams| Cell::number(significant(grams, 2), grams)));
    cells.push(match (row.grams_low, row.grams_high) {
        (Some(low), Some(high)) => Cell::number(
            format!("{} to {}", significant(low, 2), significant(high, 2)),
            format!("{low} {high}"),
        ),
        _ => Cell::unknown(),
    });
    cells.push(Cell::text(quality));
    cells
}
