//! Shares of a window's dynamic energy by the members' weighted opinion, and how sure they are.
//!
//! `J_k = D share_k`, `share_k = own_k u_k / sum own u`. With `alpha_k = D u_k / sum own u`, to first order a member's
//! error of `J_k` is `alpha_k (dd_k + dmu) - share_k (dt dP0 + sum alpha_j dd_j + sum alpha dmu)`: the variance follows
//! from the member's whole covariance. For a set of workloads the `alpha` of its members count together, so that what
//! one has too much and another too little cancels.

use super::member::{COMMON, MU, Member, P0};
use super::packed::dot;
use crate::window::WorkloadKey;

/// No workload is taken to draw less than this, relative to the common watts.
const OWN_FLOOR_RATIO: f64 = 0.05;
/// Members with less weight than this are left out: what they say cannot be seen in the result.
const WEIGHT_MIN: f64 = 1e-4;
/// Noise of the meter in one window, relative to its energy; neighbouring windows do not share it.
const METER_NOISE_RATIO: f64 = 0.006;

/// How far off what a workload is given may be where the members' errors are all the same.
const COLOUR_FLOOR_RATIO: f64 = 0.1;

/// A set is reported where the variance of its sum is less than this part of the sum of the variances: where it is not,
/// the data have told its workloads apart, or know the sum no better.
pub(super) const SET_VARIANCE_RATIO_MAX: f64 = 0.5;

/// A workload in a window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) key: WorkloadKey,
    pub(super) slot: Option<usize>,
    /// CPUs used.
    pub(super) used: f64,
}

/// A workload's part of the dynamic energy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Split {
    /// Whose.
    pub key: WorkloadKey,
    /// Of the dynamic energy, 0 to 1.
    pub share_ratio: f64,
    /// Standard deviation of its energy that the next windows share, in joules: what is believed about own watts and
    /// static power stays.
    pub lasting_stddev_j: f64,
    /// Standard deviation that is new in every window, in joules.
    pub passing_stddev_j: f64,
}

/// Workloads that cannot be told apart: their sum is known better than any of them.
#[derive(Clone, Debug, PartialEq)]
pub struct JointSplit {
    /// Who, in order.
    pub keys: Vec<WorkloadKey>,
    /// Of the dynamic energy, 0 to 1.
    pub share_ratio: f64,
    /// As in [`Split`], of the sum.
    pub lasting_stddev_j: f64,
    /// As in [`Split`], of the sum.
    pub passing_stddev_j: f64,
}

/// What the split needs to know of the window and of the bank besides the members.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) dynamic_j: f64,
    pub(super) metered_j: f64,
    /// By how much that is not what was expected.
    pub(super) unexpected_j: f64,
    pub(super) seconds: f64,
    /// Mean of static power over members, and its variance between them.
    pub(super) p0_w: f64,
    pub(super) p0_spread_w2: f64,
    /// Share of time with any CPU busy, the least ever seen.
    pub(super) wake_min: f64,
}

/// Weights of kinds of members, as far as they widen intervals.
#[derive(Clone, Copy, Debug, Default)]
struct Moods {
    quick: f64,
    level: f64,
    concave: f64,
    misfit: f64,
    colour: f64,
    noise: f64,
    p0_variance: f64,
    p0_prior_variance: f64,
}

/// One member's view of a window.
struct View<'a> {
    member: &'a Member,
    weight: f64,
    /// `D u_k / sum own u` of each row.
    alphas: Vec<f64>,
    shares: Vec<f64>,
    /// Covariance times the gradient of the dynamic energy, and that gradient's own variance.
    cq: Vec<f64>,
    qcq: f64,
}

/// Splits by the members' weighted opinion.
pub(super) fn split(
    members: &[(f64, &Member)],
    rows: &[Row],
    sets: &[Vec<usize>],
    trust_ratio: f64,
    span: Span,
) -> (Vec<Split>, Vec<JointSplit>) {
    let mut shares = vec![0.0; rows.len()];
    let mut views = Vec::new();
    for (weight, member) in members.iter().copied().filter(|(weight, _)| *weight > WEIGHT_MIN) {
        let view = view_of(member, weight, rows, span);
        for (share, more) in shares.iter_mut().zip(&view.shares) {
            *share += weight * more;
        }
        views.push(view);
    }
    let whole: f64 = shares.iter().sum();
    let used: f64 = rows.iter().map(|row| row.used).sum();
    for (share, row) in shares.iter_mut().zip(rows) {
        // Where no member holds that anybody draws anything, by CPU time.
        let plain = row.used / used;
        *share = if whole > 0.0 { plain + trust_ratio * (*share / whole - plain) } else { plain };
    }
    let moods = moods(&views);
    let splits = rows.iter().zip(&shares).enumerate().map(|(place, (row, share))| {
        let (lasting_stddev_j, passing_stddev_j) = stddevs(&views, rows, &[place], *share, moods, span);
        Split { key: row.key, share_ratio: *share, lasting_stddev_j, passing_stddev_j }
    });
    let splits: Vec<Split> = splits.collect();
    let joint = sets.iter().filter_map(|slots| joint(&views, rows, slots, &splits, moods, span));
    let joint = joint.collect();
    (splits, joint)
}

fn view_of<'a>(member: &'a Member, weight: f64, rows: &[Row], span: Span) -> View<'a> {
    let state = member.constrained();
    // An active set that holds idle power and waking at their floors can take these below nothing.
    let mu = state.get(MU).copied().unwrap_or(0.0).max(0.0);
    let own: Vec<f64> = rows
        .iter()
        .map(|row| {
            let deviation = row.slot.and_then(|slot| state.get(COMMON + slot)).copied().unwrap_or(0.0);
            (mu + deviation).max(OWN_FLOOR_RATIO * mu)
        })
        .collect();
    let whole: f64 = rows.iter().zip(&own).map(|(row, own)| own * row.used).sum();
    let whole = if whole > 0.0 { whole } else { f64::INFINITY };
    let shares: Vec<f64> = rows.iter().zip(&own).map(|(row, own)| own * row.used / whole).collect();
    let alphas: Vec<f64> = rows.iter().map(|row| span.dynamic_j * row.used / whole).collect();
    let mut gradient = vec![0.0; state.len()];
    for (row, alpha) in rows.iter().zip(&alphas) {
        if let Some(own) = row.slot.and_then(|slot| gradient.get_mut(COMMON + slot)) {
            *own += alpha;
        }
    }
    for (place, value) in [(P0, span.seconds), (MU, alphas.iter().sum())] {
        if let Some(common) = gradient.get_mut(place) {
            *common = value;
        }
    }
    let mut cq = vec![0.0; state.len()];
    member.covariance.times(&gradient, &mut cq);
    let qcq = dot(&gradient, &cq);
    View { member, weight, alphas, shares, cq, qcq }
}

fn moods(views: &[View<'_>]) -> Moods {
    let mut moods = Moods::default();
    for View { member, weight, .. } in views {
        let own = member.kind.drift.has_own();
        moods.quick += if member.kind.drift.is_quick() { *weight } else { 0.0 };
        moods.level += if own && member.kind.drift.has_level() { *weight } else { 0.0 };
        moods.concave += if own && member.kind.shape == super::kinds::Shape::Concave { *weight } else { 0.0 };
        moods.misfit += weight * member.misfit;
        moods.colour += weight * member.colour();
        moods.noise += weight * member.noise_ratio().sqrt();
        moods.p0_variance += weight * member.covariance.get(P0, P0);
        moods.p0_prior_variance += weight * member.p0_variance();
    }
    moods
}

fn joint(
    views: &[View<'_>],
    rows: &[Row],
    slots: &[usize],
    splits: &[Split],
    moods: Moods,
    span: Span,
) -> Option<JointSplit> {
    let places: Vec<usize> = rows
        .iter()
        .enumerate()
        .filter(|(_, row)| row.slot.is_some_and(|slot| slots.contains(&slot)))
        .map(|(place, _)| place)
        .collect();
    let parts = || places.iter().filter_map(|place| splits.get(*place));
    let share_ratio = parts().map(|split| split.share_ratio).sum();
    let (lasting_stddev_j, passing_stddev_j) = stddevs(views, rows, &places, share_ratio, moods, span);
    let apart: f64 = parts().map(|split| split.lasting_stddev_j.powi(2)).sum();
    if places.len() < 2 || lasting_stddev_j.powi(2) > SET_VARIANCE_RATIO_MAX * apart {
        return None;
    }
    let keys = parts().map(|split| split.key).collect();
    Some(JointSplit { keys, share_ratio, lasting_stddev_j, passing_stddev_j })
}

fn sum_at(values: &[f64], places: &[usize]) -> f64 {
    places.iter().filter_map(|place| values.get(*place)).sum()
}

/// Lasting and passing standard deviation of the energy of the rows at `places` together.
fn stddevs(
    views: &[View<'_>],
    rows: &[Row],
    places: &[usize],
    share: f64,
    moods: Moods,
    span: Span,
) -> (f64, f64) {
    let energy = span.dynamic_j * share;
    let (mut variance, mut unknown) = (0.0, 0.0);
    for view in views {
        let (own, left_ratio) = if view.member.kind.drift.has_own() {
            view.variance(rows, places)
        } else {
            // What CPU time leaves out: workloads differ by 0.4 of the common watts.
            ((0.4 * share * (1.0 - share) * span.dynamic_j).powi(2), 1.0)
        };
        let apart = span.dynamic_j * sum_at(&view.shares, places) - energy;
        variance += view.weight * (own + apart * apart);
        unknown += view.weight * left_ratio;
    }
    let factor = 0.75 + 0.2 * moods.quick + 0.4 * moods.level + 0.35 * unknown * (1.0 - moods.quick);
    let p0_w2 = moods.p0_variance * (moods.p0_variance / moods.p0_prior_variance.max(1e-12)).min(1.0);
    // Errors above the meter's own noise are of power that no member has a form for.
    let unmodelled = (moods.noise - METER_NOISE_RATIO).max(0.0);
    // Errors that come again are of a form that no member has; where there is a right one they do not.
    let floor = 0.015
        + 0.025 * (moods.level + moods.quick + moods.concave)
        + COLOUR_FLOOR_RATIO * moods.colour
        + unmodelled;
    let lasting = factor * factor * moods.misfit.clamp(1.0, 3.0) * variance
        + (share * span.seconds).powi(2) * (p0_w2 + span.p0_spread_w2)
        + 2.0 * (floor * energy).powi(2)
        + (0.03 * share * span.p0_w * span.seconds * span.wake_min).powi(2);
    (lasting.max(0.0).sqrt(), (METER_NOISE_RATIO * span.metered_j).max(span.unexpected_j) * share)
}

impl View<'_> {
    /// Variance of the energy of the rows at `places` together, and how much of the prior variance of their own
    /// watts is left.
    fn variance(&self, rows: &[Row], places: &[usize]) -> (f64, f64) {
        let covariance = &self.member.covariance;
        let prior = self.member.own_variance();
        let parts = || {
            places.iter().filter_map(|place| {
                let alpha = self.alphas.get(*place)?;
                Some((rows.get(*place)?.slot.map(|slot| COMMON + slot), *alpha))
            })
        };
        let (mut own, mut with_mu, mut with_all, mut sum, mut before) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for (state, alpha) in parts() {
            sum += alpha;
            before += alpha * alpha * prior;
            let Some(state) = state else {
                own += alpha * alpha * prior;
                continue;
            };
            with_mu += alpha * covariance.get(state, MU);
            with_all += alpha * self.cq.get(state).copied().unwrap_or(0.0);
            let others = parts().filter_map(|(other, weight)| Some(weight * covariance.get(state, other?)));
            own += alpha * others.sum::<f64>();
        }
        let share = sum_at(&self.shares, places);
        let with_all = with_all + sum * self.cq.get(MU).copied().unwrap_or(0.0);
        let variance = own + 2.0 * sum * with_mu + sum * sum * covariance.get(MU, MU)
            - 2.0 * share * with_all
            + share * share * self.qcq;
        let left_ratio = if before > 0.0 { (own / before).clamp(0.0, 1.0) } else { 1.0 };
        (variance.max(0.0), left_ratio)
    }
}
