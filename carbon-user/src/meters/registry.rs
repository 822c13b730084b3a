//! Which meters there are, which of them are used, and what becomes of their faults.
//!
//! A new meter is one file with a [`Source`], and its line in `SOURCES`. Of the meters of the processor the first that
//! can be read is used and no other, so that no joule counts twice; meters of other devices are used beside it.

use super::cpu_model::CpuModel;
use super::cpu_power::CpuPower;
use super::crosscheck::CrossCheck;
use super::faults::DomainFaults;
use super::hwmon::NamedSensor;
use super::lane::{PATIENCE, deadline_ns};
use super::sumcheck::SumCheck;
use super::{DeviceUse, Edge, Mark, Meter, MeterError, MeterFinding, PowerLimits, Reading};
use crate::clock;
use crate::sysroot::SysRoot;
use crate::topology::Topology;
use crate::units::{PackageId, Quality, Watts};
use crate::window::{Domain, DomainKind};
use std::rc::Rc;

/// All meters but the model, the best first.
const SOURCES: &[Source] =
    &[super::powercap::SOURCE, super::perf::SOURCE, super::hwmon::SOURCE, super::nvml::SOURCE];

/// What a meter measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Packages and their memory: one such meter is used.
    Processor,
    /// Devices that no other meter has: each such meter is used.
    Device,
}

/// A kind of meter.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// Short name, as in `--meter`.
    pub name: &'static str,
    /// What it measures.
    pub role: Role,
    /// Looks for it.
    pub open: fn(&Ground<'_>) -> Found,
}

/// What a meter may know of the machine when it is opened.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    /// Where its files are.
    pub root: &'a SysRoot,
    /// Packages.
    pub topology: &'a Topology,
    /// What the processor is likely to draw.
    pub power: &'a CpuPower,
    /// Sensors of hwmon that were named.
    pub sensors: &'a [NamedSensor],
}

impl Ground<'_> {
    /// Idle power of one of `dies` dies of a package, by the table.
    pub fn idle_of_die(&self, package: PackageId, dies: usize) -> Watts {
        let threads = self.topology.online.get(usize::from(package.0)).copied().unwrap_or(0);
        Watts(self.power.idle(threads).0 / f64::from(u32::try_from(dies).unwrap_or(1).max(1)))
    }
}

/// What looking for a meter gave.
#[derive(Debug)]
pub struct Found {
    /// It, if it can be used.
    pub meter: Option<Box<dyn Meter>>,
    /// The meter as a whole first, then its domains. Never empty.
    pub findings: Vec<MeterFinding>,
    /// The hardware has it, whether it can be used or not.
    pub present: bool,
}

impl Found {
    /// There is no such meter.
    pub fn absent(finding: MeterFinding) -> Self {
        Self { meter: None, findings: vec![finding], present: false }
    }

    /// It is left out for another one.
    fn leave_out(&mut self, why: &str) {
        self.meter = None;
        for finding in self.findings.iter_mut().filter(|finding| finding.chosen) {
            finding.chosen = false;
            finding.reason = format!("it could be read, but {why}");
        }
    }
}

/// Which meter of the processor to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MeterChoice {
    /// The best that there is.
    #[default]
    Auto,
    /// The processor's counters through powercap, or none.
    Powercap,
    /// The processor's counters through perf events, or none.
    Perf,
    /// The board's sensors, or none.
    Hwmon,
    /// The utilisation model.
    Model,
}

impl MeterChoice {
    /// The word of `--meter`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Powercap => "powercap",
            Self::Perf => "perf",
            Self::Hwmon => "hwmon",
            Self::Model => "model",
        }
    }

    fn allows(self, name: &str) -> bool {
        self == Self::Auto || self.as_str() == name
    }
}

/// Why there is no meter.
#[derive(Debug, thiserror::Error)]
#[error("no meter: {}{}; or use the model with --meter model", .0.reason, advice(.0))]
pub struct NoMeter(pub MeterFinding);

fn advice(finding: &MeterFinding) -> String {
    finding.advice.as_ref().map(|advice| format!("; {advice}")).unwrap_or_default()
}

/// The meters in use.
#[derive(Debug)]
pub struct Meters {
    opened: Vec<Box<dyn Meter>>,
    domains: Vec<Rc<Domain>>,
    faults: Vec<DomainFaults>,
    findings: Vec<MeterFinding>,
    denied: Option<MeterFinding>,
    unmeasured: Vec<MeterFinding>,
    check: Option<CrossCheck>,
    sum: Option<SumCheck>,
}

impl Meters {
    /// Opens the meters of `choice`. Only the choice of one that is not there can fail: there is always a model.
    pub fn open(root: &SysRoot, topology: &Topology, choice: MeterChoice) -> Result<Self, NoMeter> {
        Self::open_with(root, topology, choice, &[])
    }

    /// The same, where sensors were named. One of a package or of memory takes the place of the best meter: both would count
    /// the same.
    pub fn open_with(
        root: &SysRoot,
        topology: &Topology,
        choice: MeterChoice,
        sensors: &[NamedSensor],
    ) -> Result<Self, NoMeter> {
        let power = CpuPower::read(root);
        let names_a_part = sensors.iter().any(NamedSensor::is_a_part);
        let choice = if names_a_part && choice == MeterChoice::Auto { MeterChoice::Hwmon } else { choice };
        Self::of(&Ground { root, topology, power: &power, sensors }, SOURCES, choice)
    }

    fn of(ground: &Ground<'_>, sources: &[Source], choice: MeterChoice) -> Result<Self, NoMeter> {
        let (mut opened, mut findings, mut denied) = (Vec::<Box<dyn Meter>>::new(), Vec::new(), None);
        let (mut processor, mut check, mut unmeasured) = (None, None, Vec::new());
        for source in sources {
            let mut found = (source.open)(ground);
            if source.role == Role::Processor {
                if let Some(first) = processor {
                    // A second way to the same counters: what it says is compared once.
                    if let Some(other) = found.meter.take().filter(|_| check.is_none()) {
                        check = opened.first().and_then(|first| CrossCheck::new(first.as_ref(), other));
                    }
                    found.leave_out(&format!("{first} is used, and no joule may count twice"));
                } else if !choice.allows(source.name) {
                    found.leave_out(&format!("{} was asked for", asked_for(choice)));
                } else if let Some(meter) = found.meter.take() {
                    processor = Some(source.name);
                    opened.insert(0, meter);
                } else if let Some(first) = found.findings.first() {
                    if found.present && denied.is_none() {
                        denied = Some(first.clone());
                    }
                    if choice.as_str() == source.name {
                        return Err(NoMeter(first.clone()));
                    }
                }
            } else {
                // What one meter says of its domains: those that it has and cannot read.
                let lost = found.findings.iter().filter(|it| !it.chosen && it.quality == Quality::Measured);
                unmeasured.extend(lost.filter(|_| found.present).cloned());
                opened.extend(found.meter.take());
            }
            findings.extend(found.findings);
        }
        if processor.is_none() {
            opened.insert(0, Box::new(CpuModel::new(ground.topology, ground.power)));
        }
        // A sensor of all of it: that which is used itself is no second opinion.
        let whole = |meter: &dyn Meter| meter.domains().iter().any(|it| it.kind == DomainKind::Platform);
        let parts = processor.filter(|_| !opened.iter().any(|meter| whole(meter.as_ref())));
        let sum = parts.and_then(|parts| SumCheck::new(parts, super::hwmon::machine(ground)?));
        findings.push(model_finding(ground.power, processor.is_none(), choice));
        let mut meters = Self::new(opened, findings);
        meters.denied = denied.filter(|_| processor.is_none());
        meters.unmeasured = unmeasured;
        meters.check = check;
        meters.sum = sum;
        Ok(meters)
    }

    /// These meters, and what was found when they were chosen.
    pub fn new(meters: Vec<Box<dyn Meter>>, findings: Vec<MeterFinding>) -> Self {
        let domains: Vec<_> = meters.iter().flat_map(|meter| meter.domains().iter().map(Rc::clone)).collect();
        let faults = vec![DomainFaults::default(); domains.len()];
        let (denied, unmeasured, check, sum) = (None, Vec::new(), None, None);
        Self { opened: meters, domains, faults, findings, denied, unmeasured, check, sum }
    }

    /// All domains of all meters. Fixed from opening on.
    pub fn domains(&self) -> &[Rc<Domain>] {
        &self.domains
    }

    /// Why each candidate is used or not.
    pub fn findings(&self) -> &[MeterFinding] {
        &self.findings
    }

    /// A meter of the processor that the machine has and that cannot be used, where the model stands in for it.
    pub fn denied(&self) -> Option<&MeterFinding> {
        self.denied.as_ref()
    }

    /// Devices that the machine has and that could not be opened: their energy is in no number.
    pub fn unmeasured(&self) -> &[MeterFinding] {
        &self.unmeasured
    }

    /// Faults by domain, in the order of [`domains`](Self::domains).
    pub fn faults(&self) -> &[DomainFaults] {
        &self.faults
    }

    /// Whether there are two ways to the same counters, to be compared.
    pub fn compares(&self) -> bool {
        self.check.is_some()
    }

    /// What came of comparing two ways to the same counters: `None` where there is but one, or not enough time has
    /// passed between two readings.
    pub fn compared(&self) -> Option<&MeterFinding> {
        self.check.as_ref()?.outcome()
    }

    /// Whether there is a sensor of the whole machine, that the sum of all meters is to be held against.
    pub fn sums(&self) -> bool {
        self.sum.is_some()
    }

    /// What came of that: `None` where there is no such sensor, or not enough time has passed.
    pub fn summed(&self) -> Option<&MeterFinding> {
        self.sum.as_ref()?.outcome()
    }

    /// One result per domain, in the order of [`domains`](Self::domains). After a failure the next good reading carries
    /// the energy of the failed ones too; one whose failure is final keeps failing in the same way.
    pub fn read(&mut self, edge: &Edge<'_>) -> Vec<Result<Reading, MeterError>> {
        let begun_ns = clock::monotonic_ns();
        let until_ns = deadline_ns(begun_ns, PATIENCE);
        for meter in &mut self.opened {
            meter.ask(edge, until_ns);
        }
        if let Some(check) = &mut self.check {
            check.ask(edge, begun_ns, until_ns);
        }
        if let Some(sum) = &mut self.sum {
            sum.ask(edge, until_ns);
        }
        let mut readings = Vec::with_capacity(self.domains.len());
        let mut places = self.faults.iter_mut().zip(&self.domains);
        for meter in &mut self.opened {
            let count = meter.domains().len();
            let mut results = meter.read(edge).into_iter();
            for (faults, domain) in places.by_ref().take(count) {
                let result = results.next().unwrap_or_else(|| Err(MeterError::missing()));
                let result = match faults.off() {
                    Some(error) => Err(error.clone()),
                    None => result,
                };
                faults.observe(domain, edge.monotonic_ns, &result);
                readings.push(result);
            }
        }
        if let Some(check) = &mut self.check {
            check.read(edge, &readings);
        }
        if let Some(sum) = &mut self.sum {
            sum.read(edge, &readings);
        }
        readings
    }

    /// Where another program could go on, by domain.
    pub fn marks(&self) -> Vec<Option<Mark>> {
        self.opened.iter().flat_map(|meter| meter.marks()).collect()
    }

    /// Limits of power by domain as of the last reading.
    pub fn limits(&self) -> Vec<Option<PowerLimits>> {
        self.opened.iter().flat_map(|meter| meter.limits()).collect()
    }

    /// Has a domain go on from where another program stopped, before the first reading. Whether it can.
    pub fn resume(&mut self, domain: usize, mark: Mark) -> bool {
        let mut place = domain;
        for meter in &mut self.opened {
            let count = meter.domains().len();
            if place < count {
                return meter.resume(place, mark);
            }
            place -= count;
        }
        false
    }

    /// Who used the device of a domain, by its place in [`domains`](Self::domains), since this was last taken.
    pub fn take_use(&mut self, domain: usize) -> Option<DeviceUse> {
        let mut place = domain;
        for meter in &mut self.opened {
            let count = meter.domains().len();
            if place < count {
                return meter.take_use(place);
            }
            place -= count;
        }
        None
    }
}

fn asked_for(choice: MeterChoice) -> String {
    if choice == MeterChoice::Model { "the model".to_owned() } else { choice.as_str().to_owned() }
}

fn model_finding(power: &CpuPower, chosen: bool, choice: MeterChoice) -> MeterFinding {
    let reason = match (chosen, choice) {
        (true, MeterChoice::Model) => format!("asked for; {}", power.name),
        (true, _) => format!("no meter can be read; {}", power.name),
        (false, _) => "a meter can be read".to_owned(),
    };
    let advice = chosen
        .then(|| format!("expect the truth within a factor of {:.1} either way", power.bounds.high_ratio));
    MeterFinding { name: "model".to_owned(), chosen, quality: Quality::Modelled, reason, advice }
}

#[cfg(test)]
mod tests;
