//! Grams by series: what each energy grew by, times the factor that was in use then.
//!
//! They begin at zero with each start of the agent, what was recovered of the time before included, and never fall while the intensity is of one kind: grams of different
//! kinds are not added, so that a change of the kind begins all of them anew, under other labels. What the ledger rates
//! again later, when the intensity of an hour has become known, stays here as it was.

use super::Sums;
use super::series::View;
use crate::carbon::Kind;
use crate::ledger::Factor;
use crate::units::Microjoules;
use std::collections::{HashMap, HashSet};

/// Grams of CO2 equivalent, and the energy up to which they are counted.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    energy: Microjoules,
    grams: f64,
}

impl Account {
    /// Takes in that the energy is now so much.
    fn grow(&mut self, energy: Microjoules, factor: &Factor) {
        self.grams += factor.grams(energy.saturating_sub(self.energy)).0;
        self.energy = energy;
    }
}

/// Grams of all that a view shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Emitted {
    /// Of [`View::rows`], in their order.
    pub rows: Vec<f64>,
    /// Of workloads without a series.
    pub other: f64,
    /// What series showed that are no more.
    pub ended: f64,
    /// Of [`View::namespaces`], in their order.
    pub namespaces: Vec<f64>,
}

/// The accounts from one view to the next.
#[derive(Debug, Default)]
pub struct Emissions {
    kind: Option<Kind>,
    rows: HashMap<String, Account>,
    other: Account,
    ended: f64,
    namespaces: HashMap<String, Account>,
}

impl Emissions {
    /// Takes in a view, and gives the grams of all that it shows; nothing where the factor is not known.
    pub fn observe(&mut self, view: &View) -> Option<Emitted> {
        let factor = view.published.factor.as_ref()?;
        let kind = factor.intensity.kind;
        let changed = self.kind.is_some_and(|before| before.addable(kind).is_err());
        if changed {
            *self = Self::default();
        } else if self.kind.is_none() {
            self.begin(view);
        }
        self.kind = Some(kind);
        // What was used by another kind of factor is in none of them.
        let begin = |energy: Microjoules| Account {
            energy: if changed { energy } else { Microjoules::ZERO },
            grams: 0.0,
        };
        let mut before = std::mem::take(&mut self.rows);
        let mut grams = Vec::with_capacity(view.rows.len());
        for row in &view.rows {
            let energy = row.sums.energy();
            let mut account = before.remove(&row.who.identity).unwrap_or_else(|| begin(energy));
            account.grow(energy, factor);
            grams.push(account.grams);
            self.rows.insert(row.who.identity.clone(), account);
        }
        self.ended += before.into_values().map(|account| account.grams).sum::<f64>();
        let other = view.other.energy();
        if changed {
            self.other = begin(other);
        }
        self.other.grow(other, factor);
        let mut namespaces = Vec::with_capacity(view.namespaces.len());
        for (namespace, sums) in &view.namespaces {
            let energy = sums.energy();
            let account = self.namespaces.entry(namespace.clone()).or_insert_with(|| begin(energy));
            account.grow(energy, factor);
            namespaces.push(account.grams);
        }
        Some(Emitted { rows: grams, other: self.other.grams, ended: self.ended, namespaces })
    }

    /// What there was before the start is in none of them.
    fn begin(&mut self, view: &View) {
        let shown: HashSet<&str> = view.rows.iter().map(|row| row.who.identity.as_str()).collect();
        for workload in view.published.begun.iter().filter(|workload| workload.who.kind != "ended") {
            let (identity, energy) = (&workload.who.identity, Sums::from(workload).energy());
            if shown.contains(identity.as_str()) {
                self.rows.insert(identity.clone(), Account { energy, grams: 0.0 });
            } else {
                self.other.energy += energy;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{DomainSums, Published, Who, WorkloadTotals};
    use crate::carbon::Intensity;
    use crate::metrics::series::Row;
    use crate::metrics::sums::{Energy, Sums};
    use crate::units::Pue;
    use std::sync::Arc;

    fn sums(uj: u64) -> Sums {
        let dynamic_energy = Microjoules(uj);
        Sums { domains: vec![Energy { dynamic_energy, ..Energy::default() }], ..Sums::default() }
    }

    fn view(zone: &str, rows: &[(&str, u64)], other: u64, namespace: u64) -> View {
        let factor = Factor::new(Intensity::of(zone).unwrap(), Pue(1.5));
        let row = |(identity, uj): &(&str, u64)| Row {
            who: Arc::new(Who { identity: (*identity).to_owned(), ..Who::default() }),
            names: super::super::Names::default(),
            sums: sums(*uj),
            quality: None,
        };
        View {
            published: Arc::new(Published { factor: Some(factor), ..Published::default() }),
            rows: rows.iter().map(row).collect(),
            other: sums(other),
            namespaces: vec![(String::new(), sums(namespace))],
            ..View::default()
        }
    }

    const KWH: u64 = 3_600_000_000_000;

    #[test]
    fn grams_grow_by_the_factor_of_their_time() {
        let (of_fr, of_de) =
            (Intensity::of("FR").unwrap().g_per_kwh.0, Intensity::of("DE").unwrap().g_per_kwh.0);
        // An agent that goes on from these, of which `gone` has no series of its own any more.
        let of = |identity: &str, kind, uj| WorkloadTotals {
            who: Arc::new(Who { identity: identity.to_owned(), kind, ..Who::default() }),
            domains: vec![DomainSums { dynamic_energy: Microjoules(uj), ..DomainSums::default() }],
            ..WorkloadTotals::default()
        };
        let begun = [("a", "unit", 5 * KWH), ("gone", "unit", 4 * KWH), ("other", "other", 3 * KWH)];
        let begun = begun.into_iter().chain([("ended", "ended", 9 * KWH)]);
        let mut start = view("FR", &[("a", 5 * KWH)], 7 * KWH, 0);
        let begun = begun.map(|(identity, kind, uj)| of(identity, kind, uj)).collect();
        start.published = Arc::new(Published { begun, ..(*start.published).clone() });
        let mut emissions = Emissions::default();
        let first = emissions.observe(&start).unwrap();
        assert_eq!((first.rows, first.other), (vec![0.0], 0.0), "what was before the start");
        let second = emissions.observe(&view("FR", &[("a", 6 * KWH), ("b", KWH)], 7 * KWH, 2 * KWH)).unwrap();
        let near =
            |one: f64, other: f64| assert!((one - other).abs() < 1e-9 * other.max(1.0), "{one}, not {other}");
        near(second.rows[0], 1.5 * of_fr);
        near(second.rows[1], 1.5 * of_fr);
        near(second.namespaces[0], 3.0 * of_fr);
        // Another place from here on: what was before is not rated again.
        let third = emissions.observe(&view("DE", &[("a", 6 * KWH)], 8 * KWH, 3 * KWH)).unwrap();
        near(third.rows[0], 1.5 * of_fr);
        near(third.ended, 1.5 * of_fr);
        near(third.other, 1.5 * of_de);
        near(third.rows.iter().sum::<f64>() + third.other + third.ended, third.namespaces[0]);
    }

    #[test]
    fn the_first_window_and_what_was_recovered_before_it_have_grams_too() {
        let first = Emissions::default().observe(&view("FR", &[("a", KWH)], KWH, 2 * KWH)).unwrap();
        assert!(first.rows[0] > 0.0);
        assert_eq!((first.rows[0], first.namespaces[0]), (first.other, 2.0 * first.other));
    }

    #[test]
    fn grams_of_another_kind_begin_anew() {
        let mut emissions = Emissions::default();
        emissions.observe(&view("FR", &[("a", 0)], 0, 0)).unwrap();
        assert!(emissions.observe(&view("FR", &[("a", KWH)], 0, KWH)).unwrap().rows[0] > 0.0);
        let zone = "US-CA";
        let kinds = [Intensity::of("FR").unwrap().kind, Intensity::of(zone).unwrap().kind];
        assert!(kinds[0].addable(kinds[1]).is_err());
        let other = emissions.observe(&view(zone, &[("a", 2 * KWH)], 0, 2 * KWH)).unwrap();
        assert_eq!((other.rows, other.namespaces), (vec![0.0], vec![0.0]));
        assert_eq!(emissions.observe(&View::default()), None, "no factor");
    }
}
