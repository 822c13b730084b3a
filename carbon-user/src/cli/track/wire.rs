//! The lines of `carbon track`: those of the agent's local API (docs/api.md), in types of their own.

use crate::attribution::totals::{Totals, WorkloadTotal};
use crate::ledger::Factor;
use crate::report;
use crate::report::figures;
use crate::report::group::add_grams;
use crate::units::{Microjoules, Quality};
use crate::window::DomainKind;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Of the protocol.
pub(super) const VERSION: u64 = 1;

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(tag = "request", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Request {
    Hello {},
    Start(Box<Start>),
    Mark { run: String, name: Option<String> },
    Count { run: String, unit: String, count: u64 },
    Energy { run: Option<String> },
    Stop(Box<Stop>),
}

/// How a run is begun.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Start {
    pub(super) project: Option<String>,
    pub(super) experiment: Option<String>,
    pub(super) organisation: Option<String>,
    pub(super) name: Option<String>,
    pub(super) series: Option<String>,
    #[serde(default)]
    pub(super) tags: Vec<String>,
    #[serde(default)]
    pub(super) command: Vec<String>,
    pub(super) zone: Option<String>,
    pub(super) pue: Option<f64>,
    /// The run ends with the process or its lines, whichever is asked for.
    #[serde(default, rename = "bound")]
    pub(super) _bound: Option<Bound>,
    pub(super) record: Option<bool>,
}

/// What ends a run that nobody stops.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Bound {
    Tree,
    Connection,
}

/// How a run is ended.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stop {
    pub(super) run: String,
    #[serde(default)]
    pub(super) status: Status,
    pub(super) exit_status: Option<u8>,
    #[serde(default)]
    pub(super) notes: Vec<String>,
}

/// How it went.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    #[default]
    Done,
    Failed,
    Killed,
}

/// Why a request is not done: a code of docs/api.md, and a text for people.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Reads a line: the client's own id of it, and what it asks.
pub(super) fn parse(line: &[u8]) -> (Option<Value>, Result<Request, Refusal>) {
    let bad = |message: String| Refusal::new("bad_request", message);
    let mut object = match serde_json::from_slice::<serde_json::Map<String, Value>>(line) {
        Ok(object) => object,
        Err(error) => return (None, Err(bad(format!("not one JSON object on one line: {error}")))),
    };
    let id = object.remove("id");
    let asked = match object.remove("version") {
        Some(version) if version == VERSION => {
            serde_json::from_value(Value::Object(object)).map_err(|error| bad(error.to_string()))
        }
        Some(version) => {
            Err(Refusal::new("version", format!("version {version} is not spoken here, only {VERSION}")))
        }
        None => Err(bad(format!("no version: give {VERSION}"))),
    };
    (id, asked)
}

/// The line of an answer.
pub(super) fn line(id: Option<Value>, answer: Result<Value, Refusal>) -> String {
    let (ok, body) = match answer {
        Ok(body) => (true, body),
        Err(refusal) => (false, json!({"error": {"code": refusal.code, "message": refusal.message}})),
    };
    let mut line = json!({"version": VERSION, "ok": ok});
    if let (Value::Object(line), Value::Object(body)) = (&mut line, body) {
        line.extend(id.map(|id| ("id".to_owned(), id)));
        line.extend(body);
    }
    format!("{line}\n")
}

/// Unix time in microseconds as the protocol has it.
pub(super) fn time(us: i64) -> Timestamp {
    Timestamp::from_microsecond(us).unwrap_or_default()
}

/// The intensity's keys.
pub(super) fn intensity(factor: &Factor) -> report::Intensity {
    (&factor.intensity).into()
}

/// An energy object.
pub(super) fn energy(
    total: &WorkloadTotal,
    quality: Option<Quality>,
    factor: &Factor,
    machine: Option<&Totals>,
) -> Value {
    let word = quality.map_or("none", Quality::as_str);
    let stddev_uj = total.uncertainty.stddev_uj();
    let (low, high) = figures::interval(total.dynamic_energy.joules(), stddev_uj / 1e6, word);
    let grams = quality.and_then(|_| add_grams([(factor, total.energy(), stddev_uj)]).ok());
    let mut object = json!({
        "cpu_ns": total.cpu.0,
        "dynamic_uj": total.dynamic_energy.0,
        "dynamic_low_uj": Microjoules::from_joules(low).0,
        "dynamic_high_uj": Microjoules::from_joules(high).0,
        "static_uj": total.static_energy.0,
        "held_uj": total.held_energy.0,
        "energy_uj": total.energy().0,
        "grams": grams.as_ref().map(|grams| grams.middle),
        "grams_low": grams.as_ref().map(|grams| grams.low),
        "grams_high": grams.as_ref().map(|grams| grams.high),
        "quality": word,
    });
    if let (Some(object), Some(machine)) = (object.as_object_mut(), machine) {
        object.insert("domains".into(), domains(total, machine).into());
    }
    object
}

/// The same by what drew it: accelerators, memory, and the rest. Where there are several of a kind, as one.
fn domains(total: &WorkloadTotal, machine: &Totals) -> Vec<Value> {
    let memory = total.memory_energy.unwrap_or_default();
    let rest = total.dynamic_energy.saturating_sub(total.device_energy).saturating_sub(memory);
    let zero = Microjoules::ZERO;
    let parts = [
        (DomainKind::Package, rest, total.static_energy, zero),
        (DomainKind::Dram, memory, zero, zero),
        (DomainKind::Gpu, total.device_energy, zero, total.held_energy),
    ];
    parts
        .into_iter()
        .filter_map(|(kind, dynamic, idle, held)| {
            let of = |row: &&crate::attribution::totals::DomainTotal| row.domain.kind == kind;
            let known = machine.domains().iter().find(of);
            // A machine that is metered as a whole has no packages.
            let known =
                known.or_else(|| machine.domains().first().filter(|_| kind == DomainKind::Package))?;
            Some(json!({
                "domain": known.domain.kind.as_str(),
                "device": known.domain.device,
                "source": known.domain.source,
                "quality": known.domain.quality.as_str(),
                "dynamic_uj": dynamic.0,
                "static_uj": idle.0,
                "held_uj": held.0,
            }))
        })
        .collect()
}

/// A part of a run between two marks.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) name: Option<String>,
    pub(super) start_us: i64,
    pub(super) start_ns: u64,
    pub(super) counts: BTreeMap<String, u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(line: &str) -> &'static str {
        parse(line.as_bytes()).1.unwrap_err().code
    }

    #[test]
    fn requests_are_read_as_the_agent_reads_them() {
        let (id, asked) =
            parse(br#"{"version":1,"request":"start","id":"a","project":"p","bound":"connection"}"#);
        assert_eq!(id, Some(Value::from("a")));
        let Ok(Request::Start(start)) = asked else { panic!("{asked:?}") };
        assert_eq!(start.project.as_deref(), Some("p"));
        assert!(matches!(parse(br#"{"version":1,"request":"hello"}"#).1, Ok(Request::Hello {})));
        for line in [
            "",
            "[]",
            r#"{"request":"hello"}"#,
            r#"{"version":1}"#,
            r#"{"version":1,"request":"hello","more":1}"#,
            r#"{"version":1,"request":"count","run":"x","unit":"t","count":-1}"#,
            r#"{"version":1,"request":"start","bound":"me"}"#,
            r#"{"version":1,"request":"stop","run":"x","status":"odd"}"#,
        ] {
            assert_eq!(code(line), "bad_request", "{line}");
        }
        assert_eq!(code(r#"{"version":2,"request":"hello"}"#), "version");
    }

    #[test]
    fn a_refusal_has_an_error_and_the_id() {
        let text = line(Some(7.into()), Err(Refusal::new("no_such_run", "none")));
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            value,
            json!({"version":1,"id":7,"ok":false,"error":{"code":"no_such_run","message":"none"}})
        );
        assert!(text.ends_with('\n'));
    }
}
