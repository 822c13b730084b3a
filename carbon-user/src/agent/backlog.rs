//! Minutes that could not be written yet: bounded, and without a loss of energy.

use super::minute::merged;
use crate::ledger::rows::Flush;
use std::collections::VecDeque;

/// Minutes that wait one by one; above it the two oldest become one.
pub const WAITING_MAX: usize = 60;

/// In the order of time.
#[derive(Debug, Default)]
pub struct Backlog {
    waiting: VecDeque<Flush>,
    merged: u64,
}

impl Backlog {
    /// Takes one more.
    pub fn push(&mut self, flush: Flush) {
        self.waiting.push_back(flush);
        while self.waiting.len() > WAITING_MAX {
            let (Some(one), Some(other)) = (self.waiting.pop_front(), self.waiting.pop_front()) else {
                return;
            };
            self.merged += 1;
            self.waiting.push_front(merged(one, other));
        }
    }

    /// Those that wait, the oldest first.
    pub fn waiting(&mut self) -> &[Flush] {
        self.waiting.make_contiguous()
    }

    /// All of them have been written.
    pub fn written(&mut self) -> usize {
        let count = self.waiting.len();
        self.waiting.clear();
        count
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many were put together with the next.
    pub fn merged(&self) -> u64 {
        self.merged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::carbon::Intensity;
    use crate::ledger::Factor;
    use crate::ledger::rows::{BalanceRow, DomainId, EnergyKind, EnergyRow, Workload};
    use crate::units::{CpuNanos, Microjoules, Pue, Quality};

    fn flush(number: u64) -> Flush {
        let domain = DomainId {
            domain: "package".into(),
            device: "package-0".into(),
            source: "a test".into(),
            quality: Quality::Measured,
        };
        let row = EnergyRow {
            workload: Workload { identity: format!("/w{}", number % 70), ..Workload::default() },
            domain: domain.clone(),
            kind: EnergyKind::Dynamic,
            factor: Factor::new(
                Intensity::of_unknown_place(),
                Pue(if number.is_multiple_of(2) { 1.0 } else { 2.0 }),
            ),
            quality: Quality::Measured,
            energy: Microjoules(number * 1_000 + 7),
            cpu: CpuNanos(number),
            uncertainty: crate::attribution::uncertainty::Uncertainty::default(),
        };
        let balance = BalanceRow {
            domain,
            covered_ns: 1,
            metered: row.energy + Microjoules(3),
            attributed: row.energy,
            static_energy: Microjoules(2),
            lost: Microjoules(1),
            gaps: 0,
        };
        let start_s = i64::try_from(number).unwrap() * 60;
        Flush {
            node: "n".into(),
            name: number.to_string(),
            start_s,
            rows: vec![row],
            balances: vec![balance],
        }
    }

    /// A ledger that is away for hours: what waits is bounded, and every microjoule is still there.
    #[test]
    fn what_waits_is_bounded_and_loses_nothing() {
        let mut backlog = Backlog::default();
        (0..200).for_each(|number| backlog.push(flush(number)));
        assert_eq!((backlog.len(), backlog.merged()), (WAITING_MAX, 140));
        let waiting = backlog.waiting();
        let rows: u64 = waiting.iter().flat_map(|flush| &flush.rows).map(|row| row.energy.0).sum();
        assert_eq!(rows, (0..200).map(|number| number * 1_000 + 7).sum::<u64>());
        for flush in waiting {
            let of_rows: u64 = flush.rows.iter().map(|row| row.energy.0).sum();
            let [balance] = &flush.balances[..] else { panic!("{} balances", flush.balances.len()) };
            assert_eq!(balance.attributed.0, of_rows);
            assert_eq!(balance.metered, balance.attributed + balance.static_energy + balance.lost);
        }
        assert!(waiting.windows(2).all(|pair| pair[0].start_s < pair[1].start_s));
        assert_eq!((backlog.written(), backlog.is_empty()), (WAITING_MAX, true));
    }
}
