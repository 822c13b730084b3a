//! Answers of services, from bytes that may hold anything.

use super::parse;

/// What is understood is an intensity that can be.
pub(crate) fn answers(text: &str) {
    let one = [
        parse::electricity_maps(text, "FR"),
        parse::watttime(text, "FR"),
        parse::uk(text),
        parse::energy_charts(text, "FR", 1_700_000_000),
    ];
    let many = [
        parse::electricity_maps_forecast(text, "FR"),
        parse::watttime_forecast(text, "FR"),
        parse::uk_forecast(text),
        parse::energy_charts_forecast(text, "FR", 1_700_000_000),
    ];
    for value in one.into_iter().flatten().chain(many.into_iter().flatten().flatten()) {
        assert!((0.0..=5000.0).contains(&value.g_per_kwh), "{}", value.g_per_kwh);
    }
    drop(parse::watttime_token(text));
}
