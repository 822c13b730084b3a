//! By what the lines are sorted.

use super::tree::Line;
use std::cmp::Ordering;

/// A column that lines can be sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Column {
    /// Name.
    Name,
    /// Power in the last window.
    #[default]
    Watts,
    /// Watts of one CPU that does nothing else.
    PerCpu,
    /// CPU time in the last window.
    Cpu,
    /// Energy since the start; emissions have the same order.
    Joules,
}

impl Column {
    /// From left to right.
    pub const ALL: [Self; 5] = [Self::Name, Self::Watts, Self::PerCpu, Self::Cpu, Self::Joules];

    /// A word for the screen.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Watts => "W",
            Self::PerCpu => "W/CPU",
            Self::Cpu => "CPU",
            Self::Joules => "J",
        }
    }

    /// The one `steps` further right, round and round.
    #[must_use]
    pub fn step(self, steps: isize) -> Self {
        let place = Self::ALL.iter().position(|column| *column == self).unwrap_or(0);
        let count = Self::ALL.len().cast_signed();
        let next = (place.cast_signed() + steps).rem_euclid(count).cast_unsigned();
        Self::ALL.get(next).copied().unwrap_or_default()
    }
}

/// A column and a direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// By what.
    pub column: Column,
    /// The smallest first; of names the last.
    pub reverse: bool,
}

impl Order {
    /// Most first, names from A to Z; equal lines stand by energy since the start, then by name, so that they do not jump.
    pub fn compare(self, left: &Line, right: &Line) -> Ordering {
        let by_name = || left.label.cmp(&right.label).then_with(|| left.id.cmp(&right.id));
        let (one, other) = (&left.figures, &right.figures);
        let most_first = match self.column {
            Column::Name => by_name(),
            Column::Watts => other.energy_uj().cmp(&one.energy_uj()),
            Column::PerCpu => {
                let watts = |line: &Line| line.figures.per_cpu().map_or(-1.0, |(watts, ..)| watts);
                watts(right).total_cmp(&watts(left))
            }
            Column::Cpu => other.cpu_ns.cmp(&one.cpu_ns),
            Column::Joules => other.sum.energy_uj.cmp(&one.sum.energy_uj),
        };
        let ordered = if self.reverse { most_first.reverse() } else { most_first };
        ordered.then_with(|| other.sum.energy_uj.cmp(&one.sum.energy_uj)).then_with(by_name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_go_round() {
        assert_eq!(Column::Name.step(-1), Column::Joules);
        assert_eq!(Column::Joules.step(1), Column::Name);
        assert_eq!(Column::Watts.step(1), Column::PerCpu);
    }
}
