//! The sums of all windows, and the minute that is not written yet. Both get every joule of every window once, so that
//! what is published and what is written agree to the microjoule.

use super::minute::{Minute, Names};
use super::published::{DomainSums, DomainTotals, Published, Who, WorkloadTotals};
use crate::attribution::{Attributed, Share};
use crate::ledger::Factor;
use crate::ledger::rows::Flush;
use crate::report::top::{kind_and_name, located};
use crate::units::{CgroupId, CpuNanos, Microjoules};
use crate::window::{Accounts, Domain, WorkloadKey};
use crate::workload::Identity;
use rustc_hash::{FxBuildHasher, FxHashMap};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A workload that has used nothing for so long loses its series: more than two scrapes of a minute.
const QUIET: Duration = Duration::from_mins(5);
/// It loses it sooner where another one needs it, but never within two scrapes of a minute.
const QUIET_MIN: Duration = Duration::from_mins(2);
/// But for one that used [`LEAD`] times as much in a window as it ever did: else, where many come and go, all series would be of small
/// ones that have gone, and a large one that has come to stay would have none.
const QUIET_SMALL: Duration = Duration::from_secs(15);
/// Those of one size do not take turns.
const LEAD: u64 = 2;
/// Names of those without a series are made anew after so long without use, and looked through as often: they are of containers that have gone.
const NAME_QUIET: Duration = Duration::from_secs(10);
/// Names however many are in use; those that are needed then are made again.
const NAMES_MAX: usize = 4_096;

/// A series, and when its workload last used anything.
#[derive(Debug)]
struct Series {
    totals: WorkloadTotals,
    used_ns: u64,
}

impl Series {
    fn energy(&self) -> Microjoules {
        self.totals.domains.iter().map(|of| of.dynamic_energy + of.static_energy).sum()
    }
}

/// Series by a number that is never given twice, so that a window compares no text: paths are long, and alike.
type SeriesId = u64;

/// Whose a key is, and the series that it had last.
#[derive(Debug)]
struct Known {
    who: Arc<Who>,
    series: SeriesId,
    used_ns: u64,
}

/// What is kept between windows.
#[derive(Debug)]
pub struct Books {
    /// What was published last, without the workloads.
    totals: Published,
    series: FxHashMap<SeriesId, Series>,
    series_max: usize,
    /// Those of `series` by identity.
    ids: BTreeMap<String, SeriesId>,
    id_last: SeriesId,
    /// The most energy in this window for which there was no room: there is none for less.
    refused: Option<Microjoules>,
    /// Of the keys that had energy of late.
    names: FxHashMap<WorkloadKey, Known>,
    /// When `names` was last looked through.
    swept_ns: u64,
    minute: Minute,
}

impl Books {
    /// Empty ones; `series_max` workloads have a series of their own.
    pub fn new(node: &str, factor: Factor, series_max: usize) -> Self {
        let named = |name: &'static str| WorkloadTotals {
            who: Arc::new(Who {
                identity: name.to_owned(),
                kind: name,
                name: name.to_owned(),
                ..Who::default()
            }),
            ..WorkloadTotals::default()
        };
        let totals = Published {
            node: node.to_owned(),
            other: named("other"),
            ended: named("ended"),
            ..Published::default()
        };
        Self {
            totals,
            series: FxHashMap::default(),
            series_max,
            ids: BTreeMap::new(),
            id_last: 0,
            refused: None,
            names: FxHashMap::default(),
            swept_ns: 0,
            minute: Minute::new(node, factor),
        }
    }

    /// Goes on from the sums of before a restart.
    pub fn resume(&mut self, domains: Vec<DomainTotals>, workloads: Vec<WorkloadTotals>, now_ns: u64) {
        self.totals.domains = domains;
        self.totals.begun = workloads.as_slice().into();
        for totals in workloads {
            match totals.who.kind {
                "other" => self.totals.other = totals,
                "ended" => self.totals.ended = totals,
                _ => {
                    self.begin(totals, now_ns);
                }
            }
        }
    }

    /// What else is published; the sums are not for others to change.
    pub fn also(&mut self) -> &mut Published {
        &mut self.totals
    }

    /// Energy by which factor from here on. The minute must have been taken before.
    pub fn rate(&mut self, factor: Factor) {
        self.minute.rate(factor);
    }

    /// Adds a window that ended at `now_ns` of the monotonic clock. `who` gives the name of a key.
    pub fn add(&mut self, window: &Attributed, now_ns: u64, mut who: impl FnMut(WorkloadKey) -> Who) {
        for energy in &window.domains {
            let place = self.place(&energy.domain);
            if let Some(totals) = self.totals.domains.get_mut(place) {
                totals.metered += energy.metered;
                totals.attributed += energy.dynamic_energy;
                totals.static_energy += energy.static_energy;
                totals.lost += energy.lost;
                totals.gaps += u64::from(energy.gap.is_some());
                totals.watts = Some(energy.metered.over(energy.duration));
            }
            self.minute.domain(energy);
        }
        for (domain, _) in &window.unread {
            let place = self.place(domain);
            if let Some(totals) = self.totals.domains.get_mut(place) {
                totals.unread += 1;
                totals.watts = None;
            }
        }
        for series in self.series.values_mut() {
            series.totals.watts = crate::units::Watts(0.0);
        }
        self.totals.other.watts = crate::units::Watts(0.0);
        self.refused = None;
        // First of all, so that none that is used now gives its series up to another, and begins anew in the same window.
        for row in &window.workloads {
            self.name(row.key, now_ns, &mut who);
            if let Some(series) = self.series_known(row.key).and_then(|id| self.series.get_mut(&id)) {
                series.used_ns = now_ns;
            }
        }
        let mut cpu: FxHashMap<WorkloadKey, CpuNanos> =
            FxHashMap::with_capacity_and_hasher(window.workloads.len(), FxBuildHasher);
        for row in &window.workloads {
            self.name(row.key, now_ns, &mut who);
            let totals = self.series_of(row.key, row.dynamic_energy, now_ns);
            totals.cpu += row.cpu;
            totals.watts = totals.watts + row.dynamic_energy.over(window.duration);
            cpu.insert(row.key, row.cpu);
        }
        for share in &window.shares {
            let name = self.name(share.key, now_ns, &mut who);
            self.share(share, now_ns);
            // Once for each workload, whatever domains gave it energy: it is added up over rows.
            let cpu = if share.dynamic_energy > Microjoules::ZERO { cpu.remove(&share.key) } else { None };
            self.minute.share(share, &name, cpu.unwrap_or_default());
        }
        self.count(&window.accounts);
        self.totals.windows += 1;
        self.totals.window_ns = u64::try_from(window.duration.as_nanos()).unwrap_or(u64::MAX);
        self.forget(now_ns);
    }

    fn share(&mut self, share: &Share, now_ns: u64) {
        let place = self.place(&share.domain);
        if let Some(domain) = self.totals.domains.get_mut(place) {
            domain.static_shared += share.static_energy;
        }
        let totals = self.series_of(share.key, share.dynamic_energy + share.static_energy, now_ns);
        if totals.domains.len() <= place {
            totals.domains.resize(place + 1, DomainSums::default());
        }
        if let Some(sums) = totals.domains.get_mut(place) {
            *sums = sums.plus(DomainSums {
                dynamic_energy: share.dynamic_energy,
                static_energy: share.static_energy,
                quality: Some(share.quality),
            });
        }
    }

    fn count(&mut self, accounts: &Accounts) {
        let totals = &mut self.totals;
        totals.missed += CpuNanos(accounts.missed_ns);
        totals.overflow += CpuNanos(accounts.overflow_ns);
        totals.lost_events = totals.lost_events.saturating_add(accounts.lost_events);
    }

    /// Where a domain is among those that are published.
    fn place(&mut self, domain: &Domain) -> usize {
        let known = |totals: &DomainTotals| {
            totals.domain == domain.kind.as_str()
                && totals.device == domain.device
                && totals.source == domain.source
        };
        let domains = &mut self.totals.domains;
        domains.iter().position(known).unwrap_or_else(|| {
            domains.push(DomainTotals {
                domain: domain.kind.as_str(),
                device: domain.device.clone(),
                source: domain.source.clone(),
                quality: domain.quality,
                metered: Microjoules::ZERO,
                attributed: Microjoules::ZERO,
                static_energy: Microjoules::ZERO,
                static_shared: Microjoules::ZERO,
                lost: Microjoules::ZERO,
                gaps: 0,
                unread: 0,
                faults: 0,
                watts: None,
                limits: None,
            });
            domains.len() - 1
        })
    }

    fn name(&mut self, key: WorkloadKey, now_ns: u64, who: impl FnOnce(WorkloadKey) -> Who) -> Arc<Who> {
        if self.names.len() > NAMES_MAX.max(4 * self.series_max) {
            self.names.clear();
        }
        let new = || Known { who: Arc::new(who(key)), series: 0, used_ns: now_ns };
        let known = self.names.entry(key).or_insert_with(new);
        known.used_ns = now_ns;
        Arc::clone(&known.who)
    }

    /// A new series.
    fn begin(&mut self, totals: WorkloadTotals, now_ns: u64) -> SeriesId {
        self.id_last += 1;
        self.ids.insert(totals.who.identity.clone(), self.id_last);
        self.series.insert(self.id_last, Series { totals, used_ns: now_ns });
        self.id_last
    }

    /// The series of a key with a name, where it has one.
    fn series_known(&mut self, key: WorkloadKey) -> Option<SeriesId> {
        let known = self.names.get_mut(&key)?;
        if !self.series.contains_key(&known.series) {
            known.series = *self.ids.get(&known.who.identity)?;
            // Its processes may say more of it than before, as of one that was resumed by its path.
            if let Some(series) = self.series.get_mut(&known.series)
                && series.totals.who != known.who
            {
                series.totals.who = Arc::clone(&known.who);
            }
        }
        Some(known.series)
    }

    /// The sums of a key with a name that used so much: its own, where it has a series or there is room for one.
    fn series_of(&mut self, key: WorkloadKey, used: Microjoules, now_ns: u64) -> &mut WorkloadTotals {
        let id = self.series_known(key).or_else(|| {
            if self.series.len() >= self.series_max {
                self.make_room(used, now_ns);
            }
            let room = self.series.len() < self.series_max;
            let who = Arc::clone(&self.names.get(&key).filter(|_| room)?.who);
            self.begin(WorkloadTotals { who, ..WorkloadTotals::default() }, now_ns);
            self.series_known(key)
        });
        match id.and_then(|id| self.series.get_mut(&id)) {
            Some(series) => {
                series.used_ns = now_ns;
                &mut series.totals
            }
            None => &mut self.totals.other,
        }
    }

    /// The one that has been quiet for longest gives its series up, if that is long enough; else the one that used least, if it
    /// has been quiet for a while and `used` is [`LEAD`] times that.
    fn make_room(&mut self, used: Microjoules, now_ns: u64) {
        if self.refused.is_some_and(|refused| used <= refused) {
            return;
        }
        let quietest = self.series.iter().min_by_key(|(_, series)| series.used_ns);
        let quietest = quietest.filter(|(_, series)| is_past(series.used_ns, now_ns, QUIET_MIN));
        let id = quietest.map(|(id, _)| *id).or_else(|| {
            let quiet = self.series.iter().filter(|(_, series)| is_past(series.used_ns, now_ns, QUIET_SMALL));
            let least = quiet.map(|(id, series)| (series.energy(), *id)).min();
            least.filter(|(energy, _)| energy.0.saturating_mul(LEAD) < used.0).map(|(_, id)| id)
        });
        match id {
            Some(id) => self.end(id),
            None => self.refused = Some(used),
        }
    }

    fn forget(&mut self, now_ns: u64) {
        let quiet = |series: &Series| is_past(series.used_ns, now_ns, QUIET);
        let all = self.series.iter().filter(|(_, series)| quiet(series));
        for id in all.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.end(id);
        }
        if is_past(self.swept_ns, now_ns, NAME_QUIET) {
            self.swept_ns = now_ns;
            let Self { names, series, .. } = self;
            let used = |known: &Known| !is_past(known.used_ns, now_ns, NAME_QUIET);
            names.retain(|_, known| used(known) || series.contains_key(&known.series));
        }
    }

    /// Its sums go to those of all that have ended.
    fn end(&mut self, id: SeriesId) {
        let Some(Series { totals, .. }) = self.series.remove(&id) else { return };
        self.ids.remove(&totals.who.identity);
        self.names.retain(|_, known| known.series != id);
        let ended = &mut self.totals.ended;
        ended.cpu += totals.cpu;
        let domains = ended.domains.len().max(totals.domains.len());
        ended.domains.resize(domains, DomainSums::default());
        for (sum, more) in ended.domains.iter_mut().zip(totals.domains) {
            *sum = sum.plus(more);
        }
    }

    /// All of it as it stands, in the order of the identities.
    pub fn published(&self) -> Published {
        let all = self.ids.values().filter_map(|id| self.series.get(id));
        Published { workloads: all.map(|series| series.totals.clone()).collect(), ..self.totals.clone() }
    }

    /// The minute so far, under this name and start; nothing where there was no energy in it. A new one begins. `names`
    /// gives what a runtime or the kubelet says of a workload.
    pub fn take_minute(
        &mut self,
        name: String,
        start_s: i64,
        names: impl Fn(&Who) -> Option<Names>,
    ) -> Option<Flush> {
        self.minute.take(name, start_s, names)
    }

    /// Dynamic energy and CPU time of a workload that has a series.
    pub fn of(&self, identity: &str) -> Option<(Microjoules, CpuNanos)> {
        let totals = &self.series.get(self.ids.get(identity)?)?.totals;
        Some((totals.domains.iter().map(|sums| sums.dynamic_energy).sum(), totals.cpu))
    }
}

fn is_past(then_ns: u64, now_ns: u64, span: Duration) -> bool {
    Duration::from_nanos(now_ns.saturating_sub(then_ns)) >= span
}

/// Who a key stands for, by the path of its cgroup where that is known, and what its processes say where that is more.
pub fn who(key: WorkloadKey, path: Option<&str>, told: Option<&Identity>) -> Who {
    let located = path.map(|path| located(path, told));
    let (kind, name) = kind_and_name(key, path, located.as_ref());
    let identity = match (kind, path) {
        ("overflow" | "kernel", _) => format!("system/{kind}"),
        ("root", _) => "/".to_owned(),
        (_, Some(path)) => path.to_owned(),
        (_, None) => {
            let CgroupId(id) = key.cgroup;
            format!("system/cgroup-{id}")
        }
    };
    let path = located.filter(|_| kind != "kernel").map(|located| located.identity).unwrap_or_default();
    Who { identity, kind, name, path, cgroup: Some(key.cgroup) }
}

#[cfg(test)]
mod tests;
