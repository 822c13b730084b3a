//! How much of each node's energy has a row, and what becomes of the rest: rows sum to what the nodes were given.

use super::super::report::NONE;
use super::super::report_args::ByArg;
use super::series::is_of_machines;
use super::{Node, STEP_S};
use crate::ledger::rows::EnergyKind;
use crate::provider::prometheus::Value;
use crate::report::reconciliation::{Counted, NOT_TOLD_APART};
use crate::units::Microjoules;
use std::collections::BTreeMap;

/// By how much a sum of a server's may be off: it is rounded here, and was made of numbers with a binary point.
const ROUNDING_UJ: u64 = 2;

/// A domain of a node.
#[derive(Debug, Default)]
struct Share {
    dynamic: Microjoules,
    idle: Microjoules,
    /// Dynamic energy that has a row.
    told: Microjoules,
    /// What the sums of ended workloads grew by: some of it may never have been seen in a series of their own.
    ended: Microjoules,
    /// How many sums were rounded.
    values: u64,
}

/// Of each node and domain.
#[derive(Debug, Default)]
pub(super) struct Shares(BTreeMap<(Node, String), Share>);

impl Shares {
    fn at(&mut self, node: &Node, domain: &str) -> &mut Share {
        self.0.entry((node.clone(), domain.to_owned())).or_default()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a node's series of this kind and domain grew by.
    pub(super) fn of_node(&mut self, node: &Node, value: &Value, energy: Microjoules) {
        let share = self.at(node, value.label("domain"));
        share.values += 1;
        match value.label("kind") {
            "dynamic" => share.dynamic += energy,
            "static" => share.idle += energy,
            _ => {}
        }
    }

    /// This has a row.
    pub(super) fn told(&mut self, node: &Node, domain: &str, kind: EnergyKind, energy: Microjoules) {
        let share = self.at(node, domain);
        share.values += 1;
        if kind == EnergyKind::Dynamic {
            share.told += energy;
        } else {
            share.idle = share.idle.saturating_sub(energy);
        }
    }

    pub(super) fn ended(&mut self, node: &Node, domain: &str, energy: Microjoules) {
        self.at(node, domain).ended += energy;
    }

    /// What has no row yet.
    pub(super) fn rest(&self, by: ByArg) -> impl Iterator<Item = (&Node, &str, EnergyKind, Microjoules)> {
        self.0
            .iter()
            .flat_map(move |((node, domain), share)| {
                let kinds = [(EnergyKind::Dynamic, share.rest(by)), (EnergyKind::Static, share.idle)];
                kinds.map(|(kind, rest)| (node, domain.as_str(), kind, rest))
            })
            .filter(|(.., rest)| *rest > Microjoules::ZERO)
    }

    /// What is known of the rows' sum.
    pub(super) fn counted(&self, by: ByArg, (start_s, end_s): (i64, i64)) -> Counted {
        let mut counted = Counted::default();
        for share in self.0.values() {
            counted.rounding_uj += share.rounding().0;
            if !is_of_machines(by) {
                counted.not_told_apart_uj += share.rest(by).0;
                // Series that begin or end within a step lose up to that step at either end.
                let steps = u64::try_from((end_s - start_s) / STEP_S).unwrap_or(1).max(1);
                counted.explained_uj += share.ended.0.saturating_add(2 * (share.dynamic.0 / steps));
            }
        }
        counted
    }
}

impl Share {
    fn rounding(&self) -> Microjoules {
        Microjoules(ROUNDING_UJ * self.values)
    }

    /// Dynamic energy without a row, where it is more than rounding.
    fn rest(&self, by: ByArg) -> Microjoules {
        let rest = self.dynamic.saturating_sub(self.told);
        if is_of_machines(by) || rest > self.rounding() { rest } else { Microjoules::ZERO }
    }
}

/// The row of what has none.
pub(super) fn key_of_rest(by: ByArg, node: &Node, domain: &str, kind: EnergyKind) -> String {
    match (by, kind) {
        (ByArg::Node, _) => node.key(),
        (ByArg::Domain, _) => domain.to_owned(),
        (_, EnergyKind::Dynamic) => NOT_TOLD_APART.to_owned(),
        (ByArg::Workload, _) => "system/idle".to_owned(),
        _ => NONE.to_owned(),
    }
}
