//! Parts against the whole: what the meters in use count, held once against a sensor of the whole machine.
//!
//! A server's management controller knows what the power supplies draw, and the kernel shows it as the ACPI power meter or,
//! on POWER, as `System`. It is a mean over seconds in whole watts, and of nobody's share: nothing is attributed from it.
//! But parts that draw more than the whole are counted twice, or have another unit than their driver says.

use super::{Edge, Meter, MeterError, MeterFinding, Reading};
use crate::units::{Microjoules, Quality};
use std::time::Duration;

/// How long both are added up. The sensor is a mean that follows its interval late: by a quarter of this at most.
const SPAN: Duration = Duration::from_secs(4);

/// What such a sensor is from the truth and from the same instant: a quarter for a step of power that it has not followed
/// yet, and a tenth of its own.
const TOLERANCE_RATIO: f64 = 0.35;

/// The sensor of the whole, until it has been compared.
#[derive(Debug)]
pub(super) struct SumCheck {
    parts: &'static str,
    label: String,
    machine: Option<Box<dyn Meter>>,
    /// Time and totals, of the parts and of the whole, at the first edge at which all could be read.
    start: Option<(u64, Microjoules, Microjoules)>,
    outcome: Option<MeterFinding>,
}

impl SumCheck {
    /// Holds what `parts` and all meters beside it count against the one domain of `machine`.
    pub(super) fn new(parts: &'static str, machine: Box<dyn Meter>) -> Option<Self> {
        let label = machine.domains().first()?.source.clone();
        Some(Self { parts, label, machine: Some(machine), start: None, outcome: None })
    }

    pub(super) fn outcome(&self) -> Option<&MeterFinding> {
        self.outcome.as_ref()
    }

    pub(super) fn ask(&mut self, edge: &Edge<'_>, until_ns: u64) {
        if let Some(machine) = &mut self.machine {
            machine.ask(edge, until_ns);
        }
    }

    /// Compares with what the meters gave at the same edge.
    pub(super) fn read(&mut self, edge: &Edge<'_>, readings: &[Result<Reading, MeterError>]) {
        let Some(machine) = &mut self.machine else { return };
        let whole = machine.read(edge).into_iter().next();
        let whole = whole.and_then(Result::ok).filter(|reading| reading.gap.is_none());
        let parts: Option<u64> = readings
            .iter()
            .map(|result| result.as_ref().ok().filter(|reading| reading.gap.is_none()))
            .try_fold(0_u64, |sum, reading| Some(sum.saturating_add(reading?.total.0)));
        let (Some(whole), Some(parts)) = (whole, parts) else {
            self.start = None;
            return;
        };
        let now = (edge.monotonic_ns, Microjoules(parts), whole.total);
        let (at_ns, parts, whole) = *self.start.get_or_insert(now);
        if Duration::from_nanos(now.0.saturating_sub(at_ns)) >= SPAN {
            self.conclude(now.1.saturating_sub(parts), now.2.saturating_sub(whole));
        }
    }

    fn conclude(&mut self, parts: Microjoules, whole: Microjoules) {
        let fits = parts.joules() <= (1.0 + TOLERANCE_RATIO) * whole.joules();
        let figures = format!("{:.3} J of parts and {:.3} J of the machine", parts.joules(), whole.joules());
        let reason = if fits {
            format!("{figures} over the same time: the rest is what no meter has")
        } else {
            let why = "parts cannot exceed the whole: one counts twice or has another unit, or the sensor is not of all of it";
            log::warn!("{} against {}: {figures} over the same time: {why}", self.parts, self.label);
            format!("{figures} over the same time: {why}")
        };
        self.outcome = Some(MeterFinding {
            name: format!("{} against {}", self.parts, self.label),
            chosen: false,
            quality: Quality::Sampled,
            reason,
            advice: (!fits).then(|| {
                "measure the machine at its plug for a minute, and report which is right".to_owned()
            }),
        });
        self.machine = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meters::ErrorKind;
    use crate::meters::tests::Scripted;

    type Read = Result<Reading, MeterError>;

    #[expect(clippy::unnecessary_wraps, reason = "as a meter gives it")]
    fn total(uj: u64) -> Read {
        Ok(Reading { total: Microjoules(uj), gap: None })
    }

    /// Edges two seconds apart, each with the parts' readings and the machine's.
    fn compare(script: Vec<(Vec<Read>, Read)>) -> Option<MeterFinding> {
        let (parts, machine): (Vec<_>, Vec<_>) = script.into_iter().unzip();
        let machine = machine.into_iter().map(|reading| vec![reading]).collect();
        let machine = Scripted::named("hwmon power_meter power1", &["machine"], machine);
        let mut check = SumCheck::new("powercap", Box::new(machine)).unwrap();
        for (second, readings) in (0..).step_by(2).zip(parts) {
            check.read(&Edge { monotonic_ns: second * 1_000_000_000, suspended_ns: 0, busy: &[] }, &readings);
        }
        check.outcome().cloned()
    }

    #[test]
    fn parts_that_exceed_the_whole_are_told_and_the_rest_is_no_fault() {
        let of = |parts: u64, whole: u64| {
            let at = |edge: u64| (vec![total(edge * parts), total(edge * parts)], total(7 + edge * whole));
            compare((0..3).map(at).collect()).unwrap()
        };
        let fits = of(50_000_000, 150_000_000);
        assert_eq!(fits.name, "powercap against hwmon power_meter power1");
        assert!(fits.reason.starts_with("200.000 J of parts and 300.000 J of the machine"), "{fits:?}");
        assert!(!fits.chosen && fits.advice.is_none());
        assert!(of(50_000_000, 80_000_000).advice.is_none(), "a mean that lags");
        let twice = of(100_000_000, 120_000_000);
        assert!(twice.reason.contains("cannot exceed the whole") && twice.advice.is_some(), "{twice:?}");
    }

    #[test]
    fn a_reading_that_fails_begins_anew() {
        let failed = || Err(MeterError { kind: ErrorKind::Retry, message: "it hangs".to_owned() });
        let at = |edge: u64| (vec![total(edge * 10)], total(edge * 20));
        let mut script: Vec<_> = (0..5).map(at).collect();
        script[2].1 = failed();
        assert_eq!(compare(script), None, "two seconds on either side are no four");
        let mut script: Vec<_> = (0..5).map(at).collect();
        script[1].0 = vec![failed()];
        assert!(compare(script).is_some());
    }
}
