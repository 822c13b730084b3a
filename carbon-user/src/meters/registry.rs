//! Chooses the meters of a machine, reads them together, and acts on what fails.

use super::cpu_model::CpuModel;
use super::cpu_power::CpuPower;
use super::powercap::Powercap;
use super::{Edge, ErrorKind, Meter, MeterFinding, Reading};
use crate::sysroot::SysRoot;
use crate::topology::Topology;
use crate::window::Domain;
use std::rc::Rc;

/// Which meter to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MeterChoice {
    /// The best that there is.
    #[default]
    Auto,
    /// The processor's counters, or none.
    Powercap,
    /// The utilisation model.
    Model,
}

impl MeterChoice {
    /// The word of `--meter`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Powercap => "powercap",
            Self::Model => "model",
        }
    }
}

/// Why there is no meter.
#[derive(Debug, thiserror::Error)]
#[error("no meter: {}{}; or use the model with --meter model", .0.reason, advice(.0))]
pub struct NoMeter(pub MeterFinding);

fn advice(finding: &MeterFinding) -> String {
    finding.advice.as_ref().map(|advice| format!("; {advice}")).unwrap_or_default()
}

/// What has gone wrong with a domain since it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DomainHealth {
    /// Reads that failed.
    pub failed_reads: u64,
    /// Readings after a reset or a step that cannot be true.
    pub gaps: u64,
    /// The last failure, in words.
    pub last_error: Option<String>,
    /// Nothing is read from it any more.
    pub off: bool,
}

/// The meters in use.
#[derive(Debug)]
pub struct Meters {
    opened: Vec<Box<dyn Meter>>,
    domains: Vec<Rc<Domain>>,
    health: Vec<DomainHealth>,
    findings: Vec<MeterFinding>,
}

impl Meters {
    /// Opens the meters of `choice`. Only [`MeterChoice::Powercap`] can fail: there is always a model.
    pub fn open(root: &SysRoot, topology: &Topology, choice: MeterChoice) -> Result<Self, NoMeter> {
        let power = CpuPower::read(root);
        let (powercap, mut findings) = Powercap::open(root, topology, &power);
        let meter: Box<dyn Meter> = match (choice, powercap) {
            (MeterChoice::Auto | MeterChoice::Powercap, Some(powercap)) => Box::new(powercap),
            (MeterChoice::Powercap, None) => return Err(NoMeter(findings.swap_remove(0))),
            (MeterChoice::Model, Some(_)) => {
                for finding in findings.iter_mut().filter(|finding| finding.chosen) {
                    finding.chosen = false;
                    "it could be read, but the model was asked for".clone_into(&mut finding.reason);
                }
                Box::new(CpuModel::new(topology, &power))
            }
            (MeterChoice::Auto | MeterChoice::Model, None) => Box::new(CpuModel::new(topology, &power)),
        };
        findings.push(model_finding(&power, meter.name() == "model", choice));
        Ok(Self::of(vec![meter], findings))
    }

    fn of(meters: Vec<Box<dyn Meter>>, findings: Vec<MeterFinding>) -> Self {
        let domains: Vec<_> = meters.iter().flat_map(|meter| meter.domains().iter().map(Rc::clone)).collect();
        let health = vec![DomainHealth::default(); domains.len()];
        Self { opened: meters, domains, health, findings }
    }

    /// All domains of all meters. Fixed from opening on.
    pub fn domains(&self) -> &[Rc<Domain>] {
        &self.domains
    }

    /// Why each candidate is used or not.
    pub fn findings(&self) -> &[MeterFinding] {
        &self.findings
    }

    /// What has gone wrong, in the order of [`domains`](Self::domains).
    pub fn health(&self) -> &[DomainHealth] {
        &self.health
    }

    /// One reading per domain, in the order of [`domains`](Self::domains); none where it failed or is off. The
    /// next good one carries the energy of the failed ones too.
    pub fn read(&mut self, edge: &Edge<'_>) -> Vec<Option<Reading>> {
        let mut readings = Vec::with_capacity(self.domains.len());
        let mut health = self.health.iter_mut();
        for meter in &mut self.opened {
            let count = meter.domains().len();
            let mut results = meter.read(edge).into_iter();
            for state in health.by_ref().take(count) {
                let result = results.next();
                readings.push(if state.off { None } else { result.and_then(|result| state.judge(result)) });
            }
        }
        readings
    }
}

impl DomainHealth {
    fn judge(&mut self, result: Result<Reading, super::MeterError>) -> Option<Reading> {
        match result {
            Ok(reading) => {
                self.gaps += u64::from(reading.gap);
                Some(reading)
            }
            Err(error) => {
                self.failed_reads += 1;
                self.off = matches!(error.kind, ErrorKind::Gone | ErrorKind::Fatal);
                self.last_error = Some(error.message);
                None
            }
        }
    }
}

fn model_finding(power: &CpuPower, chosen: bool, choice: MeterChoice) -> MeterFinding {
    let reason = match (chosen, choice) {
        (true, MeterChoice::Model) => format!("asked for; {}", power.name),
        (true, _) => format!("no meter can be read; {}", power.name),
        (false, _) => "a meter can be read".to_owned(),
    };
    let advice = chosen
        .then(|| format!("expect the truth within a factor of {:.1} either way", power.bounds.high_ratio));
    MeterFinding { name: "model".to_owned(), chosen, reason, advice }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meters::MeterError;
    use crate::meters::tests::{fixture, fixture_copy};
    use crate::units::{Microjoules, PackageId, Quality};
    use crate::window::DomainKind;
    use std::collections::VecDeque;

    const EDGE: Edge<'static> = Edge { monotonic_ns: 0, busy: &[] };

    fn open(machine: &str, choice: MeterChoice) -> Result<Meters, NoMeter> {
        let root = fixture(machine);
        Meters::open(&root, &Topology::read(&root).unwrap(), choice)
    }

    /// A meter that does what a test says.
    #[derive(Debug)]
    struct Scripted {
        domains: Vec<Rc<Domain>>,
        results: VecDeque<Vec<Result<Reading, MeterError>>>,
    }

    impl Meter for Scripted {
        fn name(&self) -> &'static str {
            "scripted"
        }
        fn domains(&self) -> &[Rc<Domain>] {
            &self.domains
        }
        fn read(&mut self, _edge: &Edge<'_>) -> Vec<Result<Reading, MeterError>> {
            self.results.pop_front().unwrap()
        }
    }

    fn scripted(results: Vec<Vec<Result<Reading, MeterError>>>) -> Box<dyn Meter> {
        let domain = |index| {
            Rc::new(Domain {
                kind: DomainKind::Package,
                device: format!("package-{index}"),
                source: "test".into(),
                quality: Quality::Measured,
                bounds: None,
                package: PackageId(0),
                idle_watts: None,
            })
        };
        let domains = (0..results[0].len()).map(domain).collect();
        Box::new(Scripted { domains, results: results.into() })
    }

    fn good(uj: u64) -> Reading {
        Reading { total: Microjoules(uj), gap: false }
    }

    fn bad(kind: ErrorKind) -> Result<Reading, MeterError> {
        Err(MeterError { kind, message: format!("{kind:?}") })
    }

    #[test]
    fn a_meter_is_preferred_to_the_model() {
        let meters = open("intel-two-socket", MeterChoice::Auto).unwrap();
        assert_eq!(meters.domains().len(), 4);
        assert!(meters.domains().iter().all(|domain| domain.quality == Quality::Measured));
        let model = meters.findings().last().unwrap();
        assert_eq!((&*model.name, model.chosen, &*model.reason), ("model", false, "a meter can be read"));
        assert_eq!(open("amd-epyc", MeterChoice::Powercap).unwrap().domains().len(), 1);
    }

    #[test]
    fn without_a_meter_there_is_the_model() {
        let meters = open("vm", MeterChoice::Auto).unwrap();
        assert_eq!(meters.domains()[0].quality, Quality::Modelled);
        let [powercap, model] = meters.findings() else { panic!("{:?}", meters.findings()) };
        assert!(!powercap.chosen && powercap.advice.is_some());
        assert!(model.chosen, "{model:?}");
        assert_eq!(model.reason, "no meter can be read; AMD Zen 3 (EPYC 3rd Gen)");
        assert_eq!(model.advice.as_deref(), Some("expect the truth within a factor of 1.7 either way"));
    }

    #[test]
    fn what_is_asked_for_is_used() {
        let meters = open("intel-client", MeterChoice::Model).unwrap();
        assert_eq!(meters.domains()[0].quality, Quality::Modelled);
        assert_eq!(meters.findings().iter().filter(|finding| finding.chosen).count(), 1);
        let error = open("vm", MeterChoice::Powercap).unwrap_err().to_string();
        assert!(error.starts_with("no meter: cannot read "), "{error}");
        assert!(error.ends_with("virtual machines have no such meter; or use the model with --meter model"));
    }

    #[test]
    fn failures_of_one_domain_are_its_own() {
        let mut meters = Meters::of(
            vec![
                scripted(vec![
                    vec![bad(ErrorKind::Retry), Ok(good(1))],
                    vec![Ok(good(2)), bad(ErrorKind::Gone)],
                    vec![Ok(good(4)), Ok(good(9))],
                ]),
                scripted(vec![
                    vec![Ok(Reading { gap: true, ..good(3) })],
                    vec![bad(ErrorKind::Fatal)],
                    vec![Ok(good(8))],
                ]),
            ],
            vec![],
        );
        let mut read = || -> Vec<_> {
            meters.read(&EDGE).into_iter().map(|reading| reading.map(|reading| reading.total.0)).collect()
        };
        assert_eq!(read(), [None, Some(1), Some(3)]);
        assert_eq!(read(), [Some(2), None, None]);
        assert_eq!(read(), [Some(4), None, None], "gone and fatal stay off");
        let seen = |failed_reads, gaps, error: &str, off| DomainHealth {
            failed_reads,
            gaps,
            last_error: Some(error.into()),
            off,
        };
        let expected = [seen(1, 0, "Retry", false), seen(1, 0, "Gone", true), seen(1, 1, "Fatal", true)];
        assert_eq!(meters.health(), expected);
    }

    #[test]
    fn a_counter_that_vanishes_stays_off() {
        let (_directory, root) = fixture_copy("intel-two-socket");
        let mut meters = Meters::open(&root, &Topology::read(&root).unwrap(), MeterChoice::Auto).unwrap();
        assert!(meters.read(&EDGE).iter().all(Option::is_some));
        std::fs::remove_file(root.sys.join("class/powercap/intel-rapl:1/energy_uj")).unwrap();
        let present: Vec<_> = meters.read(&EDGE).iter().map(Option::is_some).collect();
        assert_eq!(present, [true, true, false, true]);
        assert!(meters.health()[2].off);
    }
}
