//! Answers of services, from bytes that may hold anything.

use super::prometheus::Prometheus;
use super::{metadata, parse};
use std::cell::OnceCell;

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
    if let Ok(region) = metadata::name(text) {
        assert!(!region.is_empty() && !region.chars().any(char::is_control), "{region:?}");
    }
}

/// What an engine of the kind of Prometheus answers, with the status that the first byte chooses: no value that is no number.
pub(crate) fn query(bytes: &[u8]) {
    thread_local! {
        static SERVER: OnceCell<Option<Prometheus>> = const { OnceCell::new() };
    }
    let Some((first, body)) = bytes.split_first() else { return };
    let status = [200, 200, 400, 401, 422, 503].into_iter().cycle().nth(usize::from(*first)).unwrap_or(200);
    SERVER.with(|server| {
        let server = server.get_or_init(|| Prometheus::new("http://localhost:9090", None, None).ok());
        for value in server.iter().filter_map(|server| server.values(status, body).ok()).flatten() {
            assert!(value.value.is_finite(), "{}", value.value);
        }
    });
}
