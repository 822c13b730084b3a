//! The sums of all windows, and the minute that is not written yet. Both get every joule of every window once, so that
//! what is published and what is written agree to the microjoule.

use super::minute::{Minute, Names};
use super::published::{DomainSums, DomainTotals, Published, Who, WorkloadTotals};
use crate::attribution::{Attributed, Share};
use crate::ledger::Factor;
use crate::ledger::rows::Flush;
use crate::units::{CgroupId, CpuNanos, Microjoules};
use crate::window::{Accounts, Domain, WorkloadKey};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// A workload that has used nothing for so long loses its series: more than two scrapes of a minute.
const QUIET: Duration = Duration::from_mins(5);
/// It loses it sooner where another one needs it, but never within two scrapes of a minute.
const QUIET_MIN: Duration = Duration::from_mins(2);

/// A series, and when its workload last used anything.
#[derive(Debug)]
struct Series {
    totals: WorkloadTotals,
    used_ns: u64,
}

/// What is kept between windows.
#[derive(Debug)]
pub struct Books {
    /// What was published last, without the workloads.
    totals: Published,
    series: HashMap<String, Series>,
    series_max: usize,
    /// Of the keys that had energy of late.
    names: HashMap<WorkloadKey, Arc<Who>>,
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
            series: HashMap::new(),
            series_max,
            names: HashMap::new(),
            minute: Minute::new(node, factor),
        }
    }

    /// Goes on from the sums of before a restart.
    pub fn resume(&mut self, domains: Vec<DomainTotals>, workloads: Vec<WorkloadTotals>, now_ns: u64) {
        self.totals.domains = domains;
        for totals in workloads {
            match totals.who.kind {
                "other" => self.totals.other = totals,
                "ended" => self.totals.ended = totals,
                _ => {
                    let series = Series { totals, used_ns: now_ns };
                    self.series.insert(series.totals.who.identity.clone(), series);
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
    pub fn add(&mut self, window: &Attributed, now_ns: u64, who: impl Fn(WorkloadKey) -> Who) {
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
        // First of all, so that none that is used now gives its series up to another, and begins anew in the same window.
        for row in &window.workloads {
            let name = self.name(row.key, &who);
            if let Some(series) = self.series.get_mut(&name.identity) {
                series.used_ns = now_ns;
            }
        }
        let mut cpu: HashMap<WorkloadKey, CpuNanos> = HashMap::new();
        for row in &window.workloads {
            let name = self.name(row.key, &who);
            let totals = self.series_of(&name, now_ns);
            totals.cpu += row.cpu;
            totals.watts = totals.watts + row.dynamic_energy.over(window.duration);
            cpu.insert(row.key, row.cpu);
        }
        for share in &window.shares {
            let name = self.name(share.key, &who);
            self.share(share, &name, now_ns);
            // Once for each workload, whatever domains gave it energy: it is added up over rows.
            let cpu = if share.dynamic_energy > Microjoules::ZERO { cpu.remove(&share.key) } else { None };
            self.minute.share(share, &name, cpu.unwrap_or_default());
        }
        self.count(&window.accounts);
        self.totals.windows += 1;
        self.totals.window_ns = u64::try_from(window.duration.as_nanos()).unwrap_or(u64::MAX);
        self.forget(now_ns);
    }

    fn share(&mut self, share: &Share, name: &Arc<Who>, now_ns: u64) {
        let place = self.place(&share.domain);
        if let Some(domain) = self.totals.domains.get_mut(place) {
            domain.static_shared += share.static_energy;
        }
        let totals = self.series_of(name, now_ns);
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
            });
            domains.len() - 1
        })
    }

    fn name(&mut self, key: WorkloadKey, who: impl Fn(WorkloadKey) -> Who) -> Arc<Who> {
        if self.names.len() > 4 * self.series_max.max(1_024) {
            self.names.clear();
        }
        Arc::clone(self.names.entry(key).or_insert_with(|| Arc::new(who(key))))
    }

    /// The sums of a workload: its own, where it has a series or there is room for one.
    fn series_of(&mut self, name: &Arc<Who>, now_ns: u64) -> &mut WorkloadTotals {
        if !self.series.contains_key(&name.identity) && self.series.len() >= self.series_max {
            self.make_room(now_ns);
        }
        let room = self.series.len() < self.series_max;
        if !room && !self.series.contains_key(&name.identity) {
            return &mut self.totals.other;
        }
        let fresh = || Series {
            totals: WorkloadTotals { who: Arc::clone(name), ..WorkloadTotals::default() },
            used_ns: now_ns,
        };
        let series = self.series.entry(name.identity.clone()).or_insert_with(fresh);
        series.used_ns = now_ns;
        &mut series.totals
    }

    /// The one that has been quiet for longest gives its series up, if that is long enough.
    fn make_room(&mut self, now_ns: u64) {
        let quietest = self.series.iter().min_by_key(|(_, series)| series.used_ns);
        let quietest = quietest.filter(|(_, series)| is_past(series.used_ns, now_ns, QUIET_MIN));
        if let Some(identity) = quietest.map(|(identity, _)| identity.clone()) {
            self.end(&identity);
        }
    }

    fn forget(&mut self, now_ns: u64) {
        let quiet = |series: &Series| is_past(series.used_ns, now_ns, QUIET);
        let all = self.series.iter().filter(|(_, series)| quiet(series));
        for identity in all.map(|(identity, _)| identity.clone()).collect::<Vec<_>>() {
            self.end(&identity);
        }
    }

    /// Its sums go to those of all that have ended.
    fn end(&mut self, identity: &str) {
        let Some(Series { totals, .. }) = self.series.remove(identity) else { return };
        self.names.retain(|_, name| name.identity != identity);
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
        let mut workloads: Vec<WorkloadTotals> =
            self.series.values().map(|series| series.totals.clone()).collect();
        workloads.sort_unstable_by(|one, other| one.who.identity.cmp(&other.who.identity));
        Published { workloads, ..self.totals.clone() }
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
        let totals = &self.series.get(identity)?.totals;
        Some((totals.domains.iter().map(|sums| sums.dynamic_energy).sum(), totals.cpu))
    }
}

fn is_past(then_ns: u64, now_ns: u64, span: Duration) -> bool {
    Duration::from_nanos(now_ns.saturating_sub(then_ns)) >= span
}

/// Who a key stands for, by the path of its cgroup where that is known.
pub fn who(key: WorkloadKey, path: Option<&str>) -> Who {
    let located = path.map(crate::workload::locate);
    let (kind, name) = crate::report::top::kind_and_name(key, path, located.as_ref());
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
