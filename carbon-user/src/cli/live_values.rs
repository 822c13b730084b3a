//! `--live`: intensities of a service, for what was just measured and for what is in the ledger.

use super::error::CliError;
use crate::carbon::place::{CloudRegion, Coordinates, NEAR_KM_MAX};
use crate::carbon::series::Series;
use crate::clock;
use crate::provider::cache::Cache;
pub(super) use crate::provider::cache::Known;
use crate::provider::{self, Http, Provider};
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// A request waits no longer: somebody waits for the report.
const REQUEST_MAX: Duration = Duration::from_secs(5);

/// Live intensities and forecasts.
#[derive(Args, Clone, Debug, Default)]
pub struct LiveArgs {
    /// Use the live intensity (of `advise`, the forecast) of a service: electricitymaps, watttime, uk or energy-charts. Where it
    /// has no value for the time, the place's yearly average holds, and that is said.
    #[arg(long, env = "CARBON_LIVE", value_name = "SERVICE")]
    pub live: Option<String>,
    /// The place by the service's own name for it [default: that of --zone].
    #[arg(long, value_name = "PLACE", requires = "live")]
    pub live_place: Option<String>,
    /// Where the service is, if not at its own address.
    #[arg(long, value_name = "URL", requires = "live")]
    pub live_url: Option<String>,
    /// Where its values are kept [default: /var/cache/carbon for root, else carbon in the user's cache directory].
    #[arg(long, env = "CARBON_LIVE_CACHE", value_name = "DIRECTORY")]
    pub live_cache: Option<PathBuf>,
    /// Open no socket: of a service, what is kept of it is used.
    #[arg(long, env = "CARBON_OFFLINE", value_parser = super::options::yes_or_no)]
    pub offline: bool,
}

impl LiveArgs {
    /// No service, and no socket.
    pub fn none() -> Self {
        Self { live: None, live_place: None, live_url: None, live_cache: None, offline: true }
    }
}

/// Checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveOptions {
    service: String,
    place: Option<String>,
    url: Option<String>,
    cache: Option<PathBuf>,
    offline: bool,
}

impl LiveOptions {
    /// None where no service is named.
    pub(super) fn check(args: LiveArgs) -> Result<Option<Self>, CliError> {
        let LiveArgs { live, live_place, live_url, live_cache, offline } = args;
        let Some(service) = live else { return Ok(None) };
        if provider::provider(&service, None).is_none() {
            return Err(CliError::Argument {
                option: "--live",
                value: service,
                reason: "not a known service".into(),
                advice: "give electricitymaps, watttime, uk or energy-charts".into(),
            });
        }
        let cache = live_cache.or_else(default_cache);
        Ok(Some(Self { service, place: live_place, url: live_url, cache, offline }))
    }

    /// What the service says, now or before; `zone` is the place where none is given for it.
    pub(super) fn known(&self, zone: Option<&str>) -> Known {
        let place = self.place.clone().map_or_else(|| service_place(&self.service, zone?), Some);
        let (Some(place), Some(provider)) = (place, self.provider()) else {
            let why = match zone {
                Some(zone) => format!(
                    "no live value: what {} calls {zone} is not known; give --live-place",
                    self.service
                ),
                None => "no live value: give --live-place or --zone".to_owned(),
            };
            return Known { series: None, notes: vec![why] };
        };
        let now_s = clock::wall().as_second();
        Cache::new(self.cache.clone()).known(provider.as_ref(), &self.http(), &place, now_s)
    }

    /// What the service forecasts for the grid of a region, or for the place that was given.
    pub(super) fn forecast(&self, region: Option<&CloudRegion>) -> Known {
        let (Some(place), Some(provider)) = (self.place_of(region), self.provider()) else {
            let notes = vec![format!(
                "no forecast: what {} calls the place is not known; give --live-place",
                self.service
            )];
            return Known { series: None, notes };
        };
        let now_s = clock::wall().as_second();
        Cache::new(self.cache.clone()).forecast(provider.as_ref(), &self.http(), &place, now_s)
    }

    /// What is kept of the hours that were, for the same place.
    pub(super) fn past(&self, region: Option<&CloudRegion>) -> Option<Series> {
        Cache::new(self.cache.clone()).past(self.provider()?.as_ref(), &self.place_of(region)?)
    }

    fn place_of(&self, region: Option<&CloudRegion>) -> Option<String> {
        self.place.clone().or_else(|| provider::place_of(&self.service, region?))
    }

    fn provider(&self) -> Option<Box<dyn Provider>> {
        provider::provider(&self.service, self.url.as_deref())
    }

    fn http(&self) -> Http {
        if self.offline { Http::offline() } else { Http::with(REQUEST_MAX, Duration::from_millis(500), 2) }
    }
}

/// What a service calls a zone: of a region of a cloud and of coordinates the grid there; anything else is its own word. None where
/// it knows no such region.
pub(super) fn service_place(service: &str, zone: &str) -> Option<String> {
    let near = || {
        let (region, km) = CloudRegion::nearest(Coordinates::parse(zone)?)?;
        (km <= NEAR_KM_MAX).then_some(region)
    };
    match CloudRegion::parse(zone).or_else(near) {
        Some(region) => provider::place_of(service, &region),
        None => Some(zone.trim().to_owned()),
    }
}

/// The system's for root, else the user's own.
fn default_cache() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some("/var/cache/carbon".into());
    }
    let path = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = path("XDG_CACHE_HOME").or_else(|| Some(path("HOME")?.join(".cache")))?;
    Some(base.join("carbon"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_asked_by_its_own_name_of_the_place() {
        let of = |service, zone| service_place(service, zone);
        for zone in ["aws:eu-central-1", " AWS/eu-central-1 ", "50.11,8.68"] {
            assert_eq!(of("electricitymaps", zone).as_deref(), Some("DE"), "{zone}");
            assert_eq!(of("energy-charts", zone).as_deref(), Some("DE"), "{zone}");
            assert_eq!(of("uk", zone), None, "{zone}");
        }
        assert_eq!(of("uk", "aws:eu-west-2").as_deref(), Some("GB"));
        assert_eq!(of("electricitymaps", "FR").as_deref(), Some("FR"));
        assert_eq!(of("watttime", "CAISO_NORTH").as_deref(), Some("CAISO_NORTH"));
    }
}
