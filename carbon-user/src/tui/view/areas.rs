//! Where everything is, at any size of the terminal: what does not fit is left out, the least useful first.

use crate::tui::order::Column;
use ratatui::layout::{Rect, Size};

/// Parts of the terminal, from top to bottom; those without a row are not shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Areas {
    /// The machine.
    pub head: Rect,
    /// Its power over time.
    pub chart: Rect,
    /// Names of the columns.
    pub header: Rect,
    /// The table.
    pub rows: Rect,
    /// Details of the selected line.
    pub details: Rect,
    /// Meters and quality.
    pub meters: Rect,
    /// Keys.
    pub foot: Rect,
}

/// Rows of the curve of the machine, and the height from which there is room for it.
const CHART: (u16, u16) = (5, 32);
/// Rows of the details.
const DETAILS: u16 = 9;

/// Of a terminal of this size.
pub fn areas(size: Size, details: bool) -> Areas {
    let height = size.height;
    let if_high = |rows: u16, least: u16| if height >= least { rows } else { 0 };
    let head = if_high(1, 3);
    let chart = if_high(CHART.0, CHART.1);
    let header = if_high(1, 4);
    let foot = if_high(1, 8);
    let meters = if_high(1, 5) + if_high(1, 12);
    let around = head + chart + header + meters + foot;
    let details = if details { DETAILS.min(height.saturating_sub(around) / 2) } else { 0 };
    let rows = height.saturating_sub(around + details);
    let mut y = 0;
    let mut next = |rows: u16| {
        let area = Rect { x: 0, y, width: size.width, height: rows };
        y += rows;
        area
    };
    Areas {
        head: next(head),
        chart: next(chart),
        header: next(header),
        rows: next(rows),
        details: next(details),
        meters: next(meters),
        foot: next(foot),
    }
}

/// What a column shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shows {
    /// Name.
    Name,
    /// Power in the last window.
    Watts,
    /// Watts of one CPU that does nothing else.
    PerCpu,
    /// Its 90 % interval.
    Interval,
    /// CPU time in the last window, in percent of one CPU.
    Cpu,
    /// Energy since the start.
    Joules,
    /// CO2 equivalent since the start.
    Grams,
    /// Power in the windows before.
    Curve,
    /// The worst of what it is made of.
    Quality,
}

impl Shows {
    /// The head of the column.
    pub fn title(self) -> &'static str {
        match self {
            Self::Name => "WORKLOAD",
            Self::Watts => "W",
            Self::PerCpu => "W/CPU",
            Self::Interval => "90 %",
            Self::Cpu => "CPU %",
            Self::Joules => "J",
            Self::Grams => "gCO2e",
            Self::Curve => "W, BEFORE",
            Self::Quality => "QUALITY",
        }
    }

    /// What its head sorts by.
    pub fn sorts(self) -> Option<Column> {
        match self {
            Self::Name => Some(Column::Name),
            Self::Watts => Some(Column::Watts),
            Self::PerCpu | Self::Interval => Some(Column::PerCpu),
            Self::Cpu => Some(Column::Cpu),
            Self::Joules | Self::Grams => Some(Column::Joules),
            Self::Curve | Self::Quality => None,
        }
    }

    /// Whether it stands at the left of its column.
    pub fn is_left(self) -> bool {
        matches!(self, Self::Name | Self::Curve | Self::Quality)
    }
}

/// A column and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// What it shows.
    pub kind: Shows,
    /// From the left.
    pub x: u16,
    /// Without the blank behind it.
    pub width: u16,
}

/// Columns behind the name: width, and how soon there is room for one.
const WIDTHS: [(Shows, u16, usize); 8] = [
    (Shows::Watts, 7, 0),
    (Shows::PerCpu, 6, 1),
    (Shows::Interval, 11, 4),
    (Shows::Cpu, 6, 6),
    (Shows::Joules, 7, 2),
    (Shows::Grams, 8, 5),
    (Shows::Curve, 10, 3),
    (Shows::Quality, 8, 7),
];
/// Names, where there is nothing but watts beside them, where there is more, and at most before curves grow.
const NAME: (u16, u16, u16) = (6, 24, 44);
/// A curve is no wider than the windows that are kept.
const CURVE_MAX: u16 = 120;

/// From left to right.
pub fn columns(width: u16) -> Vec<Placed> {
    let mut chosen: Vec<Shows> = Vec::new();
    let mut used = 0;
    for rank in 0..WIDTHS.len() {
        let Some((kind, columns, _)) = WIDTHS.iter().find(|(_, _, at)| *at == rank) else { continue };
        let name = if rank == 0 { NAME.0 } else { NAME.1 };
        if used + columns + 1 + name > width {
            break;
        }
        used += columns + 1;
        chosen.push(*kind);
    }
    let rest = width.saturating_sub(used);
    let name = rest.min(NAME.2.max(width / 4));
    let curve_more = if chosen.contains(&Shows::Curve) { rest - name } else { 0 };
    let name = if chosen.contains(&Shows::Curve) { name } else { rest };
    let mut placed = vec![Placed { kind: Shows::Name, x: 0, width: name }];
    let mut x = name + 1;
    for (kind, columns, _) in WIDTHS.iter().filter(|(kind, ..)| chosen.contains(kind)) {
        let grows = if *kind == Shows::Curve { curve_more.min(CURVE_MAX - columns) } else { 0 };
        placed.push(Placed { kind: *kind, x, width: columns + grows });
        x += columns + grows + 1;
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_most_useful_columns_stay_longest() {
        let of = |width| columns(width).into_iter().map(|column| column.kind.title()).collect::<Vec<_>>();
        assert_eq!(of(5), ["WORKLOAD"]);
        assert_eq!(of(20), ["WORKLOAD", "W"]);
        assert_eq!(of(60), ["WORKLOAD", "W", "W/CPU", "J", "W, BEFORE"]);
        assert_eq!(of(80).len(), 7);
        assert_eq!(of(200).len(), 9);
    }

    proptest! {
        #[test]
        fn nothing_overlaps_or_sticks_out(width in 1_u16..400, height in 1_u16..200, details: bool) {
            let mut x = 0;
            for column in columns(width) {
                prop_assert!(column.x >= x);
                x = column.x + column.width;
            }
            prop_assert!(x <= width);
            let size = Size { width, height };
            let areas = areas(size, details);
            let heights = [areas.head, areas.chart, areas.header, areas.rows, areas.details, areas.meters, areas.foot];
            prop_assert_eq!(heights.iter().map(|area| area.height).sum::<u16>(), height);
            prop_assert!(areas.rows.height > 0);
        }
    }
}
