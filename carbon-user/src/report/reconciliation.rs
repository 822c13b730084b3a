//! Whether a report's rows are what was attributed, and that what was metered: the line that says so.

use super::figures::significant;
use crate::ledger::query::Balance;
use crate::units::Microjoules;
use serde::Serialize;
use std::cmp::Ordering;

/// The row of energy that is known of a node, but not whose it was.
pub const NOT_TOLD_APART: &str = "(not told apart)";

/// How far sums of an engine's counters may be from what was attributed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// By rounding.
    pub rounding_uj: u64,
    /// In the row [`NOT_TOLD_APART`].
    pub not_told_apart_uj: u64,
    /// How much may be in that row: what ended unseen, and the ends of the time.
    pub explained_uj: u64,
}

impl Counted {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            rounding_uj: self.rounding_uj.saturating_add(other.rounding_uj),
            not_told_apart_uj: self.not_told_apart_uj.saturating_add(other.not_told_apart_uj),
            explained_uj: self.explained_uj.saturating_add(other.explained_uj),
        }
    }
}

/// What rows are of that which was attributed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// All of it, to the microjoule.
    All,
    /// A part, such as runs.
    Part,
    /// All of it, from counters.
    Counted(Counted),
}

impl Rows {
    /// What is wrong where they do not agree.
    pub(super) fn why_not(self) -> &'static str {
        match self {
            Self::Counted(_) => {
                "the rows are not what was attributed: scrapes or series are missing, or are there twice; see docs/fleet.md"
            }
            Self::All | Self::Part => "the parts are not what was metered: see \"carbon ledger verify\"",
        }
    }

    fn agree(self, rows_uj: u64, attributed_uj: u64) -> bool {
        match self {
            Self::All => rows_uj == attributed_uj,
            Self::Part => true,
            Self::Counted(it) => {
                rows_uj.abs_diff(attributed_uj) <= it.rounding_uj && it.not_told_apart_uj <= it.explained_uj
            }
        }
    }
}

/// metered = attributed + static + lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Reconciliation {
    /// What meters showed.
    pub metered_uj: u64,
    /// Given to workloads.
    pub attributed_uj: u64,
    /// By idle power.
    pub static_uj: u64,
    /// Given to nobody.
    pub lost_uj: u64,
    /// Dynamic energy of the rows of this report.
    pub rows_uj: u64,
    /// Of the rows: what is known of the nodes, but not whose it was. Only where counters of an engine were added up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_told_apart_uj: Option<u64>,
    /// Whether the parts are the whole, to the microjoule; of an engine's counters, to their rounding, and whether what is not
    /// told apart is no more than what ended unseen and the ends of the time explain.
    pub holds: bool,
}

impl Reconciliation {
    /// Of these rows.
    pub fn new(balance: Balance, rows_uj: u64, rows: Rows) -> Self {
        Self {
            metered_uj: balance.metered_uj,
            attributed_uj: balance.attributed_uj,
            static_uj: balance.static_uj,
            lost_uj: balance.lost_uj,
            rows_uj,
            not_told_apart_uj: match rows {
                Rows::Counted(counted) => Some(counted.not_told_apart_uj),
                Rows::All | Rows::Part => None,
            },
            holds: balance.holds() && rows.agree(rows_uj, balance.attributed_uj),
        }
    }

    /// In words.
    pub fn line(&self) -> String {
        let it = self;
        let joules = |uj: u64| format!("{:.6}", Microjoules(uj).joules());
        #[expect(clippy::cast_precision_loss, reason = "a share that is shown")]
        let share = |uj: u64| {
            let percent = uj as f64 / it.attributed_uj.max(1) as f64 * 100.0;
            format!("{} J ({} %)", joules(uj), significant(percent, 2))
        };
        let said = match it.rows_uj.cmp(&it.attributed_uj) {
            // Of counters, rounding.
            _ if it.holds && it.not_told_apart_uj.is_some() => String::new(),
            Ordering::Less => format!(", {} are in no row", share(it.attributed_uj - it.rows_uj)),
            Ordering::Greater => format!(", {} too much", share(it.rows_uj - it.attributed_uj)),
            Ordering::Equal => String::new(),
        };
        let apart = it.not_told_apart_uj.filter(|uj| *uj > 0);
        let apart = apart.map_or(String::new(), |uj| format!(", {} of which are not told apart", share(uj)));
        format!(
            "metered {} J = attributed {} + static {} + lost {}; these rows have {} of the attributed{apart}{said}: {}",
            joules(it.metered_uj),
            joules(it.attributed_uj),
            joules(it.static_uj),
            joules(it.lost_uj),
            joules(it.rows_uj),
            if it.holds { "reconciled" } else { "NOT RECONCILED" }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(rows_uj: u64, rows: Rows) -> String {
        let balance =
            Balance { metered_uj: 1_200, attributed_uj: 1_000, static_uj: 200, ..Balance::default() };
        let line = Reconciliation::new(balance, rows_uj, rows).line();
        line.split_once("these rows have ").unwrap().1.to_owned()
    }

    #[test]
    fn what_is_in_no_row_is_said() {
        let counted = |not_told_apart_uj, explained_uj| {
            Rows::Counted(Counted { rounding_uj: 3, not_told_apart_uj, explained_uj })
        };
        let part = "0.000250 of the attributed, 0.000750 J (75 %) are in no row: reconciled";
        assert_eq!(line(250, Rows::Part), part);
        assert_eq!(line(250, Rows::All), part.replace("reconciled", "NOT RECONCILED"));
        assert_eq!(line(250, counted(0, 0)), part.replace("reconciled", "NOT RECONCILED"));
        assert_eq!(line(1_000, Rows::All), "0.001000 of the attributed: reconciled");
        assert_eq!(line(998, counted(0, 0)), "0.000998 of the attributed: reconciled");
        let more = "0.001100 of the attributed, 0.000100 J (10 %) too much: NOT RECONCILED";
        assert_eq!(line(1_100, counted(0, 0)), more);
        let apart = "0.001000 of the attributed, 0.000100 J (10 %) of which are not told apart: reconciled";
        assert_eq!(line(1_000, counted(100, 100)), apart);
        assert_eq!(line(1_000, counted(100, 99)), apart.replace("reconciled", "NOT RECONCILED"));
    }
}
