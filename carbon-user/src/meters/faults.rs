//! What is known of a domain's faults: one line in the log when one begins, one when it ends, and counts.

use super::{ErrorKind, Gap, MeterError, Reading};
use crate::units::Microjoules;
use crate::window::Domain;
use std::time::Duration;

/// Faults of one domain, since the meters were opened.
#[derive(Clone, Debug, Default)]
pub struct DomainFaults {
    /// Times that it could not be read, however long each lasted.
    pub faults: u64,
    /// Times that it came back.
    pub recoveries: u64,
    /// Values that cannot be true: more than the device can draw in the time, or less than before without a wrap.
    pub impossible: u64,
    /// Since when it cannot be read, and why.
    failing: Option<(u64, MeterError)>,
}

impl DomainFaults {
    /// Takes note of what a read gave.
    pub(super) fn observe(&mut self, domain: &Domain, at_ns: u64, result: &Result<Reading, MeterError>) {
        match (result, &self.failing) {
            (Err(error), None) => {
                self.faults += 1;
                log::warn!("{} gives no energy from here on: {error}", domain.source);
                self.failing = Some((at_ns, error.clone()));
            }
            (Ok(reading), Some((since_ns, _))) => {
                self.recoveries += 1;
                let lasted = Duration::from_nanos(at_ns.saturating_sub(*since_ns));
                let energy = match reading.gap {
                    Some(gap) => format!("is lost in part: {gap}"),
                    None => "is in the window that ends here".to_owned(),
                };
                log::warn!(
                    "{} is read again after {lasted:.1?}: its energy since then {energy}",
                    domain.source
                );
                self.failing = None;
                self.impossible += u64::from(reading.gap.is_some());
            }
            (Ok(Reading { gap: Some(gap @ Gap::Suspended), .. }), None) => {
                self.impossible += 1;
                log::warn!("{} may lack energy of this window: {gap}", domain.source);
            }
            (Ok(Reading { gap: Some(gap), .. }), None) => {
                self.impossible += 1;
                log::warn!(
                    "{} shows what cannot be true: {gap}; energy of this window is lost",
                    domain.source
                );
            }
            (Ok(_), None) | (Err(_), Some(_)) => {}
        }
    }

    /// Why nothing is taken from it any more, if that is so.
    pub(super) fn off(&self) -> Option<&MeterError> {
        self.failing.as_ref().map(|(_, error)| error).filter(|error| error.kind == ErrorKind::Fatal)
    }
}

/// Largest share by which two meters of the same may differ: 15.3 uJ and 2^-16 J, the units that two drivers of the kernel
/// give to the same memory counter, are 0.27 % apart; power is not the same all the time.
const AGREEMENT_RATIO: f64 = 0.02;

/// What the units of the counters may hide.
const AGREEMENT_MIN: Microjoules = Microjoules(50_000);

/// How two meters of the same differ over a span, in words; nothing where they agree. `apart_ratio` is the part of the span
/// that their readings may have been apart.
pub(super) fn disagreement(one: Microjoules, other: Microjoules, apart_ratio: f64) -> Option<String> {
    let apart = Microjoules(one.0.abs_diff(other.0));
    let most = one.max(other);
    if apart <= AGREEMENT_MIN || apart.joules() <= (AGREEMENT_RATIO + apart_ratio) * most.joules() {
        return None;
    }
    let why = if one == Microjoules::ZERO || other == Microjoules::ZERO {
        "one of them stands still"
    } else {
        "their drivers take the counter's unit for a different one, or one of them is not of this device"
    };
    Some(format!("{:.3} J and {:.3} J over the same time: {why}", one.joules(), other.joules()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meters_agree_within_their_units() {
        let joules = |joules: f64| Microjoules::from_joules(joules);
        assert_eq!(disagreement(joules(10.0), joules(10.027), 0.0), None);
        assert_eq!(disagreement(joules(0.0), joules(0.04), 0.0), None);
        assert_eq!(
            disagreement(joules(10.0), joules(10.9), 0.1),
            None,
            "read late by up to a tenth of the span"
        );
        assert!(disagreement(joules(10.0), joules(20.0), 0.1).unwrap().contains("unit"));
        assert!(disagreement(joules(10.0), joules(0.0), 0.0).unwrap().ends_with("stands still"));
    }
}
