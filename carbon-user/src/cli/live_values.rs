//! `--live`: intensities of a service, for what was just measured and for what is in the ledger.

use super::error::CliError;
use crate::carbon::place::CloudRegion;
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
    #[arg(long, env = "CARBON_OFFLINE", value_parser = clap::builder::FalseyValueParser::new())]
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
        let place = self.place.as_deref().or(zone);
        let (Some(place), Some(provider)) = (place, self.provider()) else {
            let notes = vec!["no live value: give --live-place or --zone".to_owned()];
            return Known { series: None, notes };
        };
        let now_s = clock::wall().as_second();
        Cache::new(self.cache.clone()).known(provider.as_ref(), &self.http(), place, now_s)
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

/// The system's for root, else the user's own.
fn default_cache() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some("/var/cache/carbon".into());
    }
    let path = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = path("XDG_CACHE_HOME").or_else(|| Some(path("HOME")?.join(".cache")))?;
    Some(base.join("carbon"))
}
