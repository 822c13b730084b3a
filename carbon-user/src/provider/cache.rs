//! Live values, kept: what was asked for is not asked for again, a service that fails is left alone for a while, and the
//! hours that were known stay known.

use super::{Http, Live, Provider, ProviderError};
use crate::carbon::Kind;
use crate::carbon::series::{Point, Series};
use crate::units::GramsPerKwh;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// How long a value holds at most; less where the next one begins earlier.
pub const HOLDS_S: i64 = 3600;

/// After an answer, a service is asked again no sooner: publishers have a new value every 5 to 60 minutes.
const PAUSE_S: i64 = 300;

/// After failures, twice as long each time, from a minute to this.
const PAUSE_MAX_S: i64 = 3600;

/// Values kept: a year of hours.
const POINTS_MAX: usize = 8784;

/// Largest file read: the most points, at a hundred bytes each.
const BYTES_MAX: u64 = 100 * POINTS_MAX as u64;

/// Name and version of a file.
const SCHEMA: &str = "carbon.live/1";

/// Where values are kept, one file for each service and place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    folder: Option<PathBuf>,
}

/// What is known of a place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// Values by time; none where there never was one.
    pub series: Option<Series>,
    /// What must be said.
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
struct Kept {
    schema: String,
    service: String,
    place: String,
    zone: String,
    boundary: String,
    basis: String,
    source: String,
    asked_s: i64,
    failures: u32,
    points: Vec<KeptPoint>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
struct KeptPoint {
    start_s: i64,
    g_per_kwh: f64,
    estimated: bool,
}

impl Cache {
    /// In this folder, which is made when it is needed; none keeps nothing.
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self { folder }
    }

    /// All that is known of `place` by now. The service is asked where its newest value no longer holds, unless it was asked
    /// just now or fails. Nothing that fails here is an error: what was known before stays.
    pub fn known(&self, provider: &dyn Provider, http: &Http, place: &str, now_s: i64) -> Known {
        let ask = |kept: &mut Kept| super::latest(provider, http, place, now_s).map(|live| kept.add(&live));
        let (kept, notes) = self.ask(("live", "live value"), provider.name(), place, now_s, Kept::holds, ask);
        Known { series: kept.series(HOLDS_S), notes }
    }

    /// What is forecast for `place`. The service is asked where its last answer is an hour old; else as [`known`](Self::known).
    pub fn forecast(&self, provider: &dyn Provider, http: &Http, place: &str, now_s: i64) -> Known {
        let fresh = |kept: &Kept, now_s: i64| {
            let asked_s = kept.asked_s;
            !kept.points.is_empty() && (asked_s..asked_s.saturating_add(HOLDS_S)).contains(&now_s)
        };
        let ask = |kept: &mut Kept| {
            let lives = provider.forecast(http, place, now_s)?;
            kept.points.clear();
            for live in &lives {
                kept.add(live);
            }
            Ok(())
        };
        let (kept, notes) = self.ask(("forecast", "forecast"), provider.name(), place, now_s, fresh, ask);
        // The last holds for as long as the one before it.
        let mut newest = kept.points.iter().rev().map(|point| point.start_s);
        let gap_s = newest.next().zip(newest.next()).map_or(HOLDS_S, |(last, before)| last - before);
        Known { series: kept.series(gap_s.min(HOLDS_S)), notes }
    }

    /// Live values that were known of `place` before; nothing is asked.
    pub fn past(&self, provider: &dyn Provider, place: &str) -> Option<Series> {
        load(&self.path("live", provider.name(), place)?, provider.name(), place)?.series(HOLDS_S)
    }

    /// What is kept of a service, after it was asked where it is time to. `prefix` is that of the file's name, `what`
    /// is asked for in words.
    fn ask(
        &self,
        (prefix, what): (&str, &str),
        service: &str,
        place: &str,
        now_s: i64,
        fresh: impl Fn(&Kept, i64) -> bool,
        ask: impl FnOnce(&mut Kept) -> Result<(), ProviderError>,
    ) -> (Kept, Vec<String>) {
        let mut notes = Vec::new();
        let path = self.path(prefix, service, place);
        let mut kept = path.as_deref().and_then(|path| load(path, service, place)).unwrap_or_default();
        let wait_s = kept.wait_s(now_s);
        if wait_s > 0 && kept.failures > 0 {
            notes.push(format!("{service} failed {} times, and is asked again in {wait_s} s", kept.failures));
        } else if wait_s == 0 && !fresh(&kept, now_s) {
            match ask(&mut kept) {
                Ok(()) => {}
                Err(ProviderError::Offline) => {
                    // It was not asked: whoever is online next need not wait.
                    notes.push(format!("no {what}: {}", ProviderError::Offline));
                    return (kept, notes);
                }
                Err(error) => {
                    notes.push(format!("no {what}: {error}"));
                    kept.failures = kept.failures.saturating_add(1);
                }
            }
            kept.asked_s = now_s;
            service.clone_into(&mut kept.service);
            place.clone_into(&mut kept.place);
            SCHEMA.clone_into(&mut kept.schema);
            if let Some(Err(error)) = path.as_deref().map(|path| kept.save(path)) {
                notes.push(format!("{what}s are not kept: {error}"));
            }
        }
        (kept, notes)
    }

    /// Names of others are in the file too, so that two that look alike here are told apart.
    fn path(&self, prefix: &str, service: &str, place: &str) -> Option<PathBuf> {
        let plain = |text: &str| -> String {
            text.chars().take(64).map(|it| if it.is_ascii_alphanumeric() { it } else { '_' }).collect()
        };
        Some(self.folder.as_ref()?.join(format!("{prefix}-{}-{}.json", plain(service), plain(place))))
    }
}

/// None where there is no such file, or it cannot be used: it is made anew then.
fn load(path: &Path, service: &str, place: &str) -> Option<Kept> {
    if fs::metadata(path).ok()?.len() > BYTES_MAX {
        return None;
    }
    let kept: Kept = serde_json::from_str(&fs::read_to_string(path).ok()?).ok()?;
    (kept.schema == SCHEMA && kept.service == service && kept.place == place).then_some(kept)
}

impl Kept {
    /// Whether the newest value still holds.
    fn holds(&self, now_s: i64) -> bool {
        self.points
            .last()
            .is_some_and(|point| (point.start_s..point.start_s.saturating_add(HOLDS_S)).contains(&now_s))
    }

    /// For how long the service is left alone. A clock that was set back asks at once.
    fn wait_s(&self, now_s: i64) -> i64 {
        let pause_s = match self.failures {
            0 => PAUSE_S,
            failures => 60_i64.saturating_mul(1 << (failures - 1).min(6)).min(PAUSE_MAX_S),
        };
        if self.schema.is_empty() || now_s < self.asked_s {
            return 0;
        }
        self.asked_s.saturating_add(pause_s).saturating_sub(now_s).max(0)
    }

    /// Another zone, kind or source begins anew: kinds are never mixed.
    fn add(&mut self, live: &Live) {
        self.failures = 0;
        let it = &live.intensity;
        let (boundary, basis) = (it.kind.boundary_text().to_owned(), it.kind.basis_text());
        if (&self.zone, &self.boundary, &self.basis, &self.source)
            != (&it.zone, &boundary, &basis, &it.source)
        {
            self.points.clear();
            (self.boundary, self.basis) = (boundary, basis);
            self.zone.clone_from(&it.zone);
            self.source.clone_from(&it.source);
        }
        // A value that its publisher has put right takes the place of the one before.
        self.points.retain(|point| point.start_s != live.start_s);
        self.points.push(KeptPoint {
            start_s: live.start_s,
            g_per_kwh: it.g_per_kwh.0,
            estimated: live.estimated,
        });
        self.points.sort_by_key(|point| point.start_s);
        self.points.drain(..self.points.len().saturating_sub(POINTS_MAX));
    }

    /// The newest value holds for `last_s`, any other until the next, but for an hour at most.
    fn series(&self, last_s: i64) -> Option<Series> {
        let ends = self.points.iter().skip(1).map(|next| Some(next.start_s)).chain([None]);
        let points = self.points.iter().zip(ends).map(|(point, next_s)| Point {
            start_s: point.start_s,
            end_s: point
                .start_s
                .saturating_add(next_s.map_or(last_s, |_| HOLDS_S))
                .min(next_s.unwrap_or(i64::MAX)),
            g_per_kwh: GramsPerKwh(point.g_per_kwh),
            estimated: point.estimated,
        });
        let kind = Kind::parse(&self.boundary, &self.basis)?;
        Series::new(&self.zone, kind, &self.source, points.collect()).ok()
    }

    /// Whole or not at all.
    fn save(&self, path: &Path) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
        let text = serde_json::to_string(self).map_err(io::Error::other)?;
        fs::write(&temporary, text)?;
        fs::rename(&temporary, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::carbon::Intensity;
    use std::cell::Cell;

    /// Gives the value of the hour, unless it is told to fail.
    #[derive(Debug, Default)]
    struct Service {
        asked: Cell<u32>,
        fails: Cell<bool>,
        kind: Cell<Option<Kind>>,
    }

    const HOURLY: Kind = super::super::HOURLY;

    impl Provider for Service {
        fn name(&self) -> &'static str {
            "a test"
        }

        fn latest(&self, _http: &Http, place: &str, now_s: i64) -> Result<Live, ProviderError> {
            self.asked.set(self.asked.get() + 1);
            if self.fails.get() {
                return Err(ProviderError::Failed { url: "x".into(), status: 500 });
            }
            let kind = self.kind.get().unwrap_or(HOURLY);
            let g = f64::from(u32::try_from(now_s / 3600).unwrap());
            let intensity = Intensity {
                g_per_kwh: GramsPerKwh(g),
                kind,
                zone: place.into(),
                ..Intensity::of("FR").unwrap()
            };
            Ok(Live { intensity, start_s: now_s / 3600 * 3600, estimated: false })
        }

        /// Half hours.
        fn forecast(&self, http: &Http, place: &str, now_s: i64) -> Result<Vec<Live>, ProviderError> {
            let first = self.latest(http, place, now_s)?;
            let half = |n: i64| Live { start_s: first.start_s + n * 1800, estimated: true, ..first.clone() };
            Ok((0..48).map(half).collect())
        }
    }

    fn known(folder: &Path, service: &Service, now_s: i64) -> Known {
        Cache::new(Some(folder.into())).known(service, &Http::offline(), "FR", now_s)
    }

    #[test]
    fn a_value_that_holds_is_not_asked_for_again_and_stays_known() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("deeper");
        let service = Service::default();
        for (now_s, asked) in [(7200, 1), (7201, 1), (10_799, 1), (10_800, 2)] {
            let known = known(&folder, &service, now_s);
            assert_eq!((service.asked.get(), known.notes), (asked, Vec::new()), "{now_s}");
        }
        let series = known(&folder, &service, 10_801).series.unwrap();
        let mean = series.mean(7200, 14_400).unwrap();
        assert!((mean.intensity.g_per_kwh.0 - 2.5).abs() < 1e-9 && mean.covered_ratio >= 1.0);
        assert_eq!((series.kind(), mean.intensity.zone.as_str()), (HOURLY, "FR"));
    }

    #[test]
    fn a_forecast_is_asked_for_once_an_hour_and_kept_apart() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, service) = (Cache::new(Some(folder.path().into())), Service::default());
        let forecast = |now_s| cache.forecast(&service, &Http::offline(), "FR", now_s);
        for (now_s, asked) in [(7200, 1), (10_799, 1), (10_800, 2)] {
            let known = forecast(now_s);
            assert_eq!((service.asked.get(), known.notes), (asked, Vec::new()), "{now_s}");
            let series = known.series.unwrap();
            let last = series.points().last().unwrap();
            assert_eq!((series.points().len(), last.end_s - last.start_s), (48, 1800));
        }
        assert_eq!(cache.past(&service, "FR"), None, "a forecast is no value of its hour");
        service.fails.set(true);
        let failed = forecast(14_400);
        assert!(failed.series.is_some() && failed.notes[0].starts_with("no forecast: "), "{failed:?}");
    }

    #[test]
    fn a_service_that_fails_is_left_alone_for_longer_and_longer() {
        let folder = tempfile::tempdir().unwrap();
        let service = Service::default();
        assert!(known(folder.path(), &service, 0).series.is_some());
        service.fails.set(true);
        let mut asked_at = Vec::new();
        for now_s in 3600..20_000 {
            let before = service.asked.get();
            let known = known(folder.path(), &service, now_s);
            assert!(
                known.series.is_some() && !known.notes.is_empty(),
                "what was known stays, and it is said"
            );
            if service.asked.get() > before {
                asked_at.push(now_s - 3600);
            }
        }
        assert_eq!(asked_at, [0, 60, 180, 420, 900, 1860, 3780, 7380, 10_980, 14_580]);
        service.fails.set(false);
        // A clock that was set back asks at once, and all is well again.
        assert_eq!(known(folder.path(), &service, 10_000).notes, Vec::<String>::new());
    }

    #[test]
    fn kinds_are_not_mixed_and_a_damaged_file_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let service = Service::default();
        known(folder.path(), &service, 0);
        service.kind.set(Some(Kind { signal: crate::carbon::kind::Signal::Marginal, ..HOURLY }));
        let series = known(folder.path(), &service, 3600).series.unwrap();
        assert_eq!(series.points().len(), 1, "{series:?}");
        let file = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        fs::write(&file, "{\"schema\":").unwrap();
        assert_eq!(known(folder.path(), &service, 3601).series.unwrap().points().len(), 1);
        assert_eq!(service.asked.get(), 3);
        // Another place whose file has the same name.
        let cache = Cache::new(Some(folder.path().into()));
        cache.known(&service, &Http::offline(), "A/B", 0);
        cache.known(&service, &Http::offline(), "A_B", 0);
        assert_eq!(service.asked.get(), 5);
        // Where nothing can be kept, values are still had.
        let nowhere = Cache::new(Some("/proc/nowhere".into())).known(&service, &Http::offline(), "FR", 0);
        assert!(nowhere.series.is_some() && nowhere.notes[0].starts_with("live values are not kept"));
    }
}
