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
struct MapsForecast {
    zone: String,
    forecast: Vec<MapsPoint>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MapsPoint {
    carbon_intensity: Option<f64>,
    datetime: String,
}

/// `/carbon-intensity/forecast` of Electricity Maps.
pub(super) fn electricity_maps_forecast(text: &str, asked: &str) -> Result<Vec<Value>, String> {
    let answer: MapsForecast = read(text)?;
    if !answer.zone.eq_ignore_ascii_case(asked) {
        return Err(format!("it is of {}, not of {asked}", answer.zone));
    }
    let known = answer.forecast.iter().filter_map(|it| Some((it.carbon_intensity?, &it.datetime)));
    known.map(|(g, at)| value(g, &answer.zone, time(at)?, true)).collect()
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
    let answer = watttime_answer(text, asked)?;
    let first = answer.data.first().ok_or_else(|| "it has no values".to_owned())?;
    let pounds = first.value.ok_or_else(|| "it has no value for now".to_owned())?;
    value(pounds * G_PER_KWH_OF_LB_PER_MWH, &answer.meta.region, time(&first.point_time)?, true)
}

/// All of it.
pub(super) fn watttime_forecast(text: &str, asked: &str) -> Result<Vec<Value>, String> {
    let answer = watttime_answer(text, asked)?;
    let known = answer.data.iter().filter_map(|it| Some((it.value?, &it.point_time)));
    known.map(|(lb, at)| value(lb * G_PER_KWH_OF_LB_PER_MWH, &answer.meta.region, time(at)?, true)).collect()
}

fn watttime_answer(text: &str, asked: &str) -> Result<WattTimeAnswer, String> {
    let answer: WattTimeAnswer = read(text)?;
    let WattTimeMeta { region, units, signal_type } = &answer.meta;
    if !region.eq_ignore_ascii_case(asked) {
        return Err(format!("it is of {region}, not of {asked}"));
    }
    if units != "lbs_co2_per_mwh" || signal_type != "co2_moer" {
        return Err(format!("it is {signal_type} in {units}, not co2_moer in lbs_co2_per_mwh"));
    }
    Ok(answer)
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

/// `/intensity/{from}/fw24h` of the UK.
pub(super) fn uk_forecast(text: &str) -> Result<Vec<Value>, String> {
    let answer: UkAnswer = read(text)?;
    let known = answer.data.iter().filter_map(|it| Some((it.intensity.forecast?, &it.from)));
    known.map(|(g, from)| value(g, "GB", time(from)?, true)).collect()
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

/// The forecasts of `/co2eq` that end after `now_s`.
pub(super) fn energy_charts_forecast(text: &str, asked: &str, now_s: i64) -> Result<Vec<Value>, String> {
    const QUARTER_S: i64 = 900;
    let answer: ChartsAnswer = read(text)?;
    let place = asked.to_uppercase();
    let points = answer.unix_seconds.iter().zip(&answer.co2eq_forecast);
    let coming = points.filter(|(at, _)| at.saturating_add(QUARTER_S) > now_s);
    let known = coming.filter_map(|(at, g)| Some((*at, (*g)?)));
    let at = |at| Timestamp::from_second(at).map_err(|error| error.to_string());
    known.map(|(start_s, g)| value(g, &place, at(start_s)?, true)).collect()
}

/// An instant as the UK's service writes it: without seconds.
pub(super) fn minute(at_s: i64) -> Result<String, String> {
    strftime(at_s, "%Y-%m-%dT%H:%MZ")
}

/// The date of an instant.
pub(super) fn day(at_s: i64) -> Result<String, String> {
    strftime(at_s, "%Y-%m-%d")
}

fn strftime(at_s: i64, format: &str) -> Result<String, String> {
    Ok(Timestamp::from_second(at_s).map_err(|error| error.to_string())?.strftime(format).to_string())
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
    fn documented_forecasts_are_read() {
        let of = |values: &[Value]| values.iter().map(|it| it.g_per_kwh).collect::<Vec<_>>();
        let maps = documented("electricitymaps_v3", "GET /carbon-intensity/forecast");
        let found = electricity_maps_forecast(&maps, "DE").unwrap();
        assert_eq!((of(&found), found[1].start_s - found[0].start_s), (vec![310.0, 280.0], 3600));
        assert!(electricity_maps_forecast(&maps, "FR").unwrap_err().contains("it is of DE, not of FR"));
        let hole = electricity_maps_forecast(&maps.replace("310", "null"), "DE").unwrap();
        assert_eq!(of(&hole), [280.0], "a null is a hole and no zero");
        assert!(electricity_maps_forecast(&maps.replace("310", "-1"), "DE").is_err());
        let watt = documented("watttime_v3", "GET /v3/forecast?region=&signal_type=&horizon_hours=");
        let found = watttime_forecast(&watt, "CAISO_NORTH").unwrap();
        assert_eq!((found.len(), found[1].start_s - found[0].start_s), (2, 300));
        let future = documented("uk_carbon_intensity", "GET /intensity/{from}/fw24h");
        assert_eq!(of(&uk_forecast(&future).unwrap()), [166.0]);
        let charts = documented("energy_charts", "GET /co2eq?country=de[&start=&end=]");
        let found = energy_charts_forecast(&charts, "de", 1_777_972_600).unwrap();
        assert_eq!((of(&found), found[0].place.as_str()), (vec![298.4, 295.0], "DE"));
        assert_eq!(of(&energy_charts_forecast(&charts, "de", 1_777_973_400).unwrap()), [295.0]);
        assert_eq!(minute(1_777_971_660).as_deref(), Ok("2026-05-05T09:01Z"));
        assert_eq!(day(1_777_971_660).as_deref(), Ok("2026-05-05"));
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
            let _errors = (electricity_maps_forecast(&text, "DE"), watttime_forecast(&text, "DE"));
            let _errors = (uk_forecast(&text), energy_charts_forecast(&text, "DE", 0));
        }
    }
}
