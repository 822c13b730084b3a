//! Natural experiments in reports.

use super::figures::significant;
use crate::attribution::bank::ExperimentScore;
use serde::Serialize;

/// How well the latest starts and stops of workloads were predicted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ExperimentRow {
    /// How many there were in all.
    pub count: u64,
    /// Of these the latest, which the rest is of.
    pub recent: u64,
    /// Mean of the size of errors, in watts.
    pub mean_error_w: f64,
    /// The same over the mean size of the changes of power.
    pub error_ratio: f64,
    /// Share of them inside the 90 % interval of the prediction.
    pub coverage_ratio: f64,
}

impl From<ExperimentScore> for ExperimentRow {
    fn from(score: ExperimentScore) -> Self {
        Self {
            count: score.total,
            recent: score.recent,
            mean_error_w: score.mean_error_w,
            error_ratio: score.error_ratio,
            coverage_ratio: score.coverage_ratio,
        }
    }
}

impl ExperimentRow {
    /// In words.
    pub(super) fn words(row: Option<&Self>) -> String {
        let Some(row) = row else { return "none yet: no workload has started or stopped alone".to_owned() };
        format!(
            "{} starts and stops; of the latest {}: mean error {} W ({} % of the change), {} % inside the 90 % interval",
            row.count,
            row.recent,
            significant(row.mean_error_w, 2),
            significant(100.0 * row.error_ratio, 2),
            significant(100.0 * row.coverage_ratio, 3),
        )
    }
}
