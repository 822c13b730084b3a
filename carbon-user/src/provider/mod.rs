//! Live intensities and where this machine is: the only place that dials out, and only where the user asks for it.
//!
//! It must not be called from the loop that closes windows. What a service says is checked: the place that was asked
//! for, the kind, a value that is a number; a `null` is no value and never 0.

pub mod cache;
pub mod codecarbon;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod http;
pub mod metadata;
mod parse;
pub mod prometheus;

pub use http::Http;

use crate::carbon::kind::{Boundary, Flow, Gas, Method, Signal, Span};
use crate::carbon::place::CloudRegion;
use crate::carbon::{Intensity, Kind, Spread};
use crate::units::GramsPerKwh;

/// Why a service gave no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// `--offline`.
    #[error("nothing is asked of the network by --offline")]
    Offline,
    /// No connection, or no answer in time.
    #[error("{url} does not answer: {reason}")]
    Unreachable {
        /// Without its parameters.
        url: String,
        /// Why.
        reason: String,
    },
    /// It will not answer this user: asking again is of no use.
    #[error("{url} refuses with status {status}: check the token and what the plan allows")]
    Refused {
        /// Without its parameters.
        url: String,
        /// 401 or 403.
        status: u16,
    },
    /// It failed or is overloaded, after it was asked again.
    #[error("{url} fails with status {status}")]
    Failed {
        /// Without its parameters.
        url: String,
        /// The last one.
        status: u16,
    },
    /// It does not take what was sent: sending the same again is of no use.
    #[error("{url} does not take it (status {status}): {said}")]
    NotTaken {
        /// Without its parameters.
        url: String,
        /// 409, 413 or 422.
        status: u16,
        /// Its own words.
        said: String,
    },
    /// The answer is not what its documentation says, or is of another place.
    #[error("{provider} gave an answer that cannot be used: {reason}")]
    Answer {
        /// Which.
        provider: &'static str,
        /// How.
        reason: String,
    },
    /// No metadata service says where this machine is.
    #[error("no cloud's metadata service says it: {reasons}")]
    Nowhere {
        /// Of each service, why.
        reasons: String,
    },
    /// A secret is missing.
    #[error("{provider} needs {variable} in the environment")]
    Secret {
        /// Which.
        provider: &'static str,
        /// What.
        variable: &'static str,
    },
}

/// A value and when it holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Live {
    /// With all that must be said of it.
    pub intensity: Intensity,
    /// Unix time from which it holds.
    pub start_s: i64,
    /// Whether the publisher estimated or forecast it.
    pub estimated: bool,
}

/// A service that knows the present intensity of a place.
pub trait Provider: std::fmt::Debug {
    /// Its name.
    fn name(&self) -> &'static str;

    /// The newest value for a place, by the service's own name of it.
    fn latest(&self, http: &Http, place: &str, now_s: i64) -> Result<Live, ProviderError>;

    /// What is forecast for the day from now on, in order; never empty. Times without a value are left out.
    fn forecast(&self, http: &Http, place: &str, now_s: i64) -> Result<Vec<Live>, ProviderError>;
}

/// No present value begins later than this: clocks differ by less, and a value of the future is a forecast or a mistake.
const AHEAD_MAX_S: i64 = 3600;

/// The newest value of a service, of a time that can be.
pub fn latest(provider: &dyn Provider, http: &Http, place: &str, now_s: i64) -> Result<Live, ProviderError> {
    let live = provider.latest(http, place, now_s)?;
    if live.start_s > now_s.saturating_add(AHEAD_MAX_S) {
        let at = jiff::Timestamp::from_second(live.start_s).unwrap_or_default();
        let reason = format!("it is of {at}, which has not come yet");
        return Err(ProviderError::Answer { provider: provider.name(), reason });
    }
    Ok(live)
}

/// What a service calls the grid of a region, by its name in [`provider`]; none where the table does not say.
pub fn place_of(service: &str, region: &CloudRegion) -> Option<String> {
    let row = region.row();
    match service {
        "electricitymaps" => row.em_zone.clone(),
        "watttime" => row.wt_region.clone(),
        "uk" => (row.iso2 == "GB").then(|| "GB".to_owned()),
        "energy-charts" => Some(row.iso2.clone()),
        _ => None,
    }
}

/// The services.
pub fn provider(name: &str, base: Option<&str>) -> Option<Box<dyn Provider>> {
    let base = |own: &str| base.unwrap_or(own).trim_end_matches('/').to_owned();
    Some(match name {
        "electricitymaps" => Box::new(ElectricityMaps { base: base("https://api.electricitymaps.com/v3") }),
        "watttime" => Box::new(WattTime { base: base("https://api.watttime.org") }),
        "uk" => Box::new(Uk { base: base("https://api.carbonintensity.org.uk") }),
        "energy-charts" => Box::new(EnergyCharts { base: base("https://api.energy-charts.info") }),
        _ => return None,
    })
}

fn secret(provider: &'static str, variable: &'static str) -> Result<String, ProviderError> {
    std::env::var(variable)
        .ok()
        .filter(|value| !value.trim().is_empty() && !value.contains(['\n', '\r']))
        .ok_or(ProviderError::Secret { provider, variable })
}

fn live(value: parse::Value, kind: Kind, source: &str) -> Live {
    Live {
        intensity: Intensity {
            g_per_kwh: GramsPerKwh(value.g_per_kwh),
            name: value.place.clone(),
            zone: value.place,
            year: value.year,
            kind,
            spread: Spread::where_none_is_stated(kind),
            source: source.to_owned(),
            assumed: false,
        },
        start_s: value.start_s,
        estimated: value.estimated,
    }
}

/// All of a forecast; none is an answer that cannot be used.
fn lives(values: Vec<parse::Value>, kind: Kind, source: &str) -> Result<Vec<Live>, String> {
    if values.is_empty() {
        return Err("it has no values for the hours to come".to_owned());
    }
    Ok(values.into_iter().map(|value| live(value, kind, source)).collect())
}

const HOURLY: Kind = Kind {
    signal: Signal::Average,
    boundary: Boundary::Lifecycle,
    method: Method::Location,
    flow: Flow::Consumption,
    gas: Gas::Co2e,
    span: Span::Hour,
};

/// Electricity Maps, version 3.
#[derive(Debug)]
struct ElectricityMaps {
    base: String,
}

impl Provider for ElectricityMaps {
    fn name(&self) -> &'static str {
        "Electricity Maps"
    }

    fn latest(&self, http: &Http, place: &str, _now_s: i64) -> Result<Live, ProviderError> {
        let text = self.ask(http, "latest", place)?;
        let value = parse::electricity_maps(&text, place).map_err(|reason| self.answer(reason))?;
        Ok(live(value, HOURLY, ELECTRICITY_MAPS))
    }

    fn forecast(&self, http: &Http, place: &str, _now_s: i64) -> Result<Vec<Live>, ProviderError> {
        let text = self.ask(http, "forecast", place)?;
        let values = parse::electricity_maps_forecast(&text, place);
        values.and_then(|it| lives(it, HOURLY, ELECTRICITY_MAPS)).map_err(|reason| self.answer(reason))
    }
}

const ELECTRICITY_MAPS: &str = "Electricity Maps API, for the holder of the token only";

impl ElectricityMaps {
    fn ask(&self, http: &Http, what: &str, place: &str) -> Result<String, ProviderError> {
        let token = secret(self.name(), "ELECTRICITYMAPS_TOKEN")?;
        let url = format!("{}/carbon-intensity/{what}", self.base);
        // Without the last, an unknown place becomes that of the caller's address.
        let query = [
            ("zone", place),
            ("emissionFactorType", "lifecycle"),
            ("shouldUseFallbackCallerLookup", "false"),
        ];
        http.get(&url, &query, &[("auth-token", &token)])
    }
}

/// `WattTime`, version 3: marginal.
#[derive(Debug)]
struct WattTime {
    base: String,
}

impl Provider for WattTime {
    fn name(&self) -> &'static str {
        "WattTime"
    }

    fn latest(&self, http: &Http, place: &str, _now_s: i64) -> Result<Live, ProviderError> {
        let text = self.ask(http, place, "0")?;
        let value = parse::watttime(&text, place).map_err(|reason| self.answer(reason))?;
        Ok(live(value, MARGINAL, WATTTIME))
    }

    fn forecast(&self, http: &Http, place: &str, _now_s: i64) -> Result<Vec<Live>, ProviderError> {
        let text = self.ask(http, place, "24")?;
        let values = parse::watttime_forecast(&text, place);
        values.and_then(|it| lives(it, MARGINAL, WATTTIME)).map_err(|reason| self.answer(reason))
    }
}

const WATTTIME: &str = "WattTime API, marginal operating emissions rate";

const MARGINAL: Kind = Kind {
    signal: Signal::Marginal,
    boundary: Boundary::Direct,
    flow: Flow::Unstated,
    gas: Gas::Co2,
    ..HOURLY
};

impl WattTime {
    fn ask(&self, http: &Http, place: &str, hours: &str) -> Result<String, ProviderError> {
        let user = secret(self.name(), "WATTTIME_USER")?;
        let password = secret(self.name(), "WATTTIME_PASSWORD")?;
        let basic = format!("Basic {}", parse::base64(format!("{user}:{password}").as_bytes()));
        let login = http.get(&format!("{}/login", self.base), &[], &[("Authorization", &basic)])?;
        let token = parse::watttime_token(&login).map_err(|reason| self.answer(reason))?;
        let bearer = format!("Bearer {token}");
        let url = format!("{}/v3/forecast", self.base);
        let query = [("region", place), ("signal_type", "co2_moer"), ("horizon_hours", hours)];
        http.get(&url, &query, &[("Authorization", &bearer)])
    }
}

/// The Carbon Intensity API of Great Britain.
#[derive(Debug)]
struct Uk {
    base: String,
}

impl Provider for Uk {
    fn name(&self) -> &'static str {
        "NESO Carbon Intensity"
    }

    fn latest(&self, http: &Http, place: &str, _now_s: i64) -> Result<Live, ProviderError> {
        let text = self.ask(http, "/intensity", place)?;
        let value = parse::uk(&text).map_err(|reason| self.answer(reason))?;
        Ok(live(value, BRITISH, NESO))
    }

    fn forecast(&self, http: &Http, place: &str, now_s: i64) -> Result<Vec<Live>, ProviderError> {
        let from = parse::minute(now_s).map_err(|reason| self.answer(reason))?;
        let text = self.ask(http, &format!("/intensity/{from}/fw24h"), place)?;
        let values = parse::uk_forecast(&text);
        values.and_then(|it| lives(it, BRITISH, NESO)).map_err(|reason| self.answer(reason))
    }
}

const NESO: &str = "NESO Carbon Intensity API, CC BY 4.0";

const BRITISH: Kind = Kind { boundary: Boundary::Direct, gas: Gas::Co2, ..HOURLY };

impl Uk {
    fn ask(&self, http: &Http, path: &str, place: &str) -> Result<String, ProviderError> {
        if !["GB", "UK"].contains(&place.to_uppercase().as_str()) {
            return Err(self.answer(format!("it knows Great Britain only, not {place}")));
        }
        http.get(&format!("{}{path}", self.base), &[], &[])
    }
}

/// energy-charts.info of Fraunhofer ISE.
#[derive(Debug)]
struct EnergyCharts {
    base: String,
}

impl Provider for EnergyCharts {
    fn name(&self) -> &'static str {
        "energy-charts.info"
    }

    fn latest(&self, http: &Http, place: &str, now_s: i64) -> Result<Live, ProviderError> {
        let country = place.to_lowercase();
        let text = http.get(&format!("{}/co2eq", self.base), &[("country", &country)], &[])?;
        let value = parse::energy_charts(&text, place, now_s).map_err(|reason| self.answer(reason))?;
        Ok(live(value, UNSTATED, ENERGY_CHARTS))
    }

    fn forecast(&self, http: &Http, place: &str, now_s: i64) -> Result<Vec<Live>, ProviderError> {
        let country = place.to_lowercase();
        let day = |at_s| parse::day(at_s).map_err(|reason| self.answer(reason));
        let (start, end) = (day(now_s)?, day(now_s.saturating_add(86_400))?);
        let query = [("country", country.as_str()), ("start", start.as_str()), ("end", end.as_str())];
        let text = http.get(&format!("{}/co2eq", self.base), &query, &[])?;
        let values = parse::energy_charts_forecast(&text, place, now_s);
        values.and_then(|it| lives(it, UNSTATED, ENERGY_CHARTS)).map_err(|reason| self.answer(reason))
    }
}

const ENERGY_CHARTS: &str = "energy-charts.info, Fraunhofer ISE, CC BY 4.0";

const UNSTATED: Kind = Kind { flow: Flow::Unstated, ..HOURLY };

/// A name of its own for each service's bad answers.
trait Answers {
    fn answer(&self, reason: String) -> ProviderError;
}

impl<T: Provider> Answers for T {
    fn answer(&self, reason: String) -> ProviderError {
        ProviderError::Answer { provider: self.name(), reason }
    }
}
