//! What clients of the agent say of their runs: what was counted, and the segments between marks.

use super::figures::{of_quality, significant};
use super::table::{joules, line, seconds};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// Segments in a report, the first ones.
pub const SEGMENTS_MAX: usize = 200;
/// Of these, in a table.
const LINES_MAX: usize = 20;

/// A part of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SegmentRow {
    /// As it was marked.
    pub name: Option<String>,
    /// When it began.
    pub start: Timestamp,
    /// How long it was.
    pub duration_ns: u64,
    /// CPU time of the run's processes in it.
    pub cpu_ns: u64,
    /// Energy caused by running.
    pub dynamic_uj: u64,
    /// Share of the static energy.
    pub static_uj: u64,
    /// What was counted in it.
    pub counts: BTreeMap<String, u64>,
}

/// Counts and segments. A run that nobody marked has no segments.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Parts {
    /// Sums by unit.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, u64>,
    /// In order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<SegmentRow>,
    /// How many more there were.
    #[serde(skip_serializing_if = "is_none")]
    pub segments_more: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks for it")]
fn is_none(count: &u64) -> bool {
    *count == 0
}

impl Parts {
    /// Lines of a table.
    pub(super) fn lines(&self, text: &mut String, dynamic_uj: u64, quality: &str) {
        let figures = of_quality(quality);
        for (unit, count) in self.counts.iter().filter(|(_, count)| **count > 0) {
            #[expect(clippy::cast_precision_loss, reason = "an energy for people to read")]
            let each = joules(dynamic_uj) / *count as f64;
            line(text, &format!("counted   {count} {unit}: {} J dynamic each", significant(each, figures)));
        }
        for segment in self.segments.iter().take(LINES_MAX) {
            let name = segment.name.as_deref().unwrap_or("without a name");
            let (time_s, used) = (seconds(segment.duration_ns), joules(segment.dynamic_uj));
            line(
                text,
                &format!(
                    "segment   {name}: {} s, {} J dynamic",
                    significant(time_s, figures),
                    significant(used, figures)
                ),
            );
        }
        let more = self.segments_more.saturating_add(self.segments.len().saturating_sub(LINES_MAX) as u64);
        if more > 0 {
            line(text, &format!("and {more} segments more"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_segments_are_told_and_bounded() {
        let segment = SegmentRow {
            name: Some("epoch 1".into()),
            start: Timestamp::UNIX_EPOCH,
            duration_ns: 2_000_000_000,
            cpu_ns: 5,
            dynamic_uj: 3_000_000,
            static_uj: 0,
            counts: BTreeMap::new(),
        };
        let parts = Parts {
            counts: BTreeMap::from([("tokens".into(), 10), ("images".into(), 0)]),
            segments: vec![segment; LINES_MAX + 2],
            segments_more: 5,
        };
        let mut text = String::new();
        parts.lines(&mut text, 25_000_000, "measured");
        assert!(
            text.starts_with(
                "counted   10 tokens: 2.500 J dynamic each\nsegment   epoch 1: 2.000 s, 3.000 J"
            ),
            "{text}"
        );
        assert!(text.ends_with("and 7 segments more\n") && text.lines().count() == LINES_MAX + 2, "{text}");
        let none = serde_json::to_value(Parts::default()).unwrap();
        assert_eq!(none, serde_json::json!({}));
    }
}
