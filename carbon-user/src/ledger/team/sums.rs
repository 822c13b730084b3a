//! Sums of posts over a time: exact, by whole joules and the microjoules beside them, so that no sum overflows.

use super::{Team, Told};
use crate::ledger::factor::{self, Factor};
use crate::ledger::sql::{Row, Value};
use crate::units::{Grams, Microjoules};
use std::collections::BTreeMap;

/// What is added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// All of it: the key is the project's id.
    All,
    /// Each experiment.
    Experiment,
    /// Each run.
    Run,
    /// Each day, in UTC: the key is its number since 1970.
    Day,
}

/// From when to when, in Unix microseconds; the end is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first instant.
    pub from_us: i64,
    /// After the last.
    pub to_us: i64,
}

impl Span {
    /// All of time.
    pub const ALL: Self = Self { from_us: i64::MIN, to_us: i64::MAX };
}

/// A sum.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TeamSum {
    /// How many posts.
    pub posts: u64,
    /// Their durations.
    pub duration_ns: u64,
    /// All energy.
    pub energy: Microjoules,
    /// The processors'.
    pub cpu: Microjoules,
    /// The accelerators'.
    pub gpu: Microjoules,
    /// The memory's.
    pub ram: Microjoules,
    /// CO2 equivalent, in g: energy of each factor times that factor.
    pub grams: f64,
}

impl TeamSum {
    /// Adds another.
    pub fn merge(&mut self, other: &Self) {
        self.posts = self.posts.saturating_add(other.posts);
        self.duration_ns = self.duration_ns.saturating_add(other.duration_ns);
        self.energy += other.energy;
        self.cpu += other.cpu;
        self.gpu += other.gpu;
        self.ram += other.ram;
        self.grams += other.grams;
    }

    fn add(&mut self, row: &Row) {
        let amount = |column: usize| {
            let million = row.amount(column).saturating_mul(1_000_000);
            million.saturating_add(row.amount(column + 1))
        };
        let energy = Microjoules(amount(4));
        self.posts = self.posts.saturating_add(row.amount(1));
        self.duration_ns = self.duration_ns.saturating_add(amount(2));
        self.energy += energy;
        self.cpu += Microjoules(amount(6));
        self.gpu += Microjoules(amount(8));
        self.ram += Microjoules(amount(10));
        if row.opt_int(12).is_some() {
            let Grams(grams) = Factor::from_row(row, 13).grams(energy);
            self.grams += grams;
        }
    }
}

impl Team<'_> {
    /// Sums of a project's posts, or of one of its experiments, or of one run.
    pub fn sums(
        &mut self,
        (project, experiment, run): (&str, Option<&str>, Option<&str>),
        span: Span,
        by: By,
    ) -> Told<BTreeMap<String, TeamSum>> {
        let mut values: Vec<Value> = vec![project.into(), span.from_us.into(), span.to_us.into()];
        let mut wanted = "posted_run.project = $1 AND post.at_us >= $2 AND post.at_us < $3".to_owned();
        for (column, value) in [("posted_run.experiment", experiment), ("post.run", run)] {
            if let Some(value) = value {
                values.push(value.into());
                wanted = format!("{wanted} AND {column} = ${}", values.len());
            }
        }
        let key = match by {
            By::All => "posted_run.project",
            By::Experiment => "posted_run.experiment",
            By::Run => "post.run",
            // Whole numbers are divided towards zero; posts are of after 1970.
            By::Day => "CAST(post.at_us / 86400000000 AS TEXT)",
        };
        let parts: Vec<String> = ["duration_ns", "energy_uj", "cpu_uj", "gpu_uj", "ram_uj"]
            .iter()
            .map(|column| {
                format!(
                    "CAST(SUM(post.{column} / 1000000) AS BIGINT) AS {column}_m, \
                     CAST(SUM(post.{column} % 1000000) AS BIGINT) AS {column}_r"
                )
            })
            .collect();
        let columns: Vec<String> =
            factor::COLUMNS.split(", ").map(|column| format!("factor.{column}")).collect();
        let sql = format!(
            "SELECT summed.k, summed.n, summed.duration_ns_m, summed.duration_ns_r, summed.energy_uj_m, \
             summed.energy_uj_r, summed.cpu_uj_m, summed.cpu_uj_r, summed.gpu_uj_m, summed.gpu_uj_r, summed.ram_uj_m, \
             summed.ram_uj_r, summed.f, {} FROM (SELECT {key} AS k, post.factor AS f, COUNT(*) AS n, {} FROM post \
             JOIN posted_run ON posted_run.run = post.run WHERE {wanted} GROUP BY k, f) AS summed \
             LEFT JOIN factor ON factor.id = summed.f ORDER BY summed.k",
            columns.join(", "),
            parts.join(", ")
        );
        let mut sums: BTreeMap<String, TeamSum> = BTreeMap::new();
        for row in self.ledger.database.query(&sql, &values)? {
            sums.entry(row.text(0)).or_default().add(&row);
        }
        Ok(sums)
    }
}
