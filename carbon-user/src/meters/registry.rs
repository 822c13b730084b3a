//! Chooses the meters of a machine, reads them together, and acts on what fails.

use super::cpu_model::CpuModel;
use super::cpu_power::CpuPower;
use super::powercap::Powercap;
use super::{Edge, ErrorKind, Meter, MeterError, MeterFinding, Reading};
use crate::sysroot::SysRoot;
use crate::topology::Topology;
use crate::units::Quality;
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

/// The meters in use.
#[derive(Debug)]
pub struct Meters {
    opened: Vec<Box<dyn Meter>>,
    domains: Vec<Rc<Domain>>,
    /// By domain: why nothing is taken from it any more.
    off: Vec<Option<MeterError>>,
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
        Ok(Self::new(vec![meter], findings))
    }

    /// These meters, and what was found when they were chosen.
    pub fn new(meters: Vec<Box<dyn Meter>>, findings: Vec<MeterFinding>) -> Self {
        let domains: Vec<_> = meters.iter().flat_map(|meter| meter.domains().iter().map(Rc::clone)).collect();
        let off = vec![None; domains.len()];
        Self { opened: meters, domains, off, findings }
    }

    /// All domains of all meters. Fixed from opening on.
    pub fn domains(&self) -> &[Rc<Domain>] {
        &self.domains
    }

    /// Why each candidate is used or not.
    pub fn findings(&self) -> &[MeterFinding] {
        &self.findings
    }

    /// One result per domain, in the order of [`domains`](Self::domains). After a failure that is to be tried again,
    /// the next good reading carries the energy of the failed ones too; a domain that is gone, or whose failure is
    /// final, keeps failing in the same way.
    pub fn read(&mut self, edge: &Edge<'_>) -> Vec<Result<Reading, MeterError>> {
        let mut readings = Vec::with_capacity(self.domains.len());
        let mut off = self.off.iter_mut();
        for meter in &mut self.opened {
            let count = meter.domains().len();
            let mut results = meter.read(edge).into_iter();
            for off in off.by_ref().take(count) {
                let result = results.next().unwrap_or_else(|| Err(MeterError::missing()));
                readings.push(match off {
                    Some(error) => Err(error.clone()),
                    None => result.inspect_err(|error| {
                        if error.kind != ErrorKind::Retry {
                            *off = Some(error.clone());
                        }
                    }),
                });
            }
        }
        readings
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
    MeterFinding { name: "model".to_owned(), chosen, quality: Quality::Modelled, reason, advice }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meters::tests::{fixture, fixture_copy};
    use crate::units::{Microjoules, PackageId};
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
        let mut meters = Meters::new(
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
        let mut read = || -> Vec<Result<u64, ErrorKind>> {
            let results = meters.read(&EDGE).into_iter();
            results.map(|result| result.map(|reading| reading.total.0).map_err(|error| error.kind)).collect()
        };
        assert_eq!(read(), [Err(ErrorKind::Retry), Ok(1), Ok(3)]);
        assert_eq!(read(), [Ok(2), Err(ErrorKind::Gone), Err(ErrorKind::Fatal)]);
        assert_eq!(read(), [Ok(4), Err(ErrorKind::Gone), Err(ErrorKind::Fatal)], "gone and fatal stay off");
    }

    #[test]
    fn a_counter_that_vanishes_stays_off() {
        let (_directory, root) = fixture_copy("intel-two-socket");
        let mut meters = Meters::open(&root, &Topology::read(&root).unwrap(), MeterChoice::Auto).unwrap();
        assert!(meters.read(&EDGE).iter().all(Result::is_ok));
        std::fs::remove_file(root.sys.join("class/powercap/intel-rapl:1/energy_uj")).unwrap();
        let present: Vec<_> = meters.read(&EDGE).iter().map(Result::is_ok).collect();
        assert_eq!(present, [true, true, false, true]);
        assert!(meters.read(&EDGE)[2].is_err());
    }
}
