//! The report of `carbon calibrate`, JSON schema `carbon.calibration/1`.

use super::domain_name;
use super::figures::{METERED, interval, printable, significant, spread};
use super::table::{Style, line, wrapped};
use crate::attribution::bank::Calibration;
use crate::window::Domain;
use jiff::Timestamp;
use serde::Serialize;

/// Name and version of the schema.
pub const SCHEMA: &str = "carbon.calibration/1";

/// What bursts of load told of this machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CalibrationReport {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Name of the machine.
    pub node: String,
    /// First edge.
    pub window_start: Timestamp,
    /// Last edge.
    pub window_end: Timestamp,
    /// How CPU time was taken.
    pub accounting: &'static str,
    /// By domain of a meter.
    pub domains: Vec<DomainCalibration>,
    /// Share of all CPU time that others used beforehand.
    pub others_ratio: f64,
    /// CPU time of carbon itself.
    pub own_cpu_ns: u64,
    /// Its part of the dynamic energy meanwhile, by CPU time.
    pub own_dynamic_uj: u64,
    /// Where it is kept; `null` where it is not.
    pub state: Option<String>,
    /// What else must be said.
    pub notes: Vec<String>,
}

/// A domain; `found` is missing where the windows told nothing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DomainCalibration {
    /// What it is, such as `package`.
    pub domain: &'static str,
    /// Which one.
    pub device: String,
    /// Of the meter.
    pub quality: &'static str,
    /// The meter.
    pub source: String,
    /// What was found.
    pub found: Option<Found>,
}

/// Each number with its standard deviation; 90 % intervals of idle power as they are printed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Found {
    /// Idle power in watts.
    pub p0_w: f64,
    /// Its standard deviation.
    pub p0_stddev_w: f64,
    /// Lower end of its 90 % interval.
    pub p0_low_w: f64,
    /// Upper end of its 90 % interval.
    pub p0_high_w: f64,
    /// What leaving package idle costs, in watts.
    pub wake_w: f64,
    /// Its standard deviation.
    pub wake_stddev_w: f64,
    /// Watts of the first busy CPU.
    pub watts_per_cpu: f64,
    /// Its standard deviation.
    pub watts_per_cpu_stddev: f64,
    /// By how much they fall from the first to the last CPU, relative.
    pub bend_ratio: f64,
    /// Its standard deviation.
    pub bend_stddev_ratio: f64,
    /// Windows that it was found from.
    pub windows: u64,
}

impl Found {
    /// Whether idle power is known at all: its interval does not reach down to nothing.
    fn is_sure(&self) -> bool {
        self.p0_low_w > 0.0
    }

    /// In words. Of watts that may be nothing, no part can be told.
    fn curve(&self) -> String {
        let (low_w, _) = interval(self.watts_per_cpu, self.watts_per_cpu_stddev, "measured");
        if low_w <= 0.0 {
            return "not known: the bursts' watts per CPU may be nothing".to_owned();
        }
        format!(
            "the last CPU's average is {} % (90 %: {} %) {} the first's",
            significant(100.0 * self.bend_ratio.abs(), 2),
            spread(1.0, self.bend_stddev_ratio * 100.0, "measured"),
            if self.bend_ratio < 0.0 { "above" } else { "below" }
        )
    }
}

impl From<Calibration> for Found {
    fn from(found: Calibration) -> Self {
        let (p0_low_w, p0_high_w) = interval(found.p0_w, found.p0_stddev_w, "measured");
        Self {
            p0_w: found.p0_w,
            p0_stddev_w: found.p0_stddev_w,
            p0_low_w,
            p0_high_w,
            wake_w: found.wake_w,
            wake_stddev_w: found.wake_stddev_w,
            watts_per_cpu: found.per_cpu_w,
            watts_per_cpu_stddev: found.per_cpu_stddev_w,
            bend_ratio: found.bend_ratio,
            bend_stddev_ratio: found.bend_stddev_ratio,
            windows: found.windows,
        }
    }
}

impl DomainCalibration {
    /// Of a domain.
    pub fn new(domain: &Domain, found: Option<Calibration>) -> Self {
        Self {
            domain: domain.kind.as_str(),
            device: domain.device.clone(),
            quality: domain.quality.as_str(),
            source: domain.source.clone(),
            found: found.map(Into::into),
        }
    }
}

impl CalibrationReport {
    /// As text.
    pub fn text(&self, style: Style) -> String {
        let mut text = String::new();
        for row in &self.domains {
            let name = printable(&domain_name(row.domain, &row.device));
            let Some(found) = row.found else {
                line(&mut text, &format!("{name}: its windows tell nothing: too few, or all alike"));
                continue;
            };
            let sure = |value, stddev| {
                format!("{} W (90 %: {} W)", significant(value, METERED), spread(value, stddev, "measured"))
            };
            line(
                &mut text,
                &format!("{name}: {}, {}, {} windows", row.quality, printable(&row.source), found.windows),
            );
            line(&mut text, &format!("  idle power     {}", sure(found.p0_w, found.p0_stddev_w)));
            if !found.is_sure() {
                line(
                    &mut text,
                    "                 not identified: beside the rest of the load the bursts hardly change power; try again \
                     on an idle machine",
                );
            }
            line(&mut text, &format!("  wake cost      {}", sure(found.wake_w, found.wake_stddev_w)));
            line(
                &mut text,
                &format!("  per busy CPU   {}", sure(found.watts_per_cpu, found.watts_per_cpu_stddev)),
            );
            line(&mut text, &format!("  curve          {}", found.curve()));
        }
        #[expect(clippy::cast_precision_loss, reason = "a display value")]
        let (cpu_s, joules) = (self.own_cpu_ns as f64 / 1e9, self.own_dynamic_uj as f64 / 1e6);
        line(
            &mut text,
            &format!(
                "carbon itself: {} s of CPU time, {} J dynamic by CPU time; others used {} % of the CPUs before",
                significant(cpu_s, METERED),
                significant(joules, METERED),
                significant(100.0 * self.others_ratio, 2)
            ),
        );
        match &self.state {
            Some(state) => line(&mut text, &format!("kept in {}", printable(state))),
            None => line(&mut text, "not kept: no --state"),
        }
        for note in &self.notes {
            line(&mut text, &format!("note: {}", printable(note)));
        }
        wrapped(&text, style)
    }
}
