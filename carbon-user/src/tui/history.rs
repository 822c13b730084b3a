//! What the last windows brought, workload by workload: the rows that are shown and their curves.
//!
//! Bounded: a workload that used nothing in any of the windows that are kept is forgotten, unless somebody looks at it.

use crate::heap;
use crate::report::top::{Top, WorkloadRow};
use std::collections::{HashMap, VecDeque};

/// Windows that a curve shows at most.
pub const WINDOWS: usize = 120;

/// Which workload: what its rows of two windows have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// Tasks of a cgroup.
    Cgroup(u64),
    /// Kernel threads in a cgroup.
    Kernel(u64),
    /// Those that did not fit.
    Overflow,
}

impl Key {
    /// Of a row.
    pub fn of(row: &WorkloadRow) -> Self {
        match (row.cgroup_id, row.kind) {
            (None, _) => Self::Overflow,
            (Some(id), "kernel") => Self::Kernel(id),
            (Some(id), _) => Self::Cgroup(id),
        }
    }
}

/// Sums since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sum {
    /// All kinds of energy.
    pub energy_uj: u64,
    /// CO2 equivalent of it.
    pub grams: f64,
}

/// A window and what was summed until its end.
#[derive(Clone, Debug)]
pub struct Update {
    /// The window.
    pub top: Top,
    /// Of its workloads, in their order.
    pub sums: Vec<Sum>,
    /// Of all there ever were.
    pub sum: Sum,
    /// Length of all windows together.
    pub since_start_ns: u64,
}

/// A workload.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its row of the last window in which it ran.
    pub row: WorkloadRow,
    /// Since the start.
    pub sum: Sum,
    /// The worst of what was summed.
    pub sum_quality: &'static str,
    /// Whether it has a row in the last window.
    pub runs: bool,
    /// Windows since it had one.
    pub rests: usize,
    /// Watts, the oldest first; `None` where energy was not known. The last is of the last window.
    pub watts: VecDeque<Option<f64>>,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The last window, without its workloads.
    pub last: Option<Update>,
    /// Its workloads, and those before that a curve still shows.
    pub series: HashMap<Key, Series>,
    /// Watts of the machine, as a workload's.
    pub watts: VecDeque<Option<f64>>,
    /// CPU time of the workloads in the last window.
    pub cpu_ns: u64,
    /// Workloads that are not forgotten: one or two that are looked at.
    pub keep: Vec<Key>,
}

impl History {
    /// Takes in a window.
    pub fn add(&mut self, mut update: Update) {
        let rows = std::mem::take(&mut update.top.workloads);
        let sums = std::mem::take(&mut update.sums);
        let known = is_known(&update.top);
        let seconds = nanoseconds(update.top.duration_ns);
        let watts = |uj: u64| (known && seconds > 0.0).then(|| joules(uj) / seconds);
        for series in self.series.values_mut() {
            series.runs = false;
            series.rests += 1;
            push(&mut series.watts, watts(0));
        }
        self.cpu_ns = rows.iter().map(|row| row.cpu_ns).sum();
        for (row, sum) in rows.into_iter().zip(sums) {
            let now = watts(row.energy_uj());
            if let Some(series) = self.series.get_mut(&Key::of(&row)) {
                if let Some(last) = series.watts.back_mut() {
                    *last = now;
                }
                series.sum_quality = worse(series.sum_quality, row.quality);
                (series.row, series.sum, series.runs, series.rests) = (row, sum, true, 0);
            } else {
                let (watts, sum_quality) = (VecDeque::from([now]), row.quality);
                let series = Series { row, sum, sum_quality, runs: true, rests: 0, watts };
                self.series.insert(Key::of(&series.row), series);
            }
        }
        self.series.retain(|key, series| {
            // Where no energy is known, what has not run for long used nothing all the same.
            let used = || series.watts.iter().any(|watts| watts.is_none_or(|watts| watts > 0.0));
            series.runs || self.keep.contains(key) || (series.rests < WINDOWS && used())
        });
        heap::fit(&mut self.series);
        push(&mut self.watts, watts(update.top.domains.iter().map(|domain| domain.metered_uj).sum()));
        self.last = Some(update);
    }
}

/// The one of two qualities that promises less.
pub fn worse(one: &'static str, other: &'static str) -> &'static str {
    let rank =
        |quality: &str| ["modelled", "sampled"].iter().position(|known| *known == quality).unwrap_or(2);
    if rank(other) < rank(one) { other } else { one }
}

/// Whether there is any energy to speak of: what no domain gave is unknown, not zero.
pub fn is_known(top: &Top) -> bool {
    top.domains.iter().any(|domain| domain.metered_uj > 0)
}

fn push(watts: &mut VecDeque<Option<f64>>, value: Option<f64>) {
    if watts.len() == WINDOWS {
        watts.pop_front();
    }
    watts.push_back(value);
}

/// Several curves as one, as long as the longest; unknown where one of them is.
pub fn added<'a>(all: impl Iterator<Item = &'a VecDeque<Option<f64>>>) -> Vec<Option<f64>> {
    let mut newest_first: Vec<Option<f64>> = Vec::new();
    for watts in all {
        for (place, value) in watts.iter().rev().enumerate() {
            match newest_first.get_mut(place) {
                Some(sum) => *sum = sum.zip(*value).map(|(sum, value)| sum + value),
                None => newest_first.push(*value),
            }
        }
    }
    newest_first.reverse();
    newest_first
}

/// Seconds.
#[expect(clippy::cast_precision_loss, reason = "a display value")]
pub fn nanoseconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// Joules.
#[expect(clippy::cast_precision_loss, reason = "a display value")]
pub fn joules(uj: u64) -> f64 {
    uj as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::samples::{top, workload};

    fn update(rows: Vec<WorkloadRow>) -> Update {
        let sums = rows.iter().map(|row| Sum { energy_uj: row.energy_uj(), grams: 0.0 }).collect();
        let mut top = top();
        top.workloads = rows;
        Update { top, sums, sum: Sum::default(), since_start_ns: 1_000_000_000 }
    }

    #[test]
    fn a_curve_has_zero_where_nothing_ran_and_nothing_where_nothing_is_known() {
        let mut history = History::default();
        history.add(update(vec![workload(1, "/a", 2_000_000)]));
        history.add(update(vec![]));
        let mut blind = update(vec![workload(1, "/a", 0)]);
        blind.top.domains.iter_mut().for_each(|domain| domain.metered_uj = 0);
        history.add(blind);
        assert_eq!(history.series[&Key::Cgroup(1)].watts, [Some(2.0), Some(0.0), None]);
        assert_eq!(history.watts.back(), Some(&None));
    }

    #[test]
    fn a_sum_is_as_good_as_the_worst_of_its_windows() {
        let mut history = History::default();
        for quality in ["measured", "modelled", "measured"] {
            history.add(update(vec![WorkloadRow { quality, ..workload(1, "/a", 2_000_000) }]));
        }
        let series = &history.series[&Key::Cgroup(1)];
        assert_eq!((series.row.quality, series.sum_quality), ("measured", "modelled"));
    }

    #[test]
    fn what_used_nothing_for_long_is_forgotten() {
        let mut history = History::default();
        history.add(update(vec![workload(1, "/a", 2_000_000), workload(2, "/b", 1)]));
        for _ in 0..WINDOWS - 1 {
            history.add(update(vec![workload(2, "/b", 1)]));
        }
        assert_eq!(history.series.len(), 2);
        history.add(update(vec![workload(2, "/b", 1)]));
        assert_eq!(history.series.keys().collect::<Vec<_>>(), [&Key::Cgroup(2)]);
        assert_eq!(history.series[&Key::Cgroup(2)].watts.len(), WINDOWS);
    }

    #[test]
    fn what_has_not_run_for_long_is_forgotten_where_no_energy_is_known() {
        let mut history = History::default();
        for id in 1..=2 * WINDOWS as u64 {
            let mut blind = update(vec![workload(id, "/a", 0)]);
            blind.top.domains.iter_mut().for_each(|domain| domain.metered_uj = 0);
            history.add(blind);
        }
        assert_eq!(history.series.len(), WINDOWS);
    }

    #[test]
    fn a_burst_leaves_no_room_behind() {
        let mut history = History::default();
        history.add(update((1..=20_000).map(|id| workload(id, "/a", 1)).collect()));
        for _ in 0..WINDOWS {
            history.add(update(vec![workload(1, "/a", 1)]));
        }
        assert_eq!(history.series.len(), 1);
        assert!(history.series.capacity() < 4_000, "{}", history.series.capacity());
    }

    #[test]
    fn what_is_looked_at_is_not_forgotten() {
        let mut history = History { keep: vec![Key::Cgroup(1)], ..History::default() };
        history.add(update(vec![workload(1, "/a", 2_000_000)]));
        for _ in 0..2 * WINDOWS {
            history.add(update(vec![]));
        }
        assert!(!history.series[&Key::Cgroup(1)].runs);
        history.keep.clear();
        history.add(update(vec![]));
        assert!(history.series.is_empty());
    }

    #[test]
    fn curves_are_added_by_their_ends() {
        let long = VecDeque::from([Some(1.0), Some(2.0), None]);
        let short = VecDeque::from([Some(5.0), Some(1.0)]);
        assert_eq!(added([&long, &short].into_iter()), [Some(1.0), Some(7.0), None]);
    }
}
