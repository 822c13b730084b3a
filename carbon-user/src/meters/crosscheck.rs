//! Two ways to the same counters, compared once at the start.
//!
//! Two drivers of the kernel read the same registers, and each has its own idea of a register's unit and of which
//! processors have it. Where they disagree one of them is wrong, and nobody would notice. The second is read beside the
//! first until a second has passed, and then closed.

use super::faults::disagreement;
use super::{Edge, Meter, MeterError, MeterFinding, Reading};
use crate::clock;
use crate::units::{Microjoules, Quality};
use crate::window::Domain;
use std::rc::Rc;
use std::time::Duration;

/// Long enough that two reads some milliseconds apart are within the tolerance.
const SPAN: Duration = Duration::from_secs(1);

/// The second meter, until it has been compared.
#[derive(Debug)]
pub(super) struct CrossCheck {
    names: [&'static str; 2],
    other: Option<Box<dyn Meter>>,
    /// Places in both, of the domains that both have.
    pairs: Vec<(usize, usize, Rc<Domain>)>,
    start: Option<Start>,
    asked_ns: u64,
    outcome: Option<MeterFinding>,
}

/// Both meters' totals at the first edge at which all could be read.
#[derive(Debug)]
struct Start {
    at_ns: u64,
    /// How long the reading took: the two may have been so far apart.
    width_ns: u64,
    totals: Vec<(Microjoules, Microjoules)>,
}

impl CrossCheck {
    /// Compares `other` with `first`; nothing where they have no domain in common.
    pub(super) fn new(first: &dyn Meter, other: Box<dyn Meter>) -> Option<Self> {
        let mut pairs = Vec::new();
        for (place, domain) in first.domains().iter().enumerate() {
            let same = |it: &Rc<Domain>| it.kind == domain.kind && it.device == domain.device;
            if let Some(at) = other.domains().iter().position(same) {
                pairs.push((place, at, Rc::clone(domain)));
            }
        }
        let names = [first.name(), other.name()];
        (!pairs.is_empty()).then_some(Self {
            names,
            other: Some(other),
            pairs,
            start: None,
            asked_ns: 0,
            outcome: None,
        })
    }

    pub(super) fn outcome(&self) -> Option<&MeterFinding> {
        self.outcome.as_ref()
    }

    /// `begun_ns` is when the first meter was asked: it may have been read then, and the other not before all have been asked.
    pub(super) fn ask(&mut self, edge: &Edge<'_>, begun_ns: u64, until_ns: u64) {
        if let Some(other) = &mut self.other {
            self.asked_ns = begun_ns;
            other.ask(edge, until_ns);
        }
    }

    /// Compares with what the first meter gave at the same edge.
    pub(super) fn read(&mut self, edge: &Edge<'_>, readings: &[Result<Reading, MeterError>]) {
        let Some(other) = &mut self.other else { return };
        let others = other.read(edge);
        let total = |results: &[Result<Reading, MeterError>], place: usize| -> Option<Microjoules> {
            let reading = results.get(place)?.as_ref().ok()?;
            reading.gap.is_none().then_some(reading.total)
        };
        let pairs = self.pairs.iter();
        let totals: Option<Vec<(Microjoules, Microjoules)>> =
            pairs.map(|(one, at, _)| Some((total(readings, *one)?, total(&others, *at)?))).collect();
        let Some(totals) = totals else {
            self.start = None;
            return;
        };
        let width_ns =
            if self.asked_ns == 0 { 0 } else { clock::monotonic_ns().saturating_sub(self.asked_ns) };
        match &self.start {
            None => self.start = Some(Start { at_ns: edge.monotonic_ns, width_ns, totals }),
            Some(start) if Duration::from_nanos(edge.monotonic_ns.saturating_sub(start.at_ns)) >= SPAN => {
                let span = Duration::from_nanos(edge.monotonic_ns.saturating_sub(start.at_ns));
                let apart = Duration::from_nanos(start.width_ns.saturating_add(width_ns));
                let apart_ratio = apart.as_secs_f64() / span.as_secs_f64();
                let since = start.totals.iter().zip(&totals);
                let spans: Vec<_> = since
                    .map(|(then, now)| (now.0.saturating_sub(then.0), now.1.saturating_sub(then.1)))
                    .collect();
                self.conclude(&spans, apart_ratio);
            }
            Some(_) => {}
        }
    }

    fn conclude(&mut self, spans: &[(Microjoules, Microjoules)], apart_ratio: f64) {
        let [one, other] = self.names;
        let apart: Vec<String> = self
            .pairs
            .iter()
            .zip(spans)
            .filter_map(|((.., domain), (first, second))| {
                let said = disagreement(*first, *second, apart_ratio)?;
                Some(format!("{} {}: {said}", domain.kind.as_str(), domain.device))
            })
            .collect();
        let agree = apart.is_empty();
        let reason = if agree {
            format!("they agree on {} domains", spans.len())
        } else {
            log::warn!("{one} and {other} disagree: {}; {one} is used", apart.join("; "));
            format!("they disagree: {}", apart.join("; "))
        };
        self.outcome = Some(MeterFinding {
            name: format!("{one} against {other}"),
            chosen: false,
            quality: Quality::Measured,
            reason,
            advice: (!agree)
                .then(|| format!("take the other by --meter {other}, and report which of them is right")),
        });
        self.other = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meters::tests::Scripted;

    fn totals(uj: &[u64]) -> Vec<Result<Reading, MeterError>> {
        uj.iter().map(|uj| Ok(Reading { total: Microjoules(*uj), gap: None })).collect()
    }

    fn compare(script: &[(u64, [u64; 2], [u64; 2])]) -> Option<MeterFinding> {
        let first = Scripted::named("powercap", &["package-0", "package-1"], vec![]);
        let others = script.iter().map(|(_, _, other)| totals(other)).collect();
        let other = Scripted::named("perf", &["package-1", "package-9"], others);
        let mut check = CrossCheck::new(&first, Box::new(other)).unwrap();
        for (second, readings, _) in script {
            check.read(
                &Edge { monotonic_ns: second * 1_000_000_000, suspended_ns: 0, busy: &[] },
                &totals(readings),
            );
        }
        check.outcome().cloned()
    }

    #[test]
    fn what_both_have_is_compared_and_a_disagreement_explained() {
        let agree = compare(&[(0, [0, 0], [5_000_000, 0]), (1, [9, 30_000_000], [34_970_000, 0])]).unwrap();
        assert_eq!((&*agree.name, &*agree.reason), ("powercap against perf", "they agree on 1 domains"));
        let apart = compare(&[(0, [0, 0], [0, 0]), (1, [9, 30_000_000], [60_000_000, 0])]).unwrap();
        assert!(apart.reason.contains("package package-1: 30.000 J and 60.000 J"), "{apart:?}");
        assert!(apart.advice.unwrap().contains("--meter perf"));
        assert_eq!(compare(&[(0, [0, 0], [0, 0])]), None);
    }

    /// On a busy machine the first may be read long before the other is asked.
    #[test]
    fn what_may_have_been_used_between_the_two_readings_is_no_disagreement() {
        let compared = |apart_ns: u64| {
            let first = Scripted::named("powercap", &["package-0"], vec![]);
            let others = vec![totals(&[0]), totals(&[40_000_000])];
            let other = Scripted::named("perf", &["package-0"], others);
            let mut check = CrossCheck::new(&first, Box::new(other)).unwrap();
            for (second, uj) in [(0, 0), (1, 30_000_000)] {
                let edge = Edge { monotonic_ns: second * 1_000_000_000, suspended_ns: 0, busy: &[] };
                check.ask(&edge, clock::monotonic_ns() - apart_ns, u64::MAX);
                check.read(&edge, &totals(&[uj]));
            }
            check.outcome().unwrap().reason.clone()
        };
        assert!(compared(0).contains("they disagree"), "{}", compared(0));
        assert_eq!(compared(300_000_000), "they agree on 1 domains");
    }

    #[test]
    fn meters_of_different_things_are_not_compared() {
        let first = Scripted::named("powercap", &["package-0"], vec![]);
        let other = Scripted::named("hwmon", &["package-1"], vec![]);
        assert!(CrossCheck::new(&first, Box::new(other)).is_none());
    }
}
