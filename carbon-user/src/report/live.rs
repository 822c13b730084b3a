//! What the agent measures now: JSON schema `carbon.live/1`, an event for each window.

use serde::Serialize;

/// Name and version of the schema.
pub const SCHEMA: &str = "carbon.live/1";

/// A window, with the workloads that drew most.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LiveWindow {
    /// `carbon.live/1`.
    pub schema: &'static str,
    /// Unix time of its end, in microseconds.
    pub window_end_us: i64,
    /// Its length.
    pub window_ns: u64,
    /// Name of the machine.
    pub node: String,
    /// The machine's domains.
    pub domains: Vec<LiveDomain>,
    /// Most power first.
    pub workloads: Vec<LiveWorkload>,
    /// Workloads that are not listed.
    pub left_out: usize,
}

/// A domain of the machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LiveDomain {
    /// Such as `package`.
    pub domain: &'static str,
    /// Such as `package-0`.
    pub device: String,
    /// The meter or model.
    pub source: String,
    /// Of the meter.
    pub quality: &'static str,
    /// In the last window that it could be read in; none before there was one.
    pub watts: Option<f64>,
}

/// A workload's dynamic power.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LiveWorkload {
    /// Its identity, as in the ledger.
    pub key: String,
    /// For people.
    pub name: String,
    /// Dynamic power, all domains together.
    pub watts: f64,
}

impl LiveWindow {
    /// Puts the workloads in order and leaves out those beyond `rows_max`.
    #[must_use]
    pub fn listed(mut self, rows_max: usize) -> Self {
        self.workloads
            .sort_by(|one, other| other.watts.total_cmp(&one.watts).then_with(|| one.key.cmp(&other.key)));
        self.left_out = self.workloads.len().saturating_sub(rows_max);
        self.workloads.truncate(rows_max);
        self
    }
}

/// To a tenth of a milliwatt: no meter tells more, and a second's event is half as long.
pub fn rounded(watts: f64) -> f64 {
    (watts * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_are_listed_and_the_rest_counted() {
        let of = |key: &str, watts| LiveWorkload {
            key: key.to_owned(),
            name: String::new(),
            watts: rounded(watts),
        };
        let window = LiveWindow {
            schema: SCHEMA,
            window_end_us: 0,
            window_ns: 0,
            node: String::new(),
            domains: Vec::new(),
            workloads: vec![of("/a", 0.5), of("/b", 2.000_04), of("/d", 1.0), of("/c", 1.0)],
            left_out: 0,
        };
        let live = window.listed(3);
        let shown: Vec<_> = live.workloads.iter().map(|it| (it.key.as_str(), it.watts)).collect();
        assert_eq!(shown, [("/b", 2.0), ("/c", 1.0), ("/d", 1.0)]);
        assert_eq!(live.left_out, 1);
    }
}
