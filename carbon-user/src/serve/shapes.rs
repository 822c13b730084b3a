//! Shapes of answers: `CodeCarbon`'s for its routes, and our own with a schema.

use super::Refused;
use crate::ledger::team::{
    Experiment, KeptPost, KeptToken, Member, Organisation, PostedRun, Project, TeamSum,
};
use crate::units::Microjoules;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Kilowatt-hours, watts and kilograms of a sum, as `CodeCarbon`'s server tells them; powers are energy over time.
pub(super) fn report_of(sum: &TeamSum) -> Map<String, Value> {
    let seconds = nanoseconds(sum.duration_ns);
    let watts = |energy: Microjoules| if seconds > 0.0 { energy.joules() / seconds } else { 0.0 };
    let rate = if seconds > 0.0 { sum.grams / 1000.0 / seconds } else { 0.0 };
    object(json!({
        "emissions": sum.grams / 1000.0,
        "cpu_power": watts(sum.cpu),
        "gpu_power": watts(sum.gpu),
        "ram_power": watts(sum.ram),
        "cpu_energy": sum.cpu.kilowatt_hours(),
        "gpu_energy": sum.gpu.kilowatt_hours(),
        "ram_energy": sum.ram.kilowatt_hours(),
        "energy_consumed": sum.energy.kilowatt_hours(),
        "duration": seconds,
        "emissions_rate": rate,
        "emissions_count": sum.posts,
    }))
}

/// Whole microjoules, for those who add.
pub(super) fn sum_of(sum: &TeamSum) -> Map<String, Value> {
    object(json!({
        "posts": sum.posts,
        "duration_ns": sum.duration_ns,
        "energy_uj": sum.energy.0,
        "cpu_uj": sum.cpu.0,
        "gpu_uj": sum.gpu.0,
        "ram_uj": sum.ram.0,
        "grams": sum.grams,
    }))
}

pub(super) fn organisation(it: &Organisation) -> Value {
    json!({"id": it.id, "name": it.name, "description": it.description})
}

pub(super) fn project(it: &Project, experiments: &[Experiment]) -> Value {
    let experiments: Vec<&str> = experiments.iter().map(|it| it.id.as_str()).collect();
    json!({
        "id": it.id,
        "name": it.name,
        "description": it.description,
        "public": it.shared,
        "organization_id": it.organisation,
        "experiments": experiments,
    })
}

pub(super) fn experiment(it: &Experiment) -> Value {
    let mut all = object(serde_json::from_str(&it.details).unwrap_or_default());
    all.extend(object(json!({
        "id": it.id,
        "name": it.name,
        "project_id": it.project,
        "timestamp": time(it.made_us),
    })));
    Value::Object(all)
}

pub(super) fn run(it: &PostedRun) -> Value {
    let mut all = object(serde_json::from_str(&it.details).unwrap_or_default());
    all.extend(object(json!({
        "id": it.run,
        "experiment_id": it.experiment,
        "timestamp": time(it.start_us),
    })));
    Value::Object(all)
}

pub(super) fn post(it: &KeptPost) -> Value {
    let mut all = object(serde_json::from_str(&it.details).unwrap_or_default());
    all.extend(object(json!({
        "id": it.id,
        "run_id": it.run,
        "sequence": it.sequence,
        "timestamp": time(it.at_us),
        "duration": nanoseconds(it.duration_ns),
        "emissions_sum": it.grams.0 / 1000.0,
        "energy_consumed": it.energy.kilowatt_hours(),
        "cpu_energy": it.cpu.kilowatt_hours(),
        "gpu_energy": it.gpu.kilowatt_hours(),
        "ram_energy": it.ram.kilowatt_hours(),
    })));
    Value::Object(all)
}

/// Without the token itself, which is nowhere.
pub(super) fn token(it: &KeptToken) -> Value {
    json!({
        "id": it.id,
        "name": it.name,
        "project_id": it.project,
        "member": it.member,
        "scope": it.scope.as_str(),
        "access": it.scope as u8 + 1,
        "made": time(it.made_us),
        "last_used": it.used_us.map(time),
        "revoked": it.revoked_us.map(time),
    })
}

pub(super) fn member(it: &Member, organisation: &str) -> Value {
    json!({"id": it.id, "name": it.name, "email": it.name, "is_admin": it.admin, "organization_id": organisation})
}

pub(super) fn time(us: i64) -> String {
    Timestamp::from_microsecond(us).unwrap_or_default().to_string()
}

#[expect(clippy::cast_precision_loss, reason = "a display value")]
fn nanoseconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

pub(super) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// A whole number of a query, within bounds.
pub(super) fn number(what: &str, text: Option<&String>, or: u32, most: u32) -> Result<u32, Refused> {
    let Some(text) = text else { return Ok(or) };
    let number = text.parse::<u32>().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| Refused::wrong(format!("{what} must be a whole number from 1 to {most}")))
}
