//! Attributes a node's windows as `carbon` does, and compares with the truth.

use crate::scenarios::Node;
use carbon_user::attribution::static_policy::StaticPolicy;
use carbon_user::attribution::uncertainty::{SIGMAS_OF_90_PERCENT, Uncertainty};
use carbon_user::attribution::{Attributed, Method, PackagePrior, State, attribute};
use carbon_user::units::{CgroupId, CpuNanos, Microjoules, PackageId, Quality, Watts};
use carbon_user::window::{Accounts, Domain, DomainKind, DomainWindow, Usage, Window, WorkloadKey};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// Not scored: the first fifth of a run.
const UNSCORED_RATIO: f64 = 0.2;
/// Intervals are of the joules of a workload in so many seconds.
const BLOCK_S: f64 = 60.0;
/// Left out of coverage: workloads with less than this of the dynamic energy of the block.
const PART_MIN: f64 = 1e-3;

/// What came out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Score {
    pub(crate) total_pct: f64,
    pub(crate) share_pct: f64,
    pub(crate) same_p0_pct: f64,
    pub(crate) true_p0_pct: f64,
    pub(crate) intervals: Intervals,
    pub(crate) p0_ratio: f64,
    pub(crate) p0_stddev_ratio: f64,
    pub(crate) p0_identified: bool,
    pub(crate) conserved: bool,
    /// Of the reported sets, where there are any.
    pub(crate) sets: Option<SetScore>,
}

/// Of sets of workloads that could not be told apart.
#[derive(Clone, Debug, Default)]
pub(crate) struct SetScore {
    pub(crate) error_pct: f64,
    pub(crate) intervals: Intervals,
}

/// Hits and tries of 90 % intervals, and their relative half-widths.
pub(crate) type Intervals = ((u32, u32), Vec<f64>);

#[derive(Clone, Debug, Default)]
struct Sum {
    joules: f64,
    truth: f64,
    uncertainty: Uncertainty,
}

impl Sum {
    fn add(&mut self, joules: f64, truth: f64, uncertainty: Uncertainty) {
        self.joules += joules;
        self.truth += truth;
        self.uncertainty = self.uncertainty.plus(uncertainty);
    }

    fn half_width(&self) -> f64 {
        SIGMAS_OF_90_PERCENT * self.uncertainty.stddev_uj() / 1e6
    }

    fn count(&self, (covered, widths): &mut Intervals) {
        covered.0 += u32::from((self.joules - self.truth).abs() <= self.half_width());
        covered.1 += 1;
        widths.push(self.half_width() / self.joules.max(1e-9));
    }
}

/// Windows of the node, made as the sampler makes them.
pub(crate) fn window(node: &Node, domain: &Rc<Domain>, number: usize) -> Window {
    let mut usage = Usage::new(1);
    for (workload, cpu_s) in node.cpu_s[number].iter().enumerate().filter(|(_, cpu_s)| **cpu_s > 0.0) {
        usage.push(key(workload), &[CpuNanos((cpu_s * 1e9) as u64)]);
    }
    let (usage, duration) = (Rc::new(usage), Duration::from_secs_f64(node.span_s(number)));
    Window {
        start_ns: 0,
        duration,
        edge_width: Duration::ZERO,
        suspended: Duration::ZERO,
        usage: Rc::clone(&usage),
        counts: Rc::default(),
        claims: Rc::default(),
        accounts: Accounts::default(),
        domains: vec![DomainWindow {
            domain: Rc::clone(domain),
            metered: Microjoules::from_joules(node.energy_j[number]),
            duration,
            gap: None,
            usage,
            wake_ratio: node.wake_ratio.get(number).copied(),
        }],
        unread: Vec::new(),
    }
}

/// The node's meter.
pub(crate) fn domain(node: &Node) -> Rc<Domain> {
    Rc::new(Domain {
        kind: DomainKind::Package,
        device: "package-0".into(),
        source: "simulated".into(),
        quality: Quality::Measured,
        bounds: None,
        package: PackageId(0),
        idle_watts: Some(Watts(node.prior_p0_w)),
    })
}

pub(crate) fn state(node: &Node) -> State {
    let package = PackagePrior { cpus: node.cpus, per_cpu: Some(Watts(node.prior_w_per_cpu)) };
    State::new(Method::Bank, vec![package])
}

fn key(workload: usize) -> WorkloadKey {
    WorkloadKey::cgroup(CgroupId(workload as u64 + 2))
}

fn workload(key: WorkloadKey) -> usize {
    key.cgroup.0 as usize - 2
}

/// Scores one run.
pub(crate) fn score(node: &Node) -> Score {
    let (domain, mut state) = (domain(node), state(node));
    let (windows, workloads) = (node.energy_j.len(), node.cpu_s[0].len());
    let first = (windows as f64 * UNSCORED_RATIO) as usize;
    let block = (BLOCK_S / node.window_s).round().max(1.0) as usize;
    let (mut sums, mut blocks) = (vec![[0.0; 4]; workloads], BTreeMap::<(usize, usize), Sum>::new());
    let mut sets = BTreeMap::<(usize, Vec<WorkloadKey>), Sum>::new();
    let mut score = Score { conserved: true, ..Score::default() };
    let mut carry = 0.0;
    for number in 0..windows {
        let attributed = attribute(&window(node, &domain, number), &mut state, StaticPolicy::Separate);
        score.conserved &= conserved(&attributed);
        // With the true idle power, and what a window cannot hold carried on.
        let above = node.energy_j[number] - node.true_p0_w * node.span_s(number) + carry;
        carry = above.min(0.0);
        if number < first {
            continue;
        }
        let busy: f64 = node.cpu_s[number].iter().sum();
        let dynamic = attributed.domains[0].dynamic_energy.joules();
        for (workload, sums) in sums.iter_mut().enumerate() {
            let share = node.cpu_s[number][workload] / busy.max(1e-12);
            sums[0] += node.joules[number][workload];
            sums[2] += share * dynamic;
            sums[3] += share * above.max(0.0);
        }
        let in_block = (number - first) / block;
        for row in &attributed.workloads {
            let place = workload(row.key);
            let joules = row.dynamic_energy.joules();
            sums[place][1] += joules;
            let truth = node.joules[number][place];
            blocks.entry((in_block, place)).or_default().add(joules, truth, row.uncertainty);
        }
        for set in &attributed.sets {
            let truth = set.keys.iter().map(|key| node.joules[number][workload(*key)]).sum();
            let sum = sets.entry((in_block, set.keys.clone())).or_default();
            sum.add(set.dynamic_energy.joules(), truth, set.uncertainty);
        }
    }
    finish(&mut score, &sums, &blocks, &sets);
    if let Some((_, power)) = state.static_powers().next() {
        score.p0_ratio = power.p0.0 / node.true_p0_w;
        score.p0_stddev_ratio = power.stddev.0 / node.true_p0_w;
        score.p0_identified = power.identified;
    }
    score
}

fn finish(
    score: &mut Score,
    sums: &[[f64; 4]],
    blocks: &BTreeMap<(usize, usize), Sum>,
    sets: &BTreeMap<(usize, Vec<WorkloadKey>), Sum>,
) {
    let all = |column: usize| sums.iter().map(|row| row[column]).sum::<f64>();
    let error = |column: usize, level: f64| {
        let apart: f64 = sums.iter().map(|row| (row[column] * level - row[0]).abs()).sum();
        100.0 * apart / all(0)
    };
    score.total_pct = error(1, 1.0);
    score.share_pct = error(1, all(0) / all(1).max(1e-12));
    score.same_p0_pct = error(2, 1.0);
    score.true_p0_pct = error(3, 1.0);
    let mut whole = BTreeMap::<usize, f64>::new();
    for ((block, _), sum) in blocks {
        *whole.entry(*block).or_default() += sum.truth;
    }
    for ((block, _), sum) in blocks {
        if sum.truth > PART_MIN * whole[block] {
            sum.count(&mut score.intervals);
        }
    }
    if !sets.is_empty() {
        let mut of_sets = SetScore::default();
        for sum in sets.values().filter(|sum| sum.truth > 0.0) {
            sum.count(&mut of_sets.intervals);
        }
        let apart: f64 = sets.values().map(|sum| (sum.joules - sum.truth).abs()).sum();
        of_sets.error_pct = 100.0 * apart / sets.values().map(|sum| sum.truth).sum::<f64>();
        score.sets = Some(of_sets);
    }
}

fn conserved(attributed: &Attributed) -> bool {
    attributed.domains.iter().all(|domain| {
        let given: Microjoules = attributed.workloads.iter().map(|row| row.dynamic_energy).sum();
        given == domain.dynamic_energy
            && domain.dynamic_energy + domain.static_energy + domain.lost == domain.metered
    })
}

/// The middle of `values`.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
