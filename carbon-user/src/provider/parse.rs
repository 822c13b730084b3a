//! What the services answer: pure, and distrustful.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Deserialize;

/// Pounds per megawatt-hour in grams per kilowatt-hour (the international pound, exactly).
const G_PER_KWH_OF_LB_PER_MWH: f64 = 0.453_592_37;

/// A value that was found.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Value {
    pub(super) g_per_kwh: f64,
    pub(super) place: String,
    pub(super) start_s: i64,
    pub(super) year: u16,
    pub(super) estimated: bool,
}

fn value(g_per_kwh: f64, place: &str, at: Timestamp, estimated: bool) -> Result<Value, String> {
    if !(0.0..=5000.0).contains(&g_per_kwh) {
        return Err(format!("{g_per_kwh} g/kWh cannot be"));
    }
    let year = u16::try_from(at.to_zoned_datetime(TimeZone::UTC).year()).unwrap_or(0);
    Ok(Value { g_per_kwh, place: place.to_owned(), start_s: at.as_second(), year, estimated })
}

fn time(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| format!("{text:?} is no time"))
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MapsAnswer {
    zone: String,
    carbon_intensity: Option<f64>,
    datetime: String,
    emission_factor_type: Option<String>,
    #[serde(default)]
    is_estimated: bool,
}

/// `/carbon-intensity/latest` of Electricity Maps.
pub(super) fn electricity_maps(text: &str, asked: &str) -> Result<Value, String> {
    let answer: MapsAnswer = read(text)?;
    if !answer.zone.eq_ignore_ascii_case(asked) {
        return Err(format!("it is of {}, not of {asked}", answer.zone));
    }
    if answer.emission_factor_type.as_deref().is_some_and(|kind| kind != "lifecycle") {
        return Err("it is not lifecycle, as was asked".to_owned());
    }
    let g = answer.carbon_intensity.ok_or_else(|| "it has no value for now".to_owned())?;
    value(g, &answer.zone, time(&answer.datetime)?, answer.is_estimated)
}

#[derive(Deserialize)]
struct Token {
    token: String,
}

/// `/login` of `WattTime`.
pub(super) fn watttime_token(text: &str) -> Result<String, String> {
    let Token { token } = read(text)?;
    if token.is_empty() || token.contains(['\n', '\r']) { Err("no token".to_owned()) } else { Ok(token) }
}

#[derive(Deserialize)]
struct WattTimeAnswer {
    data: Vec<WattTimePoint>,
    meta: WattTimeMeta,
}

#[derive(Deserialize)]
struct WattTimePoint {
    point_time: String,
    value: Option<f64>,
}

#[derive(Deserialize)]
struct WattTimeMeta {
    region: String,
    units: String,
    signal_type: String,
}

/// `/v3/forecast` of `WattTime`: its first point is now.
pub(super) fn watttime(text: &str, asked: &str) -> Result<Value, String> {
    let answer: WattTimeAnswer = read(text)?;
    let WattTimeMeta { region, units, signal_type } = answer.meta;
    if !region.eq_ignore_ascii_case(asked) {
        return Err(format!("it is of {region}, not of {asked}"));
    }
    if units != "lbs_co2_per_mwh" || signal_type != "co2_moer" {
        return Err(format!("it is {signal_type} in {units}, not co2_moer in lbs_co2_per_mwh"));
    }
    let first = answer.data.first().ok_or_else(|| "it has no values".to_owned())?;
    let pounds = first.value.ok_or_else(|| "it has no value for now".to_owned())?;
    value(pounds * G_PER_KWH_OF_LB_PER_MWH, &region, time(&first.point_time)?, true)
}

#[derive(Deserialize)]
struct UkAnswer {
    data: Vec<UkPoint>,
}

#[derive(Deserialize)]
struct UkPoint {
    from: String,
    intensity: UkIntensity,
}

#[derive(Deserialize)]
struct UkIntensity {
    forecast: Option<f64>,
    actual: Option<f64>,
}

/// `/intensity` of the UK: the actual value, else the forecast.
pub(super) fn uk(text: &str) -> Result<Value, String> {
    let answer: UkAnswer = read(text)?;
    let point = answer.data.first().ok_or_else(|| "it has no values".to_owned())?;
    let UkIntensity { forecast, actual } = &point.intensity;
    let g = actual.or(*forecast).ok_or_else(|| "it has no value for now".to_owned())?;
    value(g, "GB", time(&point.from)?, actual.is_none())
}

#[derive(Deserialize)]
struct ChartsAnswer {
    unix_seconds: Vec<i64>,
    co2eq: Vec<Option<f64>>,
    #[serde(default)]
    co2eq_forecast: Vec<Option<f64>>,
}

/// `/co2eq` of energy-charts: the last measured value that is not in the future, else its forecast.
pub(super) fn energy_charts(text: &str, asked: &str, now_s: i64) -> Result<Value, String> {
    let answer: ChartsAnswer = read(text)?;
    let forecasts = answer.co2eq_forecast.iter().copied().chain(std::iter::repeat(None));
    let points = answer.unix_seconds.iter().zip(&answer.co2eq).zip(forecasts);
    let past = points.filter(|((at, _), _)| **at <= now_s);
    let newest = past
        .filter_map(|((at, measured), forecast)| {
            measured.map(|g| (*at, g, false)).or_else(|| forecast.map(|g| (*at, g, true)))
        })
        .last();
    let (at, g, estimated) = newest.ok_or_else(|| "it has no value for now".to_owned())?;
    let at = Timestamp::from_second(at).map_err(|error| error.to_string())?;
    value(g, &asked.to_uppercase(), at, estimated)
}

/// RFC 4648, with padding.
pub(super) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let at = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4_usize {
            let index = usize::try_from(bits >> (18 - 6 * digit) & 63).unwrap_or(0);
            let known = digit <= group.len();
            text.push(if known { char::from(DIGITS.get(index).copied().unwrap_or(b'=')) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The services' documented answers, with values that are invented.
    fn documented(service: &str, request: &str) -> String {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/signal-apis.json");
        let all: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let found = &all[service][request];
        assert!(!found.is_null(), "{service} {request}");
        found.to_string()
    }

    #[test]
    fn documented_answers_are_read() {
        let maps = documented("electricitymaps_v3", "GET /carbon-intensity/latest");
        let found = electricity_maps(&maps, "DE").unwrap();
        assert!((found.g_per_kwh - 302.0).abs() < 1e-9 && found.estimated && found.year == 2026);
        assert!(electricity_maps(&maps, "FR").unwrap_err().contains("it is of DE, not of FR"));
        let null = maps.replace("302", "null");
        assert!(electricity_maps(&null, "DE").unwrap_err().contains("no value"), "a null is no zero");
        let direct = maps.replace("lifecycle", "direct");
        assert!(electricity_maps(&direct, "DE").unwrap_err().contains("not lifecycle"));
        let watt = documented("watttime_v3", "GET /v3/forecast?region=&signal_type=&horizon_hours=");
        let found = watttime(&watt, "CAISO_NORTH").unwrap();
        assert!((found.g_per_kwh - 870.0 * 0.453_592_37).abs() < 1e-9);
        assert!(watttime(&watt.replace("lbs_co2_per_mwh", "percentile"), "CAISO_NORTH").is_err());
        assert_eq!(watttime_token(&documented("watttime_v3", "GET /login")).unwrap(), "eyJhbGciOi...");
        let found = uk(&documented("uk_carbon_intensity", "GET /intensity")).unwrap();
        assert!((found.g_per_kwh - 163.0).abs() < 1e-9 && !found.estimated, "a time without seconds is read");
        let future = documented("uk_carbon_intensity", "GET /intensity/{from}/fw24h");
        assert!((uk(&future).unwrap().g_per_kwh - 166.0).abs() < 1e-9 && uk(&future).unwrap().estimated);
        let charts = documented("energy_charts", "GET /co2eq?country=de[&start=&end=]");
        let of = |now| energy_charts(&charts, "de", now);
        assert!((of(1_777_971_700).unwrap().g_per_kwh - 301.2).abs() < 1e-9);
        assert!(of(1_777_972_600).unwrap().estimated, "the forecast, where nothing is measured yet");
        assert!(of(0).unwrap_err().contains("no value"));
    }

    #[test]
    fn base64_is_that_of_the_standard() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    proptest! {
        #[test]
        fn any_answer_is_a_value_or_an_error(text: String) {
            let _errors = (electricity_maps(&text, "DE"), watttime(&text, "DE"), uk(&text), energy_charts(&text, "DE", 0));
        }
    }
}
