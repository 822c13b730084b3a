//! A minute of energies, on its way to the ledger.

use super::published::Who;
use crate::attribution::uncertainty::Uncertainty;
use crate::attribution::{DomainEnergy, Share};
use crate::ledger::Factor;
use crate::ledger::rows::{BalanceRow, DomainId, EnergyKind, EnergyRow, Flush, Workload};
use crate::metadata::Job;
use crate::units::{CpuNanos, Microjoules, Quality};
use crate::window::{Domain, DomainKind};
use rustc_hash::FxHashMap;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Workloads that a minute names; the rest shares one row for each domain, so that the sums stay exact.
pub const NAMED_MAX: usize = 4_096;

/// What a runtime or the kubelet says of a workload; none where it is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Of Kubernetes.
    pub namespace: Option<String>,
    /// Name of the pod.
    pub pod: Option<String>,
    /// Name of the container.
    pub container: Option<String>,
    /// Of a job.
    pub job: Job,
}

/// What tells the rows of a flush apart, beside the factor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct RowKey {
    identity: String,
    domain: DomainId,
    kind: EnergyKind,
    quality: Quality,
}

/// The same while the minute lasts, when a row grows in each window: places in what the minute knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place {
    /// [`OTHER`] for those without a name of their own.
    workload: usize,
    domain: usize,
    kind: EnergyKind,
    quality: Quality,
}

const OTHER: usize = usize::MAX;

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    energy: Microjoules,
    cpu: CpuNanos,
    uncertainty: Uncertainty,
}

/// Energies since the last flush. Text is made of them at the flush.
#[derive(Debug)]
pub struct Minute {
    node: String,
    factor: Factor,
    sums: FxHashMap<Place, Sum>,
    domains: Vec<DomainId>,
    named: Vec<Arc<Who>>,
    by_identity: HashMap<String, usize>,
    /// By the address of who, which is held as long.
    by_address: FxHashMap<usize, (usize, Arc<Who>)>,
    balances: Vec<BalanceRow>,
}

impl Minute {
    /// An empty one.
    pub fn new(node: &str, factor: Factor) -> Self {
        Self {
            node: node.to_owned(),
            factor,
            sums: FxHashMap::default(),
            domains: Vec::new(),
            named: Vec::new(),
            by_identity: HashMap::new(),
            by_address: FxHashMap::default(),
            balances: Vec::new(),
        }
    }

    /// By which factor from here on.
    pub fn rate(&mut self, factor: Factor) {
        self.factor = factor;
    }

    /// Adds a domain's energy in a window.
    pub fn domain(&mut self, energy: &DomainEnergy) {
        let row = BalanceRow {
            domain: domain_id(&energy.domain),
            covered_ns: u64::try_from(energy.duration.as_nanos()).unwrap_or(u64::MAX),
            metered: energy.metered,
            attributed: energy.dynamic_energy,
            static_energy: energy.static_energy,
            lost: energy.lost,
            gaps: u64::from(energy.gap.is_some()),
        };
        add_balance(&mut self.balances, row);
    }

    /// Adds a domain's energy of a workload. `cpu` is told once for each workload and window.
    pub fn share(&mut self, share: &Share, who: &Arc<Who>, cpu: CpuNanos) {
        let (workload, domain) = (self.workload(who), self.place_of(&share.domain));
        // Idle energy of an accelerator is its holders', by no policy.
        let idle = if share.domain.kind == DomainKind::Gpu { EnergyKind::Held } else { EnergyKind::Static };
        let parts = [
            (EnergyKind::Dynamic, share.dynamic_energy, cpu, share.uncertainty),
            (idle, share.static_energy, CpuNanos::ZERO, Uncertainty::default()),
        ];
        for (kind, energy, cpu, uncertainty) in parts.into_iter().filter(|part| part.1 > Microjoules::ZERO) {
            let sum = self.sums.entry(Place { workload, domain, kind, quality: share.quality }).or_default();
            sum.energy += energy;
            sum.cpu += cpu;
            sum.uncertainty = sum.uncertainty.plus(uncertainty);
        }
    }

    fn place_of(&mut self, domain: &Domain) -> usize {
        let same = |known: &DomainId| {
            known.domain == domain.kind.as_str()
                && known.device == domain.device
                && known.source == domain.source
                && known.quality == domain.quality
        };
        self.domains.iter().position(same).unwrap_or_else(|| {
            self.domains.push(domain_id(domain));
            self.domains.len() - 1
        })
    }

    fn workload(&mut self, who: &Arc<Who>) -> usize {
        let address = Arc::as_ptr(who).addr();
        if let Some((place, _)) = self.by_address.get(&address) {
            return *place;
        }
        let place = match self.by_identity.get(&who.identity) {
            Some(place) => *place,
            None if self.named.len() >= NAMED_MAX => return OTHER,
            None => {
                self.named.push(Arc::clone(who));
                self.by_identity.insert(who.identity.clone(), self.named.len() - 1);
                self.named.len() - 1
            }
        };
        if self.by_address.len() < 2 * NAMED_MAX {
            self.by_address.insert(address, (place, Arc::clone(who)));
        }
        place
    }

    /// What there is, to be written; a new minute begins. Names are asked for once, at the end: those that are known by
    /// then hold for all of it.
    pub fn take(
        &mut self,
        name: String,
        start_s: i64,
        names_of: impl Fn(&Who) -> Option<Names>,
    ) -> Option<Flush> {
        let text = |who: &Arc<Who>| match names_of(who) {
            Some(names) => called(workload(who), names),
            None => workload(who),
        };
        let workloads: Vec<Workload> = self.named.iter().map(text).collect();
        let row = |(place, sum): (Place, Sum)| {
            Some(EnergyRow {
                workload: workloads.get(place.workload).cloned().unwrap_or_else(other),
                domain: self.domains.get(place.domain)?.clone(),
                kind: place.kind,
                factor: self.factor.clone(),
                quality: place.quality,
                energy: sum.energy,
                cpu: sum.cpu,
                uncertainty: sum.uncertainty,
            })
        };
        let mut rows: Vec<EnergyRow> = self.sums.drain().filter_map(row).collect();
        rows.extend(idle(&rows, &self.balances, &self.factor));
        let balances = std::mem::take(&mut self.balances);
        *self = Self::new(&self.node, self.factor.clone());
        let flush = Flush { node: self.node.clone(), name, start_s, rows: sorted(rows), balances };
        (!flush.balances.is_empty()).then_some(flush)
    }
}

/// Two flushes as one, at the time of the later: for when there is no room for both. No energy is lost, and workloads
/// that are too many share a row.
#[must_use]
pub fn merged(earlier: Flush, later: Flush) -> Flush {
    let mut rows = HashMap::new();
    let mut named: HashSet<String> = HashSet::new();
    let mut balances = later.balances;
    for mut row in later.rows.into_iter().chain(earlier.rows) {
        let full = named.len() >= NAMED_MAX && !named.contains(&row.workload.identity);
        if full {
            row.workload = other();
        }
        named.insert(row.workload.identity.clone());
        // A factor that changed meanwhile stays a row of its own.
        let factor = row.factor.hash();
        let rows: &mut HashMap<RowKey, EnergyRow> = rows.entry(factor).or_default();
        add_row(rows, row);
    }
    for row in earlier.balances {
        add_balance(&mut balances, row);
    }
    let rows = rows.into_values().flat_map(HashMap::into_values).collect();
    Flush { node: later.node, name: later.name, start_s: later.start_s, rows: sorted(rows), balances }
}

fn add_row(rows: &mut HashMap<RowKey, EnergyRow>, row: EnergyRow) {
    let key = RowKey {
        identity: row.workload.identity.clone(),
        domain: row.domain.clone(),
        kind: row.kind,
        quality: row.quality,
    };
    if let Some(sum) = rows.get_mut(&key) {
        sum.energy += row.energy;
        sum.cpu += row.cpu;
        sum.uncertainty = sum.uncertainty.plus(row.uncertainty);
    } else {
        rows.insert(key, row);
    }
}

fn add_balance(balances: &mut Vec<BalanceRow>, row: BalanceRow) {
    if let Some(sum) = balances.iter_mut().find(|known| known.domain == row.domain) {
        sum.covered_ns = sum.covered_ns.saturating_add(row.covered_ns);
        sum.metered += row.metered;
        sum.attributed += row.attributed;
        sum.static_energy += row.static_energy;
        sum.lost += row.lost;
        sum.gaps += row.gaps;
    } else {
        balances.push(row);
    }
}

/// In one order, so that two flushes of the same energies are the same.
fn sorted(mut rows: Vec<EnergyRow>) -> Vec<EnergyRow> {
    rows.sort_by(|one, other| {
        fn of(row: &EnergyRow) -> (&str, &str, EnergyKind, Quality) {
            (&row.workload.identity, &row.domain.device, row.kind, row.quality)
        }
        of(one).cmp(&of(other))
    });
    rows
}

fn domain_id(domain: &Domain) -> DomainId {
    DomainId {
        domain: domain.kind.as_str().to_owned(),
        device: domain.device.clone(),
        source: domain.source.clone(),
        quality: domain.quality,
    }
}

/// Static energy that is nobody's is a row of its own, never left out: the rows are all that was metered, less what was lost.
fn idle(rows: &[EnergyRow], balances: &[BalanceRow], factor: &Factor) -> Vec<EnergyRow> {
    let of = |balance: &BalanceRow| -> EnergyRow {
        let own = rows.iter().filter(|row| row.domain == balance.domain && row.kind != EnergyKind::Dynamic);
        let given: Microjoules = own.map(|row| row.energy).sum();
        EnergyRow {
            workload: Workload {
                identity: "system/idle".to_owned(),
                kind: "idle".to_owned(),
                name: "idle".to_owned(),
                ..Workload::default()
            },
            domain: balance.domain.clone(),
            kind: EnergyKind::Static,
            factor: factor.clone(),
            quality: balance.domain.quality,
            energy: balance.static_energy.saturating_sub(given),
            cpu: CpuNanos::ZERO,
            uncertainty: Uncertainty::default(),
        }
    };
    balances.iter().map(of).filter(|row| row.energy > Microjoules::ZERO).collect()
}

fn other() -> Workload {
    Workload {
        identity: "system/other".to_owned(),
        kind: "other".to_owned(),
        name: "other".to_owned(),
        ..Workload::default()
    }
}

/// With its names in the place of its ids.
fn called(workload: Workload, names: Names) -> Workload {
    let Job { name: job_name, user, account, .. } = names.job;
    let ids = names.container.is_none() && names.pod.is_none() && user.is_none();
    Workload {
        namespace: names.namespace.or(workload.namespace),
        container: names.container.or(workload.container),
        pod: names.pod.or(workload.pod),
        job_name,
        owner: user.or(workload.owner),
        account,
        ids,
        ..workload
    }
}

/// As the ledger keeps it. What only a runtime or an orchestrator knows stays empty, and is filled in when it is known.
fn workload(who: &Who) -> Workload {
    let path = &who.path;
    Workload {
        identity: who.identity.clone(),
        kind: who.kind.to_owned(),
        name: who.name.clone(),
        container: path.container_id.clone(),
        pod: path.pod_uid.clone(),
        namespace: None,
        unit: path.unit.clone(),
        job: path.job_id.clone(),
        owner: path.user_uid.map(|uid| uid.to_string()),
        project: None,
        job_name: None,
        account: None,
        ids: true,
    }
}
