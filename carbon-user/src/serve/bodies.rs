//! What clients send, checked: the bodies of `CodeCarbon`'s client (`codecarbon/core/schemas.py` of 3.3.2) and what they become.

use super::Refused;
use crate::attribution::uncertainty::model_stddev_ratio;
use crate::carbon::{DEFAULT_PUE, Intensity, Kind, Spread};
use crate::ledger::Factor;
use crate::ledger::rows::{RunStart, parse_quality};
use crate::ledger::team::{Figures, NewRun, check_text, parse_id};
use crate::units::{GramsPerKwh, Microjoules, Quality};
use crate::window::Bounds;
use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Longest text of a fact, in characters: lists of accelerators are long.
const FACT_MAX: usize = 1000;

/// Energy of one post at most: what a site of 10 MW uses in an hour.
const KWH_MAX: f64 = 10_000.0;

/// No grid emits as much; lignite alone is at 1.2 kg/kWh.
const G_PER_KWH_MAX: f64 = 5000.0;

/// Time of one post at most: ten years.
const SECONDS_MAX: f64 = 3.2e8;

/// A clock that is wrong by more puts energy on a wrong day.
const AHEAD_MAX_US: i64 = 86_400_000_000;

/// By how much an energy may be wrong of which nobody says how it is known, nine times in ten, either way: as a model of an unknown
/// processor, by its power when busy (`meters::cpu_power`).
const UNKNOWN_FACTOR: f64 = 2.2;

/// Differences of two sums of floats may be below zero by their rounding, and then are zero.
const ROUNDING: f64 = 1e-9;

/// The body as what it should be; where it is not, which field is wrong.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(bytes).map_err(|error| {
        let status = if error.is_data() { 422 } else { 400 };
        Refused::new(status, format!("the body is not as it should be: {error}; see docs/server.md"))
    })
}

/// `POST /runs`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct RunBody {
    /// When it began.
    pub timestamp: String,
    /// UUID of the experiment.
    pub experiment_id: String,
    /// Operating system.
    pub os: Option<String>,
    /// Version.
    pub python_version: Option<String>,
    /// Version of what measured.
    pub codecarbon_version: Option<String>,
    /// Hardware threads.
    pub cpu_count: Option<f64>,
    /// Processor.
    pub cpu_model: Option<String>,
    /// Accelerators.
    pub gpu_count: Option<f64>,
    /// Their names.
    pub gpu_model: Option<String>,
    /// In degrees.
    pub longitude: Option<f64>,
    /// In degrees.
    pub latitude: Option<f64>,
    /// Of a country or a cloud.
    pub region: Option<String>,
    /// Cloud.
    pub provider: Option<String>,
    /// Memory in GB.
    pub ram_total_size: Option<f64>,
    /// What was measured.
    pub tracking_mode: Option<String>,
    /// Name of the machine: our client's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Of the experiment, where it is not there yet: our client's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experiment_name: Option<String>,
}

/// `POST /emissions`: differences to the post before.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct EmissionBody {
    /// When it ended.
    pub timestamp: String,
    /// UUID of the run.
    #[serde(default)]
    pub run_id: String,
    /// In s.
    pub duration: f64,
    /// In kg of CO2 equivalent.
    pub emissions_sum: f64,
    /// In kg/s.
    #[serde(default)]
    pub emissions_rate: Option<f64>,
    /// In W.
    #[serde(default)]
    pub cpu_power: Option<f64>,
    /// In W.
    #[serde(default)]
    pub gpu_power: Option<f64>,
    /// In W.
    #[serde(default)]
    pub ram_power: Option<f64>,
    /// In kWh.
    #[serde(default)]
    pub cpu_energy: Option<f64>,
    /// In kWh.
    #[serde(default)]
    pub gpu_energy: Option<f64>,
    /// In kWh.
    #[serde(default)]
    pub ram_energy: Option<f64>,
    /// In kWh; with PUE, where there is one.
    pub energy_consumed: f64,
    /// In per cent.
    #[serde(default)]
    pub cpu_utilization_percent: Option<f64>,
    /// In per cent.
    #[serde(default)]
    pub gpu_utilization_percent: Option<f64>,
    /// In per cent.
    #[serde(default)]
    pub ram_utilization_percent: Option<f64>,
    /// Water in L/kWh.
    #[serde(default)]
    pub wue: Option<f64>,
    /// How the energy is known: measured, sampled or modelled. This and what follows are our client's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<String>,
    /// Standard deviation of `energy_consumed`, in kWh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stddev_energy: Option<f64>,
    /// The duration in s, not cut to whole ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

/// A time with its offset, in Unix microseconds; without an offset it is UTC.
pub(super) fn instant(what: &str, text: &str) -> Result<i64, Refused> {
    let text = text.trim();
    let utc = || {
        let civil = text.parse::<DateTime>().or_else(|_| text.parse::<Date>().map(DateTime::from));
        civil.ok()?.to_zoned_datetime(TimeZone::UTC).ok()
    };
    let time = text.parse::<Timestamp>().ok().or_else(|| utc().map(|time| time.timestamp()));
    time.map(Timestamp::as_microsecond).ok_or_else(|| {
        let shown: String = text.chars().take(60).collect();
        Refused::wrong(format!("{what} {shown:?} is no time such as 2026-01-31T12:00:00+00:00"))
    })
}

pub(super) fn past(what: &str, text: &str, now_us: i64) -> Result<i64, Refused> {
    let at_us = instant(what, text)?;
    if at_us > now_us.saturating_add(AHEAD_MAX_US) || at_us < 0 {
        return Err(Refused::wrong(format!("{what} {} is not of the past: check the clock", text.trim())));
    }
    Ok(at_us)
}

fn within(what: &str, value: f64, most: f64, unit: &str) -> Result<f64, Refused> {
    if (-ROUNDING..0.0).contains(&value) {
        return Ok(0.0);
    }
    if (0.0..=most).contains(&value) {
        return Ok(value);
    }
    let shown = if value.abs() < 1e9 { value.to_string() } else { format!("{value:e}") };
    Err(Refused::wrong(format!("{what} is {shown} {unit}: it must be from 0 to {most} {unit}")))
}

/// 1 kWh = 3.6e6 J.
fn energy(what: &str, kwh: f64) -> Result<Microjoules, Refused> {
    Ok(Microjoules::from_joules(within(what, kwh, KWH_MAX, "kWh")? * 3.6e6))
}

/// Of an energy of which the client does not say how sure it is: that of a model's bounds, none where it was measured.
pub(super) fn stddev_uj(energy: Microjoules, quality: Quality) -> f64 {
    if quality == Quality::Modelled {
        let bounds = Bounds { low_ratio: 1.0 / UNKNOWN_FACTOR, high_ratio: UNKNOWN_FACTOR };
        energy.joules() * 1e6 * model_stddev_ratio(bounds)
    } else {
        0.0
    }
}

/// Seven digits: what a client computes anew for each post is one factor, and no figure changes by more than is known of it.
fn rounded(g_per_kwh: f64) -> f64 {
    format!("{g_per_kwh:.6e}").parse().unwrap_or(g_per_kwh)
}

/// Of an instant, in UTC.
pub(super) fn year_of(at_us: i64) -> u16 {
    let at = Timestamp::from_microsecond(at_us).unwrap_or_default();
    u16::try_from(at.to_zoned_datetime(TimeZone::UTC).year()).unwrap_or(0)
}

/// The factor that makes the grams of a post of its energy. PUE is in the energy that a client sends.
pub fn factor_of(
    kg: f64,
    kwh: f64,
    (zone, name, source): (&str, &str, &str),
    at_us: i64,
) -> Result<Option<Factor>, Refused> {
    let kg = within("emissions_sum", kg, KWH_MAX * G_PER_KWH_MAX / 1000.0, "kg")?;
    if energy("energy_consumed", kwh)? == Microjoules::ZERO {
        return if kg <= ROUNDING {
            Ok(None)
        } else {
            Err(Refused::wrong(format!("emissions_sum is {kg} kg, of no energy: send energy_consumed too")))
        };
    }
    let g_per_kwh = within("emissions_sum / energy_consumed", kg * 1000.0 / kwh, G_PER_KWH_MAX, "g/kWh")?;
    let intensity = Intensity {
        g_per_kwh: GramsPerKwh(rounded(g_per_kwh)),
        zone: zone.to_owned(),
        name: name.to_owned(),
        year: year_of(at_us),
        kind: Kind::YEARLY,
        spread: Spread::NONE,
        source: source.to_owned(),
        assumed: false,
    };
    Ok(Some(Factor::new(intensity, DEFAULT_PUE)))
}

/// What a post becomes; `quality` is that of a client which does not say how its energy is known.
pub fn figures_of(body: &EmissionBody, quality: Quality, now_us: i64) -> Result<Figures, Refused> {
    let at_us = past("timestamp", &body.timestamp, now_us)?;
    let seconds = within("duration", body.seconds.unwrap_or(body.duration), SECONDS_MAX, "s")?;
    let quality = match body.quality.as_deref() {
        None => quality,
        Some(word) => parse_quality(word)
            .ok_or_else(|| Refused::wrong("quality must be measured, sampled or modelled"))?,
    };
    let part = |what: &str, kwh: Option<f64>| energy(what, kwh.unwrap_or(0.0));
    let place = ("as posted", "as posted", "the client's own figure");
    let all = energy("energy_consumed", body.energy_consumed)?;
    let stddev_uj = match body.stddev_energy {
        Some(kwh) => within("stddev_energy", kwh, KWH_MAX, "kWh")? * 3.6e12,
        None => stddev_uj(all, quality),
    };
    Ok(Figures {
        at_us,
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
        duration_ns: (seconds * 1e9).round() as u64,
        energy: all,
        stddev_uj,
        cpu: part("cpu_energy", body.cpu_energy)?,
        gpu: part("gpu_energy", body.gpu_energy)?,
        ram: part("ram_energy", body.ram_energy)?,
        factor: factor_of(body.emissions_sum, body.energy_consumed, place, at_us)?,
        quality,
        details: details(body)?,
    })
}

pub(super) fn details(value: &impl Serialize) -> Result<String, Refused> {
    serde_json::to_string(value).map_err(|error| Refused::wrong(error.to_string()))
}

/// What a run becomes.
pub fn run_of(body: &RunBody, now_us: i64) -> Result<NewRun, Refused> {
    let experiment = parse_id("experiment_id", &body.experiment_id)?;
    let start_us = past("timestamp", &body.timestamp, now_us)?;
    for (what, text) in [
        ("os", &body.os),
        ("python_version", &body.python_version),
        ("codecarbon_version", &body.codecarbon_version),
        ("cpu_model", &body.cpu_model),
        ("gpu_model", &body.gpu_model),
        ("region", &body.region),
        ("provider", &body.provider),
        ("tracking_mode", &body.tracking_mode),
        ("node", &body.node),
        ("experiment_name", &body.experiment_name),
    ] {
        text.as_deref().map_or(Ok(()), |text| check_text(what, text, FACT_MAX))?;
    }
    let version = body.codecarbon_version.as_deref().unwrap_or_default();
    // Ours names itself there.
    let accounting = if version.starts_with("carbon_tracker") {
        version.to_owned()
    } else {
        format!("codecarbon {version}").trim_end().to_owned()
    };
    Ok(NewRun {
        id: None,
        once: None,
        experiment,
        experiment_name: body.experiment_name.clone().filter(|name| !name.trim().is_empty()),
        start: RunStart {
            // CodeCarbon's client does not say on which machine.
            node: body.node.clone().filter(|name| !name.is_empty()).unwrap_or_else(|| "unknown".to_owned()),
            start_us,
            command: vec!["python".to_owned()],
            ..RunStart::default()
        },
        hardware: hardware(body),
        accounting,
        details: details(body)?,
    })
}

fn hardware(body: &RunBody) -> String {
    let mut words = vec![body.cpu_model.clone().unwrap_or_else(|| "processor of unknown name".to_owned())];
    if let Some(count) = body.cpu_count {
        words.push(format!("{count} CPUs"));
    }
    words.extend(body.gpu_model.clone().filter(|model| !model.is_empty()));
    words.extend(body.os.clone());
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000_000;

    fn body() -> EmissionBody {
        EmissionBody {
            timestamp: "2026-11-27T12:00:00.123456+01:00".to_owned(),
            duration: 15.0,
            emissions_sum: 5.6e-5,
            energy_consumed: 1e-3,
            cpu_energy: Some(6e-4),
            ram_energy: Some(4e-4),
            ..EmissionBody::default()
        }
    }

    #[test]
    fn grams_are_what_the_client_said() {
        let figures = figures_of(&body(), Quality::Modelled, NOW).unwrap();
        assert_eq!(
            (figures.energy, figures.cpu, figures.ram),
            (Microjoules(3_600_000_000), Microjoules(2_160_000_000), Microjoules(1_440_000_000))
        );
        let factor = figures.factor.unwrap();
        assert!((factor.intensity.g_per_kwh.0 - 56.0).abs() < 1e-6);
        assert!((factor.grams(figures.energy).0 - 0.056).abs() < 1e-9);
        assert_eq!(factor.intensity.year, 2026);
    }

    #[test]
    fn what_floats_make_of_one_intensity_is_one_factor() {
        let of = |kg| factor_of(kg, 1e-3, ("FR", "France", "x"), 0).unwrap().unwrap().hash();
        assert_eq!(of(5.6e-5), of(5.6e-5 * (1.0 + 1e-12)));
        assert_ne!(of(5.6e-5), of(5.61e-5));
    }

    #[test]
    fn impossible_figures_are_refused_with_what_they_must_be() {
        let refused = |change: &dyn Fn(&mut EmissionBody)| {
            let mut body = body();
            change(&mut body);
            let refused = figures_of(&body, Quality::Modelled, NOW).unwrap_err();
            assert_eq!(refused.status, 422, "{refused}");
            refused.reason
        };
        assert!(
            refused(&|it| it.energy_consumed = -1.0).contains("energy_consumed is -1 kWh: it must be from 0")
        );
        assert!(refused(&|it| it.energy_consumed = f64::NAN).contains("energy_consumed is NaN"));
        assert!(refused(&|it| it.energy_consumed = 1e9).contains("to 10000 kWh"));
        assert!(refused(&|it| it.cpu_energy = Some(-1.0)).contains("cpu_energy"));
        assert!(refused(&|it| it.duration = f64::INFINITY).contains("duration"));
        assert!(refused(&|it| it.emissions_sum = -1.0).contains("emissions_sum"));
        assert!(refused(&|it| it.emissions_sum = 1.0).contains("g/kWh"));
        assert!(refused(&|it| it.energy_consumed = 0.0).contains("of no energy"));
        assert!(refused(&|it| it.timestamp = "2027-11-27".into()).contains("check the clock"));
        assert!(refused(&|it| it.timestamp = "noon".into()).contains("is no time"));
    }

    #[test]
    fn what_our_client_knows_of_its_energy_is_kept() {
        let body = EmissionBody {
            quality: Some("measured".to_owned()),
            stddev_energy: Some(1e-5),
            seconds: Some(14.6),
            ..body()
        };
        let figures = figures_of(&body, Quality::Modelled, NOW).unwrap();
        assert_eq!((figures.quality, figures.duration_ns), (Quality::Measured, 14_600_000_000));
        assert!((figures.stddev_uj - 36e6).abs() < 1e-3, "{}", figures.stddev_uj);
        let wrong = EmissionBody { quality: Some("certain".to_owned()), ..body.clone() };
        assert!(figures_of(&wrong, Quality::Modelled, NOW).unwrap_err().reason.contains("quality"));
        let wrong = EmissionBody { stddev_energy: Some(f64::NAN), ..body };
        assert!(figures_of(&wrong, Quality::Modelled, NOW).unwrap_err().reason.contains("stddev_energy"));
    }

    #[test]
    fn rounding_below_zero_is_zero() {
        let body = EmissionBody { gpu_energy: Some(-1e-18), ..body() };
        assert_eq!(figures_of(&body, Quality::Modelled, NOW).unwrap().gpu, Microjoules::ZERO);
    }

    #[test]
    fn a_run_needs_an_experiment_and_short_words() {
        let body = RunBody {
            timestamp: "2026-11-27T12:00:00+00:00".to_owned(),
            experiment_id: "5B0FA12A-3DD7-45BB-9766-CC326314D9F1".to_owned(),
            codecarbon_version: Some("3.3.2".to_owned()),
            cpu_count: Some(2.0),
            ..RunBody::default()
        };
        let run = run_of(&body, NOW).unwrap();
        assert_eq!(run.experiment, "5b0fa12a-3dd7-45bb-9766-cc326314d9f1");
        assert_eq!(run.accounting, "codecarbon 3.3.2");
        assert_eq!(run.hardware, "processor of unknown name, 2 CPUs");
        let long = RunBody { cpu_model: Some("x".repeat(2000)), ..body.clone() };
        assert!(run_of(&long, NOW).unwrap_err().reason.contains("cpu_model is longer than 1000"));
        let other = RunBody { experiment_id: "mine".to_owned(), ..body };
        assert!(run_of(&other, NOW).unwrap_err().reason.contains("experiment_id \"mine\" is no UUID"));
    }
}
