//! Live intensities and where this machine is: the only place that dials out, and only where the user asks for it.
//!
//! It must not be called from the loop that closes windows. What a service says is checked: the place that was asked
//! for, the kind, a value that is a number; a `null` is no value and never 0.

pub mod cache;
mod http;
pub mod metadata;
mod parse;

pub use http::Http;

use crate::carbon::kind::{Boundary, Flow, Gas, Method, Signal, Span};
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
    /// The answer is not what its documentation says, or is of another place.
    #[error("{provider} gave an answer that cannot be used: {reason}")]
    Answer {
        /// Which.
        provider: &'static str,
        /// How.
        reason: String,
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
            spread: Spread::NONE,
            source: source.to_owned(),
            assumed: false,
        },
        start_s: value.start_s,
        estimated: value.estimated,
    }
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
        let token = secret(self.name(), "ELECTRICITYMAPS_TOKEN")?;
        let url = format!("{}/carbon-intensity/latest", self.base);
        // Without the last, an unknown place becomes that of the caller's address.
        let query = [
            ("zone", place),
            ("emissionFactorType", "lifecycle"),
            ("shouldUseFallbackCallerLookup", "false"),
        ];
        let text = http.get(&url, &query, &[("auth-token", &token)])?;
        let value = parse::electricity_maps(&text, place).map_err(|reason| self.answer(reason))?;
        Ok(live(value, HOURLY, "Electricity Maps API, for the holder of the token only"))
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
        let user = secret(self.name(), "WATTTIME_USER")?;
        let password = secret(self.name(), "WATTTIME_PASSWORD")?;
        let basic = format!("Basic {}", parse::base64(format!("{user}:{password}").as_bytes()));
        let login = http.get(&format!("{}/login", self.base), &[], &[("Authorization", &basic)])?;
        let token = parse::watttime_token(&login).map_err(|reason| self.answer(reason))?;
        let bearer = format!("Bearer {token}");
        let url = format!("{}/v3/forecast", self.base);
        let query = [("region", place), ("signal_type", "co2_moer"), ("horizon_hours", "0")];
        let text = http.get(&url, &query, &[("Authorization", &bearer)])?;
        let value = parse::watttime(&text, place).map_err(|reason| self.answer(reason))?;
        let kind = Kind {
            signal: Signal::Marginal,
            boundary: Boundary::Direct,
            flow: Flow::Unstated,
            gas: Gas::Co2,
            ..HOURLY
        };
        Ok(live(value, kind, "WattTime API, marginal operating emissions rate"))
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
        if !["GB", "UK"].contains(&place.to_uppercase().as_str()) {
            return Err(self.answer(format!("it knows Great Britain only, not {place}")));
        }
        let text = http.get(&format!("{}/intensity", self.base), &[], &[])?;
        let value = parse::uk(&text).map_err(|reason| self.answer(reason))?;
        let kind = Kind { boundary: Boundary::Direct, gas: Gas::Co2, ..HOURLY };
        Ok(live(value, kind, "NESO Carbon Intensity API, CC BY 4.0"))
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
        Ok(live(
            value,
            Kind { flow: Flow::Unstated, ..HOURLY },
            "energy-charts.info, Fraunhofer ISE, CC BY 4.0",
        ))
    }
}

/// A name of its own for each service's bad answers.
trait Answers {
    fn answer(&self, reason: String) -> ProviderError;
}

impl<T: Provider> Answers for T {
    fn answer(&self, reason: String) -> ProviderError {
        ProviderError::Answer { provider: self.name(), reason }
    }
}
